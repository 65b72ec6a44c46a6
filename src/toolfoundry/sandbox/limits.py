"""What one session may use up. Every limit ends one call or one worker, never the host."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from toolfoundry.types import Record

__all__ = ["SandboxLimits"]

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=1024, le=1 << 40)]


class SandboxLimits(Record):
    """Limits of a session; a call that meets one gets an error of the kind named here.

    call_s: CPU seconds of one call, or as many seconds of standing still (`timeout`). Time in which the machine runs
        something else does not count, so results do not depend on its load.
    wall_s: seconds of the clock for one call whatever the load; None is ten times `call_s` (`timeout`).
    memory_bytes: address space that the worker may add to what it starts with (`memory`).
    output_bytes: UTF-8 bytes of one result (`output`).
    error_chars: characters kept of an exception's text.
    recursion: Python frames on the stack (`raised: RecursionError`).
    state_bytes: bytes of the JSON that `Session.state` gives back.
    calls_per_worker, growth_bytes: a worker without state is replaced after that many calls, or when its memory has
        grown by that much.
    worker_cpu_s: CPU seconds in the life of a worker; the kernel enforces it also when the host has stopped.
    epoch: where the clock of a session stands at its start (and, without state, at the start of each call).
    """

    call_s: Seconds = 1.0
    wall_s: Seconds | None = None
    memory_bytes: Bytes = 256 << 20
    output_bytes: Bytes = 64 << 10
    error_chars: int = Field(default=4096, ge=64, le=1 << 20)
    recursion: int = Field(default=1000, ge=50, le=100_000)
    state_bytes: Bytes = 16 << 20
    calls_per_worker: int = Field(default=10_000, ge=1)
    growth_bytes: Bytes = 64 << 20
    worker_cpu_s: int = Field(default=600, ge=1)
    epoch: datetime = datetime(2026, 1, 1, tzinfo=UTC)
