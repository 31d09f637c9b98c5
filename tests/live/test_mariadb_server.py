"""A real server from our endpoint: built, started, adopted, killed, refused."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pymysql
import pytest
from tests.live.conftest import Machine, Node

from keystead.adapters.mariadb.datadir import NodeDirectories, build, os_user
from keystead.adapters.mariadb.process import Identity, Owner, Process, port_is_free, require_free_port, spawn
from keystead.adapters.mariadb.server import Server
from keystead.core.errors import Fault, Refusal, Unavailable

pytestmark = pytest.mark.live


def query(node: Node, *statements: str) -> list[tuple[object, ...]]:
    with (
        pymysql.connect(unix_socket=node.config.socket, user=os_user(), autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


def test_a_fresh_directory_is_encrypted_from_the_first_byte(machine: Machine) -> None:
    node = machine.node()
    began = time.monotonic()
    node.build()
    node.start()
    query(node, "SELECT 1")
    assert time.monotonic() - began < 6  # 0.7 s alone; the machine may be busy
    unencrypted = query(
        node, "SELECT name FROM information_schema.innodb_tablespaces_encryption WHERE encryption_scheme <> 1"
    )
    assert unencrypted == []
    engines = query(node, "SELECT DISTINCT engine FROM information_schema.tables WHERE table_schema = 'mysql'")
    assert {engine for (engine,) in engines} == {"InnoDB", None}  # None: the view mysql.user
    accounts = query(node, "SELECT user, host FROM mysql.global_priv ORDER BY user")
    assert accounts == sorted([("mariadb.sys", "localhost"), (os_user(), "localhost")])
    assert query(node, "SHOW DATABASES") == [("information_schema",), ("mysql",)]
    asked = {(asked.key_id, asked.served) for asked in machine.keyring.asked}
    assert asked == {(0, True), (1, True), (2, True)}


def test_it_is_confined(shared_node: Node) -> None:
    assert shared_node.server
    pid, owner = shared_node.server.process.pid, shared_node.owner
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["Uid"].split() == [str(owner.uid)] * 4
    assert status["NoNewPrivs"] == "1"
    assert status["Groups"].split() in ([], [str(group) for group in os.getgroups()])
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    assert next(line.split()[-3:-1] for line in limits if line.startswith("Max core file size")) == ["0", "0"]
    assert os.getsid(pid) == pid
    names = {entry.split(b"=")[0] for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if entry}
    assert names == {b"PATH", b"LANG", b"VAULT_TOKEN"}
    token = shared_node.token.reveal()
    assert token not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert token.decode() not in shared_node.log.read_text() + shared_node.config_file.read_text()
    assert os.stat(shared_node.log).st_mode & 0o777 == 0o600


def test_what_was_acknowledged_survives_a_kill(machine: Machine) -> None:
    node = machine.running()
    query(node, "CREATE SCHEMA s", "CREATE TABLE s.t (a INT PRIMARY KEY)", "INSERT INTO s.t VALUES (1), (2)")
    assert node.server and node.server.kill()
    assert not node.server.process.identity.is_alive()
    node.start()
    assert query(node, "SELECT COUNT(*) FROM s.t") == [(2,)]


def test_adopted_by_pid_and_start_time(machine: Machine) -> None:
    node = machine.running()
    assert node.server
    identity = Identity.parse(str(node.server.process.identity))
    adopted = Server.adopt(identity, node.config.socket, node.log)
    assert adopted and adopted.process.is_alive()
    for stranger in (
        Identity(identity.pid, identity.started + 1, identity.boot),
        Identity(identity.pid, identity.started, "another-boot"),
        Identity(identity.pid, 0, identity.boot),
    ):
        assert Process.adopt(stranger) is None
        assert not stranger.is_alive()
    assert adopted.stop()
    assert Process.adopt(identity) is None
    adopted.process.close()


def test_a_void_token_does_not_start_and_says_why(machine: Machine) -> None:
    node = machine.running()
    assert node.server and node.server.stop()
    machine.keyring.void(node.mount)
    token = node.token
    server = Server.start(node.config_file, node.owner, node.directories.data, node.config.socket, node.log, token)
    machine.servers.append(server)
    with pytest.raises(Unavailable) as refused:
        server.wait_ready(20)
    assert "hashicorp" in refused.value.message
    assert token.reveal().decode() not in refused.value.message


def test_another_uid_gets_no_key(machine: Machine) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root to have two uids")
    node = machine.running()
    node.machine.keyring.asked.clear()
    token = node.token.reveal().decode()
    url = f"http://127.0.0.1:{machine.endpoint_port}/v1/{node.mount}/data/1"
    for uid, served in ((node.owner.uid, True), (node.owner.uid + 1, False), (0, False)):
        done = subprocess.run(
            ["curl", "-s", "-H", "@-", url],
            input=f"X-Vault-Token: {token}".encode(),
            capture_output=True,
            user=uid,
            group=uid,
            extra_groups=[],
        )
        assert (done.returncode == 0) == served
        assert bool(done.stdout) == served
    assert [asked.reason for asked in machine.keyring.asked] == ["", "asked by another uid", "asked by another uid"]


def test_a_fault_of_ours_leaves_a_running_server_alone(machine: Machine) -> None:
    """Also with the plugin's cache expired: a reset keeps it on cached keys, any 5xx would abort it."""
    node = machine.running()
    query(node, "SET GLOBAL hashicorp_key_management_cache_version_timeout = 0", "CREATE SCHEMA s")
    machine.keyring.fault = True
    before = machine.endpoint.dropped
    rows = ",".join(f"({number}, REPEAT('x', 2000))" for number in range(500))
    query(node, "CREATE TABLE s.t (a INT PRIMARY KEY, b TEXT)", f"INSERT INTO s.t VALUES {rows}")
    query(node, "SET GLOBAL innodb_max_dirty_pages_pct_lwm = 0.001, innodb_max_dirty_pages_pct = 0", "DO SLEEP(1.5)")
    assert machine.endpoint.dropped > before
    assert query(node, "SELECT COUNT(*) FROM s.t") == [(500,)]
    machine.keyring.fault = False
    assert node.server and node.server.process.is_alive()


