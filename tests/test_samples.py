"""From trajectories to samples: what is trained was sampled, prefixes carry the state, nothing is out of step."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fakes import TABLE, CannedExecutor, assistant, call, capital_spec, says
from spoken import DIALECTS, TOOLS, ByteCodec, oddly_spelled, play, sampled_turns, say
from toolfoundry.environment import opening
from toolfoundry.policies.scripted import make
from toolfoundry.reward import trajectory_value
from toolfoundry.rollout import run_rollout
from toolfoundry.samples import Sample, conversation, demonstration_samples, episode_samples, fits, prefixes
from toolfoundry.store import RecordWriter, read
from toolfoundry.types import Fault, Limits, Message

names = st.sampled_from(sorted(DIALECTS))
codec = ByteCodec()


def spoken(*texts):
    return [codec.encode(text + "<|im_end|>") for text in texts]


def rollout(*arguments, **options):
    return asyncio.run(run_rollout(*arguments, **options))


# --- whole episodes -------------------------------------------------------------------------------------------------


@given(names, sampled_turns())
@settings(max_examples=150, deadline=None)
def test_what_is_trained_was_sampled(name, sampled):
    """Over the samples of an episode, the ids under the mask are the sampled ids, all of them, in order, with their
    log-probabilities, and each stands behind the very prompt at which it was sampled."""
    dialect = DIALECTS[name]
    trajectory, prompts, _ = play(dialect, sampled)
    samples = episode_samples(trajectory, TOOLS, dialect)
    trained, turns, logprobs = [], [], []
    for sample in samples:
        places = [place for place, masked in enumerate(sample.mask) if masked]
        assert len(places) == len(sample.turns) == len(sample.logprobs) > 0
        for place, turn in zip(places, sample.turns, strict=True):
            if turn != (turns[-1] if turns else None):
                assert list(sample.token_ids[:place]) == prompts[turn].ids
            trained.append(sample.token_ids[place])
            turns.append(turn)
        logprobs += sample.logprobs
    assert trained == [i for ids in sampled for i in ids]
    assert turns == [turn for turn, ids in enumerate(sampled) for _ in ids]
    assert logprobs == [-0.5 - i for ids in sampled for i in range(len(ids))]


@given(names, sampled_turns())
@settings(max_examples=100, deadline=None)
def test_rewards_and_score_belong_to_the_turns_of_a_sample(name, sampled):
    """`turn_rewards` has one number for each turn of the sample; the score is the whole trajectory's."""
    dialect = DIALECTS[name]
    trajectory = play(dialect, sampled).trajectory
    rewards = [turn.reward.value for turn in trajectory.turns]
    found = []
    for sample in episode_samples(trajectory, TOOLS, dialect):
        first, last = sample.turns[0], sample.turns[-1]
        assert list(sample.turn_rewards) == rewards[first : last + 1]
        assert sample.score == trajectory_value(trajectory)
        assert (sample.key, sample.group) == (trajectory.key, trajectory.task.spec_id)
        found += sample.turn_rewards
    assert found == rewards


def test_an_episode_is_split_where_thinking_is_dropped():
    """Qwen3 keeps the thinking until the next question; what a notice cuts off is a sample of its own."""
    thought = "<think>\nHm.\n</think>\n\n"
    turns = [f"{thought}{say('right')}", f"<think>\n{say('right')}\n</think>\n\nWell?", f"{thought}<answer>42</answer>"]
    dialect = DIALECTS["qwen3-thinking"]
    first, second = episode_samples(play(dialect, spoken(*turns)).trajectory, TOOLS, dialect)
    assert (set(first.turns), set(second.turns)) == ({0, 1}, {2})
    assert "<think>" in codec.decode(first.token_ids[: first.mask.index(True) + 10])
    assert "<think>" not in codec.decode(second.token_ids[: second.mask.index(True)])


