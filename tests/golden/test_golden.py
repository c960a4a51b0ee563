"""Runs, and checkpoints, give the numbers that they gave when the golden records were made (make.py says when)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch as th

from tests.golden.make import read
from tests.golden.runs import ALGORITHMS, CHECKPOINTS, ENVS, RUNNERS, TRAINED, all_runs, machine, play

GOLDEN = read()
# Relative, for a number at least this large; what is smaller may differ by TOLERANCE * SMALL.
# All runs were made again with PyTorch's and MKL's instructions limited (ATEN_CPU_CAPABILITY=default and avx2, MKL_CBWR
# =COMPATIBLE and AVX2): every evaluation was the same, statistics differed by at most 8e-5, norms by 1.1e-5.
TOLERANCE, SMALL = 1e-3, 1e-3


def differences(golden: dict[str, Any], run: dict[str, Any], exact: bool) -> list[str]:
    """What differs, a line each; a statistic or file that only ``run`` has is no difference.

    Args:
        golden: a run as make.py keeps it.
        run: the same as it came out now.
        exact: whether every bit has to be the same: hashes of tensors, and all digits of numbers. Else the numbers may
            differ by the tolerance, and of the tensors only the norms are compared.
    """
    found = [] if run["status"] == golden["status"] else [f"status: {run['status']}, expected {golden['status']}"]
    compared = ("stats", "norms", "files") if exact else ("stats", "norms")
    for part in compared:
        for key, expected in golden[part].items():
            if not alike(expected, run[part].get(key), exact):
                found.append(f"{part}, {key}: {run[part].get(key)}, expected {expected}")
    if not alike(golden["evaluations"], run["evaluations"], exact):
        found.append(f"evaluations: {run['evaluations']}, expected {golden['evaluations']}")
    return found


def alike(expected: Any, got: Any, exact: bool) -> bool:
    """Whether two JSON values are the same, apart from small differences of their numbers unless ``exact``."""
    if isinstance(expected, dict) and isinstance(got, dict):
        return expected.keys() == got.keys() and all(alike(value, got[key], exact) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(got, list):
        return len(expected) == len(got) and all(alike(*pair, exact) for pair in zip(expected, got, strict=True))
    if isinstance(expected, float) and isinstance(got, float) and not exact:
        return abs(expected - got) <= TOLERANCE * max(abs(expected), abs(got), SMALL)
    return bool(expected == got)


def same_machine(golden: dict[str, Any]) -> bool:
    return machine().items() <= golden["made_by"].items()


def in_a_third(name: str) -> bool:
    """Whether a run is in the third that the default test run plays: every configuration meets every runner and every
    environment once, in a Latin square."""
    alg, env, runner = name.split()
    return (ALGORITHMS.index(alg) + list(ENVS).index(env) + RUNNERS.index(runner)) % 3 == 0


def marked(name: str) -> Any:
    return name if ":" in name or in_a_third(name) else pytest.param(name, marks=pytest.mark.slow)


def test_the_file_holds_every_run():
    assert {name: run["words"] for name, run in GOLDEN.items()} == all_runs()


@pytest.mark.parametrize("name", [marked(name) for name in GOLDEN])
def test_a_run_gives_the_numbers_that_it_gave(name: str, tmp_path: Path):
    golden = GOLDEN[name]
    assert not differences(golden, play(golden["words"], tmp_path), exact=same_machine(golden))


@pytest.mark.parametrize("alg", TRAINED)
def test_a_checkpoint_with_other_agents_is_found_out(alg: str, tmp_path: Path):
    golden = GOLDEN[f"{alg} checkpoint: evaluated"]
    shutil.copytree(CHECKPOINTS / alg, tmp_path / alg)
    (file,) = (tmp_path / alg).glob("*/agent.th")
    state = th.load(file, weights_only=True)
    th.save({**state, "fc2.bias": state["fc2.bias"].flip(0)}, file)
    run = play([*golden["words"], f"checkpoint_path={tmp_path / alg}"], tmp_path / "results")
    assert differences(golden, run, exact=True) and differences(golden, run, exact=False)


@pytest.mark.parametrize(
    "name, word",
    [
        ("qmix warehouse vector", "lr=0.0006"),
        ("qmix warehouse vector", "seed=8"),
        ("vast_qtran battle vector", "target_update_interval=200"),
        ("coma warehouse vector", "critic_lr=0.0006"),
        ("vast_qmix_ac gaussian_squeeze vector", "assigner_lr=0.0012"),
    ],
)
def test_a_run_that_is_not_the_same_is_found_out(name: str, word: str, tmp_path: Path):
    golden = GOLDEN[name]
    run = play([*golden["words"], word], tmp_path)
    assert differences(golden, run, exact=True) and differences(golden, run, exact=False)
