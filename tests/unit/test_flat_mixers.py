"""VDN, QMIX and both QTRANs without sub-teams."""

import pytest
import torch as th
import torch.nn.functional as F
from helpers import make_args, random_batch, randomise

from modules.mixers import REGISTRY
from modules.mixers.qmix import QMixer
from modules.mixers.qtran import QTran, QTranBase
from modules.mixers.vdn import VDNMixer
from utils.errors import UserError

B, T, N, S = 2, 3, 3, 5  # N and S are those of make_args


@pytest.fixture(autouse=True)
def _seed():
    th.manual_seed(0)


def make(cls, alg, scale=1.0, **overrides):
    return randomise(cls(make_args(alg, **overrides)), scale=scale)


def values_and_states(n=N):
    return th.randn(B, T, n, requires_grad=True), th.randn(B, T, S)


def linear(layer, x):
    return [(row * x).sum() + b for row, b in zip(layer.weight, layer.bias, strict=True)]


def apply(network, x):
    """A Linear or a Sequential of Linear and ReLU on one vector, neuron by neuron."""
    for layer in network if isinstance(network, th.nn.Sequential) else [network]:
        x = x.clamp(min=0) if isinstance(layer, th.nn.ReLU) else th.stack(linear(layer, x))
    return x


def per_sample(function, *tensors):
    """``function`` on the vectors of each episode and step, stacked to [B, T, 1]."""
    return th.stack([th.stack([function(*(x[b, t] for x in tensors)) for t in range(T)]) for b in range(B)])


def test_pymarls_names_are_registered():
    assert (REGISTRY["vdn"], REGISTRY["qmix"], REGISTRY["qtran_base"]) == (VDNMixer, QMixer, QTranBase)
    assert REGISTRY["qtran"] is QTran


# --- VDN ---


def test_vdn_sums_the_values():
    values = th.tensor([[[1.0, 2.0, 4.0], [0.0, -1.0, 5.0]]])
    assert VDNMixer()(values, th.zeros(1, 2, S)).tolist() == [[[7.0], [4.0]]]


# --- QMIX ---


@pytest.mark.parametrize("layers", [1, 2])
def test_qmix_against_its_equation_for_each_sample(layers):
    mixer = make(QMixer, "qmix", hypernet_layers=layers)
    values, states = values_and_states()

    def q_tot(q, s):
        w_1 = apply(mixer.hyper_w_1, s).abs()
        b_1, w_2, v = apply(mixer.hyper_b_1, s), apply(mixer.hyper_w_final, s).abs(), apply(mixer.V, s)
        total = v[0]
        for unit in range(8):
            x = b_1[unit] + sum(q[i] * w_1[i * 8 + unit] for i in range(N))
            total = total + w_2[unit] * (x if x > 0 else x.exp() - 1)
        return total.view(1)

    th.testing.assert_close(mixer(values, states), per_sample(q_tot, values, states), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layers", [1, 2])
def test_qmix_grows_with_every_value(layers):
    mixer = make(QMixer, "qmix", hypernet_layers=layers)
    values, states = th.randn(200, 1, N), th.randn(200, 1, S)
    with th.no_grad():
        base = mixer(values, states)
        for i in range(N):
            raised = values.clone()
            raised[..., i] += th.rand(200, 1) * 3
            assert (mixer(raised, states) >= base - 1e-4).all()
            assert (mixer(raised, states) > base + 1e-3).any()


@pytest.mark.parametrize("layers", [1, 2])
def test_qmix_has_no_negative_gradient(layers):
    mixer = make(QMixer, "qmix", hypernet_layers=layers)
    values = th.randn(200, 1, N, requires_grad=True)
    mixer(values, th.randn(200, 1, S)).sum().backward()
    assert (values.grad >= 0).all() and (values.grad.amax((0, 1)) > 0).all()


def test_qmix_is_not_linear():
    """Its weights depend on the state, and the mixing network bends."""
    mixer = make(QMixer, "qmix")
    values = th.randn(1, 1, N).expand(50, 1, N).clone().requires_grad_()
    mixer(values, th.randn(50, 1, S)).sum().backward()
    assert values.grad.std(0).min() > 1e-3
    values, states = th.randn(50, 1, N, requires_grad=True), th.randn(1, 1, S).expand(50, 1, S)
    mixer(values, states).sum().backward()
    assert values.grad.std(0).min() > 1e-3


def test_every_parameter_of_qmix_learns():
    mixer = make(QMixer, "qmix")
    mixer(*values_and_states()).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in mixer.parameters())


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (1, {"hyper_w_1": (24, 5), "hyper_w_final": (8, 5)}),
        (2, {"hyper_w_1.0": (8, 5), "hyper_w_1.2": (24, 8), "hyper_w_final.0": (8, 5), "hyper_w_final.2": (8, 8)}),
    ],
)
def test_parameters_have_pymarls_names_and_shapes(layers, expected):
    expected = {**expected, "hyper_b_1": (8, 5), "V.0": (8, 5), "V.2": (1, 8)}
    shapes = {}
    for name, shape in expected.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    mixer = QMixer(make_args("qmix", hypernet_layers=layers))
    assert {name: tuple(parameter.shape) for name, parameter in mixer.named_parameters()} == shapes


