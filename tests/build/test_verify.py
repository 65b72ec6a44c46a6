"""Stage 5 and the gates: sources are run, spoilt tools rejected for what they do, and the proof says what was seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hand_author import LIGHT, HandAuthor
from toolfoundry import __version__
from toolfoundry.build.author import Feedback
from toolfoundry.build.authors.procedural.profile import TINY
from toolfoundry.build.construct import construct, prepare
from toolfoundry.build.deploy import deploy, deploy_further, deployed, to_spec
from toolfoundry.build.draft import Brief, Complaint, Deployment, Draft, Rejected
from toolfoundry.build.pipeline import Recipe
from toolfoundry.build.verify import Verified, verify
from toolfoundry.check.audit import examine
from toolfoundry.check.gates import GATES
from toolfoundry.check.panel import panel_scores, play_panel
from toolfoundry.check.workers import SharedWorkers, own_workers
from toolfoundry.demo import environments
from toolfoundry.policies.scripted import CHEATS, SCRIPTED
from toolfoundry.types import EnvSpec, ToolSchema, Trial

SCALING = LIGHT.model_copy(update={"distractors": 3})
WHOLE = 3  # the question that every spoilt tool is tried on: two towers, their steps, the difference


def drafted(author: HandAuthor, index: int = WHOLE) -> Draft:
    async def run() -> Draft:
        draft = await prepare(Brief(index=index, origin="test"), author, SCALING)
        return deployed(draft, await deploy(draft, author))

    return asyncio.run(run())


def verified(draft: Draft, sandbox: Any) -> Verified:
    async def run() -> Verified:
        spec = to_spec(draft)
        async with own_workers(spec, sandbox) as workers:
            return await verify(draft, spec, workers)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def sound(sandbox) -> Verified:
    return verified(drafted(HandAuthor()), sandbox)


# --- the stage ---------------------------------------------------------------------------------------------------


def test_only_what_has_no_source_is_written():
    """Tools of a pool come with theirs; the author is not asked for them again."""
    author = HandAuthor()
    draft = drafted(author)
    assert draft.stage == "deploy"
    assert set(draft.sources) == {document.name for document in draft.documents}
    assert {trial.tool for trial in draft.trials} == draft.sources.keys() - {"bell_weight", "harbour_depth"}


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (
            lambda given: given.model_copy(update={"sources": {}}),
            Complaint("source-missing", "tower_count: there is no source"),
        ),
        (
            lambda given: given.model_copy(
                update={"sources": {**given.sources, "bridge_age": "def bridge_age(): ..."}}
            ),
            Complaint("unknown-tool", "bridge_age: there is no document of that name"),
        ),
        (
            lambda given: given.model_copy(update={"trials": (Trial(tool="bridge_age", arguments={}),)}),
            Complaint("unknown-tool", "bridge_age: there is no document of that name"),
        ),
    ],
)
def test_complaints_of_the_stage(spoil, complaint):
    """Told to the author; rejected where it stays so."""
    author = HandAuthor({"deploy": lambda asked, given: given if asked else spoil(given)})
    drafted(author)
    assert complaint in author.asked["deploy"][1].complaints
    with pytest.raises(Rejected) as caught:
        drafted(HandAuthor({"deploy": lambda asked, given: spoil(given)}, attempts=2))
    assert (caught.value.reason, caught.value.asked) == (complaint.reason, 2)


def test_what_running_showed_comes_first():
    """An author that is asked again after its tools were run sees that; then what the stage finds wrong itself."""
    author = HandAuthor({"deploy": lambda asked, given: given if asked else Deployment(sources={})})
    draft = asyncio.run(prepare(Brief(index=0, origin="test"), author, SCALING))
    seen = Feedback(None, (Complaint("gold-fails", "it fails"),))
    asyncio.run(deploy_further(draft, author, seen, 1))
    first, second = author.asked["deploy"]
    assert first is seen
    assert second.complaints[0].reason == "source-missing"


def test_a_draft_becomes_an_environment():
    """Parents' answers filled in, goals that need each other, changes in words, the same id every time."""
    draft = drafted(HandAuthor())
    spec = to_spec(draft)
    assert spec.scenario.kind == "parallel_multi_hop"
    assert [goal.needs for goal in spec.goals] == [(), (), ("s1",), ("s2",)]
    assert [step.question for step in spec.scenario.steps][2:] == [
        "How many steps has Grey Finger?",
        "How many steps has Old Lantern?",
    ]
    assert [call.arguments for call in spec.gold_calls or ()] == [
        '{"town":"Velmora","fact":"tower"}',
        '{"town":"Hask","fact":"tower"}',
        '{"tower":"Grey Finger","fact":"steps"}',
        '{"tower":"Old Lantern","fact":"steps"}',
    ]
    assert spec.proof is None
    assert (spec.provenance.source, spec.provenance.location) == ("build/hand", "test")
    assert spec.provenance.labels == {"index": WHOLE}
    assert spec.provenance.changes[0] == "merge: town_tower from town_tower, tower_in_town: the same function"
    assert to_spec(drafted(HandAuthor())) == spec
    assert to_spec(draft, environments()[0].prompt).id == spec.id  # the demo's prompt is the standard one, too


