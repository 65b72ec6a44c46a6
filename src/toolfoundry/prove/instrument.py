"""Rewrites a tool so that, while it runs, it tells what it compares its arguments with.

Comparisons, membership tests, dictionary look-ups, type checks, text methods and conversions go through hooks that
leave a record (what was done, with which operands) and an edge (which way it went). Records say what an argument
should have been; edges say whether a call reached something new. The rewritten tool computes what the original does,
except that the middle operand of `a < b < c` is evaluated twice. Part of the search program, so: standard library only.

Not covered: code that the tool builds from text at run time, and loops inside C functions (`sum(range(10**9))`).
"""

# A JSON value narrowed by isinstance is a dict or list of unknown: that is what it is.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import ast
import copy
import operator
from collections.abc import Callable
from typing import Any

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
    "Is": operator.is_,
    "IsNot": operator.is_not,
    "In": lambda item, container: item in container,
    "NotIn": lambda item, container: item not in container,
}
TRACED_METHODS = frozenset(
    "get pop startswith endswith find rfind index count strptime fromisoformat match search fullmatch findall finditer "
    "split partition rsplit replace removeprefix removesuffix isdigit isnumeric issubset issuperset intersection "
    "loads factorial".split()
)
TRACED_FUNCTIONS = frozenset({"isinstance", "int", "float", "len", "eval", "range", "pow"})
GROWING: dict[str, Callable[[Any, Any], Any]] = {"Pow": operator.pow, "Mult": operator.mul, "LShift": operator.lshift}
_MOST_BITS = 1 << 13  # of a number, and items of a text or list, that one operation may make


class OutOfSteps(BaseException):
    """One run of the tool took more steps than it may. Not an Exception: tools catch those."""


class Trace:
    """What one run did. `records` are (kind, *operands), `edges` are (place, way it went).

    Kinds: ("compare", operator, left, right), ("look_up", container, key), ("method", name, receiver, arguments,
    result), ("function", name, arguments, result), ("one_of", value, constants).
    """

    def __init__(self, max_steps: int = 10_000, max_records: int = 1_500) -> None:
        self.records: list[tuple[Any, ...]] = []
        self.edges: set[Any] = set()
        self.steps = 0
        self.max_steps, self.max_records = max_steps, max_records

    def begin(self) -> None:
        self.records.clear()
        self.edges.clear()
        self.steps = 0

    def hooks(self) -> dict[str, Any]:
        """The names that rewritten code calls."""
        edges, records = self.edges, self.records

        def tick(place: int) -> bool:
            self.steps += 1
            if self.steps > self.max_steps:
                raise OutOfSteps
            edges.add(place)
            return True

        def record(*entry: Any) -> None:
            self.steps += 1
            if self.steps > self.max_steps:
                raise OutOfSteps
            if len(records) < self.max_records:
                records.append(entry)

        def compare(place: int, name: str, left: Any, right: Any) -> Any:
            record("compare", name, left, right)
            outcome = OPERATORS[name](left, right)
            edges.add((place, bool(outcome)))
            return outcome

        def look_up(place: int, container: Any, key: Any) -> Any:
            record("look_up", container, key)
            found = container[key]
            edges.add((place, key if isinstance(key, str | int | tuple) else None))
            return found

        def method(place: int, name: str, receiver: Any, *args: Any, **kwargs: Any) -> Any:
            if name in ("get", "pop") and isinstance(receiver, dict) and args:
                record("look_up", receiver, args[0])
                known: bool = args[0] in receiver
                edges.add((place, args[0] if known else None))
                return getattr(receiver, name)(*args, **kwargs)
            if name == "factorial" and args and isinstance(args[0], int) and args[0] > _MOST_BITS >> 4:
                raise OutOfSteps
            entry = len(records)
            record("method", name, receiver, args, None)
            result = getattr(receiver, name)(*args, **kwargs)
            if entry < len(records):
                records[entry] = ("method", name, receiver, args, result)
            edges.add((place, bool(result)))
            return result

        def function(place: int, called: Any, *args: Any, **kwargs: Any) -> Any:
            entry, name = len(records), getattr(called, "__name__", "")
            record("function", name, args, None)
            if called is pow and len(args) == 2:
                return grow("Pow", *args)
            result = called(*args, **kwargs)
            if called is range and len(result) > 10 * self.max_steps:
                raise OutOfSteps
            if entry < len(records):
                records[entry] = ("function", name, args, result)
            if called is isinstance:
                edges.add((place, result))
            return result

        def grow(name: str, left: Any, right: Any) -> Any:
            if isinstance(right, int) and not isinstance(left, float) and _size(name, left, right) > _MOST_BITS:
                raise OutOfSteps
            return GROWING[name](left, right)

        def test(place: int, value: Any) -> Any:
            edges.add((place, bool(value)))
            return value

        def one_of(place: int, value: Any, constants: tuple[Any, ...]) -> Any:
            record("one_of", value, constants)
            edges.add(place)
            return value

        hooks = (tick, compare, look_up, method, function, grow, test, one_of)
        return {f"_tf_{hook.__name__}": hook for hook in hooks}


