"""What `toolfoundry build --tools FILE` does in place of inventing a world: the user's own tools, asked about."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue
from rich.markup import escape
from rich.table import Table

from toolfoundry.console import err, out, print_json, progress
from toolfoundry.errors import InputError
from toolfoundry.untrusted import visible

if TYPE_CHECKING:
    from toolfoundry.build.authors.llm import LLMAuthor, LLMConfig
    from toolfoundry.build.draft import Brief
    from toolfoundry.build.ledger import Ledger
    from toolfoundry.build.own_tools.author import FunctionsAuthor
    from toolfoundry.build.own_tools.evidence import Evidence
    from toolfoundry.build.own_tools.given import Unusable
    from toolfoundry.build.own_tools.with_model import SpecificationAuthor
    from toolfoundry.build.scaling import Scaling
    from toolfoundry.types import ToolSchema

__all__ = ["ToolsSession", "without_rewriting"]

_SHOWN = 300  # characters of a reason
_COUNT = 100
_REWRITING = ("generalize", "expand", "retype", "parameters")


def without_rewriting(scaling: Scaling, settings: list[str]) -> Scaling:
    """The scaling with all that would change the user's tools off. Raises InputError where it was asked for."""
    for setting in settings:
        name, _, value = setting.partition("=")
        if name.strip() in {f"scaling.{strategy}" for strategy in _REWRITING} and value.strip() != "0":
            raise InputError(f"--set {setting}: the tools of --tools stay as they are")
    return scaling.model_copy(update={"generalize": 0, "expand": 0, "retype": 0, "parameters": None})


