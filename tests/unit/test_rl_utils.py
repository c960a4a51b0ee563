"""Targets, masks and losses against hand-computed numbers and slow references."""

import math

import numpy as np
import pytest
import torch as th

from components import probabilities
from components.probabilities import entropy, epsilon_greedy_probs
from utils import rl_utils
from utils.rl_utils import (
    build_td_lambda_targets,
    expected_value_advantages,
    gradient_snr,
    mask_unavailable,
    masked_mean,
    policy_gradient_loss,
    qtran_nopt_loss,
    qtran_opt_loss,
    standardised_advantages,
    td_lambda_targets,
    td_loss,
    transition_mask,
)

GAMMA = 0.9
STEPS = 8  # of the batches below, 7 transitions at most


class Episode:
    """One episode as a list of transitions, and how it lies in a batch of ``STEPS`` steps."""

    def __init__(self, length, terminated, seed):
        rng = np.random.default_rng(seed)
        self.length, self.terminated = length, terminated
        self.rewards = rng.normal(size=length).tolist()
        self.values = rng.normal(size=(length + 1, 2)).tolist()  # of the states 0..length, two values each

    def targets(self, td_lambda):
        """Of every transition, by the recursion over the episode's own transitions."""
        return [self._return(t, td_lambda) for t in range(self.length)]

    def _return(self, t, td_lambda):
        last = t == self.length - 1
        if last and self.terminated:
            return [self.rewards[t]] * 2
        if last:
            ahead = self.values[t + 1]
        else:
            further = self._return(t + 1, td_lambda)
            ahead = [(1 - td_lambda) * v + td_lambda * g for v, g in zip(self.values[t + 1], further, strict=True)]
        return [self.rewards[t] + GAMMA * a for a in ahead]

    def write(self, row, rewards, terminated, filled, values):
        rewards[row, : self.length, 0] = th.tensor(self.rewards)
        terminated[row, self.length - 1, 0] = self.terminated
        filled[row, : self.length + 1] = 1
        values[row, : self.length + 1] = th.tensor(self.values)


EPISODES = {
    "terminated": Episode(4, True, seed=0),
    "terminated in the last transition": Episode(STEPS - 1, True, seed=1),
    "cut in the middle of the batch": Episode(3, False, seed=2),
    "cut in the last transition": Episode(STEPS - 1, False, seed=3),
    "one step, terminated": Episode(1, True, seed=4),
    "one step, cut": Episode(1, False, seed=5),
}


@pytest.fixture
def batch():
    """(rewards, terminated, filled, values) of all episodes; what lies behind an episode is rubbish but unfilled."""
    generator = th.Generator().manual_seed(7)
    rows = len(EPISODES)
    rewards = th.randn(rows, STEPS, 1, generator=generator)
    values = th.randn(rows, STEPS, 2, generator=generator)
    terminated = th.zeros(rows, STEPS, 1, dtype=th.uint8)
    filled = th.zeros(rows, STEPS, 1, dtype=th.long)
    for row, episode in enumerate(EPISODES.values()):
        episode.write(row, rewards, terminated, filled, values)
    return rewards, terminated, filled, values


# --- which steps are transitions ---


def test_the_mask_counts_the_transitions_of_each_episode(batch):
    _, terminated, filled, _ = batch
    mask = transition_mask(filled, terminated)
    assert mask.shape == (len(EPISODES), STEPS - 1, 1) and mask.dtype == th.float32
    for row, episode in enumerate(EPISODES.values()):
        expected = [1] * episode.length + [0] * (STEPS - 1 - episode.length)
        assert mask[row, :, 0].tolist() == expected


def test_the_mask_ignores_what_follows_a_termination():
    """PyMARL's convention: steps behind a termination may be filled, and do not count."""
    filled = th.ones(1, 5, 1)
    terminated = th.tensor([0.0, 1, 0, 1, 0]).view(1, 5, 1)
    assert transition_mask(filled, terminated).flatten().tolist() == [1, 1, 0, 0]


def test_the_mask_counts_a_termination_without_a_stored_final_state():
    filled = th.tensor([1.0, 1, 0, 0]).view(1, 4, 1)
    terminated = th.tensor([0.0, 1, 0, 0]).view(1, 4, 1)
    assert transition_mask(filled, terminated).flatten().tolist() == [1, 1, 0]


# --- TD(lambda) ---


