"""The search program: complete, made of the standard library alone, and of one mind with the host."""

import ast
import sys

import pytest

from toolfoundry.answers import holds, infer, published_match, stands_in
from toolfoundry.prove.bundle import search_program
from toolfoundry.prove.judge import reports_error
from toolfoundry.sandbox.modules import ALLOWED_IMPORTS

PAIRS = [
    ("5,000", '{"n": 5000}'),
    ("1", "founded in 2010"),
    ("May 18, 2001", "on 2001-05-18"),
    ("No", "no, it is not"),
    ("Boulder, Colorado", '{"city": "Boulder", "state": "Colorado"}'),
    ("c, a, b", "Ranking: c, a, b"),
    ("Prüm", '{"error": "use Prüm"}'),
    ("70,000,000.00", '{"v": 70000000}'),
]


def test_the_program_imports_only_what_the_sandbox_has():
    """Every import is one that tool code may make."""
    imports = [node for node in ast.walk(ast.parse(search_program())) if isinstance(node, ast.Import | ast.ImportFrom)]
    roots = {(node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    assert {root.split(".")[0] for root in roots} <= ALLOWED_IMPORTS
    assert roots.isdisjoint({"orjson", "pydantic", "toolfoundry"})


@pytest.mark.parametrize(("answer", "content"), PAIRS)
def test_inside_and_outside_agree(answer, content, sandbox):
    """The comparison in the sandbox is the host's, word for word."""
    probe = (
        "\ndef probe(answer, content):\n    a = infer(answer)\n    return [holds(a, content), stands_in(a, [content]),"
        " published_match(answer, content), reports_error(content), a.type]\n"
    )
    result = sandbox.call(search_program() + probe, "probe", {"answer": answer, "content": content})
    typed = infer(answer)
    expected = [holds(typed, content), stands_in(typed, [content]), published_match(answer, content)]
    assert ast.literal_eval(result.content.replace("true", "True").replace("false", "False")) == [
        *expected,
        reports_error(content),
        typed.type,
    ]


def test_names_that_two_modules_define_are_refused(monkeypatch):
    """Modules that would overwrite each other's names in the program are an error, not a surprise."""
    module = sys.modules["toolfoundry.prove.bundle"]
    monkeypatch.setattr(module, "_MODULES", ("answers", "placeholders"))
    search_program.cache_clear()
    try:
        with pytest.raises(ValueError, match="is defined by both"):
            search_program()
    finally:
        search_program.cache_clear()
