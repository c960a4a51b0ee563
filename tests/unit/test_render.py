"""The command line that draws a checkpoint's agents at play."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch as th
from PIL import Image

import render
from assigners import REGISTRY as ASSIGNERS
from assigners.base import Assigner, Assignment
from envs import REGISTRY as ENVS
from rendering import play as playing
from run import build
from settings.load import load_config

STEPS = 6  # of an episode


def train(folder, alg, env, *updates):
    """The token folder of a run of a few steps."""
    quick = ["seed=3", "use_cuda=false", "t_max=20", "save_model=true", "batch_size=4", "buffer_size=8"]
    quick += ["test_nepisode=1", "absolute_nepisode=0", f"local_results_path={folder}"]
    experiment = build(load_config(alg, env, [*quick, *updates]))
    experiment.run()
    experiment.close()
    return folder / "models" / experiment.token


@pytest.fixture(scope="session")
def battle(tmp_path_factory):
    """Eight agents in two sub-teams of X_MetaGrad; checkpoints 6 and 24 steps old."""
    limit = f"env_args.episode_limit={STEPS}"
    return train(tmp_path_factory.mktemp("battle"), "vast_qmix", "battle", "env_args.n_agents=8", limit, "eta=1/4")


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory):
    limit = f"env_args.episode_limit={STEPS}"
    return train(tmp_path_factory.mktemp("warehouse"), "qmix", "warehouse", limit, "env_args.render=null")


@pytest.fixture(scope="session")
def squeeze(tmp_path_factory):
    return train(
        tmp_path_factory.mktemp("squeeze"), "vast_vdn", "gaussian_squeeze", "env_args.n_agents=4", "batch_size=2"
    )


@pytest.fixture
def draw(tmp_path, monkeypatch, capsys):
    """Calls the command line with pictures in a folder of their own; returns those, by name. Without an encoder."""
    monkeypatch.setattr(render, "encoder", lambda: None)

    def _draw(*arguments, out=tmp_path / "out"):
        words = [str(argument) for argument in arguments]
        split = words.index("with") if "with" in words else len(words)
        status = render.cli(["render.py", *words[:split], "--out", str(out), *words[split:]])
        assert status == 0, capsys.readouterr().err
        return {path.name: path for path in sorted(out.iterdir())}

    return _draw


@pytest.fixture
def films(monkeypatch):
    """All films that are played."""
    found = []

    def play(*arguments, **options):
        found.append(playing.play(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(render, "play", play)
    return found


def fails(capsys, *arguments):
    """The one line that the command line ends with."""
    assert render.cli(["render.py", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1, err
    return err[len("error: ") :]


# --- films ---


def test_a_film_of_the_latest_step(battle, draw, films, capsys):
    before = sorted(battle.rglob("*"))
    pictures = draw(battle)
    latest = max(int(path.name) for path in battle.iterdir() if path.name.isdigit())
    assert list(pictures) == [f"battle8_metagrad_{latest}.gif"]
    assert sorted(battle.rglob("*")) == before
    ((film,),) = films
    assert len(film) == STEPS + 1 == len(film.rewards) + 1 and film.title == "battle[8], vast_qmix, assigner metagrad"
    with Image.open(pictures[f"battle8_metagrad_{latest}.gif"]) as gif:
        assert gif.n_frames == len(film) and gif.info["duration"] == 200
    out = capsys.readouterr().out.splitlines()
    assert out == [
        f"wrote {pictures[f'battle8_metagrad_{latest}.gif']}",
        "no MP4: neither the package imageio-ffmpeg nor the program ffmpeg is installed",
    ]


def test_a_step_of_its_own_and_the_best(battle, draw, tmp_path):
    first = min(int(path.name) for path in battle.iterdir() if path.name.isdigit())
    assert list(draw(battle / str(first))) == [f"battle8_metagrad_{first}.gif"]
    (best,) = (battle / "best").iterdir()
    assert f"battle8_metagrad_{best.name}.gif" in draw(battle / "best", out=tmp_path / "best")
    assert f"battle8_metagrad_{best.name}.gif" in draw(best, out=tmp_path / "step")


def test_the_models_of_the_step_are_loaded(battle, monkeypatch):
    loaded = []
    monkeypatch.setattr(render, "play", lambda experiment, *_, **__: loaded.append(experiment) or _stop())
    for step in (path for path in battle.iterdir() if path.name.isdigit()):
        with pytest.raises(StopIteration):
            render.render(["render.py", str(step)])
        agent = loaded[-1].mac.agent.state_dict()
        saved = th.load(step / "agent.th")
        assert all(th.equal(agent[key], saved[key]) for key in saved) and loaded[-1].runner.t_env == int(step.name)


def _stop():
    raise StopIteration


def test_the_scenes_are_those_of_the_episode(warehouse, draw, films):
    draw(warehouse, "--seed", 5)
    ((film,),) = films
    config = json.loads((warehouse / "config.json").read_text())
    env = ENVS["warehouse"](**{**config["env_args"], "seed": 5})
    env.reset()
    assert film.scenes[0] == env.get_scene() and film.subteams is None
    assert [scene.step for scene in film.scenes] == list(range(STEPS + 1))
    assert film.title == "warehouse[4], qmix"


def test_a_film_repeats_bit_for_bit(battle, draw, tmp_path):
    one, two = draw(battle, out=tmp_path / "one"), draw(battle, out=tmp_path / "two")
    other = draw(battle, "--seed", 8, out=tmp_path / "other")
    assert [path.read_bytes() for path in one.values()] == [path.read_bytes() for path in two.values()]
    assert [path.read_bytes() for path in one.values()] != [path.read_bytes() for path in other.values()]


def test_sampling_explores_as_in_training(battle, draw, films):
    for how in (["--greedy"], [], ["--sample"]):
        draw(battle, *how)
    greedy, default, sampled = (film.scenes for (film,) in films)
    assert greedy == default != sampled


def test_policies_are_greedy_only_on_request(battle):
    configs = []
    for how in (["--greedy"], []):
        options = render._parse(["render.py", str(battle), *how, "with", "test_greedy=false"])
        configs.append(render.configuration(options, render.find(str(battle)), None))
    assert [config["test_greedy"] for config in configs] == [True, False]


def test_several_episodes_and_single_frames(warehouse, draw, films):
    pictures = draw(warehouse, "--episodes", 2, "--frames", f"0,{STEPS}", "--fps", 10)
    step = render.find(str(warehouse)).step
    endings = [".gif", "_step000.png", f"_step{STEPS:03d}.png"]
    assert list(pictures) == [f"warehouse4_{step}_episode{n}{ending}" for n in (1, 2) for ending in endings]
    one, two = films[0]
    assert one.scenes != two.scenes
    with Image.open(pictures[f"warehouse4_{step}_episode2.gif"]) as gif:
        assert gif.info["duration"] == 100
        for t in (0, STEPS):
            gif.seek(t)
            with Image.open(pictures[f"warehouse4_{step}_episode2_step{t:03d}.png"]) as png:
                frame, shown = np.asarray(png), np.asarray(gif.convert("RGB"))
            assert frame.shape == shown.shape
            differs = (abs(frame.astype(int) - shown) > 60).mean()  # a GIF has fewer colours at smooth edges
            assert differs == 0, t


def test_an_mp4_where_there_is_an_encoder(warehouse, draw, monkeypatch, capsys):
    monkeypatch.setattr(render, "encoder", lambda: "ffmpeg")
    monkeypatch.setattr(render, "write_mp4", lambda gif, path, ffmpeg: shutil.copy(gif, path))
    gif, mp4 = draw(warehouse).values()
    assert (gif.suffix, mp4.suffix) == (".gif", ".mp4") and "no MP4" not in capsys.readouterr().out


def test_pictures_lie_beside_the_models_by_default(warehouse, monkeypatch, capsys):
    monkeypatch.setattr(render, "encoder", lambda: None)
    assert render.cli(["render.py", str(warehouse)]) == 0
    folder = warehouse.parents[1] / "renders" / warehouse.name
    assert [path.suffix for path in folder.iterdir()] == [".gif"]
    shutil.rmtree(folder.parent)


def test_overrides_after_with(battle, draw, films):
    draw(battle, "with", "env_args.episode_limit=2")
    assert len(films[0][0]) == 3


# --- sub-teams ---


class Halves(Assigner):
    """A user's own: the first half and the second, which change places at every step."""

    def forward(self, batch, greedy=False):
        obs = batch["obs"]
        half = (th.arange(self.n_agents) >= self.n_agents // 2).long()
        turn = th.arange(obs.shape[1]).view(1, -1, 1) % 2
        return Assignment((half + turn) % 2 * th.ones(obs.shape[:3], dtype=th.long))


def test_the_sub_teams_are_the_assigners_greedy_ones(battle, draw, films, monkeypatch):
    kept = []

    def assign(assigner, batch):
        kept.append((assigner, batch))
        return playing_assign(assigner, batch)

    playing_assign = playing.assign
    monkeypatch.setattr(playing, "assign", assign)
    draw(battle)
    ((film,),), ((assigner, batch),) = films, kept
    assert batch.max_seq_length == STEPS + 1 and film.n_subteams == 2
    most_probable = assigner.logits(batch).argmax(-1)  # [T, N]: there is one episode
    assert np.array_equal(film.subteams, most_probable.numpy())
    # The picture is coloured by them: the disc of agent 0 at the start, in the middle of its body.
    painter = film.painter()
    shown = sorted(np.unique(film.subteams).tolist())
    colours = ["#0072b2", "#e69f00"]
    discs = [shape.fill for shape in painter.board(0, 0, 0) if getattr(shape, "radius", 0) and shape.fill in colours]
    order = sorted(range(8), key=lambda agent: [(a.x, a.y) for a in film.scenes[0].agents].index(_place(film, agent)))
    assert discs == [colours[shown.index(film.subteams[0][agent])] for agent in order]


def _place(film, agent):
    return film.scenes[0].agents[agent].x, film.scenes[0].agents[agent].y


@pytest.mark.parametrize("assigner", ["fixed", "random", "spatial", "halves"])
def test_other_sub_teams_of_the_same_episode(battle, draw, films, monkeypatch, assigner):
    monkeypatch.setitem(ASSIGNERS, "halves", Halves)
    draw(battle)
    pictures = draw(battle, "--assigner", assigner)
    assert any(name.startswith(f"battle8_{assigner}_") for name in pictures)
    (own,), (other,) = films
    assert other.scenes == own.scenes and other.assigner == assigner
    assert other.subteams.shape == own.subteams.shape == (STEPS + 1, 8)
    if assigner == "fixed":
        assert (other.subteams == np.arange(8) % 2).all()
    if assigner == "halves":
        assert (other.subteams[:2] == [[0, 0, 0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0]]).all()


# --- figures ---


def test_figure_6_has_two_rows_of_three_panels(battle, draw, films):
    pictures = draw(battle, "--figure", 6, "--assigner", "metagrad,spatial", "--sample")
    step = render.find(str(battle)).step
    assert list(pictures) == [f"battle8_figure6_{step}.png", f"battle8_figure6_{step}.svg"]
    svg = pictures[f"battle8_figure6_{step}.svg"].read_text()
    for text in ("metagrad", "spatial", "(a) early", "(b) middle", "(c) late", "(d) early", "(e) middle", "(f) late"):
        assert svg.count(f">{text}") == 1, text
    (first,), (second,) = films
    assert (first.assigner, second.assigner) == ("metagrad", "spatial") and first.scenes == second.scenes


def test_figure_10_shows_the_most_split_of_several_episodes(battle, draw, films):
    pictures = draw(battle, "--figure", 10, "--episodes", 3, "--steps", "0,1,2,3", "--sample")
    svg = next(path for name, path in pictures.items() if name.endswith(".svg")).read_text()
    assert "(d) panel 4: step 3" in svg and "(e)" not in svg and len(films[0]) == 3


# --- mistakes ---


def test_help_and_the_command_line(capsys, battle):
    with pytest.raises(SystemExit) as done:
        render.cli(["render.py", "--help"])
    assert done.value.code == 0 and "CHECKPOINT" in capsys.readouterr().out
    for arguments, message in [
        ([], "command line: the following arguments are required: CHECKPOINT"),
        ([battle, "--frobnicate"], "command line: unrecognized arguments: --frobnicate"),
        ([battle, "--figure", "7"], "command line: argument --figure: invalid choice: 7"),
        ([battle, "--episodes", "0"], "argument --episodes: expected a whole number of at least 1, got 0"),
        ([battle, "--fps", "fast"], "argument --fps: expected a number above 0 and up to 50, got fast"),
        ([battle, "--frames", "1,x"], "argument --frames: expected steps such as 0,20,40, got 1,x"),
        ([battle, "--steps", "²"], "argument --steps: expected steps such as 0,20,40, got ²"),
        ([battle, "--frames", "1,²"], "argument --frames: expected steps such as 0,20,40, got 1,²"),
        ([battle, "--episodes", "²"], "argument --episodes: expected a whole number of at least 1, got ²"),
        ([battle, "--steps", "1,2"], "--steps: belongs to --figure"),
        ([battle, "--greedy", "--sample"], "argument --sample: not allowed with argument --greedy"),
        ([battle, "--assigner", "fixed,random"], "--assigner: expected one name without --figure, got fixed,random"),
        ([battle, "--seed", "-1"], "seed: expected a whole number from 0 to"),
    ]:
        assert message in fails(capsys, *arguments)


def test_what_is_no_checkpoint(tmp_path, capsys, battle):
    assert "checkpoint_path: " in fails(capsys, tmp_path / "nowhere")
    assert "holds no checkpoint" in fails(capsys, tmp_path)
    assert "is no folder" in fails(capsys, battle / "999999")


def test_a_checkpoint_without_a_configuration_needs_one_from_the_command_line(warehouse, tmp_path, capsys, draw):
    step = render.find(str(warehouse)).step
    shutil.copytree(warehouse / str(step), tmp_path / "pymarl" / str(step))
    message = fails(capsys, tmp_path / "pymarl")
    assert message.startswith("CHECKPOINT: ") and "has no config.json: give --config and --env-config" in message
    given = ["--config", "qmix", "--env-config", "warehouse", "with", f"env_args.episode_limit={STEPS}"]
    assert list(draw(tmp_path / "pymarl", *given)) == [f"warehouse4_{step}.gif"]
    capsys.readouterr()
    assert "--env-config: missing" in fails(capsys, tmp_path / "pymarl", "--config", "qmix")
    assert "does not fit this run" in fails(
        capsys, tmp_path / "pymarl", "--config", "qmix", "--env-config", "warehouse", "with", "env_args.n_agents=8"
    )


@pytest.mark.parametrize("update", ["env_args.n_agents=20", "rnn_hidden_dim=32"])
def test_a_checkpoint_of_another_shape(battle, capsys, tmp_path, update):
    message = fails(capsys, battle, "--out", tmp_path / "out", "with", update)
    assert "does not fit this run" in message and not (tmp_path / "out").exists()


def test_a_damaged_configuration(battle, tmp_path, capsys):
    copy = tmp_path / "token"
    shutil.copytree(battle, copy)
    for text, message in [("{", "config.json: cannot be read"), ("[1]", "expected the configuration of a run")]:
        (copy / "config.json").write_text(text)
        assert message in fails(capsys, copy)


def test_assigners_that_cannot_be(battle, warehouse, squeeze, capsys):
    assert "unknown assigner 'metagard' (did you mean 'metagrad'?)" in fails(capsys, battle, "--assigner", "metagard")
    assert "--assigner: qmix has no sub-teams" in fails(capsys, warehouse, "--assigner", "fixed")
    assert "spatial needs the agents' positions" in fails(capsys, squeeze, "--assigner", "spatial")


def test_an_assigner_that_was_not_trained(tmp_path, capsys):
    random = train(tmp_path, "vast_vdn", "warehouse", "assigner=random", f"env_args.episode_limit={STEPS}")
    assert "assigner.th' is missing" in fails(capsys, random, "--assigner", "metagrad")


@pytest.mark.parametrize("figure", [[], ["--figure", "6"]])
def test_an_environment_without_a_board(squeeze, capsys, tmp_path, figure):
    message = fails(capsys, squeeze, "--out", tmp_path / "out", *figure)
    assert message.startswith("GaussianSqueeze cannot be drawn: expected a method get_scene()")
    assert not (tmp_path / "out").exists()


def test_steps_that_the_episode_does_not_have(battle, capsys, tmp_path):
    for option in (["--frames", "7"], ["--figure", "6", "--steps", "1,2,7"]):
        message = fails(capsys, battle, "--out", tmp_path / "out", *option)
        assert f"{option[-2]}: expected steps up to {STEPS}, the last of the episode, got 7" in message
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder(battle, capsys, tmp_path):
    (tmp_path / "file").touch()
    assert fails(capsys, battle, "--out", tmp_path / "file" / "out").startswith("--out: cannot write to ")


def test_keys_that_do_not_exist(battle, capsys):
    assert "env_args.n_agent: unknown key (did you mean 'env_args.n_agents'?)" in fails(
        capsys, battle, "with", "env_args.n_agent=3"
    )
    assert "preset: " in fails(capsys, battle, "with", "preset=released")


def test_a_live_look_of_the_run_is_not_repeated(battle, draw, films):
    draw(battle, "with", "env_args.render=window")
    assert len(films[0][0]) == STEPS + 1


def test_the_page_shows_only_pictures_that_are_there():
    docs = Path(__file__).resolve().parents[2] / "docs"
    page = (docs / "rendering.md").read_text()
    pictures = [part.split(")")[0] for part in page.split("](pictures/")[1:]]
    assert len(pictures) >= 3 and all((docs / "pictures" / picture).is_file() for picture in pictures)
