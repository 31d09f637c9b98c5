"""Which entries somebody asks for. Pure: the index answers the same questions faster, and is tested against this."""

from dataclasses import dataclass
from datetime import datetime

from keystead.audit.model import Entry


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """An empty field means any. `since` is inclusive, `until` exclusive.

    `principal` and `resource` are an id or a name (`resource` also a resource type), `action` a permission or an
    operation.
    """

    principal: str = ""
    action: str = ""
    resource: str = ""
    outcome: str = ""
    since: datetime | None = None
    until: datetime | None = None


def matches(wanted: EntryFilter, entry: Entry) -> bool:
    """Whether `entry` is one of those asked for."""
    return (
        wanted.principal in ("", entry.principal_id, entry.principal_name)
        and wanted.action in ("", entry.action, entry.operation)
        and wanted.resource in ("", entry.resource_id, entry.resource_name, entry.resource_type)
        and wanted.outcome in ("", entry.outcome)
        and (wanted.since is None or entry.at >= wanted.since)
        and (wanted.until is None or entry.at < wanted.until)
    )
