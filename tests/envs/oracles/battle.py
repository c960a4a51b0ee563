"""The rules of Battle (the paper, section 5.1) in plain NumPy: what envs/battle/rules.py is held against."""

from typing import Any

import numpy as np
import numpy.typing as npt
from oracles.grid import MOVES, FieldOfView

from envs.battle.map import choose_layout
from envs.grid import BoolArray, IntArray, cells_of, position_scale

HealthArray = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32]

NORTH, SOUTH, WEST, EAST, ATTACK = range(1, 6)  # the actions after 0, stay
STEPS = np.vstack([MOVES, (0, 0)])  # (dx, dy) of each action; an attack stays in place
N_ACTIONS = len(STEPS)
VIEW_RADIUS = 3  # cells; a 7x7 field of view
VIEW_CHANNELS = 4
AGENT_FEATURES = 4  # x, y, alive, health
MAX_HEALTH = 3.0

HIT_REWARD = 1.0
MISS_PENALTY = 0.1
WOUND_PENALTY = 0.5


class Battle:
    """As `envs.battle.Battle` tells it, with the same arguments, attributes and methods."""

    def __init__(
        self,
        n_agents: int,
        episode_limit: int,
        continuing_episode: bool,
        recovery: float,
        layout: str | None = None,
        seed: int | None = None,
    ) -> None:
        self.n_agents = n_agents
        self.episode_limit = episode_limit
        self.continuing_episode = continuing_episode
        self.recovery = recovery

        self.layout = choose_layout(n_agents, layout)
        self.height, self.width = self.layout.shape
        everywhere = np.ones(self.layout.shape, dtype=bool)
        self.view = FieldOfView(self.layout.shape, VIEW_RADIUS)
        self.outside = self.view.flatten(~everywhere, outside=True)
        self.field = self.view.cells(cells_of(everywhere))
        self.position_scale = position_scale(self.layout.shape)
        self._line_up()
        self.seed(seed)

    def seed(self, seed: int | None = None) -> None:
        """Restart the random generator; None draws a seed from the operating system."""
        self.rng = np.random.default_rng(seed)

    def reset(self) -> tuple[FloatArray, FloatArray]:
        """Line both armies up in full health, as the map shows them; returns observations and state."""
        self._line_up()
        return self.get_obs(), self.get_state()

    def _line_up(self) -> None:
        self.positions, self.opponent_positions = cells_of(self.layout == "A"), cells_of(self.layout == "O")
        self.health: HealthArray = np.full(len(self.positions), MAX_HEALTH)
        self.opponent_health: HealthArray = np.full(len(self.opponent_positions), MAX_HEALTH)
        self.steps = 0

    # --- dynamics ---

    def step(self, actions: IntArray) -> tuple[float, bool, dict[str, Any]]:
        """Let the agents act, then the opponents.

        Args:
            actions: [N] integers in 0..5, 0 for the dead.

        Returns:
            The team reward, whether the episode has ended, and ``kill_count``, opponents killed minus agents lost in
            this episode so far, with ``episode_limit: True`` if only the time limit ended a continuing episode.

        Raises:
            ValueError: a dead agent acts.
        """
        checked = np.asarray(actions)
        if checked[self.health == 0].any():
            raise ValueError(f"actions: a dead agent can only take action 0, got {checked.tolist()}")
        hits, misses = self._agents_act(checked)
        wounds = self._opponents_act()
        self.steps += 1

        army_dead = not (self.health.any() and self.opponent_health.any())
        terminated = army_dead or self.steps >= self.episode_limit
        info: dict[str, Any] = {"kill_count": self.kills - self.losses}
        if terminated and self.continuing_episode and not army_dead:
            info["episode_limit"] = True
        return team_reward(hits, misses, wounds), terminated, info

    def _agents_act(self, actions: IntArray) -> tuple[int, int]:
        """Carry out the agents' actions; returns how many attacks hit, and how many had nobody to hit from the start.

        Moves touch nobody else, so only the attacks need turns.
        """
        self.health = recover(self.health, self.recovery)
        self.positions = walk(self.positions, actions, self.layout.shape)
        attackers = shuffle(self.rng, np.flatnonzero(actions == ATTACK))
        aims, enemies = self.view.cells(self.positions[attackers]), self.view.cells(self.opponent_positions)
        hits, misses, self.opponent_health = strike(self.rng, aims, enemies, self.opponent_health)
        return hits, misses

    def _opponents_act(self) -> int:
        """Let the living opponents decide and act; returns how many of their attacks hit."""
        living = np.flatnonzero(self.opponent_health)
        self.opponent_health = recover(self.opponent_health, self.recovery)
        actions = np.zeros(len(self.opponent_health), dtype=np.int64)
        actions[living] = self._decide(self.opponent_positions[living])
        self.opponent_positions = walk(self.opponent_positions, actions, self.layout.shape)
        attackers = shuffle(self.rng, np.flatnonzero(actions == ATTACK))
        aims, enemies = self.view.cells(self.opponent_positions[attackers]), self.view.cells(self.positions)
        wounds, _, self.health = strike(self.rng, aims, enemies, self.health)
        return wounds

    def _decide(self, positions: IntArray) -> IntArray:
        """Draw an action for each opponent at ``positions`` [M, 2] from its list; [M]."""
        living = self.view.cells(self.positions[self.health > 0])
        held = np.bincount(living, minlength=self.view.size) > 0
        seen = held[self.view.windows(self.view.cells(positions))]
        return draw(self.rng, opponent_options(seen, eastern=2 * positions[:, 0] >= self.width))

    # --- what the agents and the learner see ---

    def get_obs(self) -> FloatArray:
        """Observations of all agents, [N, 196]; the class docstring tells their layout."""
        windows = self.view.windows(self.view.cells(self.positions))
        own = self.health / MAX_HEALTH
        others = self._health_map(self.positions, self.health)[windows]
        others[:, self.view.centre] -= own
        obs = np.zeros((self.n_agents, VIEW_CHANNELS, self.view.side**2), dtype=np.float32)
        obs[:, 0, self.view.centre] = own
        obs[:, 1] = others
        obs[:, 2] = self._health_map(self.opponent_positions, self.opponent_health)[windows]
        obs[:, 3] = self.outside[windows]
        obs[self.health == 0] = 0
        return obs.reshape(self.n_agents, -1)

    def get_obs_size(self) -> int:
        """Length of one agent's observation."""
        return VIEW_CHANNELS * self.view.side**2

    def get_state(self) -> FloatArray:
        """Global state, [get_state_size()]; the class docstring tells its layout."""
        agents = self._health_map(self.positions, self.health)[self.field]
        opponents = self._health_map(self.opponent_positions, self.opponent_health)[self.field]
        features = np.column_stack([self.positions / self.position_scale, self.health > 0, self.health / MAX_HEALTH])
        return np.concatenate([agents, opponents, features.ravel()], dtype=np.float32)

    def get_state_size(self) -> int:
        """Length of the global state."""
        return 2 * len(self.field) + self.n_agents * AGENT_FEATURES

    def _health_map(self, positions: IntArray, health: HealthArray) -> HealthArray:
        """Summed health of an army on every cell of the flattened grid, in units of full health."""
        cells = self.view.cells(positions)
        sums = np.bincount(cells, weights=health / MAX_HEALTH, minlength=self.view.size)
        return sums.astype(np.float64, copy=False)

    def get_avail_actions(self) -> IntArray:
        """All actions for the living, 0 alone for the dead, [N, 6] of 0 and 1."""
        avail = np.ones((self.n_agents, N_ACTIONS), dtype=np.int64)
        avail[self.health == 0, 1:] = 0
        return avail

    def get_total_actions(self) -> int:
        """Number of actions."""
        return N_ACTIONS

    @property
    def kills(self) -> int:
        """Opponents killed in this episode so far."""
        return int((self.opponent_health == 0).sum())

    @property
    def losses(self) -> int:
        """Agents killed in this episode so far."""
        return int((self.health == 0).sum())

    def get_stats(self) -> dict[str, int]:
        """Counts of this episode so far."""
        return {"kill_count": self.kills - self.losses, "kills": self.kills, "losses": self.losses}


