"""The rules of Battle (the paper, section 5.1), compiled, on the arrays of one environment: a function for each.

    step            who acts when, and what ends an episode
    recover         health that comes back
    walk            moves
    attack, hit     who is struck, and what that costs
    decide, choose  what the opponents do
    team_reward     what all that earns
    write_obs, write_state, write_avail     what agents and learner see

At the end stand the loops over several environments. The same rules in plain NumPy are tests/envs/oracles/battle.py.

Letters: n fighters of an army, N agents, A actions; C cells of the flattened grid, which is the field with a margin as
wide as anybody sees, so that no window leaves it.
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
VIEW_CHANNELS = 4
AGENT_FEATURES = 4  # x, y, alive, health
MAX_HEALTH = 3.0

HIT_REWARD = 1.0
MISS_PENALTY = 0.1
WOUND_PENALTY = 0.5

NO_TURN = 2.0  # instead of the number in [0, 1) that gives a fighter its turn


class Board(NamedTuple):
    """What never changes.

    Attributes:
        width, height: of the field in cells.
        scale: a power of two, by which the state divides positions.
        recovery: health points that the wounded gain in a turn.
        episode_limit: steps of an episode.
        continuing_episode: whether values bootstrap over that limit.
    """

    width: int
    height: int
    scale: int
    recovery: float
    episode_limit: int
    continuing_episode: bool


class Army(NamedTuple):
    """Everybody of one side; in the loops over B environments with a leading dimension B.

    Attributes:
        positions: int64 [n, 2], (x, y) in cells.
        health: float64 [n], health points; 0 is dead.
    """

    positions: IntArray
    health: FloatArray


# --- dynamics ---


@compiled
def step(
    board: Board, agents: Army, opponents: Army, actions: IntArray, chance: Chance, steps: int
) -> tuple[float, bool, bool, int]:
    """The agents act, then the living opponents, by the situation that they find.

    The episode ends when an army is dead, or at the time limit.

    Args:
        board: the rules' constants.
        agents, opponents: the situation, which becomes the next one.
        actions: [N], 0 for the dead.
        chance: random numbers; at most two for each agent and three for each opponent are taken.
        steps: of this episode before this one.

    Returns:
        Team reward; whether the episode has ended; whether only the limit of a continuing episode ended it; opponents
        killed minus agents lost in this episode.
    """
    recover(agents.health, board.recovery)
    walk(board, agents.positions, actions)
    hits, misses = attack(board, agents, actions, opponents, chance)

    recover(opponents.health, board.recovery)
    answers = decide(board, agents, opponents, chance)
    walk(board, opponents.positions, answers)
    wounds, _ = attack(board, opponents, answers, agents, chance)

    kills, losses = dead(opponents.health), dead(agents.health)
    army_dead = kills == len(opponents.health) or losses == len(agents.health)
    ended = army_dead or steps + 1 >= board.episode_limit
    limited = ended and not army_dead and board.continuing_episode
    return team_reward(hits, misses, wounds), ended, limited, kills - losses


@compiled
def recover(health: FloatArray, recovery: float) -> None:
    """Recovery, at the start of the own turn: the living gain ``recovery`` points, up to 3.

    Rounded, so that what should be a whole number is one, and nobody survives a hit by a rounding error.
    """
    for i in range(len(health)):
        if health[i] > 0:
            health[i] = np.rint(min(health[i] + recovery, MAX_HEALTH) * 1e9) / 1e9


@compiled
def walk(board: Board, positions: IntArray, actions: IntArray) -> None:
    """Moves: everybody goes a cell, cells can be shared, and a move out of the field is idle."""
    for i in range(len(actions)):
        x = positions[i, 0] + (actions[i] == EAST) - (actions[i] == WEST)
        y = positions[i, 1] + (actions[i] == NORTH) - (actions[i] == SOUTH)
        positions[i, 0] = min(max(x, 0), board.width - 1)
        positions[i, 1] = min(max(y, 0), board.height - 1)


@compiled
def attack(board: Board, army: Army, actions: IntArray, enemies: Army, chance: Chance) -> tuple[int, int]:
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
    cells = cells_of(board, enemies.positions)
    found = count_living(board, enemies)
    left = found.copy()
    for attacker in in_turn(keys):
        cell, luck = cell_at(board, army.positions[attacker]), draw(chance)
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
def decide(board: Board, agents: Army, opponents: Army, chance: Chance) -> IntArray:
    """The opponents' actions [n], all by the positions and lives of the agents when the opponents' turn begins."""
    held = count_living(board, agents) > 0
    actions = np.zeros(len(opponents.health), dtype=np.int64)
    for i in range(len(actions)):
        if opponents.health[i] > 0:
            x = opponents.positions[i, 0]
            cell = cell_at(board, opponents.positions[i])
            actions[i] = choose(board, held, cell, 2 * x >= board.width, draw(chance))
    return actions


@compiled
def choose(board: Board, held: BoolArray, cell: int, eastern: bool, luck: float) -> int:
    """What an opponent at ``cell`` does: it attacks if agents are there, else it draws from a list.

    The list has, for each cell in view that holds living agents, an entry for each axis on which that cell differs,
    which leads towards it, and one more 'west' in the eastern half. If it is empty, any action can be drawn.
    """
    if held[cell]:
        return ATTACK
    north, south, west, east = 0, 0, int(eastern), 0
    for dy in range(-VIEW_RADIUS, VIEW_RADIUS + 1):
        for dx in range(-VIEW_RADIUS, VIEW_RADIUS + 1):
            seen = held[cell + dy * stride(board) + dx]
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


@compiled
def posthumous(health: FloatArray, actions: IntArray) -> int:
    """The first of M environments in which a dead agent does not stay, -1 if there is none; both [M, N]."""
    for m in range(len(actions)):
        for i in range(actions.shape[1]):
            if actions[m, i] != 0 and health[m, i] == 0:
                return m
    return -1


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
def stride(board: Board) -> int:
    """How far a cell is from its northern neighbour in the flattened grid."""
    return board.width + 2 * VIEW_RADIUS


@compiled
def first_cell(board: Board, y: int) -> int:
    """The westernmost cell of a row of the field, in the flattened grid."""
    return (y + VIEW_RADIUS) * stride(board) + VIEW_RADIUS


@compiled
def cell_at(board: Board, position: IntArray) -> int:
    """The cell of the flattened grid at a position (x, y)."""
    return first_cell(board, position[1]) + position[0]


@compiled
def cells_of(board: Board, positions: IntArray) -> IntArray:
    """The cells [n] of the flattened grid at positions [n, 2]."""
    cells = np.empty(len(positions), dtype=np.int64)
    for i in range(len(positions)):
        cells[i] = cell_at(board, positions[i])
    return cells


@compiled
def n_cells(board: Board) -> int:
    """C."""
    return stride(board) * (board.height + 2 * VIEW_RADIUS)


@compiled
def count_living(board: Board, army: Army) -> IntArray:
    """How many living fighters each cell holds, [C]."""
    counts = np.zeros(n_cells(board), dtype=np.int64)
    for i in range(len(army.health)):
        counts[cell_at(board, army.positions[i])] += army.health[i] > 0
    return counts


# --- what agents and the learner see ---


@compiled
def health_map(board: Board, army: Army) -> FloatArray:
    """Summed health of an army on every cell, [C], in units of full health."""
    sums = np.zeros(n_cells(board))
    for i in range(len(army.health)):
        sums[cell_at(board, army.positions[i])] += army.health[i] / MAX_HEALTH
    return sums


@compiled
def outside_map(board: Board) -> ShownArray:
    """1 on the cells of the margin, 0 on those of the field, [C]."""
    outside = np.ones(n_cells(board), dtype=np.float32)
    for y in range(board.height):
        first = first_cell(board, y)
        outside[first : first + board.width] = 0
    return outside


@compiled
def write_obs(board: Board, agents: Army, opponents: Army, obs: ShownArray) -> None:
    """The agents' observations, into ``obs`` [N, 196]: own health, other agents', opponents', outside; the dead: 0."""
    sums = health_map(board, agents)
    friends, enemies = sums.astype(np.float32), health_map(board, opponents).astype(np.float32)
    outside = outside_map(board)
    for i in range(len(obs)):
        own, cell, view = agents.health[i] / MAX_HEALTH, cell_at(board, agents.positions[i]), obs[i]
        if own == 0:
            view[:] = 0
            continue
        view[:WINDOW] = 0
        view[CENTRE] = own
        write_window(board, friends, cell, view[WINDOW : 2 * WINDOW])
        view[WINDOW + CENTRE] = sums[cell] - own
        write_window(board, enemies, cell, view[2 * WINDOW : 3 * WINDOW])
        write_window(board, outside, cell, view[3 * WINDOW :])


