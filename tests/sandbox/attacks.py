"""The attack corpus: what hostile tool code may try, and how each attempt may end.

An attack is a source that defines `attack()`. One that gets what it wants returns text with BREACH in it, or leaks the
secret, creates a file that begins with {PWN}, or touches the listener on {PORT}: none of these may happen. `ends` are
the letters of the outcomes that are in order: content (without a breach), raised, timeout, memory, output, killed.
Attacks of class `state` also define `plant()`, which runs before, in another session of the same sources (or, with
`within`, in the same one).

Placeholders: {CANARY} a secret file, {SECRET} never appears in a source, {HOSTPID} the host process.
"""

from typing import NamedTuple


class Attack(NamedTuple):
    name: str
    kind: str
    ends: str
    source: str
    within: bool = False


ATTACKS: list[Attack] = []


def add(kind, ends, within=False, prelude="", **sources):
    """Adds attacks: a body of `attack()`, or, where it has a line that begins with `def`, a whole source."""
    for name, text in sources.items():
        lines = text.strip("\n").splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip())
        lines = [line[indent:] for line in lines]
        whole = any(line.startswith("def ") for line in lines)
        source = "\n".join(lines) if whole else "def attack():\n" + "\n".join(f"    {line}" for line in lines)
        ATTACKS.append(Attack(name, kind, ends, prelude + source + "\n", within))


# --- files ------------------------------------------------------------------------------------------------------------

add(
    "files",
    "r",
    read_open="return open('{CANARY}').read()",
    read_passwd="return 'BREACH' + open('/etc/passwd').read()",
    read_os_open="import os; return os.read(os.open('{CANARY}', 0), 99).decode()",
    read_posix="import posix; return posix.read(posix.open('{CANARY}', 0), 99).decode()",
    read_io_fileio="import io; return io.FileIO('{CANARY}').readall().decode()",
    read_codecs="import codecs; return codecs.open('{CANARY}', encoding='utf-8').read()",
    read_io_open_code="import io; return io.open_code('{CANARY}').read().decode()",
    read_pathlib="from pathlib import Path; return Path('{CANARY}').read_text()",
    read_linecache="import linecache; return linecache.getline('{CANARY}', 1) or 1 / 0",
    read_tokenize="import tokenize; return tokenize.open('{CANARY}').read()",
    read_by_loader="""
        import importlib.machinery
        def attack():
            return importlib.machinery.SourceFileLoader("x", "{CANARY}").get_data("{CANARY}").decode()
    """,
    read_by_resources="import importlib.resources as r; return r.read_text('json', 'decoder.py') and 'BREACH'",
    read_through_frozen_io="""
        import sys
        def attack():
            return sys.modules["_io"].open("{CANARY}").read()
    """,
    read_relative="return open('../../../../../../../..{CANARY}').read()",
    read_fd_dir="import os; return 'BREACH' + str(os.listdir('/proc/self/fd'))",
    read_proc_maps="return 'BREACH' + open('/proc/self/maps').read()",
    read_proc_mem="f = open('/proc/self/mem', 'rb'); return 'BREACH' + str(f)",
    read_device="return 'BREACH' + str(open('/dev/zero', 'rb').read(4))",
    read_sys_kernel="return 'BREACH' + open('/sys/kernel/profiling').read()",
    list_root="import os; return 'BREACH' + str(os.listdir('/'))",
    list_scandir="import os; return 'BREACH' + str(list(os.scandir('/')))",
    list_glob="import os; return 'BREACH' + str(next(os.walk('/', onerror=lambda e: (_ for _ in ()).throw(e))))",
    stat_file="import os; return 'BREACH' + str(os.stat('{CANARY}').st_size)",
    stat_access="import os; return 'BREACH' if os.access('{CANARY}', os.F_OK) else 1 / 0",
    readlink="import os; return 'BREACH' + os.readlink('/proc/self/exe')",
    where_am_i="import os; return 'BREACH' + os.getcwd()",
    change_directory="import os; os.chdir('/tmp'); return 'BREACH'",
    write_file="open('{PWN}', 'w').write('x'); return 'BREACH'",
    write_append="open('{CANARY}', 'a').write('x'); return 'BREACH'",
    write_exclusive="import os; os.open('{PWN}', os.O_CREAT | os.O_EXCL | os.O_WRONLY); return 'BREACH'",
    write_unnamed="import os; os.open('/tmp', os.O_TMPFILE | os.O_RDWR); return 'BREACH'",
    make_directory="import os; os.mkdir('{PWN}'); return 'BREACH'",
    make_fifo="import os; os.mkfifo('{PWN}'); return 'BREACH'",
    make_node="import os; os.mknod('{PWN}'); return 'BREACH'",
    make_link="import os; os.link('{CANARY}', '{PWN}'); return 'BREACH'",
    make_symlink="import os; os.symlink('{CANARY}', '{PWN}'); return 'BREACH'",
    rename="import os; os.rename('{CANARY}', '{PWN}'); return 'BREACH'",
    unlink="import os; os.unlink('{CANARY}'); return 'BREACH'",
    truncate="import os; os.truncate('{CANARY}', 0); return 'BREACH'",
    chmod="import os; os.chmod('{CANARY}', 0o777); return 'BREACH'",
    touch_times="import os; os.utime('{CANARY}', (1, 1)); return 'BREACH'",
    set_attribute="import os; os.setxattr('{CANARY}', 'user.x', b'1'); return 'BREACH'",
    sqlite_file="""
        import sqlite3
        def attack():
            c = sqlite3.connect("{PWN}.db"); c.execute("create table t(a)"); c.commit()
            return "BREACH"
    """,
    sqlite_attach="""
        import sqlite3
        def attack():
            c = sqlite3.connect(":memory:"); c.execute("attach database '{PWN}.db' as d")
            c.execute("create table d.t(a)"); c.commit()
            return "BREACH"
    """,
    sqlite_extension="""
        import sqlite3
        def attack():
            c = sqlite3.connect(":memory:"); c.enable_load_extension(True)
            c.load_extension("/lib/x86_64-linux-gnu/libm.so.6")
            return "BREACH"
    """,
    zip_file="import zipfile; zipfile.ZipFile('{PWN}', 'w').close(); return 'BREACH'",
    gzip_file="import gzip; gzip.open('{PWN}', 'w').write(b'x'); return 'BREACH'",
    logging_file="import logging; logging.FileHandler('{PWN}'); return 'BREACH'",
    send_file="import os; return 'BREACH' + str(os.sendfile(1, 3, 0, 10))",
    copy_file_range="import os; return 'BREACH' + str(os.copy_file_range(3, 1, 10))",
    xml_external="""
        import xml.etree.ElementTree as E
        def attack():
            return E.fromstring('<!DOCTYPE d [<!ENTITY e SYSTEM "file://{CANARY}">]><d>&e;</d>').text
    """,
    xml_parse_file="import xml.etree.ElementTree as E; return 'BREACH' + str(E.parse('{CANARY}'))",
)

