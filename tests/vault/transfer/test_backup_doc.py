"""docs/formats/key-backup.md and docs/importing.md say what the code does."""

import base64
import json
from pathlib import Path

from keystead.cli import material
from keystead.core.secret import Secret
from keystead.crypto import kdf, portable, transport
from keystead.crypto.stream import Reader, decrypt_stream, read_header
from keystead.vault.transfer import backup_format, wrapping
from keystead.vault.transfer.backups import KeyBackups

ROOT = Path(__file__).parents[3]
FORMAT = (ROOT / "docs" / "formats" / "key-backup.md").read_text()
IMPORTING = (ROOT / "docs" / "importing.md").read_text()
VECTOR = json.loads((ROOT / "tests" / "vectors" / "key-backup-v1.json").read_text())


def test_every_member_is_named() -> None:
    blob = base64.b64decode(VECTOR["blob"])
    key = kdf.subkey(bytes.fromhex(VECTOR["key_backup_subkey"]), "tenancy", VECTOR["tenancy"].encode())
    source = Reader((blob,))
    header = read_header(source)
    content = json.loads(b"".join(decrypt_stream(Secret(key).reveal(), source, header)))
    names = {*header.fields, *content, *content["keys"][0], *content["keys"][0]["versions"][0]}
    drawn = set(
        FORMAT.replace(",", " ").replace("{", " ").replace("[", " ").replace("}", " ").replace("]", " ").split()
    )
    assert names <= drawn, names - drawn


def test_the_root_leads_to_the_stream_s_key_as_it_says() -> None:
    store = kdf.subkey(bytes.fromhex(VECTOR["root_key"]), "vault-store")
    assert kdf.subkey(store, "key-backup").hex() == VECTOR["key_backup_subkey"]
    assert 'subkey(subkey(subkey(root, "vault-store"), "key-backup"), "tenancy", context=tenancy id)' in FORMAT


def test_figures_and_words() -> None:
    assert f"at most {backup_format.MAX_BLOB // 1024} KiB" in FORMAT
    assert material.VAULT_MAGIC == b"KSVB\x01" and '"KSVB" | format 1' in FORMAT
    for method in ("back_up_key", "back_up_vault", "restore_key", "restore_vault"):
        assert hasattr(KeyBackups, method)
    assert f"after {wrapping.DEFAULT_HOURS} hours (`--hours`: 1 to {wrapping.MAX_HOURS})" in IMPORTING
    assert f"after {wrapping.MAX_ATTEMPTS} attempts" in IMPORTING
    assert f"at most {wrapping.MAX_OPEN} open ones" in IMPORTING
    for name in (*transport.WAYS, *portable.FORMS):
        assert f"`{name}`" in IMPORTING
