"""Does every parameter have an effect? Searched by execution: two schema-valid calls that differ only in it.

The search starts from calls that work (gold calls, placeholders, and placeholders filled with texts of the source,
where the keys of a look-up table stand) and varies one parameter over its enum, its bounds, its default, absence, and
literals of the source. That the value itself is quoted in the result does not count as an effect, nor do two errors.
A call of a trial that breaks its tool is a fault of its own.

Finding an effect proves it; finding none is a strong hint where the search starts from a gold call, and a weak one
where it had to find a call that works. So the two are counted apart, and environments without gold calls not at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import orjson
from pydantic import JsonValue

from toolfoundry.answers import scalars
from toolfoundry.check.executed import NO_BREAK, breaks, failed
from toolfoundry.check.report import Verdict
from toolfoundry.check.static import NO_GOLD, UNREAD, ReadTool
from toolfoundry.check.workers import Arguments, Bench, Call
from toolfoundry.placeholders import placeholder_arguments
from toolfoundry.reward import arguments_of
from toolfoundry.types import EnvSpec, ToolResult

__all__ = ["Effects", "find_effects"]

_GATE, _NOTE = "parameter-without-effect", "effect-not-found"
_MAX_LITERALS, _MAX_BASES, _MAX_PAIRS, _BATCH = 48, 6, 400, 32


class Effects(NamedTuple):
    """The verdicts, and how many calls it took."""

    verdicts: tuple[Verdict, ...]
    calls: int


async def find_effects(spec: EnvSpec, tools: Mapping[str, ReadTool], bench: Bench) -> Effects:
    """Verdicts on each tool of an environment. The trials of its proof, if it has some, are tried before others."""
    if not spec.gold_calls:
        return Effects(tuple(Verdict(gate, name, skipped=NO_GOLD) for name in tools for gate in (_GATE, _NOTE)), 0)
    verdicts: list[Verdict] = []
    search = _Search(spec, bench)
    shown = await search.try_trials(tools)
    for name, read in tools.items():
        if read.source is None or read.validator is None:
            verdicts += [Verdict(_GATE, name, skipped=UNREAD), Verdict(_NOTE, name, skipped=UNREAD)]
            continue
        found = ", ".join(await search.idle_parameters(read, shown.get(name, set())))
        known = search.has_gold(name)
        verdicts += [
            _verdict(_GATE, name, found, "the tool has no gold call to start from" if not known else ""),
            _verdict(_NOTE, name, found, "the tool has a gold call" if known else ""),
        ]
    return Effects((*verdicts, *search.broken), search.calls)


def _verdict(gate: str, name: str, found: str, skipped: str) -> Verdict:
    return Verdict(
        gate, name, found="" if skipped else found, expected="two calls with different results", skipped=skipped
    )


class _Base(NamedTuple):
    """A call to vary, and the gold calls that are played before it where there is a state."""

    arguments: Arguments
    before: tuple[Call, ...] = ()


class _Search:
    """The search in one environment; counts its calls. `broken`: of each trial that breaks its tool."""

    def __init__(self, spec: EnvSpec, bench: Bench) -> None:
        self.calls = 0
        self.broken: list[Verdict] = []
        self._bench = bench
        calls = [(call.name, arguments_of(call)) for call in spec.gold_calls or ()]
        self._gold: list[Call] = [(name, arguments) for name, arguments in calls if arguments is not None]
        self._stateful = spec.state is not None
        self._trials = spec.proof.trials if spec.proof and not self._stateful else ()

    async def try_trials(self, tools: Mapping[str, ReadTool]) -> dict[str, set[str]]:
        """Tool -> the parameters whose effect the trials show; all trials are run at once."""
        tried: list[tuple[str, Arguments, dict[str, Arguments]]] = []
        for trial in self._trials:
            read = tools.get(trial.tool)
            if read is not None and read.accepts(trial.arguments):
                changed = {name: {**trial.arguments, name: value} for name, value in trial.variants.items()}
                good = {name: arguments for name, arguments in changed.items() if read.accepts(arguments)}
                tried.append((trial.tool, trial.arguments, good))
        calls = [(tool, arguments) for tool, base, changed in tried for arguments in (base, *changed.values())]
        self.calls += len(calls)
        given = await self._bench.run(calls) if calls else []
        for (tool, arguments), result in zip(calls, given, strict=True):
            source = tools[tool].source
            if source is not None and result.error is not None and breaks(result, source.own_exceptions):
                found = f"{tool}({orjson.dumps(arguments).decode()[:160]}) gives {result.text[:240]}"
                self.broken.append(Verdict("call-fails", tool, found=found, expected=NO_BREAK))
        results = iter(given)
        shown: dict[str, set[str]] = {}
        for tool, base, changed in tried:
            plain = next(results)
            for name, arguments in changed.items():
                result = next(results)
                works = not (failed(plain) and failed(result))
                if works and _differ(plain, base.get(name), result, arguments[name]):
                    shown.setdefault(tool, set()).add(name)
        return shown

    def has_gold(self, name: str) -> bool:
        return any(tool == name for tool, _ in self._gold)

    async def idle_parameters(self, read: ReadTool, shown: set[str]) -> list[str]:
        """Parameters that are read in the source, but for which no effect was found."""
        source = read.source
        assert source is not None
        waiting = [name for name in read.properties if name not in shown]
        if not waiting:
            return []
        taken = {parameter.name for parameter in source.parameters} - set(source.dead_parameters)
        waiting = [name for name in waiting if name in taken]
        literals = list(dict.fromkeys(source.literals))[:_MAX_LITERALS]
        for base in await self._bases(read, literals):
            if not waiting:
                break
            waiting = [name for name in waiting if not await self._has_effect(read, base, name, literals)]
        return waiting

    async def _bases(self, read: ReadTool, literals: list[str | int | float]) -> list[_Base]:
        """Calls to vary, the gold ones and then others that work; the last resort is one that does not."""
        name, parameters = read.tool.name, read.tool.signature.parameters
        least = placeholder_arguments(parameters)
        most = placeholder_arguments(parameters, optional=True)
        shown = {key: part["examples"][0] for key, part in read.properties.items() if part.get("examples")}
        gold = [_Base(arguments, self._until(i)) for i, (tool, arguments) in enumerate(self._gold) if tool == name]
        tried = [*gold, *(base._replace(arguments={**most, **base.arguments}) for base in gold)]
        tried += [_Base(plain, before) for plain in (least, most, {**least, **shown}) for before in self._stages()]
        texts = [literal for literal in literals if isinstance(literal, str)]
        for plain in (least, most):
            free = [key for key, value in plain.items() if value == "example"]
            if len(free) == 1 or (free and plain is most):
                tried += [_Base({**plain, free[0]: text}) for text in texts]
            elif free:
                pairs = [(a, b) for a in texts for b in texts][:_MAX_PAIRS]
                tried += [_Base({**plain, free[0]: a, free[1]: b}) for a, b in pairs]
        tried = [base for base in tried if read.accepts(base.arguments)]
        results: list[ToolResult] = []
        for before, group in itertools.groupby(tried, key=lambda base: base.before):
            results += await self._run(name, [base.arguments for base in group], before)
        working = [base for base, result in zip(tried, results, strict=True) if not failed(result)]
        return [*working, _Base(least)][: len(gold) + _MAX_BASES]

    def _until(self, index: int) -> tuple[Call, ...]:
        return tuple(self._gold[:index]) if self._stateful else ()

    def _stages(self) -> list[tuple[Call, ...]]:
        """Where in the task a call can be tried: at its start, and, where there is a state, at its end."""
        return [(), self._until(len(self._gold))] if self._stateful else [()]

    async def _has_effect(self, read: ReadTool, base: _Base, name: str, literals: list[str | int | float]) -> bool:
        rest = {key: value for key, value in base.arguments.items() if key != name}
        variants = [rest] if name not in read.required else []
        variants += [base.arguments] if name in base.arguments else []
        variants += [{**rest, name: value} for value in _values(read.properties[name], literals)]
        variants = [arguments for arguments in variants if read.accepts(arguments)]
        first: tuple[ToolResult, JsonValue] | None = None
        success = differs = False
        for start in range(0, len(variants), _BATCH):
            batch = variants[start : start + _BATCH]
            for arguments, result in zip(batch, await self._run(read.tool.name, batch, base.before), strict=True):
                first = first or (result, arguments.get(name))
                differs = differs or _differ(*first, result, arguments.get(name))
                success = success or not failed(result)
            if success and differs:
                return True
        return False

    async def _run(self, name: str, variants: list[Arguments], before: tuple[Call, ...]) -> list[ToolResult]:
        self.calls += len(variants)
        return await self._bench.run([(name, arguments) for arguments in variants], before)


def _differ(one: ToolResult, given: JsonValue, other: ToolResult, changed: JsonValue) -> bool:
    """Whether two results differ, and in more than in that each quotes its value."""
    return one.text != other.text and _masked(one, given) != _masked(other, changed)


def _masked(result: ToolResult, value: JsonValue) -> str:
    """A result without the value that it quotes."""
    text = result.text
    for leaf in scalars(value):
        quoted = leaf if isinstance(leaf, str) else orjson.dumps(leaf).decode()
        for form in {quoted, str(leaf)} if quoted else ():
            text = text.replace(form, "~")
    return text


def _values(schema: Mapping[str, Any], literals: list[str | int | float]) -> Iterator[JsonValue]:
    """Values for one parameter; not all of them fit, the caller asks the validator."""
    if schema.get("enum"):
        yield from schema["enum"]
        return
    for keyword in ("default", "const", "minimum", "maximum", "example"):
        if schema.get(keyword) is not None:
            yield schema[keyword]
    yield from schema.get("examples") or ()
    kinds: Any = schema.get("type", "string")
    for kind in cast("list[str]", kinds) if isinstance(kinds, list) else [kinds]:
        match kind:
            case "boolean":
                yield from (True, False)
            case "integer" | "number":
                numbers = [n for n in literals if isinstance(n, int | float)]
                for value in dict.fromkeys([0, 1, 2, 3, 5, 10, 50, 100, 1000, -1, *numbers]):
                    yield value
                    if value in numbers:
                        yield from (value - 1, value + 1)
            case "array":
                items = schema.get("items")
                part = cast("dict[str, Any]", items) if isinstance(items, dict) else {}
                singles = list(_values(part, literals))
                yield []
                yield from ([single] for single in singles)
                yield from ([a, b] for a, b in itertools.pairwise(singles))
                yield singles[:3]
            case "object":
                yield {}
                properties: Any = schema.get("properties") or {}
                plain = placeholder_arguments(schema, optional=True)
                yield plain
                for key, part in cast("dict[str, Any]", properties).items():
                    for value in _values(cast("dict[str, Any]", part) if isinstance(part, dict) else {}, literals):
                        yield from ({key: value}, {**plain, key: value})
            case _:
                yield from ("example", "2000-01-01", "2030-12-31", "1900-01-01T00:00:00")
                yield from (text for text in literals if isinstance(text, str))
