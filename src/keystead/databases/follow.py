"""Systems that follow the newest version of their key: the store key is rewrapped under each new version by itself.

The region's service `upkeep` looks which systems are behind and says so in the audit log; the rewrap is done as the
system's own principal, whose access is checked as at any use. No data is rewritten and nothing is interrupted. A system
that is behind because its key may not be used, or because it is not at rest or running, is brought up later.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from keystead.core.clock import Clock
from keystead.core.errors import KeysteadError
from keystead.databases.desk import principal_of, target_of
from keystead.databases.model import LEGAL, DbSystem
from keystead.databases.ports import DatabaseStore
from keystead.iam.guard import Guard
from keystead.iam.model import Caller
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.use.association import Associations

RETRY = timedelta(minutes=10)


class Followers:
    """Brings systems that follow their key up to its current version."""

    def __init__(
        self, guard: Guard, snapshot: Snapshot, store: DatabaseStore, associations: Associations, clock: Clock
    ) -> None:
        self._guard = guard
        self._snapshot = snapshot
        self._store = store
        self._associations = associations
        self._clock = clock
        self._waiting: dict[str, datetime] = {}

    def run(self, caller: Caller) -> int:
        """Rewrap what is behind; returns for how many systems. `caller` is the service `upkeep`."""
        self._snapshot.refresh()
        with self._store.read() as tx:
            found = [system for system in tx.databases.all_systems() if system.follow_key]
        return sum(self._bring_up(caller, system) for system in found if self._behind(system))

    def _behind(self, system: DbSystem) -> bool:
        entry = self._snapshot.keyring.get(system.key)
        if entry is None or entry.key.current <= system.key_version or system.state not in LEGAL["change_key"]:
            return False
        now = self._clock.now()
        if not system.confirmed or self._waiting.get(system.id, now) > now:
            return False
        identity = principal_of(system)
        return all(
            self._associations.access(identity, system.key, version).granted
            for version in (system.key_version, entry.key.current)
        )

    def _bring_up(self, caller: Caller, system: DbSystem) -> int:
        target = target_of(system, self._snapshot)
        record = self._guard.permit_change(
            caller, "MYSQL_INSTANCE_UPKEEP", target, "FollowKey", {"from_version": str(system.key_version)}
        )
        identity = replace(caller, principal=principal_of(system), requester=caller.principal.name)
        try:
            with self._store.read() as tx:
                before = next(key for key in tx.databases.wrapped(system.tenancy, system.id) if key.kind == "store")
            sealed = self._associations.rewrap(identity, system.key, before.blob, system.key, "store-key", system.id)
            after = replace(before, parent_version=sealed.key_version, blob=sealed.blob, created_at=self._clock.now())
            with self._store.write(record) as tx:
                current = tx.databases.system(system.tenancy, system.id)
                if current is None or current.key != system.key:
                    raise _Overtaken
                if not tx.databases.replace_store_key(system.tenancy, before, after):
                    raise _Overtaken
                tx.databases.change(current, replace(current, key_version=sealed.key_version))
        except _Overtaken:
            return 0
        except KeysteadError:  # recorded by whoever refused; its keystore may not answer
            self._waiting[system.id] = self._clock.now() + RETRY
            return 0
        return 1


class _Overtaken(Exception):
    """Somebody has changed the system's key meanwhile; ends the transaction."""