@pytest.mark.parametrize("state_shape", [5, (5,), (1, 5)])
def test_a_state_shape_is_an_int_or_a_tuple(state_shape):
    assert QMixer(make_args("qmix", state_shape=state_shape))(*values_and_states()).shape == (B, T, 1)


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_qmix_takes_as_many_values_as_args_says(count):
    assert make(QMixer, "qmix", n_agents=count)(*values_and_states(count)).shape == (B, T, 1)


def test_a_third_hypernetwork_layer_is_refused():
    with pytest.raises(UserError, match="hypernet_layers: expected 1 or 2, got 3"):
        QMixer(make_args("qmix", hypernet_layers=3))


@pytest.mark.parametrize(("cls", "alg"), [(QMixer, "qmix"), (QTran, "qtran_values")])
@pytest.mark.parametrize("shape", [(B, T, N + 1), (B, T + 1, N), (B, N, T + 1), (B * T, N)], ids=str)
def test_values_of_another_shape_are_refused(cls, alg, shape):
    with pytest.raises(ValueError, match=r"agent_qs: expected shape \(2, 3, 3\), got"):
        make(cls, alg)(th.zeros(shape), th.zeros(B, T, S))


# --- the paper's QTRAN ---


@pytest.mark.parametrize("v_sees", ["state", "values"])
def test_qtran_against_its_networks_for_each_sample(v_sees):
    mixer = make(QTran, "qtran_values", scale=0.5, qtran_v=v_sees)
    values, states = values_and_states()
    joint, v = mixer(values, states)
    expected_joint = per_sample(lambda q, s: apply(mixer.Q, th.cat([s, q])), values, states)
    expected_v = per_sample(lambda q, s: apply(mixer.V, s if v_sees == "state" else th.cat([s, q])), values, states)
    assert joint.shape == v.shape == (B, T, 1)
    th.testing.assert_close(joint, expected_joint)
    th.testing.assert_close(v, expected_v)


@pytest.mark.parametrize("v_sees", ["state", "values"])
def test_values_enter_the_joint_value_of_qtran_detached_if_asked_for(v_sees):
    values, states = values_and_states()
    make(QTran, "qtran_values", qtran_v=v_sees, qtran_end_to_end=False)(values, states)[0].sum().backward()
    assert values.grad is None


def test_end_to_end_the_joint_value_of_qtran_passes_gradients_on():
    values, states = values_and_states()
    make(QTran, "qtran_values", qtran_end_to_end=True)(values, states)[0].sum().backward()
    assert (values.grad.abs().amax((0, 1)) > 0).all()


def test_v_of_the_released_form_passes_gradients_on():
    values, states = values_and_states()
    make(QTran, "qtran_values", qtran_v="values")(values, states)[1].sum().backward()
    assert (values.grad.abs().amax((0, 1)) > 0).all()


def test_v_of_the_papers_form_passes_none():
    values, states = values_and_states()
    make(QTran, "qtran_values", qtran_v="state")(values, states)[1].sum().backward()
    assert values.grad is None


