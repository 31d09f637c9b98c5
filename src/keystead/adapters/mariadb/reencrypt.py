"""Rewriting a server's data under its newest data keys, online, and saying truly what still needs the old.

The order is that of `client.py`; nothing is called retired that a file still names: the redo log keeps its version
until the next restart (node.py gives it another log size then, so it is written anew), binary logs until they expire.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from keystead.adapters.mariadb.client import Admin
from keystead.adapters.mariadb.scan import binlog_versions, redo_version
from keystead.core.errors import Unavailable

PAGES_PER_SECOND = 20_000
LOOK_TRIES = 10
STALLED_SECONDS = 120.0
_POLL = 0.2


def reencrypt(admin: Admin, data: Path, number: int, progress: Callable[[int, str], None]) -> Mapping[str, str]:
    """Bring every page under data-key version `number` or newer.

    Returns `seconds`, `tablespaces`, `bytes`, and `still_needed`: JSON, per older version the files that need it.

    Raises:
        Unavailable: the server does not see the new version, or makes no headway: try again.
    """
    began = time.monotonic()
    admin.set_rotation_speed(PAGES_PER_SECOND)
    progress(1, f"asking the server to look for version {number}")
    for _ in range(LOOK_TRIES):
        if admin.look() >= number:
            break
    else:
        raise Unavailable("VersionNotSeen", f"the server has not fetched data-key version {number}")
    _wait(admin, number, progress)
    admin.convert_aria()
    admin.flush_binlogs()
    spaces = admin.tablespaces()
    return {
        "number": str(number),
        "seconds": f"{time.monotonic() - began:.2f}",
        "tablespaces": str(len(spaces)),
        "bytes": str(sum(space.size for space in spaces)),
        "still_needed": json.dumps(still_needed(data, number)),
    }


def still_needed(data: Path, number: int) -> dict[str, list[str]]:
    """Which files need versions older than `number`, each with what frees it."""
    needed: dict[str, list[str]] = {}
    redo = redo_version(data)
    if 0 < redo < number:
        needed.setdefault(str(redo), []).append("ib_logfile0 (until the next restart)")
    for name, version in binlog_versions(data).items():
        if 0 < version < number:
            needed.setdefault(str(version), []).append(f"{name} (until it expires)")
    return needed


def _wait(admin: Admin, number: int, progress: Callable[[int, str], None]) -> None:
    """Until no tablespace holds a page under an older version; the server's own percentages are not believed."""
    best, at = -1.0, time.monotonic()
    while True:
        seen = admin.rotation()
        if seen.done and seen.min_version >= number:
            return
        if seen.fraction > best:
            best, at = seen.fraction, time.monotonic()
        elif time.monotonic() - at > STALLED_SECONDS:
            raise Unavailable(
                "RewriteStalled", f"no headway for {STALLED_SECONDS:.0f} s: {', '.join(seen.remaining[:5])}"
            )
        progress(max(2, min(98, int(seen.fraction * 100))), f"{len(seen.remaining)} tablespaces to go")
        time.sleep(_POLL)
