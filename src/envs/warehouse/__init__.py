"""Warehouse[N]: `env` (PyMARL's interface), `rules` (compiled) and `map` (layouts)."""

from envs.warehouse.env import Warehouse
from envs.warehouse.map import GOALS, LAYOUTS, choose_layout, generate_layout, lattice_cells, lattice_size
from envs.warehouse.rules import DROP_OFF, N_ACTIONS, STATION, team_reward

__all__ = ["DROP_OFF", "GOALS", "LAYOUTS", "N_ACTIONS", "STATION", "Warehouse", "choose_layout", "generate_layout"] + [
    "lattice_cells",
    "lattice_size",
    "team_reward",
]