add(
    "files",
    "rtk",
    read_channel="return open(3).read(10)",
    change_root="import os; os.chroot('/tmp'); return 'BREACH'",
)

# --- secrets ----------------------------------------------------------------------------------------------------------

add(
    "secrets",
    "cr",
    environ="import os; return dict(os.environ)",
    environb="import os; return str(os.environb)",
    getenv_of_libc="import os; return os.getenv('TOOLFOUNDRY_TEST_SECRET', 'none')",
    proc_environ="return open('/proc/self/environ').read()",
    proc_host_environ="return open('/proc/{HOSTPID}/environ').read()",
    proc_host_memory="f = open('/proc/{HOSTPID}/mem', 'rb'); f.seek(4096); return 'BREACH' + f.read(10).hex()",
    proc_host_files="import os; return 'BREACH' + str(os.listdir('/proc/{HOSTPID}/fd'))",
    proc_host_command="return 'BREACH' + open('/proc/{HOSTPID}/cmdline').read()",
    all_strings="""
        import gc
        def attack():
            gc.unfreeze()
            found = [s for o in gc.get_objects() if isinstance(o, (dict, list, tuple)) for s in list(o)[:999]]
            return [s for s in found if isinstance(s, str) and "sk-" in s and "test" in s]
    """,
    sys_argv="import sys; return sys.argv + sys.orig_argv[:1]",
    user_name="import os; return str(os.getuid()) if os.getuid() != 0 else 'BREACH'",
    groups="import os; return str(os.getgroups()) if 0 not in os.getgroups() else 'BREACH'",
    host_name="import os; return 'BREACH' + os.uname().nodename",
    login="import os; return 'BREACH' + os.getlogin()",
    terminal="import os; return 'BREACH' + os.ttyname(0)",
    frames="""
        import sys
        def attack():
            frame, seen = sys._getframe(), []
            while frame:
                seen.append({k: str(v)[:200] for k, v in frame.f_locals.items()})
                frame = frame.f_back
            return str(seen)
    """,
    harness_source="""
        import sys
        def attack():
            f = sys._getframe(1)
            return "BREACH" + open(f.f_code.co_filename).read()
    """,
    traceback_frames="""
        def attack():
            try:
                1 / 0
            except ZeroDivisionError as e:
                f = e.__traceback__.tb_frame.f_back
                return str({k: str(v)[:99] for k, v in f.f_globals.items()})
    """,
    format_string="return '{0.__globals__}'.format(attack)",
    host_modules="import sys; return [m for m in sys.modules if 'pydantic' in m or 'pool' in m] and 'BREACH'",
)

# --- network ----------------------------------------------------------------------------------------------------------

FIND = """
import gc, sys
def find(name):
    if name in sys.modules:
        return sys.modules[name]
    gc.unfreeze()
    return next(o for o in gc.get_objects() if type(o).__name__ == "module" and o.__name__ == name)
"""
add(
    "network",
    "r",
    prelude=FIND,
    tcp="def attack():\n    s = find('_socket').socket(2, 1); s.connect(('127.0.0.1', {PORT})); return 'BREACH'",
    udp="def attack():\n    s = find('_socket').socket(2, 2); s.sendto(b'x', ('127.0.0.1', {PORT})); return 'BREACH'",
    unix="def attack():\n    s = find('_socket').socket(1, 1); s.connect('/run/docker.sock'); return 'BREACH'",
    abstract="def attack():\n    s = find('_socket').socket(1, 2); s.bind('\\0toolfoundry'); return 'BREACH'",
    pair="def attack():\n    return 'BREACH' + str(find('_socket').socketpair())",
    netlink="def attack():\n    return 'BREACH' + str(find('_socket').socket(16, 3, 0))",
    raw="def attack():\n    return 'BREACH' + str(find('_socket').socket(2, 3, 1))",
    vsock="def attack():\n    return 'BREACH' + str(find('_socket').socket(40, 1, 0))",
    listen="def attack():\n    s = find('_socket').socket(2, 1); s.bind(('127.0.0.1', 0)); s.listen(); return 'BREACH'",
)
add(
    "network",
    "rk",  # the socket object closes the worker's channel when it goes
    prelude=FIND,
    adopt="def attack():\n    s = find('_socket').socket(1, 1, 0, 3); s.sendmsg([b'x']); return 'BREACH'",
    adopt_and_pass="""
        import array
        def attack():
            s = find("_socket").socket(1, 1, 0, 3)
            s.sendmsg([b"x"], [(1, 1, array.array("i", [3]))])
            return "BREACH"
    """,
    receive_descriptor="def attack():\n    return 'BREACH' + str(find('_socket').socket(1, 1, 0, 3).recvmsg(9, 99))",
)
add(
    "network",
    "r",
    resolve="import socket; return 'BREACH' + str(socket.getaddrinfo('localhost', 80))",
    urllib="import urllib.request; return 'BREACH' + urllib.request.urlopen('http://127.0.0.1:{PORT}/').read().decode()",
    http="import http.client; http.client.HTTPConnection('127.0.0.1', {PORT}).request('GET', '/'); return 'BREACH'",
    asyncio="import asyncio; asyncio.run(asyncio.open_connection('127.0.0.1', {PORT})); return 'BREACH'",
    logging_socket="import logging.handlers as h; h.DatagramHandler('127.0.0.1', {PORT}).send(b'x'); return 'BREACH'",
)

# --- processes --------------------------------------------------------------------------------------------------------

