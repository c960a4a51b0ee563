"""Targets, returns and losses as pure functions of tensors.

Letters: B episodes, T steps, N agents, A actions. A mask is 1 where a transition counts and broadcasts
over the last dimension.
"""

from __future__ import annotations

import torch as th
from torch import Tensor

UNAVAILABLE = -9999999.0  # the value of an unavailable action: finite, so that fully masked rows stay finite


def mask_unavailable(q_values: Tensor, avail_actions: Tensor) -> Tensor:
    """``q_values`` [..., A] with every unavailable action at a value that no argmax picks."""
    return q_values.masked_fill(avail_actions == 0, UNAVAILABLE)


def transition_mask(filled: Tensor, terminated: Tensor) -> Tensor:
    """Which of the first T - 1 steps are transitions of their episode.

    A step counts if it holds data, no earlier step terminated, and it has an outcome: it terminated, or
    the step behind it holds data. The last rule drops the bootstrap-only step of an episode that a time
    limit cut before the end of the batch.

    Args:
        filled: [B, T, 1], 1 where a step holds data.
        terminated: [B, T, 1], 1 in the step that ended the episode.

    Returns:
        [B, T - 1, 1] float32.
    """
    filled, terminated = filled.float(), terminated.float()
    ended_before = terminated.cumsum(1) - terminated
    has_outcome = th.maximum(filled[:, 1:], terminated[:, :-1])
    return filled[:, :-1] * has_outcome * (ended_before[:, :-1] == 0)


def td_lambda_targets(
    rewards: Tensor, terminated: Tensor, mask: Tensor, next_values: Tensor, gamma: float, td_lambda: float
) -> Tensor:
    """TD(lambda) targets ``G_t = r_t + gamma * ((1 - lambda) * V_{t+1} + lambda * G_{t+1})``.

    ``V_{t+1}`` counts in full where ``t`` is the last transition of its episode but no termination (cut by
    a time limit), and not at all where ``t`` terminated. lambda = 0 is the one-step target, lambda = 1 the
    return. Sutton & Barto, Reinforcement Learning (2018), chapter 12.

    Args:
        rewards, terminated, mask: [B, T, 1] of the transitions.
        next_values: [B, T, X], at t the value of step t + 1.

    Returns:
        [B, T, X].
    """
    going_on = gamma * (1 - terminated.to(next_values.dtype))
    if td_lambda == 0:
        return rewards + going_on * next_values
    targets = th.empty_like(next_values)
    last = next_values.shape[1] - 1
    for t in range(last, -1, -1):
        ahead = next_values[:, t]
        if t < last:
            trace = td_lambda * mask[:, t + 1]  # the return goes on only where the next step is a transition
            ahead = (1 - trace) * ahead + trace * targets[:, t + 1]
        targets[:, t] = rewards[:, t] + going_on[:, t] * ahead
    return targets


