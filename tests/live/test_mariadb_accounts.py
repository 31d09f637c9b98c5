"""What the customer's administrator may do, and that it can open no hole."""

import os
from collections.abc import Iterator

import pymysql
import pytest
from tests.live.conftest import Node

from keystead.adapters.mariadb import accounts
from keystead.adapters.mariadb.client import CANARY_SCHEMA, Admin
from keystead.adapters.mariadb.datadir import os_user
from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.databases.accounts import native_password_hash

pytestmark = pytest.mark.live
PASSWORD = Secret(b"the administrator's password")


def connect(node: Node, user: str, password: str, **more: object) -> "pymysql.Connection":
    tls = {"ca": node.config.tls_ca, "check_hostname": False}
    return pymysql.connect(
        host="127.0.0.1", port=node.config.port, user=user, password=password, ssl=tls, autocommit=True, **more
    )


def run(connection: "pymysql.Connection", *statements: str) -> tuple:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall()


@pytest.fixture(scope="module")
def admin(shared_node: Node) -> Iterator[Admin]:
    with Admin.connect(shared_node.config.socket) as admin:
        accounts.put_administrator(admin, "boss", native_password_hash(PASSWORD))
        admin.run("CREATE SCHEMA taken", "CREATE TABLE taken.t (a INT)")
        yield admin


@pytest.fixture
def boss(shared_node: Node, admin: Admin) -> Iterator["pymysql.Connection"]:
    with connect(shared_node, "boss", PASSWORD.reveal().decode(), local_infile=True) as connection:
        yield connection


def test_no_connection_without_tls(shared_node: Node, admin: Admin) -> None:
    with pytest.raises(pymysql.MySQLError):
        pymysql.connect(
            host="127.0.0.1", port=shared_node.config.port, user="boss", password=PASSWORD.reveal(), ssl_disabled=True
        )


def test_it_does_its_work(shared_node: Node, boss: "pymysql.Connection") -> None:
    run(boss, "CREATE DATABASE app", "CREATE TABLE app.t (a INT PRIMARY KEY)", "CREATE DATABASE my_app")
    run(boss, "CREATE PROCEDURE app.p() SELECT 1", "CREATE VIEW app.v AS SELECT a FROM app.t")
    run(boss, "CREATE TRIGGER app.g BEFORE INSERT ON app.t FOR EACH ROW SET @seen = 1")
    run(boss, "CALL mysql.keystead_create_user('clerk', 'first'' \" \\\\ password')")
    run(boss, "GRANT SELECT, INSERT ON app.* TO clerk", "GRANT ALL ON `my\\_app`.* TO clerk")
    with connect(shared_node, "clerk", "first' \" \\ password") as clerk:
        run(clerk, "INSERT INTO app.t VALUES (7)")
        assert run(clerk, "SELECT a FROM app.t") == ((7,),)
        with pytest.raises(pymysql.MySQLError):
            run(clerk, "DELETE FROM app.t")
    run(boss, "CALL mysql.keystead_set_password('clerk', 'second')")
    connect(shared_node, "clerk", "second").close()
    run(boss, "CALL mysql.keystead_lock_user('clerk', TRUE)")
    with pytest.raises(pymysql.MySQLError):
        connect(shared_node, "clerk", "second")
    run(boss, "CALL mysql.keystead_drop_user('clerk')")


