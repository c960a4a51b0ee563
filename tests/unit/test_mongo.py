"""MongoDB on the command line: what it takes, what it refuses, and that a run is the same whatever MongoDB does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
import yaml
from mongod import Mongod, needs_mongod, running
from test_main import ARGUMENTS, PROJECT, Project, assert_one_line, heed_interrupts
from test_replica import assert_same, header, points, wait_until, write

import main
import track
from __about__ import __version__
from settings.load import load_config
from tracking import observers
from tracking.mongo.target import Target, choose_target, target_of_flag, target_of_url
from tracking.record import FILE, Evaluation, RecordWriter, read_lines
from utils.commandline import fail, redact
from utils.errors import UserError
from utils.logging import Line

PASSWORD = "geheim-7f3a"
MALFORMED = [
    f"http://u:{PASSWORD}@h",
    f"u:{PASSWORD}@h",
    f"mongodb://u:x/{PASSWORD}@h/db",  # an unescaped / in the password
    f"mongodb://u:12/{PASSWORD}@h",  # ... which PyMongo takes for a port and a database
    f"mongodb://u:12?appname={PASSWORD}@h",
    f"mongodb://u:{PASSWORD}@@h",
    f"mongodb://u:{PASSWORD}@h:port",
    f"mongodb://u:{PASSWORD}@h:99999",
    f"mongodb://u:{PASSWORD}@h/?{PASSWORD}=1",
    f"mongodb://u:{PASSWORD}@h/?tls={PASSWORD}",
    f"mongodb://u:{PASSWORD}@/db",
    f"mongodb://u:%zz{PASSWORD}:@h",
    "",
    "mongodb://",
    f"mongodb://{PASSWORD} h/db",
]


# --- where it is ---


@pytest.mark.parametrize(
    "spec, uri, database",
    [
        ("127.0.0.1:9:db", "mongodb://127.0.0.1:9", "db"),
        ("my-host.org:27017:py_marl-1", "mongodb://my-host.org:27017", "py_marl-1"),
        ("db", "mongodb://localhost:27017", "db"),
    ],
)
def test_sacreds_flag_names_server_and_database(spec: str, uri: str, database: str) -> None:
    target = target_of_flag(spec)
    assert (target.uri, target.database, target.arguments) == (uri, database, f"-m {spec}")
    assert str(target) == f"{uri.removeprefix('mongodb://')}/{database}"


@pytest.mark.parametrize(
    "spec",
    ["", "host:port:db", "h:1", "h:1:", "h:1:db.runs", "h:1:db!5", "h:99999:db", "9db", "a b", "h:1:2:db", "h:١:db"],
)
def test_another_form_of_the_flag_is_an_error(spec: str) -> None:
    with pytest.raises(UserError, match=r"^-m: expected \[host:port:\]database, got '"):
        target_of_flag(spec)


@pytest.mark.parametrize(
    "uri, key, database, shown",
    [
        (f"mongodb://u:{PASSWORD}@h:1/db", None, "db", "h:1/db"),
        (f"mongodb://u:{PASSWORD}@h:1,i:2/db?replicaSet=r", "other", "other", "h:1,i:2/other"),
        (f"mongodb+srv://u:{PASSWORD}@cluster.example.net/?appName=x", "db", "db", "cluster.example.net/db"),
        ("mongodb://u:p%2F%40%3A@h/db?authSource=admin", None, "db", "h/db"),
        ("mongodb://h", "db", "db", "h/db"),
    ],
)
def test_a_uri_names_server_and_database_and_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, uri: str, key: str | None, database: str, shown: str
) -> None:
    target = target_of_url(uri, key)
    assert (target.uri, target.database, str(target)) == (uri, database, shown)
    assert target.arguments == f"--url URI --db {database}" and PASSWORD not in repr(target)
    monkeypatch.setenv("HERE", uri)
    assert target_of_url("$HERE", key) == Target(uri, database, f"--url '$HERE' --db {database}")


@pytest.mark.parametrize("uri", MALFORMED)
def test_of_a_malformed_uri_nothing_is_told(uri: str, recwarn: pytest.WarningsRecorder) -> None:
    message = "^mongo_url: (not a valid MongoDB URI; expected mongodb://|has options that PyMongo does not take)"
    with pytest.raises(UserError, match=message) as error:
        target_of_url(uri, "db")
    assert PASSWORD not in str(error.value) and not recwarn


@pytest.mark.parametrize(
    "flag, url, database, message",
    [
        (None, "$NOT_THERE", None, "mongo_url: the environment variable 'NOT_THERE' is not set"),
        (None, "mongodb://h", None, "mongo_db: missing, and mongo_url names no database"),
        (None, "mongodb://h/a.b", None, "mongo_db: expected a name of letters, digits, _ and -, got 'a.b'"),
        (None, "mongodb://h", 5, "mongo_db: expected a name of letters, digits, _ and -, got 5"),
        (None, None, "db", "mongo_db: it needs mongo_url"),
        ("h:1:db", "mongodb://h", "db", "-m: it cannot be combined with mongo_url and mongo_db"),
    ],
)
def test_contradictions_are_told(flag: str | None, url: Any, database: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        choose_target(flag, url, database)
    assert str(error.value).startswith(message)


def test_without_any_of_them_there_is_no_mongodb() -> None:
    assert choose_target(None, None, None) is None


@pytest.mark.parametrize(
    "options, message",
    [
        ("w=0", "mongo_url: has options that PyMongo does not take, or not beside journal=true (w=0)"),
        ("foo=1", "mongo_url: has options that PyMongo does not take"),
        ("tls=true&tlsCAFile=/nope", "mongo_url: names a file that cannot be read: /nope: No such file"),
    ],
)
def test_options_that_cannot_be_used_are_told_apart_from_malformed_uris(options: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        target_of_url(f"mongodb://u:{PASSWORD}@h/db?{options}", None)
    assert str(error.value).startswith(message) and PASSWORD not in str(error.value)


def test_compression_is_accepted_with_and_without_its_package() -> None:
    assert target_of_url("mongodb://h/db?compressors=zstd,zlib", None).database == "db"


def test_the_form_that_is_asked_for_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as error:
        target_of_url(f"http://u:{PASSWORD}@h/db", None)
    assert fail(error.value) == 2
    shown = capsys.readouterr().err
    assert "expected mongodb://[user:password@]host[:port][/database][?options], user and" in shown


@pytest.mark.parametrize(
    "update",
    [
        f"mongo_uri=http://u:{PASSWORD}@h", f"mongo_url.x={PASSWORD}", f"env_args.mongo_url={PASSWORD}",
        f"mongo_url:{PASSWORD}", f"t_max=http://u:{PASSWORD}@h", f"lable=MongoDB://u:{PASSWORD}@h",
    ],
)  # fmt: skip
def test_what_may_be_meant_as_a_uri_is_not_shown(update: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as error:
        load_config("qmix", "warehouse", [update])
    fail(error.value)
    assert PASSWORD not in capsys.readouterr().err


def test_a_flag_with_a_password_is_not_shown() -> None:
    with pytest.raises(UserError, match=r"^-m: expected \[host:port:\]database, got '\*\*\*'$"):
        choose_target(f"u:{PASSWORD}@h:1:db", None, None)


def test_uris_are_cut_out_of_messages() -> None:
    text = f"mongo_ulr: unknown key (with mongo_ulr=mongodb://u:{PASSWORD}@h/db)"
    assert redact(text) == "mongo_ulr: unknown key (with mongo_ulr=mongodb://***"
    assert redact(f"'mongodb+srv://u:{PASSWORD}@h' and more") == "'mongodb+srv://*** and more"


# --- the command line of a run ---


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")


SECRETS = [(("with", f"mongo_url={uri}"), "mongo_url: not a valid MongoDB URI") for uri in MALFORMED[1:5]]


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line that a command line is refused with; neither it nor anything else shows the password."""

    def call(*arguments: str) -> str:
        capfd.readouterr()
        real = ("--config=vdn", "--env-config=warehouse", *arguments)
        status, results = main_status(*(real if arguments[0] != "print_config" else arguments)), tmp_path / "results"
        out, err = capfd.readouterr()
        assert_one_line(subprocess.CompletedProcess(arguments, status, out, err), "error: ")
        assert PASSWORD not in err and not results.exists()
        return err.removeprefix("error: ")

    return call


