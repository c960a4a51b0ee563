"""Maps of every size, and maps that users give: generated ones keep the paper's character, mistakes are located."""

from collections import deque

import numpy as np
import pytest
import yaml

from envs.battle import Battle
from envs.battle import generate_layout as battle_layout
from envs.checker import check_env
from envs.grid import position_scale, read_layout, regions
from envs.warehouse import Warehouse, lattice_cells, lattice_size
from envs.warehouse import generate_layout as warehouse_layout
from settings.load import load_config
from utils.errors import UserError

SIZES = [*range(1, 16), 17, 31, 32, 33, 64, 100, 128, 256]
PLAYED = [1, 2, 3, 32, 64, 128, 256]


def warehouse(n_agents=4, layout=None, **kwargs):
    return Warehouse(n_agents, kwargs.pop("episode_limit", 50), False, True, layout=layout, **{"seed": 0, **kwargs})


def battle(n_agents=1, layout=None, **kwargs):
    return Battle(n_agents, kwargs.pop("episode_limit", 100), False, 0.01, layout=layout, **{"seed": 0, **kwargs})


def reachable(layout, start):
    """Cells (x, y) that moves lead to from ``start`` around obstacles, by breadth-first search."""
    height, width = layout.shape
    queue, seen = deque([start]), {start}
    while queue:
        x, y = queue.popleft()
        for cell in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            if 0 <= cell[0] < width and 0 <= cell[1] < height and cell not in seen and layout[cell[1], cell[0]] != "#":
                seen.add(cell)
                queue.append(cell)
    return seen


def cells(layout, symbols):
    return [(int(x), int(y)) for y, x in np.argwhere(np.isin(layout, list(symbols)))]


# --- every size ---


@pytest.mark.parametrize("n_agents", [*SIZES, 16])
def test_every_order_can_be_completed_from_every_station(n_agents):
    layout = warehouse(n_agents).layout
    stations, free = cells(layout, "W"), set(cells(layout, "W.1234"))
    assert stations
    for station in stations:
        way = reachable(layout, station)
        assert {layout[y, x] for x, y in way} >= set("W1234")
        assert way == free, "all that is no obstacle is connected"


@pytest.mark.parametrize("n_agents", sorted({*SIZES} - {4, 8}))
def test_generated_warehouses_have_the_papers_character(n_agents):
    layout = warehouse(n_agents).layout
    rim = np.ones(layout.shape, dtype=bool)
    rim[1:-1, 1:-1] = False
    road = ~rim
    road[2:-2, 2:-2] = False
    assert set(layout[rim]) == {"#", "W"} and set(layout[road]) == {"."}
    assert (layout == "W").sum() == (layout[rim] == "W").sum()
    block = layout[2:-2, 2:-2]
    assert (block[1::2, 1::2] == "#").all() and (block[::2, ::2] == ".").all()
    assert np.isin(block[::2, 1::2], ["1", "2"]).all() and np.isin(block[1::2, ::2], ["3", "4"]).all()
    counts = [(layout == kind).sum() for kind in "1234"]
    assert abs(counts[0] - counts[1]) <= 1 and abs(counts[2] - counts[3]) <= 1
    height, width = layout.shape
    assert height <= width <= 2 * height
    free = (layout != "#").sum()
    assert free == lattice_cells(*lattice_size(n_agents))
    # Warehouse[16] has 81 free cells; the smallest map, of 28, is enough for five
    assert free / n_agents >= 81 / 16 and (n_agents < 6 or free / n_agents < 1.4 * 81 / 16)
    assert n_agents < 60 or free / n_agents < 1.05 * 81 / 16


def test_a_generated_warehouse_of_16_would_have_the_papers_size():
    rows = warehouse_layout(16).splitlines()
    paper = warehouse(16).layout[::-1]
    assert (len(rows), len(rows[0])) == paper.shape
    types = str.maketrans("1234", "1133")
    assert [row.translate(types) for row in rows] == ["".join(row).translate(types) for row in paper]


def test_generated_warehouses_drawn():
    for n_agents in (1, 2, 3, 5):
        assert warehouse_layout(n_agents).split() == [
            *["###W###", "#.....#", "#..2..#", "W.3#4.W", "#..1..#", "#.....#", "###W###"]
        ]
    assert warehouse_layout(7).split() == [
        *["###W#W###", "#.......#", "#..2.1..#", "W.3#4#3.W", "#..1.2..#", "#.......#", "###W#W###"]
    ]


