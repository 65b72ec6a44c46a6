"""What the model is asked to write for each stage, and how that becomes the records that flow through the stages.

The forms are the JSON Schemas of structured output and what replies are validated against. They ask for less than the
records hold: what stays as it was need not be written again, so it cannot be changed by accident. Reading is lenient
where the meaning is clear (an answer as a bare value, `"{s1}"` for a reference, a list without its object, fields
that nobody asked for); all else is a complaint that names its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from toolfoundry.answers import infer
from toolfoundry.build.authors.llm.structured import Unreadable, fences, is_refusal, read_json, without_thinking
from toolfoundry.build.draft import (
    Change,
    Complaint,
    Decomposition,
    Deployment,
    Documents,
    Draft,
    Step,
    Strategy,
    SymbolicCall,
    Trial,
)
from toolfoundry.sources import parse_source
from toolfoundry.types import Answer, AnswerType, Final, ToolSchema

__all__ = [
    "CALLS",
    "DECOMPOSITION",
    "DOCUMENTS",
    "MERGES",
    "REWORDING",
    "SCALED",
    "Given",
    "read_calls",
    "read_decomposition",
    "read_deployment",
    "read_documents",
    "read_merges",
    "read_rewording",
    "read_scaled",
]

_MOST_COMPLAINTS = 6
_REFERENCE = re.compile(r"\{\{?\s*(\w+)\s*\}?\}")
_TYPES: dict[str, AnswerType] = {
    "string": "text",
    "str": "text",
    "name": "text",
    "integer": "number",
    "int": "number",
    "float": "number",
    "bool": "boolean",
    "array": "list",
}


# --- the forms -----------------------------------------------------------------------------------------------------


def _typed(value: Any) -> Any:
    """An answer as type and value, from a bare value or with another common name of its type."""
    if not isinstance(value, dict):
        if isinstance(value, bool):
            return {"type": "boolean", "value": value}
        if isinstance(value, int | float):
            return {"type": "number", "value": value}
        if isinstance(value, list):
            return {"type": "list", "value": cast("list[Any]", value)}
        return infer(value).model_dump() if isinstance(value, str) else value
    fields = cast("dict[str, Any]", value)
    kind, content = fields.get("type"), fields.get("value")
    kind = _TYPES.get(str(kind).lower(), kind)
    if isinstance(content, str) and kind in ("number", "date", "boolean"):
        read = infer(content)
        if read.type == kind:
            return {"text": content if kind == "number" and read.text != str(read.value) else None, **fields} | {
                "type": kind,
                "value": read.value,
            }
    return {**fields, "type": kind}


class _Form(BaseModel):
    """What a reply holds; fields that were not asked for are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Answer(_Form):
    type: Literal["text", "number", "date", "boolean", "list"]
    value: str | int | float | bool | list[str | int | float]
    text: str | None = None


_AnyAnswer = Annotated[_Answer, BeforeValidator(_typed)]


class _Step(_Form):
    id: str
    question: str
    answer: _AnyAnswer


class _Final(_Form):
    operation: str
    arguments: dict[str, JsonValue]


class _Decomposition(_Form):
    question: str
    steps: list[_Step]
    answer: _AnyAnswer
    final: _Final


class _Document(_Form):
    name: str
    description: str
    parameters: dict[str, JsonValue]
    output: dict[str, JsonValue]


class _Tool(_Form):
    step: str
    document: _Document
    arguments: dict[str, JsonValue]


class _Documents(_Form):
    tools: list[_Tool]


class _Call(_Form):
    step: str
    arguments: dict[str, JsonValue]


class _ToolCall(_Call):
    tool: str


class _Calls(_Form):
    calls: list[_ToolCall]


class _Worded(_Form):
    id: str
    question: str


class _Rewording(_Form):
    question: str
    steps: list[_Worded]


class _Merge(_Form):
    merged: list[str]
    document: _Document
    calls: list[_Call]
    detail: str = ""


class _Merges(_Form):
    merges: list[_Merge]


class _Change(_Form):
    strategy: Literal["generalize", "expand", "retype"]
    detail: str


class _Scaled(_Form):
    before: str
    document: _Document
    calls: list[_Call]
    changes: list[_Change] = Field(default_factory=list[_Change])


