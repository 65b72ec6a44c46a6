"""Builds over a user's tools with a model at a loopback endpoint: specifications, corrections, better wording, errors.

What the model says is recorded in `recorded/` and is our own writing.
"""

import json
import re

import pytest

pytest.importorskip("openai", reason="needs the extra openai")
pytest.importorskip("yaml", reason="needs the extra tools")

from pathlib import Path

from fake_openai_server import reply, serve
from own_tools_replay import RecordedModel
from toolfoundry.answers import equals, spelling
from toolfoundry.build.authors.llm.prompting import system_text
from toolfoundry.build.authors.llm.replies import read_calls, read_decomposition, read_rewording
from toolfoundry.build.decompose import complaints_about
from toolfoundry.build.draft import Decomposition, Reject, Step
from toolfoundry.build.own_tools.compose import Composition, documents_of
from toolfoundry.store import read
from toolfoundry.types import EnvSpec, Final, ToolSchema

EXAMPLES = Path(__file__).parents[2] / "examples" / "tools"
MODEL = ("--author", "llm", "--model", "m", "--concurrency", "1", "--set", "scaling.distractors=2", "--measure", "0")


def build(run, handler, file, output, *options):
    with serve(handler) as url:
        return run("build", "--tools", EXAMPLES / file, *MODEL, "--base-url", url, "-o", output, *options)


@pytest.mark.parametrize(("name", "file", "count"), [("museum", "museum.yaml", 8), ("railway", "railway.json", 4)])
def test_a_specification_becomes_environments(run, tmp_path, name, file, count):
    """Every recorded question is accepted: the specification's documents, the model's functions, all gates passed."""
    output = tmp_path / "e.jsonl"
    model = RecordedModel(name)
    code, _, errors = build(run, model, file, output, "-n", count)
    assert code == 0, errors
    specs = {spec.scenario.question: spec for spec in read(output, EnvSpec)}
    assert specs.keys() == {one["question"] for one in model.questions}
    for one in model.questions:
        spec = specs[one["question"]]
        assert spec.scenario.kind == one["scenario"]
        assert spec.proof.panel["gold"] == 1
        assert [goal.tool for goal in spec.goals] == [step[3] for step in one["steps"]]
        assert all(equals(goal.answer, str(step[2])) for goal, step in zip(spec.goals, one["steps"], strict=True))
        assert len(spec.tools) == len({goal.tool for goal in spec.goals}) + 2
    assert spec.provenance.source == "build/own-tools+llm:m"


def test_what_the_model_gets_wrong_goes_back_to_it(run, tmp_path):
    """A gold call to a tool that the file does not have is a complaint, and the second answer counts."""
    output = tmp_path / "e.jsonl"
    model = RecordedModel("museum")
    code, _, _ = build(run, model, "museum.yaml", output, "-n", 8)
    assert code == 0
    assert model.asked["document"] == len(model.questions) + 1
    corrections = [body["messages"][-1]["content"] for body in model.bodies if len(body["messages"]) == 4]
    assert any("there is no tool 'getPainter'" in text for text in corrections)


def test_started_again_nothing_is_asked_for(run, tmp_path):
    """Replies are kept: the same build from the same cache asks for nothing, and gives the same bytes."""
    first, again = tmp_path / "e.jsonl", tmp_path / "again.jsonl"
    cache = ("--cache", tmp_path / "replies.sqlite")
    assert build(run, RecordedModel("railway"), "railway.json", first, "-n", 4, *cache)[0] == 0
    silent = RecordedModel("railway")
    with serve(silent) as url:
        code, _, _ = run(
            *("build", "--tools", EXAMPLES / "railway.json", *MODEL, "--base-url", url, "-n", 4, "-o", again, *cache)
        )
    # the address is another one: replies are kept by what was asked for
    assert code == 0
    assert not silent.asked
    assert again.read_bytes() == first.read_bytes()


def test_a_model_that_declines(run, tmp_path):
    """After four tries for each that is wanted, and twenty, it ends: exit code 1, each reject with its reason."""
    output = tmp_path / "e.jsonl"
    code, _, _ = build(run, lambda request: reply("I cannot help with that."), "railway.json", output, "-n", 1)
    assert code == 1
    rejects = list(read(output.with_name("e.rejects.jsonl"), Reject))
    assert (len(rejects), {reject.reason for reject in rejects}) == (24, {"refused"})


def test_a_specification_without_a_model(run, tmp_path):
    """Exit code 3, and what is needed; a dry run shows what was read."""
    for file in ("museum.yaml", "railway.json"):
        code, _, errors = run("build", "--tools", EXAMPLES / file, "-o", tmp_path / "e.jsonl")
        assert code == 3
        assert "give --author llm, --model and --base-url" in errors
        code, shown, errors = run(
            "build", "--tools", EXAMPLES / file, "--dry-run", "--json", "-o", tmp_path / "e.jsonl"
        )
        assert (code, len(json.loads(shown)["tools"]["usable"])) == (0, 10), errors
    assert not list(tmp_path.iterdir())


