"""Records of runs with given numbers, for the tests of the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tracking.record import Evaluation, RecordWriter

QMIX = {"name": "qmix_ac", "learner": "q_learner", "mixer": "qmix", "agent_output_type": "pi_logits"}
VAST = {
    "name": "vast_qtran_ac",
    "learner": "vast_learner",
    "mixer": "vast_mixer",
    "subteam_mixer": "qtran",
    "assigner": "metagrad",
    "eta": 0.25,
    "agent_output_type": "pi_logits",
}


def write_run(
    folder: Path,
    values: Mapping[int, float],
    seed: int = 1,
    config: Mapping[str, Any] = QMIX,
    *,
    env: str = "warehouse",
    n_agents: int = 4,
    measure: str = "completed_orders",
    absolute: float | None = None,
    status: str | None = "COMPLETED",
    statistics: Mapping[str, Mapping[int, float]] | None = None,
    more: Mapping[str, Any] | None = None,
    start_time: str = "2026-01-01T00:00:00",
) -> Path:
    """The record of a run whose measure has ``values`` by step: two episodes each, one below and one above."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**config, "env": env, "seed": seed, "evaluate": False, **(more or {})}
    settings["env_args"] = {"n_agents": n_agents, "seed": seed}
    header = {"token": str(folder), "config": settings, "start_time": start_time, "command": "main"}
    writer = RecordWriter(folder, {**header, "experiment": {}, "host": {}, "meta": {}})
    for key, points in (statistics or {}).items():
        for t, value in points.items():
            writer.stat(key, value, t)
    for t, value in values.items():
        writer.stat(f"test_{measure}_mean", value, t)
        writer.evaluation(Evaluation(t, t + 1, {measure: _around(value), "return": [0.0, 0.0]}))
    if absolute is not None:
        episodes = {measure: _around(absolute) * 10, "return": [0.0] * 20}
        writer.evaluation(Evaluation(0, 0, episodes, absolute=True))
    if status is not None:
        writer.end(status)
    return folder


def _around(value: float) -> list[float]:
    return [value - 1, value + 1]


def line(values: Sequence[float], interval: int = 10) -> dict[int, float]:
    """Values at steps 0, interval, 2 interval, ..."""
    return {interval * place: value for place, value in enumerate(values)}
