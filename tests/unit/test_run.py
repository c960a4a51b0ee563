"""Building a run and its loop: updates, tests, checkpoints, seeds, mistakes."""

import copy
import logging
import multiprocessing
import random
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch as th
from helpers import ToyEnv, toy_config

from envs import REGISTRY as ENVS
from envs.multiagentenv import MultiAgentEnv
from learners import REGISTRY as LEARNERS
from run import BestAgents, Experiment, build, episode_scheme, evaluation_points
from runners import REGISTRY as RUNNERS
from runners.episode_runner import EpisodeRunner
from settings.load import load_config
from tracking.record import Evaluation
from utils.errors import UserError

TINY_WAREHOUSE = ["env_args.n_agents=4", "env_args.episode_limit=5", "batch_size=2", "buffer_size=10", "seed=3"]


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(ENVS, "toy", ToyEnv)


class Recorder:
    """A learner in PyMARL's form that only keeps a record; ``calls`` are those of the newest one."""

    calls: list = []

    def __init__(self, mac, scheme, logger, args):
        type(self).calls = []
        self.mac = mac

    def train(self, batch, t_env, episode_num):
        self.calls.append(SimpleNamespace(batch=batch, t_env=t_env, episode=episode_num))

    def cuda(self):
        pass

    def save_models(self, path):
        pass

    def load_models(self, path):
        pass


class Observer(Recorder):
    """One that also wants the newest episodes."""

    observed: list = []

    def __init__(self, mac, scheme, logger, args):
        super().__init__(mac, scheme, logger, args)
        type(self).observed = []

    def observe(self, batch, t_env, episode_num):
        self.observed.append(SimpleNamespace(batch=batch, t_env=t_env, episode=episode_num, updates=len(self.calls)))


@pytest.fixture
def make(monkeypatch, tmp_path):
    """Builds experiments in ToyEnv, whose episodes take 4 steps, and closes them in the end."""
    monkeypatch.setitem(LEARNERS, "recorder", Recorder)
    monkeypatch.setitem(LEARNERS, "observer", Observer)
    built = []

    def _make(alg="vdn", env_args=None, **overrides):
        config = toy_config(alg, {"lengths": (4,), **(env_args or {})}, local_results_path=str(tmp_path), **overrides)
        built.append(build(config))
        return built[-1]

    yield _make
    for experiment in built:
        experiment.close()
    assert multiprocessing.active_children() == []


def parallel(size):
    return {"runner": "parallel", "batch_size_run": size} if size > 1 else {}


# --- how often the learner updates ---


