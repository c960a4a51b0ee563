"""The documents hold together: links lead somewhere, and lines can be read."""

from __future__ import annotations

import re
from collections import Counter
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


def prose(path: Path) -> str:
    """The text of a page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


@cache
def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings; GitHub numbers those of equal ones."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE):
        name = slug(heading)
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
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
        if not page.exists() or (anchor and anchor not in anchors(page)):
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
