"""Learning of agents' Q-values through a mixer: IQL, VDN, QMIX and the paper's flat QTRAN, in both regimes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor, nn

from components.checkpoint import load_state, save_state
from components.episode_buffer import EpisodeBatch
from components.unroll import unroll
from learners.base import Learner, Stats
from learners.optimisers import clipped_step, make_optimiser
from learners.regimes import ActorCritic, make_regime
from learners.values import AgentValues, NextValues, Transitions
from modules.mixers import REGISTRY as mixer_REGISTRY
from modules.mixers.qtran import QTran
from utils.errors import UserError
from utils.logging import Logger
from utils.rl_utils import (
    discounted_returns,
    masked_mean,
    qtran_nopt_loss,
    qtran_opt_loss,
    td_lambda_targets,
    td_loss,
)


class QLearner(Learner):
    """Q-learning on the mixed values with a target network, double Q and TD(lambda) targets.

    The loss follows from what the mixer returns: Q_tot gets its TD error, the pair (Q_joint, V) of the paper's QTRAN
    the three losses of Eq. 3, and no mixer a TD error for every agent. Sub-classes replace `_mix` or `_loss`.

    Where agents put out policies (``agent_output_type: pi_logits``) the values are those of a critic, and the policies
    learn from them after each update (`learners.regimes.ActorCritic`).

    Args:
        mac: the controller whose agents learn.
        scheme: of the episodes.
        logger: receives the statistics.
        args: mixer and optimiser settings.

    Attributes:
        reads_memories: whether the losses read the agents' memories.
    """

    reads_memories = False

    def __init__(
        self, mac: Any, scheme: Mapping[str, Mapping[str, Any]], logger: Logger, args: SimpleNamespace
    ) -> None:
        super().__init__(logger, args)
        self.mac = mac
        self.mixer = self._build_mixer()
        self.regime = make_regime(mac, scheme, args)
        self.critic = self.regime.critic  # its outputs are Q_i; the mac itself in the value-based regime
        mixer_params = list(self.mixer.parameters()) if self.mixer is not None else []
        self.params = list(self.critic.parameters()) + mixer_params
        self.optimiser = make_optimiser(args, self.params, self.regime.lr)
        self.target_mac = copy.deepcopy(self.critic)
        self.target_mixer = copy.deepcopy(self.mixer)
        self.last_target_update_episode = 0

    def _build_mixer(self) -> nn.Module | None:
        if self.args.mixer in ("qtran_base", "vast_mixer"):
            learner = "qtran_learner" if self.args.mixer == "qtran_base" else "vast_learner"
            raise UserError(f"mixer: {self.args.mixer} needs learner={learner}, got {self.args.learner}")
        return None if self.args.mixer in (None, "none") else mixer_REGISTRY[self.args.mixer](self.args)

    # --- one update ---

    def train(self, batch: EpisodeBatch, t_env: int, episode_num: int) -> None:
        """One gradient step of the values on a batch of episodes, and one of the policies where there are any.

        Args:
            batch: B episodes, cut to their longest.
            t_env: environment steps so far.
            episode_num: episodes so far.
        """
        loss, stats = self._loss(batch)
        grad_norm = self._step(loss)
        stats |= self._improve_policies(batch, ())
        self._update_targets_if_due(episode_num)
        self._log_if_due({"loss": loss, "grad_norm": grad_norm, **stats}, t_env)

    def _step(self, loss: Tensor) -> Tensor:
        return clipped_step(self.optimiser, self.params, loss, self.args.grad_norm_clip)

    def _loss(self, batch: EpisodeBatch) -> tuple[Tensor, Stats]:
        return self._mixed_loss(batch, self._agent_values(batch), ())

    def _improve_policies(
        self,
        batch: EpisodeBatch,
        division: tuple[Tensor, ...],
        values: AgentValues | None = None,
        policies: Tensor | None = None,
    ) -> Stats:
        """A step of the policies, where agents have any, against the values as they are now; statistics.

        Args:
            batch, division: as for `_mixed_loss`.
            values: those of the batch as they are now, if they are at hand.
            policies: pi_i of every action, with their gradient, [B, T, N, A], if they are at hand.
        """
        if not isinstance(self.regime, ActorCritic):
            return {}
        values = self._present_values(batch) if values is None else values
        policies = self.regime.policies(batch, 0.0) if policies is None else policies
        returns = self._returns(batch, values, division, self.args.td_lambda)
        return self.regime.improve(batch, policies, returns, values.q, Transitions.of(batch).mask)

    @th.no_grad()
    def _present_values(self, batch: EpisodeBatch) -> AgentValues:
        """The agents' values without gradients."""
        return self._agent_values(batch)

    def _agent_values(self, batch: EpisodeBatch) -> AgentValues:
        """Unrolls the critic over the batch."""
        q, hidden = unroll(self.critic, batch, self.reads_memories)
        # A critic of states gives one value for all actions.
        return AgentValues(batch, q.expand(batch["avail_actions"].shape), hidden)

    @th.no_grad()
    def _next_values(self, batch: EpisodeBatch, values: AgentValues) -> NextValues:
        """Unrolls the target critic over the batch, and picks the actions from whose values targets bootstrap."""
        avail = batch["avail_actions"]
        target_q, target_hidden = unroll(self.target_mac, batch, self.reads_memories)
        target_q = target_q.expand(avail.shape)
        actions = self.regime.next_actions(batch, values, target_q, self.args.double_q)
        return NextValues(
            actions=actions,
            values=target_q[:, 1:].gather(-1, actions).squeeze(-1),
            hidden=None if target_hidden is None else target_hidden[:, 1:],
        )

    # --- from agents' values to a loss ---

    def _mix(self, mixer: nn.Module | None, values: Tensor, states: Tensor, division: tuple[Tensor, ...]) -> Any:
        """The mixer's output for agents' values [B, T, N]; ``division`` holds a sub-team learner's sub-teams."""
        return values if mixer is None else mixer(values, states, *division)

    def _mixed_loss(
        self, batch: EpisodeBatch, values: AgentValues, division: tuple[Tensor, ...]
    ) -> tuple[Tensor, Stats]:
        """The loss that goes with the mixer's output.

        Args:
            batch: B episodes of T steps.
            values: of its agents.
            division: nothing, or the sub-teams [B, T, N] of all T steps; targets use those of step t + 1.
        """
        states, mask = batch["state"][:, :-1].float(), Transitions.of(batch).mask
        now = tuple(part[:, :-1] for part in division)
        targets = self._returns(batch, values, division, self.args.td_lambda)
        if getattr(type(self.psi), "forward", None) is QTran.forward:
            joint, v = self._mix(self.mixer, th.stack([values.taken, values.greedy[:, :-1]]), states, now)
            mixed, greedy_mixed = zip(joint, v.expand_as(joint), strict=True)
        else:
            mixed = self._mix(self.mixer, values.taken, states, now)
            if not isinstance(mixed, tuple):
                return self._td_loss(mixed, targets, self._loss_mask(mask, now))
            greedy_mixed = self._mix(self.mixer, values.greedy[:, :-1], states, now)
        targets = self._qtran_scale * targets
        return self._qtran_loss(mixed, greedy_mixed, values.taken, values.greedy[:, :-1], targets, mask)

    @th.no_grad()
    def _returns(
        self, batch: EpisodeBatch, values: AgentValues, division: tuple[Tensor, ...], td_lambda: float
    ) -> Tensor:
        """TD(lambda) targets of all transitions, [B, T - 1, 1], or [B, T - 1, N] where agents bootstrap one by one.

        Args:
            batch, values, division: as for `_mixed_loss`.
            td_lambda: lambda; 1 gives the returns observed, over a bootstrapped end where a time limit cut.
        """
        step = Transitions.of(batch)
        if td_lambda == 1 and step.all_terminate:
            return discounted_returns(step.rewards, step.mask, self.args.gamma)
        next_values = self._next_values(batch, values).values
        next_states, ahead = batch["state"][:, 1:].float(), tuple(part[:, 1:] for part in division)
        bootstrap = self._bootstrap(self._mix(self.target_mixer, next_values, next_states, ahead), ahead)
        return self._targets(step, bootstrap, td_lambda)

    def _bootstrap(self, mixed: Any, division: tuple[Tensor, ...]) -> Tensor:
        """The value from which targets bootstrap, of a (target) mixer's output."""
        return mixed[0] / self._qtran_scale if isinstance(mixed, tuple) else mixed

    @property
    def _qtran_scale(self) -> float:
        """What QTRAN's targets are multiplied by: 1, or the number of values that Psi sees (``qtran_targets: sum``)."""
        return self.psi.target_scale if isinstance(self.psi, QTran) else 1.0

    @property
    def psi(self) -> nn.Module | None:
        """The operator that a mixer applies in the end; inside VAST it is not the mixer itself."""
        return self.mixer

    def _loss_mask(self, mask: Tensor, division: tuple[Tensor, ...]) -> Tensor:
        """Which mixed values carry a loss: those of transitions."""
        return mask

    def _targets(self, step: Transitions, next_values: Tensor, td_lambda: float) -> Tensor:
        return td_lambda_targets(step.rewards, step.terminated, step.mask, next_values, self.args.gamma, td_lambda)

    def _td_loss(self, mixed: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, Stats]:
        targets = targets.expand_as(mixed)
        loss = td_loss(mixed, targets, mask)
        stats = {
            "td_error_abs": masked_mean((mixed - targets).abs(), mask),
            "q_taken_mean": masked_mean(mixed, mask) / self.args.n_agents,
            "target_mean": masked_mean(targets, mask) / self.args.n_agents,
        }
        return loss, stats

    def _qtran_loss(
        self,
        mixed: tuple[Tensor, Tensor],
        greedy_mixed: tuple[Tensor, Tensor],
        taken: Tensor,
        greedy: Tensor,
        targets: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Stats]:
        """QTRAN's three losses (Eq. 3), weighted by opt_loss and nopt_min_loss.

        The sum of sub-team values is the sum of agents' values, whatever the division.

        Args:
            mixed, greedy_mixed: (Q_joint, V) at the taken and at the greedy joint actions, each [B, T - 1, 1].
            taken, greedy: agents' values, [B, T - 1, N].
            targets, mask: [B, T - 1, 1].
        """
        joint, v = mixed
        td = td_loss(joint, targets, mask)
        opt = qtran_opt_loss(greedy.sum(-1, keepdim=True), *greedy_mixed, mask)
        nopt = qtran_nopt_loss(taken.sum(-1, keepdim=True), joint, v, mask)
        loss = td + self.args.opt_loss * opt + self.args.nopt_min_loss * nopt
        stats = {
            "td_loss": td,
            "opt_loss": opt,
            "nopt_loss": nopt,
            "td_error_abs": masked_mean((joint - targets).abs(), mask),
            "q_taken_mean": masked_mean(joint, mask) / self.args.n_agents,
            "target_mean": masked_mean(targets, mask) / self.args.n_agents,
        }
        return loss, stats

    # --- target network, device, files ---

    def _update_targets_if_due(self, episode_num: int) -> None:
        if episode_num - self.last_target_update_episode >= self.args.target_update_interval:
            self._update_targets()
            self.last_target_update_episode = episode_num

    def _update_targets(self) -> None:
        self.target_mac.load_state(self.critic)
        if self.mixer is not None and self.target_mixer is not None:
            self.target_mixer.load_state_dict(self.mixer.state_dict())

    def cuda(self) -> None:
        """Moves all networks to the GPU."""
        self.regime.cuda()
        self.target_mac.cuda()
        for mixer in (self.mixer, self.target_mixer):
            if mixer is not None:
                mixer.cuda()

    def save_models(self, path: str) -> None:
        """Writes ``agent.th``, ``mixer.th`` (if there is a mixer) and ``opt.th`` into the folder ``path``.

        In the actor-critic regime ``critic.th``, ``agent_opt.th`` and ``critic_opt.th`` stand for ``opt.th``.
        """
        self.regime.save_models(path)
        if self.mixer is not None:
            save_state(self.mixer, path, "mixer.th")
        save_state(self.optimiser, path, self.regime.optimiser_file)

    def load_models(self, path: str) -> None:
        """Reads what `save_models` wrote; the target networks become copies of the loaded ones."""
        self.regime.load_models(path)
        if self.mixer is not None:
            load_state(self.mixer, path, "mixer.th")
        load_state(self.optimiser, path, self.regime.optimiser_file)
        self._update_targets()
