"""Strict, typed configuration: ``default.yaml`` < environment < algorithm < preset < ``with key=value``.

A key keeps the type of its first non-null value, a ``with`` key must exist, and every mistake is a `UserError` of one
line that names the key, what came, what was expected and where it came from.
"""

from __future__ import annotations

import copy
import functools
import inspect
import json
import logging
import math
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from utils.errors import UserError
from utils.registry import hint, nearest

CONFIG_DIR = Path(__file__).resolve().parent.parent / "config"
LOGGER = logging.getLogger("config")

# The files that are part of the project. Their keys are known: they are not announced as new, and a near-miss of one
# of them in a user's file is taken for a typing error. Users' files do not count, lest one spoils another's spelling.
SHIPPED = {
    "algs": (
        *("iql", "vdn", "qmix", "qtran", "qtran_values", "vast_il", "vast_vdn", "vast_qmix", "vast_qtran"),
        *("il_ac", "vdn_ac", "qmix_ac", "qtran_ac", "vast_il_ac", "vast_vdn_ac", "vast_qmix_ac", "vast_qtran_ac"),
        "coma",
    ),
    "envs": ("warehouse", "battle", "gaussian_squeeze", "sc2"),
}
FLAGS = {"algs": "--config", "envs": "--env-config", "presets": "preset"}  # where a name of such a file is given
NEAR_MISS = 0.85  # similarity (difflib's ratio) from which a new key of a YAML file is taken for a typing error
SECRET = "mongo"  # in keys whose value no message shows: mongo_url, and what may be meant to be that
MAX_SEED = 2**32 - 1  # what numpy's global generator takes


def load_config(
    alg: str | None,
    env: str | None,
    updates: Sequence[str] = (),
    *,
    config_dir: Path = CONFIG_DIR,
    logger: logging.Logger = LOGGER,
) -> dict[str, Any]:
    """The fully resolved configuration of a run.

    Args:
        alg: name of a file in ``config_dir/algs`` (``--config``).
        env: name of a file in ``config_dir/envs`` (``--env-config``).
        updates: ``key=value`` texts of the command line; nested keys are dotted (``env_args.n_agents=16``).
        config_dir: folder with ``default.yaml``, ``algs``, ``envs`` and ``presets``.
        logger: receives one line for each new key of a YAML file, and one if the algorithm overrides its environment.

    Returns:
        A dict that nothing else refers to. ``seed`` is always an integer in it.

    Raises:
        UserError: a missing or unknown name, an unreadable file, an unknown key, a value of the wrong type.
    """
    alg_layer, env_layer = _named_layer(config_dir, "algs", alg), _named_layer(config_dir, "envs", env)
    known = _known_keys(config_dir)
    for layer in (env_layer, alg_layer):
        _check_new_keys(layer, known, logger)
    _log_overrides(env_layer, alg_layer, logger)

    settings = _Settings()
    for layer in (_file_layer(config_dir / "default.yaml"), env_layer, alg_layer):
        settings.add(layer.values, layer.source)

    presets, general, env_args = _split_updates(updates)
    for update in presets:
        settings.update(update)
    preset_layers = _preset_layers(config_dir, known - settings.values.keys(), settings.values["preset"], env, alg)
    for layer in preset_layers:
        _log_overrides(env_layer, layer, logger)
        settings.set_known({key: value for key, value in layer.values.items() if key != "env_args"}, layer.source)
    for update in general:
        settings.update(update)
    environment = _describe_environment(settings.values)
    _check_env_args(settings.values["env_args"], environment)
    environment.declare_in(settings)
    open_key = "env_args" if environment.takes_any else None
    for layer in preset_layers:
        settings.set_known({"env_args": layer.values.get("env_args", {})}, layer.source, open_key)
    for update in env_args:
        settings.update(update, open_key)

    _resolve_seeds(settings.values, environment)
    return settings.values


