"""When a run is evaluated, who plays the episodes, and which agents were the best."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from components.contracts import Controller
from components.episode_buffer import EpisodeBatch
from components.parts import load_states, states_of
from runners.base import Episodes, Runner, log_episodes
from runners.contract import RunnerLike
from tracking.record import Evaluation
from utils.logging import Logger


def evaluation_points(start: int, interval: int, t_max: int) -> Iterator[int]:
    """The environment steps at which a run is evaluated: all multiples of ``interval`` from ``start`` on, and t_max.

    They do not depend on how long episodes are, so that runs can be compared point by point.
    """
    yield from range(-(-start // interval) * interval, t_max, interval)
    if start <= t_max:
        yield t_max


def next_point(start: int, args: SimpleNamespace) -> int | None:
    """The first point of evaluation from step ``start`` on; None behind the last."""
    return next(evaluation_points(start, args.test_interval, args.t_max), None)


class Player:
    """Has a runner play episodes that are no part of the training; afterwards the runner is as it was.

    Args:
        runner: any of `RunnerLike`.
        batch_size: episodes of one of its rollouts.
    """

    def __init__(self, runner: RunnerLike, batch_size: int) -> None:
        self.runner = runner
        self.batch_size = batch_size

    @property
    def keeps_statistics(self) -> bool:
        """Whether the runner has any agents play and leaves logging to others, unlike those of PyMARL."""
        return isinstance(self.runner, Runner)

    def rollout(self, mac: Controller, t: int, explore: bool = False) -> EpisodeBatch:
        """One episode in each of the runner's environments.

        Args:
            mac: the agents that play. A runner that logs its tests by itself always has its own play.
            t: the environment steps that runner and action selector take them to be trained for.
            explore: choose actions as in training, instead of as in tests.
        """
        wanted = {"t_env": t, **({"mac": mac} if self.keeps_statistics else {})}
        before = {name: getattr(self.runner, name) for name in wanted}
        try:
            _set(self.runner, wanted)
            return self.runner.run(test_mode=not explore)
        finally:
            _set(self.runner, before)

    def play(self, mac: Controller, episodes: int, t: int) -> Episodes:
        """Plays test episodes, rounded up to whole rollouts, with the agents of ``mac`` after ``t`` training steps.

        Returns:
            What they came to; nothing from a runner that logs its tests by itself.
        """
        for _ in range(-(-episodes // self.batch_size)):
            self.rollout(mac, t)
        return self.runner.test_stats.take() if isinstance(self.runner, Runner) else {}


def _set(target: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(target, name, value)


class Evaluator:
    """Evaluates the agents in training, and keeps the best of them for the end.

    Args:
        args: reads ``test_nepisode`` and ``absolute_nepisode``.
        mac: the agents in training.
    """

    def __init__(self, args: SimpleNamespace, logger: Logger, player: Player, mac: Controller) -> None:
        self.args = args
        self.logger = logger
        self.player = player
        self.mac = mac
        self.best = BestAgents(mac)

    def evaluate(self, t: int) -> bool:
        """The evaluation at point ``t``; whether the agents are the best so far."""
        self._play(self.mac, self.args.test_nepisode, t)
        returns = self.logger.stats["test_return_mean"]
        return bool(returns) and self.best.offer(self.mac, returns[-1][1], t)

    def evaluate_best(self) -> None:
        """The final, "absolute" evaluation: the agents of the best evaluation play many new episodes."""
        episodes, best = self.args.absolute_nepisode, self.best
        if episodes is None:
            episodes = 10 * self.args.test_nepisode
        if episodes == 0 or best.t is None or not self.player.keeps_statistics:
            return
        console = self.logger.console_logger
        console.info(f"Evaluating the best agents, those of step {best.t}, in {episodes} episodes")
        self._play(best.mac, episodes, best.t, absolute=True)
        score = self.logger.stats["absolute_return_mean"][-1][1]
        console.info(f"The best agents' mean return: {score:.4g} (absolute_return_mean)")

    def _play(self, mac: Controller, episodes: int, t: int, absolute: bool = False) -> None:
        """Plays test episodes, and logs them as an evaluation at step ``t``."""
        played = self.player.play(mac, episodes, t)
        if played:
            log_episodes(self.logger, "absolute_" if absolute else "test_", t, played)
            self.logger.log_evaluation(Evaluation(t, self.player.runner.t_env, played, absolute))

    def state_dict(self) -> dict[str, Any]:
        """The best agents so far."""
        return {"best": self.best.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from such a state."""
        self.best.load_state_dict(state_dict["best"])


class BestAgents:
    """A copy of the agents that had the highest mean test return.

    Args:
        mac: the controller, of which learners make target networks in the same way.

    Attributes:
        mac: the copy.
        t: the evaluation point of it; None before the first.
    """

    def __init__(self, mac: Controller) -> None:
        self.mac = copy.deepcopy(mac)
        self.t: int | None = None
        self._score = -float("inf")

    def offer(self, mac: Controller, score: float, t: int) -> bool:
        """Takes over the agents of ``mac`` if ``score`` is above that of all before; whether it did."""
        if not score > self._score:
            return False
        self.mac.load_state(mac)
        self._score, self.t = score, t
        return True

    def state_dict(self) -> dict[str, Any]:
        """The agents, their score and their point."""
        return {"score": self._score, "t": self.t, **states_of({"mac": self.mac})}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from such a state."""
        self._score, self.t = state_dict["score"], state_dict["t"]
        load_states({"mac": self.mac}, state_dict)
