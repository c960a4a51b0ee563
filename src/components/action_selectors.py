"""How an agent's outputs become actions."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch as th

from components.epsilon_schedules import DecayThenFlatSchedule
from components.probabilities import sample_categorical
from utils.registry import Registry
from utils.rl_utils import mask_unavailable

REGISTRY = Registry("action_selector")


class AnnealedSelector:
    """What selectors with an exploration rate share.

    Attributes:
        epsilon: the rate that the last call used.
    """

    def __init__(self, args: SimpleNamespace) -> None:
        self.schedule = DecayThenFlatSchedule(
            args.epsilon_start, args.epsilon_finish, args.epsilon_anneal_time, decay="linear"
        )
        self.epsilon = self.schedule.eval(0)

    def state_dict(self) -> dict[str, Any]:
        """The rate; the schedule itself only depends on the step that it is asked for."""
        return {"epsilon": self.epsilon}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over the rate."""
        self.epsilon = state_dict["epsilon"]


class EpsilonGreedyActionSelector(AnnealedSelector):
    """Greedy in the agents' Q-values, a uniformly random available action with probability epsilon."""

    def select_action(
        self, agent_inputs: th.Tensor, avail_actions: th.Tensor, t_env: int, test_mode: bool = False
    ) -> th.Tensor:
        """Actions [B, N] (long) for Q-values and availability [B, N, A]; epsilon is 0 in test mode."""
        self.epsilon = 0.0 if test_mode else self.schedule.eval(t_env)
        greedy = mask_unavailable(agent_inputs, avail_actions).argmax(dim=-1)
        if test_mode:
            return greedy
        random = sample_categorical(avail_actions.float())
        explore = th.rand_like(agent_inputs[..., 0]) < self.epsilon
        return th.where(explore, random, greedy)


class MultinomialActionSelector(AnnealedSelector):
    """Samples from the agents' action probabilities; greedy in tests if ``test_greedy``."""

    def __init__(self, args: SimpleNamespace) -> None:
        super().__init__(args)
        self.test_greedy = args.test_greedy

    def select_action(
        self, agent_inputs: th.Tensor, avail_actions: th.Tensor, t_env: int, test_mode: bool = False
    ) -> th.Tensor:
        """Actions [B, N] (long) for probabilities and availability [B, N, A]."""
        self.epsilon = self.schedule.eval(t_env)
        probabilities = agent_inputs * (avail_actions > 0)
        if test_mode and self.test_greedy:
            return probabilities.argmax(dim=-1)
        return sample_categorical(probabilities)


REGISTRY["epsilon_greedy"] = EpsilonGreedyActionSelector
REGISTRY["multinomial"] = MultinomialActionSelector
