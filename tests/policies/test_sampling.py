"""The batcher: who is sampled together, in which order, and what happens when something goes wrong."""

import asyncio
import gc

import pytest

from fakes import TABLE, CannedExecutor, CannedSession, capital_spec
from toolfoundry.chat import chat_format
from toolfoundry.errors import ContextFull, FoundryError
from toolfoundry.policies.sampling import Batcher, Request, Sampled, TokenPolicy
from toolfoundry.rollout import Job, run_rollouts
from toolfoundry.seeds import derive_seed, generator
from toolfoundry.tokens import Dialect
from toolfoundry.types import Message

END = 256


class Letters:
    """A codec of bytes, with one id beyond them for the end of a turn."""

    end_ids = (END,)

    def encode(self, text):
        parts = text.split("<|im_end|>")
        return [id for at, part in enumerate(parts) for id in ([END] if at else []) + list(part.encode())]

    def decode(self, ids):
        return b"".join(b"<|im_end|>" if id == END else bytes([id]) for id in ids).decode()


DIALECT = Dialect(chat_format("hermes"), Letters())
CALL = '<tool_call>\n{"name": "%s", "arguments": {"x": "%s"}}\n</tool_call>'
TURNS = [CALL % ("author_of", "Tides"), CALL % ("town_of", "Mira Olsen"), "<answer>Velden</answer>"]


class Recorder:
    """A sampler that says the gold turns (or what `say` gives), and keeps the batches that it was given."""

    def __init__(self, say=None, context=None):
        self.batches = []
        self.say = say or (
            lambda request: TURNS[bytes(id % 256 for id in request.prompt_ids).count(b"</tool_response>")]
        )
        if context is not None:
            self.context = context

    def sample(self, requests, *, max_tokens, temperature):
        self.batches.append([request.seed for request in requests])
        spoken = [DIALECT.codec.encode(self.say(request) + "<|im_end|>")[:max_tokens] for request in requests]
        return [Sampled(ids, [-0.5] * len(ids)) for ids in spoken]


class SlowTools(CannedExecutor):
    """Tools that take a time of their own choice for each call, in another order each time."""

    def __init__(self, name, longest_s=0.02):
        super().__init__(TABLE)
        self.draw, self.longest_s = generator(name), longest_s

    def session(self, sources, *, state=None, seed=0):
        super().session(sources)
        return SlowSession(self)


class SlowSession(CannedSession):
    async def abatch(self, calls):
        await asyncio.sleep(self.executor.draw.random() * self.executor.longest_s)
        return await super().abatch(calls)


def play(sampler, executor, *, rollouts=10, concurrency=4, specs=None, **options):
    async def all_of_them():
        batcher = Batcher(sampler, **{"max_tokens": 200, "temperature": 1.0, **options})

        def maker(spec, sample):
            return TokenPolicy(DIALECT, batcher, seed=derive_seed("rollout", spec.id, sample))

        jobs = [Job(spec, sample) for spec in specs or [capital_spec()] for sample in range(rollouts)]
        stream = run_rollouts(jobs, maker, executor, concurrency=concurrency)
        return sorted([one async for one in stream], key=lambda one: one.key)

    return asyncio.run(all_of_them())


def test_rollouts_keep_what_was_sampled():
    """Token ids, log-probabilities and counts of each turn are in the record, and the calls were executed."""
    [played] = play(Recorder(), CannedExecutor(TABLE), rollouts=1)
    assert played.stop == "answered"
    for turn, text in zip(played.turns, TURNS, strict=True):
        ids = tuple(DIALECT.codec.encode(text + "<|im_end|>"))
        assert turn.completion.token_ids == ids
        assert turn.completion.logprobs == (-0.5,) * len(ids)
        assert turn.completion.usage.completion_tokens == len(ids)
    assert played.turns[1].completion.message.tool_calls[0].id == "call_1"


def test_a_message_that_was_changed_is_shown_as_it_stands():
    """Where a benchmark takes a call out of a message, the next prompt shows the rest of it, not what was sampled."""
    prompts = []

    def say(request):
        prompts.append(DIALECT.codec.decode(request.prompt_ids))
        return f"{TURNS[0]}\n{TURNS[1]}"

    async def two_turns(cut):
        policy = TokenPolicy(DIALECT, Batcher(Recorder(say), max_tokens=400, temperature=1.0), seed=1)
        asked = (Message(role="user", content="Where?"),)
        said = (await policy(asked, ())).message
        kept = said.model_copy(update={"tool_calls": said.tool_calls[:1]}) if cut else said
        results = [Message(role="tool", content="Mira Olsen", call_id=call.id) for call in kept.tool_calls]
        await policy((*asked, kept, *results), ())
        return prompts[-1]

    assert asyncio.run(two_turns(cut=False)).count("<tool_call>") == 2
    assert asyncio.run(two_turns(cut=True)).count("<tool_call>") == 1


def test_all_that_live_are_sampled_together():
    """Rollouts that wait for their tools join before the next batch: each batch is as full as can be."""
    sampler = Recorder()
    play(sampler, SlowTools("join"), rollouts=4, concurrency=4)
    assert [len(batch) for batch in sampler.batches] == [4, 4, 4]


