"""Stage 3: which documents are alike, what a merge may and may not do, and what similarity proposes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hand_author import LIGHT, HandAuthor
from toolfoundry.build.construct import prepare
from toolfoundry.build.draft import Brief, Change, Documents, Rejected
from toolfoundry.build.integrate import integrate, overlapping
from toolfoundry.build.similarity import nearness, word_weights
from toolfoundry.types import ToolSchema


def tool(name: str, description: str, *parameters: str) -> ToolSchema:
    properties: Any = {parameter: {"type": "string"} for parameter in parameters}
    schema: Any = {"type": "object", "properties": properties, "required": list(parameters)}
    return ToolSchema(name=name, description=description, parameters=schema, output={"type": "string"})


STEPS = tool("tower_steps", "Count the steps of a tower.", "tower")
STEPS_AGAIN = tool("count_tower_steps", "Count the steps of a tower.", "tower")
FOUNDER = tool("tower_founder", "Name the founder of a tower.", "tower")
FOUNDED = tool("tower_founding", "Name the year a tower was founded in.", "tower")
TIDE = tool("tide_table", "List high tides at a harbour.", "harbour", "date")


# --- similarity --------------------------------------------------------------------------------------------------


def test_nearness_orders_documents_as_a_reader_would():
    """The same function under another name, the same subject, another subject."""
    everything = [STEPS, STEPS_AGAIN, FOUNDER, TIDE]
    weights = word_weights(everything)
    again, same_subject, other = (nearness(STEPS, one, weights) for one in everything[1:])
    assert 0.99 < again <= 1
    assert other == 0.0
    assert other < same_subject < 0.5 < again
    assert nearness(FOUNDER, STEPS, weights) == same_subject


def test_rare_words_count_more():
    """Two documents that share a rare word are nearer than two that share one which all have."""
    rare = [tool("a", "register bell", "x"), tool("b", "register bell", "y"), tool("c", "register mill", "z")]
    weights = word_weights([*rare, *(tool(f"d{i}", f"register {i * 'o'}x", "w") for i in range(8))])
    assert weights["bell"] > weights["register"] > 0
    assert nearness(rare[0], rare[1], weights) > nearness(rare[0], rare[2], weights) > 0


def test_documents_without_words():
    nothing = tool("f", "?")
    assert nearness(nothing, nothing, {}) == 0.0
    assert word_weights([]) == {}


@pytest.mark.parametrize(
    ("documents", "groups"),
    [
        ([], []),
        ([STEPS], []),
        ([STEPS, FOUNDER, TIDE], []),
        ([STEPS, TIDE, STEPS_AGAIN], [("tower_steps", "count_tower_steps")]),
        ([TIDE, STEPS_AGAIN, FOUNDER, STEPS], [("count_tower_steps", "tower_steps")]),
    ],
)
def test_groups_stand_in_the_order_of_the_documents(documents, groups):
    assert overlapping(documents) == groups


def test_documents_are_grouped_through_others():
    """a is like b, b like c, a not like c: one group of three, wherever they stand."""
    a, b, c = (
        tool(n, t, "key") for n, t in (("a", "one two six"), ("b", "one two three four"), ("c", "three four ten"))
    )
    weights = word_weights([a, b, c])
    least = min(nearness(a, b, weights), nearness(b, c, weights))
    assert nearness(a, c, weights) < least
    for documents in ([a, b, c], [c, a, b], [a, c, b]):
        [group] = overlapping(documents, least)
        assert sorted(group) == ["a", "b", "c"]


# --- merging -----------------------------------------------------------------------------------------------------


def drafted(index: int = 3):
    author = HandAuthor(attempts=1)
    return asyncio.run(prepare(Brief(index=index, origin="test"), author, LIGHT, until="document"))


def run(spoil=None, index: int = 3, attempts: int = 1):
    author = HandAuthor({"integrate": spoil} if spoil else None, attempts=attempts)
    return asyncio.run(integrate(drafted(index), author)), author


def test_four_documents_become_two():
    """Each step keeps a tool made of the one it had, with its arguments; the merges are recorded."""
    before, (draft, _) = drafted(), run()
    assert [document.name for document in draft.documents] == ["town_tower", "tower_steps"]
    assert [(call.step, call.tool) for call in draft.calls] == [
        ("s1", "town_tower"),
        ("s2", "town_tower"),
        ("s3", "tower_steps"),
        ("s4", "tower_steps"),
    ]
    assert [call.arguments for call in draft.calls] == [call.arguments for call in before.calls]
    assert [change.before for change in draft.changes] == [
        ("town_tower", "tower_in_town"),
        ("tower_steps", "count_tower_steps"),
    ]


@pytest.mark.parametrize(("index", "before", "after"), [(0, 1, 1), (1, 2, 1), (2, 3, 3), (3, 4, 2)])
def test_never_more_documents_than_before(index, before, after):
    assert len(drafted(index).documents) == before
    assert len(run(index=index)[0].documents) == after


def test_look_alikes_may_stay_apart():
    """Alike documents are proposed to the author; that it leaves them as they are is no mistake."""
    before = drafted()
    assert overlapping(before.documents) == [("town_tower", "tower_in_town"), ("tower_steps", "count_tower_steps")]
    draft, _ = run(lambda asked, value: Documents(documents=before.documents, calls=before.calls))
    assert (draft.stage, draft.documents, draft.calls, draft.changes) == (
        "integrate",
        before.documents,
        before.calls,
        (),
    )


def _without_changes(value):
    return value.model_copy(update={"changes": ()})


def _from(*before):
    def spoil(value):
        changes = (value.changes[0].model_copy(update={"before": before}), *value.changes[1:])
        return value.model_copy(update={"changes": changes})

    return spoil


def _more(value):
    new = tuple(tool(f"tower_{i}", "Something else about a tower.", "tower") for i in range(3))
    changes = tuple(Change(strategy="merge", tool=t.name, detail="", before=("town_tower", "tower_steps")) for t in new)
    return value.model_copy(update={"documents": (*value.documents, *new), "changes": (*value.changes, *changes)})


def _lost(value):
    """The second pair is gone, its steps are asked of the first tool."""
    calls = [call.model_copy(update={"tool": "town_tower", "arguments": _town(call)}) for call in value.calls]
    return value.model_copy(update={"documents": value.documents[:1], "calls": calls, "changes": value.changes[:1]})


def _town(call):
    return {"town": call.arguments.get("town", call.arguments.get("tower"))}


def _unmapped(value):
    return value.model_copy(update={"calls": value.calls[:3]})


def _changed(value):
    """A document that no merge speaks of is another one."""
    other = BEFORE.documents[0].model_copy(update={"description": "Name a tower."})
    return Documents(documents=(other, *BEFORE.documents[1:]), calls=BEFORE.calls)


BEFORE = drafted()
WRONG = {
    "a merge is not said": (_without_changes, ["document-lost", "step-remapped"], ["tower_in_town"]),
    "a document is changed": (_changed, ["merge-unsaid"], ["town_tower"]),
    "a merge of one": (_from("town_tower"), ["merge-unsound"], ["'town_tower'", "two or more"]),
    "a merge of what was not there": (_from("town_tower", "town_halls"), ["merge-unsound"], ["town_halls"]),
    "more documents": (_more, ["more-documents"], ["found 5", "the 4 there were"]),
    "a document is lost": (_lost, ["document-lost", "step-remapped"], ["tower_steps, count_tower_steps"]),
    "a step is lost": (_unmapped, ["step-lost", "step-remapped"], ["no gold call answers s4", "step s4"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_complaints(name):
    """Told to the author, who may put it right; rejected where it does not."""
    spoil, reasons, told = WRONG[name]
    _, author = run(lambda asked, value: value if asked else spoil(value), attempts=2)
    complaints = author.asked["integrate"][1].complaints
    assert {complaint.reason for complaint in complaints} >= set(reasons), complaints
    text = " ".join(complaint.detail for complaint in complaints)
    for part in told:
        assert part in text
    with pytest.raises(Rejected) as caught:
        run(lambda asked, value: spoil(value))
    assert caught.value.reason in reasons
    assert caught.value.asked == 1
