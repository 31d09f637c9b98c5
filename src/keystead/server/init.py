"""`keystead init`: a new region, whole or not at all (building.py).

The secrets are shown before the region becomes visible: a region whose passphrase nobody saw cannot come to be.

    <state>/  keystead.toml  seal.json  state.db  ca.pem  authority.key (wrapped)
             databases-ca.pem  databases-authority.key (wrapped)
              audit/  host/ (machine.json, machine.key)  run/  log/  data/  backups/
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from keystead.core.clock import Clock, SystemClock
from keystead.core.errors import Refusal
from keystead.core.ids import MachineId, new_id
from keystead.core.secret import Secret
from keystead.crypto.sign import SigningKey
from keystead.crypto.x509 import Authority
from keystead.seal import service as seal
from keystead.seal.openers import KeyFile, Maker, NewShares, Passphrase
from keystead.server import authority, machine
from keystead.server.machine import ThisMachine
from keystead.server.sealing.unseal import SEAL_NAME, read_recipient
from keystead.server.sections import Settings
from keystead.server.settings import FILE_NAME, Effective, parse, render
from keystead.server.state.building import Building, building, write

if TYPE_CHECKING:
    from keystead.audit.model import Entry
    from keystead.iam.model import Tenancy


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `init` is asked to make. `settings` holds region name, key file, port and so on.

    `recovery_shares`: how many shares open the region, of how many. `recovery_recipients`: files with public halves.
    """

    state: Path
    settings: Settings
    tenancy: str
    admin: str
    credentials_file: Path | None = None
    recovery_shares: tuple[int, int] | None = None
    recovery_recipients: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """What has been made, with the secrets that are shown once."""

    effective: Effective
    tenancy: str
    tenancy_id: str
    admin: str
    passphrase: Secret = field(repr=False)
    password: Secret = field(repr=False)
    key_file: Secret | None = field(repr=False, default=None)
    shares: NewShares | None = field(repr=False, default=None)

    def credentials(self) -> dict[str, str]:
        """All that a person or a script needs to go on. Holds secrets; neither the key file's content nor shares."""
        found = self.effective
        return {
            "url": found.url,
            "ca": str(found.state / authority.API.certificate),
            "region": found.settings.region.name,
            "state": str(found.state),
            "key_file": str(found.key_file or ""),
            "tenancy": self.tenancy,
            "tenancy_id": self.tenancy_id,
            "user": self.admin,
            "password": self.password.reveal().decode(),
            "passphrase": self.passphrase.reveal().decode(),
        }


def init(wanted: Wanted, show: Callable[[Made], None], clock: Clock | None = None) -> Made:
    """Make a region. `show` is called with the secrets when everything is ready but not visible yet.

    Raises:
        Refusal: `RegionExists`, `KeyFileExists`, `CredentialsExist`, `InvalidSettings`, `NotEmpty`, `AlreadyRunning`.
    """
    state = wanted.state.absolute()
    with building(state, "init") as site:
        effective = parse(render(wanted.settings).encode(), state / FILE_NAME, {})
        _check_outside(effective, wanted.credentials_file)
        site.lay_out()
        made = _build(wanted, effective, site.directory, clock or SystemClock())
        _write_outside(site, made, wanted.credentials_file)
        show(made)
        site.publish()
    return made


def _check_outside(effective: Effective, credentials_file: Path | None) -> None:
    key_file = effective.key_file
    if key_file is not None and key_file.exists():
        raise Refusal(
            "KeyFileExists",
            f"there is a file {key_file} already; it may be another region's only key",
            hint="choose another with --key-file",
            kind="conflict",
        )
    if credentials_file is not None and credentials_file.exists():
        raise Refusal(
            "CredentialsExist", f"there is a file {credentials_file} already", hint="choose another", kind="conflict"
        )


def _write_outside(site: Building, made: Made, credentials_file: Path | None) -> None:
    contents: dict[Path, tuple[bytes, int]] = {}
    if made.key_file is not None and made.effective.key_file is not None:
        contents[made.effective.key_file] = (made.key_file.reveal(), 0o400)
    if credentials_file is not None:
        text = json.dumps(made.credentials(), indent=1).encode() + b"\n"
        contents[credentials_file.absolute()] = (text, 0o600)
    site.write_outside(contents)


def _build(wanted: Wanted, effective: Effective, directory: Path, clock: Clock) -> Made:
    """Everything but what lies outside."""
    now = clock.now()
    region = effective.settings.region.name
    passphrase, text = Passphrase.generate("recovery passphrase")
    key_file = KeyFile.generate(str(effective.key_file)) if effective.key_file else None
    makers: list[Maker] = [key_file, passphrase] if key_file else [passphrase]
    shares = NewShares(*wanted.recovery_shares, "recovery shares") if wanted.recovery_shares else None
    makers += [shares] if shares else []
    makers += [read_recipient(path) for path in wanted.recovery_recipients]
    sealed, root = seal.create(region, makers, now)
    write(directory / SEAL_NAME, sealed.encode())
    for kind, name in ((authority.API, region), (authority.DATABASES, f"{region}, databases")):
        ca = Authority.create(name, now)
        write(directory / kind.certificate, ca.pem, 0o644)
        write(directory / kind.key, authority.wrap(ca, root, kind))
    root.wipe()
    machine_key = SigningKey.generate()
    here = ThisMachine.named_here(MachineId(new_id("machine", region)), region)
    write(directory / machine.DIRECTORY / machine.KEY_FILE, machine_key.reveal_pem().reveal(), 0o400)
    write(directory / machine.DIRECTORY / machine.NAME_FILE, here.encode())
    write(directory / FILE_NAME, render(wanted.settings).encode())
    tenancy_id, password = _first_rows(directory, wanted, here, machine_key, clock)
    content = key_file.content() if key_file else None
    return Made(effective, wanted.tenancy, tenancy_id, wanted.admin, text, password, content, shares)


def _first_rows(
    directory: Path, wanted: Wanted, here: ThisMachine, machine_key: SigningKey, clock: Clock
) -> tuple[str, Secret]:
    """The first tenancy with its administrator, in a fresh database."""
    from keystead.adapters.sql import migrations, schema
    from keystead.adapters.sql.engine import sqlite_engine
    from keystead.adapters.sql.store import SqlStore
    from keystead.crypto import passwords
    from keystead.iam.passwords import fresh_password
    from keystead.iam.ports import Machine
    from keystead.iam.tenancies import founding
    from keystead.server.state.opening import STATE_FILE

    now, region = clock.now(), here.region
    first = founding(wanted.tenancy, wanted.admin, region, now)
    tenancy = first.tenancy
    password = fresh_password()
    engine = sqlite_engine(directory / STATE_FILE)
    try:
        migrations.upgrade(engine)
        with engine.connect().execution_options(writing=True) as connection, connection.begin():
            row = {"name": region, "generation": 1, "changed_at": now, "created_at": now, "rollback_accepted": False}
            connection.execute(schema.region.insert().values(**row))
        with SqlStore(engine, clock).write(_entry(tenancy, region, clock)) as tx:
            first.store(tx, passwords.hash(password))
            tx.iam.add_machine(Machine(here.id, here.name, machine_key.public.raw, deleted=False))
    finally:
        engine.dispose()
    return tenancy.id, password


def _entry(tenancy: "Tenancy", region: str, clock: Clock) -> "Entry":
    from keystead.server.operator import operator_entry

    return operator_entry(
        "CreateRegion",
        clock,
        region,
        tenancy=tenancy.id,
        resource_type="tenancies",
        resource_id=tenancy.id,
        resource_name=tenancy.name,
    )
