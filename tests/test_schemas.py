"""Schemas of others are compiled without fetching anything."""

import http.server
import threading

import pytest

from toolfoundry.schemas import SchemaError, compile_schema


@pytest.fixture
def visited():
    """The address of a server on loopback, and the paths that were asked of it."""
    paths = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", paths
        server.shutdown()
        thread.join()


def outside(address):
    yield {"$ref": address}
    yield {"$schema": address}
    yield {"$dynamicRef": address}
    yield {"properties": {"x": {"$ref": f"{address}part#/x"}}}
    yield {"$id": f"{address}id", "$ref": "other"}
    yield {"$ref": "file:///etc/hostname"}


def test_a_reference_to_something_outside_is_refused_and_not_followed(visited):
    """No reference to an http or file address is followed, wherever it stands."""
    address, paths = visited
    for schema in outside(address):
        with pytest.raises(SchemaError):
            compile_schema(schema)
    assert paths == []


def test_references_within_a_schema_work():
    """A schema may refer to its own parts."""
    validator = compile_schema({"$defs": {"name": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/name"}}})
    assert validator.is_valid({"x": "a"})
    assert not validator.is_valid({"x": 1})


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "str"}, ("type",)),
        ({"properties": {"x": {"pattern": "["}}}, ("properties", "x", "pattern")),
        ({"$ref": "#/$defs/none"}, ()),
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, ("$schema",)),
    ],
)
def test_what_is_no_schema_is_refused_with_its_place(schema, path):
    """The error has one line and the path to what is wrong."""
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    assert caught.value.path == path
    assert "\n" not in str(caught.value)
