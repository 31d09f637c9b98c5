"""Database systems and backups."""

import json
import os
from pathlib import Path

import pytest
from tests.cli.conftest import Keystead
from tests.fakes.region import MOMENT, Region

from keystead.cli.connect import command_line


def file(path: str, kind: str, *, encrypted: bool, **more: object) -> dict[str, object]:
    base = {"where": "data", "size": 65536, "readable_by_design": "", "key_versions": {}, "plain_pages": 0}
    return {"path": path, "kind": kind, "encrypted": encrypted, **base, "canary_hits": 0, "leaks": False, **more}


NAMES = "names of tables and columns"
REPORT = {
    "holds": True,
    "canaries_planted": 4,
    "bytes_read": 196608,
    "key_versions": {"1": ["flights/flights.ibd", "ibdata1 (doublewrite area)"], "3": ["flights/flights.ibd"]},
    "files": [
        file("flights/flights.ibd", "tablespace", encrypted=True, key_versions={"1": 3, "3": 118}),
        file("binlog.000002", "binary log", encrypted=True, key_versions={"3": 1}, where="log"),
        file("binlog.index", "list", encrypted=False, readable_by_design="names of log files"),
        file("flights/flights.frm", "definition", encrypted=False, readable_by_design=NAMES),
        file("flights/planes.frm", "definition", encrypted=False, readable_by_design=NAMES),
    ],
}


@pytest.fixture
def flights(signed_in: Keystead) -> Keystead:
    """With a system `flights` under key `finance`."""
    for arguments in (
        ("vault", "create", "prod"),
        ("key", "create", "finance", "--vault", "prod"),
        ("db", "create", "flights", "--key", "finance"),
    ):
        ran = signed_in(*arguments)
        assert ran.code == 0, ran.err
    return signed_in


def test_create_shows_the_password_once_and_the_progress(signed_in: Keystead, region: Region) -> None:
    region.scripts["create"] = [(10, "keys"), (60, "data directory"), (90, "accounts")]
    ran = signed_in("db", "create", "flights", "--memory", "256", "--admin", "root1")
    assert ran.code == 0
    assert "password of root1 (shown once, keep it now): example-password-3" in ran.out
    assert ran.out.count("example-password-3") == 1
    assert ran.out.splitlines()[3].split() == ["compartment", "id", region.tenancy] or "ACTIVE" in ran.out
    assert [line.split(": ")[1].strip() for line in ran.err.splitlines()] == [
        "0 % accepted",
        "10 % keys",
        "60 % data directory",
        "90 % accounts",
        "100 % succeeded",
    ]
    assert region.last("POST", "/db-systems").body == {
        "compartment_id": region.tenancy,
        "name": "flights",
        "admin_username": "root1",
        "memory_mb": 256,
    }


def test_create_as_json_is_one_document(signed_in: Keystead) -> None:
    ran = signed_in("db", "create", "flights", "--json")
    assert (ran.json["job"]["state"], ran.json["db_system"]["state"]) == ("SUCCEEDED", "ACTIVE")
    assert ran.json["admin_password"] == "example-password-3"
    assert ran.err == ""


def test_create_without_waiting(signed_in: Keystead, region: Region) -> None:
    ran = signed_in("db", "create", "flights", "--no-wait")
    assert ran.code == 0
    job = next(iter(region.things["job"]))
    assert f"job {job}: ACCEPTED" in ran.out
    assert ran.err == f"follow it with: keystead job wait {job}\n"
    assert signed_in("job", "wait", job).code == 0
    assert signed_in("job", "show", job, "--json").json["state"] == "SUCCEEDED"
    assert "flights" in signed_in("job", "list").out


def test_a_failed_job_is_exit_7_and_the_password_is_not_lost(signed_in: Keystead, region: Region) -> None:
    region.fail_jobs["create"] = ("NoSpace", "the disk is full")
    ran = signed_in("db", "create", "flights")
    assert ran.code == 7
    assert "error: job create of flights failed: the disk is full [NoSpace]" in ran.err
    assert "hint:  keystead job show ks1.job." in ran.err
    assert "example-password-3" in ran.out
    ran = signed_in("db", "create", "other", "--json")
    assert ran.code == 7
    assert ran.json["admin_password"] == "example-password-3"
    assert json.loads(ran.err)["exit_code"] == 7


