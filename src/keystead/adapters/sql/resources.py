"""`Resources` for insight: the vaults, keys and database systems of a tenancy as targets."""

from collections.abc import Mapping, Sequence
from typing import cast

import sqlalchemy as sa

from keystead.adapters.sql import schema
from keystead.adapters.sql.store import translated
from keystead.core.ids import CompartmentId, TenancyId
from keystead.iam.directory import Directory
from keystead.iam.model import Target
from keystead.iam.policy.variables import tag_attributes

_KINDS = (("vaults", schema.vaults), ("keys", schema.keys), ("mysql-instances", schema.db_systems))


class SqlResources:
    """Reads the region's state; nothing that is deleted."""

    def __init__(self, engine: sa.Engine, directory: Directory) -> None:
        self._engine = engine
        self._directory = directory

    def all(self, tenancy: str) -> Sequence[Target]:
        """In the order of their kinds. Raises: Unavailable."""
        found = []
        with translated(), self._engine.connect() as connection:
            for kind, table in _KINDS:
                living = table.c.tenancy == tenancy, table.c.state != "DELETED"
                for row in connection.execute(sa.select(table).where(*living).order_by(table.c.name)).mappings():
                    place = self._directory.compartment(tenancy, row["compartment"])
                    path = place.path if place is not None else (CompartmentId(row["compartment"]),)
                    known = _attributes(kind, dict(row))
                    found.append(Target(kind, row["id"], row["name"], TenancyId(tenancy), path, known))
        return found


def _attributes(kind: str, row: dict[str, object]) -> dict[str, str]:
    if kind == "vaults":
        return {"vault.id": str(row["id"])} | _tags(row)
    if kind == "keys":
        found = {"key.id": str(row["id"]), "key.name": str(row["name"]), "vault.id": str(row["vault"])}
        return found | _tags(row) | ({"key.managed-by": str(row["managed_by"])} if row["managed_by"] else {})
    return _tags(row)


def _tags(row: dict[str, object]) -> dict[str, str]:
    return tag_attributes(cast(Mapping[str, str], row["tags"]))
