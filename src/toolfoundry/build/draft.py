"""What flows through the stages: a brief goes in, a draft grows by one part a stage, and comes out or is rejected.

    Brief ─► decompose ─► document ─► integrate ─► scale ─► deploy ─► EnvSpec
              scenario     documents   documents   documents  sources
                           calls       calls       calls      trials

All are values: frozen, JSON, the same for the same input. A draft of any stage can be written to a file and taken up
again. In gold arguments a parent's answer stays symbolic (`toolfoundry.symbolic`) until the tools are executed.
"""

from __future__ import annotations

import re
from typing import ClassVar, Literal, NamedTuple

from pydantic import JsonValue

from toolfoundry.types import Answer, Final, Record, SubQuestion, ToolSchema, Trial

__all__ = [
    "STAGES",
    "STRATEGIES",
    "Brief",
    "Change",
    "Complaint",
    "Decomposition",
    "Deployment",
    "Documents",
    "Draft",
    "Reject",
    "RejectStage",
    "Rejected",
    "Stage",
    "Step",
    "Strategy",
    "SymbolicCall",
    "Trial",
]

Stage = Literal["decompose", "document", "integrate", "scale", "deploy"]
STAGES: tuple[Stage, ...] = ("decompose", "document", "integrate", "scale", "deploy")

RejectStage = Literal["decompose", "document", "integrate", "scale", "deploy", "gate", "set"]

Strategy = Literal["merge", "generalize", "expand", "retype", "extend"]
STRATEGIES: tuple[Strategy, ...] = ("merge", "generalize", "expand", "retype", "extend")

_REFERENCE = re.compile(r"\{(\w+)\}")


class Brief(Record):
    """What one environment is to be made of. `index` is its place in the run, `origin` says where it comes from.

    Everything else may be absent: to an author that invents, its place in the run is enough.
    """

    index: int
    origin: str
    question: str | None = None
    answer: Answer | None = None
    steps: tuple[SubQuestion, ...] = ()
    topic: str | None = None


class Step(Record):
    """One sub-question. In its text, `{s1}` stands where the answer of step s1 has to go; these are its needs."""

    id: str
    question: str
    answer: Answer

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_REFERENCE.findall(self.question)))


class Decomposition(Record):
    """Stage 1: the question, its steps in an order in which they can be answered, and how the final answer follows."""

    question: str
    answer: Answer
    steps: tuple[Step, ...]
    final: Final


class SymbolicCall(Record):
    """The gold call of a step: a tool, and arguments in which the answers of earlier steps are references."""

    step: str
    tool: str
    arguments: dict[str, JsonValue]


class Change(Record):
    """What a strategy did to a tool, in words. `before`: the names of the documents that the tool was made from."""

    strategy: Strategy
    tool: str
    detail: str
    before: tuple[str, ...] = ()


class Documents(Record):
    """Stages 2 to 4: documents and the gold calls of all steps; `changes` are those of this stage alone.

    sources: tools that come with their code, such as distractors from a pool.
    """

    documents: tuple[ToolSchema, ...]
    calls: tuple[SymbolicCall, ...]
    changes: tuple[Change, ...] = ()
    sources: dict[str, str] = {}


class Deployment(Record):
    """Stage 5: the source of every document that has none yet, and calls to try."""

    sources: dict[str, str]
    trials: tuple[Trial, ...] = ()


class Draft(Record):
    """An environment in the making: all parts up to and including those of `stage`."""

    artifact: ClassVar[str] = "drafts"

    brief: Brief
    author: str
    stage: Stage
    scenario: Decomposition
    documents: tuple[ToolSchema, ...] = ()
    calls: tuple[SymbolicCall, ...] = ()
    sources: dict[str, str] = {}
    trials: tuple[Trial, ...] = ()
    changes: tuple[Change, ...] = ()

    @property
    def gold_tools(self) -> frozenset[str]:
        """The names of the tools that a step needs; all others are distractors."""
        return frozenset(call.tool for call in self.calls)


class Reject(Record):
    """Why an item became no environment. `stage` is where it ended; "gate" and "set" come after the five stages.

    reason: a short stable name, for counting; detail: what was found and what was expected (untrusted text);
    asked: how often the author was asked at that stage.
    """

    artifact: ClassVar[str] = "rejects"

    brief: Brief
    author: str
    stage: RejectStage
    reason: str
    detail: str
    asked: int = 1


class Rejected(Exception):
    """Raised within a stage: the item ends here. `stage` is filled in by whoever runs the stages."""

    def __init__(self, reason: str, detail: str, asked: int = 1) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.asked = reason, detail, asked
        self.stage: RejectStage = "decompose"


class Complaint(NamedTuple):
    """What is wrong with an author's answer: a short stable name, a text that the author can act on, and the tool that
    it is about, if it is about one."""

    reason: str
    detail: str
    tool: str = ""
