"""Many keys, put into the state of a region that does not run: as many acts through its API would take an hour.

The keys are real: each has material of its own, wrapped for its row. Run as a program of its own by `bench.vault`:
`python -m bench.filling STATE COUNT` copies the first key there is COUNT times.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from keystead.adapters.sql import schema
from keystead.adapters.sql.rows import values
from keystead.core.ids import CompartmentId, KeyId, KeyVersionId, PrincipalId, new_id
from keystead.iam.model import Caller, Principal
from keystead.server import settings
from keystead.server.sealing.unseal import open_root
from keystead.server.wiring import Region, open_region

AT_ONCE = 5000


def fill(region: Region, count: int) -> None:
    """Add `count` keys, in a few transactions."""
    ring = region.snapshot.keyring
    first = next(iter(ring.entries()))
    tenancy = first.key.tenancy
    nobody = Principal(PrincipalId(new_id("user", region.name)), "user", "filling", tenancy, CompartmentId(tenancy))
    caller = Caller(nobody, "fill")
    for begin in range(0, count, AT_ONCE):
        keys, versions = [], []
        for number in range(begin, min(begin + AT_ONCE, count)):
            key = replace(first.key, id=KeyId(new_id("key", region.name)), name=f"filled-{number}", current=1)
            made = ring.generate(key, 1)
            one = first.versions[1]
            versions.append(
                replace(one, id=KeyVersionId(new_id("keyversion", region.name)), key=key.id, wrapped=made.reference)
            )
            keys.append(key)
        entry = region.guard.entry(caller, "KEY_CREATE", first.target, "CreateKey", "allowed")
        with region.store.write(entry) as tx:
            here = {"generation": tx.generation}
            tx.connection.execute(schema.keys.insert(), [values(key, **here) for key in keys])
            rows = [values(version, tenancy=tenancy, **here) for version in versions]
            tx.connection.execute(schema.key_versions.insert(), rows)


def main() -> None:
    state, count = Path(sys.argv[1]), int(sys.argv[2])
    effective = settings.load(state=state, environment=dict(os.environ))
    region = open_region(effective, open_root(effective), "fill")
    try:
        fill(region, count)
    finally:
        region.close()


if __name__ == "__main__":
    main()
