"""k-means on many small point sets, against scikit-learn and against a slow reference."""

from __future__ import annotations

import pytest
import torch as th
from sklearn.cluster import KMeans

from utils.kmeans import kmeans

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