@pytest.mark.parametrize("learner", ["recorder", "observer"])
@pytest.mark.parametrize(
    ("size", "per_update"),
    [(1, None), (1, 1), (1, 3), (1, 10), (2, None), (2, 1), (2, 10), (8, None), (8, 1), (8, 3), (8, 24)],
)
def test_updates_are_due_by_episodes(make, size, per_update, learner):
    """48 episodes of 4 steps; updates are skipped, not postponed, until the buffer holds a batch of 5."""
    experiment = make(
        **parallel(size), episodes_per_update=per_update, learner=learner, t_max=191, batch_size=5, test_interval=10**6
    )
    experiment.run()
    due = per_update or size
    expected = []  # the number of episodes at each update
    for rollout in range(1, 48 // size + 1):
        for episode in range((rollout - 1) * size + 1, rollout * size + 1):
            if episode % due == 0 and rollout * size >= 5:
                expected.append(rollout * size)
    calls = LEARNERS[learner].calls
    assert [call.episode for call in calls] == expected
    assert [call.t_env for call in calls] == [4 * episode for episode in expected]


@pytest.mark.parametrize(("size", "per_update"), [(2, 3), (8, 10), (8, 12)])
def test_rollouts_that_reach_beyond_an_update_are_refused(make, size, per_update):
    message = rf"^batch_size_run={size}: expected a divisor of episodes_per_update={per_update}, or no less than that"
    with pytest.raises(UserError, match=message):
        make(**parallel(size), episodes_per_update=per_update)
    assert make(**parallel(size), episodes_per_update=per_update, evaluate=True).buffer is None  # there are no updates


def test_an_update_gets_a_sample_cut_to_its_longest_episode(make):
    make(learner="recorder", env_args={"lengths": (2, 3)}, batch_size=3).run()
    assert Recorder.calls
    for call in Recorder.calls:
        assert call.batch.batch_size == 3
        assert call.batch.max_seq_length == call.batch["filled"].sum(1).max() == 4  # two of three episodes differ


def test_new_episodes_are_shown_once_before_the_update(make):
    make(learner="observer", batch_size=3, t_max=20).run()
    assert [seen.episode for seen in Observer.observed] == [1, 2, 3, 4, 5, 6]
    assert [seen.t_env for seen in Observer.observed] == [4, 8, 12, 16, 20, 24]
    assert [seen.updates for seen in Observer.observed] == [0, 0, 0, 1, 2, 3]


def test_a_learner_is_shown_every_parallel_episode(make):
    make(learner="observer", **parallel(2), t_max=15).run()
    assert [seen.batch.batch_size for seen in Observer.observed] == [2, 2]


def test_training_ends_behind_t_max(make):
    experiment = make(learner="recorder", t_max=20)
    experiment.run()
    assert experiment.runner.t_env == 24  # as in PyMARL: the loop goes on while t_env <= t_max


@pytest.mark.parametrize(("interval", "logged"), [(8, [(8, 2), (16, 4), (24, 6)]), (16, [(16, 4), (24, 6)])])
def test_the_number_of_episodes_is_logged_now_and_then_and_in_the_end(make, interval, logged):
    experiment = make(learner="recorder", t_max=20, log_interval=interval)
    experiment.run()
    assert experiment.logger.stats["episode"] == logged


# --- evaluation ---


class RecordStub:
    """Keeps the evaluations that a logger records."""

    def __init__(self, experiment):
        self.evaluations: list[Evaluation] = []
        experiment.logger.setup_record(self)

    def line(self, line):
        if line["kind"] == "evaluation":
            self.evaluations.append(Evaluation.of(line))

    def close(self):
        pass


@pytest.mark.parametrize(
    ("start", "interval", "t_max", "points"),
    [
        (0, 10, 30, [0, 10, 20, 30]),
        (0, 10, 39, [0, 10, 20, 30, 39]),
        (0, 100, 30, [0, 30]),
        (10, 10, 30, [10, 20, 30]),
        (11, 10, 30, [20, 30]),
        (30, 10, 30, [30]),
        (31, 10, 30, []),
    ],
)
def test_the_points_of_evaluation(start, interval, t_max, points):
    assert list(evaluation_points(start, interval, t_max)) == points


@pytest.mark.parametrize(
    ("size", "lengths", "trained"),
    [(1, (4,), [0, 12, 20, 32, 40]), (2, (4,), [0, 16, 24, 32, 40]), (1, (5,), [0, 10, 20, 30, 40])],
)
def test_evaluations_come_at_the_same_steps_however_long_episodes_are(make, size, lengths, trained):
    """At the first end of a rollout at or behind each point, with the point's number."""
    overrides = {"t_max": 39, "test_interval": 10, "test_nepisode": 2, "absolute_nepisode": 0}
    experiment = make(learner="recorder", env_args={"lengths": lengths}, **parallel(size), **overrides)
    record = RecordStub(experiment)
    experiment.run()
    assert [(point.t, point.t_env) for point in record.evaluations] == list(
        zip([0, 10, 20, 30, 39], trained, strict=True)
    )
    assert [t for t, _ in experiment.logger.stats["test_return_mean"]] == [0, 10, 20, 30, 39]


def test_a_rollout_that_passes_several_points_is_evaluated_for_each(make):
    experiment = make(learner="recorder", t_max=5, test_interval=2, absolute_nepisode=0)
    record = RecordStub(experiment)
    experiment.run()
    assert [(point.t, point.t_env) for point in record.evaluations] == [(0, 0), (2, 4), (4, 4), (5, 8)]
    assert experiment.runner.env.episode == 2 + 4 - 1  # two rollouts, and an episode of its own for each point


@pytest.mark.parametrize(("size", "episodes"), [(1, 5), (2, 6)])
@pytest.mark.parametrize("evaluate", [True, False])
def test_all_test_episodes_are_kept(make, monkeypatch, size, episodes, evaluate):
    """PyMARL dropped all but one when evaluating."""
    overrides = {"t_max": 1, "test_nepisode": 5, "absolute_nepisode": 0, "evaluate": evaluate}
    experiment = make(learner="recorder", **parallel(size), **overrides)
    record = RecordStub(experiment)
    returns = []
    run = experiment.runner.run

    def run_and_keep(test_mode):
        batch = run(test_mode=test_mode)
        returns.extend(batch["reward"].sum((1, 2)).tolist() if test_mode else [])
        return batch

    monkeypatch.setattr(experiment.runner, "run", run_and_keep)
    experiment.run()
    assert [len(point.episodes["return"]) for point in record.evaluations] == [episodes] * (1 if evaluate else 2)
    assert [value for point in record.evaluations for value in point.episodes["return"]] == returns
    means = [value for _, value in experiment.logger.stats["test_return_mean"]]
    assert means == [pytest.approx(np.mean(point.episodes["return"])) for point in record.evaluations]
    assert not any(point.absolute for point in record.evaluations)


class Scripted(Recorder):
    """A learner whose agents always choose action ``plan[number of updates]``, the last one from the end on."""

    plan = [1, 2, 0]

    def train(self, batch, t_env, episode_num):
        super().train(batch, t_env, episode_num)
        self._act(len(self.calls))

    def __init__(self, mac, scheme, logger, args):
        super().__init__(mac, scheme, logger, args)
        self._act(0)

    def _act(self, updates):
        bias = self.mac.agent.fc2.bias
        with th.no_grad():
            for parameter in self.mac.agent.parameters():
                parameter.zero_()
            bias[self.plan[min(updates, len(self.plan) - 1)]] = 1.0

    def save_models(self, path):
        th.save(self.mac.agent.fc2.bias, f"{path}/bias.th")


def scripted(make, monkeypatch, **overrides):
    monkeypatch.setitem(LEARNERS, "scripted", Scripted)
    experiment = make(learner="scripted", t_max=12, test_interval=4, test_nepisode=3, batch_size=1, **overrides)
    record = RecordStub(experiment)
    experiment.run()
    return experiment, record.evaluations


@pytest.mark.parametrize(("absolute", "episodes"), [(None, 30), (7, 7)])
def test_the_best_agents_are_evaluated_in_the_end(make, monkeypatch, absolute, episodes):
    """The higher the number of an action, the more it earns: those of step 4 are the best, the last the worst."""
    experiment, evaluations = scripted(make, monkeypatch, absolute_nepisode=absolute)
    *points, final = evaluations
    means = [np.mean(point.episodes["return"]) for point in points]
    assert [point.t for point in points] == [0, 4, 8, 12] and np.argmax(means) == 1
    assert (final.t, final.absolute, len(final.episodes["return"])) == (4, True, episodes)
    assert set(final.episodes["return"]) == set(points[1].episodes["return"])  # the same play, and no other's
    assert experiment.logger.stats["absolute_return_mean"] == [(4, pytest.approx(np.mean(final.episodes["return"])))]
    assert experiment.logger.stats["absolute_ep_length_mean"] == [(4, 4.0)]
    assert experiment.runner.mac is experiment.mac and experiment.mac.agent.fc2.bias.tolist() == [1, 0, 0, 0]


def act_always(mac, action):
    """A copy of the agents that always choose one action."""
    mac = copy.deepcopy(mac)
    with th.no_grad():
        for parameter in mac.agent.parameters():
            parameter.zero_()
        mac.agent.fc2.bias[action] = 1.0
    return mac


@pytest.mark.parametrize(("runner", "size"), [("episode", 1), ("parallel", 2), ("vector", 2)])
def test_a_player_has_any_agents_play_and_leaves_the_runner_as_it_was(make, runner, size):
    experiment = make(runner=runner, batch_size_run=size, epsilon_anneal_time=100, epsilon_finish=0.0)
    experiment.runner.run()
    own, t_env = experiment.runner.mac, experiment.runner.t_env
    chosen = []
    for action in (1, 2):
        mac = act_always(experiment.mac, action)
        played = experiment.player.play(mac, 3, t=50)
        assert len(played["return"]) == -(-3 // size) * size
        chosen.append(played["total"])
        experiment.player.rollout(mac, t=40, explore=True)
        assert mac.action_selector.epsilon == 0.6 and experiment.mac.action_selector.epsilon == 1.0
    assert np.mean(chosen[0]) < np.mean(chosen[1])
    assert experiment.runner.mac is own is experiment.mac and experiment.runner.t_env == t_env
    assert len(experiment.runner.test_stats) == 0


def test_a_player_leaves_the_runner_as_it_was_after_a_failure(make):
    experiment = make(env_args={"fail_at": (0, 2)})
    with pytest.raises(RuntimeError, match="the toy broke"):
        experiment.player.play(act_always(experiment.mac, 1), 1, t=50)
    assert experiment.runner.mac is experiment.mac and experiment.runner.t_env == 0


def test_the_earliest_of_equal_scores_is_the_best_and_none_is_no_number():
    agents = build(toy_config()).mac
    best = BestAgents(agents)
    scores = [float("nan"), 1.0, 1.0, 0.5, float("nan"), 2.0, 2.0]
    assert [best.offer(agents, score, t) for t, score in enumerate(scores)] == [False, True, *[False] * 3, True, False]
    assert best.t == 5


class SelfLogging:
    """A runner in PyMARL's form, which logs each test by itself, at its own step."""

    def __init__(self, args, logger):
        self.inner, self.logger = EpisodeRunner(args, logger), logger

    def __getattr__(self, name):
        return getattr(self.inner, name)

    @property
    def t_env(self):
        return self.inner.t_env

    @t_env.setter
    def t_env(self, t_env):
        self.inner.t_env = t_env

    def run(self, test_mode=False):
        batch = self.inner.run(test_mode)
        if test_mode:
            self.logger.log_stat("test_return_mean", batch["reward"].sum(), self.t_env)
        return batch


def test_a_runner_that_logs_by_itself_logs_at_the_same_points(make, monkeypatch):
    monkeypatch.setitem(RUNNERS, "self_logging", SelfLogging)
    experiment = make(learner="recorder", runner="self_logging", t_max=39, test_interval=10)
    experiment.run()
    assert [t for t, _ in experiment.logger.stats["test_return_mean"]] == [0, 10, 20, 30, 39]
    assert experiment.runner.t_env == 40
    assert "absolute_return_mean" not in experiment.logger.stats  # it plays no other number of episodes


def test_the_final_evaluation_can_be_left_out(make, monkeypatch):
    experiment, evaluations = scripted(make, monkeypatch, absolute_nepisode=0)
    assert [point.absolute for point in evaluations] == [False] * 4
    assert not any(key.startswith("absolute") for key in experiment.logger.stats)


def test_the_best_checkpoint_is_kept_alone(make, monkeypatch, tmp_path):
    scripted(make, monkeypatch, absolute_nepisode=1, save_model=True)
    [run] = tmp_path.glob("models/*")
    assert [path.name for path in (run / "best").iterdir()] == ["4"]
    assert th.load(run / "best" / "4" / "bias.th").tolist() == [0, 0, 1, 0]
    last = max(checkpoints(tmp_path), key=lambda path: int(path.name))
    assert th.load(last / "bias.th").tolist() == [1, 0, 0, 0], "the last checkpoint is not the best one's"


def test_evaluating_neither_trains_nor_needs_a_buffer(make, tmp_path):
    experiment = make(learner="recorder", evaluate=True, save_model=True)
    assert experiment.buffer is None
    experiment.run()
    assert Recorder.calls == []
    assert experiment.runner.t_env == 0
    assert list(tmp_path.iterdir()) == []


def test_replays_are_saved_only_when_evaluating(make, monkeypatch):
    saved = []
    monkeypatch.setattr(ToyEnv, "save_replay", lambda self: saved.append(self.episode), raising=False)
    make(learner="recorder", save_replay=True).run()
    assert saved == []
    make(learner="recorder", save_replay=True, evaluate=True, test_nepisode=3).run()
    assert saved == [2]


# --- checkpoints ---


def checkpoints(tmp_path):
    return sorted(tmp_path.glob("models/*/[0-9]*"), key=lambda path: (len(path.name), path.name))


def test_checkpoints_come_first_at_intervals_and_last(make, tmp_path):
    make(save_model=True, save_model_interval=10, t_max=23).run()
    folders = checkpoints(tmp_path)
    assert [folder.name for folder in folders] == ["4", "16", "24"]
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {"agent.th", "mixer.th", "opt.th"}


def test_the_last_step_is_saved_once(make, tmp_path):
    """Also when an interval ends with it."""
    make(save_model=True, save_model_interval=8, t_max=19).run()
    assert [folder.name for folder in checkpoints(tmp_path)] == ["4", "12", "20"]


def test_nothing_is_saved_unasked(make, tmp_path):
    make().run()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_save_leaves_no_checkpoint(make, monkeypatch, tmp_path):
    experiment = make(save_model=True)

    def save_half(path):
        experiment.mac.save_models(path)
        raise OSError("disk full")

    monkeypatch.setattr(experiment.learner, "save_models", save_half)
    with pytest.raises(OSError, match="disk full"):
        experiment.run()
    assert not [folder for folder in checkpoints(tmp_path) if folder.name.isdigit()]


@pytest.mark.parametrize("alg", ["qmix", "qtran", "vast_qtran"])
def test_a_loaded_run_goes_on_where_the_checkpoint_was(make, tmp_path, alg):
    first = make(alg, save_model=True, save_model_interval=8, t_max=20, seed=1, env_args={"lengths": (4,)}, eta=0.5)
    first.run()
    path = str(next(tmp_path.glob("models/*")))
    loaded = make(alg, checkpoint_path=path, seed=2, t_max=30, eta=0.5)
    assert loaded.runner.t_env == 24
    own, other = (experiment.learner.mac.agent.state_dict() for experiment in (first, loaded))
    assert all(th.equal(own[key], other[key]) for key in own)
    for online, target in ((loaded.mac.agent, loaded.learner.target_mac.agent), networks(loaded.learner)):
        assert all(th.equal(a, b) for a, b in zip(online.parameters(), target.parameters(), strict=True))
    loaded.run()
    assert loaded.runner.t_env == 32
    assert [t for t, _ in loaded.logger.stats["test_return_mean"]] == [30]
    assert make(alg, checkpoint_path=path, load_step=11, eta=0.5).runner.t_env == 12


def networks(learner):
    return learner.mixer, learner.target_mixer


def test_a_checkpoint_is_evaluated(make, tmp_path):
    make("qmix", save_model=True, seed=1).run()
    path = str(next(tmp_path.glob("models/*")))
    experiment = make("qmix", checkpoint_path=path, evaluate=True, seed=2)
    experiment.run()
    assert [t for t, _ in experiment.logger.stats["test_return_mean"]] == [24]


def test_a_checkpoint_that_does_not_fit_is_told(make, tmp_path):
    make("qmix", save_model=True).run()
    path = str(next(tmp_path.glob("models/*")))
    with pytest.raises(UserError, match=r"agent.th' does not fit this run: fc1.weight has shape"):
        make("qmix", checkpoint_path=path, rnn_hidden_dim=16)
    with pytest.raises(UserError, match=r"assigner.th' is missing|mixer.th' does not fit"):
        make("vast_qmix", checkpoint_path=path, eta=1.0)
    with pytest.raises(UserError, match="checkpoint_path: '.*/gone' is no folder"):
        make("qmix", checkpoint_path=str(tmp_path / "gone"))


# --- seeds ---


def train(make, alg="qmix", **overrides):
    experiment = make(alg, t_max=30, lr=0.01, test_interval=10, **overrides)
    experiment.run()
    return experiment


def trained(experiment):
    return [parameter.detach().clone() for parameter in experiment.learner.params]


def equal(first, second):
    return all(th.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("alg", ["qmix", "qtran_values", "qtran"])
def test_one_seed_gives_one_result(make, alg, size):
    first = trained(train(make, alg, seed=5, **parallel(size)))
    random.random(), np.random.random(), th.rand(1)
    assert equal(first, trained(train(make, alg, seed=5, **parallel(size))))


def test_another_seed_gives_another_result(make):
    assert not equal(trained(train(make, seed=5)), trained(train(make, seed=6)))


@pytest.mark.parametrize("alg", ["iql", "qtran", "vast_qtran"])
def test_what_is_trained_does_not_change_the_first_rollouts(make, alg):
    """Up to the first update the episodes of all algorithms are alike, bit for bit."""
    episodes = []
    for name in ("vdn", alg):
        overrides = {"eta": 0.5} if name.startswith("vast") else {}
        experiment = make(name, batch_size=5, t_max=15, test_interval=10**6, **overrides)
        experiment.run()
        episodes.append(experiment.buffer[:4])
    first, second = episodes
    assert all(th.equal(first[key], second[key]) for key in first.scheme)


def test_a_run_does_not_change_its_configuration(make, tmp_path):
    config = toy_config("vast_qmix", {"lengths": (4,)}, eta=0.5, local_results_path=str(tmp_path))
    before = {**config, "env_args": dict(config["env_args"])}
    experiment = build(config)
    args = dict(vars(experiment.args))
    experiment.run()
    experiment.close()
    assert config == before
    assert vars(experiment.args) == args


# --- what the replay buffer stores ---


class CompactToyEnv(ToyEnv):
    """One that declares what can be declared: the number it draws fits no smaller dtype."""

    def get_env_info(self):
        return {**super().get_env_info(), "dtypes": {"obs": "uint8", "avail_actions": "uint8", "state": "float32"}}


@pytest.mark.parametrize("alg", ["qmix", "vast_qmix", "qmix_ac"])
def test_training_does_not_depend_on_what_is_stored(make, monkeypatch, alg):
    overrides = {"env_args": {"lengths": (2, 4, 3)}, **({"eta": 0.5} if alg.startswith("vast") else {})}
    if alg.endswith("_ac"):
        overrides |= {"batch_size": 3, "buffer_size": 3, "episodes_per_update": 3}
    plain = train(make, alg, **overrides)
    monkeypatch.setitem(ENVS, "compact_toy", CompactToyEnv)
    compact = train(make, alg, **overrides, env="compact_toy")
    stored = [experiment.buffer.data.transition_data["obs"].dtype for experiment in (plain, compact)]
    assert stored == [th.float32, th.uint8]
    assert equal(trained(plain), trained(compact))
    assert all(th.equal(plain.buffer[key], compact.buffer[key]) for key in plain.buffer.scheme)


def described(**entries):
    sizes = {"state_shape": 3, "obs_shape": 4, "n_actions": 5, "n_agents": 2, "episode_limit": 6}
    return {**sizes, **entries}


def test_declared_dtypes_are_stored():
    scheme, *_ = episode_scheme(described(dtypes={"obs": "uint8", "state": "float16", "avail_actions": "int8"}))
    stored = {key: info["stored"] for key, info in scheme.items() if "stored" in info}
    assert stored == {"obs": th.uint8, "state": th.float16, "avail_actions": th.int8, "actions": th.uint8}
    assert scheme["avail_actions"]["dtype"] == th.int and scheme["actions"]["dtype"] == th.long


@pytest.mark.parametrize(("n_actions", "stored"), [(256, True), (257, False)])
def test_actions_are_stored_as_bytes_where_these_can_count_them(n_actions, stored):
    scheme, *_ = episode_scheme(described(n_actions=n_actions))
    assert [key for key, info in scheme.items() if "stored" in info] == (["actions"] if stored else [])


@pytest.mark.parametrize(
    ("dtypes", "message"),
    [
        ({"reward": "uint8"}, "unknown key 'reward', known are obs, state, avail_actions"),
        ({"obs": "uint7"}, "expected one of uint8, int8, int16, float16, float32 for 'obs', got 'uint7'"),
        ({"obs": np.uint8}, "expected one of .* for 'obs', got <class 'numpy.uint8'>"),
        ({"obs": np.dtype("uint8")}, r"expected one of .* for 'obs', got dtype\('uint8'\)"),
        ("uint8", "expected a dict, got 'uint8'"),
        (None, "expected a dict, got None"),
    ],
)
def test_wrong_declarations_are_one_clear_line(make, monkeypatch, dtypes, message):
    monkeypatch.setattr(ToyEnv, "get_env_info", lambda self: {**MultiAgentEnv.get_env_info(self), "dtypes": dtypes})
    with pytest.raises(UserError, match=rf"^get_env_info\(\)\['dtypes'\]: {message}$"):
        make()


def test_the_console_says_once_how_large_the_buffer_is(make, caplog):
    caplog.set_level(logging.INFO)
    experiment = make(buffer_size=5000)
    experiment.run()
    # A step: state 5 * 4, obs 3 * 2 * 4, actions 3, avail_actions 3 * 4 * 4, onehot 3 * 4, reward 4, terminated, filled
    size = 5000 * 7 * (20 + 24 + 3 + 48 + 12 + 4 + 1 + 1) / 2**20
    lines = [record.message for record in caplog.records if "eplay buffer" in record.message]
    assert lines == [f"Replay buffer: up to 5000 episodes, {size:.1f} MiB"]
    assert lines == ["Replay buffer: up to 5000 episodes, 3.8 MiB"]


def test_evaluating_speaks_of_no_buffer(make, caplog):
    caplog.set_level(logging.INFO)
    make(evaluate=True)
    assert not [record for record in caplog.records if "eplay buffer" in record.message]


# --- warnings ---


@pytest.mark.parametrize(
    ("runner", "size", "warned"), [("parallel", 4, True), ("parallel", 3, False), ("vector", 4, False)]
)
def test_more_processes_than_cores_are_one_warning(make, monkeypatch, caplog, runner, size, warned):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    make(runner=runner, batch_size_run=size)
    lines = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == warned
    assert all(line.startswith("batch_size_run=4: ") and line.endswith("only 3 cores") for line in lines)


# --- what parts get ---


def test_parts_get_the_sizes_of_the_environment_under_pymarls_names(make):
    args = make().args
    sizes = {key: getattr(args, key) for key in ("n_agents", "n_actions", "state_shape", "obs_shape", "episode_limit")}
    assert sizes == {"n_agents": 3, "n_actions": 4, "state_shape": 5, "obs_shape": 2, "episode_limit": 6}


def test_the_environment_knows_its_sizes_better_than_the_configuration(make):
    assert make(n_agents=99).args.n_agents == 3


def test_a_run_keeps_freed_memory(make, monkeypatch):
    kept = []
    monkeypatch.setattr("experiment.build.keep_freed_memory", lambda: kept.append(True))
    make()
    assert kept == [True]


def test_without_a_gpu_the_run_falls_back_to_the_cpu(make, monkeypatch):
    monkeypatch.setattr(th.cuda, "is_available", lambda: False)
    args = make(use_cuda=True).args
    assert (args.use_cuda, args.device) == (False, "cpu")


@pytest.mark.parametrize("runner", ["episode", "parallel"])
def test_the_warehouse_trains(runner):
    experiment = build(load_config("qmix", "warehouse", [*TINY_WAREHOUSE, f"runner={runner}", "t_max=20"]))
    try:
        before = trained(experiment)
        experiment.run()
        assert not equal(before, trained(experiment))
        assert "test_completed_orders_mean" in experiment.logger.stats
    finally:
        experiment.close()


# --- mistakes ---


def test_a_batch_larger_than_the_buffer_is_refused(make):
    with pytest.raises(UserError, match="^batch_size: expected at most buffer_size=4 episodes, got 5: "):
        make(batch_size=5, buffer_size=4)


@pytest.mark.parametrize("kind", ["runner", "mac", "learner", "mixer", "agent", "action_selector"])
def test_an_unknown_part_is_named(make, kind):
    with pytest.raises(UserError, match="unknown .*'nonsense'.*registered are"):
        make(**{kind: "nonsense"})


def test_a_mistake_leaves_nothing_behind(make, tmp_path):
    with pytest.raises(UserError):
        make(**parallel(2), mixer="nonsense", save_model=True)
    assert multiprocessing.active_children() == []
    assert list(tmp_path.iterdir()) == []


def test_a_buffer_that_does_not_fit_is_refused_before_anything_is_built(make, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**6))
    monkeypatch.setitem(LEARNERS, "unreachable", lambda *_: pytest.fail("built"))
    with pytest.raises(UserError, match=r"^buffer_size=5000 needs .* GiB .* lower buffer_size to \d+ or less$"):
        make(buffer_size=5000, learner="unreachable")


def test_evaluating_needs_no_memory_for_a_buffer(make, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**6))
    assert isinstance(make(buffer_size=5000, evaluate=True), Experiment)


# --- parts that do not go together ---


@pytest.mark.parametrize(
    ("alg", "updates", "message"),
    [
        ("vdn", ["mixer=qmix"], "mixing_embed_dim: missing"),
        ("vdn", ["mixer=qtran_base"], "mixer: qtran_base needs learner=qtran_learner, got q_learner"),
        ("vdn", ["mixer=vast_mixer"], "mixer: vast_mixer needs learner=vast_learner, got q_learner"),
        ("vast_qmix", ["entropy_coef=0.01"], "entropy_coef: expected 0.0, got 0.01: no part of this run has it"),
        ("qtran", ["standardise_advantages=true"], "standardise_advantages: expected False, got True: no part of"),
        ("qtran", ["mixer=vdn"], "mixer: qtran_learner needs qtran_base, got vdn"),
        ("qtran", ["mixer=none"], "mixer: qtran_learner needs qtran_base, got None"),
        ("vast_qmix", ["mixer=vdn"], "mixer: vast_learner needs vast_mixer, got vdn"),
        ("vast_qmix", ["subteam_mixer=qtran_base"], "qtran_arch: missing: a part of this run reads it"),
        ("qmix", ["action_selector=multinomial"], "action_selector: multinomial samples from policies"),
        ("qmix", ["agent_output_type=v"], "agent_output_type: expected q or pi_logits, got 'v'"),
        ("qmix", ["hypernet_layers=3"], "hypernet_layers: expected 1 or 2, got 3"),
        ("qmix", ["lr=0"], "lr: expected a number above 0, got 0"),
        ("qmix", ["rnn_hidden_dim=0"], "rnn_hidden_dim: expected an integer of at least 1, got 0"),
    ],
)
def test_parts_that_do_not_go_together_are_one_clear_line(alg, updates, message):
    with pytest.raises(UserError, match=message) as error:
        build(load_config(alg, "warehouse", updates))
    assert "\n" not in str(error.value)


def test_runs_that_start_in_the_same_second_have_tokens_of_their_own(make, monkeypatch):
    class Frozen(datetime):
        @classmethod
        def now(cls):
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr("experiment.experiment.datetime", Frozen)
    tokens = []
    for _ in range(3):
        experiment = make(evaluate=True, test_nepisode=1)
        experiment.run()
        tokens.append(experiment.token)
    assert tokens[0].split("__")[1].startswith("2026-01-02_03-04-05") and len(set(tokens)) == 3
