"""GaussianSqueeze[N]: agents share a resource without seeing each other (the paper, section 5.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.checks import check_actions, check_count
from envs.multiagentenv import MultiAgentEnv

N_ACTIONS = 10  # units of the resource that an agent can take, 0 to 9
MU = 400.0  # units; the centre of the Gaussian
SIGMA = 200.0  # units


class GaussianSqueeze(MultiAgentEnv):
    """N agents each take 0 to 9 units of a resource, once; too few and too many units in all are worth little.

    Action a takes a units, and all actions are always available. The team reward is `system_performance` of the sum.
    The one step always terminates. Nothing is random.

    There is nothing to observe: observation (float32 [1]) and state (float32 [1]) are the constant 1. What tells the
    agents apart is the identity that the controller appends, so ``get_env_info()["needs_agent_id"]`` is True.

    Args:
        n_agents: N, at least 1. The best sum, 445, takes 50 agents.

    Raises:
        UserError: ``n_agents`` below 1.
    """

    episode_limit = 1

    def __init__(self, n_agents: int) -> None:
        check_count("n_agents", n_agents)
        self.n_agents = n_agents
        self.performance = 0.0  # of this episode so far
        self._running = False

    def seed(self, seed: int | None = None) -> None:
        """Nothing is random here, so a seed changes nothing."""

    def reset(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Start the next episode; returns observations and state."""
        self.performance = 0.0
        self._running = True
        return self.get_obs(), self.get_state()

    def step(self, actions: Sequence[int] | npt.NDArray[np.integer]) -> tuple[float, bool, dict[str, Any]]:
        """Let the agents take their units.

        Args:
            actions: [N] integers in 0..9.

        Returns:
            The team reward (a Python float: at N = 800 random play earns less than float32 can hold), True for the end
            of the episode, and the reward once more as ``system_performance``.

        Raises:
            ValueError: not N actions in 0..9.
            RuntimeError: the episode has ended, or none was started.
        """
        if not self._running:
            raise RuntimeError("no episode is running: call reset() first")
        self.performance = system_performance(int(check_actions(actions, self.n_agents, N_ACTIONS).sum()))
        self._running = False
        return self.performance, True, {"system_performance": self.performance}

    def get_obs(self) -> npt.NDArray[np.float32]:
        """Observations of all agents, [N, 1] of ones."""
        return np.ones((self.n_agents, 1), dtype=np.float32)

    def get_obs_size(self) -> int:
        """Length of one agent's observation."""
        return 1

    def get_state(self) -> npt.NDArray[np.float32]:
        """Global state, [1]: one."""
        return np.ones(1, dtype=np.float32)

    def get_state_size(self) -> int:
        """Length of the global state."""
        return 1

    def get_avail_actions(self) -> npt.NDArray[np.int64]:
        """All actions of all agents, [N, 10] of ones."""
        return np.ones((self.n_agents, N_ACTIONS), dtype=np.int64)

    def get_total_actions(self) -> int:
        """Number of actions."""
        return N_ACTIONS

    def get_env_info(self) -> dict[str, Any]:
        """Sizes, and that agents need their identity. There are no positions and no lives."""
        dtypes = {"obs": "uint8", "state": "uint8", "avail_actions": "uint8"}
        return {**super().get_env_info(), "needs_agent_id": True, "dtypes": dtypes}

    def get_stats(self) -> dict[str, float]:
        """The system performance of this episode, 0 before its step."""
        return {"system_performance": self.performance}

    def render(self) -> str:
        """One line with the system performance of this episode."""
        return f"system performance {self.performance:.2f}"


def system_performance(units: int) -> float:
    """GS(z) = z exp(-((z - mu) / sigma)^2) of the sum z of all actions (the paper, section 5.1)."""
    return units * math.exp(-(((units - MU) / SIGMA) ** 2))
