"""Several Warehouses of one kind stepped together, by compiled rules.

The kernels follow `Warehouse` draw by draw. Letters in the shapes: B environments, M of them acting, T steps, N agents,
A actions, G cells of the flattened grid (`envs.grid.FieldOfView`).

numba keeps compiled kernels on disk and notices changes in their own file only. So what `envs.warehouse` defines comes
in as an argument, never as a global constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from envs.batch import EnvBatch, EpisodeArrays, IntArray, Outcomes, Uniforms
from envs.checks import check_batch_actions
from envs.warehouse import DROP_OFF, N_ACTIONS, ORDER_SIZE, STATION, Warehouse, team_reward

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]


class Situation(NamedTuple):
    """What changes as the environments are played.

    Attributes:
        cells: int64 [B, N], where each agent is.
        wants: float32 [B, N, 6], what each agent wants from each kind of goal, as `envs.warehouse.demand` has it.
        occupancy: float32 [B, G], the number of agents on each cell.
    """

    cells: IntArray
    wants: FloatArray
    occupancy: FloatArray


class Rules(NamedTuple):
    """What the dynamics read and never change.

    Attributes:
        drop_off: that action.
        order_size: items of an order.
        stations: int64 [number of them], the cells of the work stations.
        moves: int64 [G, A], the cell that each action leads to; the same cell if it is no move, or blocked.
        goals: int64 [G], what each cell is good for: 0 nothing, then the drop-off of each type, last a work station.
    """

    drop_off: int
    order_size: int
    stations: IntArray
    moves: IntArray
    goals: IntArray


class Sights(NamedTuple):
    """What observations and states read and never change.

    Attributes:
        scenery: float32 [G, 125], what an agent without neighbours and items sees from each cell (`Grounds.scenery`).
        goals_in_view: int64 [G, 25], the goals in the window around each cell.
        window: int64 [25], how far the cells of an agent's window are from its own.
        floor: int64 [number of them], the cells that the state counts agents on.
        outstanding: int64 [number of them], the goal on each cell whose outstanding demand the state shows.
        places: float32 [G, 2], (x, y) of each cell as the state has it.
    """

    scenery: FloatArray
    goals_in_view: IntArray
    window: IntArray
    floor: IntArray
    outstanding: IntArray
    places: FloatArray


class WarehouseBatch(EnvBatch):
    """B environments of `Warehouse`; what `EnvBatch` says.

    Args:
        envs: B environments of `Warehouse` that differ in their seeds only, freshly built.
    """

    def __init__(self, envs: Sequence[Warehouse]) -> None:
        super().__init__(envs)
        first, size = envs[0], len(envs)
        self._first = first
        self._rules, self._sights = rules_of(first), sights_of(first)
        self._uniforms = Uniforms([env.rng for env in envs], most=first.n_agents * (1 + ORDER_SIZE))
        self._now = Situation(
            cells=np.zeros((size, first.n_agents), dtype=np.int64),
            wants=np.zeros((size, first.n_agents, STATION + 1), dtype=np.float32),
            occupancy=np.zeros((size, first.grounds.view.size), dtype=np.float32),
        )
        self._steps = np.full(size, first.episode_limit)  # no episode is running yet
        self._completed = np.zeros(size, dtype=np.int64)

    def reset(self) -> None:
        """Starts a new episode in every environment."""
        self._uniforms.refill()
        _reset(self._rules, self._uniforms.values, self._uniforms.used, self._now)
        self._steps[:] = 0
        self._completed[:] = 0

    def observe(self, acting: IntArray, t: int, arrays: EpisodeArrays) -> None:
        """Writes what the environments ``acting`` [M] show now into their rows of ``arrays``, at step ``t``."""
        _observe(self._sights, self._now, acting, t, arrays.obs, arrays.state, arrays.avail_actions)

    def step(self, acting: IntArray, actions: IntArray) -> Outcomes:
        """Lets all agents of the environments ``acting`` [M] act once, with ``actions`` [M, N]; see `EnvBatch`."""
        if (self._steps[acting] >= self._first.episode_limit).any():
            raise RuntimeError("no episode is running in one of the environments: call reset() first")
        checked = check_batch_actions(actions, (len(acting), self._first.n_agents), N_ACTIONS)
        self._uniforms.refill()
        counts = np.zeros((3, len(acting)), dtype=np.int64)
        _step(self._rules, self._uniforms.values, self._uniforms.used, self._now, acting, checked, counts)
        delivered, completed, collided = counts
        self._steps[acting] += 1
        self._completed[acting] += completed
        ended = self._steps[acting] >= self._first.episode_limit
        return Outcomes(
            rewards=team_reward(
                self._first.n_agents, delivered, completed, collided, self._first.time_penalty_on_completion
            ),
            ended=ended,
            limited=ended & self._first.continuing_episode,
        )

    def info(self, number: int) -> dict[str, Any]:
        """The info dict of the last step of environment ``number``."""
        info: dict[str, Any] = {"completed_orders": int(self._completed[number])}
        if self._first.continuing_episode and self._steps[number] >= self._first.episode_limit:
            info["episode_limit"] = True
        return info


def rules_of(env: Warehouse) -> Rules:
    """The rules of ``env`` and its like."""
    return Rules(
        drop_off=DROP_OFF,
        order_size=ORDER_SIZE,
        stations=env.grounds.view.cells(env.grounds.stations),
        moves=env.grounds.moves,
        goals=env.grounds.goals,
    )


def sights_of(env: Warehouse) -> Sights:
    """What ``env`` and its like show."""
    grounds = env.grounds
    places = np.zeros((grounds.view.size, 2), dtype=np.float32)
    places[grounds.floor] = grounds.positions / env.position_scale
    return Sights(
        scenery=grounds.scenery.reshape(grounds.view.size, -1),
        goals_in_view=grounds.goals_in_view,
        window=grounds.view.offsets,
        floor=grounds.floor,
        outstanding=grounds.goals[grounds.goal_cells],
        places=places,
    )


# --- dynamics ---


@njit(cache=True)
def _reset(rules: Rules, values: DoubleArray, used: IntArray, now: Situation) -> None:
    """Puts every agent of every environment, with a new order, on a random work station."""
    now.occupancy[:] = 0
    for b in range(len(used)):
        for agent in range(now.cells.shape[1]):
            cell = rules.stations[int(values[b, used[b]] * len(rules.stations))]
            used[b] += 1
            now.cells[b, agent] = cell
            now.occupancy[b, cell] += 1
        for agent in range(now.cells.shape[1]):
            _hand_out_order(rules.order_size, values, used, b, now.wants[b, agent])


@njit(cache=True)
def _hand_out_order(order_size: int, values: DoubleArray, used: IntArray, b: int, wants: FloatArray) -> None:
    """Makes ``wants`` [6], an agent's of environment ``b``, those of a new order."""
    wants[:] = 0
    for _ in range(order_size):
        wants[1 + int(values[b, used[b]] * (len(wants) - 2))] += 1
        used[b] += 1


