"""Computations over answers: what a final answer follows by, and what a computing tool does.

Each is a pure function over JSON values whose whole meaning stands in its own body: no module-level names, imports
inside. So its source can be the heart of a tool, and the host and the sandbox compute the same thing by the same
lines. Bad input raises ValueError with a text that a caller can act on. Numbers are rounded, so that a sum of decimals
has no tail, and whole results are integers. Names are compared without regard to case.

Not covered: time zones, leap seconds, calendars before 1582, units that are not in the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from pydantic import JsonValue

from toolfoundry.errors import InputError
from toolfoundry.symbolic import references, resolve
from toolfoundry.types import Answer, AnswerType, Final

__all__ = ["COMPUTATIONS", "Computation", "ComputationError", "compute", "follow"]


class Computation(NamedTuple):
    """A function of this module. `returns` is the type of its answer; `summary` the first line of its docstring."""

    name: str
    function: Callable[..., Any]
    returns: AnswerType
    summary: str


class ComputationError(InputError):
    """An operation that does not exist, or arguments that it cannot take; names both."""


def compute(operation: str, arguments: Mapping[str, JsonValue]) -> Answer:
    """The typed answer of one computation. Raises ComputationError."""
    if operation not in COMPUTATIONS:
        raise ComputationError(f"computation {operation!r}: there is none of that name")
    computation = COMPUTATIONS[operation]
    try:
        value = computation.function(**arguments)
    except (ValueError, TypeError, ArithmeticError, AttributeError, LookupError) as error:
        raise ComputationError(f"computation {operation!r} of {dict(arguments)!r:.200}: {error}") from None
    return Answer(type=computation.returns, value=value)


def follow(final: Final, answers: Mapping[str, Answer]) -> Answer:
    """The final answer that follows from the sub-answers. Raises ComputationError.

    Beside the computations there are two operations that only collect: "answer" with `value`, one reference, is that
    answer as it is; "list" with `values`, several, is a list of them in order.
    """
    if missing := [step for step in references(final.arguments) if step not in answers]:
        raise ComputationError(f"final {final.operation!r}: no answer of step {missing[0]!r}")
    if final.operation == "answer":
        steps = list(references(final.arguments.get("value")))
        if set(final.arguments) != {"value"} or len(steps) != 1:
            raise ComputationError("final 'answer': expected one argument, 'value', with one reference to a step")
        return answers[steps[0]]
    arguments = cast("dict[str, JsonValue]", resolve(final.arguments, answers))
    if final.operation == "list":
        values = arguments.get("values")
        if set(arguments) != {"values"} or not isinstance(values, list) or not values:
            raise ComputationError("final 'list': expected one argument, 'values', with at least one reference")
        return Answer(type="list", value=values)
    return compute(final.operation, arguments)


# --- dates ---------------------------------------------------------------------------------------------------------


def days_between(start: str, end: str) -> int:
    """The number of days between two dates."""
    import datetime

    try:
        first, second = datetime.date.fromisoformat(start), datetime.date.fromisoformat(end)
    except ValueError:
        raise ValueError("start and end must be dates written YYYY-MM-DD") from None
    return abs((second - first).days)


def weeks_between(start: str, end: str) -> int:
    """The number of whole weeks between two dates."""
    import datetime

    try:
        first, second = datetime.date.fromisoformat(start), datetime.date.fromisoformat(end)
    except ValueError:
        raise ValueError("start and end must be dates written YYYY-MM-DD") from None
    return abs((second - first).days) // 7


def months_between(start: str, end: str) -> int:
    """The number of whole months between two dates."""
    import datetime

    try:
        first, second = sorted((datetime.date.fromisoformat(start), datetime.date.fromisoformat(end)))
    except ValueError:
        raise ValueError("start and end must be dates written YYYY-MM-DD") from None
    months = (second.year - first.year) * 12 + second.month - first.month
    return months - 1 if second.day < first.day else months


def years_between(start: str, end: str) -> int:
    """The number of whole years between two dates."""
    import datetime

    try:
        first, second = sorted((datetime.date.fromisoformat(start), datetime.date.fromisoformat(end)))
    except ValueError:
        raise ValueError("start and end must be dates written YYYY-MM-DD") from None
    years = second.year - first.year
    return years - 1 if (second.month, second.day) < (first.month, first.day) else years


def age_on(birth_date: str, date: str) -> int:
    """The age in whole years that somebody has on a date."""
    import datetime

    try:
        birth, day = datetime.date.fromisoformat(birth_date), datetime.date.fromisoformat(date)
    except ValueError:
        raise ValueError("birth_date and date must be dates written YYYY-MM-DD") from None
    if day < birth:
        raise ValueError("date must not be before birth_date")
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))


def add_days(date: str, days: int) -> str:
    """The date a number of days after another."""
    import datetime

    try:
        return (datetime.date.fromisoformat(date) + datetime.timedelta(days=days)).isoformat()
    except (ValueError, OverflowError):
        raise ValueError("date must be written YYYY-MM-DD, and the result must lie in the years 1 to 9999") from None


def subtract_days(date: str, days: int) -> str:
    """The date a number of days before another."""
    import datetime

    try:
        return (datetime.date.fromisoformat(date) - datetime.timedelta(days=days)).isoformat()
    except (ValueError, OverflowError):
        raise ValueError("date must be written YYYY-MM-DD, and the result must lie in the years 1 to 9999") from None


def add_months(date: str, months: int) -> str:
    """The date a number of months after another; a day that the month does not have becomes its last."""
    import calendar
    import datetime

    try:
        day = datetime.date.fromisoformat(date)
    except ValueError:
        raise ValueError("date must be written YYYY-MM-DD") from None
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if not 1 <= year <= 9998:
        raise ValueError("the result must lie in the years 1 to 9998")
    return datetime.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1])).isoformat()


def weekday_of(date: str) -> str:
    """The day of the week on which a date falls."""
    import datetime

    try:
        day = datetime.date.fromisoformat(date)
    except ValueError:
        raise ValueError("date must be written YYYY-MM-DD") from None
    return ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"][day.weekday()]


def day_of_year(date: str) -> int:
    """The number of a date within its year; the first of January is 1."""
    import datetime

    try:
        return datetime.date.fromisoformat(date).timetuple().tm_yday
    except ValueError:
        raise ValueError("date must be written YYYY-MM-DD") from None


def days_left_in_year(date: str) -> int:
    """The number of days that are left in a date's year after it."""
    import datetime

    try:
        day = datetime.date.fromisoformat(date)
    except ValueError:
        raise ValueError("date must be written YYYY-MM-DD") from None
    return (datetime.date(day.year, 12, 31) - day).days


