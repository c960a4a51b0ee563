"""The rules of Warehouse (the paper, section 5.1), compiled, on the arrays of one environment: a function for each.

    start, take_order           where agents start, and what they have to deliver
    step                        who acts when, and what ends an episode
    move                        moves and collisions
    deliver, complete_order     what a drop-off action does (picking up is part of `take_order`)
    team_reward                 what all that earns
    write_obs, write_state      what agents and learner see

At the end stand the loops over several environments. The same rules in plain NumPy are
tests/envs/oracles/warehouse.py.

Letters: N agents, A actions; G cells of the flattened grid, which is the map with a margin as wide as an agent sees, so
that no window leaves it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from components.compiled import compiled
from envs.chance import Chance

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
ShownArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

NORTH, SOUTH, WEST, EAST, DROP_OFF = range(1, 6)  # the actions after 0, stay
N_ACTIONS = 6
VIEW_RADIUS = 2  # cells; a 5x5 field of view
SIDE = 2 * VIEW_RADIUS + 1
WINDOW = SIDE**2  # cells in view
CENTRE = WINDOW // 2
VIEW_CHANNELS = 5
ORDER_SIZE = 5  # items
ITEM_TYPES = 4
AGENT_FEATURES = 4 + ITEM_TYPES  # x, y, alive, items left per type, whether only the return is left

ITEM_REWARD = 1.0
ORDER_REWARD = 1.0
COLLISION_PENALTY = 0.5
TIME_PENALTY = 0.01

# What a cell is good for: 0 nothing, 1..4 the drop-off of that item type, then:
STATION = ITEM_TYPES + 1
OBSTACLE = STATION + 1

NO_TURN = 2.0  # instead of the number in [0, 1) that gives an agent its turn


class Ground(NamedTuple):
    """What never changes.

    Attributes:
        kinds: int64 [G], what each cell is good for.
        free: int64 [number of them], the cells that are no obstacles, row by row from the south-west corner.
        stations: int64 [number of them, 2], (x, y) of the work stations, in the same order.
        width: of the map in cells.
        scale: a power of two, by which the state divides positions.
        time_penalty_on_completion: whether it is taken in the step in which an agent completes an order, too.
        episode_limit: steps of an episode.
    """

    kinds: IntArray
    free: IntArray
    stations: IntArray
    width: int
    scale: int
    time_penalty_on_completion: bool
    episode_limit: int


class Robots(NamedTuple):
    """The agents; in the loops over B environments with a leading dimension B.

    Attributes:
        positions: int64 [N, 2], (x, y) in cells.
        remaining: int64 [N, 4], items of each type that an agent still has to deliver; none: only the return is left.
        collided: bool [N], who ran into another one in the last step.
    """

    positions: IntArray
    remaining: IntArray
    collided: BoolArray


class Scratch(NamedTuple):
    """Room for one environment at a time; nothing in it lasts.

    Attributes:
        occupancy: float32 [G], agents on each cell.
        turns: int64 [N], who moves, in order.
        wants: float32 [7], what an agent wants from each kind of cell.
        totals: float64 [7], what all of them want.
    """

    occupancy: ShownArray
    turns: IntArray
    wants: ShownArray
    totals: FloatArray


# --- dynamics ---


@compiled
def start(ground: Ground, robots: Robots, chance: Chance) -> None:
    """Every agent starts, with a new order, on a work station drawn uniformly; agents may share one."""
    for agent in range(len(robots.positions)):
        station = int(draw(chance) * len(ground.stations))
        robots.positions[agent, 0] = ground.stations[station, 0]
        robots.positions[agent, 1] = ground.stations[station, 1]
    for agent in range(len(robots.positions)):
        take_order(robots.remaining[agent], chance)
    robots.collided[:] = False


@compiled
def take_order(items: IntArray, chance: Chance) -> None:
    """The agent picks up an order: five items, each of a type drawn uniformly, into ``items`` [4]."""
    items[:] = 0
    for _ in range(ORDER_SIZE):
        items[int(draw(chance) * ITEM_TYPES)] += 1


@compiled
def step(
    ground: Ground, robots: Robots, actions: IntArray, chance: Chance, steps: int, scratch: Scratch
) -> tuple[float, bool, int, int]:
    """The agents move, one after the other in random order; then those that stand where they want to drop off, do so.

    Args:
        ground: the rules' constants.
        robots: the situation, which becomes the next one.
        actions: [N].
        chance: random numbers; at most six for each agent are taken.
        steps: of this episode before this one.
        scratch: room.

    Returns:
        Team reward; whether the time is up; items delivered and orders completed in this step.
    """
    collided = move(ground, robots, actions, chance, scratch)
    delivered, completed = 0, 0
    for agent in range(len(actions)):
        if actions[agent] == DROP_OFF:
            kind = ground.kinds[cell_at(robots.positions[agent, 0], robots.positions[agent, 1], ground.width)]
            delivered += deliver(robots.remaining[agent], kind)
            completed += complete_order(robots.remaining[agent], kind, chance)
    reward = team_reward(len(actions), delivered, completed, collided, ground.time_penalty_on_completion)
    return reward, steps + 1 >= ground.episode_limit, delivered, completed


@compiled
def move(ground: Ground, robots: Robots, actions: IntArray, chance: Chance, scratch: Scratch) -> int:
    """Moves, in random order: each into a cell that is empty at that moment; else the agent collides and stays.

    A move against an obstacle or the outside is idle.

    Returns:
        How many agents ran into another one.
    """
    occupancy = scratch.occupancy
    count_agents(ground, robots.positions, occupancy)
    keys = draw_many(chance, len(actions))
    for agent in range(len(actions)):
        cell = cell_at(robots.positions[agent, 0], robots.positions[agent, 1], ground.width)
        target = cell + shift(actions[agent], ground.width)
        if target == cell or ground.kinds[target] == OBSTACLE:
            keys[agent] = NO_TURN
    collisions, robots.collided[:] = 0, False
    for agent in in_turn(keys, scratch.turns):
        cell = cell_at(robots.positions[agent, 0], robots.positions[agent, 1], ground.width)
        target = cell + shift(actions[agent], ground.width)
        if occupancy[target] > 0:
            robots.collided[agent] = True
            collisions += 1
        else:
            occupancy[cell] -= 1
            occupancy[target] += 1
            dx, dy = direction(actions[agent])
            robots.positions[agent, 0] += dx
            robots.positions[agent, 1] += dy
    return collisions


@compiled
def direction(action: int) -> tuple[int, int]:
    """(dx, dy) of an action; 0 for those that stay in place."""
    return int(action == EAST) - int(action == WEST), int(action == NORTH) - int(action == SOUTH)


@compiled
def shift(action: int, width: int) -> int:
    """How far an action leads in the flattened grid of a map of this width."""
    dx, dy = direction(action)
    return dy * stride(width) + dx


@compiled
def deliver(items: IntArray, kind: int) -> bool:
    """A drop-off action on a drop-off delivers an item of its type, if one is left of the agent's ``items`` [4]."""
    if kind == 0 or kind >= STATION or items[kind - 1] == 0:
        return False
    items[kind - 1] -= 1
    return True


