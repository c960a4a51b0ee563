"""k-means on many small point sets, against scikit-learn, a slow reference and the same steps on whole tensors."""

from __future__ import annotations

import pytest
import torch as th
from sklearn.cluster import KMeans
from torch import Tensor

from assigners import kmeans as module
from assigners.kmeans import MAX_ROUNDS, kmeans

Point = tuple[float, float]


def square_distance(a: Point, b: Point) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


def reference_start(points: list[Point], n_centroids: int) -> list[Point]:
    """The smallest (x, y), then always the point farthest from the chosen ones, as long as there are new ones."""
    points = sorted(points)
    chosen = points[:1]
    while len(chosen) < min(n_centroids, len(set(points))):
        chosen.append(max(points, key=lambda p: min(square_distance(p, c) for c in chosen)))
    return chosen


def reference_kmeans(points: list[Point], counted: list[bool], n_centroids: int) -> list[int]:
    """Lloyd's algorithm in plain Python."""
    living = [point for point, counts in zip(points, counted, strict=True) if counts]
    if not living:
        return [0] * len(points)
    centroids = reference_start(living, n_centroids)

    def nearest(point: Point) -> int:
        return min(range(len(centroids)), key=lambda c: square_distance(point, centroids[c]))

    labels: list[int] = []
    while labels != (labels := [nearest(point) for point in living]):
        for c in range(len(centroids)):
            members = [point for point, label in zip(living, labels, strict=True) if label == c]
            if members:
                centroids[c] = (sum(p[0] for p in members) / len(members), sum(p[1] for p in members) / len(members))
    rank = sorted(range(len(centroids)), key=lambda c: centroids[c])
    return [rank.index(nearest(point)) for point in points]


def tensor_kmeans(points: Tensor, weights: Tensor, n_centroids: int, rounds: int = MAX_ROUNDS) -> Tensor:
    """What `kmeans` does, as operations on all sets at once."""
    points = points.double()
    centroids, used = farthest_points(points, weights, n_centroids)
    labels = nearest(points, centroids, used)
    for _ in range(rounds):
        centroids = means(points, weights, labels, centroids)
        moved = nearest(points, centroids, used)
        if th.equal(moved, labels):
            break
        labels = moved
    rank = order(centroids, used).argsort(dim=1)
    return rank.gather(1, labels)


def farthest_points(points: Tensor, weights: Tensor, n_centroids: int) -> tuple[Tensor, Tensor]:
    """Centroids [M, C, 2] to start from, and which of them are used [M, C]."""
    by_place = order(points, weights)  # of several equally far points the one with the smallest (x, y) is then first
    points = points.gather(1, by_place.unsqueeze(-1).expand_as(points))
    counted = weights.gather(1, by_place)
    centroids, used = [points[:, 0]], [counted[:, 0]]
    distance = (points - points[:, :1]).square().sum(-1).masked_fill(~counted, -1.0)
    for _ in range(1, n_centroids):
        farthest, index = distance.max(dim=1)
        chosen = points[th.arange(len(points)), index]
        centroids.append(chosen)
        used.append(farthest > 0)
        distance = th.minimum(distance, (points - chosen.unsqueeze(1)).square().sum(-1))
    return th.stack(centroids, dim=1), th.stack(used, dim=1)


def order(points: Tensor, first: Tensor) -> Tensor:
    """Indices [M, N] that sort points [M, N, 2] by x, then y, with those not marked ``first`` [M, N] at the end."""
    indices = points[..., 1].argsort(dim=1, stable=True)
    indices = indices.gather(1, points[..., 0].gather(1, indices).argsort(dim=1, stable=True))
    return indices.gather(1, (~first).long().gather(1, indices).argsort(dim=1, stable=True))


def nearest(points: Tensor, centroids: Tensor, used: Tensor) -> Tensor:
    """The used centroid nearest to each point, [M, N]."""
    distance = (points.unsqueeze(2) - centroids.unsqueeze(1)).square().sum(-1)
    return distance.masked_fill(~used.unsqueeze(1), th.inf).argmin(dim=2)


