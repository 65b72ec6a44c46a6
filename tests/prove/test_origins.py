"""Where values come from, as a model would see it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolfoundry.prove.origins import cost, leaves, origin, said, schema_at, sources, told, words

QUESTION = "How many died in the explosion at Prüm, Germany, in July 1949, and was it the second-largest of 5,000?"
SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "enum": ["flood", "fire"]},
        "unit": {"type": "string", "default": "km"},
        "place": {"type": "string", "description": "A place, e.g. 'park' or 'Lake'."},
        "deep": {"type": "object", "properties": {"year": {"type": "integer"}}},
        "open": {"type": "object"},
        "many": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
    },
}
KNOWN = [("g1", ["Arun Dev", "born in Pune"]), ("g2", ["4,217"])]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("explosion at prüm", True),
        ("Explosions in Prüm", True),
        ("prüm_explosion", True),
        ("1949-07", True),
        ("July 1949", True),
        ("1949-08", False),
        (5000, True),
        (2, True),
        (3, False),
        ("Trier", False),
        ("the", False),
        ("", False),
    ],
)
def test_said(value, expected):
    """A text says a value if it has all its words and numbers, in whatever case, number, order and format."""
    assert said(value, QUESTION) is expected


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("kind",), "flood", "enum"),
        (("kind",), "storm", "code"),
        (("many", 0), "a", "enum"),
        (("unit",), "km", "default"),
        (("unit",), True, "enum"),
        (("place",), "Prüm", "question"),
        (("place",), "Arun Dev", "goal:g1"),
        (("place",), "Pune", "goal:g1"),
        (("place",), "Arun Dev in Germany", "goal:g1"),
        (("place",), "4217 + 5", "code"),
        (("place",), "4217 + 5000", "goal:g2"),
        (("place",), "Lake", "document"),
        (("place",), "lagoon", "code"),
        (("deep", "year"), 1949, "question"),
        (("deep", "year"), 4217, "goal:g2"),
        (("open", "Germany"), 1949, "question"),
        (("open", "secret"), 1949, "code"),
        (("hidden",), "Prüm", "code"),
    ],
)
def test_origin(path, value, expected):
    """Each value is told by enum, default, question, result or description, in that order, or by the code alone."""
    assert origin(path, value, SCHEMA, QUESTION, KNOWN) == expected


def test_the_very_answer_comes_before_scattered_words():
    """A value that is an earlier answer needs that goal, although its words stand somewhere in the question."""
    question = "What grows near the lake with the crescent shape?"
    assert origin(("place",), "Lake Crescent", SCHEMA, question, [("g1", ["Lake Crescent"])]) == "goal:g1"
    assert origin(("place",), "crescent lake", SCHEMA, question, []) == "question"


def test_cost_puts_secrets_before_examples_before_edges():
    """Calls are ordered by what they ask of a model."""
    assert cost(["code", "document", "goal:a", "goal:a", "enum"]) == (1, 1, 1)
    assert cost(["goal:a", "goal:b"]) < cost(["document"]) < cost(["code"])


@given(st.lists(st.sampled_from(QUESTION.split()), min_size=1, max_size=4), st.booleans())
def test_any_words_of_the_question_come_from_the_question(chosen, upper):
    """Whatever is made of the question's words, in any order and case, is told by the question if it tells anything."""
    text = " ".join(chosen)
    if told(text):
        assert said(text.upper() if upper else text, QUESTION)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=3), json_values, max_size=4), st.text(max_size=30))
def test_every_leaf_has_a_source(arguments, question):
    """No argument goes without a source, and no value breaks the words."""
    found = sources(arguments, SCHEMA, question, KNOWN)
    assert set(found) == {path for path, _ in leaves(arguments) if path}
    assert all(schema_at(SCHEMA, path) is None or source for path, source in found.items())
    assert words(question) is not None
