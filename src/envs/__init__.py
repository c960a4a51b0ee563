"""Environments by name: ``REGISTRY[args.env](**args.env_args)``, as in PyMARL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from envs.batch import CompiledBatch, EnvBatch, LoopedBatch
from envs.battle import Battle
from envs.gaussian_squeeze import GaussianSqueeze
from envs.gaussian_squeeze.batch import GaussianSqueezeBatch
from envs.multiagentenv import MultiAgentEnv
from envs.warehouse import Warehouse
from utils.errors import UserError
from utils.registry import Registry


def env_fn(env: Any, **kwargs: Any) -> MultiAgentEnv:
    """Build the environment class ``env`` from its ``env_args``; the form in which PyMARL registers environments."""
    return env(**kwargs)


def starcraft2(**kwargs: Any) -> MultiAgentEnv:
    """SMAC's StarCraft II; imported only here, because neither the package nor the game is a requirement."""
    if find_spec("smac") is None:
        raise UserError(
            "env 'sc2' needs StarCraft II and the package smac, which is not installed: "
            "pip install git+https://github.com/oxwhirl/smac.git"
        )
    return import_module("smac.env").StarCraft2Env(**kwargs)


def env_batch(envs: Sequence[Any]) -> EnvBatch:
    """The environments ``envs``, of one class, as a batch: compiled for the domains of this project, else looped."""
    return COMPILED.get(type(envs[0]), LoopedBatch)(envs)


COMPILED: dict[type, Callable[[Sequence[Any]], EnvBatch]] = {
    Warehouse: CompiledBatch,
    Battle: CompiledBatch,
    GaussianSqueeze: GaussianSqueezeBatch,
}

REGISTRY = Registry("environment")
REGISTRY["warehouse"] = partial(env_fn, env=Warehouse)
REGISTRY["battle"] = partial(env_fn, env=Battle)
REGISTRY["gaussian_squeeze"] = partial(env_fn, env=GaussianSqueeze)
REGISTRY["sc2"] = partial(env_fn, env=starcraft2)
