"""VDN: Q_tot is the sum of the values (Sunehag et al., AAMAS 2018)."""

from __future__ import annotations

from types import SimpleNamespace

from torch import Tensor, nn


class VDNMixer(nn.Module):
    """``Q_tot = sum_i Q_i``; has no parameters."""

    def __init__(self, args: SimpleNamespace | None = None) -> None:
        super().__init__()

    def forward(self, agent_qs: Tensor, states: Tensor) -> Tensor:
        """Q_tot [B, T, 1] of values [B, T, N]; the states are not needed."""
        return agent_qs.sum(-1, keepdim=True)
