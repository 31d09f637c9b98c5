"""What people ask of a key before they do something to it: who needs it, what an act would stop, who uses it.

Whoever may read the key is answered; things that the caller may not see are counted and have no name. An answer that
cannot be had whole is not given: what is unknown would look like nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from keystead.core.clock import LATEST
from keystead.core.errors import Refusal, Unavailable
from keystead.iam.model import Caller
from keystead.vault.insight.impact import PERMISSION, If, Impact, impact
from keystead.vault.insight.inventory import Inventory, Need, counted, needed_by, per_version
from keystead.vault.insight.usage import Use, used
from keystead.vault.lifecycle.changing import Changing
from keystead.vault.lifecycle.table import key_as_of
from keystead.vault.memory.keyring import Entry
from keystead.vault.model import Key
from keystead.vault.ports import KeyTrail

USAGE_DAYS = 30
MAX_USAGE_DAYS = 3650
APPROVERS = 50
_NEVER = datetime.min.replace(tzinfo=UTC)
# What rules of approval call an act on a key, and on one version of it.
_OPERATIONS: Mapping[tuple[If, bool], str] = {
    ("disable", False): "DisableKey",
    ("disable", True): "DisableKeyVersion",
    ("delete", False): "DeleteKey",
    ("delete", True): "ScheduleKeyVersionDeletion",
    ("rotate", False): "RotateKey",
    ("expire", False): "UpdateKey",
}


@dataclass(frozen=True, slots=True)
class Quorum:
    """A rule by which the act waits for others: `needed` of `approvers`, names of users, the one who asks left out."""

    rule: str
    needed: int
    approvers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """An impact, who else could do it (names of users, `more` of them not named), and who has to approve of it."""

    impact: Impact
    approvers: tuple[str, ...]
    more: int
    quorums: tuple[Quorum, ...] = ()


@dataclass(frozen=True, slots=True)
class VaultInventory:
    """The keys of a vault that something needs, with what does; `needed_by`: how many things in all."""

    keys: tuple[tuple[Key, tuple[Need, ...]], ...]
    needed_by: int


class Insight(Changing):
    """Looks; changes nothing."""

    def inventory(self, caller: Caller, key_id: str, version: int | None = None) -> Inventory:
        """Everything that needs the key, or one version of it. Raises: Refusal; Unavailable, it cannot be learnt."""
        entry = self._asked(caller, key_id, "GetKeyInventory", version)
        needs = self._needs(entry.key)
        shown = [need for need in needs if version is None or version in need.versions]
        key = entry.key
        copies = self._told().copies(key.tenancy, key.id, key.vault, key.created_at)
        return Inventory(
            tuple(self._as_seen(caller, need) for need in shown),
            tuple(copies),
            self._clock.now(),
            per_version(needs, entry.versions),
        )

    def vault_inventory(self, caller: Caller, vault_id: str) -> "VaultInventory":
        """Of every key in a vault that something needs: what does. Raises: as `inventory`."""
        vault, target = self._vault(caller, vault_id)
        self._guard.permit(caller, "VAULT_READ", target, "GetVaultInventory")
        survey = self._survey()
        with self._store.read() as tx:
            found = [(key, counted(survey.needs(tx, key))) for key in tx.vault.keys_in(vault)]
        now = self._clock.now()
        shown = [
            (key_as_of(key, vault, now), tuple(self._as_seen(caller, need) for need in needs))
            for key, needs in found
            if needs
        ]
        return VaultInventory(tuple(shown), needed_by(need for _, needs in found for need in needs))

    def impact(self, caller: Caller, key_id: str, act: If, version: int | None = None) -> Preview:
        """What `act` would stop. Raises: as `inventory`."""
        entry = self._asked(caller, key_id, "GetKeyImpact", version)
        now = self._clock.now()
        key = key_as_of(entry.key, self._keyring.vault(entry.key.vault), now)
        since = now - timedelta(days=USAGE_DAYS)
        uses = used(self._told().uses(key.tenancy, key.id, since))
        needs = self._needs(key)
        found = impact(key, version, act, needs, uses, now)
        hidden = {need.id for need in needs if not self._as_seen(caller, need).id}
        effects = tuple(replace(one, id="", name="") if one.id in hidden else one for one in found.effects)
        names = self._approvers(caller, entry, PERMISSION[act])
        return Preview(
            replace(found, effects=effects),
            tuple(names[:APPROVERS]),
            max(0, len(names) - APPROVERS),
            self._quorums(caller, entry, PERMISSION[act], _OPERATIONS[act, version is not None]),
        )

    def usage(self, caller: Caller, key_id: str, days: int = USAGE_DAYS) -> tuple[datetime, list[Use]]:
        """Calls in the last `days` days by principal and operation, most frequent first, and since when."""
        entry = self._asked(caller, key_id, "GetKeyUsage", None)
        if not 1 <= days <= MAX_USAGE_DAYS:
            raise Refusal("InvalidParameter", f"days is between 1 and {MAX_USAGE_DAYS}")
        since = self._clock.now() - timedelta(days=days)
        return since, used(self._told().uses(entry.key.tenancy, entry.key.id, since))

    def _asked(self, caller: Caller, key_id: str, operation: str, version: int | None) -> Entry:
        entry = self._entry(caller, key_id)
        self._guard.permit(caller, "KEY_READ", entry.target, operation)
        entry = self._current(entry)
        if version is not None and version not in entry.versions:
            raise Refusal(
                "NotFound",
                f"key {entry.key.name!r} has no version {version}",
                hint=f"keystead key versions {entry.key.name}",
                kind="not_found",
            )
        return entry

    def _needs(self, key: Key) -> list[Need]:
        survey = self._survey()
        with self._store.read() as tx:
            return list(survey.needs(tx, key))

    def _told(self) -> KeyTrail:
        if self._trail is None:
            raise Unavailable("UsageUnknown", "nobody here reads the audit trail", hint="ask the region itself")
        return self._trail

    def _quorums(self, caller: Caller, entry: Entry, permission: str, operation: str) -> tuple[Quorum, ...]:
        directory = self._snapshot.directory
        found = []
        for rule in self._guard.rules_for(caller, permission, operation, entry.target):
            members = [
                user.name
                for user in directory.users_in(rule.tenancy)
                if user.state == "ACTIVE"
                and str(user.id) != caller.principal.id
                and (directory.membership_until(user.id, rule.group_id) or _NEVER) >= LATEST
            ]
            found.append(Quorum(rule.name, rule.needed, tuple(sorted(members)[:APPROVERS])))
        return tuple(found)

    def _approvers(self, caller: Caller, entry: Entry, permission: str) -> list[str]:
        """Users who may do it themselves, but for the caller."""
        directory, tenancy = self._snapshot.directory, entry.key.tenancy
        found = []
        for user in directory.users_in(tenancy):
            principal = directory.principal(user.id)
            if principal is None or principal.id == caller.principal.id:
                continue
            if self._guard.may(replace(caller, principal=principal, token_id=""), permission, entry.target):
                found.append(user.name)
        return sorted(found)
