"""Asking an author until its answer is sound, a bounded number of times, each time with what was wrong before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from toolfoundry.build.author import Feedback
from toolfoundry.build.draft import Complaint, Rejected
from toolfoundry.types import Record

__all__ = ["rejected", "settle"]

R = TypeVar("R", bound=Record)
MOST_COMPLAINTS = 12  # as many as an author is told at once


async def settle(
    ask: Callable[[Feedback | None], Awaitable[R]],
    judge: Callable[[R], Sequence[Complaint]],
    attempts: int,
) -> R:
    """The first answer that the judge has no complaint about. Raises Rejected with the complaints about the last."""
    feedback: Feedback | None = None
    asked = 0
    while True:
        asked += 1
        value = await ask(feedback)
        complaints = tuple(judge(value)[:MOST_COMPLAINTS])
        if not complaints:
            return value
        if asked >= attempts:
            raise rejected(complaints, asked)
        feedback = Feedback(value, complaints)


def rejected(complaints: Sequence[Complaint], asked: int) -> Rejected:
    """The reason is that of the first complaint, the detail names them all."""
    return Rejected(complaints[0].reason, "; ".join(complaint.detail for complaint in complaints), asked)
