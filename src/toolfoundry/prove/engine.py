"""The search itself: runs a rewritten tool, learns what it wanted, and stops when its results hold the answers.

    fresh values ──► run ──► new edges? ──► what it compared ──► better arguments ──► run ...   (then pools of values)

`search` is the entry: JSON in, JSON out. It executes the tool in its own process, so it runs in the sandbox only
(together with the modules that it imports, see `bundle`), and its answer is not to be trusted: the host replays every
call that it returns on the unchanged tool. Budgets count runs and steps, never time, so that the same input gives the
same answer on every machine. Part of the search program, so: standard library only.
"""

# A JSON value narrowed by isinstance is a dict or list of unknown: that is what it is.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import ast
import heapq
import itertools
import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from toolfoundry.answers import holds, published_match, spelling
from toolfoundry.prove.instrument import OutOfSteps, Trace, rewrite
from toolfoundry.prove.judge import brought, computed, guessed, honest, replaced, reports_error
from toolfoundry.prove.origins import Path, cost, leaves, said, schema_at, sources
from toolfoundry.prove.pools import Pools
from toolfoundry.prove.proposals import Arguments, Proposals, all_parts
from toolfoundry.prove.shapes import Fresh, valid
from toolfoundry.types import Answer

_KEPT = 6  # calls returned for one answer
_ECHOES = 8  # calls with the answer in their arguments that are kept for the choice test
_MORE_RUNS = 400  # after a proof that no model could find, for another one


