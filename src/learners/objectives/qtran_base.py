"""PyMARL's QTRAN, whose joint value is a function of memories and actions (Son et al., ICML 2019)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor

from learners.mixer_inputs import JointValues, MixerInputs
from learners.objectives.base import Objective, Psi
from learners.objectives.qtran import QTranWeights, qtran_loss
from learners.values import Stats
from modules.mixers.qtran import QTranBase
from utils.errors import UserError


class QTranBaseObjective(Objective):
    """QTRAN's losses over the inputs' memories and actions; under sub-teams these are sums over the members."""

    forms = ("memories",)
    reads_memories = True

    def __init__(self, psi: Psi, targets: Any, scheme: Any, args: SimpleNamespace) -> None:
        refuse_policies(args)
        super().__init__(psi, targets, scheme, args)
        self.weights = QTranWeights.of(args)

    def loss(self, inputs: MixerInputs, targets: Tensor, mask: Tensor) -> tuple[Tensor, Stats]:
        joint, v = self._mixed(self.psi.online, [inputs.taken, inputs.greedy])
        return qtran_loss(inputs, (joint[0], v), (joint[1], v), targets, mask, self.weights)

    def bootstrap(self, ahead: JointValues) -> Tensor:
        return self._mixed(self.psi.target, [ahead])[0][0]

    @staticmethod
    def _mixed(mixer: Any, joints: list[JointValues]) -> tuple[Tensor, Tensor]:
        """(Q_joint [X, B, T', 1], V [B, T', 1]) of X joint actions of the same steps."""
        first, counts = joints[0], th.stack([joint.action_counts() for joint in joints])
        memories = first.memories()
        if memories is None:
            raise UserError("mixer: qtran_base needs a mac that keeps the agents' hidden_states as a tensor")
        if type(mixer).forward is QTranBase.forward:
            joint_values, v = mixer.values(first.batch["state"][:, first.steps], memories, counts)
            return joint_values, v
        # A mixer with a ``forward`` of its own is asked as in PyMARL, once for each joint action.
        batch, lead = first.batch[:, first.steps], (*memories.shape[:2], 1)
        mixed, vs = zip(*(mixer(batch, memories, actions) for actions in counts), strict=True)
        return th.stack([joint.view(lead) for joint in mixed]), vs[0].view(lead)


def refuse_policies(args: SimpleNamespace) -> None:
    """Raises UserError where agents put out policies: they have no memories that a critic of values could share."""
    if args.agent_output_type != "q":
        raise UserError(
            f"agent_output_type: qtran_base of {args.learner} needs q, got {args.agent_output_type}; "
            "QTRAN with policies is mixer=qtran (--config=qtran_ac or vast_qtran_ac)"
        )