def main_status(*arguments: str) -> int:
    """Exit status of a command line that is called in this process."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return main.cli(["main.py", *arguments])
    finally:
        signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize(
    "arguments, message",
    [
        *SECRETS,
        (("with", f"mongo_ulr=mongodb://u:{PASSWORD}@h/db"), "mongo_ulr: unknown key (did you mean 'mongo_url'?)"),
        (("with", f"mongo_url=[{PASSWORD}"), "mongo_url: cannot be read"),
        (("-m", f"mongodb://u:{PASSWORD}@h/db"), "-m: expected [host:port:]database, got '***'"),
        (("print_config", f"mongodb://u:{PASSWORD}@h/db"), "command line: does not fit"),
        (("with", "mongo_db=x", "mongo_url=$NOT_THERE"), "mongo_url: the environment variable 'NOT_THERE' is not set"),
    ],
)
def test_a_mistake_is_one_line_without_the_password(
    refused: Callable[..., str], arguments: tuple[str, ...], message: str
) -> None:
    assert refused(*arguments).startswith(message)


def test_files_that_override_the_uri_do_not_show_it(project: Project) -> None:
    for kind, name in (("envs", "warehouse"), ("algs", "toy")):
        with (project.root / "src/config" / kind / f"{name}.yaml").open("a") as file:
            file.write(f"\nmongo_url: mongodb://u:{PASSWORD}@{kind}/db\n")
    result = project.call("print_config", *ARGUMENTS)
    assert result.returncode == 0 and "mongo_url *** -> ***" in result.stdout
    assert PASSWORD not in result.stdout + result.stderr and "mongo_url =" not in result.stdout


# --- with a server ---


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    yield from running(tmp_path_factory.mktemp("mongod"))


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A server that wants a password: that of the user "me"."""
    for server in running(tmp_path_factory.mktemp("locked"), "--auth"):
        with server.client() as client:
            roles = [{"role": "readWrite", "db": "test"}]
            client.admin.command("createUser", "admin", pwd=PASSWORD, roles=["root"])
        with pymongo.MongoClient(f"mongodb://admin:{PASSWORD}@{server.address}") as admin:
            admin.test.command("createUser", "me", pwd=PASSWORD, roles=roles)
        yield server