def year_of(date: str) -> int:
    """The year of a date."""
    import datetime

    try:
        return datetime.date.fromisoformat(date).year
    except ValueError:
        raise ValueError("date must be written YYYY-MM-DD") from None


def earliest_date(dates: list[str]) -> str:
    """The earliest of several dates."""
    import datetime

    if not dates:
        raise ValueError("dates must hold at least one date")
    try:
        return min(datetime.date.fromisoformat(date) for date in dates).isoformat()
    except ValueError:
        raise ValueError("dates must be written YYYY-MM-DD") from None


def latest_date(dates: list[str]) -> str:
    """The latest of several dates."""
    import datetime

    if not dates:
        raise ValueError("dates must hold at least one date")
    try:
        return max(datetime.date.fromisoformat(date) for date in dates).isoformat()
    except ValueError:
        raise ValueError("dates must be written YYYY-MM-DD") from None


# --- units ---------------------------------------------------------------------------------------------------------


def convert_length(value: float, from_unit: str, to_unit: str) -> float:
    """A length in another unit, to four decimals."""
    metres = {
        "mm": 0.001,
        "cm": 0.01,
        "m": 1,
        "km": 1000,
        "inch": 0.0254,
        "foot": 0.3048,
        "yard": 0.9144,
        "mile": 1609.344,
    }
    for unit in (from_unit, to_unit):
        if unit not in metres:
            raise ValueError("unit " + repr(unit) + " is not one of " + ", ".join(metres))
    if abs(value) > 1e12:
        raise ValueError("value must lie between -1e12 and 1e12")
    result = round(value * metres[from_unit] / metres[to_unit], 4)
    return int(result) if result == int(result) else result


def convert_mass(value: float, from_unit: str, to_unit: str) -> float:
    """A mass in another unit, to four decimals."""
    grams = {"g": 1, "kg": 1000, "tonne": 1_000_000, "ounce": 28.349523125, "pound": 453.59237, "stone": 6350.29318}
    for unit in (from_unit, to_unit):
        if unit not in grams:
            raise ValueError("unit " + repr(unit) + " is not one of " + ", ".join(grams))
    if abs(value) > 1e12:
        raise ValueError("value must lie between -1e12 and 1e12")
    result = round(value * grams[from_unit] / grams[to_unit], 4)
    return int(result) if result == int(result) else result


