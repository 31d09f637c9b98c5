"""What we wrote ourselves, and is given back by strangers."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from tests.fuzz.target import BINDING, KEY, TENANCY, VECTORS, Xor, fine, vectors

from keystead.audit.model import Head
from keystead.audit.segment import Broken, open_segment, scan
from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.crypto import kdf, recipient, shares
from keystead.crypto.encapsulate import Encapsulated
from keystead.crypto.envelope import Kek, peek
from keystead.crypto.stream import Reader, decrypt_stream, encrypt_stream, read_header
from keystead.seal.model import decode
from keystead.seal.openers import Identity, KeyFile, RecipientFile
from keystead.vault.transfer import backup_format
from keystead.web.dialects import vault_transit

_KEK = Kek(KEY, "k", 1)


_CAPSULE = Encapsulated(Xor(), 18, "k", 1)


_OPENED = {_KEK.seal(text, BINDING): text for text in (b"", b"text")}


_OPENED |= {_CAPSULE.seal(text, BINDING): text for text in (b"", b"text")}


def envelope(data: bytes) -> None:
    with fine():
        found = peek(data)
        assert 0 <= found.key_version < 2**32
    for key in (_KEK, _CAPSULE):
        with fine():
            opened = key.open(data, BINDING)  # type: ignore[attr-defined]
            assert key is _CAPSULE or opened in _OPENED.values(), "forged"


def envelope_seeds() -> Iterator[bytes]:
    yield from _OPENED
    for name in ("envelope-v1.json", "envelope-v1-suites.json"):
        yield from (bytes.fromhex(each["blob"]) for each in vectors(name))


def stream(data: bytes) -> None:
    with fine():
        source = Reader((data[:7], data[7:]))
        header = read_header(source)
        b"".join(decrypt_stream(KEY, source, header))


def stream_seeds() -> Iterator[bytes]:
    yield b"".join(encrypt_stream(KEY, {"kind": "test", "n": 1}, (b"some text",)))
    yield from (found for each in vectors("stream-v1.json") if len(found := base64.b64decode(each["stream"])) < 5000)


def seal_file(data: bytes) -> None:
    with fine():
        found = decode(data)
        assert decode(found.encode()) == found
        KeyFile.generate().slot_key(found.slots[0])


def seal_seeds() -> Iterator[bytes]:
    for name in ("seal-v1.json", "seal-v1-slots.json"):
        found = vectors(name)["seal"]
        yield found.encode() if isinstance(found, str) else json.dumps(found).encode()


def seal_helpers(data: bytes) -> None:
    """What people type or carry: key files, recipients, identities, shares."""
    for reader in (KeyFile, RecipientFile, Identity):
        with fine():
            reader(data)
    with fine():
        shares.read(Secret(data))
    with fine(ValueError):
        recipient.check_public(data)


def seal_helper_seeds() -> Iterator[bytes]:
    found = vectors("seal-v1-slots.json")
    yield vectors("seal-v1.json")["key_file"].encode()
    identity = Identity.generate()
    yield identity.content().reveal()
    yield identity.recipient().content()
    yield from (each.encode() for each in found["shares"] if isinstance(each, str))


def key_backup(data: bytes) -> None:
    with fine():
        backup_format.open_backup(data, Secret(KEY), TENANCY, "home")


def key_backup_seeds() -> Iterator[bytes]:
    yield base64.b64decode(vectors("key-backup-v1.json")["blob"])


def key_backup_content(data: bytes) -> None:
    """As if whoever has the backup key had written it."""
    fields: dict[str, Any] = {
        "format": "keystead-key-backup",
        "version": 1,
        "kind": "vault" if data[:1] == b"v" else "key",
        "tenancy": TENANCY,
        "region": "home",
        "id": "x",
        "name": "x",
        "created_at": "2026-01-01T00:00:00.000Z",
        "keys": 1,
    }
    blob = b"".join(encrypt_stream(KEY, fields, (data[1:],)))
    with fine():
        found = backup_format.open_backup(blob, Secret(KEY), TENANCY, "home")
        again = backup_format.open_backup(backup_format.seal(found, Secret(KEY)), Secret(KEY), TENANCY, "home")
        assert [each.key.id for each in again.keys] == [each.key.id for each in found.keys]


def key_backup_content_seeds() -> Iterator[bytes]:
    found = vectors("key-backup-v1.json")
    source = Reader((base64.b64decode(found["blob"]),))
    key = kdf.subkey(bytes.fromhex(found["key_backup_subkey"]), "tenancy", found["tenancy"].encode())
    content = b"".join(decrypt_stream(key, source))
    yield b"k" + content.replace(found["tenancy"].encode(), TENANCY.encode())


def audit_segment(data: bytes) -> None:
    with fine(Broken):
        header, after, begin = open_segment(data)
        found = scan(data[begin:], header.writer, after)
        assert isinstance(found.head, Head)


def audit_seeds() -> Iterator[bytes]:
    yield (VECTORS / "audit-segment-v1.seg").read_bytes()


def vault_ciphertext(data: bytes) -> None:
    """`vault:v1:...` of the Vault dialect."""
    text = data.decode("utf-8", "replace")
    with fine():
        number, payload = vault_transit.versioned(text, "missing ciphertext", "ciphertext")
        assert number > 0 and isinstance(payload, str)
    with fine():
        blob = vault_transit.envelope_in(vault_transit.Item(ciphertext=text), "missing")
        again = vault_transit.Item(ciphertext=vault_transit.text_of(peek(blob).key_version, blob))
        assert vault_transit.envelope_in(again, "missing") == blob
    with fine(Refusal):
        vault_transit.from_base64(text, "missing")


def vault_seeds() -> Iterator[bytes]:
    yield from (vault_transit.text_of(1, blob).encode() for blob in _OPENED)
