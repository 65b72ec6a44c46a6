"""The procedural author's stages 2 to 5: sound environments, the published set's statistics, the same bytes again."""

from __future__ import annotations

import ast
import asyncio
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import pytest

from toolfoundry.answers import holds
from toolfoundry.build.author import Author
from toolfoundry.build.authors.procedural.author import ProceduralAuthor
from toolfoundry.build.authors.procedural.profile import FTRL, HARD, Profile
from toolfoundry.build.construct import construct_shard, prepare
from toolfoundry.build.decompose import kind_of
from toolfoundry.build.draft import Brief, Draft, Rejected, Stage
from toolfoundry.build.scaling import Scaling
from toolfoundry.check import check
from toolfoundry.sandbox import Sandbox
from toolfoundry.seeds import generator
from toolfoundry.symbolic import references, resolve

N = 240
PUBLISHED = {  # parameters and required parameters a tool, tools an environment
    "single_hop": (7.28, 2.51, 7.96),
    "parallel_single_hop": (6.94, 1.74, 7.48),
    "multi_hop": (7.29, 1.29, 10.34),
    "parallel_multi_hop": (7.03, 1.28, 11.26),
}
PUBLISHED_TYPES = {"string": 67.2, "boolean": 18.5, "object": 4.1, "number": 3.5, "array": 3.5, "integer": 3.1}


def author_of(profile: Profile = FTRL, seed: int = 5) -> ProceduralAuthor:
    return ProceduralAuthor(profile, seed, "train")


def draft(author: Author, index: int, scaling: Scaling = FTRL.scaling, until: Stage = "deploy") -> Draft:
    return asyncio.run(prepare(Brief(index=index, origin="test"), author, scaling, until=until))


def properties(found: Draft) -> dict[str, dict[str, dict[str, Any]]]:
    """Tool -> parameter -> schema."""
    return {d.name: cast("dict[str, dict[str, Any]]", d.parameters["properties"]) for d in found.documents}


@pytest.fixture(scope="module")
def drafts() -> list[Draft]:
    author = author_of()
    return [draft(author, index) for index in range(N)]


# --- environments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("profile", "count"), [(FTRL, 24), (HARD, 6)], ids=lambda value: getattr(value, "name", ""))
def test_what_it_writes_passes_every_gate(profile: Profile, count: int, sandbox: Sandbox):
    """No environment is rejected: gold calls, wrong and placeholder arguments, distractors, dead parameters, panel."""
    briefs = [Brief(index=index, origin="test") for index in range(count)]
    outcomes = asyncio.run(construct_shard(briefs, author_of(profile), profile.scaling, sandbox))
    assert [(o.reject.stage, o.reject.reason, o.reject.detail[:300]) for o in outcomes if o.reject] == []


def test_an_audit_finds_no_defect(sandbox: Sandbox):
    """The audit that is applied to anybody's set has nothing to object to."""
    briefs = [Brief(index=index, origin="test") for index in range(100, 104)]
    outcomes = asyncio.run(construct_shard(briefs, author_of(), FTRL.scaling, sandbox))
    specs = [outcome.spec for outcome in outcomes if outcome.spec]
    assert len(specs) == 4
    report = check(specs, sandbox)
    assert [(one.gate.name, one.hits) for one in report.gates if one.gate.severity == "defect" and one.hits] == []


@pytest.mark.parametrize(
    "levels", [(0, 0, 0, 0), (0, 2, 2, 1), (1, 1, 1, 1), (2, 2, 0, 2), (3, 3, 3, 3)], ids=lambda levels: str(levels)
)
def test_each_strategy_has_its_levels(levels: tuple[int, int, int, int], sandbox: Sandbox):
    """Switched off or doubled, alone or together, the environments are sound."""
    generalize, expand, retype, extend = levels
    scaling = Scaling(generalize=generalize, expand=expand, retype=retype, extend=extend)
    briefs = [Brief(index=index, origin="test") for index in range(4)]
    outcomes = asyncio.run(construct_shard(briefs, author_of(), scaling, sandbox))
    assert [(o.reject.stage, o.reject.reason, o.reject.detail[:300]) for o in outcomes if o.reject] == []


