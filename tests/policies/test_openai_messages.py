"""What goes to an endpoint and what is made of its replies, over real HTTP on loopback."""

import pytest

from fake_openai_server import Script, call, reply
from policies.asking import ASK, TOOL, Session
from toolfoundry.types import Completion, Message, ToolCall, Usage

# --- replies --------------------------------------------------------------------------------------------------------


def read(*replied, **options) -> Message:
    return Session(Script(*replied), **options).ask().message


def test_text():
    """Text is the content, and what the server counted is the usage."""
    session = Session(Script(reply("Nine.")))
    assert session.ask() == Completion(
        message=Message(role="assistant", content="Nine."), usage=Usage(prompt_tokens=10, completion_tokens=5)
    )
    assert str(session.usage) == "1 requests (0 retries, 0 given up), 10 prompt and 5 completion tokens"


def test_parallel_calls_get_ids_of_our_own():
    """A server may give two calls one id, or none; ours count on within the conversation. Null content is none."""
    earlier = [*ASK, Message(role="assistant", tool_calls=(ToolCall(id="x", name="clock", arguments="{}"),))]
    message = (
        Session(Script(reply(None, call("clock", '{"a": 1}'), call("nosuchtool", "{}"))))
        .ask([*earlier, Message(role="tool", content="9", call_id="x")])
        .message
    )
    assert message.content == ""
    assert message.tool_calls == (
        ToolCall(id="call_1", name="clock", arguments='{"a": 1}'),
        ToolCall(id="call_2", name="nosuchtool", arguments="{}"),
    )


@pytest.mark.parametrize(
    ("item", "name", "arguments"),
    [
        (call("clock", '{"a": '), "clock", '{"a": '),
        (call("clock", ""), "clock", "{}"),
        (call("clock", None), "clock", "{}"),
        (call("clock", {"a": "ä"}), "clock", '{"a": "ä"}'),
        (call("clock", [1]), "clock", "[1]"),
        (call("clock", '"\ud800"'), "clock", '"\ufffd"'),
        (call("", "{}"), "", '{"name": "", "arguments": "{}"}'),
        (call(None, "{}"), "", '{"name": null, "arguments": "{}"}'),
        (call(7, "{}"), "", '{"name": 7, "arguments": "{}"}'),
        ({"id": "x"}, "", '{"id": "x"}'),
        ("clock", "", '"clock"'),
        (None, "", "null"),
    ],
)
def test_malformed_calls_are_the_models(item, name, arguments):
    """They stay in their place, as they were written: the environment tells the model what is wrong."""
    message = read(reply(None, item))
    assert message.tool_calls == (ToolCall(id="call_0", name=name, arguments=arguments),)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_is_read_back(field):
    """vLLM and SGLang have called the field by both names."""
    message = read(reply("Nine.", message={field: "Look."}))
    assert (message.content, message.thinking) == ("Nine.", "Look.")


def test_a_call_in_the_thinking_is_a_fault():
    """As in text: it was not executed, and the model is told; once, however it was found."""
    made = {"reasoning": MARKUP}
    assert [fault.kind for fault in read(reply("Nine.", message=made)).faults] == ["call_in_thinking"]
    inside = MARKUP.replace("Look.", '<tool_call>{"name": "clock"}</tool_call>')
    assert [fault.kind for fault in read(reply(inside), parse_text=True).faults] == ["call_in_thinking"]


def test_refusal_and_parts_are_content():
    """A refusal stands in for missing content; content in parts is joined."""
    assert read(reply(None, message={"refusal": "I will not."})).content == "I will not."
    assert read(reply([{"type": "text", "text": "A"}, {"type": "text", "text": "B"}])).content == "AB"


@pytest.mark.parametrize(
    ("finish", "detail"),
    [("length", "token limit"), ("content_filter", "content filter"), ("stop", None)],
)
def test_a_cut_off_completion_is_a_fault(finish, detail):
    """An end by token limit or filter is the fault `unfinished`, and the model's: there is no retry."""
    session = Session(Script(reply("Ni", finish=finish)))
    faults = session.ask().message.faults
    assert [fault.kind for fault in faults] == (["unfinished"] if detail else [])
    assert all(detail in fault.detail for fault in faults)
    assert session.usage.requests == 1


MARKUP = '<think>\nLook.\n</think>\n\nWait.\n<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'


