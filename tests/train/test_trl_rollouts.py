"""Prefixes and episodes through TRL: the ids are ours, the mask is true, and the rewards are those of the core."""

import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip("trl", reason="needs the extra train")

from fakes import TABLE, CannedExecutor, CannedSession, call, capital_spec, says
from toolfoundry.advantages import response_advantages
from toolfoundry.chat import chat_format
from toolfoundry.environment import opening
from toolfoundry.errors import FoundryError, InputError, SandboxError
from toolfoundry.policies.sampling import Sampled
from toolfoundry.policies.transformers import HFCodec
from toolfoundry.rollout import run_rollout
from toolfoundry.samples import prefixes
from toolfoundry.scoring import Response, score_responses
from toolfoundry.tokens import Dialect
from toolfoundry.train import trl_rollouts
from toolfoundry.train.trl_backend import train_round
from toolfoundry.types import Message, Tool
from train.toy_model import toy_model, toy_tokenizer
from train.trl_toy import recorded, toy_config

SPEC = capital_spec()
AUTHOR = Message(role="assistant", tool_calls=(call("author_of", "Tides"),))
TOWN = Message(role="assistant", tool_calls=(call("town_of", "Mira Olsen"),))
WRONG = Message(role="assistant", tool_calls=(call("distractor", "Tides"),))
ANSWER = Message(role="assistant", content="<answer>Velden</answer>")
GUESS = Message(role="assistant", content="I do not know what to say about any of that, sorry.")
BROKEN = Message(role="assistant", tool_calls=(call("author_of", "boom"),))


class Breaking(CannedExecutor):
    """Executes as the table says, and breaks down at "boom"."""

    def session(self, sources, *, state=None, seed=0):
        super().session(sources)
        return BreakingSession(self)


class BreakingSession(CannedSession):
    async def abatch(self, calls):
        if any(arguments.get("x") == "boom" for _, arguments in calls):
            raise SandboxError("the worker is gone")
        return await super().abatch(calls)


def dialect(chat="hermes", thinking=False):
    return Dialect(chat_format(chat), HFCodec(toy_tokenizer(), chat_format(chat).end_tokens), thinking)


def speaks(monkeypatch, choose, spoken=None):
    """Puts a sampler in the model's place that says `choose(turn, place, text)`; gives the prompts it was given."""
    spoken = spoken or dialect()
    asked = []

    class Scripted:
        def __init__(self, model, end_ids):
            pass

        def sample(self, requests, *, max_tokens, temperature):
            found = []
            for place, request in enumerate(requests):
                asked.append(list(request.prompt_ids))
                text = spoken.codec.decode(request.prompt_ids)
                ids = spoken.spell(choose(text.count("<|im_start|>assistant") - 1, place, text))
                found.append(Sampled(ids, [-0.5] * len(ids)))
            return found

    monkeypatch.setattr(trl_rollouts, "TransformersSampler", Scripted)
    return asked


def gold_prefixes():
    trajectory = asyncio.run(run_rollout(says(AUTHOR, TOWN, ANSWER), SPEC, CannedExecutor(TABLE)))
    return prefixes(trajectory)


def config(**changes):
    """3 prompts x 4 responses, one update, nothing but the policy gradient."""
    fields = {"prompts_per_step": 3, "group_size": 4, "prompts_per_update": None, "samples_per_device": 4}
    return toy_config(**{**fields, "steps_per_round": 1, "kl_coefficient": 0.0, **changes})


def unpadded(batch, name):
    """The ids of each row, without padding."""
    rows = zip(batch[f"{name}_ids"], batch[f"{name}_mask"].bool(), strict=True)
    return [ids[mask].tolist() for ids, mask in rows]


# --- prefixes ------------------------------------------------------------------------------------------------------

SAID = [AUTHOR, TOWN, ANSWER, GUESS]


