"""The books: near-duplicates, named benchmarks, counts, and going on where a build was interrupted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from hand_author import LIGHT, HandAuthor
from toolfoundry.build.benchmarks import Benchmarks
from toolfoundry.build.construct import Outcome, prepare
from toolfoundry.build.dedup import KEYS, KeyIndex, keys_of
from toolfoundry.build.deploy import to_spec
from toolfoundry.build.draft import Brief, Reject, RejectStage
from toolfoundry.build.ledger import YIELDS, Ledger, Packed, pack, rejects_file
from toolfoundry.errors import InputError, OutputError
from toolfoundry.store import dump, read
from toolfoundry.types import EnvSpec, Scenario


def spec_of(index: int = 3, question: str | None = None) -> EnvSpec:
    """An environment by hand, perhaps with another question."""
    brief = Brief(index=index, origin="towers")
    spec = to_spec(asyncio.run(prepare(brief, HandAuthor(), LIGHT, until="deploy")))
    asked = question or spec.scenario.question
    return spec.replace(scenario=Scenario(**{**dict(spec.scenario), "question": asked}))


# --- keys --------------------------------------------------------------------------------------------------------


QUESTION = "How many more steps has the tower of Velmora than the tower of Hask?"
OTHER = "By how much is the tower of Velmora higher than that of Hask?"


def other_source(spec: EnvSpec) -> EnvSpec:
    """The same tools with a table that has one row more: other tools, by their code."""
    tools = tuple(
        tool.model_copy(update={"source": tool.source.replace("table = {", "table = {\n        'New': (1, 2, 3),")})
        for tool in spec.tools
    )
    return spec.replace(tools=tools)


@pytest.mark.parametrize(
    ("second", "same"),
    [
        (spec_of(), set(KEYS)),
        (
            spec_of(question="has tower Velmora more steps: how many, than the tower Hask?"),
            {"question", "tools-and-answers"},
        ),
        (other_source(spec_of()), {"question", "question-pattern"}),
        (other_source(spec_of(question=OTHER)), set()),
        (spec_of(question=OTHER), {"tools-and-answers"}),
        (other_source(spec_of(question=QUESTION.replace("Hask", "Ostrin"))), {"question-pattern"}),
        (spec_of(2), set()),
    ],
)
def test_which_keys_two_environments_share(second, same):
    """Its words in any order; its tools with their answers; its question without names, and the names of its tools."""
    first, other = (dict(zip(KEYS, keys_of(spec), strict=True)) for spec in (spec_of(), second))
    assert {name for name in KEYS if first[name] == other[name]} == same


def test_keys_are_kept_on_disk_while_they_are_needed(tmp_path):
    place = tmp_path / "keys.sqlite"
    place.write_text("left by a build that was killed")
    one, two = keys_of(spec_of()), keys_of(spec_of(2))
    with KeyIndex(place) as index:
        assert index.duplicate(one) is None
        index.add(one, "first")
        index.add(one, "second")
        assert index.duplicate([two[0], one[1], two[2]]) == ("tools-and-answers", "first")
        assert index.duplicate(two) is None
        assert place.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        KeyIndex(tmp_path / "file" / "keys.sqlite")


# --- benchmarks --------------------------------------------------------------------------------------------------

LONG = "Which of the four old harbours on the eastern shore was closed first after the great storm of 1702?"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("b.txt", f"{QUESTION}\n"),
        ("b.txt", f"something else\n{QUESTION.upper()}\n"),
        ("b.jsonl", json.dumps({"id": 1, "q": {"text": [QUESTION]}}) + "\n"),
        ("b.json", json.dumps([{"question": "no"}, {"question": QUESTION}], indent=1)),
        ("b.jsonl", json.dumps({"messages": json.dumps([{"role": "user", "content": QUESTION}])}) + "\n"),
        ("b.csv", f"{QUESTION}\n"),
    ],
)
def test_a_question_in_a_file(tmp_path, name, text):
    """Whole, whatever its case and punctuation, in any text file, in JSON, in JSON within JSON."""
    (tmp_path / name).write_text(text)
    found = Benchmarks([tmp_path / name])
    assert found.holding(QUESTION) == name
    assert found.holding(QUESTION.replace("?", " !")) == name
    assert found.holding(OTHER) is None


def test_thirteen_words_in_a_row(tmp_path):
    """Twelve are no sign of anything."""
    (tmp_path / "b.txt").write_text(LONG + "\n")
    found = Benchmarks([tmp_path / "b.txt"])
    words = LONG.split()
    for length, name in ((13, "b.txt"), (12, None)):
        asked = "Somebody wants to know this: " + " ".join(words[2 : 2 + length]) + " and who was there?"
        assert found.holding(asked) == name
    assert found.holding(LONG) == "b.txt"


def test_a_benchmark_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"no\.txt: cannot be read: No such file"):
        Benchmarks([tmp_path / "no.txt"])


def test_the_first_of_several_files(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(QUESTION + "\n")
    assert Benchmarks([tmp_path / "b.txt", tmp_path / "a.txt"]).holding(QUESTION) == "b.txt"


# --- the ledger --------------------------------------------------------------------------------------------------


def outcome(index: int, spec: EnvSpec | None = None, stage: RejectStage = "gate", reason: str = "eval") -> Packed:
    brief = Brief(index=index, origin="towers")
    if spec is None:
        spoilt = Reject(brief=brief, author="hand", stage=stage, reason=reason, detail="...")
        return pack(Outcome(brief, None, spoilt), "hand")
    placed = spec.provenance.model_copy(update={"labels": {"index": index}})
    return pack(Outcome(brief, spec.model_copy(update={"provenance": placed}), None), "hand")


def opened(
    path: Path, mode: Any = "new", benchmarks: Benchmarks | None = None, origin: str | None = "towers"
) -> Ledger:
    return Ledger(path, mode, origin=origin, benchmarks=benchmarks)


FOUR = [spec_of(index) for index in range(4)]
ALL = [
    outcome(0, FOUR[0]),
    outcome(1, stage="decompose", reason="cycle"),
    outcome(2, FOUR[1]),
    outcome(3, FOUR[0]),
    outcome(4, stage="deploy", reason="gold-fails"),
    outcome(5, stage="deploy", reason="source-missing"),
    outcome(6),
    outcome(7, FOUR[2]),
    outcome(8, other_source(FOUR[2])),
    outcome(9, FOUR[3]),
]


def test_what_becomes_of_outcomes(tmp_path):
    """Accepted ones and rejects in two files, counts of how far each came, nothing else left in the folder."""
    path = tmp_path / "e.jsonl"
    with opened(path) as ledger:
        rejects = [ledger.take(one) for one in ALL]
        assert ledger.accepted == 4
        assert ledger.next_index == 10
        assert dict(ledger.counts) == dict(zip(YIELDS, (10, 8, 7, 6, 4), strict=True))
        assert ledger.rejects["set", "near-duplicate"] == 2
        assert [one.brief.index for one in ledger.examples["set", "near-duplicate"]] == [3, 8]
    assert [bool(reject) for reject in rejects] == [False, True, False, True, True, True, True, False, True, False]
    assert rejects[3] is not None
    assert rejects[3].detail == f"the same question as {FOUR[0].id}"
    assert [dump(spec) for spec in read(path, EnvSpec)] == [ALL[place].line for place in (0, 2, 7, 9)]
    assert list(read(rejects_file(path), Reject)) == [reject for reject in rejects if reject]
    assert sorted(place.name for place in tmp_path.iterdir()) == ["e.jsonl", "e.rejects.jsonl"]


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (other_source(spec_of()), "the same question as"),
        (spec_of(question=OTHER), "the same tools and answers as"),
        (other_source(spec_of(question=QUESTION.replace("Hask", "Ostrin"))), "the same question pattern as"),
        (spec_of(2), ""),
    ],
)
def test_a_near_duplicate_by_any_key(tmp_path, second, told):
    """One key in common is enough; the reject says which, and with what."""
    first = spec_of()
    with opened(tmp_path / "e.jsonl") as ledger:
        assert ledger.take(outcome(0, first)) is None
        reject = ledger.take(outcome(1, second))
    assert (reject.detail if reject else "") == (f"{told} {first.id}" if told else "")


@pytest.mark.parametrize("killed_after", range(len(ALL) + 1))
def test_resumed_anywhere(tmp_path, killed_after):
    """The same counts, examples, next index and files as without an interruption."""
    whole, path = tmp_path / "whole.jsonl", tmp_path / "e.jsonl"
    with opened(whole) as ledger:
        for one in ALL:
            ledger.take(one)
    with opened(path) as first:
        for one in ALL[:killed_after]:
            first.take(one)
    with opened(path, "resume") as second:
        assert second.next_index == killed_after
        for one in ALL[second.next_index :]:
            second.take(one)
        assert second.counts == ledger.counts
        assert second.rejects == ledger.rejects
        assert second.examples == ledger.examples
    assert path.read_bytes() == whole.read_bytes()
    assert rejects_file(path).read_bytes() == rejects_file(whole).read_bytes()


def test_a_half_written_line_is_done_again(tmp_path):
    path = tmp_path / "e.jsonl"
    with opened(path) as ledger:
        for one in ALL:
            ledger.take(one)
    good = path.read_bytes()
    path.write_bytes(good[:-20])
    with opened(path, "resume") as ledger:
        assert (ledger.accepted, ledger.next_index) == (3, 9)
        ledger.take(ALL[9])
    assert path.read_bytes() == good


@pytest.mark.parametrize(("origin", "index"), [("other", 0), (None, "one")])
def test_environments_of_another_build_are_not_gone_on_with(tmp_path, origin, index):
    """Another origin, or a record without a place in a run; nothing is changed, nothing left behind."""
    path = tmp_path / "e.jsonl"
    spec = FOUR[0].model_copy(update={"provenance": FOUR[0].provenance.model_copy(update={"labels": {"index": index}})})
    with opened(path) as ledger:
        ledger.take(
            Packed(Brief(index=0, origin="towers"), "hand", None, spec.id, QUESTION, dump(spec), tuple(keys_of(spec)))
        )
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"has environments of 'towers', not of this build; --force"):
        opened(path, "resume", origin=origin)
    assert path.read_bytes() == before
    assert sorted(place.name for place in tmp_path.iterdir()) == ["e.jsonl", "e.rejects.jsonl"]


def test_an_output_that_exists(tmp_path):
    path = tmp_path / "e.jsonl"
    opened(path).close()
    with pytest.raises(OutputError, match="exists"):
        opened(path)
    opened(path, "overwrite").close()


def test_questions_of_benchmarks_are_refused(tmp_path):
    """Before duplicates are looked for; the file is named."""
    (tmp_path / "known.txt").write_text(FOUR[0].scenario.question + "\n")
    with opened(tmp_path / "e.jsonl", benchmarks=Benchmarks([tmp_path / "known.txt"])) as ledger:
        reject = ledger.take(ALL[0])
        assert ledger.take(ALL[2]) is None
    assert reject is not None
    assert (reject.stage, reject.reason) == ("set", "in-benchmark")
    assert "known.txt" in reject.detail
    assert ledger.counts == {"proposed": 2, "valid": 2, "executable": 2, "proved": 2, "accepted": 1}


@pytest.mark.parametrize(
    ("name", "rejects"), [("a.jsonl", "a.rejects.jsonl"), ("a.jsonl.zst", "a.rejects.jsonl"), ("a", "a.rejects.jsonl")]
)
def test_where_rejects_are(name, rejects):
    assert rejects_file(Path("x") / name) == Path("x") / rejects
