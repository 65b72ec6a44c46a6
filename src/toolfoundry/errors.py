"""Every exception that ToolFoundry raises on purpose, and the exit code the CLI gives it.

    FoundryError                 1   something of ours went wrong
    ├── InputError               3   a file, record or option of the user's is wrong
    │   ├── RecordError          3   one line or field of an artifact: file, line, field, found, expected
    │   ├── VersionError         3   an artifact of a schema version this release does not read
    │   └── ContextFull          3   a conversation leaves no room in the model's context; a rollout ends with it
    ├── MissingExtra             2   an optional dependency is not installed
    ├── SandboxError             4   the sandbox failed while it was running
    │   └── SandboxUnavailable   4   the sandbox cannot start here; nothing is executed
    ├── EndpointError            5   a model server failed after all retries
    ├── OutputError              6   an artifact cannot be written (disk full, no permission)
    └── BudgetExceeded           7   the next request to a model could cost more than is left of the budget

A mistake of the *model* (bad JSON, unknown tool, a tool that raises) is never an exception: it is a
`ToolResult.error` that the model reads. Exit code 1 is also what `check --strict` gives for a set with defects;
130 means interrupted.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson
from pydantic import ValidationError

__all__ = [
    "BudgetExceeded",
    "ContextFull",
    "EndpointError",
    "FoundryError",
    "InputError",
    "MissingExtra",
    "OutputError",
    "RecordError",
    "SandboxError",
    "SandboxUnavailable",
    "VersionError",
    "invalid_field",
    "skip_or_raise",
]


class FoundryError(Exception):
    """Base of all errors raised on purpose. `exit_code` is what the CLI exits with."""

    exit_code: int = 1


class InputError(FoundryError):
    """Something the user gave is wrong; the message is one line and says what was expected."""

    exit_code = 3


class RecordError(InputError, ValueError):
    """One record of an artifact is wrong.

    The message reads `FILE:LINE: field 'FIELD': found FOUND, expected EXPECTED`, with the parts that are known. It is
    a ValueError too, so that a record's own validator can raise it.
    """

    def __init__(
        self,
        *,
        expected: str,
        found: str | None = None,
        field: str | None = None,
        file: str | None = None,
        line: int | None = None,
    ) -> None:
        self.file, self.line, self.field, self.found, self.expected = file, line, field, found, expected
        place = "".join([file or "record", f":{line}" if line is not None else ""])
        where = f" field '{field}':" if field else ""
        what = f" found {found}, expected {expected}" if found is not None else f" expected {expected}"
        super().__init__(f"{place}:{where}{what}")

    def located(self, file: str, line: int) -> RecordError:
        """The same error, saying which line of which file it belongs to."""
        return RecordError(expected=self.expected, found=self.found, field=self.field, file=file, line=line)


def invalid_field(error: ValidationError, prefix: str = "") -> RecordError:
    """The first problem that pydantic found, as field, found and expected."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in ((prefix,) if prefix else ()) + first["loc"]) or None
    if isinstance(problem := first.get("ctx", {}).get("error"), RecordError):  # a validator of ours has said it all
        return problem
    found = orjson.dumps(first["input"], default=repr).decode()
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return RecordError(found=found[:80] + ("…" if len(found) > 80 else ""), expected=expected, field=field)


def skip_or_raise(problem: RecordError, skip_bad: bool, on_bad: Callable[[RecordError], None] | None) -> None:
    """Raises the problem, or, where bad records are passed over, gives it to `on_bad`."""
    if not skip_bad:
        raise problem from None
    if on_bad is not None:
        on_bad(problem)


class VersionError(InputError):
    """An artifact was written with a schema version that this release cannot read."""


class ContextFull(InputError):
    """A prompt leaves no room for a token in the model's context. A rollout that meets it has ended: stop `length`."""


class MissingExtra(FoundryError):
    """An optional dependency is needed and absent; the message is the one line to type."""

    exit_code = 2

    def __init__(self, extra: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(f"{purpose} needs an optional dependency: pip install 'toolfoundry[{extra}]'")


class SandboxError(FoundryError):
    """The sandbox itself failed (not the tool in it)."""

    exit_code = 4


class SandboxUnavailable(SandboxError):
    """The sandbox cannot be set up on this machine, so no tool code is run."""


class EndpointError(FoundryError):
    """A model server did not give a usable reply after all retries. `status`: of its last one, None if it had none."""

    exit_code = 5

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class OutputError(FoundryError):
    """An artifact could not be written; what was written before is intact."""

    exit_code = 6


class BudgetExceeded(FoundryError):
    """The next request could cost more than is left of the budget; it was not sent."""

    exit_code = 7
