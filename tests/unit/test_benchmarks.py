"""benchmarks/: what is recorded, counted, fitted and printed; how fast it is, is no matter of tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch as th
from torch import nn

import envs
from benchmarks import env_tapes, scaling, throughput
from benchmarks.env_tapes import Tape, record
from benchmarks.isolation import isolated
from benchmarks.loop import Loop, steps_of
from benchmarks.measure import (
    MEASUREMENTS,
    assign_and_learn,
    env_seconds_per_step,
    make_learner,
    measure,
    synthetic_batch,
    update_args,
)
from benchmarks.products import Layout, recorded_products, replay_of, total_flops
from benchmarks.report import Column, Table, circumstances, field
from benchmarks.rows import DOMAINS, Row, all_rows
from benchmarks.timing import Effort, alternate, repeat, summary
from envs.batch import LoopedBatch
from settings.load import load_config

PROJECT = Path(__file__).resolve().parents[2]
ONCE = Effort(repetitions=1, seconds=0.0)


@pytest.fixture(autouse=True)
def one_thread():
    """Rows set the number of threads: it is put back."""
    before = th.get_num_threads()
    yield
    th.set_num_threads(before)


@pytest.fixture
def looped(monkeypatch):
    """Batches that step their environments one by one, all of them kept, with the outcomes of every step."""
    made = []

    class Logged(LoopedBatch):
        def __init__(self, members):
            super().__init__(members)
            self.log = []
            made.append(self)

        def step(self, acting, actions):
            outcomes = super().step(acting, actions)
            self.log.append((acting.tolist(), actions.tolist(), outcomes.rewards.tolist()))
            return outcomes

    monkeypatch.setattr(envs, "env_batch", Logged)
    return made


# --- products ---


def two_layers():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_flops_of_a_network_forward_and_backward():
    network, inputs = two_layers(), th.randn(5, 3)

    products = recorded_products(lambda: network(inputs).sum().backward())

    forward = 2 * 5 * 3 * 4 + 2 * 5 * 4 * 2
    weights = 2 * 4 * 5 * 3 + 2 * 2 * 5 * 4  # of both layers; the inputs need no gradient,
    hidden = 2 * 5 * 2 * 4  # the hidden units do
    assert total_flops(products) == forward + weights + hidden == 480
    assert len(products) == 5


def test_flops_of_products_that_are_written_in_other_ways():
    matrices, vector = th.randn(2, 3, 4), th.randn(5)
    result = th.zeros(3, 2)
    cases = [
        (lambda: th.einsum("bij,jk->bik", matrices, th.randn(4, 7)), 2 * 2 * 3 * 4 * 7),
        (lambda: th.randn(6, 5) @ vector, 2 * 6 * 5),
        (lambda: th.bmm(matrices, matrices.transpose(1, 2)), 2 * 2 * 3 * 4 * 3),
        (lambda: th.baddbmm(th.zeros(2, 3, 3), matrices, matrices.mT), 2 * 2 * 3 * 4 * 3),
        (lambda: th.mm(matrices[0], th.randn(4, 2), out=result), 2 * 3 * 4 * 2),
        (lambda: result.addmm_(matrices[1], th.randn(4, 2)), 2 * 3 * 4 * 2),
        (lambda: matrices * 2 + matrices.sum(), 0),
    ]
    for work, flops in cases:
        assert total_flops(recorded_products(work)) == flops


def test_flops_without_gradients_are_those_of_the_forward_pass():
    network, inputs = two_layers(), th.randn(2, 5, 3)
    for mode in (th.no_grad(), th.inference_mode()):
        with mode:
            assert total_flops(recorded_products(lambda: network(inputs))) == 2 * 10 * 3 * 4 + 2 * 10 * 4 * 2


def test_flops_of_functions_with_a_backward_of_their_own():
    class Square(th.autograd.Function):
        @staticmethod
        def forward(ctx, matrix):
            ctx.save_for_backward(matrix)
            return matrix @ matrix

        @staticmethod
        def backward(ctx, grad):
            (matrix,) = ctx.saved_tensors
            return grad @ matrix.T + matrix.T @ grad

    matrix = th.randn(3, 3, requires_grad=True)
    assert total_flops(recorded_products(lambda: Square.apply(matrix).sum().backward())) == 3 * 2 * 3**3


def test_the_floor_repeats_exactly_what_was_recorded():
    network, inputs, result = two_layers(), th.randn(3, 5).T, th.zeros(5, 2)

    def work():
        network(inputs).sum().backward()
        th.mm(th.randn(5, 4), th.randn(2, 4).T, out=result)

    products = recorded_products(work)
    assert recorded_products(replay_of(products)) == products


@pytest.mark.parametrize(
    "tensor", [th.zeros(3, 4).T, th.zeros(3, 1).expand(3, 5), th.zeros(4, 6, 2)[:, 2:4], th.zeros(())]
)
def test_random_tensors_lie_as_the_recorded_ones(tensor):
    twin = Layout.of(tensor).random()
    assert (twin.shape, twin.stride(), twin.dtype) == (tensor.shape, tensor.stride(), tensor.dtype)
    assert twin.std(unbiased=False) > 0 or twin.numel() == 1


# --- environments ---

SHORT = {
    "warehouse": ["env_args.n_agents=4", "env_args.episode_limit=6"],
    "battle": ["env_args.n_agents=4", "env_args.episode_limit=5"],
    "gaussian_squeeze": ["env_args.n_agents=5"],
}


def short_episodes(env):
    """Arguments of an environment whose episodes have a few steps."""
    return load_config("qmix", env, ["seed=3", *SHORT[env]])["env_args"]


@pytest.mark.parametrize("env", SHORT)
def test_a_tape_is_replayed_step_for_step(looped, env):
    tape = record(env, short_episodes(env), size=3, steps=40)
    tape.replay_batch()()
    recorded, replayed = looped

    assert replayed.log == recorded.log
    assert tape.steps == sum(len(acting) for acting, _, _ in recorded.log) >= 40
    assert tape.first_steps == sum(0 in acting for acting, _, _ in recorded.log)
    assert len({str(actions) for _, actions, _ in recorded.log}) > 1


def test_the_first_environment_of_a_tape_plays_its_own_part(looped, monkeypatch):
    tape = record("warehouse", short_episodes("warehouse"), size=2, steps=24)
    played = []
    step = envs.warehouse.Warehouse.step

    def spy(self, actions):
        reward, ended, info = step(self, actions)
        played.append((list(actions), reward))
        return reward, ended, info

    monkeypatch.setattr(envs.warehouse.Warehouse, "step", spy)
    tape.replay_first()()

    assert played == [(actions[0], rewards[0]) for _, actions, rewards in looped[0].log]
    assert len(played) == tape.first_steps == 12


def test_the_first_environment_may_end_before_the_others():
    both, second = (np.array([0, 1]), np.array([[7], [8]])), (np.array([1]), np.array([[9]]))
    tape = Tape("warehouse", {}, 2, ((both, second), (both, both)))
    assert (tape.steps, tape.first_steps) == (7, 3)


def test_random_actions_are_available_ones():
    avail = np.array([[[0, 1, 0], [1, 0, 1]]] * 200, dtype=np.int32)
    actions = env_tapes._random_actions(avail, np.random.default_rng(0))
    assert set(actions[:, 0]) == {1}
    assert set(actions[:, 1]) == {0, 2}


def test_seconds_of_an_environment_step(looped, monkeypatch):
    monkeypatch.setattr("benchmarks.measure.stopwatch", lambda work: (work(), (8.0, None))[1])
    monkeypatch.setattr("benchmarks.measure.TAPE_STEPS", 4 * 20)
    # One environment, episodes of 6 steps: 24 steps are the first to reach 20.
    assert env_seconds_per_step("warehouse", short_episodes("warehouse"), 1, ONCE) == 8.0 / 24


# --- updates ---


def test_synthetic_episodes_are_full_and_terminate():
    args = update_args("qmix", "warehouse", 16)
    batch = synthetic_batch(args, 2)
    assert batch["state"].shape == (2, 51, 3510)
    assert batch["obs"].shape == (2, 51, 16, 125)
    assert batch["avail_actions"].shape == (2, 51, 16, 6)
    assert batch["terminated"].squeeze(-1).nonzero().tolist() == [[0, 49], [1, 49]]
    assert batch["filled"].all()
    assert steps_of(batch) == 100


def test_a_synthetic_update_changes_the_networks():
    args = update_args("qtran", "warehouse", 16)
    learner, batch = make_learner(args), synthetic_batch(args, 2)
    before = [parameter.clone() for parameter in learner.params]
    learner.train(batch, 0, 0)
    assert any(not th.equal(old, new) for old, new in zip(before, learner.params, strict=True))


def test_the_part_of_the_assigner_is_one_pass_over_each_of_both_batches():
    args = update_args("vast_qmix", "warehouse", 16)
    learner, batch = make_learner(args), synthetic_batch(args, 3)
    one = total_flops(recorded_products(lambda: assign_and_learn(learner.assigner, None, batch[:1])))
    drawn = total_flops(recorded_products(lambda: assign_and_learn(learner.assigner, batch, batch[:1]))) - one

    with th.no_grad():
        assert drawn == total_flops(recorded_products(lambda: learner.assigner(batch)))
        assert one > total_flops(recorded_products(lambda: learner.assigner(batch[:1])))  # a backward pass, too
    assert all(parameter.grad is None for parameter in learner.assigner.parameters())


# --- rows, tables, files ---


def test_every_row_has_a_name_a_measurement_a_table_and_its_references():
    rows = all_rows()
    assert len({row.name for row in rows}) == len(rows)
    numbers = {
        "single_steps_per_s": 2.0,
        "batch_steps_per_s": 2.0,
        "epoch_s": 0.5,
        "train_s": 0.5,
        "train_steps_per_s": 2.0,
    }
    for row in rows:
        assert row.kind in MEASUREMENTS
        assert row.kind in throughput.TABLES
        assert throughput.compare(row, numbers).get("faster", 1.0) > 0
    ours = {(row.env, row.n_agents, row.agent, row.threads) for row in rows if row.alg == "vast_qtran_ac"}
    assert ours == {(*domain, agent, threads) for domain in DOMAINS for agent in ("ff", "rnn") for threads in (1, 2)}


@pytest.mark.parametrize(
    ("row", "results", "faster"),
    [
        (Row("env", "battle", 80), {"single_steps_per_s": 48.0, "batch_steps_per_s": 96.0}, 2.0),
        (Row("epoch", "warehouse", 4, "vast_qtran_ac"), {"epoch_s": 0.5}, 8.0),
        (Row("train", "warehouse", 16, "qtran"), {"train_s": 0.07}, 7.0),
        (Row("protocol", "warehouse", 16, "qmix", parallel=8), {"train_steps_per_s": 368.0}, 2.0),
    ],
)
def test_how_many_times_faster_than_other_code(row, results, faster):
    assert throughput.compare(row, results)["faster"] == pytest.approx(faster)


def test_no_comparison_with_an_algorithm_that_the_reference_did_not_run():
    assert throughput.compare(Row("epoch", "warehouse", 4, "vast_qtran"), {"epoch_s": 0.5}) == {}


@contextmanager
def in_this_process(module):
    yield lambda function, *args: function(*args)


def test_table_and_json_of_one_row(looped, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(throughput, "isolated", in_this_process)
    monkeypatch.setattr(throughput, "QUICK", ONCE)
    monkeypatch.setattr("benchmarks.measure.TAPE_STEPS", 40)
    path = tmp_path / "numbers.json"

    name = "epoch GaussianSqueeze[200] vast_qtran_ac ff threads=1"
    throughput.main(["--quick", "--only", name, "--json", str(path), "--markdown"])
    printed, document = capsys.readouterr(), json.loads(path.read_text())

    assert printed.err == f"[1/1] {name}\n"
    assert {"date", "commit", "cpu", "cores", "memory_gib", "python", "torch", "numpy"} <= document.keys()
    assert document["torch"] == th.__version__
    (row,) = document["rows"]
    assert (row["domain"], row["alg"], row["agent"], row["threads"]) == (
        "GaussianSqueeze[200]",
        "vast_qtran_ac",
        "ff",
        1,
    )
    assert row["env_share"] + row["acting_share"] + row["update_share"] == pytest.approx(1)
    assert row["faster"] == pytest.approx(1.8 / row["epoch_s"])
    assert row["over_floor"] == pytest.approx(row["epoch_s"] / row["floor_s"])
    assert row["floor_s"] > 0
    assert row["rollout_steps_per_s"] > row["train_steps_per_s"] > 10 / row["epoch_s"]
    assert row["memory_mib"] > 50
    assert f"| GaussianSqueeze[200] | vast_qtran_ac | ff | 1 | {row['rollout_steps_per_s']:,.0f} |" in printed.out

    throughput.main(["--from", str(path), "--markdown"])
    assert capsys.readouterr().out == printed.out


def test_the_floor_of_an_epoch_holds_its_environment_steps(monkeypatch):
    monkeypatch.setattr("benchmarks.measure.env_seconds_per_step", lambda *arguments: 1000.0)
    floor = measure(Row("epoch", "gaussian_squeeze", 8, "vast_qtran_ac", "ff"), ONCE)["floor_s"]
    assert 20_000 < floor < 20_100  # ten steps of training and ten of evaluation, and the products


@pytest.mark.parametrize("assigner", ["", "fixed", "metagrad"])
def test_a_row_of_updates_with_sub_teams(assigner):
    alg = "vast_qmix" if assigner else "qmix"
    results = measure(Row("subteams", "gaussian_squeeze", 8, alg, assigner=assigner), ONCE)
    assert results["over_floor"] == pytest.approx(results["train_s"] / results["floor_s"])
    assert results["gflop"] > 0
    assert ("assigner_s" in results) == bool(assigner)
    assert ("assigner_floor_s" in results) == (assigner == "metagrad")


@pytest.mark.parametrize("parallel", [1, 8])
def test_a_row_of_a_whole_run_updates_after_every_rollout(monkeypatch, parallel):
    calls = []
    train = Loop.train

    def spy(self, sample):
        calls.append(sample.batch_size)
        return train(self, sample)

    monkeypatch.setattr(Loop, "train", spy)
    results = measure(Row("protocol", "gaussian_squeeze", 4, "qmix", parallel=parallel), ONCE)
    assert results["train_steps_per_s"] > 0
    assert calls == [32] * (1 + 32 // parallel)  # when there are 32 episodes; then after each rollout


def test_tables_for_a_console_and_in_markdown():
    table = Table(
        "Speeds", (Column("what", field("name")), Column("ms", field("s", 1e3), ",.1f"), Column("x", field("x")))
    )
    entries = [{"name": "one", "s": 1.5, "x": ""}, {"name": "three", "s": None}]
    assert table.text(entries, markdown=False).splitlines() == [
        "Speeds",
        "-----------------",
        "what   ms       x",
        "one    1,500.0  -",
        "three  -        -",
    ]
    assert table.text(entries, markdown=True).splitlines() == [
        *("### Speeds", "", "| what | ms | x |", "|---|---|---|", "| one | 1,500.0 | - |", "| three | - | - |")
    ]


def test_circumstances_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert circumstances()["commit"] == "unknown"


def test_measurements_go_on_until_both_limits_are_reached(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("benchmarks.timing.time.perf_counter", lambda: clock[0])

    def two_seconds():
        clock[0] += 2

    assert len(repeat(two_seconds, Effort(repetitions=2, seconds=5.0))) == 3
    assert len(repeat(two_seconds, Effort(repetitions=4, seconds=5.0))) == 4
    assert summary("s", [3.0, 1.0, 7.0]) == {"s": 1.0, "s_median": 3.0}


def test_a_measurement_and_its_floor_take_turns():
    calls = []
    results, floors = alternate(lambda: calls.append("work"), lambda: calls.append("floor"), Effort(2, 0.0))
    assert calls == ["floor", "work", "floor", "work", "floor"]  # the first warms up
    assert (results, len(floors)) == ([None, None], 2)


def test_every_call_has_a_process_of_its_own():
    with isolated("benchmarks.rows") as call:
        numbers = {call(os.getpid) for _ in range(2)}
        with pytest.raises(ValueError, match="invalid literal"):
            call(int, "x")
    assert len(numbers - {os.getpid()}) == 2


# --- scaling ---


@pytest.mark.parametrize("true", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power(true):
    sizes = [16, 32, 64, 800]
    assert scaling.exponent(sizes, [3e-6 * n**true for n in sizes]) == pytest.approx(true)


def test_the_exponent_of_noisy_costs_is_the_least_squares_slope():
    sizes, costs = np.array([16.0, 64.0, 256.0, 800.0]), np.array([1.0, 5.0, 9.0, 40.0])
    x, y = np.log(sizes), np.log(costs)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    assert scaling.exponent(sizes, costs) == pytest.approx(slope)


def test_fits_leave_out_small_teams_and_keep_curves_apart():
    def row(n_agents, k_rule, power):
        cost = 1.0 if n_agents == 4 else n_agents**power
        names = (*scaling.COSTS, "assigner_s")
        return {"env": "battle", "n_agents": n_agents, "k_rule": k_rule, **dict.fromkeys(names, cost)}

    rows = [row(n, rule, power) for rule, power in (("K = 4", 1.0), ("K = N/4", 2.0)) for n in (4, 16, 64, 800)]
    fixed, growing = scaling.fits(rows)
    assert (fixed["k_rule"], growing["k_rule"]) == ("K = 4", "K = N/4")
    assert fixed["total_s"] == pytest.approx(1.0)
    assert growing["total_s"] == pytest.approx(2.0)


def test_a_point_of_the_curves(looped, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(scaling, "isolated", in_this_process)
    monkeypatch.setattr(scaling, "QUICK", ONCE)
    monkeypatch.setattr(scaling, "STEPS", 3)
    monkeypatch.setattr("benchmarks.measure.TAPE_STEPS", 40)
    path = tmp_path / "curves.json"

    scaling.main(["--quick", "--domains", "battle", "--agents", "8", "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]

    assert [(row["n_agents"], row["k_rule"], row["n_subteams"]) for row in rows] == [(8, "K = 4", 4), (8, "K = N/4", 2)]
    for row in rows:
        assert row["total_s"] == pytest.approx(row["rollout_s"] + row["update_s"])
        assert row["assigner_share"] == pytest.approx(row["assigner_s"] / row["update_s"])
    assert "Microseconds for an environment step" in capsys.readouterr().out


# --- command lines ---


@pytest.mark.parametrize("script", ["throughput", "scaling"])
def test_an_unknown_argument_is_named(script):
    command = [sys.executable, f"benchmarks/{script}.py", "--quik"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unrecognized arguments: --quik" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("parse", "argv", "message"),
    [
        (throughput.parse, ["--only", "Chess"], "--only: no row's name holds 'Chess'"),
        (throughput.parse, ["--from", "nowhere.json"], "--from: there is no file nowhere.json"),
        (scaling.parse, ["--from", "nowhere.json"], "--from: there is no file nowhere.json"),
        (scaling.parse, ["--agents", "3"], "--agents: expected 4 or more (K = 4), got 3"),
        (scaling.parse, ["--domains", "chess"], "invalid choice: 'chess'"),
    ],
)
def test_arguments_that_make_no_sense(parse, argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
