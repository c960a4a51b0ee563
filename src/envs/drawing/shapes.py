"""What pictures are made of. Lengths are in pixels, y grows downwards, colours are ``#rrggbb``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BACKGROUND = "#ffffff"


@dataclass(frozen=True)
class Box:
    """A filled rectangle, from its upper left corner."""

    x: float
    y: float
    width: float
    height: float
    fill: str


@dataclass(frozen=True)
class Disc:
    """A filled circle around its centre."""

    x: float
    y: float
    radius: float
    fill: str


@dataclass(frozen=True)
class Text:
    """One line of text, vertically centred on y; x is where it starts, or its middle."""

    x: float
    y: float
    text: str
    size: float
    fill: str
    anchor: Literal["start", "middle"] = "start"


Shape = Box | Disc | Text


@dataclass(frozen=True)
class Drawing:
    """Shapes on the background, the later ones over the earlier ones."""

    width: int
    height: int
    shapes: tuple[Shape, ...]
