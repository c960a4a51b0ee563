"""Battle[N]: `env` (PyMARL's interface), `rules` (compiled), `map` (layouts), `batch` (several at a time)."""

from envs.battle.env import Battle
from envs.battle.map import LAYOUTS, choose_layout, generate_layout
from envs.battle.rules import ATTACK, EAST, MAX_HEALTH, N_ACTIONS, NORTH, SOUTH, WEST, team_reward

__all__ = ["ATTACK", "EAST", "LAYOUTS", "MAX_HEALTH", "NORTH", "N_ACTIONS", "SOUTH", "WEST"] + [
    "Battle",
    "choose_layout",
    "generate_layout",
    "team_reward",
]
