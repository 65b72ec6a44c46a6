"""Turns what a run compared into other arguments to try: each operand becomes what the tool wanted it to be.

A record of the trace gives wishes (this operand should have been that value); a wish is traced back to the argument
that the operand came from, by equality, case, separators, containment, or through a conversion that the run logged
(`len`, `int`, `strptime`, `replace`). Part of the search program, so: standard library only.

Not covered: operands that several arguments were added or multiplied into.
"""

# A JSON value narrowed by isinstance is a dict or list of unknown: that is what it is.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from toolfoundry.prove.judge import replaced
from toolfoundry.prove.origins import Path, schema_at
from toolfoundry.prove.shapes import Fresh, matching

Arguments = dict[str, Any]
Wish = tuple[Any, Any, int]  # (operand, wanted value, penalty)
_ORDER = frozenset({"Lt", "LtE", "Gt", "GtE"})
_MIRRORED = frozenset({"Eq", "NotEq", "Is", "IsNot"})
_SOME_DATE = datetime.datetime(2020, 1, 15, 10, 30)
_MOST = 80  # keys or items of one container that are tried


def numbers_in(text: str) -> list[int | float]:
    """The numbers that stand in a text, without thousands commas."""
    found = (match.replace(",", "") for match in re.findall(r"-?\d[\d,]*(?:\.\d+)?", text))
    return [float(number) if "." in number else int(number) for number in found if len(number) < 16]


