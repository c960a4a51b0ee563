"""The maps of Warehouse: aisles of drop-offs inside a ring road, work stations on the rim."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from envs.grid import cells_of, parse_layout, read_layout, regions
from envs.warehouse.rules import OBSTACLE, STATION, VIEW_RADIUS
from utils.errors import UserError

# What the cells of a map are good for.
GOALS = {"#": 0, ".": 0, "1": 1, "2": 2, "3": 3, "4": 4, "W": STATION}
SYMBOLS = "".join(GOALS)

# The paper's maps: W work station, . floor, 1-4 drop-off of that type, # obstacle; the north is at the top.
LAYOUTS = {
    4: """
        #W#
        .2.
        3#4
        .1.
        #W#
    """,
    8: """
        .W.W.
        .2.1.
        3#4#3
        .1.2.
        .W.W.
    """,
    16: """
        ###W#W#W#W###
        #...........#
        #..2.1.2.1..#
        W.3#4#3#4#3.W
        #..2.1.2.1..#
        W.3#4#3#4#3.W
        #..1.2.1.2..#
        #...........#
        ###W#W#W#W###
    """,
}


def choose_layout(n_agents: int, layout: str | None) -> npt.NDArray[np.str_]:
    """The map for ``n_agents``, or the one that the user gives; characters [height, width], row 0 in the south."""
    if layout is None:
        return parse_layout(LAYOUTS.get(n_agents) or generate_layout(n_agents), SYMBOLS)
    chosen = read_layout(layout, SYMBOLS)
    check_goals(chosen)
    return chosen


def flat_kinds(layout: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """What the cells of the rules' flattened grid are good for, [G]; outside of the map they are obstacles."""
    kinds = np.where(layout == "#", OBSTACLE, np.vectorize(GOALS.get)(layout))
    return np.pad(kinds, VIEW_RADIUS, constant_values=OBSTACLE).ravel()


def generate_layout(n_agents: int) -> str:
    """A map like the paper's Warehouse[16] for any number of agents, the north at the top.

    Obstacles at every second cell of a block, four drop-offs around each of them (1 or 2 in the north and south, 3 or 4
    in the west and east, in turn), aisles between, a ring road around the block, and stations on the rim at both ends
    of each row and column of obstacles. There are at least as many free cells per agent as in Warehouse[16].
    """
    columns, rows = lattice_size(n_agents)
    grid = np.full((2 * rows + 5, 2 * columns + 5), ".")
    block = grid[2:-2, 2:-2]
    block[1::2, 1::2] = "#"
    block[::2, 1::2] = in_turn("21", rows + 1, columns)
    block[1::2, ::2] = in_turn("34", rows, columns + 1)
    grid[[0, -1], :] = "#"
    grid[:, [0, -1]] = "#"
    grid[[0, -1], 3:-3:2] = "W"
    grid[3:-3:2, [0, -1]] = "W"
    return "\n".join("".join(row) for row in grid)


def lattice_size(n_agents: int) -> tuple[int, int]:
    """Columns and rows of obstacles of a generated map.

    The smallest map that gives every agent the free cells (stations included) that it has in the paper's Warehouse[16],
    which are 81 for 16; at most twice as many columns as rows, the more the better among equals.
    """
    most = math.isqrt(2 * n_agents) + 1  # rows of a square lattice that is certainly enough
    sizes = [(columns, rows) for rows in range(1, most + 1) for columns in range(rows, 2 * rows + 1)]
    fitting = [size for size in sizes if 16 * lattice_cells(*size) >= 81 * n_agents]
    return min(fitting, key=lambda size: (lattice_cells(*size), -size[0]))


def lattice_cells(columns: int, rows: int) -> int:
    """Cells of a generated map that are no obstacle: inside the rim, and two stations for each row and column."""
    return (2 * columns + 3) * (2 * rows + 3) - columns * rows + 2 * (columns + rows)


def in_turn(pair: str, height: int, width: int) -> npt.NDArray[np.str_]:
    """Two symbols in turn as on a chessboard, [height, width]."""
    return np.array(list(pair))[np.add.outer(np.arange(height), np.arange(width)) % 2]


def check_goals(layout: npt.NDArray[np.str_]) -> None:
    """Raises UserError unless there is a work station, and a way from each one to every type of drop-off."""
    stations, areas = cells_of(layout == "W"), regions(layout != "#")
    if not len(stations):
        raise UserError("env_args.layout: the map has no work station (W), where agents start")
    for kind in "1234":
        at_hand = np.unique(areas[layout == kind])
        for x, y in stations:
            if areas[y, x] not in at_hand:
                raise UserError(
                    f"env_args.layout: no drop-off of type {kind} can be reached from the work station at x={x}, y={y} "
                    "(x counts from 0 in the west, y from 0 in the south)"
                )
