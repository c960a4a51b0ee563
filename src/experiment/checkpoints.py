"""The checkpoints that a run writes: folders named by the time step, as PyMARL's."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from learners.contract import LearnerLike
from settings.load import results_path
from utils.logging import Logger


class Checkpoints:
    """Writes what the learner saves into ``models/TOKEN`` of the results, with the run's configuration beside it.

    Args:
        config: of the run.
        token: the name of the run.
    """

    def __init__(self, learner: LearnerLike, config: dict[str, Any], token: str, logger: Logger) -> None:
        self.learner = learner
        self.config = config
        self.logger = logger
        self.folder: Path = results_path(config) / "models" / token

    def save(self, t_env: int) -> None:
        """Writes the checkpoint of step ``t_env``."""
        folder = self.folder / str(t_env)
        self._write(folder)
        self.logger.console_logger.info(f"Saved the models to {folder}")

    def save_best(self, t_env: int) -> None:
        """Writes the checkpoint of the best evaluation so far, in the place of the one before."""
        folder = self.folder / "best" / str(t_env)
        if folder.exists():  # a rollout has passed several points: the agents are the same
            return
        outdated = list(folder.parent.glob("*"))
        self._write(folder)
        for old in outdated:
            shutil.rmtree(old)

    def _write(self, folder: Path) -> None:
        """Writes a checkpoint, which appears only when it is complete, and the configuration that it belongs to."""
        part = folder.with_name(folder.name + ".part")
        part.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.json").write_text(json.dumps(self.config, indent=2))
        self.learner.save_models(str(part))
        os.replace(part, folder)