# --- the proof ---------------------------------------------------------------------------------------------------


def test_the_proof(sound):
    """What each gold call gave, where its arguments come from, the panel, the number of probes, gates left out."""
    assert (sound.complaints, sound.executable) == ((), True)
    proof = sound.spec.proof
    assert proof is not None
    assert proof.version == __version__
    assert [(result.call_id, result.content) for result in proof.results] == [
        ("s1", '{"tower": "Grey Finger"}'),
        ("s2", '{"tower": "Old Lantern"}'),
        ("s3", '{"steps": 412}'),
        ("s4", '{"steps": 287}'),
    ]
    assert [goal.sources for goal in proof.goals] == [
        {"town": "question", "fact": "enum"},
        {"town": "question", "fact": "enum"},
        {"tower": "goal:s1", "fact": "enum"},
        {"tower": "goal:s2", "fact": "enum"},
    ]
    assert all(goal.fair and goal.published for goal in proof.goals)
    assert proof.final is not None
    assert proof.final.operation == "difference"
    assert set(proof.panel) == set(SCRIPTED)
    assert proof.panel["gold"] == 1.0
    assert all(proof.panel[name] < 1.0 for name in CHEATS)
    assert proof.panel["silent"] == 0.0
    assert {"gold", "gold-again", "wrong", "missing", "placeholder", "effect"} <= proof.probes.keys()
    assert proof.probes["gold"] == 2 * 4
    assert set(proof.not_applied) <= set(GATES)
    assert "gold-fails" not in proof.not_applied
    assert proof.trials == drafted(HandAuthor()).trials


def test_the_proof_is_no_part_of_the_identity(sound):
    assert to_spec(drafted(HandAuthor())).id == sound.spec.id
    assert EnvSpec.model_validate_json(sound.spec.model_dump_json()) == sound.spec


def test_a_proof_is_not_given_to_what_has_faults(sandbox):
    draft = drafted(HandAuthor())
    broken = draft.model_copy(update={"sources": {**draft.sources, "tower_count": "def tower_count(tower): return 1"}})
    found = verified(broken, sandbox)
    assert found.spec.proof is None
    assert not found.executable
    assert found.complaints[0].reason in ("mismatch-unknown", "gold-fails", "call-fails")


# --- spoilt tools ------------------------------------------------------------------------------------------------

Change = Callable[[Any], Any]


def source(tool: str, *replaced: tuple[str, str]) -> dict[str, Change]:
    """The source of one tool changed, text by text."""

    def spoil(given: Deployment) -> Deployment:
        text = given.sources[tool]
        for old, new in replaced:
            assert old in text, (old, text)
            text = text.replace(old, new)
        return given.model_copy(update={"sources": {**given.sources, tool: text}})

    return {"deploy": spoil}


UNKNOWN = '{"error": "no tower of that name is known"}'
BODY = "    if tower not in table:"


def _described(name: str, description: str) -> Change:
    """One document with another description."""

    def spoil(given: Any) -> Any:
        documents = tuple(_with(one, description) if one.name == name else one for one in given.documents)
        return given.model_copy(update={"documents": documents})

    return spoil


def _with(document: ToolSchema, description: str) -> ToolSchema:
    return document.model_copy(update={"description": description})


