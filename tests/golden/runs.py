"""Short runs whose numbers are kept: which there are, how one is played, and what of it is kept.

They go through the doors that users have: the command line, the record and the checkpoint files.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import signal
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from itertools import product
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch as th

from main import cli

ALGORITHMS = (
    *("iql", "vdn", "qmix", "qtran", "qtran_values", "coma"),
    *("vast_il", "vast_vdn", "vast_qmix", "vast_qtran"),
    *("il_ac", "vdn_ac", "qmix_ac", "qtran_ac"),
    *("vast_il_ac", "vast_vdn_ac", "vast_qmix_ac", "vast_qtran_ac"),
)
RUNNERS = ("episode", "vector", "parallel")
LIMITS = {"warehouse": 10, "battle": 25, "gaussian_squeeze": 1}  # steps of an episode; in Battle some end sooner
ENVS = {
    "warehouse": ("env_args.n_agents=4", "env_args.episode_limit=10"),
    "battle": ("env_args.n_agents=20", "env_args.episode_limit=25"),
    "gaussian_squeeze": ("env_args.n_agents=50",),
}
EVERY = (ENVS, RUNNERS, ALGORITHMS)
# Settings that no shipped file has: what is added to a run, by a name. (algorithm, environment, runner, what differs)
VARIANTS = {
    "random assigner": ("vast_qmix", "warehouse", "vector", ("assigner=random",)),
    "fixed assigner": ("vast_qtran", "battle", "vector", ("assigner=fixed", "eta=0.5")),
    "spatial assigner": ("vast_vdn", "battle", "vector", ("assigner=spatial",)),
    "all spatial centroids": ("vast_qtran_ac", "warehouse", "episode", ("assigner=spatial", "spatial_centroids=all")),
    "newest episodes": ("vast_qmix", "warehouse", "vector", ("train_on_newest=True", "assigner_baseline=before")),
    "baseline before": ("vast_qmix_ac", "gaussian_squeeze", "vector", ("assigner_baseline=before",)),
    "two updates a rollout": ("vast_qtran", "warehouse", "vector", ("episodes_per_update=1",)),
    "released il": ("il_ac", "warehouse", "vector", ("preset=released",)),
    "released vast": ("vast_qtran_ac", "battle", "vector", ("preset=released",)),
    "released squeeze": ("qtran_ac", "gaussian_squeeze", "vector", ("preset=released",)),
    "big coma_critic": ("qtran", "warehouse", "vector", ("qtran_arch=coma_critic", "network_size=big")),
    "detached qtran": ("qtran_values", "battle", "vector", ("qtran_end_to_end=False", "qtran_v=values")),
    "summed targets": ("vast_qtran", "warehouse", "episode", ("qtran_targets=sum", "td_lambda=0.7")),
    "one layer": ("qmix", "battle", "vector", ("hypernet_layers=1",)),
    "feed-forward": ("vast_qmix", "warehouse", "vector", ("agent=ff",)),
    "returns": ("qmix", "warehouse", "vector", ("td_lambda=0.8", "double_q=False")),
    "continuing": ("vast_qmix", "warehouse", "vector", ("env_args.continuing_episode=True", "td_lambda=0.8")),
    "continuing policies": ("vast_vdn_ac", "battle", "vector", ("env_args.continuing_episode=True", "td_lambda=0.5")),
    "standardised": ("vast_qmix_ac", "battle", "vector", ("standardise_advantages=True", "entropy_coef=0.01")),
    "value per history": ("vdn_ac", "warehouse", "episode", ("critic_output=v",)),
    "adam, nothing appended": ("vdn", "battle", "vector", ("optimiser=adam", "obs_agent_id=False")),
    "no last action": ("qmix", "warehouse", "episode", ("obs_last_action=False", "grad_norm_clip=0.5")),
    "greedy policies": ("coma", "battle", "vector", ("test_greedy=False", "mask_before_softmax=True")),
    "clipped": ("coma", "warehouse", "vector", ("grad_norm_clip=0.001", "target_update_interval=10")),
    "clipped policies": ("qmix_ac", "warehouse", "vector", ("grad_norm_clip=0.02", "policy_grad_norm_clip=0.01")),
    "recovery": ("iql", "battle", "episode", ("env_args.recovery=0.1",)),
    "no time penalty": ("iql", "warehouse", "vector", ("env_args.time_penalty_on_completion=False",)),
}
# Checkpoints that are kept (below CHECKPOINTS), and what else their training was given.
CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"
_VALUES = ("batch_size=16", "buffer_size=100", "episodes_per_update=2", "lr=0.005", "td_lambda=0.8")
TRAINED = {
    "qtran": (*_VALUES, "t_max=1500"),  # later its agents attack, whatever they see
    "vast_qmix": _VALUES,
    "vast_qtran_ac": ("batch_size=8", "buffer_size=8", "episodes_per_update=8", "lr=0.003", "critic_lr=0.003"),
}


def all_runs() -> dict[str, list[str]]:
    """The command line (without program and folder) of every run by its name."""
    shipped = {f"{alg} {env} {runner}": command_line(alg, env, runner) for env, runner, alg in product(*EVERY)}
    variants = {
        f"{alg} {env} {runner}: {name}": [*command_line(alg, env, runner), *words]
        for name, (alg, env, runner, words) in VARIANTS.items()
    }
    return {**shipped, **variants, **runs_of_checkpoints()}


def runs_of_checkpoints() -> dict[str, list[str]]:
    """Of every kept checkpoint, an evaluation and a few more updates: what its agents do, and that it learns on."""
    runs = {}
    for path in sorted(CHECKPOINTS.glob("*/*")):
        alg, step = path.parent.name, int(path.name)
        words = [
            *command_line(alg, "battle", "vector"),
            "env_args.n_agents=4",
            f"checkpoint_path={{checkpoints}}/{alg}",
        ]
        runs[f"{alg} checkpoint: evaluated"] = [*words, "evaluate=True", "test_nepisode=16"]
        runs[f"{alg} checkpoint: trained on"] = [*words, f"t_max={step + 4 * LIMITS['battle']}"]
    return runs


def training_of_checkpoint(alg: str) -> list[str]:
    """The command line that makes a checkpoint; Battle, because there all that agents do shows in the returns."""
    words = [*command_line(alg, "battle", "vector"), "env_args.n_agents=4", "batch_size_run=8", "test_interval=6000"]
    return [*words, "t_max=6000", "epsilon_anneal_time=4000", "target_update_interval=20", *TRAINED[alg]]


def command_line(alg: str, env: str, runner: str) -> list[str]:
    """Three updates of small networks, with copies into the target network between them, and three evaluations."""
    size = 1 if runner == "episode" else 2  # episodes of a rollout
    limit = LIMITS[env]
    if on_policy := alg == "coma" or alg.endswith("_ac"):
        rollouts = 6 // size
        learning = ["batch_size=2", "buffer_size=2", "episodes_per_update=2"]
        # Episodes, but COMA counts steps; either way there is a copy before the last update, not before each.
        learning.append(f"target_update_interval={limit * 3 // 2 + 1 if alg == 'coma' else 4}")
    else:
        rollouts = 5 if runner == "episode" else 4
        learning = ["batch_size=3", "buffer_size=4", "target_update_interval=2"]
    half = rollouts * size * limit // 2
    exploring = [] if on_policy and alg != "coma" else [f"epsilon_anneal_time={half}"]
    return [
        *(f"--config={alg}", f"--env-config={env}", "with", *ENVS[env]),
        *("seed=7", "use_cuda=False", "n_threads=1", f"runner={runner}", f"batch_size_run={size}"),
        *(*small_networks(alg), *learning, *exploring, f"t_max={(rollouts - 1) * size * limit}"),
        *(f"test_interval={half}", "test_nepisode=2", "absolute_nepisode=2"),
        *("learner_log_interval=1", "runner_log_interval=1", "save_model=True", f"save_model_interval={half}"),
    ]


def small_networks(alg: str) -> list[str]:
    """Few units in each network that the algorithm has."""
    vast = alg.startswith("vast_")
    sizes = {
        "rnn_hidden_dim": True,
        "mixing_embed_dim": vast or "qmix" in alg or "qtran" in alg,
        "hypernet_embed": vast or "qmix" in alg,
        "assigner_hidden_dim": vast,
    }
    return [f"{key}=8" for key, is_there in sizes.items() if is_there]


# --- one run ---


def play(words: Sequence[str], folder: Path) -> dict[str, Any]:
    """Carries out a command line in this process, with its results in an empty folder; returns what is kept.

    Raises:
        RuntimeError: it does not end with status 0; the message is what it printed.
    """
    console, handler = io.StringIO(), signal.getsignal(signal.SIGTERM)
    with redirect_stdout(console), redirect_stderr(console):
        placed = [word.replace("{checkpoints}", str(CHECKPOINTS)) for word in words]
        status = cli(["main.py", *placed, f"local_results_path={folder}"])
    signal.signal(signal.SIGTERM, handler)
    if status != 0:
        raise RuntimeError(f"{' '.join(words)}: ended with {status}\n{console.getvalue()}")
    return {**summary_of_record(folder / "sacred/1/record.jsonl"), **summary_of_checkpoints(folder / "models")}


def summary_of_record(path: Path) -> dict[str, Any]:
    """The statistics by key, every evaluation with its episodes, and the end; each number with all its digits."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    stats: dict[str, list[Any]] = {}
    evaluations: list[dict[str, Any]] = []
    for line in lines:
        if line["kind"] == "stat":
            stats.setdefault(line["key"], []).append([line["t"], line["value"]])
        elif line["kind"] == "evaluation":
            evaluations.append({key: line[key] for key in ("t", "t_env", "absolute", "episodes")})
    return {"status": lines[-1].get("status"), "stats": stats, "evaluations": evaluations}


