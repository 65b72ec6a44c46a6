"""The computations that a tool can be asked for, with their wordings.

A line of `computations.txt` is  NAME | DOMAIN | NOUN | INPUTS | WORDINGS.  INPUTS are `parameter: value; ...` in the
form of a fact's OUTPUT, or `numbers`, `dates`, `names`, `text`, `unit of length`; DAY and CONVERTED stand for what is
often repeated. In WORDINGS, noun phrases all, a list is written "A, B and C", and {pairs} are names with their values.
A line with * can be asked by itself: its answer does not stand in its inputs.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import NamedTuple

from toolfoundry.build.authors.procedural.catalogue.table import table
from toolfoundry.build.authors.procedural.plan import Function, Input, Value
from toolfoundry.computations import COMPUTATIONS

__all__ = ["UNIT_WORDS", "Computed", "computed"]

# The units of `toolfoundry.computations`, by quantity, with what they are called.
UNIT_WORDS = {
    "length": {
        "mm": "millimetres", "cm": "centimetres", "m": "metres", "km": "kilometres", "inch": "inches", "foot": "feet",
        "yard": "yards", "mile": "miles",
    },
    "mass": {
        "g": "grams", "kg": "kilograms", "tonne": "tonnes", "ounce": "ounces", "pound": "pounds", "stone": "stone",
    },
    "volume": {
        "ml": "millilitres", "litre": "litres", "hectolitre": "hectolitres", "cubic metre": "cubic metres",
        "pint": "pints", "gallon": "gallons",
    },
    "area": {
        "m2": "square metres", "are": "ares", "hectare": "hectares", "km2": "square kilometres", "acre": "acres",
        "square mile": "square miles",
    },
    "speed": {"m/s": "metres per second", "km/h": "kilometres per hour", "mph": "miles per hour", "knot": "knots"},
    "duration": {"second": "seconds", "minute": "minutes", "hour": "hours", "day": "days", "week": "weeks"},
    "temperature": {"celsius": "degrees Celsius", "fahrenheit": "degrees Fahrenheit", "kelvin": "kelvins"},
}  # fmt: skip
_SHORT = {
    "DAY": "date 1951..2019",
    "CONVERTED": "{value} {from_unit} converted to {to_unit} / the value of {value} {from_unit} in {to_unit} / "
    "{value} {from_unit} expressed in {to_unit} / the number of {to_unit} in {value} {from_unit} / "
    "what {value} {from_unit} come to in {to_unit} / the equivalent of {value} {from_unit} in {to_unit}",
}


class Computed(NamedTuple):
    """A computation as a function, with its wordings. `alone`: it can be asked by itself."""

    function: Function
    wordings: tuple[str, ...]
    alone: bool


_OUTPUTS = {
    "number": Value("number", decimals=4),
    "date": Value("date", low=1900, high=2100),
    "text": Value("text"),
    "list": Value("names"),
}


@cache
def computed() -> dict[str, Computed]:
    """All computations that tools do, by name, in a fixed order."""
    found: dict[str, Computed] = {}
    for line in table("computations.txt"):
        for short, text in _SHORT.items():
            line = line.replace(short, text)  # noqa: PLW2901
        start, domain, noun, inputs, wordings = line.split(" | ")
        name = start.lstrip("*")
        computation = COMPUTATIONS[name]
        whole = inspect.get_annotations(computation.function)["return"] == "int"
        output = Value("integer") if whole else _OUTPUTS[computation.returns]
        values = tuple(_input(*part.split(": ")) for part in inputs.split("; ") if ": " in part)
        summary = computation.summary[0].lower() + computation.summary[1:].rstrip(".")
        function = Function(f"compute.{name}", "computation", domain, noun, summary, values, output, name)
        found[name] = Computed(function, tuple(wordings.split(" / ")), start.startswith("*"))
    return found


def _input(name: str, form: str) -> Input:
    what = name.replace("_", " ").capitalize()
    if form.startswith("unit of "):
        units = UNIT_WORDS[form.removeprefix("unit of ")]
        return Input(name, f"{what} (one of {', '.join(units)})", Value("choice", choices=tuple(units)))
    if form.startswith("of "):
        return Input(name, what, Value("choice", choices=tuple(form[3:].split(","))))
    if form.startswith("date "):
        low, high = form[5:].split("..")
        return Input(name, f"{what}, written YYYY-MM-DD", Value("date", low=int(low), high=int(high)))
    if form in ("numbers", "dates", "names", "text"):
        return Input(name, what if form != "dates" else f"{what}, written YYYY-MM-DD", Value(form))
    low, high = form.split("..")
    decimals = len(low.partition(".")[2])
    kind = "number" if decimals else "integer"
    return Input(name, what, Value(kind, low=float(low), high=float(high), decimals=decimals))
