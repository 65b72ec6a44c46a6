"""Mechanical repairs: what source and schema say of each other is made to agree, and nothing else is touched.

    repaired, changes = repair(spec)

Questions, goldens and gold calls stay as they are, and so does the result of every call that worked before. What was
changed is written into the provenance; a specification with nothing to repair comes back unchanged, with its own id.
Not covered: what needs judgement (dead parameters, leaks, wrong goldens): the audit names it, and people mend it.
"""

from __future__ import annotations

from typing import NamedTuple

from toolfoundry.check.source import read_source
from toolfoundry.repair.schema import repair_schema
from toolfoundry.repair.source import repair_source
from toolfoundry.types import EnvSpec, Tool

__all__ = ["Repaired", "repair"]


class Repaired(NamedTuple):
    """A specification, and what was changed in it, one line for each change ("" of them: nothing)."""

    spec: EnvSpec
    changes: tuple[str, ...]


def repair(spec: EnvSpec) -> Repaired:
    """The repaired specification. Repairing it again changes nothing."""
    given = frozenset({"data"}) if spec.state is not None else frozenset[str]()
    repaired = [_tool(tool, given) for tool in spec.tools]
    changes = tuple(f"{one.tool.name}: {change}" for one in repaired for change in one.changes)
    if not changes:
        return Repaired(spec, ())
    provenance = spec.provenance.model_copy(
        update={"parent": spec.id, "changes": (*spec.provenance.changes, *changes), "original": None}
    )
    return Repaired(spec.replace(tools=tuple(one.tool for one in repaired), provenance=provenance), changes)


class _Mended(NamedTuple):
    tool: Tool
    changes: tuple[str, ...]


def _tool(tool: Tool, given: frozenset[str]) -> _Mended:
    """One tool; `given`: parameters that the environment passes, not the model."""
    code = repair_source(tool.source, tool.name)
    try:
        source = read_source(code.text, tool.name)
    except (ValueError, LookupError, RecursionError):
        source = None
    schema = repair_schema(tool.signature.parameters, source, given)
    changes = (*code.changes, *schema.changes)
    if not changes:
        return _Mended(tool, ())
    signature = tool.signature.model_copy(update={"parameters": schema.parameters})
    return _Mended(Tool(signature=signature, source=code.text), changes)
