"""Questions and topics as input of the build: plain text, JSONL, or MoreHopQA's JSON.

    Who painted the ceiling of the Ormsgate library?                                      one question a line
    {"question": "...", "answer": "...", "steps": [{"question": "...", "answer": "..."}]}  or one object a line
    [{"question": "...", "answer": "...", "question_decomposition": [...]}]                or MoreHopQA's array

Where a source gives a decomposition, `decomposition_from` makes stage 1 of it without a model: an earlier answer that
stands in a later question becomes a reference, and the result must pass the checks of the stage.

Not covered: MoreHopQA's paragraphs, which the tools take the place of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast, get_args

import orjson
from pydantic import JsonValue

from toolfoundry.answers import equals, infer, spelling
from toolfoundry.build.decompose import complaints_about
from toolfoundry.build.draft import Brief, Decomposition, Step
from toolfoundry.errors import InputError, RecordError, skip_or_raise
from toolfoundry.types import Answer, AnswerType, Final, SubQuestion

__all__ = ["decomposition_from", "read_briefs", "read_topics"]

BadRecord = Callable[[RecordError], None]
_MOST_CHARS = 4000  # of a question or topic


def read_briefs(path: Path, *, skip_bad: bool = False, on_bad: BadRecord | None = None) -> Iterator[Brief]:
    """The briefs in a file of questions, in file order; `index` counts those that were read.

    Raises RecordError (file, line or element, field, found, expected) at the first bad one, or gives it to `on_bad`
    and goes on.
    """
    index = 0
    for number, value in _items(path):
        try:
            brief = _brief(value, index, f"{path.name}:{number}")
        except RecordError as error:
            skip_or_raise(error.located(str(path), number), skip_bad, on_bad)
            continue
        yield brief
        index += 1


def read_topics(path: Path) -> Iterator[Brief]:
    """The briefs in a file of topics, one a line; empty lines and those that begin with `#` are passed over."""
    index = 0
    for number, line in _lines(path):
        topic = line.strip()
        if topic.startswith("#"):
            continue
        yield Brief(index=index, origin=f"{path.name}:{number}", topic=_text(topic, "topic"))
        index += 1


def _items(path: Path) -> Iterator[tuple[int, JsonValue]]:
    """Numbered records: the elements of a JSON array (counted from 1), or lines as JSON objects or as text."""
    lines = _lines(path)
    first = next(lines, None)
    if first is None:
        raise InputError(f"{path}: found no question, expected at least one")
    if first[1].lstrip().startswith("["):
        yield from _elements(path)
        return
    for number, line in (first, *lines):
        text = line.strip()
        if not text.startswith("{"):
            yield number, {"question": text}
            continue
        try:
            yield number, orjson.loads(text)
        except orjson.JSONDecodeError as error:
            yield number, f"malformed JSON ({error})"


def _elements(path: Path) -> Iterator[tuple[int, JsonValue]]:
    try:
        value: Any = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise RecordError(found=f"malformed JSON ({error})", expected="an array of questions", file=str(path)) from None
    yield from enumerate(cast("list[JsonValue]", value), start=1)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError:
                    raise RecordError(
                        found="bytes that are no UTF-8", expected="UTF-8 text", file=str(path), line=number
                    ) from None
                if text.strip():
                    yield number, text
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from error


# --- one record ----------------------------------------------------------------------------------------------------


def _brief(value: JsonValue, index: int, origin: str) -> Brief:
    if not isinstance(value, dict):
        found = value if isinstance(value, str) else type(value).__name__
        raise RecordError(found=found, expected="a question as text, or a JSON object with one")
    answer = value.get("answer")
    steps = value.get("steps", value.get("question_decomposition"))
    return Brief(
        index=index,
        origin=origin,
        question=_text(value.get("question"), "question"),
        answer=None if answer is None else _answer(answer, "answer"),
        steps=tuple(_steps(steps, "steps" if "steps" in value else "question_decomposition")),
    )


def _text(value: JsonValue, field: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise RecordError(field=field, found=repr(value)[:60], expected="text")
    if len(value) > _MOST_CHARS:
        raise RecordError(field=field, found=f"{len(value)} characters", expected=f"at most {_MOST_CHARS}")
    return " ".join(value.split())


def _answer(value: JsonValue, field: str) -> Answer:
    """A typed answer from a bare value, or from an object with type and value."""
    if isinstance(value, dict):
        kind, content, text = value.get("type"), value.get("value"), value.get("text")
        if kind not in get_args(AnswerType) or content is None or not isinstance(text, str | None):
            raise RecordError(field=field, found=repr(value)[:60], expected="a value, or its type and value")
        return Answer(type=cast(AnswerType, kind), value=content, text=text)
    if isinstance(value, bool):
        return Answer(type="boolean", value=value)
    if isinstance(value, int | float):
        return Answer(type="number", value=value)
    if isinstance(value, list) and value:
        return Answer(type="list", value=value)
    return infer(_text(value, field))


def _steps(value: JsonValue, field: str) -> Iterator[SubQuestion]:
    if value is None:
        return
    if not isinstance(value, list):
        raise RecordError(field=field, found=type(value).__name__, expected="an array of sub-questions")
    flat = [leaf for place, item in enumerate(value) for leaf in _leaves(item, f"{field}.{place}")]
    for number, (place, item) in enumerate(flat, start=1):
        question = _text(item.get("question"), f"{place}.question")
        needs = item.get("needs", [])
        if not isinstance(needs, list):
            raise RecordError(field=f"{place}.needs", found=repr(needs)[:60], expected="an array of ids")
        yield SubQuestion(
            id=str(item.get("id", f"s{number}")),
            question=question,
            answer=_answer(item.get("answer"), f"{place}.answer"),
            needs=tuple(str(need) for need in needs),
        )


def _leaves(item: JsonValue, place: str) -> Iterator[tuple[str, dict[str, JsonValue]]]:
    """A sub-question, or in its place the parts that MoreHopQA gives as its `details`.

    The last part has the answer of the whole, so nothing is lost.
    """
    if not isinstance(item, dict):
        raise RecordError(field=place, found=type(item).__name__, expected="an object with question and answer")
    details = item.get("details")
    if isinstance(details, list) and details:
        for number, part in enumerate(details):
            yield from _leaves(part, f"{place}.details.{number}")
    else:
        yield place, item


# --- stage 1 without a model ---------------------------------------------------------------------------------------


def decomposition_from(brief: Brief) -> Decomposition | None:
    """Stage 1 from the steps of a brief; None where it has none, or where they do not pass the checks of the stage.

    The last step gives the final answer, or the brief's answer is none of the steps' and a model has to say how it
    follows.
    """
    if brief.question is None or not brief.steps:
        return None
    steps: list[Step] = []
    for given in brief.steps:
        question = given.question
        for before in sorted(steps, key=lambda step: -len(spelling(step.answer))):
            if len(spelling(before.answer)) > 1:
                question = _referring(question, before)
        steps.append(Step(id=given.id, question=question, answer=given.answer))
    steps = _with_letters(steps)
    answer = brief.answer or steps[-1].answer
    if not equals(steps[-1].answer, spelling(answer)):
        return None
    final = Final(operation="answer", arguments={"value": {"$answer": steps[-1].id}})
    found = Decomposition(question=brief.question, answer=answer, steps=tuple(steps), final=final)
    return None if complaints_about(found, brief=brief) else found


def _with_letters(steps: list[Step]) -> list[Step]:
    """The steps with references to answers of one letter or digit: only to those that nothing else refers to, since
    such a character also stands in texts by chance."""
    used = {need for step in steps for need in step.needs}
    for index, before in enumerate(steps[:-1]):
        if before.id not in used and len(spelling(before.answer)) == 1:
            later = [
                step.model_copy(update={"question": _referring(step.question, before)}) for step in steps[index + 1 :]
            ]
            steps = [*steps[: index + 1], *later]
    return steps


def _referring(question: str, before: Step) -> str:
    """The question with the answer of an earlier step, whole words only, replaced by a reference to it."""
    text = spelling(before.answer)
    case = re.NOFLAG if len(text) == 1 else re.IGNORECASE
    return re.sub(rf"(?<![\w{{]){re.escape(text)}(?![\w}}])", lambda _: f"{{{before.id}}}", question, flags=case)
