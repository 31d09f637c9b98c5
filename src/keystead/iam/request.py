"""What the where-variables of a policy are in one request; policy/variables.py says which there are."""

from collections.abc import Iterable
from datetime import datetime

from keystead.core.clock import isoformat
from keystead.iam.directory import Directory
from keystead.iam.factors.model import SECOND_FACTORS
from keystead.iam.factors.risk import level_of
from keystead.iam.model import Associated, Caller, Compartment, Group, Target
from keystead.iam.policy.variables import tag_values

# What the identity of a resource is called where a statement associates keys with it.
_AS_RESOURCE = {"mysqldbsystem": "mysql-instances"}
# Tags: of the user's groups, of the compartment of the resource that asks, of that of the target.
_OF_GROUPS, _OF_HOME, _OF_PLACE = "principal.group.tag.", "principal.compartment.tag.", "resource.compartment.tag."


class RequestVariables:
    """The where-variables of one request, looked up only when a statement asks. Absent ones are None."""

    __slots__ = ("_caller", "_directory", "_now", "_operation", "_permission", "_region", "_target")

    def __init__(
        self,
        caller: Caller,
        permission: str,
        target: Target,
        directory: Directory,
        now: datetime,
        region: str,
        operation: str,
    ) -> None:
        self._caller = caller
        self._permission = permission
        self._target = target
        self._directory = directory
        self._now = now
        self._region = region
        self._operation = operation

    def __call__(self, name: str) -> str | tuple[str, ...] | None:
        side, _, rest = name.partition(".")
        match side:
            case "request":
                return self._request(rest)
            case "target":
                return self._of_target(rest)
            case "associated":
                return self._associated(rest)
            case _:
                return None

    def _request(self, name: str) -> str | tuple[str, ...] | None:
        principal = self._caller.principal
        is_user = principal.type == "user"
        found: str | tuple[str, ...] | None = None
        match name:
            case "user.id":
                found = principal.id if is_user else None
            case "user.name":
                found = principal.name if is_user else None
            case "user.mfatotpverified" | "risk.level":
                found = self._sign_in(name) if is_user and self._caller.token_id else None
            case "token.bound":
                found = self._bound()
            case "groups.id":
                found = tuple(self._directory.groups_of(principal.id)) if is_user else None
            case "permission":
                found = self._permission
            case "operation":
                found = self._operation or None
            case "networksource.name":
                found = self._directory.network_sources_of(principal.tenancy, self._caller.source)
            case "region":
                found = self._region
            case "principal.type":
                found = principal.type
            case "principal.id":
                found = principal.id
            case "principal.compartment.id":
                found = principal.compartment
            case "resource.compartment.id":
                found = None if is_user else principal.compartment
            case "utc-timestamp":
                found = isoformat(self._now)
            case _ if name.startswith((_OF_GROUPS, _OF_HOME)):
                found = self._tags(name)
            case _:
                found = (self._caller.told or {}).get(name)
        return found

    def _tags(self, name: str) -> tuple[str, ...]:
        """What the groups that a user is in now, or the compartment of a resource, say in a tag; in others nothing."""
        principal, directory = self._caller.principal, self._directory
        bearers: Iterable[Group | Compartment | None] = ()
        if name.startswith(_OF_GROUPS):  # users alone are in groups
            bearers = map(directory.group, directory.groups_of(principal.id))
        elif principal.type != "user" and name.startswith(_OF_HOME):
            bearers = (directory.compartment(principal.tenancy, principal.compartment),)
        tag = name.removeprefix(_OF_GROUPS).removeprefix(_OF_HOME)
        values = (tag_values(bearer.tags).get(tag) for bearer in bearers if bearer is not None)
        return tuple(value for value in values if value is not None)

    def _bound(self) -> str | None:
        """How this request was proved; None: it was not, because one of the region's own services acts for somebody."""
        if self._caller.requester or not (self._caller.token_id or self._caller.key_bound):
            return None
        return "true" if self._caller.key_bound else "false"

    def _sign_in(self, name: str) -> str:
        if name == "risk.level":
            return level_of(self._caller.risk)
        return "false" if self._caller.factors.isdisjoint(SECOND_FACTORS) else "true"

    def _associated(self, name: str) -> str | tuple[str, ...] | None:
        """What a key is used for: what the target says, or the resource itself that uses it."""
        found, principal = self._target.associated, self._caller.principal
        if found is None:
            kind = _AS_RESOURCE.get(principal.type)
            place = self._directory.compartment(principal.tenancy, principal.compartment) if kind else None
            if kind is None or place is None:
                return None
            found = Associated(kind, principal.tenancy, place.path)
        return found.type if name == "type" else found.path

    def _place(self) -> Compartment | None:
        """The compartment that the target lies in."""
        path = self._target.path
        return self._directory.compartment(self._target.tenancy, path[-1]) if path else None

    def _of_target(self, name: str) -> str | tuple[str, ...] | None:
        match name:
            case "compartment.id":
                return self._target.path[-1] if self._target.path else None
            case "compartment.name":
                found = self._place()
                return found.name if found else None
            case _ if name.startswith(_OF_PLACE):
                found = self._place()
                return tag_values(found.tags).get(name.removeprefix(_OF_PLACE)) if found else None
            case "group.member":
                group = self._target.attributes.get("group.id")
                if group is None:
                    return None
                return "true" if group in self._directory.groups_of(self._caller.principal.id) else "false"
            case "policy.type":
                return tuple(self._target.attributes.get(name, "").split())
            case _:
                return self._target.attributes.get(name)
