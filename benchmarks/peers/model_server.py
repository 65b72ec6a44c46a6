"""A model server on loopback that knows the answers: `model_server.py ENVIRONMENTS` prints its port and serves.

OpenAI's chat completions, streamed where asked for. The reply is found by the question: first the gold calls, all at
once, then, when the conversation has tool results, the final answer. One process of plain asyncio: it must not be what
limits the frameworks.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from toolfoundry.answers import spelling
from toolfoundry.environment import opening
from toolfoundry.store import read
from toolfoundry.types import EnvSpec


def replies(path: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """The text of the last opening message -> the message with the calls, and the one with the answer."""
    known: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for spec in read(path, EnvSpec):
        assert spec.gold_calls is not None
        assert spec.scenario.answer is not None
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in spec.gold_calls
        ]
        answer = f"<answer>{spelling(spec.scenario.answer)}</answer>"
        known[opening(spec).messages[-1].content] = (
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "assistant", "content": answer},
        )
    return known


def said_to(request: dict[str, Any], known: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    messages = request["messages"]
    asked = next(message["content"] for message in messages if message["role"] == "user")
    text = asked if isinstance(asked, str) else "".join(part.get("text", "") for part in asked)
    return known[text][any(message["role"] == "tool" for message in messages)]


def body_of(request: dict[str, Any], message: dict[str, Any]) -> tuple[str, bytes]:
    """Content type and body of the reply."""
    about = {"id": "chat-1", "created": 0, "model": request.get("model", "scripted")}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    if not request.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": finish}
        whole = {**about, "object": "chat.completion", "choices": [choice], "usage": usage}
        return "application/json", json.dumps(whole).encode()
    calls = [{"index": index, **call} for index, call in enumerate(message.get("tool_calls") or ())]
    delta = {**message, "tool_calls": calls} if calls else message
    chunks = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
        {"choices": [], "usage": usage},
    ]
    lines = [json.dumps({**about, "object": "chat.completion.chunk", **chunk}) for chunk in chunks]
    return "text/event-stream", "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


async def main(path: Path) -> None:
    known = replies(path)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:] if ": " in line)
                request = json.loads(await reader.readexactly(int(fields["content-length"])))
                kind, body = body_of(request, said_to(request, known))
                answer = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(answer.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
