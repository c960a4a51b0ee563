"""The rules of GaussianSqueeze (the paper, section 5.1) in plain Python: what the compiled ones are held against."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

N_ACTIONS = 10
MU = 400.0
SIGMA = 200.0


class GaussianSqueeze:
    """As `envs.gaussian_squeeze.GaussianSqueeze` tells it."""

    def __init__(self, n_agents: int) -> None:
        self.n_agents = n_agents
        self.performance = 0.0

    def reset(self) -> None:
        self.performance = 0.0

    def step(self, actions: npt.NDArray[np.int64]) -> tuple[float, bool, dict[str, Any]]:
        self.performance = system_performance(int(actions.sum()))
        return self.performance, True, {"system_performance": self.performance}

    def get_obs(self) -> npt.NDArray[np.float32]:
        return np.ones((self.n_agents, 1), dtype=np.float32)

    def get_state(self) -> npt.NDArray[np.float32]:
        return np.ones(1, dtype=np.float32)

    def get_avail_actions(self) -> npt.NDArray[np.int64]:
        return np.ones((self.n_agents, N_ACTIONS), dtype=np.int64)

    def get_stats(self) -> dict[str, float]:
        return {"system_performance": self.performance}


def system_performance(units: int) -> float:
    """GS(z) = z exp(-((z - mu) / sigma)^2) of the sum z of all actions."""
    return units * math.exp(-(((units - MU) / SIGMA) ** 2))
