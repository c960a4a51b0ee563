"""Speed and memory of environments, rollouts, updates and whole runs, beside their floors and other code.

docs/benchmarks.md says what each table holds.

    python benchmarks/throughput.py [--quick] [--only TEXT] [--json FILE] [--markdown]
    python benchmarks/throughput.py --from FILE --markdown
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "src"))

from benchmarks.isolation import isolated
from benchmarks.references import (
    AUTHORS_ENV_STEPS_PER_S,
    AUTHORS_EPOCH_S,
    EPYMARL_STEPS_PER_S,
    EPYMARL_TRAIN_S,
    WANTED_STEPS_PER_S,
)
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
from benchmarks.rows import Row, all_rows
from benchmarks.timing import FULL, QUICK, Effort

MEMORY = Column("peak MiB", field("memory_mib"), ".0f")
THREADS = Column("threads", field("threads"))
OVER_FLOOR = Column("over floor", field("over_floor"), ".1f")
DOMAIN, ALGORITHM = Column("domain", field("domain")), Column("algorithm", field("alg"))

TABLES = {
    "env": Table(
        "Environments alone",
        (
            DOMAIN,
            Column("one, steps/s", field("single_steps_per_s"), ",.0f"),
            Column("32 together, steps/s", field("batch_steps_per_s"), ",.0f"),
            Column("authors' steps/s, one", field("reference"), ",.0f"),
            Column("one, times faster", field("single_faster"), ",.1f"),
            Column("32 together, times faster", field("faster"), ",.0f"),
            MEMORY,
        ),
    ),
    "epoch": Table(
        "Epochs: 10 training episodes, one update, 10 evaluation episodes",
        (
            DOMAIN,
            ALGORITHM,
            Column("agent", field("agent")),
            THREADS,
            Column("rollout steps/s", field("rollout_steps_per_s"), ",.0f"),
            Column("update ms", field("update_s", 1e3), ",.1f"),
            Column("training steps/s", field("train_steps_per_s"), ",.0f"),
            Column("epoch s", field("epoch_s"), ".3f"),
            Column("env", field("env_share"), ".0%"),
            Column("acting", field("acting_share"), ".0%"),
            Column("update", field("update_share"), ".0%"),
            Column("floor s", field("floor_s"), ".3f"),
            OVER_FLOOR,
            Column("authors' s", field("reference"), ".1f"),
            Column("times faster", field("faster"), ",.1f"),
            MEMORY,
        ),
    ),
    "train": Table(
        "One update on 32 episodes at EPyMARL's sizes",
        (
            ALGORITHM,
            THREADS,
            Column("ms", field("train_s", 1e3), ",.1f"),
            Column("floor ms", field("floor_s", 1e3), ",.1f"),
            OVER_FLOOR,
            Column("GFLOP of products", field("gflop"), ".1f"),
            Column("EPyMARL's ms", field("reference", 1e3), ",.0f"),
            Column("times faster", field("faster"), ",.1f"),
            MEMORY,
        ),
    ),
    "subteams": Table(
        "One update on 32 episodes, with and without sub-teams",
        (
            DOMAIN,
            ALGORITHM,
            Column("assigner", field("assigner")),
            Column("newest", lambda entry: entry["newest"] if entry["assigner"] else None),
            Column("ms", field("train_s", 1e3), ",.1f"),
            Column("floor ms", field("floor_s", 1e3), ",.1f"),
            OVER_FLOOR,
            Column("X alone ms", field("assigner_s", 1e3), ",.1f"),
            Column("its floor ms", field("assigner_floor_s", 1e3), ",.1f"),
            MEMORY,
        ),
    ),
    "protocol": Table(
        "PyMARL's protocol: one update a rollout",
        (
            DOMAIN,
            ALGORITHM,
            Column("environments", field("parallel")),
            THREADS,
            Column("training steps/s", field("train_steps_per_s"), ",.0f"),
            Column("EPyMARL's steps/s", field("reference"), ",.0f"),
            Column("times faster", field("faster"), ",.1f"),
            Column("wanted steps/s", field("wanted"), ",.0f"),
            MEMORY,
        ),
    ),
}


def compare(row: Row, results: Mapping[str, float]) -> dict[str, float]:
    """How the row stands beside other code: its number, how many times faster this project is, and what is wanted."""
    domain = (row.env, row.n_agents)
    if row.kind == "env":
        reference = AUTHORS_ENV_STEPS_PER_S[domain]
        single = results["single_steps_per_s"] / reference
        return {**_faster_rate(reference, results["batch_steps_per_s"]), "single_faster": single}
    if row.kind == "epoch" and row.alg == "vast_qtran_ac":
        return _faster_time(AUTHORS_EPOCH_S[domain], results["epoch_s"])
    if row.kind == "train":
        return _faster_time(EPYMARL_TRAIN_S[row.alg], results["train_s"])
    if row.kind == "protocol":
        rate = _faster_rate(EPYMARL_STEPS_PER_S[row.parallel], results["train_steps_per_s"])
        return {**rate, "wanted": WANTED_STEPS_PER_S[row.parallel]}
    return {}


def _faster_rate(reference: float, rate: float) -> dict[str, float]:
    return {"reference": reference, "faster": rate / reference}


def _faster_time(reference: float, seconds: float) -> dict[str, float]:
    return {"reference": reference, "faster": reference / seconds}


def run_rows(rows: Sequence[Row], effort: Effort, json_path: Path | None) -> dict[str, Any]:
    """Measures ``rows``, one after the other; the file grows with each.

    Returns:
        What the file holds: the circumstances, the effort, and for every row its settings and results.
    """
    document: dict[str, Any] = {**circumstances(), "effort": asdict(effort), "rows": []}
    with isolated("benchmarks.measure") as call:
        for number, row in enumerate(rows, start=1):
            print(f"[{number}/{len(rows)}] {row.name}", file=sys.stderr, flush=True)
            results = call(_measure, row, effort)
            document["rows"].append({**asdict(row), "domain": row.domain, **results, **compare(row, results)})
            if json_path is not None:
                write_json(json_path, document)
    return document


def _measure(row: Row, effort: Effort) -> dict[str, float]:
    from benchmarks.measure import measure  # late: the process that starts the rows does without PyTorch

    return measure(row, effort)


def tables(document: Mapping[str, Any], markdown: bool) -> str:
    """All tables that ``document`` has rows for."""
    parts = [heading(document)]
    for kind, table in TABLES.items():
        entries: list[Entry] = [entry for entry in document["rows"] if entry["kind"] == kind]
        if entries:
            parts.append(table.text(entries, markdown))
    return "\n\n".join(parts)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line; exits with a message if it is not understood."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every row with two repetitions")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name (see the progress) holds TEXT")
    add_output_options(parser)
    arguments = parser.parse_args(argv)
    arguments.rows = [row for row in all_rows() if arguments.only in row.name]
    if not arguments.rows:
        parser.error(f"--only: no row's name holds '{arguments.only}', such as '{all_rows()[0].name}'")
    check_source(parser, arguments)
    return arguments


def main(argv: Sequence[str]) -> None:
    """Measures, or reads, and prints."""
    arguments = parse(argv)
    if arguments.source is not None:
        document = json.loads(arguments.source.read_text())
    else:
        document = run_rows(arguments.rows, QUICK if arguments.quick else FULL, arguments.json)
    print(tables(document, arguments.markdown))


if __name__ == "__main__":
    main(sys.argv[1:])