def test_prefix_batch(tmp_path, monkeypatch):
    """Prompts are the ids of the dialect, responses the sampled ones; rewards and advantages are the core's, and the
    metrics say what happened."""
    batches, rows = recorded(monkeypatch), []
    speaks(monkeypatch, lambda turn, place, text: SAID[place % 4])
    found = gold_prefixes()
    assert [len(prefix.unsolved) for prefix in found] == [2, 1, 0]
    model, tokenizer = toy_model()
    spoken = dialect()
    stats = train_round(
        config(), model, tokenizer, spoken, found, {SPEC.id: SPEC}, CannedExecutor(TABLE), tmp_path, rows.append
    )
    (batch,) = batches
    tools = opening(SPEC).tools
    by_prompt = {tuple(spoken.prompt(prefix.messages, tools, prefix.said).ids): prefix for prefix in found}
    prompts = [tuple(ids) for ids in unpadded(batch, "prompt")]
    assert set(prompts) == set(by_prompt)
    assert all(prompts[start : start + 4] == [prompts[start]] * 4 for start in (0, 4, 8))
    assert unpadded(batch, "completion") == [spoken.spell(SAID[place % 4]) for place in range(12)]

    responses = [Response(SPEC, by_prompt[ids], SAID[place % 4]) for place, ids in enumerate(prompts)]
    scored = asyncio.run(score_responses(responses, CannedExecutor(TABLE)))
    rewards = [one.graded.reward.value for one in scored]
    lengths = [len(ids) for ids in unpadded(batch, "completion")]
    expected = response_advantages(rewards, lengths, [place // 4 for place in range(12)], "grpo")
    assert batch["advantages"].tolist() == pytest.approx(expected, abs=1e-6)
    assert len(set(rewards)) > 2
    (row,) = rows
    assert row["reward"] == pytest.approx(sum(rewards) / 12)
    assert (row["groups"], row["responses"], row["unscored"]) == (3, 12, 0)
    assert row["calls"] == pytest.approx(0.5)
    assert row["solve_p"] == pytest.approx(sum(one.graded.reward.solved for one in scored) / 6)
    assert row["answer"] == pytest.approx(0.5)
    assert (stats.responses, stats.unscored) == (12, {})


def test_sampled_ids_of_a_prefix_are_not_encoded_again(tmp_path, monkeypatch):
    """Where a turn was sampled in other tokens than its text would be encoded to, the prompt has those."""
    spoken = dialect()
    odd = [*(toy_tokenizer().convert_tokens_to_ids(letter) for letter in "<tool_call>"), *spoken.spell(AUTHOR)[1:]]
    assert spoken.codec.decode(odd) == spoken.codec.decode(spoken.spell(AUTHOR))
    prefix = gold_prefixes()[1].model_copy(update={"said": (tuple(odd),)})
    asked = speaks(monkeypatch, lambda turn, place, text: SAID[place % 4])
    model, tokenizer = toy_model()
    train_round(
        config(prompts_per_step=1), model, tokenizer, spoken, [prefix], {SPEC.id: SPEC}, CannedExecutor(TABLE), tmp_path
    )
    text = spoken.codec.decode(asked[0])
    assert text == spoken.chat.render(prefix.messages, opening(SPEC).tools, generation=True, thinking=False)
    assert any(asked[0][start : start + len(odd)] == odd for start in range(len(asked[0])))


def test_rewards_of_stored_responses_are_the_same_each_time(sandbox):
    """In the sandbox too: the same responses to the same prefixes earn the same, and calls really are executed."""
    sources = {
        "author_of": 'def author_of(x):\n    return {"Tides": "Mira Olsen"}[x]',
        "town_of": 'def town_of(x):\n    return {"Mira Olsen": "Velden"}[x]',
        "distractor": 'def distractor(x):\n    return "no"',
    }
    spec = SPEC.replace(tools=tuple(Tool(signature=t.signature, source=sources[t.name]) for t in SPEC.tools))
    trajectory = asyncio.run(run_rollout(says(AUTHOR, TOWN, ANSWER), spec, sandbox))
    spoken = dialect()
    found = prefixes(trajectory)
    rollouts = trl_rollouts.PrefixRollouts(config(), spoken, sandbox, found, {spec.id: spec}, 0)
    prompts = [key for key in rollouts.keys for _ in range(4)]
    ids = [spoken.spell(message) for _ in found for message in (AUTHOR, TOWN, WRONG, ANSWER)]
    metrics = []
    first = rollouts.reward(prompts, ids, log_metric=lambda name, value: metrics.append((name, value)))
    again = rollouts.reward(prompts, ids, log_metric=lambda name, value: None)
    assert first == again
    # A call that solves an open goal earns 1, any other 0; a right answer 1/(1 + open goals).
    assert first == pytest.approx([1, 1, 0, 1 / 3, 0, 1, 0, 1 / 2, 0, 0, 0, 1])
    assert dict(metrics)["answer"] == 1
    assert rollouts.causes == {}


def test_what_the_sandbox_could_not_execute_is_not_scored(tmp_path, monkeypatch):
    """Such a response is not trained on, and is counted with its cause; where there is no other, training stops."""
    batches, rows = recorded(monkeypatch), []
    speaks(monkeypatch, lambda turn, place, text: [GUESS, BROKEN, GUESS, ANSWER][place % 4])
    model, tokenizer = toy_model()
    prefix = gold_prefixes()[:1]
    given = (config(prompts_per_step=1), model, tokenizer, dialect(), prefix, {SPEC.id: SPEC}, Breaking(TABLE))
    stats = train_round(*given, tmp_path / "some", rows.append)
    assert stats.unscored == {"SandboxError: the worker is gone": 1}
    assert rows[0]["unscored"] == 1
    assert batches[0]["advantages"][1] == 0
    assert batches[0]["tool_mask"].sum(1).tolist()[1] == 0
    speaks(monkeypatch, lambda turn, place, text: BROKEN)
    with pytest.raises(FoundryError, match=r"none of 4 responses could be scored.*the worker is gone"):
        train_round(*given, tmp_path / "none")


def test_prefixes_that_cannot_be_trained_on(tmp_path, monkeypatch):
    """A prompt over the limit and an environment that is not there are errors; a prefix that stands twice is not."""
    speaks(monkeypatch, lambda turn, place, text: GUESS)
    model, tokenizer = toy_model()
    found = gold_prefixes()
    executor = CannedExecutor(TABLE)
    with pytest.raises(FoundryError, match=r"found \d+ tokens, expected at most 100"):
        train_round(
            config(max_prompt_tokens=100), model, tokenizer, dialect(), found, {SPEC.id: SPEC}, executor, tmp_path
        )
    with pytest.raises(InputError, match=f"found no environment {SPEC.id}"):
        train_round(config(), model, tokenizer, dialect(), found, {}, executor, tmp_path)
    twice = [found[0], found[0]]
    stats = train_round(
        config(prompts_per_step=2), model, tokenizer, dialect(), twice, {SPEC.id: SPEC}, executor, tmp_path
    )
    assert stats.responses == 8


# --- episodes ------------------------------------------------------------------------------------------------------

STARTED = AUTHOR.model_copy(update={"content": "Let me see."})


def test_episode_batch(tmp_path, monkeypatch):
    """One row an episode: its ids begin with the opening and only grow, the mask is True on what was sampled alone, and
    the reward is the trajectory's score; an episode that failed has no token in the loss."""
    batches, rows = recorded(monkeypatch), []

    def choose(turn, place, text):
        if turn == 0:
            return [AUTHOR, STARTED, GUESS, BROKEN][place]
        return GUESS if STARTED.content in text else [AUTHOR, TOWN, ANSWER][turn]

    speaks(monkeypatch, choose)
    model, tokenizer = toy_model()
    spoken = dialect()
    stats = train_round(
        config(mode="episode", prompts_per_step=1),
        model,
        tokenizer,
        spoken,
        [SPEC],
        {},
        Breaking(TABLE),
        tmp_path,
        rows.append,
    )
    (batch,) = batches
    tools, messages = opening(SPEC).tools, list(opening(SPEC).messages)
    prompt = spoken.prompt(messages, tools).ids
    assert unpadded(batch, "prompt") == [prompt] * 4
    # The first episode, turn for turn: what was said, and between it what the tools gave.
    whole = [*messages, AUTHOR]
    whole.append(Message(role="tool", content="Mira Olsen", call_id="c0"))
    said = [spoken.spell(AUTHOR), spoken.spell(TOWN), spoken.spell(ANSWER)]
    second = spoken.prompt(whole, tools, said[:1]).ids
    whole += [TOWN, Message(role="tool", content="Velden", call_id="c0")]
    third = spoken.prompt(whole, tools, said[:2]).ids
    completions = unpadded(batch, "completion")
    assert prompt + completions[0] == third + said[2]
    masks = [
        [token for token, trained in zip(ids, mask.tolist(), strict=False) if trained]
        for ids, mask in zip(completions, batch["tool_mask"], strict=True)
    ]
    assert masks[0] == said[0] + said[1] + said[2]
    assert masks[1] == spoken.spell(STARTED) + spoken.spell(GUESS)
    assert masks[2] == completions[2] == spoken.spell(GUESS)
    assert masks[3] == []
    assert second == (prompt + completions[0])[: len(second)]
    rewards = [1.0, 0.5 * 2 / 3, 0.0]  # all right; one call that solves one of two goals: F1 2/3, no answer; nothing
    expected = response_advantages(rewards, [len(mask) for mask in masks[:3]], [0, 0, 0], "grpo")
    assert batch["advantages"].tolist() == pytest.approx([*expected, 0], abs=1e-6)
    (row,) = rows
    assert row["reward"] == pytest.approx(sum(rewards) / 3)
    assert row["solve_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert row["answer"] == pytest.approx(1 / 3)
    assert stats.unscored == {"SandboxError: the worker is gone": 1}


def test_an_episode_that_a_notice_splits(tmp_path, monkeypatch):
    """Where the format drops the thinking before a notice, the stretch after it is trained, and that is counted."""
    batches, rows = recorded(monkeypatch), []
    spoken = dialect("qwen3", True)
    invents = Message(role="assistant", thinking="hm", content="<tool_response>Velden</tool_response>")
    answers = Message(role="assistant", thinking="so", content=ANSWER.content)

    def choose(turn, place, text):
        return invents if turn == 0 and place % 2 else answers

    speaks(monkeypatch, choose, spoken)
    model, tokenizer = toy_model()
    train_round(
        config(mode="episode", prompts_per_step=1),
        model,
        tokenizer,
        spoken,
        [SPEC],
        {},
        CannedExecutor(TABLE),
        tmp_path,
        rows.append,
    )
    completions = unpadded(batches[0], "completion")
    assert completions == [spoken.spell(answers)] * 4
    assert batches[0]["tool_mask"].all()
    prompts = [spoken.codec.decode(ids) for ids in unpadded(batches[0], "prompt")]
    assert [text.count("<|im_start|>assistant") for text in prompts] == [1, 2, 1, 2]
    assert not any("<think>" in text for text in prompts)
    assert rows[0]["split"] == 0.5


@pytest.mark.parametrize(
    ("chat", "thinking", "kept"), [("hermes", False, True), ("qwen3", True, True), ("qwen3", False, False)]
)
def test_episodes_need_a_format_that_keeps_its_text(chat, thinking, kept):
    """A chat format that rewrites earlier turns is refused, with what to do instead."""
    if kept:
        trl_rollouts.require_kept_prefixes(dialect(chat, thinking))
        return
    with pytest.raises(
        InputError, match=r"qwen3 without thinking, which rewrites earlier turns.*mode prefix, or backend"
    ):
        trl_rollouts.EpisodeRollouts(config(), dialect(chat, thinking), CannedExecutor(TABLE), [SPEC], 0)


def test_vllm_is_asked_for_ids():
    """TRL's engine gets token ids and gives token ids; a log-probability that it does not know is NaN."""
    asked = {}

    def generate(**given):
        asked.update(given)
        return None, [(5, 6), (7,)], [[[-0.1], [None]], [[-0.2]]], None

    sampler = trl_rollouts._VllmSampler(SimpleNamespace(generate=generate))
    requests = [SimpleNamespace(prompt_ids=(1, 2), seed=0), SimpleNamespace(prompt_ids=(3,), seed=0)]
    first, second = sampler.sample(requests, max_tokens=8, temperature=0.7)
    assert asked == {"prompts": [[1, 2], [3]], "images": None, "num_generations": 1}
    assert first.token_ids == [5, 6]
    assert first.logprobs[0] == -0.1
    assert first.logprobs[1] != first.logprobs[1]
    assert second == Sampled([7], [-0.2])
