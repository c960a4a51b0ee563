"""One run: its parts, its loop and its state."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from components.contracts import Controller
from components.episode_buffer import ReplayBuffer
from components.generators import GlobalGenerators, seed_everything
from components.parts import Part, load_states, states_of
from experiment.checkpoints import Checkpoints
from experiment.evaluation import Evaluator, Player
from experiment.loop import Training, Updates
from learners.contract import LearnerLike
from runners.contract import RunnerLike
from settings.load import results_path
from tracking.sinks import Run, attach_sinks
from utils.logging import Logger


@dataclass
class Experiment:
    """The parts of a run, and its loop.

    Attributes:
        args: the configuration and what describes the environment, as plug-ins get it.
        buffer: None when the run only evaluates.
        config: the configuration alone.
        token: the name of the run, which no other run has.
        player: plays episodes that are no part of the training, for whoever asks.
        evaluator: evaluates the agents.
        training: the loop; None when the run only evaluates.
    """

    args: SimpleNamespace
    logger: Logger
    runner: RunnerLike
    mac: Controller
    learner: LearnerLike
    buffer: ReplayBuffer | None
    config: dict[str, Any]
    token: str = field(init=False)
    player: Player = field(init=False)
    evaluator: Evaluator = field(init=False)
    training: Training | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        # The random end keeps apart runs that start in the same second, in one process, several, or several containers.
        now, end = f"{datetime.now():%Y-%m-%d_%H-%M-%S}", secrets.token_hex(4)
        self.token = f"{self.args.name}_seed{self.args.seed}__{now}_{end}"
        self.player = Player(self.runner, self.args.batch_size_run)
        self.evaluator = Evaluator(self.args, self.logger, self.player, self.mac)
        if self.buffer is not None:
            updates = Updates(self.learner, self.buffer, self.args)
            checkpoints = Checkpoints(self.learner, self.config, self.token, self.logger)
            self.training = Training(self.args, self.logger, self.runner, updates, self.evaluator, checkpoints)

    def run(self, sacred_run: Any = None) -> None:
        """Trains until t_max, or evaluates; logs to sacred if given a run."""
        attach_sinks(self.logger, Run(self.token, self.config, results_path(self.config), sacred_run))
        if self.training is None or not self.training.state.begun:
            # Once more after the build, so that what a learner draws while it is built does not change the rollouts.
            seed_everything(self.args.seed)
        if self.training is None:
            self._evaluate()
        else:
            self.training.run()

    def _evaluate(self) -> None:
        self.evaluator.evaluate(self.runner.t_env)
        if self.args.save_replay:
            self.runner.save_replay()
        self.logger.print_recent_stats(f"Evaluation of {self.args.test_nepisode} episodes")

    def close(self) -> None:
        """Closes the sinks, and the environments and their processes."""
        self.logger.close()
        self.runner.close_env()

    # --- state ---

    def parts(self) -> dict[str, Part]:
        """All that has state, by name; what a plug-in is made of may have none (`Part`)."""
        candidates = {
            "loop": self.training.state if self.training else None,
            "evaluator": self.evaluator,
            "runner": self.runner,
            "mac": self.mac,
            "learner": self.learner,
            "buffer": self.buffer,
            "logger": self.logger,
            "generators": GlobalGenerators(),
        }
        return {name: part for name, part in candidates.items() if isinstance(part, Part)}

    def state_dict(self) -> dict[str, Any]:
        """The states of all parts, taken between two rollouts."""
        return states_of(self.parts())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Has a freshly built experiment of the same configuration go on from such states, with `run`."""
        load_states(self.parts(), state_dict)
