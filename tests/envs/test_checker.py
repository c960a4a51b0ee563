"""The checker finds nothing in a correct environment and names what a broken one does wrong."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from envs import checker
from envs.checker import check_env, takes_seed
from envs.multiagentenv import MultiAgentEnv
from utils.errors import UserError

CHECKER = Path(checker.__file__)


class Walk(MultiAgentEnv):
    """A correct environment: two agents walk on a line, and only the second one can always step back."""

    n_agents = 2
    episode_limit = 6

    def __init__(self, length=3, seed=0):
        self.length = length
        self.seed(seed)

    def seed(self, seed=None):
        self.rng = np.random.default_rng(seed)

    def reset(self):
        self.places = self.rng.integers(self.length, size=2)
        self.steps = 0

    def step(self, actions):
        self.places = self.places + np.array([0, 1, -1])[actions]
        self.steps += 1
        limit = self.steps == self.episode_limit
        return float(self.places.sum()), limit, {"episode_limit": True} if limit else {}

    def get_obs(self):
        return [np.array([place, self.steps], dtype=np.float32) for place in self.places]

    def get_obs_agent(self, agent_id):
        return self.get_obs()[agent_id]

    def get_obs_size(self):
        return 2

    def get_state(self):
        return np.array([*self.places, 0, 1, 1], dtype=np.float32)

    def get_state_size(self):
        return 5

    def get_avail_actions(self):
        return [self.get_avail_agent_actions(0), self.get_avail_agent_actions(1)]

    def get_avail_agent_actions(self, agent_id):
        return [1, 1, int(agent_id == 1 or self.places[0] > 0)]

    def get_total_actions(self):
        return 3

    def get_env_info(self):
        return {
            **super().get_env_info(),
            "agent_position_index": np.array([[0, 2], [1, 2]]),
            "agent_alive_index": [3, 4],
        }


def broken(**methods):
    """``Walk`` with some methods replaced; each receives the original result of the method of its name."""

    def replaced(name, change):
        def method(self, *args):
            return change(self, getattr(Walk, name)(self, *args))

        return method

    return type("Broken", (Walk,), {name: replaced(name, change) for name, change in methods.items()})


def without(key):
    return lambda env, info: {name: value for name, value in info.items() if name != key}


def with_info(**entries):
    return broken(get_env_info=lambda env, info: {**info, **entries})


def with_result(change):
    return broken(step=lambda env, result: change(*result))


class SharedState(Walk):
    """Hands out one state array and writes into it."""

    def reset(self):
        self.state = np.zeros(5)
        super().reset()

    def get_state(self):
        self.state[:] = super().get_state()
        return self.state


class Stuck(Walk):
    """Leaves the second agent nothing to do."""

    def get_avail_agent_actions(self, agent_id):
        return [0, 0, 0] if agent_id == 1 else super().get_avail_agent_actions(agent_id)


class NoStates(Walk):
    get_state = None


class Unseeded(Walk):
    """Takes a seed and ignores it."""

    def seed(self, seed=None):
        self.rng = np.random.default_rng()


class Blind(MultiAgentEnv):
    """Implements nothing."""

    n_agents = 2
    episode_limit = 6


def raise_value_error(env, result):
    raise ValueError("the robot fell over")


BROKEN = {
    "missing methods: get_state": NoStates,
    "get_state_size() is not implemented": Blind,
    "get_env_info() returns list, expected a dict": broken(get_env_info=lambda env, info: list(info)),
    "get_env_info() lacks 'episode_limit'": broken(get_env_info=without("episode_limit")),
    "get_env_info()['n_agents'] is 2.0, expected a positive integer": with_info(n_agents=2.0),
    "get_env_info()['n_agents'] is True, expected a positive integer": with_info(n_agents=True),
    "get_env_info()['needs_agent_id'] is 1, expected True or False": with_info(needs_agent_id=1),
    "get_env_info()['episode_limit'] is 0, expected a positive integer": with_info(episode_limit=0),
    "get_env_info()['obs_shape'] is (2, 0), expected a positive integer": broken(get_obs_size=lambda env, size: (2, 0)),
    "get_env_info()['state_shape'] is 6, but get_state_size() returns 5": with_info(state_shape=6),
    "get_env_info()['obs_shape'] is 3, but get_obs_size() returns 2": with_info(obs_shape=3),
    "get_env_info()['n_actions'] is 4, but get_total_actions() returns 3": with_info(n_actions=4),
    "get_env_info()['agent_position_index'] has shape (2,), expected (2, 2)": with_info(agent_position_index=[0, 1]),
    "get_env_info()['agent_alive_index'] has shape (3,), expected (2,)": with_info(agent_alive_index=[0, 1, 2]),
    "get_env_info()['agent_alive_index'] points outside the state of size 5": with_info(agent_alive_index=[0, 5]),
    "get_env_info()['agent_alive_index'] holds float64, expected integers": with_info(agent_alive_index=[0.0, 1.0]),
    "get_env_info()['dtypes']: expected a dict, got 'uint8'": with_info(dtypes="uint8"),
    "get_env_info()['dtypes']: unknown key 'reward', known are obs, state, avail_actions": with_info(
        dtypes={"reward": "float16"}
    ),
    "get_env_info()['dtypes']: expected one of uint8, int8, int16, float16, float32 for 'obs', got 'byte'": with_info(
        dtypes={"obs": "byte"}
    ),
    "get_env_info()['dtypes'] stores 'state' as float16, which cannot hold 2049.0": broken(
        get_env_info=lambda env, info: {**info, "dtypes": {"state": "float16"}},
        get_state=lambda env, state: state * [1, 1, 0, 1, 1] + [0, 0, 2049, 0, 0],
    ),
    "get_env_info()['dtypes'] stores 'obs' as uint8, which cannot hold -1.0": broken(
        get_env_info=lambda env, info: {**info, "dtypes": {"obs": "uint8"}},
        get_obs=lambda env, obs: np.array([[3.0, 0.0], [-1.0, 0.0]]),
    ),
    "get_env_info()['dtypes'] stores 'obs' as int8, which cannot hold 0.5": broken(
        get_env_info=lambda env, info: {**info, "dtypes": {"obs": "int8"}},
        get_obs=lambda env, obs: np.array([[-3.0, 0.0], [0.5, 0.0]]),
    ),
    "get_obs() has shape (3, 2), expected (2, 2)": broken(get_obs=lambda env, obs: [*obs, obs[0]]),
    "get_obs() is not an array of numbers: entries of different length, or no numbers": broken(
        get_obs=lambda env, obs: [obs[0], obs[1][:1]]
    ),
    "get_state() is not an array of numbers: entries of different length, or no numbers": broken(
        get_state=lambda env, state: ["here"] * 5
    ),
    "get_state() has shape (4,), expected (5,)": broken(get_state=lambda env, state: state[:4]),
    "get_state() holds values that are not finite": broken(get_state=lambda env, state: state + np.inf),
    "get_state() gives something else when it is read twice": broken(
        get_state=lambda env, state: state + env.rng.random()
    ),
    "get_obs_agent(i) differs from get_obs()[i]": broken(get_obs_agent=lambda env, obs: obs + 1),
    "get_avail_actions() has shape (2, 2), expected (2, 3)": broken(
        get_avail_actions=lambda env, avail: [agent[:2] for agent in avail]
    ),
    "get_avail_actions() holds values other than 0 and 1": broken(
        get_avail_agent_actions=lambda env, avail: [1, *avail[1:2], -1]
    ),
    "agent 1 has no available action": Stuck,
    "get_avail_agent_actions(i) differs from get_avail_actions()[i]": broken(
        get_avail_agent_actions=lambda env, avail: [1, 0, 0] if env.steps else [0, 1, 0],
        get_avail_actions=lambda env, avail: [[1, 1, 0]] * 2,
    ),
    "step() does not return the three values reward, terminated, info": with_result(lambda *result: (*result, {})),
    "step() returns the reward array([1., 2.]), expected one finite number": with_result(
        lambda reward, terminated, info: (np.array([1.0, 2.0]), terminated, info)
    ),
    "step() returns the reward nan, expected one finite number": with_result(
        lambda reward, terminated, info: (float("nan"), terminated, info)
    ),
    "step() returns the reward None, expected one finite number": with_result(
        lambda reward, terminated, info: (None, terminated, info)
    ),
    "step() returns terminated as int, expected a bool": with_result(
        lambda reward, terminated, info: (reward, int(terminated), info)
    ),
    "step() returns info as list, expected a dict": with_result(
        lambda reward, terminated, info: (reward, terminated, [])
    ),
    "step() returns info['who'] that is not a number, so the runner cannot log its mean": with_result(
        lambda reward, terminated, info: (reward, terminated, {"who": "me"})
    ),
    "step() sets info['episode_limit'] although the episode goes on": with_result(
        lambda reward, terminated, info: (reward, terminated, {"episode_limit": True})
    ),
    "the episode has not ended after episode_limit=6 steps": with_result(
        lambda reward, terminated, info: (reward, False, {})
    ),
    "what get_state() returned was changed by a later call: return a fresh array": SharedState,
    "get_stats() returns NoneType, expected a dict": broken(get_stats=lambda env, stats: None),
    "two runs with seed 0 and the same actions differ": Unseeded,
}


def test_a_correct_environment_has_no_problems():
    assert check_env(Walk, episodes=5) == []
    assert check_env(Walk(), episodes=5) == []
    assert check_env(lambda: Walk(length=4), episodes=5) == []


def test_dtypes_that_hold_every_value_are_no_problem():
    """Of what the batch holds: float64 observations are float32 there, so that 0.1 is no problem of the dtype."""
    assert check_env(with_info(dtypes={"obs": "int8", "state": "float16", "avail_actions": "uint8"})) == []
    tenths = broken(
        get_env_info=lambda env, info: {**info, "dtypes": {"obs": "float32"}},
        get_obs=lambda env, obs: np.full((2, 2), 0.1),
    )
    assert check_env(tenths) == []


def test_a_value_that_the_dtype_cannot_hold_is_found_late_in_an_episode():
    env = broken(
        get_env_info=lambda env, info: {**info, "dtypes": {"obs": "uint8"}},
        get_obs=lambda env, obs: np.full((2, 2), 250.0 + env.steps),
    )
    assert check_env(env) == ["get_env_info()['dtypes'] stores 'obs' as uint8, which cannot hold 256.0"]


@pytest.mark.parametrize("problem", BROKEN)
def test_each_problem_is_named_once_and_alone(problem):
    assert check_env(BROKEN[problem]) == [problem]


def test_an_exception_is_reported_with_its_place():
    (problem,) = check_env(broken(step=raise_value_error))
    assert problem.startswith(f"ValueError at {__file__}:")
    assert problem.endswith("raise_value_error: the robot fell over")
    (problem,) = check_env(broken(step=lambda env, result: np.linalg.inv(np.zeros((2, 2)))))
    assert problem.startswith(f"LinAlgError at {__file__}:"), "not the place inside NumPy"


def test_only_available_actions_are_played():
    played = []

    class Watched(Walk):
        def step(self, actions):
            played.append(all(self.get_avail_agent_actions(i)[action] for i, action in enumerate(actions)))
            return super().step(actions)

    assert check_env(Watched, episodes=20) == []
    assert len(played) > 100 and all(played)


def test_the_last_state_is_read_as_well():
    env = broken(get_state=lambda env, state: state[: 5 - (env.steps == env.episode_limit)])
    assert check_env(env) == ["get_state() has shape (4,), expected (5,)"]


def test_an_environment_is_closed_only_if_the_checker_built_it():
    closed = []

    class Closing(Walk):
        def close(self):
            closed.append(self)

    check_env(Closing())
    assert not closed
    check_env(Closing)
    assert closed


def test_environments_that_take_no_seed_are_told_apart():
    class Smac(Walk):  # seed() tells the seed, as SMAC's does
        length = 3
        rng = np.random.default_rng()

        def __init__(self):
            pass

        def seed(self):
            return 0

    assert takes_seed(Walk) and takes_seed(Walk()) and takes_seed(lambda: Walk())
    assert not takes_seed(Smac) and not takes_seed(Smac())
    assert check_env(Smac) == []


def test_the_defaults_of_the_base_class():
    env = Blind()
    assert env.get_stats() == {} and env.close() is None
    with pytest.raises(UserError, match="Blind cannot save replays"):
        env.save_replay()


# --- the command line ---


def run(*arguments, folder):
    """Exit code, standard output and error lines of the checker, called from ``folder``."""
    done = subprocess.run(
        [sys.executable, str(CHECKER), *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def test_command_line_on_a_registered_environment(tmp_path):
    assert run("warehouse", "n_agents=8", folder=tmp_path) == (0, ["warehouse: OK, 3 random episodes"], [])


def test_command_line_on_a_users_environment(tmp_path):
    (tmp_path / "my_module.py").write_text(
        "from envs.warehouse import Warehouse\n\n\n"
        "class MyEnv(Warehouse):\n"
        "    def __init__(self, factor, n_agents=4):\n"
        "        super().__init__(n_agents, 50, False, True)\n"
        "        self.factor = factor\n\n"
        "    def seed(self, *seed):\n"
        "        super().seed(1)\n"
        "        if seed != (None,):\n"
        "            raise NotImplementedError\n\n"
        "    def step(self, actions):\n"
        "        reward, terminated, info = super().step(actions)\n"
        "        return self.factor * reward, terminated, info\n"
    )
    name = "my_module:MyEnv"
    assert run(name, "factor=2", "--episodes", "1", folder=tmp_path) == (
        0,
        [f"{name}: OK, 1 random episodes; seeds not checked: neither its constructor nor seed() takes one"],
        [],
    )
    code, lines, errors = run(name, "factor=.inf", folder=tmp_path)
    assert code == 1 and not errors
    assert all(line.startswith(f"{name}: step() returns the reward") for line in lines) and lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["warehous"], "error: unknown environment 'warehous' (did you mean 'warehouse'?): registered are "),
        (["warehouse", "n_agents=0"], "error: env_args.n_agents=0: "),
        (["warehouse", "n_agents"], "error: 'n_agents' is no setting: expected key=value"),
        (["warehouse", "agents=4"], "error: cannot build 'warehouse': TypeError"),
        (["nowhere:MyEnv"], "error: cannot import 'nowhere' for 'nowhere:MyEnv'"),
        (["envs.warehouse:Warenhaus"], "error: module 'envs.warehouse' has no 'Warenhaus'"),
    ],
)
def test_mistakes_on_the_command_line_are_one_clear_line(arguments, message, tmp_path):
    code, lines, errors = run(*arguments, folder=tmp_path)
    assert code == 2 and not lines
    assert len(errors) == 1 and errors[0].startswith(message)