def convert_volume(value: float, from_unit: str, to_unit: str) -> float:
    """A volume in another unit, to four decimals."""
    litres = {"ml": 0.001, "litre": 1, "hectolitre": 100, "cubic metre": 1000, "pint": 0.56826125, "gallon": 4.54609}
    for unit in (from_unit, to_unit):
        if unit not in litres:
            raise ValueError("unit " + repr(unit) + " is not one of " + ", ".join(litres))
    if abs(value) > 1e12:
        raise ValueError("value must lie between -1e12 and 1e12")
    result = round(value * litres[from_unit] / litres[to_unit], 4)
    return int(result) if result == int(result) else result


def convert_area(value: float, from_unit: str, to_unit: str) -> float:
    """An area in another unit, to four decimals."""
    metres = {
        "m2": 1,
        "are": 100,
        "hectare": 10_000,
        "km2": 1_000_000,
        "acre": 4046.8564224,
        "square mile": 2589988.110336,
    }
    for unit in (from_unit, to_unit):
        if unit not in metres:
            raise ValueError("unit " + repr(unit) + " is not one of " + ", ".join(metres))
    if abs(value) > 1e12:
        raise ValueError("value must lie between -1e12 and 1e12")
    result = round(value * metres[from_unit] / metres[to_unit], 4)
    return int(result) if result == int(result) else result


def convert_speed(value: float, from_unit: str, to_unit: str) -> float:
    """A speed in another unit, to four decimals."""
    metres_per_second = {"m/s": 1, "km/h": 1 / 3.6, "mph": 0.44704, "knot": 1852 / 3600}
    for unit in (from_unit, to_unit):
        if unit not in metres_per_second:
            raise ValueError("unit " + repr(unit) + " is not one of " + ", ".join(metres_per_second))
    if abs(value) > 1e12:
        raise ValueError("value must lie between -1e12 and 1e12")
    result = round(value * metres_per_second[from_unit] / metres_per_second[to_unit], 4)
    return int(result) if result == int(result) else result


def convert_duration(value: float, from_unit: str, to_unit: str) -> float:
    """A duration in another unit, to four decimals."""
    seconds = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
    for unit in (from_unit, to_unit):
        if unit not in seconds:
            raise ValueError("unit " + repr(unit) + " is not one of " + ", ".join(seconds))
    if abs(value) > 1e12:
        raise ValueError("value must lie between -1e12 and 1e12")
    result = round(value * seconds[from_unit] / seconds[to_unit], 4)
    return int(result) if result == int(result) else result


def convert_temperature(value: float, from_unit: str, to_unit: str) -> float:
    """A temperature in another unit, to two decimals."""
    units = ("celsius", "fahrenheit", "kelvin")
    for unit in (from_unit, to_unit):
        if unit not in units:
            raise ValueError("unit " + repr(unit) + " is not one of " + ", ".join(units))
    if abs(value) > 1e12:
        raise ValueError("value must lie between -1e12 and 1e12")
    celsius = {"celsius": value, "fahrenheit": (value - 32) / 1.8, "kelvin": value - 273.15}[from_unit]
    result = round({"celsius": celsius, "fahrenheit": celsius * 1.8 + 32, "kelvin": celsius + 273.15}[to_unit], 2)
    return int(result) if result == int(result) else result


def exchange_amount(amount: float, rate: float) -> float:
    """An amount of money in another currency at a given rate, to two decimals."""
    if rate <= 0 or rate > 1e9:
        raise ValueError("rate must be greater than 0 and at most 1e9")
    if abs(amount) > 1e12:
        raise ValueError("amount must lie between -1e12 and 1e12")
    result = round(amount * rate, 2)
    return int(result) if result == int(result) else result


# --- text ----------------------------------------------------------------------------------------------------------


def letter_count(text: str) -> int:
    """The number of letters in a text, without spaces and signs."""
    return sum(character.isalpha() for character in text)


def vowel_count(text: str) -> int:
    """The number of vowels (a, e, i, o, u) in a text."""
    return sum(character in "aeiou" for character in text.lower())


def consonant_count(text: str) -> int:
    """The number of letters in a text that are not a, e, i, o or u."""
    return sum(character.isalpha() and character not in "aeiou" for character in text.lower())


def word_count(text: str) -> int:
    """The number of words in a text."""
    return len(text.split())


