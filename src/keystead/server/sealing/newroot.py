"""`keystead seal rotate`: a new root key, and everything that the old one wrapped wrapped anew. While nothing runs.

    1 stage    <state>/new-root/: the new seal (each slot with a new key), the authorities' keys, and an id
    2 rows     one transaction: every row that the root key wraps, and the id as the mark of the region
    3 finish   the staged files take the places of the old ones; the directory goes

Killed before the transaction is committed, the old root key is that of the region; after it, the new one. Which it is
says the mark: `finish` takes away what was staged in vain, or ends what was begun, and needs no key for it. Whoever is
about to open the seal calls it.

What is new: the root key and all its subkeys. Tokens are void (their key is one of those), RS256's key is made anew,
remembered devices and networks are unknown again. What stays: material of keys, keys of private vaults, authorities,
secrets of code generators and providers, each under the new root key; fingerprints, or destroyed material could be
brought back; and the keys of key backups made so far, or those would not open any more (`carried_keys`). Backups of the
state carry their own seal: they open by what opened it then.
"""

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from keystead.adapters.sql import schema, schema_factors, schema_federation, schema_tokens
from keystead.adapters.sql.schema_roots import carried_keys
from keystead.adapters.sql.store import SqlStore, translated
from keystead.core.clock import Clock
from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.crypto import kdf
from keystead.crypto.envelope import Binding, Kek
from keystead.iam.directory import Directory
from keystead.iam.federation.service import SEALING_KEY as PROVIDERS
from keystead.seal import service as sealing
from keystead.seal.model import SealFile, Slot
from keystead.seal.openers import Maker, NewShares, Opener, RecipientFile
from keystead.seal.service import RootKey
from keystead.server import authority
from keystead.server.sealing import slots
from keystead.server.sealing.unseal import SEAL_NAME
from keystead.server.settings import Effective
from keystead.server.state.building import sync, write
from keystead.server.state.opening import open_state
from keystead.vault.memory.keyring import SEALING_KEY, Keyring
from keystead.vault.ports import KeySpec, Stored

STAGE: Final = "new-root"
ID: Final = "id"
STAGED: Final = (SEAL_NAME, *(kind.key for kind in authority.KINDS))
FINGERPRINTS: Final = "material-fingerprint"
BACKUPS: Final = "key-backup/"


@dataclass(frozen=True, slots=True)
class Replaced:
    """What it came to. `wrapped`: how many things are wrapped anew, by kind."""

    seal: SealFile
    dropped: tuple[Slot, ...]
    wrapped: Mapping[str, int]


def replace(
    effective: Effective,
    opener: Opener,
    makers: Callable[[SealFile], Mapping[str, Maker]],
    clock: Clock,
    at: Callable[[str], None] = lambda _step: None,
) -> Replaced:
    """A new root key. `makers` gives, by the ids of the slots that shall go on, what makes each anew.

    `at` is told of each step when it is done.

    Raises:
        Refusal: `AlreadyRunning`: something of the region runs; `WrongRootKey`; `NoSlots`; as `Maker.make`.
        Unavailable: the disk is full, or does not answer; the old root key stays.
    """
    from keystead.server.up import quiet

    with translated(), quiet(effective, "seal rotate"), slots.lock(effective):
        finish(effective)
        seal, old = slots.open_seal(effective, opener)
        made = makers(seal)
        kept = [slot for slot in seal.slots if slot.id in made]
        new_seal, new = sealing.replace_root(seal, [made[slot.id] for slot in kept], clock.now())
        try:
            for slot, old_slot in zip(new_seal.slots, kept, strict=True):
                _prove(new_seal, slot, made[old_slot.id])
            mark = _stage(effective.state, new_seal, old, new, at)
            what = f"generation {new_seal.generation}, {len(kept)} slots"
            slots.record(effective, "ReplaceRootKey", "root key", f"about to: {what}", clock)
            wrapped = _rows(effective, old, new, mark, clock, at)
            finish(effective, at)
            slots.record(effective, "ReplaceRootKey", "root key", f"done: {what}", clock)
        finally:
            old.wipe()
            new.wipe()
    return Replaced(new_seal, tuple(slot for slot in seal.slots if slot.id not in made), wrapped)