@njit(cache=True)
def _step(
    rules: Rules,
    values: DoubleArray,
    used: IntArray,
    now: Situation,
    acting: IntArray,
    actions: IntArray,
    counts: IntArray,
) -> None:
    """Lets the agents of ``acting`` [M] act; adds items delivered, orders completed and collisions to counts [3, M]."""
    n_agents = actions.shape[1]
    turns = np.empty(n_agents, dtype=np.int64)
    for m in range(len(acting)):
        b = acting[m]
        cells = now.cells[b]
        draws = values[b, used[b] : used[b] + n_agents]
        used[b] += n_agents
        tries = _line_up(rules.moves, cells, actions[m], draws, turns)
        counts[2, m] += _take_turns(rules.moves, cells, actions[m], turns[:tries], now.occupancy[b])
        for agent in range(n_agents):
            wants, goal = now.wants[b, agent], rules.goals[cells[agent]]
            if actions[m, agent] != rules.drop_off or wants[goal] == 0:
                continue
            if goal == len(wants) - 1:
                counts[1, m] += 1
                _hand_out_order(rules.order_size, values, used, b, wants)
            else:
                counts[0, m] += 1
                wants[goal] -= 1
                wants[-1] = wants[1:-1].sum() == 0


@njit(cache=True)
def _line_up(moves: IntArray, cells: IntArray, actions: IntArray, draws: DoubleArray, turns: IntArray) -> int:
    """Writes the agents that try to move into ``turns``, the lowest draw first (equal ones in order); their number."""
    tries = 0
    for agent in range(len(cells)):
        if moves[cells[agent], actions[agent]] != cells[agent]:
            place = tries
            while place > 0 and draws[turns[place - 1]] > draws[agent]:
                turns[place] = turns[place - 1]
                place -= 1
            turns[place] = agent
            tries += 1
    return tries


