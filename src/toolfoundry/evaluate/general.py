"""General ability through EleutherAI's lm-evaluation-harness: its tasks, its prompts, our error bars.

    mmlu, bbh, gsm8k, math     the harness generates and scores; every item's score is read out of its samples
    humaneval, mbpp            the harness only generates (tasks of ours); the code is run in our sandbox

The harness's own code tasks would run what a model wrote in this process. They are never used: a task that it marks as
unsafe is refused. All the tasks named here are generated, none is scored by likelihood, so that a checkpoint and an
endpoint that only chats are asked the same. They are not the prompts of FTRL's release: figures compare between models
that were evaluated here, not with the paper.

Not covered: modules that the sandbox does not have (numpy, say): a program that imports one fails its tests.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import importlib.util
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from toolfoundry.errors import EndpointError, FoundryError, InputError, MissingExtra, SandboxError
from toolfoundry.evaluate.results import Cell, Effort, Result, Row, Value, estimate
from toolfoundry.sandbox import Sandbox, SandboxLimits
from toolfoundry.types import Record

__all__ = [
    "SUITE",
    "Ability",
    "Model",
    "Program",
    "Verdict",
    "checkpoint",
    "endpoint",
    "extract_code",
    "run",
    "run_programs",
]

_CALL_S = 10.0  # of a program and its tests: as in FTRL's evaluation


class Ability(NamedTuple):
    """One row of the table: a task (or group of tasks) of the harness, and which of its figures counts.

    metric: of a sample; "code" is pass@1 by our sandbox; "" is the first that it has. filter: how the answer is cut out
    of the text; "" is the first.
    """

    title: str
    task: str
    metric: str = ""
    filter: str = ""


SUITE: Mapping[str, Ability] = {
    "mmlu": Ability("MMLU", "mmlu_generative", "exact_match"),
    "bbh": Ability("BBH", "bbh_cot_fewshot", "exact_match"),
    "gsm8k": Ability("GSM8K", "gsm8k_cot", "exact_match", "flexible-extract"),
    "math": Ability("MATH", "minerva_math", "math_verify"),
    "humaneval": Ability("HumanEval", "toolfoundry_humaneval", "code"),
    "mbpp": Ability("MBPP", "toolfoundry_mbpp", "code"),
}


# --- models --------------------------------------------------------------------------------------------------------


class Model(NamedTuple):
    """A model as the harness takes it. `chat`: prompts go through its chat template."""

    name: str
    kind: str
    arguments: Mapping[str, Any]
    chat: bool = True
    generation: Mapping[str, Any] = {}


def checkpoint(
    model: str,
    *,
    device: str | None = None,
    batch: int | None = None,
    dtype: str = "auto",
    thinking: bool | None = None,
    chat: bool = True,
) -> Model:
    """A checkpoint that is loaded in this process: a folder, a name on the hub, or "tiny". Its code is never run.

    thinking: None leaves it to the model; what it thinks is cut off before the answer is read.
    """
    from toolfoundry.policies.transformers import checkpoint_folder

    arguments: dict[str, Any] = {"pretrained": str(checkpoint_folder(model)), "dtype": dtype}
    if device is not None:
        arguments["device"] = device
    if batch is not None:
        arguments["batch_size"] = batch
    if thinking is not None:
        arguments["enable_thinking"] = thinking
        arguments["think_end_token"] = "</think>"
    return Model(model, "hf", arguments, chat)


def endpoint(
    model: str, base_url: str, *, api_key_env: str | None = None, concurrency: int = 8, thinking: bool | None = None
) -> Model:
    """A model behind an OpenAI-compatible endpoint (chat completions)."""
    arguments: dict[str, Any] = {
        "model": model,
        "base_url": f"{base_url.rstrip('/')}/chat/completions",
        "num_concurrent": concurrency,
        "max_retries": 5,
        "tokenizer_backend": None,
        "tokenized_requests": False,
    }
    if api_key_env is not None:
        if not (key := os.environ.get(api_key_env)):
            raise InputError(f"--api-key-env: found nothing in {api_key_env}, expected the key")
        arguments["auth_token"] = key
    generation: dict[str, Any] = {}
    if thinking is not None:
        arguments["think_end_token"] = "</think>"
        generation["chat_template_kwargs"] = {"enable_thinking": thinking}
    return Model(model, "local-chat-completions", arguments, generation=generation)


# --- running -------------------------------------------------------------------------------------------------------


def run(
    model: Model,
    tasks: Sequence[str] = tuple(SUITE),
    *,
    limit: int | None = None,
    include: Path | None = None,
    seed: int = 0,
    executor: Sandbox | None = None,
) -> dict[str, Result]:
    """The results by task, in the order given. Names that are not in SUITE are tasks of the harness.

    Args:
        limit: items of each task (of each part of a group); None is all.
        include: a folder with tasks of the user's, as the harness reads them.
        executor: the sandbox in which programs run; None starts one where it is needed.
    Raises:
        MissingExtra: the harness is not installed. InputError: a task that is not there, or whose data is not.
        EndpointError: the model's server failed.
    """
    abilities = {name: SUITE.get(name, Ability(name, name)) for name in tasks}
    samples = _generate(model, list(abilities.values()), limit, include, seed)
    results: dict[str, Result] = {}
    for name, ability in abilities.items():
        found = samples[ability.task]
        if ability.metric == "code":
            outcomes = _code_outcomes(found, executor)
        else:
            outcomes = [_outcome(one, ability) for one in _chosen(found, ability)]
        results[name] = _result(name, ability, outcomes)
    return results


class _Sample(NamedTuple):
    """One item that was asked: the leaf task it is of, and the harness's record of it."""

    task: str
    record: Mapping[str, Any]


