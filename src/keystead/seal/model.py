"""The seal file, format version 1 (docs/formats/seal.md): the root key, wrapped once per slot.

    {"format": "keystead-seal", "version": 1, "region": "home", "generation": 2,
     "slots": [{"id": "...", "kind": "key-file",   "label": "...", "created_at": "...", "wrapped": "<base64 envelope>"},
               {... "kind": "passphrase",
                "argon2id": {"memory_kib": 131072, "iterations": 3, "lanes": 4, "salt": "<base64, 16 bytes>"}},
               {... "kind": "shares",     "shares": {"set": 6874, "threshold": 3, "count": 5}},
               {... "kind": "recipient",  "recipient": {"suite": "...", "public": "...", "sealed_key": "..."}},
               {... "kind": "pkcs11",     "pkcs11": {"uri": "pkcs11:...", "wrapped_key": "..."}},
               {... "kind": "external",   "external": {"uri": "openbao:...", "wrapped_key": "..."}}],
     "mac": "<base64, 64 bytes>"}

Canonical JSON in UTF-8 (keystead.core.canonical) and a newline. `mac` is HMAC-SHA512 over the canonical bytes of all
the rest, keyed with a subkey of the root key: whoever opens a slot knows that region, generation and every other slot
are as written. Nothing in the file is secret, but whoever has it may try passphrases.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, assert_never, get_args

from keystead.core import canonical
from keystead.core.canonical import Value
from keystead.core.errors import Refusal
from keystead.crypto.kdf import Cost

FORMAT: Final = "keystead-seal"
VERSION: Final = 1
MAX_SLOTS: Final = 32
MAX_FILE_BYTES: Final = 256 * 1024

SlotKind = Literal["key-file", "passphrase", "shares", "recipient", "pkcs11", "external"]
KINDS: Final[tuple[SlotKind, ...]] = get_args(SlotKind)
Purpose = Literal["vault-store", "token-signing", "authority", "state-backup", "audit", "data-keys", "sign-in"]
PURPOSES: frozenset[str] = frozenset(get_args(Purpose))
# What a slot of each kind calls its means in the file, and their fields.
MEANS: Final[Mapping[SlotKind, str]] = {
    "key-file": "",
    "passphrase": "argon2id",
    "shares": "shares",
    "recipient": "recipient",
    "pkcs11": "pkcs11",
    "external": "external",
}
_FIELDS: Final[Mapping[SlotKind, frozenset[str]]] = {
    "key-file": frozenset(),
    "passphrase": frozenset({"memory_kib", "iterations", "lanes", "salt"}),
    "shares": frozenset({"set", "threshold", "count"}),
    "recipient": frozenset({"suite", "public", "sealed_key"}),
    "pkcs11": frozenset({"uri", "wrapped_key"}),
    "external": frozenset({"uri", "wrapped_key"}),
}


@dataclass(frozen=True, slots=True)
class Stretch:
    """How a passphrase becomes a key: the cost of Argon2id and a 16-byte salt."""

    cost: Cost
    salt: bytes


@dataclass(frozen=True, slots=True)
class Quorum:
    """Shares held by people: which set (the number printed in every share), how many are needed, how many were made."""

    set: int
    threshold: int
    count: int


@dataclass(frozen=True, slots=True)
class Recipient:
    """A public key (`suite` names the algorithms) and the slot's key, sealed to it."""

    suite: str
    public: bytes
    sealed_key: bytes


@dataclass(frozen=True, slots=True)
class Wrapping:
    """A key that never leaves a token or another KMS: where it is (no PIN), and the slot's key wrapped by it."""

    uri: str
    wrapped_key: bytes


Means = Stretch | Quorum | Recipient | Wrapping | None


@dataclass(frozen=True, slots=True)
class Slot:
    """One way to open the root key. `label` tells people which; `wrapped` is the root key in an envelope.

    `means` is what the kind needs to get at the slot's key: nothing for a key file, a `Stretch` for a passphrase, a
    `Quorum` for shares, a `Recipient`, or a `Wrapping` for "pkcs11" and "external". `created_at` is RFC 3339.
    """

    id: str
    kind: SlotKind
    label: str
    created_at: str
    wrapped: bytes
    means: Means = None


@dataclass(frozen=True, slots=True)
class SealFile:
    """A region's root key, sealed. `generation` grows with every change of the slots."""

    region: str
    generation: int
    slots: tuple[Slot, ...]
    mac: bytes = b""

    def body(self) -> bytes:
        """The canonical bytes that `mac` covers: everything but `mac`."""
        return canonical.encode(self._fields())

    def encode(self) -> bytes:
        """The file's content."""
        return canonical.encode({**self._fields(), "mac": _text(self.mac)}) + b"\n"

    def signed(self, mac: bytes) -> "SealFile":
        """The same with its `mac`."""
        return replace(self, mac=mac)

    def _fields(self) -> dict[str, Value]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "region": self.region,
            "generation": self.generation,
            "slots": [_slot_fields(slot) for slot in self.slots],
        }