# --- rules ---


def recover(health: HealthArray, recovery: float) -> HealthArray:
    """Health points after the recovery of a turn: of the living, and up to 3.

    Rounded, so that what should be a whole number is one, and nobody survives a hit by a rounding error.
    """
    return np.where(health > 0, np.minimum(health + recovery, MAX_HEALTH).round(9), health)


def walk(positions: IntArray, actions: IntArray, shape: tuple[int, ...]) -> IntArray:
    """Positions [n, 2] after ``actions`` [n] in a field [height, width], which nobody leaves."""
    return np.clip(positions + STEPS[actions], 0, (shape[1] - 1, shape[0] - 1))


def strike(
    rng: np.random.Generator, aims: IntArray, cells: IntArray, health: HealthArray
) -> tuple[int, int, HealthArray]:
    """Let attackers strike one after the other, each at one living enemy in its cell, drawn uniformly.

    Args:
        aims: the cells of the attackers, in the order in which they act.
        cells: the cell of each enemy.
        health: health points of each enemy.

    Returns:
        How many strikes hit, how many missed because no living enemy was in the cell before the first strike, and the
        enemies' health points afterwards. A strike at a cell where all were killed by strikes before it is neither.
    """
    living: dict[int, list[int]] = {}
    for enemy in np.flatnonzero(health).tolist():
        living.setdefault(int(cells[enemy]), []).append(enemy)
    health, hits, misses = health.copy(), 0, 0
    for aim, luck in zip(aims.tolist(), rng.random(len(aims)).tolist(), strict=True):
        targets = living.get(aim)
        if targets is None:
            misses += 1
        elif targets:
            target = targets[int(luck * len(targets))]
            health[target] = max(0.0, health[target] - 1)
            hits += 1
            if health[target] == 0:
                targets.remove(target)
    return hits, misses, health


