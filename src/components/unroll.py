"""The one loop over time: a controller's outputs for whole episodes."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch as th
from torch import Tensor

from components.episode_buffer import EpisodeBatch


def unroll(mac: Any, batch: EpisodeBatch, with_memories: bool = True) -> tuple[Tensor, Tensor | None]:
    """Outputs of ``mac`` at every step of ``batch`` that holds data, from fresh memories.

    Works for every controller with PyMARL's ``init_hidden`` and ``forward(batch, t)``; one that also has
    ``forward_sequence`` is asked for all steps at once. What stands at steps without data is of no meaning.

    Returns:
        Outputs [B, T, N, A], and the memories behind them [B, T, N, H], or None if the controller keeps no
        ``hidden_states`` tensor, or nobody wants them (``with_memories``).
    """
    if knows_sequences(mac):
        return mac.forward_sequence(batch, with_memories)
    outputs: list[Tensor] = []
    memories: list[Any] = []
    mac.init_hidden(batch.batch_size)
    for t in range(batch.max_seq_length):
        outputs.append(mac.forward(batch, t=t))
        memories.append(getattr(mac, "hidden_states", None))
    stacked = th.stack(outputs, dim=1)
    if not (with_memories and all(isinstance(memory, Tensor) for memory in memories)):
        return stacked, None
    # Agents return memories as [B * N, H] or [B, N, H]; either way N belongs to one episode.
    per_agent = [memory.reshape(batch.batch_size, stacked.shape[2], -1) for memory in memories]
    return stacked, th.stack(per_agent, dim=1)


def knows_sequences(mac: Any) -> bool:
    """Whether the fast methods of the controller and of its agent stand for their step-by-step ones.

    A plug-in that inherits ``forward_sequence`` but overrides a method that it stands for must be stepped.
    """
    steps = ("forward", "init_hidden", "_build_inputs", "_get_input_shape")
    return _is_as_derived(mac.__class__, steps) and _is_as_derived(mac.agent.__class__, ("forward",))


@cache
def _is_as_derived(cls: Any, steps: tuple[str, ...]) -> bool:
    """Whether ``cls`` has ``forward_sequence`` and takes none of ``steps`` from a class below its definer."""
    fast = "forward_sequence"
    definer = next((base for base in cls.__mro__ if fast in vars(base)), None)
    if definer is None:
        return False
    below = cls.__mro__[: cls.__mro__.index(definer)]
    return not any(step in vars(base) for base in below for step in steps)
