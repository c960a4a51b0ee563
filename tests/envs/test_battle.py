"""Battle on drawn situations, with exact rewards, lists of the opponents and observations.

In the drawings the cells stand apart by blanks, the north is at the top, letters a, b, c, ... are the agents 0, 1, 2,
... and digits 1, 2, ... the opponents 0, 1, ...; `ab1` is a cell that holds three of them.
"""

from collections import Counter
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import oracles.battle as oracle
import pytest
from oracles.battle import draw, recover, shuffle, strike, walk

from assigners.spatial import SpatialAssigner
from components.episode_buffer import EpisodeBatch
from envs.battle import LAYOUTS, Battle, team_reward
from run import episode_scheme
from utils.errors import UserError

STAY, NORTH, SOUTH, WEST, EAST, ATTACK = range(6)

# The maps of the paper's Battle[20], [40] and [80], written down a second time: (repetitions, row), from the north.
MAPS = {
    20: [(2, ".........."), (1, ".AA....OO."), (4, "AAAA..OOOO"), (1, ".AA....OO."), (2, "..........")],
    40: [
        *[(3, ".............."), (2, ".AAAA....OOOO."), (4, "AAAAAA..OOOOOO")],
        *[(2, ".AAAA....OOOO."), (3, "..............")],
    ],
    80: [
        *[(3, ".................."), (1, "..AAAA......OOOO.."), (2, ".AAAAAA....OOOOOO."), (6, "AAAAAAAA..OOOOOOOO")],
        *[(2, ".AAAAAA....OOOOOO."), (1, "..AAAA......OOOO.."), (3, "..................")],
    ],
}


def make(n_agents=20, episode_limit=100, continuing_episode=False, recovery=0.01, **kwargs):
    env = Battle(n_agents, episode_limit, continuing_episode, recovery, **{"seed": 0, **kwargs})
    env.reset()
    return env


def situation(drawing, health=None, recovery=0.0, **kwargs):
    """An environment in the drawn situation, with the ``health`` of those who are not at 3 points; nobody recovers."""
    rows = [line.split() for line in drawing.strip().splitlines()]
    places = {who: (x, y) for y, row in enumerate(rows[::-1]) for x, cell in enumerate(row) for who in cell}
    agents, opponents = sorted(filter(str.isalpha, places)), sorted(filter(str.isdigit, places))
    width = len(rows[0])
    army = ("A" * len(agents) + "O" * len(opponents)).ljust(width * len(rows), ".")
    layout = "\n".join(army[start : start + width] for start in range(0, len(army), width))
    env = make(len(agents), recovery=recovery, layout=layout, **kwargs)
    env.positions = np.array([places[who] for who in agents])
    env.opponent_positions = np.array([places[who] for who in opponents])
    env.health = np.array([(health or {}).get(who, 3.0) for who in agents])
    env.opponent_health = np.array([(health or {}).get(who, 3.0) for who in opponents])
    return env


def names(env):
    return "abcdefghijklmnopqrstuvwxyz"[: env.n_agents] + "123456789"[: len(env.opponent_health)]


def everyone(env):
    """Position and health points of everybody, by name."""
    positions, health = (env.positions, env.opponent_positions), (env.health, env.opponent_health)
    places = [tuple(map(int, place)) for place in np.concatenate(positions)]
    return dict(zip(names(env), zip(places, map(float, np.concatenate(health)), strict=True), strict=True))


def picture(env):
    """The situation as the drawings have it, the dead included; rows joined by ' / '."""
    cells = [["" for _ in range(env.width)] for _ in range(env.height)]
    for who, ((x, y), _) in everyone(env).items():
        cells[env.height - 1 - y][x] += who
    return " / ".join(" ".join(cell or "." for cell in row) for row in cells)


def after(drawing, actions, trials=20, **kwargs):
    """The only outcome of a step over several seeds: picture, reward and health points of everybody."""
    found = set()
    for seed in range(trials):
        env = situation(drawing, seed=seed, **kwargs)
        reward, _, _ = env.step(actions)
        health = tuple(points for _, points in everyone(env).values())
        found.add((picture(env), round(reward, 9), health))
    assert len(found) == 1, found
    return found.pop()


def frequencies(drawing, actions, look, trials=300, **kwargs):
    """How often ``look(env, reward)`` gave what after one step, over the seeds 0..trials-1."""
    found = Counter()
    for seed in range(trials):
        env = situation(drawing, seed=seed, **kwargs)
        reward, _, _ = env.step(actions)
        found[look(env, round(reward, 9))] += 1
    return found


def assert_shares(found, shares):
    """That the frequencies are within five standard deviations of the ``shares``, which sum to one."""
    assert sum(shares.values()) == pytest.approx(1) and set(found) == set(shares)
    trials = sum(found.values())
    for outcome, share in shares.items():
        assert abs(found[outcome] - share * trials) < 5 * np.sqrt(trials * share * (1 - share)) + 1e-9, found


# --- start ---


@pytest.mark.parametrize("n_agents", MAPS)
def test_maps_are_those_of_the_paper(n_agents):
    env = make(n_agents)
    assert ["".join(row) for row in env.layout[::-1]] == [row for times, row in MAPS[n_agents] for _ in range(times)]
    assert env.n_agents == len(env.positions) == len(env.opponent_positions) == n_agents
    assert sorted(LAYOUTS) == sorted(MAPS)


