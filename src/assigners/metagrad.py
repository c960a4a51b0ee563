"""X_MetaGrad: sub-teams drawn from a learned policy."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from assigners.base import Assigner, Assignment
from components.agent_inputs import agent_input_size, sequence_inputs
from components.episode_buffer import EpisodeBatch
from components.probabilities import sample_categorical
from utils.checks import flat_size


class MetaGradAssigner(Assigner):
    """A softmax policy over sub-teams, X(k | i, tau, s), trained by the meta-gradient of Eq. 6 of the VAST paper.

    An MLP (two hidden layers, ELU) on the state and on what the agent network sees: observation, last action, id.

    Args:
        args: also assigner_hidden_dim and what the agents' inputs read.
    """

    def __init__(self, scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace) -> None:
        super().__init__(scheme, args)
        self.state_dim = flat_size(scheme["state"]["vshape"])
        width = args.assigner_hidden_dim
        self.fc1 = nn.Linear(self.state_dim + agent_input_size(scheme, args), width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, self.n_subteams)

    def logits(self, batch: EpisodeBatch) -> Tensor:
        """Unnormalised log X(. | i, tau, s) at the steps that hold data, [P, N, K] (rows as in `SequenceInputs`)."""
        inputs = sequence_inputs(batch, self.args)
        # The first layer's state half is the same for all agents of a step: computed once, then added to each.
        state_weight, agent_weight = self.fc1.weight.split([self.state_dim, self.fc1.in_features - self.state_dim], 1)
        state_half = F.linear(inputs.pack(batch["state"]).float(), state_weight, self.fc1.bias)
        hidden = F.elu(inputs.linear(agent_weight).add_(state_half.unsqueeze(1)))
        return self.fc3(F.elu(self.fc2(hidden)))

    def forward(self, batch: EpisodeBatch, greedy: bool = False) -> Assignment:
        log_x = F.log_softmax(self.logits(batch), dim=-1)
        with th.no_grad():
            x = log_x.exp()
            subteams = log_x.argmax(-1) if greedy else sample_categorical(x, self.generator(x.device))
            entropy = -(x * log_x).sum(-1)
        unpack = sequence_inputs(batch, self.args).unpack
        return Assignment(unpack(subteams), unpack(_entries(log_x, subteams)), unpack(entropy))

    def log_probs(self, batch: EpisodeBatch, subteams: Tensor) -> Tensor:
        log_x = F.log_softmax(self.logits(batch), dim=-1)
        inputs = sequence_inputs(batch, self.args)
        return inputs.unpack(_entries(log_x, inputs.pack(subteams)))


def _entries(log_x: Tensor, subteams: Tensor) -> Tensor:
    """The entries [P, N] of ``log_x`` [P, N, K] that belong to ``subteams`` [P, N]."""
    return log_x.gather(-1, subteams.unsqueeze(-1)).squeeze(-1)
