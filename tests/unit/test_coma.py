"""COMA: the critic against one that copies its inputs for each agent, the learner against loops, files, all domains."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch as th
from helpers import empty_batch, make_args, make_logger, make_scheme, random_batch, randomise
from vast_helpers import vast_args

from components.probabilities import available_probs
from controllers import REGISTRY as mac_REGISTRY
from learners import REGISTRY as learner_REGISTRY
from learners.coma_learner import COMALearner
from learners.mixer_inputs import Grouping
from learners.values import AgentValues, Transitions
from modules.critics import REGISTRY as critic_REGISTRY
from modules.critics.coma import COMACritic
from run import build
from settings.load import CONFIG_DIR, load_config
from utils.errors import UserError

# Terminated and cut episodes, each ending before the end of the batch, and at its end.
LENGTHS, CUT = (3, 5, 2, 5, 1), (1, 2)


def coma_args(**overrides):
    """Small settings; random states let some agents live and others not. Nothing is clipped unless a test says so."""
    return vast_args("coma", **{"gamma": 0.9, "grad_norm_clip": 1e9, **overrides})


def make_critic(args, seed=0):
    return randomise(COMACritic(empty_batch(args).scheme, args), seed, scale=0.3)


def make_coma(args, seed=0):
    """A learner whose agents, critic and target critic all have different random weights."""
    scheme, groups, _ = make_scheme(args)
    full = empty_batch(args).scheme
    learner = learner_REGISTRY["coma_learner"](mac_REGISTRY["basic_mac"](full, groups, args), full, make_logger(), args)
    for number, part in enumerate((learner.mac.agent, learner.critic, learner.target_critic)):
        randomise(part, seed=10 * seed + number, scale=0.3)
    return learner


def make_batch(args, max_seq_length=None, seed=0):
    """Episodes with nonsense behind their ends, where nothing counts."""
    batch = random_batch(args, LENGTHS, CUT, max_seq_length, seed)
    for key in ("state", "obs", "reward"):
        for b, length in enumerate(LENGTHS):
            batch.data.transition_data[key][b, length + 1 :] = 100.0
    return batch


def taken_by(batch, b, t, i):
    """The action of agent i."""
    return int(batch["actions"][b, t, i, 0])


# --- the critic ---


def inputs_by_loop(args, batch, b, t, i):
    """What the critic sees of agent i, entry by entry, in PyMARL's order."""
    n, a = args.n_agents, args.n_actions
    others, last, identity = th.zeros(n, a), th.zeros(n, a), th.zeros(n)
    for j in range(n):
        if j != i:
            others[j] = batch["actions_onehot"][b, t, j]
        if t > 0:
            last[j] = batch["actions_onehot"][b, t - 1, j]
    identity[i] = 1
    parts = (batch["state"][b, t], batch["obs"][b, t, i], others, last, identity)
    return th.cat([part.flatten() for part in parts])


def values_by_loop(critic, args, batch, b, t, i):
    """Q of all actions of agent i, [A]."""
    hidden = th.relu(critic.fc1(inputs_by_loop(args, batch, b, t, i)))
    return critic.fc3(th.relu(critic.fc2(hidden)))


def all_values_by_loop(critic, args, batch):
    """[B, T, N, A]."""
    sizes = (batch.batch_size, batch.max_seq_length, args.n_agents)
    places = th.cartesian_prod(*map(th.arange, sizes)).tolist()
    return th.stack([values_by_loop(critic, args, batch, b, t, i) for b, t, i in places]).view(*sizes, -1)


def test_the_critic_is_the_one_that_copies_its_inputs_for_each_agent():
    args = coma_args()
    critic, batch = make_critic(args), random_batch(args, LENGTHS, CUT)
    values, expected = critic(batch), all_values_by_loop(critic, args, batch)
    assert values.shape == (5, 6, 5, 4)
    th.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)
    weight = th.randn(values.shape, generator=th.Generator().manual_seed(0))
    gradients = [th.autograd.grad((weight * out).sum(), list(critic.parameters())) for out in (values, expected)]
    for gradient, reference in zip(*gradients, strict=True):
        th.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("t", range(6))
