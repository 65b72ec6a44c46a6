"""The author of the `tiny` profile: environments that a policy of under a million parameters learns on two CPU cores.

    What is the chief spouse of the mayor of Tovansydir?     get_chief_spouse(person), find_mayor(city), ...

Everything is made for a small vocabulary: relations are a modifier and a noun, a noun fixes the verb of its tool and
the types of its two ends (person, city, firm), a tool has one text parameter that is called like a type, a document is
one short sentence, and a name is four syllables out of a fixed inventory. One wording, and each step of a question has
a relation of its own, so that nothing is merged.

Stage 4 is off but for the distractors. Where a profile turns it on, a tool may serve every modifier of its noun
(generalize), have further parameters that cut the result short and are best left out (expand), and take a list of names
(retype): gold tools and distractors alike, so that nothing tells them apart.

    get_the_spouse(person, find="chief", main="", first="")            generalized and expanded

Names are numbered 0 to 96^4 - 1 by a scrambled bijection. Those of one seed and split are a class of the numbers modulo
3 * 1024: seeds that differ modulo 1024 share no name, nor do the splits of one seed. A class has 27,648 names, and the
name that environment i asks about is number i of its class, so that questions repeat only after that many.

A checkpoint that was trained on these texts depends on `WORDS`, `ASK` and `UNKNOWN`: a test fails when they change.
"""

# ruff: noqa: ARG002 (the protocol's arguments; this author needs no feedback)

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple, cast, get_args

from pydantic import JsonValue

from toolfoundry.build.author import Feedback
from toolfoundry.build.authors.procedural.profile import Profile, Span, Split
from toolfoundry.build.draft import (
    Brief,
    Change,
    Decomposition,
    Deployment,
    Documents,
    Draft,
    Step,
    Strategy,
    SymbolicCall,
    Trial,
)
from toolfoundry.build.scaling import Scaling
from toolfoundry.errors import InputError
from toolfoundry.seeds import derive_seed, generator
from toolfoundry.symbolic import answer_of
from toolfoundry.types import Answer, Final, Message, ScenarioKind, ToolSchema

__all__ = [
    "ASK",
    "NAMES_PER_CLASS",
    "RELATIONS",
    "UNFAMILIAR",
    "UNKNOWN",
    "WORDS",
    "Relation",
    "TinyAuthor",
    "entity_name",
]

ASK = "Use the tools. Give <answer>…</answer>."
UNKNOWN = "Error: unknown {type}. Use a name from the question or a result."

_TYPES = ("person", "city", "firm")
_MODIFIERS = ("", "chief", "former", "first", "main", "secret", "oldest", "current")
_NOUNS = {  # (from, to): verb -> nouns
    ("person", "person"): {"get": "spouse mentor tutor", "find": "rival heir doctor", "lookup": "sibling lawyer pupil"},
    ("person", "city"): {"get": "birthplace", "find": "hometown refuge", "lookup": "residence"},
    ("person", "firm"): {"get": "employer", "find": "sponsor bank", "lookup": "publisher"},
    ("city", "person"): {"get": "founder", "find": "mayor judge", "lookup": "bishop architect"},
    ("city", "city"): {"get": "suburb", "find": "neighbor twin", "lookup": "harbor"},
    ("city", "firm"): {"get": "brewery", "find": "airline", "lookup": "newspaper hotel"},
    ("firm", "person"): {"get": "owner chemist", "find": "director", "lookup": "auditor"},
    ("firm", "city"): {"get": "headquarters", "find": "factory", "lookup": "warehouse office"},
    ("firm", "firm"): {"get": "supplier", "find": "competitor", "lookup": "insurer subsidiary"},
}
# Four nouns of each source type that training leaves out (`Profile.nouns`), so that a test can ask about words that
# the policy has never read.
UNFAMILIAR = frozenset("tutor pupil refuge bank architect judge twin hotel chemist office warehouse subsidiary".split())
_STARTS = tuple(consonant + vowel for consonant in "bdfghklmnprstvwz" for vowel in "aeiouy")
_ENDS = tuple(consonant + rime for consonant in "bdfghklmnprstvwz" for rime in "an el ir on un ar".split())

# Every word and syllable that a text of this author is made of, beside the fixed ones of its templates.
WORDS = (
    *_TYPES,
    *_MODIFIERS[1:],
    *(noun for verbs in _NOUNS.values() for nouns in verbs.values() for noun in nouns.split()),
    "get",
    "find",
    "lookup",
    *_STARTS,
    *_ENDS,
)

