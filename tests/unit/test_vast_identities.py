"""What must hold for VAST with any values, division and ratio: equalities with flat operators, sensitivity, IGM."""

from __future__ import annotations

import itertools
import random

import pytest
import torch as th
from helpers import SIZES, make_args, random_batch, randomise
from learner_helpers import value_loss
from vast_helpers import copy_weights, make_learner, random_subteams, sums_by_loop, vast_args

from assigners import REGISTRY as assigner_REGISTRY
from modules.mixers import REGISTRY
from modules.mixers.vast_mixer import VastMixer

STATE = SIZES["state_shape"]


def draw(seed):
    """A number of agents, of sub-teams, and values, states and sub-teams to go with them."""
    rng = random.Random(seed)
    n_agents = rng.randint(1, 12)
    k = rng.randint(1, n_agents)
    generator = th.Generator().manual_seed(seed)
    values = th.randn(3, 4, n_agents, generator=generator, dtype=th.float64, requires_grad=True)
    states = th.randn(3, 4, STATE, generator=generator, dtype=th.float64)
    return n_agents, k, values, states, random_subteams(k, values.shape, seed)


def wrapped(psi, n_agents, k, seed=0):
    args = make_args("vast_qtran", n_agents=n_agents, eta=k / n_agents, subteam_mixer=psi)
    return randomise(VastMixer(args), seed).double()


def flat(psi, n_agents, seed=0):
    return randomise(REGISTRY[psi](make_args("vast_qtran", n_agents=n_agents)), seed).double()


def joint(mixed):
    """Q_tot or Q_joint of a mixer's output."""
    return mixed[0] if isinstance(mixed, tuple) else mixed


def losses_and_gradients(learner, batch):
    """The loss, the statistics that flat learners have too, and all gradients by parameter name."""
    th.manual_seed(0)
    loss, stats = value_loss(learner, batch)
    learner.optimiser.zero_grad()
    loss.backward()
    parts = {"agent": learner.mac.agent, "mixer": getattr(learner.mixer, "psi", learner.mixer)}
    gradients = {
        f"{part}.{name}": parameter.grad
        for part, module in parts.items()
        for name, parameter in module.named_parameters()
    }
    return loss, stats, gradients


def assert_same_update(learner, other, batch):
    loss, stats, gradients = losses_and_gradients(learner, batch)
    other_loss, other_stats, other_gradients = losses_and_gradients(other, batch)
    th.testing.assert_close(loss, other_loss)
    for key, value in other_stats.items():
        th.testing.assert_close(stats[key], value)
    assert gradients.keys() == other_gradients.keys()
    for name, gradient in other_gradients.items():
        assert gradient.abs().sum() > 0, name
        th.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


# --- equalities ---


@pytest.mark.parametrize("seed", range(30))
def test_vdn_over_subteams_is_vdn(seed):
    n_agents, k, values, states, subteams = draw(seed)
    q_tot = wrapped("vdn", n_agents, k)(values, states, subteams)
    th.testing.assert_close(q_tot, values.sum(-1, keepdim=True))
    (gradient,) = th.autograd.grad(q_tot.sum(), values)
    assert th.equal(gradient, th.ones_like(values))


@pytest.mark.parametrize("assigner", assigner_REGISTRY)
@pytest.mark.parametrize("eta", [1 / 5, 0.5, 1.0])
def test_learning_with_vdn_over_subteams_is_learning_with_vdn(assigner, eta):
    learner = make_learner(vast_args("vast_vdn", assigner=assigner, eta=eta))
    vdn = make_learner(vast_args("vdn"), weights=1)
    copy_weights(learner, vdn)
    assert_same_update(learner, vdn, random_batch(learner.args, lengths=(3, 6, 1), cut=(1,)))


@pytest.mark.parametrize("psi", ["vdn", "qmix", "qtran"])
@pytest.mark.parametrize("seed", range(10))
def test_psi_over_teams_of_one_is_flat_psi(psi, seed):
    n_agents, _, values, states, _ = draw(seed)
    team_of_one = th.arange(n_agents).expand(values.shape)
    mixed = wrapped(psi, n_agents, n_agents, seed)(values, states, team_of_one)
    th.testing.assert_close(mixed, flat(psi, n_agents, seed)(values, states), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("vast", "flat_alg"), [("vast_vdn", "vdn"), ("vast_qmix", "qmix"), ("vast_qtran", "qtran_values")]
)
def test_learning_over_fixed_teams_of_one_is_learning_with_flat_psi(vast, flat_alg):
    learner = make_learner(vast_args(vast, assigner="fixed", eta=1.0))
    other = make_learner(vast_args(flat_alg), weights=1)
    copy_weights(learner, other)
    assert_same_update(learner, other, random_batch(learner.args, lengths=(3, 6, 1), cut=(1,)))


@pytest.mark.parametrize("psi", ["vdn", "qmix", "qtran"])
@pytest.mark.parametrize("seed", range(10))
def test_with_the_smallest_ratio_psi_sees_the_sum_of_all(psi, seed):
    n_agents, _, values, states, _ = draw(seed)
    mixed = wrapped(psi, n_agents, 1, seed)(values, states, th.zeros(values.shape, dtype=th.long))
    th.testing.assert_close(mixed, flat(psi, 1, seed)(values.sum(-1, keepdim=True), states))


