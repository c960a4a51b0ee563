"""The configuration: precedence, types, unknown keys, and the seed."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import envs
from settings.load import CONFIG_DIR, available, load_config, load_saved_config, results_path, to_namespace
from settings.sources import file_layers, leaves
from utils.errors import UserError

DEFAULT = """
env: null
env_args: {}
name: "run"
agent: "rnn"
preset: null
seed: null
mixer: null
t_max: 1000
lr: 0.5
use_cuda: true
layers: [64, 64]
gamma: 0.99
batch: null
shift: 0.5
count: 1000
local_results_path: "results"
"""
TOY_ENV = """
env: "toy"
env_args:
  n_agents: 4
  seed: null
gamma: 0.9
t_max: 2000
"""


class Toy:
    """An environment's constructor, as far as the configuration looks at it."""

    def __init__(self, n_agents: int = 2, noise: float = 0.5, seed: int | None = None, wind: Any = None) -> None:
        pass


class Silent:
    def __init__(self, n_agents: int = 2) -> None:
        pass


class Open:
    def __init__(self, n_agents: int = 2, **kwargs: Any) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small config folder: default.yaml, envs/toy.yaml and algs/mine.yaml; three toy environments are registered."""
    for sub in ("algs", "envs", "presets"):
        (tmp_path / sub).mkdir()
    (tmp_path / "default.yaml").write_text(DEFAULT)
    (tmp_path / "envs" / "toy.yaml").write_text(TOY_ENV)
    (tmp_path / "algs" / "mine.yaml").write_text("")
    for name, constructor in {"toy": Toy, "silent": Silent, "open": Open}.items():
        monkeypatch.setitem(envs.REGISTRY, name, partial(envs.env_fn, env=constructor))
    return tmp_path


def load(
    folder: Path, *updates: str, alg: str | None = None, default: str = "", env: str = "", preset: str | None = None
) -> dict[str, Any]:
    """The configuration of algs/mine.yaml with the text ``alg``, after ``default`` and ``env`` are added to theirs.

    ``preset`` is the text of presets/old.yaml, which is chosen then.
    """
    (folder / "default.yaml").write_text(DEFAULT + default)
    (folder / "envs" / "toy.yaml").write_text(TOY_ENV + env)
    if alg is not None:
        (folder / "algs" / "mine.yaml").write_text(alg)
    if preset is not None:
        (folder / "presets" / "old.yaml").write_text(preset)
        updates = (*updates, "preset=old")
    return load_config("mine", "toy", updates, config_dir=folder)


def fails(folder: Path, *updates: str, **files: str) -> str:
    """The one line of the UserError."""
    with pytest.raises(UserError) as caught:
        load(folder, *updates, **files)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- precedence ---


def test_each_layer_overrides_those_below(folder: Path) -> None:
    lines = ["a: 0", "b: 0", "c: 0", "d: 0"]
    config = load(
        folder, "d=3", default="\n".join(lines), env="\nb: 1\nc: 1\nd: 1", alg="c: 2\nd: 2\nenv_args: {n_agents: 7}"
    )
    assert [config[key] for key in "abcd"] == [0, 1, 2, 3]
    assert config["env_args"]["n_agents"] == 7
    assert load(folder, "env_args.n_agents=9")["env_args"]["n_agents"] == 9


def test_the_last_update_of_a_key_wins(folder: Path) -> None:
    assert load(folder, "t_max=1", "t_max=2")["t_max"] == 2


def test_mappings_merge_key_by_key(folder: Path) -> None:
    config = load(folder, "env_args={n_agents: 16}", alg="env_args: {wind: 3}")
    assert config["env_args"] == {"n_agents": 16, "wind": 3, "seed": config["seed"]}


def test_an_algorithm_that_overrides_its_environment_is_logged_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    load(folder, alg="gamma: 0.5\nt_max: 2000\nlr: 0.1\nenv_args: {n_agents: 8}")
    assert [record.message.split("overrides ")[1] for record in caplog.records] == [
        f"{folder}/envs/toy.yaml: gamma 0.9 -> 0.5, env_args.n_agents 4 -> 8"
    ]
    caplog.clear()
    load(folder, "gamma=0.1", alg="lr: 0.1")
    assert not caplog.records


# --- names ---


@pytest.mark.parametrize(
    "alg, env, parts",
    [
        (None, "toy", ["--config: missing", "mine"]),
        ("mine", None, ["--env-config: missing", "toy"]),
        ("mime", "toy", ["--config: unknown name 'mime'", "did you mean 'mine'?"]),
        ("mine", "toys", ["--env-config: unknown name 'toys'", "did you mean 'toy'?"]),
        ("../envs/toy", "toy", ["--config: unknown name"]),
    ],
)
def test_a_wrong_name_lists_what_exists(folder: Path, alg: str | None, env: str | None, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_config(alg, env, config_dir=folder)
    assert all(part in str(caught.value) for part in parts)


def test_an_environment_must_be_named_and_registered(folder: Path) -> None:
    (folder / "envs" / "nameless.yaml").write_text("gamma: 0.9")
    with pytest.raises(UserError, match="^env: missing"):
        load_config("mine", "nameless", config_dir=folder)
    assert "unknown environment 'tai'" in fails(folder, "env=tai")


# --- types ---

WORDS = {"true": True, "True": True, "TRUE": True, "yes": True, "on": True, "tRuE": True}
WORDS |= {"false": False, "False": False, "no": False, "NO": False, "off": False}


@pytest.mark.parametrize("where", ["with", "file"])
@pytest.mark.parametrize(
    "key, text, expected",
    [("use_cuda", word, value) for word, value in WORDS.items()]
    + [("t_max", "2e6", 2_000_000), ("t_max", "3.0", 3), ("count", "-7", -7), ("t_max", "1_000", 1000)]
    + [("lr", "5e-4", 5e-4), ("lr", "1", 1.0), ("lr", ".5", 0.5), ("lr", "1/4", 0.25), ("lr", "1 / 3", 1 / 3)]
    + [("shift", "inf", float("inf")), ("shift", "-1.", -1.0), ("shift", "-1.5E+2", -150.0), ("lr", ".5e1", 5.0)]
    + [("layers", "[1, 2, 3]", [1, 2, 3]), ("layers", "[]", []), ("layers", "[1e1]", [10])]
    + [("mixer", word, None) for word in ("none", "None", "NONE", "null", "~")]
    + [("mixer", "qmix", "qmix"), ("batch", "2.5", 2.5), ("batch", "true", True), ("batch", "[a]", ["a"])]
    + [("name", '"5"', "5")],
)
def test_texts_become_values_of_the_key_s_type(folder: Path, where: str, key: str, text: str, expected: Any) -> None:
    if where == "with" and key == "name":
        text = "5"  # on the command line no quotes are needed
    config = load(folder, f"{key}={text}") if where == "with" else load(folder, alg=f"{key}: {text}")
    assert config[key] == expected and type(config[key]) is type(expected)


@pytest.mark.parametrize("where", ["with", "file"])
@pytest.mark.parametrize(
    "key, text, expected",
    [
        ("use_cuda", "flase", "true or false, got 'flase'"),
        ("use_cuda", "1", "true or false, got 1"),
        ("use_cuda", "none", "true or false, got 'none'"),
        ("t_max", "2.5", "a whole number, got 2.5"),
        ("t_max", "true", "a whole number, got true"),
        ("t_max", "inf", "a whole number, got inf"),
        ("t_max", "010", "a whole number, got '010'"),
        ("t_max", "null", "a whole number, got null"),
        ("t_max", "", "a whole number, got null"),
        ("lr", "fast", "a number, got 'fast'"),
        ("lr", ".nan", "a number, got nan"),
        ("lr", "no", "a number, got false"),
        ("lr", "[1]", "a number, got [1]"),
        ("layers", "64", "a list such as [1, 2], got 64"),
        ("layers", "[64, wide]", "a whole number as each element, got [64, 'wide']"),
        ("layers", "{a: 1}", "a list such as [1, 2], got"),
        ("env_args", "3", "a mapping of keys to values, got 3"),
    ],
)
def test_a_value_of_another_type_is_an_error(folder: Path, where: str, key: str, text: str, expected: str) -> None:
    message = fails(folder, f"{key}={text}") if where == "with" else fails(folder, alg=f"{key}: {text}")
    source = f"(with {key}={text})" if where == "with" else f"({folder}/algs/mine.yaml)"
    if text == "{a: 1}" and where == "with":
        assert message.startswith("layers.a: unknown key")
    else:
        assert message.startswith(f"{key}: expected {expected}") and message.endswith(source)


def test_a_file_must_quote_text_that_looks_like_something_else(folder: Path) -> None:
    assert fails(folder, alg="name: no").startswith("name: expected text, got false")
    assert fails(folder, alg="name:").startswith("name: expected text, got null")


@pytest.mark.parametrize("text", ["5e-4", "none", "true", "3m", "2020-01-01", "a=b", "[x", "#1", "", "a: b", "1/4"])
def test_text_keys_take_the_command_line_as_it_is(folder: Path, text: str) -> None:
    assert load(folder, f"name={text}")["name"] == text


def test_none_means_null_only_where_the_key_may_be_null(folder: Path) -> None:
    alg = "subteam_mixer: qmix\nmixer: qmix"
    config = load(folder, "subteam_mixer=none", "mixer=none", alg=alg)
    assert config["subteam_mixer"] == "none" and config["mixer"] is None


def test_the_type_is_that_of_the_lowest_layer_that_is_not_null(folder: Path) -> None:
    assert load(folder, "batch=7", alg="batch: 5")["batch"] == 7
    assert fails(folder, "batch=some", alg="batch: 5").startswith("batch: expected a whole number, got 'some'")
    assert load(folder, "batch=none", alg="batch: 5")["batch"] is None
    assert load(folder, "eta=1", alg="eta: 1/4")["eta"] == 1.0


@pytest.mark.parametrize("text", ["1:30", "2020-01-01", "0x10", "010", "3s5z"])
def test_the_traps_of_yaml_are_plain_text(folder: Path, text: str) -> None:
    assert load(folder, alg=f"plugin_setting: {text}")["plugin_setting"] == text
    assert load(folder, f"batch={text}")["batch"] == text


@pytest.mark.parametrize("text", ["[1, 2", "{a: ", "'a", "1/0"])
def test_unreadable_values_are_one_line(folder: Path, text: str) -> None:
    assert fails(folder, f"batch={text}").startswith("batch: cannot be read")


# --- presets ---


def test_a_preset_lies_between_the_algorithm_and_the_command_line(folder: Path) -> None:
    numbers = {"default": "p: 0\nq: 0\nr: 0\ns: 0\nt: 0", "env": "q: 1\nr: 1\ns: 1\nt: 1", "alg": "r: 2\ns: 2\nt: 2"}
    config = load(folder, "t=4", preset="s: 3\nt: 3", **numbers)
    assert [config[key] for key in "pqrst"] == [0, 1, 2, 3, 4]
    assert config["preset"] == "old"
    config = load(folder, **numbers)  # the file is there, but not chosen
    assert [config[key] for key in "pqrst"] == [0, 1, 2, 2, 2]
    assert config["preset"] is None


def test_the_command_line_wins_over_a_preset_wherever_it_names_it(folder: Path) -> None:
    preset = "lr: 0.1\nenv_args: {n_agents: 8, wind: 2}"
    (folder / "presets" / "old.yaml").write_text(preset)
    for updates in (("preset=old", "lr=0.3", "env_args.n_agents=9"), ("env_args.n_agents=9", "lr=0.3", "preset=old")):
        config = load(folder, *updates)
        assert config["lr"] == 0.3
        assert config["env_args"] == {"n_agents": 9, "wind": 2, "seed": config["seed"]}


def test_the_last_preset_counts_and_may_be_none(folder: Path) -> None:
    (folder / "presets" / "new.yaml").write_text("lr: 0.2")
    assert load(folder, preset="lr: 0.1")["lr"] == 0.1
    assert load(folder, "preset=old", "preset=new")["lr"] == 0.2
    assert load(folder, "preset=old", "preset=none")["lr"] == 0.5


def test_a_file_can_choose_a_preset(folder: Path) -> None:
    (folder / "presets" / "old.yaml").write_text("lr: 0.1\ngamma: 0.8")
    config = load(folder, alg="preset: old\nlr: 0.4")
    assert (config["preset"], config["lr"], config["gamma"]) == ("old", 0.1, 0.8)
    assert load(folder, "preset=null", alg="preset: old\nlr: 0.4")["lr"] == 0.4


def test_the_sections_of_a_preset_hold_for_what_they_name(folder: Path) -> None:
    (folder / "envs" / "other.yaml").write_text(TOY_ENV)
    (folder / "algs" / "yours.yaml").write_text("")
    sections = """
