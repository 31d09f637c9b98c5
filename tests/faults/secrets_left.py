"""Looks for every secret that a test knows in everything that its region wrote, showed or ran.

    known     what was shown once (passwords, passphrase), tokens, canary plaintexts, the root key and what it protects:
              its subkeys, every version of every key, store keys, data keys, private keys; unsealed here, by the test
    forms     as it is, hexadecimal, base64, base64url
    searched  every byte below the region's directories (state, logs, audit, data, backups) and in its tmpfs, all
              command lines seen while it ran, the environments of its processes, what the command line and refused
              requests answered

By design some secrets lie in one place, and only there: `ALLOWED`.
"""

import base64
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from keystead.core.clock import SystemClock
from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding
from keystead.databases.hierarchy import StoreKey

if TYPE_CHECKING:
    from tests.faults.region import Region

PURPOSES = ("vault-store", "token-signing", "authority", "state-backup", "audit", "data-keys", "sign-in")
ALLOWED = (
    r"{base}/root\.key",  # the key file
    r"{base}/credentials\.json",  # asked for with --credentials-file
    r"{base}/cli/.*",  # profiles of the command line hold its tokens
    r"{state}/host/machine\.key",  # the machine's own key, mode 0400
    r"{memory}/[a-z0-9]+/run/tls\.key",  # MariaDB reads it from tmpfs, as the system's uid
)
_PEM_LINE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+(\S{40,})")
MIN_LENGTH = 8


def check(region: "Region") -> None:
    """Raises: AssertionError, naming secret and place, never the secret."""
    learn_keys(region)
    found = [*in_files(region), *in_processes(region), *in_words(region)]
    assert not found, "secrets were left: " + "; ".join(f"{what} in {where}" for what, where in found)


def learn_keys(region: "Region") -> None:
    """Open what only the root key opens, so that it can be looked for."""
    from keystead.adapters.sql.freshness import SqliteFreshness
    from keystead.iam.directory import Directory
    from keystead.server import settings
    from keystead.server.authority import KINDS, load
    from keystead.server.keystores import keystores
    from keystead.server.sealing.unseal import open_root
    from keystead.vault.memory.keyring import Keyring
    from keystead.vault.memory.snapshot import Snapshot
    from keystead.vault.ports import Stored

    effective = settings.load(None, region.state, {})
    root = open_root(effective)
    region.learn("the root key", root._reveal())
    for purpose in PURPOSES:
        region.learn(f"subkey {purpose}", root.subkey(purpose).reveal())  # type: ignore[arg-type]
    for kind in KINDS:
        region.learn(kind.key, _pem_line(load(region.state, root, kind).reveal_key().reveal()))
    region.learn("machine's key", _pem_line((region.state / "host" / "machine.key").read_bytes()))
    for path in region.memory.glob("*/run/tls.key"):
        region.learn(f"TLS key of {path.parts[-3][:6]}", _pem_line(path.read_bytes()))
    directory = Directory()
    keyring = Keyring(root.subkey("vault-store"), directory, "home")
    for keystore in keystores(effective, keyring.software):
        keyring.join(keystore)
    Snapshot(directory, keyring, SqliteFreshness(region.state / "state.db")).refresh()
    for entry in keyring.entries():
        if entry.key.protection != "software":
            continue  # it never was on this machine
        for number, version in entry.versions.items():
            material = keyring.software.reveal(keyring.spec(entry.key, number), Stored(version.wrapped))
            region.learn(f"key {entry.key.name} version {number}", material.reveal())
    _learn_hierarchies(region, keyring)


def _learn_hierarchies(region: "Region", keyring: "object") -> None:
    from keystead.adapters.sql.engine import sqlite_engine
    from keystead.adapters.sql.store import SqlStore
    from keystead.crypto.envelope import peek

    engine = sqlite_engine(region.state / "state.db")
    try:
        with SqlStore(engine, SystemClock()).read() as tx:
            for system in tx.databases.all_systems():
                rows = tx.databases.wrapped(system.tenancy, system.id)
                for row in rows:
                    if row.kind != "store":
                        continue
                    entry = keyring.get(row.parent)  # type: ignore[attr-defined]
                    if entry.key.protection == "hsm":
                        continue  # SoftHSM2 has one place for its tokens per process, and in this one it is another
                    kek = keyring.material(entry, peek(row.blob).key_version)  # type: ignore[attr-defined]
                    binding = Binding("store-key", system.tenancy, "home", system.id, row.parent)
                    material = kek.open(row.blob, binding)
                    region.learn(f"store key of {system.name}", material)
                    store_key = StoreKey(Secret(material), system.tenancy, "home", system.id)
                    for data in rows:
                        if data.kind == "data":
                            what = f"data key {data.slot}/{data.number} of {system.name}"
                            region.learn(what, store_key.open(data).reveal())
    finally:
        engine.dispose()


