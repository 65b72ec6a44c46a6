"""`toolfoundry export verl`: rows, configuration and scripts. What verl makes of them: tests/verl_backend."""

import asyncio
import os
import re
import subprocess
import sys

import orjson
import pytest

pytest.importorskip("pyarrow", reason="needs the extra train")

import pyarrow.parquet as pq

from toolfoundry.demo import environments
from toolfoundry.errors import InputError, MissingExtra
from toolfoundry.policies.scripted import make
from toolfoundry.rollout import run_rollout
from toolfoundry.samples import Prefix, prefixes
from toolfoundry.store import RecordWriter, load_record, read
from toolfoundry.train.verl.export import VerlRun, export_verl, lost_schema
from toolfoundry.types import EnvSpec, Trajectory


@pytest.fixture(scope="module")
def specs():
    return list(environments())


@pytest.fixture
def envs(tmp_path, specs):
    """The environments of the package as a file."""
    path = tmp_path / "envs.jsonl"
    with RecordWriter(path, EnvSpec) as writer:
        for spec in specs:
            writer.write(spec)
    return path


def played_by(policy, spec, sandbox):
    return asyncio.run(run_rollout(make(policy, spec), spec, sandbox, name=policy))


def rows(folder, split):
    return pq.read_table(folder / f"{split}.parquet").to_pylist()


def names(folder, split):
    return [row["extra_info"]["environment"] for row in rows(folder, split)]


def test_episode_rows(tmp_path, specs):
    """One row for each environment, with its loop's name; none says an answer, a source or a goal."""
    done = export_verl(specs, tmp_path, VerlRun(mode="episode", val_fraction=0.25))
    train = rows(tmp_path, "train")
    assert (done.train_rows, done.val_rows, done.environments, len(train)) == (12, 4, 16, 12)
    assert {row["agent_name"] for row in train} == {"toolfoundry_episode"}
    assert {row["reward_model"]["ground_truth"] for row in train} == {""}
    assert [row["extra_info"]["index"] for row in train] == list(range(12))
    by_id = {spec.id: spec for spec in specs}
    for row in train:
        spec = by_id[row["extra_info"]["environment"]]
        assert row["data_source"] == f"toolfoundry/{spec.scenario.kind}"
        assert row["prompt"][-1]["content"].endswith(f"Question: {spec.scenario.question}")
        assert [tool.source for tool in spec.tools if tool.source in str(row)] == []
    assert list(read(tmp_path / "environments.jsonl", EnvSpec)) == [
        *(spec for spec in specs if spec.id in names(tmp_path, "train")),
        *(spec for spec in specs if spec.id in names(tmp_path, "val")),
    ]


def test_prefix_rows(tmp_path, specs, sandbox):
    """K tool turns give K + 1 rows, with the state in the ground truth; an environment without rollouts its opening."""
    trajectories = [played_by("gold", spec, sandbox) for spec in specs[:10]]
    assert export_verl(specs, tmp_path, VerlRun(), trajectories=trajectories).openings == 6
    all_rows = rows(tmp_path, "train") + rows(tmp_path, "val")
    expected = {prefix.key: prefix for trajectory in trajectories for prefix in prefixes(trajectory)}
    found = {row["extra_info"]["key"]: row for row in all_rows}
    assert len(found) == len(all_rows)
    assert set(found) == set(expected) | {f"{spec.id}#0" for spec in specs[10:]}
    for key, prefix in expected.items():
        state = load_record(Prefix, found[key]["reward_model"]["ground_truth"].encode())
        assert state == prefix.model_copy(update={"said": ()})
        texts = [message["content"] for message in found[key]["prompt"]]
        calls = sum(len(message.tool_calls) for message in prefix.messages)
        assert sum(text.count("<tool_call>\n") for text in texts) == calls


def test_state_counts_as_the_reward_does(tmp_path, specs, sandbox):
    """The prefixes' state is graded with the preset that the responses will be scored with, not the rollout's."""
    played = [played_by("repeat", spec, sandbox) for spec in specs]
    for preset in ("frontier", "ftrl"):
        export_verl(specs, tmp_path / preset, VerlRun(reward=preset), trajectories=played)
        expected = {prefix.key: prefix.credited for one in played for prefix in prefixes(one, preset)}
        states = [load_record(Prefix, row["reward_model"]["ground_truth"].encode())
                  for row in rows(tmp_path / preset, "train")]  # fmt: skip
        assert all(state.credited == expected[state.key] for state in states)


