"""The floor under a computation: the time of its matrix products alone.

What a program does beside its products (copies, activations, losses, optimiser steps, Python) can be made faster; the
products cannot, short of another algorithm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import torch as th
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Every product that PyTorch ends up in, by where its two factors stand among the arguments; functions such as linear,
# matmul and einsum are made of these.
FACTORS = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot"), 0),
    **dict.fromkeys(("addmm", "addmv", "baddbmm", "addbmm", "_addmm_activation"), 1),
}


@dataclass(frozen=True)
class Layout:
    """How a tensor lies in memory; transposed and expanded ones differ from others in their strides."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: th.dtype

    @staticmethod
    def of(tensor: Tensor) -> Layout:
        """The layout of ``tensor``."""
        return Layout(tuple(tensor.shape), tensor.stride(), tensor.dtype)

    def random(self) -> Tensor:
        """A tensor of this layout, filled with normal numbers."""
        extent = 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        return th.randn(extent).to(self.dtype).as_strided(self.shape, self.stride)


@dataclass(frozen=True)
class Product:
    """One call of a product: the operator, its arguments with layouts in the place of tensors."""

    operator: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def flops(self) -> int:
        """Multiplications and additions of the two factors' product."""
        first = FACTORS[_name(self.operator)]
        left, right = self.args[first], self.args[first + 1]
        columns = right.shape[-1] if len(right.shape) > 1 else 1
        return 2 * prod(left.shape) * columns


class ProductRecorder(TorchDispatchMode):
    """Records every product of PyTorch within a ``with`` block, in order, those of backward passes too.

    Sees what this thread does, which on a CPU includes backward passes.

    Attributes:
        products: the calls so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if _name(func) in FACTORS:
            layouts = {key: _layout(value) for key, value in kwargs.items()}
            self.products.append(Product(func, tuple(_layout(arg) for arg in args), layouts))
        elif _is_composite(func):
            # In inference mode functions such as linear arrive whole: look at what they are made of.
            with self:
                return func.decompose(*args, **kwargs)
        return func(*args, **kwargs)


def recorded_products(work: Callable[[], object]) -> list[Product]:
    """The products of one call of ``work``."""
    with ProductRecorder() as recorder:
        work()
    return recorder.products


def total_flops(products: Sequence[Product]) -> int:
    """Multiplications and additions of all ``products``."""
    return sum(product.flops for product in products)


def replay_of(products: Sequence[Product]) -> Callable[[], None]:
    """A function that does the same products, in the same order, on random tensors of the same layouts."""
    pool: dict[tuple[Layout, Any], Tensor] = {}

    def place(value: Any, slot: Any) -> Any:
        # One tensor for all arguments of a layout in a slot: what was just in use lies in the cache, as a floor should.
        if not isinstance(value, Layout):
            return value
        if (value, slot) not in pool:
            pool[value, slot] = value.random()
        return pool[value, slot]

    calls = [
        (
            product.operator,
            [place(value, slot) for slot, value in enumerate(product.args)],
            {key: place(value, key) for key, value in product.kwargs.items()},
        )
        for product in products
    ]

    @th.no_grad()
    def replay() -> None:
        for operator, args, kwargs in calls:
            operator(*args, **kwargs)

    return replay


def _name(operator: Any) -> str:
    """``addmm`` for aten.addmm.out, aten.addmm_.default and so on."""
    return operator.overloadpacket.__name__.rstrip("_")


@cache
def _is_composite(operator: Any) -> bool:
    return operator._can_decompose()


def _layout(value: Any) -> Any:
    return Layout.of(value) if isinstance(value, Tensor) else value