add(
    "processes",
    "rk",
    fork="import os; pid = os.fork(); return 'BREACH' if pid else os._exit(0)",
    forkpty="import os; pid, _ = os.forkpty(); return 'BREACH' if pid else os._exit(0)",
    system="import os; return 'BREACH' if os.system('touch {PWN}') == 0 else 1 / 0",
    popen="import os; return 'BREACH' + os.popen('id').read()",
    execv="import os; os.execv('/bin/sh', ['sh', '-c', 'touch {PWN}'])",
    execve="import os; os.execve('/bin/true', ['true'], {'A': 'B'})",
    spawn="import os; return 'BREACH' + str(os.posix_spawn('/bin/touch', ['touch', '{PWN}'], {}))",
    subprocess="import subprocess; return 'BREACH' + subprocess.check_output(['id']).decode()",
    fork_exec_builtin="import _posixsubprocess; return 'BREACH'",
    multiprocessing="import multiprocessing as m; p = m.Process(target=print); p.start(); return 'BREACH'",
    thread="import threading; threading.Thread(target=print).start(); return 'BREACH'",
    thread_raw="import _thread; _thread.start_new_thread(print, ()); return 'BREACH'",
    thread_bomb="""
        import threading
        def attack():
            for _ in range(50):
                threading.Thread(target=lambda: None).start()
            return "BREACH"
    """,
    executor="from concurrent.futures import ThreadPoolExecutor as E; return 'BREACH' + str(E().submit(int).result())",
    kill_host="import os; os.kill({HOSTPID}, 0); return 'BREACH'",
    kill_all="import os; os.kill(-1, 0); return 'BREACH'",
    kill_group="import os; os.killpg(0, 0); return 'BREACH'",
    kill_by_descriptor="import os, _signal; _signal.pidfd_send_signal(os.pidfd_open({HOSTPID}), 0); return 'BREACH'",
    priority="import os; os.setpriority(0, {HOSTPID}, 19); return 'BREACH'",
    affinity="import os; os.sched_setaffinity({HOSTPID}, [0]); return 'BREACH'",
    scheduler="import os; os.sched_setscheduler(0, 1, os.sched_param(1)); return 'BREACH'",
    raise_limit="import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1)); return 'BREACH'",
    new_session="import os; os.setsid(); return 'BREACH'",
    become_root="import os; os.setuid(0); return 'BREACH'",
    unshare="import os; os.unshare(os.CLONE_NEWUSER) if hasattr(os, 'unshare') else 1 / 0; return 'BREACH'",
    memfd="import os; return 'BREACH' + str(os.memfd_create('x'))",
    event_descriptor="import os; return 'BREACH' + str(os.eventfd(0))",
    pipe="import os; return 'BREACH' + str(os.pipe())",
    pseudo_terminal="import os; return 'BREACH' + str(os.openpty())",
    duplicate="import os; return 'BREACH' + str(os.dup(3))",
    wait_parent="import os; return 'BREACH' + str(os.waitpid(-1, 0))",
    exit_now="import os; os._exit(0)",
    abort="import os; os.abort()",
)
add(
    "processes",
    "cr",
    sys_exit="import sys; sys.exit(0)",
    keyboard_interrupt="raise KeyboardInterrupt",
    generator_exit="raise GeneratorExit",
    at_exit="""
        import sys
        def attack():
            sys.modules["atexit"].register(lambda: open("{PWN}", "w")) if "atexit" in sys.modules else None
            return "registered"
    """,
    parent_id="import posix; return 'BREACH' if posix.getppid() > 1 else 'hidden'",
)

# --- CPU --------------------------------------------------------------------------------------------------------------

add(
    "cpu",
    "tk",
    loop="while True: pass",
    loop_no_bytecode="for _ in iter(int, 1): pass",
    loop_swallow="""
        def attack():
            while True:
                try:
                    while True: pass
                except BaseException: pass
    """,
    loop_finally="""
        def attack():
            try:
                while True: pass
            finally:
                while True: pass
    """,
    loop_finally_return="""
        def attack():
            while True:
                try:
                    while True: pass
                finally:
                    continue
    """,
    loop_generator="""
        def attack():
            def forever():
                while True:
                    try: yield 1
                    except BaseException: pass
            return sum(forever())
    """,
    loop_in_del="""
        def attack():
            class D:
                def __del__(self):
                    while True: pass
            D()
            return "content after a del that hangs"
    """,
    loop_in_str="""
        def attack():
            class S:
                def __str__(self):
                    while True: pass
            return S()
    """,
    loop_in_exception_text="""
        def attack():
            class E(Exception):
                def __str__(self):
                    while True: pass
            raise E
    """,
    loop_in_json="""
        def attack():
            class D(dict):
                def items(self):
                    while True: pass
            return {"d": D(a=1)}
    """,
    loop_in_module="while True: pass\ndef attack():\n    return 'BREACH'",
    loop_in_decorator="def slow(f):\n    while True: pass\n@slow\ndef attack():\n    return 'BREACH'",
    loop_in_metaclass="""
        def attack():
            class M(type):
                def __instancecheck__(cls, x):
                    while True: pass
            class C(metaclass=M): pass
            return isinstance(1, C)
    """,
    c_loop="return sum(range(10 ** 14))",
    c_loop_in="return -1 in range(10 ** 14).__iter__()",
    c_loop_list="return [1] * 1000 and max(iter(int, 1))",
    c_loop_deque="import collections; collections.deque(iter(int, 1), maxlen=0)",
    c_power="return len(bin(7 ** (10 ** 8)))",
    c_factorial="import math; return math.factorial(10 ** 7)",
    c_sort="""
        def attack():
            class K:
                def __lt__(self, other):
                    while True: pass
            return sorted([K(), K()])
    """,
    c_itertools="import itertools; return sum(1 for _ in itertools.permutations(range(20)))",
    c_product="import itertools; return next(itertools.dropwhile(bool, itertools.repeat(1)))",
    c_pbkdf="import hashlib; return hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10 ** 9).hex()",
    c_decimal="import decimal; decimal.getcontext().prec = 10 ** 6; return str(decimal.Decimal(2).exp())[:5]",
    c_finite="return 'BREACH' + str(sum(range(3 * 10 ** 7)))",
    c_regex="import re; return bool(re.match(r'(a+)+$', 'a' * 60 + 'b'))",
    c_regex_alternatives="import re; return bool(re.match(r'(a|aa)+$', 'a' * 60 + 'b'))",
    c_sqlite="""
        import sqlite3
        def attack():
            q = "with recursive t(n) as (select 1 union all select n + 1 from t) select count(*) from t"
            return sqlite3.connect(":memory:").execute(q).fetchone()
    """,
    lock="import threading; l = threading.Lock(); l.acquire(); l.acquire(); return 'BREACH'",
    lock_wait="import threading; threading.Event().wait(); return 'BREACH'",
    queue_get="import queue; queue.Queue().get(); return 'BREACH'",
    read_own_channel="import os; return os.read(3, 1)",
    timer_off="""
        import _signal
        def attack():
            _signal.setitimer(_signal.ITIMER_REAL, 0)
            while True: pass
    """,
    alarm_ignored="""
        import _signal
        def attack():
            _signal.signal(_signal.SIGALRM, _signal.SIG_IGN)
            while True: pass
    """,
    alarm_blocked="""
        import _signal
        def attack():
            _signal.pthread_sigmask(_signal.SIG_BLOCK, range(1, 60))
            while True: pass
    """,
    watch_disabled="""
        import gc
        def attack():
            gc.unfreeze()
            for o in gc.get_objects():
                if type(o).__name__ == "Stopwatch": o.inside = False; o.call_s = 1e9
            while True: pass
    """,
)
add(
    "cpu",
    "crtk",
    sleep="import time; time.sleep(3600); return 'slept'",
    sleep_select="import select; select.select([], [], [], 3600); return 'slept'",
    wait_clock="import time; end = time.time() + 1e6\nwhile time.time() < end: pass",
    pause="import _signal; _signal.pause(); return 'went on'",
    sigwait="import _signal; _signal.sigwait({1}); return 'BREACH'",
    stop_self="import _signal; _signal.raise_signal(_signal.SIGSTOP); return 'went on'",
    alarm_deadly="""
        import _signal
        def attack():
            _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
            while True: pass
    """,
    hash_collisions="m = 2 ** 61 - 1; return len({i * m: 1 for i in range(60000)})",
    int_to_text="return len(str(10 ** 10 ** 6))",
    text_to_int="import sys; sys.set_int_max_str_digits(0); return int('9' * 10 ** 6) > 0",
    trace_function="""
        import sys
        def attack():
            def trace(*_):
                while True: pass
            sys.settrace(trace)
            return (lambda: 1)()
    """,
    profile_function="import sys; sys.setprofile(lambda *_: [0 for _ in iter(int, 1)]); return len('x')",
    switch_interval="import sys; sys.setswitchinterval(1e9)\nwhile True: pass",
)

