"""What runners share: the batch they fill and the statistics they log."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from components.contracts import Controller
from components.episode_buffer import EpisodeBatch
from components.parts import load_states, states_of
from components.scheme import Preprocess
from envs.multiagentenv import MultiAgentEnv
from utils.logging import Logger

Episodes = dict[str, list[float]]  # a value per episode, by name


class EpisodeStatistics:
    """What finished episodes came to, until it is logged.

    Attributes:
        episodes: a value per episode, in the order of play: ``return``, ``ep_length`` and the numbers of the last
            step's info. An episode whose info lacks a key counts as 0 there.
    """

    def __init__(self) -> None:
        self.episodes: Episodes = {"return": []}

    def __len__(self) -> int:
        return len(self.episodes["return"])

    def add(self, episode_return: float, length: int, final_info: Mapping[str, Any]) -> None:
        """Counts one episode in; ``final_info`` is the info dict of its last step."""
        before = len(self)
        values = {"return": episode_return, **final_info, "ep_length": length}
        for key in {**self.episodes, **values}:
            self.episodes.setdefault(key, [0.0] * before).append(float(values.get(key, 0.0)))

    def take(self) -> Episodes:
        """Gives all episodes away and starts anew."""
        episodes, self.episodes = self.episodes, {"return": []}
        return episodes

    def flush(self, logger: Logger, prefix: str, t_env: int) -> Episodes:
        """Logs the episodes, gives them away and starts anew."""
        episodes = self.take()
        log_episodes(logger, prefix, t_env, episodes)
        return episodes

    def state_dict(self) -> dict[str, Any]:
        """The episodes that are not logged yet."""
        return {"episodes": {key: list(values) for key, values in self.episodes.items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over such episodes."""
        self.episodes = {key: list(values) for key, values in state_dict["episodes"].items()}


def log_episodes(logger: Logger, prefix: str, t_env: int, episodes: Episodes) -> None:
    """Logs mean and standard deviation of the returns and the means of the rest."""
    logger.log_stat(prefix + "return_mean", np.mean(episodes["return"]), t_env)
    logger.log_stat(prefix + "return_std", np.std(episodes["return"]), t_env)
    for key, values in episodes.items():
        if key != "return":
            logger.log_stat(f"{prefix}{key}_mean", np.mean(values), t_env)


class Runner:
    """The part of a runner that does not depend on how environments are stepped.

    A sub-class fills in what `runners.contract.RunnerLike` asks for beside this, `env_states` and `load_env_states`.

    Attributes:
        batch_size: environments stepped at a time.
        t_env: environment steps of training so far.
        episode_limit: of the environments; set by the sub-class.
    """

    episode_limit: int

    def __init__(self, args: SimpleNamespace, logger: Logger) -> None:
        self.args = args
        self.logger = logger
        self.batch_size = args.batch_size_run
        self.t_env = 0
        self.train_stats, self.test_stats = EpisodeStatistics(), EpisodeStatistics()
        self.log_train_stats_t = -args.runner_log_interval - 1

    def setup(
        self,
        scheme: Mapping[str, Mapping[str, Any]],
        groups: Mapping[str, int],
        preprocess: Preprocess,
        mac: Controller,
    ) -> None:
        """Gives the runner the scheme of its batches and the controller that acts."""
        self._batch_args = (scheme, groups, self.batch_size, self.episode_limit + 1)
        self._preprocess = preprocess
        self.mac = mac

    def state_dict(self) -> dict[str, Any]:
        """Counters, statistics that are not logged yet, and the environments' states; taken between two rollouts."""
        own = {"t_env": self.t_env, "log_train_stats_t": self.log_train_stats_t, "envs": self.env_states()}
        return own | states_of(self._statistics())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from such a state."""
        self.t_env, self.log_train_stats_t = state_dict["t_env"], state_dict["log_train_stats_t"]
        self.load_env_states(state_dict["envs"])
        load_states(self._statistics(), state_dict)

    def _statistics(self) -> dict[str, EpisodeStatistics]:
        return {"train_stats": self.train_stats, "test_stats": self.test_stats}

    @abstractmethod
    def env_states(self) -> list[Any]:
        """What each environment's next episodes depend on."""

    @abstractmethod
    def load_env_states(self, states: Sequence[Any]) -> None:
        """Gives the environments such states back."""

    def new_batch(self) -> EpisodeBatch:
        """An empty batch for a rollout."""
        return EpisodeBatch(*self._batch_args, preprocess=self._preprocess, device=self.args.device)

    def _log_if_due(self, test_mode: bool) -> None:
        """Logs training statistics every runner_log_interval; those of tests are logged by who runs the tests."""
        if not test_mode and self.t_env - self.log_train_stats_t >= self.args.runner_log_interval:
            self.train_stats.flush(self.logger, "", self.t_env)
            epsilon = getattr(self.mac.action_selector, "epsilon", None)  # a plug-in selector may have none
            if epsilon is not None:
                self.logger.log_stat("epsilon", epsilon, self.t_env)
            self.log_train_stats_t = self.t_env


def outcome(reward: float, over: bool, info: Mapping[str, Any]) -> dict[str, Any]:
    """What a step adds to the batch; an episode that only its time limit ended has not terminated."""
    return {"reward": [reward], "terminated": [over and not info.get("episode_limit", False)]}


def observe(env: MultiAgentEnv) -> dict[str, Any]:
    """What a batch holds of an environment before its agents act."""
    return {"state": env.get_state(), "avail_actions": env.get_avail_actions(), "obs": env.get_obs()}
