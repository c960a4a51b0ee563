"""Which objective goes with a mixer, QTRAN over memories under sub-teams, and a learner's state."""

from __future__ import annotations

import io

import pytest
import torch as th
from helpers import empty_batch, make_args, make_logger, random_batch
from learner_helpers import value_loss
from vast_helpers import make_learner, random_subteams, vast_args

from components.unroll import unroll
from controllers.basic_controller import BasicMAC
from learners.coma_learner import COMALearner
from learners.objectives import NATURAL
from learners.objectives import REGISTRY as OBJECTIVES
from learners.objectives.base import form_of
from modules.mixers import REGISTRY as MIXERS
from modules.mixers.vast_mixer import VastMixer
from utils.errors import UserError


class Tot(th.nn.Module):
    def __init__(self, args=None):
        super().__init__()

    def forward(self, agent_qs, states, mask=None):  # with something optional, which is no third input
        return agent_qs.sum(-1, keepdim=True) + 0 * states.sum(-1, keepdim=True)


class Pair(Tot):
    def forward(self, agent_qs, states):
        return agent_qs.sum(-1, keepdim=True), th.rand(1) + states.sum(-1, keepdim=True)


class OfMemories(Tot):
    """PyMARL's form of QTRAN."""

    def forward(self, batch, hidden_states, actions=None):
        raise AssertionError("asked before there is a batch")


@pytest.mark.parametrize(
    ("mixer", "form", "objective"),
    [
        (None, "none", "td"),
        (Tot(), "total", "td"),
        (Pair(), "pair", "qtran"),
        (OfMemories(), "memories", "qtran_base"),
        (MIXERS["vdn"](make_args("vdn")), "total", "td"),
        (MIXERS["qmix"](make_args("qmix")), "total", "td"),
        (MIXERS["qtran"](make_args("qtran_values")), "pair", "qtran"),
        (MIXERS["qtran_base"](make_args("qtran")), "memories", "qtran_base"),
    ],
)
def test_a_mixer_gets_the_objective_that_fits_its_form(mixer, form, objective):
    before = th.get_rng_state()
    assert form_of(mixer, make_args()) == form and NATURAL[form] == objective
    assert th.equal(th.get_rng_state(), before)  # a trial leaves no trace in what a run draws
    assert form in OBJECTIVES[objective].forms


@pytest.mark.parametrize(
    ("alg", "overrides", "message"),
    [
        (
            "vdn",
            {"objective": "qtran"},
            "qtran goes with a mixer that returns .Q_joint, V.; this run has a mixer that returns Q_tot",
        ),
        ("vdn", {"objective": "qtran_base"}, "qtran_base goes with a mixer of memories and actions; .* returns Q_tot"),
        (
            "qtran_values",
            {"objective": "td"},
            "td goes with a mixer that returns Q_tot or no mixer; .* returns .Q_joint, V.",
        ),
        ("iql", {"objective": "wqmix"}, "wqmix goes with a mixer that returns Q_tot; this run has no mixer"),
        ("vast_il", {"objective": "qtran"}, "qtran goes with .*; this run has no mixer"),
        ("vast_qtran_base", {"objective": "td"}, "td goes with .*; this run has a mixer of memories and actions"),
        (
            "vast_ow_qmix",
            {"subteam_mixer": "qtran"},
            "wqmix goes with .* returns Q_tot; this run has a mixer that returns",
        ),
        ("coma", {"objective": "wqmix"}, "coma_learner has its own, expected null, got wqmix"),
    ],
)
def test_an_objective_that_does_not_go_with_the_mixer_is_one_line(alg, overrides, message):
    runs = {"episodes_per_update": None, "batch_size_run": 8} if alg == "coma" else {}
    with pytest.raises(UserError, match=f"^objective: {message}") as error:
        make_learner(vast_args(alg, **overrides, **runs))
    assert "\n" not in str(error.value)


def test_keys_of_an_objective_that_no_yaml_has_are_missing_at_the_build():
    for key in ("w", "hysteretic_qmix", "qmix_loss", "central_loss", "central_mixing_embed_dim"):
        args = vast_args("ow_qmix")
        delattr(args, key)
        with pytest.raises(AttributeError, match=f"'{key}'"):  # which the build tells in one line
            make_learner(args)


def test_a_wrapper_with_a_forward_of_its_own_is_refused(monkeypatch):
    class Doubled(VastMixer):
        def forward(self, agent_qs, states, subteams):
            return 2 * super().forward(agent_qs, states, subteams)

    monkeypatch.setitem(MIXERS, "doubled", Doubled)
    with pytest.raises(UserError, match="mixer: doubled overrides VastMixer.forward"):
        make_learner(vast_args("vast_qmix", mixer="doubled"))


def test_a_wrapper_with_a_pooling_of_its_own_is_asked_for_it(monkeypatch):
    class Doubled(VastMixer):
        def pool(self, values, subteams):
            return 2 * super().pool(values, subteams)

    monkeypatch.setitem(MIXERS, "doubled", Doubled)
    plain, doubled = (make_learner(vast_args("vast_vdn", mixer=mixer, eta=0.6)) for mixer in ("vast_mixer", "doubled"))
    batch = random_batch(plain.args, (3, 5))
    subteams = random_subteams(3, batch["obs"].shape[:3])
    means = [value_loss(learner, batch, subteams)[1]["q_taken_mean"].item() for learner in (plain, doubled)]
    assert means[1] == pytest.approx(2 * means[0], rel=1e-5)


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
    return max((a for a in range(len(values)) if available[a]), key=lambda a: values[a].item())


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


def test_comas_target_critic_keeps_its_count_over_a_state():
    """It counts the critic's steps, not episodes."""
    args = vast_args("coma", target_update_interval=4, batch_size_run=8)
    first, second = (make_coma(args) for _ in range(2))
    batches = [random_batch(args, (3, 5), seed=seed) for seed in range(6)]
    for batch in batches[:3]:
        first.train(batch, t_env=0, episode_num=0)
    second.load_state_dict(through_a_file(first.state_dict()))
    for learner in (first, second):
        for batch in batches[3:]:
            learner.train(batch, t_env=0, episode_num=0)
    for mine, theirs in zip(first.target_critic.parameters(), second.target_critic.parameters(), strict=True):
        assert th.equal(mine, theirs)


def make_coma(args):
    full = empty_batch(args).scheme
    return COMALearner(BasicMAC(full, {"agents": args.n_agents}, args), full, make_logger(), args)
