"""Stages 2 to 5 for one plan: each stage is a list of designs, and the gold calls written for them.

documented ──► integrated ──► scaled ──► + distractors ──► deployed
one a step     merged         expanded,   other facts,      sources and
                              retyped     calculators       trials
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import NamedTuple, cast

from pydantic import JsonValue

from toolfoundry.build.authors.procedural.design import Design, Form, Part, Site, inputs_of, key_of, pick, result_kind
from toolfoundry.build.authors.procedural.documents import plain_form, retyped_form, written
from toolfoundry.build.authors.procedural.facets import conditions, fitting, local_names, make_part
from toolfoundry.build.authors.procedural.facts import Facts
from toolfoundry.build.authors.procedural.naming import base_description, base_name, wide_description, wide_name
from toolfoundry.build.authors.procedural.plan import Function, Input, Lookup, Plan
from toolfoundry.build.authors.procedural.profile import Profile, Span
from toolfoundry.build.authors.procedural.sources import RESERVED, Limits, write_source
from toolfoundry.build.decompose import kind_of
from toolfoundry.build.draft import Change, Strategy, SymbolicCall
from toolfoundry.build.scaling import Scaling
from toolfoundry.computations import ComputationError, compute
from toolfoundry.seeds import generator
from toolfoundry.symbolic import references, resolve
from toolfoundry.types import ScenarioKind, Trial

__all__ = ["Toolsmith", "Workpiece"]

# How often a kind of optional parameter is drawn, at retype level 2; tuned to the published test set's counts.
_WEIGHTS = {
    "boolean": 20.5,
    "enum": 29.0,
    "text": 33.0,
    "date": 2.4,
    "code": 0.32,
    "object": 4.2,
    "number": 3.2,
    "array": 2.9,
    "integer": 2.6,
}
_TEXTS = ("text", "date")
_TOO_EARLY = "1801-01-01"  # calculators refuse what lies long before their gold dates
_SPREAD = 1.7  # standard deviation of a tool's number of parameters
_SELECTORS = "attribute aspect fact property field detail requested_fact information item".split()
_SELECTOR_TEXTS = (
    "Which fact is wanted.",
    "The fact to return.",
    "Selects the piece of information.",
    "What to tell about it.",
)
_GOLD_SELECTORS: dict[ScenarioKind, float] = {
    "single_hop": 0.3,
    "parallel_single_hop": 0.3,
    "multi_hop": 0.13,
    "parallel_multi_hop": 0.18,
}


class Workpiece(NamedTuple):
    """The tools of one stage: designs in order, which of them answers each lookup, and what was changed.

    aspects: for each lookup the index of its fact in its design.
    """

    designs: tuple[Design, ...]
    places: tuple[int, ...]
    aspects: tuple[int, ...]
    calls: tuple[SymbolicCall, ...]
    changes: tuple[Change, ...] = ()


class Toolsmith:
    """Makes the tools of one plan. Everything is drawn from the plan's seed and the scaling."""

    def __init__(self, plan: Plan, profile: Profile) -> None:
        self.plan, self.profile = plan, profile
        self.facts = Facts(plan)
        self.kind: ScenarioKind = kind_of(plan.decomposition.steps)
        self._answers = {step.id: step.answer for step in plan.decomposition.steps}
        self._inputs = [
            cast("dict[str, JsonValue]", resolve(dict(look.arguments), self._answers)) for look in plan.lookups
        ]
        self._documented: Workpiece | None = None
        self._integrated: Workpiece | None = None
        self._scaled: tuple[Scaling, Workpiece] | None = None
        self._extended: tuple[Scaling, int, dict[str, Design]] | None = None

    def _rng(self, *purpose: str | int) -> random.Random:
        return generator(*self.plan.seed, "tools", *purpose)

    # --- stage 2 ---------------------------------------------------------------------------------------------------

    def documented(self) -> Workpiece:
        """One design for each lookup, under distinct names."""
        if self._documented is None:
            taken: set[str] = set()
            designs = [self._base(look, place, taken) for place, look in enumerate(self.plan.lookups)]
            self._documented = self._workpiece(designs, range(len(designs)), [0] * len(designs), ())
        return self._documented

    def _base(self, look: Lookup, place: int, taken: set[str]) -> Design:
        rng = self._rng("document", look.step)
        name = base_name(look.function, rng)
        if name in taken:
            name = wide_name([look.function], "", rng, taken)
        taken.add(name)
        return self._plain(look.step, name, look.function, self._inputs[place], rng)

    def _plain(
        self, identity: str, name: str, function: Function, base: dict[str, JsonValue], rng: random.Random
    ) -> Design:
        """A tool with the inputs of one function and nothing else."""
        design = Design(
            id=identity,
            name=name,
            description=base_description(function, rng),
            aspects=(function,),
            keys=(_key(function),),
            selector="",
            selector_text="",
            forms=tuple(plain_form(given) for given in inputs_of(function)),
            parts=(),
            record=False,
            base=base,
            aspect=0,
        )
        return design._replace(description=design.description + _limits_said(self._limits(design)))

    # --- stage 3 ---------------------------------------------------------------------------------------------------

    def integrated(self) -> Workpiece:
        """The same function asked twice is one tool; of parallel questions, so are facts about one type of subject."""
        if self._integrated is None:
            self._integrated = self._integrate(self.documented())
        return self._integrated

    def _integrate(self, before: Workpiece) -> Workpiece:
        lookups = self.plan.lookups
        groups: dict[str, list[int]] = {}
        for place, look in enumerate(lookups):
            groups.setdefault(self._merging(look), []).append(place)
        designs: list[Design] = []
        places, aspects = [0] * len(lookups), [0] * len(lookups)
        changes: list[Change] = []
        taken = {design.name for design in before.designs}
        for members in groups.values():
            functions = list(dict.fromkeys(lookups[place].function for place in members))
            first = before.designs[members[0]]
            if len(members) > 1:
                first = self._merge(first, functions, taken)
                taken.add(first.name)
                what = "the same function, asked again" if len(functions) == 1 else "facts about subjects of one type"
                names = tuple(before.designs[place].name for place in members)
                changes.append(Change(strategy="merge", tool=first.name, detail=what, before=names))
            for place in members:
                places[place] = len(designs)
                aspects[place] = functions.index(lookups[place].function)
            designs.append(first)
        return self._workpiece(designs, places, aspects, changes)

    def _merging(self, look: Lookup) -> str:
        """What has the same text here becomes one tool."""
        parallel = self.kind == "parallel_single_hop" or self.kind == "parallel_multi_hop"
        function = look.function
        if not parallel or function.computation or len(function.inputs) > 1:
            return function.id
        share = self.profile.merged if self.kind == "parallel_single_hop" else self.profile.merged / 10
        merged = self._rng("merge", function.subject).random() < share
        return f"about {function.subject}" if merged else function.id

    def _merge(self, first: Design, functions: Sequence[Function], taken: set[str]) -> Design:
        rng = self._rng("merge", first.id)
        if len(functions) == 1:
            return first._replace(name=wide_name(functions, "", rng, taken))
        keys = _keys(functions)
        selector = _free(_SELECTORS, {form.name for form in first.forms} | set(keys), rng)
        return first._replace(
            name=wide_name(functions, selector, rng, taken),
            description=wide_description(functions, keys, selector, rng),
            aspects=tuple(functions),
            keys=keys,
            selector=selector,
            selector_text=pick(rng, _SELECTOR_TEXTS),
        )

    # --- stage 4 ---------------------------------------------------------------------------------------------------

    def scaled(self, scaling: Scaling) -> Workpiece:
        """The gold tools generalised, expanded and retyped."""
        if self._scaled is None or self._scaled[0] != scaling:
            before = self.integrated()
            kept = self._as_said(before)
            taken = {design.name for design in before.designs} if not scaling.generalize else set[str]()
            designs: list[Design] = []
            order: list[list[int]] = []
            for place, design in enumerate(before.designs):
                rng = self._rng("scale", design.id, *_levels(scaling))
                chance = _GOLD_SELECTORS[self.kind]
                made, shuffled = self._scale(design, scaling, kept[place], chance, taken, rng)
                taken.add(made.name)
                designs.append(made)
                order.append(shuffled)
            aspects = [order[place].index(aspect) for place, aspect in zip(before.places, before.aspects, strict=True)]
            changes = [
                Change(strategy=cast("Strategy", strategy), tool=new.name, detail=detail, before=(old.name,))
                for old, new in zip(before.designs, designs, strict=True)
                for strategy, detail in new.notes
            ]
            self._scaled = scaling, self._workpiece(designs, before.places, aspects, changes)
        return self._scaled[1]

    def _as_said(self, work: Workpiece) -> list[set[str]]:
        """For each design the inputs that stay as they are said: answers of earlier steps, and dates of the question
        (whose parts do not stand there)."""
        kept: list[set[str]] = [set() for _ in work.designs]
        for place, look in zip(work.places, self.plan.lookups, strict=True):
            kept[place] |= {name for name, value in look.arguments.items() if any(True for _ in references(value))}
            kept[place] |= {given.name for given in look.function.inputs if given.value.kind == "date"}
        return kept

    def _scale(
        self, design: Design, scaling: Scaling, kept: set[str], chance: float, taken: set[str], rng: random.Random
    ) -> tuple[Design, list[int]]:
        """A scaled design, and which of the old facts each of its facts was (those that are new come after all)."""
        function = design.function
        aspects, keys = list(design.aspects), list(design.keys)
        selector = design.selector
        widened = ""
        wide = scaling.generalize >= 2 and not selector and _may_select(function)
        if wide and rng.random() < (chance if scaling.generalize == 2 else max(chance, 0.6)):
            more = self._others(function, aspects, rng)[: rng.randint(1, 3)]
            if more:
                aspects += more
                keys = [*_keys(aspects)]
                selector = _free(_SELECTORS, {given.name for given in function.inputs} | set(keys), rng)
                widened = f"covers {len(aspects)} facts, told apart by {selector}"
        order = [*range(len(aspects))]
        rng.shuffle(order)
        aspects, keys = [aspects[i] for i in order], [keys[i] for i in order]
        alone = len(function.inputs) == 1
        forms = [
            retyped_form(given, scaling.retype, given.name in kept, alone, rng, renamed=scaling.generalize > 0)
            for given in inputs_of(function)
        ]
        if self._easily_guessed(function):
            forms = [form._replace(schema={k: v for k, v in form.schema.items() if k != "format"}) for form in forms]
        if not function.computation and selector and selector in {form.name for form in forms}:
            selector = _free(_SELECTORS, {form.name for form in forms} | set(keys), rng)
        name, description = design.name, design.description
        if scaling.generalize:
            name = wide_name([aspects[order.index(0)], *aspects], selector, rng, taken)
            description = wide_description(aspects, keys, selector, rng) + _limits_said(self._limits(design))
        made = design._replace(
            name=name,
            description=description,
            aspects=tuple(aspects),
            keys=tuple(keys),
            selector=selector,
            selector_text=design.selector_text or pick(rng, _SELECTOR_TEXTS),
            forms=tuple(forms),
            record=rng.random() < 0.5,
            aspect=order.index(design.aspect),
        )
        gold = not design.id.startswith("distractor")
        parts = self._expand(made, scaling, gold, rng) if scaling.expand else ()
        notes: list[tuple[str, str]] = []
        if scaling.generalize:
            notes.append(("generalize", widened or "name and description widened"))
        if parts:
            notes.append(("expand", f"{len(parts)} optional parameters: {', '.join(part.name for part in parts)}"))
        typed = [
            form.name for form, given in zip(forms, function.inputs, strict=True) if _retyped(form, plain_form(given))
        ]
        typed += [part.name for part in parts if part.kind != "text"]
        if typed and scaling.retype:
            notes.append(("retype", f"no longer plain text: {', '.join(typed)}"))
        if not notes and name != design.name:
            notes.append(("generalize", "name widened"))
        return made._replace(parts=parts, notes=tuple(notes)), order

    def _easily_guessed(self, function: Function) -> bool:
        """Whether the date that everybody tries first gives an answer: then the schema does not invite one."""
        if not function.computation or [given.value.kind for given in function.inputs] != ["date"]:
            return False
        return self.facts.is_golden(compute(function.computation, {function.inputs[0].name: "2000-01-01"}).value)

    def _others(self, function: Function, besides: Sequence[Function], rng: random.Random) -> list[Function]:
        """Other facts about the same subject that no step asks for, in random order."""
        taken = {other.id for other in besides}
        free = [
            other
            for other in self.plan.world.functions(function.subject)
            if len(other.inputs) == 1 and other.id not in taken and other.id not in self.facts.gold_functions
        ]
        rng.shuffle(free)
        return free

    def _expand(self, design: Design, scaling: Scaling, gold: bool, rng: random.Random) -> tuple[Part, ...]:
        """Optional parameters up to a number drawn from the profile."""
        required = len(design.forms) + bool(design.selector)
        wanted = _parameters(self.profile.parameters, scaling, gold, rng) - required
        site = self._site(design, rng)
        kinds, chances = _chances(scaling.retype)
        taken = (
            {form.name for form in design.forms} | set(design.keys) | {given.name for given in design.function.inputs}
        )
        taken |= {design.selector, design.function.computation, *_own_names()}
        groups: set[str] = set()
        parts: list[Part] = []
        met = conditions(site)
        misses = 0
        while len(parts) < wanted and misses < 40:
            choice = fitting(rng.choices(kinds, cum_weights=chances)[0], met)
            facet = pick(rng, choice) if choice else None
            part = make_part(facet, site, rng, taken) if facet and facet.excludes not in groups else None
            if facet is None or part is None:
                misses += 1
                continue
            groups.add(facet.excludes)
            taken.add(part.name)
            taken.update(column.name for column in part.columns)
            parts.append(part)
        rng.shuffle(parts)
        return tuple(parts)

    def _site(self, design: Design, rng: random.Random) -> Site:
        function = design.function
        single = len(function.inputs) == 1 and not function.computation
        others = self._others(function, design.aspects, rng) if single else []
        free = {key_of(given.name) for given in function.inputs} | set(design.keys)
        value = self._value(design)
        return Site(
            function=function,
            kind="mixed" if design.selector else result_kind(function),
            key="value" if design.selector else design.keys[0],
            noun="result" if design.selector else function.noun,
            subject=function.subject,
            value=value,
            unit="" if design.selector else function.output.unit,
            person=not design.selector and function.output.entity == "person",
            others=tuple(other for other in others if key_of(other.noun) not in free),
            record=design.record,
            table=not function.computation,
            peers=tuple(self.facts.few(function.subject)[1:3]) if not function.computation else (),
        )

    def _value(self, design: Design) -> JsonValue:
        """What the call that trials start from gives."""
        return self.facts.value(design.function, _inputs_of(design.function, design.base))

    # --- distractors -----------------------------------------------------------------------------------------------

    def tool_count(self) -> int:
        """How many tools the environment is to have: as the profile says, given how many answer a step."""
        span = self.profile.tools[self.kind]
        gold = len(self.integrated().designs)
        goals = self.profile.goals[self.kind].mean
        share = 0.68 if self.kind == "parallel_single_hop" else 1.0
        mean = span.mean + 0.6 * (gold - share * goals)
        return max(_draw(span.low, span.high, mean, self._rng("count")), gold)

    def distractors(self, scaling: Scaling, needed: int) -> dict[str, Design]:
        """Candidates by name: half as many again as are needed."""
        key = (scaling, needed)
        if self._extended is None or self._extended[:2] != key:
            self._extended = (*key, self._extend(scaling, needed))
        return self._extended[2]

    def _extend(self, scaling: Scaling, needed: int) -> dict[str, Design]:
        rng = self._rng("distractors", *_levels(scaling))
        taken = {design.name for design in self.scaled(scaling).designs}
        near, far = self._pools()
        found: dict[str, Design] = {}
        number = 0
        used: set[str] = set()
        chance = 0.54 * (self.profile.required[self.kind] - 1)  # a little over half: many inputs are harder to find
        while len(found) < math.ceil(1.5 * needed) and number < 6 * needed:
            number += 1
            pool = near if rng.random() < scaling.near and near else far
            required = 1 + sum(rng.random() < chance for _ in range(2))
            function = self._pick(pool, required, used, rng)
            if function is None:
                continue
            used.add(function.id)
            design = self._distractor(function, required, scaling, number, taken, rng)
            if design is not None:
                taken.add(design.name)
                found[design.name] = design
        return found

    def _pools(self) -> tuple[list[Function], Sequence[Function]]:
        """Facts about the types of the scenario with computations of its domains, and every function there is."""
        asked = [look.function for look in self.plan.lookups]
        subjects = dict.fromkeys(kind for function in asked for kind in (function.subject, function.output.entity))
        domains = {function.domain for function in asked if function.computation}
        everything = self.plan.world.all_functions()
        near = [function for subject in subjects if subject for function in self.plan.world.functions(subject)]
        if domains:
            near += [function for function in everything if function.computation and function.domain in domains]
        return near, everything

    def _pick(self, pool: Sequence[Function], required: int, used: set[str], rng: random.Random) -> Function | None:
        """A function with about that many inputs; a fact of one input can have a selector beside it."""
        for _ in range(12):
            function = pick(rng, pool)
            size = len(function.inputs)
            fits = size == required or (size == 1 and required == 2 and _may_select(function) and rng.random() < 0.4)
            if fits and function.id not in used and function.id not in self.facts.gold_functions:
                return function
        return None

    def _distractor(
        self, function: Function, required: int, scaling: Scaling, number: int, taken: set[str], rng: random.Random
    ) -> Design | None:
        try:
            base = self._sample(function, rng) if function.computation else self.facts.example(function, rng)
        except LookupError:
            return None
        design = self._plain(f"distractor {number}", base_name(function, rng), function, base, rng)
        chance = 1.0 if len(function.inputs) < required else 0.0
        return self._scale(design, scaling, set(), chance, taken, rng)[0]

    def _sample(self, function: Function, rng: random.Random) -> dict[str, JsonValue]:
        """Inputs of a computation whose result is no golden. Raises LookupError where none are found."""
        for _ in range(6):
            arguments = {given.name: self._sampled(given.value.kind, given, rng) for given in function.inputs}
            try:
                value = compute(function.computation, arguments).value
            except ComputationError:
                continue
            if not self.facts.is_golden(value) and value not in ([], 0, ""):
                return arguments
        raise LookupError(function.id)

    def _sampled(self, kind: str, given: Input, rng: random.Random) -> JsonValue:
        match kind:
            case "numbers":
                return [round(rng.uniform(12, 950), 1) for _ in range(3)]
            case "dates":
                return [
                    f"{rng.randint(1905, 2015)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}" for _ in range(3)
                ]
            case "names":
                return [*rng.sample(self.facts.few("person"), 3)]
            case "text":
                return pick(rng, self.facts.few("person"))
            case _:
                return self.facts.qualifier(given, rng)

    # --- stage 5 ---------------------------------------------------------------------------------------------------

    def source(self, design: Design, work: Workpiece) -> str:
        """The Python source of one tool; `work` has the gold calls."""
        rng = self._rng("source", design.id, design.name)
        if design.function.computation:
            return write_source(design, None, self._limits(design), rng)
        gold = [
            self._inputs[index] for index, place in enumerate(work.places) if work.designs[place].name == design.name
        ]
        return write_source(design, self.facts.table(design, gold, rng), Limits(), rng)

    def _limits(self, design: Design) -> Limits:
        """What a calculator accepts: its gold inputs and not much more, so that shifted inputs are refused."""
        function = design.function
        if not function.computation:
            return Limits()
        numbers: list[float] = []
        years: list[int] = []
        asked = [i for i, look in zip(self._inputs, self.plan.lookups, strict=True) if look.function.id == function.id]
        for inputs in [*asked, design.base]:
            for given in function.inputs:
                value = inputs[given.name]
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, int | float) and not isinstance(part, bool):
                        numbers.append(abs(part))
                    elif given.value.kind in ("date", "dates"):
                        years.append(int(str(part)[:4]))
        highest = _above(max(numbers)) if numbers else 0
        if self.facts.is_golden(highest):
            highest += 1
        first, last = ((min(years) - 25) // 10 * 10, (max(years) + 19) // 10 * 10) if years else (0, 0)
        while years and (self.facts.is_golden(first) or self.facts.is_golden(last)):  # a limit must not tell an answer
            first, last = first - 1, last + 1
        return Limits(highest, first, last)

    def trial(self, design: Design) -> Trial:
        """A call that works, and for every parameter another value with which it gives another result."""
        inputs = {given.name: design.base[given.name] for given in design.function.inputs}
        arguments = {
            form.name: written(form, inputs[given.name])
            for form, given in zip(design.forms, design.function.inputs, strict=True)
        }
        variants: dict[str, JsonValue] = {}
        for form, given in zip(design.forms, design.function.inputs, strict=True):
            # the parts of a date may stand in the result, as a year does; a date that is refused shows more
            other = _TOO_EARLY if form.way == "parts" else self._elsewhere(design, given)
            variants[form.name] = written(form, other)
        if design.selector:
            arguments[design.selector] = design.keys[design.aspect]
            variants[design.selector] = next(key for i, key in enumerate(design.keys) if i != design.aspect)
        variants |= {part.name: part.witness for part in design.parts}
        return Trial.model_construct(tool=design.name, arguments=arguments, variants=variants)

    def _elsewhere(self, design: Design, given: Input) -> JsonValue:
        """Another value of one input, with which the call gives something else, or an error."""
        value = design.base[given.name]
        function = design.function
        if not function.computation:
            if given.value.kind == "entity":
                return "Nobody Known"
            return next(_variations(given, value))
        now = self._value(design)
        for other in _variations(given, value):
            try:
                then = compute(function.computation, {**_inputs_of(function, design.base), given.name: other}).value
                # a result that only quotes its input shows nothing: 11 months later is the 11th month as well
                if str(then).replace(str(other), "~") != str(now).replace(str(value), "~"):
                    return other
            except ComputationError:
                return other
        return value

    # --- shared ----------------------------------------------------------------------------------------------------

    def _workpiece(
        self, designs: Sequence[Design], places: Sequence[int], aspects: Sequence[int], changes: Sequence[Change]
    ) -> Workpiece:
        calls: list[SymbolicCall] = []
        for look, place, aspect in zip(self.plan.lookups, places, aspects, strict=True):
            design = designs[place]
            pairs = zip(design.forms, design.function.inputs, look.function.inputs, strict=True)
            arguments = {form.name: written(form, look.arguments[mine.name]) for form, _, mine in pairs}
            if design.selector:
                arguments[design.selector] = design.keys[aspect]
            calls.append(SymbolicCall(step=look.step, tool=design.name, arguments=arguments))
        return Workpiece(tuple(designs), tuple(places), tuple(aspects), tuple(calls), tuple(changes))


# --- words and numbers -----------------------------------------------------------------------------------------------


@cache
def _own_names() -> frozenset[str]:
    """Names that the code of tools uses for itself."""
    return local_names() | RESERVED


@lru_cache(maxsize=8)
def _chances(retype: int) -> tuple[list[str], list[float]]:
    """The kinds of optional parameters, and their weights added up."""
    share = (0.0, 0.43, 1.0, 1.5)[retype]
    weights = {kind: weight * (1 if kind in _TEXTS else share) for kind, weight in _WEIGHTS.items()}
    if not share:
        weights["date"] = 0
    return list(weights), list(itertools.accumulate(weights.values()))


def _levels(scaling: Scaling) -> tuple[str, ...]:
    """What of a scaling changes how a tool is made."""
    return (f"{scaling.generalize}{scaling.expand}{scaling.retype}", str(scaling.parameters))


def _key(function: Function) -> str:
    """The field in which the value stands; never the name of an input."""
    key = key_of(function.noun)
    return f"{key}_found" if any(given.name == key for given in function.inputs) else key


def _keys(functions: Sequence[Function]) -> tuple[str, ...]:
    """Distinct fields for several facts."""
    keys: list[str] = []
    for function in functions:
        key = _key(function)
        while key in keys:
            key = f"{key}_{function.id.rpartition('.')[2]}" if key == _key(function) else f"{key}_too"
        keys.append(key)
    return tuple(keys)


def _free(words: Sequence[str], taken: set[str], rng: random.Random) -> str:
    return pick(rng, [word for word in words if word not in taken])


def _may_select(function: Function) -> bool:
    return not function.computation and len(function.inputs) == 1


def _inputs_of(function: Function, arguments: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {given.name: arguments[given.name] for given in function.inputs}


def _retyped(new: Form, old: Form) -> bool:
    plain = {key: value for key, value in new.schema.items() if key != "description"}
    return plain != {key: value for key, value in old.schema.items() if key != "description"}


def _limits_said(limits: Limits) -> str:
    said = f" Numbers up to {limits.highest} are accepted." if limits.highest else ""
    return said + (f" Dates from {limits.first} to {limits.last} are accepted." if limits.first else "")


def _above(number: float) -> int:
    """A round number a little above: less than the number and a third of it, or eleven, more."""
    size = 10 ** max(0, len(str(int(number))) - 2)
    return math.ceil(number * 1.08 / size) * size


def _variations(given: Input, value: JsonValue) -> Iterator[JsonValue]:
    """Other values of an input."""
    match given.value.kind:
        case "choice":
            yield from (choice for choice in given.value.choices if choice != value)
        case "year" | "integer":
            number = cast("int", value)
            yield from (number + 1, number + 7, max(1, number - 1))
        case "number":
            real = cast("float", value)
            yield from (round(real * 0.6 + 0.5, 2), round(real * 1.05, 2), 0.5, -real)
        case "numbers":
            numbers = cast("list[float]", value)
            yield [*(round(number * 0.5 + 1, 1) for number in numbers)]
            yield [*numbers[::-1]]
            yield [0.5, *numbers[1:]]
        case "date":
            yield _later(str(value), 3)
            yield _later(str(value), 11)
            yield f"{str(value)[:8]}{(int(str(value)[8:]) + 9) % 28 + 1:02d}"  # leap years can make up for a day
        case "dates" | "names":  # what is returned may be one of them, so that others would show no effect
            yield []
        case "boolean":
            yield not value
        case _:
            yield from ("Elder Lane", "Oskar Unheard", "A Quiet Northern Entrance")


def _later(date: str, years: int) -> str:
    return f"{int(date[:4]) + years}{date[4:8]}{int(date[8:]) % 28 + 1:02d}"


def _parameters(span: Span, scaling: Scaling, gold: bool, rng: random.Random) -> int:
    """How many parameters a tool is to have; a gold one not far fewer than the level asks for."""
    usual = (0.0, 4.0, span.mean, span.mean + 2)[scaling.expand]
    mean = scaling.parameters or usual
    low = max(span.low, math.ceil((0.6 if scaling.parameters else 0.45) * mean)) if gold else span.low
    return _draw(min(low, math.floor(mean)), max(span.high, math.ceil(mean) + 3), mean, rng)


def _draw(low: int, high: int, mean: float, rng: random.Random) -> int:
    """A whole number from low to high, bell-shaped about the mean."""
    numbers, weights = _bell(low, high, round(mean, 3))
    return rng.choices(numbers, weights)[0]


@lru_cache(maxsize=4096)
def _bell(low: int, high: int, mean: float) -> tuple[range, list[float]]:
    numbers = range(low, high + 1)
    left, right = low - 30.0, high + 30.0
    weights: list[float] = []
    for _ in range(40):
        centre = (left + right) / 2
        weights = [math.exp(-(((number - centre) / _SPREAD) ** 2) / 2) for number in numbers]
        total = math.fsum(weights)
        found = (
            math.fsum(n * w for n, w in zip(numbers, weights, strict=True)) / total
            if total
            else low
            if centre < low
            else high
        )
        left, right = (centre, right) if found < mean else (left, centre)
    return numbers, [float(f"{weight:.9g}") for weight in weights]  # the last digits differ between machines
