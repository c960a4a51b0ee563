"""Battle, many at a time: the rules of `Battle` compiled, over arrays of all environments.

The kernels below do what the methods of `Battle` do, in the same order, sums and random numbers included, so that each
environment plays the same episodes bit for bit. `Battle` tells the rules; here stands only how they become fast.

Letters: B environments, M of them acting, N agents; C cells of the flattened grid of a `FieldOfView`, whose margin is
as wide as anybody sees, so that no window leaves it.

Numba keeps compiled kernels on disk until this very file changes. So what battle.py defines reaches them in arguments,
never as a global constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from envs.batch import EnvBatch, EpisodeArrays, IntArray, Outcomes, Uniforms
from envs.battle import ATTACK, MAX_HEALTH, N_ACTIONS, NORTH, Battle, team_reward, walk
from envs.checks import check_batch_actions
from envs.grid import BoolArray, cells_of

FloatArray = npt.NDArray[np.float64]
ShownArray = npt.NDArray[np.float32]

HITS, MISSES, WOUNDS, KILLS, LOSSES = range(5)  # columns of a tally


class Army(NamedTuple):
    """One army in every environment.

    Attributes:
        cells: int64 [B, n], where everybody stands.
        health: float64 [B, n], health points.
    """

    cells: IntArray
    health: FloatArray


class Board(NamedTuple):
    """What never changes.

    Attributes:
        max_health, recovery: float, health points, and those that the wounded gain in a turn.
        north, attack: int, these actions; south, west and east follow north.
        radius: int, how many cells anybody sees in each direction.
        window: as many ints as a window has rows, how far the western end of each of its rows is from its centre in the
            flattened grid, from the north. A tuple, whose length the compiler knows: it unrolls the loops.
        width: int, how far a cell is from its northern neighbour in the flattened grid.
        field: int64 [height * width], the cells of the field as the state has them.
        walks: int64 [C, 6], the cell in which each action from each cell ends; set for the field only.
        eastern: bool [C], whether a cell lies in the eastern half.
        places: float32 [C, 2], x and y as the state has them; set for the field only.
        outside: float32 [C, cells in sight], the last channel of an observation; set for the field only.
    """

    max_health: float
    recovery: float
    north: int
    attack: int
    radius: int
    window: tuple[int, ...]
    width: int
    field: IntArray
    walks: IntArray
    eastern: BoolArray
    places: ShownArray
    outside: ShownArray


class Scratch(NamedTuple):
    """Room for one environment at a time; nothing in it lasts.

    Attributes:
        sums: float64 [2, C], summed health of agents and opponents on each cell, in units of full health.
        shown: float32 [2, C], the same as observations and the state have it.
        held: bool [C], cells with living agents.
        rows, columns: int64 [C], how many cells with living agents are in sight in the row and in the column of a cell.
        actions: int64 [opponents], what they do.
        attackers, keys: int64 and float64 [the larger army], who attacks and the number that each of them drew.
        listed: int64 [the larger army], the living of an army, by cell.
        starts, counts: int64 [C], where the list of each cell begins there (-1: nobody), and its length.
    """

    sums: FloatArray
    shown: ShownArray
    held: BoolArray
    rows: IntArray
    columns: IntArray
    actions: IntArray
    attackers: IntArray
    keys: FloatArray
    listed: IntArray
    starts: IntArray
    counts: IntArray


class BattleBatch(EnvBatch):
    """B environments `Battle`; see `EnvBatch`. The environments lend their maps and generators, and rest."""

    def __init__(self, envs: Sequence[Battle]) -> None:
        super().__init__(envs)
        env = envs[0]
        self.n_agents, self.n_opponents = env.n_agents, len(env.opponent_health)
        self.episode_limit = env.episode_limit
        self.continuing_episode = env.continuing_episode
        self._start = env.view.cells(env.positions), env.view.cells(env.opponent_positions)
        self.agents, self.opponents = (_army(len(envs), len(cells)) for cells in self._start)
        self.steps = np.zeros(len(envs), dtype=np.int64)
        self._running = np.zeros(len(envs), dtype=bool)
        self._limited = np.zeros(len(envs), dtype=bool)
        self._tallies = np.zeros((len(envs), LOSSES + 1), dtype=np.int64)
        self._board = _board(env)
        self._scratch = _scratch(env)
        # keys and luck of everybody, and the opponents' draws
        self._uniforms = Uniforms([env.rng for env in envs], most=2 * self.n_agents + 3 * self.n_opponents)

    def reset(self) -> None:
        """Starts a new episode in every environment."""
        for army, cells in zip((self.agents, self.opponents), self._start, strict=True):
            army.cells[:] = cells
            army.health[:] = MAX_HEALTH
        self.steps[:] = 0
        self._tallies[:] = 0
        self._limited[:] = False
        self._running[:] = True

    def observe(self, acting: IntArray, t: int, arrays: EpisodeArrays) -> None:
        """Writes what the environments ``acting`` [M] show now into their rows of ``arrays``, at step ``t``."""
        acting = np.ascontiguousarray(acting, dtype=np.int64)
        shown = arrays.obs, arrays.state, arrays.avail_actions
        _observe(acting, t, self.agents, self.opponents, self._board, self._scratch, *shown)

    def step(self, acting: IntArray, actions: IntArray) -> Outcomes:
        """Lets the agents of the environments ``acting`` [M], then the opponents act; ``actions`` [M, N].

        Raises:
            ValueError: not M times N actions in 0..5, or a dead agent acts; nothing has changed.
            RuntimeError: an episode has ended, or was never started; nothing has changed.
        """
        acting = np.ascontiguousarray(acting, dtype=np.int64)
        if not self._running[acting].all():
            raise RuntimeError("no episode is running: call reset() first")
        checked = check_batch_actions(actions, (len(acting), self.n_agents), N_ACTIONS)
        posthumous = ((checked > 0) & (self.agents.health[acting] == 0)).any(axis=1)
        if posthumous.any():
            raise ValueError(f"actions: a dead agent can only take action 0, got {checked[posthumous][0].tolist()}")
        self._uniforms.refill()
        numbers = self._uniforms.values, self._uniforms.used
        armies = self.agents, self.opponents
        _step(acting, checked, *armies, self._board, self._scratch, *numbers, self._tallies)
        self.steps[acting] += 1

        hits, misses, wounds, kills, losses = self._tallies[acting].T
        army_dead = (losses == self.n_agents) | (kills == self.n_opponents)
        ended = army_dead | (self.steps[acting] >= self.episode_limit)
        limited = ended & ~army_dead & self.continuing_episode
        self._running[acting] = ~ended
        self._limited[acting] = limited
        return Outcomes(rewards=np.asarray(team_reward(hits, misses, wounds)), ended=ended, limited=limited)

    def info(self, number: int) -> dict[str, Any]:
        """The info dict of the last step of environment ``number``."""
        kill_count = int(self._tallies[number, KILLS] - self._tallies[number, LOSSES])
        return {"kill_count": kill_count, **({"episode_limit": True} if self._limited[number] else {})}


def _army(n_envs: int, n_fighters: int) -> Army:
    shape = n_envs, n_fighters
    return Army(cells=np.zeros(shape, dtype=np.int64), health=np.zeros(shape))


def _board(env: Battle) -> Board:
    """Constants and tables, each filled by the rules of ``env``."""
    view, positions = env.view, cells_of(np.ones(env.layout.shape, dtype=bool))
    walks = np.zeros((view.size, N_ACTIONS), dtype=np.int64)
    eastern = np.zeros(view.size, dtype=bool)
    places = np.zeros((view.size, 2), dtype=np.float32)
    outside = np.zeros((view.size, view.side**2), dtype=np.float32)
    for action in range(N_ACTIONS):
        walks[env.field, action] = view.cells(walk(positions, np.full(len(positions), action), env.layout.shape))
    eastern[env.field] = 2 * positions[:, 0] >= env.width
    places[env.field] = positions / env.position_scale
    outside[env.field] = env.outside[view.windows(env.field)]
    return Board(
        max_health=MAX_HEALTH,
        recovery=float(env.recovery),
        north=NORTH,
        attack=ATTACK,
        radius=view.radius,
        window=tuple(view.windows(np.array([0]))[0, :: view.side].tolist()),
        width=env.width + 2 * view.radius,
        field=np.ascontiguousarray(env.field),
        walks=walks,
        eastern=eastern,
        places=places,
        outside=outside,
    )


def _scratch(env: Battle) -> Scratch:
    size, most = env.view.size, max(env.n_agents, len(env.opponent_health))
    return Scratch(
        sums=np.zeros((2, size)),
        shown=np.zeros((2, size), dtype=np.float32),
        held=np.zeros(size, dtype=bool),
        rows=np.zeros(size, dtype=np.int64),
        columns=np.zeros(size, dtype=np.int64),
        actions=np.zeros(len(env.opponent_health), dtype=np.int64),
        attackers=np.zeros(most, dtype=np.int64),
        keys=np.zeros(most),
        listed=np.zeros(most, dtype=np.int64),
        starts=np.full(size, -1),
        counts=np.zeros(size, dtype=np.int64),
    )


# --- dynamics ---


@njit(cache=True)
def _step(
    acting: IntArray,
    actions: IntArray,
    agents: Army,
    opponents: Army,
    board: Board,
    scratch: Scratch,
    numbers: FloatArray,
    used: IntArray,
    tallies: IntArray,
) -> None:
    """`Battle.step` of the environments ``acting``, counted in ``tallies`` [B, 5].

    Chance is in ``numbers`` and ``used``, the values of `Uniforms` and how many of them are taken.
    """
    for i, b in enumerate(acting):
        cells, health = agents.cells[b], agents.health[b]
        enemy_cells, enemy_health = opponents.cells[b], opponents.health[b]
        drawn, taken = numbers[b], used[b]
        _recover(health, board)
        _walk(cells, actions[i], board.walks)
        hits, misses, taken = _fight(cells, actions[i], enemy_cells, enemy_health, drawn, taken, board, scratch)

        _recover(enemy_health, board)
        _look(cells, health, board, scratch)
        taken = _decide(enemy_cells, enemy_health, drawn, taken, board, scratch)
        _walk(enemy_cells, scratch.actions, board.walks)
        wounds, _, taken = _fight(enemy_cells, scratch.actions, cells, health, drawn, taken, board, scratch)

        used[b] = taken
        tallies[b, HITS], tallies[b, MISSES], tallies[b, WOUNDS] = hits, misses, wounds
        tallies[b, KILLS], tallies[b, LOSSES] = _dead(enemy_health), _dead(health)


@njit(cache=True)
def _recover(health: FloatArray, board: Board) -> None:
    """`recover`, rounding as ``ndarray.round(9)`` does."""
    for i in range(len(health)):
        if health[i] > 0:
            health[i] = np.rint(min(health[i] + board.recovery, board.max_health) * 1e9) / 1e9


@njit(cache=True)
def _walk(cells: IntArray, actions: IntArray, walks: IntArray) -> None:
    for i in range(len(cells)):
        cells[i] = walks[cells[i], actions[i]]


@njit(cache=True)
def _dead(health: FloatArray) -> int:
    count = 0
    for points in health:
        count += points == 0
    return count


@njit(cache=True)
def _fight(
    cells: IntArray,
    actions: IntArray,
    enemy_cells: IntArray,
    enemy_health: FloatArray,
    drawn: FloatArray,
    taken: int,
    board: Board,
    scratch: Scratch,
) -> tuple[int, int, int]:
    """The attacks among ``actions`` in random order, as `strike`; returns hits, misses and the numbers taken."""
    attackers = _queue_up(actions, board.attack, drawn, taken, scratch)
    taken += attackers
    hits, misses = 0, 0
    if attackers:
        _list_living(enemy_cells, enemy_health, scratch)
        for i in range(attackers):
            cell = cells[scratch.attackers[i]]
            if scratch.starts[cell] < 0:
                misses += 1
            elif scratch.counts[cell] > 0:
                hits += 1
                _hit(cell, int(drawn[taken + i] * scratch.counts[cell]), enemy_health, scratch)
        for cell in enemy_cells:
            scratch.starts[cell], scratch.counts[cell] = -1, 0
    return hits, misses, taken + attackers


@njit(cache=True)
def _queue_up(actions: IntArray, attack: int, drawn: FloatArray, taken: int, scratch: Scratch) -> int:
    """Sorts those who attack by the numbers that they draw (insertion: few attack); returns how many there are."""
    attackers, keys = scratch.attackers, scratch.keys
    count = 0
    for fighter in range(len(actions)):
        if actions[fighter] == attack:
            key, place = drawn[taken + count], count
            while place > 0 and keys[place - 1] > key:
                attackers[place], keys[place] = attackers[place - 1], keys[place - 1]
                place -= 1
            attackers[place], keys[place] = fighter, key
            count += 1
    return count


@njit(cache=True)
def _list_living(cells: IntArray, health: FloatArray, scratch: Scratch) -> None:
    """The living of an army listed by cell, in their order in the army."""
    starts, counts, listed = scratch.starts, scratch.counts, scratch.listed
    for i in range(len(cells)):
        if health[i] > 0:
            counts[cells[i]] += 1
    begin = 0
    for i in range(len(cells)):
        if health[i] > 0:
            cell = cells[i]
            if starts[cell] < 0:
                starts[cell] = begin
                begin += counts[cell]
                counts[cell] = 0
            listed[starts[cell] + counts[cell]] = i
            counts[cell] += 1


@njit(cache=True)
def _hit(cell: int, place: int, health: FloatArray, scratch: Scratch) -> None:
    """Takes a point from the one in the given place of the cell's list, and the killed from the list."""
    listed, place = scratch.listed, scratch.starts[cell] + place
    target = listed[place]
    health[target] = max(0.0, health[target] - 1)
    if health[target] == 0:
        scratch.counts[cell] -= 1
        for i in range(place, scratch.starts[cell] + scratch.counts[cell]):
            listed[i] = listed[i + 1]


