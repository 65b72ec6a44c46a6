"""The gates that only read: question, answers, schemas and syntax trees. Nothing is executed.

Each gate is a generator of verdicts over one environment. Where an answer is looked for in somebody else's text, short
goldens are skipped and counted as skipped: "yes" or "12" in a description is no leak but a coincidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import orjson
from jsonschema_rs import Validator

from toolfoundry.answers import equals, holds, rules_out, spelling
from toolfoundry.check.report import Verdict
from toolfoundry.check.source import Source, read_source
from toolfoundry.sandbox import ALLOWED_IMPORTS
from toolfoundry.schemas import SchemaError, compile_if_valid, compile_schema
from toolfoundry.types import Answer, EnvSpec, Goal, Tool, ToolCall, ToolSchema

__all__ = [
    "ReadTool",
    "ancestors",
    "document_texts",
    "duplicate_keys",
    "is_choice",
    "read_tools",
    "static_verdicts",
    "telling",
]

TOO_SHORT = "golden too short to tell a leak from a coincidence"
NO_GOLD = "no gold calls are known (`toolfoundry prove` finds them)"
NO_EDGES = "which goal needs which is not known"
UNREAD = "the source cannot be read"
_FROM_SOURCE = (
    "mismatch-required mismatch-optional mismatch-unknown mismatch-missing dead-parameter undefined-name hidden-names "
    "top-level-effects clock-or-randomness forbidden-import dangerous-call"
).split()
_STOP = frozenset("a an and are at by for from in is of on or that the this to was were what which who".split())


class ReadTool(NamedTuple):
    """A tool with its parsed source (None where there is no such function) and a validator of its arguments."""

    tool: Tool
    source: Source | None
    problem: Verdict | None
    validator: Validator | None

    @property
    def properties(self) -> dict[str, dict[str, Any]]:
        found = self.tool.signature.parameters.get("properties")
        properties = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        return {name: value for name, value in properties.items() if isinstance(value, dict)}

    @property
    def required(self) -> list[str]:
        found = self.tool.signature.parameters.get("required")
        return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []

    def accepts(self, arguments: Mapping[str, Any]) -> bool:
        """Whether the arguments are valid under the tool's schema; False where the schema itself is not valid."""
        return self.validator is not None and self.validator.is_valid(dict(arguments))


def telling(answer: Answer) -> bool:
    """Whether an answer says enough that meeting it elsewhere is no coincidence: not yes or no, and at least four
    characters or a number of three digits."""
    if answer.type == "boolean":
        return False
    if answer.type == "number":
        return len(re.sub(r"\D", "", spelling(answer))) >= 3
    return len(spelling(answer).strip()) >= 4


def ancestors(spec: EnvSpec, goal: Goal) -> list[Goal] | None:
    """The goals that must be solved before this one, directly or not; None where the edges are not known."""
    by_id = {other.id: other for other in spec.goals}
    found: dict[str, Goal] = {}
    waiting = [goal]
    while waiting:
        needs = waiting.pop().needs
        if needs is None:
            return None
        fresh = [by_id[need] for need in needs if need not in found]
        found |= {other.id: other for other in fresh}
        waiting += fresh
    return list(found.values())


def is_choice(spec: EnvSpec, goal: Goal) -> bool:
    """Whether a goal chooses among (or ranks) results of earlier calls: then its answer is known before, rightly."""
    parts = [part for part in spelling(goal.answer).split(", ") if part]
    earlier = ancestors(spec, goal) or []
    return bool(earlier) and all(any(equals(other.answer, part) for other in earlier) for part in parts)


def read_tools(spec: EnvSpec) -> dict[str, ReadTool]:
    """Every tool of a specification, parsed."""
    return {tool.name: _read(tool) for tool in spec.tools}


def _read(tool: Tool) -> ReadTool:
    source: Source | None = None
    problem: Verdict | None = None
    try:
        source = read_source(tool.source, tool.name)
    except LookupError as error:
        problem = Verdict("function-missing", tool.name, found=str(error.args[0]), expected=f"def {tool.name}(...)")
    except ValueError as error:
        problem = Verdict("source-invalid", tool.name, found=str(error), expected="Python source that parses")
    except (RecursionError, SyntaxError, MemoryError):
        source = None
        problem = Verdict("source-invalid", tool.name, found="nesting too deep", expected="Python source that parses")
    return ReadTool(tool, source, problem, compile_if_valid(tool.signature.parameters))


def _schema_problem(parameters: Mapping[str, Any]) -> str:
    try:
        compile_schema(parameters)
    except SchemaError as error:
        return str(error)
    if parameters.get("type") != "object":
        return f"type {orjson.dumps(parameters.get('type')).decode()}"
    return ""


