# pyright: basic
"""The tiny policy's tokenizer: byte-level BPE over the words of the `tiny` profile, in the Hermes chat format.

The text is exactly what Qwen2.5 would read; only its cutting into tokens is small. Each word of the profile and each
syllable of its names is one token, and so are the phrases that every conversation repeats (the tool preamble, the
frame of a tool's JSON): a whole episode has 100 to 300 tokens instead of ten times as many. Bytes stand for the
rest, so any text can be encoded, and decoding gives it back.

A checkpoint belongs to these tokens: `vocabulary_hash` is stored beside it and compared when it is loaded.
"""

from __future__ import annotations

import hashlib

import orjson
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AddedToken, PreTrainedTokenizerFast

from toolfoundry.build.authors.procedural.tiny import ASK, UNKNOWN, WORDS
from toolfoundry.chat import FORMATS
from toolfoundry.types import Message, ToolSchema

__all__ = ["PHRASES", "build_tokenizer", "vocabulary_hash"]

_TYPES = ("person", "city", "firm")
_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_NAME = (  # ten letters, the first a capital: two, three, two and three of them are a syllable
    r"\b[A-Z][a-z](?=[a-z]{8}\b)|(?<=\b[A-Z][a-z])[a-z]{3}(?=[a-z]{5}\b)"
    r"|(?<=\b[A-Z][a-z]{4})[a-z]{2}(?=[a-z]{3}\b)|(?<=\b[A-Z][a-z]{6})[a-z]{3}\b"
)
_PIECES = rf"{_NAME}|[A-Za-z]+|[0-9]|\n| |[^A-Za-z0-9 \n]"


def _frames() -> list[str]:
    """The fixed text round what varies in a prompt, cut out of what the chat formats really write."""
    schema = ToolSchema(
        name="§",
        description="Return the §.",
        parameters={"type": "object", "properties": {"§": {"type": "string"}}, "required": ["§"]},
    )
    user = [Message(role="user", content="§")]
    hermes = FORMATS["hermes"].render(user, [schema, schema], generation=True, thinking=False)
    qwen3 = FORMATS["qwen3"].render(user, [schema, schema], generation=True, thinking=True)
    pieces = {part for text in (hermes, qwen3) for piece in text.split("§") for part in _without_control(piece)}
    return sorted(piece for piece in pieces if len(piece) > 2)


def _without_control(text: str) -> list[str]:
    for token in _CONTROL:
        text = text.replace(token, "§")
    return text.split("§")


# Texts that are one token each; `_frames` adds those of the chat formats.
PHRASES: tuple[str, ...] = (
    f"{ASK} ",
    *(UNKNOWN.format(type=kind) for kind in _TYPES),
    "What is the ",
    " of the ",
    " of ",
    ", and the ",
    "<answer>",
    "</answer>",
    "<think>\n",
    "\n</think>\n\n",
    '<tool_call>\n{"name": "',
    '", "arguments": {"',
    '": "',
    '"}}\n</tool_call>',
    "<tool_response>\n",
    "\n</tool_response>",
    "Error: ",
    "raised: ",
    "malformed_call: ",
    "unknown_tool: ",
    "there is no tool ",
    "the tools are ",
    '": {"type": "string"}, "',  # a further parameter
    '": {"type": "array", "items": {"type": "string"}}}, "required": ["',
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, made from the words of the profile alone: the same at every call."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    starts = [word for word in WORDS if len(word) == 2]
    words = list(dict.fromkeys([*WORDS, *(start.capitalize() for start in starts), "answer", "Return", "the"]))
    vocabulary = {token: index for index, token in enumerate([*_CONTROL, *alphabet, *words])}
    # A piece that is in the vocabulary is taken whole; there is nothing else to merge, so the rest is bytes.
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    phrases = dict.fromkeys([*_frames(), *PHRASES])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in phrases])
    return tokenizer


def vocabulary_hash(tokenizer: PreTrainedTokenizerFast) -> str:
    """16 hex digits that change when any token does, or its number."""
    ordered = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return hashlib.sha256(orjson.dumps(ordered)).hexdigest()[:16]
