"""Where machines have logins decided: once for each, and again for as long as sessions last.

Only the `host` service calls here, for systems of its own machine. Each decision is one entry of the audit log, of the
person where the token tells who that is. Nothing about a person is remembered from one login to the next: a token that
is revoked, or a group that was left, counts from the next login on.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol

from keystead.core.clock import Clock, isoformat
from keystead.core.errors import Refusal, not_found
from keystead.databases.desk import principal_of, target_of, unconfirmed
from keystead.databases.logins import possession
from keystead.databases.logins.model import (
    EndedLogin,
    Grounds,
    LoginAnswer,
    LoginMapping,
    LoginRequest,
    MappingReport,
    wins,
)
from keystead.databases.logins.standing import (
    LOGIN_PERMISSION,
    groups_of,
    login_service_refusal,
    why_ended,
)
from keystead.databases.model import DbSystem
from keystead.databases.ports import DatabaseStore
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, IssuedToken, Target
from keystead.iam.tokens import Proof
from keystead.vault.memory.snapshot import Snapshot

MAX_HELD = 20_000


class People(Protocol):
    """Who a token stands for."""

    def authenticate_for_databases(
        self, token: str, source: str, request_id: str, proof: Proof | None = None, *, bare: bool = False
    ) -> Caller:
        """`bare`: also of a bound token; whoever asks has the key proved. Raises: Refusal `NotAuthenticated`."""
        ...

    def issue_for_resource(self, machine: Caller, resource_id: str, public_key: str) -> IssuedToken:
        """A session token of a resource, bound to that key. Raises: Refusal."""
        ...


@dataclass(frozen=True, slots=True)
class _Place:
    """A system with its mappings, as of a generation."""

    generation: int
    system: DbSystem
    mappings: Sequence[LoginMapping]
    target: Target

    def mapping(self, mapping_id: object) -> LoginMapping | None:
        return next((each for each in self.mappings if each.id == mapping_id), None)


class LoginDesk:
    """Answers the `host` service."""

    def __init__(self, guard: Guard, snapshot: Snapshot, store: DatabaseStore, people: People, clock: Clock) -> None:
        self._guard = guard
        self._snapshot = snapshot
        self._store = store
        self._people = people
        self._clock = clock
        self._places: dict[str, _Place] = {}

    def decide_login(self, caller: Caller, system_id: str, asked: LoginRequest) -> LoginAnswer:
        """Whether somebody may come in, and as whom; recorded.

        Raises:
            Refusal: not.
        """
        place = self._place(caller, system_id, "DecideLogin")
        detail = {
            "server": place.system.node,
            "user": asked.user[:80],
            "address": asked.address[:80],
            "connection": str(asked.connection),
            "client": asked.client,
        }
        nobody = replace(caller, source=asked.address[:80])
        refuse = self._refuser(nobody, place, detail)
        try:
            token = possession.token_of(asked)
            person = self._people.authenticate_for_databases(token, asked.address[:80], caller.request_id, bare=True)
        except Refusal as refusal:
            refuse(refusal)
        person = replace(person, requester=caller.principal.id)
        refuse = self._refuser(person, place, detail)
        if person.principal.tenancy != place.system.tenancy:
            refuse(_refused("OtherTenancy", "the token is of another tenancy"))
        missing = login_service_refusal(self._guard, place.system.tenancy)
        if missing is not None:
            refuse(missing)
        broken = possession.why_not_theirs(asked, token)
        if broken:
            refuse(_refused("KeyNotProved", broken))
        mapping = self._mapping(person, asked, place)
        if isinstance(mapping, str):
            refuse(_refused("NotMapped", mapping))
        if not self._guard.may(person, LOGIN_PERMISSION, place.target):
            refuse(_refused("NotAuthorized", f"{person.principal.name} lacks {LOGIN_PERMISSION} on the system"))
        return self._let_in(person, place, mapping, detail)

    def check_logins(self, caller: Caller, system_id: str, held: Sequence[Grounds]) -> list[EndedLogin]:
        """Which of these have nothing to rest upon any more; recorded, each of them."""
        place = self._place(caller, system_id, "CheckLogins")
        directory, now = self._snapshot.directory, self._clock.now()
        ended = []
        for each in held[:MAX_HELD]:
            reason = "the token expired" if now >= each.expires_at else ""
            reason = reason or why_ended(directory, self._guard, each, place.mapping(each.mapping), place.target)
            if reason:
                ended.append(EndedLogin(each.key, reason))
                detail = {"user": each.subject, "token": each.token_id, "mapping": each.mapping}
                self._guard.record(
                    caller, LOGIN_PERMISSION, place.target, "EndDatabaseSessions", "succeeded", reason, detail,
                    reserve=True,
                )  # fmt: skip
        return ended

    def report_mappings(self, caller: Caller, system_id: str, reports: Sequence[MappingReport]) -> None:
        """What became of the accounts of mappings."""
        place = self._place(caller, system_id, "ReportMappings")
        changed = []
        for report in reports:
            mapping = place.mapping(report.mapping)
            state = "FAILED" if report.error else "ACTIVE"
            if mapping is not None and (mapping.state, mapping.reason_text) != (state, report.error):
                changed.append((mapping, report.error))
        if not changed:
            return
        detail = {"accounts": str(len(changed)), "failed": str(sum(bool(error) for _, error in changed))}
        entry = self._guard.permit_change(caller, "HOST_REPORT", place.target, "ReportMappings", detail)
        with self._store.write(entry) as tx:
            for mapping, error in changed:
                tx.logins.set_state(mapping, "FAILED" if error else "ACTIVE", error[:400])

    def issue_session(self, caller: Caller, system_id: str, public_key: str) -> IssuedToken:
        """A session token for a system itself, bound to a key that its machine has made; recorded as the system's act.

        Raises:
            Refusal: the system has no identity, is being deleted, or its region's state was restored and nobody has
                said yet that the state is the right one.
        """
        place = self._place(caller, system_id, "IssueSystemSession")
        system = place.system
        as_system = replace(caller, principal=principal_of(system), requester=caller.principal.id)
        refuse = self._refuser_of(as_system, place)
        if not system.confirmed:
            refuse(unconfirmed(system))
        if system.state in ("DELETING", "DELETED"):
            refuse(Refusal("IllegalState", "the system is being deleted", hint="", kind="conflict"))
        try:
            issued = self._people.issue_for_resource(caller, system.id, public_key)
        except Refusal as refusal:
            refuse(refusal)
        detail = {"token_id": issued.token_id, "until": isoformat(issued.expires_at or self._clock.now())}
        self._guard.record(as_system, "", place.target, "IssueSystemSession", "allowed", detail=detail)
        return issued

    def _refuser_of(self, as_system: Caller, place: "_Place") -> Callable[[Refusal], NoReturn]:
        def refuse(refusal: Refusal) -> NoReturn:
            self._guard.refuse(as_system, "", place.target, "IssueSystemSession", refusal)

        return refuse

    def knows(self, system_id: str) -> bool:
        """Whether a decision about the system needs no look at the state's file."""
        place = self._places.get(system_id)
        return place is not None and place.generation == self._snapshot.refresh()

    def _place(self, caller: Caller, system_id: str, operation: str) -> _Place:
        """A system of the calling machine; others look absent."""
        generation = self._snapshot.refresh()
        place = self._places.get(system_id)
        if place is None or place.generation != generation:
            with self._store.read() as tx:
                found = next(
                    (each for each in tx.databases.on_machine(caller.principal.id) if each.id == system_id), None
                )
                mappings = tx.logins.mappings(found.tenancy, found.id) if found is not None else ()
            if found is None:
                self._places.pop(system_id, None)
                nowhere = Target("machines", caller.principal.id, "machine", caller.principal.tenancy, ())
                self._guard.require(caller, "HOST_WATCH", nowhere, operation)
                raise not_found("database system")
            place = _Place(generation, found, mappings, target_of(found, self._snapshot))
            self._places[system_id] = place
        self._guard.require(caller, "HOST_WATCH", place.target, operation)
        if str(place.system.machine) != caller.principal.id:
            raise not_found("database system")
        return place

    def _mapping(self, person: Caller, asked: LoginRequest, place: _Place) -> LoginMapping | str:
        """The mapping by which the person comes in, or why there is none. The account's text and the row must agree."""
        text = _account_text(asked.account_text)
        if text.get("tenancy") != place.system.tenancy:
            return "the account is of another system"
        if "user" in text:
            mapping = place.mapping(text.get("mapping"))
            if mapping is None or mapping.kind != "user" or mapping.account != asked.user:
                return "the account's mapping is not there any more"
            if text.get("user") != mapping.subject or mapping.subject != person.principal.id:
                return "the account is another person's"
            return mapping if mapping.client == asked.client else "the account is for other clients"
        if text.get("group") != "*":
            return "the account takes no logins"
        if asked.user != person.principal.name:
            return "the name given is not that of the token's owner"
        mapping = wins(place.mappings, groups_of(self._snapshot.directory, person.principal.id))
        if mapping is None:
            return "no group of the person's is mapped on this system"
        return mapping if mapping.client == asked.client else "the account is for other clients"

    def _let_in(self, person: Caller, place: _Place, mapping: LoginMapping, detail: dict[str, str]) -> LoginAnswer:
        issued, expires = person.issued_at, person.expires_at
        if issued is None or expires is None:
            raise _refused("NotAuthenticated", "the token does not say how long it is good for")
        group = mapping.subject if mapping.kind == "group" else ""
        told = {"account": mapping.account, "mapping": mapping.id, "token": person.token_id}
        if group:
            told |= {"group": group, "group_name": mapping.subject_name}
        self._guard.record(person, LOGIN_PERMISSION, place.target, "LogInToDatabase", "allowed", detail=detail | told)
        grounds = Grounds(person.principal.id, person.token_id, mapping.id, group, issued, expires, person.session)
        return LoginAnswer(mapping.account, grounds)

    def _refuser(self, who: Caller, place: _Place, detail: dict[str, str]) -> "Callable[[Refusal], NoReturn]":
        """Records a refusal as `who`, and raises it."""

        def refuse(refusal: Refusal) -> NoReturn:
            self._guard.refuse(who, LOGIN_PERMISSION, place.target, "LogInToDatabase", refusal, detail)

        return refuse


def _refused(code: str, message: str) -> Refusal:
    return Refusal(code, message, kind="denied")


def _account_text(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
