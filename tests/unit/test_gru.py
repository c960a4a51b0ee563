"""The GRU over whole sequences, against PyTorch's cell called step by step."""

import pytest
import torch as th
from torch import nn

from modules.agents.gru import gru_sequence


def by_cell(cell, inputs, hidden, sizes):
    memories, row = [], 0
    for size in sizes:
        hidden = cell(inputs[row : row + size], hidden[:size])
        memories.append(hidden)
        row += size
    return th.cat(memories)


@pytest.mark.parametrize("sizes", [(4, 4, 4), (5, 5, 3, 3, 1), (1,), (2, 1, 1)])
def test_memories_and_gradients_are_those_of_the_cell(sizes):
    cell = nn.GRUCell(3, 6)
    inputs, hidden = th.randn(sum(sizes), 3, requires_grad=True), th.randn(sizes[0], 6)
    upstream = th.randn(sum(sizes), 6)
    results = []
    for run in (gru_sequence, by_cell):
        memories = run(cell, inputs, hidden, sizes)
        results.append((memories, *th.autograd.grad(memories, (inputs, *cell.parameters()), upstream)))
    for fast, plain in zip(*results, strict=True):
        th.testing.assert_close(fast, plain)


def test_gradients_in_double_precision():
    cell = nn.GRUCell(2, 3).double()
    inputs, hidden = th.randn(6, 2, dtype=th.double, requires_grad=True), th.randn(3, 3, dtype=th.double)
    assert th.autograd.gradcheck(lambda x, *_: gru_sequence(cell, x, hidden, (3, 2, 1)), (inputs, *cell.parameters()))
