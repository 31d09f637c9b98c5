"""The vault against a small model, with restarts and a second reader; and what each method refuses."""

import secrets
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from tests.fakes.domain import DomainRegion, make_region
from tests.refusals import refused

from keystead.adapters.sql.freshness import SqliteFreshness
from keystead.core.errors import Refusal
from keystead.core.ids import new_id
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.iam.directory import Directory
from keystead.iam.model import Caller
from keystead.vault.lifecycle.table import KEYS
from keystead.vault.memory.keyring import Keyring
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.use.operations import MAX_PLAINTEXT

ALL = PageRequest(1000)
MEMORY = Path("/dev/shm")
_template: list[tuple[DomainRegion, list[Caller], list[str]]] = []


def template() -> tuple[DomainRegion, list[Caller], list[str]]:
    """A region with two tenancies, each with an administrator and a vault; made once."""
    if not _template:
        region = make_region(Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None)))
        callers = [region.admin, region.new_tenancy("globex")]
        region.snapshot.refresh()
        vaults = [region.vaults.create_vault(caller, caller.principal.tenancy, "v").id for caller in callers]
        _template.append((region, callers, list(vaults)))
    return _template[0]


@dataclass(frozen=True)
class Blob:
    """What was sealed, with what and how."""

    key: str
    version: int
    use: str
    associated: bytes
    plaintext: bytes
    blob: bytes


@dataclass
class Model:
    """A key as it ought to be."""

    owner: int
    state: str = "ENABLED"
    current: int = 1


OPEN = {"data": "decrypt", "key": "unwrap"}
ASSOCIATED = st.sampled_from([b"", b"a", b"b"])
READER = st.integers(0, 1)


