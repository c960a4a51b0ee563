"""Functions compiled by numba, and where their machine code is kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_room: list[tempfile.TemporaryDirectory[str]] = []  # until the process ends


def compiled(function: Function) -> Function:
    """Compiles ``function`` at its first call with arguments of new types.

    The machine code is kept for later processes: beside the source, else where numba keeps a user's, else (a checkout
    and a home that cannot be written) in a temporary folder for this process and its children.

    It is compiled anew when its source file changes, but not when another file does. So a compiled function uses no
    constants and no compiled functions of other files; what they define, it takes as arguments.
    """
    compile_: Callable[[Function], Any] = numba.njit(cache=True)
    try:
        return compile_(function)
    except RuntimeError:  # numba found no place for its files
        _room.append(tempfile.TemporaryDirectory(prefix="numba-"))
        os.environ["NUMBA_CACHE_DIR"] = _room[-1].name
        numba.config.reload_config()
        return compile_(function)
