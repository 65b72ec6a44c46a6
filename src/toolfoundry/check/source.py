"""What a tool's source says about itself, read from its syntax tree; nothing is imported or executed.

Covers names and literals as they stand. Not covered: what the code computes. A name that is built at run time
(`globals()["x"]`) is not seen, and a function that can look at its own variables (`locals()`, `eval`) is taken to
read all its parameters.
"""

from __future__ import annotations

import ast
import builtins
import symtable
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from toolfoundry.sources import find_function, parse_source

__all__ = [
    "Parameter",
    "Source",
    "bound_names",
    "executed_at_once",
    "is_effect",
    "is_main_guard",
    "module_names",
    "read_source",
]

_MODULE = frozenset({"__name__", "__doc__", "__file__", "__builtins__", "__spec__", "__loader__", "__package__"})
_READS_ALL = frozenset({"locals", "vars", "eval", "exec"})
_CLOCK = frozenset(
    """
    datetime.datetime.now datetime.datetime.utcnow datetime.datetime.today datetime.date.today time.time time.time_ns
    time.localtime time.gmtime time.ctime time.asctime time.monotonic time.monotonic_ns time.perf_counter
    time.perf_counter_ns time.process_time os.urandom uuid.uuid1 uuid.uuid4 random.SystemRandom os.getrandom
    """.split()
)
_WITH_ARGUMENTS = frozenset({"time.localtime", "time.gmtime", "time.ctime", "time.asctime", "random.Random"})
_DANGEROUS = frozenset({"eval", "exec", "compile", "open", "__import__", "input", "breakpoint"})
_DANGEROUS_PATHS = frozenset(
    """
    os.system os.popen os.fork os.kill os.remove os.unlink os.rmdir os.open os.execv os.execvp os.spawnv builtins.eval
    builtins.exec builtins.open builtins.compile io.open importlib.import_module pickle.loads pickle.load
    """.split()
)
# A source without any of these words uses none of the names: most sources need not be looked through.
_MAY_READ_CLOCK = frozenset({"random", "secrets", "strftime", "id", *(path.rpartition(".")[2] for path in _CLOCK)})
_MAY_BE_DANGEROUS = frozenset(_DANGEROUS | {path.partition(".")[0] for path in _DANGEROUS_PATHS})


# The fields of each kind of node in which nothing but other nodes, lists of them, and None can be.
_LEAVES = frozenset(
    "ctx op ops id attr kind type_comment level module lineno conversion is_async simple "
    "arg asname rest kwd_attrs".split()
)
_WITHOUT = (ast.Constant, ast.Global, ast.Nonlocal)
_NAMED = frozenset(kind for kind in vars(ast).values() if getattr(kind, "__name__", "") == "TypeAlias")  # by a node
_BRANCHES: dict[type[ast.AST], tuple[str, ...]] = {
    kind: tuple(field for field in kind._fields if field not in _LEAVES and (field != "name" or kind in _NAMED))
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
} | dict.fromkeys(_WITHOUT, ())
_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)
# Where none of these stands, every name is either the function's own or global; else Python's symbol table is asked.
_SCOPING = frozenset(
    getattr(ast, name)
    for name in "AsyncFunctionDef ClassDef Lambda ListComp SetComp DictComp GeneratorExp Global Nonlocal AnnAssign "
    "NamedExpr Match TypeAlias TypeVar ParamSpec TypeVarTuple".split()
    if hasattr(ast, name)
)


_IMPORTS = (ast.Import, ast.ImportFrom)
_BINDING = (ast.Name, ast.Import, ast.ImportFrom, ast.ExceptHandler)


class Parameter(NamedTuple):
    """One parameter of the function; `default` and `annotation` are None where there are none."""

    name: str
    default: ast.expr | None
    annotation: ast.expr | None
    keyword: bool  # whether it can be given by name

    @property
    def required(self) -> bool:
        return self.default is None


