"""An audit log that strangers cannot fill.

Whoever has not shown who they are can be refused as often as they like, and each refusal is an entry. So these entries
have a bound: in a window of a minute the first SINGLY of each network are recorded one by one (IN_ALL, over all of
them). From then on a refusal raises `TooManyRefusals` (429), whatever it was for; the first of them says in its entry
that further ones are counted, and those cost a number in memory. When the window is over, or the process ends, one
entry for each tenancy and network says how many there were, by operation and code.

    window   |- recorded one by one -|- 429, recorded: "further": counted -|- 429, counted -|- one entry with counts -|

Wrong passwords pass as they come: their number is bounded by what it costs to try them (iam/factors/lockout), and were
they answered another way here for names that nobody has, that would tell which names somebody has.

Invariants: no answer leaves before an entry that covers it is durable (the one that said so, law 2); entries of those
who are known, and what strangers are allowed, pass as they come; the counts of a window, and what was recorded, add up
to what was refused. Memory is bounded: of networks, and of kinds of refusals of each. A process that is killed loses
the numbers of its window, not the entries that say that it counted.
"""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Final

from keystead.audit.model import Entry
from keystead.audit.ports import Journal, Receipt
from keystead.audit.service import AuditLog
from keystead.core.clock import Clock, isoformat
from keystead.core.errors import Refusal
from keystead.core.ids import new_id

WINDOW_S: Final = 60.0
SINGLY: Final = 120
IN_ALL: Final = 600
NETWORKS: Final = 100
KINDS: Final = 32
ELSEWHERE: Final = "elsewhere"
WRONG_PASSWORD: Final = ("SignIn", "NotAuthenticated")
OPERATION: Final = "CountRefusals"
Key = tuple[str, str]  # tenancy, network


class TooManyRefusals(Refusal):
    """So much was refused there that it is only counted. Says nothing of what was asked."""

    def __init__(self, retry_s: float) -> None:
        super().__init__(
            "TooManyRefusals",
            "too many requests from there were refused",
            hint="wait; requests with a valid token, and sign-ins that succeed, are not held up",
            kind="too_many",
            retry_s=retry_s,
        )
        self.recorded = True


class GuardedLog(AuditLog):
    """An `AuditLog` with that bound. `network`: the one that an address is in."""

    __slots__ = ("_began", "_clock", "_counted", "_lock", "_network", "_region", "_singly", "_until")

    def __init__(self, journal: Journal, clock: Clock, region: str, network: Callable[[str], str]) -> None:
        super().__init__(journal)
        self._clock = clock
        self._region = region
        self._network = network
        self._lock = threading.Lock()
        self._singly: Counter[str] = Counter()
        self._counted: dict[Key, Counter[str]] = {}
        self._until: float | None = None  # monotonic; None: nobody was refused lately
        self._began: datetime = clock.now()

    def append(self, entry: Entry, reserve: bool = False) -> Receipt:
        """As `AuditLog.append`.

        Raises:
            TooManyRefusals: it is counted, and the caller is told this instead.
        """
        if entry.outcome == "refused" and not entry.principal_id and (entry.operation, entry.code) != WRONG_PASSWORD:
            return self._refused(entry, reserve)
        return self._journal.append(entry, reserve)

    def settle(self) -> None:
        """Write the counts of a window that is over. Whoever has seen `TooManyRefusals` calls it in that many seconds.

        Raises:
            Fault: `AuditUnavailable`; they are kept, and written the next time.
        """
        with self._lock:
            if self._until is not None and self._clock.monotonic() >= self._until:
                self._end()

    def close(self) -> None:
        """Write the counts now. Raises: Fault `AuditUnavailable`."""
        with self._lock:
            self._end()

    def _refused(self, entry: Entry, reserve: bool) -> Receipt:
        with self._lock:
            now = self._clock.monotonic()
            if self._until is not None and now >= self._until:
                self._end()
            if self._until is None:
                self._until, self._began = now + WINDOW_S, self._clock.now()
            network = self._place(self._network(entry.source))
            if self._singly[network] < SINGLY and self._singly.total() < IN_ALL:
                receipt = self._journal.append(entry, reserve)
                self._singly[network] += 1
                return receipt
            self._count(entry, (entry.tenancy, network), reserve)
            raise TooManyRefusals(self._until - now)

    def _count(self, entry: Entry, key: Key, reserve: bool) -> None:
        if key not in self._counted and len(self._counted) >= NETWORKS:
            key = ("", ELSEWHERE)
        counts = self._counted.get(key)
        if counts is None:
            further = {**entry.detail, "further": f"counted for {WINDOW_S:.0f} s"}
            self._journal.append(entry._replace(detail=further), reserve)
            self._counted[key] = Counter()
            return
        kind = f"{entry.operation} {entry.code}"
        counts[kind if kind in counts or len(counts) < KINDS else "other"] += 1

    def _place(self, network: str) -> str:
        return network if network in self._singly or len(self._singly) < NETWORKS else ELSEWHERE

    def _end(self) -> None:
        """The window is over. What could not be written is still there afterwards."""
        for key in list(self._counted):
            if self._counted[key]:
                self._journal.append(self._told(key, self._counted[key]))
            del self._counted[key]
        self._singly.clear()
        self._until = None

    def _told(self, key: Key, counts: Counter[str]) -> Entry:
        now = self._clock.now()
        return Entry(
            id=new_id("entry", self._region),
            at=now,
            tenancy=key[0],
            compartment="",
            principal_id="",
            principal_type="",
            principal_name="",
            requester="",
            token_id="",
            source=key[1],
            request_id="",
            action="",
            operation=OPERATION,
            resource_type="",
            resource_id="",
            resource_name="",
            outcome="refused",
            code="TooManyRefusals",
            reason=f"{counts.total()} requests of callers that nobody knows were refused and counted",
            detail={
                "count": str(counts.total()),
                "since": isoformat(self._began),
                "until": isoformat(now),
                **{kind: str(count) for kind, count in counts.most_common()},
            },
        )
