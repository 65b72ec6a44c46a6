"""The package's own environments hold every gate, stricter than the audit applies them: each was written by hand."""

import asyncio
import json
from collections import Counter
from statistics import mean

import jsonschema_rs
import pytest

from toolfoundry.answers import holds, spelling, stands_in
from toolfoundry.demo import environments
from toolfoundry.placeholders import placeholder_arguments
from toolfoundry.policies.scripted import CHEATS, SCRIPTED, make
from toolfoundry.reward import score_trajectory
from toolfoundry.rollout import Job, run_rollouts
from toolfoundry.store import dump, load_record
from toolfoundry.types import EnvSpec

SPECS = environments()
NONSENSE = "Qzxv Wrelk"
each = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.provenance.location.removesuffix(".toml"))


def arguments(call):
    return json.loads(call.arguments)


def sources(spec):
    return {tool.name: tool.source for tool in spec.tools}


def properties(spec, tool):
    return next(t for t in spec.tools if t.name == tool).signature.parameters["properties"]


def play(sandbox, spec, calls, before=()):
    """The result of each call by itself; where there is a state, in a fresh one that the calls before have made."""
    if spec.state is None:
        with sandbox.session(sources(spec)) as session:
            return session.batch(calls)
    results = []
    for call in calls:
        with sandbox.session(sources(spec), state=spec.state) as session:
            results.append(session.batch([*before, call])[-1])
    return results


def before(spec, call_id):
    """The gold calls that come before one of them."""
    calls = []
    for call in spec.gold_calls:
        if call.id == call_id:
            break
        calls.append((call.name, arguments(call)))
    return calls


def failed(result):
    return result.error is not None or result.content.startswith(("Error", '{"error"'))


def credited(goal, given, result):
    return result.error is None and holds(goal.answer, result.content) and not stands_in(goal.answer, given)


def others(value, schema):
    """Other values of one argument, valid by its schema, near ones among them."""
    if "enum" in schema:
        candidates = schema["enum"]
    elif isinstance(value, bool):
        candidates = [not value]
    elif isinstance(value, int | float):
        candidates = [value + 1, value - 1, value * 2, value + 10, schema.get("minimum"), schema.get("maximum")]
    elif isinstance(value, str) and schema.get("format") == "date":
        candidates = [f"{value[:8]}{int(value[8:]) % 28 + 1:02d}", f"{int(value[:4]) + 1}{value[4:]}"]
    elif isinstance(value, str):
        digits = "".join(str((int(c) + 1) % 10) if c.isdigit() else c for c in value)
        candidates = [digits, f"{value}x", value[:-1], NONSENSE]
    elif isinstance(value, list):
        candidates = [value[:-1], value * 2, *([other, *value[1:]] for other in others(value[0], schema["items"]))]
    else:
        candidates = [{**value, key: other} for key in value for other in (value[key] + 1, value[key] - 1)]
    candidates = [*candidates, *schema.get("examples", [])]
    valid = jsonschema_rs.validator_for(schema)
    return [other for other in candidates if other is not None and other != value and valid.is_valid(other)]


def test_the_set_covers_the_four_scenarios_and_the_forms_of_real_tools():
    """Four environments for each scenario, 4 to 9 tools with 3 to 8 parameters, every JSON type, two with a state."""
    assert Counter(spec.scenario.kind for spec in SPECS) == dict.fromkeys(
        ("single_hop", "parallel_single_hop", "multi_hop", "parallel_multi_hop"), 4
    )
    tools = [tool for spec in SPECS for tool in spec.tools]
    assert len({tool.name for tool in tools}) == len(tools)
    assert len({spec.id for spec in SPECS}) == 16
    assert all(4 <= len(spec.tools) <= 9 for spec in SPECS)
    schemas = [schema for tool in tools for schema in tool.signature.parameters["properties"].values()]
    assert all(3 <= len(tool.signature.parameters["properties"]) <= 8 for tool in tools)
    assert {schema["type"] for schema in schemas} == {"string", "integer", "number", "boolean", "array", "object"}
    assert all(schema["description"] for schema in schemas)
    assert all(any("enum" in s for s in properties(spec, tool.name).values()) for spec in SPECS for tool in spec.tools)
    assert sum(spec.state is not None for spec in SPECS) == 2


