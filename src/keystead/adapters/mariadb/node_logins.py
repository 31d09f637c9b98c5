"""A node's half of logins with tokens: its socket, its accounts, its sessions.

    <memory root>/<unique>/login.sock   root (us), group of the system's uid, 0660: its server may connect
    <memory root>/<unique>/logins       notes of open logins, ours, 0600

The directory is ours and closed to the system's uid for writing, so that it cannot put another socket in the place.
"""

import contextlib
import errno
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keystead.adapters.mariadb import logins
from keystead.adapters.mariadb.plugins import login_plugin
from keystead.adapters.mariadb.process import Owner
from keystead.databases.logins.model import LoginMapping, MappingReport
from keystead.databases.model import DbSystem

if TYPE_CHECKING:
    from keystead.adapters.mariadb.client import Admin
    from keystead.adapters.mariadb.server import Server

BACKLOG = 1024


class NodeLogins(ABC):
    """What `MariaDbNode` has of the port `LoginNode`."""

    _system: DbSystem
    _memory: Path
    _owner: Owner
    _server: "Server | None"

    @abstractmethod
    def _admin(self) -> "Admin": ...

    @property
    def _login_socket(self) -> Path:
        return self._memory / "login.sock"

    @property
    def _notes(self) -> Path:
        return self._memory / "logins"

    def login_socket(self) -> int:
        if login_plugin() is None or not self._memory.is_dir():
            return -1
        path = self._login_socket
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(str(path))
            os.chown(path, os.geteuid(), self._owner.gid)
            path.chmod(0o660)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        return listening.detach()

    def is_server(self, pid: int) -> bool:
        server = self._server
        return server is not None and server.process.pid == pid and server.process.is_alive()

    def put_logins(self, mappings: Sequence[LoginMapping]) -> Sequence[MappingReport]:
        with self._admin() as admin:
            return logins.put_logins(admin, mappings, self._system.tenancy)

    def token_sessions(self) -> Mapping[int, str]:
        with self._admin() as admin:
            return logins.token_sessions(admin)

    def end_sessions(self, connections: Sequence[int]) -> None:
        with self._admin() as admin:
            logins.end_sessions(admin, connections)

    def note_login(self, line: bytes) -> None:
        file = os.open(self._notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.write(file, line + b"\n") <= len(line):
                raise OSError(errno.ENOSPC, "the note of a login is not whole")
        finally:
            os.close(file)

    def noted_logins(self) -> Sequence[bytes]:
        with contextlib.suppress(OSError):
            return self._notes.read_bytes().splitlines()
        return ()

    def renew_notes(self, lines: Sequence[bytes]) -> None:
        fresh = self._notes.with_suffix(".new")
        with (
            contextlib.suppress(OSError),
            open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
        ):
            file.write(b"".join(line + b"\n" for line in lines))
            fresh.replace(self._notes)
