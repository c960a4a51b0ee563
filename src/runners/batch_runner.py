"""What runners of several environments share: one batch of episodes, acted in together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch as th

from components.episode_buffer import EpisodeBatch
from envs import REGISTRY as env_REGISTRY
from runners.base import Runner, outcome
from utils.errors import UserError
from utils.logging import Logger

Answer = tuple[float, bool, dict[str, Any], dict[str, Any]]  # reward, terminated, info, next observation


class BatchRunner(Runner):
    """Plays one episode in each of ``batch_size_run`` environments; the agents of all of them act in one call.

    A sub-class says how environments are reset and stepped, and sets ``episode_limit``.
    """

    def __init__(self, args: SimpleNamespace, logger: Logger) -> None:
        super().__init__(args, logger)
        if self.batch_size < 1:
            raise UserError(f"batch_size_run: expected at least 1, got {self.batch_size}")

    @abstractmethod
    def _reset_envs(self) -> Sequence[dict[str, Any]]:
        """Starts new episodes; the first observations of all environments."""

    @abstractmethod
    def _step_envs(self, acting: list[int], actions: np.ndarray) -> Sequence[Answer]:
        """Steps the environments ``acting`` with their actions [len(acting), N]."""

    @th.no_grad()
    def run(self, test_mode: bool = False) -> EpisodeBatch:
        """Plays one episode in every environment; t_env counts their steps unless it is a test.

        Returns:
            The episodes, [batch_size_run, episode_limit + 1]; the last filled step of each holds its final state.
        """
        self.batch = self._new_batch()
        acting, t = list(range(self.batch_size)), 0
        self._record(self._reset_envs(), acting, t)
        self.mac.init_hidden(batch_size=self.batch_size)
        returns, lengths = np.zeros(self.batch_size), np.zeros(self.batch_size, dtype=int)
        infos: list[dict[str, Any]] = [{} for _ in acting]
        ended = np.zeros(self.batch_size, dtype=bool)
        while True:
            # An environment that has just ended acts once more: its final state gets actions, as in the episode runner.
            actions = self._act(t, acting, test_mode)
            going_on = ~ended[acting]
            acting = [i for i in acting if not ended[i]]
            if not acting:
                break
            rewards, over, now, observations = zip(*self._step_envs(acting, actions[going_on]), strict=True)
            self._record([outcome(*result) for result in zip(rewards, over, now, strict=True)], acting, t)
            self._record(observations, acting, t + 1)
            returns[acting] += rewards
            lengths[acting] += 1
            ended[acting] = over
            for i, info in zip(acting, now, strict=True):
                infos[i] = info
            t += 1

        if not test_mode:
            self.t_env += int(lengths.sum())
        stats = self.test_stats if test_mode else self.train_stats
        for i in range(self.batch_size):
            stats.add(returns[i], int(lengths[i]), infos[i])
        self._log_if_due(test_mode)
        return self.batch

    def _record(self, data: Sequence[dict[str, Any]], acting: list[int], t: int) -> None:
        """Writes what several environments gave for step t, in one go for each key."""
        joined = {key: [[entry[key]] for entry in data] for key in data[0]}
        self.batch.update(joined, bs=acting, ts=t)

    def _act(self, t: int, acting: list[int], test_mode: bool) -> np.ndarray:
        """Actions [len(acting), N] at step t, also written into the batch."""
        actions = self.mac.select_actions(self.batch, t_ep=t, t_env=self.t_env, bs=acting, test_mode=test_mode)
        self.batch.update({"actions": actions.unsqueeze(1)}, bs=acting, ts=t, mark_filled=False)
        return actions.cpu().numpy()


def env_seed(seed: int, number: int) -> int:
    """The seed of environment ``number`` of several.

    The first keeps the run's, as in the episode runner; those of the others are hashed, so that the environments of
    runs with neighbouring seeds share none.
    """
    return seed if number == 0 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def env_maker(args: SimpleNamespace, number: int) -> Callable[[], Any]:
    """A function that builds environment ``number``, with a seed of its own."""
    env_args = dict(args.env_args)
    if env_args.get("seed") is not None:
        env_args["seed"] = env_seed(env_args["seed"], number)
    return partial(env_REGISTRY[args.env], **env_args)
