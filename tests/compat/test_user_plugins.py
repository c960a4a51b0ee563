"""A PyMARL user's plug-ins (user_plugins.py) work by being registered, unedited."""

from __future__ import annotations

import shutil
from functools import partial

import pytest
import torch as th
import user_plugins as plugins

import components.action_selectors
import controllers
import envs
import learners
import modules.agents
import modules.mixers
from components.episode_buffer import concatenate
from components.unroll import unroll
from controllers.basic_controller import BasicMAC
from modules.agents.rnn_agent import RNNAgent
from run import build
from settings.load import CONFIG_DIR, load_config
from utils.errors import UserError

EPISODE = 5  # steps
FAST = (
    *(f"env_args.episode_limit={EPISODE}", "batch_size=2", "buffer_size=3", "test_nepisode=1", "test_interval=1000"),
    *("rnn_hidden_dim=8", "n_threads=1", "use_cuda=false", "seed=3"),
)
VAST = ("vast_vdn", "vast_qmix", "vast_qtran", "vast_il")

ENV_YAML = """
env: {name}
env_args:
  n_agents: 4
  seed: null
gamma: 0.9
buffer_size: 50
"""
ALG_YAML = """
# A user's algorithm: her own parts, and settings of them that the framework has never heard of.
name: lever_puller
learner: lambda_learner
mac: clock_mac
agent: flat_hidden
action_selector: softmax
td_lambda: 0.8
softmax_temperature: 0.3
weighted_sum_units: 12
lever_schedule: [1, 2, 4]
"""


@pytest.fixture
def config_dir(tmp_path, monkeypatch):
    """The user's repository: her files beside the shipped ones, her parts registered until the test ends."""
    folder = tmp_path / "config"
    shutil.copytree(CONFIG_DIR, folder)
    (folder / "algs" / "lever_puller.yaml").write_text(ALG_YAML)
    for alg in ("vdn", *VAST):  # her versions of shipped algorithms, which declare her keys
        shipped = (folder / "algs" / f"{alg}.yaml").read_text()
        (folder / "algs" / f"her_{alg}.yaml").write_text(shipped + "softmax_temperature: 0.3\nweighted_sum_units: 12\n")
    for name in ("lever", "kwargs_lever"):
        (folder / "envs" / f"{name}.yaml").write_text(ENV_YAML.format(name=name))
    for registry, name, entry in (
        (envs.REGISTRY, "lever", partial(envs.env_fn, env=plugins.LeverEnv)),
        (envs.REGISTRY, "kwargs_lever", partial(envs.env_fn, env=plugins.KwargsLeverEnv)),
        (modules.agents.REGISTRY, "flat_hidden", plugins.FlatHiddenAgent),
        (modules.agents.REGISTRY, "grouped_hidden", plugins.GroupedHiddenAgent),
        (modules.mixers.REGISTRY, "weighted_sum", plugins.WeightedSumMixer),
        (learners.REGISTRY, "lambda_learner", plugins.LambdaLearner),
        (components.action_selectors.REGISTRY, "softmax", plugins.SoftmaxSelector),
        (controllers.REGISTRY, "clock_mac", plugins.ClockMAC),
    ):
        monkeypatch.setitem(registry, name, entry)
    return folder


@pytest.fixture
def assemble(config_dir, tmp_path):
    """Builds a run from names and `with` settings, and closes it when the test ends."""
    built = []

    def assemble(alg, env="lever", *updates):
        updates = (*FAST, f"local_results_path={tmp_path}/results", *updates)
        built.append(build(load_config(alg, env, updates, config_dir=config_dir)))
        return built[-1]

    yield assemble
    for experiment in built:
        experiment.close()


def parameters(experiment):
    mixer = getattr(experiment.learner, "mixer", None)
    return [*experiment.mac.parameters(), *(mixer.parameters() if mixer is not None else ())]


def logged_loss(experiment):
    ((_, loss),) = experiment.logger.stats["loss"]
    return loss


def assert_trains(experiment, updates=2):
    """Runs until ``updates`` updates are made: every one is finite, and together they change agents and mixer."""
    calls, learner_train = [], experiment.learner.train

    def train(batch, t_env, episode_num):
        calls.append(episode_num)
        learner_train(batch, t_env, episode_num)

    experiment.learner.train = train
    rollouts = updates + 1  # batch_size is two episodes, so the first one only fills the buffer
    if experiment.runner.batch_size > 1:
        rollouts = updates
    experiment.args.t_max = (rollouts - 1) * experiment.runner.batch_size * EPISODE
    before = [parameter.detach().clone() for parameter in parameters(experiment)]
    experiment.run()
    assert len(calls) == updates
    after = parameters(experiment)
    assert all(th.isfinite(parameter).all() for parameter in after)
    assert any(not th.equal(old, new) for old, new in zip(before, after, strict=True))


# --- each kind of plug-in ---


