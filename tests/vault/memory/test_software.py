"""What the software keystore keeps opens for what it was made for alone; old references open for ever."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keystead.core.errors import Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding, Kek
from keystead.crypto.suites import ALGORITHMS, CURRENT, Algorithm
from keystead.vault.memory.software import SoftwareKeystore
from keystead.vault.ports import KeySpec, Stored

ROOT = Path(__file__).parents[3]
VECTORS: list[dict[str, Any]] = json.loads((ROOT / "tests" / "vectors" / "key-material-v1.json").read_text())
SEALING = Kek(bytes(range(32)), "vault-store", 1)
BINDING = Binding("customer-key", "tenancy-a", "home", "", "key-1")


def keystore(sealing: Kek = SEALING, region: str = "home") -> SoftwareKeystore:
    return SoftwareKeystore(lambda _vault: sealing, Secret(bytes(reversed(range(32)))), region)


def spec(algorithm: Algorithm) -> KeySpec:
    return KeySpec("tenancy-a", "vault-1", "key-1", 3, algorithm)


def kept(name: str) -> Stored:
    found = next(vector for vector in VECTORS if vector["algorithm"] == name)
    return Stored(*(bytes.fromhex(found[field]) for field in ("reference", "public", "fingerprint")))


def material(name: str) -> Secret:
    return Secret(bytes.fromhex(next(vector["material"] for vector in VECTORS if vector["algorithm"] == name)))


def test_there_is_a_vector_for_every_algorithm() -> None:
    assert {vector["algorithm"]: vector["number"] for vector in VECTORS} == {
        name: CURRENT[name].number for name in ALGORITHMS
    }


@pytest.mark.parametrize("name", ALGORITHMS)
def test_golden_references_open_for_ever(name: Algorithm) -> None:
    stored, suite = kept(name), CURRENT[name]
    assert keystore().reveal(spec(name), stored) == material(name)
    used = keystore().use(spec(name), stored)
    if suite.envelope:
        assert used.open(used.seal(b"k" * 32, BINDING), BINDING) == b"k" * 32
    if suite.schemes:
        assert used.verify(b"m", used.sign(b"m"))
    again = keystore().add(spec(name), material(name))
    assert (again.public, again.fingerprint) == (stored.public, stored.fingerprint)
    assert again.reference != stored.reference


def test_references_from_before_the_header_are_aes_256() -> None:
    binding = Binding("key-material", "tenancy-a", "home", "key-1/3", "vault-store")
    bare = Stored(SEALING.seal(bytes(32), binding))
    assert keystore().reveal(spec("AES-256"), bare) == Secret(bytes(32))
    with pytest.raises(Unreadable):
        keystore().use(spec("ED25519"), bare)


@pytest.mark.parametrize("name", ["AES-256", "ED25519", "RSA-2048"])
def test_any_flipped_bit_or_cut_fails(name: Algorithm) -> None:
    stored = kept(name)
    for bit in range(0, len(stored.reference) * 8, 1 if name == "AES-256" else 29):
        flipped = bytearray(stored.reference)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Unreadable):
            keystore().use(spec(name), Stored(bytes(flipped)))
    for length in range(0, len(stored.reference), 13):
        with pytest.raises(Unreadable):
            keystore().use(spec(name), Stored(stored.reference[:length]))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_reference_moved_elsewhere_does_not_open(name: Algorithm) -> None:
    stored, here = kept(name), spec(name)
    elsewhere = [replace(here, tenancy="tenancy-b"), replace(here, key="key-2"), replace(here, number=4)]
    elsewhere += [replace(here, algorithm=other) for other in ALGORITHMS if other != name]
    for moved in elsewhere:
        with pytest.raises(Unreadable):
            keystore().use(moved, stored)
    for other in (
        keystore(region="away"),
        keystore(Kek(bytes(32), "vault-store", 1)),
        keystore(Kek(bytes(32), "v", 1)),
    ):
        with pytest.raises(Unreadable):
            other.use(here, stored)


def test_seeds_of_one_algorithm_do_not_become_another() -> None:
    """All three are 32 bytes: an edited number must not turn an encryption key into a signing key."""
    stored = kept("AES-256")
    for name in ("ED25519", "ML-DSA-65", "HPKE-X25519-MLKEM768"):
        number = CURRENT[name].number.to_bytes(2, "big")  # type: ignore[index]
        edited = stored.reference[:4] + number + stored.reference[6:]
        with pytest.raises(Unreadable):
            keystore().use(spec(name), Stored(edited))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "wrong"), [("AES-128", 32), ("AES-256", 31), ("RSA-2048", 32), ("EC-P256", 32)])
def test_what_is_no_such_key_is_not_taken_in(name: Algorithm, wrong: int) -> None:
    with pytest.raises(Refusal) as caught:
        keystore().add(spec(name), Secret(bytes(wrong)))
    assert caught.value.code == "InvalidKey"


def test_fingerprints_tell_materials_and_algorithms_apart() -> None:
    seen = {
        keystore().add(spec(name), Secret(bytes(size))).fingerprint
        for name, size in (("AES-128", 16), ("AES-192", 24), ("AES-256", 32), ("ED25519", 32), ("ML-DSA-65", 32))  # type: ignore[arg-type]
    }
    assert len(seen) == 5
    other = SoftwareKeystore(lambda _vault: SEALING, Secret(bytes(32)), "home")
    assert other.add(spec("AES-128"), Secret(bytes(16))).fingerprint not in seen


def test_the_page_names_every_algorithm() -> None:
    page = (ROOT / "docs" / "formats" / "key-material.md").read_text()
    for name, suite in CURRENT.items():
        assert f"| {suite.number} | {name} |" in page
