"""Warehouse[N]: `env` (PyMARL's interface), `rules` (compiled), `map` (layouts), `batch` (several at a time)."""

from envs.warehouse.env import Warehouse
from envs.warehouse.map import GOALS, LAYOUTS, choose_layout, generate_layout, lattice_cells, lattice_size
from envs.warehouse.rules import (
    DROP_OFF,
    EAST,
    ITEM_TYPES,
    N_ACTIONS,
    NORTH,
    ORDER_SIZE,
    SOUTH,
    STATION,
    WEST,
    team_reward,
)

__all__ = ["DROP_OFF", "EAST", "ITEM_TYPES", "NORTH", "N_ACTIONS", "ORDER_SIZE", "SOUTH", "STATION", "WEST"] + [
    "GOALS",
    "LAYOUTS",
    "Warehouse",
    "choose_layout",
    "generate_layout",
    "lattice_cells",
    "lattice_size",
    "team_reward",
]
