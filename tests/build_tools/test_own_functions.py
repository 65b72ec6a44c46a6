"""A Python file of functions becomes tools by reading alone: schemas, sources that run by themselves, reasons."""

import ast
from pathlib import Path

import pytest

from toolfoundry.build.own_tools.functions import read_functions
from toolfoundry.build.own_tools.reading import read_tools_file
from toolfoundry.check.source import read_source
from toolfoundry.errors import InputError

EXAMPLE = Path(__file__).parents[2] / "examples" / "tools" / "shop.py"

HEAD = '''
from __future__ import annotations
import math
from typing import Annotated, Literal

Colour = Literal["red", "green"]
PRICES = {"red": 310, "green": 425}
for _name in ("blue",):
    PRICES[_name] = 555
UNUSED = {"a": 1}


class Box:
    def __init__(self, n):
        self.n = n


def _scaled(value):
    return math.floor(value * FACTOR)


FACTOR = 1.5


def price(colour: Colour, times: Annotated[int, "how often"] = 2) -> int:
    """Get the price of a colour.

    Args:
        colour: Which colour.

    >>> price("red", times=3)
    """
    return Box(_scaled(PRICES[colour]) * times).n
'''


def only(text):
    """The one tool of a file without complaints."""
    given = read_functions(text, "f.py")
    assert given.unusable == ()
    [tool] = given.tools
    return tool, given


def reason(code, head="import math\n"):
    """Why the one function of a file cannot be a tool."""
    given = read_functions(head + code, "f.py")
    assert given.tools == ()
    [one] = given.unusable
    return one.reason


def test_the_schema_comes_from_hints_and_docstring():
    """Aliases and `Annotated` are seen through; a default makes a parameter optional; nothing is imported."""
    tool, given = only(HEAD)
    assert tool.signature.description == "Get the price of a colour."
    assert tool.signature.parameters == {
        "type": "object",
        "properties": {
            "colour": {"type": "string", "enum": ["red", "green"], "description": "Which colour."},
            "times": {"type": "integer", "default": 2},
        },
        "required": ["colour"],
    }
    assert given.examples == {"price": ({"colour": "red", "times": 3},)}


def test_the_source_runs_by_itself(sandbox):
    """Helpers, constants, the loop that fills a table and a class travel into the function; what it needs not stays."""
    tool, _ = only(HEAD)
    source = read_source(tool.source, "price")
    assert (source.hidden, source.undefined) == ((), ())
    assert "UNUSED" not in tool.source
    assert all(isinstance(node, ast.FunctionDef | ast.ImportFrom | ast.Assign) for node in source.tree.body)
    with sandbox.session({"price": tool.source}) as session:
        assert session.call("price", {"colour": "red"}).content == "930"
        assert session.call("price", {"colour": "green", "times": 1}).content == "637"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('def f(x):\n    "Doc."\n    return x', "parameters.x: found no annotation"),
        ("def f(x: int):\n    return x", "no docstring"),
        ('def f(x: int):\n    """Args:\n        x: a\n    """\n    return x', "begins with a section"),
        ('def f(*xs: int):\n    "Doc."\n    return xs', "*args, **kwargs or positional-only"),
        ('def f(**xs: int):\n    "Doc."\n    return xs', "*args, **kwargs or positional-only"),
        ('def f(x: set[int]):\n    "Doc."\n    return x', "parameters.x: found set[int]"),
        ('async def f(x: int):\n    "Doc."\n    return x', "asynchronous"),
        ('class F:\n    "Doc."', "it is a class"),
        ('@math.cache\ndef f(x: int):\n    "Doc."\n    return x', "the decorator @math.cache"),
        ('C = []\ndef f(x: int):\n    "Doc."\n    C.append(x)\n    return C', "it changes C"),
        ('C = {}\ndef _g(x):\n    C[x] = 1\ndef f(x: int):\n    "Doc."\n    _g(x)\n    return 1', "it changes C"),
        ('C = 0\ndef f(x: int):\n    "Doc."\n    global C\n    C += x\n    return C', "it changes C"),
        ('import requests\ndef f(x: str):\n    "Doc."\n    return requests.get(x).json()', "found requests"),
        ('def f(x: str):\n    "Doc."\n    return open(x).read()', "opens files"),
        ('T = open("t.txt").read()\ndef f(x: str):\n    "Doc."\n    return T + x', "opens files"),
        ('import random\ndef f(x: int):\n    "Doc."\n    return random.random() + x', "found random.random"),
        ('import time\ndef f(x: int):\n    "Doc."\n    return time.time() + x', "found time.time"),
        ('def f(x: int):\n    "Doc."\n    return missing + x', "found missing"),
        ('def größe(x: int):\n    "Doc."\n    return x', "other letters than A to Z"),
        ('A = A\ndef f(x: A):\n    "Doc."\n    return x', "aliases of aliases without end"),
        (
            "\n".join(f"A{i} = A{i + 1} | list[A{i + 1}]" for i in range(40))
            + '\nA40 = int\ndef f(x: A0):\n    "Doc."\n    return x',
            "aliases of aliases without end",
        ),
        ('def f(x: int, y: int):\n    "Doc."\n    return x', "found y"),
        ('def f(x: Literal[b"a"]):\n    "Doc."\n    return x', "found Literal[b'a']"),
        ('def f(x: Literal[()]):\n    "Doc."\n    return x', "found Literal[()]"),
        ('def f(x: Literal[1, 2**64]):\n    "Doc."\n    return x', "found Literal[1, 2 ** 64]"),
        (f'def f(x: Literal[{10**30}]):\n    "Doc."\n    return x', f"found Literal[{10**30}]"),
        ('def f(x: str):\n    "Doc \\ud800."\n    return x', "surrogates not allowed"),
        ('def f(x: str = "\\ud800"):\n    "Doc."\n    return x', "surrogates not allowed"),
    ],
)
def test_what_cannot_be_a_tool_has_its_reason(code, expected):
    """Each kind of function that cannot be used says what was found."""
    assert expected in reason(code).replace("Evaluates code, ", "")


