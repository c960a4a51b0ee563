"""Battle in batches against `Battle` one by one: everything they give is equal bit for bit."""

from collections import Counter

import numpy as np
import pytest

from envs import battle
from envs.batch import EpisodeArrays
from envs.battle import Battle, recover
from envs.battle_batch import BattleBatch, _recover

STAY, NORTH, SOUTH, WEST, EAST, ATTACK = range(6)
STEPS = 25  # rows of the arrays that observations go to, less than an episode may have


class Both:
    """Environments by themselves and in a batch, played side by side; every difference fails.

    ``events`` counts what happened: hits, misses, strikes in vain (at cells that were emptied before), wounds,
    opponents' strikes in vain, kills, losses and how episodes ended.
    """

    def __init__(self, monkeypatch, n_envs=4, **kwargs):
        arguments = {"episode_limit": 60, "continuing_episode": True, "recovery": 0.1, **kwargs}
        self.singles, envs = ([Battle(**arguments, seed=10 + b) for b in range(n_envs)] for _ in range(2))
        self.batch = BattleBatch(envs)
        self.events = Counter()
        info, n_agents = envs[0].get_env_info(), envs[0].n_agents
        self.arrays = EpisodeArrays(
            obs=np.full((n_envs, STEPS, n_agents, info["obs_shape"]), np.nan, dtype=np.float32),
            state=np.full((n_envs, STEPS, info["state_shape"]), np.nan, dtype=np.float32),
            avail_actions=np.full((n_envs, STEPS, n_agents, info["n_actions"]), -7, dtype=np.int32),
        )
        monkeypatch.setattr(battle, "strike", self._strike)
        self._fights = []

    def _strike(self, rng, aims, cells, health, strike=battle.strike):
        hits, misses, left = strike(rng, aims, cells, health)
        self._fights.append((hits, misses, len(aims) - hits - misses))
        return hits, misses, left

    def reset(self):
        for env in self.singles:
            env.reset()
        self.batch.reset()
        self.running = np.ones(len(self.singles), dtype=bool)
        self.observe(np.arange(len(self.singles)), 0)

    def observe(self, acting, t):
        self.batch.observe(acting, t, self.arrays)
        for b in acting:
            env = self.singles[b]
            assert self.arrays.obs[b, t].tobytes() == env.get_obs().tobytes()
            assert self.arrays.state[b, t].tobytes() == env.get_state().tobytes()
            assert np.array_equal(self.arrays.avail_actions[b, t], env.get_avail_actions())

    def step(self, acting, actions):
        outcomes = self.batch.step(acting, actions)
        assert [len(column) for column in vars(outcomes).values()] == [len(acting)] * 3
        assert outcomes.rewards.dtype == np.float64
        for i, b in enumerate(acting):
            env = self.singles[b]
            before = env.kills, env.losses
            reward, ended, info = env.step(actions[i])
            assert outcomes.rewards[i].tobytes() == np.float64(reward).tobytes()
            assert outcomes.ended[i] == ended and outcomes.limited[i] == info.get("episode_limit", False)
            given = self.batch.info(b)
            assert given == info and type(given["kill_count"]) is int
            self.running[b] = not ended
            self._count(env, *before, ended, info)

    def _count(self, env, kills, losses, ended, info):
        (hits, misses, vain), (wounds, _, vain_wounds) = self._fights
        self._fights.clear()
        self.events += Counter(hits=hits, misses=misses, vain=vain, wounds=wounds, vain_wounds=vain_wounds)
        self.events += Counter(kills=env.kills - kills, losses=env.losses - losses)
        if ended:
            won, lost = env.kills == len(env.opponent_health), env.losses == env.n_agents
            self.events["won" if won else "lost" if lost else "limited" if info.get("episode_limit") else "over"] += 1

    def play(self, armies, episodes=1, share=1.0, seed=0):
        """Plays whole episodes, environment b with ``armies[b % len(armies)]``; a ``share`` of them acts at a time."""
        rng = np.random.default_rng(seed)
        for _ in range(episodes):
            self.reset()
            t = 0
            while self.running.any():
                acting = np.flatnonzero(self.running & (rng.random(len(self.running)) < share))
                t = (t + 1) % STEPS
                untouched = np.setdiff1d(np.arange(len(self.singles)), acting)
                others = [array[untouched].tobytes() for array in vars(self.arrays).values()]
                self.step(acting, self.choose(acting, armies, rng))
                self.observe(acting, t)
                assert others == [array[untouched].tobytes() for array in vars(self.arrays).values()]

    def choose(self, acting, armies, rng):
        actions = [armies[b % len(armies)](self.singles[b], rng) for b in acting]
        return np.array(actions, dtype=np.int64).reshape(len(acting), self.singles[0].n_agents)


