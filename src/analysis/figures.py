"""Pictures of learning curves and scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from analysis.groups import Curve
from analysis.scores import ScoreSet
from analysis.statistics import (
    Array,
    improvement,
    improvement_interval,
    iqm,
    iqm_interval,
    mean_interval,
    profile,
    profile_interval,
)

# The palette of M. Okabe and K. Ito, "Color Universal Design", 2008, which colour-blind readers can tell apart, without
# its yellow, which is too light for lines on white. Line styles tell curves apart in print; 42 combinations.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
PANEL, SINGLE = (4.0, 3.0), (5.8, 3.8)  # inches: one of several panels, and the only one
LEGEND_LINE = 0.22  # inches: the height of an entry of the legend
LEGEND_WIDTH, LEGEND_LETTER = 3.3, 0.075  # inches: the width of an entry, and what a letter takes of it in long ones
THRESHOLDS = 101  # of a performance profile
TITLES = {
    "return": "return",
    "completed_orders": "completed orders",
    "kill_count": "kill count",
    "system_performance": "system performance",
    "division_diversity": "division diversity\n(distinct divisions per ten episodes)",
}


@dataclass(frozen=True)
class Panel:
    """One axes with learning curves.

    Attributes:
        title: of the panel.
        axis: what the values are.
        curves: to draw.
        remark: a line of text in the panel, such as what is missing there.
    """

    title: str
    axis: str
    curves: Sequence[Curve]
    remark: str = ""


def axis_title(curve: Curve) -> str:
    """What the values of a curve are called on an axis."""
    title = TITLES.get(curve.measure, curve.measure.replace("_", " "))
    of_episodes = any(run.is_of_episodes(curve.measure) for run in curve.runs)
    return f"{title}\nper test episode" if of_episodes else title


def draw_curves(panels: Sequence[Panel], labels: Sequence[str], columns: int) -> Figure:
    """Learning curves: the mean over the runs, shaded its 95 % bootstrap interval; one legend for all panels."""
    figure, axes = _grid(len(panels), columns, labels)
    styles = _styles(labels)
    for panel, axis in zip(panels, axes, strict=True):
        axis.set_title(panel.title + _sizes(panel.curves))
        if not panel.curves:
            _empty(axis, panel.remark)
            continue
        for curve in panel.curves:
            _draw_curve(axis, curve, styles[curve.label])
        if panel.remark:
            box = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1.5}
            place = {"transform": axis.transAxes, "va": "top", "fontsize": 7, "bbox": box}
            axis.text(0.02, 0.97, panel.remark, color="0.25", **place)
        axis.set_xlabel("environment steps")
        axis.set_ylabel(panel.axis)
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.grid(alpha=0.3)
    _legend(figure, labels, styles)
    return figure


def draw_scores(rows: Sequence[tuple[str, Sequence[ScoreSet]]], labels: Sequence[str]) -> Figure:
    """Interquartile means with their 95 % stratified bootstrap intervals, beside the scores of the runs.

    Args:
        rows: a kind of score (final, absolute) and its sets; each is a column of the picture.
        labels: of all algorithms, from top to bottom.
    """
    height = max(len(sets) for _, sets in rows)
    size = (3.6 * len(rows) + 2.4, height * (0.26 * len(labels) + 1.2))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(height, len(rows), squeeze=False)
    styles = _styles(labels)
    for column, (kind, sets) in enumerate(rows):
        for axis in axes[len(sets) :, column]:
            _empty(axis, f"no {kind} scores")
        for axis, some in zip(axes[:, column], sets, strict=False):
            axis.set_title(f"{some.title}: {kind} score", fontsize=10)
            axis.set_xlabel(f"IQM: {_one_line(some.axis)}", fontsize=9)
            shown = [label for label in labels if label in some.scores]
            for place, label in enumerate(shown):
                _draw_score(axis, place, some.scores[label], styles[label][0])
            axis.set_yticks(range(len(shown)), shown if column == 0 else [""] * len(shown))
            axis.set_ylim(len(shown) - 0.5, -0.5)
            axis.grid(axis="x", alpha=0.3)
    return figure


def draw_profiles(sets: Sequence[ScoreSet], labels: Sequence[str]) -> Figure:
    """Performance profiles: the share of runs whose final score is above tau, with 95 % bootstrap bands."""
    figure, axes = _grid(len(sets), 3, labels)
    styles = _styles(labels)
    for some, axis in zip(sets, axes, strict=True):
        everything = np.concatenate([array for tasks in some.scores.values() for array in tasks])
        margin = 0.05 * (np.ptp(everything) or 1.0)
        thresholds = np.linspace(everything.min() - margin, everything.max() + margin, THRESHOLDS)
        for label in (label for label in labels if label in some.scores):
            colour, line = styles[label]
            axis.step(thresholds, profile(some.scores[label], thresholds), where="post", color=colour, linestyle=line)
            if _has_interval(some.scores[label]):
                band = profile_interval(some.scores[label], thresholds)
                axis.fill_between(thresholds, *band, step="post", color=colour, alpha=0.15, linewidth=0)
        axis.set_title(some.title)
        axis.set_xlabel(f"τ: final {_one_line(some.axis)}")
        axis.set_ylabel("share of runs with score > τ")
        axis.set_ylim(-0.03, 1.03)
        axis.grid(alpha=0.3)
    _legend(figure, labels, styles)
    return figure


def draw_improvement(sets: Sequence[ScoreSet], labels: Sequence[str]) -> Figure:
    """The probability that a run of X has a higher final score than one of Y, for all pairs, with 95 % intervals."""
    pairs = {some.title: list(combinations([label for label in labels if label in some.scores], 2)) for some in sets}
    sets = [some for some in sets if pairs[some.title]]
    height = max((len(found) for found in pairs.values()), default=0)
    figure, axes = _grid(len(sets), 2, size=(6.0, 0.36 * height + 1.0))
    for some, axis in zip(sets, axes, strict=True):
        found = pairs[some.title]
        for place, (x, y) in enumerate(found):
            tasks = some.scores[x], some.scores[y]
            axis.plot(improvement(*tasks), place, "o", color=COLOURS[0], markersize=5)
            if all(map(_has_interval, tasks)):
                axis.hlines(place, *improvement_interval(*tasks), color=COLOURS[0], linewidth=3, alpha=0.4)
        axis.set_yticks(range(len(found)), [f"X = {x}\nY = {y}" for x, y in found], fontsize=8)
        axis.set_ylim(len(found) - 0.5, -0.5)
        axis.axvline(0.5, color="0.4", linewidth=1, linestyle="--")
        axis.set_xlim(-0.03, 1.03)
        axis.set_title(some.title)
        axis.set_xlabel("P(X > Y), final score")
        axis.grid(axis="x", alpha=0.3)
    return figure


def save(figure: Figure, path: Path) -> list[Path]:
    """Writes a picture as PNG and SVG and returns their paths; the same picture gives the same files.

    Args:
        figure: the picture.
        path: of both files, without their ending.
    """
    paths = [path.with_name(path.name + ending) for ending in (".png", ".svg")]
    with matplotlib.rc_context({"svg.hashsalt": path.name}):
        figure.savefig(paths[0], dpi=120)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


# --- parts ---


def _grid(
    n: int, columns: int, labels: Sequence[str] = (), size: tuple[float, float] | None = None
) -> tuple[Figure, list[Any]]:
    """A figure with n panels of a size in inches, at most so many in a row, and room for a legend of ``labels``."""
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    width, height = size or (PANEL if n > 1 else SINGLE)
    legend = LEGEND_LINE * math.ceil(len(labels) / _legend_columns(width * columns, labels))
    figure = Figure(figsize=(width * columns, height * rows + legend), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes[n:]:
        axis.set_axis_off()
    return figure, list(axes[:n])


def _one_line(title: str) -> str:
    """A title of an axis without its line breaks."""
    return title.replace("\n", " ")


def _legend_columns(width: float, labels: Sequence[str]) -> int:
    """How many entries of a legend fit beside each other."""
    longest = max(map(len, labels), default=0)
    return max(1, int(width // max(LEGEND_WIDTH, 0.8 + LEGEND_LETTER * longest)))


def _styles(labels: Sequence[str]) -> Mapping[str, tuple[str, Any]]:
    """Colour and line of each label."""
    return {label: (COLOURS[i % len(COLOURS)], LINES[i % len(LINES)]) for i, label in enumerate(labels)}


def _legend(figure: Figure, labels: Sequence[str], styles: Mapping[str, tuple[str, Any]]) -> None:
    """One legend below all panels."""
    handles = [Line2D([], [], color=styles[label][0], linestyle=styles[label][1]) for label in labels]
    columns = min(len(labels), _legend_columns(figure.get_figwidth(), labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9, handlelength=3)


def _draw_curve(axis: Any, curve: Curve, style: tuple[str, Any]) -> None:
    colour, line = style
    # A curve of a single point would be invisible as a line.
    marker = "o" if len(curve.steps) == 1 else None
    axis.plot(curve.steps, curve.values.mean(axis=0), color=colour, linestyle=line, linewidth=1.5, marker=marker)
    if len(curve.runs) > 1:
        axis.fill_between(curve.steps, *mean_interval(curve.values), color=colour, alpha=0.15, linewidth=0)


def _draw_score(axis: Any, place: int, tasks: Sequence[Array], colour: str) -> None:
    scores = np.concatenate(list(tasks))
    if _has_interval(tasks):
        axis.hlines(place, *iqm_interval(tasks), color=colour, linewidth=7, alpha=0.35)
    axis.plot(scores, np.full(len(scores), place), "o", color=colour, markersize=3, alpha=0.6)
    axis.plot(iqm(scores), place, "|", color=colour, markersize=13, markeredgewidth=2.5)


def _has_interval(tasks: Sequence[Array]) -> bool:
    """Whether there is anything to resample: two runs on some task."""
    return any(len(scores) > 1 for scores in tasks)


def _empty(axis: Any, text: str) -> None:
    """An axes that shows nothing but a text."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color="0.35", fontsize=9, wrap=True)
    axis.set_xticks([])
    axis.set_yticks([])


def _sizes(curves: Sequence[Curve]) -> str:
    """`` (n = 3)``, or the range of the numbers of runs."""
    numbers = sorted({len(curve.runs) for curve in curves})
    return f" (n = {'–'.join(str(n) for n in dict.fromkeys((numbers[0], numbers[-1])))})" if numbers else ""
