"""Q-learning: its loss and gradients against a slow reference, target network, statistics."""

import copy

import pytest
import torch as th
from helpers import make_args, make_logger, make_scheme, random_batch, randomise
from learner_helpers import value_loss

from controllers.basic_controller import BasicMAC
from learners.q_learner import QLearner
from modules.mixers import REGISTRY as MIXERS

# Terminated and cut episodes, each ending before the end of the batch, and at its end.
LENGTHS, CUT = (3, 5, 2, 5, 1, 1), (1, 2, 4)


def make_learner(alg="vdn", logger=None, **overrides):
    """A learner whose target network differs from the online one."""
    args = make_args(alg, **overrides)
    scheme = random_batch(args).scheme
    mac = BasicMAC(scheme, make_scheme(args)[1], args)
    learner = QLearner(mac, scheme, logger or make_logger(), args)
    randomise(learner.mac.agent, seed=1)
    randomise(learner.target_mac.agent, seed=2)
    if learner.mixer is not None:
        randomise(learner.mixer, seed=3)
        randomise(learner.target_mixer, seed=4)
    return learner


def make_batch(learner, max_seq_length=None):
    return random_batch(learner.args, LENGTHS, CUT, max_seq_length)


# --- the reference: one episode, one step, one agent at a time ---


def all_q_values(mac, batch):
    mac.init_hidden(batch.batch_size)
    return [mac.forward(batch, t=t) for t in range(batch.max_seq_length)]


def best_available(q, avail):
    return max((a for a in range(len(q)) if avail[a]), key=lambda a: q[a].item())


def mix(mixer, values, state):
    """The mixed values of one step: Q_tot, or those of all agents without a mixer."""
    values = th.stack(values)
    return values if mixer is None else mixer(values.view(1, 1, -1), state.view(1, 1, -1)).view(1)


def reference_loss(learner, batch):
    args = learner.args
    q, target_q = all_q_values(learner.mac, batch), all_q_values(learner.target_mac, batch)
    errors = []
    for b, length in enumerate(LENGTHS):
        state, avail, actions = batch["state"][b], batch["avail_actions"][b], batch["actions"][b, :, :, 0]
        mixed, next_values = [], []
        for t in range(length):
            taken = [q[t][b, i, actions[t, i]] for i in range(args.n_agents)]
            mixed.append(mix(learner.mixer, taken, state[t]))
            chooser = q if args.double_q else target_q
            best = [best_available(chooser[t + 1][b, i], avail[t + 1, i]) for i in range(args.n_agents)]
            ahead = [target_q[t + 1][b, i, best[i]] for i in range(args.n_agents)]
            next_values.append(mix(learner.target_mixer, ahead, state[t + 1]).detach())
        target = th.zeros(1) if b not in CUT else next_values[-1]
        for t in reversed(range(length)):
            if t < length - 1:
                target = (1 - args.td_lambda) * next_values[t] + args.td_lambda * target
            target = batch["reward"][b, t] + args.gamma * target
            errors += list(mixed[t] - target)
    return th.stack(errors).square().mean()


def gradients(learner, loss):
    return th.autograd.grad(loss, learner.params)