# --- wording ---------------------------------------------------------------------------------------------------------


class Wording:
    """A model that words questions anew: it puts the old one into a letter. At first it loses what must be said."""

    def __init__(self, forgets: bool = False) -> None:
        self.forgets = forgets
        self.bodies = []

    def __call__(self, request):
        self.bodies.append(request.body)
        messages = request.body["messages"]
        data = json.loads(re.search(r"```json\n(.*?)\n```", messages[1]["content"], re.DOTALL)[1])
        first = not any(message["role"] == "assistant" for message in messages)
        steps = [{"id": step["id"], "question": f"Kindly: {step['question']}"} for step in data["steps"]]
        question = "I wonder." if self.forgets and first else f"Dear colleague, I wonder: {data['question']}"
        return reply(json.dumps({"question": question, "steps": steps}))


def test_a_model_words_the_questions(run, tmp_path):
    """Functions with a model: composed as without it, in other words; answers, calls and proof are the same."""
    plain, worded = tmp_path / "plain.jsonl", tmp_path / "worded.jsonl"
    options = ("-n", 8, "--measure", 0)
    assert (
        run("build", "--tools", EXAMPLES / "shop.py", "--set", "scaling.distractors=2", *options, "-o", plain)[0] == 0
    )
    model = Wording(forgets=True)
    code, _, errors = build(run, model, "shop.py", worded, *options)
    assert code == 0, errors
    before, after = list(read(plain, EnvSpec)), list(read(worded, EnvSpec))
    assert [spec.scenario.question for spec in after] == [
        f"Dear colleague, I wonder: {spec.scenario.question}" for spec in before
    ]
    for one, other in zip(before, after, strict=True):
        assert other.scenario.steps[0].question.startswith("Kindly: ")
        assert other.gold_calls == one.gold_calls
        assert spelling(other.scenario.answer) == spelling(one.scenario.answer)
        assert other.proof.panel["gold"] == 1
    lost = [body["messages"][-1]["content"] for body in model.bodies if len(body["messages"]) == 4]
    assert lost
    assert all("the question does not say" in text for text in lost)


def test_a_wording_that_tells_an_answer_is_rejected(run, tmp_path):
    """The checks of stage 1 hold for a model's words too."""

    def tell(request):
        data = json.loads(re.search(r"```json\n(.*?)\n```", request.body["messages"][1]["content"], re.DOTALL)[1])
        steps = [{"id": step["id"], "question": step["question"]} for step in data["steps"]]
        told = ", ".join(str(step["answer"]["value"]) for step in data["steps"])
        return reply(json.dumps({"question": f"{data['question']} (It is {told}.)", "steps": steps}))

    output = tmp_path / "e.jsonl"
    code, _, _ = build(run, tell, "shop.py", output, "-n", 1, "--attempts", 2)
    assert code == 1
    reasons = {(reject.stage, reject.reason) for reject in read(output.with_name("e.rejects.jsonl"), Reject)}
    assert reasons <= {("decompose", "answer-in-question"), ("decompose", "golden-in-question")}


# --- prompts ---------------------------------------------------------------------------------------------------------


def example(prompt):
    """The input of a prompt's example and the text of its reply."""
    data, text = system_text(prompt).split("# Example", 1)[1].split("Reply:\n", 1)
    return json.loads(re.search(r"```json\n(.*?)```", data, re.DOTALL)[1]), text


def test_the_examples_in_the_prompts_are_right():
    """A question over given tools, its calls, and other words for it: each passes what replies have to pass."""
    _, text = example("use-decompose")
    scenario = read_decomposition(text)
    assert complaints_about(scenario) == []
    data, text = example("use-document")
    assert [step["question"] for step in data["steps"]] == [step.question for step in scenario.steps]
    calls = read_calls(text, ["s1", "s2"], [document["name"] for document in data["documents"]])
    documents = {document["name"]: ToolSchema.model_validate(document) for document in data["documents"]}
    assert documents_of(Composition(scenario, calls), documents).calls == calls
    data, text = example("reword")
    steps = tuple(Step.model_validate(step) for step in data["steps"])
    final = Final(operation="answer", arguments={"value": {"$answer": "s2"}})
    given = Decomposition(question=data["question"], steps=steps, answer=steps[-1].answer, final=final)
    worded = read_rewording(text, given)
    assert complaints_about(worded) == []
    assert worded.question != given.question
    assert all(value in worded.question for value in data["must_say"])
