"""Division: what stands between the agents and Psi. Flat, nothing; with VAST, sums over sub-teams (Eq. 4).

Nobody else knows of sub-teams: an objective sees n inputs, be they N agents or K sub-teams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch as th
import torch.nn.functional as F
from torch import Tensor

from assigners import REGISTRY as assigner_REGISTRY
from assigners.base import Assignment
from assigners.division import DivisionDiversity, division_stats, member_counts
from components.episode_buffer import EpisodeBatch, concatenate
from learners.meta_gradient import MetaGradient, NewestEpisodes
from learners.values import AgentValues, Stats, Transitions
from modules.mixers.vast_mixer import VastMixer


class Agents:
    """A grouping of the agents of B episodes and T steps into Psi's n inputs; here every agent is an input."""

    @property
    def active(self) -> Tensor | None:
        """1 for every input that has members, [B, T, n]; None where all inputs always have the same one."""
        return None

    def pool(self, values: Tensor) -> Tensor:
        """[..., B, T, n] of agents' values [..., B, T, N]."""
        return values

    def pool_features(self, features: Tensor) -> Tensor:
        """[..., B, T, n, F] of agents' features [..., B, T, N, F]."""
        return features

    def at(self, steps: slice) -> Agents:
        """The grouping at some of the steps."""
        return self


class Subteams(Agents):
    """An input is the sum over the members of a sub-team (Eq. 4); of one-hot actions these are counts.

    Args:
        mixer: pools.
        subteams: the sub-team of each agent, [B, T, N] long in 0..K-1.
    """

    def __init__(self, mixer: VastMixer, subteams: Tensor) -> None:
        self._mixer, self.subteams = mixer, subteams

    @property
    def active(self) -> Tensor:
        return (member_counts(self.subteams, self._mixer.n_subteams) > 0).float()

    def pool(self, values: Tensor) -> Tensor:
        return self._mixer.pool(values, self.subteams)

    def pool_features(self, features: Tensor) -> Tensor:
        return self._mixer.pool(features.mT, self.subteams.unsqueeze(-2)).mT

    def at(self, steps: slice) -> Subteams:
        return Subteams(self._mixer, self.subteams[:, steps])


@dataclass(frozen=True)
class JointValues:
    """The value of one joint action at each of T' steps, as Psi sees it: n inputs.

    Args:
        batch: the episodes.
        steps: which T' of their steps.
        actions: of each agent, [B, T', N, 1].
        of_agents: values of these, [B, T', N].
        hidden: the agents' memories, [B, T', N, H], or None.
        grouping: of the agents at these steps.
    """

    batch: EpisodeBatch
    steps: slice
    actions: Tensor
    of_agents: Tensor
    hidden: Tensor | None
    grouping: Agents

    @cached_property
    def values(self) -> Tensor:
        """Psi's inputs, [B, T', n]."""
        return self.grouping.pool(self.of_agents)

    @property
    def total(self) -> Tensor:
        """The sum of all values, [B, T', 1]: the same for every division."""
        return self.of_agents.sum(-1, keepdim=True)

    @property
    def n_agents(self) -> int:
        """N."""
        return self.of_agents.shape[-1]

    @property
    def states(self) -> Tensor:
        """[B, T', S] float32."""
        return self.batch["state"][:, self.steps].float()

    @property
    def active(self) -> Tensor | None:
        """1 for every input that has members, [B, T', n]; None where all inputs always have the same one."""
        return self.grouping.active

    def action_counts(self) -> Tensor:
        """How many members of an input take each action, [B, T', n, A] float32: one-hot where an input is an agent."""
        n_actions = self.batch["avail_actions"].shape[-1]
        return self.grouping.pool_features(F.one_hot(self.actions.squeeze(-1), n_actions).float())

    def memories(self) -> Tensor | None:
        """The inputs' memories, sums over their members, [B, T', n, H]."""
        return None if self.hidden is None else self.grouping.pool_features(self.hidden)

    def by(self, q: Tensor) -> JointValues:
        """The same joint actions, valued by another critic's ``q`` [B, T, N, A] of the whole batch."""
        values = q[:, self.steps].gather(-1, self.actions).squeeze(-1)
        return JointValues(self.batch, self.steps, self.actions, values, None, self.grouping)


