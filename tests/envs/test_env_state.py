"""What environments are made of: situations that can be assigned, and states from which others go on."""

import pickle

import numpy as np
import pytest

from envs import REGISTRY, env_batch
from envs.batch import EpisodeArrays

ARGS = {
    "warehouse": {
        **{"n_agents": 6, "episode_limit": 9, "continuing_episode": False, "time_penalty_on_completion": True},
    },
    "battle": {"n_agents": 8, "episode_limit": 30, "continuing_episode": False, "recovery": 0.1},
    "gaussian_squeeze": {"n_agents": 5},
}


def make(name, seed):
    return REGISTRY[name](**ARGS[name], **({} if name == "gaussian_squeeze" else {"seed": seed}))


def episode(env, seed):
    """Everything that one episode of random actions gives."""
    rng = np.random.default_rng(seed)
    env.reset()
    record, ended = [], False
    while not ended:
        avail = np.asarray(env.get_avail_actions())
        record += [env.get_obs().tobytes(), env.get_state().tobytes(), avail.tolist()]
        reward, ended, info = env.step(np.where(avail, rng.random(avail.shape), -1).argmax(axis=1))
        record += [reward, info]
    return record


@pytest.mark.parametrize("name", ARGS)
def test_an_environment_goes_on_as_the_one_whose_state_it_loads(name):
    env, other = make(name, 1), make(name, 2)
    for number in range(3):
        episode(env, number)
    state = pickle.loads(pickle.dumps(env.get_state_dict()))
    episode(other, 0)
    other.load_state_dict(state)
    for number in range(3):
        played = episode(env, number)
        assert episode(other, number) == played
    other.load_state_dict(state)  # the state is not used up, nor has anybody's play changed it
    again = [episode(other, number) for number in range(3)]
    assert again[-1] == played


def test_what_is_drawn_ahead_is_not_lost():
    """A state is that of the numbers taken, whatever was drawn for later steps."""
    for name in ("warehouse", "battle"):
        asked, quiet = make(name, 1), make(name, 1)
        for number in range(4):
            asked.get_state_dict()
            assert episode(asked, number) == episode(quiet, number)


@pytest.mark.parametrize("name", ["warehouse", "battle"])
def test_members_of_a_batch_have_states(name):
    members, alone = [make(name, seed) for seed in (1, 2)], [make(name, seed) for seed in (1, 2)]
    batch, info = env_batch(members), members[0].get_env_info()
    arrays = EpisodeArrays(
        obs=np.zeros((2, 31, info["n_agents"], info["obs_shape"]), np.float32),
        state=np.zeros((2, 31, info["state_shape"]), np.float32),
        avail_actions=np.zeros((2, 31, info["n_agents"], info["n_actions"]), np.int32),
    )

    def play():
        """An episode of the batch, in which everybody stays; the same alone."""
        batch.reset()
        acting = np.arange(2)
        while len(acting):
            acting = acting[~batch.step(acting, np.zeros((len(acting), info["n_agents"]), np.int64)).ended]
        batch.observe(np.arange(2), 0, arrays)
        for b, env in enumerate(alone):
            env.reset()
            while not env.step([0] * info["n_agents"])[1]:
                pass
            assert arrays.state[b, 0].tobytes() == env.get_state().tobytes()

    play()
    states = [env.get_state_dict() for env in members]
    assert states == [env.get_state_dict() for env in alone] and states[0] != states[1]
    play()
    for env, state in zip((*members, *alone), states[::-1] * 2, strict=True):
        env.load_state_dict(state)
    play()
    assert [env.get_state_dict() for env in members] == [env.get_state_dict() for env in alone]


@pytest.mark.parametrize("name", ["warehouse", "battle"])
def test_a_situation_is_assigned_in_its_shape(name):
    env = make(name, 1)
    env.reset()
    env.positions = [(1, 1)] * env.n_agents  # whatever becomes an array
    assert env.positions.dtype == np.int64 and (env.positions == 1).all()
    with pytest.raises(ValueError, match=rf"^positions: expected shape \({env.n_agents}, 2\), got \(3,\)$"):
        env.positions = [1, 2, 3]
    for place in [(-1, 0), (0, -1), env.layout.shape[::-1], (env.layout.shape[1], 0), (0, env.layout.shape[0])]:
        with pytest.raises(ValueError, match=r"^positions: expected cells of a map of \d+ x \d+, got \[\["):
            env.positions = [place] * env.n_agents
    assert (env.positions == 1).all()
