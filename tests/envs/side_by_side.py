"""Environments by themselves and in a batch, played side by side."""

import numpy as np

from envs.batch import EpisodeArrays

STEPS = 5  # rows of the arrays that are observed into, in turn
GARBAGE = -7


class SideBySide:
    """Plays the same actions in a batch and in as many environments of their own; every difference of a bit fails.

    Args:
        build: seed -> environment.
        batch: the class of the batch.
        seeds: one for each environment.
    """

    def __init__(self, build, batch, seeds):
        self.singles = [build(seed) for seed in seeds]
        self.batch = batch([build(seed) for seed in seeds])
        info = self.singles[0].get_env_info()
        self.n_agents, self.n_actions = info["n_agents"], info["n_actions"]
        shape = (len(seeds), STEPS, self.n_agents)
        self.arrays = EpisodeArrays(
            obs=np.empty((*shape, info["obs_shape"]), dtype=np.float32),
            state=np.empty((len(seeds), STEPS, info["state_shape"]), dtype=np.float32),
            avail_actions=np.empty((*shape, self.n_actions), dtype=np.int32),
        )
        self.running = np.zeros(len(seeds), dtype=bool)
        self.shown = 0  # how often environments were observed

    def reset(self):
        for env in self.singles:
            env.reset()
        self.batch.reset()
        self.running[:] = True
        self.observe(np.arange(len(self.singles)))

    def observe(self, acting):
        """Reads all that ``acting`` show into the next row, and sees to it that nothing else is written."""
        t = self.shown % STEPS
        self.shown += 1
        for array in vars(self.arrays).values():
            array[:] = GARBAGE
        self.batch.observe(acting, t, self.arrays)
        for key, array in vars(self.arrays).items():
            for b in acting:
                shown = np.asarray(getattr(self.singles[b], f"get_{key}")(), dtype=array.dtype)
                assert array[b, t].tobytes() == shown.tobytes(), (key, b)
                array[b, t] = GARBAGE
            assert (array == GARBAGE).all(), key

    def step(self, acting, actions):
        """One step of ``acting`` [M] with ``actions`` [M, N], and what they show after it."""
        outcomes = self.batch.step(acting, actions)
        columns = outcomes.rewards, outcomes.ended, outcomes.limited
        assert [column.dtype for column in columns] == [np.float64, bool, bool]
        assert [column.shape for column in columns] == [(len(acting),)] * 3
        for b, joint, reward, ended, limited in zip(acting, actions, *columns, strict=True):
            single_reward, single_ended, info = self.singles[b].step(joint)
            assert reward.tobytes() == np.float64(single_reward).tobytes()
            assert (ended, limited) == (single_ended, info.get("episode_limit", False))
            told = self.batch.info(b)
            assert told == info and [*map(type, told.values())] == [*map(type, info.values())]
            self.running[b] = not ended
        self.observe(acting)

    def play(self, rng, policy=None, share=1.0):
        """One episode of all environments; of those still running about ``share`` act in each step.

        ``policy`` maps an environment and ``rng`` to its actions [N], random ones by default.
        """
        self.reset()
        while self.running.any():
            acting = np.flatnonzero(self.running & (rng.random(len(self.running)) < share))
            actions = rng.integers(self.n_actions, size=(len(acting), self.n_agents))
            if policy is not None:
                for row, b in zip(actions, acting, strict=True):
                    row[:] = policy(self.singles[b], rng)
            self.step(acting, actions)
