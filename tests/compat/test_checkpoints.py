"""Checkpoint folders with PyMARL's file and parameter names, made here by hand, load; saving gives the same names."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th

from run import build
from settings.load import load_config

STEP = 120  # environment steps
N, A = 4, 6
OBS, STATE = 125, 10 + 6 + 8 * N  # Warehouse[4]: floor cells, goal cells, features of each agent
INPUT, H, E, M = OBS + A + N, 8, 5, 7  # agent's input, its memory, mixing units, units of a two-layer hypernetwork


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def two_linear(name, inputs, hidden, outputs):
    return {**linear(f"{name}.0", inputs, hidden), **linear(f"{name}.2", hidden, outputs)}


def three_linear(name, inputs, hidden, outputs):
    return {**two_linear(name, inputs, hidden, hidden), **linear(f"{name}.4", hidden, outputs)}


AGENT = {
    **linear("fc1", INPUT, H),
    "rnn.weight_ih": (3 * H, H),
    "rnn.weight_hh": (3 * H, H),
    "rnn.bias_ih": (3 * H,),
    "rnn.bias_hh": (3 * H,),
    **linear("fc2", H, A),
}
QMIX_1 = {
    **linear("hyper_w_1", STATE, E * N),
    **linear("hyper_w_final", STATE, E),
    **linear("hyper_b_1", STATE, E),
    **two_linear("V", STATE, E, 1),
}
QMIX_2 = {
    **two_linear("hyper_w_1", STATE, M, E * N),
    **two_linear("hyper_w_final", STATE, M, E),
    **linear("hyper_b_1", STATE, E),
    **two_linear("V", STATE, E, 1),
}
QTRAN = {
    **three_linear("Q", STATE + H + A, E, 1),
    **three_linear("V", STATE, E, 1),
    **two_linear("action_encoding", H + A, H + A, H + A),
}
ALGORITHMS = {
    "iql": ({}, ("iql",)),
    "vdn": ({}, ("vdn",)),
    "qmix, one layer": (QMIX_1, ("qmix", "hypernet_layers=1")),
    "qmix, two layers": (QMIX_2, ("qmix", "hypernet_layers=2", f"hypernet_embed={M}")),
    "qtran": (QTRAN, ("qtran",)),
}


def filled(shapes, seed):
    rng = np.random.default_rng(seed)
    return {name: th.from_numpy(rng.normal(0, 0.3, shape)).float() for name, shape in shapes.items()}


def rmsprop_state(tensors, new_zipfile):
    """What RMSprop saves; older PyTorch counts the steps in ints and has fewer settings in a group."""
    numbers = range(len(tensors))
    state = {
        i: {"step": 7 if not new_zipfile else th.tensor(7.0), "square_avg": tensor.square() + i}
        for i, tensor in enumerate(tensors)
    }
    group = {"lr": 0.25, "momentum": 0, "alpha": 0.99, "eps": 1e-5, "centered": False, "weight_decay": 0}
    return {"state": state, "param_groups": [{**group, "params": list(numbers)}]}


@pytest.fixture(params=[True, False], ids=["today's files", "old PyTorch's files"])
def saved(request, tmp_path):
    """Writes a checkpoint as PyMARL does: a folder named by the time step in one named by the run."""

    def saved(mixer, with_mixer_file):
        folder = tmp_path / "models" / "her_run" / str(STEP)
        folder.mkdir(parents=True)
        agent, mixer = filled(AGENT, seed=1), filled(mixer, seed=2)
        parts = {"agent.th": agent, "opt.th": rmsprop_state([*agent.values(), *mixer.values()], request.param)}
        if with_mixer_file:
            parts["mixer.th"] = mixer
        for name, part in parts.items():
            th.save(part, folder / name, _use_new_zipfile_serialization=request.param)
        return folder, agent, mixer

    return saved


def load(folder, alg, *updates):
    sizes = (f"rnn_hidden_dim={H}", *((f"mixing_embed_dim={E}",) if alg in ("qmix", "qtran") else ()))
    small = ("batch_size=2", "buffer_size=2", "n_threads=1", "use_cuda=false", "seed=5", "env_args.episode_limit=4")
    return build(load_config(alg, "warehouse", [*sizes, *small, f"checkpoint_path={folder.parent}", *updates]))


# --- the networks by hand, in NumPy ---


def apply(weights, name, x):
    return x @ weights[f"{name}.weight"].numpy().T + weights[f"{name}.bias"].numpy()


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def apply_sequence(weights, name, x, layers):
    for layer in layers[:-1]:
        x = relu(apply(weights, f"{name}.{layer}", x))
    return apply(weights, f"{name}.{layers[-1]}", x)


def agent_by_hand(weights, inputs, hidden):
    """Linear, ReLU, GRU, Linear: (values [..., A], memories [..., H])."""
    x = relu(apply(weights, "fc1", inputs))
    from_x = x @ weights["rnn.weight_ih"].numpy().T + weights["rnn.bias_ih"].numpy()
    from_h = hidden @ weights["rnn.weight_hh"].numpy().T + weights["rnn.bias_hh"].numpy()
    (xr, xz, xn), (hr, hz, hn) = np.split(from_x, 3, -1), np.split(from_h, 3, -1)
    update = sigmoid(xz + hz)
    candidate = np.tanh(xn + sigmoid(xr + hr) * hn)
    hidden = (1 - update) * candidate + update * hidden
    return apply(weights, "fc2", hidden), hidden


def qmix_by_hand(weights, qs, state, layers):
    """Q_tot of values [N] at one state [S]."""

    def hyper(name):
        return apply(weights, name, state) if layers == 1 else apply_sequence(weights, name, state, (0, 2))

    w_1 = np.abs(hyper("hyper_w_1")).reshape(N, E)
    hidden = qs @ w_1 + apply(weights, "hyper_b_1", state)
    hidden = np.where(hidden > 0, hidden, np.exp(hidden) - 1)
    return hidden @ np.abs(hyper("hyper_w_final")) + apply_sequence(weights, "V", state, (0, 2))[0]


def qtran_by_hand(weights, state, hidden, actions):
    """(Q_joint, V) at one state [S], of memories [N, H] and one-hot actions [N, A]."""
    encoding = apply_sequence(weights, "action_encoding", np.hstack([hidden, actions]), (0, 2)).sum(0)
    joint = apply_sequence(weights, "Q", np.concatenate([state, encoding]), (0, 2, 4))
    return joint[0], apply_sequence(weights, "V", state, (0, 2, 4))[0]


# --- tests ---


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_pymarl_checkpoint_gives_the_outputs_of_a_hand_computation(saved, algorithm):
    shapes, (alg, *updates) = ALGORITHMS[algorithm]
    folder, agent, mixer = saved(shapes, with_mixer_file=alg != "iql")
    experiment = load(folder, alg, *updates)
    assert experiment.runner.t_env == STEP
    rng = np.random.default_rng(3)
    hidden, mac = np.zeros((N, H)), experiment.mac
    mac.init_hidden(1)
    for _ in range(3):
        inputs = rng.normal(size=(N, INPUT))
        expected, hidden = agent_by_hand(agent, inputs, hidden)
        q, experiment.mac.hidden_states = experiment.mac.agent(
            th.from_numpy(inputs).float(), experiment.mac.hidden_states
        )
        np.testing.assert_allclose(q.detach(), expected, atol=1e-5)
        np.testing.assert_allclose(mac.hidden_states.detach(), hidden, atol=1e-5)

    state, qs = rng.normal(size=STATE), rng.normal(size=N)
    state_tensor = th.from_numpy(state).float().view(1, 1, STATE)
    for part in (experiment.learner.mixer, experiment.learner.target_mixer):
        if alg == "vdn":
            assert part(th.tensor(qs).view(1, 1, N), state_tensor).item() == pytest.approx(qs.sum())
        if alg == "qmix":
            layers = experiment.args.hypernet_layers
            q_tot = part(th.from_numpy(qs).float().view(1, 1, N), state_tensor)
            assert q_tot.item() == pytest.approx(qmix_by_hand(mixer, qs, state, layers), abs=1e-4)
        if alg == "qtran":
            batch = experiment.runner.new_batch()[:, :1]
            batch.update({"state": state})
            actions = np.eye(A)[rng.integers(A, size=N)]
            memories = th.from_numpy(hidden).float().view(1, 1, N, H)
            got = part(batch, memories, th.from_numpy(actions).float().view(1, 1, N, A))
            expected = qtran_by_hand(mixer, state, hidden, actions)
            np.testing.assert_allclose([tensor.item() for tensor in got], expected, atol=1e-4)
    experiment.close()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_optimiser_of_a_pymarl_checkpoint_belongs_to_the_right_parameters_and_goes_on(saved, algorithm):
    shapes, (alg, *updates) = ALGORITHMS[algorithm]
    folder, agent, mixer = saved(shapes, with_mixer_file=alg != "iql")
    experiment = load(folder, alg, *updates)
    learner = experiment.learner
    own = [*experiment.mac.agent.named_parameters(), *(learner.mixer.named_parameters() if learner.mixer else ())]
    theirs = [*agent.items(), *mixer.items()]
    assert [name for name, _ in own] == [name for name, _ in theirs]
    for i, ((_, parameter), (_, tensor)) in enumerate(zip(own, theirs, strict=True)):
        assert th.equal(parameter, tensor)
        assert th.equal(learner.optimiser.state[parameter]["square_avg"], tensor.square() + i)
    assert learner.optimiser.param_groups[0]["lr"] == 0.25
    experiment.args.t_max = STEP + 2 * 4
    experiment.run()
    assert all(th.isfinite(parameter).all() for _, parameter in own)
    assert any(not th.equal(parameter, tensor) for (_, parameter), (_, tensor) in zip(own, theirs, strict=True))
    experiment.close()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_saving_writes_the_files_and_names_of_pymarl(saved, algorithm, tmp_path):
    shapes, (alg, *updates) = ALGORITHMS[algorithm]
    folder, agent, mixer = saved(shapes, with_mixer_file=alg != "iql")
    experiment = load(folder, alg, *updates)
    experiment.learner.save_models(str(tmp_path))
    written = {path.name for path in tmp_path.glob("*.th")}
    assert written == {path.name for path in folder.iterdir()}
    for name in written:
        before, after = (th.load(place / name, weights_only=True) for place in (folder, tmp_path))
        assert list(after) == list(before)
        if name != "opt.th":
            assert all(th.equal(after[key], before[key]) for key in before)
    optimiser = th.load(tmp_path / "opt.th", weights_only=True)
    assert {key: value["square_avg"].shape for key, value in optimiser["state"].items()} == {
        i: tensor.shape for i, tensor in enumerate([*agent.values(), *mixer.values()])
    }
    experiment.close()


def test_a_pymarl_checkpoint_is_evaluated(saved):
    folder, *_ = saved(QMIX_2, with_mixer_file=True)
    experiment = load(folder, "qmix", f"hypernet_embed={M}", "evaluate=true", "test_nepisode=3", "load_step=100")
    experiment.run()
    ((step, _),) = experiment.logger.stats["test_return_mean"]
    assert step == STEP
    experiment.close()
