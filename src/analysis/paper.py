"""The panels of the figures of the VAST paper (Phan et al., NeurIPS 2021), filled from runs.

Which run belongs to which curve follows from its configuration alone; docs/experiments.md has the command of each. All
of them are in the actor-critic regime (section 5.2).
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from analysis.figures import Panel, axis_title
from analysis.groups import GROUP_BY, Curve, Group, curve, group, task_title
from analysis.notes import Notes
from analysis.runs import Run, default_measure, matches
from utils.errors import UserError

REGIME = {"agent_output_type": "pi_logits"}
SIZES = {"warehouse": (4, 8, 16), "battle": (20, 40, 80), "gaussian_squeeze": (200, 400, 800)}
BEST = "best baseline"  # the label of the flat operator with the highest final score


@dataclass(frozen=True)
class Layout:
    """A figure of the paper.

    Attributes:
        curves: what the configuration of a run has to hold, by label.
        sizes: places of the panels' sizes in `SIZES`: 0 small, 1 medium, 2 large; each is a row of panels.
        measure: what it shows; None: the performance of each domain.
        with_best: whether the best flat operator of each instance is among its curves.
        not_in: labels that an environment does not have.
    """

    curves: Mapping[str, Mapping[str, str]]
    sizes: Sequence[int]
    measure: str | None = None
    with_best: bool = False
    not_in: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """Of all curves, in the order of the legend."""
        return [*self.curves, BEST] if self.with_best else [*self.curves]


def _vast(operator: str = "qtran", assigner: str = "metagrad", eta: str = "1/4") -> dict[str, str]:
    return {**REGIME, "mixer": "vast_mixer", "subteam_mixer": operator, "assigner": assigner, "eta": eta}


def _flat(mixer: str) -> dict[str, str]:
    return {**REGIME, "learner": "q_learner", "mixer": mixer}


RATIOS = {"VAST(η = 1/4)": _vast(eta="1/4"), "VAST(η = 1/2)": _vast(eta="1/2")}
BASELINES = {"QMIX": _flat("qmix"), "QTRAN": _flat("qtran"), "IL": _flat("none")}
OPERATORS = {"IL": "none", "VDN": "vdn", "QMIX": "qmix", "QTRAN": "qtran"}
ASSIGNERS = {"Random": "random", "Fixed": "fixed", "Spatial": "spatial", "MetaGrad": "metagrad"}
FIGURES = {
    "3": Layout({f"VAST(Ψ {name})": _vast(operator=key, eta="1/2") for name, key in OPERATORS.items()}, sizes=[0]),
    "4": Layout({**RATIOS, **BASELINES}, sizes=[0, 2]),
    "5": Layout(
        {f"VAST(X {name})": _vast(assigner=key) for name, key in ASSIGNERS.items()},
        sizes=[2],
        with_best=True,
        not_in={"gaussian_squeeze": ["VAST(X Spatial)"]},  # it has no positions
    ),
    "8": Layout({**RATIOS, **BASELINES}, sizes=[0, 1, 2]),
    "9": Layout(RATIOS, sizes=[0, 1, 2], measure="division_diversity"),
}


def layout(number: str) -> Layout:
    """The figure with a number of the paper's.

    Raises:
        UserError: there is none.
    """
    if number not in FIGURES:
        raise UserError(
            f"--figure: expected one of {', '.join(FIGURES)}, got '{number}' (6 and 10 are drawn by src/render.py)"
        )
    return FIGURES[number]


def panels(figure: Layout, runs: Sequence[Run], last: int, notes: Notes, measure: str | None = None) -> list[Panel]:
    """All panels of a figure, row by row; what there are no runs of is noted, and runs that no curve takes are, too.

    Args:
        figure: what to show.
        runs: of any curves.
        last: how many points a final score is the mean of, by which the best baseline is found.
        notes: get what is missing and what is left over.
        measure: to show instead of the figure's own.
    """
    instances = [(env, SIZES[env][size]) for size in figure.sizes for env in SIZES]
    wanted = [*figure.curves.values(), *(BASELINES.values() if figure.with_best else ())]
    unused = [run for run in runs if _instance(run) not in instances or not any(_fits(run, kind) for kind in wanted)]
    for rest in group(unused, GROUP_BY):
        notes.add("in none of the figure's curves", f"{rest.name} ({len(rest.runs)} runs)")
    found = []
    for letter, (env, n_agents) in zip(string.ascii_lowercase, instances, strict=False):
        title = task_title(env, n_agents)
        here = [run for run in runs if _instance(run) == (env, n_agents)]
        shown = measure or figure.measure or default_measure(env)
        curves, best = _curves(figure, env, title, shown, here, last, notes)
        found.append(_panel(f"({letter}) {title}", curves, best))
        missing = [label for label, curve in curves.items() if curve is None]
        if missing:
            notes.add(f"no curve of {', '.join(missing)}", title)
    return found


def _curves(
    figure: Layout, env: str, title: str, measure: str, runs: Sequence[Run], last: int, notes: Notes
) -> tuple[dict[str, Curve | None], str | None]:
    """The curves of a panel by label, None where there are no runs, and the label of its best baseline."""

    def fill(label: str, config: Mapping[str, str]) -> Curve | None:
        chosen = [run for run in runs if _fits(run, config)]
        return curve(Group(title, label, chosen), measure, notes) if chosen else None

    absent = figure.not_in.get(env, ())
    curves = {label: fill(label, config) for label, config in figure.curves.items() if label not in absent}
    if not figure.with_best:
        return curves, None
    flat = [found for label, config in BASELINES.items() if (found := fill(label, config))]
    best = max(flat, key=lambda found: found.final(last).mean(), default=None)
    curves[BEST] = replace(best, label=BEST) if best else None
    return curves, best.label if best else None


def _panel(title: str, curves: Mapping[str, Curve | None], best: str | None) -> Panel:
    found = [curve for curve in curves.values() if curve]
    if not found:
        return Panel(title, "", [], "no runs")
    missing = [label for label, curve in curves.items() if not curve]
    remarks = [f"best baseline: {best}"] if best else []
    remarks += [f"no runs: {', '.join(missing)}"] if missing else []
    return Panel(title, axis_title(found[0]), found, "\n".join(remarks))


def _instance(run: Run) -> tuple[object, object]:
    return run.keys.get("env"), run.keys.get("env_args.n_agents")


def _fits(run: Run, config: Mapping[str, str]) -> bool:
    return all(key in run.keys and matches(run.keys[key], text) for key, text in config.items())
