"""Statistics to the record, and from there to the console, to sacred, to TensorBoard and to any other sink."""

import json
import logging

import numpy as np
import pytest
import torch as th

from tracking.record import Evaluation
from utils.logging import KEPT, Logger, get_logger


class Run:
    """The part of a sacred run that receives metrics."""

    def __init__(self):
        self.metrics = []

    def log_scalar(self, name, value, step):
        self.metrics.append((name, value, step))


@pytest.fixture
def lines():
    """A logger, and the texts that it printed."""
    texts = []

    class Keep(logging.Handler):
        def emit(self, record):
            texts.append(record.getMessage())

    console = logging.Logger("test")
    console.addHandler(Keep())
    return Logger(console), texts


@pytest.mark.parametrize("value", [2.5, np.float32(2.5), np.array(2.5), th.tensor(2.5), th.tensor([2.5])], ids=repr)
def test_values_are_kept_as_plain_numbers(lines, value):
    logger, _ = lines
    logger.log_stat("loss", value, 10)
    assert logger.stats["loss"] == [(10, 2.5)]
    assert type(logger.stats["loss"][0][1]) is float


def test_sacred_receives_every_value_with_its_step(lines):
    logger, _ = lines
    logger.log_stat("early", 1, 0)
    run = Run()
    logger.setup_sacred(run)
    logger.log_stat("loss", th.tensor(0.5), 10)
    logger.log_stat("loss", 0.25, 20)
    logger.log_stat("private", 1, 20, to_sacred=False)
    assert run.metrics == [("loss", 0.5, 10), ("loss", 0.25, 20)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_receives_every_value(lines, tmp_path):
    logger, _ = lines
    logger.setup_tb(str(tmp_path / "tb"))
    logger.log_stat("loss", 0.5, 10)
    [file] = (tmp_path / "tb").iterdir()
    assert file.name.startswith("events.out.tfevents")
    assert b"loss" in file.read_bytes()


def test_a_block_has_the_newest_value_of_every_key_in_columns(lines):
    logger, texts = lines
    for key, value, t in (("a", 1, 0), ("bb", 123456, 0), ("a", 0.00012346, 10), ("c", float("nan"), 10), ("d", 2, 10)):
        logger.log_stat(key, value, t)
    logger.print_recent_stats("Step 10")
    assert texts == ["Step 10\n  a: 0.0001235   bb: 1.235e+05  c: nan\n  d: 2"]


def test_a_block_without_values_is_its_heading(lines):
    logger, texts = lines
    logger.print_recent_stats("Step 0")
    assert texts == ["Step 0"]


def test_the_console_logger_is_one():
    assert get_logger() is get_logger()


def test_a_key_that_was_only_looked_up_is_not_in_the_block(lines):
    """As the loop looks up test_return_mean of a runner that logs none."""
    logger, texts = lines
    assert logger.stats["test_return_mean"] == []
    logger.log_stat("loss", 1, 0)
    logger.print_recent_stats("Step 0")
    assert texts == ["Step 0\n  loss: 1"]
    assert logger.state_dict() == {"stats": {"loss": [0, 1.0]}}


def test_memory_keeps_the_newest_points(lines):
    logger, _ = lines
    points = logger.stats["loss"]
    for step in range(3 * KEPT):
        logger.log_stat("loss", step, step)
        assert points[-1] == (step, step) and min(step + 1, KEPT) <= len(points) < 2 * KEPT
    assert points[-KEPT:] == [(step, float(step)) for step in range(2 * KEPT, 3 * KEPT)]


# --- sinks ---


class Sink:
    """Keeps what it gets, with its own name, in a list that it may share."""

    def __init__(self, name, got, fails_at=None):
        self.name, self.got, self.fails_at = name, got, fails_at

    def line(self, line):
        if line.get("t") == self.fails_at:
            raise RuntimeError("no route to host")
        self.got.append((self.name, line))

    def close(self):
        self.got.append((self.name, "closed"))


def test_every_line_goes_to_the_record_first_and_then_to_all_sinks(lines):
    logger, _ = lines
    got = []
    logger.attach("a", Sink("a", got))
    logger.setup_record(Sink("record", got))
    logger.attach("b", Sink("b", got))
    logger.log_stat("loss", np.float32(0.5), 10)
    logger.log_evaluation(Evaluation(10, 12, {"return": (1, np.float32(2.5))}))
    logger.close()
    logger.log_stat("late", 1, 20)
    assert [name for name, _ in got] == ["record", "a", "b"] * 2 + ["a", "b", "record"]
    assert [line for name, line in got if name == "a"] == [
        {"kind": "stat", "key": "loss", "t": 10, "value": 0.5, "time": got[0][1]["time"]},
        {
            "kind": "evaluation",
            "t": 10,
            "t_env": 12,
            "absolute": False,
            "episodes": {"return": [1.0, 2.5]},
            "time": got[3][1]["time"],
        },
        "closed",
    ]
    assert got[0][1] == got[1][1] == got[2][1] and got[3][1] == got[4][1] == got[5][1]


def test_a_sink_that_fails_is_told_once_and_left_out(lines):
    logger, texts = lines
    got = []
    for name, fails_at in (("record", None), ("weak", 20), ("strong", None)):
        sink = Sink(name, got, fails_at)
        logger.setup_record(sink) if name == "record" else logger.attach(name, sink)
    for step in (10, 20, 30):
        logger.log_stat("loss", 1, step)
    steps = {name: [line["t"] for n, line in got if n == name] for name in ("record", "weak", "strong")}
    assert steps == {"record": [10, 20, 30], "weak": [10], "strong": [10, 20, 30]}
    assert texts == ["sink 'weak': RuntimeError: no route to host; the run goes on without it"]
    logger.close()
    assert [entry for entry in got if entry[1] == "closed"] == [("strong", "closed")]


def test_a_sink_that_cannot_be_closed_is_told_and_the_others_are_closed(lines):
    class Stuck(Sink):
        def close(self):
            raise TimeoutError("still sending")

    logger, texts = lines
    got = []
    logger.attach("stuck", Stuck("stuck", got))
    logger.attach("fine", Sink("fine", got))
    logger.close()
    assert got == [("fine", "closed")] and texts == [
        "sink 'stuck': TimeoutError: still sending; the run goes on without it"
    ]


def test_an_error_of_the_record_is_the_runs(lines):
    logger, _ = lines
    got = []
    logger.setup_record(Sink("record", got, fails_at=10))
    logger.attach("other", Sink("other", got))
    with pytest.raises(RuntimeError, match="no route to host"):
        logger.log_stat("loss", 1, 10)
    assert got == []  # what the record lacks, no view of it has


# --- state ---


def test_a_logger_goes_on_from_its_state(lines):
    logger, texts = lines
    for key, value, t in (("a", 1, 0), ("test_return_mean", -2.5, 0), ("a", 0.1, 10), ("b", float("nan"), 10)):
        logger.log_stat(key, value, t)
    state = json.loads(json.dumps(logger.state_dict()))
    other = Logger(logger.console_logger)
    other.log_stat("gone", 1, 0)
    stats = other.stats
    other.load_state_dict(state)
    assert other.stats is stats and stats["test_return_mean"] == [(0, -2.5)] and "gone" not in stats
    for one in (logger, other):
        one.log_stat("a", 7, 20)
        one.print_recent_stats("Step 20")
    assert texts[0] == texts[1] == "Step 20\n  a: 7                    b: nan                  test_return_mean: -2.5"
    assert stats["a"] == [(10, 0.1), (20, 7.0)]
