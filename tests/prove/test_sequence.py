"""Order and edges: acyclic whatever the arguments are, and as little asked of a model as possible."""

from hypothesis import given
from hypothesis import strategies as st

from toolfoundry.prove.sequence import Proven, in_order, tells

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}


def ordered(answers, calls, question="?", free=lambda *_: False):
    """Places goals from answers (goal -> text) and calls (goal -> list of arguments)."""
    proofs = {g: [Proven(args, f"It is {answers[g]}.", False) for args in found] for g, found in calls.items()}
    return in_order(proofs, answers, {goal: dict(SCHEMA) for goal in proofs}, question, free)


def test_goals_wait_for_the_answers_they_use():
    """A goal whose argument is another's answer comes after it and needs it."""
    placed = ordered({"g1": "Lahn", "g2": "Bad Ems"}, {"g1": [{"a": "Bad Ems"}], "g2": [{"a": "spa"}]}, "Which spa?")
    assert [(entry.goal, entry.needs) for entry in placed] == [("g2", ()), ("g1", ("g2",))]


def test_the_question_is_preferred_to_an_edge():
    """Of two calls the one wins that needs no other goal."""
    calls = {"g1": [{"a": "Bad Ems"}, {"a": "spa"}], "g2": [{"a": "spa"}]}
    placed = ordered({"g1": "Lahn", "g2": "Bad Ems"}, calls, "Which spa?")
    assert all(entry.needs == () for entry in placed)


def test_an_edge_is_preferred_to_a_secret():
    """A goal waits for another rather than take a value that nobody told."""
    calls = {"g1": [{"a": "zinc"}, {"a": "Bad Ems"}], "g2": [{"a": "spa"}]}
    placed = ordered({"g1": "Lahn", "g2": "Bad Ems"}, calls, "Which spa?")
    assert placed[1].call.arguments == {"a": "Bad Ems"}


def test_circles_are_cut():
    """Two goals that use each other's answers: one goes first, with a value that nobody told."""
    calls = {"g1": [{"a": "Bad Ems"}], "g2": [{"a": "Lahn"}]}
    placed = ordered({"g1": "Lahn", "g2": "Bad Ems"}, calls)
    assert [entry.sources[("a",)] for entry in placed] == ["code", "goal:g1"]


def test_free_places_make_no_edge():
    """A value that does not matter needs no goal, whatever it looks like."""
    calls = {"g1": [{"a": "Bad Ems"}], "g2": [{"a": "spa"}]}
    placed = ordered({"g1": "Lahn", "g2": "Bad Ems"}, calls, "Which spa?", lambda *_: True)
    assert [entry.needs for entry in placed] == [(), ()]


def test_results_tell_all_their_values():
    """Later goals may use any value of a result, the answer first."""
    assert tells("Lahn", '{"river": "Lahn", "km": 245, "dry": false}') == ["Lahn", "Lahn", "245"]
    assert tells("Lahn", "The Lahn is long.") == ["Lahn", "The Lahn is long."]


texts = st.sampled_from(["spa", "Bad Ems", "Lahn", "Koblenz", "zinc", "Bad Ems Lahn"])
arguments = st.dictionaries(st.sampled_from(["a", "b"]), texts, max_size=2)


@given(
    st.dictionaries(
        st.sampled_from(["g1", "g2", "g3", "g4"]),
        st.tuples(texts, st.lists(arguments, min_size=1, max_size=3)),
        min_size=1,
    ),
    st.sampled_from(["?", "Which spa?", "Is Koblenz a spa?"]),
)
def test_edges_always_point_back(goals, question):
    """Every goal is placed once, after all that it needs, and needs no edge to itself."""
    answers = {goal: answer for goal, (answer, _) in goals.items()}
    placed = ordered(answers, {goal: calls for goal, (_, calls) in goals.items()}, question)
    assert sorted(entry.goal for entry in placed) == sorted(goals)
    for index, entry in enumerate(placed):
        assert set(entry.needs) <= {earlier.goal for earlier in placed[:index]}
