"""What Psi and its objective see: n inputs, be they N agents or the sums of K sub-teams (Eq. 4).

Objectives do not know which: a `Grouping` pools the agents' values, actions and memories, and is the one place where
the two differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch.nn.functional as F
from torch import Tensor

from assigners.statistics import member_counts
from components.episode_buffer import EpisodeBatch
from learners.values import AgentValues
from modules.mixers.vast_mixer import VastMixer


class Grouping:
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

    def at(self, steps: slice) -> Grouping:
        """The grouping at some of the steps."""
        return self


class Subteams(Grouping):
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
    grouping: Grouping

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

    def __init__(self, batch: EpisodeBatch, values: AgentValues, grouping: Grouping) -> None:
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
