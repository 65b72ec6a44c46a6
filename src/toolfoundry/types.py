"""The records: every value that touches a disk, a wire or a module boundary, in the order in which data flows.

    EnvSpec ──► Environment ──► Message (policy) ──► ToolResult (sandbox) ──► Reward ──► Turn ──► Trajectory ──► Score

All records are frozen, forbid unknown fields, and survive a JSON round trip unchanged. `None` always means "not
known" or "not scored", never zero. Times, host facts and package versions are not in here: they belong to run files.
"""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, Literal

import orjson
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, model_validator

from toolfoundry.errors import RecordError

__all__ = [
    "PRESETS",
    "Answer",
    "AnswerType",
    "Completion",
    "EnvSpec",
    "Fault",
    "FaultKind",
    "Final",
    "Goal",
    "GoalProof",
    "Limits",
    "Message",
    "Preset",
    "Proof",
    "ProofStatus",
    "Provenance",
    "Record",
    "Reward",
    "Role",
    "Scenario",
    "ScenarioKind",
    "Score",
    "Solve",
    "StopReason",
    "SubQuestion",
    "Task",
    "Tool",
    "ToolCall",
    "ToolResult",
    "ToolSchema",
    "Trajectory",
    "Trial",
    "Turn",
    "Usage",
]

Role = Literal["system", "user", "assistant", "tool"]
ScenarioKind = Literal["single_hop", "parallel_single_hop", "multi_hop", "parallel_multi_hop"]
AnswerType = Literal["text", "number", "date", "boolean", "list"]
FaultKind = Literal["unfinished", "invented_result", "call_in_thinking"]
StopReason = Literal["answered", "max_turns", "max_tokens", "max_calls", "max_time", "length", "error"]
Preset = Literal["frontier", "ftrl", "ftrl-pr", "ftrl-rate", "ftrl-precision"]
ProofStatus = Literal["proved", "published_only", "unsolvable", "not_found"]

PRESETS: tuple[Preset, ...] = ("frontier", "ftrl", "ftrl-pr", "ftrl-rate", "ftrl-precision")


class Record(BaseModel):
    """Base of every record: frozen, and an unknown field is an error.

    artifact: how files of this record are called in their header line; "" for records that have no files.
    """

    artifact: ClassVar[str] = ""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


# --- conversation --------------------------------------------------------------------------------------------------


class ToolCall(Record):
    """One request by the model. `arguments` is the JSON text exactly as the model wrote it, valid or not.

    A piece of call markup that could not be read at all has the name "" and its raw text as arguments: it still
    gets an id, a result that tells the model what was wrong, and its place in the count of calls.
    """

    id: str
    name: str
    arguments: str


class ToolResult(Record):
    """What one call gave: `content` (FTRL's convention: JSON for dict and list, str as is, else `str()`), or `error`.

    `error` is text the model can act on and starts with a stable kind and a colon:
    `malformed_call`, `unknown_tool`, `raised` (then `ExceptionType: message`), `timeout`, `memory`, `output`
    (result too large or not representable), `killed` (the tool brought its process down), `limit` (not executed:
    more calls than the rollout allows). With an error, content is "".
    """

    call_id: str
    content: str = ""
    error: str | None = None

    @property
    def text(self) -> str:
        """What the model reads: the error if there is one, else the content."""
        return self.content if self.error is None else f"Error: {self.error}"


class Fault(Record):
    """Something wrong with a completion that is not tied to one call.

    `unfinished`: it ended by its token limit, without an end of turn. `invented_result`: it wrote a tool result
    itself. `call_in_thinking`: it wrote a call inside its thinking, which is not executed.
    """

    kind: FaultKind
    detail: str = ""


class Message(Record):
    """One message of a conversation. Only assistants have thinking, calls and faults; only tool messages a call_id."""

    role: Role
    content: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    faults: tuple[Fault, ...] = ()
    call_id: str | None = None


# --- environment ---------------------------------------------------------------------------------------------------


