"""X's learning: the meta-gradient (Eq. 6 of the VAST paper) on the newest episodes."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor

from assigners.base import Assigner, Assignment
from components.episode_buffer import EpisodeBatch, concatenate
from learners.optimisers import clipped_step
from learners.values import AgentValues, Stats, Transitions
from utils.errors import UserError
from utils.rl_utils import expected_value_advantages, gradient_snr, masked_mean, policy_gradient_loss


class MetaGradient:
    """Steps of an assigner along ``g = A_hat * grad log X(k | i, tau, s)``, ``A_hat = R_t - sum_a pi_i(a) Q_i(a)``.

    Args:
        assigner: X; without parameters there is nothing to learn.
        args: assigner_lr, assigner_grad_norm_clip, assigner_baseline (whether the Q_i of A_hat are those before or
            after the update of the values).
    """

    def __init__(self, assigner: Assigner, args: SimpleNamespace) -> None:
        if args.assigner_baseline not in ("before", "after"):
            raise UserError(f"assigner_baseline: expected before or after, got {args.assigner_baseline!r}")
        self.assigner = assigner
        self.baseline = args.assigner_baseline
        self.params = list(assigner.parameters())
        self.optimiser = th.optim.Adam(self.params, lr=args.assigner_lr) if self.params else None
        self.max_norm = args.assigner_grad_norm_clip

    def step(
        self,
        batch: EpisodeBatch,
        assignment: Assignment,
        policies: Tensor,
        values: AgentValues,
        returns: Tensor,
        log_snr: bool,
    ) -> Stats:
        """One step; statistics.

        Args:
            batch: the newest episodes, B of T steps.
            assignment: their sub-teams, with log X.
            policies: that acted in them, [B, T, N, A].
            values: Q_i of A_hat.
            returns: R_t, [B, T - 1, 1]: bootstrapped where a time limit cut.
            log_snr: whether the statistics hold the gradient's signal to noise, which takes several episodes, and a
                backward pass for each.
        """
        assert assignment.log_probs is not None
        advantages = self.advantages(policies, values, returns)
        counted = Transitions.of(batch).mask * self.assigner.alive(batch)[:, :-1]
        snr: Stats = {}
        if log_snr and batch.batch_size > 1:
            snr["assigner_snr"] = self._snr(batch, assignment, advantages, counted)
        return snr | self.update(assignment, advantages, counted)

    @staticmethod
    def advantages(policies: Tensor, values: AgentValues, returns: Tensor) -> Tensor:
        """A_hat of Eq. 6, [B, T - 1, N]: returns minus expected values; arguments as for `step`."""
        return expected_value_advantages(returns, values.q[:, :-1], policies.detach()[:, :-1])

    def update(self, assignment: Assignment, advantages: Tensor, counted: Tensor) -> Stats:
        """One step along Eq. 6, with A_hat and what counts of it, [B, T - 1, N] each; statistics."""
        assert assignment.log_probs is not None and assignment.entropy is not None and self.optimiser is not None
        loss = policy_gradient_loss(assignment.log_probs[:, :-1], advantages, counted)
        grad_norm = clipped_step(self.optimiser, self.params, loss, self.max_norm)
        return {
            "assigner_loss": loss,
            "assigner_grad_norm": grad_norm,
            "assigner_advantage": masked_mean(advantages, counted),
            "assigner_entropy": masked_mean(assignment.entropy[:, :-1], counted),
        }

    def _snr(self, batch: EpisodeBatch, assignment: Assignment, advantages: Tensor, counted: Tensor) -> Tensor:
        """Signal to noise of Eq. 6, from the gradients of single episodes; arguments as for `step` and `update`."""
        assert assignment.log_probs is not None
        gradients = []
        for episode in range(batch.batch_size):
            here = slice(episode, episode + 1)
            anew = self.assigner.log_probs(batch[here], assignment.subteams[here])
            log_probs = assignment.log_probs[here] if anew is None else anew
            objective = (log_probs[:, :-1] * advantages[here] * counted[here]).sum()
            parts = th.autograd.grad(
                objective, self.params, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            gradients.append(th.cat([part.flatten() for part in parts]))
        return gradient_snr(th.stack(gradients))

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds of an assigner that learns, by the names of the files."""
        return {} if self.optimiser is None else {"assigner.th": self.assigner, "assigner_opt.th": self.optimiser}


class NewestEpisodes:
    """The newest rollouts that together hold ``size`` episodes, so that a long wait costs no memory.

    Args:
        size: episodes.
        scheme, groups: of the episodes.
    """

    def __init__(self, size: int, scheme: Mapping[str, Mapping[str, Any]], groups: Mapping[str, int]) -> None:
        self._size, self._scheme, self._groups = size, scheme, groups
        self._kept: list[tuple[EpisodeBatch, float]] = []

    def add(self, batch: EpisodeBatch, epsilon: float) -> None:
        """Takes in the episodes of a rollout, played with exploration ``epsilon``."""
        self._kept.append((batch[:, : batch.max_t_filled()], epsilon))
        while len(self._kept) > 1 and sum(kept.batch_size for kept, _ in self._kept[1:]) >= self._size:
            self._kept.pop(0)

    def take(self) -> tuple[EpisodeBatch, Tensor] | None:
        """The episodes as one batch, and the epsilon of each, [B, 1, 1, 1]; None if there are none. Forgets them."""
        if not self._kept:
            return None
        batch = concatenate([episodes for episodes, _ in self._kept])
        epsilons = [epsilon for episodes, epsilon in self._kept for _ in range(episodes.batch_size)]
        self._kept = []
        return batch, th.tensor(epsilons).view(-1, 1, 1, 1)

    def state_dict(self) -> dict[str, Any]:
        """The rollouts that wait."""
        return {"rollouts": [{**vars(batch.data), "epsilon": epsilon} for batch, epsilon in self._kept]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self._kept = [(self._batch(rollout), rollout["epsilon"]) for rollout in state["rollouts"]]

    def _batch(self, rollout: Mapping[str, Any]) -> EpisodeBatch:
        data = SimpleNamespace(transition_data=rollout["transition_data"], episode_data=rollout["episode_data"])
        batch_size, length = data.transition_data["filled"].shape[:2]
        return EpisodeBatch(self._scheme, self._groups, batch_size, length, data)
