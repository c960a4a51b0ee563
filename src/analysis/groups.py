"""Runs that differ in their seeds only become one curve; what is unequal among them is noted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np

from analysis.notes import Notes
from analysis.runs import COMPLETED, Run, Series
from analysis.statistics import Array
from settings.keys import FREE

GROUP_BY = ("name", "assigner", "eta", "env", "env_args.n_agents")


@dataclass(frozen=True)
class Group:
    """The runs of one curve.

    Attributes:
        task: title of the environment and its size.
        label: of the algorithm.
        runs: of all seeds.
    """

    task: str
    label: str
    runs: Sequence[Run]

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"{self.label} in {self.task}"


@dataclass(frozen=True)
class Curve:
    """The values of n runs at T environment steps that all of them share.

    Attributes:
        task: title of the environment and its size.
        label: of the algorithm.
        measure: what the values are.
        runs: those that are drawn, n of them, by seed.
        steps: [T].
        values: [n, T].
        interpolated: whether the runs were evaluated at steps of their own, between which values are interpolated.
    """

    task: str
    label: str
    measure: str
    runs: Sequence[Run]
    steps: Array
    values: Array
    interpolated: bool

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"{self.label} in {self.task}"

    @property
    def seeds(self) -> list[int]:
        """Of the runs."""
        return [run.seed for run in self.runs]

    def final(self, last: int) -> Array:
        """The mean of the last points of each run, [n]."""
        result: Array = self.values[:, -last:].mean(axis=1)
        return result

    def at(self, points: Sequence[float], by_episodes: bool) -> Array:
        """The value of each run at ``points``, [n, len(points)], interpolated linearly between its own evaluations.

        Args:
            points: environment steps, or training episodes.
            by_episodes: which of the two.

        Returns:
            NaN before a run's first evaluation, and behind its last one (whose number of episodes is known).
        """
        rows = []
        for run in self.runs:
            series = run.series(self.measure)
            assert series is not None  # or it would not be drawn
            places = run.episodes_at(series.steps) if by_episodes else series.steps
            known = np.isfinite(places)
            rows.append(np.interp(points, places[known], series.values[known], left=np.nan, right=np.nan))
        return np.array(rows)

    def absolute(self) -> Array:
        """The absolute score of each run that has one, [at most n]."""
        scores = [run.absolute_score(self.measure) for run in self.runs]
        return np.array([score for score in scores if score is not None])


# --- grouping ---


def group(runs: Sequence[Run], keys: Sequence[str]) -> list[Group]:
    """One group for each combination of values of ``keys``, by task and label; runs without a key have None there."""
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        groups[tuple(str(run.keys.get(key)) for key in keys)].append(run)
    found = [Group(_task(some[0], keys), _label(some[0], keys), some) for some in groups.values()]
    return sorted(found, key=lambda group: (_task_order(group.runs[0], keys), group.task, group.label))


def _is_of_task(key: str) -> bool:
    """Whether a key describes the task rather than the algorithm."""
    return key == "env" or key.startswith("env_args.")


def _task_order(run: Run, keys: Sequence[str]) -> tuple[str, int]:
    """By which tasks are sorted: environment, then number of agents."""
    env, n_agents = (run.keys.get(key) if key in keys else None for key in ("env", "env_args.n_agents"))
    return str(env), n_agents if isinstance(n_agents, int) else 0


def task_title(env: str, n_agents: int | None) -> str:
    """As in the paper: ``Warehouse[16]``."""
    title = "".join(word.capitalize() for word in env.split("_"))
    return f"{title}[{n_agents}]" if n_agents is not None else title


def _task(run: Run, keys: Sequence[str]) -> str:
    """The title of a run's task, followed by what else of the task is among the keys."""
    n_agents = run.keys.get("env_args.n_agents") if "env_args.n_agents" in keys else None
    title = task_title(str(run.keys.get("env")), n_agents) if "env" in keys else "all environments"
    rest = [key for key in keys if _is_of_task(key) and key not in ("env", "env_args.n_agents")]
    return title + _in_brackets([_pair(key.removeprefix("env_args."), run.keys.get(key)) for key in rest])


def _label(run: Run, keys: Sequence[str]) -> str:
    """``vast_qtran (metagrad, η=1/4)``: the name, followed by the other keys of the algorithm that the run has."""
    rest = [key for key in keys if key != "name" and not _is_of_task(key) and key in run.keys]
    parts = [_plain(run.keys[key]) if key == "assigner" else _pair(key, run.keys[key]) for key in rest]
    return (str(run.config["name"]) if "name" in keys else "runs") + _in_brackets(parts)


def _in_brackets(parts: Sequence[str]) -> str:
    return f" ({', '.join(parts)})" if parts else ""


def _pair(key: str, value: Any) -> str:
    return f"{'η' if key == 'eta' else key}={_plain(value)}"


def _plain(value: Any) -> str:
    """A value as people write it: ratios such as 0.25 as fractions."""
    if isinstance(value, float) and 0 < value < 1:
        fraction = Fraction(value).limit_denominator(1000)
        if fraction.numerator == 1 and abs(fraction - Fraction(value)) < 1e-9 and fraction.denominator < 100:
            return str(fraction)
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- one curve ---


