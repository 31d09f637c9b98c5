"""Confinement: no core dumps, no debugger of the same user, nothing readable by others; kept by children."""

import subprocess
import sys

PROGRAM = """
import os, resource, subprocess, sys
from pathlib import Path
from keystead.server.process.confine import confine, name_process
confine()
name_process("ks-tested")
print(resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)))
print(Path("/proc/self/comm").read_text().strip())
print(Path("/proc/self/status").stat().st_uid, os.getuid())
child = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"
subprocess.run([sys.executable, "-c", child], check=True)
import ctypes
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE
if os.fork() == 0:
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
    os._exit(0)
os.wait()
"""


def test_confinement() -> None:
    found = subprocess.run(
        [sys.executable, "-u", "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    limits, name, owner, inherited, dumpable, forked = found.stdout.splitlines()
    assert limits == "(0, 0) 0o77"
    assert name == "ks-tested"
    assert owner.split()[0] == "0"  # a process that is not dumpable belongs to root in /proc
    assert inherited == "(0, 0)"
    assert (dumpable, forked) == ("0", "0")


LOCKED = """
import os, resource, sys
from pathlib import Path
from keystead.server.process import confine
def may():
    lines = Path("/proc/self/status").read_text().splitlines()
    return bool(int(next(line for line in lines if line.startswith("CapEff:")).split()[1], 16) >> 14 & 1)
unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
done = confine.lock_memory()
print(done == (may() or unlimited), confine.is_locked(os.getpid()) == done)
held = bytearray(64 << 20)  # far beyond any limit: still given
if os.fork() == 0:
    print(confine.is_locked(os.getpid()), confine.lock_memory() == done, flush=True)
    os._exit(0)
os.wait()
"""


def test_memory_is_locked_where_that_is_allowed_and_never_runs_out_for_it() -> None:
    found = subprocess.run([sys.executable, "-u", "-c", LOCKED], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.split() == ["True", "True", "False", "True"]