@compiled
def complete_order(items: IntArray, kind: int, chance: Chance) -> bool:
    """A drop-off action on any work station completes an order without ``items`` [4] left, and hands out the next."""
    if kind != STATION or items.any():
        return False
    take_order(items, chance)
    return True


@compiled
def team_reward(
    n_agents: int, delivered: int, completed: int, collided: int, time_penalty_on_completion: bool
) -> float:
    """The sum of the agents' rewards: +1 for an item and for an order, -0.5 for a collision, -0.01 for the time.

    Args:
        n_agents: agents in the team.
        delivered: items delivered; as the next two a whole number, or an array with one for each of several teams.
        completed: orders completed.
        collided: moves into another agent.
        time_penalty_on_completion: False spares an agent the time penalty in a step in which it completes an order.
    """
    penalised = n_agents - completed * (not time_penalty_on_completion)
    return ITEM_REWARD * delivered + ORDER_REWARD * completed - COLLISION_PENALTY * collided - TIME_PENALTY * penalised


# --- helpers ---


@compiled
def scratch_for(ground: Ground, n_agents: int) -> Scratch:
    """Room for N agents."""
    return Scratch(
        np.empty(len(ground.kinds), dtype=np.float32),
        np.empty(n_agents, dtype=np.int64),
        np.empty(OBSTACLE + 1, dtype=np.float32),
        np.empty(OBSTACLE + 1),
    )


@compiled
def draw(chance: Chance) -> float:
    """The next random number."""
    chance.used[0] += 1
    return chance.values[chance.used[0] - 1]


@compiled
def draw_many(chance: Chance, n: int) -> FloatArray:
    """The next n random numbers, [n]; they may be written over."""
    chance.used[0] += n
    return chance.values[chance.used[0] - n : chance.used[0]]


@compiled
def in_turn(keys: FloatArray, turns: IntArray) -> IntArray:
    """Those with a turn, the smallest of their ``keys`` [N] first, equal ones in their order; part of ``turns`` [N]."""
    count = 0
    for i in range(len(keys)):
        if keys[i] != NO_TURN:
            place = count
            while place > 0 and keys[turns[place - 1]] > keys[i]:
                turns[place] = turns[place - 1]
                place -= 1
            turns[place] = i
            count += 1
    return turns[:count]


@compiled
def stride(width: int) -> int:
    """How far a cell is from its northern neighbour in the flattened grid of a map of this width."""
    return width + 2 * VIEW_RADIUS


@compiled
def cell_at(x: int, y: int, width: int) -> int:
    """The cell at (x, y) in the flattened grid of a map of this width."""
    return (y + VIEW_RADIUS) * stride(width) + x + VIEW_RADIUS


