"""The numbers that compiled rules take are those that the generators give one by one."""

import numpy as np

from envs.chance import Draws, SharedDraws

SEEDS = (3, 0, 11)


def make(most, seeds=SEEDS):
    draws = [Draws(np.random.default_rng(seed), most) for seed in seeds]
    return draws, SharedDraws(draws)


def take(draws, number):
    """What rules do."""
    values, used = draws.chance
    taken = values[used[0] : used[0] + number].tolist()
    used[0] += number
    assert len(taken) == number
    return taken


def test_numbers_are_what_the_generators_give_one_by_one():
    most, rng = 7, np.random.default_rng(0)
    rows, shared = make(most)
    one_by_one = [np.random.default_rng(seed) for seed in SEEDS]
    taken = np.zeros(len(SEEDS), dtype=int)
    for call in range(300):
        shared.refill()
        numbers = rng.integers(most + 1, size=len(SEEDS)) if call % 3 else np.array([most, 0, most])
        for b, number in enumerate(numbers):
            assert take(rows[b], number) == [one_by_one[b].random() for _ in range(number)]
            assert shared.chance.used[b] == rows[b].chance.used[0], "a row is a part of the whole"
        taken += numbers
    assert taken.min() > 4 * shared.chance.values.shape[1], "several blocks were used up"


def test_numbers_stay_until_they_run_short():
    (row,), shared = make(2, seeds=[0])
    shared.refill()
    first = row.chance.values.copy()
    row.chance.used[0] = len(first) - 2
    for refill in (shared.refill, row.refill):
        refill()
        assert np.array_equal(row.chance.values, first)
    row.chance.used[0] += 1
    shared.refill()
    assert row.chance.used[0] == 0 and row.chance.values[0] == first[-1]


def test_a_generator_that_is_given_back_has_given_what_was_taken():
    rng, same = np.random.default_rng(5), np.random.default_rng(5)
    draws = Draws(rng, most=3)
    for number in (0, 3, 1, 2, *[3] * 40):
        draws.refill()
        assert take(draws, number) == same.random(number).tolist()
        assert draws.give_back() is rng and draws.give_back().bit_generator.state == same.bit_generator.state
    draws.refill()
    assert draws.give_back().integers(100, size=9).tolist() == same.integers(100, size=9).tolist()
    draws.refill()
    assert take(draws, 3) == same.random(3).tolist()


def test_numbers_of_another_generator():
    draws = Draws(np.random.default_rng(1), most=4)
    draws.refill()
    take(draws, 2)
    draws.restart(np.random.default_rng(2))
    draws.refill()
    assert take(draws, 4) == np.random.default_rng(2).random(4).tolist()


def test_numbers_that_were_drawn_ahead_move_along():
    draws = Draws(np.random.default_rng(1), most=4)
    draws.refill()
    taken = take(draws, 3)
    SharedDraws([draws]).refill()
    assert [*taken, *take(draws, 2)] == np.random.default_rng(1).random(5).tolist()
