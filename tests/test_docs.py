"""The documentation says what is there: links lead somewhere, commands exist, examples run."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from toolfoundry import answers, seeds, untrusted
from toolfoundry.cli import main as cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    """Relative links and pictures exist."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


def commands():
    for page in PAGES:
        for line in re.findall(r"^\$? ?(toolfoundry [^\n|`]*)", page.read_text(), re.MULTILINE):
            yield pytest.param(line, id=f"{page.name}: {line[:50]}")


@pytest.mark.parametrize("line", list(commands()))
def test_commands_are_real(line):
    """Every command line in the docs names a command and options that exist."""
    words = shlex.split(line.partition(" #")[0].removesuffix("-->"))[1:]
    command = typer.main.get_command(cli.app)
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.partition("=")[0] for word in words if word.startswith("-")} - {"--help", "--install-completion"}
    assert used <= known, (used - known, line)


def test_the_readme_names_every_command():
    """Its table is the list of commands."""
    group = typer.main.get_command(cli.app)
    text = (ROOT / "README.md").read_text()
    for name, command in group.commands.items():
        for leaf in getattr(command, "commands", {"": None}):
            assert f"`{name} {leaf}".strip() in text, (name, leaf)


def test_the_readme_example_runs(capsys):
    """The Python example prints what its comment says."""
    [code] = [
        c for c in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL) if "Sandbox" in c
    ]
    exec(code, {"__name__": "example"})  # our own documentation, not a tool
    assert capsys.readouterr().out.strip() == '{"sum": 5}'


@pytest.mark.parametrize("module", [answers, seeds, untrusted], ids=lambda module: module.__name__)
def test_docstring_examples(module):
    """Examples in docstrings give what they show."""
    import doctest

    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_modules_import_only_from_lines_above_their_own():
    """The table in CONTRIBUTING.md names every module, in the order in which data flows."""
    lines = [
        line.split("|")[1] for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if line.startswith("| `")
    ]
    place = {name: at for at, line in enumerate(lines) for name in re.findall(r"`(\w+)(?:/|\.py)`", line)}
    package = ROOT / "src" / "toolfoundry"
    upwards, imported = [], set()
    for path in sorted(package.rglob("*.py")):
        own = path.relative_to(package).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if own != "__init__" and isinstance(node, ast.ImportFrom):
                start, _, rest = (node.module or "").partition(".")
                names = [rest.partition(".")[0]] if rest else [alias.name for alias in node.names]
                others = [name for name in names if start == "toolfoundry" and name not in (own, "__version__")]
                imported.update(others)
                upwards += [(str(path), name) for name in others if place[name] > place[own]]
    assert upwards == []
    assert len(imported) > 30, "the test sees the imports"
