"""The folder of a run: what is there is whole, what is broken is named, and nobody else's files are touched."""

import copy
import math

import orjson
import pytest

pytest.importorskip("torch", reason="needs the extra train")

import torch
from safetensors.torch import load_file, save_file

from toolfoundry.errors import FoundryError, InputError, OutputError, RecordError
from toolfoundry.train.config import TrainConfig
from toolfoundry.train.loop import Optimizer
from toolfoundry.train.run_folder import RunFolder, State
from train.toy_model import toy_model

CONFIG = TrainConfig(seed=3)
ABOUT = {"environments": "4 aaaa", "start": "tiny 1234", "held_out": "0 bbbb", "demonstrations": "0 bbbb"}


@pytest.fixture(scope="module")
def toy():
    return toy_model(hidden=16, layers=1)


@pytest.fixture
def folder(tmp_path):
    begun = RunFolder(tmp_path / "run")
    begun.begin(CONFIG, ABOUT, resume=False, force=False)
    yield begun
    begun.close()


def stepped(model):
    """An optimizer that has taken a step."""
    optimizer = Optimizer(model, CONFIG, None)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


# --- beginning -----------------------------------------------------------------------------------------------------


def test_a_run_says_what_it_was_asked_for(folder):
    """`run.json` has the whole configuration and what the caller knows about the run."""
    document = orjson.loads((folder.path / "run.json").read_bytes())
    assert TrainConfig(**document["config"]) == CONFIG
    assert {name: document[name] for name in ABOUT} == ABOUT
    assert document["toolfoundry"] == "training"
    assert document["schema_version"] == 1


def test_a_run_is_not_overwritten_by_accident(folder):
    """A second run of that name is refused, with both ways out."""
    with pytest.raises(OutputError, match=r"holds a run; --resume goes on with it, --force replaces it"):
        folder.begin(CONFIG, ABOUT, resume=False, force=False)


def test_the_same_run_goes_on(folder):
    """What only says how long and how often may change; `run.json` then has the new values."""
    more = CONFIG.model_copy(update={"rounds": 9, "max_steps": 7, "save_every": 3, "keep_checkpoints": 5})
    folder.begin(more, ABOUT, resume=True, force=False)
    assert orjson.loads((folder.path / "run.json").read_bytes())["config"]["rounds"] == 9


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 4}, "seed 3, found 4"),
        ({"learning_rate": 0.5}, "learning_rate 1e-06, found 0.5"),
        ({"reward": "ftrl"}, "reward 'frontier', found 'ftrl'"),
        ({"pass_rate": (0.1, 0.9)}, r"pass_rate None, found \[0.1, 0.9\]"),
    ],
)
def test_another_run_does_not_go_on(folder, changes, named):
    """Any other setting makes it another run: the first that differs is named with both values."""
    with pytest.raises(InputError, match=f"was begun with {named}; --force starts anew"):
        folder.begin(CONFIG.model_copy(update=changes), ABOUT, resume=True, force=False)


@pytest.mark.parametrize("name", ABOUT)
def test_other_inputs_do_not_go_on(folder, name):
    """So do other environments, another start, other demonstrations, another set to be measured on."""
    with pytest.raises(InputError, match=f"was begun with {name} '{ABOUT[name]}', found 'other'"):
        folder.begin(CONFIG, {**ABOUT, name: "other"}, resume=True, force=False)


def test_settings_that_are_no_longer_there(folder):
    """A setting that this release does not know has no effect on a run that goes on; one that `run.json` lacks counts
    as another value."""
    path = folder.path / "run.json"
    document = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps({**document, "config": {**document["config"], "bygone": 1}}))
    folder.begin(CONFIG, ABOUT, resume=True, force=False)
    del document["config"]["clip"]
    path.write_bytes(orjson.dumps(document))
    with pytest.raises(InputError, match=r"was begun with clip None, found 0.2"):
        folder.begin(CONFIG, ABOUT, resume=True, force=False)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"config": 3}', "null"])
