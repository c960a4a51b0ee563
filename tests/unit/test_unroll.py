"""Agents, controllers and the loop over time: what agents see, and fast paths against step-by-step ones."""

import pytest
import torch as th
from helpers import make_args, make_scheme, random_batch, randomise
from torch import nn

from components.agent_inputs import SequenceInputs, agent_input_size, agent_inputs, sequence_inputs, step_inputs
from components.unroll import unroll
from controllers.basic_controller import BasicMAC
from modules.agents import REGISTRY as AGENTS
from modules.agents.ff_agent import FFAgent
from modules.agents.rnn_agent import RNNAgent
from utils.errors import UserError


def make_mac(cls=BasicMAC, **overrides):
    args = make_args(**overrides)
    batch = random_batch(args, lengths=(3, 5))
    mac = cls(batch.scheme, make_scheme(args)[1], args)
    randomise(mac.agent)
    return mac, batch


def plain_loop(mac, batch):
    """Outputs [B, T, N, A] by calling the controller once a step."""
    mac.init_hidden(batch.batch_size)
    return th.stack([mac.forward(batch, t=t) for t in range(batch.max_seq_length)], dim=1)


def shown(batch, values):
    """The entries of ``values`` [B, T, ...] at steps that hold data."""
    return values[batch["filled"][..., 0] > 0]


def with_agent(monkeypatch, agent):
    monkeypatch.setitem(AGENTS, "plugin", agent)
    return make_mac(agent="plugin")


# --- what agents see ---


def test_inputs_are_observation_last_action_and_id_in_this_order():
    args = make_args()
    batch = random_batch(args, lengths=(3, 5))
    inputs = agent_inputs(batch, args)
    for b in range(2):
        for t in range(6):
            for i in range(3):
                last = [0.0] * 4
                if t > 0 and batch["filled"][b, t - 1]:
                    last[batch["actions"][b, t - 1, i].item()] = 1.0
                own = [float(i == j) for j in range(3)]
                assert inputs[b, t, i].tolist() == [*batch["obs"][b, t, i].tolist(), *last, *own]
    assert inputs.shape == (2, 6, 3, agent_input_size(batch.scheme, args))


@pytest.mark.parametrize("last_action", [True, False])
@pytest.mark.parametrize("agent_id", [True, False])
def test_parts_of_the_inputs_can_be_left_out(last_action, agent_id):
    args = make_args(obs_last_action=last_action, obs_agent_id=agent_id)
    batch = random_batch(args)
    inputs = agent_inputs(batch, args)
    assert inputs.shape[-1] == agent_input_size(batch.scheme, args) == 2 + 4 * last_action + 3 * agent_id
    assert th.equal(inputs[..., :2], batch["obs"])
    if agent_id:
        assert (inputs[..., -3:] == th.eye(3)).all()


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 3), (1, 2), (2, 6), (5, 6)])
def test_inputs_of_some_steps_are_a_part_of_all(start, stop):
    args = make_args()
    batch = random_batch(args)
    assert th.equal(agent_inputs(batch, args, start, stop), agent_inputs(batch, args)[:, start:stop])


def test_the_controller_gives_the_rows_of_one_episode_together():
    mac, batch = make_mac()
    rows = mac._build_inputs(batch, 2)
    assert th.equal(rows, agent_inputs(batch, mac.args)[:, 2].reshape(6, -1))


# --- the agent network ---


def test_agent_forward_against_its_equations():
    agent = randomise(RNNAgent(5, make_args()))
    x, h = th.randn(5), th.randn(8)
    weights = dict(agent.named_parameters())
    features = (weights["fc1.weight"] @ x + weights["fc1.bias"]).clamp(min=0)
    gates_x = (weights["rnn.weight_ih"] @ features + weights["rnn.bias_ih"]).chunk(3)
    gates_h = (weights["rnn.weight_hh"] @ h + weights["rnn.bias_hh"]).chunk(3)
    reset, update = (th.sigmoid(gates_x[i] + gates_h[i]) for i in (0, 1))
    proposal = th.tanh(gates_x[2] + reset * gates_h[2])
    memory = (1 - update) * proposal + update * h
    q, hidden = agent(x.unsqueeze(0), h.unsqueeze(0))
    th.testing.assert_close(hidden[0], memory)
    th.testing.assert_close(q[0], weights["fc2.weight"] @ memory + weights["fc2.bias"])