@pytest.mark.parametrize("alg", ["iql", "vdn", "qmix", "qtran", "qtran_values", *VAST])
@pytest.mark.parametrize("env", ["lever", "kwargs_lever"])
def test_environment(assemble, env, alg):
    experiment = assemble(alg, env)
    assert_trains(experiment)
    stats = experiment.logger.stats
    assert {"return_mean", "test_return_mean", "all_pulled_mean", "test_all_pulled_mean"} <= set(stats)
    assert stats["ep_length_mean"][-1][1] == EPISODE


def test_environment_in_worker_processes(assemble):
    assert_trains(assemble("vast_qmix", "lever", "runner=parallel", "batch_size_run=2"))


def test_environment_arguments_are_checked_against_the_constructor_unless_it_takes_any(assemble):
    assert assemble("vdn", "lever", "env_args.noise=0.5").runner.env.noise == 0.5
    with pytest.raises(UserError, match=r"env_args\.nois: unknown key .*'env_args\.noise'"):
        assemble("vdn", "lever", "env_args.nois=0.5")
    assemble("vdn", "kwargs_lever", "env_args.nois=0.5")


def test_time_limit_of_an_environment_bootstraps(assemble):
    batch = assemble("vdn").runner.run()
    assert batch["terminated"].sum() == 0 and batch["filled"].sum() == EPISODE + 1


@pytest.mark.parametrize("agent", ["flat_hidden", "grouped_hidden"])
@pytest.mark.parametrize("alg", ["iql", "qmix", "qtran", "vast_qtran"])
def test_agent(assemble, agent, alg):
    experiment = assemble(alg, "lever", f"agent={agent}")
    assert type(experiment.mac.agent).__module__ == plugins.__name__
    assert_trains(experiment)


def test_agents_with_either_form_of_memory_give_the_same_values_and_memories(assemble):
    flat, grouped = (assemble("qtran", "lever", f"agent={agent}") for agent in ("flat_hidden", "grouped_hidden"))
    grouped.mac.load_state(flat.mac)
    episodes = [flat.runner.run() for _ in range(3)]
    batch = concatenate(episodes)
    q, hidden = unroll(grouped.mac, batch)
    for expected, got in zip(unroll(flat.mac, batch), (q, hidden), strict=True):
        th.testing.assert_close(got, expected)
    for i, episode in enumerate(episodes):  # nothing moves between episodes, steps and agents
        alone_q, alone_hidden = unroll(grouped.mac, episode)
        th.testing.assert_close(q[i : i + 1], alone_q)
        th.testing.assert_close(hidden[i : i + 1], alone_hidden)


def test_mixer(assemble):
    experiment = assemble("her_vdn", "lever", "mixer=weighted_sum")
    assert type(experiment.learner.mixer) is plugins.WeightedSumMixer
    assert_trains(experiment)


@pytest.mark.parametrize("assigner", ["random", "fixed", "metagrad"])
@pytest.mark.parametrize("eta, n_subteams", [("1/4", 1), ("1/2", 2), ("1", 4)])
def test_mixer_inside_vast(assemble, assigner, eta, n_subteams):
    updates = ("subteam_mixer=weighted_sum", f"assigner={assigner}", f"eta={eta}")
    experiment = assemble("her_vast_vdn", "lever", *updates)
    psi = experiment.learner.mixer.psi
    assert type(psi) is plugins.WeightedSumMixer and psi.n_agents == n_subteams
    assert experiment.args.n_agents == 4
    assert_trains(experiment)


def test_mixer_inside_vast_is_given_the_sums_of_the_subteams(assemble):
    mixer = assemble("her_vast_vdn", "lever", "subteam_mixer=weighted_sum", "eta=1/2").learner.mixer
    agent_qs = th.tensor([[[1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, 8.0]]])
    subteams = th.tensor([[[1, 0, 1, 1], [0, 0, 0, 0]]])
    states = th.randn(1, 2, 12)
    expected = mixer.psi(th.tensor([[[2.0, 13.0], [15.0, 0.0]]]), states)
    th.testing.assert_close(mixer(agent_qs, states, subteams), expected)


def test_mixer_inside_vast_with_singleton_subteams_is_the_flat_mixer(assemble):
    flat = assemble("her_vdn", "lever", "mixer=weighted_sum")
    vast = assemble("her_vast_vdn", "lever", "subteam_mixer=weighted_sum", "eta=1", "assigner=fixed")
    vast.mac.load_state(flat.mac)
    vast.learner.mixer.psi.load_state_dict(flat.learner.mixer.state_dict())
    batch = concatenate([flat.runner.run() for _ in range(2)])
    for experiment in (flat, vast):
        experiment.learner.values.targets.sync()
        experiment.learner.train(batch, t_env=0, episode_num=2)
    assert logged_loss(vast) == pytest.approx(logged_loss(flat))
    for got, expected in zip(parameters(vast), parameters(flat), strict=True):
        th.testing.assert_close(got, expected)


def test_learner(assemble):
    experiment = assemble("vdn", "lever", "learner=lambda_learner", "target_update_interval=1")
    assert type(experiment.learner) is plugins.LambdaLearner and not hasattr(experiment.learner, "observe")
    assert_trains(experiment)
    assert experiment.logger.stats["loss"]


