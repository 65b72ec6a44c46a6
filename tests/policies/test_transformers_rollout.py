"""A checkpoint plays: the command, its records, and that they come out the same again."""

import orjson
import pytest

pytest.importorskip("torch", reason="needs the extra train")

from fakes import capital_spec
from toolfoundry.store import RecordWriter, read
from toolfoundry.types import EnvSpec, Trajectory
from train.toy_model import toy_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A toy checkpoint."""
    folder = tmp_path_factory.mktemp("toy")
    model, tokenizer = toy_model()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def envs(tmp_path_factory):
    path = tmp_path_factory.mktemp("envs") / "envs.jsonl"
    with RecordWriter(path, EnvSpec) as writer:
        for number in range(3):
            writer.write(capital_spec(number))
    return path


def options(checkpoint, **changes):
    chosen = {"policy": "transformers", "model": checkpoint, "max-tokens": 12, "samples": 2, "device": "cpu", **changes}
    return [word for name, value in chosen.items() for word in (f"--{name}", value)]


def test_the_command_plays_a_checkpoint(run, checkpoint, envs, tmp_path):
    """Every turn has its sampled ids and log-probabilities; the same seed gives the same bytes, another does not."""
    outputs = [tmp_path / f"{name}.jsonl" for name in "abc"]
    for output, seed in zip(outputs, (7, 7, 8), strict=True):
        code, _, err = run("rollout", envs, "-o", output, *options(checkpoint, seed=seed))
        assert code == 0, err
    played = list(read(outputs[0], Trajectory))
    assert len(played) == 6
    turns = [turn.completion for one in played for turn in one.turns]
    assert {len(turn.token_ids) == len(turn.logprobs) > 0 for turn in turns} == {True}
    assert {one.policy for one in played} == {str(checkpoint)}
    first, again, other = (sorted(path.read_bytes().splitlines()[1:]) for path in outputs)
    assert first == again != other
    config = orjson.loads(outputs[0].with_suffix(".run.json").read_bytes())["config"]
    assert (config["chat"], config["temperature"], config["max_tokens"], config["batch"]) == ("hermes", 1.0, 12, 64)


def test_greedy_rollouts_of_one_environment_are_alike(run, checkpoint, envs, tmp_path):
    """At temperature 0 the samples of an environment do not differ."""
    output = tmp_path / "greedy.jsonl"
    code, _, err = run(
        "rollout", envs, "-o", output, "--temperature", 0, "--thinking", *options(checkpoint, chat="qwen3")
    )
    assert code == 0, err
    said = {}
    for one in read(output, Trajectory):
        said.setdefault(one.task.spec_id, set()).add(tuple(turn.completion.token_ids for turn in one.turns))
    assert [len(ids) for ids in said.values()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "./no-such-folder"}, "no-such-folder: there is no such folder"),
        ({"device": "cuda:9"}, "device: found 'cuda:9'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(run, checkpoint, envs, tmp_path, changes, message):
    """A model or device that is not there: exit code 3, one line, no output."""
    code, _, err = run("rollout", envs, "-o", tmp_path / "out.jsonl", *options(checkpoint, **changes))
    assert code == 3
    assert message in err
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_has_to_be_named(run, envs, tmp_path):
    """Without --model the line says which option is missing."""
    code, _, err = run("rollout", envs, "-o", tmp_path / "out.jsonl", "--policy", "transformers")
    assert code == 3
    assert "option --model: found nothing, expected a checkpoint" in err


def test_a_resumed_run_keeps_its_batch(run, checkpoint, envs, tmp_path):
    """The batch is part of what decides the samples: a run is not gone on with under another."""
    output = tmp_path / "out.jsonl"
    assert run("rollout", envs, "-o", output, *options(checkpoint))[0] == 0
    code, _, err = run("rollout", envs, "-o", output, "--resume", *options(checkpoint, batch=2))
    assert code == 3
    assert "begun with batch 64, found 2" in err
