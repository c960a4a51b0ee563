"""Several environments at a time in this process."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from runners.base import observe
from runners.batch_runner import Answer, BatchRunner, env_maker
from utils.logging import Logger


class VectorRunner(BatchRunner):
    """Steps ``batch_size_run`` environments one after the other; a rollout is one episode of each.

    What it saves is the agents' work, done once for all environments: for fast environments it is the fastest runner.
    The environments have the seeds that they have in the parallel runner, and the episodes are the same.
    """

    def __init__(self, args: SimpleNamespace, logger: Logger) -> None:
        super().__init__(args, logger)
        self.envs: list[Any] = []
        try:
            for i in range(self.batch_size):
                self.envs.append(env_maker(args, i)())
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

    def _reset_envs(self) -> Sequence[dict[str, Any]]:
        for env in self.envs:
            env.reset()
        return [observe(env) for env in self.envs]

    def _step_envs(self, acting: list[int], actions: np.ndarray) -> Sequence[Answer]:
        return [self._step(self.envs[i], chosen) for i, chosen in zip(acting, actions, strict=True)]

    @staticmethod
    def _step(env: Any, actions: np.ndarray) -> Answer:
        reward, terminated, info = env.step(actions)
        return reward, terminated, info, observe(env)
