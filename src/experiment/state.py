"""What the loop of a run remembers from one rollout to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class RunState:
    """The loop's own variables, as one `Part`.

    Attributes:
        begun: whether the run has had its first evaluation: a run that goes on is not seeded again.
        episode: training episodes so far.
        waiting: those of them that the next update waits for.
        point: the next point of evaluation; None behind the last.
        last_log: environment steps at the last console block.
        last_save: environment steps at the last checkpoint.
    """

    begun: bool = False
    episode: int = 0
    waiting: int = 0
    point: int | None = None
    last_log: int = 0
    last_save: int = 0

    def state_dict(self) -> dict[str, Any]:
        """The variables by name."""
        return asdict(self)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from such variables."""
        vars(self).update(vars(RunState(**state_dict)))  # which refuses unknown names
