"""What follows from the table of keys and from the files: ranges, extends, print_config, docs/settings.md, groups."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from settings.keys import FREE, KEYS, look_up
from settings.listing import PAGE, comments, describe, page
from settings.load import CONFIG_DIR, available, load_config, load_saved_config, resolve
from settings.sources import file_layers, named_layers, read_yaml
from settings.values import fit
from utils.errors import UserError

SRC = CONFIG_DIR.parent
ALG_FILES = sorted((CONFIG_DIR / "algs").glob("*.yaml"))


def refusal(*updates: str, alg: str = "vast_qmix", env: str = "warehouse") -> str:
    """The one line with which a configuration is refused."""
    with pytest.raises(UserError) as caught:
        load_config(alg, env, updates)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the table ---


def shipped_keys() -> set[str]:
    """The top-level keys of all YAML files but presets, whose keys are theirs."""
    files = [CONFIG_DIR / "default.yaml", *(CONFIG_DIR / "envs").glob("*.yaml"), *ALG_FILES]
    return {key for path in files for key in read_yaml(path)} - {"extends"}


def test_every_key_of_a_file_has_a_row_and_every_row_a_file() -> None:
    nested = {f"env_args.{key}" for env in available(CONFIG_DIR, "envs") for key in read_yaml_env_args(env)}
    assert {key for key in KEYS if "." not in key} == shipped_keys()
    assert {key for key in KEYS if "." in key} <= nested


def read_yaml_env_args(env: str) -> dict[str, Any]:
    values: dict[str, Any] = read_yaml(CONFIG_DIR / "envs" / f"{env}.yaml")["env_args"]
    return values


def test_every_shipped_value_has_the_form_of_its_key() -> None:
    for path in [CONFIG_DIR / "default.yaml", *(CONFIG_DIR / "envs").glob("*.yaml"), *ALG_FILES]:
        for key, value in read_yaml(path).items():
            if key != "extends":
                assert fit(KEYS[key].form, value) == value, key


def test_every_form_tells_right_values_from_wrong_ones() -> None:
    """A form that refuses nothing checks nothing; the row of a part that may be anything is known."""
    for key, row in KEYS.items():
        refused = 0
        for value in (None, True, "no such word", -1, -0.5, [], {}, float("nan")):
            try:
                fit(row.form, value)
            except ValueError:
                refused += 1
        assert refused >= 4 or row.form == "anything", key


READERS = [(key, reader) for key in KEYS for reader in KEYS[key].readers.split(", ") if reader]


@pytest.mark.parametrize(("key", "reader"), READERS)
def test_the_readers_of_a_key_read_it(key: str, reader: str) -> None:
    """A package that a row names has ``args.key``, or the key as a text, in one of its files."""
    texts = [path.read_text() for path in (SRC / reader).rglob("*.py") if path.name != "keys.py"]
    word = key.removeprefix("env_args.")
    pattern = rf"args\.{word}\b|\"{word}\"" if word == key else rf"\b{word}:"  # a parameter of the constructor
    assert any(re.search(pattern, text) for text in texts)


# --- ranges ---

COUNTS = ("t_max", "batch_size_run", "batch_size", "buffer_size", "test_nepisode", "test_interval")
SIZES = ("rnn_hidden_dim", "mixing_embed_dim", "hypernet_embed", "assigner_hidden_dim", "target_update_interval")


@pytest.mark.parametrize("key", [*COUNTS, *SIZES, "episodes_per_update", "n_threads"])
@pytest.mark.parametrize("value", ["0", "-3"])
def test_counts_below_one_are_refused(key: str, value: str) -> None:
    assert refusal(f"{key}={value}") == f"{key}: expected an integer of at least 1, got {value} (with {key}={value})"


@pytest.mark.parametrize("key", ["log_interval", "save_model_interval", "epsilon_anneal_time", "load_step"])
def test_intervals_below_zero_are_refused(key: str) -> None:
    assert refusal(f"{key}=-1").startswith(f"{key}: expected an integer of at least 0, got -1")
    assert load_config("qmix", "warehouse", [f"{key}=0"])[key] == 0


@pytest.mark.parametrize("value", ["1.5", "many", "true"])
def test_counts_that_are_none_are_refused(value: str) -> None:
    """The key is null by default, so that its type comes from the table alone."""
    assert refusal(f"episodes_per_update={value}").startswith("episodes_per_update: expected an integer of at least 1")
    assert load_config("qmix", "warehouse", ["episodes_per_update=2e0"])["episodes_per_update"] == 2


@pytest.mark.parametrize("value", ["-1", "1.5", "ten", "true"])
def test_a_number_of_final_episodes_that_is_none_is_refused(value: str) -> None:
    assert refusal(f"absolute_nepisode={value}").startswith("absolute_nepisode: expected an integer of at least 0, got")
    assert load_config("qmix", "warehouse", ["absolute_nepisode=none"])["absolute_nepisode"] is None


@pytest.mark.parametrize(
    ("key", "value", "most"),
    [("test_nepisode", "1e18", "1000000000"), ("batch_size_run", "1e9", "65536"), ("rnn_hidden_dim", "1e6", "65536")],
)
def test_sizes_that_nobody_can_mean_are_refused(key: str, value: str, most: str) -> None:
    assert refusal(f"{key}={value}").startswith(f"{key}: expected an integer of at most {most}, got ")


@pytest.mark.parametrize("key", ["gamma", "td_lambda", "epsilon_start", "epsilon_finish"])
@pytest.mark.parametrize("value", ["-0.1", "1.1", "inf"])
def test_shares_outside_0_to_1_are_refused(key: str, value: str) -> None:
    assert refusal(f"{key}={value}").startswith(f"{key}: expected a number in [0, 1], got {value}")


@pytest.mark.parametrize(
    "key", ["lr", "critic_lr", "assigner_lr", "optim_eps", "grad_norm_clip", "policy_grad_norm_clip"]
)
@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_what_has_to_be_above_0_is_refused_below(key: str, value: str) -> None:
    assert refusal(f"{key}={value}").startswith(f"{key}: expected a number")


@pytest.mark.parametrize("key", ["lr", "assigner_lr", "entropy_coef", "opt_loss", "optim_alpha", "eta"])
def test_infinity_is_refused_where_it_makes_no_sense(key: str) -> None:
    assert refusal(f"{key}=inf").startswith(f"{key}: expected a ")


@pytest.mark.parametrize("key", ["grad_norm_clip", "assigner_grad_norm_clip", "policy_grad_norm_clip"])
def test_gradients_may_be_left_as_they_are(key: str) -> None:
    assert load_config("vast_qmix", "warehouse", [f"{key}=inf"])[key] == float("inf")


@pytest.mark.parametrize(
    ("alg", "update", "expected"),
    [
        ("vast_qmix", "eta=7", "eta: expected a number in (0, 1], got 7 (with eta=7)"),
        ("vast_qmix", "eta=0", "eta: expected a number in (0, 1], got 0 (with eta=0)"),
        ("qmix", "optim_alpha=1.5", "optim_alpha: expected a number in [0, 1), got 1.5 (with optim_alpha=1.5)"),
        ("qmix", "lr=inf", "lr: expected a finite number above 0, got inf (with lr=inf)"),
        ("qmix", "entropy_coef=-1", "entropy_coef: expected a number of at least 0, got -1 (with entropy_coef=-1)"),
        ("qmix", "optimiser=sgd", "optimiser: expected rmsprop or adam, got 'sgd' (with optimiser=sgd)"),
        ("qmix", "hypernet_layers=3", "hypernet_layers: expected 1 or 2, got 3 (with hypernet_layers=3)"),
        ("il_ac", "critic_output=w", "critic_output: expected q or v, got 'w' (with critic_output=w)"),
        ("qtran", "network_size=huge", "network_size: expected small or big, got 'huge' (with network_size=huge)"),
        ("iql", "mixer=true", "mixer: expected text, got true (with mixer=true)"),
        ("qmix", "n_threads=[1]", "n_threads: expected a whole number, got [1] (with n_threads=[1])"),
        ("qmix", "env_args.seed=abc", "env_args.seed: expected a whole number from 0 to 4294967295, got 'abc'"),
    ],
)
def test_a_value_outside_its_key_s_range_is_one_line(alg: str, update: str, expected: str) -> None:
    assert refusal(update, alg=alg).startswith(expected)


def test_a_number_in_place_of_a_mapping_or_the_other_way_round_is_refused(tmp_path: Path) -> None:
    folder = own_folder(tmp_path, mine="episodes_per_update: {a: 1}")
    with pytest.raises(UserError, match="^episodes_per_update: expected an integer of at least 1, got {'a': 1}"):
        load_config("mine", "warehouse", config_dir=folder)
    assert refusal("env_args=3").startswith("env_args: expected a mapping of keys to values, got 3")


def test_the_table_gives_the_type_where_a_file_is_vague(tmp_path: Path) -> None:
    """A whole number as a ratio, a number with an exponent as a seed, null where a key has to have a value."""
    config = load_config("mine", "warehouse", ["seed=1e3"], config_dir=own_folder(tmp_path, mine="eta: 1"))
    assert (config["eta"], config["seed"]) == (1.0, 1000)
    assert (type(config["eta"]), type(config["seed"])) == (float, int)
    assert load_config("mine", "warehouse", ["eta=1/4"], config_dir=tmp_path / "config")["eta"] == 0.25
    (tmp_path / "config" / "algs" / "mine.yaml").write_text("mixing_embed_dim: null")
    with pytest.raises(UserError, match="^mixing_embed_dim: expected an integer of at least 1, got null"):
        load_config("mine", "warehouse", config_dir=tmp_path / "config")


def test_the_file_with_the_wrong_value_is_named(tmp_path: Path) -> None:
    folder = own_folder(tmp_path, mine="lr: 0")
    with pytest.raises(UserError, match=rf"^lr: expected a number above 0, got 0 \({folder}/algs/mine.yaml\)$"):
        load_config("mine", "warehouse", ["lr=0.1"], config_dir=folder)


def test_a_saved_configuration_is_held_to_the_table(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"env": "warehouse", "env_args": {}, "seed": 1, "lr": -1}')
    with pytest.raises(UserError, match=r"^lr: expected a number above 0, got -1 \(.*config.json\)$"):
        load_saved_config(tmp_path / "config.json")


def test_a_name_is_looked_up_in_the_registry_of_its_package() -> None:
    from runners import REGISTRY

    assert look_up("runner", "episode") is REGISTRY["episode"]
    with pytest.raises(UserError, match="unknown runner 'episod' .did you mean 'episode'"):
        look_up("runner", "episod")
    for key, row in KEYS.items():
        if row.form.startswith("name in "):
            with pytest.raises(UserError, match="unknown .* 'nope': registered are"):
                look_up(key, "nope")


@pytest.mark.parametrize("text", ["[" * 3000, "1" * 5000])
def test_a_value_that_cannot_be_read_is_one_short_line(text: str) -> None:
    message = refusal(f"episodes_per_update={text}")
    assert message.startswith("episodes_per_update: ")


def test_a_long_value_is_shortened() -> None:
    many = "[" + ", ".join(map(str, range(1000))) + "]"
    shown = refusal(f"t_max={many}").partition(" (with")[0]
    assert shown.startswith("t_max: expected a whole number, got [0, 1, 2") and len(shown) < 200


@pytest.mark.parametrize("key", ["mogno_url", "Mongo_url", "mongo_ulr", "MONGO_URL", "mong_url"])
def test_what_may_be_meant_as_a_secret_is_not_shown(key: str) -> None:
    assert "hunter2" not in refusal(f"{key}=hunter2")


# --- extends ---


def own_folder(tmp_path: Path, **algs: str) -> Path:
    """A config folder with the project's defaults and environments, and algorithms of these texts."""
    folder = tmp_path / "config"
    (folder / "algs").mkdir(parents=True)
    (folder / "presets").mkdir()
    (folder / "envs").symlink_to(CONFIG_DIR / "envs")
    (folder / "default.yaml").symlink_to(CONFIG_DIR / "default.yaml")
    for name, text in algs.items():
        (folder / "algs" / f"{name}.yaml").write_text(text)
    return folder


