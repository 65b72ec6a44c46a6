"""Environments written by hand: one TOML file each, in which only what cannot be inferred must stand.

    question = "How many steps has the tower at Orlen Point?"
    answer = 214
    steps = [{ tool = "tower_steps", arguments = { tower = "Orlen Point" } }]

    [[tools]]
    source = '''
    def tower_steps(tower: str) -> int:
        "The number of steps in a lighthouse tower."
        return {"Orlen Point": 214, "Cape Vane": 187}[tower]
    '''

A step is a sub-question with its answer, the tool that gives it and the gold arguments; goals and gold calls follow
from the steps, and a tool's schema from its function's signature, annotations and docstring. Sources are parsed, never
imported or executed, so a file that is read is well formed, not proved: whether its tools give its answers is for
`toolfoundry check` to say. The same text gives the same environment. `docs/writing-environments.md` is the manual.
"""

from __future__ import annotations

import datetime
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

import orjson
from jsonschema_rs import Validator
from pydantic import Field, JsonValue, ValidationError

from toolfoundry.errors import InputError, RecordError, invalid_field
from toolfoundry.schemas import SchemaError, compile_schema
from toolfoundry.signatures import describe
from toolfoundry.types import (
    Answer,
    AnswerType,
    EnvSpec,
    Goal,
    Message,
    Provenance,
    Record,
    Scenario,
    ScenarioKind,
    SubQuestion,
    Tool,
    ToolCall,
    ToolSchema,
)

__all__ = ["parse_toml", "read_toml", "read_toml_folder"]

_MAX_INTEGER = 1 << 63
_TYPES: dict[type, AnswerType] = {bool: "boolean", int: "number", float: "number", str: "text", list: "list"}


class _Step(Record):
    id: str | None = None
    question: str | None = None
    answer: JsonValue = None
    needs: tuple[str, ...] = ()
    tool: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    echo_ok: bool = False
    action: bool = False


class _Tool(Record):
    name: str | None = None
    description: str | None = None
    parameters: JsonValue = None
    output: JsonValue = None
    source: str


class _Prompt(Record):
    role: Literal["system", "user", "assistant"]
    content: str


class _File(Record):
    question: str = Field(min_length=1)
    kind: ScenarioKind | None = None
    answer: JsonValue
    prompt: tuple[_Prompt, ...] = ()
    state: JsonValue = None
    steps: tuple[_Step, ...] = Field(min_length=1)
    tools: tuple[_Tool, ...] = Field(min_length=1)


