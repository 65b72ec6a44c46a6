"""Conversations that other frameworks keep: written out in OpenAI's form and read back, they are graded the same."""

import asyncio
import json

import pytest

from fakes import capital_spec
from toolfoundry.errors import RecordError
from toolfoundry.export_samples import as_chat
from toolfoundry.formats.conversation import read_conversation
from toolfoundry.policies.scripted import SCRIPTED, make
from toolfoundry.reward import score_trajectory
from toolfoundry.rollout import run_rollout
from toolfoundry.samples import conversation

SPEC = capital_spec()
QUESTION = {"role": "user", "content": "What is the capital?"}


def calls(*numbers, id="x"):
    function = {"name": "capital_of", "arguments": '{"country": "Arland"}'}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": f"{id}{n}", "type": "function", "function": function} for n in numbers],
    }


def reply(id, text):
    return {"role": "tool", "tool_call_id": id, "content": text}


@pytest.mark.parametrize("name", sorted(SCRIPTED))
def test_scripted_players_score_the_same(name, sandbox):
    """An episode that was played, and the same as somebody else's list of messages, with other ids."""
    played = asyncio.run(run_rollout(make(name, SPEC, 0), SPEC, sandbox))
    last = played.turns[-1]
    results = [{"role": "tool", "tool_call_id": r.call_id, "content": r.text} for r in last.results]
    messages = [as_chat(message) for message in conversation(played, len(played.turns) - 1)]
    messages += [as_chat(last.completion.message), *results]
    foreign = json.loads(json.dumps(messages).replace('"call_', '"theirs-'))
    read = read_conversation(SPEC.task, foreign)
    assert score_trajectory(read) == score_trajectory(played)
    assert [turn.results for turn in read.turns] == [
        tuple(
            r.model_copy(update={"call_id": c.id})
            for r, c in zip(old.results, new.completion.message.tool_calls, strict=True)
        )
        for old, new in zip(played.turns, read.turns, strict=True)
    ]


def test_results_belong_to_their_calls_by_id():
    """In whatever order they came; where ids are used twice, by their order."""
    read = read_conversation(SPEC.task, [QUESTION, calls(1, 2), reply("x2", "two"), reply("x1", "Error: raised: no")])
    assert [(r.content, r.error) for r in read.turns[0].results] == [("", "raised: no"), ("two", None)]
    read = read_conversation(SPEC.task, [QUESTION, calls(1, 1), reply("x1", "one"), reply("x1", "two")])
    assert [r.content for r in read.turns[0].results] == ["one", "two"]


def test_a_call_without_result_was_not_executed():
    read = read_conversation(SPEC.task, [QUESTION, calls(1, 2), reply("x2", "two")])
    assert [r.error for r in read.turns[0].results] == ["limit: not executed", None]
    assert read.stop == "max_turns"


def test_calls_beyond_the_limit_of_a_turn_earn_nothing():
    """As in our own rollouts, which do not execute them."""
    told = [QUESTION, calls(1, 2), reply("x1", "one"), reply("x2", "two")]
    read = read_conversation(SPEC.task, told, calls_per_turn=1)
    assert [(r.content, r.error) for r in read.turns[0].results] == [("one", None), ("", "limit: not executed")]


def test_how_it_ended():
    """With an answer, cut off in the middle of a message, or before anything was said: that one is unscored."""
    said = {"role": "assistant", "content": "It is Bel."}
    assert read_conversation(SPEC.task, [QUESTION, said]).stop == "answered"
    cut = read_conversation(SPEC.task, [QUESTION, said], cut_off=True)
    assert cut.stop == "length"
    assert [fault.kind for fault in cut.turns[-1].completion.message.faults] == ["unfinished"]
    silent = read_conversation(SPEC.task, [QUESTION])
    assert silent.stop == "error"
    assert silent.error == "the assistant said nothing"
    assert score_trajectory(silent) is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "robot", "content": "hm"}, r"field 'messages.1.role': found 'robot', expected system, user"),
        ({"content": "hm"}, r"field 'messages.1.role': found None"),
        ({"role": "assistant", "content": 7}, r"field 'messages.1': found content that is no text but int"),
        ({"role": "assistant", "tool_calls": "x"}, r"field 'messages.1': found tool_calls that are no array"),
    ],
)
def test_what_is_no_message(message, expected):
    with pytest.raises(RecordError, match=expected):
        read_conversation(SPEC.task, [QUESTION, message])


def test_ids_of_no_kind_that_an_id_is():
    """Results whose ids are lists or objects belong to their calls by their order; what is no message is named."""
    foreign = [calls(1, 2), reply("x1", "one"), reply("x2", "two")]
    for place, message in enumerate(foreign):
        for one in message.get("tool_calls", [message] if place else []):
            one["id" if not place else "tool_call_id"] = [{"x": 1}]
    read = read_conversation(SPEC.task, [QUESTION, *foreign])
    assert [r.content for r in read.turns[0].results] == ["one", "two"]
    with pytest.raises(RecordError, match=r"messages\.1\.role.*found None"):
        read_conversation(SPEC.task, [QUESTION, "text"])


def test_a_call_in_the_thinking_spoils_the_answer():
    """As in an episode of ours: whoever calls while thinking gives no final answer with that message."""
    right = {"role": "assistant", "content": "<answer>Velden</answer>"}
    messages = [QUESTION, calls(1), reply("x1", '{"capital": "Velden"}')]
    plain = read_conversation(SPEC.task, [*messages, right | {"reasoning_content": "Velden, then."}])
    inside = read_conversation(SPEC.task, [*messages, right | {"reasoning_content": '<tool_call>{"name": "x"'}])
    assert score_trajectory(plain).answer_right is True
    assert (score_trajectory(inside).answer_right, inside.stop) == (False, "answered")
    assert [fault.kind for fault in inside.turns[-1].completion.message.faults] == ["call_in_thinking"]
