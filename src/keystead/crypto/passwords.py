"""Password hashes: Argon2id (RFC 9106) as PHC strings.

    $argon2id$v=19$m=65536,t=3,p=1$<salt, 16 bytes, base64>$<hash, 32 bytes, base64>

The cost is RFC 9106's second recommendation (64 MiB, 3 passes) on one lane, because several at once must not wait for
each other (`kdf.argon2id_lanes`): some 200 ms and 64 MiB each, so callers run it off the event loop, in a queue of
bounded width. A hash made at another cost still verifies, within bounds, and `needs_rehash` tells. An absent user must
take as long as a wrong password: `decoy`.
"""

import re
import secrets

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.crypto.kdf import argon2id_lanes

MEMORY_KIB = 64 * 1024
ITERATIONS = 3
LANES = 1
SALT_BYTES = 16
HASH_BYTES = 32
MAX_PASSWORD_BYTES = 1024

# Bounds on what a stored hash may cost its reader: 1 GiB, 16 passes, 16 lanes.
_MAX_MEMORY_KIB = 1 << 20
_MAX_ITERATIONS = 16
_MAX_LANES = 16
_PHC = re.compile(
    r"\$argon2id\$v=19\$m=([1-9]\d{0,7}),t=([1-9]\d?),p=([1-9]\d?)\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}",
    re.ASCII,
)


def hash(password: Secret) -> str:
    """The PHC string of `password`, with a random salt. Blocks for the cost.

    Raises:
        Refusal: `PasswordTooLong` beyond 1024 bytes.
    """
    if len(password) > MAX_PASSWORD_BYTES:
        raise Refusal("PasswordTooLong", f"a password has at most {MAX_PASSWORD_BYTES} bytes")
    return _argon2id().derive_phc_encoded(password.reveal())


def verify(phc: str, password: Secret) -> bool:
    """Whether `phc` is a hash of `password`. Blocks for the cost. A string that is no hash of ours is False, and takes
    as long: who has no password yet is not told from who has another one.
    """
    cost = _cost(phc)
    if len(password) > MAX_PASSWORD_BYTES or cost is None:
        return decoy(password)
    try:
        with argon2id_lanes(cost[2]):
            Argon2id.verify_phc_encoded(password.reveal(), phc)
    except InvalidKey:
        return False
    except ValueError:  # nothing was computed
        return decoy(password)
    return True


def decoy(password: Secret) -> bool:
    """Take as long as `verify` would and say False: for users that do not exist."""
    if len(password) <= MAX_PASSWORD_BYTES:
        _argon2id().derive(password.reveal())
    return False


def needs_rehash(phc: str) -> bool:
    """Whether `phc` was made at another cost than today's: hash the password again at the next sign-in."""
    return _cost(phc) != (MEMORY_KIB, ITERATIONS, LANES)


def _argon2id() -> Argon2id:
    return Argon2id(
        salt=secrets.token_bytes(SALT_BYTES),
        length=HASH_BYTES,
        iterations=ITERATIONS,
        lanes=LANES,
        memory_cost=MEMORY_KIB,
    )


def _cost(phc: str) -> tuple[int, int, int] | None:
    found = _PHC.fullmatch(phc)
    if found is None:
        return None
    memory, iterations, lanes = int(found[1]), int(found[2]), int(found[3])
    if memory > _MAX_MEMORY_KIB or iterations > _MAX_ITERATIONS or lanes > _MAX_LANES:
        return None
    return memory, iterations, lanes
