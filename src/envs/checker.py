"""Checks that an environment keeps the contract of ``MultiAgentEnv``, by playing random episodes.

From the command line, for a registered environment (its YAML gives the arguments that are not named) or for your own::

    python src/envs/checker.py warehouse n_agents=16
    python src/envs/checker.py my_module:MyEnv key=value
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

SRC = Path(__file__).resolve().parents[1]
METHODS = (
    *("reset", "step", "get_obs", "get_obs_agent", "get_obs_size", "get_state", "get_state_size", "get_avail_actions"),
    *("get_avail_agent_actions", "get_total_actions", "get_env_info", "get_stats", "close"),
)
READERS = {"obs": "get_obs", "state": "get_state", "avail_actions": "get_avail_actions"}
SIZES = ("state_shape", "obs_shape", "n_actions", "n_agents", "episode_limit")
SIZE_METHODS = {"state_shape": "get_state_size", "obs_shape": "get_obs_size", "n_actions": "get_total_actions"}


def check_env(env: Any, episodes: int = 3, seed: int = 0) -> list[str]:
    """Play random episodes and report where the environment breaks the contract.

    Args:
        env: an environment, or a callable that builds one. Seeds go to the callable as ``seed=...`` if it takes that,
            else to ``env.seed(...)``; an environment without either is not checked for reproducibility.
        episodes: random episodes to play; two pairs more check that one seed gives one course of events.
        seed: of the environment and of the random actions.

    Returns:
        One line per problem, each problem once; empty if there is none.
    """
    problems: dict[str, None] = {}  # a dict keeps the order and drops repetitions
    try:
        for problem in _check(env, episodes, seed):
            problems[problem] = None
    except Exception as error:  # whatever the environment raises is a finding about it
        problems[_describe(error)] = None
    return list(problems)


def takes_seed(env: Any) -> bool:
    """Whether ``check_env`` can seed ``env``, an environment or a callable that builds one."""
    built, seeded = _build(env, seed=0)
    _close(env, built)
    return seeded


def _check(env: Any, episodes: int, seed: int) -> Iterator[str]:
    built, seeded = _build(env, seed)
    problems = list(_check_interface(built))
    yield from problems
    if not problems:  # random play relies on the methods and the sizes
        rng = np.random.default_rng(seed)
        for _ in range(episodes):
            yield from _play(built, rng, record=[])
        if seeded:
            yield from _check_seeds(env, seed)
    _close(env, built)


# --- building, seeding, closing ---


def _is_factory(env: Any) -> bool:
    return isinstance(env, type) or not hasattr(env, "step")


def _build(env: Any, seed: int) -> tuple[Any, bool]:
    """``env``, or what it builds, and whether it could be seeded."""
    if not _is_factory(env):
        return env, _try_seed(env, seed)
    try:
        return env(seed=seed), True
    except TypeError:  # takes no seed; any other reason shows again in the next line
        built = env()
        return built, _try_seed(built, seed)


def _try_seed(env: Any, seed: int) -> bool:
    try:
        env.seed(seed)
    except (AttributeError, NotImplementedError, TypeError):  # none, or one that only tells the seed, as SMAC's
        return False
    return True


def _close(env: Any, built: Any) -> None:
    """Close what was built here; an environment that was handed in stays open."""
    if _is_factory(env) and hasattr(built, "close"):
        built.close()


# --- the parts of the contract ---


def _check_interface(env: Any) -> Iterator[str]:
    """Methods, and the sizes that they declare."""
    missing = [name for name in METHODS if not callable(getattr(env, name, None))]
    if missing:
        yield f"missing methods: {', '.join(missing)}"
        return
    info = env.get_env_info()
    if not isinstance(info, dict):
        yield f"get_env_info() returns {type(info).__name__}, expected a dict"
        return
    problems = [*_check_sizes(env, info)]
    yield from problems or _check_optional(info)


def _check_sizes(env: Any, info: dict[str, Any]) -> Iterator[str]:
    """The sizes of get_env_info(), and that the single methods agree with them."""
    for key in SIZES:
        if key not in info:
            yield f"get_env_info() lacks '{key}'"
        elif not _is_size(info[key], may_be_tuple=key in ("obs_shape", "state_shape")):
            yield f"get_env_info()['{key}'] is {info[key]!r}, expected a positive integer"
    for key, method in SIZE_METHODS.items():
        size = getattr(env, method)()
        if size != info.get(key, size):
            yield f"get_env_info()['{key}'] is {info[key]!r}, but {method}() returns {size!r}"


def _is_size(value: Any, may_be_tuple: bool) -> bool:
    if may_be_tuple and isinstance(value, tuple):
        return all(_is_size(entry, may_be_tuple=False) for entry in value)
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value > 0)


def _check_optional(info: dict[str, Any]) -> Iterator[str]:
    """The optional keys: where the state holds positions and lives, whether agents need their identity, dtypes."""
    from envs.checks import check_dtypes  # here, because a script must put src on the path first
    from utils.errors import UserError

    n_agents, state_shape = info["n_agents"], info["state_shape"]
    for key, shape in (("agent_position_index", (n_agents, 2)), ("agent_alive_index", (n_agents,))):
        if key not in info:
            continue
        index = np.asarray(info[key])
        if index.dtype.kind not in "iu":
            yield f"get_env_info()['{key}'] holds {index.dtype}, expected integers"
        elif index.shape != shape:
            yield f"get_env_info()['{key}'] has shape {index.shape}, expected {shape}"
        elif index.min() < 0 or index.max() >= np.prod(state_shape):
            yield f"get_env_info()['{key}'] points outside the state of size {state_shape}"
    if not isinstance(info.get("needs_agent_id", False), bool):
        yield f"get_env_info()['needs_agent_id'] is {info['needs_agent_id']!r}, expected True or False"
    try:
        check_dtypes(info.get("dtypes", {}))
    except UserError as error:
        yield str(error)


def _play(env: Any, rng: np.random.Generator, record: list[Any]) -> Iterator[str]:
    """One episode of random available actions; appends everything that the environment gives to ``record``."""
    info = env.get_env_info()
    handed_out: list[tuple[str, Any, npt.NDArray]] = []
    env.reset()
    terminated = False
    for _ in range(info["episode_limit"]):
        problems = list(_check_reading(env, info))
        if problems:  # no use in playing on
            yield from problems
            return
        read = [(name, getattr(env, name)()) for name in READERS.values()]
        handed_out += [(name, returned, np.array(returned)) for name, returned in read]
        result = env.step(_random_actions(rng, np.asarray(read[-1][1])))
        problems = list(_check_result(result))
        if problems:
            yield from problems
            return
        reward, terminated, _ = result
        record += [*(copy for _, _, copy in handed_out[-len(READERS) :]), reward, terminated]
        if terminated:
            break
    if not terminated:
        yield f"the episode has not ended after episode_limit={info['episode_limit']} steps"
    yield from _check_reading(env, info)  # values bootstrap from the last state, so the runner reads it too
    yield from _check_unchanged(handed_out)
    stats = env.get_stats()
    if not isinstance(stats, dict):
        yield f"get_stats() returns {type(stats).__name__}, expected a dict"


def _random_actions(rng: np.random.Generator, avail: npt.NDArray) -> npt.NDArray[np.int64]:
    """One available action per agent, uniformly, [N]."""
    return np.where(avail, rng.random(avail.shape), -1).argmax(axis=1)


def _check_reading(env: Any, info: dict[str, Any]) -> Iterator[str]:
    """What can be read between two steps: shapes, types, availability, and that reading changes nothing."""
    n_agents, n_actions = info["n_agents"], info["n_actions"]
    obs_shape, state_shape = np.atleast_1d(info["obs_shape"]), np.atleast_1d(info["state_shape"])
    problems = [
        *_check_array(env, "get_obs", (n_agents, *obs_shape.tolist())),
        *_check_array(env, "get_state", tuple(state_shape.tolist())),
        *_check_array(env, "get_avail_actions", (n_agents, n_actions)),
    ]
    if problems:
        yield from problems
        return
    for key, dtype in info.get("dtypes", {}).items():
        yield from _check_held(env, key, dtype)
    avail = np.asarray(env.get_avail_actions())
    if not np.isin(avail, (0, 1)).all():
        yield "get_avail_actions() holds values other than 0 and 1"
    for agent in np.flatnonzero((avail != 1).all(axis=1)):
        yield f"agent {agent} has no available action"
    for single, name in (("get_obs_agent", "get_obs"), ("get_avail_agent_actions", "get_avail_actions")):
        if not all(np.array_equal(getattr(env, single)(i), row) for i, row in enumerate(getattr(env, name)())):
            yield f"{single}(i) differs from {name}()[i]"


def _check_array(env: Any, name: str, shape: tuple[int, ...]) -> Iterator[str]:
    array = _as_array(getattr(env, name)())
    if array is None:
        yield f"{name}() is not an array of numbers: entries of different length, or no numbers"
    elif array.shape != shape:
        yield f"{name}() has shape {array.shape}, expected {shape}"
    elif not np.isfinite(array).all():
        yield f"{name}() holds values that are not finite"
    elif not np.array_equal(array, np.asarray(getattr(env, name)())):
        yield f"{name}() gives something else when it is read twice"


def _check_held(env: Any, key: str, dtype: str) -> Iterator[str]:
    """That the declared dtype holds exactly what the episodes hold of ``key``."""
    shown = np.asarray(getattr(env, READERS[key])()).astype(np.int32 if key == "avail_actions" else np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # values out of its range
        lost = shown.astype(dtype).astype(shown.dtype) != shown
    if lost.any():
        yield f"get_env_info()['dtypes'] stores '{key}' as {dtype}, which cannot hold {shown[lost][0]}"


def _as_array(returned: Any) -> npt.NDArray | None:
    """``returned`` copied into an array, None if it is not a regular array of numbers."""
    try:
        array = np.array(returned)
    except ValueError:  # rows of different length
        return None
    return array if array.dtype.kind in "biuf" else None


def _check_result(result: Any) -> Iterator[str]:
    """What step() returns."""
    if not isinstance(result, tuple) or len(result) != 3:
        yield "step() does not return the three values reward, terminated, info"
        return
    reward, terminated, info = result
    value = _as_array(reward)
    if value is None or value.shape != () or not np.isfinite(value):
        yield f"step() returns the reward {reward!r}, expected one finite number"
    if not isinstance(terminated, (bool, np.bool_)):
        yield f"step() returns terminated as {type(terminated).__name__}, expected a bool"
    if not isinstance(info, dict):
        yield f"step() returns info as {type(info).__name__}, expected a dict"
        return
    for key, entry in info.items():
        entry = _as_array(entry)
        if entry is None or entry.shape != ():
            yield f"step() returns info['{key}'] that is not a number, so the runner cannot log its mean"
    if info.get("episode_limit", False) and not terminated:
        yield "step() sets info['episode_limit'] although the episode goes on"


def _check_unchanged(handed_out: list[tuple[str, Any, npt.NDArray]]) -> Iterator[str]:
    for name, returned, copy in handed_out:
        if not np.array_equal(np.asarray(returned), copy):
            yield f"what {name}() returned was changed by a later call: return a fresh array"


def _check_seeds(env: Any, seed: int) -> Iterator[str]:
    """Two environments (of a factory), or one that is seeded twice, must give two equal episodes each."""
    records: list[list[Any]] = []
    for _ in range(2):
        built, _ = _build(env, seed)
        rng = np.random.default_rng(seed)
        records.append([])
        for _ in range(2):
            list(_play(built, rng, records[-1]))  # its problems were reported by the episodes before
        _close(env, built)
    if len(records[0]) != len(records[1]) or not all(map(np.array_equal, *records)):
        yield f"two runs with seed {seed} and the same actions differ"


def _describe(error: Exception) -> str:
    """One line about an exception: what it says, and where in the environment's own code it arose."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, NotImplementedError):
        return f"{frames[-1].name}() is not implemented"
    frame = [frame for frame in frames if "site-packages" not in frame.filename][-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno} in {frame.name}: {error}"


