"""The maps of Battle: two facing armies."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from envs.grid import parse_layout, read_layout
from utils.errors import UserError

SYMBOLS = "AO."

# The paper's maps: A learning agents, O opponents, . empty; the north is at the top.
LAYOUTS = {
    20: """
        ..........
        ..........
        .AA....OO.
        AAAA..OOOO
        AAAA..OOOO
        AAAA..OOOO
        AAAA..OOOO
        .AA....OO.
        ..........
        ..........
    """,
    40: """
        ..............
        ..............
        ..............
        .AAAA....OOOO.
        .AAAA....OOOO.
        AAAAAA..OOOOOO
        AAAAAA..OOOOOO
        AAAAAA..OOOOOO
        AAAAAA..OOOOOO
        .AAAA....OOOO.
        .AAAA....OOOO.
        ..............
        ..............
        ..............
    """,
    80: """
        ..................
        ..................
        ..................
        ..AAAA......OOOO..
        .AAAAAA....OOOOOO.
        .AAAAAA....OOOOOO.
        AAAAAAAA..OOOOOOOO
        AAAAAAAA..OOOOOOOO
        AAAAAAAA..OOOOOOOO
        AAAAAAAA..OOOOOOOO
        AAAAAAAA..OOOOOOOO
        AAAAAAAA..OOOOOOOO
        .AAAAAA....OOOOOO.
        .AAAAAA....OOOOOO.
        ..AAAA......OOOO..
        ..................
        ..................
        ..................
    """,
}


def choose_layout(n_agents: int, layout: str | None) -> npt.NDArray[np.str_]:
    """The map for ``n_agents``, or the one that the user gives; characters [height, width], row 0 in the south."""
    if layout is None:
        return parse_layout(LAYOUTS.get(n_agents) or generate_layout(n_agents), SYMBOLS)
    chosen = read_layout(layout, SYMBOLS)
    drawn = int((chosen == "A").sum())
    if drawn != n_agents:
        raise UserError(f"env_args.n_agents={n_agents}: env_args.layout shows {drawn} agents (A); both must agree")
    if not (chosen == "O").any():
        raise UserError("env_args.layout: the map has no opponent (O)")
    return chosen


def generate_layout(n_agents: int) -> str:
    """A map like the paper's for any number of agents, the north at the top.

    The field is the smallest square of even side with at least four cells per agent, as in the paper (10, 14, 18). The
    agents fill the western half, less the column next to the middle, from its centre outwards (the front first among
    equally distant cells); the opponents mirror them.
    """
    depth = max(1, math.isqrt(n_agents - 1))  # columns of an army
    side = 2 * depth + 2
    cells = [(x, y) for x in reversed(range(depth)) for y in range(side)]
    cells.sort(key=lambda cell: (2 * cell[0] + 1 - depth) ** 2 + (2 * cell[1] + 1 - side) ** 2)
    rows = [["."] * side for _ in range(side)]
    for x, y in cells[:n_agents]:
        rows[y][x], rows[y][side - 1 - x] = "A", "O"
    return "\n".join("".join(row) for row in rows)
