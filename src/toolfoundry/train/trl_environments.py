"""Our environments for TRL's own `environment_factory`: whoever trains with a plain GRPOTrainer gets tools and reward.

    read_calls(tokenizer, "hermes")                             TRL reads calls as our chat format does
    ours = environments_for_trl("envs.jsonl", tokenizer, sandbox)
    GRPOTrainer(..., train_dataset=ours.dataset, environment_factory=ours.factory, reward_funcs=ours.reward)

TRL takes the tools of an environment from its class. So `tools="family"` makes one class for each different set of
tools, and the column `environment` leads each row to its own; `tools="generic"` has one class with the one tool
`call_tool`, and the documents of the tools stand in the prompt.

The reward is the trajectory score of our core. It is a reward function and not TRL's `get_reward`: that is called
without the conversation, so it could not know the final answer, nor the calls that TRL itself refused. An episode
that cannot be scored is None, which TRL keeps out of means and advantages.

Not covered: notices of the environment (TRL has no place for them), images, TRL's asynchronous trainer.
"""
# pyright: basic

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import orjson

from toolfoundry.chat import chat_format, explain, markup
from toolfoundry.environment import opening, refusal
from toolfoundry.errors import FoundryError, InputError, MissingExtra
from toolfoundry.frameworks import warn_untested
from toolfoundry.reward import arguments_of, score_trajectory
from toolfoundry.sandbox import Sandbox
from toolfoundry.seeds import derive_seed
from toolfoundry.store import read
from toolfoundry.tokens import Dialect
from toolfoundry.types import (
    Completion,
    EnvSpec,
    Fault,
    Limits,
    Message,
    ToolCall,
    ToolResult,
    ToolSchema,
    Trajectory,
    Turn,
)

try:
    import trl
    from datasets import Dataset
    from trl.chat_template_utils import qwen3_template
except ImportError:
    raise MissingExtra("train", "environments for TRL") from None

from toolfoundry.policies.transformers import HFCodec
from toolfoundry.train.trl_rollouts import episode_metrics

__all__ = ["CALL_TOOL", "MAX_FAMILIES", "TrlEnvironments", "environments_for_trl", "read_calls"]

MAX_FAMILIES = 1000
"""How many classes are made at most: TRL makes an instance of each and compares the tools of all with one another."""

CALL_TOOL = ToolSchema(
    name="call_tool",
    description="Call one of the tools that are listed in the first message.",
    parameters={
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "The name of the tool."},
            "arguments": {"type": "object", "description": "Its arguments, as its document says."},
        },
        "required": ["name", "arguments"],
    },
)

_TEMPLATES = {"hermes": "qwen2_5.jinja", "qwen3": "qwen3.jinja"}


class TrlEnvironments(NamedTuple):
    """What GRPOTrainer takes. `causes` counts why episodes were not scored."""

    dataset: Dataset
    factory: Any
    reward: Callable[..., list[float | None]]
    causes: Counter[str]


def environments_for_trl(
    path: Path | str,
    tokenizer: Any,
    sandbox: Sandbox,
    *,
    tools: Literal["family", "generic"] = "family",
    max_families: int = MAX_FAMILIES,
) -> TrlEnvironments:
    """Dataset, factory and reward function for the environments of a file.

    Args:
        path: a file of environments. The dataset has a row for each: prompt, id, and with "family" the class's name.
        tokenizer: the one that the trainer gets; its end token tells an answer from one that was cut off.
        sandbox: runs the tools; it must stay open while TRL trains.
        tools: "family" shows each environment's tools as they are, "generic" one tool that calls them by name.
        max_families: more different sets of tools than this are an error, which says so.

    Raises InputError for an empty file, an opening that is more than text, or a tool that TRL cannot have as a method.
    """
    warn_untested("trl", trl.__version__)
    specs = {spec.id: spec for spec in read(Path(path), EnvSpec)}
    if not specs:
        raise InputError(f"{path}: has no environments")
    if tools == "generic":
        rows = [{"prompt": _listing_tools(spec), "environment_id": spec.id} for spec in specs.values()]
        factory: Any = _make_class("CallTool", [CALL_TOOL], specs, sandbox, generic=True)
    else:
        names: dict[tuple[bytes, ...], str] = {}
        factory, rows = {}, []
        for spec in specs.values():
            schemas = [tool.signature for tool in spec.tools]
            key = tuple(sorted(orjson.dumps(schema.as_function()) for schema in schemas))
            if key not in names:
                names[key] = f"Family{len(names)}"
                factory[names[key]] = _make_class(names[key], _methods(spec), specs, sandbox)
            rows.append({"prompt": _chat(spec), "environment_id": spec.id, "environment": names[key]})
        if len(factory) > max_families:
            found = f"found {len(factory)} different sets of tools"
            raise InputError(f'{path}: {found}, expected at most {max_families} (tools="generic" has no such limit)')
    causes: Counter[str] = Counter()
    return TrlEnvironments(Dataset.from_list(rows), factory, _reward(tokenizer, causes), causes)


