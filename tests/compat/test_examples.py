"""Every file of examples/ does what it says, by the command that it gives."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from tracking.record import Evaluation, RecordWriter

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = PROJECT / "examples"
NOTEBOOK = EXAMPLES / "reading_records.ipynb"


def run(name: str, *words: str) -> str:
    """What an example prints, started from another folder than its own, as users do."""
    command = [sys.executable, str(EXAMPLES / name), *words]
    process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-4000:]
    return process.stdout


def numbers(pattern: str, text: str) -> list[tuple[float, ...]]:
    """The groups of each match, as numbers."""
    return [tuple(map(float, groups)) for groups in re.findall(pattern, text, flags=re.MULTILINE)]


def left_behind() -> set[Path]:
    return {path for path in (PROJECT / "results").rglob("*") if path.is_dir()}


def test_own_mixer_is_built_for_agents_and_for_subteams_and_learns_in_both_forms():
    before = left_behind()
    text = run("own_mixer.py")
    assert re.findall(r"^ShareMixer: built for (\d+) values$", text, flags=re.MULTILINE) == ["8", "4"]
    for form in ("flat", "VAST"):
        ((updates, first, last),) = numbers(rf"^{form}: (\d+) updates, loss ([\d.]+) -> ([\d.]+)$", text)
        assert updates >= 5 and last < first
    assert left_behind() == before


def test_own_mixer_is_a_main_of_ones_own():
    words = ("print_config", "--config=vast_qmix", "--env-config=battle", "with", "subteam_mixer=share", "seed=7")
    text = run("own_mixer.py", *words)
    assert re.search(r"subteam_mixer = share\b", text) and re.search(r"\bseed = 7\b", text)


def test_own_assigner_divides_the_team_anew_where_a_fixed_one_does_not():
    text = run("own_assigner.py")
    pattern = r": (\d+) distinct sets of active sub-teams, (\d+)% of the sub-teams active at a step$"
    ((sets, share),) = numbers("^fixed" + pattern, text)
    assert (sets, share) == (1, 100)
    ((sets, share),) = numbers("^alike" + pattern, text)
    assert sets > 1 and 25 < share < 100


def test_own_environment_keeps_the_contract_and_is_learnt():
    text = run("own_environment.py")
    assert "problems of the environment: none" in text
    points = numbers(r"^step (\d+): test return ([\d.]+) of at most ([\d.]+)$", text)
    assert [t for t, *_ in points] == [0, 3000]
    (_, before, most), (_, after, _) = points
    assert before < 6 and after > 9 and most == 10


# --- the notebook ---


def cells(kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


@pytest.fixture
def project_with_runs(tmp_path, monkeypatch):
    """A folder like the project's, with two recorded runs; the notebook shall take the tenth, not the ninth."""
    (tmp_path / "src").symlink_to(PROJECT / "src")
    (tmp_path / "examples").mkdir()
    for number in (9, 10):
        folder = tmp_path / "results" / "sacred" / str(number)
        folder.mkdir(parents=True)
        config = {"name": "vast_qmix", "env": "warehouse", "seed": number, "t_max": 20}
        writer = RecordWriter(folder, {"token": f"run_{number}", "config": config})
        writer.evaluation(Evaluation(0, 0, {"return": [-3.0, -1.0], "ep_length": [5, 5]}))
        writer.stat("loss", 0.5, 5)
        writer.stat("loss", 0.25, 15)
        writer.evaluation(Evaluation(20, 21, {"return": [1.0, 2.0], "ep_length": [5, 4]}))
        writer.end("COMPLETED")
    monkeypatch.chdir(tmp_path / "examples")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_the_notebook_draws_the_newest_runs_curves(project_with_runs, monkeypatch, capsys):
    plt.switch_backend("Agg")
    monkeypatch.setattr(plt, "show", lambda: None)
    names: dict[str, object] = {}
    drawn = []
    for source in cells("code"):
        exec(compile(source, NOTEBOOK.name, "exec"), names)
        if "plt.show()" in source:
            (line,) = plt.gcf().axes[0].lines
            drawn.append((line.get_xdata().tolist(), line.get_ydata().tolist()))
            bands = plt.gcf().axes[0].collections
            drawn[-1] += tuple(band.get_datalim(plt.gca().transData).intervaly.tolist() for band in bands)
    plt.close("all")
    assert drawn == [([0, 20], [-2.0, 1.5], [-3.0, 2.0]), ([5, 15], [0.5, 0.25])]
    printed = capsys.readouterr().out
    assert "run_10 COMPLETED" in printed and "'seed': 10" in printed and "\nloss\n" in printed


def test_the_notebook_is_stored_without_outputs_and_links_to_pages_that_exist():
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    targets = re.findall(r"\]\(([^)]+)\)", "\n".join(cells("markdown")))
    assert targets and all((EXAMPLES / target).exists() for target in targets)


def test_each_example_is_told_with_its_command():
    page = (EXAMPLES / "README.md").read_text()
    scripts = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert sorted(re.findall(r"`bash run.sh python examples/(\w+\.py)` \|$", page, flags=re.MULTILINE)) == scripts
    for name in scripts:
        assert f"bash run.sh python examples/{name}\n" in (EXAMPLES / name).read_text()
    assert NOTEBOOK.name in page
