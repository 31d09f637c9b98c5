"""The life of vaults, keys and versions over REST: each move of the table (docs/lifecycle.md), locks, compartments."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from keystead.vault.lifecycle.table import MAX_DELETION_DAYS
from keystead.vault.model import Key, KeyVersion, Vault
from keystead.web.api.shared import keystore_of
from keystead.web.api.vault import (
    KeyReply,
    KeyVersionReply,
    VaultReply,
    shown_key,
    shown_key_version,
    shown_vault,
)
from keystead.web.messages import CompartmentRef, Message
from keystead.web.operations import Call, Handler, NoBody, Operation
from keystead.web.services import Services


class ScheduleDeletion(Message):
    """When it is to be deleted."""

    days: Annotated[int, Meta(description="How many days ahead: 7 to 30.")] = MAX_DELETION_DAYS


class Confirmed(Message):
    """That something is to be destroyed although it is needed."""

    confirm_needed_by: (
        Annotated[int, Meta(ge=0, description="By how many things it is needed: exactly so many, or it is refused.")]
        | None
    ) = None


class SetLock(Message):
    """From what it is to be protected."""

    lock: Annotated[
        Literal["CanNotDelete", "ReadOnly"],
        Meta(description="From deletion, or from every change. A vault's holds its keys."),
    ]


class MoveTo(Message):
    """Where it is to be."""

    compartment_id: CompartmentRef


@dataclass(frozen=True, slots=True)
class _Life:
    """Handlers for the acts of the life of keys, or of vaults: each calls the vault's method of the name it is given.

    `parameter` of the path is the id; `shown` makes the reply.
    """

    parameter: str
    shown: Callable[[Any], Message]

    def act(self, name: str) -> Handler:
        """An act that needs no more than that."""
        return lambda services, call: self._done(services, name, call, if_match=call.if_match)

    def end(self, name: str) -> Handler:
        """An act that destroys it, or leads there."""

        def handle(services: Services, call: Call[NoBody, Confirmed]) -> Message:
            confirmed = call.query.confirm_needed_by
            return self._done(services, name, call, if_match=call.if_match, confirm_needed_by=confirmed)

        return handle

    def schedule(self, name: str) -> Handler:
        """Its end on a day of the caller's own."""

        def handle(services: Services, call: Call[ScheduleDeletion, Confirmed]) -> Message:
            return self._done(services, name, call, call.body.days, call.if_match, call.query.confirm_needed_by)

        return handle

    def lock(self, name: str) -> Handler:
        """A lock on it."""

        def handle(services: Services, call: Call[SetLock, NoBody]) -> Message:
            return self._done(services, name, call, call.body.lock, call.if_match)

        return handle

    def unlock(self, name: str) -> Handler:
        """No lock on it."""
        return lambda services, call: self._done(services, name, call, "", call.if_match)

    def move(self, name: str) -> Handler:
        """Another compartment for it."""

        def handle(services: Services, call: Call[MoveTo, NoBody]) -> Message:
            return self._done(services, name, call, call.body.compartment_id, call.if_match)

        return handle

    def _done(self, services: Services, name: str, call: Call[Any, Any], *given: object, **named: object) -> Message:
        method: Callable[..., Key | Vault] = getattr(services.vaults, name)
        return self.shown(method(call.caller, call.path[self.parameter], *given, **named))


_key = _Life("key_id", shown_key)
_vault = _Life("vault_id", shown_vault)


def _version(name: str) -> Handler:
    """A handler for an act on a version."""

    def handle(services: Services, call: Call[NoBody, NoBody]) -> KeyVersionReply:
        act: Callable[..., KeyVersion] = getattr(services.vaults, name)
        return shown_key_version(act(call.caller, call.path["key_id"], call.path["key_version_id"]))

    return handle


