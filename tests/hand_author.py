"""An author by hand: four questions about invented towns and towers, one of each scenario, and eight functions.

It follows the whole protocol and is right at every stage. `spoil` makes it wrong where a test wants it to be; `asked`
keeps what it was told each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from toolfoundry.build.author import Feedback
from toolfoundry.build.draft import (
    Brief,
    Change,
    Decomposition,
    Deployment,
    Documents,
    Draft,
    Step,
    SymbolicCall,
    Trial,
)
from toolfoundry.build.scaling import Scaling
from toolfoundry.symbolic import answer_of
from toolfoundry.types import Answer, Final, Message, ToolSchema

__all__ = ["FUNCTIONS", "LIGHT", "QUESTIONS", "Function", "HandAuthor", "source_of"]

LIGHT = Scaling(generalize=1, expand=1, retype=1, extend=1)  # what these functions have room for


class Function(NamedTuple):
    """What a tool looks up about a subject: one of two facts, and on request a remark.

    rows: subject -> the two facts in the order of `facts`, and the remark. wide: the tool's name once it serves both.
    """

    name: str
    wide: str
    summary: str
    subject: str
    facts: tuple[str, str]
    remark: str
    rows: dict[str, tuple[str | int, str | int, str | int]]


FUNCTIONS = {
    function.name: function
    for function in (
        Function(
            "town_tower",
            "town_landmark",
            "Name the tower that stands in a town.",
            "town",
            ("tower", "bridge"),
            "street",
            {
                "Velmora": ("Grey Finger", "Eel Bridge", "Salt Lane"),
                "Hask": ("Old Lantern", "Tanners' Arch", "Mill Row"),
                "Ostrin": ("Widow's Needle", "Long Span", "Cooper Hill"),
                "Pell": ("Gull Watch", "Ferry Bridge", "Net Quay"),
            },
        ),
        Function(
            "tower_steps",
            "tower_count",
            "Count the steps of a tower.",
            "tower",
            ("steps", "windows"),
            "cellar",
            {
                "Grey Finger": (412, 57, 19),
                "Old Lantern": (287, 31, 24),
                "Widow's Needle": (356, 44, 12),
                "Gull Watch": (198, 23, 16),
            },
        ),
        Function(
            "tower_architect",
            "tower_builder",
            "Name who drew the plans of a tower.",
            "tower",
            ("architect", "mason"),
            "year",
            {
                "Grey Finger": ("Ilse Tarn", "Hobb Carrow", 1712),
                "Old Lantern": ("Bodo Quint", "Ferrol Dask", 1688),
                "Gull Watch": ("Ruta Elm", "Ulla Verrick", 1745),
            },
        ),
        Function(
            "person_birthplace",
            "person_place",
            "Tell where a person was born.",
            "person",
            ("birth", "burial"),
            "parish",
            {
                "Ilse Tarn": ("Marrow Bay", "Tolm", "St Ansel"),
                "Bodo Quint": ("Quellmarsh", "Brakke", "St Odo"),
                "Ruta Elm": ("Orrenby", "Sund", "St Vey"),
            },
        ),
        Function(
            "tower_keeper",
            "tower_keeper",
            "Name the keeper of a tower.",
            "tower",
            ("keeper", "deputy"),
            "since",
            {"Grey Finger": ("Jonna Pike", "Sib Orr", 2019), "Old Lantern": ("Marl Tebb", "Ank Roe", 2022)},
        ),
        Function(
            "town_market",
            "town_market",
            "Tell on which day a town holds its market.",
            "town",
            ("day", "square"),
            "stalls",
            {"Velmora": ("Tuesday", "Corn Square", 84), "Pell": ("Friday", "Fish Square", 61)},
        ),
        Function(
            "bell_weight",
            "bell_weight",
            "Tell how heavy a bell is, in kilograms.",
            "bell",
            ("weight", "clapper"),
            "note",
            {"Great Agnes": (2140, 95, "C sharp"), "Little Tom": (310, 14, "A")},
        ),
        Function(
            "harbour_depth",
            "harbour_depth",
            "Tell how deep a harbour is at low water, in centimetres.",
            "harbour",
            ("depth", "width"),
            "pilot",
            {"Nettle Cove": (640, 8800, "Ova Lind"), "Sickle Bay": (910, 12400, "Per Hauk")},
        ),
    )
}
_SECOND = {"town_tower": "tower_in_town", "tower_steps": "count_tower_steps"}  # for a step that asks the same again
_SERVES = {
    name: f for f in FUNCTIONS.values() for name in (f.name, f.wide, _SECOND.get(f.name, f.name))
}  # tool -> function
_DISTRACTORS = ("tower_keeper", "town_market", "bell_weight", "harbour_depth")
_FROM_POOL = ("bell_weight", "harbour_depth")  # distractors that come with their source


class _Asked(NamedTuple):
    """A step: the function, the subject (a name or an earlier step), the sub-question."""

    function: str
    subject: str
    question: str


QUESTIONS: tuple[tuple[str, str, tuple[_Asked, ...]], ...] = (  # question, operation, steps
    (
        "How many steps has the tower called Grey Finger?",
        "answer",
        (_Asked("tower_steps", "Grey Finger", "How many steps has Grey Finger?"),),
    ),
    (
        "How many steps have the towers Widow's Needle and Gull Watch together?",
        "total",
        (
            _Asked("tower_steps", "Widow's Needle", "How many steps has Widow's Needle?"),
            _Asked("tower_steps", "Gull Watch", "How many steps has Gull Watch?"),
        ),
    ),
    (
        "Where was the architect of the tower of Hask born?",
        "answer",
        (
            _Asked("town_tower", "Hask", "Which tower stands in Hask?"),
            _Asked("tower_architect", "s1", "Who was the architect of {s1}?"),
            _Asked("person_birthplace", "s2", "Where was {s2} born?"),
        ),
    ),
    (
        "How many more steps has the tower of Velmora than the tower of Hask?",
        "difference",
        (
            _Asked("town_tower", "Velmora", "Which tower stands in Velmora?"),
            _Asked("town_tower", "Hask", "Which tower stands in Hask?"),
            _Asked("tower_steps", "s1", "How many steps has {s1}?"),
            _Asked("tower_steps", "s2", "How many steps has {s2}?"),
        ),
    ),
)

Spoil = Callable[[int, Any], Any]
"""(how often the author was asked before at that stage, what it would say) -> what it says."""


class HandAuthor:
    """Answers the brief of index i with question i modulo 4, or with the question that the brief names."""

    name = "hand"

    def __init__(self, spoil: Mapping[str, Spoil] | None = None, *, attempts: int = 3, trusted: bool = True) -> None:
        self.spoil, self.attempts, self.trusted = dict(spoil or {}), attempts, trusted
        self.asked: dict[str, list[Feedback | None]] = {}

    def prompt(self, question: str) -> tuple[Message, ...]:
        return ()

    async def decompose(self, brief: Brief, feedback: Feedback | None = None) -> Decomposition:
        question, operation, asked = _chosen(brief)
        answers: dict[str, str | int] = {}
        for number, one in enumerate(asked, 1):
            subject = str(answers.get(one.subject, one.subject))
            answers[f"s{number}"] = FUNCTIONS[one.function].rows[subject][0]
        steps = tuple(
            Step(id=step, question=one.question, answer=_answer(answers[step]))
            for step, one in zip(answers, asked, strict=True)
        )
        last = [step for step in answers if not any(one.subject == step for one in asked)]
        refs = [answer_of(step) for step in last]
        match operation:
            case "answer":
                value, arguments = answers[last[0]], {"value": refs[0]}
            case "total":
                value, arguments = sum(int(answers[step]) for step in last), {"values": refs}
            case _:
                value, arguments = int(answers[last[0]]) - int(answers[last[1]]), {"first": refs[0], "second": refs[1]}
        return self._say(
            "decompose",
            feedback,
            Decomposition(
                question=question,
                answer=_answer(value),
                steps=steps,
                final=Final(operation=operation, arguments=arguments),  # type: ignore[arg-type]
            ),
        )

    async def document(self, draft: Draft, feedback: Feedback | None = None) -> Documents:
        documents: list[ToolSchema] = []
        calls: list[SymbolicCall] = []
        for step, one in zip(draft.scenario.steps, _chosen(draft.brief)[2], strict=True):
            function = FUNCTIONS[one.function]
            name = _SECOND[function.name] if any(d.name == function.name for d in documents) else function.name
            subject = answer_of(one.subject) if one.subject in step.needs else one.subject
            documents.append(_document(function, name))
            calls.append(SymbolicCall(step=step.id, tool=name, arguments={function.subject: subject}))
        return self._say("document", feedback, Documents(documents=tuple(documents), calls=tuple(calls)))

    async def integrate(
        self, draft: Draft, overlaps: Sequence[tuple[str, ...]], feedback: Feedback | None = None
    ) -> Documents:
        """Documents of one function become one, under the first name."""
        kept = {_SERVES[d.name].name: d for d in reversed(draft.documents)}
        documents = tuple(document for document in draft.documents if document in kept.values())
        merged = {
            document.name: tuple(d.name for d in draft.documents if _SERVES[d.name] is _SERVES[document.name])
            for document in documents
        }
        changes = tuple(
            Change(strategy="merge", tool=name, detail="the same function", before=before)
            for name, before in merged.items()
            if len(before) > 1
        )
        new = {old: name for name, before in merged.items() for old in before}
        calls = tuple(call.model_copy(update={"tool": new[call.tool]}) for call in draft.calls)
        return self._say("integrate", feedback, Documents(documents=documents, calls=calls, changes=changes))

    async def scale(self, draft: Draft, scaling: Scaling, feedback: Feedback | None = None) -> Documents:
        """Generalised: the second fact as well. Expanded: the remark. Retyped: a choice and a truth value."""
        documents: list[ToolSchema] = []
        changes: list[Change] = []
        said: dict[str, dict[str, Any]] = {}
        for old in draft.documents:
            function = _SERVES[old.name]
            name = function.wide if scaling.generalize else old.name
            documents.append(_document(function, name, scaling))
            said[old.name] = {"fact": function.facts[0]} if scaling.generalize else {}
            for strategy, on, detail in (
                ("generalize", scaling.generalize, f"gives the {' or the '.join(function.facts)}"),
                ("expand", scaling.expand, f"{function.remark} on request"),
                ("retype", scaling.retype and (scaling.generalize or scaling.expand), "no longer all plain text"),
            ):
                if on:
                    changes.append(Change(strategy=strategy, tool=name, detail=detail, before=(old.name,)))
        names = {old.name: new.name for old, new in zip(draft.documents, documents, strict=True)}
        calls = tuple(
            call.model_copy(update={"tool": names[call.tool], "arguments": {**call.arguments, **said[call.tool]}})
            for call in draft.calls
        )
        given = Documents(documents=tuple(documents), calls=calls, changes=tuple(changes))
        return self._say("scale", feedback, given)

    def tool_count(self, draft: Draft, scaling: Scaling) -> int | None:
        return None

    async def distractors(self, draft: Draft, scaling: Scaling) -> Documents:
        documents = tuple(_document(FUNCTIONS[name], name) for name in _DISTRACTORS)
        sources = {d.name: source_of(d) for d in documents if d.name in _FROM_POOL}
        return self._say("distractors", None, Documents(documents=documents, calls=(), sources=sources))

    async def deploy(self, draft: Draft, feedback: Feedback | None = None) -> Deployment:
        written = [document for document in draft.documents if document.name not in draft.sources]
        deployment = Deployment(
            sources={document.name: source_of(document) for document in written},
            trials=tuple(_trial(document) for document in written),
        )
        return self._say("deploy", feedback, deployment)

    def _say(self, stage: str, feedback: Feedback | None, value: Any) -> Any:
        told = self.asked.setdefault(stage, [])
        told.append(feedback)
        return self.spoil[stage](len(told) - 1, value) if stage in self.spoil else value


def _chosen(brief: Brief) -> tuple[str, str, tuple[_Asked, ...]]:
    named = [one for one in QUESTIONS if one[0] == brief.question]
    return named[0] if named else QUESTIONS[brief.index % len(QUESTIONS)]


def _answer(value: str | int) -> Answer:
    return Answer(type="number" if isinstance(value, int) else "text", value=value)


def _document(function: Function, name: str, scaling: Scaling | None = None) -> ToolSchema:
    text = {"type": "string"}
    properties: dict[str, Any] = {function.subject: {**text, "description": f"Name of the {function.subject}."}}
    required = [function.subject]
    kinds = [
        {"type": "integer" if isinstance(value, int) else "string"} for value in next(iter(function.rows.values()))
    ]
    output: dict[str, Any] = {function.facts[0]: kinds[0]}
    if scaling and scaling.generalize:
        choice = {"enum": list(function.facts)} if scaling.retype else {}
        properties["fact"] = {**text, **choice, "description": f"What is wanted: {' or '.join(function.facts)}."}
        required.append("fact")
        output[function.facts[1]] = kinds[1]
    if scaling and scaling.expand:
        flag = {"type": "boolean", "default": False} if scaling.retype else {**text, "default": "no"}
        properties["remark"] = {**flag, "description": f"Whether to add the {function.remark}, too."}
        output[function.remark] = kinds[2]
    return ToolSchema(
        name=name,
        description=function.summary,
        parameters={"type": "object", "properties": properties, "required": required},
        output={"type": "object", "properties": output},
    )


def source_of(document: ToolSchema) -> str:
    """The function behind a document: a table, and an error for whatever is not in it."""
    function = _SERVES[document.name]
    properties: Any = document.parameters["properties"]
    parameters = [
        f"{name}={schema['default']!r}" if "default" in schema else name for name, schema in properties.items()
    ]
    rows = "".join(f"        {name!r}: {row!r},\n" for name, row in function.rows.items())
    lines = [
        f"def {document.name}({', '.join(parameters)}):",
        f'    """{document.description}"""',
        f"    table = {{\n{rows}    }}",
        f"    if {function.subject} not in table:",
        f'        return {{"error": "no {function.subject} of that name is known"}}',
    ]
    if "fact" in properties:
        lines += [
            f"    facts = {list(function.facts)!r}",
            "    if fact not in facts:",
            '        return {"error": "fact must be " + " or ".join(facts)}',
            f"    result = {{fact: table[{function.subject}][facts.index(fact)]}}",
        ]
    else:
        lines.append(f"    result = {{{function.facts[0]!r}: table[{function.subject}][0]}}")
    if "remark" in properties:
        yes = True if properties["remark"]["type"] == "boolean" else "yes"
        lines += [f"    if remark == {yes!r}:", f"        result[{function.remark!r}] = table[{function.subject}][2]"]
    return "\n".join([*lines, "    return result", ""])


def _trial(document: ToolSchema) -> Trial:
    function = _SERVES[document.name]
    properties: Any = document.parameters["properties"]
    one, other = list(function.rows)[:2]
    arguments: dict[str, Any] = {function.subject: one}
    variants: dict[str, Any] = {function.subject: other}
    if "fact" in properties:
        arguments["fact"], variants["fact"] = function.facts
    if "remark" in properties:
        variants["remark"] = True if properties["remark"]["type"] == "boolean" else "yes"
    return Trial(tool=document.name, arguments=arguments, variants=variants)
