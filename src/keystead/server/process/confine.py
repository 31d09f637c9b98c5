"""What every process of a region does first: no core dumps, no debugger of the same user, no files for others, and,
where the system lets it, no page of it in swap.

A core dump or a debugger would show keys in memory. Both limits are kept by children; the "not dumpable" mark is set
anew by each process, because it does not outlive an exec.
"""

import ctypes
import os
import resource
import signal
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_CAP_IPC_LOCK: Final = 14
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4
UMASK: Final = 0o077

_libc = ctypes.CDLL(None, use_errno=True)


def confine() -> None:
    """Confine this process. Raises: OSError when the system refuses (then keys must not be opened)."""
    os.umask(UMASK)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def lock_memory() -> bool:
    """Keep every page of this process out of swap, those to come as well; whether the system let us.

    It does with CAP_IPC_LOCK (root has it, but not in most containers) or without a limit (`ulimit -l unlimited`,
    LimitMEMLOCK=infinity). With a limit it is not asked for: once that were reached, memory would be refused. A child
    has to ask anew. Pages count when they are touched, so that what is only reserved costs nothing.
    """
    soft, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and not _may_lock():
        return False
    return bool(_libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0)


def _may_lock() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_IPC_LOCK & 1)
    return False


def is_locked(pid: int) -> bool:
    """Whether the pages of process `pid` are kept out of swap."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return any(line.startswith("VmLck:") and int(line.split()[1]) > 0 for line in status.splitlines())


def end_with_parent(sign: signal.Signals = signal.SIGTERM) -> None:
    """Get `sign` when the parent ends, so that nothing is left behind that its supervisor does not know."""
    parent = os.getppid()
    _prctl(_PR_SET_PDEATHSIG, int(sign))
    if os.getppid() != parent:  # it ended in between
        os.kill(os.getpid(), sign)


def name_process(name: str) -> None:
    """What `ps -o comm` shows: at most 15 characters."""
    text = ctypes.create_string_buffer(name.encode()[:15])
    _prctl(_PR_SET_NAME, ctypes.addressof(text))


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
