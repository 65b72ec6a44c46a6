"""Stage 4, complexity scaling: generalised, expanded and retyped documents, and distractors beside them.

The four strategies of Ye et al. 2025 (Figure 2), each with a level (`Scaling`). The author rewrites the documents of
the gold tools and carries the gold arguments along; the stage checks that each strategy did what its level asks for,
and chooses the distractors: the nearest ones by similarity, the others at random.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, cast

from toolfoundry.answers import rules_out
from toolfoundry.build.asking import settle
from toolfoundry.build.author import Author
from toolfoundry.build.decompose import kind_of
from toolfoundry.build.document import complaints_about
from toolfoundry.build.draft import Change, Complaint, Documents, Draft
from toolfoundry.build.scaling import Scaling
from toolfoundry.build.similarity import nearness, word_weights
from toolfoundry.check.static import document_texts, telling
from toolfoundry.seeds import generator
from toolfoundry.types import ScenarioKind, ToolSchema

__all__ = ["choose_distractors", "distractor_count", "from_pool", "scale", "without_tools"]

LEAST_PARAMETERS = (0, 3, 5, 7)  # mean number a gold tool, by level of `expand`
PUBLISHED: dict[ScenarioKind, float] = {
    "single_hop": 6.96,
    "parallel_single_hop": 6.12,
    "multi_hop": 4.62,
    "parallel_multi_hop": 3.72,
}
MOST_TOOLS = 40
_FROM_POOL = "distractor from a pool"  # its source came with it


async def scale(draft: Draft, author: Author, scaling: Scaling) -> Draft:
    """The draft with its documents made harder and its distractors chosen. Raises Rejected."""
    scaled = await settle(partial(author.scale, draft, scaling), partial(_judge, draft, scaling), author)
    draft = draft.model_copy(
        update={
            "stage": "scale",
            "documents": scaled.documents,
            "calls": scaled.calls,
            "sources": {**draft.sources, **scaled.sources},
            "changes": (*draft.changes, *scaled.changes),
        }
    )
    wanted = author.tool_count(draft, scaling)
    count = distractor_count(draft, scaling) if wanted is None else max(0, wanted - len(draft.documents))
    if not count:
        return draft
    candidates = await author.distractors(draft, scaling)
    # An author's own distractors are made for the environment; those of a pool know nothing of it.
    fit = [d for d in candidates.documents if d.name not in candidates.sources or not _gives_away(d, draft)]
    return _extend(draft, candidates, choose_distractors(draft, fit, count, scaling.near))


def _judge(draft: Draft, scaling: Scaling, scaled: Documents) -> list[Complaint]:
    complaints = complaints_about(draft.scenario, scaled)
    if complaints:
        return complaints
    if len(scaled.documents) != len(draft.documents):
        found = f"found {len(scaled.documents)} documents, expected the same {len(draft.documents)} tools"
        return [Complaint("tools-changed", found)]
    return [*_levels(draft, scaling, scaled)]


def _levels(draft: Draft, scaling: Scaling, scaled: Documents) -> list[Complaint]:
    complaints: list[Complaint] = []
    counts = [len(_properties(document)) for document in scaled.documents]
    least = scaling.parameters or LEAST_PARAMETERS[scaling.expand]
    mean = sum(counts) / len(counts)
    if scaling.expand and mean < 0.6 * least:
        found = (
            f"the tools have {mean:.1f} parameters on average, expected about {least:g} (expand level {scaling.expand})"
        )
        complaints.append(Complaint("too-few-parameters", found))
    before = {document.name: document for document in draft.documents}
    parents = {change.tool: change.before for change in scaled.changes}
    for document in scaled.documents:
        old = before.get(document.name) or before.get(next(iter(parents.get(document.name, ())), ""))
        if old is None:
            detail = f"{document.name}: no change says which tool it was before"
            complaints.append(Complaint("change-unsaid", detail))
        elif not scaling.expand and _properties(document).keys() - _properties(old).keys() and not scaling.generalize:
            complaints.append(Complaint("switched-off", f"{document.name}: has new parameters, but expansion is off"))
    if scaling.retype == 3 and all(
        _plain(part) for document in scaled.documents for part in _properties(document).values()
    ):
        complaints.append(Complaint("too-few-types", "every parameter is a plain string (retype level 3)"))
    return complaints


def _properties(document: ToolSchema) -> dict[str, dict[str, Any]]:
    return cast("dict[str, dict[str, Any]]", document.parameters.get("properties", {}))


def _plain(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "string" and not schema.keys() & {"enum", "format", "pattern"}


def distractor_count(draft: Draft, scaling: Scaling) -> int:
    """How many distractors the level asks for: the same for the same brief."""
    if scaling.distractors is not None:
        return scaling.distractors
    room = max(0, MOST_TOOLS - len(draft.documents))
    mean = (0.0, 2.0, PUBLISHED[kind_of(draft.scenario.steps)], 22.0)[scaling.extend]
    rng = generator("distractors", draft.brief.origin, draft.brief.index)
    return min(room, round(mean * rng.uniform(0.6, 1.4)))


def choose_distractors(draft: Draft, candidates: Sequence[ToolSchema], count: int, near: float) -> list[ToolSchema]:
    """`count` of the candidates: the share `near` by their nearness to a gold tool, the rest at random.

    Candidates with the name of a tool in the draft, or of one chosen before, are passed over.
    """
    taken = {document.name for document in draft.documents}
    free = [candidate for candidate in candidates if candidate.name not in taken]
    free = list({candidate.name: candidate for candidate in reversed(free)}.values())[::-1]
    weights = word_weights([*draft.documents, *free])
    distance = {c.name: -max(nearness(c, document, weights) for document in draft.documents) for c in free}
    nearest = sorted(free, key=lambda candidate: distance[candidate.name])[: round(near * count)]
    chosen = {candidate.name for candidate in nearest}
    rest = [candidate for candidate in free if candidate.name not in chosen]
    rng = generator("far", draft.brief.origin, draft.brief.index)
    return [*nearest, *rng.sample(rest, min(len(rest), count - len(nearest)))]


def from_pool(draft: Draft) -> frozenset[str]:
    """The distractors that came with their source: not the author's work."""
    return frozenset(change.tool for change in draft.changes if change.detail == _FROM_POOL)


def without_tools(draft: Draft, names: Collection[str]) -> Draft:
    """The draft without some of its distractors."""
    return draft.model_copy(
        update={
            "documents": tuple(document for document in draft.documents if document.name not in names),
            "sources": {name: source for name, source in draft.sources.items() if name not in names},
            "changes": tuple(change for change in draft.changes if change.tool not in names),
        }
    )


def _gives_away(document: ToolSchema, draft: Draft) -> bool:
    texts = "\n".join(text for _, text in document_texts(document))
    return any(telling(step.answer) and not rules_out(step.answer, texts) for step in draft.scenario.steps)


def _extend(draft: Draft, candidates: Documents, chosen: Sequence[ToolSchema]) -> Draft:
    """The draft with the distractors among its tools, in an order that tells nothing."""
    documents = [*draft.documents, *chosen]
    generator("order", draft.brief.origin, draft.brief.index).shuffle(documents)
    sources = {tool.name: candidates.sources[tool.name] for tool in chosen if tool.name in candidates.sources}
    changes = [
        Change(strategy="extend", tool=tool.name, detail=_FROM_POOL if tool.name in sources else "distractor")
        for tool in chosen
    ]
    return draft.model_copy(
        update={
            "documents": tuple(documents),
            "sources": {**draft.sources, **sources},
            "changes": (*draft.changes, *changes),
        }
    )
