"""The actor-critic regime: returns, advantages and losses against loops, on-policy settings, files."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch as th
from helpers import empty_batch, make_args, make_logger, make_scheme, random_batch, randomise
from learner_helpers import improve_policies, returns_of, value_loss
from vast_helpers import make_learner, random_subteams, sums_by_loop, vast_args

from assigners.base import Assignment
from components.agent_inputs import sequence_inputs
from components.unroll import unroll
from controllers import REGISTRY as mac_REGISTRY
from controllers.basic_controller import BasicMAC
from learners import REGISTRY as learner_REGISTRY
from modules.agents.ff_agent import FFAgent
from run import build
from settings.load import load_config, load_saved_config
from utils.errors import UserError

FLAT = ("il_ac", "vdn_ac", "qmix_ac", "qtran_ac")
VAST = ("vast_il_ac", "vast_vdn_ac", "vast_qmix_ac", "vast_qtran_ac")
LENGTHS, CUT = (3, 6, 1), (1,)  # episode 1 was cut by the time limit, the others terminated


def ac_args(alg="vast_qmix_ac", **overrides):
    """Small settings; agents 0 and 3 of every batch of `ac_batch` die (they do not live where the state says so)."""
    eta = {"eta": 0.6} if alg in VAST else {}
    return vast_args(alg, **{**eta, "gamma": 0.9, **overrides})


def ac_learner(args):
    """A learner whose networks, critic and targets included, all have different random weights."""
    learner = make_learner(args)
    randomise(learner.critic.agent, seed=77)
    return learner


def transitions():
    """(episode, step) of all transitions."""
    return [(b, t) for b, length in enumerate(LENGTHS) for t in range(length)]


def subteams_of(learner, batch):
    """Sub-teams [B, T, N] at random where the learner has any; else None."""
    n_subteams = getattr(learner.mixer, "n_subteams", None)
    return None if n_subteams is None else random_subteams(n_subteams, batch["obs"].shape[:3])


def drawn_values(learner, batch):
    """The target critic's values of the actions that were drawn, [B][T][N], as a tensor."""
    target_q = unroll(learner.target_mac, batch)[0].detach()
    values = th.zeros(target_q.shape[:3])
    for b, t, i in th.cartesian_prod(*map(th.arange, target_q.shape[:3])).tolist():
        values[b, t, i] = target_q[b, t, i, batch["actions"][b, t, i, 0]]
    return values


def mixed_by_loop(learner, values, batch, division):
    """The target mixer's value [B, T, 1 or N] of agents' values [B, T, N]."""
    if learner.mixer is None:
        return values
    psi = learner.target_mixer
    if division is not None:
        values = sums_by_loop(values, division, learner.mixer.n_subteams)
        psi = psi.psi
        if psi is None:  # VAST(IL): the mean of the sub-teams that have members
            means = th.zeros(*values.shape[:2], 1)
            for b in range(values.shape[0]):
                for t in range(values.shape[1]):
                    members = sorted(set(division[b, t].tolist()))
                    means[b, t, 0] = values[b, t, members].mean()
            return means
    mixed = psi(values, batch["state"])
    return (mixed[0] if isinstance(mixed, tuple) else mixed).detach()


def returns_by_loop(learner, batch, division, td_lambda):
    """R_t (a list with one entry, or one for each agent) by (episode, step), from the end of every episode back."""
    ahead = mixed_by_loop(learner, drawn_values(learner, batch), batch, division)
    returns = {}
    for b, length in enumerate(LENGTHS):
        for t in reversed(range(length)):
            reward, value = float(batch["reward"][b, t, 0]), ahead[b, t + 1].tolist()
            if batch["terminated"][b, t, 0]:
                value = [0.0] * len(value)
            elif t < length - 1:
                value = [(1 - td_lambda) * v + td_lambda * g for v, g in zip(value, returns[b, t + 1], strict=True)]
            returns[b, t] = [reward + learner.args.gamma * v for v in value]
    return returns


# --- returns and advantages, against loops ---


