"""Serving where a framework is missing, and addresses that cannot be listened at."""

import socket
import sys

import pytest

from toolfoundry.demo import environments
from toolfoundry.errors import InputError
from toolfoundry.serve.listen import is_loopback, listen, url_of
from toolfoundry.store import RecordWriter
from toolfoundry.types import EnvSpec


@pytest.fixture
def envs(tmp_path):
    path = tmp_path / "envs.jsonl"
    with RecordWriter(path, EnvSpec) as writer:
        writer.write(environments()[0])
    return path


@pytest.mark.parametrize(("server", "module"), [("mcp", "mcp"), ("openenv", "openenv")])
def test_a_missing_extra_is_one_line(run, envs, monkeypatch, server, module):
    """It says what to type, and the exit code is that of wrong usage."""
    for name in [name for name in sys.modules if name.split(".")[0] == module or name.startswith("toolfoundry.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    code, out, err = run("serve", server, envs)
    assert (code, out) == (2, "")
    assert f"pip install 'toolfoundry[{server}]'" in err
    assert err.count("\n") == 1


def test_no_such_environment(run, envs):
    """What was asked for stands in the message."""
    pytest.importorskip("mcp", reason="needs the MCP SDK")
    code, _, err = run("serve", "mcp", envs, "--id", "nothing")
    assert code == 3
    assert "expected one whose id begins with 'nothing'" in err


def test_listening():
    """Any free port; one in use, and an address that is not ours, are said in one line."""
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        assert url_of(bound, "/mcp") == f"http://127.0.0.1:{port}/mcp"
        assert is_loopback(bound)
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is in use; give another with --port"):
            listen("127.0.0.1", port)
    with pytest.raises(InputError, match=r"cannot listen on port 0 of 192\.0\.2\.1"):
        listen("192.0.2.1", 0)
    with pytest.raises(InputError, match=r"--host: found 'no\.such\.invalid'"):
        listen("no.such.invalid", 0)
    with listen("0.0.0.0", 0) as bound:
        assert not is_loopback(bound)
        assert url_of(bound).startswith("http://127.0.0.1:")
    if socket.has_ipv6:
        with listen("::1", 0) as bound:
            assert url_of(bound) == f"http://[::1]:{bound.getsockname()[1]}"
            assert is_loopback(bound)
