"""The recurrent agent network of PyMARL."""

from __future__ import annotations

from types import SimpleNamespace

import torch.nn.functional as F
from torch import Tensor, nn

from components.agent_inputs import SequenceInputs
from modules.agents.gru import gru_sequence


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

    def forward_sequence(self, inputs: SequenceInputs, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        """All steps at once: (outputs [P, N, A], memories [P, N, H]), the same as calls of ``forward`` step by step.

        Args:
            inputs: of episodes that start with the memories ``hidden_state``, [B * N, H].
        """
        features = F.relu(inputs.linear(self.fc1.weight, self.fc1.bias))
        rows, n_agents, width = features.shape
        sizes = [episodes * n_agents for episodes in inputs.sizes]
        hidden = hidden_state.reshape(-1, width)[: sizes[0]]
        memories = gru_sequence(self.rnn, features.view(-1, width), hidden, sizes).view(rows, n_agents, width)
        return self.fc2(memories), memories