_HALF = len(_STARTS) * len(_ENDS)
_CLASSES = 3 * 1024
NAMES_PER_CLASS = _HALF * _HALF // _CLASSES
_ROUND_KEYS = (0x1F83D9AB, 0x5BE0CD19, 0x3C6EF372, 0x510E527F)
_MASK = 2**64 - 1
_GOALS: dict[ScenarioKind, tuple[int, int]] = {  # the least and (if not 0) the most that make this scenario
    "single_hop": (1, 1),
    "parallel_single_hop": (2, 0),
    "multi_hop": (2, 0),
    "parallel_multi_hop": (3, 0),
}
_OTHERS = 6  # entities of each type beside those of the question
_PLANS = 256  # more than are in work at a time; each is used by all stages of its environment


class Relation(NamedTuple):
    """What a tool is asked for: from an entity of type `source` to one of type `target`."""

    modifier: str
    noun: str
    verb: str
    source: str
    target: str

    @property
    def words(self) -> str:
        return f"{self.modifier} {self.noun}".lstrip()

    @property
    def tool(self) -> str:
        return f"{self.verb}_{self.words.replace(' ', '_')}"


RELATIONS = tuple(
    Relation(modifier, noun, verb, source, target)
    for (source, target), verbs in _NOUNS.items()
    for verb, nouns in verbs.items()
    for noun in nouns.split()
    for modifier in _MODIFIERS
)
_BY_TOOL = {relation.tool: relation for relation in RELATIONS}


def entity_name(number: int) -> str:
    """Name number 0 to 96^4 - 1; all are different, have ten letters, and neighbours look unrelated.

    The order is scrambled by a Feistel network over the two halves of the name, which is a bijection by construction.
    """
    left, right = divmod(number, _HALF)
    for key in _ROUND_KEYS:
        mixed = ((right ^ key) * 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 29)) * 0xBF58476D1CE4E5B9) & _MASK
        left, right = right, (left + (mixed >> 32)) % _HALF
    (a, b), (c, d) = divmod(left, len(_ENDS)), divmod(right, len(_ENDS))
    return _STARTS[a].capitalize() + _ENDS[b] + _STARTS[c] + _ENDS[d]


class _Form(NamedTuple):
    """How a tool is made harder: it serves all modifiers of its noun; further parameters; it takes a list of names."""

    wide: bool = False
    further: int = 0
    listed: bool = False


_PLAIN = _Form()


class _Hop(NamedTuple):
    """One step: its relation, the name it is asked about, the step that gives that name (or ""), and its answer."""

    step: str
    relation: Relation
    about: str
    parent: str
    answer: str


class _Plan(NamedTuple):
    """One environment: chains of hops, the number of its tools, and names of each type that no hop uses."""

    chains: tuple[tuple[_Hop, ...], ...]
    tools: int
    others: dict[str, tuple[str, ...]]

    @property
    def hops(self) -> tuple[_Hop, ...]:
        return tuple(hop for chain in self.chains for hop in chain)


