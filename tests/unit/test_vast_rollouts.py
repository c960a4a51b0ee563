"""Untouched rollouts: which algorithm learns, with which sub-teams, changes no episode before the first update."""

from __future__ import annotations

import pytest
import torch as th

from assigners import REGISTRY as assigner_REGISTRY
from run import build
from settings.load import load_config

ROLLOUTS = 4  # the loop makes its first update after the last of them
KEYS = ("state", "obs", "actions", "avail_actions", "reward", "terminated", "filled", "actions_onehot")


def first_rollouts(alg, runner, *updates):
    """The batches of the training and test rollouts up to the first update, as the training loop collects them."""
    n_envs = 1 if runner == "episode" else 2
    on_policy = alg.endswith("_ac")  # otherwise an update is due after every rollout, and made once a batch is there
    settings = [
        *("seed=5", "env_args.n_agents=4", "env_args.episode_limit=8", f"runner={runner}", f"batch_size_run={n_envs}"),
        *(f"batch_size={n_envs * ROLLOUTS}", f"buffer_size={n_envs * ROLLOUTS}", "test_nepisode=2", "test_interval=16"),
        *("n_threads=1", "use_cuda=false", "epsilon_start=0.5", f"t_max={8 * n_envs * ROLLOUTS - 1}"),
        f"episodes_per_update={n_envs * ROLLOUTS if on_policy else None}",
    ]
    experiment = build(load_config(alg, "warehouse", [*settings, *updates]))
    rollouts, collect, updates_made = [], experiment.runner.run, []
    train = experiment.learner.train

    def recording_run(test_mode):
        batch = collect(test_mode=test_mode)
        if not updates_made:
            rollouts.append(batch)
        return batch

    def recording_train(batch, t_env, episode):
        updates_made.append(t_env)
        train(batch, t_env, episode)

    experiment.runner.run, experiment.learner.train = recording_run, recording_train
    try:
        experiment.run()
    finally:
        experiment.close()
    assert updates_made == [8 * n_envs * ROLLOUTS]
    assert len(rollouts) > ROLLOUTS  # test episodes lie in between
    return rollouts


@pytest.fixture(scope="module", params=["episode", "parallel", "vector"])
def flat(request):
    """The runner, and its rollouts under QMIX."""
    return request.param, first_rollouts("qmix", request.param)


def assert_identical(rollouts, others):
    assert len(rollouts) == len(others)
    for rollout, other in zip(rollouts, others, strict=True):
        for key in KEYS:
            assert th.equal(rollout[key], other[key]), key


@pytest.mark.parametrize("assigner", assigner_REGISTRY)
@pytest.mark.parametrize("eta", [0.25, 0.5, 1.0])
def test_rollouts_under_vast_are_those_under_qmix_until_the_first_update(flat, assigner, eta):
    runner, expected = flat
    assert_identical(first_rollouts("vast_qmix", runner, f"assigner={assigner}", f"eta={eta}"), expected)


@pytest.mark.parametrize("alg", ["vast_il", "vast_vdn", "vast_qtran", "iql", "vdn", "qtran", "qtran_values"])
def test_rollouts_under_each_algorithm_are_those_under_qmix_until_the_first_update(flat, alg):
    runner, expected = flat
    assert_identical(first_rollouts(alg, runner), expected)


@pytest.fixture(scope="module")
def flat_policies():
    """The rollouts of policies under QMIX."""
    return first_rollouts("qmix_ac", "episode")


@pytest.mark.parametrize("assigner", assigner_REGISTRY)
def test_rollouts_of_policies_under_vast_are_those_under_qmix_until_the_first_update(flat_policies, assigner):
    assert_identical(first_rollouts("vast_qmix_ac", "episode", f"assigner={assigner}", "eta=1/2"), flat_policies)


@pytest.mark.parametrize("alg", ["il_ac", "vdn_ac", "qtran_ac", "vast_il_ac", "vast_vdn_ac", "vast_qtran_ac"])
def test_rollouts_of_policies_under_each_algorithm_are_those_under_qmix_until_the_first_update(flat_policies, alg):
    assert_identical(first_rollouts(alg, "episode"), flat_policies)


def test_another_seed_gives_other_rollouts(flat):
    runner, expected = flat
    other = first_rollouts("qmix", runner, "seed=6")
    assert not th.equal(other[0]["actions"], expected[0]["actions"])
    assert not th.equal(expected[0]["actions"], expected[-1]["actions"])
