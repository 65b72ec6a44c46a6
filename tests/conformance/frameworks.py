"""The table of frameworks: how each plays a recorded episode, and what the support matrix says of it.

A new adapter is a new line here, and a module with `play(spec_file, spec_id, completions)`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from conformance.cases import SPECS, Case, play
from toolfoundry.reward import arguments_of, score_trajectory
from toolfoundry.sandbox import Sandbox

Player = Callable[[Case], Any]
_FLOAT32 = 2.0**-23  # rewards in [0, 1] that a framework keeps in single precision


class Framework(NamedTuple):
    """One line of the table.

    distribution: on PyPI; "" needs nothing. major: of the version, where two are supported at a time. player: given the
    file of environments, plays cases. tolerance: how far its reward may be from ours.
    """

    name: str
    title: str
    distribution: str
    player: Callable[[Path], Any]
    page: str
    use: str
    machinery: str
    tolerance: float = 0.0
    major: str = ""

    def version(self) -> str | None:
        """The version installed here; None where it is not, or is of the other major."""
        if not self.distribution:
            return ""
        try:
            found = metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None
        return found if found.startswith(self.major) else None

    def conforms(self, case: Case, found: Any) -> bool:
        """Whether what it gave is what our core gives: the reward, or for MCP the results of the calls."""
        if self.distribution == "mcp":
            return found == [
                [
                    None if arguments_of(call) is None else text
                    for call, text in zip(said.tool_calls, texts, strict=True)
                ]
                for said, texts in zip(case.said, case.results, strict=True)
            ]
        return isinstance(found, float) and abs(found - case.score) <= self.tolerance


@contextlib.contextmanager
def _core(spec_file: Path) -> Iterator[Player]:
    specs = {spec.id: spec for spec in SPECS}
    with Sandbox() as sandbox:

        def player(case: Case) -> float | None:
            trajectory = asyncio.run(play(specs[case.spec_id], case.said, sandbox))
            results = tuple(tuple(result.text for result in turn.results) for turn in trajectory.turns)
            assert results == case.results
            score = score_trajectory(trajectory)
            return None if score is None else score.value

        yield player


@contextlib.contextmanager
def _openenv(spec_file: Path) -> Iterator[Player]:
    from serve.drive_openenv import play_at, serving

    with serving(str(spec_file)) as url:
        yield lambda case: play_at(url, case.spec_id, case.said).reward


def _by(module: str) -> Callable[[Path], Any]:
    """The player of a module that plays one episode at a time."""

    @contextlib.contextmanager
    def player(spec_file: Path) -> Iterator[Player]:
        drive = importlib.import_module(module)
        yield lambda case: drive.play(spec_file, case.spec_id, list(case.said))

    return player


FRAMEWORKS: tuple[Framework, ...] = (
    Framework("core", "ToolFoundry", "", _core, "policies.md", "`toolfoundry rollout`", "our rollout"),
    Framework(
        "trl",
        "TRL",
        "trl",
        _by("conformance.drive_trl"),
        "trl-environments.md",
        "`environment_factory`",
        "GRPOTrainer's tool loop; tokens from a script",
        _FLOAT32,
    ),
    Framework(
        "verl",
        "verl",
        "verl",
        _by("conformance.drive_verl"),
        "verl.md",
        "`toolfoundry export verl`",
        "agent-loop worker; tokens from a script",
        _FLOAT32,
    ),
    Framework(
        "verifiers",
        "verifiers",
        "verifiers",
        _by("verifiers_backend.drive_verifiers"),
        "verifiers.md",
        "`toolfoundry export verifiers`",
        "rollout with its servers and scoring; model server on loopback",
    ),
    Framework(
        "openenv",
        "OpenEnv",
        "openenv",
        _openenv,
        "openenv.md",
        "`toolfoundry serve openenv`",
        "server and official client",
    ),
    Framework(
        "inspect",
        "inspect_ai",
        "inspect_ai",
        _by("conformance.drive_inspect"),
        "inspect.md",
        "`inspect eval toolfoundry/solve`",
        "evaluation with its mock model",
    ),
    Framework(
        "mcp2",
        "MCP",
        "mcp",
        _by("serve.drive_mcp"),
        "mcp.md",
        "`toolfoundry serve mcp`",
        "server and official client; tools only, results compared",
        major="2.",
    ),
    Framework(
        "mcp1",
        "MCP",
        "mcp",
        _by("serve.drive_mcp"),
        "mcp.md",
        "`toolfoundry serve mcp`",
        "server and official client; tools only, results compared",
        major="1.",
    ),
    Framework(
        "nemo-gym",
        "NeMo Gym",
        "",
        _by("conformance.drive_nemo_gym"),
        "nemo-gym.md",
        "`toolfoundry export nemo-gym`",
        "none of it is run: our row and grading of response items",
    ),
)
