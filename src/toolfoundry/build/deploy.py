"""Stage 5, localized deployment: Python functions behind the documents.

The author writes a source for every document that has none; `to_spec` puts the draft together as an environment.
Nothing counts before the tools were run: that is `toolfoundry.build.verify`, and what it finds goes back to the author.
"""

from __future__ import annotations

from functools import partial

import orjson

from toolfoundry.answers import stands_in
from toolfoundry.build.asking import Settled, settle_further
from toolfoundry.build.author import Author, Feedback
from toolfoundry.build.decompose import kind_of, rendered
from toolfoundry.build.draft import Complaint, Deployment, Draft
from toolfoundry.build.scale import from_pool
from toolfoundry.symbolic import resolve
from toolfoundry.types import EnvSpec, Goal, Message, Provenance, Scenario, SubQuestion, Tool, ToolCall

__all__ = ["complaints_about", "deploy", "deploy_further", "deployed", "to_spec"]


async def deploy(draft: Draft, author: Author) -> Deployment:
    """Sources for all documents that have none. Raises Rejected."""
    return (await deploy_further(draft, author, None, 0)).value


async def deploy_further(draft: Draft, author: Author, feedback: Feedback | None, asked: int) -> Settled[Deployment]:
    """The same for an author that was asked `asked` times; `feedback`: what running its last sources showed."""
    return await settle_further(
        partial(author.deploy, draft), partial(complaints_about, draft), author, feedback, asked
    )


def complaints_about(draft: Draft, given: Deployment) -> list[Complaint]:
    """What is wrong with the sources for a draft's documents, as texts that their author can act on."""
    documented = {document.name for document in draft.documents}
    sources = {**draft.sources, **given.sources}
    complaints = [
        Complaint("source-missing", f"{name}: there is no source") for name in sorted(documented - sources.keys())
    ]
    unknown = sorted({*given.sources, *(trial.tool for trial in given.trials)} - documented)
    complaints += [Complaint("unknown-tool", f"{name}: there is no document of that name") for name in unknown]
    others = sorted(given.sources.keys() & from_pool(draft))
    return complaints + [Complaint("source-unasked", f"{name}: has a source already, leave it out") for name in others]


def deployed(draft: Draft, deployment: Deployment) -> Draft:
    """The draft with sources and trials."""
    return draft.model_copy(
        update={
            "stage": "deploy",
            "sources": {**draft.sources, **deployment.sources},
            "trials": (*draft.trials, *deployment.trials),
        }
    )


def to_spec(draft: Draft, prompt: tuple[Message, ...] = ()) -> EnvSpec:
    """The environment that a deployed draft describes, without its proof."""
    scenario = draft.scenario
    answers = {step.id: step.answer for step in scenario.steps}
    steps = tuple(
        SubQuestion(id=step.id, question=rendered(step, scenario.steps), answer=step.answer, needs=step.needs)
        for step in scenario.steps
    )
    arguments = {call.step: resolve(call.arguments, answers) for call in draft.calls}
    tools = {call.step: call.tool for call in draft.calls}
    return EnvSpec.create(
        scenario=Scenario(
            question=scenario.question, answer=scenario.answer, kind=kind_of(scenario.steps), steps=steps
        ),
        tools=tuple(Tool(signature=document, source=draft.sources[document.name]) for document in draft.documents),
        goals=tuple(
            Goal(
                id=step.id,
                tool=tools[step.id],
                answer=step.answer,
                needs=step.needs,
                echo_ok=stands_in(step.answer, arguments[step.id]),
            )
            for step in scenario.steps
        ),
        gold_calls=tuple(
            ToolCall(id=call.step, name=call.tool, arguments=orjson.dumps(arguments[call.step]).decode())
            for call in draft.calls
        ),
        prompt=prompt,
        provenance=Provenance(
            source=f"build/{draft.author}",
            location=draft.brief.origin,
            labels={"index": draft.brief.index},
            changes=tuple(
                _said(change.strategy, change.tool, change.before, change.detail) for change in draft.changes
            ),
        ),
    )


def _said(strategy: str, tool: str, before: tuple[str, ...], detail: str) -> str:
    return f"{strategy}: {tool}{' from ' + ', '.join(before) if before else ''}: {detail}"
