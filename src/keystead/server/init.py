"""`keystead init`: a new region, whole or not at all.

Everything is made in `.<name>.new` beside the state directory and becomes visible by one rename. What must lie outside
(key file, credentials file) is written just before and noted inside, so that the next `init` takes away what an
interrupted one left: nothing of it was ever a region. The secrets are shown before the rename for the same reason: a
region whose passphrase nobody saw cannot come to be.

    <state>/  keystead.toml  seal.json  state.db  ca.pem  authority.key (wrapped)
              audit/  host/ (machine.json, machine.key)  run/  log/  data/  backups/
"""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from keystead.core.clock import Clock, SystemClock
from keystead.core.errors import Refusal
from keystead.core.ids import CompartmentId, GroupId, MachineId, PolicyId, TenancyId, UserId, new_id
from keystead.core.secret import Secret
from keystead.crypto.sign import SigningKey
from keystead.crypto.x509 import Authority
from keystead.seal import service as seal
from keystead.seal.openers import KeyFile, Opener, Passphrase
from keystead.seal.service import RootKey
from keystead.server import authority
from keystead.server.locks import Lock
from keystead.server.settings import FILE_NAME, Effective, Settings, parse, render
from keystead.server.unseal import SEAL_NAME

if TYPE_CHECKING:
    from keystead.audit.model import Entry
    from keystead.iam.model import Tenancy

