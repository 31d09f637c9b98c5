"""Fence and heal with real clients: no key, process, socket or restart; one packet that says why; then healed."""

import subprocess
import threading
import time

import pymysql
import pytest
from tests.live.conftest import Machine

from keystead.adapters.mariadb import accounts
from keystead.adapters.mariadb.client import Admin
from keystead.adapters.mariadb.process import listens, wait_until_silent
from keystead.adapters.mariadb.server import Server
from keystead.core.errors import KeysteadError, Unavailable
from keystead.core.secret import Secret
from keystead.databases.accounts import native_password_hash
from keystead.host.responder import Refuser

pytestmark = pytest.mark.live
REASON = "database system 'flights' is INACCESSIBLE: its key 'finance' is disabled"


def test_fence_under_writes_then_heal(machine: Machine) -> None:
    node = machine.running()
    acknowledged: list[int] = []
    with Admin.connect(node.config.socket) as admin:
        admin.run("CREATE SCHEMA s", "CREATE TABLE s.t (a INT PRIMARY KEY)")
        accounts.put_administrator(admin, "boss", native_password_hash(Secret(b"pw")))

    def write() -> None:
        with Admin.connect(node.config.socket) as writer:
            try:
                for number in range(1 << 20):
                    writer.query("INSERT INTO s.t VALUES (%s)", number)
                    acknowledged.append(number)
            except KeysteadError:
                return

    thread = threading.Thread(target=write)
    thread.start()
    while len(acknowledged) < 50:
        time.sleep(0.001)
    token, server = node.token, node.server
    assert server is not None

    began = time.monotonic()
    machine.keyring.void(node.mount)
    machine.loop.call(machine.endpoint.drop_connections, node.mount)
    assert server.kill()
    gone = time.monotonic() - began
    assert wait_until_silent("127.0.0.1", node.config.port, 2)
    again = Server.start(node.config_file, node.owner, node.directories.data, node.config.socket, node.log, token)
    machine.servers.append(again)
    with pytest.raises(Unavailable):
        again.wait_ready(10)
    fenced = time.monotonic() - began
    assert gone < 1 and fenced < 3  # 0.05 and 0.2 s alone; the machine may be busy
    thread.join()

    refuser = Refuser(REASON)
    machine.loop.run(refuser.start("127.0.0.1", node.config.port))
    for tls in ({}, {"ssl": {"ca": node.config.tls_ca, "check_hostname": False}}):
        with pytest.raises(pymysql.OperationalError) as refused:
            pymysql.connect(host="127.0.0.1", port=node.config.port, user="boss", password="pw", **tls)
        assert refused.value.args == (3168, REASON)
    for option in ([], ["--ssl", f"--ssl-ca={node.config.tls_ca}"]):
        shown = subprocess.run(
            ["mariadb", "--no-defaults", "-h", "127.0.0.1", "-P", str(node.config.port), "-u", "boss", *option],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "MYSQL_PWD": "pw"},
        )
        assert shown.returncode == 1
        assert "3168" in shown.stderr and REASON in shown.stderr

    machine.loop.run(refuser.close())
    assert not listens("127.0.0.1", node.config.port)
    began = time.monotonic()
    node.start()
    assert time.monotonic() - began < 5
    with Admin.connect(node.config.socket) as admin:
        assert admin.query("CHECK TABLE s.t")[-1][-1] == "OK"
        found = {number for (number,) in admin.query("SELECT a FROM s.t")}
    assert found >= set(acknowledged)
    assert len(found) <= len(acknowledged) + 1  # the one under way may or may not be there
    tls = {"ca": node.config.tls_ca, "check_hostname": False}
    pymysql.connect(host="127.0.0.1", port=node.config.port, user="boss", password="pw", ssl=tls).close()
