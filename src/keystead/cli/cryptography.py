"""What keys do: encrypt, wrap, sign, in ones and in batches; public keys and random bytes.

Plaintext and key material come from a file or standard input and go to a file (mode 0600) or standard output, never
through the arguments, which every process on the machine may read. Ciphertexts and signatures are base64 text.
"""

import base64
import binascii
import hashlib
import json
from pathlib import Path
from typing import Annotated

import typer

from keystead.cli import files
from keystead.cli.command import InCompartment, Reference, command
from keystead.cli.exits import CliError, usage
from keystead.cli.files import STDIO
from keystead.cli.kinds import KEY, VAULT
from keystead.cli.session import Session
from keystead.cli.vault import InVault, keys
from keystead.cli.wire import Json

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
Scheme = Annotated[
    str | None, typer.Option("--scheme", metavar="NAME", help="How to sign; the algorithm's usual scheme when absent.")
]
IsDigest = Annotated[bool, typer.Option("--digest", help="The input is the digest of what is signed.")]
Hash = Annotated[
    bool, typer.Option("--hash", help="Hash the input here, by the hash of --scheme: for what is over 64 KiB.")
]
Version = Annotated[
    int | None, typer.Option("--key-version", min=1, metavar="N", help="Which version; the current one when absent.")
]

MAX_BATCH = 1000
BATCHES = ("encrypt", "decrypt", "wrap", "unwrap", "rewrap", "sign", "verify")


def seals(act: str, member: str, text: str) -> None:
    """Declare a command that sends what is secret, as `member`, and prints a ciphertext."""

    def run(
        session: Session,
        name: Reference,
        input_file: InFile = STDIO,
        output_file: OutFile = STDIO,
        associated_data: Associated = "",
        as_base64: AsBase64 = False,
        compartment: InCompartment = None,
    ) -> None:
        plain = _read_plain(input_file, as_base64)
        answer = _use(session, name, compartment, act, {member: plain}, associated_data)
        _put_ciphertext(session, answer, output_file)

    command(keys, act, help=text)(run)


def opens(act: str, member: str, text: str) -> None:
    """Declare a command that sends a ciphertext and writes what was secret: `member` of the answer."""

    def run(
        session: Session,
        name: Reference,
        input_file: InFile = STDIO,
        output_file: OutFile = STDIO,
        associated_data: Associated = "",
        as_base64: AsBase64 = False,
        compartment: InCompartment = None,
    ) -> None:
        sealed = _read_ciphertext(input_file)
        answer = _use(session, name, compartment, act, {"ciphertext": sealed}, associated_data)
        _put_plain(session, answer, member, output_file, as_base64)

    command(keys, act, help=text)(run)


seals("encrypt", "plaintext", "Encrypt up to 64 KiB. Prints the ciphertext as base64.")
opens("decrypt", "plaintext", "Decrypt what `encrypt` made.")
seals("wrap", "key_material", "Wrap key material. Prints the wrapped key as base64.")
opens("unwrap", "key_material", "Unwrap a key that `wrap` or `generate-data-key` made.")


@command(keys, "rewrap")
def rewrap(
    session: Session,
    name: Reference,
    input_file: InFile = STDIO,
    output_file: OutFile = STDIO,
    associated_data: Associated = "",
    to: Annotated[str, typer.Option("--to", metavar="KEY", help="Name or id of another key to wrap it under.")] = "",
    compartment: InCompartment = None,
) -> None:
    """Wrap a wrapped key again under the current version, or under another key, without showing it."""
    body: Json = {"ciphertext": _read_ciphertext(input_file)}
    if to:
        body["target_key_id"] = session.resolve(KEY, to, compartment)
    answer = _use(session, name, compartment, "rewrap", body, associated_data)
    _put_ciphertext(session, answer, output_file)


@command(keys, "generate-data-key")
def generate_data_key(
    session: Session,
    name: Reference,
    output_file: OutFile = STDIO,
    plaintext_out: Annotated[
        Path | None,
        typer.Option("--plaintext-out", metavar="FILE", help="Also write the key itself to FILE; - is stdout."),
    ] = None,
    length: Annotated[int, typer.Option("--length", metavar="BYTES", help="16, 24, 32, 48 or 64.")] = 32,
    associated_data: Associated = "",
    as_base64: AsBase64 = False,
    compartment: InCompartment = None,
) -> None:
    """Make a fresh data key. Prints it wrapped; in clear only where --plaintext-out says."""
    if plaintext_out == STDIO and output_file == STDIO and not session.console.json:
        raise usage("both forms of the key cannot go to standard output", "give --out FILE")
    wanted: Json = {"include_plaintext": plaintext_out is not None}
    if length != 32:
        wanted["length"] = length
    answer = _use(session, name, compartment, "generate-data-key", wanted, associated_data)
    if plaintext_out is not None and plaintext_out != STDIO:
        files.write(plaintext_out, _plain_side(answer.pop("plaintext"), as_base64))
    elif plaintext_out is not None and not session.console.json:
        files.write(STDIO, _plain_side(answer.pop("plaintext"), as_base64))
    _put_ciphertext(session, answer, output_file)


