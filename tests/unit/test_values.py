"""What learners read of a batch before they build losses."""

import pytest
from helpers import make_args, random_batch

from learners.values import Transitions


@pytest.mark.parametrize(("cut", "expected"), [((), True), ((0,), False), ((1,), False)])
def test_whether_every_episode_terminated(cut, expected):
    batch = random_batch(make_args(), lengths=(3, 5), cut=cut)
    assert Transitions.of(batch).all_terminate is expected


def test_transitions_are_read_once_until_the_batch_is_written():
    batch = random_batch(make_args(), lengths=(3, 5))
    first = Transitions.of(batch)
    assert Transitions.of(batch) is first
    batch.update({"reward": [[9.0]]}, bs=0, ts=0)
    assert float(Transitions.of(batch).rewards[0, 0]) == 9.0
