"""Scenes to pictures: colours at their places, legends, captions, films, figures."""

import itertools
import stat
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from envs.drawing.draw import MARGIN, ROW, SUBTEAMS, Painter, draw_scene, style
from envs.drawing.raster import to_image
from envs.drawing.shapes import Box, Disc, Drawing, Text
from envs.scene import OBSTACLE, Piece, Scene, Tile
from rendering import files
from rendering.figures import choose_episode, draw_figure, spread, stages
from rendering.files import encoder, write_gif, write_mp4, write_png, write_svg
from rendering.play import Film
from rendering.svg import to_svg
from utils.errors import UserError

BLUE, ORANGE, GREEN, GREY, FLOOR = (0, 114, 178), (230, 159, 0), (0, 158, 115), (140, 140, 140), (247, 247, 247)


def film(scenes, subteams=None, rewards=None, n_subteams=5):
    subteams = None if subteams is None else np.array(subteams)
    rewards = np.zeros(len(scenes) - 1) if rewards is None else np.array(rewards)
    return Film("a title", scenes, rewards, subteams, n_subteams, "mine" if subteams is not None else "")


class Picture:
    """Scene t in pixels, which are asked for by cell and by the place in the cell (from its upper left corner)."""

    def __init__(self, scenes, subteams=None, t=0):
        self.scene = scenes[t]
        painter = Painter(scenes, None if subteams is None else np.array(subteams))
        self.cell = painter.cell
        self.image = to_image(painter.frame(t, ["caption"]))

    def at(self, x, y, right=0.5, down=0.5):
        left, top = MARGIN + x * self.cell, MARGIN + ROW + MARGIN // 2 + (self.scene.height - 1 - y) * self.cell
        return self.image.getpixel((round(left + right * self.cell), round(top + down * self.cell)))


def texts(drawing):
    return [shape.text for shape in drawing.shapes if isinstance(shape, Text)]


# --- the board ---


def test_agents_have_the_colour_of_their_sub_team_and_are_round():
    scene = Scene(4, 3, agents=(Piece(0, 0), Piece(3, 2), Piece(1, 1), Piece(2, 1)))
    picture = Picture([scene], [[8, 1, 8, 4]])  # shown in ascending order: 1, 4, 8
    assert [picture.at(*place) for place in [(0, 0), (3, 2), (1, 1), (2, 1)]] == [GREEN, BLUE, GREEN, ORANGE]
    assert picture.at(3, 0) == FLOOR
    assert picture.at(0, 0, 0.2, 0.2) == FLOOR and picture.at(0, 0, 0.2, 0.5) == GREEN  # a disc leaves out its corners


def test_opponents_are_grey_squares():
    scene = Scene(2, 1, agents=(Piece(0, 0),), opponents=(Piece(1, 0),))
    picture = Picture([scene], [[0]])
    assert picture.at(0, 0) == BLUE
    assert picture.at(1, 0) == picture.at(1, 0, 0.2, 0.2) == GREY


def test_the_north_is_at_the_top():
    picture = Picture([Scene(1, 2, agents=(Piece(0, 1),), tiles=(Tile(0, 0, OBSTACLE),))])
    assert picture.at(0, 1) == BLUE and picture.at(0, 0) == (92, 92, 92)


def test_the_dead_are_not_shown():
    agents, opponents = (Piece(0, 0, 0.0), Piece(1, 0, 1.0)), (Piece(2, 0, 0.0), Piece(3, 0, 0.5))
    picture = Picture([Scene(4, 1, agents, opponents)], [[0, 0]])
    assert [picture.at(x, 0, 0.5, 0.4) for x in range(4)] == [FLOOR, BLUE, FLOOR, GREY]


@pytest.mark.parametrize("health", [0.25, 0.5, 1.0])
def test_a_bar_shows_the_health_that_is_left(health):
    picture = Picture([Scene(1, 1, agents=(Piece(0, 0, health),))])
    row = [picture.at(0, 0, right / 64, 0.94) for right in range(64)]
    dark, light = row.count((34, 34, 34)), row.count((208, 208, 208))
    assert abs(dark - health * 0.8 * 64) <= 1 and abs(dark + light - 0.8 * 64) <= 1
    assert dark == 0 or row.index((34, 34, 34)) < 0.15 * 64  # from the left


def test_those_who_share_a_cell_divide_it():
    """Three in a cell: two places beside each other, and one below the first."""
    scene = Scene(1, 1, agents=(Piece(0, 0), Piece(0, 0)), opponents=(Piece(0, 0),))
    picture = Picture([scene], [[0, 1]])
    quarters = [picture.at(0, 0, right, down) for down in (0.25, 0.75) for right in (0.25, 0.75)]
    assert quarters == [BLUE, ORANGE, GREY, FLOOR]


