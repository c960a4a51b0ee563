"""What becomes of freed memory."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiment.memory import keep_freed_memory

SRC = Path(__file__).resolve().parents[2] / "src"
# Faults: pages that the system had to provide. A tensor of 64 MB has 16,384 of 4 kB.
COUNT_FAULTS = """
import resource, sys
import torch as th
sys.path.insert(0, {src!r})
from experiment.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
for _ in range(30):  # until the heap has found its size
    th.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    th.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep):
    script = COUNT_FAULTS.format(src=str(SRC), keep=keep)
    return int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_used_again():
    assert faults(keep=True) < 1000
    assert faults(keep=False) > 10_000  # else there would be nothing to gain


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert keep_freed_memory() is False


def test_a_library_that_refuses_is_told(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda option, value: 0))
    assert keep_freed_memory() is False
