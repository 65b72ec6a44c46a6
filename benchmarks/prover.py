"""Measures the solvability prover: what it proves, how fairly, how fast, and how often wrongly.

    python benchmarks/prover.py ftrl test.jsonl                   the whole set
    python benchmarks/prover.py ftrl test.jsonl --rows 80:120     a part that nobody tuned to
    python benchmarks/prover.py ftrl test.jsonl --foreign         answers of other tasks: every proof is false
    python benchmarks/prover.py toolhop toolhop.jsonl             another set, for comparison

CPU seconds are those of this process and of the sandbox's workers; compiling the sources, before workers are forked, is
left out. `--alone` proves each goal on its own, for the cost of the most expensive one. Prints JSON.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

from toolfoundry.answers import holds, infer, spelling
from toolfoundry.formats.ftrl import read_ftrl
from toolfoundry.prove import prove, prove_all, summarise
from toolfoundry.prove.origins import words
from toolfoundry.sandbox import Sandbox, Session
from toolfoundry.types import Answer, EnvSpec, Goal, Provenance, Scenario, Tool, ToolSchema


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("format", choices=["ftrl", "toolhop"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", default=":", help="FIRST:END, from 0")
    parser.add_argument("--foreign", action="store_true", help="count false proofs instead")
    parser.add_argument("--alone", action="store_true", help="also prove each goal alone")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    specs = list(read_ftrl(options.file)) if options.format == "ftrl" else read_toolhop(options.file)
    first, _, end = options.rows.partition(":")
    chosen = specs[int(first or 0) : int(end or len(specs))]
    with MeteredSandbox() as sandbox:
        sandbox.start()
        result = foreign(chosen, specs, sandbox, options.jobs) if options.foreign else proofs(chosen, sandbox, options)
    print(json.dumps(result, indent=2, ensure_ascii=False))


class MeteredSandbox(Sandbox):
    """A sandbox that adds up the CPU seconds of its workers."""

    worker_cpu_s = 0.0

    def close_session(self, session: Session) -> None:
        if session.worker is not None:
            self.worker_cpu_s += time.clock_gettime((~session.worker.pid << 3) | 2)  # the process's clock
        super().close_session(session)

    def cpu_s(self) -> float:
        """CPU seconds used so far, host included."""
        return time.process_time() + self.worker_cpu_s


def proofs(specs: list[EnvSpec], sandbox: MeteredSandbox, options: argparse.Namespace) -> dict[str, Any]:
    """The summary of a set, with its shares and times."""
    start, cpu = time.perf_counter(), sandbox.cpu_s()
    summary = summarise(prove_all(specs, sandbox, jobs=options.jobs))
    seconds, cpu = time.perf_counter() - start, sandbox.cpu_s() - cpu
    result: dict[str, Any] = summary.model_dump()
    result |= {
        "proved_share": round(summary.proved / summary.goals, 4),
        "published_share": round(summary.published / summary.goals, 4),
        "fair_task_share": round(summary.fair_tasks / summary.tasks, 4),
        "cpu_s_per_goal": round(cpu / summary.goals, 4),
        "wall_s_per_goal": round(seconds / summary.goals, 4),
    }
    if options.alone:
        alone = list[float]()
        for spec in specs:
            for goal in spec.goals:
                cpu = sandbox.cpu_s()
                prove(spec.replace(goals=(goal,)), sandbox)
                alone.append(sandbox.cpu_s() - cpu)
        result["cpu_s_alone"] = {
            "mean": round(statistics.fmean(alone), 4),
            "median": round(statistics.median(alone), 4),
            "max": round(max(alone), 4),
        }
    return result


def foreign(specs: list[EnvSpec], bank: list[EnvSpec], sandbox: MeteredSandbox, jobs: int) -> dict[str, Any]:
    """False proofs: each tool gets, beside its own goals, the answer of another task that its code does not have."""
    targets = [with_foreign(spec, bank) for spec in specs]
    cpu = sandbox.cpu_s()
    count, found = 0, list[dict[str, Any]]()
    for spec in prove_all(targets, sandbox, jobs=jobs):
        assert spec.proof is not None
        goals = {goal.id: goal for goal in spec.goals}
        calls = {call.id: call.arguments for call in spec.gold_calls or ()}
        for proof in spec.proof.goals:
            if proof.goal.startswith("foreign"):
                count += 1
                if proof.status == "proved":
                    goal = goals[proof.goal]
                    found.append({"tool": goal.tool, "answer": spelling(goal.answer), "call": calls[goal.id]})
    return {
        "foreign_answers": count,
        "false_proofs": len(found),
        "share": round(len(found) / count, 4),
        "cpu_s_per_answer": round((sandbox.cpu_s() - cpu) / count, 4),
        "found": found,
    }


def with_foreign(spec: EnvSpec, bank: list[EnvSpec]) -> EnvSpec:
    """The specification with a foreign goal beside each of its own: same type, about as long, not in the code."""
    draw = random.Random(spec.id)
    own = {spelling(goal.answer).lower() for goal in spec.goals}
    extra = list[Goal]()
    for goal in spec.goals:
        source = next(tool.source for tool in spec.tools if tool.name == goal.tool)
        fitting = [
            other.answer
            for task in bank
            if task.id != spec.id
            for other in task.goals
            if _foreign(goal.answer, other.answer, source + " " + spec.scenario.question, own)
        ]
        if fitting:
            answer = draw.choice(fitting)
            own.add(spelling(answer).lower())  # no answer twice in a task: one could be told by the other
            extra.append(Goal(id=f"foreign-{goal.id}", tool=goal.tool, answer=answer, needs=None))
    goals = [goal.model_copy(update={"needs": None}) for goal in spec.goals]
    return spec.replace(goals=(*goals, *extra), gold_calls=None)


def _foreign(own: Answer, other: Answer, text: str, answers: set[str]) -> bool:
    spelled = spelling(other)
    alike = own.type == other.type and abs(len(spelling(own)) - len(spelled)) <= 2
    return alike and spelled.lower() not in answers and not holds(other, text) and not words(spelled) <= words(text)


def read_toolhop(path: Path) -> list[EnvSpec]:
    """ToolHop's questions as specifications: one goal for each sub-task, with the tool of the same sub-question."""
    return [_toolhop(json.loads(line), number) for number, line in enumerate(path.open(encoding="utf-8"), 1)]


def _toolhop(row: dict[str, Any], number: int) -> EnvSpec:
    functions, documents, answers = (_literal(row[field]) for field in ("functions", "tools", "sub_task"))
    sources = {
        node.name: source
        for source in functions
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }
    tools, goals = dict[str, Tool](), list[Goal]()
    for index, (question, answer) in enumerate(answers.items(), 1):
        fields = {key: documents[question][key] for key in ("name", "description", "parameters")}
        tools[fields["name"]] = Tool(signature=ToolSchema(**fields), source=sources.get(fields["name"], ""))
        goals.append(Goal(id=f"g{index}", tool=fields["name"], answer=infer(str(answer)), needs=None))
    return EnvSpec.create(
        scenario=Scenario(question=row["question"], answer=infer(str(row["answer"]))),
        tools=tuple(tools.values()),
        goals=tuple(goals),
        provenance=Provenance(source="toolhop", location=f"line {number}"),
    )


def _literal(value: Any) -> Any:
    """A field that is JSON or a Python literal as text, or already a value."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return ast.literal_eval(value)


if __name__ == "__main__":
    main()
