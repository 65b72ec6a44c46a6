"""ToolHop: three modes, and a score by each rule that says what the rule says."""

import asyncio
import json

import pytest

import fake_openai_server
import fakes
from toolfoundry.answers import spelling
from toolfoundry.errors import EndpointError, InputError, RecordError
from toolfoundry.evaluate import toolhop
from toolfoundry.evaluate.attempts import RULES
from toolfoundry.evaluate.results import summarise_attempts
from toolfoundry.policies.openai import OpenAIPolicy
from toolfoundry.store import dump, load_record
from toolfoundry.types import Fault, ToolCall

SOURCE = "def find_maker(building):\n    return {'maker': 'Ana Bel', 'year': 1324}"
SHAPE = {"type": "object", "properties": {"building": {"type": "string"}}, "required": ["building"]}


def row(number=1, **changes):
    question = f"Who built tower {number}?"
    fields = {
        "id": number,
        "question": question,
        "answer": "Ana Bel",
        "sub_task": {question: "Ana Bel"},
        "tools": {question: {"name": "find_maker", "description": "Finds makers.", "parameters": SHAPE}},
        "functions": [SOURCE],
    }
    return fields | changes


def write(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


class Tools:
    """An executor whose one tool gives what a table says for a building."""

    def __init__(self, table):
        self.table = table

    def session(self, sources, *, state=None, seed=0):
        return self

    async def abatch(self, calls):
        canned = fakes.CannedSession(fakes.CannedExecutor(self.table))
        return [canned._result(name, {"x": arguments.get("building")}) for name, arguments in calls]

    def close(self):
        pass


TABLE = {("find_maker", "tower"): "Ana Bel, 1324", ("find_maker", "hut"): '{"error": "no such building"}'}


def call(building, call_id="c0"):
    return ToolCall(id=call_id, name="find_maker", arguments=json.dumps({"building": building}))


BROKEN = ToolCall(id="c9", name="", arguments='<tool_call>{"name": "find_maker", Ana Bel')


def play(tmp_path, mode, *messages, answer="Ana Bel"):
    """The attempt at the one question by a policy that says these messages."""
    benchmark = toolhop.load(write(tmp_path / "rows.jsonl", row(answer=answer)), mode=mode)
    [item] = benchmark.items()
    return asyncio.run(benchmark.play(item, fakes.says(*messages), Tools(TABLE), name="m", sample=0))


def answers(attempt):
    return {rule: attempt.scores[rule]["answer"] for rule in RULES}


def test_items(tmp_path):
    """Each question in each mode, clustered by question; only those with tools are environments."""
    benchmark = toolhop.load(write(tmp_path / "rows.jsonl", row(1), row(2), row(1)))
    items = benchmark.items()
    assert [(item.group, item.cluster, item.spec is None) for item in items] == [
        ("direct", "1", True),
        ("direct", "2", True),
        ("mandatory", "1", False),
        ("mandatory", "2", False),
        ("free", "1", False),
        ("free", "2", False),
    ]
    assert len({item.id for item in items}) == 6
    assert [item.group for item in toolhop.load(tmp_path / "rows.jsonl", mode="free").items()] == ["free", "free"]


def test_direct_is_one_completion_without_tools(tmp_path):
    """No tools are passed, calls made all the same are refused, and nothing runs."""
    seen = []

    async def policy(messages, tools):
        seen.append((messages, tools))
        return (await fakes.says(fakes.assistant("", call("tower")))(messages, tools)).model_copy()

    benchmark = toolhop.load(write(tmp_path / "rows.jsonl", row()), mode="direct")
    [item] = benchmark.items()
    attempt = asyncio.run(benchmark.play(item, policy, None, name="m", sample=3))
    [(messages, tools)] = seen
    assert tools == ()
    assert messages[0].content.endswith("Question: Who built tower 1?")
    assert attempt.key == f"toolhop-direct/{item.id}/m/3"
    assert attempt.trajectory.turns[0].results[0].error.startswith("unknown_tool")
    assert attempt.trajectory.task.goals == ()
    assert attempt.scores["fixed"] == {"answer": 0.0, "invocation": 0.0}


def test_nine_turns(tmp_path):
    """Then it is over, and a conversation that ends with a tool message has no answer."""
    attempt = play(tmp_path, "free", fakes.assistant("Ana Bel", call("tower")))
    assert len(attempt.trajectory.turns) == 9
    assert attempt.trajectory.stop == "max_turns"
    assert answers(attempt) == {"paper": 0.0, "fixed": 0.0}


LONG = "I have looked at everything there is, and I think that it must be Ana Bel."

# What is said, and the score by paper and fixed.
CASES = {
    "the answer in tags": ([fakes.assistant("It is <answer>Ana Bel</answer>")], 1, 1),
    "another answer": ([fakes.assistant("<answer>Bo Ek</answer>")], 0, 0),
    "nothing": ([fakes.assistant("")], 0, 0),
    "stated: somewhere in the text": ([fakes.assistant(LONG)], 1, 0),
    "stated: another one in the tags": ([fakes.assistant("Not Ana Bel: <answer>Bo Ek</answer>")], 1, 0),
    "stated: the last tags": ([fakes.assistant("<answer>Bo Ek</answer> no, <answer>ana bel</answer>")], 1, 1),
    "a bare short message": ([fakes.assistant("Ana Bel.")], 1, 1),
    "own words: right before it a tool has said it": (
        [fakes.assistant("", call("tower")), fakes.assistant("That was it.")],
        1,
        0,
    ),
    "a tool has said it two messages before": (
        [fakes.assistant("", call("tower")), fakes.assistant("", call("hut")), fakes.assistant("That was it.")],
        0,
        0,
    ),
    "the last of several tool messages counts": (
        [fakes.assistant("", call("tower"), call("hut", "c1")), fakes.assistant("That was it.")],
        0,
        0,
    ),
    "a tool has said it and the answer is empty": ([fakes.assistant("", call("tower")), fakes.assistant("")], 0, 0),
    "no thinking": ([fakes.assistant("<answer>Bo Ek</answer>", thinking="Ana Bel?")], 1, 0),
    "complete: cut off": (
        [fakes.assistant("<answer>Ana Bel</answer>", faults=(Fault(kind="unfinished"),))],
        1,
        0,
    ),
    "complete: call markup in the text": ([fakes.assistant("<tool_call> <answer>Ana Bel</answer>")], 1, 0),
    "an unreadable call is text, and the end": (
        [fakes.assistant("", BROKEN), fakes.assistant("<answer>Bo Ek</answer>")],
        1,
        0,
    ),
    "after an unreadable call nothing counts": (
        [
            fakes.assistant("", BROKEN.model_copy(update={"arguments": "<tool_call>{"})),
            fakes.assistant("<answer>Ana Bel</answer>"),
        ],
        0,
        1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_answers_by_rule(tmp_path, name):
    """Each named difference between the rules, and what they agree on."""
    messages, paper, fixed = CASES[name]
    assert answers(play(tmp_path, "free", *messages)) == {"paper": paper, "fixed": fixed}


@pytest.mark.parametrize(
    ("golden", "said", "paper", "fixed"),
    [
        ("4", "<answer>324</answer>", 1, 0),
        ("324.0", "<answer>324</answer>", 0, 1),
        ("5,000", "<answer>5000</answer>", 1, 1),
        ("2001-05-18", "<answer>May 18, 2001</answer>", 0, 1),
        ("a, b", "<answer>b and a</answer>", 1, 0),
        ("s", "<answer>t</answer>", 1, 0),  # it stands in the tag itself
    ],
)
def test_typed_answers(tmp_path, golden, said, paper, fixed):
    """Values are compared, where the release looks for substrings."""
    assert answers(play(tmp_path, "direct", fakes.assistant(said), answer=golden)) == {"paper": paper, "fixed": fixed}


def test_direct_has_no_tool_message(tmp_path):
    """With a readable call in it the message still is the last one."""
    assert answers(play(tmp_path, "direct", fakes.assistant("Ana Bel", call("tower"))))["paper"] == 1


def test_invocation(tmp_path):
    """The share of calls that were carried out and report no error; none without calls."""
    calls = [call("tower"), call("hut", "c1"), call("sea", "c2"), BROKEN]  # fine, reports, raises, unreadable
    attempt = play(tmp_path, "mandatory", fakes.assistant("", *calls), fakes.assistant("<answer>Ana Bel</answer>"))
    assert attempt.scores["paper"]["invocation"] == attempt.scores["fixed"]["invocation"] == 0.25
    assert "invocation" not in play(tmp_path, "free", fakes.assistant("<answer>x</answer>")).scores["fixed"]


@pytest.mark.parametrize("mode", ["direct", "free"])
def test_a_failure_is_unscored(tmp_path, mode):
    """With its cause, under the key that it would have had."""
    attempt = play(tmp_path, mode, EndpointError("gone"))
    assert attempt.scores == {}
    assert attempt.trajectory.error == "EndpointError: gone"
    benchmark = toolhop.load(tmp_path / "rows.jsonl", mode=mode)
    assert attempt.trajectory.task.spec_id == benchmark.items()[0].id
    assert benchmark.score(attempt) == attempt


def test_scoring_again_is_pure(tmp_path):
    """From the stored record alone come the scores given while playing."""
    for number, (messages, _, _) in enumerate(CASES.values()):
        attempt = play(tmp_path, ["free", "mandatory", "direct"][number % 3], *messages)
        stored = load_record(type(attempt), dump(attempt))
        assert toolhop.load(tmp_path / "rows.jsonl").score(stored.model_copy(update={"scores": {}})) == attempt


def test_the_table(tmp_path):
    """AC is the mean of the modes; calls have a figure only where there were any."""
    benchmark = toolhop.load(write(tmp_path / "rows.jsonl", row(1), row(2)))
    said = {"direct": "<answer>Bo Ek</answer>", "mandatory": "<answer>Ana Bel</answer>", "free": "<answer>Bo</answer>"}

    async def attempts():
        found = []
        for item in benchmark.items():
            messages = [] if item.group == "direct" else [fakes.assistant("", call("tower"))]
            policy = fakes.says(*messages, fakes.assistant(said[item.group]))
            found.append(await benchmark.play(item, policy, Tools(TABLE), name="m", sample=0))
        return found

    result = summarise_attempts(benchmark.about, asyncio.run(attempts()), "fixed")
    assert result.overall.metrics["answer"].mean == pytest.approx(1 / 3)
    assert result.overall.metrics["invocation"].mean == 1.0
    assert {row.group: row.metrics["answer"].mean for row in result.rows[1:]} == {
        "direct": 0.0,
        "free": 0.0,
        "mandatory": 1.0,
    }
    assert result.paper.mean == pytest.approx(1 / 3)


def test_through_an_endpoint(tmp_path):
    """A model that calls its tool and answers has the known score over HTTP: all but direct, where it has no tool."""
    benchmark = toolhop.load(write(tmp_path / "rows.jsonl", row()))

    def model(request):
        if "tools" not in request.body:
            return fake_openai_server.reply("<answer>Bo Ek</answer>")
        if request.body["messages"][-1]["role"] == "tool":
            return fake_openai_server.reply("<answer>Ana Bel</answer>")
        return fake_openai_server.reply(None, fake_openai_server.call("find_maker", '{"building": "tower"}'))

    async def everything():
        with fake_openai_server.serve(model) as url:
            async with OpenAIPolicy("m", base_url=url) as policy:
                return [await benchmark.play(i, policy, Tools(TABLE), name="m", sample=0) for i in benchmark.items()]

    scores = [(attempt.scores["paper"], attempt.scores["fixed"]) for attempt in asyncio.run(everything())]
    right = {"answer": 1.0, "invocation": 1.0}
    assert scores == [({"answer": 0.0}, {"answer": 0.0}), (right, right), (right, right)]


def test_what_is_no_benchmark(tmp_path):
    """An empty file, a missing one, a bad row."""
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="has no ToolHop rows"):
        toolhop.load(tmp_path / "empty.jsonl")
    with pytest.raises(InputError, match="cannot be opened"):
        toolhop.load(tmp_path / "none.jsonl")
    with pytest.raises(RecordError, match=r"rows\.jsonl:1: field 'answer'"):
        toolhop.load(write(tmp_path / "rows.jsonl", row(answer="")))


# --- published rows ------------------------------------------------------------------------------------------------


def test_golden_answers_score_one(toolhop_rows):
    """In direct mode the golden answer is right on every row by both rules, and another one by none."""
    benchmark = toolhop.load(toolhop_rows, mode="direct")

    async def tried(item, spec):
        for text, wanted in [(f"<answer>{spelling(spec.scenario.answer)}</answer>", 1.0), ("???", 0.0)]:
            attempt = await benchmark.play(item, fakes.says(fakes.assistant(text)), None, name="m", sample=0)
            assert answers(attempt) == {"paper": wanted, "fixed": wanted}, spec.provenance.location

    async def everything():
        for item, spec in zip(benchmark.items(), benchmark.specs["direct"], strict=True):
            await tried(item, spec)

    asyncio.run(everything())


def test_published_gold_calls_are_played(toolhop_rows, sandbox):
    """Where a row has gold calls, they run without error in both modes with tools, and the answer is right."""
    benchmark = toolhop.load(toolhop_rows)
    items = [item for item in benchmark.items() if item.spec is not None and item.spec.gold_calls]
    assert items

    async def tried(item):
        calls = [fakes.assistant("", call) for call in item.spec.gold_calls]
        answer = fakes.assistant(f"<answer>{spelling(item.spec.scenario.answer)}</answer>")
        return await benchmark.play(item, fakes.says(*calls, answer), sandbox, name="m", sample=0)

    async def everything():
        return [await tried(item) for item in items]

    for attempt in asyncio.run(everything()):
        assert attempt.scores["paper"] == attempt.scores["fixed"] == {"answer": 1.0, "invocation": 1.0}