def test_the_critic_of_one_step_is_that_of_all_steps_at_this_step(t):
    """Step 0 has no last actions."""
    args = coma_args()
    critic, batch = make_critic(args), make_batch(args)
    values = critic(batch, t)
    assert values.shape == (5, 1, 5, 4)
    th.testing.assert_close(values, critic(batch)[:, t : t + 1], rtol=1e-4, atol=1e-3)


def with_action(batch, i, action, t=2):
    """The batch of which agent i does something else at step t."""
    other = copy.deepcopy(batch)
    actions = other["actions"][:, t].clone()
    actions[:, i] = action
    other.update({"actions": actions.unsqueeze(1)}, ts=t)
    return other


def test_an_agents_own_action_does_not_enter_its_values_and_all_others_do():
    args = coma_args()
    critic, batch = make_critic(args), random_batch(args, (5, 5))
    values = [critic(with_action(batch, 1, action), t=2) for action in range(4)]
    for other in values[1:]:
        th.testing.assert_close(values[0][:, :, 1], other[:, :, 1])
        for i in (0, 2, 3, 4):
            assert not th.isclose(values[0][:, :, i], other[:, :, i]).any()


def test_shapes_of_more_than_one_dimension_are_flattened():
    """An environment may give them; the order is that of the entries."""
    args = coma_args()
    flat = empty_batch(args).scheme
    scheme = {**flat, "state": {"vshape": (1, 17)}, "obs": {"vshape": (2, 1), "group": "agents"}}
    critic, batch = COMACritic(scheme, args), make_batch(args)
    values = critic(batch)
    data = batch.data.transition_data
    data["state"], data["obs"] = data["state"].unsqueeze(2), data["obs"].unsqueeze(-1)
    assert th.equal(critic(batch), values)


def test_the_parameters_have_pymarls_names_and_shapes():
    args = coma_args()
    inputs = 17 + 2 + 2 * 5 * 4 + 5
    assert {name: tuple(value.shape) for name, value in make_critic(args).state_dict().items()} == {
        **{"fc1.weight": (128, inputs), "fc1.bias": (128,), "fc2.weight": (128, 128), "fc2.bias": (128,)},
        **{"fc3.weight": (4, 128), "fc3.bias": (4,)},
    }


def test_no_tensor_has_the_joint_action_once_for_each_agent():
    """At N = 200 such a tensor would have 400,000 entries a step; the largest here is the hidden layer's."""
    args = make_args("coma", n_agents=200, n_actions=10, state_shape=1, obs_shape=1)
    critic, sizes = COMACritic(empty_batch(args).scheme, args), []
    with th.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        critic(random_batch(args, (1, 1))).sum().backward()
    steps = 2 * 2
    assert max(sizes) <= max(steps * 200 * 128, 128 * critic.fc1.in_features)


def test_actions_of_another_shape_are_refused():
    args = coma_args()
    critic = make_critic(coma_args(n_agents=4))
    with pytest.raises(ValueError, match=r"actions_onehot: expected shape \(5, 6, 4, 4\), got \(5, 6, 5, 4\)"):
        critic(make_batch(args))


# --- targets ---


def targets_by_loop(learner, batch):
    """G_t of each agent by (episode, step), from the end of each episode back."""
    args, values = learner.args, all_values_by_loop(learner.target_critic, learner.args, batch).detach()
    targets = {}
    for b, length in enumerate(LENGTHS):
        for t in reversed(range(length)):
            ahead = []
            for i in range(args.n_agents):
                value = float(values[b, t + 1, i, taken_by(batch, b, t + 1, i)])
                if t == length - 1:
                    value = value if b in CUT else 0.0
                else:
                    value = (1 - args.td_lambda) * value + args.td_lambda * targets[b, t + 1][i]
                ahead.append(value)
            targets[b, t] = [float(batch["reward"][b, t, 0]) + args.gamma * value for value in ahead]
    return targets


