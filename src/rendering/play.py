"""Episodes of loaded agents, with what is needed to draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th

from components.episode_buffer import EpisodeBatch
from components.generators import seed_everything
from envs.drawing.draw import Painter
from envs.drawing.shapes import Drawing
from envs.scene import Scene, scene_of
from experiment.experiment import Experiment
from utils.checks import check_shape

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Film:
    """One episode of T steps.

    Attributes:
        title: what was played, and by whom.
        scenes: before each step and after the last, T + 1.
        rewards: the team's, [T].
        subteams: of each agent in each scene, [T + 1, N]; None where the algorithm has no sub-teams.
        n_subteams: K, 0 where there are none.
        assigner: its name, empty where there is none.
    """

    title: str
    scenes: Sequence[Scene]
    rewards: npt.NDArray[np.float64]
    subteams: IntArray | None
    n_subteams: int
    assigner: str

    def __len__(self) -> int:
        return len(self.scenes)

    def painter(self) -> Painter:
        """What draws its scenes in one look."""
        return Painter(self.scenes, self.subteams)

    def draw(self, painter: Painter, t: int) -> Drawing:
        """Scene t with legend and caption: step, return and performance so far, how many sub-teams have members."""
        scene = self.scenes[t]
        parts = [f"step {scene.step} of {len(self) - 1}", f"return {self.rewards[:t].sum():.2f}"]
        parts += [f"{name} {value:g}" for name, value in scene.performance.items()]
        if self.subteams is not None:
            parts.append(f"{len(painter.active(t))} of {self.n_subteams} sub-teams active")
        return painter.frame(t, [self.title, " | ".join(parts)])


class Recorder:
    """Passes everything on to an environment, and keeps a scene of the start and of every step of its last episode."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self.scenes: list[Scene] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def reset(self) -> Any:
        """Starts a new episode."""
        shown = self._env.reset()
        self.scenes = [scene_of(self._env)]
        return shown

    def step(self, actions: Any) -> Any:
        """Steps the environment."""
        outcome = self._env.step(actions)
        self.scenes.append(scene_of(self._env))
        return outcome


def play(experiment: Experiment, episodes: int, explore: bool = False) -> list[Film]:
    """Plays episodes with the agents of ``experiment``, which must have the episode runner.

    Args:
        experiment: fresh from `run.build`.
        episodes: how many.
        explore: choose actions as in training, instead of as in tests.

    Raises:
        UserError: the environment does not say what it looks like.
    """
    runner: Any = experiment.runner
    recorder = runner.env = Recorder(runner.env)
    seed_everything(experiment.args.seed)
    films = []
    for _ in range(episodes):
        batch = experiment.player.rollout(experiment.mac, runner.t_env, explore)
        films.append(_film(experiment, batch[:, : len(recorder.scenes)], recorder.scenes))
    return films


def _film(experiment: Experiment, batch: EpisodeBatch, scenes: Sequence[Scene]) -> Film:
    args, assigner = experiment.args, getattr(experiment.learner, "assigner", None)
    subteams, n_subteams, name = None, 0, ""
    title = f"{args.env}[{args.n_agents}], {args.name}"
    if assigner is not None:
        subteams, n_subteams, name = assign(assigner, batch), assigner.n_subteams, args.assigner
        title += f", assigner {name}"
    rewards = batch["reward"][0, :-1, 0].double().numpy(force=True)
    return Film(title, scenes, rewards, subteams, n_subteams, name)


@th.no_grad()
def assign(assigner: Any, batch: EpisodeBatch) -> IntArray:
    """The most probable sub-teams of one episode, [T, N]."""
    subteams = assigner(batch, greedy=True).subteams
    check_shape("subteams", subteams, batch["obs"].shape[:3])
    return subteams[0].numpy(force=True)
