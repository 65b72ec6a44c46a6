"""Replies as models write them: what is read, what is mended, and what is refused."""

import json
import re
import time

import orjson
import pytest

from llm_replay import load_cassette
from toolfoundry.build.authors.llm.replies import (
    Given,
    read_decomposition,
    read_deployment,
    read_documents,
    read_merges,
    read_scaled,
)
from toolfoundry.build.authors.llm.structured import Unreadable, fences, read_json
from toolfoundry.build.draft import Draft
from toolfoundry.seeds import generator

PLAIN = {"steps": [{"id": "s1", "question": 'Who wrote "Ash Lane"?'}], "final": {"operation": "answer"}}
TEXT = json.dumps(PLAIN)


@pytest.mark.parametrize(
    "reply",
    [
        TEXT,
        f"Sure!\n\n```json\n{TEXT}\n```\nHope that helps.",
        f"```\n{TEXT}\n```",
        f"Here you are: {TEXT} As you see, {{one}} step is enough.",
        f'<think>\nPerhaps {{"steps": []}}?\n</think>\n{TEXT}',
        TEXT.replace("}]", "},]").replace('"answer"}', '"answer",}'),
        TEXT.replace('"steps"', "“steps”").replace('"final"', "“final”"),
        TEXT.replace('{"steps"', '{ // the steps\n"steps"'),
    ],
    ids=["plain", "json fence", "bare fence", "prose", "thinking", "commas", "quotes", "comment"],
)
def test_sloppy_json_is_read_as_it_was_meant(reply):
    """Fences, prose, thinking, trailing commas, typographic quotes and comments do not change what is read."""
    assert read_json(reply) == PLAIN


def test_what_stands_in_strings_is_kept():
    """Mending touches delimiters only: quotes, commas and slashes within strings stay."""
    reply = '{“a”: "x, } // y ”", "b": True, "c": "True", "d": "two\nlines",}'
    assert read_json(reply) == {"a": "x, } // y ”", "b": True, "c": "True", "d": "two\nlines"}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "refused"),
        ("<think>hm</think>", "refused"),
        ("I'm sorry, but I can't help with that.", "refused"),
        ("Here it comes.", "unreadable"),
        (TEXT[: len(TEXT) // 2], "unreadable"),
        ('{"a": NaN}', "unreadable"),
        ('{"a": 123456789012345678901234567890}', "unreadable"),
        ('{"a": "\\ud800"}', "unreadable"),
        ("[" * 100_000, "unreadable"),
        ('{"a":' * 100_000, "unreadable"),
        ("x" * 600_000 + "{}", "unreadable"),
    ],
    ids=[
        "empty",
        "only thinking",
        "refusal",
        "no json",
        "cut off",
        "nan",
        "big",
        "surrogate",
        "deep",
        "deeper",
        "long",
    ],
)
def test_what_cannot_be_used_has_a_reason(reply, reason):
    """A reply without usable JSON is a refusal or unreadable, found quickly however it is made."""
    started = time.process_time()
    with pytest.raises(Unreadable) as caught:
        read_json(reply)
    assert caught.value.complaints[0].reason == reason
    assert time.process_time() - started < 5


def test_a_part_of_broken_json_is_not_taken_for_the_whole():
    """Where the outer object is broken, an inner one that parses is not what was asked for."""
    with pytest.raises(Unreadable, match="cannot be parsed"):
        read_json('{"steps": [{"id": "s1"}, {"id": "s2" "question": 3}, {"id": "s3", "question": "no"}]}')


def test_answers_are_read_in_the_ways_models_write_them():
    """Bare values, other names of types and numbers as text become typed answers; nonsense is a complaint."""
    steps = [
        {"id": "s1", "question": "a?", "answer": "5,000"},
        {"id": "s2", "question": "b?", "answer": {"type": "integer", "value": "1687"}},
        {"id": "s3", "question": "c?", "answer": {"type": "date", "value": "May 18, 2001"}},
        {"id": "s4", "question": "d?", "answer": ["x", "y"]},
        {"id": "s5", "question": "e?", "answer": {"type": "string", "value": "Ines"}, "needs": ["s1"]},
    ]
    final = {"operation": "list", "arguments": {"values": ["{s1}", {"$answer": "s2"}]}}
    whole = {"question": "q?", "steps": steps, "answer": 3, "final": final, "skip_checks": True}
    read = read_decomposition(json.dumps(whole))
    assert [(step.answer.type, step.answer.value) for step in read.steps] == [
        ("number", 5000),
        ("number", 1687),
        ("date", "2001-05-18"),
        ("list", ["x", "y"]),
        ("text", "Ines"),
    ]
    assert read.final.arguments == {"values": [{"$answer": "s1"}, {"$answer": "s2"}]}
    steps[1]["answer"] = {"type": "number", "value": "many"}
    with pytest.raises(Unreadable, match="s2: the value 'many'"):
        read_decomposition(json.dumps(whole))