@each
def test_it_survives_the_round_trip(spec):
    """A specification read from TOML is an ordinary record: the same value and id after JSON."""
    assert load_record(EnvSpec, dump(spec)) == spec


@each
def test_gold_calls_give_every_answer_twice(spec, sandbox):
    """In order, in one worker and again in another: the same results, the answers in them, not in the arguments."""
    runs = []
    for _ in range(2):
        with sandbox.session(sources(spec), state=spec.state) as session:
            runs.append(session.batch([(call.name, arguments(call)) for call in spec.gold_calls]))
    assert runs[0] == runs[1]
    assert [call.id for call in spec.gold_calls] == [goal.id for goal in spec.goals]
    for goal, call, result in zip(spec.goals, spec.gold_calls, runs[0], strict=True):
        assert credited(goal, arguments(call), result), (goal.id, result.text)


@each
def test_every_gold_argument_counts(spec, sandbox):
    """A gold call with one argument replaced or left out does not give the answer; text from nowhere, an error."""
    for goal, call in zip(spec.goals, spec.gold_calls, strict=True):
        gold, schemas = arguments(call), properties(spec, call.name)
        wrong = [{**gold, key: other} for key, value in gold.items() for other in others(value, schemas[key])]
        assert {key for key in gold for given in wrong if given[key] != gold[key]} == set(gold)
        wrong += [{k: v for k, v in gold.items() if k != key} for key in gold]
        for given, result in zip(
            wrong, play(sandbox, spec, [(call.name, given) for given in wrong], before(spec, goal.id)), strict=True
        ):
            assert not credited(goal, given, result), (given, result.text)
            assert failed(result) or NONSENSE not in given.values(), (given, result.text)


@each
def test_nobody_answers_without_knowing(spec, sandbox):
    """Placeholders and words of the question give no golden, not even in an error."""
    words = [word.strip('.,:;?"') for word in spec.scenario.question.split() if len(word) > 3]
    plain = {tool.name: placeholder_arguments(tool.signature.parameters) for tool in spec.tools}
    full = [(tool.name, placeholder_arguments(tool.signature.parameters, optional=True)) for tool in spec.tools]
    told = [
        (name, {key: word if value == "example" else value for key, value in given.items()})
        for name, given in plain.items()
        for word in words
    ]
    calls = [*plain.items(), *full, *told]
    with sandbox.session(sources(spec), state=spec.state) as session:
        results = session.batch(calls)
    for call, result in zip(calls, results, strict=True):
        assert not any(holds(goal.answer, result.text) for goal in spec.goals), (call, result.text)


@each
def test_no_other_call_answers(spec, sandbox):
    """Tools given another tool's gold arguments, by name or in turn, give no golden but the one they are asked for."""
    for call in spec.gold_calls:
        gold = arguments(call)
        calls = []
        for tool in spec.tools:
            schema = tool.signature.parameters
            shown = {key: part["examples"][0] for key, part in schema["properties"].items() if part.get("examples")}
            plain = {**placeholder_arguments(schema), **{k: v for k, v in shown.items() if k in schema["required"]}}
            calls.append((tool.name, {**plain, **{k: v for k, v in gold.items() if k in schema["properties"]}}))
            texts = [value for value in gold.values() if isinstance(value, str)]
            free = [key for key in schema["required"] if schema["properties"][key]["type"] == "string"]
            calls += [(tool.name, {**plain, key: text}) for key in free for text in texts]
        earlier = before(spec, call.id) if spec.state is not None else []
        with sandbox.session(sources(spec), state=spec.state) as session:
            results = session.batch([*earlier, *calls])[len(earlier) :]
        for (tool, given), result in zip(calls, results, strict=True):
            for goal in spec.goals:
                if goal.tool != tool and not stands_in(goal.answer, given):
                    assert not holds(goal.answer, result.text), (goal.id, tool, given, result.text)


