"""τ-bench: how a dialogue is led, what each rule makes of it, and that the published gold actions pass."""

import asyncio
import json
from pathlib import Path

import pytest

import tau_library as library
from fake_openai_server import call, reply, serve, status
from fakes import assistant, says
from toolfoundry.errors import ContextFull, EndpointError, InputError, RecordError
from toolfoundry.evaluate.attempts import Attempt
from toolfoundry.evaluate.taubench import MAX_TURNS, load
from toolfoundry.evaluate.users import STOP, LLMUser, ScriptedUser, llm_users, scripted_users
from toolfoundry.policies.openai import OpenAIPolicy
from toolfoundry.store import dump, load_record
from toolfoundry.types import Completion, Message, ToolCall


@pytest.fixture
def library_set(tmp_path) -> Path:
    return library.write(tmp_path)


def gold_messages(task):
    """What an agent says that passes by both rules, with a user who ends the dialogue after two messages to it.

    It tells the outputs to the user, and again beside each gold call, which is the only place where `paper` looks: a
    task with outputs and without gold calls fails by that rule.
    """
    told = "Your details: " + "; ".join(task.outputs) if task.outputs else "I am working on it."
    calls = [Message(role="assistant", content=told, tool_calls=(call,)) for call in task.actions]
    return [Message(role="assistant", content=told), *calls, Message(role="assistant", content="All done.")]


def asks(name, id="c0", **arguments) -> ToolCall:
    return ToolCall(id=id, name=name, arguments=json.dumps(arguments))


def play(box, folder, messages, *, task=0, stop_after=1, **options) -> Attempt:
    """One attempt at a task by an agent that says these messages in turn."""
    user = options.pop("user", scripted_users(stop_after))
    benchmark = load(folder, user=user, **options)
    policy = messages if callable(messages) else says(*messages)
    return asyncio.run(benchmark.play(benchmark.items()[task], policy, box, name="agent", sample=0))


def marks(attempt) -> tuple[float, float]:
    """The score by the rule `paper` and by `fixed`."""
    return attempt.scores["paper"]["pass_1"], attempt.scores["fixed"]["pass_1"]


RETURN, TAKE = asks("return_book", book_id="b2"), asks("lend_book", book_id="b1", member_id="m2")
LOOK = asks("get_book", book_id="b1")
TRANSFER = asks("transfer_to_human_agents", summary="I cannot do this.")
SWAP, ASK, LEND, GIVE_UP = range(4)


# --- the dialogue --------------------------------------------------------------------------------------------------


def test_how_a_dialogue_is_led(sandbox, library_set):
    """The policy of the domain is the system prompt, the user speaks first, and its replies are the turns' notices."""
    heard = []

    async def agent(messages, tools):
        heard.append((messages, tools))
        said = [assistant("Which book?"), assistant("", LOOK), assistant("Here it is.")]
        return Completion(message=said[len(heard) - 1])

    attempt = play(sandbox, library_set, agent, stop_after=2)
    trajectory = attempt.trajectory
    assert [message.role for message in trajectory.prompt] == ["system", "user"]
    assert trajectory.prompt[0].content == library.WIKI
    assert trajectory.prompt[1].content == library.SWAP["instruction"]
    assert [turn.notice for turn in trajectory.turns] == ["Yes, please go on.", None, STOP]
    assert json.loads(trajectory.turns[1].results[0].content)["title"] == "Tides"
    assert trajectory.stop == "answered"
    messages, tools = heard[-1]
    assert [message.role for message in messages] == ["system", "user", "assistant", "user", "assistant", "tool"]
    assert [tool.name for tool in tools] == list(library.CODES)
    assert (attempt.benchmark, attempt.group) == ("tau-bench", "library")
    assert (attempt.facts["ended"], attempt.facts["task"]) == ("stop", "tau-bench.jsonl:1")


