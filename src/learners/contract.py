"""What the loop asks of a learner."""

from __future__ import annotations

from typing import Protocol

from components.episode_buffer import EpisodeBatch


class LearnerLike(Protocol):
    """PyMARL's form. ``observe(batch, t_env, episode_num)``, for what learns from the newest episodes, is optional."""

    def train(self, batch: EpisodeBatch, t_env: int, episode_num: int) -> None:
        """One update on B episodes, cut to their longest; so many environment steps and episodes were played so far."""

    def cuda(self) -> None:
        """Moves all networks to the GPU."""

    def save_models(self, path: str) -> None:
        """Writes a checkpoint into the folder ``path``."""

    def load_models(self, path: str) -> None:
        """Reads what `save_models` wrote."""
