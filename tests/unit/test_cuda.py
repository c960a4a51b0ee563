"""On a GPU: the same rollouts, and updates like those of the CPU. Runs where there is a GPU."""

import pytest
import torch as th

from run import build
from settings.load import load_config

pytestmark = pytest.mark.skipif(not th.cuda.is_available(), reason="needs a GPU")

DOMAINS = {"warehouse": 4, "battle": 8, "gaussian_squeeze": 12}


def train(alg, domain, use_cuda):
    """The experiment and its rollouts after two updates, each on all episodes so far."""
    sizes = ("batch_size=4", "buffer_size=4", "batch_size_run=4", "episodes_per_update=4", "runner=vector")
    settings = (f"env_args.n_agents={DOMAINS[domain]}", f"use_cuda={use_cuda}", "seed=3", *sizes)
    experiment = build(load_config(alg, domain, settings))
    rollouts = []
    for episode in (4, 8):
        rollouts.append(experiment.runner.run(test_mode=False))
        experiment.training.updates.take(rollouts[-1], experiment.runner.t_env, episode)
    experiment.close()
    return experiment, rollouts


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("alg", ["vast_qtran_ac", "vast_qmix", "qtran"])
def test_what_was_staged_is_what_the_environments_show(alg, domain):
    experiment, rollouts = train(alg, domain, use_cuda=True)
    assert all(parameter.is_cuda and parameter.isfinite().all() for parameter in experiment.learner.params)
    replayed = build(load_config(alg, domain, (f"env_args.n_agents={DOMAINS[domain]}", "seed=3", "use_cuda=False")))
    env = replayed.runner.env  # its seed is that of the first environment of several
    for batch in rollouts:
        assert batch["obs"].is_cuda
        env.reset()
        for t in range(int(batch["filled"][0].sum())):
            assert th.equal(batch["obs"][0, t].cpu(), th.as_tensor(env.get_obs()).float())
            assert th.equal(batch["state"][0, t].cpu(), th.as_tensor(env.get_state()).float())
            if not batch["filled"][0, t + 1 :].any():
                break
            reward, *_ = env.step(batch["actions"][0, t, :, 0].cpu().numpy())
            assert float(batch["reward"][0, t]) == pytest.approx(reward, rel=1e-6)
    replayed.close()
