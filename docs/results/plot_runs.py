"""Draws the learning curves of recorded runs, and prints the table that goes with them.

Needs requirements-plots.txt. The runs are folders of sacred's FileStorageObserver; runs that differ only in
their seed are one curve: the mean, with the range from the lowest to the highest seed shaded, or with ``--interval``
the 95 % confidence interval of the mean, from Student's t.

    python docs/results/plot_runs.py [OPTION ...] PICTURE.png RUN_FOLDER [RUN_FOLDER ...]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

PANELS = {
    "test_return_mean": "test return",
    "test_completed_orders_mean": "completed orders per test episode",
    "test_kill_count_mean": "kill count per test episode",
    "test_system_performance_mean": "system performance",
}
# Okabe and Ito's palette, which colour-blind readers can tell apart; line styles help in print.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
STYLES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))]


def label(config: dict) -> str:
    """Name of a run's curve: the algorithm, with assigner and eta where it has sub-teams, and how QTRAN learns."""
    name = config["name"]
    if "eta" in config:
        name += f" ({config['assigner']}, eta={config['eta']:g})"
    if config.get("preset"):
        name += f", preset={config['preset']}"
    if config["agent_output_type"] == "pi_logits":
        return f"{name}, {config['agent']}"
    if "qtran" in (config["mixer"], config.get("subteam_mixer")) and not config.get("qtran_end_to_end"):
        name += ", detached"
    return name


def read_runs(folders: list[Path], also: str | None) -> dict[str, list[tuple[int, dict]]]:
    """(seed, metrics) of all runs, by label, with the value of the key ``also`` if one is given."""
    runs = defaultdict(list)
    for folder in folders:
        config = json.loads((folder / "config.json").read_text())
        metrics = json.loads((folder / "metrics.json").read_text())
        name = label(config) + (f", {also}={config[also]}" if also else "")
        runs[name].append((config["seed"], metrics))
    return runs


def panels(runs: dict[str, list[tuple[int, dict]]]) -> dict[str, str]:
    """The statistics that the runs have: the return, and their domain's performance where that is not the return."""
    first = next(iter(runs.values()))[0][1]
    found = {key: title for key, title in PANELS.items() if key in first}
    if "test_system_performance_mean" in found:
        del found["test_return_mean"]
    return found


def band(values: np.ndarray, interval: bool) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge of what is shaded, [T] each, of the seeds' values [seeds, T]."""
    if not interval:
        return values.min(0), values.max(0)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(0, ddof=1) / len(values) ** 0.5
    return values.mean(0) - half, values.mean(0) + half


def draw(runs: dict[str, list[tuple[int, dict]]], picture: Path, interval: bool) -> None:
    """One panel per statistic, one curve per label."""
    shown = panels(runs)
    figure, axes = plt.subplots(1, len(shown), figsize=(5.5 * len(shown), 4), layout="constrained", squeeze=False)
    for axis, (key, title) in zip(axes[0], shown.items(), strict=True):
        for (name, seeds), colour, style in zip(sorted(runs.items()), COLOURS, STYLES, strict=False):
            length = min(len(metrics[key]["values"]) for _, metrics in seeds)
            steps = np.array(seeds[0][1][key]["steps"][:length]) / 1000
            values = np.array([metrics[key]["values"][:length] for _, metrics in seeds])
            axis.plot(steps, values.mean(0), color=colour, linestyle=style, label=name, linewidth=1.5)
            if len(seeds) > 1:
                axis.fill_between(steps, *band(values, interval), color=colour, alpha=0.15, linewidth=0)
        axis.set_xlabel("environment steps (thousands)")
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(picture, dpi=110)


def print_table(runs: dict[str, list[tuple[int, dict]]], last: int) -> None:
    """Markdown: the mean of the ``last`` evaluations over the seeds, and that of every seed behind it."""
    shown = panels(runs)
    print("| algorithm | seeds | " + " | ".join(shown.values()) + " |")
    print("|---" * (2 + len(shown)) + "|")
    for name, seeds in sorted(runs.items()):
        cells = []
        for key in shown:
            ends = [
                float(np.mean(metrics[key]["values"][-last:])) for _, metrics in sorted(seeds, key=lambda run: run[0])
            ]
            cells.append(f"{np.mean(ends):.1f}" + (f" ({', '.join(f'{end:.1f}' for end in ends)})" if ends[1:] else ""))
        numbers = ", ".join(str(seed) for seed, _ in sorted(seeds, key=lambda run: run[0]))
        print(f"| {name} | {numbers} | " + " | ".join(cells) + " |")


def main() -> None:
    """Reads, draws, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", type=int, default=10, help="evaluations that the table averages (10)")
    parser.add_argument("--interval", action="store_true", help="shade the 95 % confidence interval of the mean")
    parser.add_argument("--also", metavar="KEY", help="a key of the configuration that tells curves apart, too")
    parser.add_argument("picture", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()
    runs = read_runs(arguments.folders, arguments.also)
    draw(runs, arguments.picture, arguments.interval)
    print_table(runs, arguments.last)


if __name__ == "__main__":
    main()