PENDING = "pending.json"
DIRECTORIES = ("audit", "host", "run", "log", "data", "backups")
STATE_MODE = 0o711  # database servers run under other uids and must get through to their own directories
ADMINISTRATORS = "Administrators"
STATEMENT = f"Allow group {ADMINISTRATORS} to manage all-resources in tenancy"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `init` is asked to make. `settings` holds region name, key file, port and so on."""

    state: Path
    settings: Settings
    tenancy: str
    admin: str
    credentials_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What has been made, with the secrets that are shown once."""

    effective: Effective
    tenancy: str
    tenancy_id: str
    admin: str
    machine: str
    passphrase: Secret = field(repr=False)
    password: Secret = field(repr=False)

    def credentials(self) -> dict[str, str]:
        """Everything a person or a script needs to go on. Holds secrets."""
        found = self.effective
        return {
            "url": found.url,
            "ca": str(found.state / authority.CERTIFICATE_NAME),
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
    _make_parents(state.parent, 0o755)
    building = state.with_name(f".{state.name}.new")
    with Lock(state.with_name(f".{state.name}.init.lock"), "init") as lock:
        _check_absent(state)
        _sweep(building)
        effective = parse(render(wanted.settings).encode(), state / FILE_NAME, {})
        _check_outside(effective, wanted.credentials_file)
        try:
            made, key_file = _build(wanted, effective, building, clock or SystemClock())
            _place_outside(made, key_file, wanted.credentials_file, building)
            show(made)
            _publish(building, state)
        except BaseException:
            if not state.exists():
                _sweep(building)
            raise
        lock.path.unlink(missing_ok=True)
    return made


def _check_absent(state: Path) -> None:
    if (state / FILE_NAME).exists() or (state / SEAL_NAME).exists():
        raise Refusal(
            "RegionExists",
            f"there is a region in {state} already; nothing was changed",
            hint="start it with `keystead up`, or choose another directory with --state",
            kind="conflict",
        )
    if state.exists() and (not state.is_dir() or any(state.iterdir())):
        raise Refusal("NotEmpty", f"{state} is not an empty directory", hint="choose another with --state")


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


def _build(wanted: Wanted, effective: Effective, building: Path, clock: Clock) -> tuple[Made, KeyFile | None]:
    """Everything but what lies outside, in `building`."""
    building.mkdir(mode=0o700)
    for name in DIRECTORIES:
        # Data directories belong to other uids: they may pass through, and list nothing.
        (building / name).mkdir(mode=STATE_MODE if name == "data" else 0o700)
    (building / "data").chmod(STATE_MODE)
    now = clock.now()
    region = effective.settings.region.name
    passphrase, text = Passphrase.generate("recovery passphrase")
    key_file = KeyFile.generate(str(effective.key_file)) if effective.key_file else None
    openers: list[Opener] = [key_file, passphrase] if key_file else [passphrase]
    sealed, root = seal.create(region, openers, now)
    _write(building / SEAL_NAME, sealed.encode())
    ca = Authority.create(region, now)
    _write(building / authority.CERTIFICATE_NAME, ca.pem, 0o644)
    _write(building / authority.KEY_NAME, authority.wrap(ca, root))
    machine_key = SigningKey.generate()
    machine = MachineId(new_id("machine", region))
    _write(building / "host" / "machine.key", machine_key.reveal_pem().reveal(), 0o400)
    described = {"id": machine, "name": socket.gethostname(), "region": region}
    _write(building / "host" / "machine.json", json.dumps(described, indent=1).encode() + b"\n")
    _write(building / FILE_NAME, render(wanted.settings).encode())
    tenancy_id, password = _first_rows(building, wanted, root, machine, machine_key, clock)
    root.wipe()
    return Made(effective, wanted.tenancy, tenancy_id, wanted.admin, machine, text, password), key_file


def _first_rows(
    building: Path, wanted: Wanted, root: RootKey, machine: MachineId, machine_key: SigningKey, clock: Clock
) -> tuple[str, Secret]:
    """The first tenancy with its administrator, in a fresh database."""
    from keystead.adapters.sql import migrations, schema
    from keystead.adapters.sql.engine import sqlite_engine
    from keystead.adapters.sql.store import SqlStore
    from keystead.crypto import passwords
    from keystead.iam.model import Compartment, Group, Policy, Tenancy, User
    from keystead.iam.names import check_name
    from keystead.iam.ports import Machine, Membership
    from keystead.iam.service import fresh_password

    check_name(wanted.tenancy, "tenancy")
    check_name(wanted.admin, "user")
    now, region = clock.now(), root.region
    engine = sqlite_engine(building / "state.db")
    try:
        migrations.upgrade(engine)
        with engine.connect().execution_options(writing=True) as connection, connection.begin():
            connection.execute(
                schema.region.insert().values(
                    name=region, generation=1, changed_at=now, created_at=now, rollback_accepted=False
                )
            )
        tenancy = Tenancy(TenancyId(new_id("tenancy", region)), wanted.tenancy, now)
        root_place = CompartmentId(tenancy.id)
        user = User(UserId(new_id("user", region)), tenancy.id, wanted.admin, "ACTIVE", "first administrator", now)
        group = Group(GroupId(new_id("group", region)), tenancy.id, ADMINISTRATORS, "may do everything", now)
        policy = Policy(
            PolicyId(new_id("policy", region)), tenancy.id, root_place, "administrators", (STATEMENT,), "", now
        )
        password = fresh_password()
        with SqlStore(engine, clock).write(_entry(tenancy, region, clock)) as tx:
            tx.iam.add_tenancy(tenancy)
            tx.iam.add_compartment(
                Compartment(root_place, tenancy.id, wanted.tenancy, None, (root_place,), "root compartment", now)
            )
            tx.iam.add_user(user, passwords.hash(password))
            tx.iam.add_group(group)
            tx.iam.set_membership(Membership(tenancy.id, group.id, user.id, deleted=False))
            tx.iam.add_policy(policy)
            tx.iam.add_machine(Machine(machine, socket.gethostname(), machine_key.public.raw, deleted=False))
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        engine.dispose()
    return tenancy.id, password


def _entry(tenancy: "Tenancy", region: str, clock: Clock) -> "Entry":
    from keystead.audit.model import Entry

    return Entry(
        id=new_id("entry", region),
        at=clock.now(),
        tenancy=tenancy.id,
        compartment=tenancy.id,
        principal_id="",
        principal_type="service",
        principal_name="init",
        requester="",
        token_id="",
        source="local",
        request_id="",
        action="",
        operation="CreateRegion",
        resource_type="tenancies",
        resource_id=tenancy.id,
        resource_name=tenancy.name,
        outcome="succeeded",
        code="",
        reason="",
        detail={"region": region},
    )


def _place_outside(made: Made, key_file: KeyFile | None, credentials_file: Path | None, building: Path) -> None:
    """Write key file and credentials, noted first so that an interrupted init can be swept away."""
    contents: dict[Path, bytes] = {}
    if key_file is not None and made.effective.key_file is not None:
        contents[made.effective.key_file] = key_file.content().reveal()
    if credentials_file is not None:
        contents[credentials_file.absolute()] = json.dumps(made.credentials(), indent=1).encode() + b"\n"
    noted = {str(path): hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    _write(building / PENDING, json.dumps(noted).encode())
    for path, content in contents.items():
        _make_parents(path.parent, 0o700)
        beside = _beside(path)
        _write(beside, content, 0o400 if path == made.effective.key_file else 0o600)
        os.link(beside, path)  # unlike a rename it never replaces another's file
        beside.unlink()
        _sync(path.parent)


def _publish(building: Path, state: Path) -> None:
    """Make it visible: sync everything, then one rename."""
    (building / PENDING).unlink()
    for directory, _, _ in os.walk(building):
        _sync(Path(directory))
    building.chmod(STATE_MODE)
    if state.exists():
        state.rmdir()
    building.rename(state)
    _sync(state.parent)


def _sweep(building: Path) -> None:
    """Take away what an interrupted init left. Outside files only when they are, byte for byte, what it wrote."""
    if not building.exists():
        return
    try:
        noted = json.loads((building / PENDING).read_bytes())
    except (OSError, ValueError):
        noted = {}
    for name, digest in noted.items():
        path = Path(name)
        _beside(path).unlink(missing_ok=True)
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            path.unlink()
    shutil.rmtree(building)


def _make_parents(directory: Path, mode: int) -> None:
    """Make what is missing, with just this mode: our umask is narrower than others may pass through."""
    if not directory.exists():
        _make_parents(directory.parent, 0o755)
        directory.mkdir()
        directory.chmod(mode)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.keystead-init")


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
