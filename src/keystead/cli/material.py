"""Key material on this side: read from a file or standard input, wrapped here, and never sent otherwise.

Needs no region: what `key import-params` printed is carried to where the material is, and what `key wrap-material`
wrote is carried back. Nothing of the material is printed; its check value is.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystead.cli.exits import CliError, usage
from keystead.cli.wire import Json

if TYPE_CHECKING:
    from keystead.core.secret import Secret
    from keystead.crypto.portable import Form
    from keystead.crypto.suites import Suite

PARAMS = "keystead-import-params"
WRAPPED = "keystead-wrapped-key"
GENERATOR = "keystead key wrap-material"


@dataclass(frozen=True, slots=True)
class WrappedMaterial:
    """What may travel: for which wrapping key, wrapped, in which form, and its check value where that is known."""

    wrapping_key_id: str
    wrapped_key: str
    form: str = "raw"
    check_value: str = ""

    def body(self) -> Json:
        """As the region takes it."""
        return {"wrapping_key_id": self.wrapping_key_id, "wrapped_key": self.wrapped_key, "format": self.form}


def params_of(answer: Json) -> Json:
    """What is carried to the material: the wrapping key as the region gave it."""
    return {"format": PARAMS, "version": 1, **answer}


def read_params(data: bytes) -> Json:
    """Raises: CliError, not what `key import-params` printed."""
    found = _object(data, PARAMS, "not what `keystead key import-params` printed")
    for name in ("id", "algorithm", "wrapping_algorithm", "public_key"):
        if not isinstance(found.get(name), str):
            raise usage("these parameters are not whole", "ask for them again: keystead key import-params")
    return found


def wrap(params: Json, data: bytes, form: str | None, password: "Secret | None") -> WrappedMaterial:
    """Read a key, and wrap it for the wrapping key of `params`.

    Raises:
        Refusal: not such a key; the way does not take it.
        CliError: the parameters are not whole.
    """
    from keystead.core.secret import Secret
    from keystead.crypto import checkvalue, portable, public, transport
    from keystead.crypto.suites import suite_of

    suite = suite_of(params["algorithm"])
    way = transport.way_of(params["wrapping_algorithm"])
    try:
        spki = public.from_pem(params["public_key"])
    except ValueError as error:
        raise usage("the public key in the parameters is not PEM") from error
    given = Secret(data)
    material = portable.read(suite, data, _form(suite, data, form), password)
    try:
        wrapped = transport.wrap(way, spki, material)
        told = checkvalue.of_material(suite, material)
    finally:
        given.wipe()
        material.wipe()
    return WrappedMaterial(params["id"], base64.b64encode(wrapped).decode(), "raw", told)


def _form(suite: "Suite", data: bytes, form: str | None) -> "Form":
    from keystead.crypto import portable

    if form is None:
        return portable.guess(suite, data)
    for known in portable.FORMS:
        if known == form:
            return known
    raise usage(f"there is no format {form!r}", f"there are: {', '.join(portable.FORMS)}")


def write_wrapped(made: WrappedMaterial, params: Json, as_byok: bool) -> bytes:
    """The file that is carried back: our own, or a key transfer blob."""
    if as_byok:
        from keystead.crypto import byok

        if params["wrapping_algorithm"] != "RSA-AES-KWP":
            raise usage("a transfer blob is wrapped by RSA-AES-KWP", "key import-params --wrapping RSA-AES-KWP")
        return byok.write(byok.Transfer(made.wrapping_key_id, base64.b64decode(made.wrapped_key), GENERATOR))
    whole = {
        "format": WRAPPED,
        "version": 1,
        "wrapping_key_id": made.wrapping_key_id,
        "wrapped_key": made.wrapped_key,
        "key_check_value": made.check_value,
    }
    return json.dumps(whole, indent=2).encode() + b"\n"


def read_wrapped(data: bytes) -> WrappedMaterial:
    """What `key wrap-material` wrote, or another tool's key transfer blob. Raises: CliError, Refusal."""
    from keystead.crypto import byok

    if byok.looks_like(data):
        found = byok.read(data)
        return WrappedMaterial(found.wrapping_key, base64.b64encode(data).decode(), "byok")
    whole = _object(data, WRAPPED, "neither what `keystead key wrap-material` wrote nor a key transfer blob")
    try:
        wrapping_key, text, told = (str(whole[name]) for name in ("wrapping_key_id", "wrapped_key", "key_check_value"))
        base64.b64decode(text, validate=True)
    except (KeyError, binascii.Error) as error:
        raise usage("the wrapped key is not whole") from error
    return WrappedMaterial(wrapping_key, text, "raw", told)


def check(made: WrappedMaterial, told: str) -> None:
    """Raises: CliError, the region has another key than was wrapped here."""
    if made.check_value and made.check_value != told:
        raise CliError(
            f"the region says {told}, and what was wrapped here is {made.check_value}: it is another key",
            hint="disable the key at once, and find out who is between you and the region",
            code="WrongCheckValue",
        )


# backups of vaults: the parts, one after the other

VAULT_MAGIC = b"KSVB\x01"


def join(parts: list[bytes]) -> bytes:
    """The file of a vault's backup: magic, each part after its length (u32), and a length of 0 at the end."""
    return VAULT_MAGIC + b"".join(len(part).to_bytes(4, "big") + part for part in parts) + bytes(4)


def split(data: bytes) -> list[bytes]:
    """Its parts. Raises: CliError, it is not such a file, or cut."""
    at = len(VAULT_MAGIC)
    parts: list[bytes] = []
    if data.startswith(VAULT_MAGIC):
        while len(data) >= at + 4:
            length = int.from_bytes(data[at : at + 4], "big")
            at += 4
            if not length:
                if at == len(data) and parts:
                    return parts
                break
            parts.append(data[at : at + length])
            at += length
    raise usage("this is not the whole backup of a vault", "is the file complete?")


def _object(data: bytes, form: str, otherwise: str) -> Json:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise usage(f"this is {otherwise}") from error
    if not isinstance(found, dict) or found.get("format") != form or found.get("version") != 1:
        raise usage(f"this is {otherwise}")
    return found
