"""The variables that a where-condition may read.

`request.*` tells about the request and who makes it, `target.*` about what it acts upon. Names are written in any
case and kept in lower case. A condition on a variable that a request does not have is false.

Invariant: what STEADY names is the same for one principal, permission and target until the generation changes, so a
decision that read nothing else may be remembered for as long (law 9).
"""

import difflib
from collections.abc import Mapping

from keystead.iam.policy.moments import DAYS, TIMESTAMP, TIMESTAMP_PARTS

VARIABLES: Mapping[str, str] = {
    "request.user.id": "id of the user who asks",
    "request.user.name": "name of the user who asks",
    "request.user.mfatotpverified": "`true` when a second factor was given",
    "request.risk.level": "how unusual the sign-in was: `low`, `medium` or `high`",
    "request.token.bound": "`true` when the request was proved with a key (docs/tokens.md); `false`: a bearer token",
    "request.groups.id": "ids of the groups the user is in",
    "request.permission": "the permission asked for",
    "request.operation": "the operation asked for, e.g. `CreateKey`",
    "request.networksource.name": "the named network the request comes from",
    "request.region": "the region that was asked",
    "request.ad": "the availability domain ¹",
    "request.principal.type": "`user`, `service`, `mysqldbsystem`, ...",
    "request.principal.id": "id of the principal, of any type",
    "request.principal.compartment.id": "compartment of the principal",
    "request.resource.compartment.id": "compartment of the resource that asks",
    TIMESTAMP: "when the request was made, UTC",
    **{f"{TIMESTAMP}.{part}": "that part of it" for part in sorted(TIMESTAMP_PARTS)},
    "request.kms-key.id": "the key that the request names for a database system or a backup",
    "request.includeplaintextkey": "`true` when a data key is wanted in clear, `false` when only wrapped",
    "target.compartment.id": "compartment of the target (not for lists)",
    "target.compartment.name": "its name (not for lists)",
    "target.workrequest.type": "kind of job: `create`, `backup`, ...",
    "target.key.id": "the key",
    "target.key.name": "its name",
    "target.key.managed-by": "the database system that a service-managed key belongs to",
    "target.vault.id": "the vault",
    "target.bucket.name": "the bucket ¹",
    "target.object.name": "the object ¹",
    "target.user.id": "the user acted upon",
    "target.user.name": "their name",
    "target.group.id": "the group acted upon",
    "target.group.name": "its name",
    "target.group.member": "`true` when the caller is in that group",
    "target.policy.id": "the policy",
    "target.policy.name": "its name",
    "target.policy.type": "`allow` or `deny`",
    "target.dynamicgroup.id": "the dynamic group",
    "target.dynamicgroup.name": "its name",
    "target.secret.id": "the secret ¹",
    "target.secret.name": "its name ¹",
}
_YES_NO = ("true", "false")
# Variables that have one of a few values: compared with anything else, a statement would never hold.
VALUES: Mapping[str, tuple[str, ...]] = {
    "request.user.mfatotpverified": _YES_NO,
    "request.token.bound": _YES_NO,
    "request.includeplaintextkey": _YES_NO,
    "target.group.member": _YES_NO,
    "request.risk.level": ("low", "medium", "high"),
    "target.policy.type": ("allow", "deny"),
    f"{TIMESTAMP}.day-of-week": DAYS,
    f"{TIMESTAMP}.day-of-month": tuple(str(day) for day in range(1, 32)),
    f"{TIMESTAMP}.month-of-year": tuple(str(month) for month in range(1, 13)),
}
# Variables whose last part is chosen by whoever tags: <prefix><namespace>.<key>.
TAGS: Mapping[str, str] = {
    "request.principal.group.tag.": "a tag of a group that the user is in",
    "request.principal.compartment.tag.": "a tag of the compartment of the resource that asks",
    "target.resource.tag.": "a tag of the key, vault, database system, group or compartment acted upon",
    "target.resource.compartment.tag.": "a tag of the compartment that the target lies in",
    "target.bucket.tag.": "a tag of the bucket ¹",
}
TAG_PREFIXES: tuple[str, ...] = tuple(TAGS)
STEADY: frozenset[str] = frozenset(
    {
        "request.user.id",
        "request.user.name",
        "request.groups.id",
        "request.permission",
        "request.region",
        "request.principal.type",
        "request.principal.id",
        "request.principal.compartment.id",
        "request.resource.compartment.id",
    }
)
# Tags change with the generation, as groups do.
_STEADY_TAGS = ("request.principal.group.tag.", "request.principal.compartment.tag.")
_THINGS: frozenset[str] = frozenset(".".join(name.split(".")[:2]) for name in (*VARIABLES, *TAG_PREFIXES))


