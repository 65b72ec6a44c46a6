"""ToolHop's rows become environments whatever shape their fields have, and what is no row is named."""

import json
from pathlib import Path

import pytest

from toolfoundry.answers import holds
from toolfoundry.errors import InputError, RecordError
from toolfoundry.formats.ftrl import from_row as from_ftrl_row
from toolfoundry.formats.ftrl import to_row
from toolfoundry.formats.toolhop import MODES, from_toolhop_row, read_toolhop, toolhop_prompt
from toolfoundry.prove import prove, summarise
from toolfoundry.store import read
from toolfoundry.types import EnvSpec

MAKER, MOTHER, LETTERS = "Who built the Ostra Tower?", "Who is the mother of Ana Bel?", "How many letters has Rosa?"


def document(name, *parameters):
    shape = {"type": "object", "properties": {key: {"type": "string"} for key in parameters}, "required": [*parameters]}
    return {"name": name, "description": f"The tool {name}.", "parameters": shape}


SOURCES = [
    "def find_maker(building):\n    return 'Ana Bel' if building == 'Ostra Tower' else 'nobody'\n\n"
    "# Example\nprint(find_maker('Ostra Tower'))",
    "def find_mother(person, source='all'):\n    return {'mother': 'Rosa'} if person == 'Ana Bel' else {'error': 'no'}",
    "def count_letters(word):\n    return len(word)",
]


def row(**changes):
    fields = {
        "id": 7,
        "question": "How many letters has the name of the mother of the builder of the Ostra Tower?",
        "answer": "4",
        "sub_task": {MAKER: "Ana Bel", MOTHER: "Rosa", LETTERS: "4"},
        "tools": {
            LETTERS: document("count_letters", "word"),
            MAKER: document("find_maker", "building"),
            MOTHER: document("find_mother", "person"),
        },
        "functions": SOURCES,
    }
    return {key: value for key, value in (fields | changes).items() if value is not ...}


def write(path, *rows, array=False):
    texts = [json.dumps(row) for row in rows]
    path.write_text("[" + ",\n".join(texts) + "]" if array else "\n".join(texts) + "\n")
    return path


def test_what_a_row_says():
    """Goals in the order of the functions, typed answers, unknown edges; the steps show what their questions quote."""
    spec = from_toolhop_row(row(), location="x:1")
    assert [(goal.tool, goal.answer.value, goal.needs, goal.echo_ok) for goal in spec.goals] == [
        ("find_maker", "Ana Bel", None, None),
        ("find_mother", "Rosa", None, None),
        ("count_letters", 4, None, None),
    ]
    assert [(step.question, step.needs) for step in spec.scenario.steps] == [
        (MAKER, ()),
        (MOTHER, ("g1",)),
        (LETTERS, ("g2",)),
    ]
    assert spec.scenario.answer.value == 4
    assert spec.gold_calls is None
    assert spec.task.tagged
    assert spec.provenance.labels["id"] == 7


@pytest.mark.parametrize("written", [json.dumps, repr], ids=["JSON text", "Python literal"])
def test_inner_fields_may_be_text(written):
    """Copies that hold them as text give the same environment."""
    plain = row()
    as_text = {key: written(plain[key]) for key in ("sub_task", "tools", "functions")}
    assert from_toolhop_row(plain | as_text) == from_toolhop_row(plain)


def test_functions_may_be_keyed_by_name():
    """The form of FTRL's copy."""
    named = dict(zip(["find_maker", "find_mother", "count_letters"], SOURCES, strict=True))
    assert from_toolhop_row(row(functions=named)).id == from_toolhop_row(row()).id


def test_text_is_never_executed(tmp_path):
    """An expression that would do something is no literal."""
    trap = tmp_path / "made"
    with pytest.raises(RecordError, match="field 'sub_task'"):
        from_toolhop_row(row(sub_task=f"open({str(trap)!r}, 'w')"))
    assert not trap.exists()


def test_an_array_and_lines_are_the_same(tmp_path):
    """The published array, and JSONL."""
    rows = [row(), row(id=8, question="Another?")]
    array, lines = write(tmp_path / "a.json", *rows, array=True), write(tmp_path / "b.jsonl", *rows)
    assert [spec.id for spec in read_toolhop(array)] == [spec.id for spec in read_toolhop(lines)]


