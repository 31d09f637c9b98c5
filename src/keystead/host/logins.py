"""Logins with tokens on this machine: what a server's plugin asks is put to the region, and sessions are ended in time.

One socket per node, by which its server is known: whoever connects must be that very process (pid by SO_PEERCRED,
start time by the node). Who wants in, and where, is never taken from the message; the server's name in it must agree.

    message  "KSL1" | kind 1 | connection 8 | n:server | n:user | n:account's text | n:nonce | n:payload | n:client host
    reply    'A' | length 2 | account | length 2 | external user     or 'R'        (native/iam_auth.c draws the same)

Each node has its own few threads: a flood of logins to one neither hinders another nor the key endpoint. Whatever goes
wrong, the answer is no. Before a yes is said the login is in our books, so there is no session that nobody watches: the
watcher asks the region every second whether what they rest upon still holds, and kills those that have lost it. An
expired token needs nobody's answer. Sessions that are in no book (an earlier life of ours wrote none) are ended.
"""

import json
import socket
import struct
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from keystead.core.clock import Clock, isoformat_exact
from keystead.core.errors import KeysteadError, Refusal
from keystead.databases.logins.model import (
    ClientKind,
    EndedLogin,
    Grounds,
    LoginAnswer,
    LoginMapping,
    LoginRequest,
    MappingReport,
)
from keystead.databases.node import LoginNode

THREADS = 4
SECONDS = 2.0
WATCH_SECONDS = 1.0
RETRY_SECONDS = 0.2
"""When no login can be taken for want of descriptors or memory."""
UNDECIDED_SECONDS = 2.5
"""Longer than the plugin waits for a decision."""
MAX_MESSAGE = 64 << 10
NOTES_KEPT = 4096
KINDS: dict[bytes, ClientKind] = {b"t": "token", b"o": "oci", b"p": "openid"}
NO = b"R"


class LoginDesk(Protocol):
    """The region's answer to this machine. Raises (all methods): Unavailable: no answer. Refusal: no."""

    def decide_login(self, system: str, asked: LoginRequest) -> LoginAnswer: ...
    def check_logins(self, system: str, held: Sequence[Grounds]) -> Sequence[EndedLogin]: ...
    def report_mappings(self, system: str, reports: Sequence[MappingReport]) -> None: ...


class Malformed(Exception):
    """What came is no message."""


def read_message(data: bytes) -> tuple[str, LoginRequest]:
    """The server's name and the request. Raises: Malformed."""
    if data[:4] != b"KSL1" or len(data) < 13 or data[4:5] not in KINDS:
        raise Malformed
    fields, at = [], 13
    for _ in range(6):
        if len(data) - at < 4:
            raise Malformed
        (length,) = struct.unpack_from(">I", data, at)
        at += 4
        if length > len(data) - at:
            raise Malformed
        fields.append(data[at : at + length])
        at += length
    if at != len(data):
        raise Malformed
    server, user, text, nonce, payload, address = fields
    (connection,) = struct.unpack_from(">Q", data, 5)
    try:
        asked = LoginRequest(
            KINDS[data[4:5]], user.decode(), text.decode(), nonce, payload, address.decode(), connection
        )
        return server.decode(), asked
    except UnicodeDecodeError:
        raise Malformed from None


def complete(data: bytes) -> bool:
    """Whether all six fields are there. Raises: Malformed: they never will be."""
    at = 13
    for _ in range(6):
        if len(data) < at + 4:
            return False
        at += 4 + int.from_bytes(data[at : at + 4], "big")
        if at > MAX_MESSAGE:
            raise Malformed
    return len(data) >= at


def reply_to(answer: LoginAnswer) -> bytes:
    parts = [name.encode() for name in (answer.account, answer.grounds.subject)]
    return b"A" + b"".join(struct.pack(">H", len(part)) + part for part in parts)