@needs_mongod
@pytest.mark.parametrize("user", [f"me:{PASSWORD}x@", f"you:{PASSWORD}@", ""])
def test_a_wrong_password_is_told_before_anything_begins(
    refused: Callable[..., str], locked: Mongod, tmp_path: Path, user: str
) -> None:
    uri = f"mongodb://{user}{locked.address}/test"
    told = refused("with", f"mongo_url={uri}", f"local_results_path={tmp_path}/results")
    assert told.startswith(f"MongoDB {locked.address}/test: refused: ") and "check user, password and rights" in told


@needs_mongod
@pytest.mark.parametrize("way", ["command line", "variable", "file"])
def test_the_uri_stays_nowhere(project: Project, locked: Mongod, way: str) -> None:
    uri = f"mongodb://me:{PASSWORD}@{locked.address}"
    updates = ["mongo_db=test", "name=hello"]
    if way == "command line":
        updates.append(f" mongo_url = {uri}/?authSource=test")
    elif way == "variable":
        project.env["MY_MONGO"] = uri + "/?authSource=test"
        updates.append("mongo_url=$MY_MONGO")
    else:
        with (project.root / "src/config/algs/toy.yaml").open("a") as file:
            file.write(f"\nmongo_url: {uri}/?authSource=test\n")
    result = project.call(*ARGUMENTS, "-l", "DEBUG", "with", *updates)
    assert result.returncode == 0 and PASSWORD not in result.stdout + result.stderr, result.stderr
    assert project.record()["meta"]["options"]["UPDATE"] == ["mongo_db=test", "name=hello"]
    files = [path for path in (project.root / "results").rglob("*") if path.is_file()]
    assert any(path.name == FILE for path in files)
    assert not [path for path in files if PASSWORD in path.read_text() or f"@{locked.address}" in path.read_text()]
    with pymongo.MongoClient(uri, authSource="test") as client:
        stored = [
            str(document) for name in client.test.list_collection_names() for document in client.test[name].find()
        ]
        assert len(stored) >= 2 and not [text for text in stored if PASSWORD in text or "mongodb://" in text]
        client.test.runs.delete_many({})