@pytest.mark.parametrize(
    "statement",
    [
        "GRANT ALL ON *.* TO other",
        "GRANT SELECT ON *.* TO other",
        "GRANT SELECT ON `%`.* TO other",
        "GRANT SELECT ON `\\%`.* TO other",
        "GRANT SELECT ON `m%`.* TO other",
        "GRANT SELECT ON `my%`.* TO other",
        "GRANT SELECT ON `my___`.* TO other",
        "GRANT SELECT ON `_ysql`.* TO other",
        "GRANT SELECT ON `m_sql`.* TO other",
        "GRANT SELECT ON `%sql`.* TO other",
        "GRANT SELECT ON mysql.* TO other",
        "GRANT SELECT ON mysql.global_priv TO other",
        "GRANT PROXY ON 'root'@'localhost' TO other",
        "GRANT other TO boss",
        "CREATE USER eve IDENTIFIED BY 'x'",
        "GRANT SELECT ON app2.* TO eve IDENTIFIED BY 'x'",
        "ALTER USER other IDENTIFIED BY 'x'",
        "SET PASSWORD FOR other = PASSWORD('x')",
        "RENAME USER other TO another",
        f"ALTER USER {os_user()}@localhost IDENTIFIED BY 'x'",
        f"RENAME USER {os_user()}@localhost TO x",
        f"DROP USER {os_user()}@localhost",
        "CALL mysql.keystead_set_password('root', 'x')",
        "CALL mysql.keystead_create_user('keystead_x', 'x')",
        "CALL mysql.keystead_create_user('x''@''localhost', 'x')",
        "CALL mysql.keystead_create_user('x\\n', 'x')",
        "CALL mysql.keystead_drop_user('boss')",
        "CALL mysql.keystead_drop_user('mariadb.sys')",
        "DROP PROCEDURE mysql.keystead_drop_user",
        "CREATE OR REPLACE PROCEDURE mysql.keystead_drop_user() SELECT 1",
        "SELECT * FROM mysql.global_priv",
        "UPDATE mysql.global_priv SET Priv = '{}'",
        "INSERT INTO mysql.db (Host, Db, User) VALUES ('%', '%', 'boss')",
        "CREATE TABLE mysql.x (a INT)",
        "DROP DATABASE mysql",
        "RENAME TABLE taken.t TO mysql.t",
        "CREATE VIEW taken.v AS SELECT * FROM mysql.global_priv",
        "CREATE DEFINER = root@localhost PROCEDURE taken.p() SELECT 1",
        "INSTALL SONAME 'ha_blackhole'",
        "CREATE FUNCTION f RETURNS INTEGER SONAME 'x.so'",
        "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'x')",
        "CHANGE MASTER TO master_host = 'x'",
        "SET GLOBAL general_log = 1",
        "SET GLOBAL event_scheduler = 1",
        "SET GLOBAL hashicorp_key_management_cache_version_timeout = 0",
        "SET SESSION sql_log_bin = 0",
        "SET SESSION binlog_format = STATEMENT",
        "SET SESSION enforce_storage_engine = NULL",
        "CREATE TABLE taken.m (a INT) ENGINE = MyISAM",
        "CREATE TABLE taken.m (a INT) ENGINE = Aria",
        "CREATE TABLE taken.m (a INT) ENGINE = CSV",
        "CREATE TABLE taken.m (a INT) ENCRYPTED = NO",
        "CREATE TABLE taken.m (a INT) ENCRYPTION_KEY_ID = 7",
        "ALTER TABLE taken.t ENCRYPTED = NO",
        "SELECT 1 INTO OUTFILE '/tmp/x'",
        "LOAD DATA INFILE '/etc/passwd' INTO TABLE taken.t",
        "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE taken.t",
        "SHUTDOWN",
        "FLUSH LOGS",
        "FLUSH TABLES WITH READ LOCK",
        "RESET MASTER",
        "PURGE BINARY LOGS TO 'binlog.000002'",
        "SHOW BINLOG EVENTS",
        "BACKUP STAGE START",
    ],
)
def test_it_opens_no_hole(admin: Admin, boss: "pymysql.Connection", statement: str) -> None:
    admin.run("CREATE USER IF NOT EXISTS other IDENTIFIED BY 'x'")
    before = accounts.accounts(admin)
    with pytest.raises(pymysql.MySQLError):
        run(boss, statement)
    assert accounts.accounts(admin) == before


def test_it_reads_no_file(boss: "pymysql.Connection") -> None:
    assert run(boss, "SELECT LOAD_FILE('/etc/passwd')") == ((None,),)


def test_data_stays_in_the_data_directory(shared_node: Node, boss: "pymysql.Connection") -> None:
    outside = shared_node.machine.base / "outside"
    outside.mkdir()
    os.chown(outside, shared_node.owner.uid, shared_node.owner.gid)
    run(boss, f"CREATE TABLE taken.d (a INT) DATA DIRECTORY = '{outside}'")
    run(
        boss,
        "CREATE TABLE taken.p (a INT) PARTITION BY RANGE (a)"
        f" (PARTITION p0 VALUES LESS THAN (10) DATA DIRECTORY = '{outside}')",
    )
    assert list(outside.iterdir()) == []


def test_replaced_with_a_new_password(shared_node: Node, admin: Admin) -> None:
    accounts.put_administrator(admin, "second", native_password_hash(Secret(b"one")))
    accounts.put_administrator(admin, "second", native_password_hash(Secret(b"two")))
    with pytest.raises(pymysql.MySQLError):
        connect(shared_node, "second", "one")
    connect(shared_node, "second", "two").close()
    accounts.set_password(admin, "second", Secret(b"three"))
    with connect(shared_node, "second", "three") as connection:
        accounts.drop_account(admin, "second")
        with pytest.raises(pymysql.MySQLError):
            run(connection, "SELECT 1")
    assert "second" not in {account.name for account in accounts.accounts(admin)}


@pytest.mark.parametrize("name", ["", "root", "keystead_x", "a'b", "a b", "x" * 81, "mariadb.sys", os_user()])
def test_names_that_no_account_may_have(name: str) -> None:
    with pytest.raises(Refusal):
        accounts.check_name(name)


def test_nothing_of_the_administrator_runs_with_our_rights(admin: Admin, boss: "pymysql.Connection") -> None:
    """A proof reads tables of our own schema: a view put in their place would run its owner's functions as us."""
    view = "SQL SECURITY INVOKER VIEW {} AS SELECT 1 AS id, CURRENT_USER() AS word, 'x' AS body"
    with pytest.raises(pymysql.MySQLError):
        run(boss, f"CREATE DATABASE {CANARY_SCHEMA}")
    admin.plant_canaries()
    for statement in (
        f"CREATE {view.format(f'{CANARY_SCHEMA}.put')}",
        f"CREATE OR REPLACE {view.format(f'{CANARY_SCHEMA}.canary')}",
        f"RENAME TABLE {CANARY_SCHEMA}.canary TO {CANARY_SCHEMA}.away",
        f"CREATE TRIGGER {CANARY_SCHEMA}.t BEFORE INSERT ON {CANARY_SCHEMA}.canary FOR EACH ROW SET @seen = 1",
        f"SELECT word FROM {CANARY_SCHEMA}.canary",
    ):
        with pytest.raises(pymysql.MySQLError, match="denied"):
            run(boss, statement)
    admin.drop_canaries()
