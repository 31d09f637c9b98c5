"""How long and how often we ask a keystore that may be slow, full or gone.

Promise: a caller has its answer within `wait_seconds + call_seconds`, whatever the keystore does; a keystore that hangs
holds a bounded number of threads and callers; when it answers again, so do we, without a restart.

    closed ──N failures in a row──> open ──pause over──> one call probes ──it answers──> closed
                                      ^────────────── pause doubled ───────it does not──┘

- At most `at_once` calls run, at most `waiting` wait for their turn, each for at most `wait_seconds`. What does not fit
  is refused at once: `KeystoreBusy`.
- A call that has not come back after `call_seconds` is given up: `KeystoreDown`. Its thread cannot be stopped (it may
  be in foreign code); another takes its place, until `at_once` hang: then all is
  refused until one returns.
- While open every call is refused at once with what went wrong last: `KeystoreDown`.
- An answer is whatever is not `Failing`: a refusal by the keystore closes the breaker like a success.

Calls run in threads of their own because a token's module cannot be given a time limit in any other way.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, cast

from keystead.core.errors import KeystoreUnavailable

Result = TypeVar("Result")
State = Literal["closed", "open", "probing"]
PAUSE_SECONDS: Final = 0.5


class Failing(Exception):
    """The keystore did not answer, or answered that it cannot. `words`: what happened, without secrets."""

    def __init__(self, words: str, hint: str = "") -> None:
        super().__init__(words)
        self.words = words
        self.hint = hint


class Full(Failing):
    """The keystore is there but takes no more (a full session table, 429). It does not open the breaker."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds. `failures` in a row open the breaker, for a pause that doubles up to `longest_pause`."""

    at_once: int = 4
    waiting: int = 16
    wait_seconds: float = 2.0
    call_seconds: float = 5.0
    failures: int = 3
    pause: float = PAUSE_SECONDS
    longest_pause: float = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """How a keystore stands, as far as one process knows: the breaker, failures in a row, calls that hang, and what
    went wrong last.
    """

    state: State
    failures: int
    stuck: int
    last: str


@dataclass(slots=True)
class _Call:
    """One call on its way. Guarded by the lock of its `Patience`, except the events."""

    work: Callable[[], Any]
    give_up: Callable[[], None] | None
    late: Callable[[Any], None] | None
    seconds: float
    begun: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    started: float | None = None
    abandoned: bool = False
    result: Any = None
    error: BaseException | None = None


