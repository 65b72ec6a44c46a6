"""Records: frozen, closed, round-tripping, identified by their content."""

import pytest
from hypothesis import given
from pydantic import ValidationError

from strategies import specs
from toolfoundry.types import Answer, EnvSpec, Goal, Limits, Message, Provenance, Scenario, Tool, ToolSchema


def _tool(name: str) -> Tool:
    return Tool(signature=ToolSchema(name=name, description="", parameters={"type": "object"}), source="")


def _fields(**changes):
    fields = {
        "scenario": Scenario(question="How many?", answer=Answer(type="number", value=3)),
        "tools": (_tool("count"), _tool("other")),
        "goals": (Goal(id="a", tool="count", answer=Answer(type="number", value=3)),),
        "provenance": Provenance(source="test"),
    }
    return {**fields, **changes}


@given(specs())
def test_json_round_trip(spec):
    """A specification survives JSON unchanged, its id included."""
    assert EnvSpec.model_validate_json(spec.model_dump_json()) == spec


def test_identity_is_the_content():
    """Provenance and the order of JSON keys do not change the id; anything a model can notice does."""
    spec = EnvSpec.create(**_fields())
    assert spec.replace(provenance=Provenance(source="elsewhere")).id == spec.id
    assert spec.replace(state={"a": 1, "b": 2}).id == spec.replace(state={"b": 2, "a": 1}).id
    assert spec.replace(tools=(_tool("count"),)).id != spec.id


def test_records_are_frozen_and_closed():
    """Fields cannot be assigned, and unknown ones are refused."""
    with pytest.raises(ValidationError, match="frozen"):
        Limits().max_turns = 3
    with pytest.raises(ValidationError, match="Extra inputs"):
        Message(role="user", text="hello")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"goals": ()}, "found none, expected at least one"),
        ({"tools": (_tool("count"), _tool("count"))}, "two tools named 'count'"),
        (
            {"goals": (Goal(id="a", tool="missing", answer=Answer(type="number", value=3)),)},
            "found 'missing', expected one of",
        ),
        (
            {"goals": tuple(Goal(id="a", tool="count", answer=Answer(type="number", value=n)) for n in (1, 2))},
            "the id 'a' twice",
        ),
        (
            {"goals": (Goal(id="a", tool="count", answer=Answer(type="number", value=3), needs=("b",)),)},
            "found 'b', expected ids of earlier goals",
        ),
    ],
)
def test_inconsistent_specifications_are_refused(changes, message):
    """What cannot be played or graded is an error when it is made, with field, found and expected."""
    with pytest.raises(ValidationError, match=message):
        EnvSpec.create(**_fields(**changes))


def test_a_wrong_id_is_refused():
    """A record whose content was edited by hand no longer fits its id."""
    text = EnvSpec.create(**_fields()).model_dump_json().replace("How many?", "How few?")
    with pytest.raises(ValidationError, match="the hash of the content"):
        EnvSpec.model_validate_json(text)
