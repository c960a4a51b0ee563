"""Statistics of a run: to the console, to its record, to sacred and to TensorBoard."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import Any

import numpy as np

from tracking.record import Evaluation, RecordWriter

COLUMNS = 3  # of a console block


class Logger:
    """Receives every statistic of a run as ``(key, value, environment step)``.

    Attributes:
        stats: all (step, value) pairs by key.
    """

    def __init__(self, console_logger: logging.Logger) -> None:
        self.console_logger = console_logger
        self.stats: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._record: RecordWriter | None = None
        self._tensorboard: Any = None
        self._sacred_run: Any = None

    def setup_record(self, record: RecordWriter) -> None:
        """Also writes the record of the run."""
        self._record = record

    def setup_tb(self, directory_name: str) -> None:
        """Also writes TensorBoard event files into the folder."""
        import tensorboard_logger  # optional at run time, and slow to import

        self._tensorboard = tensorboard_logger.Logger(directory_name, flush_secs=2)

    def setup_sacred(self, sacred_run: Any) -> None:
        """Also writes the metrics of a sacred run."""
        self._sacred_run = sacred_run

    def log_stat(self, key: str, value: Any, t: int, to_sacred: bool = True) -> None:
        """Records one value at environment step ``t``."""
        value = float(value)
        self.stats[key].append((t, value))
        if self._record is not None:
            self._record.stat(key, value, t)
        if self._tensorboard is not None:
            self._tensorboard.log_value(key, value, t)
        if self._sacred_run is not None and to_sacred:
            self._sacred_run.log_scalar(key, value, t)

    def log_evaluation(self, evaluation: Evaluation) -> None:
        """Records all episodes of an evaluation; their means are statistics of their own."""
        if self._record is not None:
            self._record.evaluation(evaluation)

    def print_recent_stats(self, heading: str = "Recent statistics") -> None:
        """Prints one block with the newest value of every key (of test keys too)."""
        cells = [f"{key}: {_short(values[-1][1])}" for key, values in sorted(self.stats.items())]
        width = max((len(cell) for cell in cells), default=0) + 2
        rows = ["".join(cell.ljust(width) for cell in cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)]
        self.console_logger.info("\n".join([heading, *("  " + row.rstrip() for row in rows)]))


def _short(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else str(value)


def get_logger() -> logging.Logger:
    """The project's console logger; the command line decides where its lines go."""
    return logging.getLogger("pymarl-vast")
