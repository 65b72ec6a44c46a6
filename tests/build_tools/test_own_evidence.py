"""Running a user's functions: which calls work, what is found by chaining, and what is told of those that fail."""

import asyncio
from pathlib import Path

import pytest

from toolfoundry.build.own_tools.evidence import gather, read_result
from toolfoundry.build.own_tools.functions import read_functions

EXAMPLE = Path(__file__).parents[2] / "examples" / "tools" / "shop.py"


def evidence_of(text, sandbox):
    return asyncio.run(gather(read_functions(text, "f.py"), sandbox))


@pytest.fixture(scope="module")
def shop(sandbox):
    return evidence_of(EXAMPLE.read_text(), sandbox)


def test_every_tool_of_the_example_has_evidence(shop):
    """Ten tools, all rows of their tables found, and no call with a default said."""
    found = {one.name: len(one.observations) for one in shop.tools}
    assert shop.unusable == ()
    assert (found["get_order"], found["get_customer"], found["check_stock"]) == (8, 6, 18)
    assert not any(
        "express" in observation.arguments and observation.arguments["express"] is False
        for one in shop.tools
        for observation in one.observations
    )


def test_results_of_one_tool_are_arguments_of_another(shop):
    """A weight and a city that stand in no source of the shipping quote were tried there, and come first."""
    [quote] = [one for one in shop.tools if one.name == "quote_shipping"]
    assert '"Varna": 5' in quote.tool.source
    assert "14800" not in quote.tool.source
    linked = {(one.arguments["city"], one.arguments["weight_g"]) for one in quote.observations[:30]}
    assert {weight for _, weight in linked} <= {1450, 980, 6320, 4175, 14800, 3560}
    assert len({city for city, _ in linked}) > 1


def test_the_output_schema_names_types_and_no_values(shop):
    """Read off the results; nothing of them stands in it."""
    [customer] = [one for one in shop.tools if one.name == "get_customer"]
    assert customer.tool.signature.output == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "city": {"type": "string"},
            "loyalty_points": {"type": "integer"},
            "member_since": {"type": "string"},
        },
    }
    assert customer.keyed == {"customer_id"}


def test_the_same_file_gives_the_same_evidence(shop, sandbox):
    """Nothing in it depends on the clock, on order, or on chance."""
    assert evidence_of(EXAMPLE.read_text(), sandbox) == shop


FUNCTIONS = '''
import datetime, os, time, urllib.request

TABLE = {"anchor": 4410, "beacon": 5233}


def good(name: str) -> int:
    """Look something up."""
    if name not in TABLE:
        raise LookupError("there is nothing of that name")
    return TABLE[name]


def hidden_clock(x: int) -> str:
    """Tell the date, added to something."""
    return getattr(datetime.date, "today")().isoformat() + str(x)


def hidden_chance(x: int) -> float:
    """Draw something."""
    return getattr(__builtins__["__import__"]("random"), "random")() * x


def an_address(x: int) -> int:
    """Tell where something lies in memory."""
    return hash(object()) + x


def spins(x: int) -> int:
    """Count for ever."""
    while x or True:
        x = x + 1


def fails(x: int) -> int:
    """Divide by nothing."""
    return x // (x - x)


def unhandled(name: str) -> int:
    """Look something up without a thought for what is not there."""
    return TABLE[name]


def a_set(x: int) -> set:
    """Give a set."""
    return {x, x + 1}


def too_much(x: int) -> str:
    """Give more than a result can be."""
    return "a" * 1_000_000 + str(x)


def reads_a_folder(path: str) -> list:
    """List a folder."""
    return os.listdir(path)


def says_nothing(x: int) -> dict:
    """Give nothing."""
    return {"found": None if x else None}


def same_for_all(x: int) -> dict:
    """Take a number and forget it."""
    return {"value": 1234 if x else 1234}
'''


@pytest.fixture(scope="module")
def judged(sandbox):
    return evidence_of(FUNCTIONS, sandbox)


def test_the_good_one_goes_on(judged):
    """Eleven functions that cannot be used do not keep the twelfth."""
    assert [one.name for one in judged.tools] == ["good"]
    assert {one.arguments["name"]: one.value for one in judged.tools[0].observations} == {
        "anchor": 4410,
        "beacon": 5233,
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hidden_clock", "expected the same twice"),
        ("hidden_chance", "expected the same twice"),
        ("an_address", "expected the same twice"),
        ("spins", "it does not come back"),
        ("fails", "gives raised: ZeroDivisionError"),
        ("unhandled", "A schema-valid call breaks the tool"),
        ("a_set", "its result is of type set"),
        ("too_much", "too large"),
        ("reads_a_folder", "it needs what the sandbox refuses"),
        ("says_nothing", "its results hold nothing"),
        ("same_for_all", "no effect of it was found"),
    ],
)
def test_why_a_function_cannot_be_used(judged, name, expected):
    """The reason says what was found when it ran."""
    [reason] = [one.reason for one in judged.unusable if one.name == name]
    assert expected in reason


def test_an_example_in_the_docstring_is_tried_first(sandbox):
    """Where nothing in the source says what works, the docstring can; so can a quoted value in a description."""
    code = '''
def unlock(code: str) -> dict:
    """Open a lock.

    {docstring}
    """
    import hashlib
    digest = hashlib.sha256(str(code).encode()).hexdigest()
    if not digest.startswith("{start}"):
        raise ValueError("that is not the code")
    return {{"box": int(digest[8:12], 16)}}
'''
    import hashlib

    start = hashlib.sha256(b"QX-7781").hexdigest()[:6]
    without = evidence_of(code.format(docstring="It is hard.", start=start), sandbox)
    assert ">>> unlock(...)" in without.unusable[0].reason
    for docstring in ('>>> unlock("QX-7781")', "Args:\n        code: Such as `QX-7781`."):
        found = evidence_of(code.format(docstring=docstring, start=start), sandbox)
        # one value is not enough for a gate that asks for two results, but the call was found
        assert not found.unusable or "tried calls" not in found.unusable[0].reason, docstring


def test_results_are_read_as_they_show_themselves():
    """Python's constants, JSON and numbers are values; all other text is text."""
    assert [read_result(text) for text in ("True", "None", '{"a": 1}', "12.5", "[1", "O-5117", "1-2")] == [
        True,
        None,
        {"a": 1},
        12.5,
        "[1",
        "O-5117",
        "1-2",
    ]
