"""X_Fixed: an agent's sub-team follows from its number."""

from __future__ import annotations

import torch as th

from assigners.base import Assigner, Assignment
from components.episode_buffer import EpisodeBatch


class FixedAssigner(Assigner):
    """Agent i is in sub-team i mod K for ever (section 5.2 of the VAST paper)."""

    def forward(self, batch: EpisodeBatch, greedy: bool = False) -> Assignment:
        obs = batch["obs"]
        subteams = th.arange(self.n_agents, device=obs.device) % self.n_subteams
        return Assignment(subteams.expand(obs.shape[:3]))
