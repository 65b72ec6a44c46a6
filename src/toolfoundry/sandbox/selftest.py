"""What the sandbox tries at every start: tool code that does forbidden things must not get anywhere.

Beyond these, each worker tries raw system calls before it reports (`harden.PROBES`), and `self_test` also tries limits.
"""

from __future__ import annotations

import os
import platform
import time

from toolfoundry.sandbox.limits import SandboxLimits
from toolfoundry.sandbox.pool import Sandbox
from toolfoundry.types import Record, ToolResult

__all__ = ["TRIALS", "SelfTest", "self_test", "succeeded"]

DONE = "the forbidden thing was done"


def _trial(name: str, statement: str) -> str:
    return f"import os, sys\ndef {name}():\n    {statement}\n    return {DONE!r}\n"


TRIALS: dict[str, str] = {
    name: _trial(name, statement)
    for name, statement in {
        "list_a_folder": "os.listdir('/')",
        "read_a_file": "os.open('/etc/passwd', os.O_RDONLY)",
        "write_a_file": "os.open('/tmp/toolfoundry-self-test', os.O_WRONLY | os.O_CREAT)",
        "see_the_environment": "os.environ['PYTHONHASHSEED']",
        "start_a_process": "os.fork()",
        "run_a_program": "os.execv('/bin/true', ['true'])",
        "signal_a_process": "os.kill(1, 0)",
        "import_ctypes": "import ctypes",
    }.items()
}
LIMITS = {
    "compute_forever": "while True: pass",
    "compute_forever_in_c": "sum(range(10 ** 15))",
    "take_all_memory": "bytearray(1 << 40)",
    "print_too_much": "return 'x' * (1 << 20)",
    "recurse_forever": "f = lambda: f(); f()",
}


def succeeded(result: ToolResult) -> bool:
    return result.error is None


class SelfTest(Record):
    """What holds on this machine. `walls`: what workers report (`landlock` is its ABI, 0 without); `trials`: how each
    forbidden thing ended, by the kind of error; `start_ms`: from nothing to a tested sandbox."""

    python: str
    kernel: str
    machine: str
    walls: dict[str, int]
    trials: dict[str, str]
    start_ms: float


def self_test() -> SelfTest:
    """Starts a sandbox, tries forbidden things and limits, and tells what holds.

    Raises SandboxUnavailable, with what is missing and what to do, where the sandbox does not start or does not hold.
    """
    began = time.perf_counter()
    with Sandbox(SandboxLimits(call_s=0.1)) as box:
        start_ms = (time.perf_counter() - began) * 1e3
        sources = TRIALS | {name: _trial(name, statement) for name, statement in LIMITS.items()}
        with box.session(sources) as session:
            results = session.batch([(name, {}) for name in sources])
        return SelfTest(
            python=platform.python_version(),
            kernel=os.uname().release,
            machine=platform.machine(),
            walls=box.report,
            trials={name: (r.error or "done").partition(":")[0] for name, r in zip(sources, results, strict=True)},
            start_ms=round(start_ms, 1),
        )
