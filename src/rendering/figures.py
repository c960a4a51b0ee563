"""Figures 6 and 10 of the VAST paper: the sub-teams in an early, a middle and a late situation of one episode."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

from envs.drawing.draw import INK, LEGEND_SIZE, MARGIN, ROW, Painter
from envs.drawing.shapes import Drawing, Shape, Text
from envs.scene import Scene
from rendering.play import Film

PANEL = 360  # pixels along the longer side of a panel's board
STAGES = ("early", "middle", "late")


def stages(scenes: Sequence[Scene]) -> list[int]:
    """An early, a middle and a late scene of an episode.

    Of the opponents who die in it: early is half the way to the first death, middle when half of them are dead, late
    when nine in ten are. Where nobody dies: after a sixth, a half and five sixths of the steps.
    """
    last = len(scenes) - 1
    dead = np.array([sum(not opponent.alive for opponent in scene.opponents) for scene in scenes])
    if not dead[-1]:
        return [last // 6, last // 2, 5 * last // 6]
    reached = [int((dead >= share * dead[-1]).argmax()) for share in (0.5, 0.9)]
    return [int((dead > 0).argmax()) // 2, *reached]


def spread(scenes: Sequence[Scene]) -> float:
    """How far the living agents are from their centre, in cells; the mean over agents, then over the scenes."""
    distances = []
    for scene in scenes:
        positions = np.array([(agent.x, agent.y) for agent in scene.agents if agent.alive], dtype=float)
        if len(positions):
            distances.append(np.linalg.norm(positions - positions.mean(axis=0), axis=1).mean())
    return float(np.mean(distances))


def choose_episode(figure: int, films: Sequence[Film]) -> int:
    """The episode that a figure shows: for 6 the one whose agents stay closest together, for 10 the most split one."""
    spreads = [spread(film.scenes) for film in films]
    return int(np.argmin(spreads) if figure == 6 else np.argmax(spreads))


def draw_figure(films: Sequence[Film], steps: Sequence[int]) -> Drawing:
    """One row of panels a film, a panel for each of ``steps``, and the row's legend beside it."""
    shapes: list[Shape] = []
    letters = iter(string.ascii_lowercase)
    top, right = MARGIN, 0
    for film in films:
        scenes = [film.scenes[step] for step in steps]
        painter = Painter(scenes, None if film.subteams is None else film.subteams[list(steps)], board=PANEL)
        width, height = painter.board_size
        for number, scene in enumerate(scenes):
            left = MARGIN + number * (width + MARGIN)
            shapes += painter.board(number, left, top)
            label = f"({next(letters)}) {_stage(number, steps)}: step {scene.step}"
            shapes.append(Text(left + width / 2, top + height + ROW / 2, label, LEGEND_SIZE, INK, "middle"))
        left = MARGIN + len(steps) * (width + MARGIN)
        shapes.append(Text(left, top + ROW / 2, film.assigner or "agents", LEGEND_SIZE, INK))
        shapes += painter.legend(None, left, top + ROW)
        right = max(right, left + painter.legend_size[0])
        top += max(height, painter.legend_size[1]) + ROW + MARGIN
    return Drawing(right + MARGIN, top, tuple(shapes))


def _stage(number: int, steps: Sequence[int]) -> str:
    return STAGES[number] if len(steps) == len(STAGES) else f"panel {number + 1}"
