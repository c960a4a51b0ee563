"""The statistics of scores, against numbers worked out by hand, enumeration of all resamples, and rliable."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, trim_mean

from analysis.statistics import (
    improvement,
    improvement_interval,
    iqm,
    iqm_interval,
    mean_interval,
    normalise,
    profile,
    profile_interval,
)


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


def exact_limits(estimates: list[float]) -> tuple[float, float]:
    """The limits over equally likely resamples: the smallest value that is reached with 2.5 % and 97.5 %."""
    low, high = np.percentile(estimates, [2.5, 97.5], method="inverted_cdf")
    return float(low), float(high)


# --- interquartile mean ---


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0, 1, 2, 100], 1.5),  # one is left out at either end
        ([5, 1, 3], 3),  # fewer than four: the mean
        ([1, 2, 3, 4, 5, 6, 7, 800], 4.5),  # two at either end
        ([0, 10, 20, 30, 1000], 20),  # floor(5 / 4) = 1
        ([7], 7),
    ],
)
def test_iqm_by_hand(scores, expected):
    assert iqm(array(*scores)) == expected


def test_iqm_is_scipys_trimmed_mean_whatever_the_shape():
    rng = np.random.default_rng(0)
    for shape in [(3,), (7, 2), (30, 9)]:
        scores = rng.normal(size=shape)
        assert iqm(scores) == pytest.approx(trim_mean(scores, 0.25, axis=None), abs=1e-12)


@pytest.mark.parametrize("tasks", [[array(0, 4, 10)], [array(0, 1, 5), array(2, 7)], [array(3, 1, 4, 1, 5)]])
def test_iqm_interval_is_that_of_all_resamples_within_tasks(tasks):
    resamples = itertools.product(*(itertools.product(task, repeat=len(task)) for task in tasks))
    estimates = [iqm(np.concatenate([array(*part) for part in parts])) for parts in resamples]
    assert iqm_interval(tasks) == pytest.approx(exact_limits(estimates), abs=1e-9)


# --- mean ---


def test_mean_interval_of_three_runs_by_hand():
    # 27 resamples of (0, 3, 6). Only one has mean 0 and one has 6: 1/27 = 3.7 % each, more than 2.5 %.
    low, high = mean_interval(array(0, 3, 6))
    assert (low, high) == (0, 6)


def test_mean_interval_is_that_of_all_resamples():
    runs = array(0, 1, 5, 20)
    estimates = [float(np.mean(sample)) for sample in itertools.product(runs, repeat=4)]
    assert mean_interval(runs) == pytest.approx(exact_limits(estimates), abs=1e-9)


def test_mean_interval_takes_whole_curves():
    # Both runs add up to the same at every resample, so the sum of the points does not vary; it would if points were
    # drawn one by one.
    curves = np.array([[0.0, 10.0], [10.0, 0.0]])
    low, high = mean_interval(curves)
    assert low.tolist() == [0, 0] and high.tolist() == [10, 10]
    repeated = mean_interval(np.array([[1.0, 1.0], [3.0, 3.0], [8.0, 8.0]]))
    assert repeated[0][0] == repeated[0][1] and repeated[1][0] == repeated[1][1]


def test_mean_interval_of_a_normal_sample_is_about_that_of_the_formula():
    runs = np.random.default_rng(3).normal(size=400)
    low, high = mean_interval(runs)
    half = 1.96 * runs.std() / 20
    assert (low, high) == pytest.approx((runs.mean() - half, runs.mean() + half), abs=0.1 * half)


def test_intervals_repeat():
    runs = np.random.default_rng(0).normal(size=9)
    assert mean_interval(runs) == mean_interval(runs)
    assert iqm_interval([runs]) == iqm_interval([runs])


# --- profile ---


def test_profile_by_hand():
    tasks = [array(1, 2), array(3, 4)]
    assert profile(tasks, array(0, 1, 2.5, 4)).tolist() == [1, 0.75, 0.5, 0]  # a score equal to tau is not above it


def test_profile_interval_is_that_of_all_resamples_within_tasks():
    tasks, thresholds = [array(1, 2, 6), array(3, 4)], array(0, 1.5, 3.5, 7)
    resamples = itertools.product(*(itertools.product(task, repeat=len(task)) for task in tasks))
    estimates = [profile([array(*part) for part in parts], thresholds) for parts in resamples]
    expected = [exact_limits([float(estimate[i]) for estimate in estimates]) for i in range(len(thresholds))]
    assert np.transpose(profile_interval(tasks, thresholds)) == pytest.approx(np.array(expected), abs=1e-9)


# --- probability of improvement ---


def test_improvement_by_hand():
    # 3 beats 1 and 2; 2 beats 1 and draws with 2; so 3.5 of 4 pairs.
    assert improvement([array(3, 2)], [array(1, 2)]) == 3.5 / 4
    # On the second task nobody wins against an equal: 1/2. The mean over tasks.
    assert improvement([array(3, 2), array(5)], [array(1, 2), array(5, 5, 5)]) == (3.5 / 4 + 0.5) / 2
    assert improvement([array(1, 2)], [array(3, 4)]) == 0


def test_improvement_is_the_mann_whitney_statistic():
    rng = np.random.default_rng(1)
    x, y = rng.integers(5, size=12).astype(float), rng.integers(5, size=7).astype(float)
    assert improvement([x], [y]) == pytest.approx(mannwhitneyu(x, y).statistic / 84)
    assert improvement([x], [y]) + improvement([y], [x]) == pytest.approx(1)


def test_improvement_interval_is_that_of_all_independent_resamples():
    x, y = [array(1, 4, 6), array(2, 3)], [array(0, 5), array(2, 2.5)]
    tasks = [itertools.product(task, repeat=len(task)) for task in (*x, *y)]
    estimates = [
        improvement([array(*a), array(*b)], [array(*c), array(*d)]) for a, b, c, d in itertools.product(*tasks)
    ]
    assert improvement_interval(x, y) == pytest.approx(exact_limits(estimates), abs=1e-9)


# --- normalisation ---


def test_scores_are_normalised_over_all_algorithms_of_a_task():
    scaled = normalise([array(10, 20), array(30)])
    assert [part.tolist() for part in scaled] == [[0, 0.5], [1]]
    assert normalise([array(4), array(4, 4)])[1].tolist() == [0, 0]


# --- rliable ---

RLIABLE = """
import json, sys
import numpy as np
from rliable import library, metrics
scores = {name: np.array(rows) for name, rows in json.load(open(sys.argv[1])).items()}
taus = np.linspace(0, 1, 11)
np.random.seed(0)
aggregates = library.get_interval_estimates(
    scores, lambda x: np.array([metrics.aggregate_iqm(x), metrics.aggregate_mean(x)]), reps=5000)