def shuffle(rng: np.random.Generator, fighters: IntArray) -> IntArray:
    """``fighters`` [n] in random order: by one number that each of them draws."""
    return fighters[rng.random(len(fighters)).argsort(kind="stable")]


def _directions() -> HealthArray:
    """Which actions lead towards each cell of a field of view, row by row from the north-west corner, [49, 6].

    Floats, like all counts of entries in lists: they are exact, and the product of matrices is fast with floats only.
    """
    reach = np.arange(-VIEW_RADIUS, VIEW_RADIUS + 1)
    dy, dx = (offsets.ravel() for offsets in np.meshgrid(reach[::-1], reach, indexing="ij"))
    stay = np.zeros_like(dx)
    return np.stack([stay, dy > 0, dy < 0, dx < 0, dx > 0, stay], axis=1).astype(np.float64)


DIRECTIONS = _directions()


def opponent_options(seen: BoolArray, eastern: BoolArray) -> HealthArray:
    """How often each action stands in the list that an opponent draws from, [M, 6].

    Args:
        seen: which cells of each opponent's field of view hold a living agent, [M, 49].
        eastern: whether each opponent stands in the eastern half, [M].
    """
    options = seen.astype(np.float64) @ DIRECTIONS
    options[:, WEST] += eastern
    options[~options.any(axis=1)] = 1
    options[seen[:, seen.shape[1] // 2]] = np.arange(N_ACTIONS) == ATTACK
    return options


def draw(rng: np.random.Generator, options: HealthArray) -> IntArray:
    """One action for each row of ``options`` [M, 6], with chances in proportion to the entries, [M]."""
    ends = options.cumsum(axis=1)
    entries = rng.random(len(ends)) * ends[:, -1]  # the whole part is the place in the list
    return (entries[:, None] >= ends).sum(axis=1)


def team_reward(hits: int, misses: int, wounds: int) -> float:
    """Sum of the agents' rewards: opponents hit, attacks on empty cells, and hits taken (the paper, section 5.1).

    Of arrays, it is an array of the same shape.
    """
    return HIT_REWARD * hits - MISS_PENALTY * misses - WOUND_PENALTY * wounds
