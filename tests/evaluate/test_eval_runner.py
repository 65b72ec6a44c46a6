"""The runner: what is played, how often, how many at once, and what happens when something of ours fails."""

import asyncio
import contextlib

import pytest

from fakes import TABLE, CannedExecutor, assistant, call, capital_spec, says
from toolfoundry.errors import ContextFull, EndpointError, InputError
from toolfoundry.evaluate.attempts import Item
from toolfoundry.evaluate.own import Own, load
from toolfoundry.evaluate.results import summarise_attempts
from toolfoundry.evaluate.runner import run_benchmark, spread
from toolfoundry.policies.players import Player
from toolfoundry.policies.scripted import make
from toolfoundry.store import RecordWriter
from toolfoundry.types import Completion, EnvSpec, Usage


@pytest.fixture
def benchmark(tmp_path) -> Own:
    return own(tmp_path, 4)


def own(folder, count):
    with RecordWriter(folder / "envs.jsonl", EnvSpec) as writer:
        for number in range(count):
            writer.write(capital_spec(number))
    return load(folder / "envs.jsonl")


def player(start, name="p"):
    return Player(name, start, {}, dict)


def gold(item, spec, sample):
    return make("gold", spec)


def run(benchmark, who, *, executor=None, stop_after=None, **options):
    """All attempts, and what ended the run (None or an EndpointError)."""

    async def collect():
        found = []
        options.setdefault("items", benchmark.items())
        attempts = run_benchmark(benchmark, who, executor or CannedExecutor(TABLE), **options)
        try:
            async with contextlib.aclosing(attempts):
                async for attempt in attempts:
                    found.append(attempt)
                    if len(found) == stop_after:
                        break
        except EndpointError as error:
            return found, error
        return found, None

    return asyncio.run(collect())


def test_every_item_is_played_as_often_as_asked(benchmark):
    """Keys are all different, and scores are there by both rules."""
    found, ended = run(benchmark, player(gold), samples=3)
    assert ended is None
    expected = {f"own/{item.id}/p/{sample}" for item in benchmark.items() for sample in range(3)}
    assert {attempt.key for attempt in found} == expected
    assert len(found) == 12
    assert {attempt.scores["fixed"]["solve_f1"] for attempt in found} == {1.0}


def test_what_is_done_is_not_done_again(benchmark):
    """By key, and by key only."""
    first, _ = run(benchmark, player(gold), samples=2)
    done = {attempt.key for attempt in first[:5]}
    rest, _ = run(benchmark, player(gold), samples=2, done=done)
    assert {attempt.key for attempt in rest} == {attempt.key for attempt in first[5:]}
    assert len(run(benchmark, player(gold, "q"), samples=2, done=done)[0]) == 8


def test_work_is_bounded_and_drawn_as_places_become_free(tmp_path):
    """Never more than `concurrency` at once; the policies of later items are not made before their turn."""
    benchmark = own(tmp_path, 12)
    made, playing, most = [], 0, 0

    def start(item, spec, sample):
        made.append(item)
        policy = make("gold", spec)

        async def slow(messages, tools):
            nonlocal playing, most
            playing += 1
            most = max(most, playing)
            await asyncio.sleep(0)
            playing -= 1
            return await policy(messages, tools)

        return slow

    found, _ = run(benchmark, player(start), concurrency=3)
    assert (len(found), most) == (12, 3)
    made.clear()
    run(benchmark, player(start), concurrency=3, stop_after=1)
    assert len(made) < 12


def test_leaving_early_cancels_what_runs(benchmark):
    """No attempt goes on behind the caller's back, and every session is closed."""
    cancelled = []

    def start(item, spec, sample):
        async def waits(messages, tools):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(item)
                raise

        return make("gold", spec) if item == benchmark.items()[0].id else waits

    executor = CannedExecutor(TABLE)
    found, _ = run(benchmark, player(start), executor=executor, stop_after=1)
    assert (len(found), len(cancelled), executor.open) == (1, 3, 0)


# --- failures ------------------------------------------------------------------------------------------------------


def failing(times, error, *, then=gold):
    """A player whose first `times` policies for each item fail in their second turn, having used tokens."""
    seen = {}

    def start(item, spec, sample):
        seen[item] = seen.get(item, 0) + 1
        if seen[item] > times:
            return then(item, spec, sample)
        spoken = Completion(
            message=assistant("", call("author_of", "Tides")), usage=Usage(prompt_tokens=30, completion_tokens=4)
        )
        return says(spoken, error)

    return player(start), seen


def test_a_failed_attempt_is_made_again_from_the_start(benchmark):
    """With a new policy; what the failed tries cost is kept in the facts and counted."""
    who, seen = failing(2, EndpointError("503", 503))
    found, ended = run(benchmark, who, retries=2)
    assert ended is None
    assert set(seen.values()) == {3}
    assert {attempt.scores["fixed"]["solve_f1"] for attempt in found} == {1.0}
    assert found[0].facts["again"] == {"tries": 2, "prompt_tokens": 60, "completion_tokens": 8}
    effort = summarise_attempts(benchmark.about, found, "fixed").effort
    assert (effort.again, effort.prompt_tokens, effort.completion_tokens) == (8, 240, 32)
    assert benchmark.score(found[0]) == found[0]  # the facts stay when it is scored anew


