"""Everything that is shipped runs, and everything that is registered is configured, described and tested."""

from __future__ import annotations

import re
import sys
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
from utils.config import CONFIG_DIR, available, load_config

PROJECT = Path(__file__).resolve().parents[2]
ALGS = available(CONFIG_DIR, "algs")
SUBTEAM_ALGS = [alg for alg in ALGS if "eta:" in (CONFIG_DIR / "algs" / f"{alg}.yaml").read_text()]
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
STEPS = 3  # of an episode
SMALL = (
    *("env_args.n_agents=8", f"env_args.episode_limit={STEPS}", "seed=1", "n_threads=1", "use_cuda=false"),
    *("batch_size=2", "buffer_size=4", "test_nepisode=1", "learner_log_interval=1", "episodes_per_update=null"),
)
RUNNERS = {
    # Updates follow each rollout from the first that fills a batch of two episodes; t_max lets two of them happen.
    "episode": ("runner=episode", "batch_size_run=1", f"t_max={3 * STEPS - 1}"),
    "parallel": ("runner=parallel", "batch_size_run=2", f"t_max={4 * STEPS - 1}"),
}
# Policies learn from all episodes since the last update, and from no others.
ON_POLICY = ("buffer_size=2", "episodes_per_update=2", f"t_max={4 * STEPS - 1}")


def weights(*modules):
    """All parameters of each module as one vector; None for those without parameters."""
    vectors = []
    for module in modules:
        parameters = [] if module is None else [parameter.detach().flatten() for parameter in module.parameters()]
        vectors.append(th.cat(parameters) if parameters else None)
    return vectors


def assert_two_updates(alg, *updates):
    """Runs ``alg`` until it has made two updates, of all networks that it trains."""
    on_policy = load_config(alg, "warehouse")["agent_output_type"] == "pi_logits"
    experiment = build(load_config(alg, "warehouse", [*SMALL, *updates, *(ON_POLICY if on_policy else ())]))
    learner = experiment.learner
    parts = [experiment.mac.agent, *(getattr(learner, name, None) for name in ("mixer", "critic"))]
    assigner = getattr(learner, "assigner", None)
    if assigner is not None and assigner.n_subteams > 1:  # nothing to learn about a single sub-team
        parts.append(assigner)
    before, made, train = weights(*parts), [], learner.train

    def counting_train(*arguments):
        train(*arguments)
        made.append(weights(*parts))

    learner.train = counting_train
    try:
        experiment.run()
    finally:
        experiment.close()
    assert len(made) == 2
    for earlier, later in ((before, made[0]), (made[0], made[1])):
        for one, other in zip(earlier, later, strict=True):
            assert one is None or (not th.equal(one, other) and th.isfinite(other).all())
    stats = experiment.logger.stats
    assert len(stats.get("loss") or stats["critic_loss"]) == 2
    assert all(th.isfinite(th.tensor(value)) for values in stats.values() for _, value in values)
    return experiment


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("alg", ALGS)
def test_each_algorithm_makes_two_updates(alg, runner):
    assert_two_updates(alg, *RUNNERS[runner])


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(("eta", "k"), [("1/8", 1), ("1/4", 2), ("1/2", 4), ("1", 8)])
@pytest.mark.parametrize("assigner", assigner_REGISTRY)
@pytest.mark.parametrize("alg", SUBTEAM_ALGS)
def test_each_subteam_algorithm_makes_two_updates_with_each_assigner_and_ratio(alg, assigner, eta, k, runner):
    experiment = assert_two_updates(alg, f"assigner={assigner}", f"eta={eta}", *RUNNERS[runner])
    assert experiment.learner.mixer.n_subteams == experiment.learner.assigner.n_subteams == k
    assert isinstance(experiment.learner.assigner, assigner_REGISTRY[assigner])


def test_the_shipped_algorithms_are_there():
    assert {*ALGS} >= {"iql", "vdn", "qmix", "qtran", "qtran_values", *SUBTEAM_ALGS}
    assert {*SUBTEAM_ALGS} >= {"vast_il", "vast_vdn", "vast_qmix", "vast_qtran"}


def test_no_algorithm_sets_what_domains_set():
    domain_keys = {"gamma", "t_max", "test_interval", "test_nepisode"}
    for alg in ALGS:
        keys = set(re.findall(r"^(\w+):", (CONFIG_DIR / "algs" / f"{alg}.yaml").read_text(), re.MULTILINE))
        assert not keys & domain_keys, alg


def test_the_subteam_algorithms_differ_in_psi_only():
    configs = {alg: load_config(alg, "warehouse", ["seed=1"]) for alg in SUBTEAM_ALGS if not alg.endswith("_ac")}
    own = ("name", "subteam_mixer", "mixing_embed_dim")
    shared = [{key: value for key, value in config.items() if key not in own} for config in configs.values()]
    assert all(config == shared[0] for config in shared)


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