@pytest.mark.parametrize("max_seq_length", [None, 9])
@pytest.mark.parametrize("td_lambda", [0.0, 0.8, 1.0])
def test_targets_are_those_of_the_target_critics_values_of_the_taken_actions(td_lambda, max_seq_length):
    learner = make_coma(coma_args(td_lambda=td_lambda))
    batch = make_batch(learner.args, max_seq_length)
    targets = learner.values.td_targets(batch, Transitions.of(batch))
    assert not targets.requires_grad
    for (b, t), expected in targets_by_loop(learner, batch).items():
        th.testing.assert_close(targets[b, t], th.tensor(expected), rtol=1e-4, atol=1e-4)


# --- the critic's training ---


def rmsprop_step(args, lr, parameters, gradients, squares):
    """One step by hand, in place: mean squares first, then parameters. Returns the gradient's norm before clipping."""
    norm = th.cat([gradient.flatten() for gradient in gradients]).norm()
    factor = min(1.0, args.grad_norm_clip / float(norm))
    with th.no_grad():
        for parameter, gradient, square in zip(parameters, gradients, squares, strict=True):
            clipped = factor * gradient
            square.mul_(args.optim_alpha).add_((1 - args.optim_alpha) * clipped**2)
            parameter -= lr * clipped / (square.sqrt() + args.optim_eps)
    return float(norm)


def critic_training_by_loop(learner, batch):
    """A copy of the critic, trained from the last step to the first: (it, values by (b, t, i), statistics by step)."""
    args, targets = learner.args, targets_by_loop(learner, batch)
    critic = copy.deepcopy(learner.critic)
    parameters = list(critic.parameters())
    squares = [th.zeros_like(parameter) for parameter in parameters]
    values, stats = {}, []
    for t in reversed(range(max(LENGTHS))):
        errors, taken, wanted = [], [], []
        for b, length in enumerate(LENGTHS):
            for i in range(args.n_agents):
                if t < length:
                    values[b, t, i] = values_by_loop(critic, args, batch, b, t, i)
                    taken.append(values[b, t, i][taken_by(batch, b, t, i)])
                    wanted.append(targets[b, t][i])
                    errors.append(taken[-1] - wanted[-1])
        loss = sum(error**2 for error in errors) / len(errors)
        norm = rmsprop_step(args, args.critic_lr, parameters, th.autograd.grad(loss, parameters), squares)
        columns = ([abs(error.item()) for error in errors], [value.item() for value in taken], wanted)
        stats.append([float(loss.detach()), norm, *(sum(column) / len(column) for column in columns)])
    return critic, values, stats


@pytest.mark.parametrize("grad_norm_clip", [1e9, 0.5])
def test_the_critic_is_trained_step_by_step_from_the_last_to_the_first(grad_norm_clip):
    learner = make_coma(coma_args(critic_lr=0.01, optim_eps=1e-3, grad_norm_clip=grad_norm_clip))
    batch = make_batch(learner.args)
    critic, expected, stats_by_step = critic_training_by_loop(learner, batch)
    stats = learner.values.step(batch, Grouping())
    q_values = learner.values.detached(batch).q
    assert learner.values.targets.counted == 5
    assert not q_values.requires_grad
    for (b, t, i), values in expected.items():
        th.testing.assert_close(q_values[b, t, i], values.detach(), rtol=1e-3, atol=1e-3)
    for parameter, reference in zip(learner.critic.parameters(), critic.parameters(), strict=True):
        th.testing.assert_close(parameter, reference, rtol=1e-3, atol=1e-3)
    names = ("critic_loss", "critic_grad_norm", "td_error_abs", "q_taken_mean", "target_mean")
    assert {*stats} == {*names}
    for number, name in enumerate(names):
        mean = sum(step[number] for step in stats_by_step) / 5
        assert float(stats[name]) == pytest.approx(mean, rel=1e-3, abs=1e-4), name


def test_steps_without_transitions_train_nothing():
    learner = make_coma(coma_args())
    batch = make_batch(learner.args, max_seq_length=9)
    learner.values.step(batch, Grouping())
    assert learner.values.targets.counted == 5


def test_the_critic_fits_a_fixed_target():
    learner = make_coma(coma_args(gamma=0.0, critic_lr=0.003))
    batch = random_batch(learner.args, LENGTHS, CUT)
    losses = [float(learner.values.step(batch, Grouping())["critic_loss"]) for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0]


