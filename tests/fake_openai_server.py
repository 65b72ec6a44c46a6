"""A chat-completions endpoint on loopback whose every reply is scripted, the misbehaving ones too.

    with serve(lambda request: reply("Hi.")) as base_url: ...           one function from request to reply
    script = Script(status(500), reply("Hi."))                          one reply after the other; the last one stays
    with serve(script) as base_url: ...; script.requests                what was asked

A handler runs in the thread of its connection. Nothing here checks what is asked: the tests do.
"""

import contextlib
import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any


@dataclass(frozen=True)
class Request:
    """What was asked: `headers` in lower case, `body` decoded from JSON (None where it is not JSON)."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What is sent. `delay_s` before the first byte, `trickle_s` before each further one.

    `drop_after` closes the connection after so many bytes of the body, `reset` instead of any reply.
    """

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delay_s: float = 0.0
    trickle_s: float = 0.0
    drop_after: int | None = None
    reset: bool = False


Handler = Callable[[Request], Reply]
NOTHING: Mapping[str, Any] = {}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def call(name: str, arguments: Any, call_id: str = "srv-1") -> dict[str, Any]:
    """One tool call; `arguments` as text, or any value to be sent as it is."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def reply(
    content: Any = None,
    *calls: Any,
    finish: str | None = None,
    usage: Any = USAGE,
    message: Mapping[str, Any] = NOTHING,
    **how: Any,
) -> Reply:
    """A chat completion. `message` adds fields to the assistant's message, `how` is passed on to Reply."""
    said = {"role": "assistant", "content": content, **({"tool_calls": list(calls)} if calls else {}), **message}
    choice = {"index": 0, "message": said, "finish_reason": finish or ("tool_calls" if calls else "stop")}
    body = {"id": "chat-1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return Reply(json.dumps({**body, "usage": usage}).encode(), **how)


def status(code: int, body: Any = None, **headers: str) -> Reply:
    """An error; `retry_after="3"` becomes the header Retry-After."""
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, bytes) else json.dumps(body or {"error": {"message": "no"}}).encode()
    return Reply(content, status=code, headers=found)


class Script:
    """A handler that gives the replies in turn, the last one for ever, and keeps what was asked."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = replies
        self._lock = threading.Lock()
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            return self._replies[min(len(self.requests), len(self._replies)) - 1]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.stopping = threading.Event()
        super().__init__(("127.0.0.1", 0), _Connection)


class _Connection(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        headers = {name.lower(): value for name, value in self.headers.items()}
        with contextlib.suppress(OSError):  # the client has given up
            self._send(self.server.handler(Request(self.path, headers, body)))

    do_GET = do_POST

    def _send(self, reply: Reply) -> None:
        self.server.stopping.wait(reply.delay_s)
        if reply.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(reply.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(reply.body)), **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if reply.drop_after is not None:
            self.wfile.write(reply.body[: reply.drop_after])
            self.close_connection = True
        elif reply.trickle_s:
            for byte in reply.body:
                if self.server.stopping.wait(reply.trickle_s):
                    break
                self.wfile.write(bytes([byte]))
        else:
            self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serve(handler: Handler) -> Iterator[str]:
    """Serves on a free port of loopback; yields the base URL. Leaving ends the server, and waits for no reply."""
    with _Server(handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()
