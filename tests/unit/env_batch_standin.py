"""A plain batch of environments, for tests of what plays batches: every environment is stepped by itself."""

from __future__ import annotations

import numpy as np

from envs.batch import EnvBatch, Outcomes


class LoopedBatch(EnvBatch):
    """Any environments, one after the other."""

    def __init__(self, envs):
        super().__init__(envs)
        self.infos = [{} for _ in self.envs]

    def reset(self):
        for env in self.envs:
            env.reset()

    def observe(self, acting, t, arrays):
        for b in acting:
            arrays.obs[b, t] = self.envs[b].get_obs()
            arrays.state[b, t] = self.envs[b].get_state()
            arrays.avail_actions[b, t] = self.envs[b].get_avail_actions()

    def step(self, acting, actions):
        rewards, ended, limited = np.zeros(len(acting)), np.zeros(len(acting), bool), np.zeros(len(acting), bool)
        for row, b in enumerate(acting):
            rewards[row], ended[row], self.infos[b] = self.envs[b].step(actions[row])
            limited[row] = self.infos[b].get("episode_limit", False)
        return Outcomes(rewards, ended, limited)

    def info(self, number):
        return self.infos[number]
