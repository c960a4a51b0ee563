"""Values of the configuration: from text to values, the type of a key, and what a key may hold."""

from __future__ import annotations

import math
import re
import reprlib
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import yaml

from utils.registry import nearest

SECRET = "mongo"  # in keys whose value no message shows: mongo_url, and what may be meant to be that
NULLS = ("none", "null", "~")

# --- text to values ---


class Loader(yaml.SafeLoader):
    """YAML as people write it in configs: ``5e-4`` and ``1/4`` are numbers, ``True`` and ``off`` truth values.

    Sexagesimal and octal numbers and dates, the traps of YAML 1.1, are text. Keys are identifiers, each given once.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = str(key.value)
            if key.tag != "tag:yaml.org,2002:str" or not name.isidentifier():
                raise _problem(key, f"'{name}' cannot be a key: use letters, digits and _")
            if name in seen:
                raise _problem(key, f"key '{name}' is given twice")
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_fraction(self, node: yaml.ScalarNode) -> float:
        try:
            return float(Fraction(node.value.replace(" ", "")))
        except ZeroDivisionError:
            raise _problem(node, f"{node.value} divides by zero") from None


def _problem(node: yaml.Node, text: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(problem=text, problem_mark=node.start_mark)


def _teach_loader() -> None:
    """Tell `Loader` which plain texts are more than text; the first pattern that matches wins."""
    patterns = {
        "tag:yaml.org,2002:null": r"(~|null|)",
        "tag:yaml.org,2002:bool": r"(true|false|yes|no|on|off)",
        "tag:yaml.org,2002:int": r"[-+]?(0|[1-9][0-9_]*)",
        "tag:yaml.org,2002:float": r"[-+]?([0-9]+\.[0-9]*(e[-+]?[0-9]+)?|\.?[0-9]+e[-+]?[0-9]+|\.[0-9]+|\.?inf)|\.nan",
        "tag:yaml.org,2002:merge": r"<<",
        "!fraction": r"[-+]?[0-9]+ ?/ ?[0-9]+",
    }
    for tag, pattern in patterns.items():
        Loader.add_implicit_resolver(tag, re.compile(f"^({pattern})$", re.IGNORECASE), first=None)
    Loader.add_constructor("!fraction", Loader.construct_fraction)


_teach_loader()


def parse_text(text: str) -> Any:
    """What ``text`` would be as a value in a YAML file; a plain text may hold ``#`` and ``:``, though.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: a list, mapping or quoted text that does not close, a division by
            zero, thousands of digits or brackets.
    """
    if text[:1] in ("[", "{", '"', "'"):
        return yaml.load(text, Loader=Loader)
    loader = Loader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    return loader.construct_object(yaml.ScalarNode(tag, text))


UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)  # the latter: thousands of digits, or of brackets


def explain(error: Exception) -> str:
    """What PyYAML does not like, as one line: ``, line 3: what is wrong``."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    line = f", line {mark.line + 1}" if mark else ""
    return f"{line}: {' '.join(problem.split())}"


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 200
_short.maxlist, _short.maxdict, _short.maxlevel = 20, 20, 2


def show(value: Any, path: str = "") -> str:
    """A value, of the key ``path``, as the user would write it, if that is not too long."""
    if is_secret(path):
        return "***"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else _short.repr(value)


def is_secret(path: str) -> bool:
    """Whether a key may be meant to hold a password: ``mongo_url`` and what looks like it."""
    name = path.lower()
    return SECRET in name or nearest(name.rpartition(".")[2], [f"{SECRET}_url"], cutoff=0.75) is not None


# --- the type of a key, by the first value that it gets ---


@dataclass
class Kind:
    """The type of a key.

    Args:
        example: its first value that is not null, which sets the type; None: any type.
        nullable: whether it may be null.
    """

    example: Any
    nullable: bool

    def accept(self, value: Any) -> Any:
        """``value`` in this key's type.

        Raises:
            ValueError: it does not fit; the message says what was expected.
        """
        if self.nullable and (value is None or (isinstance(value, str) and value.lower() in NULLS)):
            return None
        return value if self.example is None else convert(value, self.example)

    def is_text(self) -> bool:
        """Whether what the command line gives is taken as it is."""
        return isinstance(self.example, str)


