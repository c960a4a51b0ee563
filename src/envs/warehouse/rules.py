"""The rules of Warehouse (the paper, section 5.1), compiled, on the arrays of one environment: a function for each.

    start, take_order           where agents start, and what they have to deliver
    step                        who acts when, and what ends an episode
    move                        moves and collisions
    deliver, complete_order     what a drop-off action does (picking up is part of `take_order`)
    team_reward                 what all that earns
    write_obs, write_state      what agents and learner see

`World` and `Situation` are what these functions read and change. At the end stand loops over several environments. The
same rules in plain NumPy are tests/envs/oracles/warehouse.py.

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
OBS_SIZE = 5 * WINDOW
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


class Scratch(NamedTuple):
    """Room for one environment at a time; nothing in it lasts.

    Attributes:
        occupancy: float32 [G], agents on each cell.
        turns: int64 [N], who moves, in order.
        wants: float32 [7], what an agent, or all of them, want from each kind of cell.
    """

    occupancy: ShownArray
    turns: IntArray
    wants: ShownArray


class World(NamedTuple):
    """What never changes.

    Attributes:
        kinds: int64 [G], what each cell is good for.
        free: int64 [number of them], the cells that are no obstacles, row by row from the south-west corner.
        stations: int64 [number of them, 2], (x, y) of the work stations, in the same order.
        stride: how far a cell is from its northern neighbour in the flattened grid.
        scale: a power of two, by which the state divides positions.
        time_penalty_on_completion: whether it is taken in the step in which an agent completes an order, too.
        episode_limit: steps of an episode.
        continuing_episode: whether values bootstrap over that limit.
        scratch: room.
    """

    kinds: IntArray
    free: IntArray
    stations: IntArray
    stride: int
    scale: int
    time_penalty_on_completion: bool
    episode_limit: int
    continuing_episode: bool
    scratch: Scratch


class Situation(NamedTuple):
    """What changes; of B environments with a leading dimension B.

    Attributes:
        positions: int64 [N, 2], (x, y) in cells.
        remaining: int64 [N, 4], items of each type that an agent still has to deliver; none: only the return is left.
        collided: bool [N], who ran into another one in the last step.
        tally: int64 [4], of this episode so far: steps, orders completed, items delivered, collisions.
    """

    positions: IntArray
    remaining: IntArray
    collided: BoolArray
    tally: IntArray


def scratch_for(n_cells: int, n_agents: int) -> Scratch:
    """Room for G cells and N agents."""
    wants = np.empty(OBSTACLE + 1, dtype=np.float32)
    return Scratch(np.empty(n_cells, dtype=np.float32), np.empty(n_agents, dtype=np.int64), wants)


# --- dynamics ---


@compiled
def start(world: World, now: Situation, chance: Chance) -> None:
    """Every agent starts, with a new order, on a work station drawn uniformly; agents may share one."""
    for agent in range(len(now.positions)):
        station = int(draw(chance) * len(world.stations))
        now.positions[agent, 0], now.positions[agent, 1] = world.stations[station, 0], world.stations[station, 1]
    for agent in range(len(now.positions)):
        take_order(now.remaining[agent], chance)
    now.collided[:] = False
    now.tally[:] = 0


@compiled
def take_order(items: IntArray, chance: Chance) -> None:
    """The agent picks up an order: five items, each of a type drawn uniformly, into ``items`` [4]."""
    items[:] = 0
    for _ in range(ORDER_SIZE):
        items[int(draw(chance) * ITEM_TYPES)] += 1


@compiled
def step(world: World, now: Situation, chance: Chance, actions: IntArray) -> tuple[float, bool, bool]:
    """The agents move, one after the other in random order; then those that stand where they want to drop off, do so.

    Args:
        world: what never changes.
        now: the situation, which becomes the next one.
        chance: random numbers; at most six for each agent are taken.
        actions: [N].

    Returns:
        Team reward; whether the episode has ended; whether it is a continuing one.
    """
    collided = move(world, now, chance, actions)
    delivered, completed = 0, 0
    for agent in range(len(actions)):
        if actions[agent] == DROP_OFF:
            kind = world.kinds[cell_at(now.positions[agent, 0], now.positions[agent, 1], world.stride)]
            delivered += deliver(now.remaining[agent], kind)
            completed += complete_order(now.remaining[agent], kind, chance)
    now.tally[0] += 1
    now.tally[1] += completed
    now.tally[2] += delivered
    now.tally[3] += collided
    ended = now.tally[0] >= world.episode_limit
    reward = team_reward(len(actions), delivered, completed, collided, world.time_penalty_on_completion)
    return reward, ended, ended and world.continuing_episode


@compiled
def move(world: World, now: Situation, chance: Chance, actions: IntArray) -> int:
    """Moves, in random order: each into a cell that is empty at that moment; else the agent collides and stays.

    A move against an obstacle or the outside is idle.

    Returns:
        How many agents ran into another one.
    """
    occupancy = world.scratch.occupancy
    count_agents(world, now.positions, occupancy)
    keys = draw_many(chance, len(actions))
    for agent in range(len(actions)):
        cell = cell_at(now.positions[agent, 0], now.positions[agent, 1], world.stride)
        dx, dy = direction(actions[agent])
        target = cell + dy * world.stride + dx
        if target == cell or world.kinds[target] == OBSTACLE:
            keys[agent] = NO_TURN
    collisions, now.collided[:] = 0, False
    for agent in in_turn(keys, world.scratch.turns):
        cell = cell_at(now.positions[agent, 0], now.positions[agent, 1], world.stride)
        dx, dy = direction(actions[agent])
        target = cell + dy * world.stride + dx
        if occupancy[target] > 0:
            now.collided[agent] = True
            collisions += 1
        else:
            occupancy[cell] -= 1
            occupancy[target] += 1
            now.positions[agent, 0] += dx
            now.positions[agent, 1] += dy
    return collisions


@compiled
def direction(action: int) -> tuple[int, int]:
    """(dx, dy) of an action; 0 for those that stay in place."""
    return int(action == EAST) - int(action == WEST), int(action == NORTH) - int(action == SOUTH)


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
def cell_at(x: int, y: int, stride: int) -> int:
    """The cell of the flattened grid at (x, y)."""
    return (y + VIEW_RADIUS) * stride + x + VIEW_RADIUS


@compiled
def count_agents(world: World, positions: IntArray, counts: ShownArray) -> None:
    """How many agents each cell holds, into ``counts`` [G]."""
    counts[:] = 0
    for agent in range(len(positions)):
        counts[cell_at(positions[agent, 0], positions[agent, 1], world.stride)] += 1


# --- what agents and the learner see ---


@compiled
def demand(items: IntArray, wants: ShownArray) -> None:
    """What an agent with ``items`` [4] left wants, into ``wants`` [5].

    The items from the drop-offs of their types, and one return from a work station when no item is left.
    """
    wants[ITEM_TYPES] = 1
    for item in range(ITEM_TYPES):
        wants[item] = items[item]
        if items[item] > 0:
            wants[ITEM_TYPES] = 0


@compiled
def write_obs(world: World, now: Situation, obs: ShownArray) -> None:
    """The agents' observations, into ``obs`` [N, 125]: five channels, row by row from the north-west corner.

    Itself; obstacles; others; the current stage, which is what it wants there; work stations if they are the next one.
    """
    occupancy, wants = world.scratch.occupancy, world.scratch.wants
    count_agents(world, now.positions, occupancy)
    wants[:] = 0
    for agent in range(len(obs)):
        demand(now.remaining[agent], wants[1:OBSTACLE])
        cell, view, k = cell_at(now.positions[agent, 0], now.positions[agent, 1], world.stride), obs[agent], 0
        for dy in range(VIEW_RADIUS, -VIEW_RADIUS - 1, -1):
            for dx in range(-VIEW_RADIUS, VIEW_RADIUS + 1):
                seen = cell + dy * world.stride + dx
                kind = world.kinds[seen]
                view[k] = 0
                view[WINDOW + k] = kind == OBSTACLE
                view[2 * WINDOW + k] = occupancy[seen]
                view[3 * WINDOW + k] = wants[kind]
                view[4 * WINDOW + k] = kind == STATION and wants[STATION] == 0
                k += 1
        view[CENTRE] = 1
        view[2 * WINDOW + CENTRE] -= 1


@compiled
def write_state(world: World, now: Situation, state: ShownArray) -> None:
    """The state, into ``state`` [S]: agents on each cell, what is wanted on each goal, features of each agent."""
    occupancy, totals, n_agents = world.scratch.occupancy, world.scratch.wants, len(now.positions)
    count_agents(world, now.positions, occupancy)
    totals[:] = 0
    place = len(state) - n_agents * AGENT_FEATURES
    for agent in range(n_agents):
        state[place] = now.positions[agent, 0] / world.scale
        state[place + 1] = now.positions[agent, 1] / world.scale
        state[place + 2] = 1  # it lives
        demand(now.remaining[agent], state[place + 3 : place + AGENT_FEATURES])
        for kind in range(1, OBSTACLE):
            totals[kind] += state[place + 2 + kind]
        place += AGENT_FEATURES
    place = 0
    for cell in world.free:
        state[place] = occupancy[cell]
        place += 1
    for cell in world.free:
        kind = world.kinds[cell]
        if kind > 0:
            state[place] = totals[kind] / n_agents
            place += 1


# --- B environments, of which those of ``acting`` [M] act or are observed ---


@compiled
def start_rows(world: World, now: Situation, chance: Chance) -> None:
    """`start` in all of them."""
    for b in range(len(now.tally)):
        start(world, row_of(now, b), numbers_of(chance, b))


@compiled
def step_rows(
    world: World, now: Situation, chance: Chance, acting: IntArray, actions: IntArray,
    rewards: FloatArray, ended: BoolArray, limited: BoolArray,
) -> None:  # fmt: skip
    """`step` with ``actions`` [M, N]; what it returns goes to the arrays [M]."""
    for m, b in enumerate(acting):
        rewards[m], ended[m], limited[m] = step(world, row_of(now, b), numbers_of(chance, b), actions[m])


@compiled
def observe_rows(
    world: World, now: Situation, acting: IntArray, t: int,
    obs: ShownArray, state: ShownArray, avail_actions: npt.NDArray[np.int32],
) -> None:  # fmt: skip
    """What they show at step t, into obs [B, T, N, 125], state [B, T, S] and avail_actions [B, T, N, A]."""
    for b in acting:
        row = row_of(now, b)
        write_obs(world, row, obs[b, t])
        write_state(world, row, state[b, t])
        avail_actions[b, t] = 1


@compiled
def row_of(now: Situation, b: int) -> Situation:
    """The situation of environment ``b``."""
    return Situation(now.positions[b], now.remaining[b], now.collided[b], now.tally[b])


@compiled
def numbers_of(chance: Chance, b: int) -> Chance:
    """The random numbers of environment ``b``."""
    return Chance(chance.values[b], chance.used[b : b + 1])
