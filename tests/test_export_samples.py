"""Rows to train on: what they hold, the files they make, and that `datasets` reads these as they are."""

import asyncio
import contextlib
import json
import sys

import orjson
import pytest

from fakes import TABLE, CannedExecutor, assistant, call, capital_spec, says
from spoken import DIALECTS, TASK, TOOLS, ByteCodec, play, say
from toolfoundry.answers import infer
from toolfoundry.compat.ftrl import score_response
from toolfoundry.errors import InputError, MissingExtra
from toolfoundry.export_samples import as_chat, conversation_row, ftrl_row, prefix_row, row_writer, sample_row
from toolfoundry.formats.ftrl import read_ftrl, to_row
from toolfoundry.policies.scripted import make
from toolfoundry.reward import grade_turn
from toolfoundry.rollout import run_rollout
from toolfoundry.samples import demonstration_samples, episode_samples, prefixes
from toolfoundry.store import RecordWriter
from toolfoundry.types import EnvSpec, Goal, Limits, Message, Provenance, Scenario, Tool, ToolCall, Trajectory


def gold(spec, sample=0):
    return asyncio.run(run_rollout(make("gold", spec, 0), spec, CannedExecutor(TABLE), name="gold", sample=sample))


def spoken_spec() -> EnvSpec:
    """The environment of the conversations in `spoken`."""
    return EnvSpec.create(
        scenario=Scenario(question="What is left of the left?", answer=TASK.answer, kind=TASK.kind),
        tools=tuple(Tool(signature=tool, source=f"def {tool.name}(n=0): ...") for tool in TOOLS),
        goals=TASK.goals,
        prompt=(Message(role="user", content="<answer> What is left of the left?"),),
        provenance=Provenance(source="test"),
    )


def spoken_trajectory(name="hermes", *texts):
    spec = spoken_spec()
    texts = texts or (say("right"), "<answer>42</answer>")
    sampled = [ByteCodec().encode(text + "<|im_end|>") for text in texts]
    return play(DIALECTS[name], sampled, prompt=spec.prompt).trajectory.model_copy(update={"task": spec.task}), spec


# --- rows -----------------------------------------------------------------------------------------------------------


def test_messages_have_openais_form_with_every_key():
    """Calls under `function`, arguments as the model wrote them, thinking apart; None where a key does not apply."""
    keys = ["role", "content", "reasoning_content", "tool_calls", "tool_call_id"]
    message = as_chat(assistant("Let me see.", call("author_of", "Tides", id="c7"), thinking="Hm."))
    assert list(message) == keys
    assert message["reasoning_content"] == "Hm."
    [made] = message["tool_calls"]
    assert made == {"id": "c7", "type": "function", "function": {"name": "author_of", "arguments": '{"x":"Tides"}'}}
    result = as_chat(Message(role="tool", content="Mira", call_id="c7"))
    assert list(result) == keys
    assert (result["tool_calls"], result["tool_call_id"]) == (None, "c7")


def test_a_call_that_could_not_be_read_stands_in_the_text():
    """OpenAI's form has no place for it; its words are kept."""
    broken = ToolCall(id="c0", name="", arguments='{"name": "f", ')
    message = as_chat(assistant("So.", broken))
    assert message["content"] == 'So.\n<tool_call>\n{"name": "f", \n</tool_call>'
    assert message["tool_calls"] is None


def test_a_prefix_row_says_where_it_stands():
    """Messages so far, tools as JSON text, what is open, what is solved, and the environment to score it with."""
    spec = capital_spec()
    row = prefix_row(prefixes(gold(spec))[1], spec)
    assert row["key"] == f"{spec.id}/gold/0#1"
    assert row["spec_id"] == spec.id
    assert [message["role"] for message in row["prompt"]] == ["user", "assistant", "tool"]
    assert [tool["function"]["name"] for tool in json.loads(row["tools"])] == ["author_of", "town_of", "distractor"]
    assert (row["unsolved"], row["solve_rate"], row["answer"], row["stateful"]) == (["g2"], 0.5, "Velden", False)
    assert len(row["credited"]) == 1
    assert "prompt_ids" not in row
    assert prefix_row(prefixes(gold(spec))[1], spec, [1, 2])["prompt_ids"] == [1, 2]


