"""Going through OpenAI Batch files: requests are collected in waves, and replies are read when they are there.

    DIR/wave-0001.input.jsonl     written here; submit it as a batch
    DIR/wave-0001.output.jsonl    put there by whoever submitted it: the batch's output file
    DIR/wave-0001.error.jsonl     and its error file, if there is one

Nothing is sent from here. Each run reads the outputs into the cache, takes every item as far as its replies go, and
writes what it then needs as the next wave. A request is in one open wave at most. What a finished wave gave no reply to
(an error, a batch that expired) goes into the next one, at most `TRIES` times.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson

from toolfoundry.build.author import Pending
from toolfoundry.build.authors.llm.cache import ReplyCache
from toolfoundry.build.authors.llm.requests import ChatReply, ChatRequest, estimated_tokens, reply_of
from toolfoundry.errors import EndpointError, InputError, OutputError, RecordError
from toolfoundry.policies.wire import BadReply, error_text, read_reply
from toolfoundry.untrusted import visible

__all__ = ["TRIES", "BatchFiles", "Wave"]

TRIES = 3
MOST_REQUESTS, MOST_BYTES = 50_000, 190 * 2**20  # of one file; OpenAI takes 50,000 requests and 200 MB
_WAVE = re.compile(r"(wave-(\d{4,}))\.input\.jsonl")


class Wave(NamedTuple):
    """What a run left behind. written: input files to submit; open: input files that have no output yet.

    requests: how many the written files hold; waiting: how many the open ones hold; failed: error lines read so far.
    """

    written: tuple[Path, ...]
    open: tuple[Path, ...]
    requests: int
    waiting: int
    failed: int

    def __str__(self) -> str:
        """What to do now, for a person."""
        lines: list[str] = []
        if self.written:
            names = ", ".join(path.name for path in self.written)
            lines.append(f"{self.requests:,} requests written to {names}: submit each as a batch for chat completions,")
            lines.append(
                "save its output beside it as wave-NNNN.output.jsonl, and start the same command again with --resume"
            )
        if self.open:
            names = ", ".join(path.name.replace(".input.", ".output.") for path in self.open)
            lines.append(f"{self.waiting:,} requests are still without replies: waiting for {names}")
        if self.failed:
            lines.append(f"{self.failed:,} requests came back with an error so far; they are asked again")
        return "\n".join(lines) or "no request is open"


class BatchFiles:
    """The transport that collects. Replies arrive by way of the cache, so it never gives one itself.

    One process at a time may use a folder. Raises RecordError where a file in it cannot be read.
    """

    later = True

    def __init__(self, folder: Path, cache: ReplyCache) -> None:
        self._folder, self._cache = folder, cache
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
        self._failures: Counter[str] = Counter()
        self._errors: dict[str, str] = {}
        self._waiting: set[str] = set()
        self._open: list[Path] = []
        self._collected: dict[str, bytes] = {}
        self._number = 0
        self.read = 0
        """Replies that were new to the cache."""
        self._read_waves()

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Collects the request. Raises Pending, or EndpointError for what came back with an error `TRIES` times."""
        key = request.hash
        if self._failures[key] >= TRIES:
            message = f"the batch gave an error {TRIES} times: {self._errors.get(key, 'no reply')}"
            raise EndpointError(message, status=400)
        if key not in self._waiting and key not in self._collected:
            line = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": request.body()}
            self._collected[key] = orjson.dumps(line) + b"\n"
        raise Pending(key)

    async def aclose(self) -> None:
        """Writes what was collected and not written: a run that ends early, by its budget say, leaves its wave too."""
        if self._collected:
            self.write()

    def write(self) -> Wave:
        """Writes what was collected as the next wave: one file, or more where it is too large for one."""
        written: list[Path] = []
        lines = list(self._collected.values())
        while lines:
            count = size = 0
            while count < min(len(lines), MOST_REQUESTS) and (count == 0 or size + len(lines[count]) <= MOST_BYTES):
                size += len(lines[count])
                count += 1
            self._number += 1
            path = self._folder / f"wave-{self._number:04d}.input.jsonl"
            draft = path.with_suffix(".part")
            try:
                draft.write_bytes(b"".join(lines[:count]))
                draft.replace(path)  # there whole or not at all
            except OSError as error:
                raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
            written.append(path)
            del lines[:count]
        requests = len(self._collected)
        self._collected.clear()
        failed = sum(self._failures.values())
        return Wave(tuple(written), tuple(self._open), requests, len(self._waiting), failed)

    def _read_waves(self) -> None:
        names = sorted(path.name for path in self._folder.iterdir())
        for match in filter(None, map(_WAVE.fullmatch, names)):
            self._number = max(self._number, int(match[2]))
            path = self._folder / match[0]
            answers = [self._folder / f"{match[1]}.{kind}.jsonl" for kind in ("output", "error")]
            requests = dict(_requests(path))
            if not any(answer.exists() for answer in answers):
                self._open.append(path)
                self._waiting.update(requests)
                continue
            for answer in answers:
                if answer.exists():
                    self._read_answers(answer, requests)
            for key in requests:
                if self._cache.get(key) is None:
                    self._failures[key] += 1

    def _read_answers(self, path: Path, requests: dict[str, int]) -> None:
        for number, line in _lines(path):
            key, body, problem = _answer(line, path, number)
            if key not in requests:
                expected = f"a custom_id of {path.name.split('.')[0]}.input.jsonl"
                raise _bad(path, number, "custom_id", repr(key)[:80], expected)
            if body is None:
                self._errors[key] = problem
            elif self._cache.get(key) is None:
                try:
                    reply = reply_of(read_reply(body, first_id=0, parse_text=False))
                except BadReply as error:
                    self._errors[key] = visible(str(error))
                    continue
                self._cache.put(key, reply, requests[key])
                self.read += 1


class _Answer(NamedTuple):
    """One line of an output or error file: the body of a chat completion, or None and what went wrong."""

    key: str
    body: bytes | None
    problem: str


def _answer(line: bytes, path: Path, number: int) -> _Answer:
    value = _object(line, path, number)
    response: Any = value.get("response")
    status = _get(response, "status_code")
    body = _get(response, "body")
    if isinstance(body, dict) and status == 200 and value.get("error") is None:
        return _Answer(str(value.get("custom_id")), orjson.dumps(body), "")
    told = error_text(orjson.dumps({"error": value.get("error") or _get(body, "error") or {}}))
    return _Answer(str(value.get("custom_id")), None, visible(f"status {status}: {told}" if status else told))


def _requests(path: Path) -> Iterator[tuple[str, int]]:
    """The hashes of the requests in an input file, and about how many tokens the prompt of each has."""
    for number, line in _lines(path):
        value = _object(line, path, number)
        messages: Any = _get(value.get("body"), "messages")
        if not isinstance(messages, list):
            raise _bad(path, number, "body.messages", type(messages).__name__, "an array, as it was written")
        contents = [str(_get(message, "content")) for message in cast("list[Any]", messages)]
        yield str(value.get("custom_id")), estimated_tokens(contents)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _object(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        value: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _bad(path, number, None, f"malformed JSON ({error})", "one JSON object") from None
    if not isinstance(value, dict):
        raise _bad(path, number, None, type(value).__name__, "one JSON object")
    return cast("dict[str, Any]", value)


def _bad(path: Path, number: int, field: str | None, found: str, expected: str) -> RecordError:
    return RecordError(field=field, found=found, expected=expected, file=str(path), line=number)


def _get(value: Any, key: str) -> Any:
    return cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