def test_the_armies_line_up_as_drawn_in_full_health_in_every_episode():
    env = make(20)
    for _ in range(2):
        assert all(env.layout[y, x] == "A" for x, y in env.positions) and len({*map(tuple, env.positions)}) == 20
        assert all(env.layout[y, x] == "O" for x, y in env.opponent_positions)
        assert len({*map(tuple, env.opponent_positions)}) == 20
        assert env.health.tolist() == env.opponent_health.tolist() == [3.0] * 20
        for _ in range(2):
            env.step([EAST] * 20)
        env.reset()


# --- moves ---

# Opponents in the eastern half that see nobody have one entry, 'west', so what they do is certain.
FIELD = """
    .  .  .  .  .  .  .  .  .  .
    .  a  .  .  .  .  .  .  1  .
    .  .  .  .  .  .  .  .  .  .
"""


@pytest.mark.parametrize(
    ("action", "moved"),
    [
        (STAY, ". . . . . . . . . . / . a . . . . . 1 . . / . . . . . . . . . ."),
        (NORTH, ". a . . . . . . . . / . . . . . . . 1 . . / . . . . . . . . . ."),
        (SOUTH, ". . . . . . . . . . / . . . . . . . 1 . . / . a . . . . . . . ."),
        (WEST, ". . . . . . . . . . / a . . . . . . 1 . . / . . . . . . . . . ."),
        (EAST, ". . . . . . . . . . / . . a . . . . 1 . . / . . . . . . . . . ."),
    ],
)
def test_moves_go_where_they_say_and_cost_nothing(action, moved):
    assert after(FIELD, [action]) == (moved, 0.0, (3, 3))


def test_nobody_leaves_the_field():
    drawing = """
        .  .  .  .  .  .  .  .  .  b
        .  .  .  .  .  .  .  .  .  .
        .  .  .  .  .  .  .  .  .  .
        .  .  .  .  .  .  .  .  .  .
        a  .  .  .  .  .  .  .  1  .
    """
    for actions in ([WEST, NORTH], [SOUTH, EAST]):
        moved, reward, _ = after(drawing, actions)
        assert reward == 0 and moved.startswith(". . . . . . . . . b /") and "/ a . ." in moved
    corners = np.array([(0, 0), (3, 0), (0, 2), (3, 2)])
    stays = [(SOUTH, EAST, WEST, NORTH), (WEST, SOUTH, NORTH, EAST)]
    for actions in stays:
        assert np.array_equal(walk(corners, np.array(actions), (3, 4)), corners)
    assert walk(corners, np.array([EAST, NORTH, SOUTH, WEST]), (3, 4)).tolist() == [[1, 0], [3, 1], [0, 1], [2, 2]]


def test_agents_pass_through_each_other_and_share_cells():
    drawing = ". ab c . . . . . . . . 1"
    assert after(drawing, [STAY, EAST, WEST])[0] == ". ac b . . . . . . . 1 ."
    assert after(drawing, [EAST, EAST, STAY])[0] == ". . abc . . . . . . . 1 ."


def test_agents_and_opponents_share_cells():
    assert after("a 1 . .", [EAST]) == (". a1 . .", -0.5, (2, 3))


# --- the agents' attacks ---


def test_a_hit_takes_one_point_and_the_opponent_strikes_back():
    assert after("a1 . . .", [ATTACK]) == ("a1 . . .", 1 - 0.5, (2, 2))


def test_a_kill_is_a_hit_without_extra_reward_and_the_dead_do_not_strike_back():
    drawing = "a1 . . . . . . . 2"
    assert after(drawing, [ATTACK], health={"1": 1.0}) == ("a1 . . . . . . 2 .", 1.0, (3, 0, 3))
    # what is left of a point is all that a hit takes
    assert after(drawing, [ATTACK], health={"1": 0.25}) == ("a1 . . . . . . 2 .", 1.0, (3, 0, 3))


def test_an_attack_on_an_empty_cell_costs_a_tenth():
    assert after(FIELD, [ATTACK])[1:] == (-0.1, (3, 3))
    # next to the opponent is not in its cell; it walks in afterwards
    assert after("a 1 . .", [ATTACK]) == ("a1 . . .", -0.1, (3, 3))


def test_a_dead_opponent_is_nobody_to_hit():
    assert after("a1 . . . . . . . 2", [ATTACK], health={"1": 0.0})[1:] == (-0.1, (3, 0, 3))


def test_each_attack_on_an_empty_cell_counts():
    assert after("ab c . . . . . . . . . . 1", [ATTACK] * 3)[1] == pytest.approx(-0.3)


def test_attacks_on_opponents_that_were_killed_earlier_in_the_turn_give_nothing():
    drawing = "abc1 . . . . . . . 2"
    assert after(drawing, [ATTACK] * 3, health={"1": 1.0})[1:] == (1.0, (3, 3, 3, 0, 3))
    assert after(drawing, [ATTACK] * 3, health={"1": 2.0})[1:] == (2.0, (3, 3, 3, 0, 3))
    assert after(drawing, [ATTACK] * 3)[1:] == (3.0, (3, 3, 3, 0, 3))
    # an agent elsewhere attacks the air
    drawing = "ab1 c . . . . . . . . 2"
    assert after(drawing, [ATTACK] * 3, health={"1": 1.0})[1] == pytest.approx(0.9)


