"""Repairs change what source and schema say of each other, and nothing that anybody could rely on."""

from __future__ import annotations

import pytest

from check.audit_specs import SOUND, SPOILED, TEXT, environment, properties, with_tool
from toolfoundry.check.probes import plan
from toolfoundry.check.source import read_source
from toolfoundry.check.static import read_tools, static_verdicts
from toolfoundry.formats.ftrl import read_ftrl
from toolfoundry.repair import repair
from toolfoundry.types import EnvSpec

MENDED = {
    "mismatch-required", "mismatch-optional", "mismatch-unknown", "mismatch-missing", "hidden-names",
    "top-level-effects", "default-invalid",
}  # fmt: skip


def mended(source: str, name: str = "tool", **parameters: object) -> str:
    """The repaired source of a tool whose schema is of no interest."""
    tool = environment().tools[0]
    signature = tool.signature.model_copy(update={"name": name})
    spec = environment(tools=(tool.model_copy(update={"signature": signature, "source": source}), *environment().tools))
    return repair(spec).spec.tools[0].source


def hits(spec: EnvSpec) -> set[str]:
    return {verdict.gate for verdict in static_verdicts(spec, read_tools(spec)) if verdict.found}


@pytest.mark.parametrize("title", SOUND)
def test_what_has_nothing_to_repair_comes_back_unchanged(title):
    spec = SOUND[title]
    assert repair(spec) == (spec, ())
    assert repair(spec).spec is spec


@pytest.mark.parametrize("title", [title for title, (_, gates) in SPOILED.items() if gates & MENDED])
def test_the_gates_for_what_is_repaired_are_clean_afterwards(title):
    """The change is told, the parent named, question and goals untouched, and a second repair finds nothing."""
    spec = SPOILED[title][0]()
    repaired, changes = repair(spec)
    assert hits(repaired) == hits(spec) - MENDED
    assert changes
    assert all(change.startswith("river_length: ") or change.startswith("person_study: ") for change in changes)
    assert repaired.provenance.changes == changes
    assert repaired.provenance.parent == spec.id != repaired.id
    assert (repaired.scenario, repaired.goals, repaired.gold_calls) == (spec.scenario, spec.goals, spec.gold_calls)
    assert repair(repaired) == (repaired, ())


def test_a_second_kind_of_change_is_added_to_the_first():
    spec = SPOILED["an example call"][0]()
    spec = spec.replace(provenance=spec.provenance.model_copy(update={"changes": ("before",), "original": "{}"}))
    repaired, changes = repair(spec)
    assert repaired.provenance.changes == ("before", *changes)
    assert repaired.provenance.original is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"river": {"type": "str"}}, {"type": "string"}),
        ({"river": {"type": "String"}}, {"type": "string"}),
        ({"river": {"type": "float"}}, {"type": "number"}),
        ({"river": {"type": "list", "items": {"type": "int"}}}, {"type": "array", "items": {"type": "integer"}}),
        ({"river": {"type": "any"}}, {}),
        ({"river": {"type": "string", "required": True}}, {"type": "string"}),
        ({"river": {"type": "string", "enum": ["a"], "default": "b"}}, {"type": "string", "enum": ["a"]}),
        ({"river": {"type": "object", "properties": {"x": {"type": "bool"}}}},
         {"type": "object", "properties": {"x": {"type": "boolean"}}}),
    ],
)  # fmt: skip
def test_keywords_that_plainly_mean_something_else(changes, expected):
    repaired = repair(with_tool("river_length", properties=properties("river_length", **changes))).spec
    parameters = repaired.tools[2].signature.parameters
    assert parameters["properties"]["river"] == expected
    assert parameters["required"] == ["river"]


def test_the_signature_decides_what_the_schema_shows():
    """Parameters are added with type and default, removed, and `required` follows the defaults; state stays hidden."""
    source = (
        'def river_length(river, basin: int, unit="km", *, exact: bool = False, data=None):\n    return str(data)\n'
    )
    spec = with_tool("river_length", source, properties=properties("river_length", season=TEXT), required=["unit", "x"])
    parameters = repair(spec.replace(state={})).spec.tools[2].signature.parameters
    assert list(parameters["properties"]) == ["river", "unit", "basin", "exact"]
    assert parameters["properties"]["basin"] == {"type": "integer"}
    assert parameters["properties"]["exact"] == {"type": "boolean", "default": False}
    assert parameters["required"] == ["river", "basin"]