def test_after_its_retries_it_is_unscored(benchmark):
    """On record with its cause, without scores: no wrong answer."""
    who, seen = failing(99, EndpointError("503", 503))
    found, _ = run(benchmark, who, retries=1)
    assert set(seen.values()) == {2}
    assert [(attempt.scores, attempt.trajectory.stop) for attempt in found] == [({}, "error")] * 4
    assert found[0].trajectory.error == "EndpointError: 503"
    result = summarise_attempts(benchmark.about, found, "fixed")
    assert (result.unscored, result.failures) == (1.0, {"EndpointError: 503": 4})


@pytest.mark.parametrize("error", [EndpointError("too long", 400), ContextFull("5 tokens, expected fewer")])
def test_a_refused_conversation_is_not_tried_again(benchmark, error):
    """It would be refused again, and its tokens be paid for again."""
    calls = []

    def start(item, spec, sample):
        calls.append(item)
        return says(error)

    found, _ = run(benchmark, player(start), retries=5)
    assert len(calls) == len(found) == 4
    assert all(attempt.trajectory.stop == "error" for attempt in found)


def test_a_full_context_later_on_is_the_models_end(benchmark):
    """The attempt is scored for what was played."""
    who = player(lambda *_: says(assistant("", call("author_of", "Tides")), ContextFull("5 tokens")))
    found, _ = run(benchmark, who)
    assert {attempt.trajectory.stop for attempt in found} == {"length"}
    assert {attempt.scores["fixed"]["solve_r"] for attempt in found} == {0.5}


def test_a_policy_that_cannot_be_made_is_on_record(benchmark):
    """One bad item does not end the others."""
    bad = benchmark.items()[1].id

    def start(item, spec, sample):
        if item == bad:
            raise InputError("no gold calls")
        return make("gold", spec)

    found, _ = run(benchmark, player(start))
    assert [a.trajectory.error for a in found if a.trajectory.stop == "error"] == ["InputError: no gold calls"]
    assert len(found) == 4


def test_a_run_in_which_nothing_works_stops(tmp_path):
    """After ten attempts, whatever the cause; those are on record."""
    benchmark = own(tmp_path, 40)
    found, ended = run(benchmark, player(lambda *_: says(EndpointError("no", 400))), concurrency=1)
    assert len(found) == 10
    assert str(ended) == "own: the first 10 attempts failed (EndpointError: no)"


def test_an_endpoint_that_dies_half_way_stops_the_run(tmp_path):
    """After ten failures in a row; what was done before was given out."""
    benchmark = own(tmp_path, 60)
    started = []

    def start(item, spec, sample):
        started.append(item)
        return make("gold", spec) if len(started) <= 20 else says(EndpointError("the connection broke"))

    found, ended = run(benchmark, player(start), concurrency=1, retries=0)
    assert (len([attempt for attempt in found if attempt.scores]), len(found)) == (20, 30)
    assert str(ended) == "own: 10 attempts in a row failed (EndpointError: the connection broke)"


def test_refusals_in_a_row_do_not_stop_a_run_that_works(tmp_path):
    """A benchmark may hold many conversations that are too long for the model, one after the other."""
    benchmark = own(tmp_path, 40)
    started = []

    def start(item, spec, sample):
        started.append(item)
        return make("gold", spec) if len(started) <= 5 else says(EndpointError("too long", 400))

    found, ended = run(benchmark, player(start), concurrency=1)
    assert (len(found), ended) == (40, None)


def test_a_benchmark_that_names_its_attempts_otherwise_is_refused(benchmark):
    """A resumed run would make them again for ever."""

    class Misnamed(Own):
        async def play(self, item, policy, executor, *, name, sample):
            return await super().play(item, policy, executor, name="other", sample=sample)

    with pytest.raises(ValueError, match="expected 'own/"):
        run(Misnamed(*benchmark), player(gold))


# --- a part of a benchmark -----------------------------------------------------------------------------------------


def test_a_part_has_something_of_each_group():
    """Groups in turn, in their order; the items stay in theirs."""
    items = [Item(f"{group}{index}", group, "c") for group in "abc" for index in range(5)]
    assert [item.id for item in spread(items, 4)] == ["a0", "a1", "b0", "c0"]
    assert [item.id for item in spread(items, 2)] == ["a0", "b0"]
    assert spread(items, None) == spread(items, 99) == items
    uneven = [Item("a0", "a", "c"), *items[5:]]
    assert [item.id for item in spread(uneven, 6)] == ["a0", "b0", "b1", "b2", "c0", "c1"]
