"""The rules of Warehouse (the paper, section 5.1) in plain NumPy: what envs/warehouse/rules.py is held against."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
from oracles.grid import MOVES, FieldOfView

from envs.grid import BoolArray, IntArray, cells_of, position_scale
from envs.warehouse.map import choose_layout

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


class Warehouse:
    """As `envs.warehouse.Warehouse` tells it, with the same arguments, attributes and methods."""

    def __init__(
        self,
        n_agents: int,
        episode_limit: int,
        continuing_episode: bool,
        time_penalty_on_completion: bool,
        layout: str | None = None,
        seed: int | None = None,
    ) -> None:
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
        self.seed(seed)

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
        return self.get_obs(), self.get_state()

    def _clear_counters(self) -> None:
        self.steps = self.completed_orders = self.delivered_items = self.collisions = 0
        self._collided: BoolArray = np.zeros(self.n_agents, dtype=bool)  # in the last step

    # --- dynamics ---

    def step(self, actions: IntArray) -> tuple[float, bool, dict[str, Any]]:
        """Let the agents act one after the other in random order.

        Args:
            actions: [N] integers in 0..5.

        Returns:
            The team reward, whether the episode has ended, and ``completed_orders`` of this episode so far, with
            ``episode_limit: True`` at the time limit of a continuing episode.

        """
        checked = np.asarray(actions)
        self._collided = self._move(checked)
        collided = int(self._collided.sum())
        delivered, completed = self._drop_off(checked == DROP_OFF)
        self.steps += 1
        self.collisions += collided
        self.delivered_items += delivered
        self.completed_orders += completed
        reward = team_reward(self.n_agents, delivered, completed, collided, self.time_penalty_on_completion)

        terminated = self.steps >= self.episode_limit
        info: dict[str, Any] = {"completed_orders": self.completed_orders}
        if terminated and self.continuing_episode:
            info["episode_limit"] = True
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

    def get_stats(self) -> dict[str, int]:
        """Counts of this episode so far."""
        return {
            "completed_orders": self.completed_orders,
            "delivered_items": self.delivered_items,
            "collisions": self.collisions,
        }


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