def test_the_joint_value_of_qtran_follows_the_values():
    mixer = make(QTran, "qtran_values")
    values, states = values_and_states()
    assert not th.allclose(mixer(values, states)[0], mixer(values + 1, states)[0])


@pytest.mark.parametrize(("v_sees", "moves"), [("state", False), ("values", True)])
def test_v_of_qtran_sees_the_values_only_if_asked(v_sees, moves):
    mixer = make(QTran, "qtran_values", qtran_v=v_sees)
    values, states = values_and_states()
    assert th.equal(mixer(values, states)[1], mixer(values + 1, states)[1]) is not moves


def test_what_v_sees_is_state_or_values():
    with pytest.raises(UserError, match="qtran_v: expected state or values, got 'actions'"):
        QTran(make_args("qtran_values", qtran_v="actions"))


# --- PyMARL's QTRAN ---


def qtran_inputs():
    batch = random_batch(make_args("qtran"), lengths=(T - 1, T - 1))
    return batch, th.randn(B, T, N, 8, requires_grad=True)


@pytest.mark.parametrize("size", ["small", "big"])
def test_qtran_base_sums_an_encoding_of_every_agent(size):
    mixer = make(QTranBase, "qtran", scale=0.5, network_size=size)
    batch, hidden = qtran_inputs()
    joint, v = mixer(batch, hidden)

    def expected_joint(s, h, a):
        encoding = sum(apply(mixer.action_encoding, th.cat([h[i], a[i]])) for i in range(N))
        return apply(mixer.Q, th.cat([s, encoding]))

    expected = per_sample(expected_joint, batch["state"], hidden, batch["actions_onehot"])
    th.testing.assert_close(joint, expected.view(B * T, 1), rtol=1e-4, atol=1e-4)
    th.testing.assert_close(v, per_sample(lambda s: apply(mixer.V, s), batch["state"]).view(B * T, 1))


def test_qtran_base_in_the_form_of_comas_critic_sees_all_actions():
    mixer = make(QTranBase, "qtran", scale=0.5, qtran_arch="coma_critic")
    batch, hidden = qtran_inputs()
    joint, _ = mixer(batch, hidden)
    expected = per_sample(
        lambda s, a: apply(mixer.Q, th.cat([s, a.flatten()])), batch["state"], batch["actions_onehot"]
    )
    th.testing.assert_close(joint, expected.view(B * T, 1))


@pytest.mark.parametrize("arch", ["qtran_paper", "coma_critic"])
def test_qtran_base_takes_other_actions_than_the_batchs(arch):
    mixer = make(QTranBase, "qtran", qtran_arch=arch)
    batch, hidden = qtran_inputs()
    others = F.one_hot((batch["actions"].squeeze(-1) + 1) % 4, 4).float()
    joint, v = mixer(batch, hidden, others)
    same_joint, same_v = mixer(batch, hidden, batch["actions_onehot"])
    own_joint, own_v = mixer(batch, hidden)
    assert th.equal(same_joint, own_joint) and th.equal(v, same_v) and th.equal(v, own_v)
    assert not th.allclose(joint, own_joint)
    batch.update({"actions": (batch["actions"] + 1) % 4})
    th.testing.assert_close(mixer(batch, hidden)[0], joint)


def test_qtran_base_has_pymarls_parameters():
    names = {name.rsplit(".", 1)[0] for name, _ in QTranBase(make_args("qtran")).named_parameters()}
    assert names == {"Q.0", "Q.2", "Q.4", "V.0", "V.2", "V.4", "action_encoding.0", "action_encoding.2"}


@pytest.mark.parametrize(("key", "value"), [("qtran_arch", "x"), ("network_size", "huge")])
def test_unknown_forms_of_qtran_base_are_refused(key, value):
    with pytest.raises(UserError, match=f"{key}: expected .* got '{value}'"):
        QTranBase(make_args("qtran", **{key: value}))


def test_hidden_states_of_another_shape_are_refused():
    batch, hidden = qtran_inputs()
    with pytest.raises(ValueError, match="hidden_states: expected shape"):
        make(QTranBase, "qtran")(batch, hidden[:, :-1])
