"""Runs as they were recorded, from folders or from MongoDB, in one form."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from analysis.notes import Notes
from analysis.statistics import Array
from settings.sources import leaves
from tracking.record import FILE, Evaluation, RecordReader, read_record
from utils.errors import UserError

DOMAIN_MEASURES = {
    "warehouse": "completed_orders",
    "battle": "kill_count",
    "gaussian_squeeze": "system_performance",
}
RETURN = "return"  # the measure of any other environment
EPISODES = "episode"  # the statistic that counts training episodes
COMPLETED = "COMPLETED"

SETTINGS = {"env": str, "name": str, "seed": int}  # what every run of this program has in its configuration

UNREADABLE = "left out, as it cannot be read"
WITHOUT_RECORD = "recorded without single episodes and absolute score, and read from sacred's files"


@dataclass(frozen=True)
class Series:
    """Values [T] of one measure at environment steps [T], in ascending order."""

    steps: Array
    values: Array


@dataclass(frozen=True, eq=False)  # eq=False: two runs are the same if they are one object
class Run:
    """A run that was read.

    Attributes:
        source: how messages name it: its folder, or its place in a database.
        config: the complete configuration.
        status: COMPLETED, INTERRUPTED or FAILED; RUNNING for a run that goes on or was killed.
        start_time: ISO 8601.
        evaluations: the evaluation points with all episodes; none in a run that was recorded without them.
        absolute: the final evaluation of the best checkpoint.
        statistics: (environment steps, values) by key.
    """

    source: str
    config: Mapping[str, Any]
    status: str
    start_time: str
    evaluations: Sequence[Evaluation] = ()
    absolute: Evaluation | None = None
    statistics: Mapping[str, tuple[Sequence[int], Sequence[float]]] = field(default_factory=dict)

    @cached_property
    def keys(self) -> dict[str, Any]:
        """The configuration by dotted keys."""
        return dict(leaves(self.config))

    @property
    def seed(self) -> int:
        """Of the run."""
        return int(self.config["seed"])

    def series(self, measure: str) -> Series | None:
        """The curve of a measure, or None if the run has no point of it.

        Args:
            measure: a number of the test episodes (``return``, ``kill_count``), of which the mean over the episodes of
                each evaluation point is taken; otherwise the key of a logged statistic.
        """
        points = {
            point.t: float(np.mean(point.episodes[measure])) for point in self.evaluations if measure in point.episodes
        }
        if not points:
            logged = self.statistics.get(test_statistic(measure)) or self.statistics.get(measure) or ((), ())
            points = dict(zip(*logged, strict=True))
        if not points:
            return None
        steps = sorted(points)
        return Series(np.array(steps, dtype=float), np.array([points[step] for step in steps]))

    def is_of_episodes(self, measure: str) -> bool:
        """Whether a measure is a mean over test episodes, not a logged statistic."""
        return test_statistic(measure) in self.statistics or any(
            measure in point.episodes for point in self.evaluations
        )

    def absolute_score(self, measure: str) -> float | None:
        """The mean of a measure over the episodes of the absolute evaluation, if there was one."""
        episodes = self.absolute.episodes if self.absolute else {}
        return float(np.mean(episodes[measure])) if measure in episodes else None

    def episodes_at(self, steps: Array) -> Array:
        """Training episodes that the run had played at environment steps [T], interpolated between logged numbers.

        None at the first of ``steps``, with which the run begins; NaN behind the last step with a logged number.
        """
        logged, played = self.statistics.get(EPISODES, ((), ()))
        result: Array = np.interp(steps, [steps[0], *logged], [0, *played], right=np.nan)
        return result

    def measures(self) -> set[str]:
        """All that `series` takes."""
        of_episodes = {key for point in self.evaluations for key in point.episodes}
        tests = {match[1] for match in map(re.compile("test_(.*)_mean").fullmatch, self.statistics) if match}
        return of_episodes | tests | set(self.statistics)


@dataclass(frozen=True)
class Found:
    """A run that was found, and not read yet.

    Attributes:
        source: how messages name it.
        config: the complete configuration.
        read: gives the run, with the statistics of the given keys (None: with all).
    """

    source: str
    config: Mapping[str, Any]
    read: Callable[[Collection[str] | None], Run]


def check(source: str, config: Any, facts: Mapping[str, Any]) -> None:
    """Refuses what is no run that could be drawn: one of another program, or one that waits to be started.

    Args:
        source: how messages name the run.
        config: its configuration.
        facts: texts by name, such as its status.

    Raises:
        UserError: the configuration is no mapping or lacks a setting, or a fact is missing.
    """
    if not isinstance(config, Mapping):
        raise UserError(f"{source}: expected a configuration of keys and values, got {config!r}")
    missing = [f"config.{key} ({kind.__name__})" for key, kind in SETTINGS.items() if not _is(config.get(key), kind)]
    missing += [f"{key} (str)" for key, fact in facts.items() if not _is(fact, str)]
    if missing:
        raise UserError(f"{source}: no complete run of this program, as it lacks {', '.join(missing)}")


def _is(value: Any, kind: type) -> bool:
    """Whether a value is of a kind; a truth value is no number."""
    return isinstance(value, kind) and not isinstance(value, bool)


def test_statistic(measure: str) -> str:
    """The key under which the mean of a measure over the test episodes is logged."""
    return f"test_{measure}_mean"


def default_measure(env: Any) -> str:
    """What the paper's figures show of an environment; the return of any other."""
    return DOMAIN_MEASURES.get(str(env), RETURN)


