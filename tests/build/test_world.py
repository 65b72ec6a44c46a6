from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest

from toolfoundry.build.authors.procedural.catalogue import facts, held, kinds
from toolfoundry.build.authors.procedural.catalogue.computing import computed
from toolfoundry.build.authors.procedural.catalogue.table import table
from toolfoundry.build.authors.procedural.names import CLASSES, PATTERNS, class_of, name_class
from toolfoundry.build.authors.procedural.profile import FTRL
from toolfoundry.build.authors.procedural.scenarios import make_plan
from toolfoundry.build.authors.procedural.world import InventedWorld
from toolfoundry.computations import COMPUTATIONS
from toolfoundry.symbolic import resolve

TITLE_WORDS = {word for kind in ("book", "film") for slot in PATTERNS[kind].slots[:2] for word in slot}


# --- names


@pytest.mark.parametrize("kind", PATTERNS)
def test_a_name_is_a_number_and_can_be_read_back(kind: str):
    pattern = PATTERNS[kind]
    rng = random.Random(kind)
    numbers = [0, 1, pattern.size - 1, *(rng.randrange(pattern.size) for _ in range(150))]
    names = [pattern.name(number) for number in numbers]
    assert [pattern.number(name) for name in names] == numbers
    assert all(2 <= len(name.split()) <= 6 for name in names if "-" not in name)


def test_no_name_can_be_read_as_one_of_another_pattern():
    rng = random.Random(1)
    for kind, pattern in PATTERNS.items():
        for _ in range(60):
            name = pattern.name(rng.randrange(pattern.size))
            readers = [other for other, reader in PATTERNS.items() if reader.number(name) is not None]
            assert readers == [kind], name
            tokens = re.findall(r"\w+", name)
            assert len(tokens) >= 2  # so no name is a single word of another


def test_seeds_and_splits_own_classes_of_names_that_never_meet():
    """Changing this changes which names a published split may contain."""
    owners = [(seed, split) for seed in (0, 1, 2, 77, 2**20 - 1) for split in ("train", "dev", "test")]
    classes = [class_of(seed, split) for seed, split in owners]
    assert len(set(classes)) == len(owners)
    assert class_of(5, "dev") == class_of(5 + 2**20, "dev")  # the stated limit
    rng = random.Random(2)
    for pattern in PATTERNS.values():
        assert pattern.per_class > 2000
        for owned in classes:
            name = pattern.member(owned, rng.randrange(pattern.per_class))
            assert name_class(name) == owned
        assert pattern.number(pattern.member(CLASSES - 1, pattern.per_class - 1)) is not None


def test_names_of_a_class_look_unrelated():
    """Neighbours share no token, and a class of a pattern uses all parts of a slot."""
    pattern = PATTERNS["book"]
    names = [pattern.member(7, index).split() for index in range(400)]
    assert all(a[1] != b[1] or a[2] != b[2] for a, b in pairwise(names))
    assert len({name[1] for name in names}) > 50


def test_a_text_that_no_pattern_gives_has_no_class():
    for text in ("", "Paris", "Tarvel Moskani ", "tarvik moskani", "The Copper Orchard of Velmi"):
        assert name_class(text) is None


# --- catalogue


def test_the_catalogue_is_wide():
    groups = [fact.function.group for fact in facts().values()]
    assert len(kinds()) >= 25
    assert len(groups) >= 190
    assert min(groups.count(group) for group in ("relation", "attribute", "event")) >= 50
    assert len(computed()) >= 40
    assert set(computed()) == set(COMPUTATIONS)


def test_every_fact_and_computation_has_six_wordings_and_every_split_some():
    for name, fact in facts().items():
        words = fact.wordings[""]
        said = [*words.nouns, *words.clauses, *words.mids, *words.owned]
        assert len(set(said)) >= 6, name
        assert len(words.questions) >= 2, name
        assert all(text.count("{}") == 1 for text in [*said, *words.questions]), name
        if fact.function.group == "event":
            assert all(text.count("{q}") == 1 for text in [*said, *words.questions]), name
        shares = [{*fact.wordings[split].nouns, *fact.wordings[split].clauses} for split in ("train", "dev", "test")]
        assert all(shares), name
        assert not shares[0] & shares[1] | shares[0] & shares[2] | shares[1] & shares[2], name
    for name, entry in computed().items():
        assert len(set(entry.wordings)) >= 6, name


def test_the_inputs_of_a_computing_function_are_its_parameters():
    for name, entry in computed().items():
        code = COMPUTATIONS[name].function.__code__
        assert tuple(each.name for each in entry.function.inputs) == code.co_varnames[: code.co_argcount]


def test_values_of_facts_are_worth_asking_for():
    """Few answers can be guessed: many choices, several digits, and no choice that is a word of a title."""
    for name, fact in facts().items():
        output = fact.function.output
        if output.kind == "choice":
            assert len(output.choices) >= 12, name
            assert not {word.title() for choice in output.choices for word in choice.split()} & TITLE_WORDS, name
        elif output.kind in ("number", "integer"):
            assert output.high > output.low > 0, name
            assert (output.high - output.low) * 10**output.decimals >= 50, name


def test_no_choice_is_a_word_of_the_wordings():
    """An answer such as "plumber" must not stand in a question or document for another reason."""
    others = re.sub(r"= of [^|]*\|", "|", "\n".join(table("facts.txt"))).lower()
    said = f" {' '.join(re.findall('[a-z]+', others))} "
    choices = [
        c for fact in facts().values() if fact.function.output.kind == "choice" for c in fact.function.output.choices
    ]
    assert len(choices) == len(set(choices)) + 12  # the rocks of mountains are the stones of towers
    assert not [choice for choice in choices if f" {choice} " in said]


