"""Database servers of this machine that the region does not know.

State that was brought back may be older than a system: its server then runs on with the keys it has, and nobody fences
it. What it left on the disk stays: it may be wanted when newer state comes back.
"""

import json
from collections.abc import Collection
from pathlib import Path

from keystead.adapters.mariadb.process import Identity, Process


def end_strangers(data_root: Path, known: Collection[str]) -> list[str]:
    """Kill every server below `data_root` whose system is not among the ids `known`; returns the names of their homes.

    A server is killed only when its recorded identity (pid, start time, boot) still holds.
    """
    homes = {system.rpartition(".")[2] for system in known}
    ended = []
    for record in sorted(data_root.glob("*/node.json")):
        if record.parent.name in homes:
            continue
        try:
            process = Process.adopt(Identity.parse(json.loads(record.read_text())["identity"]))
        except (OSError, ValueError, KeyError):
            continue
        if process is not None:
            with process:
                process.kill()
            ended.append(record.parent.name)
    return ended