def letter_frequency(text: str, letter: str) -> int:
    """How often a letter stands in a text, in either case."""
    if len(letter) != 1 or not letter.isalpha():
        raise ValueError("letter must be a single letter")
    return text.lower().count(letter.lower())


def letter_sum(text: str) -> int:
    """The sum of the letters' places in the alphabet (a = 1, z = 26)."""
    return sum(ord(character) - 96 for character in text.lower() if "a" <= character <= "z")


def reverse_text(text: str) -> str:
    """A text written backwards, in small letters."""
    if not text.strip():
        raise ValueError("text must not be empty")
    return text.strip().lower()[::-1]


def initials(text: str) -> str:
    """The first letters of the words of a text, as capitals."""
    if not text.split():
        raise ValueError("text must hold at least one word")
    return "".join(word[0] for word in text.split() if word[0].isalpha()).upper()


def nth_letter(text: str, position: int) -> str:
    """The letter at a position of a text; the first is 1, spaces and signs do not count."""
    letters = [character for character in text if character.isalpha()]
    if not 1 <= position <= len(letters):
        raise ValueError("position must be between 1 and the number of letters, " + str(len(letters)))
    return letters[position - 1].upper()


def shift_letters(text: str, shift: int) -> str:
    """A text in which every letter is moved on in the alphabet by a number of places."""
    moved: list[str] = []
    for character in text:
        if "a" <= character.lower() <= "z":
            base = 97 if character.islower() else 65
            moved.append(chr((ord(character) - base + shift) % 26 + base))
        else:
            moved.append(character)
    return "".join(moved)


def first_alphabetically(names: list[str]) -> str:
    """The name that comes first in the alphabet."""
    if not names:
        raise ValueError("names must hold at least one name")
    return min(names, key=str.lower)


def last_alphabetically(names: list[str]) -> str:
    """The name that comes last in the alphabet."""
    if not names:
        raise ValueError("names must hold at least one name")
    return max(names, key=str.lower)


def sort_names(names: list[str]) -> list[str]:
    """Names in alphabetical order."""
    if not names:
        raise ValueError("names must hold at least one name")
    return sorted(names, key=str.lower)


def longest_name(names: list[str]) -> str:
    """The name with the most letters; the first of several."""
    if not names:
        raise ValueError("names must hold at least one name")
    return max(names, key=lambda name: sum(character.isalpha() for character in name))


# --- numbers -------------------------------------------------------------------------------------------------------


def total(values: list[float]) -> float:
    """The sum of the values."""
    import math

    if not values or any(abs(value) > 1e15 for value in values):
        raise ValueError("values must hold at least one number, none beyond 1e15")
    result = round(math.fsum(values), 6)
    return int(result) if result == int(result) else result


def difference(first: float, second: float) -> float:
    """By how much two numbers differ (never negative)."""
    if abs(first) > 1e15 or abs(second) > 1e15:
        raise ValueError("first and second must lie between -1e15 and 1e15")
    result = round(abs(first - second), 6)
    return int(result) if result == int(result) else result


def product(values: list[float]) -> float:
    """The product of the values."""
    import math

    result = math.prod(values)
    if not values or abs(result) > 1e15:
        raise ValueError("values must hold at least one number, and their product must not exceed 1e15")
    result = round(result, 6)
    return int(result) if result == int(result) else result


def ratio(first: float, second: float) -> float:
    """How many times the second number goes into the first, to three decimals."""
    if second == 0 or abs(first / second) > 1e15:
        raise ValueError("second must not be 0, nor so small that the ratio exceeds 1e15")
    result = round(first / second, 3)
    return int(result) if result == int(result) else result


def percentage(part: float, whole: float) -> float:
    """What percentage of the whole the part is, to two decimals."""
    if whole == 0 or abs(part / whole) > 1e12:
        raise ValueError("whole must not be 0, nor so small that the result exceeds 1e14")
    result = round(100 * part / whole, 2)
    return int(result) if result == int(result) else result


def percentage_change(old: float, new: float) -> float:
    """By how many percent a number grew (or, if negative, shrank), to two decimals."""
    if old == 0 or abs(new / old) > 1e12:
        raise ValueError("old must not be 0, nor so small that the result exceeds 1e14")
    result = round(100 * (new - old) / abs(old), 2)
    return int(result) if result == int(result) else result


def average(values: list[float]) -> float:
    """The mean of the values, to two decimals."""
    import math

    if not values or any(abs(value) > 1e15 for value in values):
        raise ValueError("values must hold at least one number, none beyond 1e15")
    result = round(math.fsum(values) / len(values), 2)
    return int(result) if result == int(result) else result


