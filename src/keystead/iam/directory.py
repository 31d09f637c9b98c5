"""The directory: who there is and which policies hold, in memory, as of a generation.

Kept current by `apply`, which takes only what changed. Reading is plain dictionary look-ups, so the hot path pays no
query. Policies of a tenancy are compiled anew on first use after one of its policies, groups or compartments changed.
Names are compared without regard to case, as the policy language does.

A membership that ends is looked at with the clock each time, so that it ends at its moment and not when somebody tidies
up. A directory without a clock does not count such memberships.

Threads read while one applies. Only compiling sees several things at once, so it waits for `apply` and `apply` for it:
what was compiled from before a change never stays behind it.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from threading import Lock

from keystead.core.clock import LATEST, Clock
from keystead.core.ids import CompartmentId, PrincipalId, TenancyId
from keystead.crypto.proofkey import PublicJwk
from keystead.iam.approvals.model import Rule
from keystead.iam.model import Compartment, DynamicGroup, Group, Policy, Principal, Tenancy, User
from keystead.iam.networks import Networks
from keystead.iam.policy.compile import PolicySet, PolicySource, compile_policies
from keystead.iam.policy.matching import matches
from keystead.iam.ports import IdentityChanges, Machine, Membership, Revocation
from keystead.iam.sessions.model import ApiKey

_INSTANT = timedelta(microseconds=1)  # as exact as moments are kept


class Directory:
    """Everything the Guard needs to know about principals. Not for listing: that reads rows."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._tenancies: dict[str, Tenancy] = {}
        self._tenancy_names: dict[str, str] = {}
        self._compartments: dict[str, Compartment] = {}
        self._users: dict[str, User] = {}
        self._groups: dict[str, Group] = {}
        self._dynamic_groups: dict[str, dict[str, DynamicGroup]] = {}
        # By principal: which dynamic groups hold it, found when first asked. Replaced as a whole by what changes it.
        self._dynamic_groups_of: dict[str, frozenset[str]] = {}
        self._networks: dict[str, Networks] = {}
        self._groups_of: dict[str, frozenset[str]] = {}
        # Only those that end, by user and group: hardly anybody has one.
        self._ending: dict[str, dict[str, datetime]] = {}
        self._policies: dict[str, dict[str, Policy]] = {}
        self._compiled: dict[str, PolicySet] = {}
        self._principals: dict[str, Principal] = {}
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._machines: dict[str, Machine] = {}
        self._revoked: dict[str, datetime] = {}
        self._api_keys: dict[tuple[str, str], tuple[ApiKey, PublicJwk]] = {}
        self._factor_groups: frozenset[str] = frozenset()
        self._lock = Lock()

    def apply(self, changes: IdentityChanges) -> None:
        """Take over what changed."""
        with self._lock:
            self._apply(changes)

    def _apply(self, changes: IdentityChanges) -> None:
        for tenancy in changes.tenancies:
            self._tenancies[tenancy.id] = tenancy
            self._tenancy_names[tenancy.name.casefold()] = tenancy.id
        for compartment in changes.compartments:
            self._compartments[compartment.id] = compartment
            self._compiled.pop(compartment.tenancy, None)
        for user in changes.users:
            self._put_user(user)
        for group, deleted in changes.groups:
            self._put_group(group, deleted)
        for membership in changes.memberships:
            self._put_membership(membership)
        for policy, deleted in changes.policies:
            self._put_policy(policy, deleted)
        for found, deleted in changes.dynamic_groups:
            self._put_dynamic_group(found, deleted)
        for source, deleted in changes.network_sources:
            self._networks[source.tenancy] = self._networks.get(source.tenancy, Networks()).having(source, deleted)
        for rule, deleted in changes.approval_rules:
            self._put_rule(rule, deleted)
        self._put_identities(changes)
        if changes.dynamic_groups or changes.identities:
            self._dynamic_groups_of = {}

    def tenancy_named(self, name: str) -> Tenancy | None:
        found = self._tenancy_names.get(name.casefold())
        return self._tenancies[found] if found else None

    def tenancy(self, tenancy: str) -> Tenancy | None:
        return self._tenancies.get(tenancy)

    def first_tenancy(self) -> str:
        """Id of the one that was made with the region; empty when there is none."""
        found = sorted((each.created_at, each.id) for each in tuple(self._tenancies.values()))
        return found[0][1] if found else ""

    def after_all_tenancies(self, now: datetime) -> datetime:
        """`now`, or just after the youngest: whatever the clock says, the first tenancy stays the first."""
        return max([now, *(each.created_at + _INSTANT for each in tuple(self._tenancies.values()))])

    def compartment(self, tenancy: str, compartment: str) -> Compartment | None:
        """The compartment, if it is the tenancy's own."""
        found = self._compartments.get(compartment)
        return found if found is not None and found.tenancy == tenancy else None

    def compartments_of(self, tenancy: str) -> Iterable[Compartment]:
        return [found for found in self._compartments.values() if found.tenancy == tenancy]

    def user(self, user: str) -> User | None:
        return self._users.get(user)

    def users_in(self, tenancy: str) -> Iterable[User]:
        """The users of a tenancy who are not deleted."""
        return [user for user in tuple(self._users.values()) if user.tenancy == tenancy and user.state != "DELETED"]

    def group(self, group: str) -> Group | None:
        return self._groups.get(group)

    def groups_of(self, principal: str) -> frozenset[str]:
        """Ids of the groups a user is in now; deleted groups do not count."""
        held = self._groups_of.get(principal, frozenset())
        if principal in self._ending:
            held |= self._not_over(principal)
        return frozenset(group for group in held if group in self._groups)

    def factor_required(self, principal: str) -> bool:
        """Whether a group that a user is in now lets nobody in without a second factor."""
        return bool(self._factor_groups) and not self._factor_groups.isdisjoint(self.groups_of(principal))

    def membership_until(self, principal: str, group: str) -> datetime | None:
        """Until when a user is in a group: None, not a member now; `LATEST`, without an end.

        What goes on after it was begun (a session of a database) asks again while it lasts: a deadline brings no change
        of the region's generation with it.
        """
        if group not in self._groups:
            return None
        if group in self._groups_of.get(principal, frozenset()):
            return LATEST
        return self._ending.get(principal, {}).get(group) if group in self._not_over(principal) else None

    def has_deadlines(self, principal: str) -> bool:
        """Whether what a user may do depends on the time, because a membership of theirs ends."""
        return principal in self._ending

    def _not_over(self, principal: str) -> frozenset[str]:
        """The groups a user is in until a moment that is still to come."""
        ending = self._ending.get(principal)
        if not ending or self._clock is None:
            return frozenset()
        now = self._clock.now()
        return frozenset(group for group, until in ending.items() if now < until)

    def dynamic_groups_of(self, principal: str) -> frozenset[str]:
        """Ids of the dynamic groups whose rule matches a resource's identity; users and services are in none."""
        known = self._dynamic_groups_of  # the one of this moment: what is found goes where it was looked for
        found = known.get(principal)
        if found is None:
            who = self._principals.get(principal)
            found = frozenset() if who is None or who.type == "user" else self.dynamic_groups_for(who)
            known[principal] = found
        return found

    def dynamic_groups_for(self, principal: Principal) -> frozenset[str]:
        """The same for an identity that may not be known yet, because what has it is being created."""
        groups = self._dynamic_groups.get(principal.tenancy, {})
        return frozenset(group.id for group in groups.values() if matches(group.matching_rule, principal))

    def dynamic_group(self, tenancy: str, group: str) -> DynamicGroup | None:
        return self._dynamic_groups.get(tenancy, {}).get(group)

    def dynamic_groups_in(self, tenancy: str) -> Iterable[DynamicGroup]:
        return list(self._dynamic_groups.get(tenancy, {}).values())

    def network_sources_of(self, tenancy: str, address: str) -> tuple[str, ...]:
        """Names of the tenancy's network sources that an address lies in."""
        found = self._networks.get(tenancy)
        return found.names_of(address) if found is not None else ()

    def administrators(self, tenancy: str) -> str:
        """The group that no deny statement of the tenancy is meant for; empty when there is none."""
        found = self._tenancies.get(tenancy)
        return found.administrators if found is not None else ""

    def machine(self, machine: str) -> Machine | None:
        return self._machines.get(machine)

    def machine_key(self, machine: str) -> bytes | None:
        """The public key of a machine that may still sign."""
        found = self._machines.get(machine)
        return found.public_key if found is not None else None

    def api_key(self, user: str, fingerprint: str) -> tuple[ApiKey, PublicJwk] | None:
        """The key of that fingerprint that a user's requests may be signed with."""
        return self._api_keys.get((user, fingerprint))

    def principal(self, principal: str) -> Principal | None:
        """An active user, or the living identity of a resource."""
        return self._principals.get(principal)

    def voided(self, subject: str, issued_at: datetime) -> bool:
        """Whether what was issued to, or as, `subject` at that time has been revoked."""
        before = self._revoked.get(subject)
        return before is not None and issued_at <= before

    def bearers(self) -> list[Principal]:
        """Everybody to whom tokens are issued, of all tenancies: users, and resources that have an identity."""
        return [found for found in list(self._principals.values()) if found.type != "service"]

    def void_until(self, subject: str) -> datetime | None:
        """Tokens issued to this subject up to then hold no more."""
        return self._revoked.get(subject)

    def policies(self, tenancy: str) -> PolicySet:
        """The tenancy's policies, compiled."""
        found = self._compiled.get(tenancy)
        return found if found is not None else self._compile(tenancy)

    def sources(self, tenancy: str) -> list[PolicySource]:
        """The tenancy's policies as they are compiled."""
        held = tuple(self._policies.get(tenancy, {}).values())
        return [PolicySource(policy.id, policy.compartment, policy.statements) for policy in held]

    def principals_in(self, tenancy: str) -> Iterable[Principal]:
        """Every active user and living identity of a resource."""
        return [found for found in tuple(self._principals.values()) if found.tenancy == tenancy]

    def _compile(self, tenancy: str) -> PolicySet:
        with self._lock:
            found = self._compiled.get(tenancy)
            if found is None:
                found = compile_policies(self.sources(tenancy), TenancyNames(self, tenancy))
                self._compiled[tenancy] = found
            return found

    def groups_in(self, tenancy: str) -> Iterable[Group]:
        return [found for found in self._groups.values() if found.tenancy == tenancy]

    def rules_in(self, tenancy: str) -> Collection[Rule]:
        """The rules of approval of a tenancy."""
        return self._rules.get(tenancy, ())

    def _put_rule(self, rule: Rule, deleted: bool) -> None:
        others = [each for each in self._rules.get(rule.tenancy, ()) if each.id != rule.id]
        self._rules[rule.tenancy] = tuple(others if deleted else [*others, rule])

    def _put_user(self, user: User) -> None:
        self._users[user.id] = user
        if user.state == "ACTIVE":
            root = self._compartments[user.tenancy].id
            self._principals[user.id] = Principal(user.id, "user", user.name, user.tenancy, root)  # type: ignore[arg-type]  # same id
        else:
            self._principals.pop(user.id, None)

    def _put_group(self, group: Group, deleted: bool) -> None:
        one = frozenset({group.id})
        required = group.require_factor and not deleted
        self._factor_groups = self._factor_groups | one if required else self._factor_groups - one
        if deleted:
            self._groups.pop(group.id, None)
        else:
            self._groups[group.id] = group
        self._compiled.pop(group.tenancy, None)

    def _put_dynamic_group(self, group: DynamicGroup, deleted: bool) -> None:
        had = self._dynamic_groups.get(group.tenancy, {})
        kept = {each: found for each, found in had.items() if each != group.id}
        # Another dictionary each time: threads read the one that was there.
        self._dynamic_groups[group.tenancy] = kept if deleted else kept | {group.id: group}
        self._compiled.pop(group.tenancy, None)

    def _put_membership(self, membership: Membership) -> None:
        user, group, until = membership.user_id, membership.group_id, membership.expires_at
        had = self._groups_of.get(user, frozenset())
        ending = {each: moment for each, moment in self._ending.get(user, {}).items() if each != group}
        if not membership.deleted and until is not None:
            ending[group] = until
        for_good = not membership.deleted and until is None
        # Another dictionary each time: threads read the one that was there.
        self._groups_of[user] = had | {group} if for_good else had - {group}
        if ending:
            self._ending[user] = ending
        else:
            self._ending.pop(user, None)

    def _put_policy(self, policy: Policy, deleted: bool) -> None:
        held = self._policies.setdefault(policy.tenancy, {})
        if deleted:
            held.pop(policy.id, None)
        else:
            held[policy.id] = policy
        self._compiled.pop(policy.tenancy, None)

    def _put_identities(self, changes: IdentityChanges) -> None:
        for identity in changes.identities:
            if identity.deleted:
                self._principals.pop(identity.id, None)
            else:
                self._principals[identity.id] = Principal(
                    PrincipalId(identity.id),
                    identity.type,
                    identity.name,
                    TenancyId(identity.tenancy),
                    CompartmentId(identity.compartment),
                    identity.tags,
                )
        for machine in changes.machines:
            if machine.deleted:
                self._machines.pop(machine.id, None)
            else:
                self._machines[machine.id] = machine
        for revocation in changes.revocations:
            self._put_revocation(revocation)
        for key, deleted in changes.api_keys:
            self._put_api_key(key, deleted)

    def _put_api_key(self, key: ApiKey, deleted: bool) -> None:
        name = (key.user, key.fingerprint)
        held = self._api_keys.get(name)
        if not deleted:
            self._api_keys[name] = (key, PublicJwk.from_pem(key.public_key))
        elif held is not None and held[0].id == key.id:
            del self._api_keys[name]

    def _put_revocation(self, revocation: Revocation) -> None:
        had = self._revoked.get(revocation.subject)
        self._revoked[revocation.subject] = max(had, revocation.before) if had else revocation.before


