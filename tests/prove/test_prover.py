"""Whole specifications: statuses, edges, gold calls, and tools that try to cheat or to break the prover."""

import hashlib
import json

import pytest

from prove.toolbox import environment, single, tool
from toolfoundry.prove import fair, prove, prove_all, reason_against, summarise
from toolfoundry.types import EnvSpec, ToolCall, ToolResult

RIVER = "def river(town: str):\n    return {'Bad Ems': 'Lahn', 'Trier': 'Mosel'}.get(town, 'unknown')"
SPA = "def spa(state: str):\n    return {'spas': ['Bad Ems']} if state.lower() == 'hesse' else {'error': 'none'}"
LENGTH = "def length(name: str, unit: str = 'km'):\n    return {'km': 245 if name == 'Lahn' else 0}"


def status(spec, goal="g1"):
    return next(proof for proof in spec.proof.goals if proof.goal == goal)


@pytest.fixture(scope="module")
def chain():
    """Three goals, given in an order in which they cannot be played."""
    tools = [tool(LENGTH), tool(RIVER), tool(SPA)]
    goals = [("length", "245"), ("river", "Lahn"), ("spa", "Bad Ems")]
    return environment("How long is the river of the spa town in Hesse?", goals, tools)


def test_a_whole_task_is_put_in_order(chain, sandbox):
    """Goals come in the order of play with their needs, and the gold calls are named after them."""
    spec = prove(chain, sandbox)
    assert [(goal.id, goal.needs) for goal in spec.goals] == [("g3", ()), ("g2", ("g3",)), ("g1", ("g2",))]
    assert [(call.id, call.name) for call in spec.gold_calls] == [("g3", "spa"), ("g2", "river"), ("g1", "length")]
    assert json.loads(spec.gold_calls[0].arguments) == {"state": "Hesse"}
    assert [proof.sources for proof in spec.proof.goals] == [
        {"state": "question"},
        {"town": "goal:g3"},
        {"name": "goal:g2"},
    ]
    assert fair(spec)
    assert reason_against(spec) is None


def test_gold_calls_play_through(chain, sandbox):
    """Played in their order in a fresh session, the gold calls give the answers."""
    spec = prove(chain, sandbox)
    with sandbox.session({t.name: t.source for t in spec.tools}) as session:
        results = session.batch([(call.name, json.loads(call.arguments)) for call in spec.gold_calls])
    assert [result.content for result in results] == ['{"spas": ["Bad Ems"]}', "Lahn", '{"km": 245}']


def test_proving_twice_changes_nothing(chain, sandbox):
    """A proved specification, proved again, keeps its id and its proof."""
    once = prove(chain, sandbox)
    assert prove(once, sandbox) == once


def test_known_edges_stay(chain, sandbox):
    """A specification that knows its edges keeps them and its order, and gets gold calls in that order."""
    goals = tuple(goal.model_copy(update={"needs": (), "echo_ok": True}) for goal in chain.goals)
    spec = prove(chain.replace(goals=goals), sandbox)
    assert spec.goals == goals
    assert [call.id for call in spec.gold_calls] == ["g1", "g2", "g3"]
    assert status(spec, "g1").sources == {"name": "goal:g2"}


def test_what_is_not_proved_stays_open(chain, sandbox):
    """Unproved goals come last with unknown needs; goals that use their answers take them from nobody."""
    broken = chain.replace(tools=(*chain.tools[:2], tool("def spa(state: str):\n    return 'unknown'")))
    spec = prove(broken, sandbox)
    assert [(goal.id, goal.needs) for goal in spec.goals] == [("g2", ()), ("g1", ("g2",)), ("g3", None)]
    assert [goal.echo_ok for goal in spec.goals] == [False, False, None]
    assert [call.id for call in spec.gold_calls] == ["g2", "g1"]
    assert status(spec, "g2").sources == {"town": "code"}
    assert "only the tool's source tells town = 'Bad Ems'" in reason_against(spec)


QUOTING = "def f(town: str):\n    return f'{town} has a quarry.' if town == 'Prüm' else 'No quarry.'"
LISTING = "def f(town: str):\n    return {'error': 'use one of Prüm, Trier'} if town not in ('x', 'y') else 'nothing'"
PARTIAL = "def f(town: str):\n    return 'founded in 2010' if town == 'Prüm' else 'unknown'"
FORBIDDEN = "def f(town: str):\n    return 'Basalt' if town == 'Prüm' else 'unknown'"


@pytest.mark.parametrize(
    ("source", "answer", "schema", "reason"),
    [
        (QUOTING, "Prüm", {}, "argument"),
        (LISTING, "Prüm", {}, "error report"),
        (PARTIAL, "1", {}, "part of other words"),
        (FORBIDDEN, "Basalt", {"town": {"type": "string", "enum": ["Trier"]}}, "schema forbids"),
    ],
)
def test_published_rule_only(source, answer, schema, reason, sandbox):
    """What only the release's substring rule accepts is told apart, with what is wrong with it."""
    spec = prove(single(source, answer, **schema), sandbox)
    assert status(spec).status == "published_only"
    assert reason in status(spec).reason
    assert spec.gold_calls is None
    assert spec.goals[0].needs is None


