"""The measurements behind the rows; each runs in a process of its own."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch as th
import torch._dynamo  # PyTorch imports it, slowly, with the first optimiser: here once for all rows
from torch import Tensor

from benchmarks.env_tapes import TAPE_STEPS, record
from benchmarks.loop import Loop, settings, steps_of
from benchmarks.products import recorded_products, replay_of, total_flops
from benchmarks.references import EPYMARL_SIZES
from benchmarks.rows import Row
from benchmarks.timing import Effort, alternate, repeat, stopwatch, summary
from components.episode_buffer import EpisodeBatch
from controllers import REGISTRY as mac_REGISTRY
from experiment.memory import keep_freed_memory
from learners import REGISTRY as learner_REGISTRY
from run import describe_environment, episode_scheme
from settings.load import to_namespace
from utils.logging import Logger, get_logger

Results = dict[str, float]

BATCH = 32  # environments of the batched measurement, episodes of an update
EPOCH_EPISODES = 10  # of training, and as many of evaluation


def measure(row: Row, effort: Effort) -> Results:
    """The numbers of a row, by name; a name says the unit."""
    th.set_num_threads(row.threads)
    return MEASUREMENTS[row.kind](row, effort)


def peak_mib() -> float:
    """The most memory that this process has held so far, in MiB, Python and PyTorch included."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


# --- environments ---


def measure_env(row: Row, effort: Effort) -> Results:
    """Environment steps per second: of one environment, and of `BATCH` stepped together."""
    env_args = settings("qmix", row.env, row.n_agents)["env_args"]
    tape = record(row.env, env_args, BATCH)
    single, batch = _replay_seconds(tape.replay_first, effort), _replay_seconds(tape.replay_batch, effort)
    return {
        "single_steps_per_s": tape.first_steps / min(single),
        "batch_steps_per_s": tape.steps / min(batch),
        "memory_mib": peak_mib(),
    }


