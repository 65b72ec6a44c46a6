"""FTRL rows: in and out without loss, and clear errors for what is no row."""

import json

import pytest

from toolfoundry.errors import InputError, RecordError
from toolfoundry.formats.ftrl import from_row, read_ftrl, to_row
from toolfoundry.types import ToolCall

FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}


def row(**changes):
    fields = {
        "messages": [{"role": "user", "content": "Use tools.\nQuestion: Wie groß?"}],
        "tools": json.dumps([{"type": "function", "function": FUNCTION}], ensure_ascii=False),
        "codes": json.dumps({"f": "def f(x=None):\n    return 'é'"}, ensure_ascii=False),
        "unsolved_set": json.dumps({"f": ["5,000", "Yes"]}),
        "solve_rate": 0.0,
        "data_source": "self/single_hop",
        "split": "train",
        "answer": "5,000",
    }
    return {key: value for key, value in (fields | changes).items() if value is not ...}


def line(**changes):
    return json.dumps(row(**changes), ensure_ascii=False)


def test_published_rows_come_back_byte_for_byte(ftrl_rows):
    """Import and export are inverse on every row, without keeping a copy of it."""
    specs = list(read_ftrl(ftrl_rows))
    assert [to_row(spec) for spec in specs] == ftrl_rows.read_text().splitlines()
    assert not any(spec.provenance.original for spec in specs)
    assert all(spec.goals and spec.scenario.kind for spec in specs)


def test_an_unusual_row_comes_back_too():
    """Other key order, extra columns, ASCII escapes: the line itself is kept."""
    odd = json.dumps(dict(reversed(row(extra=[1]).items())))
    spec = from_row(odd.encode())
    assert spec.provenance.original == odd
    assert to_row(spec) == odd


def test_what_a_row_says():
    """Question, typed answers, unknown edges."""
    spec = from_row(line().encode(), location="x:1")
    assert spec.scenario.question == "Wie groß?"
    assert spec.scenario.kind == "single_hop"
    assert [goal.answer.value for goal in spec.goals] == [5000, True]
    assert [goal.needs for goal in spec.goals] == [None, None]
    assert spec.task.tagged is False


def test_gold_calls_in_and_out():
    """The forks' column: JSON text of name and parameters, in order."""
    spec = from_row(line().encode())
    with pytest.raises(InputError, match="no gold calls"):
        to_row(spec, with_gold=True)
    proved = spec.replace(gold_calls=(ToolCall(id="g1", name="f", arguments='{"x":"ü"}'),))
    exported = json.loads(to_row(proved, with_gold=True))
    assert json.loads(exported["gt_tool_call"]) == [{"name": "f", "parameters": {"x": "ü"}}]
    again = from_row(to_row(proved, with_gold=True).encode())
    assert again.gold_calls == proved.gold_calls


BAD = [
    ("{broken", None, "malformed JSON"),
    ("[]", None, "found list"),
    (line(tools=...), "tools", "found nothing, expected a string"),
    (line(tools="[1]"), "tools[0]", "an OpenAI function"),
    (line(tools="{"), "tools", "malformed JSON"),
    (line(codes="{}"), "codes.f", "found nothing, expected Python source"),
    (line(codes=json.dumps({"f": "def f(:"})), "codes.f", "in line 1, expected Python source that parses"),
    (line(codes=json.dumps({"f": "(" * 5000})), "codes.f", "expected Python source"),
    (line(tools=json.dumps([{"function": FUNCTION}] * 2)), "tools[1]", "a second tool named 'f'"),
    (line(unsolved_set="{}"), "unsolved_set", "found no golden answer"),
    (line(unsolved_set='{"f": []}'), "unsolved_set", "found no golden answer"),
    (line(unsolved_set='{"f": [" "]}'), "unsolved_set.f", "an empty golden answer"),
    (line(unsolved_set='{"f": "x"}'), "unsolved_set.f", "a list of strings"),
    (line(unsolved_set='{"g": ["x"]}'), "unsolved_set.g", "a tool that is not in 'tools'"),
    (line(messages=[]), "messages", "a list of messages"),
    (line(messages=[{"role": "robot"}]), "messages.0.role", '"robot"'),
    (line(answer=3), "answer", "found 3, expected a string"),
]


@pytest.mark.parametrize(("text", "field", "message"), BAD)
def test_bad_rows_are_named(tmp_path, text, field, message):
    """File, line, field, what was found and expected; other rows can still be read."""
    path = tmp_path / "rows.jsonl"
    path.write_text(line() + "\n" + text + "\n" + line() + "\n")
    with pytest.raises(RecordError) as caught:
        list(read_ftrl(path))
    assert (caught.value.line, caught.value.field) == (2, field)
    assert message in str(caught.value)
    problems = []
    assert len(list(read_ftrl(path, skip_bad=True, on_bad=problems.append))) == 2
    assert len(problems) == 1
