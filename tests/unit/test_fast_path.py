"""The fast path (compiled environments, packed steps) against the plain one, over updates."""

import pytest
import torch as th

import envs
from controllers import REGISTRY as MACS
from controllers.basic_controller import BasicMAC
from envs.batch import LoopedBatch
from run import build
from settings.load import load_config

DOMAINS = {
    "warehouse": ("env_args.n_agents=4", "env_args.episode_limit=10"),
    "battle": ("env_args.n_agents=8", "env_args.episode_limit=12"),
    "gaussian_squeeze": ("env_args.n_agents=12",),
}
UPDATES = 20


class SteppedMAC(BasicMAC):
    """Its own ``forward`` bars all short cuts: dense inputs, one call of the agent a step."""

    def forward(self, ep_batch, t, test_mode=False):
        return super().forward(ep_batch, t, test_mode)


def train(alg, domain, *updates):
    """The rollouts and final parameters of ``UPDATES`` updates on four episodes each."""
    sizes = ("batch_size=4", "buffer_size=4", "batch_size_run=4", "episodes_per_update=4")
    updates = (*DOMAINS[domain], *sizes, "runner=vector", "seed=3", *updates)
    experiment = build(load_config(alg, domain, updates))
    rollouts = []
    for episode in range(UPDATES):
        batch = experiment.runner.run(test_mode=False)
        rollouts.append(batch)
        experiment.training.updates.take(batch, experiment.runner.t_env, 4 * episode)
    experiment.close()
    learner = experiment.learner
    modules = [learner.mac.agent, learner.critic.agent, learner.mixer, getattr(learner, "assigner", None)]
    return rollouts, [list(module.parameters()) for module in modules if module is not None], experiment


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(("alg", "agent"), [("vast_qtran_ac", "ff"), ("vast_qmix", "rnn"), ("qtran", "rnn")])
def test_rollouts_are_equal_and_parameters_agree(monkeypatch, alg, domain, agent):
    fast_rollouts, fast, experiment = train(alg, domain, f"agent={agent}")
    assert not isinstance(experiment.runner.env_batch, LoopedBatch)
    monkeypatch.setattr(envs, "COMPILED", {})
    monkeypatch.setitem(MACS, "stepped_mac", SteppedMAC)
    plain_rollouts, plain, experiment = train(alg, domain, f"agent={agent}", "mac=stepped_mac")
    assert isinstance(experiment.runner.env_batch, LoopedBatch)
    for quick, slow in zip(fast_rollouts, plain_rollouts, strict=True):
        for key in quick.scheme:
            assert th.equal(quick[key], slow[key]), key
    for ours, theirs in zip(fast, plain, strict=True):
        th.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
