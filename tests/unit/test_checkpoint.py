"""Parameters to and from files."""

import copy

import pytest
import torch as th
from helpers import make_args, make_logger, make_scheme, random_batch, randomise

from components.checkpoint import find_checkpoint, load_state, save_state
from controllers.basic_controller import BasicMAC
from learners import REGISTRY as LEARNERS
from utils.errors import UserError

ALGS = pytest.mark.parametrize("alg", ["iql", "qmix", "qtran", "qtran_values", "vast_qmix"])


def make_learner(alg, seed, **overrides):
    """A learner after an update, so that its optimiser has a state and the target networks differ."""
    args = make_args(alg, n_agents=4, **overrides)
    batch = random_batch(args)
    learner = LEARNERS[args.learner](
        BasicMAC(batch.scheme, make_scheme(args)[1], args), batch.scheme, make_logger(), args
    )
    randomise(learner.mac.agent, seed)
    if learner.mixer is not None:
        randomise(learner.mixer, seed + 100)
    train(learner)
    return learner


def train(learner, observe=True):
    batch = random_batch(learner.args, seed=5)
    if observe and hasattr(learner, "observe"):
        learner.observe(batch, t_env=0, episode_num=1)
    learner.train(batch, t_env=0, episode_num=1)


def parts(learner):
    named = {"agent": learner.mac.agent, "mixer": learner.mixer, "assigner": getattr(learner, "assigner", None)}
    return {name: part for name, part in named.items() if part is not None}


def same_parameters(first, second):
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(name == other and th.equal(value, twin) for (name, value), (other, twin) in pairs)


@ALGS
def test_what_was_saved_is_loaded(alg, tmp_path):
    saved, loaded = make_learner(alg, 1), make_learner(alg, 2)
    saved.save_models(str(tmp_path))
    loaded.load_models(str(tmp_path))
    for name, part in parts(saved).items():
        assert same_parameters(part, parts(loaded)[name]), name


@ALGS
def test_target_networks_equal_the_online_ones_after_loading(alg, tmp_path):
    saved, loaded = make_learner(alg, 1), make_learner(alg, 2)
    saved.save_models(str(tmp_path))
    loaded.load_models(str(tmp_path))
    assert same_parameters(loaded.target_mac.agent, saved.mac.agent)
    if saved.mixer is not None:
        assert same_parameters(loaded.target_mixer, saved.mixer)


@pytest.mark.parametrize("alg", ["iql", "qmix", "qtran", "qtran_values"])
def test_training_goes_on_as_if_it_had_not_stopped(alg, tmp_path):
    """The optimiser's state comes along."""
    saved, loaded = make_learner(alg, 1), make_learner(alg, 2)
    saved.save_models(str(tmp_path))
    loaded.load_models(str(tmp_path))
    saved.values.targets.sync()
    for learner in (saved, loaded):
        train(learner)
    for name, part in parts(saved).items():
        assert same_parameters(part, parts(loaded)[name]), name


def test_the_assigners_optimiser_is_loaded(tmp_path):
    saved, loaded = make_learner("vast_qmix", 1), make_learner("vast_qmix", 2)
    saved.save_models(str(tmp_path))
    loaded.load_models(str(tmp_path))
    mine, theirs = (learner.division.meta_gradient for learner in (saved, loaded))
    for own, other in zip(mine.params, theirs.params, strict=True):
        assert th.equal(mine.optimiser.state[own]["exp_avg"], theirs.optimiser.state[other]["exp_avg"])


@pytest.mark.parametrize(
    ("alg", "files"),
    [
        ("iql", {"agent.th", "opt.th"}),
        ("qmix", {"agent.th", "mixer.th", "opt.th"}),
        ("qtran", {"agent.th", "mixer.th", "opt.th"}),
        ("vast_qmix", {"agent.th", "mixer.th", "opt.th", "assigner.th", "assigner_opt.th"}),
    ],
)
def test_the_files_have_pymarls_names(alg, files, tmp_path):
    make_learner(alg, 1).save_models(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == files


# --- what does not fit ---


@pytest.mark.parametrize("name", ["agent.th", "mixer.th", "opt.th", "assigner.th", "assigner_opt.th"])
def test_a_missing_file_is_named(name, tmp_path):
    learner = make_learner("vast_qmix", 1)
    learner.save_models(str(tmp_path))
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=rf"checkpoint_path: '.*/{name}' is missing"):
        learner.load_models(str(tmp_path))


