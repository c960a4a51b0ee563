"""Exploration rates over environment steps."""

from __future__ import annotations


class DecayThenFlatSchedule:
    """Decays from ``start`` to ``finish`` within ``time_length`` steps, then stays there.

    Args:
        start: value at step 0.
        finish: value from ``time_length`` on.
        time_length: steps that the decay takes; 0 starts at ``finish``.
        decay: ``"linear"``, or ``"exp"``, which reaches ``finish`` (> 0) at ``time_length``.
    """

    def __init__(self, start: float, finish: float, time_length: int, decay: str = "exp") -> None:
        if decay not in ("linear", "exp"):
            raise ValueError(f"decay: expected 'linear' or 'exp', got {decay!r}")
        self.start, self.finish, self.time_length, self.decay = start, finish, time_length, decay

    def eval(self, T: int) -> float:
        """The value at environment step ``T``."""
        progress = min(1.0, T / self.time_length) if self.time_length > 0 else 1.0
        if self.decay == "exp":
            return self.start * (self.finish / self.start) ** progress
        return self.start - (self.start - self.finish) * progress
