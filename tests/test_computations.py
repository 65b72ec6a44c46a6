from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolfoundry.computations import COMPUTATIONS, ComputationError, compute, follow
from toolfoundry.errors import InputError
from toolfoundry.types import Answer, Final

DAY = "2021-03-14"
NAMES = ["Orla Venn", "Bram Tole", "Una Sey"]

# Every computation, with arguments and what it gives; worked out by hand.
TABLE: list[tuple[str, dict[str, Any], Any]] = [
    ("days_between", {"start": "2021-03-14", "end": "2020-02-28"}, 380),  # 2020 has a 29 February
    ("weeks_between", {"start": "2021-03-14", "end": "2021-04-03"}, 2),  # 20 days
    ("months_between", {"start": "2021-01-31", "end": "2021-03-30"}, 1),
    ("years_between", {"start": "1999-06-02", "end": "2020-06-01"}, 20),
    ("age_on", {"birth_date": "1980-03-15", "date": DAY}, 40),
    ("add_days", {"date": "2020-02-28", "days": 2}, "2020-03-01"),
    ("subtract_days", {"date": "2021-03-01", "days": 1}, "2021-02-28"),
    ("add_months", {"date": "2021-01-31", "months": 13}, "2022-02-28"),
    ("weekday_of", {"date": DAY}, "Sunday"),
    ("day_of_year", {"date": "2020-12-31"}, 366),
    ("days_left_in_year", {"date": "2021-12-01"}, 30),
    ("year_of", {"date": DAY}, 2021),
    ("earliest_date", {"dates": ["2021-03-14", "1999-12-31"]}, "1999-12-31"),
    ("latest_date", {"dates": ["2021-03-14", "1999-12-31"]}, "2021-03-14"),
    ("convert_length", {"value": 5, "from_unit": "mile", "to_unit": "km"}, 8.0467),
    ("convert_mass", {"value": 2, "from_unit": "kg", "to_unit": "pound"}, 4.4092),
    ("convert_volume", {"value": 10, "from_unit": "gallon", "to_unit": "litre"}, 45.4609),
    ("convert_area", {"value": 3, "from_unit": "km2", "to_unit": "hectare"}, 300),
    ("convert_speed", {"value": 90, "from_unit": "km/h", "to_unit": "m/s"}, 25),
    ("convert_duration", {"value": 36, "from_unit": "hour", "to_unit": "day"}, 1.5),
    ("convert_temperature", {"value": 100, "from_unit": "celsius", "to_unit": "fahrenheit"}, 212),
    ("exchange_amount", {"amount": 200.5, "rate": 1.1}, 220.55),
    ("letter_count", {"text": "Brenvik & Sorla"}, 12),
    ("vowel_count", {"text": "Orla Venn"}, 3),
    ("consonant_count", {"text": "Orla Venn"}, 5),
    ("word_count", {"text": "The Copper Orchard"}, 3),
    ("letter_frequency", {"text": "Banana", "letter": "A"}, 3),
    ("letter_sum", {"text": "Abc z"}, 32),
    ("reverse_text", {"text": "Orla Venn"}, "nnev alro"),
    ("initials", {"text": "orla Venn"}, "OV"),
    ("nth_letter", {"text": "St. Om", "position": 3}, "O"),
    ("shift_letters", {"text": "Xyz a!", "shift": 3}, "Abc d!"),
    ("first_alphabetically", {"names": NAMES}, "Bram Tole"),
    ("last_alphabetically", {"names": NAMES}, "Una Sey"),
    ("sort_names", {"names": NAMES}, ["Bram Tole", "Orla Venn", "Una Sey"]),
    ("longest_name", {"names": NAMES}, "Orla Venn"),
    ("total", {"values": [0.1, 0.2]}, 0.3),
    ("difference", {"first": 3, "second": 10}, 7),
    ("product", {"values": [12, 0.5]}, 6),
    ("ratio", {"first": 10, "second": 3}, 3.333),
    ("percentage", {"part": 1, "whole": 8}, 12.5),
    ("percentage_change", {"old": 80, "new": 60}, -25),
    ("average", {"values": [1, 2, 2]}, 1.67),
    ("median", {"values": [9, 1, 4, 2]}, 3),
    ("weighted_average", {"values": [10, 20], "weights": [3, 1]}, 12.5),
    ("spread", {"values": [4, 9.5, 5]}, 5.5),
    ("largest", {"values": [4, 9.5, 5]}, 9.5),
    ("smallest", {"values": [4, 9.5, 5]}, 4),
    ("digit_sum", {"number": 90210}, 12),
    ("remainder", {"number": 100, "divisor": 7}, 2),
    ("round_to", {"value": 37, "step": 5}, 35),
    ("growth", {"amount": 1000, "percent": 10, "years": 2}, 1210),
    ("travel_hours", {"distance_km": 100, "speed_kmh": 30}, 3.33),
    ("count_above", {"values": [1, 5, 9], "threshold": 4}, 2),
    ("total_above", {"values": [1, 5, 9.5], "threshold": 4}, 14.5),
    ("name_with_largest", {"names": NAMES, "values": [3, 9, 1]}, "Bram Tole"),
    ("name_with_smallest", {"names": NAMES, "values": [3, 9, 1]}, "Una Sey"),
    ("name_with_earliest", {"names": NAMES[:2], "dates": ["2001-01-01", "1999-01-01"]}, "Bram Tole"),
    ("name_with_latest", {"names": NAMES[:2], "dates": ["2001-01-01", "1999-01-01"]}, "Orla Venn"),
    ("nth_largest_name", {"names": NAMES, "values": [3, 9, 1], "position": 2}, "Orla Venn"),
    ("rank_descending", {"names": NAMES, "values": [3, 9, 1]}, ["Bram Tole", "Orla Venn", "Una Sey"]),
    ("rank_ascending", {"names": NAMES, "values": [3, 9, 1]}, ["Una Sey", "Orla Venn", "Bram Tole"]),
    ("rank_by_date", {"names": NAMES[:2], "dates": ["2001-01-01", "1999-01-01"]}, ["Bram Tole", "Orla Venn"]),
    ("names_above", {"names": NAMES, "values": [3, 9, 1], "threshold": 2}, ["Orla Venn", "Bram Tole"]),
    ("names_below", {"names": NAMES, "values": [3, 9, 1], "threshold": 2}, ["Una Sey"]),
]