def test_a_file_wins_over_what_it_extends_and_later_ones_over_earlier(tmp_path: Path) -> None:
    parents = {"a": "lr: 0.1\ngamma: 0.1\nt_max: 1", "_b": "lr: 0.2\ngamma: 0.2"}
    folder = own_folder(tmp_path, c="extends: [a, _b]\nlr: 0.3", d="extends: c\nbatch_size: 4", **parents)
    config = load_config("d", "warehouse", config_dir=folder)
    assert [config[key] for key in ("lr", "gamma", "t_max", "batch_size")] == [0.3, 0.2, 1, 4]
    assert "extends" not in config
    assert load_config("a", "warehouse", config_dir=folder)["lr"] == 0.1


def test_a_file_that_several_extend_counts_once_below_all_of_them(tmp_path: Path) -> None:
    files = {"base": "lr: 0.1", "a": "extends: base\nlr: 0.2", "b": "extends: base\ngamma: 0.5"}
    folder = own_folder(tmp_path, c="extends: [a, b]", **files)
    assert [Path(layer.source).stem for layer in named_layers(folder, "algs", "c")] == ["base", "a", "b", "c"]
    assert load_config("c", "warehouse", config_dir=folder)["lr"] == 0.2


def test_mappings_of_extended_files_merge_key_by_key(tmp_path: Path) -> None:
    folder = own_folder(tmp_path, a="mine: {x: 1, y: 2}", b="extends: a\nmine: {y: 3}")
    assert load_config("b", "warehouse", config_dir=folder)["mine"] == {"x": 1, "y": 3}


