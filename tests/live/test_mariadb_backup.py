"""Backup out of a running server, restore into another system with other keys at another mount."""

import threading
import time
from collections.abc import Iterator

import pytest
from tests.live.conftest import Machine, Node
from tests.live.test_mariadb_client import rotated

from keystead.adapters.mariadb import accounts
from keystead.adapters.mariadb.backup import BackupRun, restore_into
from keystead.adapters.mariadb.client import Admin
from keystead.adapters.mariadb.scan import scan
from keystead.core.errors import Fault, KeysteadError, Refusal
from keystead.core.secret import Secret
from keystead.databases.accounts import native_password_hash

pytestmark = pytest.mark.live


def backup(node: Node, admin: Admin, token: Secret | None = None) -> BackupRun:
    token = token or node.machine.keyring.token(node.mount, node.owner.uid)
    return BackupRun(admin, node.config, node.owner, node.directories.data.parent, node.log, token)


def restore(node: Node, chunks: Iterator[bytes] | list[bytes]) -> dict[str, str]:
    node.directories.make(node.owner)
    token = node.machine.keyring.token(node.mount, node.owner.uid)
    found = restore_into(node.directories, node.owner, node.config, node.config_file, node.log, token, chunks)
    return dict(found)


def with_keys_of(source: Node, copy: Node) -> None:
    """The copy may read the source's versions, as a backup carries them; its own come from the same counter on."""
    ring = source.machine.keyring
    ring.keys[copy.mount] = dict(ring.keys[source.mount])
    ring.latest[copy.mount] = dict(ring.latest[source.mount])
    ring.counter[copy.mount] = ring.counter[source.mount]


@pytest.fixture(scope="module")
def source(shared_node: Node) -> Node:
    with Admin.connect(shared_node.config.socket) as admin:
        admin.run("CREATE SCHEMA s", "CREATE TABLE s.t (a INT PRIMARY KEY, b TEXT)")
        admin.run("INSERT INTO s.t SELECT seq, CONCAT('a row to look for ', SHA1(seq)) FROM s.seq_1_to_5000")
        accounts.put_administrator(admin, "boss", native_password_hash(Secret(b"x")))
    return shared_node


@pytest.fixture(scope="module")
def stream(source: Node) -> list[bytes]:
    with Admin.connect(source.config.socket) as admin:
        return list(backup(source, admin).chunks())


def test_a_stream_leaves_nothing_behind(source: Node, stream: list[bytes]) -> None:
    content = b"".join(stream)
    assert len(content) > 1 << 20
    assert b"a row to look for" not in content
    with Admin.connect(source.config.socket) as admin:
        assert accounts.BACKUP_ACCOUNT not in {account.name for account in accounts.accounts(admin)}
        checked = scan(source.directories.data, temporary=[source.directories.tmp], canaries=[b"a row to look for"])
    assert checked.holds
    assert not [finding for finding in checked.files if finding.where == "temporary"]
    messages = source.log.with_name("backup.log").read_text()
    assert "completed OK" in messages and "password: set" in messages  # never which


def test_restored_under_another_mount_and_then_under_other_keys(source: Node, stream: list[bytes]) -> None:
    machine = source.machine
    with Admin.connect(source.config.socket) as admin:
        before, position = admin.checksums(), admin.position()
    copy = machine.node()
    with_keys_of(source, copy)
    assert restore(copy, stream)["gtid"] == position
    assert not list(copy.directories.data.glob("*backup*"))
    server = copy.start()
    with Admin.connect(copy.config.socket) as admin:
        assert admin.checksums() == before
        assert {account.name for account in accounts.accounts(admin)} > {"boss", "mariadb.sys"}
        accounts.put_administrator(admin, "chief", native_password_hash(Secret(b"y")))
        accounts.drop_account(admin, "boss")
        assert not {account.name for account in accounts.accounts(admin)} & {"boss", accounts.BACKUP_ACCOUNT}
        old = {version for (_, version) in machine.keyring.keys[copy.mount]}
        new = machine.keyring.publish(copy.mount, 1, step=2)
        assert admin.look() == new
        admin.set_rotation_speed(10000)
        rotated(admin)
        admin.purge_binlogs(admin.flush_binlogs())
        assert admin.checksums() == before
    checked = scan(copy.directories.data)
    assert checked.holds
    for version in old:
        left = {name for name in checked.versions().get(version, ()) if "doublewrite" not in name}
        assert left <= {"ib_logfile0"}
    assert server.process.is_alive()