# --- the policies ---


def policy_loss(learner, batch, q_values):
    """Loss and statistics of the policies, for the critic's values [B, T - 1, N, A]."""
    padded = th.cat([q_values, th.zeros_like(q_values[:, :1])], dim=1)
    return learner.policies.loss(batch, learner.policies.probabilities(batch, 0.0), AgentValues(batch, padded))


def policies_by_loop(learner, batch):
    """pi_i of the available actions alone, step by step: (1 - epsilon) softmax + epsilon / A, scaled to sum to 1."""
    args, mac = learner.args, learner.mac
    epsilon = mac.action_selector.epsilon
    mac.init_hidden(batch.batch_size)
    hidden, policies = mac.hidden_states, []
    for t in range(batch.max_seq_length - 1):
        logits, hidden = mac.agent(mac._build_inputs(batch, t), hidden)
        mixed = (1 - epsilon) * th.softmax(logits, -1) + epsilon / args.n_actions
        policies.append(mixed.view(batch.batch_size, args.n_agents, args.n_actions))
    scaled = {}
    for t, step in enumerate(policies):
        for b in range(batch.batch_size):
            for i in range(args.n_agents):
                able = [a for a in range(args.n_actions) if batch["avail_actions"][b, t, i, a]]
                total = sum(step[b, i, a] for a in able)
                scaled[b, t, i] = {a: step[b, i, a] / total for a in able}
    return scaled


def policy_loss_by_loop(learner, batch, q_values, alive):
    """(loss, mean advantage, mean probability of the likeliest action) over transitions of the living."""
    policies, terms, advantages, likeliest = policies_by_loop(learner, batch), [], [], []
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            for i in range(learner.args.n_agents):
                if alive[b, t, i]:
                    pi, action = policies[b, t, i], taken_by(batch, b, t, i)
                    baseline = sum(float(pi[a].detach()) * float(q_values[b, t, i, a]) for a in pi)
                    advantages.append(float(q_values[b, t, i, action]) - baseline)
                    terms.append(-advantages[-1] * pi[action].log())
                    likeliest.append(max(float(probability.detach()) for probability in pi.values()))
    return tuple(sum(numbers) / len(numbers) for numbers in (terms, advantages, likeliest))


def random_values(args, batch, seed=3):
    """Q [B, T - 1, N, A], large behind the ends of episodes."""
    shape = (batch.batch_size, batch.max_seq_length - 1, args.n_agents, args.n_actions)
    values = th.randn(shape, generator=th.Generator().manual_seed(seed))
    for b, length in enumerate(LENGTHS):
        values[b, length:] = 1e4
    return values


def lives(args, batch):
    if args.agent_alive_index is None:
        return th.ones(batch["obs"].shape[:3], dtype=th.bool)
    alive = batch["state"][..., args.agent_alive_index] > 0
    assert 0 < int(alive.sum()) < alive.numel()
    return alive


@pytest.mark.parametrize("overrides", [{}, {"agent_alive_index": None}, {"epsilon_start": 0.0}], ids=str)
@pytest.mark.parametrize("max_seq_length", [None, 9])
def test_the_policies_follow_the_counterfactual_advantages_of_the_living(overrides, max_seq_length):
    learner = make_coma(coma_args(**overrides))
    batch = make_batch(learner.args, max_seq_length)
    q_values = random_values(learner.args, batch)
    loss, stats = policy_loss(learner, batch, q_values)
    expected, advantage, likeliest = policy_loss_by_loop(learner, batch, q_values, lives(learner.args, batch))
    th.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert float(stats["advantage_mean"]) == pytest.approx(advantage, rel=1e-4, abs=1e-5)
    assert float(stats["pi_max"]) == pytest.approx(likeliest, rel=1e-4)
    gradients = [th.autograd.grad(value, learner.policies.params) for value in (loss, expected)]
    for gradient, reference in zip(*gradients, strict=True):
        th.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-5)


