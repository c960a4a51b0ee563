"""The state that an environment may give away, by ``get_state_dict`` and ``load_state_dict``; PyMARL has neither."""

from __future__ import annotations

from typing import Any

EnvState = dict[str, Any] | None  # None of an environment that gives none away


def env_state(env: Any) -> EnvState:
    """What the next episodes of an environment depend on, generators included."""
    return env.get_state_dict() if hasattr(env, "get_state_dict") else None


def load_env_state(env: Any, state: EnvState) -> None:
    """Gives an environment its state back, if it gave one away."""
    if state is not None:
        env.load_state_dict(state)
