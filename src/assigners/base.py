"""What every assignment strategy X shares."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor, nn

from components.agent_inputs import living_agents
from components.episode_buffer import EpisodeBatch
from utils.errors import UserError

SEED_OFFSET = 7919  # keeps the assigner's numbers apart from the run's other generators


def subteam_count(eta: float, n_agents: int) -> int:
    """K = ceil(eta * N), the number of sub-teams; robust to rounding, so eta = 0.1 and N = 30 give 3.

    Raises:
        UserError: eta outside [1/N, 1].
    """
    tolerance = 1e-9 * n_agents  # far above the rounding of eta * N, far below a wanted fraction of an agent
    share = eta * n_agents
    if not 1 - tolerance <= share <= n_agents + tolerance:
        raise UserError(
            f"eta: expected a ratio in [1/N, 1] = [{1 / n_agents:.6g}, 1] for N = {n_agents} agents, got {eta}"
        )
    return max(1, math.ceil(share - tolerance))


@dataclass(frozen=True)
class Assignment:
    """A division of the agents into sub-teams at every step.

    Attributes:
        subteams: the sub-team of each agent, [B, T, N] long in 0..K-1.
        log_probs: log X(k | i, tau, s) of these sub-teams, [B, T, N]; None where X does not learn.
        entropy: of X, in nats, [B, T, N], without gradient; None where X does not learn.

    What stands at steps without data is of no meaning.
    """

    subteams: Tensor
    log_probs: Tensor | None = None
    entropy: Tensor | None = None


class Assigner(nn.Module, ABC):
    """An assignment strategy X(k | i, tau, s).

    It puts every agent into exactly one sub-team at every step of a batch, the last one included (targets
    need it). The learner calls it, a rollout never does. It draws from a generator of its own, so that it does not
    change what is rolled out.

    Args:
        scheme: of the episodes.
        args: n_agents, eta, seed, agent_alive_index.
    """

    def __init__(self, scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace) -> None:
        super().__init__()
        self.args = args
        self.n_agents = args.n_agents
        self.n_subteams = subteam_count(args.eta, args.n_agents)
        self._generators: dict[th.device, th.Generator] = {}

    @abstractmethod
    def forward(self, batch: EpisodeBatch, greedy: bool = False) -> Assignment:
        """Assigns the agents of every episode and step.

        Args:
            batch: B episodes of T steps.
            greedy: take the most probable sub-team instead of drawing one, where X learns.
        """

    def log_probs(self, batch: EpisodeBatch, subteams: Tensor) -> Tensor | None:
        """log X(k | i, tau, s) of given sub-teams [B, T, N] anew; None where X cannot give it, or does not learn.

        It spares the learner a backward pass over all episodes for the gradient of each single one.
        """
        return None

    def alive(self, batch: EpisodeBatch) -> Tensor:
        """Which agents live, [B, T, N] bool; all of them where the environment does not say."""
        return living_agents(batch, self.args)

    def generator(self, device: th.device) -> th.Generator:
        """The assigner's own random numbers on ``device``."""
        if device not in self._generators:
            self._generators[device] = th.Generator(device).manual_seed(self.args.seed + SEED_OFFSET)
        return self._generators[device]

    def generator_states(self) -> dict[str, Tensor]:
        """Where the random numbers are, by device."""
        return {str(device): generator.get_state() for device, generator in self._generators.items()}

    def load_generator_states(self, states: Mapping[str, Tensor]) -> None:
        """Goes on where `generator_states` was taken."""
        for device, state in states.items():
            self.generator(th.device(device)).set_state(state)
