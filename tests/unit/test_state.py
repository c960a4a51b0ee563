"""A run that is stopped between two rollouts goes on, in another process if need be, as if it had not been."""

from __future__ import annotations

import io
import multiprocessing
import random

import numpy as np
import pytest
import torch as th
from helpers import ToyEnv, toy_config

from components.generators import GlobalGenerators
from components.parts import Part, load_states, states_of
from envs import REGISTRY as ENVS
from experiment.state import RunState
from run import BestAgents, build, seed_everything
from runners import batch_runner, parallel_runner
from settings.load import load_config


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(ENVS, "toy", ToyEnv)
    # A ToyEnv shows its seed in its state: a hashed one would be a number too large to learn from.
    for module in (batch_runner, parallel_runner):
        monkeypatch.setattr(module, "env_seed", lambda seed, number: seed + number)


class Records:
    """Everything that a logger records, in order."""

    def __init__(self, logger):
        self.lines = []
        logger.setup_record(self)

    def line(self, line):
        self.lines.append({key: value for key, value in line.items() if key != "time"})

    def close(self):
        pass


# Such that a run that is stopped after its third rollout does what follows at other steps if it forgets when it did so
# last.
INTERVALS = {
    "log_interval": 8, "runner_log_interval": 9, "learner_log_interval": 7, "test_interval": 6, "t_max": 60,
    "save_model": True, "save_model_interval": 14, "epsilon_anneal_time": 60, "absolute_nepisode": 3,
}  # fmt: skip
STOPPED_AFTER = 3  # rollouts
DOMAINS = {
    "warehouse": ("env_args.n_agents=4", "env_args.episode_limit=6"),
    "battle": ("env_args.n_agents=8", "env_args.episode_limit=6"),
    "gaussian_squeeze": ("env_args.n_agents=6",),
}


@pytest.fixture
def make(tmp_path):
    """Builds experiments whose episodes take 2 to 5 steps, and closes them in the end."""
    built = []

    def _make(alg, runner, env="toy", **overrides):
        size = 1 if runner == "episode" else 2
        sizes = {"batch_size_run": size, "episodes_per_update": 2 * size, "batch_size": 2, "buffer_size": 5}
        if alg == "coma" or alg.endswith("_ac"):  # on-policy: the buffer is what the update is made of
            sizes |= {"batch_size": 2 * size, "buffer_size": 2 * size}
        if alg.startswith("vast"):
            overrides["eta"] = 0.5
        folder = tmp_path / str(len(built))
        settings = {**sizes, **INTERVALS, "runner": runner, "local_results_path": str(folder), "env": env, **overrides}
        if env in DOMAINS:
            config = {**load_config(alg, env, ["seed=0", "use_cuda=false", *DOMAINS[env]]), **settings}
        else:
            config = toy_config(alg, {"lengths": (4, 2, 5)}, **settings)
        experiment = build(config)
        built.append(experiment)
        return experiment, Records(experiment.logger), folder

    yield _make
    for experiment in built:
        experiment.close()
    assert multiprocessing.active_children() == []


def stop_before_rollout(experiment, number):
    """Has the run stop when it asks for another training rollout than ``number`` ones."""
    run, rollouts = experiment.runner.run, iter(range(number))

    def run_or_stop(test_mode):
        if not test_mode and next(rollouts, None) is None:
            raise KeyboardInterrupt
        return run(test_mode=test_mode)

    experiment.runner.run = run_or_stop
    with pytest.raises(KeyboardInterrupt):
        experiment.run()


def through_a_file(state):
    """What is left of a state after ``torch.save``, read as one reads a file of a stranger's."""
    file = io.BytesIO()
    th.save(state, file)
    file.seek(0)
    return th.load(file, weights_only=True)


def same(state, other):
    """Whether two states are equal, bit for bit."""
    if isinstance(state, dict):
        return state.keys() == other.keys() and all(same(value, other[key]) for key, value in state.items())
    if isinstance(state, (list, tuple)):
        return len(state) == len(other) and all(map(same, state, other))
    return th.equal(state, other) if isinstance(state, th.Tensor) else state == other


def checkpoints(folder):
    return {path.name for path in folder.glob("models/*/[0-9]*")}


def assert_goes_on(make, *what):
    """A run that is stopped and one that goes on where it stopped do and leave what one run does."""
    whole, all_records, all_files = make(*what)
    whole.run()
    first, first_records, first_files = make(*what)
    stop_before_rollout(first, STOPPED_AFTER)
    states = through_a_file(first.state_dict())
    second, second_records, second_files = make(*what)
    random.random(), np.random.random(), th.rand(1)  # a process of its own would stand elsewhere, too
    second.load_state_dict(states)
    second.run()
    assert 0 < len(first_records.lines) < len(all_records.lines) and second_records.lines
    assert first_records.lines + second_records.lines == all_records.lines
    for part in ("mac", "learner", "buffer", "runner"):
        assert same(second.parts()[part].state_dict(), whole.parts()[part].state_dict()), part
    assert checkpoints(first_files) | checkpoints(second_files) == checkpoints(all_files)
    assert checkpoints(first_files) & checkpoints(second_files) == set()


