"""Warehouse[N]: robots carry ordered items past each other (the paper, section 5.1)."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.checks import check_count
from envs.grid import IntArray, cells_of, position_scale
from envs.grid_env import GridEnv
from envs.multiagentenv import step_info
from envs.scene import OBSTACLE, Piece, Scene, Tile
from envs.warehouse import rules
from envs.warehouse.map import GOALS, choose_layout
from envs.warehouse.rules import AGENT_FEATURES, ITEM_TYPES, N_ACTIONS, ORDER_SIZE, Ground, Robots

FloatArray = npt.NDArray[np.float32]


class Warehouse(GridEnv):
    """N robots fetch orders at work stations and deliver their items to the drop-offs of the items' types.

    Actions: 0 stay, 1 north, 2 south, 3 west, 4 east, 5 drop off; all of them are always available. An order is five
    items; each is delivered by a drop-off action on a cell of its type, in any order. A drop-off action on any work
    station then completes the order and hands out the next one.

    The team reward of a step sums over the agents: +1 per item delivered, +1 per order completed, -0.5 per move into
    another agent, -0.01 for the time.

    Observation of one agent, float32 [125]: five channels of its 5x5 field of view, each row by row from the
    north-west corner: itself; blocked cells and cells outside; number of other agents; the current stage (on drop-offs
    the number of items of that type it still has to deliver, then 1 on work stations); the stage after it (work
    stations as long as items are left, then nothing).

    State, float32, in this order:

    - number of agents on each cell that is no obstacle (row by row from the south-west corner),
    - on each drop-off and work station what all agents together still want there, divided by N: items of the type, or
      returns (the same order),
    - per agent: x, y, alive (1), items left of each type, and 1 if only the return is left. Positions are divided by
      ``position_scale``, one power of two for both axes, so they stay exact and below 1.

    Args:
        n_agents: robots N, at least 1.
        episode_limit: steps of an episode.
        continuing_episode: True marks the time limit in ``info["episode_limit"]``, so that values bootstrap over it;
            False ends the episode there for good.
        time_penalty_on_completion: False spares an agent the time penalty in a step in which it completes an order, as
            the experiments released with the paper do; True is the paper's text.
        layout: the map as ASCII text or the path of a file with it, in the symbols of ``LAYOUTS``; None: the paper's
            for 4, 8 and 16 agents, and one made by `generate_layout` for any other number.
        seed: of the one random generator; None draws it from the operating system.
        render: terminal or window for a live look (`envs.live`); None: none.

    All chance is in the doubles that ``rng.random`` gives, one after the other in this order: a reset takes one per
    agent for its station, then five per agent for its order; a step takes one per agent (the lowest acts first), then
    five for each completed order, in the order of the agents.

    Attributes that hold the situation; assigning them sets it up:
        positions: int [N, 2], (x, y) of each agent in cells.
        remaining: int [N, 4], items of each type that an agent still has to deliver; all zero: only the return is left.

    Raises:
        UserError: ``n_agents`` or ``episode_limit`` below 1, a malformed map (with line and column), or one on which an
            order cannot be completed.
    """

    performance_key = "completed_orders"

    def __init__(
        self,
        n_agents: int,
        episode_limit: int,
        continuing_episode: bool,
        time_penalty_on_completion: bool,
        layout: str | None = None,
        seed: int | None = None,
        render: str | None = None,
    ) -> None:
        check_count("n_agents", n_agents)
        self.time_penalty_on_completion = time_penalty_on_completion
        self.layout = choose_layout(n_agents, layout)
        self.position_scale = position_scale(self.layout.shape)
        self.positions: IntArray = np.zeros((n_agents, 2), dtype=np.int64)
        self.remaining: IntArray = np.zeros((n_agents, ITEM_TYPES), dtype=np.int64)
        self.completed_orders = self.delivered_items = self.collisions = 0
        super().__init__(n_agents, episode_limit, continuing_episode, n_agents * (1 + ORDER_SIZE), seed, render)
        self.ground = self._ground()
        self._scratch = rules.scratch_for(self.ground, n_agents)
        self._collided = np.zeros(n_agents, dtype=bool)  # in the last step
        n_goals = int((self.ground.kinds[self.ground.free] > 0).sum())
        self._state_size = len(self.ground.free) + n_goals + n_agents * AGENT_FEATURES

    def _ground(self) -> Ground:
        kinds = np.where(self.layout == "#", rules.OBSTACLE, np.vectorize(GOALS.get)(self.layout))
        flat = np.pad(kinds, rules.VIEW_RADIUS, constant_values=rules.OBSTACLE).ravel()
        return Ground(
            kinds=flat,
            free=np.flatnonzero(flat != rules.OBSTACLE),
            stations=np.ascontiguousarray(cells_of(self.layout == "W")),
            width=self.layout.shape[1],
            scale=self.position_scale,
            time_penalty_on_completion=bool(self.time_penalty_on_completion),
            episode_limit=self.episode_limit,
        )

    def reset(self) -> tuple[FloatArray, FloatArray]:
        """Put every agent, with a new order, on a random work station; returns observations and state."""
        self.draws.refill()
        robots = self.robots()
        rules.start(self.ground, robots, self.draws.chance)
        self.positions, self.remaining, self._collided = robots
        self.completed_orders = self.delivered_items = self.collisions = 0
        return self._begin()

    def step(self, actions: Sequence[int] | npt.NDArray[np.integer]) -> tuple[float, bool, dict[str, Any]]:
        """Let the agents act one after the other in random order (`rules.step`).

        Args:
            actions: [N] integers in 0..5.

        Returns:
            The team reward, whether the episode has ended, and ``completed_orders`` of this episode so far, with
            ``episode_limit: True`` at the time limit of a continuing episode.

        Raises:
            ValueError: not N actions in 0..5.
            RuntimeError: the episode has ended, or none was started.
        """
        checked = self._check(actions)
        self.draws.refill()
        robots = self.robots()
        reward, ended, delivered, completed = rules.step(
            self.ground, robots, checked, self.draws.chance, self.steps, self._scratch
        )
        self.positions, self.remaining, self._collided = robots
        self.collisions += int(self._collided.sum())
        self.delivered_items += delivered
        self.completed_orders += completed
        self._end_step(ended)
        return reward, ended, step_info(self.performance_key, self.completed_orders, ended and self.continuing_episode)

    def robots(self) -> Robots:
        """The agents for the rules: copies, as arrays that were given or handed out stay as they are."""
        return Robots(
            np.array(self.positions, dtype=np.int64, order="C"),
            np.array(self.remaining, dtype=np.int64, order="C"),
            np.array(self._collided),
        )

    # --- what the agents and the learner see ---

    def get_obs(self) -> FloatArray:
        """Observations of all agents, [N, 125]; the class docstring tells their layout."""
        obs = np.empty((self.n_agents, self.get_obs_size()), dtype=np.float32)
        rules.write_obs(self.ground, self.robots(), obs, self._scratch)
        return obs

    def get_obs_size(self) -> int:
        """Length of one agent's observation."""
        return rules.VIEW_CHANNELS * rules.WINDOW

    def get_state(self) -> FloatArray:
        """Global state, [get_state_size()]; the class docstring tells its layout."""
        state = np.empty(self._state_size, dtype=np.float32)
        rules.write_state(self.ground, self.robots(), state, self._scratch)
        return state

    def get_state_size(self) -> int:
        """Length of the global state."""
        return self._state_size

    def get_avail_actions(self) -> IntArray:
        """All actions of all agents, [N, 6] of ones: a move against a wall is allowed, and idle."""
        return np.ones((self.n_agents, N_ACTIONS), dtype=np.int64)

    def get_total_actions(self) -> int:
        """Number of actions."""
        return N_ACTIONS

    def get_env_info(self) -> dict[str, Any]:
        """Sizes, where the state holds each agent's (x, y) and whether it lives (always), and compact dtypes."""
        first = self.get_state_size() - self.n_agents * AGENT_FEATURES
        x = first + AGENT_FEATURES * np.arange(self.n_agents)
        return {
            **super().get_env_info(),
            "agent_position_index": np.stack([x, x + 1], axis=1),
            "agent_alive_index": x + 2,
            "dtypes": self._dtypes(),
        }

    def _dtypes(self) -> dict[str, str]:
        """What holds everything shown exactly: small counts, positions over a power of two, multiples of 1 / N."""
        power_of_two = self.n_agents & (self.n_agents - 1) == 0
        exact_halves = power_of_two and self.n_agents <= 256 and max(self.layout.shape) <= 2048
        return {
            "obs": "uint8" if self.n_agents <= 256 else "int16",
            "state": "float16" if exact_halves else "float32",
            "avail_actions": "uint8",
        }

    def get_stats(self) -> dict[str, int]:
        """Counts of this episode so far."""
        return {
            "completed_orders": self.completed_orders,
            "delivered_items": self.delivered_items,
            "collisions": self.collisions,
        }

    def render(self) -> str:
        """The map with agents as letters (``*`` where several share a cell), and what each of them still has to do."""
        picture = self.layout.copy()
        tasks = []
        for agent, ((x, y), items) in enumerate(zip(self.positions, self.remaining, strict=True)):
            letter = string.ascii_lowercase[agent % 26]
            picture[y, x] = "*" if picture[y, x] in string.ascii_lowercase + "*" else letter
            left = " ".join(str(kind) for kind in np.repeat(np.arange(1, ITEM_TYPES + 1), items))
            tasks.append(f"{letter}: {left or 'return'}")
        rows = ["".join(row) for row in picture[::-1]]
        summary = f"step {self.steps} of {self.episode_limit}, completed orders {self.completed_orders}"
        return "\n".join([*rows, *tasks, summary])

    def get_scene(self) -> Scene:
        """The present situation, for those who draw it: each robot is labelled with the items that it has left."""
        height, width = self.layout.shape
        tiles = [
            Tile(x, y, kind, "" if kind == OBSTACLE else self.layout[y, x])
            for symbols, kind in (("W", "work station"), ("1234", "drop-off"), ("#", OBSTACLE))
            for x, y in cells_of(np.isin(self.layout, list(symbols))).tolist()
        ]
        situations = (self.positions.tolist(), self.remaining.tolist(), self._collided.tolist())
        agents = [
            Piece(x, y, label="".join(str(kind) * left for kind, left in enumerate(items, 1)) or "W", collided=collided)
            for (x, y), items, collided in zip(*situations, strict=True)
        ]
        return Scene(
            width,
            height,
            agents=tuple(agents),
            tiles=tuple(tiles),
            step=self.steps,
            performance={"completed orders": self.completed_orders},
            notes=("digits: items to deliver", "W: back to a station", "red ring: ran into another"),
        )
