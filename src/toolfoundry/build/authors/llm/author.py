"""The author behind which a language model stands: each stage is one conversation, checked and corrected.

    async with LLMAuthor(LLMConfig(model="Qwen/Qwen3-8B", base_url="http://127.0.0.1:8000/v1")) as author:
        outcome = await construct(brief, author, Scaling(), sandbox)

A reply is data. It is read into the records of the stages or refused with a complaint; what a stage or a gate finds
wrong goes back in the same conversation, `attempts` times in all. Nothing in a reply decides what is checked, and its
code is run nowhere but in the sandbox.

Not covered: judging whether an answer is true. A question without one gets the model's own, and the tools give that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar, get_args

import orjson
from pydantic import Field, JsonValue, model_validator

from toolfoundry.build.author import Feedback
from toolfoundry.build.authors.llm.batch import BatchFiles, Wave
from toolfoundry.build.authors.llm.cache import Prices, ReplyCache, Spent
from toolfoundry.build.authors.llm.completions import Completions, Structured
from toolfoundry.build.authors.llm.endpoint import Endpoint, Transport
from toolfoundry.build.authors.llm.prompting import Prompt, answer_data, asking, correction, prompt_hashes, system_text
from toolfoundry.build.authors.llm.replies import (
    DECOMPOSITION,
    DOCUMENTS,
    MERGES,
    SCALED,
    Given,
    read_decomposition,
    read_deployment,
    read_documents,
    read_merges,
    read_scaled,
)
from toolfoundry.build.authors.llm.requests import ChatMessage, ChatRequest, TokenField
from toolfoundry.build.authors.llm.structured import Unreadable
from toolfoundry.build.draft import (
    Brief,
    Complaint,
    Decomposition,
    Deployment,
    Documents,
    Draft,
    Rejected,
    Stage,
    Strategy,
)
from toolfoundry.build.questions import decomposition_from
from toolfoundry.build.scaling import Scaling
from toolfoundry.errors import EndpointError, InputError
from toolfoundry.policies.openai import VENDOR_URL, OpenAIPolicy, checked_url
from toolfoundry.seeds import generator
from toolfoundry.symbolic import resolve
from toolfoundry.types import EnvSpec, Message, Record, ScenarioKind, Tool

__all__ = ["MOST_TOKENS", "LLMAuthor", "LLMConfig", "Usage", "pool_of"]

MOST_TOKENS: dict[Stage, int] = {
    "decompose": 3000,
    "document": 6000,
    "integrate": 4000,
    "scale": 12000,
    "deploy": 16000,
}
"""The token limit of a reply by stage. A reply that is cut off is asked for once more, with twice as many."""

_REFUSED = (400, 413, 422)  # the endpoint does not take this request; another one it may
_CONVERSATIONS = 512  # kept in memory; a correction of an older one starts from the record instead
R = TypeVar("R", bound=Record)


class LLMConfig(Record):
    """What an LLM author is made of; no key is in it, so it can stand in a run file.

    model, base_url: as the endpoint knows them. api_key_env: the variable with the key (see `OpenAIPolicy`).
    cache: the SQLite file of replies. batch_dir: where requests are written as Batch files in place of being sent.
    structured: how JSON is asked for. temperature, top_p: sent where not None. extra_body: further fields of every
    request. attempts: how often a stage asks.
    seed: another one asks for other replies to the same requests. concurrency, timeout_s, max_retries: of requests.
    price_in, price_out: of a million tokens; budget: what all requests of the cache may cost together.
    """

    model: str
    base_url: str = VENDOR_URL
    api_key_env: str | None = None
    cache: Path = Path("replies.sqlite")
    batch_dir: Path | None = None
    structured: Structured = "auto"
    temperature: float | None = 0.7
    top_p: float | None = None
    extra_body: dict[str, JsonValue] = {}
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    seed: int = 0
    concurrency: Annotated[int, Field(ge=1)] = 16
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    max_retries: Annotated[int, Field(ge=0)] = 5
    price_in: Annotated[float, Field(ge=0)] | None = None
    price_out: Annotated[float, Field(ge=0)] | None = None
    budget: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _without_secrets(self) -> LLMConfig:
        checked_url(self.base_url)  # before it is written anywhere, also where nothing is sent
        return self

    @property
    def prices(self) -> Prices:
        return Prices(prompt=self.price_in, completion=self.price_out)

    @property
    def token_field(self) -> TokenField:
        """OpenAI's newer models refuse `max_tokens`, and other servers know no other name."""
        return "max_completion_tokens" if self.base_url.rstrip("/") == VENDOR_URL else "max_tokens"


