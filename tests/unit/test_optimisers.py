"""Optimisers by name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch as th

from learners.optimisers import make_optimiser
from utils.errors import UserError


def args(name):
    return SimpleNamespace(optimiser=name, optim_alpha=0.7, optim_eps=0.02)


def test_each_optimiser_has_its_settings():
    weights = [th.nn.Parameter(th.zeros(2))]
    rmsprop, adam = (make_optimiser(args(name), weights, lr=0.3) for name in ("rmsprop", "adam"))
    assert isinstance(rmsprop, th.optim.RMSprop) and isinstance(adam, th.optim.Adam)
    assert {key: rmsprop.defaults[key] for key in ("lr", "alpha", "eps")} == {"lr": 0.3, "alpha": 0.7, "eps": 0.02}
    assert {key: adam.defaults[key] for key in ("lr", "betas", "eps")} == {
        "lr": 0.3,
        "betas": (0.9, 0.999),
        "eps": 0.02,
    }


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(UserError, match="optimiser: expected rmsprop or adam, got 'sgd'"):
        make_optimiser(args("sgd"), [th.nn.Parameter(th.zeros(2))], lr=0.3)
