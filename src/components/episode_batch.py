"""Episodes as tensors: what runners fill, the replay buffer keeps and learners read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import torch as th

from components.scheme import Preprocess, Scheme, episode_shape, full_scheme

Derived = TypeVar("Derived")
Index = Any  # int, slice, list, array or tensor of ints


class EpisodeBatch:
    """B episodes of at most T steps, one tensor per key of a scheme.

    A scheme maps a key to ``vshape`` (trailing shape, or an int) and optionally ``dtype`` (float32),
    ``group`` (its size becomes a dimension before vshape: ``"agents"`` gives ``[B, T, N, *vshape]``)
    and ``episode_const`` (no time dimension); ``stored`` is for `ReplayBuffer`. ``batch["key"]`` is the
    tensor, ``batch["a", "b"]`` a batch of two keys, ``batch[episodes]`` and ``batch[episodes, steps]`` are
    smaller batches. The key ``filled`` [B, T, 1] marks the steps that hold data.

    Args:
        scheme: the keys, as above; ``filled`` is reserved.
        groups: sizes of the groups.
        batch_size: B.
        max_seq_length: T.
        data: tensors to adopt (``transition_data`` and ``episode_data`` dicts) instead of zeros.
        preprocess: ``{key: (new_key, transforms)}``: writing ``key`` also writes ``new_key``.
        device: where the tensors live.
    """

    def __init__(
        self,
        scheme: Mapping[str, Mapping[str, Any]],
        groups: Mapping[str, int],
        batch_size: int,
        max_seq_length: int,
        data: SimpleNamespace | None = None,
        preprocess: Preprocess | None = None,
        device: str | th.device = "cpu",
    ) -> None:
        self.groups = dict(groups)
        self.batch_size = batch_size
        self.max_seq_length = max_seq_length
        self.preprocess = dict(preprocess or {})
        self.device = device
        self._derived: dict[Any, Any] = {}
        if data is not None:
            self.scheme: Scheme = {key: dict(info) for key, info in scheme.items()}
            self.data = data
        else:
            self.scheme = full_scheme(scheme, self.preprocess)
            self.data = SimpleNamespace(transition_data={}, episode_data={})
            self._allocate(self.scheme)

    def _allocate(self, scheme: Scheme) -> None:
        for key, info in scheme.items():
            shape = (self.batch_size, *episode_shape(key, info, self.groups, self.max_seq_length))
            store = self.data.episode_data if info.get("episode_const") else self.data.transition_data
            store[key] = th.zeros(shape, dtype=info.get("dtype", th.float32), device=self.device)

    def derived(self, key: Any, make: Callable[[], Derived]) -> Derived:
        """What ``make`` computes from the tensors, computed once for each ``key``; `update` and `to` forget it."""
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]

    def extend(self, scheme: Mapping[str, Mapping[str, Any]], groups: Mapping[str, int] | None = None) -> None:
        """Adds zero-filled keys to the batch."""
        new = {key: dict(info) for key, info in scheme.items()}
        self.groups.update(groups or {})
        self.scheme.update(new)
        self._allocate(new)

    def to(self, device: str | th.device) -> EpisodeBatch:
        """Moves every tensor to ``device``, in place."""
        for store in (self.data.transition_data, self.data.episode_data):
            for key, tensor in store.items():
                store[key] = tensor.to(device)
        self.device = device
        self._derived.clear()
        return self

    def update(
        self, data: Mapping[str, Any], bs: Index = slice(None), ts: Index = slice(None), mark_filled: bool = True
    ) -> None:
        """Writes values of some keys for episodes ``bs`` and steps ``ts``.

        Dimensions of size 1 may be missing from a value, or be too many. ``mark_filled`` marks the steps as
        holding data.

        Raises:
            KeyError: a key that the scheme lacks.
            ValueError: a value whose shape does not fit.
        """
        self._derived.clear()
        episodes, steps = _as_index(bs), _as_index(ts)
        span = self._span(episodes, steps)
        if mark_filled and not data.keys().isdisjoint(self.data.transition_data):
            self.data.transition_data["filled"][episodes, steps] = 1
        where: tuple[Any, ...]
        for key, value in data.items():
            if key in self.data.transition_data:
                store, where = self.data.transition_data, (episodes, steps)
            elif key in self.data.episode_data:
                store, where = self.data.episode_data, (episodes,)
            else:
                raise KeyError(f"'{key}' is not in the batch's scheme: {', '.join(self.scheme)}")
            place = (*span[: len(where)], *store[key].shape[len(where) :])
            value = _as_tensor(value, store[key])
            if _long_dims(value.shape) != _long_dims(place):
                raise ValueError(f"'{key}': expected shape {place}, got {tuple(value.shape)}")
            value = value.reshape(place)
            store[key][where] = value
            if key in self.preprocess:
                new_key, transforms = self.preprocess[key]
                for transform in transforms:
                    value = transform.transform(value)
                place = (*span[: len(where)], *store[new_key].shape[len(where) :])
                store[new_key][where] = value.reshape(place)

    def _span(self, episodes: Any, steps: Any) -> tuple[int, ...]:
        """How many episodes and steps these indices select; not read off a key, of which it would copy data."""
        return tuple(th.empty(1).expand(self.batch_size, self.max_seq_length)[episodes, steps].shape)

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, str):
            return self._tensor(item)
        if isinstance(item, tuple) and item and all(isinstance(key, str) for key in item):
            return self._select_keys(item)
        return self._select_steps(item)

    def _tensor(self, key: str) -> th.Tensor:
        for store in (self.data.transition_data, self.data.episode_data):
            if key in store:
                return store[key]
        raise KeyError(f"'{key}' is not in the batch's scheme: {', '.join(self.scheme)}")

    def _select_keys(self, keys: tuple[str, ...]) -> EpisodeBatch:
        data = SimpleNamespace(transition_data={}, episode_data={})
        for key in keys:
            tensor = self._tensor(key)
            store = data.transition_data if key in self.data.transition_data else data.episode_data
            store[key] = tensor
        scheme = {key: self.scheme[key] for key in keys}
        return EpisodeBatch(scheme, self.groups, self.batch_size, self.max_seq_length, data, device=self.device)

    def _select_steps(self, item: Any) -> EpisodeBatch:
        episodes, steps = item if isinstance(item, tuple) else (item, slice(None))
        episodes, steps = _as_index(episodes), _as_index(steps)
        if not isinstance(steps, slice):
            raise IndexError("steps of a batch are selected by an int or a slice, so that they stay contiguous")
        transition = {key: tensor[episodes, steps] for key, tensor in self.data.transition_data.items()}
        constant = {key: tensor[episodes] for key, tensor in self.data.episode_data.items()}
        data = SimpleNamespace(transition_data=transition, episode_data=constant)
        batch_size, length = self._span(episodes, steps)
        return EpisodeBatch(self.scheme, self.groups, batch_size, length, data, self.preprocess, self.device)

    def max_t_filled(self) -> int:
        """The number of steps of the longest episode (its last, bootstrap-only step included)."""
        return int(self.data.transition_data["filled"].sum(1).max())

    def __repr__(self) -> str:
        return (
            f"EpisodeBatch(batch_size={self.batch_size}, max_seq_length={self.max_seq_length}, "
            f"keys={list(self.scheme)}, groups={self.groups})"
        )


def concatenate(batches: Sequence[EpisodeBatch]) -> EpisodeBatch:
    """One batch with the episodes of several that share a scheme; shorter ones get unfilled steps at their end."""
    first = batches[0]
    length = max(batch.max_seq_length for batch in batches)

    def padded(tensor: th.Tensor) -> th.Tensor:
        missing = tensor.new_zeros(tensor.shape[0], length - tensor.shape[1], *tensor.shape[2:])
        return th.cat([tensor, missing], dim=1)

    transition = {
        key: th.cat([padded(batch.data.transition_data[key]) for batch in batches])
        for key in first.data.transition_data
    }
    constant = {key: th.cat([batch.data.episode_data[key] for batch in batches]) for key in first.data.episode_data}
    data = SimpleNamespace(transition_data=transition, episode_data=constant)
    size = sum(batch.batch_size for batch in batches)
    return EpisodeBatch(first.scheme, first.groups, size, length, data, first.preprocess, first.device)


def _as_index(index: Index) -> Any:
    """Slices stay slices, ints become slices (which keep the dimension), lists and arrays index tensors or masks."""
    if isinstance(index, slice):
        return index
    if isinstance(index, (int, np.integer)):
        return slice(index, index + 1 or None)
    chosen = th.as_tensor(index)
    return chosen if chosen.dtype == th.bool else chosen.long()


def _long_dims(shape: Sequence[int]) -> list[int]:
    """The dimensions that are not of size 1."""
    return [size for size in shape if size != 1]


def _as_tensor(value: Any, like: th.Tensor) -> th.Tensor:
    """``value`` with the dtype and device of ``like``; lists of arrays are joined by NumPy, which is fast."""
    if not isinstance(value, th.Tensor):
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], th.Tensor):
            value = th.stack([th.as_tensor(entry) for entry in value])
        else:
            # PyTorch takes no array with negative strides, and warns of one that may be read only: these are copied.
            value = th.from_numpy(np.require(value, requirements=("C", "W")))
    return value.to(dtype=like.dtype, device=like.device)
