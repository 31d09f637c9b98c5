"""Honest in-memory stand-ins for what the pipeline is joined to."""

import threading
from collections.abc import Callable
from typing import Any

from tests.fakes.seal import FakeSeal

from keystead.adapters.seen_proofs import OwnSeen
from keystead.core.clock import ManualClock
from keystead.core.errors import Fault, Refusal
from keystead.iam.model import Caller, Principal
from keystead.web.idempotency import Remembered
from keystead.web.services import Services

TENANCY = "ks1.tenancy.main.home." + "a" * 32


def an_id(kind: str, letter: str = "a") -> str:
    return f"ks1.{kind}.main.home.{letter * 32}"


class FakeReceipt:
    """Completed at once, or by `FakeLog.flush`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Callable[[BaseException | None], None]] = []
        self._done = False
        self._error: BaseException | None = None

    def add_done_callback(self, call: Callable[[BaseException | None], None]) -> None:
        with self._lock:
            if not self._done:
                self._calls.append(call)
                return
        call(self._error)

    def complete(self, error: BaseException | None = None) -> None:
        with self._lock:
            self._done, self._error = True, error
            calls, self._calls = self._calls, []
        for call in calls:
            call(error)


class FakeLog:
    """An audit log whose disk is told when to be fast, slow, hanging or full."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.durable = 0
        self.hold = False
        self.full = False
        self.barriers = 0
        self._open: list[tuple[int, FakeReceipt]] = []

    def append(self, entry: Any, reserve: bool = False) -> None:
        if self.full and not reserve:
            raise Fault("AuditUnavailable", "no space left")
        self.entries.append(entry)

    def barrier(self) -> FakeReceipt:
        self.barriers += 1
        receipt = FakeReceipt()
        self._open.append((len(self.entries), receipt))
        if self.full:
            self.flush(Fault("AuditUnavailable", "no space left"))
        elif not self.hold:
            self.flush()
        return receipt

    def flush(self, error: BaseException | None = None) -> None:
        waiting, self._open = self._open, []
        for upto, receipt in waiting:
            self.durable = self.durable if error else max(self.durable, upto)
            receipt.complete(error)


class FakeIdempotency:
    """Notes in a dictionary."""

    def __init__(self) -> None:
        self.notes: dict[tuple[str, str, str], Remembered] = {}
        self._lock = threading.Lock()

    def begin(self, tenancy: str, principal: str, key: str, request_hash: bytes) -> Remembered | None:
        with self._lock:
            found = self.notes.get((tenancy, principal, key))
            if found is None:
                self.notes[tenancy, principal, key] = Remembered(request_hash, 0, b"", b"")
            return found

    def finish(self, tenancy: str, principal: str, key: str, status: int, body: bytes, granted: bytes) -> None:
        with self._lock:
            before = self.notes[tenancy, principal, key]
            self.notes[tenancy, principal, key] = Remembered(before.request_hash, status, body, granted)

    def forget(self, tenancy: str, principal: str, key: str) -> None:
        with self._lock:
            del self.notes[tenancy, principal, key]


class FakeIam:
    """Knows one user per token: the token is the name."""

    def authenticate(self, token: str, source: str, request_id: str) -> Caller:
        if not token.isalpha():
            raise Refusal("NotAuthenticated", "the token does not hold", kind="unauthenticated")
        user = Principal(an_id("user", token[0]), "user", token, TENANCY, TENANCY)
        return Caller(user, request_id, source, f"token-of-{token}")


def fake_services(**given: Any) -> Services:
    """Services of which a test gives those it needs."""
    generation = given.pop("generation", lambda: 1)
    held: dict[str, Any] = {
        "federation": None,
        "provisioning": None,
        "iam": FakeIam(),
        "insight": None,
        "vaults": None,
        "databases": None,
        "jobs": None,
        "audit_trail": None,
        "state": None,
        "host_desk": None,
        "login_desk": None,
        "idempotency": FakeIdempotency(),
        "require_again": lambda _caller, _granted: None,
        "log": FakeLog(),
        "clock": ManualClock(),
        "region": "home",
        "version": "0.0.0",
        "generation": generation,
        "sealed": lambda: False,
        "seal": FakeSeal(),
        "seen": OwnSeen(),
    }
    return Services(**(held | given))
