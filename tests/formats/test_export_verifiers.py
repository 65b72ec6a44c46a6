"""The package for verifiers: what is written, and what cannot be. What verifiers makes of it: `make test-verifiers`."""

import ast
import json
import re
import tomllib

import pytest

from fakes import capital_spec
from toolfoundry.demo import environments
from toolfoundry.environment import opening
from toolfoundry.errors import InputError
from toolfoundry.formats.verifiers import export_verifiers, package_name
from toolfoundry.store import RecordWriter, load_record, read
from toolfoundry.types import EnvSpec


def test_the_package_holds_the_environments_and_names_itself(tmp_path):
    """A project that needs verifiers and toolfoundry only, whose every module is Python without a mark left over."""
    assert export_verifiers(environments(), tmp_path, "my-set") == 16
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    assert project["name"] == "my-set"
    assert [need.partition(">")[0] for need in project["dependencies"]] == ["toolfoundry", "verifiers"]
    assert list(read(tmp_path / "my_set" / "environments.jsonl", EnvSpec)) == list(environments())
    for file in (tmp_path / "my_set").glob("*.py"):
        ast.parse(file.read_text())
    assert "my_set" in (tmp_path / "my_set" / "taskset.py").read_text()
    texts = [file.read_text() for file in tmp_path.rglob("*.*") if file.suffix != ".jsonl"]
    assert not [text for text in texts if re.search(r"@[A-Z]+@", text)]


def test_a_task_says_where_its_environment_is_and_nothing_of_its_answers(tmp_path):
    """The record begins at the offset; beside it stand id, name and the opening."""
    export_verifiers(environments(), tmp_path, "my-set")
    records = (tmp_path / "my_set" / "environments.jsonl").read_bytes()
    tasks = [json.loads(line) for line in (tmp_path / "my_set" / "tasks.jsonl").read_text().splitlines()]
    for task, spec in zip(tasks, environments(), strict=True):
        assert load_record(EnvSpec, records[task["offset"] :].partition(b"\n")[0]) == spec
        assert task["prompt"] == opening(spec).messages[0].content
        assert set(task) == {"id", "name", "prompt", "offset"}


@pytest.mark.parametrize("name", ["", "1st", "with space", "a.b", "class", "verifiers", "../up"])
def test_a_name_that_is_no_module_is_refused(name):
    with pytest.raises(InputError, match="name: found"):
        package_name(name)


def test_the_same_environment_twice_and_none_at_all_are_refused(tmp_path):
    """A task's key is its environment's id."""
    with pytest.raises(InputError, match=r"found it twice"):
        export_verifiers([capital_spec(), capital_spec()], tmp_path / "twice", "twice")
    with pytest.raises(InputError, match="no environment"):
        export_verifiers([], tmp_path / "none", "none")
    assert not (tmp_path / "none").exists()


def test_the_command(tmp_path, run):
    """It says how to check the package, leaves a folder alone that is not empty, and never overwrites its input."""
    envs, folder = tmp_path / "envs.jsonl", tmp_path / "my-set"
    with RecordWriter(envs, EnvSpec) as writer:
        writer.write(environments()[0])
    code, out, err = run("export", "verifiers", envs, "-o", folder, "--json")
    assert code == 0, err
    assert '"taskset": "my-set"' in out
    assert "vf-validate my-set" in err
    assert run("export", "verifiers", envs, "-o", folder)[0] == 6
    assert run("export", "verifiers", envs, "-o", folder, "--force", "--name", "other")[0] == 0
    inside = folder / "my_set" / "environments.jsonl"
    assert run("export", "verifiers", inside, "-o", folder, "--force")[0] == 6
    assert len(list(read(inside, EnvSpec))) == 1