def read_calls(tokenizer: Any, chat: str = "hermes") -> None:
    """Makes TRL read this tokenizer's completions as our chat format does. Changes the tokenizer in place.

    TRL takes a message with one call that it cannot read for plain text: its other calls are not executed, and the
    episode is over. Read this way, the good calls are executed, and the bad one gets an error for the model to read.
    A tokenizer without a chat template gets the one of the format. Raises InputError for an unknown format.
    """
    form = chat_format(chat)
    dialect = Dialect(form, HFCodec(tokenizer, form.end_tokens))
    if tokenizer.chat_template is None:
        tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / _TEMPLATES[chat]).read_text()
    tokenizer.response_template = qwen3_template  # both formats write calls like this; TRL asks whether there is one

    def parse_response(ids: Any, prefix: Any = None, tools: Any = None, **_: Any) -> dict[str, Any]:  # noqa: ARG001
        said = dialect.read(list(ids))
        message: dict[str, Any] = {"role": "assistant", "content": said.content}
        if said.thinking:
            message["reasoning_content"] = said.thinking
        if said.tool_calls:
            message["tool_calls"] = [_trl_call(call) for call in said.tool_calls]
        if said.faults:
            message["faults"] = [fault.model_dump() for fault in said.faults]
        return message

    tokenizer.parse_response = parse_response


def _trl_call(call: ToolCall) -> dict[str, Any]:
    """A call as TRL keeps it. To one of another type than "function" it replies that it does not support the type,
    and names it: so the type says what is wrong."""
    arguments = arguments_of(call)
    if arguments is None:
        return {"type": f"malformed_call: {explain(call)}", "name": call.name, "arguments": call.arguments}
    return {"type": "function", "function": {"name": call.name, "arguments": arguments}}


# --- prompts and classes ---------------------------------------------------------------------------------------------


def _chat(spec: EnvSpec) -> list[dict[str, str]]:
    messages = opening(spec).messages
    for message in messages:
        if message.role == "tool" or message.tool_calls:
            raise InputError(f"environment {spec.id}: its opening has calls or results, expected text alone")
    return [{"role": message.role, "content": message.content} for message in messages]


def _listing_tools(spec: EnvSpec) -> list[dict[str, str]]:
    documents = "\n".join(markup.dump(tool.signature.as_function()) for tool in spec.tools)
    first, *rest = _chat(spec)
    return [{**first, "content": f"The tools, to be called with call_tool:\n{documents}\n\n{first['content']}"}, *rest]


def _methods(spec: EnvSpec) -> list[ToolSchema]:
    for tool in spec.tools:
        if tool.name in ("reset", "get_reward") or tool.name.startswith("_"):
            expected = f"a name that is free in TRL, or tools={'generic'!r}"
            raise InputError(f"environment {spec.id}: found a tool named {tool.name!r}, expected {expected}")
    return [tool.signature for tool in spec.tools]


class _Tool(dict[str, Any]):
    """A tool as TRL takes it: a schema, which its chat templates show as it is, that can be called.

    From a plain method TRL would derive the schema, from annotations and docstring: bounds, defaults and whatever is
    inside of objects would be lost.
    """

    def __init__(self, schema: ToolSchema, run: Callable[[str, dict[str, Any]], str]) -> None:
        super().__init__(schema.as_function())
        self.__name__, self._run = schema.name, run

    def __call__(self, /, **arguments: Any) -> str:
        return self._run(self.__name__, arguments)


def _make_class(
    name: str, schemas: Sequence[ToolSchema], specs: Mapping[str, EnvSpec], sandbox: Sandbox, *, generic: bool = False
) -> type[_Environment]:
    """TRL looks for the names of tools in the class, and takes what an instance has under each name."""
    placeholders = {schema.name: lambda _: None for schema in schemas}
    about = {"_schemas": tuple(schemas), "_specs": specs, "_sandbox": sandbox, "_generic": generic}
    return type(name, (_Environment,), {**placeholders, **about, "__module__": __name__})


