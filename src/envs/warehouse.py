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
from envs.live import open_view
from envs.multiagentenv import MultiAgentEnv
from envs.scene import OBSTACLE, Piece, Scene, Tile
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
        render: terminal or window for a live look (`envs.live`); None: none.

    Every draw is one ``rng.random()``, so that `WarehouseBatch` can play the same episodes. A reset takes one per agent
    for its station, then five per agent for its order; a step takes one per agent (the lowest acts first), then five
    for each completed order, in the order of the agents.

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
        render: str | None = None,
    ) -> None:
        check_count("n_agents", n_agents)
        check_count("episode_limit", episode_limit)
        self.layout = choose_layout(n_agents, layout)
        self.n_agents = n_agents
        self.episode_limit = episode_limit
        self.continuing_episode = continuing_episode
        self.time_penalty_on_completion = time_penalty_on_completion

        self.grounds = Grounds(self.layout)
        self.position_scale = position_scale(self.layout.shape)
        self._agents = np.arange(n_agents)

        self.positions: IntArray = np.zeros((n_agents, 2), dtype=np.int64)
        self.remaining: IntArray = np.zeros((n_agents, ITEM_TYPES), dtype=np.int64)
        self._clear_counters()
        self._running = False
        self.seed(seed)
        self._live = open_view(render)

    def seed(self, seed: int | None = None) -> None:
        """Restart the random generator; None draws a seed from the operating system."""
        self.rng = np.random.default_rng(seed)

    def reset(self) -> tuple[FloatArray, FloatArray]:
        """Put every agent, with a new order, on a random work station; returns observations and state.

        Stations are drawn with replacement: there are fewer of them than agents, so agents may share one.
        """
        stations = self.grounds.stations
        self.positions = stations[draw_below(self.rng, len(stations), self.n_agents)]
        self.remaining = draw_orders(self.rng, self.n_agents)
        self._clear_counters()
        self._running = True
        self._live.show(self)
        return self.get_obs(), self.get_state()

    def _clear_counters(self) -> None:
        self.steps = self.completed_orders = self.delivered_items = self.collisions = 0
        self._collided: BoolArray = np.zeros(self.n_agents, dtype=bool)  # in the last step

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
        self._collided = self._move(checked)
        collided = int(self._collided.sum())
        delivered, completed = self._drop_off(checked == DROP_OFF)
        self.steps += 1
        self.collisions += collided
        self.delivered_items += delivered
        self.completed_orders += completed
        reward = team_reward(self.n_agents, delivered, completed, collided, self.time_penalty_on_completion)

        terminated = self.steps >= self.episode_limit
        self._running = not terminated
        info: dict[str, Any] = {"completed_orders": self.completed_orders}
        if terminated and self.continuing_episode:
            info["episode_limit"] = True
        self._live.show(self)
        return reward, terminated, info

    def _move(self, actions: IntArray) -> BoolArray:
        """Carry out the moves; returns which agents ran into another one, [N]."""
        cells = self.grounds.view.cells(self.positions)
        targets = self.grounds.moves[cells, actions]
        turns = self.rng.random(self.n_agents).argsort(kind="stable")
        tries = targets != cells
        moved = take_turns(cells.tolist(), targets.tolist(), turns[tries[turns]].tolist())
        self.positions = self.positions + STEPS[actions] * moved[:, None]
        return tries & ~moved

    def _drop_off(self, dropping: BoolArray) -> tuple[int, int]:
        """Carry out the drop-off actions; returns how many items were delivered and how many orders completed."""
        goals = self.grounds.goals[self.grounds.view.cells(self.positions)]
        wanted = dropping & (demand(self.remaining)[self._agents, goals] > 0)
        completed = wanted & (goals == STATION)
        delivered = np.flatnonzero(wanted & ~completed)
        orders = int(completed.sum())
        self.remaining = self.remaining.copy()
        self.remaining[delivered, goals[delivered] - 1] -= 1
        if orders:
            self.remaining[completed] = draw_orders(self.rng, orders)
        return len(delivered), orders

    # --- what the agents and the learner see ---

    def get_obs(self) -> FloatArray:
        """Observations of all agents, [N, 125]; the class docstring tells their layout."""
        cells = self.grounds.view.cells(self.positions)
        wants = demand(self.remaining)
        obs = self.grounds.scenery[cells]  # a fresh array; the scenery takes the agent itself off the counts
        obs[:, 2] += self._occupancy(cells)[self.grounds.view.windows(cells)]
        obs[:, 3] = wants[self._agents[:, None], self.grounds.goals_in_view[cells]]
        obs[wants[:, STATION] > 0, 4] = 0
        return obs.reshape(self.n_agents, -1)

    def get_obs_size(self) -> int:
        """Length of one agent's observation."""
        return VIEW_CHANNELS * self.grounds.view.side**2

    def get_state(self) -> FloatArray:
        """Global state, [get_state_size()]; the class docstring tells its layout."""
        wants = demand(self.remaining)
        features = np.ones((self.n_agents, AGENT_FEATURES))  # the third is alive
        features[:, :2] = self.positions
        features[:, :2] /= self.position_scale
        features[:, 3:] = wants[:, 1:]
        occupancy = self._occupancy(self.grounds.view.cells(self.positions))[self.grounds.floor]
        outstanding = wants.mean(axis=0)[self.grounds.goals[self.grounds.goal_cells]]
        return np.concatenate([occupancy, outstanding, features.ravel()], dtype=np.float32)

    def get_state_size(self) -> int:
        """Length of the global state."""
        return len(self.grounds.floor) + len(self.grounds.goal_cells) + self.n_agents * AGENT_FEATURES

    def _occupancy(self, cells: IntArray) -> IntArray:
        """Number of agents on every cell of the flattened grid."""
        return np.bincount(cells, minlength=self.grounds.view.size)

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

    def close(self) -> None:
        """End the live look."""
        self._live.close()