class VaultMachine(RuleBasedStateMachine):
    """Two readers on one file, each a process of its own; now and then one is started again."""

    keys = Bundle("keys")
    blobs = Bundle("blobs")

    @initialize()
    def begin(self) -> None:
        source, self.callers, self.vaults = template()
        self.directory = Path(tempfile.mkdtemp(dir=source.path.parent))
        self.readers = [source.copy(self.directory)]
        self.readers.append(self.readers[0].again())
        self.model: dict[str, Model] = {}
        self.made: list[Blob] = []

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)

    def refused(self, code: str, run: Callable[[], object]) -> None:
        with pytest.raises(Refusal) as caught:
            run()
        assert caught.value.code == code, caught.value.message

    @rule(which=READER)
    def restart(self, which: int) -> None:
        self.readers[which] = self.readers[which].again()

    @rule(target=keys, which=READER, owner=st.integers(0, 1))
    def create(self, which: int, owner: int) -> str:
        caller, region = self.callers[owner], self.readers[which]
        made = region.vaults.create_key(caller, caller.principal.tenancy, self.vaults[owner], f"k{len(self.model)}")
        self.model[made.id] = Model(owner)
        return made.id

    @rule(which=READER, key=keys, move=st.sampled_from(["enable", "disable"]))
    def move(self, which: int, key: str, move: str) -> None:
        model, region = self.model[key], self.readers[which]
        run = getattr(region.vaults, move)
        if (model.state, move) in KEYS.moves:
            run(self.callers[model.owner], key)
            model.state = KEYS.after(model.state, move, "k")  # type: ignore[arg-type]
        else:
            self.refused("IllegalState", lambda: run(self.callers[model.owner], key))

    @rule(which=READER, key=keys)
    def rotate(self, which: int, key: str) -> None:
        model, region = self.model[key], self.readers[which]
        if model.state == "ENABLED":
            assert region.vaults.rotate(self.callers[model.owner], key).current == model.current + 1
            model.current += 1
        else:
            self.refused("KeyNotUsable", lambda: region.vaults.rotate(self.callers[model.owner], key))

    @rule(target=blobs, which=READER, key=keys, use=st.sampled_from(["data", "key", "new"]), associated=ASSOCIATED)
    def seal(self, which: int, key: str, use: str, associated: bytes) -> object:
        model, vaults = self.model[key], self.readers[which].vaults
        caller, plaintext = self.callers[model.owner], secrets.token_bytes(16)
        run: dict[str, Callable[[], object]] = {
            "data": lambda: vaults.encrypt(caller, key, plaintext, associated),
            "key": lambda: vaults.wrap(caller, key, plaintext, associated),
            "new": lambda: vaults.generate_data_key(caller, key, associated),
        }
        if model.state != "ENABLED":
            self.refused("KeyNotUsable", run[use])
            return multiple()
        sealed = run[use]()
        assert sealed.key_version == model.current  # type: ignore[attr-defined]
        if use == "new":
            plaintext = sealed.plaintext  # type: ignore[attr-defined]
        blob = Blob(key, model.current, "data" if use == "data" else "key", associated, plaintext, sealed.blob)  # type: ignore[attr-defined]
        assert plaintext not in blob.blob
        self.made.append(blob)
        return blob

    @rule(which=READER, blob=blobs)
    def open(self, which: int, blob: Blob) -> None:
        """As it was sealed: it opens, by whatever version, as long as the key is enabled."""
        model, vaults = self.model[blob.key], self.readers[which].vaults
        caller, run = self.callers[model.owner], getattr(vaults, OPEN[blob.use])
        if model.state == "ENABLED":
            assert run(caller, blob.key, blob.blob, blob.associated) == blob.plaintext
        else:
            self.refused("KeyNotUsable", lambda: run(caller, blob.key, blob.blob, blob.associated))

    @rule(which=READER, blob=blobs, other=keys, what=st.sampled_from(["key", "use", "context"]))
    def mix(self, which: int, blob: Blob, other: str, what: str) -> None:
        """With another key, use or context: it never opens, and every cause looks alike."""
        key, use, associated = blob.key, blob.use, blob.associated
        if what == "key":
            key = other
        elif what == "use":
            use = "data" if use == "key" else "key"
        else:
            associated += b"more"
        if (key, use, associated) == (blob.key, blob.use, blob.associated):
            return
        model, vaults = self.model[key], self.readers[which].vaults
        code = "Unreadable" if model.state == "ENABLED" else "KeyNotUsable"
        run = getattr(vaults, OPEN[use])
        self.refused(code, lambda: run(self.callers[model.owner], key, blob.blob, associated))

    @rule(which=READER, blob=blobs, key=keys)
    def steal(self, which: int, blob: Blob, key: str) -> None:
        """The other tenancy: the key does not exist."""
        model, vaults = self.model[key], self.readers[which].vaults
        stranger = self.callers[1 - model.owner]
        self.refused("NotFound", lambda: vaults.unwrap(stranger, key, blob.blob, blob.associated))
        self.refused("NotFound", lambda: vaults.disable(stranger, key))

    @rule(target=blobs, which=READER, blob=blobs, associated=ASSOCIATED)
    def rewrap(self, which: int, blob: Blob, associated: bytes) -> object:
        model, vaults = self.model[blob.key], self.readers[which].vaults
        caller = self.callers[model.owner]
        if model.state != "ENABLED":
            self.refused("KeyNotUsable", lambda: vaults.rewrap(caller, blob.key, blob.blob, associated))
        elif associated != blob.associated:
            self.refused("Unreadable", lambda: vaults.rewrap(caller, blob.key, blob.blob, associated))
        else:
            made = vaults.rewrap(caller, blob.key, blob.blob, associated)
            assert made.key_version == model.current
            assert made.blob != blob.blob
            return replace(blob, version=model.current, blob=made.blob)
        return multiple()

    @rule(which=READER, blob=blobs, place=st.integers(0, 400), bit=st.integers(0, 7))
    def flip(self, which: int, blob: Blob, place: int, bit: int) -> None:
        model, vaults = self.model[blob.key], self.readers[which].vaults
        if model.state == "ENABLED":
            broken = bytearray(blob.blob)
            broken[place % len(broken)] ^= 1 << bit
            run = getattr(vaults, OPEN[blob.use])
            self.refused("Unreadable", lambda: run(self.callers[model.owner], blob.key, bytes(broken), blob.associated))

    @rule(which=READER, key=keys)
    def look(self, which: int, key: str) -> None:
        model, vaults = self.model[key], self.readers[which].vaults
        found = vaults.get_key(self.callers[model.owner], key)
        assert (found.state, found.current) == (model.state, model.current)
        versions = vaults.list_versions(self.callers[model.owner], key, ALL).items
        assert [version.number for version in versions] == list(range(1, model.current + 1))

    @invariant()
    def no_cipher_object_of_a_disabled_key_stays(self) -> None:
        for region in getattr(self, "readers", ()):
            for entry in region.snapshot.keyring.entries():
                if entry.key.state == "DISABLED":
                    assert not entry.materials

    @invariant()
    def nothing_shows_what_was_sealed(self) -> None:
        for region in getattr(self, "readers", ()):
            shown = repr(list(region.snapshot.keyring.entries())) + repr(region.journal.entries)
            for blob in self.made[-3:]:
                assert repr(blob.plaintext)[2:-1] not in shown
                assert blob.plaintext.hex() not in shown


