"""Optimisers by their name in the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace

import torch as th

from utils.errors import UserError


def make_optimiser(args: SimpleNamespace, params: Iterable[th.nn.Parameter], lr: float) -> th.optim.Optimizer:
    """The optimiser ``args.optimiser`` (rmsprop or adam) of ``params`` with learning rate ``lr``.

    Raises:
        UserError: another name.
    """
    if args.optimiser == "rmsprop":
        return th.optim.RMSprop(params, lr=lr, alpha=args.optim_alpha, eps=args.optim_eps)
    if args.optimiser == "adam":
        return th.optim.Adam(params, lr=lr, eps=args.optim_eps, fused=True)
    raise UserError(f"optimiser: expected rmsprop or adam, got {args.optimiser!r}")


def clipped_step(
    optimiser: th.optim.Optimizer, params: Sequence[th.nn.Parameter], loss: th.Tensor, max_norm: float
) -> th.Tensor:
    """One step of ``optimiser`` down the gradient of ``loss``, scaled to a global norm of at most ``max_norm``.

    Returns:
        The norm of the gradient before scaling.
    """
    optimiser.zero_grad()
    loss.backward()
    norm = th.nn.utils.clip_grad_norm_(params, max_norm)
    optimiser.step()
    return norm