class MixerInputs:
    """What an objective reads of the T - 1 transitions of a batch.

    Args:
        batch: B episodes of T steps.
        values: of their agents.
        grouping: of the agents at all T steps.

    Attributes, each computed when it is first read:
        taken: the joint actions that were taken.
        greedy: the greedy ones.
    """

    def __init__(self, batch: EpisodeBatch, values: AgentValues, grouping: Agents) -> None:
        self.batch = batch
        self._values, self._grouping = values, grouping

    @cached_property
    def taken(self) -> JointValues:
        return self._now(self.batch["actions"][:, :-1], self._values.taken)

    @cached_property
    def greedy(self) -> JointValues:
        return self._now(self._values.greedy_actions[:, :-1], self._values.greedy[:, :-1])

    def _now(self, actions: Tensor, values: Tensor) -> JointValues:
        hidden = None if self._values.hidden is None else self._values.hidden[:, :-1]
        now = slice(None, -1)
        return JointValues(self.batch, now, actions, values, hidden, self._grouping.at(now))


@dataclass(frozen=True)
class NewEpisodes:
    """Episodes from which policies and assigner learn, as they were before the update of the values.

    Attributes:
        batch: B episodes, none of which was learnt from before.
        assignment: their sub-teams; None where there are none.
        policies: that acted in them, pi_i of every action [B, T, N, A]; None where nobody needs them.
        before: the agents' values before the update, where the assigner's baseline is that.
    """

    batch: EpisodeBatch
    assignment: Assignment | None
    policies: Tensor | None
    before: AgentValues | None


class FlatDivision:
    """Who the inputs of Psi are, and how that is learnt; here they are the agents, and there is nothing to learn."""

    def observe(self, batch: EpisodeBatch, epsilon: float) -> None:
        """Takes in new episodes of training, played with exploration ``epsilon``."""

    def take_newest(self) -> tuple[EpisodeBatch, Tensor] | None:
        """The episodes observed since the last call, and their epsilons [B, 1, 1, 1], if they are needed."""
        return None

    def assign(self, batch: EpisodeBatch) -> Assignment | None:
        """Draws the sub-teams of a batch, with gradients where the assigner learns; None without sub-teams."""
        return None

    def grouping(self, assignment: Assignment | None) -> Agents:
        """The grouping that belongs to what `assign` gave."""
        return Agents()

    def training_episodes(self, batch: EpisodeBatch, new: NewEpisodes | None) -> tuple[EpisodeBatch, Agents]:
        """The episodes of the value update, and their grouping."""
        return batch, Agents()

    def stats(self, batch: EpisodeBatch, grouping: Agents) -> Stats:
        """Statistics of the division of a batch."""
        return {}

    def reads_values_before(self, assignment: Assignment | None) -> bool:
        """Whether the assigner needs the values as they are before the update."""
        return False

    def learn(
        self, new: NewEpisodes, after: Callable[[], AgentValues], returns: Callable[..., Tensor], log_snr: bool
    ) -> Stats:
        """Updates the assigner, if it learns from new episodes; statistics."""
        return {}

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds, by the names of the files."""
        return {}

    def cuda(self) -> None:
        """Moves networks to the GPU."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on beside `parts`."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""


