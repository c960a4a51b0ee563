"""Makes the golden records: the numbers of short runs, which later versions have to reproduce.

    python tests/golden/make.py                      all runs, into tests/golden/runs.jsonl
    python tests/golden/make.py qmix_ac "battle v"   only runs with one of these texts in their names; the rest stays
    python tests/golden/make.py --out FILE ...       into another file, to compare by hand
    python tests/golden/make.py --checkpoints        train the checkpoints of tests/golden/checkpoints, too

Every line of the file is a run, and names the commit and the machine that made it. The first ones were made before the
sources were rearranged, so that tests/golden/test_golden.py shows that this changed no numbers. Make a run anew only
if its numbers change on purpose, no other runs with it, and say in the commit message what changed them. For a new
configuration add its name to ``ALGORITHMS`` in runs.py and make the runs with that name.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parents[1]
if __name__ == "__main__":
    sys.path[:0] = [str(PROJECT / "src"), str(PROJECT)]

from tests.golden.runs import CHECKPOINTS, TRAINED, all_runs, machine, play, training_of_checkpoint  # noqa: E402

FILE = FOLDER / "runs.jsonl"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="TEXT", help="make the runs whose names contain one of these")
    parser.add_argument("--out", type=Path, default=FILE, help="the file (default: %(default)s)")
    parser.add_argument("--checkpoints", action="store_true", help="first train the kept checkpoints anew")
    options = parser.parse_args(arguments)
    if options.checkpoints:
        make_checkpoints()
    texts = options.names or [""]
    wanted = {name: words for name, words in all_runs().items() if any(text in name for text in texts)}
    if not wanted:
        parser.error(f"no run has {' or '.join(texts)} in its name")
    made = make(wanted)
    runs = {**(read(options.out) if options.out.exists() else {}), **made}
    write(options.out, {name: runs[name] for name in all_runs() if name in runs})
    print(f"{options.out}: {len(runs)} runs, {len(made)} of them made now, {len(wanted) - len(made)} failed")
    return int(len(made) < len(wanted))


def make(wanted: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What is kept of each run, by name; one that fails is told and left out."""
    made: dict[str, Any] = {}
    made_by = {"commit": commit(), **machine()}
    start = time.time()
    for number, (name, words) in enumerate(wanted.items(), start=1):
        print(f"{number}/{len(wanted)} ({time.time() - start:.0f} s) {name}", flush=True)
        try:
            with tempfile.TemporaryDirectory() as folder:
                made[name] = {"made_by": made_by, "words": words, **play(words, Path(folder))}
        except RuntimeError as error:
            print(f"FAILED: {error}", file=sys.stderr, flush=True)
    return made


def make_checkpoints() -> None:
    """Trains every kept checkpoint anew, in the place of the one before."""
    for alg in TRAINED:
        print(f"checkpoint of {alg}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            play(training_of_checkpoint(alg), Path(folder))
            last = max(Path(folder).glob("models/*/[0-9]*"), key=lambda path: int(path.name))
            shutil.rmtree(CHECKPOINTS / alg, ignore_errors=True)
            shutil.copytree(last, CHECKPOINTS / alg / last.name)


def commit() -> str:
    """The commit whose sources play, marked if they are changed."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True)
    changes = subprocess.run(["git", "status", "--porcelain", "src"], cwd=PROJECT, capture_output=True, text=True)
    return head.stdout.strip()[:12] + (" and changes" if changes.stdout.strip() else "")


def read(path: Path = FILE) -> dict[str, Any]:
    """What is kept of each run, by name."""
    runs = (json.loads(line) for line in path.read_text().splitlines())
    return {run.pop("name"): run for run in runs}


def write(path: Path, runs: Mapping[str, Any]) -> None:
    lines = [json.dumps({"name": name, **run}, separators=(",", ":")) for name, run in runs.items()]
    path.write_text("".join(line + "\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
