"""Statistics of divisions, against loops and numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch as th
from vast_helpers import random_subteams

from assigners.statistics import DivisionDiversity, division_stats, member_counts


def test_members_are_counted():
    assert member_counts(th.tensor([[3, 0, 3, 3]]), 4).tolist() == [[1.0, 0.0, 0.0, 3.0]]


def test_active_share_and_entropy_of_a_division_worked_out_by_hand():
    subteams = th.tensor([[[0, 0, 1, 1], [2, 2, 2, 2]]])  # two halves, then all in one
    both = division_stats(subteams, 4, th.ones(1, 2, 1))
    assert float(both["subteams_active_share"]) == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert float(both["assignment_entropy"]) == pytest.approx(math.log(2) / 2)


def test_steps_outside_the_mask_do_not_count():
    subteams = th.tensor([[[0, 1, 2, 3], [2, 2, 2, 2]]])
    first = division_stats(subteams, 4, th.tensor([[[1.0], [0.0]]]))
    assert float(first["subteams_active_share"]) == 1
    assert float(first["assignment_entropy"]) == pytest.approx(math.log(4))


@pytest.mark.parametrize("seed", range(5))
def test_active_share_and_entropy_are_those_of_a_loop(seed):
    k = 2 + seed
    subteams = random_subteams(k, (3, 4, 6), seed)
    mask = (th.rand(3, 4, 1, generator=th.Generator().manual_seed(seed)) < 0.7).float()
    shares, entropies = [], []
    for b in range(3):
        for t in range(4):
            if mask[b, t, 0]:
                members = [subteams[b, t].tolist().count(team) for team in range(k)]
                shares.append(sum(count > 0 for count in members) / k)
                entropies.append(-sum(count / 6 * math.log(count / 6) for count in members if count))
    stats = division_stats(subteams, k, mask)
    assert float(stats["subteams_active_share"]) == pytest.approx(sum(shares) / len(shares))
    assert float(stats["assignment_entropy"]) == pytest.approx(sum(entropies) / len(entropies))


def reference_diversity(episodes, lengths):
    seen = set()
    for subteams, length in zip(episodes, lengths, strict=True):
        for t in range(0, length, 10):
            seen.add(frozenset(subteams[t].tolist()))
    return len(seen)


@pytest.mark.parametrize("batches", [[10], [1] * 10, [3, 3, 4]])
def test_diversity_is_the_number_of_distinct_active_sets_at_every_tenth_step_of_ten_episodes(batches):
    subteams = random_subteams(4, (10, 35, 3), seed=1)
    lengths = [21, 20, 11, 10, 9, 8, 7, 6, 1, 1]
    mask = (th.arange(35)[None, :, None] < th.tensor(lengths)[:, None, None]).float()
    assert reference_diversity(subteams, [35] * 10) > reference_diversity(subteams, lengths) > 4
    diversity, start = DivisionDiversity(), 0
    for size in batches:
        assert diversity.latest is None
        diversity.add(subteams[start : start + size], 4, mask[start : start + size])
        start += size
    assert diversity.latest == reference_diversity(subteams, lengths)


def test_diversity_counts_active_sets_and_not_who_is_in_them():
    diversity = DivisionDiversity()
    subteams = th.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 1]])[[0, 1, 2, 0, 1, 2, 0, 1, 2, 0], None]
    diversity.add(subteams, 2, th.ones(10, 1, 1))
    assert diversity.latest == 1


def test_diversity_starts_anew_after_ten_episodes():
    diversity = DivisionDiversity()
    one, other = th.zeros(1, 1, 3, dtype=th.long), th.ones(1, 1, 3, dtype=th.long)
    mask = th.ones(1, 1, 1)
    for subteams in (*[one] * 9, other, *[one] * 9):
        diversity.add(subteams, 2, mask)
    assert diversity.latest == 2  # of the ten complete ones; the nine since then are not complete
    diversity.add(one, 2, mask)
    assert diversity.latest == 1
