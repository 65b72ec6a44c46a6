"""Stage 3, function integration: documents whose functions overlap become one, n documents to m <= n.

Documents that are likely to overlap are found by similarity; which of them do the same thing is the author's to say,
since two documents can look alike and be different. Checked: no step loses its tool, every document that is gone is
named by the merge it went into, every merge is used, and all that must hold for documents still holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from toolfoundry.build.asking import settle
from toolfoundry.build.author import Author
from toolfoundry.build.document import complaints_about
from toolfoundry.build.draft import Complaint, Documents, Draft
from toolfoundry.build.similarity import nearness, word_weights
from toolfoundry.types import ToolSchema

__all__ = ["integrate", "overlapping"]

OVERLAP = 0.5  # nearness from which two documents are shown to the author as a possible pair


async def integrate(draft: Draft, author: Author) -> Draft:
    """The draft with fewer documents, or the same ones where nothing overlaps. Raises Rejected."""
    overlaps = overlapping(draft.documents)
    merged = await settle(partial(author.integrate, draft, overlaps), partial(_judge, draft), author)
    return draft.model_copy(
        update={
            "stage": "integrate",
            "documents": merged.documents,
            "calls": merged.calls,
            "changes": (*draft.changes, *merged.changes),
        }
    )


def overlapping(documents: Sequence[ToolSchema], threshold: float = OVERLAP) -> list[tuple[str, ...]]:
    """Groups of names of documents that are alike, directly or through others; each in the order of the documents."""
    weights = word_weights(documents)
    group = list(range(len(documents)))
    for i, one in enumerate(documents):
        for j in range(i):
            if group[i] != group[j] and nearness(one, documents[j], weights) >= threshold:
                old, new = max(group[i], group[j]), min(group[i], group[j])
                group = [new if member == old else member for member in group]
    found = [tuple(documents[i].name for i, g in enumerate(group) if g == first) for first in sorted(set(group))]
    return [names for names in found if len(names) > 1]


def _judge(draft: Draft, merged: Documents) -> list[Complaint]:
    return [*_merges(draft, merged), *complaints_about(draft.scenario, merged)]


def _merges(draft: Draft, merged: Documents) -> list[Complaint]:
    complaints: list[Complaint] = []
    before = {document.name: document for document in draft.documents}
    after = {document.name: document for document in merged.documents}
    origins = {change.tool: change.before for change in merged.changes if change.strategy == "merge"}
    if len(after) > len(before):
        found = f"found {len(after)} documents, expected at most the {len(before)} there were"
        complaints.append(Complaint("more-documents", found))
    for name, document in after.items():
        if document != before.get(name) and name not in origins:
            complaints.append(
                Complaint("merge-unsaid", f"{name} is new or changed: no merge says what it was made from")
            )
    for name, parts in origins.items():
        if name not in after or len(parts) < 2 or any(part not in before for part in parts):
            detail = f"the merge {name!r} of {', '.join(parts)}: expected a new document made from two or more old ones"
            complaints.append(Complaint("merge-unsound", detail))
    kept = after.keys() | {part for parts in origins.values() for part in parts}
    if lost := [name for name in before if name not in kept]:
        complaints.append(Complaint("document-lost", f"{', '.join(lost)}: gone, and not part of a merge"))
    tools = {call.step: call.tool for call in merged.calls}
    for call in draft.calls:
        now = tools.get(call.step, "")
        if now != call.tool and call.tool not in origins.get(now, ()):
            detail = f"step {call.step} was answered by {call.tool}, now by {now!r}, which was not made from it"
            complaints.append(Complaint("step-remapped", detail))
    return complaints