def test_a_turn_without_thinking_is_split_off_while_thinking_is_on():
    """The template takes the empty block of an earlier turn back: the turns after it see another text."""
    dialect = DIALECTS["qwen3-thinking"]
    turns = spoken(f"<think>\n\n</think>\n\n{say('right')}", f"<think>\nHm.\n</think>\n\n{say('right')}", "Done.")
    samples = episode_samples(play(dialect, turns).trajectory, TOOLS, dialect)
    assert [sorted(set(sample.turns)) for sample in samples] == [[0], [1, 2]]


def test_unscored_turns_keep_their_place():
    """A turn without reward is None among the others, so that no reward belongs to another turn's tokens."""
    trajectory = play(DIALECTS["hermes"], spoken(say("right"), say("left"), "42")).trajectory
    first, second, third = trajectory.turns
    trajectory = trajectory.model_copy(update={"turns": (first, second.model_copy(update={"reward": None}), third)})
    [sample] = episode_samples(trajectory, TOOLS, DIALECTS["hermes"])
    # two goals are ready, one call solves one: 2*1 / (1+2); not scored; the answer with two goals open: 1 / (1+2)
    assert sample.turn_rewards == (pytest.approx(2 / 3), None, pytest.approx(1 / 3))


def test_a_failed_rollout_has_no_score():
    """An infrastructure failure leaves the score None: not scored, which is not 0."""
    trajectory = play(DIALECTS["hermes"], spoken(say("right"))).trajectory
    failed = trajectory.model_copy(update={"stop": "error", "error": "it broke"})
    assert [sample.score for sample in episode_samples(failed, TOOLS, DIALECTS["hermes"])] == [None]


def test_an_episode_without_turns_has_no_samples():
    """There is nothing to learn from a rollout that failed at its first turn."""
    assert episode_samples(play(DIALECTS["hermes"], []).trajectory, TOOLS, DIALECTS["hermes"]) == []


def test_ids_are_never_made_up():
    """A trajectory of an endpoint, without ids, is no episode sample; as a demonstration it can be spelled."""
    trajectory = play(DIALECTS["hermes"], spoken(say("right"), "42")).trajectory
    bare = [
        turn.model_copy(update={"completion": turn.completion.model_copy(update={"token_ids": ()})})
        for turn in trajectory.turns
    ]
    trajectory = trajectory.model_copy(update={"turns": (trajectory.turns[0], bare[1])})
    with pytest.raises(ValueError, match=r"s{16}/p/0: has no token ids, expected those that the policy sampled"):
        episode_samples(trajectory, TOOLS, DIALECTS["hermes"])
    assert len(demonstration_samples(trajectory, TOOLS, DIALECTS["hermes"])) == 1


def test_log_probabilities_are_all_there_or_none():
    """One turn without leaves its sample without: a part of them would be out of step with the mask."""
    trajectory = play(DIALECTS["hermes"], spoken(say("right"), "42")).trajectory
    last = trajectory.turns[1]
    without = last.model_copy(update={"completion": last.completion.model_copy(update={"logprobs": None})})
    trajectory = trajectory.model_copy(update={"turns": (trajectory.turns[0], without)})
    [sample] = episode_samples(trajectory, TOOLS, DIALECTS["hermes"])
    assert sample.logprobs == ()
    assert sum(sample.mask) > 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mask": (True, False)}, "mask"),
        ({"turns": (0,)}, "turns"),
        ({"logprobs": (0.0, 0.0, 0.0)}, "logprobs"),
        ({"advantages": (1.0,)}, "advantages"),
    ],
)
def test_a_sample_that_is_out_of_step_is_refused(fields, message):
    """Ids, mask and what belongs to masked tokens must fit each other when a sample is made or read."""
    good = {"key": "k", "group": "g", "token_ids": (1, 2, 3), "mask": (False, True, True), "turns": (0, 0)}
    assert Sample(**good).turns == (0, 0)
    with pytest.raises(ValidationError, match=message):
        Sample(**{**good, **fields})


