"""The documents hold together: links lead somewhere, lines can be read, results stand where the table says."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for path in [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"), *(PROJECT / "examples").rglob("*.md")]
    if path.is_file()
)
NAMES = [str(path.relative_to(PROJECT)) for path in PAGES]
LONGEST = 160  # characters of a line that is no row of a table
RESULTS = PROJECT / "docs" / "results" / "README.md"


def prose(path: Path) -> str:
    """The text of a page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


@cache
def sections(path: Path) -> dict[str, str]:
    """The text below each heading of a page, up to the next one of its level or above, by its anchor."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found: dict[str, str] = {}
    levels: list[tuple[int, int, str]] = []  # of each heading: its level, line and anchor
    fenced = False
    for number, line in enumerate(lines):
        fenced ^= line.lstrip().startswith("```")
        if not fenced and (match := re.match(r"(#+) (.+)", line)):
            levels.append((len(match[1]), number, slug(match[2])))
    for place, (level, start, name) in enumerate(levels):
        ends = (line for other, line, _ in levels[place + 1 :] if other <= level)
        twins = sum(twin == name for _, _, twin in levels[:place])  # GitHub numbers them from 1
        found[f"{name}-{twins}" if twins else name] = "\n".join(lines[start : next(ends, len(lines))])
    return found


def links(path: Path) -> list[str]:
    """The targets of all links and pictures of a page that lie in this project."""
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(path)))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def broken(path: Path) -> list[str]:
    """The links of a page that lead nowhere: to no file, or to no heading of it."""
    found = []
    for target in links(path):
        name, _, anchor = target.partition("#")
        page = (path.parent / name).resolve() if name else path
        if not page.exists() or (anchor and anchor not in sections(page)):
            found.append(target)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    assert broken(PROJECT / name) == []


@pytest.mark.parametrize("name", NAMES)
def test_no_line_is_too_long_to_read(name):
    lines = (PROJECT / name).read_text(encoding="utf-8").splitlines()
    long = [number for number, line in enumerate(lines, 1) if len(line) > LONGEST and not line.startswith("|")]
    assert long == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# One\n\n```bash\n# Two\n```\n## A `b` [c](d.md)!\n## One\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](other.md#one) [b](other.md#two) [c](gone.md) ![d](gone.png) [e](#here) [f](#there) "
        "[g](https://example.org/gone) [h](other.md#a-b-c) [i](other.md#one-1) `[j](gone.md)`\n"
    )
    assert broken(page) == ["other.md#two", "gone.md", "gone.png", "#there"]


# --- the table of results ---


def result_rows() -> list[list[str]]:
    """The cells of each row of the first table of docs/results/README.md."""
    table = re.search(r"(?:^\|.*\n)+", RESULTS.read_text(encoding="utf-8"), re.MULTILINE)
    assert table is not None
    head, _, *rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table[0].splitlines()]
    assert head == ["task, measure", "regime", "algorithm", "result", "seeds", "budget", "commit", "command and more"]
    return rows


ROWS = result_rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:3]))
def test_a_result_stands_where_the_table_says(row):
    task, _, algorithm, result, seeds, budget, commit, link = row
    name, anchor = re.fullmatch(r"\[section\]\(([\w.]+)#(.+)\)", link).groups()
    page = RESULTS.parent / name
    section, text = sections(page)[anchor], page.read_text(encoding="utf-8")
    assert result in section
    (config,) = re.findall(r"`(\w+)`", algorithm)
    assert re.search(rf"\b{config}\b", section)
    assert task.split(",")[0] in section
    assert "python src/main.py --config=" in text
    ours = re.findall(r"[\d,]{4,}", budget)
    assert ours and all(number in text or number.replace(",", "") in text for number in ours)
    assert commit == "not noted" or all(one in text for one in commit.split(", "))
    if result.count(", ") >= 1:  # every seed is listed
        assert result.count(",") + 1 == int(seeds)


def test_the_table_has_each_algorithm_of_a_task_and_regime_once_and_the_best_first():
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for task, regime, algorithm, result, *_ in ROWS:
        groups.setdefault((task, regime), []).append((algorithm.split("`")[1], result))
    for rows in groups.values():
        names = [name for name, _ in rows]
        assert len({*names}) == len(names)
        means = [float(result.split(" ")[0]) for _, result in rows if "⁻" not in result]
        assert means == sorted(means, reverse=True)
