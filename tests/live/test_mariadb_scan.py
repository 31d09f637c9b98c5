"""What a real server leaves on disk, and that the scan can tell when it is in clear."""

import ctypes
import platform
import signal
import threading
from dataclasses import replace

import pytest
from tests.live.conftest import Machine, Node
from tests.live.test_mariadb_client import rotated

from keystead.adapters.mariadb.client import Admin
from keystead.adapters.mariadb.scan import FileFinding, Report, binlog_versions, redo_version, scan
from keystead.core.errors import Unavailable

pytestmark = pytest.mark.live
SYS_TGKILL = {"x86_64": 234, "aarch64": 131}[platform.machine()]


def report(node: Node, canaries: tuple[bytes, ...] = ()) -> Report:
    return scan(node.directories.data, temporary=[node.directories.tmp], logs=[node.log], canaries=canaries)


def named(found: Report, path: str) -> FileFinding:
    return next(finding for finding in found.files if finding.path == path)


def settle(admin: Admin) -> None:
    """All pages to disk."""
    admin.run("SET GLOBAL innodb_max_dirty_pages_pct_lwm = 0.001", "SET GLOBAL innodb_max_dirty_pages_pct = 0")
    while int(admin.query("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")[0][1]):
        admin.query("DO SLEEP(0.05)")


def test_everything_at_rest_is_encrypted(shared_node: Node) -> None:
    with Admin.connect(shared_node.config.socket) as admin:
        planted = admin.plant_canaries()
        word = planted.values[0].decode()
        admin.run(
            "CREATE SCHEMA s",
            "CREATE TABLE s.packed (a INT PRIMARY KEY, b TEXT) PAGE_COMPRESSED = 1",
            "CREATE TABLE s.spatial (g GEOMETRY NOT NULL, SPATIAL INDEX (g))",
            "CREATE TABLE s.parted (a INT PRIMARY KEY, b TEXT) PARTITION BY HASH (a) PARTITIONS 3",
            "CREATE TEMPORARY TABLE s.passing (a INT PRIMARY KEY, b TEXT)",
            "INSERT INTO s.spatial SELECT POINT(seq, seq) FROM s.seq_1_to_3000",
        )
        for table in ("packed", "parted", "passing"):
            admin.query(f"INSERT INTO s.{table} SELECT seq, REPEAT(%s, 50) FROM s.seq_1_to_2000", word)
        settle(admin)
        found = report(shared_node, planted.values)
    assert found.leaks == ()
    assert found.holds
    assert not any(finding.canaries for finding in found.files)
    spaces = [finding for finding in found.files if finding.kind == "tablespace"]
    assert len(spaces) > 30 and all(space.encrypted for space in spaces)
    version = shared_node.machine.keyring.latest[shared_node.mount][1]
    assert named(found, "s/packed.ibd").key_versions.keys() == {version}
    assert named(found, "s/spatial.ibd").key_versions[version] > 10
    assert named(found, "ib_logfile0").key_versions == {version: 1}
    assert named(found, "binlog.000001").key_versions == {version: 1}
    assert named(found, "ibtmp1").encrypted
    assert {finding.kind for finding in found.readable} <= {"definition", "list", "Aria log", "server log", "empty"}
    assert all(finding.readable for finding in found.readable)
    assert "s/packed.ibd" in found.versions()[version]


def test_rotation_is_proved_from_the_bytes(machine: Machine) -> None:
    node = machine.running()
    old = machine.keyring.latest[node.mount][1]
    with Admin.connect(node.config.socket) as admin:
        admin.run("CREATE SCHEMA s", "CREATE TABLE s.t (a INT PRIMARY KEY, b TEXT)")
        admin.run("INSERT INTO s.t SELECT seq, REPEAT(SHA1(seq), 20) FROM s.seq_1_to_5000")
        settle(admin)
        assert set(report(node).versions()) == {old}
        new = machine.keyring.publish(node.mount, 1, step=2)
        assert admin.look() == new
        admin.set_rotation_speed(10000)
        rotated(admin)
        settle(admin)
        admin.purge_binlogs(admin.flush_binlogs())
        needed = report(node).versions()
    # the redo log, until a start with another size; old page images, until they are written over
    assert set(needed[old]) <= {"ib_logfile0", "ibdata1 (doublewrite area)"} and "ib_logfile0" in needed[old]
    assert binlog_versions(node.directories.data) == {"binlog.000002": new}
    assert node.server and node.server.stop()
    node.write_config(replace(node.config, redo_log_extra=True))
    machine.keyring.asked.clear()
    node.start()
    assert redo_version(node.directories.data) == new
    assert node.server.stop()
    machine.keyring.asked.clear()
    node.start()
    assert old not in {asked.version for asked in machine.keyring.asked if asked.key_id == 1}
    left = report(node).versions().get(old, ())
    assert set(left) <= {"ibdata1 (doublewrite area)"}


