"""The copy of a record in a real MongoDB: complete, in order, nothing twice, whatever happens in between."""

from __future__ import annotations

import math
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from mongod import Mongod, needs_mongod, running
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import AutoReconnect, BulkWriteError

from tracking.mongo import replica
from tracking.mongo.delivery import SOURCES, Delivery
from tracking.mongo.replica import DivergedError, Replica, run_document
from tracking.mongo.target import target_of_flag
from tracking.record import FILE, Evaluation, RecordWriter, read_lines, read_record

pytestmark = needs_mongod
Data = Database[dict[str, Any]]
START = "2026-11-25T14:19:00.219000"


def header(token: str = "a") -> dict[str, Any]:
    return {
        "token": token,
        "id": 1,
        "config": {"lr": 0.5, "env_args": {"n_agents": 4}},
        "command": "main",
        "start_time": START,
        "experiment": {"name": "pymarl-vast", "sources": [["main.py", "_sources/main.py"]]},
        "host": {"hostname": "here"},
        "meta": {"options": {"--name": None, "UPDATE": ["lr=0.5"]}},
    }


def evaluation(t: int, absolute: bool = False, value: float = 1.5) -> Evaluation:
    return Evaluation(t, t + 3, {"return": [value, -value], "ep_length": [t, 7]}, absolute)


def write(writer: RecordWriter, steps: range) -> None:
    """Two statistics at each step, and an evaluation at every tenth."""
    for t in steps:
        writer.stat("loss", t / 3, t)
        writer.stat("return_mean", -t, t)
        if t % 10 == 0:
            writer.evaluation(evaluation(t))


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    yield from running(tmp_path_factory.mktemp("mongod"))


@pytest.fixture
def database(mongod: Mongod) -> Iterator[Data]:
    with mongod.client() as client:
        client.drop_database("test")
        yield client.test


@pytest.fixture
def writer(tmp_path: Path) -> RecordWriter:
    return RecordWriter(tmp_path, header())


def points(folder: Path) -> int:
    return sum(line["kind"] in ("stat", "evaluation") for line in read_lines(folder / FILE))


def assert_same(database: Data, folder: Path, run_id: int = 1) -> None:
    """The database holds the points of the record, all, in order and once: by a count, and by the slow obvious way."""
    lines = list(read_lines(folder / FILE))
    run = database.runs.find_one({"_id": run_id})
    assert run is not None and run["token"] == lines[0]["token"]
    found = list(database.metrics.find({"run_id": run_id}))
    episodes = list(database.evaluations.find({"run_id": run_id}, sort=["t", "absolute"]))
    assert sum(len(metric["values"]) for metric in found) + len(episodes) == points(folder)
    for metric in found:
        mine = [line for line in lines if line["kind"] == "stat" and line["key"] == metric["name"]]
        assert metric["steps"] == [line["t"] for line in mine]
        assert metric["values"] == [line["value"] for line in mine]
        times = [round(moment.timestamp(), 3) for moment in metric["timestamps"]]
        assert times == pytest.approx([line["time"] for line in mine], abs=0.002)
        assert metric["points"] == len(mine)
    mine = sorted(
        (line for line in lines if line["kind"] == "evaluation"), key=lambda line: (line["t"], line["absolute"])
    )
    for key in ("t", "t_env", "absolute", "episodes"):
        assert [document[key] for document in episodes] == [line[key] for line in mine]
    assert sorted(run["info"]["metrics"], key=lambda entry: entry["name"]) == sorted(
        ({"name": metric["name"], "id": str(metric["_id"])} for metric in found), key=lambda entry: entry["name"]
    )


# --- what is there ---


