"""The region's RSA key for tokens that others are to verify by RS256: made when it is first asked for, kept wrapped.

    signing_keys.wrapped = Kek(HKDF(subkey "token-signing", "rs256")).seal(PKCS#8 DER), bound to the region

The other key, Ed25519, is a subkey of the root key and not stored at all.
"""

import base64
from threading import Lock
from typing import Final

import sqlalchemy as sa
from joserfc.jwk import RSAKey

from keystead.adapters.sql.schema_tokens import signing_keys
from keystead.adapters.sql.store import SqlStore
from keystead.core.clock import Clock
from keystead.core.secret import Secret
from keystead.crypto import asymmetric, kdf
from keystead.crypto.envelope import Binding, Kek
from keystead.crypto.suites import suite_of

KID: Final = "region-rs256"


class RegionRsa:
    """The key, for `JoseCodec`."""

    def __init__(self, store: SqlStore, subkey: Secret, clock: Clock, region: str) -> None:
        self._store = store
        self._kek = Kek(kdf.subkey(subkey.reveal(), "token-signing/rs256", region.encode()), KID, 1)
        self._binding = Binding("token-signing-key", "", region, KID, KID)
        self._clock = clock
        self._lock = Lock()
        self._key: RSAKey | None = None

    def __call__(self) -> RSAKey:
        """The key. Raises: Unavailable."""
        with self._lock:
            if self._key is None:
                held = self._held()
                if held is None:
                    self._make()
                    held = self._held()
                if held is None:
                    raise RuntimeError("a key that was just kept is not there")
                body = base64.encodebytes(self._kek.open(held, self._binding)).decode()
                self._key = RSAKey.import_key(f"-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n")
            return self._key

    def _held(self) -> bytes | None:
        with self._store.read() as tx:
            found = tx.connection.execute(sa.select(signing_keys.c.wrapped).where(signing_keys.c.id == KID))
            return found.scalar_one_or_none()

    def _make(self) -> None:
        wrapped = self._kek.seal(asymmetric.generate(suite_of("RSA-2048")).reveal(), self._binding)
        row = {"id": KID, "algorithm": "RS256", "wrapped": wrapped, "created_at": self._clock.now()}
        with self._store.note() as tx:
            if tx.connection.execute(sa.select(signing_keys.c.id).where(signing_keys.c.id == KID)).first() is None:
                tx.connection.execute(signing_keys.insert().values(**row))  # another process was not faster