profiles = library.create_performance_profile(scores, taus, reps=5000)
pair = {"pair": list(scores.values())}
better = library.get_interval_estimates(pair, metrics.probability_of_improvement, reps=5000)
result = {"aggregates": aggregates, "profiles": profiles, "improvement": better}
json.dump(result, open(sys.argv[2], "w"), default=lambda value: value.tolist())
"""


@pytest.mark.slow
def test_rliable_gets_the_same(tmp_path: Path) -> None:
    """In an environment of its own: rliable needs an older pandas than others may have."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "rliable==1.2.0", "pandas<3"]
    installed = subprocess.run(install, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"pip cannot fetch rliable: {installed.stderr.strip().splitlines()[-1]}")
    rng = np.random.default_rng(5)
    scores = {"x": rng.random((8, 3)), "y": 0.8 * rng.random((8, 3))}  # [runs, tasks]
    given, got = tmp_path / "given.json", tmp_path / "got.json"
    given.write_text(json.dumps({name: rows.tolist() for name, rows in scores.items()}))
    subprocess.run([python, "-c", RLIABLE, given, got], check=True)
    result = json.loads(got.read_text())

    tasks = {name: list(rows.T) for name, rows in scores.items()}
    thresholds = np.linspace(0, 1, 11)
    noise = 0.015  # of bootstraps with 5000 resamples
    for name, (points, intervals) in ((name, [part[name] for part in result["aggregates"]]) for name in scores):
        assert [iqm(scores[name]), scores[name].mean()] == pytest.approx(points, abs=1e-12)
        assert iqm_interval(tasks[name]) == pytest.approx([limit[0] for limit in intervals], abs=noise)
    for name, (points, intervals) in ((name, [part[name] for part in result["profiles"]]) for name in scores):
        assert profile(tasks[name], thresholds).tolist() == pytest.approx(points, abs=1e-12)
        assert np.array(profile_interval(tasks[name], thresholds)) == pytest.approx(np.array(intervals), abs=0.042)
    point, interval = (part["pair"] for part in result["improvement"])
    assert improvement(tasks["x"], tasks["y"]) == pytest.approx(point, abs=1e-12)
    limits = np.array(improvement_interval(tasks["x"], tasks["y"]))
    assert limits == pytest.approx(np.array(interval).ravel(), abs=noise)
