"""Grid helpers against drawn maps and a slow window reader."""

import numpy as np
import pytest
from oracles.grid import MOVES, FieldOfView

from envs.grid import parse_layout
from utils.errors import UserError


def test_a_layout_is_read_with_the_south_in_row_0():
    layout = parse_layout(
        """
        #W
        .1
        2.
        """,
        symbols="#W.12",
    )
    assert layout.tolist() == [["2", "."], [".", "1"], ["#", "W"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#W#\n.x.", "layout line 2, column 2: unknown cell 'x', known are #W."),
        ("#W#\n..", "layout line 2, column 3: 2 cells, but 3 in the first line"),
        ("#W#\n...#", "layout line 2, column 4: 4 cells, but 3 in the first line"),
        ("\n\n", "layout: the map is empty"),
    ],
)
def test_a_wrong_layout_is_located(text, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        parse_layout(text, symbols="#W.")


def test_moves_are_stay_north_south_west_east():
    assert MOVES.tolist() == [[0, 0], [0, 1], [0, -1], [-1, 0], [1, 0]]


def slow_window(grid, x, y, radius, outside):
    """A window cell by cell, from the north-west corner."""
    height, width = grid.shape
    return [
        grid[v, u] if 0 <= u < width and 0 <= v < height else outside
        for v in range(y + radius, y - radius - 1, -1)
        for u in range(x - radius, x + radius + 1)
    ]


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_windows_agree_with_reading_cell_by_cell(radius):
    height, width = 4, 7
    grid = np.arange(height * width).reshape(height, width)
    positions = np.array([(x, y) for x in range(width) for y in range(height)])
    view = FieldOfView((height, width), radius)

    windows = view.flatten(grid, outside=-1)[view.windows(view.cells(positions))]

    assert windows.tolist() == [slow_window(grid, x, y, radius, -1) for x, y in positions]
    assert (windows[:, view.centre] == grid[positions[:, 1], positions[:, 0]]).all()
    assert len(view.flatten(grid, outside=-1)) == view.size
