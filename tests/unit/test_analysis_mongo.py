"""Runs in a real MongoDB are the same as in their folders."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from mongod import Mongod, needs_mongod, running

import plot
from analysis.mongo import find_mongo
from analysis.notes import Notes
from analysis.runs import find_folders
from tests.unit.analysis_helpers import QMIX, VAST, line, write_run
from tracking.mongo import replica
from tracking.mongo.replica import Replica
from tracking.mongo.target import target_of_flag

pytestmark = needs_mongod
NAME = "pymarl"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    yield from running(tmp_path_factory.mktemp("mongod") / "server")


@pytest.fixture
def runs(tmp_path: Path, server: Mongod, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Four runs in folders, whose records are in the database, too; one goes on, one has long statistics."""
    monkeypatch.setattr(replica, "MAX_POINTS", 3)
    for number, config in enumerate((QMIX, VAST)):
        for seed in (1, 2):
            folder = tmp_path / "runs" / f"{number}_{seed}"
            write_run(
                folder,
                line([0, number, seed]),
                seed,
                config,
                statistics={"loss": line(range(8)), "loss_like": line([9])},
                absolute=5 if seed == 1 else None,
                status="COMPLETED" if seed == 1 else None,
            )
    with contextlib.closing(server.client()) as client:
        client.drop_database(NAME)
        for folder in sorted((tmp_path / "runs").iterdir()):
            Replica(client[NAME], folder).deliver()
        yield tmp_path / "runs"


def test_runs_read_from_mongo_are_those_of_the_folders(runs: Path, server: Mongod) -> None:
    target, notes = target_of_flag(f"{server.address}:{NAME}"), Notes()
    with contextlib.closing(target.connect()) as client:
        stored = find_mongo(client[NAME], target, notes)
        recorded = find_folders([runs], notes)
        assert len(stored) == len(recorded) == 4
        for keys in (["loss"], [], None):
            for one, other in zip(stored, recorded, strict=True):
                found, expected = one.read(keys), other.read(keys)
                assert found.config == expected.config and found.status == expected.status
                assert found.evaluations == expected.evaluations and found.absolute == expected.absolute
                assert found.statistics == expected.statistics
    assert stored[0].source == f"run 1 of {target}" and notes.lines() == []


def test_evaluations_come_in_order_whenever_they_were_delivered(runs: Path, server: Mongod) -> None:
    target = target_of_flag(f"{server.address}:{NAME}")
    with contextlib.closing(server.client()) as client:
        late = {"run_id": 1, "t": 5, "t_env": 6, "absolute": False, "episodes": {"return": [1.0]}}
        client[NAME].evaluations.insert_one(late)
        run = find_mongo(client[NAME], target, Notes())[0].read([])
    assert [point.t for point in run.evaluations] == [0, 5, 10, 20]


def test_the_command_line_draws_the_same_table(
    runs: Path, server: Mongod, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plot, "save", lambda figure, path: [])

    def table(*source: str) -> str:
        assert plot.main([*source, "--where", "seed=1", "--out", str(tmp_path / "out")]) == 0
        return capsys.readouterr().out

    expected = table(str(runs))
    assert table("-m", f"{server.address}:{NAME}") == expected
    assert table("--url", f"mongodb://{server.address}", "--db", NAME) == expected


def test_an_empty_database_and_a_filter_that_fits_none_are_told(
    runs: Path, server: Mongod, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plot.main(["-m", f"{server.address}:nothing"]) == 2
    place = f"MongoDB {server.address}"
    assert capsys.readouterr().err == f"error: no runs in {place}/nothing: searched its collection 'runs'\n"
    assert plot.main(["-m", f"{server.address}:{NAME}", "--where", "name=vdn"]) == 2
    assert f"none of 4 runs in {place}/{NAME}: name is qmix_ac, vast_qtran_ac there" in capsys.readouterr().err


def test_runs_of_sacreds_own_observer_are_read(runs: Path, server: Mongod) -> None:
    target, notes = target_of_flag(f"{server.address}:{NAME}"), Notes()
    with contextlib.closing(server.client()) as client:
        client[NAME].runs.update_one({"_id": 1}, {"$unset": {"token": 1}})
        client[NAME].evaluations.delete_many({"run_id": 1})
        run = find_mongo(client[NAME], target, notes)[0].read(["test_completed_orders_mean"])
    series = run.series("completed_orders")
    assert series is not None and series.values.tolist() == [0, 0, 1]
    assert notes.lines()[0].startswith("recorded without single episodes") and notes.lines()[0].endswith("1 runs")


def test_foreign_and_queued_runs_are_told_and_the_others_are_read(runs: Path, server: Mongod) -> None:
    target, notes = target_of_flag(f"{server.address}:{NAME}"), Notes()
    with contextlib.closing(server.client()) as client:
        client[NAME].runs.update_one({"_id": 1}, {"$unset": {"start_time": 1}, "$set": {"status": "QUEUED"}})
        client[NAME].runs.update_one({"_id": 2}, {"$unset": {"status": 1, "config.seed": 1}})
        client[NAME].runs.update_one({"_id": 3}, {"$set": {"config": [1]}})
        found = find_mongo(client[NAME], target, notes)
    assert [run.source for run in found] == [f"run 4 of {target}"]
    (told,) = notes.lines()
    assert told.startswith("left out, as it cannot be read: ")
    assert f"run 1 of {target}: no complete run of this program, as it lacks start_time (str)" in told
    assert f"run 2 of {target}: no complete run of this program, as it lacks config.seed (int), status (str)" in told
    assert f"run 3 of {target}: expected a configuration of keys and values, got [1]" in told
