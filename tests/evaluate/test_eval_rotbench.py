"""RoTBench: calls read from text, three nested scores by each rule."""

import asyncio
import json

import pytest

import fake_openai_server
import fakes
from toolfoundry.errors import EndpointError, InputError, RecordError
from toolfoundry.evaluate import rotbench
from toolfoundry.evaluate.attempts import RULES
from toolfoundry.evaluate.results import summarise_attempts
from toolfoundry.evaluate.rotbench import LEVELS, TextCall, published_call, read_call
from toolfoundry.policies.openai import OpenAIPolicy
from toolfoundry.store import dump, load_record
from toolfoundry.types import Fault, ToolCall

TOOLS = [
    {"name": "tide_table", "description": "Tides of a harbour."},
    {"name": "harbour_log", "description": "Ships in a harbour."},
    {"name": "aks_usr", "description": "You can ask user for guidance when something is missing."},
]
SYSTEM = f"Use the tools [and only them]:\n{json.dumps(TOOLS)}\n\nLet's begin."
GOLD = (
    'Thought:\nAction: tide_table\nAction Input: {"harbour": "Velden", "day": "Monday"}',
    'Thought:\nAction: tide_table\nAction Input: {"harbour": "Velden", "day": "Mon", "key": "None"}',
    'Thought:\nAction: aks_usr\nAction Input: {"question": "Which harbour?"}',
)


def row(query="When is high water?\nBegin!\n", gold=GOLD, system=SYSTEM):
    return {
        "id": f"Turn 1: {query}",
        "scenario": "RS",
        "conversations": [
            {"from": "system", "value": system},
            {"from": "user", "value": query},
            {"from": "assistant", "value": [*gold]},
        ],
    }


def write(folder, **rows):
    """A folder with all levels; those that are not given have the one row above."""
    folder.mkdir(exist_ok=True)
    for level in LEVELS:
        (folder / f"{level}.json").write_text(json.dumps(rows.get(level, [row()])))
    return folder


def play(tmp_path, *messages, gold=GOLD):
    benchmark = rotbench.load(write(tmp_path / "rot", clean=[row(gold=gold)]))
    item = benchmark.items()[0]
    return asyncio.run(benchmark.play(item, fakes.says(*messages), None, name="m", sample=0))


def said(tool="tide_table", text=None, **arguments):
    return f"Thought: so.\nAction: {tool}\nAction Input: {text or json.dumps(arguments)}"


def scored(attempt):
    """By rule, TS PI CF as one text."""
    return {rule: "".join(str(int(attempt.scores[rule][name])) for name in ("ts", "pi", "cf")) for rule in RULES}


RIGHT = said(harbour="Velden", day="Monday")

# What is said, then TS PI CF by paper and by fixed.
CASES = {
    "the gold call": (RIGHT, "111", "111"),
    "another order of arguments": (said(day="Monday", harbour="Velden"), "111", "111"),
    "another tool": (said("harbour_log", harbour="Velden", day="Monday"), "000", "000"),
    "an argument too many": (said(harbour="Velden", day="Monday", hour="1"), "100", "100"),
    "an argument missing": (said(harbour="Velden"), "100", "100"),
    "no argument": (said(), "100", "100"),
    "another value": (said(harbour="Velden", day="Friday"), "110", "110"),
    "another type of value": (said(harbour="Velden", day=1), "110", "110"),
    "pairs: values exchanged": (said(harbour="Monday", day="Velden"), "111", "110"),
    "open values: a key that nobody knows": (said(harbour="Velden", day="Mon", key="k-1"), "110", "111"),
    "open values: only that one": (said(harbour="Ostra", day="Mon", key="None"), "110", "110"),
    "open values: a question of one's own": (said("aks_usr", question="Where, please?"), "110", "111"),
    "trailing text": (RIGHT + "\nObservation: it is at noon.", "000", "111"),
    "trailing text: another call": (RIGHT + "\n" + said("harbour_log", x="1"), "000", "111"),
    "trailing text: a closing fence": (said(text='```json\n{"harbour": "Velden", "day": "Monday"}\n```'), "000", "111"),
    "labels: no space": (RIGHT.replace(": ", ":"), "000", "111"),
    "labels: spoken of before": ("Thought: Action: what now?\n" + RIGHT, "000", "111"),
    "one line": (RIGHT.replace("\n", " "), "111", "111"),
    "a list as value": (said(harbour=["Velden"], day="Monday"), "110", "110"),
    "no JSON": (said(text="{harbour: Velden}"), "000", "000"),
    "no object": (said(text='["Velden", "Monday"]'), "000", "000"),
    "no input": ("Thought: so.\nAction: tide_table", "000", "000"),
    "no action": ('Action Input: {"harbour": "Velden", "day": "Monday"}', "000", "000"),
    "nothing": ("", "000", "000"),
}


