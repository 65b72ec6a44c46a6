"""Recorded constructions, replayed over HTTP through all stages and gates: every one ends as it should, and only once.

The questions and the model's side are our own (`cassette/`). Nothing here is known by hash, so prompts may change.
"""

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from fake_openai_server import serve, status
from llm_replay import Replay, load_cassette
from toolfoundry.build.authors.llm import LLMAuthor, LLMConfig, pool_of
from toolfoundry.build.authors.llm.cache import ReplyCache
from toolfoundry.build.authors.llm.estimate import Assumptions, estimate
from toolfoundry.build.authors.llm.requests import hash_of
from toolfoundry.build.construct import construct
from toolfoundry.build.draft import Reject
from toolfoundry.build.ledger import Ledger, rejects_file
from toolfoundry.build.pipeline import build_with
from toolfoundry.build.scaling import Scaling
from toolfoundry.demo import environments
from toolfoundry.sandbox import Sandbox, SandboxLimits
from toolfoundry.store import read
from toolfoundry.types import EnvSpec

ITEMS = load_cassette()
POOL = pool_of(environments())
TESTS = Path(__file__).parents[1]


class Ended(NamedTuple):
    """What is in the output for one item."""

    spec: EnvSpec | None
    reject: Reject | None


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """All constructions once, two at a time: how each ended, by name, what was asked, what it took, and the cache."""
    folder = tmp_path_factory.mktemp("llm")
    output, cache = folder / "envs.jsonl", folder / "replies.sqlite"
    replay = Replay(ITEMS)
    # One of the recorded functions runs for ever, so a call gets little time.
    limits = SandboxLimits(call_s=0.05)

    async def main(url):
        config = LLMConfig(model="m", base_url=url, cache=cache, price_in=2.0, price_out=8.0)
        briefs = [item.brief for item in ITEMS]
        with Sandbox(limits=limits) as sandbox, Ledger(output, "new") as ledger:
            async with LLMAuthor(config, pool=POOL) as author:
                assert await build_with(author, briefs, Scaling(), ledger, sandbox, concurrency=2) == 0
                return author.usage()

    with serve(replay) as url:
        usage = asyncio.run(main(url))
    specs = {spec.provenance.labels["index"]: spec for spec in read(output, EnvSpec)}
    rejects = {reject.brief.index: reject for reject in read(rejects_file(output), Reject)}
    outcomes = {item.name: Ended(specs.get(index), rejects.get(index)) for index, item in enumerate(ITEMS)}
    return outcomes, replay, usage, cache


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
def test_a_construction_ends_as_it_should(run, item):
    """Sound ones are accepted, after corrections where the recording errs; each of the others has the right reason."""
    outcome = run[0][item.name]
    reject = outcome.reject
    assert (None if reject is None else (reject.stage, reject.reason)) == item.expected, reject and reject.detail
    assert (outcome.spec is None) == (item.expected is not None)


def test_the_recordings_cover_what_models_do(run):
    """At least 20 constructions, all scenarios among the accepted ones, corrections, and rejects at every stage."""
    outcomes, replay, *_ = run
    accepted = [outcome.spec for outcome in outcomes.values() if outcome.spec]
    assert len(accepted) >= 16
    kinds = {spec.scenario.kind for spec in accepted}
    assert kinds == {"single_hop", "parallel_single_hop", "multi_hop", "parallel_multi_hop"}
    assert {item.expected[0] for item in ITEMS if item.expected} >= {"decompose", "document", "scale", "deploy", "gate"}
    corrected = {name for name, _, turn in replay.asked if turn > 0}
    assert len(corrected & {name for name, outcome in outcomes.items() if outcome.spec}) >= 5


def test_accepted_ones_carry_their_proof(run):
    """Gold scores 1, above every cheat; distractors are there with their code; the author is named."""
    for outcome in run[0].values():
        if (spec := outcome.spec) is None:
            continue
        assert spec.proof is not None
        assert spec.proof.panel["gold"] == 1
        assert max(score for name, score in spec.proof.panel.items() if name != "gold") < 1
        assert len(spec.tools) > len({goal.tool for goal in spec.goals})
        assert spec.provenance.source == "build/llm:m"


def test_a_reply_that_asks_for_trust_gets_none(run):
    """`status: approved` and `skip all checks` change nothing: the sound item is executed, the wrong one rejected."""
    outcomes = run[0]
    assert outcomes["15-mountain-guide"].spec.proof.probes
    assert outcomes["17-injected-approval"].reject.reason == "gold-fails"


