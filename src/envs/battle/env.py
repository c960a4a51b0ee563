"""Battle[N]: an army of learning agents fights one of scripted opponents (the paper, section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.battle import rules
from envs.battle.map import choose_layout
from envs.battle.rules import AGENT_FEATURES, MAX_HEALTH, N_ACTIONS, VIEW_CHANNELS, WINDOW, Army, Board
from envs.checks import check_count
from envs.grid import IntArray, cells_of, position_scale
from envs.grid_env import GridEnv
from envs.multiagentenv import step_info
from envs.scene import Piece, Scene
from utils.errors import UserError

HealthArray = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32]


class Battle(GridEnv):
    """N agents fight an army of opponents that walk towards the agents in sight and attack them.

    Actions: 0 stay, 1 north, 2 south, 3 west, 4 east, 5 attack; several agents may share a cell, and a move out of the
    field is idle. Everybody has 3 health points, lives as long as some are left, and recovers ``recovery`` of them at
    the start of each turn of its own. The agents act first, one after the other in random order, then the opponents.
    An attack takes one health point from one living opponent in the same cell, drawn uniformly. A dead agent stays
    where it fell, is seen by nobody, observes zeros and has only action 0.

    An opponent attacks an agent in its cell, drawn uniformly. If there is none, it draws uniformly from a list: for
    each cell in its field of view that holds a living agent, one entry per axis on which that cell differs (towards
    it), and one more 'west' in the eastern half. If the list is empty, it draws from all six actions. It decides by
    the situation at the start of the opponents' turn, so it may strike where everybody has been killed since.

    The team reward of a step sums over the agents: +1 per hit, -0.1 per attack on a cell that had no opponent at the
    start of the step (nothing if all of them were killed earlier in it), -0.5 per hit taken.

    Observation of one agent, float32 [196]: four channels of its 7x7 field of view, each row by row from the north-west
    corner: its own health; the other agents'; the opponents' (summed over a cell, in units of full health); cells
    outside.

    State, float32, in this order:

    - summed health of the agents on each cell (row by row from the south-west corner), in units of full health,
    - summed health of the opponents on each cell,
    - per agent: x, y, alive (0 or 1), health in units of full health. Positions are divided by ``position_scale``, one
      power of two for both axes, so they stay exact and below 1; those of the dead are where they fell.

    Args:
        n_agents: learning agents N, at least 1.
        episode_limit: steps of an episode, which ends earlier when an army is dead.
        continuing_episode: True marks the time limit in ``info["episode_limit"]``, so that values bootstrap over it,
            unless an army died in the same step; False ends the episode there for good.
        recovery: health points that a living, wounded agent or opponent recovers per step; 0.01 is the paper's text,
            the experiments released with it use 0.1.
        layout: the map as ASCII text or the path of a file with it, in the symbols of ``LAYOUTS``; None: the paper's
            for 20, 40 and 80 agents, and one made by `generate_layout` for any other number.
        seed: of the one random generator; None draws it from the operating system.
        render: terminal or window for a live look (`envs.live`); None: none.

    Attributes that hold the situation; assigning them sets it up. M is the number of opponents, N unless ``layout``
    says otherwise:
        positions, opponent_positions: int [N, 2] and [M, 2], (x, y) in cells.
        health, opponent_health: float64 [N] and [M], health points; 0 is dead.

    All chance is in the doubles that ``rng.random`` gives, one after the other in this order: a key per attacking agent
    (they act from the smallest to the largest), the luck of each of their strikes, one number per living opponent for
    its draw, then keys and luck of the attacking opponents.

    Raises:
        UserError: ``n_agents`` or ``episode_limit`` below 1, ``recovery`` not in [0, 3], a malformed map (with line and
            column), or one without opponents or with another number of agents.
    """

    performance_key = "kill_count"

    def __init__(
        self,
        n_agents: int,
        episode_limit: int,
        continuing_episode: bool,
        recovery: float,
        layout: str | None = None,
        seed: int | None = None,
        render: str | None = None,
    ) -> None:
        check_count("n_agents", n_agents)
        if not 0 <= recovery <= MAX_HEALTH:
            raise UserError(f"env_args.recovery={recovery!r}: expected health points per step in [0, {MAX_HEALTH:g}]")
        self.recovery = recovery
        self.layout = choose_layout(n_agents, layout)
        self.height, self.width = self.layout.shape
        self.position_scale = position_scale(self.layout.shape)
        self._line_up()
        # keys and luck of everybody, and the opponents' draws
        most_draws = 2 * n_agents + 3 * len(self.opponent_health)
        super().__init__(n_agents, episode_limit, continuing_episode, most_draws, seed, render)
        self.board = Board(
            self.width, self.height, self.position_scale, float(recovery), episode_limit, bool(continuing_episode)
        )

    def reset(self) -> tuple[FloatArray, FloatArray]:
        """Line both armies up in full health, as the map shows them; returns observations and state."""
        self._line_up()
        return self._begin()

    def _line_up(self) -> None:
        self.positions, self.opponent_positions = cells_of(self.layout == "A"), cells_of(self.layout == "O")
        self.health: HealthArray = np.full(len(self.positions), MAX_HEALTH)
        self.opponent_health: HealthArray = np.full(len(self.opponent_positions), MAX_HEALTH)

    def step(self, actions: Sequence[int] | npt.NDArray[np.integer]) -> tuple[float, bool, dict[str, Any]]:
        """Let the agents act, then the opponents (`rules.step`).

        Args:
            actions: [N] integers in 0..5, 0 for the dead.

        Returns:
            The team reward, whether the episode has ended, and ``kill_count``, opponents killed minus agents lost in
            this episode so far, with ``episode_limit: True`` if only the time limit ended a continuing episode.

        Raises:
            ValueError: not N actions in 0..5, or a dead agent acts.
            RuntimeError: the episode has ended, or none was started.
        """
        checked = self._check(actions)
        agents, opponents = self.armies()
        check_alive(agents.health[None], checked[None])
        self.draws.refill()
        reward, ended, limited, kill_count = rules.step(
            self.board, agents, opponents, checked, self.draws.chance, self.steps
        )
        self.positions, self.health = agents
        self.opponent_positions, self.opponent_health = opponents
        self._end_step(ended)
        return reward, ended, step_info(self.performance_key, kill_count, limited)

    def armies(self) -> tuple[Army, Army]:
        """Agents and opponents for the rules: copies, as arrays that were given or handed out stay as they are."""
        return army(self.positions, self.health), army(self.opponent_positions, self.opponent_health)

    # --- what the agents and the learner see ---

    def get_obs(self) -> FloatArray:
        """Observations of all agents, [N, 196]; the class docstring tells their layout."""
        obs = np.empty((self.n_agents, self.get_obs_size()), dtype=np.float32)
        rules.write_obs(self.board, *self.armies(), obs)
        return obs

    def get_obs_size(self) -> int:
        """Length of one agent's observation."""
        return VIEW_CHANNELS * WINDOW

    def get_state(self) -> FloatArray:
        """Global state, [get_state_size()]; the class docstring tells its layout."""
        state = np.empty(self.get_state_size(), dtype=np.float32)
        rules.write_state(self.board, *self.armies(), state)
        return state

    def get_state_size(self) -> int:
        """Length of the global state."""
        return 2 * self.layout.size + self.n_agents * AGENT_FEATURES

    def get_avail_actions(self) -> IntArray:
        """All actions for the living, 0 alone for the dead, [N, 6] of 0 and 1."""
        avail = np.empty((self.n_agents, N_ACTIONS), dtype=np.int64)
        rules.write_avail(np.asarray(self.health, dtype=np.float64), avail)
        return avail

    def get_total_actions(self) -> int:
        """Number of actions."""
        return N_ACTIONS

    def get_env_info(self) -> dict[str, Any]:
        """Sizes, and where the state holds each agent's (x, y) and whether it lives."""
        x = 2 * self.layout.size + AGENT_FEATURES * np.arange(self.n_agents)
        return {
            **super().get_env_info(),
            "agent_position_index": np.stack([x, x + 1], axis=1),
            "agent_alive_index": x + 2,
            "dtypes": {"avail_actions": "uint8"},
        }

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

    def render(self) -> str:
        """The map with living agents (A), opponents (O) and cells that hold both (X), and how the armies stand."""
        picture = np.full(self.layout.shape, ".")
        for x, y in self.positions[self.health > 0]:
            picture[y, x] = "A"
        for x, y in self.opponent_positions[self.opponent_health > 0]:
            picture[y, x] = "X" if picture[y, x] in "AX" else "O"
        rows = ["".join(row) for row in picture[::-1]]
        return "\n".join(
            [
                *rows,
                f"agents: {self.n_agents - self.losses} of {self.n_agents}, health {self.health.sum():.2f}",
                f"opponents: {len(self.opponent_health) - self.kills} of {len(self.opponent_health)}, "
                f"health {self.opponent_health.sum():.2f}",
                f"step {self.steps} of {self.episode_limit}, kill count {self.kills - self.losses}",
            ]
        )

    def get_scene(self) -> Scene:
        """The present situation, for those who draw it."""
        return Scene(
            self.width,
            self.height,
            agents=_pieces(self.positions, self.health),
            opponents=_pieces(self.opponent_positions, self.opponent_health),
            step=self.steps,
            performance={"kill count": self.kills - self.losses},
            notes=("bar: health left",),
        )


def army(positions: IntArray, health: HealthArray) -> Army:
    """Copies for the rules, in the types that these are compiled for."""
    return Army(np.array(positions, dtype=np.int64, order="C"), np.array(health, dtype=np.float64))


def check_alive(health: HealthArray, actions: IntArray) -> None:
    """Raises ValueError if a dead agent does anything but stay, in one of M environments; both [M, N]."""
    row = rules.posthumous(health, actions)
    if row >= 0:
        raise ValueError(f"actions: a dead agent can only take action 0, got {actions[row].tolist()}")


def _pieces(positions: IntArray, health: HealthArray) -> tuple[Piece, ...]:
    """An army for those who draw it."""
    shares = (health / MAX_HEALTH).tolist()
    return tuple(Piece(x, y, share) for (x, y), share in zip(positions.tolist(), shares, strict=True))
