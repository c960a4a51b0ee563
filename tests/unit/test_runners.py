"""Episodes as runners collect them, against environments stepped by hand."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch as th
from helpers import ToyEnv, toy_config

from envs import REGISTRY as ENVS
from run import build
from runners import batch_runner, parallel_runner
from runners.base import EpisodeStatistics
from runners.batch_runner import env_seed
from runners.parallel_runner import Worker
from settings.load import load_config
from utils.errors import UserError

UNIT_TESTS = Path(__file__).parent
LENGTHS = (4, 2, 9, 5)  # the episode limit of 6 cuts the third
SEED_ENTRY, DRAWN_ENTRY = 2, 4  # of ToyEnv's state


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(ENVS, "toy", ToyEnv)
    # The seed of a ToyEnv sets the lengths of its episodes: plain numbers make them easy to foresee.
    for module in (batch_runner, parallel_runner):
        monkeypatch.setattr(module, "env_seed", lambda seed, number: seed + number)


@pytest.fixture
def make():
    """Builds experiments and closes them in the end."""
    built = []

    def _make(runner="episode", batch_size_run=1, env_args=None, **overrides):
        env_args = {"lengths": LENGTHS, **(env_args or {})}
        config = toy_config(env_args=env_args, runner=runner, batch_size_run=batch_size_run, **overrides)
        built.append(build(config))
        return built[-1]

    yield _make
    for experiment in built:
        experiment.close()
    assert multiprocessing.active_children() == []


def run_with_seed(runner, test_mode=False):
    th.manual_seed(5)
    return runner.run(test_mode=test_mode)


def step_by_hand(env, actions):
    """The episode that ``actions`` [T, N] give, as lists of what was seen before each step, and what came of it."""
    env.reset()
    seen, came = [], []
    while True:
        seen.append(
            {"state": env.get_state(), "obs": np.stack(env.get_obs()), "avail_actions": env.get_avail_actions()}
        )
        if came and came[-1][1]:
            return seen, came
        came.append(env.step(actions[len(came)]))


def assert_is_episode(batch, row, env, ignore=()):
    """``batch[row]`` holds the next episode of ``env`` under the batch's own actions, and nothing behind it."""
    actions = batch["actions"][row, :, :, 0].numpy()
    seen, came = step_by_hand(env, actions)
    length = len(came)
    assert batch["filled"][row, :, 0].tolist() == [1] * (length + 1) + [0] * (batch.max_seq_length - length - 1)
    for t, wanted in enumerate(seen):
        for key, value in wanted.items():
            got = batch[key][row, t].numpy().copy()
            if key == "state":
                got[list(ignore)] = value[list(ignore)]
            np.testing.assert_array_equal(got, value, err_msg=f"{key} at step {t}")
        allowed = wanted["avail_actions"]
        assert all(allowed[agent, action] for agent, action in enumerate(actions[t])), "of the final state too"
        np.testing.assert_array_equal(batch["actions_onehot"][row, t].numpy(), np.eye(4)[actions[t]])
    for t, (reward, ended, info) in enumerate(came):
        assert batch["reward"][row, t, 0] == reward
        assert batch["terminated"][row, t, 0] == (ended and "episode_limit" not in info)
    for key in ("reward", "terminated"):
        assert not batch[key][row, length:].any()
    for key in batch.scheme:
        assert not batch[key][row, length + 1 :].any(), key
    return length


# --- content ---


def test_an_episode_is_what_the_environment_gives_by_hand(make):
    runner = make().runner
    env = ToyEnv(LENGTHS)
    lengths = [assert_is_episode(runner.run(), 0, env, ignore=[DRAWN_ENTRY]) for _ in range(4)]
    assert lengths == [4, 2, 6, 5]


@pytest.mark.parametrize("runner", ["parallel", "vector"])
def test_episodes_of_several_environments_are_what_these_give_by_hand(make, runner):
    """Three environments, whose episodes differ in length."""
    runner = make(runner, 3).runner
    envs = [ToyEnv(LENGTHS, seed=i) for i in range(3)]
    for expected in ([4, 2, 6], [2, 6, 5]):
        batch = runner.run()
        assert [assert_is_episode(batch, i, envs[i], ignore=[DRAWN_ENTRY]) for i in range(3)] == expected


@pytest.mark.parametrize("runner", ["parallel", "vector"])
def test_one_environment_gives_what_the_episode_runner_gives(make, runner):
    episode, parallel = make("episode").runner, make(runner, 1).runner
    for _ in range(4):
        first, second = run_with_seed(episode), run_with_seed(parallel)
        for key in first.scheme:
            ignored = [DRAWN_ENTRY] if key == "state" else []
            kept = [i for i in range(first[key].shape[-1]) if i not in ignored]
            assert th.equal(first[key][..., kept], second[key][..., kept]), key
        assert episode.t_env == parallel.t_env