class _Scaling(_Form):
    tools: list[_Scaled]


class _Trial(_Form):
    tool: str
    arguments: dict[str, JsonValue]
    variants: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])


class _Trials(_Form):
    trials: list[_Trial]


F = TypeVar("F", bound=_Form)
DECOMPOSITION: dict[str, JsonValue] = _Decomposition.model_json_schema()
DOCUMENTS: dict[str, JsonValue] = _Documents.model_json_schema()
CALLS: dict[str, JsonValue] = _Calls.model_json_schema()
REWORDING: dict[str, JsonValue] = _Rewording.model_json_schema()
MERGES: dict[str, JsonValue] = _Merges.model_json_schema()
SCALED: dict[str, JsonValue] = _Scaling.model_json_schema()


def _read(form: type[F], text: str) -> F:
    value = read_json(text)
    names = list(form.model_fields)
    if isinstance(value, list) and len(names) == 1:
        return _validated(form, {names[0]: cast(JsonValue, value)})
    return _validated(form, value)


def _validated(form: type[F], value: JsonValue) -> F:
    try:
        return form.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)[:_MOST_COMPLAINTS]
        complaints = [
            Complaint("form", f"{'.'.join(str(part) for part in problem['loc']) or 'the reply'}: {problem['msg']}")
            for problem in problems
        ]
        raise Unreadable(complaints) from None


# --- stage 1 -------------------------------------------------------------------------------------------------------


def read_decomposition(text: str) -> Decomposition:
    """The decomposition in a reply. Raises Unreadable."""
    form = _read(_Decomposition, text)
    steps = tuple(Step(id=s.id, question=s.question.strip(), answer=_answer(s.answer, s.id)) for s in form.steps)
    known = [step.id for step in steps]
    return Decomposition(
        question=form.question.strip(),
        answer=_answer(form.answer, "answer"),
        steps=steps,
        final=Final(operation=form.final.operation, arguments=_symbolic(form.final.arguments, known, "final")),
    )


def read_rewording(text: str, given: Decomposition) -> Decomposition:
    """The decomposition in other words; answers and final answer stay. Raises Unreadable."""
    form = _read(_Rewording, text)
    worded = {step.id: step.question.strip() for step in form.steps}
    _all_named([step.id for step in given.steps], list(worded), "step")
    steps = tuple(step.model_copy(update={"question": worded[step.id]}) for step in given.steps)
    for step, before in zip(steps, given.steps, strict=True):
        if set(step.needs) != set(before.needs):
            wanted = ", ".join(f"{{{need}}}" for need in before.needs) or "none"
            raise Unreadable.because("reference", f"step {step.id}: expected the references {wanted}, as before")
    return given.model_copy(update={"question": form.question.strip(), "steps": steps})


def _answer(form: _Answer, place: str) -> Answer:
    answer = Answer(type=form.type, value=cast(JsonValue, form.value), text=form.text or None)
    value = answer.value
    fits = {
        "text": isinstance(value, str),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "date": isinstance(value, str) and infer(value).value == value and infer(value).type == "date",
        "list": isinstance(value, list) and bool(value),
    }
    if not fits[answer.type]:
        expected = {"date": "YYYY-MM-DD", "list": "a list that is not empty"}.get(answer.type, f"a {answer.type}")
        raise Unreadable.because("form", f"{place}: the value {value!r} of an answer is no {expected}")
    return answer


def _symbolic(arguments: Mapping[str, JsonValue], steps: Sequence[str], place: str) -> dict[str, JsonValue]:
    """The arguments with `"{s1}"` as a reference. Raises Unreadable where one stands within a longer text."""

    def read(value: JsonValue) -> JsonValue:
        if isinstance(value, dict):
            if "$answer" in value:
                step = value["$answer"]
                known: dict[str, JsonValue] = {"$answer": str(step)}
                return known | ({"as": "text"} if value.get("as") == "text" else {})
            return {key: read(part) for key, part in value.items()}
        if isinstance(value, list):
            return [read(part) for part in value]
        if isinstance(value, str):
            if (whole := _REFERENCE.fullmatch(value.strip())) and whole[1] in steps:
                return {"$answer": whole[1]}
            if inner := [match[1] for match in _REFERENCE.finditer(value) if match[1] in steps]:
                detail = f'{place}: {value!r}: a reference stands for a whole value: {{"$answer": "{inner[0]}"}}'
                raise Unreadable.because("reference", detail)
        return value

    return {key: read(value) for key, value in arguments.items()}