def test_the_grouping_does_not_depend_on_time():
    """However long the tools take, the same requests are in the same batches, in the same order."""

    def batches(name, longest_s):
        sampler = Recorder()
        play(sampler, SlowTools(name, longest_s), rollouts=11, concurrency=4, max_batch=3)
        return sampler.batches

    first = batches("a", 0.005)
    assert sum(map(len, first)) == 33
    assert first == batches("b", 0.02) == batches("c", 0.0)


def test_a_place_that_becomes_free_is_filled_before_the_next_batch():
    """A rollout that ends makes room for another, which is sampled with those that went on."""
    spec = capital_spec()
    short = {derive_seed("turn", derive_seed("rollout", spec.id, sample), 0) for sample in (0, 1)}
    sampler = Recorder(lambda request: "done" if request.seed in short else Recorder().say(request))
    play(sampler, SlowTools("free"), rollouts=6, concurrency=4)
    assert [len(batch) for batch in sampler.batches] == [4, 4, 4, 2]


def test_more_than_a_batch_is_cut_evenly():
    """Ten requests with room for four are sampled as 4, 4 and 2, or better: no batch is nearly empty."""
    sampler = Recorder(lambda request: "done")
    play(sampler, CannedExecutor(TABLE), rollouts=9, concurrency=9, max_batch=4)
    assert [len(batch) for batch in sampler.batches] == [3, 3, 3]


def test_equal_prompts_are_side_by_side():
    """Requests of one group are in one batch where they fit, so that their prompt is read once."""
    sampler = Recorder(lambda request: "done")
    specs = [capital_spec(number) for number in range(4)]
    play(sampler, CannedExecutor(TABLE), rollouts=3, concurrency=12, specs=specs, max_batch=3)
    groups = [{derive_seed("turn", derive_seed("rollout", s.id, k), 0) for k in range(3)} for s in specs]
    assert sorted(map(sorted, groups)) == sorted(map(sorted, sampler.batches))


def test_whoever_is_held_but_never_asks_is_not_waited_for_forever():
    """A policy that lives on without a rollout costs patience, not the run."""
    sampler = Recorder()

    async def main():
        batcher = Batcher(sampler, max_tokens=10, temperature=1.0, patience_s=0.02)
        idle = TokenPolicy(DIALECT, batcher, seed=1)
        return idle, await batcher.sample(Request([1], 2))

    assert asyncio.run(main())[1].token_ids
    assert sampler.batches == [[2]]


def test_a_rollout_that_ran_out_of_time_is_not_sampled():
    """A request whose rollout was cancelled takes no place in a batch."""
    sampler = Recorder()

    async def main():
        batcher = Batcher(sampler, max_tokens=10, temperature=1.0)
        gone = asyncio.create_task(batcher.sample(Request([1], 1)))
        here = asyncio.create_task(batcher.sample(Request([1], 2)))
        await asyncio.sleep(0)
        gone.cancel()
        await here
        alone = asyncio.create_task(batcher.sample(Request([1], 3)))
        await asyncio.sleep(0)
        alone.cancel()
        await asyncio.sleep(0.05)

    asyncio.run(main())
    assert sampler.batches == [[2]]


def test_a_failing_model_fails_the_rollouts_that_asked_and_no_others():
    """What a sampler raises is the cause in the records of that batch; the next rollouts are not held up by it."""
    calls = []

    class Broken(Recorder):
        def sample(self, requests, **options):
            calls.append(len(requests))
            if len(calls) == 1:
                raise FoundryError("the model gives NaN")
            return super().sample(requests, **options)

    gc.disable()  # what has failed must be gone without the collector's help
    try:
        played = play(Broken(), CannedExecutor(TABLE), rollouts=4, concurrency=2, patience_s=600)
    finally:
        gc.enable()
    assert sorted(one.stop for one in played) == ["answered", "answered", "error", "error"]
    assert {one.error for one in played} == {None, "FoundryError: the model gives NaN"}
    assert calls == [2, 2, 2, 2]


def test_a_sampler_that_forgets_a_request_is_an_error():
    """Nobody waits for a completion that never comes."""

    class Forgetful(Recorder):
        def sample(self, requests, **options):
            return super().sample(requests, **options)[1:]

    [played] = play(Forgetful(), CannedExecutor(TABLE), rollouts=1)
    assert played.error == "ValueError: sampler: found 0 completions for 1 requests"


def test_a_conversation_that_outgrows_the_context_has_ended():
    """It stops with `length`, keeps and scores the turns it had; other rollouts of the batch go on."""
    prompt = len(DIALECT.prompt(*opening_of(capital_spec())).ids)
    room = prompt + 200
    played = play(Recorder(context=room), CannedExecutor(TABLE), rollouts=2)
    assert {one.stop for one in played} == {"length"}
    assert all(one.error is None and 0 < len(one.turns) < 3 for one in played)
    assert all(turn.reward is not None for one in played for turn in one.turns)


def test_a_prompt_that_never_fitted_is_not_scored():
    """Where nothing could be said there is nothing to score: the record says why."""
    [played] = play(Recorder(context=50), CannedExecutor(TABLE), rollouts=1)
    assert played.stop == "error"
    assert played.error.startswith("ContextFull: a prompt of ")

    async def alone():
        await Batcher(Recorder(context=2), max_tokens=1, temperature=0.0).sample(Request([1, 2], 0))

    with pytest.raises(ContextFull, match="2 tokens, expected fewer than the model's context of 2"):
        asyncio.run(alone())


def opening_of(spec):
    from toolfoundry.environment import opening

    return opening(spec)
