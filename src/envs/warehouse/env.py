"""Warehouse[N]: robots carry ordered items past each other (the paper, section 5.1)."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from envs.checks import check_count
from envs.grid import IntArray, cells_of, position_scale
from envs.grid_env import GridEnv, Places, SituationArray
from envs.scene import OBSTACLE, Piece, Scene, Tile
from envs.warehouse import rules
from envs.warehouse.map import choose_layout, flat_kinds
from envs.warehouse.rules import ITEM_TYPES, ORDER_SIZE, Situation, World, scratch_for


class Warehouse(GridEnv):
    """N robots fetch orders at work stations and deliver their items to the drop-offs of the items' types.

    `envs.warehouse.rules` tells the rules, one function each. Actions: 0 stay, 1 north, 2 south, 3 west, 4 east, 5 drop
    off; all of them are always available. An order is five items; when they are delivered, it is completed at a work
    station, which hands out the next one. The domain performance is ``completed_orders`` of an episode.

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

    rules = rules
    performance_key = "completed_orders"
    positions, remaining, collided = Places(), SituationArray(), SituationArray()

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
        kinds = flat_kinds(self.layout)
        free = np.flatnonzero(kinds != rules.OBSTACLE)
        self._state_size = len(free) + int((kinds[free] > 0).sum()) + n_agents * rules.AGENT_FEATURES
        world = World(
            kinds=kinds,
            free=free,
            stations=np.ascontiguousarray(cells_of(self.layout == "W")),
            stride=self.layout.shape[1] + 2 * rules.VIEW_RADIUS,
            scale=self.position_scale,
            time_penalty_on_completion=bool(time_penalty_on_completion),
            episode_limit=episode_limit,
            continuing_episode=bool(continuing_episode),
            scratch=scratch_for(len(kinds), n_agents),
        )
        now = Situation(
            positions=np.zeros((n_agents, 2), dtype=np.int64),
            remaining=np.zeros((n_agents, ITEM_TYPES), dtype=np.int64),
            collided=np.zeros(n_agents, dtype=bool),
            tally=np.zeros(4, dtype=np.int64),
        )
        most_draws = n_agents * (1 + ORDER_SIZE)
        super().__init__(n_agents, episode_limit, continuing_episode, world, now, most_draws, seed, render)

    def get_state_size(self) -> int:
        """Length of the global state."""
        return self._state_size

    def get_avail_actions(self) -> IntArray:
        """All actions of all agents, [N, 6] of ones: a move against a wall is allowed, and idle."""
        return np.ones((self.n_agents, rules.N_ACTIONS), dtype=np.int64)

    def get_env_info(self) -> dict[str, Any]:
        """Sizes, where the state holds each agent's (x, y) and whether it lives (always), and compact dtypes."""
        return {**super().get_env_info(), "dtypes": self._compact()}

    def _compact(self) -> dict[str, str]:
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
        return dict(zip(("completed_orders", "delivered_items", "collisions"), self.tally[1:].tolist(), strict=True))

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
        summary = f"step {self.steps} of {self.episode_limit}, completed orders {self.tally[1]}"
        return "\n".join([*rows, *tasks, summary])

    def get_scene(self) -> Scene:
        """The present situation, for those who draw it: each robot is labelled with the items that it has left."""
        height, width = self.layout.shape
        tiles = [
            Tile(x, y, kind, "" if kind == OBSTACLE else self.layout[y, x])
            for symbols, kind in (("W", "work station"), ("1234", "drop-off"), ("#", OBSTACLE))
            for x, y in cells_of(np.isin(self.layout, list(symbols))).tolist()
        ]
        situations = (self.positions.tolist(), self.remaining.tolist(), self.collided.tolist())
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
            performance={"completed orders": int(self.tally[1])},
            notes=("digits: items to deliver", "W: back to a station", "red ring: ran into another"),
        )