@pytest.mark.parametrize("name", CASES)
def test_scores_by_rule(tmp_path, name):
    """Nested scores, each named difference between the rules, and what they agree on."""
    text, paper, fixed = CASES[name]
    assert scored(play(tmp_path, fakes.assistant(text))) == {"paper": paper, "fixed": fixed}


def test_thinking_is_read_by_the_release_only(tmp_path):
    """There it stands in the same text, and its first label counts."""
    attempt = play(tmp_path, fakes.assistant(RIGHT, thinking="I have to write Action: and a tool."))
    assert scored(attempt) == {"paper": "000", "fixed": "111"}
    attempt = play(tmp_path, fakes.assistant("Done.", thinking="Nothing to say."))
    assert scored(attempt) == {"paper": "000", "fixed": "000"}


def test_call_markup_is_trailing_text(tmp_path):
    """A call in the chat format's own markup stood in the text that the release reads."""
    call = ToolCall(id="c0", name="tide_table", arguments="{}")
    attempt = play(tmp_path, fakes.assistant(RIGHT, call))
    assert scored(attempt) == {"paper": "000", "fixed": "111"}
    assert attempt.trajectory.turns[0].results[0].error.startswith("unknown_tool")


def test_the_release_gives_up_at_a_list(tmp_path):
    """With a list as value it looks at no further gold call: names that fit the second do not count."""
    gold = (
        'Action: a\nAction Input: {"x": "1"}',
        'Action: a\nAction Input: {"x": ["1"]}',
    )
    assert scored(play(tmp_path, fakes.assistant(said("a", x=["1"])), gold=gold)) == {"paper": "110", "fixed": "111"}


def test_true_is_not_one(tmp_path):
    """Python counts them as the same value, JSON does not."""
    gold = ('Action: a\nAction Input: {"x": 1}',)
    assert scored(play(tmp_path, fakes.assistant(said("a", x=True)), gold=gold)) == {"paper": "111", "fixed": "110"}
    assert scored(play(tmp_path, fakes.assistant(said("a", x=1.0)), gold=gold)) == {"paper": "111", "fixed": "111"}


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{" * 100_000, '{"x": ' + "9" * 10_000 + "}", '{"x": "\\ud800"}', " " * 99]
)
def test_odd_input_is_only_wrong(tmp_path, text):
    """Deep nesting, huge numbers, half characters: never an exception, and quickly read."""
    assert scored(play(tmp_path, fakes.assistant(said(text=text)))) in (
        {"paper": "000", "fixed": "000"},
        {"paper": "100", "fixed": "100"},
    )


def test_reading_a_call():
    """The tool and its arguments, or nothing."""
    assert read_call(RIGHT) == published_call(RIGHT) == TextCall("tide_table", {"harbour": "Velden", "day": "Monday"})
    assert read_call("Action Input: {}\nAction: late") is None
    assert published_call("") is None


def test_the_conversation(tmp_path):
    """System prompt and query as they are, no tools, one completion; what is needed to score is in the facts."""
    seen = []

    async def policy(messages, tools):
        seen.append((messages, tools))
        return await fakes.says(fakes.assistant(RIGHT, faults=(Fault(kind="unfinished"),)))(messages, tools)

    benchmark = rotbench.load(write(tmp_path / "rot"))
    item = benchmark.items()[0]
    attempt = asyncio.run(benchmark.play(item, policy, None, name="m", sample=2))
    [(messages, tools)] = seen
    assert [(message.role, message.content) for message in messages] == [
        ("system", SYSTEM),
        ("user", "When is high water?\nBegin!\n"),
    ]
    assert tools == ()
    assert attempt.key == f"rotbench/{item.id}/m/2"
    assert attempt.trajectory.stop == "length"
    assert [call["open"] for call in attempt.facts["gold"]] == [[], ["key"], ["question"]]


def test_scoring_again_is_pure(tmp_path):
    """From the stored record alone come the scores given while playing, also under another copy of the data."""
    other = rotbench.load(write(tmp_path / "other", clean=[row("Another?")]))
    for text, _, _ in CASES.values():
        attempt = play(tmp_path, fakes.assistant(text))
        stored = load_record(type(attempt), dump(attempt))
        assert other.score(stored.model_copy(update={"scores": {}})) == attempt


