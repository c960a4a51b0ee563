"""The loop of a training run in pieces that can be timed, from the parts that `run.build` gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.episode_buffer import EpisodeBatch
from run import Experiment, build, seed_everything
from settings.load import load_config

# One thing at a time: statistics come every few updates and some cost backward passes, so they are written in the first
# update, which warms up, and never again.
NEVER = 10**9
QUIET = ("seed=1", "use_cuda=false", f"learner_log_interval={NEVER}", f"runner_log_interval={NEVER}")


def settings(alg: str, env: str, n_agents: int, updates: Sequence[str] = ()) -> dict[str, Any]:
    """The resolved configuration of a run that is measured."""
    return load_config(alg, env, [*QUIET, f"env_args.n_agents={n_agents}", *updates])


class Loop:
    """Rollouts, updates and tests of one experiment."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.experiment: Experiment = build(config)
        assert self.experiment.training is not None
        self.updates = self.experiment.training.updates
        seed_everything(config["seed"])  # as a run does: one seed, one first batch of episodes
        self.episode = 0

    @property
    def t_env(self) -> int:
        """Environment steps so far."""
        return self.experiment.runner.t_env

    def rollout(self) -> EpisodeBatch:
        """One training rollout: an episode in every environment of the runner."""
        return self.experiment.runner.run(test_mode=False)

    def test(self) -> EpisodeBatch:
        """One test rollout."""
        return self.experiment.player.rollout(self.experiment.mac, self.t_env)

    def update(self, batch: EpisodeBatch) -> None:
        """Stores new episodes and, once the buffer holds enough of them, makes one update."""
        self.store(batch)
        if self.updates.can_sample:
            self.train(self.sample())

    def store(self, batch: EpisodeBatch) -> None:
        """Puts new episodes into the buffer, and shows them to a learner that wants them."""
        self.episode += batch.batch_size
        self.updates.store(batch, self.t_env, self.episode)

    def show(self, batch: EpisodeBatch) -> None:
        """Shows the newest episodes to a learner that wants them."""
        self.updates.show(batch, self.t_env, self.episode)

    def sample(self) -> EpisodeBatch:
        """The episodes of an update, cut to the longest of them."""
        return self.updates.sample()

    def train(self, sample: EpisodeBatch) -> None:
        """The learner's update."""
        self.updates.train(sample, self.t_env, self.episode)

    def fill(self) -> None:
        """Rollouts and the update after them, until one was made: what is compiled or built once is then there."""
        while True:
            self.update(self.rollout())
            if self.updates.can_sample:
                return

    def close(self) -> None:
        """Closes the environments."""
        self.experiment.close()


def steps_of(batch: EpisodeBatch) -> int:
    """Environment steps of the episodes of a batch; every episode has one filled step more, its last state."""
    return int(batch["filled"].sum()) - batch.batch_size
