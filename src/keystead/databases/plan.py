"""What to do about one node: a pure function from what is wanted and what is, to the next act.

Losing access comes before everything else. "Revoked" has no grace; "unreachable" (no positive answer from the vault for
the lease) has one, after which the node is fenced as well (law 7). Nothing here ever deletes data.
"""

from dataclasses import dataclass
from typing import Literal

from keystead.databases.model import Desired

Act = Literal["nothing", "fence", "start", "stop"]


@dataclass(frozen=True, slots=True)
class Observed:
    """What is, on this machine. `fenced`: a fence was carried through and nothing was started since."""

    prepared: bool
    running: bool
    fenced: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How access stands. `silence`: seconds since the vault's last positive answer; `grace`: how long that may be."""

    granted: bool
    silence: float
    lease: float
    grace: float | None

    @property
    def unreachable(self) -> bool:
        """No positive answer for longer than the lease."""
        return self.silence > self.lease

    @property
    def expired(self) -> bool:
        """Unreachable for longer than the grace allows; without a grace (None) that never comes."""
        return self.unreachable and self.grace is not None and self.silence > self.lease + self.grace


def decide(desired: Desired, observed: Observed, standing: Standing) -> Act:
    """The next act for a node."""
    if desired == "deleted":
        return "nothing"
    if not standing.granted or standing.expired:
        return "nothing" if observed.fenced and not observed.running else "fence"
    if not observed.prepared:
        return "nothing"
    if desired == "running":
        may_start = not observed.running and not standing.unreachable
        return "start" if may_start else "nothing"
    return "stop" if observed.running else "nothing"