def test_relations_lead_from_every_type_to_every_other():
    edges = {(f.function.subject, f.function.output.entity) for f in facts().values() if f.function.group == "relation"}
    for start in kinds():
        reached = {start}
        for _ in range(len(kinds())):
            reached |= {end for begin, end in edges if begin in reached}
        assert reached == set(kinds()), start


def test_held_out_relations_are_shared_by_no_two_splits():
    shares = [held(split) for split in ("train", "dev", "test")]
    assert sum(map(len, shares)) == len(facts()) == len(set().union(*shares))
    assert len(shares[0]) > len(shares[1])
    assert min(map(len, shares)) >= 70


def test_no_word_of_the_catalogue_can_be_part_of_a_name():
    """So neither a document nor an answer ("rumba") has a word in common with an invented name."""
    words = {
        word
        for name in ("facts.txt", "computations.txt")
        for word in re.findall(r"[a-z]+", "\n".join(table(name)).lower())
    }
    assert len(words) > 1000
    for kind, pattern in PATTERNS.items():
        slots = [slot for slot in pattern.slots if not set(slot) & TITLE_WORDS]
        assert not TITLE_WORDS & {word.title() for word in words}
        for token in (slots,) if len(slots) == 3 else (slots[:2], slots[2:]):
            reader = re.compile("".join(f"(?:{'|'.join(slot)})" for slot in token), re.IGNORECASE)
            assert not [word for word in words if reader.fullmatch(word)], kind


# --- the world


def _plan(index: int = 3, seed: int = 1):
    return make_plan(FTRL, seed, "train", index)


def test_a_fact_is_the_same_whenever_and_wherever_it_is_asked_for():
    world, again = InventedWorld(4, "dev", ("a",)), InventedWorld(4, "dev", ("b",))
    for name, fact in facts().items():
        arguments = {}
        for entry in fact.function.inputs:
            match entry.value.kind:
                case "entity":
                    arguments[entry.name] = PATTERNS[entry.value.entity].member(class_of(4, "dev"), 17)
                case "year":
                    arguments[entry.name] = 1999
                case _:
                    arguments[entry.name] = entry.value.choices[0]
        value = world.value(fact.function, arguments)
        assert value == again.value(fact.function, arguments), name
        output = fact.function.output
        if output.kind == "entity":
            assert PATTERNS[output.entity].number(str(value)) is not None
        elif output.kind in ("number", "integer", "year"):
            assert isinstance(value, float if output.kind == "number" else int)
            assert output.low - 1 < float(str(value)) <= output.high, name
        elif output.kind == "choice":
            assert value in output.choices
    other = InventedWorld(5, "dev", ("a",))
    company = facts()["company.headcount"].function
    assert len({world.value(company, {"company": f"Firm {n}"}) for n in range(50)}) > 40
    assert world.value(company, {"company": "Firm 1"}) != other.value(company, {"company": "Firm 1"})


def test_answers_of_the_scenario_answer_nothing_else():
    for index in range(25):
        plan = _plan(index)
        answers = [lookup.answer.value for lookup in plan.lookups]
        for lookup in plan.lookups:
            if lookup.function.group == "computation":
                continue
            subject = lookup.function.inputs[0]
            for name in plan.world.entities(subject.value.entity, 12, "rows"):
                arguments = {entry.name: lookup.arguments[entry.name] for entry in lookup.function.inputs}
                arguments = {key: 1999 if isinstance(part, dict) else part for key, part in arguments.items()}
                assert plan.world.value(lookup.function, arguments | {subject.name: name}) not in answers


def test_the_world_gives_the_answers_of_its_scenario():
    for index in range(60):
        plan = _plan(index, seed=2)
        answers = {step.id: step.answer for step in plan.decomposition.steps}
        for lookup in plan.lookups:
            assert plan.world.value(lookup.function, resolve(dict(lookup.arguments), answers)) == lookup.answer.value


def test_other_entities_are_new_names_of_the_same_class():
    plan = _plan()
    names = plan.world.entities("town", 40, "rows")
    assert len(set(names)) == 40
    assert plan.world.entities("town", 40, "rows") == names
    assert len(set(names) & set(plan.world.entities("town", 40, "others"))) < 3  # drawn apart, from some 14,000
    assert not set(names) & set(plan.world.known("town"))
    assert {name_class(name) for name in names} == {class_of(1, "train")}


def test_the_names_that_a_scenario_uses_are_known():
    for index in range(40):
        plan = _plan(index)
        for lookup in plan.lookups:
            output = lookup.function.output
            if output.kind == "entity":
                assert lookup.answer.value in plan.world.known(output.entity)
                assert lookup.answer.value not in plan.world.entities(output.entity, 30)
    assert plan.world.known("no such type") == []


def test_functions_are_listed_by_subject_and_held_out_where_asked():
    world = InventedWorld(1, "test", (), restricted=True)
    everything = InventedWorld(1, "test", ())
    assert {f.id for f in everything.functions("town")} == {i for i in facts() if i.startswith("town.")}
    assert {f.id for f in world.functions("town")} == {i for i in held("test") if i.startswith("town.")}
    assert len(everything.all_functions()) == len(facts()) + len(computed())
    assert world.functions("nothing") == ()