@pytest.mark.parametrize("default", ["1e999", "-1e999", str(10**30), 'b"x"', "1j", "..."])
def test_a_default_that_json_does_not_have_is_not_shown(default):
    """The parameter is optional all the same; its schema has no default that a record would lose or refuse."""
    given = read_functions(f'def f(x: float = {default}):\n    "Doc."\n    return x\n', "f.py")
    [tool] = given.tools
    assert tool.signature.parameters == {"type": "object", "properties": {"x": {"type": "number"}}, "required": []}


@pytest.mark.parametrize("mark", ["\x0c", "\x0b", "\x1c", "\x85", "\u2028"])
def test_lines_end_where_the_parser_ends_them(sandbox, mark):
    """A form feed between parts, as old files have it, or a separator in a text moves no line of a function."""
    between = "\x0c\n" if mark == "\x0c" else ""
    text = f'"""The {mark} file."""\n{between}T = {{"a": "One {mark} two"}}\n{between}\n'
    text += 'def f(x: str) -> str:\n    "Look it up."\n    return T[x]\n'
    [tool] = read_functions(text, "f.py").tools
    assert sandbox.call(tool.source, "f", {"x": "a"}).content == f"One {mark} two"


def test_the_others_go_on():
    """One bad function does not keep the good ones; a name that is defined twice counts once, as in Python."""
    good = 'def g(x: int):\n    "Doc."\n    return x\n'
    given = read_functions(good + "def f(x):\n    pass\n" + good.replace("return x", "return x + 1"), "f.py")
    assert [tool.name for tool in given.tools] == ["g"]
    assert "return x + 1" in given.tools[0].source
    assert [(one.name, one.reason[:30]) for one in given.unusable] == [
        ("g", "line 1: it is defined again in"),
        ("f", "it has no docstring, expected "),
    ]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.py", "def f(:\n", "not Python: "),
        ("a.txt", "x", "found a file that ends in '.txt'"),
        ("a.json", "{", "not JSON"),
        ("a.json", '{"a": 1}', "found neither 'openapi' nor 'tools'"),
        ("a.json", '{"swagger": "2.0", "paths": {}}', "found '2.0', expected version 3"),
        ("a.json", '{"openapi": "3.1.0", "paths": []}', "field 'paths': found list"),
        ("a.json", '{"tools": {}}', "field 'tools': found dict"),
        ("a.yaml", "a: [", "not YAML"),
        ("a.yaml", "a: &a [*a]", "found more than 1000000 values"),
        ("a.yaml", "a:\n  b: 2024-13-45", "month must be in 1..12 in"),
        ("a.yaml", "a:\n  b: 2024-13-45", "line 2, column 6"),
        ("a.yaml", "a: !!bool x", "not YAML"),
        ("a.yaml", "a: !!int x", "line 1, column 4"),
        ("a.yaml", f"a: {'9' * 5000}", "line 1, column 4"),
        ("a.yaml", "a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a.yaml", "a: &a0 {k: 1, l: 2}\n" + "".join(
            f"b{i}: &a{i + 1}\n  <<: [*a{i}, *a{i}]\n" for i in range(60)
        ), "merged entries, expected 10000"),
        ("a.yaml", "a: &a [1,2,3,4,5,6,7,8]\n" + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [" + ", ".join([f"*{chr(97 + i)}"] * 8) + "]\n" for i in range(8)
        ), "found more than 1000000 values"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_them(tmp_path, name, text, expected):
    """Each says the file and what was expected; YAML that multiplies itself is not followed."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.(py|txt|json|yaml):(\d+:)? ") as error:
        read_tools_file(path)
    assert expected in str(error.value)


def test_bytes_that_are_no_text(tmp_path):
    """The place of the byte is named; so is a file that is not there."""
    path = tmp_path / "a.py"
    path.write_bytes(b"x = 1\n\xff\xfe")
    with pytest.raises(InputError, match="found 0xff at byte 6, expected UTF-8"):
        read_tools_file(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_tools_file(tmp_path / "absent.py")


def test_the_example_is_ten_tools():
    """All functions of the example in the repository can be used; the trial call at its end is left out."""
    given = read_tools_file(EXAMPLE).given
    assert (len(given.tools), given.unusable) == (10, ())
    assert not any("__main__" in tool.source for tool in given.tools)