def read_toml(path: Path) -> EnvSpec:
    """The environment in one file.

    Raises:
        RecordError: the file is not a well-formed environment; says file, line (of a syntax error), field, found and
            expected.
        InputError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return parse_toml(data.decode(), location=path.name)
    except UnicodeDecodeError as error:
        found = f"bytes that are not UTF-8 ({error.reason})"
        raise RecordError(found=found, expected="TOML text", file=str(path)) from None
    except RecordError as error:
        raise RecordError(
            expected=error.expected, found=error.found, field=error.field, file=str(path), line=error.line
        ) from None


def read_toml_folder(
    folder: Path, *, skip_bad: bool = False, on_bad: Callable[[RecordError], None] | None = None
) -> Iterator[EnvSpec]:
    """The environments in a folder's `*.toml` files, in the order of their names.

    Raises as `read_toml` at the first bad file, or gives it to `on_bad` and goes on; a folder without any is an error.
    """
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        raise InputError(f"{folder}: found no .toml file, expected a folder with one for each environment")
    for path in paths:
        try:
            yield read_toml(path)
        except RecordError as error:
            if not skip_bad:
                raise
            if on_bad is not None:
                on_bad(error)


def parse_toml(text: str, *, location: str | None = None) -> EnvSpec:
    """The environment in a TOML text. Raises RecordError naming the field, and the line of a syntax error."""
    file = _load(text)
    tools = tuple(_tool(tool, f"tools.{index}", file.state is not None) for index, tool in enumerate(file.tools))
    answer = _answer(file.answer, "answer")
    validators = {tool.name: compile_schema(tool.signature.parameters) for tool in tools}
    steps: list[SubQuestion] = []
    goals: list[Goal] = []
    calls: list[ToolCall] = []
    for index, step in enumerate(file.steps):
        field = f"steps.{index}"
        call_id = step.id or (f"a{index + 1}" if step.action else f"s{index + 1}")
        _check_call(step, {tool.name: tool.signature for tool in tools}, validators, field)
        if call_id in {call.id for call in calls}:
            raise RecordError(field=f"{field}.id", found=repr(call_id), expected="an id that no earlier step has")
        calls.append(ToolCall(id=call_id, name=step.tool, arguments=orjson.dumps(step.arguments).decode()))
        if step.action:
            if given := [name for name in ("question", "answer", "needs", "echo_ok") if getattr(step, name)]:
                expected = "no such field in an action, which answers nothing"
                raise RecordError(field=f"{field}.{given[0]}", found=_short(getattr(step, given[0])), expected=expected)
            continue
        earlier = [goal.id for goal in goals]
        if (need := next((need for need in step.needs if need not in earlier), None)) is not None:
            expected = f"the id of an earlier step that has an answer ({', '.join(earlier) or 'there is none'})"
            raise RecordError(field=f"{field}.needs", found=repr(need), expected=expected)
        only = len(file.steps) - sum(step.action for step in file.steps) == 1
        question = step.question or (file.question if only else None)
        if question is None:
            raise RecordError(field=f"{field}.question", found="nothing", expected="the sub-question of this step")
        value = answer if step.answer is None and only else _answer(step.answer, f"{field}.answer")
        steps.append(SubQuestion(id=call_id, question=question, answer=value, needs=step.needs))
        goals.append(Goal(id=call_id, tool=step.tool, answer=value, needs=step.needs, echo_ok=step.echo_ok))
    scenario = Scenario(question=file.question, answer=answer, kind=file.kind or _kind(steps), steps=tuple(steps))
    try:
        return EnvSpec.create(
            scenario=scenario,
            tools=tools,
            goals=tuple(goals),
            gold_calls=tuple(calls),
            prompt=tuple(Message(role=message.role, content=message.content) for message in file.prompt),
            state=_embedded(file.state, "state"),
            provenance=Provenance(source="toml", location=location),
        )
    except ValidationError as error:  # what only the whole shows: two tools of one name, no goal
        raise invalid_field(error) from None


# --- the file ------------------------------------------------------------------------------------------------------


def _load(text: str) -> _File:
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem, _, place = str(error).rpartition(" (at ")
        line = re.match(r"line (\d+)", place)
        number = int(line.group(1)) if line else len(text.splitlines())
        raise RecordError(found=problem or str(error), expected="TOML", line=number) from None
    except RecursionError:
        raise RecordError(found="arrays or tables nested too deeply", expected="TOML") from None
    steps: Any = tree.get("steps")
    tables: list[Any] = [tree, *(steps if isinstance(steps, list) else [])]
    for table in tables:
        if isinstance(table, dict) and type(day := cast("dict[str, Any]", table).get("answer")) is datetime.date:
            table["answer"] = {"type": "date", "value": day.isoformat()}  # elsewhere in the file a date is its text
    if isinstance(prompt := tree.get("prompt"), str):
        tree["prompt"] = [{"role": "user", "content": prompt}]
    try:
        return _File.model_validate(_json(tree, ""))
    except ValidationError as error:
        raise _problem(error) from None


def _problem(error: ValidationError) -> RecordError:
    """One of the problems, an unknown field first: where a name is misspelt, the right one is missing too."""
    problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    place, kind = problems[0]["loc"], problems[0]["type"]
    record = {"steps": _Step, "tools": _Tool, "prompt": _Prompt}.get(str(place[0]), _File) if len(place) > 1 else _File
    field = ".".join(str(part) for part in place)
    words = {"tuple_type": "an array", "too_short": "at least one", "dict_type": "a table"}
    match kind:
        case "missing":
            return RecordError(field=field, found="nothing", expected="a value, this field is required")
        case "extra_forbidden":
            expected = f"one of the fields {', '.join(record.model_fields)}"
            return RecordError(field=field, found="an unknown field", expected=expected)
        case "model_type":
            return RecordError(field=field, found=_short(problems[0]["input"]), expected="a table")
        case _:
            expected = words.get(kind) or problems[0]["msg"].removeprefix("Input should be ")
            return RecordError(field=field, found=_short(problems[0]["input"]), expected=expected)


def _json(value: Any, field: str) -> JsonValue:
    """The value as JSON has it: dates and times as ISO 8601 text."""
    match value:
        case dict():
            table = cast("dict[str, Any]", value)
            return {key: _json(item, f"{field}.{key}".lstrip(".")) for key, item in table.items()}
        case list():
            return [_json(item, f"{field}.{index}") for index, item in enumerate(cast("list[Any]", value))]
        case datetime.date() | datetime.time():
            return value.isoformat()
        case int() if not -_MAX_INTEGER <= value < _MAX_INTEGER:
            raise RecordError(field=field, found="a number of more than 64 bits", expected="one that JSON can hold")
        case float() if not math.isfinite(value):
            raise RecordError(field=field, found=str(value), expected="a number that JSON can hold")
        case _:
            return cast(JsonValue, value)


def _embedded(value: JsonValue, field: str) -> JsonValue:
    """A value, or what JSON text says; a bare string is always JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise RecordError(field=field, found=f"malformed JSON ({error})", expected="JSON text") from None