@each
def test_nothing_leaks(spec):
    """No golden stands in the question, in an earlier sub-question or in a document; all are distinct and telling."""
    goldens = [goal.answer for goal in spec.goals]
    documents = json.dumps([tool.signature.model_dump() for tool in spec.tools])
    values = [value for tool in spec.tools for value in leaves(tool.signature.parameters)]
    for index, answer in enumerate(goldens):
        assert len(spelling(answer)) >= 4
        assert not holds(answer, spec.scenario.question)
        assert not holds(answer, documents)
        assert not any(holds(answer, value) for value in values)
        assert not any(holds(answer, step.question) for step in spec.scenario.steps[: index + 1])
    assert len({spelling(answer).casefold() for answer in goldens}) == len(goldens)
    assert not holds(spec.scenario.answer, spec.scenario.question)


def leaves(value):
    if isinstance(value, dict | list):
        return [leaf for part in (value.values() if isinstance(value, dict) else value) for leaf in leaves(part)]
    return [str(value)]


@each
def test_a_later_hop_cannot_be_asked_without_the_earlier_answer(spec):
    """What carries an earlier answer is required and no choice, and each need is carried or changes the state."""
    answers = {goal.id: goal.answer for goal in spec.goals}
    for goal, call in zip(spec.goals, spec.gold_calls, strict=True):
        schema = next(t for t in spec.tools if t.name == call.name).signature.parameters
        for need in goal.needs:
            carriers = [key for key, value in arguments(call).items() if stands_in(answers[need], {key: value})]
            assert carriers or spec.state is not None
            for key in carriers:
                part = schema["properties"][key]
                assert key in schema["required"]
                assert "enum" not in part
                assert part["type"] != "boolean"


@each
def test_every_parameter_has_an_effect(spec, sandbox):
    """For each parameter of each tool, a call that works and one that differs only in it give different results."""
    for tool in spec.tools:
        schema = tool.signature.parameters
        shown = {key: part["examples"][0] for key, part in schema["properties"].items() if part.get("examples")}
        gold = next((call for call in spec.gold_calls if call.name == tool.name), None)
        base = arguments(gold) if gold else {**placeholder_arguments(schema), **shown}
        calls, changed = [(tool.name, base)], [""]
        for key, part in schema["properties"].items():
            value = base.get(key, part.get("default", shown.get(key)))
            for other in others(value, part):
                calls.append((tool.name, {**base, key: other}))
                changed.append(key)
        first, *results = play(sandbox, spec, calls, before(spec, gold.id) if gold else ())
        assert not failed(first), (calls[0], first.text)
        telling = {key for key, result in zip(changed[1:], results, strict=True) if result.text != first.text}
        assert telling == set(schema["properties"]), tool.name


def test_the_scripted_panel_stays_below_gold(sandbox):
    """Gold scores 1 everywhere, every cheat less on each environment, and over the set next to nothing is guessed."""

    async def scores(name):
        jobs = [Job(spec, sample) for spec in SPECS for sample in range(1 if name in ("gold", "silent") else 2)]
        played = run_rollouts(jobs, lambda spec, seed: make(name, spec, seed), sandbox, name=name, concurrency=8)
        return [score_trajectory(trajectory) async for trajectory in played]

    panel = {name: asyncio.run(scores(name)) for name in SCRIPTED}
    assert [score.value for score in panel["gold"]] == [1.0] * len(SPECS)
    for name in CHEATS:
        assert all(score.value < 1 for score in panel[name]), name
    f1 = {name: mean(score.strict.f1 for score in found) for name, found in panel.items()}
    assert f1["silent"] == f1["answer-only"] == 0
    assert max(f1[name] for name in ("spam", "random", "echo", "repeat")) <= 0.05


@pytest.mark.slow
def test_the_audit_finds_no_defect(sandbox):
    """`check` over the set: no gate of severity defect is hit."""
    from toolfoundry.check import check

    report = check(SPECS, sandbox)
    defects = [entry for entry in report.gates if entry.hits and entry.gate.severity == "defect"]
    assert [(entry.gate.name, finding) for entry in defects for finding in entry.findings] == []
