"""The model's side of recorded constructions, as a handler for the loopback endpoint of `fake_openai_server`.

Each file of `build/cassette` is one construction: a question (or topic), what it must come to, and the replies of each
stage in the order in which they are asked for. A request is answered by what it asks, not by its hash, so a change of
the prompts does not break the recordings: the stage stands in the system text, the question in the data of the first
user message, and how many replies there were before is how many assistant messages there are.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from fake_openai_server import Reply, Request, reply, status
from toolfoundry.answers import infer
from toolfoundry.build.authors.llm.author import MOST_TOKENS
from toolfoundry.build.draft import STAGES, Brief, Stage

CASSETTE = Path(__file__).parent / "build" / "cassette"


class Recorded(NamedTuple):
    """One reply, and whether it ended by itself ("stop") or by its limit ("length")."""

    text: str
    finish: str


class Item(NamedTuple):
    """One construction. expected: None for an accepted one, else the stage and reason of its reject."""

    name: str
    brief: Brief
    question: str
    expected: tuple[str, str] | None
    replies: dict[str, list[Recorded]]


def load_cassette() -> list[Item]:
    """All constructions, in the order of their names."""
    return [_load(path, index) for index, path in enumerate(sorted(CASSETTE.glob("*.toml")))]


def _load(path: Path, index: int) -> Item:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    topic = data.get("topic")
    answer = infer(str(data["answer"])) if "answer" in data else None
    question = None if topic else data["question"]
    brief = Brief(index=index, origin=f"cassette:{path.stem}", question=question, answer=answer, topic=topic)
    expected = data["expected"]
    replies = {
        stage: [Recorded(one["text"].removesuffix("\n"), one.get("finish", "stop")) for one in given]
        for stage, given in data.get("replies", {}).items()
    }
    wanted = None if expected == "accepted" else (expected["stage"], expected["reason"])
    return Item(path.stem, brief, data["question"], wanted, replies)


class Replay:
    """The handler. `asked` holds every request that was answered, as (item, stage, round)."""

    def __init__(self, items: list[Item]) -> None:
        self._items = {item.question: item for item in items}
        self._items |= {item.brief.topic: item for item in items if item.brief.topic}
        self.asked: list[tuple[str, Stage, int]] = []

    def __call__(self, request: Request) -> Reply:
        found = self.find(request.body)
        if found is None:
            return status(404, {"error": {"message": "nothing was recorded for this request"}})
        return reply(found.text, finish=found.finish, usage=_usage(request.body, found))

    def find(self, body: dict[str, Any]) -> Recorded | None:
        """The recorded reply to a request."""
        messages = body["messages"]
        stage = STAGES[int(re.search(r"stage (\d) of 5", messages[0]["content"])[1]) - 1]
        data = json.loads(re.search(r"```json\n(.*?)\n```", messages[1]["content"], re.DOTALL)[1])
        item = self._items[self._subject(data)]
        turn = sum(message["role"] == "assistant" for message in messages)
        limit = body.get("max_tokens") or body["max_completion_tokens"]
        rounds = _rounds(item.replies.get(stage, []))
        self.asked.append((item.name, stage, turn))
        if turn >= len(rounds):
            return None
        return rounds[turn][min(int(limit > MOST_TOKENS[stage]), len(rounds[turn]) - 1)]

    def _subject(self, data: dict[str, Any]) -> str:
        if "question" in data or "topic" in data:
            return data.get("question", data.get("topic"))
        first = data["steps"][0]["question"]  # integration is not shown the question
        return next(
            item.question
            for item in self._items.values()
            if any(first in one.text for one in item.replies.get("decompose", []))
        )


def _rounds(replies: list[Recorded]) -> list[list[Recorded]]:
    """Replies by turn of the conversation: one that was cut off belongs to the same turn as the next."""
    rounds: list[list[Recorded]] = []
    cut = False
    for one in replies:
        if cut:
            rounds[-1].append(one)
        else:
            rounds.append([one])
        cut = one.finish == "length"
    return rounds


def _usage(body: dict[str, Any], found: Recorded) -> dict[str, int]:
    """Token counts as a server gives them, at four characters a token."""
    prompt = sum(len(message["content"]) for message in body["messages"]) // 4
    completion = len(found.text) // 4 + 1
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