def test_one_call_a_turn(sandbox, library_set):
    """Of several calls in a message the first is made; the others are taken out of it, and counted."""
    attempt = play(sandbox, library_set, [assistant("", RETURN, TAKE), assistant("Done.")])
    turn = attempt.trajectory.turns[0]
    assert turn.completion.message.tool_calls == (RETURN,)
    assert [result.content for result in turn.results] == ["returned"]
    assert attempt.facts["cut_calls"] == 1
    assert marks(attempt) == (0.0, 0.0)  # Tides was not lent


def test_the_mistakes_of_the_agent_are_told_to_it(sandbox, library_set):
    """A call that cannot be read, an unknown tool and a tool that raises give results with an error, and it goes on."""
    wrong = [
        assistant("", ToolCall(id="c0", name="lend_book", arguments="{")),
        assistant("", asks("database_hash")),
        assistant("", asks("toolfoundry/database_hash")),
        assistant("", asks("lend_book", book_id="b7", member_id="m1")),
        assistant("", asks("get_book", book_id="b1", data={})),
        assistant("Sorry."),
    ]
    attempt = play(sandbox, library_set, wrong)
    errors = [turn.results[0].error for turn in attempt.trajectory.turns[:-1]]
    kinds = [error.partition(":")[0] for error in errors]
    assert kinds == ["malformed_call", "unknown_tool", "unknown_tool", "raised", "raised"]
    assert "get_book, lend_book" in errors[1]
    assert marks(attempt) == (0.0, 0.0)


def test_a_dialogue_without_end(sandbox, library_set):
    """With a user that never stops, it ends after 30 turns: `fixed` looks at the database, as the release does for
    closed models only; for open ones it gives 0."""
    messages = [assistant("", RETURN), assistant("", TAKE), assistant("What else?")]
    for scored, paper in (("open", 0.0), ("closed", 1.0)):
        attempt = play(sandbox, library_set, messages, stop_after=None, scored=scored)
        assert (attempt.trajectory.stop, len(attempt.trajectory.turns)) == ("max_turns", MAX_TURNS)
        assert attempt.facts["ended"] == "max_turns"
        assert attempt.facts["checks"]["paper"]["scored"] is (scored == "closed")
        assert marks(attempt) == (paper, 1.0)


def test_a_full_context_ends_a_dialogue(sandbox, library_set):
    """What was done before the model's context was full counts; without a turn there is nothing to score."""
    full = ContextFull("the conversation has 9 tokens too many")
    attempt = play(sandbox, library_set, [assistant("", RETURN), assistant("", TAKE), full])
    assert (attempt.trajectory.stop, attempt.facts["ended"]) == ("length", "length")
    assert marks(attempt) == (0.0, 1.0)
    attempt = play(sandbox, library_set, [full])
    assert (attempt.trajectory.stop, attempt.scores) == ("error", {})


# --- the database --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [SWAP, LEND, GIVE_UP])
def test_the_gold_actions_pass(sandbox, library_set, task):
    """Making the gold calls and telling the outputs passes by both rules; a look-up that fails does not matter."""
    gold = gold_messages(load(library_set).tasks[task])
    attempt = play(sandbox, library_set, gold, task=task, stop_after=2)
    assert attempt.facts["hash"] == attempt.facts["gold_hash"]
    assert marks(attempt) == (1.0, 1.0)


def test_without_an_action_that_matters_it_fails(sandbox, library_set):
    """Leaving out a gold action fails exactly if the database is another one without it."""
    task = load(library_set).tasks[SWAP]
    for left_out, passes in enumerate([1.0, 0.0, 0.0]):
        less = task.model_copy(update={"actions": task.actions[:left_out] + task.actions[left_out + 1 :]})
        attempt = play(sandbox, library_set, gold_messages(less), stop_after=2)
        assert marks(attempt) == (passes, passes)