class Usage(NamedTuple):
    """What this process did, and what the cache holds. cost: of all replies in the cache, None without prices."""

    from_cache: int
    received: int
    spent: Spent
    cost: float | None

    def __str__(self) -> str:
        spent = self.spent
        text = f"{self.received:,} replies received, {self.from_cache:,} from the cache; in all {spent.replies:,} with "
        text += f"{spent.prompt_tokens:,} prompt and {spent.completion_tokens:,} completion tokens"
        text += "" if self.cost is None else f", cost {self.cost:.4f}"
        text += f"; {spent.estimated:,} estimated" if spent.estimated else ""
        text += f"; {spent.repeated:,} lost in flight and sent again" if spent.repeated else ""
        return text + (f"; {spent.open:,} in flight" if spent.open else "")


@dataclass
class _Conversation:
    """The conversation about one stage of one item. parts: sources that earlier replies gave, kept for deployment."""

    stage: Stage
    messages: list[ChatMessage]
    form: dict[str, JsonValue] | None
    asked: int = 0
    parts: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, text: str) -> None:
        self.messages.append(ChatMessage(role="assistant", content=text.strip() or "(an empty reply)"))

    def correct(self, complaints: Sequence[Complaint]) -> None:
        self.messages.append(ChatMessage(role="user", content=correction(complaints)))


