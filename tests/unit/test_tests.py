"""Every test can fail: it has an assertion, of its own or in a helper whose name says so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
HELPERS = ("assert_", "check_", "expect_")


def asserts(test: ast.AST) -> bool:
    """Whether there is an ``assert`` in a test, ``pytest.raises``, ``warns`` or ``fail``, or a call of a helper."""
    return any(isinstance(node, ast.Assert) or is_check(node) for node in ast.walk(test))


def is_check(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    return name in ("pytest.raises", "pytest.warns", "pytest.fail") or name.split(".")[-1].startswith(HELPERS)


def without_assertion(source: str) -> list[str]:
    """Names of the test functions, methods too, that nothing can fail but a crash."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return [function.name for function in functions if function.name.startswith("test_") and not asserts(function)]


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_every_test_has_an_assertion(path: Path):
    assert not without_assertion(path.read_text())


def test_what_counts_as_an_assertion():
    source = """
def test_nothing():
    build().close()

def test_assert():
    for x in y:
        assert x

def test_error():
    with pytest.raises(ValueError, match="no"):
        f()

def test_helper():
    helpers.check_all(result)

def test_other_calls():
    raises(recheck_(mock.asserted))

def no_test():
    pass

class TestGroup:
    def test_method(self):
        self.x = 1
"""
    assert without_assertion(source) == ["test_nothing", "test_other_calls", "test_method"]