def test_fragments_are_not_offered(tmp_path: Path) -> None:
    folder = own_folder(tmp_path, _part="lr: 0.1", whole="extends: _part")
    assert available(folder, "algs") == ["whole"]
    with pytest.raises(UserError, match="^--config: unknown name '_part': choose one of whole$"):
        load_config("_part", "warehouse", config_dir=folder)
    assert not [name for name in available(CONFIG_DIR, "algs") if name.startswith("_")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: quix", "extends: unknown name 'quix' (did you mean 'quux'?) ({path})"),
        ("extends: [quux, zzzzz]", "extends: unknown name 'zzzzz' ({path})"),
        ("extends: ../default", "extends: unknown name '../default' ({path})"),
        ("extends: 3", "extends: expected a name or a list of names, got 3 ({path})"),
        ("extends: [[quux]]", "extends: expected a name or a list of names, got [['quux']] ({path})"),
        ("extends: mine", "extends: expected no circle, got mine -> mine ({path})"),
        ("extends: back", "extends: expected no circle, got mine -> back -> mine ({folder}/back.yaml)"),
    ],
)
def test_a_mistake_in_extends_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    folder = own_folder(tmp_path, mine=text, quux="", back="extends: mine")
    with pytest.raises(UserError) as caught:
        load_config("mine", "warehouse", config_dir=folder)
    algs = folder / "algs"
    assert str(caught.value) == message.format(path=algs / "mine.yaml", folder=algs)


