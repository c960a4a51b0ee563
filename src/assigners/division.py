"""What a division into sub-teams looks like: statistics that are logged while training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch as th
from torch import Tensor

from components.probabilities import entropy
from utils.rl_utils import masked_mean


def member_counts(subteams: Tensor, n_subteams: int) -> Tensor:
    """The number of members of each sub-team, [..., K] float32, of sub-teams [..., N]."""
    counts = th.zeros(*subteams.shape[:-1], n_subteams, device=subteams.device)
    return counts.scatter_add(-1, subteams, th.ones_like(subteams, dtype=counts.dtype))


def division_stats(subteams: Tensor, n_subteams: int, mask: Tensor) -> dict[str, Tensor]:
    """The share of sub-teams that have members, and the entropy (in nats) of how members spread over them.

    Args:
        subteams: [B, T, N].
        n_subteams: K.
        mask: [B, T, 1], the steps that count.
    """
    counts = member_counts(subteams, n_subteams)
    shares = counts / counts.sum(-1, keepdim=True)
    spread = entropy(shares).unsqueeze(-1)
    active = (counts > 0).float().mean(-1, keepdim=True)
    return {"subteams_active_share": masked_mean(active, mask), "assignment_entropy": masked_mean(spread, mask)}


class DivisionDiversity:
    """The number of distinct sets of active sub-teams over ten training episodes (section 7 and Fig. 9 of the paper).

    Looks at every tenth step of an episode. ``latest`` is the count of the last ten complete episodes, None before.
    """

    EPISODES = 10
    STRIDE = 10  # steps

    def __init__(self) -> None:
        self.latest: int | None = None
        self._seen: set[bytes] = set()
        self._episodes = 0

    def add(self, subteams: Tensor, n_subteams: int, mask: Tensor) -> None:
        """Counts episodes in: sub-teams [B, T, N] and their steps' mask [B, T, 1]."""
        active = (member_counts(subteams, n_subteams)[:, :: self.STRIDE] > 0).cpu().numpy()
        counted = mask[:, :: self.STRIDE, 0].cpu().numpy() > 0
        for episode, steps in zip(active, counted, strict=True):
            self._seen.update(step.tobytes() for step in episode[steps])
            self._episodes += 1
            if self._episodes == self.EPISODES:
                self.latest = len(self._seen)
                self._seen, self._episodes = set(), 0

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far; the sets of active sub-teams as text, which is safe to store."""
        return {"latest": self.latest, "episodes": self._episodes, "seen": sorted(step.hex() for step in self._seen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self.latest, self._episodes = state["latest"], state["episodes"]
        self._seen = {bytes.fromhex(step) for step in state["seen"]}
