"""Accounts of a server: the customer's administrator, who may do much but cannot open a hole, and our own.

MariaDB cannot take back a part of a global grant, and CREATE USER lets its holder rename and take over *any* account,
ours included (measured). So the administrator gets

- no global privilege but PROCESS and SHOW DATABASES;
- everything on databases, with GRANT OPTION, by name patterns that cover every name of ASCII letters, digits, `_`, `$`
  and `-` except those that begin with `mys`: no pattern matches `mysql`, and none can be granted on that would;
- four procedures to manage accounts, which run with our rights and touch only accounts for any host (`%`), never ours:

    CALL mysql.keystead_create_user('name', 'password');   CALL mysql.keystead_set_password('name', 'password');
    CALL mysql.keystead_drop_user('name');                 CALL mysql.keystead_lock_user('name', TRUE or FALSE);

Hence not: SUPER, FILE, SHUTDOWN, RELOAD (it would reset binary logs and block backups), CREATE USER, SET USER,
CONNECTION ADMIN, BINLOG ADMIN / MONITOR / REPLAY, REPLICATION *, FEDERATED ADMIN, READ_ONLY ADMIN, anything on `mysql`.
"""

import re
import string
from dataclasses import dataclass

from keystead.adapters.mariadb.client import Admin
from keystead.adapters.mariadb.datadir import os_user
from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.databases.accounts import native_password_hash

ADMINISTRATOR_PRIVILEGES = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, LOCK TABLES,"
    " EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER, DELETE HISTORY"
)
BACKUP_ACCOUNT = "keystead_backup"
BACKUP_PRIVILEGES = "RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, SLAVE MONITOR"
_HASH = re.compile(r"\*[0-9A-F]{40}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_RESERVED = ("root", "mysql", "mariadb.sys", "keystead")
_NAME_SQL = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}\\\\z"
_CHARACTERS = string.ascii_lowercase + string.ascii_uppercase + string.digits + "_$-"


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the server. `locked` ones cannot log in."""

    name: str
    host: str
    plugin: str
    locked: bool


def check_name(name: str) -> str:
    """`name`, if an account may be called so.

    Raises:
        Refusal: `InvalidParameter`.
    """
    if not _NAME.fullmatch(name) or name.lower() in (*_RESERVED, os_user()) or name.lower().startswith("keystead"):
        raise Refusal(
            "InvalidParameter",
            f"{name!r} cannot be the name of an account",
            hint="1 to 80 letters, digits, _ . or -; not root, mysql, mariadb.sys, and not beginning with keystead",
        )
    return name


def database_patterns() -> tuple[str, ...]:
    """LIKE patterns that together match every allowed database name and can never match `mysql`."""
    patterns = ["m", "my"]
    for prefix, stop in (("", "m"), ("m", "y"), ("my", "s")):
        patterns += [f"{prefix}{_escaped(letter)}%" for letter in _CHARACTERS if letter != stop]
    return tuple(patterns)


def _escaped(letter: str) -> str:
    return "\\_" if letter == "_" else letter


def put_administrator(admin: Admin, name: str, hashed: str) -> None:
    """Create the customer's administrator account, or replace it with a new password and exactly these rights.

    `hashed` is what `native_password_hash` made of the password.

    Raises:
        Refusal: the name cannot be used.
        ValueError: `hashed` is not such a hash.
    """
    if not _HASH.fullmatch(hashed):
        raise ValueError("not a password hash")
    account = f"'{check_name(name)}'@'%'"
    unlogged(admin)
    admin.run(
        f"DROP USER IF EXISTS '{BACKUP_ACCOUNT}'@'localhost'",  # a restored server still has the one of its backup
        f"CREATE OR REPLACE USER {account} IDENTIFIED BY PASSWORD '{hashed}' REQUIRE SSL",
        f"GRANT PROCESS, SHOW DATABASES ON *.* TO {account}",
        *(
            f"GRANT {ADMINISTRATOR_PRIVILEGES} ON `{pattern}`.* TO {account} WITH GRANT OPTION"
            for pattern in database_patterns()
        ),
        *(f"GRANT EXECUTE ON PROCEDURE mysql.{name} TO {account} WITH GRANT OPTION" for name in _procedures(admin)),
    )


def set_password(admin: Admin, name: str, password: Secret) -> None:
    """A new password for an account for any host. Its rights and open connections stay."""
    unlogged(admin)
    admin.run(f"ALTER USER '{check_name(name)}'@'%' IDENTIFIED BY PASSWORD '{native_password_hash(password)}'")


def drop_account(admin: Admin, name: str, host: str = "%") -> None:
    """Drop an account if it is there, and end its connections."""
    unlogged(admin)
    admin.query("DROP USER IF EXISTS %s@%s", name, host)
    admin.kill_connections(name)


def put_backup_account(admin: Admin, name: str, password: Secret) -> None:
    """An account for one run of mariadb-backup, on the socket only; drop it afterwards."""
    account = f"'{name}'@'localhost'"
    unlogged(admin)
    admin.run(
        f"CREATE OR REPLACE USER {account} IDENTIFIED BY PASSWORD '{native_password_hash(password)}'",
        f"GRANT {BACKUP_PRIVILEGES} ON *.* TO {account}",
    )


def accounts(admin: Admin) -> tuple[Account, ...]:
    """Every account, ours and MariaDB's own included; roles are left out."""
    rows = admin.query(
        "SELECT User, Host, COALESCE(JSON_VALUE(Priv, '$.plugin'), ''),"
        " COALESCE(JSON_VALUE(Priv, '$.account_locked'), 'false') IN ('1', 'true')"
        " FROM mysql.global_priv WHERE JSON_VALUE(Priv, '$.is_role') IS NULL ORDER BY User, Host"
    )
    return tuple(Account(str(user), str(host), str(plugin), bool(locked)) for user, host, plugin, locked in rows)


