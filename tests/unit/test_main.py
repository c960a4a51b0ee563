"""The command line, called as users call it, with a pretended run behind it."""

from __future__ import annotations

import json
import multiprocessing
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

import pytest

import main
from __about__ import __version__
from tracking.record import read_record

PROJECT = Path(__file__).resolve().parents[2]
ARGUMENTS = ("--config=toy", "--env-config=warehouse")
RealCall = Callable[..., subprocess.CompletedProcess[str]]

# What happens is chosen by the key `plan`.
FAKE_RUN = """
import logging, multiprocessing, os, time
from pathlib import Path
from utils.errors import UserError
from utils.logging import Logger, get_logger

def sleep_until_killed(path):
    path.with_suffix(".child").touch()
    time.sleep(60)

class Parts:
    token = "toy_seed1__now"
    def __init__(self, config):
        self.config = config
        self.logger = Logger(get_logger())
    def run(self, sacred_run):
        plan, note = self.config["plan"], Path(self.config["note"])
        print("printed", flush=True)
        logging.getLogger("toy").info("logged")
        self.logger.setup_sacred(sacred_run)
        self.logger.log_stat("return", 1.5, 10)
        note.with_suffix(".running").touch()
        if plan == "user error":
            raise UserError("checkpoint_path: gone")
        if plan == "crash":
            raise RuntimeError("boom")
        if plan == "sleep":
            time.sleep(60)
        if plan == "fork":
            child = multiprocessing.get_context("fork").Process(target=sleep_until_killed, args=(note,))
            child.start()
            while not note.with_suffix(".child").exists():
                time.sleep(0.01)
            child.terminate()
            child.join()
            print("child ended with", child.exitcode)
    def close(self):
        print("closed", flush=True)

def build(config):
    if config["plan"] == "bad build":
        raise UserError("eta: must lie in [1/N, 1]")
    if config["plan"] == "slow build":
        Path(config["note"]).with_suffix(".running").touch()
        time.sleep(60)
    return Parts(config)
"""


def heed_interrupts() -> None:
    """For a child: tests that a shell runs in the background ignore SIGINT, which it would inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Project:
    """A copy of the command line and what it needs, with a pretended run.py and one algorithm."""

    def __init__(self, root: Path) -> None:
        self.root = root
        parts = (
            "runners",
            "controllers",
            "learners",
            "components",
            "modules",
            "assigners",
        )  # print_config looks them up
        for part in ("main.py", "__about__.py", "utils", "settings", "tracking", "envs", "config", *parts):
            source = PROJECT / "src" / part
            copy = shutil.copytree if source.is_dir() else shutil.copy
            (root / "src").mkdir(exist_ok=True)
            copy(source, root / "src" / part)
        (root / "src" / "run.py").write_text(FAKE_RUN)
        config = root / "src" / "config"
        shutil.rmtree(config / "algs")
        (config / "algs").mkdir()
        (config / "algs" / "toy.yaml").write_text("mixer: vdn")
        with (config / "default.yaml").open("a") as default:
            default.write(f"\nplan: fine\nnote: {root}/note\n")

        self.env = dict(os.environ)

    def start(self, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, str(self.root / "src" / "main.py"), *arguments]
        place, heed = cwd or self.root, heed_interrupts
        return subprocess.Popen(command, cwd=place, env=self.env, stdout=-1, stderr=-1, text=True, preexec_fn=heed)

    def call(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, cwd=cwd)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def interrupt(self, number: signal.Signals, plan: str) -> tuple[int, str]:
        """Exit status and stderr of a run that gets a signal once it is under way."""
        process = self.start(*ARGUMENTS, "with", f"plan={plan}")
        deadline = time.monotonic() + 30
        while not (self.root / "note.running").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.1)
        process.send_signal(number)
        return process.wait(timeout=30), process.communicate()[1]

    def record(self, name: str = "run.json", results: str = "results") -> Any:
        return json.loads((self.root / results / "sacred" / "1" / name).read_text())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def assert_one_line(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit status 2, one line on stderr that has all ``parts``, nothing on stdout."""
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    assert all(part in result.stderr for part in parts), result.stderr


