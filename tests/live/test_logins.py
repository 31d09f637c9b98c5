"""Logging in to a real database with tokens: who gets in, as whom, until when; and who does not."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from tests.live.logins_region import STATEMENT, LoginRegion, ends_within, one, rows
from tests.live.test_up import wait_for

from keystead.adapters.mariadb.plugins import login_plugin

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(300),
    pytest.mark.skipif(login_plugin() is None, reason="the login plugin is not built: make native"),
]
REFUSED = (1045, 1698, 2013)


@pytest.fixture(scope="module")
def region() -> Iterator[LoginRegion]:
    with opened() as found:
        yield found


def furnish_region(found: LoginRegion) -> None:
    """A table, four people, and mappings of both kinds."""
    with found.admin() as admin:
        rows(admin, "CREATE DATABASE shop")
        rows(admin, "CREATE TABLE shop.orders (id INT PRIMARY KEY)")
        rows(admin, "INSERT INTO shop.orders VALUES (1)")
    people = {name: found.person(name) for name in ("ann", "bob", "carol", "dan")}
    found.policy("login", STATEMENT)
    found.policy("use", "ALLOW any-user TO use mysql-instances IN TENANCY where request.principal.type = 'user'")
    found.map("user", people["ann"].id, grants=["SELECT, INSERT ON shop.*"])
    analysts = found.group("Analysts", people["bob"], people["carol"])
    found.map("group", analysts, roles=["analyst"], precedence=50)
    with found.admin() as admin:
        rows(admin, "GRANT SELECT ON shop.* TO analyst")


@contextlib.contextmanager
def opened(memory_mb: int = 256, *, furnish: bool = True) -> Iterator[LoginRegion]:
    directory = Path(tempfile.mkdtemp(prefix="ks-logins-"))  # pytest closes its own to the systems' uids
    directory.chmod(0o711)
    found = LoginRegion.open(directory, memory_mb)
    try:
        if furnish:
            furnish_region(found)
        yield found
    finally:
        found.close()
        shutil.rmtree(directory, ignore_errors=True)


def refused(region: LoginRegion, user: str, password: str, **given: Any) -> str:
    with pytest.raises((pymysql.MySQLError, OSError)) as caught:
        region.connect(user, password, **given).close()
    return str(caught.value)


def last_entry(region: LoginRegion, outcome: str, user: str, code: str = "") -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [
            entry
            for entry in region.entries("LogInToDatabase")
            if entry["outcome"] == outcome and entry["detail"].get("user") == user and code in ("", entry["code"])
        ]

    wait_for(found, 10)
    return found()[0]


def test_one_to_one(region: LoginRegion) -> None:
    ann = region.people["ann"]
    with region.connect("ann", ann.database_token()) as connection:
        user, account, external, number = one(
            connection, "SELECT USER(), CURRENT_USER(), @@external_user, CONNECTION_ID()"
        )
        assert (user, account, external) == ("ann@127.0.0.1", "ann@%", ann.id)
        rows(connection, "INSERT IGNORE INTO shop.orders VALUES (2)")
        with pytest.raises(pymysql.MySQLError, match="denied"):
            rows(connection, "DELETE FROM shop.orders")
        with pytest.raises(pymysql.MySQLError, match="denied"):
            rows(connection, "SELECT * FROM mysql.global_priv")
    wait_for(lambda: last_entry(region, "allowed", "ann")["detail"]["connection"] == str(number), 10)
    entry = last_entry(region, "allowed", "ann")
    assert (entry["principal_id"], entry["resource_id"]) == (ann.id, region.system["id"])
    detail = entry["detail"]
    assert (detail["account"], detail["address"], detail["connection"]) == ("ann", "127.0.0.1", str(number))
    assert detail["server"] and detail["mapping"] and detail["token"] == entry["token_id"]


def test_by_group(region: LoginRegion) -> None:
    bob = region.people["bob"]
    with region.connect("bob", bob.database_token()) as connection:
        assert one(connection, "SELECT USER(), CURRENT_USER(), @@external_user, CURRENT_ROLE()") == (
            "bob@127.0.0.1", "p_analysts@%", bob.id, "analyst",
        )  # fmt: skip
        assert one(connection, "SELECT COUNT(*) > 0 FROM shop.orders") == (1,)
        with pytest.raises(pymysql.MySQLError, match="denied"):
            rows(connection, "INSERT INTO shop.orders VALUES (9)")
        processes = rows(connection, "SHOW PROCESSLIST")
        assert {row[1] for row in processes} == {"bob"}
    detail = last_entry(region, "allowed", "bob")["detail"]
    assert (detail["group_name"], detail["account"]) == ("Analysts", "p_analysts")


def test_one_token_for_many_connections(region: LoginRegion) -> None:
    token = region.people["bob"].database_token()
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(region.connect("bob", token)) for _ in range(5)]
        assert {one(each, "SELECT USER()")[0] for each in opened} == {"bob@127.0.0.1"}


@pytest.mark.parametrize("user", ["p_analysts", "ann", "carol", "nobody", "", "admin", "root"])
def test_no_one_is_anybody_else(region: LoginRegion, user: str) -> None:
    """Bob's token opens nothing under another name; a proxy account takes no login at all."""
    refused(region, user, region.people["bob"].database_token())


