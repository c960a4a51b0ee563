"""Name tables of the replaceable parts: ``REGISTRY["name"] = Class``, as in PyMARL."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from utils.errors import UserError


def nearest(name: object, known: Iterable[object], cutoff: float = 0.6) -> str | None:
    """The entry of ``known`` that looks most like ``name``, or None if none comes close."""
    matches = difflib.get_close_matches(str(name), [str(entry) for entry in known], n=1, cutoff=cutoff)
    return matches[0] if matches else None


def hint(name: object, known: Iterable[object]) -> str:
    """`` (did you mean 'x'?)`` when a near name exists, else an empty string."""
    match = nearest(name, known)
    return f" (did you mean '{match}'?)" if match else ""


class Registry(dict[Any, Any]):
    """A dict from names to classes that refuses double entries and explains a miss.

    Args:
        kind: what is registered ("mixer", "runner", ...), for the error messages.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def __setitem__(self, name: Any, entry: Any) -> None:
        if name in self and self[name] is not entry:
            raise UserError(f"{self.kind} '{name}' is registered twice: choose another name for the second one")
        super().__setitem__(name, entry)

    def __missing__(self, name: Any) -> Any:
        names = ", ".join(sorted(map(str, self)))
        raise UserError(f"unknown {self.kind} '{name}'{hint(name, self)}: registered are {names}")
