"""A node as whoever runs it needs it: one database server on one machine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from keystead.core.secret import Secret
from keystead.databases.logins.model import LoginMapping, MappingReport

Progress = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a node is started with: its token for the key endpoint, and its TLS files' contents (PEM)."""

    token: Secret
    tls_key: bytes
    tls_certificate: bytes
    authority: bytes


class LoginNode(Protocol):
    """A node, as far as logins with tokens go. Methods block; any thread. Raises: Unavailable, as `Node`."""

    def login_socket(self) -> int:
        """The descriptor of a fresh listening socket that this node's server, and nobody else, can connect to and
        nobody but us can replace; -1 where it has no login plugin. The caller closes it."""
        ...

    def is_server(self, pid: int) -> bool:
        """Whether that process is this node's server as it runs now: not a child, not another that got its number."""
        ...

    def put_logins(self, mappings: Sequence[LoginMapping]) -> Sequence[MappingReport]:
        """Make exactly the accounts of these mappings; others that take tokens are dropped. Idempotent."""
        ...

    def token_sessions(self) -> Mapping[int, str]:
        """Open connections that came in with a token: their ids, and as whom they are."""
        ...

    def end_sessions(self, connections: Sequence[int]) -> None:
        """Kill connections; those that have ended meanwhile do not matter."""
        ...

    def note_login(self, line: bytes) -> None:
        """Remember a line (no secret) for as long as the server may run; a later life of ours reads it."""
        ...

    def noted_logins(self) -> Sequence[bytes]: ...
    def renew_notes(self, lines: Sequence[bytes]) -> None:
        """Remember these lines and no others."""
        ...


class IdentityNode(Protocol):
    """A node, as far as its system's own identity goes. Methods block. Raises: OSError."""

    def offer_identity(self, token: str, key: Secret, region: str) -> None:
        """Put a token, and the private key (PEM) it is bound to, where the system's uid, and nobody else, reads them.
        Each is replaced whole."""
        ...

    def offered_key(self) -> Secret | None:
        """The key that is offered, perhaps since an earlier life of ours."""
        ...

    def withdraw_identity(self) -> None:
        """Take both away; nothing happens when there are none."""
        ...


class Node(LoginNode, IdentityNode, Protocol):
    """One database server on this machine. Methods block; `kill` may be called at any time, from any thread.

    Raises (those that do something):
        Unavailable: it does not work now (`ServerDidNotStart`, ...).
        Refusal: it cannot be done (`PortTaken`, ...).
    """

    def prepared(self) -> bool:
        """Whether the data directory is complete."""
        ...

    def running(self) -> bool: ...

    def adopt(self) -> bytes | None:
        """Hold a server that an earlier life of ours started; the SHA-256 of its token, or None when none runs."""
        ...

    def prepare(self, credentials: Credentials) -> None: ...
    def start(self, credentials: Credentials) -> None: ...
    def stop(self) -> None: ...

    def kill(self) -> None:
        """SIGKILL to the server and to every child that works for it; waits until they are gone."""
        ...

    def silent(self, seconds: float) -> bool:
        """Whether nothing listens on the node's port any more."""
        ...

    def refuses_start(self, void: Credentials) -> bool:
        """Try to start with a void token and see it refused (law 7)."""
        ...

    def wipe(self) -> None:
        """Remove temporary files, TLS keys and whatever else a killed server leaves in memory file systems."""
        ...

    def put_administrator(self, name: str, password_hash: str) -> None: ...
    def drop_administrator(self, name: str) -> None:
        """Drop an administrator account that came with a backup; nothing happens when it is not there."""
        ...

    def reencrypt(self, number: int, progress: Progress) -> Mapping[str, str]: ...

    def verify(self, progress: Progress, samples: Sequence[bytes], backups: Sequence[str]) -> Mapping[str, str]:
        """Read the bytes on disk, those of the system's own `backups` (by id) among them; our canaries and the
        `samples` must be found nowhere in clear."""
        ...

    def checksums(self) -> Mapping[str, int]: ...
    def backup(self, token: Secret) -> Iterator[bytes]: ...
    def restore(self, chunks: Iterator[bytes], credentials: Credentials) -> Mapping[str, str]: ...
    def discard(self) -> None: ...