def test_the_vector_runner_gives_what_the_parallel_runner_gives():
    """On Warehouse, with the seeds that environments get in a run."""
    batches = []
    for runner in ("parallel", "vector"):
        sizes = ["seed=3", f"runner={runner}", "batch_size_run=3", "env_args.episode_limit=9"]
        experiment = build(load_config("qmix", "warehouse", sizes))
        batches.append([run_with_seed(experiment.runner, test_mode) for test_mode in (False, True, False)])
        experiment.close()
    for first, second in zip(*batches, strict=True):
        assert all(th.equal(first[key], second[key]) for key in first.scheme)
    assert not th.equal(batches[0][0]["state"][0], batches[0][0]["state"][1])


@pytest.mark.parametrize("runner", ["episode", "parallel", "vector"])
def test_a_time_limit_is_no_termination(make, runner):
    runner = make(runner, env_args={"lengths": (9,)}).runner
    batch = runner.run()
    assert batch["terminated"].sum() == 0
    assert batch["filled"].sum() == 7


@pytest.mark.parametrize("runner", ["episode", "parallel", "vector"])
def test_an_end_at_the_limit_by_itself_is_a_termination(make, runner):
    batch = make(runner, env_args={"lengths": (6,)}).runner.run()
    assert batch["terminated"][0, :, 0].tolist() == [0, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("kind", [bool, int, float, np.bool_, np.asarray, th.tensor])
@pytest.mark.parametrize(("runner", "size"), [("episode", 1), ("parallel", 2), ("vector", 2)])
def test_an_end_is_one_truth_value_of_any_kind(make, monkeypatch, runner, size, kind):
    step = ToyEnv.step
    monkeypatch.setattr(ToyEnv, "step", lambda self, actions: _with_end(step(self, actions), kind))
    batch = make(runner, size, env_args={"lengths": (3, 5)}).runner.run()
    assert batch["filled"].sum((1, 2)).tolist() == [4, 6][:size]
    assert batch["terminated"].sum((1, 2)).tolist() == [1] * size


def _with_end(result, kind):
    reward, over, info = result
    return reward, kind(over), info


@pytest.mark.parametrize("kind", [lambda over: [over] * 3, lambda over: {"__all__": over}, lambda over: None, str])
@pytest.mark.parametrize(("runner", "size"), [("episode", 1), ("parallel", 2), ("vector", 2)])
def test_an_end_that_is_no_truth_value_is_one_clear_line(make, monkeypatch, runner, size, kind):
    """Python takes any list for true that is not empty: episodes of one step."""
    step = ToyEnv.step
    monkeypatch.setattr(
        ToyEnv, "step", lambda self, actions: _with_end(step(self, actions), kind if self.seed_given else bool)
    )
    runner = make(runner, size, env_args={"seed": 2 - size}).runner  # the last environment has seed 1
    with pytest.raises(
        UserError, match=rf"^environment {size - 1}: step\(\) returned terminated=.*: expected"
    ) as error:
        runner.run()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("runner", "size"), [("episode", 1), ("parallel", 2), ("vector", 2)])
def test_a_rollout_builds_no_autograd_graph(make, runner, size):
    experiment = make(runner, size)
    batch = experiment.runner.run()
    assert not experiment.mac.hidden_states.requires_grad
    assert not any(batch[key].requires_grad for key in batch.scheme)


@pytest.mark.parametrize(("runner", "size"), [("episode", 1), ("parallel", 2), ("vector", 2)])
def test_a_batch_stays_as_it_is_when_the_next_one_is_collected(make, runner, size):
    runner = make(runner, size).runner
    first = runner.run()
    copies = {key: first[key].clone() for key in first.scheme}
    runner.run()
    assert all(th.equal(first[key], value) for key, value in copies.items())


@pytest.mark.parametrize(("runner", "size"), [("episode", 1), ("parallel", 2), ("vector", 2)])
def test_greedy_test_episodes_repeat(make, runner, size):
    runner = make(runner, size, env_args={"lengths": (5,)}).runner
    first, second = runner.run(test_mode=True), runner.run(test_mode=True)
    # The number of the episode is in the state, which the agents do not see.
    assert th.equal(first["actions"], second["actions"])


# --- steps and statistics ---


@pytest.mark.parametrize(
    ("runner", "size", "steps"),
    [("episode", 1, [4, 6, 12]), ("parallel", 3, [12, 25, 40]), ("vector", 3, [12, 25, 40])],
)
def test_training_episodes_advance_t_env_by_their_steps(make, runner, size, steps):
    runner = make(runner, size).runner
    assert runner.t_env == 0
    for expected in steps:
        runner.run()
        assert runner.t_env == expected