@pytest.mark.parametrize("td_lambda", [0.0, 0.5, 0.8, 1.0])
def test_td_lambda_against_the_recursion_over_each_episode(batch, td_lambda):
    rewards, terminated, filled, values = batch
    mask = transition_mask(filled, terminated)
    targets = td_lambda_targets(rewards[:, :-1], terminated[:, :-1].float(), mask, values[:, 1:], GAMMA, td_lambda)
    assert targets.shape == values[:, 1:].shape
    for row, (name, episode) in enumerate(EPISODES.items()):
        expected = th.tensor(episode.targets(td_lambda))
        th.testing.assert_close(targets[row, : episode.length], expected, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("td_lambda", [0.0, 0.5, 1.0])
def test_td_lambda_does_not_look_behind_an_episode(batch, td_lambda):
    rewards, terminated, filled, values = batch
    mask = transition_mask(filled, terminated)

    def targets():
        return td_lambda_targets(rewards[:, :-1], terminated[:, :-1].float(), mask, values[:, 1:], GAMMA, td_lambda)

    before = targets()
    behind = filled == 0
    rewards += 100 * behind
    values += 100 * behind
    th.testing.assert_close(targets() * mask, before * mask)


def test_td_lambda_in_numbers():
    """Rewards 1, 2, 3; values of the next states 10, 20, 30; gamma 1/2, lambda 1/2."""
    rewards = th.tensor([1.0, 2.0, 3.0]).view(1, 3, 1)
    values = th.tensor([10.0, 20.0, 30.0]).view(1, 3, 1)
    mask = th.ones(1, 3, 1)
    terminated = th.tensor([0.0, 0.0, 1.0]).view(1, 3, 1)
    # 3;  2 + (20 + 3) / 4 = 7.75;  1 + (10 + 7.75) / 4 = 5.4375
    assert td_lambda_targets(rewards, terminated, mask, values, 0.5, 0.5).flatten().tolist() == [5.4375, 7.75, 3.0]
    # cut: 3 + 30 / 2 = 18;  2 + (20 + 18) / 4 = 11.5;  1 + (10 + 11.5) / 4 = 6.375
    cut = th.zeros(1, 3, 1)
    assert td_lambda_targets(rewards, cut, mask, values, 0.5, 0.5).flatten().tolist() == [6.375, 11.5, 18.0]


def test_lambda_one_of_a_terminated_episode_is_its_discounted_return():
    rewards = th.tensor([1.0, 2.0, 4.0]).view(1, 3, 1)
    terminated = th.tensor([0.0, 0.0, 1.0]).view(1, 3, 1)
    targets = td_lambda_targets(rewards, terminated, th.ones(1, 3, 1), th.full((1, 3, 1), 77.0), 0.5, 1.0)
    assert targets.flatten().tolist() == [3.0, 4.0, 4.0]


@pytest.mark.parametrize("td_lambda", [0.0, 0.5, 1.0])
def test_pymarls_name_takes_the_values_of_all_steps(batch, td_lambda):
    rewards, terminated, filled, values = batch
    mask = transition_mask(filled, terminated)
    targets = build_td_lambda_targets(rewards[:, :-1], terminated[:, :-1].float(), mask, values, 5, GAMMA, td_lambda)
    for row, episode in enumerate(EPISODES.values()):
        th.testing.assert_close(targets[row, : episode.length], th.tensor(episode.targets(td_lambda)))


def test_td_lambda_leaves_its_inputs_alone(batch):
    rewards, terminated, filled, values = batch
    inputs = rewards[:, :-1], terminated[:, :-1].float(), transition_mask(filled, terminated), values[:, 1:]
    before = [tensor.clone() for tensor in inputs]
    td_lambda_targets(*inputs, GAMMA, 0.5)
    assert all(th.equal(tensor, copy) for tensor, copy in zip(inputs, before, strict=True))


# --- means and the TD loss ---


def test_masked_mean_broadcasts_the_mask_over_the_last_dimension():
    values = th.tensor([[[1.0, 3.0], [5.0, 7.0], [100.0, 100.0]]])
    mask = th.tensor([1.0, 1.0, 0.0]).view(1, 3, 1)
    assert masked_mean(values, mask).item() == 4.0


def test_masked_mean_of_nothing_is_zero():
    assert masked_mean(th.ones(1, 2, 1), th.zeros(1, 2, 1)).item() == 0.0


def test_td_loss_in_numbers():
    values = th.tensor([1.0, 2.0, 9.0]).view(1, 3, 1).requires_grad_()
    targets = th.tensor([4.0, 0.0, 0.0]).view(1, 3, 1).requires_grad_()
    mask = th.tensor([1.0, 1.0, 0.0]).view(1, 3, 1)
    loss = td_loss(values, targets, mask)
    assert loss.item() == (9 + 4) / 2
    loss.backward()
    assert values.grad.flatten().tolist() == [-3.0, 2.0, 0.0]  # 2 * error / 2
    assert targets.grad is None


# --- QTRAN's constraints ---

MASK = th.tensor([1.0, 1.0, 1.0, 0.0]).view(1, 4, 1)


def leaf(*numbers):
    return th.tensor([float(number) for number in numbers]).view(1, -1, 1).requires_grad_()


def test_opt_loss_squares_the_whole_bracket():
    total, joint, v = leaf(1, 2, 3, 50), leaf(4, 0, 3, 0), leaf(1, 1, -2, 0)
    loss = qtran_opt_loss(total, joint, v, MASK)
    # brackets 1 - 4 + 1 = -2, 2 - 0 + 1 = 3, 3 - 3 - 2 = -2; the fourth step does not count
    assert loss.item() == pytest.approx((4 + 9 + 4) / 3)
    loss.backward()
    expected = th.tensor([-2, 3, -2, 0]) * 2 / 3
    th.testing.assert_close(total.grad.flatten(), expected)
    th.testing.assert_close(v.grad.flatten(), expected)
    assert joint.grad is None


def test_nopt_loss_counts_only_negative_brackets():
    total, joint, v = leaf(1, 2, 3, -50), leaf(4, 0, 3, 0), leaf(1, 1, -2, 0)
    loss = qtran_nopt_loss(total, joint, v, MASK)
    # brackets -2, 3 and -2; the positive one costs nothing
    assert loss.item() == pytest.approx((4 + 0 + 4) / 3)
    loss.backward()
    expected = th.tensor([-2, 0, -2, 0]) * 2 / 3
    th.testing.assert_close(total.grad.flatten(), expected)
    th.testing.assert_close(v.grad.flatten(), expected)
    assert joint.grad is None


def test_both_losses_vanish_where_the_sum_explains_the_joint_value():
    total, joint, v = leaf(1, 2, 3, 4), leaf(2, 5, 3, 4), leaf(1, 3, 0, 0)
    assert qtran_opt_loss(total, joint, v, MASK).item() == 0
    assert qtran_nopt_loss(total, joint, v, MASK).item() == 0


# --- policies ---


def test_advantages_are_standardised_by_what_counts_of_their_step():
    advantages = th.tensor([[[1.0, 5.0], [1e9, 3.0]], [[6.0, 1e9], [7.0, 11.0]]])
    mask = th.tensor([[[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]])
    standardised = standardised_advantages(advantages, mask)
    centred = np.array([1.0 - 4.0, 5.0 - 4.0, 3.0 - 7.0, 6.0 - 4.0, 7.0 - 7.0, 11.0 - 7.0])
    np.testing.assert_allclose(standardised[mask > 0], centred / np.std(centred), rtol=1e-6)


def test_a_mask_of_steps_counts_for_all_agents():
    standardised = standardised_advantages(th.tensor([[[2.0, 4.0], [9.0, 5.0]]]), th.tensor([[[1.0], [0.0]]]))
    assert standardised[0, 0].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, -28.37, 400.3, 1e6 + 0.3, 1e-12])
