"""The author behind which a file of functions stands: questions over recorded calls, the functions as they are.

Stages 1 and 2 say what `compose` has put together, stage 3 merges the documents of a tool that is asked twice, stage 4
leaves the user's tools as they are and offers the other tools of the file as distractors, stage 5 has nothing to write.
With a `reword`, a model words the questions anew; what they ask for, with which calls, stays.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from toolfoundry.build.author import Feedback
from toolfoundry.build.draft import Brief, Decomposition, Deployment, Documents, Draft, Rejected
from toolfoundry.build.own_tools.compose import Composition, Facts, compositions, documents_of, with_repeats_merged
from toolfoundry.build.own_tools.evidence import Evidence
from toolfoundry.build.scaling import Scaling
from toolfoundry.types import Message

__all__ = ["FunctionsAuthor", "Reword"]

Reword = Callable[[Brief, Composition, Feedback | None], Awaitable[Decomposition]]


class FunctionsAuthor:
    """The author. `origin` names file and seed: with it the same index is the same question, in any order.

    name, attempts: "own-tools" and 1 without a `reword`, else what the model's are.
    """

    trusted = False

    def __init__(
        self,
        evidence: Evidence,
        origin: str,
        *,
        reword: Reword | None = None,
        name: str = "own-tools",
        attempts: int = 1,
    ) -> None:
        self.origin, self.name, self.attempts = origin, name, attempts
        self._reword = reword
        self._tools = {one.name: one for one in evidence.tools}
        self._documents = {name: one.tool.signature for name, one in self._tools.items()}
        self._made: list[Composition] = []
        self._more = compositions(Facts(evidence), origin)

    def briefs(self, start: int = 0) -> Iterator[Brief]:
        """A brief for each question that can be asked, until nothing new is found."""
        index = start
        while self._composition(index) is not None:
            yield Brief(index=index, origin=self.origin)
            index += 1

    def questions(self) -> Iterator[Composition]:
        """All that can be asked, in the order of the briefs."""
        return (self._of(brief) for brief in self.briefs())

    def prompt(self, question: str) -> tuple[Message, ...]:  # noqa: ARG002
        return ()

    async def decompose(self, brief: Brief, feedback: Feedback | None = None) -> Decomposition:
        made = self._of(brief)
        return made.scenario if self._reword is None else await self._reword(brief, made, feedback)

    async def document(self, draft: Draft, feedback: Feedback | None = None) -> Documents:  # noqa: ARG002
        return documents_of(self._of(draft.brief), self._documents)

    async def integrate(
        self,
        draft: Draft,
        overlaps: Sequence[tuple[str, ...]],  # noqa: ARG002
        feedback: Feedback | None = None,  # noqa: ARG002
    ) -> Documents:
        return with_repeats_merged(draft, self._documents)

    async def scale(self, draft: Draft, scaling: Scaling, feedback: Feedback | None = None) -> Documents:  # noqa: ARG002
        return Documents(documents=draft.documents, calls=draft.calls)

    def tool_count(self, draft: Draft, scaling: Scaling) -> int | None:  # noqa: ARG002
        return None

    async def distractors(self, draft: Draft, scaling: Scaling) -> Documents:  # noqa: ARG002
        others = {name: one for name, one in self._tools.items() if name not in draft.gold_tools}
        return Documents(
            documents=tuple(self._documents[name] for name in others),
            calls=(),
            sources={name: one.tool.source for name, one in others.items()},
        )

    async def deploy(self, draft: Draft, feedback: Feedback | None = None) -> Deployment:  # noqa: ARG002
        tools = [self._tools[document.name] for document in draft.documents]
        gold = [one for one in tools if one.name not in draft.sources]
        trials = tuple(trial for one in tools for trial in one.trials)
        return Deployment(sources={one.name: one.tool.source for one in gold}, trials=trials)

    def _composition(self, index: int) -> Composition | None:
        while len(self._made) <= index:
            if (following := next(self._more, None)) is None:
                return None
            self._made.append(following)
        return self._made[index]

    def _of(self, brief: Brief) -> Composition:
        made = self._composition(brief.index) if brief.origin == self.origin else None
        if made is None:
            raise Rejected("unknown-brief", f"found {brief.origin} {brief.index}, expected a brief of {self.origin}")
        return made