class TenancyNames:
    """Names as policies of one tenancy mean them."""

    def __init__(self, directory: Directory, tenancy: str) -> None:
        self.tenancy = tenancy
        self._groups = {group.name.casefold(): group.id for group in directory.groups_in(tenancy)}
        self._dynamic_groups = {group.name.casefold(): group.id for group in directory.dynamic_groups_in(tenancy)}
        self._children: dict[tuple[str, str], str] = {}
        self._own: dict[str, str] = {}
        for compartment in directory.compartments_of(tenancy):
            self._own[compartment.id] = compartment.name.casefold()
            if compartment.parent is not None:
                self._children[compartment.parent, compartment.name.casefold()] = compartment.id

    def group(self, name: str) -> str | None:
        """The id of the group of that name."""
        return self._groups.get(name.casefold())

    def dynamic_group(self, name: str) -> str | None:
        """The id of the dynamic group of that name."""
        return self._dynamic_groups.get(name.casefold())

    def compartment(self, base: str, names: tuple[str, ...]) -> str | None:
        """The compartment reached from `base` by a path of names below it, or one that begins with its own name.

        A child goes before: where Prod holds another Prod, a policy attached to the outer one means the inner one.
        """
        below = self._below(base, names)
        if below is None and names and names[0].casefold() == self._own.get(base):
            return self._below(base, names[1:])
        return below

    def _below(self, base: str, names: tuple[str, ...]) -> str | None:
        here: str | None = base
        for name in names:
            here = self._children.get((here, name.casefold())) if here is not None else None
        return here