def finish(effective: Effective, at: Callable[[str], None] = lambda _step: None) -> None:
    """End what a replacement that was cut off has begun, or take it away. Whoever calls holds the lock of the seal."""
    state = effective.state
    stage = state / STAGE
    if not stage.is_dir():
        return
    if _mark(effective) == _id_of(stage):
        for name in STAGED:
            if (stage / name).exists():
                (stage / name).rename(state / name)
                sync(state)
                at(f"moved {name}")
    _remove(stage)
    at("removed")


def settle(effective: Effective) -> None:
    """As `finish`, for who is about to open the seal and holds no lock; where another does, it is at work itself."""
    if (effective.state / STAGE).is_dir():
        with suppress(Refusal), slots.lock(effective):
            finish(effective)


def carried(engine: sa.Engine, root: RootKey) -> tuple[Secret | None, tuple[Secret, ...]]:
    """What earlier root keys left: the key of fingerprints, and those of key backups. Raises: Unreadable."""
    kek = _store_kek(root)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(carried_keys).order_by(carried_keys.c.id)).all()
    opened = {row.id: Secret(kek.open(row.wrapped, _binding(root, row.id))) for row in rows}
    backups = [key for name, key in opened.items() if name.startswith(BACKUPS)]
    return opened.get(FINGERPRINTS), tuple(reversed(backups))  # newest first


def keyring_of(engine: sa.Engine, root: RootKey, directory: Directory) -> Keyring:
    """The keyring under this root key, with what earlier ones left."""
    made = Keyring(root.subkey("vault-store"), directory, root.region)
    made.carry(*carried(engine, root))
    return made


def _prove(seal: SealFile, slot: Slot, maker: Maker) -> None:
    """What can open, opens: before anything rests upon it."""
    if not isinstance(maker, NewShares | RecipientFile):
        sealing.open_slot(seal, slot, maker).wipe()


def _stage(state: Path, seal: SealFile, old: RootKey, new: RootKey, at: Callable[[str], None]) -> str:
    stage, mark = state / STAGE, secrets.token_hex(16)
    stage.mkdir(mode=0o700)
    at("stage")
    write(stage / SEAL_NAME, seal.encode())
    at("seal staged")
    for kind in authority.KINDS:
        write(stage / kind.key, authority.wrap(authority.load(state, old, kind), new, kind))
    write(stage / ID, mark.encode())
    sync(stage)
    sync(state)
    at("staged")
    return mark


def _rows(
    effective: Effective, old: RootKey, new: RootKey, mark: str, clock: Clock, at: Callable[[str], None]
) -> Mapping[str, int]:
    engine = open_state(effective.state)
    try:
        work = _Rewrapping(engine, old, new, clock)
        with engine.connect().execution_options(writing=True) as connection:
            with connection.begin():
                done = {
                    "private vaults": work.vaults(connection),
                    "key versions": work.versions(connection),
                    "wrapping keys": work.wrapping_keys(connection),
                    "identity providers": work.providers(connection),
                    "code generators": work.factors(connection),
                    "carried keys": work.carry(connection),
                }
                connection.execute(schema_tokens.signing_keys.delete())
                connection.execute(schema.region.update().values(root_mark=mark))
                at("rows")
            at("committed")
        SqlStore(engine, clock).scrub()  # no copy of what the old one wrapped stays in the log
    finally:
        engine.dispose()
    return done


