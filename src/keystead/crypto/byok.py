"""Key transfer blobs (`.byok`): what vendors' tools write to bring a key out of their hardware.

    {"schema_version": "1.0.0",
     "header": {"kid": <wrapping key>, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"},
     "ciphertext": base64url(wrapped material), "generator": <tool and hardware>}

The material inside is a symmetric key's bytes, or PKCS#8 (DER); see `transport.unwrap_transfer`. `kid` is the wrapping
key's id, or a URL that ends with it.

Source: Azure Key Vault, "Bring your own key specification".
"""

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any

from keystead.core.errors import Refusal

SCHEMA = "1.0.0"
ENCRYPTION = "CKM_RSA_AES_KEY_WRAP"
MAX_BYTES = 32 * 1024
MAX_TEXT = 1024


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer blob: for which wrapping key, what is wrapped, and what wrote it."""

    kid: str
    wrapped: bytes = field(repr=False)
    generator: str = ""

    @property
    def wrapping_key(self) -> str:
        """The last part of `kid`."""
        return self.kid.rstrip("/").rpartition("/")[2]


def looks_like(data: bytes) -> bool:
    """Whether it says that it is one."""
    return data.lstrip()[:1] == b"{" and b'"schema_version"' in data[:MAX_BYTES]


def read(data: bytes) -> Transfer:
    """Read a transfer blob.

    Raises:
        Refusal: `InvalidTransferBlob`, alike for every cause.
    """
    try:
        if len(data) <= MAX_BYTES:
            return _read(json.loads(data, object_pairs_hook=_members))
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        pass
    raise Refusal(
        "InvalidTransferBlob",
        f"this is not a key transfer blob of schema {SCHEMA} with {ENCRYPTION}",
        hint="it is a JSON object with schema_version, header (kid, alg, enc), ciphertext and generator",
    )


def write(transfer: Transfer) -> bytes:
    """As JSON."""
    text = base64.urlsafe_b64encode(transfer.wrapped).rstrip(b"=").decode()
    header = {"kid": transfer.kid, "alg": "dir", "enc": ENCRYPTION}
    whole = {"schema_version": SCHEMA, "header": header, "ciphertext": text, "generator": transfer.generator}
    return json.dumps(whole, indent=2).encode() + b"\n"


def _read(found: Any) -> Transfer:
    header = found["header"]
    if found["schema_version"] != SCHEMA or header["alg"] != "dir" or header["enc"] != ENCRYPTION:
        raise ValueError("another schema")
    text, kid, generator = found["ciphertext"], header["kid"], found.get("generator", "")
    if not all(isinstance(each, str) and len(each) <= MAX_TEXT for each in (kid, generator)) or not kid:
        raise ValueError("not text")
    if not isinstance(text, str):
        raise ValueError("not text")
    wrapped = base64.b64decode(
        text.rstrip("=").encode("ascii") + b"=" * (-len(text.rstrip("=")) % 4), b"-_", validate=True
    )
    if not wrapped:
        raise ValueError("nothing in it")
    return Transfer(kid, wrapped, generator)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is there twice")
    return found
