"""Weighted QMIX, flat and under VAST, against loops over transitions; its networks, weights and files."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch as th
from helpers import random_batch, randomise
from learner_helpers import value_loss
from vast_helpers import make_learner, random_subteams, sums_by_loop, vast_args

from components.unroll import unroll
from utils.errors import UserError

LENGTHS, CUT = (3, 6, 1), (1,)  # episode 1 was cut by the time limit, the others terminated
ALGS = ("cw_qmix", "ow_qmix", "vast_cw_qmix", "vast_ow_qmix")
EVERY_ALG = pytest.mark.parametrize("alg", ALGS)
N_SUBTEAMS = 3


def wqmix_learner(alg, weights=0, **overrides):
    """A learner whose central networks have random weights, too."""
    learner = make_learner(
        vast_args(alg, **{"eta": 0.6, "central_mixing_embed_dim": 8, "w": 0.3, **overrides}), weights
    )
    objective = learner.values.objective
    parts = (objective.mixer, objective.target_mixer, objective.critic.agent, objective.target_critic.agent)
    for number, part in enumerate(parts):
        randomise(part, seed=50 + 10 * weights + number)
    return learner


def pooled(values, subteams):
    return values if subteams is None else sums_by_loop(values, subteams, N_SUBTEAMS)


def central_by_hand(mixer, values, state):
    """Q* of one step: a network of state and values plus one of the state."""
    return mixer.net(th.cat([state, values])) + mixer.V(state)


def loss_by_loop(learner, batch, subteams, td_lambda=0.0):
    """Both losses and the mean weight, in plain loops."""
    args, objective = learner.args, learner.values.objective
    psi = getattr(learner.mixer, "psi", learner.mixer)
    q = unroll(learner.mac, batch)[0].detach()
    central, target = (unroll(mac, batch)[0].detach() for mac in (objective.critic, objective.target_critic))
    taken, best = th.zeros(q.shape[:3], dtype=th.long), th.zeros(q.shape[:3], dtype=th.long)
    for b, t, i in np.ndindex(*q.shape[:3]):
        taken[b, t, i] = batch["actions"][b, t, i, 0]
        available = [a for a in range(args.n_actions) if batch["avail_actions"][b, t, i, a]]
        best[b, t, i] = max(available or [0], key=lambda a, b=b, t=t, i=i: float(q[b, t, i, a]))

    def of(values, actions):
        return pooled(values.gather(-1, actions.unsqueeze(-1)).squeeze(-1), subteams)

    sums, star_taken, star_best = of(q, taken), of(central, taken), of(central, best)
    star_next = of(target, best)
    qmix, star, weights = [], [], []
    for b, length in enumerate(LENGTHS):
        y = None
        for t in reversed(range(length)):
            state = batch["state"][b, t]
            ahead = float(central_by_hand(objective.target_mixer, star_next[b, t + 1], batch["state"][b, t + 1]))
            if batch["terminated"][b, t, 0]:
                ahead = 0.0
            elif t < length - 1:
                ahead = (1 - td_lambda) * ahead + td_lambda * y
            y = float(batch["reward"][b, t, 0]) + args.gamma * ahead
            q_tot = float(psi(sums[b : b + 1, t : t + 1], state.view(1, 1, -1)))
            greedy_star = float(central_by_hand(objective.mixer, star_best[b, t], state))
            if alg_is_optimistic(learner):
                full = q_tot < y
            else:
                full = bool((taken[b, t] == best[b, t]).all()) or y > greedy_star
            weights.append(1.0 if full else args.w)
            qmix.append(weights[-1] * (q_tot - y) ** 2)
            star.append((float(central_by_hand(objective.mixer, star_taken[b, t], state)) - y) ** 2)
    return np.mean(qmix), np.mean(star), np.mean(weights)


def alg_is_optimistic(learner):
    return learner.args.name.endswith("ow_qmix")


@EVERY_ALG
@pytest.mark.parametrize("td_lambda", [0.0, 0.6])
@pytest.mark.parametrize("seed", [0, 1])
@th.no_grad()
def test_losses_and_weights_are_those_of_loops(alg, td_lambda, seed):
    learner = wqmix_learner(alg, seed, td_lambda=td_lambda, qmix_loss=0.7, central_loss=0.4)
    batch = random_batch(learner.args, LENGTHS, CUT, seed=seed)
    batch["actions"][0, 0] = first_greedy(learner, batch)  # CW: one transition whose joint action is the greedy one
    subteams = random_subteams(N_SUBTEAMS, batch["obs"].shape[:3], seed) if alg.startswith("vast") else None
    loss, stats = value_loss(learner, batch, subteams)
    qmix, central, weight = loss_by_loop(learner, batch, subteams, td_lambda)
    assert float(stats["qmix_loss"]) == pytest.approx(qmix, rel=1e-4)
    assert float(stats["central_loss"]) == pytest.approx(central, rel=1e-4)
    assert float(stats["w_to_use"]) == pytest.approx(weight, rel=1e-5)
    assert float(loss) == pytest.approx(0.7 * qmix + 0.4 * central, rel=1e-4)


@EVERY_ALG
@th.no_grad()
def test_both_weights_occur(alg):
    """So that the loops above have something to tell apart."""
    weights = set()
    for seed in range(8):
        learner = wqmix_learner(alg, seed)
        _, stats = value_loss(learner, random_batch(learner.args, LENGTHS, CUT, seed=seed))
        weights.add(round(float(stats["w_to_use"]), 4))
    assert len(weights) > 3


def first_greedy(learner, batch):
    q = unroll(learner.mac, batch)[0][0, 0].masked_fill(batch["avail_actions"][0, 0] == 0, -th.inf)
    return q.argmax(-1, keepdim=True)


@EVERY_ALG
def test_each_loss_trains_its_own_networks(alg):
    learner = wqmix_learner(alg)
    objective, batch = learner.values.objective, random_batch(learner.args, LENGTHS, CUT)
    _, stats = value_loss(learner, batch)
    mine = [*learner.mac.parameters(), *learner.mixer.parameters()]
    central = [*objective.critic.parameters(), *objective.mixer.parameters()]
    for key, trained, others in (("qmix_loss", mine, central), ("central_loss", central, mine)):
        gradients = th.autograd.grad(stats[key], [*trained, *others], allow_unused=True, retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients[: len(trained)])
        assert all(gradient is None for gradient in gradients[len(trained) :])


@EVERY_ALG
def test_updates_move_all_networks_and_targets_follow_when_due(alg):
    learner = wqmix_learner(alg, target_update_interval=10)
    objective, batch = learner.values.objective, random_batch(learner.args, LENGTHS, CUT)
    pairs = ((objective.mixer, objective.target_mixer), (objective.critic.agent, objective.target_critic.agent))
    for episode, follows in ((9, False), (10, True)):
        before = [parameter.clone() for network, _ in pairs for parameter in network.parameters()]
        learner.train(batch, t_env=0, episode_num=episode)
        after = [parameter for network, _ in pairs for parameter in network.parameters()]
        assert not any(map(th.equal, before, after))
        for network, target in pairs:
            assert all(map(th.equal, network.parameters(), target.parameters())) == follows


@EVERY_ALG
def test_a_checkpoint_holds_the_central_networks(alg, tmp_path):
    saved, loaded = (wqmix_learner(alg, weights, assigner="fixed") for weights in (0, 1))
    saved.train(random_batch(saved.args, LENGTHS, CUT), t_env=0, episode_num=1)
    saved.save_models(str(tmp_path))
    loaded.load_models(str(tmp_path))
    for learner in (saved, loaded):
        learner.values.targets.sync()
        learner.train(random_batch(saved.args, LENGTHS, CUT, seed=3), t_env=1, episode_num=2)
    for mine, theirs in zip(saved.params, loaded.params, strict=True):
        assert th.equal(mine, theirs)


@EVERY_ALG
def test_the_greedy_actions_maximise_q_tot(alg):
    """Theorem 1 of the VAST paper, by brute force: Q_tot is monotone whatever Q* is."""
    learner = wqmix_learner(alg, n_agents=4, eta=0.5, n_actions=3)
    batch = random_batch(learner.args, (2,))
    q = unroll(learner.mac, batch)[0].detach()[:, :1]
    state, psi = batch["state"][:, :1], getattr(learner.mixer, "psi", learner.mixer)
    subteams = random_subteams(2, (1, 1, 4)) if alg.startswith("vast") else None

    def q_tot(actions):
        values = q.gather(-1, th.tensor(actions).view(1, 1, 4, 1)).squeeze(-1)
        return float(psi(values if subteams is None else sums_by_loop(values, subteams, 2), state))

    best = max(q_tot(actions) for actions in itertools.product(range(3), repeat=4))
    assert q_tot(q[0, 0].argmax(-1).tolist()) == pytest.approx(best, rel=1e-6)


def test_the_central_mixer_is_bound_to_no_sign():
    mixer = wqmix_learner("ow_qmix").values.objective.mixer
    values = th.randn(50, 1, 5, requires_grad=True)
    gradient = th.autograd.grad(mixer(values, th.randn(50, 1, mixer.V[0].in_features)).sum(), values)[0]
    assert (gradient > 0).any() and (gradient < 0).any()


def test_policies_are_refused_in_one_line():
    settings = {"agent_output_type": "pi_logits", "action_selector": "multinomial", "evaluate": True}
    with pytest.raises(UserError, match="^agent_output_type: objective=wqmix needs q, got pi_logits$"):
        make_learner(vast_args("cw_qmix", critic_output="q", **settings))