@dataclass(frozen=True, eq=False)
class Source:
    """A parsed source and its function.

    nodes: the whole tree, flat; read_names: what the function's body reads; open_ended: the function takes any keyword
    (`**kwargs`); hidden, undefined: names that it needs from the module, and names that nothing defines (see
    `_needed_names`).
    """

    text: str
    tree: ast.Module
    nodes: tuple[ast.AST, ...]
    function: ast.FunctionDef
    parameters: tuple[Parameter, ...]
    read_names: frozenset[str]
    open_ended: bool
    hidden: tuple[str, ...]
    undefined: tuple[str, ...]

    @cached_property
    def dead_parameters(self) -> list[str]:
        """Parameters that no expression of the body reads."""
        if self.read_names & _READS_ALL:
            return []
        return [parameter.name for parameter in self.parameters if parameter.name not in self.read_names]

    def effects(self) -> list[ast.stmt]:
        """Module-level statements that do something other than define."""
        return [statement for statement in self.tree.body if is_effect(statement, self.function.name)]

    def imports(self) -> list[str]:
        """Every module that is imported anywhere, by its full name, in order of appearance."""
        found: dict[str, None] = {}
        for node in self._imports:
            if isinstance(node, ast.Import):
                found.update(dict.fromkeys(alias.name for alias in node.names))
            else:
                found["." * node.level + (node.module or "")] = None
        return list(found)

    @cached_property
    def _imports(self) -> list[ast.Import | ast.ImportFrom]:
        return [node for node in self.nodes if isinstance(node, _IMPORTS)] if "import" in self.text else []

    @cached_property
    def _words(self) -> frozenset[str]:
        """Every word that names a variable, an attribute, or what is imported."""
        words: set[str] = set()
        for node in self.nodes:
            if isinstance(node, ast.Name):
                words.add(node.id)
            elif isinstance(node, ast.Attribute):
                words.add(node.attr)
        for node in self._imports:
            paths = [alias.name for alias in node.names]
            paths += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            words.update(word for path in paths for word in path.split("."))
        return frozenset(words)

    def clock_reads(self) -> list[str]:
        """Calls that read the clock, draw random numbers or give addresses, as dotted names.

        What is given a seed is left out. Addresses are alike in the workers of one sandbox, so no probe finds them.
        """
        if self._words.isdisjoint(_MAY_READ_CLOCK):
            return []
        used = list(self._uses())
        own = bound_names(self.nodes) | {p.name for p in self.parameters}
        if any(name == "random.seed" and arguments for name, arguments in used):
            used = [(name, arguments) for name, arguments in used if not name.startswith("random.")]
        found = dict.fromkeys(
            name
            for name, arguments in used
            if (
                name in _CLOCK
                or name.startswith(("random.", "secrets."))
                or (name == "time.strftime" and arguments < 2)
                or (name == "id" and name not in own)
            )
            and not (name in _WITH_ARGUMENTS and arguments)
        )
        return list(found)

    def dangerous_calls(self) -> list[str]:
        """Calls that evaluate code, open files or start processes."""
        if self._words.isdisjoint(_MAY_BE_DANGEROUS):
            return []
        own = bound_names(self.nodes) | {p.name for p in self.parameters}
        found = dict.fromkeys(
            name for name, _ in self._uses() if (name in _DANGEROUS and name not in own) or name in _DANGEROUS_PATHS
        )
        return list(found)

    @cached_property
    def literals(self) -> tuple[str | int | float, ...]:
        """The text and number literals of the code, docstrings left out."""
        return tuple(self._literals())

    def _literals(self) -> Iterator[str | int | float]:
        scopes = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        bodies = [statement for node in self.nodes if isinstance(node, scopes) for statement in node.body]
        documentation = {id(statement.value) for statement in bodies if isinstance(statement, ast.Expr)}
        for node in self.nodes:
            if isinstance(node, ast.Constant) and id(node) not in documentation:
                value = node.value
                if isinstance(value, int) and value.bit_length() > 1024:
                    continue  # more digits than Python writes out
                if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                    yield value

    @cached_property
    def own_exceptions(self) -> set[str]:
        """The exception types that the source raises by name: its own way of reporting an error."""
        if "raise" not in self.text:
            return set()
        found: set[str] = set()
        for node in self.nodes:
            if isinstance(node, ast.Raise) and node.exc is not None:
                raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                found.add(raised.attr if isinstance(raised, ast.Attribute) else getattr(raised, "id", ""))
        return found - {""}

    def _uses(self) -> Iterator[tuple[str, int]]:
        """Every call as (dotted name with imports resolved, number of arguments), and names that are passed on."""
        modules: dict[str, str] = {}
        for node in self._imports:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    modules[alias.asname or top] = alias.name if alias.asname else top
            elif node.module and not node.level:
                modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        called: dict[int, int] = {}
        for node in self.nodes:
            if isinstance(node, ast.Call):
                called[id(node.func)] = len(node.args) + len(node.keywords)
        for node in self.nodes:
            if isinstance(node, ast.Name | ast.Attribute) and (path := _dotted(node)):
                first, dot, rest = path.partition(".")
                if first in modules:
                    yield modules[first] + dot + rest, called.get(id(node), 0)
                elif id(node) in called and not dot:
                    yield path, called[id(node)]


