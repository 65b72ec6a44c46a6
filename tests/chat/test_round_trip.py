"""What is rendered can be read back, nothing that can be written breaks the reader, and when a text only grows."""

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chat.conversations import CONVERSATIONS, WEATHER, anything, calls, markup_soup, object_texts, says, tool, user
from toolfoundry.chat import FORMATS, explain, keeps_prefix, well_formed
from toolfoundry.types import Message

# The domain in which rendering and reading are inverse: texts without markup of the format, which is not escaped.
# Content is not blank and does not begin with a newline; thinking neither begins nor ends with one.
_TAGS = [f"<{end}{tag}>" for end in ("", "/") for tag in ("tool_call", "tool_response", "think")]
_TAGS += ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
plain = anything.filter(lambda text: not any(tag in text for tag in _TAGS))
contents = st.one_of(st.just(""), plain.filter(lambda text: text.strip() and not text.startswith("\n")))
thoughts = st.one_of(st.just(""), plain.filter(lambda text: text.strip() and text == text.strip("\n")))
tool_names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,8}", fullmatch=True)
completions = st.builds(
    Message,
    role=st.just("assistant"),
    content=contents,
    thinking=thoughts,
    tool_calls=calls(tool_names, object_texts),
)
control = ("<|im_end|>", "<|endoftext|>", "<|im_start|>")


def the_same(read: Message, message: Message, *, thinking: bool) -> None:
    assert (read.content, read.faults) == (message.content, ())
    assert read.thinking == (message.thinking if thinking else "")
    assert [(call.id, call.name) for call in read.tool_calls] == [(call.id, call.name) for call in message.tool_calls]
    for ours, theirs in zip(read.tool_calls, message.tool_calls, strict=True):
        assert json.loads(ours.arguments) == json.loads(theirs.arguments)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=400, deadline=None)
@given(message=completions, thinking=st.booleans())
def test_reading_a_rendered_completion_gives_the_same_message(name, message, thinking):
    """Same content, thinking, names and JSON-equal arguments; and the completion spells the last turn of a prompt."""
    assume(not any(token in call.arguments for call in message.tool_calls for token in control))
    chat = FORMATS[name]
    text = chat.completion(message, thinking=thinking)
    read = chat.parse(text)
    the_same(read, message, thinking=thinking and chat.thinks)
    assert chat.completion(read, thinking=thinking) == text
    if thinking or not chat.thinks:
        prompt = chat.render([user("?")], [WEATHER], generation=True, thinking=thinking)
        assert prompt + text + "\n" == chat.render([user("?"), message], [WEATHER], generation=False, thinking=thinking)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=600, deadline=None)
@given(text=st.one_of(markup_soup, st.text(max_size=30)), finished=st.booleans(), first_id=st.integers(0, 99))
def test_no_text_breaks_the_reader(name, text, finished, first_id):
    """Any text gives a message that can be stored and rendered, with distinct ids and an explanation of every flaw."""
    message = FORMATS[name].parse(text, finished=finished, first_id=first_id)
    assert Message.model_validate_json(message.model_dump_json()) == message
    assert [call.id for call in message.tool_calls] == [f"call_{first_id + i}" for i in range(len(message.tool_calls))]
    assert all(explain(problem) for problem in (*message.tool_calls, *message.faults))
    assert FORMATS[name].completion(message, thinking=True).encode()


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=400, deadline=None)
@given(message=completions, cuts=st.tuples(st.floats(0, 1), st.floats(0, 1)), patch=st.one_of(st.just(""), markup_soup))
def test_a_damaged_completion_does_not_break_the_reader(name, message, cuts, patch):
    """A valid completion with a piece cut out or replaced: the likely near misses are read without an error."""
    text = FORMATS[name].completion(message, thinking=True)
    start, end = sorted(round(cut * len(text)) for cut in cuts)
    read = FORMATS[name].parse(text[:start] + patch + text[end:], finished=False)
    assert all(explain(problem) for problem in (*read.tool_calls, *read.faults))
    assert Message.model_validate_json(read.model_dump_json()) == read


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(), max_size=20))
def test_well_formed_changes_only_lone_surrogates(text):
    """The result can be encoded; a text that could be encoded already is untouched."""
    cleaned = well_formed(text)
    cleaned.encode()
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert cleaned == text


@pytest.mark.parametrize(
    "opening", ["<tool_call>", "<tool_call>{", '<tool_call>{"a":', "<think>", "</think>", "[", "\n"]
)
def test_a_long_runaway_completion_is_read_in_reasonable_time(opening: str):
    """One token repeated for ever, as collapsed models write it: no error, and no time beyond about linear."""
    message = FORMATS["qwen3"].parse(opening * 5_000, finished=False)
    assert message.faults[-1].kind == "unfinished"


# --- growing text ---------------------------------------------------------------------------------------------------

LOOP = [user("Rain?"), says("", ("weather", "{}"), thinking="Ask."), tool("17.5"), says("No.", thinking="Warm.")]


@pytest.mark.parametrize(
    ("name", "thinking", "messages", "kept"),
    [
        ("hermes", False, [*LOOP, user("Sure?"), says("Yes.")], True),
        ("qwen3", True, LOOP, True),
        ("qwen3", True, [*LOOP, user("Sure?"), says("Yes.", thinking="Hm.")], False),  # older thinking is dropped
        ("qwen3", True, [LOOP[0], says("", ("weather", "{}")), tool("17.5")], False),  # so is an empty block
        ("qwen3", False, [user("Hello?"), says("Hi.")], True),  # the block of the prompt stays in the last turn
        ("qwen3", False, [user("Rain?"), says("", ("weather", "{}")), tool("17.5")], False),
    ],
)
def test_whether_the_text_only_grows(name, thinking, messages, kept):
    """Locked: changing this changes which turns share a training sample."""
    assert keeps_prefix(FORMATS[name], messages, [WEATHER], thinking=thinking) is kept


@settings(max_examples=200, deadline=None)
@given(turns=st.lists(completions, min_size=1, max_size=4))
def test_hermes_always_keeps_the_prefix(turns):
    """With tool results and questions in between, every turn's text extends the last one's."""
    messages = [user("?")]
    for turn in turns:
        messages += [turn, *(tool("1", call.id) for call in turn.tool_calls), user("?")]
    assert keeps_prefix(FORMATS["hermes"], messages, [], thinking=False)


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_the_generation_prompt_is_an_extension(case: str):
    """`generation` only appends the opening of the next turn."""
    messages, tools = CONVERSATIONS[case]
    for chat in FORMATS.values():
        for thinking in (False, True):
            shut = chat.render(messages, tools, generation=False, thinking=thinking)
            opened = chat.render(messages, tools, generation=True, thinking=thinking)
            assert opened.startswith(shut + "<|im_start|>assistant\n")