def unlogged(admin: Admin) -> None:
    """What follows belongs to this server and its owner, not to replicas or to a replay."""
    admin.run("SET SESSION sql_log_bin = 0")


def _procedures(admin: Admin) -> tuple[str, ...]:
    """Make the account procedures. Returns their names."""
    for name, (parameters, body) in _BODIES.items():
        admin.run(
            f"CREATE OR REPLACE DEFINER = CURRENT_USER PROCEDURE mysql.{name}({parameters})"
            f" MODIFIES SQL DATA SQL SECURITY DEFINER BEGIN {_CHECK} {_NOT_OURS} {body} END"
        )
    return tuple(_BODIES)


_CHECK = (
    f"IF who NOT REGEXP '{_NAME_SQL}' OR LOWER(who) LIKE 'keystead%' OR LOWER(who) IN ('root', 'mysql', 'mariadb.sys')"
    " THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'this cannot be the name of an account'; END IF;"
)
_NOT_OURS = (
    "IF EXISTS (SELECT 1 FROM mysql.global_priv WHERE User = who AND JSON_VALUE(Priv, '$.plugin') LIKE 'iam\\_%')"
    " THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'this account belongs to Keystead: keystead db mappings'; END IF;"
)
_NOT_ONESELF = (
    "IF who = SUBSTRING_INDEX(SESSION_USER(), '@', 1)"
    " THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'an account cannot do this to itself'; END IF;"
)
_BODIES = {
    "keystead_create_user": (
        "who VARCHAR(80) CHARACTER SET utf8mb4, secret VARCHAR(255) CHARACTER SET utf8mb4",
        "EXECUTE IMMEDIATE CONCAT('CREATE USER ', QUOTE(who), '@''%'' IDENTIFIED BY PASSWORD ',"
        " QUOTE(PASSWORD(secret)), ' REQUIRE SSL');",
    ),
    "keystead_set_password": (
        "who VARCHAR(80) CHARACTER SET utf8mb4, secret VARCHAR(255) CHARACTER SET utf8mb4",
        "EXECUTE IMMEDIATE CONCAT('ALTER USER ', QUOTE(who), '@''%'' IDENTIFIED BY PASSWORD ',"
        " QUOTE(PASSWORD(secret)));",
    ),
    "keystead_drop_user": (
        "who VARCHAR(80) CHARACTER SET utf8mb4",
        f"{_NOT_ONESELF} EXECUTE IMMEDIATE CONCAT('DROP USER ', QUOTE(who), '@''%''');",
    ),
    "keystead_lock_user": (
        "who VARCHAR(80) CHARACTER SET utf8mb4, locked BOOLEAN",
        f"{_NOT_ONESELF} EXECUTE IMMEDIATE CONCAT('ALTER USER ', QUOTE(who), '@''%'' ACCOUNT ',"
        " IF(locked, 'LOCK', 'UNLOCK'));",
    ),
}
