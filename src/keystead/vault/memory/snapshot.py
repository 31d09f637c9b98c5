"""The snapshot: directory and keyring together, kept at the region's generation.

`refresh` is called by the Guard at every decision: it asks `Freshness` for the generation and takes over what is newer,
so a change holds from the next request on and costs in proportion to itself. A reader that cannot learn the generation
refuses.

With keys on demand, a key is read when it is first asked for: a start costs the same with ten keys and with 100,000,
and memory is for keys in use. It is read under the lock that changes are taken over with, so that it is never older
than the snapshot; what changes afterwards arrives with the other changes.
"""

from datetime import datetime
from threading import Lock

from keystead.iam.directory import Directory
from keystead.vault.memory.keyring import Keyring
from keystead.vault.ports import Freshness


class Snapshot:
    """Brings `directory` and `keyring` up to date."""

    def __init__(
        self, directory: Directory, keyring: Keyring, freshness: Freshness, *, on_demand: bool = False
    ) -> None:
        self.directory = directory
        self.keyring = keyring
        self._freshness = freshness
        self._generation = 0
        self._at: datetime | None = None
        self._lock = Lock()
        self._on_demand = on_demand
        if on_demand:
            keyring.ask(self._find, self._find_all)

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def changed_at(self) -> datetime | None:
        """When the change that led to this generation was committed."""
        return self._at

    def refresh(self) -> int:
        """Be current; returns the generation. Raises: Unavailable."""
        now = self._freshness.generation()
        if now != self._generation:
            with self._lock:
                if now != self._generation:
                    if self._on_demand and not self._generation:
                        changes = self._freshness.changes(0, keys=False)
                    else:
                        changes = self._freshness.changes(self._generation)
                    self.directory.apply(changes.identity)
                    self.keyring.apply(changes.vault)
                    self._at = changes.at
                    self._generation = changes.generation
        return self._generation

    def _find(self, key_id: str) -> None:
        """Have the keyring take a key that it does not hold. Raises: Unavailable."""
        with self._lock:
            self.keyring.take(self._freshness.key(key_id))

    def _find_all(self) -> None:
        with self._lock:
            self.keyring.take(self._freshness.changes(0).vault)
