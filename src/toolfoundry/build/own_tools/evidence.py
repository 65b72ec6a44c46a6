"""Evidence first: which calls of a tool work, and what they give, found by running it in the sandbox.

Arguments are tried by type: choices, examples in the document, keys and literals of the source, results of other tools
(which is how identifiers are found), defaults, small numbers. What worked once is varied one parameter at a time. A
tool is kept if some call works, if all results repeat in another sandbox (other entropy, another date on its clock,
other addresses), and if the gates of `toolfoundry.check` have nothing against it; otherwise it is listed with the
reason.

All is the same for the same file: nothing is drawn from a seed of the user's.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import math
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import orjson
from pydantic import JsonValue

from toolfoundry.answers import infer, scalars
from toolfoundry.build.own_tools.functions import probe_spec
from toolfoundry.build.own_tools.given import GivenTools, Unusable
from toolfoundry.build.own_tools.naming import akin
from toolfoundry.check.audit import examine
from toolfoundry.check.executed import failed
from toolfoundry.check.gates import GATES
from toolfoundry.check.source import read_source
from toolfoundry.check.workers import own_workers
from toolfoundry.placeholders import placeholder_arguments
from toolfoundry.sandbox import Sandbox
from toolfoundry.schemas import compile_schema
from toolfoundry.seeds import generator
from toolfoundry.sources import parse_source
from toolfoundry.types import Proof, Scenario, Tool, ToolCall, ToolResult, Trial

__all__ = ["Evidence", "Observation", "Studied", "gather", "read_result"]

CALL_S = 0.25  # CPU seconds of a call, as in the gates
_ROUNDS = 4  # results of one round are arguments of the next
_MOST_CALLS = 320  # of a tool in a round
_MOST_VALUES = 40  # of a parameter
_MOST_KEPT = 120  # observations of a tool
_MOST_BASES, _MOST_VARIANTS = 8, 10
_MOST_TEXT = 120  # characters of a value that is passed on to another tool
_NONSENSE = "Vrelk Oszqa"
_REFUSED = ("PermissionError", "Operation not permitted", "ModuleNotFoundError", "urlopen error", "socket")
_JSON_KINDS = ("dict", "list", "str", "int", "float", "bool")
_QUOTED = re.compile(r"`([^`\n]{1,60})`|\"([^\"\n]{1,60})\"|(?<!\w)'([^'\n]{1,60})'(?!\w)")
_NUMBERS: tuple[int, ...] = (1, 2, 3, 5, 10, 25, 100, 1000)
_PLAIN_TEXTS = ("2025-03-14", "2026-01-01", "2024-11-30", "https://example.org/", "/tmp/example.txt")

Arguments = dict[str, JsonValue]


class Observation(NamedTuple):
    """A call that worked. `value`: its result as JSON; `content`: as a model reads it."""

    tool: str
    arguments: Arguments
    value: JsonValue
    content: str


class Studied(NamedTuple):
    """A tool with what is known about it.

    tool: its document has an output schema, read off the results. trials: calls that show that parameters matter.
    keyed: required parameters that name something, since nonsense in their place is refused. plain: results of calls
    with placeholders, which anybody can make.
    """

    tool: Tool
    observations: tuple[Observation, ...]
    trials: tuple[Trial, ...]
    keyed: frozenset[str]
    plain: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.tool.name


class Evidence(NamedTuple):
    """The tools that can be used, in the order of the file, and why others cannot. `calls`: how many were made."""

    tools: tuple[Studied, ...]
    unusable: tuple[Unusable, ...]
    calls: int


class _Known(NamedTuple):
    """A value that a tool has given."""

    tool: str
    field: str
    value: str | int | float


async def gather(given: GivenTools, sandbox: Sandbox, on_progress: Callable[[int], None] | None = None) -> Evidence:
    """Runs every function of a file, as its parameters allow. `on_progress` is called with 1 for each tool judged."""
    searches = [_Search(tool, given.examples.get(tool.name, ()), sandbox) for tool in given.tools]
    known: list[_Known] = []
    for round_ in range(_ROUNDS):
        found = [await search.look(known, round_) for search in searches]
        fresh = [value for values in found for value in values if value not in known]
        known += dict.fromkeys(fresh)
        if not fresh:
            break
    studied: list[Studied] = []
    unusable = list(given.unusable)
    with Sandbox(sandbox.limits) as elsewhere:
        for search in searches:
            judged = await search.judge(known, elsewhere)
            if isinstance(judged, Studied):
                studied.append(judged)
            else:
                unusable.append(Unusable(search.tool.name, judged))
            if on_progress is not None:
                on_progress(1)
    return Evidence(tuple(studied), tuple(unusable), sum(search.calls for search in searches))


def read_result(content: str) -> JsonValue:
    """A result's text as the JSON value that it shows; text as it is."""
    if content in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[content]
    if content[:1] in ("{", "[") or re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", content):
        with contextlib.suppress(orjson.JSONDecodeError):
            return cast(JsonValue, orjson.loads(content))
    return content