# --- stages 2 to 4 -------------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """What documents are read against: the draft before the stage."""

    draft: Draft

    @property
    def steps(self) -> list[str]:
        return [step.id for step in self.draft.scenario.steps]

    @property
    def names(self) -> list[str]:
        return [document.name for document in self.draft.documents]


def read_documents(text: str, given: Given) -> Documents:
    """Stage 2: a document and a gold call for each step, in the order of the steps."""
    tools = {tool.step: tool for tool in _read(_Documents, text).tools}
    _all_named(given.steps, list(tools), "step")
    ordered = [tools[step] for step in given.steps]
    return Documents(
        documents=tuple(_document(tool.document) for tool in ordered),
        calls=tuple(
            SymbolicCall(
                step=tool.step, tool=tool.document.name, arguments=_symbolic(tool.arguments, given.steps, tool.step)
            )
            for tool in ordered
        ),
    )


def read_calls(text: str, steps: Sequence[str], tools: Sequence[str]) -> tuple[SymbolicCall, ...]:
    """Stage 2 with given tools: which tool answers each step, and with which arguments. Raises Unreadable."""
    calls = {call.step: call for call in _read(_Calls, text).calls}
    _all_named(steps, list(calls), "step")
    if unknown := [call.tool for call in calls.values() if call.tool not in tools]:
        raise Unreadable.because("unknown-tool", f"there is no tool {unknown[0]!r}, expected one of {', '.join(tools)}")
    return tuple(
        SymbolicCall(step=step, tool=calls[step].tool, arguments=_symbolic(calls[step].arguments, steps, step))
        for step in steps
    )


def read_merges(text: str, given: Given) -> Documents:
    """Stage 3: the documents with the merges done; what no merge names stays as it was."""
    documents = {document.name: document for document in given.draft.documents}
    calls = {call.step: call for call in given.draft.calls}
    changes: list[Change] = []
    for merge in _read(_Merges, text).merges:
        before = list(dict.fromkeys(merge.merged))
        if len(before) < 2:
            raise Unreadable.because("merge", f"{merge.document.name}: a merge names at least two documents")
        if unknown := [name for name in before if name not in documents]:
            raise Unreadable.because("merge", f"{unknown[0]!r} is no document, or was merged twice")
        of_them = [step for step, call in calls.items() if call.tool in before]
        _all_named(of_them, [call.step for call in merge.calls], "step", f"the merge of {', '.join(before)}: ")
        place = list(documents).index(before[0])
        kept = [(name, document) for name, document in documents.items() if name not in before]
        document = _document(merge.document)
        ahead = sum(name not in before for name in list(documents)[:place])
        kept.insert(ahead, (document.name, document))
        if len(dict(kept)) < len(kept):
            raise Unreadable.because("tool-name", f"two documents are named {document.name!r}")
        documents = dict(kept)
        for call in merge.calls:
            arguments = _symbolic(call.arguments, given.steps, call.step)
            calls[call.step] = SymbolicCall(step=call.step, tool=document.name, arguments=arguments)
        detail = merge.detail.strip() or f"{', '.join(before)} as one"
        changes.append(Change(strategy="merge", tool=document.name, detail=detail, before=tuple(before)))
    return Documents(documents=tuple(documents.values()), calls=tuple(calls.values()), changes=tuple(changes))


def read_scaled(text: str, given: Given, strategies: Sequence[Strategy]) -> Documents:
    """Stage 4: every document made harder, with the gold calls of its steps. Only these strategies are recorded."""
    tools = {tool.before: tool for tool in _read(_Scaling, text).tools}
    _all_named(given.names, list(tools), "document")
    calls: dict[str, SymbolicCall] = {}
    changes: list[Change] = []
    for name in given.names:
        tool = tools[name]
        of_it = [call.step for call in given.draft.calls if call.tool == name]
        _all_named(of_it, [call.step for call in tool.calls], "step", f"{name}: ")
        for call in tool.calls:
            arguments = _symbolic(call.arguments, given.steps, call.step)
            calls[call.step] = SymbolicCall(step=call.step, tool=tool.document.name, arguments=arguments)
        changes += [
            Change(strategy=change.strategy, tool=tool.document.name, detail=change.detail.strip(), before=(name,))
            for change in tool.changes
            if change.strategy in strategies
        ]
    return Documents(
        documents=tuple(_document(tools[name].document) for name in given.names),
        calls=tuple(calls[call.step] for call in given.draft.calls),
        changes=tuple(changes),
    )


