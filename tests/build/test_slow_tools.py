"""Tools that are slow, or do not come back for arguments that the first look does not try: time is bounded."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from hand_author import LIGHT, HandAuthor
from toolfoundry.build.construct import construct
from toolfoundry.build.draft import Brief
from toolfoundry.check.workers import own_workers

WITHOUT_END = """
def tower_count(tower, fact, remark=False):
    if tower in ('Grey Finger', 'example') and fact == 'steps':
        return {'steps': 412, 'of': tower, 'remark': remark}
    while True:
        pass
"""
SLOW = """
def tower_count(tower, fact, remark=False):
    for _ in range(10**8):
        pass
    return {'steps': 412}
"""


@pytest.mark.parametrize("source", [WITHOUT_END, SLOW])
def test_the_time_of_an_item_is_bounded(source, sandbox):
    """Dozens of calls would take seconds each; after a few of them the tool is given up."""

    def spoil(asked: int, given: Any) -> Any:
        return given.model_copy(update={"sources": {**given.sources, "tower_count": source}})

    began = time.perf_counter()
    author = HandAuthor({"deploy": spoil}, attempts=1, trusted=False)
    outcome = asyncio.run(construct(Brief(index=0, origin="towers"), author, LIGHT, sandbox))
    assert outcome.reject is not None
    assert outcome.reject.reason == "call-fails"
    assert time.perf_counter() - began < 15


def test_other_tools_go_on(sandbox):
    """Calls after three that did not come back are not made for that tool, and are made for all others."""
    author = HandAuthor({"deploy": lambda asked, given: given}, attempts=1)
    spec = asyncio.run(construct(Brief(index=0, origin="towers"), author, LIGHT, sandbox)).spec
    assert spec is not None
    tools = [
        tool.model_copy(update={"source": WITHOUT_END}) if tool.name == "tower_count" else tool for tool in spec.tools
    ]
    stuck, well = ("tower_count", {"tower": "x", "fact": "y"}), ("tower_count", {"tower": "example", "fact": "steps"})
    other = next(call for call in [(tool.name, {}) for tool in tools] if call[0] != "tower_count")

    async def run() -> list[Any]:
        async with own_workers(spec.replace(tools=tuple(tools)), sandbox, 0.05) as workers:
            first = await workers.first.run([well, stuck, other])
            return [*first, *await workers.first.run([stuck, stuck, stuck, well, other])]

    results = asyncio.run(run())
    kinds = [(result.error or "").partition(":")[0] for result in results]
    assert kinds == ["", "timeout", "raised", "timeout", "timeout", "timeout", "timeout", "raised"]
    assert ["not tried" in (result.error or "") for result in results] == [False] * 5 + [True] * 2 + [False]
