"""The two training regimes: what agents act on, and where the values Q_i that mixers factorize come from.

*Value-based* (PyMARL's): agents act greedily on Q_i, up to epsilon; replay, double Q-learning.
*Actor-critic* (section 5.2 of the VAST paper): agents act by local policies pi_i, on-policy, with Q_i as their critic.

A learner's mixing, losses and assigner are the same in both.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor, nn

from components.agent_inputs import living_agents
from components.checkpoint import load_state, save_state
from components.episode_buffer import EpisodeBatch
from components.unroll import unroll
from controllers import REGISTRY as mac_REGISTRY
from learners.optimisers import clipped_step, make_optimiser
from learners.values import AgentValues
from utils.errors import UserError
from utils.rl_utils import (
    available_probs,
    entropy,
    epsilon_greedy_probs,
    expected_value_advantages,
    masked_mean,
    policy_gradient_loss,
    standardised_advantages,
)


class ValueBased:
    """The controller that acts is the one whose outputs are Q_i.

    Attributes:
        critic: the controller whose outputs are Q_i.
        lr: learning rate of critic and mixer.
        optimiser_file: of the critic's and mixer's optimiser in a checkpoint.

    Raises:
        UserError: keys of `ActorCritic` alone.
    """

    on_policy = False
    optimiser_file = "opt.th"

    def __init__(self, mac: Any, args: SimpleNamespace) -> None:
        refuse_policy_keys(args)
        self.mac = self.critic = mac
        self.lr = args.lr

    def next_actions(self, batch: EpisodeBatch, values: AgentValues, target_q: Tensor, double_q: bool) -> Tensor:
        """The actions from whose values targets bootstrap, [B, T - 1, N, 1]: the best of the steps ahead.

        Args:
            batch: B episodes of T steps.
            values: of the critic.
            target_q: the target critic's values of every action, [B, T, N, A].
            double_q: whether the critic picks the best actions; else the target critic does.
        """
        picked = values if double_q else AgentValues(batch, target_q, None)
        return picked.greedy_actions[:, 1:]

    @th.no_grad()
    def policies(self, batch: EpisodeBatch, epsilon: Tensor | float) -> Tensor:
        """pi_i of every action, [B, T, N, A]: greedy in the present values up to epsilon [B, 1, 1, 1]."""
        return epsilon_greedy_probs(unroll(self.mac, batch, False)[0], batch["avail_actions"], epsilon)

    def cuda(self) -> None:
        """Moves all networks to the GPU."""
        self.mac.cuda()

    def save_models(self, path: str) -> None:
        """Writes ``agent.th`` into the folder ``path``."""
        self.mac.save_models(path)

    def load_models(self, path: str) -> None:
        """Reads what `save_models` wrote."""
        self.mac.load_models(path)


class ActorCritic:
    """The controller that acts holds policies; Q_i come from a second controller of the same kind, the critic.

    Args:
        mac: the controller whose agents' policies learn.
        scheme: of the episodes.
        args: also lr of the policies, critic_lr of critic and mixer, policy_grad_norm_clip (of the policies; null: as
            for the values), standardise_advantages, entropy_coef, critic_output (q, or v: a value of the agent's
            history alone stands for the values of all its actions).

    Attributes:
        critic, lr, optimiser_file: as in `ValueBased`.

    Raises:
        UserError: settings under which updates would not be on-policy; standardise_advantages with one episode an
            update; an entropy_coef that is negative or not finite.
    """

    on_policy = True
    optimiser_file = "critic_opt.th"

    def __init__(self, mac: Any, scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace) -> None:
        check_on_policy(args)
        _check_policy_keys(args)
        self.mac = mac
        self.args = args
        self.critic = _make_critic(scheme, args)
        self.lr = args.critic_lr
        self.params = list(mac.parameters())
        self.optimiser = make_optimiser(args, self.params, args.lr)
        own_norm = args.policy_grad_norm_clip
        self.max_norm = args.grad_norm_clip if own_norm is None else own_norm

    def next_actions(self, batch: EpisodeBatch, values: AgentValues, target_q: Tensor, double_q: bool) -> Tensor:
        """The actions from whose values targets bootstrap, [B, T - 1, N, 1]: those that the policies drew."""
        return batch["actions"][:, 1:]

    def policies(self, batch: EpisodeBatch, epsilon: Tensor | float) -> Tensor:
        """pi_i of every action, with their gradient, [B, T, N, A].

        They hold all exploration: ``epsilon`` adds nothing to them.
        """
        return acting_policies(self.mac, batch)

    def improve(
        self, batch: EpisodeBatch, policies: Tensor, returns: Tensor, q_values: Tensor, mask: Tensor
    ) -> dict[str, Tensor]:
        """One step of the policies along ``(R_t - sum_a pi_i(a) Q_i(a)) grad log pi_i``.

        Section 5.2 of the VAST paper: local actor-critic learning with Q_i as critic. Dead agents do not count; returns
        statistics. Two things that are not in the paper: ``standardise_advantages`` (`standardised_advantages`), and
        ``entropy_coef``, the weight of the policies' mean entropy, which is maximised as well.

        Args:
            batch: B episodes of T steps, played by the present policies.
            policies: what `policies` gave for them.
            returns: R_t, [B, T - 1, 1] or [B, T - 1, N].
            q_values: Q_i of every action, [B, T, N, A].
            mask: which transitions count, [B, T - 1, 1].
        """
        entropies = entropy(policies[:, :-1])  # with a gradient, which the next line cuts off
        policies, log_probs, counted = drawn_policies(policies, batch, self.args, mask)
        advantages = expected_value_advantages(returns, q_values[:, :-1], policies)
        weights = standardised_advantages(advantages, counted) if self.args.standardise_advantages else advantages
        mean_entropy = masked_mean(entropies, counted)
        loss = policy_gradient_loss(log_probs, weights, counted)
        if self.args.entropy_coef > 0:
            loss = loss - self.args.entropy_coef * mean_entropy
        grad_norm = clipped_step(self.optimiser, self.params, loss, self.max_norm)
        return {
            "policy_loss": loss,
            "policy_grad_norm": grad_norm,
            "policy_advantage": masked_mean(advantages, counted),
            "policy_entropy": mean_entropy.detach(),
        }

    def cuda(self) -> None:
        """Moves all networks to the GPU."""
        self.mac.cuda()
        self.critic.cuda()

    def save_models(self, path: str) -> None:
        """Writes ``agent.th`` (the policies), ``critic.th`` and ``agent_opt.th`` into the folder ``path``."""
        self.mac.save_models(path)
        save_state(self.critic.agent, path, "critic.th")
        save_state(self.optimiser, path, "agent_opt.th")

    def load_models(self, path: str) -> None:
        """Reads what `save_models` wrote."""
        self.mac.load_models(path)
        load_state(self.critic.agent, path, "critic.th")
        load_state(self.optimiser, path, "agent_opt.th")


def make_regime(mac: Any, scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace) -> ValueBased | ActorCritic:
    """The regime that goes with what the agents put out: values, or policies."""
    return ActorCritic(mac, scheme, args) if args.agent_output_type == "pi_logits" else ValueBased(mac, args)


def refuse_policy_keys(args: SimpleNamespace) -> None:
    """Raises UserError if a key of `ActorCritic` alone is set in a run that has another way of learning."""
    for key, off in (("standardise_advantages", False), ("entropy_coef", 0.0)):
        value = getattr(args, key)
        if value != off:
            raise UserError(
                f"{key}: expected {off}, got {value}: no part of this run has it, policies with Q_i as their critic do "
                "(the _ac configurations)"
            )


def acting_policies(mac: Any, batch: EpisodeBatch) -> Tensor:
    """pi_i of every action, [B, T, N, A], as actions are drawn from them: unavailable ones have probability 0."""
    return available_probs(unroll(mac, batch, False)[0], batch["avail_actions"])


def drawn_policies(
    policies: Tensor, batch: EpisodeBatch, args: SimpleNamespace, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What a policy gradient is made of, for the T - 1 transitions of a batch.

    Args:
        policies: pi_i of every action, [B, T, N, A].
        batch: B episodes of T steps.
        args: agent_alive_index.
        mask: which transitions count, [B, T - 1, 1].

    Returns:
        pi_i of every action [B, T - 1, N, A] (no gradient), log pi_i of the actions that were drawn [B, T - 1, N], and
        which of these count [B, T - 1, N]: those of living agents.
    """
    policies, counted = policies[:, :-1], mask * living_agents(batch, args)[:, :-1]
    drawn = policies.gather(-1, batch["actions"][:, :-1]).squeeze(-1)
    # Steps behind an episode's end hold no action that was drawn: their probability may be 0, its logarithm not.
    return policies.detach(), th.where(counted > 0, drawn, 1.0).log(), counted