def read_source(text: str, name: str) -> Source:
    """The parsed source of a tool.

    Raises ValueError (or, for what is nested too deeply, RecursionError) if it cannot be read, and LookupError if it
    does not define the function.
    """
    tree = parse_source(text)
    function = find_function(tree, name)
    if function is None:
        names = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
        raise LookupError(f"definitions of {', '.join(names)}" if names else "no definition")
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    defaults = [*[None] * (len(positional) - len(spec.defaults)), *spec.defaults]
    pairs = [*zip(positional, defaults, strict=True), *zip(spec.kwonlyargs, spec.kw_defaults, strict=True)]
    parameters = tuple(
        Parameter(argument.arg, default, argument.annotation, argument not in spec.posonlyargs)
        for argument, default in pairs
    )
    nodes = tuple(flat(tree))
    reads = _Reads.of(text, tree, nodes)
    read_names = reads.bodies.get(id(function)) or _read_names(flat(*function.body))
    names = _needed_names(tree, name, reads)
    return Source(text, tree, nodes, function, parameters, frozenset(read_names), spec.kwarg is not None, *names)


def _read_names(nodes: Iterable[ast.AST]) -> set[str]:
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def flat(*trees: ast.AST) -> list[ast.AST]:
    """The nodes and everything below them, level by level as `ast.walk` gives it, in a third of its time.

    Left out are the marks that say whether a name is read or set, and operators: nobody looks for them.
    """
    nodes = [*trees]
    append = nodes.append
    for node in nodes:
        values: dict[str, Any] = node.__dict__
        for field in _BRANCHES[type(node)]:
            value = values.get(field)
            if not value:
                continue
            if value.__class__ is list:  # told by `type`, its parts would be of unknown type
                for part in value:
                    if part is not None:
                        append(part)
            else:
                append(value)
    return nodes