@njit(cache=True)
def _take_turns(moves: IntArray, cells: IntArray, actions: IntArray, turns: IntArray, occupancy: FloatArray) -> int:
    """Moves the agents ``turns`` one after the other, each only into an empty cell; how many ran into another one."""
    collided = 0
    for agent in turns:
        cell, target = cells[agent], moves[cells[agent], actions[agent]]
        if occupancy[target] == 0:
            occupancy[cell] -= 1
            occupancy[target] += 1
            cells[agent] = target
        else:
            collided += 1
    return collided


# --- what the agents and the learner see ---


@njit(cache=True)
def _observe(
    sights: Sights,
    now: Situation,
    acting: IntArray,
    t: int,
    obs: FloatArray,
    state: FloatArray,
    avail_actions: npt.NDArray[np.int32],
) -> None:
    """Writes observations [B, T, N, 125], states [B, T, S] and availability [B, T, N, A] of ``acting`` [M] at ``t``."""
    for b in acting:
        avail_actions[b, t] = 1
        for agent in range(now.cells.shape[1]):
            _write_observation(sights, now.cells[b, agent], now.wants[b, agent], now.occupancy[b], obs[b, t, agent])
        _write_state(sights, now.cells[b], now.wants[b], now.occupancy[b], state[b, t])


@njit(cache=True)
def _write_observation(sights: Sights, cell: int, wants: FloatArray, occupancy: FloatArray, row: FloatArray) -> None:
    """One agent's observation, [125]."""
    scenery, goals = sights.scenery[cell], sights.goals_in_view[cell]
    size = len(goals)
    for k in range(len(row)):
        row[k] = scenery[k]
    others, current, following = row[2 * size : 3 * size], row[3 * size : 4 * size], row[4 * size :]
    for k in range(size):
        others[k] += occupancy[cell + sights.window[k]]
        current[k] = wants[goals[k]]
    if wants[-1] > 0:  # the return is the current stage
        for k in range(size):
            following[k] = 0


@njit(cache=True)
def _write_state(sights: Sights, cells: IntArray, wants: FloatArray, occupancy: FloatArray, row: FloatArray) -> None:
    """The state of one environment, [S]."""
    n_agents, kinds = wants.shape
    at = 0
    for cell in sights.floor:
        row[at] = occupancy[cell]
        at += 1
    totals = np.zeros(kinds)
    for agent in range(n_agents):
        for kind in range(kinds):
            totals[kind] += wants[agent, kind]
    for kind in sights.outstanding:
        row[at] = totals[kind] / n_agents
        at += 1
    for agent in range(n_agents):
        place = sights.places[cells[agent]]
        row[at], row[at + 1], row[at + 2] = place[0], place[1], 1  # it lives
        for kind in range(1, kinds):
            row[at + 2 + kind] = wants[agent, kind]
        at += 2 + kinds
