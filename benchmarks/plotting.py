"""Time that src/plot.py takes for many runs: by default 300, of 200 evaluation points each.

The records are made up, but as large as real ones: 20 episodes an evaluation, 30 other statistics at every point.

    python benchmarks/plotting.py [--runs N] [--points N]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from tracking.record import Evaluation, RecordWriter

PLOT = Path(__file__).resolve().parents[1] / "src" / "plot.py"
ALGORITHMS, TASKS = 5, 2  # of which the runs are equally many seeds
EPISODES, STATISTICS = 20, 30  # at every point
MEASURES = ("return", "ep_length", "completed_orders", "delivered_items", "collisions")
INTERVAL = 2000  # environment steps between evaluations


def write_run(folder: Path, number: int, points: int) -> None:
    """The record of one run."""
    seed, rest = divmod(number, ALGORITHMS * TASKS)
    task, algorithm = divmod(rest, ALGORITHMS)
    config = {"name": f"algorithm_{algorithm}", "env": "warehouse", "seed": seed, "t_max": points * INTERVAL}
    config |= {f"key_{i}": i for i in range(70)}
    config["env_args"] = {"n_agents": 4 * 4**task, "seed": seed}
    folder.mkdir(parents=True)
    writer = RecordWriter(folder, {"token": str(number), "config": config, "start_time": "2026-01-01T00:00:00"})
    rng = np.random.default_rng(number)
    for point in range(points):
        t = point * INTERVAL
        for key in range(STATISTICS):
            writer.stat(f"statistic_{key}", rng.normal(), t)
        episodes = {measure: rng.normal(point * (1 + algorithm), 10, EPISODES) for measure in MEASURES}
        for measure, values in episodes.items():
            writer.stat(f"test_{measure}_mean", values.mean(), t)
        writer.evaluation(Evaluation(t, t, {key: list(values) for key, values in episodes.items()}))
    absolute = {measure: list(rng.normal(points, 10, 10 * EPISODES)) for measure in MEASURES}
    writer.evaluation(Evaluation(t, t, absolute, absolute=True))
    writer.end("COMPLETED")


def main() -> None:
    """Makes up the runs, draws them, and prints the seconds of the latter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--points", type=int, default=200, help="evaluation points of a run (default 200)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        runs = Path(place) / "sacred"
        for number in range(options.runs):
            write_run(runs / str(number + 1), number, options.points)
        size = sum(path.stat().st_size for path in runs.rglob("*.jsonl")) / 2**20
        start = time.perf_counter()
        command = [sys.executable, str(PLOT), str(runs), "--out", f"{place}/figures"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{options.runs} runs of {options.points} points ({size:.0f} MiB of records): {seconds:.1f} s, "
        f"{used.ru_utime + used.ru_stime:.1f} s of CPU"
    )


if __name__ == "__main__":
    main()
