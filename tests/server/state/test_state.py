"""State backup and restore: everything comes back, fenced; anything changed, cut or foreign is refused as a whole."""

import os
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.server.conftest import administrator

from keystead.adapters.sql import schema
from keystead.audit.query import EntryFilter
from keystead.core.clock import SystemClock
from keystead.core.errors import Refusal
from keystead.core.ids import new_id
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.crypto.stream import encrypt_stream, read_header
from keystead.seal.openers import KeyFile
from keystead.server import settings, wiring
from keystead.server.init import Made
from keystead.server.sealing.unseal import open_root
from keystead.server.settings import Effective
from keystead.server.state import backup as state
from keystead.server.state.backup import Restored, StateBackup
from keystead.server.wiring import Region
from keystead.server.work import Clerk

CLOCK = SystemClock()


@pytest.fixture
def backup(opened: Region, template: Made, tmp_path: Path) -> Path:
    """A backup of a region with a vault, a key and a database system."""
    caller = administrator(opened, template)
    vault = opened.vaults.create_vault(caller, template.tenancy_id, "prod")
    opened.vaults.create_key(caller, template.tenancy_id, vault.id, "finance")
    add_system(opened, template)
    Clerk(opened).copy_outbox()
    opened.index.integrate()
    path = tmp_path / "backup.ksb"
    path.write_bytes(b"".join(StateBackup(opened.guard, opened.effective, opened.backup_key, CLOCK).backup(caller)))
    return path


def add_system(opened: Region, template: Made, name: str = "flights") -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    row = {
        "tenancy": template.tenancy_id,
        "id": new_id("mysqldbsystem", "home"),
        "compartment": template.tenancy_id,
        "name": name,
        "state": "ACTIVE",
        "desired": "running",
        "confirmed": True,
        "created_at": moment,
    }
    with opened.store.note() as tx:
        tx.connection.execute(schema.db_systems.insert().values(**row))


def restore(path: Path, into: Path, region: Effective) -> Restored:
    return state.restore(path, into, region.key_file, None, CLOCK)


