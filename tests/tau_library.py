"""A small domain in τ-bench's format, written for the tests: a library that lends books, with four tools."""

import json
from pathlib import Path

import pytest

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "tau-bench"

WIKI = "You work at the desk of a library. Lend and take back books for its members, and transfer what you cannot do."

BOOKS = {
    "b1": {"title": "Tides", "shelf": "2010-A", "lent_to": None, "fee": 12.5},
    "b2": {"title": "Moss", "shelf": "7", "lent_to": "m2", "fee": 1204},
    "b3": {"title": "Glass", "shelf": "9", "lent_to": None, "fee": 3},
}
MEMBERS = {"m1": {"name": "Ada", "books": []}, "m2": {"name": "Ben", "books": ["b2"]}}

CODES = {
    "get_book": """
def get_book(data, book_id):
    import json
    if book_id not in data["books"]:
        return "Error: book not found"
    return json.dumps(data["books"][book_id])
""",
    "lend_book": """
def lend_book(data, book_id, member_id):
    book, member = data["books"][book_id], data["members"][member_id]
    if book["lent_to"] is not None:
        return "Error: the book is lent already"
    book["lent_to"] = member_id
    member["books"].append(book_id)
    return "lent"
""",
    "return_book": """
def return_book(data, book_id):
    book = data["books"][book_id]
    if book["lent_to"] is None:
        return "Error: the book is not lent"
    data["members"][book["lent_to"]]["books"].remove(book_id)
    book["lent_to"] = None
    return "returned"
""",
    "transfer_to_human_agents": """
def transfer_to_human_agents(data, summary):
    return "Transfer successful"
""",
}


def schema(name, *parameters):
    properties = {parameter: {"type": "string"} for parameter in parameters}
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


TOOLS = [
    schema("get_book", "book_id"),
    schema("lend_book", "book_id", "member_id"),
    schema("return_book", "book_id"),
    schema("transfer_to_human_agents", "summary"),
]


def action(name, **arguments):
    return {"id": "0", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def row(instruction, *actions, outputs=(), source="tau-bench/library"):
    fields = {"instruction": instruction, "actions": list(actions), "outputs": list(outputs)}
    return {**fields, "data_source": source}


SWAP = row(
    "You are Ben (m2). You bring Moss back and take Tides with you.",
    action("get_book", book_id="b9"),
    action("return_book", book_id="b2"),
    action("lend_book", book_id="b1", member_id="m2"),
)
ASK = row("You are Ada. You want to know the fees of Tides and Moss.", outputs=["12.50", "1204"])
LEND = row(
    "You are Ada (m1). You want Glass, and to know its fee.",
    action("get_book", book_id="b3"),
    action("lend_book", book_id="b3", member_id="m1"),
    outputs=["3"],
)
GIVE_UP = row("You want a refund. Do not accept a no.", action("transfer_to_human_agents", summary="refund"))

ROWS = [SWAP, ASK, LEND, GIVE_UP]


def write(folder: Path, rows=ROWS, *, codes=CODES, tools=TOOLS, domain="library") -> Path:
    """The folder, holding the set."""
    place = folder / "tau-bench" / domain
    place.mkdir(parents=True, exist_ok=True)
    (folder / "tau-bench.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    for name, value in {"tools": tools, "codes": codes, "books": BOOKS, "members": MEMBERS}.items():
        (place / f"{name}.json").write_text(json.dumps(value))
    (place / "wiki.md").write_text(WIKI)
    return folder


def published() -> Path:
    """The published set, where it is at hand; the test is skipped where not."""
    if not PUBLISHED.exists():
        pytest.skip(f"the published benchmark is not at {PUBLISHED} (see docs/benchmark-tau.md)")
    return PUBLISHED
