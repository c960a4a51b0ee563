"""Division: what stands between the agents and Psi. Flat, nothing; with VAST, sub-teams and their assigner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch as th
import torch.nn.functional as F
from torch import Tensor

from assigners import REGISTRY as assigner_REGISTRY
from assigners.base import Assignment
from assigners.statistics import DivisionDiversity, division_stats
from components.episode_buffer import EpisodeBatch, concatenate
from learners.meta_gradient import MetaGradient, NewestEpisodes
from learners.mixer_inputs import Grouping, Subteams
from learners.values import AgentValues, Stats, Transitions
from modules.mixers.vast_mixer import VastMixer


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

    def grouping(self, assignment: Assignment | None) -> Grouping:
        """The grouping that belongs to what `assign` gave."""
        return Grouping()

    def training_episodes(self, batch: EpisodeBatch, new: NewEpisodes | None) -> tuple[EpisodeBatch, Grouping]:
        """The episodes of the value update, and their grouping."""
        return batch, Grouping()

    def stats(self, batch: EpisodeBatch, grouping: Grouping) -> Stats:
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

    def stats(self, batch: EpisodeBatch, grouping: Grouping) -> Stats:
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