def schedule_version_deletion(services: Services, call: Call[ScheduleDeletion, Confirmed]) -> KeyVersionReply:
    path = call.path
    changed = services.vaults.schedule_version_deletion(
        call.caller, path["key_id"], path["key_version_id"], call.body.days, call.query.confirm_needed_by
    )
    return shown_key_version(changed)


_KEY = "/keys/{key_id}"
_VERSION = "/keys/{key_id}/versions/{key_version_id}"
_VAULT = "/vaults/{vault_id}"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "EnableKey", "POST", f"{_KEY}/actions/enable", "Let a key be used again", _key.act("enable"), "keys",
        reply=KeyReply, permissions=("KEY_UPDATE",), moves=True,
        description="What was fenced because the key was disabled heals by itself.",
        first=True,
    ),
    Operation(
        "DisableKey", "POST", f"{_KEY}/actions/disable", "Take a key away from everything that uses it",
        _key.act("disable"), "keys", reply=KeyReply, permissions=("KEY_UPDATE",), moves=True, takes_access=True,
        description="Refused from the next request on; every database system that depends on the key is fenced.",
    ),
    Operation(
        "RotateKey", "POST", f"{_KEY}/actions/rotate", "Make a new current version", _key.act("rotate"), "keys",
        reply=KeyReply, permissions=("KEY_ROTATE",), moves=True,
        description="Older versions open what they sealed and seal nothing any more.",
        waits=keystore_of,
    ),
    Operation(
        "ScheduleKeyDeletion", "POST", f"{_KEY}/actions/schedule-deletion", "Delete a key in 7 to 30 days",
        _key.schedule("schedule_deletion"), "keys",
        query=Confirmed, request=ScheduleDeletion, reply=KeyReply, permissions=("KEY_DELETE",),
        moves=True, takes_access=True, description="It is taken away at once, as by disabling it.",
    ),
    Operation(
        "CancelKeyDeletion", "POST", f"{_KEY}/actions/cancel-deletion", "Keep a key that was to be deleted",
        _key.act("cancel_deletion"), "keys", reply=KeyReply, permissions=("KEY_DELETE",), moves=True,
        description="It is DISABLED until somebody enables it.",
        first=True,
    ),
    Operation(
        "DeleteKey", "DELETE", _KEY, "Delete a key now; it can be recovered", _key.end("delete"), "keys",
        query=Confirmed, reply=KeyReply,
        permissions=("KEY_DELETE",), moves=True, takes_access=True,
        description="It can be recovered until its retention is over; then it is purged.",
    ),
    Operation(
        "RecoverKey", "POST", f"{_KEY}/actions/recover", "Have a deleted key back", _key.act("recover"), "keys",
        reply=KeyReply, permissions=("KEY_DELETE",), moves=True,
        description="It is DISABLED until somebody enables it.",
        first=True,
    ),
    Operation(
        "PurgeKey", "POST", f"{_KEY}/actions/purge", "Destroy a deleted key for ever", _key.end("purge"), "keys",
        query=Confirmed, reply=KeyReply, permissions=("KEY_PURGE",), moves=True,
        description="Nothing that it sealed can be opened any more. Refused while it is protected against that.",
    ),
    Operation(
        "LockKey", "POST", f"{_KEY}/actions/lock", "Protect a key from deletion or from every change",
        _key.lock("lock_key"),
        "keys", request=SetLock, reply=KeyReply, permissions=("KEY_LOCK",), moves=True,
    ),
    Operation(
        "UnlockKey", "POST", f"{_KEY}/actions/unlock", "Take the lock off a key",
        _key.unlock("lock_key"), "keys", reply=KeyReply,
        permissions=("KEY_LOCK",), moves=True,
    ),
    Operation(
        "MoveKey", "POST", f"{_KEY}/actions/move", "Put a key into another compartment", _key.move("move_key"), "keys",
        request=MoveTo, reply=KeyReply, permissions=("KEY_MOVE",), moves=True,
        description="The permission is needed in both. The policies of the new compartment decide from then on.",
    ),
    Operation(
        "EnableKeyVersion", "POST", f"{_VERSION}/actions/enable", "Let a version be used again",
        _version("enable_version"), "keys", reply=KeyVersionReply, permissions=("KEY_UPDATE",),
        first=True,
    ),
    Operation(
        "DisableKeyVersion", "POST", f"{_VERSION}/actions/disable", "Take a version away from what still needs it",
        _version("disable_version"), "keys", reply=KeyVersionReply, permissions=("KEY_UPDATE",), takes_access=True,
    ),
    Operation(
        "ScheduleKeyVersionDeletion", "POST", f"{_VERSION}/actions/schedule-deletion",
        "Destroy a version in 7 to 30 days", schedule_version_deletion, "keys",
        query=Confirmed, request=ScheduleDeletion,
        reply=KeyVersionReply, permissions=("KEY_DELETE",),
        description="It is taken away at once. The current version cannot be destroyed by itself.",
    ),
    Operation(
        "CancelKeyVersionDeletion", "POST", f"{_VERSION}/actions/cancel-deletion", "Keep a version",
        _version("cancel_version_deletion"), "keys", reply=KeyVersionReply, permissions=("KEY_DELETE",),
        description="It is DISABLED until somebody enables it.",
    ),
    Operation(
        "ScheduleVaultDeletion", "POST", f"{_VAULT}/actions/schedule-deletion",
        "Delete a vault and its keys in 7 to 30 days", _vault.schedule("schedule_vault_deletion"), "vaults",
        query=Confirmed, request=ScheduleDeletion,
        reply=VaultReply, permissions=("VAULT_DELETE",), moves=True, takes_access=True,
        description="All its keys are taken away at once.",
    ),
    Operation(
        "CancelVaultDeletion", "POST", f"{_VAULT}/actions/cancel-deletion", "Keep a vault that was to be deleted",
        _vault.act("cancel_vault_deletion"), "vaults", reply=VaultReply, permissions=("VAULT_DELETE",), moves=True,
        description="Its keys are again in the state that they were in.",
    ),
    Operation(
        "DeleteVault", "DELETE", _VAULT, "Delete a vault and its keys now; it can be recovered",
        _vault.end("delete_vault"), "vaults",
        query=Confirmed, reply=VaultReply, permissions=("VAULT_DELETE",), moves=True,
        takes_access=True,
    ),
    Operation(
        "RecoverVault", "POST", f"{_VAULT}/actions/recover", "Have a deleted vault back", _vault.act("recover_vault"),
        "vaults", reply=VaultReply, permissions=("VAULT_DELETE",), moves=True,
        description="Its keys are again in the state that they were in.",
    ),
    Operation(
        "PurgeVault", "POST", f"{_VAULT}/actions/purge", "Destroy a deleted vault and its keys for ever",
        _vault.end("purge_vault"), "vaults",
        query=Confirmed, reply=VaultReply, permissions=("VAULT_PURGE",), moves=True,
        description="Refused while the vault or a key in it is protected against that.",
    ),
    Operation(
        "LockVault", "POST", f"{_VAULT}/actions/lock", "Protect a vault and its keys from deletion or every change",
        _vault.lock("lock_vault"), "vaults", request=SetLock, reply=VaultReply, permissions=("VAULT_LOCK",), moves=True,
    ),
    Operation(
        "UnlockVault", "POST", f"{_VAULT}/actions/unlock", "Take the lock off a vault",
        _vault.unlock("lock_vault"), "vaults",
        reply=VaultReply, permissions=("VAULT_LOCK",), moves=True,
    ),
    Operation(
        "MoveVault", "POST", f"{_VAULT}/actions/move", "Put a vault into another compartment",
        _vault.move("move_vault"), "vaults",
        request=MoveTo, reply=VaultReply, permissions=("VAULT_MOVE",), moves=True,
        description="Its keys stay in their compartments.",
    ),
)  # fmt: skip
