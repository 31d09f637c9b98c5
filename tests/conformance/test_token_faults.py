"""A token that misbehaves: SoftHSM2 with faults in its function table. Each time: a clear no, and then recovery."""

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pkcs11 import Attribute
from tests.conformance.conftest import QUICK, software
from tests.conformance.tokens import (
    DEVICE_ERROR,
    PIN,
    SESSION_COUNT,
    SESSION_HANDLE_INVALID,
    Faults,
    make_token,
    softhsm_module,
)

from keystead.adapters.keystores.module import module
from keystead.adapters.keystores.patience import Limits
from keystead.adapters.keystores.pkcs11 import TokenKeystore, TokenWrapper
from keystead.adapters.keystores.token import Token
from keystead.core.errors import Refusal, Unavailable, Unreadable
from keystead.crypto.envelope import Binding
from keystead.vault.ports import KeySpec

SPEC = KeySpec("t", "vault.1", "key.oc1.home.abc", 1, "AES-256")
BINDING = Binding("customer-data", "t", "home", "", "key.1")


@pytest.fixture
def faults(token_uri):
    return Faults(token_uri.module_path)


@pytest.fixture
def stored(hsm):
    made = hsm.generate(SPEC)
    yield made
    hsm.destroy(SPEC, made)


@pytest.fixture
def material(hsm, stored):
    return hsm.use(SPEC, stored)


@pytest.fixture
def blob(material):
    return material.seal(b"plaintext", BINDING)


def eventually_opens(material, blob) -> None:
    """It works again by itself; the breaker's pause is part of that."""
    deadline = time.monotonic() + 10
    while True:
        try:
            assert material.open(blob, BINDING) == b"plaintext"
            return
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            threading.Event().wait(0.02)


def slot_of(token_uri) -> int:
    return module(token_uri.module_path).token(token_uri).slot.slot_id


def test_sessions_that_were_closed_are_made_anew_within_the_call(faults, token_uri, material, blob):
    faults.close_all_sessions(slot_of(token_uri))
    assert material.open(blob, BINDING) == b"plaintext"


def test_a_logout_is_followed_by_a_login_within_the_call(token, material, blob):
    def logout(opened):
        assert Faults(token.uri.module_path).call("C_Logout", opened.session.handle) == 0

    token.run(logout)
    assert material.open(blob, BINDING) == b"plaintext"


def test_a_module_that_was_finalized_is_initialised_within_the_call(faults, material, blob):
    faults.finalize()
    assert material.open(blob, BINDING) == b"plaintext"


def test_a_session_that_dies_in_the_middle_is_replaced(faults, material, blob):
    died = []

    def dies_once(original, *given):
        if not died:
            died.append(True)
            return SESSION_HANDLE_INVALID
        return original(*given)

    with faults.instead("C_Decrypt", dies_once):
        assert material.open(blob, BINDING) == b"plaintext"
    assert died


def test_a_token_taken_out_is_told_and_is_used_again_when_it_is_back(tmp_path_factory, monkeypatch):
    if not softhsm_module():
        pytest.skip("only SoftHSM2 can be taken out by a test")
    home = tmp_path_factory.mktemp("removable")
    code = f"{__name__}.remove_and_bring_back"
    outcome = in_process(remove_and_bring_back, str(home))
    assert outcome == "back", (code, outcome)


def remove_and_bring_back(home_text: str) -> str:
    home = Path(home_text)
    uri = make_token(home / "token", "removable")
    hsm = TokenKeystore(Token(uri, limits=QUICK), software().fingerprint)
    stored = hsm.generate(SPEC)
    material = hsm.use(SPEC, stored)
    sealed = material.seal(b"plaintext", BINDING)
    (home / "token" / "tokens").rename(home / "elsewhere")
    (home / "token" / "tokens").mkdir()
    module(uri.module_path).restart(module(uri.module_path).generation)
    for _ in range(5):
        try:
            material.open(sealed, BINDING)
            return "it opened without its token"
        except Unavailable as error:
            if error.code != "KeystoreDown" or "no such token" not in error.message:
                return f"{error.code}: {error.message}"
    (home / "token" / "tokens").rmdir()
    (home / "elsewhere").rename(home / "token" / "tokens")
    eventually_opens(material, sealed)
    return "back"


