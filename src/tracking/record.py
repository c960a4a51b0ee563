"""The record of a run: one file of JSON lines, which grows while the run goes on and is never rewritten.

It is the truth about a run; sacred's files, TensorBoard (`tracking.sinks`) and MongoDB are views of it. Every line is
an object whose ``kind`` says what it holds:

- ``run``: the first line: token, configuration, host and start of the run; ``meta.version`` is the project's version.
- ``stat``: one logged statistic: ``key``, ``t`` (environment step), ``value``.
- ``evaluation``: one evaluation point with all its episodes (`Evaluation`).
- ``end``: the last line of a run that ended by itself: ``status`` and, where it has one, ``reason``.

Every line has ``time``, seconds since 1970 (UTC). Numbers that JSON lacks are the texts "NaN", "Infinity" and
"-Infinity".
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.logging import Line, stat_line

FILE = "record.jsonl"  # its name in the folder of a run
VERSION = 1  # of the lines' form
POINT_KINDS = ("stat", "evaluation")
_STAT = b'{"kind": "stat", "key": '  # how the line of a statistic begins


@dataclass(frozen=True)
class Evaluation:
    """All episodes of one evaluation.

    Attributes:
        t: the evaluation point in environment steps, the same in all runs of one configuration.
        t_env: environment steps that the evaluated agents were trained for, ``t`` or a little more.
        episodes: a value per episode, in the order of play: ``return``, ``ep_length``, and the numbers of the last
            step's info, such as ``completed_orders``.
        absolute: whether this is the final evaluation of the best checkpoint.
    """

    t: int
    t_env: int
    episodes: Mapping[str, Sequence[float]]
    absolute: bool = False

    def line(self) -> Line:
        """It as a line of the record."""
        episodes = {key: [float(value) for value in values] for key, values in self.episodes.items()}
        line = {"kind": "evaluation", "t": self.t, "t_env": self.t_env, "absolute": self.absolute}
        return {**line, "episodes": episodes}

    @classmethod
    def of(cls, line: Line) -> Evaluation:
        """The evaluation that a line of the record holds."""
        episodes = {key: [float(value) for value in values] for key, values in line["episodes"].items()}
        return cls(line["t"], line["t_env"], episodes, line["absolute"])


def end_line(status: str, reason: str | None = None) -> Line:
    """How a run ended, by sacred's word for it: COMPLETED, INTERRUPTED, FAILED."""
    return {"kind": "end", "status": status, **({"reason": reason} if reason else {})}


class RecordWriter:
    """Appends lines to the record of one run; each is on its way to the disk before the call returns.

    Args:
        folder: of the run; it exists.
        header: what the first line holds beside its kind: ``token``, ``config``, and whatever describes the run.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        self.path = folder / FILE
        self._file = self.path.open("x", encoding="utf-8")
        self.line({"kind": "run", "version": VERSION, **header})

    def stat(self, key: str, value: float, t: int) -> None:
        """One statistic at environment step ``t``."""
        self.line(stat_line(key, value, t))

    def evaluation(self, evaluation: Evaluation) -> None:
        """One evaluation point."""
        self.line(evaluation.line())

    def end(self, status: str, reason: str | None = None) -> None:
        """How the run ended; nothing can follow."""
        self.line(end_line(status, reason))
        self.close()

    def line(self, line: Line) -> None:
        """Any line; it gets the present ``time`` if it has none."""
        text = json.dumps(_jsonable({**line, "time": line.get("time", time.time())}), default=str, allow_nan=False)
        try:
            self._file.write(text + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"local_results_path: cannot write to {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Nothing can follow."""
        self._file.close()


