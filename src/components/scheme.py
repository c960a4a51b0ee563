"""What the keys of an episode are: shapes, dtypes, and what is computed from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch as th

from components.transforms import Transform

Scheme = dict[str, dict[str, Any]]
Preprocess = Mapping[str, tuple[str, Sequence[Transform]]]


def full_scheme(scheme: Mapping[str, Mapping[str, Any]], preprocess: Preprocess | None) -> Scheme:
    """``scheme`` with ``filled`` and the keys that ``preprocess`` writes, stored as the last transform says."""
    if "filled" in scheme:
        raise ValueError("'filled' is a reserved key of the batch's scheme")
    full = {key: dict(info) for key, info in scheme.items()}
    for key, (new_key, transforms) in (preprocess or {}).items():
        info = dict(full[key])
        vshape, dtype, stored = trailing_shape(info), info.get("dtype", th.float32), stored_dtype(info)
        for transform in transforms:
            vshape, dtype = transform.infer_output_info(vshape, dtype)
            stored = transform.stored or dtype
        full[new_key] = {**info, "vshape": vshape, "dtype": dtype, "stored": stored}
    full["filled"] = {"vshape": (1,), "dtype": th.long, "stored": th.uint8}
    return full


def stored_dtype(info: Mapping[str, Any]) -> th.dtype:
    """The dtype in which a replay buffer keeps a key of this entry in the scheme."""
    return info.get("stored") or info.get("dtype", th.float32)


def episode_shape(key: str, info: Mapping[str, Any], groups: Mapping[str, int], max_seq_length: int) -> tuple[int, ...]:
    """The shape of one episode of ``key``."""
    shape = trailing_shape(info)
    group = info.get("group")
    if group:
        if group not in groups:
            raise ValueError(f"'{key}': group '{group}' is unknown, groups are {', '.join(groups)}")
        shape = (groups[group], *shape)
    return shape if info.get("episode_const") else (max_seq_length, *shape)


def trailing_shape(info: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of one value of this entry in the scheme, without time and group."""
    vshape = info["vshape"]
    return (int(vshape),) if isinstance(vshape, (int, np.integer)) else tuple(vshape)