def test_rows_acknowledged_during_a_backup(source: Node) -> None:
    """What was there when it began is in it; the writer goes on."""
    with Admin.connect(source.config.socket) as admin, Admin.connect(source.config.socket) as writer:
        writer.run("CREATE TABLE IF NOT EXISTS s.log (a INT PRIMARY KEY)")
        stop, written = threading.Event(), [0]

        def write() -> None:
            while not stop.is_set():
                writer.query("INSERT INTO s.log VALUES (%s)", written[0] + 1)
                written[0] += 1

        thread = threading.Thread(target=write)
        thread.start()
        while written[0] < 20:
            time.sleep(0.001)
        first = written[0]
        chunks = list(backup(source, admin).chunks())
        stop.set()
        thread.join()
    copy = source.machine.node()
    with_keys_of(source, copy)
    restore(copy, chunks)
    copy.start()
    with Admin.connect(copy.config.socket) as admin:
        count, most = admin.query("SELECT COUNT(*), MAX(a) FROM s.log")[0]
        assert count == most and first <= count <= written[0]


def test_without_keys_there_is_no_backup(source: Node) -> None:
    with Admin.connect(source.config.socket) as admin, pytest.raises(Fault) as failed:
        list(backup(source, admin, Secret(b"an unknown token")).chunks())
    assert failed.value.code == "BackupFailed"
    with Admin.connect(source.config.socket) as admin:
        assert accounts.BACKUP_ACCOUNT not in {account.name for account in accounts.accounts(admin)}


def test_a_backup_that_is_given_up_leaves_no_child(source: Node) -> None:
    with Admin.connect(source.config.socket) as admin:
        run = backup(source, admin)
        chunks = run.chunks()
        next(chunks)
        assert run.process is not None
        identity = run.process.identity
        chunks.close()
        assert run.process is None and not identity.is_alive()


def test_a_fence_ends_a_backup(machine: Machine) -> None:
    node = machine.running()
    with Admin.connect(node.config.socket) as admin:
        run = backup(node, admin)
        chunks = run.chunks()
        next(chunks)
        assert run.process is not None and node.server is not None
        run.process.kill()
        node.server.kill()
        with pytest.raises(KeysteadError):
            list(chunks)


@pytest.mark.parametrize("what", ["cut", "nothing", "flipped", "failing source"])
def test_a_broken_stream_leaves_an_empty_directory(source: Node, stream: list[bytes], what: str) -> None:
    copy = source.machine.node()
    with_keys_of(source, copy)
    content = b"".join(stream)

    def chunks() -> Iterator[bytes]:
        match what:
            case "cut":
                yield content[: len(content) // 2]
            case "flipped":
                yield content[:20000] + bytes(byte ^ 1 for byte in content[20000:90000]) + content[90000:]
            case "failing source":
                yield content[:100000]
                raise Refusal("Unreadable", "the next chunk does not open")

    with pytest.raises(KeysteadError):
        restore(copy, chunks())
    assert list(copy.directories.data.iterdir()) == []


def test_a_restore_without_the_keys_fails(source: Node, stream: list[bytes]) -> None:
    copy = source.machine.node()  # with keys of its own, not the source's
    with pytest.raises(Fault) as failed:
        restore(copy, stream)
    assert failed.value.code == "RestoreFailed"
    assert list(copy.directories.data.iterdir()) == []


def test_never_over_another_directory(source: Node, stream: list[bytes]) -> None:
    copy = source.machine.node()
    copy.directories.make(copy.owner)
    (copy.directories.data / "something").write_text("precious")
    with pytest.raises(Refusal):
        restore(copy, stream)
    assert (copy.directories.data / "something").exists()
