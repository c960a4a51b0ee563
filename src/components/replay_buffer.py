"""The episodes that learners sample from."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import torch as th

from components.episode_batch import EpisodeBatch
from components.scheme import Preprocess, Scheme, episode_shape, full_scheme, stored_dtype
from utils.errors import UserError

FREE_MEMORY_SHARE = 0.9  # of the available memory that a replay buffer may claim


class ReplayBuffer(EpisodeBatch):
    """A ring of the newest ``buffer_size`` episodes.

    A key of the scheme may say in which dtype the buffer keeps it (``"stored": th.uint8``), which has to hold all its
    values exactly. Only ``data`` shows these tensors: what indexing and sampling give has the scheme's ``dtype``, and
    is a copy where the two differ.

    Raises:
        UserError: the buffer would not fit into the memory that is free, before any of it is allocated.
    """

    def __init__(
        self,
        scheme: Mapping[str, Mapping[str, Any]],
        groups: Mapping[str, int],
        buffer_size: int,
        max_seq_length: int,
        preprocess: Preprocess | None = None,
        device: str | th.device = "cpu",
    ) -> None:
        check_memory(scheme, groups, buffer_size, max_seq_length, preprocess, device)
        super().__init__(scheme, groups, buffer_size, max_seq_length, preprocess=preprocess, device=device)
        self.buffer_size = buffer_size
        self.buffer_index = 0
        self.episodes_in_buffer = 0

    def _allocate(self, scheme: Scheme) -> None:
        super()._allocate({key: {**info, "dtype": stored_dtype(info)} for key, info in scheme.items()})

    def insert_episode_batch(self, ep_batch: EpisodeBatch) -> None:
        """Stores the episodes, over the oldest ones once the buffer is full.

        Raises:
            UserError: the first episodes hold a value that the dtype which is to store it cannot hold.
        """
        if self.episodes_in_buffer == 0:  # only once, for speed: what is declared wrongly mostly shows at once
            self._check_exact(ep_batch)
        start, room = 0, self.buffer_size - self.buffer_index
        while start < ep_batch.batch_size:
            part = ep_batch[start : start + room] if ep_batch.batch_size - start > room else ep_batch[start:]
            self._insert(part)
            start, room = start + part.batch_size, self.buffer_size - self.buffer_index

    def _check_exact(self, ep_batch: EpisodeBatch) -> None:
        for key in ep_batch.scheme:
            values, dtype = ep_batch[key], stored_dtype(self.scheme[key])
            if dtype == values.dtype:
                continue
            changed = values.to(dtype).to(values.dtype) != values
            if changed.any():
                name = str(dtype).removeprefix("torch.")
                raise UserError(
                    f"get_env_info()['dtypes']: '{key}' is stored as {name}, which cannot hold the value "
                    f"{values[changed][0].item()}; declare a dtype that holds all values"
                )

    def _insert(self, part: EpisodeBatch) -> None:
        rows = slice(self.buffer_index, self.buffer_index + part.batch_size)
        # Steps behind a short episode must not keep what an older, longer one left there.
        self.data.transition_data["filled"][rows] = 0
        for key, values in part.data.transition_data.items():
            self.data.transition_data[key][rows, : part.max_seq_length].copy_(values)
        for key, values in part.data.episode_data.items():
            self.data.episode_data[key][rows].copy_(values)
        self.episodes_in_buffer = max(self.episodes_in_buffer, rows.stop)
        self.buffer_index = rows.stop % self.buffer_size

    def _tensor(self, key: str) -> th.Tensor:
        return self._as_in_scheme(key, super()._tensor(key))

    def _select_steps(self, item: Any) -> EpisodeBatch:
        part = super()._select_steps(item)
        for store in (part.data.transition_data, part.data.episode_data):
            for key, values in store.items():
                store[key] = self._as_in_scheme(key, values)
        return part

    def _as_in_scheme(self, key: str, values: th.Tensor) -> th.Tensor:
        return values.to(self.scheme[key].get("dtype", th.float32))

    def can_sample(self, batch_size: int) -> bool:
        """Whether the buffer holds at least ``batch_size`` episodes."""
        return self.episodes_in_buffer >= batch_size

    def sample(self, batch_size: int) -> EpisodeBatch:
        """``batch_size`` different episodes, uniformly, drawn with NumPy's global generator.

        Returns:
            Copies of the episodes, cut to the steps of the longest.
        """
        if not self.can_sample(batch_size):
            raise ValueError(f"batch_size: the buffer holds {self.episodes_in_buffer} episodes, got {batch_size}")
        drawn = np.random.choice(self.episodes_in_buffer, batch_size, replace=False)
        rows = th.as_tensor(drawn, device=self.device)
        length = int(self.data.transition_data["filled"].index_select(0, rows).sum(1).max())
        transition = {
            key: self._as_in_scheme(key, values[:, :length].index_select(0, rows))
            for key, values in self.data.transition_data.items()
        }
        constant = {
            key: self._as_in_scheme(key, values.index_select(0, rows)) for key, values in self.data.episode_data.items()
        }
        data = SimpleNamespace(transition_data=transition, episode_data=constant)
        return EpisodeBatch(self.scheme, self.groups, batch_size, length, data, self.preprocess, self.device)

    def state_dict(self) -> dict[str, Any]:
        """The stored episodes, and where the next one goes.

        Its tensors are views of the buffer's own, so that a large buffer is not held twice: save them before the next
        episode comes. What a sample is drawn with belongs to `GlobalGenerators`.
        """
        episodes = {key: values[: self.episodes_in_buffer] for key, values in self._stored().items()}
        return {"size": self.buffer_size, "index": self.buffer_index, "episodes": episodes}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over the episodes of another buffer of the same size and scheme.

        Raises:
            ValueError: size or scheme differ.
        """
        if state_dict["size"] != self.buffer_size:
            raise ValueError(f"buffer_size: expected the state of {self.buffer_size}, got {state_dict['size']}")
        stored, episodes = self._stored(), state_dict["episodes"]
        expected, got = _kinds(stored), _kinds(episodes)
        if expected != got:
            raise ValueError(f"replay buffer: expected episodes of {expected}, got {got}")
        self.data.transition_data["filled"].zero_()
        for key, values in episodes.items():
            stored[key][: len(values)].copy_(values)
        self.episodes_in_buffer, self.buffer_index = len(episodes["filled"]), state_dict["index"]

    def _stored(self) -> dict[str, th.Tensor]:
        return {**self.data.transition_data, **self.data.episode_data}

    def __repr__(self) -> str:
        return f"ReplayBuffer({self.episodes_in_buffer}/{self.buffer_size} episodes, keys={list(self.scheme)})"


