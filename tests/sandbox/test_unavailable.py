"""Where the walls cannot be put up, or do not hold, nothing is executed, and the error says what is missing."""

import os
import platform
import sys
from pathlib import Path

import pytest

from toolfoundry.errors import SandboxError, SandboxUnavailable
from toolfoundry.sandbox import Sandbox, Session, pool, process, selftest

SOURCE = "def f():\n    return 1\n"


def refusal():
    with Sandbox() as box:
        box.call(SOURCE, "f", {})


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("win32", "AMD64"), ("linux", "riscv64")])
def test_other_platforms_are_refused(monkeypatch, system, machine):
    """macOS, Windows and unknown machines get a refusal that says how to use a container."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(SandboxUnavailable, match="docker run"):
        refusal()


def test_a_short_report_is_refused(monkeypatch):
    """A worker that does not report every wall is never used."""
    monkeypatch.setattr(pool, "REQUIRED", (*pool.REQUIRED, "moat"))
    with pytest.raises(SandboxUnavailable, match="missing moat; the kernel must allow seccomp"):
        refusal()


@pytest.mark.parametrize("wall", pool.REQUIRED)
def test_each_wall_is_required(wall):
    """Each wall that is reported as down is found missing; only the number 1 says that it stands."""
    report = dict.fromkeys(pool.REQUIRED, 1)
    assert process.missing(report, pool.REQUIRED) == []
    assert process.missing(report | {wall: 0}, pool.REQUIRED) == [wall]
    del report[wall]
    assert process.missing(report, pool.REQUIRED) == [wall]


def test_a_trial_that_succeeds_is_refused(monkeypatch):
    """If tool code gets through with a forbidden thing at the start, the sandbox does not start."""
    monkeypatch.setitem(selftest.TRIALS, "do_a_forbidden_thing", "def do_a_forbidden_thing():\n    return 'done'\n")
    with pytest.raises(SandboxUnavailable, match="tool code could do_a_forbidden_thing"):
        refusal()


def test_a_kernel_without_pidfd_is_refused(monkeypatch):
    """Without a safe way to kill a worker there is no sandbox."""

    def pidfd_open(pid, flags=0):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    with pytest.raises(SandboxUnavailable, match="pidfd_open"):
        refusal()


def test_a_machine_without_room_is_our_error(monkeypatch):
    """When no worker at all can be made, that is an error of ours and no tool is charged with it."""
    with Sandbox() as box:
        monkeypatch.setattr(process, "_pass", lambda *_, **__: iter(()))  # requests get lost
        with pytest.raises(SandboxError, match="no worker can be made"):
            box.call(SOURCE, "f", {})
        monkeypatch.undo()
        assert box.call(SOURCE, "f", {}).content == "1"


def test_a_source_that_cannot_be_loaded_is_charged():
    """When only these sources bring the template down, every call of them is `killed`, and other sessions go on."""
    with Sandbox() as box:
        box.call(SOURCE, "f", {})
        with Session(box, b"whatever brings its parser down", False, 0, box.limits) as session:
            assert session.call("f", {}).error == "killed: the source brought down the process that compiles it"
        assert box.call(SOURCE, "f", {}).content == "1"


def test_an_interpreter_that_does_not_start_is_refused(monkeypatch):
    """When the first process does not come up, the error names the interpreter."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SandboxUnavailable, match=r"its first process did not come up .*/bin/false"):
        refusal()


def test_nothing_is_left_after_a_refusal(monkeypatch):
    """A refused start closes what it had opened."""
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    monkeypatch.setattr(pool, "REQUIRED", ("moat",))
    with pytest.raises(SandboxUnavailable):
        refusal()
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before


def test_a_machine_that_is_too_busy_is_not_the_tools_fault(monkeypatch):
    """Where no worker comes up in time, the call is not answered `killed`, for which a model would be graded."""
    with Sandbox() as box:
        assert box.call(SOURCE, "f", {}).content == "1"
        monkeypatch.setattr(process, "HELLO_S", 0.0)
        with pytest.raises(SandboxError, match="no worker came up within 0 s: the machine is too busy"):
            box.call(SOURCE.replace("1", "2"), "f", {})
        monkeypatch.undo()
        assert box.call(SOURCE, "f", {}).content == "1"
