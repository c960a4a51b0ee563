"""Environments alone: random play is recorded once, and only its repetition is timed, so that no choice of actions
counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

import envs
from envs.batch import EnvBatch, EpisodeArrays, IntArray

TAPE_STEPS = 4000  # environment steps of a tape, at least

Rollout = tuple[tuple[IntArray, IntArray], ...]  # for each step: which M environments acted, and how [M, N]
Choose = Callable[[IntArray, int], IntArray]  # environments [M] and step -> their actions [M, N]


@dataclass(frozen=True)
class Tape:
    """The actions of several rollouts of B environments, each started anew from its seed.

    Attributes:
        env: name in the registry.
        env_args: of all environments; those that take a seed get numbers of their own.
        size: B.
        rollouts: for each step of each, which M environments acted, and their actions [M, N].
    """

    env: str
    env_args: Mapping[str, Any]
    size: int
    rollouts: tuple[Rollout, ...]

    @property
    def steps(self) -> int:
        """Environment steps of all rollouts and environments."""
        return sum(len(acting) for rollout in self.rollouts for acting, _ in rollout)

    @property
    def first_steps(self) -> int:
        """Environment steps of the first environment."""
        return sum(len(actions) for actions in self._actions_of_first())

    def replay_batch(self) -> Callable[[], None]:
        """A function that plays the tape once in fresh environments that are stepped together."""
        batch, arrays = _fresh_batch(self.env, self.env_args, self.size)

        def play() -> None:
            for rollout in self.rollouts:
                _play(batch, arrays, partial(_recorded, rollout))

        return play

    def replay_first(self) -> Callable[[], None]:
        """A function that plays the first environment's part once, in a fresh one, by the interface of PyMARL."""
        env = _make_envs(self.env, self.env_args, 1)[0]
        episodes = self._actions_of_first()

        def play() -> None:
            for episode in episodes:
                env.reset()
                _read(env)
                for actions in episode:
                    env.step(actions)
                    _read(env)

        return play

    def _actions_of_first(self) -> list[list[IntArray]]:
        return [
            [actions[0] for acting, actions in rollout if len(acting) and acting[0] == 0] for rollout in self.rollouts
        ]


def record(env: str, env_args: Mapping[str, Any], size: int, steps: int = TAPE_STEPS) -> Tape:
    """Plays at random in ``size`` environments: whole rollouts, until there are ``steps`` environment steps."""
    batch, arrays = _fresh_batch(env, env_args, size)
    rng = np.random.default_rng(0)
    rollouts: list[Rollout] = []
    played = 0
    while played < steps:
        rollouts.append(_record_rollout(batch, arrays, rng))
        played += sum(len(acting) for acting, _ in rollouts[-1])
    return Tape(env, env_args, size, tuple(rollouts))


def _record_rollout(batch: EnvBatch, arrays: EpisodeArrays, rng: np.random.Generator) -> Rollout:
    steps: list[tuple[IntArray, IntArray]] = []

    def choose(acting: IntArray, t: int) -> IntArray:
        actions = _random_actions(arrays.avail_actions[acting, t], rng)
        steps.append((acting, actions))
        return actions

    _play(batch, arrays, choose)
    return tuple(steps)


def _recorded(rollout: Rollout, acting: IntArray, t: int) -> IntArray:
    return rollout[t][1]


def _play(batch: EnvBatch, arrays: EpisodeArrays, choose: Choose) -> None:
    """One rollout, observed at every step and at the end."""
    acting = np.arange(len(batch.envs))
    batch.reset()
    batch.observe(acting, 0, arrays)
    t = 0
    while len(acting):
        outcomes = batch.step(acting, choose(acting, t))
        t += 1
        batch.observe(acting, t, arrays)
        acting = acting[~outcomes.ended]


def _read(env: Any) -> None:
    env.get_state()
    env.get_avail_actions()
    env.get_obs()


def _random_actions(avail: npt.NDArray[np.int32], rng: np.random.Generator) -> IntArray:
    """For every agent one of its available actions, [M, N] of [M, N, A]."""
    return np.where(avail > 0, rng.random(avail.shape), -1.0).argmax(-1)


def _make_envs(env: str, env_args: Mapping[str, Any], size: int) -> list[Any]:
    seeds = [{"seed": number} if "seed" in env_args else {} for number in range(size)]
    return [envs.REGISTRY[env](**{**env_args, **seed}) for seed in seeds]


def _fresh_batch(env: str, env_args: Mapping[str, Any], size: int) -> tuple[EnvBatch, EpisodeArrays]:
    members = _make_envs(env, env_args, size)
    info = members[0].get_env_info()
    times = (size, info["episode_limit"] + 1)
    arrays = EpisodeArrays(
        obs=np.zeros((*times, info["n_agents"], info["obs_shape"]), np.float32),
        state=np.zeros((*times, info["state_shape"]), np.float32),
        avail_actions=np.zeros((*times, info["n_agents"], info["n_actions"]), np.int32),
    )
    return envs.env_batch(members), arrays