@pytest.mark.parametrize(("runner", "size"), [("episode", 1), ("parallel", 2), ("vector", 2)])
def test_test_episodes_do_not_advance_t_env(make, runner, size):
    runner = make(runner, size).runner
    runner.run(test_mode=True)
    assert runner.t_env == 0


def logged(experiment):
    return {key: [value for _, value in values] for key, values in experiment.logger.stats.items()}


@pytest.mark.parametrize(("runner", "size", "rollouts"), [("episode", 1, 4), ("parallel", 2, 2), ("vector", 2, 2)])
def test_every_test_episode_is_kept_until_it_is_asked_for(make, runner, size, rollouts):
    experiment = make(runner, size)
    expected = {"return": [], "total": [], "ep_length": [], "episode_limit": []}
    for _ in range(rollouts):
        batch = experiment.runner.run(test_mode=True)
        lengths = (batch["filled"].sum((1, 2)) - 1).tolist()
        expected["return"] += batch["reward"].sum((1, 2)).tolist()
        expected["ep_length"] += lengths
        expected["episode_limit"] += (batch["terminated"].sum((1, 2)) == 0).tolist()
        expected["total"] += [batch["actions"][b, :length].sum().item() for b, length in enumerate(lengths)]
    if not any(expected["episode_limit"]):
        del expected["episode_limit"]
    assert experiment.logger.stats == {}
    assert experiment.runner.test_stats.episodes == expected
    assert experiment.runner.test_stats.flush(experiment.logger, "test_", 5) == expected
    means = {f"test_{key}_mean": [pytest.approx(np.mean(values))] for key, values in expected.items()}
    assert logged(experiment) == {**means, "test_return_std": [pytest.approx(np.std(expected["return"]))]}
    assert len(experiment.runner.test_stats) == 0


def test_training_statistics_are_written_at_intervals_and_start_anew(make):
    experiment = make(runner_log_interval=10, env_args={"lengths": (4,)})
    returns = [experiment.runner.run()["reward"].sum().item() for _ in range(7)]  # at steps 4, 8, ..., 28
    stats = experiment.logger.stats
    assert [t for t, _ in stats["return_mean"]] == [4, 16, 28]
    parts = (returns[:1], returns[1:4], returns[4:])
    assert [value for _, value in stats["return_mean"]] == pytest.approx([np.mean(part) for part in parts])
    assert [value for _, value in stats["return_std"]] == pytest.approx([np.std(part) for part in parts])
    assert [value for _, value in stats["ep_length_mean"]] == [4, 4, 4]


def test_the_exploration_rate_is_logged(make):
    experiment = make(runner_log_interval=1, epsilon_anneal_time=10, epsilon_finish=0.0, env_args={"lengths": (4,)})
    for _ in range(3):
        experiment.runner.run()
    assert logged(experiment)["epsilon"] == pytest.approx([1.0, 0.6, 0.2])  # of the steps that start at 0, 4 and 8


def test_test_episodes_stay_out_of_training_statistics(make):
    experiment = make(env_args={"lengths": (4,)}, test_nepisode=10)
    experiment.runner.run(test_mode=True)
    reward = experiment.runner.run()["reward"].sum().item()
    assert logged(experiment)["return_mean"] == [pytest.approx(reward)]


def test_statistics_in_numbers():
    values = {}

    class Recorder:
        def log_stat(self, key, value, t):
            values[key] = (value, t)

    statistics = EpisodeStatistics()
    statistics.add(1.0, 3, {"won": True, "kills": 2})
    statistics.add(5.0, 4, {"won": False, "kills": 5, "episode_limit": True})
    episodes = statistics.flush(Recorder(), "x_", 7)
    assert episodes == {
        "return": [1.0, 5.0],
        "won": [1.0, 0.0],
        "kills": [2.0, 5.0],
        "ep_length": [3.0, 4.0],
        "episode_limit": [0.0, 1.0],  # absent is 0, before it was first seen and after
    }
    assert values == {
        "x_return_mean": (3.0, 7),
        "x_return_std": (2.0, 7),
        "x_won_mean": (0.5, 7),
        "x_kills_mean": (3.5, 7),
        "x_ep_length_mean": (3.5, 7),
        "x_episode_limit_mean": (0.5, 7),
    }


# --- seeds ---


def test_every_worker_has_seeds_of_its_own(make, monkeypatch):
    for module in (batch_runner, parallel_runner):
        monkeypatch.setattr(module, "env_seed", env_seed)
    batch = make("parallel", 3, seed=20, env_args={"seed": 7}).runner.run()
    assert batch["state"][:, 0, SEED_ENTRY].tolist() == [np.float32(env_seed(7, i)) for i in range(3)]
    expected = [np.random.RandomState(env_seed(20, i)).random_sample() for i in range(3)]
    np.testing.assert_allclose(batch["state"][:, 0, DRAWN_ENTRY], expected, rtol=1e-6)