def _ledger(given: Any) -> Any:
    """The first tool wants the number of a book that nobody tells of."""
    document, *others = given.documents
    parameters = document.parameters
    properties = {"book": {"type": "string", "description": "Number of the book."}, **parameters["properties"]}
    wider = document.model_copy(
        update={"parameters": {**parameters, "properties": properties, "required": [*parameters["required"], "book"]}}
    )
    calls = tuple(
        call.model_copy(update={"arguments": {**call.arguments, "book": "QX-81"}}) if call.tool == wider.name else call
        for call in given.calls
    )
    return given.model_copy(update={"documents": (wider, *others), "calls": calls})


def _of_the_ledger(given: Deployment) -> Deployment:
    text = given.sources["town_landmark"].replace("if town not in table:", 'if town not in table or book != "QX-81":')
    trials = tuple(
        t.model_copy(
            update={"arguments": {**t.arguments, "book": "QX-81"}, "variants": {**t.variants, "book": "QX-82"}}
        )
        if t.tool == "town_landmark"
        else t
        for t in given.trials
    )
    return Deployment(sources={**given.sources, "town_landmark": text}, trials=trials)


# What is wrong -> what is changed, where the item ends, its reason, and what the detail names.
SPOILT: dict[str, tuple[dict[str, Change], str, str, list[str]]] = {
    "does not parse": (source("tower_count", ("def ", "define ")), "deploy", "source-invalid", ["tower_count"]),
    "another function": (source("tower_count", ("def tower_count", "def count")), "deploy", "function-missing", []),
    "another signature": (
        source("tower_count", ("(tower, ", "(name, "), (BODY, "    tower = name\n" + BODY)),
        "deploy",
        "mismatch-unknown",
        ["tower_count", "name"],
    ),
    "a parameter of its own": (
        source(
            "tower_count", ("remark=False", "remark=False, more=0"), (BODY, "    tower = tower + more * ' '\n" + BODY)
        ),
        "deploy",
        "mismatch-missing",
        ["more"],
    ),
    "a name that is not there": (
        source("tower_count", (BODY, "    tower = tidy(tower)\n" + BODY)),
        "deploy",
        "undefined-name",
        ["tidy"],
    ),
    "a gold call that fails": (
        source("tower_count", ("'Grey Finger': (412", "'Grey Finger': (411")),
        "deploy",
        "gold-fails",
        ["s3", "412", "411"],
    ),
    "counts its calls": (
        source(
            "tower_count",
            (
                "    return result",
                "    import math\n    math.calls = getattr(math, 'calls', 0) + 1\n"
                "    result['call'] = math.calls\n    return result",
            ),
        ),
        "deploy",
        "gold-fails",
        ["the same result every time"],
    ),
    "a module that tools cannot have": (
        source("tower_count", (BODY, "    import socket\n    socket.socket()\n" + BODY)),
        "deploy",
        "forbidden-import",
        ["socket"],
    ),
    "the network, by a back door": (
        source("tower_count", (BODY, "    __import__('socket').create_connection(('192.0.2.1', 80))\n" + BODY)),
        "deploy",
        "call-fails",
        ["tower_count", "No module named 'socket'", "__import__"],
    ),
    "kills its worker": (
        source("tower_count", (BODY, "    import os\n    os._exit(0)\n" + BODY)),
        "deploy",
        "call-fails",
        ["tower_count"],
    ),
    "never ends on request": (
        source("tower_count", ("remark == True:", "remark == True:\n        while True: pass\n    if remark:")),
        "deploy",
        "call-fails",
        ["tower_count", "remark", "timeout"],
    ),
    "a dead parameter": (
        source("tower_count", ("    if remark == True:\n        result['cellar'] = table[tower][2]\n", "")),
        "gate",
        "dead-parameter",
        ["tower_count", "remark"],
    ),
    "a parameter that is only looked at": (
        source("tower_count", ("if remark == True", "if remark not in (True, False)")),
        "gate",
        "parameter-without-effect",
        ["tower_count", "remark", "two calls with different results"],
    ),
    "a distractor's parameter that is only looked at": (
        source(
            "tower_keeper",
            (
                "    if tower not in table:\n        return " + UNKNOWN,
                "    tower = tower and 'Grey Finger' or 'Grey Finger'",
            ),
        ),
        "gate",
        "parameter-without-effect",
        ["tower_keeper", "tower"],
    ),
    "answers whoever asks": (
        source("tower_count", ("return " + UNKNOWN, "tower = 'Grey Finger'")),
        "gate",
        "placeholder-answers",
        ["tower_count", "s3", "412"],
    ),
    "answers any name of two words": (
        source("tower_count", ("return " + UNKNOWN, "tower = 'Grey Finger' if ' ' in tower else 'Gull Watch'")),
        "gate",
        "wrong-arguments-accepted",
        ["tower_count", "s3"],
    ),
    "an error that tells the answer": (
        source("tower_count", ('"no tower of that name is known"', '"no such tower; Grey Finger has 412 steps"')),
        "gate",
        "answer-in-error",
        ["tower_count", "412"],
    ),
    "the clock": (
        source(
            "tower_count",
            (
                "    return result",
                "    import datetime\n    result['day'] = str(datetime.date.today())\n    return result",
            ),
        ),
        "deploy",
        "gold-fails",
        ["2026-01-01", "the same result twice"],
    ),
    "chance": (
        source(
            "tower_count",
            ("    return result", "    import random\n    result['luck'] = random.random()\n    return result"),
        ),
        "deploy",
        "gold-fails",
        ["random"],
    ),
    "eval": (
        source("tower_count", ("table[tower][2]", "eval('table[tower][2]', {'table': table, 'tower': tower})")),
        "gate",
        "dangerous-call",
        ["eval"],
    ),
    "helpers outside the function": (
        source(
            "tower_count",
            ("def tower_count", "CELLARS = True\n\n\ndef tower_count"),
            ("remark == True", "remark == CELLARS"),
        ),
        "gate",
        "hidden-names",
        ["CELLARS"],
    ),
    "does something when it is loaded": (
        source(
            "tower_count", ("    return result", "    return result\n\n\nprint(tower_count('Grey Finger', 'steps'))")
        ),
        "gate",
        "top-level-effects",
        ["print"],
    ),
    "a distractor that answers": (
        source("tower_keeper", ("return " + UNKNOWN, "return {'keeper': 'the one with 412 steps'}")),
        "gate",
        "distractor-answers",
        ["s3", "tower_keeper"],
    ),
    "a distractor whose document answers": (
        {"distractors": _described("tower_keeper", "Name who sweeps the 412 steps.")},
        "gate",
        "answer-in-document",
        ["tower_keeper", "412"],
    ),
    "a result that is not what the document says": (
        source("tower_count", ("    return result", "    return {**result, fact: str(result[fact])}")),
        "gate",
        "output-mismatch",
        ["tower_count", "s3", '{"steps": "412"}', '"integer"'],
    ),
    "an argument that nobody can know": (
        {"scale": _ledger, "deploy": _of_the_ledger},
        "gate",
        "argument-unknowable",
        ["town_landmark.book", "QX-81", "s1"],
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_tools(name, sandbox):
    """Each is rejected, with its reason first; the author that stays with it was asked as often as it may be."""
    changes, stage, reason, told = SPOILT[name]
    spoil = {at: (lambda asked, value, change=change: change(value)) for at, change in changes.items()}
    author = HandAuthor(spoil, attempts=1)
    outcome = asyncio.run(construct(Brief(index=WHOLE, origin="test"), author, SCALING, sandbox))
    assert outcome.spec is None
    reject = outcome.reject
    assert reject is not None
    assert (reject.stage, reject.reason, reject.asked) == (stage, reason, 1), reject.detail
    for text in told:
        assert text in reject.detail


def test_trials_are_not_needed(sandbox):
    """Without them effects are searched for; a tool of the author's own is not let off by leaving its trial out."""
    draft = drafted(HandAuthor()).model_copy(update={"trials": ()})
    assert verified(draft, sandbox).complaints == ()
    changes, _, reason, _ = SPOILT["a distractor's parameter that is only looked at"]
    spoilt = drafted(HandAuthor({"deploy": lambda asked, given: changes["deploy"](given)}))
    found = verified(spoilt.model_copy(update={"trials": ()}), sandbox)
    assert [complaint.reason for complaint in found.complaints] == [reason]


def test_trials_are_claims(sandbox):
    """Variants that change nothing, arguments that are not valid, tools that break: none shows an effect."""
    draft = drafted(HandAuthor(source_without_effect()))
    lies = (
        Trial(tool="tower_count", arguments={"tower": "Grey Finger", "fact": "steps"}, variants={"remark": True}),
        Trial(tool="tower_count", arguments={"tower": "Grey Finger"}, variants={"remark": True}),
        Trial(tool="tower_count", arguments={"tower": 3, "fact": "steps"}, variants={"remark": True}),
        Trial(tool="tower_count", arguments={"tower": "Grey Finger", "fact": "steps"}, variants={"remark": "very"}),
        Trial(tool="tower_count", arguments={"tower": "x", "fact": "steps"}, variants={"remark": True}),
    )
    found = verified(draft.model_copy(update={"trials": (*draft.trials, *lies)}), sandbox)
    assert [complaint.reason for complaint in found.complaints] == ["parameter-without-effect"]


def source_without_effect() -> dict[str, Any]:
    change = source("tower_count", ("if remark == True", "if remark not in (True, False)"))["deploy"]
    return {"deploy": lambda asked, given: change(given)}


# --- the panel ---------------------------------------------------------------------------------------------------


def tiny(count: int, first: int = 0) -> list[EnvSpec]:
    recipe = Recipe(profile=TINY, seed=5)
    author = recipe.author()

    async def run() -> list[EnvSpec]:
        specs: list[EnvSpec] = []
        for index in range(first, first + count):
            brief = Brief(index=index, origin=recipe.origin)
            draft = await prepare(brief, author, TINY.scaling, until="deploy")
            specs.append(to_spec(draft, author.prompt(draft.scenario.question)))
        return specs

    return asyncio.run(run())


def test_panel_scores_are_those_of_rollouts(sandbox, sound):
    """All calls of all scripts made at once give what playing them one after the other gives, exactly."""

    async def both(spec: EnvSpec):
        async with own_workers(spec, sandbox) as workers:
            scores = await panel_scores(spec, workers.first, {})
            played = await play_panel(spec, workers.executor, cheats=True)
        return scores, {name: outcome.score.value for name, outcome in played.items() if outcome.score}

    demo = [spec for spec in environments() if spec.state is None]
    assert len(demo) >= 12
    for spec in [*demo, *tiny(8), sound.spec]:
        scores, played = asyncio.run(both(spec))
        assert scores == played, spec.id


# --- shared workers ----------------------------------------------------------------------------------------------


def test_shared_workers_give_the_same_verdicts(sandbox):
    """Sound and spoilt environments, side by side in two workers, are judged as each by itself."""
    changes = [
        "a dead parameter",
        "answers whoever asks",
        "a gold call that fails",
        "a parameter that is only looked at",
    ]
    drafts = [drafted(HandAuthor(), index) for index in range(4)]
    for name in changes:
        change = SPOILT[name][0]["deploy"]
        drafts.insert(1, drafted(HandAuthor({"deploy": lambda asked, value, change=change: change(value)})))
    specs = [*map(to_spec, drafts), *tiny(4)]

    async def run():
        alone = []
        for spec in specs:
            async with own_workers(spec, sandbox) as workers:
                alone.append(await examine(spec, workers))
        async with SharedWorkers(specs, sandbox) as shared:
            together = await asyncio.gather(*(examine(spec, shared.of(i)) for i, spec in enumerate(specs)))
        return alone, together

    alone, together = asyncio.run(run())
    for one, other in zip(alone, together, strict=True):
        assert one.verdicts == other.verdicts
        assert one.probes == other.probes


def test_one_that_kills_its_worker_takes_no_other_along(sandbox):
    """The environments beside it are judged as if it were not there."""
    killer = {"deploy": lambda asked, given: SPOILT["kills its worker"][0]["deploy"](given)}
    drafts = [drafted(HandAuthor(killer if place == 1 else None), index) for place, index in enumerate((3, 3, 1, 2))]
    specs = [to_spec(draft) for draft in drafts]

    async def run():
        async with SharedWorkers(specs, sandbox) as shared:
            pairs = enumerate(zip(drafts, specs, strict=True))
            return await asyncio.gather(*(verify(draft, spec, shared.of(i)) for i, (draft, spec) in pairs))

    found = asyncio.run(run())
    assert [bool(one.complaints) for one in found] == [False, True, False, False]
    assert "killed" in " ".join(complaint.detail for complaint in found[1].complaints)
