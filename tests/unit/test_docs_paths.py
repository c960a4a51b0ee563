"""What the documentation has in backticks exists: files of the project, and the names that it says are in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "docs", "tests", "benchmarks", "examples", "docker", ".ci", ".github")  # that a path may begin with
FILE = r"[\w.\-/]*\.(?:py|md|ya?ml|toml|cff|ipynb|sh|txt|png|gif|svg)"
PAGES = {
    str(page.relative_to(PROJECT)): page
    for page in sorted([*PROJECT.glob("*.md"), *(page for name in FOLDERS for page in (PROJECT / name).rglob("*.md"))])
}


def prose(text: str) -> str:
    """``text`` without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


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


# --- the checks themselves ---


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A page in a project of one source."""
    monkeypatch.setitem(globals(), "PROJECT", tmp_path)
    monkeypatch.setitem(globals(), "PAGES", {"page.md": tmp_path / "page.md"})
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "part.py").write_text("class Part:\n    def go(self): ...\n\n\nLIMIT: int = 3\n")
    return tmp_path / "page.md"


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
