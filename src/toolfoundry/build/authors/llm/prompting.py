"""The prompts, as files of this package: a system text for each stage, and the frames of what the user says.

Data goes into user messages only, and is never read as a template again. A system text holds nothing but its file and
lists of this package's own (the operations, the modules that tools may import).
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Literal

import orjson
from pydantic import JsonValue

from toolfoundry.answers import spelling
from toolfoundry.build.draft import Complaint, Stage
from toolfoundry.computations import COMPUTATIONS
from toolfoundry.sandbox import ALLOWED_IMPORTS
from toolfoundry.types import Answer
from toolfoundry.untrusted import visible

__all__ = ["Prompt", "answer_data", "asking", "correction", "prompt_hashes", "system_text"]

Prompt = Stage | Literal["reword", "use-decompose", "use-document"]
"""A system text: of a stage, or of an author that asks for something else at that stage."""

_FILES = (
    *("ask", "correct", "decompose", "deploy", "document", "integrate", "scale"),
    *("reword", "use-decompose", "use-document"),
)
_UNUSUAL = frozenset("dis gc inspect linecache locale os pickle sys threading token tokenize".split())
_MOST_CHARS = 600  # of one complaint


def prompt_hashes() -> dict[str, str]:
    """The SHA-256 of every prompt file, by its name, for run files."""
    return {f"{name}.md": hashlib.sha256(_file(name).encode()).hexdigest() for name in _FILES}


@lru_cache
def system_text(prompt: Prompt) -> str:
    """What the model is told about a stage."""
    text = _file(prompt)
    return text.replace("{{operations}}", _operations()).replace("{{imports}}", _imports())


def asking(data: Mapping[str, JsonValue]) -> str:
    """The message with the data of one item."""
    return _file("ask").replace("{{input}}", orjson.dumps(data).decode())


def correction(complaints: Sequence[Complaint]) -> str:
    """The message that says what was wrong. Details quote the model's own reply: invisible characters are shown."""
    lines = [f"- {complaint.reason}: {visible(complaint.detail, _MOST_CHARS)}" for complaint in complaints]
    return _file("correct").replace("{{complaints}}", "\n".join(lines))


def answer_data(answer: Answer) -> dict[str, JsonValue]:
    """An answer as the prompts show it."""
    data: dict[str, JsonValue] = {"type": answer.type, "value": answer.value}
    plain = spelling(answer.model_copy(update={"text": None}))
    return data | ({} if answer.text in (None, plain) else {"text": answer.text})


@lru_cache
def _file(name: str) -> str:
    return (resources.files("toolfoundry.build.authors.llm") / "prompts" / f"{name}.md").read_text(
        encoding="utf-8"
    ).strip() + "\n"


def _operations() -> str:
    lines = [
        "- `answer(value)`: the answer of one step as it is.",
        "- `list(values)`: answers of several steps in order.",
    ]
    for operation in COMPUTATIONS.values():
        names = ", ".join(inspect.signature(operation.function).parameters)
        lines.append(f"- `{operation.name}({names})`: {operation.summary}")
    return "\n".join(lines)


def _imports() -> str:
    names = sorted(name for name in ALLOWED_IMPORTS - _UNUSUAL if not name.startswith("_"))
    return ", ".join(names)
