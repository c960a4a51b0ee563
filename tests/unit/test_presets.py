"""The shipped presets: what they set, and that everything can be built with them."""

from __future__ import annotations

import pytest

from run import build
from settings.load import CONFIG_DIR, available, load_config

ALGS = available(CONFIG_DIR, "algs")
ENVS = ("warehouse", "battle", "gaussian_squeeze")  # those that need nothing beside the project
QTRAN = ("qtran_v", "qtran_end_to_end", "qtran_targets")
# What the released experiments change, for every run that has the key. Written down here once more, on purpose.
GENERAL = {
    **{"obs_last_action": False, "spatial_centroids": "all", "agent": "ff", "assigner_grad_norm_clip": 1e9},
    "policy_grad_norm_clip": 1e9,
    **{"qtran_v": "values", "qtran_end_to_end": False, "qtran_targets": "sum"},
}


def changes(alg, env):
    """Keys that ``preset=released`` changes and what they become; those of env_args are dotted."""
    plain, preset = (load_config(alg, env, ["seed=1", *updates]) for updates in ([], ["preset=released"]))
    assert plain.keys() == preset.keys()
    flat = [
        {**config, **{f"env_args.{key}": value for key, value in config["env_args"].items()}}
        for config in (plain, preset)
    ]
    skipped = ("env_args", "preset")
    return {key: value for key, value in flat[1].items() if key not in skipped and value != flat[0].get(key, "missing")}


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("alg", ALGS)
def test_released_sets_the_keys_of_the_released_experiments(alg, env):
    plain = load_config(alg, env)
    expected = {key: value for key, value in GENERAL.items() if key in plain and plain[key] != value}
    if env != "gaussian_squeeze":  # whose agents have nothing but their id
        expected["obs_agent_id"] = False
    if env == "battle":
        expected["env_args.recovery"] = 0.1
    if env == "warehouse":
        expected["env_args.time_penalty_on_completion"] = False
    if alg == "il_ac":
        expected["critic_output"] = "v"
    assert changes(alg, env) == expected


@pytest.mark.parametrize("alg", ["qtran_values", "qtran_ac", "vast_qtran", "vast_qtran_ac"])
def test_the_paper_s_qtran_has_the_keys_of_its_released_form(alg):
    config = load_config(alg, "warehouse", ["preset=released"])
    assert {key: config[key] for key in QTRAN} == {key: GENERAL[key] for key in QTRAN}


def test_the_command_line_wins_over_released():
    updates = ("preset=released", "env_args.recovery=0.5", "obs_agent_id=true", "critic_output=q")
    config = load_config("il_ac", "battle", updates)
    assert (config["env_args"]["recovery"], config["obs_agent_id"], config["critic_output"]) == (0.5, True, "q")


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("alg", ALGS)
def test_everything_can_be_built_with_released(alg, env):
    updates = ("preset=released", "env_args.n_agents=8", "evaluate=true", "use_cuda=false", "n_threads=1", "seed=1")
    experiment = build(load_config(alg, env, updates))
    try:
        assert experiment.args.preset == "released"
        assert not experiment.args.obs_last_action
    finally:
        experiment.close()
