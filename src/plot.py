"""Compare recorded runs: learning curves, scores with intervals, performance profiles, tables.

Examples:
  python src/plot.py results/sacred
  python src/plot.py results/sacred --where env=warehouse --also agent --last 5 --out figures
  python src/plot.py -m localhost:27017:pymarl --export marl-eval
  python src/plot.py results/sacred --figure 4

docs/comparing.md explains the pictures, and how runs that are unequal are treated.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.figure import Figure

from analysis import paper
from analysis.export import write_marl_eval
from analysis.figures import Panel, axis_title, draw_curves, draw_improvement, draw_profiles, draw_scores, save
from analysis.groups import GROUP_BY, Curve, curve, group, note_inequalities
from analysis.notes import Notes
from analysis.runs import Found, Run, default_measure, find_folders, read, select
from analysis.scores import score_sets
from analysis.tables import at_points, markdown, points_markdown, row, write_csv, write_points_csv
from tracking.mongo.target import target_of_flag, target_of_url, why_silent
from tracking.record import FILE
from utils.commandline import Parser, fail
from utils.errors import UserError
from utils.files import check_writable
from utils.registry import hint

COLUMNS = 3  # of panels
POINTS = "points.csv"  # scores at --at


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="plot.py", description=__doc__, formatter_class=form, allow_abbrev=False)
    add = parser.add_argument
    add("runs", metavar="RUNS", nargs="*", type=Path, help="folders of runs, or folders that hold such at any depth")
    add("-m", "--mongo", metavar="HOST:PORT:DB", help="take the runs of a MongoDB instead, as in src/main.py")
    add("--url", help="... or of the one with this URI; $NAME: what the environment variable NAME holds")
    add("--db", metavar="NAME", help="with --url: name of the database; the default is the one in the URI")
    add("--where", metavar="KEY=VALUE", action="append", default=[], help="only runs with this setting; repeatable")
    add("--group-by", metavar="KEY", nargs="+", default=list(GROUP_BY), help=f"default: {' '.join(GROUP_BY)}")
    add("--also", metavar="KEY", nargs="+", default=[], help="keys to group by beside those")
    add("--metric", metavar="KEY", help="default: the performance of the domain, otherwise the return")
    add("--last", metavar="K", type=int, default=10, help="points that a final score is the mean of (default 10)")
    add("--at", metavar="STEP", type=int, nargs="+", help="also a table of the scores at these environment steps")
    add("--at-episode", metavar="N", type=int, nargs="+", help="... or after these numbers of training episodes")
    add("--figure", metavar="N", help="lay the panels out as a figure of the paper: 3, 4, 5, 8 or 9")
    add("--export", metavar="FORM", help="also write the runs in the form of other tools: marl-eval")
    add("--per-seed", action="store_true", help="the score of every run in the table, instead of intervals")
    add("--out", metavar="DIR", type=Path, default=Path("figures"), help="folder for all files (default figures)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Draw what the command line asks for; returns the exit status."""
    try:
        _compare(_parser().parse_args(argv))
    except UserError as error:
        return fail(error)
    return 0


def _compare(options: argparse.Namespace) -> None:
    _check(options)
    notes = Notes()
    found, searched = _find(options, notes)
    found = select(found, _where(options.where), searched)
    layout = paper.layout(options.figure) if options.figure else None
    runs = read(found, options.metric or (layout.measure if layout else None), notes)
    if layout:
        panels = paper.panels(layout, runs, options.last, notes, options.metric)
        labels = layout.labels
    else:
        panels, labels = _panels(runs, [*options.group_by, *options.also], options.metric, notes)
    curves = [curve for panel in panels for curve in panel.curves]
    if not curves:
        raise UserError(_nothing_to_draw(options, found, searched) + notes.tail())
    note_inequalities(curves, options.last, notes)
    pictures = {f"figure{options.figure}" if layout else "curves": draw_curves(panels, labels, COLUMNS)}
    if not layout:
        pictures |= _score_pictures(panels, labels, options.last, notes)
    _write(options, pictures, curves, notes)


def _check(options: argparse.Namespace) -> None:
    """Refuses a command line before anything is read."""
    if sum(map(bool, (options.runs, options.mongo, options.url))) != 1 or (options.db and not options.url):
        raise UserError("RUNS: expected folders of runs, or -m, or --url with or without --db, and one of these only")
    if options.last < 1:
        raise UserError(f"--last: expected at least 1, got {options.last}")
    if options.at and options.at_episode:
        raise UserError("--at, --at-episode: expected one of them, got both")
    for name, points in (("--at", options.at), ("--at-episode", options.at_episode)):
        if points and min(points) < 0:
            raise UserError(f"{name}: expected 0 or more, got {min(points)}")
    if options.export not in (None, "marl-eval"):
        raise UserError(f"--export: expected marl-eval, got '{options.export}'")
    check_writable(options.out, "--out")


def _where(settings: Sequence[str]) -> dict[str, str]:
    for setting in settings:
        if not all(setting.partition("=")):
            raise UserError(f"--where {setting}: expected KEY=VALUE")
    return dict(setting.split("=", 1) for setting in settings)


