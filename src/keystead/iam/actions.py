"""The action catalogue: every resource type, what each verb on it permits, and which family it belongs to.

This is the one place that knows. The policy compiler, the Guard, the operation table and docs/policy.md read it.

    permission  what a service asks the Guard for                        KEY_ROTATE
    verb        inspect < read < use < manage, each holding those before manage
    type        what the verb is applied to                              keys
    family      several types under one name                             key-family

Invariants: a permission belongs to one type and one verb, so each has exactly one smallest statement that grants it.
Service-only permissions belong to no verb: no policy grants them, only `SERVICE_GRANTS` does (law 1).
Types that Keystead does not serve are in the catalogue so that statements written for OCI are taken as they are.
Names follow OCI's policy reference; Keystead's own are *_PURGE and *_LOCK of vaults and keys, *_UPKEEP, STATE_*,
MACHINE_*, HOST_* and USER_TOKEN_REVOKE.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from keystead.core.errors import Fault
from keystead.iam.permissions import Permission

Verb = Literal["inspect", "read", "use", "manage"]
VERBS: tuple[Verb, ...] = get_args(Verb)


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A type as the policy language names it, with the permissions each verb ADDS to those of the verb before.

    `seen_by` is the permission that lets a caller know that such a thing is there; None when nothing does.
    """

    name: str
    about: str
    adds: Mapping[Verb, tuple[Permission, ...]]
    seen_by: Permission | None
    served: bool

    def permissions(self, verb: Verb) -> tuple[Permission, ...]:
        """Everything `verb` permits, the smaller verbs included."""
        upto = VERBS.index(verb) + 1
        return tuple(permission for each in VERBS[:upto] for permission in self.adds[each])


def _type(
    name: str,
    about: str,
    *,
    i: str = "",
    r: str = "",
    u: str = "",
    m: str = "",
    seen_by: str | None = None,
    served: bool = True,
) -> ResourceType:
    by_verb = zip(VERBS, (i, r, u, m), strict=True)
    adds = {verb: tuple(_known(word) for word in words.split()) for verb, words in by_verb}
    first = adds["inspect"][0] if adds["inspect"] else None
    return ResourceType(name, about, adds, _known(seen_by) if seen_by else first, served)


def _known(word: str) -> Permission:
    if word not in _LITERALS:
        raise Fault("CatalogueBroken", f"{word} is not a permission")
    return word  # type: ignore[return-value]  # just checked


_LITERALS: frozenset[str] = frozenset(get_args(Permission))


def _foreign(name: str, about: str, *, i: str = "", r: str = "", u: str = "", m: str = "") -> ResourceType:
    """A type that statements may name although nothing here asks for its permissions."""
    return _type(name, about, i=i, r=r, u=u, m=m, served=False)


