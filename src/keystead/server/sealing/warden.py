"""The first process of a region and its seal: it holds the root key, or waits for people to bring it.

    sealed   `http` and `local` answer "sealed" and take what opens; `host` runs; nobody has a key
    open     the root key is held here; children that need it are forked with it

Children ask on a unix socket in the runtime directory (one line of JSON each way, only for our own user): what people
give to open it comes that way, and so does the order to seal. The root key never goes over it. No thread runs here,
because this process forks: the socket is looked at ten times a second, between two looks at the children.
"""

import json
import mmap
import os
import select
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, cast

from keystead.core.clock import Clock, isoformat
from keystead.core.errors import KeysteadError, Refusal, Unavailable
from keystead.core.secret import Secret
from keystead.seal.attempt import GIVEN, Attempt, Given, Progress
from keystead.seal.model import SealFile
from keystead.seal.service import RootKey
from keystead.server.process.supervise import Task
from keystead.server.sealing import mark
from keystead.server.sealing.slots import record
from keystead.server.sealing.unseal import SEAL_NAME, Apart, ask_wrappers, brought, check_region, read_seal
from keystead.server.settings import Effective

SOCKET_NAME: Final = "seal.sock"
MAX_LINE: Final = 64 * 1024
LINE_SECONDS: Final = 1.0
ASK_SECONDS: Final = 20.0
PARTING_SECONDS: Final = 0.4
"""Who brought the last share, or gave the order, gets their answer before their listener ends."""
RETRY_SECONDS: Final = 10.0
_CREDENTIALS: Final = struct.Struct("3i")
_ORDERED: Final = mmap.mmap(-1, 1)
"""One byte that this process shares with all it forks: the order to seal stands. No listener is asked, all know."""

Phase = Literal["open", "sealed"]


def ordered() -> bool:
    """Whether the order to seal was given: nothing more is answered, though the processes are still there."""
    return _ORDERED[0] != 0