def test_equal_advantages_of_a_step_are_standardised_to_zeros(value):
    of_step = value * th.tensor([1.0, -3.0]).view(1, 2, 1)
    standardised = standardised_advantages(of_step.expand(10, 2, 200), th.ones(10, 2, 1))
    assert float(standardised.abs().max()) < 0.01  # the rounding of their mean is not blown up


def test_nothing_is_standardised_to_finite_numbers():
    assert standardised_advantages(th.ones(1, 3, 2), th.zeros(1, 3, 1)).isfinite().all()


def test_the_entropy_is_that_of_a_loop_and_its_gradient_finite_for_certain_actions():
    policies = th.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 0.0]], requires_grad=True)
    expected = [-sum(p * math.log(p) for p in row if p > 0) for row in policies.tolist()]
    entropies = entropy(policies)
    np.testing.assert_allclose(entropies.detach(), expected, atol=1e-7)
    entropies.sum().backward()
    assert policies.grad is not None and policies.grad.isfinite().all()
    assert policies.grad[2].tolist() == pytest.approx([-math.log(p) - 1 for p in (0.2, 0.3, 0.5)], rel=1e-6)


def test_masked_actions_are_never_the_best():
    q = th.tensor([[5.0, -1e6, -2e6]])
    avail = th.tensor([[0, 1, 1]])
    assert mask_unavailable(q, avail).argmax(-1).item() == 1
    assert mask_unavailable(q, avail)[0, 1:].tolist() == [-1e6, -2e6]
    assert q.tolist() == [[5.0, -1e6, -2e6]]


def test_a_row_without_available_actions_stays_finite():
    assert mask_unavailable(th.ones(1, 3), th.zeros(1, 3)).isfinite().all()