def test_markup_in_the_text_is_read_on_demand():
    """Servers without a tool parser leave calls and thinking in the text."""
    assert read(reply(MARKUP)).content == MARKUP
    message = read(reply(MARKUP), parse_text=True)
    assert (message.content, message.thinking) == ("Wait.", "Look.")
    assert message.tool_calls == (ToolCall(id="call_0", name="clock", arguments="{}"),)
    assert read(reply(MARKUP[:-20], finish="length"), parse_text=True).faults[0].kind == "unfinished"
    assert len(read(reply(MARKUP[:-20], finish="length"), parse_text=True).faults) == 1


def test_the_servers_own_calls_win_over_the_text():
    """If a parser has worked, what it left in the text is text."""
    message = read(reply(MARKUP, call("clock", "{}")), parse_text=True)
    assert (message.content, len(message.tool_calls)) == (MARKUP, 1)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        "many",
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": "10", "completion_tokens": 5},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": 10**12, "completion_tokens": 1},
    ],
)
def test_bad_token_counts_are_unknown(usage):
    """None, never a made-up number; and counted, so that a total is not taken for complete."""
    session = Session(Script(reply("Hi.", usage=usage)))
    assert session.ask().usage is None
    assert (session.usage.prompt_tokens, session.usage.unmetered) == (0, 1)
    assert "1 replies without counts" in str(session.usage)


# --- requests -------------------------------------------------------------------------------------------------------


def asked(messages=ASK, tools=(TOOL,), **options):
    session = Session(Script(reply("Hi.")), **options)
    session.ask(messages, tools)
    return session.body


def test_nothing_is_sent_that_was_not_asked_for():
    """Defaults are the server's."""
    assert asked(tools=()) == {"model": "m", "messages": [{"role": "user", "content": "What time is it?"}]}
    assert asked()["tools"] == [TOOL.as_function()]


def test_options_are_sent():
    """Sampling, parallel calls, and the switch of the chat template for thinking."""
    body = asked(
        temperature=0.0,
        top_p=0.9,
        max_tokens=99,
        seed=5,
        parallel_tool_calls=False,
        thinking=False,
        extra_body={"top_k": 20, "chat_template_kwargs": {"x": 1}},
    )
    options = {"temperature": 0.0, "top_p": 0.9, "max_tokens": 99, "seed": 5, "parallel_tool_calls": False, "top_k": 20}
    assert {name: body[name] for name in options} == options
    assert body["chat_template_kwargs"] == {"x": 1, "enable_thinking": False}
    assert "parallel_tool_calls" not in asked(tools=(), parallel_tool_calls=True)


def test_the_conversation_is_sent_back():
    """Calls are renumbered, so that ids are unique even where the records repeat them; thinking stays with us."""
    called = Message(
        role="assistant", content="So:", thinking="Hm.", tool_calls=(ToolCall(id="a", name="clock", arguments="{}"),)
    )
    result = Message(role="tool", content="9", call_id="a")
    wire = asked([*ASK, called, result, called, result])["messages"][1:]
    assert wire == [
        {"role": "assistant", "content": "So:", "tool_calls": [call("clock", "{}", "call_0")]},
        {"role": "tool", "tool_call_id": "call_0", "content": "9"},
        {"role": "assistant", "content": "So:", "tool_calls": [call("clock", "{}", "call_1")]},
        {"role": "tool", "tool_call_id": "call_1", "content": "9"},
    ]
    sent = asked([*ASK, called, result], send_thinking=True)["messages"][1]
    assert (sent["reasoning"], sent["reasoning_content"]) == ("Hm.", "Hm.")


def test_calls_that_no_server_takes_back_are_sent_as_text():
    """Without a name or with arguments that are no object: their results follow the others as a user message."""
    calls = (
        ToolCall(id="a", name="", arguments="{bad"),
        ToolCall(id="b", name="clock", arguments="{}"),
        ToolCall(id="c", name="clock", arguments='{"x": '),
    )
    results = [Message(role="tool", content=f"result {name}", call_id=name) for name in "abc"]
    said = Message(role="assistant", content="So:", tool_calls=calls)
    text = 'So:\n<tool_call>\n{bad\n</tool_call>\n<tool_call>\n{"name": "clock", "arguments": {"x": }\n</tool_call>'
    assert asked([*ASK, said, *results])["messages"][1:] == [
        {"role": "assistant", "content": text, "tool_calls": [call("clock", "{}", "call_0")]},
        {"role": "tool", "tool_call_id": "call_0", "content": "result b"},
        {"role": "user", "content": "result a\nresult c"},
    ]


def test_lone_surrogates_can_be_sent():
    """A tool result is any text; what cannot be encoded is replaced."""
    assert asked([Message(role="user", content="a\ud800")])["messages"] == [{"role": "user", "content": "a\ufffd"}]
