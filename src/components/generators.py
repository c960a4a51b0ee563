"""The generators that a process has by itself: Python's, NumPy's and PyTorch's."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th


def seed_everything(seed: int) -> None:
    """Seeds Python's, NumPy's and PyTorch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    th.manual_seed(seed)


class GlobalGenerators:
    """The global generators as a `Part`: actions, samples of the replay buffer and some environments are drawn here."""

    def state_dict(self) -> dict[str, Any]:
        """Where each generator stands; those of GPUs only where PyTorch has used one."""
        version, numbers, gauss = random.getstate()
        numpy_state = np.random.get_state(legacy=False)
        inner = numpy_state["state"]
        return {
            "python": [version, list(numbers), gauss],
            "numpy": {**numpy_state, "state": {**inner, "key": inner["key"].tolist()}},
            "torch": th.get_rng_state(),
            "cuda": th.cuda.get_rng_state_all() if th.cuda.is_initialized() else [],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from such a state."""
        version, numbers, gauss = state_dict["python"]
        random.setstate((version, tuple(numbers), gauss))
        np.random.set_state(state_dict["numpy"])
        th.set_rng_state(state_dict["torch"])
        if state_dict["cuda"]:
            th.cuda.set_rng_state_all(state_dict["cuda"])