def check_on_policy(args: SimpleNamespace) -> None:
    """Raises UserError unless every update sees all episodes played since the last one, and no others."""
    if args.evaluate:
        return  # there are no updates
    due = args.episodes_per_update or args.batch_size_run
    if due % args.batch_size_run:
        raise UserError(
            f"batch_size_run={args.batch_size_run}: policies learn on-policy, so expected a divisor of "
            f"episodes_per_update={due}: a rollout must not reach beyond an update"
        )
    if not args.batch_size == args.buffer_size == due:
        key = "batch_size_run" if args.episodes_per_update is None else "episodes_per_update"
        raise UserError(
            f"batch_size={args.batch_size}: policies learn on-policy, from all new episodes and no others, so expected "
            f"one number for batch_size, buffer_size (here {args.buffer_size}) and {key} (here {due})"
        )


def _check_policy_keys(args: SimpleNamespace) -> None:
    """Raises UserError if standardise_advantages or entropy_coef is set to what the policies cannot learn by."""
    if args.standardise_advantages and args.batch_size < 2 and not args.evaluate:
        raise UserError(
            f"batch_size={args.batch_size}: standardise_advantages compares the episodes of an update with each other, "
            "so expected at least 2"
        )
    if not 0 <= args.entropy_coef < math.inf:
        raise UserError(f"entropy_coef: expected a finite number of at least 0, got {args.entropy_coef}")


def _make_critic(scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace) -> Any:
    """A controller with fresh networks like the acting one's, whose outputs are values."""
    if args.critic_output not in ("q", "v"):
        raise UserError(f"critic_output: expected q or v, got {args.critic_output!r}")
    critic_args = copy.copy(args)
    critic_args.agent_output_type, critic_args.action_selector = "q", "epsilon_greedy"
    if args.critic_output == "v":
        critic_args.n_actions = 1
    critic = mac_REGISTRY[args.mac](scheme, {"agents": args.n_agents}, critic_args)
    if not isinstance(getattr(critic, "agent", None), nn.Module):
        raise UserError(f"mac: policies with a critic need a controller whose network is its agent, got {args.mac}")
    return critic
