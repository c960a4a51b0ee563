"""What an environment looks like at one moment, for whoever draws it (src/rendering)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from utils.errors import UserError

OBSTACLE = "obstacle"  # the kind of tiles that are drawn dark


@dataclass(frozen=True)
class Tile:
    """A cell of the ground that is not plain floor.

    Attributes:
        x, y: in cells, from the south-west corner.
        kind: what the cell is; tiles of one kind share a colour, and the legend names it. `OBSTACLE` is dark.
        label: a short text in its corner.
    """

    x: int
    y: int
    kind: str
    label: str = ""


@dataclass(frozen=True)
class Piece:
    """Somebody on the board.

    Attributes:
        x, y: in cells, from the south-west corner; several may share a cell.
        health: the share that is left, in [0, 1]; who has 0 is dead and not drawn. None: there is no such thing here.
        label: a short text on it.
        collided: whether it has just run into another one, which is marked.
    """

    x: int
    y: int
    health: float | None = None
    label: str = ""
    collided: bool = False

    @property
    def alive(self) -> bool:
        """Whether it is there to be drawn."""
        return self.health is None or self.health > 0


@dataclass(frozen=True)
class Scene:
    """The present situation of an environment on a board of cells.

    Attributes:
        width, height: of the board in cells.
        agents: the learning agents in the order of their numbers, the dead included.
        opponents: everybody else.
        tiles: what the ground holds.
        step: steps of this episode so far.
        performance: what was achieved so far in this episode, by the name that captions give it.
        notes: lines that explain the labels.
    """

    width: int
    height: int
    agents: tuple[Piece, ...]
    opponents: tuple[Piece, ...] = ()
    tiles: tuple[Tile, ...] = ()
    step: int = 0
    performance: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def scene_of(env: Any) -> Scene:
    """What ``env`` says of how it looks now.

    Raises:
        UserError: it does not say, or what it says cannot be drawn.
    """
    name = type(env).__name__
    if not hasattr(env, "get_scene"):
        raise UserError(
            f"{name} cannot be drawn: expected a method get_scene() that returns an envs.scene.Scene "
            "(docs/extending.md shows one)"
        )
    scene = env.get_scene()
    if not isinstance(scene, Scene):
        raise UserError(f"{name}.get_scene(): expected an envs.scene.Scene, got {scene!r}")
    if len(scene.agents) != env.n_agents:
        raise UserError(f"{name}.get_scene(): expected {env.n_agents} agents, got {len(scene.agents)}")
    placed: tuple[Piece | Tile, ...] = (*scene.agents, *scene.opponents, *scene.tiles)
    for what in placed:
        if not (0 <= what.x < scene.width and 0 <= what.y < scene.height):
            raise UserError(
                f"{name}.get_scene(): expected cells on a board of {scene.width} x {scene.height}, got {what!r}"
            )
    return scene
