"""A set of environments as a folder that OpenEnv's tools build, validate and push.

The code that serves is not copied: `server/app.py` opens the set with the installed package, so that what runs is the
tested code of one version. The folder holds goals and gold calls, as the set does: it is the server's side, and clients
see none of it. Needs nothing of OpenEnv's.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from toolfoundry import __version__
from toolfoundry.errors import InputError, OutputError
from toolfoundry.frameworks import TESTED
from toolfoundry.policies.scripted import script
from toolfoundry.policies.wire import wire_messages
from toolfoundry.serve.openenv_tasks import Tasks
from toolfoundry.types import Message

__all__ = ["action_of", "export_openenv"]


def export_openenv(files: Mapping[str, Path], folder: Path, name: str = "toolfoundry_set") -> dict[str, int]:
    """Writes the folder and returns how many tasks each split has.

    Raises InputError for a name or split that cannot be one, and for sets that cannot be served (`Tasks`); OutputError
    where the folder cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise InputError(f"--name: found {name!r}, expected lower-case letters, digits and underscores")
    for split in files:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", split):
            raise InputError(f"found a split {split!r}, expected letters, digits, - and _")
    tasks = Tasks(files)
    counts = {split: len(tasks.of_split(split)) for split in tasks.splits}
    stored = {split: f"{split}.jsonl{'.zst' if path.suffix == '.zst' else ''}" for split, path in files.items()}
    played = next(_gold_episodes(tasks), None)
    texts = {
        "openenv.yaml": _manifest(name, counts, plan=played is not None),
        "pyproject.toml": _project(name, zst=any(file.endswith(".zst") for file in stored.values())),
        "Dockerfile": _DOCKERFILE,
        "README.md": _readme(name, counts),
        "__init__.py": "",
        "server/__init__.py": "",
        "server/app.py": _app(name, stored),
        "wheels/README": "A wheel of toolfoundry here is installed instead of one from an index.\n",
    }
    if played is not None:
        texts["validation/runtime.json"] = orjson.dumps(played, option=orjson.OPT_INDENT_2).decode() + "\n"
    try:
        for file, text in texts.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
        kept = folder / "server" / "environments"
        kept.mkdir(exist_ok=True)
        for split, path in files.items():
            shutil.copyfile(path, kept / stored[split])
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
    return counts


def action_of(said: Message) -> dict[str, Any]:
    """What a policy said, as OpenEnv's action `completion`."""
    [message] = wire_messages([said])
    return {"type": "completion", "message": message}


def _gold_episodes(tasks: Tasks) -> Iterator[dict[str, Any]]:
    """Episodes of gold calls as plans for `openenv validate`, which plays one and checks what the server answers.

    A plan has at most 100 actions and 64 KiB.
    """
    for split in tasks.splits:
        for spec in tasks.of_split(split):
            if spec.gold_calls:
                reset = {"episode_id": "gold", "seed": 0, "options": {"task_id": spec.id}}
                actions = [action_of(said) for said in script("gold", spec)]
                plan = {"plan_schema_version": "1", "reset": reset, "actions": actions}
                if len(actions) <= 100 and len(orjson.dumps(plan)) < 60_000:
                    yield plan


def _manifest(name: str, counts: Mapping[str, int], *, plan: bool) -> str:
    tasks = "\n".join(f"      {split}: {count}" for split, count in counts.items())
    execution = "  execution:\n    kind: openenv_ws\n    probe_path: validation/runtime.json\n" if plan else ""
    return f"""spec_version: 1
name: {name}
version: {__version__}
type: space
runtime: fastapi
app: server.app:app
port: 8000
validation:
{execution}  reward:
    range: [0.0, 1.0]
    oracle_tolerance: 0.0
    floor_margin: 0.5
  resources:
    cpu: 1.0
    memory_mb: 1024
    disk_mb: 1024
    episode_timeout_s: 300.0
  network:
    mode: no-network
  capabilities:
    verifier:
      kind: reward_channel
    task_api: true
    declared_task_count:
{tasks}
  types:
    tags: [tool-use]
"""


def _project(name: str, *, zst: bool) -> str:
    extras = "openenv,zst" if zst else "openenv"
    return f'''[build-system]
requires = ["setuptools>=69"]
build-backend = "setuptools.build_meta"

[project]
name = "openenv-{name.replace("_", "-")}"
version = "{__version__}"
description = "Questions to be answered with tools, served by ToolFoundry."
requires-python = ">=3.11"
dependencies = ["openenv=={TESTED["openenv"][-1]}", "toolfoundry[{extras}]=={__version__}"]

[project.scripts]
server = "{name}.server.app:main"

[tool.setuptools]
include-package-data = false
packages = ["{name}", "{name}.server"]
package-dir = {{ "{name}" = ".", "{name}.server" = "server" }}

[tool.setuptools.package-data]
"{name}.server" = ["environments/*"]
'''


def _app(name: str, stored: Mapping[str, str]) -> str:
    files = "\n".join(f'    "{split}": FOLDER / "{file}",' for split, file in stored.items())
    return f'''"""Serves the environments in this folder over OpenEnv."""

from pathlib import Path

from toolfoundry.sandbox import Sandbox
from toolfoundry.serve.openenv_server import open_app, run

FOLDER = Path(__file__).resolve().parent / "environments"
FILES = {{
{files}
}}

app = open_app(FILES, Sandbox(), name="{name}")


def main() -> None:
    run(app)


if __name__ == "__main__":
    main()
'''


_DOCKERFILE = """FROM python:3.12-slim
WORKDIR /app
COPY . .
RUN pip install --no-cache-dir --find-links wheels . && useradd --create-home player
USER player
EXPOSE 8000
HEALTHCHECK CMD python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health')"
CMD ["server", "--host", "0.0.0.0", "--port", "8000"]
"""


def _readme(name: str, counts: Mapping[str, int]) -> str:
    splits = "\n".join(f"| `{split}` | {count} |" for split, count in counts.items())
    first = next(iter(counts))
    return f"""---
title: {name}
sdk: docker
app_port: 8000
tags: [openenv]
---

# {name}

Questions to be answered with tools, each with tools of its own, served over OpenEnv by ToolFoundry {__version__}.

| split | tasks |
|---|---|
{splits}

```sh
pip install . && server  # on this machine
docker build -t {name} . && docker run -p 8000:8000 {name}  # or in a container
openenv validate --url http://127.0.0.1:8000
```

```python
from openenv.core.generic_client import GenericEnvClient

with GenericEnvClient(base_url="http://127.0.0.1:8000").sync() as env:
    opening = env.reset(split="{first}", index=0).observation  # messages and tool_schemas, in OpenAI's form
    step = env.step({{"type": "completion", "message": {{"role": "assistant", "content": "<answer>...</answer>"}}}})
    print(step.done, step.reward)
```

The rewards of an episode add up to its score, from 0 to 1. `pip` must find toolfoundry {__version__}: on an index, or
as a wheel in `wheels/`. This folder holds answers and gold calls; clients of the server get none of them.
"""
