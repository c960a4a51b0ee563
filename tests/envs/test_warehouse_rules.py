"""Warehouse, alone and in a batch, against the oracle: everything they give is equal bit for bit."""

import numpy as np
import oracles.warehouse as oracle
import pytest
from oracles.warehouse import DROP_OFF, demand
from side_by_side import SideBySide

from envs.batch import CompiledBatch
from envs.warehouse import Warehouse, rules

SHOP = """
    W.1
    2#3
    4..
"""
CORRIDOR = "1W234W"
SEEDS = (3, 0, 11)


def make(n_agents=4, episode_limit=12, continuing=True, always=True, layout=None, seeds=SEEDS):
    def version(kind):
        return lambda seed: kind(n_agents, episode_limit, continuing, always, layout=layout, seed=seed)

    return SideBySide(version(oracle.Warehouse), version(Warehouse), CompiledBatch, seeds)


def busy(env, rng):
    """Drop off wherever something is wanted, else act at random."""
    goals = env.grounds.goals[env.grounds.view.cells(env.positions)]
    wanted = demand(env.remaining)[np.arange(env.n_agents), goals] > 0
    return np.where(wanted, DROP_OFF, rng.integers(6, size=env.n_agents))


@pytest.mark.parametrize("n_agents", [1, 2, 4, 8, 16, 33])
def test_random_play_of_every_size(n_agents):
    both, rng = make(n_agents), np.random.default_rng(n_agents)
    for _ in range(4):
        both.play(rng)
    both.play(rng, share=0.6)
    both.assert_equal_generators()
    both.play(rng)
    assert both.shown > 5 * both.singles[0].episode_limit


@pytest.mark.parametrize(("n_agents", "layout"), [(4, None), (4, SHOP), (2, CORRIDOR)])
@pytest.mark.parametrize("always", [True, False])
def test_episodes_in_which_orders_are_delivered(n_agents, layout, always):
    both, rng = make(n_agents, 300, always=always, layout=layout), np.random.default_rng(1)
    done = {"delivered_items": 0, "completed_orders": 0, "collisions": 0}
    for _ in range(3):
        both.play(rng, policy=busy, share=0.8)
        for env in both.singles:
            done = {key: number + env.get_stats()[key] for key, number in done.items()}
    assert done["delivered_items"] > 20 and done["completed_orders"] > 10 and done["collisions"] > 20
    both.assert_equal_generators()


def test_all_orders_completed_at_once():
    """Everybody stays on its station and often has nothing left but the return: no step can draw more numbers."""
    both, rng = make(8, episode_limit=150, layout=CORRIDOR), np.random.default_rng(0)
    everyone, drop_off = np.arange(len(SEEDS)), np.full((len(SEEDS), 8), DROP_OFF)
    both.reset()
    completed = 0
    for _ in range(150):
        if rng.random() < 0.7:
            completed += 8
            for env in (*both.oracles, *both.singles):
                env.remaining[:] = 0
            both.batch.now.remaining[:] = 0
        both.observe(everyone)
        both.step(everyone, drop_off)
        assert [both.batch.info(b)["completed_orders"] for b in everyone] == [completed] * 3
    both.play(rng)


@pytest.mark.parametrize("n_agents", [2, 4, 16])
def test_situations_at_random(n_agents):
    """Also those that play does not come to, such as many agents on one cell."""
    both, rng = make(n_agents, episode_limit=400, continuing=False), np.random.default_rng(n_agents)
    both.reset()
    free = both.oracles[0].grounds.positions
    everyone = np.arange(len(SEEDS))
    for _ in range(60):
        for b in everyone:
            positions, remaining = free[rng.integers(len(free), size=n_agents)], rng.integers(3, size=(n_agents, 4))
            remaining[rng.random(n_agents) < 0.3] = 0
            for env in (both.oracles[b], both.singles[b]):
                env.positions, env.remaining = positions, remaining
            both.batch.now.positions[b], both.batch.now.remaining[b] = positions, remaining
        both.observe(everyone)
        actions = np.array([busy(env, rng) for env in both.oracles])
        both.step(everyone, actions)
    assert both.shown == 1 + 2 * 60


@pytest.mark.parametrize("continuing", [True, False])
@pytest.mark.parametrize("episode_limit", [1, 2, 7])
def test_time_limits(episode_limit, continuing):
    both, rng = make(3, episode_limit, continuing, seeds=range(6)), np.random.default_rng(2)
    for _ in range(8):
        both.play(rng, share=0.5)  # so episodes end at different times
    assert both.shown > 8 * episode_limit


def test_one_environment():
    both, rng = make(16, 50, seeds=[5]), np.random.default_rng(5)
    for _ in range(2):
        both.play(rng, policy=busy)
    assert both.shown == 2 * 51


def test_an_episode_can_be_cut_short():
    both, rng = make(4), np.random.default_rng(3)
    for steps in (3, 0, 5):
        both.reset()
        for _ in range(steps):
            both.step(np.array([2, 0]), rng.integers(6, size=(2, 4)))
            assert both.running.all()
    both.play(rng)


def test_equal_keys_act_in_the_order_of_the_agents():
    """Ties have no chance in play; 2 is no key, but says that somebody has no turn."""
    keys = np.array([0.5, 0.2, 0.5, 2.0, 0.2, 0.5])
    assert rules.in_turn(keys, np.full(6, -1)).tolist() == [1, 4, 0, 2, 5]


# --- mistakes ---


def snapshot(batch):
    """All that play depends on."""
    numbers = [array for env in batch.envs for array in env.draws.chance]
    return [array.tobytes() for array in (*batch.now, *numbers)]


@pytest.mark.parametrize(
    "actions",
    [
        *([[0, 0, 0, 6], [0] * 4], [[0] * 4, [-1, 0, 0, 0]]),
        *([[0] * 3] * 2, [[0] * 4], [[0] * 4] * 3, [0] * 4, [[[0] * 4] * 2]),
    ],
)
def test_wrong_actions_are_refused_before_anything_changes(actions):
    both = make(4)
    both.reset()
    before = snapshot(both.batch)
    with pytest.raises(ValueError, match=r"^actions: expected 2 x 4 numbers in 0\.\.5, got \["):
        both.batch.step(np.array([0, 2]), np.array(actions))
    assert snapshot(both.batch) == before
    both.step(np.array([0, 2]), np.zeros((2, 4), dtype=np.int64))


def test_a_step_needs_a_running_episode_in_all_environments():
    both, idle = make(4, episode_limit=2), np.zeros((2, 4), dtype=np.int64)
    with pytest.raises(RuntimeError, match="call reset"):
        both.batch.step(np.array([0, 1]), idle)
    both.reset()
    both.step(np.array([1]), idle[:1])
    both.step(np.array([0, 1]), idle)  # now environment 1 is over
    before = snapshot(both.batch)
    with pytest.raises(RuntimeError, match="call reset"):
        both.batch.step(np.array([0, 1]), idle)
    assert snapshot(both.batch) == before
    both.step(np.array([0, 2]), idle)
    both.play(np.random.default_rng(4))
