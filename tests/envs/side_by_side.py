"""An environment in three versions, played side by side: the oracle, PyMARL's interface, and a batch."""

import numpy as np

from envs.batch import EpisodeArrays

STEPS = 5  # rows of the arrays that are observed into, in turn
GARBAGE = -7
SITUATION = ("positions", "health", "opponent_positions", "opponent_health", "remaining", "steps", "performance")


class SideBySide:
    """Plays the same actions in all versions; every difference of a bit fails.

    Args:
        oracle: seed -> the readable environment (tests/envs/oracles).
        build: seed -> environment.
        batch: the class of the batch.
        seeds: one for each environment.
    """

    def __init__(self, oracle, build, batch, seeds):
        self.oracles, self.singles = [oracle(seed) for seed in seeds], [build(seed) for seed in seeds]
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
        for env in (*self.oracles, *self.singles):
            env.reset()
        self.batch.reset()
        self.running[:] = True
        self.observe(np.arange(len(self.oracles)))

    def observe(self, acting):
        """Reads all that ``acting`` show, the batch's into the next row, and sees that nothing else is written."""
        t = self.shown % STEPS
        self.shown += 1
        for array in vars(self.arrays).values():
            array[:] = GARBAGE
        self.batch.observe(acting, t, self.arrays)
        for key, array in vars(self.arrays).items():
            for b in acting:
                expected, shown = (getattr(env, f"get_{key}")() for env in (self.oracles[b], self.singles[b]))
                assert shown.dtype == expected.dtype and shown.shape == expected.shape, (key, b)
                assert shown.tobytes() == expected.tobytes(), (key, b)
                assert array[b, t].tobytes() == np.asarray(shown, dtype=array.dtype).tobytes(), (key, b)
                array[b, t] = GARBAGE
            assert (array == GARBAGE).all(), key

    def step(self, acting, actions):
        """One step of ``acting`` [M] with ``actions`` [M, N], and what they show after it."""
        outcomes = self.batch.step(acting, actions)
        columns = outcomes.rewards, outcomes.ended, outcomes.limited
        assert [column.dtype for column in columns] == [np.float64, bool, bool]
        assert [column.shape for column in columns] == [(len(acting),)] * 3
        for b, joint, reward, ended, limited in zip(acting, actions, *columns, strict=True):
            expected = self.oracles[b].step(joint)
            assert_equal_results(self.singles[b].step(joint), expected)
            assert_equal_results((float(reward), bool(ended), self.batch.info(b)), expected)
            assert limited == expected[2].get("episode_limit", False)
            self.assert_equal_situations(b)
            self.running[b] = not ended
        self.observe(np.sort(acting))

    def assert_equal_situations(self, b):
        oracle, single = self.oracles[b], self.singles[b]
        assert single.get_stats() == oracle.get_stats()
        for name in SITUATION:
            if hasattr(oracle, name):
                assert np.array_equal(getattr(single, name), getattr(oracle, name)), name

    def play(self, rng, policy=None, share=1.0):
        """One episode of all environments; of those still running about ``share`` act in each step.

        ``policy`` maps an oracle and ``rng`` to its actions [N], random ones by default.
        """
        self.reset()
        while self.running.any():
            acting = np.flatnonzero(self.running & (rng.random(len(self.running)) < share))
            shape = len(acting), self.n_agents
            if policy is None:
                actions = rng.integers(self.n_actions, size=shape)
            else:
                actions = np.array([policy(self.oracles[b], rng) for b in acting], dtype=np.int64).reshape(shape)
            self.step(acting, actions)

    def assert_equal_generators(self):
        """That nobody has taken more or fewer numbers than the others."""
        for oracle, single, member in zip(self.oracles, self.singles, self.batch.envs, strict=True):
            state = oracle.rng.bit_generator.state
            assert single.rng.bit_generator.state == state == member.rng.bit_generator.state


def assert_equal_results(result, expected):
    """Of a step: reward, end and info, in value and type."""
    (reward, ended, info), (expected_reward, expected_end, expected_info) = result, expected
    assert type(reward) is float and np.float64(reward).tobytes() == np.float64(expected_reward).tobytes()
    assert ended is bool(expected_end)
    assert info == expected_info
    assert [*map(type, info.values())] == [*map(type, expected_info.values())]