def curve(group: Group, measure: str, notes: Notes) -> Curve | None:
    """The curve of a group, or None if none of its runs has a point of ``measure``.

    It ends where the shortest completed run ends. Runs that were stopped before that are left out; where no run is
    completed, all are drawn and the shortest ends the curve. Runs with values that are no finite numbers are left out.
    Points are those that all runs share; where these are few, values are interpolated linearly at the steps of the run
    that has the fewest points.
    """
    group = _without_duplicates(_without_evaluations(group, notes), notes)
    _note_differences(group, notes)
    series = _series(group, measure, notes)
    if not series:
        return None
    series, end = _common_end(series, notes, group)
    runs = sorted(series, key=lambda run: (run.seed, run.source))
    steps, interpolated = _common_steps([series[run].steps for run in runs], end)
    if not len(steps):
        notes.add("left out, as its runs share no range of steps", group.name)
        return None
    if interpolated:
        notes.add("evaluated at steps of each run's own, so values are interpolated linearly between them", group.name)
    elif any(set(steps) != {step for step in series[run].steps if step <= end} for run in runs):
        notes.add("evaluated at unequal steps, of which only the common ones are drawn", group.name)
    values = np.array([np.interp(steps, series[run].steps, series[run].values) for run in runs])
    if len(runs) == 1:
        notes.add("one seed only, so there is no confidence interval", group.name)
    return Curve(group.task, group.label, measure, runs, steps, values, interpolated)


def _without_evaluations(group: Group, notes: Notes) -> Group:
    kept = [run for run in group.runs if not run.config.get("evaluate")]
    for run in group.runs:
        if run not in kept:
            notes.add("left out, as it only evaluates a checkpoint (evaluate=True)", run.source)
    return replace(group, runs=kept)


def _without_duplicates(group: Group, notes: Notes) -> Group:
    """Without runs that repeat another's configuration and seed: the newest completed one stays, or the newest."""
    same: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in group.runs:
        settings = sorted((key, str(value)) for key, value in run.keys.items() if key not in FREE)
        same[(run.seed, *settings)].append(run)
    kept = []
    for runs in same.values():
        best = max(runs, key=lambda run: (run.status == COMPLETED, run.start_time))
        kept.append(best)
        for run in runs:
            if run is not best:
                notes.add(f"left out, as {best.source} has its seed and configuration", run.source)
    return replace(group, runs=kept)


def _note_differences(group: Group, notes: Notes) -> None:
    """Notes the keys that differ among the runs of one curve, with their values."""
    keys = {key for run in group.runs for key in run.keys} - FREE
    values = {key: sorted({str(run.keys.get(key)) for run in group.runs}) for key in sorted(keys)}
    different = [f"{key} ({', '.join(found)})" for key, found in values.items() if len(found) > 1]
    if different:
        notes.add(f"averaged over runs that differ in {', '.join(different)}; --also KEY tells them apart", group.name)


def _series(group: Group, measure: str, notes: Notes) -> dict[Run, Series]:
    found = {}
    for run in group.runs:
        series = run.series(measure)
        if series is None:
            notes.add(f"left out, as it has no point of {measure} (status {run.status})", run.source)
        elif not np.isfinite([*series.values, run.absolute_score(measure) or 0.0]).all():
            # One such value would be that of every mean it is in, over other algorithms' tasks, too.
            notes.add(f"left out, as it has values of {measure} that are no numbers", run.source)
        else:
            found[run] = series
    return found


def _common_end(series: dict[Run, Series], notes: Notes, group: Group) -> tuple[dict[Run, Series], float]:
    """The runs to draw, and the step at which their curve ends."""
    ends = {run: found.steps[-1] for run, found in series.items()}
    completed = [run for run in series if run.status == COMPLETED]
    end = min(ends[run] for run in completed or series)
    for run in series:
        if run.status != COMPLETED:
            fate = "left out" if ends[run] < end else "drawn"
            notes.add(f"{run.status} at step {ends[run]:.0f}, {fate}", f"{run.source} ({group.name})")
    kept = {run: found for run, found in series.items() if ends[run] >= end}
    shortest = min(kept, key=lambda run: ends[run])
    if max(ends[run] for run in kept) - end >= _spacing(kept[shortest].steps):
        longest = max(ends.values())
        notes.add(
            f"ends at step {end:.0f} with {shortest.source}, though its longest run goes on to {longest:.0f}",
            group.name,
        )
    return kept, end


def _spacing(steps: Array) -> float:
    """The usual distance of two points."""
    return float(np.median(np.diff(steps))) if len(steps) > 1 else 1.0


def _common_steps(steps: Sequence[Array], end: float) -> tuple[Array, bool]:
    """The steps [T] at which a curve is drawn, and whether values have to be interpolated there."""
    within = [run[run <= end] for run in steps]
    fewest = min(within, key=len)
    common = reduce(np.intersect1d, within)
    if 2 * len(common) >= len(fewest):
        return common, False
    start = max(run[0] for run in within)
    return fewest[fewest >= start], True


# --- all curves of a task ---


def note_inequalities(curves: Sequence[Curve], last: int, notes: Notes) -> None:
    """Notes where curves of one task have other numbers of runs or other ends, or less than ``last`` points."""
    tasks: dict[str, list[Curve]] = defaultdict(list)
    for curve in curves:
        tasks[curve.task].append(curve)
        if len(curve.steps) < last:
            notes.add(f"has less than {last} points, so its final score is the mean of all", curve.name)
    for task, found in tasks.items():
        if len({len(curve.runs) for curve in found}) > 1:
            numbers = ", ".join(f"{curve.label}: {len(curve.runs)}" for curve in found)
            notes.add("unequal numbers of seeds", f"{task} ({numbers})")
        ends = [curve.steps[-1] for curve in found]
        if max(ends) - min(ends) >= max(_spacing(curve.steps) for curve in found):
            numbers = ", ".join(f"{curve.label}: {end:.0f}" for curve, end in zip(found, ends, strict=True))
            notes.add("curves, and so final scores, end at unequal steps", f"{task} ({numbers})")
