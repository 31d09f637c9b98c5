"""The machine and its key file are gone; a state backup and the recovery recipients are in hand: nothing is lost."""

from pathlib import Path

from tests.server.conftest import administrator
from tests.server.sealing.test_slots import key_file_of, nothing

from keystead.core.clock import SystemClock
from keystead.core.secret import Secret
from keystead.crypto.shares import Share
from keystead.seal.model import SealFile
from keystead.seal.openers import Identity, KeyFile, NewShares, Opener, Shares
from keystead.server import settings
from keystead.server.init import Made
from keystead.server.sealing import slots
from keystead.server.sealing.unseal import open_root, read_key_file
from keystead.server.settings import Effective
from keystead.server.state import backup as state
from keystead.server.state.backup import StateBackup
from keystead.server.wiring import open_region

CLOCK = SystemClock()


def printed(made: NewShares) -> list[Share]:
    """Shares as they come back from paper."""
    from keystead.crypto.shares import read

    return [read(Secret(share.text.reveal().upper())) for share in made.shares]


def test_from_backup_and_recipients_to_a_new_key_file(region: Effective, template: Made, tmp_path: Path) -> None:
    board, identity = NewShares(2, 3), Identity.generate()
    slots.add(region, key_file_of(region), board, nothing, CLOCK)
    slots.add(region, key_file_of(region), identity.recipient(), nothing, CLOCK)
    opened = open_region(region, open_root(region), "test")
    caller = administrator(opened, template)
    vault = opened.vaults.create_vault(caller, template.tenancy_id, "prod")
    key = opened.vaults.create_key(caller, template.tenancy_id, vault.id, "gold")
    file = tmp_path / "state.ksb"
    file.write_bytes(b"".join(StateBackup(opened.guard, opened.effective, opened.backup_key, CLOCK).backup(caller)))
    opened.close()

    openers: list[Opener] = [Shares(printed(board)[1:]), identity]
    for number, opener in enumerate(openers):
        into, path, made = tmp_path / f"back{number}", tmp_path / f"new{number}.key", KeyFile.generate()

        def giving(_seal: SealFile, opener: Opener = opener) -> Opener:
            return opener

        state.restore(file, into, tmp_path / "gone.key", None, CLOCK, giving)
        back = settings.load(state=into, environment={})
        assert back.key_file is None, "the one that is gone is not named"
        lost = next(slot.id for slot in slots.slots(back) if slot.kind == "key-file")
        slots.migrate(
            back,
            opener,
            lost,
            made,
            lambda path=path, made=made: slots.put_key_file(path, made),  # type: ignore[misc]
            lambda path=path: read_key_file(path),  # type: ignore[misc]
            path,
            CLOCK,
        )
        back = settings.load(state=into, environment={})
        again = open_region(back, open_root(back), "test")
        try:
            caller = administrator(again, template)
            again.vaults.enable(caller, key.id)
            entry = again.vaults.entry_of(caller, key.id)
            again.snapshot.keyring.material(entry, 1)
        finally:
            again.close()
