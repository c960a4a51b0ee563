"""COMA: policies that learn from counterfactual advantages of a centralised critic (Foerster et al., AAAI 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from learners.coma import CounterfactualPolicies, StepwiseCritic
from learners.division import FlatDivision
from learners.learner import Learner
from utils.errors import UserError
from utils.logging import Logger


class COMALearner(Learner):
    """A critic of every agent's actions that learns step by step, and policies that learn from its advantages.

    Args:
        mac: the controller whose agents' policies learn.
        scheme: of the episodes.
        logger: receives the statistics.
        args: of `StepwiseCritic` and `CounterfactualPolicies`.

    Raises:
        UserError: agents that put out values, a mixer, keys of the _ac configurations, or settings under which updates
            would not be on-policy.
    """

    def __init__(
        self, mac: Any, scheme: Mapping[str, Mapping[str, Any]], logger: Logger, args: SimpleNamespace
    ) -> None:
        if args.agent_output_type != "pi_logits":
            raise UserError(f"agent_output_type: coma_learner needs pi_logits, got {args.agent_output_type}")
        if args.mixer not in (None, "none"):
            raise UserError(f"mixer: coma_learner takes none, got {args.mixer}")
        if args.objective is not None:
            raise UserError(f"objective: coma_learner has its own, expected null, got {args.objective}")
        policies = CounterfactualPolicies(mac, args)
        values = StepwiseCritic(scheme, args)
        super().__init__(logger, args, mac, values, policies, FlatDivision())
        self.critic, self.target_critic = values.critic, values.target_critic
