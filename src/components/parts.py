"""Parts: what has state, and can give it away and take it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Part(Protocol):
    """What has state (the contract of ``torch.distributed.checkpoint.stateful``); what is no Part has none.

    A state is made of dicts, lists, numbers, texts and tensors, so that ``torch.load(..., weights_only=True)`` reads
    it. As in PyTorch, its tensors may be the part's own: save or copy them before the part goes on.
    """

    def state_dict(self) -> dict[str, Any]:
        """All that the future of the part depends on."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Goes on from a state that a part built alike gave."""


def states_of(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The state of each that is a `Part`, by name."""
    return {name: part.state_dict() for name, part in parts.items() if isinstance(part, Part)}


def load_states(parts: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    """Gives each `Part` its state back."""
    for name, part in parts.items():
        if isinstance(part, Part):
            part.load_state_dict(states[name])
