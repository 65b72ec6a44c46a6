"""Plays every recorded episode through one framework and writes what came out: `run.py NAME`, in its environment.

Writes results/NAME.json: versions, and for each case the reward expected and found. Exit code 1 where one differs; 3
where the framework is not installed here.
"""

from __future__ import annotations

import contextlib
import json
import platform
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolfoundry
from conformance.cases import load, write_environments
from conformance.frameworks import FRAMEWORKS, Framework

RESULTS = Path(__file__).with_name("results")


def played(framework: Framework) -> dict[str, Any]:
    """Case -> what the framework gave, or the error with which it broke."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = write_environments(Path(folder) / "environments.jsonl")
        with framework.player(path) as player:
            for case in load():
                try:
                    found[case.id] = player(case)
                except Exception as failure:  # the other cases are played all the same, and this one does not conform
                    found[case.id] = f"{type(failure).__name__}: {failure}"
    return found


def main(name: str) -> int:
    framework = next(framework for framework in FRAMEWORKS if framework.name == name)
    version = framework.version()
    if version is None:
        print(f"{name}: not installed here")
        return 3
    with contextlib.redirect_stdout(sys.stderr):  # verl prints what it reads
        found = played(framework)
    cases = {case.id: case for case in load()}
    wrong = [key for key, case in cases.items() if not framework.conforms(case, found[key])]
    tools_only = framework.distribution == "mcp"
    result = {
        "framework": framework.title,
        "version": version,
        "toolfoundry": toolfoundry.__version__,
        "python": platform.python_version(),
        "conforms": not wrong,
        "cases": {
            key: {"expected": None if tools_only else case.score, "found": found[key], "equal": key not in wrong}
            for key, case in cases.items()
        },
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(
        f"{framework.title} {version}".strip() + f": {len(cases) - len(wrong)} of {len(cases)} episodes as in the core"
    )
    for key in wrong:
        print(f"  {key}: found {found[key]}, expected {cases[key].score}")
    return 1 if wrong else 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the frameworks' own; ours are what tests look at
    sys.exit(main(sys.argv[1]))