def test_hold_out_depends_on_seed_and_ids_alone(tmp_path, specs):
    """The order of the file does not matter, another seed holds out others, and nothing is in both."""
    export_verl(specs, tmp_path / "a", VerlRun(mode="episode", val_fraction=0.25))
    export_verl(specs[::-1], tmp_path / "b", VerlRun(mode="episode", val_fraction=0.25))
    export_verl(specs, tmp_path / "c", VerlRun(mode="episode", val_fraction=0.25, seed=1))
    held_out = {name: set(names(tmp_path / name, "val")) for name in "abc"}
    assert held_out["a"] == held_out["b"] != held_out["c"]
    assert held_out["a"].isdisjoint(names(tmp_path / "a", "train"))


def test_same_bytes(tmp_path, specs):
    """The same export gives the same files."""
    for name in "ab":
        export_verl(specs, tmp_path / name, VerlRun())
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({}, {"adv_estimator": "grpo", "max_prompt_length": 16384, "max_response_length": 1024, "chat": "hermes"}),
        (
            {"algorithm": "reinforce++", "model": "Qwen/Qwen3-8B", "thinking": True},
            {"adv_estimator": "reinforce_plus_plus", "max_response_length": 8192, "chat": "qwen3", "thinking": "true"},
        ),
        (
            {"algorithm": "reinforce++-baseline", "mode": "episode", "reward": "ftrl"},
            {"adv_estimator": "reinforce_plus_plus_baseline", "max_prompt_length": 8192, "max_response_length": 9216,
             "max_turn_tokens": 1024, "reward": "ftrl", "default_agent_loop": "toolfoundry_episode"},
        ),
    ],
)  # fmt: skip
def test_configuration(tmp_path, specs, fields, settings):
    """The options reach config.yaml, beside the settings that the paper's six scripts share."""
    export_verl(specs, tmp_path, VerlRun(**fields))
    text = (tmp_path / "config.yaml").read_text()
    written = {key: value.strip('"') for key, value in re.findall(r"^ *(\w+): *(\S.*)$", text, re.MULTILINE)}
    shared = {"n": "16", "lr": "1e-6", "kl_loss_coef": "0.001", "kl_loss_type": "low_var_kl", "entropy_coeff": "0.001",
              "clip_ratio": "0.2", "ppo_max_token_len_per_gpu": "32768", "tensor_model_parallel_size": "2",
              "gpu_memory_utilization": "0.7", "loss_agg_mode": "seq-mean-token-mean", "total_epochs": "1"}  # fmt: skip
    for key, value in (shared | settings).items():
        assert written[key] == str(value), key
    assert "@" not in text


def test_a_model_name_cannot_break_the_configuration(tmp_path, specs):
    """A name with quotes and newlines is one YAML string."""
    export_verl(specs, tmp_path, VerlRun(model='x"\n  evil: 1'))
    assert '    path: "x\\"\\n  evil: 1"\n' in (tmp_path / "config.yaml").read_text()


def test_scripts(tmp_path, specs):
    """The scripts run, hand verl this folder in absolute terms, and the one for several nodes asks how many."""
    folder = tmp_path / "with space"
    export_verl(specs, folder, VerlRun())
    fake = tmp_path / "bin" / "python3"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$RAY_ADDRESS" "$@"\n')
    fake.chmod(0o755)
    path = {"PATH": f"{fake.parent}:{os.environ['PATH']}"}

    def start(script, *arguments, **env):
        return subprocess.run(
            [folder / script, *arguments], env=path | env, capture_output=True, text=True, check=False
        )

    one = start("train.sh", "trainer.total_epochs=3").stdout.splitlines()
    assert one[0] == ""
    assert one[1:] == ["-m", "verl.trainer.main_ppo", "--config-path", str(folder), "--config-name", "config",
                       f"data.folder='{folder}'", "trainer.total_epochs=3"]  # fmt: skip
    several = start("train-nodes.sh", NODES="4").stdout.splitlines()
    assert (several[0], several[-1]) == ("auto", "trainer.nnodes=4")
    refused = start("train-nodes.sh")
    assert refused.returncode != 0
    assert "how many nodes" in refused.stderr