def test_attacks_move_on_to_the_next_living_opponent_of_the_cell():
    drawing = "abc12 . . . . . . . 3"
    assert after(drawing, [ATTACK] * 3, health={"1": 1.0, "2": 1.0})[1:] == (2.0, (3, 3, 3, 0, 0, 3))


def test_an_attack_hits_one_living_opponent_of_the_cell_uniformly():
    def hit(env, reward):
        return names(env)[1 + int(np.argmin(env.opponent_health + 9 * (env.opponent_health == 0)))]

    found = frequencies("a1234 . . . .", [ATTACK], hit, health={"2": 0.0})
    assert_shares(found, {"1": 1 / 3, "3": 1 / 3, "4": 1 / 3})


def test_a_move_is_no_attack():
    assert after("a1 . . . . . . .", [EAST])[1:] == (0.0, (3, 3))


def test_strike_in_a_given_order():
    rng = np.random.default_rng(0)
    cells, health = np.array([7, 7, 8, 9]), np.array([1.0, 0.5, 3.0, 0.0])
    # 7: two hits that kill, one in vain; 8: a hit; 9: nobody lives there; 5: nobody at all
    hits, misses, left = strike(rng, np.array([7, 9, 8, 7, 5, 7]), cells, health)
    assert (hits, misses, left.tolist()) == (3, 2, [0.0, 0.0, 2.0, 0.0])
    assert health.tolist() == [1.0, 0.5, 3.0, 0.0], "what was given stays as it is"
    hits, misses, left = strike(rng, np.array([], dtype=int), cells, health)
    assert (hits, misses, left.tolist()) == (0, 0, health.tolist())


# --- the opponents ---


def test_an_opponent_strikes_an_agent_of_its_cell_for_half_a_point():
    assert after("a12 . . .", [STAY]) == ("a12 . . .", -1.0, (1, 3, 3))


def test_an_opponent_chooses_the_living_agent_that_it_strikes_uniformly():
    def hit(env, reward):
        assert reward == -0.5
        return names(env)[int(np.argmin(env.health + 9 * (env.health == 0)))]

    found = frequencies("abcd1 . . . .", [STAY] * 4, hit, health={"c": 0.0})
    assert_shares(found, {"a": 1 / 3, "b": 1 / 3, "d": 1 / 3})


def test_opponents_whose_cell_mates_were_killed_earlier_in_the_turn_strike_without_effect():
    # the second one neither hurts b, nor walks towards it
    assert after("a12 b . . . .", [STAY] * 2, health={"a": 1.0}) == ("a12 b . . . .", -0.5, (0, 3, 3, 3))
    assert after("a12 b . . . .", [STAY] * 2, health={"a": 0.1}) == ("a12 b . . . .", -0.5, (0, 3, 3, 3))


def test_opponents_see_where_the_agents_moved_in_the_same_step():
    assert after("a . 1 . .", [STAY])[0] == "a 1 . . ."
    assert after("a 1 . . .", [EAST])[1:] == (-0.5, (2, 3))
    # the agent leaves the cell and is followed, not struck: east, of the list (east) in the western half
    assert after("a1 . . . .", [EAST]) == (". a1 . . .", 0.0, (3, 3))


def test_an_agent_killed_earlier_in_the_turn_still_draws_opponents_towards_it():
    """What an opponent does follows from the lives at the start of the opponents' turn: west is all that 2 has."""
    assert after("a1 . . 2 . . . .", [STAY], health={"a": 1.0}) == ("a1 . 2 . . . . .", -0.5, (0, 3, 3))


ROUND = """
    .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
    .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
    .  .  .  1  .  .  .  .  .  .  .  .  .  .  .  .
    .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
    .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
"""


def put(who, x, y):
    """``ROUND`` with ``who`` in the cell (x, y) (the opponent is at (3, 2)), and the rest in the far east."""
    rows = [line.split() for line in ROUND.strip().splitlines()]
    rows[4 - y][x] = who
    return "\n".join(" ".join(row) for row in rows)


def step_of_first(env, reward=None):
    """What the first opponent did, seen from (3, 2)."""
    dx, dy = env.opponent_positions[0] - (3, 2)
    return {(0, 0): "-", (0, 1): "N", (0, -1): "S", (-1, 0): "W", (1, 0): "E"}[int(dx), int(dy)]


@pytest.mark.parametrize(
    ("who", "x", "y", "shares"),
    [
        ("a", 5, 2, {"E": 1}),
        ("a", 0, 2, {"W": 1}),
        ("a", 3, 4, {"N": 1}),
        ("a", 3, 1, {"S": 1}),
        ("a", 6, 2, {"E": 1}),  # three cells away is in sight
        ("a", 6, 4, {"E": 1 / 2, "N": 1 / 2}),  # one entry per axis
        ("ab", 0, 0, {"W": 1 / 2, "S": 1 / 2}),  # one entry per axis and cell, not per agent
        ("a", 7, 2, {"-": 1 / 3, "N": 1 / 6, "S": 1 / 6, "W": 1 / 6, "E": 1 / 6}),  # out of sight: any of the 6
    ],
)
def test_where_an_opponent_walks(who, x, y, shares):
    found = frequencies(put(who, x, y), [STAY] * len(who), step_of_first, trials=20 if 1 in shares.values() else 300)
    assert_shares(found, shares)