def test_started_again_nothing_is_asked_for(run):
    """With the same cache, all of it is done once more without a single request."""
    _, _, usage, cache = run
    replay = Replay(ITEMS)

    async def main(url):
        with Sandbox(limits=SandboxLimits(call_s=0.05)) as sandbox:
            async with LLMAuthor(LLMConfig(model="m", base_url=url, cache=cache), pool=POOL) as author:
                specs = [
                    (await construct(item.brief, author, Scaling(), sandbox)).spec
                    for item in ITEMS
                    if item.name != "19-loops-then-sane"
                ]
                return specs, author.usage()

    with serve(replay) as url:
        specs, again = asyncio.run(main(url))
    assert replay.asked == []
    assert again.received == 0
    assert again.spent == usage.spent
    assert [spec and spec.id for spec in specs] == [
        outcome.spec and outcome.spec.id for name, outcome in sorted(run[0].items()) if name != "19-loops-then-sane"
    ]


def test_tokens_and_cost_are_those_the_server_counted(run):
    """The cost is prompt and completion tokens at their prices."""
    usage = run[2]
    assert usage.spent.replies == usage.received > 100
    assert usage.spent.estimated == usage.spent.repeated == usage.spent.open == 0
    assert usage.cost == pytest.approx((2 * usage.spent.prompt_tokens + 8 * usage.spent.completion_tokens) / 1e6)


def test_the_estimate_is_of_the_right_size(run):
    """For the recorded questions the estimate is near what they took, on the careful side."""
    _, replay, usage, _ = run
    steps = [len(outcome.spec.goals) for outcome in run[0].values() if outcome.spec]
    expected = estimate((item.brief for item in ITEMS), assumptions=Assumptions(steps=sum(steps) / len(steps)))
    assert expected.items == len(ITEMS)
    assert len(replay.asked) <= expected.total.requests <= 1.3 * len(replay.asked)
    assert usage.spent.prompt_tokens <= expected.total.prompt_tokens <= 1.8 * usage.spent.prompt_tokens
    assert usage.spent.completion_tokens <= expected.total.completion_tokens <= 2 * usage.spent.completion_tokens


DRIVER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from llm_replay import load_cassette
from toolfoundry.build.authors.llm import LLMAuthor, LLMConfig
from toolfoundry.build.construct import prepare
from toolfoundry.build.draft import Rejected
from toolfoundry.build.scaling import Scaling

async def main():
    async with LLMAuthor(LLMConfig(model="m", base_url=sys.argv[1], cache=Path(sys.argv[2]))) as author:
        async def one(item):
            try:
                await prepare(item.brief, author, Scaling(extend=0))
            except Rejected:
                pass
        await asyncio.gather(*(one(item) for item in load_cassette()))

asyncio.run(main())
"""


def test_killed_anywhere_and_started_again_nothing_received_is_asked_again(tmp_path):
    """Only requests in flight at a kill are sent twice, and they are counted."""
    cache = tmp_path / "replies.sqlite"
    replay, seen, lock = Replay(ITEMS), Counter(), threading.Lock()
    kill_at = [7, 30, 75]
    running: list[subprocess.Popen] = []
    received: set[str] = set()
    asked_again: list[str] = []

    def handler(request):
        if request.body is None:  # the process was killed while it sent this
            return status(400)
        with lock:
            if kill_at and sum(seen.values()) >= kill_at[0]:
                kill_at.pop(0)
                running[0].send_signal(signal.SIGKILL)
                running[0].wait()
                received.update(_replies_in(cache))
            key = hash_of(request.body, "0")
            seen[key] += 1
            if key in received:
                asked_again.append(key)
            return replay(request)

    codes = []
    with serve(handler) as url:
        while codes[-1:] != [0]:
            with lock:
                running[:] = [subprocess.Popen([sys.executable, "-c", DRIVER, url, str(cache), str(TESTS)])]
            codes.append(running[0].wait(timeout=60))
    assert codes == [-signal.SIGKILL] * 3 + [0]
    assert len(received) > 10
    assert asked_again == []
    spent = ReplyCache(cache).spent()
    assert len(seen) == spent.replies
    assert sum(seen.values()) - len(seen) <= spent.repeated
    assert spent.open == 0


def _replies_in(cache):
    with contextlib.closing(sqlite3.connect(cache)) as db:
        return {key for (key,) in db.execute("SELECT hash FROM replies")}