def refused(path: Path, into: Path, key_file: Path | None, passphrase: Secret | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        state.restore(path, into, key_file, passphrase, CLOCK)
    assert not into.exists()
    assert {found.name for found in into.parent.iterdir()} == set()
    return caught.value


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    place = tmp_path / "empty"
    place.mkdir()
    return place / "back"


def test_everything_comes_back_and_is_fenced(
    backup: Path, opened: Region, region: Effective, template: Made, empty: Path
) -> None:
    found = restore(backup, empty, region)
    assert (found.region, found.systems, found.keys, found.problems) == ("home", 1, 1, ())
    back = settings.load(state=empty, environment={})
    assert back.key_file == region.key_file
    again = wiring.open_region(back, open_root(back), "test")
    try:
        caller = administrator(again, template)
        keys = again.vaults.list_keys(caller, template.tenancy_id, PageRequest()).items
        assert [(key.name, key.state, key.changed_by) for key in keys] == [("finance", "DISABLED", "RestoreState")]
        with pytest.raises(Refusal) as caught:
            again.vaults.encrypt(caller, keys[0].id, b"text")
        assert caught.value.code == "KeyNotUsable"
        again.vaults.enable(caller, keys[0].id)
        assert again.vaults.encrypt(caller, keys[0].id, b"text").blob
        with again.store.read() as tx:
            rows = tx.connection.execute(schema.db_systems.select()).all()
        assert [row.confirmed for row in rows] == [False]
        # A generation above anything the region had: nobody takes a new change for an old one.
        assert again.freshness.generation() > opened.freshness.generation()
        Clerk(again).copy_outbox()
        again.index.integrate()
        entries = again.index.query(template.tenancy_id, EntryFilter(action="RestoreState"), PageRequest()).items
        assert len(entries) == 1
        assert entries[0].reason.startswith("restored from a backup of 2")
        assert again.index.query(template.tenancy_id, EntryFilter(action="CreateKey"), PageRequest()).items
    finally:
        again.close()


def test_the_passphrase_opens_it_too(backup: Path, template: Made, empty: Path) -> None:
    found = state.restore(backup, empty, None, template.passphrase, CLOCK)
    assert found.region == "home"


def test_the_key_files_place_is_not_taken_over_when_it_is_gone(
    backup: Path, region: Effective, template: Made, empty: Path, tmp_path: Path
) -> None:
    assert region.key_file is not None
    moved = tmp_path / "moved.key"
    moved.write_bytes(region.key_file.read_bytes())
    moved.chmod(0o400)
    state.restore(backup, empty, moved, None, CLOCK)
    assert settings.load(state=empty, environment={}).key_file == moved


def test_nothing_readable_is_in_it(backup: Path, opened: Region, template: Made) -> None:
    content = backup.read_bytes()
    for word in (b"finance", b"olivia", b"Administrators", b"PRIVATE KEY", b"SQLite"):
        assert word not in content
    with backup.open("rb") as source:
        fields = read_header(source).fields
    assert fields["region"] == "home"
    assert set(fields) == {"format", "version", "region", "created_at", "generation", "program", "seal"}


def test_flipped_anywhere_it_is_refused(backup: Path, region: Effective, empty: Path) -> None:
    content = backup.read_bytes()
    places = [0, 5, 12, 40, len(content) // 3, len(content) // 2, len(content) - 1]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 0x01
        backup.write_bytes(damaged)
        assert refused(backup, empty, region.key_file).code in ("InvalidBackup", "InvalidSealFile"), place


def test_cut_short_anywhere_it_is_refused(backup: Path, region: Effective, empty: Path) -> None:
    content = backup.read_bytes()
    for size in (0, 3, 100, 2000, len(content) // 2, len(content) - 17, len(content) - 1):
        backup.write_bytes(content[:size])
        assert refused(backup, empty, region.key_file).code == "InvalidBackup", size


def test_with_more_at_its_end_it_is_refused(backup: Path, region: Effective, empty: Path) -> None:
    with backup.open("ab") as file:
        file.write(b"x")
    assert refused(backup, empty, region.key_file).code == "InvalidBackup"


def test_the_wrong_key(backup: Path, empty: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(KeyFile.generate().content().reveal())
    other.chmod(0o400)
    assert refused(backup, empty, other).code == "WrongRootKey"
    assert refused(backup, empty, None, Secret(b"wrong wrong wrong")).code == "WrongRootKey"
    assert refused(backup, empty, None).code == "PassphraseNeeded"


def test_no_such_file(empty: Path, region: Effective, tmp_path: Path) -> None:
    assert refused(tmp_path / "nothing", empty, region.key_file).code == "NoBackup"


def test_over_a_region_that_is_there_it_is_refused(backup: Path, region: Effective) -> None:
    before = (region.state / "state.db").read_bytes()
    with pytest.raises(Refusal) as caught:
        restore(backup, region.state, region)
    assert caught.value.code == "RegionExists"
    assert (region.state / "state.db").read_bytes() == before


def test_who_may_not_gets_nothing(opened: Region, template: Made) -> None:
    caller = administrator(opened, template)
    _, password = opened.iam.create_user(caller, "dora")
    issued = opened.iam.sign_in("acme", "dora", password, "", "r")
    dora = opened.iam.authenticate(issued.token, "", "r")
    with pytest.raises(Refusal):
        StateBackup(opened.guard, opened.effective, opened.backup_key, CLOCK).backup(dora)


@pytest.mark.parametrize("name", ["../outside", "/etc/cron.d/x", "data/x", "keystead.toml", "audit/../x.00000001.seg"])
def test_members_that_do_not_belong_are_refused(
    name: str, backup: Path, opened: Region, region: Effective, empty: Path, tmp_path: Path
) -> None:
    """Even a writer who holds the key cannot make restore write elsewhere."""
    with backup.open("rb") as source:
        fields = dict(read_header(source).fields)

    def content() -> Iterator[bytes]:
        for member in ("keystead.toml", name):
            info = tarfile.TarInfo(member)
            yield info.tobuf(tarfile.USTAR_FORMAT)
        yield bytes(1024)

    backup.write_bytes(b"".join(encrypt_stream(opened.backup_key.reveal(), fields, content())))
    assert refused(backup, empty, region.key_file).code == "InvalidBackup"
    assert not (tmp_path / "outside").exists()


def test_killed_while_it_restores_it_can_be_done_again(backup: Path, region: Effective, empty: Path) -> None:
    child = os.fork()
    if not child:
        state.verify_trail = lambda _directory: os._exit(9)  # type: ignore[assignment]
        restore(backup, empty, region)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not empty.exists()
    assert (empty.parent / ".back.new").exists()
    restore(backup, empty, region)
    assert {path.name for path in empty.parent.iterdir()} == {"back"}


def test_no_copy_is_left_beside_the_region(backup: Path, region: Effective) -> None:
    assert not [path for path in region.runtime.iterdir() if path.name.startswith("backup-")]
