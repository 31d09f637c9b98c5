"""A key that wraps, as a token or another KMS would: AES key wrap (RFC 3394)."""

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from keystead.core.errors import Unavailable, Unreadable


class FakeWrapper:
    """`KeyWrapper` by a key in memory; `down`: it does not answer."""

    def __init__(self, key: bytes, *, down: bool = False) -> None:
        self._key = key
        self.down = down

    def wrap(self, key: bytes) -> bytes:
        self._check()
        return aes_key_wrap(self._key, key)

    def unwrap(self, wrapped: bytes) -> bytes:
        self._check()
        try:
            return aes_key_unwrap(self._key, wrapped)
        except (InvalidUnwrap, ValueError):
            raise Unreadable from None

    def _check(self) -> None:
        if self.down:
            raise Unavailable("KeystoreDown", "it does not answer")
