"""Hermes markup: one call written, and a completion read in one left-to-right scan that never raises.

`<tool_call>` JSON `</tool_call>` is what Hermes, Qwen2.5 and Qwen3 write. JSON is read where it starts, so markup
inside a JSON string is text. Whatever is marked as a call and cannot be read becomes a call with the name "" and its
raw text as arguments: it keeps its place, and `explain` says what is wrong with it. Nothing is guessed or mended
that inference servers would not accept too.

The reading depends on the text alone, not on the Python version: no message of the `json` module gets through, and
the depth of JSON has a limit of our own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, cast

from toolfoundry.types import Fault, FaultKind, Message, ToolCall

__all__ = [
    "END_TOKENS",
    "MAX_DEPTH",
    "Malformed",
    "begins_call",
    "deeper_than",
    "dump",
    "explain",
    "load",
    "parse",
    "well_formed",
    "write_call",
]

END_TOKENS = ("<|im_end|>", "<|endoftext|>")
MAX_DEPTH = 100

_CALL_END, _THINK_END = "</tool_call>", "</think>"
_TURN_END = re.compile("|".join(re.escape(token) for token in (*END_TOKENS, "<|im_start|>")))
_TAG = re.compile("</?tool_call>|</?tool_response>")
_TAG_OR_THINKING = re.compile(f"{_TAG.pattern}|</?think>")
_CALL_BEGUN = re.compile(r"<tool_call>\s*[\[{]")
_SPACE = re.compile(r"\s*")


class Malformed(Exception):
    """A call that cannot be read. Its text completes the sentence "This call could not be read: ..."."""


class _Request(NamedTuple):
    name: str
    arguments: str


# --- JSON ----------------------------------------------------------------------------------------------------------


def load(text: str) -> Any:
    """The value of a JSON text. Raises Malformed, also for NaN, infinities, and more than 100 levels."""
    value, end = _value_at(text, _skip_space(text, 0))
    if text[end:].strip():
        raise Malformed("there is text after the end of the JSON value")
    return value


def dump(value: Any) -> str:
    """JSON text the way the chat templates spell it: separators with a space, no escapes beyond the necessary."""
    return well_formed(json.dumps(value, ensure_ascii=False))


def well_formed(text: str) -> str:
    """The text with surrogate pairs joined and each lone surrogate replaced by U+FFFD, so that it can be encoded."""
    if text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _reject(_: str) -> NoReturn:
    raise Malformed("NaN and Infinity are not JSON")


def _finite(text: str) -> float:
    if (number := float(text)) in (float("inf"), float("-inf")):
        raise Malformed("a number is too large")
    return number


_DECODER = json.JSONDecoder(parse_constant=_reject, parse_float=_finite)


def _value_at(text: str, start: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        if start >= len(text):
            raise Malformed("it is empty") from None
        if error.pos >= len(text) or error.msg.startswith("Unterminated string"):
            raise Malformed("the JSON is cut off: a quote or a bracket is not closed") from None
        raise Malformed("it is not valid JSON; check quotes, commas, brackets and escapes") from None
    except RecursionError:
        raise Malformed(f"the JSON is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError:  # an integer beyond what Python converts (4,300 digits)
        raise Malformed("a number is too large") from None
    if deeper_than(MAX_DEPTH, value):
        raise Malformed(f"the JSON is nested deeper than {MAX_DEPTH} levels")
    return value, end


def deeper_than(depth: int, value: Any) -> bool:
    """Whether a JSON value is nested deeper; what is cannot be written by every writer of JSON."""
    level: list[Any] = [value]
    for _ in range(depth):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return any(isinstance(item, dict | list) for item in level)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(cast("dict[str, Any]", value).values())
    return cast("list[Any]", value) if isinstance(value, list) else []


# --- one call ------------------------------------------------------------------------------------------------------


def _request(value: Any) -> _Request:
    """What one JSON value asks for. Raises Malformed where it is not a call."""
    if not isinstance(value, dict):
        raise Malformed(f"it is {_kind(value)}, not an object")
    call = cast("dict[str, Any]", value)
    if "name" not in call:
        raise Malformed('it has no "name"')
    name: Any = call["name"]
    if not isinstance(name, str):
        raise Malformed(f'its "name" is {_kind(name)}, not a string')
    if not name.strip():
        raise Malformed('its "name" is empty')
    if "arguments" not in call and len(call) > 1:
        raise Malformed('it has no "arguments"')
    return _Request(well_formed(name), _argument_text(call.get("arguments")))


def _argument_text(arguments: Any) -> str:
    """JSON text of the arguments: none, null and "" are {}, and a string that spells an object is that object."""
    if arguments is None:
        return "{}"
    if isinstance(arguments, str):
        if not arguments.strip():
            return "{}"
        try:
            inner = load(arguments)
        except Malformed:
            inner = None
        if isinstance(inner, dict):
            return dump(cast("Any", inner))
    return dump(arguments)


def _requests(value: Any) -> list[_Request]:
    """The calls in one `<tool_call>`: an object is one, an array several. An unreadable element has the name ""."""
    if not isinstance(value, list):
        return [_request(value)]
    if not value:
        raise Malformed("it is an empty array")
    found: list[_Request] = []
    for element in cast("list[Any]", value):
        try:
            found.append(_request(element))
        except Malformed:
            found.append(_Request("", dump(element)))
    return found


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(cast("type[Any]", type(value)), "a number")


def write_call(call: ToolCall, verbatim: Callable[[str], str] = str) -> str:
    """One call between its tags, an unreadable one as the model wrote it.

    `verbatim` spells arguments that are not JSON: in that the chat templates differ.
    """
    if not call.name:
        return f"<tool_call>\n{call.arguments}\n</tool_call>"
    try:
        arguments = dump(load(call.arguments))
    except Malformed:
        arguments = verbatim(call.arguments)
    return f'<tool_call>\n{{"name": "{call.name}", "arguments": {arguments}}}\n</tool_call>'


# --- one completion ------------------------------------------------------------------------------------------------


def parse(text: str, *, thinks: bool, finished: bool = True, first_id: int = 0) -> Message:
    """The assistant message that a completion spells.

    Args:
        thinks: whether `<think>` has a meaning in this format; where not, it is ordinary text.
        finished: False where the caller knows that the model was cut off.
        first_id: the calls are named `call_N` counting up from here.
    """
    text = well_formed(text)
    faults: list[Fault] = []
    if end := _TURN_END.search(text):
        opened = end.group() not in END_TOKENS
        text, finished = text[: end.start()], not opened
        unfinished = "a new turn was begun before this one ended"
    else:
        unfinished = "the token limit was reached"
    scan = _Scan(text, thinks)
    if any(begins_call(part) for part in scan.thinking):
        faults.append(Fault(kind="call_in_thinking"))
    if scan.invented:
        faults.append(Fault(kind="invented_result", detail=scan.invented))
    if finished and scan.open_thinking:
        finished, unfinished = False, "the thinking was not closed with </think>"
    if not finished:
        faults.append(Fault(kind="unfinished", detail=unfinished))
    calls = tuple(
        ToolCall(id=f"call_{first_id + index}", name=request.name, arguments=request.arguments)
        for index, request in enumerate(scan.requests)
    )
    return Message(
        role="assistant",
        content=scan.content,
        thinking="\n".join(part.strip("\n") for part in scan.thinking if part.strip()),
        tool_calls=calls,
        faults=tuple(faults),
    )


def begins_call(thinking: str) -> bool:
    """Whether a call is made in a piece of thinking; to speak of `<tool_call>` is not to make one."""
    return _CALL_BEGUN.search(thinking) is not None


@dataclass
class _Scan:
    """What stands where in a completion whose end-of-turn token is gone."""

    text: str
    thinks: bool
    content: str = ""
    thinking: list[str] = field(default_factory=list[str])
    requests: list[_Request] = field(default_factory=list[_Request])
    invented: str = ""
    open_thinking: bool = False

    def __post_init__(self) -> None:
        self._tag = _TAG_OR_THINKING if self.thinks else _TAG
        position = 0
        while found := self._tag.search(self.text, position):
            self._say(self.text[position : found.start()], before_markup=True)
            match found.group():
                case "<tool_call>":
                    position = self._read_call(found.end())
                case "</tool_call>":
                    self.requests.append(_Request("", _CALL_END))
                    position = found.end()
                case "<think>":
                    position = self._read_thinking(found.end())
                case "</think>":
                    position = self._close_unopened_thinking(found.start())
                case _:  # what follows an invented result rests on it, so nothing of it counts
                    self.invented = self.text[found.start() : found.start() + 200]
                    return
        self._say(self.text[position:], before_markup=False)

    def _say(self, piece: str, *, before_markup: bool) -> None:
        """Adds text outside the markup: the first stretch as it is, every later one on a line of its own."""
        if not piece.strip():
            return
        if self.content:
            self.content += "\n" + piece.strip()
            return
        if self.thinking:
            piece = piece.lstrip("\n")
        self.content = piece.removesuffix("\n") if before_markup else piece

    def _read_call(self, start: int) -> int:
        """Reads one call from behind its opening tag, and returns where the text goes on.

        A missing closing tag is forgiven where the JSON is complete and nothing but markup or the end follows.
        """
        end = start
        try:
            value, end = _value_at(self.text, _skip_space(self.text, start))
            end = _skip_space(self.text, end)
            if end < len(self.text) and not self._tag.match(self.text, end):
                raise Malformed("there is text after the end of the JSON value")
            self.requests += _requests(value)
        except Malformed:
            border = self._tag.search(self.text, end)
            end = border.start() if border else len(self.text)
            self.requests.append(_Request("", self.text[start:end].strip()))
        return end + len(_CALL_END) if self.text.startswith(_CALL_END, end) else end

    def _read_thinking(self, start: int) -> int:
        end = self.text.find(_THINK_END, start)
        self.open_thinking = end < 0
        self.thinking.append(self.text[start:] if end < 0 else self.text[start:end])
        return len(self.text) if end < 0 else end + len(_THINK_END)

    def _close_unopened_thinking(self, end: int) -> int:
        """`</think>` without `<think>`: all before it was thinking (the prompt opened it), and no call in it counts."""
        if not self.thinking:
            self.thinking.append(self.text[:end])
            self.content, self.requests = "", []
        return end + len(_THINK_END)


def _skip_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start


# --- telling the model ---------------------------------------------------------------------------------------------

_ADVICE: dict[FaultKind, str] = {
    "unfinished": "Your last message was not finished",
    "invented_result": (
        "You wrote a tool result yourself. Only the tools give results: everything from there on was ignored. End "
        "your message after the tool calls and wait for their results."
    ),
    "call_in_thinking": (
        "A tool call inside your thinking is not executed. Close the thinking with </think> first, then make the call."
    ),
}
_FORM = 'Write a call as one JSON object: {"name": <function-name>, "arguments": <args-json-object>}'


def explain(problem: Fault | ToolCall) -> str:
    """What to tell the model about a fault or a malformed call: what was wrong, and what to do instead."""
    if isinstance(problem, Fault):
        advice = _ADVICE[problem.kind]
        return f"{advice}: {problem.detail or 'it was cut off'}." if problem.kind == "unfinished" else advice
    if problem.name:
        return f"the arguments of {problem.name[:80]!r} {_wrong_arguments(problem.arguments)}"
    return f"this call could not be read: {_unreadable(problem.arguments)}. {_FORM}"


def _unreadable(raw: str) -> str:
    if raw == _CALL_END:
        return "there is </tool_call> without <tool_call> before it"
    try:
        _requests(load(raw))
    except Malformed as reason:
        return str(reason)
    return "it has no name"


def _wrong_arguments(arguments: str) -> str:
    try:
        value = load(arguments)
    except Malformed as reason:
        return f"could not be read: {reason}. They must be one JSON object"
    if isinstance(value, dict):
        return "could not be used. They must be one JSON object of plain values"
    return f'are {_kind(value)}. They must be one JSON object, such as {{"name": "value"}}'