def test_learner_has_the_loss_of_the_same_algorithm_here(assemble):
    shared = ("td_lambda=0.8", "double_q=false", "agent=grouped_hidden", "mac=clock_mac")
    own, ours = (assemble("vdn", "lever", *shared, *more) for more in (("learner=lambda_learner",), ()))
    own.mac.load_state(ours.mac)
    for experiment in (own, ours):  # target networks that differ from the online ones
        for parameter in experiment.learner.target_mac.parameters():
            parameter.data = th.linspace(-0.3, 0.3, parameter.numel()).view_as(parameter)
    batch = concatenate([ours.runner.run() for _ in range(2)])
    for experiment in (own, ours):
        experiment.learner.train(batch, t_env=0, episode_num=0)
    assert logged_loss(own) == pytest.approx(logged_loss(ours))


def test_learner_saves_and_loads_its_own_files(assemble, tmp_path):
    first = assemble("vdn", "lever", "learner=lambda_learner", "save_model=true")
    assert_trains(first)
    (token,) = (tmp_path / "results" / "models").iterdir()
    second = assemble("vdn", "lever", "learner=lambda_learner", "evaluate=true", f"checkpoint_path={token}", "seed=4")
    assert second.runner.t_env == first.runner.t_env
    for got, expected in zip(second.mac.parameters(), first.mac.parameters(), strict=True):
        assert th.equal(got, expected)
    second.run()
    assert second.logger.stats["test_return_mean"]


@pytest.mark.parametrize("alg", ["vdn", *VAST])
def test_action_selector_without_epsilon(assemble, alg):
    experiment = assemble(f"her_{alg}", "lever", "action_selector=softmax", "epsilon_anneal_time=20")
    assert_trains(experiment)
    assert "epsilon" not in experiment.logger.stats
    assert experiment.mac.action_selector.temperature < 1


@pytest.mark.parametrize("alg", ["iql", "qmix", "qtran", "vast_qtran"])
def test_controller(assemble, alg):
    experiment = assemble(alg, "lever", "mac=clock_mac")
    assert_trains(experiment)
    inputs = experiment.mac._build_inputs(experiment.runner.run(), 3)
    assert inputs.shape == (4, 3 + 3 + 4 + 1) and (inputs[:, -1] == 3 / EPISODE).all()


class LoudMAC(BasicMAC):
    """Inputs of the usual size, other values."""

    def _build_inputs(self, batch, t):
        return 2 * super()._build_inputs(batch, t)


class QuietAgent(RNNAgent):
    """Outputs of the usual size, other values."""

    def forward(self, inputs, hidden_state):
        q, hidden = super().forward(inputs, hidden_state)
        return 0.5 * q, hidden


@pytest.mark.parametrize("updates", [("mac=loud",), ("agent=quiet",), ("mac=loud", "agent=quiet"), ()])
def test_learners_see_what_rollouts_see(assemble, monkeypatch, updates):
    monkeypatch.setitem(controllers.REGISTRY, "loud", LoudMAC)
    monkeypatch.setitem(modules.agents.REGISTRY, "quiet", QuietAgent)
    experiment = assemble("qmix", "lever", *updates)
    mac, batch = experiment.mac, experiment.runner.run()
    mac.init_hidden(1)
    stepped = th.stack([mac.forward(batch, t=t) for t in range(batch.max_seq_length)], dim=1)
    th.testing.assert_close(unroll(mac, batch)[0], stepped)
    th.testing.assert_close(experiment.learner.values.of(batch).q, stepped)


# --- all together, by the user's YAML ---


def test_algorithm_yaml_with_new_keys(assemble, config_dir, caplog):
    caplog.set_level("INFO")
    experiment = assemble("lever_puller")
    assert [record.getMessage() for record in caplog.records if "new key" in record.getMessage()] == [
        f"{config_dir}/algs/lever_puller.yaml: new key '{key}'"
        for key in ("softmax_temperature", "weighted_sum_units", "lever_schedule")
    ]
    args = experiment.args
    assert (args.softmax_temperature, args.weighted_sum_units, args.lever_schedule) == (0.3, 12, [1, 2, 4])
    assert args.gamma == 0.9 and args.td_lambda == 0.8 and args.name == "lever_puller"
    assert type(experiment.learner) is plugins.LambdaLearner and type(experiment.mac) is plugins.ClockMAC
    assert_trains(experiment)


def test_new_keys_can_be_overridden_with_their_type(assemble):
    with pytest.raises(UserError, match="softmax_temperature: unknown key"):  # only a YAML can declare one
        assemble("vdn", "lever", "softmax_temperature=1/2")
    assert assemble("lever_puller", "lever", "softmax_temperature=1/2").args.softmax_temperature == 0.5
    with pytest.raises(UserError, match="softmax_temperature: expected a number, got 'warm'"):
        assemble("lever_puller", "lever", "softmax_temperature=warm")


def test_nothing_stays_registered():
    registries = (envs, modules.agents, modules.mixers, learners, components.action_selectors, controllers)
    entries = [entry for module in registries for entry in module.REGISTRY.values()]
    entries = [getattr(entry, "keywords", {}).get("env", entry) for entry in entries]
    assert all(entry.__module__ not in (plugins.__name__, __name__) for entry in entries)
