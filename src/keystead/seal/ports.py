"""What the seal needs from outside."""

from typing import Protocol


class KeyWrapper(Protocol):
    """A key that stays where it is (a token, another KMS) and wraps 32 bytes for us. May block; keep it off a loop."""

    def wrap(self, key: bytes, /) -> bytes:
        """`key`, wrapped. Raises: Unavailable: it does not answer."""
        ...

    def unwrap(self, wrapped: bytes, /) -> bytes:
        """What `wrap` was given. Raises: Unreadable for every cause alike; Unavailable: it does not answer."""
        ...
