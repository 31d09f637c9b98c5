"""Each system's own identity on this machine: a session token, and the key it is bound to, for what runs under its uid.

Promises: a system that runs has a token before half of the last one's time is over, as long as the region answers;
while it does not, the last token stays where it is. What a system has is taken away with its server: stopped, fenced,
deleted, unknown to the region; and when the region says that nothing is issued to it. A revocation brings a new one.
The key is made here, is kept for as long as its files are, and never leaves the machine.

One thread asks, for one system after another, those first for which it went well the last time; where it goes wrong the
next try is later each time. No answer for two in turn is an answer to all: the region is silent, and the others' turn
comes a moment later. `close` waits for no answer.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from keystead.core.clock import Clock
from keystead.core.errors import Fault, KeysteadError, Refusal
from keystead.core.secret import Secret
from keystead.crypto import requestkey
from keystead.databases.desk import OwnToken
from keystead.databases.node import IdentityNode

RENEW_AFTER = 0.5
"""Of the time that a token is good for."""
RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 60.0
SILENT = 2
"""So many in turn without an answer: the region's doing, not theirs."""
REFUSED_SECONDS = 60.0
CHECK_SECONDS = 1.0
SHORTEST = 2.0


class IdentityDesk(Protocol):
    """The region's answer to this machine. Raises: Unavailable: no answer. Refusal: no."""

    def issue_session(self, system: str, public_key: str) -> OwnToken: ...


@dataclass(slots=True, eq=False)
class _Held:
    """What is known of one system. `due`: monotonic seconds. `failures`: since it last went well."""

    node: IdentityNode
    voided: datetime | None
    due: float
    key: Secret | None = None
    failures: int = 0


class Identities:
    """Keeps the files of every system that runs."""

    def __init__(self, desk: IdentityDesk, region: str, clock: Clock, log: Callable[..., object]) -> None:
        self._desk = desk
        self._region = region
        self._clock = clock
        self._log = log
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()  # held for moments, and while files are put in place
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="identities", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Files stay: servers go on, and the next life of ours renews them."""
        self._stopping = True
        self._wake.set()

    def open(self, system: str, node: IdentityNode, voided: datetime | None) -> None:
        """The node's server runs. `voided`: until when tokens issued to the system hold no more."""
        with self._lock:
            self._held[system] = _Held(node, voided, self._clock.monotonic())
        self._wake.set()

    def follow(self, system: str, voided: datetime | None) -> None:
        """What the region says now: when tokens were revoked since, another is asked for at once."""
        with self._lock:
            held = self._held.get(system)
            if held is None or held.voided == voided:
                return
            held.voided, held.due = voided, self._clock.monotonic()
        self._wake.set()

    def close(self, system: str, node: IdentityNode) -> None:
        """Take away what the system has. Does not fail: what cannot be removed is logged, and void soon."""
        with self._lock:
            held = self._held.pop(system, None)
            if held is not None and held.key is not None:
                held.key.wipe()
            self._withdraw(system, node)

    def tend(self) -> None:
        """Renew what is due, once."""
        now = self._clock.monotonic()
        with self._lock:
            due = [(system, held) for system, held in self._held.items() if held.due <= now]
        due.sort(key=lambda each: (each[1].failures, each[1].due))
        unanswered = 0
        for system, held in due:
            try:
                self._renew(system, held)
                unanswered = 0
            except Exception as error:  # whatever is wrong with one must not end it for the others
                held.failures += 1
                self._put_off(held, min(RETRY_SECONDS * 2 ** min(held.failures - 1, 8), LONGEST_RETRY_SECONDS))
                self._log("a system's own token could not be renewed", system=system, reason=_reason(error))
                unanswered += isinstance(error, Fault)
                if unanswered == SILENT:
                    return

    def _renew(self, system: str, held: _Held) -> None:
        """Raises: Fault, Unavailable, OSError."""
        voided = held.voided
        key = self._key_of(held)
        try:
            token = self._desk.issue_session(system, requestkey.public_of(key))
        except Refusal as refusal:
            if refusal.kind == "unauthenticated":  # of this machine, about the time: says nothing of the system
                raise Fault(refusal.code, refusal.message) from refusal
            with self._lock:
                if self._held.get(system) is held:
                    self._withdraw(system, held.node)
            held.failures = 0
            self._put_off(held, REFUSED_SECONDS)
            self._log("a system is given no token of its own", system=system, reason=refusal.message)
            return
        with self._lock:
            if self._held.get(system) is not held:
                return  # it was closed while we asked
            held.node.offer_identity(token.token, key, self._region)
            held.failures = 0
            if held.voided == voided:
                held.due = self._clock.monotonic() + max(SHORTEST, token.seconds * RENEW_AFTER)

    def _key_of(self, held: _Held) -> Secret:
        """The key whose files are there, or a new one; so a token and a key that are read in turn fit each other."""
        if held.key is None or not len(held.key):
            found = held.node.offered_key()
            with suppress(Refusal):
                if found is not None:
                    requestkey.public_of(found)
                    held.key = found
            if held.key is None or not len(held.key):
                held.key = requestkey.generate()
        return held.key

    def _put_off(self, held: _Held, seconds: float) -> None:
        with self._lock:
            held.due = self._clock.monotonic() + seconds

    def _withdraw(self, system: str, node: IdentityNode) -> None:
        try:
            node.withdraw_identity()
        except OSError as error:
            self._log("a system's own token could not be taken away", system=system, reason=_reason(error))

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(CHECK_SECONDS)
            self._wake.clear()
            try:
                self.tend()
            except Exception as error:  # whatever is wrong with one must not end it for all
                self._log("systems' own tokens could not be looked after", reason=type(error).__name__)


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, KeysteadError) else type(error).__name__