@pytest.mark.parametrize("td_lambda", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("double_q", [True, False])
@pytest.mark.parametrize("alg", ["iql", "vdn", "qmix"])
def test_loss_and_gradients_against_the_reference(alg, double_q, td_lambda):
    learner = make_learner(alg, double_q=double_q, td_lambda=td_lambda)
    batch = make_batch(learner)
    loss, expected = value_loss(learner, batch)[0], reference_loss(learner, batch)
    th.testing.assert_close(loss, expected)
    for grad, reference in zip(gradients(learner, loss), gradients(learner, expected), strict=True):
        th.testing.assert_close(grad, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("td_lambda", [0.0, 0.5])
def test_padding_changes_nothing(td_lambda):
    learner = make_learner("qmix", td_lambda=td_lambda)
    loss, padded = (
        value_loss(learner, make_batch(learner))[0],
        value_loss(learner, make_batch(learner, max_seq_length=9))[0],
    )
    th.testing.assert_close(padded, loss)


def test_double_q_and_the_target_networks_own_choice_differ():
    losses = []
    for double_q in (True, False):
        learner = make_learner("vdn", double_q=double_q)
        losses.append(value_loss(learner, make_batch(learner))[0])
    assert not th.isclose(*losses)


def test_no_gradient_reaches_the_target_networks():
    learner = make_learner("qmix")
    value_loss(learner, make_batch(learner))[0].backward()
    targets = [*learner.target_mac.parameters(), *learner.target_mixer.parameters()]
    assert all(parameter.grad is None for parameter in targets)


# --- updates ---


def state_of(module):
    return copy.deepcopy(module.state_dict())


def equal(module, state):
    return all(th.equal(value, state[key]) for key, value in module.state_dict().items())


def test_an_update_moves_agents_and_mixer_but_not_the_target_networks():
    learner = make_learner("qmix")
    agent, mixer = state_of(learner.mac.agent), state_of(learner.mixer)
    targets = state_of(learner.target_mac.agent), state_of(learner.target_mixer)
    learner.train(make_batch(learner), t_env=0, episode_num=1)
    assert not equal(learner.mac.agent, agent) and not equal(learner.mixer, mixer)
    assert equal(learner.target_mac.agent, targets[0]) and equal(learner.target_mixer, targets[1])


def test_an_update_is_one_clipped_rmsprop_step():
    """RMSprop by hand: after the first step the mean square is (1 - alpha) * g^2."""
    learner = make_learner("qmix", grad_norm_clip=0.5, lr=0.01, optim_alpha=0.9, optim_eps=1e-3)
    batch = make_batch(learner)
    grads = gradients(learner, reference_loss(learner, batch))
    norm = th.cat([grad.flatten() for grad in grads]).norm()
    assert norm > 0.5
    expected = []
    for parameter, grad in zip(learner.params, grads, strict=True):
        clipped = grad * 0.5 / norm
        expected.append(parameter.detach() - 0.01 * clipped / ((0.1 * clipped**2).sqrt() + 1e-3))
    learner.train(batch, t_env=0, episode_num=1)
    for parameter, wanted in zip(learner.params, expected, strict=True):
        th.testing.assert_close(parameter.detach(), wanted, rtol=1e-4, atol=1e-5)


def test_repeated_updates_fit_a_fixed_target():
    learner = make_learner("vdn", lr=0.005, gamma=0.0)
    batch = make_batch(learner)
    first = value_loss(learner, batch)[0].item()
    for episode in range(60):
        learner.train(batch, t_env=0, episode_num=episode)
    assert value_loss(learner, batch)[0].item() < 0.1 * first


def test_target_networks_follow_every_so_many_episodes():
    learner = make_learner("qmix", target_update_interval=10)
    batch = make_batch(learner)
    followed = []
    for episode in (1, 9, 10, 11, 19, 20, 45, 54, 55):
        learner.train(batch, t_env=0, episode_num=episode)
        followed.append(
            equal(learner.target_mac.agent, learner.mac.agent.state_dict())
            and equal(learner.target_mixer, learner.mixer.state_dict())
        )
    assert followed == [False, False, True, False, False, True, True, False, True]


def test_targets_start_as_copies_of_their_own():
    args = make_args("qmix")
    scheme = random_batch(args).scheme
    learner = QLearner(BasicMAC(scheme, make_scheme(args)[1], args), scheme, make_logger(), args)
    assert equal(learner.target_mac.agent, learner.mac.agent.state_dict())
    assert equal(learner.target_mixer, learner.mixer.state_dict())
    online = {id(parameter) for parameter in learner.params}
    assert not online & {id(parameter) for parameter in learner.target_mac.parameters()}
    assert not online & {id(parameter) for parameter in learner.target_mixer.parameters()}


# --- a mixer of one's own ---


class Weighted(th.nn.Module):
    """In PyMARL's form; agent i counts i + 1 times."""

    def __init__(self, args):
        super().__init__()
        self.weights = th.arange(1.0, args.n_agents + 1)

    def forward(self, agent_qs, states):
        return (agent_qs * self.weights).sum(-1, keepdim=True)


def test_a_registered_mixer_is_learnt_through(monkeypatch):
    monkeypatch.setitem(MIXERS, "weighted", Weighted)
    learner = make_learner("vdn", mixer="weighted")
    batch = make_batch(learner)
    th.testing.assert_close(value_loss(learner, batch)[0], reference_loss(learner, batch))


# --- statistics ---


def test_statistics_of_an_update():
    logger = make_logger()
    learner = make_learner("vdn", logger)
    batch = make_batch(learner)
    expected = reference_loss(learner, batch)
    q = all_q_values(learner.mac, batch)
    taken = [
        q[t][b, i, batch["actions"][b, t, i, 0]].item()
        for b, length in enumerate(LENGTHS)
        for t in range(length)
        for i in range(3)
    ]
    learner.train(batch, t_env=7, episode_num=1)
    assert {key: values[0][0] for key, values in logger.stats.items()} == dict.fromkeys(
        ("loss", "grad_norm", "td_error_abs", "q_taken_mean", "target_mean"), 7
    )
    assert logger.stats["loss"][0][1] == pytest.approx(expected.item(), rel=1e-4)
    assert logger.stats["q_taken_mean"][0][1] == pytest.approx(sum(taken) / len(taken), rel=1e-4)


def test_statistics_are_written_at_intervals():
    logger = make_logger()
    learner = make_learner("vdn", logger, learner_log_interval=100)
    batch = make_batch(learner)
    for t_env in (3, 50, 102, 103, 150, 203, 400):
        learner.train(batch, t_env, episode_num=1)
    assert [t for t, _ in logger.stats["loss"]] == [3, 103, 203, 400]