def means(points: Tensor, weights: Tensor, labels: Tensor, centroids: Tensor) -> Tensor:
    """The means of the counted members of each cluster; a cluster without any keeps its centroid."""
    counted = weights.double()
    count = th.zeros(centroids.shape[:2]).double().scatter_add_(1, labels, counted).unsqueeze(-1)
    index = labels.unsqueeze(-1).expand_as(points)
    total = th.zeros_like(centroids).scatter_add_(1, index, points * counted.unsqueeze(-1))
    return th.where(count > 0, total / count.clamp(min=1), centroids)


def cluster(points: list[Point], n_centroids: int, counted: list[bool] | None = None) -> list[int]:
    counted = [True] * len(points) if counted is None else counted
    return kmeans(th.tensor([points]), th.tensor([counted]), n_centroids)[0].tolist()


@pytest.mark.parametrize("seed", range(30))
def test_labels_are_those_of_scikit_learn_from_the_same_start(seed: int) -> None:
    generator = th.Generator().manual_seed(seed)
    n_points, n_centroids = 6 + 7 * seed, 1 + seed % 6
    points = th.rand(n_points, 2, generator=generator)
    start = th.tensor(reference_start([tuple(p) for p in points.double().tolist()], n_centroids), dtype=th.float64)
    fitted = KMeans(n_centroids, init=start.numpy(), n_init=1, max_iter=300, tol=0, algorithm="lloyd").fit(
        points.double().numpy()
    )
    order = sorted(range(n_centroids), key=lambda c: tuple(fitted.cluster_centers_[c]))
    expected = [order.index(label) for label in fitted.labels_]
    assert kmeans(points[None], th.ones(1, n_points, dtype=th.bool), n_centroids)[0].tolist() == expected


@pytest.mark.parametrize("seed", range(20))
def test_labels_on_a_grid_with_ties_duplicates_and_dead_are_those_of_the_reference(seed: int) -> None:
    generator = th.Generator().manual_seed(seed)
    sets, n_points, n_centroids = 20, 4 + seed, 1 + seed % 7
    points = th.randint(0, 5, (sets, n_points, 2), generator=generator) / 8  # exact in floating point
    counted = th.rand(sets, n_points, generator=generator) < 0.7
    labels = kmeans(points, counted, n_centroids)
    for row in range(sets):
        coordinates = [tuple(p) for p in points[row].tolist()]
        assert labels[row].tolist() == reference_kmeans(coordinates, counted[row].tolist(), n_centroids)


def drawn_sets(seed: int, sets: int, n_points: int, side: int) -> tuple[Tensor, Tensor]:
    """Sets of points on a grid of ``side`` by ``side`` cells, scaled as positions in a state are, and who counts.

    The share of those who count differs from set to set; nobody counts in the first, everybody in the last.
    """
    generator = th.Generator().manual_seed(seed)
    points = th.randint(0, side, (sets, n_points, 2), generator=generator) / 32
    return points, th.rand(sets, n_points, generator=generator) < th.linspace(0, 1, sets).unsqueeze(1)


@pytest.mark.parametrize("side", [1, 2, 3, 5, 18, 1000])
@pytest.mark.parametrize(("n_points", "n_centroids"), [(1, 1), (2, 3), (7, 2), (20, 5), (20, 20), (20, 30), (80, 10)])
def test_labels_are_those_of_the_same_steps_on_tensors(n_points: int, n_centroids: int, side: int) -> None:
    """From many points in one cell, or fewer cells than centroids, to hardly any ties."""
    points, counted = drawn_sets(n_points + side, 300, n_points, side)
    assert th.equal(kmeans(points, counted, n_centroids), tensor_kmeans(points, counted, n_centroids))


def test_labels_are_those_of_the_same_steps_on_tensors_where_nothing_is_round() -> None:
    generator = th.Generator().manual_seed(0)
    points, counted = th.rand(300, 40, 2, generator=generator), th.rand(300, 40, generator=generator) < 0.8
    assert th.equal(kmeans(points, counted, 6), tensor_kmeans(points, counted, 6))


