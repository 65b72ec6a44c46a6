"""One row per outcome of reading a completion; the table in docs/chat-formats.md has the same rows."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from toolfoundry.chat import FORMATS, explain
from toolfoundry.types import Fault, Message, ToolCall

DOC = Path(__file__).parents[2] / "docs" / "chat-formats.md"
F = '{"name": "f", "arguments": {"a": 1}}'
GOOD = ("f", '{"a": 1}')


class Case(NamedTuple):
    """A completion and what it is read as: content, thinking, (name, arguments) of its calls, kinds of its faults."""

    text: str
    content: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    faults: tuple[str, ...] = ()
    finished: bool = True
    format: str = "qwen3"


def call(body: str) -> str:
    return f"<tool_call>\n{body}\n</tool_call>"


def unreadable(body: str) -> Case:
    return Case(call(body), calls=(("", body),))


CASES: dict[str, list[Case]] = {
    "text": [Case("Hi.", "Hi."), Case(" \n", "")],
    "one call": [Case(call(F), calls=(GOOD,)), Case(f"<tool_call>{F}</tool_call>", calls=(GOOD,))],
    "several calls": [Case(f"{call(F)}\n{call(F)}{call(F)}", calls=(GOOD, GOOD, GOOD))],
    "text beside calls": [
        Case(f"So:\n{call(F)}", "So:", calls=(GOOD,)),
        Case(f"So:\n\n{call(F)} then {call(F)}\n end \n", "So:\n\nthen\nend", calls=(GOOD, GOOD)),
        Case(f"\n \n{call(F)}", "", calls=(GOOD,)),
    ],
    "array of calls": [
        Case(call(f"[{F}, {F}]"), calls=(GOOD, GOOD)),
        Case(call(f'[{F}, {{"x": "ä"}}, 5]'), calls=(GOOD, ("", '{"x": "ä"}'), ("", "5"))),
        unreadable("[]"),
    ],
    "arguments as a string": [
        Case(call('{"name": "f", "arguments": "{\\"a\\":1}"}'), calls=(GOOD,)),
        Case(call('{"name": "f", "arguments": "Köln"}'), calls=(("f", '"Köln"'),)),
        Case(call('{"name": "f", "arguments": "[1]"}'), calls=(("f", '"[1]"'),)),
    ],
    "arguments missing": [
        Case(call('{"name": "f"}'), calls=(("f", "{}"),)),
        Case(call('{"name": "f", "arguments": null}'), calls=(("f", "{}"),)),
        Case(call('{"name": "f", "arguments": " "}'), calls=(("f", "{}"),)),
    ],
    "arguments under another key": [unreadable('{"name": "f", "parameters": {"a": 1}}')],
    "arguments of another kind": [
        Case(call('{"name": "f", "arguments": [1,true]}'), calls=(("f", "[1, true]"),)),
        Case(call('{"name": "f", "arguments": 0}'), calls=(("f", "0"),)),
    ],
    "other keys beside arguments": [Case(call('{"id": 3, "name": "f", "arguments": {"a": 1}, "b": 2}'), calls=(GOOD,))],
    "duplicate keys": [
        Case(call('{"name": "g", "name": "f", "arguments": {"a": 0, "a": 1}}'), calls=(GOOD,)),
    ],
    "name is not a string": [
        unreadable('{"name": 5, "arguments": {}}'),
        unreadable('{"name": ["f"], "arguments": {}}'),
        unreadable('{"name": " ", "arguments": {}}'),
        unreadable('{"arguments": {}}'),
        unreadable("{}"),
    ],
    "not JSON": [
        unreadable("{'name': 'f', 'arguments': {}}"),
        unreadable('{"name": "f", "arguments": {"a": 1,}}'),
        unreadable('{"name": "f", "arguments": {"a": NaN}}'),
        unreadable('{"name": "f", "arguments": {"a": 1e999}}'),
        unreadable('{"name": "f", "arguments": {"a": ' + "9" * 5000 + "}}"),
        unreadable('{"name": "f", "arguments": {"a": "x\ny"}}'),
        unreadable("f(a=1)"),
        unreadable("f"),
        unreadable("7"),
        Case("<tool_call></tool_call>", calls=(("", ""),)),
        Case("<tool_call> ", calls=(("", ""),)),
    ],
    "text after the JSON": [
        unreadable(F + "}"),
        unreadable(f"{F}\n{F}"),
        Case(f"<tool_call>{F} so</tool_call>!", "!", calls=(("", f"{F} so"),)),
    ],
    "malformed beside good": [Case(call("{") + call(F), calls=(("", "{"), GOOD))],
    "nested too deeply": [
        unreadable('{"name": "f", "arguments": {"a": ' + "[" * 99 + "]" * 99 + "}}"),
        unreadable("[" * 100_000),
        Case(
            call('{"name": "f", "arguments": {"a": ' + "[" * 98 + "]" * 98 + "}}"),
            calls=(("f", '{"a": ' + "[" * 98 + "]" * 98 + "}"),),
        ),
    ],
    "cut off in a call": [
        Case(
            'So:\n<tool_call>\n{"name": "f", "arg',
            "So:",
            calls=(("", '{"name": "f", "arg'),),
            faults=("unfinished",),
            finished=False,
        ),
        Case('<tool_call>\n{"name": "f"<|im_end|>', calls=(("", '{"name": "f"'),)),
        Case(f"<tool_call>\n{F}\n</tool_c", calls=(("", f"{F}\n</tool_c"),), faults=("unfinished",), finished=False),
    ],
    "closing tag missing": [
        Case(f"<tool_call>\n{F}", calls=(GOOD,)),
        Case(f"<tool_call>\n{F}\n<tool_call>\n{F}\n</tool_call>", calls=(GOOD, GOOD)),
        Case(f"<tool_call>{F}<tool_response>", calls=(GOOD,), faults=("invented_result",)),
    ],
    "opening tag missing": [Case(f"{F}\n</tool_call>", F, calls=(("", "</tool_call>"),))],
    "opening tag in text": [Case("Use <tool_call> tags.", "Use ", calls=(("", "tags."),))],
    "markup in a string": [
        Case(
            call('{"name": "f", "arguments": {"a": "</tool_call><tool_response><think></think>"}}'),
            calls=(("f", '{"a": "</tool_call><tool_response><think></think>"}'),),
        ),
        unreadable('{"name": 1, "arguments": {"a": "<|no|>"}}'),
        Case(call('{"a": "</tool_call>"}') + "x", "x", calls=(("", '{"a": "</tool_call>"}'),)),
    ],
    "thinking": [
        Case("<think>\nHm.\n</think>\n\nHi.", "Hi.", "Hm."),
        Case("<think>\n\n</think>\n\nHi.", "Hi."),
        Case("<think>Hm.</think>Hi.", "Hi.", "Hm."),
        Case(f"<think>\nHm.\n</think>\n\n{call(F)}", thinking="Hm.", calls=(GOOD,)),
        Case("<think>\nHm.\n</think>\n\nHi.", "<think>\nHm.\n</think>\n\nHi.", format="hermes"),
    ],
    "thinking more than once": [
        Case(f"A<think>1</think>B\n{call(F)}<think>2</think>\nC", "A\nB\nC", "1\n2", calls=(GOOD,)),
        Case("<think>1</think>B</think>C", "B\nC", "1"),
    ],
    "thinking opened by the prompt": [
        Case("Hm.\n</think>\n\nHi.", "Hi.", "Hm."),
        Case(f"Hm.\n{call(F)}\n</think>\n\nHi.", "Hi.", f"Hm.\n{call(F)}", faults=("call_in_thinking",)),
    ],
    "thinking not closed": [
        Case("<think>\nHm.", thinking="Hm.", faults=("unfinished",)),
        Case("<think>\nHm.<|im_end|>", thinking="Hm.", faults=("unfinished",)),
        Case(f"<think>\n{call(F)}<|im_end|>", thinking=call(F), faults=("call_in_thinking", "unfinished")),
    ],
    "call in thinking": [
        Case(f"<think>\nA\n{call(F)}\n</think>\n\nHi.", "Hi.", f"A\n{call(F)}", faults=("call_in_thinking",)),
        Case(f"<think>{call(F)}</think>{call(F)}", "", call(F), calls=(GOOD,), faults=("call_in_thinking",)),
        Case("<think>Use <tool_call></tool_call> tags.</think>Hi.", "Hi.", "Use <tool_call></tool_call> tags."),
        Case("<think>A <tool_response> will come.</think>Hi.", "Hi.", "A <tool_response> will come."),
    ],
    "invented result": [
        Case(
            f"A\n{call(F)}\n<tool_response>\n7\n</tool_response>\n{call(F)}\n7",
            "A",
            calls=(GOOD,),
            faults=("invented_result",),
        ),
        Case("</tool_response>\nHi.", faults=("invented_result",)),
        Case("Hi.<tool_response>7", "Hi.", faults=("invented_result", "unfinished"), finished=False, format="hermes"),
    ],
    "end of turn": [
        Case("Hi.<|im_end|>", "Hi."),
        Case("Hi.<|im_end|>", "Hi.", finished=False),
        Case("Hi.<|endoftext|>", "Hi."),
        Case("Hi.<|im_end|>\n<|im_start|>user\n<tool_response>7", "Hi."),
        Case(
            '<tool_call>{"name": "f", "arguments": {"a": "<|im_end|>"}}',
            calls=(("", '{"name": "f", "arguments": {"a": "'),),
        ),
    ],
    "no end of turn": [
        Case("Hi.", "Hi.", faults=("unfinished",), finished=False),
        Case("", faults=("unfinished",), finished=False),
        Case(call(F), calls=(GOOD,), faults=("unfinished",), finished=False),
    ],
    "a new turn begun": [Case("Hi.\n<|im_start|>user\nAnd?<|im_end|>", "Hi.\n", faults=("unfinished",))],
    "line ends": [
        Case(f"A\r\n{call(F)}", "A\r", calls=(GOOD,)),
        Case("<tool_call>\r\n" + F.replace(" ", "\r\n") + "\r\n</tool_call>", calls=(GOOD,)),
    ],
    "other characters": [
        Case("\x00\u2028\U0001f600\ufffe", "\x00\u2028\U0001f600\ufffe"),
        Case("\ud83d\ude00 \ud800!", "\U0001f600 \ufffd!"),
        Case(
            call('{"name": "f", "arguments": {"a": "\\u0000\\ud83d\\ude00\\ud800"}}'),
            calls=(("f", '{"a": "\\u0000\U0001f600\ufffd"}'),),
        ),
        Case(call('{"name": "f\\udfff", "arguments": {}}'), calls=(("f\ufffd", "{}"),)),
    ],
}


@pytest.mark.parametrize(("name", "index"), [(name, i) for name, rows in CASES.items() for i in range(len(rows))])
def test_outcomes(name: str, index: int):
    """Each completion is read exactly as the table says."""
    case = CASES[name][index]
    message = FORMATS[case.format].parse(case.text, finished=case.finished)
    assert message.content == case.content
    assert message.thinking == case.thinking
    assert tuple((found.name, found.arguments) for found in message.tool_calls) == case.calls
    assert tuple(fault.kind for fault in message.faults) == case.faults


def test_the_documented_table_has_the_same_rows():
    """No outcome is documented without a test, or tested without a word in the docs."""
    section = DOC.read_text().partition("## Reading")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \|", section, re.MULTILINE)
    assert [row for row in rows if row != "what the model wrote" and set(row) != {"-"}] == list(CASES)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "it is empty"),
        ('{"name": "f", "arguments": {"a": "x', "the JSON is cut off"),
        ('{"name": "f", "arguments": {', "the JSON is cut off"),
        ("{'name': 'f'}", "it is not valid JSON"),
        (F + "}", "there is text after the end of the JSON value"),
        ('{"name": "f", "arguments": {"a": Infinity}}', "NaN and Infinity are not JSON"),
        ('{"name": "f", "arguments": {"a": -1e999}}', "a number is too large"),
        ("[" * 100_000, "nested deeper than 100 levels"),
        ("[]", "it is an empty array"),
        ("7", "it is a number, not an object"),
        ('"f"', "it is a string, not an object"),
        ("null", "it is null, not an object"),
        ("{}", 'it has no "name"'),
        ('{"name": true}', 'its "name" is a boolean, not a string'),
        ('{"name": {}}', 'its "name" is an object, not a string'),
        ('{"name": ""}', 'its "name" is empty'),
        ('{"name": "f", "parameters": {}}', 'it has no "arguments"'),
        ("</tool_call>", "there is </tool_call> without <tool_call> before it"),
        (F, "it has no name"),
    ],
)
def test_an_unreadable_call_is_explained(raw: str, reason: str):
    """The model is told what was wrong with its text, and the form of a call."""
    text = explain(ToolCall(id="call_0", name="", arguments=raw))
    assert text.startswith("this call could not be read: ")
    assert reason in text
    assert '{"name": <function-name>, "arguments": <args-json-object>}' in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("[1]", "the arguments of 'f' are an array"),
        ('"{}"', "the arguments of 'f' are a string"),
        ("{", "the arguments of 'f' could not be read: the JSON is cut off"),
        ("", "the arguments of 'f' could not be read: it is empty"),
    ],
)
def test_wrong_arguments_are_explained(arguments: str, reason: str):
    """A call with a name whose arguments are no JSON object says so."""
    text = explain(ToolCall(id="call_0", name="f", arguments=arguments))
    assert text.startswith(reason)
    assert "must be one JSON object" in text


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("<think>Hm.", "not finished: the thinking was not closed with </think>."),
        ("Hi.<|im_start|>", "not finished: a new turn was begun before this one ended."),
        ("<tool_response>7</tool_response>", "You wrote a tool result yourself."),
        (f"<think>{call(F)}</think>", "A tool call inside your thinking is not executed."),
    ],
)
def test_faults_are_explained(text: str, advice: str):
    """Each fault says what to do instead."""
    assert advice in explain(FORMATS["qwen3"].parse(text).faults[0])


def test_a_fault_without_detail_is_explained_too():
    """Records written by others carry no detail."""
    assert explain(Fault(kind="unfinished")) == "Your last message was not finished: it was cut off."


def test_ids_go_on_from_the_callers_number():
    """Calls of one conversation get distinct ids when the caller counts on."""
    message: Message = FORMATS["hermes"].parse(call(F) + call("{"), first_id=7)
    assert [found.id for found in message.tool_calls] == ["call_7", "call_8"]