def test_a_full_session_table_is_busy_and_those_there_are_go_on(faults, token_uri, hsm, stored, material, blob):
    # One session is open: whoever finds the table full takes turns with it.
    with faults.instead("C_OpenSession", lambda original, *given: SESSION_COUNT):
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: material.open(blob, BINDING), range(20)))
        assert found == [b"plaintext"] * 20
        nobody = TokenKeystore(Token(token_uri, limits=QUICK), software().fingerprint).use(SPEC, stored)
        for _ in range(5):
            with pytest.raises(Unavailable) as caught:
                nobody.open(blob, BINDING)
            assert caught.value.code == "KeystoreBusy"
            assert "session table is full" in caught.value.message
    assert nobody.open(blob, BINDING) == b"plaintext"


def test_a_token_that_hangs_is_given_up_and_used_again_when_it_answers(faults, token_uri, stored, blob):
    limits = Limits(at_once=2, waiting=4, wait_seconds=1.0, call_seconds=1.0, failures=2, pause=0.05, longest_pause=0.1)
    hsm = TokenKeystore(Token(token_uri, limits=limits), software().fingerprint)
    material = hsm.use(SPEC, stored)
    assert material.open(blob, BINDING) == b"plaintext"
    answer = threading.Event()

    def hangs(original, *given):
        answer.wait(30)
        return original(*given)

    try:
        with faults.instead("C_Decrypt", hangs):
            began = time.monotonic()
            for _ in range(3):
                with pytest.raises(Unavailable) as caught:
                    material.open(blob, BINDING)
                assert caught.value.code in ("KeystoreDown", "KeystoreBusy")
            assert time.monotonic() - began < 3 * 8
            assert hsm.token.patience.state == "open"
    finally:
        answer.set()
    eventually_opens(material, blob)


def test_device_errors_open_the_breaker_and_spare_the_token(faults, hsm, material, blob):
    asked = []

    def broken(original, *given):
        asked.append(True)
        return DEVICE_ERROR

    with faults.instead("C_Decrypt", broken):
        for _ in range(QUICK.failures):
            with pytest.raises(Unavailable) as caught:
                material.open(blob, BINDING)
            assert caught.value.code == "KeystoreDown"
            assert "DeviceError" in caught.value.message and caught.value.hint
        so_far = len(asked)
        assert hsm.token.patience.state == "open"
        with pytest.raises(Unavailable):
            material.open(blob, BINDING)
        assert len(asked) == so_far
    eventually_opens(material, blob)


def test_ciphertexts_of_others_do_not_open_the_breaker(hsm, material, blob):
    for place in range(5):
        changed = bytearray(blob)
        changed[60 + place] ^= 1
        with pytest.raises(Unreadable):
            material.open(bytes(changed), BINDING)
    assert hsm.token.patience.state == "closed"


def test_an_outage_is_never_told_as_a_ciphertext_that_does_not_open(faults, material, blob):
    with faults.instead("C_Decrypt", lambda original, *given: 0x05), pytest.raises(Unavailable):  # CKR_GENERAL_ERROR
        material.open(blob, BINDING)
    eventually_opens(material, blob)


def test_a_wrong_pin_is_tried_once_and_a_new_one_when_its_file_changes(tmp_path_factory):
    if not softhsm_module():
        pytest.skip("only a test's own token may be locked")
    assert in_process(wrong_pin, str(tmp_path_factory.mktemp("pin"))) == "fine"


def wrong_pin(home_text: str) -> str:
    uri = make_token(Path(home_text) / "token", "pins")
    pin_file = Path(uri.pin_file)
    pin_file.write_text("000000\n")
    hsm = TokenKeystore(Token(uri, limits=QUICK), software().fingerprint)
    faults = Faults(uri.module_path)
    tried = []

    def login(original, *given):
        tried.append(True)
        return original(*given)

    with faults.instead("C_Login", login):
        for _ in range(3):
            try:
                hsm.generate(SPEC)
                return "it was let in"
            except Unavailable as error:
                if "PIN" not in error.message or "000000" in error.message + error.hint:
                    return error.message
        if len(tried) != 1:
            return f"tried {len(tried)} times"
        pin_file.write_text(PIN)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                hsm.generate(SPEC)
                return "fine"
            except Unavailable:
                threading.Event().wait(0.02)
    return "never let in"


