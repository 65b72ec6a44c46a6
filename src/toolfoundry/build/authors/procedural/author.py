"""The procedural author: from a plan to documents, integration, scaling, distractors and code, without a model.

Everything follows from (profile, seed, split, index) and the scaling: no stage needs what an earlier one has written,
so a draft can be taken up at any stage, and equal seeds give equal bytes. What a stage does is in `tools`.
"""

# ruff: noqa: ARG002 (the protocol's arguments; this author needs no feedback)

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from toolfoundry.build.author import Feedback
from toolfoundry.build.authors.procedural.documents import to_document
from toolfoundry.build.authors.procedural.plan import Plan
from toolfoundry.build.authors.procedural.profile import Profile, Split
from toolfoundry.build.authors.procedural.scenarios import make_plan
from toolfoundry.build.authors.procedural.tools import Toolsmith, Workpiece
from toolfoundry.build.draft import Brief, Decomposition, Deployment, Documents, Draft, Rejected
from toolfoundry.build.scaling import Scaling
from toolfoundry.types import Message

__all__ = ["ProceduralAuthor"]

_MANY = 20  # tools; a profile with fewer does not go beyond the published set
_KEPT = 64  # plans and scalings that are remembered; all can be made again


class ProceduralAuthor:
    """Writes the content of every stage from a seed. Its code is of one trust domain; it learns from no complaint."""

    name = "procedural"
    trusted = True
    attempts = 1

    def __init__(self, profile: Profile, seed: int, split: Split) -> None:
        self.profile, self.seed = profile, seed
        self.split: Split = split
        self._plan = lru_cache(maxsize=_KEPT)(self._make_plan)
        self._smith = lru_cache(maxsize=_KEPT)(self._make_smith)
        self._scalings: dict[int, Scaling] = {}

    async def decompose(self, brief: Brief, feedback: Feedback | None = None) -> Decomposition:
        """The scenario with the brief's place in the run."""
        return self._plan(brief.index).decomposition

    async def document(self, draft: Draft, feedback: Feedback | None = None) -> Documents:
        """A compact document for each step: the function's inputs and nothing else."""
        return _documents(self._smith(draft.brief.index).documented())

    async def integrate(
        self, draft: Draft, overlaps: Sequence[tuple[str, ...]], feedback: Feedback | None = None
    ) -> Documents:
        """One document for a function that is asked twice, and one for different facts about subjects of one type.

        What can be merged is known from the functions; the groups that similarity found are not needed.
        """
        return _documents(self._smith(draft.brief.index).integrated())

    async def scale(self, draft: Draft, scaling: Scaling, feedback: Feedback | None = None) -> Documents:
        """The gold tools under new names, with optional parameters, in richer types, some for a class of needs."""
        if len(self._scalings) >= _KEPT:
            self._scalings.clear()
        self._scalings[draft.brief.index] = scaling
        return _documents(self._smith(draft.brief.index).scaled(scaling))

    def tool_count(self, draft: Draft, scaling: Scaling) -> int | None:
        """Tools of the environment as the profile has them; None where the scaling asks for another number."""
        most = max(span.high for span in self.profile.tools.values())
        if scaling.distractors is not None or scaling.extend < 2 or (scaling.extend == 3 and most < _MANY):
            return None
        return self._smith(draft.brief.index).tool_count()

    async def distractors(self, draft: Draft, scaling: Scaling) -> Documents:
        """Half as many candidates again as are needed: of the scenario's types and domains, and of others."""
        designs = self._smith(draft.brief.index).distractors(
            scaling, self._needed(draft, scaling, len(draft.documents))
        )
        return Documents(documents=tuple(to_document(design) for design in designs.values()), calls=())

    async def deploy(self, draft: Draft, feedback: Feedback | None = None) -> Deployment:
        """The source of every tool, and for each a call that works, with a value for every parameter that matters."""
        smith = self._smith(draft.brief.index)
        scaling = self._scalings.get(draft.brief.index, self.profile.scaling)
        work = smith.scaled(scaling)
        designs = {design.name: design for design in work.designs}
        gold = draft.gold_tools
        wanted = [document.name for document in draft.documents if document.name not in draft.sources]
        if any(name not in gold for name in wanted):
            designs |= smith.distractors(scaling, self._needed(draft, scaling, len(gold)))
        if unknown := [name for name in wanted if name not in designs]:
            detail = f"{unknown[0]} is no tool of this author at scaling {scaling.model_dump_json()}"
            raise Rejected("unknown-tool", detail)
        try:
            sources = {name: smith.source(designs[name], work) for name in wanted}
        except LookupError as error:
            raise Rejected("no-table", f"nothing else can be told of {error}: every value is an answer") from None
        return Deployment(sources=sources, trials=tuple(smith.trial(designs[name]) for name in wanted))

    def prompt(self, question: str) -> tuple[Message, ...]:
        """The standard opening."""
        return ()

    def _needed(self, draft: Draft, scaling: Scaling, gold: int) -> int:
        """How many distractors are needed; where the stage decides, as many as any level asks for."""
        count = self.tool_count(draft, scaling)
        return 30 if count is None else max(0, count - gold)

    def _make_plan(self, index: int) -> Plan:
        return make_plan(self.profile, self.seed, self.split, index)

    def _make_smith(self, index: int) -> Toolsmith:
        return Toolsmith(self._plan(index), self.profile)


def _documents(work: Workpiece) -> Documents:
    documents = tuple(to_document(design) for design in work.designs)
    return Documents(documents=documents, calls=work.calls, changes=work.changes)
