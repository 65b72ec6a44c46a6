"""From a design to the document that the model sees, and from a function's inputs to gold arguments.

An input can be given in several forms (parameter type generalization): a name as it is, as a list of spellings, or in
an object; a year in digits or as an integer; a date as an object; a choice as an enum. What carries the answer of an
earlier step stays a text, a number or a list, has no default and is never a choice.
"""

from __future__ import annotations

import keyword
import random
from collections.abc import Mapping
from typing import cast

from pydantic import JsonValue

from toolfoundry.build.authors.procedural.design import Design, Form, result_kind
from toolfoundry.build.authors.procedural.naming import input_name
from toolfoundry.build.authors.procedural.plan import Input
from toolfoundry.symbolic import answer_of, references
from toolfoundry.types import ToolSchema

__all__ = ["plain_form", "retyped_form", "to_document", "written"]

_MATCHING = (
    "Upper and lower case do not matter.",
    "Give the full name.",
    "The name as it is usually written.",
    "Case is ignored.",
)
_DIGITS: Mapping[str, JsonValue] = {"pattern": "^[0-9]{4}$", "examples": ["1842"]}
_NOTHING: Mapping[str, JsonValue] = {}


def plain_form(given: Input) -> Form:
    """The form that an input has in the document of stage 2: texts where that will do."""
    name = _usable(given.name)
    if given.value.kind == "year":
        return Form(name, {"type": "string", "description": f"{_said(given)} In four digits."}, "text")
    if given.value.kind == "choice":
        choices = ", ".join(given.value.choices)
        text = _said(given) if choices in given.description else f"{_said(given)} One of {choices}."
        return Form(name, {"type": "string", "description": text})
    return Form(name, {**_typed(given), "description": _said(given)})


def retyped_form(
    given: Input, level: int, kept: bool, alone: bool, rng: random.Random, *, renamed: bool = True
) -> Form:
    """The form that an input has in a scaled document; `alone`: it is the function's only input.

    `kept`: it carries an earlier answer, or must be given as it is said: then it is never a choice.
    """
    name = _usable(input_name(given, rng) if renamed else given.name)
    text = _said(given)
    kind = given.value.kind
    draw = rng.random() / (0.5, 0.7, 1, 1.6)[level]
    if level == 0:
        form = plain_form(given)
        return form._replace(name=name)
    if kind == "entity":
        if rng.random() < 0.4:
            text = f"{text} {rng.choice(_MATCHING)}"
        if alone and draw < 0.025:
            many: dict[str, JsonValue] = {"type": "array", "items": {"type": "string"}, "minItems": 1}
            said = f"{text} Several spellings may be given; the first that is known counts."
            return Form(f"{name}s" if renamed else name, {**many, "description": said}, "tried")
        if draw < 0.045:
            fields: dict[str, JsonValue] = {"name": {"type": "string", "description": text}}
            schema: dict[str, JsonValue] = {"type": "object", "properties": fields, "required": ["name"]}
            return Form(
                name, {**schema, "description": f"The {given.name.replace('_', ' ')} that is asked about."}, "named"
            )
        return Form(name, {"type": "string", "description": text})
    if kind == "year":
        if draw < 0.3:
            bounds: dict[str, JsonValue] = {"minimum": 1000} if rng.random() < 0.8 else {}
            return Form(name, {"type": "integer", "description": text, **bounds})
        digits: Mapping[str, JsonValue] = _DIGITS if rng.random() < 0.04 and not kept else _NOTHING
        return Form(name, {"type": "string", "description": f"{text} In four digits.", **digits}, "text")
    if kind == "choice" and not kept:
        return Form(name, {"type": "string", "description": text, "enum": [*given.value.choices]})
    if kind == "choice":
        return plain_form(given)
    if kind == "date":
        if draw < 0.1 and not kept:
            part: dict[str, JsonValue] = {"type": "integer"}
            fields = {"year": part, "month": part, "day": part}
            schema = {"type": "object", "properties": fields, "required": [*fields]}
            return Form(name, {**schema, "description": text}, "parts")
        dated: dict[str, JsonValue] = {"format": "date"} if rng.random() < 0.35 else {}
        return Form(name, {"type": "string", "description": f"{text} Written YYYY-MM-DD.", **dated})
    return Form(name, {**_typed(given), "description": text})