@needs_mongod
@pytest.mark.parametrize("plan, status", [("fine", "COMPLETED"), ("crash", "FAILED"), ("fork", "COMPLETED")])
def test_how_a_run_ended_is_in_mongodb(project: Project, mongod: Mongod, plan: str, status: str) -> None:
    result = project.call(*ARGUMENTS, "-m", f"{mongod.address}:{plan}", "with", f"plan={plan}")
    assert "this run has the number 1 there" in result.stdout and "not delivered" not in result.stdout
    with mongod.client() as client:
        assert_same(client[plan], project.root / "results/sacred/1")
        run = client[plan].runs.find_one()
        assert run["status"] == status and ("fail_trace" in run) == (status == "FAILED")
        assert run["meta"]["version"] == __version__
        assert run["config"]["plan"] == plan and run["meta"]["options"]["--mongo_db"] is None
        assert run["captured_out"] == (project.root / "results/sacred/1/cout.txt").read_text()
        assert run["start_time"] <= run["stop_time"]


@needs_mongod
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_interrupted_in_mongodb(
    project: Project, mongod: Mongod, number: signal.Signals, status: int
) -> None:
    command = [sys.executable, "src/main.py", *ARGUMENTS, "-m", f"{mongod.address}:{number.name}", "with", "plan=sleep"]
    run = subprocess.Popen(
        command,
        cwd=project.root,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        preexec_fn=heed_interrupts,
    )
    wait_until((project.root / "note.running").exists)
    os.killpg(run.pid, number)  # as a terminal and job schedulers do: to all processes of the group
    assert run.wait(timeout=30) == status
    with mongod.client() as client:
        assert_same(client[number.name], project.root / "results/sacred/1")
        assert client[number.name].runs.find_one()["status"] == "INTERRUPTED"


@needs_mongod
def test_old_folders_and_a_fresh_database_do_not_collide(project: Project, mongod: Mongod) -> None:
    (project.root / "results/sacred/1").mkdir(parents=True)
    with mongod.client() as client:
        client.full.runs.insert_one({"_id": 40})
        for database, folder, number in (("fresh", 2, 1), ("full", 3, 41)):
            assert project.call(*ARGUMENTS, "-m", f"{mongod.address}:{database}").returncode == 0
            assert_same(client[database], project.root / f"results/sacred/{folder}", number)


