"""Checks of what the environments of this project are given, and of what any environment declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.compiled import compiled
from utils.errors import UserError

# What an environment may declare in get_env_info()["dtypes"]: names that NumPy and PyTorch share.
STORED_KEYS = ("obs", "state", "avail_actions")
STORED_DTYPES = ("uint8", "int8", "int16", "float16", "float32")


def check_count(key: str, value: Any) -> None:
    """Raises UserError unless ``env_args.key``, a number of agents or steps, is a whole number of at least 1."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise UserError(f"env_args.{key}={value!r}: expected a whole number of at least 1")


def check_actions(
    actions: Sequence[int] | npt.NDArray[np.integer], n_agents: int, n_actions: int
) -> npt.NDArray[np.int64]:
    """``actions`` as an array [N]; ValueError unless they are N numbers in 0..A-1."""
    checked = np.ascontiguousarray(actions, dtype=np.int64)
    if checked.shape != (n_agents,) or not all_below(checked, n_actions):
        raise ValueError(f"actions: expected {n_agents} numbers in 0..{n_actions - 1}, got {checked.tolist()}")
    return checked


def check_batch_actions(
    actions: npt.NDArray[np.integer], shape: tuple[int, int], n_actions: int
) -> npt.NDArray[np.int64]:
    """``actions`` as a contiguous array ``shape``, (M, N); ValueError unless they are numbers in 0..A-1."""
    checked = np.ascontiguousarray(actions, dtype=np.int64)
    if checked.shape != shape or not all_below(checked.reshape(-1), n_actions):
        raise ValueError(
            f"actions: expected {shape[0]} x {shape[1]} numbers in 0..{n_actions - 1}, got {checked.tolist()}"
        )
    return checked


@compiled
def all_below(numbers: npt.NDArray[np.int64], n: int) -> bool:
    """Whether all numbers are in 0..n-1."""
    for number in numbers:
        if number < 0 or number >= n:
            return False
    return True


def check_dtypes(dtypes: Any) -> None:
    """Raises UserError unless ``get_env_info()["dtypes"]`` maps some of ``STORED_KEYS`` to ``STORED_DTYPES``."""
    if not isinstance(dtypes, dict):
        raise UserError(f"get_env_info()['dtypes']: expected a dict, got {dtypes!r}")
    for key, name in dtypes.items():
        if key not in STORED_KEYS:
            raise UserError(f"get_env_info()['dtypes']: unknown key {key!r}, known are {', '.join(STORED_KEYS)}")
        if not isinstance(name, str) or name not in STORED_DTYPES:
            raise UserError(
                f"get_env_info()['dtypes']: expected one of {', '.join(STORED_DTYPES)} for '{key}', got {name!r}"
            )


def is_over(terminated: Any, number: int = 0) -> bool:
    """The one rule of what an environment's ``step`` may return as ``terminated``: one truth value for the team.

    Args:
        terminated: what came; NumPy's and PyTorch's scalars will do.
        number: of the environment among several, for the message.

    Raises:
        UserError: it is a list, a dict or the like, which Python would count as true as soon as it is not empty.
    """
    if isinstance(terminated, (bool, np.bool_)):
        return bool(terminated)
    if isinstance(terminated, (int, float)) or getattr(terminated, "ndim", None) == 0:
        return bool(terminated)
    raise UserError(
        f"environment {number}: step() returned terminated={terminated!r}: expected True or False for the whole team; "
        "if agents end one by one, return all(...) of theirs"
    )
