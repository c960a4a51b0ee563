"""Every registered environment: the contract, its YAML, and PyMARL's way of calling it."""

import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import envs
from components.replay_buffer import buffer_bytes
from envs import REGISTRY
from envs.checker import check_env
from envs.warehouse import Warehouse
from run import episode_scheme
from settings.load import CONFIG_DIR, available, load_config
from utils.errors import UserError

CONFIGS = Path(envs.__file__).parents[1] / "config" / "envs"


def config(name):
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_environment_has_a_yaml_of_its_name(name):
    assert config(name)["env"] == name


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_environment_keeps_the_contract(name):
    if name == "sc2" and find_spec("smac") is None:
        pytest.skip("smac is not installed")
    assert check_env(partial(REGISTRY[name], **config(name)["env_args"])) == []


def test_an_environment_is_built_as_in_pymarl():
    env = REGISTRY["warehouse"](**config("warehouse")["env_args"])
    assert isinstance(env, Warehouse)
    assert REGISTRY["warehouse"].keywords == {"env": Warehouse}


def test_warehouse_defaults_are_those_of_the_paper():
    assert config("warehouse") == {
        "env": "warehouse",
        "env_args": {
            "n_agents": 4,
            "episode_limit": 50,
            "continuing_episode": False,
            "time_penalty_on_completion": True,
            "layout": None,
            "seed": None,
            "render": None,
        },
        "gamma": 0.95,
        "t_max": 1500000,
        "test_interval": 2000,
        "test_nepisode": 20,
        "log_interval": 2000,
        "runner_log_interval": 2000,
        "learner_log_interval": 2000,
        "buffer_size": 5000,
    }


def test_battle_defaults_are_those_of_the_paper():
    assert config("battle") == {
        "env": "battle",
        "env_args": {
            "n_agents": 20,
            "episode_limit": 100,
            "continuing_episode": False,
            "recovery": 0.01,
            "layout": None,
            "seed": None,
            "render": None,
        },
        "gamma": 0.99,
        "t_max": 2000000,
        "test_interval": 10000,
        "test_nepisode": 20,
        "log_interval": 10000,
        "runner_log_interval": 10000,
        "learner_log_interval": 10000,
        "buffer_size": 500,
    }


def test_gaussian_squeeze_defaults_are_those_of_the_paper():
    assert config("gaussian_squeeze") == {
        "env": "gaussian_squeeze",
        "env_args": {"n_agents": 200},
        "gamma": 1.0,
        "t_max": 100000,
        "test_interval": 200,
        "test_nepisode": 20,
        "log_interval": 1000,
        "runner_log_interval": 200,
        "learner_log_interval": 200,
        "buffer_size": 5000,
    }


@pytest.mark.parametrize("alg", available(CONFIG_DIR, "algs"))
@pytest.mark.parametrize(("name", "sizes"), [("battle", (20, 40, 80)), ("gaussian_squeeze", (200, 400, 800))])
def test_the_papers_sizes_fit_into_memory(name, sizes, alg):
    """The replay buffer of each default configuration takes at most half of 8 GB; training takes up to 2.5 GB more."""
    for n_agents in sizes:
        settings = load_config(alg, name, [f"env_args.n_agents={n_agents}", "seed=1"])
        env = REGISTRY[name](**settings["env_args"])
        scheme, groups, preprocess = episode_scheme(env.get_env_info())
        size = buffer_bytes(scheme, groups, settings["buffer_size"], env.episode_limit + 1, preprocess)
        assert size <= 4e9


def test_sc2_without_smac_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(envs, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^env 'sc2' needs .*pip install git\+https://github.com/oxwhirl/smac.git$"):
        REGISTRY["sc2"](**config("sc2")["env_args"])


def test_sc2_builds_smacs_environment_with_the_yamls_arguments(monkeypatch):
    smac_env = ModuleType("smac.env")
    smac_env.StarCraft2Env = lambda **kwargs: ("StarCraft2Env", kwargs)
    monkeypatch.setattr(envs, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "smac.env", smac_env)
    arguments = config("sc2")["env_args"]
    assert REGISTRY["sc2"](**arguments) == ("StarCraft2Env", arguments)
