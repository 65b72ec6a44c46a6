"""The policy against a real HTTP server on loopback that misbehaves in every way it can think of."""

import asyncio
import json
import subprocess
import sys
import time
from email.utils import formatdate

import pytest

from fake_openai_server import Reply, Script, reply, serve, status
from policies.asking import ASK, Session
from toolfoundry.errors import InputError, MissingExtra
from toolfoundry.policies.openai import VENDOR_URL, OpenAIPolicy

KEY = "sk-secret-0123456789"


# --- endpoints that fail ---------------------------------------------------------------------------------------------

BAD_REPLIES = {
    "malformed JSON": Reply(b'{"choices": [{"mess'),
    "an HTML page": Reply(b"<html><body>Bad \x1b[31mgateway</body></html>", headers={"Content-Type": "text/html"}),
    "nothing": Reply(b""),
    "not UTF-8": Reply(b'{"choices": "\xff\xfe"}'),
    "deeply nested": Reply(b"[" * 100_000),
    "an array": Reply(b"[1]"),
    "no choices": Reply(b'{"choices": []}'),
    "an error with status 200": Reply(b'{"error": {"message": "out of memory"}}'),
    "a choice without a message": Reply(b'{"choices": [{"text": "Hi."}]}'),
    "content that is no text": reply(7),
    "calls that are no array": reply(None, message={"tool_calls": {"a": 1}}),
    "an aborted completion": reply("Ni", finish="abort"),
    "more than can be read": Reply(b" " * (5 * 2**20)),
    "500": status(500),
    "502 with a page": status(502, b"<html>Bad gateway</html>", content_type="text/html"),
    "503": status(503),
    "an unknown status": status(599),
    "408": status(408),
    "409": status(409),
    "429": status(429),
    "a connection dropped in the reply": reply("Hi.", drop_after=20),
    "a connection dropped before the reply": reply("Hi.", drop_after=0),
    "a reset connection": reply("Hi.", reset=True),
    "a broken encoding": reply("Hi.", headers={"Content-Encoding": "gzip"}),
    "a reply that comes too late": reply("Hi.", delay_s=30),
    "a reply that trickles": reply("Hi.", trickle_s=0.05),
}


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_what_may_pass_is_tried_again(name):
    """The second attempt succeeds; both are counted."""
    session = Session(Script(BAD_REPLIES[name], reply("Nine.")), timeout_s=0.3 if "that" in name else 5)
    assert session.ask().message.content == "Nine."
    assert (session.usage.requests, session.usage.retries, session.usage.failures) == (2, 1, 0)
    assert len(session.waits) == 1


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (
            "malformed JSON",
            'not a chat completion: found \'{"choices": [{"mess\', expected JSON (3 attempts); check that',
        ),
        ("an HTML page", "not a chat completion: found '<html><body>Bad \\x1b[31mgateway"),
        ("an error with status 200", "found no choices (out of memory)"),
        ("more than can be read", "more than 4 MiB long"),
        ("500", "500 Internal Server Error: no (3 attempts)"),
        ("502 with a page", "502 Bad Gateway (3 attempts)"),
        ("an unknown status", "599: no (3 attempts)"),
        ("429", "429 Too Many Requests: no (3 attempts); lower the concurrency"),
        ("a connection dropped in the reply", "the connection broke ("),
        ("a reset connection", "the connection broke ("),
        ("a reply that trickles", "no reply within 0.3 s (3 attempts); raise timeout_s"),
    ],
)
def test_what_does_not_pass_is_an_error(bad, expected):
    """After all attempts: one line with model, address, cause, and what to do."""
    session = Session(Script(BAD_REPLIES[bad]), timeout_s=0.3 if "that" in bad else 5, max_retries=2)
    message = session.fail()
    assert message.startswith("model 'm' at http://127.0.0.1:")
    assert expected in message
    assert message.isprintable()
    assert (session.usage.requests, session.usage.retries, session.usage.failures) == (3, 2, 1)


@pytest.mark.parametrize(
    ("code", "expected", "advice"),
    [
        (400, "400 Bad Request: no", "; the request was refused; a conversation beyond the context length"),
        (401, "401 Unauthorized: no", "; name the key's environment variable in api_key_env"),
        (403, "403 Forbidden: no", "; name the key's environment variable in api_key_env"),
        (404, "404 Not Found: no", "; check that base_url ends where the server's API begins"),
        (422, "422 Unprocessable", ""),
    ],
)
def test_what_cannot_pass_is_not_tried_again(code, expected, advice):
    """A refused request is refused again, and may cost money or an account."""
    session = Session(Script(status(code)))
    assert expected + advice in session.fail()
    assert session.usage.requests == 1
    assert session.waits == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"message": "too long", "code": 7}}, "too long, 7"),
        ({"error": "too long"}, "too long"),
        ({"object": "error", "message": "too long"}, "too long"),
        ({"detail": "too long"}, "too long"),
        ({"error": {"message": "\x1b[31mtoo\nlong\x07"}}, " [31mtoo long "),
        (b"too\n  long", "too long"),
        ([], ""),
        (b"<html>too long</html>", ""),
    ],
)
def test_what_a_server_says_about_a_refusal_is_passed_on(body, expected):
    """Each server has its own shape for it; a page for people is left out."""
    message = Session(Script(Reply(body if isinstance(body, bytes) else json.dumps(body).encode(), status=422))).fail()
    assert message.partition("422 Unprocessable")[2].partition(": ")[2] == expected