def test_environments_and_presets_extend_others_of_their_folder(tmp_path: Path) -> None:
    folder = own_folder(tmp_path, mine="")
    (folder / "envs").unlink()
    (folder / "envs").mkdir()
    (folder / "envs" / "big.yaml").write_text("extends: _small\nenv_args: {n_agents: 16}")
    (folder / "envs" / "_small.yaml").write_text(
        "env: warehouse\nenv_args: {n_agents: 4, episode_limit: 7}\ngamma: 0.5"
    )
    (folder / "presets" / "old.yaml").write_text("lr: 0.1\nenvs: {big: {gamma: 0.1, t_max: 5}}")
    (folder / "presets" / "older.yaml").write_text("extends: old\nenvs: {big: {gamma: 0.2}}")
    config = load_config("mine", "big", ["preset=older", "seed=1"], config_dir=folder)
    assert config["env_args"] == {"n_agents": 16, "episode_limit": 7, "seed": 1}
    assert (config["gamma"], config["lr"], config["t_max"]) == (0.2, 0.1, 5)


def test_a_user_s_algorithm_may_extend_a_shipped_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    folder = own_folder(tmp_path, **{path.stem: path.read_text() for path in ALG_FILES})
    (folder / "algs" / "mine.yaml").write_text("extends: vast_qmix\nname: mine\nplugin_width: 3")
    config = load_config("mine", "warehouse", ["seed=1"], config_dir=folder)
    expected = load_config("vast_qmix", "warehouse", ["seed=1"])
    assert config == {**expected, "name": "mine", "plugin_width": 3}
    assert [record.message for record in caplog.records] == [f"{folder}/algs/mine.yaml: new key 'plugin_width'"]


def test_a_new_key_is_announced_once_by_the_lowest_file_that_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = own_folder(tmp_path, _part="plugin_width: 2", mine="extends: _part\nplugin_width: 3")
    assert load_config("mine", "warehouse", config_dir=folder)["plugin_width"] == 3
    assert [record.message for record in caplog.records] == [f"{folder}/algs/_part.yaml: new key 'plugin_width'"]
    (folder / "algs" / "mine.yaml").write_text("extends: _part\nplugin_widht: 3")
    with pytest.raises(UserError, match="^plugin_widht: unknown key in .*mine.yaml: use 'plugin_width'"):
        load_config("mine", "warehouse", config_dir=folder)


def test_no_line_stands_in_two_algorithm_files() -> None:
    """Comments and extends lines included; blanks do not count."""
    lines = Counter(
        line for path in ALG_FILES for line in {" ".join(line.split()) for line in path.read_text().splitlines()} - {""}
    )
    assert len(lines) > 50 and [line for line, files in lines.items() if files > 1] == []


def test_every_fragment_is_extended() -> None:
    used = {Path(layer.source).stem for name in available(CONFIG_DIR, "algs") for layer in algorithm_layers(name)}
    assert used == {path.stem for path in ALG_FILES}


