"""The parts of COMA: a centralised critic that learns step by step, and policies that learn from its advantages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor

from components.episode_buffer import EpisodeBatch
from learners.division import NewEpisodes
from learners.mixer_inputs import Grouping
from learners.optimisers import clipped_step, make_optimiser
from learners.policies import OnPolicy, drawn_policies, refuse_policy_keys
from learners.target_network import TargetNetwork
from learners.values import AgentValues, Stats, Transitions
from modules.critics import REGISTRY as critic_REGISTRY
from utils.rl_utils import expected_value_advantages, masked_mean, policy_gradient_loss, td_lambda_targets, td_loss


class StepwiseCritic:
    """A centralised critic that makes one gradient step for every time step, the last one first, as in PyMARL.

    Args:
        scheme: of the episodes.
        args: critic_q_fn (the critic), critic_lr, gamma, td_lambda, grad_norm_clip, n_actions, and what optimiser and
            target network read; the latter counts the critic's steps.
    """

    optimiser_file = "critic_opt.th"

    def __init__(self, scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace) -> None:
        self.args = args
        self.critic = critic_REGISTRY[args.critic_q_fn](scheme, args)
        self.targets = TargetNetwork.of(args)
        self.target_critic = self.targets.follow(self.critic)
        self.params = list(self.critic.parameters())
        self.optimiser = make_optimiser(args, self.params, args.critic_lr)
        self._q_values: Tensor | None = None

    def step(self, batch: EpisodeBatch, grouping: Grouping) -> Stats:
        """One gradient step for every time step that has transitions; the means of the steps' statistics."""
        step = Transitions.of(batch)
        targets = self.td_targets(batch, step)
        # The values of a time step as they were right before its gradient step; 0 where nothing counts.
        self._q_values = th.zeros_like(batch["avail_actions"], dtype=targets.dtype)
        transitions = step.mask.sum((0, 2)).tolist()  # all at once: each reading waits for the device
        steps: list[Stats] = []
        for t in reversed(range(len(transitions))):
            if transitions[t] > 0:
                now = slice(t, t + 1)
                self._q_values[:, now], stats = self._step_at(batch, t, targets[:, now], step.mask[:, now])
                steps.append(stats)
        return {key: th.stack([stats[key] for stats in steps]).mean() for key in steps[0]}

    def _step_at(self, batch: EpisodeBatch, t: int, targets: Tensor, mask: Tensor) -> tuple[Tensor, Stats]:
        """One gradient step on step ``t``; the critic's values before it, [B, 1, N, A], and statistics.

        Args:
            batch: B episodes.
            t: the time step.
            targets: of that step, [B, 1, N].
            mask: of that step, [B, 1, 1].
        """
        q_values = self.critic(batch, t)
        taken = _of_actions(q_values, batch["actions"][:, t : t + 1])
        loss = td_loss(taken, targets, mask)
        grad_norm = clipped_step(self.optimiser, self.params, loss, self.args.grad_norm_clip)
        self.targets.count_up()
        q_values, taken = q_values.detach(), taken.detach()
        return q_values, {
            "critic_loss": loss.detach(),
            "critic_grad_norm": grad_norm,
            "td_error_abs": masked_mean((taken - targets).abs(), mask),
            "q_taken_mean": masked_mean(taken, mask),
            "target_mean": masked_mean(targets, mask),
        }

    @th.no_grad()
    def td_targets(self, batch: EpisodeBatch, step: Transitions) -> Tensor:
        """TD(lambda) targets of the target critic's values of the taken actions, [B, T - 1, N]."""
        taken = _of_actions(self.target_critic(batch), batch["actions"])
        return td_lambda_targets(
            step.rewards, step.terminated, step.mask, taken[:, 1:], self.args.gamma, self.args.td_lambda
        )

    def detached(self, batch: EpisodeBatch) -> AgentValues:
        """The values of the batch of the last `step`, those of a time step as they were right before it."""
        assert self._q_values is not None
        return AgentValues(batch, self._q_values)

    def returns(self, batch: EpisodeBatch, values: AgentValues, grouping: Grouping, td_lambda: float) -> Tensor:
        """The critic's values of the taken actions stand for the returns, [B, T - 1, N]."""
        return values.taken

    def update_targets(self, episode_num: int) -> None:
        """Lets the target critic follow, if it is due by the critic's steps."""
        self.targets.update()

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds, by the names of the files."""
        return {"critic.th": self.critic, self.optimiser_file: self.optimiser}

    def cuda(self) -> None:
        """Moves all networks to the GPU."""
        self.critic.cuda()
        self.targets.cuda()


class CounterfactualPolicies(OnPolicy):
    """Policies that learn by ``A log pi_i(a)`` with the advantage ``A = Q(a) - sum_a' pi_i(a') Q(a')``.

    The controller mixes exploration into them.

    Raises:
        UserError: keys of the _ac configurations, or settings under which updates would not be on-policy.
    """

    def __init__(self, mac: Any, args: SimpleNamespace) -> None:
        refuse_policy_keys(args)
        super().__init__(mac, args)

    def improve(
        self, new: NewEpisodes, values: Callable[[], AgentValues], returns: Callable[[AgentValues], Tensor]
    ) -> Stats:
        """One step; dead agents do not count."""
        assert new.policies is not None
        loss, stats = self.loss(new.batch, new.policies, values())
        grad_norm = clipped_step(self.optimiser, self.params, loss, self.args.grad_norm_clip)
        return {"coma_loss": loss, "agent_grad_norm": grad_norm, **stats}

    def loss(self, batch: EpisodeBatch, policies: Tensor, values: AgentValues) -> tuple[Tensor, Stats]:
        """``-A log pi_i(a)``, and statistics.

        Args:
            batch: B episodes of T steps.
            policies: pi_i of every action with its gradient, [B, T, N, A].
            values: the critic's.
        """
        policies, log_probs, counted = drawn_policies(policies, batch, self.args, Transitions.of(batch).mask)
        advantages = expected_value_advantages(values.taken, values.q[:, :-1], policies)
        return policy_gradient_loss(log_probs, advantages, counted), {
            "advantage_mean": masked_mean(advantages, counted),
            "pi_max": masked_mean(policies.amax(-1), counted),
        }


def _of_actions(values: Tensor, actions: Tensor) -> Tensor:
    """The entries [B, T, N] of ``values`` [B, T, N, A] that belong to ``actions`` [B, T, N, 1]."""
    return values.gather(-1, actions).squeeze(-1)