def _kind(steps: list[SubQuestion]) -> ScenarioKind:
    """What the edges say: one step, independent steps, one chain through all steps, or a mixture."""
    if len(steps) <= 1:
        return "single_hop"
    if not any(step.needs for step in steps):
        return "parallel_single_hop"
    depth: dict[str, int] = {}
    for step in steps:
        depth[step.id] = 1 + max((depth[need] for need in step.needs), default=0)
    return "multi_hop" if max(depth.values()) == len(steps) else "parallel_multi_hop"


# --- answers, calls and tools --------------------------------------------------------------------------------------


def _answer(value: JsonValue, field: str) -> Answer:
    """A bare TOML value, or a table of type, value and (where the source spells it otherwise) text."""
    if value is None:
        raise RecordError(field=field, found="nothing", expected="the answer")
    if not isinstance(value, dict):
        return _checked(Answer(type=_TYPES[type(value)], value=value), field)
    try:
        return _checked(Answer.model_validate(value), field)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join([field, *(str(part) for part in first["loc"])])
        expected = f"a table of type ({', '.join(get_args(AnswerType))}), value and, if you like, text"
        raise RecordError(field=place, found=_short(first["input"]), expected=expected) from None


def _checked(answer: Answer, field: str) -> Answer:
    value = answer.value
    match answer.type:
        case "number":
            good, expected = isinstance(value, int | float) and not isinstance(value, bool), "a number"
        case "boolean":
            good, expected = isinstance(value, bool), "true or false"
        case "list":
            parts = cast("list[JsonValue]", value) if isinstance(value, list) else []
            good, expected = bool(parts) and all(isinstance(p, str | int | float) for p in parts), "a list of values"
        case "date":
            good, expected = isinstance(value, str) and _is_date(value), "a date as YYYY-MM-DD"
        case "text":
            good, expected = isinstance(value, str) and bool(value.strip()), "text that is not empty"
    if not good:
        raise RecordError(field=field, found=_short(value), expected=f"{expected} (an answer of type {answer.type})")
    return answer


def _is_date(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _check_call(
    step: _Step, schemas: Mapping[str, ToolSchema], validators: Mapping[str, Validator], field: str
) -> None:
    if step.tool not in schemas:
        expected = f"the name of a tool of this file ({', '.join(schemas)})"
        raise RecordError(field=f"{field}.tool", found=repr(step.tool), expected=expected)
    known = cast("dict[str, JsonValue]", schemas[step.tool].parameters.get("properties") or {})
    if unknown := [name for name in step.arguments if name not in known]:
        expected = f"a parameter of {step.tool} ({', '.join(known) or 'it has none'})"
        raise RecordError(field=f"{field}.arguments", found=repr(unknown[0]), expected=expected)
    if problem := next(validators[step.tool].iter_errors(step.arguments), None):
        place = ".".join([f"{field}.arguments", *(str(part) for part in problem.instance_path)])
        raise RecordError(field=place, expected=f"arguments that {step.tool} takes: {problem.message}")


def _tool(tool: _Tool, field: str, stateful: bool) -> Tool:
    given = _embedded(tool.parameters, f"{field}.parameters")
    try:
        function = describe(
            tool.source, tool.name, given, infer=not _is_schema(given), hidden=("data",) if stateful else ()
        )
    except RecordError as error:
        place = f"{field}.{error.field}" if error.field else field
        raise RecordError(field=place, found=error.found, expected=error.expected) from None
    description = tool.description or function.description
    if not description:
        raise RecordError(field=f"{field}.description", found="nothing", expected="a description or a docstring")
    output = _embedded(tool.output, f"{field}.output")
    _check_schema(function.parameters, f"{field}.parameters")
    if output is not None:
        _check_schema(output, f"{field}.output")
    signature = ToolSchema(
        name=function.name,
        description=description,
        parameters=function.parameters,
        output=cast("dict[str, JsonValue] | None", output),
    )
    return Tool(signature=signature, source=tool.source)


def _check_schema(schema: JsonValue, field: str) -> None:
    if not isinstance(schema, dict):
        raise RecordError(field=field, found=_short(schema), expected="a JSON Schema, which is a table")
    try:
        compile_schema(schema)
    except SchemaError as error:
        raise RecordError(field=".".join([field, *error.path]), expected=f"JSON Schema: {error.problem}") from None


def _is_schema(given: JsonValue) -> bool:
    """Whether `parameters` is a whole JSON Schema; else it adds to what the signature says, parameter by parameter."""
    return isinstance(given, dict) and given.get("type") == "object"


def _short(value: object) -> str:
    text = orjson.dumps(value, default=repr).decode()
    return text[:60] + ("…" if len(text) > 60 else "")
