"""Plays given messages through inspect_ai: its evaluation of our task, with its mock model saying them."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolfoundry.reward import arguments_of
from toolfoundry.types import Message, ToolCall


def play(spec_file: Path, spec_id: str, completions: Sequence[Message]) -> float:
    """The episode score by the metrics that inspect_ai records: ½ Solve-F1 + ½ answer, or the first alone where an
    environment has no final answer."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        from inspect_ai import eval as run_eval
        from inspect_ai.model import get_model

        from toolfoundry.evaluate.inspect_tasks import solve

        model = get_model("mockllm/model", custom_outputs=_outputs(completions), memoize=False)
        [log] = run_eval(
            solve(str(spec_file)), model=model, sample_id=spec_id, log_dir=folder, display="none", fail_on_error=True
        )
        assert log.status == "success", log.error
        [sample] = log.samples
        found = sample.scores["solve_scores"].value
    return found["solve_f1"] if math.isnan(found["answer"]) else (found["solve_f1"] + found["answer"]) / 2


def _outputs(completions: Sequence[Message]) -> list[Any]:
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ModelOutput, ModelUsage

    outputs: list[Any] = []
    for said in completions:
        message = ChatMessageAssistant(
            content=said.content, tool_calls=[_call(call) for call in said.tool_calls] or None
        )
        choice = ChatCompletionChoice(message=message, stop_reason="tool_calls" if said.tool_calls else "stop")
        # Without its usage inspect_ai counts tokens itself, with a table that it would download.
        usage = ModelUsage(input_tokens=1, output_tokens=1)
        outputs.append(ModelOutput(model="mockllm", choices=[choice], usage=usage))
    return outputs


def _call(call: ToolCall) -> Any:
    """A call as inspect_ai's providers give it: what they cannot parse is kept as the error of parsing."""
    from inspect_ai.tool import ToolCall as InspectCall

    arguments = arguments_of(call)
    broken = f"Error parsing the arguments {call.arguments!r}" if arguments is None else None
    return InspectCall(id=call.id, function=call.name, arguments=arguments or {}, parse_error=broken)
