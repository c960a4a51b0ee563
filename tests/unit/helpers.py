"""Small things that several tests share: settings, random episodes, a toy environment."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import torch as th

from components.episode_buffer import EpisodeBatch
from envs.multiagentenv import MultiAgentEnv
from run import episode_scheme
from settings.load import load_config
from utils.logging import Logger

SIZES = {"n_agents": 3, "n_actions": 4, "state_shape": 5, "obs_shape": 2, "episode_limit": 6}
SMALL = {"rnn_hidden_dim": 8, "mixing_embed_dim": 8, "hypernet_embed": 8, "assigner_hidden_dim": 8}


def make_args(alg="qmix", **overrides):
    """The shipped settings of an algorithm with small networks, as parts get them: with the sizes of an environment."""
    config = load_config(alg, "warehouse", ["seed=0"])
    small = {key: value for key, value in SMALL.items() if key in config}
    described = {**SIZES, "agent_position_index": None, "agent_alive_index": None, "device": "cpu"}
    return SimpleNamespace(**{**config, **small, **described, **overrides})


def make_scheme(args):
    """Scheme, groups and preprocess of episodes of the sizes in ``args``."""
    return episode_scheme(vars(args))


def empty_batch(args, batch_size=1, max_seq_length=None):
    """A batch without any data."""
    scheme, groups, preprocess = make_scheme(args)
    return EpisodeBatch(scheme, groups, batch_size, max_seq_length or args.episode_limit + 1, preprocess=preprocess)


def random_batch(args, lengths=(3, 5), cut=(), max_seq_length=None, seed=0):
    """Episodes of ``lengths`` transitions with random contents and a final state.

    Those with a number in ``cut`` were ended by a time limit; the others terminated. Of each agent's actions, action 0
    and at least the taken one are available.
    """
    rng = np.random.default_rng(seed)
    batch = empty_batch(args, len(lengths), max_seq_length or max(lengths) + 1)
    for episode, length in enumerate(lengths):
        steps = length + 1
        actions = rng.integers(args.n_actions, size=(steps, args.n_agents, 1))
        avail = rng.integers(2, size=(steps, args.n_agents, args.n_actions))
        avail[..., 0] = 1
        np.put_along_axis(avail, actions, 1, axis=-1)
        terminated = np.zeros((steps, 1))
        terminated[length - 1] = episode not in cut
        reward = rng.normal(size=(steps, 1))
        reward[length] = 0
        data = {
            "state": rng.normal(size=(steps, args.state_shape)),
            "obs": rng.normal(size=(steps, args.n_agents, args.obs_shape)),
            "actions": actions,
            "avail_actions": avail,
            "reward": reward,
            "terminated": terminated,
        }
        batch.update(data, bs=episode, ts=slice(0, steps))
    return batch


def make_logger():
    """A logger that prints nothing."""
    console = logging.getLogger("tests.silent")
    console.propagate = False
    console.addHandler(logging.NullHandler())
    return Logger(console)


def randomise(module, seed=0, scale=0.5):
    """Draws every parameter anew, so that no bias stays at zero."""
    generator = th.Generator().manual_seed(seed)
    with th.no_grad():
        for parameter in module.parameters():
            parameter.copy_(scale * th.randn(parameter.shape, generator=generator))
    return module


class ToyEnv(MultiAgentEnv):
    """Three agents, four actions; what happens follows from the actions, the number of the episode and the seed.

    These two are its state between two episodes.

    The state holds the step, the sum of all actions so far, the seed, the number of the episode, and, from every reset
    on, a number drawn with NumPy's global generator.

    Args:
        lengths: of the episodes, in turn, starting with number ``seed``. ``episode_limit`` caps them; an episode that
            the limit ends is marked.
        fail_at: (seed, step): there ``step`` raises an exception.
    """

    def __init__(self, lengths=(4,), episode_limit=6, seed=0, fail_at=None):
        self.n_agents, self.n_actions, self.episode_limit = 3, 4, episode_limit
        self.lengths, self.fail_at = tuple(lengths), fail_at
        self.seed(seed)
        self.episode = -1

    def seed(self, seed=None):
        self.seed_given = seed or 0

    def get_state_dict(self):
        return {"episode": self.episode, "seed": self.seed_given}

    def load_state_dict(self, state_dict):
        self.episode, self.seed_given = state_dict["episode"], state_dict["seed"]

    def reset(self):
        self.episode += 1
        self.t, self.last = 0, np.zeros(self.n_agents, dtype=int)
        self.total = 0
        self.drawn = np.random.random()

    def step(self, actions):
        actions = np.asarray(actions)
        assert all(self.get_avail_actions()[agent, action] for agent, action in enumerate(actions))
        if (self.seed_given, self.t) == self.fail_at:
            raise RuntimeError("the toy broke")
        self.t, self.last = self.t + 1, actions
        reward = float(self.t + (actions * [1, 2, 3]).sum())
        self.total += int(actions.sum())
        ended = self.t >= self.lengths[(self.episode + self.seed_given) % len(self.lengths)]
        limit = self.t >= self.episode_limit and not ended
        info = {"total": self.total}
        if limit:
            info["episode_limit"] = True
        return reward, ended or limit, info

    def get_state(self):
        return np.array([self.t, self.total, self.seed_given, self.episode, self.drawn], dtype=np.float32)

    def get_state_size(self):
        return 5

    def get_obs(self):
        return [self.get_obs_agent(agent) for agent in range(self.n_agents)]

    def get_obs_agent(self, agent_id):
        return np.array([self.t, self.last[agent_id] + 10 * agent_id], dtype=np.float32)

    def get_obs_size(self):
        return 2

    def get_avail_actions(self):
        agents = np.arange(self.n_agents)[:, None]
        return ((agents + self.t) % self.n_actions != np.arange(self.n_actions)).astype(int)

    def get_avail_agent_actions(self, agent_id):
        return self.get_avail_actions()[agent_id]

    def get_total_actions(self):
        return self.n_actions


def toy_config(alg="vdn", env_args=None, **overrides):
    """The resolved configuration of a small, quiet run in ``ToyEnv``, to be registered as ``toy``."""
    config = load_config(alg, "warehouse", ["seed=0"])
    quick = {"use_cuda": False, "batch_size": 2, "buffer_size": 20, "test_nepisode": 1, "t_max": 20}
    env_args = {"seed": 0, **(env_args or {})}
    small = {key: value for key, value in SMALL.items() if key in config}
    return {**config, **small, **quick, "env": "toy", "env_args": env_args, **overrides}