def buffer_bytes(
    scheme: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, int],
    episodes: int,
    max_seq_length: int,
    preprocess: Preprocess | None = None,
) -> int:
    """Bytes that a replay buffer of these sizes takes."""
    return episodes * sum(
        prod(episode_shape(key, info, groups, max_seq_length)) * stored_dtype(info).itemsize
        for key, info in full_scheme(scheme, preprocess).items()
    )


def check_memory(
    scheme: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, int],
    buffer_size: int,
    max_seq_length: int,
    preprocess: Preprocess | None,
    device: str | th.device,
) -> None:
    """Refuses a replay buffer larger than the free memory of its device, before it is allocated."""
    needed = buffer_bytes(scheme, groups, buffer_size, max_seq_length, preprocess)
    on_gpu = th.device(device).type == "cuda"
    free = th.cuda.mem_get_info(device)[0] if on_gpu else psutil.virtual_memory().available
    if needed > FREE_MEMORY_SHARE * free:
        fits = int(FREE_MEMORY_SHARE * free * buffer_size // needed)
        raise UserError(
            f"buffer_size={buffer_size} needs {needed / 2**30:.1f} GiB for the replay buffer but only "
            f"{free / 2**30:.1f} GiB of memory are free: lower buffer_size to {fits} or less"
        )


def _kinds(episodes: Mapping[str, th.Tensor]) -> dict[str, tuple[tuple[int, ...], th.dtype]]:
    """The shape and dtype of one episode of each key."""
    return {key: (tuple(values.shape[1:]), values.dtype) for key, values in episodes.items()}
