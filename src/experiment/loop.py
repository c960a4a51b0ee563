"""The loop of a run: rollout, store, update, evaluate."""

from __future__ import annotations

from types import SimpleNamespace

from components.episode_buffer import EpisodeBatch, ReplayBuffer
from experiment.checkpoints import Checkpoints
from experiment.evaluation import Evaluator, next_point
from experiment.state import RunState
from learners.contract import LearnerLike
from runners.contract import RunnerLike
from tracking.progress import Progress
from utils.logging import Logger


class Updates:
    """What becomes of new episodes: they are stored, shown to the learner, and sampled for its updates.

    Args:
        args: reads ``batch_size``, ``episodes_per_update`` and ``device``.
    """

    def __init__(self, learner: LearnerLike, buffer: ReplayBuffer, args: SimpleNamespace) -> None:
        self.learner = learner
        self.buffer = buffer
        self.args = args

    def take(self, batch: EpisodeBatch, t_env: int, episode: int, waiting: int = 0) -> int:
        """Stores new episodes and makes the updates that are due.

        An update is due after every rollout, or after every ``episodes_per_update`` episodes if that is given. Updates
        that are due before the buffer holds ``batch_size`` episodes are skipped.

        Args:
            batch: the new episodes.
            t_env: environment steps so far, those of the new episodes included.
            episode: episodes so far, likewise.
            waiting: older episodes that have not counted for an update yet.

        Returns:
            The episodes that wait for the next update.
        """
        self.store(batch, t_env, episode)
        due, waiting = divmod(waiting + batch.batch_size, self.args.episodes_per_update or batch.batch_size)
        if self.can_sample:
            for _ in range(due):
                self.train(self.sample(), t_env, episode)
        return waiting

    def store(self, batch: EpisodeBatch, t_env: int, episode: int) -> None:
        """Puts new episodes into the buffer, and shows them to the learner."""
        self.buffer.insert_episode_batch(batch)
        self.show(batch, t_env, episode)

    def show(self, batch: EpisodeBatch, t_env: int, episode: int) -> None:
        """Shows new episodes to a learner that wants them."""
        if hasattr(self.learner, "observe"):
            self.learner.observe(batch, t_env, episode)

    @property
    def can_sample(self) -> bool:
        """Whether the buffer holds enough episodes for an update."""
        return self.buffer.can_sample(self.args.batch_size)

    def sample(self) -> EpisodeBatch:
        """The episodes of an update, cut to the longest of them: unfilled steps cost time and teach nothing."""
        sample = self.buffer.sample(self.args.batch_size)
        return sample[:, : sample.max_t_filled()]

    def train(self, sample: EpisodeBatch, t_env: int, episode: int) -> None:
        """One update of the learner."""
        self.learner.train(sample.to(self.args.device), t_env, episode)


class Training:
    """Trains until ``t_max``; all that it remembers from one rollout to the next is its `RunState`.

    Args:
        args: reads ``t_max`` and what says how often something happens.
    """

    def __init__(
        self,
        args: SimpleNamespace,
        logger: Logger,
        runner: RunnerLike,
        updates: Updates,
        evaluator: Evaluator,
        checkpoints: Checkpoints,
    ) -> None:
        self.args = args
        self.logger = logger
        self.runner = runner
        self.updates = updates
        self.evaluator = evaluator
        self.checkpoints = checkpoints
        self.state = RunState()

    def run(self) -> None:
        """The whole training, or what is left of it."""
        args, runner, console = self.args, self.runner, self.logger.console_logger
        console.info(f"Training for {args.t_max} environment steps on {args.device}")
        progress = Progress(runner.t_env, args.t_max)
        if not self.state.begun:
            self._begin()
        while runner.t_env <= args.t_max:
            self._step(progress)
        progress.close()
        self._finish()
        console.info(f"Finished training after {runner.t_env} environment steps")

    def _begin(self) -> None:
        state, t_env = self.state, self.runner.t_env
        state.begun = True
        state.point = next_point(t_env, self.args)
        # The first rollout is followed by a checkpoint, as in PyMARL.
        state.last_log, state.last_save = t_env, -self.args.save_model_interval
        self._evaluate()

    def _step(self, progress: Progress) -> None:
        """One rollout and what follows it; between two of these a run can be stopped and go on."""
        args, runner, state = self.args, self.runner, self.state
        batch = runner.run(test_mode=False)
        state.episode += batch.batch_size
        state.waiting = self.updates.take(batch, runner.t_env, state.episode, state.waiting)
        self._evaluate()
        if args.save_model and runner.t_env - state.last_save >= args.save_model_interval:
            self._save()
        progress.update(runner.t_env, self.logger.stats)
        if runner.t_env - state.last_log >= args.log_interval:
            self._log_episodes()
            self.logger.print_recent_stats(progress.line(runner.t_env, state.episode))

    def _finish(self) -> None:
        t_env = self.runner.t_env
        if self.state.last_log != t_env:  # so that the last evaluation has its number of episodes, too
            self._log_episodes()
        if self.args.save_model and self.state.last_save != t_env:
            self._save()
        self.evaluator.evaluate_best()

    def _evaluate(self) -> None:
        """Evaluates at every point that is reached.

        A rollout that passes several is followed by an evaluation for each, so that every run has all of them.
        """
        state, t_env = self.state, self.runner.t_env
        while state.point is not None and state.point <= t_env:
            if self.evaluator.evaluate(state.point) and self.args.save_model:
                self.checkpoints.save_best(t_env)
            state.point = next_point(state.point + 1, self.args)

    def _save(self) -> None:
        self.checkpoints.save(self.runner.t_env)
        self.state.last_save = self.runner.t_env

    def _log_episodes(self) -> None:
        self.logger.log_stat("episode", self.state.episode, self.runner.t_env)
        self.state.last_log = self.runner.t_env