@pytest.mark.parametrize("rounds", [0, 1, 2, 3])
def test_rounds_end_at_the_bound(monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
    monkeypatch.setattr(module, "MAX_ROUNDS", rounds)
    points, counted = drawn_sets(0, 100, 60, 18)
    labels = kmeans(points, counted, 8)
    assert th.equal(labels, tensor_kmeans(points, counted, 8, rounds))
    assert not th.equal(labels, tensor_kmeans(points, counted, 8))


@pytest.mark.parametrize("dtype", [th.float32, th.float64, th.float16, th.int64])
def test_points_and_counts_of_any_type_and_layout(dtype: th.dtype) -> None:
    points, counted = drawn_sets(1, 50, 12, 8)
    points = points * 32  # whole numbers
    expected = tensor_kmeans(points, counted, 4)
    backwards = points.to(dtype).transpose(0, 1).contiguous().transpose(0, 1)
    labels = kmeans(backwards, counted.byte(), 4)
    assert th.equal(labels, expected) and labels.dtype == th.int64


def test_points_stay_what_they_are() -> None:
    points, counted = drawn_sets(2, 10, 12, 8)
    before = points.double().clone(), counted.clone()
    points = points.double()
    kmeans(points, counted, 4)
    assert th.equal(points, before[0]) and th.equal(counted, before[1])


def test_several_hundred_points_settle() -> None:
    points = th.randint(0, 32, (2, 800, 2), generator=th.Generator().manual_seed(0)) / 32
    labels = kmeans(points, th.ones(2, 800, dtype=th.bool), 100)
    for row in range(2):
        members = [points[row][labels[row] == c].double() for c in range(100)]
        centroids = th.stack([part.mean(0) for part in members])
        distance = th.cdist(points[row].double(), centroids)
        own = distance.gather(1, labels[row][:, None])[:, 0]
        th.testing.assert_close(own, distance.min(1).values)  # a fixed point of Lloyd's rounds


def test_two_groups_are_told_apart_whatever_the_order_of_the_points() -> None:
    assert cluster([(0, 0), (0, 1), (10, 0), (10, 1)], 2) == [0, 0, 1, 1]
    assert cluster([(10, 1), (0, 1), (10, 0), (0, 0)], 2) == [1, 0, 1, 0]


def test_clusters_are_numbered_by_the_x_of_their_centroid_and_then_by_y() -> None:
    assert cluster([(5, 9), (5, 0), (0, 3), (9, 9)], 4) == [2, 1, 0, 3]


def test_fewer_distinct_points_than_centroids_get_one_cluster_each() -> None:
    assert cluster([(2, 2), (1, 1), (2, 2), (1, 1), (3, 0)], 5) == [1, 0, 1, 0, 2]
    assert cluster([(4, 4)] * 3, 2) == [0, 0, 0]


def test_the_dead_move_no_centroid_and_join_the_nearest() -> None:
    living: list[Point] = [(0, 0), (1, 0), (10, 0), (11, 0)]
    dead: list[Point] = [(5, 0), (6, 0), (1000, 0)]  # the centroids of the living lie at 0.5 and 10.5
    assert cluster(living + dead, 2, [True] * 4 + [False] * 3) == [0, 0, 1, 1, 0, 1, 1]


def test_positions_of_the_dead_are_no_distinct_living_positions() -> None:
    assert cluster([(0, 0), (0, 0), (7, 7)], 2, [True, True, False]) == [0, 0, 0]


def test_without_any_living_point_all_are_in_cluster_0() -> None:
    assert cluster([(0, 0), (5, 5), (9, 0)], 2, [False] * 3) == [0, 0, 0]


def test_labels_follow_the_points_when_these_change_places() -> None:
    generator = th.Generator().manual_seed(3)
    points = th.randint(0, 6, (50, 12, 2), generator=generator) / 8
    counted = th.rand(50, 12, generator=generator) < 0.8
    shuffle = th.randperm(12, generator=generator)
    labels = kmeans(points, counted, 4)
    assert th.equal(kmeans(points[:, shuffle], counted[:, shuffle], 4), labels[:, shuffle])


def test_each_set_gets_the_labels_that_it_gets_alone() -> None:
    generator = th.Generator().manual_seed(4)
    points = th.rand(30, 15, 2, generator=generator)
    counted = th.rand(30, 15, generator=generator) < 0.6
    alone = [kmeans(points[i : i + 1], counted[i : i + 1], 4) for i in range(30)]
    assert th.equal(kmeans(points, counted, 4), th.cat(alone))


def test_clustering_draws_no_random_numbers() -> None:
    before = th.get_rng_state()
    cluster([(0, 0), (1, 5), (3, 2), (8, 8)], 3)
    assert th.equal(before, th.get_rng_state())
