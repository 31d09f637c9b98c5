"""The seal: any one slot opens it, and a changed one opens with none."""

import copy
import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.core import canonical
from keystead.core.errors import Refusal, Unavailable, Unreadable
from keystead.core.secret import Secret
from keystead.crypto.kdf import Cost
from keystead.seal import service
from keystead.seal.model import PURPOSES, SealFile, Stretch, decode
from keystead.seal.openers import KeyFile, Opener, Passphrase

VECTOR = Path(__file__).parent.parent / "vectors" / "seal-v1.json"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHEAP = Cost(8 * 1024, 1, 1)
WORDS = "correct horse battery staple"


def passphrase(text: str = WORDS) -> Passphrase:
    return Passphrase(text, "paper", CHEAP)


KEY_FILE = KeyFile.generate()
SEAL, ROOT = service.create("home", [KEY_FILE, passphrase()], NOW)


def assert_unreadable(seal: SealFile, opener: Opener) -> None:
    with pytest.raises(Unreadable) as caught:
        service.open(seal, opener)
    assert str(caught.value) == str(Unreadable())


def test_each_slot_opens_the_same_root() -> None:
    again = decode(SEAL.encode())
    assert again == SEAL
    for opener in (KEY_FILE, passphrase(), KeyFile(KEY_FILE.content().reveal()), Passphrase(f" {WORDS}\n")):
        root = service.open(again, opener)
        assert root.region == "home"
        assert all(root.subkey(purpose) == ROOT.subkey(purpose) for purpose in PURPOSES)


def test_subkeys_differ_by_purpose_and_region() -> None:
    moved = service.RootKey(ROOT._reveal(), "away")
    keys = {root.subkey(purpose).reveal() for purpose in PURPOSES for root in (ROOT, moved)}
    assert len(keys) == 2 * len(PURPOSES)
    assert ROOT._reveal() not in keys
    with pytest.raises(ValueError, match="unknown"):
        ROOT.subkey("other")  # type: ignore[arg-type]


def test_wrong_openers_fail_alike() -> None:
    for opener in (
        KeyFile.generate(),
        passphrase("incorrect horse battery"),
        passphrase(""),
        passphrase(WORDS.upper()),
    ):
        assert_unreadable(SEAL, opener)
    alone, _ = service.create("home", [KEY_FILE], NOW)
    assert_unreadable(alone, passphrase())


def test_unicode_spellings_of_a_passphrase_are_one() -> None:
    seal, _ = service.create("home", [passphrase("Stra\u00dfe caf\u00e9 \u00c5ngstr\u00f6m")], NOW)
    service.open(seal, passphrase("Stra\u00dfe cafe\u0301 \u212bngstro\u0308m"))


@pytest.mark.parametrize("opener", [KEY_FILE, passphrase()], ids=["key-file", "passphrase"])
def test_the_whole_is_authenticated(opener: Opener) -> None:
    first, second = SEAL.slots
    other, _ = service.create("home", [KEY_FILE, passphrase()], NOW)
    for changed in (
        replace(SEAL, region="away"),
        replace(SEAL, generation=2),
        replace(SEAL, slots=(second, first)),
        replace(SEAL, slots=(first,)),
        replace(SEAL, slots=(second,)),
        replace(SEAL, slots=(first, replace(second, label="x"))),
        replace(SEAL, slots=(replace(first, created_at=""), second)),
        replace(SEAL, slots=(first, second, replace(first, id="x"))),
        replace(SEAL, slots=(*SEAL.slots, *other.slots)),
        replace(SEAL, mac=other.mac),
        replace(SEAL, mac=b""),
        replace(SEAL, mac=SEAL.mac[:-1]),
    ):
        assert_unreadable(changed, opener)


def test_a_slot_is_bound_to_its_id_kind_and_cost() -> None:
    first, second = SEAL.slots
    assert isinstance(second.means, Stretch)
    cheaper = replace(second.means, cost=Cost(8 * 1024, 2, 1))
    assert_unreadable(replace(SEAL, slots=(replace(first, id=second.id),)), KEY_FILE)
    assert_unreadable(replace(SEAL, slots=(replace(first, wrapped=second.wrapped),)), KEY_FILE)
    assert_unreadable(replace(SEAL, slots=(first, replace(second, means=cheaper))), passphrase())


