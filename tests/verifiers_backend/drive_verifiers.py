"""Plays given completions through verifiers itself: its rollout, its interception server, its chat program, our tool
server, its scoring. What stands in is the model, a server on loopback that streams the completions one after the other.

    play(spec_file, spec_id, completions)       the reward, or Unscored with what verifiers recorded

The chat program, which verifiers would run in an environment that uv makes for it (from the network), runs in this
interpreter, which has the same packages.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.server
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from toolfoundry.formats.verifiers import export_verifiers
from toolfoundry.store import read
from toolfoundry.types import EnvSpec, Message

__all__ = ["Unscored", "play", "trace_of"]


class Unscored(RuntimeError):
    """verifiers gave no reward; the message is its own."""


def play(spec_file: Path, spec_id: str, completions: Sequence[Message]) -> float:
    """The reward that verifiers records for a rollout in which the model says `completions`.

    A rollout is ended after the last one, as by a limit, where that makes calls.
    """
    trace = trace_of(spec_file, spec_id, completions)
    if not trace.ok or any(reward is None for reward in trace.rewards.values()):
        raise Unscored(str([error.message for error in trace.errors]))
    return trace.reward


def trace_of(spec_file: Path, spec_id: str, completions: Sequence[Message]) -> Any:
    """verifiers' own record of the rollout."""
    spec = next(spec for spec in read(spec_file, EnvSpec) if spec.id == spec_id)
    with tempfile.TemporaryDirectory() as folder:
        name = f"played_{hashlib.sha256(folder.encode()).hexdigest()[:12]}"
        export_verifiers([spec], Path(folder), name)
        with _importable(folder), _model(completions) as base_url:
            return asyncio.run(_rollout(name, base_url, len(completions)))


async def _rollout(taskset: str, base_url: str, max_turns: int) -> Any:
    import verifiers.v1 as vf

    _prepare_chat_program()
    config = {
        "taskset": {"id": taskset, "task": {"max_turns": max_turns}},
        "agent": {"runtime": {"type": "subprocess"}},
    }
    env = vf.load_environment(vf.resolve_env_config(config))
    [task] = env.taskset
    client = vf.EvalClientConfig(base_url=base_url, api_key_var="TOOLFOUNDRY_TEST_KEY")
    async with env.serving():
        episode = await env.run_episode(task, vf.ModelContext(model="scripted", client=client))
    [trace] = episode.traces
    return trace


def _prepare_chat_program() -> None:
    """Puts the program of the `null` harness where verifiers looks for it, prepared with this interpreter."""
    from verifiers.v1.harnesses.utils.launch import CHAT_PROGRAM_SOURCE
    from verifiers.v1.runtimes.subprocess import SubprocessRuntime

    source = CHAT_PROGRAM_SOURCE.encode()
    path = Path(SubprocessRuntime.scripts_dir) / f"{hashlib.sha256(source).hexdigest()}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source)
    SubprocessRuntime._interpreters[str(path)] = sys.executable


@contextlib.contextmanager
def _importable(folder: str) -> Iterator[None]:
    """The folder is searched for packages by this process and by those that it starts."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = folder if before is None else f"{folder}{os.pathsep}{before}"
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


# --- the model -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _model(completions: Sequence[Message]) -> Iterator[str]:
    """A chat-completions endpoint whose replies are the completions, in their order; yields its base URL."""
    rest = iter(completions)

    class Replies(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            said = next(rest, None)
            if said is None:
                self.send_error(500, "the script is over")
                return
            body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in _chunks(said))
            body += b"data: [DONE]\n\n"
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Replies)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _chunks(said: Message) -> list[dict[str, Any]]:
    """One completion as a stream: what is said, then why it ended."""
    calls = [
        {
            "index": index,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for index, call in enumerate(said.tool_calls)
    ]
    delta: dict[str, Any] = {"role": "assistant", "content": said.content}
    if said.thinking:
        delta["reasoning_content"] = said.thinking
    if calls:
        delta["tool_calls"] = calls
    unfinished = any(fault.kind == "unfinished" for fault in said.faults)
    finish = "length" if unfinished else "tool_calls" if calls else "stop"
    base = {"id": "chat-1", "object": "chat.completion.chunk", "created": 0, "model": "scripted"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
        {**base, "choices": [], "usage": usage},
    ]