def test_levels_do_what_they_say():
    """More parameters with each level of expansion, no other type than text without retyping, no selector without
    generalization."""
    author = author_of()
    means: list[float] = []
    for expand in range(4):
        found = [draft(author, index, Scaling(expand=expand, extend=0), "scale") for index in range(12)]
        counts = [len(parameters) for one in found for parameters in properties(one).values()]
        means.append(sum(counts) / len(counts))
    assert means[0] < 2.5
    assert [round(mean) for mean in means[1:]] == [4, 7, 9]
    for index in range(12):
        plain = draft(author, index, Scaling(generalize=0, retype=0, extend=0), "scale")
        before = draft(author, index, Scaling(), "integrate")
        required = {
            name: set(cast("list[str]", d.parameters["required"]))
            for d, name in zip(before.documents, properties(plain), strict=True)
        }
        for name, parameters in properties(plain).items():
            optional = [schema for key, schema in parameters.items() if key not in required[name]]
            assert all(schema["type"] == "string" and not schema.keys() & {"enum", "format"} for schema in optional)
            assert len(optional) == len(parameters) - len(required[name])


# --- statistics ----------------------------------------------------------------------------------------------------


def test_tools_and_parameters_are_as_in_the_published_test_set(drafts: list[Draft]):
    """Tools an environment, parameters and required parameters a tool, by scenario, within a tenth (and noise)."""
    tools: dict[str, list[int]] = {}
    parameters: dict[str, list[int]] = {}
    required: dict[str, list[int]] = {}
    for found in drafts:
        kind = kind_of(found.scenario.steps)
        tools.setdefault(kind, []).append(len(found.documents))
        for document in found.documents:
            parameters.setdefault(kind, []).append(len(cast("dict[str, Any]", document.parameters["properties"])))
            required.setdefault(kind, []).append(len(cast("list[str]", document.parameters["required"])))
    for kind, (wanted, needed, many) in PUBLISHED.items():
        assert mean(parameters[kind]) == pytest.approx(wanted, rel=0.1)
        assert mean(required[kind]) == pytest.approx(needed, rel=0.13)
        assert mean(tools[kind]) == pytest.approx(many, rel=0.13)


def test_types_and_keywords_are_as_in_the_published_test_set(drafts: list[Draft]):
    """Shares of JSON types within a tenth (and noise); enums and defaults too."""
    schemas = [
        schema for found in drafts for parameters in properties(found).values() for schema in parameters.values()
    ]
    types = Counter(schema["type"] for schema in schemas)
    for kind, share in PUBLISHED_TYPES.items():
        assert 100 * types[kind] / len(schemas) == pytest.approx(share, rel=0.15, abs=0.6)
    assert 100 * sum("enum" in schema for schema in schemas) / len(schemas) == pytest.approx(26.4, rel=0.1)
    assert 100 * sum("default" in schema for schema in schemas) / len(schemas) == pytest.approx(29.8, rel=0.1)
    assert 100 * sum("properties" in schema for schema in schemas) / len(schemas) == pytest.approx(4.1, rel=0.2)


def test_sources_are_as_long_as_the_published_ones(drafts: list[Draft]):
    """43 lines on average there. Little of that has to be parsed: 164 nodes of the syntax tree there, 263 here."""
    sources = [source for found in drafts for source in found.sources.values()]
    assert mean([source.count("\n") for source in sources]) == pytest.approx(43, rel=0.1)
    assert mean([len(source) for source in sources]) < 2700
    assert mean([len([*ast.walk(ast.parse(source))]) for source in sources[::5]]) < 270
    assert max(len(line) for source in sources for line in source.split("\n")) <= 126  # of computations, word for word


def test_the_same_function_has_many_names(drafts: list[Draft]):
    """Over 240 environments there are more than 1,400 distinct names, digits and version words left out."""
    names = {re.sub(r"_?v?\d+", "", document.name) for found in drafts for document in found.documents}
    assert len(names) > 1400
    assert all(len({document.name for document in found.documents}) == len(found.documents) for found in drafts)


def mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)


# --- stages --------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_in_any_order():
    """A new author, another order of indices: documents, sources and trials are equal; another seed's are not."""
    first = [draft(author_of(), index).model_dump_json() for index in (3, 1)]
    other = author_of()
    again = [draft(other, index).model_dump_json() for index in (1, 2, 3)]
    assert first == [again[2], again[0]]
    assert draft(author_of(seed=6), 1).model_dump_json() != first[1]


def test_a_draft_can_be_taken_up_by_another_author():
    """Nothing of a stage is kept in the author: code for a draft that another process has scaled is the same."""
    whole = draft(author_of(), 7)
    half = draft(author_of(), 7, until="scale")
    later = asyncio.run(prepare(half, author_of(), FTRL.scaling, until="deploy"))
    assert later.sources == whole.sources


def test_tools_of_another_scaling_are_refused():
    """A draft whose documents were made otherwise is rejected, not given some other code."""
    half = draft(author_of(), 7, Scaling(generalize=3, expand=3), until="scale")
    with pytest.raises(Rejected, match="no tool of this author"):
        asyncio.run(author_of().deploy(half))


def test_every_document_is_compact_at_first(drafts: list[Draft]):
    """Stage 2: as many documents as steps, with the function's inputs and nothing else, all of them required."""
    author = author_of()
    for index in range(12):
        found = draft(author, index, until="document")
        assert len(found.documents) == len(found.scenario.steps)
        for document in found.documents:
            assert document.parameters["required"] == [*cast("dict[str, Any]", document.parameters["properties"])]


def test_merging_is_recorded_and_loses_no_step(drafts: list[Draft]):
    """Parallel questions share tools: the same function asked twice, or different facts told apart by an enum."""
    author = author_of()
    kinds: Counter[str] = Counter()
    for found in drafts:
        merges = [change for change in found.changes if change.strategy == "merge"]
        if not merges:
            continue
        merged = draft(author, found.brief.index, until="integrate")
        documents = {document.name: document for document in merged.documents}
        for change in merges:
            calls = [call for call in merged.calls if call.tool == change.tool]
            assert len(calls) == len(change.before) >= 2
            answers = [str(step.answer.value) for step in merged.scenario.steps if step.id in {c.step for c in calls}]
            assert len(set(answers)) == len(answers)
            enums = [p for p, s in properties(merged)[change.tool].items() if "enum" in s]
            kinds["selector" if enums else "same function"] += 1
            assert change.tool in documents
    assert kinds["selector"] >= 2
    assert kinds["same function"] >= 5


def test_what_carries_an_earlier_answer_is_no_choice(drafts: list[Draft]):
    """A reference stands in a required parameter that is no enum, no boolean and has no default."""
    carried: Counter[str] = Counter()
    for found in drafts:
        documents = {document.name: document.parameters for document in found.documents}
        for call in found.calls:
            for name, value in call.arguments.items():
                if any(True for _ in references(value)):
                    schema = properties(found)[call.tool][name]
                    assert not schema.keys() & {"enum", "default"}
                    assert schema["type"] != "boolean"
                    assert name in cast("list[str]", documents[call.tool]["required"])
                    carried[schema["type"]] += 1
    assert carried["string"] > 10 * carried["object"] > 0
    assert carried["array"] > 0


def test_distractors_are_near_and_far(drafts: list[Draft]):
    """Half as many candidates again as are needed: about the scenario's types and others, none that a step asks."""
    author = author_of()
    near: Counter[bool] = Counter()
    for found in drafts[:40]:
        smith = author._smith(found.brief.index)
        wanted = len(found.documents) - len(found.gold_tools)
        candidates = smith.distractors(FTRL.scaling, wanted)
        assert len(candidates) == math.ceil(1.5 * wanted)
        asked = {look.function.id for look in smith.plan.lookups}
        types = {look.function.subject for look in smith.plan.lookups}
        for design in candidates.values():
            assert not asked & {function.id for function in design.aspects}
            near[design.function.subject in types] += 1
    assert 0.2 < near[True] / near.total() < 0.8


