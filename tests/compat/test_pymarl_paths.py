"""PyMARL's own module paths, class names, arguments and REGISTRY names, as PyMARL users' files write them."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

CLASSES = {  # path: name: arguments, in PyMARL's order; more may follow if they have defaults
    "components.episode_buffer": {
        "EpisodeBatch": "scheme groups batch_size max_seq_length data preprocess device",
        "ReplayBuffer": "scheme groups buffer_size max_seq_length preprocess device",
    },
    "components.transforms": {"Transform": "", "OneHot": "out_dim"},
    "components.action_selectors": {"EpsilonGreedyActionSelector": "args", "MultinomialActionSelector": "args"},
    "components.epsilon_schedules": {"DecayThenFlatSchedule": "start finish time_length decay"},
    "controllers.basic_controller": {"BasicMAC": "scheme groups args"},
    "envs.multiagentenv": {"MultiAgentEnv": ""},
    "learners.q_learner": {"QLearner": "mac scheme logger args"},
    "learners.coma_learner": {"COMALearner": "mac scheme logger args"},
    "learners.qtran_learner": {"QTranLearner": "mac scheme logger args"},
    "modules.agents.rnn_agent": {"RNNAgent": "input_shape args"},
    "modules.agents": {"RNNAgent": "input_shape args"},
    "modules.mixers.vdn": {"VDNMixer": ""},
    "modules.mixers.qmix": {"QMixer": "args"},
    "modules.mixers.qtran": {"QTranBase": "args"},
    "modules.critics.coma": {"COMACritic": "scheme args"},
    "runners.episode_runner": {"EpisodeRunner": "args logger"},
    "runners.parallel_runner": {"ParallelRunner": "args logger"},
    "utils.logging": {"Logger": "console_logger", "get_logger": ""},
    "utils.rl_utils": {"build_td_lambda_targets": "rewards terminated mask target_qs n_agents gamma td_lambda"},
}
METHODS = {  # what PyMARL's parts call of each other
    ("components.episode_buffer", "EpisodeBatch"): "extend to update __getitem__ max_t_filled",
    ("components.episode_buffer", "ReplayBuffer"): "insert_episode_batch can_sample sample",
    ("components.transforms", "OneHot"): "transform infer_output_info",
    ("components.action_selectors", "EpsilonGreedyActionSelector"): "select_action",
    ("components.action_selectors", "MultinomialActionSelector"): "select_action",
    ("components.epsilon_schedules", "DecayThenFlatSchedule"): "eval",
    ("controllers.basic_controller", "BasicMAC"): (
        "select_actions forward init_hidden parameters load_state cuda save_models load_models "
        "_build_agents _build_inputs _get_input_shape"
    ),
    ("envs.multiagentenv", "MultiAgentEnv"): (
        "step get_obs get_obs_agent get_obs_size get_state get_state_size get_avail_actions get_avail_agent_actions "
        "get_total_actions reset render close seed save_replay get_env_info"
    ),
    ("learners.q_learner", "QLearner"): "train cuda save_models load_models",
    ("learners.coma_learner", "COMALearner"): "train cuda save_models load_models",
    ("learners.qtran_learner", "QTranLearner"): "train cuda save_models load_models",
    ("modules.agents.rnn_agent", "RNNAgent"): "init_hidden forward",
    ("runners.episode_runner", "EpisodeRunner"): "setup get_env_info save_replay close_env run",
    ("runners.parallel_runner", "ParallelRunner"): "setup get_env_info save_replay close_env run",
    ("utils.logging", "Logger"): "setup_tb setup_sacred log_stat print_recent_stats",
}
REGISTERED = {  # path of a REGISTRY: name: path of what it names
    "components.action_selectors": {
        "epsilon_greedy": "components.action_selectors.EpsilonGreedyActionSelector",
        "multinomial": "components.action_selectors.MultinomialActionSelector",
    },
    "controllers": {"basic_mac": "controllers.basic_controller.BasicMAC"},
    "learners": {
        "q_learner": "learners.q_learner.QLearner",
        "coma_learner": "learners.coma_learner.COMALearner",
        "qtran_learner": "learners.qtran_learner.QTranLearner",
    },
    "modules.agents": {"rnn": "modules.agents.rnn_agent.RNNAgent"},
    "runners": {
        "episode": "runners.episode_runner.EpisodeRunner",
        "parallel": "runners.parallel_runner.ParallelRunner",
    },
}


def find(path):
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


@pytest.mark.parametrize(
    ("path", "arguments"),
    [(f"{module}.{name}", arguments) for module, names in CLASSES.items() for name, arguments in names.items()],
)
def test_a_class_is_where_pymarl_has_it_and_takes_its_arguments(path, arguments):
    found = [*inspect.signature(find(path)).parameters.values()]
    pymarls = arguments.split()
    assert [parameter.name for parameter in found[: len(pymarls)]] == pymarls
    assert all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in found[: len(pymarls)])
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    further = [parameter for parameter in found[len(pymarls) :] if parameter.kind not in variadic]
    assert all(parameter.default is not parameter.empty for parameter in further)


@pytest.mark.parametrize(("path", "methods"), METHODS.items(), ids=lambda value: value[1] if len(value) == 2 else "")
def test_it_has_the_methods_that_pymarls_parts_call(path, methods):
    cls = find(".".join(path))
    assert [name for name in methods.split() if not callable(getattr(cls, name, None))] == []


@pytest.mark.parametrize("path", REGISTERED)
def test_a_registry_has_pymarls_names(path):
    registry = find(f"{path}.REGISTRY")
    assert {name: registry[name] for name in REGISTERED[path]} == {
        name: find(target) for name, target in REGISTERED[path].items()
    }


def test_environments_are_registered_as_pymarl_does():
    registry = find("envs.REGISTRY")
    assert registry["sc2"].func is find("envs.env_fn")  # partial(env_fn, env=...)
    env = registry["gaussian_squeeze"](n_agents=4)
    assert isinstance(env, find("envs.multiagentenv.MultiAgentEnv"))


def test_run_is_the_door_to_one_experiment():
    assert [*inspect.signature(find("run.build")).parameters] == ["config"]
