"""VAST's wrapper: any mixer over sub-team values instead of agent values (Phan et al., NeurIPS 2021)."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from assigners.base import subteam_count
from modules.mixers.registry import REGISTRY
from utils.checks import check_shape
from utils.errors import UserError


def pool_members(agent_qs: Tensor, subteams: Tensor, n_subteams: int) -> Tensor:
    """Sub-team values ``Q^G_k = sum of Q_j over the members j of sub-team k`` (Eq. 4); 0 without members.

    Args:
        agent_qs: [..., N].
        subteams: the sub-team of each agent, [..., N] long in 0..K-1.
        n_subteams: K.

    Returns:
        [..., K].
    """
    values = agent_qs.new_zeros(*agent_qs.shape[:-1], n_subteams)
    return values.scatter_add(-1, subteams, agent_qs)


class VastMixer(nn.Module):
    """``Q_tot = Psi(Q^G_1, ..., Q^G_K)`` (Eq. 5), with ``K = ceil(eta * N)``.

    Psi is the registered mixer ``subteam_mixer``, built for K agents on a copy of ``args``; it never learns
    that its inputs are sub-teams. ``subteam_mixer: none`` is the paper's VAST(IL): the sub-team values themselves.
    Learners ask `pool` and `psi`, of which `forward` is made: a sub-class with another pooling overrides `pool`.

    Args:
        args: n_agents, eta, subteam_mixer, and what that mixer reads.

    Attributes:
        n_subteams: K.
        psi: Psi, or None.
        psi_args: what Psi was built on.
    """

    def __init__(self, args: SimpleNamespace) -> None:
        super().__init__()
        self.n_agents = args.n_agents
        self.n_subteams = subteam_count(args.eta, args.n_agents)
        self.psi_args = copy.copy(args)
        self.psi_args.n_agents = self.n_subteams
        self.psi = self._build_psi(args.subteam_mixer)

    def _build_psi(self, name: str | None) -> nn.Module | None:
        if name in (None, "none"):
            return None
        if name == "vast_mixer":
            raise UserError(
                f"subteam_mixer: {name} cannot be nested; give none or another registered mixer, such as qtran"
            )
        return REGISTRY[name](self.psi_args)

    def pool(self, values: Tensor, subteams: Tensor) -> Tensor:
        """The values [..., K] of the sub-teams of agents' values [..., N]: their sums (`pool_members`).

        Args:
            values: [..., B, T, N].
            subteams: broadcast to the shape of ``values``.
        """
        return pool_members(values, subteams.expand(values.shape), self.n_subteams)

    def forward(self, agent_qs: Tensor, states: Tensor, subteams: Tensor) -> Any:
        """What Psi returns for the sub-team values: Q_tot [B, T, 1], or (Q_joint, V) for QTRAN.

        Without Psi the sub-team values [B, T, K].

        Args:
            agent_qs: [B, T, N]; several sets of values may be stacked in front if Psi takes that.
            states: [B, T, S].
            subteams: the sub-team of each agent, [B, T, N] long in 0..K-1.
        """
        check_shape("agent_qs", agent_qs, (*agent_qs.shape[:-3], *states.shape[:2], self.n_agents))
        check_shape("subteams", subteams, agent_qs.shape[-3:])
        values = self.pool(agent_qs, subteams)
        return values if self.psi is None else self.psi(values, states)