def _find(options: argparse.Namespace, notes: Notes) -> tuple[list[Found], str]:
    """The runs, and how messages name the place where they were searched."""
    if not options.runs:
        return _find_in_mongo(options, notes)
    found, searched = find_folders(options.runs, notes), ", ".join(map(str, options.runs))
    if not found:
        raise UserError(f"no runs in {searched}: searched for {FILE}, and for sacred's run.json{notes.tail()}")
    return found, searched


def _find_in_mongo(options: argparse.Namespace, notes: Notes) -> tuple[list[Found], str]:
    from analysis.mongo import find_mongo  # late: folders do without PyMongo

    if options.mongo:
        target = target_of_flag(options.mongo)
    else:
        target = target_of_url(options.url, options.db, names=("--url", "--db"))
    if silence := why_silent(target):
        raise UserError(f"MongoDB {target}: does not answer: {silence}")
    found = find_mongo(target.connect()[target.database], target, notes)
    if not found:
        raise UserError(f"no runs in MongoDB {target}: searched its collection 'runs'{notes.tail()}")
    return found, f"MongoDB {target}"


def _panels(
    runs: Sequence[Run], keys: Sequence[str], metric: str | None, notes: Notes
) -> tuple[list[Panel], list[str]]:
    """A panel for each task, and the labels of all algorithms."""
    known = sorted({key for run in runs for key in run.keys})
    for key in keys:
        if runs and key not in known and key not in GROUP_BY:
            raise UserError(f"--group-by {key}: no run has this key{hint(key, known)}: there are {', '.join(known)}")
    tasks: dict[str, list[Curve]] = {}
    for some in group(runs, keys):
        if found := curve(some, metric or default_measure(some.runs[0].config["env"]), notes):
            tasks.setdefault(found.task, []).append(found)
    labels = sorted({found.label for curves in tasks.values() for found in curves})
    return [Panel(task, axis_title(curves[0]), curves) for task, curves in tasks.items()], labels


def _nothing_to_draw(options: argparse.Namespace, found: Sequence[Found], searched: str) -> str:
    """What to say when no run has a point to draw."""
    asked = {"--metric": options.metric, "--figure": options.figure}
    what = " ".join(f"{name} {value}" for name, value in asked.items() if value) or "RUNS"
    known = sorted({measure for run in found for measure in run.read(None).measures()})
    there = f"their measures are {', '.join(known)}" if known else "no point is recorded yet"
    near = hint(options.metric, known) if options.metric else ""
    return f"{what}: nothing to draw in {len(found)} runs of {searched}{near}: {there}"


def _score_pictures(panels: Sequence[Panel], labels: Sequence[str], last: int, notes: Notes) -> dict[str, Figure]:
    curves = {panel.title: panel.curves for panel in panels}
    axes = {panel.title: panel.axis for panel in panels}
    final = score_sets(curves, axes, lambda curve: curve.final(last), notes)
    absolute = score_sets(curves, axes, Curve.absolute, notes)
    kinds = [("final", final), ("absolute", absolute)]
    pictures = {
        "scores": draw_scores([(kind, sets) for kind, sets in kinds if sets], labels),
        "profile": draw_profiles(final, labels),
    }
    if any(len(some.scores) > 1 for some in final):
        pictures["improvement"] = draw_improvement(final, labels)
    return pictures


def _write(options: argparse.Namespace, pictures: Mapping[str, Figure], curves: Sequence[Curve], notes: Notes) -> None:
    """All files, and on the console the table, the remarks and the names of the files."""
    out = options.out
    rows = [row(curve, options.last) for curve in curves]
    table = markdown(rows, options.last, options.per_seed)
    places = options.at or options.at_episode
    points = at_points(curves, places, places is options.at_episode, notes) if places else None
    if points:
        table += "\n" + points_markdown(points, options.per_seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".plot-", dir=out) as place:
            folder = Path(place)  # on the same disk, so that complete files only have to be moved
            files = [path for name, picture in pictures.items() for path in save(picture, folder / name)]
            if options.export:
                write_marl_eval(curves, folder / "marl-eval.json", notes)
            write_csv(rows, folder / "table.csv")
            if points:
                write_points_csv(points, folder / POINTS)
            remarks = "".join(f"- {line}\n" for line in notes.lines())
            (folder / "table.md").write_text(table + (f"\n{remarks}" if remarks else ""), encoding="utf-8")
            _move(folder, out)
    except OSError as error:
        raise UserError(f"--out: cannot write to {out}: {error.strerror or error}") from error
    print(table, end="")
    for line in notes.lines():
        print(f"note: {line}", file=sys.stderr)
    names = [path.name for path in files] + ["table.md", "table.csv"] + [POINTS] * (points is not None)
    names += ["marl-eval.json"] * bool(options.export)
    print(f"wrote {', '.join(names)} to {out}", file=sys.stderr)


def _move(folder: Path, out: Path) -> None:
    """All files of a folder to another one: all or, where a folder is in the way of one of them, none."""
    paths = list(folder.iterdir())
    for path in paths:
        if (out / path.name).is_dir():
            raise UserError(f"--out: cannot write to {out / path.name}: Is a directory")
    for path in paths:
        os.replace(path, out / path.name)


if __name__ == "__main__":
    sys.exit(main())
