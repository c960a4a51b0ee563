"""Battle, alone and in a batch, against the oracle: everything they give is equal bit for bit."""

from collections import Counter

import numpy as np
import oracles.battle as oracle
import pytest
from side_by_side import SideBySide

from envs.batch import CompiledBatch
from envs.battle import Battle, rules
from envs.chance import Draws

STAY, NORTH, SOUTH, WEST, EAST, ATTACK = range(6)


class Versions(SideBySide):
    """`SideBySide` that counts what happened in ``events``.

    Hits, misses, strikes in vain (at cells that were emptied before), wounds, opponents' strikes in vain, kills, losses
    and how episodes ended.
    """

    def __init__(self, monkeypatch, n_envs=4, **kwargs):
        arguments = {"episode_limit": 60, "continuing_episode": True, "recovery": 0.1, **kwargs}
        super().__init__(
            lambda seed: oracle.Battle(**arguments, seed=seed),
            lambda seed: Battle(**arguments, seed=seed),
            CompiledBatch,
            range(10, 10 + n_envs),
        )
        self.events, self._fights = Counter(), []
        monkeypatch.setattr(oracle, "strike", self._strike)
        for env in self.oracles:
            env.step = self._counted(env, env.step)

    def _strike(self, rng, aims, cells, health, strike=oracle.strike):
        hits, misses, left = strike(rng, aims, cells, health)
        self._fights.append((hits, misses, len(aims) - hits - misses))
        return hits, misses, left

    def _counted(self, env, step):
        def counted(actions):
            kills, losses = env.kills, env.losses
            _, ended, info = result = step(actions)
            (hits, misses, vain), (wounds, _, vain_wounds) = self._fights
            self._fights.clear()
            self.events += Counter(hits=hits, misses=misses, vain=vain, wounds=wounds, vain_wounds=vain_wounds)
            self.events += Counter(kills=env.kills - kills, losses=env.losses - losses)
            if ended:
                won, lost = env.kills == len(env.opponent_health), env.losses == env.n_agents
                limited = info.get("episode_limit")
                self.events["won" if won else "lost" if lost else "limited" if limited else "over"] += 1
            return result

        return counted

    def play_armies(self, armies, episodes=1, share=1.0, seed=0):
        """Plays whole episodes, environment b with ``armies[b % len(armies)]``; a ``share`` of them acts at a time."""
        rng = np.random.default_rng(seed)
        of = {id(env): armies[b % len(armies)] for b, env in enumerate(self.oracles)}
        for _ in range(episodes):
            self.play(rng, policy=lambda env, rng: of[id(env)](env, rng), share=share)

    def choose(self, acting, armies, rng):
        actions = [armies[b % len(armies)](self.oracles[b], rng) for b in acting]
        return np.array(actions, dtype=np.int64).reshape(len(acting), self.n_agents)


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
    both = Versions(monkeypatch, **arguments)
    both.play_armies(ARMIES, episodes=3 if arguments["n_agents"] < 33 else 1)
    assert happened <= {event for event, count in both.events.items() if count}, both.events


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_any_of_them_may_act(monkeypatch, share):
    """Those that rest keep their situation, their random numbers and what was written of them."""
    both = Versions(monkeypatch, n_envs=6, n_agents=20)
    if share == 0:
        both.reset()
        both.step(np.arange(0), np.zeros((0, 20), dtype=np.int64))
    else:
        both.play_armies(ARMIES, episodes=2, share=share)
        assert both.events["lost"] and both.events["kills"]


def test_the_stream_of_random_numbers_goes_on_through_resets(monkeypatch):
    both = Versions(monkeypatch, n_envs=2, n_agents=8, layout=FEW_OPPONENTS, episode_limit=5)
    refills, refill = Counter(), Draws.refill

    def spy(draws):
        used = int(draws.chance.used[0])
        refill(draws)
        refills[id(draws)] += int(draws.chance.used[0]) < used

    monkeypatch.setattr(Draws, "refill", spy)
    both.play_armies([attacking, at_random], episodes=60)
    assert len(refills) == 4 and min(refills.values()) > 3, "numbers are drawn anew within the test"
    both.assert_equal_generators()


def test_one_environment_is_a_batch(monkeypatch):
    both = Versions(monkeypatch, n_envs=1, n_agents=20, continuing_episode=False)
    both.play_armies([rushing(EAST)], episodes=2)
    assert both.events["hits"]


