"""The rules of Battle (the paper, section 5.1), compiled, on the arrays of one environment: a function for each.

    start, step         who acts when, and what ends an episode
    recover             health that comes back
    walk                moves
    attack, hit         who is struck, and what that costs
    decide, choose      what the opponents do
    team_reward         what all that earns
    write_obs, write_state, write_avail         what agents and learner see

`World` and `Situation` are what these functions read and change. At the end stand loops over several environments. The
same rules in plain NumPy are tests/envs/oracles/battle.py.

Letters: N agents, M opponents, n of either, A actions; C cells of the flattened grid, which is the field with a margin
as wide as anybody sees, so that no window leaves it.
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

NORTH, SOUTH, WEST, EAST, ATTACK = range(1, 6)  # the actions after 0, stay
N_ACTIONS = 6
VIEW_RADIUS = 3  # cells; a 7x7 field of view
SIDE = 2 * VIEW_RADIUS + 1
WINDOW = SIDE**2  # cells in view
CENTRE = WINDOW // 2
OBS_SIZE = 4 * WINDOW
AGENT_FEATURES = 4  # x, y, alive, health
MAX_HEALTH = 3.0

HIT_REWARD = 1.0
MISS_PENALTY = 0.1
WOUND_PENALTY = 0.5

NO_TURN = 2.0  # instead of the number in [0, 1) that gives a fighter its turn


class World(NamedTuple):
    """What never changes.

    Attributes:
        agents, opponents: int64 [N, 2] and [M, 2], where the armies line up.
        width, height: of the field in cells.
        stride: how far a cell is from its northern neighbour in the flattened grid.
        n_cells: C.
        scale: a power of two, by which the state divides positions.
        recovery: health points that the wounded gain in a turn.
        episode_limit: steps of an episode.
        continuing_episode: whether values bootstrap over that limit.
    """

    agents: IntArray
    opponents: IntArray
    width: int
    height: int
    stride: int
    n_cells: int
    scale: int
    recovery: float
    episode_limit: int
    continuing_episode: bool


class Situation(NamedTuple):
    """What changes; of B environments with a leading dimension B.

    Attributes:
        positions, opponent_positions: int64 [N, 2] and [M, 2], (x, y) in cells.
        health, opponent_health: float64 [N] and [M], health points; 0 is dead.
        tally: int64 [2], of this episode so far: steps; opponents killed minus agents lost.
    """

    positions: IntArray
    health: FloatArray
    opponent_positions: IntArray
    opponent_health: FloatArray
    tally: IntArray


class Army(NamedTuple):
    """One side of a situation, of n fighters."""

    positions: IntArray
    health: FloatArray


@compiled
def agents_of(now: Situation) -> Army:
    """The learning side."""
    return Army(now.positions, now.health)


@compiled
def opponents_of(now: Situation) -> Army:
    """The other side."""
    return Army(now.opponent_positions, now.opponent_health)


# --- dynamics ---


@compiled
def start(world: World, now: Situation, chance: Chance) -> None:
    """Both armies line up as on the map, in full health. Nothing is random."""
    for army, places in ((agents_of(now), world.agents), (opponents_of(now), world.opponents)):
        for i in range(len(places)):
            army.positions[i, 0], army.positions[i, 1], army.health[i] = places[i, 0], places[i, 1], MAX_HEALTH
    now.tally[:] = 0


@compiled
def step(world: World, now: Situation, chance: Chance, actions: IntArray) -> tuple[float, bool, bool]:
    """The agents act, then the living opponents; the episode ends when an army is dead, or at the time limit.

    Args:
        world: what never changes.
        now: the situation, which becomes the next one.
        chance: random numbers; at most two for each agent and three for each opponent are taken.
        actions: [N], 0 for the dead.

    Returns:
        Team reward; whether the episode has ended; whether only the limit of a continuing episode ended it.
    """
    agents, opponents = agents_of(now), opponents_of(now)
    recover(agents.health, world.recovery)
    walk(world, agents.positions, actions)
    hits, misses = attack(world, agents, actions, opponents, chance)

    recover(opponents.health, world.recovery)
    answers = decide(world, agents, opponents, chance)
    walk(world, opponents.positions, answers)
    wounds, _ = attack(world, opponents, answers, agents, chance)

    kills, losses = dead(opponents.health), dead(agents.health)
    now.tally[0] += 1
    now.tally[1] = kills - losses
    army_dead = kills == len(opponents.health) or losses == len(agents.health)
    ended = army_dead or now.tally[0] >= world.episode_limit
    return team_reward(hits, misses, wounds), ended, ended and not army_dead and world.continuing_episode


@compiled
def recover(health: FloatArray, recovery: float) -> None:
    """Recovery, at the start of the own turn: the living gain ``recovery`` points, up to 3.

    Rounded, so that what should be a whole number is one, and nobody survives a hit by a rounding error.
    """
    for i in range(len(health)):
        if health[i] > 0:
            health[i] = np.rint(min(health[i] + recovery, MAX_HEALTH) * 1e9) / 1e9


@compiled
def walk(world: World, positions: IntArray, actions: IntArray) -> None:
    """Moves: everybody goes a cell, cells can be shared, and a move out of the field is idle."""
    for i in range(len(actions)):
        x = positions[i, 0] + (actions[i] == EAST) - (actions[i] == WEST)
        y = positions[i, 1] + (actions[i] == NORTH) - (actions[i] == SOUTH)
        positions[i, 0] = min(max(x, 0), world.width - 1)
        positions[i, 1] = min(max(y, 0), world.height - 1)


@compiled
def attack(world: World, army: Army, actions: IntArray, enemies: Army, chance: Chance) -> tuple[int, int]:
    """The attacks among ``actions`` [n], one after the other in random order.

    An attack hits one living enemy in the same cell, drawn uniformly. It misses if there was none when the army's turn
    began; if all of them have been killed since, it is neither.

    Returns:
        Hits and misses.
    """
    hits, misses = 0, 0
    keys = np.full(len(actions), NO_TURN)
    for i in range(len(actions)):
        if actions[i] == ATTACK:
            keys[i] = draw(chance)
    cells = cells_of(world, enemies.positions)
    found = count_living(world, enemies)
    left = found.copy()
    for attacker in in_turn(keys):
        cell, luck = cell_at(world, army.positions[attacker]), draw(chance)
        if found[cell] == 0:
            misses += 1
        elif left[cell] > 0:
            hits += 1
            left[cell] -= hit(cells, enemies.health, cell, int(luck * left[cell]))
    return hits, misses


@compiled
def hit(cells: IntArray, health: FloatArray, cell: int, place: int) -> bool:
    """A hit takes one point, or what is left of one, from the living enemy at ``place`` of those in ``cell``.

    Returns:
        Whether that killed it.
    """
    target = 0
    while cells[target] != cell or health[target] == 0 or place > 0:
        place -= cells[target] == cell and health[target] > 0
        target += 1
    health[target] = max(0.0, health[target] - 1)
    return health[target] == 0


@compiled
def decide(world: World, agents: Army, opponents: Army, chance: Chance) -> IntArray:
    """The opponents' actions [n], all by the positions and lives of the agents when the opponents' turn begins."""
    held = count_living(world, agents) > 0
    actions = np.zeros(len(opponents.health), dtype=np.int64)
    for i in range(len(actions)):
        if opponents.health[i] > 0:
            x = opponents.positions[i, 0]
            cell = cell_at(world, opponents.positions[i])
            actions[i] = choose(world, held, cell, 2 * x >= world.width, draw(chance))
    return actions


@compiled
def choose(world: World, held: BoolArray, cell: int, eastern: bool, luck: float) -> int:
    """What an opponent at ``cell`` does: it attacks if agents are there, else it draws from a list.

    The list has, for each cell in view that holds living agents, an entry for each axis on which that cell differs,
    which leads towards it, and one more 'west' in the eastern half. If it is empty, any action can be drawn.
    """
    if held[cell]:
        return ATTACK
    north, south, west, east = 0, 0, int(eastern), 0
    for dy in range(-VIEW_RADIUS, VIEW_RADIUS + 1):
        for dx in range(-VIEW_RADIUS, VIEW_RADIUS + 1):
            seen = held[cell + dy * world.stride + dx]
            north += seen and dy > 0
            south += seen and dy < 0
            west += seen and dx < 0
            east += seen and dx > 0
    entries = north + south + west + east
    if entries == 0:
        return int(luck * N_ACTIONS)
    entry = luck * entries
    return NORTH + (entry >= north) + (entry >= north + south) + (entry >= north + south + west)


@compiled
def team_reward(hits: int, misses: int, wounds: int) -> float:
    """The sum of the agents' rewards: +1 for a hit, -0.1 for an attack on an empty cell, -0.5 for a hit taken."""
    return HIT_REWARD * hits - MISS_PENALTY * misses - WOUND_PENALTY * wounds


