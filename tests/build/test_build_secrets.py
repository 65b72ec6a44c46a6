"""No key reaches a file of a build, also where it is refused."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from toolfoundry.cli.main import app


@pytest.mark.parametrize("url", ["http://me:hunter2@127.0.0.1:9/v1", "http://127.0.0.1:9/v1?api_key=hunter2"])
@pytest.mark.parametrize("batch", [False, True])
def test_an_address_with_a_key_in_it(url, batch, tmp_path):
    """Refused before anything is written, and not repeated in the message."""
    (tmp_path / "questions.txt").write_text("Who made it?\n")
    output = tmp_path / "out" / "made.jsonl"
    options = ["--author", "llm", "--model", "m", "--base-url", url, "--questions", str(tmp_path / "questions.txt")]
    batches = ["--batch-dir", str(tmp_path / "out" / "batch")] if batch else []
    result = CliRunner().invoke(app, ["build", *options, *batches, "-o", str(output)])
    assert result.exit_code != 0
    assert "hunter2" not in result.output + str(result.exception)
    assert not output.parent.exists()