IMPORT = "def f(town: str):\n    '''About towns.'''\n    {}\n    return town\n"


@pytest.mark.parametrize(
    ("source", "expected", "reason"),
    [
        (IMPORT.format("import pytz"), "unsolvable", "pytz"),
        ("import numpy\n" + IMPORT.format("pass"), "unsolvable", "numpy"),
        (
            "def f(t: str):\n    if not t:\n        return 'Error'\n    import pytz\n    return 'x'",
            "unsolvable",
            "pytz",
        ),
        ("def f(t: str):\n    if t:\n        return 'Trier'\n    return ['Mosel', 4]", "unsolvable", "constant"),
        ("def f(t: str):\n    for c in t:\n        return 'Trier'\n    t.x = 1", "unsolvable", "constant"),
        ("def f(t: str):\n    return 'Trier' if t else 'Mosel'", "not_found", "the code has no 'vulkaneifel'"),
        ("def f(t: str):\n    return t.upper()", "published_only", "argument"),
    ],
)
def test_unsolvable_needs_an_argument(source, expected, reason, sandbox):
    """A goal is called unsolvable only where the source shows it; else the search's failure is all that is said."""
    proof = status(prove(single(source, "Vulkaneifel"), sandbox))
    assert (proof.status, reason in proof.reason) == (expected, True)


def test_a_source_without_the_function_is_unsolvable(sandbox):
    """No function of that name, or no syntax: both are said."""
    good = tool("def f(town: str):\n    return 'Mosel'")
    for source, reason in (("def g(town):\n    return 'Mosel'", "no function"), ("def f(:", "does not parse")):
        broken = good.model_copy(update={"source": source})
        proof = status(prove(environment("?", [("f", "Mosel")], [broken]), sandbox))
        assert (proof.status, reason in proof.reason) == ("unsolvable", True)


@pytest.mark.parametrize(
    "source",
    [
        "def f(town: str):\n    try:\n        import pytz\n    except ImportError:\n        pass\n    return 'Mosel'",
        "def f(town: str):\n    if town == 'tz':\n        import pytz\n    return 'Mosel'",
        "f = lambda town: 'Mosel'\ndef g(): pass",
        "def h(town):\n    return 'Mosel'\nf = h",
    ],
)
def test_solvable_is_never_called_unsolvable(source, sandbox):
    """Imports that may be skipped and functions bound in other ways leave the question open at least."""
    template = tool("def f(town: str):\n    return 1")
    spec = prove(environment("?", [("f", "Mosel")], [template.model_copy(update={"source": source})]), sandbox)
    assert status(spec).status != "unsolvable"