def bound_names(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that these nodes bind: targets, definitions and imports (not parameters)."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def module_names(statement: ast.stmt) -> set[str]:
    """The names that a module-level statement binds in the module (not inside the functions it defines)."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    return bound_names(_outer(statement))


def _outer(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is below it in the same scope."""
    yield node
    if not isinstance(node, _SCOPES):
        for child in ast.iter_child_nodes(node):
            yield from _outer(child)


def executed_at_once(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what of it is executed when the module is: of a definition its decorators, defaults and bases."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        defaults = [default for default in [*node.args.defaults, *node.args.kw_defaults] if default is not None]
        parts: list[ast.AST] = [*defaults]
        if not isinstance(node, ast.Lambda):
            annotated = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            parts += node.decorator_list
            parts += [note for note in [*(a.annotation for a in annotated), node.returns] if note is not None]
    else:
        parts = [*ast.iter_child_nodes(node)]
    for part in parts:
        yield from executed_at_once(part)


class _Names(NamedTuple):
    hidden: tuple[str, ...]
    undefined: tuple[str, ...]


def _needed_names(tree: ast.Module, name: str, given: _Reads) -> _Names:
    """The global names that the function needs, itself or through others, when it is called.

    Hidden are those that the module defines: where a source is executed inside a function (`exec(code)` in a caller's
    local scope), they become that caller's locals, and the tool's own code looks for them among the globals in vain.
    `import json` is not counted: the published caller has it among its globals. Undefined are those that neither the
    module nor Python defines.
    """
    bound = {name: statement for statement in tree.body for name in module_names(statement)}
    reads, made = given.globals, given.made
    if not given.plain:
        for bound_name, statement in bound.items():
            reads.setdefault(bound_name, set()).update(_lambda_reads(statement))
    waiting, seen, undefined = [name], dict[str, None](), dict[str, None]()
    while waiting:
        for needed in sorted(reads.get(waiting.pop(), ())):
            if needed in bound:
                if needed not in seen and not _is_import_of(bound[needed], "json"):
                    seen[needed] = None
                    waiting.append(needed)
            elif needed not in made and not hasattr(builtins, needed) and needed not in _MODULE and "*" not in bound:
                undefined[needed] = None
    return _Names(tuple(seen), tuple(undefined))


def _lambda_reads(statement: ast.stmt) -> set[str]:
    """What the lambdas of an assignment read when they are called."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return set()
    lambdas = [node for node in ast.walk(statement) if isinstance(node, ast.Lambda)]
    own = {argument.arg for node in lambdas for argument in [*node.args.posonlyargs, *node.args.args]}
    bodies = [node for one in lambdas for node in ast.walk(one.body)]
    return {node.id for node in bodies if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)} - own


def _is_import_of(statement: ast.stmt, module: str) -> bool:
    return isinstance(statement, ast.Import) and any(a.name == module and not a.asname for a in statement.names)


class _Reads(NamedTuple):
    """What the module-level functions and classes read.

    globals: for each its global names; made: the global names that any code sets; bodies: all names that a function's
    body reads, by the id of its node, where that is known; plain: whether there is no scope inside another.
    """

    globals: dict[str, set[str]]
    made: set[str]
    bodies: dict[int, set[str]]
    plain: bool

    @classmethod
    def of(cls, text: str, tree: ast.Module, nodes: Sequence[ast.AST]) -> _Reads:
        kinds = [*map(type, nodes)]
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        if _SCOPING.isdisjoint(kinds) and kinds.count(ast.FunctionDef) == len(functions):
            found: dict[str, set[str]] = {}
            bodies: dict[int, set[str]] = {}
            for function in functions:
                around = flat(function.args)
                given = [argument.arg for argument in around if isinstance(argument, ast.arg)]
                body = flat(*function.body)
                own = bound_names(node for node in body if isinstance(node, _BINDING))
                if "*" in own or "__debug__" in own or len({*given}) < len(given):
                    break  # no Python, which the symbol table will say
                bodies[id(function)] = read = _read_names(body)
                found.setdefault(function.name, set()).update(read - own - {*given})
            else:
                return cls(found, set(), bodies, True)
        return cls(*_globals(text), {}, False)


def _globals(text: str) -> tuple[dict[str, set[str]], set[str]]:
    """For each module-level function or class the global names that its code reads; and those that any code sets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = symtable.symtable(text, "<tool>", "exec")
    made: set[str] = set()

    def reads(table: symtable.SymbolTable) -> set[str]:
        found = [symbol for symbol in table.get_symbols() if symbol.is_global()]
        made.update(symbol.get_name() for symbol in found if symbol.is_assigned() or symbol.is_imported())
        own = {symbol.get_name() for symbol in found if symbol.is_referenced()}
        return own.union(*(reads(child) for child in table.get_children()))

    found: dict[str, set[str]] = {}
    for table in module.get_children():
        found.setdefault(table.get_name(), set()).update(reads(table))
    return found, made


def is_effect(statement: ast.stmt, name: str) -> bool:
    """Whether a module-level statement does something other than build what the module defines.

    That is: it calls the tool itself or `print`, or calls something for nothing but its effect, other than a method
    of a thing that the module has made (`TABLE.update(...)`).
    """
    if isinstance(statement, ast.If) and is_main_guard(statement.test):
        return False
    for node in executed_at_once(statement):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in (name, "print", "input"):
            return True
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
            return True
    return False


def is_main_guard(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None