class Door:
    """The logins of one node: its socket, its books. `open` once its server runs; `close` when it ends."""

    def __init__(
        self, system: str, node: LoginNode, desk: LoginDesk, clock: Clock, log: Callable[..., object], threads: int
    ) -> None:
        self.system = system
        self._node = node
        self._desk = desk
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        self._grounds: dict[str, Grounds] = {}
        self._connections: dict[int, str] = {}
        self._notes = 0
        self._seen: dict[int, float] = {}
        self._entered: dict[int, float] = {}
        self._listening: socket.socket | None = None
        self._closed = threading.Event()
        self._threads = threads

    def open(self) -> bool:
        """Listen; False where there is no login plugin. Logins that an earlier life of ours noted are taken over."""
        descriptor = self._node.login_socket()
        if descriptor < 0:
            return False
        self._listening = socket.socket(fileno=descriptor)
        self._recall()
        for _ in range(self._threads):
            threading.Thread(target=self._serve, name="login", daemon=True).start()
        return True

    def close(self) -> None:
        listening, self._listening = self._listening, None
        self._closed.set()
        if listening is not None:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # wakes who accept
            listening.close()

    def watch(self) -> None:
        """End the sessions that have nothing to rest upon any more. Raises: Unavailable: the server does not answer."""
        with self._lock:  # before we look who is there: who comes in between is in neither
            known = dict(self._grounds)
            mine = {number: known[key] for number, key in self._connections.items() if key in known}
        found = self._node.token_sessions()
        ended = self._ended(mine)
        strangers = self._strangers(found)
        doomed = [number for number, grounds in mine.items() if grounds.key in ended and number in found]
        if doomed or strangers:
            self._node.end_sessions([*doomed, *strangers])
            self._log("sessions were ended", system=self.system, ended=len(doomed), unknown=len(strangers))
        self._forget(found, mine)

    def _ended(self, mine: dict[int, Grounds]) -> dict[str, str]:
        """By key, why. What expired needs no answer from anybody."""
        now = self._clock.now()
        upon = {grounds.key: grounds for grounds in mine.values()}
        ended = {key: "the token expired" for key, grounds in upon.items() if now >= grounds.expires_at}
        if upon:
            try:
                answers = self._desk.check_logins(self.system, list(upon.values()))
            except KeysteadError as error:
                self._log("sessions could not be checked", system=self.system, reason=error.message)
            else:
                ended |= {each.key: each.reason for each in answers}
        return ended

    def _strangers(self, found: Collection[int]) -> list[int]:
        """Sessions that are in no book. A server lists people by name before we have decided about them."""
        now = self._clock.monotonic()
        with self._lock:
            unknown = {number for number in found if number not in self._connections}
        self._seen = {number: self._seen.get(number, now) for number in unknown}
        return [number for number, since in self._seen.items() if now - since > UNDECIDED_SECONDS]

    def _forget(self, found: Collection[int], mine: dict[int, Grounds]) -> None:
        """Leave out of the books what has gone. One that came in since is not in `mine`, and stays."""
        now = self._clock.monotonic()
        with self._lock:
            for number in mine:
                if number not in found and now - self._entered.get(number, 0.0) > UNDECIDED_SECONDS:
                    self._connections.pop(number, None)
                    self._entered.pop(number, None)
            keys = set(self._connections.values())
            self._grounds = {key: grounds for key, grounds in self._grounds.items() if key in keys}
            renew = self._notes > NOTES_KEPT + 2 * len(self._connections)
            lines = [_line(number, self._grounds[key]) for number, key in self._connections.items()] if renew else []
            if renew:
                self._node.renew_notes(lines)
                self._notes = len(lines)

    def _recall(self) -> None:
        for line in self._node.noted_logins():
            with suppress(ValueError, KeyError, TypeError):
                number, grounds = _noted(line)
                self._grounds[grounds.key] = grounds
                self._connections[number] = grounds.key
                self._notes += 1

    def _enter(self, number: int, grounds: Grounds) -> None:
        with self._lock:
            self._node.note_login(_line(number, grounds))
            self._notes += 1
            self._grounds[grounds.key] = grounds
            self._connections[number] = grounds.key
            self._entered[number] = self._clock.monotonic()

    # the socket

    def _serve(self) -> None:
        """One login after the other. Those that wait do so in the socket's backlog, which is bounded."""
        listening = self._listening
        while listening is not None and self._listening is listening:
            try:
                caller, _ = listening.accept()
            except OSError as error:
                if self._listening is listening:  # not closed: no descriptors, no memory
                    self._log("a login could not be taken", system=self.system, reason=error.strerror)
                    self._closed.wait(RETRY_SECONDS)
                continue
            with caller, suppress(OSError):
                caller.settimeout(SECONDS)
                caller.sendall(self._answer(caller))

    def _answer(self, caller: socket.socket) -> bytes:
        pid, _, _ = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if not self._node.is_server(pid):
            self._log("a login was asked for by a process that is not the server", system=self.system, pid=pid)
            return NO
        try:
            server, asked = read_message(self._receive(caller))
            if server != self.system:
                raise Malformed
            answer = self._desk.decide_login(self.system, asked)
            self._enter(asked.connection, answer.grounds)
            return reply_to(answer)
        except Malformed:
            self._log("a login was not understood", system=self.system)
        except Refusal:
            pass  # the audit log has it
        except KeysteadError as error:
            self._log("a login could not be decided", system=self.system, reason=error.message)
        except Exception as error:
            self._log("a login could not be decided", system=self.system, reason=type(error).__name__)
        return NO

    def _receive(self, caller: socket.socket) -> bytes:
        data = b""
        while not complete(data):
            chunk = caller.recv(MAX_MESSAGE)
            if not chunk:
                raise Malformed
            data += chunk
        return data