# --- memory -----------------------------------------------------------------------------------------------------------

add(
    "memory",
    "mrtk",
    text="return 'BREACH' + str(len('a' * 10 ** 11))",
    one_gigabyte="return 'BREACH' + str(len(bytearray(1 << 30)))",
    half_a_gigabyte="return 'BREACH' + str(len(bytearray(400 << 20)))",
    blocks="x = [bytearray(50 << 20) for _ in range(100)]; return 'BREACH'",
    list_growth="""
        def attack():
            x = [0]
            while True: x += x
    """,
    string_doubling="s = 'ab'\nwhile True: s += s",
    dict_growth="return 'BREACH' + str(len({i: str(i) * 9 for i in range(10 ** 8)}))",
    swallow_memory_error="""
        def attack():
            held = []
            while True:
                try: held.append(bytearray(16 << 20))
                except MemoryError: pass
    """,
    shift="return 'BREACH' + str((1 << (1 << 36)).bit_length())",
    format_width="return 'BREACH' + f'{1:{10 ** 10}}'[:1]",
    zlib_bomb="""
        import zlib
        def attack():
            c = zlib.compressobj(9)
            bomb = b"".join(c.compress(bytes(1 << 20)) for _ in range(600)) + c.flush()
            return "BREACH" + str(len(zlib.decompress(bomb)))
    """,
    lzma_bomb="import lzma; return 'BREACH' + str(len(lzma.compress(bytes(1 << 30))))",
    billion_laughs="""
        import xml.etree.ElementTree as E
        def attack():
            lines = "".join(f'<!ENTITY l{i} "{("&l%d;" % (i - 1)) * 10}">' for i in range(1, 10))
            return "BREACH" + E.fromstring(f'<!DOCTYPE l [<!ENTITY l0 "lol">{lines}]><l>&l9;</l>').text[:3]
    """,
    deep_recursion="f = lambda n: f(n + 1); return f(0)",
    deep_recursion_unlimited="import sys; sys.setrecursionlimit(10 ** 9); f = lambda n: f(n + 1); return f(0)",
    deep_recursion_in_c="""
        import sys
        def attack():
            sys.setrecursionlimit(10 ** 9)
            x = ()
            for _ in range(10 ** 6): x = (x,)
            return "BREACH" if hash(x) and repr(x) else ""
    """,
    deep_dealloc_iterators="""
        import itertools
        def attack():
            x = iter(())
            for _ in range(10 ** 6): x = itertools.chain(x)
            return "BREACH" + str(list(x))
    """,
    deep_parse="return eval('(' * 10 ** 5 + ')' * 10 ** 5)",
    deep_compile="import ast; return 'BREACH' + str(compile('-' * 10 ** 6 + '1', 'x', 'eval'))",
    deep_json="import json; return 'BREACH' + str(json.loads('[' * 10 ** 6))",
    deep_pickle="import pickle; return 'BREACH' + str(pickle.loads(b'(' * 10 ** 6 + b't' * 10 ** 6 + b'.'))",
    deep_regex="import re; return 'BREACH' + str(re.compile('(' * 10 ** 5 + ')' * 10 ** 5))",
    big_regex="import re; return 'BREACH' + str(re.compile('(?:' * 50 + 'a' + '{1,99}){1,99}' * 50).match('a' * 99))",
)

# --- output -----------------------------------------------------------------------------------------------------------

