"""VAST: learning agents' Q-values through variable sub-teams (Algorithm 1 of Phan et al., NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor, nn

from assigners import REGISTRY as assigner_REGISTRY
from assigners.base import Assignment
from assigners.division import DivisionDiversity, division_stats, member_counts
from components.checkpoint import load_state, save_state
from components.episode_buffer import EpisodeBatch, concatenate
from learners.base import Stats
from learners.optimisers import clipped_step
from learners.q_learner import QLearner
from learners.values import AgentValues, Transitions
from modules.mixers import REGISTRY as mixer_REGISTRY
from modules.mixers.vast_mixer import VastMixer
from utils.errors import UserError
from utils.logging import Logger
from utils.rl_utils import expected_value_advantages, gradient_snr, masked_mean, policy_gradient_loss


class VastLearner(QLearner):
    """`QLearner` whose mixer is a `VastMixer` and whose sub-teams come from an assigner.

    The sub-teams of replayed episodes are assigned anew at every update. An assigner that learns is updated after
    the values, on the newest episodes only (on-policy; line 18 of Algorithm 1). In the actor-critic regime the batch is
    the newest episodes, so values and assigner learn from the same sub-teams.

    Sub-classes that want another loss replace `_value_loss`, which gets the sub-teams too.

    Args:
        mac, scheme, logger: as for `QLearner`.
        args: also assigner, eta, subteam_mixer, assigner_lr, assigner_grad_norm_clip, assigner_baseline (whether the
            Q_i of Eq. 6 are those before or after the update of the values), train_on_newest.
    """

    mixer: VastMixer
    target_mixer: VastMixer

    def __init__(
        self, mac: Any, scheme: Mapping[str, Mapping[str, Any]], logger: Logger, args: SimpleNamespace
    ) -> None:
        if args.assigner_baseline not in ("before", "after"):
            raise UserError(f"assigner_baseline: expected before or after, got {args.assigner_baseline!r}")
        super().__init__(mac, scheme, logger, args)
        self.assigner = assigner_REGISTRY[args.assigner](scheme, args)
        self.assigner_params = list(self.assigner.parameters())
        if self.assigner_params:
            self.assigner_optimiser = th.optim.Adam(self.assigner_params, lr=args.assigner_lr)
        self.diversity = DivisionDiversity()
        self._newest: list[tuple[EpisodeBatch, float]] = []

    def _build_mixer(self) -> nn.Module:
        mixer = mixer_REGISTRY[self.args.mixer](self.args) if self.args.mixer is not None else None
        if not isinstance(mixer, VastMixer):
            raise UserError(
                f"mixer: vast_learner needs vast_mixer, got {self.args.mixer}; name the inner mixer in subteam_mixer"
            )
        return mixer

    # --- the newest episodes ---

    def observe(self, batch: EpisodeBatch, t_env: int, episode_num: int) -> None:
        """Takes in training episodes right after their collection; the next `train` updates the assigner on them.

        Keeps the newest rollouts that together hold ``batch_size`` episodes, so that a long wait for the first update
        costs no memory. On-policy the batch of the next update holds them anyway.
        """
        if self.regime.on_policy:
            return
        # A plug-in's selector may have no epsilon: its policy counts as greedy.
        epsilon = float(getattr(self.mac.action_selector, "epsilon", 0.0))
        self._newest.append((batch[:, : batch.max_t_filled()], epsilon))
        while len(self._newest) > 1 and sum(kept.batch_size for kept, _ in self._newest[1:]) >= self.args.batch_size:
            self._newest.pop(0)

    def _take_newest(self) -> tuple[EpisodeBatch, Tensor] | None:
        """The observed episodes as one batch, and the epsilon of each, [B, 1, 1, 1]; None if there are none."""
        if not self._newest:
            return None
        batch = concatenate([episodes for episodes, _ in self._newest]).to(self._device)
        epsilons = [epsilon for episodes, epsilon in self._newest for _ in range(episodes.batch_size)]
        self._newest = []
        return batch, th.tensor(epsilons, device=self._device).view(-1, 1, 1, 1)

    @property
    def _device(self) -> th.device:
        return self.params[0].device

    # --- one update ---

    def train(self, batch: EpisodeBatch, t_env: int, episode_num: int) -> None:
        """One step of agents and mixer on a batch of episodes, then one of the assigner on the newest episodes."""
        newest: tuple[EpisodeBatch, Tensor | float] | None
        newest = (batch, 0.0) if self.regime.on_policy else self._take_newest()
        if newest is None:
            super().train(batch, t_env, episode_num)
            return
        episodes, epsilon = newest
        assignment = self.assigner(episodes)
        learns = assignment.log_probs is not None
        # Before the values change: pi_i of Eq. 6 is the policy that acted.
        policies = self.regime.policies(episodes, epsilon) if learns or self.regime.on_policy else None
        before = self._present_values(episodes) if learns and self.args.assigner_baseline == "before" else None
        loss, stats = self._value_loss(*self._training_episodes(batch, episodes, assignment))
        grad_norm = self._step(loss)
        wanted = self.regime.on_policy or (learns and before is None)
        after = self._present_values(episodes) if wanted else None
        baseline = after if before is None else before
        stats |= self._learn_from_newest(episodes, assignment, policies, baseline, log_snr=self._log_is_due(t_env))
        stats |= self._improve_policies(batch, (assignment.subteams,), after, policies)
        self._update_targets_if_due(episode_num)
        self._log_if_due({"loss": loss, "grad_norm": grad_norm, **stats}, t_env)

    def _loss(self, batch: EpisodeBatch) -> tuple[Tensor, Stats]:
        return self._value_loss(batch, self._draw_subteams(batch))

    def _draw_subteams(self, batch: EpisodeBatch) -> Tensor:
        with th.no_grad():
            return self.assigner(batch).subteams

    def _training_episodes(
        self, batch: EpisodeBatch, newest: EpisodeBatch, assignment: Assignment
    ) -> tuple[EpisodeBatch, Tensor]:
        """The episodes of the value update and their sub-teams: the batch, plus the newest if ``train_on_newest``."""
        if newest is batch:
            return batch, assignment.subteams
        subteams = self._draw_subteams(batch)
        if not self.args.train_on_newest:
            return batch, subteams
        joined = concatenate([batch, newest])
        parts = [_pad_steps(part, joined.max_seq_length) for part in (subteams, assignment.subteams)]
        return joined, th.cat(parts)

    def _value_loss(self, batch: EpisodeBatch, subteams: Tensor) -> tuple[Tensor, Stats]:
        loss, stats = self._mixed_loss(batch, self._agent_values(batch), (subteams,))
        mask = Transitions.of(batch).mask
        return loss, {**stats, **division_stats(subteams[:, :-1], self.mixer.n_subteams, mask)}

    @property
    def psi(self) -> nn.Module | None:
        """Psi, the operator inside the wrapper; None for VAST(IL)."""
        return self.mixer.psi

    # --- VAST(IL): without an inner mixer each sub-team's value approximates Q_tot on its own ---

    def _bootstrap(self, mixed: Any, division: tuple[Tensor, ...]) -> Tensor:
        """Without Psi the mean over the sub-teams that have members, [B, T - 1, 1]."""
        if self.psi is not None:
            return super()._bootstrap(mixed, division)
        active = self._active(*division)
        return (mixed * active).sum(-1, keepdim=True) / active.sum(-1, keepdim=True)

    def _loss_mask(self, mask: Tensor, division: tuple[Tensor, ...]) -> Tensor:
        """Without Psi a sub-team without members carries no loss, [B, T - 1, K]."""
        return mask if self.psi is not None else mask * self._active(*division)

    def _active(self, subteams: Tensor) -> Tensor:
        """1 for every sub-team that has members, [B, T, K]."""
        return (member_counts(subteams, self.mixer.n_subteams) > 0).float()

    # --- the assigner ---

    def _learn_from_newest(
        self,
        batch: EpisodeBatch,
        assignment: Assignment,
        policies: Tensor | None,
        values: AgentValues | None,
        log_snr: bool,
    ) -> Stats:
        """Updates an assigner that learns; statistics of the newest episodes and their sub-teams.

        Args:
            batch: the newest episodes.
            assignment: their sub-teams.
            policies: that acted in them, [B, T, N, A]; None where nobody needs them.
            values: Q_i of the assigner's baseline.
            log_snr: whether the statistics hold the gradient's signal to noise, which takes several episodes, and a
                backward pass for each.
        """
        mask = Transitions.of(batch).mask
        self.diversity.add(assignment.subteams[:, :-1], self.mixer.n_subteams, mask)
        stats: Stats = {}
        if self.diversity.latest is not None:
            stats["division_diversity"] = th.tensor(float(self.diversity.latest))
        if assignment.log_probs is not None and policies is not None and values is not None:
            advantages = self._assignment_advantages(batch, policies, assignment.subteams, values)
            counted = mask * self.assigner.alive(batch)[:, :-1]
            if log_snr and batch.batch_size > 1:
                stats["assigner_snr"] = self._assigner_snr(batch, assignment, advantages, counted)
            stats |= self._update_assigner(assignment, advantages, counted)
        return stats

    def _update_assigner(self, assignment: Assignment, advantages: Tensor, counted: Tensor) -> Stats:
        """One step along the meta-gradient (Eq. 6), with A_hat and what counts of it, [B, T - 1, N] each."""
        assert assignment.log_probs is not None and assignment.entropy is not None
        loss = policy_gradient_loss(assignment.log_probs[:, :-1], advantages, counted)
        clip = self.args.assigner_grad_norm_clip
        grad_norm = clipped_step(self.assigner_optimiser, self.assigner_params, loss, clip)
        return {
            "assigner_loss": loss,
            "assigner_grad_norm": grad_norm,
            "assigner_advantage": masked_mean(advantages, counted),
            "assigner_entropy": masked_mean(assignment.entropy[:, :-1], counted),
        }

    def _assigner_snr(self, batch: EpisodeBatch, assignment: Assignment, advantages: Tensor, counted: Tensor) -> Tensor:
        """Signal to noise of Eq. 6, from the gradients of single episodes; arguments as for `_learn_from_newest`."""
        assert assignment.log_probs is not None
        gradients = []
        for episode in range(batch.batch_size):
            here = slice(episode, episode + 1)
            anew = self.assigner.log_probs(batch[here], assignment.subteams[here])
            log_probs = assignment.log_probs[here] if anew is None else anew
            objective = (log_probs[:, :-1] * advantages[here] * counted[here]).sum()
            parts = th.autograd.grad(
                objective, self.assigner_params, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            gradients.append(th.cat([part.flatten() for part in parts]))
        return gradient_snr(th.stack(gradients))

    def _assignment_advantages(
        self, batch: EpisodeBatch, policies: Tensor, subteams: Tensor, values: AgentValues
    ) -> Tensor:
        """A_hat [B, T - 1, N] of Eq. 6: returns (bootstrapped where a time limit cut) minus expected values."""
        returns = self._returns(batch, values, (subteams,), td_lambda=1.0)
        return expected_value_advantages(returns, values.q[:, :-1], policies.detach()[:, :-1])

    # --- device and files ---

    def cuda(self) -> None:
        """Moves all networks to the GPU."""
        super().cuda()
        self.assigner.cuda()

    def save_models(self, path: str) -> None:
        """Writes `QLearner`'s files, and ``assigner.th`` and ``assigner_opt.th`` of an assigner that learns."""
        super().save_models(path)
        if self.assigner_params:
            save_state(self.assigner, path, "assigner.th")
            save_state(self.assigner_optimiser, path, "assigner_opt.th")

    def load_models(self, path: str) -> None:
        """Reads what `save_models` wrote."""
        super().load_models(path)
        if self.assigner_params:
            load_state(self.assigner, path, "assigner.th")
            load_state(self.assigner_optimiser, path, "assigner_opt.th")


def _pad_steps(subteams: Tensor, length: int) -> Tensor:
    """Sub-teams [B, T, N] with zeros up to ``length`` steps."""
    return nn.functional.pad(subteams, (0, 0, 0, length - subteams.shape[1]))
