"""The mark that a region is sealed by order: a file in the state directory, there until somebody unseals it.

With it a region starts sealed whatever could open it, and `host` fences every database system without asking anybody:
it needs no answer from processes that are just ending.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from keystead.core.clock import isoformat
from keystead.server.state.building import sync, write

NAME: Final = "sealed.json"


@dataclass(frozen=True, slots=True)
class Mark:
    """When it was ordered (RFC 3339), and by whom."""

    at: str
    by: str

    @property
    def since(self) -> datetime:
        """The same as a moment."""
        return datetime.fromisoformat(self.at)


def read(state: Path) -> Mark | None:
    """The mark; None when there is none. One that cannot be read still seals."""
    try:
        found = json.loads((state / NAME).read_bytes())
        return Mark(isoformat(datetime.fromisoformat(found["at"])), str(found["by"])[:200])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return Mark("1970-01-01T00:00:00.000Z", "unknown")


def put(state: Path, at: datetime, by: str) -> None:
    """Seal by order, from now on and after every restart."""
    beside = state / f".{NAME}.new"
    beside.unlink(missing_ok=True)
    write(beside, json.dumps({"at": isoformat(at), "by": by}).encode())
    beside.rename(state / NAME)
    sync(state)


def clear(state: Path) -> None:
    """Somebody unsealed it."""
    (state / NAME).unlink(missing_ok=True)
    sync(state)
