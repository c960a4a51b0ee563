"""What a batch holds of single agents: their networks' inputs (observation, last action, id), and who lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch as th
import torch.nn.functional as F
from torch import Tensor

from components.episode_buffer import EpisodeBatch, Index
from utils.checks import flat_size


@dataclass(frozen=True)
class SequenceInputs:
    """The inputs of N agents over several episodes, packed: steps that hold no data are left out.

    A row is one step of one episode, P rows in all: those of step 0 come first, within a step the longer episodes come
    first. The one-hot ids, which are the same in every row, are kept out of the rows.

    Attributes:
        features: observation and last action, [P, N, F] float32.
        has_ids: whether the agents' one-hot ids are part of their inputs.
        sizes: how many episodes reach each step, from the most to the fewest.
        places: where each row is among the B * T steps of the batch, [P] long.
        lead: (B, T) of the batch.
    """

    features: Tensor
    has_ids: bool
    sizes: tuple[int, ...]
    places: Tensor
    lead: tuple[int, int]

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """What a linear layer [out, I] on the whole inputs gives, [P, N, out]; no N x N ids are built."""
        width = self.features.shape[-1]
        if not self.has_ids:
            return F.linear(self.features, weight, bias)
        of_agents = weight[:, width:].t()  # an id picks its column
        of_agents = of_agents if bias is None else of_agents + bias
        return F.linear(self.features, weight[:, :width]).add_(of_agents)

    def dense(self) -> Tensor:
        """The whole inputs, [P, N, I], in PyMARL's order: observation, last action, id."""
        if not self.has_ids:
            return self.features
        rows, n_agents, _ = self.features.shape
        ids = th.eye(n_agents, device=self.features.device).expand(rows, -1, -1)
        return th.cat([self.features, ids], dim=-1)

    def pack(self, values: Tensor) -> Tensor:
        """The rows [P, ...] of ``values`` [B, T, ...]."""
        return values.flatten(0, 1).index_select(0, self.places)

    def unpack(self, rows: Tensor) -> Tensor:
        """``rows`` [P, ...] in their places, [B, T, ...]; 0 at steps that hold no data."""
        steps = rows.new_zeros(self.lead[0] * self.lead[1], *rows.shape[1:])
        return steps.index_copy(0, self.places, rows).unflatten(0, self.lead)


def sequence_inputs(batch: EpisodeBatch, args: SimpleNamespace) -> SequenceInputs:
    """The agents' inputs at every step of ``batch`` that holds data; made once for all networks that read them.

    Args:
        batch, args: as for `agent_inputs`.
    """
    key = ("sequence_inputs", args.obs_last_action, args.obs_agent_id)
    return batch.derived(key, lambda: _pack(batch, args))


def _pack(batch: EpisodeBatch, args: SimpleNamespace) -> SequenceInputs:
    length = batch.max_seq_length
    filled = batch["filled"][..., 0] > 0
    steps = th.arange(length, device=filled.device)
    lengths = th.where(filled, steps + 1, 0).amax(1)
    order = lengths.argsort(descending=True, stable=True)
    step, rank = (lengths[order] > steps.unsqueeze(1)).nonzero(as_tuple=True)
    places = order[rank] * length + step
    sizes = tuple(size for size in step.bincount(minlength=length).tolist() if size)
    features = _features(batch, args, order, sizes)
    return SequenceInputs(features, args.obs_agent_id, sizes, places, (batch.batch_size, length))


def _features(batch: EpisodeBatch, args: SimpleNamespace, order: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Observation and last action of the packed steps, [P, N, F]."""
    obs = batch["obs"].flatten(3)
    width = obs.shape[-1]
    onehot = batch["actions_onehot"] if args.obs_last_action else obs[..., :0]
    features = obs.new_empty(sum(sizes), obs.shape[2], width + onehot.shape[-1], dtype=th.float32)
    start = 0
    for t, size in enumerate(sizes):  # a step at a time stays in the cache
        rows, episodes = features[start : start + size], order[:size]
        rows[..., :width] = obs[episodes, t]
        rows[..., width:] = onehot[episodes, t - 1] if t > 0 else 0.0
        start += size
    return features


def step_inputs(batch: EpisodeBatch, args: SimpleNamespace, t: int, episodes: Index) -> SequenceInputs:
    """The agents' inputs at step ``t`` of some ``episodes``, as a sequence of one step."""
    obs = batch["obs"][episodes, t].flatten(2).float()
    parts = [obs]
    if args.obs_last_action:
        onehot = batch["actions_onehot"]
        parts.append(onehot[episodes, t - 1] if t > 0 else th.zeros_like(onehot[episodes, 0]))
    places = th.arange(len(obs), device=obs.device)
    return SequenceInputs(th.cat(parts, dim=-1), args.obs_agent_id, (len(obs),), places, (len(obs), 1))


def agent_inputs(batch: EpisodeBatch, args: SimpleNamespace, start: int = 0, stop: int | None = None) -> Tensor:
    """The agents' inputs [B, T, N, I] for the steps ``start`` to ``stop``, in PyMARL's order.

    Args:
        batch: reads obs, and actions_onehot if ``args.obs_last_action``.
        args: obs_last_action (zeros at step 0), obs_agent_id (one-hot), n_agents.
    """
    stop = batch.max_seq_length if stop is None else stop
    obs = batch["obs"][:, start:stop]
    parts = [obs.float().flatten(3)]
    if args.obs_last_action:
        parts.append(last_actions(batch, start, stop))
    if args.obs_agent_id:
        ids = th.eye(args.n_agents, device=obs.device)
        parts.append(ids.expand(*obs.shape[:2], -1, -1))
    return th.cat(parts, dim=-1)


def last_actions(batch: EpisodeBatch, start: int, stop: int) -> Tensor:
    """The agents' actions before each of the steps ``start`` to ``stop``, one-hot [B, T, N, A]; zeros before step 0."""
    actions = batch["actions_onehot"]
    if start > 0:
        return actions[:, start - 1 : stop - 1]
    return th.cat([th.zeros_like(actions[:, :1]), actions[:, : stop - 1]], dim=1)


def living_agents(batch: EpisodeBatch, args: SimpleNamespace) -> Tensor:
    """Which agents live, [B, T, N] bool; all of them where the environment does not say.

    Args:
        batch: reads state.
        args: agent_alive_index, int [N] or None: the state entry of each agent that is positive as long as it lives.
    """
    if args.agent_alive_index is None:
        return th.ones(batch["obs"].shape[:3], dtype=th.bool, device=batch["obs"].device)
    return batch["state"][..., th.as_tensor(args.agent_alive_index, device=batch["state"].device)] > 0


def agent_input_size(scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace) -> int:
    """I, the number of entries of an agent's input."""
    size = flat_size(scheme["obs"]["vshape"])
    if args.obs_last_action:
        size += flat_size(scheme["actions_onehot"]["vshape"])
    if args.obs_agent_id:
        size += args.n_agents
    return size