def test_tiles_of_a_kind_share_a_colour_and_obstacles_are_dark():
    tiles = (Tile(0, 0, "dock"), Tile(1, 0, "shelf"), Tile(2, 0, "dock"), Tile(3, 0, OBSTACLE))
    picture = Picture([Scene(5, 1, agents=(Piece(4, 0),), tiles=tiles)])
    dock, shelf, dock_too, obstacle = (picture.at(x, 0) for x in range(4))
    assert dock == dock_too and len({dock, shelf, obstacle, FLOOR}) == 4 and max(obstacle) < 128 < min(dock)


def test_a_collision_is_a_red_ring():
    scene = Scene(2, 1, agents=(Piece(0, 0, collided=True), Piece(1, 0)))
    calm, hit = Picture([scene]).at(1, 0, 0.5 + 0.44, 0.5), Picture([scene]).at(0, 0, 0.5 + 0.44, 0.5)
    assert hit == (224, 0, 0) and calm == FLOOR


def test_labels_are_written_on_their_pieces_in_two_lines_if_long():
    scene = Scene(2, 1, agents=(Piece(0, 0, label="11244"), Piece(1, 0, label="W")), tiles=(Tile(0, 0, "dock", "D"),))
    shapes = Painter([scene]).frame(0, []).shapes
    labels = {shape.text: shape for shape in shapes if isinstance(shape, Text)}
    assert {"112", "44", "W", "D"} <= labels.keys()
    assert labels["112"].x == labels["44"].x == MARGIN + 32 and labels["W"].x == MARGIN + 96
    assert labels["112"].y < MARGIN // 2 + MARGIN + 32 < labels["44"].y


def test_labels_that_nobody_could_read_are_left_out():
    crowd = Scene(1, 1, agents=tuple(Piece(0, 0, label="9") for _ in range(25)))
    assert "9" not in texts(draw_scene(crowd))


# --- colours ---


def test_the_first_28_sub_teams_look_different():
    assert len({style(number) for number in range(28)}) == 28 and len(SUBTEAMS) == 7
    assert style(28) == style(0)


def test_rings_leave_the_middle_in_the_colour_of_the_sub_team():
    agents = tuple(Piece(x, 0) for x in range(28))
    picture = Picture([Scene(28, 1, agents)], [list(range(28))])
    for x in range(28):
        assert picture.at(x, 0) == tuple(int(SUBTEAMS[x % 7][i : i + 2], 16) for i in (1, 3, 5))


def dichromat(colour, matrix):
    """How somebody without one kind of cones sees a colour (Machado et al. 2009), in linear RGB."""
    linear = (np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255) ** 2.2
    return np.clip(matrix @ linear, 0, 1)


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ],
    ids=["protanopia", "deuteranopia", "tritanopia"],
)
def test_the_colours_differ_for_the_colour_blind(matrix):
    seen = [dichromat(colour, np.array(matrix)) ** (1 / 2.2) for colour in SUBTEAMS]
    nearest = min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2))
    assert nearest > 0.1  # of sqrt(3); red and green of equal brightness come to about 0.03


# --- legend and caption ---


def test_the_legend_names_the_sub_teams_and_counts_their_living_members():
    scenes = [
        Scene(
            3, 3, (Piece(0, 0, 1.0), Piece(1, 0, 1.0), Piece(2, 0, 0.0)), opponents=(Piece(2, 2, 1.0),), notes=("x: y",)
        ),
        Scene(
            3, 3, (Piece(0, 0, 1.0), Piece(1, 0, 0.0), Piece(2, 0, 0.0)), opponents=(Piece(2, 2, 0.0),), notes=("x: y",)
        ),
    ]
    painter = Painter(scenes, np.array([[3, 3, 9], [1, 3, 9]]))
    assert texts(painter.frame(0, [])) == ["sub-team 1: 0", "sub-team 3: 2", "opponents: 1", "x: y"]
    assert texts(painter.frame(1, [])) == ["sub-team 1: 1", "sub-team 3: 0", "opponents: 0", "x: y"]
    assert painter.active(0) == {3: 2} and painter.active(1) == {1: 1}
    one, two = painter.frame(0, ["a"]), painter.frame(1, ["a"])
    assert (one.width, one.height) == (two.width, two.height)  # frames of a film are of one size


def test_without_sub_teams_the_legend_counts_agents():
    assert texts(Painter([Scene(3, 1, (Piece(0, 0), Piece(1, 0)))]).frame(0, [])) == ["agents: 2"]