def test_entries_add_up_over_the_cells_in_sight():
    drawing = """
        .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
        b  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
        .  .  .  1  .  .  e  .  .  .  .  .  .  .  .  .
        .  .  .  .  .  cd .  .  .  .  .  .  .  .  .  .
        .  .  .  a  .  .  .  .  .  .  .  .  .  .  .  .
    """
    # a: S; b: N, W; c and d: S, E; e: E
    shares = {"N": 1 / 6, "S": 2 / 6, "W": 1 / 6, "E": 2 / 6}
    assert_shares(frequencies(drawing, [STAY] * 5, step_of_first), shares)
    # the dead are not seen: without a and e, and with d alone in its cell
    shares = {"N": 1 / 4, "S": 1 / 4, "W": 1 / 4, "E": 1 / 4}
    dead = {"a": 0.0, "c": 0.0, "e": 0.0}
    assert_shares(frequencies(drawing, [STAY] * 5, step_of_first, health=dead), shares)


def test_the_dead_draw_nobody_towards_them():
    dead = {"a": 0.0}
    # west is all that is left in the eastern half: no east towards the dead, no attack on it
    assert after("b . . . . . 1 . a .", [STAY] * 2, health=dead) == ("b . . . . 1 . . a .", 0.0, (0, 3, 3))
    assert after("b . . . . . a1 . . .", [STAY] * 2, health=dead) == ("b . . . . 1 a . . .", 0.0, (0, 3, 3))
    # and an agent that lies in one cell with a living one is no second reason to go there: it goes, but strikes b
    assert after("ab 1 . .", [STAY] * 2, health=dead)[0] == "ab1 . . ."
    assert after("ab1 . . .", [STAY] * 2, health=dead)[2] == (0, 2, 3)


@pytest.mark.parametrize(
    ("drawing", "eastern"),
    [
        (". . 1 . . . . . . . . a", False),
        ("a . . . . 1 . . . . . .", False),  # x = 5 of width 12
        ("a . . . . . 1 . . . . .", True),  # x = 6
        ("a . . . . 1 . . . . .", False),  # x = 5 of width 11
        ("a . . . . . 1 . . . .", True),
    ],
)
def test_the_eastern_half_adds_west(drawing, eastern):
    x = drawing.split().index("1")
    found = frequencies(drawing, [STAY], lambda env, _: int(env.opponent_positions[0, 0]) - x, trials=200)
    assert_shares(found, {-1: 1} if eastern else {0: 4 / 6, -1: 1 / 6, 1: 1 / 6})


def test_west_in_the_eastern_half_is_one_entry_more():
    drawing = ". . . . . . 1 . a ."
    found = frequencies(drawing, [STAY], lambda env, _: int(env.opponent_positions[0, 0]) - 6)
    assert_shares(found, {-1: 1 / 2, 1: 1 / 2})
    drawing = ". . . . a . 1 . b ."  # west twice, east once
    found = frequencies(drawing, [STAY] * 2, lambda env, _: int(env.opponent_positions[0, 0]) - 6)
    assert_shares(found, {-1: 2 / 3, 1: 1 / 3})


def test_an_opponent_at_the_border_stays_if_it_would_leave():
    drawing = "1 . . . . . . . . . a"  # north, south, west, stay and attack all keep it there
    found = frequencies(drawing, [STAY], lambda env, reward: (int(env.opponent_positions[0, 0]), reward))
    assert_shares(found, {(0, 0.0): 5 / 6, (1, 0.0): 1 / 6})


def test_dead_opponents_do_nothing():
    assert after("a1 . . . . . . 2", [STAY], health={"1": 0.0}) == ("a1 . . . . . 2 .", 0.0, (3, 0, 3))
    assert after("a . 1 . . . . 2", [STAY], health={"1": 0.0})[0] == "a . 1 . . . 2 ."


def slow_list(place, cells, width):
    """The list of an opponent at ``place``, entry by entry, as the rules tell it; ``cells`` hold living agents."""
    x, y = place
    if (x, y) in cells:
        return [ATTACK]
    entries = []
    for u, v in cells:
        if abs(u - x) <= 3 and abs(v - y) <= 3:
            entries += [EAST] if u > x else [WEST] if u < x else []
            entries += [NORTH] if v > y else [SOUTH] if v < y else []
    entries += [WEST] if x >= width / 2 else []
    return entries or [STAY, NORTH, SOUTH, WEST, EAST, ATTACK]


@pytest.mark.parametrize("shape", [(10, 10), (13, 8), (6, 15)])
def test_lists_agree_with_lists_built_entry_by_entry(monkeypatch, shape):
    """What the living opponents of the oracle draw from: the agents where they are now, as alive as before."""
    drawn = []
    monkeypatch.setattr(oracle, "draw", lambda rng, options: drawn.append(options) or draw(rng, options))
    rng = np.random.default_rng(3)
    height, width = shape
    army = ("A" * 12 + "O" * 12).ljust(height * width, ".")
    layout = "\n".join(army[start : start + width] for start in range(0, len(army), width))
    env = oracle.Battle(12, 100, False, 0.01, layout=layout, seed=0)
    for _ in range(60):
        env.reset()
        env.positions, places = (rng.integers((width, height), size=(12, 2)) for _ in range(2))
        env.opponent_positions = places
        env.health = rng.choice([0.0, 1.0, 3.0], size=12)
        env.opponent_health = rng.choice([0.0, 1.0, 3.0], size=12)
        lives = env.health > 0
        env.step(random_army(env, rng))
        cells = {tuple(place) for place in env.positions[lives].tolist()}
        expected = [slow_list(place, cells, width) for place in places[env.opponent_health > 0].tolist()]
        assert drawn.pop().tolist() == [np.bincount(entries, minlength=6).tolist() for entries in expected]