class Subject:
    """The tool under search: its parameters, the constants of its source, and one run of it."""

    def __init__(self, source: str, name: str, schema: Any) -> None:
        self.source, self.name, self.schema = source, name, schema
        tree = ast.parse(source)
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
        if not functions:
            raise LookupError(f"the source defines no function {name!r}")
        args = functions[-1].args
        positional = [arg.arg for arg in [*args.posonlyargs, *args.args]]
        defaults = dict(zip(positional[len(positional) - len(args.defaults) :], args.defaults, strict=True))
        defaults |= {a.arg: d for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True) if d is not None}
        self.defaults: Arguments = {}
        for parameter, default in defaults.items():
            try:
                self.defaults[parameter] = ast.literal_eval(default)
            except ValueError:
                continue
        described: Arguments = (schema or {}).get("properties") or {}
        names = positional + [arg.arg for arg in args.kwonlyargs] + (list(described) if args.kwarg else [])
        self.parameters: Arguments = {parameter: described.get(parameter, {}) for parameter in names}
        required = [p for p in names if p in (schema or {}).get("required", ()) or p not in defaults]
        self.required = set(required) - (
            {p for p in described if p not in positional} - set(schema.get("required", ()))
        )
        self.constants = _constants(tree)
        self.trace = Trace()
        self.runs = 0
        self.error: BaseException | None = None
        namespace: dict[str, Any] = {"__name__": "tool", **self.trace.hooks()}
        self.trace.begin()
        exec(compile(rewrite(tree), "<tool>", "exec"), namespace)
        self.function = namespace[name]

    def run(self, arguments: Arguments) -> str | None:
        """The result as text (FTRL's convention), or None if the call raised or took too many steps."""
        self.runs += 1
        self.trace.begin()
        self.error = None
        try:
            result = self.function(**_copied(arguments))
            return json.dumps(result, ensure_ascii=False) if isinstance(result, dict | list) else str(result)
        except (Exception, SystemExit, OutOfSteps) as error:
            self.error = error
            return None

    def examples(self) -> Iterator[Arguments]:
        """The calls of the tool that its own source shows, in comments too."""
        for match in re.finditer(rf"\b{re.escape(self.name)}\s*\(", self.source):
            depth, end = 1, match.end()
            while end < len(self.source) and depth and end - match.end() < 600:
                depth += (self.source[end] in "([{") - (self.source[end] in ")]}")
                end += 1
            try:
                call = ast.parse(re.sub(r"\n\s*#", "\n", self.source[match.start() : end]), mode="eval").body
                assert isinstance(call, ast.Call)
                given = dict(zip(self.parameters, map(ast.literal_eval, call.args), strict=False))
                yield given | {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
            except (SyntaxError, ValueError, AssertionError):
                continue


def _constants(tree: ast.Module) -> list[Any]:
    found = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    plain = (v for v in found if isinstance(v, str | int | float) and not isinstance(v, bool))
    return list(dict.fromkeys(v for v in plain if not (isinstance(v, str) and not 0 < len(v) <= 120)))


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


class Hunt:
    """What is known about one answer: calls that give it, that only quote it, that meet the published rule."""

    def __init__(self, answer: Answer, known: list[tuple[str, list[str]]], twins: int) -> None:
        self.answer, self.known, self.twins = answer, known, twins  # equal answers of one tool need different calls
        self.proofs: list[tuple[tuple[int, ...], Arguments]] = []
        self.echoes: list[Arguments] = []
        self.published: Arguments | None = None
        self.free = set[Path]()  # of the proof under work: places where any value does
        self.deadline: int | None = None

    def open(self, runs: int) -> bool:
        if len(self.proofs) < self.twins:
            return True
        return self.proofs[self.twins - 1][0][0] > 0 and self.deadline is not None and runs < self.deadline


class Search:
    """One search in one tool for all its answers; `known` are the other goals with what their results tell."""

    def __init__(
        self,
        subject: Subject,
        targets: dict[str, Answer],
        question: str,
        known: list[tuple[str, list[str]]],
        max_runs: int,
    ) -> None:
        self.subject, self.question, self.max_runs = subject, question, max_runs
        self.max_steps = 60 * max_runs
        texts = [spelling(answer) for answer in targets.values()]
        self.hunts = [
            Hunt(answer, [k for k in known if k[0] != goal], texts.count(spelling(answer)))
            for goal, answer in targets.items()
        ]
        others = known if len(targets) > 1 else self.hunts[0].known  # its own answer would only be quoted
        said = [text for _, told in others for text in told]
        self.pools = Pools(subject.schema, subject.parameters, subject.constants, question, said, texts)
        self.fresh = Fresh()
        self.proposals = Proposals(
            {"properties": subject.parameters}, subject.defaults, self.fresh, self.pools.texts, self.pools.expressions
        )
        self.seen, self.held = set[str](), dict[str, list[bool]]()
        self.queue: list[tuple[int, int, Arguments]] = []
        self.steps = 0

    def push(self, arguments: Arguments, priority: int) -> None:
        key = json.dumps(arguments, sort_keys=True, default=repr)
        if key not in self.seen and len(key) <= 4000:
            self.seen.add(key)
            penalty = 0 if valid(arguments, self.subject.schema) else 3
            heapq.heappush(self.queue, (priority + penalty, len(self.seen), arguments))

    def start(self, given: Iterable[Arguments]) -> None:
        subject = self.subject
        for arguments in given:
            self.push(arguments, -6)
        for arguments in subject.examples():
            self.push(arguments, -5)
        full = {name: self.fresh.value(part) for name, part in subject.parameters.items()}
        least = {name: value for name, value in full.items() if name in subject.required}
        self.push(least, -3)
        self.push(full, -2)
        for name, value in full.items():
            if name not in least:
                self.push({**least, name: value}, 0)

    def go(self) -> None:
        """Runs until every answer has a proof that a model could find, or the budget is used up."""
        edges, parents, unused = set[Any](), list[Arguments](), list[Arguments]()
        pending = self._likely()
        rounds, rng = 0, random.Random(0)
        while any(hunt.open(self.subject.runs) for hunt in self.hunts):
            if self.subject.runs >= self.max_runs or self.steps >= self.max_steps:
                return
            while not self.queue and (mutants := list(itertools.islice(pending, 50))):
                for mutant in mutants:
                    self.push(mutant, 0)
            if not self.queue:
                if rounds > 40:
                    return
                base, unused = unused or parents[:], []
                pending = self._mutants(base[::-1][:12], rounds, rng)
                rounds += 1
                continue
            _, _, arguments = heapq.heappop(self.queue)
            content = self.subject.run(arguments)
            self.steps += self.subject.trace.steps + 20
            new, records = self.subject.trace.edges - edges, list(self.subject.trace.records)
            error = self.subject.error
            if content is not None:
                self._consider(arguments, content)
            edges |= new
            if new or not parents:
                parents.append(arguments)
                unused.append(arguments)
            if isinstance(error, TypeError) and "missing" in str(error):
                absent = [n for n in re.findall(r"'(\w+)'", str(error)) if n in self.subject.parameters]
                more = {name: self.fresh.value(self.subject.parameters[name]) for name in absent}
                self.push({**arguments, **more}, -4)
            if new or self.subject.runs < 400:
                try:
                    for other, penalty in self.proposals.after(arguments, records):
                        self.push(other, penalty - len(new))
                except (Exception, OutOfSteps):  # operands are the tool's own objects: comparing them can do anything
                    continue

    def _likely(self) -> Iterator[Arguments]:
        """The required arguments, each with the few values that question and answers suggest for it."""
        required = [name for name in self.subject.parameters if name in self.subject.required]
        pools = [self.pools.likely((name,)) for name in required]
        for values in itertools.islice(itertools.product(*pools), 300 if required else 0):
            yield dict(zip(required, values, strict=True))

    def _mutants(self, parents: list[Arguments], rounds: int, rng: random.Random) -> Iterator[Arguments]:
        """Values of the pools at each place of the parents: in order at first, then several at once at random."""
        plan = [(a, path, v) for a in parents for path in self._places(a) for v in self._values(path, rounds, rng)]
        if rounds > 1:
            rng.shuffle(plan)
        if rounds == 1:
            yield from self._pairs(parents)
        for arguments, path, value in plan:
            mutant = replaced(arguments, path, value)
            if rounds > 1:
                for _ in range(rng.randint(1, 2)):
                    other = rng.choice(self._places(mutant))
                    if values := self.pools.values(other):
                        mutant = replaced(mutant, other, rng.choice(values))
            yield mutant

    def _pairs(self, parents: list[Arguments]) -> Iterator[Arguments]:
        """Two numbers of the pools at the first two numeric places of the parents: arithmetic needs both at once."""
        for arguments in parents:
            spots = [p for p, v in leaves(arguments) if isinstance(v, int | float) and not isinstance(v, bool)][:2]
            if len(spots) == 2:
                for one, other in itertools.permutations(self.pools.numbers[:9], 2):
                    yield replaced(replaced(arguments, spots[0], one), spots[1], other)

    def _values(self, path: Path, rounds: int, rng: random.Random) -> list[Any]:
        values = self.pools.values(path)
        if rounds > 1:
            rng.shuffle(values)
        return values[: 120 if rounds else 60]

    def _places(self, arguments: Arguments) -> list[Path]:
        """Everything that can be changed: given parameters with their parts, absent ones; required ones first."""
        places = [path for path, _ in all_parts(arguments) if path[0] in self.subject.parameters]
        places += [(name,) for name in self.subject.parameters if name not in arguments]
        return sorted(places, key=lambda path: (path[0] not in self.subject.required, len(path)))

    # --- hits --------------------------------------------------------------------------------------------------------

    def _holds(self, content: str) -> list[bool]:
        """Which answers a result holds; the same result is looked at once."""
        if content not in self.held:
            fine = not reports_error(content)
            self.held[content] = [fine and holds(hunt.answer, content) for hunt in self.hunts]
        return self.held[content]

    def _consider(self, arguments: Arguments, content: str) -> None:
        fits = valid(arguments, self.subject.schema)
        for hunt, hit in zip(self.hunts, self._holds(content), strict=True):
            if hunt.published is None and published_match(spelling(hunt.answer), content):
                hunt.published = arguments
            if not hit or not fits or not hunt.open(self.subject.runs):
                continue
            if not brought(hunt.answer, arguments):
                if not guessed(hunt.answer, arguments, self._sources(hunt, arguments), self.subject.source):
                    self._proved(hunt, self._simplified(hunt, arguments))
            elif len(hunt.echoes) < _ECHOES and arguments not in hunt.echoes:
                if self._proves(hunt, arguments, echo=True):
                    self._proved(hunt, self._simplified(hunt, arguments, echo=True))
                else:
                    hunt.echoes.append(arguments)

    def _proved(self, hunt: Hunt, arguments: Arguments) -> None:
        if all(arguments != other for _, other in hunt.proofs):
            hunt.proofs.append((self._cost(hunt, arguments), arguments))
            hunt.proofs.sort(key=lambda proof: proof[0])
            hunt.deadline = hunt.deadline or self.subject.runs + _MORE_RUNS
            if len(hunt.proofs) >= _KEPT:
                hunt.deadline = 0

    def _cost(self, hunt: Hunt, arguments: Arguments) -> tuple[int, ...]:
        found = self._sources(hunt, arguments)
        return (*cost(s for path, s in found.items() if s != "code" or path not in hunt.free), len(found))

    def _sources(self, hunt: Hunt, arguments: Arguments) -> dict[Path, str]:
        return sources(arguments, self.subject.schema, self.question, hunt.known)

    def _proves(self, hunt: Hunt, arguments: Arguments, echo: bool = False) -> bool:
        """Whether a call is a proof; with `echo`, also one whose code computes an answer that the call brings along."""
        echoes = brought(hunt.answer, arguments)
        if (echoes and not echo) or not valid(arguments, self.subject.schema):
            return False
        content = self.subject.run(arguments)
        self.steps += self.subject.trace.steps
        if content is None or not self._holds(content)[self.hunts.index(hunt)]:
            return False
        told = self._sources(hunt, arguments)
        if guessed(hunt.answer, arguments, told, self.subject.source):
            return False
        return not echoes or (
            honest(hunt.answer, arguments, told)
            and computed(hunt.answer, arguments, self.subject.schema, content, self.subject.run)
        )

    def _simplified(self, hunt: Hunt, arguments: Arguments, echo: bool = False) -> Arguments:
        """The same proof with less in it, and with values that a model could know."""
        for path in [path for path, _ in all_parts(arguments)][::-1]:
            if path[0] not in (self.subject.schema.get("required") or ()) or len(path) > 1:
                shorter = _without(arguments, path)
                if shorter is not None and self._proves(hunt, shorter, echo):
                    arguments = shorter
        hunt.free = set()
        for path, source in self._sources(hunt, arguments).items():
            if source == "code" or source == "question" or source.startswith("goal:"):
                arguments = self._renamed(hunt, arguments, path, source, echo)
        return arguments

    def _renamed(self, hunt: Hunt, arguments: Arguments, path: Path, source: str, echo: bool) -> Arguments:
        """The call with one value that nobody told replaced by one that somebody did, or spelled as it was told."""
        value = next(leaf for at, leaf in leaves(arguments) if at == path)
        spec = schema_at(self.subject.schema, path)
        spec = spec if isinstance(spec, dict) else {}
        others = self._natural(spec, value, source)
        if source == "code" and all(
            self._proves(hunt, replaced(arguments, path, self.fresh.like(value, spec, self.question)), echo)
            for _ in range(2)
        ):
            hunt.free.add(path)
            about = f"{path[-1]} {spec.get('description', '')}"
            others = iter(sorted(self.pools.phrases, key=lambda phrase: -_overlap(phrase, about)))
        for other in others:
            changed = replaced(arguments, path, other)
            if other == value or self._proves(hunt, changed, echo):
                return changed
        return arguments

    def _natural(self, spec: dict[str, Any], value: Any, source: str) -> Iterator[Any]:
        """Values to put in the place of one, likeliest first; where it was told, only its other spellings."""
        answers, phrases = self.pools.answers, self.pools.phrases
        if source != "code":
            if isinstance(value, str):
                yield from [text for text in [*phrases, *answers] if text.casefold() == value.casefold()][:3]
        elif spec.get("enum"):
            yield from spec["enum"]
        elif isinstance(value, str):
            near = sorted(phrases, key=lambda phrase: -_overlap(phrase, value))
            yield from [*near[:20], *answers, *near[20:150]]
            for text in near[:12]:
                yield from (text.lower(), text.title(), text.upper(), text.lower().replace(" ", "_"))
        elif isinstance(value, int | float):
            whole = spec.get("type") == "integer"
            yield from (int(n) if n == int(n) else n for n in self.pools.numbers if not whole or n == int(n))


def _overlap(phrase: str, value: str) -> float:
    """How much two texts share: words, then pairs of letters."""
    one, other = phrase.lower(), value.lower()
    pairs = {one[i : i + 2] for i in range(len(one) - 1)}, {other[i : i + 2] for i in range(len(other) - 1)}
    return 2 * said(phrase, value) + len(pairs[0] & pairs[1]) / (1 + len(pairs[0] | pairs[1]))


def _without(arguments: Arguments, path: Path) -> Arguments | None:
    """The arguments without the part at a path; None where it is gone already."""
    parent: Any = arguments
    for key in path[:-1]:
        try:
            parent = parent[key]
        except (KeyError, IndexError, TypeError):
            return None
    if isinstance(parent, dict) and path[-1] in parent:
        rest: Any = {key: item for key, item in parent.items() if key != path[-1]}
    elif isinstance(parent, list) and isinstance(path[-1], int) and path[-1] < len(parent):
        rest = [item for index, item in enumerate(parent) if index != path[-1]]
    else:
        return None
    return replaced(arguments, path[:-1], rest) if len(path) > 1 else rest


def search(
    source: str,
    name: str,
    schema: dict[str, Any],
    targets: dict[str, dict[str, Any]],
    question: str,
    known: list[tuple[str, list[str]]],
    given: Sequence[Arguments] = (),
    max_runs: int = 4000,
) -> dict[str, Any]:
    """Looks for calls that make a tool give its answers.

    Args:
        targets: goal id -> the answer, as JSON of `Answer`.
        known: the goals of the task as (id, texts that their results tell), also this tool's own.
        given: calls to start with.

    Returns:
        {"found": goal id -> calls to replay, likeliest first, "runs": runs made, "problem": why nothing could run}
    """
    try:
        subject = Subject(source, name, schema)
    except (Exception, SystemExit, OutOfSteps) as error:
        return {"found": {goal: [] for goal in targets}, "runs": 0, "problem": f"{type(error).__name__}: {error}"}
    answers = {goal: Answer(type=t["type"], value=t["value"], text=t.get("text")) for goal, t in targets.items()}
    attempt = Search(subject, answers, question, [(goal, list(texts)) for goal, texts in known], max_runs)
    attempt.start(given)
    attempt.go()
    found = {
        goal: [call for _, call in hunt.proofs] + hunt.echoes[:2] + ([hunt.published] if hunt.published else [])
        for goal, hunt in zip(targets, attempt.hunts, strict=True)
    }
    return {"found": found, "runs": subject.runs, "problem": None}
