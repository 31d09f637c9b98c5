"""Seeing through policies, over REST. See iam/insight."""

from typing import Annotated

from msgspec import Meta, field

from keystead.iam.insight.model import Difference, Holder, Meeting, Unused
from keystead.iam.model import Principal
from keystead.iam.policy.question import Consideration, StatementRef
from keystead.web.api.policies import Statement
from keystead.web.messages import CompartmentRef, Message
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

Action = Annotated[str, Meta(max_length=100, description="A permission, or a verb and a type: use keys.")]
Thing = Annotated[str, Meta(max_length=120, description="Id of a resource or of a compartment.")]
PolicyRef = Annotated[str, Meta(max_length=120, description="Id of the policy that is replaced; empty: of none.")]


class PrincipalReply(Message):
    """Somebody."""

    id: str
    type: str
    name: str


class StatementReply(Message):
    """One statement of a policy; they are counted from 1."""

    policy_id: str
    number: int
    text: str


class ConsiderationReply(StatementReply):
    """What one statement means for the question."""

    effect: str
    denies: bool
    applies: bool
    why: str


class ExplainPolicy(Message):
    """Why may, or may not, somebody do something?"""

    principal_id: Annotated[str, Meta(max_length=120, description="Id of a user or of a database system.")]
    action: Action
    resource_id: Thing


class ExplanationReply(Message):
    """The answer for now. `depends`: time, network or factors may change it."""

    allowed: bool
    depends: bool
    statement: StatementReply | None
    reasons: list[str]
    considered: list[ConsiderationReply]


class WhoCan(Message):
    """Who may do something?"""

    action: Action
    resource_id: Thing


class HolderReply(Message):
    """Somebody who may, and by which statement."""

    principal: PrincipalReply
    statement: StatementReply | None
    depends: bool


class WhoCanReply(Message):
    """Everybody who may, of those whom the caller may inspect."""

    items: list[HolderReply]


class SimulatePolicy(Message):
    """What if these were the statements? None: what if the policy were deleted?"""

    compartment_id: CompartmentRef
    statements: Annotated[list[Statement], Meta(max_length=50)] = field(default_factory=list)
    policy_id: PolicyRef = ""


class DifferenceReply(Message):
    """What one principal could do then and not now (`opens`), or now and not then; and the statements that decide it,
    which allow it or deny what another allows: null where nothing allows it. A new policy has no id: it reads empty.
    """

    principal: PrincipalReply
    permission: str
    resource_type: str
    resource_id: str
    resource_name: str
    opens: bool
    statement_now: StatementReply | None
    statement_then: StatementReply | None


class CrossingReply(Message):
    """A statement between tenancies that would begin or cease to hold; more crosses then (`opens`) if the other side
    lets it, or less.
    """

    effect: str
    statement: str
    opens: bool


class SimulationReply(Message):
    """What would change; `examined` combinations were looked at."""

    items: list[DifferenceReply]
    examined: int
    crossings: list[CrossingReply]


class UnusedListing(Message):
    """For how long."""

    days: Annotated[int, Meta(ge=1, le=400, description="How far back.")] = 90


class UnusedReply(Message):
    """A statement that allows more than was used."""

    statement: StatementReply
    used: list[str]
    unused: list[str]


class UnusedPage(Message):
    """Statements that allow more than was used."""

    items: list[UnusedReply]


class MeetingReply(Message):
    """Somebody who holds both duties, where and by which statements."""

    principal: PrincipalReply
    key_permission: str
    key_place: str
    key_statement: StatementReply | None
    database_permission: str
    database_place: str
    database_statement: StatementReply | None


class MeetingPage(Message):
    """Everybody who can both use or manage keys, and manage databases."""

    items: list[MeetingReply]


def _statement(found: StatementRef | None) -> StatementReply | None:
    return None if found is None else _ref(found)


def _ref(found: StatementRef) -> StatementReply:
    return StatementReply(policy_id=found.policy_id, number=found.number, text=found.text)


def _principal(found: Principal) -> PrincipalReply:
    return PrincipalReply(id=found.id, type=found.type, name=found.name)


