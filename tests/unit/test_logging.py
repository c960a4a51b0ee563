"""Statistics to the console, to sacred and to TensorBoard."""

import logging

import numpy as np
import pytest
import torch as th

from utils.logging import Logger, get_logger


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
