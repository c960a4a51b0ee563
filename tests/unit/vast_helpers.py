"""What the tests of VAST share: a state with positions and lives, a learner with random weights, slow references."""

from __future__ import annotations

import numpy as np
import torch as th
from helpers import empty_batch, make_args, make_logger, make_scheme, randomise

from controllers import REGISTRY as mac_REGISTRY
from learners import REGISTRY as learner_REGISTRY

PLAIN_STATE = 2  # entries of the state in front of (x, y, alive) of each agent


def vast_args(alg="vast_qmix", n_agents=5, **overrides):
    """Small settings of ``alg``; the state holds two numbers and then x, y and life of each agent."""
    x = PLAIN_STATE + 3 * np.arange(n_agents)
    sizes = {
        "n_agents": n_agents,
        "state_shape": PLAIN_STATE + 3 * n_agents,
        "agent_position_index": np.stack([x, x + 1], axis=1),
        "agent_alive_index": x + 2,
    }
    return make_args(alg, **{**sizes, **overrides})


def make_learner(args, weights=0):
    """The learner of ``args``; agents, mixer, target networks and assigner have random weights, all different."""
    scheme, groups, _ = make_scheme(args)
    full = empty_batch(args).scheme
    learner = learner_REGISTRY[args.learner](mac_REGISTRY[args.mac](full, groups, args), full, make_logger(), args)
    assigner = getattr(learner, "assigner", None)
    parts = (learner.mac.agent, learner.target_mac.agent, learner.mixer, learner.target_mixer, assigner)
    for number, part in enumerate(parts):
        if part is not None:
            randomise(part, seed=10 * weights + number)
    return learner


def copy_weights(source, learner):
    """Gives ``learner`` the agents and Psi of ``source``, online and target; either may be flat."""
    learner.mac.load_state(source.mac)
    learner.target_mac.load_state(source.target_mac)
    for name in ("mixer", "target_mixer"):
        theirs, mine = (getattr(part, name) for part in (source, learner))
        getattr(mine, "psi", mine).load_state_dict(getattr(theirs, "psi", theirs).state_dict())


def random_subteams(n_subteams, shape, seed=0):
    """Sub-teams [*shape] long, drawn uniformly."""
    return th.randint(n_subteams, shape, generator=th.Generator().manual_seed(seed))


def sums_by_loop(values, subteams, n_subteams):
    """Eq. 4 in plain loops: [B, T, K] of values and sub-teams [B, T, N]."""
    sums = th.zeros(*values.shape[:2], n_subteams, dtype=values.dtype)
    for b in range(values.shape[0]):
        for t in range(values.shape[1]):
            for k in range(n_subteams):
                for i in range(values.shape[2]):
                    if subteams[b, t, i] == k:
                        sums[b, t, k] = sums[b, t, k] + values[b, t, i]
    return sums