# --- scripted armies ---


def at_random(env, rng):
    return np.where(env.get_avail_actions(), rng.random((env.n_agents, 6)), -1).argmax(axis=1)


def attacking(env, rng):
    return np.where(env.health > 0, ATTACK, STAY)


def rushing(direction):
    """An army that goes one way, and strikes whom it meets (and sometimes the air)."""

    def army(env, rng):
        here = (env.positions[:, None] == env.opponent_positions).all(axis=2) & (env.opponent_health > 0)
        strikes = here.any(axis=1) | (rng.random(env.n_agents) < 0.1)
        return np.where(env.health > 0, np.where(strikes, ATTACK, direction), STAY)

    return army


ARMIES = [at_random, rushing(EAST), attacking, rushing(WEST)]

FEW_AGENTS = """
    .....O..
    A..OOO..
    AA.OOO..
    .....O..
"""
FEW_OPPONENTS = """
    AAAA.O
    AAAAO.
"""
ROW = "A.OAO"
EVERYTHING = {"hits", "misses", "vain", "wounds", "vain_wounds", "kills", "losses"}


@pytest.mark.parametrize(
    ("arguments", "happened"),
    [
        ({"n_agents": 1, "recovery": 0.01}, {"misses", "wounds", "losses", "lost"}),
        ({"n_agents": 2, "recovery": 0}, {"hits", "misses", "wounds", "losses", "lost"}),
        ({"n_agents": 20, "recovery": 0.1}, {*EVERYTHING, "lost", "limited"}),
        ({"n_agents": 33, "recovery": 0.01}, EVERYTHING),
        ({"n_agents": 80, "recovery": 0.01, "episode_limit": 50, "continuing_episode": False}, {*EVERYTHING, "over"}),
        ({"n_agents": 3, "layout": FEW_AGENTS, "recovery": 0.01}, {"wounds", "vain_wounds", "lost"}),
        ({"n_agents": 3, "layout": FEW_AGENTS, "recovery": 3}, {"hits", "wounds", "losses", "lost", "limited"}),
        ({"n_agents": 8, "layout": FEW_OPPONENTS, "recovery": 0.0}, {*EVERYTHING, "won"} - {"vain_wounds"}),
        ({"n_agents": 2, "layout": ROW, "recovery": 0.1}, {"hits", "misses", "wounds", "kills", "losses"}),
        ({"n_agents": 20, "episode_limit": 1}, {"limited", "misses"}),
    ],
)
def test_whole_episodes_are_equal(monkeypatch, arguments, happened):
    both = Both(monkeypatch, **arguments)
    both.play(ARMIES, episodes=3 if arguments["n_agents"] < 33 else 1)
    assert happened <= {event for event, count in both.events.items() if count}, both.events


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_any_of_them_may_act(monkeypatch, share):
    """Those that rest keep their situation, their random numbers and what was written of them."""
    both = Both(monkeypatch, n_envs=6, n_agents=20)
    if share == 0:
        both.reset()
        both.step(np.arange(0), np.zeros((0, 20), dtype=np.int64))
        both.observe(np.arange(0), 1)
        assert np.isnan(both.arrays.obs[:, 1:]).all()
    else:
        both.play(ARMIES, episodes=2, share=share)
        assert both.events["lost"] and both.events["kills"]


def test_the_stream_of_random_numbers_goes_on_through_resets(monkeypatch):
    both = Both(monkeypatch, n_envs=2, n_agents=8, layout=FEW_OPPONENTS, episode_limit=5)
    refills = Counter()
    refill = both.batch._uniforms.refill
    monkeypatch.setattr(
        both.batch._uniforms, "refill", lambda: refill() or refills.update([both.batch._uniforms.used[0]])
    )
    both.play([attacking, at_random], episodes=60)
    assert refills[0] > 3, "numbers are drawn anew within the test"


