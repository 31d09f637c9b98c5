"""PKCS#11 URIs (RFC 7512): the name of a token, or of a key in it.

    pkcs11:token=prod;object=keystead-root?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/keystead/pin

Path: token, manufacturer, model, serial, slot-id say which token; object and id say which key. Query: module-path, and
pin-source, a file whose first line is the PIN. A PIN itself (`pin-value`) is refused: a URI is shown in settings,
slots, logs and lists of processes.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from keystead.core.errors import Refusal

_TEXT = ("token", "manufacturer", "model", "serial", "object")
_PATH = (*_TEXT, "id", "slot-id", "type")
_QUERY = ("module-path", "pin-source")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class TokenUri:
    """What a URI says; empty: nothing. It holds no secret."""

    token: str = ""
    manufacturer: str = ""
    model: str = ""
    serial: str = ""
    slot_id: int | None = None
    object: str = ""
    id: bytes = b""
    module_path: str = ""
    pin_file: str = ""

    def __str__(self) -> str:
        parts = [(name, getattr(self, name).encode()) for name in _TEXT] + [("id", self.id)]
        path = [f"{name}={quote_from_bytes(value, safe='')}" for name, value in parts if value]
        if self.slot_id is not None:
            path.append(f"slot-id={self.slot_id}")
        query = [("module-path", self.module_path), ("pin-source", self.pin_file and f"file:{self.pin_file}")]
        asked = "&".join(f"{name}={quote_from_bytes(value.encode(), safe='/:')}" for name, value in query if value)
        return "pkcs11:" + ";".join(path) + (f"?{asked}" if asked else "")


def parse(text: str) -> TokenUri:
    """Read a URI.

    Raises:
        Refusal: `InvalidUri`. The text itself is not repeated: somebody may have written a PIN into it.
    """
    if not text.startswith("pkcs11:"):
        raise _invalid("it does not begin with pkcs11:")
    path, _, query = text.removeprefix("pkcs11:").partition("?")
    at = _attributes(path, ";", _PATH)
    asked = _attributes(query, "&", _QUERY)
    slot = at.get("slot-id", b"").decode(errors="replace")
    if slot and not (slot.isascii() and slot.isdigit()):
        raise _invalid("slot-id is not a number")
    return TokenUri(
        **{name: _text(name, at) for name in _TEXT},
        slot_id=int(slot) if slot else None,
        id=at.get("id", b""),
        module_path=_absolute("module-path", _text("module-path", asked)),
        pin_file=_absolute("pin-source", _file(_text("pin-source", asked))),
    )


def _attributes(part: str, separator: str, known: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for each in part.split(separator) if part else ():
        name, equals, value = each.partition("=")
        if name == "pin-value":
            raise _invalid("it holds a PIN (pin-value)", "put the PIN into a file and name it: pin-source=file:/path")
        if not equals or name not in known:
            raise _invalid(f"it has an attribute that is not known; there are: {', '.join(known)}")
        if name in found:
            raise _invalid(f"{name} is there twice")
        if _BROKEN_ESCAPE.search(value):
            raise _invalid(f"{name} is not percent-encoded rightly")
        found[name] = unquote_to_bytes(value)
    return found


def _text(name: str, found: dict[str, bytes]) -> str:
    try:
        return found.get(name, b"").decode()
    except UnicodeDecodeError:
        raise _invalid(f"{name} is not UTF-8") from None


def _file(source: str) -> str:
    return source.removeprefix("file:").removeprefix("//")


def _absolute(name: str, path: str) -> str:
    if path and not Path(path).is_absolute():
        raise _invalid(f"{name} is not an absolute path")
    return path


def _invalid(why: str, hint: str = "") -> Refusal:
    hint = hint or "like pkcs11:token=NAME?module-path=/path/to/module.so&pin-source=file:/path/to/pin"
    return Refusal("InvalidUri", f"this is not a PKCS#11 URI that names a token: {why}", hint=hint)
