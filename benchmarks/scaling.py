"""Cost of an environment step against the number of agents N, and the exponent with which it grows.

VAST(QTRAN, MetaGrad) with policies, agent=ff, one thread; with four sub-teams (eta = 4/N), and with a quarter as many
sub-teams as agents (eta = 1/4). docs/benchmarks.md says more.

    python benchmarks/scaling.py [--quick] [--domains NAME ...] [--json FILE] [--plot PICTURE.png] [--markdown]
    python benchmarks/scaling.py --from FILE --markdown --plot PICTURE.png
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "src"))

from benchmarks.isolation import isolated
from benchmarks.report import (
    Column,
    Entry,
    Table,
    add_output_options,
    check_source,
    circumstances,
    field,
    heading,
    write_json,
)
from benchmarks.rows import TITLES, Row
from benchmarks.timing import FULL, QUICK, Effort

AGENTS = (4, 16, 32, 64, 128, 256, 512, 800)
FIT_FROM = 16  # agents; with fewer, what does not depend on their number counts most
STEPS = 25  # of an episode, where the environment has a choice
K_RULES = {"K = 4": "4/{n_agents}", "K = N/4": "1/4"}  # and the eta that goes with it
COSTS = {"env_s": "environment", "rollout_s": "rollout", "update_s": "update", "total_s": "rollout and update"}


@dataclass(frozen=True)
class Point:
    """One measurement: a domain, N agents, and how many sub-teams."""

    env: str
    n_agents: int
    k_rule: str

    @property
    def name(self) -> str:
        """What progress lines call it."""
        return f"{TITLES[self.env]}[{self.n_agents}] {self.k_rule}"


def measure_point(point: Point, effort: Effort) -> dict[str, float]:
    """Seconds for an environment step: environment alone, rollout, update, the assigner's part of the update."""
    import torch as th  # late, with what follows: the process that starts the points does without PyTorch

    from benchmarks.loop import Loop, steps_of
    from benchmarks.measure import EPOCH_EPISODES, assign_and_learn, env_seconds_per_step, epoch_settings, peak_mib
    from benchmarks.timing import repeat, seconds_of, stopwatch

    th.set_num_threads(1)
    more = [f"eta={K_RULES[point.k_rule].format(n_agents=point.n_agents)}"]
    if point.env != "gaussian_squeeze":
        more.append(f"env_args.episode_limit={STEPS}")
    config = epoch_settings(Row("epoch", point.env, point.n_agents, "vast_qtran_ac", "ff"), more)
    loop = Loop(config)
    loop.fill()
    rollouts = repeat(lambda: stopwatch(loop.rollout), effort)
    batch = rollouts[-1][1]
    steps = steps_of(batch)
    update = min(seconds_of(lambda: loop.update(batch), effort)) / steps
    learner: Any = loop.experiment.learner
    x = min(seconds_of(lambda: assign_and_learn(learner.assigner, None, batch), effort)) / steps
    memory = peak_mib()
    loop.close()
    rollout = min(seconds / steps_of(played) for seconds, played in rollouts)
    return {
        "n_subteams": learner.assigner.n_subteams,
        "env_s": env_seconds_per_step(point.env, config["env_args"], EPOCH_EPISODES, effort),
        "rollout_s": rollout,
        "update_s": update,
        "total_s": rollout + update,
        "assigner_s": x,
        "assigner_share": x / update,
        "memory_mib": memory,
    }


def exponent(n_agents: Sequence[float], costs: Sequence[float]) -> float:
    """b of the least-squares fit ``log cost = a + b log N``."""
    return float(np.polyfit(np.log(n_agents), np.log(costs), 1)[0])


def fits(rows: Sequence[Entry]) -> list[dict[str, Any]]:
    """The exponent of every cost, from `FIT_FROM` agents on, for each domain and rule for K of ``rows``."""
    found = []
    for env, k_rule in dict.fromkeys((row["env"], row["k_rule"]) for row in rows):
        fitted = [row for row in _curve(rows, env, k_rule) if row["n_agents"] >= FIT_FROM]
        if len(fitted) > 1:
            sizes = [row["n_agents"] for row in fitted]
            exponents = {cost: exponent(sizes, [row[cost] for row in fitted]) for cost in (*COSTS, "assigner_s")}
            found.append({"domain": TITLES[env], "k_rule": k_rule, **exponents})
    return found


def _curve(rows: Sequence[Entry], env: str, k_rule: str) -> list[Entry]:
    return [row for row in rows if (row["env"], row["k_rule"]) == (env, k_rule)]


