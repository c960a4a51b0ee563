"""Warehouse[N]: robots carry ordered items past each other (the paper, section 5.1)."""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.checks import check_actions, check_count
from envs.grid import (
    MOVES,
    BoolArray,
    FieldOfView,
    IntArray,
    cells_of,
    parse_layout,
    position_scale,
    read_layout,
    regions,
)
from envs.multiagentenv import MultiAgentEnv
from utils.errors import UserError

FloatArray = npt.NDArray[np.float32]

DROP_OFF = 5  # the action after the moves
STEPS = np.vstack([MOVES, (0, 0)])  # (dx, dy) of each action; a drop-off stays in place
N_ACTIONS = len(STEPS)
VIEW_RADIUS = 2  # cells; a 5x5 field of view
VIEW_CHANNELS = 5
ORDER_SIZE = 5  # items
ITEM_TYPES = 4
AGENT_FEATURES = 4 + ITEM_TYPES  # x, y, alive, items left per type, whether only the return is left

ITEM_REWARD = 1.0
ORDER_REWARD = 1.0
COLLISION_PENALTY = 0.5
TIME_PENALTY = 0.01

# What a cell is good for: 0 nothing, 1..4 the drop-off of that item type, 5 a work station.
STATION = ITEM_TYPES + 1
GOALS = {"#": 0, ".": 0, "1": 1, "2": 2, "3": 3, "4": 4, "W": STATION}

# The paper's maps: W work station, . floor, 1-4 drop-off of that type, # obstacle; the north is at the top.
LAYOUTS = {
    4: """
        #W#
        .2.
        3#4
        .1.
        #W#
    """,
    8: """
        .W.W.
        .2.1.
        3#4#3
        .1.2.
        .W.W.
    """,
    16: """
        ###W#W#W#W###
        #...........#
        #..2.1.2.1..#
        W.3#4#3#4#3.W
        #..2.1.2.1..#
        W.3#4#3#4#3.W
        #..1.2.1.2..#
        #...........#
        ###W#W#W#W###
    """,
}


