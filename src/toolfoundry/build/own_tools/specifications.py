"""A specification of tools as documents: an OpenAPI 3 file, or the tool list of an MCP server. Nothing is fetched.

OpenAPI: each operation is a tool; parameters in path and query and the fields of a JSON body are its parameters, the
JSON of its first good response its output. MCP: each entry of `tools` is a tool. References within the file are put in
their places; one that leads outside, or round in a circle, makes that tool unusable. Names become Python identifiers.

Not covered: headers and cookies (whoever calls the tool does not choose them), bodies other than JSON, callbacks,
webhooks.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

from toolfoundry.build.own_tools.given import GivenTools, Unusable
from toolfoundry.errors import InputError
from toolfoundry.schemas import SchemaError, compile_schema
from toolfoundry.types import ToolSchema

__all__ = ["read_mcp", "read_openapi"]

_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_MOST_NODES = 20_000  # of one tool, with its references put in their places
_MOST_DEPTH = 60
_LEFT_OUT = frozenset(
    "discriminator externalDocs xml $schema $id $defs definitions readOnly writeOnly deprecated".split()
)
_MOST_NAME = 64


class _Problem(Exception):
    """Why a tool cannot be used."""


def read_openapi(whole: Mapping[str, Any], file: str) -> GivenTools:
    """The operations of an OpenAPI 3 document. Raises InputError where it is none."""
    version = str(whole.get("openapi", ""))
    paths = whole.get("paths")
    if not re.match(r"3(\.|$)", version):
        found = whole.get("openapi", whole.get("swagger"))
        raise InputError(f"{file}: field 'openapi': found {found!r}, expected version 3")
    if not isinstance(paths, dict):
        raise InputError(
            f"{file}: field 'paths': found {type(paths).__name__}, expected an object with one entry a path"
        )
    found = _Found()
    for path, item in cast("dict[str, Any]", paths).items():
        try:
            entry = _object(_Inlined(whole).resolved(item), "the path")
        except _Problem as problem:
            found.unusable.append(Unusable(path, str(problem)))
            continue
        for method in _METHODS:
            if method in entry:
                _read_operation(found, whole, path, method, entry)
    return found.given("openapi")


def read_mcp(whole: Any, file: str) -> GivenTools:
    """The tools of an MCP `tools/list` result, as such, as the whole JSON-RPC reply, or as a bare list."""
    value: Any = whole
    for key in ("result", "tools"):
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(key, cast(Any, value))
    if not isinstance(value, list):
        raise InputError(
            f"{file}: field 'tools': found {type(value).__name__}, expected the list of a tools/list result"
        )
    found = _Found()
    for place, entry in enumerate(cast("list[Any]", value)):
        tool = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        name = tool.get("name")
        if not isinstance(name, str) or not name.strip():
            found.unusable.append(Unusable(f"tools[{place}]", f"field 'name': found {name!r}, expected a text"))
            continue
        try:
            schema = tool.get("inputSchema")
            if not isinstance(schema, dict):
                raise _Problem(f"field 'inputSchema': found {type(schema).__name__}, expected a JSON Schema")
            parameters = _Inlined(cast("dict[str, Any]", schema)).schema(schema)
            result = cast("dict[str, Any]", tool.get("outputSchema") or {})
            output = _Inlined(result).schema(result)
            description = str(tool.get("description") or tool.get("title") or "")
            found.add(name, description, parameters, output)
        except _Problem as problem:
            found.unusable.append(Unusable(name, str(problem)))
    return found.given("mcp")


class _Found:
    """The tools of a file so far."""

    def __init__(self) -> None:
        self.documents: dict[str, ToolSchema] = {}
        self.unusable: list[Unusable] = []
        self.renamed: list[str] = []

    def add(self, name: str, description: str, parameters: dict[str, Any], output: dict[str, Any]) -> None:
        """Notes a tool. Raises _Problem."""
        called = _identifier(name)
        if called in self.documents:
            raise _Problem(f"a tool before it is called {called} as well")
        if not description.strip():
            raise _Problem("it has no description, expected what the tool does")
        if (kind := parameters.get("type", "object")) not in ("object", ["object"], ["object", "null"]):
            raise _Problem(f"its arguments are of type {str(kind)[:60]}, expected object")
        properties = _parts(parameters)
        renamed = {old: _identifier(old) for old in properties}
        if len(set(renamed.values())) < len(renamed):
            raise _Problem(f"two of its parameters have the same name as Python identifiers: {', '.join(properties)}")
        required = [renamed[old] for old in _required(parameters) if old in renamed]
        told = {renamed[old]: part for old, part in properties.items()}
        flat: dict[str, Any] = {"type": "object", "properties": told, "required": required}
        schemas: dict[str, dict[str, Any]] = {"parameters": flat, "output": output}
        for what, schema in schemas.items():
            try:
                compile_schema(schema)
            except SchemaError as error:
                raise _Problem(f"{what}: {error}") from None
        self.renamed += [f"{name} → {called}"] if called != name else []
        self.renamed += [f"{called}.{old} → {new}" for old, new in renamed.items() if old != new]
        text = " ".join(description.split())
        self.documents[called] = ToolSchema(name=called, description=text, parameters=flat, output=output)

    def given(self, kind: Any) -> GivenTools:
        notes = (f"names made Python identifiers: {', '.join(self.renamed)}",) if self.renamed else ()
        return GivenTools(kind, documents=tuple(self.documents.values()), unusable=tuple(self.unusable), notes=notes)


def _parts(schema: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    parts = _object(schema.get("properties") or {}, "field 'properties'")
    return {name: cast("dict[str, Any]", part) if isinstance(part, dict) else {} for name, part in parts.items()}


def _required(schema: Mapping[str, Any]) -> list[str]:
    found = schema.get("required", [])
    if not isinstance(found, list) or not all(isinstance(name, str) for name in cast("list[Any]", found)):
        raise _Problem(f"field 'required': found {str(cast(Any, found))[:60]!r}, expected a list of names")
    return cast("list[str]", found)


def _identifier(name: str) -> str:
    """The name as a Python identifier of at most 64 letters."""
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:_MOST_NAME] or "tool"
    plain = f"_{plain}"[:_MOST_NAME] if plain[0].isdigit() else plain
    return f"{plain[: _MOST_NAME - 1]}_" if keyword.iskeyword(plain) else plain


# --- OpenAPI ---------------------------------------------------------------------------------------------------------


def _read_operation(found: _Found, whole: Mapping[str, Any], path: str, method: str, entry: dict[str, Any]) -> None:
    operation = entry[method]
    name = f"{method} {path}"
    try:
        fields = _object(operation, "the operation")
        name = str(fields.get("operationId") or f"{method}_{re.sub('[{}]', '', path).strip('/')}")
        inlined = _Inlined(whole)
        parameters = _parameters(inlined, entry, fields)
        texts = [str(fields[key]).strip().rstrip(".") for key in ("summary", "description") if fields.get(key)]
        description = ". ".join(dict.fromkeys(texts))
        found.add(name, f"{description}." if description else "", parameters, _output(inlined, fields))
    except _Problem as problem:
        found.unusable.append(Unusable(name, str(problem)))


class _Parameter(NamedTuple):
    name: str
    schema: dict[str, Any]
    required: bool


def _parameters(inlined: _Inlined, entry: Mapping[str, Any], operation: Mapping[str, Any]) -> dict[str, Any]:
    """One flat schema: parameters in path and query, fields of the body; a second of a name says where it goes."""
    found: dict[str, _Parameter] = {}
    named: dict[tuple[str, str], dict[str, Any]] = {}
    for listed in (entry.get("parameters"), operation.get("parameters")):  # those of the operation count
        if listed is not None and not isinstance(listed, list):
            raise _Problem(f"field 'parameters': found {type(listed).__name__}, expected a list")
        for one in cast("list[Any]", listed or []):
            fields = _object(inlined.resolved(one), "a parameter")
            if not isinstance(name := fields.get("name"), str):
                raise _Problem(f"a parameter, field 'name': found {str(name)[:60]}, expected a text")
            named[name, str(fields.get("in"))] = fields
    for (name, place), fields in named.items():
        if place in ("path", "query"):
            schema = inlined.schema(
                fields["schema"] if "schema" in fields else _media(inlined, fields.get("content")) or {}
            )
            said = {"description": fields["description"]} if fields.get("description") else {}
            shown = {"examples": [fields["example"]]} if "example" in fields else {}
            required = bool(fields.get("required")) or place == "path"
            key = name if name not in found else f"{place}_{name}"
            found[key] = _Parameter(key, {**schema, **said, **shown}, required)
    if "requestBody" in operation:
        body = _object(inlined.resolved(operation["requestBody"]), "the body")
        raw = _media(inlined, body.get("content"))
        if raw is None:
            raise _Problem("its body is not JSON, expected application/json")
        schema = inlined.schema(raw)
        properties = schema.get("properties")
        if isinstance(properties, dict) and schema.get("type", "object") == "object":
            needed = _required(schema) if body.get("required", True) else []
            for name, part in cast("dict[str, Any]", properties).items():
                key = name if name not in found else f"body_{name}"
                found[key] = _Parameter(key, part if isinstance(part, dict) else {}, name in needed)
        else:
            found["body"] = _Parameter("body", schema, bool(body.get("required")))
    return {
        "type": "object",
        "properties": {one.name: one.schema for one in found.values()},
        "required": [one.name for one in found.values() if one.required],
    }


def _output(inlined: _Inlined, operation: Mapping[str, Any]) -> dict[str, Any]:
    responses = operation.get("responses")
    good = cast("dict[str, Any]", responses) if isinstance(responses, dict) else {}
    for code in sorted((code for code in good if str(code).startswith("2")), key=str):
        response = _object(inlined.resolved(good[code]), f"response {code}")
        if (raw := _media(inlined, response.get("content"))) is not None:
            return inlined.schema(raw)
    return {}


def _media(inlined: _Inlined, content: Any) -> Any:
    """The schema of the JSON in a `content`; None where there is no JSON."""
    if not isinstance(content, dict):
        return None
    for kind, media in cast("dict[str, Any]", content).items():
        if re.fullmatch(r"application/(.+\+)?json(;.*)?|\*/\*", str(kind)) and isinstance(media, dict):
            return _object(inlined.resolved(media), f"the content {kind}").get("schema", {})
    return None


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Problem(f"{what}: found {type(value).__name__}, expected an object")
    return cast("dict[str, Any]", value)


# --- references ------------------------------------------------------------------------------------------------------


class _Inlined:
    """Puts the references of one document in their places, within bounds."""

    def __init__(self, whole: Mapping[str, Any]) -> None:
        self._whole = whole
        self._nodes = 0

    def resolved(self, value: Any) -> Any:
        """What a value refers to, itself where it is no reference. Raises _Problem."""
        for _ in range(_MOST_DEPTH):
            if not isinstance(value, dict) or "$ref" not in value:
                return cast(Any, value)
            value = self._target(cast("dict[str, Any]", value)["$ref"])
        raise _Problem("its references lead round in a circle")

    def schema(self, value: Any) -> dict[str, Any]:
        """A schema without references, in the words of JSON Schema 2020-12. Raises _Problem."""
        return _object(self._inlined(value, 0, ()), "a schema") if not isinstance(value, bool) else {}

    def _target(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise _Problem(f"it refers to {str(reference)[:80]!r}, which is outside the file and is not fetched")
        here: Any = self._whole
        first, *parts = unquote(reference[1:]).split("/")
        if first:
            raise _Problem(f"it refers to {reference[:80]!r}, expected a path such as '#/components/schemas/NAME'")
        for part in parts:
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(here, dict) or key not in here:
                raise _Problem(f"it refers to {reference[:80]!r}, and there is nothing")
            here = cast("dict[str, Any]", here)[key]
        return here

    def _inlined(self, value: Any, depth: int, within: tuple[str, ...]) -> Any:
        self._nodes += 1
        if depth > _MOST_DEPTH or self._nodes > _MOST_NODES:
            raise _Problem("its schema is too large or too deep with its references put in their places")
        if isinstance(value, list):
            return [self._inlined(item, depth + 1, within) for item in cast("list[Any]", value)]
        if not isinstance(value, dict):
            return value
        fields = cast("dict[str, Any]", value)
        reference = fields.get("$ref")
        if "$ref" in fields and not isinstance(reference, dict):  # else it is a field of that name
            if reference in within:
                raise _Problem(f"its schema holds itself ({str(reference)[:80]}), and a tool's schema is finite")
            target = self._inlined(self._target(reference), depth + 1, (*within, str(reference)))
            beside = {key: part for key, part in fields.items() if key in ("description", "title", "default")}
            return {**cast("dict[str, Any]", target), **beside} if isinstance(target, dict) else target
        found: dict[str, Any] = {}
        for key, part in fields.items():
            if key in _LEFT_OUT or str(key).startswith("x-"):
                continue
            if key in ("properties", "patternProperties") and isinstance(part, dict):
                parts = cast("dict[str, Any]", part)
                found[key] = {name: self._inlined(one, depth + 1, within) for name, one in parts.items()}
            elif key in ("default", "enum", "const", "examples", "required"):
                found[key] = part
            elif key == "example":
                found["examples"] = [part]
            else:
                found[str(key)] = self._inlined(part, depth + 1, within)
        return dict(_modern(found))


def _modern(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """OpenAPI 3.0's own words in those of JSON Schema: `nullable`, and bounds that are exclusive by a flag."""
    nullable = schema.get("nullable") is True
    for key, part in schema.items():
        if key == "nullable":
            continue
        if key in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(part, bool):
            bound = "minimum" if key == "exclusiveMinimum" else "maximum"
            if part and bound in schema:
                yield key, schema[bound]
        elif key in ("minimum", "maximum") and schema.get(f"exclusive{key.capitalize()}") is True:
            continue
        elif key == "type" and nullable and isinstance(part, str):
            yield key, [part, "null"]
        elif key == "enum" and nullable and isinstance(part, list) and None not in part:
            yield key, [*cast("list[Any]", part), None]
        else:
            yield key, part
