"""What is under way when a process is killed, and what may be true afterwards.

Each act says before it begins what it is about to do (`Pending`); whoever opens the state next finds out whether it
happened. Both are fine unless somebody was told; nothing in between ever is.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tests.faults.kill_bench import WAY, Act, Bench, KeyModel, Pending, Wrong, expect, refusal, wrapped_for
from tests.faults.kill_seal import begin_migrate, begin_replace_root, settle_migrate, settle_replace_root

from keystead.core.errors import Refusal
from keystead.iam.model import Caller
from keystead.vault.ports import Stored


def begin_create(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    name, vault = f"c{bench.trial}", bench.model.vault
    return {"name": name}, lambda caller: str(bench.vaults.create_key(caller, bench.tenancy, vault, name).id)


def settle_create(bench: Bench, pending: Pending) -> bool:
    found = bench.named(pending.facts["name"])
    if found is not None:
        rows = bench.rows(found.id)
        expect(len(rows) == 1 and bool(rows[0].wrapped), "a key without its version")
        bench.tell("key", str(found.id))
        bench.encrypt(bench.model.keys[found.id])
    return found is not None


def begin_rotate(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.live()
    return {"key": key.id, "before": key.current}, lambda caller: bench.vaults.rotate(caller, key.id).current


def settle_rotate(bench: Bench, pending: Pending) -> bool:
    key, before = pending.facts["key"], pending.facts["before"]
    now = bench.vaults.get_key(bench.caller(), key).current
    expect(now in (before, before + 1), f"version {now} after {before}")
    rows = bench.rows(key)
    expect([row.number for row in rows] == list(range(1, now + 1)), "versions are missing or too many")
    expect(all(row.wrapped for row in rows), "a version without material")
    bench.tell("current", key, now)
    if now > before:
        bench.encrypt(bench.model.keys[key])
    return now > before


def begin_import(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    name, vault = f"i{bench.trial}", bench.model.vault
    made = bench.vaults.create_wrapping_key(bench.caller(), vault, "AES-256", WAY)
    material, wrapped = wrapped_for(bench, made)
    facts = {"name": name, "material": material, "wrapped": wrapped}
    return facts, lambda caller: bench.vaults.import_key(caller, bench.tenancy, vault, name, wrapped).check_value


def settle_import(bench: Bench, pending: Pending) -> bool:
    """Not done: the wrapping key still serves. Done: it has ended, and the key is the one that was brought."""
    facts, vault = pending.facts, bench.model.vault
    found = bench.named(facts["name"])
    happened = found is not None
    again = lambda: bench.vaults.import_key(bench.caller(), bench.tenancy, vault, facts["name"], facts["wrapped"])  # noqa: E731
    if found is None:
        found = again().key
    expect(refusal(again) == "WrappingKeyEnded", "a wrapping key served twice")
    check_material(bench, found, bench.rows(found.id)[-1], facts["material"])
    bench.tell("key", str(found.id))
    bench.encrypt(bench.model.keys[found.id])
    return happened


def begin_import_version(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.live()
    made = bench.vaults.create_version_wrapping_key(bench.caller(), key.id, WAY)
    material, wrapped = wrapped_for(bench, made)
    facts = {"key": key.id, "before": key.current, "material": material, "wrapped": wrapped}
    return facts, lambda caller: bench.vaults.import_version(caller, key.id, wrapped).version.number


def settle_import_version(bench: Bench, pending: Pending) -> bool:
    happened = settle_rotate(bench, pending)
    key, wrapped = pending.facts["key"], pending.facts["wrapped"]
    if not happened:
        number = bench.vaults.import_version(bench.caller(), key, wrapped).version.number
        bench.tell("current", key, number)
    expect(
        refusal(lambda: bench.vaults.import_version(bench.caller(), key, wrapped)) == "WrappingKeyEnded", "served twice"
    )
    found = bench.vaults.get_key(bench.caller(), key)
    check_material(bench, found, bench.rows(key)[-1], pending.facts["material"])
    return happened


def check_material(bench: Bench, key: Any, row: Any, material: bytes) -> None:
    keyring = bench.region.snapshot.keyring
    bench.region.snapshot.refresh()
    stored = Stored(row.wrapped, row.public, row.fingerprint)
    opened = keyring.software.reveal(keyring.spec(key, row.number), stored)
    expect(opened.reveal() == material, "what was imported is something else")


def begin_delete(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.live()
    return {"key": key.id}, lambda caller: str(bench.vaults.delete(caller, key.id).state)


def begin_schedule(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.live()
    return {"key": key.id}, lambda caller: str(bench.vaults.schedule_deletion(caller, key.id, 7).state)


def settle_delete(bench: Bench, pending: Pending) -> bool:
    state = bench.state(pending.facts["key"])
    expect(state in ("ENABLED", "DELETED", "PENDING_DELETION"), f"it is {state}")
    return state != "ENABLED"


def begin_purge(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.made()
    bench.vaults.delete(bench.caller(), key.id)
    facts = {"key": key.id, "wrapped": [row.wrapped for row in bench.rows(key.id)]}
    return facts, lambda caller: str(bench.vaults.purge(caller, key.id).state)


def settle_purge(bench: Bench, pending: Pending) -> bool:
    key = pending.facts["key"]
    state = bench.state(key)
    expect(state in ("DELETED", "PURGED"), f"it is {state}")
    if state == "PURGED":
        bench.tell("gone", key)
        bench.nowhere(pending.facts["wrapped"])
    return state == "PURGED"


def begin_backup(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.live()
    return {"key": key.id}, lambda caller: bench.vaults.back_up_key(caller, key.id).blob


def settle_backup(bench: Bench, pending: Pending) -> bool:
    """Whoever was given a backup can have the key back by it: tried at once."""
    key = bench.model.keys[pending.facts["key"]]
    if not pending.acked:
        return bench.recorded(pending.request)
    bench.tell("backup", key.id, pending.result)
    bench.vaults.delete(bench.caller(), key.id)
    bench.vaults.purge(bench.caller(), key.id)
    bench.check_gone(key)
    expect(refusal(lambda: bench.vaults.restore_key(bench.caller(), key.backup)) == "", "the backup does not restore")
    return True


def begin_restore(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.live()
    backup = bench.vaults.back_up_key(bench.caller(), key.id).blob
    bench.vaults.delete(bench.caller(), key.id)
    bench.vaults.purge(bench.caller(), key.id)
    bench.tell("gone", key.id)
    bench.tell("backup", key.id, backup)
    return {"key": key.id}, lambda caller: str(bench.vaults.restore_key(caller, backup).key.state)


def settle_restore(bench: Bench, pending: Pending) -> bool:
    key = pending.facts["key"]
    state = bench.state(key)
    expect(state in ("PURGED", "DISABLED"), f"it is {state}")
    if state == "DISABLED":
        bench.tell("back", key)
        expect(all(row.wrapped for row in bench.rows(key)), "restored without all its versions")
    return state == "DISABLED"


def private_vault(bench: Bench) -> tuple[str, KeyModel]:
    vault = bench.vaults.create_vault(bench.caller(), bench.tenancy, f"v{bench.trial}", kind="private").id
    return str(vault), bench.made(vault)


def begin_purge_vault(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    vault, key = private_vault(bench)
    bench.vaults.delete_vault(bench.caller(), vault)
    facts = {"key": key.id, "vault": vault, "wrapped": [row.wrapped for row in bench.rows(key.id)]}
    return facts, lambda caller: str(bench.vaults.purge_vault(caller, vault).state)


def settle_purge_vault(bench: Bench, pending: Pending) -> bool:
    facts = pending.facts
    state = bench.vaults.get_vault(bench.caller(), facts["vault"]).state
    expect(state in ("DELETED", "PURGED"), f"it is {state}")
    if state == "PURGED":
        bench.tell("gone", facts["key"])
        bench.nowhere(facts["wrapped"])
    else:
        bench.vaults.recover_vault(bench.caller(), facts["vault"])
    return state == "PURGED"


def begin_restore_vault(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    vault, key = private_vault(bench)
    backup = bench.vaults.back_up_vault(bench.caller(), vault).blob
    bench.vaults.delete_vault(bench.caller(), vault)
    bench.vaults.purge_vault(bench.caller(), vault)
    bench.tell("gone", key.id)
    bench.tell("backup", key.id, backup)
    return {"key": key.id}, lambda caller: bench.vaults.restore_vault(caller, backup).restored


def settle_restore_vault(bench: Bench, pending: Pending) -> bool:
    """The vault comes first, then its keys; a second attempt brings what is not there yet."""
    key = bench.model.keys[pending.facts["key"]]
    happened = bench.state(key.id) == "DISABLED"
    again = bench.vaults.restore_vault(bench.caller(), key.backup)
    expect((again.restored, again.present) == ((0, 1) if happened else (1, 0)), f"a second restore: {again}")
    bench.tell("back", key.id)
    return happened


ACTS: Mapping[str, Act] = {
    "create": Act(begin_create, settle_create),
    "rotate": Act(begin_rotate, settle_rotate),
    "import": Act(begin_import, settle_import),
    "import a version": Act(begin_import_version, settle_import_version),
    "delete": Act(begin_delete, settle_delete),
    "schedule deletion": Act(begin_schedule, settle_delete),
    "purge": Act(begin_purge, settle_purge),
    "purge a vault": Act(begin_purge_vault, settle_purge_vault),
    "back up": Act(begin_backup, settle_backup),
    "restore": Act(begin_restore, settle_restore),
    "restore a vault": Act(begin_restore_vault, settle_restore_vault, audited=False),  # two transactions
    "migrate the seal": Act(begin_migrate, settle_migrate, audited=False),  # each step has its own
    "replace the root key": Act(begin_replace_root, settle_replace_root, audited=False, scrubs=True),
}


def settle(bench: Bench) -> None:
    """Find out what became of the act that was under way. Raises: Wrong."""
    pending = bench.model.pending
    if pending is None:
        return
    act = ACTS[pending.act]
    try:
        happened = act.settle(bench, pending)
    except Refusal as error:
        raise Wrong(f"{error.code}: {error.message}") from error
    expect(happened or not pending.acked, "what was acknowledged did not happen")
    if act.audited:
        expect(bench.recorded(pending.request) == happened, f"happened: {happened}, recorded otherwise")
    bench.tell("settled", happened)