def test_who_is_in_no_group_is_refused(region: LoginRegion) -> None:
    refused(region, "dan", region.people["dan"].database_token())
    assert last_entry(region, "refused", "dan", "NotMapped")["principal_name"] == "dan"


def test_what_is_no_token_for_databases_is_refused(region: LoginRegion) -> None:
    ann = region.people["ann"]
    good = ann.database_token()
    head, body, signature = good.split(".")
    for bad in (
        "",
        "x",
        ann.token,
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}.",
        good + "x",
        region.password,
    ):
        refused(region, "ann", bad)
    assert last_entry(region, "refused", "ann", "NotAuthenticated")


def test_a_key_bound_token_is_no_password(region: LoginRegion) -> None:
    from keystead.crypto.sign import SigningKey

    public = SigningKey.generate().public.pem().decode()
    refused(region, "ann", region.people["ann"].database_token(public_key=public))
    assert "key" in last_entry(region, "refused", "ann", "KeyNotProved")["reason"]


def test_a_token_may_be_long_but_not_endless(region: LoginRegion) -> None:
    for size in (12_600, 16_000):
        refused(region, "ann", "a" * size)
        assert last_entry(region, "refused", "ann", "NotAuthenticated")
    refused(region, "lengthy", "a" * 16_384)
    last_entry(region, "refused", "lengthy")
    refused(region, "endless", "a" * 16_385)
    refused(region, "endless", "a" * 60_000)
    time.sleep(1.5)
    assert not any(entry["detail"].get("user") == "endless" for entry in region.entries("LogInToDatabase"))
    test_one_to_one(region)