def _usable(name: str) -> str:
    """The name, unless Python has it for itself."""
    return f"{name}_wanted" if keyword.iskeyword(name) else name


def _said(given: Input) -> str:
    text = given.description.strip()
    text = text[:1].upper() + text[1:]
    if text and text[-1] not in ".!?":
        text += "."
    if given.value.unit and given.value.kind in ("number", "integer"):
        text += f" In {given.value.unit}."
    return text


def _typed(given: Input) -> dict[str, JsonValue]:
    match given.value.kind:
        case "number":
            return {"type": "number"}
        case "integer" | "year":
            return {"type": "integer"}
        case "boolean":
            return {"type": "boolean"}
        case "numbers":
            return {"type": "array", "items": {"type": "number"}}
        case "dates" | "names":
            return {"type": "array", "items": {"type": "string"}}
        case _:
            return {"type": "string"}


def written(form: Form, value: JsonValue) -> JsonValue:
    """A value, or a reference to an answer, as an argument of that form."""
    match form.way:
        case "text":
            step = next(references(value), None)
            return answer_of(step, as_text=True) if step is not None else str(value)
        case "tried":
            return [value]
        case "named":
            return {"name": value}
        case "parts":
            year, month, day = map(int, str(value).split("-"))
            return {"year": year, "month": month, "day": day}
        case _:
            return value


def to_document(design: Design) -> ToolSchema:
    """The document of a design: required parameters first, then optional ones."""
    properties: dict[str, JsonValue] = {form.name: dict(form.schema) for form in design.forms}
    required: list[JsonValue] = [form.name for form in design.forms]
    if design.selector:
        schema: dict[str, JsonValue] = {"type": "string", "description": design.selector_text, "enum": [*design.keys]}
        properties[design.selector] = schema
        required.append(design.selector)
    for part in design.parts:
        properties[part.name] = cast("JsonValue", part.schema)
    parameters: dict[str, JsonValue] = {"type": "object", "properties": properties, "required": required}
    # not validated again: it is made of plain values, and there are many
    return ToolSchema.model_construct(
        name=design.name, description=design.description, parameters=parameters, output=_output(design)
    )


def _output(design: Design) -> dict[str, JsonValue]:
    """What a call gives; with options that change the form, a text, or an object with further fields, as well."""
    kinds = sorted({_JSON_KINDS[result_kind(function)] for function in design.aspects})
    changed = {kind for part in design.parts for kind in _FORMS_OF_PHASE[part.phase]}
    if design.record:
        key = "value" if design.selector else design.keys[0]
        more = sorted({*kinds, *(changed - {"object"})})
        value: dict[str, JsonValue] = {"type": more[0] if len(more) == 1 else [*more]}
        value["description"] = f"The {key.replace('_', ' ')}."
        record: dict[str, JsonValue] = {"type": "object", "properties": {key: value}, "required": [key]}
        if any(part.phase == "output" for part in design.parts):
            record = {
                "description": "An object, unless another form is asked for.",
                "type": ["array", "object", "string"],
            }
        return record
    kinds = sorted({*kinds, *changed})
    text = (
        f"The {design.keys[design.aspect].replace('_', ' ')}" if not design.selector else "The fact that is asked for"
    )
    return {"type": kinds[0] if len(kinds) == 1 else [*kinds], "description": f"{text}."}


_JSON_KINDS = {
    "name": "string",
    "text": "string",
    "date": "string",
    "number": "number",
    "year": "number",
    "boolean": "boolean",
    "list": "array",
    "mixed": "string",
}
_FORMS_OF_PHASE = {
    "record": (),
    "number": (),
    "added": ("object",),
    "text": ("string",),
    "dressed": ("string",),
    "output": ("array", "object", "string"),
}
