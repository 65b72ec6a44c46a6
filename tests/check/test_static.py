"""What is read from a tool's source without executing it, case by case."""

from __future__ import annotations

import pytest

from check.audit_specs import environment, properties, with_tool
from toolfoundry.answers import infer
from toolfoundry.check import QualityReport, check
from toolfoundry.check.source import read_source
from toolfoundry.check.static import read_tools, static_verdicts


def read(body: str, before: str = "", after: str = "", signature: str = "a, b=1"):
    lines = "\n".join("    " + line for line in body.split("\n"))
    return read_source(f"{before}\ndef tool({signature}):\n{lines}\n{after}", "tool")


@pytest.mark.parametrize(
    ("body", "dead"),
    [
        ("return a + b", []),
        ("return a", ["b"]),
        ("b = 2\nreturn a", ["b"]),
        ("return [b for a in (1, 2)]", ["a"]),
        ("return (lambda: a + b)()", []),
        ("return locals()", []),
        ("def inner():\n    return a, b\nreturn inner()", []),
        ("return f'{a!r:>{b}}'", []),
        ("return {'a': 'b'}", ["a", "b"]),
    ],
)
def test_dead_parameters(body, dead):
    """Dead is what no expression of the body reads; whoever can look at all variables reads all."""
    assert read(body).dead_parameters == dead


@pytest.mark.parametrize(
    ("before", "body", "after", "hidden"),
    [
        ("import re", "return re.escape(a)", "", ["re"]),
        ("import json", "return json.dumps(a)", "", []),  # the published caller has it among its globals
        ("", "import re\nreturn re.escape(a)", "", []),
        ("TABLE = {1: 2}", "return TABLE[a]", "", ["TABLE"]),
        ("LIMIT = 3", "return a", "", []),
        (
            "",
            "return helper(a)",
            "def helper(x):\n    return other(x)\ndef other(x):\n    return x",
            ["helper", "other"],
        ),
        ("import re", "return clean(a)", "clean = lambda x: re.escape(x)", ["clean", "re"]),
        ("", "return tool(a - 1) if a else 0", "", ["tool"]),
        ("import re", "re = None\nreturn re", "", []),
        ("X = 1", "return [X for X in a]", "", []),
        ("class C:\n    size = 2", "return C.size + a", "", ["C"]),
    ],
)
def test_hidden_names(before, body, after, hidden):
    """Hidden is what run-time code needs from the module, directly or through others."""
    assert sorted(read(body, before, after).hidden) == sorted(hidden)


@pytest.mark.parametrize(
    ("before", "body", "undefined"),
    [
        ("", "return re.escape(a)", ["re"]),
        ("", "return len(a) + __name__", []),
        ("from math import *", "return sqrt(a)", []),
        ("", "try:\n    pass\nexcept ValueError as e:\n    return e", []),
        ("", "global seen\nseen = a\nreturn seen", []),
        ("", "return [x for x in a] + [y]", ["y"]),
        ("", "class K:\n    def __init__(self):\n        super().__init__()\nreturn K", []),
    ],
)
def test_undefined_names(before, body, undefined):
    assert list(read(body, before).undefined) == undefined


@pytest.mark.parametrize(
    "body",
    [
        "return a + missing",
        "a += missing\ndel b\nreturn a",
        "import json.decoder as j, os.path\nreturn j, os, sys",
        "for i in a:\n    last = i\nreturn last, other(TABLE)",
        "try:\n    return other(b)\nexcept E as e:\n    return e, wrong",
        "with b as (c, d):\n    return a[c], d, __name__, print, n",
    ],
)
def test_a_lambda_elsewhere_changes_nothing(body):
    """Names are read from the tree where no scope stands inside another, else from Python's symbol table: the same."""
    before, after = "import re\nTABLE = {}\ndef other(x):\n    return x, TABLE, re, unknown", "rest = lambda: 0"
    plain, asked = read(body, before), read(body, before, after)
    assert (plain.hidden, plain.undefined) == (asked.hidden, asked.undefined)
    assert plain.dead_parameters == asked.dead_parameters


def test_what_only_the_symbol_table_finds_wrong():
    """A parameter twice is no Python, with scopes or without."""
    with pytest.raises(SyntaxError):
        read_source("def tool(a, a):\n    return a", "tool")