@compiled
def write_window(board: Board, shown: ShownArray, cell: int, channel: ShownArray) -> None:
    """What ``shown`` [C] holds around ``cell``, row by row from the north-west corner, into ``channel`` [49]."""
    for row in range(SIDE):
        first = cell + (VIEW_RADIUS - row) * stride(board) - VIEW_RADIUS
        for column in range(SIDE):
            channel[row * SIDE + column] = shown[first + column]


@compiled
def write_state(board: Board, agents: Army, opponents: Army, state: ShownArray) -> None:
    """The state, into ``state`` [S]: both armies' health on each cell; of each agent x, y, alive and health."""
    friends, enemies = health_map(board, agents), health_map(board, opponents)
    size = board.width * board.height
    for y in range(board.height):
        first = first_cell(board, y)
        for x in range(board.width):
            state[y * board.width + x] = friends[first + x]
            state[size + y * board.width + x] = enemies[first + x]
    place = 2 * size
    for i in range(len(agents.health)):
        state[place] = agents.positions[i, 0] / board.scale
        state[place + 1] = agents.positions[i, 1] / board.scale
        state[place + 2] = agents.health[i] > 0
        state[place + 3] = agents.health[i] / MAX_HEALTH
        place += AGENT_FEATURES


@compiled
def write_avail(health: FloatArray, avail_actions: IntArray) -> None:
    """Which actions the agents can take, into ``avail_actions`` [N, A]: all if they live, else 0 alone."""
    for i in range(len(health)):
        avail_actions[i, 0] = 1
        avail_actions[i, 1:] = health[i] > 0


