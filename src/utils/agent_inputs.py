"""What a batch holds of single agents: their networks' inputs (observation, last action, id), and who lives."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor

from components.episode_buffer import EpisodeBatch
from utils.checks import flat_size


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