@pytest.mark.parametrize("cls", [RNNAgent, FFAgent])
@pytest.mark.parametrize("has_ids", [True, False])
def test_a_sequence_equals_single_steps(cls, has_ids):
    agent = randomise(cls(8 if has_ids else 5, make_args()))
    sizes, hidden = (4, 4, 2, 1, 1), th.randn(4 * 3, 8)
    inputs = SequenceInputs(th.randn(sum(sizes), 3, 5), has_ids, sizes, th.arange(sum(sizes)), (sum(sizes), 1))
    outputs, memories = agent.forward_sequence(inputs, hidden)
    row = 0
    for size in sizes:
        q, hidden = agent(inputs.dense()[row : row + size].view(3 * size, -1), hidden[: 3 * size])
        th.testing.assert_close(outputs[row : row + size].view(3 * size, -1), q)
        th.testing.assert_close(memories[row : row + size].view(3 * size, -1), hidden)
        row += size
    assert row == len(outputs) == len(memories)


def test_agents_start_with_an_empty_memory():
    mac, _ = make_mac()
    mac.init_hidden(4)
    assert mac.hidden_states.shape == (4, 3, 8) and not mac.hidden_states.any()


# --- unroll ---


SELECTORS = {"q": "epsilon_greedy", "pi_logits": "multinomial"}


@pytest.mark.parametrize("output", SELECTORS)
def test_unroll_equals_a_plain_loop(output):
    mac, batch = make_mac(agent_output_type=output, action_selector=SELECTORS[output])
    outputs, memories = unroll(mac, batch)
    th.testing.assert_close(shown(batch, outputs), shown(batch, plain_loop(mac, batch)))
    th.testing.assert_close(memories[1, -1], mac.hidden_states.view(2, 3, 8)[1])  # the longer episode ends last
    assert not outputs[batch["filled"][..., 0] == 0].any()


def test_unroll_gives_the_memory_behind_each_output():
    mac, batch = make_mac()
    outputs, memories = unroll(mac, batch)
    assert memories.shape == (2, 6, 3, 8)
    th.testing.assert_close(shown(batch, mac.agent.fc2(memories)), shown(batch, outputs))


def test_unroll_forgets_what_was_before():
    mac, batch = make_mac()
    expected, _ = unroll(mac, batch)
    mac.hidden_states = th.full((2, 3, 8), 9.0)
    th.testing.assert_close(unroll(mac, batch)[0], expected)


def test_gradients_are_those_of_a_plain_loop():
    mac, batch = make_mac()
    shown(batch, unroll(mac, batch)[0]).square().sum().backward()
    fast = [parameter.grad.clone() for parameter in mac.parameters()]
    mac.agent.zero_grad()
    shown(batch, plain_loop(mac, batch)).square().sum().backward()
    for grad, parameter in zip(fast, mac.parameters(), strict=True):
        th.testing.assert_close(grad, parameter.grad)


def test_the_shipped_controller_is_not_stepped(monkeypatch):
    mac, batch = make_mac()
    monkeypatch.setattr(mac, "forward", lambda *_, **__: pytest.fail("stepped"))
    unroll(mac, batch)


# --- plug-ins are stepped, not bypassed ---


class DoubledForward(BasicMAC):
    def forward(self, ep_batch, t, test_mode=False):
        return 2 * super().forward(ep_batch, t, test_mode)


class BlindInputs(BasicMAC):
    def _build_inputs(self, batch, t):
        return 0 * super()._build_inputs(batch, t)


class FullMemory(BasicMAC):
    def init_hidden(self, batch_size):
        super().init_hidden(batch_size)
        self.hidden_states = self.hidden_states + 1