class Patience:
    """The one way to a keystore. Thread-safe; never call it on an event loop."""

    def __init__(self, name: str, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`name`: the keystore in the words of its errors, e.g. "the token 'prod'"."""
        self._name = name
        self._limits = limits or Limits()
        self._clock = clock
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._queue: deque[_Call] = deque()
        self._threads = 0  # that may take calls
        self._idle = 0
        self._stuck = 0
        self._failures = 0
        self._state: State = "closed"
        self._retry_at = 0.0
        self._pause = self._limits.pause
        self._last = Failing("")
        self._heard: Callable[[Seen], None] | None = None
        self._told: tuple[State, bool] = ("closed", False)

    def heard_by(self, heard: "Callable[[Seen], None]") -> None:
        """Have `heard` told of each change of what is seen, by a thread that has just called."""
        self._heard = heard

    def seen(self) -> "Seen":
        """How it stands."""
        with self._lock:
            return Seen(self._state, self._failures, self._stuck, self._last.words)

    @property
    def state(self) -> State:
        """Where the breaker is."""
        return self._state

    @property
    def stuck(self) -> int:
        """How many calls were given up and have not come back."""
        return self._stuck

    def run(
        self,
        work: Callable[[], Result],
        give_up: Callable[[], None] | None = None,
        *,
        longer: float = 1.0,
        late: Callable[[Result], None] | None = None,
    ) -> Result:
        """The result of `work`, run in another thread. `give_up` is called when nobody waits for it any more.

        `longer`: how many times `call_seconds` it may take. `late` gets a result that nobody waits for any more, in the
        same thread: to undo it.

        Raises:
            Unavailable: `KeystoreBusy` (too much at once), `KeystoreDown` (it does not answer).
            What `work` raises, other than `Failing`.
        """
        call = _Call(work, give_up, late, self._limits.call_seconds * longer)
        with self._lock:
            probe = self._admit(call)
        call.begun.wait(self._limits.wait_seconds)
        while not call.done.is_set():
            with self._lock:
                left = self._time_left(call)
                if left <= 0 and not call.done.is_set():
                    self._abandon(call, probe)
            call.done.wait(max(left, 0))
        try:
            return cast(Result, self._outcome(call, probe))
        finally:
            self._tell()

    def _tell(self) -> None:
        told = (self._state, self._stuck > 0)
        if self._heard is not None and told != self._told:
            self._told = told
            self._heard(self.seen())

    def _admit(self, call: _Call) -> bool:
        """Let a call in; whether it is the probe. Raises: Unavailable."""
        probe = False
        if self._state != "closed":
            if self._state == "probing" or self._clock() < self._retry_at:
                raise self._down(self._last)
            probe = True
        room = self._limits.at_once if self._stuck < self._limits.at_once else 0
        if room == 0:
            raise self._down(self._last)
        if not self._idle and self._threads >= room and len(self._queue) >= self._limits.waiting:
            raise self._busy()
        if probe:
            self._state = "probing"
        self._queue.append(call)
        if self._idle < len(self._queue) and self._threads < room:
            self._threads += 1
            threading.Thread(target=self._serve, name="keystore", daemon=True).start()
        self._work.notify()
        return probe

    def _time_left(self, call: _Call) -> float:
        if call.started is None:
            return 0.0
        return call.started + call.seconds - self._clock()

    def _abandon(self, call: _Call, probe: bool) -> None:
        """Nobody waits for it any more."""
        call.abandoned = True
        if call.started is None:
            self._queue.remove(call)
            call.error = self._busy()
            if probe:
                self._open(self._last)
        else:
            call.error = Failing(f"no answer within {call.seconds:g} s", "see whether it is overloaded or cut off")
            self._stuck += 1
            self._threads -= 1
        call.done.set()
        if call.give_up is not None and call.started is not None:
            call.give_up()

    def _serve(self) -> None:
        """A thread's life: calls, one after the other, until one of them hung for too long."""
        while True:
            with self._lock:
                self._idle += 1
                try:
                    while not self._queue:
                        if not self._work.wait(60) and not self._queue:
                            self._threads -= 1
                            return
                finally:
                    self._idle -= 1
                call = self._queue.popleft()
                call.started = self._clock()
            call.begun.set()
            result, error = None, None
            try:
                result = call.work()
            except BaseException as raised:  # handed to who waits
                error = raised
            with self._lock:
                abandoned = call.abandoned
                if not abandoned:
                    call.result, call.error = result, error
                    call.done.set()
            if abandoned:  # another thread has taken this one's place
                if error is None and call.late is not None:
                    with suppress(Exception):
                        call.late(result)
                with self._lock:
                    self._stuck -= 1
                return

    def _outcome(self, call: _Call, probe: bool) -> Any:
        error = call.error
        with self._lock:
            if isinstance(error, Full):
                if probe:
                    self._open(error)
                raise self._busy(error) from None
            if isinstance(error, Failing):
                self._failures += 1
                self._last = error
                if probe or self._failures >= self._limits.failures:
                    self._open(error)
                raise self._down(error) from None
            if not (call.abandoned and error is not None):
                self._failures = 0
                self._state = "closed"
                self._pause = self._limits.pause
        if error is not None:
            raise error
        return call.result

    def _open(self, last: Failing) -> None:
        if self._state == "probing":
            self._pause = min(self._pause * 2, self._limits.longest_pause)
        self._state = "open"
        self._last = last
        self._retry_at = self._clock() + self._pause

    def _down(self, last: Failing) -> KeystoreUnavailable:
        said = f": {last.words}" if last.words else ""
        hint = last.hint or "try again later"
        return KeystoreUnavailable("KeystoreDown", f"{self._name} does not answer{said}", hint=hint)

    def _busy(self, last: Failing | None = None) -> KeystoreUnavailable:
        said = f": {last.words}" if last is not None and last.words else ""
        hint = "try again in a moment, or give it more sessions"
        return KeystoreUnavailable("KeystoreBusy", f"{self._name} has too much to do{said}", hint=hint)
