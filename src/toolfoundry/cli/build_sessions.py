"""Who builds in `toolfoundry build`: a session knows its items, drives an author, and tells the run file about it.

`build_tools` has the third one, for tools of the user's own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import JsonValue
from rich.markup import escape

from toolfoundry.console import err, out, print_json
from toolfoundry.errors import InputError
from toolfoundry.store import WriteMode
from toolfoundry.types import Tool
from toolfoundry.untrusted import visible

if TYPE_CHECKING:
    from toolfoundry.build.authors.llm import LLMAuthor
    from toolfoundry.build.authors.procedural.profile import Profile
    from toolfoundry.build.draft import Brief, Draft
    from toolfoundry.build.ledger import Ledger
    from toolfoundry.cluster.commands import Place

__all__ = ["ModelSession", "ProceduralSession"]

T = TypeVar("T")


class ProceduralSession:
    """Builds from a seed, on all cores, or on a cluster."""

    pending: str = ""

    def __init__(
        self,
        recipe: Any,
        given: Iterable[Draft] | None,
        count: int | None,
        jobs: int,
        place: Place | None,
        mode: WriteMode,
    ) -> None:
        self.recipe, self.count, self.jobs, self.place = recipe, count, jobs, place
        self.mode: WriteMode = mode
        self.given = None if given is None else _begun(map(self._own, given))
        self.author, self.scaling = recipe.author(), recipe.profile.scaling

    def items(self, start: int) -> Iterable[Brief | Draft]:
        if self.given is None:
            return self.recipe.briefs(start)
        return (draft for draft in self.given if draft.brief.index >= start)

    def _own(self, draft: Draft) -> Draft:
        """The draft, if this author began it: it works the rest out from the seed. Raises InputError."""
        if draft.brief.origin != self.recipe.origin:
            found = escape(visible(draft.brief.origin, 100))
            raise InputError(
                f"drafts of {found}, but these options say {self.recipe.origin}: give the profile, seed and split of "
                "the drafts"
            )
        return draft

    def build(self, ledger: Ledger, on_progress: Callable[[Counter[str]], None]) -> dict[str, float]:
        from toolfoundry.build.pipeline import build_on_cores

        if self.place is not None:
            from toolfoundry.cluster.commands import build_on_ray

            assert self.count is not None  # only drafts come without a number
            seconds, self.jobs = build_on_ray(
                self.recipe, ledger, self.place, self.mode, count=self.count, on_progress=on_progress
            )
            return seconds
        given = self.items(ledger.next_index)
        return build_on_cores(self.recipe, given, ledger, count=self.count, jobs=self.jobs, on_progress=on_progress)

    def about(self) -> dict[str, JsonValue]:
        return {"processes": self.jobs, **({"ray": self.place.address} if self.place else {})}

    def notes(self, before: int) -> tuple[str, ...]:
        return (f"Times are those of the last of several runs, which began at item {before:,}.",) if before else ()


class ModelSession:
    """Builds with a model, many items at a time."""

    jobs = 1

    def __init__(
        self, config: Any, given: Iterable[Brief | Draft], pool: list[Tool], profile: Profile, count: int | None
    ) -> None:
        self.config, self.pool, self.scaling, self.count = config, pool, profile.scaling, count
        self.given = _begun(given)
        self.pending = ""
        self._about: dict[str, JsonValue] = {}
        self._usage = ""

    def open(self) -> LLMAuthor:
        from toolfoundry.build.authors.llm import LLMAuthor

        return LLMAuthor(self.config, pool=self.pool)

    def items(self, start: int) -> Iterable[Brief | Draft]:
        return (item for item in self.given if _index(item) >= start)

    def build(self, ledger: Ledger, on_progress: Callable[[Counter[str]], None]) -> dict[str, float]:
        asyncio.run(self._build(ledger, on_progress))
        return {}

    async def _build(self, ledger: Ledger, on_progress: Callable[[Counter[str]], None]) -> None:
        from toolfoundry.build.pipeline import build_with
        from toolfoundry.sandbox import Sandbox

        async with self.open() as author:
            try:
                with Sandbox() as sandbox:
                    pending = await build_with(
                        author,
                        self.items(ledger.next_index),
                        self.scaling,
                        ledger,
                        sandbox,
                        count=self.count,
                        concurrency=self.config.concurrency,
                        on_progress=on_progress,
                    )
                if pending:
                    self.pending = f"{pending} items wait for replies. {author.finish()}"
            finally:
                self.note(author)

    def note(self, author: LLMAuthor) -> None:
        """Keeps what the run file is to say about the author."""
        usage = author.usage()
        self._usage = str(usage)
        self._about = {
            "prompts": dict(author.prompt_hashes()),
            "usage": {**usage._asdict(), "spent": usage.spent.model_dump()},
        }
        err.print(escape(str(usage)), highlight=False, soft_wrap=True)

    def about(self) -> dict[str, JsonValue]:
        return self._about

    def notes(self, before: int) -> tuple[str, ...]:  # noqa: ARG002
        return (f"Model: {self._usage}.",)

    def estimate(self, as_json: bool) -> None:
        """Prints what building all items would take."""
        from toolfoundry.build.authors.llm.estimate import estimate
        from toolfoundry.build.draft import Draft

        items = islice(self.given, self.count)
        found = estimate((item.brief if isinstance(item, Draft) else item for item in items), self.config.prices)
        if as_json:
            print_json({"items": found.items, "stages": [stage._asdict() for stage in found.stages]})
        else:
            out.print(escape(str(found)), highlight=False)


def _begun(items: Iterable[T]) -> Iterable[T]:
    """The items, the first of them read: a file that cannot be read is an error before anything is written."""
    remaining = iter(items)
    return chain(list(islice(remaining, 1)), remaining)


def _index(item: Brief | Draft) -> int:
    from toolfoundry.build.draft import Draft

    return item.brief.index if isinstance(item, Draft) else item.index
