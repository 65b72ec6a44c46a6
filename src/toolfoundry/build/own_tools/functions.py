"""A Python file of functions as tools: read from its syntax tree, never imported or run here.

Every public function at module level becomes a tool: its schema from hints and docstring (see
`toolfoundry.signatures`), its source the function with all that it needs from the file moved into its body, so
that it runs by itself. What cannot be a tool is listed with the reason; the others go on.

Not covered: methods of classes, decorated functions, data that is kept from one call to the next.
"""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import orjson

from toolfoundry.build.own_tools.given import GivenTools, Unusable
from toolfoundry.check.gates import GATES
from toolfoundry.check.source import is_main_guard, module_names
from toolfoundry.check.static import read_tools, static_verdicts
from toolfoundry.errors import InputError, RecordError
from toolfoundry.repair.source import repair_source
from toolfoundry.signatures import describe
from toolfoundry.sources import parse_source
from toolfoundry.types import Answer, EnvSpec, Goal, Provenance, Scenario, Tool, ToolSchema

__all__ = ["probe_spec", "read_functions"]

_CHANGING = frozenset(
    "add append appendleft clear difference_update discard extend extendleft insert intersection_update pop popitem "
    "popleft remove reverse rotate setdefault sort subtract symmetric_difference_update update".split()
)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MOST_ALIASES = 200  # that are put in their places in the hints of one function
_EXAMPLE = re.compile(r"^[ \t]*>>> .*(?:\n[ \t]*\S.*)*\n?", re.MULTILINE)
_NO_GOLD = "the audit needs a goal"


def read_functions(text: str, file: str) -> GivenTools:
    """The tools of a Python file. Raises InputError where it is no Python."""
    try:
        module = parse_source(text)
    except ValueError as error:
        raise InputError(f"{file}: not Python: {error}") from None
    tools: list[Tool] = []
    unusable: list[Unusable] = []
    examples: dict[str, tuple[dict[str, object], ...]] = {}
    definitions = [node for node in module.body if isinstance(node, _DEFINITIONS) and not node.name.startswith("_")]
    last = {node.name: node for node in definitions}
    used = {name.id for node in module.body for name in ast.walk(node) if isinstance(name, ast.Name)}
    for node in definitions:
        if isinstance(node, ast.ClassDef) and node.name in used:
            continue  # it belongs to a function
        made = _tool(node, last[node.name], module, text)
        if isinstance(made, Tool):
            tools.append(made)
            examples[made.name] = tuple(_examples(cast(ast.FunctionDef, node)))
        else:
            unusable.append(Unusable(node.name, made))
    return GivenTools("functions", tools=tuple(tools), examples=examples, unusable=tuple(unusable))


def probe_spec(tool: Tool, tools: Sequence[Tool] = (), **fields: Any) -> EnvSpec:
    """An environment around one tool, for gates that judge tools."""
    goal = Goal(id="s1", tool=tool.name, answer=Answer(type="text", value=_NO_GOLD))
    given: dict[str, Any] = {
        "scenario": Scenario(question=_NO_GOLD, answer=None),
        "goals": (goal,),
        "provenance": Provenance(source="own-tools"),
        **fields,
    }
    return EnvSpec.create(tools=(tool, *tools), **given)


def _tool(node: ast.stmt, last: ast.stmt, module: ast.Module, text: str) -> Tool | str:
    """The tool, or why the definition is none."""
    if node is not last:
        return f"line {node.lineno}: it is defined again in line {last.lineno}, which hides it"
    match node:
        case ast.ClassDef():
            return "it is a class, expected a function"
        case ast.AsyncFunctionDef():
            return "it is asynchronous, expected a plain `def`"
        case ast.FunctionDef(decorator_list=[first, *_]):
            return f"it has the decorator @{ast.unparse(first)[:60]}, expected none: what that does cannot be seen"
        case ast.FunctionDef():
            pass
        case _:
            return "expected a function"
    if not (ast.get_docstring(node) or "").strip():
        return "it has no docstring, expected one that says what the function does"
    if not _NAME.fullmatch(node.name):
        return "its name has other letters than A to Z, or more than 64: endpoints refuse it"
    try:
        found = describe(_spelled_out(node, module), node.name)
    except RecordError as error:
        return f"{error.field}: found {error.found}, expected {error.expected}"
    except (RecursionError, OverflowError):
        return "it is nested too deep, or its hints are aliases of aliases without end"
    if not found.description:
        return "its docstring begins with a section, expected what the function does"
    if changed := _changed_data(node, module):
        return f"it changes {changed}, which the file keeps between calls; tools keep nothing"
    source = _without_gaps(repair_source(_sliced(node, module, text), node.name).text)
    signature = ToolSchema(name=found.name, description=found.description, parameters=found.parameters)
    tool = Tool(signature=signature, source=source)
    try:
        orjson.dumps(tool.model_dump())
    except TypeError as error:
        return f"its schema or docstring holds what a record cannot ({error})"
    return next(_defects(tool), None) or tool


def _defects(tool: Tool) -> Iterator[str]:
    """What the gates that only read have against a tool."""
    spec = probe_spec(tool)
    for verdict in static_verdicts(spec, read_tools(spec)):
        gate = GATES[verdict.gate]
        if verdict.found and gate.unit == "tool" and gate.severity == "defect":
            yield f"{gate.title}: found {verdict.found}, expected {verdict.expected}"