def test_one_environment_is_a_batch(monkeypatch):
    both = Both(monkeypatch, n_envs=1, n_agents=20, continuing_episode=False)
    both.play([rushing(EAST)], episodes=2)
    assert both.events["hits"]


def test_actions_of_any_layout_and_kind_of_integer(monkeypatch):
    both = Both(monkeypatch, n_agents=20)
    both.reset()
    acting, actions = np.arange(4), both.choose(np.arange(4), ARMIES, np.random.default_rng(0))
    both.step(acting.astype(np.int32), np.asfortranarray(actions.astype(np.int32)))
    both.step(acting[::-1], actions[::-1])
    both.observe(acting, 1)
    assert both.running.all() and not np.isnan(both.arrays.obs[:, 1]).any()


@pytest.mark.parametrize("recovery", [0.0, 0.01, 0.1, 1 / 3, 3.0])
def test_recovery_rounds_as_numpy_does(recovery):
    rng = np.random.default_rng(0)
    health = np.concatenate([rng.uniform(0, 3, 3000), rng.integers(0, 301, 3000) / 100, [0.0, 5e-10, 1.5e-9, 3.0]])
    expected = recover(health, recovery)
    _recover(health, BattleBatch([Battle(1, 1, False, recovery)])._board)
    assert health.tobytes() == expected.tobytes()


# --- mistakes ---


def assert_nothing_changed(both):
    """The next steps are still equal, random numbers included."""
    running = np.flatnonzero(both.running)
    for t in range(1, 4):
        both.step(running, both.choose(running, [attacking], np.random.default_rng(t)))
        both.observe(running, t)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((2, 19)), "expected 2 x 20 numbers in 0..5"),
        (np.zeros((1, 20)), "expected 2 x 20 numbers in 0..5"),
        (np.zeros(20), "expected 2 x 20 numbers in 0..5"),
        (np.eye(2, 20) * 6, "expected 2 x 20 numbers in 0..5"),
        (-np.eye(2, 20), "expected 2 x 20 numbers in 0..5"),
    ],
)
def test_wrong_actions_are_refused(monkeypatch, actions, message):
    both = Both(monkeypatch, n_agents=20)
    both.reset()
    with pytest.raises(ValueError, match=message):
        both.batch.step(np.array([1, 3]), actions.astype(np.int64))
    assert_nothing_changed(both)


@pytest.mark.parametrize("action", range(1, 6))
def test_the_dead_only_stay(monkeypatch, action):
    both = Both(monkeypatch, n_agents=3, layout=FEW_AGENTS)
    both.reset()
    acting = np.arange(4)
    while not (both.singles[2].losses and both.running.all()):
        both.step(acting, both.choose(acting, [rushing(STAY)], np.random.default_rng(0)))
    actions = np.zeros((4, 3), dtype=np.int64)
    actions[2, both.singles[2].health == 0] = action
    actions[:2] = both.choose(acting[:2], [attacking], None)
    with pytest.raises(ValueError, match="a dead agent can only take action 0") as refused:
        both.batch.step(acting, actions)
    with pytest.raises(ValueError) as by_itself:
        both.singles[2].step(actions[2])
    assert str(refused.value) == str(by_itself.value)
    assert_nothing_changed(both)


def test_a_step_needs_a_running_episode(monkeypatch):
    both = Both(monkeypatch, n_agents=8, layout=FEW_OPPONENTS, episode_limit=2)
    idle = np.zeros((4, 8), dtype=np.int64)
    with pytest.raises(RuntimeError, match="call reset"):
        both.batch.step(np.arange(4), idle)
    both.reset()
    for _ in range(2):
        both.step(np.array([1]), idle[:1])
    with pytest.raises(RuntimeError, match="call reset"):
        both.batch.step(np.arange(4), idle)
    with pytest.raises(RuntimeError, match="call reset"):  # before the actions are looked at, as in one by itself
        both.batch.step(np.array([1]), idle - 1)
    both.step(np.array([0, 2, 3]), idle[:3])
    assert_episode_of_all(both)


def assert_episode_of_all(both):
    both.reset()
    assert both.batch.info(1) == {"kill_count": 0}
    both.play([attacking])