def summary_of_checkpoints(models: Path) -> dict[str, Any]:
    """A hash of each file's tensors, and the Euclidean norms of the tensors at the end; empty without checkpoints."""
    files = sorted(models.rglob("*.th"))
    contents = {"/".join(path.relative_to(models).parts[1:]): tensors_of(path) for path in files}
    last = max((int(name.split("/")[0]) for name in contents if not name.startswith("best")), default=None)
    return {
        "files": {name: hash_of(tensors) for name, tensors in contents.items()},
        "norms": {
            name: {key: norm(value) for key, value in tensors.items()}
            for name, tensors in contents.items()
            if name.startswith(f"{last}/")
        },
    }


def tensors_of(path: Path) -> dict[str, Any]:
    """The arrays of a checkpoint file by their keys, sorted; of an optimiser, those of its state."""
    state = th.load(path, map_location="cpu", weights_only=True)
    if "param_groups" in state:
        state = {f"{number}.{key}": value for number, kept in state["state"].items() for key, value in kept.items()}
    return {key: np.asarray(state[key]) for key in sorted(state)}


def hash_of(tensors: dict[str, Any]) -> str:
    """Of keys, types, shapes and bytes."""
    parts = [f"{key} {array.dtype} {array.shape} ".encode() + array.tobytes() for key, array in tensors.items()]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def norm(array: Any) -> float:
    """Euclidean, with six digits."""
    return float(f"{np.linalg.norm(array.astype(float)):.6g}")


# --- what the numbers depend on ---


def machine() -> dict[str, str]:
    """What decides the last bits: the processor, its instructions that PyTorch uses, and the versions of libraries."""
    return {
        "cpu": cpu_model(),
        "capability": th.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": th.__version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
    }


def cpu_model() -> str:
    """Vendor, family and model by number, where Linux tells them."""
    path = Path("/proc/cpuinfo")
    lines = (line.partition(":") for line in path.read_text().splitlines()) if path.exists() else ()
    facts: dict[str, str] = {}
    for key, _, value in lines:
        facts.setdefault(key.strip(), value.strip())
    return " ".join(facts.get(key, "?") for key in ("vendor_id", "cpu family", "model"))