def test_a_conversation_ends_with_the_policys_last_word():
    """Results of a last call that nobody answered are nothing to learn from; without turns there is no row."""
    spec = capital_spec()
    row = conversation_row(gold(spec), spec)
    assert [message["role"] for message in row["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
        "assistant",
    ]
    assert row["score"] == 1.0
    cut = asyncio.run(run_rollout(make("gold", spec, 0), spec, CannedExecutor(TABLE), Limits(max_turns=1)))
    assert [message["role"] for message in conversation_row(cut, spec)["messages"]] == ["user", "assistant"]
    failed = asyncio.run(run_rollout(says(RuntimeError("gone")), spec, CannedExecutor(TABLE)))
    assert conversation_row(failed, spec) is None


def test_a_failed_rollout_has_no_score():
    """None, which the file keeps as null: it is not 0."""
    spec = capital_spec()
    failed = asyncio.run(
        run_rollout(says(assistant("", call("author_of", "Tides")), RuntimeError("?")), spec, CannedExecutor(TABLE))
    )
    assert conversation_row(failed, spec)["score"] is None


# --- the release's rows -----------------------------------------------------------------------------------------------


def test_the_first_row_is_the_environments_own(ftrl_rows):
    """Before any turn the release's sampler writes the row it was given."""
    for spec in list(read_ftrl(ftrl_rows))[::20]:
        trajectory = asyncio.run(run_rollout(says(assistant("?")), spec, CannedExecutor({})))
        row = ftrl_row(prefixes(trajectory, "ftrl")[0], spec)
        for message in row["messages"]:
            assert message.pop("tool_calls") is message.pop("tool_call_id") is None
        assert row == {**json.loads(to_row(spec)), "split": "train"}


def two_towns() -> EnvSpec:
    spec = capital_spec()
    goals = (*spec.goals, Goal(id="g10", tool="town_of", answer=infer("5,000"), needs=("g1",)))
    return spec.replace(goals=goals)


def test_what_is_solved_leaves_the_unsolved_set():
    """Each tool keeps its place, with the answers that are left, spelled as in the row; the rate is the release's."""
    spec = two_towns()
    policy = says(
        assistant("", call("author_of", "Tides")), assistant("", call("town_of", "Mira Olsen")), assistant("?")
    )
    trajectory = asyncio.run(run_rollout(policy, spec, CannedExecutor(TABLE)))
    rows = [ftrl_row(prefix, spec) for prefix in prefixes(trajectory, "ftrl")]
    assert [json.loads(row["unsolved_set"]) for row in rows] == [
        {"author_of": ["Mira Olsen"], "town_of": ["Velden", "5,000"]},
        {"author_of": [], "town_of": ["Velden", "5,000"]},
        {"author_of": [], "town_of": ["5,000"]},
    ]
    assert [row["solve_rate"] for row in rows] == pytest.approx([0, 1 / 3, 2 / 3])
    assert {row["split"] for row in rows} == {"train"}


def test_the_releases_reward_scores_these_rows(sandbox):
    """A response to a row earns from the release's function what our reward, in the preset `ftrl`, gives it."""
    sources = {
        "author_of": 'def author_of(x):\n    return {"Tides": "Mira Olsen"}[x]\n',
        "town_of": 'def town_of(x):\n    return {"Mira Olsen": "Velden"}[x]\n',
    }
    spec = capital_spec()
    spec = spec.replace(tools=tuple(t.model_copy(update={"source": sources.get(t.name, t.source)}) for t in spec.tools))
    trajectory = asyncio.run(run_rollout(make("gold", spec, 0), spec, sandbox))
    found = prefixes(trajectory, "ftrl")
    assert len(found) == 3
    for prefix, turn in zip(found, trajectory.turns, strict=True):
        row = ftrl_row(prefix, spec)
        message = turn.completion.message
        response = DIALECTS["hermes"].chat.completion(message, thinking=False)
        codes, unsolved = json.loads(row["codes"]), json.loads(row["unsolved_set"])
        theirs = score_response(response, codes, unsolved, row["solve_rate"], row["split"], row["answer"])["ftrl"]
        ours = grade_turn(spec.goals, prefix.unsolved, message, turn.results, spec.scenario.answer, "ftrl")
        assert theirs == ours.reward.value == 1.0


def test_thinking_stands_in_the_content_as_the_release_leaves_it():
    """Its parser keeps all text before the first call; a row has no column for thinking."""
    spec = capital_spec()
    policy = says(assistant("", call("author_of", "Tides"), thinking="Who wrote it?"), assistant("?"))
    trajectory = asyncio.run(run_rollout(policy, spec, CannedExecutor(TABLE)))
    said = ftrl_row(prefixes(trajectory, "ftrl")[1], spec)["messages"][1]
    assert said["content"] == "<think>\nWho wrote it?\n</think>\n\n"
    assert set(said) == {"role", "content", "tool_calls", "tool_call_id"}


def test_what_the_format_cannot_hold_is_refused():
    """A state has no column there."""
    spec = capital_spec(state={"a": 1})
    with pytest.raises(InputError, match="which the FTRL format cannot hold"):
        ftrl_row(prefixes(gold(spec), "ftrl")[0], spec)


# --- files ----------------------------------------------------------------------------------------------------------


def rows_of_each_kind():
    spec = capital_spec()
    trajectory, other = spoken_trajectory()
    [sample] = episode_samples(trajectory, TOOLS, DIALECTS["hermes"])
    sample = sample.model_copy(update={"turn_rewards": (None, 1.0)})
    [demonstration] = demonstration_samples(trajectory, TOOLS, DIALECTS["hermes"])
    return {
        "prefixes": [prefix_row(prefix, spec) for prefix in prefixes(gold(spec))],
        "prefix ids": [prefix_row(prefix, other, [1, 2, 3]) for prefix in prefixes(trajectory)],
        "ftrl": [ftrl_row(prefix, spec) for prefix in prefixes(gold(spec), "ftrl")],
        "conversations": [conversation_row(gold(spec), spec), conversation_row(trajectory, other)],
        "episodes": [sample_row(sample)],
        "demonstrations": [sample_row(demonstration)],
    }


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("kind", sorted(rows_of_each_kind()))
def test_datasets_reads_what_is_written(kind, ending, tmp_path, monkeypatch):
    """The same rows come back, nulls and nested messages included."""
    datasets = pytest.importorskip("datasets", reason="needs the extra train")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = rows_of_each_kind()[kind]
    with row_writer(tmp_path / f"rows.{ending}") as writer:
        for row in rows:
            writer.write(row)
    name = {"jsonl": "json", "parquet": "parquet"}[ending]
    loaded = datasets.load_dataset(
        name, data_files=str(tmp_path / f"rows.{ending}"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.column_names == list(rows[0])
    assert loaded.to_list() == rows


def test_parquet_is_written_in_row_groups(tmp_path):
    """Many rows do not stand in memory together, and a late column of calls does not change the types."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra train")
    spec = capital_spec()
    first, second, _ = (prefix_row(prefix, spec) for prefix in prefixes(gold(spec)))
    rows = [first] * 1200 + [second]
    with row_writer(tmp_path / "rows.parquet") as writer:
        for row in rows:
            writer.write(row)
    file = parquet.ParquetFile(tmp_path / "rows.parquet")
    assert (file.metadata.num_rows, file.num_row_groups) == (1201, 3)
    assert file.read().to_pylist()[-1]["prompt"][1]["tool_calls"] == second["prompt"][1]["tool_calls"]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_file_that_was_not_finished_is_not_there(ending, tmp_path):
    """What fails in between leaves nothing under the name, and what was there before stays."""
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra train")
    path = tmp_path / f"rows.{ending}"
    path.write_text("before")
    with contextlib.suppress(KeyboardInterrupt), row_writer(path) as writer:
        writer.write({"key": "k"})
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"


def test_other_endings_are_refused(tmp_path):
    """One line that names the two there are."""
    wanted = r"found the ending '\.csv', expected \.jsonl or \.parquet"
    with pytest.raises(InputError, match=wanted), row_writer(tmp_path / "rows.csv"):
        pass


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    """The line to type, before anything is written."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"toolfoundry\[train\]"), row_writer(tmp_path / "rows.parquet"):
        pass
    assert list(tmp_path.iterdir()) == []


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def played(tmp_path):
    """Two environments, three rollouts: gold, an early wrong answer, and one that failed."""
    specs = [capital_spec(number) for number in (0, 1)]
    policy = says(assistant("", call("author_of", "Tides")), RuntimeError("gone"))
    trajectories = [
        gold(specs[0]),
        asyncio.run(
            run_rollout(says(assistant("<answer>Rome</answer>")), specs[0], CannedExecutor(TABLE), name="hasty")
        ),
        asyncio.run(run_rollout(policy, specs[1], CannedExecutor(TABLE), name="broken")),
    ]
    return _files(tmp_path, specs, trajectories)


def _files(folder, specs, trajectories):
    envs, rollouts = folder / "envs.jsonl", folder / "rollouts.jsonl"
    with RecordWriter(envs, EnvSpec, "overwrite") as writer:
        for spec in specs:
            writer.write(spec)
    with RecordWriter(rollouts, Trajectory, "overwrite") as writer:
        for trajectory in trajectories:
            writer.write(trajectory)
    return rollouts, "--envs", envs, "-o", folder / "rows.jsonl"


def _rows(arguments):
    return [orjson.loads(line) for line in arguments[-1].read_bytes().splitlines()]


def test_the_command_writes_prefixes(run, played):
    """K+1 for each rollout, of failed ones those they had: 3 + 1 + 2."""
    code, out, _ = run("samples", *played, "--json")
    assert code == 0
    assert json.loads(out) == {"trajectories": 3, "rows": 6, "too_long": 0, "left_out": 0, "skipped": 0}
    assert [row["key"].partition("/")[2] for row in _rows(played)] == [
        *("gold/0#0", "gold/0#1", "gold/0#2", "hasty/0#0", "broken/0#0", "broken/0#1")
    ]


def test_the_command_writes_the_releases_rows(run, played):
    """With --format ftrl: its eight columns."""
    code, _, err = run("samples", *played, "--format", "ftrl")
    assert code == 0, err
    rows = _rows(played)
    assert len(rows) == 6
    assert set(rows[0]) == set("messages tools codes unsolved_set solve_rate data_source split answer".split())


def test_the_command_writes_demonstrations(run, played):
    """Failed rollouts are none; with --min-score only those that are good enough."""
    assert run("samples", *played, "--kind", "sft")[0] == 0
    assert [row["score"] for row in _rows(played)] == [1.0, 0.0]
    code, _, err = run("samples", *played, "--kind", "sft", "--min-score", "0.9", "--force")
    assert (code, len(_rows(played))) == (0, 1)
    assert "2 trajectories left out" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--kind", "episodes"), "option --model"),
        (("--max-tokens", "9"), "option --model"),
        (("--kind", "sft", "--format", "ftrl"), "option --format"),
        (("--format", "ftrl", "--reward", "frontier"), "option --reward"),
        (("--kind", "sft", "--min-score", "1", "--skip-bad"), None),
    ],
)
def test_options_that_do_not_go_together(options, message, run, played):
    """One line, exit code 3, no file."""
    code, _, err = run("samples", *played, *options)
    assert code == (3 if message else 0)
    assert message is None or message in err
    assert played[-1].exists() == (message is None)


def test_an_environment_that_is_missing_is_named(run, tmp_path, played):
    """A trajectory cannot be a sample without its tools; with --skip-bad the others are."""
    _files(tmp_path, [capital_spec(0)], [gold(capital_spec(0)), gold(capital_spec(1))])
    code, _, err = run("samples", *played)
    assert code == 3
    assert f"trajectory {capital_spec(1).id}/gold/0: its environment is not in" in err
    code, _, err = run("samples", *played, "--skip-bad")
    assert (code, len(_rows(played))) == (0, 3)


def test_an_output_is_not_overwritten(run, played):
    """--force says that it may be."""
    played[-1].write_text("mine")
    assert run("samples", *played)[0] == 6
    assert played[-1].read_text() == "mine"
    assert run("samples", *played, "--force")[0] == 0


@pytest.fixture
def spoken_files(tmp_path):
    """A folder with a tokenizer, and two rollouts of a policy that sampled its ids, one long and one short."""
    pytest.importorskip("transformers", reason="needs the extra train")
    from toolfoundry.chat import chat_format
    from toolfoundry.policies.transformers import HFCodec
    from toolfoundry.tokens import Dialect
    from train.toy_model import toy_tokenizer

    chat, tokenizer = chat_format("hermes"), toy_tokenizer()
    tokenizer.save_pretrained(tmp_path / "model")
    codec, spec = HFCodec(tokenizer, chat.end_tokens), spoken_spec()
    trajectories = []
    for sample, texts in enumerate([(say("right"), say("left"), "42"), ("<answer>42</answer>",)]):
        sampled = [codec.encode(f"{text}<|im_end|>") for text in texts]
        played = play(Dialect(chat, codec), sampled, prompt=spec.prompt).trajectory
        trajectories.append(played.model_copy(update={"task": spec.task, "sample": sample}))
    return Dialect(chat, codec), trajectories, (*_files(tmp_path, [spec], trajectories), "--model", tmp_path / "model")


def test_the_command_writes_episodes(run, spoken_files):
    """With --model: token ids, of which those that were sampled are marked; too long ones are left out and counted."""
    dialect, trajectories, (*files, option, model) = spoken_files
    arguments = [option, model, *files]
    assert run("samples", *arguments, "--kind", "episodes")[0] == 0
    expected = [sample for one in trajectories for sample in episode_samples(one, TOOLS, dialect)]
    assert _rows(arguments) == [json.loads(json.dumps(sample_row(sample))) for sample in expected]
    most = len(expected[0].token_ids) - 1
    code, _, err = run("samples", *arguments, "--kind", "episodes", "--max-tokens", most, "--force")
    assert (code, len(_rows(arguments))) == (0, 1)
    assert "1 too long" in err


def test_the_command_counts_prompts_that_are_too_long(run, spoken_files):
    """Three prefixes of the long rollout, one of the short; with --model they hold their ids."""
    dialect, trajectories, (*files, option, model) = spoken_files
    arguments = [option, model, *files]
    lengths = [
        len(dialect.prompt(prefix.messages, TOOLS, prefix.said).ids) for one in trajectories for prefix in prefixes(one)
    ]
    assert lengths[0] == lengths[3] < lengths[1] < lengths[2]
    code, out, _ = run("samples", *arguments, "--max-tokens", lengths[1], "--json")
    assert code == 0
    assert json.loads(out)["too_long"] == 1
    assert [len(row["prompt_ids"]) for row in _rows(arguments)] == [lengths[0], lengths[1], lengths[3]]


def test_a_model_that_is_not_there_is_named(run, spoken_files, tmp_path):
    """Exit code 3 and its name, nothing written."""
    *_, (*files, _, _) = spoken_files
    code, _, err = run("samples", "--model", tmp_path / "nowhere", *files, "--kind", "episodes")
    assert code == 3
    assert "nowhere: there is no such folder" in err
    assert not files[-1].exists()


def test_nothing_to_write_is_an_error(run, tmp_path, played):
    """An empty file would only be noticed by the trainer."""
    _files(tmp_path, [capital_spec(0)], [])
    code, _, err = run("samples", *played, "--force")
    assert code == 3
    assert "gave no row" in err
