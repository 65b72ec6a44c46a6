"""The catalogue of optional parameters: every one has an effect that execution shows, and none when left alone."""

from __future__ import annotations

from typing import Any, cast

import pytest

from toolfoundry.build.authors.procedural.author import ProceduralAuthor
from toolfoundry.build.authors.procedural.design import Design, Part
from toolfoundry.build.authors.procedural.documents import to_document
from toolfoundry.build.authors.procedural.facets import facets, units
from toolfoundry.build.authors.procedural.profile import FTRL
from toolfoundry.check.executed import failed
from toolfoundry.sandbox import Sandbox
from toolfoundry.schemas import compile_schema
from toolfoundry.seeds import generator
from toolfoundry.types import Trial

KINDS = {"boolean", "enum", "text", "date", "code", "integer", "number", "array", "object"}
RARE = {"truth", "words_boolean"}  # for computations that give a truth value: there are none at present


def test_the_catalogue_is_wide_and_worded_in_several_ways():
    """More than a hundred facets of every kind; each has several names, and most several descriptions."""
    found = facets()
    assert len({facet.id for facet in found}) == len(found) > 100
    assert {facet.kind for facet in found} == KINDS
    assert all(len(set(facet.names)) >= 2 for facet in found)
    assert sum(len(facet.texts) >= 2 for facet in found) > 0.85 * len(found)
    for facet in found:
        assert all(not name.startswith("$") or name.startswith("$c") for name in facet.names)
        assert facet.witness is not None or facet.shown_by


def test_units_begin_with_the_plain_one():
    """The first unit is the one that values are in: the default changes nothing."""
    assert units("km")[0] == "km"
    assert units("cubits") == ()


class Use:
    """One facet in one tool: the tool's source, a call that works, and the parameter."""

    def __init__(self, design: Design, part: Part, source: str, trial: Trial) -> None:
        self.design, self.part, self.source, self.trial = design, part, source, trial


@pytest.fixture(scope="module")
def uses() -> dict[str, list[Use]]:
    """Facet -> two tools that have it: of as many functions of the world as that takes, again and again."""
    author = ProceduralAuthor(FTRL, 31, "train")
    smith = author._smith(0)
    functions = [*smith.plan.world.all_functions()]
    generator("test", "facets").shuffle(functions)
    rare = [function for function in functions if function.output.kind in ("names", "year", "date")]
    functions += 6 * rare  # they have facets of their own
    found: dict[str, list[Use]] = {facet.id: [] for facet in facets() if facet.id not in RARE}
    for number in range(60 * len(functions)):
        function = functions[number % len(functions)]
        rng = generator("test", "facets", number)
        design = smith._distractor(function, 1 + number % 3, FTRL.scaling, number, set(), rng)
        if design is None:
            continue
        for part in [part for part in design.parts if part.facet in found and len(found[part.facet]) < 2]:
            source = smith.source(design, smith.scaled(FTRL.scaling))
            found[part.facet].append(Use(design, part, source, smith.trial(design)))
        if all(len(many) == 2 for many in found.values()):
            break
    return found


def test_every_facet_changes_the_result_and_its_default_does_not(uses: dict[str, list[Use]], sandbox: Sandbox):
    """The witness gives another result than the call without the parameter; the default gives the same."""
    assert {name for name, many in uses.items() if not many} == set()
    all_uses = [use for many in uses.values() for use in many]
    sources = {f"{place}/{use.design.name}": use.source for place, use in enumerate(all_uses)}
    calls: list[tuple[str, dict[str, Any]]] = []
    for tool, use in zip(sources, all_uses, strict=True):
        plain = use.trial.arguments
        default = {} if use.part.default is None else {use.part.name: use.part.default}
        calls += [(tool, plain), (tool, {**plain, use.part.name: use.part.witness}), (tool, {**plain, **default})]
    with sandbox.session(sources) as session:
        results = iter(session.batch(calls))
    idle: list[str] = []
    changed: list[str] = []
    broken: list[str] = []
    for use in all_uses:
        plain, shown, default = next(results), next(results), next(results)
        told = f"{use.part.facet} of {use.design.name}: "
        if failed(plain):
            broken.append(told + plain.text)
        crashed = (shown.error or "").startswith("raised: ") and "ValueError" not in shown.text
        if plain.text == shown.text or crashed:
            idle.append(told + shown.text)
        if default.text != plain.text:
            changed.append(told + default.text)
    assert (broken, idle, changed) == ([], [], [])


def test_witnesses_and_defaults_are_valid_under_their_schemas(uses: dict[str, list[Use]]):
    """What a trial gives is what the document allows."""
    for many in uses.values():
        for use in many:
            validator = compile_schema(to_document(use.design).parameters)
            arguments = cast("dict[str, Any]", use.trial.arguments)
            assert validator.is_valid({**arguments, use.part.name: use.part.witness}), use.part
            if use.part.default is not None:
                assert validator.is_valid({**arguments, use.part.name: use.part.default}), use.part


def test_facets_are_described_without_gaps(uses: dict[str, list[Use]]):
    """No word of a template is left in a document or in code."""
    for many in uses.values():
        for use in many:
            assert "$" not in str(use.part.schema.get("description"))
            assert "$" not in use.source.replace('r"^', "")
            assert "PAIRS" not in use.source
