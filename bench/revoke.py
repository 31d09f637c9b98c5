"""`make bench-revoke`: how long an encrypted database outlives its key, and how long it takes to come back.

One drill: the key is disabled by a request; every system under it has to be fenced; the key is enabled; every system
has to answer a query again. Measured from before the request is sent:

- `revoke_p99_s`, `revoke_max_s`: until the server process is gone (seen here through a pidfd of our own) and the
  region's receipt says that a start was attempted and refused, whichever is later; one system, 100 drills.
- `revoke_ten_max_s`: the same for ten systems under one key, the last of them; 20 drills.
- `heal_p99_s`: from before the enabling request until a query is answered; one system.
"""

import argparse
import contextlib
import math
import os
import select
import statistics
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import keystead_region
from bench.harness import Measure, emit, say, say_machine, spread, workspace
from bench.keystead_region import API
from bench.mariadb import Fleet, System, start_encrypted

_LIMIT = 60.0


def process_of(system: System) -> int:
    """A pidfd of the system's server process."""
    with system.server.session() as cursor:
        cursor.execute("SELECT @@pid_file")
        (path,) = cursor.fetchone() or ("",)
    return os.pidfd_open(int(Path(path).read_text()))


def revoke(fleet: Fleet) -> float:
    """Disable the key; seconds until the last system is fenced.

    Raises:
        RuntimeError: a system is not fenced within a minute, or is still there although its receipt says otherwise.
    """
    handles = [process_of(system) for system in fleet.systems]
    try:
        start, wall = time.monotonic(), time.time()
        fleet.region.administrator.call("POST", f"{API}/keys/{fleet.key}/actions/disable", {})
        last = 0.0
        for handle in handles:
            if not select.select([handle], [], [], _LIMIT)[0]:
                raise RuntimeError("a server goes on without its key")
            last = max(last, time.monotonic() - start)
        return max(last, *(refused_at(fleet, system, wall) - wall for system in fleet.systems))
    finally:
        for handle in handles:
            os.close(handle)


def refused_at(fleet: Fleet, system: System, since: float) -> float:
    """The time of day at which a restart of this system was refused, as its receipt of a fence after `since` says."""
    deadline = time.monotonic() + _LIMIT
    while time.monotonic() < deadline:
        answer: Any = fleet.region.administrator.call("GET", f"{API}/db-systems/{system.id}/last-fence")
        fence = answer["fence"]
        if fence:
            committed = datetime.fromisoformat(fence["committed_at"]).timestamp()
            steps: dict[str, float] = {step["name"]: step["after_ms"] / 1000 for step in fence["steps"]}
            if committed >= since - 0.001 and "restart_refused" in steps:
                return committed + steps["restart_refused"]
        time.sleep(0.02)
    raise RuntimeError("there is no receipt of the fence")


def heal(fleet: Fleet) -> float:
    """Enable the key; seconds until the last system answers a query, and is shown as ACTIVE."""
    start = time.monotonic()
    fleet.region.administrator.call("POST", f"{API}/keys/{fleet.key}/actions/enable", {})
    last = 0.0
    for system in fleet.systems:
        while not system.server.answers():
            if time.monotonic() - start > _LIMIT:
                raise RuntimeError("a server does not come back with its key")
            time.sleep(0.01)
        last = max(last, time.monotonic() - start)
    for system in fleet.systems:
        while _state(fleet, system) != "ACTIVE":
            if time.monotonic() - start > _LIMIT:
                raise RuntimeError(f"a system that answers is shown as {_state(fleet, system)}")
            time.sleep(0.02)
    return last


def _state(fleet: Fleet, system: System) -> str:
    found: Any = fleet.region.administrator.call("GET", f"{API}/db-systems/{system.id}")
    state: str = found["state"]
    return state


def drill(fleet: Fleet, drills: int) -> tuple[list[float], list[float]]:
    """Revoke and heal so often; the seconds of each."""
    revoked, healed = [], []
    for number in range(drills):
        revoked.append(revoke(fleet))
        healed.append(heal(fleet))
        if (number + 1) % 10 == 0 or number + 1 == drills:
            say(f"  {number + 1}/{drills}: revoked {revoked[-1]:.3f} s, healed {healed[-1]:.3f} s")
    return revoked, healed


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below `share` of all values (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drills", type=int, default=100)
    parser.add_argument("--ten-drills", type=int, default=20)
    options = parser.parse_args()
    say_machine()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace("revoke"))
        with (
            keystead_region.start(directory / "one") as region,
            start_encrypted(region, 1, 64) as fleet,
        ):
            say("one system")
            revoked, healed = drill(fleet, options.drills)
        say(f"  medians: revoked {statistics.median(revoked):.3f} s, healed {statistics.median(healed):.3f} s")
        emit(Measure("revoke_p99_s", percentile(revoked, 0.99), "s", spread=spread(revoked)))
        emit(Measure("revoke_max_s", max(revoked), "s", spread=spread(revoked)))
        emit(Measure("heal_p99_s", percentile(healed, 0.99), "s", spread=spread(healed)))
        with (
            keystead_region.start(directory / "ten") as region,
            start_encrypted(region, 10, 64) as fleet,
        ):
            say("ten systems")
            revoked, healed = drill(fleet, options.ten_drills)
        emit(Measure("revoke_ten_max_s", max(revoked), "s", spread=spread(revoked)))


if __name__ == "__main__":
    main()
