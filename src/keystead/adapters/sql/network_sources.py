"""Rows of network sources."""

from collections.abc import Sequence

import sqlalchemy as sa

from keystead.adapters.sql.rows import Table, values
from keystead.adapters.sql.schema_network_sources import network_sources
from keystead.core.page import PageRequest
from keystead.iam.model import NetworkSource


class SqlNetworkSourceRows:
    """`NetworkSourceRows` on a connection. `generation` is that of this transaction: the hot path reads these rows."""

    def __init__(self, connection: sa.Connection, generation: int) -> None:
        self._table = Table(connection, network_sources)
        self._generation = generation

    def add(self, source: NetworkSource) -> None:
        self._table.insert(source, deleted=False, generation=self._generation)

    def one(self, tenancy: str, source_id: str) -> NetworkSource | None:
        return self._table.one(NetworkSource, tenancy=tenancy, id=source_id, deleted=False)

    def page(self, tenancy: str, page: PageRequest, name: str | None) -> Sequence[NetworkSource]:
        return self._table.page(NetworkSource, page, tenancy=tenancy, name=name or ..., deleted=False)

    def set(self, source: NetworkSource, expected: int, *, deleted: bool = False) -> bool:
        """Compare-and-set on the version that was read."""
        where = {"tenancy": source.tenancy, "id": source.id, "version": expected, "deleted": False}
        changes = {name: value for name, value in values(source).items() if name not in where or name == "version"}
        return self._table.update(where, generation=self._generation, deleted=deleted, **changes) == 1