def test_a_long_legend_has_several_columns_and_nothing_sticks_out():
    scene = Scene(40, 1, tuple(Piece(x, 0) for x in range(40)))
    drawing = Painter([scene], np.arange(40)[None]).frame(0, ["a caption"])
    names = [shape for shape in drawing.shapes if isinstance(shape, Text) and shape.text.startswith("sub-team")]
    assert len(names) == 40 and len({(shape.x, shape.y) for shape in names}) == 40
    pixels = np.asarray(to_image(drawing))
    assert (pixels[:, -2:] == 255).all() and (pixels[-2:] == 255).all()


def test_the_caption_tells_step_return_performance_and_active_sub_teams():
    scenes = [Scene(2, 1, (Piece(0, 0), Piece(1, 0)), step=t, performance={"kill count": 3 - t}) for t in range(3)]
    shown = film(scenes, [[0, 4], [4, 4], [2, 4]], rewards=[1.25, -0.5])
    captions = [texts(shown.draw(shown.painter(), t))[:2] for t in range(3)]
    assert captions == [
        ["a title", "step 0 of 2 | return 0.00 | kill count 3 | 2 of 5 sub-teams active"],
        ["a title", "step 1 of 2 | return 1.25 | kill count 2 | 1 of 5 sub-teams active"],
        ["a title", "step 2 of 2 | return 0.75 | kill count 1 | 2 of 5 sub-teams active"],
    ]


def test_a_long_caption_widens_the_picture():
    scene = Scene(1, 1, (Piece(0, 0),))
    pixels = np.asarray(to_image(Painter([scene]).frame(0, ["many words " * 20])))
    assert pixels.shape[1] > 800 and (pixels[:, -3:] == 255).all()


def test_a_single_scene_has_a_caption_of_its_own():
    scene = Scene(1, 1, (Piece(0, 0),), step=4, performance={"orders": 2})
    assert texts(draw_scene(scene))[0] == "step 4 | orders 2"


# --- shapes to files ---


def test_shapes_become_pixels():
    shapes = (Box(2, 3, 4, 2, "#ff0000"), Disc(20, 10, 5, "#0000ff"), Box(0, 0, 0, 5, "#00ff00"))
    image = to_image(Drawing(30, 20, shapes))
    pixels = np.asarray(image)
    red = (pixels == (255, 0, 0)).all(-1)
    assert red.sum() == 8 and red[3:5, 2:6].all()
    assert (
        image.getpixel((20, 10)) == image.getpixel((24, 10)) == (0, 0, 255) and image.getpixel((26, 10)) == (255,) * 3
    )
    covered = (255.0 - pixels[:, 10:, 0]).sum() / 255
    assert covered == pytest.approx(np.pi * 5**2, rel=0.03)  # smooth edges count in part
    assert not (pixels == (0, 255, 0)).all(-1).any()  # nothing of no width


def test_a_larger_scale_enlarges_everything():
    small, large = (to_image(Drawing(20, 20, (Disc(10, 10, 6, "#0000ff"),)), scale) for scale in (1, 3))
    assert large.size == (60, 60) and large.getpixel((30, 30)) == (0, 0, 255) == small.getpixel((10, 10))
    assert large.getpixel((30 + 17, 30)) == (0, 0, 255) and large.getpixel((30 + 19, 30)) == (255,) * 3


def test_svg_holds_the_same_shapes():
    shapes = (Box(1, 2, 3, 4, "#ff0000"), Disc(5, 6.5, 7, "#00ff00"), Text(8, 9, "a < b & c", 10, "#0000ff", "middle"))
    root = ET.fromstring(to_svg(Drawing(30, 20, shapes)))
    assert root.attrib["viewBox"] == "0 0 30 20"
    _, box, disc, text = root
    assert [box.attrib[key] for key in ("x", "y", "width", "height", "fill")] == ["1", "2", "3", "4", "#ff0000"]
    assert [disc.attrib[key] for key in ("cx", "cy", "r", "fill")] == ["5", "6.5", "7", "#00ff00"]
    assert text.text == "a < b & c" and text.attrib["text-anchor"] == "middle" and text.attrib["font-size"] == "10"


def walk(steps=4):
    """A film in which an agent walks east and changes its sub-team at every step."""
    scenes = [Scene(steps + 1, 1, (Piece(t, 0),), step=t) for t in range(steps + 1)]
    shown = film(scenes, [[t] for t in range(steps + 1)])
    painter = shown.painter()
    return [shown.draw(painter, t) for t in range(steps + 1)], painter.cell