def relay(region: LoginRegion, address: str, sent: list[bytes]) -> socket.socket:
    """Somebody in between, on another address, who hands one connection on and notes what the client says."""
    listening = socket.create_server((address, 0))

    def copy(source: socket.socket, into: socket.socket, note: list[bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                note.append(data)
                into.sendall(data)
        with contextlib.suppress(OSError):
            into.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        client, _ = listening.accept()
        server = socket.create_connection(("127.0.0.1", region.port))
        threading.Thread(target=copy, args=(server, client, []), daemon=True).start()
        copy(client, server, sent)

    threading.Thread(target=serve, daemon=True).start()
    return listening


def test_nothing_is_sent_in_clear(region: LoginRegion) -> None:
    """A client without TLS, told to send its password in clear, is refused before it is asked for it."""
    sent: list[bytes] = []
    listening = relay(region, "127.0.0.1", sent)
    token = region.people["ann"].database_token()
    port = listening.getsockname()[1]
    result = subprocess.run(
        ["mariadb", "--protocol=tcp", "--host=127.0.0.1", f"--port={port}", "--user=ann", "--skip-ssl", "-e", "select"],
        env={"MYSQL_PWD": token, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    listening.close()
    assert result.returncode != 0
    assert sent and token.encode() not in b"".join(sent)


def test_another_name_of_the_host_is_refused(region: LoginRegion) -> None:
    """The client verifies: the certificate is not for this name, so the token stays at home."""
    sent: list[bytes] = []
    token = region.people["ann"].database_token()
    listening = relay(region, "127.0.0.2", sent)
    with pytest.raises(pymysql.MySQLError, match=r"(?i)certificate"):
        region.connect("ann", token, host="127.0.0.2", port=listening.getsockname()[1])
    listening.close()
    assert sent and token.encode() not in b"".join(sent)
    context = ssl.create_default_context()
    with pytest.raises(pymysql.MySQLError, match=r"(?i)certificate"):
        pymysql.connect(host="127.0.0.1", port=region.port, user="ann", password="x", ssl=context)


def test_the_socket_is_for_the_server_alone(region: LoginRegion) -> None:
    path = next(region.place.memory.rglob("login.sock"))
    assert path.stat().st_mode & 0o777 == 0o660
    assert path.parent.stat().st_uid == 0 or path.parent.stat().st_uid == path.stat().st_uid
    parts = [region.system["id"].encode(), b"ann", b"{}", b"", region.people["ann"].database_token().encode(), b"::1"]
    message = b"KSL1t" + struct.pack(">Q", 1) + b"".join(struct.pack(">I", len(part)) + part for part in parts)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(path))
        with contextlib.suppress(BrokenPipeError):  # it does not wait for the question
            asking.sendall(message)
        assert asking.recv(100) == b"R"
    log = (region.place.state / "log/host.log").read_text()
    assert "not the server" in log


def test_leaving_the_group_ends_the_session(region: LoginRegion) -> None:
    carol, eve = region.people["carol"], region.person("eve")
    group = region.group("Readers", eve)
    region.map("group", group, roles=["analyst"], account="p_readers")
    with (
        region.connect("eve", eve.database_token()) as connection,
        region.connect("carol", carol.database_token()) as other,
    ):
        assert one(connection, "SELECT CURRENT_USER()") == ("p_readers@%",)
        region.leave(group, eve)
        assert ends_within(connection, 5.0) < 5.0
        assert one(other, "SELECT 1") == (1,)
    refused(region, "eve", eve.database_token())
    wait_for(lambda: any("membership" in entry["reason"] for entry in region.entries("EndDatabaseSessions")), 10)


@pytest.mark.parametrize("killed", [(), ("work", "host")], ids=["all-well", "work-and-host-killed"])
def test_an_emergency_ends_open_sessions_by_itself(region: LoginRegion, killed: tuple[str, ...]) -> None:
    name = f"helper{len(killed)}"
    person, group = region.person(name), region.group(f"Emergency{len(killed)}")
    region.map("group", group, roles=["analyst"], precedence=1)
    region.call("POST", f"/groups/{group}/break-glass", {"user_id": person.id, "seconds": 12, "reason": "an outage"})
    over = time.monotonic() + 12
    with region.connect(name, person.database_token()) as connection:
        for role in killed:
            os.kill(region.place.pid(role), signal.SIGKILL)
        assert one(connection, "SELECT 1") == (1,)
        ends_within(connection, over + 5.0 - time.monotonic())
        assert time.monotonic() > over - 1
    refused(region, name, person.database_token())


def test_ending_a_session_ends_what_it_opened(region: LoginRegion) -> None:
    ivan = region.person("ivan")
    region.map("user", ivan.id)
    with region.connect("ivan", ivan.database_token()) as connection:
        (session,) = region.call("GET", "/auth/sessions", token=ivan.token)["items"]
        region.call("DELETE", f"/auth/sessions/{session['id']}", token=ivan.token)
        ends_within(connection, 5.0)


def test_a_blocked_user_is_out(region: LoginRegion) -> None:
    frank = region.person("frank")
    region.map("user", frank.id)
    token = frank.database_token()
    with region.connect("frank", token) as connection:
        region.call("PATCH", f"/users/{frank.id}", {"state": "BLOCKED"})
        ends_within(connection, 5.0)
    refused(region, "frank", token)


def test_signing_out_and_revoking_ends_sessions(region: LoginRegion) -> None:
    ann = region.people["ann"]
    token = ann.database_token()
    with region.connect("ann", token) as connection:
        region.call("POST", f"/users/{ann.id}/actions/revoke-tokens")
        ends_within(connection, 5.0)
    refused(region, "ann", token)
    region.sign_in(ann)
    with region.connect("ann", ann.database_token()) as connection:
        assert one(connection, "SELECT 1") == (1,)


def test_expiry_ends_sessions(region: LoginRegion) -> None:
    ann = region.people["ann"]
    token = ann.database_token(minutes=1)
    with region.connect("ann", token) as connection:
        time.sleep(57)
        assert one(connection, "SELECT 1") == (1,)
        assert ends_within(connection, 8.0) < 8.0
    refused(region, "ann", token)


def test_unmapping_ends_sessions_and_the_account(region: LoginRegion) -> None:
    grace = region.person("grace")
    mapping = region.map("user", grace.id, grants=["SELECT ON shop.orders"])
    with region.connect("grace", grace.database_token()) as connection:
        region.unmap(mapping)
        ends_within(connection, 5.0)
    refused(region, "grace", grace.database_token())


def test_the_administrator_cannot_take_an_account_over(region: LoginRegion) -> None:
    with region.admin() as admin:
        for statement in (
            "CALL mysql.keystead_set_password('p_analysts', 'Known-to-me-1')",
            "CALL mysql.keystead_lock_user('p_analysts', FALSE)",
            "CALL mysql.keystead_drop_user('ann')",
            "CALL mysql.keystead_create_user('ann', 'Known-to-me-1')",
            "CREATE USER x@'%' IDENTIFIED VIA iam_token USING '{}'",
            "ALTER USER 'ann'@'%' IDENTIFIED BY 'x'",
            "GRANT PROXY ON 'p_analysts'@'%' TO 'admin'@'%'",
            "SET GLOBAL iam_token_socket = '/tmp/mine'",
            "INSTALL SONAME 'auth_pam'",
            "SET ROLE analyst",
        ):
            with pytest.raises(pymysql.MySQLError):
                rows(admin, statement)


def test_without_the_statement_nobody_comes_in(region: LoginRegion) -> None:
    found = region.call("GET", f"/policies?compartment_id={region.root}&name=login")["items"][0]
    ann = region.people["ann"]
    with region.connect("ann", ann.database_token()) as connection:
        region.call("DELETE", f"/policies/{found['id']}")
        ends_within(connection, 5.0)
    refused(region, "ann", ann.database_token())
    assert "login service" in last_entry(region, "refused", "ann", "LoginServiceNotAllowed")["reason"]
    readiness = region.call("GET", f"{region.path}/login-readiness")
    assert not readiness["ready"] and STATEMENT in readiness["reasons"][0]
    region.policy("login", STATEMENT)
    region.connect("ann", ann.database_token()).close()


def test_without_the_permission_nobody_comes_in(region: LoginRegion) -> None:
    found = region.call("GET", f"/policies?compartment_id={region.root}&name=use")["items"][0]
    bob = region.people["bob"]
    with region.connect("bob", bob.database_token()) as connection:
        region.call("DELETE", f"/policies/{found['id']}")
        ends_within(connection, 5.0)
    refused(region, "bob", bob.database_token())
    assert "MYSQL_INSTANCE_USE" in last_entry(region, "refused", "bob", "NotAuthorized")["reason"]
    region.policy("use", "ALLOW any-user TO use mysql-instances IN TENANCY where request.principal.type = 'user'")
    region.connect("bob", bob.database_token()).close()


def test_sessions_outlive_the_host_and_are_watched_again(region: LoginRegion) -> None:
    henry = region.person("henry")
    mapping = region.map("user", henry.id)
    with region.connect("henry", henry.database_token()) as connection:
        old = region.place.pid("host")
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: region.place.pid("host") != old, 20)
        time.sleep(3)
        assert one(connection, "SELECT 1") == (1,), "a session that was noted goes on"
        region.unmap(mapping)
        ends_within(connection, 6.0)
    with region.connect("ann", region.people["ann"].database_token()) as connection:
        old = region.place.pid("host")
        notes = next(region.place.memory.rglob("logins"))
        notes.unlink()
        os.kill(old, signal.SIGKILL)
        ends_within(connection, 15.0)
    wait_for(lambda: _comes_in(region), 20)


def _comes_in(region: LoginRegion) -> bool:
    try:
        region.connect("ann", region.people["ann"].database_token()).close()
    except pymysql.MySQLError:
        return False
    return True


def test_a_restart_keeps_mappings(region: LoginRegion) -> None:
    job = region.call("POST", f"{region.path}/actions/restart")["job"]
    wait_for(lambda: region.call("GET", f"/jobs/{job['id']}")["state"] == "SUCCEEDED", 60)
    wait_for(lambda: _comes_in(region), 20)


def test_while_the_region_is_silent_nobody_comes_in(region: LoginRegion) -> None:
    import os
    import signal

    token = region.people["ann"].database_token()
    local = region.place.pid("local")
    os.kill(local, signal.SIGSTOP)
    try:
        began = time.monotonic()
        refused(region, "ann", token)
        assert time.monotonic() - began < 4.0
    finally:
        os.kill(local, signal.SIGCONT)
    wait_for(lambda: _comes_in(region), 20)


def test_no_token_is_written_anywhere(region: LoginRegion) -> None:
    token = region.people["ann"].database_token()
    region.connect("ann", token).close()
    for root in (region.place.state, Path(region.place.memory)):
        for path in root.rglob("*"):
            if path.is_file():
                assert token.encode() not in path.read_bytes(), path


def test_backup_and_restore_leave_the_accounts_behind(region: LoginRegion) -> None:
    ann = region.people["ann"]
    region.sign_in(ann)

    def done(job: dict[str, Any]) -> None:
        def over() -> bool:
            state = region.call("GET", f"/jobs/{job['id']}")
            assert state["state"] != "FAILED", state
            return bool(state["state"] == "SUCCEEDED")

        wait_for(over, 90)

    place = {"compartment_id": region.root}
    vault = region.call("POST", "/vaults", {**place, "name": "v"})["id"]
    key = region.call("POST", "/keys", {**place, "vault_id": vault, "name": "k"})["id"]
    region.policy(
        "keys", "Allow any-user to use key-delegate in tenancy where request.principal.type = 'mysqldbsystem'"
    )
    asked = {"db_system_id": region.system["id"], "name": "monday", "key_id": key}
    made = region.call("POST", "/backups", asked)
    done(made["job"])
    asked = {"compartment_id": region.root, "name": "again", "memory_mb": 128}
    restored = region.call("POST", f"/backups/{made['backup']['id']}/actions/restore", asked)
    done(restored["job"])
    with pytest.raises(pymysql.MySQLError):
        region.connect("ann", ann.database_token(), port=restored["db_system"]["port"])
    with region.connect("admin", restored["admin_password"], port=restored["db_system"]["port"]) as admin:
        assert one(admin, "SELECT COUNT(*) > 0 FROM shop.orders") == (1,)
        with pytest.raises(pymysql.MySQLError):  # there is no such account any more
            rows(admin, "GRANT SELECT ON shop.* TO 'ann'@'%'")
    done(region.call("DELETE", f"/db-systems/{restored['db_system']['id']}")["job"])
