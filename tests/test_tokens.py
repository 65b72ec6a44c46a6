"""Conversations as ids: what was sampled is kept, what lies between is encoded once, nothing again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spoken import DIALECTS, TOOLS, ByteCodec, oddly_spelled, play, sampled_turns, say
from toolfoundry.tokens import Dialect, Transcript
from toolfoundry.types import Message

names = st.sampled_from(sorted(DIALECTS))


@given(names, sampled_turns())
@settings(max_examples=150, deadline=None)
def test_a_prompt_goes_on_from_what_was_sampled(name, sampled):
    """Each prompt begins with the prompt before and the ids sampled at it, unless the format rewrote what it showed."""
    played = play(DIALECTS[name], sampled)
    for turn in range(1, len(sampled)):
        before, now = played.prompts[turn - 1], played.prompts[turn]
        if now.first == turn:
            assert now.spans == ()
        else:
            assert now.ids[: len(before.ids) + len(sampled[turn - 1])] == before.ids + sampled[turn - 1]
            assert now.first == before.first
            assert now.spans == (*before.spans, (len(before.ids), len(before.ids) + len(sampled[turn - 1])))


@given(names, sampled_turns())
@settings(max_examples=100, deadline=None)
def test_a_transcript_gives_what_a_dialect_gives(name, sampled):
    """Asked turn by turn, or once at the end: the same ids; asked twice at the same place too."""
    dialect = DIALECTS[name]
    played = play(dialect, sampled)
    transcript = Transcript(dialect, TOOLS)
    for turn, (messages, prompt) in enumerate(zip(played.messages, played.prompts, strict=True)):
        assert transcript.prompt(messages, sampled[:turn]) == prompt
        assert transcript.prompt(messages, sampled[:turn]) == prompt


@given(names, sampled_turns())
@settings(max_examples=100, deadline=None)
def test_without_sampled_ids_a_prompt_is_the_rendered_text(name, sampled):
    """`said` left out: the ids spell what the chat template writes for these messages."""
    dialect = DIALECTS[name]
    for messages in play(dialect, sampled).messages:
        text = dialect.chat.render(messages, TOOLS, generation=True, thinking=dialect.thinking)
        prompt = dialect.prompt(messages, TOOLS)
        assert dialect.codec.decode(prompt.ids) == text
        assert prompt.spans == ()


@pytest.mark.parametrize(
    ("name", "said", "firsts"),
    [
        ("hermes", "<think>\nHm.\n</think>\n\n", [0, 0, 0]),  # thinking is text like any other
        ("qwen3-direct", "", [0, 1, 2]),  # the empty thinking of the opening is taken back from every earlier turn
        ("qwen3-thinking", "<think>\nHm.\n</think>\n\n", [0, 0, 0]),
        ("qwen3-thinking", "", [0, 1, 2]),  # a turn without thinking is rendered without its empty block later on
    ],
)
def test_where_the_formats_rewrite(name, said, firsts):
    """Which turns still stand in each prompt as they were sampled. Changing this changes training."""
    ids = [ByteCodec().encode(f"{said}{say('right')}<|im_end|>")] * 3
    assert [prompt.first for prompt in play(DIALECTS[name], ids).prompts] == firsts


def test_a_notice_makes_qwen3_drop_the_thinking_before_it():
    """It is a question to the model: what it thought before it is not shown again."""
    codec = ByteCodec()
    call = codec.encode(f"<think>\nHm.\n</think>\n\n{say('right')}<|im_end|>")
    fault = codec.encode(f"<think>\nSo: {say('right')}\n</think>\n\nWell?<|im_end|>")
    assert [prompt.first for prompt in play(DIALECTS["qwen3-thinking"], [call, fault, call, call]).prompts] == [
        0,
        0,
        2,
        2,
    ]


def test_a_turn_that_was_cut_off_is_closed():
    """The first end token follows it in the next prompt, outside the span that was sampled."""
    codec = ByteCodec()
    cut = codec.encode(say("right"))
    _, prompt = play(DIALECTS["hermes"], [cut, [256]]).prompts
    [(start, end)] = prompt.spans
    assert prompt.ids[start:end] == cut
    assert prompt.ids[end] == 256
    assert codec.decode(prompt.ids[end:]).startswith("<|im_end|>\n<|im_start|>user\n<tool_response>\nvelden")


def test_either_end_token_ends_a_turn():
    """A turn that ends in the second end token is not closed again."""
    ended = [*ByteCodec().encode(say("right")), 257]
    _, prompt = play(DIALECTS["hermes"], [ended, [256]]).prompts
    end = prompt.spans[0][1]
    assert prompt.ids[end - 1 : end + 1] == [257, ord("\n")]


def test_turns_of_the_opening_were_not_sampled():
    """An imported prompt may hold answers of an assistant: they are text, and `said` counts from there on."""
    opening = (
        Message(role="user", content="Hello?"),
        Message(role="assistant", content="Hi."),
        Message(role="user", content="And now?"),
    )
    dialect, sampled = DIALECTS["hermes"], [ByteCodec().encode(f"{say('right')}<|im_end|>"), [256]]
    first, second = play(dialect, sampled, prompt=opening).prompts
    assert "assistant\nHi.<|im_end|>" in dialect.codec.decode(first.ids)
    assert first.spans == ()
    assert second.spans == ((len(first.ids), len(first.ids) + len(sampled[0])),)


def test_more_ids_than_turns_are_refused():
    """Ids of a turn that is not in the messages cannot be placed."""
    with pytest.raises(ValueError, match="found the ids of 1 turns, expected at most 0"):
        DIALECTS["hermes"].prompt([Message(role="user", content="?")], TOOLS, [[256]])


def test_a_turn_without_ids_is_encoded_from_its_message():
    """What is not known of one turn does not stop the others from being kept."""
    dialect, codec = DIALECTS["hermes"], ByteCodec()
    ids = oddly_spelled(codec.encode(f"Well. {say('right')}<|im_end|>"))
    played = play(dialect, [ids, ids, [256]])
    prompt = dialect.prompt(played.messages[2], TOOLS, [[], ids])
    (start, end), (again, _) = prompt.spans
    assert prompt.ids[start:end] == codec.encode(f"Well. \n{say('right')}<|im_end|>")
    assert prompt.ids[again : again + len(ids)] == ids


def test_text_is_encoded_once_over_an_episode():
    """What a transcript encodes over an episode is about as long as the episode, not its square."""

    class Counting(ByteCodec):
        encoded = 0

        def encode(self, text):
            self.encoded += len(text)
            return super().encode(text)

    codec = Counting()
    dialect = Dialect(DIALECTS["hermes"].chat, codec)
    turn = ByteCodec().encode(f"{say('right')}<|im_end|>")
    played = play(DIALECTS["hermes"], [turn] * 20)
    transcript = Transcript(dialect, TOOLS)
    for number, messages in enumerate(played.messages):
        last = transcript.prompt(messages, [turn] * number)
    assert codec.encoded == len(dialect.codec.decode(last.ids)) - 19 * len(ByteCodec().decode(turn))


def test_reading_what_was_sampled():
    """A message that does not end in an end token was cut off, and says so; calls are numbered from where they are."""
    dialect = DIALECTS["hermes"]
    whole = ByteCodec().encode(f"{say('right')}<|im_end|>")
    message = dialect.read(whole, first_id=3)
    assert [call.id for call in message.tool_calls] == ["call_3"]
    assert message.faults == ()
    assert [fault.kind for fault in dialect.read(whole[:-1]).faults] == ["unfinished"]
    assert [fault.kind for fault in dialect.read([]).faults] == ["unfinished"]
    assert dialect.spell(message) == whole
