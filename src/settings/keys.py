"""All configuration keys, one row each: what a key may hold, who reads it, and what changes with it.

What a key is for stands as a comment in the YAML file that gives its default. Checks at loading, ``print_config``, the
grouping of runs in plots and docs/settings.md follow from both. A key of a plug-in needs no row.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

RESULTS = "yes"  # runs that differ in such a key are different conditions: curves of their own
CHANCE = "by chance only"  # a seed: another draw of the same results
NOTHING = "no"  # places, labels, and what leaves the results as they are


@dataclass(frozen=True)
class Key:
    """What is known of a key.

    Args:
        form: what it may hold, as `settings.values.fit` reads it.
        readers: the packages that read it, comma-separated; empty: it is recorded only.
        changes: RESULTS, CHANCE or NOTHING.
    """

    form: str
    readers: str
    changes: str = RESULTS


COUNT, FROM_0 = "integer [1, 1e15]", "integer [0, 1e15]"  # the upper ends are what nobody can mean
EPISODES = "integer [1, 1e9]"
SIZE = "integer [1, 65536]"  # of a layer, or of what is played at once
POSITIVE, NOT_NEGATIVE, SHARE = "number (0, inf)", "number [0, inf)", "number [0, 1]"
NORM = "number (0, inf]"  # with infinity, gradients are not scaled

KEYS = {
    # --- parts ---
    "runner": Key("name in runners", "experiment"),
    "mac": Key("name in controllers", "experiment, learners"),
    "agent": Key("name in modules.agents", "controllers"),
    "agent_output_type": Key("one of q, pi_logits", "controllers, learners"),
    "learner": Key("name in learners", "experiment"),
    "objective": Key("name in learners.objectives or null", "learners"),
    "mask_before_softmax": Key("flag", "controllers"),
    "mixer": Key("name in modules.mixers or null", "learners"),
    "action_selector": Key("name in components.action_selectors", "controllers"),
    "critic_q_fn": Key("name in modules.critics", "learners"),
    "env": Key("name in envs or null", "settings, runners"),
    "env_args": Key("mapping", "envs, runners"),
    "env_args.seed": Key("seed or null", "envs", CHANCE),
    "env_args.render": Key("anything", "envs", NOTHING),  # an environment says which looks it has
    # --- the run ---
    "name": Key("text", "experiment"),
    "preset": Key("text or null", "settings"),
    "label": Key("text", "", NOTHING),
    "repeat_id": Key(FROM_0, "", NOTHING),
    "seed": Key("seed or null", "experiment, runners, assigners", CHANCE),
    "t_max": Key(COUNT, "experiment"),
    "batch_size_run": Key(SIZE, "runners, experiment"),
    "episodes_per_update": Key("integer [1, 1e9] or null", "experiment, learners"),
    "n_threads": Key("integer [1, 4096] or null", "experiment", NOTHING),
    "use_cuda": Key("flag", "experiment", NOTHING),
    "buffer_cpu_only": Key("flag", "experiment", NOTHING),
    # --- evaluation ---
    "test_nepisode": Key(EPISODES, "experiment"),
    "test_interval": Key(COUNT, "experiment"),
    "absolute_nepisode": Key("integer [0, 1e9] or null", "experiment"),
    "test_greedy": Key("flag", "components"),
    "evaluate": Key("flag", "experiment, learners"),
    # --- logging and checkpoints ---
    "local_results_path": Key("text", "settings", NOTHING),
    "use_tensorboard": Key("flag", "tracking", NOTHING),
    "sinks": Key("list", "tracking", NOTHING),
    "mongo_url": Key("text or null", "tracking", NOTHING),
    "mongo_db": Key("text or null", "tracking", NOTHING),
    "log_interval": Key(FROM_0, "experiment", NOTHING),
    "runner_log_interval": Key(FROM_0, "runners", NOTHING),
    "learner_log_interval": Key(FROM_0, "learners", NOTHING),
    "save_model": Key("flag", "experiment", NOTHING),
    "save_model_interval": Key(FROM_0, "experiment", NOTHING),
    "checkpoint_path": Key("text", "experiment"),
    "load_step": Key(FROM_0, "experiment"),
    "save_replay": Key("flag", "experiment, runners", NOTHING),
    # --- reinforcement learning ---
    "gamma": Key(SHARE, "learners"),
    "batch_size": Key(EPISODES, "experiment, learners"),
    "buffer_size": Key(EPISODES, "experiment, learners"),
    "lr": Key(POSITIVE, "learners"),
    "critic_lr": Key(POSITIVE, "learners"),
    "optimiser": Key("one of rmsprop, adam", "learners"),
    "optim_alpha": Key("number [0, 1)", "learners"),
    "optim_eps": Key(POSITIVE, "learners"),
    "grad_norm_clip": Key(NORM, "learners"),
    "policy_grad_norm_clip": Key("number (0, inf] or null", "learners"),
    "standardise_advantages": Key("flag", "learners"),
    "entropy_coef": Key(NOT_NEGATIVE, "learners"),
    "td_lambda": Key(SHARE, "learners"),
    "double_q": Key("flag", "learners"),
    "target_update_interval": Key(COUNT, "learners"),
    "target_update_interval_or_tau": Key("number (0, 1e15] or null", "learners"),
    "epsilon_start": Key(SHARE, "components"),
    "epsilon_finish": Key(SHARE, "components"),
    "epsilon_anneal_time": Key(FROM_0, "components"),
    "critic_output": Key("one of q, v", "learners"),
    # --- agent network ---
    "rnn_hidden_dim": Key(SIZE, "modules"),
    "obs_agent_id": Key("flag", "components, experiment"),
    "obs_last_action": Key("flag", "components"),
    # --- mixers ---
    "mixing_embed_dim": Key(SIZE, "modules"),
    "hypernet_layers": Key("one of 1, 2", "modules"),
    "hypernet_embed": Key(SIZE, "modules"),
    "qtran_arch": Key("one of qtran_paper, coma_critic", "modules"),
    "network_size": Key("one of small, big", "modules"),
    "qtran_v": Key("one of state, values", "modules"),
    "qtran_end_to_end": Key("flag", "modules"),
    "qtran_targets": Key("one of mean, sum", "modules"),
    "opt_loss": Key(NOT_NEGATIVE, "learners"),
    "nopt_min_loss": Key(NOT_NEGATIVE, "learners"),
    # --- Weighted QMIX ---
    "w": Key(SHARE, "learners"),
    "hysteretic_qmix": Key("flag", "learners"),
    "qmix_loss": Key(NOT_NEGATIVE, "learners"),
    "central_loss": Key(NOT_NEGATIVE, "learners"),
    "central_mixing_embed_dim": Key(SIZE, "learners"),
    # --- sub-teams ---
    "subteam_mixer": Key("name in modules.mixers or null", "modules"),
    "assigner": Key("name in assigners", "learners"),
    "eta": Key("number (0, 1]", "assigners, modules"),
    "spatial_centroids": Key("one of half, all", "assigners"),
    "assigner_hidden_dim": Key(SIZE, "assigners"),
    "assigner_lr": Key(POSITIVE, "learners"),
    "assigner_grad_norm_clip": Key(NORM, "learners"),
    "assigner_baseline": Key("one of before, after", "learners"),
    "train_on_newest": Key("flag", "learners"),
}
# Keys that may differ among the runs of one curve.
FREE = {name for name, key in KEYS.items() if key.changes != RESULTS}
UNCONDITIONAL = ("runner", "mac", "learner")  # names that every run looks up


def look_up(name: str, value: Any) -> Any:
    """What the key ``name`` stands for with ``value``: the entry of its package's REGISTRY.

    The package is imported now, not with this module: it stands above, is slow to import, and plug-ins add to it.

    Raises:
        UserError: there is no such entry.
    """
    package = KEYS[name].form.split()[2]
    return import_module(package).REGISTRY[value]