def test_epsilon_greedy_probabilities_in_numbers():
    q = th.tensor([[1.0, 9.0, 3.0, 2.0]])
    avail = th.tensor([[1, 0, 1, 1]])
    th.testing.assert_close(epsilon_greedy_probs(q, avail, 0.3), th.tensor([[0.1, 0.0, 0.8, 0.1]]))
    th.testing.assert_close(epsilon_greedy_probs(q, avail, 0.0), th.tensor([[0.0, 0.0, 1.0, 0.0]]))
    th.testing.assert_close(epsilon_greedy_probs(q, avail, 1.0), th.tensor([[1 / 3, 0.0, 1 / 3, 1 / 3]]))


def test_epsilon_greedy_probabilities_with_an_epsilon_for_each_episode():
    q, avail = th.randn(2, 3, 5, 4), th.ones(2, 3, 5, 4)
    probabilities = epsilon_greedy_probs(q, avail, th.tensor([0.0, 0.4]).view(2, 1, 1, 1))
    assert probabilities[0].max(-1).values.eq(1).all()
    assert math.isclose(probabilities[1].max().item(), 0.7, rel_tol=1e-6)
    th.testing.assert_close(probabilities.sum(-1), th.ones(2, 3, 5))


# --- policy gradients ---


def test_expected_value_advantages_in_numbers():
    returns = th.tensor([[[2.0]]])
    q_values = th.tensor([[[[1.0, 3.0], [0.0, 8.0]]]])
    policies = th.tensor([[[[0.5, 0.5], [0.75, 0.25]]]])
    assert expected_value_advantages(returns, q_values, policies).tolist() == [[[0.0, 0.0]]]
    per_agent = th.tensor([[[2.0, 5.0]]])
    assert expected_value_advantages(per_agent, q_values, policies).tolist() == [[[0.0, 3.0]]]


def test_policy_gradient_loss_is_the_masked_mean_and_leaves_advantages_alone():
    log_probs = th.tensor([[[-1.0, -2.0, -3.0]]], requires_grad=True)
    advantages = th.tensor([[[1.0, 4.0, 100.0]]], requires_grad=True)
    loss = policy_gradient_loss(log_probs, advantages, th.tensor([[[1.0, 1.0, 0.0]]]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx((1 + 8) / 2)
    assert log_probs.grad.tolist() == [[[-0.5, -2.0, 0.0]]] and advantages.grad is None


def test_the_signal_to_noise_of_gradients_in_numbers():
    """Mean (2, 1), variances 2 and 8: 2 (4 + 1) / 10."""
    assert float(gradient_snr(th.tensor([[1.0, 3.0], [3.0, -1.0]]))) == pytest.approx(1.0)


def test_the_signal_to_noise_is_about_one_without_a_signal_and_large_with_one():
    generator = th.Generator().manual_seed(0)
    noise, signal = th.randn(200, 10, 50, generator=generator), 0.5
    assert np.mean([float(gradient_snr(sample)) for sample in noise]) == pytest.approx(1, abs=0.05)
    assert np.mean([float(gradient_snr(sample + signal)) for sample in noise]) > 2


def test_gradients_of_zero_have_no_signal():
    assert float(gradient_snr(th.zeros(4, 3))) == 0


def test_discounted_returns_against_a_loop_and_against_td_one_targets():
    rewards, lengths = th.randn(3, 6, 1), (6, 2, 4)
    mask, terminated = th.zeros(3, 6, 1), th.zeros(3, 6, 1)
    for b, length in enumerate(lengths):
        mask[b, :length], terminated[b, length - 1] = 1, 1
    returns = rl_utils.discounted_returns(rewards, mask, 0.9)
    for b, length in enumerate(lengths):
        expected = 0.0
        for t in reversed(range(length)):
            expected = float(rewards[b, t]) + 0.9 * expected
            assert float(returns[b, t]) == pytest.approx(expected, abs=1e-5)
    targets = rl_utils.td_lambda_targets(rewards, terminated, mask, th.randn(3, 6, 1), 0.9, 1.0)
    th.testing.assert_close(returns * mask, targets * mask)


def test_sampling_never_picks_a_weight_of_zero():
    weights = th.zeros(20000, 5)
    weights[:, 1], weights[:, 3] = 1e-3, 3e-3
    drawn = probabilities.sample_categorical(weights, th.Generator().manual_seed(1))
    counts = drawn.bincount(minlength=5).tolist()
    assert counts[0] == counts[2] == counts[4] == 0 and counts[1] == pytest.approx(5000, abs=4 * 62)


@pytest.mark.parametrize("total", [1.0, 1.0 + 2**-23, 0.1, 3.0])
def test_sampling_stays_below_the_total_for_the_largest_draw(total, monkeypatch):
    monkeypatch.setattr(th, "rand", lambda *_, **__: th.tensor([1 - 2**-24]))
    assert int(probabilities.sample_categorical(th.tensor([0.0, total, 0.0]))) == 1