def median(values: list[float]) -> float:
    """The middle of the values, or the mean of the two in the middle, to two decimals."""
    if not values or any(abs(value) > 1e15 for value in values):
        raise ValueError("values must hold at least one number, none beyond 1e15")
    ordered = sorted(values)
    middle = len(ordered) // 2
    result = round(ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2, 2)
    return int(result) if result == int(result) else result


def weighted_average(values: list[float], weights: list[float]) -> float:
    """The mean of the values, each counted by its weight, to two decimals."""
    import math

    if not values or len(values) != len(weights):
        raise ValueError("values and weights must be of the same length, at least 1")
    if any(abs(number) > 1e12 for number in [*values, *weights]):
        raise ValueError("no number may be beyond 1e12")
    if min(weights) < 0 or sum(weights) < 1e-9:
        raise ValueError("weights must not be negative, and not all 0")
    weighted = math.fsum(value * weight for value, weight in zip(values, weights, strict=True))
    result = round(weighted / math.fsum(weights), 2)
    return int(result) if result == int(result) else result


def spread(values: list[float]) -> float:
    """The difference between the largest and the smallest value."""
    if not values or any(abs(value) > 1e15 for value in values):
        raise ValueError("values must hold at least one number, none beyond 1e15")
    result = round(max(values) - min(values), 6)
    return int(result) if result == int(result) else result


def largest(values: list[float]) -> float:
    """The largest of the values."""
    if not values:
        raise ValueError("values must hold at least one number")
    return max(values)


def smallest(values: list[float]) -> float:
    """The smallest of the values."""
    if not values:
        raise ValueError("values must hold at least one number")
    return min(values)


def digit_sum(number: int) -> int:
    """The sum of the digits of a whole number."""
    if abs(number) > 10**18:
        raise ValueError("number must not have more than 18 digits")
    return sum(int(digit) for digit in str(abs(int(number))))


def remainder(number: int, divisor: int) -> int:
    """What is left when a whole number is divided by another."""
    if divisor == 0:
        raise ValueError("divisor must not be 0")
    return int(number) % abs(int(divisor))


def round_to(value: float, step: float) -> float:
    """The multiple of a step that is nearest to a number; a half goes up."""
    import math

    if step <= 0 or abs(value) > 1e12 or abs(value) / step > 1e15:
        raise ValueError("step must be greater than 0 and not tiny, and value must lie between -1e12 and 1e12")
    result = round(math.floor(value / step + 0.5) * step, 6)
    return int(result) if result == int(result) else result


def growth(amount: float, percent: float, years: int) -> float:
    """What an amount becomes that grows by a percentage every year, to two decimals."""
    if abs(amount) > 1e12 or not -100 < percent <= 1000 or not 0 <= years <= 60:
        raise ValueError("amount must be within 1e12, percent above -100 and at most 1000, years from 0 to 60")
    result = round(amount * (1 + percent / 100) ** years, 2)
    if abs(result) > 1e15:
        raise ValueError("the result exceeds 1e15")
    return int(result) if result == int(result) else result


def travel_hours(distance_km: float, speed_kmh: float) -> float:
    """How many hours a distance takes at a constant speed, to two decimals."""
    if speed_kmh <= 0 or distance_km < 0 or distance_km / speed_kmh > 1e12:
        raise ValueError("speed_kmh must be greater than 0 and distance_km not negative")
    result = round(distance_km / speed_kmh, 2)
    return int(result) if result == int(result) else result


# --- names by values -----------------------------------------------------------------------------------------------


def name_with_largest(names: list[str], values: list[float]) -> str:
    """The name whose value is the largest."""
    if not names or len(names) != len(values):
        raise ValueError("names and values must be of the same length, at least 1")
    return names[values.index(max(values))]


def name_with_smallest(names: list[str], values: list[float]) -> str:
    """The name whose value is the smallest."""
    if not names or len(names) != len(values):
        raise ValueError("names and values must be of the same length, at least 1")
    return names[values.index(min(values))]


def name_with_earliest(names: list[str], dates: list[str]) -> str:
    """The name whose date is the earliest."""
    import datetime

    if not names or len(names) != len(dates):
        raise ValueError("names and dates must be of the same length, at least 1")
    try:
        days = [datetime.date.fromisoformat(date) for date in dates]
    except ValueError:
        raise ValueError("dates must be written YYYY-MM-DD") from None
    return names[days.index(min(days))]