class Doors:
    """The doors of a machine."""

    def __init__(self, desk: LoginDesk, clock: Clock, log: Callable[..., object], threads: int = THREADS) -> None:
        self._desk = desk
        self._clock = clock
        self._log = log
        self._threads = threads
        self._doors: dict[str, Door] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin to watch sessions."""
        threading.Thread(target=self._watch, name="sessions", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        for system in list(self._doors):
            self.close(system)

    def open(self, system: str, node: LoginNode) -> None:
        """The node's server runs: let it ask."""
        self.close(system)
        door = Door(system, node, self._desk, self._clock, self._log, self._threads)
        try:
            opened = door.open()
        except OSError as error:
            self._log("logins cannot be served", system=system, reason=error.strerror)
            return
        if opened:
            with self._lock:
                self._doors[system] = door

    def close(self, system: str) -> None:
        with self._lock:
            door = self._doors.pop(system, None)
        if door is not None:
            door.close()

    def put(self, system: str, node: LoginNode, mappings: Sequence[LoginMapping]) -> None:
        """Bring the accounts in line, and say what became of them. Raises: Unavailable, Fault."""
        reports = node.put_logins(mappings)
        if reports:
            self._desk.report_mappings(system, reports)

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            with self._lock:
                doors = list(self._doors.values())
            for door in doors:
                try:
                    door.watch()
                except KeysteadError:
                    continue  # its server has ended, or is about to: its keeper sees to it
                except Exception as error:
                    self._log("sessions could not be watched", system=door.system, reason=repr(error))


def _line(number: int, grounds: Grounds) -> bytes:
    told = {each: getattr(grounds, each) for each in Grounds.__slots__} | {
        "connection": number,
        "issued_at": isoformat_exact(grounds.issued_at),
        "expires_at": isoformat_exact(grounds.expires_at),
    }
    return json.dumps(told).encode()


def _noted(line: bytes) -> tuple[int, Grounds]:
    told = json.loads(line)
    number = int(told.pop("connection"))
    issued, expires = (datetime.fromisoformat(told.pop(name)) for name in ("issued_at", "expires_at"))
    return number, Grounds(**told, issued_at=issued, expires_at=expires)
