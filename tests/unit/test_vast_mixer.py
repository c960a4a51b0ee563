"""The number of sub-teams, their values (Eq. 4) and the wrapper that hands these to Psi (Eq. 5)."""

from __future__ import annotations

import copy
import math
from fractions import Fraction

import pytest
import torch as th
import torch.nn as nn
from helpers import make_args, randomise
from vast_helpers import random_subteams, sums_by_loop

from assigners.base import subteam_count
from modules.mixers import REGISTRY
from modules.mixers.vast_mixer import VastMixer, pool_members
from utils.errors import UserError

# --- K ---


def test_every_ratio_j_of_n_gives_j_subteams_up_to_1000_agents():
    wrong = [(n, j) for n in range(1, 1001) for j in range(1, n + 1) if subteam_count(j / n, n) != j]
    assert wrong == []


def test_k_is_the_exact_ceiling_for_common_ratios_up_to_1000_agents():
    ratios = {Fraction(p, q) for q in (*range(1, 21), 100, 1000) for p in (1, 2, 3, 7, q - 1, q) if 0 < p <= q}
    wrong = [
        (ratio, n)
        for ratio in ratios
        for n in range(math.ceil(1 / ratio), 1001)
        if subteam_count(float(ratio), n) != math.ceil(ratio * n)
    ]
    assert wrong == []


def test_a_ratio_just_above_a_whole_share_takes_one_more_subteam():
    assert subteam_count(0.1, 30) == 3
    assert subteam_count(0.101, 30) == 4


@pytest.mark.parametrize(("eta", "n_agents"), [(0.0, 4), (-0.5, 4), (0.2, 4), (1.01, 4), (2.0, 800), (1 / 801, 800)])
def test_a_ratio_outside_its_range_is_an_error_that_names_it(eta, n_agents):
    with pytest.raises(UserError) as error:
        subteam_count(eta, n_agents)
    assert str(error.value).startswith("eta:")
    assert str(eta) in str(error.value) and f"N = {n_agents}" in str(error.value)
    assert f"[{1 / n_agents:.6g}, 1]" in str(error.value)


def test_a_ratio_that_is_no_number_is_an_error():
    with pytest.raises(UserError, match="eta"):
        subteam_count(math.nan, 4)


def test_less_than_four_agents_need_a_ratio_of_their_own():
    default = make_args("vast_qmix").eta
    assert default == 0.25
    with pytest.raises(UserError, match=r"eta.*N = 3"):
        VastMixer(make_args("vast_qmix", n_agents=3))
    assert VastMixer(make_args("vast_qmix", n_agents=4)).n_subteams == 1
    assert VastMixer(make_args("vast_qmix", n_agents=3, eta=1 / 3)).n_subteams == 1


# --- Eq. 4 ---


def test_pooled_values_are_the_sums_of_the_members():
    values = th.tensor([[[1.0, 10.0, 100.0, 1000.0]]])
    subteams = th.tensor([[[2, 0, 2, 0]]])
    assert pool_members(values, subteams, 4).tolist() == [[[1010.0, 0.0, 101.0, 0.0]]]


@pytest.mark.parametrize("seed", range(5))
def test_pooled_values_are_those_of_a_loop(seed):
    values = th.randn(3, 4, 6, generator=th.Generator().manual_seed(seed), dtype=th.float64)
    subteams = random_subteams(seed + 1, (3, 4, 6), seed)
    th.testing.assert_close(pool_members(values, subteams, seed + 1), sums_by_loop(values, subteams, seed + 1))


def test_pooling_sends_the_gradient_of_a_subteam_to_its_members_only():
    values = th.zeros(1, 1, 4, requires_grad=True)
    pool_members(values, th.tensor([[[0, 1, 0, 2]]]), 3)[0, 0, 0].backward()
    assert values.grad.tolist() == [[[1.0, 0.0, 1.0, 0.0]]]


# --- Eq. 5 ---


