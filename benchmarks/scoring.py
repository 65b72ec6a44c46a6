"""Measures how fast stored responses are scored: `score_responses` against the released way, one after the other.

    python benchmarks/scoring.py --envs envs.jsonl [--group 16] [--rounds 5] [--json FILE]
    python benchmarks/scoring.py --ftrl test.jsonl

The prompts are the prefixes of each environment's gold rollout, and each has a group of responses, as text: the gold
turn, with a wrong argument, with a useless call beside it, one call of it only, an unreadable call, right and wrong
answers. Each way begins with the text and ends with the rewards, and they take turns within a round.

batch      parse, `score_responses` over all, a new worker for each environment
released   what FTRL's reward manager does for each response: its JSON columns decoded, the response parsed, each call's
           source executed, in a thread that is waited for; in a throwaway process, without walls, so only for
           environments of our own procedural author (`toolfoundry build --profile ftrl --seed 5 -n 32 -o envs.jsonl`)
drop-in    `toolfoundry.compat.ftrl.score_response` for each response (every seventh); the sandbox, but no batch

FTRL's rows have no gold rollout: there the prompts are the opening ones, the calls are plainest calls of its tools, and
"released" is left out, since those tools are not ours to run without walls.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from toolfoundry.chat import chat_format
from toolfoundry.compat.ftrl import score_response
from toolfoundry.environment import opening
from toolfoundry.errors import InputError
from toolfoundry.export_samples import ftrl_row
from toolfoundry.formats.ftrl import read_ftrl
from toolfoundry.placeholders import placeholder_arguments
from toolfoundry.policies.scripted import make
from toolfoundry.rollout import run_rollout
from toolfoundry.samples import Prefix, prefixes
from toolfoundry.sandbox import Sandbox
from toolfoundry.scoring import Response, score_responses
from toolfoundry.seeds import generator
from toolfoundry.store import read
from toolfoundry.types import EnvSpec, Message, ToolCall

HERMES = chat_format("hermes")

RELEASED = """
import json, os, sys, threading, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(os.open("/dev/null", os.O_WRONLY), 1)

def called(name, arguments, source):
    got = []
    def run():
        try:
            names = {}
            exec(source, names, names)
            value = names[name](**arguments)
            got.append(json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value))
        except Exception as error:
            got.append("an error occured when call " + name + ": " + str(error))
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    return got[0] if got else "timeout"

def plain(text):
    return text.lower().replace(",", "").strip()

def calls_in(text):
    for piece in text[text.find("<tool_call>"):].split("</tool_call>") if "<tool_call>" in text else []:
        try:
            value = json.loads(piece.strip().removeprefix("<tool_call>").strip())
            yield value["name"], value["arguments"]
        except Exception:
            pass

def score(response, row):
    codes, unsolved = json.loads(row["codes"]), json.loads(row["unsolved_set"])
    left = sum(map(len, unsolved.values()))
    text = response.strip().removesuffix("<|im_end|>").strip()
    calls = list(calls_in(text))
    if calls:
        solved = 0
        for name, arguments in calls:
            output = called(name, arguments, codes.get(name, "")).lower().replace(",", "").strip()
            for golden in unsolved.get(name, []):
                if all(plain(part) in output for part in golden.split(", ")):
                    unsolved[name].remove(golden)
                    solved += 1
                    break
        return 2 * solved / (len(calls) + 1)
    if not text:
        return -0.5
    if "<tool_call>" in text or "</tool_call>" in text:
        return -0.3
    return 1 / (1 + left) if plain(row["answer"]) in plain(text) else 0.5 if row["solve_rate"] == 1.0 else 0.0

rows = json.loads(sys.stdin.readline())
for _ in sys.stdin:
    began = time.perf_counter()
    scores = [score(response, row) for response, row in rows]
    print(json.dumps([time.perf_counter() - began, scores]), file=answers, flush=True)
