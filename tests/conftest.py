"""How the tests share the machine: a process for every core, each with one thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported; for the processes that tests start, too


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """No processes for files or single tests that are named, which begin sooner without; else xdist's own choice."""
    return None if all(Path(argument).is_dir() for argument in config.args) else 0
