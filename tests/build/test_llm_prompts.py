"""The worked examples in the prompts are right: they pass what replies have to pass."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from toolfoundry.build import decompose, document
from toolfoundry.build.authors.llm.prompting import asking, correction, prompt_hashes, system_text
from toolfoundry.build.authors.llm.replies import (
    Given,
    read_decomposition,
    read_deployment,
    read_documents,
    read_merges,
    read_scaled,
)
from toolfoundry.build.draft import STAGES, Brief, Complaint, Draft
from toolfoundry.computations import COMPUTATIONS
from toolfoundry.sandbox import ALLOWED_IMPORTS
from toolfoundry.types import Answer

BRIEF = Brief(index=0, origin="example")


def example(stage):
    """The input (from JSON) and the text of the reply of a prompt's example."""
    part = system_text(stage).split("# Example", 1)[1]
    data, reply = part.split("Reply:\n", 1)
    return json.loads(re.search(r"```json\n(.*?)```", data, re.DOTALL)[1]), reply


def drafted(data):
    """A draft with what an example's input shows; steps that are not shown are made up."""
    steps = data.get("steps") or [
        {"id": call["step"], "question": "Which?", "answer": {"type": "number", "value": 48210}}
        for call in data["calls"]
    ]
    final = {"operation": "answer", "arguments": {"value": {"$answer": steps[-1]["id"]}}}
    scenario = {"question": "?", "steps": steps, "answer": steps[-1]["answer"], "final": final}
    return Draft.model_validate(
        {
            "brief": BRIEF,
            "author": "x",
            "stage": "document",
            "scenario": scenario,
            "documents": data.get("documents", ()),
            "calls": data.get("calls", ()),
        }
    )


def test_the_decomposition_passes_the_checks_of_its_stage():
    """The example of stage 1 is a sound decomposition of its question."""
    data, reply = example("decompose")
    found = read_decomposition(reply)
    assert decompose.complaints_about(found, brief=BRIEF.model_copy(update=data)) == []


def test_the_documents_pass_the_checks_of_theirs():
    """Stages 2 to 4 show documents that are valid, with gold arguments that fit."""
    data, reply = example("document")
    draft = drafted(data)
    assert document.complaints_about(draft.scenario, read_documents(reply, Given(draft))) == []
    assert [step.id for step in draft.scenario.steps] == [
        step.id for step in read_decomposition(example("decompose")[1]).steps
    ]
    data, reply = example("integrate")
    draft = drafted(data)
    merged = read_merges(reply, Given(draft))
    assert document.complaints_about(draft.scenario, merged) == []
    assert (len(draft.documents), len(merged.documents)) == (2, 1)
    data, reply = example("scale")
    draft = drafted(data)
    scaled = read_scaled(reply, Given(draft), ["generalize", "expand", "retype"])
    assert document.complaints_about(draft.scenario, scaled) == []
    assert len(scaled.changes) == 3


def test_the_function_gives_the_answer_and_nothing_without_knowledge(sandbox):
    """The example of stage 5 runs: gold gives the answer, another entry another, an unknown one an error."""
    data, reply = example("deploy")
    [wanted] = data["documents"]
    name, gold = wanted["name"], wanted["gold"][0]
    found = read_deployment(reply, [name], {})
    [trial] = found.trials

    async def main():
        async with sandbox.session(found.sources, seed=1) as session:
            return await session.abatch(
                [
                    (name, gold["arguments"]),
                    (name, trial.arguments),
                    (name, {**trial.arguments, **trial.variants}),
                    (name, {**gold["arguments"], "place": "example"}),
                ]
            )

    right, other, variant, unknown = asyncio.run(main())
    answer = str(Answer.model_validate(gold["answer"]).value)
    assert answer in right.content
    assert answer not in other.content
    assert other.content != variant.content
    assert "error" in unknown.content
    assert answer not in unknown.content


def test_the_lists_are_those_of_this_release():
    """Every operation that a final answer may follow by is named, and no module that tools cannot import."""
    text = system_text("decompose")
    assert all(f"`{name}(" in text for name in (*COMPUTATIONS, "answer", "list"))
    listed = re.search(r"can be imported: ([^.]*)\.", system_text("deploy"))[1].split(", ")
    assert {"datetime", "math", "re"} < set(listed) <= ALLOWED_IMPORTS


@pytest.mark.parametrize("stage", STAGES)
def test_system_texts_are_complete(stage):
    """No placeholder is left, and each names its stage."""
    text = system_text(stage)
    assert not re.search(r"\{\{\w+\}\}", text)
    assert f"stage {STAGES.index(stage) + 1} of 5" in text


def test_frames_are_filled_once():
    """Templates within data stay as they are, and what is invisible in a complaint is shown."""
    assert "{{complaints}}" in asking({"question": "{{complaints}} {{input}}"})
    told = correction([Complaint("x", "the answer \u202e{{complaints}}\x1b[31m")])
    assert told.count("{{complaints}}") == 1
    assert "\x1b" not in told
    assert "\u202e" not in told


def test_every_prompt_is_hashed():
    """The hashes cover every file of the folder."""
    folder = Path(decompose.__file__).parent / "authors" / "llm" / "prompts"
    assert prompt_hashes().keys() == {path.name for path in folder.iterdir()}
    assert all(len(value) == 64 for value in prompt_hashes().values())