def test_an_advantage_worked_out_by_hand():
    """Uniform policy over three of four actions: A = 6 - (1 + 2 + 6) / 3 = 3, loss = -3 log(1/3)."""
    learner = make_coma(make_args("coma", n_agents=1))
    batch = empty_batch(learner.args, 1, 2)
    data = {"actions": [[[2]], [[0]]], "avail_actions": [[[1, 1, 1, 0]], [[1, 1, 1, 1]]], "terminated": [[1], [0]]}
    batch.update(data, ts=slice(0, 2))
    for parameter in learner.mac.agent.parameters():
        th.nn.init.zeros_(parameter)
    q_values = th.tensor([1.0, 2.0, 6.0, 100.0]).view(1, 1, 1, 4)
    loss, stats = policy_loss(learner, batch, q_values)
    assert float(stats["advantage_mean"]) == pytest.approx(3)
    assert float(stats["pi_max"]) == pytest.approx(1 / 3)
    assert loss.item() == pytest.approx(3 * 1.0986123)


@pytest.mark.parametrize("mask_before_softmax", [True, False])
def test_gradients_are_finite_where_no_action_is_available(mask_before_softmax):
    """Steps behind an episode's end."""
    learner = make_coma(coma_args(mask_before_softmax=mask_before_softmax))
    batch = make_batch(learner.args, max_seq_length=9)
    assert not batch["avail_actions"][:, -2].any()
    loss, _ = policy_loss(learner, batch, random_values(learner.args, batch))
    assert all(gradient.isfinite().all() for gradient in th.autograd.grad(loss, learner.policies.params))


def test_available_probabilities_in_numbers():
    probabilities = th.tensor([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], requires_grad=True)
    avail = th.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0]])
    scaled = available_probs(probabilities, avail)
    th.testing.assert_close(scaled, th.tensor([[2 / 7, 0, 5 / 7], [0, 1, 0], [0, 0, 0]]))
    scaled[:, 0].sum().backward()
    assert probabilities.grad.isfinite().all() and probabilities.grad[2].eq(0).all()


# --- a whole update ---


def test_an_update_trains_the_critic_and_then_the_policies_on_its_values():
    """The advantages are those of the critic's values before each of its steps, not after."""
    learner = make_coma(coma_args(critic_lr=0.01, lr=0.01, optim_eps=1e-3))
    batch = make_batch(learner.args)
    critic, values, _ = critic_training_by_loop(learner, batch)
    q_values = th.zeros(5, 5, 5, 4)
    for (b, t, i), value in values.items():
        q_values[b, t, i] = value.detach()
    loss, advantage, _ = policy_loss_by_loop(learner, batch, q_values, lives(learner.args, batch))
    agent = copy.deepcopy(learner.mac.agent)
    parameters, gradients = list(agent.parameters()), th.autograd.grad(loss, learner.policies.params)
    norm = rmsprop_step(learner.args, 0.01, parameters, gradients, [th.zeros_like(weight) for weight in parameters])
    learner.train(batch, t_env=7, episode_num=8)
    for module, reference in ((learner.critic, critic), (learner.mac.agent, agent)):
        for parameter, wanted in zip(module.parameters(), reference.parameters(), strict=True):
            th.testing.assert_close(parameter, wanted, rtol=1e-3, atol=1e-3)
    logged = {key: pairs[0] for key, pairs in learner.logger.stats.items()}
    assert {*logged} == {
        *("critic_loss", "critic_grad_norm", "td_error_abs", "q_taken_mean", "target_mean"),
        *("advantage_mean", "coma_loss", "agent_grad_norm", "pi_max"),
    }
    assert {t for t, _ in logged.values()} == {7}
    assert logged["coma_loss"][1] == pytest.approx(float(loss.detach()), rel=1e-3)
    assert logged["advantage_mean"][1] == pytest.approx(advantage, rel=1e-3)
    assert logged["agent_grad_norm"][1] == pytest.approx(norm, rel=1e-3)


def test_updates_move_agents_and_critic_but_not_the_target_critic():
    learner = make_coma(coma_args(target_update_interval=1000))
    batch = make_batch(learner.args)
    moving = [*learner.mac.parameters(), *learner.critic.parameters()]
    for episode in (8, 16):
        before = [parameter.detach().clone() for parameter in moving]
        target = copy.deepcopy(learner.target_critic.state_dict())
        learner.train(batch, t_env=0, episode_num=episode)
        assert all(not th.equal(parameter, old) for parameter, old in zip(moving, before, strict=True))
        assert equal(learner.target_critic, target)


