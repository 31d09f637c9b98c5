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
    minutes = sa.Column("break_glass_minutes", sa.BigInteger(), nullable=False, server_default="240")
    op.add_column("groups", minutes)
    words = ("group_id", "user_id", "granted_by", "ended_by")
    op.create_table(
        "break_glass",
        sa.Column("tenancy", sa.String(128), primary_key=True),
        sa.Column("id", sa.String(128), primary_key=True),
        *(sa.Column(name, sa.String(128), nullable=False) for name in words),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("group_name", "user_name", "reason", "granted_by_name", "how")
        ),
        sa.Column("began_at", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.String(32), nullable=False),
        sa.Column("ended_at", sa.String(32)),
    )
    op.create_index("break_glass_by_end", "break_glass", ["ended_at", "expires_at"])


def _logins() -> None:
    """Who may log in to which database, and as whom."""