def test_a_gif_has_a_frame_for_every_scene_in_exact_colours(tmp_path):
    drawings, cell = walk()
    write_gif(drawings, tmp_path / "new" / "walk.gif", fps=4)
    with Image.open(tmp_path / "new" / "walk.gif") as gif:
        assert gif.n_frames == 5 and gif.info["loop"] == 0
        for t in range(5):
            gif.seek(t)
            assert gif.info["duration"] == 250
            frame = gif.convert("RGB")
            place = (MARGIN + round((t + 0.5) * cell), MARGIN + 2 * ROW + MARGIN // 2 + cell // 2)
            assert frame.getpixel(place) == tuple(int(SUBTEAMS[t][i : i + 2], 16) for i in (1, 3, 5))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["walk.gif"]


def test_a_gif_keeps_every_fill_and_comes_close_elsewhere(tmp_path):
    """Smooth edges of many colours and shades of grey right beside white."""
    shapes = [Disc(40 * x + 20, 40 * y + 20, 17, SUBTEAMS[(x + y) % 7]) for x in range(10) for y in range(5)]
    near = [Box(10 * i, 200, 10, 10, f"#{255 - i:02x}{255 - i:02x}{255 - i:02x}") for i in (0, 8, 16, 24)]
    drawing = Drawing(400, 220, (*shapes, *near, Text(5, 215, "grey edges of black letters", 9, "#222222")))
    write_gif([drawing], tmp_path / "a.gif", fps=4)
    exact = np.asarray(to_image(drawing)).astype(int)
    with Image.open(tmp_path / "a.gif") as gif:
        shown = np.asarray(gif.convert("RGB")).astype(int)
    fills = [tuple(int(shape.fill[i : i + 2], 16) for i in (1, 3, 5)) for shape in drawing.shapes]
    filled = np.any([(exact == fill).all(-1) for fill in {*fills, (255, 255, 255)}], axis=0)
    assert filled.mean() > 0.9 and (shown[filled] == exact[filled]).all()
    assert abs(shown - exact).max() < 60


def test_a_gif_keeps_colours_that_one_frame_has_alone(tmp_path):
    colours = [(200, 10 * t, 5) for t in range(25)]
    boxes = [Box(0, 0, 9, 9, f"#{red:02x}{green:02x}{blue:02x}") for red, green, blue in colours]
    write_gif([Drawing(20, 20, (box,)) for box in boxes], tmp_path / "a.gif", fps=4)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 25
        for t, colour in enumerate(colours):
            gif.seek(t)
            assert gif.convert("RGB").getpixel((4, 4)) == colour


def test_png_and_svg(tmp_path):
    drawing = walk()[0][0]
    write_png(drawing, tmp_path / "a.png", scale=2)
    write_svg(drawing, tmp_path / "a.svg")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (2 * drawing.width, 2 * drawing.height)
    assert (tmp_path / "a.svg").read_text() == to_svg(drawing)


def test_what_fails_leaves_the_old_file_and_nothing_half_written(tmp_path, monkeypatch):
    drawings, _ = walk()
    (tmp_path / "walk.gif").write_text("old")
    calls = itertools.count()

    def fails(drawing):
        if next(calls) > 8:
            raise RuntimeError("no memory")
        return to_image(drawing)

    monkeypatch.setattr(files, "to_image", fails)
    with pytest.raises(RuntimeError, match="no memory"):
        write_gif(drawings, tmp_path / "walk.gif", fps=4)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("walk.gif", "old")]


def test_a_file_that_cannot_be_written_is_a_mistake_of_one_line(tmp_path, monkeypatch):
    drawing = walk()[0][0]
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UserError, match=rf"^--out: cannot write to {tmp_path}/a.png: Is a directory$"):
        write_png(drawing, tmp_path / "a.png")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"^--out: cannot write to {tmp_path}/file/a.svg: "):
        write_svg(drawing, tmp_path / "file" / "a.svg")

    def full(drawing, scale):
        raise OSError("encoder error -2 when writing image file")  # Pillow's errors have no number

    monkeypatch.setattr(files, "to_image", full)
    with pytest.raises(UserError, match="b.png: encoder error -2"):
        write_png(drawing, tmp_path / "b.png")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "file"}


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_an_mp4_is_made_of_the_gif_by_ffmpeg(tmp_path, monkeypatch):
    ffmpeg = program(tmp_path / "ffmpeg", 'for last; do :; done; echo "$@" > "$last"')
    (tmp_path / "a.gif").touch()
    write_mp4(tmp_path / "a.gif", tmp_path / "a.mp4", ffmpeg)
    given = (tmp_path / "a.mp4").read_text().split()
    assert given[given.index("-i") + 1] == str(tmp_path / "a.gif") and given[-3:-1] == ["-f", "mp4"]
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert encoder() == ffmpeg


