"""Everything that is shipped runs, and everything that is registered is configured, described and tested."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch as th

from assigners import REGISTRY as assigner_REGISTRY
from components.action_selectors import REGISTRY as action_REGISTRY
from controllers import REGISTRY as mac_REGISTRY
from learners import REGISTRY as learner_REGISTRY
from modules.agents import REGISTRY as agent_REGISTRY
from modules.critics import REGISTRY as critic_REGISTRY
from modules.mixers import REGISTRY as mixer_REGISTRY
from run import build
from runners import REGISTRY as runner_REGISTRY
from settings.load import CONFIG_DIR, available, load_config
from settings.sources import file_layers

PROJECT = Path(__file__).resolve().parents[2]
ALGS = available(CONFIG_DIR, "algs")
ALG_KEYS = {
    alg: {key for layer in file_layers(CONFIG_DIR / "algs" / f"{alg}.yaml") for key in layer.values} for alg in ALGS
}
SUBTEAM_ALGS = [alg for alg in ALGS if "eta" in ALG_KEYS[alg]]
REGISTRIES = {
    "assigner": assigner_REGISTRY,
    "action_selector": action_REGISTRY,
    "mac": mac_REGISTRY,
    "learner": learner_REGISTRY,
    "agent": agent_REGISTRY,
    "critic": critic_REGISTRY,
    "mixer": mixer_REGISTRY,
    "runner": runner_REGISTRY,
}
DOMAINS = [
    *(("warehouse", n_agents) for n_agents in (4, 8, 16)),
    *(("battle", n_agents) for n_agents in (20, 40, 80)),
    *(("gaussian_squeeze", n_agents) for n_agents in (200, 400, 800)),
]
QUICK_DOMAINS = [("warehouse", 4), ("warehouse", 8), ("battle", 20), ("gaussian_squeeze", 200)]
STEPS = 3  # of an episode, where the environment has a choice
EPISODES = 4  # of a run: two updates on two new episodes each, which suits policies (on-policy) and values alike
SMALL = (
    *("seed=1", "n_threads=1", "use_cuda=false", "test_nepisode=1", "learner_log_interval=1"),
    *("batch_size=2", "buffer_size=2", "episodes_per_update=2"),
)
RUNNERS = {
    "episode": ("runner=episode", "batch_size_run=1"),
    "vector": ("runner=vector", "batch_size_run=2"),
    "parallel": ("runner=parallel", "batch_size_run=2"),
}


def small_config(alg, domain, updates):
    """The settings of a run of ``EPISODES`` short training episodes in ``domain`` (environment and agents)."""
    env, n_agents = domain
    steps, settings = 1, [*SMALL, f"env_args.n_agents={n_agents}", *updates]
    if "episode_limit" in load_config(alg, env, ["seed=1"])["env_args"]:
        steps = STEPS
        settings.append(f"env_args.episode_limit={steps}")
    return load_config(alg, env, [*settings, f"t_max={EPISODES * steps - 1}"])


def trained_networks(experiment):
    """The networks that updates must change: what acts, mixer and critic if there are any, an assigner that learns."""
    learner = experiment.learner
    critic = getattr(learner, "critic", None)
    networks = [experiment.mac.agent, getattr(learner, "mixer", None), getattr(critic, "agent", critic)]
    assigner = getattr(learner, "assigner", None)
    if assigner is not None and assigner.n_subteams > 1:  # nothing to learn about a single sub-team
        networks.append(assigner)
    return [network for network in networks if network is not None and any(True for _ in network.parameters())]


def weights(networks):
    """All parameters of each network as one vector."""
    return [th.cat([parameter.detach().flatten() for parameter in network.parameters()]) for network in networks]


def assert_two_updates(alg, *updates, domain=("warehouse", 8)):
    """Runs ``alg`` until it has made two updates, of all networks that it trains."""
    experiment = build(small_config(alg, domain, updates))
    networks = trained_networks(experiment)
    made, train = [weights(networks)], experiment.learner.train

    def watched_train(*arguments):
        train(*arguments)
        made.append(weights(networks))

    experiment.learner.train = watched_train
    try:
        experiment.run()
    finally:
        experiment.close()
    assert len(made) == 1 + 2
    for earlier, later in pairwise(made):
        for one, other in zip(earlier, later, strict=True):
            assert not th.equal(one, other) and th.isfinite(other).all()
    stats = experiment.logger.stats
    losses = [values for key, values in stats.items() if key.endswith("loss")]
    assert losses and all(len(values) == 2 for values in losses)
    assert all(th.isfinite(th.tensor(value)) for values in stats.values() for _, value in values)
    return experiment


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("alg", ALGS)
def test_each_algorithm_makes_two_updates(alg, runner):
    assert_two_updates(alg, *RUNNERS[runner])


@pytest.mark.parametrize(
    ("env", "n_agents"),
    [pytest.param(*domain, marks=[] if domain in QUICK_DOMAINS else pytest.mark.slow) for domain in DOMAINS],
)
@pytest.mark.parametrize("alg", ALGS)
def test_each_algorithm_makes_two_updates_in_each_domain(alg, env, n_agents):
    experiment = assert_two_updates(alg, *RUNNERS["vector"], domain=(env, n_agents))
    assert experiment.args.env == env and experiment.args.n_agents == n_agents
    if alg in SUBTEAM_ALGS:
        assert experiment.learner.mixer.n_subteams == n_agents // 4


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("eta", "k"), [("1/8", 1), ("1/4", 2), ("1/2", 4), ("1", 8)])
@pytest.mark.parametrize("assigner", assigner_REGISTRY)
@pytest.mark.parametrize("alg", SUBTEAM_ALGS)
def test_each_subteam_algorithm_makes_two_updates_with_each_assigner_and_ratio(alg, assigner, eta, k, several):
    # Worker processes for PyMARL's regime, where they belong; the vector runner gives the same episodes sooner.
    runner = ("vector" if alg.endswith("_ac") else "parallel") if several else "episode"
    experiment = assert_two_updates(alg, f"assigner={assigner}", f"eta={eta}", *RUNNERS[runner])
    assert experiment.learner.mixer.n_subteams == experiment.learner.assigner.n_subteams == k
    assert isinstance(experiment.learner.assigner, assigner_REGISTRY[assigner])


@pytest.mark.parametrize("alg", SUBTEAM_ALGS)
def test_each_subteam_algorithm_makes_two_updates_with_clusters_in_battle(alg):
    assert_two_updates(alg, "assigner=spatial", *RUNNERS["vector"], domain=("battle", 20))


def test_the_shipped_algorithms_are_there():
    assert {*ALGS} >= {"iql", "vdn", "qmix", "qtran", "qtran_values", *SUBTEAM_ALGS}
    assert {*SUBTEAM_ALGS} >= {"vast_il", "vast_vdn", "vast_qmix", "vast_qtran"}


def test_no_algorithm_sets_what_domains_set():
    domain_keys = {"gamma", "t_max", "test_interval", "test_nepisode"}
    for alg in ALGS:
        assert not ALG_KEYS[alg] & domain_keys, alg
        on_policy = load_config(alg, "warehouse", ["seed=1"])["agent_output_type"] == "pi_logits"
        assert ("buffer_size" in ALG_KEYS[alg]) == on_policy, alg


@pytest.mark.parametrize("on_policy", [False, True])
def test_the_subteam_algorithms_differ_in_psi_only(on_policy):
    algs = [alg for alg in SUBTEAM_ALGS if alg.endswith("_ac") == on_policy]
    configs = [load_config(alg, "warehouse", ["seed=1"]) for alg in algs]
    own = ("name", "subteam_mixer", "mixing_embed_dim")
    shared = [{key: value for key, value in config.items() if key not in own} for config in configs]
    assert len(shared) >= 4 and all(config == shared[0] for config in shared)


# --- names ---


def shipped(registry):
    """Names of the entries that are part of the project; tests register more."""
    return [
        name
        for name, entry in registry.items()
        if Path(sys.modules[entry.__module__].__file__).is_relative_to(PROJECT / "src")
    ]


NAMES = [(kind, name) for kind, registry in REGISTRIES.items() for name in shipped(registry)]


def texts(folder, pattern):
    return "\n".join(path.read_text() for path in sorted((PROJECT / folder).rglob(pattern)) if path != Path(__file__))


def is_quoted(name, text):
    return re.search(rf"[`\"'=]{name}[`\"'\s]", text) is not None


def has_word(word, text):
    return re.search(rf"\b{word}\b", text) is not None


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_each_registered_name_is_in_the_documentation_or_a_config(kind, name):
    assert is_quoted(name, texts("docs", "algorithms.md")) or has_word(name, texts("src/config", "*.yaml"))


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_each_registered_name_is_in_a_test(kind, name):
    tests = texts("tests", "*.py")
    own_file = [*(PROJECT / "tests").rglob(f"test_{name}.py")]
    assert own_file or is_quoted(name, tests) or has_word(REGISTRIES[kind][name].__name__, tests)


@pytest.mark.parametrize(("kind", "name"), [pair for pair in NAMES if pair[0] in ("assigner", "mixer")])
def test_each_assigner_and_mixer_is_described(kind, name):
    assert is_quoted(name, texts("docs", "algorithms.md"))


@pytest.mark.parametrize("alg", ALGS)
def test_each_algorithm_is_described(alg):
    assert is_quoted(alg, texts("docs", "algorithms.md"))
