"""PyMARL's QTRAN baseline, whose joint value is a function of hidden states and actions."""

from __future__ import annotations

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from components.episode_buffer import EpisodeBatch
from learners.base import Stats
from learners.q_learner import QLearner, Transitions
from modules.mixers import REGISTRY as mixer_REGISTRY
from modules.mixers.qtran import QTranBase
from utils.errors import UserError


class QTranLearner(QLearner):
    """Q-learning with ``qtran_base`` (Son et al., ICML 2019), as in PyMARL."""

    mixer: QTranBase
    target_mixer: QTranBase

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
        if values.hidden is None or values.next_hidden is None:
            raise UserError("learner: qtran_learner needs a mac that keeps the agents' hidden_states as a tensor")
        now, step = batch[:, :-1], Transitions.of(batch)
        hidden = values.hidden[:, :-1]
        mixed = self._joint(self.mixer, now, hidden, now["actions"])
        with th.no_grad():
            next_joint, _ = self._joint(self.target_mixer, batch[:, 1:], values.next_hidden, values.next_actions)
            targets = self._targets(step, next_joint, self.args.td_lambda)
        greedy_mixed = self._joint(self.mixer, now, hidden, values.greedy_actions[:, :-1])
        return self._qtran_loss(mixed, greedy_mixed, values.taken, values.greedy[:, :-1], targets, step.mask)

    def _joint(self, mixer: nn.Module, batch: EpisodeBatch, hidden: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """(Q_joint, V), each [B, T, 1], of actions [B, T, N, 1]."""
        onehot = F.one_hot(actions.squeeze(-1), self.args.n_actions).float()
        joint, v = mixer(batch, hidden, onehot)
        lead = (batch.batch_size, batch.max_seq_length, 1)
        return joint.view(lead), v.view(lead)
