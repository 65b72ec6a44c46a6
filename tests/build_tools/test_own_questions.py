"""Questions over recorded calls: scenarios, what is not asked for, and words."""

import asyncio
import itertools
import random
from collections import Counter
from pathlib import Path

import pytest

from toolfoundry.answers import holds, spelling, stands_in
from toolfoundry.build.author import Author
from toolfoundry.build.decompose import complaints_about, kind_of
from toolfoundry.build.own_tools.author import FunctionsAuthor
from toolfoundry.build.own_tools.compose import Facts, compositions
from toolfoundry.build.own_tools.evidence import gather
from toolfoundry.build.own_tools.functions import read_functions
from toolfoundry.build.own_tools.naming import akin, field_words, noun_of, words_of
from toolfoundry.build.own_tools.wording import Asked, question_of, step_question
from toolfoundry.symbolic import references, resolve
from toolfoundry.types import ToolSchema

EXAMPLE = Path(__file__).parents[2] / "examples" / "tools" / "shop.py"


@pytest.fixture(scope="module")
def evidence(sandbox):
    return asyncio.run(gather(read_functions(EXAMPLE.read_text(), "shop.py"), sandbox))


@pytest.fixture(scope="module")
def made(evidence):
    return list(itertools.islice(compositions(Facts(evidence), "test", 0), 120))


def test_the_four_scenarios_come_in_equal_shares(made):
    """While all of them last; the shape of the steps makes the scenario."""
    assert set(Counter(kind_of(one.scenario.steps) for one in made).values()) == {30}


def test_no_two_ask_the_same(made):
    """Questions differ, and so does what they ask for."""
    assert len({one.scenario.question for one in made}) == len(made)


def test_each_is_sound_before_it_is_built(made):
    """No answer stands in a question, each step is used, and the final answer follows from the steps."""
    for one in made:
        assert complaints_about(one.scenario) == []


def test_gold_calls_are_recorded_ones(made, evidence):
    """With earlier answers put in, each gold call was made before, and its result held the step's answer."""
    recorded = {
        (observation.tool, repr(sorted(observation.arguments.items()))): observation
        for studied in evidence.tools
        for observation in studied.observations
    }
    for one in made:
        answers = {step.id: step.answer for step in one.scenario.steps}
        for call in one.calls:
            observation = recorded[call.tool, repr(sorted(resolve(call.arguments, answers).items()))]
            assert holds(answers[call.step], observation.content)
            assert not stands_in(answers[call.step], observation.arguments)


def test_a_hop_carries_an_answer(made):
    """In a multi-hop question some argument is the answer of an earlier step, which the question does not say."""
    hops = [one for one in made if "multi_hop" in kind_of(one.scenario.steps)]
    for one in hops:
        carried = {step for call in one.calls for step in references(call.arguments)}
        answers = {step.id: step.answer for step in one.scenario.steps}
        assert carried
        assert not any(holds(answers[step], one.scenario.question) for step in carried)
    assert any(len(one.scenario.steps) >= 3 for one in hops if kind_of(one.scenario.steps) == "multi_hop")


def test_another_seed_asks_other_questions(evidence, made):
    """The same seed asks the same ones."""
    facts = Facts(evidence)
    again = list(itertools.islice(compositions(facts, "test", 0), 120))
    other = list(itertools.islice(compositions(facts, "test", 1), 120))
    assert again == made
    assert len({one.scenario.question for one in other} & {one.scenario.question for one in made}) < 40


def test_what_tells_nothing_is_not_asked_for(sandbox):
    """Constants, truth values, single digits, what stands in the arguments, and what a placeholder gets."""
    code = '''
def look(name: str, row: int = 1) -> dict:
    """Look something up."""
    table = {"alpha": 5120, "beta": 6371, "gamma": 7884}
    if name not in table:
        raise ValueError("there is nothing of that name")
    return {"name": name, "office": "Central", "open": True, "digit": table[name] % 7, "size": table[name] + row}


def level(points: int) -> dict:
    """Get the level."""
    if points < 0:
        raise ValueError("points must not be below 0")
    return {"level": "Bronze" if points < 40 else "Silver"}
'''
    evidence = asyncio.run(gather(read_functions(code, "f.py"), sandbox))
    facts = Facts(evidence)
    assert {tool: sorted(fields) for tool, fields in facts.by_tool.items()} == {
        "look": [("size",)],
        "level": [("level",)],
    }
    assert {fact.answer.value for fact in facts.by_tool["level"][("level",)]} == {"Silver"}


