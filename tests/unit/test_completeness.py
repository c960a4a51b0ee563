"""Everything that is shipped runs, and everything that is registered is configured, described and tested."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch as th
import yaml
from helpers import make_args

from assigners import REGISTRY as assigner_REGISTRY
from components.action_selectors import REGISTRY as action_REGISTRY
from controllers import REGISTRY as mac_REGISTRY
from learners import REGISTRY as learner_REGISTRY
from learners.objectives import NATURAL
from learners.objectives import REGISTRY as objective_REGISTRY
from learners.objectives.base import form_of
from modules.agents import REGISTRY as agent_REGISTRY
from modules.critics import REGISTRY as critic_REGISTRY
from modules.mixers import REGISTRY as mixer_REGISTRY
from run import build
from runners import REGISTRY as runner_REGISTRY
from settings.load import CONFIG_DIR, available, load_config

PROJECT = Path(__file__).resolve().parents[2]
ALGS = available(CONFIG_DIR, "algs")
ENVS = available(CONFIG_DIR, "envs")
ALGORITHM_PAGES = {page.name: page.read_text() for page in (PROJECT / "docs" / "algorithms").glob("*.md")}
SUBTEAM_ALGS = [alg for alg in ALGS if "eta" in load_config(alg, "warehouse", ["seed=1"])]
REGISTRIES = {
    "assigner": assigner_REGISTRY,
    "action_selector": action_REGISTRY,
    "mac": mac_REGISTRY,
    "learner": learner_REGISTRY,
    "objective": objective_REGISTRY,
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
    assert statistics_of(stats) <= STATISTICS
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


@pytest.mark.parametrize("agent", agent_REGISTRY)
@pytest.mark.parametrize("alg", ["qmix", "vast_qtran_ac"])
def test_both_regimes_make_two_updates_with_each_agent(alg, agent):
    assert_two_updates(alg, f"agent={agent}", *RUNNERS["vector"])


@pytest.mark.parametrize("alg", SUBTEAM_ALGS)
def test_each_subteam_algorithm_makes_two_updates_with_clusters_in_battle(alg):
    assert_two_updates(alg, "assigner=spatial", *RUNNERS["vector"], domain=("battle", 20))


def test_the_shipped_algorithms_are_there():
    assert {*ALGS} >= {"iql", "vdn", "qmix", "qtran", "qtran_values", *SUBTEAM_ALGS}
    assert {*SUBTEAM_ALGS} >= {"vast_il", "vast_vdn", "vast_qmix", "vast_qtran"}


@pytest.mark.parametrize("env", ["warehouse", "battle", "gaussian_squeeze"])
def test_no_algorithm_sets_what_domains_set(env):
    domain = yaml.safe_load((CONFIG_DIR / "envs" / f"{env}.yaml").read_text())
    for alg in ALGS:
        config = load_config(alg, env, ["seed=1"])
        for key in ("gamma", "t_max", "test_interval", "test_nepisode"):
            assert config[key] == domain[key], (alg, key)
        on_policy = config["agent_output_type"] == "pi_logits"
        assert (config["buffer_size"] == config["batch_size"] != domain["buffer_size"]) == on_policy, alg


@pytest.mark.parametrize("on_policy", [False, True])
def test_the_subteam_algorithms_differ_in_psi_only(on_policy):
    algs = [f"vast_{psi}{'_ac' if on_policy else ''}" for psi in ("il", "vdn", "qmix", "qtran")]
    configs = [load_config(alg, "warehouse", ["seed=1"]) for alg in algs]
    own = ("name", "subteam_mixer", "mixing_embed_dim")
    shared = [{key: value for key, value in config.items() if key not in own} for config in configs]
    assert all(config == shared[0] for config in shared)


# --- names: each is run by a test above, and described on a page ---

KEYS = {  # by which a configuration names the parts of a kind
    "assigner": ("assigner",),
    "action_selector": ("action_selector",),
    "mac": ("mac",),
    "learner": ("learner",),
    "objective": ("objective",),
    "agent": ("agent",),
    "critic": ("critic_q_fn",),
    "mixer": ("mixer", "subteam_mixer"),
    "runner": ("runner",),
}


def shipped(registry):
    """The entries that are part of the project and the files that define them; tests register more."""
    files = {name: Path(sys.modules[entry.__module__].__file__) for name, entry in registry.items()}
    return {name: path for name, path in files.items() if path.is_relative_to(PROJECT / "src")}


NAMES = {(kind, name): path for kind, registry in REGISTRIES.items() for name, path in shipped(registry).items()}


def test_each_registered_name_is_run_by_a_test_of_this_file():
    configs = [load_config(alg, "warehouse", ["seed=1"]) for alg in ALGS]
    run = {(kind, config.get(key)) for kind, keys in KEYS.items() for key in keys for config in configs}
    run |= {("runner", name) for name in RUNNERS}
    # Over the registries of these two a test above is parametrised.
    run |= {(kind, name) for kind in ("assigner", "agent") for name in REGISTRIES[kind]}
    # Where a configuration names no objective, its mixer brings one along.
    for alg in ("qmix", "qtran_values", "qtran"):
        args = make_args(alg)
        run.add(("objective", NATURAL[form_of(mixer_REGISTRY[args.mixer](args), args)]))
    assert not NAMES.keys() - run


# --- the documentation ---


def tables(text):
    """The tables of a page, each a list of rows, the heads first; a row is a list of cells."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"(?:^\|.*\|\n)+", prose, flags=re.MULTILINE)
    rows = [[[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()] for table in found]
    return [[table[0], *table[2:]] for table in rows]


def quoted(cell):
    """What a cell has in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def listed_configs(page):
    """The configurations in the rows "configs" of a page, of which an algorithm's page has one, in its first table."""
    rows = [row for table in tables(ALGORITHM_PAGES[page]) for row in table]
    return [name for row in rows if row[0] == "configs" for name in quoted(row[1])]


def test_each_configuration_is_on_exactly_one_page():
    listed = [name for page in ALGORITHM_PAGES for name in listed_configs(page)]
    assert sorted(listed) == sorted(ALGS)


def test_the_index_has_each_page_of_an_algorithm_with_its_configurations():
    index = tables(ALGORITHM_PAGES["README.md"])[0]
    assert index[0] == ["algorithm", "regimes", "paper", "page", "configs"]
    shown = {re.search(r"\((.+\.md)\)", page)[1]: quoted(configs) for *_, page, configs in index[1:]}
    assert shown == {page: listed_configs(page) for page in ALGORITHM_PAGES if listed_configs(page)}


def test_each_registered_name_has_one_row_in_the_table_of_parts_with_its_file():
    (parts,) = [rows for rows in tables(ALGORITHM_PAGES["README.md"]) if rows[0] == ["key", "name", "file", "page"]]
    described = [(*quoted(key), *quoted(name), *quoted(file)) for key, name, file, _ in parts[1:]]
    assert sorted(described) == sorted(
        (KEYS[kind][0], name, str(path.relative_to(PROJECT))) for (kind, name), path in NAMES.items()
    )


def value_of(config, key):
    """The value behind ``key``, which may lead into env_args by dots; ABSENT if the configuration has no such key."""
    for part in key.split("."):
        config = config.get(part, ABSENT)
    return config


def shown_defaults():
    """Each cell that tells the value of a key: (configuration, key, cell), from tables headed by configurations."""
    for text in (*ALGORITHM_PAGES.values(), (PROJECT / "docs" / "domains.md").read_text()):
        for heads, *rows in tables(text):
            if heads[0] == "key":
                configs = {
                    i: name for i, head in enumerate(heads) for name in quoted(head) or [head] if name in CONFIGS
                }
                yield from ((configs[i], quoted(row[0])[0], row[i]) for row in rows for i in configs)


ABSENT = "-"
CONFIGS = {"default", *ALGS, *ENVS}


def test_the_tables_of_keys_tell_the_defaults():
    configs = {"default": yaml.safe_load((CONFIG_DIR / "default.yaml").read_text())}
    configs |= {alg: load_config(alg, "warehouse", ["seed=1"]) for alg in ALGS}
    configs |= {env: load_config("qmix", env, ["seed=1"]) for env in ENVS}
    shown = [*shown_defaults()]
    assert len(shown) > 200
    for name, key, cell in shown:
        value = value_of(configs[name], key)
        assert (cell if cell == ABSENT else yaml.safe_load(cell)) == value, (name, key, cell, value)


def statistics_of(stats):
    """The names of statistics, those of tests and of the absolute score as those of training."""
    return {re.sub("^(test|absolute)_", "", key) for key in stats}


STATISTICS = {
    name
    for heads, *rows in tables(ALGORITHM_PAGES["statistics.md"])
    for key, *_ in rows
    for name in quoted(key)
    if heads[0] == "key"
}

# Together these log everything; a new algorithm with statistics of its own joins them.
TEN_EPISODES = ("batch_size=10", "buffer_size=10", "episodes_per_update=10", "runner=vector", "batch_size_run=10")
LOGGING = [
    ("vast_qtran_ac", ("warehouse", 8), TEN_EPISODES),
    ("coma", ("battle", 20), RUNNERS["vector"]),
    ("cw_qmix", ("warehouse", 8), RUNNERS["vector"]),
    ("vast_qmix", ("gaussian_squeeze", 200), RUNNERS["vector"]),
]


def test_the_statistics_that_are_described_are_logged_and_no_others():
    logged = set()
    for alg, domain, updates in LOGGING:
        experiment = build(small_config(alg, domain, updates))
        try:
            experiment.run()
        finally:
            experiment.close()
        logged |= statistics_of(experiment.logger.stats)
    assert logged == STATISTICS