def test_drawing_from_the_lists_is_uniform_over_entries():
    options = np.array([[0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1], [0, 3, 0, 1, 0, 0]])
    rng = np.random.default_rng(0)
    drawn = np.array([draw(rng, options) for _ in range(3000)])
    for row, entries in enumerate(options):
        shares = {action: entries[action] / entries.sum() for action in range(6) if entries[action]}
        assert_shares(Counter(drawn[:, row].tolist()), shares)
    assert draw(rng, np.zeros((0, 6), dtype=int)).shape == (0,)


def dealt(*numbers):
    """A generator that gives these numbers, all of them in one call."""

    def random(size):
        assert size == len(numbers)
        return np.array(numbers, dtype=float)

    return SimpleNamespace(random=random)


def test_the_number_drawn_is_the_place_in_the_list():
    options = np.tile([0, 3, 0, 1, 2, 0], (8, 1))  # N N N W E E
    last = np.nextafter(1, 0)
    drawn = draw(dealt(0, 0.17, 0.49, 0.51, 0.66, 0.67, 0.9, last), options)
    assert drawn.tolist() == [NORTH, NORTH, NORTH, WEST, WEST, EAST, EAST, EAST]
    for entries in range(1, 100):  # never beyond the list
        assert draw(dealt(last), np.array([[0, entries, 0, 0, 0, 0]])) == [NORTH]


# --- turns ---


def test_those_who_attack_take_turns_by_the_numbers_that_they_draw():
    assert shuffle(dealt(0.5, 0.9, 0.1, 0.5), np.array([2, 3, 5, 7])).tolist() == [5, 2, 7, 3]
    rng = np.random.default_rng(0)
    found = Counter(tuple(shuffle(rng, np.array([4, 6, 9])).tolist()) for _ in range(1200))
    assert_shares(found, dict.fromkeys(permutations((4, 6, 9)), 1 / 6))


def test_all_chance_is_in_the_doubles_of_the_generator():
    """How many each step takes, of what the generator gives one by one."""
    env = situation("abc1 . . 2 .", health={"1": 1.0}, seed=3)
    same = situation("abc1 . . 2 .", health={"1": 1.0}, seed=3)
    numbers = np.random.default_rng(3)
    # keys and luck of a and b, the draw of 2 (1 is dead), nobody strikes; then 2 comes, and strikes
    for actions, taken in [
        ([ATTACK, ATTACK, STAY], 2 + 2 + 1),
        ([STAY] * 3, 1),
        ([STAY] * 3, 1),
        ([ATTACK, STAY, ATTACK], 2 + 2 + 1 + 1 + 1),
    ]:
        assert env.step(actions) == same.step(actions) and everyone(env) == everyone(same)
        numbers.random(taken)
        assert env.rng.bit_generator.state == numbers.bit_generator.state


# --- health ---


def test_the_wounded_recover_up_to_three_points_and_the_dead_do_not():
    health = recover(np.array([3.0, 2.995, 1.0, 0.0, 0.25]), 0.01)
    assert health.tolist() == [3.0, 3.0, 1.01, 0.0, 0.26]
    _, reward, points = after(FIELD, [STAY], health={"a": 1.0, "1": 2.0}, recovery=0.01)
    assert reward == 0 and points == (1.01, 2.01)


def test_recovery_comes_at_the_start_of_the_own_turn():
    # a recovers before it is struck, and would be at 2.005 after it; 1 is struck before it recovers
    wounded = {"a": 2.995, "1": 2.995}
    assert after("a1 . . .", [ATTACK], health=wounded, recovery=0.01)[2] == (2.0, 2.005)
    # so an opponent that is killed does not recover, and an agent can recover enough to survive
    assert after("a1 . . 2 .", [ATTACK], health={"1": 1.0}, recovery=0.1)[2][1] == 0
    assert after("a1 . . .", [STAY], health={"a": 0.95}, recovery=0.1)[2][0] == pytest.approx(0.05)


@pytest.mark.parametrize("recovery", [0.01, 0.1])
def test_recovered_points_are_whole_where_they_should_be(recovery):
    health = np.array([1.0])
    for _ in range(round(1 / recovery)):
        health = recover(health, recovery)
    assert health == [2.0]


def test_the_released_experiments_recovery():
    assert after(FIELD, [STAY], health={"a": 1.0, "1": 2.95}, recovery=0.1)[2] == (1.1, 3.0)


# --- the dead ---


