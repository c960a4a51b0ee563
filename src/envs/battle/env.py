"""Battle[N]: an army of learning agents fights one of scripted opponents (the paper, section 5.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from envs.battle import rules
from envs.battle.map import choose_layout
from envs.battle.rules import AGENT_FEATURES, MAX_HEALTH, VIEW_RADIUS, Situation, World
from envs.checks import check_count
from envs.grid import IntArray, cells_of, position_scale
from envs.grid_env import GridEnv, Places, SituationArray
from envs.scene import Piece, Scene
from utils.errors import UserError

HealthArray = npt.NDArray[np.float64]


class Battle(GridEnv):
    """N agents fight an army of opponents that walk towards the agents in sight and attack them.

    `envs.battle.rules` tells the rules, one function each. Actions: 0 stay, 1 north, 2 south, 3 west, 4 east, 5 attack.
    Everybody has 3 health points. A dead agent stays where it fell, is seen by nobody, observes zeros and has only
    action 0. The domain performance is ``kill_count``: opponents killed minus agents lost in an episode.

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

    rules = rules
    performance_key = "kill_count"
    positions, opponent_positions = Places(), Places()
    health, opponent_health = SituationArray(), SituationArray()

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
        agents, opponents = (np.ascontiguousarray(cells_of(self.layout == symbol)) for symbol in "AO")
        stride = self.width + 2 * VIEW_RADIUS
        world = World(
            agents=agents,
            opponents=opponents,
            width=self.width,
            height=self.height,
            stride=stride,
            n_cells=stride * (self.height + 2 * VIEW_RADIUS),
            scale=self.position_scale,
            recovery=float(recovery),
            episode_limit=episode_limit,
            continuing_episode=bool(continuing_episode),
        )
        armies = agents, np.full(len(agents), MAX_HEALTH), opponents, np.full(len(opponents), MAX_HEALTH)
        most_draws = 2 * n_agents + 3 * len(opponents)  # keys and luck of everybody, and the opponents' draws
        now = Situation(*armies, tally=np.zeros(2, dtype=np.int64))
        super().__init__(n_agents, episode_limit, continuing_episode, world, now, most_draws, seed, render)

    def check_available(self, now: Situation, actions: IntArray, acting: IntArray | None = None) -> None:
        """Raises ValueError if a dead agent does anything but stay; see `GridEnv`."""
        health = now.health if acting is None else now.health[acting]
        posthumous = (actions != 0) & (health == 0)
        if posthumous.any():
            joint = np.atleast_2d(actions)[np.atleast_2d(posthumous).any(axis=1)][0]
            raise ValueError(f"actions: a dead agent can only take action 0, got {joint.tolist()}")

    def get_state_size(self) -> int:
        """Length of the global state."""
        return 2 * self.layout.size + self.n_agents * AGENT_FEATURES

    def get_env_info(self) -> dict[str, Any]:
        """Sizes, where the state holds each agent's (x, y) and whether it lives, and a compact dtype."""
        return {**super().get_env_info(), "dtypes": {"avail_actions": "uint8"}}

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


def _pieces(positions: IntArray, health: HealthArray) -> tuple[Piece, ...]:
    """An army for those who draw it."""
    shares = (health / MAX_HEALTH).tolist()
    return tuple(Piece(x, y, share) for (x, y), share in zip(positions.tolist(), shares, strict=True))
