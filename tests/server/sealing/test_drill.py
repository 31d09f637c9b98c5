"""The recovery drill: it passes when everything would be back, fails when not, and touches nothing."""

from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from tests.server.conftest import administrator
from tests.server.sealing.test_slots import key_file_of, nothing, recorded

from keystead.adapters.sql import schema
from keystead.core.clock import SystemClock
from keystead.seal.openers import Identity, KeyFile, NewShares, Shares
from keystead.server.init import Made
from keystead.server.sealing import slots
from keystead.server.sealing.drill import Drill, drill
from keystead.server.sealing.unseal import open_root
from keystead.server.settings import Effective
from keystead.server.wiring import Region, open_region

CLOCK = SystemClock()


@pytest.fixture
def with_keys(region: Effective, template: Made, tmp_path: Path) -> Effective:
    """A region with a few keys, and its memory somewhere of the test's own."""
    opened: Region = open_region(region, open_root(region), "test")
    try:
        caller = administrator(opened, template)
        vault = opened.vaults.create_vault(caller, template.tenancy_id, "prod")
        key = opened.vaults.create_key(caller, template.tenancy_id, vault.id, "gold")
        opened.vaults.rotate(caller, key.id)
    finally:
        opened.close()
    memory = tmp_path / "memory"
    memory.mkdir()
    databases = msgspec.structs.replace(region.settings.databases, tmpfs_dir=str(memory))
    return Effective(msgspec.structs.replace(region.settings, databases=databases), region.file, region.state)


def files(region: Effective) -> dict[str, bytes]:
    kept = ("seal.json", "authority.key", "keystead.toml")
    return {name: (region.state / name).read_bytes() for name in kept}


def failed(done: Drill) -> str:
    assert not done.passed
    return done.steps[-1].name


def test_with_shares_and_with_an_identity(with_keys: Effective) -> None:
    new, identity = NewShares(2, 3), Identity.generate()
    slots.add(with_keys, key_file_of(with_keys), new, nothing, CLOCK)
    slots.add(with_keys, key_file_of(with_keys), identity.recipient(), nothing, CLOCK)
    before = files(with_keys)
    for opener in (Shares(new.shares[:2]), identity):
        done = drill(with_keys, opener, CLOCK)
        assert done.passed, done
        assert done.steps[-1].detail == "2 key versions open"
    assert files(with_keys) == before
    assert list(Path(with_keys.settings.databases.tmpfs_dir).iterdir()) == []
    said = [reason for operation, reason in recorded(with_keys) if operation == "RecoveryDrill"]
    assert said == ["began", "passed", "began", "passed"]


def test_what_opens_nothing_fails(with_keys: Effective) -> None:
    assert failed(drill(with_keys, KeyFile.generate(), CLOCK)) == "open the root key by what was given"
    assert recorded(with_keys)[-1] == ("RecoveryDrill", "failed at: open the root key by what was given")


def test_a_key_that_does_not_open_fails(with_keys: Effective, template: Made) -> None:
    engine = sa.create_engine(f"sqlite:///{with_keys.state / 'state.db'}")
    with engine.begin() as connection:
        connection.execute(schema.key_versions.update().values(wrapped=b"x" * 150))
    engine.dispose()
    assert failed(drill(with_keys, key_file_of(with_keys), CLOCK)) == "start from it, and open every key"


def test_a_lost_authority_fails(with_keys: Effective) -> None:
    (with_keys.state / "authority.key").write_bytes(b"x" * 400)
    assert failed(drill(with_keys, key_file_of(with_keys), CLOCK)) == "open the certificate authority"


def test_what_an_interrupted_drill_left_is_swept(with_keys: Effective) -> None:
    left = Path(with_keys.settings.databases.tmpfs_dir) / "keystead-drill-4194303-x"
    left.mkdir()
    (left / "seal.json").write_bytes(b"{}")
    drill(with_keys, key_file_of(with_keys), CLOCK)
    assert not left.exists()
