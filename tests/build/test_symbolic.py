"""Arguments that refer to answers that are not known yet."""

from __future__ import annotations

import pytest

from toolfoundry.answers import infer
from toolfoundry.symbolic import answer_of, references, resolve
from toolfoundry.types import Answer

ANSWERS = {"s1": infer("Grey Finger"), "s2": infer("412"), "s3": Answer(type="list", value=["a", "b"])}


@pytest.mark.parametrize(
    ("value", "used", "resolved"),
    [
        ("s1", [], "s1"),
        (None, [], None),
        (answer_of("s1"), ["s1"], "Grey Finger"),
        (answer_of("s2"), ["s2"], 412),
        (answer_of("s2", as_text=True), ["s2"], "412"),
        (answer_of("s3"), ["s3"], ["a", "b"]),
        (answer_of("s3", as_text=True), ["s3"], "a, b"),
        (
            {"a": [1, answer_of("s2")], "b": {"c": answer_of("s1")}},
            ["s2", "s1"],
            {"a": [1, 412], "b": {"c": "Grey Finger"}},
        ),
        ([answer_of("s1"), answer_of("s1")], ["s1", "s1"], ["Grey Finger", "Grey Finger"]),
        ({"text": "the steps of $answer s1"}, [], {"text": "the steps of $answer s1"}),
    ],
)
def test_references_stand_for_whole_values(value, used, resolved):
    """Anywhere in a JSON value, in order and as often as they stand there; nothing else is touched."""
    assert list(references(value)) == used
    assert resolve(value, ANSWERS) == resolved


def test_an_answer_that_is_not_there():
    with pytest.raises(KeyError, match="s9"):
        resolve({"a": answer_of("s9")}, ANSWERS)
