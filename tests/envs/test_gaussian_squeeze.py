"""GaussianSqueeze against brute force and numbers worked out by hand."""

import math
from functools import partial

import numpy as np
import pytest

from envs.checker import check_env
from envs.gaussian_squeeze import GaussianSqueeze, system_performance
from run import build
from settings.load import load_config
from utils.errors import UserError


def earn(n_agents, units):
    """Reward and info of agents that take ``units`` together, as evenly as possible."""
    env = GaussianSqueeze(n_agents)
    env.reset()
    actions = np.full(n_agents, units // n_agents)
    actions[: units % n_agents] += 1
    reward, terminated, info = env.step(actions)
    assert terminated is True
    return reward, info


@pytest.mark.parametrize(
    ("units", "performance"),
    [
        (0, 0.0),
        (1, 0.018685),  # exp(-(399 / 200)^2)
        (200, 200 / math.e),  # one sigma below
        (400, 400.0),  # at mu
        (600, 600 / math.e),
        (800, 800 / math.e**4),
        (1800, 1800 * math.exp(-49)),
    ],
)
def test_performance_by_hand(units, performance):
    reward, info = earn(200, units)
    assert reward == pytest.approx(performance, rel=1e-4)
    assert info == {"system_performance": reward} and type(reward) is float
    assert reward == system_performance(units)


@pytest.mark.parametrize("n_agents", [50, 200, 400, 800])
def test_the_optimum_by_brute_force(n_agents):
    rewards = [earn(n_agents, units)[0] for units in range(9 * n_agents + 1)]
    assert np.argmax(rewards) == 445
    assert max(rewards) == pytest.approx(423.03, abs=0.005)


def test_small_teams_take_all_they_can():
    for n_agents in (1, 3, 40):
        rewards = [earn(n_agents, units)[0] for units in range(9 * n_agents + 1)]
        assert np.argmax(rewards) == 9 * n_agents


@pytest.mark.parametrize("n_agents", [50, 89, 200, 400, 800])
def test_a_team_that_squeezes_445_units(n_agents):
    """However the units are spread; 445 exp(-(45 / 200)^2) = 423.0326 is more than one unit more or less earns."""
    spreads = [[9] * 49 + [4], [5] * 89, [9] * 40 + [7] * 10 + [1] * 15, [2] * 100 + [1] * 245]
    for spread in (spread for spread in spreads if len(spread) <= n_agents):
        env, actions = GaussianSqueeze(n_agents), np.zeros(n_agents, dtype=int)
        actions[: len(spread)] = spread
        env.reset()
        reward, terminated, info = env.step(actions)
        assert reward == pytest.approx(423.0326, abs=5e-5) and terminated is True
        assert info == {"system_performance": reward} == env.get_stats()
        assert 423 < max(system_performance(444), system_performance(446)) < reward


@pytest.mark.parametrize("n_agents", [1, 2, 3, 32, 64, 128, 256])
def test_every_size_is_played(n_agents):
    assert check_env(partial(GaussianSqueeze, n_agents), episodes=2) == []
    env = GaussianSqueeze(n_agents)
    obs, state = env.reset()
    assert obs.shape == (n_agents, 1) and state.shape == (1,)
    units = min(445, 9 * n_agents)
    assert max(earn(n_agents, z)[0] for z in range(9 * n_agents + 1)) == earn(n_agents, units)[0]
    assert env.step([9] * n_agents)[0] == system_performance(9 * n_agents)


def test_only_the_sum_counts():
    rng = np.random.default_rng(0)
    env = GaussianSqueeze(200)
    for _ in range(20):
        actions = rng.integers(10, size=200)
        env.reset()
        assert env.step(actions)[0] == system_performance(actions.sum())


@pytest.mark.parametrize(
    ("n_agents", "at_least", "at_most"), [(200, 0.5, 5), (400, 1e-20, 1e-12), (800, 1e-150, 1e-80)]
)
def test_what_uniform_play_earns(n_agents, at_least, at_most):
    """Double precision holds the rewards; in single precision those of 800 agents would be zero."""
    env, rng = GaussianSqueeze(n_agents), np.random.default_rng(0)
    rewards = []
    for _ in range(50):
        env.reset()
        rewards.append(env.step(rng.integers(10, size=n_agents))[0])
    assert at_least < np.median(rewards) < at_most
    assert (np.float32(rewards) == 0).all() == (n_agents == 800)


def test_there_is_nothing_to_observe():
    env = GaussianSqueeze(5)
    obs, state = env.reset()
    for _ in range(2):
        assert np.array_equal(obs, np.ones((5, 1))) and obs.dtype == np.float32
        assert np.array_equal(state, [1]) and state.dtype == np.float32
        assert np.array_equal(env.get_obs_agent(3), [1])
        env.reset()
        env.step([9] * 5)
        obs, state = env.get_obs(), env.get_state()
    info = env.get_env_info()
    assert info == {
        **{"state_shape": 1, "obs_shape": 1, "n_actions": 10, "n_agents": 5, "episode_limit": 1},
        "needs_agent_id": True,
        "dtypes": {"obs": "uint8", "state": "uint8", "avail_actions": "uint8"},
    }


def test_all_actions_are_always_available():
    env = GaussianSqueeze(5)
    assert np.array_equal(env.get_avail_actions(), np.ones((5, 10)))
    assert np.array_equal(env.get_avail_agent_actions(4), np.ones(10)) and env.get_total_actions() == 10


def test_an_episode_is_one_step():
    env = GaussianSqueeze(2)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step([1, 1])
    env.reset()
    env.step([9, 8])
    assert env.get_stats() == {"system_performance": system_performance(17)}
    assert env.render() == f"system performance {system_performance(17):.2f}"
    with pytest.raises(RuntimeError, match="call reset"):
        env.step([1, 1])
    env.reset()
    assert env.get_stats() == {"system_performance": 0.0}


@pytest.mark.parametrize("actions", [[0], [0, 10], [-1, 0], [[0, 0]]])
def test_wrong_actions_are_refused(actions):
    env = GaussianSqueeze(2)
    env.reset()
    with pytest.raises(ValueError, match="expected 2 numbers in 0..9"):
        env.step(actions)


@pytest.mark.parametrize("n_agents", [0, -3, 2.5, True, "4"])
def test_wrong_numbers_of_agents_are_refused(n_agents):
    with pytest.raises(UserError, match=f"^env_args.n_agents={n_agents!r}: expected a whole number of at least 1$"):
        GaussianSqueeze(n_agents)


# --- in a run ---


def refused(alg, *updates):
    with pytest.raises(UserError) as error:
        build(load_config(alg, "gaussian_squeeze", ["env_args.n_agents=8", "buffer_size=32", *updates]))
    return str(error.value)


@pytest.mark.parametrize("runner", [("runner=episode",), ("runner=parallel", "batch_size_run=2")])
def test_agents_without_an_id_are_refused(runner):
    message = refused("qmix", "obs_agent_id=false", *runner)
    assert message.startswith("obs_agent_id: expected true, got false: env 'gaussian_squeeze'")


def test_there_are_no_positions_to_cluster():
    assert "agent_position_index" in refused("vast_qmix", "assigner=spatial")


def test_an_environment_with_observations_does_without_an_id():
    experiment = build(load_config("qmix", "warehouse", ["obs_agent_id=false", "buffer_size=32", "seed=1"]))
    experiment.close()
    # The agents see their observations and their last actions, and nothing besides.
    assert experiment.mac.agent.fc1.in_features == experiment.args.obs_shape + experiment.args.n_actions