# --- maps ---


class Grounds:
    """What a map does not change in the course of play, by cell of a flattened grid (`FieldOfView.flatten`).

    Args:
        layout: characters [height, width], row 0 in the south.

    Attributes:
        view: the flattened grid, of G cells with its margin, and the agents' windows in it.
        positions: int64 [number, 2], (x, y) of the cells that are no obstacle, row by row from the south-west corner.
        floor: int64 [number], the same as cells of the flattened grid.
        goal_cells: int64, the drop-offs and work stations among them, in the same order.
        stations: int64 [number, 2], (x, y) of the work stations, in the same order.
        goals: int64 [G], what each cell is good for, by the numbers of ``GOALS``.
        moves: int64 [G, A], the cell that each action leads to; the same cell if it is no move, or an obstacle or the
            outside is in the way.
        goals_in_view: int64 [G, 25], ``goals`` in the window around each floor cell.
        scenery: float32 [G, 5, 25], the observation of an agent alone on each floor cell with nothing to deliver yet,
            work stations as the stage after; the agent itself is missing from the agents' channel (-1).
    """

    def __init__(self, layout: npt.NDArray[np.str_]) -> None:
        goals = np.array([[GOALS[symbol] for symbol in row] for row in layout])
        height, width = layout.shape
        self.view = FieldOfView((height, width), VIEW_RADIUS)
        self.goals = self.view.flatten(goals, outside=0)
        self.stations = cells_of(goals == STATION)
        self.goal_cells = self.view.cells(cells_of(goals > 0))
        self.positions = cells_of(layout != "#")
        self.floor = self.view.cells(self.positions)

        blocked = self.view.flatten(layout == "#", outside=True)
        self.moves = np.repeat(np.arange(self.view.size)[:, None], N_ACTIONS, axis=1)
        for action, step in enumerate(STEPS):
            targets = self.view.cells(self.positions + step)
            self.moves[self.floor, action] = np.where(blocked[targets], self.floor, targets)

        windows = self.view.windows(self.floor)
        self.goals_in_view = np.zeros((self.view.size, self.view.side**2), dtype=np.int64)
        self.goals_in_view[self.floor] = self.goals[windows]
        self.scenery = np.zeros((self.view.size, VIEW_CHANNELS, self.view.side**2), dtype=np.float32)
        self.scenery[self.floor, 1] = blocked[windows]
        self.scenery[:, 0, self.view.centre] = 1
        self.scenery[:, 2, self.view.centre] = -1
        self.scenery[:, 4] = self.goals_in_view == STATION


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


def draw_below(rng: np.random.Generator, n: int, size: int | tuple[int, ...]) -> IntArray:
    """Numbers drawn uniformly from 0..n-1, each from one ``rng.random()``, as `WarehouseBatch` draws them."""
    return (rng.random(size) * n).astype(np.int64)


def draw_orders(rng: np.random.Generator, n_orders: int) -> IntArray:
    """Orders of 5 items, each of a type drawn uniformly; the number of items of each type, [n_orders, 4]."""
    items = draw_below(rng, ITEM_TYPES, (n_orders, ORDER_SIZE, 1))
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


def team_reward(n_agents: int, delivered: Any, completed: Any, collided: Any, time_penalty_on_completion: bool) -> Any:
    """Sum of the agents' rewards, from how many of them did what (the paper, section 5.1).

    Args:
        n_agents: agents in the team.
        delivered: items delivered; as the next two a whole number, or an array with one for each of several teams.
        completed: orders completed.
        collided: moves into another agent.
        time_penalty_on_completion: as in `Warehouse`.
    """
    penalised = n_agents if time_penalty_on_completion else n_agents - completed
    return ITEM_REWARD * delivered + ORDER_REWARD * completed - COLLISION_PENALTY * collided - TIME_PENALTY * penalised
