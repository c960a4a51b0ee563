"""What the domains say of how they look, and the live look at them."""

import io
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch as th

from envs import live
from envs.battle import Battle
from envs.gaussian_squeeze import GaussianSqueeze
from envs.live import TOP_OF_SCREEN, open_view
from envs.scene import Piece, Scene, Tile, scene_of
from envs.warehouse import Warehouse
from run import build
from settings.load import load_config
from utils.errors import UserError


def warehouse(render=None):
    """Four robots on the paper's map 3 x 5, whose stations are (1, 0) and (1, 4)."""
    env = Warehouse(4, 50, False, True, seed=0, render=render)
    env.reset()
    env.positions = np.array([(0, 1), (2, 2), (1, 4), (1, 1)])
    env.remaining = np.array([(2, 1, 0, 2), (0, 0, 1, 0), (0, 0, 0, 0), (1, 0, 0, 0)])
    return env


def battle(render=None):
    env = Battle(2, 50, False, 0.0, layout="A.O\nA.O", seed=0, render=render)
    env.reset()
    return env


# --- scenes ---


def test_the_scene_of_a_warehouse_shows_ground_robots_and_orders():
    scene = scene_of(warehouse())
    assert (scene.width, scene.height, scene.step, scene.opponents) == (3, 5, 0, ())
    assert scene.agents == (
        Piece(0, 1, label="11244"),
        Piece(2, 2, label="3"),
        Piece(1, 4, label="W"),
        Piece(1, 1, label="1"),
    )
    stations = [Tile(1, 0, "work station", "W"), Tile(1, 4, "work station", "W")]
    drop_offs = [
        Tile(1, 1, "drop-off", "1"),
        Tile(0, 2, "drop-off", "3"),
        Tile(2, 2, "drop-off", "4"),
        Tile(1, 3, "drop-off", "2"),
    ]
    obstacles = [Tile(x, y, "obstacle") for x, y in [(0, 0), (2, 0), (1, 2), (0, 4), (2, 4)]]
    assert sorted(scene.tiles, key=str) == sorted([*stations, *drop_offs, *obstacles], key=str)
    assert dict(scene.performance) == {"completed orders": 0}


def test_the_scene_of_a_warehouse_follows_what_happens():
    env = warehouse()
    # The first moves east into the fourth, which delivers its item; the third completes its order.
    env.step([4, 0, 5, 5])
    scene = scene_of(env)
    assert [agent.collided for agent in scene.agents] == [True, False, False, False]
    assert [(agent.x, agent.y) for agent in scene.agents] == [(0, 1), (2, 2), (1, 4), (1, 1)]
    assert scene.agents[3].label == "W" and len(scene.agents[2].label) == 5
    assert scene.step == 1 and scene.performance["completed orders"] == 1
    env.step([0, 0, 0, 0])
    assert not any(agent.collided for agent in scene_of(env).agents)
    env.step([4, 0, 0, 0])
    env.reset()
    assert not any(agent.collided for agent in scene_of(env).agents)


def test_the_scene_of_a_battle_shows_both_armies_and_their_health():
    env = battle()
    env.positions, env.health = np.array([(0, 1), (2, 0)]), np.array([1.5, 0.0])
    env.opponent_positions, env.opponent_health = np.array([(1, 1), (1, 1)]), np.array([3.0, 0.75])
    scene = scene_of(env)
    assert (scene.width, scene.height, scene.tiles) == (3, 2, ())
    assert scene.agents == (Piece(0, 1, 0.5), Piece(2, 0, 0.0))
    assert scene.opponents == (Piece(1, 1, 1.0), Piece(1, 1, 0.25))
    assert [agent.alive for agent in scene.agents] == [True, False]
    assert dict(scene.performance) == {"kill count": -1}


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        ("a drawing", "expected an envs.scene.Scene, got 'a drawing'"),
        (Scene(2, 2, (Piece(0, 0),)), "expected 2 agents, got 1"),
        (Scene(2, 2, (Piece(0, 0), Piece(0, 2))), "expected cells on a board of 2 x 2, got Piece(x=0, y=2"),
        (Scene(2, 2, (Piece(0, 0),) * 2, tiles=(Tile(-1, 0, "sand"),)), "expected cells on a board of 2 x 2, got Tile"),
    ],
)
def test_a_scene_that_cannot_be_drawn_is_refused(scene, message):
    with pytest.raises(UserError) as error:
        scene_of(SimpleNamespace(n_agents=2, get_scene=lambda: scene))
    assert message in str(error.value)


def test_an_environment_without_a_scene_is_told_what_to_implement():
    with pytest.raises(
        UserError, match=r"^GaussianSqueeze cannot be drawn: expected a method get_scene\(\) that returns"
    ):
        scene_of(GaussianSqueeze(3))


# --- the live look ---


