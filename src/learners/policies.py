"""What agents act on, and how that is improved, in the two training regimes.

*Value-based* (PyMARL's): agents act greedily on Q_i, up to epsilon; replay, double Q-learning.
*Actor-critic* (section 5.2 of the VAST paper): agents act by local policies pi_i, on-policy, with Q_i as their critic.

Values, losses and division are the same in both.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor, nn

from components.agent_inputs import living_agents
from components.episode_buffer import EpisodeBatch
from components.probabilities import available_probs, entropy, epsilon_greedy_probs
from components.unroll import unroll
from controllers import REGISTRY as mac_REGISTRY
from learners.division import NewEpisodes
from learners.optimisers import clipped_step, make_optimiser
from learners.values import AgentValues, Stats, Transitions
from utils.errors import UserError
from utils.rl_utils import expected_value_advantages, masked_mean, policy_gradient_loss, standardised_advantages


class EpsilonGreedy:
    """How agents act, and the improvement of that; here greedily on Q_i up to epsilon, so there is nothing to improve.

    Attributes:
        on_policy: whether every update has to see all episodes played since the last one, and no others.

    Raises:
        UserError: keys of `ActorCritic` alone.
    """

    on_policy = False

    def __init__(self, mac: Any, args: SimpleNamespace) -> None:
        refuse_policy_keys(args)
        self.mac = mac

    def next_actions(self, batch: EpisodeBatch, values: AgentValues, target_q: Tensor, double_q: bool) -> Tensor:
        """The actions from whose values targets bootstrap, [B, T - 1, N, 1]: the best of the steps ahead.

        Args:
            batch: B episodes of T steps.
            values: of the critic.
            target_q: the target critic's values of every action, [B, T, N, A].
            double_q: whether the critic picks the best actions; else the target critic does.
        """
        picked = values if double_q else AgentValues(batch, target_q)
        return picked.greedy_actions[:, 1:]

    @th.no_grad()
    def probabilities(self, batch: EpisodeBatch, epsilon: Tensor | float) -> Tensor:
        """pi_i of every action [B, T, N, A], greedy up to epsilon, a float or [B, 1, 1, 1]."""
        return epsilon_greedy_probs(unroll(self.mac, batch, False)[0], batch["avail_actions"], epsilon)

    def improve(
        self, new: NewEpisodes, values: Callable[[], AgentValues], returns: Callable[[AgentValues], Tensor]
    ) -> Stats:
        """One step of the policies, if they learn; statistics.

        Args:
            new: episodes that they played.
            values: gives Q_i as they are now.
            returns: gives R_t, [B, T - 1, 1] or [B, T - 1, N], for such values.
        """
        return {}

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds beside the acting controller, by the names of the files."""
        return {}


class OnPolicy(EpsilonGreedy):
    """Policies of their own, which learn from the episodes that they have just played.

    Args:
        mac: the controller whose agents' policies learn.
        args: lr, grad_norm_clip, and what the optimiser reads.

    Raises:
        UserError: settings under which updates would not be on-policy.
    """

    on_policy = True

    def __init__(self, mac: Any, args: SimpleNamespace) -> None:
        check_on_policy(args)
        self.mac, self.args = mac, args
        self.params = list(mac.parameters())
        self.optimiser = make_optimiser(args, self.params, args.lr)

    def next_actions(self, batch: EpisodeBatch, values: AgentValues, target_q: Tensor, double_q: bool) -> Tensor:
        """Those that the policies drew."""
        return batch["actions"][:, 1:]

    def probabilities(self, batch: EpisodeBatch, epsilon: Tensor | float) -> Tensor:
        """With their gradient. They hold all exploration: ``epsilon`` adds nothing to them."""
        return acting_policies(self.mac, batch)

    def parts(self) -> dict[str, Any]:
        return {"agent_opt.th": self.optimiser}


class ActorCritic(OnPolicy):
    """Local policies that learn by ``(R_t - sum_a pi_i(a) Q_i(a)) grad log pi_i`` (section 5.2 of the VAST paper).

    Two things that are not in the paper: ``standardise_advantages`` (`standardised_advantages`), and ``entropy_coef``,
    the weight of the policies' mean entropy, which is maximised as well.

    Args:
        mac: the controller whose agents' policies learn.
        args: also policy_grad_norm_clip (null: grad_norm_clip), standardise_advantages, entropy_coef.

    Raises:
        UserError: also standardise_advantages with one episode an update; an entropy_coef that is no weight.
    """

    def __init__(self, mac: Any, args: SimpleNamespace) -> None:
        super().__init__(mac, args)
        _check_policy_keys(args)
        own_norm = args.policy_grad_norm_clip
        self.max_norm = args.grad_norm_clip if own_norm is None else own_norm

    def improve(
        self, new: NewEpisodes, values: Callable[[], AgentValues], returns: Callable[[AgentValues], Tensor]
    ) -> Stats:
        """One step; dead agents do not count."""
        assert new.policies is not None
        present, mask = values(), Transitions.of(new.batch).mask
        entropies = entropy(new.policies[:, :-1])  # with a gradient, which the next line cuts off
        policies, log_probs, counted = drawn_policies(new.policies, new.batch, self.args, mask)
        advantages = expected_value_advantages(returns(present), present.q[:, :-1], policies)
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


def make_critic(scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace, one_value: bool = False) -> Any:
    """A controller with fresh networks like the acting one's, whose outputs are values: a local critic.

    Args:
        scheme: of the episodes.
        args: what the controller reads.
        one_value: whether an agent gets one value of its history alone, instead of one for every action.
    """
    critic_args = copy.copy(args)
    critic_args.agent_output_type, critic_args.action_selector = "q", "epsilon_greedy"
    if one_value:
        critic_args.n_actions = 1
    critic = mac_REGISTRY[args.mac](scheme, {"agents": args.n_agents}, critic_args)
    if not isinstance(getattr(critic, "agent", None), nn.Module):
        raise UserError(f"mac: a second critic needs a controller whose network is its agent, got {args.mac}")
    return critic
