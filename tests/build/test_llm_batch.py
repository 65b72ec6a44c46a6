"""Batch files: waves are written, read, and go on where they left off; what fails is asked again a few times."""

import asyncio
import json
import re

import pytest

from fake_openai_server import Request
from llm_replay import Replay, load_cassette
from toolfoundry.build.author import Pending
from toolfoundry.build.authors.llm import LLMAuthor, LLMConfig
from toolfoundry.build.authors.llm.batch import TRIES
from toolfoundry.build.construct import prepare
from toolfoundry.build.draft import Brief, Rejected
from toolfoundry.build.scaling import Scaling
from toolfoundry.errors import BudgetExceeded, RecordError

ITEMS = [item for item in load_cassette() if item.name[:2] in ("01", "03", "07", "16", "25")]
OFF = Scaling(extend=0)


def wave(tmp_path, items=ITEMS, **config):
    """One start of the command: every item as far as it goes. Gives how each ended, what was written, and the usage."""

    async def main():
        settings = {"model": "m", "cache": tmp_path / "c.sqlite", "batch_dir": tmp_path / "batch", **config}
        async with LLMAuthor(LLMConfig(**settings)) as author:

            async def one(item):
                try:
                    return (await prepare(item.brief, author, OFF)).stage
                except (Pending, Rejected, BudgetExceeded) as end:
                    return type(end).__name__

            return [await one(item) for item in items], author.finish(), author.usage()

    return asyncio.run(main())


def run_batch(tmp_path, number, *, fail=lambda _: None, leave_out=lambda _: False):
    """What OpenAI does with an input file: an output line for each request, or a line in the error file."""
    replay = Replay(ITEMS)
    folder = tmp_path / "batch"
    output, errors = [], []
    for text in (folder / f"wave-{number:04d}.input.jsonl").read_text().splitlines():
        line = json.loads(text)
        assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
        if leave_out(line):
            continue
        if (problem := fail(line)) is not None:
            body = {"error": {"message": problem, "code": "server_error"}}
            errors.append(
                {"custom_id": line["custom_id"], "response": {"status_code": 500, "body": body}, "error": None}
            )
            continue
        body = json.loads(replay(Request("", {}, line["body"])).body)
        response = {"status_code": 200, "request_id": "r", "body": body}
        output.append({"id": "b", "custom_id": line["custom_id"], "response": response, "error": None})
    for kind, lines in (("output", output), ("error", errors)):
        if lines or kind == "output":
            text = "".join(json.dumps(line) + "\n" for line in reversed(lines))  # outputs come in any order
            (folder / f"wave-{number:04d}.{kind}.jsonl").write_text(text)


def test_waves_lead_to_the_same_ends_as_requests(tmp_path):
    """Wave by wave every item comes to its draft or its reject, and a last start has nothing left to ask."""
    number = 0
    while True:
        ends, written, usage = wave(tmp_path)
        if not written.written:
            break
        number += 1
        assert "Pending" in ends
        assert [path.name for path in written.written] == [f"wave-{number:04d}.input.jsonl"]
        run_batch(tmp_path, number)
    assert ends == ["scale", "scale", "scale", "Rejected", "Rejected"]
    assert number >= 4
    assert (usage.received, usage.spent.repeated, usage.spent.open) == (0, 0, 0)
    lines = [
        line for path in sorted((tmp_path / "batch").glob("*.input.jsonl")) for line in path.read_text().splitlines()
    ]
    ids = [json.loads(line)["custom_id"] for line in lines]
    assert len(set(ids)) == len(ids) == usage.spent.replies
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in ids)


def test_an_open_wave_is_waited_for_and_not_written_again(tmp_path):
    """Started again before the output is there, nothing new is written, and the message says what is awaited."""
    _, first, _ = wave(tmp_path)
    ends, second, usage = wave(tmp_path)
    assert first.requests == len(ITEMS)
    assert "5 requests written to wave-0001.input.jsonl" in str(first)
    assert set(ends) == {"Pending"}
    assert (second.written, second.waiting) == ((), len(ITEMS))
    assert "waiting for wave-0001.output.jsonl" in str(second)
    assert usage.spent.repeated == 0