@command(keys, "sign")
def sign(
    session: Session,
    name: Reference,
    input_file: InFile = STDIO,
    output_file: OutFile = STDIO,
    scheme: Scheme = None,
    digest: IsDigest = False,
    hash_here: Hash = False,
    raw: Annotated[bool, typer.Option("--raw", help="Write the signature's bytes, not base64.")] = False,
    compartment: InCompartment = None,
) -> None:
    """Sign up to 64 KiB, or a digest. Prints the signature as base64."""
    body = _to_sign(input_file, scheme, digest, hash_here)
    answer = _use(session, name, compartment, "sign", body, "")
    signature = answer["signature"]
    if session.console.json and output_file == STDIO:
        session.console.document(answer)
        return
    files.write(output_file, base64.b64decode(signature) if raw else signature.encode() + b"\n")
    if session.console.json:
        session.console.document({key: value for key, value in answer.items() if key != "signature"})


@command(keys, "verify")
def verify(
    session: Session,
    name: Reference,
    signature_file: Annotated[
        Path, typer.Option("--signature", "-s", metavar="FILE", help="The signature, base64 or raw bytes.")
    ],
    input_file: InFile = STDIO,
    scheme: Scheme = None,
    digest: IsDigest = False,
    hash_here: Hash = False,
    key_version: Version = None,
    compartment: InCompartment = None,
) -> None:
    """Check a signature. Leaves with 0 when it holds and with 1 when it does not."""
    if signature_file == STDIO == input_file:
        raise usage("message and signature cannot both come from standard input", "give --in FILE")
    body = _to_sign(input_file, scheme, digest, hash_here)
    body["signature"] = _signature_text(files.read(signature_file))
    if key_version is not None:
        body["key_version"] = key_version
    answer = _use(session, name, compartment, "verify", body, "")
    if session.console.json:
        session.console.document(answer)
    elif answer["valid"]:
        session.console.say("the signature holds")
    if not answer["valid"]:
        raise CliError("the signature does not hold", code="SignatureInvalid")


@command(keys, "public")
def public(
    session: Session,
    name: Reference,
    output_file: OutFile = STDIO,
    jwk: Annotated[bool, typer.Option("--jwk", help="As a JSON Web Key.")] = False,
    key_version: Version = None,
    compartment: InCompartment = None,
) -> None:
    """Show the public half of a key, in PEM unless told."""
    path = session.path(KEY, name, compartment) + "/public-key"
    answer = session.client.get(path, key_version=key_version).data
    if session.console.json and output_file == STDIO:
        session.console.document(answer)
        return
    text = json.dumps(answer["jwk"]) + "\n" if jwk else answer["pem"]
    files.write(output_file, text.encode())


@command(keys, "batch")
def batch(
    session: Session,
    name: Reference,
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help=", ".join(BATCHES) + ".")],
    input_file: InFile = STDIO,
    output_file: OutFile = STDIO,
    atomic: Annotated[bool, typer.Option("--atomic", help="All or nothing, for each request of 1000.")] = False,
    scheme: Scheme = None,
    digest: Annotated[bool, typer.Option("--digest", help="The messages are digests.")] = False,
    key_version: Version = None,
    compartment: InCompartment = None,
) -> None:
    """Do the same with many: JSON lines in, as the API takes its items; JSON lines out, in their order.

    Leaves with 1 when an item failed; its line says why.
    """
    if operation not in BATCHES:
        raise usage(f"there is no batch of {operation!r}", f"there are: {', '.join(BATCHES)}")
    items = _json_lines(files.read(input_file))
    key = session.resolve(KEY, name, compartment)
    told: Json = {"scheme": scheme, "key_version": key_version}
    rest: Json = {each: value for each, value in told.items() if value is not None} | (
        {"digests": True} if digest else {}
    )
    done: list[Json] = []
    failed = 0
    for start in range(0, len(items), MAX_BATCH):
        body: Json = {"items": items[start : start + MAX_BATCH], "atomic": atomic, **rest}
        answer = session.client.post(f"/keys/{key}/actions/{operation}-batch", body).data
        done += answer["items"]
        failed += answer["failed"]
    if session.console.json and output_file == STDIO:
        session.console.document({"items": done, "failed": failed})
    else:
        files.write(output_file, "".join(json.dumps(each) + "\n" for each in done).encode())
    if failed:
        raise CliError(f"{failed} of {len(done)} items failed", code="ItemsFailed")


