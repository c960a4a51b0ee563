"""Strict, typed configuration: ``default.yaml`` < environment < algorithm < preset < ``with key=value``.

A key keeps the type of its first non-null value and stays in the range that `settings.keys` gives it, a ``with`` key
must exist, and every mistake is a `UserError` of one line that names the key, what came, what was expected and where it
came from.
"""

from __future__ import annotations

import copy
import functools
import inspect
import json
import logging
import secrets
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from logging import Logger
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from settings.keys import KEYS, look_up
from settings.sources import CONFIG_DIR as CONFIG_DIR
from settings.sources import Layer, leaves, named_layers, preset_layers, read_layer, source_name
from settings.sources import available as available
from settings.values import SECRET, UNREADABLE, Kind, explain, fit, is_secret, parse_text, show
from utils.errors import UserError
from utils.registry import hint, nearest

LOGGER = logging.getLogger("config")
NEAR_MISS = 0.85  # similarity (difflib's ratio) from which a new key of a YAML file is taken for a typing error


def load_config(
    alg: str | None,
    env: str | None,
    updates: Sequence[str] = (),
    *,
    config_dir: Path = CONFIG_DIR,
    logger: Logger = LOGGER,
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
        UserError: a missing or unknown name, an unreadable file, an unknown key, a value of the wrong type or range.
    """
    return resolve(alg, env, updates, config_dir, logger).values


def resolve(
    alg: str | None, env: str | None, updates: Sequence[str], config_dir: Path = CONFIG_DIR, logger: Logger = LOGGER
) -> Settings:
    """`load_config`'s configuration, with where each value comes from; arguments and errors as there."""
    alg_layers, env_layers = named_layers(config_dir, "algs", alg), named_layers(config_dir, "envs", env)
    default = read_layer(config_dir / "default.yaml")
    known = {*KEYS, *default.values}
    _check_new_keys([*env_layers, *alg_layers], known, logger)
    _log_overrides(env_layers, alg_layers, logger)

    settings = Settings()
    for layer in (default, *env_layers, *alg_layers):
        settings.add(layer)
    presets, general, env_args = _split_updates(updates)
    for update in presets:
        settings.update(update)
    preset = preset_layers(config_dir, known - settings.values.keys(), settings.values["preset"], env, alg)
    for layer in preset:
        _log_overrides(env_layers, [layer], logger)
        general_keys = {key: value for key, value in layer.values.items() if key != "env_args"}
        settings.set_known(Layer(layer.source, general_keys))
    for update in general:
        settings.update(update)
    parameters, open_key = _declare_env_args(settings)
    if open_key is None:
        _check_env_args(settings.values, parameters)
    for layer in preset:
        settings.set_known(Layer(layer.source, {"env_args": layer.values.get("env_args", {})}), open_key)
    for update in env_args:
        settings.update(update, open_key)
    _resolve_seeds(settings, takes_seed=open_key is not None or "seed" in parameters)
    return settings


def load_saved_config(path: Path, updates: Sequence[str] = (), *, config_dir: Path = CONFIG_DIR) -> dict[str, Any]:
    """The configuration that a run has left in a JSON file, with ``key=value`` texts over it.

    Keys that the project has got since then have their defaults. The environment's seed follows the run's ``seed``,
    unless the run had chosen another one.

    Raises:
        UserError: the file is no configuration; otherwise as for `load_config`.
    """
    source = source_name(path)
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{source}: cannot be read: {error}") from None
    if not isinstance(saved, dict) or not isinstance(saved.get("env_args"), dict) or "seed" not in saved:
        raise UserError(f"{source}: expected the configuration of a run, with env_args and seed")
    if saved["env_args"].get("seed") == saved["seed"]:
        saved["env_args"]["seed"] = None
    settings = Settings()
    for layer in (read_layer(config_dir / "default.yaml"), Layer(source, saved)):
        settings.add(layer)
    parameters, open_key = _declare_env_args(settings)
    presets, general, env_args = _split_updates(updates)
    if presets:
        raise UserError(f"preset: {source} has its presets merged already; got '{presets[-1]}'")
    for update in [*general, *env_args]:
        settings.update(update, open_key)
    _resolve_seeds(settings, takes_seed=open_key is not None or "seed" in parameters)
    return settings.values


def to_namespace(config: Mapping[str, Any]) -> SimpleNamespace:
    """``config`` as the plain ``args`` that PyMARL's parts expect: attributes; nested mappings stay dicts (copies)."""
    return SimpleNamespace(**copy.deepcopy(dict(config)))


def results_path(config: Mapping[str, Any]) -> Path:
    """The folder of ``local_results_path``; a relative one lies in the project, wherever the command is called from."""
    return CONFIG_DIR.parent.parent / Path(config["local_results_path"]).expanduser()


# --- merging ---


@dataclass
class Settings:
    """The configuration as it grows, layer by layer.

    Attributes:
        values: the configuration.
        kinds: the type of each leaf, by dotted path.
        origins: where the value of each leaf comes from, as messages name it.
        sources: of the layers so far, lowest precedence first.
    """

    values: dict[str, Any] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)

    def add(self, layer: Layer) -> None:
        """Merge ``layer`` over what is there.

        Raises:
            UserError: a value does not have the type or the range of its key.
        """
        self._merge(self.values, layer.values, "", layer.source)
        self.sources.append(layer.source)

    def set_known(self, layer: Layer, open_key: str | None = None) -> None:
        """Merge ``layer``, which may set the keys that are there but bring no new ones.

        Args:
            layer: what to merge.
            open_key: name of a mapping that takes keys that it does not have yet.

        Raises:
            UserError: an unknown key or a value of the wrong type or range.
        """
        for leaf, _ in leaves(layer.values):
            if not self._knows(leaf) and not (open_key and leaf.startswith(f"{open_key}.")):
                raise UserError(f"{leaf}: unknown key{self._hint(leaf)} ({layer.source}); print_config shows all keys")
        self.add(layer)

    def update(self, text: str, open_key: str | None = None) -> None:
        """Apply one ``key=value`` of the command line.

        Args:
            text: the ``key=value``.
            open_key: as in `set_known`.

        Raises:
            UserError: an unknown key or a value of the wrong type or range.
        """
        path, _, value = text.partition("=")
        path = path.strip()
        if "\n" not in value:  # in a text of several lines, such as a map, the first one's indentation counts
            value = value.strip()
        source = f"with {path}={'***' if is_secret(path) else value}"
        self.set_known(Layer(source, _nest(path, self._read(path, value, source))), open_key)

    def _merge(self, target: dict[str, Any], layer: Mapping[str, Any], prefix: str, source: str) -> None:
        for key, value in layer.items():
            path = prefix + key
            if isinstance(target.get(key), dict) or (isinstance(value, dict) and self._may_nest(path)):
                if not isinstance(value, dict):
                    raise _wrong_value(path, "a mapping of keys to values", value, source)
                if not isinstance(target.get(key), dict):
                    target[key] = {}
                self._merge(target[key], value, f"{path}.", source)
            else:
                target[key] = self._accept(path, value, source)
                self.origins[path] = source

    def _may_nest(self, path: str) -> bool:
        if path in KEYS:
            return KEYS[path].form == "mapping"
        return path not in self.kinds or self.kinds[path].example is None

    def _accept(self, path: str, value: Any, source: str) -> Any:
        kind = self.kinds.setdefault(path, Kind(None, nullable=value is None))
        try:
            accepted = kind.accept(value)
            if path in KEYS:
                accepted = fit(KEYS[path].form, accepted)
        except ValueError as error:
            raise _wrong_value(path, str(error), value, source) from None
        if kind.example is None:
            kind.example = accepted
        return accepted

    def _read(self, path: str, text: str, source: str) -> Any:
        kind = self.kinds.get(path)
        if kind and kind.is_text():
            return text
        try:
            return parse_text(text)
        except UNREADABLE as error:
            raise UserError(f"{path}: cannot be read{explain(error)} ({source})") from None

    def _knows(self, path: str) -> bool:
        inner: Any = self.values
        for key in path.split("."):
            inner = inner.get(key) if isinstance(inner, dict) else None
        return path in self.kinds or isinstance(inner, dict)

    def _hint(self, path: str) -> str:
        if f"env_args.{path}" in self.kinds:
            return f" (did you mean 'env_args.{path}'?)"
        return hint(path, [*self.kinds, *self.values])