def forms(secret: bytes) -> set[bytes]:
    """How it may have been written."""
    if len(secret) < MIN_LENGTH:
        raise ValueError("too short to be looked for")
    encoded = {base64.b64encode(secret), base64.urlsafe_b64encode(secret)}
    return {secret, secret.hex().encode(), secret.hex().upper().encode(), *(text.rstrip(b"=") for text in encoded)}


def in_files(region: "Region") -> Iterator[tuple[str, str]]:
    """What lies on disk or in tmpfs."""
    places = [str(place) for place in _places(region)]
    by_form = {form: what for what, secret in region.secrets.items() for form in forms(secret)}
    lines = [form for form in by_form if form.isascii() and form.decode().isprintable()]
    with tempfile.NamedTemporaryFile(prefix="patterns-") as patterns:  # outside the places that are searched
        patterns.write(b"\n".join(lines) + b"\n")
        patterns.flush()
        done = subprocess.run(
            ["grep", "-rlaF", "--devices=skip", "-f", patterns.name, *places],
            capture_output=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    assert done.returncode in (0, 1, 2), done.stderr
    for name in done.stdout.decode().splitlines():
        if not _allowed(region, name):
            content = Path(name).read_bytes()
            yield from {(what, name) for form, what in by_form.items() if form in content}
    raw = {form: what for form, what in by_form.items() if form not in lines}
    for path in _papers(region):
        content = path.read_bytes()
        yield from ((what, str(path)) for form, what in raw.items() if form in content)


def in_processes(region: "Region") -> Iterator[tuple[str, str]]:
    """Command lines that were seen, and environments as they are."""
    for words in region.words_seen():
        yield from ((what, "a command line") for what in _secrets_in(region, words))
    for found in region.ours():
        try:
            environment = Path(f"/proc/{found.pid}/environ").read_bytes()
        except OSError:
            continue
        if found.name in ("mariadbd", "mariadb-backup"):
            # The plugin's token, which opens only this system's keys and only while this process lives.
            environment = b"\0".join(word for word in environment.split(b"\0") if not word.startswith(b"VAULT_TOKEN="))
        yield from ((what, f"the environment of {found.name}") for what in _secrets_in(region, environment))


def in_words(region: "Region") -> Iterator[tuple[str, str]]:
    """What was printed, and what refused requests answered."""
    for words in region.spoken:
        yield from ((what, "an answer") for what in _secrets_in(region, words))


def _secrets_in(region: "Region", content: bytes) -> list[str]:
    return [what for what, secret in region.secrets.items() if any(form in content for form in forms(secret))]


def _papers(region: "Region") -> Iterator[Path]:
    """Files that could hold raw bytes of a key: all but MariaDB's large ones, which are random or zero throughout."""
    for place in _places(region):
        for directory, _, names in os.walk(place):
            for name in names:
                path = Path(directory) / name
                if path.is_file() and not path.is_symlink() and not _allowed(region, str(path)):
                    yield path


def _places(region: "Region") -> list[Path]:
    return [place for place in {region.base, region.data, region.backups, region.memory} if place.exists()]


def _allowed(region: "Region", name: str) -> bool:
    places = {"base": region.base, "state": region.state, "memory": region.memory}
    escaped = {key: re.escape(str(place)) for key, place in places.items()}
    return any(re.fullmatch(pattern.format(**escaped), name) for pattern in ALLOWED)


def _pem_line(pem: bytes) -> bytes:
    """A line of a private key's own bytes: not the header that all keys of a kind share."""
    found = _PEM_LINE.search(pem)
    assert found, "not a private key"
    return found[1][-32:]