def random_bytes(
    session: Session,
    length: Annotated[int, typer.Argument(metavar="BYTES", help="1 to 65536.")],
    vault: InVault,
    output_file: OutFile = STDIO,
    as_base64: Annotated[bool, typer.Option("--base64", help="As base64; hexadecimal digits otherwise.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The bytes themselves.")] = False,
    compartment: InCompartment = None,
) -> None:
    """Make random bytes in a vault. Prints hexadecimal digits unless told."""
    path = session.path(VAULT, vault, compartment) + "/actions/generate-random"
    answer = session.client.post(path, {"length": length}).data
    if session.console.json and output_file == STDIO:
        session.console.document(answer)
        return
    made = base64.b64decode(answer["random_bytes"])
    text = answer["random_bytes"] if as_base64 else made.hex()
    files.write(output_file, made if raw else text.encode() + b"\n")


def add_to(app: typer.Typer) -> None:
    """Add what is no command of a group."""
    command(app, "random")(random_bytes)


def _to_sign(path: Path, scheme: str | None, digest: bool, hash_here: bool) -> Json:
    """The members of a request that say what is signed, and how."""
    raw = files.read(path)
    if digest and hash_here:
        raise usage("the input is either the digest or is hashed here", "give --digest or --hash")
    if hash_here:
        name = (scheme or "").rpartition("-")[2].lower()
        if name not in ("sha256", "sha384", "sha512"):
            raise usage("--hash needs a --scheme that names a hash", "for example --scheme RSA-PSS-SHA256")
        raw = hashlib.new(name, raw).digest()
    body: Json = {"digest" if digest or hash_here else "message": base64.b64encode(raw).decode()}
    if scheme is not None:
        body["scheme"] = scheme
    return body


def _signature_text(raw: bytes) -> str:
    """A signature as base64, whether it was that or bytes."""
    try:
        text = "".join(raw.decode("ascii").split())
        base64.b64decode(text, validate=True)
    except (UnicodeDecodeError, binascii.Error):
        return base64.b64encode(raw).decode()
    return text


def _json_lines(raw: bytes) -> list[Json]:
    items = []
    for number, line in enumerate(raw.splitlines(), 1):
        if line.strip():
            try:
                item = json.loads(line)
            except ValueError as error:
                raise usage(f"line {number} is not JSON") from error
            if not isinstance(item, dict):
                raise usage(f"line {number} is not a JSON object")
            items.append(item)
    if not items:
        raise usage("there are no items", "give one JSON object in each line")
    return items


def _use(session: Session, name: str, compartment: str | None, act: str, body: Json, associated: str) -> Json:
    key = session.resolve(KEY, name, compartment)
    if associated:
        body = {**body, "associated_data": base64.b64encode(_associated(associated)).decode()}
    return session.client.post(f"/keys/{key}/actions/{act}", body).data


def _associated(given: str) -> bytes:
    return files.read(Path(given[1:])) if given.startswith("@") else given.encode()


def _read_plain(path: Path, as_base64: bool) -> str:
    """What is to be sealed, as base64."""
    raw = files.read(path)
    return _base64_text(raw, "the input") if as_base64 else base64.b64encode(raw).decode()


def _read_ciphertext(path: Path) -> str:
    return _base64_text(files.read(path), "the ciphertext")


def _base64_text(raw: bytes, what: str) -> str:
    try:
        text = "".join(raw.decode("ascii").split())
        base64.b64decode(text, validate=True)
    except (UnicodeDecodeError, binascii.Error) as error:
        raise usage(f"{what} is not base64") from error
    return text


def _put_ciphertext(session: Session, answer: Json, path: Path) -> None:
    if path != STDIO:
        files.write(path, answer["ciphertext"].encode() + b"\n")
        answer = {key: value for key, value in answer.items() if key != "ciphertext"}
    if session.console.json:
        session.console.document(answer)
    elif path == STDIO:
        session.console.say(answer["ciphertext"])


def _put_plain(session: Session, answer: Json, member: str, path: Path, as_base64: bool) -> None:
    if session.console.json and path == STDIO:
        session.console.document(answer)
        return
    files.write(path, _plain_side(answer.pop(member), as_base64))
    if session.console.json:
        session.console.document(answer)


def _plain_side(text: str, as_base64: bool) -> bytes:
    return text.encode() + b"\n" if as_base64 else base64.b64decode(text)
