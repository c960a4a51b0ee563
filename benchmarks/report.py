"""Tables for people, on the console or in Markdown, and JSON for programs; light, like `rows`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
LIBRARIES = ("torch", "numpy", "numba")
MISSING = "-"

Entry = Mapping[str, Any]  # a row's settings and its results, by name


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its heading.
        value: of an entry; None where it has none.
        form: how a number is written.
    """

    title: str
    value: Callable[[Entry], Any]
    form: str = ""


@dataclass(frozen=True)
class Table:
    """A heading, and the columns under it."""

    title: str
    columns: Sequence[Column]

    def text(self, entries: Sequence[Entry], markdown: bool) -> str:
        """The table of ``entries``, aligned for a console, or in Markdown."""
        cells = [[_cell(column, entry) for column in self.columns] for entry in entries]
        titles = [column.title for column in self.columns]
        if markdown:
            lines = ["| " + " | ".join(line) + " |" for line in (titles, *cells)]
            return "\n".join([f"### {self.title}", "", lines[0], "|---" * len(titles) + "|", *lines[1:]])
        widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in (titles, *cells)]
        return "\n".join([self.title, "-" * len(lines[0]), *lines])


def field(name: str, scale: float = 1.0) -> Callable[[Entry], Any]:
    """The value called ``name``, times ``scale`` if it is a number."""

    def value(entry: Entry) -> Any:
        found = entry.get(name)
        return found * scale if isinstance(found, float) else found

    return value


def _cell(column: Column, entry: Entry) -> str:
    value = column.value(entry)
    return MISSING if value is None or value == "" else format(value, column.form)


def circumstances() -> dict[str, Any]:
    """Where and when the numbers were taken: hardware, versions, commit, date."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
    }


def cpu_model() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """The short hash of the checked out commit, marked if files differ from it; ``unknown`` without git."""
    try:
        return _git("rev-parse", "--short", "HEAD") + (" and changes" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Writes ``document`` so that the file is whole at every time."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(document, indent=1) + "\n")
    part.replace(path)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """The options of every script here that say what becomes of its numbers."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers into FILE")
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="print what --json wrote; no run")


def check_source(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Exits with a message if --from names no file."""
    if arguments.source is not None and not arguments.source.is_file():
        parser.error(f"--from: there is no file {arguments.source}")


def heading(found: Mapping[str, Any]) -> str:
    """`circumstances` in one line."""
    versions = ", ".join(f"{library} {found[library]}" for library in ("python", *LIBRARIES))
    machine = f"{found['cpu']}, {found['cores']} cores, {found['memory_gib']} GiB"
    return f"{machine}; {versions}; commit {found['commit']}; {found['date']}"