def test_a_key_that_was_made_too_late_does_not_stay(faults, token_uri):
    limits = Limits(at_once=1, wait_seconds=20, call_seconds=0.01, failures=99)
    hsm = TokenKeystore(Token(token_uri, limits=limits), software().fingerprint)
    late = replace(SPEC, key="key.oc1.home.late")
    answer, made = threading.Event(), threading.Event()

    def slowly(original, *given):
        answer.wait(30)
        made.set()
        return original(*given)

    with faults.instead("C_GenerateKey", slowly):
        with pytest.raises(Unavailable):
            hsm.generate(late)
        answer.set()
        assert made.wait(10)

    def there(opened):
        return list(opened.session.get_objects({Attribute.LABEL: "keystead:key.oc1.home.late/1"}))

    patient = Token(token_uri, limits=QUICK)
    deadline = time.monotonic() + 10
    while hsm.token.patience.stuck:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    assert patient.run(there) == []


def test_many_threads_share_a_token(material, blob):
    def both(number: int) -> bool:
        text = f"text {number}".encode()
        return material.open(material.seal(text, BINDING), BINDING) == text

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(both, range(80)))


def test_another_process_sees_keys_made_and_destroyed_here(token_uri, hsm):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    other = context.Process(target=_other_process, args=(str(token_uri), theirs), daemon=True)
    other.start()
    assert ours.recv() == "ready"
    stored = hsm.generate(SPEC)
    sealed = hsm.use(SPEC, stored).seal(b"plaintext", BINDING)
    ours.send((stored, sealed))
    assert ours.recv() == b"plaintext"
    hsm.destroy(SPEC, stored)
    ours.send((stored, sealed))
    assert ours.recv() == "KeyNotInToken"
    ours.send(None)
    other.join(20)


def _other_process(uri: str, pipe) -> None:
    from keystead.adapters.keystores.uri import parse

    hsm = TokenKeystore(Token(parse(uri), limits=QUICK), software().fingerprint)
    first = hsm.generate(replace(SPEC, key="key.oc1.home.other"))
    pipe.send("ready")
    while (asked := pipe.recv()) is not None:
        stored, sealed = asked
        try:
            pipe.send(hsm.use(SPEC, stored).open(sealed, BINDING))
        except Unavailable as error:
            pipe.send(error.code)
    hsm.destroy(replace(SPEC, key="key.oc1.home.other"), first)


def test_a_wrapper_needs_no_vault(token_uri):
    wrapper = TokenWrapper(str(replace(token_uri, object="unseal")), limits=QUICK)
    with pytest.raises(Unavailable) as caught:
        wrapper.wrap(bytes(32))
    assert caught.value.code == "KeyNotInToken"
    wrapper.make_key()
    with pytest.raises(Refusal):
        wrapper.make_key()
    wrapped = wrapper.wrap(bytes(range(32)))
    assert wrapper.unwrap(wrapped) == bytes(range(32))
    assert TokenWrapper(str(replace(token_uri, object="unseal"))).unwrap(wrapped) == bytes(range(32))
    for broken in (b"", wrapped[:-1], wrapped[:-1] + bytes((wrapped[-1] ^ 1,)), b"\x09" + wrapped[1:]):
        with pytest.raises(Unreadable):
            wrapper.unwrap(broken)


def in_process(work, *given) -> str:
    """`work` in a process of its own: the module's state is the process's."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply_async(work, given).get(60)


def test_it_says_how_it_stands_without_a_session(token):
    before = token.state()
    assert before.pin == ""
    token.run(lambda opened: None)
    after = token.state()
    assert before.open is None or (after.open or 0) > 0