"""


class Stored(NamedTuple):
    """A response as text, at a prefix; `row` is the prefix as the release stores it."""

    spec: EnvSpec
    prefix: Prefix
    row: dict[str, Any]
    text: str


def said(*calls: ToolCall, content: str = "") -> str:
    return HERMES.completion(Message(role="assistant", content=content, tool_calls=calls), thinking=False)


def group(spec: EnvSpec, prefix: Prefix, gold: tuple[ToolCall, ...], answer: str, size: int) -> list[str]:
    """Responses to one prefix, drawn from what policies write there; each is a text of its own where it can be."""
    random = generator("scoring", prefix.key)
    made: list[str] = []
    for index in range(size):
        if not gold:
            made.append(said(content=random.choice([f"<answer>{answer}</answer>", f"I think it is {index}.", ""])))
            continue
        call = random.choice(gold)
        arguments = json.loads(call.arguments)
        wrong = call.model_copy(update={"arguments": json.dumps({**arguments, **_other(arguments, index)})})
        other = random.choice(spec.tools)
        useless = call.model_copy(
            update={"name": other.name, "arguments": json.dumps(placeholder_arguments(other.signature.parameters))}
        )
        match random.randrange(8):
            case 0 | 1:
                made.append(said(*gold))
            case 2 | 3:
                made.append(said(wrong))
            case 4:
                made.append(said(*gold, useless))
            case 5:
                made.append(said(useless))
            case 6:
                made.append(said(call)[:-30] + "<|im_end|>")
            case _:
                made.append(said(content=f"<answer>{answer if random.random() < 0.5 else index}</answer>"))
    return made


def _other(arguments: dict[str, Any], index: int) -> dict[str, Any]:
    texts = [name for name, value in arguments.items() if isinstance(value, str)]
    return {texts[0]: f"{arguments[texts[0]]} {index}"} if texts else {}


async def of_environments(path: Path, size: int, sandbox: Sandbox) -> list[Stored]:
    stored: list[Stored] = []
    for spec in read(path, EnvSpec):
        if spec.provenance.source != "build/procedural":
            raise InputError(f"{path}: environment {spec.id} is not of the procedural author; its tools are not run")
        rollout = await run_rollout(make("gold", spec, 0), spec, sandbox)
        answer = rollout.turns[-1].completion.message.content
        for prefix, turn in zip(prefixes(rollout, "ftrl"), rollout.turns, strict=True):
            row = ftrl_row(prefix, spec)
            for text in group(spec, prefix, turn.completion.message.tool_calls, answer, size):
                stored.append(Stored(spec, prefix, row, text))
    return stored


def of_ftrl(path: Path, size: int) -> list[Stored]:
    stored: list[Stored] = []
    for spec in read_ftrl(path):
        gold = tuple(
            ToolCall(id=str(i), name=tool.name, arguments=json.dumps(placeholder_arguments(tool.signature.parameters)))
            for i, tool in enumerate(spec.tools)
        )
        messages = opening(spec).messages
        unsolved = tuple(goal.id for goal in spec.goals)
        prefix = Prefix(key=f"{spec.id}#0", task=spec.task, messages=messages, unsolved=unsolved, solve_rate=0.0)
        row = ftrl_row(prefix, spec)
        random = generator("scoring", spec.id)
        for index in range(size):
            some = random.sample(gold, random.randint(1, min(3, len(gold))))
            text = said(*some) if index % 4 else said(content=f"<answer>{index}</answer>")
            stored.append(Stored(spec, prefix, row, text))
    return stored


class Released:
    """The throwaway process, with all that it is to score."""

    def __init__(self, stored: list[Stored], folder: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-s", "-c", RELEASED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd=folder,
            text=True,
        )
        self._send(json.dumps([(one.text, one.row) for one in stored]))

    def _send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def scores(self) -> tuple[float, list[float]]:
        assert self.process.stdout is not None
        self._send("go")
        seconds, scores = json.loads(self.process.stdout.readline())
        return seconds, scores

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def batch(stored: list[Stored], sandbox: Sandbox) -> tuple[float, list[float | None]]:
    began = time.perf_counter()
    responses = [Response(one.spec, one.prefix, HERMES.parse(one.text)) for one in stored]
    scored = asyncio.run(score_responses(responses, sandbox, preset="ftrl"))
    seconds = time.perf_counter() - began
    return seconds, [one.graded.reward.value if one.graded else None for one in scored]


def drop_in(stored: list[Stored]) -> tuple[float, list[float]]:
    began = time.perf_counter()
    scores = [
        score_response(
            one.text,
            json.loads(one.row["codes"]),
            json.loads(one.row["unsolved_set"]),
            one.row["solve_rate"],
            "train",
            one.row["answer"],
        )["ftrl"]
        for one in stored
    ]
    return time.perf_counter() - began, scores


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=Path, help="environments of the procedural author")
    parser.add_argument("--ftrl", type=Path, help="FTRL's published rows")
    parser.add_argument("--group", type=int, default=16, help="responses to a prompt")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    if (options.envs is None) == (options.ftrl is None):
        parser.error("give either --envs or --ftrl")
    rates: dict[str, list[float]] = {}
    with Sandbox() as sandbox, tempfile.TemporaryDirectory() as folder:
        sandbox.start()
        if options.envs is not None:
            stored = asyncio.run(of_environments(options.envs, options.group, sandbox))
            released = Released(stored, folder)
        else:
            stored, released = of_ftrl(options.ftrl, options.group), None
        for _ in range(options.rounds):
            seconds, ours = batch(stored, sandbox)
            rates.setdefault("batch", []).append(len(stored) / seconds)
            found: dict[str, list[float]] = {}
            if released is not None:
                seconds, found["released"] = released.scores()
                rates.setdefault("released", []).append(len(stored) / seconds)
            seconds, found["drop-in"] = drop_in(stored[::7])
            rates.setdefault("drop-in", []).append(len(stored[::7]) / seconds)
        if released is not None:
            released.close()
    calls = sum(len(HERMES.parse(one.text).tool_calls) for one in stored)
    distinct = len({(one.prefix.key, one.text) for one in stored})
    report: dict[str, Any] = {"responses": len(stored), "distinct": distinct, "calls": calls, "rounds": options.rounds}
    report["unscored"] = sum(one is None for one in ours)
    for way, scores in found.items():
        pairs = zip(ours if way == "released" else ours[::7], scores, strict=True)
        report[f"differ from {way}"] = sum(one != other for one, other in pairs)
    report |= {way: spread(values) for way, values in rates.items()}
    for way in found:
        report[f"batch/{way}"] = spread([a / b for a, b in zip(rates["batch"], rates[way], strict=True)])
    for name, value in report.items():
        if isinstance(value, dict):
            form = "{:.1f}x" if "/" in name else "{:,.0f} responses/s"
            middle, low, high = (form.format(value[key]) for key in ("median", "least", "most"))
            print(f"{name}: {middle} ({low} - {high})")
        else:
            print(f"{name}: {value}")
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
