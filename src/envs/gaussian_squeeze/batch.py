"""Several GaussianSqueezes stepped together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.batch import EnvBatch, EpisodeArrays, IntArray, Outcomes
from envs.checks import check_batch_actions
from envs.gaussian_squeeze import rules
from envs.gaussian_squeeze.env import GaussianSqueeze


class GaussianSqueezeBatch(EnvBatch):
    """B environments `GaussianSqueeze` with one number of agents; see `EnvBatch`."""

    def __init__(self, envs: Sequence[GaussianSqueeze]) -> None:
        super().__init__(envs)
        self._performance = np.zeros(len(envs))
        self._running = np.zeros(len(envs), dtype=bool)

    def reset(self) -> None:
        self._performance[:] = 0
        self._running[:] = True

    def observe(self, acting: IntArray, t: int, arrays: EpisodeArrays) -> None:
        for shown in (arrays.obs, arrays.state, arrays.avail_actions):
            shown[acting, t] = 1

    def step(self, acting: IntArray, actions: IntArray) -> Outcomes:
        if not self._running[acting].all():
            raise RuntimeError("no episode is running in one of the environments: call reset() first")
        shape = len(acting), self.envs[0].n_agents
        rewards = np.empty(len(acting))
        rules.step_rows(check_batch_actions(actions, shape, rules.N_ACTIONS), rewards)
        self._performance[acting] = rewards
        self._running[acting] = False
        return Outcomes(rewards, ended=np.ones(len(acting), dtype=bool), limited=np.zeros(len(acting), dtype=bool))

    def info(self, number: int) -> dict[str, Any]:
        return {"system_performance": float(self._performance[number])}
