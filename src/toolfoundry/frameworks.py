"""Which versions of other frameworks the adapters were tested with, and a warning for any other.

The conformance tests (`make conformance`) play recorded episodes through each framework and hold its rewards against
ours. The versions that they ran with stand here; a test compares this table with their results.
"""

from __future__ import annotations

import warnings
from importlib import metadata

__all__ = ["TESTED", "UntestedVersion", "warn_untested"]

TESTED: dict[str, tuple[str, ...]] = {
    "trl": ("1.16.0",),
    "verl": ("0.9.1",),
    "inspect_ai": ("0.3.285",),
    "verifiers": ("0.4.0",),
    "openenv": ("0.10.0",),
    "mcp": ("1.30.0", "2.3.0"),
}
"""Name of the distribution on PyPI -> versions, oldest first."""


class UntestedVersion(UserWarning):
    """An installed framework is of another version than those its adapter was tested with."""


def warn_untested(framework: str, found: str | None = None) -> None:
    """Warns, naming both versions, where the installed framework is of a version that was not tested.

    `found`: its version; None asks the installed packages. What is not installed gives no warning: the import says it.
    Raises KeyError for a framework that has no adapter.
    """
    tested = TESTED[framework]
    if found is None:
        try:
            found = metadata.version(framework)
        except metadata.PackageNotFoundError:
            return
    if found not in tested:
        warnings.warn(
            f"{framework} {found} is installed; this adapter was tested with {' and '.join(tested)}",
            UntestedVersion,
            stacklevel=2,
        )