# Shrinking would take minutes: each step is a real transaction. The steps of a failure are printed as they were.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
VaultMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=40, deadline=None, phases=_PHASES)
TestVault = VaultMachine.TestCase


# what each method refuses


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    return template()[0].copy(tmp_path)


@pytest.fixture
def key(region: DomainRegion) -> str:
    made = region.vaults.create_key(region.admin, region.tenancy, template()[2][0], "finance")
    region.snapshot.refresh()
    return made.id


def test_at_most_64_kib_at_once(region: DomainRegion, key: str) -> None:
    region.vaults.encrypt(region.admin, key, bytes(MAX_PLAINTEXT))
    refusal = refused(lambda: region.vaults.encrypt(region.admin, key, bytes(MAX_PLAINTEXT + 1)))
    assert (refusal.code, refusal.kind) == ("TooLarge", "too_large")
    assert refused(lambda: region.vaults.wrap(region.admin, key, bytes(MAX_PLAINTEXT + 1))).code == "TooLarge"


def test_a_disabled_key_says_who_disabled_it_and_when(region: DomainRegion, key: str) -> None:
    region.clock.advance(5)
    region.vaults.disable(region.admin, key)
    refusal = refused(lambda: region.vaults.encrypt(region.admin, key, b"x"))
    assert refusal.message == "key 'finance' is DISABLED since 2026-01-01T00:00:05.000Z (by admin)"
    assert refusal.recorded
    assert "keystead key enable finance" in refusal.hint


def test_a_stale_version_moves_nothing(region: DomainRegion, key: str) -> None:
    for run in (region.vaults.disable, region.vaults.rotate):
        assert refused(lambda run=run: run(region.admin, key, 7)).code == "Stale"
    assert region.vaults.disable(region.admin, key, 1).version == 2
    assert refused(lambda: region.vaults.enable(region.admin, key, 1)).code == "Stale"


def test_two_readers_moving_at_once_both_look_at_what_is(region: DomainRegion, key: str) -> None:
    other = region.again()
    region.vaults.disable(region.admin, key)
    assert refused(lambda: other.vaults.disable(region.admin, key)).code == "IllegalState"


def test_who_may_encrypt_may_not_decrypt_by_that(region: DomainRegion, key: str) -> None:
    writer, reader = region.user("writer", "Writers"), region.user("reader", "Readers")
    region.allow("Allow group Writers to {KEY_ENCRYPT} in tenancy", "Allow group Readers to {KEY_DECRYPT} in tenancy")
    region.snapshot.refresh()
    sealed = region.vaults.encrypt(writer, key, b"words")
    assert region.vaults.decrypt(reader, key, sealed.blob) == b"words"
    refused(lambda: region.vaults.decrypt(writer, key, sealed.blob))
    refused(lambda: region.vaults.encrypt(reader, key, b"words"))
    for person in (writer, reader):
        refused(lambda person=person: region.vaults.rewrap(person, key, sealed.blob))


