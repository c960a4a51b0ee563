"""Which objective goes with a mixer, QTRAN over memories under sub-teams, and a learner's state."""

from __future__ import annotations

import io

import pytest
import torch as th
from helpers import make_args, random_batch
from learner_helpers import value_loss
from vast_helpers import make_learner, random_subteams, vast_args

from components.unroll import unroll
from learners.objectives.base import objective_of
from modules.mixers import REGISTRY as MIXERS
from utils.errors import UserError


class Tot(th.nn.Module):
    def forward(self, agent_qs, states):
        return agent_qs.sum(-1, keepdim=True) + 0 * states.sum(-1, keepdim=True)


class Pair(th.nn.Module):
    def forward(self, agent_qs, states):
        return agent_qs.sum(-1, keepdim=True), th.rand(1) + states.sum(-1, keepdim=True)


class OfMemories(th.nn.Module):
    """PyMARL's form of QTRAN."""

    def forward(self, batch, hidden_states, actions=None):
        raise AssertionError("asked before there is a batch")


class Declares(Tot):
    objective = "wqmix"


@pytest.mark.parametrize(
    ("mixer", "name"),
    [(None, "td"), (Tot(), "td"), (Pair(), "qtran"), (OfMemories(), "qtran_base"), (Declares(), "wqmix")],
)
def test_a_mixer_gets_the_objective_that_it_names_or_that_fits_its_form(mixer, name):
    before = th.get_rng_state()
    assert objective_of(mixer, make_args()) == name
    assert th.equal(th.get_rng_state(), before)  # a trial leaves no trace in what a run draws


@pytest.mark.parametrize(("mixer", "name"), [("vdn", "td"), ("qmix", "td"), ("qtran_base", "qtran_base")])
def test_the_shipped_mixers_name_theirs(mixer, name):
    alg = "qtran" if mixer == "qtran_base" else "qmix"
    assert objective_of(MIXERS[mixer](make_args(alg)), None) == name


def test_an_objective_can_be_chosen_and_a_wrong_name_is_told():
    with pytest.raises(UserError, match="wqmx.*did you mean 'wqmix'"):
        make_learner(vast_args("qmix", objective="wqmx"))


# --- PyMARL's QTRAN under sub-teams: memories are sums over members, actions are counts ---


@pytest.mark.parametrize("arch", ["qtran_paper", "coma_critic"])
def test_qtran_base_under_sub_teams_against_loops(arch):
    learner = make_learner(vast_args("vast_qtran_base", eta=0.6, qtran_arch=arch, opt_loss=0.7, nopt_min_loss=0.3))
    batch = random_batch(learner.args, (3, 5), cut=(1,))
    subteams = random_subteams(3, batch["obs"].shape[:3])
    loss, stats = value_loss(learner, batch, subteams)
    (q, hidden), (target_q, target_hidden) = (unroll(mac, batch) for mac in (learner.mac, learner.target_mac))
    td, opt, nopt, n = 0.0, 0.0, 0.0, 0
    for b, length in enumerate((3, 5)):
        for t in range(length):
            taken = batch["actions"][b, t, :, 0].tolist()
            best = [best_action(q[b, t, i], batch["avail_actions"][b, t, i]) for i in range(5)]
            joint, v = joint_by_hand(learner, learner.mixer.psi, batch, hidden, subteams, b, t, taken)
            greedy_joint, _ = joint_by_hand(learner, learner.mixer.psi, batch, hidden, subteams, b, t, best)
            y = float(batch["reward"][b, t, 0])
            if not batch["terminated"][b, t, 0]:
                ahead = [best_action(q[b, t + 1, i], batch["avail_actions"][b, t + 1, i]) for i in range(5)]
                psi = learner.target_mixer.psi
                y += learner.args.gamma * float(
                    joint_by_hand(learner, psi, batch, target_hidden, subteams, b, t + 1, ahead)[0]
                )
            sum_taken = sum(float(q[b, t, i, taken[i]]) for i in range(5))
            sum_best = sum(float(q[b, t, i, best[i]]) for i in range(5))
            td += (float(joint) - y) ** 2
            opt += (sum_best - float(greedy_joint) + float(v)) ** 2
            nopt += min(0.0, sum_taken - float(joint) + float(v)) ** 2
            n += 1
    assert float(stats["td_loss"].detach()) == pytest.approx(td / n, rel=1e-4)
    assert float(stats["opt_loss"].detach()) == pytest.approx(opt / n, rel=1e-4)
    assert float(stats["nopt_loss"].detach()) == pytest.approx(nopt / n, rel=1e-4, abs=1e-6)
    assert float(loss.detach()) == pytest.approx((td + 0.7 * opt + 0.3 * nopt) / n, rel=1e-4)