@needs_mongod
def test_a_machine_without_room_for_a_process_delivers_nothing_and_says_so(
    mongod: Mongod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    observer = observers.MongoObserver(tmp_path, target_of_flag(f"{mongod.address}:room"))
    observer.started_event(_id=1)
    observer.join()
    assert "nothing is delivered: no process for it: Resource temporarily unavailable" in caplog.text


@needs_mongod
def test_the_documented_way_to_read_works(mongod: Mongod, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = RecordWriter(tmp_path, {**header(), "config": {"env": "warehouse", "mixer": "vdn"}})
    writer.stat("test_return_mean", 2.5, 20)
    writer.evaluation(Evaluation(20, 22, {"return": [2.0, 3.0]}))
    writer.end("COMPLETED")
    assert track.cli(["track.py", "push", str(tmp_path), "-m", f"{mongod.address}:pymarl"]) == 0
    capsys.readouterr()
    text = (PROJECT / "docs/tracking.md").read_text().split("### Reading it")[1].split("```python\n")[1].split("```")[0]
    exec(text.replace("localhost:27017", mongod.address), {})
    assert capsys.readouterr().out == "a vdn [(20, 2.5)]\n20 False [2.0, 3.0]\n"


def test_the_servers_for_a_user_are_pinned_and_listen_on_this_machine_alone() -> None:
    compose = yaml.safe_load((PROJECT / "docker/compose.yaml").read_text())
    services = compose["services"]
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service["ports"])
    assert re.fullmatch(r"mongo:\d+\.\d+\.\d+", services["mongo"]["image"])
    build = services["omniboard"]["build"]["dockerfile_inline"]
    assert re.search(r"^FROM node:\d+\.\d+\.\d+-", build) and re.search(r"omniboard@\d+\.\d+\.\d+", build)
    assert services["mongo"]["volumes"] == ["mongo:/data/db"] and "mongo" in compose["volumes"]


# --- a real run under every fate of the server ---

RUN = (
    *("--config=vast_vdn", "--env-config=warehouse", "with", "seed=3", "use_cuda=false", "t_max=120", "batch_size=2"),
    *("buffer_size=8", "test_interval=20", "test_nepisode=1", "log_interval=20", "runner_log_interval=1"),
    *("learner_log_interval=1", "rnn_hidden_dim=8", "absolute_nepisode=2", "env_args.episode_limit=10"),
)
EVALUATIONS = 7 + 1


class Fate:
    """What happens to the server while a run goes on: ``steps`` by the number of the evaluation."""

    def __init__(self, server: Mongod, steps: dict[int, Callable[[], object]]) -> None:
        self.server, self._steps = server, steps
        self._evaluations = 0

    def on_evaluation(self) -> None:
        self._evaluations += 1
        self._steps.get(self._evaluations, lambda: None)()


def fine(server: Mongod) -> Fate:
    server.start()
    return Fate(server, {4: lambda: wait_for_points(server)})


def down_at_start(server: Mongod) -> Fate:
    return Fate(server, {3: server.start, 6: lambda: wait_for_points(server)})


def away_for_8_s(server: Mongod) -> Fate:
    server.start()

    def come_back() -> None:
        time.sleep(8)
        server.start()

    return Fate(server, {2: lambda: wait_for_points(server), 3: server.stop, 5: come_back})


def killed_for_good(server: Mongod) -> Fate:
    server.start()
    return Fate(server, {3: lambda: wait_for_points(server), 4: server.kill})


def wait_for_points(server: Mongod) -> None:
    """Until the run, which goes on, has delivered its statistics and then an evaluation."""
    with server.client() as client:
        wait_until(lambda: client.test.evaluations.find_one())


def values(folder: Path) -> list[dict[str, Any]]:
    """What a run found, without when."""
    return [
        {key: value for key, value in line.items() if key != "time"}
        for line in read_lines(folder / FILE)
        if line["kind"] != "run"
    ]


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run without MongoDB."""
    results = tmp_path_factory.mktemp("without")
    assert main_status(*RUN, f"local_results_path={results}") == 0
    return results / "sacred/1"


@needs_mongod
@pytest.mark.parametrize("fate", [fine, down_at_start, away_for_8_s, killed_for_good], ids=lambda fate: fate.__name__)
def test_a_run_is_the_same_whatever_mongodb_does(
    fate: Callable[[Mongod], Fate],
    without: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "mongo")
    monkeypatch.setattr(observers, "INTERVAL_S", 0.2)
    server = Mongod(tmp_path / "mongod")
    told = fate(server)
    record = RecordWriter.line

    def watched(self: RecordWriter, line: Line) -> None:
        record(self, line)
        if line["kind"] == "evaluation":
            told.on_evaluation()

    monkeypatch.setattr(RecordWriter, "line", watched)
    monkeypatch.setenv("MY_MONGO", f"mongodb://{server.address}")
    where = ("mongo_url=$MY_MONGO", "mongo_db=test", f"local_results_path={tmp_path}")
    assert main_status(*RUN, *where) == 0
    folder = tmp_path / "sacred/1"
    assert values(folder) == values(without)  # bit for bit, losses and episodes included
    told = [record.getMessage().removeprefix(f"MongoDB {server.address}/test: ") for record in caplog.records]
    kinds = [kind for text in told for kind in TOLD if kind in text]
    assert kinds == EXPECTED[fate]
    if fate is killed_for_good:
        server.start()
        push_what_is_told(told[-1], folder)
    with server.client() as client:
        assert_same(client.test, folder)
        assert client.test.runs.find_one()["status"] == "COMPLETED"
        assert client.test.evaluations.count_documents({}) == EVALUATIONS
    if fate is killed_for_good:
        assert push(server, folder) == f"0 points delivered, {points(folder)} there already"
    server.stop()
    shutil.rmtree(server.folder)


# What is told of MongoDB, and what of it belongs to each fate: everything once.
TOLD = DOWN, NUMBER, LOST, BACK, LEFT = (
    "does not answer",
    "this run has the number 1 there",
    "points are kept in the record",
    "answers; ",
    "not delivered",
)
EXPECTED = {
    fine: [NUMBER],
    down_at_start: [DOWN, BACK, NUMBER],
    away_for_8_s: [NUMBER, LOST, BACK],
    killed_for_good: [NUMBER, LOST, LEFT],
}


def push_what_is_told(told: str, folder: Path) -> None:
    """The exit message counts what is missing, and its command delivers just that."""
    missing = int(told.split(" of ")[0])
    assert 0 < missing < points(folder) and told.startswith(f"{missing} of {points(folder)} points were not delivered")
    command = told.split("To deliver it: python ")[1]
    result = subprocess.run(f"{sys.executable} {command}", shell=True, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert f": {missing} points delivered, {points(folder) - missing} there already" in result.stdout


def push(server: Mongod, *folders: Path) -> str:
    command = [sys.executable, track.__file__, "push", *map(str, folders), "-m", f"{server.address}:test"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.split("test: ", 1)[1].rstrip()


# --- track.py push ---


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Folders of a completed run, of a killed one with a torn last line, and of one without a record."""
    folders = [tmp_path / "runs" / name for name in ("done", "killed", "old")]
    for folder in folders:
        folder.mkdir(parents=True)
    for folder in folders[:2]:
        writer = RecordWriter(folder, header(folder.name))
        write(writer, range(10))
        if folder.name == "done":
            writer.end("COMPLETED")
    with (folders[1] / FILE).open("a") as file:
        file.write('{"kind": "st')
    (folders[2] / "run.json").write_text("{}")
    return folders


def call_track(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = track.cli(["track.py", *map(str, arguments)])
    return (status, *capsys.readouterr())


@needs_mongod
def test_push_tells_of_each_run_and_goes_on_after_a_bad_one(
    mongod: Mongod, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    done, killed, old = runs
    where = f"MongoDB {mongod.address}/pushed"
    status, out, err = call_track(capsys, "push", done, old, killed, "-m", f"{mongod.address}:pushed")
    assert status == 2
    assert out.splitlines() == [
        f"{done}: run 1 of {where}: 21 points delivered, 0 there already",
        f"{killed}: run 2 of {where}: 21 points delivered, 0 there already; the last line of {FILE} is incomplete and "
        "left out",
    ]
    assert err == f"error: {old}/{FILE}: no readable record of a run: No such file or directory\n"
    status, out, err = call_track(capsys, "push", done, "-m", f"{mongod.address}:pushed")
    assert (status, err) == (0, "") and out == f"{done}: run 1 of {where}: 0 points delivered, 21 there already\n"
    with mongod.client() as client:
        assert_same(client.pushed, done, 1)
        assert_same(client.pushed, killed, 2)
        assert [run["status"] for run in client.pushed.runs.find()] == ["COMPLETED", "RUNNING"]


@needs_mongod
def test_push_takes_a_uri_from_the_environment(
    locked: Mongod, runs: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGO_URL", f"mongodb://me:{PASSWORD}@{locked.address}/test")
    status, out, err = call_track(capsys, "push", runs[0], "--url", "$MONGO_URL")
    assert status == 0 and "21 points delivered" in out and PASSWORD not in out + err
    monkeypatch.setenv("MONGO_URL", f"mongodb://me:{PASSWORD}x@{locked.address}/test")
    status, out, err = call_track(capsys, "push", runs[0], "--url", "$MONGO_URL")
    assert status == 2 and "refused: Authentication failed" in err and PASSWORD not in out + err


@needs_mongod
def test_push_delivers_nothing_of_a_damaged_record(
    mongod: Mongod, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (runs[0] / FILE).read_text().splitlines(keepends=True)
    (runs[0] / FILE).write_text("".join([*lines[:5], "{broken\n", *lines[5:]]))
    status, _, err = call_track(capsys, "push", runs[0], "-m", f"{mongod.address}:damaged")
    assert status == 2 and f"{FILE}, line 6: damaged" in err
    with mongod.client() as client:
        assert "damaged" not in client.list_database_names()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("-m", "127.0.0.1:9:db"),
            "MongoDB 127.0.0.1:9/db: does not answer: 127.0.0.1:9: [Errno 111] Connection refused",
        ),
        (("-m", "host:port:db"), "-m: expected [host:port:]database, got 'host:port:db'"),
        (("-m", "h:1:db", "--db", "x"), "--db: it goes with --url"),
        (("--url", f"mongodb://u:{PASSWORD}@h:x"), "--url: not a valid MongoDB URI"),
        (("--url", "mongodb://h"), "--db: missing, and --url names no database"),
        (("--url", "$NOT_THERE"), "--url: the environment variable 'NOT_THERE' is not set"),
    ],
)
def test_push_refuses_in_one_line(
    runs: list[Path], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    status, out, err = call_track(capsys, "push", runs[0], *arguments)
    assert status == 2 and out == "" and err.startswith(f"error: {message}") and err.count("\n") == 1
    assert PASSWORD not in err
