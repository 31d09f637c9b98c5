"""What a policy is asked, and what it answers."""

from dataclasses import dataclass

from keystead.iam.policy.conditions import Variables
from keystead.iam.policy.model import Effect

# Variables that the compiler alone writes: what a key is being associated with, and every place that lies in.
ASSOCIATED_TYPE = "associated.type"
ASSOCIATED_PLACE = "associated.place"


@dataclass(frozen=True, slots=True)
class StatementRef:
    """One statement of a policy; `number` counts from 1."""

    policy_id: str
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """May this principal do this here?

    `group_ids`: every group and dynamic group the principal is in. `compartment_path`: ids from the tenancy's root to
    the target's compartment. `variables` gives the where-variables by lower-case name, None for what the request does
    not have. `tenancy`: the principal's, where it is another than the target's or may be. `exempt`: no deny statement
    of its own tenancy is meant for the principal.
    """

    principal_id: str
    principal_type: str
    principal_name: str
    group_ids: frozenset[str]
    permission: str
    compartment_path: tuple[str, ...]
    variables: Variables
    tenancy: str = ""
    exempt: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. `statement` is the one that allows, or the one that denies what another would have allowed.

    `reads_request`: a variable was read that may differ in the next request of this principal for this thing (time,
    network, factor); only other decisions may be remembered, and those no longer than a generation. `reasons` say why
    not, for people who may know.
    """

    allowed: bool
    statement: StatementRef | None
    reads_request: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Consideration:
    """What a statement that is about the permission means for a question; `why` is empty when it applies."""

    statement: StatementRef
    effect: Effect
    denies: bool
    applies: bool
    why: str
