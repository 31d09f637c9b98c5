"""What is known of keys that lie elsewhere: looked after in the background, so that who asks never waits.

Whoever depends on a key (a database system) asks often whether it can still be used. Each time the answer is what the
last look found; when that is older than `every` seconds, a look is begun. A look uses the key: 32 random bytes, wrapped
and unwrapped. Keys nobody asks for are not looked at.

A keystore that is busy says nothing about a key: what was known stays. A key that was never looked at has nothing
against it yet: its first use, which comes first, would have failed. But no answer is good for ever: a key about which
there is none for `LONGEST_SECONDS`, because looks hang, are many or find the keystore busy, counts as one that cannot
be reached. Several keys are looked at at once, so that one that hangs keeps nobody from hearing about the others.
"""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from keystead.core.errors import KeysteadError, KeystoreUnavailable
from keystead.crypto.encapsulate import KeyWrapping

EVERY_SECONDS: Final = 2.0
IDLE_SECONDS: Final = 60.0
LONGEST_SECONDS: Final = 20.0
LOOKS_AT_ONCE: Final = 2
KEY_BYTES: Final = 32


@dataclass(slots=True)
class _Seen:
    """`at`: when the last look ended. `asked_at`: since when there has been no answer; None: the last look had one."""

    at: float
    found: KeystoreUnavailable | None = None
    looking: bool = False
    asked_at: float | None = None


class Watch:
    """Looks after the keys of one keystore that somebody asks for. Thread-safe."""

    def __init__(self, every: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._seen: dict[bytes, _Seen] = {}
        self._due: deque[tuple[bytes, KeyWrapping]] = deque()
        self._threads = self._idle = 0

    def known(self, name: bytes, key: Callable[[], KeyWrapping]) -> KeystoreUnavailable | None:
        """What stood against using the key when it was last looked at. Never waits."""
        with self._lock:
            now = self._clock()
            seen = self._seen.get(name)
            if seen is None:
                seen = self._seen[name] = _Seen(float("-inf"))
            if now - seen.at >= self._every and not seen.looking:
                seen.looking = True
                if seen.asked_at is None:
                    seen.asked_at = now
                self._due.append((name, key()))
                if self._idle < len(self._due) and self._threads < LOOKS_AT_ONCE:
                    self._threads += 1
                    threading.Thread(target=self._serve, name="keystore-watch", daemon=True).start()
                self._work.notify()
            if seen.found is None and seen.asked_at is not None and now - seen.asked_at > LONGEST_SECONDS:
                return _silent(now - seen.asked_at)
            return seen.found

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
                while not self._due:
                    if not self._work.wait(IDLE_SECONDS) and not self._due:
                        self._idle -= 1
                        self._threads -= 1
                        if not self._threads:
                            self._seen.clear()  # nobody has asked for long
                        return
                self._idle -= 1
                name, key = self._due.popleft()
                before = self._seen[name]
            found, answered = _look(key, before.found)
            with self._lock:
                self._seen[name] = _Seen(self._clock(), found, asked_at=None if answered else before.asked_at)


def _look(key: KeyWrapping, before: KeystoreUnavailable | None) -> tuple[KeystoreUnavailable | None, bool]:
    """What stands against using the key, and whether that was found out just now."""
    probe = secrets.token_bytes(KEY_BYTES)
    try:
        if key.unwrap(key.wrap(probe)) == probe:
            return None, True
    except KeystoreUnavailable as unavailable:
        return (before, False) if unavailable.code == "KeystoreBusy" else (unavailable, True)
    except KeysteadError:
        pass
    except Exception:  # a driver's own: whoever looks goes on looking, and its words may hold anything
        return KeystoreUnavailable("KeystoreDown", "the keystore could not be asked", hint="see its log"), True
    return KeystoreUnavailable("KeystoreRefused", "the keystore opens nothing with this key", hint="see its log"), True


def _silent(seconds: float) -> KeystoreUnavailable:
    text = f"the keystore has said nothing about this key for {seconds:.0f} s"
    return KeystoreUnavailable("KeystoreDown", text, hint="see whether it is overloaded or cut off")