@compiled
def count_agents(ground: Ground, positions: IntArray, counts: ShownArray) -> None:
    """How many agents each cell holds, into ``counts`` [G]."""
    counts[:] = 0
    for agent in range(len(positions)):
        counts[cell_at(positions[agent, 0], positions[agent, 1], ground.width)] += 1


# --- what agents and the learner see ---


@compiled
def demand(items: IntArray, wants: ShownArray) -> None:
    """What an agent with ``items`` [4] left wants from each kind of cell, into ``wants`` [7].

    The items from their drop-offs, and one return from a work station when no item is left.
    """
    wants[:] = 0
    wants[STATION] = 1
    for kind in range(1, STATION):
        if items[kind - 1] > 0:
            wants[kind], wants[STATION] = items[kind - 1], 0


@compiled
def write_obs(ground: Ground, robots: Robots, obs: ShownArray, scratch: Scratch) -> None:
    """The agents' observations, into ``obs`` [N, 125]: five channels, row by row from the north-west corner.

    Itself; obstacles; others; the current stage, which is what it wants there; work stations if they are the next one.
    """
    occupancy, wants = scratch.occupancy, scratch.wants
    count_agents(ground, robots.positions, occupancy)
    for agent in range(len(obs)):
        demand(robots.remaining[agent], wants)
        cell, view, k = cell_at(robots.positions[agent, 0], robots.positions[agent, 1], ground.width), obs[agent], 0
        for dy in range(VIEW_RADIUS, -VIEW_RADIUS - 1, -1):
            for dx in range(-VIEW_RADIUS, VIEW_RADIUS + 1):
                seen = cell + dy * stride(ground.width) + dx
                kind = ground.kinds[seen]
                view[k] = 0
                view[WINDOW + k] = kind == OBSTACLE
                view[2 * WINDOW + k] = occupancy[seen]
                view[3 * WINDOW + k] = wants[kind]
                view[4 * WINDOW + k] = kind == STATION and wants[STATION] == 0
                k += 1
        view[CENTRE] = 1
        view[2 * WINDOW + CENTRE] -= 1


@compiled
def write_state(ground: Ground, robots: Robots, state: ShownArray, scratch: Scratch) -> None:
    """The state, into ``state`` [S]: agents on each cell, what is wanted on each goal, features of each agent."""
    occupancy, wants, totals = scratch.occupancy, scratch.wants, scratch.totals
    count_agents(ground, robots.positions, occupancy)
    totals[:] = 0
    n_agents = len(robots.positions)
    place = len(state) - n_agents * AGENT_FEATURES
    for agent in range(n_agents):
        demand(robots.remaining[agent], wants)
        state[place] = robots.positions[agent, 0] / ground.scale
        state[place + 1] = robots.positions[agent, 1] / ground.scale
        state[place + 2] = 1  # it lives
        for kind in range(1, OBSTACLE):
            totals[kind] += wants[kind]
            state[place + 2 + kind] = wants[kind]
        place += AGENT_FEATURES
    place = 0
    for cell in ground.free:
        state[place] = occupancy[cell]
        place += 1
    for cell in ground.free:
        kind = ground.kinds[cell]
        if kind > 0:
            state[place] = totals[kind] / n_agents
            place += 1


# --- several environments: B of them, of which those of ``acting`` [M] act or are observed ---


@compiled
def start_rows(ground: Ground, robots: Robots, chance: Chance) -> None:
    """`start` in all of them."""
    for b in range(len(chance.used)):
        start(ground, row_of(robots, b), Chance(chance.values[b], chance.used[b : b + 1]))


@compiled
def step_rows(
    ground: Ground,
    robots: Robots,
    chance: Chance,
    acting: IntArray,
    actions: IntArray,
    steps: IntArray,
    rewards: FloatArray,
    ended: BoolArray,
    completed: IntArray,
) -> None:
    """`step` in each of them, with ``actions`` [M, N]; rewards and ends go to [M], completed orders add up in [B]."""
    scratch = scratch_for(ground, actions.shape[1])
    for m, b in enumerate(acting):
        numbers = Chance(chance.values[b], chance.used[b : b + 1])
        rewards[m], ended[m], _, orders = step(ground, row_of(robots, b), actions[m], numbers, steps[b], scratch)
        completed[b] += orders
        steps[b] += 1


@compiled
def observe_rows(
    ground: Ground,
    robots: Robots,
    acting: IntArray,
    t: int,
    obs: ShownArray,
    state: ShownArray,
    avail_actions: npt.NDArray[np.int32],
) -> None:
    """What each of them shows, into obs [B, T, N, 125], state [B, T, S] and avail_actions [B, T, N, A] at step t."""
    scratch = scratch_for(ground, obs.shape[2])
    for b in acting:
        write_obs(ground, row_of(robots, b), obs[b, t], scratch)
        write_state(ground, row_of(robots, b), state[b, t], scratch)
        avail_actions[b, t] = 1


@compiled
def row_of(robots: Robots, b: int) -> Robots:
    """The agents of environment ``b``."""
    return Robots(robots.positions[b], robots.remaining[b], robots.collided[b])
