"""Action selectors, exploration schedules and transforms."""

import math
from types import SimpleNamespace

import pytest
import torch as th

from components.action_selectors import (
    REGISTRY,
    EpsilonGreedyActionSelector,
    MultinomialActionSelector,
    sample_categorical,
)
from components.epsilon_schedules import DecayThenFlatSchedule
from components.transforms import OneHot

SAMPLES = 20_000
# Of one agent; the greedy action of all is not available.
Q = th.tensor([5.0, 1.0, 3.0, 2.0])
AVAIL = th.tensor([0, 1, 1, 1])


@pytest.fixture(autouse=True)
def _seed():
    th.manual_seed(0)


def args(start=1.0, finish=0.0, anneal=100, test_greedy=True):
    return SimpleNamespace(
        epsilon_start=start, epsilon_finish=finish, epsilon_anneal_time=anneal, test_greedy=test_greedy
    )


def choose(selector, values, avail, t_env=0, test_mode=False, samples=SAMPLES):
    """How often each action is chosen by ``samples`` agents that are all alike."""
    values, avail = (row.expand(samples // 10, 10, -1) for row in (values, avail))
    actions = selector.select_action(values, avail, t_env, test_mode=test_mode)
    assert actions.shape == (samples // 10, 10) and actions.dtype == th.long
    return th.bincount(actions.flatten(), minlength=values.shape[-1]) / samples


def assert_frequencies(observed, expected):
    """Within five standard deviations of binomial counts; exact where the probability is 0 or 1."""
    for share, p in zip(observed.tolist(), expected, strict=True):
        assert abs(share - p) <= 5 * math.sqrt(p * (1 - p) / SAMPLES)


def test_pymarls_names_are_registered():
    assert set(REGISTRY) >= {"epsilon_greedy", "multinomial"}


# --- epsilon-greedy ---


def test_without_exploration_the_best_available_action_is_taken():
    selector = EpsilonGreedyActionSelector(args(start=0.0))
    assert choose(selector, Q, AVAIL).tolist() == [0, 0, 1, 0]


def test_full_exploration_is_uniform_over_the_available_actions():
    selector = EpsilonGreedyActionSelector(args(start=1.0))
    assert_frequencies(choose(selector, Q, AVAIL), [0, 1 / 3, 1 / 3, 1 / 3])


def test_exploration_may_pick_the_greedy_action_too():
    selector = EpsilonGreedyActionSelector(args(start=0.6))
    assert_frequencies(choose(selector, Q, AVAIL), [0, 0.2, 0.6, 0.2])


def test_agents_explore_independently():
    selector = EpsilonGreedyActionSelector(args(start=0.5))
    q, avail = th.tensor([9.0, 0.0]).expand(SAMPLES, 2, 2), th.ones(SAMPLES, 2, 2)
    deviates = selector.select_action(q, avail, 0) == 1
    assert_frequencies(deviates.float().mean(0), [0.25, 0.25])
    assert_frequencies(deviates.all(1).float().mean().view(1), [1 / 16])


def test_tests_are_greedy_and_leave_the_generator_alone():
    selector = EpsilonGreedyActionSelector(args(start=1.0))
    before = th.get_rng_state()
    assert choose(selector, Q, AVAIL, test_mode=True).tolist() == [0, 0, 1, 0]
    assert th.equal(th.get_rng_state(), before)
    assert selector.epsilon == 0


def test_epsilon_follows_the_schedule():
    selector = EpsilonGreedyActionSelector(args(start=1.0, finish=0.2, anneal=100))
    epsilons = []
    for t_env in (0, 50, 100, 1000):
        choose(selector, Q, AVAIL, t_env, samples=10)
        epsilons.append(selector.epsilon)
    assert epsilons == pytest.approx([1.0, 0.6, 0.2, 0.2])


@pytest.mark.parametrize("name", ["epsilon_greedy", "multinomial"])
@pytest.mark.parametrize("test_mode", [True, False])
def test_an_unavailable_action_is_never_taken(name, test_mode):
    selector = REGISTRY[name](args(start=0.5))
    avail = (th.rand(500, 8, 6) < 0.3).int()
    avail[..., 4] |= avail.sum(-1) == 0
    values = th.rand(500, 8, 6) + 5 * (1 - avail)  # the unavailable ones look best
    actions = selector.select_action(values, avail, t_env=0, test_mode=test_mode)
    assert avail.gather(-1, actions.unsqueeze(-1)).all()


def test_negative_values_do_not_lose_to_unavailable_actions():
    selector = EpsilonGreedyActionSelector(args(start=0.0))
    assert choose(selector, th.tensor([0.0, -5e5, -7e5]), th.tensor([0, 1, 1])).tolist() == [0, 1, 0]


# --- multinomial ---


def test_multinomial_samples_by_probability():
    selector = MultinomialActionSelector(args())
    assert_frequencies(choose(selector, th.tensor([0.1, 0.6, 0.3]), th.ones(3)), [0.1, 0.6, 0.3])


def test_multinomial_shares_out_the_probability_of_unavailable_actions():
    selector = MultinomialActionSelector(args())
    probabilities, avail = th.tensor([0.5, 0.4, 0.1]), th.tensor([0, 1, 1])
    assert_frequencies(choose(selector, probabilities, avail), [0, 0.8, 0.2])


@pytest.mark.parametrize(("test_greedy", "expected"), [(True, [0, 1, 0]), (False, [0.1, 0.6, 0.3])])
def test_multinomial_tests_are_greedy_if_asked(test_greedy, expected):
    selector = MultinomialActionSelector(args(test_greedy=test_greedy))
    observed = choose(selector, th.tensor([0.1, 0.6, 0.3]), th.ones(3), test_mode=True)
    assert_frequencies(observed, expected)


def test_sampling_can_use_a_generator_of_its_own():
    weights, before = th.rand(50, 3, 6), th.get_rng_state()
    first, second = (sample_categorical(weights, th.Generator().manual_seed(5)) for _ in range(2))
    assert th.equal(first, second) and first.shape == (50, 3)
    assert th.equal(th.get_rng_state(), before)


# --- schedules ---


def test_linear_schedule_in_numbers():
    schedule = DecayThenFlatSchedule(1.0, 0.2, 80, decay="linear")
    assert [schedule.eval(t) for t in (0, 20, 40, 80, 81, 10**9)] == pytest.approx([1.0, 0.8, 0.6, 0.2, 0.2, 0.2])


def test_exponential_schedule_in_numbers():
    schedule = DecayThenFlatSchedule(1.0, 0.01, 100, decay="exp")
    assert [schedule.eval(t) for t in (0, 50, 100, 200)] == pytest.approx([1.0, 0.1, 0.01, 0.01])


def test_exponential_schedule_from_another_start():
    schedule = DecayThenFlatSchedule(0.8, 0.2, 10, decay="exp")
    assert [schedule.eval(t) for t in (0, 5, 10)] == pytest.approx([0.8, 0.4, 0.2])


@pytest.mark.parametrize("decay", ["linear", "exp"])
def test_schedules_at_their_limits(decay):
    assert DecayThenFlatSchedule(1.0, 0.1, 0, decay).eval(0) == pytest.approx(0.1)
    constant = DecayThenFlatSchedule(0.5, 0.5, 10, decay)
    assert [constant.eval(t) for t in (0, 5, 20)] == pytest.approx([0.5, 0.5, 0.5])


def test_an_unknown_decay_is_refused():
    with pytest.raises(ValueError, match="decay: expected 'linear' or 'exp', got 'cosine'"):
        DecayThenFlatSchedule(1.0, 0.1, 10, "cosine")


# --- transforms ---


def test_onehot_in_numbers():
    onehot = OneHot(3).transform(th.tensor([[[2], [0]], [[1], [1]]]))
    assert onehot.tolist() == [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 1, 0]]]
    assert (tuple(onehot.shape[-1:]), onehot.dtype) == OneHot(3).infer_output_info((1,), th.long)
