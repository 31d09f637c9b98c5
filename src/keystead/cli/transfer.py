"""Keys that come in and go out: bring your own key, and backups of keys and vaults.

Material is read from a file or standard input and leaves this machine wrapped, never in clear, and never through the
arguments, which every process on the machine may read.
"""

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keystead.cli import files, given, material
from keystead.cli.command import IfMatch, InCompartment, NewName, Reference, command
from keystead.cli.exits import usage
from keystead.cli.files import STDIO
from keystead.cli.kinds import KEY, VAULT
from keystead.cli.lifecycle import keys, vaults
from keystead.cli.session import Session
from keystead.cli.vault import AlgorithmName, ProtectionName
from keystead.cli.wire import Json

if TYPE_CHECKING:
    from keystead.core.secret import Secret

__all__ = ["keys", "vaults"]

InVault = Annotated[
    str | None, typer.Option("--vault", "-v", metavar="NAME", help="Vault: name, COMPARTMENT/NAME, or id.")
]
Into = Annotated[str | None, typer.Option("--vault", "-v", metavar="NAME", help="Into this vault; else where it was.")]
InFile = Annotated[Path | None, typer.Option("--in", "-i", metavar="FILE", help="The key itself; - is standard input.")]
Form = Annotated[
    str | None,
    typer.Option("--format", metavar="NAME", help="raw, hex, base64, der, pem, jwk or pkcs12; guessed when absent."),
]
PasswordFile = Annotated[
    Path | None, typer.Option("--password-file", metavar="FILE", help="What opens a PEM or PKCS#12 that is encrypted.")
]
Wrapping = Annotated[
    str | None,
    typer.Option("--wrapping", metavar="NAME", help="HPKE-X25519-MLKEM768 unless told; RSA-AES-KWP, RSA-OAEP-SHA256."),
]
WrappedFile = Annotated[
    Path | None,
    typer.Option("--wrapped", metavar="FILE", help="What `key wrap-material` wrote, or a .byok transfer blob."),
]
AsVersion = Annotated[bool, typer.Option("--new-version", help="NAME is there: this becomes its current version.")]
Hours = Annotated[
    int | None, typer.Option("--hours", metavar="N", help="For how long it can be used: 1 to 168; 24 unless told.")
]
OutFile = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write; - is standard output.")]
BackupFile = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.", show_default=False)]