def test_a_change_too_many_fails(sandbox, library_set):
    """A database that must stay as it is has to: an agent that lends a book nobody asked for fails."""
    gold = gold_messages(load(library_set).tasks[GIVE_UP])
    assert marks(play(sandbox, library_set, [assistant("", RETURN), *gold], task=GIVE_UP, stop_after=2)) == (0.0, 0.0)


def test_the_hash_is_of_the_content(sandbox, library_set):
    """It does not depend on the order of keys or calls; it tells 1 from 1.0, and a list from its reverse."""
    benchmark = load(library_set)
    domain = benchmark._data.domains["library"]

    def other(**books):
        return domain._replace(name=str(len(books)), database={**domain.database, "books": books})

    async def hashes():
        back = asks("return_book", book_id="b1")
        both = [await benchmark.hash_after(sandbox, domain, order) for order in ((RETURN, TAKE), (RETURN, TAKE, LOOK))]
        there_and_back = await benchmark.hash_after(sandbox, domain, (TAKE, back))
        start = await benchmark.hash_after(sandbox, domain, ())
        books = dict(reversed(library.BOOKS.items()))
        moved = await benchmark.hash_after(sandbox, other(**books), ())
        real = await benchmark.hash_after(sandbox, other(**books, b4={"fee": 1.0}), ())
        whole = await benchmark.hash_after(sandbox, other(**books, b4={"fee": 1}, b5={}), ())
        return both, start, there_and_back, moved, real, whole

    both, start, there_and_back, moved, real, whole = asyncio.run(hashes())
    assert both[0] == both[1] != start
    assert start == there_and_back == moved
    assert len({start, real, whole}) == 3
    assert len(start) == 64


def test_dialogues_at_once_have_a_database_each(sandbox, library_set):
    """Attempts that run together do not see each other's changes, and the set's own copy stays as it was."""
    benchmark = load(library_set, user=scripted_users(2))
    before = json.dumps(benchmark._data.domains["library"].database)
    gold = gold_messages(benchmark.tasks[SWAP])

    async def all_of_them():
        item = benchmark.items()[SWAP]
        return await asyncio.gather(
            *(benchmark.play(item, says(*gold), sandbox, name="agent", sample=sample) for sample in range(12))
        )

    attempts = asyncio.run(all_of_them())
    assert {marks(attempt) for attempt in attempts} == {(1.0, 1.0)}
    assert len({attempt.key for attempt in attempts}) == 12
    assert json.dumps(benchmark._data.domains["library"].database) == before


def test_the_database_is_sent_once_and_the_gold_hash_worked_out_once(sandbox, library_set):
    """However many attempts are made, the sandbox gets a domain's sources and database once."""
    sent = []

    class Counting:
        def session(self, sources, *, state=None, seed=0):
            sent.append(len(state or {}))
            return sandbox.session(sources, state=state, seed=seed)

    benchmark = load(library_set, user=scripted_users())
    box = Counting()
    for sample in range(3):
        asyncio.run(benchmark.play(benchmark.items()[0], says(assistant("No.")), box, name="a", sample=sample))
    assert sent == [0, 2]  # whether the sources load, then the two tables
    assert len(benchmark._reached) == 2  # after no action, and after the gold ones


# --- the rules -----------------------------------------------------------------------------------------------------


def test_a_transfer_ends_the_dialogue_for_fixed_alone(sandbox, library_set):
    """The release looks for a transfer tool of another name, so that for `paper` what comes after it counts."""
    done = [assistant("", RETURN), assistant("", TAKE)]
    late = play(sandbox, library_set, [assistant("", TRANSFER), *done, assistant("Done.")])
    assert late.facts["transfer_turn"] == 1
    assert late.facts["hash_at_transfer"] != late.facts["hash"] == late.facts["gold_hash"]
    assert marks(late) == (1.0, 0.0)
    spoilt = play(
        sandbox,
        library_set,
        [*done, assistant("", TRANSFER), assistant("", asks("return_book", book_id="b1")), assistant("Done.")],
    )
    assert spoilt.facts["transfer_turn"] == 3
    assert marks(spoilt) == (0.0, 1.0)


