"""Lloyd's k-means for many small point sets at once."""

from __future__ import annotations

import torch as th
from torch import Tensor

MAX_ROUNDS = 50  # a bound only: sets of some hundred points settle in far fewer


def kmeans(points: Tensor, weights: Tensor, n_centroids: int) -> Tensor:
    """Cluster numbers of M point sets, deterministic and ordered by centroid x, then y.

    Starts from the farthest-point centroids: the first is the counted point with the smallest (x, y), each next one
    the counted point farthest from the centroids so far. Sets with fewer distinct counted points than
    ``n_centroids`` get one centroid for each; a set without counted points gets cluster 0 throughout.

    Args:
        points: [M, N, 2].
        weights: [M, N] bool; only these points move centroids, the others just join the nearest one.
        n_centroids: C.

    Returns:
        [M, N] long in 0..C-1.
    """
    points = points.double()  # ties between equal distances must not hang on rounding
    centroids, used = _farthest_points(points, weights, n_centroids)
    labels = _nearest(points, centroids, used)
    for _ in range(MAX_ROUNDS):
        centroids = _means(points, weights, labels, centroids)
        moved = _nearest(points, centroids, used)
        if th.equal(moved, labels):
            break
        labels = moved
    order = _order(centroids, used)
    rank = order.argsort(dim=1)
    return rank.gather(1, labels)


def _farthest_points(points: Tensor, weights: Tensor, n_centroids: int) -> tuple[Tensor, Tensor]:
    """Centroids [M, C, 2] to start from, and which of them are used [M, C]."""
    # Points sorted by (x, y), the uncounted ones last: ties are then broken by place, not by agent number.
    order = _order(points, weights)
    points = points.gather(1, order.unsqueeze(-1).expand_as(points))
    counted = weights.gather(1, order)
    centroids = [points[:, 0]]
    used = [counted[:, 0]]
    distance = (points - points[:, :1]).square().sum(-1).masked_fill(~counted, -1.0)
    for _ in range(1, n_centroids):
        farthest, index = distance.max(dim=1)
        chosen = points[th.arange(len(points), device=points.device), index]
        centroids.append(chosen)
        used.append(farthest > 0)
        distance = th.minimum(distance, (points - chosen.unsqueeze(1)).square().sum(-1))
    return th.stack(centroids, dim=1), th.stack(used, dim=1)


def _order(points: Tensor, first: Tensor) -> Tensor:
    """Indices [M, N] that sort points [M, N, 2] by x, then y, with those not marked ``first`` [M, N] at the end."""
    order = points[..., 1].argsort(dim=1, stable=True)
    order = order.gather(1, points[..., 0].gather(1, order).argsort(dim=1, stable=True))
    return order.gather(1, (~first).long().gather(1, order).argsort(dim=1, stable=True))


def _nearest(points: Tensor, centroids: Tensor, used: Tensor) -> Tensor:
    """The used centroid nearest to each point, [M, N]."""
    # Axis by axis: a tensor [M, N, C, 2] would be the largest by far.
    delta_x, delta_y = (points[:, :, None, axis] - centroids[:, None, :, axis] for axis in (0, 1))
    distance = delta_x.square() + delta_y.square()
    return distance.masked_fill(~used.unsqueeze(1), th.inf).argmin(dim=2)


def _means(points: Tensor, weights: Tensor, labels: Tensor, centroids: Tensor) -> Tensor:
    """The means of the counted members of each cluster; a cluster without any keeps its centroid."""
    counted = weights.to(points.dtype)
    count = points.new_zeros(centroids.shape[:2]).scatter_add_(1, labels, counted).unsqueeze(-1)
    index = labels.unsqueeze(-1).expand_as(points)
    total = th.zeros_like(centroids).scatter_add_(1, index, points * counted.unsqueeze(-1))
    return th.where(count > 0, total / count.clamp(min=1), centroids)