add(
    "output",
    "ortk",
    long_text="return 'BREACH' + 'x' * (1 << 20)",
    long_list="return ['BREACH'] * (1 << 20)",
    long_text_wide="return 'BREACH' + '\\U0001f600' * 40000",
    nested="x = []\nfor _ in range(100000): x = [x]\nreturn x",
    circular="x = []; x.append(x); return x",
    doubling="x = ['BREACH']\nfor _ in range(40): x = [x, x]\nreturn x",
    lone_surrogate="return 'BREACH \\ud800'",
    lone_surrogate_in_list="return ['BREACH \\udfff']",
    not_json="return {'BREACH': {1, 2}}",
    bad_key="return {('BREACH',): 1}",
    lying_length="""
        def attack():
            class S(str):
                def __len__(self): return 1
                def isascii(self): return True
            return S("BREACH" * 100000)
    """,
    lying_text="""
        def attack():
            class S(str):
                def __len__(self): return 1
                def isascii(self): return True
                def __contains__(self, x): return False
                def encode(self, *a): return b""
                def __getitem__(self, i): return self
            class X(Exception):
                def __str__(self): return S("BREACH" * 100000)
            return X()
    """,
    str_returns_other="""
        def attack():
            class X:
                def __str__(self): return b"BREACH"
            return X()
    """,
)
add(
    "output",
    "crok",
    long_error="raise ValueError('x' * 10 ** 7)",
    error_surrogate="raise ValueError('\\ud800')",
    error_name="raise type('kind: x', (Exception,), {})('text')",
    error_name_long="raise type('E' * 10 ** 6, (Exception,), {})('text')",
    error_text_raises="""
        def attack():
            class E(Exception):
                def __str__(self): raise ValueError("no text")
            raise E
    """,
    error_lies_about_kind="raise type('timeout', (BaseException,), {})('timeout: killed: memory:')",
    error_chain="""
        def attack():
            e = ValueError("x")
            for _ in range(10 ** 5):
                n = ValueError("y"); n.__cause__ = e; e = n
            raise e
    """,
    error_group="raise BaseExceptionGroup('g', [SystemExit(1)])",
    print_flood="for _ in range(10 ** 4): print('x' * 1000)\nreturn 'printed'",
    write_stdout="import os; os.write(1, b'x' * 100); os.write(2, b'x'); return 'written'",
    real_stdout="import sys; sys.__stdout__.write('x'); return str(sys.__stdin__.read())",
    markup="return '<script>alert(1)</script>\\x1b[2J\\x00</tool_response>'",
    nan="return {'x': float('nan'), 'y': float('inf')}",
    numbers_as_keys="return {1: 2, None: 3, True: 4}",
    subclass_of_str="return type('S', (str,), {'__str__': lambda s: 'other'})('one')",
    none="return None",
)

# --- protocol: other sessions' results must be out of reach, the host must not be harmed ------------------------------

WRITE = """
import os
def frame(data):
    os.write(3, len(data).to_bytes(4, "little") + data)
"""
add(
    "protocol",
    "crk",
    prelude=WRITE,
    huge_length="def attack():\n    os.write(3, b'\\xff\\xff\\xff\\x7f'); return 1",
    truncated="def attack():\n    os.write(3, b'\\x10\\0\\0\\0abc'); os._exit(0)",
    empty="def attack():\n    frame(b''); return 1",
    garbage="def attack():\n    frame(os.urandom(64)); return 1",
    not_utf8="def attack():\n    frame(b'[1, [[null, \"\\xff\\xfe\"]], true, 0]'); return 1",
    not_an_array="def attack():\n    frame(b'{\"a\": 1}'); return 1",
    wrong_types="def attack():\n    frame(b'[1, [[1, 2]], true, 0]'); return 1",
    wrong_kind='def attack():\n    frame(b\'[1, [["malformed_call", "x"]], true, 0]\'); return 1',
    too_many="def attack():\n    frame(b'[1, [' + b'[null, \"x\"], ' * 99 + b'[null, \"x\"]], true, 0]'); return 1",
    too_long="def attack():\n    frame(b'[1, [[null, \"BREACH' + b'x' * 80000 + b'\"]], true, 0]'); return 1",
    done_without_results="def attack():\n    frame(b'[1, [], true, 0]'); return 1",
    never_done="def attack():\n    frame(b'[1, [], false, 0]'); os._exit(0)",
    future_frame="def attack():\n    frame(b'[2, [[null, \"BREACH\"]], true, 0]'); return 1",
    extra_frame="def attack():\n    frame(b'[1, [[null, \"x\"]], true, 0]' ); frame(b'[9]'); os._exit(0)",
    deep_frame="def attack():\n    frame(b'[' * 100000); return 1",
    nan_frame="def attack():\n    frame(b'[1, NaN, true, 0]'); return 1",
    surrogate_frame="def attack():\n    frame(b'[1, [[null, \"\\\\ud800\"]], true, 0]'); return 1",
    huge_number="def attack():\n    frame(b'[1, [[null, \"x\"]], true, ' + b'9' * 5000 + b']'); return 1",
    negative_growth="def attack():\n    frame(b'[1, [[null, \"x\"]], true, -99999999]'); return 1",
    many_small_frames="def attack():\n    [frame(b'[1, [], false, 0]') for _ in range(20000)]; return 1",
    close_channel="def attack():\n    os.close(3); return 1",
    fake_report="def attack():\n    frame(b'{\"seccomp\": 1}'); return 1",
    patch_writer="""
        import json
        def attack():
            json.dumps = lambda *a, **k: "{"
            return {"a": 1}
    """,
)
add(
    "protocol",
    "ctk",
    flood="import os\nwhile True: os.write(3, b'x' * 65536)",
    endless_frames="""
        import os, _signal
        def attack():
            _signal.setitimer(_signal.ITIMER_REAL, 0)
            text = b"[1, [], false, 0]"
            while True: os.write(3, len(text).to_bytes(4, "little") + text)
    """,
    endless_drip="""
        import os, _signal
        def attack():
            _signal.setitimer(_signal.ITIMER_REAL, 0)
            os.write(3, (100000).to_bytes(4, "little"))
            while True:
                os.write(3, b" ")
                for _ in range(10 ** 5): pass
    """,
    slow_drip="import os\nfor _ in range(100): os.write(3, b'\\x01')\nreturn 1",
    scan_descriptors="""
        import os
        def attack():
            hit = []
            for fd in [0, *range(4, 300)]:
                for use in (lambda: os.write(fd, b"x"), lambda: os.read(fd, 1), lambda: os.lseek(fd, 0, 0)):
                    try: use(); hit.append(fd)
                    except OSError: pass
            return "BREACH" if hit else "nothing open"
    """,
    wide_descriptor="""
        import os
        def attack():
            try: os.write(2 ** 31 - 1, b"x")
            except OSError: return "refused"
    """,
)

# --- native code ------------------------------------------------------------------------------------------------------

NATIVE = (
    FIND
    + """
ctypes = find("ctypes")
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def sc(number, *args):
    args = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result = libc.syscall(ctypes.c_long(number), *args)
    return "BREACH" if result >= 0 else f"refused {ctypes.get_errno()}"
"""
)


def calls(**arguments):
    return {f"native_{name}": f"def attack():\n    return sc({text})" for name, text in arguments.items()}