class GrandChild(DoubledForward):
    pass


@pytest.mark.parametrize("cls", [DoubledForward, BlindInputs, FullMemory, GrandChild])
def test_a_controllers_own_methods_are_used(cls):
    mac, batch = make_mac(cls)
    plain, _ = make_mac()
    outputs, memories = unroll(mac, batch)
    th.testing.assert_close(outputs, plain_loop(mac, batch))
    assert memories.shape == (2, 6, 3, 8)
    assert not th.allclose(outputs, plain_loop(plain, batch))


def test_a_controller_may_bring_its_own_fast_path():
    class Fast(DoubledForward):
        def forward_sequence(self, ep_batch, with_memories):
            return "own", None

    mac, batch = make_mac(Fast)
    assert unroll(mac, batch) == ("own", None)


class DoubledAgent(RNNAgent):
    def forward(self, inputs, hidden_state):
        q, hidden = super().forward(inputs, hidden_state)
        return 2 * q, hidden


class FullMemoryAgent(RNNAgent):
    def init_hidden(self):
        return super().init_hidden() + 1


@pytest.mark.parametrize("cls", [DoubledAgent, FullMemoryAgent])
def test_an_agents_own_methods_are_used(monkeypatch, cls):
    mac, batch = with_agent(monkeypatch, cls)
    outputs, _ = unroll(mac, batch)
    plain, _ = make_mac()
    th.testing.assert_close(shown(batch, outputs), shown(batch, plain_loop(mac, batch)))
    assert not th.allclose(outputs, plain_loop(plain, batch))


class Feedforward(nn.Module):
    """An agent in PyMARL's idiom; ``remember`` makes its memory from [M, H] features."""

    remember = staticmethod(lambda features: features)

    def __init__(self, input_shape, args):
        super().__init__()
        self.fc1 = nn.Linear(input_shape, args.rnn_hidden_dim)
        self.fc2 = nn.Linear(args.rnn_hidden_dim, args.n_actions)

    def init_hidden(self):
        return self.fc1.weight.new_zeros(1, self.fc1.out_features)

    def forward(self, inputs, hidden_state):
        features = th.tanh(self.fc1(inputs))
        return self.fc2(features), self.remember(features)


class FlatMemory(Feedforward):
    """Memories [B * N, H]."""


class GroupedMemory(Feedforward):
    """Memories [B, N, H]."""

    remember = staticmethod(lambda features: features.view(-1, 3, features.shape[-1]))


class PairedMemory(Feedforward):
    """Memories that are no tensor, as an LSTM's."""

    remember = staticmethod(lambda features: (features, features))


@pytest.mark.parametrize("cls", [FlatMemory, GroupedMemory])
def test_memories_come_sorted_by_episode_and_agent(monkeypatch, cls):
    mac, batch = with_agent(monkeypatch, cls)
    outputs, memories = unroll(mac, batch)
    th.testing.assert_close(outputs, plain_loop(mac, batch))
    assert memories.shape == (2, 6, 3, 8)
    th.testing.assert_close(memories, th.tanh(mac.agent.fc1(agent_inputs(batch, mac.args))))


def test_memories_that_are_no_tensor_are_left_out(monkeypatch):
    mac, batch = with_agent(monkeypatch, PairedMemory)
    outputs, memories = unroll(mac, batch)
    th.testing.assert_close(outputs, plain_loop(mac, batch))
    assert memories is None


def test_a_controller_of_ones_own_needs_only_two_methods():
    class Own:
        def init_hidden(self, batch_size):
            self.steps = 0

        def forward(self, batch, t):
            self.steps += 1
            return batch["obs"][:, t] + self.steps

    batch = random_batch(make_args())
    outputs, memories = unroll(Own(), batch)
    th.testing.assert_close(outputs, batch["obs"] + th.arange(1.0, 7.0).view(1, 6, 1, 1))
    assert memories is None


# --- the controller's policies and actions ---


