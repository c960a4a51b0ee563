"""Several environments at a time in this process."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch as th

from components.episode_buffer import EpisodeBatch
from envs import env_batch
from envs.batch import EpisodeArrays
from envs.state import EnvState
from runners.batch_runner import BatchRunner, BoolArray, FloatArray, IntArray, env_maker
from utils.logging import Logger


class VectorRunner(BatchRunner):
    """Steps ``batch_size_run`` environments together in this process; a rollout is one episode of each.

    The domains of this project have compiled rules that step them all at once and write straight into the batch; other
    environments are stepped one after the other, which still saves most of the agents' work. The environments have the
    seeds that they have in the parallel runner, and the episodes are the same.
    """

    def __init__(self, args: SimpleNamespace, logger: Logger) -> None:
        super().__init__(args, logger)
        self.envs: list[Any] = []
        try:
            for i in range(self.batch_size):
                self.envs.append(env_maker(args, i)())
            self.env_batch = env_batch(self.envs)
        except BaseException:
            self.close_env()
            raise
        self.episode_limit = self.envs[0].episode_limit

    def get_env_info(self) -> dict[str, Any]:
        """The environments' sizes."""
        return self.envs[0].get_env_info()

    def save_replay(self) -> None:
        """Lets the first environment write its last episode to a file."""
        self.envs[0].save_replay()

    def close_env(self) -> None:
        """Closes all environments."""
        for env in self.envs:
            env.close()

    def env_states(self) -> list[EnvState]:
        """The state of each environment."""
        return self.env_batch.states()

    def load_env_states(self, states: Sequence[EnvState]) -> None:
        """Gives the environments their states back."""
        self.env_batch.load_states(states)

    def _start(self) -> None:
        self._host = self.batch if th.device(self.args.device).type == "cpu" else self._pinned_batch()
        names = ("obs", "state", "avail_actions", "reward", "terminated", "filled")
        self._arrays = {name: self._host[name].numpy() for name in names}
        self.env_batch.reset()
        self._observe(np.arange(self.batch_size), 0)

    def _pinned_batch(self) -> EpisodeBatch:
        """A batch in page-locked memory, from which copies to the GPU do not wait for each other."""
        scheme, groups, size, length = self._batch_args
        batch = EpisodeBatch(scheme, groups, size, length, preprocess=self._preprocess)
        for key, tensor in batch.data.transition_data.items():
            batch.data.transition_data[key] = tensor.pin_memory()
        return batch

    def _observe(self, acting: IntArray, t: int) -> None:
        arrays = self._arrays
        where = EpisodeArrays(arrays["obs"], arrays["state"], arrays["avail_actions"])
        self.env_batch.observe(acting, t, where)
        arrays["filled"][acting, t] = 1
        self._upload(("obs", "state", "avail_actions", "filled"), t)

    def _advance(self, acting: IntArray, actions: IntArray, t: int) -> tuple[FloatArray, BoolArray]:
        outcomes = self.env_batch.step(acting, actions)
        self._arrays["reward"][acting, t, 0] = outcomes.rewards
        # An episode that only its time limit ended has not terminated.
        self._arrays["terminated"][acting, t, 0] = outcomes.ended & ~outcomes.limited
        self._upload(("reward", "terminated"), t)
        self._observe(acting, t + 1)
        return outcomes.rewards, outcomes.ended

    def _upload(self, keys: tuple[str, ...], t: int) -> None:
        """Copies step t of some keys to the device on which the agents act."""
        if self._host is not self.batch:
            for key in keys:
                self.batch[key][:, t].copy_(self._host[key][:, t], non_blocking=True)

    def _last_info(self, number: int) -> dict[str, Any]:
        return self.env_batch.info(number)
