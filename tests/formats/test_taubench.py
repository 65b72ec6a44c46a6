"""Reading τ-bench: every real row loads, and what is wrong with a file is said with its place."""

import json

import pytest

import tau_library as library
from toolfoundry.errors import InputError
from toolfoundry.formats.taubench import read_taubench


def test_a_set_is_read(tmp_path):
    """Tasks come in the order of the file, with their gold calls; the database has a table for each other JSON file."""
    found = read_taubench(library.write(tmp_path))
    assert [task.instruction for task in found.tasks] == [row["instruction"] for row in library.ROWS]
    swap, ask = found.tasks[:2]
    assert [call.name for call in swap.actions] == ["get_book", "return_book", "lend_book"]
    assert json.loads(swap.actions[1].arguments) == {"book_id": "b2"}
    assert (ask.actions, ask.outputs, ask.location) == ((), ("12.50", "1204"), "tau-bench.jsonl:2")
    domain = found.domains["library"]
    assert domain.database == {"books": library.BOOKS, "members": library.MEMBERS}
    assert domain.wiki == library.WIKI
    assert [tool.name for tool in domain.tools] == list(library.CODES)


def test_the_file_itself_may_be_named(tmp_path):
    """The path of the tasks does as well as that of their folder."""
    folder = library.write(tmp_path)
    assert read_taubench(folder / "tau-bench.jsonl") == read_taubench(folder)


def test_ids_depend_on_the_content_alone(tmp_path):
    """A task has the same id in any part of the set; a row that stands there twice is two tasks."""
    whole = read_taubench(library.write(tmp_path)).tasks
    part = read_taubench(library.write(tmp_path, [library.LEND, library.SWAP, library.SWAP])).tasks
    assert [task.id for task in part] == [whole[2].id, whole[0].id, whole[0].id + "-2"]
    assert whole[0].id.startswith("library-")


BAD_ROWS = {
    "no object": ([], "expected one task as a JSON object"),
    "no instruction": ({"instruction": " "}, "'instruction': found \" \""),
    "no outputs": ({"outputs": None}, "'outputs': found nothing, expected a list of strings"),
    "an output that is a number": ({"outputs": [12.5]}, "'outputs': found [12.5]"),
    "an empty output": ({"outputs": [""]}, "'outputs'"),
    "no actions": ({"actions": "none"}, "'actions': found \"none\", expected a list of calls"),
    "an action that is none": ({"actions": [{"name": "get_book"}]}, "'actions.0': found"),
    "a call of no tool": ({"actions": [library.action("sell_book")]}, "'actions.0.function.name': found 'sell_book'"),
    "arguments that are no object": (
        {"actions": [{"function": {"name": "get_book", "arguments": "[1]"}}]},
        "'actions.0.function.arguments': found \"[1]\"",
    ),
    "another benchmark": ({"data_source": "self/single_hop"}, "'data_source': found \"self/single_hop\""),
    "a way out of the folder": ({"data_source": "tau-bench/../.."}, "'data_source'"),
    "a domain without a folder": ({"data_source": "tau-bench/bank"}, "'data_source': found 'bank'"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_named(tmp_path, name):
    """The error says file, line, field, what was found and what was expected."""
    change, message = BAD_ROWS[name]
    bad = {**library.SWAP, **change} if isinstance(change, dict) else change
    folder = library.write(tmp_path, [library.ASK, bad])
    with pytest.raises(InputError) as caught:
        read_taubench(folder)
    assert f"{folder}/tau-bench.jsonl:2:" in str(caught.value)
    assert message in str(caught.value)


def without(name):
    return lambda place: (place / name).unlink()


def having(name, text):
    return lambda place: (place / name).write_text(text)


BAD_DOMAINS = {
    "no tools": (without("tools.json"), "tools.json: cannot be read"),
    "no policy": (without("wiki.md"), "wiki.md: cannot be read"),
    "a table that is cut off": (having("books.json", '{"b1": '), "books.json: found malformed JSON"),
    "tools that are none": (having("tools.json", "{}"), "tools.json: found {}, expected a list of OpenAI functions"),
    "a tool that is none": (having("tools.json", '[{"name": "x"}]'), "tools.json: field '0'"),
    "codes that are none": (having("codes.json", "[]"), "codes.json: found [], expected an object"),
    "a tool without source": (having("codes.json", "{}"), "codes.json: field 'get_book': found nothing"),
    "a source that does not parse": (
        having("codes.json", json.dumps({**library.CODES, "lend_book": "def lend_book(data:"})),
        "codes.json: field 'lend_book'",
    ),
    "a tool that is there twice": (
        having("tools.json", json.dumps([*library.TOOLS, library.TOOLS[0]])),
        "tools.json: field '4': found a second tool named 'get_book'",
    ),
}


@pytest.mark.parametrize("name", BAD_DOMAINS)
def test_a_bad_domain_is_named(tmp_path, name):
    """What is wrong with a domain's files is said with the file, and with the tool where it is one."""
    spoil, message = BAD_DOMAINS[name]
    folder = library.write(tmp_path)
    spoil(folder / "tau-bench" / "library")
    with pytest.raises(InputError) as caught:
        read_taubench(folder)
    assert str(folder / "tau-bench" / "library") in str(caught.value)
    assert message in str(caught.value)


def test_a_domain_without_tables(tmp_path):
    """A folder with tools but no database is not a domain."""
    folder = library.write(tmp_path)
    for name in ("books", "members"):
        (folder / "tau-bench" / "library" / f"{name}.json").unlink()
    with pytest.raises(InputError, match="found no table of the database"):
        read_taubench(folder)


@pytest.mark.parametrize("path", ["missing", "tau-bench", "missing.jsonl"])
def test_a_wrong_path(tmp_path, path):
    """A path that holds no set says what was expected there."""
    library.write(tmp_path)
    with pytest.raises(InputError, match=r"found no tau-bench.jsonl, expected a folder with tau-bench.jsonl"):
        read_taubench(tmp_path / path)


def test_an_empty_file(tmp_path):
    """A file without tasks is an error, not an empty benchmark."""
    with pytest.raises(InputError, match="expected at least one task"):
        read_taubench(library.write(tmp_path, []))


def test_every_published_row_loads():
    """All rows that we have are read, each with an id of its own, and the policies and tools of both domains."""
    folder = library.published()
    found = read_taubench(folder)
    lines = (folder / "tau-bench.jsonl").read_text().splitlines()
    assert len(found.tasks) == len({task.id for task in found.tasks}) == len(lines) > 0
    assert set(found.domains) == {"airline", "retail"}
    for domain in found.domains.values():
        assert "transfer_to_human_agents" in {tool.name for tool in domain.tools}
        assert len(domain.wiki) > 1000