@pytest.mark.parametrize(
    ("before", "body", "reads"),
    [
        ("import datetime", "return datetime.datetime.now()", ["datetime.datetime.now"]),
        ("from datetime import datetime as dt", "return dt.today()", ["datetime.datetime.today"]),
        ("from datetime import date", "return date.fromisoformat(a)", []),
        ("import time", "return time.localtime(a)", []),
        ("import time", "return time.localtime()", ["time.localtime"]),
        ("import random", "return random.Random(a).random()", []),
        ("import random", "random.seed(a)\nreturn random.random()", []),
        ("from random import choice", "return choice(a)", ["random.choice"]),
        ("import uuid", "return uuid.uuid4()", ["uuid.uuid4"]),
        ("", "now = a\nreturn now()", []),
    ],
)
def test_clock_and_randomness(before, body, reads):
    assert read(body, before).clock_reads() == reads


@pytest.mark.parametrize(
    ("before", "body", "calls"),
    [
        ("", "return eval(a)", ["eval"]),
        ("import re", "return re.compile(a)", []),
        ("import os", "return os.system(a)", ["os.system"]),
        ("", "return open(a).read()", ["open"]),
        ("def open(x):\n    return x", "return open(a)", []),
        ("", "return __import__('os')", ["__import__"]),
    ],
)
def test_dangerous_calls(before, body, calls):
    assert read(body, before).dangerous_calls() == calls


@pytest.mark.parametrize(
    ("after", "effects"),
    [
        ("print(1)", 1),
        ("result = tool(1)\nprint(result)", 2),
        ("if __name__ == '__main__':\n    print(tool(1))", 0),
        ("TABLE = {}\nTABLE.update({1: 2})", 0),
        ("TABLE = build()\ndef build():\n    return {}", 0),
        ("for case in (1, 2):\n    print(tool(case))", 1),
        ("setup()", 1),
        ('"""text"""', 0),
        ("try:\n    import numpy\nexcept ImportError:\n    numpy = None", 0),
        ("tool.calls = 0", 0),
    ],
)
def test_top_level_effects(after, effects):
    """An effect prints, tries the tool out, or calls something for nothing else; building a table is none."""
    assert len(read("return a", after=after).effects()) == effects


@pytest.mark.parametrize(
    "source",
    [
        "def tool(:",
        "(" * 5000,
        "x = " + "-" * 50_000 + "1",
        "\0",
        "def tool(a): return " + "a." * 20_000 + "b",
        "x" * 2_000_000,
    ],
    ids=["syntax", "brackets", "unary", "null", "attributes", "size"],
)
def test_hostile_sources_are_findings_not_crashes(source):
    """Source that no parser takes is invalid, in words, and all other gates skip it."""
    spec = with_tool("river_length", source)
    verdicts = list(static_verdicts(spec, read_tools(spec)))
    hit = {verdict.gate for verdict in verdicts if verdict.tool == "river_length" and verdict.found}
    assert hit in ({"source-invalid"}, {"function-missing"})
    assert any(verdict.gate == "dead-parameter" and verdict.skipped for verdict in verdicts)


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "array"},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"river": {"pattern": "("}}},
        {"type": "object", "properties": {"river": {"$ref": "https://example.org/schema"}}},
        {"type": "object", "properties": {"river": {"$ref": "#/nowhere"}}},
        {"type": "object", "required": "river"},
        {},
    ],
)
def test_invalid_schemas_are_findings(parameters, sandbox):
    """A schema that is none is named, fetched from nowhere, and stops no other gate."""
    spec = with_tool("river_length").replace(
        tools=tuple(
            tool.model_copy(update={"signature": tool.signature.model_copy(update={"parameters": parameters})})
            if tool.name == "river_length"
            else tool
            for tool in environment().tools
        )
    )
    report: QualityReport = check([spec], sandbox, panel=False)
    assert [finding.tool for finding in report.gate("schema-invalid").findings] == ["river_length"]


def test_short_goldens_are_not_searched_for_in_documents():
    """ "yes" or "12" in a description is a coincidence: skipped, and counted as skipped."""
    spec = with_tool(
        "person_study", properties=properties("person_study", person={"type": "string", "description": "12"})
    )
    spec = spec.replace(goals=(spec.goals[0], spec.goals[1].model_copy(update={"answer": infer("12")})))
    verdicts = [v for v in static_verdicts(spec, read_tools(spec)) if v.gate == "answer-in-document"]
    assert [(bool(verdict.found), bool(verdict.skipped)) for verdict in verdicts] == [(False, False), (False, True)]