def test_life_of_a_system(flights: Keystead) -> None:
    assert flights("db", "stop", "flights").out == "database system flights is INACTIVE\n"
    assert flights("db", "start", "flights").out == "database system flights is ACTIVE\n"
    assert flights("db", "restart", "flights").out == "database system flights is ACTIVE\n"
    assert flights("db", "protect", "flights").out == "database system flights: it cannot be deleted\n"
    assert flights("db", "delete", "flights", "-y").code == 5
    assert flights("db", "unprotect", "flights").out == "database system flights: it can be deleted\n"
    assert flights("db", "delete", "flights").code == 2
    assert flights("db", "delete", "flights", "-y").out == "database system flights is deleted\n"
    assert "flights  DELETED" in flights("db", "list").out


def test_changing_the_key(flights: Keystead, region: Region) -> None:
    flights("key", "create", "second", "--vault", "prod")
    ran = flights("db", "change-key", "flights", "--key", "second")
    second = flights("key", "show", "second", "--json").json["id"]
    assert ran.out == f"database system flights: the store key is wrapped by {second}, version 1\n"
    ran = flights("db", "change-key", "flights", "--service-managed")
    assert "wrapped by a service-managed key" in ran.out
    assert region.last("POST", "/db-systems/{db_system_id}/actions/{verb}").body == {"key_id": None}
    assert flights("db", "change-key", "flights").code == 2
    assert flights("db", "change-key", "flights", "--key", "second", "--service-managed").code == 2


def test_identity_and_fence(flights: Keystead, region: Region) -> None:
    assert flights("db", "fence-receipt", "flights").err == "(it was never fenced)\n"
    assert flights("db", "delete-identity", "flights").code == 2
    ran = flights("db", "delete-identity", "flights", "-y")
    assert ran.out == "database system flights: its identity is deleted; it is fenced at once\n"
    shown = flights("db", "show", "flights").out
    assert "INACCESSIBLE" in shown
    assert "its identity was deleted" in shown
    ran = flights("db", "restore-identity", "flights")
    assert ran.out == "database system flights: its identity is back; it heals by itself\n"
    assert flights("db", "revalidate", "flights").code == flights("db", "confirm", "flights").code == 0
    region.fences["flights"] = {
        "db_system_id": "x",
        "reason": "key_disabled",
        "reason_text": "key finance is disabled",
        "committed_at": MOMENT,
        "steps": [{"name": "committed", "after_ms": 0.0}, {"name": "process_gone", "after_ms": 47.25}],
    }
    ran = flights("db", "fence-receipt", "flights")
    assert ran.out.splitlines()[-3:] == ["STEP          AFTER MS", "committed     0.0", "process gone  47.2"]
    assert flights("db", "fence-receipt", "flights", "--json").json["fence"]["reason"] == "key_disabled"


def test_keys_of_a_system(flights: Keystead) -> None:
    out = flights("db", "keys", "flights").out
    assert "store key" in out.splitlines()[1]
    assert len(flights("db", "keys", "flights", "--json").json) == 3


def test_verify_prints_what_protects_what(flights: Keystead, region: Region) -> None:
    region.results["verify"] = {"report": json.dumps(REPORT)}
    ran = flights("db", "verify", "flights")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "encrypted:",
        "FILE                 KIND        KEY VERSIONS (PAGES)",
        "flights/flights.ibd  tablespace  3 (118), 1 (3)",
        "log: binlog.000002   binary log  3 (1)",
        "",
        "readable by design:",
        "KIND        FILES  SUCH AS              WHY",
        "definition  2      flights/flights.frm  names of tables and columns",
        "list        1      binlog.index         names of log files",
        "",
        "data-key version 1: 2 files",
        "data-key version 3: 1 files",
        "canaries: 4 planted, found 0 times in clear",
        "2 files encrypted, 3 readable by design, 0 leak",
    ]
    assert json.loads(flights("db", "verify", "flights", "--json").json["job"]["result"]["report"]) == REPORT


