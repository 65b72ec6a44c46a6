"""The four reward functions of the FTRL release, with its names and signatures, for trainers that call them.

    from toolfoundry.compat.ftrl import compute_solve_f1
    compute_solve_f1(response, codes, unsolved_set, solve_rate, "train", answer)

They give the release's numbers on the same input, with these deliberate differences:

- tools run in the sandbox, never in the caller's process;
- `unsolved_set` is not changed (the release removes what was solved from the caller's dict);
- a tool sees its own module-level names and imports, on every Python version (an `exec` into function locals hides
  them: the tool then fails with a NameError, on Python 3.13 always);
- a tool that does not end is stopped after the sandbox's limit (1 s; the release: 10 s), and its error text does not
  quote the tool's source, in which a golden may stand;
- clock and entropy are fixed, results over 64 KiB are an error, and so are arguments that are no JSON (NaN, Infinity);
- a call whose arguments are nested deeper than 100 levels cannot be read;
- split "test" is scored like "train" (the release raises NotImplementedError, so that its trainer cannot validate).
"""

from __future__ import annotations

import atexit
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

from pydantic import JsonValue

from toolfoundry.answers import published_match
from toolfoundry.chat.markup import MAX_DEPTH, deeper_than
from toolfoundry.reward import published_call_score, published_final_score, published_output
from toolfoundry.sandbox import Sandbox
from toolfoundry.types import Preset, ToolResult

__all__ = [
    "compute_solve_f1",
    "compute_solve_pr",
    "compute_solve_precision",
    "compute_solve_rate",
    "get_feedback",
    "parse_qwen",
    "score_response",
]

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
Codes = Mapping[str, str]
Unsolved = Mapping[str, Sequence[str]]


class Parsed(NamedTuple):
    """What the release's parser sees: text, and the calls it can read."""

    content: str
    calls: tuple[tuple[Any, Any], ...]


def parse_qwen(text: str) -> Parsed:
    """Reads a completion as the release does: pieces that cannot be read are dropped; if all are, all is content."""
    start = text.find(_OPEN)
    if start < 0:
        return Parsed(text.strip(), ())
    calls = tuple(call for piece in text[start:].split(_CLOSE) if (call := _read_call(piece.strip())) is not None)
    return Parsed(text[:start].strip(), calls) if calls else Parsed(text.strip(), ())


def _read_call(piece: str) -> tuple[Any, Any] | None:
    if not piece.startswith(_OPEN):
        return None
    try:
        # The release strips the *characters* of the tag, not the tag; kept, since it decides what is readable.
        value: Any = json.loads(piece.lstrip(_OPEN).strip())
        if not value.get("name"):
            return None
        arguments: Any = value["arguments"]
        if not isinstance(arguments, dict):
            arguments = json.loads(arguments)
        return None if deeper_than(MAX_DEPTH, arguments) else (value["name"], cast(Any, arguments))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def get_feedback(calls: Sequence[tuple[Any, Any]], codes: Codes) -> list[str]:
    """The text of the tool message that the release would produce for each call, run in one sandboxed worker."""
    known = {index: call for index, call in enumerate(calls) if isinstance(call[0], str) and call[0] in codes}
    runnable = {index: call for index, call in known.items() if isinstance(call[1], dict)}
    with _sandbox().session({name: codes[name] for name, _ in known.values()}) as session:
        batch = [(cast(str, name), cast("dict[str, JsonValue]", arguments)) for name, arguments in runnable.values()]
        results = dict(zip(runnable, session.batch(batch) if batch else [], strict=True))
    feedback: list[str] = []
    for index, (name, arguments) in enumerate(calls):
        if index in results:
            result = results[index]
        elif index in known:
            result = _raised(f"TypeError: {name}() argument after ** must be a mapping, not {type(arguments).__name__}")
        elif type(name) in (list, dict):
            result = _raised(f"TypeError: unhashable type: {type(name).__name__!r}")
        else:
            result = _raised(f"KeyError: {name!r}")
        feedback.append(published_output(str(name), result))
    return feedback


def _raised(error: str) -> ToolResult:
    return ToolResult(call_id="", error=f"raised: {error}")


@lru_cache(maxsize=1)
def _sandbox() -> Sandbox:
    """One sandbox for the process, started at the first call."""
    sandbox = Sandbox()
    atexit.register(sandbox.close)
    return sandbox


def score_response(
    response: str, codes: Codes, unsolved_set: Unsolved, solve_rate: float, split: str, answer: str | None = None
) -> dict[Preset, float]:
    """All four scores of one response at the price of one execution. Raises ValueError for an unknown split."""
    if split not in ("train", "test"):
        raise ValueError(f"Unknown split: {split}")
    presets: tuple[Preset, ...] = ("ftrl", "ftrl-pr", "ftrl-rate", "ftrl-precision")
    parsed = parse_qwen(_without_end(response))
    if not parsed.calls:
        unsolved = sum(len(answers) for answers in unsolved_set.values())
        score = published_final_score(parsed.content, answer, unsolved, all_solved=solve_rate == 1.0)
        return dict.fromkeys(presets, score)
    remaining = {tool: list(answers) for tool, answers in unsolved_set.items()}
    solved = 0
    for (name, _), output in zip(parsed.calls, get_feedback(parsed.calls, codes), strict=True):
        answers = remaining.get(name, []) if isinstance(name, str) else []
        hit = next((golden for golden in answers if published_match(golden, output)), None)
        if hit is not None:
            answers.remove(hit)
            solved += 1
    return {preset: published_call_score(len(parsed.calls), solved, preset) for preset in presets}


def _without_end(response: str) -> str:
    return response.strip().removesuffix("<|endoftext|>").strip().removesuffix("<|im_end|>").strip()


def compute_solve_f1(
    response: str, codes: Codes, unsolved_set: Unsolved, solve_rate: float, split: str, answer: str | None = None
) -> float:
    """2q/(p+1) for a response with calls: the reward that the paper trains with."""
    return score_response(response, codes, unsolved_set, solve_rate, split, answer)["ftrl"]


def compute_solve_pr(
    response: str, codes: Codes, unsolved_set: Unsolved, solve_rate: float, split: str, answer: str | None = None
) -> float:
    """q²/p for a response with calls."""
    return score_response(response, codes, unsolved_set, solve_rate, split, answer)["ftrl-pr"]


def compute_solve_rate(
    response: str, codes: Codes, unsolved_set: Unsolved, solve_rate: float, split: str, answer: str | None = None
) -> float:
    """q for a response with calls."""
    return score_response(response, codes, unsolved_set, solve_rate, split, answer)["ftrl-rate"]


def compute_solve_precision(
    response: str, codes: Codes, unsolved_set: Unsolved, solve_rate: float, split: str, answer: str | None = None
) -> float:
    """q/p for a response with calls."""
    return score_response(response, codes, unsolved_set, solve_rate, split, answer)["ftrl-precision"]
