"""QTRAN's networks: PyMARL's form over hidden states and actions, and the VAST paper's over values.

QTRAN: Son et al., ICML 2019. Both estimate the joint value and a state value; the losses that tie them to
the agents' values (Eq. 3 of the VAST paper) are in utils/rl_utils.py.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from components.episode_buffer import EpisodeBatch
from modules.mixers.linear import mlp, shared_linear
from utils.checks import check_shape, flat_size
from utils.errors import UserError


class QTran(nn.Module):
    """The VAST paper's QTRAN: Q_joint is a function of the state and the *values*, V of the state.

    ``qtran_end_to_end: true`` lets the TD error of Q_joint train the values too (section 4.1: "learned end-to-end");
    with false, the form of the released experiments, they enter detached and agents learn from the losses of Eq. 3
    alone. A V that saw the values could zero both of those losses for any values, so by default it does not;
    ``qtran_v: values`` is the form of the released experiments, in which it does, and passes gradients on to them.

    Args:
        args: n_agents, state_shape, mixing_embed_dim (units of both networks), qtran_v (state or values),
            qtran_end_to_end, qtran_targets (mean or sum).

    Attributes:
        target_scale: what its targets are to be multiplied by: 1 for ``mean``, n_agents for ``sum``, the form of the
            released experiments, which add the team's return up over the inputs.
    """

    def __init__(self, args: SimpleNamespace) -> None:
        super().__init__()
        if args.qtran_v not in ("state", "values"):
            raise UserError(f"qtran_v: expected state or values, got {args.qtran_v!r}")
        if args.qtran_targets not in ("mean", "sum"):
            raise UserError(f"qtran_targets: expected mean or sum, got {args.qtran_targets!r}")
        self.n_agents = args.n_agents
        self.v_sees_values = args.qtran_v == "values"
        self.end_to_end = args.qtran_end_to_end
        self.target_scale = float(args.n_agents) if args.qtran_targets == "sum" else 1.0
        state_dim = flat_size(args.state_shape)
        joint_dim = state_dim + self.n_agents
        self.Q = mlp(joint_dim, args.mixing_embed_dim, hidden_layers=2)
        self.V = mlp(joint_dim if self.v_sees_values else state_dim, args.mixing_embed_dim, hidden_layers=2)

    def forward(self, agent_qs: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """(Q_joint [..., B, T, 1], V [B, T, 1]) of values [..., B, T, N] and states [B, T, S].

        Several sets of values of one batch may be stacked in front: they share the work on the states. V has these
        dimensions too if it sees the values.
        """
        check_shape("agent_qs", agent_qs, (*agent_qs.shape[:-3], *states.shape[:2], self.n_agents))
        joint_qs = agent_qs if self.end_to_end else agent_qs.detach()
        of_states, v_features = shared_linear(states, [self.Q[0], self.V[0]])
        q_joint = self.Q[1:](of_states + self._of_values(self.Q[0], joint_qs))
        if self.v_sees_values:
            v_features = v_features + self._of_values(self.V[0], agent_qs)
        return q_joint, self.V[1:](v_features)

    def _of_values(self, layer: Any, agent_qs: Tensor) -> Tensor:
        """The part of a first layer's output that depends on the values."""
        return F.linear(agent_qs, layer.weight[:, -self.n_agents :])


class QTranBase(nn.Module):
    """PyMARL's QTRAN: Q_joint is a function of the state, the agents' hidden states and their actions.

    Args:
        args: n_agents, n_actions, state_shape, rnn_hidden_dim, mixing_embed_dim, qtran_arch
            (``qtran_paper`` sums an encoding of every agent's hidden state and action, ``coma_critic`` takes
            the one-hot actions of all agents) and network_size (``small`` or ``big``: 2 or 3 hidden layers).
    """

    def __init__(self, args: SimpleNamespace) -> None:
        super().__init__()
        if args.qtran_arch not in ("qtran_paper", "coma_critic"):
            raise UserError(f"qtran_arch: expected qtran_paper or coma_critic, got {args.qtran_arch!r}")
        if args.network_size not in ("small", "big"):
            raise UserError(f"network_size: expected small or big, got {args.network_size!r}")
        self.args = args
        self.n_agents, self.n_actions = args.n_agents, args.n_actions
        self.arch = args.qtran_arch
        state_dim = flat_size(args.state_shape)
        hidden_layers = 2 if args.network_size == "small" else 3
        encoding_dim = args.rnn_hidden_dim + args.n_actions
        action_dim = encoding_dim if self.arch == "qtran_paper" else self.n_agents * self.n_actions
        self.Q = mlp(state_dim + action_dim, args.mixing_embed_dim, hidden_layers)
        self.V = mlp(state_dim, args.mixing_embed_dim, hidden_layers)
        # coma_critic does not use the encoding; PyMARL's checkpoints hold its parameters all the same.
        self.action_encoding = mlp(encoding_dim, encoding_dim, hidden_layers=1, out_dim=encoding_dim)

    def forward(
        self, batch: EpisodeBatch, hidden_states: Tensor, actions: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(Q_joint [B * T, 1], V [B * T, 1]).

        Args:
            batch: reads ``state`` and, where ``actions`` is None, ``actions_onehot``.
            hidden_states: of the agents, [B, T, N, H].
            actions: one-hot, [B, T, N, A].
        """
        actions = batch["actions_onehot"] if actions is None else actions
        joint, v = self.values(batch["state"], hidden_states, actions)
        return joint.view(-1, 1), v.view(-1, 1)

    def values(self, states: Tensor, hidden_states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """(Q_joint [..., B, T, 1], V [B, T, 1]).

        Args:
            states: [B, T, S].
            hidden_states: of the agents, [B, T, N, H].
            actions: one-hot, [..., B, T, N, A]; several of one batch, stacked in front, share the work on the rest.
        """
        check_shape("hidden_states", hidden_states, (*states.shape[:2], self.n_agents, hidden_states.shape[-1]))
        of_states, v_features = shared_linear(states, [self.Q[0], self.V[0]])
        return self._joint(of_states, hidden_states, actions), self.V[1:](v_features)

    def _joint(self, of_states: Tensor, hidden_states: Tensor, actions: Tensor) -> Tensor:
        first: Any = self.Q[0]
        encoding = actions.flatten(-2) if self.arch == "coma_critic" else self._encoding(hidden_states, actions)
        return self.Q[1:](of_states + F.linear(encoding, first.weight[:, -encoding.shape[-1] :]))

    def _encoding(self, hidden_states: Tensor, actions: Tensor) -> Tensor:
        """The sum over the agents of their encoded memories and actions, [..., B, T, H + A]."""
        first: Any = self.action_encoding[0]
        last: Any = self.action_encoding[-1]
        (of_hidden,) = shared_linear(hidden_states, [first])
        features = F.relu(of_hidden + F.linear(actions, first.weight[:, -self.n_actions :]))
        # The last layer is linear: of the sum it gives the sum, but for the bias, which belongs to every agent.
        return F.linear(features.sum(-2), last.weight, self.n_agents * last.bias)