def test_a_run_is_there_by_sacreds_schema(database: Data, writer: RecordWriter, tmp_path: Path) -> None:
    write(writer, range(21))
    writer.evaluation(evaluation(20, absolute=True))
    (tmp_path / "cout.txt").write_text("hello Ω")
    writer.end("COMPLETED")
    copy = Replica(database, tmp_path)
    copy.deliver()
    assert_same(database, tmp_path)
    assert (copy.delivered, copy.new) == (21 * 2 + 3 + 1,) * 2
    run = database.runs.find_one()
    assert run is not None and run["config"] == header()["config"] and run["host"] == {"hostname": "here"}
    assert run["start_time"] == datetime.fromisoformat(START).replace(tzinfo=UTC)
    assert run["experiment"] == {"name": "pymarl-vast", "sources": []} and run["meta"] == header()["meta"]
    assert (run["status"], run["captured_out"], run["command"]) == ("COMPLETED", "hello Ω", "main")
    last = [*read_lines(tmp_path / FILE)][-1]["time"]
    assert run["heartbeat"] == run["stop_time"]
    assert run["stop_time"].timestamp() == pytest.approx(last, abs=0.002)
    assert (run["artifacts"], run["resources"], run["result"]) == ([], [], None)


@pytest.mark.parametrize("status, reason", [("INTERRUPTED", None), ("FAILED", "RuntimeError: boom")])
def test_the_end_of_a_run_is_there(
    database: Data, writer: RecordWriter, tmp_path: Path, status: str, reason: Any
) -> None:
    copy = Replica(database, tmp_path)
    copy.deliver(alive=True)
    writer.end(status, reason)
    copy.deliver()
    run = database.runs.find_one()
    assert run is not None and run["status"] == status and run.get("fail_trace") == ([reason] if reason else None)


def test_a_killed_run_stays_running_since_its_last_line(database: Data, writer: RecordWriter, tmp_path: Path) -> None:
    write(writer, range(3))
    with (tmp_path / FILE).open("a") as file:
        file.write('{"kind": "stat", "key": "lo')  # the line that it was writing
    Replica(database, tmp_path).deliver()
    assert_same(database, tmp_path)
    run = database.runs.find_one()
    assert run is not None and run["status"] == "RUNNING" and "stop_time" not in run
    assert run["heartbeat"].timestamp() == pytest.approx([*read_lines(tmp_path / FILE)][-1]["time"], abs=0.002)


def test_a_living_run_shows_signs_of_life_without_points(database: Data, writer: RecordWriter, tmp_path: Path) -> None:
    copy = Replica(database, tmp_path)
    beats = []
    for _ in range(2):
        time.sleep(0.02)
        copy.deliver(alive=True)
        run = database.runs.find_one()
        assert run is not None
        beats.append(run["heartbeat"])
    assert beats[0] < beats[1]


def test_numbers_that_json_lacks_are_numbers(database: Data, writer: RecordWriter, tmp_path: Path) -> None:
    for value in (math.nan, math.inf, -math.inf):
        writer.stat("loss", value, 0)
    writer.evaluation(evaluation(0, value=math.inf))
    Replica(database, tmp_path).deliver()
    metric, point = database.metrics.find_one(), database.evaluations.find_one()
    assert metric is not None and math.isnan(metric["values"][0]) and metric["values"][1:] == [math.inf, -math.inf]
    assert point is not None and point["episodes"]["return"] == [math.inf, -math.inf]


def test_the_console_s_text_is_its_end(
    database: Data, writer: RecordWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "CONSOLE_BYTES", 10)
    copy = Replica(database, tmp_path)
    for text in ("short", "what is said at the end"):
        (tmp_path / "cout.txt").write_text(text)
        copy.deliver()
        run = database.runs.find_one()
        assert run is not None and run["captured_out"] == text[-10:]


# --- repeated, in pieces, at once ---


def test_it_is_delivered_in_pieces_while_the_record_grows(database: Data, writer: RecordWriter, tmp_path: Path) -> None:
    copy = Replica(database, tmp_path)
    for start in range(0, 60, 12):
        write(writer, range(start, start + 12))
        copy.deliver()
        assert_same(database, tmp_path)