def test_codes_lead_on(sandbox):
    """Three capitals are no telling answer, but a code that another tool takes; what they stand for is asked."""
    code = '''
def next_stop(flight: str) -> dict:
    """Find where a flight goes."""
    flights = {"TF204": "LIS", "TF377": "HEL", "TF518": "ATH"}
    if flight not in flights:
        raise ValueError("there is no such flight")
    return {"airport": flights[flight]}


def airport(code: str) -> dict:
    """Look up an airport."""
    airports = {"LIS": "Lisbon", "HEL": "Helsinki", "ATH": "Athens", "OSL": "Oslo"}
    if code not in airports:
        raise ValueError("there is no such airport")
    return {"city": airports[code]}
'''
    evidence = asyncio.run(gather(read_functions(code, "f.py"), sandbox))
    hops = [one for one in compositions(Facts(evidence), 0) if kind_of(one.scenario.steps) == "multi_hop"]
    assert {one.scenario.answer.value for one in hops} == {"Lisbon", "Helsinki", "Athens"}
    assert not any(name in one.scenario.question for one in hops for name in ("LIS", "HEL", "ATH"))


def test_without_links_there_are_no_hops(sandbox):
    """Where no result is an argument of another tool, single hops are left; without a fact, nothing at all."""
    code = '''
def area(width: float, depth: float) -> float:
    """Compute the area of a field."""
    if width <= 0 or depth <= 0:
        raise ValueError("width and depth must be above 0")
    return round(width * depth * 1.37, 3)
'''
    evidence = asyncio.run(gather(read_functions(code, "f.py"), sandbox))
    kinds = Counter(kind_of(one.scenario.steps) for one in itertools.islice(compositions(Facts(evidence), 0), 60))
    assert set(kinds) == {"single_hop", "parallel_single_hop"}
    assert list(compositions(Facts(evidence._replace(tools=())), 0)) == []


def test_the_author_is_one_like_the_others(evidence):
    """The same index is the same question whatever was asked for before; the end of the questions is an end."""
    author: Author = FunctionsAuthor(evidence, "here")
    late = next(author.briefs(7))
    first = FunctionsAuthor(evidence, "here")
    assert asyncio.run(first.decompose(late)) == asyncio.run(author.decompose(late))
    assert (late.index, late.origin, author.trusted, author.attempts) == (7, "here", False, 1)


# --- words -----------------------------------------------------------------------------------------------------------


def document(name, description, *parameters):
    properties = {parameter: {"type": "string"} for parameter in parameters}
    return ToolSchema(name=name, description=description, parameters={"type": "object", "properties": properties})


ORDER = document("get_order", "Looks up an order. It is quick.", "order_id")
CUSTOMER = document("fetchCustomer", "Get a customer.", "customerId")
QUOTE = document("quote_shipping", "Quote the shipping of a parcel.", "city", "weight_g")
AREA = document("field_area", "Compute the area of a field.", "width")


