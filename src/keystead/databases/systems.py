"""What is done with a database system that is there: run it, re-key it, look at it, delete it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from keystead.core.errors import Refusal, check_version, stale
from keystead.core.ids import KeyId
from keystead.core.page import Page, PageRequest, cut
from keystead.databases.base import identity_of, naming, now, require_unoccupied, saved
from keystead.databases.creation import Creation
from keystead.databases.desk import principal_of
from keystead.databases.hierarchy import StoreKey
from keystead.databases.model import Act, DbSystem, FenceReceipt, WrappedKey, check_legal
from keystead.iam.model import Caller
from keystead.iam.ports import Revocation
from keystead.iam.tags import check_tags, permit_tagging
from keystead.jobs.model import Job

MAX_SAMPLES, MIN_SAMPLE, MAX_SAMPLE = 64, 8, 256


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where clients connect, and the CA they must verify the server against (PEM)."""

    host: str
    port: int
    ca_pem: str


class SystemActs(Creation):
    """Acts on systems."""

    def get_system(self, caller: Caller, system_id: str) -> DbSystem:
        system = self._system(caller, system_id)
        self._guard.permit(caller, "MYSQL_INSTANCE_READ", self._at(system), "GetDbSystem")
        return system

    def list_systems(
        self, caller: Caller, compartment: str, page: PageRequest, name: str | None = None
    ) -> Page[DbSystem]:
        place = self._place(caller, compartment)
        self._guard.permit(caller, "MYSQL_INSTANCE_INSPECT", self._in(place, "mysql-instances"), "ListDbSystems")
        with self._store.read() as tx:
            return cut(tx.databases.systems(place.tenancy, place.id, page, name), page.limit, lambda item: item.name)

    def update_system(
        self,
        caller: Caller,
        system_id: str,
        *,
        deletion_protection: bool | None = None,
        follow_key: bool | None = None,
        if_match: int | None = None,
    ) -> DbSystem:
        """Switch the protection against deletion, or following the newest version of the key; None leaves it."""
        system = self._system(caller, system_id)
        given = {"deletion_protection": deletion_protection, "follow_key": follow_key}
        detail = {name: str(value) for name, value in given.items() if value is not None}
        entry = self._guard.permit_change(caller, "MYSQL_INSTANCE_UPDATE", self._at(system), "UpdateDbSystem", detail)
        with self._store.write(entry) as tx:
            current = now(tx, system, if_match)
            changed = replace(
                current,
                deletion_protection=current.deletion_protection if deletion_protection is None else deletion_protection,
                follow_key=current.follow_key if follow_key is None else follow_key,
            )
            return saved(tx, current, changed)

    def tag_system(
        self, caller: Caller, system_id: str, tags: Mapping[str, str], if_match: int | None = None
    ) -> DbSystem:
        """All its tags, in place of those it had: policies read them of a system, and rules of who asks as one.

        Raises: Refusal (not permitted, not such tags, changed meanwhile).
        """
        self._snapshot.refresh()
        system, directory = self._system(caller, system_id), self._snapshot.directory
        entry = permit_tagging(
            self._guard, directory, caller, "MYSQL_INSTANCE_UPDATE", self._at(system), "TagDbSystem", system.tags, tags
        )
        wanted = check_tags(tags)
        with self._store.write(entry, reserve=True) as tx:
            current = now(tx, system, if_match)
            if current.tags != system.tags:  # the entry would not say what was changed
                raise stale()
            tx.iam.tag_identity(current.tenancy, current.id, wanted)
            return saved(tx, current, replace(current, tags=wanted))

    def start(self, caller: Caller, system_id: str, if_match: int | None = None) -> Job:
        return self._act(
            caller, system_id, "start", "MYSQL_INSTANCE_START", if_match, state="STARTING", desired="running"
        )

    def stop(self, caller: Caller, system_id: str, if_match: int | None = None) -> Job:
        return self._act(
            caller, system_id, "stop", "MYSQL_INSTANCE_STOP", if_match, state="STOPPING", desired="stopped"
        )

    def restart(self, caller: Caller, system_id: str, if_match: int | None = None) -> Job:
        return self._act(caller, system_id, "restart", "MYSQL_INSTANCE_START", if_match, state="UPDATING")

    def delete(self, caller: Caller, system_id: str, if_match: int | None = None) -> Job:
        """Delete the server, its data and its keys. Backups stay. Refused while deletion protection is on."""
        system = self._system(caller, system_id)
        if system.deletion_protection:
            self._guard.require(caller, "MYSQL_INSTANCE_DELETE", self._at(system), "DeleteDbSystem")
            refusal = Refusal(
                "DeletionProtected",
                f"database system {system.name!r} is protected against deletion",
                hint=f"keystead db unprotect {system.name}",
                kind="conflict",
            )
            self._guard.refuse(caller, "MYSQL_INSTANCE_DELETE", self._at(system), "DeleteDbSystem", refusal)
        return self._act(
            caller, system_id, "delete", "MYSQL_INSTANCE_DELETE", if_match, state="DELETING", desired="deleted"
        )

    def rotate_data_keys(self, caller: Caller, system_id: str) -> Job:
        """New data keys and a rewrite of every page under them, online."""
        return self._act(caller, system_id, "rotate", "MYSQL_INSTANCE_UPDATE", None, state="UPDATING")

    def verify(self, caller: Caller, system_id: str, samples: Sequence[bytes] = ()) -> Job:
        """Read the bytes on disk and report what protects them.

        `samples` are values of the customer's own rows, read under the customer's own login, to be looked for in clear
        beside our canaries; they go through the job's row only sealed under the system's store key.
        """
        extra: dict[str, str] = {}
        if samples:
            system = self._system(caller, system_id)
            self._guard.require(caller, "MYSQL_INSTANCE_READ", self._at(system), "VerifyDbSystem")
            _check_samples(samples)
            extra["samples"] = self._store_key(caller, system).seal_samples(samples)
        return self._act(caller, system_id, "verify", "MYSQL_INSTANCE_READ", None, extra=extra)

    def change_key(self, caller: Caller, system_id: str, key_id: str | None, if_match: int | None = None) -> DbSystem:
        """Rewrap the store key under another CMEK, the same key's newest version, or (None) a service-managed key.

        No data is rewritten and nothing is interrupted.
        """
        system = self._system(caller, system_id)
        naming_it, detail = naming(caller, key_id), {"key": key_id or "service-managed"}
        entry = self._guard.permit_change(
            naming_it, "MYSQL_INSTANCE_UPDATE", self._at(system), "ChangeDbSystemKey", detail
        )
        check_version(system.version, if_match)
        check_legal(system, "change_key")
        if key_id is None:
            wanted: str = self._managed_key(caller, system)
        else:
            wanted = key_id
            self._associations.allow(naming_it, wanted, "ChangeDbSystemKey")
        identity = replace(caller, principal=principal_of(system), requester=caller.principal.id)
        with self._store.read() as tx:
            before = next(key for key in tx.databases.wrapped(system.tenancy, system.id) if key.kind == "store")
        sealed = self._associations.rewrap(identity, system.key, before.blob, wanted, "store-key", system.id)
        after = replace(
            before, parent=wanted, parent_version=sealed.key_version, blob=sealed.blob, created_at=self._clock.now()
        )
        with self._store.write(entry) as tx:
            if not tx.databases.replace_store_key(system.tenancy, before, after):
                raise stale()
            current = now(tx, system, if_match)
            changed = replace(
                current, key=KeyId(wanted), key_version=sealed.key_version, service_managed=key_id is None
            )
            return saved(tx, current, changed)

    def revalidate(self, caller: Caller, system_id: str) -> DbSystem:
        """Ask for access to be checked now. `host` checks all the time, so this only says what it would find."""
        system = self._system(caller, system_id)
        self._guard.permit(caller, "MYSQL_INSTANCE_USE", self._at(system), "RevalidateDbSystem")
        access = self._associations.access(principal_of(system), system.key, system.key_version)
        if not access.granted:
            raise Refusal("StillInaccessible", access.text, hint="restore access to its key first", kind="conflict")
        return system

    def confirm(self, caller: Caller, system_id: str) -> DbSystem:
        """After a restore of the region's state: this system may open again, once its key is enabled."""
        system = self._system(caller, system_id)
        entry = self._guard.permit_change(caller, "MYSQL_INSTANCE_UPDATE", self._at(system), "ConfirmDbSystem")
        with self._store.write(entry) as tx:
            current = now(tx, system, None)
            return saved(tx, current, replace(current, confirmed=True))

    def delete_identity(self, caller: Caller, system_id: str) -> DbSystem:
        """Take the system's own identity away: it loses every key and is fenced."""
        return self._set_identity(caller, system_id, deleted=True)

    def restore_identity(self, caller: Caller, system_id: str) -> DbSystem:
        """Give the system its identity back."""
        return self._set_identity(caller, system_id, deleted=False)

    def revoke_tokens(self, caller: Caller, system_id: str) -> DbSystem:
        """Void every session token of the system's own; its machine gets another only by asking again."""
        system = self._system(caller, system_id)
        entry = self._guard.permit_change(caller, "MYSQL_INSTANCE_UPDATE", self._at(system), "RevokeDbSystemTokens")
        with self._store.write(entry, reserve=True) as tx:
            tx.iam.revoke(Revocation(system.tenancy, system.id, self._clock.now()))
        return system

    def hierarchy(self, caller: Caller, system_id: str) -> list[WrappedKey]:
        """The wrapped keys of a system; blobs are left out."""
        system = self._system(caller, system_id)
        self._guard.permit(caller, "MYSQL_INSTANCE_READ", self._at(system), "GetKeyHierarchy")
        with self._store.read() as tx:
            return [replace(key, blob=b"") for key in tx.databases.wrapped(system.tenancy, system.id)]

    def last_fence(self, caller: Caller, system_id: str) -> FenceReceipt | None:
        system = self._system(caller, system_id)
        self._guard.permit(caller, "MYSQL_INSTANCE_READ", self._at(system), "GetFenceReceipt")
        with self._store.read() as tx:
            return tx.databases.last_receipt(system.tenancy, system.id)

    def endpoint(self, caller: Caller, system_id: str) -> Endpoint:
        system = self._system(caller, system_id)
        self._guard.permit(caller, "MYSQL_INSTANCE_READ", self._at(system), "GetEndpoint")
        return Endpoint(self._placement.address, system.port, self._authority_pem.decode())

    def _act(
        self,
        caller: Caller,
        system_id: str,
        act: Act,
        permission: str,
        if_match: int | None,
        *,
        extra: Mapping[str, str] | None = None,
        **changes: str,
    ) -> Job:
        """Set what is wanted, and a job that brings it about, in one transaction."""
        system = self._system(caller, system_id)
        operation = f"{act.capitalize()}DbSystem"
        entry = self._guard.permit_change(caller, permission, self._at(system), operation)
        check_version(system.version, if_match)
        try:
            check_legal(system, act)
        except Refusal as refusal:
            self._guard.refuse(caller, permission, self._at(system), operation, refusal)
        job = self._job(caller, act, system, dict(extra or {}))
        with self._store.write(entry, reserve=act == "stop") as tx:
            if act == "delete":
                tx.jobs.cancel_for(system.tenancy, system.id, self._clock.now())
            else:
                require_unoccupied(tx, system)
            current = now(tx, system, if_match)
            check_legal(current, act)
            if act == "delete" and current.deletion_protection:  # switched on since it was looked at
                raise stale()
            if changes:
                saved(tx, current, replace(current, reason="", reason_text="", **changes))  # type: ignore[arg-type]  # its fields
            tx.jobs.add(job)
        return job

    def _store_key(self, caller: Caller, system: DbSystem) -> StoreKey:
        """The system's store key, opened as its own principal."""
        with self._store.read() as tx:
            row = next(key for key in tx.databases.wrapped(system.tenancy, system.id) if key.kind == "store")
        identity = replace(caller, principal=principal_of(system), requester=caller.principal.id)
        material = self._associations.open(identity, system.key, row.blob, "store-key", system.id)
        opened = StoreKey(material, system.tenancy, self._region, system.id)
        material.wipe()
        return opened

    def _set_identity(self, caller: Caller, system_id: str, *, deleted: bool) -> DbSystem:
        system = self._system(caller, system_id)
        operation = "DeleteDbSystemIdentity" if deleted else "RestoreDbSystemIdentity"
        entry = self._guard.permit_change(caller, "MYSQL_INSTANCE_UPDATE", self._at(system), operation)
        with self._store.write(entry, reserve=deleted) as tx:
            tx.iam.set_identity(identity_of(now(tx, system, None), deleted=deleted))
            if deleted:  # what was issued to it does not come back with it
                tx.iam.revoke(Revocation(system.tenancy, system.id, self._clock.now()))
        return system


def _check_samples(samples: Sequence[bytes]) -> None:
    if len(samples) > MAX_SAMPLES or any(not MIN_SAMPLE <= len(sample) <= MAX_SAMPLE for sample in samples):
        raise Refusal(
            "InvalidParameter",
            f"at most {MAX_SAMPLES} samples of {MIN_SAMPLE} to {MAX_SAMPLE} bytes can be looked for",
            hint="shorter values would be found by chance",
        )
