"""τ-bench: a conversation with a user, about a database that tools change (Yao et al. 2024, arXiv:2406.12045).

    benchmark = load(Path("tau-bench"), user=llm_users("gpt-4o-2024-08-06", base_url=VENDOR_URL))
    attempt = await benchmark.play(item, policy, sandbox, name="m", sample=0)
    attempt.scores                                 {"paper": {"pass_1": 0.0}, "fixed": {"pass_1": 1.0}}

The domain's policy is the system prompt, the user speaks first, and a turn is one message of the agent: a tool call, or
words to the user. An attempt passes if the database it reached is the one that the gold actions lead to, and each of
the task's `outputs` was told. Both databases are hashed in the sandbox, where all tools run, on forks of one copy.

One conversation serves both rules, so it is led as FTRL's release leads it: of several calls in a message only the
first is kept, and a transfer to a human does not end it, since the release looks for a tool of another name. It ends
when the user says so, or after 30 turns. What the rules make of it:

                      paper (what the release computes)             fixed
    transfer          never noticed                                 ends the dialogue: what comes after does not count
    outputs           looked for beside tool calls only             looked for in what the user was told
    how               as substrings, without commas and case        as numbers, or as whole words
    no end by STOP    0 for open models (`scored="open"`), the      the database counts, however the dialogue ended
                      database counts for closed ones ("closed")

Not covered: the user's faithfulness to its instruction, which nobody checks here either.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, cast, runtime_checkable

from pydantic import JsonValue, ValidationError

from toolfoundry.answers import holds, infer
from toolfoundry.chat import explain
from toolfoundry.environment import Executor, ToolSession
from toolfoundry.errors import ContextFull, InputError, RecordError, SandboxError, invalid_field
from toolfoundry.evaluate.attempts import About, Attempt, BrokenBenchmark, Item, Rule
from toolfoundry.evaluate.users import STOP, User, Users
from toolfoundry.formats.taubench import TauBench, TauDomain, TauTask, read_taubench
from toolfoundry.policies import Policy
from toolfoundry.reward import arguments_of
from toolfoundry.seeds import derive_seed
from toolfoundry.types import Message, Record, StopReason, Task, ToolCall, ToolResult, Trajectory, Turn

__all__ = ["ABOUT", "MAX_TURNS", "TRANSFER", "Check", "Facts", "Scored", "TauBenchmark", "load"]

MAX_TURNS = 30
TRANSFER = "transfer_to_human_agents"

Scored = Literal["open", "closed"]

ABOUT = About("tau-bench", "τ-bench", {"pass_1": "Pass^1"}, "groups", ("pass_1",))
_HASH = "toolfoundry/database_hash"  # a scope of its own: no tool of a domain can be meant by it
_HASH_SOURCE = """
def database_hash(data):
    import hashlib, json
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), default=sorted)
    return hashlib.sha256(text.encode()).hexdigest()
"""
_LOADED_SOURCE = """{source}


def toolfoundry_loaded(data):
    return str(callable(globals().get({name!r})))
