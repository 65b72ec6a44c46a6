"""Shared fixtures. No test leaves loopback, and benchmark data is read where it is, never copied."""

import signal
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "shared" / "data"

# A shell that starts `make test &` lets it ignore Ctrl-C, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the golden files anew (prompts from the vendors' templates: needs trl and jinja2); review the diff",
    )


@pytest.fixture(scope="session")
def ftrl_rows() -> Path:
    """FTRL's published test rows (JSONL), where they are at hand."""
    return _data("ftrl/test.jsonl")


@pytest.fixture(scope="session")
def ftrl_parity() -> Path:
    """Reward vectors computed with the release's functions."""
    return _data("ftrl/parity.jsonl")


@pytest.fixture(scope="session")
def toolhop_rows() -> Path:
    """ToolHop's rows (JSONL)."""
    return _data("toolhop/toolhop.jsonl")


@pytest.fixture(scope="session")
def rotbench_folder() -> Path:
    """RoTBench's first turns, one file a noise level."""
    return _data("rotbench/First_Turn")


@pytest.fixture(scope="session")
def sandbox():
    """One sandbox for the whole test run."""
    from toolfoundry.sandbox import Sandbox

    with Sandbox() as box:
        yield box


def _data(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the published benchmark file {name} is not at {DATA} (see docs/data.md)")
    return path


@pytest.fixture
def run(capfd, monkeypatch):
    """Runs a command in this process; gives exit code, standard output and standard error."""

    from toolfoundry.cli import main as cli

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["toolfoundry", *map(str, arguments)])
        monkeypatch.delenv("TOOLFOUNDRY_DEBUG", raising=False)
        try:
            cli.main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        output = capfd.readouterr()
        return code, output.out, output.err

    return command
