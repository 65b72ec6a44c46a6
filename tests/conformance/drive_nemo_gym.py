"""Plays given messages as NeMo Gym records them: our row, a response's output items, and our grading of those.

Its server is not run (it needs Python 3.13.14): the items are made here as its simple agent writes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolfoundry.environment import Environment
from toolfoundry.formats.conversation import read_conversation
from toolfoundry.formats.nemo_gym import nemo_gym_row, response_messages
from toolfoundry.reward import score_trajectory
from toolfoundry.sandbox import Sandbox
from toolfoundry.store import load_record, read
from toolfoundry.types import EnvSpec, Message


def play(spec_file: Path, spec_id: str, completions: Sequence[Message]) -> float:
    """The score of the episode, from the row and the items alone."""
    spec = next(spec for spec in read(spec_file, EnvSpec) if spec.id == spec_id)
    row = nemo_gym_row(spec)
    output = asyncio.run(_output(spec, completions))
    known = load_record(EnvSpec, row["verifier_metadata"]["environment"].encode())
    asked = row["responses_create_params"]["input"]
    score = score_trajectory(read_conversation(known.task, [*asked, *response_messages(output)]))
    assert score is not None
    return score.value


async def _output(spec: EnvSpec, completions: Sequence[Message]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    with Sandbox() as sandbox, Environment(spec, sandbox) as environment:
        for said in completions:
            step = await environment.step(said)
            if said.content or not said.tool_calls:
                text = {"type": "output_text", "text": said.content, "annotations": []}
                items.append({"type": "message", "role": "assistant", "content": [text]})
            for call in said.tool_calls:
                items.append(
                    {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
                )
            for result in step.results:
                items.append({"type": "function_call_output", "call_id": result.call_id, "output": result.text})
    return items
