"""src/plot.py: files, table, remarks and mistakes, on records with known numbers."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import plot
from analysis import paper
from analysis.figures import COLOURS, LINES, Panel, draw_curves, save
from analysis.groups import GROUP_BY, curve, group
from analysis.notes import Notes
from analysis.runs import find_folders, read
from tests.unit.analysis_helpers import QMIX, VAST, line, write_run
from tracking.record import FILE

Call = Callable[..., tuple[int, str, str]]
PICTURES = {f"{name}.{ending}" for name in ("curves", "scores", "profile", "improvement") for ending in ("png", "svg")}


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line with files below ``tmp_path / "out"``; gives exit status, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = plot.main([*map(str, arguments), "--out", str(tmp_path / "out")])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def quick_call(call: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The same without pictures, which take most of the time."""
    monkeypatch.setattr(plot, "save", lambda figure, path: [])
    return call


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two algorithms with three seeds on two tasks."""
    folder = tmp_path / "sacred"
    for seed in (1, 2, 3):
        for task, env in enumerate(("warehouse", "battle")):
            measure = ("completed_orders", "kill_count")[task]
            for algorithm, config in enumerate((QMIX, VAST)):
                values = line([0, 10 * task, 10 * task + seed + 2 * algorithm])
                place = folder / f"{env}_{algorithm}_{seed}"
                absolute = 100 + seed + 2 * algorithm
                n_agents = (16, 80)[task]
                write_run(place, values, seed, config, env=env, n_agents=n_agents, measure=measure, absolute=absolute)
    return folder


def texts(figure: Figure) -> list[str]:
    """All texts in a picture."""
    from matplotlib.text import Text

    return [found.get_text() for found in figure.findobj(Text) if found.get_text()]


# --- the whole ---


def test_all_pictures_and_tables_are_written(call: Call, runs: Path, tmp_path: Path) -> None:
    status, out, err = call(runs, "--last", 1)
    assert status == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == PICTURES | {"table.md", "table.csv"}
    assert err.startswith("wrote ") and err.count("\n") == 1  # nothing is to be remarked
    assert out == (tmp_path / "out" / "table.md").read_text()
    assert all(path.stat().st_size > 5000 for path in (tmp_path / "out").glob("*.png"))


def test_the_table_has_the_scores(quick_call: Call, runs: Path, tmp_path: Path) -> None:
    _, out, _ = quick_call(runs, "--last", 1)
    # The final values are 11, 12, 13: all 27 resamples' means lie within, and 11 and 13 come in 1 of 27.
    expected = "| Battle[80] | qmix_ac | kill_count | 3 | 1, 2, 3 | 20 | 12.00 [11.00, 13.00] |"
    assert expected in out and "102.00 [101.00, 103.00]" in out
    with (tmp_path / "out" / "table.csv").open() as file:
        rows = {(row["task"], row["algorithm"]): row for row in csv.DictReader(file)}
    row = rows["Warehouse[16]", "vast_qtran_ac (metagrad, η=1/4)"]
    assert (row["n"], row["seeds"], row["final_mean"], row["final_runs"]) == ("3", "1 2 3", "4.0", "3.0 4.0 5.0")
    assert (row["absolute_mean"], row["final_iqm"]) == ("104.0", "4.0")


def test_the_final_score_is_the_mean_of_the_last_points(quick_call: Call, runs: Path) -> None:
    _, out, _ = quick_call(runs, "--last", 2, "--where", "env=battle", "--per-seed")
    assert "| Battle[80] | qmix_ac | kill_count | 3 | 1, 2, 3 | 20 | 11.0 (10.5, 11.0, 11.5) | 11.0 |" in out
    assert "final mean (last 2)" in out and "Warehouse" not in out


def test_scores_at_steps_are_interpolated_between_each_run_s_own_evaluations(quick_call: Call, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "1", {0: 10, 100: 20, 200: 40}, seed=1)
    write_run(tmp_path / "runs" / "2", {0: 0, 50: 40, 150: 20}, seed=2)
    _, out, err = quick_call(tmp_path / "runs", "--at", 25, 100, 175, "--per-seed")
    assert "| task | algorithm | measure | n | at 25 steps | at 100 steps | at 175 steps |" in out
    # Seed 2 was not evaluated at 175 steps or later, so there is no score of both.
    assert "| Warehouse[4] | qmix_ac | completed_orders | 2 | 16.2 (12.5, 20.0) | 25.0 (20.0, 30.0) | none |" in out
    assert "table.csv, points.csv to " in err and (tmp_path / "out" / "table.md").read_text().startswith(out)
    assert f"note: not evaluated at 175 steps: {tmp_path / 'runs' / '2'}\n" in err
    with (tmp_path / "out" / "points.csv").open() as file:
        rows = {row["steps"]: row for row in csv.DictReader(file)}
    assert (rows["100"]["seeds"], rows["100"]["runs"], rows["100"]["mean"]) == ("1 2", "20.0 30.0", "25.0")
    assert rows["175"]["mean"] == ""


def test_scores_at_episodes_follow_the_episodes_of_each_run(quick_call: Call, tmp_path: Path) -> None:
    # The first run played 2 episodes in 100 steps and 6 in 200; its first evaluation was before all of them. How many
    # it had played at its last evaluation is not known.
    write_run(tmp_path / "1", {0: 0, 100: 10, 200: 20, 300: 90}, statistics={"episode": {100: 2, 200: 6}})
    _, out, err = quick_call(tmp_path / "1", "--at-episode", 0, 1, 4, 6, 7)
    assert "at 0 episodes | at 1 episodes | at 4 episodes | at 6 episodes | at 7 episodes |" in out
    assert "| 1 | 0.00 | 5.00 | 15.00 | 20.00 | none |" in out
    assert f"note: not evaluated at 7 episodes: {tmp_path / '1'}\n" in err


def test_a_run_that_begins_with_a_checkpoint_has_played_nothing_there(quick_call: Call, tmp_path: Path) -> None:
    write_run(tmp_path / "1", {1000: 0, 1100: 10}, statistics={"episode": {1100: 4}})
    assert "| 1 | 2.50 |" in quick_call(tmp_path / "1", "--at-episode", 1)[1]


def test_runs_that_did_not_log_their_episodes_have_no_scores_at_episodes(quick_call: Call, tmp_path: Path) -> None:
    write_run(tmp_path / "1", {0: 0, 100: 10}, seed=1, statistics={"episode": {100: 2}})
    write_run(tmp_path / "2", {0: 0, 100: 10}, seed=2)
    status, out, err = quick_call(tmp_path, "--at-episode", 1)
    assert status == 0 and "| 2 | none |" in out and f"note: not evaluated at 1 episodes: {tmp_path / '2'}\n" in err


def test_algorithms_that_share_no_task_are_not_held_against_each_other(call: Call, tmp_path: Path) -> None:
    write_run(tmp_path / "1", line([1, 2]), n_agents=4)
    write_run(tmp_path / "2", line([1, 2]), n_agents=8, config=VAST)
    assert call(tmp_path)[0] == 0
    assert (tmp_path / "out" / "scores.png").exists() and not (tmp_path / "out" / "improvement.png").exists()


def test_another_measure_can_be_asked_for(quick_call: Call, runs: Path) -> None:
    _, out, _ = quick_call(runs, "--metric", "return")
    assert out.count("| return |") == 4


def test_the_same_runs_give_the_same_files(call: Call, runs: Path, tmp_path: Path) -> None:
    call(runs, "--where", "env=battle")
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    call(runs, "--where", "env=battle")
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}


def test_remarks_are_told_and_kept_with_the_table(quick_call: Call, runs: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "more", line([5, 6, 7]), seed=9, env="warehouse", n_agents=4, more={"lr": 1})
    status, _, err = quick_call(runs, tmp_path / "more")
    assert status == 0
    remark = "one seed only, so there is no confidence interval: qmix_ac in Warehouse[4]"
    assert f"note: {remark}\n" in err and f"- {remark}\n" in (tmp_path / "out" / "table.md").read_text()
    missing = "not in the pictures over all tasks, as it has no scores on some of them: vast_qtran_ac"
    assert missing in err


def test_one_run_is_drawn(call: Call, tmp_path: Path) -> None:
    write_run(tmp_path / "1", line([5]))
    status, out, err = call(tmp_path / "1")
    assert status == 0 and "one seed only" in err and "| 5.00 | 5.00 | none | none |" in out
    assert not (tmp_path / "out" / "improvement.png").exists()  # there is no pair


def test_keys_tell_curves_apart(quick_call: Call, tmp_path: Path) -> None:
    for number, lr in enumerate((0.1, 0.2)):
        write_run(tmp_path / "runs" / str(number), line([number, number]), more={"lr": lr})
    assert "differ in lr (0.1, 0.2)" in quick_call(tmp_path / "runs")[2]
    _, out, err = quick_call(tmp_path / "runs", "--also", "lr")
    assert "differ" not in err and "| qmix_ac (lr=1/10) |" in out and "| qmix_ac (lr=1/5) |" in out
    assert "| all environments | runs (lr=1/10) |" in quick_call(tmp_path / "runs", "--group-by", "lr")[1]


# --- pictures ---


def test_curves_are_means_with_labels_a_legend_and_colours_that_can_be_told_apart(runs: Path) -> None:
    found = [curve(some, "kill_count", Notes()) for some in group(read_all(runs, "kill_count"), GROUP_BY)]
    curves = [some for some in found if some]
    labels = [some.label for some in curves]
    figure = draw_curves([Panel("Battle[80]", "kill count", curves)], labels, columns=3)
    axis = figure.axes[0]
    assert [[*drawn.get_ydata()] for drawn in axis.lines] == [[0, 10, 12], [0, 10, 14]]
    assert [drawn.get_color() for drawn in axis.lines] == list(COLOURS[:2])
    assert len(axis.collections) == 2  # the intervals
    assert {"environment steps", "kill count", "Battle[80] (n = 3)", *labels} <= set(texts(figure))
    styles = {(COLOURS[i % len(COLOURS)], str(LINES[i % len(LINES)])) for i in range(42)}
    assert len(styles) == 42


def read_all(folder: Path, measure: str | None = None) -> list:
    return read(find_folders([folder], Notes()), measure, Notes())


# --- export ---


def test_a_legend_of_long_names_stays_within_the_picture() -> None:
    labels = [f"vast_qtran_ac (agent=rnn, standardise_advantages=True) {number}" for number in range(4)]
    figure = draw_curves([Panel("Warehouse[4]", "return", [])] * 3, labels, columns=3)
    figure.canvas.draw()
    assert all(0 <= edge <= figure.bbox.width for edge in figure.legends[0].get_window_extent().get_points()[:, 0])


def test_marl_eval_gets_every_episode(quick_call: Call, runs: Path, tmp_path: Path) -> None:
    status, _, err = quick_call(runs, "--where", "env=battle", "--export", "marl-eval")
    assert status == 0 and "marl-eval" not in err.replace("marl-eval.json", "")
    tree = json.loads((tmp_path / "out" / "marl-eval.json").read_text())
    assert list(tree) == ["battle"] and list(tree["battle"]) == ["battle[80]"]
    algorithms = tree["battle"]["battle[80]"]
    assert list(algorithms) == ["qmix_ac", "vast_qtran_ac (metagrad η=1/4)"]  # no commas
    run = algorithms["qmix_ac"]["seed_2"]
    assert list(run) == ["step_1", "step_2", "step_3", "absolute_metrics"]
    assert run["step_3"] == {"step_count": 20, "kill_count": [11, 13], "return": [0, 0]}
    assert run["absolute_metrics"]["kill_count"] == [101, 103] * 10


def test_values_that_json_lacks_are_not_exported(quick_call: Call, tmp_path: Path) -> None:
    for seed, value in enumerate((1.0, float("nan")), start=1):
        # The curve is of a logged statistic, which is finite; the episodes are not.
        write_run(tmp_path / "runs" / str(seed), line([0, value]), seed, statistics={"loss": line([3, 2])})
    status, _, err = quick_call(tmp_path / "runs", "--metric", "loss", "--export", "marl-eval")
    assert (
        status == 0
        and f"not exported, as it has values that are no numbers, which JSON lacks: {tmp_path}/runs/2" in err
    )
    tree = json.loads((tmp_path / "out" / "marl-eval.json").read_text(), parse_constant=pytest.fail)
    assert list(tree["warehouse"]["warehouse[4]"]["qmix_ac"]) == ["seed_1"]


def test_what_marl_eval_refuses_is_told(quick_call: Call, runs: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "more", line([1, 2, 3, 4]), seed=4, env="battle", n_agents=80, measure="kill_count")
    write_run(tmp_path / "less", line([1, 2]), config=VAST, env="battle", n_agents=20, measure="kill_count")
    _, _, err = quick_call(runs, tmp_path / "more", tmp_path / "less", "--export", "marl-eval")
    without = "exported without an absolute evaluation, which marl-eval wants in every run"
    assert f"{without}: {tmp_path}/less; {tmp_path}/more" in err
    for what in ("algorithms", "seeds", "evaluations"):
        assert f"marl-eval refuses unequal {what} within an environment: battle" in err


# --- the paper's figures ---


def test_a_figure_of_the_paper_takes_runs_by_their_configuration(tmp_path: Path) -> None:
    for number, eta in enumerate((0.25, 0.5)):
        write_run(tmp_path / f"a{number}", line([1, 2]), config={**VAST, "eta": eta, "name": "own"}, n_agents=16)
    write_run(tmp_path / "coma", line([3, 4]), config={**QMIX, "learner": "coma_learner", "mixer": None}, n_agents=16)
    write_run(tmp_path / "value", line([3, 4]), config={**QMIX, "agent_output_type": "q"}, n_agents=16)
    write_run(tmp_path / "il", line([7, 8]), config={**QMIX, "mixer": None}, n_agents=16)
    notes = Notes()
    panels = paper.panels(paper.layout("4"), read_all(tmp_path), 1, notes)
    assert [panel.title for panel in panels] == [
        "(a) Warehouse[4]",
        "(b) Battle[20]",
        "(c) GaussianSqueeze[200]",
        "(d) Warehouse[16]",
        "(e) Battle[80]",
        "(f) GaussianSqueeze[800]",
    ]
    assert [found.label for found in panels[3].curves] == ["VAST(η = 1/4)", "VAST(η = 1/2)", "IL"]
    assert panels[3].remark == "no runs: QMIX, QTRAN" and panels[0].remark == "no runs" and not panels[0].curves
    text = "\n".join(notes.lines())
    assert "no curve of QMIX, QTRAN: Warehouse[16]" in text
    assert "none of the figure's curves: qmix_ac in Warehouse[16] (2 runs)" in text  # coma's and the value-based one


@pytest.mark.parametrize(
    ("number", "sizes", "labels"),
    [
        ("3", ["[4]", "[20]", "[200]"], ["VAST(Ψ IL)", "VAST(Ψ VDN)", "VAST(Ψ QMIX)", "VAST(Ψ QTRAN)"]),
        ("8", ["[4]", "[20]", "[200]", "[8]", "[40]", "[400]", "[16]", "[80]", "[800]"], ["VAST(η = 1/4)", "IL"]),
        ("5", ["[16]", "[80]", "[800]"], ["VAST(X Random)", "VAST(X Spatial)", "best baseline"]),
    ],
)
def test_every_figure_has_its_panels_and_curves(number: str, sizes: list[str], labels: list[str]) -> None:
    layout = paper.layout(number)
    panels = paper.panels(layout, [], 1, Notes())
    assert [panel.title[panel.title.index("[") :] for panel in panels] == sizes
    assert set(labels) <= set(layout.labels)


def test_figure_3_tells_the_operators_apart(tmp_path: Path) -> None:
    for number, operator in enumerate(("none", "vdn", "qmix", "qtran")):
        config = {**VAST, "subteam_mixer": operator, "eta": 0.5}
        write_run(tmp_path / str(number), line([number, number]), config=config)
    panel = paper.panels(paper.layout("3"), read_all(tmp_path), 1, Notes())[0]
    assert [(found.label, found.values[0, 0]) for found in panel.curves] == [
        ("VAST(Ψ IL)", 0),
        ("VAST(Ψ VDN)", 1),
        ("VAST(Ψ QMIX)", 2),
        ("VAST(Ψ QTRAN)", 3),
    ]
    assert not panel.remark


def test_figure_5_finds_the_best_baseline_of_each_instance(tmp_path: Path) -> None:
    write_run(tmp_path / "fixed", line([1, 2]), config={**VAST, "assigner": "fixed"}, n_agents=16)
    finals = {"qmix": (5, 9), "qtran": (6, 7), None: (7, 8)}  # of which QMIX is first at last, IL on average
    for mixer, final in finals.items():
        write_run(tmp_path / f"flat_{mixer}", line(final), config={**QMIX, "mixer": mixer}, n_agents=16)
    battle = {"qmix": 1, "qtran": 3}
    for mixer, value in battle.items():
        config = {**QMIX, "mixer": mixer}
        write_run(
            tmp_path / f"battle_{mixer}", line([value]), config=config, env="battle", n_agents=80, measure="kill_count"
        )
    panels = paper.panels(paper.layout("5"), read_all(tmp_path), 1, Notes())
    assert [found.label for found in panels[0].curves] == ["VAST(X Fixed)", "best baseline"]
    assert panels[0].curves[1].values.tolist() == [[5, 9]]
    assert panels[0].remark.splitlines()[0] == "best baseline: QMIX"
    assert panels[1].remark.splitlines()[0] == "best baseline: QTRAN"
    last_two = paper.panels(paper.layout("5"), read_all(tmp_path), 2, Notes())
    assert last_two[0].remark.splitlines()[0] == "best baseline: IL"


def test_spatial_is_not_missed_where_there_are_no_positions() -> None:
    notes = Notes()
    paper.panels(paper.layout("5"), [], 1, notes)
    lines = [found for found in notes.lines() if "GaussianSqueeze[800]" in found]
    assert lines == ["no curve of VAST(X Random), VAST(X Fixed), VAST(X MetaGrad), best baseline: GaussianSqueeze[800]"]


def test_figure_9_shows_the_diversity(call: Call, tmp_path: Path) -> None:
    for seed in (1, 2):
        statistics = {"division_diversity": {5: 1.0 * seed, 15: 3.0 * seed}}
        write_run(tmp_path / "runs" / str(seed), line([0]), seed, VAST, n_agents=16, statistics=statistics)
    status, out, err = call(tmp_path / "runs", "--figure", 9)
    assert status == 0 and "| Warehouse[16] | VAST(η = 1/4) | division_diversity | 2 | 1, 2 | 15 |" in out
    assert "no curve of VAST(η = 1/4), VAST(η = 1/2): Warehouse[4]; Battle[20]" in err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "figure9.png",
        "figure9.svg",
        "table.md",
        "table.csv",
    }


def test_empty_panels_and_missing_curves_are_seen_in_the_picture(runs: Path) -> None:
    layout = paper.layout("4")
    figure = draw_curves(paper.panels(layout, read_all(runs), 1, Notes()), layout.labels, columns=3)
    shown = texts(figure)
    assert shown.count("no runs") == 4 and "(d) Warehouse[16] (n = 3)" in shown
    assert "no runs: VAST(η = 1/2), QTRAN, IL" in shown
    assert set(layout.labels) <= set(shown)  # one legend with all curves of the figure


# --- mistakes ---


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ["RUNS: expected folders of runs, or -m, or --url"]),
        (("RUNS", "-m", "localhost:1:db"), ["one of these only"]),
        (("RUNS", "--db", "x"), ["--url with or without --db"]),
        (("nowhere",), ["nowhere: cannot be searched for runs: No such file"]),
        (("EMPTY",), ["no runs in ", "record.jsonl"]),
        (("RUNS", "--where", "env"), ["--where env: expected KEY=VALUE"]),
        (
            ("RUNS", "--where", "env=chess"),
            ["--where env=chess: matches none of 12 runs in ", "env is battle, warehouse"],
        ),
        (("RUNS", "--where", "n_agents=4"), ["the keys are agent_output_type, ", "env_args.n_agents"]),
        (("RUNS", "--metric", "kil_count"), ["--metric kil_count", "(did you mean 'kill_count'?)", "completed_orders"]),
        (("RUNS", "--group-by", "nam"), ["--group-by nam: no run has this key (did you mean 'name'?)", "env_args"]),
        (("RUNS", "--figure", "7"), ["--figure: expected one of 3, 4, 5, 8, 9, got '7'"]),
        (("RUNS", "--figure", "3"), ["--figure 3: nothing to draw in 12 runs of "]),
        (("RUNS", "--export", "csv"), ["--export: expected marl-eval, got 'csv'"]),
        (("RUNS", "--last", "0"), ["--last: expected at least 1, got 0"]),
        (("RUNS", "--at", "1", "--at-episode", "1"), ["--at, --at-episode: expected one of them, got both"]),
        (("RUNS", "--at", "5", "-1"), ["--at: expected 0 or more, got -1"]),
        (("RUNS", "--last", "many"), ["argument --last: invalid int value: 'many'"]),
        (("RUNS", "--frobnicate"), ["unrecognized arguments: --frobnicate"]),
        (("-m", "host:port:db"), ["-m: expected [host:port:]database, got 'host:port:db'"]),
        (("--url", "http://user:secret@x"), ["--url: not a valid MongoDB URI"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    call: Call, runs: Path, tmp_path: Path, arguments: tuple[str, ...], parts: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"RUNS": str(runs), "EMPTY": str(tmp_path / "empty")}
    status, out, err = call(*(places.get(argument, argument) for argument in arguments))
    assert (status, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1, err
    assert all(part in err for part in parts), err
    assert "secret" not in err and not (tmp_path / "out").exists()


def test_a_database_that_does_not_answer_is_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "why_silent", lambda target: "Connection refused")
    status, _, err = call("-m", "127.0.0.1:9:db")
    assert (status, err) == (2, "error: MongoDB 127.0.0.1:9/db: does not answer: Connection refused\n")


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_read(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in (runs / "battle_0_1" / FILE, Path("/proc/figures")):
        assert plot.main([str(runs), "--out", str(place)]) == 2
        assert capsys.readouterr().err.startswith("error: --out: cannot write to ")


def test_what_fails_leaves_the_old_files_and_nothing_half_written(
    quick_call: Call, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    (out / "table.md").mkdir(parents=True)
    status, _, err = quick_call(runs)
    assert (status, err) == (2, f"error: --out: cannot write to {out}/table.md: Is a directory\n")
    assert [path.name for path in out.iterdir()] == ["table.md"]
    (out / "table.md").rmdir()
    (out / "table.csv").write_text("old")

    def full(rows: object, path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plot, "write_csv", full)
    status, _, err = quick_call(runs)
    assert (status, err) == (2, f"error: --out: cannot write to {out}: No space left on device\n")
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("table.csv", "old")]


def test_runs_that_have_no_point_yet_are_told(call: Call, tmp_path: Path) -> None:
    write_run(tmp_path / "1", {}, status=None)
    status, _, err = call(tmp_path / "1")
    assert status == 2 and "no point is recorded yet; left out, as it has no point of completed_orders" in err


def test_a_picture_is_saved_as_png_and_svg(tmp_path: Path) -> None:
    paths = save(Figure(), tmp_path / "x")
    assert [path.name for path in paths] == ["x.png", "x.svg"]
    assert paths[0].read_bytes().startswith(b"\x89PNG") and b"<svg" in paths[1].read_bytes()
    assert os.listdir(tmp_path)
