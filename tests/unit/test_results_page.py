"""The table that opens docs/results/README.md says nothing that the pages behind it do not say."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "results"
HEAD = ["task, measure", "regime", "algorithm", "result", "seeds", "budget", "commit", "command and more"]


def rows() -> list[list[str]]:
    """The cells of each row of the first table."""
    table = re.search(r"(?:^\|.*\n)+", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert table is not None
    head, _, *found = [[cell.strip() for cell in row.strip("|").split("|")] for row in table[0].splitlines()]
    assert head == HEAD
    return found


def section(page: str, anchor: str) -> str:
    """The text below the heading with that anchor, up to the next one of its level or above."""
    found = [
        (len(match[1]), re.sub(r"[^\w\- ]", "", match[2].lower()).replace(" ", "-"), match.start())
        for match in re.finditer(r"^(#+) (.+)$", page, re.MULTILINE)
    ]
    (place,) = (number for number, (_, name, _) in enumerate(found) if name == anchor)
    level, _, start = found[place]
    ends = [end for other, _, end in found[place + 1 :] if other <= level]
    return page[start : ends[0] if ends else None]


ROWS = rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:3]))
def test_a_result_stands_where_its_row_says(row):
    task, _, algorithm, result, seeds, budget, commit, link = row
    name, anchor = re.fullmatch(r"\[section\]\(([\w.]+)#(.+)\)", link).groups()
    page = (FOLDER / name).read_text(encoding="utf-8")
    text = section(page, anchor)
    assert re.search(rf"(?<![\d.-]){re.escape(result)}(?![\d.])", text)
    (config,) = re.findall(r"`(\w+)`", algorithm)
    assert re.search(rf"\b{config}\b", text) and task.split(",")[0] in text
    assert "python src/main.py --config=" in page
    steps = re.findall(r"\d[\d,]{3,}", budget)
    assert steps and all(number in page or number.replace(",", "") in page for number in steps)
    assert commit == "not noted" or all(re.search(rf"\b{one}\b", page) for one in commit.split(", "))
    if "," in result:  # every seed is listed
        assert result.count(",") + 1 == int(seeds)


def test_each_algorithm_has_one_row_a_task_and_regime_and_the_best_comes_first():
    assert len(ROWS) > 30
    for _, group in groupby(ROWS, key=lambda row: row[:2]):
        group = [*group]
        names = [row[2].split("`")[1] for row in group]
        assert len({*names}) == len(names)
        means = [float(row[3].split(" ")[0]) for row in group if "⁻" not in row[3]]
        assert means == sorted(means, reverse=True)