def test_the_workers_of_neighbouring_runs_share_no_seed():
    assert env_seed(5, 0) == 5
    assert len({env_seed(seed, number) for seed in range(30) for number in range(16)}) == 30 * 16


class Seedless(ToyEnv):
    """An environment whose constructor takes no seed."""

    def __init__(self, lengths=(4,)):
        super().__init__(lengths)


def test_an_environment_may_take_no_seed(monkeypatch):
    monkeypatch.setitem(ENVS, "seedless", Seedless)
    config = toy_config(runner="parallel", batch_size_run=2, env="seedless")
    del config["env_args"]["seed"]
    experiment = build(config)
    try:
        assert len(set(experiment.runner.run()["state"][:, 0, DRAWN_ENTRY].tolist())) == 2
    finally:
        experiment.close()


# --- failures and the end ---


def test_the_episode_runner_has_one_environment(make):
    with pytest.raises(UserError, match="batch_size_run: runner=episode runs 1 environment, got 2"):
        make("episode", 2)


@pytest.mark.parametrize("when", ["before a rollout", "during a rollout"])
def test_a_dead_worker_is_named(make, when):
    runner = make("parallel", 3).runner
    victim = runner.workers[1].process
    if when == "before a rollout":
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
    else:
        select = runner.mac.select_actions

        def kill_then_select(*args, **kwargs):
            os.kill(victim.pid, signal.SIGKILL)
            return select(*args, **kwargs)

        runner.mac.select_actions = kill_then_select
    with pytest.raises(RuntimeError, match=r"environment worker 1 died \(exit code -9\)"):
        runner.run()


def test_an_exception_of_an_environment_is_told_with_its_worker(make):
    runner = make("parallel", 3, env_args={"fail_at": (2, 1), "seed": 0}).runner
    with pytest.raises(RuntimeError, match=r"(?s)environment worker 2 failed:.*RuntimeError: the toy broke"):
        runner.run()


def test_what_a_worker_said_before_it_ended_is_heard():
    """Also when it has ended before it is asked anything."""
    worker = Worker(3, partial(Seedless, "no lengths", "too many"), seed=0)
    worker.process.join()
    with pytest.raises(RuntimeError, match="(?s)environment worker 3 failed:.*TypeError"):
        worker.ask("get_env_info")
    worker.close()


def test_a_users_mistake_in_a_worker_stays_one():
    config = load_config("vdn", "warehouse", ["env_args.n_agents=0", "runner=parallel", "batch_size_run=2"])
    with pytest.raises(UserError, match="env_args.n_agents=0"):
        build(config)
    assert multiprocessing.active_children() == []


def test_no_worker_is_left_when_an_environment_cannot_be_built(monkeypatch):
    class Broken(ToyEnv):
        def __init__(self, seed):
            super().__init__(seed=seed)
            if seed == 0:
                raise RuntimeError("cannot be built")

    monkeypatch.setitem(ENVS, "broken", Broken)
    with pytest.raises(RuntimeError, match="environment worker 0 failed"):
        build(toy_config(runner="parallel", batch_size_run=3, env="broken"))
    assert multiprocessing.active_children() == []


def test_closing_twice_and_after_a_death_is_fine(make):
    experiment = make("parallel", 2)
    processes = [worker.process for worker in experiment.runner.workers]
    os.kill(processes[0].pid, signal.SIGKILL)
    experiment.close()
    experiment.close()
    assert [process.exitcode for process in processes] == [-9, 0]


class Large(ToyEnv):
    """Its state fills more than a pipe holds."""

    def get_state(self):
        return np.zeros(10**6, dtype=np.float32)


def test_closing_does_not_wait_for_answers_that_nobody_read():
    worker = Worker(0, Large, seed=0)
    worker.send("reset")
    start = time.monotonic()
    worker.close()
    assert time.monotonic() - start < 4
    assert worker.process.exitcode == 0


def test_workers_end_when_their_parent_is_killed():
    program = """
        import sys, time
        sys.path[:0] = {paths}
        from helpers import ToyEnv, toy_config
        from envs import REGISTRY
        from run import build
        REGISTRY["toy"] = ToyEnv
        runner = build(toy_config(runner="parallel", batch_size_run=3)).runner
        print(*[worker.process.pid for worker in runner.workers], flush=True)
        time.sleep(60)
    """
    paths = [str(UNIT_TESTS), str(UNIT_TESTS.parents[1] / "src")]
    source = "\n".join(line.strip() for line in program.format(paths=paths).splitlines())
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(workers) == 3
    give_up = time.monotonic() + 10
    while any(map(runs, workers)) and time.monotonic() < give_up:
        time.sleep(0.05)
    left = [pid for pid in workers if runs(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def runs(pid):
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
