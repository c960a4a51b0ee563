"""What a learner reads and computes of a batch before it builds losses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch.nn.functional as F
from torch import Tensor

from components.episode_buffer import EpisodeBatch
from utils.rl_utils import mask_unavailable, transition_mask

Stats = dict[str, Tensor]  # what an update logs: one number each


class AgentValues:
    """The agents' values of a batch of B episodes and T steps, on which all losses are built.

    Args:
        batch: the episodes.
        q: values of every action, [B, T, N, A].
        hidden: the agents' memories, [B, T, N, H], or None.

    Attributes, each computed when it is first read:
        taken: values of the taken actions, [B, T - 1, N].
        greedy_actions: best available actions, [B, T, N, 1].
        greedy: their values, [B, T, N].
    """

    def __init__(self, batch: EpisodeBatch, q: Tensor, hidden: Tensor | None = None) -> None:
        self.q, self.hidden = q, hidden
        self._batch = batch

    @cached_property
    def taken(self) -> Tensor:
        return self.q[:, :-1].gather(-1, self._batch["actions"][:, :-1]).squeeze(-1)

    @cached_property
    def greedy_actions(self) -> Tensor:
        return mask_unavailable(self.q.detach(), self._batch["avail_actions"]).argmax(dim=-1, keepdim=True)

    @cached_property
    def greedy(self) -> Tensor:
        return self.q.gather(-1, self.greedy_actions).squeeze(-1)


@dataclass(frozen=True)
class Transitions:
    """What the losses read of the T - 1 transitions of a batch: each [B, T - 1, 1] float32."""

    rewards: Tensor
    terminated: Tensor
    mask: Tensor

    @staticmethod
    def of(batch: EpisodeBatch) -> Transitions:
        """The transitions of a batch of T steps."""
        return batch.derived("transitions", lambda: Transitions._read(batch))

    @staticmethod
    def _read(batch: EpisodeBatch) -> Transitions:
        terminated = batch["terminated"].float()
        return Transitions(
            batch["reward"][:, :-1], terminated[:, :-1], transition_mask(batch["filled"], batch["terminated"])
        )

    @cached_property
    def all_terminate(self) -> bool:
        """Whether every episode terminated, so that returns need no bootstrap."""
        goes_on = F.pad(self.mask[:, 1:], (0, 0, 0, 1))
        return not bool((self.mask * (1 - goes_on) * (1 - self.terminated)).any())