TYPES: tuple[ResourceType, ...] = (
    _type(
        "vaults",
        "containers of keys",
        i="VAULT_INSPECT",
        r="VAULT_READ",
        u="VAULT_CREATE_KEY VAULT_IMPORT_KEY VAULT_CREATE_SECRET",
        m="VAULT_CREATE VAULT_UPDATE VAULT_DELETE VAULT_MOVE VAULT_BACKUP VAULT_RESTORE VAULT_REPLICATE VAULT_PURGE "
        "VAULT_LOCK",
    ),
    _type(
        "keys",
        "keys and their versions",
        i="KEY_INSPECT",
        r="KEY_READ",
        u="KEY_ENCRYPT KEY_DECRYPT KEY_EXPORT KEY_SIGN KEY_VERIFY",
        m="KEY_CREATE KEY_UPDATE KEY_ROTATE KEY_DELETE KEY_MOVE KEY_IMPORT KEY_BACKUP KEY_RESTORE KEY_PURGE KEY_LOCK",
    ),
    _type(
        "key-delegate",
        "letting a resource use a key: by whoever associates it, and by the resource itself",
        u="KEY_ASSOCIATE KEY_DISASSOCIATE",
        seen_by="KEY_INSPECT",
    ),
    _type(
        "mysql-instances",
        "database systems",
        i="MYSQL_INSTANCE_INSPECT",
        r="MYSQL_INSTANCE_READ",
        u="MYSQL_INSTANCE_USE MYSQL_INSTANCE_START MYSQL_INSTANCE_STOP MYSQL_INSTANCE_CONTENT_WRITE",
        m="MYSQL_INSTANCE_CREATE MYSQL_INSTANCE_UPDATE MYSQL_INSTANCE_DELETE",
    ),
    _type(
        "mysql-backups",
        "backups of database systems",
        i="MYSQL_BACKUP_INSPECT",
        r="MYSQL_BACKUP_READ",
        u="MYSQL_BACKUP_UPDATE",
        m="MYSQL_BACKUP_CREATE MYSQL_BACKUP_DELETE MYSQL_BACKUP_MOVE MYSQL_BACKUP_COPY",
    ),
    _type(
        "mysql-work-requests",
        "jobs",
        i="MYSQL_INSTANCE_WORK_REQUEST_INSPECT",
        r="MYSQL_INSTANCE_WORK_REQUEST_READ",
    ),
    _foreign(
        "mysql-configurations",
        "sets of server variables",
        i="MYSQL_CONFIGURATIONS_INSPECT",
        r="MYSQL_CONFIGURATIONS_READ",
        u="MYSQL_CONFIGURATIONS_UPDATE",
        m="MYSQL_CONFIGURATIONS_CREATE MYSQL_CONFIGURATIONS_DELETE",
    ),
    _foreign(
        "mysql-channels",
        "inbound replication",
        i="MYSQL_CHANNEL_INSPECT",
        r="MYSQL_CHANNEL_READ",
        u="MYSQL_CHANNEL_UPDATE MYSQL_CHANNEL_RESUME MYSQL_CHANNEL_RESET",
        m="MYSQL_CHANNEL_CREATE MYSQL_CHANNEL_DELETE",
    ),
    _foreign(
        "mysql-heatwave",
        "analytics clusters (older statements say mysql-analytics)",
        i="MYSQL_HEATWAVE_INSPECT",
        r="MYSQL_HEATWAVE_READ",
        u="MYSQL_HEATWAVE_USE MYSQL_HEATWAVE_UPDATE",
        m="MYSQL_HEATWAVE_CREATE MYSQL_HEATWAVE_DELETE",
    ),
    _type("tenancies", "the organisation itself", i="TENANCY_INSPECT", u="TENANCY_UPDATE", m="TENANCY_CREATE"),
    _type(
        "compartments",
        "folders of resources",
        i="COMPARTMENT_INSPECT",
        u="COMPARTMENT_UPDATE",
        m="COMPARTMENT_CREATE COMPARTMENT_DELETE COMPARTMENT_RECOVER",
    ),
    _type(
        "users",
        "people and applications",
        i="USER_INSPECT",
        r="USER_READ",
        u="USER_UPDATE",
        m="USER_CREATE USER_DELETE USER_UNBLOCK USER_APIKEY_ADD USER_APIKEY_REMOVE USER_UIPASS_SET USER_UIPASS_RESET"
        " USER_AUTHTOKEN_SET USER_AUTHTOKEN_RESET USER_AUTHTOKEN_REMOVE USER_TOTPDEVICE_ADD USER_TOTPDEVICE_REMOVE"
        " USER_TOTPDEVICE_UPDATE USER_TOKEN_REVOKE",
    ),
    _type(
        "groups",
        "users who are granted things together",
        i="GROUP_INSPECT",
        u="GROUP_UPDATE GROUP_BREAK_GLASS",
        m="GROUP_CREATE GROUP_DELETE GROUP_BREAK_GLASS_SELF",
    ),
    _type("policies", "statements of this language", i="POLICY_READ", m="POLICY_UPDATE POLICY_CREATE POLICY_DELETE"),
    _type(
        "dynamic-groups",
        "groups of resources, by rule",
        i="DYNAMIC_GROUP_INSPECT",
        u="DYNAMIC_GROUP_UPDATE",
        m="DYNAMIC_GROUP_CREATE DYNAMIC_GROUP_DELETE",
    ),
    _type(
        "network-sources",
        "named networks that requests come from",
        i="NETWORK_SOURCE_INSPECT",
        u="NETWORK_SOURCE_UPDATE",
        m="NETWORK_SOURCE_CREATE NETWORK_SOURCE_DELETE",
    ),
    _type(
        "approval-rules",
        "what needs the approval of others",
        i="APPROVAL_RULE_INSPECT",
        m="APPROVAL_RULE_CREATE APPROVAL_RULE_UPDATE APPROVAL_RULE_DELETE",
    ),
    _type(
        "approvals",
        "requests that wait for approval; whose vote counts is said by the rule's group alone",
        i="APPROVAL_INSPECT",
        u="APPROVAL_VOTE",
        m="APPROVAL_WITHDRAW",
    ),
    _type("group-memberships", "who is in which group", i="GROUP_MEMBERSHIP_INSPECT"),
    _type("authentication", "checking who signs in to a database", i="AUTHENTICATION_INSPECT"),
    _type(
        "identity-providers",
        "outside issuers of identities, whose people may sign in",
        i="IDENTITY_PROVIDER_INSPECT",
        m="IDENTITY_PROVIDER_UPDATE IDENTITY_PROVIDER_CREATE IDENTITY_PROVIDER_DELETE",
    ),
    _type("audit-events", "the audit trail", r="AUDIT_EVENT_READ"),
    _type("state", "the region's own state", i="STATE_INSPECT", m="STATE_BACKUP STATE_SEAL STATE_ROTATE_TOKEN_KEYS"),
    _type("machines", "machines that may run database systems", i="MACHINE_INSPECT", m="MACHINE_CREATE MACHINE_DELETE"),
    _foreign(
        "secrets",
        "secrets kept in a vault",
        i="SECRET_INSPECT",
        r="SECRET_READ",
        u="SECRET_UPDATE",
        m="SECRET_CREATE SECRET_DELETE SECRET_MOVE",
    ),
    _foreign(
        "secret-versions",
        "versions of secrets",
        i="SECRET_VERSION_INSPECT",
        r="SECRET_VERSION_READ",
        m="SECRET_VERSION_DELETE",
    ),
    _foreign("secret-bundles", "contents of secrets", i="SECRET_BUNDLE_INSPECT", r="SECRET_BUNDLE_READ"),
    _foreign(
        "objectstorage-namespaces",
        "the name under which a tenancy's buckets lie",
        m="OBJECTSTORAGE_NAMESPACE_READ OBJECTSTORAGE_NAMESPACE_UPDATE",
    ),
    _foreign(
        "buckets",
        "containers of objects",
        i="BUCKET_INSPECT",
        r="BUCKET_READ",
        u="BUCKET_UPDATE",
        m="BUCKET_CREATE BUCKET_DELETE PAR_MANAGE RETENTION_RULE_MANAGE RETENTION_RULE_LOCK",
    ),
    _foreign(
        "objects",
        "objects in buckets",
        i="OBJECT_INSPECT",
        r="OBJECT_READ",
        u="OBJECT_OVERWRITE",
        m="OBJECT_CREATE OBJECT_DELETE OBJECT_VERSION_DELETE OBJECT_RESTORE OBJECT_UPDATE_TIER",
    ),
    _foreign(
        "volumes",
        "encrypted block devices",
        i="VOLUME_INSPECT",
        u="VOLUME_UPDATE VOLUME_WRITE",
        m="VOLUME_CREATE VOLUME_DELETE VOLUME_MOVE",
    ),
    _foreign(
        "volume-attachments",
        "volumes in use",
        i="VOLUME_ATTACHMENT_INSPECT",
        r="VOLUME_ATTACHMENT_READ",
        u="VOLUME_ATTACHMENT_UPDATE",
        m="VOLUME_ATTACHMENT_CREATE VOLUME_ATTACHMENT_DELETE",
    ),
    _foreign(
        "volume-backups",
        "backups of volumes",
        i="VOLUME_BACKUP_INSPECT",
        r="VOLUME_BACKUP_READ",
        u="VOLUME_BACKUP_COPY VOLUME_BACKUP_UPDATE",
        m="VOLUME_BACKUP_CREATE VOLUME_BACKUP_DELETE VOLUME_BACKUP_MOVE",
    ),
    _foreign(
        "boot-volume-backups",
        "backups of boot volumes",
        i="BOOT_VOLUME_BACKUP_INSPECT",
        r="BOOT_VOLUME_BACKUP_READ",
        u="BOOT_VOLUME_BACKUP_COPY BOOT_VOLUME_BACKUP_UPDATE",
        m="BOOT_VOLUME_BACKUP_CREATE BOOT_VOLUME_BACKUP_DELETE BOOT_VOLUME_BACKUP_MOVE",
    ),
    _foreign(
        "backup-policies",
        "schedules of volume backups",
        i="BACKUP_POLICIES_INSPECT",
        u="BACKUP_POLICIES_UPDATE",
        m="BACKUP_POLICIES_CREATE BACKUP_POLICIES_DELETE",
    ),
    _foreign(
        "backup-policy-assignments",
        "which volume follows which schedule",
        i="BACKUP_POLICY_ASSIGNMENT_INSPECT",
        m="BACKUP_POLICY_ASSIGNMENT_CREATE BACKUP_POLICY_ASSIGNMENT_DELETE",
    ),
    _foreign(
        "volume-groups",
        "volumes treated as one",
        i="VOLUME_GROUP_INSPECT",
        u="VOLUME_GROUP_UPDATE",
        m="VOLUME_GROUP_CREATE VOLUME_GROUP_DELETE VOLUME_GROUP_MOVE",
    ),
    _foreign(
        "volume-group-backups",
        "backups of volume groups",
        i="VOLUME_GROUP_BACKUP_INSPECT",
        r="VOLUME_GROUP_BACKUP_READ",
        u="VOLUME_GROUP_BACKUP_UPDATE",
        m="VOLUME_GROUP_BACKUP_CREATE VOLUME_GROUP_BACKUP_DELETE VOLUME_GROUP_BACKUP_MOVE",
    ),
    _foreign(
        "vcns", "networks", i="VCN_READ", u="VCN_ATTACH VCN_DETACH", m="VCN_CREATE VCN_UPDATE VCN_DELETE VCN_MOVE"
    ),
    _foreign(
        "subnets",
        "parts of networks",
        i="SUBNET_READ",
        u="SUBNET_ATTACH SUBNET_DETACH",
        m="SUBNET_CREATE SUBNET_UPDATE SUBNET_DELETE SUBNET_MOVE",
    ),
    _type(
        "tag-namespaces",
        "what compartments and groups are tagged with: `use` lets somebody tag them",
        i="TAG_NAMESPACE_INSPECT",
        u="TAG_NAMESPACE_USE",
        m="TAG_NAMESPACE_CREATE TAG_NAMESPACE_UPDATE TAG_NAMESPACE_DELETE TAG_NAMESPACE_MOVE",
    ),
)
TYPE_BY_NAME: Mapping[str, ResourceType] = {each.name: each for each in TYPES}
# What older statements call a type.
ALIASES: Mapping[str, str] = {"mysql-analytics": "mysql-heatwave"}
ALL_RESOURCES = "all-resources"
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "key-family": ("vaults", "keys", "key-delegate"),
    "mysql-family": (
        "mysql-instances",
        "mysql-backups",
        "mysql-work-requests",
        "mysql-configurations",
        "mysql-channels",
        "mysql-heatwave",
    ),
    "secret-family": ("secrets", "secret-versions", "secret-bundles"),
    "object-family": ("objectstorage-namespaces", "buckets", "objects"),
    "volume-family": (
        "volumes",
        "volume-attachments",
        "volume-backups",
        "boot-volume-backups",
        "backup-policies",
        "backup-policy-assignments",
        "volume-groups",
        "volume-group-backups",
    ),
    "virtual-network-family": ("vcns", "subnets"),
    ALL_RESOURCES: tuple(each.name for each in TYPES),
}
# Every word that may follow a verb.
TYPE_WORDS: tuple[str, ...] = (*TYPE_BY_NAME, *FAMILIES, *ALIASES)

