"""The schema's history: one numbered step per change, applied by Alembic, forward only.

`HEAD` is the step that this program needs; `current` tells what a state database has. Checking takes one read and no
Alembic, so every process does it at start; `upgrade` is for `init`, `keystead migrate` and restores.
"""

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from keystead.core.errors import Refusal

HEAD: Final = "0008"


def current(engine: sa.Engine) -> str:
    """The step that the database is at; empty when it has none."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return ""
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none() or "")


def check(engine: sa.Engine) -> None:
    """Raises: Refusal when the database is not at `HEAD`."""
    found = current(engine)
    if found == HEAD:
        return
    newer = found > HEAD
    raise Refusal(
        "StateNewer" if newer else "StateOlder",
        f"the region's state is of schema {found or 'none'}, this program works with {HEAD}",
        hint="use the newer program that has been here" if newer else "stop the region and run `keystead migrate`",
        kind="conflict",
    )


def upgrade(engine: sa.Engine) -> tuple[str, str]:
    """Bring the database to `HEAD`; returns the steps before and after. Raises: Refusal `StateNewer`."""
    from alembic import command
    from alembic.config import Config

    before = current(engine)
    if before > HEAD:
        check(engine)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with engine.connect().execution_options(writing=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
    return before, HEAD
