"""The search program as one piece of source, to be sent into the sandbox as a tool.

Made from the text of the modules that a search needs, so that inside and outside compare answers word for word the
same. Their imports of each other fall away, and the few names from elsewhere get stand-ins from the standard library.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from importlib import resources

from toolfoundry.sources import parse_source

__all__ = ["search_program"]

_MODULES = (
    "sources",
    "answers",
    "prove/origins",
    "prove/shapes",
    "prove/judge",
    "prove/instrument",
    "prove/proposals",
    "prove/pools",
    "prove/engine",
)
_ABSENT = ("toolfoundry", "pydantic", "orjson", "__future__")
_PRELUDE = """
from __future__ import annotations
import json as _json

class Answer:
    def __init__(self, type, value, text=None):
        self.type, self.value, self.text = type, value, text

class orjson:
    JSONDecodeError = ValueError
    loads = staticmethod(_json.loads)
    dumps = staticmethod(lambda value: _json.dumps(value, ensure_ascii=False).encode())
"""


@lru_cache(maxsize=1)
def search_program() -> str:
    """Source that defines `search`, which does what `engine.search` does; standard library only."""
    body, owners = list[ast.stmt](), dict[str, str]()
    for module in _MODULES:
        text = resources.files("toolfoundry").joinpath(f"{module}.py").read_text("utf-8")
        for node in parse_source(text).body:
            if isinstance(node, ast.Expr) or _absent(node):
                continue
            for defined in _defines(node):
                if owners.setdefault(defined, module) != module:
                    raise ValueError(f"{defined!r} is defined by both {owners[defined]} and {module}")
            body.append(node)
    return _PRELUDE + ast.unparse(ast.Module(body, []))


def _absent(node: ast.stmt) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    if isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    return any(name.split(".")[0] in _ABSENT for name in names)


def _defines(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name) and target.id != "__all__"]