# Permissions of no verb, and the services that hold them. This is the whole of what a service of the region may do by
# itself; what it does for somebody else it does as that principal.
SERVICE_ONLY: Mapping[str, str] = {
    "HOST_WATCH": "machines",
    "HOST_REPORT": "machines",
    "KEY_UPKEEP": "keys",
    "VAULT_UPKEEP": "vaults",
    "GROUP_UPKEEP": "groups",
    "MYSQL_INSTANCE_UPKEEP": "mysql-instances",
}
SERVICE_GRANTS: Mapping[str, frozenset[str]] = {
    "host": frozenset({"HOST_WATCH", "HOST_REPORT"}),
    "upkeep": frozenset({"KEY_UPKEEP", "VAULT_UPKEEP", "GROUP_UPKEEP", "MYSQL_INSTANCE_UPKEEP"}),
}


@dataclass(frozen=True, slots=True)
class Granting:
    """The smallest verb on a type that grants a permission."""

    type: str
    verb: Verb


def _invert() -> Iterator[tuple[Permission, Granting]]:
    for each in TYPES:
        for verb in VERBS:
            for permission in each.adds[verb]:
                yield permission, Granting(each.name, verb)


_GRANTING: Mapping[str, Granting] = dict(_invert())
# Permissions that a statement may name in braces.
GRANTABLE: frozenset[str] = frozenset(_GRANTING)