class TinyAuthor:
    """Writes the environments of one seed and split; the brief's index is all that it looks at."""

    name = "procedural"
    trusted = True
    attempts = 1

    def __init__(self, profile: Profile, seed: int, split: Split) -> None:
        """Raises InputError for a profile that this author cannot follow."""
        splits = get_args(Split)
        self._profile = profile
        self._seed: tuple[str | int, ...] = ("tiny", seed, split)
        self._class = (len(splits) * seed + splits.index(split)) % _CLASSES
        held_out = "relations" in profile.hold_out
        self._pool = tuple(
            relation
            for relation in RELATIONS
            if (not held_out or _split_of(relation) == split)
            and (profile.nouns == "all" or (relation.noun in UNFAMILIAR) == (profile.nouns == "unfamiliar"))
        )
        self._by_source = {kind: [r for r in self._pool if r.source == kind] for kind in _TYPES}
        self._plans: dict[int, _Plan] = {}
        goals = max(span.high for span in profile.goals.values())
        nouns = min(len({relation.noun for relation in relations}) for relations in self._by_source.values())
        if goals > nouns:
            raise InputError(f"profile {profile.name}: {goals} sub-questions; the tiny author makes at most {nouns}")
        for kind, span in profile.goals.items():
            least, most = _GOALS[kind]
            if span.low < least or (most and span.high > most):
                found = f"{span.low} to {span.high} sub-questions"
                expected = f"{least}" if most else f"at least {least}"
                raise InputError(f"profile {profile.name}: {kind}: found {found}, expected {expected}")
        if "wordings" in profile.hold_out:
            raise InputError(f"profile {profile.name}: holds out wordings; the tiny author has one wording")

    def prompt(self, question: str) -> tuple[Message, ...]:
        """The opening messages: shorter than the standard ones."""
        return (Message(role="user", content=f"{ASK} {question}"),)

    async def decompose(self, brief: Brief, feedback: Feedback | None = None) -> Decomposition:
        """The question, a step for each hop, and the last answer of each chain as the final answer."""
        plan = self._plan(brief.index)
        asked: list[str] = []
        for chain in plan.chains:
            path = " of the ".join(hop.relation.words for hop in reversed(chain))
            asked.append(f"the {path} of {chain[0].about}")
        last = [chain[-1] for chain in plan.chains]
        if len(last) == 1:
            answer = _text(last[0].answer)
            final = Final(operation="answer", arguments={"value": answer_of(last[0].step)})
        else:
            answer = Answer(type="list", value=[hop.answer for hop in last])
            final = Final(operation="list", arguments={"values": [answer_of(hop.step) for hop in last]})
        return Decomposition(
            question=f"What is {', and '.join(asked)}?",
            answer=answer,
            steps=tuple(
                Step(
                    id=hop.step,
                    question=f"What is the {hop.relation.words} of {f'{{{hop.parent}}}' if hop.parent else hop.about}?",
                    answer=_text(hop.answer),
                )
                for hop in plan.hops
            ),
            final=final,
        )

    async def document(self, draft: Draft, feedback: Feedback | None = None) -> Documents:
        """One document for each step; no two steps of a question have the same relation."""
        hops = self._plan(draft.brief.index).hops
        return Documents(
            documents=tuple(_DOCUMENTS[hop.relation.tool] for hop in hops),
            calls=tuple(
                SymbolicCall(
                    step=hop.step,
                    tool=hop.relation.tool,
                    arguments={hop.relation.source: answer_of(hop.parent) if hop.parent else hop.about},
                )
                for hop in hops
            ),
        )

    async def integrate(
        self, draft: Draft, overlaps: Sequence[tuple[str, ...]], feedback: Feedback | None = None
    ) -> Documents:
        """The documents as they are: "chief spouse" and "former spouse" look alike and are different."""
        return Documents(documents=draft.documents, calls=draft.calls)

    async def scale(self, draft: Draft, scaling: Scaling, feedback: Feedback | None = None) -> Documents:
        """The tools of the question in the forms that the levels give them, and the calls that fit."""
        plan = self._plan(draft.brief.index)
        forms = {hop.step: self._form(hop.relation, draft.brief.index, scaling) for hop in plan.hops}
        if not any(map(any, forms.values())):
            return Documents(documents=draft.documents, calls=draft.calls)
        documents = [_document(hop.relation, forms[hop.step]) for hop in plan.hops]
        named = {hop.step: document.name for hop, document in zip(plan.hops, documents, strict=True)}
        return Documents(
            documents=tuple(documents),
            calls=tuple(
                SymbolicCall(
                    step=hop.step,
                    tool=named[hop.step],
                    arguments=_arguments(hop, forms[hop.step]),
                )
                for hop in plan.hops
            ),
            changes=tuple(change for hop in plan.hops for change in _changes(hop.relation, forms[hop.step])),
        )

    def tool_count(self, draft: Draft, scaling: Scaling) -> int | None:
        """The profile's number at level 1; at others, or where a number of distractors is fixed, the stage decides."""
        if scaling.extend != 1 or scaling.distractors is not None:
            return None
        return self._plan(draft.brief.index).tools

    async def distractors(self, draft: Draft, scaling: Scaling) -> Documents:
        """As many relations as are wanted: near ones share a noun or a modifier with a gold tool, all are true."""
        wanted = self.tool_count(draft, scaling)
        count = (_MOST_TOOLS if wanted is None else wanted) - len(draft.documents)
        rng = generator(*self._seed, "distractors", draft.brief.index)
        gold = [hop.relation for hop in self._plan(draft.brief.index).hops]
        chosen: list[Relation] = []
        for _ in range(count):
            free = [relation for relation in self._pool if relation not in gold and relation not in chosen]
            near = _near(free, rng.choice(gold), rng) if rng.random() < scaling.near else []
            if near or free:
                chosen.append(rng.choice(near or free))
        forms = [self._form(relation, draft.brief.index, scaling) for relation in chosen]
        return Documents(documents=tuple(map(_document, chosen, forms)), calls=())

    async def deploy(self, draft: Draft, feedback: Feedback | None = None) -> Deployment:
        """A small table behind each tool: every entity of its type in the question, and some that are not."""
        plan = self._plan(draft.brief.index)
        sources: dict[str, str] = {}
        trials: list[Trial] = []
        for document in draft.documents:
            if document.name not in draft.sources:
                relation, form = _read(document)
                rng = generator(*self._seed, "deploy", draft.brief.index, document.name)
                tables = _tables(_served(relation) if form.wide else [relation], plan, rng)
                if form == _PLAIN:
                    sources[document.name] = _source(relation, tables[relation.modifier], rng)
                else:
                    sources[document.name] = _harder_source(document, relation, form, tables)
                trials.append(_trial(document.name, relation, form, tables))
        return Deployment(sources=sources, trials=tuple(trials))

    def _form(self, relation: Relation, index: int, scaling: Scaling) -> _Form:
        """How hard a tool is made: drawn for all tools of a noun, since a wide one takes the place of all of them."""
        rng = generator(*self._seed, "form", index, relation.noun)
        wide, listed = rng.random(), rng.random()
        further = _FURTHER[scaling.expand] if scaling.parameters is None else round(scaling.parameters) - 1
        return _Form(
            wide=bool(relation.modifier) and wide < _SHARES[scaling.generalize],
            further=min(further, len(_OPTIONS)),
            listed=listed < _SHARES[scaling.retype],
        )

    def _plan(self, index: int) -> _Plan:
        found = self._plans.get(index)
        if found is None:
            if len(self._plans) >= _PLANS:
                del self._plans[next(iter(self._plans))]
            found = self._plans[index] = self._make(index)
        return found

    def _make(self, index: int) -> _Plan:
        rng = generator(*self._seed, "plan", index)
        shares = self._profile.shares
        kind = rng.choices(list(shares), list(shares.values()))[0]
        lengths = _lengths(kind, _draw(self._profile.goals[kind], rng))
        steps = sum(lengths)
        names = self._names(index, len(lengths) + steps + _OTHERS * len(_TYPES), rng)
        fresh = iter(names)
        chains: list[tuple[_Hop, ...]] = []
        nouns: set[str] = set()
        number = 0
        for length in lengths:
            chain: list[_Hop] = []
            for _ in range(length):
                number += 1
                options = self._by_source[chain[-1].relation.target] if chain else self._pool
                relation = rng.choice([option for option in options if option.noun not in nouns])
                nouns.add(relation.noun)
                parent, about = (chain[-1].step, chain[-1].answer) if chain else ("", next(fresh))
                chain.append(_Hop(f"s{number}", relation, about, parent, next(fresh)))
            chains.append(tuple(chain))
        others = {end: tuple(next(fresh) for _ in range(_OTHERS)) for end in _TYPES}
        return _Plan(tuple(chains), max(steps, _draw(self._profile.tools[kind], rng)), others)

    def _names(self, index: int, count: int, rng: random.Random) -> list[str]:
        """Different names of this author's class, the first of them number `index`."""
        first = index % NAMES_PER_CLASS
        rest = [n + (n >= first) for n in rng.sample(range(NAMES_PER_CLASS - 1), count - 1)]
        return [entity_name(self._class + _CLASSES * n) for n in (first, *rest)]


