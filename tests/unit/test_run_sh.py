"""run.sh with a pretended Python and Docker: when it installs, when it does not, and what it runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "sh", "env", "cat", "cp", "cut", "cksum", "dirname", "id", "ln", "mkdir", "rm", "sleep", "tar")

# Stands in for the system's Python and for the one in .venv: notes each install, fails or waits if told so.
PYTHON = f"""#!/usr/bin/env bash
note() {{ echo "$1" >>"$STATE/log"; }}
case "$*" in
    *ensurepip*) exit "$(cat "$STATE/too_old" 2>/dev/null || echo 0)" ;;
    *fcntl*) exec {sys.executable} "$@" ;;
    -V) cat "$STATE/version" ;;
    "-m venv .venv") mkdir -p .venv/bin && cp "$STATE/bin/python3.11" .venv/bin/python && note venv ;;
    *"pip install"*" --requirement requirements.txt --requirement requirements-test.txt")
        note install; sleep "$(cat "$STATE/slow" 2>/dev/null || echo 0)"; [[ ! -e "$STATE/broken" ]] ;;
    *) exit 99 ;;
esac
"""
DOCKER = """#!/usr/bin/env bash
[[ $1 == build ]] && cat >/dev/null
[[ "$1 $2" == "image inspect" && ! -e "$STATE/image" ]] && exit 1
printf '%s\\n' "docker $*" >>"$STATE/log"
printf '%s\\n' "${@: -1}" >"$STATE/last"
[[ $1 == run ]] && exit 5
exit 0
"""


class Checkout:
    """A copy of run.sh and docker/ in ``root``, and a PATH that holds nothing but a few tools and the pretenders."""

    def __init__(self, folder: Path) -> None:
        self.root, self.state = folder / "the project", folder / "state"
        (self.state / "bin").mkdir(parents=True)
        self.root.mkdir()
        shutil.copy(PROJECT / "run.sh", self.root)
        shutil.copytree(PROJECT / "docker", self.root / "docker")
        self.write("requirements.txt", "torch==1\n")
        self.write("requirements-test.txt", "mongod==1\n")
        (self.state / "version").write_text("Python 3.11.7\n")
        for tool in TOOLS:
            os.symlink(str(shutil.which(tool)), self.state / "bin" / tool)
        self.pretend("python3.11", PYTHON)
        self.env = {"PATH": str(self.state / "bin"), "STATE": str(self.state), "LC_ALL": "C"}

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def pretend(self, name: str, script: str) -> None:
        path = self.state / "bin" / name
        path.write_text(script)
        path.chmod(0o755)

    def start(self, *command: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        arguments = [str(self.state / "bin" / "bash"), str(self.root / "run.sh"), *command]
        return subprocess.Popen(
            arguments, cwd=cwd, env=self.env, stdout=-1, stderr=-1, text=True, start_new_session=True
        )

    def run(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        process = self.start(*command, cwd=cwd)
        out, err = process.communicate(timeout=30)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def log(self) -> list[str]:
        path = self.state / "log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize("arguments", [(), ("0",)])
def test_without_a_command_it_explains_itself(checkout: Checkout, arguments: tuple[str, ...]) -> None:
    result = checkout.run(*arguments)
    assert result.returncode == 2 and result.stderr.startswith("usage: bash run.sh CMD...")
    assert not checkout.log()


def test_the_first_call_installs_and_says_so_the_second_is_silent(checkout: Checkout) -> None:
    first = checkout.run("sh", "-c", "echo $VIRTUAL_ENV; exit 7")
    assert first.returncode == 7 and first.stdout == f"{checkout.root}/.venv\n"
    assert first.stderr.count("\n") == 1 and "making .venv with Python 3.11.7" in first.stderr
    second = checkout.run("sh", "-c", "command -v python")
    assert second.stdout == f"{checkout.root}/.venv/bin/python\n" and second.stderr == ""
    assert checkout.log() == ["venv", "install"]


def test_commands_run_in_the_project_s_folder(checkout: Checkout, tmp_path: Path) -> None:
    assert checkout.run("sh", "-c", "pwd", cwd=tmp_path).stdout == f"{checkout.root}\n"


def test_arguments_arrive_unchanged(checkout: Checkout) -> None:
    assert checkout.run("sh", "-c", 'printf "%s|" "$@"', "-", "a b", "*", "").stdout == "a b|*||"


@pytest.mark.parametrize("change", ["requirements", "test requirements", "python", "place", "removed"])
def test_what_the_environment_was_made_from_counts(checkout: Checkout, change: str) -> None:
    checkout.run("sh", "-c", "")
    if change == "requirements":
        checkout.write("requirements.txt", "torch==2\n")
    elif change == "test requirements":
        checkout.write("requirements-test.txt", "mongod==2\n")
    elif change == "python":
        (checkout.state / "version").write_text("Python 3.12.0\n")
    elif change == "place":
        checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    else:
        (checkout.root / ".venv/bin/python").unlink()
    assert checkout.run("sh", "-c", "").returncode == 0
    assert checkout.log() == ["venv", "install"] * 2
    checkout.run("sh", "-c", "")
    assert checkout.log() == ["venv", "install"] * 2


def test_a_failed_install_is_told_and_tried_again(checkout: Checkout) -> None:
    (checkout.state / "broken").touch()
    result = checkout.run("sh", "-c", "echo ran")
    assert result.returncode == 1 and result.stdout == "" and "installing requirements.txt and" in result.stderr
    (checkout.state / "broken").unlink()
    assert checkout.run("sh", "-c", "echo ran").stdout == "ran\n"


def wait_for_install(checkout: Checkout) -> None:
    deadline = time.monotonic() + 20
    while "install" not in checkout.log():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_install_is_not_taken_for_a_finished_one(checkout: Checkout) -> None:
    (checkout.state / "slow").write_text("60")
    process = checkout.start("sh", "-c", "echo ran")
    wait_for_install(checkout)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (checkout.state / "slow").unlink()
    assert checkout.run("sh", "-c", "echo ran").stdout == "ran\n"
    assert checkout.log() == ["venv", "install"] * 2


def test_two_calls_at_once_install_once(checkout: Checkout) -> None:
    (checkout.state / "slow").write_text("1")
    first = checkout.start("sh", "-c", "echo first")
    wait_for_install(checkout)
    second = checkout.run("sh", "-c", "echo second")
    assert second.stdout == "second\n" and second.stderr == "run.sh: waiting for another call that makes .venv\n"
    assert first.communicate()[0] == "first\n"
    assert checkout.log() == ["venv", "install"]


def test_an_old_python_is_one_clear_line(checkout: Checkout) -> None:
    (checkout.state / "too_old").write_text("1")
    result = checkout.run("sh", "-c", "echo ran")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and "needs Python 3.11 or newer" in result.stderr


def test_a_number_runs_the_command_in_docker_on_that_gpu(checkout: Checkout) -> None:
    checkout.pretend("docker", DOCKER)
    result = checkout.run("3", "python3", "src/main.py", "with", "name=a b")
    assert result.returncode == 5
    lines = checkout.log()
    assert len(lines) == 2 and lines[0].startswith("docker build --tag pymarl-vast:")
    image = lines[0].split()[3]
    assert lines[1].endswith(f"--workdir /pymarl {image} python3 src/main.py with name=a b")
    for part in ("--gpus device=3", f"--user {os.getuid()}:{os.getgid()}", f"--volume {checkout.root}:/pymarl"):
        assert part in lines[1]
    assert (checkout.state / "last").read_text() == "name=a b\n"
    assert not (checkout.root / ".venv").exists()

    (checkout.state / "image").touch()  # the image is there, but the requirements change, and so does its name
    checkout.write("requirements.txt", "torch==2\n")
    checkout.run("3", "true")
    assert checkout.log()[2].startswith("docker image inspect") and image not in checkout.log()[2]
    assert checkout.log()[3].startswith("docker run")


def test_missing_docker_is_one_clear_line(checkout: Checkout) -> None:
    result = checkout.run("0", "python3", "src/main.py")
    assert result.returncode == 1 and result.stderr.count("\n") == 1 and "needs docker" in result.stderr
