"""PyMARL's QTRAN baseline, whose joint value is a function of hidden states and actions."""

from __future__ import annotations

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from components.episode_buffer import EpisodeBatch
from learners.base import Stats
from learners.q_learner import QLearner
from learners.values import AgentValues, Transitions
from modules.mixers import REGISTRY as mixer_REGISTRY
from modules.mixers.qtran import QTranBase
from utils.errors import UserError


class QTranLearner(QLearner):
    """Q-learning with ``qtran_base`` (Son et al., ICML 2019), as in PyMARL."""

    mixer: QTranBase
    target_mixer: QTranBase
    reads_memories = True

    def _build_mixer(self) -> nn.Module:
        if self.args.agent_output_type != "q":
            raise UserError(
                f"agent_output_type: qtran_learner needs q, got {self.args.agent_output_type}; "
                "QTRAN with policies is learner=q_learner mixer=qtran (--config=qtran_ac)"
            )
        mixer = mixer_REGISTRY[self.args.mixer](self.args) if self.args.mixer is not None else None
        if not isinstance(mixer, QTranBase):
            raise UserError(
                f"mixer: qtran_learner needs qtran_base, got {self.args.mixer}; "
                "mixers of values go with learner=q_learner"
            )
        return mixer

    def _loss(self, batch: EpisodeBatch) -> tuple[Tensor, Stats]:
        values = self._agent_values(batch)
        if values.hidden is None:
            raise UserError("learner: qtran_learner needs a mac that keeps the agents' hidden_states as a tensor")
        step, now = Transitions.of(batch), slice(None, -1)
        joint_actions = [batch["actions"][:, now], values.greedy_actions[:, now]]
        onehot = self._onehot(th.stack(joint_actions))
        joint, v = self._mixed_values(self.mixer, batch[:, now], values.hidden[:, now], onehot)
        targets = self._qtran_targets(batch, values)
        taken, greedy = ((joint[i], v) for i in range(2))
        return self._qtran_loss(taken, greedy, values.taken, values.greedy[:, now], targets, step.mask)

    @th.no_grad()
    def _qtran_targets(self, batch: EpisodeBatch, values: AgentValues) -> Tensor:
        """TD(lambda) targets of Q_joint, [B, T - 1, 1]."""
        ahead = self._next_values(batch, values)
        assert ahead.hidden is not None
        onehot = self._onehot(ahead.actions).unsqueeze(0)
        next_joint, _ = self._mixed_values(self.target_mixer, batch[:, 1:], ahead.hidden, onehot)
        return self._targets(Transitions.of(batch), next_joint[0], self.args.td_lambda)

    @staticmethod
    def _mixed_values(mixer: QTranBase, batch: EpisodeBatch, hidden: Tensor, onehot: Tensor) -> tuple[Tensor, Tensor]:
        """(Q_joint [X, B, T, 1], V [B, T, 1]) of X sets of one-hot actions [X, B, T, N, A]."""
        if type(mixer).forward is QTranBase.forward:
            return mixer.values(batch["state"], hidden, onehot)
        # A sub-class with a ``forward`` of its own is asked as in PyMARL, once for each set.
        lead = (batch.batch_size, batch.max_seq_length, 1)
        joints, vs = zip(*(mixer(batch, hidden, actions) for actions in onehot), strict=True)
        return th.stack([joint.view(lead) for joint in joints]), vs[0].view(lead)

    def _onehot(self, actions: Tensor) -> Tensor:
        """[..., N, A] float32 of actions [..., N, 1]."""
        return F.one_hot(actions.squeeze(-1), self.args.n_actions).float()