class _Search:
    """The search for calls of one tool that work."""

    def __init__(self, tool: Tool, examples: Sequence[Mapping[str, object]], sandbox: Sandbox) -> None:
        self.tool, self.sandbox, self.calls = tool, sandbox, 0
        self.spec = probe_spec(tool)
        self.properties = cast("dict[str, dict[str, Any]]", tool.signature.parameters["properties"])
        self.required = cast("list[str]", tool.signature.parameters["required"])
        self.examples = [cast(Arguments, {**example}) for example in examples]
        self._valid = compile_schema(tool.signature.parameters).is_valid
        self._literals = _literals(tool.source, tool.name)
        self._tried: dict[bytes, tuple[Arguments, ToolResult]] = {}
        self._lost = False  # it does not come back: no use in trying on

    async def look(self, known: Sequence[_Known], round_: int) -> list[_Known]:
        """Tries calls with what is known now; returns the values in all results so far."""
        values = {name: self._values(name, schema, known) for name, schema in self.properties.items()}
        asked = [example for example in self.examples if round_ == 0]
        asked += self._combined({name: values[name] for name in self.required}, round_)
        await self._try(asked)
        if not self._worked() and len(self.required) < len(values):
            await self._try(self._combined(values, round_))
        worked = self._worked()
        bases = worked[:: max(1, len(worked) // _MOST_BASES)][:_MOST_BASES]
        await self._try(
            {**base.arguments, name: value}
            for base in bases
            for name in values
            for value in values[name][:_MOST_VARIANTS]
        )
        return [
            _Known(self.tool.name, field, value)
            for observation in self._worked()
            for field, value in _passed_on(observation.value, self.tool.name)
        ]

    async def judge(self, known: Sequence[_Known], elsewhere: Sandbox) -> Studied | str:
        """The tool with its evidence, or why it cannot be used. Workers of the same sandbox are forks of one process,
        where objects have the same addresses: results are repeated in another one."""
        if not self._tried:
            return "no arguments could be made for it"
        worked = self._worked()
        if not worked:
            return self._why_none()
        if (kind := await self._kind_of_result(worked[0])) not in _JSON_KINDS:
            return f"its result is of type {kind}, expected {', '.join(_JSON_KINDS)}"
        async with own_workers(self.spec, elsewhere, CALL_S) as workers:
            again = await workers.second.run([(self.tool.name, one.arguments) for one in worked])
            self.calls += len(worked)
        async with own_workers(self.spec, self.sandbox, CALL_S) as workers:
            keyed = await self._keyed(worked[0], workers.first.run)
            parameters = self.tool.signature.parameters
            least, most = (placeholder_arguments(parameters, optional=optional) for optional in (False, True))
            plain = await workers.first.run([(self.tool.name, least), (self.tool.name, most)])
            self.calls += 2
        for one, result in zip(worked, again, strict=True):
            if result.content != one.content or result.error is not None:
                call = self._shown(one.arguments)
                return f"{call} gave {one.content[:120]} and then {result.text[:120]}, expected the same twice"
        if not any(True for one in worked for value in scalars(one.value) if value not in (None, "")):
            return f"its results hold nothing, as in {self._shown(worked[0].arguments)} gives {worked[0].content[:60]}"
        output = _schema_of([one.value for one in worked])
        tool = self.tool.model_copy(update={"signature": self.tool.signature.model_copy(update={"output": output})})
        worked.sort(key=lambda one: -self._linked(one, known))
        studied = Studied(
            tool,
            tuple(worked[:_MOST_KEPT]),
            tuple(self._trials(worked)),
            keyed,
            tuple(result.content for result in plain if not failed(result)),
        )
        return await self._fault(studied) or studied

    async def _try(self, asked: Iterable[Arguments]) -> None:
        new: dict[bytes, Arguments] = {}
        for given in asked:
            arguments = {name: value for name, value in given.items() if not self._is_default(name, value)}
            key = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
            if key not in self._tried and key not in new and len(new) < _MOST_CALLS and self._valid(arguments):
                new[key] = arguments
        if not new or self._lost:
            return
        self.calls += len(new)
        async with own_workers(self.spec, self.sandbox, CALL_S) as workers:
            results = await workers.first.run([(self.tool.name, arguments) for arguments in new.values()])
        self._tried |= {key: (new[key], result) for key, result in zip(new, results, strict=True)}
        self._lost = all((result.error or "").startswith(("timeout", "memory", "killed")) for result in results)

    def _is_default(self, name: str, value: JsonValue) -> bool:
        """Whether a value need not be given: no question would say it."""
        default = self.properties.get(name, {}).get("default")
        return default is not None and type(default) is type(value) and default == value

    def _worked(self) -> list[Observation]:
        return [
            Observation(self.tool.name, arguments, read_result(result.content), result.content)
            for arguments, result in self._tried.values()
            if not failed(result) and result.content not in ("", "None", "{}", "[]")
        ]

    # --- what is tried -----------------------------------------------------------------------------------------------

    def _values(self, name: str, schema: Mapping[str, Any], known: Sequence[_Known]) -> list[JsonValue]:
        """Values for one parameter, likely ones first."""
        found: list[JsonValue] = list(schema.get("enum", ()))
        if not found:
            shown = [text for groups in _QUOTED.findall(str(schema.get("description", ""))) for text in groups if text]
            given = [one.value for one in known if akin(one.field, one.tool, name, self.tool.name)]
            others = [one.value for one in known]
            default = [schema["default"]] if "default" in schema else []
            found = [*default, *_typed(schema, shown, given, self._literals, others)]
        unique = {orjson.dumps(value): value for value in found}
        values = list(unique.values())
        return values if len(values) <= _MOST_VALUES else [*values[: _MOST_VALUES - 5], *values[-5:]]  # plain ones too

    def _combined(self, values: Mapping[str, Sequence[JsonValue]], round_: int) -> Iterator[Arguments]:
        """Arguments out of these values, the likely ones first: all of them, or half of the calls and a sample."""
        names, lists = list(values), list(values.values())
        size = math.prod(map(len, lists))
        likely = lists
        if size > _MOST_CALLS:
            most = int((_MOST_CALLS / 2) ** (1 / len(lists)))
            likely = [one[:most] for one in lists]
        ranges = (range(len(one)) for one in likely)
        places: Iterable[tuple[int, ...]] = sorted(itertools.product(*ranges), key=lambda place: (sum(place), place))
        if size > _MOST_CALLS:
            rng = generator("own-tools", self.tool.name, round_)
            others = (tuple(rng.randrange(len(one)) for one in lists) for _ in range(_MOST_CALLS))
            places = itertools.chain(places, others)
        for place in places:
            yield {name: one[index] for name, one, index in zip(names, lists, place, strict=True)}

    # --- what it comes to --------------------------------------------------------------------------------------------

    def _linked(self, one: Observation, known: Sequence[_Known]) -> int:
        """How many arguments are what another tool gave for the same thing."""
        given = {(name, value) for name, value in one.arguments.items() if isinstance(value, str | int | float)}
        return sum(
            (name, k.value) in given and akin(k.field, k.tool, name, self.tool.name) for name, _ in given for k in known
        )

    def _why_none(self) -> str:
        """Of all tries the error that says most: what the sandbox refuses, else the commonest."""
        errors = [(given, result.error or f"error: {result.content}") for given, result in self._tried.values()]
        kinds = Counter(text.partition(":")[0] for _, text in errors)
        refused = [found for found in errors if any(word in found[1] for word in _REFUSED)]
        commonest = kinds.most_common(1)[0][0]
        given, text = refused[0] if refused else next(one for one in errors if one[1].partition(":")[0] == commonest)
        call = f"{self._shown(given)} gives {text[:160]}"
        if refused:
            return f"it needs what the sandbox refuses (files, network, processes): {call}"
        if commonest == "timeout":
            return f"it does not come back: {call}"
        if commonest == "output":
            return f"its result is not JSON, or too large: {call}"
        hint = f"an example in the docstring (`>>> {self.tool.name}(...)`) would show one that does"
        return f"none of {len(errors)} tried calls works: {call}; {hint}"

    def _trials(self, worked: Sequence[Observation]) -> Iterator[Trial]:
        """Calls with another value for each parameter under which the result is another one; a claim to be checked."""
        without: dict[tuple[str, bytes], list[tuple[JsonValue, ToolResult]]] = {}
        for arguments, result in self._tried.values():
            for name in arguments:
                without.setdefault((name, _without(arguments, name)), []).append((arguments[name], result))
        waiting = set(self.properties)
        for one in worked:
            variants: Arguments = {}
            for name in sorted(waiting):
                others = without.get((name, _without(one.arguments, name)), [])
                differing = [
                    (failed(result), index, value)
                    for index, (value, result) in enumerate(others)
                    if value != one.arguments.get(name) and result.text != one.content
                ]
                if differing:
                    variants[name] = min(differing, key=lambda found: found[:2])[2]
            if variants or waiting == set(self.properties):
                yield Trial(tool=self.tool.name, arguments=one.arguments, variants=variants)
            waiting -= variants.keys()
            if not waiting:
                return

    async def _kind_of_result(self, one: Observation) -> str:
        """The type of what a call gives, before it is written out; asked where the function runs."""
        name = self.tool.name
        asking = f"_asked_about = {name}\ndef {name}(**given):\n    return _asked_about(**given).__class__.__name__\n"
        spec = probe_spec(self.tool.model_copy(update={"source": f"{self.tool.source}\n{asking}"}))
        self.calls += 1
        async with own_workers(spec, self.sandbox, CALL_S) as workers:
            [result] = await workers.first.run([(name, one.arguments)])
        return result.content

    async def _keyed(self, one: Observation, run: Any) -> frozenset[str]:
        names = [
            name
            for name in self.required
            if isinstance(one.arguments.get(name), str) and "enum" not in self.properties[name]
        ]
        self.calls += len(names)
        results = await run([(self.tool.name, {**one.arguments, name: _NONSENSE}) for name in names])
        return frozenset(name for name, result in zip(names, results, strict=True) if failed(result))

    async def _fault(self, studied: Studied) -> str:
        """What the gates that judge tools by execution have against it; "" if nothing."""
        one = studied.observations[0]
        value = next(value for value in scalars(one.value) if value not in (None, ""))
        gold = ToolCall(id="s1", name=studied.name, arguments=orjson.dumps(one.arguments).decode())
        answer = infer(value if isinstance(value, str) else orjson.dumps(value).decode())
        goal = self.spec.goals[0].model_copy(update={"answer": answer, "echo_ok": True})
        spec = probe_spec(
            studied.tool, goals=(goal,), gold_calls=(gold,), scenario=Scenario(question=self.tool.name, answer=answer)
        ).model_copy(update={"proof": Proof(version="", goals=(), trials=studied.trials)})
        async with own_workers(spec, self.sandbox, CALL_S) as workers:
            found = await examine(spec, workers)
        self.calls += found.probes.total()
        for verdict in found.verdicts:
            gate = GATES[verdict.gate]
            if verdict.found and gate.unit == "tool" and gate.severity == "defect":
                return f"{gate.title}: found {verdict.found[:240]}, expected {verdict.expected}"
        return ""

    def _shown(self, arguments: Arguments) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        return f"{self.tool.name}({given[:120]})"


def _without(arguments: Arguments, name: str) -> bytes:
    rest = {key: value for key, value in arguments.items() if key != name}
    return orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)


def _typed(
    schema: Mapping[str, Any],
    shown: Sequence[str],
    given: Sequence[JsonValue],
    literals: Sequence[JsonValue],
    others: Sequence[JsonValue],
) -> list[JsonValue]:
    """Values of a schema's type: shown in the document, given by other tools, of the source, and plain ones."""
    kind = schema.get("type")
    if kind is None and isinstance(branches := schema.get("anyOf"), list):
        parts = cast("list[dict[str, Any]]", branches)
        return [value for part in parts for value in _typed(part, shown, given, literals, others)]
    match kind:
        case "boolean":
            return [False, True]
        case "integer" | "number":
            numbers = [_number(text) for text in shown]
            every = [*numbers, *given, *_NUMBERS, *literals]
            wanted = int if kind == "integer" else (int, float)
            found = [value for value in every if isinstance(value, wanted) and not isinstance(value, bool)]
            return [*found, 2.5, 0.4] if kind == "number" else cast("list[JsonValue]", found)
        case "array":
            items = cast("dict[str, Any]", schema.get("items", {"type": "string"}))
            singles = list(items.get("enum", ())) or _typed(items, shown, given, literals, others)
            return [singles[:3], singles[:2], *([single] for single in singles[:12]), singles[3:6], singles[2:7]]
        case "object":
            item = schema.get("additionalProperties")
            inner = (
                _typed(cast("dict[str, Any]", item), shown, given, literals, others) if isinstance(item, dict) else []
            )
            keys = [text for text in (*shown, *given, *literals) if isinstance(text, str)]
            pairs = list(zip(keys, itertools.cycle(inner[:5]), strict=False)) if inner else []
            return [dict(pairs[:size]) for size in (2, 1, 3) if len(pairs) >= size]
        case "string" | None:
            texts = [value if isinstance(value, str) else str(value) for value in (*shown, *given)]
            texts += [value for value in (*literals, *others) if isinstance(value, str)]
            return [*(text for text in texts if _can_be_said(text)), *_PLAIN_TEXTS]
        case _:
            return []


def _can_be_said(text: str) -> bool:
    """Whether a text can stand in a question: short, visible, without spaces around it."""
    return 0 < len(text) <= _MOST_TEXT and text == text.strip() and text.isprintable()


def _number(text: str) -> int | float | None:
    value = infer(text).value
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _literals(source: str, name: str) -> list[JsonValue]:
    """The literals of a source: keys of tables from the outermost in, then what is compared, then all others."""
    ranked: list[tuple[int, JsonValue]] = []
    compared: list[JsonValue] = []
    waiting: deque[tuple[ast.AST, int]] = deque([(parse_source(source), 0)])
    while waiting:
        node, depth = waiting.popleft()
        if isinstance(node, ast.Dict):
            for key in node.keys:
                parts = key.elts if isinstance(key, ast.Tuple) else [key]
                ranked += [(depth, cast(JsonValue, part.value)) for part in parts if isinstance(part, ast.Constant)]
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            inner = [part for side in sides for part in getattr(side, "elts", [side])]
            compared += [cast(JsonValue, part.value) for part in inner if isinstance(part, ast.Constant)]
        waiting += [(child, depth + isinstance(node, ast.Dict)) for child in ast.iter_child_nodes(node)]
    keys = [key for _, key in sorted(ranked, key=lambda found: found[0])]
    found = [*keys, *compared, *read_source(source, name).literals]
    usable = [value for value in found if isinstance(value, str | int | float) and not isinstance(value, bool)]
    return list({(type(value), value): value for value in usable}.values())


def _passed_on(value: JsonValue, name: str) -> Iterator[tuple[str, str | int | float]]:
    """The values of a result that another tool may take, each with the name of the field that it stands in."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _passed_on(part, key)
    elif isinstance(value, list):
        for part in value[:8]:
            yield from _passed_on(part, name)
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and len(str(value)) <= _MOST_TEXT:
        yield name, value


def _schema_of(values: Sequence[JsonValue]) -> dict[str, Any]:
    """A JSON Schema that all of the values fit: types and fields, no values."""
    kinds = {_kind(value) for value in values}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    if len(kinds) > 1:
        some = [value for value in values if value is not None]
        inner = _schema_of(some) if len(some) < len(values) else {}
        return {"anyOf": [inner, {"type": "null"}]} if inner else {}
    match kinds.pop() if kinds else "":
        case "object":
            objects = [cast("dict[str, JsonValue]", value) for value in values]
            names = list(dict.fromkeys(name for one in objects for name in one))
            if len(names) > 24 or not all(name.isidentifier() for name in names):  # a table, not a record
                return {"type": "object"}
            parts = {name: _schema_of([one[name] for one in objects if name in one]) for name in names}
            return {"type": "object", "properties": parts}
        case "array":
            items = [item for value in values for item in cast("list[JsonValue]", value)]
            return {"type": "array", "items": _schema_of(items)} if items else {"type": "array"}
        case "":
            return {}
        case kind:
            return {"type": kind}


def _kind(value: JsonValue) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
