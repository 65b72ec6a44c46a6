"""Which kind of file a user gives, and reading it: by its name, and by what stands in it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson

from toolfoundry.build.own_tools.functions import read_functions
from toolfoundry.build.own_tools.given import GivenTools
from toolfoundry.build.own_tools.specifications import read_mcp, read_openapi
from toolfoundry.errors import InputError, MissingExtra

__all__ = ["ToolsFile", "read_tools_file"]

_MOST_BYTES = 8 << 20
_MOST_NODES = 1_000_000  # of a YAML file
_MOST_MERGED = 10_000  # entries that merge keys bring into one object of it
_EXPECTED = "Python functions (.py), an OpenAPI 3 file or an MCP tool list (.json, .yaml, .yml)"


class ToolsFile(NamedTuple):
    """A file of tools. `digest`: the SHA-256 of its bytes, which names it whatever it is called."""

    path: Path
    digest: str
    given: GivenTools

    @property
    def usable(self) -> int:
        return len(self.given.tools) + len(self.given.documents)


def read_tools_file(path: Path) -> ToolsFile:
    """The tools of a file. Raises InputError where it is none, MissingExtra for YAML without the extra."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise InputError(f"{path}: found {len(data)} bytes, expected at most {_MOST_BYTES}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: found {data[error.start]:#04x} at byte {error.start}, expected UTF-8") from None
    return ToolsFile(path, hashlib.sha256(data).hexdigest(), _given(path, text))


def _given(path: Path, text: str) -> GivenTools:
    match path.suffix.lower():
        case ".py":
            return read_functions(text, str(path))
        case ".json":
            try:
                whole: Any = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                raise InputError(f"{path}: not JSON: {error}") from None
        case ".yaml" | ".yml":
            whole = _yaml(path, text)
        case suffix:
            raise InputError(f"{path}: found a file that ends in {suffix or 'nothing'!r}, expected {_EXPECTED}")
    if isinstance(whole, dict) and whole.keys() & {"openapi", "swagger", "paths"}:
        return read_openapi(cast("dict[str, Any]", whole), str(path))
    if isinstance(whole, list) or (isinstance(whole, dict) and whole.keys() & {"tools", "result"}):
        return read_mcp(whole, str(path))
    raise InputError(f"{path}: found neither 'openapi' nor 'tools' at its top, expected {_EXPECTED}")


def _yaml(path: Path, text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise MissingExtra("tools", f"{path}: YAML") from None

    class Loader(yaml.SafeLoader):
        """Names the line of a value that is not of its type (2024-13-45 looks like a date), and bounds merge keys
        (`<<`): they copy what they name while the file is read, and within anchors that multiplies."""

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)  # pyright: ignore
            except (ValueError, LookupError) as error:
                raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None

        def flatten_mapping(self, node: Any) -> None:
            before = len(node.value)
            super().flatten_mapping(node)
            if len(node.value) > max(before, _MOST_MERGED):
                line = node.start_mark.line + 1
                raise InputError(f"{path}:{line}: found {len(node.value)} merged entries, expected {_MOST_MERGED}")

    try:
        value = yaml.load(text, Loader)
        if _is_huge(value):
            raise InputError(f"{path}: found more than {_MOST_NODES} values with its anchors put in their places")
        return orjson.loads(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())[:200]}") from None
    except (RecursionError, orjson.JSONEncodeError) as error:  # anchors that hold themselves
        raise InputError(f"{path}: found YAML that is no JSON ({str(error)[:100]})") from None


def _is_huge(value: Any) -> bool:
    """Whether a value has more parts than a file of that size can mean: anchors within anchors multiply."""
    waiting, count = [value], 0
    while waiting:
        here = waiting.pop()
        count += 1
        if count > _MOST_NODES:
            return True
        if isinstance(here, dict):
            waiting += cast("dict[Any, Any]", here).values()
        elif isinstance(here, list):
            waiting += cast("list[Any]", here)
    return False