"""
_UNFINISHED = ("timeout:", "memory:", "killed:")  # a gold action that met a limit: nobody knows what it leads to


class Check(Record):
    """What one rule finds. `scored`: False where the rule gives 0 without looking. missing: outputs not found."""

    scored: bool
    database: bool
    missing: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.scored and self.database and not self.missing


class Facts(Record):
    """What is known of an attempt beside its conversation, kept in `Attempt.facts`.

    ended: "stop" by the user, "length" by the model's context, "error" by a failure that is not the model's.
    hash: of the database at the end, gold_hash: after the gold actions; None only with "error". transfer_turn: the
    first turn (from 1) that called the transfer tool, and the hash then. cut_calls: calls beyond the first of their
    message, which were taken out. checks: what each rule finds; empty with "error".
    """

    task: str
    user: str
    outputs: tuple[str, ...]
    ended: Literal["stop", "max_turns", "length", "error"] = "error"
    hash: str | None = None
    gold_hash: str | None = None
    transfer_turn: int | None = None
    hash_at_transfer: str | None = None
    cut_calls: int = 0
    checks: dict[Rule, Check] = {}


def load(path: Path, *, user: Users | None = None, scored: Scored = "open") -> TauBenchmark:
    """The benchmark in a folder (see `toolfoundry.formats.taubench`).

    Args:
        user: who talks with the agent; None where nothing is played, to score stored attempts anew.
        scored: by which of the release's two paths the rule `paper` goes: that of open models gives 0 unless the user
            ended the dialogue.
    Raises:
        InputError: what cannot be read, or is no such folder.
    """
    return TauBenchmark(read_taubench(path), user, scored)


@runtime_checkable
class _Twinned(Protocol):
    """A session that can be begun again without sending its sources and state again."""

    def twin(self, seed: int | None = None) -> ToolSession: ...


class _Dialogue:
    """One conversation as it grows."""

    def __init__(self, domain: TauDomain, user: User) -> None:
        self.user = user
        self.tools = tuple(tool.signature for tool in domain.tools)
        self.names = {tool.name for tool in domain.tools}
        self.prompt: tuple[Message, ...] = (Message(role="system", content=domain.wiki),)
        self.turns: list[Turn] = []
        self.transcript: list[Message] = []  # what the user has said and heard
        self.calls = self.cut_calls = 0  # executed; taken out
        self.transfer_turn: int | None = None
        self.hash_at_transfer: str | None = None

    async def play(self, policy: Policy, session: ToolSession) -> StopReason:
        """Plays to the end; what was said up to a failure stays. Raises it."""
        self.prompt = (*self.prompt, Message(role="user", content=await self._ask_user()))
        messages = [*self.prompt]
        while len(self.turns) < MAX_TURNS:
            try:
                completion = await policy(tuple(messages), self.tools)
            except ContextFull:
                if not self.turns:
                    raise
                return "length"
            message = completion.message
            if len(message.tool_calls) > 1:
                self.cut_calls += len(message.tool_calls) - 1
                message = message.model_copy(update={"tool_calls": message.tool_calls[:1]})
                completion = completion.model_copy(update={"message": message})
            messages.append(message)
            if message.tool_calls:
                result = await self._execute(message.tool_calls[0], session)
                self.turns.append(Turn(completion=completion, results=(result,)))
                messages.append(Message(role="tool", content=result.text, call_id=result.call_id))
                if self.transfer_turn is None and _transfers(message):
                    self.hash_at_transfer = await database_hash(session)
                    self.transfer_turn = len(self.turns)
            else:
                self.transcript.append(Message(role="assistant", content=message.content))
                reply = await self._ask_user()
                self.turns.append(Turn(completion=completion, notice=reply))
                messages.append(Message(role="user", content=reply))
                if STOP in reply:
                    return "answered"
        return "max_turns"

    async def _ask_user(self) -> str:
        said = await self.user(tuple(self.transcript))
        self.transcript.append(Message(role="user", content=said))
        return said

    async def _execute(self, call: ToolCall, session: ToolSession) -> ToolResult:
        arguments = arguments_of(call)
        if arguments is None:
            return ToolResult(call_id=call.id, error=f"malformed_call: {explain(call)}")
        if call.name not in self.names:
            error = f"unknown_tool: there is no tool {call.name[:80]!r}; the tools are {', '.join(sorted(self.names))}"
            return ToolResult(call_id=call.id, error=error)
        self.calls += 1
        (result,) = await session.abatch([(call.name, arguments)])
        return result.model_copy(update={"call_id": call.id})


class TauBenchmark:
    """The benchmark; made by `load`."""

    def __init__(self, data: TauBench, user: Users | None, scored: Scored) -> None:
        self._data, self._users = data, user
        self._scored: Scored = scored
        self._tasks = {task.id: task for task in data.tasks}
        self._executor: Executor | None = None
        self._sessions: dict[str, _Twinned] = {}  # by domain: never called, only begun again
        self._checked: set[str] = set()  # domains whose sources load
        self._reached: dict[tuple[str, tuple[ToolCall, ...]], str] = {}  # hash after the actions in a fresh database

    @property
    def about(self) -> About:
        return ABOUT

    @property
    def tasks(self) -> Sequence[TauTask]:
        """What the items are, in the same order."""
        return self._data.tasks

    def items(self) -> Sequence[Item]:
        return [Item(id=task.id, group=task.domain, cluster=task.id) for task in self._data.tasks]

    async def play(self, item: Item, policy: Policy, executor: Executor, *, name: str, sample: int) -> Attempt:
        """One dialogue. Raises InputError without a user, BrokenBenchmark where a tool's source does not load."""
        if self._users is None:
            raise InputError("tau-bench: found no user, expected one that the agent talks with (--user-model)")
        task = self._tasks[item.id]
        domain = self._data.domains[task.domain]
        facts = Facts(task=task.location, user=self._users.name, outputs=task.outputs)
        dialogue = _Dialogue(domain, self._users.start(task.instruction, sample))
        stop: StopReason = "error"
        error: str | None = None
        session: ToolSession | None = None
        try:
            session = await self._begin(executor, domain)
            ended = await dialogue.play(policy, session)
            reached = await database_hash(session) if dialogue.calls else await self.hash_after(executor, domain, ())
            gold = await self.hash_after(executor, domain, task.actions)
            how = "stop" if ended == "answered" else ended
            facts = facts.model_copy(update={"ended": how, "hash": reached, "gold_hash": gold})
            stop = ended
        except BrokenBenchmark:
            raise
        except Exception as failure:  # one bad attempt must not end the others: it is recorded with its cause
            error = f"{type(failure).__name__}: {failure}"[:2000]
        finally:
            if session is not None:
                session.close()
        seen = {
            "transfer_turn": dialogue.transfer_turn,
            "hash_at_transfer": dialogue.hash_at_transfer,
            "cut_calls": dialogue.cut_calls,
        }
        trajectory = Trajectory(
            task=Task(spec_id=task.id, kind=None, goals=(), answer=None, tagged=False),
            policy=name,
            sample=sample,
            calls_per_turn=1,
            prompt=dialogue.prompt,
            turns=tuple(dialogue.turns),
            stop=stop,
            error=error,
        )
        attempt = Attempt(
            benchmark=self.about.name,
            group=item.group,
            cluster=item.cluster,
            trajectory=trajectory,
            facts=facts.model_copy(update=seen).model_dump(mode="json"),
        )
        return self.score(attempt)

    def score(self, attempt: Attempt) -> Attempt:
        """The attempt with `facts["checks"]` and scores made anew. Raises RecordError for facts of another kind."""
        if attempt.trajectory.stop == "error":
            return attempt.model_copy(update={"scores": {}})
        own = {name: value for name, value in attempt.facts.items() if name in Facts.model_fields}
        try:
            facts = Facts.model_validate(own)
        except ValidationError as error:
            raise invalid_field(error, "facts") from None
        if facts.hash is None or facts.gold_hash is None:
            raise RecordError(field="facts.hash", found="nothing", expected="the hashes that scores rest on")
        paper, fixed = _paper(attempt.trajectory, facts, self._scored), _fixed(attempt.trajectory, facts)
        checks: dict[Rule, Check] = {"paper": paper, "fixed": fixed}
        known = facts.model_copy(update={"checks": checks}).model_dump(mode="json")
        scores: dict[Rule, dict[str, float]] = {rule: {"pass_1": float(check.passed)} for rule, check in checks.items()}
        return attempt.model_copy(update={"facts": {**attempt.facts, **known}, "scores": scores})

    async def hash_after(self, executor: Executor, domain: TauDomain, actions: Sequence[ToolCall]) -> str:
        """The hash of the domain's database after these actions; worked out once. A tool that fails is passed over.

        Raises SandboxError for an action that met a limit of the sandbox.
        """
        key = (domain.name, tuple(actions))
        if key not in self._reached:
            session = await self._begin(executor, domain)
            try:
                results = await session.abatch([(call.name, arguments_of(call) or {}) for call in actions])
                for call, result in zip(actions, results, strict=True):
                    if result.error is not None and result.error.startswith(_UNFINISHED):
                        raise SandboxError(f"gold action {call.name} of {domain.name}: {result.error}")
                self._reached[key] = await database_hash(session)
            finally:
                session.close()
        return self._reached[key]

    async def _begin(self, executor: Executor, domain: TauDomain) -> ToolSession:
        """A session with the domain's database as it was. Its megabytes become bytes once, not once a dialogue."""
        if self._executor is not executor:
            self._executor, self._sessions, self._checked = executor, {}, set()
        if domain.name not in self._checked:
            await _check_sources(executor, domain)
            self._checked.add(domain.name)
        first = self._sessions.get(domain.name)
        if first is None:
            sources = {tool.name: tool.source for tool in domain.tools} | {_HASH: _HASH_SOURCE}
            seed = derive_seed("tau-bench", domain.name)
            session = executor.session(sources, state=cast("JsonValue", domain.database), seed=seed)
            if not isinstance(session, _Twinned):
                return session
            first = self._sessions[domain.name] = session
        return first.twin()


