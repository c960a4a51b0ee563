"""Runs in the JSON form of marl-eval, for its own tools.

R. Gorsane et al., "Towards a Standardised Performance Evaluation Protocol for Cooperative MARL", NeurIPS 2022;
https://github.com/instadeepai/marl-eval (package id-marl-eval), whose README describes the form: environment, task,
algorithm and run (here ``seed_1``), and in a run ``step_1`` to ``step_k`` and, last, ``absolute_metrics``.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.groups import Curve
from analysis.notes import Notes
from analysis.runs import Run
from tracking.record import Evaluation

ABSOLUTE = "absolute_metrics"


def marl_eval(curves: Sequence[Curve], notes: Notes) -> dict[str, Any]:
    """What is drawn, every episode of it: the runs of the curves, at their steps.

    Names are in lower case and without commas, as marl-eval wants them. Its tools take the same algorithms, numbers of
    runs, steps and measures everywhere; where that is not so, it is noted.
    """
    tree: dict[str, Any] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for curve in curves:
        steps = set(curve.steps)
        for run in curve.runs:
            points = [point for point in run.evaluations if point.t in steps]
            if not points:
                notes.add("not exported, as marl-eval wants the single episodes of every evaluation", run.source)
                continue
            if not _finite([*points, run.absolute] if run.absolute else points):
                notes.add("not exported, as it has values that are no numbers, which JSON lacks", run.source)
                continue
            place = tree[str(run.config["env"]).lower()][_name(curve.task)][_name(curve.label)]
            name = f"seed_{run.seed}"
            if name in place:
                notes.add(f"not exported, as another run of the curve has its seed {run.seed}", run.source)
                continue
            place[name] = _run(run, points, notes)
    result: dict[str, Any] = json.loads(json.dumps(tree))  # plain dicts
    for environment, tasks in result.items():
        _note_unequal(environment, tasks, notes)
    return result


def write_marl_eval(curves: Sequence[Curve], path: Path, notes: Notes) -> None:
    """Writes `marl_eval` as a JSON file."""
    path.write_text(json.dumps(marl_eval(curves, notes), allow_nan=False) + "\n", encoding="utf-8")


def _finite(points: Sequence[Evaluation]) -> bool:
    return all(math.isfinite(value) for point in points for values in point.episodes.values() for value in values)


def _name(text: str) -> str:
    return text.lower().replace(",", "")


def _run(run: Run, points: Sequence[Evaluation], notes: Notes) -> dict[str, Any]:
    steps = {
        f"step_{number}": {"step_count": point.t, **_episodes(point)} for number, point in enumerate(points, start=1)
    }
    if run.absolute is None:
        notes.add("exported without an absolute evaluation, which marl-eval wants in every run", run.source)
        return steps
    return {**steps, ABSOLUTE: _episodes(run.absolute)}


def _episodes(point: Evaluation) -> dict[str, list[float]]:
    return {key: list(values) for key, values in sorted(point.episodes.items())}


def _note_unequal(environment: str, tasks: Mapping[str, Any], notes: Notes) -> None:
    """Notes what marl-eval would refuse to aggregate."""
    algorithms = {frozenset(found) for found in tasks.values()}
    names = {frozenset(runs) for found in tasks.values() for runs in found.values()}
    lengths = {len(steps) for found in tasks.values() for runs in found.values() for steps in runs.values()}
    for what, different in (("algorithms", algorithms), ("seeds", names), ("evaluations", lengths)):
        if len(different) > 1:
            notes.add(f"marl-eval refuses unequal {what} within an environment", environment)
