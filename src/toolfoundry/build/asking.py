"""Asking an author until its answer is sound, a bounded number of times, each time with what was wrong before."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast

from toolfoundry.build.author import Author, Feedback
from toolfoundry.build.draft import Complaint, Rejected
from toolfoundry.types import Record

__all__ = ["Settled", "rejected", "settle", "settle_further", "unfit"]

R = TypeVar("R", bound=Record)
MOST_COMPLAINTS = 12  # as many as an author is told at once
MOST_DEPTH = 64  # of nested objects and arrays; far below what the JSON writer and recursion can take
MOST_VALUES = 100_000  # in one answer


class Settled(NamedTuple, Generic[R]):
    """An answer without complaint. `asked`: how often the author was asked at this stage up to here."""

    value: R
    asked: int


async def settle(
    ask: Callable[[Feedback | None], Awaitable[R]], judge: Callable[[R], Sequence[Complaint]], author: Author
) -> R:
    """The first answer that the judge has no complaint about. Raises Rejected with the complaints about the last."""
    return (await settle_further(ask, judge, author, None, 0)).value


async def settle_further(
    ask: Callable[[Feedback | None], Awaitable[R]],
    judge: Callable[[R], Sequence[Complaint]],
    author: Author,
    feedback: Feedback | None,
    asked: int,
) -> Settled[R]:
    """The same for an author that was asked before: `asked` times, the last time with `feedback` as the outcome."""
    while True:
        asked += 1
        value = await ask(feedback)
        complaints = () if author.trusted else tuple(unfit(value))
        complaints = complaints or tuple(judge(value)[:MOST_COMPLAINTS])
        if not complaints:
            return Settled(value, asked)
        if asked >= author.attempts:
            raise rejected(complaints, asked)
        feedback = Feedback(value, complaints)


def rejected(complaints: Sequence[Complaint], asked: int) -> Rejected:
    """The reason is that of the first complaint, the detail names them all."""
    return Rejected(complaints[0].reason, "; ".join(complaint.detail for complaint in complaints), asked)


def unfit(value: Record) -> list[Complaint]:
    """Why an answer cannot be kept as JSON, or worked on at all: nothing after this need think of it."""
    level: list[Any] = [value.__dict__]
    depth = count = 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > MOST_DEPTH or count > MOST_VALUES:
            found = f"more than {MOST_DEPTH} levels" if depth > MOST_DEPTH else f"more than {MOST_VALUES} values"
            return [Complaint("unfit-value", f"found {found} of JSON, expected less")]
        below: list[Any] = []
        for item in level:
            if isinstance(item, Record):
                below.append(item.__dict__)
            elif isinstance(item, dict):
                below += [*cast("dict[Any, Any]", item), *cast("dict[Any, Any]", item).values()]
            elif isinstance(item, list | tuple):
                below += cast("list[Any]", item)
            elif problem := _unfit_scalar(item):
                return [Complaint("unfit-value", f"found {problem}, expected what JSON can hold")]
        level = below
    return []


def _unfit_scalar(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"the number {value}"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "a whole number of more than 64 bits"
    if isinstance(value, str) and not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        return "half a surrogate pair"
    return ""