def load_saved_config(path: Path, updates: Sequence[str] = (), *, config_dir: Path = CONFIG_DIR) -> dict[str, Any]:
    """The configuration that a run has left in a JSON file, with ``key=value`` texts over it.

    Keys that the project has got since then have their defaults. The environment's seed follows the run's ``seed``,
    unless the run had chosen another one.

    Raises:
        UserError: the file is no configuration; otherwise as for `load_config`.
    """
    source = _source(path)
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{source}: cannot be read: {error}") from None
    if not isinstance(saved, dict) or not isinstance(saved.get("env_args"), dict) or "seed" not in saved:
        raise UserError(f"{source}: expected the configuration of a run, with env_args and seed")
    if saved["env_args"].get("seed") == saved["seed"]:
        saved["env_args"]["seed"] = None
    settings = _Settings()
    for layer in (_file_layer(config_dir / "default.yaml"), _Layer(source, saved)):
        settings.add(layer.values, layer.source)
    environment = _describe_environment(settings.values)
    environment.declare_in(settings)
    presets, general, env_args = _split_updates(updates)
    if presets:
        raise UserError(f"preset: {source} has its presets merged already; got '{presets[-1]}'")
    for update in [*general, *env_args]:
        settings.update(update, "env_args" if environment.takes_any else None)
    _resolve_seeds(settings.values, environment)
    return settings.values


def to_namespace(config: Mapping[str, Any]) -> SimpleNamespace:
    """``config`` as the plain ``args`` that PyMARL's parts expect: attributes; nested mappings stay dicts (copies)."""
    return SimpleNamespace(**copy.deepcopy(dict(config)))


def results_path(config: Mapping[str, Any]) -> Path:
    """The folder of ``local_results_path``; a relative one lies in the project, wherever the command is called from."""
    return CONFIG_DIR.parent.parent / Path(config["local_results_path"]).expanduser()


def available(config_dir: Path, folder: str) -> list[str]:
    """Names of the YAML files in ``config_dir/folder``, without their ending."""
    return sorted(path.stem for path in (config_dir / folder).glob("*.yaml"))


# --- reading YAML ---


class _Loader(yaml.SafeLoader):
    """YAML as people write it in configs: ``5e-4`` and ``1/4`` are numbers, ``True`` and ``off`` truth values.

    Sexagesimal and octal numbers and dates, the traps of YAML 1.1, are text. Keys are identifiers, each given once.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            name = str(key_node.value)
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.tag != "tag:yaml.org,2002:str" or not name.isidentifier():
                raise yaml.constructor.ConstructorError(
                    problem=f"'{name}' cannot be a key: use letters, digits and _", problem_mark=key_node.start_mark
                )
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key '{name}' is given twice", problem_mark=key_node.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_fraction(self, node: yaml.ScalarNode) -> float:
        try:
            return float(Fraction(node.value.replace(" ", "")))
        except ZeroDivisionError:
            raise yaml.constructor.ConstructorError(
                problem=f"{node.value} divides by zero", problem_mark=node.start_mark
            ) from None


def _teach_loader() -> None:
    """Tell `_Loader` which plain texts are more than text; the first pattern that matches wins."""
    patterns = {
        "tag:yaml.org,2002:null": r"(~|null|)",
        "tag:yaml.org,2002:bool": r"(true|false|yes|no|on|off)",
        "tag:yaml.org,2002:int": r"[-+]?(0|[1-9][0-9_]*)",
        "tag:yaml.org,2002:float": r"[-+]?([0-9]+\.[0-9]*(e[-+]?[0-9]+)?|\.?[0-9]+e[-+]?[0-9]+|\.[0-9]+|\.?inf)|\.nan",
        "tag:yaml.org,2002:merge": r"<<",
        "!fraction": r"[-+]?[0-9]+ ?/ ?[0-9]+",
    }
    for tag, pattern in patterns.items():
        _Loader.add_implicit_resolver(tag, re.compile(f"^({pattern})$", re.IGNORECASE), first=None)
    _Loader.add_constructor("!fraction", _Loader.construct_fraction)


_teach_loader()


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        UserError: the file cannot be read, is not YAML, or has a key twice; names the file and the line.
    """
    source = _source(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{source}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{source}{_explain(error)}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{source}: expected 'key: value' lines, got {_show(values)}")
    return values


def _explain(error: yaml.YAMLError) -> str:
    """PyYAML's error as one line: ``, line 3: what is wrong``."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    line = f", line {mark.line + 1}" if mark else ""
    return f"{line}: {' '.join(problem.split())}"


def _parse_text(text: str) -> Any:
    """What ``text`` would be as a value in a YAML file; a plain text may hold ``#`` and ``:``, though.

    Raises:
        yaml.YAMLError: a list, mapping or quoted text that does not close, a division by zero.
    """
    if text[:1] in ("[", "{", '"', "'"):
        return yaml.load(text, Loader=_Loader)
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    return loader.construct_object(yaml.ScalarNode(tag, text))


# --- values and their types ---


@dataclass
class _Kind:
    """What a key may hold.

    Args:
        example: its first value that is not null, which sets the type; None: any type.
        nullable: whether it may be null.
    """

    example: Any
    nullable: bool

    def accept(self, value: Any) -> Any:
        """``value`` in this key's type.

        Raises:
            ValueError: it does not fit; the message says what was expected.
        """
        if _is_null(value) and self.nullable:
            return None
        return value if self.example is None else _convert(value, self.example)

    def is_text(self) -> bool:
        """Whether what the command line gives is taken as it is."""
        return isinstance(self.example, str)


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.lower() in ("none", "null", "~"))


def _convert(value: Any, example: Any) -> Any:
    """``value`` in the type of ``example``; raises ValueError with what was expected."""
    if isinstance(example, str):
        return _require(value, isinstance(value, str), "text")
    if isinstance(example, list):
        return _convert_list(value, example)
    if isinstance(value, str):  # quoted in the file
        value = _parse_quoted(value)
    if isinstance(example, bool):
        return _require(value, isinstance(value, bool), "true or false")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(example, int):
        return int(_require(value, is_number and value == value // 1, "a whole number"))
    if isinstance(example, float):
        return float(_require(value, is_number and not math.isnan(value), "a number"))
    return value


def _convert_list(value: Any, example: list[Any]) -> list[Any]:
    """A list whose elements have the type of the example's elements, if those have one type."""
    _require(value, isinstance(value, list), "a list such as [1, 2]")
    if len({type(element) for element in example}) != 1 or example[0] is None:
        return value
    try:
        return [_convert(element, example[0]) for element in value]
    except ValueError as error:
        raise ValueError(f"{error} as each element") from None


def _require(value: Any, fits: bool, expected: str) -> Any:
    if not fits:
        raise ValueError(expected)
    return value


def _parse_quoted(text: str) -> Any:
    try:
        return _parse_text(text)
    except yaml.YAMLError:
        return text


def _show(value: Any, path: str = "") -> str:
    """A value, of the key ``path``, as the user would write it."""
    if SECRET in path:
        return "***"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)