def test_policies_are_over_available_actions_and_mixed_with_uniform_ones():
    mac, batch = make_mac(agent_output_type="pi_logits", action_selector="multinomial")
    logits_mac, _ = make_mac()
    mac.action_selector.epsilon = 0.3
    avail = batch["avail_actions"][:, 0]
    mac.init_hidden(2)
    policy = mac.forward(batch, 0)
    mac.init_hidden(2)
    greedy = mac.forward(batch, 0, test_mode=True)
    logits = plain_loop(logits_mac, batch)[:, 0]
    for b in range(2):
        for i in range(3):
            able = avail[b, i].nonzero().flatten().tolist()
            total = sum(logits[b, i, a].exp() for a in able)
            for a in range(4):
                p = logits[b, i, a].exp() / total if a in able else th.tensor(0.0)
                mixed = 0.7 * p + 0.3 / len(able) if a in able else p
                th.testing.assert_close(greedy[b, i, a], p)
                th.testing.assert_close(policy[b, i, a], mixed)


def test_actions_of_chosen_episodes_only():
    mac, batch = make_mac()
    mac.init_hidden(2)
    both = mac.select_actions(batch, t_ep=0, t_env=0, test_mode=True)
    mac.init_hidden(2)
    second = mac.select_actions(batch, t_ep=0, t_env=0, bs=[1], test_mode=True)
    assert th.equal(second, both[1:])
    assert mac.hidden_states.shape == (2, 3, 8)
    assert mac.hidden_states[1].any() and not mac.hidden_states[0].any()  # who does not act stands still


@pytest.mark.parametrize("last_action", [True, False])
@pytest.mark.parametrize("agent_id", [True, False])
def test_sequence_inputs_are_the_inputs_of_steps_with_data(last_action, agent_id):
    args = make_args(obs_last_action=last_action, obs_agent_id=agent_id)
    batch = random_batch(args, lengths=(1, 5, 3, 5))
    inputs, plain = sequence_inputs(batch, args), agent_inputs(batch, args)
    assert inputs.sizes == (4, 4, 3, 3, 2, 2) and len(inputs.features) == 18
    assert th.equal(inputs.dense(), inputs.pack(plain))
    assert inputs.places.tolist() == [6, 18, 12, 0, 7, 19, 13, 1, 8, 20, 14, 9, 21, 15, 10, 22, 11, 23]
    unpacked = inputs.unpack(inputs.dense())
    assert th.equal(shown(batch, unpacked), shown(batch, plain)) and not unpacked[0, 2:].any()
    layer = nn.Linear(plain.shape[-1], 7)
    th.testing.assert_close(inputs.linear(layer.weight, layer.bias), layer(inputs.dense()))
    th.testing.assert_close(inputs.linear(layer.weight), layer(inputs.dense()) - layer.bias)


@pytest.mark.parametrize(("t", "episodes"), [(0, [1]), (0, slice(None)), (2, [0, 2]), (3, slice(None))])
def test_step_inputs_are_those_of_some_episodes_at_one_step(t, episodes):
    args = make_args()
    batch = random_batch(args, lengths=(5, 5, 5))
    inputs = step_inputs(batch, args, t, episodes)
    assert th.equal(inputs.dense(), agent_inputs(batch, args)[episodes, t])
    assert inputs.sizes == (len(inputs.features),)


def test_sequence_inputs_are_made_once_until_the_batch_is_written():
    args = make_args()
    batch = random_batch(args)
    first = sequence_inputs(batch, args)
    assert sequence_inputs(batch, args) is first and sequence_inputs(batch[:, :-1], args) is not first
    batch.update({"obs": batch["obs"][:, :1] + 1}, ts=slice(0, 1))
    assert th.equal(sequence_inputs(batch, args).dense(), first.pack(agent_inputs(batch, args)))


def test_an_unknown_output_type_is_refused():
    with pytest.raises(UserError, match="agent_output_type: expected q or pi_logits, got 'v'"):
        make_mac(agent_output_type="v")