def _all_named(expected: Sequence[str], found: Sequence[str], what: str, place: str = "") -> None:
    """Raises Unreadable unless exactly the expected names were given, each once."""
    complaints = [
        *(Complaint("missing", f"{place}{what} {name!r} is missing") for name in expected if name not in found),
        *(Complaint("unknown", f"{place}there is no {what} {name!r} here") for name in found if name not in expected),
    ]
    if complaints:
        raise Unreadable(complaints[:_MOST_COMPLAINTS])


def _document(form: _Document) -> ToolSchema:
    return ToolSchema(
        name=form.name.strip(), description=form.description.strip(), parameters=form.parameters, output=form.output
    )


# --- stage 5 -------------------------------------------------------------------------------------------------------


def read_deployment(text: str, wanted: Sequence[str], before: Mapping[str, str]) -> Deployment:
    """Stage 5: the source of each wanted function, out of fenced Python, and the trials out of a fenced JSON block.

    `before` are sources of an earlier reply: they stay unless they are written again. JSON with `sources` in place of
    the fences is read too. Raises Unreadable, with the complete sources in `partial`.
    """
    answer = without_thinking(text)
    blocks = fences(answer)
    code = [block.text for block in blocks if block.language in ("python", "py", "python3", "")]
    sources = dict(before)
    broken: list[Complaint] = []
    for block in code:
        try:
            sources |= _functions(block, wanted)
        except ValueError as error:
            if any(f"def {name}" in block for name in wanted):
                broken.append(Complaint("source-invalid", f"Python that cannot be parsed: {error}"))
    trials: tuple[Trial, ...] = ()
    others = [block.text for block in blocks if block.language in ("json", "")]
    if not code or not sources:
        sources |= _sources_in_json(answer, wanted)
    for block in others:
        try:
            value = read_json(block)
            form = _validated(_Trials, {"trials": value} if isinstance(value, list) else value)
        except Unreadable:
            continue  # trials save a search; without them the gates search
        trials = tuple(Trial(tool=t.tool, arguments=t.arguments, variants=t.variants) for t in form.trials)
    trials = tuple(trial for trial in trials if trial.tool in wanted)
    if missing := [name for name in wanted if name not in sources]:
        if not code and is_refusal(answer):
            raise Unreadable.because("refused", "the reply declines; a Python function for each document is expected")
        if not answer.strip():
            raise Unreadable.because("refused", "the reply was empty; a Python function for each document is expected")
        absent = [Complaint("function-missing", f"no fenced Python block defines {name}") for name in missing]
        error = Unreadable((broken + absent)[:_MOST_COMPLAINTS])
        error.partial = {name: source for name, source in sources.items() if name in wanted}
        raise error
    return Deployment(sources={name: sources[name] for name in wanted}, trials=trials)


def _functions(block: str, wanted: Sequence[str]) -> dict[str, str]:
    """The wanted functions that a block defines. One alone keeps the whole block; several share only its imports."""
    import ast

    tree = parse_source(block)
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in wanted}
    if len(found) == 1:
        return {name: block.strip() + "\n" for name in found}
    lines = block.splitlines()

    def text_of(node: ast.stmt) -> str:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        return "\n".join(lines[first - 1 : node.end_lineno])

    imports = [text_of(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    head = "\n".join(imports) + "\n\n\n" if imports else ""
    return {name: head + text_of(node) + "\n" for name, node in found.items()}


def _sources_in_json(answer: str, wanted: Sequence[str]) -> dict[str, str]:
    try:
        value = read_json(answer)
    except Unreadable:
        return {}
    sources = value.get("sources") if isinstance(value, dict) else None
    return dict(_texts(sources, wanted)) if isinstance(sources, dict) else {}


def _texts(sources: Mapping[str, JsonValue], wanted: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in wanted:
        if isinstance(text := sources.get(name), str):
            yield name, text
