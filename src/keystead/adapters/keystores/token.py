"""A token in use: logged in, with sessions that are made anew when they die.

Promise: `Token.run` gives `work` a session that is logged in, within the bounds of `Patience`. When the session turns
out to be dead (closed by the token, by C_CloseAllSessions, logged out, token taken out and put back, module restarted
by somebody else), it is made anew and `work` is run once more, then once more with the module initialised anew; so a
token that comes back is used again without a restart of ours.

Invariants:
- `work` may run up to three times; what it does must bear that.
- A PIN the token refused is not tried again until its file changes: tokens lock after a few wrong ones.
- When the token takes no more sessions, those there are go on in turn; only with none at all is it `KeystoreBusy`.
"""

import hashlib
import hmac
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from keystead.adapters.keystores.module import Module, PinRefused, TokenState, module
from keystead.adapters.keystores.patience import Failing, Full, Limits, Patience
from keystead.adapters.keystores.uri import TokenUri

if TYPE_CHECKING:
    from pkcs11.types import Session

Result = TypeVar("Result")
MAX_PIN_BYTES = 1024
ATTEMPTS = 3


class Retry(Exception):
    """What `work` raises when the session seems to be at fault; the token's error is its cause."""


@dataclass(slots=True)
class Opened:
    """One session, of one generation of the module. `found`: handles of objects by id and label; they die with it."""

    session: "Session"
    generation: int
    mechanisms: frozenset[int]
    found: dict[tuple[bytes, str], Any] = field(default_factory=dict)