class _Outcome(NamedTuple):
    """One item's score; `x` None is unscored, for the reason in `cause`."""

    group: str
    item: str
    x: float | None
    cause: str = ""


def _generate(
    model: Model, abilities: Sequence[Ability], limit: int | None, include: Path | None, seed: int
) -> dict[str, list[_Sample]]:
    """The samples of each task or group, under the name it was asked for by."""
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingExtra("general", "general ability")
    import lm_eval
    from lm_eval.tasks import TaskManager

    with resources.as_file(resources.files("toolfoundry.evaluate") / "general_tasks") as ours:
        folders = [str(ours), *([str(include)] if include else [])]
        manager = TaskManager(include_path=folders)
        if unknown := [one.task for one in abilities if one.task not in manager.all_tasks]:
            raise InputError(f"--tasks: found {unknown[0]!r}, expected {', '.join(SUITE)} or a task of lm_eval")
        try:
            found: Any = lm_eval.simple_evaluate(
                model=model.kind,
                model_args=dict(model.arguments),
                tasks=[one.task for one in abilities],
                limit=limit,
                log_samples=True,
                bootstrap_iters=0,  # errors are ours
                task_manager=manager,
                apply_chat_template=model.chat,
                gen_kwargs=dict(model.generation) or None,
                random_seed=seed,
                numpy_random_seed=seed,
                torch_random_seed=seed,
                fewshot_random_seed=seed,
            )
        except FoundryError:
            raise
        except Exception as error:  # the harness and what it stands on raise anything
            raise _told(error, model) from error
    by_leaf: Mapping[str, Sequence[Mapping[str, Any]]] = found["samples"]
    members: Mapping[str, Sequence[str]] = found.get("group_subtasks", {})
    return {
        one.task: [_Sample(leaf, record) for leaf in _leaves(one.task, members) for record in by_leaf.get(leaf, ())]
        for one in abilities
    }


def _told(error: Exception, model: Model) -> FoundryError:
    """What went wrong, as far as its kind and words tell."""
    kind, text = type(error).__name__, str(error).partition("\n")[0][:400]
    if "unsafe" in text:
        return InputError(
            f"{text.partition('.')[0]}: code of a model is only run by humaneval and mbpp, in the sandbox"
        )
    module = type(error).__module__.partition(".")[0]
    if module in ("datasets", "huggingface_hub") or isinstance(error, FileNotFoundError):
        return InputError(f"a data set of the tasks could not be loaded: {kind}: {text}")
    if model.kind != "hf" and module in ("requests", "aiohttp", "tenacity", "asyncio", "builtins"):
        return EndpointError(f"{model.name}: {kind}: {text}")
    return FoundryError(f"lm_eval: {kind}: {text}")


def _leaves(task: str, members: Mapping[str, Sequence[str]]) -> list[str]:
    """The tasks of a group, of its groups too; a task is its own."""
    if not members.get(task):
        return [task]
    return [leaf for part in members[task] for leaf in _leaves(part, members)]


def _chosen(samples: Sequence[_Sample], ability: Ability) -> list[_Sample]:
    """Each item once: as the wanted filter has read its answer."""
    if not samples:
        return []
    wanted = ability.filter or str(samples[0].record.get("filter"))
    return [one for one in samples if str(one.record.get("filter")) == wanted]


def _outcome(one: _Sample, ability: Ability) -> _Outcome:
    """The item's score. Raises InputError where the task has no figure for each item."""
    metrics: Sequence[str] = one.record.get("metrics") or ()
    metric = ability.metric or next(iter(metrics), "")
    score = one.record.get(metric)
    item = f"{one.task}/{one.record.get('doc_id')}"
    if not isinstance(score, (int, float)) or (isinstance(score, float) and math.isnan(score)):
        raise InputError(f"task {one.task}: found no number {metric!r} for item {item}, expected one for each item")
    return _Outcome(one.task, item, float(score))


