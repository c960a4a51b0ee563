"""The interface of every environment, as PyMARL and SMAC define it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.errors import UserError


class MultiAgentEnv:
    """A cooperative environment: N agents act at once and earn one team reward.

    A subclass sets ``n_agents`` and ``episode_limit`` (steps) and fills in the methods below; ``envs/checker.py``
    tells whether it got the contract right. Letters in the shapes: N agents, A actions.

    Everything read between two steps is free of side effects: reading twice gives the same, and an array that was
    handed out never changes afterwards.

    A subclass may add ``get_state_dict()`` and ``load_state_dict(state)``: what the next episodes follow from,
    generators included, as a dict that can be pickled. They are called between two episodes. An environment that loads
    what another one of its class gave, goes on as that one would.
    """

    n_agents: int
    episode_limit: int

    def reset(self) -> Any:
        """Start a new episode. PyMARL's environments return (observations, state); its runners ask for them instead."""
        raise NotImplementedError

    def step(self, actions: Sequence[int] | npt.NDArray[np.integer]) -> tuple[float, bool, dict[str, Any]]:
        """Let every agent act once.

        Args:
            actions: [N] integers in 0..A-1, each one available to its agent; any sequence, array or CPU tensor.

        Returns:
            The team reward, whether the episode has ended, and an info dict of numbers; the runner logs the means of
            the last step's. ``info["episode_limit"] = True`` says that only the time limit ended the episode, so that
            returns bootstrap from its last state.
        """
        raise NotImplementedError

    def get_obs(self) -> Any:
        """Observations of all agents, [N, get_obs_size()] (an array, or a list with an entry per agent)."""
        raise NotImplementedError

    def get_obs_agent(self, agent_id: int) -> Any:
        """Observation of one agent, [get_obs_size()]."""
        return self.get_obs()[agent_id]

    def get_obs_size(self) -> int:
        """Length of one agent's observation."""
        raise NotImplementedError

    def get_state(self) -> Any:
        """Global state, [get_state_size()]; for training only."""
        raise NotImplementedError

    def get_state_size(self) -> int:
        """Length of the global state."""
        raise NotImplementedError

    def get_avail_actions(self) -> Any:
        """Which actions each agent can take now, [N, A] of 0 and 1, at least one per agent."""
        raise NotImplementedError

    def get_avail_agent_actions(self, agent_id: int) -> Any:
        """Which actions one agent can take now, [A] of 0 and 1."""
        return self.get_avail_actions()[agent_id]

    def get_total_actions(self) -> int:
        """Number of actions A, available or not."""
        raise NotImplementedError

    def seed(self, seed: int | None = None) -> Any:
        """Restart the random generator; episodes reset from here on repeat those after an equal seed."""
        raise NotImplementedError

    def render(self) -> Any:
        """Show the present situation."""
        raise NotImplementedError

    def close(self) -> None:
        """Release what the environment holds; nothing by default."""

    def save_replay(self) -> None:
        """Write the last episode to a file; an environment that cannot says so."""
        raise UserError(f"save_replay=True: {type(self).__name__} cannot save replays, set save_replay=False")

    def get_stats(self) -> dict[str, Any]:
        """Statistics beside the reward; none by default."""
        return {}

    def get_env_info(self) -> dict[str, Any]:
        """Sizes that the rest of the framework builds on.

        A subclass may add

        - ``agent_position_index``: int [N, 2], the state entries with each agent's x and y, both in one scale,
        - ``agent_alive_index``: int [N], the state entry that is positive as long as the agent lives,
        - ``needs_agent_id``: True if the agents cannot do without their identity, so that ``obs_agent_id=False`` is
          refused,
        - ``dtypes``: the dtypes in which the replay buffer keeps ``obs``, ``state`` and ``avail_actions``, such as
          ``{"obs": "uint8", "avail_actions": "uint8"}``, where a smaller one than float32 (int32 for
          ``avail_actions``) holds every value exactly: uint8, int8, int16, float16, or float32. Everyone else sees
          the usual ones.
        """
        return {
            "state_shape": self.get_state_size(),
            "obs_shape": self.get_obs_size(),
            "n_actions": self.get_total_actions(),
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
        }


def step_info(key: str, performance: float, limited: bool) -> dict[str, Any]:
    """The info dict of a step: the domain performance so far, and whether only the time limit ended the episode."""
    return {key: performance, "episode_limit": True} if limited else {key: performance}
