"""How far a run is: a bar on a terminal, and the heading of the console's blocks."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

from tqdm import tqdm

NO_PERFORMANCE = {"test_return_mean", "test_ep_length_mean"}


class Progress:
    """Speed and remaining time of a run; draws a bar if stderr is a terminal.

    Args:
        t_start: environment steps at the start.
        t_max: environment steps at the end.
    """

    def __init__(self, t_start: int, t_max: int) -> None:
        self.t_max = t_max
        self.start = self.last = (time.monotonic(), t_start)
        # Not sys.stderr, which sacred captures: a bar is nothing to keep.
        terminal = sys.__stderr__ is not None and sys.__stderr__.isatty()
        first = min(t_start, t_max)
        self._bar = tqdm(
            total=t_max, initial=first, unit=" steps", file=sys.__stderr__, disable=not terminal, dynamic_ncols=True
        )

    def update(self, t_env: int, stats: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        """Moves the bar to step ``t_env``, with the newest test return and domain performance in ``stats``."""
        if self._bar.disable:
            return
        self._bar.set_postfix(_newest_scores(stats), refresh=False)
        self._bar.update(min(t_env, self.t_max) - self._bar.n)

    def line(self, t_env: int, episode: int) -> str:
        """One line on where the run is; the speed is that since the line before, the rest follows the run's mean."""
        now = time.monotonic()
        speed = _rate(self.last, (now, t_env))
        left = max(0, self.t_max - t_env) / max(_rate(self.start, (now, t_env)), 1e-9)
        self.last = (now, t_env)
        return (
            f"Step {t_env} of {self.t_max} | episode {episode} | {speed:.0f} steps/s | "
            f"{timedelta(seconds=round(left))} left"
        )

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()


def _newest_scores(stats: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, str]:
    """The return and what else the domain measures of the newest evaluation, short."""
    keys = [key for key in stats if key.startswith("test_") and key.endswith("_mean") and key not in NO_PERFORMANCE]
    shown = [key for key in ("test_return_mean", *keys) if stats.get(key)]  # who only looked left an empty list
    return {key.removeprefix("test_").removesuffix("_mean"): f"{stats[key][-1][1]:.4g}" for key in shown}


def _rate(earlier: tuple[float, int], later: tuple[float, int]) -> float:
    return (later[1] - earlier[1]) / max(later[0] - earlier[0], 1e-9)