@command(keys, "import")
def import_key(  # noqa: PLR0913, PLR0917  # the options of a command
    session: Session,
    name: NewName,
    vault: InVault = None,
    algorithm: AlgorithmName = None,
    input_file: InFile = None,
    form: Form = None,
    password_file: PasswordFile = None,
    wrapping: Wrapping = None,
    wrapped_file: WrappedFile = None,
    new_version: AsVersion = False,
    protection: ProtectionName = None,
    operations: given.Operations = None,
    expires_at: given.ExpiresAt = None,
    rotation_days: given.RotationDays = None,
    purge_protection: given.PurgeProtection = False,
    tag: given.Tags = None,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Bring a key of your own, or a version of one. It is wrapped on this machine and sent like that only."""
    if (input_file is None) == (wrapped_file is None):
        raise usage("where is the key?", "give --in FILE with the key itself, or --wrapped FILE")
    if new_version == (vault is not None):
        raise usage("a new key needs --vault, a new version of NAME none", "give --vault NAME or --new-version")
    where = _wrapping_keys(session, vault, name if new_version else None, compartment)
    if wrapped_file is not None:
        wrapped = material.read_wrapped(files.read(wrapped_file))
    else:
        raw, password = files.read(input_file or STDIO), _password(password_file)
        wrapped = material.wrap(_ask(session, where, algorithm, wrapping, None), raw, form, password)
    if new_version:
        path = where.removesuffix("wrapping-keys") + "actions/import-version"
        answer = session.client.post(path, wrapped.body(), if_match=if_match).data
    else:
        settings = {
            **given.operations_given(operations),
            **given.moment_given("--expires-at", expires_at),
            **given.numbers_given(rotation_days=rotation_days),
            **({"purge_protection": True} if purge_protection else {}),
            **given.tags_given(tag),
        }
        body = {
            "compartment_id": session.compartment(compartment),
            "vault_id": where.split("/")[2],
            "name": name,
            "protection": protection,
            **wrapped.body(),
            **settings,
        }
        answer = session.client.create("/keys/actions/import", body).data
    material.check(wrapped, answer["key_check_value"])
    if session.console.json:
        session.console.document(answer)
        return
    key = answer["key"]
    session.console.say(f"key {key['name']} is {key['state']}, version {answer['key_version']} is what you brought")
    session.console.say(f"check value {answer['key_check_value']}")


@command(keys, "import-params")
def import_params(
    session: Session,
    vault: InVault = None,
    key: Annotated[
        str | None, typer.Option("--key", "-k", metavar="NAME", help="For a new version of this key.")
    ] = None,
    algorithm: AlgorithmName = None,
    wrapping: Wrapping = None,
    hours: Hours = None,
    pem: Annotated[
        Path | None, typer.Option("--pem", metavar="FILE", help="Also write the public key, for another tool.")
    ] = None,
    output_file: OutFile = STDIO,
    compartment: InCompartment = None,
) -> None:
    """Ask for a wrapping key, to wrap a key on a machine without a network: carry what this prints there."""
    where = _wrapping_keys(session, vault, key, compartment)
    params = _ask(session, where, algorithm, wrapping, hours)
    if pem is not None:
        files.write_new(pem, params["public_key"].encode())
    if output_file == STDIO:
        session.console.document(params)
    else:
        files.write_new(output_file, _document(params))


@command(keys, "wrap-material")
def wrap_material(
    session: Session,
    params_file: Annotated[Path, typer.Option("--params", metavar="FILE", help="What `key import-params` printed.")],
    input_file: Annotated[Path, typer.Option("--in", "-i", metavar="FILE", help="The key; - is standard input.")],
    output_file: OutFile = STDIO,
    form: Form = None,
    password_file: PasswordFile = None,
    as_byok: Annotated[bool, typer.Option("--byok", help="Write a key transfer blob.")] = False,
) -> None:
    """Wrap a key for its import, without any network. Prints what may be carried back; not the key."""
    params = material.read_params(files.read(params_file))
    made = material.wrap(params, files.read(input_file), form, _password(password_file))
    data = material.write_wrapped(made, params, as_byok)
    if output_file == STDIO:
        sys.stdout.write(data.decode())
    else:
        files.write_new(output_file, data)
    session.console.remark(f"check value {made.check_value}")


@command(keys, "backup", approvable=True)
def back_up_key(session: Session, name: Reference, file: BackupFile, compartment: InCompartment = None) -> None:
    """Write an encrypted backup of a key with all its versions. It opens in this tenancy of this region only."""
    _not_there(file)
    answer = session.client.post(session.path(KEY, name, compartment) + "/actions/backup").data
    files.write_new(file, base64.b64decode(answer.pop("backup")))
    if session.console.json:
        session.console.document(answer)
    else:
        session.console.say(
            f"key {answer['key']['name']} is in {file}, up to version {answer['key']['current_version']}"
        )


@command(keys, "restore", approvable=True)
def restore_key(
    session: Session,
    file: BackupFile,
    vault: Into = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Under another name.")] = None,
    compartment: InCompartment = None,
) -> None:
    """Have a key back from its backup. It is DISABLED until `key enable`; a key that is there is not replaced."""
    body = {
        "backup": base64.b64encode(files.read(file)).decode(),
        "vault_id": None if vault is None else session.resolve(VAULT, vault, compartment),
        "compartment_id": None if compartment is None else session.compartment(compartment),
        "name": name,
    }
    answer = session.client.create("/keys/actions/restore", body).data
    if session.console.json:
        session.console.document(answer)
        return
    key = answer["key"]
    session.console.say(f"key {key['name']} is {key['state']}, current version {key['current_version']}")
    _warn(session, answer["warnings"])


@command(vaults, "backup", approvable=True)
def back_up_vault(
    session: Session,
    name: Reference,
    file: BackupFile,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Leave out keys in tokens and in other key management systems.")
    ] = False,
    compartment: InCompartment = None,
) -> None:
    """Write an encrypted backup of a vault with its keys."""
    _not_there(file)
    path = session.path(VAULT, name, compartment) + "/actions/backup"
    parts, count, after = [], 0, ""
    while True:
        answer = session.client.post(path, {"after": after, "leave_out": leave_out}).data
        parts.append(base64.b64decode(answer.pop("backup")))
        count += answer["keys"]
        if answer["after"] is None:
            break
        after = answer["after"]
    files.write_new(file, material.join(parts))
    left_out = answer["left_out"]
    if session.console.json:
        session.console.document({"vault": answer["vault"], "keys": count, "left_out": left_out})
        return
    session.console.say(f"vault {answer['vault']['name']} is in {file}, with {count} key{'s' * (count != 1)}")
    if left_out:
        session.console.remark(f"not in it, because their material is elsewhere: {', '.join(left_out)}")


@command(vaults, "restore", approvable=True)
def restore_vault(session: Session, file: BackupFile, compartment: InCompartment = None) -> None:
    """Have a vault back with the keys that are not there. They are DISABLED until `key enable`. Can be repeated."""
    inside = None if compartment is None else session.compartment(compartment)
    restored = present = 0
    warnings: list[str] = []
    answer: Json = {}
    for part in material.split(files.read(file)):
        body = {"backup": base64.b64encode(part).decode(), "compartment_id": inside}
        answer = session.client.create("/vaults/actions/restore", body).data
        restored += answer["restored"]
        present += answer["present"]
        warnings += answer["warnings"]
    if session.console.json:
        whole = {"vault": answer["vault"], "restored": restored, "present": present, "warnings": warnings}
        session.console.document(whole)
        return
    said = f"vault {answer['vault']['name']}: {restored} key{'s' * (restored != 1)} restored"
    session.console.say(said + (f", {present} there already" if present else ""))
    _warn(session, warnings)


def _wrapping_keys(session: Session, vault: str | None, key: str | None, compartment: str | None) -> str:
    """Where wrapping keys for this vault, or this key, are made."""
    if (vault is None) == (key is None):
        raise usage("for what?", "give --vault NAME for a new key, or --key NAME for a new version of one")
    if vault is not None:
        return session.path(VAULT, vault, compartment) + "/wrapping-keys"
    return session.path(KEY, key or "", compartment) + "/wrapping-keys"


def _ask(session: Session, where: str, algorithm: str | None, wrapping: str | None, hours: int | None) -> Json:
    if algorithm is not None and where.startswith("/keys/"):
        raise usage("a new version has the algorithm of its key", "leave --algorithm away")
    body = {"algorithm": algorithm, "wrapping_algorithm": wrapping, "expires_in_hours": hours}
    return material.params_of(session.client.create(where, body).data)


def _password(path: Path | None) -> "Secret | None":
    from keystead.core.secret import Secret

    return None if path is None else Secret(files.read(path).rstrip(b"\r\n"))


def _not_there(path: Path) -> None:
    if path.exists():
        raise usage(f"{path} is there already", "name another file: a backup replaces none")


def _document(params: Json) -> bytes:
    return json.dumps(params, indent=2).encode() + b"\n"


def _warn(session: Session, warnings: list[str]) -> None:
    for text in warnings:
        session.console.remark(f"warning: {text}")