# --- the command line ---


def load(name: str, settings: list[str]) -> Callable[..., Any]:
    """The factory of a registered environment, or of ``module:Class``, with ``key=value`` settings bound to it.

    Raises:
        UserError: no such environment, module or class, or a setting that is not key=value.
    """
    from envs import REGISTRY  # here, because a script must put src on the path first
    from settings.sources import file_layers
    from utils.errors import UserError

    arguments = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key and equals):
            raise UserError(f"'{setting}' is no setting: expected key=value")
        arguments[key] = yaml.safe_load(value)
    module_name, colon, class_name = name.partition(":")
    if not colon:
        path = SRC / "config" / "envs" / f"{name}.yaml"
        for layer in reversed(file_layers(path) if path.exists() else []):
            arguments = layer.values.get("env_args", {}) | arguments
        return partial(REGISTRY[name], **arguments)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(f"cannot import '{module_name}' for '{name}': {error}") from error
    if not hasattr(module, class_name):
        raise UserError(f"module '{module_name}' has no '{class_name}'")
    return partial(getattr(module, class_name), **arguments)


def main(argv: list[str] | None = None) -> int:
    """Check one environment; returns 0 if it is all right, 1 with problems printed, 2 for a mistake in the command."""
    from utils.errors import UserError

    parser = argparse.ArgumentParser(description="Check that an environment keeps the contract of MultiAgentEnv.")
    parser.add_argument("env", help="a registered environment, or module:Class")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="arguments of the environment")
    parser.add_argument("--episodes", type=int, default=3, help="random episodes to play (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of environment and actions (default 0)")
    options = parser.parse_args(argv)
    try:
        factory = load(options.env, options.settings)
        seeded = takes_seed(factory)  # builds it, so mistakes in the arguments show here
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        print(f"error: cannot build '{options.env}': {_describe(error)}", file=sys.stderr)
        return 2
    problems = check_env(factory, options.episodes, options.seed)
    for problem in problems:
        print(f"{options.env}: {problem}")
    if not problems:
        seeds = "" if seeded else "; seeds not checked: neither its constructor nor seed() takes one"
        print(f"{options.env}: OK, {options.episodes} random episodes{seeds}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.path[0] = str(SRC)  # import as the rest of the framework does, not from this folder
    sys.path.insert(1, os.getcwd())  # a user's own module
    sys.exit(main())