def _spelled_out(function: ast.FunctionDef, module: ast.Module) -> str:
    """The function alone, its hints with the module's aliases (`Colour = Literal[...]`) put in their places."""
    aliases = {
        target.id: statement.value
        for statement in module.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    copy = cast(ast.FunctionDef, parse_source(ast.unparse(function)).body[0])
    said = _EXAMPLE.sub("", ast.get_docstring(copy) or "").strip()
    copy.body = [ast.Expr(ast.Constant(said))]  # the docstring without its examples
    for argument in (*copy.args.posonlyargs, *copy.args.args, *copy.args.kwonlyargs):
        if argument.annotation is not None:
            argument.annotation = _Aliases(aliases).visit(argument.annotation)
    return ast.unparse(ast.fix_missing_locations(copy))


class _Aliases(ast.NodeTransformer):
    """Puts aliases in their places, and takes what `Annotated` says besides away. Raises OverflowError."""

    def __init__(self, aliases: dict[str, ast.expr]) -> None:
        self._aliases, self._count = aliases, 0

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self._aliases:
            return node
        self._count += 1
        if self._count > _MOST_ALIASES:
            raise OverflowError
        return self.visit(parse_source(ast.unparse(self._aliases[node.id])).body[0]).value

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if ast.unparse(node.value).rpartition(".")[2] == "Annotated" and isinstance(node.slice, ast.Tuple):
            return self.visit(node.slice.elts[0])
        if ast.unparse(node.value).rpartition(".")[2] == "Literal":
            return node
        return cast(ast.expr, self.generic_visit(node))


def _without_gaps(source: str) -> str:
    """The source without the runs of empty lines that cutting leaves."""
    closed = re.sub(r"\n{3,}", "\n\n\n", source).strip("\n") + "\n"
    closed = re.sub(r"\n{3,}(?!def |class |@)", "\n\n", closed)
    return closed if ast.dump(parse_source(closed)) == ast.dump(parse_source(source)) else source


def _sliced(function: ast.FunctionDef, module: ast.Module, text: str) -> str:
    """The lines of the function and of what it needs from the module, in their order."""
    bound: dict[str, list[ast.stmt]] = {}
    for statement in module.body:
        for name in module_names(statement):
            bound.setdefault(name, []).append(statement)
    kept: set[ast.stmt] = {function}
    needed = _names(function) & bound.keys()
    while True:
        data = {name for name in needed if not all(isinstance(node, _DEFINITIONS) for node in bound[name])}
        found = {statement for name in needed for statement in bound[name] if statement is not function}
        found |= {statement for statement in module.body if _fills(statement) and _names(statement) & data}
        if found <= kept:
            break
        kept |= found
        needed |= {name for statement in found for name in _names(statement)} & bound.keys()
    future = [node for node in module.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    lines = re.split("\r\n?|\n", text)  # as the parser counts them: `splitlines` ends lines at form feeds too
    parts = ["\n".join(lines[_first(node) - 1 : node.end_lineno]) for node in module.body if node in {*kept, *future}]
    return "\n\n".join(dict.fromkeys(parts)) + "\n"


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _first(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _fills(statement: ast.stmt) -> bool:
    """Whether a statement may change data of the module: neither a definition, an import nor a trial of the file."""
    if isinstance(statement, (*_DEFINITIONS, ast.Import, ast.ImportFrom)):
        return False
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return isinstance(statement.value.func, ast.Attribute)
    return not (isinstance(statement, ast.If) and is_main_guard(statement.test))


def _changed_data(function: ast.FunctionDef, module: ast.Module) -> str:
    """A name of the module whose value the function, or a helper of it, changes; "" if there is none."""
    bound = {name: statement for statement in module.body for name in module_names(statement)}
    waiting, seen = [function], {function.name}
    while waiting:
        one = waiting.pop()
        own = {argument.arg for argument in ast.walk(one) if isinstance(argument, ast.arg)}
        own |= {n.id for n in ast.walk(one) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for node in ast.walk(one):
            if isinstance(node, ast.Global):
                return ", ".join(node.names)
            target = _target(node)
            if target in bound and target not in own and not isinstance(bound[target], _DEFINITIONS):
                return target
            if isinstance(node, ast.Name) and node.id not in seen:
                helper = bound.get(node.id)
                if isinstance(helper, ast.FunctionDef):
                    seen.add(node.id)
                    waiting.append(helper)
    return ""


def _target(node: ast.AST) -> str:
    """The name at the root of what a node changes: `X[...] = `, `X.y += `, `del X[...]`, `X.append(...)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING:
        root: ast.AST = node.func.value
    elif isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
        root = node.value
    else:
        return ""
    while isinstance(root, ast.Subscript | ast.Attribute):
        root = root.value
    return root.id if isinstance(root, ast.Name) else ""


def _examples(function: ast.FunctionDef) -> Iterator[dict[str, object]]:
    """The arguments of calls that the docstring shows as `>>> name(...)`, where they are written out."""
    names = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
    try:
        shown = doctest.DocTestParser().get_examples(ast.get_docstring(function) or "")
    except ValueError:
        return
    for example in shown:
        try:
            tree = parse_source(example.source)
        except ValueError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function.name:
                try:
                    given = dict(zip(names, map(ast.literal_eval, node.args), strict=False))
                    given |= {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg}
                except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                    continue
                yield given