def _result(name: str, ability: Ability, outcomes: Sequence[_Outcome]) -> Result:
    groups = list(dict.fromkeys(one.group for one in outcomes))
    rows = [_row("all", outcomes)]
    if len(groups) > 1:
        rows += [_row(group, [one for one in outcomes if one.group == group]) for group in groups]
    title = "pass@1" if ability.metric == "code" else "accuracy"
    causes = Counter(one.cause for one in outcomes if one.x is None)
    stops = {"scored": sum(one.x is not None for one in outcomes), "unscored": causes.total()}
    return Result(
        benchmark=name,
        title=ability.title,
        rule="fixed",
        average="items",
        metrics={"accuracy": title},
        paper_metrics=(),
        samples=1,
        rows=tuple(rows),
        paper=Cell(mean=None, stderr=None, n=0, items=0, clusters=0),
        effort=Effort(),
        stops={stop: count for stop, count in stops.items() if count},
        failures=dict(causes.most_common(20)),
    )


def _row(group: str, outcomes: Sequence[_Outcome]) -> Row:
    values = [Value(one.group, one.item, one.item, one.x) for one in outcomes if one.x is not None]
    return Row(
        group=group,
        n=len(outcomes),
        items=len({one.item for one in outcomes}),
        unscored=len(outcomes) - len(values),
        metrics={"accuracy": estimate(values)},
    )


# --- code ----------------------------------------------------------------------------------------------------------


class Program(NamedTuple):
    """Code of a model, and the tests that it must pass, both Python source."""

    code: str
    tests: str


class Verdict(Record):
    """Whether a program passed. `passed` None: the sandbox failed, unscored. `error` says what went wrong."""

    passed: bool | None
    error: str | None = None


def extract_code(text: str) -> str:
    """The first block of code in an answer; where there is none, the whole of it.

    >>> extract_code("Here:\\n```python\\nx = 1\\n```\\nand\\n```\\ny\\n```")
    'x = 1\\n'
    """
    found = re.search(r"```[^\n]*\n(.*?)(?:```|\Z)", text, re.DOTALL)
    return found[1] if found else text


async def run_programs(programs: Sequence[Program], executor: Sandbox, *, concurrency: int = 8) -> list[Verdict]:
    """Each program with its tests, in a worker of its own in the sandbox. The verdicts are in the order given."""
    free = asyncio.Semaphore(concurrency)
    limits = executor.limits.model_copy(update={"call_s": _CALL_S, "wall_s": 3 * _CALL_S})

    async def judge(program: Program) -> Verdict:
        async with free:
            session = executor.session({"check": _harness(program)}, limits=limits)
            try:
                result = await session.acall("check", {})
            except SandboxError as failure:
                return Verdict(passed=None, error=str(failure))
            finally:
                session.close()
        if result.error is None and result.content == "passed":
            return Verdict(passed=True)
        return Verdict(passed=False, error=result.error or f"returned: {result.content[:200]}")

    return list(await asyncio.gather(*(judge(program) for program in programs)))


def _harness(program: Program) -> str:
    """The source of one function `check`, which runs the program and then its tests in a namespace of their own.

    Program and tests stand in it as text, so that neither can break out of the function or take its name.
    """
    return (
        "def check():\n"
        '    scope = {"__name__": "candidate"}\n'
        f"    exec(compile({program.code!r}, 'program', 'exec'), scope)\n"
        f"    exec(compile({program.tests!r}, 'tests', 'exec'), scope)\n"
        '    return "passed"\n'
    )


def _code_outcomes(samples: Sequence[_Sample], executor: Sandbox | None) -> list[_Outcome]:
    programs = [_program(one.record) for one in samples]

    def judged(box: Sandbox) -> list[Verdict]:
        return asyncio.run(run_programs(programs, box))

    if executor is None:
        with Sandbox(SandboxLimits(call_s=_CALL_S)) as box:
            verdicts = judged(box)
    else:
        verdicts = judged(executor)
    return [
        _Outcome(
            one.task,
            f"{one.task}/{one.record.get('doc_id')}",
            None if verdict.passed is None else float(verdict.passed),
            verdict.error or "",
        )
        for one, verdict in zip(samples, verdicts, strict=True)
    ]


def _program(record: Mapping[str, Any]) -> Program:
    """The program in a sample, by the fields of HumanEval or of MBPP. Raises InputError for data of another kind."""
    doc: Mapping[str, Any] = record["doc"]
    code = extract_code(str(record["resps"][0][0]))
    try:
        if "entry_point" in doc:
            name = str(doc["entry_point"])
            if not re.search(rf"^\s*def {re.escape(name)}\b", code, re.MULTILINE):  # the body alone
                code = f"{doc['prompt']}{code}"
            else:  # imports of the prompt may be taken for granted
                before = str(doc["prompt"]).partition(f"def {name}")[0]
                code = f"{before}\n{code}"
            return Program(code, f"{doc['test']}\ncheck({name})\n")
        setup = str(doc.get("test_setup_code") or "")
        return Program(code, "\n".join([setup, *doc["test_list"]]))
    except (KeyError, TypeError) as error:
        raise InputError(
            f"item {record.get('doc_id')}: found no field {error}, expected HumanEval's or MBPP's"
        ) from None
