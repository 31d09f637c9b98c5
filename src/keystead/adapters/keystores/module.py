"""A PKCS#11 module (the vendor's shared library) in this process, initialised for threads.

Promise: one initialisation per module and process, shared by all who use it; calls may come from many threads at once;
`restart` initialises it anew only when no call is inside it.

python-pkcs11 calls C_Initialize without arguments, by which an application promises to use one thread only (PKCS#11
2.40, 5.4), and then calls from any thread. So we initialise it again, with CKF_OS_LOCKING_OK; a module that cannot
lock gets one call at a time. C_Login is called here as well: python-pkcs11 logs in and out with each session, but login
is one for all sessions of a process.

A process that was forked initialises for itself (PKCS#11 2.40, 5.4: undefined otherwise).
"""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from keystead.adapters.keystores.patience import Failing
from keystead.core.errors import KeystoreUnavailable

if TYPE_CHECKING:
    from pkcs11.types import Token

    from keystead.adapters.keystores.uri import TokenUri

OK: Final = 0x0
CANT_LOCK: Final = 0x0A
NEED_TO_CREATE_THREADS: Final = 0x09
USER_ALREADY_LOGGED_IN: Final = 0x100
NOT_INITIALIZED: Final = 0x190
ALREADY_INITIALIZED: Final = 0x191
PIN_ERRORS: Final = {0xA0: "incorrect", 0xA1: "invalid", 0xA2: "too short or too long", 0xA3: "expired", 0xA4: "locked"}
USER_PIN_NOT_INITIALIZED: Final = 0x102
_USER: Final = 1
_OS_LOCKING: Final = 2
# Places in CK_FUNCTION_LIST, after its version.
INITIALIZE, FINALIZE, TOKEN_INFO, CLOSE_ALL_SESSIONS, LOGIN = 0, 1, 6, 14, 18
FUNCTIONS: Final = 68
PinState = Literal["", "low", "final", "locked"]
_PIN_FLAGS: Final[tuple[tuple[int, PinState], ...]] = (
    (0x40000, "locked"),
    (0x20000, "final"),
    (0x10000, "low"),
)


class FunctionList(ctypes.Structure):
    """CK_FUNCTION_LIST (PKCS#11 2.40)."""

    _fields_ = (("version", ctypes.c_ubyte * 2), ("functions", ctypes.c_void_p * FUNCTIONS))


