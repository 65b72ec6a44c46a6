"""τ-bench as FTRL's release stores it: tasks, and a folder for each domain with its tools, documents and database.

    FOLDER/tau-bench.jsonl                  one task a line: instruction, actions, outputs, data_source
    FOLDER/tau-bench/DOMAIN/tools.json      OpenAI functions
                            codes.json      tool name -> Python source of `f(data, **arguments)`, which changes `data`
                            wiki.md         the policy that the agent must follow: its system prompt
                            *.json          every other file is a table of the database, named as the file

`actions` are the gold calls in their order, `outputs` the texts that the agent must tell the user. The format is that
of Yao et al. 2024 (arXiv:2406.12045), with its tools turned into sources. Nothing is executed here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson
from pydantic import JsonValue, ValidationError

from toolfoundry.errors import InputError, RecordError
from toolfoundry.reward import arguments_of
from toolfoundry.sources import parse_source
from toolfoundry.types import Record, Tool, ToolCall, ToolSchema

__all__ = ["TauBench", "TauDomain", "TauTask", "read_taubench"]

_TASKS, _DOMAINS = "tau-bench.jsonl", "tau-bench"
_SOURCE = re.compile(r"tau-bench/([A-Za-z0-9_-]+)")


class TauTask(Record):
    """One task. `id` is made of its content, so that it is the same in any part of the set.

    `actions` lead to the database that must be reached; none means that it must stay as it is. `outputs` must be told
    to the user; `location` is the file and line that the task comes from.
    """

    id: str
    domain: str
    instruction: str
    actions: tuple[ToolCall, ...]
    outputs: tuple[str, ...]
    location: str


class TauDomain(NamedTuple):
    """What the tasks of a domain share. `database`: the tables by their names; no task may change this copy of it."""

    name: str
    wiki: str
    tools: tuple[Tool, ...]
    database: Mapping[str, JsonValue]


class TauBench(NamedTuple):
    """The tasks in the order of the file, and the domains that they name."""

    tasks: tuple[TauTask, ...]
    domains: Mapping[str, TauDomain]


def read_taubench(path: Path) -> TauBench:
    """The tasks and domains in a folder that holds `tau-bench.jsonl` and `tau-bench/`, or of that file itself.

    Raises InputError for a path that is neither, RecordError (file, line, field, found, expected) for what is wrong
    in a file.
    """
    file = path if path.suffix == ".jsonl" else path / _TASKS
    if not file.is_file():
        raise InputError(f"{path}: found no {_TASKS}, expected a folder with {_TASKS} and {_DOMAINS}/DOMAIN/")
    tasks: list[TauTask] = []
    domains: dict[str, TauDomain] = {}
    times: dict[str, int] = {}
    for number, line in enumerate(_bytes(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = _row(line)
            name = _domain_name(row)
            if name not in domains:
                domains[name] = _domain(file.parent / _DOMAINS / name, name)
            task = _task(row, domains[name], f"{file.name}:{number}")
        except RecordError as error:
            raise error if error.file else error.located(str(file), number) from None
        times[task.id] = times.get(task.id, 0) + 1
        if times[task.id] > 1:  # the same row once more is another task
            task = task.model_copy(update={"id": f"{task.id}-{times[task.id]}"})
        tasks.append(task)
    if not tasks:
        raise RecordError(file=str(file), found="no line", expected="at least one task")
    return TauBench(tuple(tasks), domains)


# --- tasks ---------------------------------------------------------------------------------------------------------


def _row(line: bytes) -> dict[str, Any]:
    try:
        row: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise RecordError(found=f"malformed JSON ({error})", expected="one task as a JSON object") from None
    if not isinstance(row, dict):
        raise RecordError(found=_short(row), expected="one task as a JSON object")
    return cast("dict[str, Any]", row)


def _domain_name(row: dict[str, Any]) -> str:
    source = row.get("data_source")
    if not isinstance(source, str) or not (match := _SOURCE.fullmatch(source)):
        raise RecordError(field="data_source", found=_short(source), expected="tau-bench/ and the name of a domain")
    return match.group(1)


def _task(row: dict[str, Any], domain: TauDomain, location: str) -> TauTask:
    instruction, outputs = row.get("instruction"), row.get("outputs")
    if not isinstance(instruction, str) or not instruction.strip():
        raise RecordError(field="instruction", found=_short(instruction), expected="what the user knows and wants")
    if not isinstance(outputs, list) or not all(isinstance(text, str) and text for text in cast("list[Any]", outputs)):
        raise RecordError(
            field="outputs",
            found=_short(row["outputs"]) if "outputs" in row else "nothing",
            expected="a list of strings, none of them empty",
        )
    told = cast("list[str]", outputs)
    actions = _actions(row, {tool.name for tool in domain.tools})
    content = [domain.name, instruction, [[call.name, call.arguments] for call in actions], told]
    digest = hashlib.sha256(orjson.dumps(content)).hexdigest()
    return TauTask(
        id=f"{domain.name}-{digest[:12]}",
        domain=domain.name,
        instruction=instruction,
        actions=actions,
        outputs=tuple(told),
        location=location,
    )


def _actions(row: dict[str, Any], names: set[str]) -> tuple[ToolCall, ...]:
    actions: Any = row.get("actions")
    if not isinstance(actions, list):
        raise RecordError(field="actions", found=_short(actions), expected="a list of calls")
    calls: list[ToolCall] = []
    for index, action in enumerate(cast("list[Any]", actions)):
        field = f"actions.{index}"
        try:
            function = action["function"]
            call = ToolCall(id=f"gold_{index}", name=function["name"], arguments=function["arguments"])
        except (KeyError, TypeError, ValidationError):
            expected = "a call with function.name and function.arguments (JSON text)"
            raise RecordError(field=field, found=_short(action), expected=expected) from None
        if call.name not in names:
            raise RecordError(field=f"{field}.function.name", found=repr(call.name), expected=f"one of {sorted(names)}")
        if arguments_of(call) is None:
            expected = "JSON text of an object"
            raise RecordError(field=f"{field}.function.arguments", found=_short(call.arguments), expected=expected)
        calls.append(call)
    return tuple(calls)


# --- domains -------------------------------------------------------------------------------------------------------


def _domain(folder: Path, name: str) -> TauDomain:
    if not folder.is_dir():
        raise RecordError(field="data_source", found=repr(name), expected=f"a domain with a folder {folder}")
    tables = {file.stem: _json(file) for file in sorted(folder.glob("*.json")) if file.stem not in ("tools", "codes")}
    if not tables:
        raise InputError(f"{folder}: found no table of the database, expected files such as users.json")
    try:
        wiki = _bytes(folder / "wiki.md").decode()
    except UnicodeDecodeError as error:
        raise RecordError(file=str(folder / "wiki.md"), found=str(error), expected="text in UTF-8") from None
    return TauDomain(name, wiki, _tools(folder), tables)


def _tools(folder: Path) -> tuple[Tool, ...]:
    file, code_file = folder / "tools.json", folder / "codes.json"
    entries, codes = _json(file), _json(code_file)
    if not isinstance(entries, list) or not entries:
        raise RecordError(file=str(file), found=_short(entries), expected="a list of OpenAI functions")
    if not isinstance(codes, dict):
        raise RecordError(file=str(code_file), found=_short(codes), expected="an object from tool name to source")
    tools: list[Tool] = []
    for index, entry in enumerate(cast("list[Any]", entries)):
        try:
            schema = ToolSchema.from_function(entry)
        except RecordError as problem:
            found = _short(entry)
            raise RecordError(file=str(file), field=str(index), found=found, expected=problem.expected) from None
        if any(tool.name == schema.name for tool in tools):
            found = f"a second tool named {schema.name!r}"
            raise RecordError(file=str(file), field=str(index), found=found, expected="distinct names")
        tools.append(Tool(signature=schema, source=_source(code_file, codes, schema.name)))
    return tuple(tools)


def _source(file: Path, codes: dict[str, JsonValue], name: str) -> str:
    source = codes.get(name)
    if not isinstance(source, str):
        raise RecordError(file=str(file), field=name, found=_short(source), expected="Python source")
    try:
        parse_source(source)
    except ValueError as error:
        raise RecordError(file=str(file), field=name, found=str(error), expected="Python source that parses") from None
    return source


def _json(file: Path) -> JsonValue:
    try:
        return orjson.loads(_bytes(file))
    except orjson.JSONDecodeError as error:
        raise RecordError(file=str(file), found=f"malformed JSON ({error})", expected="JSON") from None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error


def _short(value: object) -> str:
    text = orjson.dumps(value, default=repr).decode() if value is not None else "nothing"
    return text[:60] + ("…" if len(text) > 60 else "")
