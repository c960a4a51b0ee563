"""The parts of a run, built from its configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch as th

from components.checkpoint import find_checkpoint
from components.episode_buffer import EpisodeBatch, ReplayBuffer
from components.generators import seed_everything
from components.replay_buffer import buffer_bytes, check_memory
from components.transforms import OneHot
from controllers import REGISTRY as mac_REGISTRY
from envs.checks import check_dtypes
from experiment.experiment import Experiment
from experiment.memory import keep_freed_memory
from learners import REGISTRY as le_REGISTRY
from runners import REGISTRY as r_REGISTRY
from runners.contract import RunnerLike
from settings.load import to_namespace
from utils.errors import UserError
from utils.logging import Logger, get_logger


def build(config: Mapping[str, Any]) -> Experiment:
    """Everything that a run needs, ready to start.

    Nothing is written yet, and nothing large allocated before it is known to fit, so that a user's mistake leaves no
    trace.

    Args:
        config: resolved by `settings.load.load_config`.

    Raises:
        UserError: the parts cannot be built or do not fit together; names the key.
    """
    keep_freed_memory()
    args = _device_args(to_namespace(config))
    check_sizes(args)
    if args.n_threads is not None:
        th.set_num_threads(args.n_threads)
    seed_everything(args.seed)
    logger = Logger(get_logger())
    warn_of_busy_cores(args, logger)
    runner = r_REGISTRY[args.runner](args, logger)
    try:
        return _assemble(config, args, logger, runner)
    except BaseException as error:
        runner.close_env()
        if isinstance(error, AttributeError) and isinstance(error.obj, SimpleNamespace):
            # A part looked in args for a key that no YAML of this run has, such as a mixer's in another mixer's config.
            raise UserError(f"{error.name}: missing: a part of this run reads it; set it in a YAML file") from error
        raise


def _assemble(config: Mapping[str, Any], args: SimpleNamespace, logger: Logger, runner: RunnerLike) -> Experiment:
    env_info = runner.get_env_info()
    check_environment(args, env_info)
    args = runner.args = describe_environment(args, env_info)
    scheme, groups, preprocess = episode_scheme(env_info)
    length = env_info["episode_limit"] + 1
    buffer_device = "cpu" if args.buffer_cpu_only else args.device
    if not args.evaluate:
        check_memory(scheme, groups, args.buffer_size, length, preprocess, buffer_device)
    # A throw-away batch knows the keys that preprocess adds, which controllers and learners size their inputs by.
    full = EpisodeBatch(scheme, groups, 1, length, preprocess=preprocess).scheme
    mac = mac_REGISTRY[args.mac](full, groups, args)
    runner.setup(scheme=scheme, groups=groups, preprocess=preprocess, mac=mac)
    learner = le_REGISTRY[args.learner](mac, full, logger, args)
    if args.use_cuda:
        learner.cuda()
    if args.checkpoint_path:
        folder, runner.t_env = find_checkpoint(args.checkpoint_path, args.load_step)
        logger.console_logger.info(f"Loading the checkpoint {folder}")
        learner.load_models(folder)
    buffer = None
    if not args.evaluate:
        buffer = ReplayBuffer(scheme, groups, args.buffer_size, length, preprocess, buffer_device)
        size = buffer_bytes(scheme, groups, args.buffer_size, length, preprocess)
        logger.console_logger.info(f"Replay buffer: up to {args.buffer_size} episodes, {size / 2**20:.1f} MiB")
    return Experiment(args, logger, runner, mac, learner, buffer, dict(config))


def _device_args(args: SimpleNamespace) -> SimpleNamespace:
    """``args`` with the device to use; without a GPU ``use_cuda`` falls back to the CPU, as in PyMARL."""
    use_cuda = args.use_cuda and th.cuda.is_available()
    return SimpleNamespace(**{**vars(args), "use_cuda": use_cuda, "device": "cuda" if use_cuda else "cpu"})


def check_sizes(args: SimpleNamespace) -> None:
    """Raises UserError for numbers of episodes that do not go together."""
    if args.batch_size > args.buffer_size:
        raise UserError(
            f"batch_size: expected at most buffer_size={args.buffer_size} episodes, got {args.batch_size}: "
            "raise buffer_size or lower batch_size"
        )
    due = args.episodes_per_update
    if not args.evaluate and due is not None and due > args.batch_size_run and due % args.batch_size_run:
        raise UserError(
            f"batch_size_run={args.batch_size_run}: expected a divisor of episodes_per_update={due}, or no less than "
            "that: rollouts would reach beyond the updates that are due"
        )


def warn_of_busy_cores(args: SimpleNamespace, logger: Logger) -> None:
    """One line if there are more worker processes than cores to run them on."""
    cores = os.cpu_count() or 1
    if args.runner == "parallel" and args.batch_size_run > cores:
        logger.console_logger.warning(
            f"batch_size_run={args.batch_size_run}: runner=parallel steps so many environments in processes of their "
            f"own, but this machine has only {cores} cores"
        )


def check_environment(args: SimpleNamespace, env_info: Mapping[str, Any]) -> None:
    """Raises UserError if the configuration withholds what the environment needs."""
    if env_info.get("needs_agent_id", False) and not args.obs_agent_id:
        raise UserError(
            f"obs_agent_id: expected true, got false: env '{args.env}' leaves it to the id to tell its agents apart"
        )


def describe_environment(args: SimpleNamespace, env_info: Mapping[str, Any]) -> SimpleNamespace:
    """``args`` with what the parts read of the environment, under PyMARL's names."""
    required = ("n_agents", "n_actions", "state_shape", "obs_shape", "episode_limit")
    optional = ("agent_position_index", "agent_alive_index")
    described = {key: env_info[key] for key in required} | {key: env_info.get(key) for key in optional}
    return SimpleNamespace(**{**vars(args), **described})  # over keys of these names that a user's YAML declares


def episode_scheme(env_info: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int], dict[str, Any]]:
    """Scheme, groups and preprocess of the episodes, as in PyMARL, with the dtypes in which a replay buffer keeps them.

    Raises:
        UserError: the environment declares dtypes that the buffer cannot use.
    """
    n_actions, dtypes = env_info["n_actions"], env_info.get("dtypes", {})
    check_dtypes(dtypes)
    scheme = {
        "state": {"vshape": env_info["state_shape"]},
        "obs": {"vshape": env_info["obs_shape"], "group": "agents"},
        "actions": {"vshape": (1,), "group": "agents", "dtype": th.long},
        "avail_actions": {"vshape": (n_actions,), "group": "agents", "dtype": th.int},
        "reward": {"vshape": (1,)},
        "terminated": {"vshape": (1,), "dtype": th.uint8},
    }
    for key, name in dtypes.items():
        scheme[key]["stored"] = getattr(th, name)
    if n_actions <= 256:
        scheme["actions"]["stored"] = th.uint8
    groups = {"agents": env_info["n_agents"]}
    preprocess = {"actions": ("actions_onehot", [OneHot(out_dim=n_actions)])}
    return scheme, groups, preprocess
