"""Conversations for fine-tuning: the two forms, and what has no place in them."""

import asyncio
import json

import pytest

from fakes import TABLE, CannedExecutor, assistant, call, capital_spec
from toolfoundry.errors import RecordError
from toolfoundry.formats.chat_rows import chat_row, gold_conversations
from toolfoundry.policies.scripted import make
from toolfoundry.rollout import run_rollout
from toolfoundry.store import RecordWriter
from toolfoundry.types import Completion, EnvSpec, Trajectory, Turn


def played(name="gold", spec=None):
    spec = spec or capital_spec()
    return asyncio.run(run_rollout(make(name, spec), spec, CannedExecutor(TABLE), name=name))


def said(*messages):
    """A trajectory in which nothing came back."""
    turns = tuple(Turn(completion=Completion(message=message)) for message in messages)
    return played().model_copy(update={"turns": turns})


def test_openais_form_has_no_key_that_openai_does_not_know():
    """Each call's arguments are text, each call is answered by its id, and what was thought is left out."""
    row = chat_row(played(), capital_spec(), "openai")
    assert list(row) == ["messages", "tools"]
    known = {"system": 0, "user": {"role", "content"}, "tool": {"role", "content", "tool_call_id"}}
    known["assistant"] = {"role", "content", "tool_calls"}
    calls = [call for message in row["messages"] for call in message.get("tool_calls", ())]
    assert calls
    assert all(set(message) <= known[message["role"]] for message in row["messages"])
    assert all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in calls)
    answered = [message["tool_call_id"] for message in row["messages"] if message["role"] == "tool"]
    assert answered == [call["id"] for call in calls]
    thoughtful = chat_row(said(assistant("Mira", thinking="Hm.")), capital_spec(), "openai")
    assert "Hm." not in json.dumps(thoughtful)


def test_the_form_for_templates_has_objects_and_thinking():
    """Otherwise it is the same: templates write arguments themselves, and know `reasoning_content`."""
    plain, other = (chat_row(played(), capital_spec(), form) for form in ("openai", "template"))
    for one, two in zip(plain["messages"], other["messages"], strict=True):
        for text, same in zip(one.get("tool_calls", ()), two.get("tool_calls", ()), strict=True):
            assert json.loads(text["function"]["arguments"]) == same["function"]["arguments"]
    thoughtful = chat_row(said(assistant("Mira", thinking="Hm.")), capital_spec(), "template")
    assert thoughtful["messages"][-1] == {"role": "assistant", "content": "Mira", "reasoning_content": "Hm."}


def test_a_hugging_face_template_renders_the_calls():
    """A template that walks through the arguments, as Qwen's and Llama's do, finds an object there."""
    jinja2 = pytest.importorskip("jinja2", reason="needs the extra report")
    template = jinja2.Environment(autoescape=False).from_string(
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
        "{% for k, v in c.function.arguments.items() %} {{ k }}={{ v }}{% endfor %};{% endfor %}{% endfor %}"
    )
    assert template.render(chat_row(played(), capital_spec(), "template")).startswith("author_of x=")


def test_what_is_no_example_is_an_error():
    """A call that cannot be read, a rollout that failed, and one in which nothing was said."""
    unreadable = call("author_of", "x").model_copy(update={"arguments": "{"})
    with pytest.raises(RecordError, match="cannot be read"):
        chat_row(said(assistant("", unreadable)), capital_spec(), "openai")
    for broken in (said(), played().model_copy(update={"stop": "error", "error": "x"})):
        with pytest.raises(RecordError, match="failed or said nothing"):
            chat_row(broken, capital_spec(), "openai")


def test_gold_conversations_come_in_the_order_of_the_set():
    """Environments without gold calls have none."""
    specs = [capital_spec(state={"n": n}) for n in range(70)]
    unknown = capital_spec().replace(gold_calls=None)
    found = list(gold_conversations([unknown, *specs], CannedExecutor(TABLE)))
    assert [spec.id for spec, _ in found] == [spec.id for spec in specs]
    assert [trajectory.task.spec_id for _, trajectory in found] == [spec.id for spec in specs]


def test_the_command(tmp_path, run):
    """Recorded conversations with their environments; what scored too little is left out and counted."""
    spec = capital_spec()
    envs, recorded, rows = tmp_path / "envs.jsonl", tmp_path / "played.jsonl", tmp_path / "rows.jsonl"
    with RecordWriter(envs, EnvSpec) as writer:
        writer.write(spec)
    with RecordWriter(recorded, Trajectory) as writer:
        for name in ("gold", "answer-only", "silent"):
            writer.write(played(name))
    code, out, err = run("export", "chat", envs, "--trajectories", recorded, "--min-score", 0.5, "-o", rows, "--json")
    assert code == 0, err
    assert json.loads(out) == {"rows": 2, "left_out": 1, "skipped": 0}
    first = json.loads(rows.read_text().splitlines()[0])
    assert first == chat_row(played(), spec, "openai")
    assert run("export", "chat", envs, "--trajectories", recorded, "-o", rows)[0] == 6
    assert run("export", "chat", envs, "--trajectories", envs, "-o", tmp_path / "no.jsonl")[0] == 3
    assert run("export", "chat", envs, "--trajectories", recorded, "-o", tmp_path / "no.parquet")[0] == 6
    with RecordWriter(tmp_path / "other.jsonl", EnvSpec) as writer:
        writer.write(capital_spec(state={"n": 1}))
    code, _, err = run(
        "export", "chat", tmp_path / "other.jsonl", "--trajectories", recorded, "-o", tmp_path / "x.jsonl"
    )
    assert code == 3
    assert "another environment" in err
