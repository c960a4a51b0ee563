"""Warehouse on drawn situations, with exact rewards and observations.

In the drawings the letters a, b, c, ... are the agents 0, 1, 2, ... on the map's symbols; the north is at the top.
"""

from collections import Counter, deque

import numpy as np
import pytest
from oracles.warehouse import draw_below, draw_orders, take_turns

from envs.warehouse import LAYOUTS, Warehouse, team_reward
from utils.errors import UserError

STAY, NORTH, SOUTH, WEST, EAST, DROP_OFF = range(6)

# The maps of the paper's Warehouse[4], [8] and [16], written down a second time.
MAPS = {
    4: ["#W#", ".2.", "3#4", ".1.", "#W#"],
    8: [".W.W.", ".2.1.", "3#4#3", ".1.2.", ".W.W."],
    16: [
        "###W#W#W#W###",
        "#...........#",
        "#..2.1.2.1..#",
        "W.3#4#3#4#3.W",
        "#..2.1.2.1..#",
        "W.3#4#3#4#3.W",
        "#..1.2.1.2..#",
        "#...........#",
        "###W#W#W#W###",
    ],
}


def make(n_agents=4, episode_limit=50, continuing_episode=False, time_penalty_on_completion=True, seed=0):
    env = Warehouse(n_agents, episode_limit, continuing_episode, time_penalty_on_completion, seed=seed)
    env.reset()
    return env


def counts(items):
    """'1124' -> [2, 1, 0, 1]: the number of items of each type."""
    return [items.count(kind) for kind in "1234"]


def situation(drawing, orders=("1", "1", "1", "1"), **kwargs):
    """An environment in the drawn situation; ``orders`` are the items that the agents still have to deliver."""
    lines = drawing.split()
    env = make(n_agents=len(orders), **kwargs)
    assert len(lines) == len(env.layout)
    places = {}
    for y, (line, row) in enumerate(zip(reversed(lines), env.layout, strict=True)):
        for x, (drawn, symbol) in enumerate(zip(line, row, strict=True)):
            if drawn.islower():
                places[drawn] = (x, y)
            else:
                assert drawn == symbol, "the drawing does not show the map"
    env.positions = np.array([places["abcdefghijklmnop"[agent]] for agent in range(len(orders))])
    env.remaining = np.array([counts(items) for items in orders])
    return env


def picture(env):
    """The map with the agents as letters, as the drawings have it."""
    return env.render().splitlines()[: len(env.layout)]


def outcomes(drawing, actions, trials=400, **kwargs):
    """How often each (picture, reward) came out of one step, over the seeds 0..trials-1."""
    found = Counter()
    for seed in range(trials):
        env = situation(drawing, seed=seed, **kwargs)
        reward, _, _ = env.step(actions)
        found[" ".join(picture(env)), round(reward, 6)] += 1
    return found


def only_outcome(drawing, actions, **kwargs):
    """Picture and reward of a step that does not depend on the order of the turns."""
    ((outcome, _),) = outcomes(drawing, actions, trials=20, **kwargs).items()
    return outcome


# --- the map ---


@pytest.mark.parametrize("n_agents", MAPS)
def test_maps_are_those_of_the_paper(n_agents):
    env = make(n_agents)
    assert ["".join(row) for row in env.layout[::-1]] == MAPS[n_agents]
    assert env.n_agents == n_agents


def test_the_paper_has_no_other_maps():
    assert sorted(LAYOUTS) == sorted(MAPS)


# --- start and orders ---


def test_agents_start_on_uniformly_drawn_stations_and_can_share_them():
    env = make(n_agents=16, seed=1)
    stations = {(x, y) for y, x in np.argwhere(env.layout == "W")}
    resets = 2000
    visits, shared = Counter(), 0
    for _ in range(resets):
        env.reset()
        places = [tuple(position) for position in env.positions]
        visits.update(places)
        shared += places[0] == places[1]
    assert set(visits) == stations and len(stations) == 12
    draws = resets * env.n_agents
    deviation = 5 * np.sqrt(draws * 1 / 12 * 11 / 12)
    assert all(abs(number - draws / 12) < deviation for number in visits.values())
    # with replacement: two given agents share a station in one of twelve episodes
    assert abs(shared - resets / 12) < 5 * np.sqrt(resets * 1 / 12 * 11 / 12)