class Token:
    """A token by its URI. Thread-safe; never call it on an event loop."""

    def __init__(self, uri: TokenUri, module_path: str = "", pin_file: str = "", limits: Limits | None = None) -> None:
        """`module_path` and `pin_file` count where the URI names none. Nothing is opened before the first call."""
        self.uri = uri
        self._path = uri.module_path or module_path
        self._pin_file = uri.pin_file or pin_file
        self._patience = Patience(f"the token {uri.token or uri.serial!r}", limits)
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._idle: list[Opened] = []
        self._open = 0
        self._refused_pin = b""

    @property
    def patience(self) -> Patience:
        """Its turns and its breaker."""
        return self._patience

    def state(self) -> TokenState:
        """How it stands, without a session and without its PIN. Raises: Unavailable."""

        def ask() -> TokenState:
            loaded = module(self._path)
            with loaded.calling():
                return loaded.state_of(loaded.token(self.uri))

        return self._patience.run(ask)

    def run(
        self,
        work: Callable[[Opened], Result],
        *,
        longer: float = 1.0,
        undo: Callable[[Opened, Result], None] | None = None,
    ) -> Result:
        """What `work` makes of a session; `longer` and `undo`: as in `Patience.run`.

        Raises:
            Unavailable: `KeystoreBusy`, `KeystoreDown`.
            What `work` raises, other than `Retry` and the errors of a session or token that is gone.
        """

        def late(result: Result) -> None:
            if undo is not None:
                self._attempts(lambda opened: undo(opened, result))

        return self._patience.run(lambda: self._attempts(work), longer=longer, late=late)

    def _attempts(self, work: Callable[[Opened], Result]) -> Result:
        import pkcs11

        for attempt in range(ATTEMPTS):
            loaded = module(self._path)
            seen = loaded.generation
            try:
                with loaded.calling(), self._session(loaded) as opened:
                    return work(opened)
            except (Retry, Failing, pkcs11.PKCS11Error) as error:
                if isinstance(error, Full) or attempt == ATTEMPTS - 1:
                    raise _failing(error) from error
                if isinstance(error, pkcs11.PKCS11Error) and not _may_pass(error):
                    raise _failing(error) from error
                if attempt:  # a new session did not help
                    loaded.restart(seen)
            except PinRefused as refused:
                raise Failing(f"its PIN is {refused}", f"write the right one into {self._pin_file}") from None
        raise AssertionError("not reached")

    @contextmanager
    def _session(self, loaded: Module) -> Iterator[Opened]:
        import pkcs11

        opened = self._take(loaded)
        try:
            yield opened
        except (Retry, pkcs11.PKCS11Error):
            self._drop(opened)
            raise
        except BaseException:
            self._give_back(opened)  # the session had no part in it
            raise
        self._give_back(opened)

    def _take(self, loaded: Module) -> Opened:
        import pkcs11

        with self._lock:
            while self._idle:
                opened = self._idle.pop()
                if opened.generation == loaded.generation:
                    return opened
                self._open -= 1
            self._open += 1
        try:
            return self._connect(loaded)
        except BaseException as error:
            with self._lock:
                self._open -= 1
                if isinstance(error, pkcs11.SessionCount) and self._open:
                    # The table is full, but some are ours: wait for one of them.
                    self._freed.wait_for(lambda: self._idle or not self._open, timeout=1.0)
                    if self._idle:
                        return self._idle.pop()
            raise

    def _connect(self, loaded: Module) -> Opened:
        token = loaded.token(self.uri)
        session: Any = token.open(rw=True)
        try:
            if self._pin_file:
                self._login(loaded, session.handle)
            mechanisms = frozenset(int(each) for each in token.slot.get_mechanisms())
        except BaseException:
            with suppress(Exception):
                session.close()
            raise
        return Opened(session, loaded.generation, mechanisms)

    def _login(self, loaded: Module, handle: int) -> None:
        try:
            with Path(self._pin_file).open("rb") as source:
                pin = source.read(MAX_PIN_BYTES).split(b"\n", 1)[0].rstrip(b"\r")
        except OSError as error:
            raise Failing(f"its PIN file {self._pin_file} cannot be read: {error.strerror}") from None
        known = hashlib.sha256(pin).digest()
        if hmac.compare_digest(known, self._refused_pin):
            raise PinRefused("refused")
        try:
            loaded.login(handle, pin)
        except PinRefused:
            self._refused_pin = known
            raise
        self._refused_pin = b""

    def _give_back(self, opened: Opened) -> None:
        with self._lock:
            self._idle.append(opened)
            self._freed.notify()

    def _drop(self, opened: Opened) -> None:
        """Close a session, and those that idle: what ended one has ended them as well."""
        with self._lock:
            dropped, self._idle = [opened, *self._idle], []
            self._open -= len(dropped)
            self._freed.notify_all()
        for each in dropped:
            with suppress(Exception):
                each.session.close()


def _failing(error: Exception) -> Failing:
    import pkcs11

    if isinstance(error, Failing):
        return error
    cause = error.__cause__ if isinstance(error, Retry) else error
    name = type(cause).__name__
    if isinstance(cause, pkcs11.SessionCount):
        return Full("its session table is full", "close other users' sessions, or lower [hsm] sessions")
    if isinstance(cause, pkcs11.DeviceMemory):
        return Full("it has no room left", "delete objects that are not needed")
    return Failing(f"it says {name}", "see its own log; is it there, and running?")


def _may_pass(error: Exception) -> bool:
    """Whether a new session, a login, or a start of the module may help."""
    import pkcs11

    if type(error) is pkcs11.PKCS11Error:  # not initialised, or what it has no name for
        return True
    return isinstance(
        error,
        pkcs11.SessionHandleInvalid
        | pkcs11.SessionClosed
        | pkcs11.UserNotLoggedIn
        | pkcs11.OperationNotInitialized
        | pkcs11.OperationActive
        | pkcs11.KeyHandleInvalid
        | pkcs11.ObjectHandleInvalid
        | pkcs11.DeviceError
        | pkcs11.DeviceRemoved
        | pkcs11.TokenNotPresent
        | pkcs11.TokenNotRecognised
        | pkcs11.SlotIDInvalid
        | pkcs11.GeneralError
        | pkcs11.FunctionFailed,
    )
