"""The tiny profile's author: names and relations apart by construction, a fixed vocabulary, sound environments."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

import orjson
import pytest

from tiny_sets import drafts, spec_of
from toolfoundry.build.authors.procedural import tiny
from toolfoundry.build.authors.procedural.profile import FTRL, TINY, Profile, Span
from toolfoundry.build.authors.procedural.tiny import NAMES_PER_CLASS, RELATIONS, WORDS, TinyAuthor, entity_name
from toolfoundry.build.decompose import kind_of
from toolfoundry.build.draft import Draft
from toolfoundry.check import check
from toolfoundry.errors import InputError

NAME = re.compile(r"[A-Z][a-z]{9}")
HELD_OUT = TINY.model_copy(update={"hold_out": ("relations",)})
N = 300


def names_in(found: list[Draft]) -> set[str]:
    return {name for draft in found for name in NAME.findall(orjson.dumps(draft.model_dump()).decode())}


def relations_in(found: list[Draft]) -> set[str]:
    return {document.name for draft in found for document in draft.documents}


@pytest.fixture(scope="module")
def train() -> list[Draft]:
    return drafts(N)


# --- names ---------------------------------------------------------------------------------------------------------


def test_all_names_are_different_and_can_be_read_back():
    """Ten letters, four syllables; the numbers of one class and of neighbouring numbers give names of their own."""
    starts, ends = set(tiny._STARTS), set(tiny._ENDS)
    assert len(starts) == len(ends) == 96
    numbers = [*range(3000), *range(5, 96**4, 9_431)]
    names = [entity_name(number) for number in numbers]
    assert len(set(names)) == len(set(numbers))
    for name in names:
        assert NAME.fullmatch(name)
        first, end, second, last = name[:2].lower(), name[2:5], name[5:7], name[7:]
        assert {first, second} <= starts
        assert {end, last} <= ends


def test_the_scramble_is_a_bijection_on_a_smaller_inventory(monkeypatch):
    """The same network over two syllables of each kind reaches every name exactly once."""
    monkeypatch.setattr(tiny, "_STARTS", ("ba", "de", "fi"))
    monkeypatch.setattr(tiny, "_ENDS", ("dan", "kel", "mir", "tun"))
    monkeypatch.setattr(tiny, "_HALF", 12)
    names = {entity_name(number) for number in range(144)}
    assert len(names) == 144


def test_names_of_a_class_look_unrelated():
    """No syllable is common to the names of a class, in any place."""
    names = [entity_name(7 + 3072 * number) for number in range(2000)]
    for start, end in ((0, 2), (2, 5), (5, 7), (7, 10)):
        most = Counter(name[start:end] for name in names).most_common(1)[0][1]
        assert most < 60  # 2000 / 96 = 21 are expected


def test_seeds_and_splits_share_no_name(train):
    """Seeds that differ modulo 1024, and the splits of one seed."""
    others = [drafts(100, seed, split) for seed, split in ((0, "dev"), (0, "test"), (1, "train"), (1023, "test"))]
    sets = [names_in(found) for found in (train, *others)]
    for index, one in enumerate(sets):
        assert len(one) > 1000
        assert not any(one & other for other in sets[:index])


def test_a_class_is_large_and_asked_about_in_turn():
    """27,648 names; the name asked about repeats only after that many environments."""
    assert NAMES_PER_CLASS == 27_648
    one, again, next_one = drafts(1)[0], drafts(1, first=NAMES_PER_CLASS)[0], drafts(1, first=1)[0]
    first = [NAME.findall(draft.scenario.question)[0] for draft in (one, again, next_one)]
    assert first[0] == first[1] != first[2]
    assert one.scenario.question != again.scenario.question


def test_no_name_is_a_word_of_the_author():
    words = {word.lower() for word in WORDS}
    assert not any(entity_name(number).lower() in words for number in range(0, 96**4, 1_709))
    long = [word for word in WORDS if len(word) == 10]
    syllables = re.compile(f"(?:{'|'.join(tiny._STARTS)})(?:{'|'.join(tiny._ENDS)})" * 2)
    assert long
    assert not any(syllables.fullmatch(word) for word in long)


# --- vocabulary ----------------------------------------------------------------------------------------------------


def test_the_vocabulary_is_locked():
    """Changing any of this changes training: a checkpoint trained on these texts cannot read others."""
    texts = "\n".join([*WORDS, tiny.ASK, tiny.UNKNOWN, *(relation.tool for relation in RELATIONS)])
    assert len(set(WORDS)) == len(WORDS)
    assert hashlib.sha256(texts.encode()).hexdigest()[:16] == "85cd1887685aa049"


def test_the_first_environments_are_locked(train):
    """What this author writes is the same for the same seed and version, on every machine."""
    digest = hashlib.sha256()
    for draft in train[:50]:
        written = draft.model_dump(mode="json", include={"scenario", "calls", "sources", "documents"})
        written["documents"] = sorted(written["documents"], key=lambda document: document["name"])
        digest.update(orjson.dumps(written, option=orjson.OPT_SORT_KEYS))
    assert digest.hexdigest()[:16] == "0f9a0a54d8f4febf"


def test_texts_are_made_of_the_vocabulary_alone(train):
    """Questions, documents and errors: the words of `WORDS`, names, and the fixed words of the templates."""
    fixed = set("what is the of and return error unknown use a name from question or result".split())
    known = {word.lower() for word in WORDS} | fixed
    for draft in train:
        texts = [draft.scenario.question, *(step.question.replace("{", " {") for step in draft.scenario.steps)]
        texts += [text for doc in draft.documents for text in (doc.name, doc.description)]
        texts += [tiny.UNKNOWN.format(type=kind) for kind in ("person", "city", "firm")]
        for word in re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", "", NAME.sub("", " ".join(texts)))):
            assert word.lower() in known, word


# --- what the profile asks for --------------------------------------------------------------------------------------


def test_scenarios_follow_the_profile(train):
    """Shares, sub-questions, tools and words by scenario, within what 300 environments allow."""
    found = [*train, *drafts(700, first=N)]
    kinds = Counter(kind_of(draft.scenario.steps) for draft in found)
    for kind, goals in TINY.goals.items():
        own = [draft for draft in found if kind_of(draft.scenario.steps) == kind]
        assert kinds[kind] / len(found) == pytest.approx(0.25, abs=0.05)
        steps = [len(draft.scenario.steps) for draft in own]
        tools = [len(draft.documents) for draft in own]
        words = [len(draft.scenario.question.split()) for draft in own]
        assert goals.low == min(steps)
        assert goals.high == max(steps)
        assert sum(steps) / len(own) == pytest.approx(goals.mean, abs=0.12)
        assert (min(tools), max(tools)) == (TINY.tools[kind].low, TINY.tools[kind].high)
        assert sum(tools) / len(own) == pytest.approx(TINY.tools[kind].mean, abs=0.25)
        assert sum(words) / len(own) == pytest.approx(TINY.words[kind], rel=0.1)
    lines = [len(source.splitlines()) for draft in found for source in draft.sources.values()]
    assert TINY.lines.low <= min(lines)
    assert max(lines) <= TINY.lines.high
    assert sum(lines) / len(lines) == pytest.approx(TINY.lines.mean, rel=0.1)


def test_a_document_is_short_and_has_one_text_parameter(train):
    draft = train[0]
    document = draft.documents[0]
    (name,) = document.parameters["properties"]
    assert name in ("person", "city", "firm")
    assert document.parameters["required"] == [name]
    assert re.fullmatch(r"Return the [a-z ]+\.", document.description)


def test_the_final_answer_is_the_last_of_each_chain(train):
    for draft in train:
        scenario = draft.scenario
        needed = {need for step in scenario.steps for need in step.needs}
        last = [step.answer.value for step in scenario.steps if step.id not in needed]
        assert scenario.answer.value == (last[0] if len(last) == 1 else last)


def test_tools_stand_in_no_telling_order(train):
    """The first tool is a gold one about as often as any other is."""
    first = sum(draft.documents[0].name in draft.gold_tools for draft in train)
    share = sum(len(draft.gold_tools) / len(draft.documents) for draft in train)
    assert first == pytest.approx(share, rel=0.15)


def test_distractors_are_near_as_the_scaling_says():
    """All, or none beyond chance, share a noun or a modifier with a gold tool; level 0 has none at all."""

    def near_share(near: float) -> float:
        profile = TINY.model_copy(update={"scaling": TINY.scaling.model_copy(update={"near": near})})
        near_ones = total = 0
        for draft in drafts(100, profile=profile):
            gold = [tiny._BY_TOOL[name] for name in draft.gold_tools]
            for doc in draft.documents:
                if doc.name not in draft.gold_tools:
                    one = tiny._BY_TOOL[doc.name]
                    total += 1
                    near_ones += any(one.noun == g.noun or (one.modifier == g.modifier != "") for g in gold)
        return near_ones / total

    assert near_share(1.0) == 1.0
    assert near_share(0.0) < 0.45
    none = TINY.model_copy(update={"scaling": TINY.scaling.model_copy(update={"extend": 0})})
    assert all(len(draft.documents) == len(draft.gold_tools) for draft in drafts(30, profile=none))
    fixed = TINY.model_copy(update={"scaling": TINY.scaling.model_copy(update={"distractors": 9})})
    assert all(len(draft.documents) == len(draft.gold_tools) + 9 for draft in drafts(30, profile=fixed))


def harder(**levels) -> Profile:
    return TINY.model_copy(update={"scaling": TINY.scaling.model_copy(update=levels)})


def shapes_of(found: list[Draft]) -> list[tuple[bool, int, bool, bool]]:
    """Of each tool: whether it serves all modifiers, its further parameters, a list of names; whether it is gold."""
    return [(*tiny._read(doc)[1], doc.name in draft.gold_tools) for draft in found for doc in draft.documents]


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_stage_4_makes_the_tools_harder(level):
    """Each strategy by its level, and gold tools no more often than distractors, so that nothing gives them away."""
    share = (0, 0.25, 0.5, 1)[level]
    wide = shapes_of(drafts(200, profile=harder(generalize=level)))
    modified = [relation.modifier != "" for relation in RELATIONS]
    expected = share * sum(modified) / len(modified)
    listed = shapes_of(drafts(200, profile=harder(retype=level)))
    for shapes, place, most in ((wide, 0, expected), (listed, 2, share)):
        gold, other = ([s[place] for s in shapes if s[3] == is_gold] for is_gold in (True, False))
        for found in (gold, other):
            assert sum(found) / len(found) == pytest.approx(most, abs=0.09)
    assert {s[1] for s in shapes_of(drafts(50, profile=harder(expand=level)))} == {(0, 2, 4, 6)[level]}
    for draft in drafts(40, profile=harder(generalize=level, retype=level, expand=level)):
        names = [doc.name for doc in draft.documents]
        assert len(set(names)) == len(names)
        changed = {change.strategy for change in draft.changes if change.strategy != "extend"}
        assert changed <= ({"generalize", "expand", "retype"} if level else set())
        assert ("expand" in changed) == (level > 0)


def test_harder_tools_pass_every_gate(sandbox):
    """All three strategies at once: the gold calls fit, cheats stay under ceilings, each parameter has an effect."""
    found = drafts(60, profile=harder(generalize=2, retype=2, expand=1))
    report = check([spec_of(draft) for draft in found], sandbox)
    assert report.defects == 0, {gate.gate.name: gate.findings[:1] for gate in report.gates if gate.hits}
    gold = next(summary for summary in report.panel if summary.policy == "gold")
    assert gold.overall.metrics["score"].mean == 1.0
    for draft in found[:20]:
        with sandbox.session({tool.name: tool.source for tool in spec_of(draft).tools}) as session:
            for trial in draft.trials:
                one = session.batch([(trial.tool, trial.arguments)])[0].content
                others = [(trial.tool, {**trial.arguments, name: other}) for name, other in trial.variants.items()]
                assert NAME.fullmatch(one)
                assert all(result.error is None and result.content != one for result in session.batch(others))


def test_the_tables_of_a_generalised_tool_are_never_all_alike(sandbox):
    """Seven tables, each drawn from six: number 2543 of this seed draws the same seven times."""
    [draft] = drafts(1, profile=harder(generalize=2), first=2543)
    assert check([spec_of(draft)], sandbox).defects == 0


def test_a_generalised_tool_takes_the_place_of_all_of_its_noun():
    """No other tool of the environment answers what a gold one does, whatever its arguments."""
    for draft in drafts(150, profile=harder(generalize=2)):
        for call in draft.calls:
            noun = tiny._read(next(doc for doc in draft.documents if doc.name == call.tool))[0].noun
            rivals = [doc for doc in draft.documents if doc.name != call.tool and tiny._read(doc)[0].noun == noun]
            assert not any(tiny._read(doc)[1].wide for doc in rivals) or "find" not in call.arguments


def test_held_out_relations_are_in_one_split_only():
    """Every combination of modifier and noun belongs to one split, whatever the seed; train knows every word."""
    found = {split: relations_in(drafts(400, 3, split, HELD_OUT)) for split in ("train", "dev", "test")}
    assert not found["train"] & found["dev"]
    assert not found["train"] & found["test"]
    assert not found["dev"] & found["test"]
    assert not found["train"] & relations_in(drafts(200, 4, "test", HELD_OUT))
    assert min(map(len, found.values())) > 30
    own = [relation for relation in RELATIONS if tiny._split_of(relation) == "train"]
    assert {relation.noun for relation in own} == {relation.noun for relation in RELATIONS}
    assert {relation.modifier for relation in own} == {relation.modifier for relation in RELATIONS}


def test_profiles_that_cannot_be_followed_are_refused():
    goals = {**TINY.goals, "multi_hop": Span(low=2, high=40, mean=3)}
    with pytest.raises(InputError, match="at most"):
        TinyAuthor(TINY.model_copy(update={"goals": goals}), 0, "train")
    for kind, low, high in (("single_hop", 1, 2), ("multi_hop", 1, 2), ("parallel_multi_hop", 2, 4)):
        goals = {**TINY.goals, kind: Span(low=low, high=high, mean=low)}
        with pytest.raises(InputError, match=f"{kind}: found {low} to {high} sub-questions, expected"):
            TinyAuthor(TINY.model_copy(update={"goals": goals}), 0, "train")
    with pytest.raises(InputError, match="one wording"):
        TinyAuthor(FTRL.model_copy(update={"goals": TINY.goals, "hold_out": ("wordings",)}), 0, "train")


# --- the environments ----------------------------------------------------------------------------------------------


def test_an_environment_does_not_depend_on_what_was_written_before(train):
    """Authors of several processes share nothing but seed and split."""
    again = drafts(1, first=77)[0]
    assert again == train[77]


def test_questions_differ(train):
    assert len({draft.scenario.question for draft in train}) == len(train)


def test_every_gate_passes(sandbox, train):
    """No defect, and for distractors no parameter without effect; cheats stay under their ceilings."""
    specs = [spec_of(draft) for draft in train[:120]]
    report = check(specs, sandbox)
    assert report.environments == len(specs)
    hits = {gate.gate.name: gate.findings[:1] for gate in report.gates if gate.hits}
    assert report.defects == 0, hits
    assert report.gate("effect-not-found").hits == 0
    assert report.gate("gold-fails").applied == len(specs)
    assert report.gate("placeholder-answers").applied == report.goals
    gold = next(summary for summary in report.panel if summary.policy == "gold")
    assert gold.overall.metrics["score"].mean == 1.0


def test_tools_answer_for_any_entity_of_their_type(sandbox, train):
    """Gold calls give the answer, an unknown name an error that says what to do, other rows plausible other names."""
    for draft in train[:40]:
        spec = spec_of(draft)
        goldens = {goal.answer.value for goal in spec.goals}
        tools = {tool.name: tool.source for tool in spec.tools}
        with sandbox.session(tools) as session:
            for trial in draft.trials:
                ((name, other),) = trial.variants.items()
                results = session.batch([(trial.tool, trial.arguments), (trial.tool, {name: other})])
                assert results[0].content != results[1].content
                assert all(NAME.fullmatch(result.content) for result in results)
                (unknown,) = session.batch([(trial.tool, {name: "Nobody"})])
                assert unknown.content == f"Error: unknown {name}. Use a name from the question or a result."
            for tool in tools.keys() - draft.gold_tools:
                parameter = tiny._BY_TOOL[tool].source
                for golden in goldens:
                    (result,) = session.batch([(tool, {parameter: golden})])
                    assert result.content not in goldens


def test_the_example_in_the_docs_is_real():
    """The page shows environment 0 of seed 0: its question, its steps, and one source."""
    page = (Path(__file__).parents[2] / "docs" / "tiny.md").read_text(encoding="utf-8")
    (draft,) = drafts(1)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert code in draft.sources.values()
    assert draft.scenario.question in page
    for step in draft.scenario.steps:
        assert f"| {step.id} | {step.question} | `" in page
        assert f" {step.answer.value} |" in page
    assert f"{len(WORDS)} words and syllables" in page
    assert f"{len(RELATIONS)} relations" in page


def test_the_prompt_is_short_and_asks_for_the_tag(train):
    spec = spec_of(train[0])
    assert [message.role for message in spec.prompt] == ["user"]
    assert spec.prompt[0].content == f"{tiny.ASK} {spec.scenario.question}"
    assert spec.task.tagged