@pytest.mark.parametrize(
    "arguments, parts",
    [
        ((), ["--config: missing", "toy"]),
        (("--config=toy",), ["--env-config: missing", "warehouse"]),
        (("--config=toi", "--env-config=warehouse"), ["--config: unknown name 'toi'", "did you mean 'toy'?"]),
        (("--config=toy", "--env-config=ware"), ["--env-config: unknown name 'ware'", "did you mean 'warehouse'?"]),
        # ... before anything is built.
        ((*ARGUMENTS, "with", "preset=relesed", "plan=bad build"), ["preset: unknown name 'relesed'", "'released'?"]),
        ((*ARGUMENTS, "--frobnicate=3"), ["command line: does not fit: --frobnicate 3"]),
        ((*ARGUMENTS, "--config"), ["--config requires argument"]),
        (("trian", *ARGUMENTS), ["unknown command 'trian'", "print_config", "main"]),
        ((*ARGUMENTS, "with", "t_mx=3"), ["t_mx: unknown key (did you mean 't_max'?)"]),
        ((*ARGUMENTS, "with", "env_args.n_agent=8"), ["(did you mean 'env_args.n_agents'?)"]),
        ((*ARGUMENTS, "with", "use_cuda=flase"), ["use_cuda: expected true or false, got 'flase'"]),
        (
            (*ARGUMENTS, "with", "sinks=[tensorbord]"),
            ["sinks: unknown sink 'tensorbord' (did you mean 'tensorboard'?)"],
        ),
        ((*ARGUMENTS, "with", "sinks=[[1]]"), ["sinks: unknown sink '[1]'", "registered are sacred, tensorboard"]),
        ((*ARGUMENTS, "with", "sinks=x"), ["sinks: expected a list"]),
        ((*ARGUMENTS, "with", "seed"), ["with seed: expected key=value"]),
        ((*ARGUMENTS, "with", "plan=bad build"), ["eta: must lie in [1/N, 1]"]),
        ((*ARGUMENTS, "with", "local_results_path=src/main.py"), ["local_results_path: cannot write to"]),
        ((*ARGUMENTS, "with", "local_results_path=/proc/results"), ["local_results_path: cannot write to /proc"]),
        ((*ARGUMENTS, "-m", "host:port:db"), ["-m: expected [host:port:]database, got 'host:port:db'"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    project: Project, arguments: tuple[str, ...], parts: list[str]
) -> None:
    if arguments and "src/main.py" in arguments[-1]:
        arguments = (*arguments[:-1], f"local_results_path={project.root}/src/main.py")
    assert_one_line(project.call(*arguments), *parts)
    assert not (project.root / "results").exists()


def test_a_run_is_recorded_whole(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    updates = ("t_max=2e6", "lr=5e-4", "env_args.n_agents=8", "mixer=none")
    result = project.call(
        "--config", "toy", "with", *updates, "--env-config", "warehouse", "-c", "hello", cwd=elsewhere
    )
    assert result.returncode == 0 and result.stderr == ""
    assert not list(elsewhere.iterdir())
    run, config = project.record(), project.record("config.json")
    assert run["status"] == "COMPLETED" and run["meta"]["comment"] == "hello"
    assert run["meta"]["options"]["--config"] == "toy" and run["meta"]["options"]["UPDATE"] == list(updates)
    assert (config["t_max"], config["lr"], config["mixer"], config["gamma"]) == (2_000_000, 5e-4, None, 0.95)
    assert config["env_args"]["n_agents"] == 8 and config["env_args"]["seed"] == config["seed"]
    assert project.record("metrics.json")["return"]["values"] == [1.5]
    record = read_record(project.root / "results/sacred/1")
    assert (record.token, record.header["id"], record.status) == ("toy_seed1__now", "1", "COMPLETED")
    assert record.config == config and record.stats == {"return": ([10], [1.5])}
    assert {key: record.header[key] for key in ("command", "meta")} == {key: run[key] for key in ("command", "meta")}
    assert run["meta"]["version"] == __version__
    captured = (project.root / "results/sacred/1/cout.txt").read_text()
    assert "printed" in captured and "toy: logged" in captured
    assert result.stdout.endswith("closed\n")


def test_the_recorded_sources_are_ours_and_small(project: Project) -> None:
    project.call(*ARGUMENTS)
    sources = list((project.root / "results/sacred/_sources").iterdir())
    assert any(path.name.startswith("main_") for path in sources)
    assert sum(path.stat().st_size for path in sources) < 200_000


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_recorded_where_there_is_one(project: Project) -> None:
    project.env |= {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=project.root, env=project.env, check=True, capture_output=True
        ).stdout.decode()

    git("init", "--quiet")
    assert project.call(*ARGUMENTS, "with", "local_results_path=before").returncode == 0
    assert project.record(results="before")["experiment"]["repositories"] == []
    git("commit", "--quiet", "--allow-empty", "-m", "x")
    assert project.call(*ARGUMENTS).returncode == 0
    assert project.record()["experiment"]["repositories"][0]["commit"] == git("rev-parse", "HEAD").strip()


def test_git_is_not_needed(project: Project) -> None:
    project.env["PATH"] = ""
    assert project.call(*ARGUMENTS).returncode == 0
    assert project.record()["status"] == "COMPLETED"


def test_a_seed_repeats_the_configuration(project: Project) -> None:
    project.call(*ARGUMENTS, "with", "local_results_path=a")
    seed = project.record("config.json", "a")["seed"]
    project.call(*ARGUMENTS, "with", "local_results_path=b", f"seed={seed}")
    first, second = (project.record("config.json", folder) for folder in "ab")
    assert {**first, "local_results_path": ""} == {**second, "local_results_path": ""}


def test_a_user_error_in_the_run_is_one_line_and_recorded(project: Project) -> None:
    result = project.call(*ARGUMENTS, "with", "plan=user error")
    assert result.returncode == 2 and result.stderr == "error: checkpoint_path: gone\n"
    assert project.record()["status"] == "FAILED" and result.stdout.endswith("closed\n")


def test_a_crash_shows_where_and_is_recorded(project: Project) -> None:
    result = project.call(*ARGUMENTS, "with", "plan=crash")
    assert result.returncode == 1 and "RuntimeError: boom" in result.stderr and "src/run.py" in result.stderr
    run = project.record()
    assert run["status"] == "FAILED" and "boom" in run["fail_trace"][-1] and result.stdout.endswith("closed\n")
    record = project.root / "results/sacred/1"
    assert read_record(record).status == "FAILED" and "RuntimeError: boom" in (record / "record.jsonl").read_text()


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_so_in_its_record(project: Project, number: signal.Signals, status: int) -> None:
    assert project.interrupt(number, "sleep") == (status, "")
    assert project.record()["status"] == "INTERRUPTED"
    assert read_record(project.root / "results/sacred/1").status == "INTERRUPTED"


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_leaves_nothing(project: Project, number: signal.Signals, status: int) -> None:
    assert project.interrupt(number, "slow build") == (status, "")
    assert not (project.root / "results").exists()


def test_worker_processes_are_not_taken_for_the_run_when_they_are_terminated(project: Project) -> None:
    result = project.call(*ARGUMENTS, "with", "plan=fork")
    assert f"child ended with {-signal.SIGTERM}" in result.stdout and result.stderr == ""
    assert project.record()["status"] == "COMPLETED"


def test_the_folder_of_a_relative_path_does_not_depend_on_where_the_call_is_made(project: Project) -> None:
    assert project.call(*ARGUMENTS, "with", "local_results_path=x/y", cwd=Path("/")).returncode == 0
    assert project.record(results="x/y")["status"] == "COMPLETED"


def test_print_config_shows_the_resolved_configuration_and_builds_nothing(project: Project) -> None:
    result = project.call("print_config", *ARGUMENTS, "with", "plan=bad build", "lr=1/4")
    assert result.returncode == 0 and result.stderr == ""
    assert "lr = 0.25" in result.stdout and "gamma = 0.95" in result.stdout and "n_agents = 4" in result.stdout
    assert not (project.root / "results").exists()


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("help",)])
def test_help_names_the_choices(project: Project, arguments: tuple[str, ...]) -> None:
    result = project.call(*arguments)
    assert result.returncode == 0 and result.stderr == ""
    for part in (
        "--config",
        "--env-config",
        "with env_args.n_agents=16",
        "Algorithms: toy",
        "warehouse",
        "Presets: released",
    ):
        assert part in result.stdout, part


VERSION = """
import sys
from main import cli
status = cli(["main.py", sys.argv[1]])
sys.exit(status or int("torch" in sys.modules))
"""


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_shown_without_the_wait_for_pytorch(flag: str) -> None:
    command = [sys.executable, "-c", VERSION, flag]
    result = subprocess.run(command, cwd=PROJECT / "src", capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"pymarl-vast {__version__}\n", "")
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_no_process_is_left_behind(project: Project) -> None:
    process = project.start(*ARGUMENTS)
    process.communicate(timeout=60)
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


# --- mistakes that only the environments and the parts of a real run find ---


@pytest.fixture
def real_call(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[RealCall]:
    """Calls the command line in this process, with the project's own run.py and results below ``tmp_path``."""
    handler = signal.getsignal(signal.SIGTERM)

    def call(alg: str, env: str, *updates: str) -> subprocess.CompletedProcess[str]:
        arguments = (f"--config={alg}", f"--env-config={env}", "with", *updates, "use_cuda=false", "seed=1")
        capfd.readouterr()
        status = main.cli(["main.py", *arguments, f"local_results_path={tmp_path}/results"])
        return subprocess.CompletedProcess(arguments, status, *capfd.readouterr())

    yield call
    signal.signal(signal.SIGTERM, handler)


def assert_refused(real_call: RealCall, tmp_path: Path, *arguments: str, message: str) -> None:
    """One line that begins with this message, and neither a file nor a process left behind."""
    before = set(tmp_path.iterdir())
    assert_one_line(real_call(*arguments), f"error: {message}")
    assert set(tmp_path.iterdir()) == before and not multiprocessing.active_children()


@pytest.mark.parametrize("runner", ["episode", "vector", "parallel"])
@pytest.mark.parametrize("n_agents", [0, -3])
@pytest.mark.parametrize("env", ["warehouse", "battle", "gaussian_squeeze"])
def test_a_team_needs_an_agent(real_call: RealCall, tmp_path: Path, env: str, n_agents: int, runner: str) -> None:
    updates = (f"env_args.n_agents={n_agents}", f"runner={runner}", "buffer_size=32")
    message = f"env_args.n_agents={n_agents}: expected a whole number of at least 1\n"
    assert_refused(real_call, tmp_path, "vast_qmix", env, *updates, message=message)


@pytest.mark.parametrize("in_a_file", [False, True])
@pytest.mark.parametrize(
    "env, layout, place",
    [
        ("warehouse", "W12\n3x4", "line 2, column 2: unknown cell 'x', known are #.1234W\n"),
        ("warehouse", "W12\n34", "line 2, column 3: 2 cells, but 3 in the first line\n"),
        ("warehouse", "  W12\n\n  334", "line 2, column 3: 0 cells, but 3 in the first line\n"),
        ("warehouse", "  W12\n 334", "line 1, column 2: unknown cell ' ', known are #.1234W\n"),
        ("battle", "A.O\n.W.", "line 2, column 2: unknown cell 'W', known are AO.\n"),
        ("battle", "A.O\n...\n....", "line 3, column 4: 4 cells, but 3 in the first line\n"),
        ("battle", "\n  A.O\n  .a.", "line 3, column 4: unknown cell 'a', known are AO.\n"),
    ],
)
def test_a_malformed_map_is_told_with_line_and_column(
    real_call: RealCall, tmp_path: Path, env: str, layout: str, place: str, in_a_file: bool
) -> None:
    source = "env_args.layout"
    if in_a_file:
        path = tmp_path / "arena.txt"
        path.write_text(layout)
        layout, source = str(path), f"env_args.layout {path}"
    updates = ("env_args.n_agents=1", f"env_args.layout={layout}", "buffer_size=32")
    assert_refused(real_call, tmp_path, "qmix", env, *updates, message=f"{source} {place}")


def test_an_argument_of_several_lines_is_quoted_in_one(real_call: RealCall, tmp_path: Path) -> None:
    message = "env_args.layot: unknown key (did you mean 'env_args.layout'?) (with env_args.layot=A.O ...); "
    assert_refused(real_call, tmp_path, "qmix", "battle", "env_args.layot=A.O\n...", message=message)


@pytest.mark.parametrize("alg", ["vast_qmix", "vast_qmix_ac"])
def test_clusters_need_positions(real_call: RealCall, tmp_path: Path, alg: str) -> None:
    message = "assigner: spatial needs the agents' positions, which env 'gaussian_squeeze' does not give "
    updates = ("assigner=spatial", "env_args.n_agents=8")
    assert_refused(real_call, tmp_path, alg, "gaussian_squeeze", *updates, message=message)
