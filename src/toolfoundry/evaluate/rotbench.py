"""RoTBench (Ye et al. 2024, arXiv:2401.08326): does a model still make the right first call when names are noisy?

A folder with clean.json, slight.json, medium.json, heavy.json and union.json, the first turns of RoTBench's data. The
tools stand in the system prompt, and the model answers in text, in one completion:

    Thought: ...
    Action: TOOL
    Action Input: {"parameter": "value"}

A row has one or several gold calls. Noise levels are the groups, and a query at all its levels is one cluster. Scores
are nested: TS (tool selection) is 1 where the tool is that of a gold call, PI (parameter identification) where also the
names of the arguments are that gold call's, CF (content filling) where also their values are. Where nothing can be read
all three are 0.

`paper` is what FTRL's release computes, faults included: in all that was generated, thinking too, it reads what
follows the first "Action: " and the first "Action Input: ", and all the text after the latter must be one JSON object.
For CF it compares values as a multiset, without their names, and gives up at a list or an object. `fixed` differs:

    no thinking     only the answer is read, not the thinking before it
    labels          the last "Action:" before "Action Input:" counts; the space after a colon may be missing
    trailing text   the first JSON object after "Action Input:" counts, whatever follows
    pairs           for CF each argument's value is compared under its own name; lists and objects, too
    open values     a gold value "None" stands for one that the query does not tell: any value will do. And what to ask
                    the user is free text: any question will do. (So it is in RoTBench's own evaluation, too; it finds
                    the tool that asks by its place, which noise changes, here it is known by its description.)

Not covered: RoTBench's later turns, and its own rule that an empty object is no call.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson
from pydantic import JsonValue

from toolfoundry.environment import Executor
from toolfoundry.errors import InputError, RecordError
from toolfoundry.evaluate.attempts import About, Attempt, Item
from toolfoundry.evaluate.single import ask_once
from toolfoundry.policies import Policy
from toolfoundry.types import Message, Task

__all__ = ["LEVELS", "RoTBench", "TextCall", "load", "published_call", "read_call"]

LEVELS = ("clean", "slight", "medium", "heavy", "union")

_METRICS = {"ts": "TS", "pi": "PI", "cf": "CF"}
ABOUT = About(name="rotbench", title="RoTBench", metrics=_METRICS, average="groups", paper_metrics=tuple(_METRICS))
_ASKS = "You can ask user for guidance"  # how the description of the tool that asks the user begins, at every level


class TextCall(NamedTuple):
    """A call in the text protocol. `open`: names of arguments for which any value will do (gold calls only)."""

    tool: str
    arguments: dict[str, JsonValue]
    open: tuple[str, ...] = ()


class _Row(NamedTuple):
    id: str
    level: str
    query: str
    prompt: tuple[Message, ...]
    gold: tuple[TextCall, ...]


class RoTBench(NamedTuple):
    """The benchmark: its rows by id, level by level."""

    rows: Mapping[str, _Row]
    about: About = ABOUT

    def items(self) -> Sequence[Item]:
        return [Item(id=row.id, group=row.level, cluster=row.query) for row in self.rows.values()]

    async def play(self, item: Item, policy: Policy, executor: Executor, *, name: str, sample: int) -> Attempt:  # noqa: ARG002
        row = self.rows[item.id]
        task = Task(spec_id=row.id, kind=None, goals=(), answer=None, tagged=False)
        gold: list[JsonValue] = [{**call._asdict(), "open": [*call.open]} for call in row.gold]
        attempt = Attempt(
            benchmark=self.about.name,
            group=item.group,
            cluster=item.cluster,
            trajectory=await ask_once(policy, row.prompt, task, name=name, sample=sample),
            facts={"gold": gold},
        )
        return self.score(attempt)

    def score(self, attempt: Attempt) -> Attempt:
        """By the gold calls in the attempt's facts."""
        trajectory = attempt.trajectory
        if trajectory.stop == "error":
            return attempt.model_copy(update={"scores": {}})
        message = trajectory.turns[0].completion.message
        gold = [TextCall(**call) for call in cast("list[dict[str, Any]]", attempt.facts["gold"])]
        generated = [message.thinking, message.content, *("<tool_call>" for _ in message.tool_calls)]
        paper = _as_published(published_call("\n".join(generated)), gold)
        fixed = _nested(read_call(message.content), gold)
        return attempt.model_copy(update={"scores": {"paper": paper, "fixed": fixed}})


# --- scores --------------------------------------------------------------------------------------------------------


def published_call(text: str) -> TextCall | None:
    """The call that the release reads in a text, or None.

    >>> published_call('Action: a\\nAction Input: {"x": "1"}\\nDone.') is None
    True
    """
    try:
        tool = text.split("Action: ")[1].split("Action Input: ")[0].strip()
        arguments = json.loads(text.split("Action Input: ")[1].strip())
    except (IndexError, ValueError, RecursionError):
        return None
    return TextCall(tool, cast("dict[str, JsonValue]", arguments)) if isinstance(arguments, dict) else None


def read_call(text: str) -> TextCall | None:
    """The first call in a text: the tool, and the first JSON object after "Action Input:"; or None.

    >>> read_call('Action: a\\nAction Input: {"x": "1"}\\nDone.').arguments
    {'x': '1'}
    """
    before, label, after = text.partition("Action Input:")
    _, action, tool = before.rpartition("Action:")
    start = after.find("{")
    if not label or not action or start < 0:
        return None
    try:
        arguments, _ = json.JSONDecoder().raw_decode(after, start)
    except (ValueError, RecursionError):
        return None
    return TextCall(tool.strip(), arguments)