HOSTILE = {
    "answers only under search": "def f(town: str):\n    return 'Mosel' if '_tf_tick' in globals() else 'unknown'",
    "ends the process": "import os\ndef f(town: str):\n    os._exit(0)",
    "never ends": "def f(town: str):\n    while True:\n        try:\n            while True: pass\n"
    "        except BaseException: pass",
    "endless in C": "def f(town: str):\n    return sum(range(10**12))",
    "exits": "def f(town: str):\n    raise SystemExit('Mosel')",
    "takes all memory": "def f(town: str):\n    return 'x' * (1 << 40)",
    "rewrites the search": """
        import sys
        def f(town: str):
            frame = sys._getframe()
            while frame:
                if frame.f_code.co_name == 'search':
                    frame.f_globals['holds'] = lambda *_: True
                    frame.f_globals['reports_error'] = lambda *_: False
                frame = frame.f_back
            return 'unknown'
        """,
    "forges what json writes": """
        import json
        def f(town: str):
            json.dumps = lambda *_, **__: '{"found": {"g1": [{"town": "x"}]}, "problem": null}'
            return 'unknown'
        """,
    "knows the first call": """
        import math
        def f(town: str):
            first = not hasattr(math, 'seen')
            math.seen = True
            return 'Mosel' if first else 'unknown'
        """,
    "objects with teeth": """
        class Bad(str):
            def __eq__(self, other): raise MemoryError
            def __repr__(self): raise KeyError
            __hash__ = str.__hash__
        def f(town: str):
            try:
                return {Bad('x'): 1}[Bad(town)] == Bad('y')
            except BaseException:
                return Bad('unknown')
        """,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tools_prove_nothing(name, sandbox):
    """A tool that tampers with the search or dies in it proves nothing, breaks nothing, and spoils no other tool."""
    bad = tool(HOSTILE[name])
    spec = environment("Which river at Trier?", [("f", "Mosel"), ("river", "Mosel")], [bad, tool(RIVER)])
    proved = prove(spec, sandbox)
    assert status(proved, "g1").status != "proved"
    assert status(proved, "g1").reason
    assert status(proved, "g2").status == "proved"


ODD = {
    "reference to the network": {"town": {"$ref": "http://127.0.0.1:9/schema.json"}},
    "options that are none": {"town": {"type": "string", "enum": 5}},
    "bounds that are none": {"town": {"type": "array", "minItems": "two"}},
    "anything": {"town": True},
    "nothing": {"town": False},
    "an endless pattern": {"town": {"type": "string", "pattern": "^(a+)+(b{50}){50}$"}},
    "a broken pattern": {"town": {"type": "string", "pattern": "(["}},
    "a deep default": {"town": {"type": "object", "default": {"a": [[[[[{}]]]]]}}},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_schemas_break_nothing(name, sandbox):
    """Whatever the schema of one tool is, the prover ends with a status and the other tools are proved."""
    odd = tool("def f(town: str):\n    return 'Mosel' if town == 'Trier' else 'unknown'", **ODD[name])
    proved = prove(environment("At Trier?", [("f", "Mosel"), ("river", "Mosel")], [odd, tool(RIVER)]), sandbox)
    assert (status(proved, "g1").status == "proved") == (name == "anything")
    assert status(proved, "g2").status == "proved"


class TakenOver:
    """A sandbox whose search says what a hostile tool made it say; replays are real."""

    def __init__(self, box, content):
        self.box, self.content = box, content

    def session(self, sources, **options):
        return self if "search" in sources else self.box.session(sources, **options)

    def batch(self, calls):
        return [ToolResult(call_id="", content=self.content) for _ in calls]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[]",
        '{"found": 7}',
        '{"found": {"g1": {"town": "Trier"}}}',
        '{"found": {"g1": [7, null, "x", {"town": 1e308}, {"a": 1}]}}',
        '{"found": {"g1": [' + '{"town":' * 200 + "1" + "}" * 200 + "]}}",
        '{"found": {"g1": [{"town": "' + "x" * 100_000 + '"}]}}',
        '{"found": {"g9": [{"town": "Trier"}]}, "problem": ["' + "y" * 1000 + '"]}',
    ],
)
def test_a_search_that_was_taken_over_proves_nothing(content, sandbox):
    """Whatever text comes back from the search, the prover ends with a status, and believes only the replay."""
    spec = single("def f(town: str):\n    return 'Mosel' if town == 'Prüm' else 'unknown'", "Mosel")
    assert status(prove(spec, TakenOver(sandbox, content))).status == "not_found"


def test_a_true_call_counts_whoever_says_it(sandbox):
    """A call that the replay confirms is a proof, also from a search that was taken over."""
    spec = single("def f(town: str):\n    return 'Mosel' if town == 'Prüm' else 'unknown'", "Mosel")
    content = '{"found": {"g1": [{"town": "Prüm"}]}}'
    assert status(prove(spec, TakenOver(sandbox, content))).status == "proved"


def test_known_gold_calls_are_kept(sandbox):
    """A call that the specification brings along is tried, also where the search alone would not find it."""
    key = "correct horse"
    digest = hashlib.sha256(key.encode()).hexdigest()
    test = f"hashlib.sha256(key.encode()).digest() == bytes.fromhex({digest!r})"
    source = f"import hashlib\ndef f(key: str):\n    return 'Mosel' if {test} else '?'"
    spec = single(source, "Mosel")
    assert status(prove(spec, sandbox)).status == "not_found"
    spec = spec.replace(gold_calls=(ToolCall(id="g1", name="f", arguments=json.dumps({"key": key})),))
    assert json.loads(prove(spec, sandbox).gold_calls[0].arguments) == {"key": key}


def test_tools_with_state_are_left_alone(chain, sandbox):
    """Tools that work on a database are not searched, and it is said."""
    proof = status(prove(chain.replace(state={"rows": []}), sandbox))
    assert (proof.status, proof.reason) == ("not_found", "the tools work on a state")


def test_several_at_once_keep_their_order(chain, sandbox):
    """`prove_all` gives the same specifications in the same order, however many run at a time."""
    specs = [chain, single(PARTIAL, "2010"), chain]
    assert list(prove_all(specs, sandbox, jobs=2)) == list(prove_all(specs, sandbox))


def test_summary_adds_up(chain, sandbox):
    """Statuses add up to the goals, and each task without a fair sequence has its reason."""
    specs = [*prove_all([chain, single(QUOTING, "Prüm"), single(FORBIDDEN, "Basalt")], sandbox), chain]
    summary = summarise(specs)
    assert (summary.tasks, summary.goals, summary.proved, summary.published_only) == (3, 5, 4, 1)
    assert summary.published == summary.proved + summary.published_only
    assert (summary.sequences, summary.fair_tasks, len(summary.unfair)) == (2, 1, 2)
    assert sum(summary.reasons.values()) == 2
    assert EnvSpec.model_validate_json(specs[0].model_dump_json()) == specs[0]