def test_an_output_after_a_transfer_comes_too_late(sandbox, library_set):
    """For `fixed`, what the user is told after the transfer was not told."""
    fees = assistant("12.50 and 1204.")
    assert marks(play(sandbox, library_set, [fees], task=ASK))[1] == 1.0
    assert marks(play(sandbox, library_set, [assistant("", TRANSFER), fees], task=ASK))[1] == 0.0


def test_where_outputs_are_looked_for(sandbox, library_set):
    """`paper` finds them beside tool calls only, `fixed` in what the user was told only."""
    beside = [assistant("The fees: 12.50 and 1204.", LOOK), assistant("Anything else?")]
    attempt = play(sandbox, library_set, beside, task=ASK)
    assert marks(attempt) == (1.0, 0.0)
    assert attempt.facts["checks"]["fixed"]["missing"] == ["12.50", "1204"]
    told = [assistant("", LOOK), assistant("The fees: 12.50 and 1204.")]
    attempt = play(sandbox, library_set, told, task=ASK)
    assert marks(attempt) == (0.0, 1.0)
    assert attempt.facts["checks"]["paper"]["missing"] == ["12.50", "1204"]


@pytest.mark.parametrize(
    ("text", "paper", "fixed"),
    [
        ("They are 12.50 and 1204.", 1.0, 1.0),
        ("Tides: $12.50, Moss: $1,204", 1.0, 1.0),
        ("Tides $12.5, Moss **$1,204.00**", 0.0, 1.0),  # "12.50" is no part of "12.5"
        ("112.50 and 12045", 1.0, 0.0),  # parts of other numbers
        ("12.50 alone", 0.0, 0.0),
    ],
)
def test_how_outputs_are_compared(sandbox, library_set, text, paper, fixed):
    """`paper` takes substrings, `fixed` numbers by their value and words as wholes."""
    said = [assistant(text, LOOK), assistant(text)]
    assert marks(play(sandbox, library_set, said, task=ASK)) == (paper, fixed)


def test_words_are_compared_as_words(sandbox, tmp_path):
    """An output of words is found whatever its case, but not inside another word."""
    folder = library.write(tmp_path, [library.row("You want to know.", outputs=["White", "20 hours", "yes"])])
    whole = "Yes, it is white and lasts 20 hours."
    for text, fixed in ((whole, 1.0), (whole.replace("white", "whitewashed"), 0.0), (whole.replace("20", "120"), 0.0)):
        attempt = play(sandbox, folder, [assistant(text, LOOK), assistant(text)])
        assert marks(attempt) == (1.0, fixed)


def test_thinking_counts_where_the_release_counts_it(sandbox, library_set):
    """Its open models' thinking is part of their messages; its closed models' is not, and `fixed` never looks there."""
    said = [assistant("", LOOK, thinking="12.50 and 1204"), assistant("Hm.", thinking="12.50 and 1204")]
    assert marks(play(sandbox, library_set, said, task=ASK)) == (1.0, 0.0)
    assert marks(play(sandbox, library_set, said, task=ASK, scored="closed")) == (0.0, 0.0)


def test_text_beside_an_unreadable_call_is_not_beside_a_call(sandbox, library_set):
    """The release drops what it cannot read as a call, so that `paper` finds no outputs beside it."""
    broken = ToolCall(id="c0", name="", arguments='{"name": "get_book"')
    said = [assistant("12.50 and 1204", broken), assistant("Done.")]
    assert marks(play(sandbox, library_set, said, task=ASK)) == (0.0, 0.0)


