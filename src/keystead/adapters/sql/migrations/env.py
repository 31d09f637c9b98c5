"""Alembic's entry: runs the steps on the connection that `upgrade` gives, in its transaction."""

from alembic import context

from keystead.adapters.sql import schema

context.configure(
    connection=context.config.attributes["connection"], target_metadata=schema.metadata, transactional_ddl=True
)
context.run_migrations()
