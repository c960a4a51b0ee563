"""Objectives: what the values of n inputs are trained by. One file a loss; each exists flat and under VAST."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from learners.objectives.base import Objective, Psi, form_of
from learners.objectives.qtran import QTranObjective
from learners.objectives.qtran_base import QTranBaseObjective
from learners.objectives.td import TDObjective
from learners.objectives.wqmix import WeightedQMixObjective
from learners.target_network import TargetNetwork
from utils.errors import UserError
from utils.registry import Registry

REGISTRY = Registry("objective")
REGISTRY["td"] = TDObjective
REGISTRY["qtran"] = QTranObjective
REGISTRY["qtran_base"] = QTranBaseObjective
REGISTRY["wqmix"] = WeightedQMixObjective


NATURAL = {"none": "td", "total": "td", "pair": "qtran", "memories": "qtran_base"}  # by the form of the mixer
WANTED = {
    "none": "no mixer",
    "total": "a mixer that returns Q_tot",
    "pair": "a mixer that returns (Q_joint, V)",
    "memories": "a mixer of memories and actions",
}


def make_objective(
    psi: Psi, targets: TargetNetwork, scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace
) -> Objective:
    """The objective that ``args.objective`` names; null: that which goes with the mixer.

    Raises:
        UserError: there is none of that name, or it does not go with the mixer.
    """
    form = form_of(psi.online, psi.args)
    name = args.objective or NATURAL[form]
    objective: type[Objective] = REGISTRY[name]
    if form not in objective.forms:
        wanted = " or ".join(WANTED[form] for form in objective.forms)
        raise UserError(f"objective: {name} goes with {wanted}; this run has {WANTED[form]}")
    return objective(psi, targets, scheme, args)