def _wrong_value(path: str, expected: str, value: Any, source: str) -> UserError:
    return UserError(f"{path}: expected {expected}, got {show(value, path)} ({source})")


def _nest(path: str, value: Any) -> dict[str, Any]:
    """``a.b`` and 1 -> ``{"a": {"b": 1}}``."""
    return functools.reduce(lambda inner, key: {key: inner}, reversed(path.split(".")), value)


# --- layers ---


def _check_new_keys(layers: Sequence[Layer], known: set[str], logger: Logger) -> None:
    """Announce the new top-level keys of users' files; raises UserError if one looks like a known key misspelt."""
    for layer in layers:
        for key in [key for key in layer.values if key not in known]:
            near = nearest(key, known, cutoff=NEAR_MISS)
            if near:
                problem = f"unknown key in {layer.source}: use '{near}', or a name that differs more from it"
                raise UserError(f"{key}: {problem}")
            logger.info("%s: new key '%s'", layer.source, key)
        known |= layer.values.keys()


def _log_overrides(env: Sequence[Layer], above: Sequence[Layer], logger: Logger) -> None:
    """One line if layers above it, such as the algorithm's, change what the environment's file sets."""
    domain, set_above = ({k: v for layer in part for k, v in leaves(layer.values)} for part in (env, above))
    changes = [
        f"{path} {show(domain[path], path)} -> {show(value, path)}"
        for path, value in set_above.items()
        if path in domain and value != domain[path]
    ]
    if changes:
        logger.info("%s overrides %s: %s", above[-1].source, env[-1].source, ", ".join(changes))


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


