"""Several GaussianSqueezes stepped together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.batch import CompiledBatch, EpisodeArrays, IntArray, Outcomes
from envs.gaussian_squeeze import rules
from envs.gaussian_squeeze.env import GaussianSqueeze


class GaussianSqueezeBatch(CompiledBatch):
    """B environments `GaussianSqueeze`; see `CompiledBatch`."""

    def __init__(self, envs: Sequence[GaussianSqueeze]) -> None:
        super().__init__(envs)
        self.performance = np.zeros(len(envs))

    def observe(self, acting: IntArray, t: int, arrays: EpisodeArrays) -> None:
        for shown in (arrays.obs, arrays.state, arrays.avail_actions):
            shown[acting, t] = 1

    def play(self, acting: IntArray, actions: IntArray, outcomes: Outcomes) -> None:
        rules.step_rows(actions, outcomes.rewards)
        outcomes.ended[:], outcomes.limited[:] = True, False
        self.performance[acting] = outcomes.rewards
        self.steps[acting] += 1