def reads_request(name: str) -> bool:
    """Whether the variable may differ between two requests of one principal for the same thing."""
    return name.startswith("request.") and name not in STEADY and not name.startswith(_STEADY_TAGS)


def doubt(name: str) -> tuple[str, ...] | None:
    """None when `name` can be a variable; otherwise the names that may have been meant (perhaps none).

    What other services of OCI know (`target.instance.id`, ...) is taken as it is; here it is always absent.
    """
    if name in VARIABLES:
        return None
    prefix = next((each for each in TAG_PREFIXES if name.startswith(each)), None)
    if prefix is not None:
        return None if _is_tag(name.removeprefix(prefix)) else (f"{prefix}NAMESPACE.KEY",)
    side, _, rest = name.partition(".")
    thing = ".".join(name.split(".")[:2])
    close = tuple(difflib.get_close_matches(name, [*VARIABLES, *TAG_PREFIXES], n=1, cutoff=0.6))
    if side not in ("request", "target") or not rest or not all(name.split(".")):
        return close
    if thing in _THINGS or difflib.get_close_matches(thing, _THINGS, n=1, cutoff=0.85):
        return close
    return None


def tag_attributes(tags: Mapping[str, str]) -> dict[str, str]:
    """`target.resource.tag.*` as a target has them."""
    return {f"resource.tag.{name}": value for name, value in tag_values(tags).items()}


def tag_values(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as policies read them: those whose names are NAMESPACE.KEY, in lower case."""
    return {name.lower(): tags[name] for name in sorted(tags) if _is_tag(name)}


def tag_named(variable: str) -> str | None:
    """The tag that a variable is about, NAMESPACE.KEY; None when it is about none."""
    prefix = next((each for each in TAG_PREFIXES if variable.startswith(each)), None)
    return None if prefix is None else variable.removeprefix(prefix)


def _is_tag(name: str) -> bool:
    namespace, _, key = name.partition(".")
    return bool(namespace and key)


# What the matching rule of a dynamic group may read.
OF_RESOURCES: Mapping[str, str] = {
    "resource.type": "`mysqldbsystem`, ...",
    "resource.id": "id of the resource",
    "resource.name": "its name",
    "resource.compartment.id": "the compartment it lies in",
}
_OF_INSTANCES = ("instance.id", "instance.compartment.id")


def doubt_of_resource(name: str) -> tuple[str, ...] | None:
    """As `doubt`, for matching rules. Instances are taken as they are; here they are always absent."""
    if name in OF_RESOURCES or name in _OF_INSTANCES or name.startswith("tag."):
        return None
    return tuple(difflib.get_close_matches(name, OF_RESOURCES, n=1, cutoff=0.6))


def as_markdown() -> str:
    """The variables as the table of docs/policy.md."""
    lines = ["| variable | what it tells |", "|---|---|"]
    lines += [f"| `{name}` | {about} |" for name, about in VARIABLES.items()]
    lines += [f"| `{prefix}NAMESPACE.KEY` | {about} |" for prefix, about in TAGS.items()]
    lines += ["", "¹ Understood in statements; no request of this version has it."]
    return "\n".join(lines) + "\n"