def decode(content: bytes) -> SealFile:
    """Read a seal file's content. Its MAC can be checked only once a slot is open (`service.open`).

    Raises:
        Refusal: `InvalidSealFile`: not one, of a newer version, with unknown fields, or not in its canonical bytes.
    """
    if len(content) > MAX_FILE_BYTES:
        raise _invalid("it is too large")
    seal: SealFile | None = None
    try:
        seal = _seal(json.loads(content))
        # One spelling only: what is authenticated is what is on disk.
        same = seal.encode() == content
    except (ValueError, KeyError, TypeError, RecursionError):
        same = False
    if seal is None or not same:
        raise _invalid("it is damaged, incomplete, or of a version this program does not know")
    return seal


def _seal(found: Mapping[str, object]) -> SealFile:
    if set(found) != {"format", "version", "region", "generation", "slots", "mac"}:
        raise ValueError("fields")
    if found["format"] != FORMAT or found["version"] != VERSION:
        raise ValueError("format")
    slots = found["slots"]
    if not isinstance(slots, list) or not 1 <= len(slots) <= MAX_SLOTS:
        raise ValueError("slots")
    read = tuple(_slot(item) for item in slots)
    if len({slot.id for slot in read}) != len(read):
        raise ValueError("slot ids")
    return SealFile(_string(found, "region"), _integer(found, "generation"), read, _bytes(found, "mac"))


def _slot(found: Mapping[str, object]) -> Slot:
    fields = {"id", "kind", "label", "created_at", "wrapped"}
    kind = _kind(found["kind"])
    name = MEANS[kind]
    means: Means = None
    if name:
        fields.add(name)
        means = _means(kind, found[name])
    if set(found) != fields:
        raise ValueError("slot fields")
    texts = (_string(found, "id"), _string(found, "label"), _string(found, "created_at"))
    return Slot(texts[0], kind, texts[1], texts[2], _bytes(found, "wrapped"), means)


def _kind(found: object) -> SlotKind:
    for kind in KINDS:
        if found == kind:
            return kind
    raise ValueError("kind")


def _means(kind: SlotKind, found: object) -> Means:
    if not isinstance(found, dict) or set(found) != _FIELDS[kind]:
        raise ValueError("means")
    match kind:
        case "key-file":
            return None
        case "passphrase":
            cost = Cost(_integer(found, "memory_kib"), _integer(found, "iterations"), _integer(found, "lanes"))
            salt = _bytes(found, "salt")
            if len(salt) < 16:
                raise ValueError("salt")
            return Stretch(cost, salt)
        case "shares":
            quorum = Quorum(_integer(found, "set"), _integer(found, "threshold"), _integer(found, "count"))
            if not 2 <= quorum.threshold <= quorum.count:
                raise ValueError("threshold")
            return quorum
        case "recipient":
            return Recipient(_string(found, "suite"), _bytes(found, "public"), _bytes(found, "sealed_key"))
        case "pkcs11" | "external":
            return Wrapping(_string(found, "uri"), _bytes(found, "wrapped_key"))
        case _:
            assert_never(kind)


def _slot_fields(slot: Slot) -> dict[str, Value]:
    fields: dict[str, Value] = {
        "id": slot.id,
        "kind": slot.kind,
        "label": slot.label,
        "created_at": slot.created_at,
        "wrapped": _text(slot.wrapped),
    }
    if slot.means is not None:
        fields[MEANS[slot.kind]] = means_fields(slot.means)
    return fields


def means_fields(means: Stretch | Quorum | Recipient | Wrapping) -> dict[str, Value]:
    """The means as they are written; also bound into the slot's envelope."""
    match means:
        case Stretch(cost, salt):
            found: dict[str, Value] = {
                "memory_kib": cost.memory_kib,
                "iterations": cost.iterations,
                "lanes": cost.lanes,
                "salt": _text(salt),
            }
        case Quorum(number, threshold, count):
            found = {"set": number, "threshold": threshold, "count": count}
        case Recipient(suite, public, sealed_key):
            found = {"suite": suite, "public": _text(public), "sealed_key": _text(sealed_key)}
        case Wrapping(uri, wrapped_key):
            found = {"uri": uri, "wrapped_key": _text(wrapped_key)}
        case _:
            assert_never(means)
    return found


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _string(found: Mapping[str, object], name: str) -> str:
    value = found[name]
    if not isinstance(value, str):
        raise ValueError(name)
    return value


def _integer(found: Mapping[str, object], name: str) -> int:
    value = found[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(name)
    return value


def _bytes(found: Mapping[str, object], name: str) -> bytes:
    try:
        return base64.b64decode(_string(found, name), validate=True)
    except binascii.Error as error:
        raise ValueError(name) from error


def _invalid(why: str) -> Refusal:
    return Refusal(
        "InvalidSealFile",
        f"this is not a usable seal file: {why}",
        hint="restore the seal file from a copy; every copy of the same generation is as good",
    )