def test_scoring_anew(sandbox, library_set):
    """A stored attempt gets the same scores again without user, model or sandbox; by the other path if so loaded."""
    messages = [assistant("", RETURN), assistant("", TAKE), assistant("What else?")]
    attempt = play(sandbox, library_set, messages, stop_after=None)
    stored = load_record(Attempt, dump(attempt))
    assert stored == attempt
    bare = stored.model_copy(update={"scores": {}, "facts": {**stored.facts, "checks": {}}})
    assert load(library_set).score(bare) == attempt
    noted = bare.model_copy(update={"facts": {**bare.facts, "again": {"tries": 1}}})  # facts that are not its own stay
    assert load(library_set).score(noted).facts == {**attempt.facts, "again": {"tries": 1}}
    failed = attempt.model_copy(
        update={"facts": {}, "trajectory": attempt.trajectory.model_copy(update={"stop": "error"})}
    )
    assert load(library_set).score(failed).scores == {}
    assert marks(load(library_set, scored="closed").score(bare)) == (1.0, 1.0)


def test_attempts_that_hold_no_such_facts(library_set, sandbox):
    """Facts of another benchmark, or without the hashes, are an error and no 0."""
    attempt = play(sandbox, library_set, [assistant("No.")])
    benchmark = load(library_set)
    with pytest.raises(RecordError, match="facts"):
        benchmark.score(attempt.model_copy(update={"facts": {"mode": "direct"}}))
    with pytest.raises(RecordError, match="expected the hashes"):
        benchmark.score(attempt.model_copy(update={"facts": {**attempt.facts, "gold_hash": None}}))


# --- users and endpoints -------------------------------------------------------------------------------------------


def ask_user(handler, transcript, instruction="You are Ada.", **options):
    async def run():
        with serve(handler) as base_url:
            user = llm_users("user", base_url=base_url, max_retries=0, **options).start(instruction, 0)
            return await user(transcript)

    return asyncio.run(run())


def test_what_a_simulated_user_is_asked():
    """The instruction stands in its system prompt, the roles are swapped, and it answers at temperature 0."""
    asked = []

    def handler(request):
        asked.append(request.body)
        return reply(" It is Tides.\n")

    transcript = [Message(role="user", content="Hi."), Message(role="assistant", content="Which?")]
    transcript += [Message(role="user", content="The blue one."), Message(role="assistant", content="")]
    assert ask_user(handler, transcript) == "It is Tides."
    (body,) = asked
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("user", 0.0, 512)
    assert "tools" not in body
    system, *others = body["messages"]
    assert "You are Ada." in system["content"]
    assert STOP in system["content"]
    roles = ["user", "assistant", "user", "assistant", "user"]
    assert [message["role"] for message in others] == roles
    assert [message["content"] for message in others][1:4] == ["Hi.", "Which?", "The blue one."]
    assert others[-1]["content"] == "(The agent sent an empty message.)"


def test_a_simulated_user_that_says_nothing():
    """An empty message of the user is a failure of its endpoint."""
    with pytest.raises(EndpointError, match="the simulated user: found an empty message"):
        ask_user(lambda request: reply(""), [])


def test_a_user_whose_context_is_full():
    """A limit of the user's model does not pass for one of the agent's."""
    user = LLMUser(says(ContextFull("9 tokens too many")), "You are Ada.")
    with pytest.raises(EndpointError, match="the simulated user: ContextFull: 9 tokens too many"):
        asyncio.run(user([]))


def test_a_scripted_user():
    """It says its instruction, its replies, and at last that it is done."""
    user = ScriptedUser("I want Moss.", 3, ["Please.", "Now."])
    heard = [Message(role="assistant", content="Hm.")]
    said = [asyncio.run(user(heard * count)) for count in range(4)]
    assert said == ["I want Moss.", "Please.", "Now.", STOP]


