"""The key hierarchy below a CMEK: store key and data keys (pure).

    CMEK (in the vault) -> store key (32 bytes, one per system and region) -> data keys (32 bytes, per slot and number)

Stored only wrapped: the store key by the CMEK (vault/use/association.py), each data key by the store key, bound to
tenancy, region, system, slot and number. Slot 1 is MariaDB's key for tables, redo log and binary logs, slot 2 that for
temporary files. Numbers come from one counter per system; a rewrite publishes `counter + 2`, because MariaDB rewrites
only what is more than one version behind.
"""

import base64
import json
import secrets
from collections.abc import Sequence
from datetime import datetime

from keystead.core.ids import DbSystemId, NodeId, TenancyId
from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding, Kek
from keystead.databases.model import WrappedKey

SLOTS = (1, 2)
FIRST = 1
STEP = 2
KEY_BYTES = 32


def fresh_key() -> Secret:
    """32 random bytes."""
    return Secret(secrets.token_bytes(KEY_BYTES))


def store_key_id(system: DbSystemId) -> str:
    """The name under which a system's store key wraps."""
    return f"{system}/store"


class StoreKey:
    """A system's store key, opened: wraps and unwraps its data keys."""

    def __init__(self, material: Secret, tenancy: TenancyId, region: str, system: DbSystemId) -> None:
        self._kek = Kek(material.reveal(), store_key_id(system), 1)
        self._tenancy = tenancy
        self._region = region
        self._system = system

    def new_data_keys(self, number: int, node: NodeId, now: datetime) -> list[WrappedKey]:
        """Fresh data keys of this number for every slot, wrapped, and marked as the latest of `node`."""
        made = []
        for slot in SLOTS:
            material = fresh_key()
            blob = self._kek.seal(material.reveal(), self._binding(slot, number))
            material.wipe()
            parent = store_key_id(self._system)
            made.append(WrappedKey(self._system, "data", slot, number, parent, 1, blob, now, node, latest=True))
        return made

    def wrap(self, slot: int, number: int, material: Secret, node: NodeId, now: datetime, latest: bool) -> WrappedKey:
        """Wrap a data key that came from elsewhere (a restored backup)."""
        blob = self._kek.seal(material.reveal(), self._binding(slot, number))
        return WrappedKey(self._system, "data", slot, number, store_key_id(self._system), 1, blob, now, node, latest)

    def open(self, key: WrappedKey) -> Secret:
        """The data key itself. Raises: Unreadable."""
        return Secret(self._kek.open(key.blob, self._binding(key.slot, key.number)))

    def seal_samples(self, samples: Sequence[bytes]) -> str:
        """Values to be looked for on disk, sealed for the way through a job's row: base64 of an envelope."""
        listed = json.dumps([base64.b64encode(sample).decode() for sample in samples]).encode()
        return base64.b64encode(self._kek.seal(listed, self._samples_binding())).decode()

    def open_samples(self, sealed: str) -> tuple[bytes, ...]:
        """Back again. Raises: Unreadable."""
        listed = json.loads(self._kek.open(base64.b64decode(sealed), self._samples_binding()))
        return tuple(base64.b64decode(sample) for sample in listed)

    def _samples_binding(self) -> Binding:
        return Binding("samples", self._tenancy, self._region, self._system, store_key_id(self._system))

    def _binding(self, slot: int, number: int) -> Binding:
        place = f"{slot}/{number}".encode()
        return Binding("data-key", self._tenancy, self._region, self._system, store_key_id(self._system), place)