def test_nothing_is_delivered_twice(database: Data, writer: RecordWriter, tmp_path: Path) -> None:
    write(writer, range(20))
    Replica(database, tmp_path).deliver()
    write(writer, range(20, 30))
    for new in (21, 0):
        copy = Replica(database, tmp_path)
        copy.deliver()
        assert (copy.new, copy.delivered) == (new, 63)
        assert_same(database, tmp_path)


@pytest.mark.parametrize("carried_out", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(9))
def test_a_write_that_fails_before_or_after_it_is_carried_out_does_no_harm(
    database: Data,
    writer: RecordWriter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    carried_out: bool,
) -> None:
    """The network fails at the ``number``-th write: whether it was carried out cannot be seen."""
    write(writer, range(11))
    calls = 0

    def failing(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Collection[Any], *args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number + 1 and not carried_out:
                raise AutoReconnect("lost")
            result = method(self, *args, **kwargs)
            if calls == number + 1:
                raise AutoReconnect("lost")
            return result

        return call

    for name in ("insert_one", "update_one", "bulk_write"):
        monkeypatch.setattr(Collection, name, failing(getattr(Collection, name)))
    first = Replica(database, tmp_path)
    try:
        first.deliver()
        assert calls <= number
    except AutoReconnect:
        write(writer, range(11, 15))
        Replica(database, tmp_path).deliver()
    assert_same(database, tmp_path)
    assert number < 8 or calls <= number  # there are so many writes, so that all were tried


def test_several_processes_at_once_do_no_harm(database: Data, writer: RecordWriter, tmp_path: Path) -> None:
    write(writer, range(40))
    writer.end("COMPLETED")
    failures = []

    def push() -> None:
        try:
            for _ in range(5):
                Replica(database, tmp_path).deliver()
        except Exception as error:
            failures.append(error)

    for _ in range(3):
        database.client.drop_database("test")
        threads = [threading.Thread(target=push) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert database.runs.count_documents({}) == 1
        assert_same(database, tmp_path)


@pytest.mark.parametrize("other", ["a", "b"], ids=["the same run", "another run"])
def test_another_process_may_come_first_with_a_run(
    database: Data, writer: RecordWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """It enters its run after this one chose a number, and before this one enters its own."""
    write(writer, range(5))
    (tmp_path / "b").mkdir()
    write(RecordWriter(tmp_path / "b", header("b")), range(3))
    insert = Collection.insert_one

    def late(self: Collection[Any], document: dict[str, Any]) -> Any:
        monkeypatch.setattr(Collection, "insert_one", insert)
        Replica(database, tmp_path if other == "a" else tmp_path / "b").deliver()
        return insert(self, document)

    monkeypatch.setattr(Collection, "insert_one", late)
    copy = Replica(database, tmp_path)
    copy.deliver()
    assert copy.run_id == (1 if other == "a" else 2)
    assert_same(database, tmp_path, copy.run_id)


@pytest.mark.parametrize("code", [replica.DUPLICATE_KEY, 13])
def test_another_process_may_come_first_with_a_document(
    database: Data, writer: RecordWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Of two upserts at once MongoDB may refuse one; any other refusal is none of that kind."""
    write(writer, range(5))
    bulk_write = Collection.bulk_write

    def late(self: Collection[Any], *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(Collection, "bulk_write", bulk_write)
        Replica(database, tmp_path).deliver()
        raise BulkWriteError({"writeErrors": [{"code": code}]})

    monkeypatch.setattr(Collection, "bulk_write", late)
    copy = Replica(database, tmp_path)
    if code == replica.DUPLICATE_KEY:
        copy.deliver()
        assert copy.new == 0
    else:
        with pytest.raises(BulkWriteError):
            copy.deliver()
    assert_same(database, tmp_path)


def test_one_that_falls_behind_another_goes_on_behind_it(database: Data, writer: RecordWriter, tmp_path: Path) -> None:
    write(writer, range(5))
    slow = Replica(database, tmp_path)
    slow.deliver()
    write(writer, range(5, 25))
    Replica(database, tmp_path).deliver()
    write(writer, range(25, 31))
    slow.deliver()
    assert_same(database, tmp_path)
    assert slow.new == 11 + 12 + 1  # the other brought those between


# --- numbers of runs ---


def test_numbers_follow_the_database_and_not_the_folder(database: Data, tmp_path: Path) -> None:
    database.runs.insert_many([{"_id": 7, "status": "COMPLETED"}, {"_id": 3}, {"_id": bson.ObjectId()}])  # sacred's own
    for number, token in ((8, "a"), (9, "b"), (8, "a")):
        folder = tmp_path / token
        if not folder.exists():
            folder.mkdir()
            write(RecordWriter(folder, header(token)), range(5))
        copy = Replica(database, folder)
        copy.deliver()
        assert copy.run_id == number
        assert_same(database, folder, number)
    assert database.runs.count_documents({}) == 5


def test_the_number_of_a_deleted_run_is_not_given_again(database: Data, tmp_path: Path) -> None:
    for number, token in ((1, "a"), (2, "b")):
        (tmp_path / token).mkdir()
        write(RecordWriter(tmp_path / token, header(token)), range(11))
        Replica(database, tmp_path / token).deliver()
        database.runs.delete_one({"token": token})  # but not its points
        assert database.evaluations.count_documents({"run_id": number}) == 2


@pytest.mark.parametrize("collections", [("runs",), ("metrics",), ("runs", "metrics", "evaluations")])
def test_a_run_that_was_deleted_while_it_goes_on_is_noticed(
    database: Data, writer: RecordWriter, tmp_path: Path, collections: tuple[str, ...]
) -> None:
    write(writer, range(5))
    copy = Replica(database, tmp_path)
    copy.deliver()
    for name in collections:
        database[name].delete_many({})
    write(writer, range(5, 8))
    with pytest.raises(DivergedError):
        copy.deliver()
    again = Replica(database, tmp_path)
    again.deliver()
    assert again.run_id is not None
    assert_same(database, tmp_path, again.run_id)


# --- sizes ---


def test_long_statistics_go_on_in_another_document(
    database: Data, writer: RecordWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "MAX_POINTS", 10)
    copy = Replica(database, tmp_path)
    for start in (0, 7, 14, 21):
        for t in range(start, start + 7):
            writer.stat("loss", t, t)
        copy.deliver()
    Replica(database, tmp_path).deliver()
    steps = {metric["name"]: metric["steps"] for metric in database.metrics.find()}
    assert steps == {"loss": [*range(10)], "loss (2)": [*range(10, 20)], "loss (3)": [*range(20, 28)]}
    run = database.runs.find_one()
    assert run is not None and {entry["name"] for entry in run["info"]["metrics"]} == set(steps)


def test_no_document_comes_near_mongodb_s_limit() -> None:
    """The largest ones; and a statistic of 10 million steps at the smallest default interval fits into one document."""
    points, moment = replica.MAX_POINTS, datetime.now(UTC)
    full = {"steps": [2**40] * points, "values": [0.1] * points, "timestamps": [moment] * points}
    assert len(bson.encode(full)) < 5_000_000 < 16 * 2**20 / 2
    assert 10_000_000 / 200 < points  # GaussianSqueeze's test_interval: one document a statistic
    episodes = {key: [0.1] * 1000 for key in ("return", "ep_length", "completed_orders", "kill_count")}
    assert len(bson.encode(episodes)) < 100_000
    assert len(bson.encode(run_document({**header(), "time": 0.0}))) + replica.CONSOLE_BYTES < 200_000


# --- beside a run ---


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mongo"]


@pytest.fixture(autouse=True)
def every_line_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mongo")


@pytest.fixture
def own_mongod(tmp_path: Path) -> Iterator[Mongod]:
    """One that a test may stop."""
    yield from running(tmp_path / "own")


@pytest.mark.slow
def test_a_server_that_hangs_is_left_alone_and_nothing_comes_twice(
    own_mongod: Mongod, writer: RecordWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes what is sent, answers too late, and carries it out when it goes on."""
    delivery = Delivery(target_of_flag(f"{own_mongod.address}:test"), tmp_path, interval=0.05)
    write(writer, range(5))
    wait_until(lambda: lines(caplog))
    assert own_mongod.process
    own_mongod.process.send_signal(signal.SIGSTOP)
    write(writer, range(5, 10))
    wait_until(lambda: len(lines(caplog)) == 2)
    own_mongod.process.send_signal(signal.SIGCONT)
    write(writer, range(10, 15))
    delivery.finish()
    with own_mongod.client() as client:
        assert_same(client.test, tmp_path)


KILLED = """
import os, signal, sys, time
from pathlib import Path
from tracking.mongo.delivery import Delivery
from tracking.mongo.target import target_of_flag
from tracking.record import RecordWriter
writer = RecordWriter(Path(sys.argv[1]), {header})
Delivery(target_of_flag(sys.argv[2]), Path(sys.argv[1]), interval=60)
for t in range(100):
    writer.stat("loss", t / 3, t)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_last_points_of_a_killed_run_are_delivered(mongod: Mongod, database: Data, tmp_path: Path) -> None:
    script = KILLED.format(header=header())
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path), f"{mongod.address}:test"], cwd=SOURCES)
    assert run.returncode == -signal.SIGKILL
    wait_until(lambda: (database.metrics.find_one() or {}).get("points") == 100)
    wait_until(lambda: len((database.runs.find_one() or {"info": {"metrics": []}})["info"]["metrics"]) == 1)
    assert_same(database, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_that_end_the_run_leave_its_delivery_the_time_it_needs(
    mongod: Mongod, database: Data, writer: RecordWriter, tmp_path: Path, number: signal.Signals
) -> None:
    """Job schedulers send them to all processes of a job."""
    delivery = Delivery(target_of_flag(f"{mongod.address}:test"), tmp_path, interval=0.05)
    wait_until(lambda: database.runs.find_one())
    delivery._process.send_signal(number)
    write(writer, range(20))
    writer.end("INTERRUPTED")
    delivery.finish()
    assert_same(database, tmp_path)


def test_a_process_that_dies_is_told_and_harms_nobody(
    mongod: Mongod, writer: RecordWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    delivery = Delivery(target_of_flag(f"{mongod.address}:test"), tmp_path, interval=60)
    delivery._process.kill()
    delivery._process.wait()
    write(writer, range(3))
    delivery.finish()
    assert "an unknown number of points was not delivered" in lines(caplog)[-1]


def test_the_run_s_random_numbers_are_its_own(mongod: Mongod, writer: RecordWriter, tmp_path: Path) -> None:
    random.seed(5)
    state = random.getstate()
    delivery = Delivery(target_of_flag(f"{mongod.address}:test"), tmp_path, interval=0.05)
    write(writer, range(20))
    delivery.finish()
    assert random.getstate() == state


def test_the_record_itself_is_untouched(database: Data, writer: RecordWriter, tmp_path: Path) -> None:
    write(writer, range(5))
    before = (tmp_path / FILE).read_bytes()
    Replica(database, tmp_path).deliver()
    assert (tmp_path / FILE).read_bytes() == before and not read_record(tmp_path).torn


def test_what_is_sent_to_the_process_is_not_in_its_command_line(tmp_path: Path, writer: RecordWriter) -> None:
    delivery = Delivery(target_of_flag("127.0.0.1:9:secret_name"), tmp_path, answers=False, interval=60)
    for name in ("cmdline", "environ"):
        assert b"secret_name" not in Path(f"/proc/{delivery._process.pid}/{name}").read_bytes()
    delivery._process.kill()
    delivery.finish()
