"""Keys of every algorithm do what they can, refuse what they cannot, and survive rotation, restart and swapped rows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.domain import DomainRegion, make_region
from tests.refusals import refused

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.crypto import asymmetric
from keystead.crypto.asymmetric import PublicKey
from keystead.crypto.public import from_pem
from keystead.crypto.suites import ALGORITHMS, CURRENT, SCHEMES, Algorithm
from keystead.vault.use.batch import MAX_ITEMS
from keystead.vault.use.operations import MAX_PLAINTEXT, MAX_RANDOM

SEALING = [name for name in ALGORITHMS if CURRENT[name].envelope]
SIGNING = [name for name in ALGORITHMS if CURRENT[name].schemes]
_MADE: dict[Algorithm, Secret] = {}


@pytest.fixture(autouse=True)
def quick_rsa(monkeypatch: pytest.MonkeyPatch) -> None:
    """RSA keys take seconds to make: each size is made once for all tests."""
    made = asymmetric.generate

    def generate(suite: object) -> Secret:
        if suite.family != "rsa":  # type: ignore[attr-defined]
            return made(suite)  # type: ignore[arg-type]
        name = suite.name  # type: ignore[attr-defined]
        if name not in _MADE:
            _MADE[name] = made(suite)  # type: ignore[arg-type]
        return Secret(_MADE[name].reveal())

    monkeypatch.setattr(asymmetric, "generate", generate)


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    return make_region(tmp_path)


@pytest.fixture
def new(region: DomainRegion) -> Callable[[Algorithm], str]:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id

    def create(algorithm: Algorithm) -> str:
        key = region.vaults.create_key(region.admin, region.tenancy, vault, f"key-of-{algorithm}", algorithm).id
        region.snapshot.refresh()
        return key

    return create


def test_rewrapping_moves_to_another_key_what_both_policies_let_go(
    region: DomainRegion, new: Callable[[Algorithm], str]
) -> None:
    source, target, admin = new("AES-256"), new("RSA-2048"), region.admin
    wrapped, sealed = (
        region.vaults.wrap(admin, source, b"k" * 32, b"ctx"),
        region.vaults.encrypt(admin, source, b"words"),
    )
    moved = region.vaults.rewrap(admin, source, wrapped.blob, b"ctx", target)
    assert region.vaults.unwrap(admin, target, moved.blob, b"ctx") == b"k" * 32
    again = region.vaults.rewrap(admin, source, sealed.blob, into=target)
    assert region.vaults.decrypt(admin, target, again.blob) == b"words", "its use stays what it was"
    assert refused(lambda: region.vaults.unwrap(admin, source, moved.blob, b"ctx")).code == "Unreadable"
    many = region.vaults.rewrap_batch(admin, source, [(wrapped.blob, b"ctx"), (b"x", b"")], into=target)
    assert region.vaults.unwrap(admin, target, many.results[0], b"ctx") == b"k" * 32 and many.failed == 1  # type: ignore[arg-type]
    seen = [(entry.action, entry.resource_id) for entry in region.entries() if entry.operation == "Rewrap"]
    assert seen[-2:] == [("KEY_DECRYPT", source), ("KEY_ENCRYPT", target)]


@pytest.mark.parametrize(("verb", "lacking"), [("KEY_DECRYPT", "KEY_ENCRYPT"), ("KEY_ENCRYPT", "KEY_DECRYPT")])
def test_rewrapping_to_another_key_needs_both_rights(
    region: DomainRegion, new: Callable[[Algorithm], str], verb: str, lacking: str
) -> None:
    source, target, admin = new("AES-256"), new("AES-192"), region.admin
    blob = region.vaults.wrap(admin, source, b"k" * 32).blob
    on = {"KEY_DECRYPT": source, "KEY_ENCRYPT": target}
    person = region.user("mover", "movers")

    def grant(permission: str) -> None:
        statement = (
            f"Allow group movers to {{KEY_READ, {permission}}} in tenancy where target.key.id = '{on[permission]}'"
        )
        region.iam.create_policy(admin, region.tenancy, f"may-{permission}", [statement])
        region.snapshot.refresh()

    seeing = "Allow group movers to inspect keys in tenancy"
    region.iam.create_policy(admin, region.tenancy, "sees", [seeing])
    grant(verb)
    refusal = refused(lambda: region.vaults.rewrap(person, source, blob, into=target))
    assert refusal.code == "NotAuthorized" and lacking in refusal.message
    grant(lacking)
    assert region.vaults.rewrap(person, source, blob, into=target)
    region.vaults.disable(admin, target)
    assert refused(lambda: region.vaults.rewrap(person, source, blob, into=target)).code == "KeyNotUsable"
    region.vaults.enable(admin, target)
    region.vaults.disable(admin, source)
    assert refused(lambda: region.vaults.rewrap(person, source, blob, into=target)).code == "KeyNotUsable"


@pytest.mark.parametrize("algorithm", SEALING)
def test_what_seals_opens_after_rotation_and_in_another_process(
    region: DomainRegion, new: Callable[[Algorithm], str], algorithm: Algorithm
) -> None:
    key, admin = new(algorithm), region.admin
    sealed = region.vaults.encrypt(admin, key, b"words", b"context")
    wrapped = region.vaults.wrap(admin, key, b"k" * 32)
    region.vaults.rotate(admin, key)
    other = region.again()
    assert other.vaults.decrypt(admin, key, sealed.blob, b"context") == b"words"
    assert other.vaults.unwrap(admin, key, wrapped.blob) == b"k" * 32
    again = other.vaults.rewrap(admin, key, wrapped.blob)
    assert again.key_version == 2
    assert other.vaults.unwrap(admin, key, again.blob) == b"k" * 32
    assert bool(other.vaults.waits(key)) == CURRENT[algorithm].slow
    assert bool(other.vaults.waits(key, 100)) == (algorithm not in ("AES-128", "AES-192", "AES-256"))
    assert other.vaults.waits(key, 1000)
    for run in (other.vaults.unwrap, other.vaults.decrypt, other.vaults.rewrap):
        assert refused(lambda run=run: run(admin, key, sealed.blob, b"other")).code == "Unreadable"
    made = other.vaults.generate_data_key(admin, key, length=64)
    assert other.vaults.unwrap(admin, key, made.blob) == made.plaintext
    assert len(made.plaintext or b"") == 64


@pytest.mark.parametrize("algorithm", SIGNING)
def test_every_scheme_signs_and_verifies(
    region: DomainRegion, new: Callable[[Algorithm], str], algorithm: Algorithm
) -> None:
    key, admin, vaults = new(algorithm), region.admin, region.vaults
    half = vaults.public_key(admin, key)
    outside = PublicKey(CURRENT[algorithm], from_pem(half.pem))
    assert half.schemes == CURRENT[algorithm].schemes
    for scheme in ("", *half.schemes):
        made = vaults.sign(admin, key, b"message", scheme)
        assert made.scheme == (scheme or half.schemes[0])
        assert outside.verify(b"message", made.signature, made.scheme)
        assert vaults.verify(admin, key, b"message", made.signature, made.scheme)
        assert not vaults.verify(admin, key, b"massage", made.signature, made.scheme)
        assert not vaults.verify(admin, key, b"message", made.signature[:-1], made.scheme)
    wrong = next(scheme for scheme in SCHEMES if scheme not in half.schemes)
    assert refused(lambda: vaults.sign(admin, key, b"m", wrong)).code == "InvalidParameter"
    assert refused(lambda: vaults.verify(admin, key, b"m", b"s", wrong)).recorded


def test_older_versions_verify_what_they_signed(region: DomainRegion, new: Callable[[Algorithm], str]) -> None:
    key, admin, vaults = new("ED25519"), region.admin, region.vaults
    old = vaults.sign(admin, key, b"message")
    vaults.rotate(admin, key)
    assert not vaults.verify(admin, key, b"message", old.signature)
    assert vaults.verify(admin, key, b"message", old.signature, key_version=old.key_version)
    assert vaults.sign(admin, key, b"message").key_version == 2
    assert vaults.public_key(admin, key, 1).pem != vaults.public_key(admin, key).pem
    assert refused(lambda: vaults.verify(admin, key, b"m", b"s", key_version=9)).code == "NotFound"
    assert refused(lambda: vaults.public_key(admin, key, 9)).code == "NotFound"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_an_algorithm_cannot_is_refused_and_recorded(
    region: DomainRegion, new: Callable[[Algorithm], str], algorithm: Algorithm
) -> None:
    key, admin, vaults = new(algorithm), region.admin, region.vaults
    acts: dict[str, Callable[[], object]] = {
        "encrypt": lambda: vaults.encrypt(admin, key, b"x"),
        "decrypt": lambda: vaults.decrypt(admin, key, b"x"),
        "wrap": lambda: vaults.wrap(admin, key, b"x"),
        "unwrap": lambda: vaults.unwrap(admin, key, b"x"),
        "sign": lambda: vaults.sign(admin, key, b"x"),
        "verify": lambda: vaults.verify(admin, key, b"x", b"y"),
    }
    for operation, run in acts.items():
        if operation not in CURRENT[algorithm].operations:
            refusal = refused(run)
            assert (refusal.code, refusal.kind, refusal.recorded) == ("WrongOperation", "conflict", True)
            assert algorithm in refusal.message
    if not CURRENT[algorithm].asymmetric:
        assert refused(lambda: vaults.public_key(admin, key)).code == "WrongOperation"


def test_digests_where_the_algorithm_takes_them(region: DomainRegion, new: Callable[[Algorithm], str]) -> None:
    import hashlib

    admin, vaults = region.admin, region.vaults
    for algorithm in ("RSA-2048", "EC-P256", "EC-P521"):
        key = new(algorithm)  # type: ignore[arg-type]
        for scheme in CURRENT[algorithm].schemes:  # type: ignore[index]
            digest = hashlib.new(scheme.rpartition("-")[2].lower(), b"message").digest()
            made = vaults.sign(admin, key, digest, scheme, digest=True)
            assert vaults.verify(admin, key, b"message", made.signature, scheme)
            assert vaults.verify(admin, key, digest, made.signature, scheme, digest=True)
            refusal = refused(lambda key=key, scheme=scheme: vaults.sign(admin, key, b"short", scheme, digest=True))
            assert refusal.code == "InvalidParameter"
    for algorithm in ("ED25519", "ML-DSA-65"):
        key = new(algorithm)  # type: ignore[arg-type]
        assert refused(lambda key=key: vaults.sign(admin, key, bytes(64), digest=True)).code == "InvalidParameter"


def test_limits(region: DomainRegion, new: Callable[[Algorithm], str]) -> None:
    key, admin, vaults = new("ED25519"), region.admin, region.vaults
    vaults.sign(admin, key, bytes(MAX_PLAINTEXT))
    for run in (
        lambda: vaults.sign(admin, key, bytes(MAX_PLAINTEXT + 1)),
        lambda: vaults.verify(admin, key, bytes(MAX_PLAINTEXT + 1), b"s"),
    ):
        assert refused(run).code == "TooLarge"
    aes = new("AES-256")
    assert refused(lambda: vaults.generate_data_key(admin, aes, length=33)).code == "InvalidParameter"


def test_random_bytes(region: DomainRegion) -> None:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    made = {region.vaults.random_bytes(region.admin, vault, 32) for _ in range(20)}
    assert len(made) == 20
    assert len(region.vaults.random_bytes(region.admin, vault, MAX_RANDOM)) == MAX_RANDOM
    for wrong in (0, -1, MAX_RANDOM + 1):
        assert refused(lambda wrong=wrong: region.vaults.random_bytes(region.admin, vault, wrong)).recorded
    stranger = region.user("stranger")
    assert refused(lambda: region.vaults.random_bytes(stranger, vault, 32)).code == "NotFound"


def test_signing_and_verifying_are_permitted_apart(region: DomainRegion, new: Callable[[Algorithm], str]) -> None:
    key = new("EC-P256")
    signer, verifier = region.user("signer", "Signers"), region.user("verifier", "Verifiers")
    region.allow("Allow group Signers to {KEY_SIGN} in tenancy", "Allow group Verifiers to {KEY_VERIFY} in tenancy")
    region.snapshot.refresh()
    made = region.vaults.sign(signer, key, b"m")
    assert region.vaults.verify(verifier, key, b"m", made.signature)
    refused(lambda: region.vaults.sign(verifier, key, b"m"))
    refused(lambda: region.vaults.verify(signer, key, b"m", made.signature))
    refused(lambda: region.vaults.public_key(signer, key))
    recorded = [entry for entry in region.journal.entries if entry.operation in ("Sign", "Verify")]
    assert [(entry.action, entry.outcome) for entry in recorded] == [
        ("KEY_SIGN", "allowed"), ("KEY_VERIFY", "allowed"), ("KEY_SIGN", "refused"), ("KEY_VERIFY", "refused")
    ]  # fmt: skip
    assert recorded[0].detail == {"scheme": "ECDSA-SHA256", "key_version": "1"}
    assert recorded[1].detail["valid"] == "true"


def test_a_key_may_be_for_less_than_its_algorithm_can(region: DomainRegion, new: Callable[[Algorithm], str]) -> None:
    key, admin, vaults = new("RSA-2048"), region.admin, region.vaults
    entry = region.snapshot.keyring.get(key)
    assert entry is not None
    narrowed = replace(entry.key, operations=("sign", "verify"), version=2)
    with region.store.write(region.guard.entry(admin, "KEY_UPDATE", entry.target, "UpdateKey", "allowed")) as tx:
        assert tx.vault.change_key(entry.key, narrowed)
    assert vaults.sign(admin, key, b"m").signature
    for run in (lambda: vaults.wrap(admin, key, b"x"), lambda: vaults.unwrap(admin, key, b"x")):
        refusal = refused(run)
        assert (refusal.code, refusal.recorded) == ("OperationNotPermitted", True)


def test_a_version_that_is_shut_neither_opens_nor_verifies(
    region: DomainRegion, new: Callable[[Algorithm], str]
) -> None:
    key, admin, vaults = new("AES-256"), region.admin, region.vaults
    old = vaults.wrap(admin, key, b"k" * 32)
    vaults.rotate(admin, key)
    region.snapshot.refresh()
    entry = region.snapshot.keyring.get(key)
    assert entry is not None
    raised = replace(entry.key, minimum_version=2, version=entry.key.version + 1)
    with region.store.write(region.guard.entry(admin, "KEY_UPDATE", entry.target, "UpdateKey", "allowed")) as tx:
        assert tx.vault.change_key(entry.key, raised)
    for run in (vaults.unwrap, vaults.rewrap):
        refusal = refused(lambda run=run: run(admin, key, old.blob))
        assert (refusal.code, refusal.recorded) == ("KeyNotUsable", True)
        assert "version 1" in refusal.message
        assert "minimum version 2" in refusal.message
    done = vaults.unwrap_batch(admin, key, [(old.blob, b""), (vaults.wrap(admin, key, b"n").blob, b"")])
    assert isinstance(done.results[0], Refusal)
    assert done.results[0].code == "KeyNotUsable"
    assert done.results[1] == b"n"


# batches


def test_a_batch_answers_item_by_item_and_is_recorded_once(
    region: DomainRegion, new: Callable[[Algorithm], str]
) -> None:
    key, admin, vaults = new("AES-256"), region.admin, region.vaults
    sealed = vaults.wrap_batch(admin, key, [(b"k%d" % n, b"ad" if n % 2 else b"") for n in range(10)])
    assert sealed.failed == 0
    items = [(blob, b"ad" if n % 2 else b"") for n, blob in enumerate(sealed.results)]  # type: ignore[misc]
    items[3] = (items[3][0], b"wrong")
    items[7] = (b"nonsense", b"")
    before = len(region.journal.entries)
    done = vaults.unwrap_batch(admin, key, items)  # type: ignore[arg-type]
    assert [each for each in done.results if not isinstance(each, Refusal)] == [
        b"k%d" % n for n in range(10) if n not in (3, 7)
    ]
    assert done.failed == 2
    for place in (3, 7):
        failed = done.results[place]
        assert isinstance(failed, Refusal)
        assert failed.code == "Unreadable"
    (entry,) = region.journal.entries[before:]
    assert (entry.operation, entry.action, entry.outcome) == ("UnwrapBatch", "KEY_DECRYPT", "allowed")
    assert entry.detail == {"items": "10", "failed": "2", "failed_items": "3,7"}


def test_an_atomic_batch_is_all_or_nothing(region: DomainRegion, new: Callable[[Algorithm], str]) -> None:
    key, admin, vaults = new("AES-128"), region.admin, region.vaults
    blob = vaults.encrypt(admin, key, b"words").blob
    assert vaults.decrypt_batch(admin, key, [(blob, b"")] * 3, atomic=True).results == [b"words"] * 3
    refusal = refused(lambda: vaults.decrypt_batch(admin, key, [(blob, b""), (blob, b"x")], atomic=True))
    assert (refusal.code, refusal.recorded) == ("BatchRefused", True)
    assert "item 1" in refusal.message
    assert region.journal.entries[-1].outcome == "refused"


def test_every_act_in_batches(region: DomainRegion, new: Callable[[Algorithm], str]) -> None:
    admin, vaults = region.admin, region.vaults
    aes, curve = new("AES-256"), new("EC-P384")
    sealed = vaults.encrypt_batch(admin, aes, [(b"a", b""), (bytes(MAX_PLAINTEXT + 1), b""), (b"c", b"")])
    assert sealed.failed == 1
    blobs = [(each, b"") for each in sealed.results if isinstance(each, bytes)]
    vaults.rotate(admin, aes)
    moved = vaults.rewrap_batch(admin, aes, [*blobs, (b"x", b"")])
    assert (moved.failed, moved.key_version) == (1, 2)
    again = [(each, b"") for each in moved.results if isinstance(each, bytes)]
    assert vaults.decrypt_batch(admin, aes, again).results == [b"a", b"c"]
    signed = vaults.sign_batch(admin, curve, [b"a", b"b"])
    pairs = [(b"a", signed.results[0]), (b"a", signed.results[1])]
    assert vaults.verify_batch(admin, curve, pairs).results == [True, False]  # type: ignore[arg-type]
    assert refused(lambda: vaults.sign_batch(admin, aes, [b"a"])).code == "WrongOperation"
    for wrong in (0, MAX_ITEMS + 1):
        assert refused(lambda wrong=wrong: vaults.wrap_batch(admin, aes, [(b"", b"")] * wrong)).code == (
            "InvalidParameter"
        )


def test_a_batch_asks_for_what_its_acts_ask_for(region: DomainRegion, new: Callable[[Algorithm], str]) -> None:
    key = new("AES-256")
    writer = region.user("writer", "Writers")
    region.allow("Allow group Writers to {KEY_ENCRYPT} in tenancy")
    region.snapshot.refresh()
    made = region.vaults.wrap_batch(writer, key, [(b"k", b"")]).results[0]
    for run in (region.vaults.unwrap_batch, region.vaults.rewrap_batch, region.vaults.decrypt_batch):
        refused(lambda run=run: run(writer, key, [(made, b"")]))
    region.vaults.disable(region.admin, key)
    for act in (region.vaults.wrap_batch, region.vaults.unwrap_batch, region.vaults.rewrap_batch):
        assert refused(lambda act=act: act(region.admin, key, [(made, b"")])).code == "KeyNotUsable"