# --- helpers ---


@compiled
def draw(chance: Chance) -> float:
    """The next random number."""
    chance.used[0] += 1
    return chance.values[chance.used[0] - 1]


@compiled
def in_turn(keys: FloatArray) -> IntArray:
    """Those with a turn, the smallest of their ``keys`` [n] first, equal ones in their order."""
    turns, count = np.empty(len(keys), dtype=np.int64), 0
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
def dead(health: FloatArray) -> int:
    """How many are dead."""
    count = 0
    for points in health:
        count += points == 0
    return count


@compiled
def cell_at(world: World, position: IntArray) -> int:
    """The cell of the flattened grid at a position (x, y)."""
    return (position[1] + VIEW_RADIUS) * world.stride + position[0] + VIEW_RADIUS


@compiled
def cells_of(world: World, positions: IntArray) -> IntArray:
    """The cells [n] of the flattened grid at positions [n, 2]."""
    cells = np.empty(len(positions), dtype=np.int64)
    for i in range(len(positions)):
        cells[i] = cell_at(world, positions[i])
    return cells


@compiled
def count_living(world: World, army: Army) -> IntArray:
    """How many living fighters each cell holds, [C]."""
    counts = np.zeros(world.n_cells, dtype=np.int64)
    for i in range(len(army.health)):
        counts[cell_at(world, army.positions[i])] += army.health[i] > 0
    return counts