@pytest.mark.parametrize("runner", ["episode", "vector", "parallel"])
@pytest.mark.parametrize("alg", ["qmix", "vast_qmix", "vast_qtran_ac", "coma"])
def test_a_stopped_run_goes_on_bit_for_bit(make, alg, runner):
    assert_goes_on(make, alg, runner)


def gives_its_state_away(domain):
    return hasattr(ENVS[domain].keywords["env"], "get_state_dict")


@pytest.mark.parametrize("runner", ["episode", "vector", "parallel"])
@pytest.mark.parametrize("domain", [domain for domain in DOMAINS if gives_its_state_away(domain)])
def test_a_stopped_run_in_a_domain_goes_on_bit_for_bit(make, domain, runner):
    assert_goes_on(make, "qmix", runner, domain)


@pytest.mark.parametrize("part", ["loop", "evaluator", "runner", "learner", "buffer", "generators"])
@pytest.mark.parametrize("runner", ["episode", "vector", "parallel"])
def test_no_part_can_be_spared(make, runner, part):
    whole, all_records, _ = make("qmix", runner)
    first, first_records, _ = make("qmix", runner)
    for experiment in (whole, first):  # no later agents will be better than these
        experiment.evaluator.best.offer(experiment.mac, score=10**6, t=0)
    whole.run()
    stop_before_rollout(first, STOPPED_AFTER)
    states = through_a_file(first.state_dict())
    second, second_records, _ = make("qmix", runner)
    load_states({name: other for name, other in second.parts().items() if name != part}, states)
    second.run()
    assert first_records.lines + second_records.lines != all_records.lines


def test_the_parts_of_a_run_have_names(make):
    training = {"loop", "evaluator", "runner", "mac", "learner", "buffer", "generators"}
    experiment, *_ = make("qmix", "episode")
    assert set(experiment.parts()) - {"logger"} == training
    evaluation, *_ = make("qmix", "episode", evaluate=True)
    assert set(evaluation.parts()) - {"logger"} == training - {"loop", "buffer"}
    assert all(isinstance(part, Part) for part in experiment.parts().values())


class Forgetful(ToyEnv):
    """One that gives no state away, as PyMARL's environments."""

    get_state_dict = load_state_dict = property()  # as if they were not there


@pytest.mark.parametrize("runner", ["episode", "vector", "parallel"])
def test_an_environment_may_give_no_state_away(make, monkeypatch, runner):
    monkeypatch.setitem(ENVS, "forgetful", Forgetful)
    first, *_ = make("vdn", runner, env="forgetful")
    first.runner.run()
    second, *_ = make("vdn", runner, env="forgetful")
    second.load_state_dict(through_a_file(first.state_dict()))
    assert second.runner.t_env == first.runner.t_env > 0


# --- single parts ---


def test_the_best_agents_come_with_their_score():
    experiment = build(toy_config())
    best, other = BestAgents(experiment.mac), BestAgents(experiment.mac)
    with th.no_grad():
        experiment.mac.agent.fc2.bias.fill_(3.0)
    best.offer(experiment.mac, 2.0, t=7)
    other.load_state_dict(through_a_file(best.state_dict()))
    assert other.t == 7 and (other.mac.agent.fc2.bias == 3.0).all()
    assert not other.offer(experiment.mac, 2.0, t=8) and other.offer(experiment.mac, 2.5, t=9)


def test_agents_are_parameters_and_what_their_selector_remembers():
    first, second = build(toy_config("vdn", seed=1)), build(toy_config("vdn", seed=2))
    first.runner.run()
    first.runner.run()
    second.mac.load_state_dict(through_a_file(first.mac.state_dict()))
    assert all(th.equal(a, b) for a, b in zip(second.mac.parameters(), first.mac.parameters(), strict=True))
    assert second.mac.action_selector.epsilon == first.mac.action_selector.epsilon < 1


def draws():
    return random.gauss(0, 1), np.random.normal(), np.random.choice(9, 4).tolist(), th.rand(2).tolist()


def test_the_global_generators_go_on_where_they_were():
    seed_everything(4)
    draws()
    np.random.normal(size=3), random.gauss(0, 1)  # each of which leaves half a pair behind
    state = through_a_file(GlobalGenerators().state_dict())
    expected = [draws() for _ in range(3)]
    seed_everything(5)
    GlobalGenerators().load_state_dict(state)
    assert [draws() for _ in range(3)] == expected


def test_the_loops_variables_are_those_it_knows():
    state = RunState(begun=True, episode=3, waiting=1, point=None, last_log=8, last_save=4)
    other = RunState()
    other.load_state_dict(through_a_file(state.state_dict()))
    assert other == state
    with pytest.raises(TypeError, match="nonsense"):
        other.load_state_dict({"nonsense": 1})


def test_what_is_no_part_has_no_state():
    class Stateless:
        pass

    parts = {"generators": GlobalGenerators(), "plug-in": Stateless()}
    states = states_of(parts)
    assert set(states) == {"generators"}
    load_states(parts, states)
