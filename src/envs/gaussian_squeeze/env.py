"""GaussianSqueeze[N]: agents share a resource without seeing each other (the paper, section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.checks import check_actions, check_count
from envs.gaussian_squeeze import rules
from envs.gaussian_squeeze.rules import N_ACTIONS
from envs.multiagentenv import MultiAgentEnv


class GaussianSqueeze(MultiAgentEnv):
    """N agents each take 0 to 9 units of a resource, once; too few and too many units in all are worth little.

    Action a takes a units, and all actions are always available. The team reward is `rules.system_performance` of the
    sum. The one step always terminates. Nothing is random.

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
        self._obs = np.ones((n_agents, 1), dtype=np.float32)
        self._state = np.ones(1, dtype=np.float32)
        self._avail_actions = np.ones((n_agents, N_ACTIONS), dtype=np.int64)
        self.performance = 0.0  # of this episode so far
        self._running = False

    def seed(self, seed: int | None = None) -> None:
        """Nothing is random here, so a seed changes nothing."""

    def get_state_dict(self) -> dict[str, Any]:
        """What the next episodes follow from, between two episodes: nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the environment that gave ``state``."""

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
        self.performance = rules.step(check_actions(actions, self.n_agents, N_ACTIONS))
        self._running = False
        return self.performance, True, {"system_performance": self.performance}

    def get_obs(self) -> npt.NDArray[np.float32]:
        """Observations of all agents, [N, 1] of ones."""
        return self._obs.copy()

    def get_obs_size(self) -> int:
        """Length of one agent's observation."""
        return 1

    def get_state(self) -> npt.NDArray[np.float32]:
        """Global state, [1]: one."""
        return self._state.copy()

    def get_state_size(self) -> int:
        """Length of the global state."""
        return 1

    def get_avail_actions(self) -> npt.NDArray[np.int64]:
        """All actions of all agents, [N, 10] of ones."""
        return self._avail_actions.copy()

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