# Bad values of the right JSON type, which the functions themselves refuse.
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("days_between", {"start": "14 March", "end": DAY}),
    ("age_on", {"birth_date": DAY, "date": "1999-01-01"}),
    ("add_days", {"date": DAY, "days": 10**9}),
    ("add_months", {"date": DAY, "months": -(10**9)}),
    ("earliest_date", {"dates": []}),
    ("convert_length", {"value": 1, "from_unit": "furlong", "to_unit": "m"}),
    ("exchange_amount", {"amount": 1, "rate": 0}),
    ("nth_letter", {"text": "ab", "position": 3}),
    ("letter_frequency", {"text": "ab", "letter": "ab"}),
    ("total", {"values": []}),
    ("product", {"values": [1e300, 1e300]}),
    ("ratio", {"first": 1, "second": 0}),
    ("percentage", {"part": 1, "whole": 0}),
    ("median", {"values": [1e300]}),
    ("weighted_average", {"values": [1, 2], "weights": [0, 0]}),
    ("remainder", {"number": 5, "divisor": 0}),
    ("growth", {"amount": 1e12, "percent": 1000, "years": 60}),
    ("travel_hours", {"distance_km": 1, "speed_kmh": 0}),
    ("name_with_largest", {"names": NAMES, "values": [1]}),
    ("name_with_latest", {"names": ["a"], "dates": ["soon"]}),
    ("nth_largest_name", {"names": NAMES, "values": [1, 2, 3], "position": 4}),
]