class ToolSchema(Record):
    """The description of a tool that the model sees. `parameters` and `output` are JSON Schemas."""

    name: str
    description: str
    parameters: dict[str, JsonValue]
    output: dict[str, JsonValue] | None = None

    def as_function(self) -> dict[str, Any]:
        """The OpenAI function-calling form, which chat templates and endpoints take."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    @classmethod
    def from_function(cls, entry: Any) -> ToolSchema:
        """What `as_function` writes, read back; what an entry says beside it is left out. Raises RecordError."""
        try:
            function = entry["function"]
            return cls(
                name=function["name"],
                description=function.get("description", ""),
                parameters=function.get("parameters", {"type": "object", "properties": {}}),
            )
        except (KeyError, TypeError, AttributeError, ValidationError):
            found = orjson.dumps(entry, default=repr).decode()
            raise RecordError(found=found[:80], expected="an OpenAI function") from None


class Tool(Record):
    """A schema and the Python source that defines one function of that name."""

    signature: ToolSchema
    source: str

    @property
    def name(self) -> str:
        return self.signature.name


class Answer(Record):
    """A typed answer. `value` is a str for text and date (ISO 8601), a number, a bool, or a list of those in order.

    `text` is how the source spells it, when that is more than `value` says ("5,000", "c, a, b").
    """

    type: AnswerType
    value: JsonValue
    text: str | None = None


class SubQuestion(Record):
    """One answered step of a scenario; `needs` are the ids of the steps whose answers it uses."""

    id: str
    question: str
    answer: Answer
    needs: tuple[str, ...] = ()


class Scenario(Record):
    """The question, its final answer (None where there is none to compare), and the steps where they are known."""

    question: str
    answer: Answer | None
    kind: ScenarioKind | None = None
    steps: tuple[SubQuestion, ...] = ()


class Goal(Record):
    """A tool and the typed answer that some call to it must produce.

    `needs` are the goals that must be solved before this one can be; None means the edges are not known.
    `echo_ok` says that the answer rightly stands in the gold call's own arguments (a maximum, a ranking); None means
    that no gold call is known: then such a hit counts, and is reported as `echo_possible`.
    """

    id: str
    tool: str
    answer: Answer
    needs: tuple[str, ...] | None = ()
    echo_ok: bool | None = False


class GoalProof(Record):
    """How one goal was proved, or why it was not.

    `published`: a call was found that meets the release's substring rule; a typed proof nearly always does, but
    "2001-05-18" is no "May 18, 2001" to it. `sources` says for each argument (a path such as `filter.year`) where
    its value comes from: `question`, `enum`, `default`, `goal:ID`, `free` (any value works), `document` (an example
    that the parameter's description quotes) or `code`. Several goals are separated by spaces.
    """

    goal: str
    status: ProofStatus
    published: bool = False
    reason: str = ""
    sources: dict[str, str] = {}

    @property
    def fair(self) -> bool:
        """Proved with arguments that a model could know: none of them was read out of the source."""
        return self.status == "proved" and "code" not in self.sources.values()


class Final(Record):
    """How the final answer follows from the sub-answers: one of `toolfoundry.computations`, and its arguments.

    In the arguments, `{"$answer": "s1"}` stands for the answer of step (or goal) s1.
    """

    operation: str
    arguments: dict[str, JsonValue]


class Trial(Record):
    """A call of a tool that works, and for parameters another value with which the result is another one.

    A builder keeps them as evidence that no parameter is dead, and to save whoever checks it again a search; they are
    claims, and believed only when executed.
    """

    tool: str
    arguments: dict[str, JsonValue]
    variants: dict[str, JsonValue] = {}


class Proof(Record):
    """What was established about a specification, and by which version of the prover or builder.

    A builder's proof also says how the final answer follows (`final`), what each gold call gave (`results`, ids as in
    `gold_calls`), which calls show that every parameter has an effect (`trials`), the score of the gold trajectory and
    of each scripted policy (`panel`), how many calls were executed (`probes`, by kind), and which gates did not apply
    and why (`not_applied`): all others of that version passed. When that was is in the run file.
    """

    version: str
    goals: tuple[GoalProof, ...]
    final: Final | None = None
    results: tuple[ToolResult, ...] = ()
    trials: tuple[Trial, ...] = ()
    panel: dict[str, float] = {}
    probes: dict[str, int] = {}
    not_applied: dict[str, str] = {}


class Provenance(Record):
    """Where a specification comes from. Not part of its identity.

    `original` is the imported line, kept only where exporting would not give the same bytes otherwise.
    """

    source: str
    location: str | None = None
    parent: str | None = None
    labels: dict[str, JsonValue] = {}
    changes: tuple[str, ...] = ()
    original: str | None = None


class Task(Record):
    """All that grading needs to know about a specification. `tagged`: the prompt asks for `<answer>` tags."""

    spec_id: str
    kind: ScenarioKind | None
    goals: tuple[Goal, ...]
    answer: Answer | None
    tagged: bool


class EnvSpec(Record):
    """The serializable recipe of one environment.

    `prompt` are its opening messages; empty means the standard prompt of `toolfoundry.environment`. `gold_calls`
    are in an order in which they can be played; a call that solves a goal has that goal's id as its own id.
    `state`, where not None, is the database that the tools get as their keyword argument `data` and may change.
    """

    artifact: ClassVar[str] = "environments"

    id: str
    scenario: Scenario
    tools: tuple[Tool, ...]
    goals: tuple[Goal, ...]
    gold_calls: tuple[ToolCall, ...] | None = None
    prompt: tuple[Message, ...] = ()
    state: JsonValue = None
    proof: Proof | None = None
    provenance: Provenance

    @classmethod
    def create(cls, **fields: Any) -> EnvSpec:
        """The specification with its content-hash id filled in."""
        draft = cls.model_construct(id="", **fields)
        return cls(id=content_id(draft), **fields)

    def replace(self, **fields: Any) -> EnvSpec:
        """A copy with some fields changed, validated, and with the id that belongs to it."""
        names = [name for name in type(self).model_fields if name != "id"]
        return EnvSpec.create(**{name: fields.get(name, getattr(self, name)) for name in names})

    @property
    def task(self) -> Task:
        """What grading needs, without tools, code or state."""
        tagged = not self.prompt or any("<answer>" in message.content for message in self.prompt)
        return Task(
            spec_id=self.id,
            kind=self.scenario.kind,
            goals=self.goals,
            answer=self.scenario.answer,
            tagged=tagged,
        )

    @model_validator(mode="after")
    def _consistent(self) -> EnvSpec:
        names = [tool.name for tool in self.tools]
        if twice := sorted(name for name in set(names) if names.count(name) > 1):
            raise RecordError(field="tools", found=f"two tools named {twice[0]!r}", expected="distinct names")
        if not self.goals:
            raise RecordError(field="goals", found="none", expected="at least one (without goals nothing is rewarded)")
        seen: set[str] = set()
        for goal in self.goals:
            if goal.id in seen:
                raise RecordError(field="goals", found=f"the id {goal.id!r} twice", expected="distinct ids")
            if goal.tool not in names:
                raise RecordError(field=f"goals.{goal.id}.tool", found=repr(goal.tool), expected=f"one of {names}")
            if late := [need for need in goal.needs or () if need not in seen]:
                expected = "ids of earlier goals (goals are in topological order)"
                raise RecordError(field=f"goals.{goal.id}.needs", found=repr(late[0]), expected=expected)
            seen.add(goal.id)
        for index, call in enumerate(self.gold_calls or ()):
            if call.name not in names:
                raise RecordError(field=f"gold_calls.{index}.name", found=repr(call.name), expected=f"one of {names}")
        if self.id and self.id != (expected := content_id(self)):
            raise RecordError(field="id", found=repr(self.id), expected=f"{expected!r} (the hash of the content)")
        return self


def content_id(spec: EnvSpec) -> str:
    """The first 16 hex digits of the SHA-256 of what a model can notice or be graded on.

    Proof and provenance are left out: the same environment from another file has the same id.
    """
    content = spec.model_dump(mode="json", exclude={"id", "proof", "provenance"})
    canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()[:16]


# --- rollout -------------------------------------------------------------------------------------------------------


class Usage(Record):
    """Tokens of one completion, as the server or tokenizer counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Completion(Record):
    """What a policy gave for one turn. `token_ids` and `logprobs` are the sampled tokens, where the policy has them."""

    message: Message
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None
    usage: Usage | None = None