def test_samples_survive_a_file(tmp_path):
    """Written and read, a sample is the same; its unscored turns are still None."""
    [sample] = episode_samples(
        play(DIALECTS["hermes"], spoken(say("right"), "42")).trajectory, TOOLS, DIALECTS["hermes"]
    )
    sample = sample.model_copy(update={"turn_rewards": (0.5, None), "score": None})
    with RecordWriter(tmp_path / "samples.jsonl", Sample) as writer:
        writer.write(sample)
    assert list(read(tmp_path / "samples.jsonl", Sample)) == [sample]


def test_samples_that_are_too_long_are_left_out():
    """Nothing is cut: a sample fits as it is, or not at all."""
    samples = [Sample(key="k", group="g", token_ids=(1,) * n, mask=(True,) * n) for n in (3, 5, 4)]
    assert [len(sample.token_ids) for sample in fits(samples, 4)] == [3, 4]


# --- demonstrations -------------------------------------------------------------------------------------------------


@given(names, sampled_turns())
@settings(max_examples=100, deadline=None)
def test_a_demonstration_spells_what_the_template_writes(name, sampled):
    """Each sample is the template's text up to its last turn, each turn's mask spells that turn, its end included."""
    dialect = DIALECTS[name]
    trajectory = play(dialect, sampled).trajectory
    seen = []
    for sample in demonstration_samples(trajectory, TOOLS, dialect):
        last = sample.turns[-1]
        message = trajectory.turns[last].completion.message
        shown = dialect.chat.render(conversation(trajectory, last), TOOLS, generation=True, thinking=dialect.thinking)
        said = dialect.chat.completion(message, thinking=dialect.thinking)
        assert codec.decode(sample.token_ids) == shown + said
        masked = [i for i, m in zip(sample.token_ids, sample.mask, strict=True) if m]
        for turn in sorted(set(sample.turns)):
            ids = [i for i, t in zip(masked, sample.turns, strict=True) if t == turn]
            assert ids == dialect.spell(trajectory.turns[turn].completion.message)
        seen += sorted(set(sample.turns))
    assert seen == list(range(len(sampled)))


# --- prefixes -------------------------------------------------------------------------------------------------------


def test_k_tool_turns_give_k_plus_1_prefixes():
    """One at the start, one after each turn with tool results, none after the answer; with what was open there."""
    spec = capital_spec()
    trajectory = rollout(make("gold", spec, 0), spec, CannedExecutor(TABLE), sample=3)
    found = prefixes(trajectory)
    assert [prefix.key for prefix in found] == [f"{trajectory.key}#{turn}" for turn in (0, 1, 2)]
    assert [prefix.unsolved for prefix in found] == [("g1", "g2"), ("g2",), ()]
    assert [prefix.solve_rate for prefix in found] == [0.0, 0.5, 1.0]
    assert [len(prefix.credited) for prefix in found] == [0, 1, 2]
    assert {prefix.sample for prefix in found} == {3}
    assert found[0].messages == opening(spec).messages
    assert [message.role for message in found[2].messages] == ["user", "assistant", "tool", "assistant", "tool"]
    assert all(prefix.said == () for prefix in found)


def test_turns_without_results_give_no_prefix_but_stay_in_the_later_ones():
    """A fault is answered by a notice: that is no tool turn, and the model reads it in every later prefix."""
    spec = capital_spec()
    faulty = assistant("<tool_response>", faults=(Fault(kind="invented_result", detail="Velden"),))
    policy = says(faulty, assistant("", call("author_of", "Tides")), assistant("", call("town_of", "Nobody")))
    trajectory = rollout(policy, spec, CannedExecutor(TABLE), Limits(max_turns=3))
    found = prefixes(trajectory)
    assert [prefix.key.rpartition("#")[2] for prefix in found] == ["0", "2", "3"]
    assert [prefix.unsolved for prefix in found] == [("g1", "g2"), ("g2",), ("g2",)]
    assert [message.role for message in found[1].messages] == ["user", "assistant", "user", "assistant", "tool"]
    assert found[2].messages[-1].content.startswith("Error: raised: KeyError")


