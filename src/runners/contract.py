"""What the experiment asks of a runner, as PyMARL has it; `runners.base.Runner` offers more."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Protocol

from components.contracts import Controller
from components.episode_buffer import EpisodeBatch
from components.scheme import Preprocess


class RunnerLike(Protocol):
    """Collects episodes; built as ``REGISTRY[args.runner](args, logger)``, with its environments.

    A plug-in that inherits nothing of `Runner` may log its tests by itself, as PyMARL's runners do.

    Attributes:
        args: the configuration; after the build also what describes the environment.
        t_env: environment steps of training so far. Set from outside when a checkpoint is loaded, and during tests.
    """

    args: SimpleNamespace
    t_env: int

    def get_env_info(self) -> dict[str, Any]:
        """The environments' sizes, as `envs.multiagentenv.MultiAgentEnv.get_env_info` gives them."""

    def setup(
        self,
        scheme: Mapping[str, Mapping[str, Any]],
        groups: Mapping[str, int],
        preprocess: Preprocess,
        mac: Controller,
    ) -> None:
        """Gives the runner the scheme of its batches and the controller that acts."""

    def run(self, test_mode: bool = False) -> EpisodeBatch:
        """Plays one episode in every environment; t_env counts their steps unless it is a test."""

    def save_replay(self) -> None:
        """Lets an environment write its last episode to a file."""

    def close_env(self) -> None:
        """Closes the environments."""
