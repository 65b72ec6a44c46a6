"""What plays: a policy maps a conversation and tool schemas to a completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from toolfoundry.types import Completion, Message, ToolSchema

__all__ = ["Policy"]


class Policy(Protocol):
    """The model under training or test. Raises a FoundryError where it cannot answer for no fault of the model."""

    async def __call__(self, messages: Sequence[Message], tools: Sequence[ToolSchema]) -> Completion: ...
