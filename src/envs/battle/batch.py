"""Several Battles of one kind, stepped together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.batch import CompiledBatch, EpisodeArrays, IntArray, Outcomes
from envs.battle import rules
from envs.battle.env import Battle, check_alive
from envs.battle.rules import Army
from envs.chance import SharedDraws


class BattleBatch(CompiledBatch):
    """B environments `Battle`; see `CompiledBatch`. The environments lend their maps and generators, and rest.

    Attributes:
        agents, opponents: the armies, with a leading dimension B.
    """

    def __init__(self, envs: Sequence[Battle]) -> None:
        super().__init__(envs)
        self._board, self._start = envs[0].board, envs[0].armies()
        self.agents, self.opponents = (rows(army, len(envs)) for army in self._start)
        self.performance = np.zeros(len(envs), dtype=np.int64)
        self._draws = SharedDraws([env.draws for env in envs])

    def reset(self) -> None:
        super().reset()
        for army, start in zip((self.agents, self.opponents), self._start, strict=True):
            army.positions[:], army.health[:] = start

    def observe(self, acting: IntArray, t: int, arrays: EpisodeArrays) -> None:
        acting = np.ascontiguousarray(acting, dtype=np.int64)
        shown = arrays.obs, arrays.state, arrays.avail_actions
        rules.observe_rows(self._board, self.agents, self.opponents, acting, t, *shown)

    def play(self, acting: IntArray, actions: IntArray, outcomes: Outcomes) -> None:
        check_alive(self.agents.health[acting], actions)
        self._draws.refill()
        rules.step_rows(
            *(self._board, self.agents, self.opponents, self._draws.chance, acting, actions, self.steps),
            *(outcomes.rewards, outcomes.ended, outcomes.limited, self.performance),
        )


def rows(army: Army, size: int) -> Army:
    """The same army in each of ``size`` environments."""
    return Army(np.stack([army.positions] * size), np.stack([army.health] * size))
