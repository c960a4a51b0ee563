"""Learning of agents' Q-values through a mixer: IQL, VDN, QMIX, Weighted QMIX, the paper's QTRAN; both regimes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from torch import nn

from learners.division import FlatDivision
from learners.factored_values import FactoredValues
from learners.learner import Learner
from learners.policies import ActorCritic, EpsilonGreedy, make_critic
from modules.mixers import REGISTRY as mixer_REGISTRY
from utils.errors import UserError
from utils.logging import Logger


class FactoredLearner(Learner):
    """A learner of Q_i through Psi, under any division.

    Where agents put out policies (``agent_output_type: pi_logits``) the values are those of a critic, and the policies
    learn from them after each update (`ActorCritic`); otherwise agents act on the values (`EpsilonGreedy`).

    Args:
        mac: the controller whose agents learn.
        scheme: of the episodes.
        logger: receives the statistics.
        args: objective, and what the parts read.
        mixer: Psi, or what stands for it; None without one.
        make_division: builds the division; called last.

    Attributes, under PyMARL's names: mixer, target_mac (of the critic), target_mixer, params, optimiser; and critic,
    the controller whose outputs are Q_i (the mac itself in the value-based regime).
    """

    def __init__(
        self,
        mac: Any,
        scheme: Mapping[str, Mapping[str, Any]],
        logger: Logger,
        args: SimpleNamespace,
        mixer: nn.Module | None,
        make_division: Callable[[], FlatDivision],
    ) -> None:
        policies: EpsilonGreedy
        if args.agent_output_type == "pi_logits":
            policies = ActorCritic(mac, args)
            self.critic = make_critic(scheme, args, one_value=args.critic_output == "v")
        else:
            policies, self.critic = EpsilonGreedy(mac, args), mac
        values = FactoredValues(self.critic, policies, mixer, scheme, args)
        super().__init__(logger, args, mac, values, policies, make_division())
        self.mixer, self.target_mixer, self.target_mac = mixer, values.target_mixer, values.target_critic
        self.params, self.optimiser = values.params, values.optimiser


class QLearner(FactoredLearner):
    """Psi over the values of the agents (flat)."""

    def __init__(
        self, mac: Any, scheme: Mapping[str, Mapping[str, Any]], logger: Logger, args: SimpleNamespace
    ) -> None:
        if args.mixer in ("qtran_base", "vast_mixer"):
            learner = "qtran_learner" if args.mixer == "qtran_base" else "vast_learner"
            raise UserError(f"mixer: {args.mixer} needs learner={learner}, got {args.learner}")
        mixer = None if args.mixer in (None, "none") else mixer_REGISTRY[args.mixer](args)
        super().__init__(mac, scheme, logger, args, mixer, FlatDivision)
