"""Re-encryption, checksums, binary logs and canaries on a real server."""

import time
from pathlib import Path

import pymysql
import pytest
from tests.live.conftest import Machine, Node

from keystead.adapters.mariadb.client import Admin, Rotation
from keystead.core.errors import Unavailable

pytestmark = pytest.mark.live


def rotated(admin: Admin, seconds: float = 60) -> list[Rotation]:
    """Wait for re-encryption to end; what was seen on the way."""
    seen, deadline = [admin.rotation()], time.monotonic() + seconds
    while not seen[-1].done:
        assert time.monotonic() < deadline, seen[-1]
        time.sleep(0.1)
        seen.append(admin.rotation())
    return seen


def test_data_keys_are_rotated_online(machine: Machine) -> None:
    node = machine.running()
    with Admin.connect(node.config.socket) as admin:
        admin.run("CREATE SCHEMA s", "CREATE TABLE s.t (a INT PRIMARY KEY, b TEXT)")
        admin.run("INSERT INTO s.t SELECT seq, REPEAT(SHA1(seq), 20) FROM s.seq_1_to_20000")
        before = admin.checksums()
        assert before["`s`.`t`"]
        rotated(admin)
        new = machine.keyring.publish(node.mount, 1, step=2)
        assert admin.rotation().current_version < new  # nothing notices by itself
        assert admin.look() == new
        admin.set_rotation_speed(10000)
        seen = rotated(admin)
        assert seen[-1].min_version == seen[-1].current_version == new
        assert seen[-1].fraction == 1
        assert all(space.encrypted for space in admin.tablespaces())
        assert admin.checksums() == before
        assert admin.aria_tables() == () and admin.force_aria() == ()
        older = admin.binlogs()
        newest = admin.flush_binlogs()
        assert admin.purge_binlogs(newest)
        assert [log.name for log in admin.binlogs()] == [newest] and newest not in {log.name for log in older}
    node.write_config()
    assert node.server and node.server.stop()
    machine.keyring.asked.clear()
    node.start()
    with Admin.connect(node.config.socket) as admin:
        assert admin.checksums() == before
        assert admin.look() == new


def test_aria_tables_are_found_and_turned(shared_node: Node) -> None:
    with Admin.connect(shared_node.config.socket) as admin:
        admin.run(
            "SET SESSION enforce_storage_engine = NULL",
            "CREATE SCHEMA aria",
            "CREATE TABLE aria.t (a INT) ENGINE = Aria",
        )
        assert admin.force_aria() == ("`aria`.`t`",)
        assert admin.convert_aria() == ("`aria`.`t`",)
        assert admin.aria_tables() == ()
        assert admin.query("SELECT @@enforce_storage_engine, @@sql_log_bin") == [("InnoDB", 1)]


def test_canaries_leave_nothing_but_their_schema(shared_node: Node) -> None:
    with Admin.connect(shared_node.config.socket) as admin:
        first = admin.plant_canaries()
        second = admin.plant_canaries()
        assert len(set(first.values + second.values)) == 8
        assert not any(name.startswith("`mysql_canary`") for name in admin.tables())
        admin.drop_canaries()
        assert ("mysql_canary",) not in admin.query("SHOW DATABASES")


def test_every_other_connection_is_ended(shared_node: Node) -> None:
    with Admin.connect(shared_node.config.socket) as admin, Admin.connect(shared_node.config.socket) as other:
        assert admin.kill_connections() >= 1
        with pytest.raises(Unavailable):
            other.ping()
        admin.ping()


def test_an_absent_server_is_unavailable(machine: Machine) -> None:
    with pytest.raises(Unavailable):
        Admin.connect(str(machine.base / "nothing.sock"))


def test_a_server_that_dies_is_unavailable(machine: Machine) -> None:
    node = machine.running()
    with Admin.connect(node.config.socket) as admin:
        assert node.server and node.server.kill()
        with pytest.raises(Unavailable):
            admin.ping()


def test_one_schema_with_odd_names(shared_node: Node) -> None:
    with Admin.connect(shared_node.config.socket) as admin:
        admin.run(
            "CREATE SCHEMA `o``dd %s`",
            "CREATE TABLE `o``dd %s`.`t;'\"` (a INT)",
            "INSERT INTO `o``dd %s`.`t;'\"` VALUES (1)",
        )
        assert admin.checksums()["`o``dd %s`.`t;'\"`"]


def test_pymysql_errors_do_not_leak_through(shared_node: Node) -> None:
    with Admin.connect(shared_node.config.socket) as admin:
        try:
            admin.query("SELECT 'secret' FROM nowhere.at_all")
        except pymysql.MySQLError:
            pytest.fail("a driver's exception came through")
        except Exception as error:
            assert "secret" not in str(error)


def test_changed_pages_are_written_out(machine: Machine) -> None:
    node = machine.running()
    names = (
        "innodb_io_capacity_max",
        "innodb_io_capacity",
        "innodb_max_dirty_pages_pct_lwm",
        "innodb_max_dirty_pages_pct",
    )
    with Admin.connect(node.config.socket) as admin:
        settings = [admin.query(f"SELECT @@GLOBAL.{name}") for name in names]
        assert admin.write_out()  # what a new server still has to write
        admin.run("CREATE SCHEMA w", "CREATE TABLE w.t (a INT PRIMARY KEY, b TEXT)")
        admin.run("INSERT INTO w.t SELECT seq, REPEAT(SHA1(seq), 20) FROM w.seq_1_to_5000")
        path = Path(node.config.data_directory) / "w" / "t.ibd"
        before = _empty_pages(path)  # some will stay so: files grow ahead of what is in them
        assert admin.write_out()
        assert _empty_pages(path) < before - 100
        assert [admin.query(f"SELECT @@GLOBAL.{name}") for name in names] == settings


def _empty_pages(path: Path) -> int:
    content = path.read_bytes()
    return sum(not any(content[at : at + 16384]) for at in range(0, len(content), 16384))