async def database_hash(session: ToolSession) -> str:
    """The SHA-256 of the session's database as JSON text: keys sorted, no spaces, ASCII, numbers as Python writes them.

    Like the release's hash it does not depend on the order of keys, and tells 1 from 1.0. Unlike it, it also tells an
    empty object from an empty list. Raises SandboxError where the database is no longer JSON.
    """
    (result,) = await session.abatch([(_HASH, {})])
    if result.error is not None:
        raise SandboxError(f"the database cannot be hashed: {result.error}")
    return result.content


async def _check_sources(executor: Executor, domain: TauDomain) -> None:
    """Runs each source once: a tool that never loads would pass for the agent's mistake in every call."""
    sources = {
        f"{tool.name}/toolfoundry_loaded": _LOADED_SOURCE.format(source=tool.source, name=tool.name)
        for tool in domain.tools
    }
    session = executor.session(sources, state={}, seed=0)
    try:
        results = await session.abatch([(name, {}) for name in sources])
    finally:
        session.close()
    for tool, result in zip(domain.tools, results, strict=True):
        if result.error is not None or result.content != "True":
            cause = result.error or f"it defines no function {tool.name!r}"
            raise BrokenBenchmark(f"tau-bench/{domain.name}/codes.json: field {tool.name!r}: does not load: {cause}")