def _consideration(found: Consideration) -> ConsiderationReply:
    ref = found.statement
    return ConsiderationReply(
        policy_id=ref.policy_id, number=ref.number, text=ref.text, effect=found.effect, denies=found.denies,
        applies=found.applies, why=found.why,
    )  # fmt: skip


def explain_policy(services: Services, call: Call[ExplainPolicy, NoBody]) -> ExplanationReply:
    body = call.body
    found = services.insight.explain(call.caller, body.principal_id, body.action, body.resource_id)
    return ExplanationReply(
        allowed=found.allowed,
        depends=found.depends,
        statement=_statement(found.statement),
        reasons=list(found.reasons),
        considered=[_consideration(each) for each in found.considered],
    )


def who_can(services: Services, call: Call[WhoCan, NoBody]) -> WhoCanReply:
    def shown(found: Holder) -> HolderReply:
        return HolderReply(
            principal=_principal(found.principal), statement=_statement(found.statement), depends=found.depends
        )

    holders = services.insight.who_can(call.caller, call.body.action, call.body.resource_id)
    return WhoCanReply(items=[shown(each) for each in holders])


def simulate_policy(services: Services, call: Call[SimulatePolicy, NoBody]) -> SimulationReply:
    def shown(found: Difference) -> DifferenceReply:
        return DifferenceReply(
            principal=_principal(found.principal), permission=found.permission, resource_type=found.target_type,
            resource_id=found.target_id, resource_name=found.target_name, opens=found.opens,
            statement_now=_statement(found.now), statement_then=_statement(found.then),
        )  # fmt: skip

    body = call.body
    found = services.insight.simulate(call.caller, body.compartment_id, tuple(body.statements), body.policy_id)
    crossings = [
        CrossingReply(effect=each.effect, statement=each.statement, opens=each.opens) for each in found.crossings
    ]
    return SimulationReply(
        items=[shown(each) for each in found.differences], examined=found.examined, crossings=crossings
    )


def list_unused(services: Services, call: Call[NoBody, UnusedListing]) -> UnusedPage:
    def shown(found: Unused) -> UnusedReply:
        return UnusedReply(statement=_ref(found.statement), used=list(found.used), unused=list(found.unused))

    return UnusedPage(items=[shown(each) for each in services.insight.unused(call.caller, call.query.days)])


def list_duties(services: Services, call: Call[NoBody, NoBody]) -> MeetingPage:
    def shown(found: Meeting) -> MeetingReply:
        return MeetingReply(
            principal=_principal(found.principal), key_permission=found.key_permission, key_place=found.key_place,
            key_statement=_statement(found.key_statement), database_permission=found.database_permission,
            database_place=found.database_place, database_statement=_statement(found.database_statement),
        )  # fmt: skip

    return MeetingPage(items=[shown(each) for each in services.insight.duties(call.caller)])


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "ExplainPolicy", "POST", "/policies/actions/explain", "Say why somebody may do something, or may not",
        explain_policy, "policies", request=ExplainPolicy, reply=ExplanationReply, permissions=("POLICY_READ",),
    ),
    Operation(
        "WhoCan", "POST", "/policies/actions/who-can", "Say who may do something", who_can, "policies",
        request=WhoCan, reply=WhoCanReply, permissions=("POLICY_READ",),
    ),
    Operation(
        "SimulatePolicy", "POST", "/policies/actions/simulate", "Say what a change would open and close",
        simulate_policy, "policies", request=SimulatePolicy, reply=SimulationReply, permissions=("POLICY_READ",),
    ),
    Operation(
        "ListUnusedGrants", "GET", "/policies/actions/unused", "List statements that allow more than was used",
        list_unused, "policies", query=UnusedListing, reply=UnusedPage,
        permissions=("AUDIT_EVENT_READ", "POLICY_READ"),
    ),
    Operation(
        "ListMixedDuties", "GET", "/policies/actions/duties", "List who can both use keys and manage databases",
        list_duties, "policies", reply=MeetingPage, permissions=("POLICY_READ",),
    ),
)  # fmt: skip