@pytest.mark.parametrize("td_lambda", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("alg", FLAT + VAST)
def test_returns_bootstrap_from_the_values_of_the_drawn_actions(alg, td_lambda):
    learner = ac_learner(ac_args(alg, td_lambda=td_lambda))
    batch = random_batch(learner.args, LENGTHS, CUT)
    division = subteams_of(learner, batch)
    returns = returns_of(learner, batch, division, td_lambda)
    for (b, t), expected in returns_by_loop(learner, batch, division, td_lambda).items():
        th.testing.assert_close(returns[b, t], th.tensor(expected), rtol=1e-4, atol=1e-4)


def test_returns_at_lambda_one_are_those_observed():
    learner = ac_learner(ac_args("vast_qtran_ac"))
    batch = random_batch(learner.args, LENGTHS)  # none was cut
    returns = returns_of(learner, batch, subteams_of(learner, batch), 1.0)
    for b, t in transitions():
        rewards = batch["reward"][b, t : LENGTHS[b], 0].tolist()
        observed = sum(0.9**step * reward for step, reward in enumerate(rewards))
        assert float(returns[b, t]) == pytest.approx(observed, rel=1e-5)


@pytest.mark.parametrize("masked", [True, False])
def test_policies_hold_no_unavailable_action_however_the_controller_masks(masked):
    learner = ac_learner(ac_args("qmix_ac", mask_before_softmax=masked))
    batch = random_batch(learner.args, LENGTHS, CUT)
    policies, avail = learner.policies.probabilities(batch, 0.0), batch["avail_actions"]
    filled = batch["filled"].bool().squeeze(-1)
    assert not policies[avail == 0].any()
    th.testing.assert_close(policies[filled].sum(-1), th.ones(int(filled.sum()), learner.args.n_agents))
    th.testing.assert_close(policies[filled], policies_by_loop(learner, batch)[filled].detach(), rtol=1e-4, atol=1e-6)


def policies_by_loop(learner, batch):
    """Probabilities of the available actions by a softmax over their logits, [B, T, N, A]."""
    logits = unroll_logits(learner.mac, batch)
    policies = th.zeros_like(logits)
    for b, t, i in th.cartesian_prod(*map(th.arange, logits.shape[:3])).tolist():
        able = batch["avail_actions"][b, t, i].nonzero().flatten().tolist()
        if able:
            policies[b, t, i, able] = th.softmax(logits[b, t, i, able], dim=-1)
    return policies


def unroll_logits(mac, batch):
    """What the agents put out before the softmax, step by step."""
    mac.init_hidden(batch.batch_size)
    hidden, steps = mac.hidden_states, []
    for t in range(batch.max_seq_length):
        out, hidden = mac.agent(mac._build_inputs(batch, t), hidden)
        steps.append(out.view(batch.batch_size, mac.n_agents, -1))
    return th.stack(steps, dim=1)


@pytest.mark.parametrize(("standardised", "coef"), [(False, 0.0), (True, 0.0), (False, 0.5), (True, 2.0)])
@pytest.mark.parametrize("agent", ["rnn", "ff"])
@pytest.mark.parametrize("alg", ["il_ac", "qmix_ac", "vast_qtran_ac"])
def test_the_policies_follow_the_gradient_of_a_loop_over_living_agents(alg, agent, standardised, coef):
    settings = {"agent": agent, "standardise_advantages": standardised, "entropy_coef": coef}
    learner = ac_learner(ac_args(alg, **settings, grad_norm_clip=1e9, lr=0.0))
    batch = random_batch(learner.args, LENGTHS, CUT)
    for key in ("state", "obs", "reward"):  # nonsense behind the ends
        for b, length in enumerate(LENGTHS):
            batch.data.transition_data[key][b, length + 1 :] = 1e3
    division = subteams_of(learner, batch)
    alive = batch["state"][..., learner.args.agent_alive_index] > 0
    assert 0 < int(alive.sum()) < alive.numel()
    stats = improve_policies(learner, batch, division)

    policies, q = policies_by_loop(learner, batch), unroll(learner.critic, batch)[0].detach()
    returns = returns_by_loop(learner, batch, division, 1.0)
    steps, terms, advantages, entropies = [], [], [], []
    for b, t in transitions():
        for i in range(learner.args.n_agents):
            if not alive[b, t, i]:
                continue
            observed = returns[b, t][i if len(returns[b, t]) > 1 else 0]
            baseline = sum(float(policies[b, t, i, a].detach() * q[b, t, i, a]) for a in range(learner.args.n_actions))
            steps.append(t)
            advantages.append(float(observed - baseline))
            terms.append(policies[b, t, i, batch["actions"][b, t, i, 0]].log())
            entropies.append(-sum(p * p.log() for p in policies[b, t, i] if p > 0))
    weights = standardised_by_loop(steps, advantages) if standardised else advantages
    loss = -sum(weight * log_prob for weight, log_prob in zip(weights, terms, strict=True)) / len(terms)
    loss = loss - coef * sum(entropies) / len(entropies)
    expected = th.autograd.grad(loss, learner.policies.params)
    assert float(stats["policy_loss"].detach()) == pytest.approx(float(loss.detach()), rel=1e-4, abs=1e-5)
    assert float(stats["policy_advantage"]) == pytest.approx(sum(advantages) / len(advantages), rel=1e-4)
    for parameter, gradient in zip(learner.policies.params, expected, strict=True):
        th.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def standardised_by_loop(steps, advantages):
    """Advantages less the mean of those of the same step, divided by the standard deviation of all differences."""
    of_step = {t: [advantage for s, advantage in zip(steps, advantages, strict=True) if s == t] for t in steps}
    centred = [advantage - np.mean(of_step[t]) for t, advantage in zip(steps, advantages, strict=True)]
    return [float(difference / np.std(centred)) for difference in centred]


@pytest.mark.parametrize("coef", [-0.01, math.nan, math.inf])
def test_the_weight_of_the_entropy_is_a_number_of_at_least_0(coef):
    with pytest.raises(UserError, match=f"^entropy_coef: expected a finite number of at least 0, got {coef}$"):
        ac_learner(ac_args("qmix_ac", entropy_coef=coef))


def test_a_single_episode_has_nothing_to_be_compared_with():
    alone = {"batch_size": 1, "buffer_size": 1, "episodes_per_update": 1, "batch_size_run": 1}
    with pytest.raises(UserError, match="^batch_size=1: standardise_advantages compares the episodes"):
        ac_learner(ac_args("qmix_ac", standardise_advantages=True, **alone))
    ac_learner(ac_args("qmix_ac", standardise_advantages=True, evaluate=True, **alone))
    ac_learner(ac_args("qmix_ac", **alone))
    pair = dict.fromkeys(("batch_size", "buffer_size", "episodes_per_update"), 2)
    ac_learner(ac_args("qmix_ac", standardise_advantages=True, **{**alone, **pair}))


@pytest.mark.parametrize("alg", ["qmix_ac", "vast_qtran_ac"])
def test_with_two_episodes_the_policies_follow_the_rewards(alg):
    learner = ac_learner(ac_args(alg, standardise_advantages=True, grad_norm_clip=1e9, lr=0.0))
    batch = random_batch(learner.args, (4, 4))
    division = subteams_of(learner, batch)

    def gradient():
        improve_policies(learner, batch, division)
        return th.cat([parameter.grad.flatten() for parameter in learner.policies.params])

    before = gradient()
    batch["reward"][:] *= -30
    assert th.cosine_similarity(before, gradient(), dim=0) < 0.5


def test_a_configuration_saved_before_the_policies_keys_existed_still_plays(tmp_path):
    config = load_config("vast_qtran_ac", "warehouse", ["seed=1"])
    for key in ("standardise_advantages", "entropy_coef"):
        del config[key]
    (tmp_path / "config.json").write_text(json.dumps(config))
    updates = ["evaluate=true", "test_nepisode=1", "env_args.episode_limit=3"]
    experiment = build(load_saved_config(tmp_path / "config.json", updates))
    experiment.run()
    experiment.close()
    assert not experiment.args.standardise_advantages and experiment.args.entropy_coef == 0
    assert [value for _, value in experiment.logger.stats["test_ep_length_mean"]] == [3]


def test_entropy_alone_makes_policies_uniform_over_what_is_available():
    learner = ac_learner(ac_args("qmix_ac", agent="ff", entropy_coef=1e6, lr=0.01))
    batch = random_batch(learner.args, LENGTHS, CUT)
    avail = batch["avail_actions"].float()
    uniform = avail / avail.sum(-1, keepdim=True).clamp(min=1)
    counted = th.stack([batch["state"][b, t, learner.args.agent_alive_index] > 0 for b, t in transitions()])

    def distance():
        apart = (learner.policies.probabilities(batch, 0.0) - uniform).abs().amax(-1).detach()
        return float(th.stack([apart[b, t] for b, t in transitions()])[counted].mean())

    before = distance()
    for _ in range(150):
        improve_policies(learner, batch)
    assert distance() < 0.25 * before


@pytest.mark.parametrize(("own", "norm"), [(None, 1e-3), (1e-4, 1e-4), (1e9, None)])
def test_the_policies_have_a_gradient_norm_of_their_own_if_they_are_given_one(own, norm):
    learner = ac_learner(ac_args("qmix_ac", grad_norm_clip=1e-3, policy_grad_norm_clip=own))
    learner.train(random_batch(learner.args, LENGTHS, CUT), t_env=0, episode_num=0)
    policy_norm, value_norm = (
        float(th.cat([parameter.grad.flatten() for parameter in params]).norm())
        for params in (learner.policies.params, learner.params)
    )
    assert policy_norm == pytest.approx(norm, rel=1e-3) if norm else policy_norm > 1e-2
    assert value_norm == pytest.approx(1e-3, rel=1e-3)


def test_the_entropy_of_the_policies_is_that_of_living_agents():
    learner = ac_learner(ac_args("qmix_ac"))
    batch = random_batch(learner.args, LENGTHS, CUT)
    policies = policies_by_loop(learner, batch)
    alive = batch["state"][..., learner.args.agent_alive_index] > 0
    entropies = []
    for b, t in transitions():
        for i in range(learner.args.n_agents):
            if alive[b, t, i]:
                entropies.append(-sum(p * math.log(p) for p in policies[b, t, i].tolist() if p > 0))
    stats = improve_policies(learner, batch)
    assert float(stats["policy_entropy"]) == pytest.approx(sum(entropies) / len(entropies), rel=1e-4)


# --- the critic ---


def test_the_critic_learns_the_returns_and_leaves_the_policies_alone():
    learner = ac_learner(ac_args("qmix_ac", lr=0.0, critic_lr=0.01))
    batch = random_batch(learner.args, LENGTHS, CUT)
    before = [parameter.detach().clone() for parameter in learner.mac.parameters()]
    losses = []
    for _ in range(30):
        learner.log_stats_t = -math.inf
        learner.train(batch, t_env=0, episode_num=0)  # episode 0: no copy into the target network
        losses.append(learner.logger.stats["loss"][-1][1])
    assert losses[-1] < 0.5 * losses[0]
    for parameter, old in zip(learner.mac.parameters(), before, strict=True):
        assert th.equal(parameter, old)


def test_the_critic_has_networks_of_its_own():
    learner = ac_learner(ac_args("qmix_ac"))
    theirs = {id(parameter) for parameter in learner.critic.parameters()}
    assert theirs and not theirs & {id(parameter) for parameter in learner.mac.parameters()}
    assert {id(parameter) for parameter in learner.params} >= theirs


@pytest.mark.parametrize("alg", ["il_ac", "vdn_ac", "vast_qmix_ac"])
def test_a_critic_of_histories_gives_all_actions_one_value(alg):
    learner = ac_learner(ac_args(alg, critic_output="v"))
    batch = random_batch(learner.args, LENGTHS, CUT)
    v = unroll(learner.critic, batch)[0]
    values = learner.values.of(batch)
    assert v.shape[-1] == 1 and values.q.shape == batch["avail_actions"].shape
    assert th.equal(values.q, v.expand(values.q.shape))
    learner.train(batch, t_env=0, episode_num=10)


def test_the_baseline_is_taken_from_the_critic_after_its_update():
    learner = ac_learner(ac_args("il_ac", critic_lr=0.1, agent_alive_index=None))
    batch = random_batch(learner.args, LENGTHS)
    policies = unroll(learner.mac, batch)[0].detach()
    learner.train(batch, t_env=0, episode_num=0)
    q = unroll(learner.critic, batch)[0].detach()
    advantages = []
    for b, t in transitions():
        rewards = batch["reward"][b, t : LENGTHS[b], 0].tolist()
        observed = sum(0.9**step * reward for step, reward in enumerate(rewards))
        advantages += (observed - (policies[b, t] * q[b, t]).sum(-1)).tolist()
    logged = learner.logger.stats["policy_advantage"][-1][1]
    assert logged == pytest.approx(sum(advantages) / len(advantages), rel=1e-4)


@pytest.mark.parametrize("td_lambda", [0.0, 0.6])
def test_an_update_of_the_policies_takes_its_returns_at_the_lambda_of_the_run(td_lambda):
    learner = ac_learner(ac_args("qmix_ac", td_lambda=td_lambda, critic_lr=0.0, agent_alive_index=None))
    batch = random_batch(learner.args, LENGTHS, CUT)
    policies, q = (unroll(mac, batch)[0].detach() for mac in (learner.mac, learner.critic))
    returns = returns_by_loop(learner, batch, None, td_lambda)
    advantages = [returns[b, t][0] - float(v) for b, t in transitions() for v in (policies[b, t] * q[b, t]).sum(-1)]
    learner.train(batch, t_env=0, episode_num=0)
    logged = learner.logger.stats["policy_advantage"][-1][1]
    assert logged == pytest.approx(sum(advantages) / len(advantages), rel=1e-4)


def test_targets_of_the_sum_form_are_scaled_by_the_inputs_of_psi():
    for alg, inputs in (("qtran_ac", 5), ("vast_qtran_ac", 3)):
        plain, scaled = (ac_learner(ac_args(alg, qtran_targets=form, td_lambda=0.5)) for form in ("mean", "sum"))
        batch = random_batch(plain.args, LENGTHS, CUT)
        division = subteams_of(plain, batch)
        _, stats = value_loss(plain, batch, division)
        _, scaled_stats = value_loss(scaled, batch, division)
        # The same networks: their output is taken for the sum there, and for the return here.
        joint = drawn_values(scaled, batch)
        returns = returns_by_scaled_loop(scaled, batch, division, joint, inputs)
        mean = sum(inputs * value for value in returns.values()) / len(returns)
        assert float(scaled_stats["target_mean"]) * 5 == pytest.approx(mean, rel=1e-4)
        assert float(stats["target_mean"]) != pytest.approx(float(scaled_stats["target_mean"]), rel=1e-3)


def returns_by_scaled_loop(learner, batch, division, drawn, scale):
    """Returns at lambda 0.5 where the joint value estimates ``scale`` times the return."""
    ahead = mixed_by_loop(learner, drawn, batch, division)
    returns = {}
    for b, length in enumerate(LENGTHS):
        for t in reversed(range(length)):
            value = float(ahead[b, t + 1]) / scale
            if batch["terminated"][b, t, 0]:
                value = 0.0
            elif t < length - 1:
                value = 0.5 * value + 0.5 * returns[b, t + 1]
            returns[b, t] = float(batch["reward"][b, t, 0]) + 0.9 * value
    return returns


# --- sub-teams ---


@pytest.mark.parametrize("anew", [True, False])  # an assigner of one's own need not give them anew
def test_the_assigners_signal_to_noise_is_that_of_the_gradients_of_its_episodes(anew):
    learner = ac_learner(ac_args("vast_qmix_ac", assigner_lr=0.0))
    if not anew:
        learner.assigner.log_probs = lambda batch, subteams: None
    batch = random_batch(learner.args, LENGTHS, CUT)
    drawn, hats = [], []
    learner.assigner.register_forward_hook(lambda module, inputs, output: drawn.append(output))
    gradient = learner.division.meta_gradient
    update = gradient.update
    gradient.update = lambda *given: hats.append(given) or update(*given)
    learner.train(batch, t_env=0, episode_num=0)
    (_, advantages, counted) = hats[0]
    log_x = sequence_inputs(batch, learner.args).unpack(th.log_softmax(learner.assigner.logits(batch), dim=-1))
    gradients = []
    for b in range(len(LENGTHS)):
        objective = 0
        for t in range(LENGTHS[b]):
            for i in range(5):
                k = drawn[0].subteams[b, t, i]
                objective = objective + log_x[b, t, i, k] * advantages[b, t, i] * counted[b, t, i]
        parts = th.autograd.grad(objective, gradient.params, retain_graph=True)
        gradients.append(th.cat([part.flatten() for part in parts]).numpy())
    gradients = np.stack(gradients)
    expected = len(gradients) * (gradients.mean(0) ** 2).sum() / gradients.var(0, ddof=1).sum()
    assert learner.logger.stats["assigner_snr"][-1][1] == pytest.approx(expected, rel=1e-3)
    learner.train(batch, t_env=1, episode_num=0)
    learner.log_stats_t = -math.inf
    learner.train(batch[:1], t_env=2, episode_num=0)  # one episode tells nothing of noise
    assert len(learner.logger.stats["assigner_loss"]) == 2
    assert len(learner.logger.stats["assigner_snr"]) == 1  # takes a backward pass an episode: only where it is written


def test_values_and_assigner_learn_from_one_draw_of_subteams():
    learner = ac_learner(ac_args("vast_qmix_ac"))
    batch = random_batch(learner.args, LENGTHS, CUT)
    drawn, entered, step = [], [], learner.values.step
    learner.assigner.register_forward_hook(lambda module, inputs, output: drawn.append(output))
    learner.values.step = lambda given, grouping: entered.append((given, grouping.subteams)) or step(given, grouping)
    gradient = learner.division.meta_gradient
    updated_with, update = [], gradient.update
    gradient.update = lambda *given: updated_with.append(given[0]) or update(*given)
    improved_with, improve = [], learner.policies.improve
    learner.policies.improve = lambda new, *rest: improved_with.append(new.assignment) or improve(new, *rest)
    learner.observe(batch, t_env=0, episode_num=3)
    learner.train(batch, t_env=0, episode_num=3)
    assert len(improved_with) == 1 and improved_with == drawn
    assert len(drawn) == 1 and updated_with == drawn
    assert entered[0][0] is batch and th.equal(entered[0][1], drawn[0].subteams)


@pytest.mark.parametrize("baseline", ["before", "after"])
def test_the_assigners_baseline_has_the_values_before_or_after_the_update(baseline):
    learner = ac_learner(ac_args("vast_qmix_ac", critic_lr=0.1, assigner_baseline=baseline, agent_alive_index=None))
    batch = random_batch(learner.args, LENGTHS)  # none was cut: returns are made of rewards
    policies = unroll(learner.mac, batch)[0].detach()
    q = {"before": unroll(learner.critic, batch)[0].detach()}
    learner.train(batch, t_env=0, episode_num=0)
    q["after"] = unroll(learner.critic, batch)[0].detach()
    means = {}
    for when, values in q.items():
        advantages = []
        for b, t in transitions():
            rewards = batch["reward"][b, t : LENGTHS[b], 0].tolist()
            observed = sum(0.9**step * reward for step, reward in enumerate(rewards))
            advantages += (observed - (policies[b, t] * values[b, t]).sum(-1)).tolist()
        means[when] = sum(advantages) / len(advantages)
    assert means["before"] != pytest.approx(means["after"], rel=1e-3)
    assert learner.logger.stats["assigner_advantage"][-1][1] == pytest.approx(means[baseline], rel=1e-4)


@pytest.mark.parametrize("baseline", ["before", "after"])
def test_the_drawn_subteams_reach_the_advantage_only_through_the_update_of_the_values(baseline):
    advantages = []
    for seed in (1, 2):
        learner = ac_learner(ac_args("vast_qmix_ac", critic_lr=0.1, assigner_baseline=baseline))
        batch = random_batch(learner.args, LENGTHS)  # none was cut: no return bootstraps from a division
        scripted = Assignment(random_subteams(3, batch["obs"].shape[:3], seed), *th.zeros(2, *batch["obs"].shape[:3]))
        learner.assigner.forward = lambda given, scripted=scripted: scripted
        learner.division.meta_gradient.update = lambda _, hats, counted: advantages.append(hats * counted) or {}
        learner.log_stats_t = math.inf  # the scripted log-probabilities have no gradient whose noise could be logged
        learner.train(batch, t_env=0, episode_num=0)
    assert th.equal(*advantages) == (baseline == "before")


@pytest.mark.parametrize("assigner", ["random", "fixed", "spatial", "metagrad"])
def test_vast_of_vdn_stays_vdn_over_updates_of_critic_and_policies(assigner):
    scripted = {"gamma": 0.9, "lr": 0.01, "critic_lr": 0.01}
    flat, vast = (ac_learner(ac_args(alg, **scripted)) for alg in ("vdn_ac", "vast_vdn_ac"))
    other = ac_learner(ac_args("vast_vdn_ac", **scripted, assigner=assigner))
    for number in range(3):
        batch = random_batch(flat.args, LENGTHS, CUT, seed=number)
        for learner in (flat, vast, other):
            learner.train(batch, t_env=0, episode_num=10 * (number + 1))
    for learner in (vast, other):
        for expected, parameter in zip(
            [*flat.critic.parameters(), *flat.mac.parameters()],
            [*learner.critic.parameters(), *learner.mac.parameters()],
            strict=True,
        ):
            th.testing.assert_close(parameter, expected, rtol=1e-4, atol=1e-5)


# --- agents ---


def test_the_feed_forward_agent_is_two_elu_layers_and_remembers_nothing():
    agent = randomise(FFAgent(5, make_args()))
    inputs, elu = th.randn(6, 5), th.nn.functional.elu
    outputs, hidden = agent(inputs, agent.init_hidden())
    expected = elu(elu(inputs @ agent.fc1.weight.T + agent.fc1.bias) @ agent.fc2.weight.T + agent.fc2.bias)
    th.testing.assert_close(hidden, expected)
    th.testing.assert_close(outputs, expected @ agent.fc3.weight.T + agent.fc3.bias)
    assert th.equal(agent(inputs, th.randn(6, 8))[0], outputs)
    assert not agent.init_hidden().any() and agent.init_hidden().shape == (1, 8)


# --- settings ---


@pytest.mark.parametrize(
    ("alg", "updates", "message"),
    [
        ("qmix_ac", ["action_selector=epsilon_greedy"], "action_selector: epsilon_greedy acts on values"),
        ("qmix_ac", ["critic_output=w"], "critic_output: expected q or v, got 'w'"),
        ("qmix_ac", ["optimiser=sgd"], "optimiser: expected rmsprop or adam, got 'sgd'"),
        ("qmix_ac", ["buffer_size=20"], r"batch_size=10: policies learn on-policy, .* buffer_size \(here 20\)"),
        ("qmix_ac", ["batch_size=5"], "batch_size=5: policies learn on-policy"),
        ("qmix_ac", ["episodes_per_update=5"], r"episodes_per_update \(here 5\)"),
        ("qmix_ac", ["episodes_per_update=none"], r"batch_size_run \(here 1\)"),
        ("vast_qmix_ac", ["runner=vector", "batch_size_run=4"], "batch_size_run=4: .* a divisor of .*update=10"),
        ("vast_qmix_ac", ["assigner_baseline=now"], "assigner_baseline: expected before or after, got 'now'"),
        ("vast_qtran_ac", ["qtran_targets=max"], "qtran_targets: expected mean or sum, got 'max'"),
        (
            "qtran",
            ["agent_output_type=pi_logits", "action_selector=multinomial"],
            "of qtran_learner needs q, got pi_log",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_one_clear_line(alg, updates, message):
    with pytest.raises(UserError, match=message) as error:
        build(load_config(alg, "warehouse", updates))
    assert "\n" not in str(error.value)


def test_the_shipped_settings_are_those_of_the_paper():
    for alg in FLAT + VAST:
        config = load_config(alg, "warehouse", ["seed=1"])
        assert (config["batch_size"], config["buffer_size"], config["episodes_per_update"]) == (10, 10, 10)
        assert (config["optimiser"], config["lr"], config["critic_lr"]) == ("adam", 1e-3, 1e-3)
        assert (config["td_lambda"], config["grad_norm_clip"], config["rnn_hidden_dim"]) == (1.0, 1.0, 64)
        assert (config["epsilon_start"], config["epsilon_finish"], config["test_greedy"]) == (0.0, 0.0, False)
        assert config.get("mixing_embed_dim", 128) == config.get("assigner_hidden_dim", 128) == 128
        assert (config["gamma"], config["t_max"]) == (0.95, 1_500_000)
        if alg in VAST:
            assert (config["assigner"], config["eta"], config["assigner_lr"]) == ("metagrad", 0.25, 1e-3)


def test_actions_are_drawn_from_the_policies_in_tests_too_unless_greedy():
    for greedy in (False, True):
        config = load_config("qmix_ac", "warehouse", ["seed=1", f"test_greedy={greedy}", "env_args.episode_limit=8"])
        experiment = build(config)
        batch = experiment.runner.run(test_mode=True)
        best = unroll(experiment.mac, batch)[0].argmax(-1)
        assert bool((batch["actions"].squeeze(-1) == best).all()) is greedy
        experiment.close()


class Netless(BasicMAC):
    """A controller that keeps its network elsewhere."""

    def _build_agents(self, input_shape):
        super()._build_agents(input_shape)
        self.network = self.agent
        del self.agent

    def parameters(self):
        return self.network.parameters()


def test_a_controller_without_an_agent_is_refused_at_once(monkeypatch):
    monkeypatch.setitem(mac_REGISTRY, "netless", Netless)
    with pytest.raises(UserError, match="mac: a second critic needs a controller .* got netless"):
        build(load_config("qmix_ac", "warehouse", ["mac=netless"]))


def test_each_update_sees_the_episodes_since_the_last_one_and_no_others():
    settings = ["seed=1", "env_args.episode_limit=4", "t_max=119", "test_interval=20", "test_nepisode=3"]
    experiment = build(load_config("qmix_ac", "warehouse", settings))
    played, seen = [], []
    collect, train = experiment.runner.run, experiment.learner.train

    def recording_run(test_mode):
        batch = collect(test_mode=test_mode)
        if not test_mode:
            played.append(batch["reward"][0].flatten().tolist())
        return batch

    def recording_train(batch, t_env, episode):
        seen.append([rewards.flatten().tolist() for rewards in batch["reward"]])
        train(batch, t_env, episode)

    experiment.runner.run, experiment.learner.train = recording_run, recording_train
    experiment.run()
    experiment.close()
    assert len(seen) == 3 and len(played) == 30
    for number, batch in enumerate(seen):
        assert sorted(batch) == sorted(played[10 * number : 10 * number + 10])


# --- files ---


def test_a_saved_run_is_evaluated(tmp_path):
    settings = ["seed=1", "env_args.episode_limit=4", "test_nepisode=2", f"local_results_path={tmp_path}", "eta=1/2"]
    experiment = build(load_config("vast_qtran_ac", "warehouse", [*settings, "t_max=60", "save_model=true"]))
    experiment.run()
    (folder,) = (tmp_path / "models").iterdir()
    # Other rollouts than those of training: without updates there is nothing to be on-policy for.
    vector = ["runner=vector", "batch_size_run=4", "test_nepisode=8", "evaluate=true", f"checkpoint_path={folder}"]
    evaluation = build(load_config("vast_qtran_ac", "warehouse", [*settings, *vector]))
    evaluation.run()
    for one, other in zip(experiment.mac.parameters(), evaluation.mac.parameters(), strict=True):
        assert th.equal(one, other)
    assert len(evaluation.logger.stats["test_return_mean"]) == 1


@pytest.mark.parametrize("alg", ["il_ac", "qtran_ac", "vast_qmix_ac"])
def test_a_saved_learner_goes_on_as_if_nothing_had_happened(alg, tmp_path):
    args = ac_args(alg)
    first = ac_learner(args)
    batches = [random_batch(args, LENGTHS, CUT, seed=seed) for seed in range(2)]
    first.train(batches[0], t_env=0, episode_num=10)
    first.save_models(str(tmp_path))
    names = {"agent.th", "critic.th", "agent_opt.th", "critic_opt.th"}
    names |= {"mixer.th"} if first.mixer is not None else set()
    names |= {"assigner.th", "assigner_opt.th"} if alg in VAST else set()
    assert {path.name for path in tmp_path.iterdir()} == names

    scheme, groups, _ = make_scheme(args)
    full = empty_batch(args).scheme
    second = learner_REGISTRY[args.learner](mac_REGISTRY[args.mac](full, groups, args), full, make_logger(), args)
    second.load_models(str(tmp_path))
    if alg in VAST:  # the assigner's random numbers are no part of a checkpoint: both draw the same from here on
        for learner in (first, second):
            learner.assigner._generators.clear()
    for learner in (first, second):
        learner.train(batches[1], t_env=0, episode_num=20)
    for module in ("mac", "critic", "target_mac"):
        pairs = zip(getattr(first, module).parameters(), getattr(second, module).parameters(), strict=True)
        assert all(th.equal(one, other) for one, other in pairs), module
