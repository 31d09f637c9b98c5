"""Keys from keys: one root, many purposes, none of which tells anything about another.

    subkey = HKDF-SHA512(ikm=root, salt="keystead subkey v1", info=u16 len(purpose) || purpose || context, 32 bytes)

and keys from passphrases: Argon2id (RFC 9106), whose cost travels with what it protects.
"""

import contextlib
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives import constant_time, hashes, hmac
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
MAC_BYTES = 64
_SALT = b"keystead subkey v1"

MIN_MEMORY_KIB = 8 * 1024
MAX_MEMORY_KIB = 2 * 1024 * 1024
MAX_ITERATIONS = 16
MAX_LANES = 16

_lanes_in_use = threading.Lock()


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess costs: memory in KiB, iterations, lanes. The default is 128 MiB, 3, 4: about half a second.

    Raises:
        ValueError: outside 8 MiB..2 GiB, 1..16 iterations, 1..16 lanes. The upper bounds keep a forged file from
            costing the reader more than the writer.
    """

    memory_kib: int = 128 * 1024
    iterations: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        if not (
            MIN_MEMORY_KIB <= self.memory_kib <= MAX_MEMORY_KIB
            and 1 <= self.iterations <= MAX_ITERATIONS
            and 1 <= self.lanes <= MAX_LANES
        ):
            raise ValueError("the Argon2id cost is out of bounds")


@contextlib.contextmanager
def argon2id_lanes(lanes: int) -> Iterator[None]:
    """Hold while an Argon2id of so many lanes is computed.

    With more than one lane OpenSSL computes on threads of one pool, and two computations that share it wait for each
    other for ever (measured with OpenSSL 4.0: three at once never ended). So these go one after the other.
    """
    if lanes == 1:
        yield
        return
    with _lanes_in_use:
        yield


def subkey(root: bytes, purpose: str, context: bytes = b"") -> bytes:
    """32 bytes for `purpose` (and `context`), derived from `root` of at least 32 bytes.

    Raises:
        ValueError: a root shorter than 32 bytes or an empty purpose.
    """
    if len(root) < KEY_BYTES:
        raise ValueError("a root has at least 32 bytes")
    if not purpose:
        raise ValueError("a subkey needs a purpose")
    name = purpose.encode()
    info = struct.pack(">H", len(name)) + name + context
    return HKDF(hashes.SHA512(), KEY_BYTES, _SALT, info).derive(root)


def passphrase_key(passphrase: bytes, salt: bytes, cost: Cost) -> bytes:
    """32 bytes from a passphrase by Argon2id version 1.3, with a random `salt` of at least 16 bytes.

    Blocks for as long as `cost` says, and needs that much memory: keep it off an event loop.

    Raises:
        ValueError: a salt shorter than 16 bytes.
    """
    if len(salt) < 16:
        raise ValueError("a salt has at least 16 bytes")
    derive = Argon2id(
        salt=salt, length=KEY_BYTES, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
    )
    with argon2id_lanes(cost.lanes):
        return derive.derive(passphrase)


def mac(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA512 of `data`: 64 bytes. Check with `mac_matches`."""
    code = hmac.HMAC(key, hashes.SHA512())
    code.update(data)
    return code.finalize()


def mac_matches(key: bytes, data: bytes, code: bytes) -> bool:
    """Whether `code` is the HMAC-SHA512 of `data`, compared in constant time."""
    return constant_time.bytes_eq(mac(key, data), code)