def best_action(values, available):
    return max((a for a in range(len(values)) if available[a]), key=lambda a: float(values[a]))


@th.no_grad()
def joint_by_hand(learner, psi, batch, hidden, subteams, b, t, actions):
    """(Q_joint, V) of one step by the mixer's public form, for three sub-teams put together by hand."""
    memories, counts = th.zeros(1, 1, 3, hidden.shape[-1]), th.zeros(1, 1, 3, learner.args.n_actions)
    for i, action in enumerate(actions):
        memories[0, 0, subteams[b, t, i]] += hidden[b, t, i]
        counts[0, 0, subteams[b, t, i], action] += 1
    joint, v = psi.values(batch["state"][b : b + 1, t : t + 1], memories, counts)
    return joint, v


def test_qtran_base_under_sub_teams_takes_no_policies():
    settings = {
        "agent_output_type": "pi_logits",
        "action_selector": "multinomial",
        "evaluate": True,
        "critic_output": "q",
    }
    with pytest.raises(UserError, match="qtran_base of vast_learner needs q, got pi_logits"):
        make_learner(vast_args("vast_qtran_base", **settings))


# --- a learner's state ---


def through_a_file(state):
    file = io.BytesIO()
    th.save(state, file)
    file.seek(0)
    return th.load(file, weights_only=True)


@pytest.mark.parametrize("tau", [None, 0.1])
@pytest.mark.parametrize(
    "alg", ["iql", "qmix", "qtran", "vast_il", "vast_qtran", "vast_qtran_base", "cw_qmix", "vast_ow_qmix"]
)
def test_a_learner_goes_on_from_its_state_as_if_nothing_had_happened(alg, tau):
    """With episodes that wait for the assigner, a diversity half counted, and target networks of their own age."""
    settings = {"assigner": "random"} if alg == "vast_il" else {}
    first, second = (
        make_learner(vast_args(alg, target_update_interval=4, target_update_interval_or_tau=tau, **settings), weights)
        for weights in (0, 1)
    )
    batches = [random_batch(first.args, (2, 4, 3), seed=seed) for seed in range(8)]
    for number, batch in enumerate(batches[:4]):
        first.observe(batch, t_env=number, episode_num=3 * number)
        first.train(batch, t_env=number, episode_num=3 * number)
    first.observe(batches[4], t_env=4, episode_num=12)
    second.load_state_dict(through_a_file(first.state_dict()))
    for learner in (first, second):
        learner.mac.action_selector.epsilon = 0.5
        for number, batch in enumerate(batches[5:], 5):
            learner.train(batch, t_env=number, episode_num=3 * number)
            learner.observe(batch, t_env=number, episode_num=3 * number)
    assert first.log_stats_t == second.log_stats_t
    mine, theirs = (flat(through_a_file(learner.state_dict())) for learner in (first, second))
    assert mine.keys() == theirs.keys()
    for key, value in mine.items():
        assert th.equal(value, theirs[key]) if isinstance(value, th.Tensor) else value == theirs[key], key


def flat(state, prefix=""):
    """The entries of nested dicts and lists, by their path."""
    if isinstance(state, (dict, list)):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        return {key: value for name, part in items for key, value in flat(part, f"{prefix}/{name}").items()}
    return {prefix: state}
