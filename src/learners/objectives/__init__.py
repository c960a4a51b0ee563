"""Objectives: what the values of n inputs are trained by. One file a loss; each exists flat and under VAST."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from learners.objectives.base import Objective, Psi, objective_of
from learners.objectives.qtran import QTranObjective
from learners.objectives.qtran_base import QTranBaseObjective
from learners.objectives.td import TDObjective
from learners.objectives.wqmix import WeightedQMixObjective
from learners.target_network import TargetNetwork
from utils.registry import Registry

REGISTRY = Registry("objective")
REGISTRY["td"] = TDObjective
REGISTRY["qtran"] = QTranObjective
REGISTRY["qtran_base"] = QTranBaseObjective
REGISTRY["wqmix"] = WeightedQMixObjective


def make_objective(
    psi: Psi, targets: TargetNetwork, scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace
) -> Objective:
    """The objective that ``args.objective`` names; null: that which goes with the mixer."""
    name = args.objective or objective_of(psi.online, psi.args)
    objective: Objective = REGISTRY[name](psi, targets, scheme, args)
    return objective
