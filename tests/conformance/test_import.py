"""Bring your own key into a token: it is there, does not leave it again, and a refusal leaves nothing behind."""

import secrets
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.domain import DomainRegion, make_region

from keystead.adapters.keystores.pkcs11 import TokenKeystore
from keystead.adapters.keystores.token import Token
from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.crypto import asymmetric, checkvalue, transport
from keystead.crypto.suites import suite_of
from keystead.vault.transfer.importing import Wrapped
from keystead.vault.transfer.wrapping import WrappingKey


@pytest.fixture
def region(tmp_path: Path, token: Token) -> DomainRegion:
    made = make_region(tmp_path)
    keyring = made.snapshot.keyring
    keyring._keystores["hsm"] = TokenKeystore(token, keyring.software.fingerprint)
    return made


@pytest.fixture
def vault(region: DomainRegion) -> str:
    return region.vaults.create_vault(region.admin, region.tenancy, "v", "hsm").id


def wrapped(key: WrappingKey, raw: bytes) -> Wrapped:
    return Wrapped(key.id, transport.wrap(key.way, key.public, Secret(raw)))


def objects(token: Token, key: str) -> list[Any]:
    from pkcs11 import Attribute

    def work(opened: Any) -> list[Any]:
        return [
            (found[Attribute.LABEL], found.object_class)
            for found in opened.session.get_objects()
            if key in (found[Attribute.LABEL] or "")
        ]

    return token.run(work)


@pytest.mark.parametrize("algorithm", ["AES-256", "RSA-2048", "EC-P256"])
def test_material_goes_into_the_token(region: DomainRegion, vault: str, token: Token, algorithm: Any) -> None:
    suite = suite_of(algorithm)
    raw = asymmetric.generate(suite).reveal() if suite.asymmetric else secrets.token_bytes(32)
    wrapping = region.vaults.create_wrapping_key(region.admin, vault, algorithm)
    made = region.vaults.import_key(region.admin, region.tenancy, vault, "mine", wrapped(wrapping, raw))
    region.snapshot.refresh()
    assert (made.key.protection, made.version.origin) == ("hsm", "imported")
    assert made.check_value == checkvalue.of_material(suite, Secret(raw))
    assert raw not in made.version.wrapped
    assert objects(token, made.key.id)
    if "wrap" in suite.operations:
        blob = region.vaults.wrap(region.admin, made.key.id, b"k" * 32).blob
        assert region.vaults.unwrap(region.admin, made.key.id, blob) == b"k" * 32
    with pytest.raises(Refusal, match="no material here"):
        region.vaults.back_up_key(region.admin, made.key.id)


def test_a_version_goes_there_too_and_destroyed_material_does_not(
    region: DomainRegion, vault: str, token: Token
) -> None:
    raw = secrets.token_bytes(32)
    wrapping = region.vaults.create_wrapping_key(region.admin, vault, "AES-256")
    made = region.vaults.import_key(region.admin, region.tenancy, vault, "mine", wrapped(wrapping, raw))
    region.snapshot.refresh()
    another = region.vaults.create_version_wrapping_key(region.admin, made.key.id)
    version = region.vaults.import_version(region.admin, made.key.id, wrapped(another, secrets.token_bytes(32)))
    assert version.key.current == 2
    assert len(objects(token, made.key.id)) == 2
    region.vaults.delete(region.admin, made.key.id)
    region.vaults.purge(region.admin, made.key.id)
    third = region.vaults.create_wrapping_key(region.admin, vault, "AES-256")
    with pytest.raises(Refusal) as caught:
        region.vaults.import_key(region.admin, region.tenancy, vault, "back", wrapped(third, raw))
    assert caught.value.code == "MaterialDestroyed"


def test_what_is_refused_after_all_leaves_nothing_in_the_token(
    region: DomainRegion, vault: str, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    added: list[str] = []
    keystore: Any = region.snapshot.keyring.keystore("hsm")
    add = keystore.add

    def seen(spec: Any, material: Secret) -> Any:
        added.append(spec.key)
        return add(spec, material)

    monkeypatch.setattr(keystore, "add", seen)
    region.vaults.create_key(region.admin, region.tenancy, vault, "taken")
    wrapping = region.vaults.create_wrapping_key(region.admin, vault, "AES-256")
    with pytest.raises(Refusal, match="already a key named"):
        region.vaults.import_key(
            region.admin, region.tenancy, vault, "taken", wrapped(wrapping, secrets.token_bytes(32))
        )
    assert len(added) == 1
    assert objects(token, added[0]) == []
