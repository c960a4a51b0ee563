"""docs/experiments.md has the command of every curve of the VAST paper's figures, and each says what the paper says."""

from __future__ import annotations

import re
import shlex
from itertools import product
from pathlib import Path

import pytest

from settings.load import CONFIG_DIR, load_config
from settings.sources import read_yaml

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "experiments.md").read_text()
LOOP = "for seed in $(seq 1 30); do"

# From sections 5 and 6 of the paper: discount and number of environment steps of a domain.
DOMAINS = {"warehouse": (0.95, 1_500_000), "battle": (0.99, 2_000_000), "gaussian_squeeze": (1.0, 100_000)}
# A curve is Psi, X and eta; without X and eta it is flat.
OPERATORS = {(psi, "metagrad", 0.5) for psi in ("IL", "VDN", "QMIX", "QTRAN")}
STATE_OF_THE_ART = {
    *{("QTRAN", "metagrad", 0.25), ("QTRAN", "metagrad", 0.5)},
    *{("QMIX", None, None), ("QTRAN", None, None), ("IL", None, None)},
}
STRATEGIES = {("QTRAN", x, 0.25) for x in ("random", "fixed", "spatial", "metagrad")}
PANELS = {
    "Figure 3a: Warehouse[4]": ("warehouse", 4, OPERATORS),
    "Figure 3b: Battle[20]": ("battle", 20, OPERATORS),
    "Figure 3c: GaussianSqueeze[200]": ("gaussian_squeeze", 200, OPERATORS),
    "Figure 4a: Warehouse[4]": ("warehouse", 4, STATE_OF_THE_ART),
    "Figure 4b: Battle[20]": ("battle", 20, STATE_OF_THE_ART),
    "Figure 4c: GaussianSqueeze[200]": ("gaussian_squeeze", 200, STATE_OF_THE_ART),
    "Figure 4d: Warehouse[16]": ("warehouse", 16, STATE_OF_THE_ART),
    "Figure 4e: Battle[80]": ("battle", 80, STATE_OF_THE_ART),
    "Figure 4f: GaussianSqueeze[800]": ("gaussian_squeeze", 800, STATE_OF_THE_ART),
    "Figure 8, medium: Warehouse[8]": ("warehouse", 8, STATE_OF_THE_ART),
    "Figure 8, medium: Battle[40]": ("battle", 40, STATE_OF_THE_ART),
    "Figure 8, medium: GaussianSqueeze[400]": ("gaussian_squeeze", 400, STATE_OF_THE_ART),
    # The best baseline of these is a curve of Figures 4d to 4f.
    "Figure 5a: Warehouse[16]": ("warehouse", 16, STRATEGIES),
    "Figure 5b: Battle[80]": ("battle", 80, STRATEGIES),
    "Figure 5c: GaussianSqueeze[800]": ("gaussian_squeeze", 800, STRATEGIES - {("QTRAN", "spatial", 0.25)}),
}
MIXERS = {None: "IL", "none": "IL", "vdn": "VDN", "qmix": "QMIX", "qtran": "QTRAN"}


