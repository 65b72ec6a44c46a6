"""Prompts are the vendors' own, byte for byte: by golden files, and by the templates themselves where trl is."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.conversations import CONVERSATIONS, conversations, says, toolboxes, user
from toolfoundry.chat import FORMATS, chat_format
from toolfoundry.errors import InputError
from toolfoundry.types import Message, ToolCall, ToolSchema

GOLDEN = Path(__file__).parent / "golden"
MODES = {"hermes": ("hermes", False), "qwen3-thinking": ("qwen3", True), "qwen3-direct": ("qwen3", False)}
TEMPLATES = {"hermes": "qwen2_5", "qwen3": "qwen3"}


@pytest.fixture(scope="session")
def vendor():
    """The vendor's rendering, by its template in trl and an environment set up as transformers does."""
    jinja2_sandbox = pytest.importorskip("jinja2.sandbox")
    spec = importlib.util.find_spec("trl")
    if spec is None or spec.origin is None:
        pytest.skip("trl, which carries the vendors' templates, is not installed")
    environment = jinja2_sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    folder = Path(spec.origin).parent / "chat_templates"
    templates = {
        name: environment.from_string((folder / f"{stem}.jinja").read_text()) for name, stem in TEMPLATES.items()
    }

    def render(name: str, messages: list[Message], tools: list[ToolSchema], *, generation: bool, thinking: bool) -> str:
        return templates[name].render(
            messages=[_as_template_input(name, message) for message in messages],
            tools=[tool.as_function() for tool in tools] or None,
            add_generation_prompt=generation,
            enable_thinking=thinking,
        )

    return render


def _as_template_input(name: str, message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.role == "assistant":
        plain["reasoning_content"] = message.thinking
    if message.tool_calls:
        calls = [{"name": call.name, "arguments": _arguments(name, call)} for call in message.tool_calls]
        plain["tool_calls"] = [{"type": "function", "function": call} for call in calls]
    return plain


def _arguments(name: str, call: ToolCall) -> Any:
    """JSON as its value, any other text as it is. Qwen3 writes a string as it is, so there a JSON string stays JSON."""
    try:
        value = json.loads(call.arguments)
    except ValueError:
        return call.arguments
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) and name == "qwen3" else value


@pytest.mark.parametrize("mode", MODES)
def test_golden_prompts(mode: str, request: pytest.FixtureRequest):
    """Every golden conversation renders to what the vendor's template wrote when the golden file was made."""
    name, thinking = MODES[mode]
    file = GOLDEN / f"{mode}.json"
    if request.config.getoption("--update-golden", False):
        vendor = request.getfixturevalue("vendor")
        made = {
            case: vendor(name, messages, tools, generation=True, thinking=thinking).splitlines(keepends=True)
            for case, (messages, tools) in CONVERSATIONS.items()
        }
        file.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n")
    golden = {case: "".join(lines) for case, lines in json.loads(file.read_text()).items()}
    assert golden.keys() == CONVERSATIONS.keys()
    for case, (messages, tools) in CONVERSATIONS.items():
        assert FORMATS[name].render(messages, tools, generation=True, thinking=thinking) == golden[case], case


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=500, deadline=None)
@given(messages=conversations, tools=toolboxes, generation=st.booleans(), thinking=st.booleans())
def test_equals_the_vendors_template(vendor, name, messages, tools, generation, thinking):
    """Any conversation at all, markup and control tokens in its texts included, renders as the template renders it."""
    ours = FORMATS[name].render(messages, tools, generation=generation, thinking=thinking)
    assert ours == vendor(name, messages, tools, generation=generation, thinking=thinking)


@pytest.mark.parametrize("name", FORMATS)
def test_an_unreadable_call_is_written_back_as_the_model_wrote_it(name: str):
    """A template cannot express a call without a name; the model sees its own text, in its place."""
    messages = [user("?"), says("Hm.", ("", '{"name": '), ("clock", "{}"))]
    text = FORMATS[name].render(messages, [], generation=False, thinking=False)
    assert text.endswith(
        'Hm.\n<tool_call>\n{"name": \n</tool_call>\n<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
        "<|im_end|>\n"
    )


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_conversation_is_an_input_error(name: str):
    """The templates fail on no messages with an error of their own; here it is one line."""
    with pytest.raises(InputError, match="found none"):
        FORMATS[name].render([], [], generation=True, thinking=False)


def test_an_unknown_format_is_an_input_error():
    """The message names the formats that exist."""
    with pytest.raises(InputError, match="found 'llama9', expected one of hermes, qwen3"):
        chat_format("llama9")