add(
    "native",
    "crk",
    prelude=NATIVE,
    **calls(
        open="2, b'{CANARY}', 0",
        openat="257, -100, b'{CANARY}', 0",
        openat2="437, -100, b'{CANARY}', b'\\0' * 24, 24",
        creat="85, b'{PWN}', 0o644",
        stat="4, b'{CANARY}', b'\\0' * 256",
        statx="332, -100, b'{CANARY}', 0, 0xfff, b'\\0' * 256",
        name_to_handle="303, -100, b'{CANARY}', b'\\0' * 64, b'\\0' * 8, 0",
        open_by_handle="304, -100, b'\\0' * 64, 0",
        unlink="87, b'{CANARY}'",
        socket="41, 2, 1, 0",
        socketpair="53, 1, 1, 0, b'\\0' * 8",
        fork="57",
        vfork_like="56, 0x4111, 0, 0, 0, 0",
        clone="56, 17, 0, 0, 0, 0",
        clone_thread="56, 0x3d0f00, 0, 0, 0, 0",
        clone3="435, b'\\0' * 88, 88",
        execve="59, b'/bin/true', 0, 0",
        execveat="322, -100, b'/bin/true', 0, 0, 0",
        ptrace_seize="101, 16, {HOSTPID}, 0, 0",
        ptrace_traceme="101, 0, 0, 0, 0",
        read_memory="310, {HOSTPID}, b'\\0' * 16, 1, b'\\0' * 16, 1, 0",
        write_memory="311, {HOSTPID}, b'\\0' * 16, 1, b'\\0' * 16, 1, 0",
        kill="62, {HOSTPID}, 0",
        tkill="200, {HOSTPID}, 0",
        tgkill="234, {HOSTPID}, {HOSTPID}, 0",
        queue_signal="129, {HOSTPID}, 10, b'\\0' * 128",
        pidfd_open="434, {HOSTPID}, 0",
        pidfd_getfd="438, 3, 0, 0",
        map_executable="9, 0, 4096, 7, 34, -1, 0",
        map_file="9, 0, 4096, 1, 2, 3, 0",
        protect_executable="10, 0x10000, 4096, 5",
        protect_key="329, 0x10000, 4096, 5, -1",
        remap_file_pages="216, 0x10000, 4096, 0, 0, 0",
        shared_memory="29, 0x1234, 4096, 0o1600",
        message_queue="68, 0x1234, 0o1600",
        semaphore="64, 0x1234, 1, 0o1600",
        posix_queue="240, b'q', 66, 0o600, 0",
        io_uring="425, 8, b'\\0' * 120",
        aio="206, 8, b'\\0' * 8",
        bpf="321, 0, b'\\0' * 64, 64",
        perf="298, b'\\0' * 128, 0, -1, -1, 0",
        userfault="323, 0",
        keyctl="250, 0, -3, 0",
        add_key="248, b'user', b'a', b'b', 1, -3",
        memfd="319, b'x', 0",
        memfd_secret="447, 0",
        mount="165, b'none', b'/tmp', b'tmpfs', 0, 0",
        pivot="155, b'/tmp', b'/tmp'",
        unshare="272, 0x10000000",
        setns="308, 3, 0",
        chroot="161, b'/tmp'",
        personality="135, 0x0400000",
        prctl_dumpable="157, 4, 1, 0, 0, 0",
        prctl_seccomp="157, 22, 0, 0, 0, 0",
        prctl_name="157, 15, b'x', 0, 0, 0",
        seccomp="317, 0, 0, 0",
        seccomp_listener="317, 1, 8, b'\\0' * 16",
        landlock="444, 0, 0, 1",
        limit="302, 0, 9, b'\\xff' * 16, 0",
        limit_of_host="302, {HOSTPID}, 7, 0, b'\\0' * 16",
        ioctl_inject="16, 0, 0x5412, b'x'",
        fcntl_owner="72, 3, 8, {HOSTPID}",
        dup="32, 3",
        sendmsg="46, 3, b'\\0' * 56, 0",
        sendfile="40, 1, 3, 0, 10",
        splice="275, 3, 0, 1, 0, 10, 0",
        tee="276, 3, 1, 10, 0",
        vmsplice="278, 3, b'\\0' * 16, 1, 0",
        readv="19, 0, b'\\0' * 16, 1",
        pread="17, 0, b'\\0' * 16, 1, 0",
        inotify="294, 0",
        epoll="291, 0",
        timer_create="222, 0, 0, b'\\0' * 8",
        timerfd="283, 0, 0",
        set_time="227, 0, b'\\0' * 16",
        reboot="169, 0xfee1dead, 672274793, 0, 0",
        swap="167, b'/dev/zero', 0",
        module="175, b'', 0, b''",
        quota="179, 0, 0, 0, 0",
        setuid="105, 0",
        capset="126, b'\\x22\\x05\\x08 \\0\\0\\0\\0', b'\\xff' * 24",
        modify_ldt="154, 1, b'\\0' * 16, 16",
        arch_prctl="158, 0x1002, 0",
        iopl="172, 3",
        sched_attr="314, {HOSTPID}, b'\\0' * 48, 0",
        migrate_pages="256, {HOSTPID}, 1, b'\\0' * 8, b'\\0' * 8",
        kcmp="312, {HOSTPID}, {HOSTPID}, 0, 0, 0",
        x32_abi="0x40000000 + 1, 1, b'x', 1",
        clock_of_host="228, (~{HOSTPID} << 3) | 2, b'\\0' * 16",
        not_a_call="10 ** 6",
        negative_call="-1",
    ),
    native_wide_descriptor="def attack():\n    return sc(0, 2 ** 32, b'x', 1) if sc(1, (7 << 32) | 9, b'x', 1) else ''",
    native_machine_code="""
        def attack():
            size = 4096
            libc.mmap.restype = ctypes.c_long
            page = libc.mmap(0, size, 3, 34, -1, 0)
            ctypes.memmove(page, b"\\xb8\\x01\\0\\0\\0\\xc3", 6)
            if libc.mprotect(ctypes.c_long(page), size, 5) == 0: return "BREACH"
            return ctypes.CFUNCTYPE(ctypes.c_int)(page)() and "BREACH"
    """,
    native_remap="""
        def attack():
            libc.mremap.restype = ctypes.c_long
            page = libc.mremap(ctypes.c_long(id(int) & -4096), 4096, 8192, 1)
            return "BREACH" if libc.mprotect(ctypes.c_long(page), 8192, 7) == 0 else "refused"
    """,
    native_null="def attack():\n    return ctypes.string_at(0)",
    native_stack_smash="def attack():\n    ctypes.memset(ctypes.addressof(ctypes.c_int()), 65, 1 << 20); return 'x'",
    native_overwrite_int="""
        def attack():
            ctypes.memset(id(7) + 24, 9, 1)
            return str(7)
    """,
    native_system="def attack():\n    return 'BREACH' if libc.system(b'touch {PWN}') == 0 else 'refused'",
    native_getenv="""
        def attack():
            libc.getenv.restype = ctypes.c_char_p
            return str(libc.getenv(b"TOOLFOUNDRY_TEST_SECRET"))
    """,
    native_dlopen="def attack():\n    return 'BREACH' + str(ctypes.CDLL('/lib/x86_64-linux-gnu/libBrokenLocale.so.1'))",
    native_constructor="def attack():\n    return 'BREACH' if libc.dlopen(b'{PWN}', 2) else 'refused'",
    native_longjmp="def attack():\n    libc.longjmp(b'\\0' * 200, 1)",
    native_exit="def attack():\n    libc._exit(0)",
)

