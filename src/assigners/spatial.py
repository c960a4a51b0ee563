"""X_Spatial: agents that are close to each other share a sub-team."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor

from assigners.base import Assigner, Assignment
from assigners.kmeans import kmeans
from components.episode_buffer import EpisodeBatch
from utils.errors import UserError


def centroid_count(n_subteams: int, rule: str) -> int:
    """How many centroids cluster the agents of K sub-teams.

    Args:
        n_subteams: K.
        rule: half for max(1, K // 2), as in section 5.2 of the VAST paper; all for K, as in the released experiments.

    Raises:
        UserError: another rule.
    """
    if rule not in ("half", "all"):
        raise UserError(f"spatial_centroids: expected half or all, got {rule!r}")
    return n_subteams if rule == "all" else max(1, n_subteams // 2)


class SpatialAssigner(Assigner):
    """k-means on the agents' (x, y) of the same step, with K/2 centroids (section 5.2 of the VAST paper).

    Fewer centroids where fewer positions are taken. Sub-teams are numbered by their centroid's x, then y, so
    that they mean the same from step to step. Dead agents do not move centroids; they join the nearest one.

    Args:
        args: also agent_position_index, the state entries that hold each agent's x and y, and spatial_centroids (half
            or all, see `centroid_count`).

    Raises:
        UserError: the environment does not give positions; spatial_centroids is neither half nor all.
    """

    def __init__(self, scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace) -> None:
        super().__init__(scheme, args)
        if args.agent_position_index is None:
            raise UserError(
                f"assigner: spatial needs the agents' positions, which env '{args.env}' does not give "
                "(get_env_info()['agent_position_index']); give assigner=random, fixed or metagrad"
            )
        self.n_centroids = centroid_count(self.n_subteams, args.spatial_centroids)

    def positions(self, batch: EpisodeBatch) -> Tensor:
        """The agents' (x, y), [B, T, N, 2]."""
        return batch["state"][..., th.as_tensor(self.args.agent_position_index, device=batch["state"].device)]

    def forward(self, batch: EpisodeBatch, greedy: bool = False) -> Assignment:
        positions, alive = self.positions(batch), self.alive(batch)
        labels = kmeans(positions.flatten(0, 1), alive.flatten(0, 1), self.n_centroids)
        return Assignment(labels.view(positions.shape[:3]))