class Warehouse(MultiAgentEnv):
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

    Attributes that hold the situation; assigning them sets it up:
        positions: int [N, 2], (x, y) of each agent in cells.
        remaining: int [N, 4], items of each type that an agent still has to deliver; all zero: only the return is left.

    Raises:
        UserError: ``n_agents`` or ``episode_limit`` below 1, a malformed map (with line and column), or one on which an
            order cannot be completed.
    """

    def __init__(
        self,
        n_agents: int,
        episode_limit: int,
        continuing_episode: bool,
        time_penalty_on_completion: bool,
        layout: str | None = None,
        seed: int | None = None,
    ) -> None:
        check_count("n_agents", n_agents)
        check_count("episode_limit", episode_limit)
        self.layout = choose_layout(n_agents, layout)
        self.n_agents = n_agents
        self.episode_limit = episode_limit
        self.continuing_episode = continuing_episode
        self.time_penalty_on_completion = time_penalty_on_completion

        goals = np.array([[GOALS[symbol] for symbol in row] for row in self.layout])
        height, width = self.layout.shape
        self._view = FieldOfView((height, width), VIEW_RADIUS)
        self._blocked = self._view.flatten(self.layout == "#", outside=True)
        self._goals = self._view.flatten(goals, outside=0)
        self._stations = cells_of(goals == STATION)
        self._floor = self._view.cells(cells_of(self.layout != "#"))
        self._goal_cells = self._view.cells(cells_of(goals > 0))
        self.position_scale = position_scale((height, width))

        self.positions: IntArray = np.zeros((n_agents, 2), dtype=np.int64)
        self.remaining: IntArray = np.zeros((n_agents, ITEM_TYPES), dtype=np.int64)
        self._clear_counters()
        self._running = False
        self.seed(seed)

    def seed(self, seed: int | None = None) -> None:
        """Restart the random generator; None draws a seed from the operating system."""
        self._rng = np.random.default_rng(seed)

    def reset(self) -> tuple[FloatArray, FloatArray]:
        """Put every agent, with a new order, on a random work station; returns observations and state.

        Stations are drawn with replacement: there are fewer of them than agents, so agents may share one.
        """
        self.positions = self._stations[self._rng.integers(len(self._stations), size=self.n_agents)]
        self.remaining = draw_orders(self._rng, self.n_agents)
        self._clear_counters()
        self._running = True
        return self.get_obs(), self.get_state()

    def _clear_counters(self) -> None:
        self.steps = self.completed_orders = self.delivered_items = self.collisions = 0

    # --- dynamics ---

    def step(self, actions: Sequence[int] | npt.NDArray[np.integer]) -> tuple[float, bool, dict[str, Any]]:
        """Let the agents act one after the other in random order.

        Args:
            actions: [N] integers in 0..5.

        Returns:
            The team reward, whether the episode has ended, and ``completed_orders`` of this episode so far, with
            ``episode_limit: True`` at the time limit of a continuing episode.

        Raises:
            ValueError: not N actions in 0..5.
            RuntimeError: the episode has ended, or none was started.
        """
        if not self._running:
            raise RuntimeError("no episode is running: call reset() first")
        checked = check_actions(actions, self.n_agents, N_ACTIONS)
        collided = self._move(checked)
        delivered, completed = self._drop_off(checked == DROP_OFF)
        self.steps += 1
        self.collisions += int(collided.sum())
        self.delivered_items += int(delivered.sum())
        self.completed_orders += int(completed.sum())
        reward = team_reward(delivered, completed, collided, self.time_penalty_on_completion)

        terminated = self.steps >= self.episode_limit
        self._running = not terminated
        info: dict[str, Any] = {"completed_orders": self.completed_orders}
        if terminated and self.continuing_episode:
            info["episode_limit"] = True
        return reward, terminated, info

    def _move(self, actions: IntArray) -> BoolArray:
        """Carry out the moves; returns which agents ran into another one, [N]."""
        aims = self.positions + STEPS[actions]
        cells, targets = self._view.cells(self.positions), self._view.cells(aims)
        tries = (targets != cells) & ~self._blocked[targets]
        turns = self._rng.permutation(self.n_agents)
        moved = take_turns(cells.tolist(), targets.tolist(), turns[tries[turns]].tolist())
        self.positions = np.where(moved[:, None], aims, self.positions)
        return tries & ~moved

    def _drop_off(self, dropping: BoolArray) -> tuple[BoolArray, BoolArray]:
        """Carry out the drop-off actions; returns which agents delivered an item and which completed an order, [N]."""
        agents = np.arange(self.n_agents)
        goals = self._goals[self._view.cells(self.positions)]
        wanted = dropping & (demand(self.remaining)[agents, goals] > 0)
        delivered, completed = wanted & (goals != STATION), wanted & (goals == STATION)
        self.remaining = self.remaining.copy()
        self.remaining[agents[delivered], goals[delivered] - 1] -= 1
        self.remaining[completed] = draw_orders(self._rng, int(completed.sum()))
        return delivered, completed

    # --- what the agents and the learner see ---

    def get_obs(self) -> FloatArray:
        """Observations of all agents, [N, 125]; the class docstring tells their layout."""
        cells = self._view.cells(self.positions)
        windows = self._view.windows(cells)
        goals = self._goals[windows]
        wants = demand(self.remaining)
        obs = np.zeros((self.n_agents, VIEW_CHANNELS, self._view.side**2), dtype=np.float32)
        obs[:, 0, self._view.centre] = 1
        obs[:, 1] = self._blocked[windows]
        obs[:, 2] = self._occupancy(cells)[windows]
        obs[:, 2, self._view.centre] -= 1
        obs[:, 3] = np.take_along_axis(wants, goals, axis=1)
        obs[:, 4] = (goals == STATION) & (wants[:, STATION, None] == 0)
        return obs.reshape(self.n_agents, -1)

    def get_obs_size(self) -> int:
        """Length of one agent's observation."""
        return VIEW_CHANNELS * self._view.side**2

    def get_state(self) -> FloatArray:
        """Global state, [get_state_size()]; the class docstring tells its layout."""
        wants = demand(self.remaining)
        alive = np.ones((self.n_agents, 1))
        features = np.hstack([self.positions / self.position_scale, alive, wants[:, 1:]])
        occupancy = self._occupancy(self._view.cells(self.positions))[self._floor]
        outstanding = wants.mean(axis=0)[self._goals[self._goal_cells]]
        return np.concatenate([occupancy, outstanding, features.ravel()], dtype=np.float32)

    def get_state_size(self) -> int:
        """Length of the global state."""
        return len(self._floor) + len(self._goal_cells) + self.n_agents * AGENT_FEATURES

    def _occupancy(self, cells: IntArray) -> IntArray:
        """Number of agents on every cell of the flattened grid."""
        return np.bincount(cells, minlength=self._view.size)

    def get_avail_actions(self) -> IntArray:
        """All actions of all agents, [N, 6] of ones: a move against a wall is allowed, and idle."""
        return np.ones((self.n_agents, N_ACTIONS), dtype=np.int64)

    def get_total_actions(self) -> int:
        """Number of actions."""
        return N_ACTIONS

    def get_env_info(self) -> dict[str, Any]:
        """Sizes, and where the state holds each agent's (x, y) and whether it lives (always)."""
        first = self.get_state_size() - self.n_agents * AGENT_FEATURES
        x = first + AGENT_FEATURES * np.arange(self.n_agents)
        return {
            **super().get_env_info(),
            "agent_position_index": np.stack([x, x + 1], axis=1),
            "agent_alive_index": x + 2,
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


# --- maps ---


def choose_layout(n_agents: int, layout: str | None) -> npt.NDArray[np.str_]:
    """The map for ``n_agents``, or the one that the user gives; characters [height, width], row 0 in the south."""
    symbols = "".join(GOALS)
    if layout is None:
        return parse_layout(LAYOUTS.get(n_agents) or generate_layout(n_agents), symbols)
    chosen = read_layout(layout, symbols)
    check_goals(chosen)
    return chosen


def generate_layout(n_agents: int) -> str:
    """A map like the paper's Warehouse[16] for any number of agents, the north at the top.

    Obstacles at every second cell of a block, four drop-offs around each of them (1 or 2 in the north and south, 3 or 4
    in the west and east, in turn), aisles between, a ring road around the block, and stations on the rim at both ends
    of each row and column of obstacles. There are at least as many free cells per agent as in Warehouse[16].
    """
    columns, rows = lattice_size(n_agents)
    grid = np.full((2 * rows + 5, 2 * columns + 5), ".")
    block = grid[2:-2, 2:-2]
    block[1::2, 1::2] = "#"
    block[::2, 1::2] = in_turn("21", rows + 1, columns)
    block[1::2, ::2] = in_turn("34", rows, columns + 1)
    grid[[0, -1], :] = "#"
    grid[:, [0, -1]] = "#"
    grid[[0, -1], 3:-3:2] = "W"
    grid[3:-3:2, [0, -1]] = "W"
    return "\n".join("".join(row) for row in grid)


def lattice_size(n_agents: int) -> tuple[int, int]:
    """Columns and rows of obstacles of a generated map.

    The smallest map that gives every agent the free cells (stations included) that it has in the paper's Warehouse[16],
    which are 81 for 16; at most twice as many columns as rows, the more the better among equals.
    """
    most = math.isqrt(2 * n_agents) + 1  # rows of a square lattice that is certainly enough
    sizes = [(columns, rows) for rows in range(1, most + 1) for columns in range(rows, 2 * rows + 1)]
    fitting = [size for size in sizes if 16 * lattice_cells(*size) >= 81 * n_agents]
    return min(fitting, key=lambda size: (lattice_cells(*size), -size[0]))


def lattice_cells(columns: int, rows: int) -> int:
    """Cells of a generated map that are no obstacle: inside the rim, and two stations for each row and column."""
    return (2 * columns + 3) * (2 * rows + 3) - columns * rows + 2 * (columns + rows)


def in_turn(pair: str, height: int, width: int) -> npt.NDArray[np.str_]:
    """Two symbols in turn as on a chessboard, [height, width]."""
    return np.array(list(pair))[np.add.outer(np.arange(height), np.arange(width)) % 2]


def check_goals(layout: npt.NDArray[np.str_]) -> None:
    """Raises UserError unless there is a work station, and a way from each one to every type of drop-off."""
    stations, areas = cells_of(layout == "W"), regions(layout != "#")
    if not len(stations):
        raise UserError("env_args.layout: the map has no work station (W), where agents start")
    for kind in "1234":
        at_hand = np.unique(areas[layout == kind])
        for x, y in stations:
            if areas[y, x] not in at_hand:
                raise UserError(
                    f"env_args.layout: no drop-off of type {kind} can be reached from the work station at x={x}, y={y} "
                    "(x counts from 0 in the west, y from 0 in the south)"
                )


# --- rules ---


def draw_orders(rng: np.random.Generator, n_orders: int) -> IntArray:
    """Orders of 5 items, each of a type drawn uniformly; the number of items of each type, [n_orders, 4]."""
    items = rng.integers(ITEM_TYPES, size=(n_orders, ORDER_SIZE, 1))
    return (items == np.arange(ITEM_TYPES)).sum(axis=1)


def demand(remaining: IntArray) -> IntArray:
    """What each agent wants from each kind of goal, [N, 6], by the numbers of ``GOALS``.

    Nothing from plain floor, the items left from their drop-offs, and one return from a work station when no item is
    left.
    """
    wants = np.zeros((len(remaining), STATION + 1), dtype=np.int64)
    wants[:, 1:STATION] = remaining
    wants[:, STATION] = ~remaining.any(axis=1)
    return wants


def take_turns(cells: list[int], targets: list[int], turns: list[int]) -> BoolArray:
    """Move the agents one after the other, each only into a cell that is empty at that moment.

    Agents may share the cell that they start on, so cells are counted.

    Args:
        cells: where each agent is, [N].
        targets: where each agent wants to go, [N].
        turns: the agents that want to move, in the order in which they act.

    Returns:
        Which agents moved, [N].
    """
    occupants = Counter(cells)
    moved = np.zeros(len(cells), dtype=bool)
    for agent in turns:
        if not occupants[targets[agent]]:
            occupants[cells[agent]] -= 1
            occupants[targets[agent]] += 1
            moved[agent] = True
    return moved


def team_reward(
    delivered: BoolArray, completed: BoolArray, collided: BoolArray, time_penalty_on_completion: bool
) -> float:
    """Sum of the agents' rewards, from which of them did what, [N] each (the paper, section 5.1)."""
    penalised = len(completed) if time_penalty_on_completion else (~completed).sum()
    return float(
        ITEM_REWARD * delivered.sum()
        + ORDER_REWARD * completed.sum()
        - COLLISION_PENALTY * collided.sum()
        - TIME_PENALTY * penalised
    )