def test_sub_questions_in_words():
    """Names become words, units are written out, and an earlier answer is a reference."""
    assert step_question(Asked("s1", ORDER, {"order_id": "O-1"}, ("customer_id",), {})) == (
        "What is the customer id of order O-1?"
    )
    assert step_question(Asked("s2", CUSTOMER, {"customerId": "C-9"}, ("points",), {"customerId": "s1"})) == (
        "What are the points of customer {s1}?"
    )
    airport = document("find_airport", "Find an airport.", "code")
    assert step_question(Asked("s1", airport, {"code": "LIS"}, ("city",), {})) == "What is the city of airport LIS?"
    step = Asked("s3", QUOTE, {"city": "Oslo", "weight_g": 5, "express": True}, ("price_eur",), {"city": "s2"})
    assert step_question(step) == (
        "What is the price in EUR of the shipping quote for city {s2} and weight in grams 5, with express?"
    )
    assert step_question(Asked("s1", AREA, {"width": 3}, (), {})) == "What is the field area for width 3?"
    assert step_question(Asked("s1", ORDER, {"order_id": "O-1"}, ("items", 0, "price"), {})) == (
        "What is the price of the first of the items of order O-1?"
    )
    assert step_question(Asked("s1", ORDER, {"order_id": "O-1"}, (0, "fares", "light"), {})) == (
        "What is the light of the fares of the first entry of order O-1?"
    )


def test_whole_questions_in_words():
    """As one phrase, or one step after the other; two things are numbered."""
    order = Asked("s1", ORDER, {"order_id": "O-1"}, ("customer_id",), {})
    customer = Asked("s2", CUSTOMER, {"customerId": "C-9"}, ("city",), {"customerId": "s1"})
    words = {question_of([order, customer], ["s2"], "answer", random.Random(seed)) for seed in range(30)}
    assert "What is the city of the customer with the customer id of order O-1?" in words
    assert (
        "Look up an order (order id O-1) and take the customer id. With it as customer id, get a customer. "
        "What is the city?"
    ) in words
    both = {question_of([order, customer], ["s1", "s2"], "list", random.Random(seed)) for seed in range(9)}
    assert all("(1) the customer id of order O-1" in question for question in both)
    assert not any("C-9" in question for question in words | both)


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("Returns the price. It is quick.", "Return the price"),
        ("Processes an order: slowly.", "Process an order"),
        ("Process an order", "Process an order"),
        ("Searches v1.2 archives.", "Search v1.2 archives"),
        ("tries a key", "Try a key"),
        ("Searches for books.", "Search for books"),
        ("The weather at a place", "Look up the weather at a place"),
        ("Details of a depot.", "Look up details of a depot"),
        ("Analysis.", "Analysis"),
    ],
)
def test_a_description_as_a_request(description, expected):
    """Verbs lose their third person, things are looked up."""
    step = Asked("s1", document("get_it", description, "key"), {"key": "K-1"}, ("size",), {})
    words = {question_of([step], ["s1"], "answer", random.Random(seed)) for seed in range(30)}
    assert f"{expected} (key K-1). What is the size?" in words


def test_names_in_words():
    """Snake and camel case alike; a verb in front says nothing, or becomes a noun."""
    assert words_of("getHTTPStatus2") == ["get", "http", "status", "2"]
    assert [noun_of(name) for name in ("get_order", "convert_price", "tour_plan", "flights_from", "find")] == [
        "order",
        "price conversion",
        "tour plan",
        "flights",
        "find",
    ]
    assert [field_words(name) for name in ("weight_g", "g", "unitPrice")] == ["weight in grams", "g", "unit price"]


@pytest.mark.parametrize(
    ("field", "of", "parameter", "to", "expected"),
    [
        ("customer_id", "get_order", "customer_id", "get_customer", True),
        ("customer_id", "get_order", "product_id", "get_product", False),
        ("id", "get_order", "order", "track_parcel", True),
        ("customer", "get_order", "id", "get_customer", True),
        ("price_cents", "get_product", "shipping_cents", "add", False),
        ("cities", "get_route", "city", "get_weather", False),
    ],
)
def test_which_names_mean_the_same(field, of, parameter, to, expected):
    """By the words that say what a value is of; that both are identifiers, or amounts, says nothing."""
    assert akin(field, of, parameter, to) is expected


def test_answers_are_spelled_out(made):
    """Final answers are values of their types."""
    types = Counter(one.scenario.answer.type for one in made)
    assert types.keys() >= {"text", "number", "list"}
    assert all(spelling(one.scenario.answer) for one in made)
