"""What every process of a region does first: no core dumps, no debugger of the same user, no files for others.

A core dump or a debugger would show keys in memory. Both limits are kept by children; the "not dumpable" mark is set
anew by each process, because it does not outlive an exec.
"""

import ctypes
import os
import resource
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
UMASK: Final = 0o077

_libc = ctypes.CDLL(None, use_errno=True)


def confine() -> None:
    """Confine this process. Raises: OSError when the system refuses (then keys must not be opened)."""
    os.umask(UMASK)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


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