_MOST_TOOLS = 40
# Stage 4, by level: the share of the tools that are generalised or retyped, and the further parameters of each tool.
_SHARES = (0.0, 0.25, 0.5, 1.0)
_FURTHER = (0, 2, 4, 6)
_WIDE = "find"  # the parameter of a generalised tool that says which modifier is meant
_OPTIONS = ("main", "first", "current", "former", "oldest", "secret")


def _text(value: str) -> Answer:
    return Answer(type="text", value=value)


def _document(relation: Relation, form: _Form) -> ToolSchema:
    required = [relation.source, *([_WIDE] if form.wide else [])]
    text: dict[str, JsonValue] = {"type": "string"}
    names: dict[str, JsonValue] = dict.fromkeys([*required, *_OPTIONS[: form.further]], text)
    if form.listed:
        names[relation.source] = {"type": "array", "items": text}
    return ToolSchema(
        name=f"{relation.verb}_the_{relation.noun}" if form.wide else relation.tool,
        description=f"Return the {relation.noun if form.wide else relation.words}.",
        parameters={"type": "object", "properties": names, "required": [*required]},
        output={"type": "string"},
    )


def _read(document: ToolSchema) -> tuple[Relation, _Form]:
    """The relation and the form that a document was written for; of a wide one, the relation without a modifier."""
    names = cast("dict[str, dict[str, JsonValue]]", document.parameters["properties"])
    wide = document.name not in _BY_TOOL
    relation = _BY_TOOL[document.name.replace("_the_", "_") if wide else document.name]
    listed = names[relation.source]["type"] == "array"
    return relation, _Form(wide, len(names) - 1 - wide, listed)


