"""What a model writes about a user's tools: better words for composed questions, or all of it behind a specification.

Both stand on the LLM author: its conversations, corrections, cached replies, budget. A specification gives the
documents; the model gives the questions, the gold calls and the functions that stand in for the tools. Nothing it says
is believed before the gates have run it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from pydantic import JsonValue

from toolfoundry.answers import holds, infer, scalars
from toolfoundry.build.author import Feedback
from toolfoundry.build.authors.llm import LLMAuthor
from toolfoundry.build.authors.llm.prompting import answer_data
from toolfoundry.build.authors.llm.replies import (
    CALLS,
    DECOMPOSITION,
    REWORDING,
    read_calls,
    read_decomposition,
    read_rewording,
)
from toolfoundry.build.authors.llm.structured import Unreadable
from toolfoundry.build.draft import Brief, Decomposition, Deployment, Documents, Draft
from toolfoundry.build.own_tools.author import Reword
from toolfoundry.build.own_tools.compose import Composition, documents_of, with_repeats_merged
from toolfoundry.build.scaling import Scaling
from toolfoundry.seeds import generator
from toolfoundry.symbolic import references
from toolfoundry.types import Message, ScenarioKind, ToolSchema

__all__ = ["SpecificationAuthor", "rewording"]

_MOST_DOCUMENTS = 16  # that a question is written about: more would not be read


def rewording(llm: LLMAuthor, documents: Mapping[str, ToolSchema]) -> Reword:
    """A function that lets the model word a composed question anew; what has to be said must still stand in it."""

    async def reword(brief: Brief, made: Composition, feedback: Feedback | None) -> Decomposition:
        must_say = list(_must_say(made))
        data: dict[str, JsonValue] = {
            "question": made.scenario.question,
            "steps": _steps(made.scenario),
            "must_say": list[JsonValue](must_say),
            "documents": [
                documents[tool].model_dump(mode="json", exclude={"output"})
                for tool in dict.fromkeys(call.tool for call in made.calls)
            ],
        }

        def read(text: str, _: Mapping[str, str]) -> Decomposition:
            found = read_rewording(text, made.scenario)
            if lost := [value for value in must_say if not holds(infer(value), found.question)]:
                raise Unreadable.because("value-lost", f"the question does not say {', '.join(lost)}")
            return found

        return await llm.ask("decompose", brief, data, read, feedback, prompt="reword", form=REWORDING)

    return reword


def _must_say(made: Composition) -> Iterator[str]:
    """The values of gold calls that come from no other call, choices too, each once, as text; no truth values."""
    found: dict[str, None] = {}
    for call in made.calls:
        for value in call.arguments.values():
            if not any(True for _ in references(value)):
                leaves = (leaf for leaf in scalars(value) if leaf is not None and not isinstance(leaf, bool))
                found |= {str(leaf): None for leaf in leaves}
    yield from found


class SpecificationAuthor:
    """The author behind a specification. `origin` names file and seed; each index is another request to the model."""

    trusted = False

    def __init__(self, llm: LLMAuthor, documents: Sequence[ToolSchema], origin: str) -> None:
        self.origin = origin
        self.name, self.attempts = f"own-tools+{llm.name}", llm.attempts
        self._llm = llm
        self._documents = {document.name: document for document in documents}

    def briefs(self, start: int = 0) -> Iterator[Brief]:
        """Briefs without end: the model writes as many questions as it is asked for."""
        index = start
        while True:
            yield Brief(index=index, origin=self.origin)
            index += 1

    def prompt(self, question: str) -> tuple[Message, ...]:  # noqa: ARG002
        return ()

    async def decompose(self, brief: Brief, feedback: Feedback | None = None) -> Decomposition:
        kinds = list(get_args(ScenarioKind))
        block, place = divmod(brief.index, len(kinds))  # of any four in a row, one of each
        kind = generator("own-tools", "scenarios", self.origin, block).sample(kinds, len(kinds))[place]
        data: dict[str, JsonValue] = {"scenario": kind, "documents": self._shown(brief)}
        return await self._llm.ask(
            "decompose",
            brief,
            data,
            lambda text, _: read_decomposition(text),
            feedback,
            prompt="use-decompose",
            form=DECOMPOSITION,
        )

    async def document(self, draft: Draft, feedback: Feedback | None = None) -> Documents:
        steps = [step.id for step in draft.scenario.steps]
        data: dict[str, JsonValue] = {
            "question": draft.scenario.question,
            "steps": _steps(draft.scenario),
            "documents": self._shown(draft.brief),
        }

        def read(text: str, _: Mapping[str, str]) -> Documents:
            calls = read_calls(text, steps, list(self._documents))
            return documents_of(Composition(draft.scenario, calls), self._documents)

        return await self._llm.ask("document", draft.brief, data, read, feedback, prompt="use-document", form=CALLS)

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
        others = [document for name, document in self._documents.items() if name not in draft.gold_tools]
        return Documents(documents=tuple(others), calls=())

    async def deploy(self, draft: Draft, feedback: Feedback | None = None) -> Deployment:
        return await self._llm.deploy(draft, feedback)

    def _shown(self, brief: Brief) -> list[JsonValue]:
        """The documents that an item is about: all, or some of many."""
        names = list(self._documents)
        rng = generator("own-tools", "documents", self.origin, brief.index)
        some = {*rng.sample(names, min(len(names), _MOST_DOCUMENTS))}
        return [self._documents[name].model_dump(mode="json") for name in names if name in some]


def _steps(scenario: Decomposition) -> list[JsonValue]:
    return [{"id": step.id, "question": step.question, "answer": answer_data(step.answer)} for step in scenario.steps]
