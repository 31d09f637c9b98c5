"""A call that can be made with anybody's ids."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from tests.fakes.calls.things import Things
from tests.fakes.domain import DomainRegion

from keystead.databases.logins.model import LoginRequest
from keystead.iam.model import Caller

_numbers = count(1)
nobody = LoginRequest("token", "ann", "{}", b"", b"x", "192.0.2.7", 1)


def fresh() -> str:
    """A name that nobody has used."""
    return f"new-{next(_numbers)}"


@dataclass(frozen=True)
class Call:
    """One method. `uses` are the fields of Things whose ids it takes; `prepare` makes it possible to succeed."""

    run: Callable[[DomainRegion, Caller, Things], object]
    uses: tuple[str, ...] = ()
    prepare: Callable[[DomainRegion, Things], object] = lambda region, things: None
    writes: bool = True


def read(run: Callable[[DomainRegion, Caller, Things], object], *uses: str) -> Call:
    return Call(run, uses, writes=False)
