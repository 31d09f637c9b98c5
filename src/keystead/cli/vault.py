"""Vaults and keys, and what keys do.

Plaintext and key material come from a file or standard input and go to a file (mode 0600) or standard output, never
through the arguments, which every process on the machine may read. Ciphertext is base64 text.
"""

import base64
import binascii
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from keystead.cli.command import IfMatch, InCompartment, Limit, NewName, Reference, command, group
from keystead.cli.console import Column, moment
from keystead.cli.exits import CliError, usage
from keystead.cli.session import Session
from keystead.cli.wire import Json

vaults = group("Vaults: named containers of keys.")
keys = group("Keys: series of key versions, one of them current; and what is done with them.")

InVault = Annotated[str, typer.Option("--vault", "-v", metavar="NAME", help="Vault: name, COMPARTMENT/NAME, or id.")]
AlgorithmName = Annotated[str | None, typer.Option("--algorithm", metavar="NAME", help="AES-256 unless told.")]
InFile = Annotated[Path, typer.Option("--in", "-i", metavar="FILE", help="What to read; - is standard input.")]
OutFile = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write; - is standard output.")]
Associated = Annotated[
    str,
    typer.Option(
        "--associated-data",
        "-a",
        metavar="TEXT",
        help="Bound to the ciphertext, not secret: the same must be given to open it. @FILE reads it from a file.",
    ),
]
AsBase64 = Annotated[bool, typer.Option("--base64", help="The plain side is base64 text too.")]

_STDIO = Path("-")
_VAULTS: list[Column] = [
    ("name", "name"),
    ("protection", "protection"),
    ("created", moment("created_at")),
    ("id", "id"),
]
_KEYS: list[Column] = [
    ("name", "name"),
    ("state", "state"),
    ("algorithm", "algorithm"),
    ("version", "current_version"),
    ("id", "id"),
]
_VERSIONS: list[Column] = [("version", "number"), ("created", moment("created_at")), ("id", "id")]


@command(vaults, "create")
def create_vault(session: Session, name: NewName, compartment: InCompartment = None) -> None:
    """Create a vault (protection: software)."""
    body = {"compartment_id": session.compartment(compartment), "name": name}
    session.console.show(session.client.create("/vaults", body).data)


@command(vaults, "list")
def list_vaults(session: Session, compartment: InCompartment = None, limit: Limit = None) -> None:
    """List the vaults in a compartment."""
    inside = session.compartment(compartment)
    session.console.table(
        list(session.client.items("/vaults", limit, compartment_id=inside)), _VAULTS, "no vaults in it"
    )


@command(vaults, "show")
def show_vault(session: Session, name: Reference, compartment: InCompartment = None) -> None:
    """Show one vault."""
    session.console.show(session.client.get(f"/vaults/{session.resolve('vault', name, compartment)}").data)


@command(keys, "create")
def create_key(
    session: Session,
    name: NewName,
    vault: InVault,
    algorithm: AlgorithmName = None,
    compartment: InCompartment = None,
) -> None:
    """Create a key with its first version."""
    body = {
        "compartment_id": session.compartment(compartment),
        "vault_id": session.resolve("vault", vault, compartment),
        "name": name,
        "algorithm": algorithm,
    }
    session.console.show(session.client.create("/keys", body).data)


@command(keys, "list")
def list_keys(session: Session, compartment: InCompartment = None, limit: Limit = None) -> None:
    """List the keys in a compartment."""
    inside = session.compartment(compartment)
    session.console.table(list(session.client.items("/keys", limit, compartment_id=inside)), _KEYS, "no keys in it")


@command(keys, "show")
def show_key(session: Session, name: Reference, compartment: InCompartment = None) -> None:
    """Show one key."""
    session.console.show(session.client.get(f"/keys/{session.resolve('key', name, compartment)}").data)


@command(keys, "enable")
def enable(session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None) -> None:
    """Enable a key; databases fenced because of it heal by themselves."""
    _act(session, "enable", name, compartment, if_match)


@command(keys, "disable")
def disable(session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None) -> None:
    """Disable a key: every use is refused from now on, and every database under it is fenced at once."""
    _act(session, "disable", name, compartment, if_match)


@command(keys, "rotate")
def rotate(session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None) -> None:
    """Make a new current version. Old versions go on opening what they sealed."""
    _act(session, "rotate", name, compartment, if_match)


@command(keys, "versions")
def versions(session: Session, name: Reference, compartment: InCompartment = None, limit: Limit = None) -> None:
    """List the versions of a key."""
    path = f"/keys/{session.resolve('key', name, compartment)}/versions"
    session.console.table(list(session.client.items(path, limit)), _VERSIONS, "no versions")


@command(keys, "encrypt")
def encrypt(
    session: Session,
    name: Reference,
    input_file: InFile = _STDIO,
    output_file: OutFile = _STDIO,
    associated_data: Associated = "",
    as_base64: AsBase64 = False,
    compartment: InCompartment = None,
) -> None:
    """Encrypt up to 64 KiB. Prints the ciphertext as base64."""
    plain = _read_plain(input_file, as_base64)
    answer = _use(session, name, compartment, "encrypt", {"plaintext": plain}, associated_data)
    _put_ciphertext(session, answer, output_file)


@command(keys, "decrypt")
def decrypt(
    session: Session,
    name: Reference,
    input_file: InFile = _STDIO,
    output_file: OutFile = _STDIO,
    associated_data: Associated = "",
    as_base64: AsBase64 = False,
    compartment: InCompartment = None,
) -> None:
    """Decrypt what `encrypt` made."""
    sealed = _read_ciphertext(input_file)
    answer = _use(session, name, compartment, "decrypt", {"ciphertext": sealed}, associated_data)
    _put_plain(session, answer, "plaintext", output_file, as_base64)