POINTS_TABLE = Table(
    "Microseconds for an environment step",
    (
        Column("domain", field("domain")),
        Column("N", field("n_agents")),
        Column("K", field("n_subteams")),
        Column("environment", field("env_s", 1e6), ",.1f"),
        Column("rollout", field("rollout_s", 1e6), ",.1f"),
        Column("update", field("update_s", 1e6), ",.1f"),
        Column("X in it", field("assigner_s", 1e6), ",.1f"),
        Column("share of X", field("assigner_share"), ".0%"),
        Column("peak MiB", field("memory_mib"), ".0f"),
    ),
)
FITS_TABLE = Table(
    f"Exponents from N = {FIT_FROM} on",
    (
        Column("domain", field("domain")),
        Column("sub-teams", field("k_rule")),
        *(Column(title, field(cost), ".2f") for cost, title in COSTS.items()),
        Column("X", field("assigner_s"), ".2f"),
    ),
)


def draw(document: Mapping[str, Any], picture: Path) -> None:
    """One panel per domain: every cost against N, both on logarithmic scales."""
    import matplotlib  # late: only pictures need it

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = document["rows"]
    domains = list(dict.fromkeys(row["env"] for row in rows))
    figure, axes = plt.subplots(1, len(domains), figsize=(5.5 * len(domains), 4), layout="constrained", squeeze=False)
    colours = dict(zip([*COSTS, "assigner_s"], ["#0072B2", "#009E73", "#D55E00", "#000000", "#CC79A7"], strict=True))
    titles = {**COSTS, "assigner_s": "X in the update"}
    for axis, env in zip(axes[0], domains, strict=True):
        for (cost, title), (k_rule, style) in product(titles.items(), zip(K_RULES, ("-", "--"), strict=True)):
            curve = _curve(rows, env, k_rule)
            costs = [1e6 * row[cost] for row in curve]
            axis.loglog(
                [row["n_agents"] for row in curve], costs, style, color=colours[cost], label=f"{title}, {k_rule}"
            )
        axis.set_title(TITLES[env])
        sizes = sorted({row["n_agents"] for row in rows if row["env"] == env})
        axis.set_xticks(sizes, labels=[str(size) for size in sizes])
        axis.set_xticks([], minor=True)
        axis.set_xlabel("agents N")
        axis.set_ylabel("microseconds for an environment step")
        axis.grid(alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def run_points(points: Sequence[Point], effort: Effort, json_path: Path | None) -> dict[str, Any]:
    """Measures ``points``, one after the other; the file grows with each. Returns what the file holds."""
    document: dict[str, Any] = {**circumstances(), "effort": asdict(effort), "rows": [], "exponents": []}
    with isolated("benchmarks.measure") as call:
        for number, point in enumerate(points, start=1):
            print(f"[{number}/{len(points)}] {point.name}", file=sys.stderr, flush=True)
            results = call(measure_point, point, effort)
            document["rows"].append({**asdict(point), "domain": TITLES[point.env], **results})
            document["exponents"] = fits(document["rows"])
            if json_path is not None:
                write_json(json_path, document)
    return document


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line; exits with a message if it is not understood."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every point with two repetitions")
    parser.add_argument("--domains", nargs="+", choices=TITLES, default=list(TITLES), help="all by default")
    parser.add_argument("--agents", nargs="+", type=int, default=AGENTS, metavar="N", help="from 4 on")
    add_output_options(parser)
    parser.add_argument("--plot", type=Path, metavar="PICTURE", help="also draw the curves")
    arguments = parser.parse_args(argv)
    if min(arguments.agents) < 4:
        parser.error(f"--agents: expected 4 or more (K = 4), got {min(arguments.agents)}")
    check_source(parser, arguments)
    return arguments


def main(argv: Sequence[str]) -> None:
    """Measures, or reads, prints and draws."""
    arguments = parse(argv)
    if arguments.source is not None:
        document = json.loads(arguments.source.read_text())
    else:
        points = [Point(*values) for values in product(arguments.domains, arguments.agents, K_RULES)]
        document = run_points(points, QUICK if arguments.quick else FULL, arguments.json)
    tables = ((POINTS_TABLE, document["rows"]), (FITS_TABLE, document["exponents"]))
    parts = [table.text(entries, arguments.markdown) for table, entries in tables if entries]
    print("\n\n".join([heading(document), *parts]))
    if arguments.plot is not None:
        draw(document, arguments.plot)


if __name__ == "__main__":
    main(sys.argv[1:])
