"""What tools and parameters are called and how documents say what they do: many wordings, all of them plain.

Names are drawn from patterns of verbs, agents and adjectives around a function's subject and noun, so that the same
function has different names in different environments. Nothing here knows an entity's name.
"""

from __future__ import annotations

import random
from collections.abc import Sequence, Set

from toolfoundry.build.authors.procedural.catalogue import UNITS
from toolfoundry.build.authors.procedural.design import key_of
from toolfoundry.build.authors.procedural.plan import Function, Input

__all__ = ["base_description", "base_name", "input_name", "wide_description", "wide_name"]

_VERBS = "get find retrieve look_up fetch identify determine query obtain resolve search check report show tell".split()
_AGENTS = (
    "finder lookup retriever locator resolver service inspector explorer identifier directory register guide index "
    "checker tracker navigator archive desk tool provider reader reporter database catalogue"
).split()
_ADJECTIVES = "enhanced advanced comprehensive detailed extended universal unified general flexible smart".split()
_COMPUTES = "calculate compute work_out evaluate derive determine".split()
_CALCULATORS = "calculator tool engine solver service evaluator helper_service processor".split()
_GROUPS = "facts profile details information data record attributes particulars".split()

_BASE = (
    "Finds {what}.",
    "Looks up {what}.",
    "Returns {what}.",
    "Tells {what}.",
    "Retrieves {what}.",
    "Gives {what}.",
)
_WIDE = (
    "Looks up {what} in a curated register.",
    "A tool designed to find {what}, with options for filtering and presenting the result.",
    "Retrieves {what} from a maintained data set and returns it in the form that is asked for.",
    "Determines {what}.",
    "Provides {what}, based on recorded entries.",
    "An advanced service that returns {what}.",
    "Searches recorded entries for {what}.",
    "Identifies {what}. Optional parameters refine the search and the form of the answer.",
    "Comprehensive look-up of {what}, including optional context from the same entry.",
    "Reports {what} as it is recorded.",
)
_CALCULATES = (
    "Works out {what}.",
    "Calculates {what}.",
    "A calculator that gives {what}, with options for the form of the result.",
    "Computes {what}. Optional parameters change how the result is presented.",
    "Determines {what}.",
)
_MERGED = (
    "Looks up facts about {a} {subject}: {facts}. The parameter {selector} says which one is wanted.",
    "Retrieves one of several facts about {a} {subject}, chosen by {selector}: {facts}.",
    "Unified access to what is recorded about {a} {subject} ({facts}). Choose the fact by {selector}.",
    "A general tool for questions about {a} {subject}. It knows {facts}; {selector} tells them apart.",
)
_MANNERS = (
    "Names are matched without regard to upper and lower case.",
    "An unknown name gives an error.",
    "The full name is needed; parts of names are not matched.",
    "Each call answers for one name.",
)


def base_name(function: Function, rng: random.Random) -> str:
    """A short name for the document of one function."""
    noun, subject = key_of(function.noun), function.subject
    if function.computation:
        return rng.choice((f"{rng.choice(_COMPUTES)}_{noun}", f"{noun}_{rng.choice(_CALCULATORS)}"))
    core = _core(subject, noun)
    return rng.choice((f"get_{core}", f"find_{core}", f"{core}_finder", f"{core}_lookup", f"look_up_{core}"))


def wide_name(functions: Sequence[Function], selector: str, rng: random.Random, taken: Set[str]) -> str:
    """A name for a scaled tool, not among those taken."""
    while True:
        name = _wide_name(functions, selector, rng)[:64].strip("_")
        if name not in taken:
            return name


def _wide_name(functions: Sequence[Function], selector: str, rng: random.Random) -> str:
    function = functions[0]
    noun, subject = key_of(function.noun), key_of(function.subject)
    adjective = f"{rng.choice(_ADJECTIVES)}_" if rng.random() < 0.3 else ""
    if function.computation:
        pattern = rng.randrange(3)
        if pattern == 0:
            return f"{adjective}{noun}_{rng.choice(_CALCULATORS)}"
        tail = rng.choice(("", "", "_value", "_from_values", "_result"))
        return f"{rng.choice(_COMPUTES)}_{noun}{tail}" if pattern == 1 else f"{adjective}{function.domain}_{noun}_tool"
    if selector:
        group = rng.choice(_GROUPS)
        other = next((key_of(f.noun) for f in functions[::-1] if f != function), "")
        if other and rng.random() < 0.3:
            return f"{subject}_{noun}_and_{other}_{rng.choice(_AGENTS)}"
        if rng.random() < 0.3:
            return f"{rng.choice(_VERBS)}_{subject}_{group}"
        return f"{adjective}{subject}_{group}_{rng.choice(_AGENTS)}"
    core = _core(subject, noun)
    pattern = rng.randrange(6)
    if pattern <= 1:
        return f"{adjective}{core}_{rng.choice(_AGENTS)}"
    if pattern == 2:
        return f"{rng.choice(_VERBS)}_{adjective}{core}"
    if pattern == 3:
        return f"{adjective}{noun}_{rng.choice(_AGENTS)}"
    if pattern == 4:
        return f"{rng.choice(_VERBS)}_{noun}_of_{subject}"
    return f"{key_of(function.domain)}_{core}_{rng.choice(_AGENTS)}"


def _core(subject: str, noun: str) -> str:
    subject = key_of(subject)
    return noun if subject in noun.split("_") else f"{subject}_{noun}"


def base_description(function: Function, rng: random.Random) -> str:
    """One sentence that says what the function gives, with its unit."""
    templates = _CALCULATES[:2] if function.computation else _BASE
    return rng.choice(templates).format(what=function.summary) + _unit_said(function)


def wide_description(functions: Sequence[Function], keys: Sequence[str], selector: str, rng: random.Random) -> str:
    """One to three sentences for a scaled tool."""
    function = functions[0]
    if selector:
        facts = ", ".join(key.replace("_", " ") for key in keys)
        subject = function.subject.replace("_", " ")
        article = "an" if subject[:1] in "aeiou" else "a"
        text = rng.choice(_MERGED).format(a=article, subject=subject, facts=facts, selector=selector)
        units = [
            f"{key.replace('_', ' ')} in {_unit(f)}" for key, f in zip(keys, functions, strict=True) if f.output.unit
        ]
        return f"{text} Units: {', '.join(units)}." if units else text
    templates = _CALCULATES if function.computation else _WIDE
    text = rng.choice(templates).format(what=function.summary) + _unit_said(function)
    if not function.computation and rng.random() < 0.4:
        text = f"{text} {rng.choice(_MANNERS)}"
    return text


def _unit_said(function: Function) -> str:
    return f" The result is in {_unit(function)}." if function.output.unit else ""


def _unit(function: Function) -> str:
    return UNITS.get(function.output.unit, function.output.unit)


def input_name(given: Input, rng: random.Random) -> str:
    """What a parameter for this input may be called in a scaled tool."""
    name = given.name
    if given.value.kind == "entity":
        return rng.choice((name, name, name, f"{name}_name", f"{name}_name", f"name_of_{name}", f"target_{name}"))
    if given.value.kind == "year":
        return rng.choice((name, name, f"in_{name}", f"{name}_of_interest")) if name == "year" else name
    return name
