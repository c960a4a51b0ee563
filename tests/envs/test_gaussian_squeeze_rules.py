"""GaussianSqueeze, alone and in a batch, against the oracle: everything they give is equal bit for bit."""

import numpy as np
import oracles.gaussian_squeeze as oracle
import pytest
from side_by_side import SideBySide

from envs.gaussian_squeeze import GaussianSqueeze, system_performance
from envs.gaussian_squeeze.batch import GaussianSqueezeBatch


def make(n_agents, size=3):
    return SideBySide(
        lambda seed: oracle.GaussianSqueeze(n_agents),
        lambda seed: GaussianSqueeze(n_agents),
        GaussianSqueezeBatch,
        range(size),
    )


@pytest.mark.parametrize("n_agents", [1, 2, 50, 200, 400, 800])
def test_random_play_of_every_size(n_agents):
    both, rng = make(n_agents), np.random.default_rng(n_agents)
    for _ in range(5):
        both.play(rng)
        both.play(rng, share=0.6)
    assert both.shown >= 10 * 2  # after every reset and every step


def test_every_sum():
    """What all sums earn that 50 agents can take, and all that 800 can."""
    both = make(50, size=451)
    both.reset()
    actions = np.arange(451)[:, None] // 50 + (np.arange(451)[:, None] % 50 > np.arange(50))
    assert actions.sum(axis=1).tolist() == [*range(451)]
    both.step(np.arange(451), actions)
    assert both.batch.info(445) == {"system_performance": system_performance(445)}
    for units in range(9 * 800 + 1):
        assert system_performance(units) == oracle.system_performance(units)


@pytest.mark.parametrize("actions", [[[0, 10], [0, 0]], [[0, 0], [-1, 0]], [[0], [0]], [[0, 0]], [0, 0]])
def test_wrong_actions_are_refused_before_anything_changes(actions):
    both = make(2)
    both.reset()
    with pytest.raises(ValueError, match=r"^actions: expected 2 x 2 numbers in 0\.\.9, got \["):
        both.batch.step(np.array([0, 2]), np.array(actions))
    both.step(np.arange(3), np.full((3, 2), 9))


def test_a_step_needs_a_running_episode_in_all_environments():
    both, actions = make(2), np.full((2, 2), 5)
    with pytest.raises(RuntimeError, match="call reset"):
        both.batch.step(np.array([0, 1]), actions)
    both.reset()
    both.step(np.array([1]), actions[:1])
    with pytest.raises(RuntimeError, match="call reset"):
        both.batch.step(np.array([0, 1]), actions)
    both.step(np.array([0, 2]), actions)
    both.play(np.random.default_rng(0))
