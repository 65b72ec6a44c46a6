"""Takes rights away from the calling process, for good: Linux on x86-64 and aarch64, by ctypes alone, no root needed.

Two steps. `confine_template` is for the process that parses tool sources and forks workers: no files, no sockets, no
programs, no signals, but fork. `confine_worker` is for the process that runs tool code: what is left are 28 system
calls on its own memory, timer and clock, reading descriptor 3, and writing 1 to 3. It takes nothing on trust: it
measures what holds and reports it, and the host uses no worker whose report is short.

Does not cover: faults of the kernel behind those calls, side channels, fair shares of CPU time and memory bandwidth.
Sources of the numbers: Linux `syscall_64.tbl`, `asm-generic/unistd.h`, `seccomp.h`, `landlock.h`, `prctl.h`.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import resource
import signal
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

__all__ = ["confine_template", "confine_worker", "filter_program", "syscall"]

NOBODY = 65534
PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 3, 4, 22
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 36, 38, 39

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*
COMMON = (  # numbers that all machines share
    "pidfd_send_signal 424 io_uring_setup 425 io_uring_enter 426 io_uring_register 427 open_tree 428 move_mount 429 "
    "fsopen 430 pidfd_open 434 clone3 435 close_range 436 pidfd_getfd 438 process_madvise 440 mount_setattr 442 "
    "landlock_create_ruleset 444 landlock_restrict_self 446 memfd_secret 447"
)
NUMBERS = {
    "x86_64": (
        "read 0 write 1 close 3 mmap 9 mprotect 10 munmap 11 brk 12 rt_sigaction 13 rt_sigprocmask 14 "
        "rt_sigreturn 15 pread64 17 sched_yield 24 mremap 25 madvise 28 dup2 33 setitimer 38 getpid 39 socket 41 "
        "sendmsg 46 recvmsg 47 clone 56 execve 59 exit 60 kill 62 gettimeofday 96 getrusage 98 ptrace 101 "
        "getuid 102 geteuid 107 getppid 110 capget 125 capset 126 rt_sigqueueinfo 129 sigaltstack 131 "
        "personality 135 prctl 157 chroot 161 mount 165 init_module 175 gettid 186 tkill 200 time 201 futex 202 "
        "restart_syscall 219 clock_gettime 228 clock_getres 229 exit_group 231 tgkill 234 kexec_load 246 "
        "add_key 248 request_key 249 keyctl 250 openat 257 unshare 272 set_robust_list 273 dup3 292 "
        "rt_tgsigqueueinfo 297 perf_event_open 298 prlimit64 302 open_by_handle_at 304 setns 308 "
        "process_vm_readv 310 process_vm_writev 311 finit_module 313 seccomp 317 getrandom 318 memfd_create 319 "
        "bpf 321 execveat 322 userfaultfd 323 preadv2 327 rseq 334"
    ),
    "aarch64": (
        "dup3 24 mount 40 chroot 51 openat 56 close 57 read 63 write 64 pread64 67 capget 90 capset 91 "
        "personality 92 exit 93 exit_group 94 unshare 97 futex 98 set_robust_list 99 setitimer 103 kexec_load 104 "
        "init_module 105 clock_gettime 113 clock_getres 114 ptrace 117 sched_yield 124 restart_syscall 128 "
        "kill 129 tkill 130 tgkill 131 sigaltstack 132 rt_sigaction 134 rt_sigprocmask 135 rt_sigqueueinfo 138 "
        "rt_sigreturn 139 getrusage 165 prctl 167 gettimeofday 169 getpid 172 getppid 173 getuid 174 geteuid 175 "
        "gettid 178 socket 198 sendmsg 211 recvmsg 212 brk 214 munmap 215 mremap 216 add_key 217 request_key 218 "
        "keyctl 219 clone 220 execve 221 mmap 222 mprotect 226 madvise 233 rt_tgsigqueueinfo 240 "
        "perf_event_open 241 prlimit64 261 open_by_handle_at 265 setns 268 process_vm_readv 270 "
        "process_vm_writev 271 finit_module 273 seccomp 277 getrandom 278 memfd_create 279 bpf 280 preadv2 286 "
        "execveat 281 userfaultfd 282 rseq 293"
    ),
}


class Need(NamedTuple):
    """A condition on the low half of one argument: it `is` one of the values, or it `lacks` the bits of the first."""

    argument: int
    test: Literal["is", "lacks"]
    values: tuple[int, ...]


Rules = Mapping[str, tuple[Need, ...]]
PROT_EXEC, NO_FILE = Need(2, "lacks", (4,)), Need(4, "is", (0xFFFFFFFF,))

OWN_CLOCK = Need(0, "is", (*range(8),))  # the numbers beyond are clocks of other processes

# getrandom is harmless, and needed: where it fails, the C library ends a process that parses XML
WORKER_RULES: Rules = {
    "write": (Need(0, "is", (3, 1, 2)),),
    "read": (Need(0, "is", (3,)),),
    "preadv2": (Need(0, "is", (3,)),),
    "mmap": (NO_FILE, PROT_EXEC),
    "mprotect": (PROT_EXEC,),
    "clock_gettime": (OWN_CLOCK,),
    "clock_getres": (OWN_CLOCK,),
} | dict.fromkeys(
    "munmap brk mremap madvise futex setitimer rt_sigreturn rt_sigprocmask rt_sigaction sigaltstack time "
    "getrusage gettimeofday restart_syscall sched_yield getpid gettid rseq close exit exit_group getrandom".split(),
    (),
)
FORK = 0x01200011  # CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD: what glibc's fork asks for; musl: SIGCHLD
TEMPLATE_RULES: Rules = {
    **WORKER_RULES,
    "clone": (Need(0, "is", (FORK, 17)),),
    "sendmsg": (Need(0, "is", (3,)),),
    "recvmsg": (Need(0, "is", (3,)),),
    "prlimit64": (Need(0, "is", (0,)),),
} | dict.fromkeys(
    "pread64 dup2 dup3 close_range pidfd_open prctl capget getuid geteuid getppid set_robust_list".split(), ()
)

NEVER = (  # no tool has an honest reason for these: they end the process instead of failing
    "execve execveat ptrace process_vm_readv process_vm_writev kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo "
    "pidfd_send_signal pidfd_getfd bpf io_uring_setup io_uring_enter io_uring_register userfaultfd mount move_mount "
    "open_tree fsopen mount_setattr chroot open_by_handle_at setns unshare init_module finit_module kexec_load keyctl "
    "add_key request_key perf_event_open personality memfd_create memfd_secret process_madvise"
).split()

LOAD, JUMP_EQUAL, JUMP_ABOVE, JUMP_BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # classic BPF
ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000  # SECCOMP_RET_*; FAIL | errno


@functools.cache
def numbers(machine: str) -> dict[str, int]:
    """System call numbers by name. Raises KeyError for a machine without a table."""
    words = f"{NUMBERS[machine]} {COMMON}".split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def filter_program(rules: Rules, machine: str) -> bytes:
    """The BPF program that allows what `rules` allow, kills for `NEVER`, and fails everything else with EPERM.

    A call by another architecture's numbering (32 bit, x32) kills: its numbers would mean other calls.
    """
    number = numbers(machine)

    def op(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, k)

    def block(needs: Iterable[Need]) -> list[bytes]:
        body: list[bytes] = []
        for need in needs:
            body.append(op(LOAD, 16 + 8 * need.argument))
            if need.test == "lacks":
                body.append(op(JUMP_BITS, need.values[0], 0, 1))
            else:
                body += [op(JUMP_EQUAL, value, len(need.values) - i, 0) for i, value in enumerate(need.values)]
            body.append(op(RETURN, FAIL | errno.EPERM))
        return [*body, op(RETURN, ALLOW)]

    program = [op(LOAD, 4), op(JUMP_EQUAL, ARCHITECTURES[machine], 1, 0), op(RETURN, KILL), op(LOAD, 0)]
    if machine == "x86_64":
        program += [op(JUMP_ABOVE, 0x40000000, 0, 1), op(RETURN, KILL)]
    cases = {name: block(needs) for name, needs in rules.items()}
    cases |= {"clone3": [op(RETURN, FAIL | errno.ENOSYS)]}  # its flags are behind a pointer; libc falls back to clone
    cases |= {name: [op(RETURN, KILL)] for name in NEVER}
    for name, body in cases.items():
        if name in number:  # `time` and `dup2` do not exist on aarch64
            program += [op(JUMP_EQUAL, number[name], 0, len(body)), *body]
    return b"".join([*program, op(RETURN, FAIL | errno.EPERM)])


MACHINE = platform.machine()
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def syscall(name: str, *arguments: int | bytes | None) -> int:
    """Makes a raw system call; a failure is the negated errno. Integers are passed as 64 bits."""
    wrapped = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    result = int(libc.syscall(ctypes.c_long(numbers(MACHINE)[name]), *wrapped))
    return -ctypes.get_errno() if result == -1 else result


def prctl(option: int, value: int = 0, pointer: int = 0) -> int:
    return syscall("prctl", option, value, pointer, 0, 0)


def install(program: bytes) -> int:
    """Installs a filter; 0 or the negated errno."""
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code)))
    return prctl(PR_SET_SECCOMP, 2, ctypes.addressof(header))


def landlock() -> int:
    """Denies every file, TCP and IPC right that this kernel's Landlock knows; its ABI, or 0 without Landlock."""
    abi = syscall("landlock_create_ruleset", None, 0, 1)
    if abi < 1:
        return 0
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1
    attributes = struct.pack("QQQ", files, 3, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]  # files, TCP, scopes
    ruleset = syscall("landlock_create_ruleset", attributes, len(attributes), 0)
    if ruleset < 0:
        return 0
    done = syscall("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)
    return abi if done == 0 else 0


def drop_privileges() -> None:
    """Root becomes `nobody`; where that is not permitted, the capabilities are dropped all the same."""
    if os.geteuid() == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        except PermissionError:
            pass  # a container without CAP_SETUID; the report says that the process is still root
    header = struct.pack("Ii", 0x20080522, 0)
    syscall("capset", header, bytes(24))


def limit(name: str, soft: int, hard: int | None = None) -> None:
    """Lowers a resource limit; never raises a hard one."""
    number: int | None = getattr(resource, f"RLIMIT_{name}", None)
    if number is None:
        return
    _, ceiling = resource.getrlimit(number)
    highest = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        highest = ceiling if highest == resource.RLIM_INFINITY else min(highest, ceiling)
    lowest = soft if highest == resource.RLIM_INFINITY else min(soft, highest)
    resource.setrlimit(number, (lowest, highest))


def die_with_parent() -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@functools.cache
def own_filters() -> tuple[bytes, bytes]:
    """The programs for templates and for workers of this machine; made once, in the zygote."""
    return filter_program(TEMPLATE_RULES, MACHINE), filter_program(WORKER_RULES, MACHINE)


def confine_template() -> int:
    """Confines the calling process to memory, descriptor 3 and fork; the Landlock ABI in force, or 0.

    Raises OSError if the kernel refuses a mandatory part.
    """
    die_with_parent()
    os.environ.clear()
    os.umask(0o777)
    for name in ("CORE", "FSIZE", "MEMLOCK", "MSGQUEUE"):
        limit(name, 0)
    limit("NOFILE", 256)
    drop_privileges()
    die_with_parent()  # a change of user clears it
    if failed := prctl(PR_SET_NO_NEW_PRIVS, 1) or prctl(PR_SET_DUMPABLE, 0):
        raise OSError(-failed, "no_new_privs")
    abi = landlock()
    if failed := install(own_filters()[0]):
        raise OSError(-failed, "the kernel refuses a seccomp filter")
    return abi


def confine_worker(address_space: int, cpu_s: int) -> dict[str, int]:
    """Confines a fork of a template to what tool code may do. Descriptors other than 0-3 must be closed already.

    Returns what was measured to hold, by name; 1 is yes.
    """
    die_with_parent()
    limit("AS", address_space)
    limit("CPU", cpu_s, cpu_s + 1)
    limit("NPROC", 0)
    limit("NOFILE", 16)
    limit("SIGPENDING", 16)
    capabilities = ctypes.create_string_buffer(24)
    asked = libc.capget(struct.pack("Ii", 0x20080522, 0), capabilities)
    held = {
        "no_new_privs": prctl(PR_GET_NO_NEW_PRIVS) == 1,
        "not_dumpable": prctl(PR_GET_DUMPABLE) == 0,
        "no_capabilities": asked == 0 and capabilities.raw == bytes(24),
        "memory_limit": 0 < resource.getrlimit(resource.RLIMIT_AS)[1] <= address_space,
        "cpu_limit": 0 < resource.getrlimit(resource.RLIMIT_CPU)[1] <= cpu_s + 1,
        "not_root": os.geteuid() != 0,
        "seccomp": install(own_filters()[1]) == 0,
    }
    return {name: int(yes) for name, yes in held.items()} | {name: int(probe()) for name, probe in PROBES.items()}


def refused(name: str, *arguments: int | bytes | None) -> Callable[[], bool]:
    return lambda: syscall(name, *arguments) == -errno.EPERM


PROBES: dict[str, Callable[[], bool]] = {  # tried in every worker, after the filter; each one must be refused
    "no_open": refused("openat", -100, b"/", 0, 0),
    "no_socket": refused("socket", 1, 1, 0),
    "no_fork": refused("clone", 17, 0, 0, 0, 0),
    "no_other_read": refused("read", 0, None, 0),
    "no_other_write": refused("write", 4, None, 0),
    "no_executable_memory": refused("mmap", 0, 4096, 5, 34, -1, 0),
    "no_prctl": refused("prctl", 4, 1, 0, 0, 0),
}
