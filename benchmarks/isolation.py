"""Measurements in processes of their own, so that one does not leave memory, caches or threads to the next.

The processes are forked from a server that has imported everything and run nothing: a measurement starts at once.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]


@contextmanager
def isolated(module: str) -> Iterator[Callable[..., Any]]:
    """Gives ``call(function, *args)``, which runs a function in a fresh process and returns its result.

    ``module`` is imported there already. An exception there is raised here; a process that dies is one too. NumPy
    gets one thread: what the environments do is not to be helped by cores that a row's number of threads does not
    grant.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT), str(PROJECT / "src")])  # for the server's imports
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        yield lambda function, *args: pool.submit(function, *args).result()