@pytest.mark.parametrize("n_agents", [*SIZES, 20, 40, 80])
def test_battles_are_two_facing_blocks_on_a_field_of_the_papers_density(n_agents):
    layout = battle(n_agents).layout
    agents, side = layout == "A", len(layout)
    assert layout.shape == (side, side) and side % 2 == 0
    assert agents.sum() == n_agents and np.array_equal(agents[:, ::-1], layout == "O"), "one mirrors the other"
    assert not agents[:, side // 2 - 1 :].any() and agents[:, side // 2 - 2].any(), "two columns lie between"
    assert side**2 >= 4 * n_agents and ((side - 2) ** 2 < 4 * n_agents or side == 4), "at least four cells per agent"
    blocks = np.unique(regions(agents))
    assert len(blocks) == 2, "one connected block, and what is no agent"
    assert np.ptp(np.argwhere(agents)[:, 0]) + 1 <= side


def test_a_generated_battle_of_20_would_be_the_papers():
    assert battle_layout(20).splitlines() == ["".join(row) for row in battle(20).layout[::-1]]


def test_generated_battles_drawn():
    assert battle_layout(1).split() == ["....", "A..O", "....", "...."]
    assert battle_layout(3).split() == ["A..O", "A..O", "A..O", "...."]
    assert battle_layout(5).split() == ["......", ".A..O.", "AA..OO", "AA..OO", "......", "......"]
    wide, short, empty = "AAAAA..OOOOO", "..A......O..", "." * 12
    assert battle_layout(32).split() == [empty, empty, short, *[wide] * 6, short, empty, empty]
    assert battle_layout(14).split() == [
        *["........", ".A....O.", "AAA..OOO", "AAA..OOO", "AAA..OOO", "AAA..OOO", ".A....O.", "........"]
    ]


@pytest.mark.parametrize("n_agents", PLAYED)
@pytest.mark.parametrize("domain", [warehouse, battle])
def test_every_size_is_played(domain, n_agents):
    env = domain(n_agents, episode_limit=2)
    assert check_env(env, episodes=1) == []
    env.reset()
    assert env.positions.shape == (n_agents, 2) and env.n_agents == n_agents
    here = env.layout[env.positions[:, 1], env.positions[:, 0]]
    assert set(here) == {"W" if domain is warehouse else "A"}
    info = env.get_env_info()
    places = env.get_state()[info["agent_position_index"]] * env.position_scale
    assert np.array_equal(places, env.positions) and places.max() < env.position_scale


@pytest.mark.parametrize("n_agents", [0, -1, -256, 2.5, True, "8", None])
@pytest.mark.parametrize("domain", [warehouse, battle])
def test_wrong_numbers_of_agents_are_refused(domain, n_agents):
    with pytest.raises(UserError, match=rf"^env_args.n_agents={n_agents!r}: expected a whole number of at least 1$"):
        domain(n_agents)


# --- maps that users give ---

SHOP = """
    W.1
    2#3
    4..
"""


def test_a_map_given_as_text():
    env = warehouse(9, layout=SHOP)
    assert ["".join(row) for row in env.layout[::-1]] == ["W.1", "2#3", "4.."]
    assert check_env(env, episodes=1) == []
    env = battle(2, layout="A.O\nA..")
    assert env.positions.tolist() == [[0, 0], [0, 1]] and env.opponent_positions.tolist() == [[2, 1]]
    assert check_env(env, episodes=1) == []


def test_a_map_of_one_line():
    assert "".join(warehouse(2, layout="1W234").layout[0]) == "1W234"
    assert battle(1, layout=" A..O ").opponent_positions.tolist() == [[3, 0]]


def test_a_given_map_goes_before_the_number_of_agents():
    assert warehouse(16, layout=SHOP).layout.shape == (3, 3)
    assert battle(20, layout="A" * 20 + "..OO").layout.shape == (1, 24)


@pytest.mark.parametrize("text", ["\n\n  A..O\r\n  .A..\r\n\n", "A..O   \n.A..", "\tA..O\n\t.A.."])
def test_a_map_in_a_file(tmp_path, monkeypatch, text):
    (tmp_path / "arena.txt").write_text(text, newline="")
    for path in (tmp_path / "arena.txt", "arena.txt"):
        monkeypatch.chdir(tmp_path)
        env = battle(2, layout=str(path))
        assert ["".join(row) for row in env.layout[::-1]] == ["A..O", ".A.."]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("A.O\nAxO", r"line 2, column 2: unknown cell 'x', known are AO\."),
        ("\n\n  A.O\n  A.\n", "line 4, column 5: 2 cells, but 3 in the first line"),
        ("A.O\n\nA.O", "line 2, column 1: 0 cells, but 3 in the first line"),
        ("A.O\nA.OO", "line 2, column 4: 4 cells, but 3 in the first line"),
        ("  A.O\n A.O", "line 1, column 2: unknown cell ' '"),
    ],
)
def test_mistakes_in_a_map_are_located(tmp_path, text, place):
    with pytest.raises(UserError, match=rf"^env_args\.layout {place}"):
        battle(2, layout=text)
    path = tmp_path / "arena"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"^env_args\.layout {path} {place}"):
        battle(2, layout=str(path))


