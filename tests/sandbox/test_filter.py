"""The seccomp filters, decision by decision: a small interpreter of BPF runs them on every system call number."""

import errno
import struct

import pytest

from toolfoundry.sandbox import harden

MACHINES = ["x86_64", "aarch64"]
VALUES = [0, 1, 2, 3, 4, 5, 7, 9, 16, 17, 34, 0x1200011, 0x10000000, 0x7FFFFFFF, 0xFFFFFFFF]


def decide(program, number, arguments=(), arch=None, machine="x86_64"):
    """What a filter says: allow, kill, or an errno. Arguments have 64 bits."""
    data = struct.pack("<iIQ", number, arch or harden.ARCHITECTURES[machine], 0)
    data += struct.pack("<6Q", *[*arguments, 0, 0, 0, 0, 0, 0][:6])
    at, a = 0, 0
    for _ in range(5000):
        code, if_true, if_false, k = struct.unpack_from("HBBI", program, 8 * at)
        at += 1
        if code == harden.LOAD:
            (a,) = struct.unpack_from("<I", data, k)
        elif code == harden.RETURN:
            return {harden.ALLOW: "allow", harden.KILL: "kill"}.get(k, errno.errorcode.get(k & 0xFFFF))
        else:
            taken = {harden.JUMP_EQUAL: a == k, harden.JUMP_ABOVE: a >= k, harden.JUMP_BITS: bool(a & k)}[code]
            at += if_true if taken else if_false
    raise AssertionError("the filter does not end")


def holds(need, arguments):
    low = arguments[need.argument] & 0xFFFFFFFF
    return low in need.values if need.test == "is" else not low & need.values[0]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("rules", [harden.WORKER_RULES, harden.TEMPLATE_RULES], ids=["worker", "template"])
def test_every_number_is_decided_as_the_rules_say(machine, rules):
    """For each number and many arguments: what the rules allow, what must kill, and EPERM for all that is unknown."""
    program, number = harden.filter_program(rules, machine), harden.numbers(machine)
    names = {value: name for name, value in number.items()}
    for nr in range(1200):
        name = names.get(nr, "")
        for value in VALUES:
            for high in (0, 1 << 32):
                arguments = [value | high] * 6
                if name in harden.NEVER:
                    expected = "kill"
                elif name == "clone3":
                    expected = "ENOSYS"
                else:
                    allowed = name in rules and all(holds(need, arguments) for need in rules[name])
                    expected = "allow" if allowed else "EPERM"
                assert decide(program, nr, arguments, machine=machine) == expected, (name, nr, hex(arguments[0]))


@pytest.mark.parametrize("machine", MACHINES)
def test_other_numberings_kill(machine):
    """A call by the numbers of another architecture, or of x32, ends the process whatever its number is."""
    program = harden.filter_program(harden.WORKER_RULES, machine)
    for arch in (0x40000003, 0x40000028, 0xC000003E, 0xC00000B7):  # i386, arm, x86-64, aarch64
        if arch != harden.ARCHITECTURES[machine]:
            assert {decide(program, nr, [3] * 6, arch=arch) for nr in range(500)} == {"kill"}
    if machine == "x86_64":
        assert {decide(program, 0x40000000 + nr, [3] * 6) for nr in range(600)} == {"kill"}
        assert decide(program, -1, [3] * 6) == "kill"


@pytest.mark.parametrize("machine", MACHINES)
def test_what_memory_may_be_mapped(machine):
    """Anonymous and never executable; with a descriptor or with PROT_EXEC, a mapping is refused."""
    program, number = harden.filter_program(harden.WORKER_RULES, machine), harden.numbers(machine)
    for prot in range(8):
        for fd in (0, 3, -1):
            verdict = decide(program, number["mmap"], [0, 4096, prot, 34, fd & (2**64 - 1), 0], machine=machine)
            assert verdict == ("allow" if fd == -1 and not prot & 4 else "EPERM")
        assert decide(program, number["mprotect"], [0, 4096, prot], machine=machine) == (
            "EPERM" if prot & 4 else "allow"
        )


@pytest.mark.parametrize("machine", MACHINES)
def test_tables_are_well_formed(machine):
    """Numbers are distinct; a worker is allowed no more than its template, and nothing that must kill."""
    number = harden.numbers(machine)
    assert len(set(number.values())) == len(number)
    assert set(harden.WORKER_RULES) <= set(harden.TEMPLATE_RULES)
    assert set(harden.NEVER) <= set(number)
    assert not set(harden.TEMPLATE_RULES) & set(harden.NEVER)
    assert not {"openat", "socket", "clone", "prctl", "sendmsg", "prlimit64"} & set(harden.WORKER_RULES)