def test_a_server_in_clear_is_seen(machine: Machine) -> None:
    node = machine.node()
    text = node.config_file.read_text().splitlines()
    node.config_file.write_text(
        "\n".join(line for line in text if "encrypt" not in line and not line.startswith("enforce")) + "\n"
    )
    node.build()
    node.start()
    with Admin.connect(node.config.socket) as admin:
        planted = admin.plant_canaries()
        admin.run("CREATE TABLE mysql_canary.m (a VARCHAR(80)) ENGINE = MyISAM")
        admin.query("INSERT INTO mysql_canary.m VALUES (%s)", planted.values[3].decode())
        settle(admin)
        found = report(node, planted.values)
    assert not found.holds
    leaks = {finding.path: finding for finding in found.leaks}
    assert leaks["mysql_canary/canary.ibd"].canaries > 100
    assert leaks["mysql_canary/canary.ibd"].plain_pages > 10
    assert leaks["binlog.000001"].canaries and leaks["ib_logfile0"].canaries
    assert leaks["mysql_canary/m.MYD"].kind == "unknown" and leaks["mysql_canary/m.MYD"].canaries == 1


def test_strange_files_count_as_leaks(machine: Machine) -> None:
    place = machine.base / "strange"
    place.mkdir()
    (place / "core").write_bytes(b"x" * 100)
    (place / "fake.ibd").write_bytes(b"x" * 70000)
    (place / "aria_log.00000001").write_bytes(b"x")
    (place / "link.frm").symlink_to("/etc/passwd")
    (place / "t.frm").write_bytes(b"definition with c4nary inside")
    (place / "nothing.txt").write_bytes(b"")
    (place / "across").write_bytes(b"-" * ((1 << 20) - 3) + b"c4nary" + b"-" * 50)
    found = scan(place, canaries=[b"c4nary"])
    assert {leak.path for leak in found.leaks} == {"core", "fake.ibd", "link.frm", "t.frm", "across"}
    assert named(found, "t.frm").canaries == named(found, "across").canaries == 1
    (place / "t.MAD").write_bytes(b"\xff" * 8192)
    assert "aria_log.00000001" in {leak.path for leak in scan(place).leaks}


@pytest.mark.parametrize("traced", [False, True])
def test_a_crash_report_quotes_no_statement(machine: Machine, traced: bool) -> None:
    node = machine.node()
    if traced:  # shows that the setting is what keeps it out
        node.config_file.write_text(node.config_file.read_text().replace("stack_trace = OFF", "stack_trace = ON"))
    node.build()
    server = node.start()
    words = (b"statement-with-a-secret",)

    def ask() -> None:
        with Admin.connect(node.config.socket) as admin, pytest.raises(Unavailable):
            admin.query(f"SELECT SLEEP(30), '{words[0].decode()}'")

    thread = threading.Thread(target=ask)
    thread.start()
    with Admin.connect(node.config.socket) as admin:
        while not (asking := admin.query("SELECT tid FROM information_schema.processlist WHERE state = 'User sleep'")):
            pass
    # the thread that runs the statement is the one that crashes
    ctypes.CDLL(None).syscall(SYS_TGKILL, server.process.pid, int(asking[0][0]), int(signal.SIGSEGV))
    assert server.process.wait(30)
    thread.join()
    found = scan(node.directories.data, logs=[node.log], canaries=words)
    assert bool(found.leaks) == traced
    assert not list(node.directories.data.glob("core*"))