@given(st.data())
def test_a_flipped_bit_or_cut_file_never_opens(data: st.DataObject) -> None:
    content = SEAL.encode()
    at = data.draw(st.integers(0, len(content) * 8 - 1))
    flipped = bytearray(content)
    flipped[at // 8] ^= 1 << at % 8
    for damaged in (bytes(flipped), content[: at // 8], content + content[: at // 8 + 1]):
        with pytest.raises(Refusal) as caught:
            service.open(decode(damaged), KEY_FILE)
        assert caught.value.code in ("InvalidSealFile", "Unreadable")


def test_every_flipped_bit_of_each_binary_field_fails_for_its_opener() -> None:
    for index, opener in enumerate((KEY_FILE, KEY_FILE)):
        slot = SEAL.slots[index]
        for at in range(len(slot.wrapped)):
            wrapped = bytearray(slot.wrapped)
            wrapped[at] ^= 1
            slots = tuple(replace(slot, wrapped=bytes(wrapped)) if s is slot else s for s in SEAL.slots)
            assert_unreadable(replace(SEAL, slots=slots), opener)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_foreign_json_is_refused(value: object) -> None:
    for content in (json.dumps(value).encode(), json.dumps({**json.loads(SEAL.encode()), "slots": value}).encode()):
        with pytest.raises(Refusal, match="usable seal file"):
            decode(content)


def test_other_spellings_and_newer_versions_are_refused() -> None:
    plain = json.loads(SEAL.encode())
    slot = plain["slots"][1]
    for changed in (
        {**plain, "version": 2},
        {**plain, "version": True},
        {**plain, "extra": 1},
        {**plain, "slots": []},
        {**plain, "slots": [slot, slot]},
        {**plain, "slots": [{**slot, "kind": "hsm"}]},
        {**plain, "slots": [{**slot, "extra": 1}]},
        {**plain, "slots": [{**slot, "argon2id": {**slot["argon2id"], "memory_kib": 1 << 40}}]},
        {**plain, "slots": [{**slot, "argon2id": {**slot["argon2id"], "salt": "AA=="}}]},
    ):
        with pytest.raises(Refusal, match="usable seal file"):
            decode(canonical.encode(changed) + b"\n")
    for content in (b"", b"\xff", b"[" * 200_000, json.dumps(plain).encode(), SEAL.encode() + b"\n", bytes(300_000)):
        with pytest.raises(Refusal, match="usable seal file"):
            decode(content)


def test_slots_come_and_go() -> None:
    spare = KeyFile.generate("spare")
    wider = service.add_slot(SEAL, ROOT, spare, NOW)
    assert (wider.generation, [slot.label for slot in wider.slots]) == (2, ["key file", "paper", "spare"])
    assert service.open(wider, spare).subkey("audit") == ROOT.subkey("audit")
    narrower = service.remove_slot(wider, ROOT, wider.slots[0].id)
    assert narrower.generation == 3
    assert_unreadable(narrower, KEY_FILE)
    for opener in (spare, passphrase()):
        assert service.open(decode(narrower.encode()), opener).subkey("audit") == ROOT.subkey("audit")


def test_slots_change_only_under_the_right_root() -> None:
    _, stranger = service.create("home", [KEY_FILE], NOW)
    forged = replace(SEAL, slots=SEAL.slots[:1])
    for seal, root in ((SEAL, stranger), (forged, ROOT)):
        with pytest.raises(Unreadable):
            service.add_slot(seal, root, KEY_FILE, NOW)
        with pytest.raises(Unreadable):
            service.remove_slot(seal, root, seal.slots[0].id)


def test_refusals() -> None:
    with pytest.raises(Refusal, match="at least one way"):
        service.create("home", [], NOW)
    with pytest.raises(Refusal, match="at most 32"):
        service.create("home", [KEY_FILE] * 33, NOW)
    with pytest.raises(Refusal, match="12 characters"):
        service.create("home", [passphrase("short")], NOW)
    with pytest.raises(Refusal, match="no slot"):
        service.remove_slot(SEAL, ROOT, "x")
    alone, root = service.create("home", [KEY_FILE], NOW)
    with pytest.raises(Refusal, match="last slot"):
        service.remove_slot(alone, root, alone.slots[0].id)
    for content in (
        b"",
        b"keystead-key-file-1 ",
        b"keystead-key-file-1 AAAA",
        bytes(32),
        b"keystead-key-file-1 !" + bytes(40),
    ):
        with pytest.raises(Refusal, match="not a key file"):
            KeyFile(content)


def test_generated_passphrase_opens_as_printed() -> None:
    opener, text = Passphrase.generate(cost=CHEAP)
    seal, _ = service.create("home", [opener], NOW)
    printed = text.reveal().decode()
    assert len(printed) == 39
    service.open(seal, Passphrase(printed))


def test_wiped_means_sealed() -> None:
    root = service.open(SEAL, KEY_FILE)
    root.wipe()
    for act in (lambda: root.subkey("audit"), lambda: service.add_slot(SEAL, root, KEY_FILE, NOW)):
        with pytest.raises(Unavailable, match="sealed"):
            act()


def test_nothing_secret_shows() -> None:
    for thing in (ROOT, KEY_FILE, passphrase()):
        shown = f"{thing!r} {thing} {vars(type(thing)).get('__dict__')}"
        assert WORDS not in shown
        assert ROOT._reveal().hex() not in shown
        for act in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                act(thing)
    assert ROOT._reveal() not in SEAL.encode()


def test_golden_seal_opens_for_ever() -> None:
    vector = json.loads(VECTOR.read_text())
    seal = decode(vector["seal"].encode())
    assert seal.encode().decode() == vector["seal"]
    for opener in (KeyFile(vector["key_file"].encode()), Passphrase(vector["passphrase"])):
        root = service.open(seal, opener)
        assert root._reveal().hex() == vector["root"]
        for purpose, key in vector["subkeys"].items():
            assert root.subkey(purpose) == Secret(bytes.fromhex(key))
