"""Every command of the documentation runs, in the order of its page, in a folder of the page's own.

A comment before a block says how it is run, if it is not run as it stands:

    <!-- not run: needs a GPU -->       never, for one of the reasons in REASONS
    <!-- slow -->                       on demand only (`pytest -m slow`)
    <!-- short: -n 20 --max-steps 2 --> with these options at the end of each command that knows them: the last counts
    <!-- exit: 1 -->                    its last command ends with this code
    <!-- file: tower.toml -->           no command: the block is the file of this name
    <!-- run -->                        a Python block, which is otherwise not run

A command that ends in `# REASON` is not run either, and `<!-- first: COMMANDS -->` are commands for what a page
takes for granted (the set that somebody wants audited).
Several comments may stand before one block. What commands print is not compared.
"""

import ast
import asyncio
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main

from toolfoundry.cli import main as cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
REASONS = {
    "needs a GPU",
    "needs an endpoint",
    "needs benchmark data",
    "needs a checkpoint",
    "needs the network",
    "needs another framework",
    "needs a cluster",
    "has a test of its own",
    "is run by CI",
    "is a benchmark",
    "is an experiment",
    "starts a server",
}
PROGRAMS = ("toolfoundry", "python", "pip", "make", "cat", "inspect", "vllm", "ray", "accelerate", "ls", "head")
SHELL = ("", "sh", "bash", "console", "shell")
_STARTS = re.compile(rf"(?:{'|'.join(PROGRAMS)})\b|[\w./-]+/train\.sh|[A-Z_]+=\S+ ")
_MARK = re.compile(r"(not run|slow|short|exit|file|run|first)(?:: *(.*))?", re.DOTALL)
_BLOCK = re.compile(r"((?:^ *<!--.*?-->\n\s*)*)^( *)```([^\n]*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """What to run, one command a line, or what to write to `file`; `python` blocks are run whole."""

    line: int
    first: bool = False  # what the page takes for granted
    commands: tuple[str, ...] = ()
    python: str = ""
    file: str = ""
    content: str = ""
    not_run: str = ""
    slow: bool = False
    short: tuple[str, ...] = ()
    exit: int = 0


def blocks(text):
    """The blocks of a page, in order."""
    for found in _BLOCK.finditer(text):
        comments, indent, info, body = found.groups()
        line = text[: found.start(4)].count("\n")
        found_marks = [_MARK.fullmatch(comment.strip()) for comment in re.findall(r"<!--(.*?)-->", comments, re.DOTALL)]
        marks = {one[1]: one[2] or "" for one in found_marks if one}
        if "first" in marks:
            yield Block(line, first=True, commands=tuple(marks["first"].splitlines()))
        body = textwrap.dedent(body) if indent else body
        language = info.split()[0] if info.split() else ""
        if "file" in marks:
            yield Block(line, file=marks["file"], content=body)
        elif "run" in marks:
            yield Block(line, python=body, slow="slow" in marks)
        elif language in SHELL and (commands := tuple(commands_of(body))):
            yield Block(
                line,
                commands=commands,
                not_run=marks.get("not run", ""),
                slow="slow" in marks,
                short=tuple(shlex.split(marks.get("short", ""))),
                exit=int(marks.get("exit", 0)),
            )


def commands_of(body):
    """The commands of a block; in a transcript those after `$`, in a block of output none."""
    body = body.replace("\\\n", " ")
    shown = re.findall(r"^\$ (.*)$", body, re.MULTILINE)
    lines = shown or [line for line in body.splitlines() if line.strip()]
    if not shown and not re.match(_STARTS, lines[0] if lines else ""):
        return
    if not shown and "<<" in body:
        yield body
    else:
        yield from lines


def test_reasons_are_known():
    """A block that is not run names one of the reasons that there are."""
    for page in PAGES:
        for block in blocks(page.read_text()):
            assert not block.not_run or block.not_run in REASONS, (page.name, block.line, block.not_run)


def pages(slow):
    for page in PAGES:
        found = list(blocks(page.read_text()))
        wanted = [block for block in found if not block.not_run and (block.commands or block.python)]
        if any(block.slow == slow and not block.first for block in wanted):
            yield pytest.param(page, id=str(page.relative_to(ROOT)))


@pytest.mark.parametrize("page", list(pages(slow=False)))
def test_the_commands_of_a_page_run(page, tmp_path, monkeypatch, capfd):
    """All but the slow ones."""
    play(page, False, tmp_path, monkeypatch, capfd)


@pytest.mark.slow
@pytest.mark.parametrize("page", list(pages(slow=True)))
def test_the_slow_commands_of_a_page_run(page, tmp_path, monkeypatch, capfd):
    """The slow ones and what they stand on."""
    play(page, True, tmp_path, monkeypatch, capfd)


@pytest.mark.filterwarnings("default")
def play(page, slow, folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # torch reads it when it is first imported
    monkeypatch.delenv("TOOLFOUNDRY_DEBUG", raising=False)
    for name in ("benchmarks", "examples", "experiments"):
        (folder / name).symlink_to(ROOT / name)
    for block in blocks(page.read_text()):
        if block.file:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.content)
        elif block.not_run or (block.slow and not slow):
            continue
        elif block.python:
            run_python(block.python)
        else:
            for place, command in enumerate(block.commands, start=1):
                if command.rpartition("# ")[2] in REASONS:
                    continue
                code = run_command(command, block.short, monkeypatch)
                output = capfd.readouterr()
                expected = block.exit if place == len(block.commands) else 0
                where = f"{page.relative_to(ROOT)}:{block.line}: {command}\n{output.out[-2000:]}{output.err[-2000:]}"
                assert code == expected, where


def run_python(source):
    """As a script that may await at its top level (the pages show what stands inside a coroutine)."""
    code = compile(source, "<page>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waiting = eval(code, {"__name__": "__main__"})  # our own documentation, not a tool
    if waiting is not None:
        asyncio.run(waiting)


def run_command(command, short, monkeypatch):
    """The exit code. Commands of ours run in this process, which has loaded everything; others in a shell."""
    line, _, target = command.partition(" > ")
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        words = []
    if not words or words[0] != "toolfoundry" or any(word in ("|", "&&", ";", "&") for word in words):
        return subprocess.run(["bash", "-ec", command], check=False).returncode
    arguments = [*words, *options_for(words[1:], short)]
    if target:
        ours = [sys.executable, "-m", "toolfoundry.cli", *arguments[1:]]
        with Path(target.split("#")[0].strip()).open("w") as file:
            return subprocess.run(ours, check=False, stdout=file).returncode
    monkeypatch.setattr(sys, "argv", arguments)
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    return 0


def options_for(words, short):
    """Those of the short form that the command knows, with their values."""
    command = typer.main.get_command(cli.app)
    words_given, words = words, list(words)
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    # More processes would each load everything.
    alone = "--jobs" in known and not {"llm", "--tools", "--ray"} & set(words_given)
    chosen, take = ["--jobs", "1"] if alone else [], False
    for word in short:
        take = word in known if word.startswith("-") else take
        chosen += [word] if take else []
    return chosen