def test_a_failed_rollout_gives_the_prefixes_it_had():
    """What happened before the failure did happen; a rollout that never began gives nothing."""
    spec = capital_spec()
    policy = says(assistant("", call("author_of", "Tides")), RuntimeError("gone"))
    trajectory = rollout(policy, spec, CannedExecutor(TABLE))
    assert trajectory.stop == "error"
    assert [prefix.unsolved for prefix in prefixes(trajectory)] == [("g1", "g2"), ("g2",)]
    assert prefixes(trajectory.model_copy(update={"prompt": (), "turns": ()})) == []


def test_the_state_is_that_of_the_reward_that_is_trained_with():
    """A goal that only the release's substring rule sees solved is open for `frontier`, and closed for `ftrl`."""
    spec = capital_spec()
    table = {("author_of", "Tides"): "by Mira Olsenius"}
    trajectory = rollout(says(assistant("", call("author_of", "Tides")), assistant("?")), spec, CannedExecutor(table))
    assert [prefix.unsolved for prefix in prefixes(trajectory)] == [("g1", "g2"), ("g1", "g2")]
    assert [prefix.unsolved for prefix in prefixes(trajectory, "ftrl")] == [("g1", "g2"), ("g2",)]


@given(names, sampled_turns())
@settings(max_examples=100, deadline=None)
def test_a_prefix_is_spoken_as_in_its_rollout(name, sampled):
    """The prompt ids of a prefix are those that the rollout's next turn was sampled at."""
    dialect = DIALECTS[name]
    trajectory, prompts, _ = play(dialect, sampled)
    for prefix in prefixes(trajectory):
        turn = int(prefix.key.rpartition("#")[2])
        if turn < len(prompts):
            assert dialect.prompt(prefix.messages, TOOLS, prefix.said) == prompts[turn]


# --- golden files ---------------------------------------------------------------------------------------------------

_THOUGHT = "<think>\nThe tool\nknows.\n</think>\n\n"
_ONE, _TWO, _RIGHT = say("left", '{"n": 1}'), say("left", '{"n": 2}'), say("right")
TURNS = {
    "answered": [_RIGHT, "<answer>42</answer>"],
    "parallel": [f"Both.\n{_ONE}\n{_RIGHT}", _TWO, "It is 42, I think."],
    "faulty": [say("left", "[broken"), f"See:\n<tool_response>\n42\n</tool_response>\n{_RIGHT}", "é"],
}
GOLDEN = Path(__file__).parent / "golden"


def _golden(name):
    """Rendered text, ids and mask of every sample of the three trajectories; the last turn of `faulty` is cut off."""
    dialect, made = DIALECTS[name], {}
    for case, turns in TURNS.items():
        thought = _THOUGHT if name == "qwen3-thinking" else ""
        sampled = [oddly_spelled(ids) for ids in spoken(*(thought + text for text in turns))]
        if case == "faulty":
            sampled[-1].pop()
        trajectory = play(dialect, sampled, prompt=(Message(role="system", content="Be brief."), _QUESTION)).trajectory
        made[case] = [
            {
                "text": codec.decode(sample.token_ids).splitlines(keepends=True),
                "ids": " ".join(map(str, sample.token_ids)),
                "mask": "".join("01"[masked] for masked in sample.mask),
                "turn_rewards": sample.turn_rewards,
            }
            for sample in episode_samples(trajectory, TOOLS, dialect)
        ]
    return made


_QUESTION = Message(role="user", content="What is left of the left?")


@pytest.mark.parametrize("name", DIALECTS)
def test_golden_samples(name, request):
    """Text, ids and mask of three trajectories in each format. Changing these changes training."""
    file = GOLDEN / f"samples-{name}.json"
    made = json.loads(json.dumps(_golden(name)))
    if request.config.getoption("--update-golden"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n")
    assert made == json.loads(file.read_text())