@pytest.mark.parametrize("psi", ["vdn", "qmix", "qtran"])
@pytest.mark.parametrize("seed", range(10))
def test_q_tot_is_unchanged_when_members_of_one_subteam_swap_values(psi, seed):
    n_agents, k, values, states, subteams = draw(seed)
    swapped = values.detach().clone()
    for b, t in itertools.product(range(3), range(4)):
        for team in range(k):
            members = [i for i in range(n_agents) if subteams[b, t, i] == team]
            swapped[b, t, members] = values[b, t, members[::-1]].detach()
    mixer = wrapped(psi, n_agents, k, seed)
    th.testing.assert_close(mixer(swapped, states, subteams), mixer(values, states, subteams))


# --- sensitivity: a port that computes the sums and then ignores them fails here ---


@pytest.mark.parametrize("psi", ["qmix", "qtran"])
@pytest.mark.parametrize("seed", range(10))
def test_q_tot_follows_the_sums_and_not_the_agents_values(psi, seed):
    """Other values with other sums change Q_tot; other values with the same sums do not."""
    generator = th.Generator().manual_seed(seed)
    mixer = wrapped(psi, 6, 3, seed)
    subteams = th.tensor([0, 1, 2, 0, 1, 2]).expand(2, 3, 6)
    values, shift = (th.randn(2, 3, 6, generator=generator, dtype=th.float64) for _ in range(2))
    states = th.randn(2, 3, STATE, generator=generator, dtype=th.float64)
    before = joint(mixer(values, states, subteams))
    same_sums = values + th.cat([shift[..., :3], -shift[..., :3]], dim=-1)
    th.testing.assert_close(joint(mixer(same_sums, states, subteams)), before)
    other_sums = values + th.cat([shift[..., :3], shift[..., :3]], dim=-1)
    assert (joint(mixer(other_sums, states, subteams)) - before).abs().max() > 1e-6


@pytest.mark.parametrize("psi", ["qmix", "qtran"])
@pytest.mark.parametrize("seed", range(10))
def test_q_tot_follows_the_division(psi, seed):
    generator = th.Generator().manual_seed(seed)
    mixer = wrapped(psi, 4, 2, seed)
    values = th.randn(2, 3, 4, generator=generator, dtype=th.float64)
    states = th.randn(2, 3, STATE, generator=generator, dtype=th.float64)
    mixed = [
        joint(mixer(values, states, th.tensor(division).expand(2, 3, 4)))
        for division in ([0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0])
    ]
    for one, other in itertools.combinations(mixed, 2):
        assert (one - other).abs().max() > 1e-6


# --- gradients ---


@pytest.mark.parametrize("alg", ["vast_il", "vast_vdn", "vast_qmix", "vast_qtran"])
@pytest.mark.parametrize("assigner", assigner_REGISTRY)
def test_gradients_reach_every_agents_value_at_every_step_and_psi(alg, assigner):
    learner = make_learner(vast_args(alg, assigner=assigner, eta=0.5))
    batch = random_batch(learner.args, lengths=(4, 4))
    values = learner.values.of(batch)
    values.q.retain_grad()
    learner.values.of = lambda given: values
    loss, _ = value_loss(learner, batch)
    loss.backward()
    assert (values.q.grad[:, :4].abs().sum(-1) > 0).all()
    for name, parameter in [*learner.mac.agent.named_parameters(), *learner.mixer.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("alg", ["vast_il", "vast_vdn", "vast_qmix", "vast_qtran"])
def test_gradients_reach_the_learned_assigner(alg):
    learner = make_learner(vast_args(alg, assigner="metagrad", eta=0.5))
    before = {name: parameter.clone() for name, parameter in learner.assigner.named_parameters()}
    batch = random_batch(learner.args, lengths=(4, 4))
    learner.observe(batch, t_env=8, episode_num=2)
    learner.train(batch, t_env=8, episode_num=2)
    assert before.keys() >= {"fc1.weight", "fc2.weight", "fc3.weight"}
    for name, parameter in learner.assigner.named_parameters():
        assert not th.equal(parameter, before[name]), name


# --- Theorem 1: the agents' greedy actions maximise Q_tot ---


@pytest.mark.parametrize("psi", ["vdn", "qmix"])
@pytest.mark.parametrize("seed", range(25))
def test_the_best_joint_action_is_that_of_the_greedy_agents(psi, seed):
    rng = random.Random(seed)
    n_agents, n_actions = rng.randint(2, 4), 3
    k = rng.randint(1, n_agents)
    generator = th.Generator().manual_seed(seed)
    q = th.randn(n_agents, n_actions, generator=generator, dtype=th.float64)
    available = [sorted(rng.sample(range(n_actions), rng.randint(1, n_actions))) for _ in range(n_agents)]
    joint_actions = th.tensor(list(itertools.product(*available)))
    values = q[th.arange(n_agents), joint_actions][None]  # one "step" for every joint action
    states = th.randn(STATE, generator=generator, dtype=th.float64).expand(1, len(joint_actions), STATE)
    division = random_subteams(k, (n_agents,), seed).expand(values.shape)
    q_tot = wrapped(psi, n_agents, k, seed)(values, states, division)[0, :, 0]
    greedy = [max(actions, key=lambda a, i=i: float(q[i, a])) for i, actions in enumerate(available)]
    assert joint_actions[q_tot.argmax()].tolist() == greedy


def test_the_sums_of_the_tests_are_eq_4():
    sums = sums_by_loop(th.tensor([[[1.0, 2.0, 4.0]]]), th.tensor([[[1, 0, 1]]]), 3)
    assert sums.tolist() == [[[2.0, 5.0, 0.0]]]
