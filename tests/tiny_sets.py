"""Environments of the tiny author, for tests: all five stages, nothing executed."""

from __future__ import annotations

import asyncio

from toolfoundry.build.authors.procedural.profile import TINY, Profile, Split
from toolfoundry.build.authors.procedural.tiny import TinyAuthor
from toolfoundry.build.decompose import decompose
from toolfoundry.build.deploy import deploy, deployed, to_spec
from toolfoundry.build.document import document
from toolfoundry.build.draft import Brief, Draft
from toolfoundry.build.integrate import integrate
from toolfoundry.build.scale import scale
from toolfoundry.types import EnvSpec


async def _draft(author: TinyAuthor, index: int, profile: Profile) -> Draft:
    draft = await decompose(Brief(index=index, origin="test"), author)
    draft = await scale(await integrate(await document(draft, author), author), author, profile.scaling)
    return deployed(draft, await deploy(draft, author))


def drafts(n: int, seed: int = 0, split: Split = "train", profile: Profile = TINY, first: int = 0) -> list[Draft]:
    """Drafts that have passed the judgement of all five stages."""

    async def build() -> list[Draft]:
        author = TinyAuthor(profile, seed, split)
        return [await _draft(author, index, profile) for index in range(first, first + n)]

    return asyncio.run(build())


def spec_of(draft: Draft, seed: int = 0) -> EnvSpec:
    return to_spec(draft, TinyAuthor(TINY, seed, "train").prompt(draft.scenario.question))
