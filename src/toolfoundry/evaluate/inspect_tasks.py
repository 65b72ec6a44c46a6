"""Our environments as a task of inspect_ai: `inspect eval toolfoundry/solve -T envs=envs.jsonl --model ...`.

inspect_ai talks to the model, keeps the log and shows it; the tools of each sample run in our sandbox, and its
conversation is graded by our reward. The scorer needs the log alone (a sample's metadata holds what grading must know),
so `inspect score` can do it again later.

What differs from `toolfoundry evaluate`, because inspect_ai does it before we see a call: arguments that break the
schema are refused with its own message and not given to the tool, and arguments that are almost JSON may be repaired.
Not covered: text protocols for models whose server does not read calls.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import atexit
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentReasoning,
)
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.tool import ToolCall as InspectCall
from inspect_ai.tool import ToolDef, ToolError, ToolParams

from toolfoundry.answers import spelling
from toolfoundry.chat import explain
from toolfoundry.environment import ToolSession, opening
from toolfoundry.evaluate.attempts import RULES, Rule
from toolfoundry.evaluate.own import load
from toolfoundry.formats.conversation import read_conversation
from toolfoundry.frameworks import warn_untested
from toolfoundry.reward import score_trajectory
from toolfoundry.sandbox import Sandbox
from toolfoundry.seeds import derive_seed
from toolfoundry.types import (
    EnvSpec,
    Limits,
    Message,
    ToolCall,
    ToolSchema,
    Trajectory,
)
from toolfoundry.types import Task as Graded

__all__ = ["play", "solve", "solve_scores", "to_trajectory"]

_METRICS = ("solve_p", "solve_r", "solve_f1", "answer")


@task
def solve(
    envs: str, rule: Rule = "fixed", max_turns: int = Limits().max_turns, calls_per_turn: int = Limits().calls_per_turn
) -> Task:
    """Every environment of a file (ours, or FTRL's rows) as a sample.

    Args:
        envs: path of the file.
        rule: which scores: `fixed` ours, `paper` as published.
        max_turns: completions in one sample.
        calls_per_turn: tool calls that are executed after one of them.
    """
    warn_untested("inspect_ai")
    return Task(
        dataset=MemoryDataset([_sample(spec) for spec in _specs(envs).values()], name=Path(envs).name, location=envs),
        solver=play(envs, max_turns=max_turns, calls_per_turn=calls_per_turn),
        scorer=solve_scores(rule=rule, calls_per_turn=calls_per_turn),
    )


@lru_cache(maxsize=4)
def _specs(envs: str) -> Mapping[str, EnvSpec]:
    """The environments of a file by id; read once."""
    return {item.id: item.spec for item in load(Path(envs)).items() if item.spec is not None}


def _sample(spec: EnvSpec) -> Sample:
    answer = spec.scenario.answer
    return Sample(
        id=spec.id,
        input=[_given(message) for message in opening(spec).messages],
        target="" if answer is None else spelling(answer),
        metadata={"scenario": spec.scenario.kind or "unknown", "task": spec.task.model_dump(mode="json")},
    )


def _given(message: Message) -> ChatMessage:
    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    if message.role not in kinds or message.tool_calls:
        raise ValueError(f"an opening with a {message.role} message or with calls cannot be given to inspect_ai")
    return kinds[message.role](content=message.content)


# --- playing -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _sandbox() -> Sandbox:
    """The sandbox of this process: started at the first call, ended with the process."""
    box = Sandbox()
    atexit.register(box.close)
    return box


class _Tools:
    """The tools of one sample: a worker of the sandbox, opened at the first call."""

    def __init__(self, spec: EnvSpec, seed: int, calls_per_turn: int) -> None:
        self._spec, self._most = spec, calls_per_turn
        self._seed = derive_seed("environment", spec.id, seed)
        self._session: ToolSession | None = None
        self._calls = 0

    def definitions(self) -> list[ToolDef]:
        """Each tool as inspect_ai knows it. Results are not cut: the sandbox has a limit of its own."""
        return [
            ToolDef(
                self._call(tool.name),
                name=tool.name,
                description=tool.signature.description or tool.name,
                parameters=_parameters(tool.signature),
                max_output=0,
            )
            for tool in self._spec.tools
        ]

    def new_turn(self) -> None:
        self._calls = 0

    def _call(self, name: str) -> Any:
        async def execute(**kwargs: Any) -> str:
            self._calls += 1
            if self._calls > self._most:
                raise ToolError(f"Error: limit: at most {self._most} calls are executed in one turn")
            if self._session is None:
                sources = {tool.name: tool.source for tool in self._spec.tools}
                self._session = _sandbox().session(sources, state=self._spec.state, seed=self._seed)
            [result] = await self._session.abatch([(name, kwargs)])  # a failure of ours ends the sample, unscored
            if result.error is not None:
                raise ToolError(result.text)
            return result.content

        return execute

    def close(self) -> None:
        if self._session is not None:
            self._session.close()


def _parameters(signature: ToolSchema) -> ToolParams:
    """The schema as inspect_ai takes it: a parameter without a description, which it refuses, has its name for one."""
    parameters = ToolParams.model_validate(signature.parameters)
    for name, parameter in parameters.properties.items():
        parameter.description = parameter.description or name
    return parameters


@solver
def play(envs: str, max_turns: int = Limits().max_turns, calls_per_turn: int = Limits().calls_per_turn) -> Solver:
    """Gives each sample the tools of its environment, and lets the model play until it makes no call, or too long."""

    async def run(state: TaskState, generate: Generate) -> TaskState:
        tools = _Tools(_specs(envs)[str(state.sample_id)], state.epoch - 1, calls_per_turn)
        try:
            state.tools = [definition.as_tool() for definition in tools.definitions()]
            for _ in range(max_turns):
                tools.new_turn()
                state = await generate(state, tool_calls="single")
                if state.completed or not state.output.message.tool_calls:
                    break
        finally:
            tools.close()
        return state

    return run


# --- scoring -------------------------------------------------------------------------------------------------------


@scorer(metrics={name: [mean(), stderr()] for name in _METRICS})
def solve_scores(rule: Rule = "fixed", calls_per_turn: int = Limits().calls_per_turn) -> Scorer:
    """Solve-P, Solve-R, Solve-F1 and the final answer, by one of our two rules. NaN (unscored) where there is none."""
    if rule not in RULES:
        raise ValueError(f"rule: found {rule!r}, expected one of {', '.join(RULES)}")

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001 (the task knows the typed answer)
        graded = Graded.model_validate(state.metadata["task"])
        trajectory = to_trajectory(
            graded,
            state.messages,
            policy=str(state.model),
            sample=state.epoch - 1,
            calls_per_turn=calls_per_turn,
            cut_off=bool(state.output.choices) and state.output.stop_reason in ("max_tokens", "model_length"),
        )
        found = score_trajectory(trajectory)
        if found is None:
            return Score(value=dict.fromkeys(_METRICS, math.nan), explanation="the model was never asked: unscored")
        solve = found.paper if rule == "paper" else found.strict
        right = found.answer_right if rule == "fixed" else None  # the release has no score for it
        said = trajectory.turns[-1].completion.message.content
        return Score(
            value={
                "solve_p": solve.precision,
                "solve_r": solve.recall,
                "solve_f1": solve.f1,
                "answer": math.nan if right is None else float(right),
            },
            answer=said[-200:],
            explanation=f"{solve.solved} of {solve.goals} sub-questions, {solve.calls} calls, end: {trajectory.stop}",
            metadata={"turns": found.turns, "malformed": found.malformed, "echo_possible": found.echo_possible},
        )

    return score


def to_trajectory(
    graded: Graded,
    messages: Sequence[ChatMessage],
    *,
    policy: str,
    sample: int = 0,
    calls_per_turn: int = Limits().calls_per_turn,
    cut_off: bool = False,
) -> Trajectory:
    """A conversation of inspect_ai as our record, to be graded by our reward. Its turns carry no rewards yet.

    What stands before the model's first message is the prompt. `cut_off`: its last message ended at a limit. A call
    without a result (the sample was stopped) counts as one that was not executed.
    """
    return read_conversation(
        graded, list(_plain(messages)), policy=policy, sample=sample, calls_per_turn=calls_per_turn, cut_off=cut_off
    )


def _plain(messages: Sequence[ChatMessage]) -> Iterator[dict[str, Any]]:
    """The messages in OpenAI's form. Results follow in the order of their calls; ids may stand twice, so none are kept.

    A call that could not be read is not JSON here either.
    """
    waiting: list[InspectCall] = []
    for message in messages:
        if isinstance(message, ChatMessageTool):
            if waiting:
                yield {"role": "tool", "content": _text(waiting.pop(0), message)}
            continue
        plain: dict[str, Any] = {"role": message.role, "content": message.text}
        if isinstance(message, ChatMessageAssistant):
            waiting = list(message.tool_calls or ())
            parts = message.content if isinstance(message.content, list) else []
            plain["reasoning_content"] = "\n".join(
                part.reasoning for part in parts if isinstance(part, ContentReasoning)
            )
            plain["tool_calls"] = [
                {"function": {"name": call.function, "arguments": call.parse_error or call.arguments}}
                for call in waiting
            ]
        yield plain


def _text(call: InspectCall, reply: ChatMessageTool) -> str:
    """A result as our tools word it: inspect_ai refuses some calls before we see them."""
    if reply.error is None:
        return reply.text
    text = reply.error.message
    if call.parse_error:
        return f"Error: malformed_call: {explain(ToolCall(id='', name=call.function, arguments=call.parse_error))}"
    if text.startswith("Error: "):  # ours, with its kind
        return text
    if text == f"Tool {call.function} not found":
        return f"Error: unknown_tool: there is no tool {call.function[:80]!r}"
    return f"Error: raised: {reply.error.type}: {text}"