class ToolsSession:
    """One build over a file of tools: reads it, and runs its functions if it holds any.

    Raises InputError where no tool can be used, or where a specification is to be built on and there is no model.
    """

    jobs = 1  # processes of ours; the workers of the sandbox are others
    pending = ""

    def __init__(
        self,
        path: Path,
        seed: int,
        count: int | None,
        scaling: Scaling,
        config: LLMConfig | None = None,
        at_a_time: int | None = None,
        *,
        dry_run: bool = False,
    ) -> None:
        from toolfoundry.build.own_tools.evidence import Evidence, gather
        from toolfoundry.build.own_tools.reading import read_tools_file
        from toolfoundry.sandbox import Sandbox

        self.file = read_tools_file(path)
        given = self.file.given
        if given.kind != "functions" and config is None and not dry_run:
            raise InputError(
                f"{path} is a specification ({given.kind}): a model writes the questions and the functions that stand "
                "in for its tools; give --author llm, --model and --base-url"
            )
        self.seed, self.scaling, self.config = seed, scaling, config
        self.at_a_time = config.concurrency if config else at_a_time or os.cpu_count() or 1
        self.count = _COUNT if count is None else count
        self.evidence: Evidence = Evidence((), given.unusable, 0)
        if given.tools:
            with Sandbox() as sandbox, progress("running the functions", len(given.tools)) as advance:
                self.evidence = asyncio.run(gather(given, sandbox, advance))
        names = [tool.name for tool in self.evidence.tools] or [document.name for document in given.documents]
        self._tell(names)
        self.options: dict[str, JsonValue] = {
            "tools": {
                "file": path.name,
                "sha256": self.file.digest,
                "kind": given.kind,
                "usable": list[JsonValue](names),
                "unusable": [{"name": one.name, "reason": visible(one.reason, _SHOWN)} for one in self.unusable],
                "notes": [visible(note, 1000) for note in given.notes],
            },
            "scaling": scaling.model_dump(mode="json"),
        }
        self._usage = ""
        self._about: dict[str, JsonValue] = {}

    @property
    def unusable(self) -> tuple[Unusable, ...]:
        return self.evidence.unusable

    @property
    def origin(self) -> str:
        """Says which file, by its content, and which seed: whatever its name is."""
        return f"tools/{self.file.digest[:16]}/{self.seed}"

    def _tell(self, names: list[str]) -> None:
        """Says what can be used, and why the rest cannot. Raises InputError where nothing can."""
        for one in self.unusable:
            text = f"{visible(one.name, 80)}: {visible(one.reason, _SHOWN)}"
            err.print(f"[yellow]not usable:[/yellow] {escape(text)}", highlight=False, soft_wrap=True)
        for note in self.file.given.notes:
            err.print(escape(f"note: {visible(note, 1000)}"), highlight=False, soft_wrap=True)
        if not names:
            found = f"{len(self.unusable)} that cannot be used" if self.unusable else "none"
            raise InputError(f"{self.file.path}: found {found}, expected at least one tool")
        worked = sum(len(one.observations) for one in self.evidence.tools)
        ran = f"; {self.evidence.calls:,} calls made, {worked:,} results to ask about" if worked else ""
        err.print(
            escape(f"{len(names)} of {len(names) + len(self.unusable)} tools of {self.file.path} can be used{ran}"),
            highlight=False,
            soft_wrap=True,
        )

    # --- building ----------------------------------------------------------------------------------------------------

    def build(self, ledger: Ledger, on_progress: Callable[[Counter[str]], None]) -> dict[str, float]:
        asyncio.run(self._build(ledger, on_progress))
        return {}

    async def _build(self, ledger: Ledger, on_progress: Callable[[Counter[str]], None]) -> None:
        from toolfoundry.build.authors.llm import LLMAuthor
        from toolfoundry.build.pipeline import build_with
        from toolfoundry.sandbox import Sandbox

        async with AsyncExitStack() as stack:
            llm = await stack.enter_async_context(LLMAuthor(self.config)) if self.config else None
            author = self._author(llm)
            try:
                with Sandbox() as sandbox:
                    pending = await build_with(
                        author,
                        self._briefs(author, ledger.next_index),
                        self.scaling,
                        ledger,
                        sandbox,
                        count=self.count,
                        concurrency=self.at_a_time,
                        on_progress=on_progress,
                    )
                if llm and pending:
                    self.pending = f"{pending} items wait for replies. {llm.finish()}"
            finally:
                if llm:
                    self._note(llm)

    def _author(self, llm: LLMAuthor | None) -> FunctionsAuthor | SpecificationAuthor:
        from toolfoundry.build.own_tools.author import FunctionsAuthor

        if llm is None:
            return FunctionsAuthor(self.evidence, self.origin)
        from toolfoundry.build.own_tools.with_model import SpecificationAuthor, rewording

        if self.file.given.documents:
            return SpecificationAuthor(llm, self.file.given.documents, self.origin)
        reword = rewording(llm, {one.name: one.tool.signature for one in self.evidence.tools})
        name = f"own-tools+{llm.name}"
        return FunctionsAuthor(self.evidence, self.origin, reword=reword, name=name, attempts=llm.attempts)

    def _briefs(self, author: FunctionsAuthor | SpecificationAuthor, start: int) -> Iterator[Brief]:
        """Briefs, but not for ever: where most fail, more will not help, and replies cost money."""
        most = 4 * self.count + 20 if self.config else 10 * self.count + 50
        return islice(author.briefs(start), max(0, most - start))

    def _note(self, llm: LLMAuthor) -> None:
        usage = llm.usage()
        self._usage = str(usage)
        self._about = {
            "prompts": dict(llm.prompt_hashes()),
            "usage": {**usage._asdict(), "spent": usage.spent.model_dump()},
        }
        err.print(escape(self._usage), highlight=False, soft_wrap=True)

    def about(self) -> dict[str, JsonValue]:
        return self._about

    def notes(self, before: int) -> tuple[str, ...]:  # noqa: ARG002
        usable = len(self.evidence.tools) or len(self.file.given.documents)
        told = f"Tools: {usable} of {self.file.path.name}; {len(self.unusable)} of it cannot be used."
        return (told, *((f"Model: {self._usage}.",) if self._usage else ()))

    def estimate(self, as_json: bool) -> None:
        """The dry run: the tools, what was found by running them, and what can be asked."""
        from toolfoundry.build.decompose import kind_of
        from toolfoundry.build.own_tools.author import FunctionsAuthor

        kinds: Counter[str] = Counter()
        if self.evidence.tools:
            author = FunctionsAuthor(self.evidence, self.origin)
            kinds.update(kind_of(made.scenario.steps) for made in islice(author.questions(), self.count))
        if as_json:
            found: dict[str, JsonValue] = {
                one.name: {"results": len(one.observations), "example": one.observations[0].arguments}
                for one in self.evidence.tools
            }
            print_json({**self.options, "calls": self.evidence.calls, "found": found, "questions": dict(kinds)})
            return
        table = Table("tool", "parameters", *(("results", "a call that works") if self.evidence.tools else ()))
        for one in self.evidence.tools:
            first = one.observations[0].arguments
            call = ", ".join(f"{name}={value!r}" for name, value in first.items())
            names = escape(_parameters(one.tool.signature))
            table.add_row(one.name, names, str(len(one.observations)), escape(visible(call, 60)))
        for document in self.file.given.documents:
            table.add_row(document.name, escape(_parameters(document)))
        out.print(table)
        if kinds:
            told = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(kinds.items()))
            out.print(f"{kinds.total()} questions can be put together: {told}", highlight=False)


def _parameters(document: ToolSchema) -> str:
    properties = document.parameters.get("properties")
    return visible(", ".join(properties) if isinstance(properties, dict) else "", 120)
