"""What earlier root keys left: keys that are needed for ever, wrapped under the root key of now."""

import sqlalchemy as sa

from keystead.adapters.sql.schema import _blob, _moment, metadata

carried_keys = sa.Table(
    "carried_keys",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    _blob("wrapped"),
    _moment("created_at"),
)
