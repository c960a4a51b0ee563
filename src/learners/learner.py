"""The one update that all learners make: values, then assigner, then policies, then target networks."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any, Protocol

import torch as th
from torch import Tensor

from components.checkpoint import load_state, save_state
from components.episode_buffer import EpisodeBatch
from learners.division import FlatDivision, NewEpisodes
from learners.mixer_inputs import Grouping
from learners.policies import EpsilonGreedy
from learners.target_network import load_network_state, network_state
from learners.values import AgentValues, Stats
from utils.logging import Logger


class Values(Protocol):
    """The values that a learner trains: Q_i with their factorization, or a centralised critic's.

    Attributes:
        params: what `step` changes.
        targets: the target networks.
    """

    params: list[Any]
    critic: Any
    targets: Any

    def detached(self, batch: EpisodeBatch) -> AgentValues:
        """Q_i of a batch as policies and assigner learn from them, without gradients."""

    def returns(self, batch: EpisodeBatch, values: AgentValues, grouping: Grouping, td_lambda: float) -> Tensor:
        """R_t of a batch, [B, T - 1, 1] or [B, T - 1, N]."""

    def step(self, batch: EpisodeBatch, grouping: Grouping) -> Stats:
        """Learns from a batch; statistics."""

    def update_targets(self, episode_num: int) -> None:
        """Lets the target networks follow, if they are due."""

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds of it, by the names of the files."""

    def cuda(self) -> None:
        """Moves all networks to the GPU."""


class Learner:
    """Trains what it is made of; sub-classes say what that is.

    Args:
        logger: receives the statistics.
        args: learner_log_interval.
        mac: the controller that acts.
        values: learn from every batch.
        policies: learn from new episodes, where agents have any.
        division: of the agents into the inputs of Psi; its assigner may learn from new episodes.
    """

    def __init__(
        self,
        logger: Logger,
        args: SimpleNamespace,
        mac: Any,
        values: Values,
        policies: EpsilonGreedy,
        division: FlatDivision,
    ) -> None:
        self.logger, self.args, self.mac = logger, args, mac
        self.values, self.policies, self.division = values, policies, division
        self.log_stats_t = -args.learner_log_interval - 1

    # --- one update ---

    def observe(self, batch: EpisodeBatch, t_env: int, episode_num: int) -> None:
        """Takes in training episodes right after their collection; on-policy the next batch holds them anyway."""
        if not self.policies.on_policy:
            # A plug-in's selector may have no epsilon: its policy counts as greedy.
            self.division.observe(batch, float(getattr(self.mac.action_selector, "epsilon", 0.0)))

    def train(self, batch: EpisodeBatch, t_env: int, episode_num: int) -> None:
        """One step of the values on a batch of episodes, then one of assigner and policies on the new ones.

        Args:
            batch: B episodes, cut to their longest; on-policy the new ones themselves.
            t_env: environment steps so far.
            episode_num: episodes so far.
        """
        is_logged = t_env - self.log_stats_t >= self.args.learner_log_interval
        new = self._new_episodes(batch)
        episodes, grouping = self.division.training_episodes(batch, new)
        stats = {**self.values.step(episodes, grouping), **self.division.stats(episodes, grouping)}
        if new is not None:
            stats |= self._learn_from_new(new, is_logged)
        self.values.update_targets(episode_num)
        if is_logged:
            self._log(stats, t_env)

    def _new_episodes(self, batch: EpisodeBatch) -> NewEpisodes | None:
        """The new episodes, as they are before the values change: pi_i of Eq. 6 is the policy that acted."""
        epsilon: Tensor | float = 0.0
        if not self.policies.on_policy:
            taken = self.division.take_newest()
            if taken is None:
                return None
            batch, epsilon = taken[0].to(self._device), taken[1].to(self._device)
        assignment = self.division.assign(batch)
        learns = assignment is not None and assignment.log_probs is not None
        policies = self.policies.probabilities(batch, epsilon) if learns or self.policies.on_policy else None
        before = self.values.detached(batch) if self.division.reads_values_before(assignment) else None
        return NewEpisodes(batch, assignment, policies, before)

    def _learn_from_new(self, new: NewEpisodes, log_snr: bool) -> Stats:
        """Steps of assigner and policies, against the values as they are now; statistics."""
        grouping = self.division.grouping(new.assignment)
        after = functools.cache(lambda: self.values.detached(new.batch))

        def returns(values: AgentValues, td_lambda: float) -> Tensor:
            return self.values.returns(new.batch, values, grouping, td_lambda)

        stats = self.division.learn(new, after, returns, log_snr)
        return stats | self.policies.improve(new, after, lambda values: returns(values, self.args.td_lambda))

    @property
    def _device(self) -> th.device:
        device: th.device = self.values.params[0].device
        return device

    def _log(self, stats: Stats, t_env: int) -> None:
        # Reading a statistic waits for the device, so it happens only when it is written.
        for key, value in stats.items():
            self.logger.log_stat(key, float(value.detach()), t_env)
        self.log_stats_t = t_env

    # --- device, files, state ---

    def cuda(self) -> None:
        """Moves all networks to the GPU."""
        self.mac.cuda()
        self.values.cuda()
        self.division.cuda()

    def save_models(self, path: str) -> None:
        """Writes the agents (``agent.th``) and the parts' files into the folder ``path``, under PyMARL's names."""
        self.mac.save_models(path)
        for name, part in self._parts().items():
            save_state(part, path, name)

    def load_models(self, path: str) -> None:
        """Reads what `save_models` wrote; the target networks become copies of the loaded ones."""
        self.mac.load_models(path)
        for name, part in self._parts().items():
            load_state(part, path, name)
        self.values.targets.sync()

    def _parts(self) -> dict[str, Any]:
        return {**self.values.parts(), **self.policies.parts(), **self.division.parts()}

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return {
            "mac": network_state(getattr(self.mac, "agent", self.mac)),
            "parts": parts,
            "targets": self.values.targets.state_dict(),
            "division": self.division.state_dict(),
            "log_stats_t": self.log_stats_t,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        load_network_state(getattr(self.mac, "agent", self.mac), state["mac"])
        for name, part in self._parts().items():
            part.load_state_dict(state["parts"][name])
        self.values.targets.load_state_dict(state["targets"])
        self.division.load_state_dict(state["division"])
        self.log_stats_t = state["log_stats_t"]
