"""COMA: policies that learn from counterfactual advantages of a centralised critic (Foerster et al., AAAI 2018)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor

from components.checkpoint import load_state, save_state
from components.episode_buffer import EpisodeBatch
from learners.base import Learner, Stats
from learners.optimisers import clipped_step, make_optimiser
from learners.regimes import acting_policies, check_on_policy, drawn_policies, refuse_policy_keys
from learners.values import Transitions
from modules.critics import REGISTRY as critic_REGISTRY
from utils.errors import UserError
from utils.logging import Logger
from utils.rl_utils import (
    expected_value_advantages,
    masked_mean,
    policy_gradient_loss,
    td_lambda_targets,
    td_loss,
)


class COMALearner(Learner):
    """Trains a critic of every agent's actions, step by step, and then the policies on its advantages, as in PyMARL.

    Args:
        mac: the controller whose agents' policies learn.
        scheme: of the episodes.
        logger: receives the statistics.
        args: critic_q_fn (the critic), lr of the policies, critic_lr, gamma, td_lambda, target_update_interval (in
            steps of the critic's optimiser) and what the optimiser and the controller read.

    Raises:
        UserError: agents that put out values, a mixer, keys of the _ac configurations, or settings under which updates
            would not be on-policy.
    """

    def __init__(
        self, mac: Any, scheme: Mapping[str, Mapping[str, Any]], logger: Logger, args: SimpleNamespace
    ) -> None:
        _check_settings(args)
        super().__init__(logger, args)
        self.mac = mac
        self.critic = critic_REGISTRY[args.critic_q_fn](scheme, args)
        self.target_critic = copy.deepcopy(self.critic)
        self.agent_params = list(mac.parameters())
        self.critic_params = list(self.critic.parameters())
        self.agent_optimiser = make_optimiser(args, self.agent_params, args.lr)
        self.critic_optimiser = make_optimiser(args, self.critic_params, args.critic_lr)
        self.critic_training_steps = 0
        self.last_target_update_step = 0

    # --- one update ---

    def train(self, batch: EpisodeBatch, t_env: int, episode_num: int) -> None:
        """One gradient step of the critic for every time step, then one of the policies.

        Args:
            batch: B episodes, cut to their longest, played by the present policies.
            t_env: environment steps so far.
            episode_num: episodes so far.
        """
        step = Transitions.of(batch)
        q_values, critic_stats = self._train_critic(batch, step)
        loss, policy_stats = self._policy_loss(batch, q_values, step.mask)
        grad_norm = clipped_step(self.agent_optimiser, self.agent_params, loss, self.args.grad_norm_clip)
        self._update_targets_if_due()
        self._log_if_due({**critic_stats, "coma_loss": loss, "agent_grad_norm": grad_norm, **policy_stats}, t_env)

    # --- the critic ---

    def _train_critic(self, batch: EpisodeBatch, step: Transitions) -> tuple[Tensor, Stats]:
        """One gradient step of the critic for every time step that has transitions, the last one first.

        Returns:
            The critic's values [B, T - 1, N, A], those of a time step as they were right before its gradient step, 0
            where nothing counts; and the means of the steps' statistics.
        """
        targets = self._targets(batch, step)
        q_values = targets.new_zeros(*targets.shape, self.args.n_actions)
        transitions = step.mask.sum((0, 2)).tolist()  # all at once: each reading waits for the device
        steps: list[Stats] = []
        for t in reversed(range(len(transitions))):
            if transitions[t] > 0:
                now = slice(t, t + 1)
                q_values[:, now], stats = self._critic_step(batch, t, targets[:, now], step.mask[:, now])
                steps.append(stats)
        return q_values, {key: th.stack([stats[key] for stats in steps]).mean() for key in steps[0]}

    def _critic_step(self, batch: EpisodeBatch, t: int, targets: Tensor, mask: Tensor) -> tuple[Tensor, Stats]:
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
        grad_norm = clipped_step(self.critic_optimiser, self.critic_params, loss, self.args.grad_norm_clip)
        self.critic_training_steps += 1
        q_values, taken = q_values.detach(), taken.detach()
        return q_values, {
            "critic_loss": loss.detach(),
            "critic_grad_norm": grad_norm,
            "td_error_abs": masked_mean((taken - targets).abs(), mask),
            "q_taken_mean": masked_mean(taken, mask),
            "target_mean": masked_mean(targets, mask),
        }

    @th.no_grad()
    def _targets(self, batch: EpisodeBatch, step: Transitions) -> Tensor:
        """TD(lambda) targets of the target critic's values of the taken actions, [B, T - 1, N]."""
        taken = _of_actions(self.target_critic(batch), batch["actions"])
        return td_lambda_targets(
            step.rewards, step.terminated, step.mask, taken[:, 1:], self.args.gamma, self.args.td_lambda
        )

    # --- the policies ---

    def _policy_loss(self, batch: EpisodeBatch, q_values: Tensor, mask: Tensor) -> tuple[Tensor, Stats]:
        """``-A log pi_i(a)`` with the counterfactual advantage ``A = Q(a) - sum_a' pi_i(a') Q(a')``; statistics.

        Dead agents do not count.

        Args:
            batch: B episodes of T steps.
            q_values: the critic's, [B, T - 1, N, A].
            mask: which transitions count, [B, T - 1, 1].
        """
        policies, log_probs, counted = drawn_policies(acting_policies(self.mac, batch), batch, self.args, mask)
        taken = _of_actions(q_values, batch["actions"][:, :-1])
        advantages = expected_value_advantages(taken, q_values, policies)
        return policy_gradient_loss(log_probs, advantages, counted), {
            "advantage_mean": masked_mean(advantages, counted),
            "pi_max": masked_mean(policies.amax(-1), counted),
        }

    # --- target network, device, files ---

    def _update_targets_if_due(self) -> None:
        if self.critic_training_steps - self.last_target_update_step >= self.args.target_update_interval:
            self._update_targets()
            self.last_target_update_step = self.critic_training_steps

    def _update_targets(self) -> None:
        self.target_critic.load_state_dict(self.critic.state_dict())

    def cuda(self) -> None:
        """Moves all networks to the GPU."""
        self.mac.cuda()
        self.critic.cuda()
        self.target_critic.cuda()

    def save_models(self, path: str) -> None:
        """Writes ``agent.th``, ``critic.th``, ``agent_opt.th`` and ``critic_opt.th`` into the folder ``path``."""
        self.mac.save_models(path)
        for part, name in self._files():
            save_state(part, path, name)

    def load_models(self, path: str) -> None:
        """Reads what `save_models` wrote; the target critic becomes a copy of the loaded one."""
        self.mac.load_models(path)
        for part, name in self._files():
            load_state(part, path, name)
        self._update_targets()

    def _files(self) -> tuple[tuple[Any, str], ...]:
        """What a checkpoint holds beside the agents, and the names of its files."""
        return (
            (self.critic, "critic.th"),
            (self.agent_optimiser, "agent_opt.th"),
            (self.critic_optimiser, "critic_opt.th"),
        )


def _check_settings(args: SimpleNamespace) -> None:
    if args.agent_output_type != "pi_logits":
        raise UserError(f"agent_output_type: coma_learner needs pi_logits, got {args.agent_output_type}")
    if args.mixer not in (None, "none"):
        raise UserError(f"mixer: coma_learner takes none, got {args.mixer}")
    refuse_policy_keys(args)
    check_on_policy(args)


def _of_actions(values: Tensor, actions: Tensor) -> Tensor:
    """The entries [B, T, N] of ``values`` [B, T, N, A] that belong to ``actions`` [B, T, N, 1]."""
    return values.gather(-1, actions).squeeze(-1)
