"""What counts as proved: neither an error report, nor an answer that the call itself has brought along.

An answer that stands in the call's arguments counts only if the code *computes* it: changing the data beside it
(other numbers, the order of words) gives a result of the same form in which other data stands in the answer's place.
Quoting an argument never passes, nor does quoting it on condition of another. Part of the search program, so: standard
library only.

A number that stands nowhere in the code is proved only from numbers that somebody told: a calculator gives any number
to those who may choose its operands.

Not covered: computations whose result takes another form when the data changes; they are not proved.
"""

# A JSON value narrowed by isinstance is a dict or list of unknown: that is what it is.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from toolfoundry.answers import holds, infer, spelling, stands_in
from toolfoundry.prove.origins import Path, leaves, schema_at, words
from toolfoundry.sources import parse_source
from toolfoundry.types import Answer

_ERROR_TEXT = re.compile(
    r"\s*[\"'(\[]*(?:error|an error occur|invalid|unsupported|exception|traceback|failed|missing required|"
    r"unrecogni[sz]ed)",
    re.IGNORECASE,
)
_OPERAND = re.compile(r"-?\d+(?:\.\d+)?(?:\s*[-+*/^()]+\s*\d+(?:\.\d+)?\)*){0,20}(?<!\d\d\d\d-\d\d-\d\d)")
_DATUM = re.compile(r"(?:(?<!\w)-(?=\d))?[^\W_]+(?:[.,:/\-'’][^\W_]+)*")


def reports_error(content: str) -> bool:
    """Whether a result that ended without exception reports an error all the same.

    >>> reports_error('{"error": "no such town"}'), reports_error('{"error": null, "town": "Prüm"}')
    (True, False)
    """
    if content.lstrip()[:1] == "{":
        try:
            value = json.loads(content)
        except ValueError:
            value = None
        if isinstance(value, dict):
            fields = {str(key).lower(): item for key, item in value.items()}
            status = str(fields.get("status", "")).lower()
            return bool(
                fields.get("error") or fields.get("errors") or fields.get("success") is False or "error" in status
            )
    return _ERROR_TEXT.match(content) is not None


def replaced(arguments: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """The arguments with the value at a path changed; containers on the way are copied."""
    here: Any = dict(arguments)
    result: Any = here
    for key, following in itertools.pairwise(path):
        child: Any = here.get(key) if isinstance(here, dict) else here[key]
        if child is None:
            child = [] if isinstance(following, int) else {}
        here[key] = list(child) if isinstance(child, list) else dict(child)
        here = here[key]
    here[path[-1]] = value
    return result


@lru_cache(maxsize=256)
def constants(source: str) -> str:
    """The constants of a source as text; docstrings and comments are none. Empty where it does not parse."""
    try:
        tree = parse_source(source)
    except ValueError:
        return ""
    idle = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return " | ".join(str(n.value) for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in idle)


def guessed(answer: Answer, arguments: dict[str, Any], told: dict[Path, str], source: str) -> bool:
    """Whether a number is calculated from a number that nobody told: with a free operand a calculator gives any."""
    operands = (path for path, leaf in leaves(arguments) if _OPERAND.fullmatch(str(leaf)))
    return (
        answer.type == "number"
        and any(told.get(path) == "code" for path in operands)
        and not holds(answer, constants(source))
    )


def brought(answer: Answer, arguments: dict[str, Any]) -> bool:
    """Whether a call brings the answer along: in one argument, or its parts ("Boulder, Colorado") in several."""
    if stands_in(answer, arguments):
        return True
    parts = spelling(answer).split(", ")
    return answer.type != "number" and len(parts) > 1 and all(stands_in(infer(part), arguments) for part in parts)


def computed(
    answer: Answer, arguments: dict[str, Any], schema: Any, content: str, run: Callable[[dict[str, Any]], str | None]
) -> bool:
    """Whether the code computes an answer that stands in the call's arguments.

    Args:
        content: the result of the call itself.
        run: executes a call; None stands for an error of any kind.
    """
    shape, seen = _shape(content, arguments), set[str]()
    for other in _variants(answer, arguments, schema):
        if not brought(answer, other):
            continue
        result = run(other)
        if result is None or result == content or holds(answer, result) or _shape(result, other) != shape:
            continue
        if answer.type != "number":
            given, before, after = (words(text) for text in (json.dumps(other, ensure_ascii=False), content, result))
            if after & given - before or after == before:  # other data, or the same data in another order
                return True
        elif seen and result not in seen:
            return True
        seen.add(result)
    return False


def honest(answer: Answer, arguments: dict[str, Any], told: dict[Path, str]) -> bool:
    """Whether every place that brings the answer along got it from question, schema or an earlier result."""
    parts = [answer] if stands_in(answer, arguments) else [infer(part) for part in spelling(answer).split(", ")]
    return all(
        told.get(path) != "code" for path, leaf in leaves(arguments) if any(stands_in(part, leaf) for part in parts)
    )


def _shape(content: str, arguments: dict[str, Any]) -> str:
    """A result with its numbers, and what it quotes of the arguments' texts, blotted out."""
    quoted = {datum for _, leaf in leaves(arguments) for datum in _DATUM.findall(str(leaf).casefold())}

    def blot(match: re.Match[str]) -> str:
        text = match.group()
        return "~" if text in quoted or any(c.isdigit() for c in text) else text

    return re.sub(r"~(?:\s+~)+", "~", _DATUM.sub(blot, content.casefold()))


def _variants(answer: Answer, arguments: dict[str, Any], schema: Any) -> Iterator[dict[str, Any]]:
    """The same call with other data around the answer: other numbers, other order, never other modes."""
    described = ((path, value, schema_at(schema, path)) for path, value in leaves(arguments))
    found = [(path, value) for path, value, spec in described if not (isinstance(spec, dict) and "enum" in spec)]
    numbers = [(p, v) for p, v in found if isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e15]
    for sign in (1, -1):
        for scale in (1, 3):
            for path, value in numbers:
                top_level = len(path) == 1
                if stands_in(answer, value) or (top_level and answer.type != "number"):
                    continue  # a lone number beside a text may be an index or a limit
                span = sum(abs(v) for _, v in numbers)
                yield replaced(arguments, path, value + sign * scale * (int(span) + 11))
    for path, value in found:
        if isinstance(value, str) and stands_in(answer, value) and len(parts := value.split(" ")) > 1:
            for turned in (" ".join(reversed(parts)), " ".join([*parts[1:], parts[0]]), f"{value} {'z' * len(value)}"):
                if stands_in(answer, turned):
                    yield replaced(arguments, path, turned)