# --- merging ---


@dataclass
class _Settings:
    """The configuration as it grows, layer by layer, and the kind of each of its leaves (by dotted path)."""

    values: dict[str, Any] = field(default_factory=dict)
    kinds: dict[str, _Kind] = field(default_factory=dict)

    def add(self, layer: Mapping[str, Any], source: str) -> None:
        """Merge ``layer`` over what is there.

        Raises:
            UserError: a value does not have the type of its key.
        """
        self._merge(self.values, layer, "", source)

    def set_known(self, layer: Mapping[str, Any], source: str, open_key: str | None = None) -> None:
        """Merge ``layer``, which may set the keys that are there but bring no new ones.

        Args:
            layer: what to merge.
            source: how messages name it.
            open_key: name of a mapping that takes keys that it does not have yet.

        Raises:
            UserError: an unknown key or a value of the wrong type.
        """
        for leaf, _ in leaves(layer):
            if not self._knows(leaf) and not (open_key and leaf.startswith(f"{open_key}.")):
                raise UserError(f"{leaf}: unknown key{self._hint(leaf)} ({source}); print_config shows all keys")
        self.add(layer, source)

    def update(self, text: str, open_key: str | None = None) -> None:
        """Apply one ``key=value`` of the command line.

        Args:
            text: the ``key=value``.
            open_key: as in `set_known`.

        Raises:
            UserError: an unknown key or a value of the wrong type.
        """
        path, _, value = text.partition("=")
        path = path.strip()
        if "\n" not in value:  # in a text of several lines, such as a map, the first one's indentation counts
            value = value.strip()
        source = f"with {path}={'***' if SECRET in path else value}"
        self.set_known(_nest(path, self._read(path, value, source)), source, open_key)

    def _merge(self, target: dict[str, Any], layer: Mapping[str, Any], prefix: str, source: str) -> None:
        for key, value in layer.items():
            path = prefix + key
            kind = self.kinds.get(path)
            if isinstance(target.get(key), dict) or (isinstance(value, dict) and (not kind or kind.example is None)):
                _require_mapping(path, value, source)
                if not isinstance(target.get(key), dict):
                    target[key] = {}
                self._merge(target[key], value, f"{path}.", source)
            else:
                target[key] = self._accept(path, value, source)

    def _accept(self, path: str, value: Any, source: str) -> Any:
        kind = self.kinds.get(path)
        if kind is None:
            self.kinds[path] = _Kind(example=value, nullable=value is None)
            return value
        try:
            accepted = kind.accept(value)
        except ValueError as error:
            raise _wrong_type(path, str(error), value, source) from None
        if kind.example is None:
            kind.example = accepted
        return accepted

    def _read(self, path: str, text: str, source: str) -> Any:
        kind = self.kinds.get(path)
        if kind and kind.is_text():
            return text
        try:
            return _parse_text(text)
        except yaml.YAMLError as error:
            raise UserError(f"{path}: cannot be read{_explain(error)} ({source})") from None

    def _knows(self, path: str) -> bool:
        inner: Any = self.values
        for key in path.split("."):
            inner = inner.get(key) if isinstance(inner, dict) else None
        return path in self.kinds or isinstance(inner, dict)

    def _hint(self, path: str) -> str:
        if f"env_args.{path}" in self.kinds:
            return f" (did you mean 'env_args.{path}'?)"
        return hint(path, [*self.kinds, *self.values])


