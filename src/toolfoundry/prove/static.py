"""Sound arguments, from the source alone, that no call of a tool can ever give an answer.

Three are known: there is no such function, every way to a result leads through an import that fails in the sandbox,
and every result is a constant of which none holds the answer. Anything less certain is not called unsolvable, but may
be named as a hint (`missing_words`).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator

from toolfoundry.answers import holds, spelling
from toolfoundry.prove.judge import constants, reports_error
from toolfoundry.prove.origins import words
from toolfoundry.sandbox.modules import ALLOWED_IMPORTS
from toolfoundry.sources import parse_source
from toolfoundry.types import Answer, Tool

__all__ = ["missing_words", "never_returned"]


def never_returned(tool: Tool, answer: Answer) -> str | None:
    """Why no call of the tool can give the answer, or None where that is not certain."""
    try:
        tree = parse_source(tool.source)
    except ValueError as error:
        return f"the source does not parse: {str(error)[:120]}"
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == tool.name]
    if not functions:
        bound = (name for node in ast.walk(tree) for name in _binds(node))
        return None if tool.name in bound else f"the source defines no function {tool.name!r}"
    for node in tree.body:
        if module := _failing_import(node):
            return f"the source imports {module!r}, which is not available in the sandbox"
    function = functions[-1]
    if function.decorator_list:
        return None
    results = list[ast.expr | None]()
    for statement in function.body:
        if (module := _failing_import(statement)) and _none_holds(results, answer):
            return f"the function imports {module!r} first, which is not available in the sandbox"
        results += _returns(statement)
    if not any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function)) and _none_holds(
        [*results, None], answer
    ):
        return "every result of the function is a constant, and none holds the answer"
    return None


def missing_words(tool: Tool, answer: Answer) -> list[str]:
    """Words of a text answer that stand in no constant of the source; docstrings and comments do not count."""
    if answer.type not in ("text", "list"):
        return []
    return sorted(words(spelling(answer)) - words(constants(tool.source)))


def _binds(node: ast.AST) -> Iterator[str]:
    """The names that a node of the source may define in some other way than as a plain function."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.ClassDef | ast.AsyncFunctionDef | ast.FunctionDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value  # globals()["name"]


def _failing_import(node: ast.stmt) -> str | None:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        names = [node.module or ""]
    return next((name for name in names if name.partition(".")[0] not in ALLOWED_IMPORTS), None)


def _returns(statement: ast.stmt) -> Iterator[ast.expr | None]:
    """What a statement may return, those of functions inside it left out."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Return):
            yield node.value
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            waiting += ast.iter_child_nodes(node)


def _none_holds(results: list[ast.expr | None], answer: Answer) -> bool:
    """Whether all results are constants, and none of them, error reports aside, holds the answer."""
    for result in results:
        try:
            value = None if result is None else ast.literal_eval(result)
            content = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            if isinstance(result, ast.JoinedStr) and reports_error(_opening(result)):
                continue
            return False
        if holds(answer, content) and not reports_error(content):
            return False
    return True


def _opening(text: ast.JoinedStr) -> str:
    first = text.values[0] if text.values else None
    return str(first.value) if isinstance(first, ast.Constant) else ""