def test_actions_of_any_layout_and_kind_of_integer(monkeypatch):
    both = Versions(monkeypatch, n_agents=20)
    both.reset()
    acting, actions = np.arange(4), both.choose(np.arange(4), ARMIES, np.random.default_rng(0))
    both.step(acting.astype(np.int32), np.asfortranarray(actions.astype(np.int32)))
    both.step(acting[::-1], actions[::-1])
    assert both.running.all() and both.shown == 3


@pytest.mark.parametrize("recovery", [0.0, 0.01, 0.1, 1 / 3, 3.0])
def test_recovery_rounds_as_numpy_does(recovery):
    rng = np.random.default_rng(0)
    health = np.concatenate([rng.uniform(0, 3, 3000), rng.integers(0, 301, 3000) / 100, [0.0, 5e-10, 1.5e-9, 3.0]])
    expected = oracle.recover(health, recovery)
    rules.recover(health, recovery)
    assert health.tobytes() == expected.tobytes()


@pytest.mark.parametrize("layout", [None, FEW_AGENTS, "\n".join(["A" * 8 + "O" * 5, "." * 13, "." * 13])])
def test_situations_at_random(monkeypatch, layout):
    """Also those that play does not come to; everybody attacks, or acts at random."""
    n_agents = 20 if layout is None else layout.count("A")
    both, rng = Versions(monkeypatch, n_agents=n_agents, layout=layout, episode_limit=10**6), np.random.default_rng(1)
    field, everyone = both.oracles[0].layout.shape[::-1], np.arange(4)
    for _ in range(60):
        both.reset()
        for b in everyone:
            given = {
                "positions": rng.integers(field, size=(n_agents, 2)) // rng.integers(1, 4),
                "opponent_positions": rng.integers(field, size=both.oracles[b].opponent_positions.shape),
                "health": rng.choice([0.0, 0.25, 1.0, 2.995, 3.0], size=n_agents),
                "opponent_health": rng.choice([0.0, 0.25, 1.0, 2.995, 3.0], size=len(both.oracles[b].opponent_health)),
            }
            for name, array in given.items():
                setattr(both.oracles[b], name, array)
                setattr(both.singles[b], name, array)
                getattr(both.batch.now, name)[b] = array
        both.observe(everyone)
        both.step(everyone, both.choose(everyone, [at_random, attacking], rng))
    assert {"hits", "misses", "wounds", "kills", "losses"} <= both.events.keys()


def test_equal_keys_act_in_the_order_of_the_fighters():
    """Ties have no chance in play; 2 is no key, but says that somebody has no turn."""
    assert rules.in_turn(np.array([0.5, 0.2, 0.5, 2.0, 0.2, 0.5])).tolist() == [1, 4, 0, 2, 5]


# --- mistakes ---


def assert_nothing_changed(both):
    """The next steps are still equal, random numbers included."""
    running = np.flatnonzero(both.running)
    for t in range(1, 4):
        both.step(running, both.choose(running, [attacking], np.random.default_rng(t)))


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
    both = Versions(monkeypatch, n_agents=20)
    both.reset()
    with pytest.raises(ValueError, match=message):
        both.batch.step(np.array([1, 3]), actions.astype(np.int64))
    assert_nothing_changed(both)


@pytest.mark.parametrize("action", range(1, 6))
def test_the_dead_only_stay(monkeypatch, action):
    both = Versions(monkeypatch, n_agents=3, layout=FEW_AGENTS)
    both.reset()
    acting = np.arange(4)
    while not (both.oracles[2].losses and both.running.all()):
        both.step(acting, both.choose(acting, [rushing(STAY)], np.random.default_rng(0)))
    actions = np.zeros((4, 3), dtype=np.int64)
    actions[2, both.oracles[2].health == 0] = action
    actions[:2] = both.choose(acting[:2], [attacking], None)
    with pytest.raises(ValueError, match="a dead agent can only take action 0") as refused:
        both.batch.step(acting, actions)
    with pytest.raises(ValueError) as by_itself:
        both.singles[2].step(actions[2])
    assert str(refused.value) == str(by_itself.value)
    assert_nothing_changed(both)


def test_a_step_needs_a_running_episode(monkeypatch):
    both = Versions(monkeypatch, n_agents=8, layout=FEW_OPPONENTS, episode_limit=2)
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
    both.play_armies([attacking])
