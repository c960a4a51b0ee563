"""What becomes of runs that are read together: one curve for all seeds, and a word on everything that is unequal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.groups import GROUP_BY, Curve, curve, group, note_inequalities
from analysis.notes import Notes
from analysis.runs import Run, find_folders, matches, read, select
from tests.unit.analysis_helpers import QMIX, VAST, line, write_run
from tracking.record import FILE
from utils.errors import UserError


def load(folder: Path, measure: str | None = None) -> tuple[list[Run], Notes]:
    notes = Notes()
    return read(find_folders([folder], notes), measure, notes), notes


def only_curve(folder: Path, measure: str = "completed_orders") -> tuple[Curve, str]:
    """The curve of all runs in a folder, and what was noted."""
    runs, notes = load(folder, measure)
    (only,) = group(runs, GROUP_BY)
    found = curve(only, measure, notes)
    assert found is not None
    return found, "\n".join(notes.lines())


# --- reading ---


def test_folders_are_found_at_any_depth_and_once(tmp_path):
    write_run(tmp_path / "a" / "sacred" / "10", line([1]))
    write_run(tmp_path / "a" / "sacred" / "9", line([1]), seed=2)
    write_run(tmp_path / "b", line([1]), seed=3)
    (tmp_path / "a" / "models").mkdir()
    found = find_folders([tmp_path, tmp_path / "b", tmp_path / "a" / ".." / "b"], Notes())
    assert [Path(run.source).name for run in found] == ["9", "10", "b"]


def test_a_series_is_the_mean_over_the_episodes_at_the_evaluation_points(tmp_path):
    write_run(tmp_path, {0: 1.5, 10: 2.5}, absolute=4)
    (run,), _ = load(tmp_path)
    series = run.series("completed_orders")
    assert series is not None
    assert series.steps.tolist() == [0, 10] and series.values.tolist() == [1.5, 2.5]
    assert run.absolute_score("completed_orders") == 4
    assert run.series("nothing") is None and run.absolute_score("nothing") is None


def test_any_logged_statistic_is_a_measure(tmp_path):
    write_run(tmp_path, line([1, 2]), statistics={"loss": {3: 0.5, 7: 0.25}})
    (run,), _ = load(tmp_path, "loss")
    series = run.series("loss")
    assert series is not None and series.steps.tolist() == [3, 7] and series.values.tolist() == [0.5, 0.25]
    assert load(tmp_path)[0][0].series("loss") is None  # it was not asked for
    (found,) = find_folders([tmp_path], Notes())
    assert {"loss", "completed_orders", "return"} <= found.read(None).measures()


def sacred_folder(folder: Path, values: dict[int, float], status: str = "COMPLETED", **config: Any) -> None:
    """A run from before there were records."""
    folder.mkdir(parents=True)
    settings = {**QMIX, "env": "warehouse", "env_args": {"n_agents": 4}, "seed": 1, **config}
    metric = {"steps": [*values], "values": [*values.values()], "timestamps": []}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "metrics.json").write_text(json.dumps({"test_completed_orders_mean": metric}))
    (folder / "run.json").write_text(json.dumps({"status": status, "start_time": "2026-01-01T00:00:00"}))


def test_runs_without_a_record_are_read_from_sacreds_files_and_told(tmp_path):
    sacred_folder(tmp_path / "1", {3: 1, 13: 2})
    write_run(tmp_path / "2", line([5, 6]), seed=2)
    runs, notes = load(tmp_path)
    series = runs[0].series("completed_orders")
    assert series is not None and series.values.tolist() == [1, 2]
    assert runs[0].absolute_score("completed_orders") is None
    assert notes.lines() == [
        "recorded without single episodes and absolute score, and read from sacred's files: 1 runs"
    ]


def test_a_torn_line_and_an_unreadable_record_are_told(tmp_path):
    write_run(tmp_path / "1", line([1, 2]), status=None)
    with (tmp_path / "1" / FILE).open("a") as file:
        file.write('{"kind": "evaluation", "t": 20, "epis')
    write_run(tmp_path / "2", line([1]), seed=2)
    with (tmp_path / "2" / FILE).open("a") as file:
        file.write("{nonsense}\n")
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / FILE).write_text("")
    runs, notes = load(tmp_path)
    text = "\n".join(notes.lines())
    assert [Path(run.source).name for run in runs] == ["1"]
    assert f"torn and left out: {tmp_path}/1" in text
    assert f"cannot be read: {tmp_path}/3/{FILE}: empty" in text and f"{tmp_path}/2/{FILE}, line 5: damaged" in text


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("config.json", {"env": None}, ": no complete run of this program, as it lacks config.env (str)"),
        ("config.json", {"name": 3}, ": no complete run of this program, as it lacks config.name (str)"),
        ("config.json", {"seed": None}, ": no complete run of this program, as it lacks config.seed (int)"),
        ("config.json", {"seed": True}, ": no complete run of this program, as it lacks config.seed (int)"),
        ("config.json", [1], "/config.json: expected keys and values, got [1]"),
        ("run.json", {"status": None}, ": no complete run of this program, as it lacks status (str)"),
        ("run.json", {"start_time": None}, ": no complete run of this program, as it lacks start_time (str)"),
    ],
)
def test_a_foreign_or_incomplete_run_is_told_and_the_others_are_read(tmp_path, file, content, told):
    sacred_folder(tmp_path / "1", {3: 1})
    sacred_folder(tmp_path / "2", {3: 2})
    path = tmp_path / "1" / file
    if isinstance(content, dict):
        content = json.loads(path.read_text()) | content
    path.write_text(json.dumps(content))
    runs, notes = load(tmp_path)
    assert [Path(run.source).name for run in runs] == ["2"]
    assert f"left out, as it cannot be read: {tmp_path}/1{told}" in notes.lines()


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (
            {"config": {}},
            "no complete run of this program, as it lacks config.env (str), config.name (str), config.seed",
        ),
        ({"config": [1], "start_time": "x"}, "expected a configuration of keys and values, got [1]"),
        ({"config": {"env": "a", "name": "b", "seed": 1}}, "as it lacks start_time (str)"),
    ],
)
def test_a_foreign_record_is_told(tmp_path, header, told):
    (tmp_path / FILE).write_text(json.dumps({"kind": "run", "version": 1, **header}) + "\n")
    runs, notes = load(tmp_path)
    assert not runs and notes.lines()[0].startswith(f"left out, as it cannot be read: {tmp_path}: ")
    assert told in notes.lines()[0]


@pytest.mark.parametrize(
    ("value", "text", "expected"),
    [
        (0.25, "1/4", True),
        (0.25, "0.25", True),
        (0.25, "1/2", False),
        (5e-4, "5e-4", True),
        (16, "16", True),
        (16, "warehouse", False),
        (True, "true", True),
        (True, "1", False),
        (None, "none", True),
        (None, "null", True),
        ("none", "none", True),
        ("battle", "battle", True),
        (1, "1/0", False),
    ],
)
def test_values_of_the_configuration_match_what_users_write(value, text, expected):
    assert matches(value, text) is expected


def test_select_takes_dotted_keys_and_says_what_there_is(tmp_path):
    write_run(tmp_path / "1", line([1]), n_agents=4)
    write_run(tmp_path / "2", line([1]), n_agents=16)
    found = find_folders([tmp_path], Notes())
    assert [run.config["env_args"]["n_agents"] for run in select(found, {"env_args.n_agents": "16"}, "x")] == [16]
    with pytest.raises(UserError, match=r"env_args.n_agents=8: .* none of 2 runs in x: .* is 16, 4 there"):
        select(found, {"env": "warehouse", "env_args.n_agents": "8"}, "x")
    with pytest.raises(UserError, match=r"none of 2 runs in x: the keys are agent_output_type, .*env_args.n_agents"):
        select(found, {"n_agent": "8"}, "x")


# --- grouping ---


def test_groups_have_titles_and_labels_as_people_write_them(tmp_path):
    write_run(tmp_path / "1", line([1]), config=VAST, env="gaussian_squeeze", n_agents=800)
    write_run(tmp_path / "2", line([1]), n_agents=16)
    write_run(tmp_path / "3", line([1]), seed=2, n_agents=16, more={"lr": 0.001})
    write_run(tmp_path / "4", line([1]), n_agents=4)
    runs, _ = load(tmp_path)
    assert [(found.task, found.label, len(found.runs)) for found in group(runs, GROUP_BY)] == [
        ("GaussianSqueeze[800]", "vast_qtran_ac (metagrad, η=1/4)", 1),
        ("Warehouse[4]", "qmix_ac", 1),
        ("Warehouse[16]", "qmix_ac", 2),
    ]
    labels = [found.label for found in group(runs, ["name", "lr"])]
    assert labels == ["qmix_ac", "qmix_ac (lr=0.001)", "vast_qtran_ac"]


# --- one curve ---


def test_runs_that_are_alike_make_a_curve_without_a_word(tmp_path):
    write_run(tmp_path / "1", line([0, 2, 4]), seed=2, absolute=5)
    write_run(tmp_path / "2", line([1, 3, 7]), seed=1, absolute=6)
    found, notes = only_curve(tmp_path)
    assert found.seeds == [1, 2] and found.steps.tolist() == [0, 10, 20]
    assert found.values.tolist() == [[1, 3, 7], [0, 2, 4]]
    assert found.final(2).tolist() == [5, 3] and found.absolute().tolist() == [6, 5]
    assert notes == ""


def test_a_curve_ends_with_its_shortest_completed_run(tmp_path):
    write_run(tmp_path / "1", line([0, 2, 4]))
    write_run(tmp_path / "2", line([1, 3, 7, 9]), seed=2)
    found, notes = only_curve(tmp_path)
    assert found.steps.tolist() == [0, 10, 20] and len(found.runs) == 2
    assert f"ends at step 20 with {tmp_path}/1, though its longest run goes on to 30: qmix_ac in Warehouse[4]" in notes


def test_runs_that_were_stopped_before_that_are_left_out_and_others_are_drawn(tmp_path):
    write_run(tmp_path / "1", line([0, 2, 4]))
    write_run(tmp_path / "2", line([1, 3]), seed=2, status=None)
    write_run(tmp_path / "3", line([1, 3, 5]), seed=3, status="FAILED")
    found, notes = only_curve(tmp_path)
    assert found.seeds == [1, 3] and found.steps.tolist() == [0, 10, 20]
    assert f"RUNNING at step 10, left out: {tmp_path}/2" in notes
    assert f"FAILED at step 20, drawn: {tmp_path}/3" in notes


def test_where_no_run_is_completed_all_are_drawn(tmp_path):
    write_run(tmp_path / "1", line([0, 2, 4]), status=None)
    write_run(tmp_path / "2", line([1, 3]), seed=2, status="INTERRUPTED")
    found, notes = only_curve(tmp_path)
    assert found.seeds == [1, 2] and found.steps.tolist() == [0, 10]
    assert "RUNNING at step 20, drawn" in notes and "INTERRUPTED at step 10, drawn" in notes


def test_a_run_without_the_measure_is_told(tmp_path):
    write_run(tmp_path / "1", line([0, 2]))
    write_run(tmp_path / "2", {}, seed=2, status="FAILED")
    found, notes = only_curve(tmp_path)
    assert found.seeds == [1]
    assert f"left out, as it has no point of completed_orders (status FAILED): {tmp_path}/2" in notes
    assert "one seed only, so there is no confidence interval: qmix_ac in Warehouse[4]" in notes


def test_evaluations_of_checkpoints_are_no_training_runs(tmp_path):
    write_run(tmp_path / "1", line([0, 2]))
    write_run(tmp_path / "2", line([9]), seed=2, more={"evaluate": True})
    found, notes = only_curve(tmp_path)
    assert found.seeds == [1] and f"(evaluate=True): {tmp_path}/2" in notes


def test_a_seed_counts_once(tmp_path):
    write_run(tmp_path / "1", line([1, 1]), start_time="2026-01-01T00:00:00")
    write_run(tmp_path / "2", line([2, 2]), start_time="2026-01-03T00:00:00")
    write_run(tmp_path / "3", line([3]), start_time="2026-01-04T00:00:00", status=None)
    write_run(tmp_path / "4", line([4, 4]), seed=2)
    found, notes = only_curve(tmp_path)
    assert found.values[:, 0].tolist() == [2, 4]  # the newest that is completed
    assert f"left out, as {tmp_path}/2 has its seed and configuration: {tmp_path}/1; {tmp_path}/3" in notes


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_run_with_values_that_are_no_numbers_is_left_out_and_told(tmp_path, value):
    write_run(tmp_path / "1", line([0, value, 4]))
    write_run(tmp_path / "2", line([1, 3, 5]), seed=2, absolute=value)
    write_run(tmp_path / "3", line([1, 3, 6]), seed=3, absolute=7)
    found, notes = only_curve(tmp_path)
    assert found.seeds == [3] and found.values.tolist() == [[1, 3, 6]] and found.absolute().tolist() == [7]
    assert f"values of completed_orders that are no numbers: {tmp_path}/1; {tmp_path}/2" in notes


def test_of_a_seed_that_no_run_completed_the_newest_counts(tmp_path):
    write_run(tmp_path / "1", line([1, 1, 1]), start_time="2026-01-01T00:00:00", status=None)
    write_run(tmp_path / "2", line([2, 2]), start_time="2026-01-02T00:00:00", status="FAILED")
    found, _ = only_curve(tmp_path)
    assert found.values.tolist() == [[2, 2]]  # though the older one got further


def test_runs_of_one_seed_that_differ_otherwise_both_count_and_are_told(tmp_path):
    write_run(tmp_path / "1", line([1, 1]), more={"lr": 0.001, "label": "x"})
    write_run(tmp_path / "2", line([2, 2]), more={"lr": 0.0005, "label": "y"})
    found, notes = only_curve(tmp_path)
    assert len(found.runs) == 2
    assert "averaged over runs that differ in lr (0.0005, 0.001); --also KEY tells them apart: qmix_ac" in notes
    assert "label" not in notes and "seed (" not in notes


def test_of_unequal_evaluation_intervals_the_common_points_are_drawn(tmp_path):
    write_run(tmp_path / "1", line([0, 1, 2, 3, 4], interval=10))
    write_run(tmp_path / "2", line([0, 20, 40], interval=20), seed=2)
    found, notes = only_curve(tmp_path)
    assert found.steps.tolist() == [0, 20, 40] and not found.interpolated
    assert found.values.tolist() == [[0, 2, 4], [0, 20, 40]]
    assert "evaluated at unequal steps, of which only the common ones are drawn" in notes


def test_values_are_interpolated_where_runs_share_few_points(tmp_path):
    statistics: list[dict[int, float]] = [{5: 0, 15: 10, 25: 20}, {10: 1, 20: 3, 30: 5, 32: 6}]
    for number, points in enumerate(statistics):
        write_run(tmp_path / str(number), line([0]), seed=number, statistics={"loss": points})
    found, notes = only_curve(tmp_path, "loss")
    # Up to step 25, where the first run ends, the second has the fewest points; the first passes (10: 5, 20: 15).
    assert found.steps.tolist() == [10, 20] and found.interpolated
    assert found.values.tolist() == [[5, 15], [1, 3]]
    assert "values are interpolated linearly" in notes


def test_nothing_is_extrapolated(tmp_path):
    statistics: list[dict[int, float]] = [{5: 0, 25: 20}, {10: 1, 20: 3, 30: 5}]
    for number, points in enumerate(statistics):
        write_run(tmp_path / str(number), line([0]), seed=number, statistics={"loss": points})
    found, _ = only_curve(tmp_path, "loss")
    assert found.steps.tolist() == [25] and found.values.tolist() == [[20], [4]]  # at 5 there is but one


def test_runs_that_share_no_range_of_steps_are_told(tmp_path):
    for number, points in enumerate(({0: 1.0, 10: 1.0}, {20: 2.0, 30: 2.0})):
        write_run(tmp_path / str(number), line([0]), seed=number, statistics={"loss": points})
    runs, notes = load(tmp_path, "loss")
    assert curve(group(runs, GROUP_BY)[0], "loss", notes) is None
    assert "left out, as its runs share no range of steps: qmix_ac in Warehouse[4]" in notes.lines()


def test_curves_of_one_task_with_other_seeds_or_ends_are_told():
    def made(label: str, n: int, end: int) -> Curve:
        steps = np.arange(0.0, end + 1, 10)
        runs = [Run("x", {"seed": seed}, "COMPLETED", "") for seed in range(n)]
        return Curve("Warehouse[4]", label, "return", runs, steps, np.zeros((n, len(steps))), False)

    notes = Notes()
    note_inequalities([made("a", 2, 30), made("b", 2, 30)], 4, notes)
    assert notes.lines() == []
    note_inequalities([made("a", 2, 30), made("b", 3, 40)], 5, notes)
    assert notes.lines() == [
        "has less than 5 points, so its final score is the mean of all: a in Warehouse[4]",
        "unequal numbers of seeds: Warehouse[4] (a: 2, b: 3)",
        "curves, and so final scores, end at unequal steps: Warehouse[4] (a: 30, b: 40)",
    ]