def _wrong_type(path: str, expected: str, value: Any, source: str) -> UserError:
    return UserError(f"{path}: expected {expected}, got {_show(value, path)} ({source})")


def _nest(path: str, value: Any) -> dict[str, Any]:
    """``a.b`` and 1 -> ``{"a": {"b": 1}}``."""
    return functools.reduce(lambda inner, key: {key: inner}, reversed(path.split(".")), value)


def leaves(layer: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of everything in ``layer`` that is not a mapping, or an empty one."""
    for key, value in layer.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


# --- layers ---


@dataclass(frozen=True)
class _Layer:
    """One source of values.

    Args:
        source: how messages name it.
        values: what it sets.
    """

    source: str
    values: dict[str, Any]


def _file_layer(path: Path) -> _Layer:
    return _Layer(_source(path), read_yaml(path))


def _named_layer(config_dir: Path, folder: str, name: str | None) -> _Layer:
    """The layer of ``--config=name``, ``--env-config=name`` or ``preset=name``."""
    names = available(config_dir, folder)
    if name not in names:
        problem = f"unknown name '{name}'{hint(name, names)}" if name else "missing"
        raise UserError(f"{FLAGS[folder]}: {problem}: choose one of {', '.join(names)}")
    return _file_layer(config_dir / folder / f"{name}.yaml")


def _source(path: Path) -> str:
    """``path`` as messages show it: relative to the project if it lies there."""
    project = CONFIG_DIR.parent.parent
    return str(path.relative_to(project) if path.is_relative_to(project) else path)


def _check_new_keys(layer: _Layer, known: Set[str], logger: logging.Logger) -> None:
    """Announce the new top-level keys of a user's file; raises UserError if one looks like a known key misspelt."""
    for key in layer.values:
        if key in known:
            continue
        near = nearest(key, known, cutoff=NEAR_MISS)
        if near:
            raise UserError(f"{key}: unknown key in {layer.source}: use '{near}', or a name that differs more from it")
        logger.info("%s: new key '%s'", layer.source, key)


def _known_keys(config_dir: Path) -> set[str]:
    """Top-level keys of all files of the project that are there."""
    named = (config_dir / folder / f"{name}.yaml" for folder, names in SHIPPED.items() for name in names)
    paths = [config_dir / "default.yaml", *named]
    return {key for path in paths if path.exists() for key in read_yaml(path)}


def _log_overrides(env: _Layer, alg: _Layer, logger: logging.Logger) -> None:
    """One line if the algorithm's file changes what the environment's file sets."""
    domain = dict(leaves(env.values))
    changes = [
        f"{path} {_show(domain[path], path)} -> {_show(value, path)}"
        for path, value in leaves(alg.values)
        if path in domain and value != domain[path]
    ]
    if changes:
        logger.info("%s overrides %s: %s", alg.source, env.source, ", ".join(changes))


def _split_updates(updates: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The updates of ``preset``, which come first, those of ordinary keys, and those of ``env_args``.

    The last ones wait until the environment is known.
    """
    presets: list[str] = []
    general: list[str] = []
    env_args: list[str] = []
    for update in updates:
        key, equals, _ = update.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            raise UserError(f"with {SECRET + '...' if SECRET in update else update}: expected key=value")
        first = key.split(".")[0].strip()
        {"preset": presets, "env_args": env_args}.get(first, general).append(update)
    return presets, general, env_args


# --- presets ---


def _preset_layers(config_dir: Path, foreign: Set[str], name: Any, env: str | None, alg: str | None) -> list[_Layer]:
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
    if name is None:
        return []
    preset = _named_layer(config_dir, "presets", str(name))
    general = {key: value for key, value in preset.values.items() if key not in {*SHIPPED, *foreign}}
    layers = [
        _Layer(preset.source, general),
        _preset_section(config_dir, preset, "envs", env),
        _preset_section(config_dir, preset, "algs", alg),
    ]
    for layer in layers:
        if "preset" in layer.values:
            raise UserError(f"preset: a preset cannot choose another one ({layer.source})")
    return layers


def _preset_section(config_dir: Path, preset: _Layer, folder: str, chosen: str | None) -> _Layer:
    """What ``preset`` sets for the environment (``folder`` envs) or algorithm (algs) that is ``chosen``."""
    sections = _require_mapping(folder, preset.values.get(folder, {}), preset.source)
    names = {*available(config_dir, folder), *SHIPPED[folder]}
    for name, values in sections.items():
        if name not in names:
            raise UserError(f"{folder}.{name}: unknown name{hint(name, names)} ({preset.source})")
        _require_mapping(f"{folder}.{name}", values, preset.source)
    return _Layer(f"{folder}.{chosen} in {preset.source}", sections[chosen] if chosen in sections else {})


def _require_mapping(path: str, value: Any, source: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong_type(path, "a mapping of keys to values", value, source)
    return value


# --- the environment's arguments and the seeds ---


@dataclass(frozen=True)
class _Environment:
    """What is known of the chosen environment's constructor.

    Args:
        name: its name in the registry.
        parameters: the constructor's parameters and their defaults (None where there is none).
        takes_any: whether it takes ``**kwargs``.
    """

    name: str
    parameters: dict[str, Any]
    takes_any: bool

    def declare_in(self, settings: _Settings) -> None:
        """Make the constructor's parameters known to ``settings``, without giving them values."""
        for name, default in self.parameters.items():
            example = default if isinstance(default, bool | int | float | str | list) else None
            settings.kinds.setdefault(f"env_args.{name}", _Kind(example, nullable=example is None))


def _describe_environment(config: Mapping[str, Any]) -> _Environment:
    from envs import REGISTRY  # late: a mistake in the configuration is told before heavy imports

    name = config["env"]
    if name is None:
        raise UserError("env: missing: the YAML of --env-config must name an environment")
    constructor = REGISTRY[name]
    if isinstance(constructor, functools.partial) and "env" in constructor.keywords:
        constructor = constructor.keywords["env"]  # PyMARL's idiom: partial(env_fn, env=Class)
    try:
        parameters = inspect.signature(constructor).parameters.values()
    except ValueError:  # written in C, cannot be inspected
        return _Environment(name, {}, takes_any=True)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return _Environment(
        name,
        {p.name: None if p.default is p.empty else p.default for p in parameters if p.kind in named},
        takes_any=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def _check_env_args(env_args: Mapping[str, Any], environment: _Environment) -> None:
    """Find misspelt keys in the files' ``env_args``; raises UserError."""
    if environment.takes_any:
        return
    for key in env_args:
        near = nearest(key, environment.parameters, cutoff=NEAR_MISS)
        if near and key not in environment.parameters:
            raise UserError(f"env_args.{key}: unknown key: environment '{environment.name}' calls it '{near}'")


def _resolve_seeds(config: dict[str, Any], environment: _Environment) -> None:
    """Draw a seed if there is none, and hand it to an environment that takes a seed and has none of its own."""
    seed = config["seed"]
    if seed is None:
        seed = secrets.randbelow(10**9)
    try:
        seed = _convert(seed, 0)
        _require(seed, 0 <= seed <= MAX_SEED, "")
    except ValueError:
        raise UserError(f"seed: expected a whole number from 0 to {MAX_SEED}, got {_show(config['seed'])}") from None
    config["seed"] = seed
    env_args = config["env_args"]
    if env_args.get("seed") is None and ("seed" in {*env_args, *environment.parameters} or environment.takes_any):
        env_args["seed"] = seed