def test_a_dead_agent_stays_where_it_fell_and_only_stays():
    env = situation("a1 b . . . . . .", health={"a": 1.0})
    env.step([STAY, EAST])
    assert env.health.tolist() == [0, 3] and env.positions[0].tolist() == [0, 0]
    assert env.get_avail_actions().tolist() == [[1, 0, 0, 0, 0, 0], [1] * 6]
    assert env.get_avail_agent_actions(0).tolist() == [1, 0, 0, 0, 0, 0]
    for action in range(1, 6):
        with pytest.raises(ValueError, match="a dead agent can only take action 0"):
            env.step([action, STAY])
    env.step([STAY, EAST])
    assert env.positions[0].tolist() == [0, 0] and env.health[0] == 0


def test_the_dead_are_unseen_and_observe_nothing():
    env = situation("ab1 . . . .", health={"b": 2.0, "1": 1.0})
    alone = situation("a1 . . . .", health={"1": 1.0})
    env.health[1] = 0
    np.testing.assert_array_equal(env.get_obs()[0], alone.get_obs()[0])
    assert not env.get_obs()[1].any() and not env.get_obs_agent(1).any()
    env.opponent_health[0] = 0
    assert env.get_obs()[0].reshape(4, 49)[2].sum() == 0


def test_the_state_tells_where_the_dead_fell():
    env = situation("a . . b1", health={"b": 0.0})
    info, state = env.get_env_info(), env.get_state()
    np.testing.assert_array_equal(state[info["agent_position_index"]], [[0, 0], [3 / 4, 0]])
    np.testing.assert_array_equal(state[info["agent_alive_index"]], [1, 0])


# --- observations and state ---


def channels(drawing):
    """Three drawn 7x7 channels side by side, in thirds of full health (digits) -> [3, 49]."""
    rows = [line.split() for line in drawing.strip().splitlines()]
    assert len(rows) == 7
    numbers = [[[0 if cell == "." else int(cell) for cell in channel] for channel in row] for row in rows]
    return np.array(numbers).transpose(1, 0, 2).reshape(3, 49)


def assert_observes(env, agent, drawing, own):
    """Channels: own health (always in the centre), the other agents', the opponents', cells outside."""
    seen = env.get_obs()[agent].reshape(4, 49)
    expected = np.zeros((4, 49))
    expected[1:] = channels(drawing)
    expected[1:3] /= 3
    expected[0, 24] = own
    np.testing.assert_allclose(seen, expected, atol=1e-7)
    assert np.array_equal(seen == 0, expected == 0), "what is nothing is exactly zero"


SCENE = """
    .  .  .  .  .  .  .  .
    .  2  .  .  .  .  3  .
    .  .  ab .  1  c  .  .
    .  .  .  .  d  .  .  .
    .  .  .  .  .  .  .  .
    e  .  .  .  .  .  .  4
"""


def test_observation_of_a_drawn_situation():
    env = situation(SCENE, health={"a": 1.0, "c": 2.0, "d": 0.0, "1": 1.0, "3": 2.0})
    assert_observes(
        env,
        0,
        """
        .......  .......  1111111
        .......  .......  1......
        .......  ..3....  1......
        ...3..2  .....1.  1......
        .......  .......  1......
        .......  .......  1......
        .3.....  .......  1......
        """,
        own=1 / 3,
    )
    assert_observes(
        env,
        2,
        """
        .......  .......  1111111
        .......  .......  ......1
        .......  ....2..  ......1
        4......  ..1....  ......1
        .......  .......  ......1
        .......  .......  ......1
        .......  .....3.  ......1
        """,
        own=2 / 3,
    )


def test_health_in_a_shared_cell_adds_up_without_ones_own():
    env = situation("abc12 . . . .", health={"a": 0.3, "b": 0.5, "1": 2.5})
    centre = env.get_obs().reshape(3, 4, 49)[:, :3, 24]
    expected = [[0.3, 3.5, 5.5], [0.5, 3.3, 5.5], [3, 0.8, 5.5]]
    np.testing.assert_allclose(centre, np.array(expected) / 3, atol=1e-6)


def test_observations_are_float32_rows_of_196():
    env = make(20)
    assert env.get_obs().shape == (20, 196) and env.get_obs().dtype == np.float32
    assert env.get_obs_size() == 196 and env.get_total_actions() == 6
    assert np.array_equal(env.get_obs_agent(2), env.get_obs()[2])
    assert np.array_equal(env.get_avail_actions(), np.ones((20, 6)))


def test_state_of_a_drawn_situation():
    drawing = """
        .  a  .
        b1 .  23
    """
    env = situation(drawing, health={"b": 1.5, "1": 1.0, "3": 0.0})
    np.testing.assert_allclose(
        env.get_state(),
        [
            *(0.5, 0, 0, 0, 1, 0),  # the agents' health, the south first
            *(1 / 3, 0, 1, 0, 0, 0),  # the opponents'
            *(1 / 4, 1 / 4, 1, 1),  # a: x, y, alive, health
            *(0, 0, 1, 0.5),  # b
        ],
        atol=1e-7,
    )


@pytest.mark.parametrize(("n_agents", "size"), [(20, 200 + 80), (40, 2 * 196 + 160), (80, 2 * 324 + 320)])
def test_state_size_and_where_it_holds_positions_and_lives(n_agents, size):
    env = make(n_agents)
    env.health[3] = 0
    info, state = env.get_env_info(), env.get_state()
    assert state.shape == (size,) and state.dtype == np.float32 and info["state_shape"] == size
    np.testing.assert_array_equal(state[info["agent_position_index"]] * env.position_scale, env.positions)
    assert state[info["agent_position_index"]].max() < 1
    np.testing.assert_array_equal(state[info["agent_alive_index"]], np.arange(n_agents) != 3)
    np.testing.assert_allclose(state[info["agent_alive_index"] + 1], env.health / 3)