def test_a_data_key_is_shown_only_when_wanted(region: DomainRegion, key: str) -> None:
    made = region.vaults.generate_data_key(region.admin, key, plaintext_wanted=False)
    assert made.plaintext is None
    shown = region.vaults.generate_data_key(region.admin, key)
    assert shown.plaintext is not None
    assert repr(shown.plaintext) not in repr(shown)
    assert region.vaults.unwrap(region.admin, key, shown.blob) == shown.plaintext


@pytest.mark.parametrize("blob", [b"", b"KSE", b"x" * 200, bytes(1000)])
def test_what_is_no_envelope_does_not_open(region: DomainRegion, key: str, blob: bytes) -> None:
    for run in (region.vaults.decrypt, region.vaults.unwrap, region.vaults.rewrap):
        refusal = refused(lambda run=run: run(region.admin, key, blob))
        assert (refusal.code, refusal.recorded) == ("Unreadable", True)


def test_a_version_that_never_was_does_not_open(region: DomainRegion, key: str) -> None:
    """An envelope of a version from the future, as after a state brought back."""
    older = region.copy(_fresh(region.path.parent / "older"))
    region.vaults.rotate(region.admin, key)
    newer = region.vaults.encrypt(region.admin, key, b"words")
    assert newer.key_version == 2
    assert refused(lambda: older.vaults.decrypt(region.admin, key, newer.blob)).code == "Unreadable"


def _fresh(directory: Path) -> Path:
    directory.mkdir()
    return directory


def test_under_another_root_key_nothing_opens(region: DomainRegion, key: str) -> None:
    directory = Directory()
    snapshot = Snapshot(directory, Keyring(Secret(bytes(32)), directory, "home"), SqliteFreshness(region.path))
    snapshot.refresh()
    entry = snapshot.keyring.get(key)
    assert entry is not None
    assert refused(lambda: snapshot.keyring.material(entry, 1)).code == "Unreadable"


def test_key_material_moved_to_another_row_does_not_open(region: DomainRegion, key: str) -> None:
    """Law 3: bound to key, version, tenancy and region."""
    other = region.vaults.create_key(region.admin, region.tenancy, template()[2][0], "other").id
    region.vaults.rotate(region.admin, key)
    with region.store.note() as tx:
        rows = tx.vault.versions(region.tenancy, key)
        swap = "UPDATE key_versions SET wrapped = ? WHERE key = ? AND number = ?"
        tx.connection.exec_driver_sql(swap, (rows[0].wrapped, key, 2))
        tx.connection.exec_driver_sql(swap, (rows[0].wrapped, other, 1))
    again = region.again()
    assert refused(lambda: again.vaults.encrypt(region.admin, key, b"x")).code == "Unreadable"
    assert refused(lambda: again.vaults.encrypt(region.admin, other, b"x")).code == "Unreadable"


def test_versions_come_in_pages(region: DomainRegion, key: str) -> None:
    for _ in range(4):
        region.vaults.rotate(region.admin, key)
    found, cursor = [], None
    while True:
        page = region.vaults.list_versions(region.admin, key, PageRequest.of(2, cursor))
        found += [version.number for version in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert found == [1, 2, 3, 4, 5]


def test_a_key_needs_a_vault_of_its_own_tenancy(region: DomainRegion) -> None:
    foreign = template()[2][1]
    refusal = refused(lambda: region.vaults.create_key(region.admin, region.tenancy, foreign, "k"))
    absent = refused(lambda: region.vaults.create_key(region.admin, region.tenancy, new_id("vault", "home"), "k"))
    assert (refusal.code, refusal.message) == (absent.code, absent.message)