def test_two_tools_of_one_name_are_told_apart(sandbox):
    """The second is renamed in document and source, and each document has the function with its parameters."""
    # In the documents' order the functions would be the wrong way round.
    sources = ["def first(word, side):\n    return word[0]", "def first(full_name):\n    return full_name.split()[0]"]
    spec = from_toolhop_row(
        row(
            sub_task={"a?": "R", "b?": "Rosa"},
            tools={"b?": document("first", "full_name"), "a?": document("first", "word", "side")},
            functions=sources,
        )
    )
    assert [(goal.tool, goal.answer.value) for goal in spec.goals] == [("first", "R"), ("first_2", "Rosa")]
    assert spec.provenance.changes == ("a further tool named first is called first_2",)
    with sandbox.session({tool.name: tool.source for tool in spec.tools}) as session:
        results = session.batch([("first", {"word": "Rosa", "side": "l"}), ("first_2", {"full_name": "Rosa Bel"})])
    assert [result.content for result in results] == ["R", "Rosa"]


def test_one_document_for_two_questions_is_one_tool():
    """It then has two goals."""
    tools = {"a?": document("count_letters", "word"), "b?": document("count_letters", "word")}
    spec = from_toolhop_row(row(sub_task={"a?": "4", "b?": "3"}, tools=tools, functions=[SOURCES[2]]))
    assert [tool.name for tool in spec.tools] == ["count_letters"]
    assert [goal.tool for goal in spec.goals] == ["count_letters", "count_letters"]


def test_two_documents_may_have_one_function():
    """Code that is kept by name has lost the other: both reach it."""
    tools = {"a?": document("count_letters", "word"), "b?": document("count_letters", "word", "language")}
    spec = from_toolhop_row(row(sub_task={"a?": "4", "b?": "3"}, tools=tools, functions={"count_letters": SOURCES[2]}))
    assert [tool.name for tool in spec.tools] == ["count_letters", "count_letters_2"]


def test_a_tool_without_sub_question_is_a_distractor():
    """It is offered and has no goal."""
    spec = from_toolhop_row(row(sub_task={MAKER: "Ana Bel"}))
    assert len(spec.tools) == 3
    assert len(spec.goals) == 1


def test_answers_need_not_be_text():
    """Numbers and lists are written out; a sub-question without an answer is no goal."""
    spec = from_toolhop_row(row(answer=4, sub_task={MAKER: "", MOTHER: ["Rosa"], LETTERS: 4}))
    assert [(goal.id, goal.answer.value) for goal in spec.goals] == [("g1", "['Rosa']"), ("g2", 4)]


def test_gold_calls_in_python_become_calls():
    """Positional and named arguments; each call belongs to the function at its place."""
    gold = ["find_maker('Ostra Tower')", "find_mother('Ana Bel', source='all')", "count_letters(word='Rosa')"]
    spec = from_toolhop_row(row(gold_calls=gold))
    assert [(call.id, call.name, json.loads(call.arguments)) for call in spec.gold_calls] == [
        ("g1", "find_maker", {"building": "Ostra Tower"}),
        ("g2", "find_mother", {"person": "Ana Bel", "source": "all"}),
        ("g3", "count_letters", {"word": "Rosa"}),
    ]


@pytest.mark.parametrize(
    "gold",
    ["count_letters('Rosa')", "find_maker(open('x'))", "find_maker(*['x'])", "find_maker('a', 'b')", "1 + 1", 5],
)
def test_gold_calls_that_cannot_be_read_are_left_out(gold):
    """Nobody needs them, and the record says so."""
    spec = from_toolhop_row(row(gold_calls=[gold]))
    assert spec.gold_calls is None
    assert spec.provenance.changes[0].startswith("gold calls left out: ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": ...}, "field 'question': found nothing, expected some text"),
        ({"answer": " "}, "field 'answer'"),
        ({"sub_task": []}, "field 'sub_task': found [], expected an object"),
        ({"sub_task": {"else?": "4"}}, "field 'tools': found none that answers a sub-question"),
        ({"sub_task": {MAKER: None, MOTHER: " "}}, "field 'tools': found none that answers a sub-question"),
        ({"tools": {MAKER: {"description": "x"}}}, f"field 'tools.{MAKER}'"),
        ({"tools": {MAKER: "find_maker"}}, f"field 'tools.{MAKER}': found 'find_maker'"),
        ({"functions": SOURCES[1:]}, "field 'functions': found no function 'find_maker'"),
        ({"functions": ["def f(:"]}, "field 'functions.0'"),
        ({"functions": 3}, "field 'functions': found 3, expected a list of Python sources"),
        ({"functions": "[1"}, "field 'functions'"),
    ],
)
def test_a_bad_row_is_named(tmp_path, changes, message):
    """File, line, field, found, expected; or it is passed over."""
    path = write(tmp_path / "rows.jsonl", row(), row(**changes))
    with pytest.raises(RecordError) as error:
        list(read_toolhop(path))
    assert f"{path}:2: {message}" in str(error.value)
    seen = []
    assert len(list(read_toolhop(path, skip_bad=True, on_bad=seen.append))) == 1
    assert len(seen) == 1


