"""Random numbers for compiled rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

CALLS = 16  # of the rules that a block of numbers lasts for, at least


class Chance(NamedTuple):
    """Numbers for the rules, in the order in which they are taken: ``values[used[0]]`` is the next one.

    Attributes:
        values: float64 [block], in [0, 1).
        used: int64 [1], how many are taken.
    """

    values: npt.NDArray[np.float64]
    used: npt.NDArray[np.int64]


class Draws:
    """The numbers that a generator gives, drawn ahead in blocks, which are what ``rng.random()`` gives one by one.

    So compiled rules and readable ones that draw in the same order see the same numbers.

    Args:
        rng: on PCG64, as `numpy.random.default_rng` has it.
        most: numbers that one call of the rules takes at most.

    Attributes:
        chance: the numbers; rules count ``used`` up.
    """

    def __init__(self, rng: np.random.Generator, most: int) -> None:
        self._most = most
        self.chance = Chance(np.empty(CALLS * most), np.empty(1, dtype=np.int64))
        self.restart(rng)

    def restart(self, rng: np.random.Generator) -> None:
        """Goes on with the numbers of ``rng``."""
        self._rng = rng
        self.chance.used[0] = len(self.chance.values)

    def refill(self) -> None:
        """Sees to it that there are numbers for one call of the rules."""
        values, used = self.chance
        if used[0] > len(values) - self._most:
            left = values[used[0] :].copy()
            values[: len(left)] = left
            values[len(left) :] = self._rng.random(len(values) - len(left))
            used[0] = 0

    def give_back(self) -> np.random.Generator:
        """The generator as if it had given no more numbers than the rules have taken."""
        unread = len(self.chance.values) - int(self.chance.used[0])
        if unread:
            self._rng.bit_generator.advance(2**128 - unread)  # type: ignore[attr-defined]  # backwards: its period
            self.restart(self._rng)
        return self._rng

    def move_to(self, chance: Chance) -> None:
        """Keeps the numbers in other arrays of the same size from here on."""
        chance.values[:], chance.used[:] = self.chance
        self.chance = chance


class SharedDraws:
    """The numbers of several generators in common arrays.

    Args:
        draws: B of them, of one size, whose numbers move there.

    Attributes:
        chance: values [B, block] and used [B], row by row a `Chance`.
    """

    def __init__(self, draws: Sequence[Draws]) -> None:
        self._draws = draws
        shape = len(draws), len(draws[0].chance.values)
        self.chance = Chance(np.empty(shape), np.empty(len(draws), dtype=np.int64))
        self._enough = shape[1] - shape[1] // CALLS  # a row of which more are used needs new ones
        for b, row in enumerate(draws):
            row.move_to(Chance(self.chance.values[b], self.chance.used[b : b + 1]))

    def refill(self) -> None:
        """Sees to it that every row has numbers for one call of the rules."""
        for b in np.flatnonzero(self.chance.used > self._enough):
            self._draws[int(b)].refill()
