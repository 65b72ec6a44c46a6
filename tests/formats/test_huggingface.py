"""The folder that `datasets` loads: rows, splits, and a card that the hub can read."""

import asyncio
import json

import pytest

from fakes import TABLE, CannedExecutor, capital_spec
from toolfoundry.demo import environments
from toolfoundry.errors import InputError
from toolfoundry.formats.huggingface import Card, environment_row, export_huggingface
from toolfoundry.policies.scripted import make
from toolfoundry.rollout import run_rollout
from toolfoundry.store import RecordWriter, write_run_file
from toolfoundry.types import EnvSpec

pytest.importorskip("pyarrow", reason="needs the extra train")


@pytest.fixture
def load(tmp_path, monkeypatch):
    """`datasets.load_dataset` with a cache of its own, offline."""
    datasets = pytest.importorskip("datasets", reason="needs the extra train")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def load_folder(*arguments, **keywords):
        return datasets.load_dataset(*map(str, arguments), cache_dir=str(tmp_path / "cache"), **keywords)

    datasets.disable_progress_bars()
    return load_folder


def conversations(spec, *names):
    for name in names:
        yield spec, asyncio.run(run_rollout(make(name, spec), spec, CannedExecutor(TABLE), name=name))


def test_datasets_loads_the_folder(tmp_path, load):
    """The environments as they were, under the split's name; the conversations as a part of their own."""
    specs, spec = list(environments()), capital_spec()
    counts = export_huggingface(
        specs, tmp_path / "set", Card("A set"), conversations=conversations(spec, "gold", "silent"), split="test"
    )
    assert counts == {"environments": 16, "conversations": 2}
    rows = load(tmp_path / "set", split="test")
    assert [EnvSpec.model_validate_json(text) for text in rows["environment"]] == specs
    for row, made in zip(rows, map(environment_row, specs), strict=True):
        assert row == made
    talks = load(tmp_path / "set", "conversations", split="test")
    assert [row["score"] for row in talks] == [1.0, 0.0]
    assert talks[0]["messages"][-1]["role"] == "assistant"
    assert json.loads(talks[0]["tools"])[0]["type"] == "function"


def test_sets_without_conversations_have_none(tmp_path, load):
    export_huggingface([capital_spec()], tmp_path / "set", Card("A set"))
    assert not (tmp_path / "set" / "conversations").exists()
    assert len(load(tmp_path / "set")["train"]) == 1
    assert "`conversations`" not in (tmp_path / "set" / "README.md").read_text()


def test_the_card_says_what_the_set_is(tmp_path):
    """The hub reads its header; seed, licence and statistics stand in it, and that nothing was checked."""
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra train")
    folder = tmp_path / "set"
    export_huggingface(list(environments()), folder, Card("A set", "apache-2.0", "author procedural", 7))
    card = hub.DatasetCard.load(folder / "README.md", ignore_metadata_errors=False)
    assert (card.data.license, card.data.size_categories) == ("apache-2.0", ["n<1K"])
    assert [part["config_name"] for part in card.data.to_dict()["configs"]] == ["environments"]
    for text in (
        "| seed | 7 |",
        "| licence | apache-2.0 |",
        "author procedural",
        "Not checked.",
        "| Size: tools | 80 |",
    ):
        assert text in card.text
    for name in environment_row(capital_spec()):
        assert f"| `{name}` |" in card.text


def test_what_others_wrote_is_no_markup_in_the_card(tmp_path):
    """Neither the title nor a source's name can open a link, a tag or a field of the header."""
    spec = capital_spec()
    odd = spec.replace(provenance=spec.provenance.model_copy(update={"source": "[x](http://y)\n<img>"}))
    export_huggingface([odd], tmp_path / "set", Card('T"\nlicense: mit\n<script>'))
    text = (tmp_path / "set" / "README.md").read_text()
    assert "<script>" not in text.split("---")[2]
    assert "\nlicense: mit" not in text
    assert "<img>" not in text.replace("\\<img\\>", "")
    assert "[x](" not in text


def test_nothing_to_write_and_bad_names_are_refused(tmp_path):
    with pytest.raises(InputError, match="no environment"):
        export_huggingface([], tmp_path / "set", Card("A set"))
    with pytest.raises(InputError, match=r"split: found '\.\./x'"):
        export_huggingface([capital_spec()], tmp_path / "set", Card("A set"), split="../x")
    assert not (tmp_path / "set").exists()


def test_the_command_checks_the_set_and_plays_the_gold_calls(tmp_path, run, load):
    """The card has the report of `check` and the seed of the set's run file, not its paths."""
    specs = environments()[:2]
    envs, folder = tmp_path / "envs.jsonl", tmp_path / "set"
    with RecordWriter(envs, EnvSpec) as writer:
        for spec in specs:
            writer.write(spec)
    config = {"author": "procedural", "seed": 41, "profile": {"name": "ftrl"}}
    write_run_file(envs, command=["toolfoundry", "build", "/home/me/x"], config=config, counts={}, started=0)
    code, out, err = run("export", "huggingface", envs, "-o", folder, "--license", "cc-by-4.0", "--json")
    assert code == 0, err
    assert json.loads(out) == {"environments": 2, "conversations": 2, "defects": 0}
    text = (folder / "README.md").read_text()
    for told in ("| seed | 41 |", "author procedural, profile ftrl", "probing calls, 0 defects", "| gold | 1.000 |"):
        assert told in text
    assert "/home/me" not in text
    talks = load(folder, "conversations", split="train")
    assert [row["score"] for row in talks] == [1.0, 1.0]
    assert [row["spec_id"] for row in talks] == [spec.id for spec in specs]
    assert run("export", "huggingface", envs, "-o", folder)[0] == 6