def matches(value: Any, text: str) -> bool:
    """Whether ``text`` is a way to write a value of a configuration: ``1/4`` or ``0.25``, ``none``, ``true``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return math.isclose(float(Fraction(text)), value)
        except (ValueError, ZeroDivisionError):
            return False
    return text.lower() in (("none", "null") if value is None else (str(value).lower(),))


def select(found: Sequence[Found], where: Mapping[str, str], searched: str) -> list[Found]:
    """The runs whose configuration has all the values of ``where``, by dotted keys.

    Raises:
        UserError: none has; says what was searched, and which keys, or values of the key, there are.
    """
    chosen = list(found)
    for key, text in where.items():
        before, chosen = chosen, [run for run in chosen if matches(_value(run, key), text)]
        if not chosen:
            have = [run for run in before if key in dict(leaves(run.config))]
            known = sorted({str(_value(run, key)) for run in have})
            keys = sorted({path for run in before for path, _ in leaves(run.config)})
            there_is = f"{key} is {', '.join(known)} there" if known else f"the keys are {', '.join(keys)}"
            raise UserError(f"--where {key}={text}: matches none of {len(before)} runs in {searched}: {there_is}")
    return chosen


def _value(run: Found, key: str) -> Any:
    return dict(leaves(run.config)).get(key, "")  # no text of the command line is empty


def read(found: Sequence[Found], measure: str | None, notes: Notes) -> list[Run]:
    """The runs, with what they have of ``measure`` (None: of the default of each); unreadable ones are noted."""
    runs = []
    for run in found:
        shown = measure or default_measure(run.config["env"])
        try:
            runs.append(run.read([shown, test_statistic(shown), EPISODES]))
        except UserError as error:
            notes.add(UNREADABLE, str(error))
    return runs


# --- folders ---


def find_folders(paths: Sequence[Path], notes: Notes) -> list[Found]:
    """The runs in folders, each once: the folders themselves or, at any depth, what they hold.

    A run without a record, from before there were any, is read from sacred's files.

    Raises:
        UserError: a folder does not exist or cannot be searched.
    """
    folders = {folder.resolve(): folder for path in paths for folder in _run_folders(path)}.values()
    recorded = [folder for folder in folders if (folder / FILE).exists()]
    if len(recorded) < len(folders):
        notes.add(WITHOUT_RECORD, f"{len(folders) - len(recorded)} runs")
    found = []
    for folder in folders:
        try:
            found.append(_find_record(folder, notes) if folder in recorded else _find_sacred(folder))
        except UserError as error:
            notes.add(UNREADABLE, str(error))
    return found


def _run_folders(path: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be searched for runs: {error.strerror}")

    for root, inner, files in os.walk(path, onerror=refuse):
        inner.sort(key=lambda name: (len(name), name))  # 2 before 10
        if FILE in files or {"config.json", "run.json"} <= set(files):
            yield Path(root)


def _find_record(folder: Path, notes: Notes) -> Found:
    lines = RecordReader(folder / FILE).read(1)
    if not lines:
        raise UserError(f"{folder / FILE}: empty: expected the record of a run")
    config = lines[0].get("config", {})
    check(str(folder), config, {"start_time": lines[0].get("start_time")})
    return Found(str(folder), config, partial(_read_record, folder, notes))


def _read_record(folder: Path, notes: Notes, statistics: Collection[str] | None) -> Run:
    record = read_record(folder, statistics)
    if record.torn:
        notes.add("the last line of the record is torn and left out", str(folder))
    start = record.header["start_time"]
    return Run(str(folder), record.config, record.status, start, record.evaluations, record.absolute, record.stats)


def _find_sacred(folder: Path) -> Found:
    config, run = _read_json(folder / "config.json"), _read_json(folder / "run.json")
    check(str(folder), config, {key: run.get(key) for key in ("status", "start_time")})
    return Found(str(folder), config, partial(_read_sacred, folder, config, run))


def _read_sacred(folder: Path, config: dict[str, Any], run: dict[str, Any], _statistics: Collection[str] | None) -> Run:
    path = folder / "metrics.json"
    metrics = _read_json(path) if path.exists() else {}  # sacred writes it with the first heartbeat
    statistics = {key: (metric["steps"], metric["values"]) for key, metric in metrics.items()}
    return Run(str(folder), config, run["status"], run["start_time"], statistics=statistics)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys and values, got {content!r}")
    return content
