"""QTRAN's three losses, in both forms, against hand-computed numbers and a slow reference."""

import pytest
import torch as th
from helpers import make_args, make_logger, make_scheme, random_batch, randomise
from learner_helpers import value_loss

from controllers import REGISTRY as MACS
from controllers.basic_controller import BasicMAC
from learners import REGISTRY as LEARNERS
from learners.q_learner import QLearner
from modules.agents import REGISTRY as AGENTS
from modules.agents.rnn_agent import RNNAgent
from modules.mixers import REGISTRY as MIXERS
from modules.mixers.qtran import QTranBase
from utils.errors import UserError

LENGTHS, CUT = (3, 4, 2, 4), (1, 2)
FORMS = pytest.mark.parametrize("alg", ["qtran_values", "qtran"])


def make_learner(alg, **overrides):
    """A learner whose target network differs from the online one."""
    args = make_args(alg, **overrides)
    scheme = random_batch(args).scheme
    mac = MACS[args.mac](scheme, make_scheme(args)[1], args)
    learner = LEARNERS[args.learner](mac, scheme, make_logger(), args)
    parts = (learner.mac.agent, learner.target_mac.agent, learner.mixer, learner.target_mixer)
    for seed, part in enumerate(parts):
        randomise(part, seed)
    return learner


def make_batch(learner):
    return random_batch(learner.args, LENGTHS, CUT)


# --- the reference: one episode, one step, one agent at a time ---


def roll(mac, batch):
    """Values and memories of all steps, by calling the controller once a step."""
    mac.init_hidden(batch.batch_size)
    q, hidden = [], []
    for t in range(batch.max_seq_length):
        q.append(mac.forward(batch, t=t))
        hidden.append(mac.hidden_states.view(batch.batch_size, -1, mac.args.rnn_hidden_dim))
    return q, hidden


def best_available(q, avail):
    return max((a for a in range(len(q)) if avail[a]), key=lambda a: q[a].item())


def joint_and_v(learner, mixer, batch, b, t, q, hidden, actions):
    """(Q_joint, V) of one step."""
    if learner.args.mixer == "qtran_base":
        onehot = th.eye(learner.args.n_actions)[th.tensor(actions)]
        joint, v = mixer(batch[b, t], hidden[t][b].view(1, 1, *hidden[t][b].shape), onehot.view(1, 1, *onehot.shape))
    else:
        values = th.stack([q[t][b, i, action] for i, action in enumerate(actions)])
        joint, v = mixer(values.view(1, 1, -1), batch["state"][b, t].view(1, 1, -1))
    return joint.view(()), v.view(())


def reference_losses(learner, batch):
    """(TD, opt, nopt) as means over all transitions."""
    args, agents = learner.args, range(learner.args.n_agents)
    (q, hidden), (target_q, target_hidden) = roll(learner.mac, batch), roll(learner.target_mac, batch)
    td, opt, nopt = [], [], []
    for b, length in enumerate(LENGTHS):
        for t in range(length):

            def best(step, values, b=b):
                return [best_available(values[step][b, i], batch["avail_actions"][b, step, i]) for i in agents]

            taken = batch["actions"][b, t, :, 0].tolist()
            joint, v = joint_and_v(learner, learner.mixer, batch, b, t, q, hidden, taken)
            greedy = best(t, q)
            greedy_joint, greedy_v = joint_and_v(learner, learner.mixer, batch, b, t, q, hidden, greedy)
            target = batch["reward"][b, t, 0]
            if b in CUT or t < length - 1:
                ahead = best(t + 1, q if args.double_q else target_q)
                next_joint, _ = joint_and_v(
                    learner, learner.target_mixer, batch, b, t + 1, target_q, target_hidden, ahead
                )
                target = target + args.gamma * next_joint.detach()
            td.append((joint - target) ** 2)
            greedy_sum = sum(q[t][b, i, greedy[i]] for i in agents)
            opt.append((greedy_sum - greedy_joint.detach() + greedy_v) ** 2)
            taken_sum = sum(q[t][b, i, taken[i]] for i in agents)
            nopt.append(min(taken_sum - joint.detach() + v, th.tensor(0.0)) ** 2)
    return tuple(th.stack(losses).mean() for losses in (td, opt, nopt))


