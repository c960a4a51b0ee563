"""Lloyd's k-means for many small point sets at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch as th
from torch import Tensor

from utils.compiled import compiled

MAX_ROUNDS = 50  # a bound only: sets of some hundred points settle in far fewer

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def kmeans(points: Tensor, weights: Tensor, n_centroids: int) -> Tensor:
    """Cluster numbers of M point sets, deterministic and ordered by centroid x, then y.

    Starts from the farthest-point centroids: the first is the counted point with the smallest (x, y), each next one
    the counted point farthest from the centroids so far (of equally far ones that with the smallest (x, y)). Sets with
    fewer distinct counted points than ``n_centroids`` get one centroid for each; a set without counted points gets
    cluster 0 throughout. A point that is equally near to several centroids joins the one that was chosen first.

    The work is done on the CPU, wherever the points are.

    Args:
        points: [M, N, 2].
        weights: [M, N] bool; only these points move centroids, the others just join the nearest one.
        n_centroids: C.

    Returns:
        [M, N] long in 0..C-1, on the device of ``points``.
    """
    # Double precision: ties between equal distances must not hang on rounding.
    places = points.detach().to("cpu", th.float64).contiguous().numpy()
    counted = weights.to("cpu", th.bool).contiguous().numpy()
    return th.from_numpy(_label_sets(places, counted, n_centroids, MAX_ROUNDS)).to(points.device)


# --- compiled; of one set: points [N, 2], counted [N], labels [N], centroids [C, 2], of which the first K are used ---


@compiled
def _label_sets(points: FloatArray, counted: BoolArray, n_centroids: int, max_rounds: int) -> IntArray:
    """The labels [M, N] of all sets, points [M, N, 2]; a set is done once its labels stay."""
    labels = np.zeros(counted.shape, dtype=np.int64)
    centroids = np.empty((n_centroids, 2))
    for m in range(len(points)):
        used = _choose_start(points[m], counted[m], centroids)
        if used == 0:
            continue
        _assign(points[m], centroids[:used], labels[m])
        for _ in range(max_rounds):
            _move(points[m], counted[m], labels[m], centroids[:used])
            if not _assign(points[m], centroids[:used], labels[m]):
                break
        _renumber(labels[m], centroids[:used])
    return labels


@compiled
def _choose_start(points: FloatArray, counted: BoolArray, centroids: FloatArray) -> int:
    """Writes the farthest-point centroids; returns K, the number of those that differ."""
    distances = np.full(len(points), np.inf)  # to the nearest centroid so far
    for k in range(len(centroids)):
        chosen = -1
        for i in range(len(points)):
            if counted[i] and (chosen < 0 or distances[i] > distances[chosen]):
                chosen = i
            elif counted[i] and distances[i] == distances[chosen] and _precedes(points[i], points[chosen]):
                chosen = i
        if chosen < 0 or distances[chosen] == 0:
            return k
        centroids[k] = points[chosen]
        for i in range(len(points)):
            distances[i] = min(distances[i], _square_distance(points[i], centroids[k]))
    return len(centroids)


@compiled
def _assign(points: FloatArray, centroids: FloatArray, labels: IntArray) -> bool:
    """Labels every point with its nearest centroid; returns whether any label changed."""
    moved = False
    for i in range(len(points)):
        nearest, least = 0, np.inf
        for k in range(len(centroids)):
            distance = _square_distance(points[i], centroids[k])
            if distance < least:
                nearest, least = k, distance
        moved |= labels[i] != nearest
        labels[i] = nearest
    return moved


@compiled
def _move(points: FloatArray, counted: BoolArray, labels: IntArray, centroids: FloatArray) -> None:
    """Moves each centroid to the mean of its counted points; one without any stays."""
    totals, sizes = np.zeros(centroids.shape), np.zeros(len(centroids))
    for i in range(len(points)):
        if counted[i]:
            totals[labels[i], 0] += points[i, 0]
            totals[labels[i], 1] += points[i, 1]
            sizes[labels[i]] += 1
    for k in range(len(centroids)):
        if sizes[k] > 0:
            centroids[k, 0] = totals[k, 0] / sizes[k]
            centroids[k, 1] = totals[k, 1] / sizes[k]


@compiled
def _renumber(labels: IntArray, centroids: FloatArray) -> None:
    """Replaces each label by the place of its centroid in their order; of equal ones only the first has members."""
    places = np.zeros(len(centroids), dtype=np.int64)
    for k in range(len(centroids)):
        for other in range(len(centroids)):
            places[k] += _precedes(centroids[other], centroids[k])
    for i in range(len(labels)):
        labels[i] = places[labels[i]]


@compiled
def _precedes(a: FloatArray, b: FloatArray) -> bool:
    """Whether point ``a`` comes before ``b`` in the order by x, then y."""
    return bool(a[0] < b[0] or (a[0] == b[0] and a[1] < b[1]))


@compiled
def _square_distance(a: FloatArray, b: FloatArray) -> float:
    return float((a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1]))
