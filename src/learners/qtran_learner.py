"""PyMARL's QTRAN baseline, whose joint value is a function of hidden states and actions."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from learners.division import FlatDivision
from learners.objectives.base import form_of
from learners.objectives.qtran_base import refuse_policies
from learners.q_learner import FactoredLearner
from modules.mixers import REGISTRY as mixer_REGISTRY
from utils.errors import UserError
from utils.logging import Logger


class QTranLearner(FactoredLearner):
    """Q-learning with ``qtran_base`` (Son et al., ICML 2019), or a mixer of that form, over the agents (flat)."""

    def __init__(
        self, mac: Any, scheme: Mapping[str, Mapping[str, Any]], logger: Logger, args: SimpleNamespace
    ) -> None:
        mixer = mixer_REGISTRY[args.mixer](args) if args.mixer is not None else None
        if form_of(mixer, args) != "memories":
            raise UserError(
                f"mixer: qtran_learner needs qtran_base, got {args.mixer}; mixers of values go with learner=q_learner"
            )
        refuse_policies(args)
        super().__init__(mac, scheme, logger, args, mixer, FlatDivision)