def all_parts(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every part of a JSON value with its path, containers included."""
    if path:
        yield path, value
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from all_parts(item, (*path, key))


@lru_cache(maxsize=4096)
def _squashed(text: str) -> str:
    return re.sub(r"[\W_]+", "", text)


class Proposals:
    """Proposes arguments for one tool.

    Args:
        schema: its JSON Schema. defaults: what each parameter is if not given.
        texts: strings worth trying where a pattern wants one. expressions: arithmetic worth trying in `eval`.
    """

    def __init__(
        self, schema: Any, defaults: Arguments, fresh: Fresh, texts: Sequence[str], expressions: Sequence[str]
    ) -> None:
        self.schema, self.defaults, self.fresh = schema, defaults, fresh
        self.texts, self.expressions = texts, expressions

    def after(self, arguments: Arguments, records: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Arguments, int]]:
        """Arguments to try after a run with `arguments` left these records, each with a penalty (0 is best)."""
        records = list(records)
        parts = list(all_parts(arguments))
        made = [link for record in records if (link := self._conversion(record))]
        seen = set[tuple[str, str]]()
        for record in records:
            for operand, wanted, penalty in self._wishes(record, parts):
                key = (repr(operand)[:200], repr(wanted)[:200])
                if key not in seen:
                    seen.add(key)
                    for found in self._granted(arguments, parts, operand, wanted, made):
                        yield found, penalty

    # --- what the tool wanted ----------------------------------------------------------------------------------------

    def _wishes(self, record: tuple[Any, ...], parts: list[tuple[Path, Any]]) -> Iterator[Wish]:
        match record:
            case ("compare", name, left, right):
                yield from self._compared(name, left, right, parts)
            case ("one_of", value, constants):
                yield from ((value, constant, 0) for constant in constants)
            case ("look_up", container, key):
                yield from self._looked_up(container, key, parts)
            case ("method", name, receiver, args, _):
                yield from self._called(name, receiver, args)
            case ("function", "isinstance", (value, types), _):
                wanted = types if isinstance(types, tuple) else (types,)
                if not isinstance(value, wanted):
                    yield from ((value, self._instance(t), 0) for t in wanted)
            case ("function", "int" | "float", (str() as text, *_), _):
                yield text, "7", 0
            case ("function", "eval", (str() as text, *_), _):
                yield from ((text, expression, 0) for expression in self.expressions)
            case _:
                pass

    def _compared(self, name: str, left: Any, right: Any, parts: list[tuple[Path, Any]]) -> Iterator[Wish]:
        if name in _MIRRORED:
            yield left, right, 0
            yield right, left, 0
        elif name in _ORDER:
            for one, other in ((left, right), (right, left)):
                for step in (0, 1, -1):
                    if isinstance(other, datetime.date):
                        yield one, other + datetime.timedelta(days=step), 1
                    elif isinstance(other, int | float):
                        yield one, other + step, 1 + abs(step)
                    elif step == 0:
                        yield one, other, 1
        elif isinstance(right, str) and isinstance(left, str):
            yield left, right, 0
            yield right, left, 0
            yield right, f"{right} {left}", 1
            yield right, _overlaid(right, left), 1
            yield from ((left, word, 3) for word in right.split()[:8])
        elif isinstance(right, Iterable):
            yield from self._member(left, right, parts)

    def _member(self, item: Any, container: Any, parts: list[tuple[Path, Any]]) -> Iterator[Wish]:
        given = [part for _, part in parts if type(part) is type(container) and part == container]
        if given or (isinstance(container, set | frozenset | list | tuple) and self._collected(container, parts)):
            if isinstance(container, dict):
                yield container, {**container, item: ...}, 0
            else:
                yield list(container), [*container, item], 0
                yield list(container), [item], 0
        if not given:
            yield from ((item, other, 0) for other in itertools.islice(container, _MOST))

    def _collected(self, items: Iterable[Any], parts: list[tuple[Path, Any]]) -> bool:
        """Whether a set or list was made from an argument's items."""
        folded = {str(item).lower() for item in items}
        lists = (part for _, part in parts if isinstance(part, list))
        return bool(folded) and any(folded <= {str(item).lower() for item in part} for part in lists)

    def _looked_up(self, container: Any, key: Any, parts: list[tuple[Path, Any]]) -> Iterator[Wish]:
        if isinstance(container, dict):
            if any(isinstance(part, dict) and part == container for _, part in parts):
                if key not in container:
                    yield container, {**container, key: ...}, 0
                if len(container) <= 8:
                    return
            yield from ((key, other, 0) for other in itertools.islice(container, _MOST) if other != key)
        elif isinstance(container, list) and isinstance(key, int) and key >= len(container):
            yield container, [*container, ...], 0

    def _called(self, name: str, receiver: Any, args: tuple[Any, ...]) -> Iterator[Wish]:
        first = args[0] if args else None
        match name:
            case "startswith" | "endswith" if isinstance(receiver, str):
                for affix in first if isinstance(first, tuple) else (first,):
                    if isinstance(affix, str):
                        yield receiver, affix, 0
                        yield receiver, _overlaid(receiver, affix), 0
                        for gap in (" ", ""):
                            yield receiver, (affix + gap + receiver if name[0] == "s" else receiver + gap + affix), 0
            case "find" | "rfind" | "index" | "count" if isinstance(first, str):
                yield receiver, first, 0
                yield first, receiver, 0
            case "split" | "rsplit" | "partition" if isinstance(receiver, str):
                separator = first if isinstance(first, str) and first else " "
                if separator not in receiver:
                    for size in (2, 3):
                        yield receiver, separator.join(self.fresh.text() for _ in range(size)), 1
                        yield receiver, separator.join(f"{i + 1:02d}" for i in range(size)), 2
            case "strptime" if len(args) == 2 and isinstance(first, str) and isinstance(args[1], str):
                yield first, _SOME_DATE.strftime(args[1]), 0
            case "fromisoformat" if isinstance(first, str):
                yield first, "2020-01-15", 0
            case "loads" if isinstance(first, str):
                yield first, "[]", 1
                yield first, "{}", 1
            case "match" | "search" | "fullmatch" | "findall" | "finditer":
                pattern, text = (first, args[1]) if len(args) > 1 else (getattr(receiver, "pattern", None), first)
                if isinstance(pattern, str) and isinstance(text, str):
                    if example := matching(pattern):
                        yield text, example, 0
                    yield from ((text, other, 1) for other in self.texts if _matches(pattern, other))
            case _:
                pass

    def _instance(self, wanted: Any) -> Any:
        made: dict[Any, Callable[[], Any]] = {str: self.fresh.text, int: lambda: 7, float: lambda: 7.5}
        made |= {bool: lambda: True, list: lambda: [self.fresh.text()], dict: dict[str, Any]}
        return made[wanted]() if wanted in made else None

    # --- which argument that is --------------------------------------------------------------------------------------

    def _conversion(self, record: tuple[Any, ...]) -> tuple[Any, Any, Callable[[Any], Any]] | None:
        """(result, operand, how to make the operand for another result) of a logged conversion."""
        match record:
            case ("function", "len", (list() as items,), result):
                return result, items, lambda size: _sized(items, size)
            case ("function", "len", (str() as text,), result):
                return result, text, lambda size: (text + "a" * 30)[:size] if 0 <= size < 30 else None
            case ("function", "int" | "float", (str() as text,), int() | float() as result):
                return result, text, lambda wanted: f"{wanted:g}" if isinstance(wanted, int | float) else None
            case ("method", "strptime", _, (str() as text, str() as form), datetime.date() as result):
                return result, text, lambda wanted: _formatted(wanted, form)
            case ("method", "fromisoformat", _, (str() as text,), datetime.date() as result):
                return result, text, lambda wanted: _formatted(wanted, "%Y-%m-%d")
            case ("method", "replace", str() as text, (str() as old, str() as new), str() as result) if new and old:
                return result, text, lambda wanted: wanted.replace(new, old) if isinstance(wanted, str) else None
            case _:
                return None

    def _granted(
        self,
        arguments: Arguments,
        parts: list[tuple[Path, Any]],
        operand: Any,
        wanted: Any,
        made: list[tuple[Any, Any, Callable[[Any], Any]]],
    ) -> Iterator[Arguments]:
        """The arguments changed so that the operand is the wanted value, in every way that explains the operand."""
        if isinstance(operand, bool) and isinstance(wanted, bool):
            return
        for result, source, remake in made:
            if type(result) is type(operand) and result == operand and not isinstance(wanted, bool):
                before = remake(wanted)
                if before is not None and before != source:
                    yield from self._granted(arguments, parts, source, before, [])
        absent = [
            n for n, d in self.defaults.items() if n not in arguments and type(d) is type(operand) and d == operand
        ]
        if isinstance(wanted, str | int | float):
            yield from ({**arguments, name: wanted} for name in absent)
        if isinstance(operand, str):
            yield from self._from_texts(arguments, parts, operand, wanted)
        elif isinstance(operand, tuple) and isinstance(wanted, tuple):
            yield from self._from_tuple(arguments, operand, wanted)
        elif isinstance(operand, list | dict | set | frozenset):
            items: Any = list(operand) if isinstance(operand, set | frozenset) else operand
            for path, part in parts:
                if type(part) is type(items) and (part == items or _alike(part, items)):
                    yield replaced(arguments, path, self._filled(wanted, path))
        elif isinstance(operand, int | float) and not isinstance(operand, bool):
            for path, part in parts:
                if isinstance(part, int | float) and not isinstance(part, bool) and part == operand:
                    yield replaced(arguments, path, wanted)
                elif isinstance(part, str) and len(str(operand)) >= 4 and str(operand) in part:
                    yield replaced(arguments, path, part.replace(str(operand), str(wanted)))
        elif isinstance(operand, bool):
            for path, part in parts:
                if part is operand:
                    yield replaced(arguments, path, wanted)

    def _filled(self, wanted: Any, path: Path) -> Any:
        """The wanted container with a fresh value for each `...` in it."""
        if isinstance(wanted, dict):
            return {
                k: self.fresh.value(schema_at(self.schema, (*path, k))) if v is ... else v for k, v in wanted.items()
            }
        if isinstance(wanted, list | tuple | set | frozenset):
            items = list(wanted) if isinstance(wanted, list | tuple) else sorted(wanted, key=repr)
            return [self.fresh.value(schema_at(self.schema, (*path, 0))) if v is ... else v for v in items]
        return wanted

    def _from_texts(
        self, arguments: Arguments, parts: list[tuple[Path, Any]], operand: str, wanted: Any
    ) -> Iterator[Arguments]:
        seen, inside = operand.lower().strip(), list[tuple[int, Path, str]]()
        for path, part in parts:
            if isinstance(part, int | float) and str(part) == operand and isinstance(wanted, str):
                yield from (replaced(arguments, path, number) for number in numbers_in(wanted)[:1])
            if not isinstance(part, str) or not part:
                continue
            given = part.lower().strip()
            if given == seen:
                yield replaced(arguments, path, self._filled(wanted, path))
            if given == seen or not isinstance(wanted, str) or not seen:
                continue
            if _squashed(given) == _squashed(seen) != "":
                yield from (replaced(arguments, path, wanted.replace("_", gap)) for gap in "_ -")
            elif len(seen) >= 3 and seen in given:
                yield replaced(arguments, path, re.sub(re.escape(seen), lambda _: wanted, part, flags=re.IGNORECASE))
            elif len(given) >= 2 and given in seen:
                start = seen.index(given)
                before, behind = seen[:start], seen[start + len(given) :]
                inside.append((start, path, given))
                fits = wanted.lower().startswith(before) and wanted.lower().endswith(behind)
                if fits and len(wanted) > len(before) + len(behind):
                    yield replaced(arguments, path, wanted[len(before) : len(wanted) - len(behind)])
        if len(inside) > 1 and isinstance(wanted, str):
            pattern = re.escape(seen)
            for _, _, given in inside:
                pattern = pattern.replace(re.escape(given), "(.+)", 1)
            if (found := re.fullmatch(pattern, wanted, re.IGNORECASE)) and len(found.groups()) == len(inside):
                for (_, path, _), text in zip(sorted(inside), found.groups(), strict=True):
                    arguments = replaced(arguments, path, text)
                yield arguments

    def _from_tuple(
        self, arguments: Arguments, operand: tuple[Any, ...], wanted: tuple[Any, ...]
    ) -> Iterator[Arguments]:
        """A key made of several arguments: all of them change at once."""
        if len(operand) != len(wanted):
            return
        used = set[Path]()
        for is_now, should_be in zip(operand, wanted, strict=True):
            if is_now == should_be:
                continue
            for path, part in all_parts(arguments):
                if path not in used and type(part) is type(is_now) and _same(part, is_now):
                    arguments = replaced(arguments, path, should_be)
                    used.add(path)
                    break
            else:
                absent = [name for name, d in self.defaults.items() if name not in arguments and d == is_now]
                typed = [n for n in absent if _suits(should_be, schema_at(self.schema, (n,)))] or absent
                if not typed:
                    return
                yield from ({**arguments, name: should_be} for name in typed[1:6])
                arguments = {**arguments, typed[0]: should_be}
        yield arguments


def _overlaid(text: str, part: str) -> str:
    """The text with the part in the place of something of the same shape: "2020-01-15" with "1949-08" for "2020-01"."""
    shape = "".join(r"\d" if c.isdigit() else r"[^\W\d_]" if c.isalpha() else re.escape(c) for c in part[:60])
    return re.sub(shape, lambda _: part, text, count=1) if part else text


def _same(part: Any, operand: Any) -> bool:
    return part == operand or (isinstance(part, str) and part.lower().strip() == operand.lower().strip())


def _alike(part: Any, items: Any) -> bool:
    return isinstance(part, list) and [str(x).lower() for x in part] == [str(x).lower() for x in items]


def _suits(value: Any, schema: Any) -> bool:
    name = {str: "string", bool: "boolean", int: "integer", float: "number"}.get(type(value))
    return isinstance(schema, dict) and schema.get("type") in (name, "number" if name == "integer" else name)


def _sized(items: list[Any], size: Any) -> list[Any] | None:
    if not isinstance(size, int) or not 0 <= size < 30:
        return None
    return [*items[:size], *(... for _ in range(size - len(items)))]


def _formatted(wanted: Any, form: str) -> str | None:
    return wanted.strftime(form) if isinstance(wanted, datetime.date) else None


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.match(pattern, text) is not None
    except re.error:
        return False
