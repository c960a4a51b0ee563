"""Moves and fields of view on grids, for the rules in plain NumPy; positions and grids as in envs/grid.py."""

import numpy as np
import numpy.typing as npt

from envs.grid import IntArray

# (dx, dy) of the actions 0 stay, 1 north, 2 south, 3 west, 4 east.
MOVES: IntArray = np.array([(0, 0), (0, 1), (0, -1), (-1, 0), (1, 0)])


class FieldOfView:
    """Square windows around positions, read from padded, flattened grids by one fancy index.

    A flattened grid has a margin as wide as the radius, so no window and no move of one cell leaves the array.

    Args:
        shape: (height, width) of the grid.
        radius: cells that an agent sees in each direction; a window has side 2 * radius + 1.

    Attributes:
        side: cells along a window.
        centre: where a flattened window has the agent itself.
        size: cells of a flattened grid.
        offsets: int64 [side * side], how far the cells of a window are from the agent's in a flattened grid.
    """

    def __init__(self, shape: tuple[int, int], radius: int) -> None:
        self.radius = radius
        self.side = 2 * radius + 1
        self.centre = self.side**2 // 2
        self._width = shape[1] + 2 * radius
        self.size = (shape[0] + 2 * radius) * self._width
        reach = np.arange(-radius, radius + 1)
        self.offsets = (reach[::-1, None] * self._width + reach).ravel()  # north row first, as drawn

    def flatten(self, grid: npt.NDArray, outside: bool | int) -> npt.NDArray:
        """Pad ``grid`` [height, width] with the value ``outside`` and flatten it to [size]."""
        return np.pad(grid, self.radius, constant_values=outside).ravel()

    def cells(self, positions: IntArray) -> IntArray:
        """Indices [N] of ``positions`` [N, 2] in a flattened grid."""
        return (positions[:, 1] + self.radius) * self._width + positions[:, 0] + self.radius

    def windows(self, cells: IntArray) -> IntArray:
        """Indices [N, side * side] of the windows around ``cells`` [N], row by row from the north-west corner."""
        return cells[:, None] + self.offsets
