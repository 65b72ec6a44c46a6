"""The pages on the pipeline say what is true: the worked example, reasons of rejects, the author that one can copy."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hand_author import LIGHT, HandAuthor
from toolfoundry.build.construct import construct, prepare
from toolfoundry.build.deploy import deploy, deployed, to_spec
from toolfoundry.build.draft import STAGES, STRATEGIES, Brief, Draft
from toolfoundry.build.integrate import overlapping
from toolfoundry.build.ledger import YIELDS
from toolfoundry.sandbox import Sandbox
from toolfoundry.types import EnvSpec

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "stages" / f"{number}-{stage}.md" for number, stage in enumerate(STAGES, 1)]
SCALING = LIGHT.model_copy(update={"distractors": 2})


class Example(NamedTuple):
    """The question with two towers after each stage, and the environment that it becomes."""

    drafts: dict[str, Draft]
    spec: EnvSpec

    def shown(self, stage: str) -> list[Any]:
        """What the JSON blocks of a page hold, in their order."""
        draft = self.drafts[stage]
        calls = [call.model_dump(mode="json") for call in draft.calls]
        before = len(self.drafts[STAGES[STAGES.index(stage) - 1]].changes)
        changes = [change.model_dump(mode="json", exclude_defaults=True) for change in draft.changes[before:]]
        documents = {document.name: document.model_dump(mode="json") for document in draft.documents}
        match stage:
            case "decompose":
                return [draft.scenario.model_dump(mode="json", exclude_none=True)]
            case "document":
                return [documents["count_tower_steps"], calls]
            case "integrate":
                groups = [list(group) for group in overlapping(self.drafts["document"].documents)]
                return [groups, changes, calls]
            case "scale":
                return [documents["tower_count"]["parameters"], calls, changes]
            case _:
                assert self.spec.proof is not None
                gold = [call.model_dump() for call in self.spec.gold_calls or ()]
                results = {result.call_id: result.content for result in self.spec.proof.results}
                return [gold, results, self.spec.proof.panel]


def example(sandbox: Sandbox) -> Example:
    async def run() -> Example:
        author, brief = HandAuthor(), Brief(index=3, origin="towers")
        drafts = {stage: await prepare(brief, author, SCALING, until=stage) for stage in STAGES}
        outcome = await construct(brief, author, SCALING, sandbox)
        assert outcome.spec is not None
        return Example(drafts, outcome.spec)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def worked(sandbox) -> Example:
    return example(sandbox)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_worked_example(page, worked):
    """Every JSON value on the pages of the stages is what the code gives."""
    shown = worked.shown(page.stem.partition("-")[2])
    assert [json.loads(block) for block in blocks(page, "json")] == shown, json.dumps(shown, indent=1)


def test_the_source_that_is_shown(worked):
    [source] = blocks(PAGES[-1], "python")
    assert source == worked.drafts["deploy"].sources["tower_count"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_reason_is_explained(page):
    """All reasons for which a stage rejects, of those that its module knows."""
    source = (ROOT / "src" / "toolfoundry" / "build" / f"{page.stem.partition('-')[2]}.py").read_text()
    reasons = set(re.findall(r'Complaint\(\s*"([a-z-]+)"', source))
    assert reasons
    cells = re.findall(r"^\| ([^|]+) \|", page.read_text(), re.MULTILINE)
    told = {reason for cell in cells for reason in re.findall(r"`([a-z-]+)`", cell)}
    assert reasons <= told, reasons - told


def test_the_pipeline_page():
    """It names the yields and stages, links the page on each stage, and every link of the pages leads somewhere."""
    text = (ROOT / "docs" / "build.md").read_text()
    for name in (*YIELDS, *STRATEGIES):
        assert f"`{name}`" in text, name
    for page in PAGES:
        assert f"(stages/{page.name})" in text
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), target


def test_the_author_that_one_can_copy(tmp_path, monkeypatch, capsys):
    """It runs as it stands on the page, and prints what the page says."""
    page = ROOT / "docs" / "writing-an-author.md"
    [code] = [block for block in blocks(page, "python") if "build_with" in block]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page.name, "exec"), {"__name__": "example"})  # our own documentation, not a tool
    [printed] = [block for block in blocks(page, "text") if "accepted" in block]
    assert capsys.readouterr().out == printed
    assert sorted(place.name for place in tmp_path.iterdir()) == ["harbours.jsonl", "harbours.rejects.jsonl"]


def test_a_draft_that_was_shown_becomes_the_environment(worked):
    """The pages show one environment: what was drafted stage by stage is what was built at once."""
    draft = worked.drafts["scale"]
    done = deployed(draft, asyncio.run(deploy(draft, HandAuthor())))
    assert to_spec(done).id == worked.spec.id