def test_no_state_entry_is_idle():
    """Random situations change every entry."""
    env, rng = make(20), np.random.default_rng(0)
    first = env.get_state()
    changed = np.zeros(len(first), dtype=bool)
    for _ in range(50):
        env.positions, env.opponent_positions = rng.integers(10, size=(20, 2)), rng.integers(10, size=(20, 2))
        env.health = 3.0 * rng.integers(2, size=20)
        changed |= env.get_state() != first
    assert changed.all()


def test_the_spatial_assigner_finds_the_groups_of_a_drawn_situation():
    drawing = """
        a  .  .  .  .  .  .  .  .  e
        b  .  .  .  .  .  .  .  .  f
        .  .  .  .  .  .  g  .  .  .
        .  .  .  .  .  .  .  .  .  1
        c  d  .  .  .  .  .  .  .  .
    """
    env = situation(drawing, health={"g": 0.0})
    args = SimpleNamespace(**env.get_env_info(), eta=6 / 7, seed=0, env="battle", spatial_centroids="half")
    scheme, groups, preprocess = episode_scheme(env.get_env_info())
    batch = EpisodeBatch(scheme, groups, 1, 1, preprocess=preprocess)
    batch.update({"state": env.get_state()}, ts=0)
    subteams = SpatialAssigner(batch.scheme, args)(batch).subteams
    # three clusters from the west to the east, c and d have the larger mean x; the dead one joins its nearest
    assert dict(zip("abcdefg", subteams.flatten().tolist(), strict=True)) == {
        **{"a": 0, "b": 0},
        **{"c": 1, "d": 1},
        **{"e": 2, "f": 2, "g": 2},
    }


# --- episodes ---


@pytest.mark.parametrize(("continuing", "last"), [(False, {}), (True, {"episode_limit": True})])
def test_the_time_limit_ends_the_episode(continuing, last):
    env = make(episode_limit=3, continuing_episode=continuing)
    for _ in range(2):
        assert env.step([STAY] * 20)[1:] == (False, {"kill_count": 0})
    assert env.step([STAY] * 20)[1:] == (True, {"kill_count": 0, **last})
    with pytest.raises(RuntimeError, match="call reset"):
        env.step([STAY] * 20)
    env.reset()
    assert env.step([STAY] * 20)[1] is False


@pytest.mark.parametrize("continuing", [False, True])
@pytest.mark.parametrize("limit", [1, 5])  # an army that dies in the last step ended the episode by itself
@pytest.mark.parametrize(
    ("drawing", "health", "actions", "kill_count"),
    [
        ("abc1 . . .", {}, [ATTACK] * 3, 1),
        ("a12 . . .", {"a": 1.0}, [STAY], -1),
        ("a1 b2 . .", {"a": 1.0, "b": 1.0}, [STAY] * 2, -2),
    ],
)
def test_the_death_of_an_army_ends_the_episode(continuing, limit, drawing, health, actions, kill_count):
    env = situation(drawing, health=health, episode_limit=limit, continuing_episode=continuing)
    assert env.step(actions)[1:] == (True, {"kill_count": kill_count})
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(actions)


def test_the_kill_count_is_kills_minus_losses_so_far():
    env = situation("ab1 c2 . . . . . . . 3", health={"1": 1.0, "c": 1.0})
    assert env.step([ATTACK, STAY, STAY]) == (1 - 0.5, False, {"kill_count": 0})
    assert env.get_stats() == {"kill_count": 0, "kills": 1, "losses": 1}
    env.opponent_health[1] = 0
    assert env.step([STAY] * 3)[2] == {"kill_count": 1}
    env.reset()
    assert env.step([STAY] * 3)[2] == {"kill_count": 0}


def test_a_step_needs_a_reset_before_the_first_episode():
    with pytest.raises(RuntimeError, match="call reset"):
        Battle(20, 100, False, 0.01).step([STAY] * 20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"episode_limit": 0}, "env_args.episode_limit=0: expected a whole number of at least 1"),
        ({"recovery": -0.1}, "env_args.recovery=-0.1: expected health points per step in"),
        ({"recovery": float("nan")}, "env_args.recovery=nan: "),
        ({"recovery": 3.5}, "env_args.recovery=3.5: "),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=f"^{message}"):
        make(**arguments)


@pytest.mark.parametrize("actions", [[0] * 19, [6] + [0] * 19, [-1] + [0] * 19, [[0] * 20]])
def test_wrong_actions_are_refused(actions):
    with pytest.raises(ValueError, match="expected 20 numbers in 0..5"):
        make().step(actions)


def test_team_reward_by_hand():
    assert team_reward(0, 0, 0) == 0
    assert team_reward(2, 3, 1) == pytest.approx(2 - 0.3 - 0.5)


# --- scripted armies ---


def random_army(env, rng):
    return np.where(env.get_avail_actions(), rng.random((env.n_agents, 6)), -1).argmax(axis=1)


def idle_army(env, rng):
    return np.zeros(env.n_agents, dtype=int)


