"""Drop-in scorers: the release's numbers on every recorded vector, and each deliberate difference by name."""

import inspect
import json
import re

import pytest

from toolfoundry.compat import ftrl
from toolfoundry.compat.ftrl import (
    compute_solve_f1,
    compute_solve_pr,
    compute_solve_precision,
    compute_solve_rate,
    get_feedback,
    parse_qwen,
    score_response,
)

NAMES = {"solve_f1": "ftrl", "solve_pr": "ftrl-pr", "solve_rate": "ftrl-rate", "solve_precision": "ftrl-precision"}
FUNCTIONS = [compute_solve_f1, compute_solve_pr, compute_solve_rate, compute_solve_precision]


def test_every_recorded_vector_is_reproduced(ftrl_rows, ftrl_parity):
    """The scores of all four functions (changing this breaks comparison with the paper)."""
    rows = [json.loads(line) for line in ftrl_rows.read_text().splitlines()]
    vectors = [json.loads(line) for line in ftrl_parity.read_text().splitlines()]
    wrong = []
    for index, vector in enumerate(vectors):
        row = rows[vector["row"]]
        codes = json.loads(row["codes"])
        state = vector["unsolved_set"], vector["solve_rate"]
        scores = score_response(vector["response"], codes, *state, "train", row["answer"])
        if {name: scores[preset] for name, preset in NAMES.items()} != vector["scores"]:
            wrong.append(index)
    assert len(vectors) > 2000
    assert wrong == []


def test_tool_messages_are_the_recorded_ones(ftrl_rows, ftrl_parity):
    """Word for word, but for the day (the sandbox's clock is fixed) and the name of a package that is not there."""
    rows = [json.loads(line) for line in ftrl_rows.read_text().splitlines()]
    vectors = [json.loads(line) for line in ftrl_parity.read_text().splitlines()][::4]

    def comparable(texts):
        return [re.sub(r"2026-\d\d-\d\d", "TODAY", text).replace(" in the sandbox", "") for text in texts]

    for vector in vectors:
        codes = json.loads(rows[vector["row"]]["codes"])
        feedback = get_feedback(parse_qwen(ftrl._without_end(vector["response"])).calls, codes)
        assert comparable(feedback) == comparable(vector["feedback"])


CODES = {
    "f": "FACTOR = 2\n\ndef f(x, y=1):\n    return {'value': x * FACTOR * y}",
    "g": "def g():\n    while True: pass",
    "town": "def town(name):\n    return 'Oslo'",
}
UNSOLVED = {"f": ["8", "1,000"], "town": ["Oslo"]}


def said(*calls):
    return (
        "".join(f"<tool_call>\n{json.dumps({'name': n, 'arguments': a})}\n</tool_call>" for n, a in calls)
        + "<|im_end|>"
    )


def test_signatures_are_the_released_ones():
    """Same names, order and defaults, so that a trainer can call them without a change."""
    for function in FUNCTIONS:
        assert list(inspect.signature(function).parameters) == [
            "response",
            "codes",
            "unsolved_set",
            "solve_rate",
            "split",
            "answer",
        ]
        assert inspect.signature(function).parameters["answer"].default is None


def test_the_four_scores():
    """p = 3, q = 2: 2q/(p+1), q²/p, q, q/p."""
    response = said(("f", {"x": 4}), ("town", {"name": "a"}), ("town", {"name": "b"}))
    scores = [function(response, CODES, UNSOLVED, 0.0, "train", "Oslo") for function in FUNCTIONS]
    assert scores == pytest.approx([1.0, 4 / 3, 2.0, 2 / 3])


def test_arguments_are_not_changed():
    """Difference: the release removes what was solved from the caller's dict."""
    unsolved = {"town": ["Oslo"]}
    assert compute_solve_f1(said(("town", {"name": "a"})), CODES, unsolved, 0.0, "train") == 1.0
    assert unsolved == {"town": ["Oslo"]}


def test_a_tool_sees_its_module_level_names():
    """Difference: the release hides FACTOR from f, which then fails with a NameError."""
    assert get_feedback([("f", {"x": 4})], CODES) == ['{"value": 8}']


def test_a_tool_that_does_not_end():
    """Difference: stopped by the sandbox, and the error does not quote the source."""
    [text] = get_feedback([("g", {})], CODES)
    assert text.startswith("an error occured when call g: ")
    assert "while True" not in text


def test_split():
    """Difference: "test" is scored; an unknown split is the same error."""
    assert compute_solve_f1("Oslo", CODES, UNSOLVED, 0.0, "test", "Oslo") == 1 / 4
    with pytest.raises(ValueError, match="Unknown split: dev"):
        compute_solve_f1("Oslo", CODES, UNSOLVED, 0.0, "dev", "Oslo")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (("nope", {}), "an error occured when call nope: 'nope'"),
        (("town", {}), "an error occured when call town: town() missing 1 required positional argument: 'name'"),
        (("town", [1]), "an error occured when call town: town() argument after ** must be a mapping, not list"),
        (("town", None), "an error occured when call town: town() argument after ** must be a mapping, not NoneType"),
        (([1], {}), "an error occured when call [1]: unhashable type: 'list'"),
    ],
)
def test_error_texts(call, text):
    """As the model would have read them from the release."""
    assert get_feedback([call], CODES) == [text]


READS = [
    ("plain text ", ("plain text", ())),
    ('so: <tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call> rest', ("so:", (("f", {"x": 1}),))),
    ('<tool_call>{"name": "f", "arguments": "{\\"x\\": 1}"}</tool_call>', ("", (("f", {"x": 1}),))),
    ('<tool_call>{"name": "f"}</tool_call>', ('<tool_call>{"name": "f"}</tool_call>', ())),
    ('<tool_call>{"name": "f", "arguments": {}}', ("", (("f", {}),))),
    ("<tool_call>[1]</tool_call>", ("<tool_call>[1]</tool_call>", ())),
    ('<tool_call>{bad}</tool_call><tool_call>{"name": "f", "arguments": {}}</tool_call>', ("", (("f", {}),))),
]


@pytest.mark.parametrize(("text", "parsed"), READS)
def test_parsing_is_the_released_one(text, parsed):
    """Unreadable pieces are dropped; if all are, the whole text is content."""
    assert parse_qwen(text) == parsed
