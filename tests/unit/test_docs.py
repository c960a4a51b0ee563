"""The documentation leads where it says: links, anchors, files and names in backticks; and its lines are short."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LONGEST = 160  # characters of a line
FOLDERS = ("src", "docs", "tests", "benchmarks", "examples", "docker", ".ci", ".github")  # that a path may begin with
FILE = r"[\w.\-/]*\.(?:py|md|ya?ml|toml|cff|ipynb|sh|txt|png|gif|svg)"
PAGES = {
    str(page.relative_to(PROJECT)): page
    for page in sorted([*PROJECT.glob("*.md"), *(page for name in FOLDERS for page in (PROJECT / name).rglob("*.md"))])
}


def prose(text: str) -> str:
    """``text`` without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """The targets of all links and pictures, also those that are defined by a line of their own."""
    plain = re.sub(r"`[^`\n]*`", "", prose(text))
    return [
        *re.findall(r"\]\(([^()\s]+)\)", plain),
        *re.findall(r"^\[[^\]]+\]: (\S+)$", plain, flags=re.MULTILINE),
        *re.findall(r"(?:href|src)=\"([^\"]+)\"", plain),
    ]


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+?) *#*$", prose(page.read_text()), flags=re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def fault_of_link(page: Path, target: str) -> str | None:
    """What is wrong with a link of ``page``, if anything."""
    if re.match(r"[a-z]+:", target):
        return None
    path, _, anchor = target.partition("#")
    place = (page.parent / path).resolve() if path else page
    if not place.exists():
        return f"{target}: no such file"
    if not place.is_relative_to(PROJECT):
        return f"{target}: outside the project"
    if place.is_dir():
        place = place / "README.md"
    if anchor and (place.suffix != ".md" or not place.is_file() or anchor not in anchors(place)):
        return f"{target}: no such heading"
    return None


def paths(text: str) -> list[str]:
    """What looks like a file or folder of the project in the inline code of ``text``, a command's words one by one."""
    words = [word for code in re.findall(r"`([^`\n]+)`", prose(text)) for word in code.split()]
    begins = "|".join(re.escape(folder) for folder in FOLDERS)
    found = [word for word in words if re.fullmatch(rf"(?:{begins})/[\w.\-/]*|(?=[^/]+/){FILE}", word)]
    return [word for word in found if not word.endswith("...")]


def matches(path: str, page: Path) -> list[Path]:
    """The files that are meant by a path: from the project's root, from src/, or from the page. NAME is any name."""
    pattern = re.sub(r"\bNAME\b", "*", path).rstrip("/")
    return [found for root in (PROJECT, PROJECT / "src", page.parent) for found in root.glob(pattern)]


def named(text: str) -> list[tuple[str, str]]:
    """The names that stand behind a file: pairs of ``src/file.py`` and each of "`src/file.py`: `name`, `name`"."""
    found = re.findall(r"`([\w/]+\.py)`: ((?:`\w+`(?:, )?)+)", prose(text))
    return [(path, name) for path, names in found for name in re.findall(r"`(\w+)`", names)]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    faults = [fault_of_link(PAGES[page], target) for target in links(PAGES[page].read_text())]
    assert not [fault for fault in faults if fault]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_in_backticks_exists(page):
    missing = [path for path in paths(PAGES[page].read_text()) if not matches(path, PAGES[page])]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_every_name_behind_a_file_is_defined_in_it(page):
    missing = [
        (path, name)
        for path, name in named(PAGES[page].read_text())
        if not any(
            re.search(rf"^ *(?:def|class) {name}\b|^{name}\b.* = ", source.read_text(), re.MULTILINE)
            for source in matches(path, PAGES[page])
        )
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_no_line_is_long(page):
    lines = enumerate(PAGES[page].read_text().splitlines(), 1)
    allowed = re.compile(r"\||(?:[-*] )?<?https?://\S+$")  # rows of tables, and lines that are one address
    assert not [number for number, line in lines if len(line) > LONGEST and not allowed.match(line)]


# --- the checks themselves ---


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A page in a project of another page and one source."""
    monkeypatch.setitem(globals(), "PROJECT", tmp_path)
    monkeypatch.setitem(globals(), "PAGES", {"page.md": tmp_path / "page.md"})
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "part.py").write_text("class Part:\n    def go(self): ...\n\n\nLIMIT: int = 3\n")
    (tmp_path / "other.md").write_text("# One `two`\n\n```\n# three\n```\n\n## Same\n\n## Same\n")
    return tmp_path / "page.md"


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("other.md#one-two", None),
        ("other.md#same-1", None),
        ("src/part.py", None),
        ("https://example.org/nowhere", None),
        ("other.md#three", "no such heading"),
        ("other.md#same-2", "no such heading"),
        ("src/part.py#one", "no such heading"),
        ("src#one", "no such heading"),
        ("missing.md", "no such file"),
        ("..", "outside"),
    ],
)
def test_a_link_is_held_against_files_and_headings(page, target, fault):
    page.write_text(f"See [this]({target}), `[not this](nowhere.md)`.\n\n```\n[nor](this.md)\n```\n")
    (found,) = links(page.read_text())
    problem = fault_of_link(page, found)
    assert problem is None if fault is None else fault in problem


def test_links_of_all_forms_are_found():
    assert links('![a](b.png) [c]\n\n[c]: d.md\n\n<img src="e.png">') == ["b.png", "d.md", "e.png"]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("src/part.py", ["src/part.py"]),
        ("python src/part.py --flag", ["src/part.py"]),
        ("src/", ["src/"]),
        ("src/gone/", ["src/gone/"]),
        ("config/algs/NAME.yaml", ["config/algs/NAME.yaml"]),
        ("part.py", []),  # a name, wherever it is
        ("results/sacred/1/run.json", []),
        ("# src/...", []),
        ("1/4", []),
    ],
)
def test_a_file_in_backticks_is_recognised(code, found):
    assert paths(f"See `{code}`.\n```\n`src/hidden.py`\n```\n") == found


def test_a_file_is_looked_for_from_the_root_from_src_and_from_the_page(page):
    assert matches("src/part.py", page) and matches("part.py", page) and matches("src/NAME.py", page)
    assert not matches("src/gone.py", page) and not matches("names/part.py", page)


def test_a_file_that_is_missing_is_found(page):
    page.write_text("`src/part.py`, `src/gone.py`")
    with pytest.raises(AssertionError):
        test_every_file_in_backticks_exists("page.md")
    page.write_text("`src/part.py`")
    test_every_file_in_backticks_exists("page.md")


@pytest.mark.parametrize(("name", "is_there"), [("Part", True), ("go", True), ("LIMIT", True), ("Par", False)])
def test_a_name_that_is_missing_is_found(page, name, is_there):
    page.write_text(f"`src/part.py`: `Part`, `{name}`, and `more`.")
    if is_there:
        test_every_name_behind_a_file_is_defined_in_it("page.md")
    else:
        with pytest.raises(AssertionError):
            test_every_name_behind_a_file_is_defined_in_it("page.md")


@pytest.mark.parametrize(
    ("line", "is_fine"),
    [
        ("x" * 160, True),
        ("x" * 161, False),
        ("| " + "x" * 161, True),  # a row of a table
        ("https://example.org/" + "x" * 161, True),
        ("See https://example.org/" + "x" * 161, False),
    ],
)
def test_a_long_line_is_found(page, line, is_fine):
    page.write_text(f"short\n{line}\n")
    if is_fine:
        test_no_line_is_long("page.md")
    else:
        with pytest.raises(AssertionError):
            test_no_line_is_long("page.md")