# Before and after, with a line of dashes between them.
SELF_CONTAINED = {
    "imports": '''
import re

# what a word is
WORD = re.compile(r'\\w+')

def tool(a):
    """Doc."""
    return WORD.findall(a)
---
def tool(a):
    """Doc."""
    import re
    # what a word is
    WORD = re.compile(r'\\w+')

    return WORD.findall(a)
''',
    "helpers below": """
def tool(a):
    # first
    return helper(a)

def helper(x):
    return other(x) + 1

def other(x):
    return x
---
def tool(a):
    def helper(x):
        return other(x) + 1
    def other(x):
        return x

    # first
    return helper(a)
""",
    "text that must not be indented": '''
NOTE = """one
two"""
def tool(a):
    return NOTE + a
---
def tool(a):
    NOTE = """one
two"""

    return NOTE + a
''',
    "a table that is filled": """
TABLE = {}
TABLE['x x'] = 1
def tool(a):
    return TABLE.get(a)
---
def tool(a):
    TABLE = {}
    TABLE['x x'] = 1
    return TABLE.get(a)
""",
    "a constant that a default needs, too": """
LIMIT = 3
def tool(a, n=LIMIT):
    return a * min(n, LIMIT)
---
LIMIT = 3
def tool(a, n=LIMIT):
    LIMIT = 3
    return a * min(n, LIMIT)
""",
    "a function that calls itself": '''
def tool(a, b=0):
    """Doc."""
    # down to nothing
    return tool(a - 1, b=b + a) if a else b
---
def tool(a, b=0):
    """Doc."""
    def tool(a, b=0):
        # down to nothing
        return tool(a - 1, b=b + a) if a else b
    return tool(a=a, b=b)
''',
    "imports that are missing": """
def tool(a):
    return re.findall('x', a) + [datetime.strptime('2001', '%Y').year]
---
def tool(a):
    from datetime import datetime
    import re
    return re.findall('x', a) + [datetime.strptime('2001', '%Y').year]
""",
    "examples": """
def tool(a, b=(1, 2)):
    return [a, b]

# Example
result = tool(1)
print(result)  # what it gives
---
def tool(a, b=(1, 2)):
    return [a, b]
""",
}


def halves(title: str) -> tuple[str, str]:
    before, _, after = SELF_CONTAINED[title].lstrip("\n").partition("---\n")
    return before, after


@pytest.mark.parametrize("title", SELF_CONTAINED)
def test_functions_become_self_contained(title):
    """Word for word: comments and strings stay, the function's own lines too."""
    before, after = halves(title)
    assert mended(before) == after
    assert read_source(after, "tool").hidden == ()
    assert mended(after) == after


LEFT_ALONE = {
    "a global that is changed": "seen = 0\ndef tool(a):\n    global seen\n    seen += 1\n    return seen\n",
    "a star import": "from math import *\nR = pi\ndef tool(a):\n    return R * a\n",
    "a decorated function": "import functools\n@functools.cache\ndef tool(a):\n    return functools.reduce(max, a)\n",
    "one line for two statements": "import re; import math\ndef tool(a):\n    return re.escape(a)\n",
    "a body on the line of the header": "import re\ndef tool(a): return re.escape(a)\n",
    "an effect whose result is needed": "setup = print('x')\ndef tool(a):\n    return setup or a\n",
    "an example that may change a table": "T = {}\ndef tool(a):\n    T[a] = len(T)\n    return T[a]\ntool(1)\n",
    "an example that may change a default": "def tool(a, s=[]):\n    s.append(a)\n    return s\ntool(1)\n",
    "an example that may change an attribute": "def tool(a):\n    tool.n = a\n    return a\ntool(1)\n",
    "an example that draws a number": "def tool(a):\n    import random\n    return random.random()\ntool(1)\n",
    "an absence that is caught": "def tool(a):\n    try:\n        return re.escape(a)\n    except:\n        return a\n",
    "a missing name that is no module": "def tool(a):\n    return course.name\n",
    "a module that has no such thing": "def tool(a):\n    return re.nothing(a)\n",
    "carriage returns": "import re\r\ndef tool(a):\r\n    return re.escape(a)\r\n",
    "no function": "x = 1\n",
    "no Python": "def tool(:\n",
}


@pytest.mark.parametrize("title", LEFT_ALONE)
def test_what_cannot_be_shown_to_be_harmless_is_left_alone(title):
    assert mended(LEFT_ALONE[title]) == LEFT_ALONE[title]


@pytest.mark.parametrize("title", SELF_CONTAINED)
def test_a_repaired_tool_gives_the_same_results(title, sandbox):
    """On every call that gave a result before, in the sandbox."""
    before, after = halves(title)
    calls = [("tool", arguments) for arguments in ({"a": "x x"}, {"a": 4}, {"a": 2, "n": 9}, {"a": 3, "b": 1})]
    with sandbox.session({"tool": before}) as old, sandbox.session({"tool": after}) as new:
        pairs = list(zip(old.batch(calls), new.batch(calls), strict=True))
    assert all(now == was for was, now in pairs if was.error is None)
    assert any(now.error is None for _, now in pairs)


def test_published_rows_are_repaired(ftrl_rows, sandbox):
    """Of FTRL's rows: no mismatch and no hidden name is left, and every call that worked gives what it gave."""
    specs = list(read_ftrl(ftrl_rows))
    before: set[str] = set()
    compared = changed = 0
    for spec in specs:
        repaired, changes = repair(spec)
        assert hits(repaired) & MENDED == set()
        before |= hits(spec) & MENDED
        if not changes:
            assert repaired is spec
            continue
        changed += 1
        assert repair(repaired).changes == ()
        touched = {change.partition(":")[0] for change in changes}
        calls = [(p.tool, p.arguments) for p in plan(spec, read_tools(spec)) if p.tool in touched]
        sources = [{tool.name: tool.source for tool in one.tools} for one in (spec, repaired)]
        with sandbox.session(sources[0]) as old, sandbox.session(sources[1]) as new:
            for was, now in zip(old.batch(calls), new.batch(calls), strict=True):
                if was.error is None:
                    assert now == was
                    compared += 1
    assert {"mismatch-required", "mismatch-optional", "hidden-names", "top-level-effects"} <= before
    assert changed > 0
    assert compared > 100