def test_batches_are_whole(tmp_path, specs, sandbox):
    """verl leaves out a batch that is not full: a small set gets a smaller one, in whole updates, and says so."""
    small = export_verl(specs, tmp_path / "small", VerlRun(mode="episode"))
    assert small.batch == small.train_rows == 15
    played = [played_by("gold", spec, sandbox) for spec in specs]
    larger = export_verl(specs, tmp_path / "larger", VerlRun(), trajectories=played)
    assert larger.batch % 32 == 0
    assert larger.train_rows - 32 < larger.batch <= larger.train_rows
    assert "The release: 512" in (tmp_path / "larger" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("parameters", "dropped", "rejected"),
    [
        ({"type": "object", "properties": {"a": {"type": "string", "enum": ["x"], "description": "d"}}}, (), None),
        ({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}, ("a.items",), None),
        ({"type": "object", "properties": {"a": {"type": "integer", "default": 0}}, "additionalProperties": False},
         ("additionalProperties", "a.default"), None),
        ({"type": "object", "properties": {"a": {"anyOf": []}}}, ("a.anyOf",), "a: no plain type"),
        ({"type": "object"}, (), "parameters: no properties"),
        ({"properties": {}}, (), "parameters: no type"),
        ({"type": "object", "properties": {"a": True}}, (), "a: not an object"),
    ],
)  # fmt: skip
def test_lost_schema(parameters, dropped, rejected):
    """What verl's schema model drops, and what it rejects (checked against verl itself in tests/verl_backend)."""
    assert lost_schema(parameters) == (dropped, rejected)


def test_losses_are_listed(tmp_path, specs):
    """schemas.json names every distinct tool that verl's model would change, and the counts add up."""
    done = export_verl(specs, tmp_path, VerlRun())
    report = orjson.loads((tmp_path / "schemas.json").read_bytes())
    assert report["tools"] == done.tools
    assert len([entry for entry in report["changed"] if entry["dropped"]]) == done.lossy > 0
    assert sum(len(entry["dropped"]) for entry in report["changed"]) == sum(done.dropped.values())


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"thinking": True}, "'hermes' has no thinking"),
        ({"mode": "episode", "reward": "ftrl-pr"}, "expected frontier or ftrl"),
        ({"chat": "chatml"}, "expected one of hermes, qwen3"),
    ],
)
def test_options_that_do_not_fit(tmp_path, specs, fields, problem):
    with pytest.raises(InputError, match=problem):
        export_verl(specs, tmp_path / "run", VerlRun(**fields))
    assert not (tmp_path / "run").exists()


def test_sets_that_do_not_fit(tmp_path, specs, sandbox):
    """Nothing is validated on what it is trained on; rollouts of other environments are no prefixes of these."""
    with pytest.raises(InputError, match="that are trained on too"):
        export_verl(specs, tmp_path / "run", VerlRun(), val=specs[:2])
    with pytest.raises(InputError, match="found 0 for training"):
        export_verl(specs[:1], tmp_path / "run", VerlRun())
    foreign = played_by("gold", specs[5], sandbox)
    with pytest.raises(InputError, match="its environment is not among"):
        export_verl(specs[:4], tmp_path / "run", VerlRun(), trajectories=[foreign])
    assert not (tmp_path / "run").exists()


def test_command(tmp_path, envs, specs, sandbox, run):
    """The command writes the folder, says what verl's schemas would lose, and replaces nothing unasked."""
    played = tmp_path / "played.jsonl"
    with RecordWriter(played, Trajectory) as writer:
        for spec in specs:
            writer.write(played_by("gold", spec, sandbox))
    folder = tmp_path / "run"
    code, out, err = run("export", "verl", envs, "-o", folder, "--trajectories", played, "--json")
    assert code == 0, err
    assert orjson.loads(out)["train_rows"] == len(rows(folder, "train")) > 40
    assert re.search(r"of \d+ tools verl 0\.9\.1's own model would reject 0 and drop keywords from \d+ \(", err)
    assert "have no rollouts" not in err
    code, _, err = run("export", "verl", envs, "-o", folder)
    assert (code, "is not empty" in err) == (6, True)
    code, _, err = run("export", "verl", envs, "-o", folder, "--force")
    assert (code, "16 environments have no rollouts" in err) == (0, True)
    code, _, err = run("export", "verl", envs, "-o", tmp_path / "e", "--mode", "episode", "--trajectories", played)
    assert (code, "episodes are played anew" in err) == (3, True)
    code, _, err = run("export", "verl", envs, "-o", tmp_path / "f", "--val-fraction", "2")
    assert (code, "val_fraction" in err) == (3, True)


def test_without_pyarrow(tmp_path, specs, monkeypatch):
    """A missing extra is one line."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"toolfoundry\[train\]"):
        export_verl(specs, tmp_path, VerlRun())