def test_an_exhausted_quota_is_not_tried_again():
    """It is a 429 too, but waiting does not help."""
    session = Session(Script(status(429, {"error": {"message": "pay", "code": "insufficient_quota"}})))
    assert "429 Too Many Requests: pay, insufficient_quota; the account has no quota left" in session.fail()
    assert session.usage.requests == 1


def test_a_refused_connection_is_an_error():
    """Nobody listens at the address."""
    with serve(Script(reply("Hi."))) as base_url:
        pass
    message = Session(Script(reply("Hi.")), base_url=base_url, max_retries=1).fail()
    assert (
        f"model 'm' at {base_url}: the connection broke (ConnectError) (2 attempts); check that the server runs"
        in message
    )


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(code, monkeypatch):
    """The key and the conversation would go to another host."""
    monkeypatch.setenv("MY_KEY", KEY)
    stranger = Script(reply("Hi."))
    with serve(stranger) as elsewhere:
        script = Script(status(code, location=elsewhere.replace("//", "//a:b@")))
        message = Session(script, api_key_env="MY_KEY").fail()
    assert f"{code} " in message
    assert "to 127.0.0.1, not followed" in message
    assert stranger.requests == []


# --- waiting --------------------------------------------------------------------------------------------------------


def waits(*failures: Reply, **options) -> list[float]:
    session = Session(Script(*failures, reply("Nine.")), **options)
    session.ask()
    return session.waits


def test_waits_double_with_a_jitter_that_repeats():
    """From half a second, each between half and all of it; the same seed gives the same waits."""
    found = waits(*[status(500)] * 5)
    assert all(base / 2 <= wait <= base for base, wait in zip([0.5, 1, 2, 4, 8], found, strict=True))
    assert found == waits(*[status(500)] * 5)
    assert found != waits(*[status(500)] * 5, seed=1)
    assert max(waits(*[status(500)] * 5, max_backoff_s=1.5)) <= 1.5


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"retry_after": "7"}, 7, 7.7),
        ({"retry_after": "0"}, 0, 0),
        ({"retry_after": "-3"}, 0, 0),
        ({"retry_after": "100000"}, 60, 60),
        ({"retry_after_ms": "1500"}, 1.5, 1.65),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
        ({"retry_after": "nan"}, 0.25, 0.5),
        ({"retry_after": "soon"}, 0.25, 0.5),
    ],
)
def test_what_the_server_asks_for_is_honoured_and_capped(headers, low, high):
    """Seconds, milliseconds or a date; nonsense counts as nothing said."""
    (wait,) = waits(status(429, **headers))
    assert low <= wait <= high


def test_a_date_to_wait_for_is_honoured():
    """Retry-After as a date: the time until then."""
    (wait,) = waits(status(429, retry_after=formatdate(time.time() + 20, usegmt=True)))
    assert 15 <= wait <= 22


# --- many at once -----------------------------------------------------------------------------------------------------


def test_samples_get_seeds_of_their_own():
    """Otherwise a server gives the same completion for every rollout of a group."""
    script = Script(reply("Hi."))

    async def run() -> None:
        with serve(script) as base_url:
            async with OpenAIPolicy("m", base_url=base_url, seed=1) as policy:
                for sample in (0, 1, 0):
                    await policy.sampled(sample)(ASK, ())
            async with OpenAIPolicy("m", base_url=base_url) as policy:
                await policy.sampled(0)(ASK, ())

    asyncio.run(run())
    first, second, again, without = (request.body.get("seed") for request in script.requests)
    assert first == again != second
    assert without is None


def test_requests_in_flight_are_limited():
    """Twelve rollouts at once, three requests at a time; the usage is that of all."""
    here, most = [], []

    def handler(request):
        here.append(1)
        most.append(len(here))
        time.sleep(0.02)
        here.pop()
        return reply("Hi.")

    async def run():
        with serve(handler) as base_url:
            async with OpenAIPolicy("m", base_url=base_url, concurrency=3) as policy:
                await asyncio.gather(*(policy(ASK, ()) for _ in range(12)))
                return policy.usage()

    usage = asyncio.run(run())
    assert 1 < max(most) <= 3
    assert (usage.requests, usage.prompt_tokens, usage.completion_tokens) == (12, 120, 60)


