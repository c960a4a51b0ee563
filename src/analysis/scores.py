"""The scores of all algorithms, task by task and over all tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from analysis.groups import Curve
from analysis.notes import Notes
from analysis.statistics import Array, normalise


@dataclass(frozen=True)
class ScoreSet:
    """What one panel of a picture shows.

    Attributes:
        title: of the task, or of all tasks.
        axis: what a score is.
        scores: by label of the algorithm: the scores of its runs, an array for each task.
    """

    title: str
    axis: str
    scores: Mapping[str, Sequence[Array]]


def score_sets(
    curves: Mapping[str, Sequence[Curve]], axes: Mapping[str, str], score: Callable[[Curve], Array], notes: Notes
) -> list[ScoreSet]:
    """One set for each task with scores; before them, if there are several tasks, one over all of them.

    The latter holds scores that are normalised on each task (`normalise`), of the algorithms that have scores on all of
    them.

    Args:
        curves: by title of the task.
        axes: by title of the task: what its scores are.
        score: gives the scores [n] of the runs of a curve, none if they have no such score.
        notes: get the algorithms that are missing over all tasks.
    """
    tasks = {task: {curve.label: score(curve) for curve in found} for task, found in curves.items()}
    tasks = {task: {label: array for label, array in scores.items() if array.size} for task, scores in tasks.items()}
    tasks = {task: scores for task, scores in tasks.items() if scores}
    single = [
        ScoreSet(task, axes[task], {label: [array] for label, array in scores.items()})
        for task, scores in tasks.items()
    ]
    if len(tasks) < 2:
        return single
    everywhere = [label for label in next(iter(tasks.values())) if all(label in scores for scores in tasks.values())]
    for scores in tasks.values():
        for label in scores:
            if label not in everywhere:
                notes.add("not in the pictures over all tasks, as it has no scores on some of them", label)
    if not everywhere:
        return single
    scaled: dict[str, list[Array]] = {label: [] for label in everywhere}
    for scores in tasks.values():
        for label, array in zip(scores, normalise(list(scores.values())), strict=True):
            if label in scaled:
                scaled[label].append(array)
    return [ScoreSet(f"all {len(tasks)} tasks", "score, normalised by task", scaled), *single]
