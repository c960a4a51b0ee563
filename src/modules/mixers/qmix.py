"""QMIX: a mixing network that is monotonic in every value (Rashid et al., ICML 2018)."""

from __future__ import annotations

from types import SimpleNamespace

import torch.nn.functional as F
from torch import Tensor, nn

from modules.mixers.linear import shared_linear
from utils.checks import check_shape, flat_size
from utils.errors import UserError


class QMixer(nn.Module):
    """``Q_tot = w_2(s)^T elu(w_1(s)^T q + b_1(s)) + V(s)`` with non-negative w_1, w_2 from hypernetworks.

    Args:
        args: n_agents, state_shape, mixing_embed_dim, hypernet_layers (1 or 2) and, for 2, hypernet_embed.
    """

    def __init__(self, args: SimpleNamespace) -> None:
        super().__init__()
        self.args = args
        self.n_agents = args.n_agents
        self.state_dim = flat_size(args.state_shape)
        self.embed_dim = args.mixing_embed_dim
        self.hyper_w_1 = self._hypernet(self.embed_dim * self.n_agents)
        self.hyper_w_final = self._hypernet(self.embed_dim)
        self.hyper_b_1 = nn.Linear(self.state_dim, self.embed_dim)
        self.V = nn.Sequential(nn.Linear(self.state_dim, self.embed_dim), nn.ReLU(), nn.Linear(self.embed_dim, 1))

    def _hypernet(self, out_dim: int) -> nn.Module:
        layers = getattr(self.args, "hypernet_layers", 1)  # older PyMARL configurations lack the key: one layer
        if layers == 1:
            return nn.Linear(self.state_dim, out_dim)
        if layers == 2:
            width = self.args.hypernet_embed
            return nn.Sequential(nn.Linear(self.state_dim, width), nn.ReLU(), nn.Linear(width, out_dim))
        raise UserError(f"hypernet_layers: expected 1 or 2, got {layers}")

    def forward(self, agent_qs: Tensor, states: Tensor) -> Tensor:
        """Q_tot [B, T, 1] of values [B, T, N] and states [B, T, S]."""
        check_shape("agent_qs", agent_qs, (*states.shape[:2], self.n_agents))
        w_1, w_final, b_1, v = self._of_states(states)
        w_1 = w_1.abs().unflatten(-1, (self.n_agents, self.embed_dim))
        # A sum of products, not a batched matrix product: one such row of N values per state is too small to be fast.
        hidden = (agent_qs.unsqueeze(-1) * w_1).sum(-2) + b_1
        return (F.elu(hidden) * w_final.abs()).sum(-1, keepdim=True) + v

    def _of_states(self, states: Tensor) -> list[Tensor]:
        """The outputs of hyper_w_1, hyper_w_final, hyper_b_1 and V; their first layers are one matrix product."""
        networks = [
            net if isinstance(net, nn.Sequential) else nn.Sequential(net)
            for net in (self.hyper_w_1, self.hyper_w_final, self.hyper_b_1, self.V)
        ]
        first = shared_linear(states, [net[0] for net in networks])
        return [net[1:](features) for net, features in zip(networks, first, strict=True)]