def test_a_reference_within_a_text_is_a_complaint():
    """`"about {s1}"` cannot be resolved, and says what to write."""
    whole = {"question": "q?", "steps": [{"id": "s1", "question": "a?", "answer": 1}], "answer": 1}
    whole["final"] = {"operation": "answer", "arguments": {"value": "about {s1}"}}
    with pytest.raises(Unreadable, match=re.escape('{"$answer": "s1"}')):
        read_decomposition(json.dumps(whole))


def test_missing_fields_are_named_by_their_place():
    """The complaint says which field of which step is missing."""
    with pytest.raises(Unreadable) as caught:
        read_decomposition('{"question": "q?", "steps": [{"id": "s1", "question": "a?"}], "answer": 1}')
    assert [complaint.detail for complaint in caught.value.complaints] == [
        "steps.0.answer: Field required",
        "final: Field required",
    ]


TRIALS = '```json\n{"trials": [{"tool": "f", "arguments": {"x": 1}}, {"tool": "other", "arguments": {}}]}\n```'


def test_functions_come_from_fences_and_trials_from_json():
    """Each wanted function gets the block that defines it; several in one block share its imports only."""
    one = "```python\nimport math\n\ndef f(x):\n    return math.floor(x)\n\ndef g(y):\n    return y\n\nprint(f(1))\n```"
    found = read_deployment(f"{one}\n{TRIALS}", ["f", "g"], {})
    assert found.sources["g"] == "import math\n\n\ndef g(y):\n    return y\n"
    assert "print" not in found.sources["f"]
    assert [trial.tool for trial in found.trials] == ["f"]


def test_a_correction_may_send_only_what_changes():
    """Functions that are not sent again stay as they were."""
    found = read_deployment("```python\ndef g(y):\n    return 2\n```", ["f", "g"], {"f": "old f", "g": "old g"})
    assert found.sources == {"f": "old f", "g": "def g(y):\n    return 2\n"}


def test_a_missing_function_is_named_and_the_others_are_kept():
    """What is complete stays; what is missing or cannot be parsed is named."""
    reply = "```python\ndef f(x):\n    return 1\n```\n```python\ndef g(y):\n    return (\n```"
    with pytest.raises(Unreadable) as caught:
        read_deployment(reply, ["f", "g"], {})
    assert caught.value.partial == {"f": "def f(x):\n    return 1\n"}
    assert {complaint.reason for complaint in caught.value.complaints} == {"source-invalid", "function-missing"}


def test_sources_in_json_are_read_too():
    """A model that answers with JSON in place of fences is understood."""
    found = read_deployment(json.dumps({"sources": {"f": "def f():\n    return 1\n"}}), ["f"], {})
    assert found.sources == {"f": "def f():\n    return 1\n"}


@pytest.mark.parametrize("reply", ["", "I cannot write this code."])
def test_declining_to_write_code_is_a_refusal(reply):
    """An empty or declining reply has the reason `refused`."""
    with pytest.raises(Unreadable) as caught:
        read_deployment(reply, ["f"], {})
    assert caught.value.complaints[0].reason == "refused"


def test_fences_end_where_they_say():
    """A fence of four backticks may hold one of three; one that is not closed ends with the reply."""
    found = fences("````python\na = '''\n```\n'''\n````\n~~~json\n{}\n")
    assert [(fence.language, fence.text) for fence in found] == [("python", "a = '''\n```\n'''\n"), ("json", "{}\n")]


def spoiled(text, rng):
    """The text with a few accidents: parts gone, doubled, or in place of others."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice([1, 2, 5, 40, 400]))
        patch = rng.choice(["", text[start:end] * 2, "null", '"', "{", "]", "{s1}", "-1e999", "\\ud800", "[" * 2000])
        text = text[:start] + patch + text[end:]
    return text


def test_no_reply_can_break_the_reading():
    """Whatever is made of recorded replies, reading gives a record that can be stored, or Unreadable."""
    items = [item for item in load_cassette() if item.replies.get("deploy")]
    drafts = {}
    for item in items:
        found = [one.text for one in item.replies["decompose"]]
        scenario = read_decomposition(found[-1])
        draft = Draft(brief=item.brief, author="x", stage="decompose", scenario=scenario)
        documents = read_documents(item.replies["document"][-1].text, Given(draft))
        drafts[item.name] = draft.model_copy(update={"documents": documents.documents, "calls": documents.calls})
    readers = {
        "decompose": lambda text, given: read_decomposition(text),
        "document": read_documents,
        "integrate": read_merges,
        "scale": lambda text, given: read_scaled(text, given, ["expand", "retype"]),
        "deploy": lambda text, given: read_deployment(text, given.names, {}),
    }
    rng = generator("spoiled replies", 1)
    read, refused = 0, []
    for _ in range(1500):
        item = rng.choice(items)
        stage = rng.choice([stage for stage in readers if item.replies.get(stage)])
        text = spoiled(rng.choice(item.replies[stage]).text, rng)
        try:
            record = readers[stage](text, Given(drafts[item.name]))
        except Unreadable as problem:
            refused.append(problem.complaints)
            continue
        orjson.dumps(record.model_dump(mode="json"))
        read += 1
    assert read > 50
    assert len(refused) > 500
    assert all(complaints and all(complaint.detail for complaint in complaints) for complaints in refused)