@njit(cache=True)
def _look(cells: IntArray, health: FloatArray, board: Board, scratch: Scratch) -> None:
    """Which cells hold living agents, and how many of them are in sight along the row and the column of each cell."""
    held, rows, columns = scratch.held, scratch.rows, scratch.columns
    held[:], rows[:], columns[:] = False, 0, 0
    for i in range(len(cells)):
        cell = cells[i]
        if health[i] > 0 and not held[cell]:
            held[cell] = True
            for away in range(-board.radius, board.radius + 1):
                rows[cell + away] += 1
                columns[cell + away * board.width] += 1


@njit(cache=True)
def _decide(cells: IntArray, health: FloatArray, drawn: FloatArray, taken: int, board: Board, scratch: Scratch) -> int:
    """Draws the opponents' actions from their lists as `draw` and `opponent_options`; returns the numbers taken."""
    for i in range(len(cells)):
        cell, action = cells[i], 0
        if health[i] > 0:
            luck = drawn[taken]
            taken += 1
            north, south, west, east = 0, 0, int(board.eastern[cell]), 0
            for away in range(1, board.radius + 1):
                north += scratch.rows[cell + away * board.width]
                south += scratch.rows[cell - away * board.width]
                west += scratch.columns[cell - away]
                east += scratch.columns[cell + away]
            entries = north + south + west + east
            if scratch.held[cell]:
                action = board.attack
            elif entries == 0:
                action = int(luck * board.walks.shape[1])
            else:
                entry = luck * entries
                action = board.north + (entry >= north) + (entry >= north + south) + (entry >= north + south + west)
        scratch.actions[i] = action
    return taken


