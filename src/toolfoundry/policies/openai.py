"""A policy behind any OpenAI-compatible endpoint: conversation out, completion in, every failure named.

    async with OpenAIPolicy("Qwen/Qwen3-8B", base_url="http://127.0.0.1:8000/v1", thinking=False) as policy:
        completion = await policy(messages, tools)
        print(policy.usage())

The official SDK carries the requests. Retries are ours, so that they are counted, and so is the reading of replies,
so that a malformed one is a failure of the endpoint and not of the model. What the model got wrong (broken call,
unknown tool, cut off) is in the message, for the environment to answer; what the endpoint got wrong is retried if
that may help, then raised as one `EndpointError`.

Nothing goes out unless a policy is made with a `base_url`. Redirects are not followed: the key would go along. A key
comes from an environment variable and is in no message, record or representation. Connections belong to an event
loop, and end with it or with `aclose`.

Not covered: token ids and log-probabilities, streaming, and endpoints other than chat completions.
"""

from __future__ import annotations

import asyncio
import email.utils
import importlib.util
import ipaddress
import math
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import JsonValue

from toolfoundry.errors import EndpointError, InputError, MissingExtra
from toolfoundry.policies import Policy
from toolfoundry.policies.wire import BadReply, error_text, read_reply, wire_messages
from toolfoundry.seeds import derive_seed, generator
from toolfoundry.types import Completion, Message, Record, ToolSchema

if TYPE_CHECKING:
    import openai

__all__ = ["VENDOR_URL", "EndpointUsage", "OpenAIPolicy", "checked_url"]

VENDOR_URL = "https://api.openai.com/v1"
"""The vendor's own endpoint: pass it as `base_url` to choose it."""

_SHORTEST_SECRET = 8  # "EMPTY" and the like are set where a key is asked for and not needed
_MAX_REPLY_BYTES = 4 * 2**20
_SDK_FIELDS = frozenset(("extra_body", "extra_headers", "extra_query", "timeout"))  # not part of what is sent
_FIRST_BACKOFF_S = 0.5
_ADVICE = {
    400: "the request was refused; a conversation beyond the context length or an unknown parameter is the usual cause",
    404: "check that base_url ends where the server's API begins (often /v1) and that it serves this model",
    408: "raise timeout_s or lower the concurrency",
    429: "lower the concurrency",
}


class EndpointUsage(Record):
    """What a policy has used so far. `unmetered` counts replies without usable token counts."""

    requests: int = 0
    retries: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unmetered: int = 0

    def __str__(self) -> str:
        text = f"{self.requests:,} requests ({self.retries:,} retries, {self.failures:,} given up), "
        text += f"{self.prompt_tokens:,} prompt and {self.completion_tokens:,} completion tokens"
        return text + (f" ({self.unmetered:,} replies without counts)" if self.unmetered else "")


@dataclass(frozen=True)
class _Failure:
    """Why one attempt gave nothing, in words, and whether another may."""

    what: str
    advice: str = ""
    retry: bool = True
    after_s: float | None = None
    status: int | None = None


class _Broken(Exception):
    """No connection, or one that ended early. Its text is the name of the transport's error."""


