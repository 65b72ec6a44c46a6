"""Stage 4: levels and their complaints, gold arguments carried along, distractors chosen near and far."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from hand_author import LIGHT, HandAuthor
from toolfoundry.build.construct import prepare
from toolfoundry.build.draft import Brief, Draft, Rejected
from toolfoundry.build.scale import MOST_TOOLS, PUBLISHED, choose_distractors, distractor_count, scale
from toolfoundry.build.scaling import Scaling
from toolfoundry.build.similarity import nearness, word_weights
from toolfoundry.types import ToolSchema

OFF = Scaling(generalize=0, expand=0, retype=0, extend=0)


def integrated(index: int = 3, origin: str = "test") -> Draft:
    return asyncio.run(prepare(Brief(index=index, origin=origin), HandAuthor(attempts=1), LIGHT, until="integrate"))


def run(scaling: Scaling = LIGHT, index: int = 3, spoil: Any = None, attempts: int = 1, **others: Any):
    author = HandAuthor({**({"scale": spoil} if spoil else {}), **others}, attempts=attempts)
    return asyncio.run(scale(integrated(index), author, scaling)), author


def gold(draft: Draft) -> list[ToolSchema]:
    return [document for document in draft.documents if document.name in draft.gold_tools]


def properties(document: ToolSchema) -> dict[str, Any]:
    found: Any = document.parameters["properties"]
    return found


# --- levels ------------------------------------------------------------------------------------------------------


def test_everything_off_changes_nothing():
    """Level 0 of all strategies: the same documents, the same calls, no distractors, no changes."""
    before, (draft, _) = integrated(), run(OFF)
    assert draft.stage == "scale"
    assert (draft.documents, draft.calls, draft.changes) == (before.documents, before.calls, before.changes)


@pytest.mark.parametrize("strategy", ["generalize", "expand", "retype", "extend"])
def test_one_strategy_at_a_time(strategy):
    """What its changes say, and nothing of what the others do."""
    draft, _ = run(OFF.model_copy(update={strategy: 1}))
    made = {change.strategy for change in draft.changes} - {"merge"}
    assert made == ({strategy} if strategy != "retype" else set())  # nothing is there yet that could be retyped
    names = {document.name for document in gold(draft)}
    wide = strategy == "generalize"
    assert names == ({"town_landmark", "tower_count"} if wide else {"town_tower", "tower_steps"})
    counts = {len(properties(document)) for document in gold(draft)}
    assert counts == ({2} if strategy in ("generalize", "expand") else {1})
    kinds = [schema for document in gold(draft) for schema in properties(document).values()]
    assert all(schema["type"] == "string" and "enum" not in schema for schema in kinds)
    assert (len(draft.documents) > 2) == (strategy == "extend")


def test_everything_on():
    """Types beside plain text, gold arguments carried along, every change recorded."""
    draft, _ = run()
    assert {change.strategy for change in draft.changes} == {"merge", "generalize", "expand", "retype", "extend"}
    steps = next(document for document in draft.documents if document.name == "tower_count")
    assert {name: schema.get("enum", schema["type"]) for name, schema in properties(steps).items()} == {
        "tower": "string",
        "fact": ["steps", "windows"],
        "remark": "boolean",
    }
    assert [call.arguments for call in draft.calls] == [
        {"town": "Velmora", "fact": "tower"},
        {"town": "Hask", "fact": "tower"},
        {"tower": {"$answer": "s1"}, "fact": "steps"},
        {"tower": {"$answer": "s2"}, "fact": "steps"},
    ]


@pytest.mark.parametrize("wrong", [{"expand": 4}, {"near": 1.5}, {"distractors": -1}, {"parameters": 0}, {"extnd": 1}])
def test_levels_have_bounds(wrong):
    with pytest.raises(ValidationError):
        Scaling(**wrong)


# --- complaints --------------------------------------------------------------------------------------------------


def _property(value, name, **schema):
    """The second document with another schema of one parameter; None takes the parameter away."""
    second = value.documents[1]
    old = second.parameters["properties"]
    new = {**old, name: {**old.get(name, {}), **schema}}
    changed = second.model_copy(update={"parameters": {**second.parameters, "properties": new}})
    return value.model_copy(update={"documents": (value.documents[0], changed)})


def _fewer(value):
    return value.model_copy(update={"documents": value.documents[:1], "calls": _calls(value)})


def _calls(value):
    subjects = [
        {"town": call.arguments.get("town", call.arguments.get("tower")), "fact": "tower"} for call in value.calls
    ]
    pairs = zip(value.calls, subjects, strict=True)
    return tuple(call.model_copy(update={"tool": "town_landmark", "arguments": said}) for call, said in pairs)


def _unsaid(value):
    changes = tuple(change for change in value.changes if change.tool != "tower_count")
    return value.model_copy(update={"changes": changes})


def _plain(value):
    for name in ("fact", "remark"):
        for place in (0, 1):
            document = value.documents[place]
            plain = {**properties(document), name: {"type": "string"}}
            new = document.model_copy(update={"parameters": {**document.parameters, "properties": plain}})
            documents = tuple(new if i == place else one for i, one in enumerate(value.documents))
            value = value.model_copy(update={"documents": documents})
    return value


WRONG: dict[str, tuple[Scaling, Any, str, list[str]]] = {
    "a carried parameter becomes an enum": (
        LIGHT,
        lambda value: _property(value, "tower", enum=["Grey Finger", "Old Lantern"]),
        "carried-enum",
        ["tower_count.tower", "an enum"],
    ),
    "a carried parameter becomes a boolean": (
        LIGHT,
        lambda value: _property(value, "tower", type="boolean"),
        "gold-invalid",
        ["tower_count", "s3"],
    ),
    "a carried parameter gets a default": (
        LIGHT,
        lambda value: _property(value, "tower", default="Gull Watch"),
        "carried-enum",
        ["tower_count.tower", "a default"],
    ),
    "gold arguments left behind": (
        LIGHT,
        lambda value: _property(value, "fact", enum=["stairs", "windows"]),
        "gold-invalid",
        ["s3", "fact", '"steps"'],
    ),
    "a tool is gone": (LIGHT, _fewer, "tools-changed", ["found 1", "the same 2"]),
    "which tool it was is not said": (LIGHT, _unsaid, "change-unsaid", ["tower_count"]),
    "too few parameters": (
        LIGHT.model_copy(update={"expand": 3}),
        lambda value: value,
        "too-few-parameters",
        ["3.0", "about 7", "level 3"],
    ),
    "fewer parameters than asked for": (
        LIGHT.model_copy(update={"parameters": 10}),
        lambda value: value,
        "too-few-parameters",
        ["3.0", "about 10"],
    ),
    "new parameters, though expansion is off": (
        OFF,
        lambda value: _property(value, "cellar", type="boolean"),
        "switched-off",
        ["tower_steps", "expansion is off"],
    ),
    "all plain text at level 3": (
        LIGHT.model_copy(update={"retype": 3}),
        _plain,
        "too-few-types",
        ["plain string", "level 3"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_complaints(name):
    """An author that makes the mistake and stays with it is rejected for it."""
    scaling, spoil, reason, told = WRONG[name]
    with pytest.raises(Rejected) as caught:
        run(scaling, spoil=lambda asked, value: spoil(value), attempts=2)
    assert (caught.value.reason, caught.value.asked) == (reason, 2)
    for text in told:
        assert text in caught.value.detail


def test_a_mistake_that_is_put_right():
    draft, author = run(spoil=lambda asked, value: value if asked else _unsaid(value), attempts=2)
    assert [complaint.reason for complaint in author.asked["scale"][1].complaints] == ["change-unsaid"]
    assert draft == run()[0]


# --- distractors -------------------------------------------------------------------------------------------------


def candidate(name: str, description: str = "Tell something.") -> ToolSchema:
    parameters: Any = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
    return ToolSchema(name=name, description=description, parameters=parameters, output={"type": "string"})


POOL = [
    *(
        candidate(f"tower_{noun}", f"Tell the {noun} of a tower in a town.")
        for noun in ("height", "colour", "age", "key")
    ),
    *(
        candidate(f"song_{noun}", f"Find the {noun} for a song.")
        for noun in ("writer", "tempo", "length", "label", "rank")
    ),
]


def test_near_ones_are_the_nearest():
    """A share of them by their nearness to a gold tool, the rest from what is left."""
    draft = integrated()
    weights = word_weights([*draft.documents, *POOL])
    by_nearness = sorted(POOL, key=lambda c: -max(nearness(c, document, weights) for document in draft.documents))
    chosen = choose_distractors(draft, POOL, 5, near=0.6)
    assert chosen[:3] == by_nearness[:3]
    assert all(one.name.startswith("tower_") for one in chosen[:3])
    assert len({one.name for one in chosen}) == 5
    assert choose_distractors(draft, POOL, 4, near=1.0) == by_nearness[:4]


def test_far_ones_are_drawn_from_all_that_is_left():
    """Over many briefs every candidate is drawn; the same brief draws the same."""
    draws = [
        tuple(one.name for one in choose_distractors(integrated(origin=f"o{number}"), POOL, 3, near=0.0))
        for number in range(30)
    ]
    assert {name for names in draws for name in names} == {one.name for one in POOL}
    assert len(set(draws)) > 15
    again = choose_distractors(integrated(origin="o7"), POOL, 3, near=0.0)
    assert tuple(one.name for one in again) == draws[7]


def test_names_are_told_apart():
    """Candidates with a name that is taken, by a tool of the question or another candidate, are passed over."""
    draft = integrated()
    twice = [*POOL, candidate("tower_steps"), candidate("song_tempo", "Another tool of that name."), *POOL]
    chosen = choose_distractors(draft, twice, 40, near=0.5)
    assert sorted(one.name for one in chosen) == sorted(one.name for one in POOL)
    assert next(one for one in chosen if one.name == "song_tempo") in POOL


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_number_of_distractors_can_be_fixed(count):
    draft, _ = run(LIGHT.model_copy(update={"distractors": count}))
    assert len(draft.documents) == 2 + count


def test_the_number_follows_the_level_and_the_brief():
    """None at level 0; about 2, as published, and more at the others; always the same for the same brief."""
    for index, kind in enumerate(PUBLISHED):
        drafts = [integrated(index, origin=f"o{number}") for number in range(40)]
        for level, mean in ((0, 0.0), (1, 2.0), (2, PUBLISHED[kind]), (3, 22.0)):
            counts = [distractor_count(draft, Scaling(extend=level)) for draft in drafts]
            assert counts == [distractor_count(draft, Scaling(extend=level)) for draft in drafts]
            assert sum(counts) / len(counts) == pytest.approx(mean, rel=0.12)
            assert all(len(draft.documents) + count <= MOST_TOOLS for draft, count in zip(drafts, counts, strict=True))


class Counting(HandAuthor):
    """Wants three tools in all."""

    def tool_count(self, draft, scaling):
        return 3


def test_an_author_may_say_how_many_tools():
    """Then the level does not matter; where there are more gold tools there are no distractors."""
    for index, tools in ((0, 3), (2, 3), (3, 3)):
        draft = asyncio.run(scale(integrated(index), Counting(), LIGHT.model_copy(update={"extend": 3})))
        assert len(draft.documents) == tools


def test_a_tool_of_a_pool_that_tells_an_answer_is_no_candidate():
    """It knows nothing of the question; another takes its place."""

    def telling(asked: int, value: Any) -> Any:
        tells = lambda one: one.model_copy(update={"description": "Tell how heavy the bell of the Grey Finger is."})  # noqa: E731
        documents = tuple(tells(one) if one.name == "bell_weight" else one for one in value.documents)
        return value.model_copy(update={"documents": documents})

    scaling = LIGHT.model_copy(update={"distractors": 3})
    draft, _ = run(scaling, distractors=telling)
    assert {one.name for one in draft.documents} - draft.gold_tools == {"tower_keeper", "town_market", "harbour_depth"}


def test_the_order_tells_nothing():
    """Gold tools stand in every place; sources of a pool come along, those of tools not chosen do not."""
    places: set[int] = set()
    for number in range(12):
        draft = asyncio.run(
            scale(integrated(0, f"o{number}"), HandAuthor(), LIGHT.model_copy(update={"distractors": 3}))
        )
        names = [document.name for document in draft.documents]
        places.add(names.index("tower_count"))
        assert set(draft.sources) == {"bell_weight", "harbour_depth"} & set(names)
    assert places == {0, 1, 2, 3}


def test_the_same_brief_gives_the_same_bytes():
    one, other = run()[0], run()[0]
    assert one.model_dump_json() == other.model_dump_json()