class _Environment:
    """One rollout slot of TRL: reset, played and reset again. Whatever has no underscore would be a tool for TRL."""

    _schemas: ClassVar[tuple[ToolSchema, ...]]
    _specs: ClassVar[Mapping[str, EnvSpec]]
    _sandbox: ClassVar[Sandbox]
    _generic: ClassVar[bool]

    def __init__(self) -> None:
        for schema in self._schemas:
            setattr(self, schema.name, _Tool(schema, self._run))
        self._spec: EnvSpec | None = None
        self._session: Any = None
        self._played: list[tuple[ToolCall, ToolResult]] = []
        self._failure: str | None = None

    def reset(self, environment_id: str, **_: Any) -> None:
        self._close()
        self._spec, self._played, self._failure = self._specs[environment_id], [], None

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _run(self, name: str, arguments: dict[str, Any]) -> str:
        """Executes a call and says what the model is to read. What fails on our side leaves the episode unscored."""
        assert self._spec is not None
        call = _call(name, arguments, generic=self._generic)
        error = refusal(call, {tool.name for tool in self._spec.tools})
        if error is not None:
            result = ToolResult(call_id=call.id, error=error)
        else:
            try:
                if self._session is None:
                    sources = {tool.name: tool.source for tool in self._spec.tools}
                    seed = derive_seed("environment", self._spec.id, 0)
                    self._session = self._sandbox.session(sources, state=self._spec.state, seed=seed)
                [result] = self._session.batch([(call.name, arguments_of(call) or {})])
            except Exception as failure:  # TRL would show it to the model and go on
                self._failure = self._failure or f"{type(failure).__name__}: {failure}"[:2000]
                raise
        self._played.append((call, result))
        return result.text

    def _trajectory(self, completion: Sequence[Mapping[str, Any]], *, cut_off: bool) -> Trajectory:
        """The episode as our record: TRL's messages, and the results of our own tools as they were."""
        assert self._spec is not None
        played = list(self._played)
        turns: list[Turn] = []
        count = 0
        said = [message for message in completion if message["role"] == "assistant"]
        for place, message in enumerate(said):
            calls = tuple(self._said_call(raw, f"call_{count + i}") for i, raw in enumerate(_calls_in(message)))
            count += len(calls)
            results: list[ToolResult] = []
            for index, call in enumerate(calls):
                if played and (played[0][0].name, played[0][0].arguments) == (call.name, call.arguments):
                    result = played.pop(0)[1].model_copy(update={"call_id": call.id})
                else:  # TRL refused it, or stopped before it
                    error = refusal(call, {tool.name for tool in self._spec.tools}) or "limit: not executed"
                    result = ToolResult(call_id=call.id, error=error)
                if index >= Limits().calls_per_turn:  # TRL has no such limit; the reward has
                    result = ToolResult(call_id=call.id, error="limit: too many calls in one turn")
                results.append(result)
            faults = [Fault(**fault) for fault in message.get("faults") or ()]
            last = place == len(said) - 1 and message is completion[-1]
            if last and cut_off and not any(fault.kind == "unfinished" for fault in faults):
                faults.append(Fault(kind="unfinished"))
            completed = Message(
                role="assistant",
                content=message.get("content") or "",
                thinking=message.get("reasoning_content") or "",
                tool_calls=calls,
                faults=tuple(faults),
            )
            turns.append(Turn(completion=Completion(message=completed), results=tuple(results)))
        failure = self._failure or (None if turns else "the policy said nothing")
        final = turns[-1].completion.message if turns else None
        stop = "max_turns" if final is None or final.tool_calls else "length" if final.faults else "answered"
        return Trajectory(
            task=self._spec.task,
            policy="trl",
            prompt=opening(self._spec).messages,
            turns=tuple(turns),
            stop="error" if failure else stop,
            error=failure,
        )

    def _said_call(self, raw: Mapping[str, Any], call_id: str) -> ToolCall:
        if raw["type"] != "function":
            return ToolCall(id=call_id, name=raw["name"], arguments=raw["arguments"])
        function = raw["function"]
        call = _call(function["name"], function["arguments"], generic=self._generic)
        return call.model_copy(update={"id": call_id})


def _call(name: str, arguments: Any, *, generic: bool) -> ToolCall:
    """The call that is meant. Through `call_tool` it names a tool of the environment, or cannot be read."""
    if generic and name == CALL_TOOL.name:
        named = arguments if isinstance(arguments, Mapping) else {}
        inner = named.get("arguments", {})
        text = inner if isinstance(inner, str) else markup.dump(inner)
        wanted = named.get("name")
        return ToolCall(id="", name=markup.well_formed(wanted) if isinstance(wanted, str) else "", arguments=text)
    return ToolCall(id="", name=markup.well_formed(name), arguments=markup.dump(arguments))


def _calls_in(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The calls of a message. One that TRL gave up reading is all text: then they are read as Qwen writes them."""
    calls = message.get("tool_calls")
    if calls or "<tool_call>" not in (message.get("content") or ""):
        return calls or ()
    return [_trl_call(call) for call in chat_format("qwen3").parse(message["content"]).tool_calls]


# --- reward ----------------------------------------------------------------------------------------------------------


def _reward(tokenizer: Any, causes: Counter[str]) -> Callable[..., list[float | None]]:
    def episode_score(
        completions: Sequence[Sequence[Mapping[str, Any]]],
        completion_ids: Sequence[Sequence[int]],
        environments: Sequence[_Environment],
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float | None]:
        """The trajectory score of each episode in [0, 1]; None where something of ours failed."""
        ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
        trajectories: list[Trajectory] = []
        for environment, completion, ids in zip(environments, completions, completion_ids, strict=True):
            trajectories.append(environment._trajectory(completion, cut_off=not ids or ids[-1] not in ends))
            environment._close()  # its worker is free until the next episode
        scores = [score_trajectory(trajectory) for trajectory in trajectories]
        causes.update(trajectory.error for trajectory in trajectories if trajectory.error)
        if all(score is None for score in scores):
            raise FoundryError(f"none of {len(scores)} episodes could be scored: {trajectories[0].error}")
        if log_metric is not None:
            for name, value in episode_metrics(trajectories).items():
                log_metric(name, value)
            log_metric("unscored", sum(score is None for score in scores))
        return [None if score is None else score.value for score in scores]

    return episode_score
