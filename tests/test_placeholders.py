"""Arguments without knowledge are valid under the schema they are made from."""

import random

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolfoundry.formats.ftrl import read_ftrl
from toolfoundry.placeholders import placeholder_arguments, random_arguments

PROPERTIES = [
    {"type": "string"},
    {"type": "string", "minLength": 12, "maxLength": 14},
    {"type": "string", "format": "date"},
    {"type": "string", "pattern": r"^\d{4}-\d{2}$"},
    {"type": "string", "enum": ["north", "south"]},
    {"const": 7},
    {"type": "integer", "minimum": 3, "maximum": 9},
    {"type": "integer", "exclusiveMinimum": 10, "multipleOf": 5},
    {"type": "integer", "maximum": -4},
    {"type": "number", "minimum": 0.5, "maximum": 0.75},
    {"type": "boolean"},
    {"type": ["null", "string"]},
    {"type": "null"},
    {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3},
    {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}},
    {"type": "object", "properties": {"from": {"type": "string"}}, "required": ["from"]},
    {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    {"type": "string", "default": "celsius"},
]


@st.composite
def schemas(draw):
    properties = {f"p{i}": draw(st.sampled_from(PROPERTIES)) for i in range(draw(st.integers(0, 5)))}
    required = [name for name in properties if draw(st.booleans())]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


@given(schemas(), st.integers(0, 1000))
def test_arguments_are_valid(schema, seed):
    """Required only, all, and random ones."""
    validator = jsonschema_rs.validator_for(schema)
    assert set(placeholder_arguments(schema)) == set(schema["required"])
    for arguments in (
        placeholder_arguments(schema),
        placeholder_arguments(schema, optional=True),
        random_arguments(schema, random.Random(seed)),
    ):
        assert validator.is_valid(arguments), (schema, arguments)


def test_the_same_every_time():
    """Nothing but schema and seed decides, also for required names without a property."""
    schema = {"type": "object", "properties": {}, "required": ["b", "a"]}
    assert list(placeholder_arguments(schema)) == ["a", "b"]
    assert random_arguments(schema, random.Random(1)) == random_arguments(schema, random.Random(1))


def test_published_tools(ftrl_rows):
    """Nearly every published schema gets valid arguments; what it gets is never an exception."""
    valid = total = 0
    for spec in read_ftrl(ftrl_rows):
        for tool in spec.tools:
            try:
                validator = jsonschema_rs.validator_for(tool.signature.parameters)
            except (ValueError, jsonschema_rs.ValidationError):
                continue
            total += 1
            valid += validator.is_valid(placeholder_arguments(tool.signature.parameters))
    assert total > 1000
    assert valid / total > 0.99


HOSTILE = [
    {"type": "string", "pattern": ".*" * 24 + "!"},
    {"type": "string", "pattern": "a{99999999999}"},
    {"type": "string", "minLength": 5 * 10**8},
    {"type": "array", "minItems": 10**8},
    {"type": "integer", "multipleOf": 0.5},
    {"type": "integer", "minimum": 1e308},
    {"anyOf": [True]},
    True,
    {"anyOf": 5},
    {"enum": 5},
    {"type": {}},
]


@pytest.mark.parametrize("schema", HOSTILE, ids=str)
def test_hostile_schemas_cost_nothing(schema):
    """Whatever a schema asks for: some arguments of sane size, or none where it is no schema."""
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    for arguments in (placeholder_arguments(parameters), random_arguments(parameters, random.Random(1))):
        assert len(str(arguments)) < 20_000
    nested = schema
    for _ in range(16):
        nested = {"type": "object", "properties": {"a": nested, "b": nested}, "required": ["a", "b"]}
    assert len(str(placeholder_arguments({"type": "object", "properties": {"a": nested}, "required": ["a"]}))) < 10**7


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"properties": None, "required": None}])
def test_a_tool_without_parameters(schema):
    """Takes no arguments."""
    assert placeholder_arguments(schema) == {}
