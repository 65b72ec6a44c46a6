"""OpenAPI files and MCP tool lists as documents: flat parameters, references, names, and what cannot be used."""

from pathlib import Path

import pytest

from toolfoundry.build.own_tools.reading import read_tools_file
from toolfoundry.build.own_tools.specifications import read_mcp, read_openapi
from toolfoundry.schemas import compile_schema

EXAMPLES = Path(__file__).parents[2] / "examples" / "tools"


def api(operation, path="/things/{id}", method="get", **more):
    return {"openapi": "3.0.3", "paths": {path: {method: operation}}, **more}


def one(whole):
    given = read_openapi(whole, "f.json")
    assert given.unusable == ()
    [document] = given.documents
    return document


def reasons(given):
    return {problem.name: problem.reason for problem in given.unusable}


@pytest.mark.parametrize(("name", "kind"), [("museum.yaml", "openapi"), ("railway.json", "mcp")])
def test_the_examples_are_ten_tools(name, kind):
    """Every tool of both examples can be used, and every schema compiles without a reference left."""
    if name.endswith("yaml"):
        pytest.importorskip("yaml", reason="needs the extra tools")
    given = read_tools_file(EXAMPLES / name).given
    assert (given.kind, len(given.documents), given.unusable) == (kind, 10, ())
    for document in given.documents:
        compile_schema(document.parameters)
        assert "$ref" not in str(document)
        assert document.name.isidentifier()
        assert document.description.endswith(".")


def test_path_query_and_body_become_one_schema():
    """Required as the places say it; a second parameter of a name says where it goes; headers are left out."""
    document = one(
        api(
            {
                "operationId": "moveThing",
                "summary": "Move a thing",
                "description": "To another shelf.",
                "parameters": [
                    {
                        "name": "id",
                        "in": "path",
                        "schema": {"type": "string"},
                        "description": "Which.",
                        "example": "A1",
                    },
                    {"name": "dry", "in": "query", "schema": {"type": "boolean", "default": False}},
                    {"name": "id", "in": "query", "schema": {"type": "integer"}},
                    {"name": "X-Key", "in": "header", "required": True, "schema": {"type": "string"}},
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json; charset=utf-8": {
                            "schema": {
                                "type": "object",
                                "required": ["shelf"],
                                "properties": {
                                    "shelf": {"$ref": "#/components/schemas/Shelf"},
                                    "dry": {"type": "string"},
                                },
                            }
                        }
                    },
                },
                "responses": {
                    "404": {"description": "no"},
                    "201": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Shelf"}}}},
                },
            },
            method="post",
            components={
                "schemas": {
                    "Shelf": {
                        "type": "object",
                        "properties": {
                            "row": {"type": "integer", "nullable": True, "minimum": 0, "exclusiveMinimum": True}
                        },
                    }
                }
            },
        )
    )
    shelf = {"type": "object", "properties": {"row": {"type": ["integer", "null"], "exclusiveMinimum": 0}}}
    assert (document.name, document.description) == ("moveThing", "Move a thing. To another shelf.")
    assert document.parameters == {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "Which.", "examples": ["A1"]},
            "dry": {"type": "boolean", "default": False},
            "query_id": {"type": "integer"},
            "shelf": shelf,
            "body_dry": {"type": "string"},
        },
        "required": ["id", "shelf"],
    }
    assert document.output == shelf


def test_names_become_identifiers():
    """Without an operationId the method and path name it; parameters too are made identifiers, and it is said."""
    given = read_openapi(
        api(
            {
                "summary": "Get",
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
                    {"name": "sort-by", "in": "query", "schema": {"type": "string"}},
                    {"name": "from", "in": "query", "schema": {"type": "string"}},
                ],
            }
        ),
        "f.json",
    )
    [document] = given.documents
    assert document.name == "get_things_id"
    assert list(document.parameters["properties"]) == ["id", "sort_by", "from_"]
    assert given.notes == (
        "names made Python identifiers: get_things/id → get_things_id, get_things_id.sort-by → sort_by, "
        "get_things_id.from → from_",
    )