class Stdout(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.isatty = lambda: terminal


@pytest.fixture
def stdout(monkeypatch):
    """Replaces the process's stdout; called with whether it is a terminal."""
    monkeypatch.setattr(live, "FRAME_SECONDS", 0)

    def _stdout(terminal):
        monkeypatch.setattr(sys, "__stdout__", Stdout(terminal))
        return sys.__stdout__

    return _stdout


@pytest.mark.parametrize("make", [warehouse, battle])
def test_a_terminal_shows_each_step_in_place(stdout, make):
    out = stdout(terminal=True)
    env = make("terminal")
    texts = out.getvalue()
    for _ in range(3):
        env.step([0] * env.n_agents)
        texts += f"{TOP_OF_SCREEN}{env.render()}\n\n"
    assert out.getvalue() == texts and texts.count(TOP_OF_SCREEN) == 4


def test_a_file_gets_plain_frames(stdout):
    out = stdout(terminal=False)
    env = battle("terminal")
    assert out.getvalue() == env.render() + "\n\n" and "\x1b" not in out.getvalue()


@pytest.mark.parametrize(("env", "n_agents"), [("warehouse", 4), ("battle", 4)])
def test_looking_changes_nothing(stdout, env, n_agents):
    out = stdout(terminal=True)
    episodes = {}
    for render in ("null", "terminal"):
        updates = ["seed=3", f"env_args.n_agents={n_agents}", "env_args.episode_limit=6", "buffer_size=32"]
        experiment = build(load_config("qmix", env, [*updates, f"env_args.render={render}"]))
        episodes[render] = [experiment.runner.run(test_mode=False) for _ in range(2)]
        experiment.close()
    for quiet, watched in zip(episodes["null"], episodes["terminal"], strict=True):
        for key, values in quiet.data.transition_data.items():
            assert th.equal(values, watched.data.transition_data[key]), key
    steps = sum(episode.max_t_filled() for episode in episodes["terminal"])
    assert out.getvalue().count(TOP_OF_SCREEN) == steps  # one frame for every situation


class FakeTk:
    """A window that keeps a record of what was shown."""

    def __init__(self):
        self.alive, self.shown = True, []
        FakeTk.latest = self

    def title(self, text):
        pass

    def protocol(self, event, handler):
        assert event == "WM_DELETE_WINDOW"
        self.close_button = handler

    def update(self):
        assert self.alive

    def destroy(self):
        self.alive = False


class FakeLabel:
    def __init__(self, window):
        self.window = window

    def pack(self):
        pass

    def configure(self, image):
        self.window.shown.append(image)


@pytest.fixture
def tkinter(monkeypatch):
    """A tkinter whose windows need no display."""
    tkinter, image_tk = ModuleType("tkinter"), ModuleType("PIL.ImageTk")
    tkinter.Tk, tkinter.Label, tkinter.TclError = FakeTk, FakeLabel, RuntimeError
    image_tk.PhotoImage = lambda image, master: SimpleNamespace(size=image.size)
    monkeypatch.setitem(sys.modules, "tkinter", tkinter)
    monkeypatch.setitem(sys.modules, "PIL.ImageTk", image_tk)
    monkeypatch.setattr("PIL.ImageTk", image_tk, raising=False)
    monkeypatch.setattr(live, "FRAME_SECONDS", 0)
    return tkinter


def test_a_window_shows_each_step_until_it_is_closed(tkinter):
    env = warehouse("window")
    window = FakeTk.latest
    env.step([0] * 4)
    assert len(window.shown) == 2 and window.shown[0].size == window.shown[1].size
    window.close_button()
    assert not window.alive
    env.step([0] * 4)
    env.close()
    assert len(window.shown) == 2


def test_the_environment_closes_its_window(tkinter):
    env = battle("window")
    env.close()
    assert not FakeTk.latest.alive


def test_a_window_without_a_display_is_refused(tkinter, monkeypatch):
    def no_display():
        raise tkinter.TclError("no display name and no $DISPLAY environment variable")

    tkinter.Tk = no_display
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(UserError, match=r"^env_args.render=window: no display .*\(DISPLAY is not set\).*give terminal"):
        open_view("window")
    monkeypatch.setenv("DISPLAY", ":77")
    with pytest.raises(UserError, match=r"\(DISPLAY is :77\)"):
        open_view("window")


def test_a_python_without_tkinter_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(UserError, match="^env_args.render=window: expected a Python with tkinter"):
        open_view("window")


def test_a_process_without_stdout_is_told(monkeypatch):
    monkeypatch.setattr(sys, "__stdout__", None)
    with pytest.raises(UserError, match="^env_args.render: .*no stdout"):
        open_view("terminal")


@pytest.mark.parametrize("render", ["screen", True, ["window"]])
def test_an_unknown_look_is_refused(render):
    with pytest.raises(UserError, match="^env_args.render: expected terminal, window or null, got"):
        warehouse(render)


@pytest.mark.parametrize("runner", ["vector", "parallel"])
def test_several_environments_cannot_be_looked_at(runner):
    config = load_config("qmix", "battle", ["env_args.render=terminal", f"runner={runner}", "batch_size_run=2"])
    with pytest.raises(UserError, match=rf"^env_args.render=terminal: .*expected runner=episode, got runner={runner}"):
        build(config)