class Reward(Record):
    """The reward of one turn with its parts (`value` in [-0.5, 1] for `frontier`).

    calls: calls in the turn, malformed ones included; solved: goals newly solved; frontier: goals that were ready
    before it; echo_possible: solved goals whose answer also stood in the call's arguments, where nothing says that
    this is right.
    """

    value: float
    calls: int = 0
    solved: int = 0
    frontier: int = 0
    malformed: int = 0
    echo_possible: int = 0


class Turn(Record):
    """One completion and what it caused. `notice` is what the environment told the model beside the tool results."""

    completion: Completion
    results: tuple[ToolResult, ...] = ()
    notice: str | None = None
    reward: Reward | None = None


class Limits(Record):
    """Where a rollout is cut off. None is no limit. `max_tokens` and `max_time_s` are for the whole rollout."""

    max_turns: int = 20
    max_calls: int | None = None
    max_tokens: int | None = None
    max_time_s: float | None = None
    calls_per_turn: int = 16


class Trajectory(Record):
    """The record of one rollout, also of one that failed: then `stop` is "error" and `error` its cause, unscored.

    `preset` and `calls_per_turn` are those under which its turns were graded.
    """

    artifact: ClassVar[str] = "trajectories"

    task: Task
    policy: str
    sample: int = 0
    preset: Preset = "frontier"
    calls_per_turn: int = 16
    prompt: tuple[Message, ...]
    turns: tuple[Turn, ...]
    stop: StopReason
    error: str | None = None

    @property
    def key(self) -> str:
        """Names the rollout within its file: a resumed run does not do it twice."""
        return f"{self.task.spec_id}/{self.policy}/{self.sample}"


class Solve(Record):
    """Solve-P = Q/P, Solve-R = Q/N, Solve-F1 = 2Q/(P+N), for Q goals solved by P calls out of N goals."""

    precision: float
    recall: float
    f1: float
    calls: int
    solved: int
    goals: int


class Score(Record):
    """The scores of one trajectory.

    `value` = ½ strict F1 + ½ (final answer right), in [0, 1]. `paper` counts as the release does (substrings, and
    precision 1 without calls); `strict` as the frontier reward does (typed values, precision 0 without calls).
    """

    value: float
    strict: Solve
    paper: Solve
    answer_right: bool | None
    turns: int
    malformed: int
    echo_possible: int