def equal(module, state):
    return all(th.equal(value, state[name]) for name, value in module.state_dict().items())


def test_the_target_critic_follows_every_so_many_steps_of_the_critic():
    """Five steps an update, after which the interval of 12 is looked at: copies after 15, 30 and 45 steps."""
    learner = make_coma(coma_args(target_update_interval=12))
    batch = make_batch(learner.args)
    followed = []
    for _ in range(9):
        learner.train(batch, t_env=0, episode_num=0)
        followed.append(equal(learner.target_critic, learner.critic.state_dict()))
    assert followed == [False, False, True] * 3


def test_the_target_critic_starts_as_a_copy_of_its_own():
    args = coma_args()
    full = empty_batch(args).scheme
    learner = COMALearner(mac_REGISTRY["basic_mac"](full, {}, args), full, make_logger(), args)
    assert equal(learner.target_critic, learner.critic.state_dict())
    assert not {map(id, learner.critic.parameters())} & {map(id, learner.target_critic.parameters())}


def test_statistics_are_written_at_intervals():
    learner = make_coma(coma_args(learner_log_interval=100))
    batch = make_batch(learner.args)
    for t_env in (3, 50, 102, 103, 150, 203, 400):
        learner.train(batch, t_env, episode_num=1)
    assert [t for t, _ in learner.logger.stats["critic_loss"]] == [3, 103, 203, 400]


def test_the_policies_learn_which_action_pays():
    """The reward is the share of agents that take action 1; everything is available."""
    args = make_args("coma", lr=0.01, critic_lr=0.005, epsilon_start=0.0, epsilon_finish=0.0, gamma=0.0)
    learner = make_coma(args)
    with th.random.fork_rng():
        th.manual_seed(0)
        for episode in range(60):
            batch = random_batch(args, (4,) * 8, seed=episode)
            batch.data.transition_data["avail_actions"][:] = 1
            learner.mac.init_hidden(batch.batch_size)
            for t in range(batch.max_seq_length):
                actions = learner.mac.select_actions(batch, t, t_env=0)
                batch.update({"actions": actions.unsqueeze(1)}, ts=t)
            batch.data.transition_data["reward"] = (batch["actions"] == 1).float().mean(2)
            learner.train(batch, t_env=0, episode_num=episode)
    assert float((batch["actions"] == 1).float().mean()) > 0.8


# --- files ---


FILES = ("agent.th", "critic.th", "agent_opt.th", "critic_opt.th")


def trained(seed):
    learner = make_coma(coma_args(), seed)
    learner.train(make_batch(learner.args, seed=seed), t_env=0, episode_num=1)
    return learner


def test_training_goes_on_from_files_as_if_it_had_not_stopped(tmp_path):
    saved, loaded = trained(1), trained(2)
    saved.save_models(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {*FILES}
    loaded.load_models(str(tmp_path))
    assert equal(loaded.target_critic, saved.critic.state_dict())
    saved.values.targets.sync()
    for learner in (saved, loaded):
        learner.train(make_batch(learner.args, seed=5), t_env=0, episode_num=2)
    for part, twin in ((saved.mac.agent, loaded.mac.agent), (saved.critic, loaded.critic)):
        assert equal(part, twin.state_dict())


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name, tmp_path):
    learner = make_coma(coma_args())
    learner.save_models(str(tmp_path))
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=rf"checkpoint_path: '.*/{name}' is missing"):
        learner.load_models(str(tmp_path))


# --- configuration ---


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"agent_output_type": "q", "action_selector": "epsilon_greedy"},
            "agent_output_type: coma_learner needs pi_logits, got q",
        ),
        ({"mixer": "qmix"}, "mixer: coma_learner takes none, got qmix"),
        ({"critic_q_fn": "comma"}, "unknown critic 'comma'"),
        ({"entropy_coef": 0.01}, "^entropy_coef: expected 0.0, got 0.01: no part of this run has it"),
        ({"standardise_advantages": True}, "^standardise_advantages: expected False, got True: no part of this run"),
        ({"buffer_size": 16}, "batch_size=8: policies learn on-policy"),
        ({"batch_size_run": 1}, "batch_size=8: policies learn on-policy"),
    ],
)
def test_settings_that_do_not_go_together_are_told(overrides, message):
    with pytest.raises(UserError, match=message):
        make_coma(make_args("coma", **overrides))