# --- what agents and the learner see ---


@compiled
def health_map(world: World, army: Army) -> FloatArray:
    """Summed health of an army on every cell, [C], in units of full health."""
    sums = np.zeros(world.n_cells)
    for i in range(len(army.health)):
        sums[cell_at(world, army.positions[i])] += army.health[i] / MAX_HEALTH
    return sums


@compiled
def outside_map(world: World) -> ShownArray:
    """1 on the cells of the margin, 0 on those of the field, [C]."""
    outside = np.ones(world.n_cells, dtype=np.float32)
    for y in range(VIEW_RADIUS, VIEW_RADIUS + world.height):
        first = y * world.stride + VIEW_RADIUS
        outside[first : first + world.width] = 0
    return outside


@compiled
def write_obs(world: World, now: Situation, obs: ShownArray) -> None:
    """The agents' observations, into ``obs`` [N, 196]: own health, other agents', opponents', outside; the dead: 0."""
    agents, opponents = agents_of(now), opponents_of(now)
    sums = health_map(world, agents)
    friends, enemies = sums.astype(np.float32), health_map(world, opponents).astype(np.float32)
    outside = outside_map(world)
    for i in range(len(obs)):
        own, cell, view = agents.health[i] / MAX_HEALTH, cell_at(world, agents.positions[i]), obs[i]
        if own == 0:
            view[:] = 0
            continue
        view[:WINDOW] = 0
        view[CENTRE] = own
        write_window(world, friends, cell, view[WINDOW : 2 * WINDOW])
        view[WINDOW + CENTRE] = sums[cell] - own
        write_window(world, enemies, cell, view[2 * WINDOW : 3 * WINDOW])
        write_window(world, outside, cell, view[3 * WINDOW :])


@compiled
def write_window(world: World, shown: ShownArray, cell: int, channel: ShownArray) -> None:
    """What ``shown`` [C] holds around ``cell``, row by row from the north-west corner, into ``channel`` [49]."""
    for row in range(SIDE):
        first = cell + (VIEW_RADIUS - row) * world.stride - VIEW_RADIUS
        for column in range(SIDE):
            channel[row * SIDE + column] = shown[first + column]


@compiled
def write_state(world: World, now: Situation, state: ShownArray) -> None:
    """The state, into ``state`` [S]: both armies' health on each cell; of each agent x, y, alive and health."""
    agents, opponents = agents_of(now), opponents_of(now)
    friends, enemies = health_map(world, agents), health_map(world, opponents)
    size = world.width * world.height
    for k in range(size):
        y, x = divmod(k, world.width)
        cell = (y + VIEW_RADIUS) * world.stride + x + VIEW_RADIUS
        state[k], state[size + k] = friends[cell], enemies[cell]
    place = 2 * size
    for i in range(len(agents.health)):
        state[place] = agents.positions[i, 0] / world.scale
        state[place + 1] = agents.positions[i, 1] / world.scale
        state[place + 2] = agents.health[i] > 0
        state[place + 3] = agents.health[i] / MAX_HEALTH
        place += AGENT_FEATURES


@compiled
def write_avail(now: Situation, avail_actions: IntArray) -> None:
    """Which actions the agents can take, into ``avail_actions`` [N, A]: all if they live, else 0 alone."""
    for i in range(len(now.health)):
        avail_actions[i, 0] = 1
        avail_actions[i, 1:] = now.health[i] > 0


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
    """What they show at step t, into obs [B, T, N, 196], state [B, T, S] and avail_actions [B, T, N, A]."""
    for b in acting:
        row = row_of(now, b)
        write_obs(world, row, obs[b, t])
        write_state(world, row, state[b, t])
        write_avail(row, avail_actions[b, t])


@compiled
def row_of(now: Situation, b: int) -> Situation:
    """The situation of environment ``b``."""
    return Situation(now.positions[b], now.health[b], now.opponent_positions[b], now.opponent_health[b], now.tally[b])


@compiled
def numbers_of(chance: Chance, b: int) -> Chance:
    """The random numbers of environment ``b``."""
    return Chance(chance.values[b], chance.used[b : b + 1])
