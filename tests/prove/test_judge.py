"""What counts: no error reports, no quoted arguments, no numbers from free operands."""

import pytest

from toolfoundry.answers import infer
from toolfoundry.prove.judge import brought, computed, guessed, replaced, reports_error

NUMBERS = {"type": "object", "properties": {"values": {"type": "array", "items": {"type": "number"}}}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"error": "no such town"}', True),
        ('{"error": null, "town": "Prüm"}', False),
        ('{"status": "error", "message": "use one of Prüm, Trier"}', True),
        ('{"success": false, "hint": "Prüm"}', True),
        ('{"Error": "Prüm"}', True),
        ("Error: 'town' must be one of ['Prüm']", True),
        ("an error occured when call f: Prüm", True),
        ("Invalid town. Valid towns: Prüm", True),
        ("The error of the survey is 5 m", False),
        ('{"town": "Prüm", "errors": []}', False),
        ("Unknown Soldier", False),
    ],
)
def test_error_reports(content, expected):
    """Results that report an error are told from those that only mention one."""
    assert reports_error(content) is expected


def largest(values, label="x"):
    return f"The largest is {max(values)}"


COMPUTED = {
    "maximum": (lambda values: f"largest {max(values)}", "12", {"values": [5, 12, 7]}),
    "minimum": (lambda values: f"smallest {min(values)}", "5", {"values": [5, 12, 7]}),
    "sum with zero": (lambda a, b: str(a + b), "12", {"a": 12, "b": 0}),
    "ranking": (
        lambda items: ", ".join(item["name"] for item in sorted(items, key=lambda item: item["value"])),
        "b, a",
        {"items": [{"name": "a", "value": 9}, {"name": "b", "value": 3}]},
    ),
    "choice": (
        lambda items: max(items, key=lambda item: item["value"])["name"],
        "Nile",
        {"items": [{"name": "Nile", "value": 9}, {"name": "Rhine", "value": 3}]},
    ),
    "name with an apostrophe": (lambda name: name.split()[-1], "O'Sullivan", {"name": "Gilbert O'Sullivan"}),
    "longest word": (lambda text: max(text.split(), key=len), "University", {"text": "a University of it"}),
    "last name": (lambda name: name.split()[-1], "Russell", {"name": "Oliver Russell"}),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_choices_and_calculations_are_computed(name):
    """An answer that the code picks or calculates counts although it stands in the arguments."""
    tool, answer, arguments = COMPUTED[name]
    assert brought(infer(answer), arguments)
    assert computed(infer(answer), arguments, {}, tool(**arguments), lambda a: tool(**a))


QUOTED = {
    "plain": (lambda name: f"No data on {name}.", "Prüm", {"name": "Prüm"}),
    "confirmed look-up": (
        lambda name: f"{name} has a quarry." if name == "Mount Fuji" else f"No quarry on {name}.",
        "Mount Fuji",
        {"name": "Mount Fuji"},
    ),
    "on condition of a number": (
        lambda name, year: f"{name} it was" if year == 1949 else "nothing it was",
        "Prüm",
        {"name": "Prüm", "year": 1949},
    ),
    "a number on condition of another": (
        lambda n, year: f"Deaths: {n if year == 1949 else 0}",
        "12",
        {"n": 12, "year": 1949},
    ),
    "picked by index": (lambda items, i: items[i % 2], "Prüm", {"items": ["Prüm", "Trier"], "i": 0}),
    "picked by key": (lambda row, key: row[key], "Prüm", {"row": {"a": "Prüm", "b": "Trier"}, "key": "a"}),
    "all of a list": (lambda values: f"got {values}", "12", {"values": [5, 12, 7]}),
    "in parts": (lambda a, b: f"{a}: {b}", "Boulder, Colorado", {"a": "Boulder", "b": "Colorado"}),
    "a rotated title in two places": (
        lambda title, roles: f"{title}: {'; '.join(roles)}" if title == "The Black Belly" else ", ".join(roles),
        "Black Belly",
        {"title": "The Black Belly", "roles": ["Black Belly"]},
    ),
}


@pytest.mark.parametrize("name", QUOTED)
def test_quotations_are_not_computed(name):
    """An answer that the result only repeats from the arguments never counts."""
    tool, answer, arguments = QUOTED[name]

    def run(other):
        try:
            return tool(**other)
        except (LookupError, TypeError):
            return None

    assert brought(infer(answer), arguments)
    assert not computed(infer(answer), arguments, {}, tool(**arguments), run)


def test_a_number_needs_operands_that_somebody_told():
    """With a free operand a calculator gives any number; a number of the code itself needs none."""
    source = "def f(a, b):\n    '''30000 is in a docstring only'''\n    return a / b if b else 77"
    answer, arguments = infer("30,000"), {"a": 1500000, "b": 50}
    assert guessed(answer, arguments, {("a",): "goal:g5", ("b",): "code"}, source)
    assert not guessed(answer, arguments, {("a",): "goal:g5", ("b",): "question"}, source)
    assert not guessed(infer("77"), arguments, {("a",): "code", ("b",): "code"}, source)


def test_replaced_leaves_the_original_alone():
    """Changing one place copies the containers on the way."""
    before = {"a": {"b": [1, 2]}, "c": 3}
    assert replaced(before, ("a", "b", 1), 9) == {"a": {"b": [1, 9]}, "c": 3}
    assert before == {"a": {"b": [1, 2]}, "c": 3}