def granting(permission: str) -> Granting | None:
    """The one smallest (type, verb) that grants `permission`; None for service-only and unknown ones."""
    return _GRANTING.get(permission)


def kind_of(permission: str) -> str:
    """The resource type that `permission` is about.

    Raises:
        Fault: `UnknownPermission`; asking for one that is not in the catalogue is a bug.
    """
    found = _GRANTING.get(permission)
    kind = found.type if found is not None else SERVICE_ONLY.get(permission)
    if kind is None:
        raise Fault("UnknownPermission", f"{permission} is not in the action catalogue")
    return kind


def inspect_permission(kind: str) -> Permission | None:
    """The permission that lets a caller know that a resource of this type is there (law 8)."""
    found = TYPE_BY_NAME.get(kind)
    return found.seen_by if found is not None else None


def action_key(verb: Verb, word: str) -> str:
    """What `verb word` is called in COVERING; a permission in braces is called by its own name."""
    return f"{verb} {ALIASES.get(word, word)}"


def _covering() -> Iterator[tuple[str, tuple[str, ...]]]:
    for permission, smallest in _GRANTING.items():
        names = (smallest.type, *(name for name, members in FAMILIES.items() if smallest.type in members))
        verbs = VERBS[VERBS.index(smallest.verb) :]
        yield permission, (permission, *(action_key(verb, name) for name in names for verb in verbs))