# --- what agents and the learner see ---


@njit(cache=True)
def _observe(
    acting: IntArray,
    t: int,
    agents: Army,
    opponents: Army,
    board: Board,
    scratch: Scratch,
    obs: ShownArray,
    state: ShownArray,
    avail: npt.NDArray[np.int32],
) -> None:
    """`Battle.get_obs`, `get_state` and `get_avail_actions` of the environments ``acting``, every entry."""
    for b in acting:
        cells, health = agents.cells[b], agents.health[b]
        _map_health(cells, health, board.max_health, scratch.sums[0], scratch.shown[0])
        _map_health(opponents.cells[b], opponents.health[b], board.max_health, scratch.sums[1], scratch.shown[1])
        _write_state(cells, health, board, scratch.shown, state[b, t])
        for i in range(len(cells)):
            _write_obs(cells[i], health[i] / board.max_health, board, scratch, obs[b, t, i])
            avail[b, t, i, 0] = 1
            avail[b, t, i, 1:] = health[i] > 0


@njit(cache=True)
def _map_health(cells: IntArray, health: FloatArray, max_health: float, sums: FloatArray, shown: ShownArray) -> None:
    """Summed health of an army on every cell, exact and as it is shown."""
    sums[:] = 0
    for i in range(len(cells)):
        sums[cells[i]] += health[i] / max_health
    shown[:] = sums


