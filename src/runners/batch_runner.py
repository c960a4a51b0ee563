"""What runners of several environments share: one batch of episodes, acted in together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th

from components.episode_buffer import EpisodeBatch
from envs import REGISTRY as env_REGISTRY
from runners.base import Runner
from utils.errors import UserError
from utils.logging import Logger

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


class BatchRunner(Runner):
    """Plays one episode in each of ``batch_size_run`` environments; the agents of all of them act in one call.

    A sub-class says how environments are started and stepped, and sets ``episode_limit``.
    """

    def __init__(self, args: SimpleNamespace, logger: Logger) -> None:
        super().__init__(args, logger)
        if self.batch_size < 1:
            raise UserError(f"batch_size_run: expected at least 1, got {self.batch_size}")
        if args.env_args.get("render"):
            raise UserError(
                f"env_args.render={args.env_args['render']}: a live look shows one environment: expected "
                f"runner=episode, got runner={args.runner}"
            )

    @abstractmethod
    def _start(self) -> None:
        """Starts new episodes and writes their first observations into the batch."""

    @abstractmethod
    def _advance(self, acting: IntArray, actions: IntArray, t: int) -> tuple[FloatArray, BoolArray]:
        """Steps the environments ``acting`` [M] with ``actions`` [M, N]; writes what step t did, and what t + 1 shows.

        Returns:
            The team rewards and whether the episodes are over, [M] each.
        """

    @abstractmethod
    def _last_info(self, number: int) -> dict[str, Any]:
        """The info dict of the last step of an environment."""

    @th.no_grad()
    def run(self, test_mode: bool = False) -> EpisodeBatch:
        """Plays one episode in every environment; t_env counts their steps unless it is a test.

        Returns:
            The episodes, [batch_size_run, episode_limit + 1]; the last filled step of each holds its final state.
        """
        self.batch = self.new_batch()
        self._start()
        self.mac.init_hidden(batch_size=self.batch_size)
        acting, t = np.arange(self.batch_size), 0
        ended = np.zeros(self.batch_size, dtype=bool)
        returns, lengths = np.zeros(self.batch_size), np.zeros(self.batch_size, dtype=int)
        while True:
            # An environment that has just ended acts once more: its final state gets actions, as in the episode runner.
            actions = self._act(t, acting, test_mode)
            going_on = ~ended[acting]
            acting = acting[going_on]
            if not len(acting):
                break
            rewards, ended[acting] = self._advance(acting, actions[going_on], t)
            returns[acting] += rewards
            lengths[acting] += 1
            t += 1

        if not test_mode:
            self.t_env += int(lengths.sum())
        stats = self.test_stats if test_mode else self.train_stats
        for i in range(self.batch_size):
            stats.add(returns[i], int(lengths[i]), self._last_info(i))
        self._log_if_due(test_mode)
        return self.batch

    def _act(self, t: int, acting: IntArray, test_mode: bool) -> IntArray:
        """Actions [len(acting), N] at step t, also written into the batch."""
        episodes = slice(None) if len(acting) == self.batch_size else acting
        actions = self.mac.select_actions(self.batch, t_ep=t, t_env=self.t_env, bs=episodes, test_mode=test_mode)
        self.batch.update({"actions": actions.unsqueeze(1)}, bs=episodes, ts=t, mark_filled=False)
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
