"""The house of CONTRIBUTING.md: imports run downward only, and never in a circle between files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SRC = PROJECT / "src"
FLOORS = (  # from the ground up; a name is a folder of src or a file in it
    {"utils", "__about__"},
    {"components", "settings", "tracking"},
    {"envs", "modules", "assigners"},
    {"controllers", "runners", "learners"},
    {"experiment", "analysis", "rendering"},
    {"main", "run", "plot", "render", "track", "sweep"},
)
BESIDE = FLOORS[4]  # these stand beside each other: none imports another one ...
EXCEPT = {("rendering", "experiment")}  # ... but that


def module_files(src: Path) -> dict[str, Path]:
    """The dotted name of every module below ``src``, and its file; a package goes by its own name."""
    files = {}
    for path in sorted(src.rglob("*.py")):
        parts = path.relative_to(src).with_suffix("").parts
        files[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return files


def imports(module: str, files: dict[str, Path]) -> set[str]:
    """The modules of the project that the file of ``module`` imports, wherever in it: late and for types as well.

    ``from a import b`` counts as the module a.b where there is one, as a otherwise. That importing a.b runs a's
    ``__init__`` first does not count.
    """
    package = module if files[module].name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(files[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            for alias in node.names:
                below = f"{base}.{alias.name}" if base else alias.name
                found.add(below if below in files else base)
    return found & files.keys()


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The dotted name behind the ``from``; each dot but the first leads one package up."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def floor_of(room: str) -> int:
    floors = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert floors, f"src/{room}: on no floor; give it one in {Path(__file__).name}"
    return floors[0]


def faults(src: Path) -> Iterator[str]:
    """Each import that runs upward or to a neighbour it has no business with, and a circle if there is one."""
    files = module_files(src)
    graph = {module: imports(module, files) for module in files}
    for module, targets in graph.items():
        for target in sorted(targets):
            rooms = module.split(".")[0], target.split(".")[0]
            upward = floor_of(rooms[1]) > floor_of(rooms[0])
            aside = rooms[0] != rooms[1] and {*rooms} <= BESIDE and rooms not in EXCEPT
            if upward or aside:
                yield f"{module} imports {target}"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "circle: " + " <- ".join(error.args[1])


def test_imports_run_downward_and_never_in_a_circle():
    assert [*faults(SRC)] == []


def test_every_floor_is_inhabited_and_every_import_is_of_this_project_or_installed():
    """Else the test above would hold of an empty house, or of one under another name."""
    files = module_files(SRC)
    assert {module.split(".")[0] for module in files} >= set().union(*FLOORS[1:5])
    arrows = sum(len(imports(module, files)) for module in files)
    assert arrows > 2 * len(files)


def plant(src: Path, texts: dict[str, str]) -> Path:
    """Writes a tree of files: path without its ending, and text."""
    for name, text in texts.items():
        path = src / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return src


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"utils/a": "from tracking.record import Record", "tracking/record": ""}, "utils.a imports tracking.record"),
        ({"components/a": "def f():\n    import envs.b", "envs/b": ""}, "components.a imports envs.b"),
        ({"settings/a": "if TYPE_CHECKING:\n    from run import build", "run": ""}, "settings.a imports run"),
        ({"envs/a": "import learners", "learners/__init__": ""}, "envs.a imports learners"),
        ({"utils/a": "from .. import main", "main": ""}, "utils.a imports main"),
        ({"analysis/a": "from experiment import loop", "experiment/loop": ""}, "analysis.a imports experiment.loop"),
        ({"rendering/a": "from experiment import loop", "experiment/loop": ""}, None),
        ({"experiment/a": "from rendering import b", "rendering/b": ""}, "experiment.a imports rendering.b"),
        ({"modules/a": "from envs.b import x", "envs/b": ""}, None),
        ({"modules/a": "from envs.b import x", "envs/b": "import modules.a"}, "circle: "),
        ({"envs/a": "from .b import x", "envs/b": "def f():\n    from envs import a"}, "circle: "),
        ({"utils/a": "import numpy, os", "main": "import utils.a, run", "run": "from utils import a"}, None),
    ],
)
def test_a_planted_fault_is_found(tmp_path, texts, expected):
    found = [*faults(plant(tmp_path, texts))]
    assert len(found) == (expected is not None)
    assert all(fault.startswith(expected) for fault in found)


def test_a_room_on_no_floor_is_found(tmp_path):
    with pytest.raises(AssertionError, match="src/attic: on no floor"):
        list(faults(plant(tmp_path, {"utils/a": "import attic.b", "attic/b": ""})))