def test_verify_fails_when_something_is_readable(flights: Keystead, region: Region) -> None:
    bad = file("leak.ibd", "tablespace", encrypted=True, leaks=True, canary_hits=1)
    report = {**REPORT, "holds": False, "files": [*REPORT["files"], bad]}
    region.results["verify"] = {"report": json.dumps(report)}
    ran = flights("db", "verify", "flights")
    assert (ran.code, "readable on disk: leak.ibd [Readable]" in ran.err) == (1, True)
    assert "readable, and should not be:" in ran.out
    assert "found 1 times in clear" in ran.out
    assert flights("db", "verify", "flights", "--json").code == 1


def test_data_key_rotation_lists_what_still_needs_the_old_version(flights: Keystead, region: Region) -> None:
    needed = {"1": ["ib_logfile0 (until the next restart)", "binlog.000001 (until it expires)"]}
    region.results["rotate-data-keys"] = {"number": "3", "still_needed": json.dumps(needed)}
    assert flights("db", "rotate-data-keys", "flights").out.splitlines() == [
        "number  3",
        "version 1 is still needed by:",
        "  ib_logfile0 (until the next restart)",
        "  binlog.000001 (until it expires)",
    ]
    region.results["rotate-data-keys"] = {"number": "5"}
    assert "nothing needs an older version" in flights("db", "rotate-data-keys", "flights").out


def test_backups(flights: Keystead, region: Region) -> None:
    assert flights("backup", "create", "flights", "--name", "b1").code == 0
    assert "b1    flights  ACTIVE" in flights("backup", "list").out
    assert flights("backup", "show", "b1", "--json").json["state"] == "ACTIVE"
    ran = flights("backup", "restore", "b1", "--name", "copy", "--key", "finance")
    assert ran.code == 0
    assert "password of admin (shown once" in ran.out
    assert flights("db", "show", "copy", "--json").json["restored_from"]
    assert flights("backup", "delete", "b1", "-y").out == "backup b1 is deleted\n"


def test_connect_becomes_the_client(flights: Keystead, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []

    class Gone(BaseException):
        pass

    def execv(program: str, arguments: list[str]) -> None:
        became.append(arguments)
        raise Gone

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(Gone):
        flights("db", "connect", "flights", "-D", "flights", "--", "-e", "select 1", "--skip-ssl")
    (arguments,) = became
    assert arguments[:4] == ["/usr/bin/mariadb", "-e", "select 1", "--skip-ssl"]
    demanded = arguments[4:]
    ca = next((home / "ca").glob("*.pem"))
    assert demanded == [
        "--protocol=tcp",
        "--host=127.0.0.1",
        "--port=33061",
        f"--ssl-ca={ca}",
        "--ssl-verify-server-cert",
        "--user=admin",
        "--database=flights",
        "--password",
    ]
    assert "BEGIN CERTIFICATE" in ca.read_text()
    monkeypatch.setenv("MYSQL_PWD", "hidden")
    with pytest.raises(Gone):
        flights("db", "connect", "flights", "-u", "ada")
    assert "--password" not in became[-1]
    assert "hidden" not in " ".join(became[-1])
    assert "--user=ada" in became[-1]


def test_connect_without_a_client(flights: Keystead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    ran = flights("db", "connect", "flights")
    assert (ran.code, "apt install mariadb-client" in ran.err) == (1, True)


def test_what_is_demanded_comes_after_what_is_passed_on() -> None:
    endpoint = {"host": "h", "port": 1}
    line = command_line("mariadb", endpoint, Path("ca"), "u", None, ["--ssl-verify-server-cert=0"], ask=False)
    assert line.index("--ssl-verify-server-cert") > line.index("--ssl-verify-server-cert=0")


def test_a_key_without_a_backup_is_warned_of(flights: Keystead, region: Region) -> None:
    region.warnings = ["key 'second' was never backed up"]
    ran = flights("db", "change-key", "flights", "--service-managed")
    assert ran.code == 0, ran.err
    assert "warning: key 'second' was never backed up" in ran.err
