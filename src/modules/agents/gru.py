"""A GRU over whole sequences: the numbers of ``nn.GRUCell`` called step by step, at a fraction of the time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch as th
from torch import Tensor, nn


def gru_sequence(cell: nn.GRUCell, inputs: Tensor, hidden: Tensor, sizes: Sequence[int]) -> Tensor:
    """The memories after every step of several sequences, of which longer ones come first.

    Everything that needs no recurrence is one matrix product for all steps, forwards and backwards; equations as in the
    documentation of ``nn.GRUCell`` (Cho et al., EMNLP 2014).

    Args:
        cell: holds the parameters; H units.
        inputs: [P, I], the rows of step 0, then those of step 1, ...; P is the sum of ``sizes``.
        hidden: memories before step 0, [sizes[0], H]; a constant, it gets no gradient.
        sizes: how many sequences reach each step; never more than at the step before. Row m of a step goes on in row m
            of the next.

    Returns:
        [P, H], laid out like ``inputs``.
    """
    new_first = [
        th.cat([part[2 * cell.hidden_size :], part[: 2 * cell.hidden_size]]) for part in (cell.weight_ih, cell.bias_ih)
    ]
    gates = nn.functional.linear(inputs, *new_first)
    return _Recurrence.apply(gates, hidden, cell.weight_hh, cell.bias_hh, tuple(sizes))


class _Recurrence(th.autograd.Function):
    """The part of a GRU that is sequential: from input gates [P, 3 H] (new, reset, update) to memories [P, H].

    PyTorch orders gates reset, update, new. Here the input's new gate comes first, so that in the backward pass the
    gradients of all gates fit side by side without a copy: the input's are columns 0 to 3 H of (new, reset, update,
    hidden new), those of the recurrent gates columns H to 4 H.
    """

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, sizes: tuple[int, ...]
    ) -> Tensor:
        rows, width = len(gates), hidden.shape[-1]
        memories, candidates = gates.new_empty(rows, width), gates.new_empty(rows, width)
        recurrent = gates.new_empty(rows, 3 * width)  # reset, update (as sigmoids), hidden new
        transposed, before = weight.t(), hidden
        for here in _steps(sizes):
            step, candidate = recurrent[here], candidates[here]
            before = before[: len(step)]
            th.addmm(bias, before, transposed, out=step)
            step[:, : 2 * width].add_(gates[here, width:]).sigmoid_()
            reset, update, hidden_new = step.split(width, dim=1)
            # tanh(x) = 2 sigmoid(2 x) - 1: PyTorch's sigmoid is several times as fast as its tanh on a CPU.
            th.addcmul(gates[here, :width], reset, hidden_new, out=candidate).mul_(2).sigmoid_().mul_(2).sub_(1)
            before = th.lerp(candidate, before, update, out=memories[here])
        ctx.sizes = sizes
        ctx.save_for_backward(hidden, weight, recurrent, candidates, memories)
        return memories

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, recurrent, candidates, memories = ctx.saved_tensors
        rows, width = memories.shape
        gradients = memories.new_empty(rows, 4 * width)  # of new, reset, update, hidden new
        to_gates, to_recurrent = gradients[:, : 3 * width], gradients[:, width:]
        starts = _previous_memories(hidden, memories, ctx.sizes)
        ahead = memories.new_empty(0, width)  # gradient of the memories that went on into the step after
        for here in reversed(_steps(ctx.sizes)):
            reset, update, hidden_new = recurrent[here].split(width, dim=1)
            to_new, to_reset, to_update, to_hidden_new = gradients[here].split(width, dim=1)
            flow, candidate = upstream[0][here].clone(), candidates[here]
            flow[: len(ahead)] += ahead
            to_candidate = th.addcmul(flow, flow, update, value=-1)
            th.addcmul(to_candidate, to_candidate * candidate, candidate, value=-1, out=to_new)  # tanh' = 1 - tanh^2
            th.mul(to_new, reset, out=to_hidden_new)
            th.ops.aten.sigmoid_backward(to_new * hidden_new, reset, grad_input=to_reset)
            th.ops.aten.sigmoid_backward((starts[here] - candidate).mul_(flow), update, grad_input=to_update)
            ahead = th.addmm(flow.mul_(update), to_recurrent[here], weight)
        return to_gates, None, to_recurrent.t() @ starts, to_recurrent.sum(0), None


def _steps(sizes: Sequence[int]) -> list[slice]:
    """The rows of each step."""
    return [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]


def _previous_memories(hidden: Tensor, memories: Tensor, sizes: Sequence[int]) -> Tensor:
    """The memories that each step began with, laid out like ``memories``."""
    starts = [hidden, *(memories[here] for here in _steps(sizes)[:-1])]
    return th.cat([start[:size] for start, size in zip(starts, sizes, strict=True)])