@pytest.mark.parametrize(
    ("n_agents", "layout", "message"),
    [
        (3, "A.O\nA..", r"env_args.n_agents=3: env_args.layout shows 2 agents \(A\); both must agree"),
        (20, "A.O\nA..", r"env_args.n_agents=20: env_args.layout shows 2 agents"),
        (1, "...\n..O", r"env_args.n_agents=1: env_args.layout shows 0 agents"),
        (1, "A..\n...", r"env_args.layout: the map has no opponent \(O\)"),
        (1, "", "env_args.layout: the map is empty"),
        (1, "\n \n", "env_args.layout: the map is empty"),
        (1, "no/such/file", r"env_args.layout: neither a map of AO\. nor a file that can be read: .*no/such/file"),
        (1, "A.x.O", r"env_args.layout: neither a map of AO\. nor a file that can be read: .*A\.x\.O"),
        (1, "/", r"env_args.layout: neither a map of AO\. nor a file that can be read: "),
        (1, "\0", r"env_args.layout: neither a map of AO\. nor a file that can be read: "),
        (1, 5, "env_args.layout: expected a map or the path of a file with one, got 5"),
    ],
)
def test_battle_maps_that_cannot_be_played(n_agents, layout, message):
    with pytest.raises(UserError, match=rf"^{message}"):
        battle(n_agents, layout=layout)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "arena"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"^env_args\.layout: neither a map of AO\. nor a file that can be read: "):
        battle(1, layout=str(path))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("1234\n....", r"env_args.layout: the map has no work station \(W\)"),
        ("W12\n..3", "env_args.layout: no drop-off of type 4 can be reached from the work station at x=0, y=1 "),
        ("W1#2W\n34#34", "env_args.layout: no drop-off of type 1 can be reached from the work station at x=4, y=1 "),
        ("W12W\n#34#\n#..#\n##.#\n.W#.", "env_args.layout: no drop-off of type 1 can be .* at x=1, y=0 "),
    ],
)
def test_warehouse_maps_on_which_no_order_can_be_completed(layout, message):
    with pytest.raises(UserError, match=f"^{message}"):
        warehouse(4, layout=layout)


# --- through the configuration ---


def test_a_map_reaches_the_environment_from_the_command_line_and_from_a_file(tmp_path):
    arena = tmp_path / "arena.txt"
    arena.write_text("A.O\nA..")
    for layout in ("A.O\nA..", "\n    A.O\n    A..\n", str(arena)):
        config = load_config("qmix", "battle", ["env_args.n_agents=2", f"env_args.layout={layout}"])
        assert battle(**{key: config["env_args"][key] for key in ("n_agents", "layout")}).layout.shape == (2, 3)
    config = load_config("qmix", "warehouse", ["env_args.layout=#W#\n123\n..4"])
    assert warehouse(layout=config["env_args"]["layout"]).layout.shape == (3, 3)
    assert yaml.safe_load("layout: |\n  #W#\n  123\n  ..4\n") == {"layout": "#W#\n123\n..4\n"}


# --- helpers ---


def test_regions_agree_with_breadth_first_search():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((7, 9)) < 0.6
        labels, layout = regions(mask), np.where(mask, ".", "#")
        assert np.array_equal(labels > 0, mask)
        for x, y in cells(layout, "."):
            assert reachable(layout, (x, y)) == {(int(u), int(v)) for v, u in np.argwhere(labels == labels[y, x])}


@pytest.mark.parametrize(
    ("shape", "scale"), [((1, 1), 1), ((1, 2), 2), ((3, 2), 4), ((5, 4), 8), ((8, 8), 8), ((9, 1), 16)]
)
def test_position_scale_is_the_power_of_two_that_holds_all_positions(shape, scale):
    assert position_scale(shape) == scale


def test_a_text_without_line_breaks_that_is_no_map_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("ab\nba")
    assert read_layout("a.txt", "ab").tolist() == [["b", "a"], ["a", "b"]]
    (tmp_path / "ab").write_text("no map")
    assert read_layout("ab", "ab").tolist() == [["a", "b"]], "what can be a map is one"
    with pytest.raises(UserError, match="^env_args.layout ./ab line 1, column 1: unknown cell 'n'"):
        read_layout("./ab", "ab")
