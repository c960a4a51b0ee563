"""How the C library deals with the memory of tensors."""

from __future__ import annotations

import ctypes

# mallopt(3) of glibc
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
LARGEST = 2**31 - 1  # bytes, of a C int


def keep_freed_memory() -> bool:
    """Has the C library keep what tensors free, for the next ones; returns whether it does.

    Every update allocates and frees the same large tensors. By default glibc gives each of them back to the system and
    gets fresh pages for the next one, which the system zeroes page by page: up to a third of an update's time. The
    price: a process keeps its peak, and fragments make that a little higher. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # No block gets a mapping of its own, and the heap's end is kept.
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, LARGEST))
