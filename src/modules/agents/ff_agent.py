"""A feed-forward agent network like that of the released VAST experiments."""

from __future__ import annotations

from types import SimpleNamespace

import torch.nn.functional as F
from torch import Tensor, nn

from components.agent_inputs import SequenceInputs


class FFAgent(nn.Module):
    """Two hidden layers (ELU): from an agent's input to one output per action. It remembers nothing.

    What stands for its memory is the last hidden layer, which learners may read and no later step sees.

    Args:
        input_shape: I, entries of an agent's input.
        args: rnn_hidden_dim (H, units of both layers) and n_actions (A).
    """

    def __init__(self, input_shape: int, args: SimpleNamespace) -> None:
        super().__init__()
        self.fc1 = nn.Linear(input_shape, args.rnn_hidden_dim)
        self.fc2 = nn.Linear(args.rnn_hidden_dim, args.rnn_hidden_dim)
        self.fc3 = nn.Linear(args.rnn_hidden_dim, args.n_actions)

    def init_hidden(self) -> Tensor:
        """Zeros [1, H] on the network's device."""
        return self.fc1.weight.new_zeros(1, self.fc1.out_features)

    def forward(self, inputs: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        """(outputs [..., A], last hidden layer [..., H]) for inputs [..., I]."""
        features = F.elu(self.fc2(F.elu(self.fc1(inputs))))
        return self.fc3(features), features

    def forward_sequence(self, inputs: SequenceInputs, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        """All steps at once: (outputs [P, N, A], last hidden layers [P, N, H])."""
        features = F.elu(self.fc2(F.elu(inputs.linear(self.fc1.weight, self.fc1.bias))))
        return self.fc3(features), features