class RecordingMixer(nn.Module):
    """A user's mixer in PyMARL's idiom, which also keeps what it was given."""

    def __init__(self, args):
        super().__init__()
        self.args = args
        self.n_agents = args.n_agents
        self.weights = nn.Linear(int(th.tensor(args.state_shape).prod()), self.n_agents)

    def forward(self, agent_qs, states):
        self.given = agent_qs
        bs = agent_qs.size(0)
        agent_qs = agent_qs.view(-1, 1, self.n_agents)
        w = th.abs(self.weights(states.reshape(-1, states.size(-1)))).view(-1, self.n_agents, 1)
        return th.bmm(agent_qs, w).view(bs, -1, 1)


@pytest.fixture
def recording(monkeypatch):
    monkeypatch.setitem(REGISTRY, "recording", RecordingMixer)


def given(n_agents=6, seed=0):
    generator = th.Generator().manual_seed(seed)
    return th.randn(2, 3, n_agents, generator=generator), th.randn(2, 3, 5, generator=generator)


@pytest.mark.parametrize(("eta", "k"), [(1 / 6, 1), (0.25, 2), (0.5, 3), (1.0, 6)])
def test_a_users_own_mixer_gets_the_k_sums(recording, eta, k):
    args = make_args("vast_qmix", n_agents=6, eta=eta, subteam_mixer="recording")
    mixer = VastMixer(args)
    values, states = given()
    subteams = random_subteams(k, values.shape)
    q_tot = mixer(values, states, subteams)
    assert mixer.psi.n_agents == mixer.n_subteams == k
    th.testing.assert_close(mixer.psi.given, sums_by_loop(values, subteams, k))
    th.testing.assert_close(q_tot, mixer.psi(sums_by_loop(values, subteams, k), states))
    assert q_tot.shape == (2, 3, 1)


@pytest.mark.parametrize("psi", ["vdn", "qmix", "qtran", "recording"])
def test_psi_is_built_on_a_copy_of_the_arguments(recording, psi):
    args = make_args("vast_qtran", n_agents=6, eta=0.5, subteam_mixer=psi)
    before = copy.deepcopy(vars(args))
    VastMixer(args)
    assert vars(args) == before


@pytest.mark.parametrize("psi", ["qmix", "qtran"])
def test_the_wrapper_returns_what_psi_returns_for_the_sums(psi):
    mixer = randomise(VastMixer(make_args("vast_qtran", n_agents=6, eta=0.5, subteam_mixer=psi)))
    values, states = given()
    subteams = random_subteams(3, values.shape)
    th.testing.assert_close(mixer(values, states, subteams), mixer.psi(sums_by_loop(values, subteams, 3), states))


@pytest.mark.parametrize("none", [None, "none"])
def test_without_psi_the_sums_themselves_come_back(none):
    mixer = VastMixer(make_args("vast_il", n_agents=6, eta=0.5, subteam_mixer=none))
    values, states = given()
    subteams = random_subteams(3, values.shape)
    assert mixer.psi is None and list(mixer.parameters()) == []
    th.testing.assert_close(mixer(values, states, subteams), sums_by_loop(values, subteams, 3))


def test_a_mixer_that_does_not_fit_inside_is_an_error():
    with pytest.raises(UserError, match="subteam_mixer: vast_mixer.*nested"):
        VastMixer(make_args("vast_qmix", n_agents=6, subteam_mixer="vast_mixer"))


def test_an_unknown_inner_mixer_is_an_error_that_names_the_nearest():
    with pytest.raises(UserError, match="qmx.*did you mean 'qmix'"):
        VastMixer(make_args("vast_qmix", n_agents=6, subteam_mixer="qmx"))


def test_values_or_subteams_of_another_shape_are_refused():
    mixer = VastMixer(make_args("vast_vdn", n_agents=6, eta=0.5))
    values, states = given()
    subteams = random_subteams(3, values.shape)
    with pytest.raises(ValueError, match=r"agent_qs: expected shape \(2, 3, 6\)"):
        mixer(values[..., :5], states, subteams)
    with pytest.raises(ValueError, match=r"subteams: expected shape \(2, 3, 6\)"):
        mixer(values, states, subteams[:, :2])


def test_a_subteam_number_beyond_k_is_refused():
    mixer = VastMixer(make_args("vast_vdn", n_agents=6, eta=0.5))
    values, states = given()
    with pytest.raises(RuntimeError):
        mixer(values, states, th.full(values.shape, 3))
