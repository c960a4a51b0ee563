"""Checks of what public functions are given."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def check_shape(name: str, tensor: Tensor, expected: Sequence[int]) -> None:
    """Raises ValueError unless ``tensor`` has the expected shape."""
    if tuple(tensor.shape) != tuple(expected):
        raise ValueError(f"{name}: expected shape {tuple(expected)}, got {tuple(tensor.shape)}")


def flat_size(shape: int | Sequence[int]) -> int:
    """The number of entries of a shape; PyMARL's environments give state and observation shapes as an int."""
    size = 1
    for length in (shape,) if isinstance(shape, int) else shape:
        size *= int(length)
    return size