add(
    "output",
    "crok",
    harness_limits="""
        import gc
        def attack():
            gc.unfreeze()
            for o in gc.get_objects():
                if type(o).__name__ == "Engine": o.config = o.config._replace(output_bytes=10 ** 9)
            return "BREACH" * 20000
    """,
)

# --- the language: nothing here needs to fail, it must only lead nowhere ----------------------------------------------

add(
    "language",
    "crtk",
    subclasses_to_system="""
        def attack():
            for c in ().__class__.__mro__[1].__subclasses__():
                if c.__name__ == "_wrap_close":
                    return "BREACH" if c.__init__.__globals__["system"]("touch {PWN}") == 0 else "refused"
            return "none"
    """,
    builtins_import="return __builtins__['__import__']('os').listdir('/') and 'BREACH'",
    import_hook_removed="""
        import sys
        def attack():
            import importlib._bootstrap_external as e, importlib._bootstrap as b
            sys.meta_path[:] = [b.BuiltinImporter, b.FrozenImporter, e.PathFinder]
            sys.path[:] = ["/usr/lib/python3", "/tmp"]
            sys.path_hooks[:] = [e.FileFinder.path_hook((e.SourceFileLoader, [".py"]))]
            import antigravity
            return "BREACH"
    """,
    import_builtin_modules="""
        import sys
        def attack():
            import importlib._bootstrap as b
            sys.meta_path[:] = [b.BuiltinImporter, b.FrozenImporter]
            for name in sys.builtin_module_names: __import__(name)
            import posix
            return "BREACH" + posix.getcwd()
    """,
    import_extension="""
        import importlib.machinery as m
        def attack():
            loader = m.ExtensionFileLoader("x", "{CANARY}")
            loader.create_module(m.ModuleSpec("x", loader, origin="{CANARY}")); return "BREACH"
    """,
    import_main="import __main__; return 'BREACH' if hasattr(__main__, 'main') and open('{CANARY}') else 'x'",
    reload_os="import importlib, os; importlib.reload(os); return os.open('{CANARY}', 0) and 'BREACH'",
    pickle_gadget="import pickle; return str(pickle.loads(b\"cposix\\nsystem\\n(S'touch {PWN}'\\ntR.\"))",
    marshal_garbage="import marshal; return str(marshal.loads(b'\\xe3' + bytes(range(256)) * 9))",
    code_object_crash="""
        import types
        def attack():
            c = attack.__code__.replace(co_code=b"\\x64\\xff" * 50, co_consts=())
            return types.FunctionType(c, {})()
    """,
    code_object_open="""
        import types
        def attack():
            code = compile("open('{CANARY}').read()", "x", "eval")
            return types.FunctionType(code, {"__builtins__": {"open": open}})()
    """,
    eval_nested="return eval(compile('eval(\"open(\\\\\"{CANARY}\\\\\").read()\")', 'x', 'eval'))",
    harness_frame="""
        import sys
        def attack():
            f = sys._getframe(1)
            f.f_locals["config"] = None
            for g in (f.f_globals, f.f_back.f_globals): g["send"] = g["describe"] = lambda *a: None
            return "patched"
    """,
    harness_sources="""
        import gc
        def attack():
            gc.unfreeze()
            names = [type(o).__name__ for o in gc.get_objects()]
            return "BREACH" if {"Session", "Sandbox", "Zygote"} & set(names) else "none"
    """,
    replace_builtins="""
        import builtins
        def attack():
            for name in ("isinstance", "str", "len", "type", "exec", "BaseException", "list", "dict"):
                setattr(builtins, name, None)
            return "gone"
    """,
    replace_modules="import sys; sys.modules.clear(); return 'cleared'",
    delete_json="import json, os\nfor m in (json, os): m.__dict__.clear()\nreturn 'cleared'",
    audit_hook="import sys; sys.addaudithook(lambda *a: 1 / 0); return open('{CANARY}')",
    breakpoint="breakpoint(); return 'x'",
    interactive="return input('secret? ')",
    display_hook="import sys; sys.excepthook = sys.displayhook = lambda *a: open('{PWN}', 'w'); raise ValueError('x')",
    unraisable="""
        import sys
        def attack():
            sys.unraisablehook = lambda *a: open("{PWN}", "w")
            class D:
                def __del__(self): raise ValueError
            D()
            return "x"
    """,
    finalizer="import weakref\ndef attack():\n    weakref.finalize(attack, open, '{PWN}', 'w'); return 'x'",
    metaclass_equality="""
        def attack():
            class M(type):
                def __eq__(cls, other): return True
                __hash__ = type.__hash__
            class D(metaclass=M):
                def __str__(self): return "D"
            return D()
    """,
    class_lies="""
        def attack():
            class D:
                __class__ = dict
                def items(self): return [("BREACH", 1)]
                def __str__(self): return "plain"
            return D()
    """,
    string_lies="""
        def attack():
            class S(str):
                def __contains__(self, x): raise KeyboardInterrupt
                def encode(self, *a): return b"BREACH" * 10 ** 6
            return S("x")
    """,
    exception_from_class="raise type('Overdue', (BaseException,), {})",
    steal_overdue="""
        import gc
        def attack():
            o = next(c for c in BaseException.__subclasses__() if c.__name__ == "Overdue")
            raise o
    """,
    coroutine="""
        def attack():
            async def f(): return open("{CANARY}").read()
            try: f().send(None)
            except StopIteration as e: return e.value
    """,
    exception_group_split="""
        def attack():
            class G(ExceptionGroup):
                def derive(self, e): open("{PWN}", "w")
            raise G("g", [ValueError()])
    """,
    crash_faulthandler="import faulthandler; faulthandler._sigsegv()",
    crash_iterator="import itertools; t = itertools.tee([]); return str(iter(t[0].__reduce__()[1]))",
    crash_string_of_self="""
        def attack():
            class R:
                def __str__(self): return str(self)
            return R()
    """,
    crash_signal="import _signal; _signal.raise_signal(_signal.SIGSEGV); return 'x'",
    clock_is_frozen="import time; return 'BREACH' if time.time() > 1.77e9 + 10 ** 7 else 'seeded'",
    clock_native="""
        import datetime
        def attack():
            return "BREACH" if str(datetime.datetime.now())[:7] != "2026-01" else "seeded"
    """,
)

