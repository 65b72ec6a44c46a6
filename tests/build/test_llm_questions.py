"""Questions and topics as input: three formats, clear errors, and decompositions that need no model."""

import json
from pathlib import Path

import pytest

from toolfoundry.build.decompose import kind_of
from toolfoundry.build.questions import decomposition_from, read_briefs, read_topics
from toolfoundry.errors import InputError, RecordError

MOREHOPQA = Path(__file__).parents[3] / "shared" / "data" / "morehopqa" / "morehopqa.json"


def written(tmp_path, text, name="questions.jsonl"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def one(tmp_path, **fields):
    return next(iter(read_briefs(written(tmp_path, json.dumps(fields) + "\n"))))


def test_plain_text_is_one_question_a_line(tmp_path):
    """Empty lines are passed over; origins name the line."""
    briefs = list(read_briefs(written(tmp_path, "\ufeffWho?\n\n  What   now?  \n", "q.txt")))
    assert [(brief.index, brief.origin, brief.question) for brief in briefs] == [
        (0, "q.txt:1", "Who?"),
        (1, "q.txt:3", "What now?"),
    ]


def test_jsonl_gives_typed_answers_and_steps(tmp_path):
    """Bare values are typed by their spelling, objects by what they say."""
    steps = [
        {"question": "When?", "answer": "May 18, 2001"},
        {"id": "b", "question": "How many?", "answer": {"type": "number", "value": 3}, "needs": ["s1"]},
    ]
    brief = one(tmp_path, question="How many then?", answer=3, steps=steps)
    assert brief.answer.value == 3
    assert [(step.id, step.answer.type, step.answer.value, step.needs) for step in brief.steps] == [
        ("s1", "date", "2001-05-18", ()),
        ("b", "number", 3, ("s1",)),
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"question": 3}', "field 'question': found 3, expected text"),
        ('{"answer": "x"}', "field 'question': found None"),
        ("{bad", "malformed JSON"),
        ('{"question": "q?", "answer": {"type": "colour", "value": 1}}', "field 'answer'"),
        ('{"question": "q?", "answer": {"type": "text", "value": "x", "text": 3}}', "field 'answer'"),
        ('{"question": "q?", "answer": []}', "field 'answer'"),
        ('{"question": "q?", "steps": {"a": 1}}', "field 'steps': found dict"),
        ('{"question": "q?", "steps": [{"question": "a?"}]}', "field 'steps.0.answer'"),
        (
            '{"question": "q?", "question_decomposition": [{"details": [{"question": "a?", "answer": ""}]}]}',
            "details.0",
        ),
        (json.dumps({"question": "q" * 5000}), "5000 characters"),
    ],
)
def test_errors_name_file_line_and_field(tmp_path, line, told):
    """The second line is wrong; it can also be passed over and reported."""
    path = written(tmp_path, f"First?\n{line}\nThird?\n")
    with pytest.raises(RecordError) as caught:
        list(read_briefs(path))
    assert f"{path}:2" in str(caught.value)
    assert told in str(caught.value)
    bad = []
    kept = list(read_briefs(path, skip_bad=True, on_bad=bad.append))
    assert [(brief.index, brief.question) for brief in kept] == [(0, "First?"), (1, "Third?")]
    assert len(bad) == 1


def test_files_that_cannot_be_used_are_errors_of_the_input(tmp_path):
    """Missing, empty, no UTF-8, no JSON."""
    with pytest.raises(InputError, match="cannot be opened"):
        list(read_briefs(tmp_path / "none"))
    with pytest.raises(InputError, match="no question"):
        list(read_briefs(written(tmp_path, "\n")))
    path = tmp_path / "latin.txt"
    path.write_bytes("Où?\n".encode("latin-1"))
    with pytest.raises(RecordError, match=r"latin\.txt:1.*UTF-8"):
        list(read_briefs(path))
    with pytest.raises(RecordError, match="malformed JSON"):
        list(read_briefs(written(tmp_path, "[1,", "q.json")))


def test_topics_are_lines(tmp_path):
    """Comments and empty lines are no topics."""
    briefs = list(read_topics(written(tmp_path, "# ours\nlighthouses\n\nold bridges\n", "t.txt")))
    assert [(brief.index, brief.topic, brief.question) for brief in briefs] == [
        (0, "lighthouses", None),
        (1, "old bridges", None),
    ]


def test_answers_in_later_questions_become_references(tmp_path):
    """Longer answers first, whole words only, without regard to case."""
    steps = [
        {"question": "Who founded the Ormdal works?", "answer": "Ada Wren"},
        {"question": "Who taught ada wren?", "answer": "Ada Wren Fisk"},
        {"question": "Where was Ada Wren Fisk born, Adamstown or elsewhere?", "answer": "Kelby Ferry"},
    ]
    question = "Where was the teacher of the founder of the Ormdal works born?"
    found = decomposition_from(one(tmp_path, question=question, answer="Kelby Ferry", steps=steps))
    assert found is not None
    assert [step.question for step in found.steps] == [
        "Who founded the Ormdal works?",
        "Who taught {s1}?",
        "Where was {s2} born, Adamstown or elsewhere?",
    ]
    assert found.final.arguments == {"value": {"$answer": "s3"}}


def test_single_letters_are_references_only_where_nothing_else_uses_them(tmp_path):
    """The letter "s" of "What is the code of s?" is a reference; the article "a" of an answered step is not."""
    steps = [
        {"question": "Who painted the Ormsgate ceiling?", "answer": "Ilva Roe"},
        {"question": "What is the third letter of Ilva Roe's pen name?", "answer": "s"},
        {"question": "What is the ASCII code of a letter such as s?", "answer": 115},
    ]
    brief = one(
        tmp_path, question="What is the code of that letter of the painter's pen name?", answer=115, steps=steps
    )
    assert decomposition_from(brief).steps[2].question == "What is the ASCII code of a letter such as {s2}?"


def test_what_does_not_pass_the_checks_is_left_to_a_model(tmp_path):
    """An unused step, a final answer that is no step's, or no steps at all."""
    steps = [{"question": "Who?", "answer": "Ada Wren"}, {"question": "How many?", "answer": 415}]
    assert decomposition_from(one(tmp_path, question="How many did she?", answer=415, steps=steps)) is None
    steps[1]["question"] = "How many had Ada Wren?"
    assert decomposition_from(one(tmp_path, question="How many did she?", answer=415, steps=steps)) is not None
    assert decomposition_from(one(tmp_path, question="How many did she?", answer=416, steps=steps)) is None
    assert decomposition_from(one(tmp_path, question="How many did she?", answer=416)) is None


def test_morehopqa_is_read_as_it_is_published():
    """All questions with their answers; nested parts take the place of their whole, and much needs no model."""
    if not MOREHOPQA.exists():
        pytest.skip("MoreHopQA is not at hand (see docs/data.md)")
    briefs = list(read_briefs(MOREHOPQA))
    records = json.loads(MOREHOPQA.read_text(encoding="utf-8"))
    assert len(briefs) == len(records) > 0
    for brief, record in zip(briefs, records, strict=True):
        parts = record["question_decomposition"]
        assert len(brief.steps) == sum(len(part.get("details") or [part]) for part in parts)
        assert brief.question == " ".join(record["question"].split())
    made = [found for brief in briefs if (found := decomposition_from(brief))]
    assert len(made) >= 0.4 * len(briefs)
    assert {kind_of(found.steps) for found in made} <= {"multi_hop", "parallel_multi_hop"}