@pytest.mark.parametrize(("operation", "arguments", "expected"), TABLE, ids=[row[0] for row in TABLE])
def test_each_computation_gives_what_was_worked_out_by_hand(operation: str, arguments: dict[str, Any], expected: Any):
    answer = compute(operation, arguments)
    assert answer.value == expected
    assert type(answer.value) is type(expected)  # 6, not 6.0
    assert answer.type == COMPUTATIONS[operation].returns


def test_the_table_above_has_every_computation():
    assert {row[0] for row in TABLE} == set(COMPUTATIONS)
    assert len(COMPUTATIONS) >= 40


@pytest.mark.parametrize(("operation", "arguments"), REFUSED, ids=[row[0] for row in REFUSED])
def test_bad_input_is_refused_with_the_name_of_the_operation(operation: str, arguments: dict[str, Any]):
    with pytest.raises(ComputationError, match=operation):
        compute(operation, arguments)
    with pytest.raises(ValueError, match=r"\w{4}"):  # the function by itself, as a tool's heart
        COMPUTATIONS[operation].function(**arguments)


def test_unknown_operations_and_arguments_are_input_errors():
    with pytest.raises(InputError, match="'tally'"):
        compute("tally", {})
    with pytest.raises(ComputationError, match="total"):
        compute("total", {"numbers": [1]})
    with pytest.raises(ComputationError, match="letter_count"):
        compute("letter_count", {"text": 5})


def test_every_function_is_whole_in_itself():
    """Its code reads no global name but built-ins, so that its source works as a tool of its own."""
    for computation in COMPUTATIONS.values():
        variables = inspect.getclosurevars(computation.function)
        assert not variables.globals, computation.name
        assert not variables.nonlocals, computation.name
        assert computation.summary, computation.name


def test_a_final_answer_follows_from_the_sub_answers():
    answers = {
        "s1": Answer(type="number", value=40),
        "s2": Answer(type="number", value=2.5, text="2.50"),
        "s3": Answer(type="text", value="Orla Venn"),
    }
    values = [{"$answer": "s1"}, {"$answer": "s2"}]
    assert follow(Final(operation="total", arguments={"values": values}), answers).value == 42.5
    assert follow(Final(operation="answer", arguments={"value": {"$answer": "s2"}}), answers) == answers["s2"]
    listed = follow(Final(operation="list", arguments={"values": [*values, {"$answer": "s3"}]}), answers)
    assert (listed.type, listed.value) == ("list", [40, 2.5, "Orla Venn"])


@pytest.mark.parametrize(
    "final",
    [
        Final(operation="answer", arguments={"value": 5}),
        Final(operation="answer", arguments={"value": {"$answer": "s9"}}),
        Final(operation="list", arguments={"values": []}),
        Final(operation="list", arguments={"value": {"$answer": "s1"}}),
        Final(operation="median", arguments={"values": {"$answer": "s1"}}),
    ],
)
def test_a_final_that_cannot_be_followed_is_refused(final: Final):
    with pytest.raises(ComputationError):
        follow(final, {"s1": Answer(type="number", value=40)})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(10**6), 10**6).map(lambda n: n / 100), min_size=1, max_size=6))
def test_sums_have_no_tail_and_do_not_depend_on_the_order(values: list[float]):
    total = compute("total", {"values": values}).value
    assert len(repr(total).partition(".")[2]) <= 2
    assert compute("total", {"values": values[::-1]}).value == total


@settings(max_examples=60, deadline=None)
@given(st.dates(), st.integers(0, 3000))
def test_days_can_be_added_and_taken_away(day: Any, days: int):
    if day.year > 9900:
        return
    later = compute("add_days", {"date": day.isoformat(), "days": days}).value
    assert compute("subtract_days", {"date": later, "days": days}).value == day.isoformat()
    assert compute("days_between", {"start": day.isoformat(), "end": later}).value == days