def discounted_returns(rewards: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Returns ``R_t = sum_k gamma^k r_{t+k}`` over the rest of the episode, [B, T, 1].

    The same as TD(1) targets where every episode terminates, since then nothing bootstraps.

    Args:
        rewards, mask: [B, T, 1] of the transitions.
    """
    steps = th.arange(rewards.shape[1], device=rewards.device)
    distance = steps.unsqueeze(1) - steps  # of the reward's step from the return's
    weights = th.where(distance >= 0, gamma ** distance.clamp(min=0).to(rewards.dtype), 0.0)
    return ((rewards * mask).squeeze(-1) @ weights).unsqueeze(-1)


def build_td_lambda_targets(
    rewards: Tensor,
    terminated: Tensor,
    mask: Tensor,
    target_qs: Tensor,
    n_agents: int,
    gamma: float,
    td_lambda: float,
) -> Tensor:
    """``td_lambda_targets`` under PyMARL's name and arguments.

    Args:
        rewards, terminated, mask: [B, T - 1, 1].
        target_qs: [B, T, X], at t the value of step t.
        n_agents: not needed, kept for the plug-ins that pass it.

    Returns:
        [B, T - 1, X].
    """
    return td_lambda_targets(rewards, terminated, mask, target_qs[:, 1:], gamma, td_lambda)


def masked_mean(values: Tensor, mask: Tensor, dim: tuple[int, ...] | None = None) -> Tensor:
    """The mean of ``values`` over the entries that ``mask`` (broadcast to their shape) counts; 0 if none.

    With ``dim`` it is taken over these dimensions alone, which stay, with size 1.
    """
    mask, kept = mask.expand_as(values), dim is not None
    return (values * mask).sum(dim, keepdim=kept) / mask.sum(dim, keepdim=kept).clamp(min=1)


def standardised_advantages(advantages: Tensor, mask: Tensor) -> Tensor:
    """Advantages with mean 0 at every step, over its episodes and agents, and standard deviation 1 over all steps.

    The mean at step t is a baseline that knows the time, as what can still be earned depends on it. It compares
    episodes: at a step that one episode alone reaches, or where all returns are equal, the advantages are left with
    how agents' baselines differ. Where all advantages of each step are equal, up to rounding, they become 0, also up
    to that.

    Args:
        advantages: [B, T, N].
        mask: which count, broadcast to the shape of ``advantages``.
    """
    centred = advantages - masked_mean(advantages, mask, dim=(0, 2))
    deviation = masked_mean(centred.square(), mask).sqrt()
    size = masked_mean(advantages.square(), mask).sqrt()
    return centred / deviation.clamp(min=1e-4 * size).clamp(min=1e-8)


def td_loss(values: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Mean squared TD error; no gradient flows into the targets."""
    return masked_mean((values - targets.detach()).square(), mask)


def qtran_opt_loss(greedy_sum: Tensor, greedy_joint: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """QTRAN's loss at the greedy joint action: mean of ``(sum_i Q_i - Q_joint + V)^2``.

    First case of Eq. 3 of the VAST paper; L_opt of QTRAN (Son et al., ICML 2019). Q_joint is detached.

    Args:
        greedy_sum: sum of the values of the greedy actions, [B, T, 1].
        greedy_joint: Q_joint of the greedy joint action, [B, T, 1].
        v: V of the state, [B, T, 1].
    """
    return masked_mean((greedy_sum - greedy_joint.detach() + v).square(), mask)


def qtran_nopt_loss(taken_sum: Tensor, taken_joint: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """QTRAN's loss at the taken joint action: mean of ``min(0, sum_i Q_i - Q_joint + V)^2``.

    Second case of Eq. 3 of the VAST paper; L_nopt of QTRAN (Son et al., ICML 2019). Q_joint is detached.
    """
    return masked_mean((taken_sum - taken_joint.detach() + v).clamp(max=0).square(), mask)


def expected_value_advantages(returns: Tensor, q_values: Tensor, policies: Tensor) -> Tensor:
    """``A_hat = R_t - sum_a pi_i(a) Q_i(a)``, the advantage of actors and of Eq. 6 of the VAST paper.

    Args:
        returns: R_t, [B, T, 1] or [B, T, N].
        q_values: Q_i of every action, [B, T, N, A].
        policies: pi_i of every action, [B, T, N, A].

    Returns:
        [B, T, N].
    """
    return returns - (policies * q_values).sum(-1)


def policy_gradient_loss(log_probs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """A loss whose negative gradient is the mean of ``A_hat * grad log p`` (REINFORCE).

    With p = X(k | i, tau, s) it is Eq. 6 of the VAST paper, with p = pi_i(a | tau) the gradient of the local policies.

    Args:
        log_probs: log p of what was drawn, [B, T, N].
        advantages: A_hat, [B, T, N]; detached.
        mask: [B, T, N], 1 where the transition counts and the agent lives.
    """
    return -masked_mean(log_probs * advantages.detach(), mask)


def gradient_snr(gradients: Tensor) -> Tensor:
    """Signal to noise ``n |mean g|^2 / trace Cov(g)`` of n independent gradients [n, P], one number.

    Without a signal, that is with an expected gradient of zero, numerator and denominator are equal in the mean. It is
    0 where all are 0. A single gradient has no covariance: n is at least 2.
    """
    noise = gradients.var(0, unbiased=True).sum()
    return len(gradients) * gradients.mean(0).square().sum() / noise.clamp(min=th.finfo(noise.dtype).tiny)
