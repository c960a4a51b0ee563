"""Statistics of the scores of training runs, as pure functions on arrays.

Sources: R. Agarwal, M. Schwarzer, P. S. Castro, A. Courville, M. G. Bellemare, "Deep Reinforcement Learning at the Edge
of the Statistical Precipice", NeurIPS 2021 (there: sections 3 and 4), and its code, rliable; B. Efron, "Bootstrap
Methods: Another Look at the Jackknife", 1979.

``tasks`` is a list with the scores of one algorithm on every task, [n_t] each: n_t runs on task t. All intervals are
percentile bootstrap intervals of 95 %. They resample the runs of every task by themselves (the stratified bootstrap),
and the same call gives the same interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

REPETITIONS = 5000  # resamples of a bootstrap
SEED = 0  # of their generator
LEVEL = 0.95  # of the intervals
TRIM = 0.25  # share of the scores that the interquartile mean leaves out at either end


def iqm(scores: Array) -> float:
    """The interquartile mean: the mean of the middle half of all scores, [n] or any shape.

    ``floor(n / 4)`` scores are left out at either end, as in scipy's ``trim_mean(scores, 0.25)`` and rliable.
    """
    ordered = np.sort(scores, axis=None)
    cut = int(TRIM * ordered.size)
    return float(ordered[cut : ordered.size - cut].mean())


def mean_interval(values: Array) -> tuple[Array, Array]:
    """Lower and upper limit of the mean over runs, [...] each, of values [n, ...].

    A resample takes whole runs: all points of a learning curve together.
    """
    counts = _resample(len(values), np.random.default_rng(SEED))
    return _limits(np.tensordot(counts / len(values), values, axes=1))


def iqm_interval(tasks: Sequence[Array]) -> tuple[float, float]:
    """Lower and upper limit of the `iqm` of all scores of an algorithm."""
    rng = np.random.default_rng(SEED)
    scores = np.concatenate(list(tasks))
    order = np.argsort(scores)
    counts = np.concatenate([_resample(len(task), rng) for task in tasks], axis=1)[:, order]
    # A resample holds counts[i] copies of the i-th smallest score: how many of them lie in its middle half?
    cut, size = int(TRIM * scores.size), scores.size
    last = counts.cumsum(axis=1)
    kept = last.clip(cut, size - cut) - (last - counts).clip(cut, size - cut)
    low, high = _limits(kept @ scores[order] / (size - 2 * cut))
    return float(low), float(high)


def profile(tasks: Sequence[Array], thresholds: Array) -> Array:
    """The performance profile, [len(thresholds)]: the share of all runs whose score is above each threshold tau."""
    return (np.concatenate(list(tasks))[:, None] > thresholds).mean(axis=0)


def profile_interval(tasks: Sequence[Array], thresholds: Array) -> tuple[Array, Array]:
    """Lower and upper limit of the `profile`, [len(thresholds)] each."""
    rng = np.random.default_rng(SEED)
    scores = np.concatenate(list(tasks))
    counts = np.concatenate([_resample(len(task), rng) for task in tasks], axis=1)
    return _limits(counts / scores.size @ (scores[:, None] > thresholds))


def improvement(x: Sequence[Array], y: Sequence[Array]) -> float:
    """The probability that a run of algorithm X beats one of Y on the same task, averaged over the tasks.

    On a task it is the Mann-Whitney statistic: the share of pairs (x, y) with x > y; a draw counts half.
    """
    return float(np.mean([_wins(*scores).mean() for scores in zip(x, y, strict=True)]))


def improvement_interval(x: Sequence[Array], y: Sequence[Array]) -> tuple[float, float]:
    """Lower and upper limit of the probability of `improvement`; the runs of X and Y are resampled independently."""
    rng = np.random.default_rng(SEED)
    total = np.zeros(REPETITIONS)
    for x_scores, y_scores in zip(x, y, strict=True):
        wins = _wins(x_scores, y_scores)
        x_counts, y_counts = _resample(len(x_scores), rng), _resample(len(y_scores), rng)
        total += np.einsum("ri,ij,rj->r", x_counts, wins, y_counts, optimize=True) / wins.size
    low, high = _limits(total / len(x))
    return float(low), float(high)


def normalise(task: Sequence[Array]) -> list[Array]:
    """The scores of all algorithms on one task, scaled so that the lowest run has 0 and the highest 1.

    Where all are equal, all have 0.
    """
    scores = np.concatenate(list(task))
    low, span = scores.min(), np.ptp(scores)
    return [(algorithm - low) / (span or 1.0) for algorithm in task]


def _wins(x: Array, y: Array) -> Array:
    """1 where x_i > y_j, 1/2 where they are equal, 0 elsewhere, [len(x), len(y)]."""
    return (x[:, None] > y) + 0.5 * (x[:, None] == y)


def _resample(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each of n runs is in each resample, [REPETITIONS, n]: n draws with replacement."""
    drawn = rng.integers(n, size=(REPETITIONS, n)) + n * np.arange(REPETITIONS)[:, None]
    return np.bincount(drawn.ravel(), minlength=REPETITIONS * n).reshape(REPETITIONS, n)


def _limits(estimates: Array) -> tuple[Array, Array]:
    """The middle ``LEVEL`` of the resamples' estimates, [R, ...] -> [...] and [...]."""
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(estimates, [tail, 100 - tail], axis=0)
    return low, high