def static_verdicts(spec: EnvSpec, tools: Mapping[str, ReadTool]) -> Iterator[Verdict]:
    """The verdicts of every gate of this module over one environment."""
    for read in tools.values():
        yield from _schema(read)
        yield from _code(spec, read)
    yield from _question(spec)
    yield from _goldens(spec, tools)
    yield from _documents(spec)
    yield from _carried(spec, tools)


# --- tools ---------------------------------------------------------------------------------------------------------


def _schema(read: ReadTool) -> Iterator[Verdict]:
    name = read.tool.name
    problem = _schema_problem(read.tool.signature.parameters)
    yield Verdict("schema-invalid", name, found=problem, expected="a JSON Schema of type object")
    wrong: list[str] = []
    for parameter, schema in read.properties.items():
        default = schema.get("default")
        if default is None:
            continue
        validator = compile_if_valid(schema)  # None where the schema itself is wrong: reported above
        if validator is not None and not validator.is_valid(default):
            wrong.append(f"{parameter} = {orjson.dumps(schema['default']).decode()}")
    yield Verdict("default-invalid", name, found="; ".join(wrong), expected="defaults that their schemas accept")


def _code(spec: EnvSpec, read: ReadTool) -> Iterator[Verdict]:
    name, source = read.tool.name, read.source
    for gate in ("source-invalid", "function-missing"):
        hit = read.problem is not None and read.problem.gate == gate
        yield read.problem if hit and read.problem else Verdict(gate, name)
    if source is None:
        for gate in _FROM_SOURCE:
            yield Verdict(gate, name, skipped=UNREAD)
        return
    given = {"data"} if spec.state is not None else set[str]()  # the environment's state, not the model's to give
    own = {parameter.name: parameter for parameter in source.parameters if parameter.name not in given}
    properties, required = read.properties, read.required
    needed = [n for n, p in own.items() if p.required and n in properties and n not in required]
    spare = [n for n in required if n in own and not own[n].required]
    unknown = [n for n in dict.fromkeys([*properties, *required]) if n not in own and not source.open_ended]
    unknown += [n for n in required if n not in properties and n not in unknown]
    missing = [n for n in own if n not in properties]
    positional = [n for n, parameter in own.items() if not parameter.keyword]
    dead = [n for n in source.dead_parameters if n in properties]
    foreign = [module for module in source.imports() if module.partition(".")[0] not in ALLOWED_IMPORTS]
    effects: list[str] = []
    if found := source.effects():
        lines = re.split(r"\r\n|\r|\n", source.text)
        effects = [lines[effect.lineno - 1].strip() for effect in found]
    for gate, found, expected in (
        ("mismatch-required", needed, "these in `required`"),
        ("mismatch-optional", spare, "these left out of `required`"),
        ("mismatch-unknown", [*unknown, *positional], f"parameters of {name}({', '.join(own)}) that take keywords"),
        ("mismatch-missing", missing, "these in `properties`"),
        ("dead-parameter", dead, "every parameter read in the body"),
        ("undefined-name", source.undefined, "names that the source, or Python, defines"),
        ("hidden-names", source.hidden, "nothing at module level that the function needs"),
        ("top-level-effects", effects, "definitions only"),
        ("clock-or-randomness", source.clock_reads(), "a result that depends on the arguments alone"),
        ("forbidden-import", foreign, "modules of the standard library that the sandbox loads"),
        ("dangerous-call", source.dangerous_calls(), "none"),
    ):
        yield Verdict(gate, name, found=", ".join(found), expected=expected)


# --- answers -------------------------------------------------------------------------------------------------------


def _question(spec: EnvSpec) -> Iterator[Verdict]:
    question, final = spec.scenario.question, spec.scenario.answer
    if final is None:
        yield Verdict("answer-in-question", skipped="there is no final answer")
    else:
        found = spelling(final) if holds(final, question) else ""
        yield Verdict("answer-in-question", found=found, expected="a question that does not contain its answer")
    for goal in spec.goals:
        if not telling(goal.answer):
            yield Verdict("golden-in-question", goal.tool, goal.id, skipped=TOO_SHORT)
            continue
        found = spelling(goal.answer) if holds(goal.answer, question) and not is_choice(spec, goal) else ""
        yield Verdict("golden-in-question", goal.tool, goal.id, found, "to be had from the tool")