def test_an_order_is_five_items_of_uniform_types_with_replacement():
    orders = draw_orders(np.random.default_rng(1), 20_000)
    assert orders.shape == (20_000, 4) and (orders.sum(axis=1) == 5).all() and orders.min() >= 0
    for number in range(6):  # binomial for each type
        ways = [1, 5, 10, 10, 5, 1][number]
        chance = ways * 0.25**number * 0.75 ** (5 - number)
        deviation = 5 * np.sqrt(chance * (1 - chance) / 20_000)
        assert np.abs((orders == number).mean(axis=0) - chance).max() < deviation


class Fixed:
    """A generator of given numbers in [0, 1)."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self, size):
        """Zeros from where no numbers are left: environments draw ahead."""
        return np.array([self.numbers.pop(0) if self.numbers else 0.0 for _ in range(np.prod(size))]).reshape(size)


def test_numbers_below_n_are_equal_parts_of_the_unit_interval():
    most = np.nextafter(1, 0)  # the largest number that a generator gives
    assert draw_below(Fixed(0, 0.24999, 0.25, 0.5, 0.75, most), 4, 6).tolist() == [0, 0, 1, 2, 3, 3]
    assert all(draw_below(Fixed(most), n, 1) == n - 1 for n in range(1, 200))


def test_one_number_is_one_item_of_an_order():
    items = Fixed(0, 0.9, 0.1, 0.3, 0.2, *[0.6] * 5)
    assert draw_orders(items, 2).tolist() == [counts("11124"), counts("33333")] and not items.numbers


def test_whoever_drew_the_lowest_number_acts_first():
    for numbers, cells in [([0.1, 0.2, 0, 0], "a2b"), ([0.2, 0.1, 0, 0], ".ab"), ([0.5, 0.5, 0, 0], "a2b")]:
        env = situation("#W# ab. 3#c .d. #W#")
        env.rng = Fixed(*numbers)
        env.step([EAST, EAST, STAY, STAY])
        assert picture(env)[1] == cells


def test_every_agent_starts_with_an_order_of_its_own():
    env = make(n_agents=16)
    assert (env.remaining.sum(axis=1) == 5).all()
    assert len({tuple(order) for order in env.remaining}) > 1


# --- moves ---

CROSS = "#W# .a. b#c .d. #W#"


def test_staying_costs_the_time_penalty_only():
    assert only_outcome(CROSS, [STAY] * 4) == (CROSS, -0.04)


@pytest.mark.parametrize(
    ("action", "moved"),
    [
        (NORTH, "#a# .2. b#c .d. #W#"),
        (SOUTH, CROSS),
        (WEST, "#W# a2. b#c .d. #W#"),
        (EAST, "#W# .2a b#c .d. #W#"),
    ],
)
def test_moves_go_where_they_say(action, moved):
    assert only_outcome(CROSS, [action, STAY, STAY, STAY]) == (moved, -0.04)


def test_obstacles_and_the_outside_stop_a_move_without_penalty():
    # a runs north out of the map, b west out of it, c north into an obstacle, d east into the one in the middle
    drawing = "#a# b2c d#4 .1. #W#"
    assert only_outcome(drawing, [NORTH, WEST, NORTH, EAST]) == (drawing, -0.04)
    # a runs east out of the map, b south out of it
    drawing = "#W# .2. d#a .1c #b#"
    assert only_outcome(drawing, [EAST, SOUTH, STAY, STAY]) == (drawing, -0.04)


def test_moving_into_an_agent_fails_and_costs_the_mover_half_a_point():
    drawing = "#W# ab. 3#c .d. #W#"
    assert only_outcome(drawing, [EAST, STAY, STAY, STAY]) == (drawing, -0.54)
    assert only_outcome(drawing, [EAST, DROP_OFF, STAY, STAY]) == (drawing, -0.54)


def test_two_agents_cannot_swap_cells():
    drawing = "#W# ab. 3#c .d. #W#"
    assert only_outcome(drawing, [EAST, WEST, STAY, STAY]) == (drawing, -1.04)


def test_a_cell_that_was_left_earlier_in_the_same_turn_can_be_entered():
    found = outcomes("#W# ab. 3#c .d. #W#", [EAST, EAST, STAY, STAY])
    both = ("#W# .ab 3#c .d. #W#", -0.04)  # b acts first
    blocked = ("#W# a2b 3#c .d. #W#", -0.54)  # a acts first, runs into b, then b leaves
    assert set(found) == {both, blocked}
    assert abs(found[both] - 200) < 5 * np.sqrt(400 / 4)


def test_whoever_acts_first_gets_the_cell():
    found = outcomes("#W# a2b 3#c .d. #W#", [EAST, WEST, STAY, STAY])
    first, second = ("#W# .ab 3#c .d. #W#", -0.54), ("#W# ab. 3#c .d. #W#", -0.54)
    assert set(found) == {first, second}
    assert abs(found[first] - 200) < 5 * np.sqrt(400 / 4)


@pytest.mark.parametrize(
    ("turns", "moved"),
    [([2, 1, 0], [True, True, True]), ([0, 1, 2], [False, False, True]), ([1, 2, 0], [False, False, True])],
)
def test_take_turns_in_a_given_order(turns, moved):
    # a row of three that moves on by one cell
    assert take_turns([10, 11, 12], [11, 12, 13], turns).tolist() == moved


def test_a_shared_cell_is_free_only_after_the_last_one_left():
    # agents 0 and 1 share cell 10, agent 2 wants to enter it
    assert take_turns([10, 10, 11], [9, 10, 10], [0, 2]).tolist() == [True, False, False]
    assert take_turns([10, 10, 11], [9, 8, 10], [0, 1, 2]).tolist() == [True, True, True]


def test_agents_that_share_a_station_leave_it_one_by_one():
    env = situation(CROSS)
    env.positions = np.array([(1, 4), (1, 4), (0, 3), (0, 1)])  # a and b on the northern station
    for actions, reward, a, b in [
        ([STAY, STAY], -0.04, (1, 4), (1, 4)),
        ([SOUTH, STAY], -0.04, (1, 3), (1, 4)),
        ([NORTH, STAY], -0.54, (1, 3), (1, 4)),  # b is still there, so nobody enters
        ([EAST, STAY], -0.04, (2, 3), (1, 4)),
        ([STAY, SOUTH], -0.04, (2, 3), (1, 3)),
        ([STAY, NORTH], -0.04, (2, 3), (1, 4)),  # now the station is empty
    ]:
        assert env.step([*actions, STAY, STAY])[0] == pytest.approx(reward)
        assert tuple(env.positions[0]) == a and tuple(env.positions[1]) == b


def test_all_actions_are_always_available():
    env = situation("#a# b2c d#4 .1. #W#")
    assert np.array_equal(env.get_avail_actions(), np.ones((4, 6)))
    assert np.array_equal(env.get_avail_agent_actions(3), np.ones(6))
    assert env.get_total_actions() == 6


# --- drop-offs ---

AT_WORK = "#d# .a. b#c .1. #W#"  # a on drop-off 2, b on 3, c on 4, d on a station


def drop(orders, agents="abcd", **kwargs):
    """Let ``agents`` drop off in the drawing above; returns environment, reward and info."""
    env = situation(AT_WORK, orders, **kwargs)
    reward, _, info = env.step([DROP_OFF if agent in agents else STAY for agent in "abcd"])
    return env, reward, info


def test_an_item_is_delivered_on_a_cell_of_its_type():
    env, reward, info = drop(["11222", "1", "1", "1"], agents="a")
    assert reward == pytest.approx(1 - 0.04)
    assert env.remaining.tolist() == [[2, 2, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert info["completed_orders"] == 0


def test_items_can_be_delivered_in_any_order_and_by_several_agents_at_once():
    env, reward, _ = drop(["12", "134", "1234", "1"])
    assert reward == pytest.approx(3 - 0.04)
    assert env.remaining.tolist() == [counts("1"), counts("14"), counts("123"), counts("1")]


def test_a_drop_off_of_nothing_wanted_gives_nothing():
    # a, b and c have no item of their cell's type left, d is on a station with items left
    orders = ["1134", "124", "123", "1234"]
    env, reward, info = drop(orders)
    assert reward == pytest.approx(-0.04)
    assert env.remaining.tolist() == [counts(items) for items in orders]
    assert info["completed_orders"] == 0


def test_a_drop_off_on_plain_floor_gives_nothing():
    env = situation("#W# a2b 3#4 c1d #W#", ["1", "", "2", ""])
    reward, _, info = env.step([DROP_OFF] * 4)
    assert reward == pytest.approx(-0.04) and info["completed_orders"] == 0
    assert env.remaining.tolist() == [counts("1"), counts(""), counts("2"), counts("")]


def test_standing_or_moving_on_a_drop_off_delivers_nothing():
    env = situation(AT_WORK, ["2", "3", "4", ""])
    reward, _, info = env.step([STAY, STAY, NORTH, STAY])
    assert reward == pytest.approx(-0.04) and info["completed_orders"] == 0
    assert env.remaining.sum() == 3


def test_the_last_item_leaves_the_return_and_does_not_complete_the_order():
    env, reward, info = drop(["2", "1", "1", "1"], agents="a")
    assert reward == pytest.approx(1 - 0.04) and info["completed_orders"] == 0
    assert env.remaining[0].tolist() == [0, 0, 0, 0]
    reward, _, info = env.step([DROP_OFF, STAY, STAY, STAY])  # nothing is left to drop off here
    assert reward == pytest.approx(-0.04) and info["completed_orders"] == 0


@pytest.mark.parametrize("drawing", ["#d# .2. a#b .c. #W#", "#W# .2. a#b .c. #d#"])
def test_an_order_is_completed_on_any_station_and_the_next_one_is_there_at_once(drawing):
    fresh = set()
    for seed in range(20):
        env = situation(drawing, ["1", "1", "1", ""], seed=seed)
        reward, _, info = env.step([STAY, STAY, STAY, DROP_OFF])
        assert reward == pytest.approx(1 - 0.04)
        assert info["completed_orders"] == 1
        assert env.remaining[:3].tolist() == [counts("1")] * 3
        assert env.remaining[3].sum() == 5
        fresh.add(tuple(env.remaining[3]))
        reward, _, info = env.step([STAY, STAY, STAY, DROP_OFF])  # the next order is not complete
        assert reward == pytest.approx(-0.04) and info["completed_orders"] == 1
    assert len(fresh) > 5


def test_completed_orders_are_counted_over_agents_and_steps():
    env = situation("#d# .2. 3#4 c1b #a#", ["", "1", "1", ""])
    _, _, info = env.step([DROP_OFF, STAY, STAY, DROP_OFF])
    assert info == {"completed_orders": 2}
    env.remaining[0] = 0
    _, _, info = env.step([DROP_OFF, STAY, STAY, STAY])
    assert info == {"completed_orders": 3}
    _, _, info = env.step([STAY, STAY, STAY, STAY])
    assert info == {"completed_orders": 3}
    env.reset()
    _, _, info = env.step([STAY] * 4)
    assert info == {"completed_orders": 0}


def test_rewards_of_all_agents_are_summed():
    # a and c deliver, b runs into a, d completes
    env = situation("#d# ba. 3#c .1. #W#", ["2", "1", "44", ""])
    order = env.remaining
    reward, _, _ = env.step([DROP_OFF, EAST, DROP_OFF, DROP_OFF])
    assert reward == pytest.approx(2 - 0.5 + 1 - 0.04)
    env.step([STAY, EAST, DROP_OFF, STAY])
    assert env.get_stats() == {"completed_orders": 1, "delivered_items": 3, "collisions": 2}
    assert order.tolist() == [counts("2"), counts("1"), counts("44"), counts("")], "given arrays stay as they are"


@pytest.mark.parametrize(("always", "reward"), [(True, 2 - 0.04), (False, 2 - 0.03)])
def test_time_penalty_in_the_step_that_completes_an_order(always, reward):
    # a delivers its last item: that is no completion, so only d can be spared
    _, got, _ = drop(["2", "1", "1", ""], agents="ad", time_penalty_on_completion=always)
    assert got == pytest.approx(reward)


def test_team_reward_by_hand():
    assert team_reward(4, 0, 0, 0, True) == pytest.approx(-0.04)
    assert team_reward(4, 4, 0, 0, True) == pytest.approx(4 - 0.04)
    assert team_reward(4, 0, 4, 0, True) == pytest.approx(4 - 0.04)
    assert team_reward(4, 0, 4, 0, False) == pytest.approx(4)
    assert team_reward(4, 0, 0, 4, False) == pytest.approx(-2 - 0.04)
    assert team_reward(4, 0, 1, 3, False) == pytest.approx(1 - 1.5 - 0.03)
    teams = np.array([0, 4]), np.array([1, 0]), np.array([3, 0])
    assert team_reward(4, *teams, False) == pytest.approx([1 - 1.5 - 0.03, 4 - 0.04])


# --- observations ---


def channels(drawing):
    """Five drawn 5x5 channels side by side -> [5, 25]; '.' is 0."""
    rows = [line.split() for line in drawing.strip().splitlines()]
    assert len(rows) == 5
    numbers = [[[0 if cell == "." else int(cell) for cell in channel] for channel in row] for row in rows]
    return np.array(numbers).transpose(1, 0, 2).reshape(5, 25)


def assert_observes(env, agent, drawing):
    np.testing.assert_array_equal(env.get_obs()[agent].reshape(5, 25), channels(drawing))


# self, blocked or outside, other agents, current stage, next stage
def test_observation_with_items_left():
    env = situation("#W# .a. 3#4 b1c #d#", ["11244", "1", "1", "1"])
    assert_observes(
        env,
        0,
        """
        .....  11111  .....  .....  .....
        .....  11.11  .....  .....  ..1..
        ..1..  1...1  .....  ..1..  .....
        .....  1.1.1  .....  ...2.  .....
        .....  1...1  .1.1.  ..2..  .....
        """,
    )


def test_observation_when_only_the_return_is_left():
    env = situation("#W# .a. 3#4 b1c #d#", ["", "1", "1", "1"])
    assert_observes(
        env,
        0,
        """
        .....  11111  .....  .....  .....
        .....  11.11  .....  ..1..  .....
        ..1..  1...1  .....  .....  .....
        .....  1.1.1  .....  .....  .....
        .....  1...1  .1.1.  .....  .....
        """,
    )


def test_observation_in_the_corner_sees_agents_and_outside():
    env = situation("#W# .d. b#4 a1. #c#", ["11113", "1", "1", "1"])
    assert_observes(
        env,
        0,
        """
        .....  11...  ...1.  .....  .....
        .....  11.1.  ..1..  ..1..  .....
        ..1..  11...  .....  ...4.  .....
        .....  111.1  ...1.  .....  ...1.
        .....  11111  .....  .....  .....
        """,
    )


def test_observation_counts_the_others_on_a_shared_station():
    env = situation(CROSS, ["3", "3", "3", "3"])
    env.positions = np.array([(1, 0), (1, 0), (1, 0), (2, 1)])
    for agent in (0, 1, 2):
        assert_observes(
            env,
            agent,
            """
            .....  1.1.1  .....  .1...  .....
            .....  1...1  ...1.  .....  .....
            ..1..  11.11  ..2..  .....  ..1..
            .....  11111  .....  .....  .....
            .....  11111  .....  .....  .....
            """,
        )


def test_observation_shows_the_drop_offs_of_a_type_on_several_cells():
    env = situation("dW.W. .2e1. 3#a#3 f1.2. bgcWh", ["11233", *["1"] * 7])
    assert_observes(
        env,
        0,
        """
        .....  .....  1....  .....  .1.1.
        .....  .....  ..1..  .1.2.  .....
        ..1..  .1.1.  .....  2...2  .....
        .....  .....  1....  .2.1.  .....
        .....  .....  111.1  .....  .1.1.
        """,
    )


def test_the_stage_shifts_with_the_last_item_and_back_with_the_next_order():
    env = situation("#a# .b. 3#4 c1d #W#", ["", "2", "1", "1"])
    current, following = slice(75, 100), slice(100, 125)
    station_a, station_b = 12, 7  # where a and b see the northern station in their windows
    obs = env.get_obs()
    assert obs[0, current][station_a] == 1 and obs[0, following].sum() == 0
    assert obs[1, current].sum() == 1 and obs[1, following][station_b] == 1
    env.step([DROP_OFF, DROP_OFF, STAY, STAY])
    obs = env.get_obs()
    assert obs[0, following][station_a] == 1
    assert obs[1, current][station_b] == 1 and obs[1, following].sum() == 0


@pytest.mark.parametrize("n_agents", MAPS)
def test_observations_are_float32_rows_of_125(n_agents):
    env = make(n_agents)
    assert env.get_obs().shape == (n_agents, 125) and env.get_obs().dtype == np.float32
    assert env.get_obs_size() == 125
    assert np.array_equal(env.get_obs_agent(2), env.get_obs()[2])


# --- state ---


def test_state_of_a_drawn_situation():
    env = situation("#W# .a. 3#4 b1c #d#", ["11244", "", "134", ""])
    env.positions[3] = env.positions[0]  # d joins a
    np.testing.assert_array_equal(
        env.get_state(),
        np.array(
            [
                *(0, 1, 0, 1, 0, 0, 0, 2, 0, 0),  # agents on W .1. 34 .2. W
                *(2 / 4, 3 / 4, 1 / 4, 3 / 4, 1 / 4, 2 / 4),  # wanted on W 1 3 4 2 W, per agent
                *(1 / 8, 3 / 8, 1, 2, 1, 0, 2, 0),  # a: x, y, alive, items, return
                *(0 / 8, 1 / 8, 1, 0, 0, 0, 0, 1),  # b
                *(2 / 8, 1 / 8, 1, 1, 0, 1, 1, 0),  # c
                *(1 / 8, 3 / 8, 1, 0, 0, 0, 0, 1),  # d
            ],
            dtype=np.float32,
        ),
    )


@pytest.mark.parametrize(("n_agents", "size"), [(4, 10 + 6 + 32), (8, 23 + 11 + 64), (16, 81 + 34 + 128)])
def test_state_size_and_where_it_holds_positions_and_lives(n_agents, size):
    env = make(n_agents, seed=2)
    info, state = env.get_env_info(), env.get_state()
    assert state.shape == (size,) and state.dtype == np.float32 and info["state_shape"] == size
    np.testing.assert_array_equal(state[info["agent_position_index"]] * env.position_scale, env.positions)
    assert state[info["agent_position_index"]].max() < 1
    np.testing.assert_array_equal(state[info["agent_alive_index"]], np.ones(n_agents))


@pytest.mark.parametrize("n_agents", MAPS)
def test_no_state_entry_is_idle(n_agents):
    """Random play changes every entry but the lives, and whether an agent has only its return left."""
    env = make(n_agents, episode_limit=20_000, seed=3)
    rng = np.random.default_rng(3)
    first = env.get_state()
    changed = np.zeros(len(first), dtype=bool)
    for _ in range(3000):
        env.step(rng.integers(6, size=n_agents))
        env.remaining[rng.integers(n_agents)] = 0 if rng.random() < 0.1 else draw_orders(rng, 1)[0]
        changed |= env.get_state() != first
    lives = np.isin(np.arange(len(first)), env.get_env_info()["agent_alive_index"])
    np.testing.assert_array_equal(changed, ~lives)


# --- episodes ---


@pytest.mark.parametrize(("continuing", "last"), [(False, {}), (True, {"episode_limit": True})])
def test_the_time_limit_ends_the_episode(continuing, last):
    env = make(episode_limit=3, continuing_episode=continuing)
    for _ in range(2):
        _, terminated, info = env.step([STAY] * 4)
        assert terminated is False and info == {"completed_orders": 0}
    _, terminated, info = env.step([STAY] * 4)
    assert terminated is True and info == {"completed_orders": 0, **last}
    with pytest.raises(RuntimeError, match="call reset"):
        env.step([STAY] * 4)
    env.reset()
    assert env.step([STAY] * 4)[1] is False


def test_a_step_needs_a_reset_before_the_first_episode():
    with pytest.raises(RuntimeError, match="call reset"):
        Warehouse(4, 50, False, True).step([STAY] * 4)


def test_an_episode_takes_at_least_one_step():
    with pytest.raises(UserError, match="env_args.episode_limit=0"):
        make(episode_limit=0)


@pytest.mark.parametrize("actions", [[0, 0, 0], [0, 0, 0, 6], [-1, 0, 0, 0], [[0, 0, 0, 0]]])
def test_wrong_actions_are_refused(actions):
    with pytest.raises(ValueError, match="expected 4 numbers in 0..5"):
        make().step(actions)


def test_tensors_are_actions_too():
    torch = pytest.importorskip("torch")
    env = situation(CROSS)
    env.step(torch.tensor([WEST, STAY, STAY, STAY]))
    assert env.positions[0].tolist() == [0, 3]


def episode(env, seed=0):
    """Everything that one episode of random actions gives."""
    rng = np.random.default_rng(seed)
    env.reset()
    record = []
    for _ in range(env.episode_limit):
        reward, _, _ = env.step(rng.integers(6, size=env.n_agents))
        record.append(np.concatenate([env.get_obs().ravel(), env.get_state(), [reward]]))
    return np.array(record)


def test_one_seed_gives_one_episode():
    one, two = Warehouse(16, 50, False, True, seed=7), Warehouse(16, 50, False, True, seed=8)
    first = episode(one)
    assert not np.array_equal(first, episode(two))
    two.seed(7)
    assert np.array_equal(first, episode(two))
    assert not np.array_equal(first, episode(one)), "the next episode is another one"


def test_no_seed_gives_different_episodes():
    assert not np.array_equal(episode(make(16, seed=None)), episode(make(16, seed=None)))


def test_the_environment_leaves_numpys_global_generator_alone():
    state = np.random.get_state()[1].copy()
    episode(make(16))
    assert np.array_equal(state, np.random.get_state()[1])


def test_reading_and_rendering_change_nothing():
    quiet, watched = make(16, seed=5), make(16, seed=5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = rng.integers(6, size=16)
        state, obs = watched.get_state(), watched.get_obs()
        copies = state.copy(), obs.copy()
        watched.render()
        watched.get_avail_actions()[:] = 0
        assert np.array_equal(watched.get_state(), state) and np.array_equal(watched.get_obs(), obs)
        assert quiet.step(actions) == watched.step(actions)
        assert np.array_equal(state, copies[0]) and np.array_equal(obs, copies[1])
    assert np.array_equal(quiet.get_state(), watched.get_state())


def test_render_draws_agents_orders_and_progress():
    env = situation("#W# .a. 3#4 b1c #d#", ["11244", "3", "4", ""])
    env.positions[2] = env.positions[1]
    assert env.render().splitlines() == [
        *["#W#", ".a.", "3#4", "*1.", "#d#"],
        *["a: 1 1 2 4 4", "b: 3", "c: 4", "d: return"],
        "step 0 of 50, completed orders 0",
    ]


# --- a policy that plans ---


def first_step(env, agent, goals):
    """The first move of a shortest way to one of ``goals`` around obstacles and other agents; None without a way."""
    height, width = env.layout.shape
    others = {tuple(position) for position in np.delete(env.positions, agent, axis=0)}
    start = tuple(env.positions[agent])
    queue, seen = deque([(start, None)]), {start}
    while queue:
        (x, y), move = queue.popleft()
        if (x, y) in goals:
            return move
        for action, (dx, dy) in ((NORTH, (0, 1)), (SOUTH, (0, -1)), (WEST, (-1, 0)), (EAST, (1, 0))):
            cell = (x + dx, y + dy)
            inside = 0 <= cell[0] < width and 0 <= cell[1] < height
            if inside and cell not in seen | others and env.layout[cell[1], cell[0]] != "#":
                seen.add(cell)
                queue.append((cell, action if move is None else move))
    return None


def courier(env, rng):
    """Drop off where something is wanted, else walk towards the next such cell, at random if the way is blocked."""
    actions = []
    for agent in range(env.n_agents):
        wanted = [kind for kind, left in zip("1234", env.remaining[agent], strict=True) if left] or ["W"]
        goals = {(x, y) for y, x in np.argwhere(np.isin(env.layout, wanted))}
        at_goal = tuple(env.positions[agent]) in goals
        move = first_step(env, agent, goals)
        actions.append(DROP_OFF if at_goal else rng.integers(1, 5) if move is None else move)
    return actions


@pytest.mark.parametrize(("n_agents", "at_least"), [(4, 2), (8, 6), (16, 16)])
def test_a_planning_courier_completes_orders(n_agents, at_least):
    """On average per episode; random play completes almost none."""
    env, rng = make(n_agents, seed=4), np.random.default_rng(4)
    completed = []
    for _ in range(10):
        env.reset()
        terminated = False
        while not terminated:
            _, terminated, info = env.step(courier(env, rng))
        completed.append(info["completed_orders"])
    assert np.mean(completed) >= at_least


@pytest.mark.parametrize(
    ("n_agents", "obs", "state"),
    [(4, "uint8", "float16"), (5, "uint8", "float32"), (256, "uint8", "float16"), (257, "int16", "float32")]
    + [(512, "int16", "float32")],
)
def test_declared_dtypes_hold_what_is_shown_exactly(n_agents, obs, state):
    env = make(n_agents=n_agents)
    env.reset()
    assert env.get_env_info()["dtypes"] == {"obs": obs, "state": state, "avail_actions": "uint8"}
    for _ in range(3):
        for shown, dtype in ((env.get_obs(), obs), (env.get_state(), state)):
            np.testing.assert_array_equal(shown.astype(dtype).astype(np.float32), shown)
        env.step(env.rng.integers(6, size=n_agents))
