"""Scenes to shapes: the board, who is on it, the legend and the caption."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from envs.drawing.raster import text_width
from envs.drawing.shapes import Box, Disc, Drawing, Shape, Text
from envs.scene import OBSTACLE, Piece, Scene

IntArray = npt.NDArray[np.int64]

INK, FADED, WHITE = "#222222", "#a0a0a0", "#ffffff"
FLOOR, GRID, OBSTACLE_COLOUR = "#f7f7f7", "#e2e2e2", "#5c5c5c"
TILES = ("#ffd9a0", "#c4ecf4", "#dcf0c8", "#ecdcf4")  # of kinds of tiles in the order in which they appear
OPPONENTS, HEALTH, LOST_HEALTH, COLLISION = "#8c8c8c", "#222222", "#d0d0d0", "#e00000"
# Okabe and Ito's colours, made for all kinds of colour vision, without black.
SUBTEAMS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
RINGS: tuple[tuple[str, ...], ...] = ((), (INK,), (WHITE,), (WHITE, INK))  # tell sub-teams of one colour apart

BOARD, LEAST_CELL, LARGEST_CELL = 800, 18, 64  # pixels along the longer side of a board, and along a cell
MARGIN, ROW, SWATCH = 14, 22, 8
CAPTION_SIZE, LEGEND_SIZE = 16, 14
LEAST_TEXT = 8  # smaller labels are left out


@dataclass(frozen=True)
class Style:
    """How the members of a sub-team look: a colour, and the colours of rings from the outside to the inside."""

    colour: str
    rings: tuple[str, ...] = ()


def style(number: int) -> Style:
    """The style of the sub-team that is ``number`` among those that are shown; they repeat after 28."""
    return Style(SUBTEAMS[number % len(SUBTEAMS)], RINGS[number // len(SUBTEAMS) % len(RINGS)])


def draw_scene(scene: Scene) -> Drawing:
    """One scene by itself, all agents in one colour."""
    performance = [f"{name} {value:g}" for name, value in scene.performance.items()]
    return Painter([scene]).frame(0, [" | ".join([f"step {scene.step}", *performance])])


@dataclass(frozen=True)
class _Row:
    """A line of the legend.

    Args:
        swatch: what stands before the text, around (0, 0).
        text: what it means.
        colour: of the text.
    """

    swatch: tuple[Shape, ...]
    text: str
    colour: str = INK


class Painter:
    """Draws scenes of one episode in one look: the same colours, legend and size.

    Args:
        scenes: T scenes.
        subteams: of each agent in each scene, [T, N]; None: there are none.
        board: pixels along the longer side of the board.

    Attributes:
        board_size, legend_size: width and height in pixels.
    """

    def __init__(self, scenes: Sequence[Scene], subteams: IntArray | None = None, board: int = BOARD) -> None:
        self.scenes, self.subteams = scenes, subteams
        first = scenes[0]
        self.cell = min(max(board // max(first.width, first.height), LEAST_CELL), LARGEST_CELL)
        self.board_size = (first.width * self.cell, first.height * self.cell)
        self._styles = {subteam: style(number) for number, subteam in enumerate(self._shown())}
        kinds = dict.fromkeys(tile.kind for tile in first.tiles if tile.kind != OBSTACLE)
        self._tiles = {kind: TILES[number % len(TILES)] for number, kind in enumerate(kinds)}
        self._tiles |= {tile.kind: OBSTACLE_COLOUR for tile in first.tiles if tile.kind == OBSTACLE}

        rows = [row for t in range(len(scenes)) for row in self._legend_rows(t)]
        self._rows_in_column = max(1, self.board_size[1] // ROW)
        self._column_width = 3 * SWATCH + MARGIN + max(math.ceil(text_width(row.text, LEGEND_SIZE)) for row in rows)
        length = len(rows) // len(scenes)  # the legend of each scene has the same rows
        columns = math.ceil(length / self._rows_in_column)
        self.legend_size = (columns * self._column_width, min(length, self._rows_in_column) * ROW)

    def _shown(self) -> list[int]:
        """The sub-teams that have living members in one of the scenes, in ascending order."""
        return sorted({subteam for t in range(len(self.scenes)) for subteam in self.active(t)})

    def active(self, t: int) -> dict[int, int]:
        """The sub-teams with living members in scene t, and how many those are; none where there are no sub-teams."""
        if self.subteams is None:
            return {}
        alive = [agent.alive for agent in self.scenes[t].agents]
        numbers, counts = np.unique(self.subteams[t][alive], return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))

    # --- whole pictures ---

    def frame(self, t: int, caption: Sequence[str]) -> Drawing:
        """Scene t with its legend, under lines of text."""
        top = MARGIN + ROW * len(caption) + MARGIN // 2
        (board_width, board_height), (legend_width, legend_height) = self.board_size, self.legend_size
        lines = [Text(MARGIN, MARGIN + ROW * (i + 0.5), line, CAPTION_SIZE, INK) for i, line in enumerate(caption)]
        shapes = [*lines, *self.board(t, MARGIN, top), *self.legend(t, 2 * MARGIN + board_width, top)]
        widest = max((math.ceil(text_width(line, CAPTION_SIZE)) for line in caption), default=0)
        return Drawing(
            width=MARGIN + max(MARGIN + board_width + legend_width, widest) + MARGIN,
            height=top + max(board_height, legend_height) + MARGIN,
            shapes=tuple(shapes),
        )

    # --- the board ---

    def board(self, t: int, left: float, top: float) -> Iterator[Shape]:
        """Scene t, its upper left corner at (left, top)."""
        scene, cell, (width, height) = self.scenes[t], self.cell, self.board_size
        yield Box(left, top, width, height, FLOOR)
        for tile in scene.tiles:
            x, y = left + tile.x * cell, top + (scene.height - 1 - tile.y) * cell
            yield Box(x, y, cell, cell, self._tiles[tile.kind])
            if tile.label:
                yield Text(x + 0.05 * cell, y + 0.14 * cell, tile.label, max(LEAST_TEXT, 0.2 * cell), INK)
        for column in range(scene.width + 1):
            yield Box(left + column * cell, top, 1, height + 1, GRID)
        for row in range(scene.height + 1):
            yield Box(left, top + row * cell, width + 1, 1, GRID)
        for piece, look, x, y, size in self._placed(t):
            yield from _piece(piece, look, left + x, top + y, size)

    def _placed(self, t: int) -> Iterator[tuple[Piece, Style | None, float, float, float]]:
        """The living pieces, how they look (None: an opponent), and the centre and size of their place on the board.

        Those who share a cell divide it among them.
        """
        scene = self.scenes[t]
        cells: dict[tuple[int, int], list[tuple[Piece, Style | None]]] = defaultdict(list)
        for number, agent in enumerate(scene.agents):
            if agent.alive:
                own = style(0) if self.subteams is None else self._styles[int(self.subteams[t][number])]
                cells[agent.x, agent.y].append((agent, own))
        for opponent in scene.opponents:
            if opponent.alive:
                cells[opponent.x, opponent.y].append((opponent, None))
        for (x, y), pieces in cells.items():
            columns = math.ceil(math.sqrt(len(pieces)))
            rows = math.ceil(len(pieces) / columns)
            size = self.cell / columns
            west, north = x * self.cell, (scene.height - 1 - y + 0.5) * self.cell - rows * size / 2
            for number, (piece, look) in enumerate(pieces):
                row, column = divmod(number, columns)
                yield piece, look, west + (column + 0.5) * size, north + (row + 0.5) * size, size

    # --- the legend ---

    def legend(self, t: int | None, left: float, top: float) -> Iterator[Shape]:
        """What colours and shapes mean, with counts of scene t if that is given; upper left corner at (left, top)."""
        for number, row in enumerate(self._legend_rows(t)):
            column, line = divmod(number, self._rows_in_column)
            x, y = left + column * self._column_width + SWATCH, top + (line + 0.5) * ROW
            yield from (_moved(shape, x, y) for shape in row.swatch)
            yield Text(x + 2 * SWATCH if row.swatch else x - SWATCH, y, row.text, LEGEND_SIZE, row.colour)

    def _legend_rows(self, t: int | None) -> list[_Row]:
        first = self.scenes[0]
        rows = []
        for subteam, own in self._styles.items():
            members = None if t is None else self.active(t).get(subteam, 0)
            text = f"sub-team {subteam}{_count(members)}"
            rows.append(_Row(tuple(_disc(own, 0, 0, SWATCH)), text, FADED if members == 0 else INK))
        if self.subteams is None:
            rows.append(_Row(tuple(_disc(style(0), 0, 0, SWATCH)), f"agents{self._living(t, 'agents')}"))
        if first.opponents:
            rows.append(_Row(tuple(_square(0, 0, SWATCH)), f"opponents{self._living(t, 'opponents')}"))
        for kind, colour in self._tiles.items():
            rows.append(_Row((Box(-SWATCH, -SWATCH, 2 * SWATCH, 2 * SWATCH, colour),), kind))
        rows += [_Row((), note) for note in first.notes]
        return rows

    def _living(self, t: int | None, army: str) -> str:
        return _count(None if t is None else sum(piece.alive for piece in getattr(self.scenes[t], army)))


def _count(number: int | None) -> str:
    return "" if number is None else f": {number}"


# --- pieces ---


def _piece(piece: Piece, look: Style | None, x: float, y: float, size: float) -> Iterator[Shape]:
    """A piece around (x, y) in a place of ``size``, an opponent without a look."""
    radius = 0.38 * size
    if piece.health is not None:
        bar = max(2.0, 0.1 * size)
        yield Box(x - 0.4 * size, y + 0.48 * size - bar, 0.8 * size, bar, LOST_HEALTH)
        yield Box(x - 0.4 * size, y + 0.48 * size - bar, 0.8 * size * piece.health, bar, HEALTH)
        radius, y = 0.34 * size, y - 0.1 * size
    if piece.collided:
        yield Disc(x, y, radius + 0.08 * size, COLLISION)
    yield from _square(x, y, radius) if look is None else _disc(look, x, y, radius)
    yield from _label(piece.label, x, y, radius, OPPONENTS if look is None else look.colour)


def _disc(look: Style, x: float, y: float, radius: float) -> Iterator[Shape]:
    yield Disc(x, y, radius, INK)
    inner = radius - 1
    for ring in look.rings:
        yield Disc(x, y, inner, ring)
        inner -= 0.2 * radius
    yield Disc(x, y, inner, look.colour)


def _square(x: float, y: float, radius: float) -> Iterator[Shape]:
    half = 0.85 * radius
    yield Box(x - half, y - half, 2 * half, 2 * half, INK)
    yield Box(x - half + 1, y - half + 1, 2 * half - 2, 2 * half - 2, OPPONENTS)


def _label(label: str, x: float, y: float, radius: float, ground: str) -> Iterator[Shape]:
    """A short text on a piece, in two lines if it is long; none where it would be too small to read."""
    lines = [label] if len(label) <= 3 else [label[: (len(label) + 1) // 2], label[(len(label) + 1) // 2 :]]
    size = (0.9 if len(lines) == 1 else 0.8) * radius
    if not label or size < LEAST_TEXT:
        return
    for number, line in enumerate(lines):
        yield Text(x, y + (number - (len(lines) - 1) / 2) * 0.85 * size, line, size, _readable_on(ground), "middle")


def _readable_on(colour: str) -> str:
    """Dark or white ink, whichever stands out from a colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else WHITE


def _moved(shape: Shape, x: float, y: float) -> Shape:
    return replace(shape, x=shape.x + x, y=shape.y + y)