def _goldens(spec: EnvSpec, tools: Mapping[str, ReadTool]) -> Iterator[Verdict]:
    seen: list[Goal] = []
    for goal in spec.goals:
        golden = spelling(goal.answer)
        weak = golden if len(golden.strip()) < 4 else ""
        yield Verdict("weak-golden", goal.tool, goal.id, weak, "four characters or more")
        twin = next((o for o in seen if o.tool == goal.tool and equals(o.answer, golden)), None)
        found = f"{golden} (as {twin.id})" if twin else ""
        yield Verdict("duplicate-golden", goal.tool, goal.id, found, "answers that tell the goals of a tool apart")
        seen.append(goal)
        source = tools[goal.tool].source
        if source is None:
            yield Verdict("baked-answer", goal.tool, goal.id, skipped=UNREAD)
            continue
        literals = [str(value) for value in source.literals]
        nowhere = rules_out(goal.answer, "\n".join(literals))
        literal = "" if nowhere else next((text for text in literals if holds(goal.answer, text)), "")
        yield Verdict("baked-answer", goal.tool, goal.id, literal, "an answer that is computed")


def _documents(spec: EnvSpec) -> Iterator[Verdict]:
    texts = [(f"{tool.name}: {place}", text) for tool in spec.tools for place, text in document_texts(tool.signature)]
    everything = "\n".join(text for _, text in texts)
    for goal in spec.goals:
        if not telling(goal.answer):
            yield Verdict("answer-in-document", goal.tool, goal.id, skipped=TOO_SHORT)
            continue
        nowhere = is_choice(spec, goal) or rules_out(goal.answer, everything)
        places = [] if nowhere else [place for place, text in texts if holds(goal.answer, text)]
        found = f"{spelling(goal.answer)!r} in {'; '.join(places)}" if places else ""
        yield Verdict("answer-in-document", goal.tool, goal.id, found, "to be had from the tool's result only")


def document_texts(signature: ToolSchema) -> Iterator[tuple[str, str]]:
    """Every text of a tool's document that could show an answer, with its place."""
    yield "description", signature.description
    waiting: list[tuple[str, Any]] = [("", signature.parameters)]
    while waiting:
        place, schema = waiting.pop()
        if not isinstance(schema, dict):
            continue
        fields = cast("dict[str, Any]", schema)
        for keyword in ("title", "description", "default", "const", "enum", "examples", "example"):
            if keyword in fields:
                value: Any = fields[keyword]
                values = cast("list[Any]", value) if isinstance(value, list) else [value]
                for item in values:
                    text = item if isinstance(item, str) else orjson.dumps(item).decode()
                    yield f"{place} {keyword}".strip(), text
        properties: Any = fields.get("properties")
        if isinstance(properties, dict):
            names = cast("dict[str, Any]", properties)
            waiting += [(f"{place}.{name}".strip("."), part) for name, part in names.items()]
        waiting.append((f"{place}[]", fields.get("items")))
        for keyword in ("anyOf", "oneOf", "allOf"):
            parts: Any = fields.get(keyword)
            waiting += [(place, part) for part in cast("list[Any]", parts)] if isinstance(parts, list) else []


def _carried(spec: EnvSpec, tools: Mapping[str, ReadTool]) -> Iterator[Verdict]:
    calls = {call.id: call for call in spec.gold_calls or ()}
    answers = {goal.id: goal.answer for goal in spec.goals}
    for goal in spec.goals:
        call = calls.get(goal.id)
        if call is None or goal.needs is None:
            yield Verdict("carried-enum", goal.tool, goal.id, skipped=NO_GOLD if call is None else NO_EDGES)
            continue
        if not goal.needs:
            yield Verdict("carried-enum", goal.tool, goal.id, skipped="the goal needs no other")
            continue
        weak: list[str] = []
        for parameter, value in _arguments(call).items():
            schema = tools[goal.tool].properties.get(parameter, {})
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
            if not any(holds(answers[need], text) for need in goal.needs):
                continue
            choice = "an enum" if "enum" in schema else "a boolean" if schema.get("type") == "boolean" else ""
            way = choice or ("a default" if schema.get("default") is not None else "")
            if way:
                weak.append(f"{parameter} = {text}, {way}")
        yield Verdict("carried-enum", goal.tool, goal.id, "; ".join(weak), "a free value without a default")


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        value = orjson.loads(call.arguments)
    except orjson.JSONDecodeError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


# --- the set -------------------------------------------------------------------------------------------------------


def duplicate_keys(spec: EnvSpec) -> tuple[str, str]:
    """Two keys; an environment is a near-duplicate of an earlier accepted one that has either."""
    words = sorted(set(re.findall(r"[^\W_]+", spec.scenario.question.casefold())) - _STOP)
    tools = sorted(f"{tool.name}\0{' '.join(tool.source.split())}" for tool in spec.tools)
    goldens = sorted(f"{goal.tool}\0{spelling(goal.answer).casefold()}" for goal in spec.goals)
    return "question:" + " ".join(words), "tools:" + "\1".join([*tools, "", *goldens])
