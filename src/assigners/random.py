"""X_Random: a uniformly random sub-team for every agent and step."""

from __future__ import annotations

import torch as th

from assigners.base import Assigner, Assignment
from components.episode_buffer import EpisodeBatch


class RandomAssigner(Assigner):
    """``X(k | i, tau, s) = 1 / K`` (Table 1 of the VAST paper)."""

    def forward(self, batch: EpisodeBatch, greedy: bool = False) -> Assignment:
        obs = batch["obs"]
        generator = self.generator(obs.device)
        return Assignment(th.randint(self.n_subteams, obs.shape[:3], generator=generator, device=obs.device))
