"""An environment of your own, with its YAML, outside src.

    bash run.sh python examples/own_environment.py

checks its contract, trains VAST(VDN) on it for a few seconds, and prints what the team earned before and after.
"""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np

from envs import REGISTRY, env_fn
from envs.checker import check_env
from envs.multiagentenv import MultiAgentEnv
from run import build
from settings.load import CONFIG_DIR, load_config

LEVERS = 3
YAML = """
env: levers
env_args:
  n_agents: 8
  seed: null         # null: the run's seed
gamma: 0.9
t_max: 3000
buffer_size: 500
"""
SHORT = "agent=ff lr=0.005 epsilon_anneal_time=1500 batch_size=16 test_interval=3000 absolute_nepisode=0 seed=1"


class Levers(MultiAgentEnv):
    """Every agent sees which lever to pull; the team is paid the share of agents that do."""

    def __init__(self, n_agents: int = 8, episode_limit: int = 10, seed: int | None = None) -> None:
        self.n_agents, self.episode_limit, self.rng = n_agents, episode_limit, np.random.default_rng(seed)

    def reset(self) -> None:
        self.t, self.shown = 0, self.rng.integers(LEVERS)

    def step(self, actions: Any) -> tuple[float, bool, dict[str, Any]]:
        share = float(np.mean(np.asarray(actions) == self.shown))
        self.t, self.shown = self.t + 1, self.rng.integers(LEVERS)
        return share, self.t == self.episode_limit, {"last_share": share}

    def get_state(self) -> Any:
        return np.eye(LEVERS)[self.shown]

    def get_state_size(self) -> int:
        return LEVERS

    def get_obs(self) -> Any:
        return np.tile(self.get_state(), (self.n_agents, 1))

    def get_obs_size(self) -> int:
        return LEVERS

    def get_avail_actions(self) -> Any:
        return np.ones((self.n_agents, LEVERS), dtype=int)

    def get_total_actions(self) -> int:
        return LEVERS


REGISTRY["levers"] = partial(env_fn, env=Levers)


def settings(folder: Path) -> dict[str, Any]:
    """The settings of a run on the levers, from a configuration folder of your own: the shipped one and your YAML."""
    shutil.copytree(CONFIG_DIR, folder)
    (folder / "envs" / "levers.yaml").write_text(YAML)
    return load_config("vast_vdn", "levers", SHORT.split(), config_dir=folder)


def show() -> None:
    """Checks the environment, trains on it, and prints the test returns."""
    print("problems of the environment:", check_env(Levers) or "none")
    with TemporaryDirectory() as folder:
        experiment = build(settings(Path(folder) / "config"))
    try:
        experiment.run()
    finally:
        experiment.close()
    for t, value in experiment.logger.stats["test_return_mean"]:
        print(f"step {t}: test return {value:.1f} of at most {experiment.args.episode_limit}")


if __name__ == "__main__":
    show()
