"""Every kind of slot: it opens the root, it is bound to what it is, and the golden file opens for ever."""

import copy
import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fakes.wrapper import FakeWrapper

from keystead.core import canonical
from keystead.core.errors import Refusal, Unavailable, Unreadable
from keystead.core.secret import Secret
from keystead.crypto import shares as splitting
from keystead.seal import service
from keystead.seal.model import KINDS, Quorum, Recipient, SealFile, Wrapping, decode
from keystead.seal.openers import Identity, KeyFile, NewShares, Opener, RecipientFile, Shares, WrappingKey

VECTOR = Path(__file__).parent.parent / "vectors" / "seal-v1-slots.json"
NOW = datetime(2026, 1, 1, tzinfo=UTC)

KEY_FILE = KeyFile.generate()
NEW = NewShares(3, 5, "board")
IDENTITY = Identity.generate()
TOKEN = WrappingKey("pkcs11", "pkcs11:token=keystead;object=root", FakeWrapper(b"t" * 32))
KMS = WrappingKey("external", "openbao:https://bao.example:8200/transit/root", FakeWrapper(b"k" * 32))
SEAL, ROOT = service.create("home", [KEY_FILE, NEW, IDENTITY.recipient("safe"), TOKEN, KMS], NOW)
OPENERS: dict[str, Opener] = {
    "key-file": KEY_FILE,
    "shares": Shares(NEW.shares[1:4]),
    "recipient": IDENTITY,
    "pkcs11": TOKEN,
    "external": KMS,
}


def unreadable(seal: SealFile, opener: Opener) -> bool:
    with pytest.raises(Unreadable):
        service.open(seal, opener)
    return True


def damaged(blob: bytes) -> bytes:
    return blob[:-1] + bytes([blob[-1] ^ 1])


@pytest.mark.parametrize("kind", OPENERS)
def test_each_kind_opens_the_same_root(kind: str) -> None:
    assert kind in KINDS
    again = decode(SEAL.encode())
    assert again == SEAL
    assert service.open(again, OPENERS[kind]).subkey("audit") == ROOT.subkey("audit")


@pytest.mark.parametrize("kind", OPENERS)
def test_the_root_is_not_in_the_file(kind: str) -> None:
    slot = next(slot for slot in SEAL.slots if slot.kind == kind)
    assert ROOT._reveal() not in SEAL.encode()
    assert OPENERS[kind].slot_key(slot) not in SEAL.encode()


def test_strangers_open_nothing() -> None:
    other = NewShares(3, 5)
    fake = WrappingKey("pkcs11", TOKEN.uri, FakeWrapper(b"x" * 32))
    moved = WrappingKey("pkcs11", "pkcs11:token=other", FakeWrapper(b"t" * 32))
    for opener in (Shares(other.shares[:3]), Identity.generate(), fake, moved, KeyFile.generate()):
        assert unreadable(SEAL, opener)


@pytest.mark.parametrize("kind", OPENERS)
def test_a_slot_is_bound_to_its_means(kind: str) -> None:
    slot = next(slot for slot in SEAL.slots if slot.kind == kind)
    match slot.means:
        case Quorum():
            changed = replace(slot, means=replace(slot.means, threshold=2))
        case Recipient():
            changed = replace(slot, means=replace(slot.means, sealed_key=damaged(slot.means.sealed_key)))
        case Wrapping():
            changed = replace(slot, means=replace(slot.means, wrapped_key=damaged(slot.means.wrapped_key)))
        case _:
            changed = replace(slot, label="another")
    slots = tuple(changed if each is slot else each for each in SEAL.slots)
    assert all(unreadable(replace(SEAL, slots=slots), opener) for opener in OPENERS.values())


def test_a_token_that_does_not_answer_says_so() -> None:
    with pytest.raises(Unavailable):
        service.open(SEAL, WrappingKey("pkcs11", TOKEN.uri, FakeWrapper(b"t" * 32, down=True)))


def test_forged_means_are_refused() -> None:
    plain = json.loads(SEAL.encode())
    by_kind = {slot["kind"]: slot for slot in plain["slots"]}
    forged = [
        {**by_kind["shares"], "shares": {"set": 1, "threshold": 1, "count": 1}},
        {**by_kind["shares"], "shares": {"set": 1, "threshold": 3, "count": 2}},
        {**by_kind["shares"], "shares": {"set": 1, "threshold": 3}},
        {**by_kind["recipient"], "recipient": {**by_kind["recipient"]["recipient"], "public": "?"}},
        {**by_kind["pkcs11"], "external": by_kind["external"]["external"]},
        {**by_kind["pkcs11"], "kind": "external"},
        {**by_kind["key-file"], "": None},
        {**by_kind["key-file"], "kind": []},
    ]
    for slot in forged:
        with pytest.raises(Refusal, match="usable seal file"):
            decode(canonical.encode({**plain, "slots": [slot]}) + b"\n")


def test_files_of_a_recipient() -> None:
    file = IDENTITY.recipient()
    assert RecipientFile(file.content()).content() == file.content()
    assert Identity(IDENTITY.content().reveal()).recipient().content() == file.content()
    for content in (b"", b"keystead-recovery-recipient-1 AAAA", KEY_FILE.content().reveal(), file.content()[:-9]):
        with pytest.raises(Refusal, match="not a recipient file"):
            RecipientFile(content)
    for content in (b"", b"keystead-recovery-identity-1 AAAA", file.content()):
        with pytest.raises(Refusal, match="not an identity file"):
            Identity(content)


def test_shares_of_two_sets_in_one_seal() -> None:
    second = NewShares(2, 2)
    wider = service.add_slot(SEAL, ROOT, second, NOW)
    for opener in (Shares(second.shares), Shares(NEW.shares[:3])):
        assert service.open(wider, opener).subkey("audit") == ROOT.subkey("audit")


def test_nothing_secret_shows() -> None:
    text = NEW.shares[0].text.reveal().decode()
    for thing in (NEW, OPENERS["shares"], IDENTITY):
        assert text not in f"{thing!r}"
        for act in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                act(thing)
    wiped = NewShares(2, 3)
    wiped.wipe()
    assert all(not len(share.text) for share in wiped.shares)


def test_golden_slots_open_for_ever() -> None:
    vector = json.loads(VECTOR.read_text())
    seal = decode(vector["seal"].encode())
    assert seal.encode().decode() == vector["seal"]
    read = [splitting.read(Secret(words.encode())) for words in vector["shares"]]
    openers: list[Opener] = [
        Shares(read[:2]),
        Shares(read[1:]),
        Identity(vector["identity"].encode()),
        WrappingKey("pkcs11", vector["pkcs11"]["uri"], FakeWrapper(bytes.fromhex(vector["pkcs11"]["key"]))),
        WrappingKey("external", vector["external"]["uri"], FakeWrapper(bytes.fromhex(vector["external"]["key"]))),
    ]
    for opener in openers:
        assert service.open(seal, opener)._reveal().hex() == vector["root"]
