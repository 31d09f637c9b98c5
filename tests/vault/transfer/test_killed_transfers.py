"""Imports, backups and restores that end at any statement (SIGKILL): afterwards each has happened whole or not at all.

A child does the act on a copy of the region and is killed at its n-th statement, for every n there is; then the region
is opened by a fresh process.
"""

import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import event
from tests.fakes.domain import DomainRegion, make_region

from keystead.core.secret import Secret
from keystead.crypto import transport
from keystead.vault.transfer.importing import Wrapped

pytestmark = pytest.mark.slow
Act = Callable[[DomainRegion], object]


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    (tmp_path / "region").mkdir()
    return make_region(tmp_path / "region")


def killed(region: DomainRegion, directory: Path, act: Act) -> Iterator[tuple[bool, DomainRegion]]:
    """The region after each possible end of `act`; and whether the act had been acknowledged."""
    for number in count(1):
        there = directory / f"at-{number}"
        there.mkdir()
        copied = region.copy(there)
        child = os.fork()
        if not child:
            _do(copied, act, number)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "the act failed by itself"
        else:
            assert os.WTERMSIG(status) == signal.SIGKILL
        yield os.WIFEXITED(status), copied.again()
        if os.WIFEXITED(status):
            return


def _do(region: DomainRegion, act: Act, number: int) -> None:
    left = number

    def one(*_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    engine = region.store._engine
    event.listen(engine, "before_cursor_execute", one)
    event.listen(engine, "commit", one)
    try:
        act(region)
    except BaseException:
        os._exit(1)
    os._exit(0)


def test_an_import_is_whole_or_has_not_happened(region: DomainRegion, tmp_path: Path) -> None:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    wrapping = region.vaults.create_wrapping_key(region.admin, vault, "AES-256")
    given = Wrapped(wrapping.id, transport.wrap(wrapping.way, wrapping.public, Secret(bytes(32))))

    def act(there: DomainRegion) -> None:
        there.vaults.import_key(there.admin, there.tenancy, vault, "mine", given)

    trials = 0
    for acknowledged, after in killed(region, tmp_path, act):
        trials += 1
        with after.store.read() as tx:
            row = tx.vault.wrapping_key(region.tenancy, wrapping.id)
            keys = list(tx.vault.keys_in(tx.vault.vault(region.tenancy, vault)))  # type: ignore[arg-type]
        assert row is not None
        assert (len(keys), row.state, bool(row.wrapped)) in ((0, "OPEN", True), (1, "USED", False))
        assert keys or not acknowledged
        if not keys:
            act(after)  # it can be done again
        after.snapshot.refresh()
    assert trials > 5


@pytest.mark.parametrize("gone", ["deleted", "purged"])
def test_a_restored_key_is_whole_or_as_it_was(region: DomainRegion, tmp_path: Path, gone: str) -> None:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    key = region.vaults.create_key(region.admin, region.tenancy, vault, "k")
    region.snapshot.refresh()
    sealed = region.vaults.wrap(region.admin, key.id, b"one").blob
    region.vaults.rotate(region.admin, key.id)
    newer = region.vaults.wrap(region.admin, key.id, b"two").blob
    blob = region.vaults.back_up_key(region.admin, key.id).blob
    region.vaults.delete(region.admin, key.id)
    if gone == "purged":
        region.vaults.purge(region.admin, key.id)

    def act(there: DomainRegion) -> None:
        there.vaults.restore_key(there.admin, blob)

    for acknowledged, after in killed(region, tmp_path, act):
        found = after.vaults.get_key(after.admin, key.id)
        assert found.state == "DISABLED" or (found.state == gone.upper() and not acknowledged)
        if found.state != "DISABLED":
            act(after)
        after.vaults.enable(after.admin, key.id)
        assert [after.vaults.unwrap(after.admin, key.id, each) for each in (sealed, newer)] == [b"one", b"two"]


def test_a_vault_s_restore_goes_on_where_it_was_ended(region: DomainRegion, tmp_path: Path) -> None:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v", kind="private")
    keys = [region.vaults.create_key(region.admin, region.tenancy, vault.id, f"k{number}") for number in range(3)]
    region.snapshot.refresh()
    sealed = [region.vaults.wrap(region.admin, key.id, b"words").blob for key in keys]
    blob = region.vaults.back_up_vault(region.admin, vault.id).blob
    region.vaults.delete_vault(region.admin, vault.id)
    region.vaults.purge_vault(region.admin, vault.id)

    def act(there: DomainRegion) -> None:
        there.vaults.restore_vault(there.admin, blob)

    for acknowledged, after in killed(region, tmp_path, act):
        states = {after.vaults.get_key(after.admin, key.id).state for key in keys}
        assert len(states) == 1, "all of a part, or none"
        assert not acknowledged or states == {"DISABLED"}
        act(after)
        for key, each in zip(keys, sealed, strict=True):
            after.vaults.enable(after.admin, key.id)
            assert after.vaults.unwrap(after.admin, key.id, each) == b"words"


def test_a_backup_is_marked_only_when_it_was_made(region: DomainRegion, tmp_path: Path) -> None:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    key = region.vaults.create_key(region.admin, region.tenancy, vault, "k")
    region.snapshot.refresh()
    for acknowledged, after in killed(region, tmp_path, lambda there: there.vaults.back_up_key(there.admin, key.id)):
        assert bool(after.vaults.get_key(after.admin, key.id).backed_up_at) or not acknowledged
