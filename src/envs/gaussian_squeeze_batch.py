"""Several GaussianSqueezes stepped together.

Letters in the shapes: B environments, M of them acting, N agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.batch import EnvBatch, EpisodeArrays, IntArray, Outcomes
from envs.checks import check_batch_actions
from envs.gaussian_squeeze import N_ACTIONS, GaussianSqueeze, system_performance


class GaussianSqueezeBatch(EnvBatch):
    """B environments of `GaussianSqueeze`; what `EnvBatch` says.

    Args:
        envs: B environments of `GaussianSqueeze` with one number of agents, freshly built.
    """

    def __init__(self, envs: Sequence[GaussianSqueeze]) -> None:
        super().__init__(envs)
        self._n_agents = envs[0].n_agents
        most = (N_ACTIONS - 1) * self._n_agents
        self._worth = np.array([system_performance(units) for units in range(most + 1)])  # of every sum
        self._performance = np.zeros(len(envs))
        self._running = np.zeros(len(envs), dtype=bool)

    def reset(self) -> None:
        """Starts a new episode in every environment."""
        self._performance[:] = 0
        self._running[:] = True

    def observe(self, acting: IntArray, t: int, arrays: EpisodeArrays) -> None:
        """Writes the ones that the environments ``acting`` [M] always show into their rows, at step ``t``."""
        for shown in (arrays.obs, arrays.state, arrays.avail_actions):
            shown[acting, t] = 1

    def step(self, acting: IntArray, actions: IntArray) -> Outcomes:
        """Lets all agents of the environments ``acting`` [M] act, with ``actions`` [M, N]; see `EnvBatch`."""
        if not self._running[acting].all():
            raise RuntimeError("no episode is running in one of the environments: call reset() first")
        checked = check_batch_actions(actions, (len(acting), self._n_agents), N_ACTIONS)
        rewards = self._worth[checked.sum(axis=1)]
        self._performance[acting] = rewards
        self._running[acting] = False
        return Outcomes(rewards, ended=np.ones(len(acting), dtype=bool), limited=np.zeros(len(acting), dtype=bool))

    def info(self, number: int) -> dict[str, Any]:
        """The info dict of the last step of environment ``number``."""
        return {"system_performance": float(self._performance[number])}
