"""Stage 2, document generation: for each sub-question one tool document, and the arguments that answer it.

What is checked here is also what must hold after integration and scaling (`complaints_about`): documents that every
endpoint takes, gold arguments that are valid under them, that refer to exactly the answers their step needs and say
none of them, and nothing in a document that gives an answer away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, cast

import orjson
from pydantic import JsonValue

from toolfoundry.answers import equals, holds, rules_out, scalars, spelling
from toolfoundry.build.asking import settle
from toolfoundry.build.author import Author
from toolfoundry.build.decompose import is_choice
from toolfoundry.build.draft import Complaint, Decomposition, Documents, Draft, SymbolicCall
from toolfoundry.check.static import document_texts, telling
from toolfoundry.schemas import SchemaError, compile_if_valid, compile_schema
from toolfoundry.symbolic import references, resolve
from toolfoundry.types import Answer, ToolSchema

__all__ = ["complaints_about", "document"]

_INVISIBLE = re.compile(  # the two joiners are part of some scripts, but not beside ASCII
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\U000e0000-\U000e007f]|(?<=[\\x00-\\x7f])[\u200c\u200d]"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


async def document(draft: Draft, author: Author) -> Draft:
    """The draft with one document and one gold call for each step. Raises Rejected."""
    documents = await settle(partial(author.document, draft), partial(_judge, draft.scenario), author)
    return draft.model_copy(
        update={
            "stage": "document",
            "documents": documents.documents,
            "calls": documents.calls,
            "changes": (*draft.changes, *documents.changes),
        }
    )


def _judge(scenario: Decomposition, given: Documents) -> list[Complaint]:
    complaints = complaints_about(scenario, given)
    if not complaints and len(given.documents) != len(scenario.steps):
        found = f"found {len(given.documents)} documents for {len(scenario.steps)} steps, expected one each"
        complaints.append(Complaint("one-to-one", found))
    return complaints


def complaints_about(scenario: Decomposition, given: Documents) -> list[Complaint]:
    """What is wrong with documents and gold calls, as texts that their author can act on."""
    documents = {document.name: document for document in given.documents}
    broken = [*_names(given), *(complaint for document in given.documents for complaint in _schema(document))]
    if broken:
        return broken
    answers = {step.id: step.answer for step in scenario.steps}
    needs = {step.id: step.needs for step in scenario.steps}
    return [
        *(complaint for document in given.documents for complaint in _hidden(document)),
        *_mapping(scenario, given),
        *(c for call in given.calls if call.step in needs for c in _call(call, documents, answers, needs[call.step])),
        *_leaks(scenario, given),
    ]


def _names(given: Documents) -> Iterator[Complaint]:
    seen: set[str] = set()
    for document in given.documents:
        if not _NAME.fullmatch(document.name):
            yield Complaint(
                "tool-name", f"tool name {document.name!r}: expected a Python identifier of at most 64 letters"
            )
        elif document.name in seen:
            yield Complaint("tool-name", f"two tools are named {document.name!r}")
        if not document.description.strip():
            yield Complaint("no-description", f"{document.name}: the description is empty")
        seen.add(document.name)


def _schema(document: ToolSchema) -> Iterator[Complaint]:
    for what, schema in (("parameters", document.parameters), ("output", document.output)):
        if schema is None:
            yield Complaint("no-output-schema", f"{document.name}: there is no output schema")
            continue
        try:
            compile_schema(schema)
        except SchemaError as error:
            yield Complaint("schema-invalid", f"{document.name}: {what}: {error}")
    parameters = document.parameters
    if parameters.get("type") != "object" or not isinstance(parameters.get("properties"), dict):
        yield Complaint("schema-invalid", f"{document.name}: parameters: expected type object with properties")
        return
    properties = cast("dict[str, Any]", parameters["properties"])
    required = parameters.get("required", [])
    if not isinstance(required, list) or any(str(name) not in properties for name in required):
        yield Complaint("schema-invalid", f"{document.name}: required: expected a list of names in properties")
    if b'"$ref":' in orjson.dumps(parameters):
        yield Complaint("schema-invalid", f"{document.name}: parameters: found $ref, expected each schema in its place")
    for name, part in properties.items():
        if not isinstance(part, dict):
            shown = f"found {orjson.dumps(part).decode()[:80]}, expected an object"
            yield Complaint("schema-invalid", f"{document.name}: parameter {name!r}: {shown}")
        if not name.isidentifier():
            yield Complaint("parameter-name", f"{document.name}: parameter {name!r} is not a Python identifier")


def _hidden(document: ToolSchema) -> Iterator[Complaint]:
    """Characters that a reader does not see: they can hide an answer from every comparison, or turn text around."""
    for place, text in document_texts(document):
        if not text.isascii() and (found := _INVISIBLE.search(text)):
            detail = f"{document.name}: {place}: found the invisible character U+{ord(found[0]):04X}, expected none"
            yield Complaint("hidden-character", detail)


def _mapping(scenario: Decomposition, given: Documents) -> Iterator[Complaint]:
    steps = [step.id for step in scenario.steps]
    found = [call.step for call in given.calls]
    if missing := [step for step in steps if step not in found]:
        yield Complaint("step-lost", f"no gold call answers {', '.join(missing)}")
    if unknown := [step for step in found if step not in steps]:
        yield Complaint("unknown-step", f"a gold call is for {unknown[0]!r}, but there is no such step")
    if len(set(found)) < len(found):
        yield Complaint("step-twice", "a step has two gold calls")
    if found != steps and sorted(found) == sorted(steps):
        yield Complaint("call-order", f"gold calls stand in the order of the steps: {', '.join(steps)}")


def _call(
    call: SymbolicCall, documents: Mapping[str, ToolSchema], answers: Mapping[str, Answer], needs: tuple[str, ...]
) -> Iterator[Complaint]:
    document = documents.get(call.tool)
    if document is None:
        yield Complaint("unknown-tool", f"the gold call of {call.step} is to {call.tool!r}, which has no document")
        return
    used = set(references(call.arguments))
    for need in needs:
        if need not in used:
            detail = f'the arguments of {call.step} must contain {{"$answer": "{need}"}}: the step needs that answer'
            yield Complaint("parent-unused", detail)
    for step in used.difference(needs):
        yield Complaint(
            "parent-unneeded", f"the arguments of {call.step} refer to {step}, which its question does not need"
        )
    said = {need for need in needs for value in _literals(call.arguments) if equals(answers[need], str(value))}
    for need in sorted(said):
        if telling(answers[need]):
            detail = f'the arguments of {call.step} say the answer of {need}: write {{"$answer": "{need}"}}'
            yield Complaint("parent-said", detail)
    if used - answers.keys():
        return
    arguments = resolve(call.arguments, answers)
    validator = compile_if_valid(document.parameters)
    if validator is not None and not validator.is_valid(arguments):
        error = next(iter(validator.iter_errors(arguments)))
        place = ".".join(str(part) for part in error.instance_path)
        shown = orjson.dumps(arguments).decode()[:200]
        detail = (
            f"the gold arguments of {call.step} are not valid for {call.tool}: {place or 'arguments'}: {error.message}"
        )
        yield Complaint("gold-invalid", f"{detail} (found {shown})")
    yield from _carried(call, document)


def _carried(call: SymbolicCall, document: ToolSchema) -> Iterator[Complaint]:
    properties = cast("dict[str, dict[str, Any]]", document.parameters.get("properties", {}))
    for name, value in call.arguments.items():
        if not any(True for _ in references(value)):
            continue
        for part in _carrying(value, properties.get(name, {})):
            way = "an enum" if "enum" in part or "const" in part else ""
            way = way or ("a default" if part.get("default") is not None else "")
            way = way or ("a boolean" if part.get("type") == "boolean" else "")
            if way:
                detail = f"{call.tool}.{name} carries the answer of an earlier step and has {way}: it could be guessed"
                yield Complaint("carried-enum", detail)
                break
        if name not in cast("list[str]", document.parameters.get("required", [])):
            yield Complaint(
                "carried-optional", f"{call.tool}.{name} carries the answer of an earlier step: make it required"
            )


def _carrying(value: JsonValue, schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schemas of a value and of its parts, down to the references; what stands beside those may be a choice."""
    if not any(True for _ in references(value)):
        return
    yield schema
    for keyword in ("anyOf", "oneOf", "allOf"):
        for branch in schema.get(keyword) or ():
            if isinstance(branch, dict):
                yield from _carrying(value, cast("dict[str, Any]", branch))
    if isinstance(value, list):
        parts = [(part, schema.get("items")) for part in value]
    elif isinstance(value, dict) and "$answer" not in value:
        fields = schema.get("properties")
        schemas = cast("dict[str, Any]", fields) if isinstance(fields, dict) else {}
        parts = [(part, schemas.get(name)) for name, part in value.items()]
    else:
        return
    for part, inner in parts:
        if isinstance(inner, dict):
            yield from _carrying(part, cast("dict[str, Any]", inner))


def _literals(value: JsonValue) -> Iterator[str | int | float | bool]:
    """The scalars of arguments, references left out."""
    if isinstance(value, dict) and "$answer" in value:
        return
    if isinstance(value, dict):
        for part in value.values():
            yield from _literals(part)
    elif isinstance(value, list):
        for part in value:
            yield from _literals(part)
    else:
        yield from (leaf for leaf in scalars(value) if leaf is not None)


def _leaks(scenario: Decomposition, given: Documents) -> Iterator[Complaint]:
    told = {step.id: step for step in scenario.steps if telling(step.answer) and not is_choice(step, scenario)}
    if not told:
        return
    texts = [(document.name, place, text) for document in given.documents for place, text in document_texts(document)]
    everything = "\n".join(text for *_, text in texts)
    for step in told.values():
        if rules_out(step.answer, everything):
            continue
        for name, place, text in texts:
            if holds(step.answer, text):
                detail = f"{name}: {place}: gives away the answer of {step.id}, {spelling(step.answer)!r}"
                yield Complaint("answer-in-document", detail)