@command(keys, "wrap")
def wrap(
    session: Session,
    name: Reference,
    input_file: InFile = _STDIO,
    output_file: OutFile = _STDIO,
    associated_data: Associated = "",
    as_base64: AsBase64 = False,
    compartment: InCompartment = None,
) -> None:
    """Wrap key material. Prints the wrapped key as base64."""
    plain = _read_plain(input_file, as_base64)
    answer = _use(session, name, compartment, "wrap", {"key_material": plain}, associated_data)
    _put_ciphertext(session, answer, output_file)


@command(keys, "unwrap")
def unwrap(
    session: Session,
    name: Reference,
    input_file: InFile = _STDIO,
    output_file: OutFile = _STDIO,
    associated_data: Associated = "",
    as_base64: AsBase64 = False,
    compartment: InCompartment = None,
) -> None:
    """Unwrap a key that `wrap` or `generate-data-key` made."""
    sealed = _read_ciphertext(input_file)
    answer = _use(session, name, compartment, "unwrap", {"ciphertext": sealed}, associated_data)
    _put_plain(session, answer, "key_material", output_file, as_base64)


@command(keys, "rewrap")
def rewrap(
    session: Session,
    name: Reference,
    input_file: InFile = _STDIO,
    output_file: OutFile = _STDIO,
    associated_data: Associated = "",
    compartment: InCompartment = None,
) -> None:
    """Wrap a wrapped key again under the current version, without showing it."""
    sealed = _read_ciphertext(input_file)
    answer = _use(session, name, compartment, "rewrap", {"ciphertext": sealed}, associated_data)
    _put_ciphertext(session, answer, output_file)


@command(keys, "generate-data-key")
def generate_data_key(
    session: Session,
    name: Reference,
    output_file: OutFile = _STDIO,
    plaintext_out: Annotated[
        Path | None,
        typer.Option("--plaintext-out", metavar="FILE", help="Also write the key itself to FILE; - is stdout."),
    ] = None,
    associated_data: Associated = "",
    as_base64: AsBase64 = False,
    compartment: InCompartment = None,
) -> None:
    """Make a fresh 256-bit data key. Prints it wrapped; in clear only where --plaintext-out says."""
    if plaintext_out == _STDIO and output_file == _STDIO and not session.console.json:
        raise usage("both forms of the key cannot go to standard output", "give --out FILE")
    wanted = {"include_plaintext": plaintext_out is not None}
    answer = _use(session, name, compartment, "generate-data-key", wanted, associated_data)
    if plaintext_out is not None and plaintext_out != _STDIO:
        _write(plaintext_out, _plain_side(answer.pop("plaintext"), as_base64))
    elif plaintext_out is not None and not session.console.json:
        _write(_STDIO, _plain_side(answer.pop("plaintext"), as_base64))
    _put_ciphertext(session, answer, output_file)


def _act(session: Session, move: str, name: str, compartment: str | None, if_match: str | None) -> None:
    path = f"/keys/{session.resolve('key', name, compartment)}/actions/{move}"
    changed = session.client.post(path, if_match=if_match).data
    if session.console.json:
        session.console.document(changed)
    else:
        said = f"key {changed['name']} is {changed['state']}, current version {changed['current_version']}"
        session.console.say(said)


def _use(session: Session, name: str, compartment: str | None, act: str, body: Json, associated: str) -> Json:
    key = session.resolve("key", name, compartment)
    if associated:
        body = {**body, "associated_data": base64.b64encode(_associated(associated)).decode()}
    return session.client.post(f"/keys/{key}/actions/{act}", body).data


def _associated(given: str) -> bytes:
    return _read(Path(given[1:])) if given.startswith("@") else given.encode()


def _read(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == _STDIO else path.read_bytes()
    except OSError as error:
        raise usage(f"cannot read {path}: {error.strerror}") from error


def _read_plain(path: Path, as_base64: bool) -> str:
    """What is to be sealed, as base64."""
    raw = _read(path)
    return _base64_text(raw, "the input") if as_base64 else base64.b64encode(raw).decode()


def _read_ciphertext(path: Path) -> str:
    return _base64_text(_read(path), "the ciphertext")


def _base64_text(raw: bytes, what: str) -> str:
    try:
        text = "".join(raw.decode("ascii").split())
        base64.b64decode(text, validate=True)
    except (UnicodeDecodeError, binascii.Error) as error:
        raise usage(f"{what} is not base64") from error
    return text


def _put_ciphertext(session: Session, answer: Json, path: Path) -> None:
    if path != _STDIO:
        _write(path, answer["ciphertext"].encode() + b"\n")
        answer = {key: value for key, value in answer.items() if key != "ciphertext"}
    if session.console.json:
        session.console.document(answer)
    elif path == _STDIO:
        session.console.say(answer["ciphertext"])


def _put_plain(session: Session, answer: Json, member: str, path: Path, as_base64: bool) -> None:
    if session.console.json and path == _STDIO:
        session.console.document(answer)
        return
    _write(path, _plain_side(answer.pop(member), as_base64))
    if session.console.json:
        session.console.document(answer)


def _plain_side(text: str, as_base64: bool) -> bytes:
    return text.encode() + b"\n" if as_base64 else base64.b64decode(text)


def _write(path: Path, data: bytes) -> None:
    """Write to a new or old file that only this user may read, or to standard output."""
    if path == _STDIO:
        if sys.stdout.isatty() and not data.decode("utf-8", "replace").isprintable() and not data.endswith(b"\n"):
            raise CliError("this is not text: it would garble the terminal", hint="use --out FILE or --base64")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}") from error
