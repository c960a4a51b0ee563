"""Learning with sub-teams: losses, the assigner's update (Eq. 6), the newest episodes, statistics and files."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch as th
from helpers import random_batch, randomise
from learner_helpers import returns_of, value_loss
from vast_helpers import make_learner, random_subteams, sums_by_loop, vast_args

from assigners import REGISTRY as assigner_REGISTRY
from assigners.base import Assignment
from components.episode_buffer import concatenate
from components.unroll import unroll
from modules.mixers.vast_mixer import VastMixer
from utils.errors import UserError

ALGS = ("vast_il", "vast_vdn", "vast_qmix", "vast_qtran")
LENGTHS, CUT = (3, 6, 1), (1,)  # episode 1 was cut by the time limit, the others terminated


def transitions(lengths=LENGTHS):
    """(episode, step) of all transitions."""
    return [(b, t) for b, length in enumerate(lengths) for t in range(length)]


def spoil_padding(batch, lengths):
    """Writes nonsense behind the end of every episode; ``filled`` stays 0 there."""
    for b, length in enumerate(lengths):
        for key in ("state", "obs", "reward"):
            batch.data.transition_data[key][b, length + 1 :] = 1e3
    return batch


class ScriptedAssigner(th.nn.Module):
    """Gives prepared sub-teams, recognising a batch by its first reward."""

    def __init__(self):
        super().__init__()
        self.prepared = {}

    def prepare(self, batch, subteams):
        self.prepared[float(batch["reward"][0, 0, 0])] = subteams

    def forward(self, batch, greedy=False):
        return Assignment(self.prepared[float(batch["reward"][0, 0, 0])])


# --- the loss of the values, against loops ---


def double_q_values(learner, batch):
    """Values of the taken actions [B, T, N], and the target network's ones of the online network's best actions."""
    q, target_q = unroll(learner.mac, batch)[0].detach(), unroll(learner.target_mac, batch)[0].detach()
    taken, best = th.zeros(q.shape[:3]), th.zeros(q.shape[:3])
    for b, t, i in np.ndindex(*q.shape[:3]):
        if not batch["filled"][b, t]:
            continue
        taken[b, t, i] = q[b, t, i, batch["actions"][b, t, i, 0]]
        available = [a for a in range(q.shape[3]) if batch["avail_actions"][b, t, i, a]]
        best[b, t, i] = target_q[b, t, i, max(available, key=lambda a: float(q[b, t, i, a]))]
    return taken, best


def bootstrap_values(learner, batch, subteams):
    """What targets bootstrap from, [B][T]: the target network's Psi, or the mean of the non-empty sub-teams."""
    _, best = double_q_values(learner, batch)
    sums = sums_by_loop(best, subteams, learner.mixer.n_subteams)
    if learner.target_mixer.psi is not None:
        mixed = learner.target_mixer.psi(sums, batch["state"])
        return (mixed[0] if isinstance(mixed, tuple) else mixed)[..., 0].tolist()
    return [[mean_of_nonempty(sums[b, t], subteams[b, t]) for t in range(sums.shape[1])] for b in range(sums.shape[0])]


def mean_of_nonempty(sums, subteams):
    members = set(subteams.tolist())
    return sum(float(sums[k]) for k in members) / len(members)


def returns_by_loop(learner, batch, subteams, td_lambda, lengths=LENGTHS):
    """TD(lambda) targets by (episode, step), going back from the end of every episode."""
    gamma, values = learner.args.gamma, bootstrap_values(learner, batch, subteams)
    targets = {}
    for b, length in enumerate(lengths):
        for t in reversed(range(length)):
            reward = float(batch["reward"][b, t, 0])
            if batch["terminated"][b, t, 0]:
                ahead = 0.0
            elif t == length - 1:
                ahead = values[b][t + 1]
            else:
                ahead = (1 - td_lambda) * values[b][t + 1] + td_lambda * targets[b, t + 1]
            targets[b, t] = reward + gamma * ahead
    return targets


