"""Battle[N]: `env` (PyMARL's interface), `rules` (compiled) and `map` (layouts)."""

from envs.battle.env import Battle
from envs.battle.map import LAYOUTS, choose_layout, generate_layout
from envs.battle.rules import ATTACK, MAX_HEALTH, N_ACTIONS, team_reward

__all__ = ["ATTACK", "LAYOUTS", "MAX_HEALTH", "N_ACTIONS", "Battle", "choose_layout", "generate_layout", "team_reward"]