@dataclass
class Record:
    """What the record of a run holds.

    Attributes:
        path: of the file.
        header: the first line.
        stats: (environment steps, values) by key.
        evaluations: the evaluation points, in order.
        absolute: the final evaluation of the best checkpoint, if there was one.
        status: COMPLETED, INTERRUPTED or FAILED; RUNNING for a run that goes on or was killed.
        torn: whether the last line is incomplete, and left out.
    """

    path: Path
    header: dict[str, Any]
    stats: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    absolute: Evaluation | None = None
    status: str = "RUNNING"
    torn: bool = False

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the run."""
        config: dict[str, Any] = self.header["config"]
        return config

    @property
    def token(self) -> str:
        """The name that no other run has."""
        return str(self.header["token"])


def read_record(folder: Path, statistics: Collection[str] | None = None) -> Record:
    """The record in the folder of a run, as far as it is written.

    Args:
        folder: of the run.
        statistics: keys of the statistics to read; None: all. Lines of others are passed over without a closer look,
            which makes reading the evaluations of many runs several times faster.

    Raises:
        UserError: there is none, or a line of it (other than a torn last one) is damaged.
    """
    path = folder / FILE
    record = Record(path, {})
    stats: dict[str, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
    for line in read_lines(path, statistics=statistics):
        match line["kind"]:
            case "run":
                record.header = line
            case "stat":
                steps, values = stats[line["key"]]
                steps.append(line["t"])
                values.append(float(line["value"]))  # of "NaN", too
            case "evaluation":
                _add_evaluation(record, line)
            case "end":
                record.status = line["status"]
    if not record.header:
        raise UserError(f"{path}: empty: expected the record of a run")
    record.stats = dict(stats)
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        record.torn = file.read() != b"\n"
    return record


def _add_evaluation(record: Record, line: Mapping[str, Any]) -> None:
    evaluation = Evaluation.of(line)
    if evaluation.absolute:
        record.absolute = evaluation
    else:
        record.evaluations.append(evaluation)


class RecordReader:
    """Reads a record that may still grow: every call of `read` goes on where the last one stopped.

    Args:
        path: of the record.
        statistics: keys of the statistics to read; None: all.
    """

    def __init__(self, path: Path, statistics: Collection[str] | None = None) -> None:
        self._path = path
        self._number = self._offset = 0  # of the line that comes next: how many are before it, and how many bytes
        self._all = statistics is None
        self._wanted = tuple(_STAT + json.dumps(key).encode() for key in statistics or ())

    def read(self, limit: int = 1000) -> list[dict[str, Any]]:
        """The next complete lines, at most ``limit``; none: there are no more yet. A torn line is not complete.

        Raises:
            UserError: the file is missing or unreadable, a line is damaged, or the first one does not open a record.
        """
        texts: list[tuple[int, bytes]] = []
        number, offset = self._number, self._offset
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                while len(texts) < limit and (text := file.readline()).endswith(b"\n"):
                    if self._all or not text.startswith(_STAT) or text.startswith(self._wanted):
                        texts.append((number, text))
                    number += 1
                    offset += len(text)
        except OSError as error:
            raise UserError(f"{self._path}: no readable record of a run: {error.strerror}") from error
        lines = [_parse(self._path, *text) for text in texts]
        self._number, self._offset = number, offset
        return lines


def read_lines(path: Path, statistics: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
    """The complete lines of a record, all that are there now; arguments and errors as in `RecordReader`."""
    reader = RecordReader(path, statistics)
    while lines := reader.read():
        yield from lines


def _parse(path: Path, number: int, text: bytes) -> dict[str, Any]:
    try:
        line = json.loads(text)
        kind = line["kind"]
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}, line {number + 1}: damaged: expected a JSON object with a kind") from None
    if (number == 0) != (kind == "run"):
        raise UserError(f"{path}, line {number + 1}: got kind '{kind}', expected 'run' in line 1 and there only")
    if number == 0 and line.get("version") != VERSION:
        raise UserError(f"{path}: expected version {VERSION} of the record, got {line.get('version')!r}")
    result: dict[str, Any] = line
    return result


def _jsonable(value: Any) -> Any:
    """``value`` with texts for the numbers that JSON lacks; they read back by `float`."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return value