# For each permission, every action that includes it: what an evaluator has to look up, and no more.
COVERING: Mapping[str, tuple[str, ...]] = dict(_covering())


def permissions_of(verb: Verb, word: str) -> frozenset[str]:
    """Everything `verb word` permits; `word` is a type, a family or an older name of a type.

    Raises:
        KeyError: no such word.
    """
    name = ALIASES.get(word, word)
    members = FAMILIES.get(name, (name,))
    return frozenset(permission for each in members for permission in TYPE_BY_NAME[each].permissions(verb))


def as_markdown() -> str:
    """The catalogue as the tables of docs/policy.md."""
    lines = ["| type | what it is | inspect | read adds | use adds | manage adds |", "|---|---|---|---|---|---|"]
    for each in TYPES:
        cells = [" ".join(f"`{permission}`" for permission in each.adds[verb]) or "-" for verb in VERBS]
        about = each.about if each.served else f"{each.about} ¹"
        lines.append(f"| `{each.name}` | {about} | {' | '.join(cells)} |")
    lines += ["", "¹ Understood in statements; nothing in this version asks for it.", ""]
    lines += ["| family | types in it |", "|---|---|"]
    for name, members in FAMILIES.items():
        text = "every type above" if name == ALL_RESOURCES else ", ".join(f"`{member}`" for member in members)
        lines.append(f"| `{name}` | {text} |")
    return "\n".join(lines) + "\n"