class LLMAuthor:
    """The author. Close it, or use it as an async context manager.

    Args:
        config: see `LLMConfig`.
        pool: tools with source from which distractors are chosen (see `pool_of`).
        transport: where replies come from, in place of what the config says.
    Raises:
        InputError: a budget without prices, or an unusable address. MissingExtra: the SDK is not installed.
    """

    trusted = False

    def __init__(self, config: LLMConfig, *, pool: Sequence[Tool] = (), transport: Transport | None = None) -> None:
        if config.budget is not None and not config.prices.known:
            raise InputError("budget: found no prices, expected price_in and price_out for a million tokens")
        self.config = config
        self.name = f"llm:{config.model}"
        self.attempts = config.attempts
        self._pool = {tool.name: tool for tool in reversed(pool)}
        self._cache = ReplyCache(config.cache)
        self._batch = BatchFiles(config.batch_dir, self._cache) if config.batch_dir and transport is None else None
        self._transport = transport or self._batch or _endpoint(config)
        self._completions = Completions(
            self._cache,
            self._transport,
            # A Batch file gives no chance to try: the vendor's endpoint takes schemas.
            structured="json_schema" if self._batch and config.structured == "auto" else config.structured,
            server=f"{config.base_url} {config.model}",
            prices=config.prices,
            budget=config.budget,
        )
        self._talks: OrderedDict[int, _Conversation] = OrderedDict()

    async def __aenter__(self) -> LLMAuthor:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes connections and cache."""
        await self._transport.aclose()
        self._cache.close()

    def finish(self) -> Wave | None:
        """Writes the requests that were collected as the next wave of Batch files; None where there is no batch."""
        return self._batch.write() if self._batch else None

    def usage(self) -> Usage:
        spent = self._cache.spent()
        cost = spent.cost(self.config.prices) if self.config.prices.known else None
        return Usage(self._completions.from_cache, self._completions.received, spent, cost)

    def prompt_hashes(self) -> dict[str, str]:
        """The SHA-256 of every prompt file, by its name."""
        return prompt_hashes()

    # --- the stages ----------------------------------------------------------------------------------------------

    def prompt(self, question: str) -> tuple[Message, ...]:  # noqa: ARG002
        return ()

    def tool_count(self, draft: Draft, scaling: Scaling) -> int | None:  # noqa: ARG002
        return None

    async def decompose(self, brief: Brief, feedback: Feedback | None = None) -> Decomposition:
        if feedback is None and (given := decomposition_from(brief)) is not None:
            return given
        return await self.ask(
            "decompose", brief, _brief_data(brief, self.config.seed), lambda text, _: read_decomposition(text), feedback
        )

    async def document(self, draft: Draft, feedback: Feedback | None = None) -> Documents:
        data: dict[str, JsonValue] = {"question": draft.scenario.question, "steps": _steps(draft)}
        return await self.ask(
            "document", draft.brief, data, lambda text, _: read_documents(text, Given(draft)), feedback
        )

    async def integrate(
        self, draft: Draft, overlaps: Sequence[tuple[str, ...]], feedback: Feedback | None = None
    ) -> Documents:
        if not overlaps:
            return Documents(documents=draft.documents, calls=draft.calls)
        shown = {name for group in overlaps for name in group}
        groups: list[JsonValue] = [list(group) for group in overlaps]
        data: dict[str, JsonValue] = {"overlaps": groups, "steps": _steps(draft), **_documents(draft, shown)}
        return await self.ask("integrate", draft.brief, data, lambda text, _: read_merges(text, Given(draft)), feedback)

    async def scale(self, draft: Draft, scaling: Scaling, feedback: Feedback | None = None) -> Documents:
        levels = {"generalize": scaling.generalize, "expand": scaling.expand, "retype": scaling.retype}
        asked_for: list[Strategy] = [name for name in get_args(Strategy) if levels.get(name)]
        if not asked_for:
            return Documents(documents=draft.documents, calls=draft.calls)
        data: dict[str, JsonValue] = {
            "question": draft.scenario.question,
            "levels": {**levels, **({"parameters": scaling.parameters} if scaling.parameters else {})},
            "steps": _steps(draft),
            **_documents(draft, {document.name for document in draft.documents}),
        }
        return await self.ask(
            "scale", draft.brief, data, lambda text, _: read_scaled(text, Given(draft), asked_for), feedback
        )

    async def distractors(self, draft: Draft, scaling: Scaling) -> Documents:  # noqa: ARG002
        return Documents(
            documents=tuple(tool.signature for tool in self._pool.values()),
            calls=(),
            sources={name: tool.source for name, tool in self._pool.items()},
        )

    async def deploy(self, draft: Draft, feedback: Feedback | None = None) -> Deployment:
        wanted = [document.name for document in draft.documents if document.name not in draft.sources]
        if not wanted:
            return Deployment(sources={})
        previous = feedback.previous if feedback else None
        before = previous.sources if isinstance(previous, Deployment) else {}
        data: dict[str, JsonValue] = {"question": draft.scenario.question, "documents": _to_deploy(draft, wanted)}

        def read(text: str, parts: Mapping[str, str]) -> Deployment:
            found = read_deployment(text, wanted, {**before, **parts})
            trials = found.trials or (previous.trials if isinstance(previous, Deployment) else ())
            return found.model_copy(update={"trials": trials})

        return await self.ask("deploy", draft.brief, data, read, feedback)

    # --- asking --------------------------------------------------------------------------------------------------

    async def ask(
        self,
        stage: Stage,
        brief: Brief,
        data: Mapping[str, JsonValue],
        read: Callable[[str, Mapping[str, str]], R],
        feedback: Feedback | None,
        *,
        prompt: Prompt | None = None,
        form: dict[str, JsonValue] | None = None,
    ) -> R:
        """What can be read out of the model's reply. Raises Rejected after `attempts` requests for this stage.

        `read` is given the text of a reply, and the sources that earlier replies of the conversation gave. `prompt` and
        `form` are the stage's own unless another author says others.
        """
        talk = self._conversation(stage, brief, data, feedback, prompt or stage, form or _FORMS.get(stage))
        complaints: Sequence[Complaint] = ()
        if feedback is not None:
            complaints = feedback.complaints
            talk.correct(complaints)
        while True:
            if talk.asked >= self.attempts and complaints:
                detail = "; ".join(complaint.detail for complaint in complaints)
                raise Rejected(complaints[0].reason, detail, talk.asked)
            text = await self._reply(talk, _salt(brief, self.config.seed))
            talk.asked += 1
            talk.add(text)
            try:
                found = read(text, talk.parts)
            except Unreadable as problem:
                talk.parts = problem.partial
                complaints = problem.complaints
                talk.correct(complaints)
            else:
                talk.parts = {}
                return found

    def _conversation(
        self,
        stage: Stage,
        brief: Brief,
        data: Mapping[str, JsonValue],
        feedback: Feedback | None,
        prompt: Prompt,
        form: dict[str, JsonValue] | None,
    ) -> _Conversation:
        """The conversation so far: the one in memory, or a new one, which with feedback begins with what was given."""
        talk = self._talks.get(brief.index)
        if feedback is None or talk is None or talk.stage != stage:
            opening = [
                ChatMessage(role="system", content=system_text(prompt)),
                ChatMessage(role="user", content=asking(data)),
            ]
            talk = _Conversation(stage, opening, form)
            if feedback is not None and feedback.previous is not None:
                talk.add(orjson.dumps(feedback.previous.model_dump(mode="json", exclude_none=True)).decode())
                talk.asked = 1
            self._talks[brief.index] = talk
        self._talks.move_to_end(brief.index)
        while len(self._talks) > _CONVERSATIONS:
            self._talks.popitem(last=False)
        return talk

    async def _reply(self, talk: _Conversation, salt: str) -> str:
        """The text of the model's reply, asked for with twice the tokens where it was cut off. Raises Rejected."""
        limit = MOST_TOKENS[talk.stage]
        for max_tokens in (limit, 2 * limit):
            request = ChatRequest(
                model=self.config.model,
                messages=tuple(talk.messages),
                max_tokens=max_tokens,
                temperature=self.config.temperature,
                top_p=self.config.top_p,
                form=talk.form,
                extra=self.config.extra_body,
                salt=salt,
                token_field=self.config.token_field,
            )
            try:
                reply = await self._completions.complete(request)
            except EndpointError as error:
                if error.status in _REFUSED and self._completions.received + self._completions.from_cache:
                    raise Rejected("endpoint", str(error), talk.asked + 1) from None
                raise  # nothing has worked yet: the command is wrong, not the item
            if reply.finish == "filter":
                raise Rejected("refused", "the endpoint's content filter stopped the reply", talk.asked + 1)
            if reply.finish == "stop":
                return reply.text
            talk.asked += 1 if max_tokens == limit else 0
        raise Rejected("truncated", f"the reply was cut off, also at {2 * limit} tokens", talk.asked + 1)


