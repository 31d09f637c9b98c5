"""Opening the state database of a region, as every process and tool does it."""

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from keystead.adapters.sql import migrations
from keystead.adapters.sql.engine import sqlite_engine
from keystead.core.errors import Refusal

STATE_FILE: Final = "state.db"
RESERVE_FILE: Final = "state.reserve"
INDEX_FILE: Final = "audit.db"
SEGMENTS: Final = "audit"


def open_state(state: Path) -> sa.Engine:
    """The state database, checked to be there and of this program's schema.

    Raises:
        Refusal: `StateMissing`, `StateOlder`, `StateNewer`.
    """
    path = state / STATE_FILE
    if not path.is_file():
        raise Refusal(
            "StateMissing", f"the region's state {path} is missing", hint="restore it: keystead state restore"
        )
    engine = sqlite_engine(path)
    migrations.check(engine)
    return engine
