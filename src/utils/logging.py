"""What a run logs: lines, which go to its record first and then to every sink."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

Line = Mapping[str, Any]  # of a record; `tracking.record` describes them
Write = Callable[[str, float, int], object]  # takes key, value, environment step
COLUMNS = 3  # of a console block
KEPT = 1000  # points of a statistic that stay in memory at least; all are in the record


class Sink(Protocol):
    """A view of a run: takes the lines of its record, in order, each after it was written; then it is closed."""

    def line(self, line: Line) -> None: ...
    def close(self) -> None: ...


class Scalars:
    """A sink that hands every statistic to a function."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def line(self, line: Line) -> None:
        if line["kind"] == "stat":
            self._write(line["key"], line["value"], line["t"])

    def close(self) -> None:
        pass


class Console(Scalars):
    """The sink behind the console's blocks, and what the loop looks up.

    Attributes:
        stats: the last (step, value) pairs by key, `KEPT` or more of each.
    """

    def __init__(self) -> None:
        super().__init__(self._keep)
        self.stats: dict[str, list[tuple[int, float]]] = defaultdict(list)

    def _keep(self, key: str, value: float, t: int) -> None:
        points = self.stats[key]
        points.append((t, value))
        if len(points) >= 2 * KEPT:
            del points[:-KEPT]

    def newest(self) -> dict[str, tuple[int, float]]:
        """The last pair of every key; who only looked a key up has left an empty list there."""
        return {key: points[-1] for key, points in sorted(self.stats.items()) if points}

    def block(self, heading: str) -> str:
        """The newest value of every key (of test keys too) in columns."""
        cells = [f"{key}: {_short(value)}" for key, (_, value) in self.newest().items()]
        width = max((len(cell) for cell in cells), default=0) + 2
        rows = ["".join(cell.ljust(width) for cell in cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)]
        return "\n".join([heading, *("  " + row.rstrip() for row in rows)])


class Evaluation(Protocol):
    """What a logger needs of `tracking.record.Evaluation`."""

    def line(self) -> Line: ...


class Logger:
    """Receives every statistic of a run as ``(key, value, environment step)``.

    Attributes:
        stats: the last (step, value) pairs by key, `KEPT` or more of each.
    """

    def __init__(self, console_logger: logging.Logger) -> None:
        self.console_logger = console_logger
        self._console = Console()
        self.stats = self._console.stats
        self._record: Sink | None = None
        self._sinks: dict[str, Sink] = {}

    def setup_record(self, record: Sink) -> None:
        """Also writes the record of the run. It gets each line before all sinks, and its errors are the run's."""
        self._record = record

    def attach(self, name: str, sink: Sink) -> None:
        """Also feeds a sink, in the place of one of that name. If it fails, the run goes on without it."""
        self._sinks[name] = sink

    def setup_tb(self, directory_name: str) -> None:
        """Also writes TensorBoard event files into the folder."""
        self.attach("tensorboard", Scalars(event_writer(directory_name)))

    def setup_sacred(self, sacred_run: Any) -> None:
        """Also writes the metrics of a sacred run."""
        self.attach("sacred", Scalars(sacred_run.log_scalar))

    def log_stat(self, key: str, value: Any, t: int, to_sacred: bool = True) -> None:
        """Records one value at environment step ``t``."""
        self.line(stat_line(key, float(value), t), without=None if to_sacred else "sacred")

    def log_evaluation(self, evaluation: Evaluation) -> None:
        """Records all episodes of an evaluation; their means are statistics of their own."""
        self.line(evaluation.line())

    def line(self, line: Line, without: str | None = None) -> None:
        """Adds the time to a line, writes it to the record, then feeds it to the sinks, ``without`` one of them."""
        line = {**line, "time": time.time()}
        if self._record is not None:
            self._record.line(line)
        self._console.line(line)
        for name in [name for name in self._sinks if name != without]:
            with self._guard(name):
                self._sinks[name].line(line)

    def print_recent_stats(self, heading: str = "Recent statistics") -> None:
        """Prints one block with the newest value of every key."""
        self.console_logger.info(self._console.block(heading))

    def close(self) -> None:
        """Closes the sinks; they get nothing more."""
        for name in list(self._sinks):
            with self._guard(name):
                self._sinks[name].close()
        self._sinks.clear()

    @contextlib.contextmanager
    def _guard(self, name: str) -> Iterator[None]:
        """An error in a sink is told once, and ends the sink instead of the run."""
        try:
            yield
        except Exception as error:
            del self._sinks[name]
            told = f"sink '{name}': {type(error).__name__}: {error}; the run goes on without it"
            self.console_logger.warning(told, exc_info=self.console_logger.isEnabledFor(logging.DEBUG))

    def state_dict(self) -> dict[str, Any]:
        """What the next block and the loop's decisions depend on: the last (step, value) of every key."""
        return {"stats": {key: [*pair] for key, pair in self._console.newest().items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self.stats.clear()
        self.stats.update({key: [(t, value)] for key, (t, value) in state["stats"].items()})


def stat_line(key: str, value: float, t: int) -> Line:
    """One statistic at environment step ``t``, as the record has it."""
    return {"kind": "stat", "key": key, "t": t, "value": value}


def event_writer(folder: str) -> Write:
    """A function that writes statistics to TensorBoard's event files in the folder."""
    import tensorboard_logger  # optional at run time, and slow to import

    write: Write = tensorboard_logger.Logger(folder, flush_secs=2).log_value
    return write


def _short(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else str(value)


def get_logger() -> logging.Logger:
    """The project's console logger; the command line decides where its lines go."""
    return logging.getLogger("pymarl-vast")
