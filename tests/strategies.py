"""Hypothesis strategies for the records, in one place."""

from hypothesis import strategies as st

from toolfoundry.types import (
    Answer,
    EnvSpec,
    Goal,
    Message,
    Provenance,
    Scenario,
    Tool,
    ToolCall,
    ToolResult,
    ToolSchema,
)

words = st.sampled_from("amber birch cobalt delta ember fjord garnet harbor indigo juniper".split())
names = st.from_regex(r"[a-z][a-z_]{0,12}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(names, json_values, max_size=3)
answers = st.one_of(
    st.integers(-(10**9), 10**9).map(lambda n: Answer(type="number", value=n)),
    st.dates().map(lambda day: Answer(type="date", value=day.isoformat())),
    st.booleans().map(lambda truth: Answer(type="boolean", value=truth)),
    st.lists(words, min_size=1, max_size=3).map(lambda parts: Answer(type="text", value=" ".join(parts))),
    st.lists(words, min_size=2, max_size=3, unique=True).map(lambda parts: Answer(type="list", value=parts)),
)


@st.composite
def goal_sets(draw, max_size=6):
    """Goals in topological order over two tools, with random edges, sometimes unknown ones."""
    size = draw(st.integers(1, max_size))
    known = draw(st.booleans()) or draw(st.booleans())
    goals = []
    for index in range(size):
        earlier = [goal.id for goal in goals]
        needs = tuple(draw(st.lists(st.sampled_from(earlier), unique=True, max_size=2))) if earlier else ()
        answer = Answer(type="number", value=draw(st.integers(100, 104)))
        goals.append(
            Goal(
                id=f"g{index}",
                tool=draw(st.sampled_from(["left", "right"])),
                answer=answer,
                needs=needs if known else None,
                echo_ok=draw(st.sampled_from([False, True, None])),
            )
        )
    return tuple(goals)


@st.composite
def turns(draw, max_calls=5):
    """A message with calls to `left` and `right`, some of them equal, malformed or failing, and their results."""
    calls, results = [], []
    for index in range(draw(st.integers(0, max_calls))):
        call_id = f"c{index}"
        text = draw(st.sampled_from(['{"n": 1}', '{"n": 100}', '{"n": 101}', '{"n": 102}', "{broken"]))
        tool = draw(st.sampled_from(["left", "right", "other"]))
        calls.append(ToolCall(id=call_id, name=tool, arguments=text))
        # a stateless tool: its result is a function of its name and arguments
        value = (hash_free(tool + text) % 7) + 99
        failed = value == 99
        results.append(
            ToolResult(call_id=call_id, error="raised: ValueError: no")
            if failed or text == "{broken"
            else ToolResult(call_id=call_id, content=f"value {value}, then {value + 1}")
        )
    return Message(role="assistant", tool_calls=tuple(calls)), tuple(results)


def hash_free(text):
    """A small stable number of a text."""
    return sum((index + 3) * ord(letter) for index, letter in enumerate(text))


@st.composite
def specs(draw):
    """Small valid specifications (their tools are never run)."""
    tool_names = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    tools = tuple(
        Tool(
            signature=ToolSchema(
                name=name, description=draw(texts), parameters={"type": "object", "properties": {}, "required": []}
            ),
            source=f"def {name}():\n    return 1\n",
        )
        for name in tool_names
    )
    goals: list[Goal] = []
    for index in range(draw(st.integers(1, 3))):
        needs = tuple(goal.id for goal in goals if draw(st.booleans()))
        goals.append(Goal(id=f"g{index}", tool=draw(st.sampled_from(tool_names)), answer=draw(answers), needs=needs))
    return EnvSpec.create(
        scenario=Scenario(question=draw(texts), answer=draw(st.none() | answers)),
        tools=tools,
        goals=tuple(goals),
        state=draw(json_values),
        provenance=Provenance(source="test", labels={"x": draw(json_values)}),
    )