# --- several environments: B of them, of which those of ``acting`` [M] act or are observed ---


@compiled
def step_rows(
    board: Board,
    agents: Army,
    opponents: Army,
    chance: Chance,
    acting: IntArray,
    actions: IntArray,
    steps: IntArray,
    rewards: FloatArray,
    ended: BoolArray,
    limited: BoolArray,
    kill_counts: IntArray,
) -> None:
    """`step` in each of them, with ``actions`` [M, N]; what it returns goes to the arrays [M], kill counts to [B]."""
    for m, b in enumerate(acting):
        ours, theirs = row_of(agents, b), row_of(opponents, b)
        numbers = Chance(chance.values[b], chance.used[b : b + 1])
        rewards[m], ended[m], limited[m], kill_counts[b] = step(board, ours, theirs, actions[m], numbers, steps[b])
        steps[b] += 1


@compiled
def observe_rows(
    board: Board,
    agents: Army,
    opponents: Army,
    acting: IntArray,
    t: int,
    obs: ShownArray,
    state: ShownArray,
    avail_actions: npt.NDArray[np.int32],
) -> None:
    """What each of them shows, into obs [B, T, N, 196], state [B, T, S] and avail_actions [B, T, N, A] at step t."""
    for b in acting:
        ours, theirs = row_of(agents, b), row_of(opponents, b)
        write_obs(board, ours, theirs, obs[b, t])
        write_state(board, ours, theirs, state[b, t])
        write_avail(ours.health, avail_actions[b, t])


@compiled
def row_of(army: Army, b: int) -> Army:
    """The army of environment ``b``."""
    return Army(army.positions[b], army.health[b])