def gathering_army(env, rng):
    """Meet in one cell in the west, and strike whoever comes."""
    here = (env.positions[:, None] == env.opponent_positions).all(axis=2) & (env.opponent_health > 0)
    dx, dy = ((0, 4) - env.positions).T
    move = np.select([dx < 0, dy > 0, dy < 0], [WEST, NORTH, SOUTH], STAY)
    return np.where(env.health > 0, np.where(here.any(axis=1), ATTACK, move), STAY)


def play(env, army, episodes=10):
    """Kill count and return of each episode."""
    rng = np.random.default_rng(0)
    counts, returns = [], []
    for _ in range(episodes):
        env.reset()
        terminated, total = False, 0.0
        while not terminated:
            reward, terminated, info = env.step(army(env, rng))
            total += reward
        counts.append(info["kill_count"])
        returns.append(total)
    return np.array(counts), np.array(returns)


def test_an_army_that_stays_is_killed_and_kills_nobody():
    env = make(20, recovery=0.0, seed=1)
    counts, returns = play(env, idle_army)
    # without recovery every hit takes a point, so 60 hits kill the army
    assert counts.tolist() == [-20] * 10 and returns.tolist() == [-30.0] * 10
    assert (env.opponent_health == 3).all() and not env.health.any()


def test_everybody_attacking_in_one_cell():
    """Twenty against twenty in one cell: each living fighter hits once a step, until one army is gone."""
    for seed in range(5):
        env = make(20, recovery=0.0, seed=seed)
        env.positions = env.opponent_positions = np.full((20, 2), 4)
        terminated = False
        while not terminated:
            agents, points = (env.health > 0).sum(), (env.health.sum(), env.opponent_health.sum())
            reward, terminated, info = env.step(np.where(env.health > 0, ATTACK, STAY))
            hits = min(agents, points[1])
            wounds = min((env.opponent_health > 0).sum(), points[0])
            assert reward == pytest.approx(hits - 0.5 * wounds)
            assert env.opponent_health.sum() == points[1] - hits and env.health.sum() == points[0] - wounds
        assert info["kill_count"] > 0 and not env.opponent_health.any(), "whoever strikes first wins"


def test_first_step_of_everybody_in_one_cell_with_numbers():
    env = make(20, recovery=0.0)
    env.positions = env.opponent_positions = np.full((20, 2), 4)
    env.opponent_health = np.full(20, 1.0)
    assert env.step([ATTACK] * 20) == (20.0, True, {"kill_count": 20})


def test_an_army_that_gathers_beats_the_opponents_and_one_at_random_does_not():
    random_counts, _ = play(make(20), random_army)
    gathering_counts, returns = play(make(20), gathering_army)
    assert random_counts.mean() < -15
    assert gathering_counts.mean() > 15 and returns.mean() > 40


# --- seeds ---


def episode(env, seed=0):
    """Everything that one episode of random actions gives."""
    rng = np.random.default_rng(seed)
    env.reset()
    record, terminated = [], False
    while not terminated:
        reward, terminated, _ = env.step(random_army(env, rng))
        record.append(np.concatenate([env.get_obs().ravel(), env.get_state(), [reward]]))
    return np.array(record)


def test_one_seed_gives_one_episode():
    one, two = Battle(20, 50, False, 0.01, seed=7), Battle(20, 50, False, 0.01, seed=8)
    first = episode(one)
    assert not np.array_equal(first, episode(two))
    two.seed(7)
    assert np.array_equal(first, episode(two))
    assert not np.array_equal(first, episode(one)), "the next episode is another one"


def test_the_environment_leaves_numpys_global_generator_alone():
    state = np.random.get_state()[1].copy()
    episode(make(20, seed=None))
    assert np.array_equal(state, np.random.get_state()[1])


def test_reading_and_rendering_change_nothing():
    quiet, watched = make(20, seed=5), make(20, seed=5)
    rng = np.random.default_rng(0)
    for _ in range(15):
        actions = random_army(quiet, rng)
        state, obs = watched.get_state(), watched.get_obs()
        copies = state.copy(), obs.copy()
        watched.render()
        watched.get_avail_actions()[:] = 0
        assert np.array_equal(watched.get_state(), state) and np.array_equal(watched.get_obs(), obs)
        assert quiet.step(actions) == watched.step(actions)
        assert np.array_equal(state, copies[0]) and np.array_equal(obs, copies[1])
    assert np.array_equal(quiet.get_state(), watched.get_state())


def test_given_arrays_stay_as_they_are():
    env = situation("ab1 2 . . .", recovery=0.1)
    given = env.positions, env.opponent_positions, env.health, env.opponent_health
    copies = [array.copy() for array in given]
    env.step([ATTACK, EAST])
    assert all(np.array_equal(array, copy) for array, copy in zip(given, copies, strict=True))


def test_render_draws_the_living_and_how_the_armies_stand():
    env = situation(SCENE, health={"a": 1.0, "c": 2.0, "d": 0.0, "1": 0.0, "3": 2.0})
    env.opponent_positions[1] = env.positions[2]
    assert env.render().splitlines() == [
        *["........", "......O.", "..A..X..", "........", "........", "A......O"],
        "agents: 4 of 5, health 9.00",
        "opponents: 3 of 4, health 8.00",
        "step 0 of 100, kill count 0",
    ]
