"""Parameters to and from files, and finding the checkpoint a user asks for."""

from __future__ import annotations

import os
from typing import Any

import torch as th

from utils.errors import UserError


def save_state(part: Any, folder: str, name: str) -> None:
    """Writes the ``state_dict`` of a module or optimiser to ``folder/name`` (completely or not at all)."""
    path = os.path.join(folder, name)
    th.save(part.state_dict(), path + ".part")
    os.replace(path + ".part", path)


def load_state(part: Any, folder: str, name: str) -> None:
    """Reads ``folder/name`` into a module or optimiser.

    Raises:
        UserError: the file is missing, unreadable or of another architecture.
    """
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        raise UserError(f"checkpoint_path: '{path}' is missing; the run's algorithm has to be the checkpoint's")
    try:
        state = th.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged file
        raise UserError(f"checkpoint_path: '{path}' cannot be read: {_first_line(error)}") from error
    _check_fits(part, state, path)
    part.load_state_dict(state)


def _check_fits(part: Any, state: Any, path: str) -> None:
    if not isinstance(state, dict) or (isinstance(part, th.optim.Optimizer) and "param_groups" not in state):
        raise UserError(f"checkpoint_path: '{path}' does not hold the state of a {type(part).__name__}")
    if isinstance(part, th.nn.Module):
        own = {key: tuple(value.shape) for key, value in part.state_dict().items()}
        theirs = {key: tuple(getattr(value, "shape", ())) for key, value in state.items()}
    else:
        own, theirs = _optimiser_shapes(part.state_dict()), _optimiser_shapes(state)
    for key in [*own, *theirs]:
        if own.get(key) != theirs.get(key):
            raise UserError(
                f"checkpoint_path: '{path}' does not fit this run: {key} has shape {theirs.get(key, 'nothing')} "
                f"there, expected {own.get(key, 'nothing')} (other algorithm, environment, n_agents or layer sizes)"
            )


def _optimiser_shapes(state: dict[str, Any]) -> dict[str, Any]:
    return {f"parameters of group {i}": len(group["params"]) for i, group in enumerate(state["param_groups"])}


def find_checkpoint(path: str, load_step: int) -> tuple[str, int]:
    """The folder of the checkpoint to load, and its time step.

    Args:
        path: a folder with one sub-folder per time step, as PyMARL saves them.
        load_step: the wanted step, of which the nearest is taken; 0 takes the largest.

    Raises:
        UserError: the folder is missing or holds no checkpoint.
    """
    if not os.path.isdir(path):
        raise UserError(f"checkpoint_path: '{path}' is no folder")
    steps = [int(name) for name in os.listdir(path) if name.isdigit() and os.path.isdir(os.path.join(path, name))]
    if not steps:
        raise UserError(f"checkpoint_path: '{path}' holds no checkpoint; expected sub-folders named by time step")
    step = max(steps) if load_step == 0 else min(steps, key=lambda candidate: abs(candidate - load_step))
    return os.path.join(path, str(step)), step


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