def env_seconds_per_step(env: str, env_args: Mapping[str, Any], size: int, effort: Effort) -> float:
    """Seconds of one environment step where ``size`` environments are stepped together."""
    tape = record(env, env_args, size, TAPE_STEPS // 4)
    return min(_replay_seconds(tape.replay_batch, effort)) / tape.steps


def _replay_seconds(make_replay: Callable[[], Callable[[], None]], effort: Effort) -> list[float]:
    """Times of a tape's repetitions; fresh environments for each are built beforehand."""
    return repeat(lambda: stopwatch(make_replay())[0], effort)


# --- epochs ---


@dataclass(frozen=True)
class Epoch:
    """Seconds of the parts of an epoch, and its environment steps."""

    rollout: float
    update: float
    test: float
    rollout_steps: int
    test_steps: int

    @property
    def steps(self) -> int:
        """Environment steps of the whole epoch."""
        return self.rollout_steps + self.test_steps

    @property
    def seconds(self) -> float:
        """Of the whole epoch."""
        return self.rollout + self.update + self.test


def epoch_settings(row: Row, more: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration of a run whose rollouts are half an epoch each; ``more`` are ``key=value`` of the caller."""
    updates = [f"agent={row.agent}", f"n_threads={row.threads}", "runner=vector", f"batch_size_run={EPOCH_EPISODES}"]
    updates.append(f"test_nepisode={EPOCH_EPISODES}")
    if not row.alg.endswith("_ac"):  # on-policy the buffer is as large as an update anyway
        updates.append(f"buffer_size={BATCH}")
    return settings(row.alg, row.env, row.n_agents, [*updates, *more])


def play_epoch(loop: Loop) -> Epoch:
    """Ten training episodes, one update, ten evaluation episodes."""
    rollout, batch = stopwatch(loop.rollout)
    update, _ = stopwatch(lambda: loop.update(batch))
    test, test_batch = stopwatch(loop.test)
    return Epoch(rollout, update, test, steps_of(batch), steps_of(test_batch))


def measure_epoch(row: Row, effort: Effort) -> Results:
    """The best epoch, its parts and its floor: the products of acting and update, and the environments alone."""
    config = epoch_settings(row)
    loop = Loop(config)
    loop.fill()
    play_epoch(loop)
    memory = peak_mib()
    replay = replay_of(recorded_products(lambda: play_epoch(loop)))
    epochs, floors = alternate(lambda: play_epoch(loop), replay, effort)
    loop.close()
    best = min(epochs, key=lambda epoch: epoch.seconds)
    env = best.steps * env_seconds_per_step(row.env, config["env_args"], EPOCH_EPISODES, effort)
    floor = min(floors) + env
    return {
        **summary("epoch_s", [epoch.seconds for epoch in epochs]),
        **summary("update_s", [epoch.update for epoch in epochs]),
        "rollout_steps_per_s": max(epoch.rollout_steps / epoch.rollout for epoch in epochs),
        "train_steps_per_s": max(epoch.rollout_steps / (epoch.rollout + epoch.update) for epoch in epochs),
        # The environments' share is measured apart from the rollouts; what they leave of these is acting.
        "env_share": env / best.seconds,
        "acting_share": (best.rollout + best.test - env) / best.seconds,
        "update_share": best.update / best.seconds,
        "floor_s": floor,
        "over_floor": best.seconds / floor,
        "memory_mib": memory,
    }


# --- updates ---


def measure_train(row: Row, effort: Effort) -> Results:
    """One update on synthetic episodes of EPyMARL's sizes, beside its floor."""
    args = update_args(row.alg, row.env, row.n_agents)
    learner, batch = make_learner(args), synthetic_batch(args, BATCH)
    # A fresh view each time: learners keep what they derive from a batch with it.
    return _train_results(lambda: learner.train(batch[:], 0, 0), effort)


def update_args(alg: str, env: str, n_agents: int) -> SimpleNamespace:
    """The settings of a learner of ``alg`` at EPyMARL's sizes."""
    args = describe_environment(to_namespace(settings(alg, env, n_agents)), EPYMARL_SIZES)
    args.device = "cpu"
    return args


def make_learner(args: SimpleNamespace) -> Any:
    """A learner and its controller, without environments."""
    keep_freed_memory()  # as `run.build` does
    scheme, groups, preprocess = episode_scheme(vars(args))
    full = EpisodeBatch(scheme, groups, 1, args.episode_limit + 1, preprocess=preprocess).scheme
    mac = mac_REGISTRY[args.mac](full, groups, args)
    return learner_REGISTRY[args.learner](mac, full, Logger(get_logger()), args)


def synthetic_batch(args: SimpleNamespace, episodes: int) -> EpisodeBatch:
    """Random episodes that all last to the limit, where they terminate; every action is available."""
    scheme, groups, preprocess = episode_scheme(vars(args))
    times = (episodes, args.episode_limit + 1)
    batch = EpisodeBatch(scheme, groups, *times, preprocess=preprocess)
    terminated = th.zeros(*times, 1)
    terminated[:, -2] = 1
    batch.update(
        {
            "state": th.randn(*times, args.state_shape),
            "obs": th.randn(*times, args.n_agents, args.obs_shape),
            "actions": th.randint(args.n_actions, (*times, args.n_agents, 1)),
            "avail_actions": th.ones(*times, args.n_agents, args.n_actions),
            "reward": th.randn(*times, 1),
            "terminated": terminated,
        }
    )
    return batch


def measure_subteams(row: Row, effort: Effort) -> Results:
    """One update on real episodes, and what X does in it, each beside its floor."""
    updates = [f"n_threads={row.threads}", "runner=vector", f"batch_size_run={BATCH}", f"buffer_size={BATCH}"]
    if row.assigner:
        updates.append(f"assigner={row.assigner}")
    loop = Loop(settings(row.alg, row.env, row.n_agents, updates))
    loop.store(loop.rollout())
    sample = loop.sample()
    newest = sample[: row.newest]

    def train() -> None:
        loop.show(newest)
        loop.train(sample[:])

    loop.train(sample)  # takes in the episodes of the rollout, so that only the newest are left to the others
    results = _train_results(train, effort)
    if row.assigner:
        learner: Any = loop.experiment.learner
        results |= _assigner_results(lambda: assign_and_learn(learner.assigner, sample[:], newest[:]), effort)
    loop.close()
    return results


def assign_and_learn(assigner: Any, replayed: EpisodeBatch | None, newest: EpisodeBatch) -> None:
    """X's part of an update: sub-teams of replayed episodes, and the gradient of log X in the newest ones."""
    if replayed is not None:
        with th.no_grad():
            assigner(replayed)
    log_probs: Tensor | None = assigner(newest).log_probs
    if log_probs is not None:
        th.autograd.grad(log_probs.mean(), list(assigner.parameters()))


def _train_results(train: Callable[[], object], effort: Effort) -> Results:
    train()
    memory = peak_mib()
    products = recorded_products(train)
    seconds, floors = alternate(lambda: stopwatch(train)[0], replay_of(products), effort)
    return {
        **summary("train_s", seconds),
        "floor_s": min(floors),
        "over_floor": min(seconds) / min(floors),
        "gflop": total_flops(products) / 1e9,
        "memory_mib": memory,
    }


def _assigner_results(work: Callable[[], object], effort: Effort) -> Results:
    work()
    products = recorded_products(work)
    seconds, floors = alternate(lambda: stopwatch(work)[0], replay_of(products), effort)
    # An assigner that does not learn has no products, so there is no floor to speak of.
    return {**summary("assigner_s", seconds), **({"assigner_floor_s": min(floors)} if products else {})}


# --- whole runs ---


def measure_protocol(row: Row, effort: Effort) -> Results:
    """Environment steps per second of a training run with an update for every rollout, as in PyMARL; no evaluation."""
    runner = "episode" if row.parallel == 1 else "vector"
    updates = [f"n_threads={row.threads}", f"runner={runner}", f"batch_size_run={row.parallel}"]
    loop = Loop(settings(row.alg, row.env, row.n_agents, updates))
    loop.fill()

    def go_on() -> int:
        steps = 0
        for _ in range(BATCH // row.parallel):
            batch = loop.rollout()
            loop.update(batch)
            steps += steps_of(batch)
        return steps

    timed = repeat(lambda: stopwatch(go_on), effort)
    loop.close()
    rates = sorted(steps / seconds for seconds, steps in timed)
    return {
        "train_steps_per_s": rates[-1],
        "train_steps_per_s_median": rates[len(rates) // 2],
        "memory_mib": peak_mib(),
    }


MEASUREMENTS: dict[str, Callable[[Row, Effort], Results]] = {
    "env": measure_env,
    "epoch": measure_epoch,
    "train": measure_train,
    "subteams": measure_subteams,
    "protocol": measure_protocol,
}
