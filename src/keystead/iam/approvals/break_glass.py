"""Break glass: put somebody into a group for a while, in an emergency, with a reason that everybody can read later.

Promises: it ends at its moment, whatever runs or is down then (the directory looks at the clock at each use); its
beginning and its end are alerts in the audit trail, each exactly once, in the transaction that makes them true; a
reason is always given; no longer than the group allows; nobody does it for themselves unless a statement says so
(`GROUP_BREAK_GLASS_SELF`). It can be ended early by who may begin it, and given back by who has it.

    keystead group add-member Emergency ada --for 30m --reason "flights is down"
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from keystead.audit.model import Entry
from keystead.core.clock import Clock, isoformat, isoformat_exact
from keystead.core.errors import Refusal, required, stale
from keystead.core.ids import BreakGlassId, CompartmentId, UserId, new_id, parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.iam.approvals.model import BreakGlass, How
from keystead.iam.base import Base
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Group, Target, User
from keystead.iam.names import MAX_DESCRIPTION
from keystead.iam.ports import IamStore, IamTx, Membership

LONGEST_MINUTES = 7 * 24 * 60
BEGAN, ENDED = "BreakGlassBegan", "BreakGlassEnded"


class BreakGlassActs(Base):
    """What is done with break glass."""

    def begin_break_glass(self, caller: Caller, group_id: str, user_id: str, seconds: int, reason: str) -> BreakGlass:
        """Put a user into a group for `seconds`. Raises: Refusal; `AlreadyMember`, they are in it already."""
        group, user = self._group(caller, group_id), self._user(caller, user_id)
        target = self._at_group(group)
        told = {"user": user.name, "user_id": user.id, "reason": reason[:MAX_DESCRIPTION], "seconds": str(seconds)}
        self._guard.require(caller, "GROUP_BREAK_GLASS", target, "BeginBreakGlass")
        if str(user.id) == caller.principal.id:
            self._guard.require(caller, "GROUP_BREAK_GLASS_SELF", target, "BeginBreakGlass")
        try:
            _check(group, user, seconds, reason)
        except Refusal as refusal:
            self._guard.refuse(caller, "GROUP_BREAK_GLASS", target, "BeginBreakGlass", refusal)
        now = self._clock.now()
        begun = BreakGlass(
            BreakGlassId(new_id("breakglass", self._region)), group.tenancy, group.id, group.name, user.id, user.name,
            reason, UserId(caller.principal.id), caller.principal.name, now, now + timedelta(seconds=seconds),
        )  # fmt: skip
        entry = self._guard.permit_change(caller, "GROUP_BREAK_GLASS", target, "BeginBreakGlass", told)
        with self._store.write(entry, _alert(self._guard, caller, begun, BEGAN, {})) as tx:
            if tx.iam.is_member(group.tenancy, group.id, user.id, now):
                raise Refusal(
                    "AlreadyMember",
                    f"{user.name!r} is in group {group.name!r} already",
                    hint="keystead group members shows until when; what runs can be ended and begun again",
                    kind="conflict",
                )
            tx.approvals.add_break_glass(begun)
            tx.iam.set_membership(Membership(group.tenancy, group.id, user.id, False, begun.expires_at))
        return begun

    def end_break_glass(self, caller: Caller, break_glass_id: str) -> BreakGlass:
        """End it now. Whoever has it may always give it back."""
        parse_id(break_glass_id, "breakglass")
        with self._store.read() as tx:
            found = required(tx.approvals.break_glass(caller.principal.tenancy, break_glass_id), "break glass")
        group = self._group(caller, found.group_id)
        if str(found.user_id) == caller.principal.id:
            entry = self._guard.entry(caller, "GROUP_BREAK_GLASS", self._at_group(group), "EndBreakGlass", "allowed")
        else:
            entry = self._guard.permit_change(
                caller, "GROUP_BREAK_GLASS", self._at_group(group), "EndBreakGlass", {"user": found.user_name}
            )
        return self._end(caller, found, "early", entry)

    def list_break_glass(self, caller: Caller, page: PageRequest, group_id: str | None = None) -> Page[BreakGlass]:
        """Newest first, of one group or of all; what has ended too."""
        target = self._in_root(caller, "groups") if group_id is None else self._at_group(self._group(caller, group_id))
        self._guard.permit(caller, "GROUP_INSPECT", target, "ListBreakGlass")
        with self._store.read() as tx:
            found = tx.approvals.break_glasses(caller.principal.tenancy, group_id, page)
        return cut(found, page.limit, lambda item: f"{isoformat_exact(item.began_at)} {item.id}")

    def _end(self, caller: Caller, found: BreakGlass, how: How, entry: Entry) -> BreakGlass:
        now = self._clock.now()
        alert = ended_alert(self._guard, caller, found, how)
        with self._store.write(entry, alert, reserve=True) as tx:
            if not found.running(now) or not end_in(tx, found, now, caller.principal.id, how):
                raise Refusal(
                    "IllegalState", "this break glass has ended already", hint="keystead group break-glass list",
                    kind="conflict",
                )  # fmt: skip
        return replace(found, ended_at=now, ended_by=caller.principal.id, how=how)


class BreakGlassUpkeep:
    """Writes down that break glass has ended, with its alert. Nothing waits for it: the end itself needs none."""

    def __init__(self, guard: Guard, store: IamStore, clock: Clock) -> None:
        self._guard = guard
        self._store = store
        self._clock = clock

    def run(self, caller: Caller) -> int:
        """Do what is due; returns how much. `caller` is the service `upkeep`. Raises: Unavailable."""
        with self._store.read() as tx:
            due = tx.approvals.due_break_glasses(self._clock.now())
        return sum(self._end(caller, found) for found in due)

    def _end(self, caller: Caller, found: BreakGlass) -> int:
        self._guard.require(caller, "GROUP_UPKEEP", _at(found), ENDED)
        try:
            with self._store.write(ended_alert(self._guard, caller, found, "time"), reserve=True) as tx:
                if not end_in(tx, found, found.expires_at, caller.principal.id, "time"):
                    raise stale()
        except Refusal:  # somebody was faster: the alert is written, and not twice
            return 0
        return 1


def end_in(tx: IamTx, found: BreakGlass, at: datetime, by: str, how: How) -> bool:
    """End it in this transaction; the membership goes, unless another has taken its place since."""
    if not tx.approvals.end_break_glass(found, at, by, how):
        return False
    if how != "replaced":
        tx.iam.end_membership(found.tenancy, found.group_id, found.user_id, found.expires_at)
    return True


def ended_alert(guard: Guard, caller: Caller, found: BreakGlass, how: How) -> Entry:
    """What the trail says about the end."""
    return _alert(guard, caller, found, ENDED, {"how": how})


def _alert(guard: Guard, caller: Caller, found: BreakGlass, operation: str, more: Mapping[str, str]) -> Entry:
    detail = {
        "kind": "alert", "break_glass": found.id, "user": found.user_name, "user_id": found.user_id,
        "granted_by": found.granted_by_name, "granted_by_id": found.granted_by, "until": isoformat(found.expires_at),
        **more,
    }  # fmt: skip
    permission = "GROUP_UPKEEP" if caller.principal.type == "service" else "GROUP_BREAK_GLASS"
    entry = guard.entry(caller, permission, _at(found), operation, "succeeded", reason=found.reason, detail=detail)
    return entry._replace(tenancy=found.tenancy)


def _at(found: BreakGlass) -> Target:
    attributes = {"group.id": found.group_id, "group.name": found.group_name}
    place = (CompartmentId(found.tenancy),)
    return Target("groups", found.group_id, found.group_name, found.tenancy, place, attributes)


def _check(group: Group, user: User, seconds: int, reason: str) -> None:
    if not reason.strip() or len(reason) > MAX_DESCRIPTION or not reason.isprintable():
        raise Refusal("InvalidParameter", f"break glass takes a reason of 1 to {MAX_DESCRIPTION} printable characters")
    longest = group.break_glass_minutes
    if not 1 <= seconds <= longest * 60:
        raise Refusal(
            "InvalidParameter",
            f"break glass into group {group.name!r} lasts 1 second to {longest} minutes"
            if longest
            else f"nobody breaks glass into group {group.name!r}",
            hint=f"whoever may change the group can allow more: keystead group update {group.name}",
        )
    if user.state != "ACTIVE":
        raise Refusal("IllegalState", f"user {user.name!r} is {user.state}", kind="conflict")
