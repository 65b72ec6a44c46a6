"""Compiling a JSON Schema that somebody else wrote: checked, and never allowed to fetch anything.

The validator library follows a `$ref` to any http or file address by default. A schema in an environment is untrusted
text, so here such a reference is an error; references within the schema work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn

import jsonschema_rs
import orjson

__all__ = ["SchemaError", "compile_if_valid", "compile_schema"]

_DEFAULT = "https://json-schema.org/draft/2020-12/schema"
_DRAFT = re.compile(r"https?://json-schema\.org/(draft-0[467]|draft/2019-09|draft/2020-12)/schema#?")


class SchemaError(ValueError):
    """What is wrong with a schema, in one line, and the path to it in the schema."""

    def __init__(self, problem: str, path: tuple[str, ...] = ()) -> None:
        self.problem, self.path = problem, path
        super().__init__(f"{'.'.join(path)}: {problem}" if path else problem)


def compile_schema(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """The validator of a schema. Raises SchemaError where it is no JSON Schema or refers to something outside."""
    try:
        text = orjson.dumps(schema)
    except TypeError:  # a number beyond 64 bits: rare, and not worth a cache
        return _compile(schema)
    found = _compiled(text)
    if isinstance(found, SchemaError):
        raise found
    return found


@lru_cache(maxsize=4096)
def _compiled(text: bytes) -> jsonschema_rs.Validator | SchemaError:
    """Tools have many parameters of the same schema, and each schema is asked for several times."""
    try:
        return _compile(orjson.loads(text))
    except SchemaError as error:
        return error


def _compile(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    whole = dict(schema)
    if not _DRAFT.fullmatch(dialect := str(whole.get("$schema", _DEFAULT))):  # an unknown dialect would be fetched
        raise SchemaError(f"{dialect!r} is not a draft of JSON Schema", ("$schema",))
    try:
        jsonschema_rs.meta.validate(whole)
        return jsonschema_rs.validator_for(whole, retriever=_refuse)
    except jsonschema_rs.ValidationError as error:
        raise SchemaError(error.message, tuple(str(part) for part in error.instance_path)) from None
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise SchemaError(str(error).partition("\n")[0]) from None


def compile_if_valid(schema: Mapping[str, Any]) -> jsonschema_rs.Validator | None:
    """The validator of a schema, None where it is no JSON Schema of its own: what that means is the caller's matter."""
    try:
        return compile_schema(schema)
    except SchemaError:
        return None


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is outside the schema and is not fetched")
