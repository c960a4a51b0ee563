"""GaussianSqueeze[N]: `env` (PyMARL's interface), `rules` (compiled), `batch` (several at a time)."""

from envs.gaussian_squeeze.env import GaussianSqueeze
from envs.gaussian_squeeze.rules import MU, N_ACTIONS, SIGMA, system_performance

__all__ = ["GaussianSqueeze", "MU", "N_ACTIONS", "SIGMA", "system_performance"]
