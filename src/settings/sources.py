"""Where the configuration comes from: YAML files as layers, what they extend, and presets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from settings.values import UNREADABLE, Loader, explain, show
from utils.errors import UserError
from utils.registry import hint

CONFIG_DIR = Path(__file__).resolve().parent.parent / "config"
FLAGS = {"algs": "--config", "envs": "--env-config", "presets": "preset"}  # where a name of such a file is given
SECTIONS = ("algs", "envs")  # of a preset
FRAGMENT = "_"  # begins the names of files that are there to be extended only


@dataclass(frozen=True)
class Layer:
    """One source of values.

    Args:
        source: how messages name it.
        values: what it sets.
    """

    source: str
    values: dict[str, Any]


def leaves(layer: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of everything in ``layer`` that is not a mapping, or an empty one."""
    for key, value in layer.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def available(config_dir: Path, folder: str) -> list[str]:
    """Names of the YAML files in ``config_dir/folder``, without their ending and without fragments."""
    return [name for name in _stems(config_dir / folder) if not name.startswith(FRAGMENT)]


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def read_layer(path: Path) -> Layer:
    """A YAML file alone, without what it extends."""
    return Layer(source_name(path), read_yaml(path))


def source_name(path: Path) -> str:
    """``path`` as messages show it: relative to the project if it lies there."""
    project = CONFIG_DIR.parent.parent
    return str(path.relative_to(project) if path.is_relative_to(project) else path)


# --- one file ---


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        UserError: the file cannot be read, is not YAML, or has a key twice; names the file and the line.
    """
    source = source_name(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{source}: cannot be read: {error}") from None
    except UNREADABLE as error:
        raise UserError(f"{source}{explain(error)}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{source}: expected 'key: value' lines, got {show(values)}")
    return values


# --- a file with what it extends ---


def named_layers(config_dir: Path, folder: str, name: str | None) -> list[Layer]:
    """The layers of ``--config=name``, ``--env-config=name`` or ``preset=name``, lowest precedence first.

    Raises:
        UserError: there is no such file, or as for `file_layers`.
    """
    names = available(config_dir, folder)
    if name not in names:
        problem = f"unknown name '{name}'{hint(name, names)}" if name else "missing"
        raise UserError(f"{FLAGS[folder]}: {problem}: choose one of {', '.join(names)}")
    return file_layers(config_dir / folder / f"{name}.yaml")


def file_layers(path: Path) -> list[Layer]:
    """A file and all that it ``extends``, in other files of its folder: each once, behind those that it extends.

    Raises:
        UserError: an unknown name, a circle, or a file that cannot be read.
    """
    found: dict[str, Layer] = {}
    _collect(path, (), found)
    return list(found.values())


def _collect(path: Path, chain: tuple[str, ...], found: dict[str, Layer]) -> None:
    layer = read_layer(path)
    for name in _parents(layer, _stems(path.parent)):
        if name in (*chain, path.stem):
            circle = " -> ".join([*chain, path.stem, name])
            raise UserError(f"extends: expected no circle, got {circle} ({layer.source})")
        if name not in found:
            _collect(path.with_name(f"{name}.yaml"), (*chain, path.stem), found)
    found[path.stem] = layer


def _parents(layer: Layer, names: Sequence[str]) -> list[str]:
    """Takes the names of the files that ``layer`` extends out of it."""
    given = layer.values.pop("extends", [])
    parents = [given] if isinstance(given, str) else given
    if not isinstance(parents, list) or not all(isinstance(name, str) for name in parents):
        raise UserError(f"extends: expected a name or a list of names, got {show(given)} ({layer.source})")
    for name in parents:
        if name not in names:
            raise UserError(f"extends: unknown name '{name}'{hint(name, names)} ({layer.source})")
    return parents


# --- presets ---


def preset_layers(config_dir: Path, foreign: Set[str], name: Any, env: str | None, alg: str | None) -> list[Layer]:
    """What the preset ``name`` sets in a run of ``env`` and ``alg``, lowest precedence first.

    Its top-level keys hold for every run that has them; those of its sections ``envs`` and ``algs`` for the
    environment or algorithm of that name only.

    Args:
        config_dir: where its file is, in ``presets``.
        foreign: keys of parts that this run does not have, such as a mixer's; they are left out.
        name: of the preset; None: no layers.
        env, alg: names of the environment's and the algorithm's file.

    Raises:
        UserError: no such preset, a section of an unknown name or that is no mapping, a preset that names a preset.
    """
    layers: list[Layer] = []
    for preset in named_layers(config_dir, "presets", str(name)) if name is not None else []:
        general = {key: value for key, value in preset.values.items() if key not in {*SECTIONS, *foreign}}
        layers += [
            Layer(preset.source, general),
            _preset_section(config_dir, preset, "envs", env),
            _preset_section(config_dir, preset, "algs", alg),
        ]
    for layer in layers:
        if "preset" in layer.values:
            raise UserError(f"preset: a preset cannot choose another one ({layer.source})")
    return layers


def _preset_section(config_dir: Path, preset: Layer, folder: str, chosen: str | None) -> Layer:
    """What ``preset`` sets for the environment (``folder`` envs) or algorithm (algs) that is ``chosen``."""
    sections = _require_mapping(folder, preset.values.get(folder, {}), preset.source)
    names = {*available(config_dir, folder), *available(CONFIG_DIR, folder)}
    for name, values in sections.items():
        if name not in names:
            raise UserError(f"{folder}.{name}: unknown name{hint(name, names)} ({preset.source})")
        _require_mapping(f"{folder}.{name}", values, preset.source)
    return Layer(f"{folder}.{chosen} in {preset.source}", sections.get(str(chosen), {}))


def _require_mapping(path: str, value: Any, source: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a mapping of keys to values, got {show(value, path)} ({source})")
    return value