def test_an_evaluation_may_play_one_episode_at_a_time():
    alone = ("seed=1", "use_cuda=false", "runner=episode", "batch_size_run=1", "env_args.episode_limit=3")
    with pytest.raises(UserError, match="batch_size=8: policies learn on-policy"):
        build(load_config("coma", "warehouse", alone))
    evaluation = build(load_config("coma", "warehouse", [*alone, "evaluate=true", "test_nepisode=2"]))
    evaluation.run()
    evaluation.close()
    assert [value for _, value in evaluation.logger.stats["test_ep_length_mean"]] == [3]


def test_a_critic_of_ones_own_is_chosen_by_its_name(monkeypatch):
    class Zero(COMACritic):
        def forward(self, batch, t=None):
            return 0 * super().forward(batch, t)

    monkeypatch.setitem(critic_REGISTRY, "zero", Zero)
    assert isinstance(make_coma(coma_args(critic_q_fn="zero")).critic, Zero)


def test_the_keys_of_pymarls_file_are_accepted(tmp_path):
    """A user's YAML with all of its keys, those that nothing reads included."""
    folder = shutil.copytree(CONFIG_DIR, tmp_path / "config")
    keys = {
        **{
            "name": "coma",
            "learner": "coma_learner",
            "agent_output_type": "pi_logits",
            "action_selector": "multinomial",
        },
        **{
            "mask_before_softmax": "False",
            "runner": "parallel",
            "buffer_size": 8,
            "batch_size_run": 8,
            "batch_size": 8,
        },
        **{"epsilon_start": ".5", "epsilon_finish": ".01", "epsilon_anneal_time": 100000, "td_lambda": 0.8},
        **{"target_update_interval": 200, "lr": 0.0005, "critic_lr": 0.0005, "q_nstep": 0, "critic_train_reps": 1},
        **{"critic_q_fn": "coma", "critic_baseline_fn": "coma", "critic_train_mode": "seq"},
    }
    (folder / "algs" / "her_coma.yaml").write_text("\n".join(f"{key}: {value}" for key, value in keys.items()))
    theirs, ours = (load_config(alg, "warehouse", ["seed=1"], config_dir=folder) for alg in ("her_coma", "coma"))
    unread = ("q_nstep", "critic_train_reps", "critic_baseline_fn", "critic_train_mode")
    assert {key: value for key, value in theirs.items() if key not in unread} == ours


# --- the domains ---


@pytest.mark.parametrize(
    ("env", "sizes", "steps"),
    [
        ("warehouse", ("env_args.n_agents=8", "env_args.episode_limit=5"), 5),
        ("battle", ("env_args.n_agents=20", "env_args.episode_limit=5"), 5),
        ("gaussian_squeeze", ("env_args.n_agents=200",), 1),
    ],
)
def test_two_updates_in_each_domain(env, sizes, steps):
    small = ("runner=vector", "batch_size_run=2", "batch_size=2", "buffer_size=2", "test_nepisode=2", "use_cuda=false")
    budget = ("learner_log_interval=1", f"t_max={4 * steps - 1}", "n_threads=1", "seed=1")
    experiment = build(load_config("coma", env, [*sizes, *small, *budget]))
    learner = experiment.learner
    before = copy.deepcopy([learner.mac.agent.state_dict(), learner.critic.state_dict()])
    experiment.run()
    experiment.close()
    assert learner.values.targets.counted == 2 * steps
    assert not equal(learner.mac.agent, before[0]) and not equal(learner.critic, before[1])
    stats = experiment.logger.stats
    assert len(stats["critic_loss"]) == len(stats["coma_loss"]) == 2
    assert all(th.tensor(value).isfinite() for pairs in stats.values() for _, value in pairs)