# --- scores --------------------------------------------------------------------------------------------------------


def _paper(trajectory: Trajectory, facts: Facts, scored: Scored) -> Check:
    """As the release scores. To its open models, the thinking is part of what a message says."""
    told: list[str] = []
    for turn in trajectory.turns:
        message = turn.completion.message
        if any(arguments_of(call) is not None for call in message.tool_calls):
            told.append(f"{message.thinking}\n{message.content}" if scored == "open" else message.content)
    texts = [text.lower().replace(",", "") for text in told]
    return Check(
        scored=scored == "closed" or facts.ended == "stop",
        database=facts.hash == facts.gold_hash,
        missing=tuple(output for output in facts.outputs if not any(output.lower() in text for text in texts)),
    )


def _fixed(trajectory: Trajectory, facts: Facts) -> Check:
    told = [
        turn.completion.message.content
        for turn in trajectory.turns[: facts.transfer_turn]
        if not turn.completion.message.tool_calls
    ]
    reached = facts.hash if facts.transfer_turn is None else facts.hash_at_transfer
    return Check(
        scored=True,
        database=reached == facts.gold_hash,
        missing=tuple(output for output in facts.outputs if not any(_tells(text, output) for text in told)),
    )


def _tells(text: str, output: str) -> bool:
    """Whether the text holds the output: a number or a date by its value, anything else as whole words."""
    answer = infer(output)
    if answer.type in ("number", "date"):
        return holds(answer, text)
    words, said = (" ".join(one.casefold().replace(",", "").split()) for one in (output, text))
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", said) is not None


def _transfers(message: Message) -> bool:
    return any(call.name == TRANSFER and arguments_of(call) is not None for call in message.tool_calls)
