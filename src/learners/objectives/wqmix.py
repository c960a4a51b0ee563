"""Weighted QMIX: a monotone Q_tot that need not fit every joint action equally well (Rashid et al., NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor, nn

from components.unroll import unroll
from learners.mixer_inputs import JointValues, MixerInputs
from learners.objectives.base import Objective, Psi
from learners.objectives.td import td_stats
from learners.policies import make_critic
from learners.target_network import TargetNetwork
from learners.values import Stats
from modules.mixers.linear import mlp
from utils.checks import check_shape, flat_size
from utils.errors import UserError
from utils.rl_utils import masked_mean, td_loss


class CentralMixer(nn.Module):
    """``Q*(s, u) = f(s, q) + V(s)``: no constraint binds the values q of n inputs; three hidden layers, as published.

    Args:
        args: n_agents (n), state_shape, central_mixing_embed_dim (units of all layers).
    """

    def __init__(self, args: SimpleNamespace) -> None:
        super().__init__()
        self.n_agents, width = args.n_agents, args.central_mixing_embed_dim
        state_dim = flat_size(args.state_shape)
        self.net = mlp(state_dim + args.n_agents, width, hidden_layers=3)
        self.V = mlp(state_dim, width, hidden_layers=1)

    def forward(self, agent_qs: Tensor, states: Tensor) -> Tensor:
        """Q* [B, T, 1] of values [B, T, n] and states [B, T, S]."""
        check_shape("agent_qs", agent_qs, (*states.shape[:2], self.n_agents))
        q_star: Tensor = self.net(th.cat([states, agent_qs], dim=-1)) + self.V(states)
        return q_star


class WeightedQMixObjective(Objective):
    """``mean w (Q_tot - y)^2 + mean (Q* - y)^2``; y bootstraps from the target network's Q* of the greedy actions.

    Q* mixes the values of a second, central critic without constraint. Weights (section 4 of the paper):
    OW (``hysteretic_qmix``): 1 where ``Q_tot < y``, else alpha. CW: 1 where the taken joint action is the greedy one
    or ``y > Q*(s, greedy)``, else alpha.

    Args:
        psi: Psi, whose output is Q_tot.
        targets: lets Q*'s target networks follow.
        scheme: of the episodes.
        args: w (alpha), hysteretic_qmix, qmix_loss and central_loss (weights of the two losses),
            central_mixing_embed_dim.

    Raises:
        UserError: agents that put out policies: Q* needs the greedy actions.
    """

    def __init__(
        self, psi: Psi, targets: TargetNetwork, scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace
    ) -> None:
        if args.agent_output_type != "q":
            raise UserError(f"agent_output_type: objective=wqmix needs q, got {args.agent_output_type}")
        super().__init__(psi, targets, scheme, args)
        self.optimistic, self.alpha = args.hysteretic_qmix, args.w
        self.qmix_loss, self.central_loss = args.qmix_loss, args.central_loss
        self.mixer = CentralMixer(psi.args)
        self.critic = make_critic(scheme, args)
        self.target_mixer, self.target_critic = targets.follow(self.mixer), targets.follow(self.critic)

    def loss(self, inputs: MixerInputs, targets: Tensor, mask: Tensor) -> tuple[Tensor, Stats]:
        taken, targets = inputs.taken, targets.detach()
        q_tot = self.psi.online(taken.values, taken.states)
        central_q = unroll(self.critic, inputs.batch, False)[0]
        q_star = self._mix(self.mixer, taken.by(central_q))
        weights = self._weights(inputs, q_tot.detach(), central_q.detach(), targets)
        qmix = masked_mean(weights * (q_tot - targets).square(), mask)
        central = td_loss(q_star, targets, mask)
        stats = {"qmix_loss": qmix, "central_loss": central, "w_to_use": masked_mean(weights, mask)}
        loss = self.qmix_loss * qmix + self.central_loss * central
        return loss, {**stats, **td_stats(q_tot, targets, mask, taken.n_agents)}

    def _weights(self, inputs: MixerInputs, q_tot: Tensor, central_q: Tensor, targets: Tensor) -> Tensor:
        """1 or alpha for every transition, [B, T - 1, 1]."""
        if self.optimistic:
            full = q_tot < targets
        else:
            greedy = inputs.greedy
            is_greedy = (inputs.taken.actions == greedy.actions).all(2)
            with th.no_grad():
                full = is_greedy | (targets > self._mix(self.mixer, greedy.by(central_q)))
        return th.where(full, 1.0, self.alpha)

    def bootstrap(self, ahead: JointValues) -> Tensor:
        return self._mix(self.target_mixer, ahead.by(unroll(self.target_critic, ahead.batch, False)[0]))

    @staticmethod
    def _mix(mixer: nn.Module, joint: JointValues) -> Tensor:
        mixed: Tensor = mixer(joint.values, joint.states)
        return mixed

    def parameters(self) -> Iterable[nn.Parameter]:
        return [*self.critic.parameters(), *self.mixer.parameters()]

    def parts(self) -> dict[str, Any]:
        return {"central_agent.th": self.critic.agent, "central_mixer.th": self.mixer}
