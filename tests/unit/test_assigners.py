"""The assignment strategies X: where they put agents, and from which random numbers."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch as th
from helpers import empty_batch, random_batch, randomise
from test_kmeans import reference_kmeans
from vast_helpers import PLAIN_STATE, vast_args

from assigners import REGISTRY
from components.agent_inputs import sequence_inputs
from settings.load import load_config
from utils.errors import UserError

# Quantiles of the chi-square distribution at 0.999, by degrees of freedom.
CHI_SQUARE = {3: 16.27, 15: 37.70}


def make_assigner(args, weights=0):
    return randomise(REGISTRY[args.assigner](empty_batch(args).scheme, args), weights)


def assigner_and_batch(name, lengths=(3, 5), **overrides):
    args = vast_args(assigner=name, **overrides)
    return make_assigner(args), random_batch(args, lengths)


def chi_square(counts):
    expected = counts.sum() / counts.numel()
    return float(((counts - expected).square() / expected).sum())


# --- what holds for each of them ---


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize(("eta", "k"), [(0.2, 1), (0.5, 3), (1.0, 5)])
def test_every_agent_is_in_one_subteam_at_every_step_including_the_last_and_padded_ones(name, eta, k):
    assigner, batch = assigner_and_batch(name, eta=eta)
    for greedy in (False, True):
        subteams = assigner(batch, greedy=greedy).subteams
        assert assigner.n_subteams == k
        assert subteams.shape == (2, 6, 5) and subteams.dtype == th.long
        assert 0 <= subteams.min() and subteams.max() < k


@pytest.mark.parametrize("name", REGISTRY)
def test_a_ratio_outside_its_range_is_an_error(name):
    with pytest.raises(UserError, match="eta"):
        make_assigner(vast_args(assigner=name, eta=0.1))


@pytest.mark.parametrize("name", REGISTRY)
def test_assigning_leaves_the_global_generators_alone(name):
    assigner, batch = assigner_and_batch(name, eta=0.5)
    th.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    first = assigner(batch).subteams
    drawn = th.rand(1), np.random.random(), random.random()
    th.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    assert drawn == (th.rand(1), np.random.random(), random.random())
    th.manual_seed(2)  # and the other way round: another global seed, the same sub-teams
    assert th.equal(make_assigner(assigner.args)(batch).subteams, first)


@pytest.mark.parametrize("name", ["random", "metagrad"])
def test_the_runs_seed_decides_what_is_drawn(name):
    _, batch = assigner_and_batch(name, eta=1.0)
    draws = [make_assigner(vast_args(assigner=name, eta=1.0, seed=seed))(batch).subteams for seed in (1, 2)]
    assert not th.equal(*draws)


@pytest.mark.parametrize("name", ["fixed", "spatial", "metagrad"])
def test_padding_changes_nothing_at_the_steps_before(name):
    args = vast_args(assigner=name, eta=0.5)
    short = random_batch(args, lengths=(3,), seed=5)
    padded = random_batch(args, lengths=(3,), seed=5, max_seq_length=7)
    padded.data.transition_data["state"][:, 4:] = 1e6
    assigner = make_assigner(args)
    assert th.equal(assigner(padded, greedy=True).subteams[:, :4], assigner(short, greedy=True).subteams)


def test_without_an_alive_index_everybody_lives():
    assigner, batch = assigner_and_batch("fixed", agent_alive_index=None)
    assert assigner.alive(batch).all()


def test_an_agent_lives_while_its_state_entry_is_positive():
    assigner, batch = assigner_and_batch("fixed")
    alive = assigner.alive(batch)
    for agent in range(5):
        assert th.equal(alive[..., agent], batch["state"][..., PLAIN_STATE + 3 * agent + 2] > 0)


# --- random ---


def test_random_draws_are_uniform_and_independent_of_each_other():
    args = vast_args(assigner="random", n_agents=8, eta=0.5)
    batch = random_batch(args, lengths=(49,))[[0] * 100]
    draws = make_assigner(args)(batch).subteams
    assert draws.shape == (100, 50, 8)
    assert chi_square(th.bincount(draws.flatten(), minlength=4).double()) < CHI_SQUARE[3]
    neighbours = {
        "agents": (draws[:, :, :-1], draws[:, :, 1:]),
        "steps": (draws[:, :-1], draws[:, 1:]),
        "episodes": (draws[:-1], draws[1:]),
    }
    for one, other in neighbours.values():
        pairs = th.bincount((4 * one + other).flatten(), minlength=16).double()
        assert chi_square(pairs) < CHI_SQUARE[15]


def test_random_draws_anew_at_every_call():
    assigner, batch = assigner_and_batch("random", eta=1.0)
    assert not th.equal(assigner(batch).subteams, assigner(batch).subteams)


# --- fixed ---


@pytest.mark.parametrize(
    ("eta", "expected"),
    [(0.2, [0, 0, 0, 0, 0]), (0.4, [0, 1, 0, 1, 0]), (0.6, [0, 1, 2, 0, 1]), (1.0, [0, 1, 2, 3, 4])],
)
def test_fixed_is_the_agents_number_modulo_k(eta, expected):
    assigner, batch = assigner_and_batch("fixed", eta=eta)
    assert (assigner(batch).subteams == th.tensor(expected)).all()


# --- spatial ---


@pytest.mark.parametrize(("k", "centroids"), [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (8, 4)])
def test_spatial_takes_half_as_many_centroids_as_subteams(k, centroids):
    args = vast_args(assigner="spatial", n_agents=8, eta=k / 8, agent_alive_index=None)
    subteams = make_assigner(args)(random_batch(args)).subteams[0, :4]  # without the padding
    assert [len(step.unique()) for step in subteams] == [centroids] * 4


@pytest.mark.parametrize(("k", "centroids"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (8, 8)])
def test_spatial_takes_as_many_centroids_as_subteams_if_asked_to(k, centroids):
    args = vast_args(assigner="spatial", n_agents=8, eta=k / 8, agent_alive_index=None, spatial_centroids="all")
    subteams = make_assigner(args)(random_batch(args)).subteams[0, :4]  # without the padding
    assert [len(step.unique()) for step in subteams] == [centroids] * 4


def test_spatial_with_all_centroids_clusters_the_living_of_each_step():
    assigner, batch = assigner_and_batch("spatial", n_agents=10, eta=0.4, spatial_centroids="all")
    subteams = assigner(batch).subteams
    for b, t in [(0, 0), (0, 3), (1, 5)]:
        features = batch["state"][b, t, PLAIN_STATE:].view(10, 3).tolist()
        expected = reference_kmeans([(x, y) for x, y, _ in features], [life > 0 for *_, life in features], 4)
        assert subteams[b, t].tolist() == expected


@pytest.mark.parametrize("rule", ["none", "", "Half", None, 4])
def test_spatial_takes_half_or_all_of_the_centroids_and_nothing_else(rule):
    with pytest.raises(UserError, match=f"spatial_centroids: expected half or all, got {rule!r}"):
        make_assigner(vast_args(assigner="spatial", spatial_centroids=rule))


def test_spatial_clusters_the_living_of_each_step():
    assigner, batch = assigner_and_batch("spatial", lengths=(5, 5, 5), n_agents=10, eta=0.6)
    subteams = assigner(batch).subteams
    for b in range(3):
        for t in range(6):
            features = batch["state"][b, t, PLAIN_STATE:].view(10, 3).tolist()
            expected = reference_kmeans([(x, y) for x, y, _ in features], [life > 0 for *_, life in features], 3)
            assert subteams[b, t].tolist() == expected


def test_spatial_follows_the_agents_as_they_move():
    args = vast_args(assigner="spatial", n_agents=4, eta=1.0)
    batch = random_batch(args, lengths=(1,))
    left, right = [0.0, 0.0, 1.0], [9.0, 0.0, 1.0]
    batch.data.transition_data["state"][0, :, PLAIN_STATE:] = th.tensor(
        [left + left + right + right, left + right + right + left]
    )
    assert make_assigner(args)(batch).subteams[0].tolist() == [[0, 0, 1, 1], [0, 1, 1, 0]]


def test_spatial_needs_positions():
    with pytest.raises(UserError, match="spatial needs the agents' positions.*agent_position_index"):
        make_assigner(vast_args(assigner="spatial", agent_position_index=None))


# --- metagrad ---


def reference_logits(assigner, batch):
    """The network on the joined inputs of one agent at a time: state, observation, last action, id."""
    args = assigner.args
    logits = th.zeros(*batch["obs"].shape[:3], assigner.n_subteams)
    for b in range(logits.shape[0]):
        for t in range(logits.shape[1]):
            for i in range(logits.shape[2]):
                last = batch["actions_onehot"][b, t - 1, i] if t > 0 else th.zeros(args.n_actions)
                who = th.eye(args.n_agents)[i]
                x = th.cat([batch["state"][b, t], batch["obs"][b, t, i], last, who])
                x = th.nn.functional.elu(assigner.fc1(x))
                x = th.nn.functional.elu(assigner.fc2(x))
                logits[b, t, i] = assigner.fc3(x)
    return logits


def test_metagrad_is_an_mlp_of_two_hidden_layers_on_state_and_agent_inputs():
    assigner, batch = assigner_and_batch("metagrad", eta=0.6, assigner_hidden_dim=7)
    widths = 17 + 2 + 4 + 5  # state, observation, last action, id
    assert assigner.fc1.weight.shape == (7, widths)
    assert assigner.fc2.weight.shape == (7, 7) and assigner.fc3.weight.shape == (3, 7)
    expected = sequence_inputs(batch, assigner.args).pack(reference_logits(assigner, batch))
    th.testing.assert_close(assigner.logits(batch), expected)


def test_the_shipped_hidden_layers_have_128_units():
    for alg in ("vast_il", "vast_vdn", "vast_qmix", "vast_qtran"):
        assert load_config(alg, "warehouse")["assigner_hidden_dim"] == 128


@pytest.mark.parametrize("greedy", [False, True])
def test_metagrad_gives_the_log_probabilities_of_its_choice_and_its_entropy(greedy):
    assigner, batch = assigner_and_batch("metagrad", eta=0.6)
    assignment = assigner(batch, greedy=greedy)
    log_probs, entropy = assignment.log_probs.detach(), assignment.entropy.detach()
    probabilities = reference_logits(assigner, batch).softmax(-1)
    th.testing.assert_close(assigner.log_probs(batch, assignment.subteams), assignment.log_probs)
    filled = batch["filled"][..., 0].numpy()
    for index in (index for index in np.ndindex(2, 6, 5) if filled[index[:2]]):
        x = probabilities[index].tolist()
        assert float(log_probs[index]) == pytest.approx(math.log(x[assignment.subteams[index]]), rel=1e-4)
        assert float(entropy[index]) == pytest.approx(-sum(p * math.log(p) for p in x), rel=1e-4)


def test_metagrad_takes_the_most_probable_subteam_when_greedy():
    assigner, batch = assigner_and_batch("metagrad", eta=1.0)
    filled = batch["filled"][..., 0] > 0
    best = reference_logits(assigner, batch).argmax(-1)
    assert th.equal(assigner(batch, greedy=True).subteams[filled], best[filled])


def test_metagrad_draws_subteams_as_often_as_it_says():
    assigner, batch = assigner_and_batch("metagrad", lengths=(1,), eta=0.6)
    n_draws = 5000
    draws = assigner(batch[[0] * n_draws]).subteams
    probabilities = reference_logits(assigner, batch).softmax(-1)[0]
    assert probabilities.max() - probabilities.min() > 0.2  # else this would not tell much
    for k in range(3):
        share = (draws == k).double().mean(0)
        deviation = (probabilities[..., k] * (1 - probabilities[..., k]) / n_draws).sqrt()
        assert ((share - probabilities[..., k]).abs() < 4 * deviation).all()


@pytest.mark.parametrize("name", REGISTRY)
def test_only_metagrad_learns(name):
    assigner, batch = assigner_and_batch(name)
    learns = name == "metagrad"
    assignment = assigner(batch)
    assert bool(list(assigner.parameters())) == learns
    assert (assignment.log_probs is not None) == learns == (assignment.entropy is not None)
    assert not learns or assignment.log_probs.requires_grad