class _Rewrapping:
    """Each kind of row that the root key wraps, opened by the old one and sealed by the new one."""

    def __init__(self, engine: sa.Engine, old: RootKey, new: RootKey, clock: Clock) -> None:
        self._old, self._new, self._region, self._clock = old, new, new.region, clock
        self._from = keyring_of(engine, old, Directory(clock))
        self._to = Keyring(new.subkey("vault-store"), Directory(clock), new.region)
        self._to.carry(self._from.fingerprints, ())
        self._private: set[str] = set()

    def vaults(self, connection: sa.Connection) -> int:
        """The keys of private vaults; what lies under those stays as it is."""
        columns, done = schema.vaults.c, 0
        for row in connection.execute(sa.select(schema.vaults).where(columns.kind == "private")).all():
            self._private.add(row.id)
            if row.wrapped:
                fresh = self._from.vault_key_for(row.tenancy, row.id, row.wrapped, self._to)
                _put(connection, schema.vaults, row, wrapped=fresh)
                done += 1
        return done

    def versions(self, connection: sa.Connection) -> int:
        """Material of software keys."""
        keys, versions, done = schema.keys, schema.key_versions, 0
        joined = versions.join(keys, (keys.c.tenancy == versions.c.tenancy) & (keys.c.id == versions.c.key))
        found = sa.select(versions, keys.c.vault, keys.c.algorithm).select_from(joined)
        for row in connection.execute(found.where(keys.c.protection == "software")).all():
            if not row.wrapped or row.vault in self._private:
                continue
            spec = KeySpec(row.tenancy, row.vault, row.key, row.number, row.algorithm)
            material = self._from.software.reveal(spec, Stored(row.wrapped, row.public, row.fingerprint))
            _put(connection, versions, row, wrapped=self._to.software.keep(spec, material).reference)
            material.wipe()
            done += 1
        return done

    def wrapping_keys(self, connection: sa.Connection) -> int:
        """Private halves of wrapping keys that nobody has used yet."""
        done = 0
        for row in connection.execute(sa.select(schema.wrapping_keys)).all():
            if row.wrapped and row.vault not in self._private:
                binding = Binding("wrapping-key", row.tenancy, self._region, row.id, SEALING_KEY)
                fresh = _moved(_store_kek(self._old), _store_kek(self._new), row.wrapped, binding)
                _put(connection, schema.wrapping_keys, row, wrapped=fresh)
                done += 1
        return done

    def providers(self, connection: sa.Connection) -> int:
        """What identity providers know us by."""
        table, done = schema_federation.identity_providers, 0
        for row in connection.execute(sa.select(table)).all():
            if row.sealed_secret:
                binding = Binding("identity-provider-secret", row.tenancy, self._region, row.id, "")
                fresh = _moved(_provider_kek(self._old), _provider_kek(self._new), row.sealed_secret, binding)
                _put(connection, table, row, sealed_secret=fresh)
                done += 1
        return done

    def factors(self, connection: sa.Connection) -> int:
        """Secrets of code generators."""
        table, done = schema_factors.factors, 0
        old, new = (Kek(root.subkey("sign-in").reveal(), "sign-in", 1) for root in (self._old, self._new))
        for row in connection.execute(sa.select(table).where(table.c.kind == "totp")).all():
            if row.sealed:
                binding = Binding("totp-secret", row.tenancy, self._region, row.id, row.user)
                _put(connection, table, row, sealed=_moved(old, new, row.sealed, binding))
                done += 1
        return done

    def carry(self, connection: sa.Connection) -> int:
        """What is needed of the old root key for ever."""
        connection.execute(carried_keys.delete())
        names = {FINGERPRINTS: self._from.fingerprints}
        names |= {f"{BACKUPS}{number:04}": key for number, key in enumerate(reversed(self._from.backup_roots))}
        kek = _store_kek(self._new)
        for name, key in names.items():
            wrapped = kek.seal(key.reveal(), _binding(self._new, name))
            connection.execute(carried_keys.insert().values(id=name, wrapped=wrapped, created_at=self._clock.now()))
        return len(names)


def _store_kek(root: RootKey) -> Kek:
    return Kek(root.subkey("vault-store").reveal(), SEALING_KEY, 1)


def _provider_kek(root: RootKey) -> Kek:
    key = kdf.subkey(root.subkey("vault-store").reveal(), "federation")
    return Kek(kdf.subkey(key, "sealing"), PROVIDERS, 1)


def _moved(old: Kek, new: Kek, blob: bytes, binding: Binding) -> bytes:
    return new.seal(old.open(blob, binding), binding)


def _put(connection: sa.Connection, table: sa.Table, row: sa.Row[tuple[object, ...]], **values: bytes) -> None:
    which = (table.c.tenancy == row.tenancy) & (table.c.id == row.id)
    connection.execute(table.update().where(which).values(**values))


def _binding(root: RootKey, name: str) -> Binding:
    return Binding("carried-key", "", root.region, name, SEALING_KEY)


def _mark(effective: Effective) -> str:
    engine = open_state(effective.state)
    try:
        with engine.connect() as connection:
            return str(connection.execute(sa.select(schema.region.c.root_mark)).scalar_one())
    finally:
        engine.dispose()


def _id_of(stage: Path) -> str:
    """Empty, and so of no region, while it was being staged."""
    try:
        return (stage / ID).read_text() or "-"
    except FileNotFoundError:
        return "-"


def _remove(stage: Path) -> None:
    # The id last: without it nothing of what is left counts.
    for name in (*STAGED, ID):
        (stage / name).unlink(missing_ok=True)
    stage.rmdir()
    sync(stage.parent)
