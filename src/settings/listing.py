"""The configuration for people: what print_config prints, and docs/settings.md.

``PYTHONPATH=src python -m settings.listing`` writes the page anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from settings.keys import KEYS, UNCONDITIONAL, look_up
from settings.load import Settings
from settings.sources import CONFIG_DIR, Layer, available, file_layers, leaves, read_layer
from settings.values import Loader, is_secret, show

PROJECT = CONFIG_DIR.parent.parent
PAGE = PROJECT / "docs" / "settings.md"

# --- print_config ---


def describe(settings: Settings) -> str:
    """One line for each key: its value, where that comes from, and what the files say of it.

    Raises:
        UserError: a part that every run has is not registered under the name given.
    """
    for name in UNCONDITIONAL:
        look_up(name, settings.values[name])
    rows = [
        (f"{path} = {_plain(value, path)}", _place(settings.origins.get(path, "")), _comment(path, settings.sources))
        for path, value in leaves(settings.values)
    ]
    widths = [min(44, max(len(row[column]) for row in rows)) for column in (0, 1)]
    return "\n".join(f"{text:{widths[0]}}  {place:{widths[1]}}  {note}".rstrip() for text, place, note in rows)


def _plain(value: Any, path: str) -> str:
    """A value as ``with`` takes it."""
    if isinstance(value, str) and value.isprintable() and value and not is_secret(path):
        return value
    return show(value, path)


def _place(origin: str) -> str:
    return "with" if origin.startswith("with ") else origin.replace("src/config/", "")


def _comment(path: str, sources: Sequence[str]) -> str:
    """What the topmost of ``sources`` that says anything of a key says."""
    for source in reversed(sources):
        section, _, file = source.rpartition(" in ")  # of a preset
        found = comments(PROJECT / file).get(f"{section}.{path}" if section else path)
        if found:
            return found
    return ""


# --- the comments of a YAML file ---


@cache
def comments(path: Path) -> Mapping[str, str]:
    """The comment behind the value of each key that has one, by dotted path; nothing if ``path`` is no file."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    node = yaml.compose(text, Loader=Loader)
    return dict(_comments(node, text.splitlines())) if isinstance(node, yaml.MappingNode) else {}


def _comments(node: yaml.MappingNode, lines: Sequence[str], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.value:
        nested = isinstance(value, yaml.MappingNode)
        mark = key.end_mark if nested else value.end_mark
        yield f"{prefix}{key.value}", _comment_behind(lines, mark.line, mark.column)
        if nested:
            yield from _comments(value, lines, f"{prefix}{key.value}.")


def _comment_behind(lines: Sequence[str], row: int, column: int) -> str:
    """The comment behind ``column`` of a line, with those right below that begin where it begins."""
    line = lines[row] if row < len(lines) else ""
    start = line.find("#", column)
    if start < 0 or line[column:start].strip(" :{}"):
        return ""
    parts = [line[start:]]
    for below in lines[row + 1 :]:
        if below[:start].strip() or below[start : start + 1] != "#":
            break
        parts.append(below[start:])
    return " ".join(part.lstrip("# ").rstrip() for part in parts)


# --- docs/settings.md ---

HEAD = """# Settings

Every key, from `src/settings/keys.py` and the comments in `src/config`. This page is made by
`PYTHONPATH=src python -m settings.listing`; do not edit it.

`with key=value` sets a key for one run. `python src/main.py print_config --config=ALGORITHM --env-config=ENVIRONMENT`
shows the value of every key in that combination, and which file it comes from.

- *Values*: what a key may hold; anything else is refused before the run starts. A round bracket leaves its end out.
  `name in runners` is a name in the `REGISTRY` of `src/runners`, where a plug-in may add one.
- *Read by*: packages in `src`.
- *Changes results*: runs that differ in a key with "yes" are different curves in a plot. "By chance only" marks seeds.
"""
DEFAULT = """## Of every run

The default is that of `default.yaml`. An environment's or algorithm's file may set another one.
"""
SPECIAL = """## Of some algorithms

These keys exist in the runs of the algorithms whose files set them, and of those that extend them.
"""
ENVIRONMENT = """## `env_args` of `{name}`

The environment's constructor says what they may hold.
"""
COLUMNS = ("Key", "Values", "Default", "Read by", "Changes results", "What it is")


def page() -> str:
    """The text of docs/settings.md."""
    default = read_layer(CONFIG_DIR / "default.yaml")
    files = {layer.source: layer for name in available(CONFIG_DIR, "algs") for layer in _layers("algs", name)}.values()
    special = dict.fromkeys(key for layer in files for key in layer.values if key in KEYS.keys() - default.values)
    parts = [
        *(HEAD, DEFAULT, _table(COLUMNS, (_row(key, [default]) for key in default.values))),
        *(SPECIAL, _table(COLUMNS, (_row(key, files) for key in sorted(special)))),
    ]
    for name in available(CONFIG_DIR, "envs"):
        layers = _layers("envs", name)
        arguments = {key: value for layer in layers for key, value in layer.values.get("env_args", {}).items()}
        sources = [layer.source for layer in layers]
        rows = [
            (f"`env_args.{key}`", _code(value), _comment(f"env_args.{key}", sources))
            for key, value in arguments.items()
        ]
        parts += [ENVIRONMENT.format(name=name), _table(("Key", "Default", "What it is"), rows)]
    return "\n".join(parts)


def _layers(folder: str, name: str) -> list[Layer]:
    return file_layers(CONFIG_DIR / folder / f"{name}.yaml")


def _row(key: str, layers: Iterable[Layer]) -> tuple[str, ...]:
    """A key, with the values and the first comment that ``layers`` give it."""
    row = KEYS[key]
    values: dict[str, list[str]] = {}
    for layer in layers:
        if key in layer.values:
            values.setdefault(_code(layer.values[key]), []).append(Path(layer.source).stem)
    one = len(values) == 1
    default = "; ".join(value if one else f"{value} ({', '.join(names)})" for value, names in values.items())
    notes = (comments(PROJECT / layer.source).get(key) for layer in layers)
    return f"`{key}`", row.form, default, row.readers or "(recorded only)", row.changes, next(filter(None, notes), "")


def _code(value: Any) -> str:
    return f"`{_plain(value, '') if value != '' else '(empty)'}`"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in cells)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