def td_loss_by_loop(learner, batch, subteams, td_lambda=0.0, lengths=LENGTHS):
    """The squared TD error of Q_tot, or of every sub-team that has members, averaged over all that there are."""
    taken, _ = double_q_values(learner, batch)
    sums = sums_by_loop(taken, subteams, learner.mixer.n_subteams)
    targets = returns_by_loop(learner, batch, subteams, td_lambda, lengths)
    errors = []
    for b, t in transitions(lengths):
        if learner.mixer.psi is None:
            values = [sums[b, t, k] for k in set(subteams[b, t].tolist())]
        else:
            values = [learner.mixer.psi(sums[b : b + 1, t : t + 1], batch["state"][b : b + 1, t : t + 1])]
        errors += [float(value.detach()) - targets[b, t] for value in values]
    return sum(error**2 for error in errors) / len(errors)


@pytest.mark.parametrize("td_lambda", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("eta", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("alg", ["vast_il", "vast_vdn", "vast_qmix"])
def test_the_value_loss_is_that_of_loops_over_episodes_steps_and_subteams(alg, eta, td_lambda):
    learner = make_learner(vast_args(alg, eta=eta, td_lambda=td_lambda))
    batch = spoil_padding(random_batch(learner.args, LENGTHS, CUT), LENGTHS)
    subteams = random_subteams(learner.mixer.n_subteams, batch["obs"].shape[:3])
    loss, _ = value_loss(learner, batch, subteams)
    assert float(loss.detach()) == pytest.approx(td_loss_by_loop(learner, batch, subteams, td_lambda), rel=1e-4)


def test_the_value_loss_of_qtran_is_its_three_terms_over_the_sums():
    learner = make_learner(vast_args("vast_qtran", eta=0.6, opt_loss=0.7, nopt_min_loss=0.3))
    batch = random_batch(learner.args, LENGTHS, CUT)
    subteams = random_subteams(3, batch["obs"].shape[:3])
    targets = returns_by_loop(learner, batch, subteams, 0.0)
    q = unroll(learner.mac, batch)[0].detach()
    taken, _ = double_q_values(learner, batch)
    greedy = q.masked_fill(batch["avail_actions"] == 0, -th.inf).max(-1).values
    with th.no_grad():
        joint, v = learner.mixer.psi(sums_by_loop(taken, subteams, 3), batch["state"])
        greedy_joint, _ = learner.mixer.psi(sums_by_loop(greedy, subteams, 3), batch["state"])
    total = 0.0
    for b, t in transitions():
        td = float(joint[b, t]) - targets[b, t]
        opt = float(greedy[b, t].sum() - greedy_joint[b, t] + v[b, t])
        nopt = min(0.0, float(taken[b, t].sum() - joint[b, t] + v[b, t]))
        total += td**2 + 0.7 * opt**2 + 0.3 * nopt**2
    loss, _ = value_loss(learner, batch, subteams)
    assert float(loss.detach()) == pytest.approx(total / len(transitions()), rel=1e-4)


def loss_of(learner, batch, subteams):
    return float(value_loss(learner, batch, subteams)[0].detach())


@pytest.mark.parametrize("alg", ["vast_il", "vast_qmix", "vast_qtran"])
def test_the_division_of_the_next_step_is_that_of_the_target(alg):
    """The last division of an episode matters if the time limit cut it, and not if it terminated."""
    learner = make_learner(vast_args(alg, eta=0.6))
    for cut, matters in (((0,), True), ((), False)):
        batch = random_batch(learner.args, lengths=(1,), cut=cut)
        subteams = th.tensor([[[0, 1, 2, 0, 1], [0, 1, 2, 0, 1]]])
        other = th.tensor([[[0, 1, 2, 0, 1], [0, 0, 0, 0, 1]]])
        assert (loss_of(learner, batch, subteams) != loss_of(learner, batch, other)) == matters


@pytest.mark.parametrize("alg", ["vast_qmix", "vast_qtran"])
def test_the_target_is_made_by_the_target_networks_psi(alg):
    """Its weights matter if the time limit cut the episode, and not if it terminated."""
    learner = make_learner(vast_args(alg, eta=0.6))
    for cut, matters in (((0,), True), ((), False)):
        batch = random_batch(learner.args, lengths=(1,), cut=cut)
        subteams = random_subteams(3, (1, 2, 5))
        before = loss_of(learner, batch, subteams)
        randomise(learner.target_mixer, seed=99 + matters)
        assert (loss_of(learner, batch, subteams) != before) == matters


def test_target_networks_become_copies_when_due():
    learner = make_learner(vast_args("vast_qmix", target_update_interval=4))
    batch = random_batch(learner.args, LENGTHS, CUT)
    learner.train(batch, t_env=0, episode_num=3)
    assert not same_weights(learner.mixer, learner.target_mixer)
    learner.train(batch, t_env=0, episode_num=4)
    assert same_weights(learner.mixer, learner.target_mixer)
    assert same_weights(learner.mac.agent, learner.target_mac.agent)


def same_weights(one, other):
    return all(th.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_another_mixer_than_the_wrapper_is_an_error():
    with pytest.raises(UserError, match="mixer: vast_learner needs vast_mixer, got qmix.*subteam_mixer"):
        make_learner(vast_args("vast_qmix", learner="vast_learner", mixer="qmix"))


def test_an_unknown_assigner_is_an_error_that_names_the_nearest():
    with pytest.raises(UserError, match="unknown assigner 'metagrd'.*did you mean 'metagrad'"):
        make_learner(vast_args("vast_qmix", assigner="metagrd"))


# --- Eq. 6 ---

EPSILONS = (0.9, 0.3)
NEWEST_LENGTHS, NEWEST_CUT = ((3, 5), (6,)), ((1,), ())  # of the two rollouts that are observed
ALL_LENGTHS, ALL_CUT = (3, 5, 6), (1,)
EPISODE_EPSILONS = (0.9, 0.9, 0.3)


def observe_two_rollouts(learner):
    """Two rollouts under different epsilons; returns them joined."""
    rollouts = [
        random_batch(learner.args, lengths, cut, max_seq_length=9, seed=10 + number)
        for number, (lengths, cut) in enumerate(zip(NEWEST_LENGTHS, NEWEST_CUT, strict=True))
    ]
    for rollout, epsilon in zip(rollouts, EPSILONS, strict=True):
        learner.mac.action_selector.epsilon = epsilon
        learner.observe(rollout, t_env=0, episode_num=0)
    learner.mac.action_selector.epsilon = 0.0
    return spoil_padding(concatenate(rollouts), ALL_LENGTHS)


def advantages_by_loop(learner, batch, subteams):
    """A_hat by (episode, step, agent)."""
    q = unroll(learner.mac, batch)[0].tolist()
    returns = returns_by_loop(learner, batch, subteams, 1.0, ALL_LENGTHS)
    advantages = {}
    for b, t in transitions(ALL_LENGTHS):
        for i in range(learner.args.n_agents):
            available = [a for a in range(4) if batch["avail_actions"][b, t, i, a]]
            greedy = max(available, key=lambda a: q[b][t][i][a])
            value = 0.0
            for a in available:
                pi = EPISODE_EPSILONS[b] / len(available) + (1 - EPISODE_EPSILONS[b]) * (a == greedy)
                value += pi * q[b][t][i][a]
            advantages[b, t, i] = returns[b, t] - value
    return advantages


def objective(weights, batch, subteams, advantages, counted):
    """mean(A_hat * log X(k)) over the counted (episode, step, agent), in double precision and with a plain network."""
    n_agents = subteams.shape[2]
    total = 0.0
    for b, t, i in counted:
        last = batch["actions_onehot"][b, t - 1, i] if t > 0 else th.zeros(4)
        x = th.cat([batch["state"][b, t], batch["obs"][b, t, i], last, th.eye(n_agents)[i]]).double()
        for layer in ("fc1", "fc2"):
            x = th.nn.functional.elu(weights[f"{layer}.weight"] @ x + weights[f"{layer}.bias"])
        logits = (weights["fc3.weight"] @ x + weights["fc3.bias"]).tolist()
        log_sum = math.log(sum(math.exp(logit) for logit in logits))
        total += advantages[b, t, i] * (logits[subteams[b, t, i]] - log_sum)
    return total / len(counted)


@pytest.fixture(params=["vast_il", "vast_vdn", "vast_qmix", "vast_qtran"])
def assigner_update(request):
    """A learner after an update that its agents slept through, what its assigner saw, drew, and was before it."""
    args = vast_args(request.param, eta=0.6, lr=0.0, assigner_grad_norm_clip=1e9, assigner_hidden_dim=4)
    learner = make_learner(args)
    weights = {name: value.detach().double() for name, value in learner.assigner.state_dict().items()}
    newest = observe_two_rollouts(learner)
    drawn = []
    learner.assigner.register_forward_hook(lambda module, inputs, output: drawn.append((inputs[0], output.subteams)))
    learner.train(random_batch(learner.args, LENGTHS, CUT), t_env=0, episode_num=3)
    (subteams,) = [k for batch, k in drawn if th.equal(batch["reward"][:, :1], newest["reward"][:, :1])]
    return learner, newest[:, : subteams.shape[1]], subteams, weights


def living(learner, batch):
    alive = batch["state"][..., learner.args.agent_alive_index] > 0
    return [(b, t, i) for b, t in transitions(ALL_LENGTHS) for i in range(5) if alive[b, t, i]]


def test_the_assigners_gradient_is_that_of_the_reinforce_objective(assigner_update):
    learner, batch, subteams, weights = assigner_update
    advantages = advantages_by_loop(learner, batch, subteams)
    counted = living(learner, batch)
    assert 0 < len(counted) < 5 * sum(ALL_LENGTHS)
    rng, step = np.random.default_rng(0), 1e-5
    for name, parameter in learner.assigner.named_parameters():
        for _ in range(4):
            index = tuple(rng.integers(size) for size in parameter.shape)
            ascent = 0.0
            for sign in (1, -1):
                moved = {**weights, name: weights[name].clone()}
                moved[name][index] += sign * step
                ascent += sign * objective(moved, batch, subteams, advantages, counted) / (2 * step)
            assert -float(parameter.grad[index]) == pytest.approx(ascent, rel=2e-3, abs=2e-5), (name, index)


def test_the_logged_advantage_and_loss_are_those_of_loops_over_the_living(assigner_update):
    learner, batch, subteams, weights = assigner_update
    advantages = advantages_by_loop(learner, batch, subteams)
    counted = living(learner, batch)
    logged = {key: values[-1][1] for key, values in learner.logger.stats.items()}
    mean = sum(advantages[key] for key in counted) / len(counted)
    assert logged["assigner_advantage"] == pytest.approx(mean, rel=1e-4)
    loss = -objective(weights, batch, subteams, advantages, counted)
    assert logged["assigner_loss"] == pytest.approx(loss, rel=1e-4)


def advantages_of(learner, batch, policies, subteams):
    """A_hat of a batch with the values as they are now."""
    returns = returns_of(learner, batch, subteams, 1.0)
    return learner.division.meta_gradient.advantages(policies, learner.values.detached(batch), returns)


def test_an_advantage_worked_out_by_hand():
    """One agent-step: R = 1 + 0.5 * 2 = 2 at gamma 0.5; Q = (3, 1, 5), the last unavailable; epsilon 0.5."""
    learner = make_learner(vast_args("vast_vdn", gamma=0.5))
    batch = random_batch(learner.args, lengths=(2,))
    batch.data.transition_data["reward"][0, :2, 0] = th.tensor([1.0, 2.0])
    batch.data.transition_data["avail_actions"][:] = th.tensor([1, 1, 0, 0])
    for parameter in learner.mac.agent.parameters():
        th.nn.init.zeros_(parameter)
    learner.mac.agent.fc2.bias.data = th.tensor([3.0, 1.0, 5.0, 5.0])
    policies = learner.policies.probabilities(batch, th.full((1, 1, 1, 1), 0.5))
    advantages = advantages_of(learner, batch, policies, learner.assigner(batch).subteams)
    baseline = 0.75 * 3 + 0.25 * 1
    expected = th.tensor([2.0 - baseline, 2.0 - baseline]).view(1, 2, 1).expand(1, 2, 5)
    th.testing.assert_close(advantages, expected)


def test_the_baseline_has_the_policy_that_acted_and_the_values_after_the_update():
    learner = make_learner(vast_args("vast_qmix", eta=0.6, lr=0.1, agent_alive_index=None))
    newest = random_batch(learner.args, LENGTHS, seed=1)  # all terminated: returns are made of rewards only
    learner.mac.action_selector.epsilon = 0.4
    learner.observe(newest, t_env=0, episode_num=3)
    acting, _ = unroll(learner.mac, newest)
    learner.train(random_batch(learner.args, LENGTHS, seed=2), t_env=0, episode_num=3)
    updated, _ = unroll(learner.mac, newest)
    advantages, other_greedy = [], 0
    for b, t in transitions():
        rewards = newest["reward"][b, t : LENGTHS[b], 0].tolist()
        observed = sum(learner.args.gamma**step * reward for step, reward in enumerate(rewards))
        for i in range(5):
            available = [a for a in range(4) if newest["avail_actions"][b, t, i, a]]
            values = updated[b, t, i].tolist()
            greedy = max(available, key=acting[b, t, i].tolist().__getitem__)
            other_greedy += greedy != max(available, key=values.__getitem__)
            mean = sum(values[a] for a in available) / len(available)
            advantages.append(observed - 0.6 * values[greedy] - 0.4 * mean)
    assert other_greedy > 0
    logged = learner.logger.stats["assigner_advantage"][-1][1]
    assert logged == pytest.approx(sum(advantages) / len(advantages), rel=1e-4)


@pytest.mark.parametrize("train_on_newest", [False, True])
def test_the_drawn_subteams_reach_the_advantage_through_the_value_update_only(train_on_newest):
    advantages = []
    for seed in (1, 2):
        learner, replay, newest = scripted_learner(lr=0.1, train_on_newest=train_on_newest)
        newest.data.transition_data["terminated"][1, 5] = 1  # no episode bootstraps from a division
        subteams = random_subteams(3, (3, 7, 5), seed)
        policies = learner.policies.probabilities(newest, th.zeros(3, 1, 1, 1))
        loss_of_update(learner, replay, newest, subteams)
        advantages.append(advantages_of(learner, newest, policies, subteams)[1])
    assert th.equal(*advantages) != train_on_newest


# --- the newest episodes ---


def assigner_gradients(learner):
    return [parameter.grad.clone() for parameter in learner.assigner.parameters()]


def learn_once(replay_seed, newest_seed, clip=1e9):
    learner = make_learner(vast_args("vast_qmix", eta=0.6, lr=0.0, assigner_grad_norm_clip=clip))
    learner.observe(random_batch(learner.args, LENGTHS, CUT, seed=newest_seed), t_env=0, episode_num=3)
    learner.train(random_batch(learner.args, LENGTHS, CUT, seed=replay_seed), t_env=0, episode_num=3)
    return assigner_gradients(learner)


def test_the_assigner_learns_from_the_newest_episodes_and_not_from_replay():
    gradients = learn_once(replay_seed=1, newest_seed=3)
    assert all(map(th.equal, gradients, learn_once(replay_seed=2, newest_seed=3)))
    assert not any(map(th.equal, gradients, learn_once(replay_seed=1, newest_seed=4)))


def test_the_assigners_gradient_is_clipped():
    gradients = learn_once(replay_seed=1, newest_seed=3, clip=0.01)
    assert float(th.cat([gradient.flatten() for gradient in gradients]).norm()) == pytest.approx(0.01, rel=1e-3)


def test_newest_episodes_are_used_once():
    learner = make_learner(vast_args("vast_qmix"))
    batch = random_batch(learner.args, LENGTHS, CUT)
    learner.observe(batch, t_env=0, episode_num=3)
    learner.train(batch, t_env=0, episode_num=3)
    before = [parameter.clone() for parameter in learner.assigner.parameters()]
    learner.train(batch, t_env=0, episode_num=3)
    assert all(map(th.equal, before, learner.assigner.parameters()))


def test_agents_whose_selector_has_no_epsilon_count_as_greedy():
    advantages = []
    for selector in (SimpleNamespace(), SimpleNamespace(epsilon=0.0), SimpleNamespace(epsilon=1.0)):
        learner = make_learner(vast_args("vast_qmix"))
        learner.mac.action_selector = selector
        batch = random_batch(learner.args, LENGTHS, CUT)
        learner.observe(batch, t_env=0, episode_num=3)
        learner.train(batch, t_env=0, episode_num=3)
        advantages.append(learner.logger.stats["assigner_advantage"][-1][1])
    assert advantages[0] == advantages[1] != advantages[2]


@pytest.mark.parametrize(("rollout", "kept"), [(1, 4), (3, 6), (4, 4), (8, 8)])
def test_waiting_episodes_are_the_newest_rollouts_that_fill_a_batch(rollout, kept):
    learner = make_learner(vast_args("vast_qmix", batch_size=4))
    batches = [random_batch(learner.args, (2,) * rollout, seed=seed) for seed in range(10)]
    for batch in batches:
        learner.observe(batch, t_env=0, episode_num=0)
    episodes, epsilons = learner.division.newest.take()
    assert episodes.batch_size == epsilons.shape[0] == kept
    assert th.equal(episodes["reward"], th.cat([batch["reward"] for batch in batches])[-kept:])


def scripted_learner(lr=0.0, **overrides):
    """A VAST(QMIX) learner whose sub-teams are prepared, its replayed batch and three newest episodes."""
    learner = make_learner(vast_args("vast_qmix", eta=0.6, lr=lr, **overrides))
    learner.division.assigner = learner.assigner = ScriptedAssigner()
    replay = random_batch(learner.args, (2, 4), seed=1)
    newest = random_batch(learner.args, LENGTHS, CUT, seed=2)
    learner.assigner.prepare(replay, random_subteams(3, (2, 5, 5), seed=1))
    return learner, replay, newest


def loss_of_update(learner, replay, newest, subteams):
    learner.assigner.prepare(newest, subteams)
    learner.observe(newest, t_env=0, episode_num=3)
    learner.log_stats_t = -math.inf
    learner.train(replay, t_env=0, episode_num=3)
    return learner.logger.stats["loss"][-1][1]


def test_by_default_the_newest_subteams_enter_no_value_update():
    learner, replay, newest = scripted_learner()
    losses = [loss_of_update(learner, replay, newest, random_subteams(3, (3, 7, 5), seed)) for seed in (1, 2)]
    expected = loss_of(learner, replay, random_subteams(3, (2, 5, 5), seed=1))
    assert losses == [expected, expected]


def test_train_on_newest_adds_the_newest_episodes_with_their_subteams_to_the_value_update():
    learner, replay, newest = scripted_learner(train_on_newest=True)
    losses = []
    for seed in (1, 2):
        subteams = random_subteams(3, (3, 7, 5), seed)
        losses.append(loss_of_update(learner, replay, newest, subteams))
        replayed = td_loss_by_loop(learner, replay, random_subteams(3, (2, 5, 5), seed=1), lengths=(2, 4))
        fresh = td_loss_by_loop(learner, newest, subteams)
        expected = (6 * replayed + 10 * fresh) / 16  # by their numbers of transitions
        assert losses[-1] == pytest.approx(expected, rel=1e-4)
    assert losses[0] != losses[1]


def test_train_on_newest_learns_from_the_same_draw_of_subteams_as_the_assigner():
    learner = make_learner(vast_args("vast_qmix", eta=0.6, train_on_newest=True))
    newest = random_batch(learner.args, LENGTHS, CUT, seed=2)
    drawn, entered, step = [], [], learner.values.step
    learner.assigner.register_forward_hook(lambda module, inputs, output: drawn.append(output))
    learner.values.step = lambda batch, grouping: entered.append(grouping.subteams) or step(batch, grouping)
    gradient = learner.division.meta_gradient
    updated_with, update = [], gradient.update
    gradient.update = lambda *given: updated_with.append(given[0]) or update(*given)
    learner.observe(newest, t_env=0, episode_num=3)
    learner.train(random_batch(learner.args, (2, 4), seed=1), t_env=0, episode_num=3)
    assert len(drawn) == 2  # one draw for the newest episodes, one for the replayed ones
    assert th.equal(entered[0][2:], updated_with[0].subteams)
    assert updated_with[0] in drawn


@pytest.mark.parametrize("alg", ALGS)
@pytest.mark.parametrize("assigner", assigner_REGISTRY)
@pytest.mark.parametrize("train_on_newest", [False, True])
def test_padded_steps_change_no_update(alg, assigner, train_on_newest):
    weights = []
    for spoil in (False, True):
        learner = make_learner(vast_args(alg, assigner=assigner, eta=0.6, train_on_newest=train_on_newest))
        batches = [random_batch(learner.args, LENGTHS, CUT, seed=seed) for seed in (1, 2)]
        if spoil:
            batches = [spoil_padding(batch, LENGTHS) for batch in batches]
        learner.observe(batches[0], t_env=0, episode_num=3)
        learner.train(batches[1], t_env=0, episode_num=3)
        parameters = [*learner.params, *learner.assigner.parameters()]
        weights.append(th.cat([parameter.detach().flatten() for parameter in parameters]))
    assert th.isfinite(weights[0]).all()
    th.testing.assert_close(*weights)


# --- statistics ---

DIVISION_STATS = {"subteams_active_share", "assignment_entropy"}
ASSIGNER_STATS = {"assigner_loss", "assigner_advantage", "assigner_entropy", "assigner_grad_norm"}


@pytest.mark.parametrize("alg", ALGS)
@pytest.mark.parametrize("assigner", assigner_REGISTRY)
def test_divisions_and_the_assigners_learning_are_logged(alg, assigner):
    learner = make_learner(vast_args(alg, assigner=assigner, eta=0.6, learner_log_interval=1))
    batch = random_batch(learner.args, (2,) * 10)
    learner.observe(batch, t_env=0, episode_num=10)
    learner.train(batch, t_env=0, episode_num=10)
    logged = {key: values[-1][1] for key, values in learner.logger.stats.items()}
    assert logged.keys() >= {"loss", "grad_norm", "division_diversity"} | DIVISION_STATS
    assert (logged.keys() >= ASSIGNER_STATS) == (assigner == "metagrad")
    assert all(math.isfinite(value) for value in logged.values())
    assert 0.333 <= logged["subteams_active_share"] <= 1
    assert 0 <= logged["assignment_entropy"] <= math.log(3) + 1e-6


def test_logged_division_of_a_fixed_assigner_worked_out_by_hand():
    learner = make_learner(vast_args("vast_vdn", assigner="fixed", eta=0.6))  # 0 1 2 0 1
    batch = random_batch(learner.args, (2,) * 10)
    learner.observe(batch, t_env=0, episode_num=10)
    learner.train(batch, t_env=0, episode_num=10)
    logged = {key: values[-1][1] for key, values in learner.logger.stats.items()}
    assert logged["subteams_active_share"] == 1
    assert logged["assignment_entropy"] == pytest.approx(-2 * 0.4 * math.log(0.4) - 0.2 * math.log(0.2))
    assert logged["division_diversity"] == 1


def test_diversity_is_not_logged_before_ten_training_episodes():
    learner = make_learner(vast_args("vast_vdn", learner_log_interval=1))
    batch = random_batch(learner.args, (2,) * 9)
    learner.observe(batch, t_env=0, episode_num=9)
    learner.train(batch, t_env=0, episode_num=9)
    assert "loss" in learner.logger.stats and "division_diversity" not in learner.logger.stats


# --- files ---


def test_the_assigner_is_saved_and_loaded_with_the_models(tmp_path):
    learner = make_learner(vast_args("vast_qmix", eta=0.6))
    batch = random_batch(learner.args, LENGTHS, CUT)
    learner.observe(batch, t_env=0, episode_num=3)
    learner.train(batch, t_env=0, episode_num=3)
    learner.save_models(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {
        *("agent.th", "mixer.th", "opt.th", "assigner.th", "assigner_opt.th")
    }
    loaded = make_learner(vast_args("vast_qmix", eta=0.6), weights=1)
    assert not th.equal(loaded.assigner.logits(batch), learner.assigner.logits(batch))
    loaded.load_models(str(tmp_path))
    assert th.equal(loaded.assigner.logits(batch), learner.assigner.logits(batch))
    assert same_weights(loaded.mixer, learner.mixer) and same_weights(loaded.target_mixer, learner.mixer)
    states = [part.division.meta_gradient.optimiser.state_dict()["state"][0]["exp_avg"] for part in (loaded, learner)]
    assert th.equal(*states)


@pytest.mark.parametrize("name", ["assigner.th", "assigner_opt.th"])
def test_a_checkpoint_without_the_assigner_is_an_error(tmp_path, name):
    learner = make_learner(vast_args("vast_qmix"))
    learner.save_models(str(tmp_path))
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"{name}' is missing"):
        learner.load_models(str(tmp_path))


def test_a_checkpoint_of_another_number_of_subteams_is_an_error(tmp_path):
    make_learner(vast_args("vast_vdn", eta=0.6)).save_models(str(tmp_path))
    with pytest.raises(UserError, match="assigner.th' does not fit this run: fc3.weight"):
        make_learner(vast_args("vast_vdn", eta=1.0)).load_models(str(tmp_path))


def test_an_assigner_that_does_not_learn_has_no_file(tmp_path):
    learner = make_learner(vast_args("vast_qmix", assigner="random"))
    learner.save_models(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"agent.th", "mixer.th", "opt.th"}
    learner.load_models(str(tmp_path))


def test_the_mixer_is_a_vast_mixer_for_each_algorithm():
    for alg, psi in zip(ALGS, (None, "VDNMixer", "QMixer", "QTran"), strict=True):
        mixer = make_learner(vast_args(alg)).mixer
        assert isinstance(mixer, VastMixer)
        assert (None if mixer.psi is None else type(mixer.psi).__name__) == psi
