"""No attack of the corpus gets out, and each class of attacks works where the walls are down."""

import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.attacks import ATTACKS
from toolfoundry.sandbox import SandboxLimits

SECRET = "sk-test-7f3a9c"
ENDS = {"c": None, "r": "raised", "t": "timeout", "m": "memory", "o": "output", "k": "killed"}
HONEST = "def double(n):\n    return 2 * n\n"


class Bait:
    """A secret file, a secret in the environment, a place for files to appear, a listener, and a host to hurt."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.canary = folder, folder / "canary"
        folder.chmod(0o777)
        self.listeners = [socket.socket(type=kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
        self.listeners[0].bind(("127.0.0.1", 0))
        self.port = self.listeners[0].getsockname()[1]
        self.listeners[1].bind(("127.0.0.1", self.port))
        self.listeners[0].listen()
        self.lay()

    def lay(self) -> None:
        self.canary.write_text(SECRET)
        self.canary.chmod(0o666)

    def source(self, attack):
        places = {"CANARY": self.canary, "PWN": self.folder / "pwn", "PORT": self.port, "HOSTPID": os.getpid()}
        text = attack.source
        for name, value in places.items():
            text = text.replace("{" + name + "}", str(value))
        return text

    def taken(self, text: str) -> list[str]:
        """What the attack got, by the marks that it left."""
        marks = {
            "its aim": "BREACH" in text,
            "the secret": SECRET in text,
            "a new file": sorted(p.name for p in self.folder.iterdir()) != ["canary"],
            "the secret file changed": not self.canary.exists() or self.canary.read_text() != SECRET,
            "the listener": bool(select.select(self.listeners, [], [], 0)[0]),
        }
        return [name for name, found in marks.items() if found]

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()


@pytest.fixture(scope="session")
def bait(tmp_path_factory):
    os.environ["TOOLFOUNDRY_TEST_SECRET"] = SECRET
    bait = Bait(tmp_path_factory.mktemp("bait"))
    yield bait
    bait.close()
    del os.environ["TOOLFOUNDRY_TEST_SECRET"]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: f"{a.kind}-{a.name}")
def test_attack_is_contained(box, bait, attack):
    """The attack ends in time, in a way that is in order, with nothing taken, and the next call is served."""
    if attack.kind == "native" and os.uname().machine != "x86_64":
        pytest.skip("the native attacks are written with the system call numbers of x86-64")
    source = bait.source(attack)
    sources = {"attack": source, "plant": source, "double": HONEST}
    began = time.monotonic()
    texts = []
    limits = SandboxLimits(call_s=0.5 if attack.kind == "memory" else 0.1)
    with box.session(sources, limits=limits) as session:
        if attack.kind == "state":
            planted = session.call("plant", {})
            assert planted.error is None or planted.error.startswith("killed"), planted  # the engine uses `len` too
            if attack.within:
                texts.append(session.call("attack", {}))
    with box.session(sources, limits=limits) as session:
        texts.append(session.call("attack", {}))
        after = session.call("double", {"n": 21})
    took = time.monotonic() - began
    assert bait.taken("\n".join(r.text for r in texts)) == []
    for result in texts:
        kind = result.error and result.error.partition(":")[0]
        assert kind in [ENDS[letter] for letter in attack.ends], result
        assert len(result.text.encode()) < 70_000
    assert took < 3
    assert attack.kind not in ("files", "network", "native") or after.content == "42"
    assert box.call(HONEST, "double", {"n": 21}).content == "42"


CONTROLS = {
    "files": ["read_open", "write_file", "sqlite_file"],
    "secrets": ["environ", "native_getenv"],
    "network": ["tcp", "udp"],
    "processes": ["fork", "system", "thread"],
    "cpu": ["c_finite"],
    "memory": ["half_a_gigabyte"],
    "output": ["long_text"],
    "protocol": ["fake_report"],
    "native": ["native_open", "native_socket", "native_map_executable"],
    "language": ["subclasses_to_system", "pickle_gadget"],
    "state": ["module_global", "builtins_patched", "decimal_context"],
}
BARE = """
import sys, os, ctypes, _socket, json
os.dup2(int(sys.argv[1]), 3)
names = {"__name__": "tool"}
exec(sys.stdin.read(), names)
if "plant" in names:
    names["plant"]()
sys.stdout.write(str(names["attack"]()))
"""


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in CONTROLS for name in CONTROLS[kind]])
def test_attack_succeeds_without_walls(bait, kind, name):
    """Positive control: in a throwaway process without walls, a harmless one of each class gets what it wants."""
    attack = next(a for a in ATTACKS if a.name == name)
    if "sc(" in attack.source and os.uname().machine != "x86_64":
        pytest.skip("written with the system call numbers of x86-64")
    ours, theirs = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", BARE, str(theirs)],
            input=bait.source(attack),
            capture_output=True,
            text=True,
            timeout=20,
            pass_fds=(theirs,),
            check=False,
        )
        forged = os.read(ours, 100) if kind == "protocol" else b""
    finally:
        os.close(ours)
        os.close(theirs)
    taken = bait.taken(done.stdout)
    for listener in bait.listeners:
        while select.select([listener], [], [], 0)[0]:
            listener.recv(9) if listener.type == socket.SOCK_DGRAM else listener.accept()[0].close()
    for path in bait.folder.iterdir():
        path.unlink()
    bait.lay()
    assert taken or b"seccomp" in forged, done.stderr


def test_every_class_has_a_control():
    """The corpus has at least 150 attacks, with distinct names, and each class has its positive control."""
    assert len(ATTACKS) >= 150
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    assert {attack.kind for attack in ATTACKS} == set(CONTROLS)


def test_no_process_is_left(box):
    """After all attacks, the only processes of the sandbox are the zygote, templates and idle workers."""
    box.call(HONEST, "double", {"n": 1})
    group = box._zygote.process.pid
    members = [p.parent.name for p in Path("/proc").glob("[0-9]*/stat") if _group(p) == group]
    assert 0 < len(members) <= 2 + len(box._templates) + len(box._idle)  # the zygote, and a template in reserve


def _group(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(") ")[2].split()[2])
    except OSError:
        return 0
