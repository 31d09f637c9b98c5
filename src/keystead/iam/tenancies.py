"""Tenancies: organisations side by side in one region, strangers to each other.

A new one comes with its root compartment, a group of administrators that may do everything in it, a policy that says
so, and the first administrator. Only the region's first tenancy, whose operators made the region, can make others, if
its policies let somebody.
"""

from dataclasses import dataclass, field
from datetime import datetime

from keystead.core.errors import Refusal, not_found, taken
from keystead.core.ids import CompartmentId, GroupId, PolicyId, TenancyId, UserId, new_id, parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.core.secret import Secret
from keystead.iam.base import Base
from keystead.iam.model import Caller, Compartment, Group, Policy, Target, Tenancy, User
from keystead.iam.names import check_name
from keystead.iam.passwords import fresh_password
from keystead.iam.ports import IamTx, Membership

ADMINISTRATORS = "Administrators"
STATEMENT = f"Allow group {ADMINISTRATORS} to manage all-resources in tenancy"


@dataclass(frozen=True, slots=True)
class Founded:
    """A new tenancy, its first administrator, and that one's password: shown once, kept only as a hash."""

    tenancy: Tenancy
    admin: User
    password: Secret = field(repr=False)


@dataclass(frozen=True, slots=True)
class Founding:
    """The rows of a new tenancy."""

    tenancy: Tenancy
    root: Compartment
    admin: User
    group: Group
    policy: Policy

    def store(self, tx: IamTx, password_hash: str) -> None:
        """Add them, in a transaction with their audit entry."""
        tx.iam.add_tenancy(self.tenancy)
        tx.iam.add_compartment(self.root)
        tx.iam.add_user(self.admin, password_hash)
        tx.iam.add_group(self.group)
        tx.iam.set_membership(Membership(self.tenancy.id, self.group.id, self.admin.id, deleted=False))
        tx.iam.add_policy(self.policy)


def founding(name: str, admin: str, region: str, now: datetime) -> Founding:
    """What a new tenancy consists of. Raises: Refusal: a name that none can have."""
    check_name(name, "tenancy")
    check_name(admin, "user")
    group_id = GroupId(new_id("group", region))
    tenancy = Tenancy(TenancyId(new_id("tenancy", region)), name, now, group_id)
    place = CompartmentId(tenancy.id)
    return Founding(
        tenancy,
        Compartment(place, tenancy.id, name, None, (place,), "root compartment", now),
        User(UserId(new_id("user", region)), tenancy.id, admin, "ACTIVE", "first administrator", now),
        Group(group_id, tenancy.id, ADMINISTRATORS, "may do everything", now),
        Policy(PolicyId(new_id("policy", region)), tenancy.id, place, "administrators", (STATEMENT,), "", now),
    )


class TenancyActs(Base):
    """Creates and shows tenancies."""

    def create_tenancy(self, caller: Caller, name: str, admin: str = "admin") -> Founded:
        """Another organisation, with its first administrator.

        Raises:
            Refusal: not permitted; not from the region's first tenancy; name taken.
        """
        self._guard.refresh()
        made = founding(name, admin, self._region, self._directory.after_all_tenancies(self._clock.now()))
        home = caller.principal.tenancy
        target = Target("tenancies", made.tenancy.id, name, home, (CompartmentId(home),))
        entry = self._guard.permit_change(
            caller, "TENANCY_CREATE", target, "CreateTenancy", {"tenancy_id": made.tenancy.id, "admin": admin}
        )
        if home != self._directory.first_tenancy():
            refusal = Refusal(
                "NotFirstTenancy",
                "only the region's first tenancy makes others",
                hint="ask whoever runs the region",
                kind="denied",
            )
            self._guard.refuse(caller, "TENANCY_CREATE", target, "CreateTenancy", refusal)
        password = fresh_password()
        encoded = self._hasher.hash(password)
        with self._store.write(entry) as tx:
            if tx.iam.tenancies(PageRequest(1), name):
                raise taken("tenancy", name)
            made.store(tx, encoded)
        return Founded(made.tenancy, made.admin, password)

    def get_tenancy(self, caller: Caller, tenancy_id: str) -> Tenancy:
        """The caller's own, or from the region's first tenancy any."""
        parse_id(tenancy_id, "tenancy")
        self._guard.refresh()
        home = caller.principal.tenancy
        found = self._directory.tenancy(tenancy_id)
        if found is None or (found.id != home and home != self._directory.first_tenancy()):
            raise not_found("tenancy")
        target = Target("tenancies", found.id, found.name, home, (CompartmentId(home),))
        self._guard.permit(caller, "TENANCY_INSPECT", target, "GetTenancy")
        return found

    def list_tenancies(self, caller: Caller, page: PageRequest, name: str | None = None) -> Page[Tenancy]:
        """From the region's first tenancy all, from others their own."""
        home = caller.principal.tenancy
        self._guard.permit(caller, "TENANCY_INSPECT", self._in_root(caller, "tenancies"), "ListTenancies")
        if home != self._directory.first_tenancy():
            own = self._directory.tenancy(home)
            return Page((own,) if own is not None and name in (None, own.name) else (), None)
        with self._store.read() as tx:
            return cut(tx.iam.tenancies(page, name), page.limit, lambda item: item.name)