def test_operations_that_cannot_be_used():
    """References outside the file, into nothing and in circles; bodies that are not JSON; no description; a clash."""

    def body(schema, kind="application/json"):
        return {"summary": "Do", "requestBody": {"content": {kind: {"schema": schema}}}}

    paths = {
        "/remote": {"post": body({"$ref": "https://example.org/x.json#/X"})},
        "/other": {"post": body({"$ref": "other.yaml#/X"})},
        "/nothing": {"post": body({"$ref": "#/components/schemas/Nothing"})},
        "/circle": {"post": body({"$ref": "#/components/schemas/Tree"})},
        "/form": {"post": body({"type": "object"}, "multipart/form-data")},
        "/silent": {"get": {}},
        "/wrong": {"get": {"summary": "Wrong", "parameters": [{"name": "a", "in": "query", "schema": {"type": "no"}}]}},
        "/good": {"get": {"operationId": "good", "summary": "Good"}},
        "/again": {"get": {"operationId": "good", "summary": "Again"}},
        "/text": {"get": "text"},
        "/nameless": {"get": {"summary": "Get", "parameters": [{"in": "query", "schema": {"type": "string"}}]}},
        "/table": {"get": {"summary": "Get", "parameters": {"a": {"in": "query"}}}},
        "/flag": {"post": body({"type": "object", "properties": {"a": {"type": "string"}}, "required": True})},
        "/media": {"post": {"summary": "Do", "requestBody": {"content": {"application/json": {"$ref": "#/openapi"}}}}},
        "/anchor": {"post": body({"$ref": "#Tree"})},
    }
    tree = {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}},
    }
    whole = {"openapi": "3.1.0", "paths": paths, "components": {"schemas": {"Tree": tree}}}
    given = read_openapi(whole, "f.json")
    assert [document.name for document in given.documents] == ["good"]
    found = reasons(given)
    for name, expected in {
        "post_remote": "outside the file and is not fetched",
        "post_other": "outside the file and is not fetched",
        "post_nothing": "and there is nothing",
        "post_circle": "its schema holds itself",
        "post_form": "its body is not JSON",
        "get_silent": "it has no description",
        "get_wrong": "parameters: properties.a.type",
        "good": "a tool before it is called good as well",
        "get /text": "the operation: found str",
        "get_nameless": "field 'name': found None",
        "get_table": "field 'parameters': found dict, expected a list",
        "post_flag": "field 'required': found 'True', expected a list of names",
        "post_media": "the content application/json: found str",
        "post_anchor": "it refers to '#Tree', expected a path",
    }.items():
        assert expected in found[name], name


def test_references_that_multiply_are_not_followed():
    """A schema of a few lines that would unfold into millions is refused."""
    schemas = {"L9": {"type": "string"}}
    for level in range(9):
        below = {"$ref": f"#/components/schemas/L{level + 1}"}
        schemas[f"L{level}"] = {"type": "object", "properties": {f"p{i}": below for i in range(9)}}
    whole = api(
        {"operationId": "x", "summary": "X", "requestBody": {"$ref": "#/components/requestBodies/B"}}, method="put"
    )
    whole["components"] = {
        "schemas": schemas,
        "requestBodies": {"B": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/L0"}}}}},
    }
    assert "too large or too deep" in reasons(read_openapi(whole, "f.json"))["x"]


def test_a_tool_list_in_each_of_its_forms():
    """A tools/list result, the whole reply, a bare list; schemas may define parts; bad entries have their reasons."""
    tools = [
        {
            "name": "weather.at-place",
            "description": "Get the weather.",
            "inputSchema": {
                "type": "object",
                "properties": {"place": {"$ref": "#/$defs/Place"}},
                "required": ["place"],
                "$defs": {"Place": {"type": "string", "minLength": 2}},
            },
        },
        {"name": "bad", "description": "Bad."},
        {"name": "", "description": "Bad."},
        "text",
        {"name": "silent", "inputSchema": {"type": "object"}},
    ]
    for whole in (tools, {"tools": tools}, {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools, "nextCursor": "x"}}):
        given = read_mcp(whole, "f.json")
        [document] = given.documents
        assert document.name == "weather_at_place"
        assert document.parameters["properties"] == {"place": {"type": "string", "minLength": 2}}
        assert document.output == {}
        assert list(reasons(given)) == ["bad", "tools[2]", "tools[3]", "silent"]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object", "required": 5}, "field 'required': found '5', expected a list of names"),
        ({"type": "object", "properties": {"a": {}}, "required": "a"}, "field 'required': found 'a'"),
        ({"type": "object", "properties": {"a": {}}, "required": [["a"]]}, "field 'required': found"),
        ({"type": "object", "properties": ["a"]}, "field 'properties': found list, expected an object"),
        ({"type": "array", "items": {"type": "string"}}, "its arguments are of type array, expected object"),
    ],
)
def test_a_schema_of_another_form_is_no_tool(schema, expected):
    """What a server wrote against the specification is named, and nothing of it is left out in silence."""
    given = read_mcp([{"name": "x", "description": "X.", "inputSchema": schema}], "f.json")
    assert given.documents == ()
    assert expected in reasons(given)["x"]


def test_references_are_spelled_as_addresses():
    """A name with a space stands percent-encoded in a reference."""
    schema = {"properties": {"a": {"$ref": "#/$defs/A%20b~1c"}}, "$defs": {"A b/c": {"type": "string"}}}
    [document] = read_mcp([{"name": "x", "description": "X.", "inputSchema": schema}], "f.json").documents
    assert document.parameters["properties"] == {"a": {"type": "string"}}
