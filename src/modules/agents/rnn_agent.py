"""The recurrent agent network of PyMARL."""

from __future__ import annotations

from types import SimpleNamespace

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn


class RNNAgent(nn.Module):
    """Linear, ReLU, GRU, Linear: from an agent's input and memory to one output per action.

    Args:
        input_shape: I, entries of an agent's input.
        args: rnn_hidden_dim (H) and n_actions (A).
    """

    def __init__(self, input_shape: int, args: SimpleNamespace) -> None:
        super().__init__()
        self.args = args
        self.fc1 = nn.Linear(input_shape, args.rnn_hidden_dim)
        self.rnn = nn.GRUCell(args.rnn_hidden_dim, args.rnn_hidden_dim)
        self.fc2 = nn.Linear(args.rnn_hidden_dim, args.n_actions)

    def init_hidden(self) -> Tensor:
        """A zero memory [1, H] on the network's device."""
        return self.fc1.weight.new_zeros(1, self.args.rnn_hidden_dim)

    def forward(self, inputs: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        """One step: (outputs [M, A], memory [M, H]) for inputs [M, I] and a memory of M * H entries."""
        hidden = self.rnn(F.relu(self.fc1(inputs)), hidden_state.reshape(-1, self.args.rnn_hidden_dim))
        return self.fc2(hidden), hidden

    def forward_sequence(self, inputs: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        """All steps: (outputs [T, M, A], memories [T, M, H]) for inputs [T, M, I].

        The same as T calls of ``forward``, with only the recurrence inside the loop over time.
        """
        features = F.relu(self.fc1(inputs))
        hidden = hidden_state.reshape(-1, self.args.rnn_hidden_dim)
        memories = []
        for step_features in features.unbind(0):
            hidden = self.rnn(step_features, hidden)
            memories.append(hidden)
        stacked = th.stack(memories)
        return self.fc2(stacked), stacked
