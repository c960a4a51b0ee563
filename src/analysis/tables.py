"""Tables of final and absolute scores, and of scores at chosen points of training."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from analysis.groups import Curve
from analysis.notes import Notes
from analysis.statistics import Array, iqm, iqm_interval, mean_interval


@dataclass(frozen=True)
class Score:
    """Mean and interquartile mean over n runs, with their 95 % intervals; None where there is nothing to resample."""

    runs: Array
    mean: float
    mean_low: float | None
    mean_high: float | None
    iqm: float
    iqm_low: float | None
    iqm_high: float | None


@dataclass(frozen=True)
class Row:
    """One line of the table: an algorithm on a task."""

    task: str
    algorithm: str
    measure: str
    seeds: Sequence[int]
    steps: int
    final: Score
    absolute: Score | None


def row(curve: Curve, last: int) -> Row:
    """The scores of a curve; ``last``: how many points the final score is the mean of."""
    absolute = curve.absolute()
    return Row(
        curve.task,
        curve.label,
        curve.measure,
        curve.seeds,
        int(curve.steps[-1]),
        _score(curve.final(last)),
        _score(absolute) if absolute.size else None,
    )


def _score(runs: Array) -> Score:
    if len(runs) < 2:
        return Score(runs, float(runs.mean()), None, None, iqm(runs), None, None)
    low, high = mean_interval(runs)
    return Score(runs, float(runs.mean()), float(low), float(high), iqm(runs), *iqm_interval([runs]))


def markdown(rows: Sequence[Row], last: int, per_seed: bool) -> str:
    """The table as Markdown; ``per_seed``: with the score of every run instead of intervals."""
    head = ["task", "algorithm", "measure", "n", "seeds", "steps"]
    kinds = [f"final mean (last {last})", "final IQM", "absolute mean", "absolute IQM"]
    lines = [_line([*head, *kinds]), _line(["---"] * (len(head) + len(kinds)))]
    for row in rows:
        seeds = ", ".join(map(str, row.seeds))
        cells = [row.task, row.algorithm, row.measure, str(len(row.seeds)), seeds, f"{row.steps:,}"]
        for score in (row.final, row.absolute):
            cells += _cells(score, per_seed)
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Points:
    """Scores at points of training.

    Attributes:
        places: the points.
        unit: what they count: steps or episodes.
        rows: the scores of each curve at the points; None where a run has no evaluation.
    """

    places: Sequence[int]
    unit: str
    rows: Sequence[tuple[Curve, Sequence[Score | None]]]


def at_points(curves: Sequence[Curve], places: Sequence[int], by_episodes: bool, notes: Notes) -> Points:
    """The scores of all curves at environment steps or training episodes; notes those that some runs have not."""
    unit, rows = "episodes" if by_episodes else "steps", []
    for curve in curves:
        runs = curve.at(places, by_episodes)
        for run, missing in zip(curve.runs, ~np.isfinite(runs), strict=True):
            if missing.any():
                where = ", ".join(f"{place:,}" for place, lacks in zip(places, missing, strict=True) if lacks)
                notes.add(f"not evaluated at {where} {unit}", run.source)
        rows.append((curve, [_score(column) if np.isfinite(column).all() else None for column in runs.T]))
    return Points(places, unit, rows)


def points_markdown(points: Points, per_seed: bool) -> str:
    """The means as Markdown, a line for each curve; ``per_seed`` as in `markdown`."""
    head = ["task", "algorithm", "measure", "n", *(f"at {place:,} {points.unit}" for place in points.places)]
    lines = [_line(head), _line(["---"] * len(head))]
    for curve, scores in points.rows:
        means = [_cells(score, per_seed)[0] for score in scores]
        lines.append(_line([curve.task, curve.label, curve.measure, str(len(curve.runs)), *means]))
    return "\n".join(lines) + "\n"


def write_points_csv(points: Points, path: Path) -> None:
    """The same with all digits, a line for each point of each curve."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "algorithm", "measure", "seeds", points.unit, *Score.__dataclass_fields__])
        for curve, scores in points.rows:
            head = [curve.task, curve.label, curve.measure, _list(curve.seeds)]
            for place, score in zip(points.places, scores, strict=True):
                writer.writerow([*head, place, *_values(score)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _cells(score: Score | None, per_seed: bool) -> list[str]:
    if score is None:
        return ["none", "none"]
    if per_seed:
        return [f"{score.mean:.1f} ({', '.join(f'{run:.1f}' for run in score.runs)})", f"{score.iqm:.1f}"]
    mean = _with_interval(score.mean, score.mean_low, score.mean_high)
    return [mean, _with_interval(score.iqm, score.iqm_low, score.iqm_high)]


def _with_interval(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.2f}" + (f" [{low:.2f}, {high:.2f}]" if low is not None else "")


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """The table as CSV, with all digits; lists are separated by spaces."""
    columns = [f"{kind}_{name}" for kind in ("final", "absolute") for name in Score.__dataclass_fields__]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "algorithm", "measure", "n", "seeds", "steps", *columns])
        for row in rows:
            head = [row.task, row.algorithm, row.measure, len(row.seeds), _list(row.seeds), row.steps]
            writer.writerow([*head, *_values(row.final), *_values(row.absolute)])


def _values(score: Score | None) -> list[object]:
    if score is None:
        return [""] * len(Score.__dataclass_fields__)
    return [_list(value) if isinstance(value, np.ndarray) else value for value in asdict(score).values()]


def _list(values: Sequence[float] | Array) -> str:
    return " ".join(map(str, np.asarray(values).tolist()))
