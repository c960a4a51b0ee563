"""Several environments of one kind, stepped together: what ``runner=vector`` plays.

Letters: B environments, M of them acting, T steps, N agents, A actions, O and S entries of observation and state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.chance import SharedDraws
from envs.checks import check_batch_actions, is_over
from envs.multiagentenv import step_info
from envs.state import EnvState, env_state, load_env_state

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EpisodeArrays:
    """Where a batch of environments writes what it shows: the arrays behind an `EpisodeBatch`, C-contiguous.

    Attributes:
        obs: float32 [B, T, N, O].
        state: float32 [B, T, S].
        avail_actions: int32 [B, T, N, A].
    """

    obs: npt.NDArray[np.float32]
    state: npt.NDArray[np.float32]
    avail_actions: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Outcomes:
    """What a step did in the M environments that acted: each [M].

    Attributes:
        rewards: float64, the team rewards.
        ended: bool, whether the episode is over.
        limited: bool, whether only the time limit ended it and values bootstrap over that (``info["episode_limit"]``).
    """

    rewards: npt.NDArray[np.float64]
    ended: npt.NDArray[np.bool_]
    limited: npt.NDArray[np.bool_]


class EnvBatch(ABC):
    """B environments, each in an episode of its own; episodes may end at different times.

    Environment b of the batch plays, bit for bit, the episodes that ``envs[b]`` would play by itself.

    Args:
        envs: B environments of one class with the same arguments, seeds aside, freshly built. They belong to the batch
            from then on.
    """

    def __init__(self, envs: Sequence[Any]) -> None:
        self.envs = list(envs)

    @abstractmethod
    def reset(self) -> None:
        """Starts a new episode in every environment."""

    @abstractmethod
    def observe(self, acting: IntArray, t: int, arrays: EpisodeArrays) -> None:
        """Writes what the environments ``acting`` [M] show now into their rows of ``arrays``, at step ``t``."""

    @abstractmethod
    def step(self, acting: IntArray, actions: IntArray) -> Outcomes:
        """Lets all agents of the environments ``acting`` [M] act once, with ``actions`` [M, N].

        Raises:
            ValueError: actions that an environment of its own would refuse.
            RuntimeError: an environment whose episode has ended, or was never started.
        """

    @abstractmethod
    def info(self, number: int) -> dict[str, Any]:
        """The info dict of the last step of environment ``number``."""

    def states(self) -> list[EnvState]:
        """The state of each environment, between two episodes."""
        return [env_state(env) for env in self.envs]

    def load_states(self, states: Sequence[EnvState]) -> None:
        """Gives the environments their states back."""
        for env, state in zip(self.envs, states, strict=True):
            load_env_state(env, state)


class LoopedBatch(EnvBatch):
    """Environments of any kind, stepped one after the other."""

    def __init__(self, envs: Sequence[Any]) -> None:
        super().__init__(envs)
        self._infos: list[dict[str, Any]] = [{} for _ in self.envs]

    def reset(self) -> None:
        for env in self.envs:
            env.reset()

    def observe(self, acting: IntArray, t: int, arrays: EpisodeArrays) -> None:
        for b in acting:
            env = self.envs[b]
            _write("obs", arrays.obs[b, t], env.get_obs())
            _write("state", arrays.state[b, t], env.get_state())
            _write("avail_actions", arrays.avail_actions[b, t], env.get_avail_actions())

    def step(self, acting: IntArray, actions: IntArray) -> Outcomes:
        results = [self.envs[b].step(chosen) for b, chosen in zip(acting, actions, strict=True)]
        rewards, flags, infos = zip(*results, strict=True)
        ended = [is_over(flag, int(b)) for b, flag in zip(acting, flags, strict=True)]
        for b, info in zip(acting, infos, strict=True):
            self._infos[b] = info
        limited = [bool(info.get("episode_limit", False)) for info in infos]
        return Outcomes(np.array(rewards, dtype=np.float64), np.array(ended), np.array(limited))

    def info(self, number: int) -> dict[str, Any]:
        return self._infos[number]


def _write(key: str, place: npt.NDArray[Any], value: Any) -> None:
    """Copies what an environment shows into its place; dimensions of size 1 may be missing, or be too many."""
    shown = np.asarray(value)
    if [size for size in shown.shape if size != 1] != [size for size in place.shape if size != 1]:
        raise ValueError(f"'{key}': expected shape {place.shape}, got {shown.shape}")
    place[...] = shown.reshape(place.shape)


class CompiledBatch(EnvBatch):
    """Environments `envs.grid_env.GridEnv`, stepped together by their compiled rules.

    Args:
        envs: B environments of one class that differ in their seeds only, freshly built; they lend their rules, maps
            and generators, and rest.

    Attributes:
        now: the situation of the rules, with a leading dimension B.
    """

    def __init__(self, envs: Sequence[Any]) -> None:
        super().__init__(envs)
        self._rules, self._world = envs[0].rules, envs[0].world
        self.now = type(envs[0].now)(*(np.stack([array] * len(envs)) for array in envs[0].now))
        self._draws = SharedDraws([env.draws for env in envs])
        self._running = np.zeros(len(envs), dtype=bool)
        self._limited = np.zeros(len(envs), dtype=bool)

    def reset(self) -> None:
        self._draws.refill()
        self._rules.start_rows(self._world, self.now, self._draws.chance)
        self._running[:], self._limited[:] = True, False

    def observe(self, acting: IntArray, t: int, arrays: EpisodeArrays) -> None:
        acting = np.ascontiguousarray(acting, dtype=np.int64)
        shown = arrays.obs, arrays.state, arrays.avail_actions
        self._rules.observe_rows(self._world, self.now, acting, t, *shown)

    def step(self, acting: IntArray, actions: IntArray) -> Outcomes:
        acting = np.ascontiguousarray(acting, dtype=np.int64)
        if not self._running[acting].all():
            raise RuntimeError("no episode is running in one of the environments: call reset() first")
        checked = check_batch_actions(actions, (len(acting), self.envs[0].n_agents), self._rules.N_ACTIONS)
        self.envs[0].check_available(self.now, checked, acting)
        self._draws.refill()
        outcomes = Outcomes(np.empty(len(acting)), np.empty(len(acting), bool), np.empty(len(acting), bool))
        results = outcomes.rewards, outcomes.ended, outcomes.limited
        self._rules.step_rows(self._world, self.now, self._draws.chance, acting, checked, *results)
        self._running[acting] = ~outcomes.ended
        self._limited[acting] = outcomes.limited
        return outcomes

    def info(self, number: int) -> dict[str, Any]:
        performance = int(self.now.tally[number, 1])
        return step_info(self.envs[0].performance_key, performance, bool(self._limited[number]))
