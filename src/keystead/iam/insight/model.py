"""What insight answers."""

from dataclasses import dataclass

from keystead.iam.model import Principal
from keystead.iam.policy.model import Effect
from keystead.iam.policy.question import Consideration, StatementRef


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why somebody may, or may not. `depends`: the answer may differ in a request (time, network, factor).

    `statement` decided; `considered` are all statements about the permission, with what each means here.
    """

    allowed: bool
    depends: bool
    statement: StatementRef | None
    reasons: tuple[str, ...]
    considered: tuple[Consideration, ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who may, by a statement."""

    principal: Principal
    statement: StatementRef | None
    depends: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that one principal could do after a change and not before (`opens`), or the other way round.

    `now` and `then` are the statements that decide it before and after: the one that allows, or the one that denies
    what another would allow; None where nothing allows it.
    """

    principal: Principal
    permission: str
    target_type: str
    target_id: str
    target_name: str
    opens: bool
    now: StatementRef | None
    then: StatementRef | None


@dataclass(frozen=True, slots=True)
class Crossing:
    """A statement between tenancies that would begin or cease to hold: one side of two. `opens`: more may cross then,
    as far as the other side lets it. Who and what is there is not this tenancy's to know.
    """

    effect: Effect
    statement: str
    opens: bool


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a change would do; `examined` combinations were looked at."""

    differences: tuple[Difference, ...]
    examined: int
    crossings: tuple[Crossing, ...] = ()


@dataclass(frozen=True, slots=True)
class Unused:
    """A statement that allows more than was used. `used` and `unused` are permissions that are asked for here."""

    statement: StatementRef
    used: tuple[str, ...]
    unused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Meeting:
    """Two duties in one hand: somebody who can use or manage keys, and manage databases."""

    principal: Principal
    key_permission: str
    key_place: str
    key_statement: StatementRef | None
    database_permission: str
    database_place: str
    database_statement: StatementRef | None
