"""Wall-clock time of something that is done several times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """How long a measurement goes on.

    Attributes:
        repetitions: at least so many.
        seconds: and at least so long.
    """

    repetitions: int
    seconds: float


QUICK = Effort(repetitions=2, seconds=0.0)
FULL = Effort(repetitions=7, seconds=2.0)


def stopwatch(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds that ``work`` takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def repeat(measurement: Callable[[], T], effort: Effort) -> list[T]:
    """What ``measurement`` gives, as often as ``effort`` says; the caller has warmed up before."""
    results: list[T] = []
    start = time.perf_counter()
    while len(results) < effort.repetitions or time.perf_counter() - start < effort.seconds:
        results.append(measurement())
    return results


def alternate(measurement: Callable[[], T], floor: Callable[[], object], effort: Effort) -> tuple[list[T], list[float]]:
    """What ``measurement`` gives and the seconds of ``floor``, in turns.

    So whoever shares the machine disturbs both alike, and their ratio means something. ``floor`` is warmed up here.
    """
    floor()
    pairs = repeat(lambda: (measurement(), stopwatch(floor)[0]), effort)
    return [result for result, _ in pairs], [seconds for _, seconds in pairs]


def seconds_of(work: Callable[[], object], effort: Effort) -> list[float]:
    """Seconds of each repetition of ``work``, after one that warms up."""
    work()
    return repeat(lambda: stopwatch(work)[0], effort)


def summary(name: str, seconds: list[float]) -> dict[str, float]:
    """The best of several times as ``name``, which others who share the machine disturb least, and the median."""
    return {name: min(seconds), f"{name}_median": statistics.median(seconds)}
