"""What `host` needs from outside: the region's desk, its own endpoint and responder, and nodes (databases/node.py)."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol

from keystead.databases.desk import HostView, Opened, Report
from keystead.databases.logins.model import LoginMapping
from keystead.databases.model import DbSystem
from keystead.databases.node import IdentityNode, LoginNode, Node
from keystead.host.endpoint import NodeKeys


class Desk(Protocol):
    """The region's answer to this machine.

    Raises (all methods):
        Unavailable: no answer.
        Refusal: not now, or not for us.
    """

    def watch(self, known_generation: int, wait_seconds: float) -> HostView:
        """What is to run; returns as soon as the generation differs from the known one, else after the wait."""
        ...

    def open_store_key(self, system: str) -> Opened: ...
    def report(self, report: Report) -> None: ...


class Endpoint(Protocol):
    """The key endpoint, as the keepers need it. Thread-safe."""

    def admit(self, token_sha256: bytes, mount: str, keys: NodeKeys) -> None:
        """From now on this token may read these keys."""
        ...

    def dismiss(self, token_sha256: bytes, mount: str) -> None:
        """Forget one token, that of a child which has done its work."""
        ...

    def void(self, mount: str) -> None:
        """Forget every token of the mount, and then reset its open connections.

        Raises:
            OSError: only the latter failed.
        """
        ...


class Responder(Protocol):
    """Answers clients of a fenced system with one error packet. Thread-safe."""

    def open(self, port: int, text: str) -> None: ...
    def close(self, port: int) -> None: ...


class Logins(Protocol):
    """Logins with tokens, as the keepers need them. Thread-safe."""

    def open(self, system: str, node: LoginNode) -> None:
        """The node's server runs: let it ask."""
        ...

    def close(self, system: str) -> None: ...
    def put(self, system: str, node: LoginNode, mappings: Sequence[LoginMapping]) -> None:
        """Bring the server's accounts in line with these. Raises: Unavailable, Fault."""
        ...


class NoLogins:
    """Where nobody logs in with tokens."""

    def open(self, system: str, node: LoginNode) -> None:
        """Nothing is opened."""

    def close(self, system: str) -> None:
        """Nothing was."""

    def put(self, system: str, node: LoginNode, mappings: Sequence[LoginMapping]) -> None:
        """There are no accounts of such."""


class Identities(Protocol):
    """Systems' own identities on this machine, as the keepers need them. Thread-safe; nothing here fails or waits."""

    def open(self, system: str, node: IdentityNode, voided: datetime | None) -> None:
        """The node's server runs: offer it a token. Those issued until `voided` hold no more."""
        ...

    def follow(self, system: str, voided: datetime | None) -> None:
        """What the region says now about tokens that were issued."""
        ...

    def close(self, system: str, node: IdentityNode) -> None:
        """Take away what is offered."""
        ...


class NoIdentities:
    """Where systems have none."""

    def open(self, system: str, node: IdentityNode, voided: datetime | None) -> None:
        """Nothing is offered."""

    def follow(self, system: str, voided: datetime | None) -> None:
        """Nor renewed."""

    def close(self, system: str, node: IdentityNode) -> None:
        """Nothing was."""


NodeFactory = Callable[[DbSystem], Node]
Strangers = Callable[[Collection[str]], Sequence[str]]
"""Ends the servers of this machine whose systems' ids are not among those given; returns what they were called."""
