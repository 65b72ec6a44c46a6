"""FTRL's published record format, in and out.

One row is one JSON object: `messages` (one user message), and, as JSON *text*, `tools` (OpenAI functions), `codes`
(tool name -> Python source) and `unsolved_set` (tool name -> its golden answers), with `solve_rate`, `data_source`
("self/" + scenario), `split` and `answer`. Forks of the data add `gt_tool_call`, JSON text of the gold calls.

A row that is imported and exported again has the same bytes. Rows hold no sub-questions, no edges and (in the
release) no gold calls: goals get the ids g1, g2, ... in the order of `unsolved_set`, with unknown `needs`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast, get_args

import orjson
from pydantic import JsonValue, ValidationError

from toolfoundry.answers import infer, spelling
from toolfoundry.errors import InputError, RecordError, invalid_field, skip_or_raise
from toolfoundry.sources import parse_source
from toolfoundry.types import EnvSpec, Goal, Message, Provenance, Scenario, ScenarioKind, Tool, ToolCall, ToolSchema

__all__ = ["from_row", "read_ftrl", "to_row", "unsolved_set"]

_FIELDS = ("messages", "tools", "codes", "unsolved_set", "solve_rate", "data_source", "split", "answer")


def read_ftrl(
    path: Path, *, skip_bad: bool = False, on_bad: Callable[[RecordError], None] | None = None
) -> Iterator[EnvSpec]:
    """The environments in a JSONL file of FTRL rows, in file order.

    Raises RecordError (file, line, field, found, expected) at the first bad row, or gives it to `on_bad` and goes on.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield from_row(line, location=f"{path.name}:{number}")
            except RecordError as error:
                skip_or_raise(error.located(str(path), number), skip_bad, on_bad)


def from_row(line: bytes, *, location: str | None = None) -> EnvSpec:
    """The environment in one row. Raises RecordError naming the field."""
    try:
        text = line.decode().rstrip("\r\n")
        row: Any = orjson.loads(text)
    except (UnicodeDecodeError, orjson.JSONDecodeError) as error:
        raise RecordError(found=f"malformed JSON ({error})", expected="one FTRL row as a JSON object") from None
    if not isinstance(row, dict):
        raise RecordError(found=type(row).__name__, expected="one FTRL row as a JSON object")
    fields = cast("dict[str, JsonValue]", row)
    tools = _tools(fields)
    goals = _goals(fields, {tool.name for tool in tools})
    prompt = _prompt(fields)
    source = _text(fields, "data_source", "")
    kind = source.removeprefix("self/")
    answer = _text(fields, "answer")
    provenance = Provenance(
        source="ftrl",
        location=location,
        labels={key: fields[key] for key in ("data_source", "split", "solve_rate") if key in fields},
    )
    try:
        spec = EnvSpec.create(
            scenario=Scenario(
                question=_question(prompt),
                answer=infer(answer) if answer.strip() else None,
                kind=cast(ScenarioKind, kind) if kind in get_args(ScenarioKind) else None,
            ),
            tools=tools,
            goals=goals,
            gold_calls=_gold_calls(fields, goals),
            prompt=prompt,
            provenance=provenance,
        )
    except ValidationError as error:
        raise invalid_field(error) from None
    if to_row(spec, with_gold="gt_tool_call" in fields) != text:
        spec = spec.replace(provenance=provenance.model_copy(update={"original": text}))
    return spec


def to_row(spec: EnvSpec, *, with_gold: bool = False) -> str:
    """One row of JSON text, without its newline. Raises InputError where the format cannot hold the environment."""
    if spec.state is not None:
        raise InputError(f"environment {spec.id}: has a state, which the FTRL format cannot hold")
    if with_gold and spec.gold_calls is None:
        raise InputError(f"environment {spec.id}: has no gold calls to export; run `toolfoundry prove` first")
    original = spec.provenance.original
    if original is not None and (not with_gold or "gt_tool_call" in orjson.loads(original)):
        return original
    labels = spec.provenance.labels
    prompt = spec.prompt or (Message(role="user", content=spec.scenario.question),)
    row: dict[str, JsonValue] = {
        "messages": [{"role": message.role, "content": message.content} for message in prompt],
        "tools": _python_json([tool.signature.as_function() for tool in spec.tools]),
        "codes": _python_json({tool.name: tool.source for tool in spec.tools}),
        "unsolved_set": _python_json(unsolved_set(spec.goals)),
        "solve_rate": labels.get("solve_rate", 0.0),
        "data_source": labels.get("data_source", f"self/{spec.scenario.kind}" if spec.scenario.kind else "self"),
        "split": labels.get("split", "train"),
        "answer": spelling(spec.scenario.answer) if spec.scenario.answer else "",
    }
    if with_gold:
        gold = [{"name": call.name, "parameters": orjson.loads(call.arguments)} for call in spec.gold_calls or ()]
        row["gt_tool_call"] = _python_json(gold)
    return _python_json(row)


