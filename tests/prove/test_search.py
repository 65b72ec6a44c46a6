"""What the search finds its way through: one small tool for each way in which tools look at their arguments."""

import json
from itertools import pairwise

import pytest

from prove.toolbox import environment, single, tool
from toolfoundry.prove import prove

FOUND = {
    "equality": ("def f(city: str):\n    return 'Pop 4217' if city == 'Prüm' else 'unknown'", "4217"),
    "lower case": ("def f(city: str):\n    return 'Pop 4217' if city.lower() == 'prüm' else 'unknown'", "4217"),
    "stripped and title case": (
        "def f(city: str):\n    return {'Bad Ems': 'Lahn'}.get(city.strip().title(), 'unknown')",
        "Lahn",
    ),
    "dictionary key": ("def f(city: str):\n    return {'Trier': 'Mosel', 'Prüm': 'Eifel'}.get(city, 'none')", "Eifel"),
    "tuple key": (
        "def f(team: str, sport: str = 'golf'):\n    return {('Lions', 'rugby'): 'Ellis Park'}.get((team, sport), '?')",
        "Ellis Park",
    ),
    "nested dictionaries": (
        "def f(a: str, b: str):\n    return {'x1': {'y1': {'v': 'no'}, 'y2': {'v': 'Zambezi'}}}[a][b]['v']",
        "Zambezi",
    ),
    "normalised key": (
        "def f(name: str):\n    return {'mount_fuji': 3776}[name.lower().replace(' ', '_')]",
        "3,776",
    ),
    "composed key": ("def f(a: str, b: str):\n    return {'lake-blue': 'Bled'}.get(f'{a}-{b}', '?')", "Bled"),
    "nested field": (
        "def f(place: dict):\n    return 'Meuse' if place['city'] == 'Liège' and place['near'] else '?'",
        "Meuse",
    ),
    "list membership": ("def f(tags: list):\n    return 'Basalt' if 'volcanic' in tags else '?'", "Basalt"),
    "length of a list": (
        "def f(items: list):\n    return 'Quartet' if len(items) == 4 else '?'",
        "Quartet",
    ),
    "substring": ("def f(query: str):\n    return 'Rilke' if 'duino' in query.lower() else '?'", "Rilke"),
    "prefix": ("def f(date: str):\n    return 'Ambato' if date.startswith('1949-08') else '?'", "Ambato"),
    "prefix of a date": (
        """
        from datetime import datetime
        def f(date: str, place: str):
            try:
                datetime.strptime(date, '%Y-%m-%d')
            except ValueError:
                return {'error': 'bad date'}
            return 'Hilary' if date.startswith('2023-08') and 'Baja' in place else 'none'
        """,
        "Hilary",
    ),
    "pattern": (
        "import re\ndef f(code: str):\n    return 'Vesta' if re.fullmatch(r'[A-Z]{2}-\\d{3}', code) else '?'",
        "Vesta",
    ),
    "date pattern": (
        """
        from datetime import datetime
        def f(day: str):
            try:
                when = datetime.strptime(day, '%d/%m/%Y')
            except ValueError:
                return {'error': 'bad date'}
            return 'Comet' if when > datetime(2031, 5, 1) else 'none'
        """,
        "Comet",
    ),
    "number in bounds": ("def f(n: int):\n    return 'Osmium' if 731 <= n < 733 else '?'", "Osmium"),
    "number in text": ("def f(n: str):\n    return 'Osmium' if int(n) == 731 else '?'", "Osmium"),
    "type check": (
        "def f(x: str, n=None):\n    if not isinstance(n, int):\n        return 'Error: n'\n    return 'Tungsten'",
        "Tungsten",
        {"n": {"type": "integer"}},
    ),
    "match statement": (
        "def f(kind: str):\n    match kind:\n        case 'alto':\n            return 'Cirrus'\n    return '?'",
        "Cirrus",
    ),
    "enum class": (
        """
        from enum import Enum
        class Kind(Enum):
            RED = 'red'
            BLUE = 'blue'
        def f(kind: str):
            return {Kind.RED: 'Mars', Kind.BLUE: 'Neptune'}[Kind(kind)]
        """,
        "Neptune",
        {"kind": {"type": "string", "enum": ["red", "blue"]}},
    ),
    "table of the module": (
        """
        ROWS = [{'name': 'Ada', 'field': 'logic', 'born': 1815}, {'name': 'Emmy', 'field': 'algebra', 'born': 1882}]
        def f(field: str):
            found = [row for row in ROWS if row['field'] == field]
            return found[0] if found else {'error': 'none'}
        """,
        "1882",
    ),
    "class with private names": (
        """
        class Store:
            def __init__(self):
                self.__rows = {'k7': 'Obsidian'}
            def find(self, key):
                return self.__rows.get(key, 'none') if key != 'zero' else '?'
        def f(key: str):
            return Store().find(key)
        """,
        "Obsidian",
    ),
    "loop with a way out": (
        """
        def f(n: int):
            while n > 3:
                n += 1
            return 'Krypton' if n == 2 else '?'
        """,
        "Krypton",
    ),
    "huge numbers on the way": (
        """
        import math
        def f(n: int, m: int):
            big = 9
            big **= n
            if n == 4 and n ** m == 64 and pow(big, m) and math.factorial(m):
                return 'Radon'
            return str(big * m % 10)
        """,
        "Radon",
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_proves_tools_that_look_at_arguments_by(name, sandbox):
    """The search finds a valid call for each style of looking at arguments, and the replay confirms it."""
    source, answer, *properties = FOUND[name]
    spec = prove(single(source, answer, **(properties[0] if properties else {})), sandbox)
    assert spec.proof.goals[0].status == "proved", spec.proof.goals[0].reason
    assert spec.gold_calls[0].id == "g1"


def test_arguments_come_from_the_question_where_they_can(sandbox):
    """Where the code accepts what the question says, the proof says it too, in the question's spelling."""
    source = """
    def f(event: str, year: int = 0, verbose: bool = False):
        return '12 died' if event.lower() == 'explosion at prüm' and year in (0, 1949) else 'unknown'
    """
    spec = prove(single(source, "12", "How many died in the explosion at Prüm in 1949?"), sandbox)
    assert json.loads(spec.gold_calls[0].arguments) == {"event": "explosion at Prüm"}
    assert spec.proof.goals[0].sources == {"event": "question"}


def test_values_that_do_not_matter_are_free(sandbox):
    """A required argument that the code never looks at is `free`, and the proof is fair."""
    spec = prove(
        single("def f(a: str, b: str):\n    return 'Basalt' if a == 'x' else '?'", "Basalt", "For x?"), sandbox
    )
    assert spec.proof.goals[0].sources == {"a": "question", "b": "free"}
    assert spec.proof.goals[0].fair


def test_goals_with_equal_answers_get_different_calls(sandbox):
    """Two goals of one tool with the same answer are proved by two calls, since the same call is paid once."""
    source = "def f(event: str):\n    return {'flood': 0, 'storm': 0, 'fire': 9}.get(event, 'unknown')"
    spec = prove(environment("Deaths in flood and storm?", [("f", "0"), ("f", "0")], [tool(source)]), sandbox)
    assert {call.arguments for call in spec.gold_calls} == {'{"event": "flood"}', '{"event": "storm"}'}


def test_one_table_for_two_goals_still_gives_two_calls(sandbox):
    """Where every call gives both answers, the calls differ in an optional parameter that does not matter."""
    source = "def f(verbose: bool = False):\n    return {'flood': 12, 'storm': 5000}"
    spec = prove(environment("?", [("f", "12"), ("f", "5,000")], [tool(source)]), sandbox)
    assert len({call.arguments for call in spec.gold_calls}) == 2


def test_calculators_use_earlier_results(sandbox):
    """Operands come from the answers of other goals, and the calculation needs those goals."""
    add = "def add(op: str, a: float, b: float):\n    return a + b if op == 'add' else a * b"
    height = "def height(peak: str):\n    return {'Alpha': 4217, 'Beta': 388}.get(peak, 'unknown')"
    goals = [("add", "4,605"), ("height", "4,217"), ("height", "388")]
    tools = [tool(add, op={"type": "string", "enum": ["add", "mul"]}), tool(height)]
    spec = prove(environment("Sum of the heights of Alpha and Beta?", goals, tools), sandbox)
    assert [goal.id for goal in spec.goals] == ["g2", "g3", "g1"]
    assert set(spec.goals[2].needs) == {"g2", "g3"}


def test_search_is_deterministic(sandbox):
    """The same specification gives the same proof, whatever was searched before."""
    specs = [single(*FOUND[name][:2]) for name in ("tuple key", "date pattern", "composed key")]
    first = [prove(spec, sandbox) for spec in specs]
    again = [prove(spec, sandbox) for spec in reversed(specs)][::-1]
    assert all(one == other for one, other in zip(first, again, strict=True))
    assert all(a.id != b.id for a, b in pairwise(first))