class _Refusal(Exception):
    """A reply with a status other than success, with its headers and the beginning of its body."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body
        super().__init__(status)


class _Line(NamedTuple):
    """What belongs to one event loop. `closing` is an async generator that the loop ends when it ends itself."""

    loop: asyncio.AbstractEventLoop
    client: openai.AsyncOpenAI
    slots: asyncio.Semaphore
    closing: AsyncGenerator[None]


class OpenAIPolicy:
    """The policy. A call returns a completion or raises EndpointError; the message in it is never malformed.

    Args:
        model: the name under which the endpoint serves it.
        base_url: where the API begins, for instance `http://127.0.0.1:8000/v1` or `VENDOR_URL`.
        api_key_env: the environment variable with the key. None is `OPENAI_API_KEY` for `VENDOR_URL`, and no key
            for any other endpoint: a vendor's key is not shown to a stranger. Only `VENDOR_URL` cannot do without.
        thinking: sets `enable_thinking` of the chat template (vLLM, SGLang, llama.cpp); None sends nothing.
        send_thinking: sends the thinking of earlier turns back, as `reasoning` and `reasoning_content`.
        parse_text: reads Hermes markup and `<think>` out of the text, for servers that have no parser for it.
        parallel_tool_calls, temperature, top_p, max_tokens: sent where not None. `max_tokens` is for one turn.
        seed: sent where not None, the same in every request; see `sampled`.
        extra_body: further fields of the request, as the endpoint knows them.
        timeout_s: for one attempt, from the first to the last byte.
        max_retries: attempts beyond the first, for 408, 409, 429, 5xx, timeouts, broken connections and replies.
        max_backoff_s: no wait is longer, whatever a server asks for.
        concurrency: requests in flight at a time.
        trust_env: whether proxies named in the environment are used; None is yes, except for loopback.
        sleep: waits between attempts.
    Raises:
        InputError: `base_url` or `api_key_env` is unusable. MissingExtra: the SDK is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key_env: str | None = None,
        thinking: bool | None = None,
        send_thinking: bool = False,
        parse_text: bool = False,
        parallel_tool_calls: bool | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        extra_body: Mapping[str, JsonValue] | None = None,
        timeout_s: float = 300.0,
        max_retries: int = 5,
        max_backoff_s: float = 60.0,
        concurrency: int = 64,
        trust_env: bool | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.model = model
        self.base_url = checked_url(base_url)
        self._key_env = api_key_env or ("OPENAI_API_KEY" if self.base_url == VENDOR_URL else None)
        self._key = _key(self._key_env) if self._key_env else ""
        if self.base_url == VENDOR_URL and not self._key:
            raise InputError(f"api_key_env: found nothing in {self._key_env}, expected the key for {self.base_url}")
        limits = {"timeout_s": timeout_s, "concurrency": concurrency, "max_retries + 1": max_retries + 1}
        for name, number in limits.items():
            if not number > 0:
                raise InputError(f"{name}: found {number}, expected a positive number")
        self._parallel = parallel_tool_calls
        self._send_thinking, self._parse_text = send_thinking, parse_text
        self._seed = seed
        sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        self._options: dict[str, Any] = {name: value for name, value in sampling.items() if value is not None}
        extra: dict[str, Any] = dict(extra_body or {})
        if thinking is not None:
            extra["chat_template_kwargs"] = {**extra.get("chat_template_kwargs", {}), "enable_thinking": thinking}
        self._options["extra_body"] = extra
        self._timeout_s, self._max_retries, self._max_backoff_s = timeout_s, max_retries, max_backoff_s
        self._concurrency = concurrency
        self._trust_env = not _loopback(self.base_url) if trust_env is None else trust_env
        self._sleep = sleep
        self._jitter = generator("backoff", model, seed or 0)
        self._usage = EndpointUsage()
        self._line: _Line | None = None
        if importlib.util.find_spec("openai") is None:
            raise MissingExtra("openai", "the policy for OpenAI-compatible endpoints")

    def __repr__(self) -> str:
        return f"OpenAIPolicy({self.model!r}, base_url={self.base_url!r})"

    def usage(self) -> EndpointUsage:
        """Requests and tokens so far, over all rollouts of this policy."""
        return self._usage

    def config(self) -> dict[str, JsonValue]:
        """What shapes the completions, for a run file. No key is in it."""
        shape = {"parse_text": self._parse_text, "send_thinking": self._send_thinking, "seed": self._seed}
        return {"model": self.model, "base_url": self.base_url, **self._options, **shape}

    async def __aenter__(self) -> OpenAIPolicy:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections. Closing twice is harmless; a call after it opens new ones."""
        line, self._line = self._line, None
        if line is not None:
            await line.closing.aclose()

    def sampled(self, sample: int) -> Policy:
        """The same policy for one of several rollouts of a prompt, with a sampling seed derived from its own.

        A server repeats itself for the same seed. Without a seed the rollouts are left to chance.
        """
        seed = None if self._seed is None else derive_seed("sampling", self._seed, sample) >> 32

        async def policy(messages: Sequence[Message], tools: Sequence[ToolSchema]) -> Completion:
            return await self._complete(messages, tools, seed)

        return policy

    async def __call__(self, messages: Sequence[Message], tools: Sequence[ToolSchema]) -> Completion:
        """One completion. Raises EndpointError when all attempts failed."""
        return await self._complete(messages, tools, self._seed)

    async def _complete(self, messages: Sequence[Message], tools: Sequence[ToolSchema], seed: int | None) -> Completion:
        request = {
            "model": self.model,
            "messages": wire_messages(messages, send_thinking=self._send_thinking),
            **self._options,
        }
        if tools:
            request["tools"] = [tool.as_function() for tool in tools]
            if self._parallel is not None:
                request["parallel_tool_calls"] = self._parallel
        if seed is not None:
            request["seed"] = seed
        return await self.exchange(request, first_id=sum(len(message.tool_calls) for message in messages))

    async def exchange(self, request: dict[str, Any], *, first_id: int = 0) -> Completion:
        """The reply to a chat request that is sent as it is. Raises EndpointError when all attempts failed."""
        retries = 0
        while isinstance(outcome := await self._attempt(request, first_id), _Failure):
            if not outcome.retry or retries == self._max_retries:
                self._add(failures=1)
                tried = f" ({retries + 1} attempts)" if retries else ""
                advice = f"; {outcome.advice}" if outcome.advice else ""
                raise EndpointError(
                    f"model {self.model!r} at {self.base_url}: {_one_line(outcome.what)}{tried}{advice}",
                    outcome.status,
                )
            retries += 1
            self._add(retries=1)
            await self._sleep(self._wait_s(retries, outcome))
        if (usage := outcome.usage) is None:
            self._add(unmetered=1)
        else:
            self._add(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
        return outcome

    async def _attempt(self, request: dict[str, Any], first_id: int) -> Completion | _Failure:
        line = await self._connected()
        async with line.slots:
            self._add(requests=1)
            try:
                async with asyncio.timeout(self._timeout_s):
                    body = await _post(line.client, request)
                return read_reply(self._without_key(body), first_id=first_id, parse_text=self._parse_text)
            except _Refusal as refusal:
                return self._refused(refusal)
            except BadReply as error:
                return _Failure(f"not a chat completion: {error}", "check that base_url is an OpenAI-compatible API")
            except _Broken as error:
                return _Failure(f"the connection broke ({error})", "check that the server runs and base_url is right")
            except TimeoutError:
                return _Failure(f"no reply within {self._timeout_s:g} s", "raise timeout_s or lower the concurrency")

    async def _connected(self) -> _Line:
        loop = asyncio.get_running_loop()
        if self._line is None or self._line.loop is not loop:
            client = _client(self.base_url, self._key, self._timeout_s, self._trust_env)
            self._line = _Line(loop, client, asyncio.Semaphore(self._concurrency), _closing(client))
            await anext(self._line.closing)
        return self._line

    def _refused(self, refusal: _Refusal) -> _Failure:
        status, detail = refusal.status, error_text(self._without_key(refusal.body))
        if 300 <= status < 400:
            target = _host(refusal.headers.get("location", ""))
            what = f"{_status(status)} to {target or 'another path'}, not followed"
            return _Failure(what, "set base_url to where the API is", retry=False)
        advice = _ADVICE.get(status, "")
        if status in (401, 403):
            advice = "name the key's environment variable in api_key_env"
            if self._key_env:
                advice = f"check the key in {self._key_env}" if self._key else f"there is no key in {self._key_env}"
        retry = status in (408, 409, 429) or status >= 500
        if "insufficient_quota" in detail:
            advice, retry = "the account has no quota left", False
        what = f"{_status(status)}: {detail}" if detail else _status(status)
        return _Failure(what, advice, retry, _retry_after_s(refusal.headers, time.time()), status)

    def _wait_s(self, attempt: int, failure: _Failure) -> float:
        """What the server asked for, else doubling from half a second; at most `max_backoff_s`, the jitter included."""
        if failure.after_s is not None:
            return min(failure.after_s * self._jitter.uniform(1.0, 1.1), self._max_backoff_s)
        return min(_FIRST_BACKOFF_S * 2 ** (attempt - 1), self._max_backoff_s) * self._jitter.uniform(0.5, 1.0)

    def _add(self, **counts: int) -> None:
        self._usage = self._usage.model_copy(
            update={name: getattr(self._usage, name) + n for name, n in counts.items()}
        )

    def _without_key(self, body: bytes) -> bytes:
        """Some servers repeat the key, and neither an error nor a record may hold it."""
        return body.replace(self._key.encode(), b"***") if len(self._key) >= _SHORTEST_SECRET else body


def _one_line(text: str) -> str:
    """The text without control characters, of bounded length."""
    return "".join(char if char.isprintable() else " " for char in text)[:400]


# --- replies that are no success -----------------------------------------------------------------------------------


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait as the headers ask for it (`retry-after-ms`, `Retry-After` as seconds or date), None if not."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait_s = float(headers.get(name, "nan")) * unit_s
        except ValueError:
            continue
        if math.isfinite(wait_s):
            return max(0.0, wait_s)
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)


# --- the client ----------------------------------------------------------------------------------------------------


def _client(base_url: str, key: str, timeout_s: float, trust_env: bool) -> openai.AsyncOpenAI:
    import openai

    transport = openai.DefaultAsyncHttpxClient(
        follow_redirects=False, trust_env=trust_env, timeout=timeout_s, event_hooks={"response": [_raise_refusal]}
    )
    client = openai.AsyncOpenAI(base_url=base_url, api_key=key or "EMPTY", max_retries=0, http_client=transport)
    if base_url != VENDOR_URL:  # the SDK takes these from the environment, for whatever endpoint
        client.organization = client.project = None
    return client


async def _closing(client: openai.AsyncOpenAI) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await client.close()


async def _post(client: openai.AsyncOpenAI, request: dict[str, Any]) -> bytes:
    """The body of the reply. Raises _Refusal, _Broken, BadReply or TimeoutError."""
    import openai

    create: Any = client.chat.completions.with_streaming_response.create
    # The SDK goes through every field of messages and tools, to rename some; as `extra_body` they are sent as they are,
    # which saves a fifth of what a turn costs (benchmarks/peers).
    named = {name: request[name] for name in request.keys() & _SDK_FIELDS}
    body = {**{name: value for name, value in request.items() if name not in named}, **named.pop("extra_body", {})}
    try:
        async with create(model=request["model"], messages=(), extra_body=body, **named) as response:
            try:
                return await _bounded(response.iter_bytes())
            except BadReply:
                raise
            except Exception as error:  # the SDK wraps its transport's errors only up to the headers
                raise _Broken(type(error).__name__) from None
    except openai.APITimeoutError:
        raise TimeoutError from None
    except openai.APIConnectionError as error:
        if isinstance(error.__cause__, _Refusal | BadReply):  # SDK 2 wraps whatever is raised while it sends
            raise error.__cause__ from None
        raise _Broken(type(error.__cause__).__name__) from None


async def _raise_refusal(response: Any) -> None:
    """Takes a reply that is no success away from the SDK, which would read it whatever its size."""
    if not 200 <= response.status_code < 300:
        raise _Refusal(response.status_code, response.headers, await _bounded(response.aiter_bytes()))


async def _bounded(chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > _MAX_REPLY_BYTES:
            raise BadReply(f"more than {_MAX_REPLY_BYTES // 2**20} MiB long")
    return bytes(body)


def _key(variable: str) -> str:
    """The key in an environment variable, "" for none. Raises InputError, without repeating it, for what is no key."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"api_key_env: found characters in {variable} that no key has, expected printable ASCII")
    return key


def checked_url(base_url: str) -> str:
    """The URL without a trailing slash. Raises InputError if it is no plain http(s) URL or holds credentials."""
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise InputError("base_url: found a malformed URL, expected http://HOST:PORT/v1") from None
    if parts.username is not None or parts.query or parts.fragment:  # the value is not repeated: it may hold a key
        raise InputError("base_url: found credentials or a query in it, expected a plain URL and api_key_env")
    if not usable:
        raise InputError(f"base_url: found {base_url!r}, expected http://HOST:PORT/v1")
    return base_url.rstrip("/")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _loopback(base_url: str) -> bool:
    host = _host(base_url)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