def test_a_broken_description(folder, text):
    """A `run.json` that cannot be read is named; nothing is gone on with."""
    (folder.path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json: cannot be read as the description of a run"):
        folder.begin(CONFIG, ABOUT, resume=True, force=False)


def test_force_removes_a_run_and_nothing_else(folder, toy):
    """What lies beside the run in its folder is somebody else's."""
    folder.save(*toy, None, State(step=1), 2)
    folder.log({"step": 1})
    folder.close()
    (folder.path / "notes.txt").write_text("mine")
    (folder.path / "data").mkdir()
    folder.begin(CONFIG.model_copy(update={"seed": 4}), ABOUT, resume=False, force=True)
    assert (folder.path / "notes.txt").read_text() == "mine"
    assert (folder.path / "data").is_dir()
    assert folder.newest() is None
    assert list(folder.rows()) == []


def test_checkpoints_without_a_description(folder, toy):
    """Whose they are cannot be known: they are neither gone on with nor trained over."""
    folder.save(*toy, None, State(step=1), 2)
    (folder.path / "run.json").unlink()
    for resume in (False, True):
        with pytest.raises(OutputError, match=r"holds rounds|holds checkpoints.*--force replaces it"):
            folder.begin(CONFIG, ABOUT, resume=resume, force=False)


def test_resume_before_there_is_a_run(tmp_path):
    """The same command that goes on with a run also begins it."""
    new = RunFolder(tmp_path / "deep" / "run")
    new.begin(CONFIG, ABOUT, resume=True, force=False)
    assert new.newest() is None


def test_a_place_that_cannot_be_written(tmp_path):
    """A file where the folder should be is named, as an error of output."""
    (tmp_path / "file").write_text("")
    with pytest.raises((OutputError, OSError), match="file"):
        RunFolder(tmp_path / "file" / "run").begin(CONFIG, ABOUT, resume=False, force=False)


# --- metrics -------------------------------------------------------------------------------------------------------


def test_metrics_are_cut_to_the_checkpoint(folder):
    """Steps after it, which are done again, and a half-written last line are dropped; what follows is appended."""
    for step in (1, 2, 3):
        folder.log({"step": step, "reward": step / 10})
    folder.close()
    path = folder.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"step":4,"rew')
    folder.cut_metrics(2)
    folder.log({"step": 3, "reward": 0.9})
    assert [(row["step"], row["reward"]) for row in folder.rows()] == [(1, 0.1), (2, 0.2), (3, 0.9)]
    folder.close()
    folder.cut_metrics(0)
    assert list(folder.rows()) == []


def test_a_half_written_line_alone(folder):
    """The line that a kill cut short is dropped even where its step is wanted: the step is done again."""
    (folder.path / "metrics.jsonl").write_bytes(b'{"step":1}\n{"step":2}')
    folder.cut_metrics(2)
    assert [row["step"] for row in folder.rows()] == [1]


def test_a_full_disk(folder):
    """A line that cannot be written is an error of output, with the file."""
    (folder.path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"metrics\.jsonl: No space left"):
        folder.log({"step": 1})


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back(folder, toy):
    """Weights, optimizer and state are those that were saved."""
    model, tokenizer = copy.deepcopy(toy[0]), toy[1]
    optimizer = stepped(model)
    state = State(step=12, round=3, round_steps=2, used=5, pass_rates={"recent": 4})
    path = folder.save(model, tokenizer, optimizer, state, 2)
    assert path.name == "000012"
    assert folder.newest() == (path, state)
    other = Optimizer(copy.deepcopy(model), CONFIG, None)
    folder.restore(path, other)
    assert other.steps == 1
    for name, tensor in optimizer.tensors().items():
        assert torch.equal(tensor, other.tensors()[name]), name
    weights = load_file(path / "model.safetensors")
    assert torch.equal(weights["model.norm.weight"], model.model.norm.weight)


def test_the_newest_are_kept(folder, toy):
    """Older ones are removed after the new one is there; the same step is replaced."""
    for step in (1, 2, 10, 10):
        folder.save(*toy, None, State(step=step, round=step), 2)
    assert sorted(path.name for path in (folder.path / "checkpoints").iterdir()) == ["000002", "000010"]
    assert folder.newest()[1].step == 10


def test_what_was_being_written_is_passed_over(folder, toy):
    """A checkpoint that a kill cut short has another name, or no state: the one before it counts."""
    whole = folder.save(*toy, None, State(step=1), 2)
    draft = folder.path / "checkpoints" / ".000002"
    draft.mkdir()
    (draft / "state.json").write_text("{}")
    (folder.path / "checkpoints" / "000003").mkdir()
    assert folder.newest() == (whole, State(step=1))
    folder.save(*toy, None, State(step=2), 2)
    assert not draft.exists()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", InputError, r"000001/state\.json: cannot be read"),
        ('{"step": "many"}', RecordError, r"000001/state\.json: field 'step': found \"many\""),
        ('{"step": 1, "lr": 2}', RecordError, r"000001/state\.json: field 'lr'"),
        ("7", RecordError, r"000001/state\.json"),
    ],
)
def test_a_broken_state(folder, toy, text, error, message):
    """It is named, and the run does not go on from something else instead."""
    path = folder.save(*toy, None, State(step=1), 2)
    (path / "state.json").write_text(text)
    with pytest.raises(error, match=message):
        folder.newest()


