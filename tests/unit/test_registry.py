"""Registries: PyMARL's ``REGISTRY[name] = X``, no double entries, a miss that explains itself."""

from __future__ import annotations

import pickle

import pytest

from utils.errors import UserError
from utils.registry import Registry, hint, nearest


@pytest.fixture
def registry() -> Registry:
    registry = Registry("mixer")
    registry["qmix"] = int
    registry["vdn"] = float
    return registry


def test_entries_are_found_under_their_names(registry: Registry) -> None:
    assert registry["qmix"] is int and "vdn" in registry and sorted(registry) == ["qmix", "vdn"]


def test_a_second_entry_under_one_name_is_refused_and_changes_nothing(registry: Registry) -> None:
    with pytest.raises(UserError, match="mixer 'qmix' is registered twice"):
        registry["qmix"] = str
    assert registry["qmix"] is int


def test_the_same_entry_may_be_registered_again(registry: Registry) -> None:
    registry["qmix"] = int  # a plug-in module that is imported twice
    assert registry["qmix"] is int


def test_a_miss_names_the_kind_the_nearest_and_all(registry: Registry) -> None:
    with pytest.raises(UserError) as caught:
        registry["qmixx"]
    assert str(caught.value) == "unknown mixer 'qmixx' (did you mean 'qmix'?): registered are qmix, vdn"


@pytest.mark.parametrize("name", ["zebra", None, 3])
def test_a_miss_without_a_near_name_guesses_nothing(registry: Registry, name: object) -> None:
    with pytest.raises(UserError) as caught:
        registry[name]
    assert str(caught.value) == f"unknown mixer '{name}': registered are qmix, vdn"
    assert len(registry) == 2, "a miss must not add an entry"


def test_names_that_are_not_text_can_be_listed(registry: Registry) -> None:
    registry[None] = str
    with pytest.raises(UserError, match="registered are None, qmix, vdn"):
        registry["x"]


def test_get_and_in_do_not_raise(registry: Registry) -> None:
    assert registry.get("none") is None and "none" not in registry


def test_it_survives_pickling_its_entries(registry: Registry) -> None:
    assert pickle.loads(pickle.dumps(dict(registry))) == {"qmix": int, "vdn": float}


def test_nearest_takes_the_most_similar_above_the_cutoff() -> None:
    assert nearest("gama", ["gamma", "lambda", "lr"]) == "gamma"
    assert nearest("gama", ["gamma"], cutoff=0.95) is None
    assert nearest("gama", []) is None
    assert hint("gama", ["gamma"]) == " (did you mean 'gamma'?)" and hint("x", ["gamma"]) == ""
