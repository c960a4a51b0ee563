"""How far a run is: in numbers, and as a bar on a terminal."""

import contextlib
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tracking.progress import Progress

SRC = Path(__file__).resolve().parents[2] / "src"
SCRIPT = """
import logging, sys
sys.path.insert(0, {src!r})
import main
from tracking.progress import Progress
main._set_up_logging()
progress = Progress(0, 100)
stats = {{"test_return_mean": [(0, 1.0), (50, -2.25)], "test_ep_length_mean": [(0, 50.0)], "loss": [(0, 3.0)],
         "test_kill_count_mean": [(50, 7.5)], "test_return_std": [(0, 9.0)],
         "test_asked_for_mean": []}}
progress.update(50, stats)
logging.getLogger("toy").info("a line")
progress.update(104, stats)
progress.close()
"""


def test_progress_in_numbers(monkeypatch):
    clock = iter([100.0, 110.0, 115.0])
    monkeypatch.setattr("tracking.progress.time.monotonic", lambda: next(clock))
    progress = Progress(t_start=1000, t_max=5000)
    assert progress.line(2000, 7) == "Step 2000 of 5000 | episode 7 | 100 steps/s | 0:00:30 left"
    # since the last line 1000 steps in 5 s; in all 2000 steps in 15 s, so 2000 more take 15 s
    assert progress.line(3000, 9) == "Step 3000 of 5000 | episode 9 | 200 steps/s | 0:00:15 left"


@pytest.fixture
def terminal():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    yield ours, theirs
    os.close(ours)


def show(stdout, stderr):
    subprocess.run([sys.executable, "-c", SCRIPT.format(src=str(SRC))], stdout=stdout, stderr=stderr, check=True)


def read(descriptor):
    return os.read(descriptor, 1 << 16).decode()


def test_a_terminal_shows_a_bar_with_the_newest_scores(terminal):
    ours, theirs = terminal
    show(theirs, theirs)
    os.close(theirs)
    shown = read(ours)
    assert "100/100" in shown and "steps/s" in shown and "return=-2.25, kill_count=7.5]" in shown
    assert "ep_length" not in shown and "loss" not in shown
    [line] = [line for line in shown.split("\r\n") if "toy: a line" in line]
    *_, before, text = line.split("\r")
    assert before.isspace() and text.startswith("[INFO") and text.endswith("toy: a line"), "the bar makes room"


def test_files_get_plain_lines_only(tmp_path):
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        show(out, err)
    assert (tmp_path / "out").read_text().endswith("toy: a line\n")
    assert (tmp_path / "err").read_text() == ""


def test_a_run_of_compiled_environments_ends_quietly_on_a_terminal(terminal, tmp_path):
    """numba brings colorama, which resets the terminal in the end, through a stdout that sacred has closed by then."""
    ours, theirs = terminal
    settings = ["agent=ff", "runner=vector", "batch_size_run=10", "t_max=50", "absolute_nepisode=0", "seed=1"]
    settings += ["env_args.episode_limit=5", "test_nepisode=1", f"local_results_path={tmp_path}"]
    command = [sys.executable, str(SRC / "main.py"), "--config=vast_qtran_ac", "--env-config=warehouse", "with"]
    process = subprocess.Popen([*command, *settings], stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = ""
    with contextlib.suppress(OSError):  # of a terminal that nobody writes to any more
        while part := read(ours):
            shown += part
    assert process.wait() == 0 and "Completed after" in shown
    assert "Traceback" not in shown and "Exception ignored" not in shown