def test_a_broken_optimizer(folder, toy):
    """Missing, cut short, empty, or of another network: the file is named, before a step is taken."""
    model, tokenizer = copy.deepcopy(toy[0]), toy[1]
    optimizer = stepped(model)
    path = folder.save(model, tokenizer, optimizer, State(step=1), 2)
    file = path / "optimizer.safetensors"
    fresh = Optimizer(model, CONFIG, None)
    whole = file.read_bytes()
    problem = r"optimizer\.safetensors: cannot be read as the state of this run's optimizer"
    for data in (whole[:-100], whole[:5], b""):
        file.write_bytes(data)
        with pytest.raises(InputError, match=problem):
            folder.restore(path, fresh)
    for tensors in (
        stepped(toy_model(hidden=32, layers=1)[0]).tensors(),
        {"7.0.exp_avg": torch.zeros(1), "steps": torch.tensor(1)},
        {"weights": torch.zeros(1), "steps": torch.tensor(1)},
        {"0.0.exp_avg": torch.zeros(1)},
    ):
        save_file(tensors, file)
        with pytest.raises(InputError, match=problem):
            folder.restore(path, fresh)
    file.unlink()
    with pytest.raises(InputError, match=problem):
        folder.restore(path, fresh)
    assert fresh.steps == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_policy_is_not_saved(folder, toy, value):
    """Weights that are not finite never replace a checkpoint that is sound."""
    whole = folder.save(*toy, None, State(step=1), 1)
    broken = copy.deepcopy(toy[0])
    with torch.no_grad():
        broken.model.norm.weight[3] = value
    with pytest.raises(FoundryError, match=r"diverged by step 2: model\.norm\.weight is not finite; the last"):
        folder.save(broken, toy[1], None, State(step=2), 1)
    assert folder.newest() == (whole, State(step=1))


def test_a_checkpoint_that_cannot_be_written(folder, toy):
    """What is in the way is named as an error of output."""
    (folder.path / "checkpoints").rmdir()
    (folder.path / "checkpoints").write_text("")
    with pytest.raises(OutputError, match=r"checkpoints/000001: cannot be written"):
        folder.save(*toy, None, State(step=1), 2)


def test_the_final_policy_replaces_an_older_one(folder, toy):
    """`final/` is a whole checkpoint without a trainer's state."""
    for _ in range(2):
        final = folder.finish(*toy)
    names = {path.name for path in final.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert not {"optimizer.safetensors", "state.json"} & names
    assert not (folder.path / ".final").exists()


def test_nothing_in_the_folder_is_a_pickle(folder, toy):
    """Every file is JSON, text or safetensors; the output of saving has no progress bars in it."""
    model = copy.deepcopy(toy[0])
    folder.save(model, toy[1], stepped(model), State(step=1), 2)
    folder.finish(*toy)
    folder.log({"step": 1})
    files = [path for path in folder.path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert {path.suffix for path in files} <= {".json", ".jsonl", ".jinja", ".safetensors"}
    for path in files:
        assert not path.read_bytes().startswith((b"PK", b"\x80")), path


def test_saving_is_silent(folder, toy, capfd):
    """The library's bars would break the live line."""
    folder.save(*toy, None, State(step=1), 2)
    folder.finish(*toy)
    assert capfd.readouterr() == ("", "")
