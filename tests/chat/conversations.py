"""Conversations for the golden prompts, and strategies for generated ones."""

import json

from hypothesis import strategies as st

from toolfoundry.types import Message, ToolCall, ToolSchema

WEATHER = ToolSchema(
    name="weather",
    description='Weather of a day, in °C. "now" is today.',
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Köln", "東京"]}, "days": {"type": "integer", "minimum": 0}},
        "required": ["city"],
    },
)
CLOCK = ToolSchema(name="clock", description="The time.", parameters={"type": "object", "properties": {}})


def user(content: str) -> Message:
    return Message(role="user", content=content)


def tool(content: str, call_id: str = "call_0") -> Message:
    return Message(role="tool", content=content, call_id=call_id)


def says(content: str = "", *calls: tuple[str, str], thinking: str = "") -> Message:
    made = tuple(
        ToolCall(id=f"call_{index}", name=name, arguments=arguments) for index, (name, arguments) in enumerate(calls)
    )
    return Message(role="assistant", content=content, thinking=thinking, tool_calls=made)


SYSTEM = Message(role="system", content="Be brief.")
ASK = ("weather", '{"city": "Köln", "days": 2}')

# name -> (messages, tools)
CONVERSATIONS: dict[str, tuple[list[Message], list[ToolSchema]]] = {
    "question": ([user("Hello?")], []),
    "question_with_tools": ([user("Hello?")], [WEATHER, CLOCK]),
    "system": ([SYSTEM, user("Hello?")], []),
    "system_with_tools": ([SYSTEM, user("Hello?")], [WEATHER]),
    "system_later": ([user("Hello?"), SYSTEM, user("And now?")], []),
    "answered": ([user("Hello?"), says("Hi.")], []),
    "one_call": ([user("Rain?"), says("", ASK), tool("17.5")], [WEATHER]),
    "text_and_call": ([user("Rain?"), says("Let me see.\n", ASK), tool("17.5")], [WEATHER]),
    "blank_and_call": ([user("Rain?"), says("\n", ASK, ("clock", "{}"))], [WEATHER]),
    "parallel_calls": (
        [user("Rain?"), says("", ASK, ("clock", "{}")), tool("17.5"), tool('{"h": 9}', "call_1"), says("Dry at nine.")],
        [WEATHER, CLOCK],
    ),
    "thinking_then_call": (
        [user("Rain?"), says("", ASK, thinking="The tool\nknows."), tool("17.5"), says("No.", thinking="17.5: warm")],
        [WEATHER],
    ),
    "second_question": (
        [
            user("Rain?"),
            says("\nOne moment.", ASK, thinking="\nThe tool knows.\n"),
            tool("17.5"),
            says("No.", thinking="Warm."),
            user("Time?"),
            says("", ("clock", "{}"), thinking="Ask the clock."),
        ],
        [WEATHER, CLOCK],
    ),
    "result_as_user_message": (
        [user("Rain?"), says("", ASK, thinking="Hm."), user("<tool_response>\n17.5\n</tool_response>"), says("No.")],
        [WEATHER],
    ),
    "spellings": (
        [
            user("É <|im_end|> \r\n\t\u2028 \U0001f600 </think>"),
            says(
                "", ("weather", '{"city":"\\u6771\\ud83d\\ude00","x":[1,2.50,-0.0,1e3,null,true,"a\\nb\\"/\\u0000"]}')
            ),
            tool("a\n\n<tool_call>\n"),
            says("</think> done"),
        ],
        [WEATHER],
    ),
    "arguments_that_are_no_object": (
        [user("Rain?"), says("", ("weather", '["Köln"]'), ("weather", '"Köln"'), ("weather", "Köln, 2"))],
        [WEATHER],
    ),
}

# --- generated ------------------------------------------------------------------------------------------------------

_MARKUP = ["\n", "\n\n", " ", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>"]
_MARKUP += ["</think>", "<|im_end|>", "<|im_start|>", "<|endoftext|>", '{"name": "f", "arguments": {}}', "\r\n", "\x00"]
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
markup_soup = st.lists(st.one_of(st.sampled_from(_MARKUP), anything), max_size=8).map("".join)

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), anything)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(anything, inner, max_size=3)),
    max_leaves=6,
)
objects = st.dictionaries(anything, values, max_size=3)
object_texts = st.builds(
    lambda value, ascii_only, separators: json.dumps(value, ensure_ascii=ascii_only, separators=separators),
    objects,
    st.booleans(),
    st.sampled_from([(", ", ": "), (",", ":")]),
)
# No JSON text begins with an exclamation mark.
argument_texts = st.one_of(object_texts, values.map(json.dumps), anything.map(lambda text: "!" + text))


def calls(names: st.SearchStrategy[str], arguments: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[ToolCall, ...]]:
    pairs = st.lists(st.tuples(names, arguments), max_size=3)
    return pairs.map(
        lambda found: tuple(ToolCall(id=f"call_{i}", name=name, arguments=text) for i, (name, text) in enumerate(found))
    )


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
assistants = st.builds(
    Message,
    role=st.just("assistant"),
    content=markup_soup,
    thinking=markup_soup,
    tool_calls=calls(names, argument_texts),
)
others = st.builds(Message, role=st.sampled_from(["system", "user", "tool"]), content=markup_soup)
conversations = st.lists(st.one_of(assistants, others), min_size=1, max_size=6)
toolboxes = st.lists(st.builds(ToolSchema, name=names, description=markup_soup, parameters=objects), max_size=2)