def convert(value: Any, example: Any) -> Any:
    """``value`` in the type of ``example``; raises ValueError with what was expected."""
    if isinstance(example, str):
        return _require(value, isinstance(value, str), "text")
    if isinstance(example, list):
        return _convert_list(value, example)
    if isinstance(value, str):  # quoted in the file
        value = _parse_quoted(value)
    if isinstance(example, bool):
        return _require(value, isinstance(value, bool), "true or false")
    if isinstance(example, int):
        return int(_require(value, _is_number(value) and value == value // 1, "a whole number"))
    if isinstance(example, float):
        return float(_require(value, _is_number(value) and not math.isnan(value), "a number"))
    return value


def _convert_list(value: Any, example: list[Any]) -> list[Any]:
    """A list whose elements have the type of the example's elements, if those have one type."""
    _require(value, isinstance(value, list), "a list such as [1, 2]")
    if len({type(element) for element in example}) != 1 or example[0] is None:
        return value
    try:
        return [convert(element, example[0]) for element in value]
    except ValueError as error:
        raise ValueError(f"{error} as each element") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(value: Any, fits: bool, expected: str) -> Any:
    if not fits:
        raise ValueError(expected)
    return value


def _parse_quoted(text: str) -> Any:
    try:
        return parse_text(text)
    except UNREADABLE:
        return text


# --- what a key may hold, as the table of keys says it ---

MAX_SEED = 2**32 - 1  # what numpy's global generator takes
TYPES: dict[str, tuple[type, str]] = {
    "flag": (bool, "true or false"),
    "text": (str, "text"),
    "name": (str, "text"),
    "list": (list, "a list such as [1, 2]"),
    "mapping": (dict, "a mapping of keys to values"),
    "anything": (object, ""),
}


def fit(form: str, value: Any) -> Any:
    """``value``, if it has the form that a row of the table of keys gives.

    Args:
        form: ``integer [1, inf)``, ``number (0, 1]``, ``one of q, v``, ``name in PACKAGE``, ``seed`` or a word of
            ``TYPES``; with `` or null`` behind it where null is possible. Infinity needs a closed bracket.
        value: to be tried.

    Raises:
        ValueError: it has not; the message says what was expected.
    """
    word, _, rest = form.removesuffix(" or null").partition(" ")
    if value is None and form.endswith(" or null"):
        return None
    if word in ("integer", "seed") and isinstance(value, float) and value.is_integer():
        value = int(value)
    if (
        word in ("text", "name") and type(value) is int
    ):  # where null is the default, the command line cannot know better
        value = str(value)
    if word in ("integer", "number"):
        expected = _outside(word == "integer", rest, value)
    elif word == "one":
        words = rest.removeprefix("of ").split(", ")
        expected = "" if type(value) in (str, int) and str(value) in words else " or ".join(words)
    elif word == "seed":
        expected = "" if type(value) is int and 0 <= value <= MAX_SEED else f"a whole number from 0 to {MAX_SEED}"
    else:
        type_, text = TYPES[word]
        expected = "" if isinstance(value, type_) else text
    if expected:
        raise ValueError(expected)
    return float(value) if word == "number" else value


def _outside(whole: bool, interval: str, value: Any) -> str:
    """What was expected, if ``value`` is no (whole) number in ``interval``; else an empty text."""
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    number = type(value) is int if whole else _is_number(value)
    above = number and (value > low or (value == low and interval[0] == "["))
    below = number and (value < high or (value == high and interval[-1] == "]"))
    if above and below:
        return ""
    if whole:
        return f"an integer of at least {low:.0f}" if below or not number else f"an integer of at most {high:.0f}"
    if math.isfinite(high):
        return f"a number in {interval}"
    kind = "a finite number" if number and math.isinf(value) else "a number"
    return f"{kind} above {low:g}" if interval[0] == "(" else f"{kind} of at least {low:g}"