class SubteamDivision(FlatDivision):
    """VAST: the inputs of Psi are the sums over K sub-teams, into which an assigner X puts the agents at every step.

    The sub-teams of replayed episodes are assigned anew at every update. An assigner that learns is updated after the
    values, on the newest episodes only (on-policy; line 18 of Algorithm 1).

    Args:
        mixer: pools, and knows K.
        scheme: of the episodes.
        args: assigner, train_on_newest, batch_size, and what `MetaGradient` and the assigner read.
    """

    def __init__(self, mixer: VastMixer, scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace) -> None:
        self._mixer, self._args = mixer, args
        self.assigner = assigner_REGISTRY[args.assigner](scheme, args)
        self.meta_gradient = MetaGradient(self.assigner, args)
        self.newest = NewestEpisodes(args.batch_size, scheme, {"agents": args.n_agents})
        self.diversity = DivisionDiversity()

    def observe(self, batch: EpisodeBatch, epsilon: float) -> None:
        self.newest.add(batch, epsilon)

    def take_newest(self) -> tuple[EpisodeBatch, Tensor] | None:
        return self.newest.take()

    def assign(self, batch: EpisodeBatch) -> Assignment:
        assignment: Assignment = self.assigner(batch)
        return assignment

    @th.no_grad()
    def draw(self, batch: EpisodeBatch) -> Tensor:
        """The sub-teams of a batch, [B, T, N], without gradients."""
        return self.assign(batch).subteams

    def grouping(self, assignment: Assignment | None) -> Subteams:
        assert assignment is not None
        return Subteams(self._mixer, assignment.subteams)

    def training_episodes(self, batch: EpisodeBatch, new: NewEpisodes | None) -> tuple[EpisodeBatch, Subteams]:
        """The batch, plus the newest episodes if ``train_on_newest``; on-policy they are the same."""
        if new is not None and new.batch is batch:
            return batch, self.grouping(new.assignment)
        subteams = self.draw(batch)
        if new is not None and self._args.train_on_newest:
            assert new.assignment is not None
            joined = concatenate([batch, new.batch])
            parts = [_pad_steps(part, joined.max_seq_length) for part in (subteams, new.assignment.subteams)]
            batch, subteams = joined, th.cat(parts)
        return batch, Subteams(self._mixer, subteams)

    def stats(self, batch: EpisodeBatch, grouping: Agents) -> Stats:
        assert isinstance(grouping, Subteams)
        return division_stats(grouping.subteams[:, :-1], self._mixer.n_subteams, Transitions.of(batch).mask)

    def reads_values_before(self, assignment: Assignment | None) -> bool:
        return assignment is not None and assignment.log_probs is not None and self.meta_gradient.baseline == "before"

    def learn(
        self, new: NewEpisodes, after: Callable[[], AgentValues], returns: Callable[..., Tensor], log_snr: bool
    ) -> Stats:
        assert new.assignment is not None
        mask = Transitions.of(new.batch).mask
        self.diversity.add(new.assignment.subteams[:, :-1], self._mixer.n_subteams, mask)
        stats: Stats = {}
        if self.diversity.latest is not None:
            stats["division_diversity"] = th.tensor(float(self.diversity.latest))
        if new.assignment.log_probs is not None and new.policies is not None:
            values = after() if new.before is None else new.before
            stats |= self.meta_gradient.step(
                new.batch, new.assignment, new.policies, values, returns(values, td_lambda=1.0), log_snr
            )
        return stats

    def parts(self) -> dict[str, Any]:
        return self.meta_gradient.parts()

    def cuda(self) -> None:
        self.assigner.cuda()

    def state_dict(self) -> dict[str, Any]:
        own = {"generators": self.assigner.generator_states(), "diversity": self.diversity.state_dict()}
        return {**own, "newest": self.newest.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.assigner.load_generator_states(state["generators"])
        self.diversity.load_state_dict(state["diversity"])
        self.newest.load_state_dict(state["newest"])


def _pad_steps(subteams: Tensor, length: int) -> Tensor:
    """Sub-teams [B, T, N] with zeros up to ``length`` steps."""
    return F.pad(subteams, (0, 0, 0, length - subteams.shape[1]))