class _InitializeArgs(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS: no mutexes of ours, only flags."""

    _fields_ = (("mutexes", ctypes.c_void_p * 4), ("flags", ctypes.c_ulong), ("reserved", ctypes.c_void_p))


class _TokenInfo(ctypes.Structure):
    """CK_TOKEN_INFO as far as the counts of sessions, with room for the rest."""

    _fields_ = (
        ("names", ctypes.c_char * 96),
        ("flags", ctypes.c_ulong),
        ("most", ctypes.c_ulong),
        ("open", ctypes.c_ulong),
        ("rest", ctypes.c_ubyte * 256),
    )


@dataclass(frozen=True, slots=True)
class TokenState:
    """A token as it says itself. `most`: sessions it takes, None: it does not say. `pin`: what it says of its PIN."""

    open: int | None
    most: int | None
    pin: PinState


class PinRefused(Exception):
    """The token refused the PIN; why, in a word."""


class Module:
    """A loaded module. Get it by `module`."""

    def __init__(self, path: str) -> None:
        """Raises: Failing, it cannot be loaded."""
        import pkcs11

        self.path = path
        self.generation = 0
        self._inside = 0
        self._lock = threading.Lock()
        self._one_at_a_time: threading.Lock | None = None
        try:
            self._pkcs11 = pkcs11.lib(path)
            self.functions = function_list(path)
        except (pkcs11.PKCS11Error, OSError, AttributeError) as error:
            raise Failing(f"the module {path} cannot be loaded", "is it installed, and set under [hsm]?") from error
        self._initialize()

    @contextmanager
    def calling(self) -> Iterator[None]:
        """While calls are made into the module. Not to be nested."""
        with self._lock:
            self._inside += 1
        try:
            if self._one_at_a_time is None:
                yield
            else:
                with self._one_at_a_time:
                    yield
        finally:
            with self._lock:
                self._inside -= 1

    def restart(self, seen: int) -> None:
        """Initialise anew, unless somebody did since `generation` was `seen`. All sessions and handles are void then.

        Raises:
            Failing: another call is inside, so that it must not be done now.
        """
        with self._lock:
            if self.generation != seen:
                return
            if self._inside:
                raise Failing("it is to be started anew, but calls are still under way in it")
            self._initialize()

    def token(self, wanted: "TokenUri") -> "Token":
        """The token that is meant. Raises: Failing (none, or several), pkcs11.PKCS11Error."""
        import pkcs11

        found = []
        for slot in self._pkcs11.get_slots(token_present=True):
            try:
                token = slot.get_token()
            except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
                continue
            if _is_meant(token, wanted):
                found.append(token)
        if len(found) != 1:
            what = "no such token is present" if not found else "several tokens fit its URI"
            raise Failing(what, "compare [hsm] uri with what `pkcs11-tool --list-slots` shows")
        return found[0]

    def state_of(self, token: "Token") -> TokenState:
        """How the token stands; needs no login and no session. Raises: Failing."""
        info = _TokenInfo()
        answer = self.call(TOKEN_INFO, token.slot.slot_id, ctypes.cast(ctypes.pointer(info), ctypes.c_void_p))
        if answer != OK:
            raise Failing(f"it does not say how it stands (0x{answer:x})")
        unknown = ctypes.c_ulong(-1).value  # CK_UNAVAILABLE_INFORMATION
        pin: PinState = next((words for flag, words in _PIN_FLAGS if info.flags & flag), "")
        return TokenState(
            None if info.open == unknown else info.open, None if info.most in (unknown, 0) else info.most, pin
        )

    def login(self, handle: int, pin: bytes) -> None:
        """Log in by a session, for all sessions of this process; done already is done.

        Raises:
            PinRefused: never try again with the same PIN, or the token locks it.
            Failing: it failed in another way.
        """
        answer = self.call(LOGIN, ctypes.c_ulong(handle), ctypes.c_ulong(_USER), pin, len(pin))
        if answer in (OK, USER_ALREADY_LOGGED_IN):
            return
        if answer in PIN_ERRORS:
            raise PinRefused(PIN_ERRORS[answer])
        if answer == USER_PIN_NOT_INITIALIZED:
            raise PinRefused("not set")
        raise Failing(f"logging in failed (0x{answer:x})")

    def call(self, place: int, *arguments: Any) -> int:
        """Call a function of the module by its place; what it returns (CK_RV)."""
        address = self.functions.functions[place]
        kinds = [ctypes.c_ulong if isinstance(each, int) else type(each) for each in arguments]
        kinds = [ctypes.c_char_p if kind is bytes else kind for kind in kinds]
        return int(ctypes.CFUNCTYPE(ctypes.c_ulong, *kinds)(address)(*arguments))

    def _initialize(self) -> None:
        self.call(FINALIZE, ctypes.c_void_p())
        arguments = _InitializeArgs(flags=_OS_LOCKING)
        answer = self.call(INITIALIZE, ctypes.cast(ctypes.pointer(arguments), ctypes.c_void_p))
        if answer in (CANT_LOCK, NEED_TO_CREATE_THREADS):
            self._one_at_a_time = threading.Lock()
            answer = self.call(INITIALIZE, ctypes.c_void_p())
        self.generation += 1
        if answer not in (OK, ALREADY_INITIALIZED):
            raise Failing(f"the module {self.path} cannot be initialised (0x{answer:x})")


def function_list(path: str) -> FunctionList:
    """The module's own table of functions. Raises: OSError, AttributeError."""
    get = ctypes.CDLL(path).C_GetFunctionList
    found = ctypes.POINTER(FunctionList)()
    get(ctypes.byref(found))
    return found.contents


_modules: dict[tuple[str, int], Module] = {}
_loading = threading.Lock()


def module(path: str) -> Module:
    """The module at `path`, for this process. Raises: Failing."""
    if not path:
        raise KeystoreUnavailable(
            "KeystoreDown", "no PKCS#11 module is set", hint="set [hsm] module, or module-path in the URI"
        )
    with _loading:
        key = (os.path.realpath(path), os.getpid())
        found = _modules.get(key)
        if found is None:
            found = _modules[key] = Module(path)
        return found


def _is_meant(token: "Token", wanted: "TokenUri") -> bool:
    compared = (
        (wanted.token, token.label),
        (wanted.manufacturer, token.manufacturer_id),
        (wanted.model, token.model),
        (wanted.serial, token.serial.decode(errors="replace").strip()),
    )
    if any(asked and asked != has for asked, has in compared):
        return False
    return wanted.slot_id is None or wanted.slot_id == token.slot.slot_id
