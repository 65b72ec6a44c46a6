"""The command `toolfoundry train`: what it writes, what it refuses, and what it says then."""

import json
import math
import shutil
import sys

import orjson
import pytest

pytest.importorskip("torch", reason="needs the extra train")

import torch
from safetensors.torch import load_file, save_file

from toolfoundry.store import RecordWriter, read
from toolfoundry.types import EnvSpec, Trajectory
from train.run_toy import random_start, tiny_environments

SMALL = (
    *("--rounds", "1", "--prompts-per-step", "2", "--group-size", "2", "--max-steps", "2"),
    *("--set", "prompts_per_update=2", "--set", "max_response_tokens=8", "--set", "max_turns=2"),
    *("--preset", "tiny"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with eight environments to train on, four others, and a checkpoint."""
    path = tmp_path_factory.mktemp("train")
    tiny_environments(path / "envs.jsonl", 8)
    tiny_environments(path / "test.jsonl", 4, seed=12)
    random_start(path / "start")
    return path


@pytest.fixture
def at(place, monkeypatch):
    """Works in that folder, so that what is typed is relative."""
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def grpo(at, run):
    """Runs `train grpo` with small settings in the folder."""
    return lambda *more, envs="envs.jsonl", model="start": run("train", "grpo", envs, "--model", model, *SMALL, *more)


@pytest.fixture(scope="module")
def finished(place):
    """A run of two steps with held-out environments, made once."""
    from toolfoundry.store import read
    from toolfoundry.train.run import train
    from train.run_toy import small

    config = small(place / "start", rounds=1, max_steps=2, prompts_per_step=2, prompts_per_update=2, group_size=2)
    specs = list(read(place / "envs.jsonl", EnvSpec))
    train(config.model_copy(update={"max_response_tokens": 8}), specs, place / "finished")
    return place / "finished"


# --- what it gives -------------------------------------------------------------------------------------------------


def test_a_run_from_the_command_line(grpo, at):
    """Environments in, a folder out with all that its page names; JSON on standard output and nothing else there."""
    code, out, err = grpo("-o", "run", "--held-out", "test.jsonl", "--json", "--threads", "1")
    assert code == 0, err
    result = json.loads(out)
    assert (result["final"], result["steps"]) == ("run/final", 2)
    assert {group["scenario"] for group in result["after"]["groups"]} == {
        group["scenario"] for group in result["before"]["groups"]
    }
    names = {path.name for path in (at / "run").iterdir()}
    assert names >= {"run.json", "metrics.jsonl", "rounds", "checkpoints", "final"}
    assert names >= {f"{when}.{kind}" for when in ("before", "after") for kind in ("json", "jsonl")}
    rows = [orjson.loads(line) for line in (at / "run" / "metrics.jsonl").read_bytes().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    played = list(read(at / "run" / "after.jsonl", Trajectory))
    assert {t.task.spec_id for t in played} == {spec.id for spec in read(at / "test.jsonl", EnvSpec)}
    assert "the policy is in run/final" in err
    assert torch.isfinite(load_file(at / "run" / "final" / "model.safetensors")["model.norm.weight"]).all()


def test_what_the_run_file_says(grpo, at):
    """Settings, seeds, hashes of the inputs, versions and licences; no path that was not typed."""
    assert grpo("-o", "described", "--seed", "5", "--limit", "3", "--set", "dual_clip=none")[0] == 0
    text = (at / "described" / "run.json").read_text()
    document = json.loads(text)
    assert document["config"]["seed"] == 5
    assert document["config"]["dual_clip"] is None
    assert document["config"]["group_size"] == 2
    assert document["environments"].startswith("3 ")
    assert document["command"][:3] == ["toolfoundry", "train", "grpo"]
    assert list(document["files"]) == ["envs.jsonl"]
    assert document["packages"]["torch"]["version"] == torch.__version__
    assert document["packages"]["transformers"]["licence"]
    for private in (str(at), str(at.parent), sys.prefix, "/home", "/root", "/usr"):
        assert private not in text


def test_nothing_in_a_run_is_a_pickle(finished):
    """Weights and optimizers are safetensors, the rest is JSON or a template."""
    files = [path for path in finished.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".jsonl", ".jinja", ".safetensors"}
    for path in files:
        assert not path.read_bytes().startswith((b"PK", b"\x80")), path


def test_imitation_from_the_command_line(at, run):
    """Without demonstrations the gold play is imitated; the loss falls."""
    code, _, err = run(
        *("train", "sft", "envs.jsonl", "--model", "start", "-o", "sft", "--max-steps", "20", "--json"),
        *("--preset", "tiny-sft", "--prompts-per-step", "4", "--set", "warmup_steps=0", "--set", "save_every=5"),
    )
    assert code == 0, err
    rows = [orjson.loads(line) for line in (at / "sft" / "metrics.jsonl").read_bytes().splitlines()]
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert rows[-1]["loss"] < rows[0]["loss"] - 1
    assert sorted(path.name for path in (at / "sft" / "checkpoints").iterdir()) == ["000015", "000020"]


def test_an_imitation_goes_on_exactly(at, run):
    """Stopped after seven steps and gone on with: the metrics and the weights of twelve without a stop."""
    common = ("train", "sft", "envs.jsonl", "--model", "start", "--prompts-per-step", "4", "--set", "save_every=7")
    constant = ("--preset", "tiny-sft", "--set", "schedule=constant")
    assert run(*common, *constant, "-o", "whole", "--max-steps", "12")[0] == 0
    assert run(*common, *constant, "-o", "parts", "--max-steps", "7")[0] == 0
    assert run(*common, *constant, "-o", "parts", "--max-steps", "12", "--resume")[0] == 0
    rows = [
        [
            {key: value for key, value in orjson.loads(line).items() if key not in ("time", "cpu_s", "of")}
            for line in (at / name / "metrics.jsonl").read_bytes().splitlines()
        ]
        for name in ("whole", "parts")
    ]
    assert [row["step"] for row in rows[0]] == [7, 10, 12]
    assert rows[0] == rows[1]
    whole, parts = (load_file(at / name / "final" / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_presets_are_listed(run):
    """`--presets` needs no environments."""
    code, out, _ = run("train", "grpo", "--presets")
    assert code == 0
    assert {"tiny", "tiny-sft", "ftrl-grpo-qwen2.5"} <= set(out.split())


# --- going on ------------------------------------------------------------------------------------------------------


def test_a_run_that_is_there(grpo, at, finished):
    """It is neither overwritten nor mixed with another."""
    code, _, err = grpo("-o", "finished")
    assert code == 6
    assert "holds a run; --resume goes on with it, --force replaces it" in err
    assert grpo("-o", "finished", "--force", "--resume")[0] == 2


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--set", "seed=1"), "was begun with seed 0, found 1"),
        (("--limit", "5"), "was begun with environments '8 "),
        (("--held-out", "test.jsonl"), "was begun with held_out '0 "),
        (("--set", "mode=episode"), "was begun with mode 'prefix', found 'episode'"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_another_run_does_not_go_on(at, run, finished, more, named):
    """Other settings, environments or held-out sets are named, with the way out."""
    begun = json.loads((finished / "run.json").read_text())["config"]
    same = [f"--set={name}={json.dumps(value)}" for name, value in begun.items() if value is not None]
    code, _, err = run("train", "grpo", "envs.jsonl", *same, "-o", "finished", "--resume", *more)
    assert code == 3, err
    assert named in err
    assert "--force starts anew" in err


def test_another_start_does_not_go_on(grpo, at, finished, tmp_path):
    """The same name with other weights in it is another start."""
    shutil.copytree(at / "start", tmp_path / "start")
    assert grpo("-o", tmp_path / "run", model=tmp_path / "start")[0] == 0
    weights = load_file(tmp_path / "start" / "model.safetensors")
    weights["model.norm.weight"] *= 1.5
    save_file(weights, tmp_path / "start" / "model.safetensors", metadata={"format": "pt"})
    code, _, err = grpo("-o", tmp_path / "run", "--resume", model=tmp_path / "start")
    assert code == 3
    assert "was begun with start" in err


def test_a_checkpoint_of_another_network(grpo, at, tmp_path):
    """One that was put into the folder is named when the run goes on."""
    assert grpo("-o", tmp_path / "run")[0] == 0
    [newest] = (tmp_path / "run" / "checkpoints").iterdir()
    weights = load_file(newest / "model.safetensors")
    config = json.loads((newest / "config.json").read_text())
    config["num_hidden_layers"], config["layer_types"] = 1, ["full_attention"]
    (newest / "config.json").write_text(json.dumps(config))
    kept = {name: tensor for name, tensor in weights.items() if ".layers.1." not in name}
    save_file(kept, newest / "model.safetensors", metadata={"format": "pt"})
    code, _, err = grpo("-o", tmp_path / "run", "--resume")
    assert code == 3, err
    assert "000002: is not a checkpoint of this run's model" in err


def test_force_does_not_eat_its_input(grpo, at, finished):
    """An input that lies in the folder that would be replaced is refused before anything is removed."""
    shutil.copy(at / "envs.jsonl", finished / "rounds" / "mine.jsonl")
    for more in ({"envs": "finished/rounds/mine.jsonl"}, {"model": "finished/final"}):
        code, _, err = grpo("-o", "finished", "--force", **more)
        assert code == 6
        assert "lies in finished, which --force replaces" in err
    assert (finished / "final" / "model.safetensors").exists()
    assert grpo("-o", "finished/final", model="finished/final")[0] == 6


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("learning_rat=1", "expected NAME=VALUE with one of model, algorithm"),
        ("learning_rate", "expected NAME=VALUE"),
        ("learning_rate=fast", "settings: field 'learning_rate': found \"fast\", expected a valid number"),
        ("learning_rate=-1", "settings: field 'learning_rate': found -1, expected greater than 0"),
        ("learning_rate=inf", "settings: field 'learning_rate': found null, expected a finite number"),
        ("group_size=1.5", "settings: field 'group_size': found 1.5"),
        ("mode=turns", "settings: field 'mode': found \"turns\", expected 'prefix' or 'episode'"),
        ("pass_rate=[0.9, 0.1]", "field 'pass_rate': found (0.9, 0.1), expected 0 <= low < high <= 1"),
        ("group_size=1", "found 1, expected at least 2 for grpo"),
    ],
)
def test_bad_settings(grpo, setting, named):
    """An unknown name, a wrong type and a wrong value are named; nothing is begun."""
    code, out, err = grpo("-o", "never", "--set", setting)
    assert (code, out) == (3, "")
    assert named in err


def test_bad_environments(grpo, at, run, finished, tmp_path):
    """None, not there, of another kind, cut short: each is said in one line."""
    with RecordWriter(tmp_path / "empty.jsonl", EnvSpec, "new"):
        pass
    cut = (at / "envs.jsonl").read_bytes()[:-50]
    (tmp_path / "cut.jsonl").write_bytes(cut)
    for envs, named in (
        (tmp_path / "empty.jsonl", "empty.jsonl: has no environments"),
        (tmp_path / "absent.jsonl", "absent.jsonl"),
        (finished / "rounds" / "000.jsonl", "found an artifact of 'trajectories'"),
        (tmp_path / "cut.jsonl", "cut.jsonl:9: found a truncated last line"),
    ):
        code, _, err = grpo("-o", tmp_path / "run", envs=envs)
        assert code == 3, err
        assert named in err
        assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
    assert run("train", "grpo")[0] == 2


def test_held_out_is_held_out(grpo, at):
    """Environments that are also trained on are refused: the table would say nothing."""
    code, _, err = grpo("-o", "never", "--held-out", "envs.jsonl")
    assert code == 3
    assert "envs.jsonl: 8 environments are also trained on" in err


def test_bad_models(grpo, at, tmp_path):
    """No such folder, no weights, pickled weights alone, a tokenizer of another model, broken weights."""
    for name in ("bare", "pickled", "mixed", "broken"):
        shutil.copytree(at / "start", tmp_path / name)
    (tmp_path / "bare" / "model.safetensors").unlink()
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"no weights")
    config = json.loads((tmp_path / "mixed" / "config.json").read_text())
    (tmp_path / "mixed" / "config.json").write_text(json.dumps({**config, "vocab_size": 600}))
    weights = load_file(tmp_path / "mixed" / "model.safetensors")
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:600].contiguous()
    save_file(weights, tmp_path / "mixed" / "model.safetensors", metadata={"format": "pt"})
    for name, named in (
        ("./absent", "there is no such folder"),
        ("bare", "found no model.safetensors"),
        ("pickled", "pickled ones are not read"),
        ("broken", "cannot be loaded"),
        ("mixed", "they are of different models"),
    ):
        code, _, err = grpo("-o", tmp_path / "run", model=tmp_path / name)
        assert code == 3, err
        assert named in err
    assert not (tmp_path / "run").exists()


def test_a_warm_start_of_other_words(grpo, at, tmp_path, monkeypatch):
    """The packaged policy is refused when the words of the tiny profile have changed since it was made."""
    from toolfoundry.train import run

    shutil.copytree(at / "start", tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "tiny.json").write_text('{"vocabulary": "00ff"}')
    monkeypatch.setattr(run, "checkpoint_folder", lambda model: tmp_path / "checkpoint")
    code, _, err = grpo("-o", tmp_path / "run", model="tiny")
    assert code == 3
    assert "made with other words of the tiny profile (vocabulary 00ff" in err
    assert "tiny-warmstart" in err


def test_demonstrations_of_other_environments(at, run, finished, tmp_path):
    """What is imitated must be played in environments that are given, since their tools stand in the prompt."""
    code, _, err = run(
        *("train", "sft", "test.jsonl", "--model", "start", "-o", tmp_path / "run"),
        *("--demonstrations", "finished/rounds/000.jsonl", "--max-steps", "1"),
    )
    assert code == 3
    assert "demonstrations: found one of environment" in err


def test_a_weight_that_is_not_a_number(grpo, at, tmp_path):
    """The cause is said, with exit code 1, and no policy is left that looks trained."""
    shutil.copytree(at / "start", tmp_path / "start")
    weights = load_file(tmp_path / "start" / "model.safetensors")
    weights["model.norm.weight"][0] = math.nan
    save_file(weights, tmp_path / "start" / "model.safetensors", metadata={"format": "pt"})
    for more in ((), ("--mode", "episode")):
        code, _, err = grpo("-o", tmp_path / "run", "--force", *more, model=tmp_path / "start")
        assert code == 1
        assert "the model gives NaN: its weights are broken, or training has diverged" in err
    assert not (tmp_path / "run" / "final").exists()


def test_a_training_that_diverges(at, run, tmp_path):
    """The step is named and what to do; the last checkpoint is one of numbers, and to go on fails the same way."""
    command = ("train", "sft", "envs.jsonl", "--model", "start", "-o", tmp_path / "run", "--learning-rate", "1e20")
    for more in ((), ("--resume",)):
        code, _, err = run(*command, "--set", "save_every=1", "--prompts-per-step", "4", "--max-steps", "9", *more)
        assert code == 1, err
        assert "training diverged" in err
        assert "the last checkpoint is intact (lower learning_rate" in err
    [newest] = (tmp_path / "run" / "checkpoints").glob("0*")
    assert all(torch.isfinite(weight).all() for weight in load_file(newest / "model.safetensors").values())
    assert not (tmp_path / "run" / "final").exists()


@pytest.mark.parametrize(
    "failure", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: not")]
)
def test_no_memory(grpo, tmp_path, monkeypatch, failure):
    """Too little memory in an update is said in a line, with what would need less of it."""
    from toolfoundry.train import rounds

    def improve(*_):
        raise failure

    monkeypatch.setattr(rounds, "improve", improve)
    code, _, err = grpo("-o", tmp_path / "run")
    assert code == 1
    assert "out of memory; the last checkpoint is intact (a lower max_prompt_tokens or max_response_tokens" in err


def test_a_warm_start_is_not_made_over_something_else(at, run):
    """A folder that has anything in it is left alone, before anything is built."""
    code, _, err = run("train", "tiny-warmstart", "-o", "start")
    assert code == 6
    assert "start is not empty; --force replaces it" in err


def test_what_the_loop_cannot_do(grpo):
    """An adapter is not silently trained as a whole model."""
    code, _, err = grpo("-o", "never", "--lora-rank", "8", "--backend", "loop")
    assert code == 3
    assert "lora_rank: the backend is 'loop', which trains whole models; expected --backend trl" in err


def test_a_missing_extra(grpo, monkeypatch):
    """Without torch the line to type is shown, with the exit code of wrong usage."""
    monkeypatch.setitem(sys.modules, "torch", None)
    code, _, err = grpo("-o", "never")
    assert code == 2
    assert "training needs an optional dependency: pip install 'toolfoundry[train]'" in err


def test_a_disk_that_is_full(grpo, at, tmp_path):
    """Where the folder cannot be made the error is one of output."""
    (tmp_path / "file").write_text("")
    code, _, err = grpo("-o", tmp_path / "file" / "run")
    assert code == 6, err
    assert "Not a directory" in err
