"""Every reply that was ever received, in one SQLite file, and what it cost.

A reply is committed before it is used, so whoever is killed and started again never asks for it again. A request is
noted when it is sent: what is noted and has no reply was in flight when its process died (or still is, in another
process). Several processes may use one file. Its totals are what a budget is held against, so a budget covers all the
runs that share the file, and starting again does not renew it.

Not covered: forgetting. Delete the file to ask anew.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Generator
from pathlib import Path

from toolfoundry.build.authors.llm.requests import ChatReply, ChatRequest
from toolfoundry.errors import BudgetExceeded, InputError, OutputError
from toolfoundry.types import Record

__all__ = ["Prices", "ReplyCache", "Spent"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    hash TEXT PRIMARY KEY, text TEXT NOT NULL, finish TEXT NOT NULL, prompt_tokens INTEGER, completion_tokens INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sent (
    hash TEXT PRIMARY KEY, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class Prices(Record):
    """What a million tokens cost, in whatever currency; None where it is not known."""

    prompt: float | None = None
    completion: float | None = None

    @property
    def known(self) -> bool:
        return self.prompt is not None and self.completion is not None

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The price of so many tokens; what has no price costs nothing."""
        return ((self.prompt or 0) * prompt_tokens + (self.completion or 0) * completion_tokens) / 1e6


class Spent(Record):
    """What all requests of a cache came to.

    estimated: replies whose tokens were not counted by the server, and requests that were lost in flight and sent
    again (`repeated`), which are booked at the most they can have cost. open: sent, and no reply received (yet).
    """

    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: int = 0
    repeated: int = 0
    open: int = 0
    open_prompt_tokens: int = 0
    open_completion_tokens: int = 0

    def cost(self, prices: Prices) -> float:
        """The price of all replies received."""
        return prices.cost(self.prompt_tokens, self.completion_tokens)


class ReplyCache:
    """The cache in one file; use it in the process that opened it. Raises InputError where it is no such file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")  # a reply outlives a power failure too
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise InputError(f"{path}: found {error}, expected a file for the cache of replies") from error

    def close(self) -> None:
        self._db.close()

    def get(self, key: str) -> ChatReply | None:
        """The reply to a request, None if none was received."""
        with self._lock:
            found = self._db.execute(
                "SELECT text, finish, prompt_tokens, completion_tokens FROM replies WHERE hash = ?", (key,)
            ).fetchone()
        if found is None:
            return None
        text, finish, prompt_tokens, completion_tokens = found
        return ChatReply(text=text, finish=finish, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)

    def begin(self, request: ChatRequest, prices: Prices, budget: float | None, *, later: bool = False) -> None:
        """Notes that a request is about to be sent. Raises BudgetExceeded where it could cost too much.

        Everything in flight counts at its worst: the estimated prompt and the whole token limit. One that was noted
        before was lost in flight and may have been paid for; with `later` it is only still on its way.
        """
        estimate, most = request.prompt_tokens, request.max_tokens
        with self._transaction():
            noted = self._db.execute("SELECT 1 FROM sent WHERE hash = ?", (request.hash,)).fetchone() is not None
            if noted and later:
                return
            if budget is not None:
                spent = self._spent()
                prompt = spent.prompt_tokens + spent.open_prompt_tokens
                completion = spent.completion_tokens + spent.open_completion_tokens
                sure, next_one = prices.cost(prompt, completion), prices.cost(estimate, most)
                if sure + next_one > budget:
                    paid = spent.cost(prices)
                    raise BudgetExceeded(
                        f"the budget of {budget:g} is used up: {paid:.4f} spent, at most {sure - paid:.4f} in flight, "
                        f"and the next request could cost {next_one:.4f}; what was received is kept: raise the budget "
                        "and start the same command again with --resume"
                    )
            if noted:
                self._add(repeated=1, estimated=1, prompt_tokens=estimate, completion_tokens=most)
            else:
                self._db.execute("INSERT INTO sent VALUES (?, ?, ?)", (request.hash, estimate, most))
                self._add(open=1, open_prompt_tokens=estimate, open_completion_tokens=most)

    def put(self, key: str, reply: ChatReply, prompt_tokens: int) -> None:
        """Keeps the reply to the request of that hash; the first one stays. prompt_tokens: if the server told none."""
        prompt, completion = reply.prompt_tokens, reply.completion_tokens
        with self._transaction():
            self._landed(key)
            kept = self._db.execute(
                "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?)",
                (key, reply.text, reply.finish, prompt, completion),
            ).rowcount
            if kept:
                self._add(
                    replies=1,
                    prompt_tokens=prompt_tokens if prompt is None else prompt,
                    completion_tokens=len(reply.text.encode()) // 3 + 1 if completion is None else completion,
                    estimated=int(prompt is None or completion is None),
                )

    def give_up(self, key: str) -> None:
        """Forgets that a request was sent: the endpoint refused it or failed, and nothing is on its way."""
        with self._transaction():
            self._landed(key)

    def note(self, name: str) -> str | None:
        """What was learnt about an endpoint in an earlier run, None if nothing was."""
        with self._lock:
            found = self._db.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def remember(self, name: str, value: str) -> None:
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def spent(self) -> Spent:
        with self._lock:
            return self._spent()

    def _spent(self) -> Spent:
        return Spent(**dict(self._db.execute("SELECT name, count FROM totals")))

    def _landed(self, key: str) -> None:
        for prompt, completion in self._db.execute(
            "DELETE FROM sent WHERE hash = ? RETURNING prompt_tokens, completion_tokens", (key,)
        ).fetchall():
            self._add(open=-1, open_prompt_tokens=-prompt, open_completion_tokens=-completion)

    def _add(self, **counts: int) -> None:
        for name, count in counts.items():
            self._db.execute(
                "INSERT INTO totals VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET count = count + excluded.count",
                (name, count),
            )

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise OutputError(f"{self.path}: the reply cannot be kept: {error}") from error