def test_a_failure_is_unscored(tmp_path):
    """With its cause, under the key that it would have had."""
    attempt = play(tmp_path, EndpointError("gone"))
    assert (attempt.scores, attempt.trajectory.error) == ({}, "EndpointError: gone")
    benchmark = rotbench.load(tmp_path / "rot")
    assert benchmark.score(attempt) == attempt
    assert attempt.trajectory.task.spec_id == benchmark.items()[0].id


def test_through_an_endpoint(tmp_path):
    """A model has the known score over HTTP, and is offered no tools."""
    benchmark = rotbench.load(write(tmp_path / "rot"))
    script = fake_openai_server.Script(fake_openai_server.reply(RIGHT + "\nDone."))

    async def everything():
        with fake_openai_server.serve(script) as url:
            async with OpenAIPolicy("m", base_url=url) as policy:
                return [await benchmark.play(item, policy, None, name="m", sample=0) for item in benchmark.items()]

    assert [scored(attempt) for attempt in asyncio.run(everything())] == [{"paper": "000", "fixed": "111"}] * 5
    assert all("tools" not in request.body for request in script.requests)


def test_items_and_table(tmp_path):
    """Levels are groups of equal weight, a query is a cluster, and a row that stands twice is one item."""
    more = [row(), row(), row("And low water?\nBegin!\n")]
    benchmark = rotbench.load(write(tmp_path / "rot", union=more))
    items = benchmark.items()
    assert [item.group for item in items] == ["clean", "slight", "medium", "heavy", "union", "union"]
    assert len({item.cluster for item in items}) == 2
    assert len({item.id for item in items}) == 6

    async def attempts():
        found = []
        for item in items:
            text = RIGHT if item.group == "union" else "?"
            found.append(await benchmark.play(item, fakes.says(fakes.assistant(text)), None, name="m", sample=0))
        return found

    result = summarise_attempts(benchmark.about, asyncio.run(attempts()), "paper")
    assert {name: cell.mean for name, cell in result.overall.metrics.items()} == {"ts": 0.2, "pi": 0.2, "cf": 0.2}
    assert result.paper.mean == pytest.approx(0.2)


def test_the_folder_above_will_do(tmp_path):
    """RoTBench's Data, or its First_Turn."""
    (tmp_path / "Data").mkdir()
    write(tmp_path / "Data" / "First_Turn")
    assert rotbench.load(tmp_path / "Data") == rotbench.load(tmp_path / "Data" / "First_Turn")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"conversations": []}, "field 'conversations': found nothing"),
        ([], "field 'conversations'"),
        (row(gold=()), "field 'conversations.2.value': found no gold call"),
        (row(gold=("Action: a",)), "field 'conversations.2.value.0'"),
        (row(gold=(3,)), "field 'conversations.2.value.0': found 'int'"),
        (row(query=5), "found a value that is no text"),
    ],
)
def test_a_bad_row_is_named(tmp_path, bad, message):
    """File, element, field, found, expected."""
    folder = write(tmp_path / "rot", heavy=[row(), bad])
    with pytest.raises(RecordError) as error:
        rotbench.load(folder)
    assert f"{folder / 'heavy.json'}:2: " in str(error.value)
    assert message in str(error.value)


def test_what_is_no_benchmark(tmp_path):
    """A level that is missing, broken or empty."""
    folder = write(tmp_path / "rot", slight=[])
    with pytest.raises(RecordError, match=r"slight\.json: found an empty array"):
        rotbench.load(folder)
    (folder / "slight.json").write_text("[")
    with pytest.raises(RecordError, match="malformed JSON"):
        rotbench.load(folder)
    (folder / "slight.json").unlink()
    with pytest.raises(InputError, match=r"slight\.json: found no such file, expected RoTBench's first turns: clean"):
        rotbench.load(folder)


# --- published rows ------------------------------------------------------------------------------------------------


def test_gold_calls_of_every_row_score_one(rotbench_folder):
    """All of a row's gold calls, written out anew, have full marks by both rules; a tool of another name has none."""
    benchmark = rotbench.load(rotbench_folder)
    items = benchmark.items()
    assert {item.group for item in items} == set(LEVELS)
    assert len(items) == sum(len(json.loads((rotbench_folder / f"{level}.json").read_text())) for level in LEVELS)

    async def tried(item):
        gold = benchmark.rows[item.id].gold
        texts = [said(call.tool, json.dumps(call.arguments)) for call in gold]
        for text, wanted in [(text, "111") for text in texts] + [(texts[0].replace("Action: ", "Action: no_"), "000")]:
            attempt = await benchmark.play(item, fakes.says(fakes.assistant(text)), None, name="m", sample=0)
            assert scored(attempt) == {"paper": wanted, "fixed": wanted}, text

    async def everything():
        for item in items:
            await tried(item)

    asyncio.run(everything())
