"""The TD error of Q_tot: IL, VDN, QMIX, and any mixer that returns Q_tot (Eq. 1 of the VAST paper)."""

from __future__ import annotations

from torch import Tensor

from learners.mixer_inputs import JointValues, MixerInputs
from learners.objectives.base import Objective
from learners.values import Stats
from utils.rl_utils import masked_mean, td_loss


class TDObjective(Objective):
    """``(Q_tot - G)^2``; without a mixer the same for every input, each of which approximates Q_tot on its own."""

    forms = ("total", "none")

    def loss(self, inputs: MixerInputs, targets: Tensor, mask: Tensor) -> tuple[Tensor, Stats]:
        mixed = self._mix(self.psi.online, inputs.taken)
        if self.psi.online is None and inputs.taken.active is not None:
            mask = mask * inputs.taken.active  # an input without members carries no loss
        targets = targets.expand_as(mixed)
        return td_loss(mixed, targets, mask), td_stats(mixed, targets, mask, inputs.taken.n_agents)

    def bootstrap(self, ahead: JointValues) -> Tensor:
        mixed, active = self._mix(self.psi.target, ahead), ahead.active
        if self.psi.online is not None or active is None:
            return mixed
        # Inputs change from step to step: the mean over those that have members.
        return (mixed * active).sum(-1, keepdim=True) / active.sum(-1, keepdim=True)

    @staticmethod
    def _mix(mixer: object, joint: JointValues) -> Tensor:
        mixed: Tensor = joint.values if mixer is None else mixer(joint.values, joint.states)  # type: ignore[operator]
        return mixed


def td_stats(values: Tensor, targets: Tensor, mask: Tensor, n_agents: int) -> Stats:
    """Statistics of a TD error; values and targets count per agent."""
    return {
        "td_error_abs": masked_mean((values - targets).abs(), mask),
        "q_taken_mean": masked_mean(values, mask) / n_agents,
        "target_mean": masked_mean(targets, mask) / n_agents,
    }
