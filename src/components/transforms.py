"""Transforms that a batch's ``preprocess`` applies to what is written into it."""

from __future__ import annotations

import torch as th


class Transform:
    """A function on tensors that knows the shape and dtype of its result.

    Attributes:
        stored: the dtype in which a replay buffer keeps results, which must hold them exactly; None for their own.
    """

    stored: th.dtype | None = None

    def transform(self, tensor: th.Tensor) -> th.Tensor:
        """The transformed tensor."""
        raise NotImplementedError

    def infer_output_info(self, vshape_in: tuple[int, ...], dtype_in: th.dtype) -> tuple[tuple[int, ...], th.dtype]:
        """Trailing shape and dtype of the result for an input of the given trailing shape and dtype."""
        raise NotImplementedError


class OneHot(Transform):
    """Integers ``[..., 1]`` to one-hot rows ``[..., out_dim]`` (float32)."""

    stored = th.uint8

    def __init__(self, out_dim: int) -> None:
        self.out_dim = out_dim

    def transform(self, tensor: th.Tensor) -> th.Tensor:
        onehot = tensor.new_zeros(*tensor.shape[:-1], self.out_dim, dtype=th.float32)
        return onehot.scatter_(-1, tensor.long(), 1.0)

    def infer_output_info(self, vshape_in: tuple[int, ...], dtype_in: th.dtype) -> tuple[tuple[int, ...], th.dtype]:
        return (self.out_dim,), th.float32
