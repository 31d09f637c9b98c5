"""The region's state in SQL: one file per domain package, the schema, its migrations and the hot path's reads."""