# --- state: nothing survives a session; within one, a tool's own globals are reset ------------------------------------

add(
    "state",
    "cr",
    within=True,
    module_global="n = []\ndef plant():\n    n.append(1)\ndef attack():\n    return 'BREACH' if n else 'clean'",
    global_statement="""
        seen = None
        def plant():
            global seen
            seen = 1
        def attack():
            return "BREACH" if seen else "clean"
    """,
    default_argument="""
        def plant():
            attack()
        def attack(x=[]):
            x.append(1)
            return "BREACH" if len(x) > 1 else "clean"
    """,
    function_attribute="""
        def plant():
            attack.n = 1
        def attack():
            return "BREACH" if hasattr(attack, "n") else "clean"
    """,
    class_attribute="""
        class C:
            n = 0
        def plant():
            C.n = 1
        def attack():
            return "BREACH" if C.n else "clean"
    """,
    cached_function="""
        import functools
        @functools.cache
        def once(): return []
        def plant():
            once().append(1)
        def attack():
            return "BREACH" if once() else "clean"
    """,
    closure="""
        def make():
            held = []
            return lambda: held
        get = make()
        def plant():
            get().append(1)
        def attack():
            return "BREACH" if get() else "clean"
    """,
    generator_kept="g = iter([0, 1])\ndef plant():\n    next(g)\ndef attack():\n    return 'BREACH' if next(g) else ''",
    random_state="""
        import random
        def plant():
            random.seed(5); random.random()
        def attack():
            random.seed.__self__ if hasattr(random.seed, "__self__") else 0
            a = random.random(); random.seed(5); random.random()
            return "BREACH" if a == random.random() else "clean"
    """,
    clock_moved="""
        import time
        def plant():
            time.sleep(1e6)
        def attack():
            return "BREACH" if time.time() > 1767225600 + 1000 else "clean"
    """,
    decimal_context="""
        import decimal
        def plant():
            decimal.getcontext().prec = 3
        def attack():
            return "BREACH" if decimal.getcontext().prec == 3 else "clean"
    """,
    context_variable="""
        import decimal, contextvars, sys
        v = contextvars.ContextVar("v", default=0)
        def plant():
            v.set(1)
        def attack():
            return "BREACH" if any(c.get(x) for c in [contextvars.copy_context()] for x in c) else "clean"
    """,
    tool_module="""
        import sys
        def plant():
            sys.modules["tool"].left = 1
        def attack():
            return "BREACH" if hasattr(sys.modules["tool"], "left") else "clean"
    """,
)


def survives(plant, check, setup=""):
    return f"{setup}\ndef plant():\n    {plant}\ndef attack():\n    return 'BREACH' if {check} else 'clean'"


add(
    "state",
    "cr",
    builtins_patched=survives("builtins.left = 1", "hasattr(builtins, 'left')", "import builtins"),
    builtin_replaced=survives("builtins.len = lambda x: 7", "len([]) == 7", "import builtins"),
    stdlib_patched=survives("json.left = 1", "hasattr(json, 'left')", "import json"),
    stdlib_function=survives("json.dumps = lambda *a, **k: '\"BREACH\"'", "json.dumps(1) != '1'", "import json"),
    class_patched=survives("Fraction.left = 1", "hasattr(Fraction, 'left')", "from fractions import Fraction"),
    sys_modules=survives("sys.modules['left'] = 1", "'left' in sys.modules", "import sys"),
    sys_attribute=survives("sys.left = 1", "hasattr(sys, 'left')", "import sys"),
    environ_set=survives("os.environ['LEFT'] = '1'", "'LEFT' in os.environ", "import os"),
    interned=survives("sys.path.append('left')", "'left' in sys.path", "import sys"),
    warnings_filter=survives("warnings.filters.insert(0, 'left')", "'left' in warnings.filters", "import warnings"),
    locale_set=survives("calendar.setfirstweekday(3)", "calendar.firstweekday() == 3", "import calendar"),
    codec_registered=survives(
        "codecs.register(lambda n: codecs.lookup('utf-8') if n == 'left' else None)", "known()",
        "import codecs\ndef known():\n    try: return codecs.lookup('left')\n    except LookupError: return 0",
    ),
    recursion_limit=survives("sys.setrecursionlimit(77)", "sys.getrecursionlimit() == 77", "import sys"),
    trace_left=survives("sys.settrace(print)", "sys.gettrace()", "import sys"),
    hook_left=survives("sys.excepthook = print", "sys.excepthook is print", "import sys"),
    logging_left=survives("logging.getLogger('left').setLevel(7)", "logging.getLogger('left').level", "import logging"),
    regex_cache=survives("re.compile('left' * 9); re._cache['left'] = 1", "'left' in re._cache", "import re"),
    copyreg_left=survives("copyreg.dispatch_table[int] = 1", "int in copyreg.dispatch_table", "import copyreg"),
    subclass_left=survives("globals().update(C=type('Left', (int,), {})); gc.C = C",
                           "any(c.__name__ == 'Left' for c in int.__subclasses__())", "import gc"),
    signal_handler=survives("_signal.signal(10, print)", "_signal.getsignal(10) is print", "import _signal"),
    int_digits=survives("sys.set_int_max_str_digits(0)", "sys.get_int_max_str_digits() == 0", "import sys"),
    atexit_left=survives("gc.callbacks.append(print)", "print in gc.callbacks", "import gc"),
    integer_memory=survives(
        "gc.unfreeze(); next(o for o in gc.get_objects() if type(o) is type(gc) and o.__name__ == 'ctypes')"
        ".memset(id(int('99')) + 24, 42, 1)",
        "int('98') + 1 != 99", "import gc",
    ),
)  # fmt: skip
