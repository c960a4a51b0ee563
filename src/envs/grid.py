"""Maps of the grid worlds.

Positions are (x, y) in cells, x grows to the east and y to the north. Grids are arrays [height, width], indexed [y, x];
row 0 is the southernmost one, which an ASCII map draws last.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.errors import UserError

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def parse_layout(text: str, symbols: str, source: str = "layout") -> npt.NDArray[np.str_]:
    """Read an ASCII map, one character a cell, the north at the top.

    Args:
        text: the map; common indentation, blank lines around it and blanks at the end of a line are dropped.
        symbols: the characters that the map may use.
        source: how messages name the map.

    Returns:
        Characters [height, width].

    Raises:
        UserError: the map is empty, its lines differ in length or a character is unknown; line and column are those of
            ``text`` and count from 1.
    """
    lines = [line.rstrip() for line in text.splitlines()]
    filled = [number for number, line in enumerate(lines) if line]
    if not filled:
        raise UserError(f"{source}: the map is empty")
    top, bottom = filled[0], filled[-1]
    indent = min(len(lines[number]) - len(lines[number].lstrip()) for number in filled)
    rows = [line[indent:] for line in lines[top : bottom + 1]]
    width = len(rows[0])
    for number, row in enumerate(rows, start=top + 1):
        for column, symbol in enumerate(row, start=indent + 1):
            if symbol not in symbols:
                raise UserError(
                    f"{source} line {number}, column {column}: unknown cell {symbol!r}, known are {symbols}"
                )
        if len(row) != width:
            column = indent + min(len(row), width) + 1
            raise UserError(f"{source} line {number}, column {column}: {len(row)} cells, but {width} in the first line")
    return np.array([list(row) for row in reversed(rows)])


def read_layout(layout: Any, symbols: str) -> npt.NDArray[np.str_]:
    """The map that a user gives as ``env_args.layout``: its text, or the path of a file with it.

    A text of several lines is a map, and so is one line of nothing but ``symbols``; any other line is a path, seen from
    the working directory.

    Returns:
        Characters [height, width], row 0 in the south.

    Raises:
        UserError: the file cannot be read, or the map is malformed (with line and column).
    """
    if not isinstance(layout, str):
        raise UserError(f"env_args.layout: expected a map or the path of a file with one, got {layout!r}")
    line = layout.strip()
    if "\n" in line or set(line) <= set(symbols):
        return parse_layout(layout, symbols, source="env_args.layout")
    try:
        text = Path(line).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: a byte that no path or text has
        raise UserError(f"env_args.layout: neither a map of {symbols} nor a file that can be read: {error}") from None
    return parse_layout(text, symbols, source=f"env_args.layout {line}")


def cells_of(mask: BoolArray) -> IntArray:
    """Positions (x, y) of the true cells of ``mask`` [height, width], row by row from the south-west corner."""
    return np.argwhere(mask)[:, ::-1]


def regions(mask: BoolArray) -> IntArray:
    """One number for each set of true cells of ``mask`` that are connected by moves, [height, width]; 0 elsewhere."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:  # every cell takes the largest number around it, until nothing changes
        wide = np.pad(labels, 1)
        around = [labels, wide[2:, 1:-1], wide[:-2, 1:-1], wide[1:-1, 2:], wide[1:-1, :-2]]
        spread = np.where(mask, np.max(around, axis=0), 0)
        if np.array_equal(spread, labels):
            return labels
        labels = spread


def position_scale(shape: tuple[int, ...]) -> int:
    """The power of two that brings all positions of a grid [height, width] below 1, exactly and in one scale."""
    return 2 ** (max(shape) - 1).bit_length()
