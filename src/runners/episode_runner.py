"""One episode at a time."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch as th

from components.episode_buffer import EpisodeBatch
from envs import REGISTRY as env_REGISTRY
from envs.checks import is_over
from envs.state import EnvState, env_state, load_env_state
from runners.base import Runner, observe, outcome
from utils.errors import UserError
from utils.logging import Logger


class EpisodeRunner(Runner):
    """Steps a single environment in this process; a rollout is one episode."""

    def __init__(self, args: SimpleNamespace, logger: Logger) -> None:
        super().__init__(args, logger)
        if self.batch_size != 1:
            raise UserError(
                f"batch_size_run: runner=episode runs 1 environment, got {self.batch_size}; "
                "give runner=vector or runner=parallel for more"
            )
        self.env = env_REGISTRY[args.env](**args.env_args)
        self.episode_limit = self.env.episode_limit
        self.t = 0

    def get_env_info(self) -> dict[str, Any]:
        """The environment's sizes."""
        return self.env.get_env_info()

    def save_replay(self) -> None:
        """Lets the environment write its last episode to a file."""
        self.env.save_replay()

    def close_env(self) -> None:
        """Closes the environment."""
        self.env.close()

    def env_states(self) -> list[EnvState]:
        """The state of its one environment."""
        return [env_state(self.env)]

    def load_env_states(self, states: Sequence[EnvState]) -> None:
        """Gives the environment its state back."""
        load_env_state(self.env, states[0])

    def reset(self) -> None:
        """Starts a new episode and an empty batch."""
        self.batch = self.new_batch()
        self.env.reset()
        self.t = 0

    @th.no_grad()
    def run(self, test_mode: bool = False) -> EpisodeBatch:
        """Plays one episode; t_env counts it unless it is a test.

        Returns:
            The episode, [1, episode_limit + 1]: its last filled step holds the final state for bootstrapping.
        """
        self.reset()
        self.mac.init_hidden(batch_size=self.batch_size)
        over, episode_return, info = False, 0.0, {}
        while not over:
            self.batch.update(observe(self.env), ts=self.t)
            actions = self._act(test_mode)
            reward, terminated, info = self.env.step(actions[0])
            over = is_over(terminated)
            episode_return += reward
            self.batch.update(outcome(reward, over, info), ts=self.t)
            self.t += 1
        self.batch.update(observe(self.env), ts=self.t)
        self._act(test_mode)  # of the final state, which some learners read

        if not test_mode:
            self.t_env += self.t
        (self.test_stats if test_mode else self.train_stats).add(episode_return, self.t, info)
        self._log_if_due(test_mode)
        return self.batch

    def _act(self, test_mode: bool) -> th.Tensor:
        actions = self.mac.select_actions(self.batch, t_ep=self.t, t_env=self.t_env, test_mode=test_mode)
        self.batch.update({"actions": actions.unsqueeze(1)}, ts=self.t, mark_filled=False)
        return actions.cpu()
