"""ToolHop (Ye et al. 2025, arXiv:2501.02506): multi-hop questions whose every hop has a tool of its own.

One row, in a JSON array or a line of JSONL, has `question`, `answer`, `sub_task` (sub-question -> answer), `tools`
(sub-question -> tool document) and `functions` (Python sources in the order of the hops, or tool name -> source). Some
copies hold the inner fields as text, in JSON or as Python literals; some have `gold_calls`, one Python call a function.
Text is only ever parsed, as JSON or by `ast.literal_eval`.

A goal is a sub-question with its tool and answer; without an answer it is none. Which goals need which others is not
told (`toolfoundry prove` finds it); a step shows as its needs the earlier steps whose answers its question quotes.

Where documents of a row share a name, the second gets `_2` in document and source: each is then a tool of its own. (The
release looks code up by name and reaches one of them.) Each is paired with the function of its name whose parameters
are most like its own.

Not covered: writing the format.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import orjson
from pydantic import JsonValue, ValidationError

from toolfoundry.answers import holds, infer
from toolfoundry.errors import InputError, RecordError, invalid_field, skip_or_raise
from toolfoundry.sources import find_function, parse_source
from toolfoundry.types import (
    EnvSpec,
    Goal,
    Message,
    Provenance,
    Scenario,
    SubQuestion,
    Tool,
    ToolCall,
    ToolSchema,
)

__all__ = ["MODES", "Mode", "from_toolhop_row", "read_toolhop", "toolhop_prompt"]

Mode = Literal["direct", "mandatory", "free"]
MODES: tuple[Mode, ...] = ("direct", "mandatory", "free")

_MANDATORY = (
    "Call a tool at every step. Do not rely on what you know yourself: the final answer, too, has to come out of a "
    "tool.\n"
)
_FORMAT = (
    "How to write the {answer}: a date as YYYY-MM-DD (ISO 8601); a name as Firstname Lastname; anything with a number "
    "as that number alone, in digits and without leading zeros. Keep it as short as possible, and put it into tags: "
    "<answer>YOUR ANSWER</answer>\n"
)
_TASK: dict[Mode, str] = {
    "direct": "Give a short answer to the question below.\n" + _FORMAT.format(answer="answer"),
    "mandatory": "Find the short final answer to the question below with the tools you are given.\n"
    + _MANDATORY
    + _FORMAT.format(answer="final answer"),
    "free": "Find the short final answer to the question below; you are given tools for it.\n"
    + _FORMAT.format(answer="final answer"),
}


def toolhop_prompt(question: str, mode: Mode) -> tuple[Message, ...]:
    """The opening messages. They ask for what the release's prompts ask for, in words of our own."""
    return (Message(role="user", content=f"{_TASK[mode]}Question: {question}"),)


def read_toolhop(
    path: Path,
    *,
    mode: Mode = "free",
    skip_bad: bool = False,
    on_bad: Callable[[RecordError], None] | None = None,
) -> Iterator[EnvSpec]:
    """The environments in a file of ToolHop's rows, in file order, with the prompt of a mode.

    Raises RecordError (file, line or element, field, found, expected) at the first bad row, or gives it to `on_bad`
    and goes on.
    """
    for number, row in _rows(path):
        try:
            yield from_toolhop_row(row, mode=mode, location=f"{path.name}:{number}")
        except RecordError as error:
            skip_or_raise(error.located(str(path), number), skip_bad, on_bad)


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Numbered from 1: the elements of an array, or lines. A line that is no JSON is given as its text."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from error
    if data.lstrip().startswith(b"["):
        try:
            yield from enumerate(cast("list[Any]", orjson.loads(data)), start=1)
        except orjson.JSONDecodeError as error:
            expected = "an array of ToolHop rows, or one row a line"
            raise RecordError(file=str(path), found=f"malformed JSON ({error})", expected=expected) from None
        return
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            try:
                yield number, orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield number, f"malformed JSON ({error})"