def test_a_stop_that_takes_too_long_becomes_a_kill(machine: Machine) -> None:
    process = spawn(
        ("/bin/sh", "-c", "trap '' TERM; echo ready; sleep 60 & wait; wait"),
        owner=Owner.ours(),
        directory=machine.base,
        log=machine.base / "sh.log",
        pipe_output=True,
    )
    assert process.stdout.readline() == b"ready\n"
    assert process.stop(0.1) is False
    assert process.exit_code == -signal.SIGKILL
    os.killpg(process.pid, signal.SIGKILL)  # its sleep
    process.close()


def test_a_port_that_is_taken(shared_node: Node) -> None:
    assert not port_is_free("127.0.0.1", shared_node.config.port)
    with pytest.raises(Refusal, match="in use"):
        require_free_port("127.0.0.1", shared_node.config.port)


def test_refuses_a_temporary_directory_on_disk(machine: Machine) -> None:
    directories = NodeDirectories(machine.base / "d", machine.base / "r", machine.base / "t")
    with pytest.raises(Refusal) as refused:
        directories.make(machine.owner())
    assert refused.value.code == "NotTmpfs"


def test_a_build_without_keys_fails_and_says_why(machine: Machine) -> None:
    node = machine.node()
    node.directories.make(node.owner)
    token = machine.keyring.token(node.mount, node.owner.uid)
    machine.keyring.void(node.mount)
    with pytest.raises(Fault) as failed:
        build(node.directories, node.owner, node.config_file, node.log, token)
    assert failed.value.code == "BootstrapFailed" and "hashicorp" in failed.value.message