def algorithm_layers(name: str) -> list[Any]:
    return file_layers(CONFIG_DIR / "algs" / f"{name}.yaml")


# --- print_config and the page ---


def test_print_config_shows_value_origin_and_comment_of_each_key() -> None:
    settings = resolve("vast_qmix_ac", "battle", ["preset=released", "lr=1/4", "env_args.n_agents=8", "seed=5"])
    lines = {line.split(" = ")[0]: re.split(r"  +", line) for line in describe(settings).splitlines()}
    assert lines.keys() == {key for key in settings.kinds if key in settings.origins}
    robots = comments(CONFIG_DIR / "envs" / "battle.yaml")["env_args.n_agents"]
    folder = "folder with one sub-folder of models per time step; empty: start fresh"
    released = "presets/released.yaml"
    shown = {
        "lr": ("lr = 0.25", "with", "learning rate of the policies"),
        "env_args.n_agents": ("env_args.n_agents = 8", "with", robots),
        "env_args.recovery": (
            "env_args.recovery = 0.1",
            "envs.battle in presets/released.yaml",
            "health points per step",
        ),
        "env_args.seed": ("env_args.seed = 5", "seed", "integer; null draws one"),
        "agent": ("agent = ff", released, "two layers without memory"),
        "gamma": ("gamma = 0.99", "envs/battle.yaml", "discount per environment step"),
        "eta": ("eta = 0.25", "algs/_vast.yaml", "sub-team ratio in [1/N, 1]; K = ceil(eta * N) sub-teams"),
        "mac": ("mac = basic_mac", "default.yaml", "multi-agent controller"),
        "checkpoint_path": ("checkpoint_path = ''", "default.yaml", folder),
    }
    assert {key: tuple(lines[key]) for key in shown} == shown


def test_print_config_shows_no_secret() -> None:
    settings = resolve("qmix", "warehouse", ["mongo_url=mongodb://u:hunter2@h/db"])
    assert "hunter2" not in describe(settings) and "mongo_url = ***" in describe(settings)


@pytest.mark.parametrize("key", ["runner", "mac", "learner"])
def test_print_config_refuses_parts_that_no_run_finds(key: str) -> None:
    with pytest.raises(UserError, match="^unknown .* 'nope': registered are"):
        describe(resolve("qmix", "warehouse", [f"{key}=nope"]))


def test_comments_go_on_below_and_are_told_from_values(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        'a: "x # y"   # one\n'
        "             # two\n"
        "# not of a\n"
        "b: [1,\n"
        "    2]  # of b\n"
        "c:\n"
        "  d: 1  # of d\n"
        "e: 1\n"
        "f: {}  # of f\n"
    )
    found = {key: text for key, text in comments(tmp_path / "x.yaml").items() if text}
    assert found == {"a": "one two", "b": "of b", "c.d": "of d", "f": "of f"}


def test_every_shipped_key_has_a_comment() -> None:
    texts = [comments(path) for path in [CONFIG_DIR / "default.yaml", *ALG_FILES]]
    assert [key for key in KEYS if "." not in key and not any(text.get(key) for text in texts)] == []


def test_the_page_of_settings_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "PYTHONPATH=src python -m settings.listing writes it anew"


def test_the_page_has_a_row_for_each_key() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \|", page(), flags=re.MULTILINE)
    assert {*rows} >= KEYS.keys() and "env_args.recovery" in rows


# --- what else follows ---


def test_the_runs_of_a_curve_may_differ_in_what_they_could_before() -> None:
    """Written down here once more, on purpose: a key that leaves this list splits curves, one that joins it merges."""
    assert FREE == {
        *("seed", "env_args.seed", "repeat_id", "label", "local_results_path", "mongo_url", "mongo_db"),
        *("use_tensorboard", "sinks", "log_interval", "runner_log_interval", "learner_log_interval", "env_args.render"),
        *("save_model", "save_model_interval", "save_replay", "use_cuda", "buffer_cpu_only", "n_threads"),
    }


def test_settings_are_told_without_the_wait_for_pytorch() -> None:
    code = "import sys, settings.load, settings.listing, analysis.groups; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=SRC).returncode == 0


def test_settings_import_nothing_that_stands_above_them() -> None:
    for path in (SRC / "settings").glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = itertools.chain.from_iterable(
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for node in nodes
            if isinstance(node, ast.Import | ast.ImportFrom)
        )
        own = {name.split(".")[0] for name in names if (SRC / name.split(".")[0]).is_dir()}
        assert own <= {"settings", "utils"}, path
