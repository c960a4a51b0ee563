"""QTRAN's three losses (Eq. 3 of the VAST paper), for mixers of values that return (Q_joint, V)."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor

from learners.mixer_inputs import JointValues, MixerInputs
from learners.objectives.base import Objective, Psi
from learners.objectives.td import td_stats
from learners.values import Stats
from modules.mixers.qtran import QTran
from utils.rl_utils import qtran_nopt_loss, qtran_opt_loss, td_loss

JointAndV = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class QTranWeights:
    """Weights of QTRAN's losses at the greedy and at the taken joint action; that of the TD error is 1."""

    opt: float
    nopt: float

    @staticmethod
    def of(args: SimpleNamespace) -> QTranWeights:
        """``opt_loss`` and ``nopt_min_loss``."""
        return QTranWeights(args.opt_loss, args.nopt_min_loss)


class QTranObjective(Objective):
    """TD on Q_joint, and its two conditions, weighted by opt_loss and nopt_min_loss.

    Targets are multiplied by the mixer's ``target_scale``, if it has one (``qtran_targets: sum``).
    """

    forms = ("pair",)

    def __init__(self, psi: Psi, targets: Any, scheme: Any, args: SimpleNamespace) -> None:
        super().__init__(psi, targets, scheme, args)
        self.weights = QTranWeights.of(args)

    @property
    def scale(self) -> float:
        """What targets are multiplied by: 1, or the number of inputs."""
        return getattr(self.psi.online, "target_scale", 1.0)

    def loss(self, inputs: MixerInputs, targets: Tensor, mask: Tensor) -> tuple[Tensor, Stats]:
        taken, greedy = self._mixed(inputs)
        return qtran_loss(inputs, taken, greedy, self.scale * targets, mask, self.weights)

    def bootstrap(self, ahead: JointValues) -> Tensor:
        joint: Tensor = self.psi.target(ahead.values, ahead.states)[0]
        return joint / self.scale

    def _mixed(self, inputs: MixerInputs) -> tuple[JointAndV, JointAndV]:
        """(Q_joint, V) at the taken and at the greedy joint actions, each [B, T - 1, 1]."""
        psi, taken, greedy = self.psi.online, inputs.taken, inputs.greedy
        if getattr(type(psi), "forward", None) is not QTran.forward:
            return psi(taken.values, taken.states), psi(greedy.values, greedy.states)
        joint, v = psi(th.stack([taken.values, greedy.values]), taken.states)  # both share the work on the states
        of_taken, of_greedy = zip(joint, v.expand_as(joint), strict=True)
        return of_taken, of_greedy


def qtran_loss(
    inputs: MixerInputs,
    taken: JointAndV,
    greedy: JointAndV,
    targets: Tensor,
    mask: Tensor,
    weights: QTranWeights,
) -> tuple[Tensor, Stats]:
    """The weighted sum of QTRAN's losses; the sum of sub-team values is that of the agents', whatever the division.

    Args:
        inputs: of Psi.
        taken, greedy: (Q_joint, V) at these joint actions, each [B, T - 1, 1].
        targets, mask: [B, T - 1, 1].
        weights: of the losses.
    """
    joint, v = taken
    td = td_loss(joint, targets, mask)
    opt = qtran_opt_loss(inputs.greedy.total, *greedy, mask)
    nopt = qtran_nopt_loss(inputs.taken.total, joint, v, mask)
    loss = td + weights.opt * opt + weights.nopt * nopt
    parts = {"td_loss": td, "opt_loss": opt, "nopt_loss": nopt}
    return loss, {**parts, **td_stats(joint, targets, mask, inputs.taken.n_agents)}
