"""What is known of keys that lie elsewhere: looked after in the background, so that who asks never waits.

Whoever depends on a key (a database system) asks often whether it can still be used. Each time the answer is what the
last look found; when that is older than `every` seconds, a look is begun. A look uses the key: 32 random bytes, wrapped
and unwrapped. Keys nobody asks for are not looked at.

A keystore that is busy says nothing about a key: what was known stays. A key that was never looked at has nothing
against it yet: its first use, which comes first, would have failed.
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
KEY_BYTES: Final = 32


@dataclass(slots=True)
class _Seen:
    at: float
    found: KeystoreUnavailable | None = None
    looking: bool = False


class Watch:
    """Looks after the keys of one keystore that somebody asks for. Thread-safe."""

    def __init__(self, every: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._seen: dict[bytes, _Seen] = {}
        self._due: deque[tuple[bytes, KeyWrapping]] = deque()
        self._running = False

    def known(self, name: bytes, key: Callable[[], KeyWrapping]) -> KeystoreUnavailable | None:
        """What stood against using the key when it was last looked at. Never waits."""
        with self._lock:
            now = self._clock()
            seen = self._seen.get(name)
            if seen is None:
                seen = self._seen[name] = _Seen(float("-inf"))
            if now - seen.at >= self._every and not seen.looking:
                seen.looking = True
                self._due.append((name, key()))
                if not self._running:
                    self._running = True
                    threading.Thread(target=self._serve, name="keystore-watch", daemon=True).start()
                self._work.notify()
            return seen.found

    def _serve(self) -> None:
        while True:
            with self._lock:
                while not self._due:
                    if not self._work.wait(IDLE_SECONDS) and not self._due:
                        self._running = False
                        self._seen.clear()  # nobody has asked for long
                        return
                name, key = self._due.popleft()
                before = self._seen[name].found
            found = _look(key, before)
            with self._lock:
                self._seen[name] = _Seen(self._clock(), found)


def _look(key: KeyWrapping, before: KeystoreUnavailable | None) -> KeystoreUnavailable | None:
    probe = secrets.token_bytes(KEY_BYTES)
    try:
        if key.unwrap(key.wrap(probe)) == probe:
            return None
    except KeystoreUnavailable as unavailable:
        return before if unavailable.code == "KeystoreBusy" else unavailable
    except KeysteadError:
        pass
    except Exception:  # a driver's own: whoever looks goes on looking, and its words may hold anything
        return KeystoreUnavailable("KeystoreDown", "the keystore could not be asked", hint="see its log")
    return KeystoreUnavailable("KeystoreRefused", "the keystore opens nothing with this key", hint="see its log")