def _size(name: str, left: Any, right: int) -> int:
    """About how large the result of an operation in `GROWING` is, in bits or items."""
    if isinstance(left, int):
        bits = left.bit_length()
        return bits * max(right, 0) if name == "Pow" and bits > 1 else bits + (right if name == "LShift" else 0)
    return len(left) * right if hasattr(left, "__len__") else 0


class Rewriter(ast.NodeTransformer):
    """Puts the hooks of a `Trace` into a syntax tree. Annotations go: they may name what is not there."""

    def __init__(self) -> None:
        self.places = 0

    def _hook(self, name: str, *args: ast.expr) -> ast.Call:
        self.places += 1
        return ast.Call(ast.Name(f"_tf_{name}", ast.Load()), [ast.Constant(self.places), *args], [])

    def _block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [ast.Expr(self._hook("tick")), *(self.visit(statement) for statement in body)] if body else []

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if len(node.ops) > 1:
            left, pairs = node.left, list[ast.expr]()
            for op, right in zip(node.ops, node.comparators, strict=True):
                pairs.append(ast.Compare(copy.deepcopy(left), [op], [copy.deepcopy(right)]))
                left = right
            return self.visit(ast.BoolOp(ast.And(), pairs))
        self.generic_visit(node)
        return self._hook("compare", ast.Constant(type(node.ops[0]).__name__), node.left, node.comparators[0])

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr in TRACED_METHODS:
            hook = self._hook("method", ast.Constant(called.attr), called.value, *node.args)
        elif isinstance(called, ast.Name) and called.id in TRACED_FUNCTIONS:
            hook = self._hook("function", called, *node.args)
        else:
            return node
        hook.keywords = node.keywords
        return hook

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        name = type(node.op).__name__
        if name not in GROWING:
            return node
        hook = self._hook("grow", ast.Constant(name), node.left, node.right)
        del hook.args[0]  # which way it goes is no news
        return hook

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        if isinstance(node.target, ast.Name) and type(node.op).__name__ in GROWING:
            left = ast.Name(node.target.id, ast.Load())
            return ast.Assign([node.target], self.visit(ast.BinOp(left, node.op, node.value)))
        self.generic_visit(node)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load) and not isinstance(node.slice, ast.Slice):
            return self._hook("look_up", node.value, node.slice)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        args = node.args
        for arg in [*args.posonlyargs, *args.args, *args.kwonlyargs]:
            arg.annotation = None
        node.decorator_list = [self.visit(item) for item in node.decorator_list]
        args.defaults = [self.visit(item) for item in args.defaults]
        args.kw_defaults = [item and self.visit(item) for item in args.kw_defaults]
        node.body = self._block(node.body)
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        node.test = self._hook("test", self.visit(node.test))
        node.body, node.orelse = self._block(node.body), self._block(node.orelse)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        node.test = self._hook("test", node.test)
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        node.test = self.visit(node.test)
        node.body, node.orelse = self._block(node.body), self._block(node.orelse)
        return node

    def visit_For(self, node: ast.For) -> ast.AST:
        node.iter = self.visit(node.iter)
        node.body, node.orelse = self._block(node.body), self._block(node.orelse)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        node.ifs.insert(0, self._hook("tick"))
        return node

    def visit_Match(self, node: ast.Match) -> ast.AST:
        constants = [
            copy.deepcopy(part.value)
            for case in node.cases
            for part in ast.walk(case.pattern)
            if isinstance(part, ast.MatchValue)
        ]
        node.subject = self._hook("one_of", self.visit(node.subject), ast.Tuple(constants, ast.Load()))
        for case in node.cases:
            case.guard = case.guard and self.visit(case.guard)
            case.body = self._block(case.body)
        return node


def rewrite(tree: ast.Module) -> ast.Module:
    """A copy of the module with hooks in it; its namespace needs `Trace.hooks()`."""
    return ast.fix_missing_locations(Rewriter().visit(copy.deepcopy(tree)))