def from_toolhop_row(row: object, *, mode: Mode = "free", location: str | None = None) -> EnvSpec:
    """The environment in one row. Raises RecordError naming the field."""
    if not isinstance(row, dict):
        found = row[:100] if isinstance(row, str) else type(row).__name__
        raise RecordError(found=found, expected="one ToolHop row as a JSON object")
    fields = cast("dict[str, Any]", row)
    question = _text(fields.get("question"), "question")
    answer = infer(_text(fields.get("answer"), "answer"))
    answers = _object(fields, "sub_task")
    hops = _hops(fields)
    goals: list[Goal] = []
    steps: list[SubQuestion] = []
    for hop in hops:
        golden = answers.get(hop.question)
        if golden is None or not (text := str(golden).strip()):  # offered all the same, as a distractor is
            continue
        wanted = infer(text)
        needs = tuple(step.id for step in steps if holds(step.answer, hop.question))
        goals.append(Goal(id=f"g{len(goals) + 1}", tool=hop.tool.name, answer=wanted, needs=None, echo_ok=None))
        steps.append(SubQuestion(id=goals[-1].id, question=hop.question, answer=wanted, needs=needs))
    if not goals:
        raise RecordError(field="tools", found="none that answers a sub-question", expected="at least one")
    gold_calls, changes = _gold_calls(fields, hops, {step.question: step.id for step in steps})
    try:
        return EnvSpec.create(
            scenario=Scenario(question=question, answer=answer, kind="multi_hop", steps=tuple(steps)),
            tools=tuple({hop.tool.name: hop.tool for hop in hops}.values()),
            goals=tuple(goals),
            gold_calls=gold_calls,
            prompt=toolhop_prompt(question, mode),
            provenance=Provenance(
                source="toolhop",
                location=location,
                labels={"data_source": f"ToolHop/{mode.capitalize()}", "split": "test", **_labels(fields)},
                changes=(*(hop.change for hop in hops if hop.change), *changes),
            ),
        )
    except ValidationError as error:
        raise invalid_field(error) from None


def _labels(fields: Mapping[str, Any]) -> dict[str, JsonValue]:
    """What a row says about itself and nobody needs for playing it."""
    names = ("id", "source_id", "domain", "answer_type", "previous_answer_type")
    return {name: fields[name] for name in names if isinstance(fields.get(name), str | int)}


# --- tools ---------------------------------------------------------------------------------------------------------


class _Hop(NamedTuple):
    """A sub-question with its tool, which of the functions that is, and what was changed ("" for nothing)."""

    question: str
    tool: Tool
    function: int
    change: str


def _hops(fields: Mapping[str, Any]) -> list[_Hop]:
    """The sub-questions in the order of their functions, which is that of the hops."""
    documents = _object(fields, "tools")
    sources = _sources(fields)
    trees = [_tree(source, index) for index, source in enumerate(sources)]
    free = set(range(len(sources)))
    paired: list[tuple[int, str, ToolSchema]] = []
    for question, document in documents.items():
        schema = _schema(document, f"tools.{question[:60]}")
        named = {i: names for i, tree in enumerate(trees) if (names := _parameters(tree, schema.name)) is not None}
        if not named:
            expected = f"one for tools.{question[:60]}"
            raise RecordError(field="functions", found=f"no function {schema.name!r}", expected=expected)
        again = [i for i, _, other in paired if other == schema]
        wanted = cast("dict[str, Any]", schema.parameters.get("properties") or {}).keys()
        # The same document twice is one tool; code that is kept by name has one function for two documents.
        options = [i for i in named if i in free] or again or [*named]
        best = min(options, key=lambda i: (len(wanted ^ named[i]), i))
        free.discard(best)
        paired.append((best, question, schema))
    hops: list[_Hop] = []
    taken: dict[str, tuple[int, ToolSchema]] = {}  # name in use -> what for
    for index, question, schema in sorted(paired, key=lambda pair: pair[0]):
        name, number = schema.name, 2
        while taken.get(name, (index, schema)) != (index, schema):
            name, number = f"{schema.name}_{number}", number + 1
        taken[name] = (index, schema)
        tool = Tool(signature=schema, source=sources[index])
        change = "" if name == schema.name else f"a further tool named {schema.name} is called {name}"
        hops.append(_Hop(question, _renamed(tool, name) if change else tool, index, change))
    return hops


def _sources(fields: Mapping[str, Any]) -> list[str]:
    value: object = _parsed(fields.get("functions"), "functions")
    items = [*cast("dict[str, object]", value).values()] if isinstance(value, dict) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in cast("list[object]", items)):
        raise RecordError(field="functions", found=_short(fields["functions"]), expected="a list of Python sources")
    return cast("list[str]", items)