def name_with_latest(names: list[str], dates: list[str]) -> str:
    """The name whose date is the latest."""
    import datetime

    if not names or len(names) != len(dates):
        raise ValueError("names and dates must be of the same length, at least 1")
    try:
        days = [datetime.date.fromisoformat(date) for date in dates]
    except ValueError:
        raise ValueError("dates must be written YYYY-MM-DD") from None
    return names[days.index(max(days))]


def rank_descending(names: list[str], values: list[float]) -> list[str]:
    """Names in the order of their values, the largest first."""
    if not names or len(names) != len(values):
        raise ValueError("names and values must be of the same length, at least 1")
    return [name for _, name in sorted(zip(values, names, strict=True), key=lambda pair: -pair[0])]


def rank_ascending(names: list[str], values: list[float]) -> list[str]:
    """Names in the order of their values, the smallest first."""
    if not names or len(names) != len(values):
        raise ValueError("names and values must be of the same length, at least 1")
    return [name for _, name in sorted(zip(values, names, strict=True), key=lambda pair: pair[0])]


def rank_by_date(names: list[str], dates: list[str]) -> list[str]:
    """Names in the order of their dates, the earliest first."""
    import datetime

    if not names or len(names) != len(dates):
        raise ValueError("names and dates must be of the same length, at least 1")
    try:
        days = [datetime.date.fromisoformat(date) for date in dates]
    except ValueError:
        raise ValueError("dates must be written YYYY-MM-DD") from None
    return [name for _, name in sorted(zip(days, names, strict=True), key=lambda pair: pair[0])]


def nth_largest_name(names: list[str], values: list[float], position: int) -> str:
    """The name whose value is the n-th largest; position 1 is the largest."""
    if not names or len(names) != len(values):
        raise ValueError("names and values must be of the same length, at least 1")
    if not 1 <= position <= len(names):
        raise ValueError("position must be between 1 and the number of names")
    return sorted(zip(values, names, strict=True), key=lambda pair: -pair[0])[position - 1][1]


def names_above(names: list[str], values: list[float], threshold: float) -> list[str]:
    """The names whose value is greater than a threshold, in the given order."""
    if not names or len(names) != len(values):
        raise ValueError("names and values must be of the same length, at least 1")
    return [name for name, value in zip(names, values, strict=True) if value > threshold]


def names_below(names: list[str], values: list[float], threshold: float) -> list[str]:
    """The names whose value is less than a threshold, in the given order."""
    if not names or len(names) != len(values):
        raise ValueError("names and values must be of the same length, at least 1")
    return [name for name, value in zip(names, values, strict=True) if value < threshold]


def count_above(values: list[float], threshold: float) -> int:
    """How many of the values are greater than a threshold."""
    return sum(value > threshold for value in values)


def total_above(values: list[float], threshold: float) -> float:
    """The sum of those values that are greater than a threshold."""
    import math

    if any(abs(value) > 1e15 for value in values):
        raise ValueError("no value may be beyond 1e15")
    result = round(math.fsum(value for value in values if value > threshold), 6)
    return int(result) if result == int(result) else result


_BY_TYPE: dict[AnswerType, tuple[Callable[..., Any], ...]] = {
    "number": (
        *(days_between, weeks_between, months_between, years_between, age_on, day_of_year, days_left_in_year, year_of),
        *(convert_length, convert_mass, convert_volume, convert_area, convert_speed, convert_duration),
        *(convert_temperature, exchange_amount, letter_count, vowel_count, consonant_count, word_count),
        *(letter_frequency, letter_sum, total, difference, product, ratio, percentage, percentage_change, average),
        *(median, weighted_average, spread, largest, smallest, digit_sum, remainder, round_to, growth, travel_hours),
        *(count_above, total_above),
    ),
    "date": (add_days, subtract_days, add_months, earliest_date, latest_date),
    "text": (
        *(weekday_of, reverse_text, initials, nth_letter, shift_letters, first_alphabetically, last_alphabetically),
        *(longest_name, name_with_largest, name_with_smallest, name_with_earliest, name_with_latest, nth_largest_name),
    ),
    "list": (sort_names, rank_descending, rank_ascending, rank_by_date, names_above, names_below),
}
COMPUTATIONS: dict[str, Computation] = {
    function.__name__: Computation(function.__name__, function, returns, (function.__doc__ or "").strip())
    for returns, functions in _BY_TYPE.items()
    for function in functions
}