def assert_equals_reference(learner):
    batch = make_batch(learner)
    loss, stats = value_loss(learner, batch)
    td, opt, nopt = reference_losses(learner, batch)
    assert nopt > 0
    for key, expected in (("td_loss", td), ("opt_loss", opt), ("nopt_loss", nopt)):
        th.testing.assert_close(stats[key], expected, rtol=1e-4, atol=1e-5)
    expected = td + learner.args.opt_loss * opt + learner.args.nopt_min_loss * nopt
    th.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    grads, references = (th.autograd.grad(total, learner.params, allow_unused=True) for total in (loss, expected))
    for grad, reference in zip(grads, references, strict=True):
        if reference is None:
            assert grad is None
        else:
            th.testing.assert_close(grad, reference, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("double_q", [True, False])
@FORMS
def test_losses_and_gradients_against_the_reference(alg, double_q):
    assert_equals_reference(make_learner(alg, double_q=double_q, opt_loss=0.7, nopt_min_loss=0.3))


@pytest.mark.parametrize(
    ("alg", "overrides"),
    [
        ("qtran", {"qtran_arch": "coma_critic"}),
        ("qtran", {"network_size": "big"}),
        ("qtran_values", {"qtran_v": "values"}),
    ],
    ids=["coma_critic", "big", "V of values"],
)
def test_other_networks_against_the_reference(alg, overrides):
    assert_equals_reference(make_learner(alg, **overrides))


# --- numbers by hand ---


class Table(RNNAgent):
    """Every agent's values are 1, 2, 3 and 4, whatever it sees."""

    def forward(self, inputs, hidden_state):
        q, hidden = super().forward(inputs, hidden_state)
        return 0 * q + th.tensor([1.0, 2.0, 3.0, 4.0]), hidden


class ByHand(th.nn.Module):
    """Q_joint is ``scale`` times the sum of the values; V is 1/2."""

    def __init__(self, args):
        super().__init__()
        self.scale, self.v = th.nn.Parameter(th.tensor(1.5)), th.nn.Parameter(th.tensor(0.5))

    def forward(self, agent_qs, states):
        return self.scale * agent_qs.detach().sum(-1, keepdim=True), self.v.expand(*agent_qs.shape[:2], 1)


def test_three_losses_by_hand(monkeypatch):
    """Two transitions of three agents, gamma 1/2, both networks alike."""
    monkeypatch.setitem(AGENTS, "table", Table)
    monkeypatch.setitem(MIXERS, "by_hand", ByHand)
    args = make_args("qtran_values", agent="table", mixer="by_hand", gamma=0.5, opt_loss=2.0, nopt_min_loss=10.0)
    batch = random_batch(args, (2,))
    batch.update({"avail_actions": th.ones(1, 3, 3, 4)})
    batch.update({"avail_actions": th.tensor([[1, 1, 1, 0]] * 3)}, ts=1)  # value 4 is not available at step 1
    batch.update({"actions": th.tensor([[0, 1, 2], [0, 0, 0], [0, 0, 0]]), "reward": [1.0, -2.0, 0.0]})
    learner = QLearner(BasicMAC(batch.scheme, make_scheme(args)[1], args), batch.scheme, make_logger(), args)
    loss, stats = value_loss(learner, batch)
    # Sums of values: taken 1+2+3 = 6 and 1+1+1 = 3; greedy 4+4+4 = 12 and 3+3+3 = 9. Q_joint is half as large again.
    td = ((9 - (1 + 0.5 * 13.5)) ** 2 + (4.5 - -2) ** 2) / 2
    opt = ((12 - 18 + 0.5) ** 2 + (9 - 13.5 + 0.5) ** 2) / 2
    nopt = ((6 - 9 + 0.5) ** 2 + (3 - 4.5 + 0.5) ** 2) / 2
    assert (td, opt, nopt) == (21.90625, 23.125, 3.625)
    assert [stats[key].item() for key in ("td_loss", "opt_loss", "nopt_loss")] == pytest.approx([td, opt, nopt])
    assert loss.item() == pytest.approx(td + 2 * opt + 10 * nopt)
    assert stats["q_taken_mean"].item() == pytest.approx((9 + 4.5) / 2 / 3)
    # dV: 2 opt * 2 * mean bracket + 10 nopt * 2 * mean bracket; d scale comes from the TD error alone.
    grad_v, grad_scale = th.autograd.grad(loss, [learner.mixer.v, learner.mixer.scale])
    assert grad_v.item() == pytest.approx(2 * 2 * (-5.5 - 4.0) / 2 + 10 * 2 * (-2.5 - 1.0) / 2)
    assert grad_scale.item() == pytest.approx(2 * ((9 - 7.75) * 6 + 6.5 * 3) / 2)


# --- who learns from which loss ---


def reached(learner, loss, part):
    """Whether any gradient of ``loss`` reaches the parameters of ``part``."""
    grads = th.autograd.grad(loss, list(part.parameters()), allow_unused=True, retain_graph=True)
    return any(grad is not None and grad.abs().sum() > 0 for grad in grads)


@FORMS
@pytest.mark.parametrize("key", ["opt_loss", "nopt_loss"])
def test_the_joint_value_does_not_learn_from_the_constraints(alg, key):
    learner = make_learner(alg)
    loss = value_loss(learner, make_batch(learner))[1][key]
    assert not reached(learner, loss, learner.mixer.Q)
    assert reached(learner, loss, learner.mixer.V)
    assert reached(learner, loss, learner.mac.agent)


@FORMS
def test_the_joint_value_learns_from_the_td_error_alone(alg):
    learner = make_learner(alg)
    loss = value_loss(learner, make_batch(learner))[1]["td_loss"]
    assert reached(learner, loss, learner.mixer.Q)
    assert not reached(learner, loss, learner.mixer.V)
    # It trains the agents too: PyMARL's form through their memories, the paper's through their values.
    assert reached(learner, loss, learner.mac.agent)


def test_the_td_error_does_not_reach_the_agents_of_a_detached_joint_value():
    learner = make_learner("qtran_values", qtran_end_to_end=False)
    loss = value_loss(learner, make_batch(learner))[1]["td_loss"]
    assert reached(learner, loss, learner.mixer.Q)
    assert not reached(learner, loss, learner.mac.agent)


@FORMS
def test_the_shipped_weights(alg):
    args = make_args(alg)
    assert (args.opt_loss, args.nopt_min_loss) == ((1.0, 1.0) if alg == "qtran_values" else (1.0, 0.1))


@FORMS
def test_an_update_moves_every_network(alg):
    learner = make_learner(alg)
    before = [parameter.detach().clone() for parameter in learner.params]
    learner.train(make_batch(learner), t_env=0, episode_num=1)
    unmoved = [
        name
        for (name, parameter), old in zip(
            [*learner.mac.agent.named_parameters(), *learner.mixer.named_parameters()], before, strict=True
        )
        if th.equal(parameter, old)
    ]
    assert unmoved == []


# --- memories of an agent of one's own ---


class GroupedMemory(RNNAgent):
    """Returns memories as [B, N, H]."""

    def forward(self, inputs, hidden_state):
        q, hidden = super().forward(inputs, hidden_state)
        return q, hidden.view(-1, self.args.n_agents, hidden.shape[-1])


class NoMemory(RNNAgent):
    """Returns no memory."""

    def forward(self, inputs, hidden_state):
        return super().forward(inputs, inputs.new_zeros(len(inputs), self.args.rnn_hidden_dim))[0], None


def test_the_shape_of_memories_does_not_matter(monkeypatch):
    monkeypatch.setitem(AGENTS, "grouped", GroupedMemory)
    plain, grouped = make_learner("qtran"), make_learner("qtran", agent="grouped")
    th.testing.assert_close(value_loss(plain, make_batch(plain))[0], value_loss(grouped, make_batch(grouped))[0])


def test_an_agent_without_memories_is_refused(monkeypatch):
    monkeypatch.setitem(AGENTS, "forgetful", NoMemory)
    learner = make_learner("qtran", agent="forgetful")
    with pytest.raises(UserError, match="mixer: qtran_base needs a mac that keeps the agents' hidden_states"):
        learner.train(make_batch(learner), t_env=0, episode_num=1)


def test_a_mixer_with_a_forward_of_its_own_is_asked_for_it(monkeypatch):
    class Shifted(QTranBase):
        """Q_joint and V of QTRAN, by PyMARL's method alone, both higher by one."""

        def forward(self, batch, hidden_states, actions=None):
            joint, v = super().forward(batch, hidden_states, actions)
            return joint + 1, v + 1

    monkeypatch.setitem(MIXERS, "shifted", Shifted)
    learner = make_learner("qtran", mixer="shifted")
    batch = make_batch(learner)
    _, stats = value_loss(learner, batch)
    _, plain_stats = value_loss(make_learner("qtran"), batch)
    assert stats["q_taken_mean"].item() == pytest.approx(plain_stats["q_taken_mean"].item() + 1 / 3, abs=1e-5)
    assert stats["opt_loss"].item() == pytest.approx(plain_stats["opt_loss"].item(), rel=1e-4)  # V - Q_joint stays
    monkeypatch.setattr(Shifted, "forward", QTranBase.forward)  # no longer its own: one shared pass
    shared, own = make_learner("qtran", mixer="shifted"), make_learner("qtran")
    th.testing.assert_close(value_loss(shared, batch)[0], value_loss(own, batch)[0])