@pytest.mark.parametrize("dies_after", [0, 1, 3])
def test_a_user_endpoint_that_dies(sandbox, library_set, dies_after):
    """The attempt is unscored, says that it was the user, and keeps what was said until then."""
    asked = []

    def handler(request):
        asked.append(request)
        return status(500) if len(asked) > dies_after else reply("Please go on.")

    with serve(handler) as base_url:
        users = llm_users("user-model", base_url=base_url, max_retries=0)
        attempt = play(sandbox, library_set, [assistant("", RETURN), assistant("What else?")], user=users)
    trajectory = attempt.trajectory
    assert (trajectory.stop, attempt.scores, attempt.facts["ended"]) == ("error", {}, "error")
    assert "the simulated user: model 'user-model'" in trajectory.error
    assert len(trajectory.prompt) == (2 if dies_after else 1)
    assert len(trajectory.turns) == (dies_after and dies_after)
    assert attempt.facts["gold_hash"] is None
    assert users.usage()["failures"] == 1


def test_an_endpoint_of_the_model_that_dies(sandbox, library_set):
    """The attempt is unscored with the cause, whatever had been done."""
    dead = EndpointError("model 'm' at http://127.0.0.1:1/v1: the connection broke", 500)
    attempt = play(sandbox, library_set, [assistant("", RETURN), dead])
    assert (attempt.trajectory.stop, attempt.scores) == ("error", {})
    assert attempt.trajectory.error.startswith("EndpointError: model 'm'")
    assert len(attempt.trajectory.turns) == 1


def test_no_user(sandbox, library_set):
    """Without a user nothing can be played, and the message names the option."""
    with pytest.raises(InputError, match="found no user, expected one that the agent talks with"):
        play(sandbox, library_set, [assistant("Hi.")], user=None)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import requests\n\ndef lend_book(data, book_id, member_id):\n    return ''", "ModuleNotFoundError"),
        ("def lend(data, book_id, member_id):\n    return ''", "it defines no function 'lend_book'"),
        ("raise ValueError('not today')", "ValueError: not today"),
    ],
)
def test_a_source_that_does_not_load(sandbox, tmp_path, source, cause):
    """It ends the evaluation with the tool's name: in every call it would pass for the agent's mistake."""
    folder = library.write(tmp_path, codes={**library.CODES, "lend_book": source})
    with pytest.raises(InputError, match=r"library/codes.json: field 'lend_book': does not load") as caught:
        play(sandbox, folder, [assistant("Hi.")])
    assert cause in str(caught.value)


def test_gold_actions_that_meet_a_limit(sandbox, tmp_path):
    """Where nobody knows what the gold actions lead to, the attempt is unscored."""
    endless = "def return_book(data, book_id):\n    while True:\n        pass"
    folder = library.write(tmp_path, codes={**library.CODES, "return_book": endless})
    attempt = play(sandbox, folder, [assistant("Hi.")])
    assert attempt.scores == {}
    assert "SandboxError: gold action return_book of library: timeout" in attempt.trajectory.error


def test_over_http_the_score_is_exactly_the_known_one(sandbox, library_set):
    """Agent and user are models behind a real HTTP endpoint: the agent does right by the first two tasks, and lends the
    wrong book in the third and none in the fourth, which is right there."""
    tasks = load(library_set).tasks
    wrong = asks("lend_book", book_id="b1", member_id="m1")
    scripts = {
        tasks[SWAP].instruction: gold_messages(tasks[SWAP]),
        tasks[ASK].instruction: [assistant("12.50 and 1204."), assistant("Bye.")],
        tasks[LEND].instruction: [assistant("The fee is 3.", wrong), assistant("It is 3."), assistant("Bye.")],
        tasks[GIVE_UP].instruction: [assistant("No."), assistant("No.")],
    }

    def handler(request):
        messages = request.body["messages"]
        count = sum(message["role"] == "assistant" for message in messages)
        if request.body["model"] == "user":
            instruction = next(text for text in scripts if text in messages[0]["content"])
            return reply([instruction, "Go on.", STOP][count])
        said = scripts[messages[1]["content"]][count]
        return reply(said.content, *(call(one.name, one.arguments) for one in said.tool_calls))

    async def evaluate():
        with serve(handler) as base_url:
            benchmark = load(library_set, user=llm_users("user", base_url=base_url))
            async with OpenAIPolicy("agent", base_url=base_url) as policy:
                return [
                    await benchmark.play(item, policy, sandbox, name="agent", sample=0) for item in benchmark.items()
                ]

    attempts = asyncio.run(evaluate())
    assert [attempt.facts["ended"] for attempt in attempts] == ["stop"] * 4
    assert [marks(attempt) for attempt in attempts] == [(1.0, 1.0), (0.0, 1.0), (0.0, 0.0), (1.0, 1.0)]