def unsolved_set(goals: Iterable[Goal]) -> dict[str, list[str]]:
    """Tool name -> the answers that calls to it are still to give, as the format spells them."""
    answers: dict[str, list[str]] = {}
    for goal in sorted(goals, key=lambda goal: _natural(goal.id)):
        answers.setdefault(goal.tool, []).append(spelling(goal.answer))
    return answers


# --- fields --------------------------------------------------------------------------------------------------------


def _text(row: dict[str, JsonValue], field: str, default: str | None = None) -> str:
    value = row.get(field, default)
    if not isinstance(value, str):
        raise RecordError(field=field, found=_short(value) if field in row else "nothing", expected="a string")
    return value


def _embedded(row: dict[str, JsonValue], field: str, kind: type) -> Any:
    """A field that holds JSON as text."""
    text = _text(row, field)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RecordError(field=field, found=f"malformed JSON ({error})", expected="JSON text") from None
    if not isinstance(value, kind):
        raise RecordError(field=field, found=_short(value), expected=f"JSON text of a {kind.__name__}")
    return value


def _tools(row: dict[str, JsonValue]) -> tuple[Tool, ...]:
    codes: dict[str, Any] = _embedded(row, "codes", dict)
    tools: list[Tool] = []
    for index, entry in enumerate(_embedded(row, "tools", list)):
        field = f"tools[{index}]"
        try:
            schema = ToolSchema.from_function(entry)
        except RecordError as problem:
            raise RecordError(field=field, found=_short(entry), expected=problem.expected) from None
        source = codes.get(schema.name)
        if not isinstance(source, str):
            raise RecordError(field=f"codes.{schema.name}", found=_short(source), expected="Python source")
        _check_source(schema.name, source)
        if any(tool.name == schema.name for tool in tools):
            raise RecordError(field=field, found=f"a second tool named {schema.name!r}", expected="distinct names")
        tools.append(Tool(signature=schema, source=source))
    return tuple(tools)


def _check_source(name: str, source: str) -> None:
    """A tool that can never run is better found here than in a rollout."""
    try:
        parse_source(source)
    except ValueError as error:
        raise RecordError(field=f"codes.{name}", found=str(error), expected="Python source that parses") from None


def _goals(row: dict[str, JsonValue], names: set[str]) -> tuple[Goal, ...]:
    goals: list[Goal] = []
    for tool, answers in _embedded(row, "unsolved_set", dict).items():
        field = f"unsolved_set.{tool}"
        if tool not in names:
            raise RecordError(field=field, found="a tool that is not in 'tools'", expected=f"one of {sorted(names)}")
        if not isinstance(answers, list) or not all(isinstance(a, str) for a in cast("list[object]", answers)):
            raise RecordError(field=field, found=_short(cast(object, answers)), expected="a list of strings")
        for golden in cast("list[str]", answers):
            if not golden.strip():
                raise RecordError(field=field, found="an empty golden answer", expected="some text")
            goals.append(Goal(id=f"g{len(goals) + 1}", tool=tool, answer=infer(golden), needs=None, echo_ok=None))
    if not goals:
        raise RecordError(field="unsolved_set", found="no golden answer", expected="at least one")
    return tuple(goals)


def _gold_calls(row: dict[str, JsonValue], goals: tuple[Goal, ...]) -> tuple[ToolCall, ...] | None:
    """A fork's `gt_tool_call`: each call is taken for the next goal of its tool."""
    if "gt_tool_call" not in row:
        return None
    free = list(goals)
    calls: list[ToolCall] = []
    for index, entry in enumerate(_embedded(row, "gt_tool_call", list)):
        try:
            name, parameters = entry["name"], entry["parameters"]
        except (KeyError, TypeError):
            raise RecordError(
                field=f"gt_tool_call[{index}]", found=_short(entry), expected="an object with name and parameters"
            ) from None
        goal = next((goal for goal in free if goal.tool == name), None)
        if goal is not None:
            free.remove(goal)
        arguments = orjson.dumps(parameters).decode()
        calls.append(ToolCall(id=goal.id if goal else f"call_{index}", name=str(name), arguments=arguments))
    return tuple(calls)


def _prompt(row: dict[str, JsonValue]) -> tuple[Message, ...]:
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RecordError(field="messages", found=_short(messages), expected="a list of messages")
    return tuple(_message(message, index) for index, message in enumerate(messages))


def _message(value: JsonValue, index: int) -> Message:
    try:
        return Message.model_validate(value)
    except ValidationError as error:
        raise invalid_field(error, f"messages.{index}") from None


def _question(prompt: tuple[Message, ...]) -> str:
    """The release's prompt ends in "Question: ..."; without that the whole message is the question."""
    content = prompt[-1].content
    return content.rpartition("\nQuestion: ")[2].strip()


def _python_json(value: Any) -> str:
    """JSON as the release writes it: `json.dumps` with its default separators, without ASCII escapes."""
    return json.dumps(value, ensure_ascii=False)


def _natural(name: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name))


def _short(value: object) -> str:
    text = orjson.dumps(value, default=repr).decode() if value is not None else "nothing"
    return text[:60] + ("…" if len(text) > 60 else "")
