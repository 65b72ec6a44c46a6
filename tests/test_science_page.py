"""The map from the paper to the code names functions and commands that there are."""

import importlib.util
import re
from pathlib import Path

import pytest
import typer.main

from toolfoundry.cli import main as cli

PAGE = (Path(__file__).parents[1] / "docs" / "science.md").read_text()
ROWS = [re.split(r"(?<!\\)\|", line)[1:-1] for line in PAGE.splitlines() if line.startswith("| ")]
QUOTED = sorted({name for row in ROWS for cell in row[1:3] for name in re.findall(r"`([^`]+)`", cell)})
FUNCTIONS = [name for name in QUOTED if re.fullmatch(r"[a-z_]+(\.[a-zA-Z_0-9]+)+", name)]
COMMANDS = [
    name for name in QUOTED if name.split()[0] in typer.main.get_command(cli.app).commands and name not in FUNCTIONS
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_exist(name):
    """A dotted name is a module of the package, or a name in one."""
    pytest.importorskip("torch", reason="some of them need the extra train")
    module, _, attribute = f"toolfoundry.{name}".rpartition(".")
    found = importlib.import_module(module)
    is_module = hasattr(found, "__path__") and importlib.util.find_spec(f"{module}.{attribute}") is not None
    assert is_module or hasattr(found, attribute), name


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_exist(line):
    """A command has the options that are named."""
    words, command = line.split(), typer.main.get_command(cli.app)
    while words and words[0] in getattr(command, "commands", ()):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


def test_the_page_names_many():
    """The patterns above find what the page holds."""
    assert len(FUNCTIONS) >= 25
    assert len(COMMANDS) >= 20
