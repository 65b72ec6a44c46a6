"""Conversations in which a policy sampled token ids: a tokenizer of bytes, and trajectories made with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from toolfoundry.answers import infer
from toolfoundry.chat import chat_format, explain
from toolfoundry.reward import grade_turn
from toolfoundry.tokens import Dialect, Prompt
from toolfoundry.types import Completion, Goal, Message, Task, ToolResult, ToolSchema, Trajectory, Turn

CONTROL = ("<|im_end|>", "<|endoftext|>", "<|im_start|>")
_PIECES = re.compile("(" + "|".join(map(re.escape, CONTROL)) + ")")
_DOUBLE = 300


class ByteCodec:
    """UTF-8 bytes 0-255, control tokens 256-258, and 300 + b for the byte b twice, which only a policy spells."""

    end_ids = (256, 257)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for piece in _PIECES.split(text):
            ids += [256 + CONTROL.index(piece)] if piece in CONTROL else piece.encode()
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        parts = [
            CONTROL[i - 256].encode() if 256 <= i < _DOUBLE else bytes([i]) if i < 256 else bytes([i - _DOUBLE] * 2)
            for i in ids
        ]
        return b"".join(parts).decode(errors="replace")


def oddly_spelled(ids: Sequence[int]) -> list[int]:
    """Other ids for the same text: pairs of equal bytes become one id, as no encoder would write them."""
    spelled: list[int] = []
    for i in ids:
        if spelled and spelled[-1] == i < 256:
            spelled[-1] = _DOUBLE + i
        else:
            spelled.append(i)
    return spelled


DIALECTS = {
    "hermes": Dialect(chat_format("hermes"), ByteCodec()),
    "qwen3-direct": Dialect(chat_format("qwen3"), ByteCodec()),
    "qwen3-thinking": Dialect(chat_format("qwen3"), ByteCodec(), thinking=True),
}
TOOLS = (
    ToolSchema(name="left", description="Left.", parameters={"type": "object", "properties": {"n": {}}}),
    ToolSchema(name="right", description="Right.", parameters={"type": "object", "properties": {}}),
)
GOALS = (
    Goal(id="g1", tool="left", answer=infer("41")),
    Goal(id="g2", tool="left", answer=infer("42"), needs=("g1",)),
    Goal(id="g3", tool="right", answer=infer("velden")),
)
TASK = Task(spec_id="s" * 16, kind="parallel_multi_hop", goals=GOALS, answer=infer("42"), tagged=True)


def say(name: str, arguments: str = "{}") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def result_of(call) -> ToolResult:
    """left(n) is 40 + n, right() is "velden", anything else an error."""
    if call.name == "left" and (found := re.fullmatch(r'\{"n": (\d+)\}', call.arguments)):
        return ToolResult(call_id=call.id, content=str(40 + int(found[1])))
    if call.name == "right":
        return ToolResult(call_id=call.id, content="velden")
    return ToolResult(call_id=call.id, error="raised: KeyError: 'n'")


class Played(NamedTuple):
    """A trajectory, and the prompts that its policy was asked with."""

    trajectory: Trajectory
    prompts: list[Prompt]
    messages: list[list[Message]]


def play(
    dialect: Dialect,
    sampled: Sequence[Sequence[int]],
    *,
    prompt: Sequence[Message] = (Message(role="user", content="What is left of the left?"),),
    preset="frontier",
) -> Played:
    """What comes of a policy that samples these ids, turn after turn."""
    messages, said, turns, prompts, seen = list(prompt), [], [], [], []
    unsolved, credited, calls = tuple(goal.id for goal in GOALS), frozenset(), 0
    for ids in sampled:
        prompts.append(dialect.prompt(messages, TOOLS, said))
        seen.append(list(messages))
        message = dialect.read(ids, first_id=calls)
        calls += len(message.tool_calls)
        results = tuple(result_of(call) for call in message.tool_calls)
        notice = "\n".join(explain(fault) for fault in message.faults if fault.kind != "unfinished") or None
        graded = grade_turn(GOALS, unsolved, message, results, TASK.answer, preset, credited=credited)
        unsolved, credited = graded.unsolved_ids, graded.credited
        completion = Completion(
            message=message, token_ids=tuple(ids), logprobs=tuple(-0.5 - i for i in range(len(ids)))
        )
        turns.append(Turn(completion=completion, results=results, notice=notice, reward=graded.reward))
        said.append(list(ids))
        messages.append(message)
        messages += [Message(role="tool", content=result.text, call_id=result.call_id) for result in results]
        messages += [Message(role="user", content=notice)] if notice is not None else []
    trajectory = Trajectory(
        task=TASK, policy="p", preset=preset, prompt=tuple(prompt), turns=tuple(turns), stop="answered"
    )
    return Played(trajectory, prompts, seen)


_BITS = [
    *(say("left", '{"n": 1}'), say("left", '{"n": 2}'), say("right"), say("left", "[broken")),
    *("<think>\n\n</think>\n\n", "<think>\nHm, well.\n</think>\n\n", "<think>", "</think>", "<tool_response>"),
    *("\n", "\n\n", " ", "<answer>42</answer>", "All is well. ", "東京 ", "<tool_call>", "<|im_start|>"),
]
completions = st.lists(st.sampled_from(_BITS), max_size=4).map("".join)


@st.composite
def sampled_turns(draw, max_turns: int = 5) -> list[list[int]]:
    """The ids of some turns: markup in any order, odd spellings, turns cut off, turns with nothing in them."""
    turns: list[list[int]] = []
    for _ in range(draw(st.integers(1, max_turns))):
        ids = ByteCodec().encode(draw(completions))
        ids = oddly_spelled(ids) if draw(st.booleans()) else ids
        end = draw(st.sampled_from([[256], [256], [257], []]))
        turns.append([*ids, *end] or [256])
    return turns