# --- code ----------------------------------------------------------------------------------------------------------


def test_tools_have_real_tables(drafts: list[Draft], sandbox: Sandbox):
    """A gold call gives its answer, an unknown name an error without an answer, and another name of the same table
    another plausible answer."""
    told = 0
    for found in drafts[:16]:
        answers = {step.id: step.answer for step in found.scenario.steps}
        sources = {call.tool: found.sources[call.tool] for call in found.calls}
        goldens = [step.answer for step in found.scenario.steps]
        with sandbox.session(sources) as session:
            for call in found.calls:
                arguments = cast("dict[str, Any]", resolve(call.arguments, answers))
                result = session.call(call.tool, arguments)
                assert result.error is None
                assert holds(answers[call.step], result.content)
                first = next(iter(arguments))
                told_of = re.search(r"no \w+(?: \w+)* (?:named|of this name)", sources[call.tool])
                if not isinstance(arguments[first], str) or not told_of:
                    continue
                wrong = session.call(call.tool, {**arguments, first: "Nobody Atall"})
                assert re.search("Nobody Atall|of this name", wrong.text)
                assert not any(holds(golden, wrong.text) for golden in goldens)
                names = set(re.findall(r'^ +"([^",]+)": |^ +([^|"]+) \| ', sources[call.tool], re.MULTILINE))
                names = {keyed or listed for keyed, listed in names} - {arguments[first].casefold()}
                names = {name for name in names if not holds(answers[call.step], name)}
                others = session.batch([(call.tool, {**arguments, first: name}) for name in sorted(names)])
                right = [r.text for r in others if not r.error and "error" not in r.text and r.text != result.text]
                told += len(right)
                assert not any(holds(answers[call.step], text) for text in right)
    assert told > 100


def test_every_parameter_has_a_trial(drafts: list[Draft]):
    """For each tool a call with all its required parameters, and another value for every parameter."""
    for found in drafts:
        trials = {trial.tool: trial for trial in found.trials}
        for document in found.documents:
            parameters = cast("dict[str, Any]", document.parameters["properties"])
            trial = trials[document.name]
            assert set(trial.variants) == set(parameters)
            assert set(trial.arguments) == set(cast("list[str]", document.parameters["required"]))


def test_sources_do_not_all_look_alike(drafts: list[Draft]):
    """Errors are raised in some and returned in others; tables are JSON, lines of text and dicts; arguments are checked
    one by one or by rules in a text."""
    sources = [source for found in drafts for source in found.sources.values()]
    for sign in (
        "raise ValueError(",
        'return {"error"',
        "json.loads(",
        "re.findall(",
        "columns = ",
        ".items()",
        "Args:",
        "for name, *cells in",
        "label, kind, *options",
        "must be one of",
    ):
        share = sum(sign in source for source in sources) / len(sources)
        assert 0.01 < share < 0.95, sign


def test_optional_parameters_can_be_combined(drafts: list[Draft], sandbox: Sandbox):
    """Any of them together give a result or an error of the tool's own: no code of one stumbles over another's."""
    rng = generator("test", "combined")
    broken: list[str] = []
    for found in drafts[:60]:
        calls: list[tuple[str, dict[str, Any]]] = []
        for trial in found.trials:
            optional = [name for name in trial.variants if name not in trial.arguments]
            for _ in range(4):
                chosen = [name for name in optional if rng.random() < 0.6]
                calls.append((trial.tool, {**trial.arguments, **{name: trial.variants[name] for name in chosen}}))
        with sandbox.session(found.sources) as session:
            for (tool, arguments), result in zip(calls, session.batch(calls), strict=True):
                own = re.match(
                    r"raised: ValueError: (?!Invalid|Unknown|could not|too many|not enough)", result.error or ""
                )
                if result.error and not own:
                    broken.append(f"{tool}({arguments}): {result.error}")
    assert broken == []
