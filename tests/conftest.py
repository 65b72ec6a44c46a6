"""Shared fixtures. No test leaves loopback, and benchmark data is read where it is, never copied."""

from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def ftrl_rows() -> Path:
    """FTRL's published test rows (JSONL), where they are at hand."""
    return _data("ftrl/test.jsonl")


@pytest.fixture(scope="session")
def ftrl_parity() -> Path:
    """Reward vectors computed with the release's functions."""
    return _data("ftrl/parity.jsonl")


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
