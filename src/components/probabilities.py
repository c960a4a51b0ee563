"""Distributions over actions or sub-teams, as pure functions of tensors; A choices."""

from __future__ import annotations

import torch as th
from torch import Tensor

from utils.rl_utils import mask_unavailable


def epsilon_greedy_probs(q_values: Tensor, avail_actions: Tensor, epsilon: Tensor | float) -> Tensor:
    """pi_i(a) [..., A] of the epsilon-greedy policy over the available actions.

    Args:
        q_values, avail_actions: [..., A].
        epsilon: exploration rate, a float or broadcastable to [..., 1].
    """
    avail = (avail_actions > 0).to(q_values.dtype)
    greedy = th.zeros_like(q_values).scatter_(
        -1, mask_unavailable(q_values, avail_actions).argmax(-1, keepdim=True), 1.0
    )
    uniform = avail / avail.sum(-1, keepdim=True).clamp(min=1)
    return (1 - epsilon) * greedy + epsilon * uniform


def available_probs(probabilities: Tensor, avail_actions: Tensor) -> Tensor:
    """``probabilities`` [..., A] of the available actions alone, scaled to sum to 1; all 0 where none is available."""
    allowed = probabilities * (avail_actions > 0)
    return allowed / allowed.sum(-1, keepdim=True).clamp(min=th.finfo(allowed.dtype).tiny)


def sample_categorical(weights: Tensor, generator: th.Generator | None = None) -> Tensor:
    """Indices [...] drawn with probability proportional to ``weights`` [..., A] (not negative, none of sum 0)."""
    ends = weights.cumsum(-1)
    total = ends[..., -1:]
    # Below the total for certain, so that the last weight may be 0: rounding could otherwise bring a draw up to it.
    draws = th.rand(total.shape, generator=generator, device=weights.device) * total.nextafter(th.zeros_like(total))
    return (ends <= draws).sum(-1)


def entropy(probabilities: Tensor) -> Tensor:
    """``-sum_a pi(a) log pi(a)`` [...] of probabilities [..., A], in nats; its gradient is finite where pi(a) is 0."""
    return -(probabilities * probabilities.clamp(min=th.finfo(probabilities.dtype).tiny).log()).sum(-1)
