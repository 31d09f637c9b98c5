"""A process says that it works: a file in the runtime directory that holds its pid."""

import contextlib
import os
from pathlib import Path

from keystead.server.settings import Effective


def mark_ready(effective: Effective, name: str) -> None:
    """Say that this process works. It works also when that cannot be said, on a full disk."""
    path = _path(effective, name)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        beside.write_text(str(os.getpid()))
        beside.replace(path)


def is_ready(effective: Effective, name: str, pid: int) -> bool:
    """Whether the process `pid` has said so."""
    try:
        return _path(effective, name).read_text() == str(pid)
    except OSError:
        return False


def _path(effective: Effective, name: str) -> Path:
    return effective.runtime / f"{name}.ready"
