"""COMA's centralised critic: the value of each agent's actions, given what all others do."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from components.agent_inputs import last_actions
from components.episode_buffer import EpisodeBatch
from utils.checks import check_shape, flat_size

HIDDEN_DIM = 128  # units of both hidden layers, as in PyMARL


class COMACritic(nn.Module):
    """``Q(s, (a, u_-i))`` for every action a of every agent i, in one pass (Foerster et al., AAAI 2018, section 4).

    An MLP (two hidden layers, ReLU) on, in PyMARL's order: the state, the agent's observation, the one-hot actions of
    all agents with the agent's own at zero, the one-hot last actions of all agents, the agent's one-hot id. What the
    agents of a step have in common passes the first layer once, so no tensor has N * N * A entries per step.

    Args:
        scheme: of the episodes (reads state, obs and actions_onehot).
        args: n_agents and n_actions.
    """

    def __init__(self, scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace) -> None:
        super().__init__()
        self.n_agents, self.n_actions = args.n_agents, args.n_actions
        state_dim, obs_dim = (flat_size(scheme[key]["vshape"]) for key in ("state", "obs"))
        joint_dim = self.n_agents * self.n_actions
        self.input_dims = (state_dim, obs_dim, joint_dim, joint_dim, self.n_agents)
        self.fc1 = nn.Linear(sum(self.input_dims), HIDDEN_DIM)
        self.fc2 = nn.Linear(HIDDEN_DIM, HIDDEN_DIM)
        self.fc3 = nn.Linear(HIDDEN_DIM, self.n_actions)

    def forward(self, batch: EpisodeBatch, t: int | None = None) -> Tensor:
        """Values of all actions of all agents, [B, T, N, A], at every step, or [B, 1, N, A] at step ``t``."""
        start, stop = (0, batch.max_seq_length) if t is None else (t, t + 1)
        hidden = F.relu(self._first_layer(batch, start, stop))
        return self.fc3(F.relu(self.fc2(hidden)))

    def _first_layer(self, batch: EpisodeBatch, start: int, stop: int) -> Tensor:
        """fc1 of the concatenated inputs, without concatenating them, [B, stop - start, N, units]."""
        state, obs = batch["state"][:, start:stop], batch["obs"][:, start:stop]
        actions, before = batch["actions_onehot"][:, start:stop], last_actions(batch, start, stop)
        check_shape("actions_onehot", actions, (*obs.shape[:2], self.n_agents, self.n_actions))
        of_state, of_obs, of_actions, of_last, of_id = self.fc1.weight.split(self.input_dims, dim=1)
        # Each agent sees the sum over all actions less what its own adds, which is the sum with its own at zero.
        own = th.einsum("btna,hna->btnh", actions, of_actions.unflatten(1, (self.n_agents, self.n_actions)))
        shared = F.linear(state.float().flatten(2), of_state, self.fc1.bias)
        shared = shared + F.linear(before.flatten(2), of_last) + own.sum(2)
        return shared.unsqueeze(2) - own + F.linear(obs.float().flatten(3), of_obs) + of_id.t()
