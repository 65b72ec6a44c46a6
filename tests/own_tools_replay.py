"""The model's side of builds over a user's tools, as a handler for the loopback endpoint of `fake_openai_server`.

A request is answered by what it asks: the system text says which part, the data which scenario, question or documents.
Each recorded question is given once; then the requests for its scenario get a reply that declines.
"""

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

from fake_openai_server import Reply, Request, reply

RECORDED = Path(__file__).parent / "build_tools" / "recorded"


class RecordedModel:
    """The handler. `asked` counts what was asked for; `bodies` are the requests."""

    def __init__(self, name: str) -> None:
        data = tomllib.loads((RECORDED / f"{name}.toml").read_text(encoding="utf-8"))
        self.questions = data["questions"]
        self.functions = data["functions"]
        self.asked: Counter[str] = Counter()
        self.bodies = []
        self._left = list(self.questions)

    def __call__(self, request: Request) -> Reply:
        self.bodies.append(request.body)
        messages = request.body["messages"]
        system = messages[0]["content"]
        data = json.loads(re.search(r"```json\n(.*?)\n```", messages[1]["content"], re.DOTALL)[1])
        turn = sum(message["role"] == "assistant" for message in messages)
        if "stage 1 of 5" in system:
            self.asked["decompose"] += 1
            return reply(self._decomposition(data))
        if "stage 2 of 5" in system:
            self.asked["document"] += 1
            return reply(self._calls(data, turn))
        self.asked["deploy"] += 1
        return reply(self._functions([document["name"] for document in data["documents"]]))

    def _decomposition(self, data) -> str:
        found = next((one for one in self._left if one["scenario"] == data["scenario"]), None)
        if found is None:
            return "I cannot help with that."
        self._left.remove(found)
        return json.dumps(
            {
                "question": found["question"],
                "steps": [
                    {"id": id, "question": question, "answer": answer} for id, question, answer, *_ in found["steps"]
                ],
                "answer": found["answer"],
                "final": {"operation": found["final"][0], "arguments": found["final"][1]},
            }
        )

    def _calls(self, data, turn: int) -> str:
        found = next(one for one in self.questions if one["question"] == data["question"])
        calls = [{"step": id, "tool": tool, "arguments": given} for id, _, _, tool, given in found["steps"]]
        if "wrong_tool" in found and not turn:
            calls[-1]["tool"] = found["wrong_tool"]
        return json.dumps({"calls": calls})

    def _functions(self, names: list[str]) -> str:
        blocks = [f"```python\n{self.functions[name]['source'].strip()}\n```" for name in names]
        trials = [
            {
                "tool": name,
                "arguments": self.functions[name]["trial"],
                "variants": self.functions[name].get("variants", {}),
            }
            for name in names
        ]
        return "\n".join([*blocks, "```json", json.dumps({"trials": trials}), "```"])
