"""Logins under way counted tries that nobody can make: their codes are good once, and cannot be guessed."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.drop_column("login_grants", "tries")
