"""Builds the parts of a run from its configuration and runs the training loop."""

from __future__ import annotations

import copy
import json
import os
import random
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch as th

from components.checkpoint import find_checkpoint
from components.episode_buffer import EpisodeBatch, ReplayBuffer, buffer_bytes, check_memory
from components.transforms import OneHot
from controllers import REGISTRY as mac_REGISTRY
from envs.checks import check_dtypes
from experiment.memory import keep_freed_memory
from learners import REGISTRY as le_REGISTRY
from runners import REGISTRY as r_REGISTRY
from runners.base import Runner
from settings.load import results_path, to_namespace
from tracking.progress import Progress
from tracking.record import Evaluation
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


def _assemble(config: Mapping[str, Any], args: SimpleNamespace, logger: Logger, runner: Any) -> Experiment:
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


def seed_everything(seed: int) -> None:
    """Seeds Python's, NumPy's and PyTorch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    th.manual_seed(seed)


def evaluation_points(start: int, interval: int, t_max: int) -> Iterator[int]:
    """The environment steps at which a run is evaluated: all multiples of ``interval`` from ``start`` on, and t_max.

    They do not depend on how long episodes are, so that runs can be compared point by point.
    """
    yield from range(-(-start // interval) * interval, t_max, interval)
    if start <= t_max:
        yield t_max


@dataclass
class Experiment:
    """The parts of a run, and its loop.

    Attributes:
        args: the configuration and what describes the environment, as plug-ins get it.
        buffer: None when the run only evaluates.
        config: the configuration alone.
        token: the name of the run, which no other run has.
    """

    args: SimpleNamespace
    logger: Logger
    runner: Any
    mac: Any
    learner: Any
    buffer: ReplayBuffer | None
    config: dict[str, Any]
    token: str = field(init=False)

    def __post_init__(self) -> None:
        # The random end keeps apart runs that start in the same second, in one process, several, or several containers.
        now, end = f"{datetime.now():%Y-%m-%d_%H-%M-%S}", secrets.token_hex(4)
        self.token = f"{self.args.name}_seed{self.args.seed}__{now}_{end}"

    def run(self, sacred_run: Any = None) -> None:
        """Trains until t_max, or evaluates; logs to sacred if given a run."""
        args = self.args
        if sacred_run is not None:
            self.logger.setup_sacred(sacred_run)
        if args.use_tensorboard:
            self.logger.setup_tb(str(results_path(vars(args)) / "tb_logs" / self.token))
        # Once more after the build, so that what a learner draws while it is built does not change the rollouts.
        seed_everything(args.seed)
        if args.evaluate:
            self._play(args.test_nepisode, self.runner.t_env)
            if args.save_replay:
                self.runner.save_replay()
            self.logger.print_recent_stats(f"Evaluation of {args.test_nepisode} episodes")
        else:
            self._train()

    def close(self) -> None:
        """Closes the environments and their processes."""
        self.runner.close_env()

    # --- training ---

    def _train(self) -> None:
        args, runner = self.args, self.runner
        self.logger.console_logger.info(f"Training for {args.t_max} environment steps on {args.device}")
        progress = Progress(runner.t_env, args.t_max)
        points = evaluation_points(runner.t_env, args.test_interval, args.t_max)
        best = BestAgents(self.mac)
        point = self._evaluate(next(points, None), points, best)
        # The first rollout is followed by a checkpoint, as in PyMARL.
        last_log, last_save = runner.t_env, -args.save_model_interval
        episode = waiting = 0
        while runner.t_env <= args.t_max:
            batch = runner.run(test_mode=False)
            episode += batch.batch_size
            waiting = self._learn(batch, episode, waiting + batch.batch_size)
            point = self._evaluate(point, points, best)
            if args.save_model and runner.t_env - last_save >= args.save_model_interval:
                self._save_models()
                last_save = runner.t_env
            progress.update(runner.t_env, self.logger.stats)
            if runner.t_env - last_log >= args.log_interval:
                self.logger.log_stat("episode", episode, runner.t_env)
                self.logger.print_recent_stats(progress.line(runner.t_env, episode))
                last_log = runner.t_env
        if last_log != runner.t_env:  # so that the last evaluation has its number of episodes, too
            self.logger.log_stat("episode", episode, runner.t_env)
        progress.close()
        if args.save_model and last_save != runner.t_env:
            self._save_models()
        self._evaluate_best(best)
        self.logger.console_logger.info(f"Finished training after {runner.t_env} environment steps")

    def _learn(self, batch: EpisodeBatch, episode: int, waiting: int) -> int:
        """Stores new episodes and makes the updates that are due; returns the episodes that wait for the next one.

        An update is due after every rollout, or after every ``episodes_per_update`` episodes if that is given.
        """
        args, t_env = self.args, self.runner.t_env
        assert self.buffer is not None
        self.buffer.insert_episode_batch(batch)
        if hasattr(self.learner, "observe"):
            self.learner.observe(batch, t_env, episode)
        per_update = args.episodes_per_update or batch.batch_size
        due, waiting = divmod(waiting, per_update)
        if not self.buffer.can_sample(args.batch_size):
            return waiting  # the updates that were due are skipped, the count goes on
        for _ in range(due):
            sample = self.buffer.sample(args.batch_size)
            sample = sample[:, : sample.max_t_filled()]  # unfilled steps at the end cost time and teach nothing
            self.learner.train(sample.to(args.device), t_env, episode)
        return waiting

    # --- evaluation ---

    def _evaluate(self, point: int | None, points: Iterator[int], best: BestAgents) -> int | None:
        """Evaluates at ``point`` if it is reached, and at those behind it; returns the next one, None after the last.

        A rollout that passes several points is followed by an evaluation for each, so that every run has all of them.
        """
        while point is not None and point <= self.runner.t_env:
            self._play(self.args.test_nepisode, point)
            returns = self.logger.stats["test_return_mean"]
            if returns and best.offer(self.mac, returns[-1][1], point) and self.args.save_model:
                self._save_best()
            point = next(points, None)
        return point

    def _evaluate_best(self, best: BestAgents) -> None:
        """The final, "absolute" evaluation: the agents of the best evaluation play many new episodes."""
        episodes = self.args.absolute_nepisode
        if episodes is None:
            episodes = 10 * self.args.test_nepisode
        # A runner that logs its tests by itself, as PyMARL's do, cannot play another number of episodes.
        if episodes == 0 or best.t is None or not isinstance(self.runner, Runner):
            return
        console = self.logger.console_logger
        console.info(f"Evaluating the best agents, those of step {best.t}, in {episodes} episodes")
        self.runner.mac = best.mac
        self._play(episodes, best.t, absolute=True)
        self.runner.mac = self.mac
        score = self.logger.stats["absolute_return_mean"][-1][1]
        console.info(f"The best agents' mean return: {score:.4g} (absolute_return_mean)")

    def _play(self, episodes: int, t: int, absolute: bool = False) -> None:
        """Plays test episodes, rounded up to whole rollouts, and logs them as an evaluation at step ``t``."""
        runner, t_env = self.runner, self.runner.t_env
        runner.t_env = t  # runners that log by themselves use their own step
        for _ in range(-(-episodes // self.args.batch_size_run)):
            runner.run(test_mode=True)
        runner.t_env = t_env
        if isinstance(runner, Runner):
            played = runner.test_stats.flush(self.logger, "absolute_" if absolute else "test_", t)
            self.logger.log_evaluation(Evaluation(t, t_env, played, absolute))

    # --- files ---

    def _save_models(self) -> None:
        """Writes a checkpoint folder named by the time step."""
        folder = self._models / str(self.runner.t_env)
        self._write_models(folder)
        self.logger.console_logger.info(f"Saved the models to {folder}")

    def _save_best(self) -> None:
        """Writes the checkpoint of the best evaluation so far, in the place of the one before."""
        folder = self._models / "best" / str(self.runner.t_env)
        if folder.exists():  # a rollout has passed several points: the agents are the same
            return
        outdated = list(folder.parent.glob("*"))
        self._write_models(folder)
        for old in outdated:
            shutil.rmtree(old)

    @property
    def _models(self) -> Path:
        return results_path(self.config) / "models" / self.token

    def _write_models(self, folder: Path) -> None:
        """Writes a checkpoint, which appears only when it is complete, and the configuration that it belongs to."""
        part = folder.with_name(folder.name + ".part")
        part.mkdir(parents=True, exist_ok=True)
        (self._models / "config.json").write_text(json.dumps(self.config, indent=2))
        self.learner.save_models(str(part))
        os.replace(part, folder)


class BestAgents:
    """A copy of the agents that had the highest mean test return.

    Args:
        mac: the controller, of which learners make target networks in the same way.

    Attributes:
        mac: the copy.
        t: the evaluation point of it; None before the first.
    """

    def __init__(self, mac: Any) -> None:
        self.mac = copy.deepcopy(mac)
        self.t: int | None = None
        self._score = -float("inf")

    def offer(self, mac: Any, score: float, t: int) -> bool:
        """Takes over the agents of ``mac`` if ``score`` is above that of all before; whether it did."""
        if not score > self._score:
            return False
        self.mac.load_state(mac)
        self._score, self.t = score, t
        return True
