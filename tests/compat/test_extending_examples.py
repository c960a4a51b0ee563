"""Every example of docs/extending.md, followed word for word in a copy of the sources, works."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "extending.md").read_text()
QUICKLY = (
    *("t_max=110", "batch_size=2", "buffer_size=8", "test_nepisode=1", "test_interval=1000", "save_model=true"),
    *("n_threads=1", "use_cuda=false", "seed=1", "runner_log_interval=1", "learner_log_interval=1"),
)
# Carries out all commands in one process, because imports take longer than the runs. A command is a list of words.
DRIVER = """
import json, sys
sys.path.insert(0, "src")
from envs import checker
from main import cli
for program, *arguments in json.load(sys.stdin):
    status = checker.main(arguments) if program == "src/envs/checker.py" else cli([program, *arguments])
    print("STATUS", status, program, *arguments, flush=True)
"""


def blocks(page, language):
    """(section heading, text) of each fenced block of a language."""
    found = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        for text in re.findall(rf"^```{language}\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL):
            found.append((section.splitlines()[0], text))
    return found


def file_blocks():
    return [*blocks(PAGE, "python"), *blocks(PAGE, "yaml")]


def write(root, text):
    """Puts a block where its first line says."""
    add, path = re.fullmatch(r"# (add to )?(src/\S+\.(?:py|yaml))", text.splitlines()[0]).groups()
    target = root / path
    if add:
        with target.open("a") as file:
            file.write("\n" + text)
    else:
        assert not target.exists(), path
        target.write_text(text)


def commands():
    """The words after `python` of every command of the page."""
    lines = [shlex.split(line) for _, text in blocks(PAGE, "bash") for line in text.splitlines()]
    assert all(words[0] == "python" for words in lines)
    return [words[1:] for words in lines]


def quick(words):
    """A training command with settings that make it last a moment; they come last, so they win."""
    if words[0] != "src/main.py":
        return words
    return [*words, *(() if "with" in words else ("with",)), *QUICKLY]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """A copy of the sources after the page has been followed, and the exit status of each of its commands."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(PROJECT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for _, text in file_blocks():
        write(root, text)
    lines = [quick(words) for words in commands()]
    process = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=root, input=json.dumps(lines), capture_output=True, text=True, timeout=300
    )
    statuses = [int(status) for status in re.findall(r"^STATUS (\d+)", process.stdout, flags=re.MULTILINE)]
    assert process.returncode == 0 and len(statuses) == len(lines), process.stdout[-2000:] + process.stderr[-4000:]
    return root, statuses, process.stdout + process.stderr


@pytest.mark.parametrize("number", range(len(commands())), ids=[" ".join(words) for words in commands()])
def test_command_works(outcome, number):
    root, statuses, output = outcome
    assert statuses[number] == 0, output[-4000:]


def test_runs_have_trained_with_the_parts_of_the_page(outcome):
    root, _, output = outcome
    runs = [words for words in commands() if words[0] == "src/main.py"]
    folders = sorted((root / "results" / "sacred").glob("[0-9]*"), key=lambda folder: int(folder.name))
    assert len(folders) == len(runs)
    for folder, words in zip(folders, runs, strict=True):
        config = json.loads((folder / "config.json").read_text())
        metrics = json.loads((folder / "metrics.json").read_text())
        assert len(metrics["loss"]["values"]) >= 2, words
        for word in words:
            key, equals, value = word.partition("=")
            if equals and key in ("assigner", "subteam_mixer", "mixer", "agent", "mac", "action_selector", "objective"):
                assert config[key] == value
    (table,) = (root / "results" / "curves").glob("*.csv")
    assert [line.split(",")[:2] for line in table.read_text().split()] == [["0", "0"], ["110", "0"]]
    assert "levers: OK" in output and "my_qmix.yaml: new key 'weight_decay'" in output


def test_every_new_name_is_used_by_a_command():
    registered = re.findall(r'^REGISTRY\["(\w+)"\]', "\n".join(text for _, text in file_blocks()), flags=re.MULTILINE)
    used = PAGE[: PAGE.index("## Coming from")]
    assert len(registered) == 9
    for name in registered:
        assert re.search(rf"[=: \[]{name}\b", used), name


@pytest.mark.parametrize(
    "section", ["An assigner", "A mixer, flat and under VAST", "An environment", "An objective", "A sink"]
)
def test_the_short_examples_take_fewer_than_20_lines(section):
    longest = max((text for heading, text in blocks(PAGE, "python") if heading == section), key=len)
    code = [line for line in longest.splitlines() if line.strip() and not line.strip().startswith(("#", '"""'))]
    assert len(code) < 20


def test_every_link_of_the_page_leads_somewhere():
    headings = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", PAGE, flags=re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        path, _, anchor = target.partition("#")
        assert not path or (PROJECT / "docs" / path).exists(), target
        assert path or anchor in headings, target
