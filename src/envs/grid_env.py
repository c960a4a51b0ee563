"""What the grid worlds share: PyMARL's interface in front of a domain's compiled rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.chance import Draws
from envs.checks import check_actions, check_count
from envs.live import open_view
from envs.multiagentenv import MultiAgentEnv, step_info

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


class SituationArray:
    """An array of the situation as an attribute of its environment; assigning it sets the situation up."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, env: GridEnv, owner: type | None = None) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = getattr(env.now, self._name)
        return array

    def __set__(self, env: GridEnv, value: npt.ArrayLike) -> None:
        old = self.__get__(env)
        new = np.array(value, dtype=old.dtype, order="C")
        if new.shape != old.shape:
            raise ValueError(f"{self._name}: expected shape {old.shape}, got {new.shape}")
        self._check(env, new)
        env.now = env.now._replace(**{self._name: new})

    def _check(self, env: GridEnv, new: npt.NDArray[Any]) -> None:
        """Raises ValueError unless the rules can take it."""


class Places(SituationArray):
    """(x, y) of everybody, which must be on the map: the rules do not look."""

    def _check(self, env: GridEnv, new: npt.NDArray[Any]) -> None:
        height, width = env.layout.shape
        if (new < 0).any() or (new >= (width, height)).any():
            raise ValueError(f"{self._name}: expected cells of a map of {width} x {height}, got {new.tolist()}")


class GridEnv(MultiAgentEnv):
    """An environment with compiled rules, a time limit, one random generator and a live look.

    A subclass names its ``rules``, a module of compiled functions on a ``World``, which never changes, and a
    ``Situation``, the arrays that do (`envs.battle.rules` shows one); a `SituationArray` makes one an attribute.

    Args:
        n_agents: N.
        episode_limit: steps of an episode.
        continuing_episode: whether values bootstrap over that limit.
        world: of the rules.
        now: the situation before the first episode.
        most_draws: random numbers that a reset or a step takes at most.
        seed: of the generator; None draws it from the operating system.
        render: terminal or window for a live look (`envs.live`); None: none.
    """

    rules: Any
    layout: npt.NDArray[np.str_]  # the map [height, width]
    performance_key: str  # what the info dict calls the domain performance
    tally = SituationArray()  # of this episode so far: steps, domain performance, and what else the rules count

    def __init__(
        self,
        n_agents: int,
        episode_limit: int,
        continuing_episode: bool,
        world: Any,
        now: Any,
        most_draws: int,
        seed: int | None,
        render: str | None,
    ) -> None:
        check_count("episode_limit", episode_limit)
        self.n_agents = n_agents
        self.episode_limit = episode_limit
        self.continuing_episode = continuing_episode
        self.world, self.now = world, now
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

    def reset(self) -> tuple[FloatArray, FloatArray]:
        """Start an episode (``rules.start``); returns observations and state."""
        self._renew()
        self.draws.refill()
        self.rules.start(self.world, self.now, self.draws.chance)
        self._go_on(running=True)
        return self.get_obs(), self.get_state()

    def step(self, actions: Sequence[int] | npt.NDArray[np.integer]) -> tuple[float, bool, dict[str, Any]]:
        """Let everybody act once (``rules.step``).

        Args:
            actions: [N] integers in 0..A-1.

        Returns:
            The team reward, whether the episode has ended, and the domain performance of this episode so far, with
            ``episode_limit: True`` if only the time limit ended a continuing episode.

        Raises:
            ValueError: not N actions in 0..A-1, or one that is not available.
            RuntimeError: the episode has ended, or none was started.
        """
        if not self._running:
            raise RuntimeError("no episode is running: call reset() first")
        checked = check_actions(actions, self.n_agents, self.rules.N_ACTIONS)
        self.check_available(self.now, checked)
        self._renew()
        self.draws.refill()
        reward, ended, limited = self.rules.step(self.world, self.now, self.draws.chance, checked)
        self._go_on(running=not ended)
        return reward, ended, step_info(self.performance_key, int(self.tally[1]), limited)

    def check_available(self, now: Any, actions: IntArray, acting: IntArray | None = None) -> None:
        """Raises ValueError if one of ``actions`` [N] is not available; [M, N] if ``now`` has B rows and M act."""

    def _renew(self) -> None:
        """Gives the rules arrays of their own, because those that were handed out stay as they are."""
        self.now = self.rules.Situation(*[array.copy() for array in self.now])

    def _go_on(self, running: bool) -> None:
        self._running = running
        self._live.show(self)

    @property
    def steps(self) -> int:
        """Steps of this episode so far."""
        return int(self.tally[0])

    def get_obs(self) -> FloatArray:
        """Observations of all agents, [N, get_obs_size()]; the class docstring tells their layout."""
        obs = np.empty((self.n_agents, self.rules.OBS_SIZE), dtype=np.float32)
        self.rules.write_obs(self.world, self.now, obs)
        return obs

    def get_obs_size(self) -> int:
        """Length of one agent's observation."""
        return int(self.rules.OBS_SIZE)

    def get_state(self) -> FloatArray:
        """Global state, [get_state_size()]; the class docstring tells its layout."""
        state = np.empty(self.get_state_size(), dtype=np.float32)
        self.rules.write_state(self.world, self.now, state)
        return state

    def get_avail_actions(self) -> IntArray:
        """Which actions each agent can take, [N, A] of 0 and 1."""
        avail = np.empty((self.n_agents, self.rules.N_ACTIONS), dtype=np.int64)
        self.rules.write_avail(self.now, avail)
        return avail

    def get_total_actions(self) -> int:
        """Number of actions."""
        return int(self.rules.N_ACTIONS)

    def get_env_info(self) -> dict[str, Any]:
        """Sizes, and where the state holds each agent's (x, y) and whether it lives: at the end, agent by agent."""
        features = self.rules.AGENT_FEATURES
        x = self.get_state_size() + features * np.arange(-self.n_agents, 0)
        return {
            **super().get_env_info(),
            "agent_position_index": np.stack([x, x + 1], axis=1),
            "agent_alive_index": x + 2,
        }

    def close(self) -> None:
        """End the live look."""
        self._live.close()