def sections():
    """The text below each heading of any level."""
    parts = re.split(r"^#+ (.*)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(text):
    """Every line of the fenced blocks that calls the program; the loop over seeds stands for its 30 commands."""
    found = []
    for block in re.findall(r"^```bash\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        lines = [line.strip() for line in block.splitlines()]
        if lines[0] == LOOP:
            assert lines[2:] == ["done"]
            found += [lines[1].replace("$seed", str(seed)) for seed in range(1, 31)]
        else:
            found += lines
    return found


def resolve(command):
    """The configuration of a command line, which is split as a shell would; it has no shell variables."""
    assert "$" not in command
    program, script, alg, env, word, *updates = shlex.split(command)
    assert (program, script, word) == ("python", "src/main.py", "with")
    (alg_flag, alg), (env_flag, env) = alg.split("="), env.split("=")
    assert (alg_flag, env_flag) == ("--config", "--env-config")
    return load_config(alg, env, updates)


def curve(config):
    """Psi, X and eta of a resolved configuration, whatever it is called."""
    if config["mixer"] == "vast_mixer":
        return MIXERS[config["subteam_mixer"]], config["assigner"], config["eta"]
    return MIXERS[config["mixer"]], None, None


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


def test_the_page_has_the_panels_of_the_figures_and_no_others():
    assert [title for title in sections() if re.match(r"Figure .*\[\d+\]$", title)] == [*PANELS]
    # Figure 8 has the three sizes of each domain, two of which are Figure 4's.
    sizes = {(env, n) for env, n, curves in PANELS.values() if curves == STATE_OF_THE_ART}
    pairs = [("warehouse", (4, 8, 16)), ("battle", (20, 40, 80)), ("gaussian_squeeze", (200, 400, 800))]
    assert sizes == {(env, n) for env, many in pairs for n in many}


@pytest.mark.parametrize("title", PANELS)
def test_each_panel_has_one_command_for_each_curve(title):
    env, n_agents, curves = PANELS[title]
    configs = [resolve(command) for command in commands(sections()[title])]
    found = [curve(config) for config in configs]
    assert len(found) == len(curves) and {*found} == curves
    for config in configs:
        assert (config["env"], config["env_args"]["n_agents"]) == (env, n_agents)
        assert (config["gamma"], config["t_max"]) == DOMAINS[env]
        assert (config["agent_output_type"], config["td_lambda"]) == (
            "pi_logits",
            1.0,
        )  # local actor-critic, section 5.2
        assert config["preset"] is None and config["seed"] == 1
        assert not config["standardise_advantages"] and config["entropy_coef"] == 0  # neither is in the paper


@pytest.mark.parametrize("title", PANELS)
def test_the_curves_of_a_panel_differ_in_psi_x_and_eta_only(title):
    configs = [resolve(command) for command in commands(sections()[title])]
    teams = [without(config, "name", "subteam_mixer", "assigner", "eta") for config in configs if "eta" in config]
    assert all(config == teams[0] for config in teams)
    for config in configs:
        shared = config.keys() & teams[0].keys() - {"name", "mixer", "learner"}
        assert {key: config[key] for key in shared} == {key: teams[0][key] for key in shared}


def test_the_loop_stands_for_30_seeds():
    looped = [resolve(command) for command in commands(sections()["The paper's experiments"])]
    assert [config["seed"] for config in looped] == [*range(1, 31)]
    assert {curve(config) for config in looped} == {("QTRAN", "metagrad", 0.25)}


def test_every_other_command_of_the_page_resolves():
    (point,) = commands(sections()["Any other point"])
    assert curve(resolve(point)) == ("QMIX", "fixed", 0.125)
    (released,) = commands(sections()["As in the released experiments"])
    assert resolve(released)["preset"] == "released"
    shown = re.findall(r"^ *python src/main\.py .*$", PAGE, flags=re.MULTILINE)
    assert len(shown) == sum(len(curves) for *_, curves in PANELS.values()) + 3  # those two and the loop's


@pytest.mark.parametrize("psi", ["none", "vdn", "qmix", "qtran"])
def test_one_configuration_reaches_every_operator(psi):
    """What the page says of `vast_qtran_ac` with another subteam_mixer."""
    names = {"none": "vast_il_ac", "vdn": "vast_vdn_ac", "qmix": "vast_qmix_ac", "qtran": "vast_qtran_ac"}
    for x, eta in product(("random", "fixed", "spatial", "metagrad"), ("1/4", "1/2")):
        updates = ("seed=1", f"assigner={x}", f"eta={eta}")
        configs = [
            load_config("vast_qtran_ac", "warehouse", [*updates, f"subteam_mixer={psi}"]),
            load_config(names[psi], "warehouse", updates),
        ]
        assert without(configs[0], "name") == without(configs[1], "name")
        assert curve(configs[0]) == (MIXERS[psi], x, float(eta[0]) / float(eta[2]))


def test_the_page_lists_what_released_sets():
    table = re.findall(r"^\| .*? \| (`.*?)` \|$", sections()["As in the released experiments"], flags=re.MULTILINE)
    listed = {assignment for cell in table for assignment in cell.strip("`").split()}
    preset = read_yaml(CONFIG_DIR / "presets" / "released.yaml")
    domains, algs = preset.pop("envs"), preset.pop("algs")
    assert domains.pop("gaussian_squeeze") == {"obs_agent_id": True}  # the exception that the table names
    env_args = {
        f"env_args.{key}": value for domain in domains.values() for key, value in domain.pop("env_args").items()
    }
    assert not any(domains.values()) and algs.keys() == {"il_ac"}
    values = {**preset, **env_args, **algs["il_ac"]}
    shown = {
        key: f"{value:g}".replace("+0", "") if isinstance(value, float) else str(value) for key, value in values.items()
    }
    assert listed == {f"{key}={text.lower()}" for key, text in shown.items()}