lr: 0.1
gamma: 0.1
batch: 1
envs:
  toy: {gamma: 0.2, batch: 2, env_args: {wind: 2}}
  other: {lr: 0.9, env_args: {wind: 9}}
algs:
  mine: {batch: 3}
  yours: {lr: 0.8}
"""
    config = load(folder, preset=sections)
    assert (config["lr"], config["gamma"], config["batch"]) == (0.1, 0.2, 3)
    assert config["env_args"] == {"n_agents": 4, "wind": 2, "seed": config["seed"]}
    assert not {"envs", "algs"} & config.keys()
    config = load_config("yours", "other", ["preset=old"], config_dir=folder)
    assert (config["lr"], config["gamma"], config["batch"], config["env_args"]["wind"]) == (0.8, 0.1, 1, 9)


def test_a_preset_leaves_out_shipped_keys_of_parts_that_the_run_lacks(folder: Path) -> None:
    (folder / "algs" / "vast_qmix.yaml").write_text("eta: 0.25")
    config = load(folder, preset="eta: 0.5\nlr: 0.1")
    assert "eta" not in config and config["lr"] == 0.1
    config = load_config("vast_qmix", "toy", ["preset=old"], config_dir=folder)
    assert config["eta"] == 0.5


def test_a_preset_sets_keys_that_only_the_users_algorithm_has(folder: Path) -> None:
    assert load(folder, alg="plugin_setting: 1", preset="plugin_setting: 2")["plugin_setting"] == 2


def test_a_preset_may_set_any_argument_that_the_environment_takes(folder: Path) -> None:
    assert load(folder, preset="env_args: {noise: 0.1}")["env_args"]["noise"] == 0.1
    (folder / "envs" / "wide.yaml").write_text("env: open")
    (folder / "presets" / "old.yaml").write_text("envs: {wide: {env_args: {anything: 1}}}")
    assert load_config("mine", "wide", ["preset=old"], config_dir=folder)["env_args"]["anything"] == 1


@pytest.mark.parametrize(
    "preset, message",
    [
        ("lrr: 1", "lrr: unknown key (did you mean 'lr'?) ({old}); print_config shows all keys"),
        ("zzzzz: {}", "zzzzz: unknown key ({old}); print_config shows all keys"),
        ("env_args: {nois: 1}", "env_args.nois: unknown key (did you mean 'env_args.noise'?) ({old}); print_config"),
        (
            "envs: {toy: {env_args: {nois: 1}}}",
            "env_args.nois: unknown key (did you mean 'env_args.noise'?) (envs.toy in {old})",
        ),
        ("algs: {mine: {t_mx: 1}}", "t_mx: unknown key (did you mean 't_max'?) (algs.mine in {old}); print_config"),
        ("algs: {mine: {eta: 1}}", "eta: unknown key (algs.mine in {old}); print_config"),
        ("t_max: often", "t_max: expected a whole number, got 'often' ({old})"),
        ("env_args: {n_agents: few}", "env_args.n_agents: expected a whole number, got 'few' ({old})"),
        ("env_args: 3", "env_args: expected a mapping of keys to values, got 3 ({old})"),
        ("algs: {mine: {lr: fast}}", "lr: expected a number, got 'fast' (algs.mine in {old})"),
        ("algs: {mne: {lr: 1}}", "algs.mne: unknown name (did you mean 'mine'?) ({old})"),
        ("envs: {toyy: {lr: 1}}", "envs.toyy: unknown name (did you mean 'toy'?) ({old})"),
        ("envs: 3", "envs: expected a mapping of keys to values, got 3 ({old})"),
        ("algs:", "algs: expected a mapping of keys to values, got null ({old})"),
        ("algs: {vdn: 3}", "algs.vdn: expected a mapping of keys to values, got 3 ({old})"),
        ("preset: old", "preset: a preset cannot choose another one ({old})"),
        ("algs: {mine: {preset: none}}", "preset: a preset cannot choose another one (algs.mine in {old})"),
        ("lr: [", "{old}, line 1: "),
    ],
)
def test_mistakes_in_a_preset_are_named(folder: Path, preset: str, message: str) -> None:
    (folder / "algs" / "vast_qmix.yaml").write_text("eta: 0.25")  # a key that is known, but not to `mine`
    assert fails(folder, preset=preset).startswith(message.format(old=folder / "presets" / "old.yaml"))


def test_an_unknown_preset_names_the_presets_and_the_nearest(folder: Path) -> None:
    for name in ("old", "latest"):
        (folder / "presets" / f"{name}.yaml").write_text("")
    assert fails(folder, "preset=olt") == (
        "preset: unknown name 'olt' (did you mean 'old'?): choose one of latest, old"
    )
    assert fails(folder, "preset=7") == "preset: unknown name '7': choose one of latest, old"
    assert fails(folder, "preset.old=1").startswith("preset.old: unknown key")


# --- keys ---


@pytest.mark.parametrize(
    "update, parts",
    [
        ("t_mx=3", ["t_mx: unknown key (did you mean 't_max'?)", "(with t_mx=3)"]),
        ("zzzzz=3", ["zzzzz: unknown key (with zzzzz=3)"]),
        ("n_agents=3", ["did you mean 'env_args.n_agents'?"]),
        ("env_args.n_agent=3", ["env_args.n_agent: unknown key (did you mean 'env_args.n_agents'?)"]),
        ("env_args={n_agents: 3, nois: 1}", ["env_args.nois: unknown key (did you mean 'env_args.noise'?)"]),
        ("t_max.x=3", ["t_max.x: unknown key"]),
        ("t_max", ["with t_max: expected key=value"]),
        ("=3", ["with =3: expected key=value"]),
        ("env_args.=3", ["with env_args.=3: expected key=value"]),
    ],
)
def test_an_unknown_key_on_the_command_line_is_an_error(folder: Path, update: str, parts: list[str]) -> None:
    message = fails(folder, update)
    assert all(part in message for part in parts), message


def test_keys_that_a_file_declares_can_be_overridden(folder: Path) -> None:
    assert load(folder, "embed=8", "deep.er=2", alg="embed: 32\ndeep: {er: 1}")["deep"] == {"er": 2}


def test_a_new_key_of_a_user_s_file_is_logged_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert load(folder, alg="lr: 0.1\nplugin_width: 3")["plugin_width"] == 3
    assert [record.message for record in caplog.records] == [f"{folder}/algs/mine.yaml: new key 'plugin_width'"]


def test_a_new_key_that_resembles_a_known_one_is_an_error(folder: Path) -> None:
    message = fails(folder, alg="use_cudda: false")
    assert message.startswith("use_cudda: unknown key in ") and "'use_cuda'" in message


def test_the_keys_of_shipped_files_are_known(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (folder / "algs" / "qmix.yaml").write_text("mixing_embed_dim: 32")
    load(folder, alg="mixing_embed_dim: 16")
    load_config("qmix", "toy", config_dir=folder)
    assert not caplog.records
    assert "'mixing_embed_dim'" in fails(folder, alg="mixing_embed_dimm: 16")


def test_a_typing_error_does_not_become_known_by_being_copied(folder: Path) -> None:
    (folder / "algs" / "copy.yaml").write_text("use_cudda: false")
    assert "use_cudda: unknown key" in fails(folder, alg="use_cudda: false")


@pytest.mark.parametrize(
    "text, parts",
    [
        ("lr: 1\nname: 'a'\nlr: 2", ["line 3", "key 'lr' is given twice"]),
        ("env_args:\n  n_agents: 1\n  n_agents: 2", ["line 3", "key 'n_agents' is given twice"]),
        ("lr: [1, 2\nname: 'a'", ["line 2"]),
        ("lr: 1\n\tname: 2", ["line 2"]),
        ("on: 3", ["line 1", "'on' cannot be a key"]),
        ("env_args.n_agents: 3", ["line 1", "'env_args.n_agents' cannot be a key"]),
        ("eta: 1/0", ["line 1", "1/0 divides by zero"]),
        ("- 1\n- 2", ["expected 'key: value' lines"]),
        ("x: !!python/object:os.system {}", ["line 1"]),
    ],
)
def test_a_broken_file_is_one_line_with_file_and_line(folder: Path, text: str, parts: list[str]) -> None:
    message = fails(folder, alg=text)
    assert message.startswith(f"{folder}/algs/mine.yaml") and all(part in message for part in parts), message


def test_a_file_that_is_not_text_is_one_line(folder: Path) -> None:
    (folder / "algs" / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in fails(folder)


def test_anchors_and_merge_keys_work(folder: Path) -> None:
    assert load(folder, alg="base: &b {x: 1, y: 2}\nother: {<<: *b, y: 3}")["other"] == {"x": 1, "y": 3}


# --- env_args and seeds ---


def test_env_args_take_the_constructor_s_parameters_with_their_types(folder: Path) -> None:
    assert load(folder, "env_args.noise=1")["env_args"]["noise"] == 1.0
    assert "noise" not in load(folder)["env_args"]
    assert load(folder, "env_args.wind=north")["env_args"]["wind"] == "north"
    assert fails(folder, "env_args.noise=loud").startswith("env_args.noise: expected a number, got 'loud'")


def test_an_env_arg_that_a_file_sets_has_its_type_from_there(folder: Path) -> None:
    message = fails(folder, "env_args.wind=north", alg="env_args: {wind: 3}")
    assert message.startswith("env_args.wind: expected a whole number, got 'north'")


def test_env_args_are_open_if_the_constructor_takes_kwargs(folder: Path) -> None:
    config = load(folder, "env_args.anything=1", "env=open")
    assert config["env_args"]["anything"] == 1
    assert load(folder, "env=open", alg="env_args: {n_agent: 1}")["env_args"]["n_agent"] == 1


def test_a_constructor_without_partial_is_looked_at_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(envs.REGISTRY, "bare", Toy)
    assert load(folder, "env=bare", "env_args.noise=1")["env_args"]["noise"] == 1.0
    assert "unknown key" in fails(folder, "env=bare", "env_args.nose=1")


def test_a_misspelt_env_arg_in_a_file_is_an_error(folder: Path) -> None:
    message = fails(folder, alg="env_args: {noises: 1}")
    assert message == "env_args.noises: unknown key: environment 'toy' calls it 'noise'"


def test_a_seed_is_drawn_recorded_and_given_to_the_environment(folder: Path) -> None:
    configs = [load(folder) for _ in range(20)]
    seeds = {config["seed"] for config in configs}
    assert len(seeds) == 20 and all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)
    assert all(config["env_args"]["seed"] == config["seed"] for config in configs)


def test_given_seeds_are_kept(folder: Path) -> None:
    config = load(folder, "seed=5", "env_args.seed=6")
    assert (config["seed"], config["env_args"]["seed"]) == (5, 6)
    assert load(folder, "seed=0")["env_args"]["seed"] == 0


def test_only_an_environment_that_takes_a_seed_gets_one(folder: Path) -> None:
    (folder / "envs" / "plain.yaml").write_text("env: silent\nenv_args: {n_agents: 3}")
    assert load_config("mine", "plain", ["seed=1"], config_dir=folder)["env_args"] == {"n_agents": 3}
    assert load_config("mine", "plain", ["seed=1", "env=open"], config_dir=folder)["env_args"]["seed"] == 1


@pytest.mark.parametrize("text", ["-1", "4294967296", "abc", "1.5", "true"])
def test_a_seed_is_what_every_generator_takes(folder: Path, text: str) -> None:
    assert fails(folder, f"seed={text}").startswith("seed: expected a whole number from 0 to 4294967295")


# --- what a run has left ---


def saved(folder: Path, config: Any, *updates: str) -> dict[str, Any]:
    """``config``, written as a run does, and read again."""
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return load_saved_config(folder / "config.json", updates, config_dir=folder)


def test_a_saved_configuration_is_read_as_it_was(folder: Path) -> None:
    config = load(folder, "seed=5", "layers=[1, 2]", "mixer=vdn", alg="depth: 3", env="\ntest: 0.5")
    assert saved(folder, config) == config
    assert saved(folder, load(folder, "seed=5", "env_args.seed=6"))["env_args"]["seed"] == 6


def test_updates_lie_over_a_saved_configuration_and_keep_its_types(folder: Path) -> None:
    config = load(folder, "seed=5", alg="depth: 3")
    changed = saved(folder, config, "depth=4", "env_args.n_agents=9", "env_args.noise=2", "batch=8")
    assert (changed["depth"], changed["env_args"]["n_agents"], changed["batch"]) == (4, 9, 8)
    assert type(changed["env_args"]["noise"]) is float
    for update, message in [
        ("dept=4", "dept: unknown key (did you mean 'depth'?)"),
        ("depth=x", "depth: expected a whole number, got 'x'"),
        ("env_args.n_agent=3", "env_args.n_agent: unknown key (did you mean 'env_args.n_agents'?)"),
        ("depth", "with depth: expected key=value"),
        ("preset=old", "has its presets merged already; got 'preset=old'"),
    ]:
        with pytest.raises(UserError) as caught:
            saved(folder, config, update)
        assert message in str(caught.value)


def test_a_saved_environment_that_takes_any_argument_takes_new_ones(folder: Path) -> None:
    config = load(folder, "seed=5", "env=open")
    assert saved(folder, config, "env_args.anything=1")["env_args"] == {**config["env_args"], "anything": 1}


def test_the_seed_of_a_saved_environment_follows_that_of_the_run(folder: Path) -> None:
    config = load(folder, "seed=5")
    assert [saved(folder, config, "seed=7")[key] for key in ("seed", "env_args")] == [7, {"n_agents": 4, "seed": 7}]
    assert saved(folder, config, "seed=7", "env_args.seed=8")["env_args"]["seed"] == 8
    assert saved(folder, load(folder, "seed=5", "env_args.seed=6"), "seed=7")["env_args"]["seed"] == 6


def test_keys_that_are_newer_than_a_saved_configuration_have_their_defaults(folder: Path) -> None:
    config = load(folder, "seed=5")
    (folder / "default.yaml").write_text(DEFAULT + "\nnew: 3")
    assert saved(folder, config) == {**config, "new": 3}


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "cannot be read: "),
        ("[]", "expected the configuration of a run"),
        ('{"seed": 1}', "with env_args and seed"),
    ],
)
def test_what_is_no_saved_configuration_is_named(folder: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match="config.json: ") as caught:
        saved(folder, text)
    assert message in str(caught.value)


# --- what is made of it ---


def test_the_namespace_is_a_copy_with_plain_dicts(folder: Path) -> None:
    config = load(folder, "lr=0.25")
    args = to_namespace(config)
    assert args.lr == 0.25 and type(args.env_args) is dict
    args.env_args["n_agents"] = 99
    args.layers.append(1)
    assert config["env_args"]["n_agents"] == 4 and config["layers"] == [64, 64]


def test_two_configurations_share_nothing(folder: Path) -> None:
    first = load(folder)
    first["layers"].append(1)
    first["env_args"]["n_agents"] = 99
    assert load(folder)["layers"] == [64, 64] and load(folder)["env_args"]["n_agents"] == 4


def test_results_lie_in_the_project_unless_the_path_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert results_path({"local_results_path": "results"}) == CONFIG_DIR.parent.parent / "results"
    assert results_path({"local_results_path": str(tmp_path)}) == tmp_path


# --- the files of the project ---


SHIPPED_PAIRS = [(alg, env) for alg in available(CONFIG_DIR, "algs") for env in available(CONFIG_DIR, "envs")]


@pytest.mark.parametrize("alg, env", SHIPPED_PAIRS)
def test_shipped_files_load_quietly_and_reload_from_their_own_values(
    alg: str, env: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Writing every resolved value as an update gives the same configuration: the texts lose nothing."""
    caplog.set_level(logging.INFO)
    config = load_config(alg, env)
    assert not [record for record in caplog.records if "new key" in record.message]
    flat = dict(leaves(config))
    texts = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in flat.items()]
    assert load_config(alg, env, texts) == config


@pytest.mark.parametrize("preset", available(CONFIG_DIR, "presets"))
@pytest.mark.parametrize("alg, env", SHIPPED_PAIRS)
def test_shipped_presets_have_no_mistake_in_any_of_their_sections(alg: str, env: str, preset: str) -> None:
    assert load_config(alg, env, [f"preset={preset}"])["preset"] == preset


def test_no_shipped_algorithm_sets_what_belongs_to_the_domain() -> None:
    domain = {"gamma", "t_max", "test_interval", "test_nepisode"}
    for alg in available(CONFIG_DIR, "algs"):
        keys = {key for layer in file_layers(CONFIG_DIR / "algs" / f"{alg}.yaml") for key in layer.values}
        assert not keys & domain, alg
        assert alg.endswith("_ac") or alg == "coma" or "buffer_size" not in keys, alg
