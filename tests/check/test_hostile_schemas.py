"""One environment with a hostile schema or source costs its own verdicts, never the audit of the set."""

import pytest

from toolfoundry.check import check
from toolfoundry.demo import environments

SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "string", "pattern": ".*" * 24 + "!"}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"type": "integer", "multipleOf": 0.5}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"anyOf": [True]}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"anyOf": 5}}, "required": ["a"]},
    {"type": "object", "properties": [], "required": [["a"]]},
    {"type": "object", "properties": {"a": {"type": "array", "minItems": 10**8}}, "required": ["a"]},
    {"type": {}, "properties": {"a": {"enum": 5, "examples": 5, "format": {}}}},
]
SOURCES = [
    "def {name}(a=0x" + "f" * 5000 + "):\n    return 0x" + "f" * 5000,
    "def {name}(a):\n" + "    if a == 0: return 1\n" + "".join(f"    elif a == {n}: return {n}\n" for n in range(1500)),
    "def {name}(a):\n    return 'a' + '\\u0301\\u0316' * 15000",
]


def with_tool(**changes):
    spec = environments()[0]
    name = spec.tools[-1].name
    tool = spec.tools[-1]
    if "parameters" in changes:
        tool = tool.model_copy(update={"signature": tool.signature.model_copy(update=changes)})
    else:
        tool = tool.model_copy(update={"source": changes["source"].replace("{name}", name)})
    return spec.replace(tools=(*spec.tools[:-1], tool))


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: str(schema)[:60])
def test_a_hostile_schema_spoils_nothing_else(sandbox, schema):
    """The set is judged to its end."""
    good = environments()[1]
    report = check([good, with_tool(parameters=schema)], sandbox)
    assert report.environments == 2
    assert not next(entry for entry in report.per_environment if entry.spec == good.id).defects


@pytest.mark.parametrize("source", SOURCES, ids=["digits", "branches", "marks"])
def test_a_hostile_source_spoils_nothing_else(sandbox, source):
    """Likewise."""
    good = environments()[1]
    report = check([good, with_tool(source=source)], sandbox)
    assert report.environments == 2
    assert not next(entry for entry in report.per_environment if entry.spec == good.id).defects
