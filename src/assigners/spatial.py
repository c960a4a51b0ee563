"""X_Spatial: agents that are close to each other share a sub-team."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor

from assigners.base import Assigner, Assignment
from components.episode_buffer import EpisodeBatch
from utils.errors import UserError
from utils.kmeans import kmeans


class SpatialAssigner(Assigner):
    """k-means on the agents' (x, y) of the same step, with max(1, K // 2) centroids (section 5.2 of the VAST paper).

    Fewer centroids where fewer positions are taken. Sub-teams are numbered by their centroid's x, then y, so
    that they mean the same from step to step. Dead agents do not move centroids; they join the nearest one.

    Args:
        args: also agent_position_index, the state entries that hold each agent's x and y.

    Raises:
        UserError: the environment does not give positions.
    """

    def __init__(self, scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace) -> None:
        super().__init__(scheme, args)
        if args.agent_position_index is None:
            raise UserError(
                f"assigner: spatial needs the agents' positions, which env '{args.env}' does not give "
                "(get_env_info()['agent_position_index']); give assigner=random, fixed or metagrad"
            )
        self.n_centroids = max(1, self.n_subteams // 2)

    def positions(self, batch: EpisodeBatch) -> Tensor:
        """The agents' (x, y), [B, T, N, 2]."""
        return batch["state"][..., th.as_tensor(self.args.agent_position_index, device=batch["state"].device)]

    def forward(self, batch: EpisodeBatch, greedy: bool = False) -> Assignment:
        positions, alive = self.positions(batch), self.alive(batch)
        labels = kmeans(positions.flatten(0, 1), alive.flatten(0, 1), self.n_centroids)
        return Assignment(labels.view(positions.shape[:3]))