def _arguments(hop: _Hop, form: _Form) -> dict[str, JsonValue]:
    about = answer_of(hop.parent) if hop.parent else hop.about
    arguments: dict[str, JsonValue] = {hop.relation.source: [about] if form.listed else about}
    return {**arguments, _WIDE: hop.relation.modifier} if form.wide else arguments


def _changes(relation: Relation, form: _Form) -> list[Change]:
    """What the strategies did, each in words."""
    tool = _document(relation, form).name
    done: list[tuple[Strategy, bool, str]] = [
        ("generalize", form.wide, f"any {relation.noun}, by its modifier"),
        ("expand", form.further > 0, f"{form.further} optional parameters: {', '.join(_OPTIONS[: form.further])}"),
        ("retype", form.listed, f"{relation.source}: a list of names"),
    ]
    return [Change(strategy=what, tool=tool, detail=how, before=(relation.tool,)) for what, was, how in done if was]


_DOCUMENTS = {relation.tool: _document(relation, _PLAIN) for relation in RELATIONS}


def _split_of(relation: Relation) -> Split:
    """Where a relation belongs when relations are held out: a fifth each to dev and test, whatever the seed."""
    part = derive_seed("tiny", "relation", relation.modifier, relation.noun) % 5
    return "dev" if part == 0 else "test" if part == 1 else "train"


def _draw(span: Span, rng: random.Random) -> int:
    """A whole number from low to high with the span's mean: binomial."""
    width = span.high - span.low
    return span.low + sum(rng.random() * width < span.mean - span.low for _ in range(width))