# --- the published set ---------------------------------------------------------------------------------------------

READS = ("get_", "find_", "list_", "search_", "calculate", "think", "transfer_")


def writes(task) -> list[int]:
    """The places of the gold actions that can change the database."""
    return [index for index, one in enumerate(task.actions) if not one.name.startswith(READS)]


@pytest.fixture(scope="module")
def published():
    """The published set, with users that stop after two messages to them."""
    return load(library.published(), user=scripted_users(2))


def test_published_gold_actions(sandbox, published):
    """Replaying all gold actions of a task passes by both rules; leaving out one that matters fails.

    An action matters if the database is another one without it. Those of tools that only read never do, and 13 of the
    83 tasks that the figures on the page are of have no other.
    """
    domains = published._data.domains
    two_at_a_time = asyncio.Semaphore(2)

    async def attempt(item, task):
        return marks(await published.play(item, says(*gold_messages(task)), sandbox, name="gold", sample=0))

    async def examine(number, item, task):
        """The marks with all actions, how many actions matter, and the marks without the last of those."""
        async with two_at_a_time:
            passed = await attempt(item, task)
            gold = await published.hash_after(sandbox, domains[task.domain], task.actions)
            matter = []
            for index in writes(task):
                rest = task.actions[:index] + task.actions[index + 1 :]
                if await published.hash_after(sandbox, domains[task.domain], rest) != gold:
                    matter.append(task.model_copy(update={"actions": rest}))
            failed = await attempt(item, matter[-1]) if matter and number % 4 == 0 else None
            return passed, len(matter), failed

    async def examine_all():
        tasks = zip(published.items(), published.tasks, strict=True)
        found = await asyncio.gather(*(examine(number, item, task) for number, (item, task) in enumerate(tasks)))
        for domain in domains.values():  # all the other actions together leave the database as it is
            tasks = [task for task in published.tasks if task.domain == domain.name]
            reads = [one for task in tasks for index, one in enumerate(task.actions) if index not in writes(task)]
            unchanged = await published.hash_after(sandbox, domain, ())
            assert await published.hash_after(sandbox, domain, reads) == unchanged
        return found

    found = asyncio.run(examine_all())
    assert {passed for passed, _, _ in found} == {(1.0, 1.0)}
    assert {failed for _, _, failed in found if failed is not None} == {(0.0, 0.0)}
    if len(found) == 83:
        cannot_fail = [task.domain for task, (_, matter, _) in zip(published.tasks, found, strict=True) if not matter]
        assert (cannot_fail.count("airline"), cannot_fail.count("retail")) == (10, 3)
        assert sum(matter for _, matter, _ in found) == 118


def test_what_doing_nothing_is_worth(sandbox, published):
    """An agent that calls no tool passes by `fixed` wherever the database must stay as it is and nothing must be told:
    of the figures on the page, in 10 of 25 airline tasks and 2 of 58 in retail."""
    idle = says(assistant("I cannot help you."))

    async def all_of_them():
        return [await published.play(item, idle, sandbox, name="idle", sample=0) for item in published.items()]

    attempts = asyncio.run(all_of_them())
    assert {attempt.facts["ended"] for attempt in attempts} == {"stop"}
    if len(attempts) == 83:
        passed = [attempt.group for attempt in attempts if marks(attempt)[1]]
        assert (passed.count("airline"), passed.count("retail")) == (10, 2)
