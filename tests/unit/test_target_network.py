"""Target networks: hard and soft copies, of modules and of controllers, and the key that chooses between them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch as th
from helpers import make_args, random_batch
from torch import nn
from vast_helpers import make_learner, vast_args

from learners.target_network import TargetNetwork


def set_to(network, value):
    for parameter in network.parameters():
        nn.init.constant_(parameter, value)


def values_of(network):
    return {float(entry) for parameter in network.parameters() for entry in parameter.detach().flatten()}


class Controller:
    """Of one network, as PyMARL's."""

    def __init__(self):
        self.agent = nn.Linear(2, 2)

    def parameters(self):
        return self.agent.parameters()

    def load_state(self, other):
        self.agent.load_state_dict(other.agent.state_dict())


@pytest.mark.parametrize("make", [lambda: nn.Linear(2, 2), Controller])
def test_hard_copies_are_made_when_so_many_counts_have_gone_by(make):
    targets, network = TargetNetwork(every=3), make()
    set_to(network, 0.0)
    twin = targets.follow(network)
    seen = []
    for count in (1, 2, 4, 5, 7, 12):
        set_to(network, float(count))
        targets.update(count)
        seen.append(values_of(twin))
    assert seen == [{0.0}, {0.0}, {4.0}, {4.0}, {7.0}, {12.0}]


@pytest.mark.parametrize("make", [lambda: nn.Linear(2, 2), Controller])
def test_soft_copies_go_a_share_of_the_way_at_every_update(make):
    targets, network = TargetNetwork(tau=0.25), make()
    set_to(network, 0.0)
    twin = targets.follow(network)
    set_to(network, 8.0)
    seen = []
    for count in (1, 2):
        targets.update(count)
        seen.append(values_of(twin))
    assert seen == [{2.0}, {3.5}] and values_of(network) == {8.0}


@pytest.mark.parametrize("make", [lambda: nn.Linear(2, 2), Controller])
def test_copies_go_on_from_a_state_and_are_due_when_they_would_have_been(make):
    network, first, second = make(), TargetNetwork(every=3), TargetNetwork(every=3)
    first.follow(network)
    set_to(network, 4.0)
    first.update(4)
    set_to(network, 0.0)
    twin = second.follow(network)
    second.load_state_dict(first.state_dict())
    seen = [values_of(twin)]
    for count in (6, 7):
        set_to(network, float(count))
        second.update(count)
        seen.append(values_of(twin))
    assert seen == [{4.0}, {4.0}, {7.0}]


@pytest.mark.parametrize(
    ("value", "interval", "every", "tau"),
    [(None, 200, 200, None), (0.01, 200, None, 0.01), (1, 7, None, 1), (50, 7, 50, None)],
)
def test_epymarls_key_is_a_share_up_to_one_and_an_interval_above(value, interval, every, tau):
    targets = TargetNetwork.of(SimpleNamespace(target_update_interval_or_tau=value, target_update_interval=interval))
    assert (targets.every, targets.tau) == (every, tau)


@pytest.mark.parametrize("given", [{}, {"every": 1, "tau": 0.1}])
def test_one_of_both_is_given(given):
    with pytest.raises(ValueError, match="expected either every or tau"):
        TargetNetwork(**given)


def test_nothing_follows_nothing():
    assert TargetNetwork(every=1).follow(None) is None


@pytest.mark.parametrize("alg", ["qmix", "vast_qtran"])
def test_a_learner_with_soft_copies_blends_agents_and_mixer(alg):
    learner = make_learner(vast_args(alg, target_update_interval_or_tau=0.5))
    pairs = ((learner.mac.agent, learner.target_mac.agent), (learner.mixer, learner.target_mixer))
    before = [[parameter.clone() for parameter in target.parameters()] for _, target in pairs]
    learner.train(random_batch(learner.args, (3, 4)), t_env=0, episode_num=1)
    for (network, target), old in zip(pairs, before, strict=True):
        for parameter, slow, was in zip(network.parameters(), target.parameters(), old, strict=True):
            th.testing.assert_close(slow, (was + parameter) / 2)


def test_the_shipped_default_is_pymarls_interval():
    args = make_args("qmix")
    assert args.target_update_interval_or_tau is None and TargetNetwork.of(args).every == args.target_update_interval
