"""The keys that sign the region's tokens: two that sign (Ed25519, RS256), and those that only verify any more.

    region           Ed25519, a subkey of the root key, stored nowhere; a row tells when it was replaced
    region-rs256     RS256, made when it is first asked for
    region-<random>  the others, made when keys are rotated

    signing_keys.wrapped = Kek(HKDF(subkey "token-signing", "rs256")).seal(private key), bound to region and name;
    of a key that was replaced: .seal(public key), bound to another purpose, so that neither passes for the other

Private keys are PKCS#8 DER, or a seed of 32 bytes; public ones a JWK. A key that was replaced verifies until the last
token that it signed has expired; one that was ended at once was so long ago, by its row, which no clock undoes. Rows
are read again whenever the region's generation has changed, which each new key does: so a process that has answered one
request knows what was committed before it, and a name that it does not know costs it no look at the rows.
"""

import base64
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from threading import Lock

from joserfc.jwk import OKPKey, RSAKey

from keystead.adapters.jose import REGION_KEY, REGION_RSA, ed25519_key
from keystead.adapters.sql.store import SqlStore
from keystead.core.clock import Clock
from keystead.core.secret import Secret
from keystead.crypto import asymmetric, kdf
from keystead.crypto.envelope import Binding, Kek
from keystead.crypto.sign import SigningKey
from keystead.crypto.suites import suite_of
from keystead.iam.ports import TokenAlgorithm
from keystead.iam.sessions.model import TokenKey
from keystead.iam.sessions.ports import SessionRows
from keystead.iam.tokens import LIFETIME


@dataclass(frozen=True, slots=True)
class _Held:
    """A key in hand. `until`: until when it verifies; None: it signs."""

    id: str
    algorithm: TokenAlgorithm
    key: OKPKey | RSAKey
    created_at: datetime | None
    until: datetime | None