def test_what_is_no_file_of_rows(tmp_path):
    """A missing file, broken JSON in an array or a line, a line that is no object."""
    with pytest.raises(InputError, match="cannot be opened"):
        list(read_toolhop(tmp_path / "none.jsonl"))
    (tmp_path / "a.json").write_text('[{"question": ')
    with pytest.raises(RecordError, match="malformed JSON"):
        list(read_toolhop(tmp_path / "a.json"))
    (tmp_path / "b.jsonl").write_text("\n{\n")
    with pytest.raises(RecordError, match=r"b\.jsonl:2: found malformed JSON"):
        list(read_toolhop(tmp_path / "b.jsonl"))
    (tmp_path / "c.jsonl").write_text("3\n")
    with pytest.raises(RecordError, match=r"c\.jsonl:1: found int"):
        list(read_toolhop(tmp_path / "c.jsonl"))


def test_the_prompts_differ_by_mode():
    """All ask for the tags; only one demands a tool at every step."""
    texts = {mode: toolhop_prompt("Why?", mode)[0].content for mode in MODES}
    assert len(set(texts.values())) == 3
    assert all("<answer>" in text and text.endswith("Question: Why?") for text in texts.values())
    assert ["every step" in texts[mode] for mode in MODES] == [False, True, False]


def test_an_imported_row_is_proved(sandbox):
    """The prover finds the calls and the edges."""
    proved = prove(from_toolhop_row(row()), sandbox)
    assert summarise([proved]).fair_tasks == 1
    assert {goal.id: goal.needs for goal in proved.goals} == {
        "g1": (),
        "g2": ("g1",),
        "g3": (),
    }  # any word of 4 letters


def test_import_on_the_command_line(run, tmp_path):
    """It writes environments, which FTRL's format can hold as well."""
    path, envs = write(tmp_path / "rows.jsonl", row()), tmp_path / "envs.jsonl"
    code, _, err = run("import", "toolhop", path, "-o", envs, "--mode", "mandatory")
    assert code == 0, err
    [spec] = read(envs, EnvSpec)
    assert spec == next(read_toolhop(path, mode="mandatory"))
    assert from_ftrl_row(to_row(spec).encode()).goals == spec.goals


def test_every_published_row_becomes_an_environment(toolhop_rows):
    """One goal and one tool for each sub-question, every document in the hands of the model."""
    lines = [json.loads(line) for line in Path(toolhop_rows).read_text().splitlines()]
    specs = list(read_toolhop(toolhop_rows))
    assert len(specs) == len(lines) == len({spec.id for spec in specs})
    for spec, line in zip(specs, lines, strict=True):
        assert len(spec.goals) == len(spec.tools) == len(line["sub_task"])
        assert {goal.answer.text or goal.answer.value for goal in spec.goals} == set(line["sub_task"].values())
        assert (spec.gold_calls is None) == (not line["gold_calls"])
        documents = {tool.signature.description for tool in spec.tools}
        assert documents == {document["description"] for document in line["tools"].values()}


def test_published_gold_calls_give_the_answers(toolhop_rows, sandbox):
    """Where a row has gold calls, the environment's own calls run, and the last one gives the final answer."""
    played = 0
    for spec in read_toolhop(toolhop_rows):
        if spec.gold_calls is None:
            continue
        with sandbox.session({tool.name: tool.source for tool in spec.tools}) as session:
            results = session.batch([(call.name, json.loads(call.arguments)) for call in spec.gold_calls])
        assert [result.error for result in results] == [None] * len(results)
        assert holds(spec.scenario.answer, results[-1].content)
        played += 1
    assert played > 0
