"""Sinks of a run: each is fed its record's lines, whether the project or a user brings it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import main
from run import build
from settings.load import load_config
from tracking.observers import RecordObserver
from tracking.record import FILE, read_lines
from tracking.sinks import REGISTRY, Run, attach_sinks
from utils.errors import UserError
from utils.logging import Logger, get_logger

RUN = ("t_max=100", "test_interval=50", "test_nepisode=1", "absolute_nepisode=1", "log_interval=50", "seed=1")
QUICK = (*RUN, "runner_log_interval=50", "batch_size=1", "learner_log_interval=50", "n_threads=1", "use_cuda=false")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's files


class Keep:
    """Keeps the lines of the newest run."""

    run: Run
    lines: list[dict[str, Any]]

    def __init__(self, run: Run) -> None:
        type(self).run, type(self).lines = run, []

    def line(self, line: dict[str, Any]) -> None:
        self.lines.append(line)

    def close(self) -> None:
        self.lines.append({"kind": "closed"})


class Broken(Keep):
    """Cannot start."""

    def __init__(self, run: Run) -> None:
        raise ImportError("No module named 'wandb'")


class Weak(Keep):
    """Fails at the first evaluation."""

    def line(self, line: dict[str, Any]) -> None:
        super().line(line)
        if line["kind"] == "evaluation":
            raise OSError(28, "No space left on device")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Trains for two episodes through the command line; gives the exit status."""
    handler = signal.getsignal(signal.SIGTERM)
    for name, sink in (("keep", Keep), ("broken", Broken), ("weak", Weak)):
        monkeypatch.setitem(REGISTRY, name, sink)

    def call(*updates: str) -> int:
        where = f"local_results_path={tmp_path}"
        return main.cli(["main.py", "--config=vdn", "--env-config=warehouse", "with", *QUICK, *updates, where])

    yield call
    signal.signal(signal.SIGTERM, handler)


def test_a_sink_of_ones_own_gets_the_lines_of_the_record(call: Callable[..., int], tmp_path: Path) -> None:
    assert call("sinks=[keep]") == 0
    header, *written = read_lines(tmp_path / "sacred/1" / FILE)
    *lines, last = Keep.lines
    assert lines == written and last == {"kind": "closed"}
    assert {line["kind"] for line in lines} == {"stat", "evaluation", "end"} and lines[-1]["status"] == "COMPLETED"
    assert {"loss", "test_return_mean", "absolute_return_mean"} <= {line.get("key") for line in lines}
    assert (Keep.run.token, Keep.run.config, Keep.run.results) == (header["token"], header["config"], tmp_path)


def test_a_run_with_sinks_is_the_run_without(call: Callable[..., int], tmp_path: Path) -> None:
    def results(number: int) -> list[dict[str, Any]]:
        lines = list(read_lines(tmp_path / f"sacred/{number}" / FILE))[1:]
        return [{key: value for key, value in line.items() if key != "time"} for line in lines]

    assert call() == 0 and not (tmp_path / "tb_logs").exists()
    assert call("sinks=[keep, weak, tensorboard]") == 0
    assert results(1) == results(2)
    assert len(Weak.lines) < len(Keep.lines)


def test_a_sink_that_fails_on_the_way_is_one_line(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert call("sinks=[weak]") == 0
    told = [record.getMessage() for record in caplog.records if "sink" in record.getMessage()]
    assert told == ["sink 'weak': OSError: [Errno 28] No space left on device; the run goes on without it"]


def test_a_sink_that_cannot_start_ends_the_command(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("sinks=[keep, broken]") == 2
    assert capsys.readouterr().err == "error: sink 'broken': cannot start: ImportError: No module named 'wandb'\n"
    assert [line["kind"] for line in read_lines(tmp_path / "sacred/1" / FILE)] == ["run", "end"]
    assert [line["kind"] for line in Keep.lines] == ["end", "closed"]


@pytest.mark.parametrize("switch", ["use_tensorboard=true", "sinks=[tensorboard]"])
def test_a_run_without_a_record_feeds_its_sinks(switch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As tests, benchmarks and notebooks run one."""
    monkeypatch.setitem(REGISTRY, "keep", Keep)
    settings = load_config("vdn", "warehouse", [*QUICK, switch, f"local_results_path={tmp_path}"])
    settings["sinks"].append("keep")
    experiment = build(settings)
    experiment.run()
    experiment.close()
    (events,) = (tmp_path / "tb_logs" / experiment.token).iterdir()
    assert b"test_return_mean" in events.read_bytes() and [*tmp_path.iterdir()] == [tmp_path / "tb_logs"]
    points = [(line["t"], line["value"]) for line in Keep.lines if line.get("key") == "test_return_mean"]
    assert points == experiment.logger.stats["test_return_mean"] and len(points) == 3


def test_an_unknown_sink_is_told_without_the_command_line_too() -> None:
    run = Run("token", {"sinks": ["weihgts"], "use_tensorboard": False}, Path())
    with pytest.raises(UserError, match=r"^unknown sink 'weihgts': registered are sacred, tensorboard$"):
        attach_sinks(Logger(get_logger()), run)


def test_a_record_that_cannot_be_opened_is_the_only_error(tmp_path: Path) -> None:
    observer = RecordObserver(tmp_path / "gone", "token", Logger(get_logger()))
    with pytest.raises(FileNotFoundError):
        observer.started_event({}, "main", {}, datetime.now(), {}, {}, 1)
    observer.failed_event(datetime.now(), ["FileNotFoundError"])  # sacred's next call
