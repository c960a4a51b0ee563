"""The values of agents and of the team: a critic of every agent, and an objective (Psi, targets, loss) over them."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor, nn

from components.episode_buffer import EpisodeBatch
from components.unroll import unroll
from learners.mixer_inputs import Grouping, JointValues, MixerInputs
from learners.objectives import Psi, make_objective
from learners.optimisers import clipped_step, make_optimiser
from learners.policies import EpsilonGreedy
from learners.target_network import TargetNetwork
from learners.values import AgentValues, Stats, Transitions
from modules.mixers.vast_mixer import VastMixer
from utils.rl_utils import discounted_returns, td_lambda_targets


class FactoredValues:
    """Q_i of every agent, trained through the factorization of the team's value.

    Args:
        critic: the controller whose outputs are Q_i: the acting one itself, or a second one beside policies.
        policies: pick the actions from whose values targets bootstrap.
        mixer: Psi, a `VastMixer` around it, or None.
        scheme: of the episodes.
        args: lr or critic_lr, gamma, td_lambda, double_q, and what optimiser, target network and objective read.

    Attributes:
        optimiser_file: of the optimiser in a checkpoint.
    """

    def __init__(
        self,
        critic: Any,
        policies: EpsilonGreedy,
        mixer: nn.Module | None,
        scheme: Mapping[str, Mapping[str, Any]],
        args: SimpleNamespace,
    ) -> None:
        self.args = args
        self.critic, self.mixer = critic, mixer
        self._policies = policies
        self.targets = TargetNetwork.of(args)
        self.target_critic, self.target_mixer = self.targets.follow(critic), self.targets.follow(mixer)
        self.objective = make_objective(self._psi(), self.targets, scheme, args)
        mixer_params = list(mixer.parameters()) if mixer is not None else []
        self.params = [*critic.parameters(), *mixer_params, *self.objective.parameters()]
        self.optimiser = make_optimiser(args, self.params, args.critic_lr if policies.on_policy else args.lr)
        self.optimiser_file = "critic_opt.th" if policies.on_policy else "opt.th"

    def _psi(self) -> Psi:
        if isinstance(self.mixer, VastMixer):
            assert isinstance(self.target_mixer, VastMixer)
            return Psi(self.mixer.psi, self.target_mixer.psi, self.mixer.psi_args)
        return Psi(self.mixer, self.target_mixer, self.args)

    # --- values ---

    def of(self, batch: EpisodeBatch) -> AgentValues:
        """Q_i of a batch."""
        q, hidden = unroll(self.critic, batch, self.objective.reads_memories)
        # A critic of states gives one value for all actions.
        return AgentValues(batch, q.expand(batch["avail_actions"].shape), hidden)

    @th.no_grad()
    def detached(self, batch: EpisodeBatch) -> AgentValues:
        """Q_i of a batch as they are now, without gradients."""
        return self.of(batch)

    @th.no_grad()
    def returns(self, batch: EpisodeBatch, values: AgentValues, grouping: Grouping, td_lambda: float) -> Tensor:
        """TD(lambda) targets of all transitions, [B, T - 1, 1], or [B, T - 1, N] where agents bootstrap one by one.

        Args:
            batch: B episodes of T steps.
            values: of its agents.
            grouping: of the agents at all T steps; targets use that of step t + 1.
            td_lambda: lambda; 1 gives the returns observed, over a bootstrapped end where a time limit cut.
        """
        step, gamma = Transitions.of(batch), self.args.gamma
        if td_lambda == 1 and step.all_terminate:
            return discounted_returns(step.rewards, step.mask, gamma)
        bootstrap = self.objective.bootstrap(self._ahead(batch, values, grouping))
        return td_lambda_targets(step.rewards, step.terminated, step.mask, bootstrap, gamma, td_lambda)

    def _ahead(self, batch: EpisodeBatch, values: AgentValues, grouping: Grouping) -> JointValues:
        """What targets bootstrap from: the target critic's values of the next actions, at the steps 1 to T - 1."""
        target_q, hidden = unroll(self.target_critic, batch, self.objective.reads_memories)
        target_q = target_q.expand(batch["avail_actions"].shape)
        actions = self._policies.next_actions(batch, values, target_q, self.args.double_q)
        steps = slice(1, None)
        next_values = target_q[:, steps].gather(-1, actions).squeeze(-1)
        hidden = None if hidden is None else hidden[:, steps]
        return JointValues(batch, steps, actions, next_values, hidden, grouping.at(steps))

    # --- one update ---

    def loss(self, batch: EpisodeBatch, grouping: Grouping) -> tuple[Tensor, Stats]:
        """The objective's loss on a batch of episodes, and its statistics."""
        values = self.of(batch)
        targets = self.returns(batch, values, grouping, self.args.td_lambda)
        return self.objective.loss(MixerInputs(batch, values, grouping), targets, Transitions.of(batch).mask)

    def step(self, batch: EpisodeBatch, grouping: Grouping) -> Stats:
        """One gradient step on a batch of episodes; statistics."""
        loss, stats = self.loss(batch, grouping)
        grad_norm = clipped_step(self.optimiser, self.params, loss, self.args.grad_norm_clip)
        return {"loss": loss, "grad_norm": grad_norm, **stats}

    def update_targets(self, episode_num: int) -> None:
        """Lets the target networks follow, if they are due."""
        self.targets.update(episode_num)

    # --- device and files ---

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds beside the acting controller, by the names of the files, in PyMARL's order."""
        mixer = {} if self.mixer is None else {"mixer.th": self.mixer}
        critic = {"critic.th": self.critic.agent} if self._policies.on_policy else {}
        return {**critic, **mixer, **self.objective.parts(), self.optimiser_file: self.optimiser}

    def cuda(self) -> None:
        """Moves all networks to the GPU."""
        for network in (self.critic, self.mixer, self.objective, self.targets):
            if network is not None:
                network.cuda()
