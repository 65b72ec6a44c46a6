"""Rows in FTRL's published format, written for the tests."""

import json


def ftrl_row(**changes) -> str:
    """One line without its newline: a tool that gives 5, which is the answer. `changes` replace whole fields."""
    function = {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}
    row = {
        "messages": [{"role": "user", "content": "Question: What?"}],
        "tools": json.dumps([{"type": "function", "function": function}]),
        "codes": json.dumps({"f": "def f():\n    return 5"}),
        "unsolved_set": json.dumps({"f": ["5"]}),
        "solve_rate": 0.0,
        "data_source": "self/single_hop",
        "split": "train",
        "answer": "5",
    }
    return json.dumps({**row, **changes}, ensure_ascii=False)
