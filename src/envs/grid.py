"""Helpers of the grid worlds.

Positions are (x, y) in cells, x grows to the east and y to the north. Grids are arrays [height, width], indexed [y, x];
row 0 is the southernmost one, which an ASCII map draws last.
"""

from __future__ import annotations

import textwrap

import numpy as np
import numpy.typing as npt

from utils.errors import UserError

IntArray = npt.NDArray[np.int64]

# (dx, dy) of the actions 0 stay, 1 north, 2 south, 3 west, 4 east.
MOVES: IntArray = np.array([(0, 0), (0, 1), (0, -1), (-1, 0), (1, 0)])


def parse_layout(text: str, symbols: str) -> npt.NDArray[np.str_]:
    """Read an ASCII map, one character a cell, the north at the top.

    Args:
        text: the map; common indentation and blank lines around it are dropped.
        symbols: the characters that the map may use.

    Returns:
        Characters [height, width].

    Raises:
        UserError: the map is empty, its lines differ in length or a character is unknown; line and column count from 1.
    """
    lines = textwrap.dedent(text).strip("\n").splitlines()
    if not lines:
        raise UserError("layout: the map is empty")
    width = len(lines[0])
    for number, line in enumerate(lines, start=1):
        for column, symbol in enumerate(line, start=1):
            if symbol not in symbols:
                raise UserError(f"layout line {number}, column {column}: unknown cell {symbol!r}, known are {symbols}")
        if len(line) != width:
            column = min(len(line), width) + 1
            raise UserError(f"layout line {number}, column {column}: {len(line)} cells, but {width} in the first line")
    return np.array([list(line) for line in reversed(lines)])


class FieldOfView:
    """Square windows around positions, read from padded, flattened grids by one fancy index.

    A flattened grid has a margin as wide as the radius, so no window and no move of one cell leaves the array.

    Args:
        shape: (height, width) of the grid.
        radius: cells that an agent sees in each direction; a window has side 2 * radius + 1.
    """

    def __init__(self, shape: tuple[int, int], radius: int) -> None:
        self.radius = radius
        self.side = 2 * radius + 1
        self.centre = self.side**2 // 2  # of a flattened window: the agent itself
        self._width = shape[1] + 2 * radius
        self.size = (shape[0] + 2 * radius) * self._width
        reach = np.arange(-radius, radius + 1)
        self._offsets = (reach[::-1, None] * self._width + reach).ravel()  # north row first, as drawn

    def flatten(self, grid: npt.NDArray, outside: bool | int) -> npt.NDArray:
        """Pad ``grid`` [height, width] with the value ``outside`` and flatten it to [size]."""
        return np.pad(grid, self.radius, constant_values=outside).ravel()

    def cells(self, positions: IntArray) -> IntArray:
        """Indices [N] of ``positions`` [N, 2] in a flattened grid."""
        return (positions[:, 1] + self.radius) * self._width + positions[:, 0] + self.radius

    def windows(self, cells: IntArray) -> IntArray:
        """Indices [N, side * side] of the windows around ``cells`` [N], row by row from the north-west corner."""
        return cells[:, None] + self._offsets
