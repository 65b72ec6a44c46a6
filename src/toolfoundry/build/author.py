"""Who writes the content of the stages: one protocol, so that validation, execution and gates are shared.

An author gives values; it is never believed. What a stage finds wrong goes back to it as `Feedback`, at most
`attempts` times in all; then the item is rejected with the last complaint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from toolfoundry.build.draft import Brief, Complaint, Decomposition, Deployment, Documents, Draft
from toolfoundry.build.scaling import Scaling
from toolfoundry.types import Message, Record

__all__ = ["Author", "Feedback", "Pending"]


class Feedback(NamedTuple):
    """What the author gave before for this stage of this item, and what is wrong with it."""

    previous: Record | None
    complaints: tuple[Complaint, ...]


class Pending(Exception):
    """Raised by an author whose answer comes later, from outside: the item is left as it is for another run."""


class Author(Protocol):
    """Writes the content of each stage. All methods may raise `Rejected`, and `Pending` where answers are waited for.

    name: recorded in provenance. trusted: its code is of one trust domain with itself, so that environments may share
    a worker; a model's is not. attempts: how often a stage asks before it rejects (1 for an author that does not learn
    from complaints).
    """

    @property
    def name(self) -> str: ...
    @property
    def trusted(self) -> bool: ...
    @property
    def attempts(self) -> int: ...

    def prompt(self, question: str) -> tuple[Message, ...]:
        """The opening messages of an environment; empty for the standard ones."""
        ...

    async def decompose(self, brief: Brief, feedback: Feedback | None = None) -> Decomposition:
        """The question as steps, and how the final answer follows."""
        ...

    async def document(self, draft: Draft, feedback: Feedback | None = None) -> Documents:
        """One document for each step, and the gold call of each."""
        ...

    async def integrate(
        self, draft: Draft, overlaps: Sequence[tuple[str, ...]], feedback: Feedback | None = None
    ) -> Documents:
        """Fewer documents: those of each overlapping group that do the same thing become one.

        Groups (of names) were found by similarity; documents that only look alike are left apart. An author that knows
        of overlaps that no similarity shows may merge more. Without groups a model need not be asked.
        """
        ...

    async def scale(self, draft: Draft, scaling: Scaling, feedback: Feedback | None = None) -> Documents:
        """The documents made harder: generalised, expanded, retyped, each at its level; gold calls carried along.

        Returns the documents of gold tools only, under names of its choice; distractors are asked for separately.
        """
        ...

    def tool_count(self, draft: Draft, scaling: Scaling) -> int | None:
        """How many tools the environment is to have; None leaves it to the scaling's level."""
        ...

    async def distractors(self, draft: Draft, scaling: Scaling) -> Documents:
        """Candidates for distractors (no calls), with or without source; the stage chooses among them."""
        ...

    async def deploy(self, draft: Draft, feedback: Feedback | None = None) -> Deployment:
        """The source of every document that has none, with a call of each that works."""
        ...
