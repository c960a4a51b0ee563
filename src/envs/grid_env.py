"""What the grid worlds share beside their rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.chance import Draws
from envs.checks import check_actions, check_count
from envs.live import open_view
from envs.multiagentenv import MultiAgentEnv

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


class GridEnv(MultiAgentEnv):
    """An environment with a time limit, one random generator, compiled rules and a live look.

    Args:
        n_agents: N, at least 1.
        episode_limit: steps of an episode.
        continuing_episode: True marks the time limit in ``info["episode_limit"]``, so that values bootstrap over it;
            False ends the episode there for good.
        most_draws: random numbers that a reset or a step takes at most.
        seed: of the generator; None draws it from the operating system.
        render: terminal or window for a live look (`envs.live`); None: none.

    Attributes:
        steps: of this episode so far.
        draws: the generator's numbers for the rules.
    """

    performance_key: str  # what the info dict calls the domain performance

    def __init__(
        self,
        n_agents: int,
        episode_limit: int,
        continuing_episode: bool,
        most_draws: int,
        seed: int | None,
        render: str | None,
    ) -> None:
        check_count("episode_limit", episode_limit)
        self.n_agents = n_agents
        self.episode_limit = episode_limit
        self.continuing_episode = continuing_episode
        self.steps = 0
        self.draws = Draws(np.random.default_rng(seed), most_draws)
        self._running = False
        self._live = open_view(render)

    @property
    def rng(self) -> np.random.Generator:
        """The one generator, where the numbers taken so far have left it; assigning one goes on with that."""
        return self.draws.give_back()

    @rng.setter
    def rng(self, rng: np.random.Generator) -> None:
        self.draws.restart(rng)

    def seed(self, seed: int | None = None) -> None:
        """Restart the random generator; None draws a seed from the operating system."""
        self.rng = np.random.default_rng(seed)

    def get_state_dict(self) -> dict[str, Any]:
        """What the next episodes follow from, between two episodes: the state of the generator."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on, from the next reset, as the environment that gave ``state``."""
        rng = np.random.default_rng()
        rng.bit_generator.state = state["rng"]
        self.rng = rng

    def close(self) -> None:
        """End the live look."""
        self._live.close()

    def _begin(self) -> tuple[FloatArray, FloatArray]:
        """Start the clock of a new episode; returns observations and state."""
        self.steps = 0
        self._running = True
        self._live.show(self)
        return self.get_obs(), self.get_state()

    def _check(self, actions: Sequence[int] | npt.NDArray[np.integer]) -> IntArray:
        """``actions`` [N] for the rules; RuntimeError without an episode, ValueError unless they are N in 0..A-1."""
        if not self._running:
            raise RuntimeError("no episode is running: call reset() first")
        return check_actions(actions, self.n_agents, self.get_total_actions())

    def _end_step(self, ended: bool) -> None:
        """Count the step."""
        self.steps += 1
        self._running = not ended
        self._live.show(self)
