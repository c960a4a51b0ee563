"""What rooms ask of each other's parts, as PyMARL has it; a plug-in need not inherit from anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch as th

from components.episode_batch import EpisodeBatch, Index


class Controller(Protocol):
    """The agents of a team ("mac"): runners have it act, learners train it.

    Letters: B episodes, N agents, A actions.

    Attributes:
        action_selector: may have ``epsilon``, which runners log.
    """

    action_selector: Any

    def init_hidden(self, batch_size: int) -> None:
        """Forgets: fresh memories for ``batch_size`` episodes."""

    def select_actions(
        self, ep_batch: EpisodeBatch, t_ep: int, t_env: int, bs: Index = slice(None), test_mode: bool = False
    ) -> th.Tensor:
        """Actions [len(bs), N] at step ``t_ep`` of the episodes ``bs``; advances the memories of their agents."""

    def forward(self, ep_batch: EpisodeBatch, t: int, test_mode: bool = False) -> th.Tensor:
        """Q-values or action probabilities [B, N, A] at step ``t``; advances every agent's memory."""

    def parameters(self) -> Iterable[th.nn.Parameter]:
        """What a learner trains."""

    def load_state(self, other_mac: Any) -> None:
        """Copies the parameters of another controller of its kind."""

    def cuda(self) -> None:
        """Moves the networks to the GPU."""

    def save_models(self, path: str) -> None:
        """Writes the networks into the folder ``path``."""

    def load_models(self, path: str) -> None:
        """Reads the networks of the folder ``path``."""