def test_an_encoder_that_fails_is_a_mistake_of_one_line(tmp_path):
    ffmpeg = program(
        tmp_path / "ffmpeg", "for last; do :; done; echo part > $last; echo 'Unknown encoder libx264' >&2; exit 1"
    )
    with pytest.raises(UserError, match=r"^a.mp4: .*ffmpeg cannot encode it: Unknown encoder libx264$"):
        write_mp4(tmp_path / "a.gif", tmp_path / "a.mp4", ffmpeg)
    assert [path.name for path in tmp_path.iterdir()] == ["ffmpeg"]


# --- figures ---


def fight(dead_at):
    """Scenes of 20 steps in which opponents die at the given steps."""
    return [
        Scene(30, 1, (Piece(0, 0),), tuple(Piece(1, 0, float(t < step)) for step in dead_at), step=t) for t in range(21)
    ]


@pytest.mark.parametrize(
    ("dead_at", "expected"),
    [
        ([99, 99], [3, 10, 16]),  # nobody dies
        ([8, 9, 10, 11, 12, 13, 14, 15, 16, 17], [4, 12, 16]),
        ([6, 99], [3, 6, 6]),
        ([5, 15], [2, 5, 15]),
        ([1, 2, 20], [0, 2, 20]),
    ],
)
def test_stages_follow_the_deaths_of_the_opponents(dead_at, expected):
    assert stages(fight(dead_at)) == expected


def test_spread_is_the_mean_distance_from_the_centre_of_the_living():
    one = Scene(9, 9, (Piece(0, 0), Piece(4, 0), Piece(8, 8, 0.0)))  # 2 and 2 cells from (2, 0)
    two = Scene(9, 9, (Piece(3, 3), Piece(3, 3)))
    nobody = Scene(9, 9, (Piece(3, 3, 0.0),))
    assert spread([one]) == 2.0 and spread([one, two]) == 1.0 and spread([two, one, nobody]) == 1.0


def test_figure_6_shows_a_group_and_figure_10_a_split():
    films = [film([Scene(9, 1, (Piece(0, 0), Piece(x, 0)))] * 2) for x in (4, 1, 8)]
    assert choose_episode(6, films) == 1 and choose_episode(10, films) == 2


def test_a_figure_has_a_row_of_panels_for_each_film():
    scenes = fight([8, 16])
    one = film(scenes, np.zeros((21, 1), dtype=int))
    two = film(scenes, np.full((21, 1), 3))
    drawing = draw_figure([one, two], [4, 8, 16])
    labels = [text for text in texts(drawing) if text.startswith("(")]
    assert labels == [
        *["(a) early: step 4", "(b) middle: step 8", "(c) late: step 16"],
        *["(d) early: step 4", "(e) middle: step 8", "(f) late: step 16"],
    ]
    assert texts(drawing).count("mine") == 2 and "sub-team 0" in texts(drawing) and "sub-team 3" in texts(drawing)
    boards = [shape for shape in drawing.shapes if isinstance(shape, Box) and shape.fill == "#f7f7f7"]
    assert len(boards) == 6 and len({(board.x, board.y) for board in boards}) == 6
    for first, second in itertools.combinations(boards, 2):  # no panel covers another
        apart = abs(first.x - second.x) >= first.width or abs(first.y - second.y) >= first.height
        assert apart
    pixels = np.asarray(to_image(drawing))
    assert (pixels[:, -2:] == 255).all() and (pixels[-2:] == 255).all()
    # The opponent that dies at step 8 is missing in the second panel: one of two squares is left.
    squares = [
        shape
        for shape in drawing.shapes
        if isinstance(shape, Box) and shape.fill == "#8c8c8c" and shape.y > boards[0].y
    ]
    in_panels = [sum(b.x <= s.x < b.x + b.width and b.y <= s.y < b.y + b.height for s in squares) for b in boards]
    assert in_panels == [2, 1, 0] * 2


def test_a_figure_of_other_steps_numbers_its_panels_and_has_their_sub_teams():
    drawing = draw_figure([film(fight([8]), np.arange(21)[:, None])], [3, 20])
    assert [text for text in texts(drawing) if text.startswith("sub-team")] == ["sub-team 3", "sub-team 20"]
    assert [text for text in texts(drawing) if text.startswith("(")] == ["(a) panel 1: step 3", "(b) panel 2: step 20"]