# --- the environment's arguments and the seeds ---


def _declare_env_args(settings: Settings) -> tuple[Set[str], str | None]:
    """Makes the parameters of the environment's constructor known, without giving them values.

    Returns:
        Their names, and ``env_args`` if the constructor takes any others, too.

    Raises:
        UserError: there is no such environment.
    """
    name = settings.values["env"]
    if name is None:
        raise UserError("env: missing: the YAML of --env-config must name an environment")
    constructor = look_up("env", name)
    if isinstance(constructor, functools.partial) and "env" in constructor.keywords:
        constructor = constructor.keywords["env"]  # PyMARL's idiom: partial(env_fn, env=Class)
    try:
        parameters = inspect.signature(constructor).parameters.values()
    except ValueError:  # written in C, cannot be inspected
        return set(), "env_args"
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for p in named:
        example = p.default if isinstance(p.default, bool | int | float | str | list) else None
        settings.kinds.setdefault(f"env_args.{p.name}", Kind(example, nullable=example is None))
    return {p.name for p in named}, "env_args" if any(p.kind is p.VAR_KEYWORD for p in parameters) else None


def _check_env_args(config: Mapping[str, Any], parameters: Set[str]) -> None:
    """Find misspelt keys in the files' ``env_args``; raises UserError."""
    for key in config["env_args"]:
        near = nearest(key, parameters, cutoff=NEAR_MISS)
        if near and key not in parameters:
            raise UserError(f"env_args.{key}: unknown key: environment '{config['env']}' calls it '{near}'")


def _resolve_seeds(settings: Settings, takes_seed: bool) -> None:
    """Draw a seed if there is none, and hand it to an environment that takes a seed and has none of its own."""
    config, env_args = settings.values, settings.values["env_args"]
    if config["seed"] is None:
        config["seed"], settings.origins["seed"] = secrets.randbelow(10**9), "drawn"
    if env_args.get("seed") is None and (takes_seed or "seed" in env_args):
        env_args["seed"], settings.origins["env_args.seed"] = config["seed"], "seed"
