"""Calls of databases, of jobs, and of the machines that run them."""

from collections.abc import Mapping

from tests.fakes.calls.call import Call, fresh, nobody, read
from tests.fakes.calls.things import PAGE, Things, active, fresh_key
from tests.fakes.domain import DomainRegion

from keystead.databases.creation import NewSystem
from keystead.databases.desk import Report
from keystead.databases.logins.acts import NewMapping
from keystead.databases.logins.model import MappingReport


def _stopped(region: DomainRegion, t: Things) -> None:
    active(region, t.system, state="INACTIVE", desired="stopped")


DATABASES: Mapping[str, Call] = {
    "create": Call(
        lambda r, c, t: r.databases.create(c, NewSystem(t.compartment, fresh(), t.key)), ("compartment", "key")
    ),
    "get_system": read(lambda r, c, t: r.databases.get_system(c, t.system), "system"),
    "list_systems": read(lambda r, c, t: r.databases.list_systems(c, t.compartment, PAGE), "compartment"),
    "tag_system": Call(lambda r, c, t: r.databases.tag_system(c, t.system, {"ops.env": fresh()}), ("system",)),
    "update_system": Call(
        lambda r, c, t: r.databases.update_system(c, t.system, deletion_protection=True), ("system",)
    ),
    "start": Call(lambda r, c, t: r.databases.start(c, t.system), ("system",), _stopped),
    "stop": Call(lambda r, c, t: r.databases.stop(c, t.system), ("system",)),
    "restart": Call(lambda r, c, t: r.databases.restart(c, t.system), ("system",)),
    "delete": Call(lambda r, c, t: r.databases.delete(c, t.system), ("system",)),
    "rotate_data_keys": Call(lambda r, c, t: r.databases.rotate_data_keys(c, t.system), ("system",)),
    "verify": Call(lambda r, c, t: r.databases.verify(c, t.system), ("system",)),
    "change_key": Call(lambda r, c, t: r.databases.change_key(c, t.system, t.key), ("system", "key")),
    "revalidate": read(lambda r, c, t: r.databases.revalidate(c, t.system), "system"),
    "confirm": Call(lambda r, c, t: r.databases.confirm(c, t.system), ("system",)),
    "revoke_tokens": Call(lambda r, c, t: r.databases.revoke_tokens(c, t.system), ("system",)),
    "delete_identity": Call(lambda r, c, t: r.databases.delete_identity(c, t.system), ("system",)),
    "restore_identity": Call(lambda r, c, t: r.databases.restore_identity(c, t.system), ("system",)),
    "hierarchy": read(lambda r, c, t: r.databases.hierarchy(c, t.system), "system"),
    "last_fence": read(lambda r, c, t: r.databases.last_fence(c, t.system), "system"),
    "endpoint": read(lambda r, c, t: r.databases.endpoint(c, t.system), "system"),
    "map_login": Call(
        lambda r, c, t: r.databases.map_login(c, t.system, NewMapping("group", t.group, roles=("reader",))),
        ("system", "group"),
    ),
    "list_mappings": read(lambda r, c, t: r.databases.list_mappings(c, t.system), "system"),
    "unmap_login": Call(
        lambda r, c, t: r.databases.unmap_login(c, t.system, t.login_mapping), ("system", "login_mapping")
    ),
    "login_readiness": read(lambda r, c, t: r.databases.login_readiness(c, t.system), "system"),
    "create_backup": Call(lambda r, c, t: r.databases.create_backup(c, t.system, fresh(), t.key), ("system", "key")),
    "get_backup": read(lambda r, c, t: r.databases.get_backup(c, t.backup), "backup"),
    "list_backups": read(lambda r, c, t: r.databases.list_backups(c, t.compartment, PAGE), "compartment"),
    "delete_backup": Call(lambda r, c, t: r.databases.delete_backup(c, t.backup), ("backup",)),
    "restore": Call(
        lambda r, c, t: r.databases.restore(c, t.backup, NewSystem(t.compartment, fresh(), t.key)),
        ("backup", "compartment", "key"),
    ),
}

JOBS: Mapping[str, Call] = {
    "get_job": read(lambda r, c, t: r.jobs.get_job(c, t.job), "job"),
    "list_jobs": read(lambda r, c, t: r.jobs.list_jobs(c, t.compartment, PAGE), "compartment"),
}

DESK: Mapping[str, Call] = {
    "watch": read(lambda r, c, t: r.desk.watch(c)),
    "open_store_key": read(lambda r, c, t: r.desk.open_store_key(c, t.system), "system"),
    "report": Call(lambda r, c, t: r.desk.report(c, Report(t.system, "running")), ("system",)),
}

LOGINS: Mapping[str, Call] = {
    "decide_login": read(lambda r, c, t: r.logins.decide_login(c, t.system, nobody), "system"),
    "check_logins": read(lambda r, c, t: r.logins.check_logins(c, t.system, ()), "system"),
    "issue_session": read(lambda r, c, t: r.logins.issue_session(c, t.system, fresh_key()), "system"),
    "report_mappings": Call(
        lambda r, c, t: r.logins.report_mappings(c, t.system, [MappingReport(t.login_mapping)]), ("system",)
    ),
}
