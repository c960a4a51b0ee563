"""Linear layers that share an input, and stacks of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn


def shared_linear(inputs: Tensor, layers: Sequence[Any]) -> list[Tensor]:
    """What each of the linear ``layers`` makes of the first entries of its input, by one matrix product for all.

    A layer may take more than ``inputs`` [..., I]: then this is the part of its output that does not depend on the
    rest (bias included), to which the caller adds the other part.

    Returns:
        [..., units] of each layer.
    """
    width = inputs.shape[-1]
    weight, bias = th.cat([layer.weight[:, :width] for layer in layers]), th.cat([layer.bias for layer in layers])
    return list(F.linear(inputs, weight, bias).split([layer.out_features for layer in layers], dim=-1))


def mlp(in_dim: int, hidden_dim: int, hidden_layers: int, out_dim: int = 1) -> nn.Sequential:
    """Linear and ReLU layers with ``hidden_layers`` hidden ones."""
    layers: list[nn.Module] = []
    for _ in range(hidden_layers):
        layers += [nn.Linear(in_dim, hidden_dim), nn.ReLU()]
        in_dim = hidden_dim
    return nn.Sequential(*layers, nn.Linear(in_dim, out_dim))