class TokenKeys:
    """The region's keys, for `JoseCodec`. Thread-safe."""

    def __init__(
        self, store: SqlStore, subkey: Secret, clock: Clock, region: str, generation: Callable[[], int]
    ) -> None:
        """`generation`: the region's, as last committed; cheap. `subkey`: of the root key, wiped by whoever has it."""
        self._store = store
        self._kek = Kek(kdf.subkey(subkey.reveal(), "token-signing/rs256", region.encode()), REGION_RSA, 1)
        self._first = ed25519_key(SigningKey(subkey.reveal()))
        self._clock = clock
        self._region = region
        self._generation = generation
        self._lock = Lock()  # held for moments
        self._making = Lock()
        self._held: dict[str, _Held] = {}
        self._seen = -1
        self._epoch = 0

    # what the codec asks

    def signing(self, algorithm: TokenAlgorithm) -> tuple[str, OKPKey | RSAKey]:
        """The name and the key that signs by this algorithm now. Raises: Unavailable."""
        found = self._current_signer(algorithm)
        if found is None:
            with self._making:  # takes a moment: nobody waits for it but who signs by it
                found = self._current_signer(algorithm)
                if found is None:
                    self._make_first_rsa()
                    found = self._current_signer(algorithm)
        if found is None:
            raise RuntimeError("a key that was just kept is not there")
        return found.id, found.key

    def verifying(self, kid: str) -> tuple[TokenAlgorithm, OKPKey | RSAKey] | None:
        """The region's key of that name, and what it signs by; None when it is none, or none any more."""
        with self._lock:
            if kid not in self._held:
                self._refresh(self._generation())
            found = self._held.get(kid)
            if found is None or (found.until is not None and self._clock.now() >= found.until):
                return None
            return found.algorithm, found.key

    def published(self) -> Sequence[tuple[str, TokenAlgorithm, OKPKey | RSAKey]]:
        """All that verify, those that sign first."""
        self.signing("RS256")
        with self._lock:
            now = self._clock.now()
            found = [held for held in self._held.values() if held.until is None or now < held.until]
        found.sort(key=lambda held: (held.until is not None, held.algorithm, held.id))
        return [(held.id, held.algorithm, held.key) for held in found]

    def epoch(self, generation: int) -> int:
        """Another number whenever the rows say that a key verifies for less long than before."""
        if generation != self._seen:
            with self._lock:
                self._refresh(generation)
        return self._epoch

    # rotation

    def new(self, now: datetime) -> Sequence[TokenKey]:
        """One key for each algorithm. Takes a moment."""
        seed = secrets.token_bytes(32)
        rsa = asymmetric.generate(suite_of("RSA-2048")).reveal()
        made: list[TokenKey] = []
        for algorithm, private in (("Ed25519", seed), ("RS256", rsa)):
            kid = f"{REGION_KEY}-{secrets.token_hex(8)}"
            made.append(TokenKey(kid, algorithm, self._kek.seal(private, self._private_half(kid)), now))  # type: ignore[arg-type]  # each is one
        return made

    def rotate(self, rows: SessionRows, made: Sequence[TokenKey], retired_at: datetime) -> None:
        """Replace those that sign by these; forget those whose time is over."""
        now, found = self._clock.now(), {row.id: row for row in rows.token_keys()}
        for row in found.values():
            ended = row.retired_at is not None and row.retired_at + LIFETIME <= now
            if row.retired_at is None:
                public = json.dumps(self._private(row).as_dict(private=False)).encode()
                rows.retire_token_key(row.id, self._kek.seal(public, self._public_half(row.id)), retired_at)
            elif ended and row.id != REGION_KEY:  # that row says that the root key's own signs nothing any more
                rows.delete_token_key(row.id)
            elif row.retired_at > retired_at:
                rows.retire_token_key(row.id, row.wrapped, retired_at)
        if REGION_KEY not in found:
            rows.add_token_key(TokenKey(REGION_KEY, "Ed25519", b"", now, retired_at))
        for key in made:
            rows.add_token_key(key)

    # how

    def _current_signer(self, algorithm: TokenAlgorithm) -> _Held | None:
        with self._lock:
            self._refresh(self._generation())
            return self._signer(algorithm)

    def _signer(self, algorithm: TokenAlgorithm) -> _Held | None:
        found = (held for held in self._held.values() if held.algorithm == algorithm and held.until is None)
        return next(found, None)

    def _refresh(self, generation: int) -> None:
        if generation != self._seen:
            self._read()
            self._seen = generation

    def _read(self) -> None:
        with self._store.read() as tx:
            rows = tx.sessions.token_keys()
        held = {row.id: self._hold(row) for row in rows}
        if REGION_KEY not in held:
            held[REGION_KEY] = _Held(REGION_KEY, "Ed25519", self._first, None, None)
        if any(_until(held.get(kid)) < _until(before) for kid, before in self._held.items()):
            self._epoch += 1
        self._held = held

    def _hold(self, row: TokenKey) -> _Held:
        until = None if row.retired_at is None else row.retired_at + LIFETIME
        before = self._held.get(row.id)
        if before is not None and (before.until is None) == (until is None):
            return _Held(row.id, row.algorithm, before.key, row.created_at, until)
        if not row.wrapped:
            return _Held(row.id, row.algorithm, self._first, row.created_at, until)
        return _Held(
            row.id, row.algorithm, self._private(row) if until is None else self._public(row), row.created_at, until
        )

    def _private(self, row: TokenKey) -> OKPKey | RSAKey:
        opened = self._kek.open(row.wrapped, self._private_half(row.id))
        if row.algorithm == "Ed25519":
            return ed25519_key(SigningKey(opened))
        body = base64.encodebytes(opened).decode()
        return RSAKey.import_key(f"-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n")

    def _public(self, row: TokenKey) -> OKPKey | RSAKey:
        jwk = json.loads(self._kek.open(row.wrapped, self._public_half(row.id)))
        return OKPKey.import_key(jwk) if row.algorithm == "Ed25519" else RSAKey.import_key(jwk)

    def _private_half(self, kid: str) -> Binding:
        return Binding("token-signing-key", "", self._region, kid, kid)

    def _public_half(self, kid: str) -> Binding:
        return Binding("token-verifying-key", "", self._region, kid, kid)

    def _make_first_rsa(self) -> None:
        wrapped = self._kek.seal(asymmetric.generate(suite_of("RSA-2048")).reveal(), self._private_half(REGION_RSA))
        made = TokenKey(REGION_RSA, "RS256", wrapped, self._clock.now())
        with self._store.note(told=True) as tx:
            if not any(row.algorithm == "RS256" for row in tx.sessions.token_keys()):
                tx.sessions.add_token_key(made)  # another process was not faster


def _until(held: _Held | None) -> float:
    """For comparing: a key that signs verifies for ever, one that is gone never."""
    if held is None:
        return -inf
    return inf if held.until is None else held.until.timestamp()