def test_errors_and_missing_lines_go_into_the_next_wave(tmp_path):
    """An error line, and a request that the output says nothing about, are asked again; the others are not."""
    wave(tmp_path)
    run_batch(
        tmp_path,
        1,
        fail=lambda line: "overloaded" if "Principia" in str(line["body"]) else None,
        leave_out=lambda line: "Vestrany" in str(line["body"]),
    )
    _, second, _ = wave(tmp_path)
    text = second.written[0].read_text()
    again = [line for line in text.splitlines() if "stage 1 of 5" in line]
    assert len(again) == 2
    assert second.failed == 2
    assert all(any(name in line for name in ("Principia", "Vestrany")) for line in again)


def test_what_fails_every_time_is_rejected(tmp_path):
    """After a few errors the item ends with the batch's own words; other items go on."""
    for number in range(1, TRIES + 1):
        wave(tmp_path)
        run_batch(tmp_path, number, fail=lambda line: "too\x1blong" if "Principia" in str(line["body"]) else None)

    async def main():
        config = LLMConfig(model="m", cache=tmp_path / "c.sqlite", batch_dir=tmp_path / "batch")
        async with LLMAuthor(config) as author:
            await author.decompose(ITEMS[0].brief)
            with pytest.raises(Rejected) as caught:
                await author.decompose(ITEMS[1].brief)
            return caught.value

    rejected = asyncio.run(main())
    assert rejected.reason == "endpoint"
    assert "too\\x1blong" in rejected.detail


def test_a_budget_holds_for_waves(tmp_path):
    """Requests in waves count at their worst; what no longer fits is not written."""
    ends, written, _ = wave(tmp_path, price_in=1.0, price_out=10.0, budget=0.1)
    assert ends.count("BudgetExceeded") == len(ITEMS) - written.requests
    assert 0 < written.requests < len(ITEMS)


def test_a_run_that_ends_early_leaves_its_wave(tmp_path):
    """Closing the author writes what was collected, if nobody has asked for it."""

    async def main():
        config = LLMConfig(model="m", cache=tmp_path / "c.sqlite", batch_dir=tmp_path / "batch")
        async with LLMAuthor(config) as author:
            await author.decompose(ITEMS[0].brief)

    with pytest.raises(Pending):
        asyncio.run(main())
    assert len((tmp_path / "batch" / "wave-0001.input.jsonl").read_text().splitlines()) == 1


def test_requests_for_the_vendor_have_its_names(tmp_path):
    """Without another address the limit is sent as `max_completion_tokens`, and JSON is asked for by schema."""
    _, written, _ = wave(tmp_path)
    body = json.loads(written.written[0].read_text().splitlines()[0])["body"]
    assert "max_tokens" not in body
    assert body["max_completion_tokens"] > 0
    assert body["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    ("line", "field"),
    [("{", "malformed JSON"), ("[]", "list"), ('{"custom_id": "unknown", "response": null}', "custom_id")],
)
def test_a_bad_output_file_is_named_by_file_and_line(tmp_path, line, field):
    """Files that belong to another batch, or are damaged, are an error and not a reply."""
    wave(tmp_path)
    (tmp_path / "batch" / "wave-0001.output.jsonl").write_text("\n" + line + "\n")
    with pytest.raises(RecordError, match=r"wave-0001\.output\.jsonl:2") as caught:
        wave(tmp_path)
    assert field in str(caught.value)


def test_large_waves_are_split(tmp_path, monkeypatch):
    """A file holds no more requests than the service takes."""
    monkeypatch.setattr("toolfoundry.build.authors.llm.batch.MOST_REQUESTS", 2)
    _, written, _ = wave(tmp_path)
    assert [len(path.read_text().splitlines()) for path in written.written] == [2, 2, 1]
    run_batch(tmp_path, 2)
    _, again, _ = wave(tmp_path)
    assert (again.requests, again.waiting, len(again.open)) == (2, 3, 2)


def test_a_question_in_two_items_is_one_line(tmp_path):
    """Equal requests are written once."""
    twice = [item._replace(brief=Brief(index=i, origin=f"t:{i}", question="Why?")) for i, item in enumerate(ITEMS[:2])]
    _, written, _ = wave(tmp_path, twice)
    assert written.requests == 1