@njit(cache=True)
def _write_state(cells: IntArray, health: FloatArray, board: Board, shown: ShownArray, state: ShownArray) -> None:
    n_cells = len(board.field)
    for i in range(n_cells):
        state[i] = shown[0, board.field[i]]
        state[n_cells + i] = shown[1, board.field[i]]
    start = 2 * n_cells
    for i in range(len(cells)):
        state[start], state[start + 1] = board.places[cells[i], 0], board.places[cells[i], 1]
        state[start + 2], state[start + 3] = health[i] > 0, health[i] / board.max_health
        start += 4


@njit(cache=True)
def _write_obs(cell: int, own: float, board: Board, scratch: Scratch, obs: ShownArray) -> None:
    """The observation of an agent with the health ``own``, in units of full health."""
    if own == 0:
        obs[:] = 0
        return
    size = len(board.window) ** 2
    centre = size // 2
    for i in range(size):
        obs[i] = 0
        obs[3 * size + i] = board.outside[cell, i]
    obs[centre] = own
    _write_window(scratch.shown[0], cell, board, obs, size)
    obs[size + centre] = scratch.sums[0, cell] - own
    _write_window(scratch.shown[1], cell, board, obs, 2 * size)


@njit(cache=True)
def _write_window(shown: ShownArray, cell: int, board: Board, obs: ShownArray, start: int) -> None:
    """What is around ``cell``, row by row from the north-west corner, to ``obs`` from the entry ``start`` on."""
    side = len(board.window)
    for row in range(side):
        first = cell + board.window[row]
        for column in range(side):
            obs[start + row * side + column] = shown[first + column]