def test_one_policy_serves_one_event_loop_after_another():
    """Connections end with their loop, also if nobody closes the policy: no warning about open sockets."""
    with serve(Script(reply("Hi."))) as base_url:
        policy = OpenAIPolicy("m", base_url=base_url, concurrency=1)

        async def twice():
            return await asyncio.gather(policy(ASK, ()), policy(ASK, ()))

        assert len(asyncio.run(twice()) + asyncio.run(twice())) == 4


def test_cancelling_a_rollout_cancels_its_request():
    """The caller's deadline is not taken for a timeout of the endpoint, and is not retried."""

    async def run() -> None:
        with serve(Script(reply("Hi.", delay_s=30))) as base_url:
            async with OpenAIPolicy("m", base_url=base_url) as policy:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await policy(ASK, ())
                assert policy.usage().requests == 1

    asyncio.run(run())


# --- keys, proxies, addresses ----------------------------------------------------------------------------------------


def test_a_key_is_sent_and_never_shown(monkeypatch):
    """Not in errors that repeat what a server says, not in completions, not in the representation or configuration."""
    monkeypatch.setenv("MY_KEY", KEY + "\n")
    denied = Script(status(401, {"error": {"message": f"Incorrect key {KEY} " * 20}}))
    message = Session(denied, api_key_env="MY_KEY").fail()
    assert denied.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert "Incorrect key ***" in message
    assert KEY[:10] not in message
    assert message.endswith("check the key in MY_KEY")
    said = Session(Script(reply(f"Your key is {KEY}.")), api_key_env="MY_KEY").ask()
    assert said.message.content == "Your key is ***."
    monkeypatch.setenv("NO_SECRET", "e")
    assert Session(Script(reply("Yes.")), api_key_env="NO_SECRET").ask().message.content == "Yes."
    policy = OpenAIPolicy("m", base_url="http://localhost:1/v1", api_key_env="MY_KEY")
    assert KEY not in repr(policy) + json.dumps(policy.config())


def test_the_vendors_key_is_not_shown_to_others(monkeypatch):
    """OPENAI_API_KEY, organisation and project go to the vendor alone, unless they are named."""
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, KEY)
    script = Script(reply("Hi."))
    Session(script).ask()
    assert KEY not in json.dumps(script.requests[0].headers)
    Session(script, api_key_env="OPENAI_API_KEY").ask()
    assert script.requests[1].headers["authorization"] == f"Bearer {KEY}"


def test_a_missing_or_broken_key(monkeypatch):
    """The vendor needs one; others may not. What no header can carry is refused without being repeated."""
    with pytest.raises(InputError, match="found nothing in OPENAI_API_KEY"):
        OpenAIPolicy("m", base_url=VENDOR_URL + "/")
    assert "there is no key in MY_KEY" in Session(Script(status(401)), api_key_env="MY_KEY").fail()
    monkeypatch.setenv("MY_KEY", "sk-a\nb")
    with pytest.raises(InputError, match="printable ASCII") as caught:
        OpenAIPolicy("m", base_url="http://localhost/v1", api_key_env="MY_KEY")
    assert "sk-a" not in str(caught.value)


def test_proxies_are_not_used_for_loopback(monkeypatch):
    """A proxy in the environment is for the outside; whoever wants one here says so."""
    proxy, script = Script(reply("By proxy.")), Script(reply("Directly."))
    with serve(proxy) as address:
        monkeypatch.setenv("HTTP_PROXY", address.removesuffix("/v1"))
        monkeypatch.setenv("http_proxy", address.removesuffix("/v1"))
        assert Session(script).ask().message.content == "Directly."
        assert Session(script, trust_env=True).ask().message.content == "By proxy."


@pytest.mark.parametrize(
    ("base_url", "complaint"),
    [
        ("localhost:8000/v1", "expected http://HOST:PORT/v1"),
        ("", "expected http://HOST:PORT/v1"),
        ("ftp://host/v1", "expected http://HOST:PORT/v1"),
        ("http://[::1/v1", "malformed URL"),
        ("http://host:99999/v1", "malformed URL"),
        (f"http://me:{KEY}@host/v1", "found credentials or a query"),
        (f"http://host/v1?key={KEY}", "found credentials or a query"),
    ],
)
def test_unusable_addresses(base_url, complaint):
    """One line, and what may be a key is not repeated."""
    with pytest.raises(InputError, match=complaint) as caught:
        OpenAIPolicy("m", base_url=base_url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"timeout_s": 0}, {"max_retries": -1}])
def test_unusable_limits(options):
    """No request at a time would wait for ever."""
    with pytest.raises(InputError, match="expected a positive number"):
        OpenAIPolicy("m", base_url="http://localhost/v1", **options)


def test_the_sdk_is_imported_when_it_is_used():
    """Importing the policy needs no extra."""
    code = "import sys, toolfoundry.policies.openai; print({'openai', 'httpx', 'httpx2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_missing_sdk_is_named(monkeypatch):
    """One line to type."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'toolfoundry\[openai\]'"):
        OpenAIPolicy("m", base_url="http://localhost/v1")