def _lengths(kind: ScenarioKind, goals: int) -> list[int]:
    """The lengths of the chains: one, as many as there are goals, or two that are as equal as possible."""
    match kind:
        case "parallel_single_hop":
            return [1] * goals
        case "parallel_multi_hop":
            return [goals - goals // 2, goals // 2]
        case _:
            return [goals]


def _near(free: Sequence[Relation], gold: Relation, rng: random.Random) -> list[Relation]:
    """Relations that share the noun or, by the toss of a coin, the modifier of a gold one; may be none."""
    if gold.modifier and rng.random() < 0.5:
        return [relation for relation in free if relation.modifier == gold.modifier]
    return [relation for relation in free if relation.noun == gold.noun]


def _tables(served: Sequence[Relation], plan: _Plan, rng: random.Random) -> dict[str, dict[str, str]]:
    """The facts of a tool by modifier. Several are never all alike: the modifier would have no effect."""
    while True:
        tables = {relation.modifier: _table(relation, plan, rng) for relation in served}
        first, *rest = tables.values()
        if not rest or any(table != first for table in rest):
            return tables


def _table(relation: Relation, plan: _Plan, rng: random.Random) -> dict[str, str]:
    """The facts of a tool. Only gold rows give entities of the question, so no other call gives a golden."""
    table = {hop.about: hop.answer for hop in plan.hops if hop.relation == relation}
    asked = [name for hop in plan.hops for name in _ends(hop, relation.source)]
    known = plan.others[relation.target]
    start = rng.randrange(len(known))
    for row, name in enumerate(dict.fromkeys([*asked, *plan.others[relation.source][: _OTHERS // 2]])):
        value, following = known[(start + row) % len(known)], known[(start + row + 1) % len(known)]
        table.setdefault(name, following if value == name else value)
    rows = list(table.items())
    rng.shuffle(rows)
    return dict(rows)


def _ends(hop: _Hop, kind: str) -> list[str]:
    """The names of a hop that are of a type."""
    ends = ((hop.relation.source, hop.about), (hop.relation.target, hop.answer))
    return [name for end, name in ends if end == kind]


def _served(relation: Relation) -> list[Relation]:
    """The relations that a wide tool serves: the noun with each modifier that makes it another one."""
    return [one for one in RELATIONS if one.noun == relation.noun and one.modifier]


def _trial(tool: str, relation: Relation, form: _Form, tables: dict[str, dict[str, str]]) -> Trial:
    """A call that works, and for each parameter another value with which it gives something else."""
    modifier, table = next(iter(tables.items()))
    pairs = ((name, key) for name in table for key, rows in tables.items() if rows[name] != table[name])
    one, elsewhere = next(pairs) if form.wide else (next(iter(table)), "")
    other = next(name for name, value in table.items() if value != table[one])
    arguments: dict[str, JsonValue] = {relation.source: [one] if form.listed else one}
    variants: dict[str, JsonValue] = {relation.source: [other] if form.listed else other}
    if form.wide:
        arguments[_WIDE], variants[_WIDE] = modifier, elsewhere
    return Trial(tool=tool, arguments=arguments, variants={**variants, **{o: o for o in _OPTIONS[: form.further]}})


def _harder_source(document: ToolSchema, relation: Relation, form: _Form, tables: dict[str, dict[str, str]]) -> str:
    """The function of a tool in a harder form. Its optional parameters cut letters off the name that it found."""
    key = relation.source
    kind = "list[str]" if form.listed else "str"
    wide, options = [f"{_WIDE}: str"] * form.wide, [f'{name}: str = ""' for name in _OPTIONS[: form.further]]
    lines = [f"def {document.name}({', '.join([f'{key}: {kind}', *wide, *options])}) -> str:"]
    if form.wide:
        lines.append("    tables = {")
        for modifier, table in tables.items():
            rows = ", ".join(f'"{name}": "{value}"' for name, value in table.items())
            lines.append(f'        "{modifier}": {{{rows}}},')
        lines += ["    }", f"    if {_WIDE} not in tables:", f'        return "{UNKNOWN.format(type=_WIDE)}"']
        lines.append(f"    table = tables[{_WIDE}]")
    else:
        [table] = tables.values()
        lines.append("    table = {")
        lines += [f'        "{name}": "{value}",' for name, value in table.items()]
        lines.append("    }")
    if form.listed:
        lines += [f"    name = {key}[0] if len({key}) == 1 else None"]
    name = "name" if form.listed else key
    lines += [f"    if {name} not in table:", f'        return "{UNKNOWN.format(type=key)}"']
    lines.append(f"    found = table[{name}]")
    for cut, option in enumerate(_OPTIONS[: form.further], 1):
        lines += [f"    if {option}:", f"        found = found[:-{cut}]"]
    return "\n".join([*lines, "    return found", ""])


def _source(relation: Relation, table: dict[str, str], rng: random.Random) -> str:
    """The function in one of three styles, about ten lines each."""
    key, error = relation.source, UNKNOWN.format(type=relation.source)
    head = f"def {relation.tool}({key}: str) -> str:\n"
    rows = [f'"{name}": "{value}"' for name, value in table.items()]
    match rng.randrange(3):
        case 0:
            lines = "".join(f"        {row},\n" for row in rows)
            return (
                f"{head}    table = {{\n{lines}    }}\n    if {key} not in table:\n"
                f'        return "{error}"\n    return table[{key}]\n'
            )
        case 1:
            pairs = "".join(f"        {', '.join(rows[i : i + 2])},\n" for i in range(0, len(rows), 2))
            return (
                f'{head}    """Return the {relation.words}."""\n    known = {{\n{pairs}    }}\n'
                f'    return known.get({key}, "{error}")\n'
            )
        case _:
            lines = "".join(f'        ("{name}", "{value}"),\n' for name, value in table.items())
            return (
                f"{head}    for name, value in (\n{lines}    ):\n        if name == {key}:\n"
                f'            return value\n    return "{error}"\n'
            )