def _scores(ts: bool, pi: bool, cf: bool) -> dict[str, float]:
    return {"ts": float(ts), "pi": float(pi), "cf": float(cf)}


def _as_published(call: TextCall | None, gold: Sequence[TextCall]) -> dict[str, float]:
    ts = pi = cf = False
    for wanted in gold:
        if call is None or wanted.tool != call.tool:
            continue
        ts = True
        if wanted.arguments.keys() != call.arguments.keys():
            continue
        pi = True
        try:
            cf = Counter[Any](wanted.arguments.values()) == Counter[Any](call.arguments.values())
        except TypeError:  # a list or an object cannot be counted: the release looks no further
            break
        if cf:
            break
    return _scores(ts, pi, cf)


def _nested(call: TextCall | None, gold: Sequence[TextCall]) -> dict[str, float]:
    if call is None:
        return _scores(False, False, False)
    same = [wanted for wanted in gold if wanted.tool == call.tool]
    named = [wanted for wanted in same if wanted.arguments.keys() == call.arguments.keys()]
    filled = any(
        all(name in wanted.open or _same(value, call.arguments[name]) for name, value in wanted.arguments.items())
        for wanted in named
    )
    return _scores(bool(same), bool(named), filled)


def _same(wanted: JsonValue, given: JsonValue) -> bool:
    """Unlike in Python, true is not 1."""
    return wanted == given and isinstance(wanted, bool) == isinstance(given, bool)


# --- rows ----------------------------------------------------------------------------------------------------------


def load(folder: Path) -> RoTBench:
    """The five noise levels in a folder (or in its folder First_Turn).

    A row that stands twice in a level is one item, as in the release. Raises InputError for a level that is missing or
    empty, RecordError for a row that cannot be read.
    """
    if (folder / "First_Turn").is_dir():
        folder = folder / "First_Turn"
    files = {level: folder / f"{level}.json" for level in LEVELS}
    if missing := [file for file in files.values() if not file.is_file()]:
        expected = f"RoTBench's first turns: {', '.join(file.name for file in files.values())}"
        raise InputError(f"{missing[0]}: found no such file, expected {expected}")
    return RoTBench({row.id: row for level, file in files.items() for row in _rows(level, file)})


def _rows(level: str, file: Path) -> list[_Row]:
    try:
        rows: object = orjson.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file}: cannot be opened: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise RecordError(file=str(file), found=f"malformed JSON ({error})", expected="an array of rows") from None
    if not isinstance(rows, list) or not rows:
        problem = "an empty array" if rows == [] else type(cast(object, rows)).__name__
        raise RecordError(file=str(file), found=problem, expected="an array of rows")
    found: list[_Row] = []
    for number, row in enumerate(cast("list[JsonValue]", rows), start=1):
        try:
            found.append(_row(level, row))
        except RecordError as error:
            raise error.located(str(file), number) from None
    return found


def _row(level: str, row: JsonValue) -> _Row:
    conversation = row.get("conversations") if isinstance(row, dict) else None
    spoken = [
        (str(entry.get("from")), entry.get("value"))
        for entry in (conversation if isinstance(conversation, list) else ())
        if isinstance(entry, dict)
    ]
    if [role for role, _ in spoken] != ["system", "user", "assistant"]:
        found = ", ".join(role for role, _ in spoken) or "nothing"
        raise RecordError(field="conversations", found=found, expected="entries from system, user and assistant")
    (_, system), (_, query), (_, answers) = spoken
    if not isinstance(system, str) or not isinstance(query, str):
        raise RecordError(field="conversations", found="a value that is no text", expected="text by system and user")
    texts = answers if isinstance(answers, list) else [answers]
    asks = _tools_that_ask(system)
    gold = tuple(_gold(text, index, asks) for index, text in enumerate(texts))
    if not gold:
        raise RecordError(field="conversations.2.value", found="no gold call", expected="at least one")
    digest = hashlib.sha256(orjson.dumps([system, query, answers])).hexdigest()
    prompt = (Message(role="system", content=system), Message(role="user", content=query))
    return _Row(f"{level}-{digest[:16]}", level, query.strip(), prompt, gold)


def _gold(text: JsonValue, index: int, asks: Sequence[str]) -> TextCall:
    call = published_call(text) if isinstance(text, str) else None
    if call is None:
        found = text[:80] if isinstance(text, str) else type(text).__name__
        expected = "a text with Action: TOOL and Action Input: {...}"
        raise RecordError(field=f"conversations.2.value.{index}", found=repr(found), expected=expected)
    open_names = [name for name, value in call.arguments.items() if value == "None" or call.tool in asks]
    return call._replace(open=tuple(open_names))


def _tools_that_ask(system: str) -> list[str]:
    """The names of the tools that ask the user; none where the prompt lists no tools."""
    start = system.find("[{")
    try:
        tools: object = json.JSONDecoder().raw_decode(system, start)[0] if start >= 0 else []
    except (ValueError, RecursionError):
        return []
    listed = [cast("dict[str, object]", tool) for tool in cast("list[object]", tools) if isinstance(tool, dict)]
    return [str(tool.get("name")) for tool in listed if str(tool.get("description", "")).startswith(_ASKS)]
