"""Several Warehouses of one kind, stepped together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.batch import CompiledBatch, EpisodeArrays, IntArray, Outcomes
from envs.chance import SharedDraws
from envs.warehouse import rules
from envs.warehouse.env import Warehouse
from envs.warehouse.rules import ITEM_TYPES, Robots


class WarehouseBatch(CompiledBatch):
    """B environments `Warehouse`; see `CompiledBatch`. The environments lend their maps and generators, and rest.

    Attributes:
        robots: the agents, with a leading dimension B.
    """

    def __init__(self, envs: Sequence[Warehouse]) -> None:
        super().__init__(envs)
        self._ground, self._continuing_episode = envs[0].ground, envs[0].continuing_episode
        size, n_agents = len(envs), self.n_agents
        self.robots = Robots(
            positions=np.zeros((size, n_agents, 2), dtype=np.int64),
            remaining=np.zeros((size, n_agents, ITEM_TYPES), dtype=np.int64),
            collided=np.zeros((size, n_agents), dtype=bool),
        )
        self.performance = np.zeros(size, dtype=np.int64)
        self._draws = SharedDraws([env.draws for env in envs])

    def reset(self) -> None:
        super().reset()
        self._draws.refill()
        rules.start_rows(self._ground, self.robots, self._draws.chance)

    def observe(self, acting: IntArray, t: int, arrays: EpisodeArrays) -> None:
        acting = np.ascontiguousarray(acting, dtype=np.int64)
        shown = arrays.obs, arrays.state, arrays.avail_actions
        rules.observe_rows(self._ground, self.robots, acting, t, *shown)

    def play(self, acting: IntArray, actions: IntArray, outcomes: Outcomes) -> None:
        self._draws.refill()
        rules.step_rows(
            *(self._ground, self.robots, self._draws.chance, acting, actions, self.steps),
            *(outcomes.rewards, outcomes.ended, self.performance),
        )
        outcomes.limited[:] = outcomes.ended & self._continuing_episode
