"""What needs a key, what an act on it would stop, and how it is used, over REST."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, field

from keystead.vault.insight.impact import Effect, If, When
from keystead.vault.insight.inventory import Copy, CopyKind, Evidence, Need, NeedKind
from keystead.vault.insight.usage import Use
from keystead.web.messages import Message
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services


class NeedReply(Message):
    """One thing that needs a key. What you may not see has no id and no name, and counts all the same."""

    kind: NeedKind
    id: str
    name: str
    compartment_id: str
    key_versions: list[int]
    read_from: Annotated[Evidence, Meta(description="What names the key: what was read, or a row.")]
    state: str
    running: bool
    part_of: str
    problem: str


class CopyReply(Message):
    """Backups that hold the key's material: they outlive its destruction here."""

    kind: CopyKind
    count: int
    last_at: datetime
    last_by: str


class NeededBy(Message):
    """By how many things a version is needed."""

    key_version: int
    count: int


class KeyInventoryReply(Message):
    """Everything that needs a key. `needed_by` is the count that destroying it takes."""

    needs: list[NeedReply]
    needed_by: int
    versions: list[NeededBy]
    copies: list[CopyReply]
    at: datetime


class InventoryQuery(Message):
    """Of the whole key, or of one version."""

    version: Annotated[int, Meta(ge=1, description="Only what needs this version.")] | None = None


class KeyNeeds(Message):
    """What needs one key of a vault."""

    key_id: str
    key_name: str
    state: str
    needs: list[NeedReply]


class VaultInventoryReply(Message):
    """Every key of a vault that something needs. `needed_by` is the count that destroying the vault takes."""

    keys: list[KeyNeeds]
    needed_by: int


class ImpactQuery(Message):
    """Which act, on the whole key or one version."""

    act: Annotated[If, Meta(description="What would be done.")] = field(name="if")
    version: Annotated[int, Meta(ge=1, description="To this version alone: disable or delete.")] | None = None


class EffectReply(Message):
    """What would become of one thing."""

    kind: str
    id: str
    name: str
    when: When
    at: datetime | None
    text: str


class QuorumReply(Message):
    """A rule by which the act waits for others: so many of these people."""

    rule: str
    needed: int
    approvers: list[str]


class ImpactReply(Message):
    """What would stop. `final_at`: from when on it cannot be undone. `approvers`: who else may do it. `quorums`: by
    which rules it waits for whom.
    """

    act: If = field(name="if")
    key_version: int
    effects: list[EffectReply]
    needed_by: int
    undo: str
    final_at: datetime | None
    approvers: list[str]
    more_approvers: int
    quorums: list[QuorumReply]


class UsageQuery(Message):
    """For how long."""

    days: Annotated[int, Meta(ge=1, le=3650, description="The last so many days.")] = 30


class UseReply(Message):
    """Calls of one principal for one operation. A batch is one call; database systems are principals of their own."""

    principal_id: str
    principal_type: str
    principal_name: str
    operation: str
    outcome: str
    calls: int
    first_at: datetime
    last_at: datetime


class UsageReply(Message):
    """How often a key was used since then, most frequent first."""

    since: datetime
    calls: int
    uses: list[UseReply]


def get_key_inventory(services: Services, call: Call[NoBody, InventoryQuery]) -> KeyInventoryReply:
    version = call.query.version
    found = services.vaults.inventory(call.caller, call.path["key_id"], version)
    return KeyInventoryReply(
        needs=[shown_need(need) for need in found.needs],
        needed_by=found.needed_by[version or 0],
        versions=[
            NeededBy(key_version=number, count=count) for number, count in sorted(found.needed_by.items()) if number
        ],
        copies=[shown_copy(copy) for copy in found.copies],
        at=found.at,
    )


def get_vault_inventory(services: Services, call: Call[NoBody, NoBody]) -> VaultInventoryReply:
    found = services.vaults.vault_inventory(call.caller, call.path["vault_id"])
    keys = [
        KeyNeeds(key_id=key.id, key_name=key.name, state=key.state, needs=[shown_need(need) for need in needs])
        for key, needs in found.keys
    ]
    return VaultInventoryReply(keys=keys, needed_by=found.needed_by)


def get_key_impact(services: Services, call: Call[NoBody, ImpactQuery]) -> ImpactReply:
    query = call.query
    preview = services.vaults.impact(call.caller, call.path["key_id"], query.act, query.version)
    found = preview.impact
    return ImpactReply(
        act=found.act,
        key_version=found.version,
        effects=[shown_effect(effect) for effect in found.effects],
        needed_by=found.needed_by,
        undo=found.undo,
        final_at=found.final_at,
        approvers=list(preview.approvers),
        more_approvers=preview.more,
        quorums=[
            QuorumReply(rule=each.rule, needed=each.needed, approvers=list(each.approvers)) for each in preview.quorums
        ],
    )


def get_key_usage(services: Services, call: Call[NoBody, UsageQuery]) -> UsageReply:
    since, uses = services.vaults.usage(call.caller, call.path["key_id"], call.query.days)
    return UsageReply(since=since, calls=sum(use.calls for use in uses), uses=[shown_use(use) for use in uses])


def shown_need(need: Need) -> NeedReply:
    return NeedReply(
        kind=need.kind,
        id=need.id,
        name=need.name,
        compartment_id=need.compartment,
        key_versions=list(need.versions),
        read_from=need.evidence,
        state=need.state,
        running=need.running,
        part_of=need.part_of,
        problem=need.problem,
    )


def shown_copy(copy: Copy) -> CopyReply:
    return CopyReply(kind=copy.kind, count=copy.count, last_at=copy.last_at, last_by=copy.last_by)


def shown_effect(effect: Effect) -> EffectReply:
    return EffectReply(
        kind=effect.kind, id=effect.id, name=effect.name, when=effect.when, at=effect.at, text=effect.text
    )


def shown_use(use: Use) -> UseReply:
    return UseReply(
        principal_id=use.principal_id,
        principal_type=use.principal_type,
        principal_name=use.principal_name,
        operation=use.operation,
        outcome=use.outcome,
        calls=use.calls,
        first_at=use.first_at,
        last_at=use.last_at,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GetKeyInventory", "GET", "/keys/{key_id}/inventory", "What needs a key, and which version",
        get_key_inventory, "keys", query=InventoryQuery, reply=KeyInventoryReply, permissions=("KEY_READ",),
        description="Read from envelopes and from the headers of backups, not only from records.",
    ),
    Operation(
        "GetKeyImpact", "GET", "/keys/{key_id}/impact", "What an act on a key would stop", get_key_impact, "keys",
        query=ImpactQuery, reply=ImpactReply, permissions=("KEY_READ",), description="Nothing is changed.",
    ),
    Operation(
        "GetKeyUsage", "GET", "/keys/{key_id}/usage", "How often a key was used, by whom and for what",
        get_key_usage, "keys", query=UsageQuery, reply=UsageReply, permissions=("KEY_READ",),
        description="Counted from the audit trail, by day.",
    ),
    Operation(
        "GetVaultInventory", "GET", "/vaults/{vault_id}/inventory", "What needs the keys of a vault",
        get_vault_inventory, "vaults", reply=VaultInventoryReply, permissions=("VAULT_READ",),
    ),
)  # fmt: skip