class Warden:
    """Which children there are to be, as the seal stands. Belongs to the main thread of the first process."""

    def __init__(
        self,
        effective: Effective,
        root: RootKey | None,
        clock: Clock,
        open_tasks: Callable[[RootKey], Sequence[Task]],
        sealed_tasks: Callable[[], Sequence[Task]],
        before_sealing: Callable[[RootKey], None] = lambda _root: None,
    ) -> None:
        """`before_sealing` is called with the root key when it is about to be forgotten."""
        self._effective = effective
        self._root = root
        self._clock = clock
        self._open_tasks, self._sealed_tasks = open_tasks, sealed_tasks
        self._before_sealing = before_sealing
        self._since = isoformat(clock.now())
        # What strangers may give, spoil and reset; and what was given here, which they cannot touch.
        self._attempt, self._near = Attempt(), Attempt()
        _ORDERED[0] = 0
        self._pending: tuple[Phase, float] | None = None
        self._asking: list[Apart] = []
        self._next_try = clock.monotonic() + RETRY_SECONDS
        self._socket = _listen(effective.runtime / SOCKET_NAME)

    @property
    def phase(self) -> Phase:
        """How it stands."""
        return "sealed" if self._root is None else "open"

    def tasks(self) -> list[Task]:
        """The children of this phase."""
        return list(self._sealed_tasks() if self._root is None else self._open_tasks(self._root))

    def tick(self) -> list[Task] | None:
        """Answer who asks; the new children when the phase has changed."""
        while select.select([self._socket], [], [], 0)[0]:
            with suppress(OSError):
                connection, _ = self._socket.accept()
                with connection:
                    self._serve(connection)
        self._try_alone()
        if self._pending is None or self._clock.monotonic() < self._pending[1]:
            return None
        phase, self._pending = self._pending[0], None
        if phase == "sealed" and self._root is not None:
            self._root.wipe()
            self._root = None
        return self.tasks()

    def close(self) -> None:
        """Forget everything."""
        self._forget()
        self._leave_off()
        self._socket.close()
        if self._root is not None:
            self._root.wipe()

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What is asked of us. Raises: Refusal."""
        match asked.get("do"):
            case "status":
                pass
            case "give":
                near = asked.get("near") is True
                self._give(str(asked["kind"]), Secret(str(asked["secret"]).encode()), near)
            case "reset" if asked.get("near") is True:
                self._forget()
            case "reset":
                self._attempt.reset()
            case "seal":
                self._seal(str(asked["by"]))
            case _:
                raise Refusal("InvalidParameter", "that cannot be asked")
        return self._status()

    def _status(self) -> dict[str, Any]:
        ordered = mark.read(self._effective.state)
        sealed = self._root is None or (self._pending is not None and self._pending[0] == "sealed")
        found: dict[str, Any] = {"sealed": sealed, "since": ordered.at if ordered else self._since}
        found |= {"ordered": ordered is not None, "by": ordered.by if ordered else "", "ways": [], "progress": []}
        if sealed:
            seal = read_seal(self._effective.state / SEAL_NAME)
            found["ways"] = sorted({slot.kind for slot in seal.slots})
            found["progress"] = [
                {"set": each.set, "threshold": each.threshold, "given": list(each.given)}
                for each in map(_further, self._near.progress(seal), self._attempt.progress(seal))
            ]
        return found

    def _give(self, kind: str, secret: Secret, near: bool) -> None:
        """`near`: it came by the region's own socket or the private listener. Such shares count among themselves, and
        with those that came from elsewhere.
        """
        if self._root is not None:
            raise Refusal("NotSealed", "the region is open", kind="conflict")
        if kind not in GIVEN:
            raise Refusal("InvalidParameter", "a region is not opened with that", hint=", ".join(sorted(GIVEN)))
        seal = read_seal(self._effective.state / SEAL_NAME)
        if near:
            root = self._give_near(seal, cast(Given, kind), secret)
        else:
            root = self._attempt.give(seal, cast(Given, kind), secret, self._clock.monotonic())
        if root is not None:
            self._opened(check_region(root, self._effective), kind)

    def _give_near(self, seal: SealFile, kind: Given, secret: Secret) -> RootKey | None:
        now = self._clock.monotonic()
        again = Secret(secret.reveal())
        try:
            root = self._near.give(seal, kind, secret, now)
            if root is None:
                with suppress(Refusal):  # what strangers gave and tried is theirs
                    root = self._attempt.give(seal, kind, again, now)
            return root
        finally:
            again.wipe()

    def _opened(self, root: RootKey, how: str) -> None:
        # Into every tenancy's trail: who brought it is in the entries of the listener.
        record(self._effective, "UnsealRegion", self._effective.settings.region.name, f"opened with {how}")
        self._forget()
        self._leave_off()
        mark.clear(self._effective.state)
        _ORDERED[0] = 0
        self._root, self._since = root, isoformat(self._clock.now())
        self._pending = ("open", self._clock.monotonic() + PARTING_SECONDS)

    def _forget(self) -> None:
        self._attempt.reset()
        self._near.reset()

    def _seal(self, by: str) -> None:
        if self._root is None:
            return
        with suppress(KeysteadError, OSError):  # what it prepares is a convenience; sealing is not
            self._before_sealing(self._root)
        mark.put(self._effective.state, self._clock.now(), by)
        _ORDERED[0] = 1
        self._pending = ("sealed", self._clock.monotonic() + PARTING_SECONDS)

    def _try_alone(self) -> None:
        """A token or another KMS may answer by now; never against an order. Children ask them: nobody waits."""
        if self._root is not None:
            return
        if mark.read(self._effective.state) is not None:
            self._leave_off()
            return
        for each in list(self._asking):
            try:
                root = brought(self._effective, each)
            except KeysteadError:
                self._asking.remove(each)
                continue
            if root is not None:
                self._opened(root, "a token or another key management system")
                return
        if not self._asking and self._clock.monotonic() >= self._next_try:
            self._next_try = self._clock.monotonic() + RETRY_SECONDS
            with suppress(KeysteadError, OSError):
                self._asking = ask_wrappers(self._effective)

    def _leave_off(self) -> None:
        while self._asking:
            self._asking.pop().close()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(LINE_SECONDS)
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(peer)[1] != os.geteuid():
            return
        told: dict[str, Any]
        try:
            told = {"ok": self.answer(json.loads(_line(connection)))}
        except Refusal as error:
            told = {"refused": [error.code, error.message, error.hint, error.kind, error.retry_s]}
        except Exception as error:  # whatever was sent: this process keeps the others alive
            told = {"failed": error.message if isinstance(error, KeysteadError) else type(error).__name__}
        connection.sendall(json.dumps(told).encode() + b"\n")


def _further(near: Progress, far: Progress) -> Progress:
    """How far a set has come: by what was given here alone, or by all."""
    return near if len(near.given) >= len(far.given) else far


def ask(runtime: Path, **question: object) -> dict[str, Any]:
    """Ask the first process of the region.

    Raises:
        Refusal: what it refuses.
        Unavailable: `NoWarden`: it does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ASK_SECONDS)
            connection.connect(str(runtime / SOCKET_NAME))
            connection.sendall(json.dumps(question).encode() + b"\n")
            found = json.loads(_line(connection))
    except (OSError, ValueError) as error:
        raise Unavailable("NoWarden", "the process that holds the root key does not answer") from error
    if "refused" in found:
        code, message, hint, kind, retry_s = found["refused"]
        raise Refusal(code, message, hint=hint, kind=kind, retry_s=retry_s)
    if "ok" not in found:
        raise Unavailable("NoWarden", f"the process that holds the root key cannot do this: {found.get('failed')}")
    return cast(dict[str, Any], found["ok"])


def _line(connection: socket.socket) -> bytes:
    held = bytearray()
    try:
        while not held.endswith(b"\n"):
            piece = connection.recv(4096)
            if not piece or len(held) + len(piece) > MAX_LINE:
                raise ValueError("not a line")
            held += piece
        return bytes(held)
    finally:
        held[:] = bytes(len(held))


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        made.bind(str(path))
    finally:
        os.umask(before)
    made.listen(64)
    return made
