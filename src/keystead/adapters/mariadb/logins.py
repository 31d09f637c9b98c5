"""Accounts for logins with tokens, in a server (databases/logins/model.py says what they mean).

    one to one   'ann'@'%' IDENTIFIED VIA iam_token USING '{"mapping", "tenancy", "user"}' REQUIRE SSL, grants, roles
    by group     ''@'%' IDENTIFIED VIA iam_token USING '{"tenancy", "group": "*"}' REQUIRE SSL, which has no rights,
                 and may be  'p_dba'@'%' (VIA iam_token USING '{"mapping", "tenancy", "proxy": true}' ACCOUNT LOCK)

Accounts are told to be ours by their plugin. A proxy account takes no login: it is locked, and its text is refused.
Every account is for any host: a more specific anonymous one would stand before a person's own.
"""

import json
from collections.abc import Iterable, Sequence

from keystead.adapters.mariadb.accounts import unlogged
from keystead.adapters.mariadb.client import Admin, quote_name
from keystead.core.errors import Fault
from keystead.databases.logins.model import PLUGINS, LoginMapping, MappingReport, parse_grant

OURS = ", ".join(f"'{plugin}'" for plugin in PLUGINS.values())
Wanted = dict[str, tuple[str, str, bool]]  # account -> plugin, text, locked


def put_logins(admin: Admin, mappings: Sequence[LoginMapping], tenancy: str) -> list[MappingReport]:
    """Make exactly these accounts. Raises: Fault: the server has no login plugin."""
    present = _present(admin)
    if not mappings and not present:
        return []
    if not _has_plugin(admin):
        why = "the server runs without the login plugin: restart the system (and see keystead doctor)"
        return [MappingReport(each.id, why) for each in mappings]
    unlogged(admin)
    wanted = _wanted(mappings, tenancy)
    gone = [name for name, found in present.items() if wanted.get(name) != found]
    for name in gone:
        admin.query("DROP USER IF EXISTS %s@'%%'", name)
    reports = [_put(admin, each, wanted[each.account], present) for each in mappings]
    if "" in wanted and wanted[""] != present.get(""):
        plugin, text, _ = wanted[""]
        admin.query(f"CREATE OR REPLACE USER ''@'%%' IDENTIFIED VIA {plugin} USING %s REQUIRE SSL", text)
    _put_proxies(admin, [each.account for each in mappings if each.kind == "group"])
    return reports


def token_sessions(admin: Admin) -> dict[int, str]:
    """Connections of people who have no account of their own with another plugin."""
    rows = admin.query(
        "SELECT id, user FROM information_schema.processlist WHERE command <> 'Daemon' AND user NOT IN"  # noqa: S608  # names of ours
        " ('system user', 'unauthenticated user', 'event_scheduler') AND user NOT IN (SELECT user FROM"
        f" mysql.global_priv WHERE COALESCE(JSON_VALUE(Priv, '$.plugin'), '') NOT IN ({OURS}))"
    )
    return {int(number): str(user) for number, user in rows}


def end_sessions(admin: Admin, connections: Iterable[int]) -> None:
    """Kill connections."""
    for number in connections:
        try:
            admin.run(f"KILL CONNECTION {int(number)}")
        except Fault:
            continue  # it has ended meanwhile


def _has_plugin(admin: Admin) -> bool:
    rows = admin.query("SELECT 1 FROM information_schema.plugins WHERE plugin_name = 'iam_token'")
    return bool(rows)


def _present(admin: Admin) -> Wanted:
    rows = admin.query(
        "SELECT User, JSON_VALUE(Priv, '$.plugin'), "  # noqa: S608  # names of ours
        " COALESCE(JSON_VALUE(Priv, '$.authentication_string'), ''),"
        " COALESCE(JSON_VALUE(Priv, '$.account_locked'), 'false') IN ('1', 'true')"
        f" FROM mysql.global_priv WHERE Host = '%' AND JSON_VALUE(Priv, '$.plugin') IN ({OURS})"
    )
    return {str(user): (str(plugin), str(text), bool(locked)) for user, plugin, text, locked in rows}


def _wanted(mappings: Sequence[LoginMapping], tenancy: str) -> Wanted:
    wanted: Wanted = {}
    for each in mappings:
        text: dict[str, object] = {"mapping": each.id, "tenancy": tenancy}
        if each.kind == "user":
            wanted[each.account] = (PLUGINS[each.client], _text(text | {"user": each.subject}), False)
        else:
            wanted[each.account] = (PLUGINS[each.client], _text(text | {"proxy": True}), True)
            wanted[""] = (PLUGINS[each.client], _text({"tenancy": tenancy, "group": "*"}), False)
    return wanted


def _text(content: dict[str, object]) -> str:
    return json.dumps(content, sort_keys=True)


def _put(admin: Admin, mapping: LoginMapping, wanted: tuple[str, str, bool], present: Wanted) -> MappingReport:
    if present.get(mapping.account) == wanted and mapping.state == "ACTIVE":
        return MappingReport(mapping.id)
    plugin, text, locked = wanted
    account = f"'{mapping.account}'@'%%'"  # checked when it was mapped: nothing in it needs quoting
    try:
        if present.get(mapping.account) != wanted:
            lock = " ACCOUNT LOCK" if locked else ""
            admin.query(f"CREATE USER {account} IDENTIFIED VIA {plugin} USING %s REQUIRE SSL{lock}", text)
        account = f"'{mapping.account}'@'%'"
        _grant(admin, mapping, account)
    except Fault as error:
        if present.get(mapping.account) != wanted:  # half of an account is none
            _undo(admin, mapping.account, wanted)
        return MappingReport(mapping.id, error.message)
    return MappingReport(mapping.id)


def _undo(admin: Admin, account: str, wanted: tuple[str, str, bool]) -> None:
    if _present(admin).get(account) == wanted:
        admin.query("DROP USER IF EXISTS %s@'%%'", account)


def _grant(admin: Admin, mapping: LoginMapping, account: str) -> None:
    for text in mapping.grants:
        grant = parse_grant(text)
        database = grant.database if grant.table else grant.database.replace("_", "\\_")
        place = f"{quote_name(database)}.{quote_name(grant.table) if grant.table else '*'}"
        admin.run(f"GRANT {', '.join(grant.privileges)} ON {place} TO {account}")
    for role in mapping.roles:
        admin.run(f"CREATE ROLE IF NOT EXISTS {quote_name(role)}", f"GRANT {quote_name(role)} TO {account}")
    if mapping.roles:
        admin.run(f"SET DEFAULT ROLE {quote_name(mapping.roles[0])} FOR {account}")


def _put_proxies(admin: Admin, accounts: Sequence[str]) -> None:
    """Let the anonymous account be these and no others. A GRANT PROXY asks for a right that nobody here has."""
    rows = admin.query("SELECT Proxied_user FROM mysql.proxies_priv WHERE User = '' AND Host = '%'")
    present = {str(found) for (found,) in rows}
    if present == set(accounts):
        return
    for name in present - set(accounts):
        admin.query("DELETE FROM mysql.proxies_priv WHERE User = '' AND Proxied_user = %s", name)
    for name in sorted(set(accounts) - present):
        admin.query(
            "INSERT INTO mysql.proxies_priv (Host, User, Proxied_host, Proxied_user, With_grant, Grantor)"
            " VALUES ('%%', '', '%%', %s, 0, 'keystead')",
            name,
        )
    admin.run("FLUSH PRIVILEGES")