_FORMS: dict[Stage, dict[str, JsonValue]] = {
    "decompose": DECOMPOSITION,
    "document": DOCUMENTS,
    "integrate": MERGES,
    "scale": SCALED,
    # Functions come in fenced blocks: code that is escaped into JSON strings comes out worse.
}


def _endpoint(config: LLMConfig) -> Endpoint:
    return Endpoint(
        OpenAIPolicy(
            config.model,
            base_url=config.base_url,
            api_key_env=config.api_key_env,
            timeout_s=config.timeout_s,
            max_retries=config.max_retries,
            concurrency=config.concurrency,
        )
    )


def _salt(brief: Brief, seed: int) -> str:
    """Equal questions share a reply; equal topics are to become different questions."""
    return str(seed) if brief.question is not None else f"{seed} {brief.origin} {brief.index}"


def pool_of(environments: Iterable[EnvSpec]) -> list[Tool]:
    """The tools of environments that can be distractors in others: those that need no state."""
    return [tool for environment in environments if environment.state is None for tool in environment.tools]


# --- what the model is shown ---------------------------------------------------------------------------------------


def _brief_data(brief: Brief, seed: int) -> dict[str, JsonValue]:
    data: dict[str, JsonValue] = {}
    if brief.question is not None:
        data["question"] = brief.question
    else:
        kind = generator("scenario", seed, brief.origin, brief.index).choice(get_args(ScenarioKind))
        data |= {"topic": brief.topic or "any subject that suits a table of facts", "scenario": kind}
    if brief.answer is not None:
        data["answer"] = answer_data(brief.answer)
    if brief.steps:
        data["first_decomposition"] = [
            {"question": step.question, "answer": answer_data(step.answer)} for step in brief.steps
        ]
    return data


def _steps(draft: Draft) -> list[JsonValue]:
    return [
        {"id": step.id, "question": step.question, "answer": answer_data(step.answer)} for step in draft.scenario.steps
    ]


def _documents(draft: Draft, names: set[str]) -> dict[str, JsonValue]:
    documents: list[JsonValue] = [d.model_dump(mode="json") for d in draft.documents if d.name in names]
    calls: list[JsonValue] = [call.model_dump(mode="json") for call in draft.calls if call.tool in names]
    return {"documents": documents, "calls": calls}


def _to_deploy(draft: Draft, wanted: Sequence[str]) -> list[JsonValue]:
    answers = {step.id: step.answer for step in draft.scenario.steps}
    questions = {step.id: step.question for step in draft.scenario.steps}
    documents: list[JsonValue] = []
    for document in draft.documents:
        if document.name in wanted:
            gold: list[JsonValue] = [
                {
                    "step": call.step,
                    "question": questions[call.step],
                    "arguments": resolve(call.arguments, answers),
                    "answer": answer_data(answers[call.step]),
                }
                for call in draft.calls
                if call.tool == document.name
            ]
            documents.append({**document.model_dump(mode="json"), "gold": gold})
    return documents
