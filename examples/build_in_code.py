"""Builds environments from a seed and writes them: python examples/build_in_code.py [COUNT] [FILE]"""

import asyncio
import sys
from pathlib import Path

from toolfoundry.build.authors.procedural.profile import PROFILES
from toolfoundry.build.construct import construct
from toolfoundry.build.pipeline import Recipe
from toolfoundry.sandbox import Sandbox
from toolfoundry.store import RecordWriter
from toolfoundry.types import EnvSpec


async def main(count: int, path: Path) -> None:
    recipe = Recipe(profile=PROFILES["tiny"], seed=7)
    author, written = recipe.author(), 0
    with Sandbox() as sandbox, RecordWriter(path, EnvSpec, "replace") as writer:
        for brief in recipe.briefs():
            outcome = await construct(brief, author, recipe.profile.scaling, sandbox)
            if outcome.reject is not None:  # what failed says where and why
                print("rejected:", outcome.reject.stage, outcome.reject.reason)
            elif outcome.spec is not None:
                writer.write(outcome.spec)
                print(outcome.spec.scenario.question)
                written += 1
            if written == count:
                return


if __name__ == "__main__":
    asyncio.run(
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 4, Path(sys.argv[2] if len(sys.argv) > 2 else "envs.jsonl"))
    )