def _tree(source: str, index: int) -> ast.Module:
    try:
        return parse_source(source)
    except ValueError as error:
        expected = "Python source that parses"
        raise RecordError(field=f"functions.{index}", found=str(error), expected=expected) from None


def _parameters(tree: ast.Module, name: str) -> dict[str, None] | None:
    """The names of a function's parameters in their order; None where there is no function of that name."""
    function = find_function(tree, name)
    if function is None:
        return None
    spec = function.args
    return dict.fromkeys(argument.arg for argument in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs))


def _schema(document: JsonValue, field: str) -> ToolSchema:
    inner = document.get("function", document) if isinstance(document, dict) else None
    if not isinstance(inner, dict) or not inner.get("name"):
        raise RecordError(field=field, found=_short(document), expected="a tool document with a name")
    nothing: JsonValue = {"type": "object", "properties": {}}
    fields: dict[str, JsonValue] = {"description": "", "parameters": nothing} | inner
    try:
        return ToolSchema.model_validate({name: fields[name] for name in ("name", "description", "parameters")})
    except ValidationError as error:
        raise invalid_field(error, field) from None


def _renamed(tool: Tool, name: str) -> Tool:
    """The tool under another name: in its document, and wherever the word stands in the source."""
    source = re.sub(rf"\b{re.escape(tool.name)}\b", name, tool.source)
    return Tool(signature=tool.signature.model_copy(update={"name": name}), source=source)


# --- gold calls ----------------------------------------------------------------------------------------------------


def _gold_calls(
    fields: Mapping[str, Any], hops: Sequence[_Hop], goals: Mapping[str, str]
) -> tuple[tuple[ToolCall, ...] | None, tuple[str, ...]]:
    """The gold calls, None where the row has none that can be read, and what is to be said about that."""
    value = _parsed(fields.get("gold_calls", []), "gold_calls")
    texts = cast("list[object]", value) if isinstance(value, list) else [value]
    if not texts:
        return None, ()
    try:
        return tuple(_gold_call(text, index, hops, goals) for index, text in enumerate(texts)), ()
    except ValueError as error:
        return None, (f"gold calls left out: {error}",)


def _gold_call(text: object, index: int, hops: Sequence[_Hop], goals: Mapping[str, str]) -> ToolCall:
    """One call written in Python, with literal arguments. Raises ValueError where it is anything else."""
    body = parse_source(text).body if isinstance(text, str) else []
    call = body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(f"{_short(text)} is no call")
    hop = next((hop for hop in hops if hop.function == index), None)
    named = None if hop is None else hop.tool.name if not hop.change else re.sub(r"_\d+$", "", hop.tool.name)
    if hop is None or call.func.id != named:
        raise ValueError(f"{_short(text)} does not call function {index}")
    parameters = [*(_parameters(parse_source(hop.tool.source), hop.tool.name) or ())]
    if len(call.args) > len(parameters) or any(keyword.arg is None for keyword in call.keywords):
        raise ValueError(f"{_short(text)} has arguments without a name")
    names = [*parameters[: len(call.args)], *(cast(str, keyword.arg) for keyword in call.keywords)]
    values = [ast.literal_eval(node) for node in (*call.args, *(keyword.value for keyword in call.keywords))]
    try:
        arguments = orjson.dumps(dict(zip(names, values, strict=True))).decode()
    except TypeError as error:
        raise ValueError(f"{_short(text)}: {error}") from None
    return ToolCall(id=goals.get(hop.question, f"call_{index}"), name=hop.tool.name, arguments=arguments)


# --- fields --------------------------------------------------------------------------------------------------------


def _text(value: object, field: str) -> str:
    """Text that says something; a number is written out."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise RecordError(field=field, found=_short(value), expected="some text")
    return value


def _parsed(value: Any, field: str) -> Any:
    """The value of a field that may be text: JSON, or a Python literal."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise RecordError(field=field, found=_short(value), expected="JSON, or a Python literal") from None


def _object(fields: Mapping[str, Any], field: str) -> dict[str, Any]:
    value: object = _parsed(fields.get(field), field)
    found = cast("dict[object, object]", value) if isinstance(value, dict) else {None: None}
    if not all(isinstance(key, str) for key in found):
        raise RecordError(
            field=field, found=_short(cast(object, value)), expected="an object with sub-questions as keys"
        )
    return cast("dict[str, Any]", found)


def _short(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text[:60] + ("…" if len(text) > 60 else "")