@pytest.mark.parametrize(
    ("overrides", "file", "key"),
    [
        ({"rnn_hidden_dim": 9}, "agent.th", "fc1.weight"),
        ({"obs_agent_id": False}, "agent.th", "fc1.weight"),
        ({"mixing_embed_dim": 9}, "mixer.th", "hyper_w_1.2.weight"),
        ({"hypernet_layers": 1}, "mixer.th", "hyper_w_1.weight"),
    ],
    ids=str,
)
def test_another_shape_is_named_with_file_and_parameter(overrides, file, key, tmp_path):
    make_learner("qmix", 1).save_models(str(tmp_path))
    other = make_learner("qmix", 1, **overrides)
    with pytest.raises(UserError, match=rf"checkpoint_path: '.*/{file}' does not fit this run: {key} has shape"):
        other.load_models(str(tmp_path))


def test_another_number_of_sub_teams_is_named(tmp_path):
    make_learner("vast_qmix", 1, eta=0.25).save_models(str(tmp_path))
    with pytest.raises(UserError, match=r"mixer.th' does not fit this run: psi.hyper_w_1"):
        make_learner("vast_qmix", 1, eta=0.5).load_models(str(tmp_path))


def test_shapes_are_told_in_the_message(tmp_path):
    save_state(th.nn.Linear(2, 3), str(tmp_path), "agent.th")
    with pytest.raises(UserError, match=r"weight has shape \(3, 2\) there, expected \(3, 4\)"):
        load_state(th.nn.Linear(4, 3), str(tmp_path), "agent.th")
    with pytest.raises(UserError, match=r"bias has shape \(3,\) there, expected nothing"):
        load_state(th.nn.Linear(2, 3, bias=False), str(tmp_path), "agent.th")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_named(content, tmp_path):
    (tmp_path / "agent.th").write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint_path: '.*/agent.th' cannot be read: \S"):
        load_state(th.nn.Linear(2, 3), str(tmp_path), "agent.th")


@pytest.mark.parametrize("content", [[1, 2], {"weight": 3}, th.ones(2)], ids=str)
def test_a_file_with_something_else_in_it_is_named(content, tmp_path):
    module = th.nn.Linear(2, 3)
    for part in (module, th.optim.RMSprop(module.parameters())):
        th.save(content, tmp_path / "x.th")
        with pytest.raises(UserError, match=r"checkpoint_path: '.*/x.th' "):
            load_state(part, str(tmp_path), "x.th")


def test_nothing_is_loaded_of_a_file_that_does_not_fit(tmp_path):
    save_state(th.nn.Linear(2, 4), str(tmp_path), "agent.th")
    part = th.nn.Linear(2, 3)
    before = copy.deepcopy(part)
    with pytest.raises(UserError):
        load_state(part, str(tmp_path), "agent.th")
    assert same_parameters(part, before)


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    part = th.nn.Linear(2, 3)
    save_state(part, str(tmp_path), "agent.th")
    before = (tmp_path / "agent.th").read_bytes()

    def fail(state, path):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(th, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_state(th.nn.Linear(2, 3), str(tmp_path), "agent.th")
    assert (tmp_path / "agent.th").read_bytes() == before


# --- finding the folder ---


@pytest.fixture
def folder(tmp_path):
    for name in ("5", "200", "1000", "2000.part", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "3000").touch()
    return tmp_path


@pytest.mark.parametrize(("load_step", "step"), [(0, 1000), (1, 5), (150, 200), (599, 200), (601, 1000), (9999, 1000)])
def test_the_nearest_or_the_latest_step_is_found(folder, load_step, step):
    assert find_checkpoint(str(folder), load_step) == (str(folder / str(step)), step)


def test_a_folder_that_is_none_or_holds_none_is_told(tmp_path):
    with pytest.raises(UserError, match="checkpoint_path: '.*/gone' is no folder"):
        find_checkpoint(str(tmp_path / "gone"), 0)
    with pytest.raises(UserError, match="checkpoint_path: '.*' holds no checkpoint; expected sub-folders"):
        find_checkpoint(str(tmp_path), 0)
