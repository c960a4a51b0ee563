"""The rules of GaussianSqueeze (the paper, section 5.1), compiled.

At the end stands the loop over several environments. The same rules in plain Python are
tests/envs/oracles/gaussian_squeeze.py.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from components.compiled import compiled

N_ACTIONS = 10  # units of the resource that an agent can take, 0 to 9
MU = 400.0  # units; the centre of the Gaussian
SIGMA = 200.0  # units


@compiled
def system_performance(units: int) -> float:
    """GS(z) = z exp(-((z - mu) / sigma)^2) of the sum z of all actions."""
    return units * math.exp(-(((units - MU) / SIGMA) ** 2))


@compiled
def step(actions: npt.NDArray[np.int64]) -> float:
    """What a team earns whose agents take ``actions`` [N] units."""
    return system_performance(actions.sum())


@compiled
def step_rows(actions: npt.NDArray[np.int64], rewards: npt.NDArray[np.float64]) -> None:
    """`step` in several environments: ``actions`` [M, N] earn ``rewards`` [M]."""
    for m in range(len(actions)):
        rewards[m] = step(actions[m])
