"""Database systems whose keys lie in a token and in another KMS: made, fenced, healed; a keystore that goes away is not
taken for a key that was taken away, and the other way round.
"""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance import bao, tokens
from tests.faults.machine import eventually
from tests.faults.region import Refused, Region, System
from tests.faults.test_loss_of_access import lose_and_regain

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keystores")


@pytest.fixture(scope="module")
def kms(home: Path) -> Iterator[bao.Bao]:
    if not bao.binary():
        pytest.skip("OpenBao is not installed: make bench-tools")
    (home / "bao").mkdir()
    with bao.start(home / "bao") as server:
        yield server


@pytest.fixture(scope="module")
def region(home: Path, kms: bao.Bao) -> Iterator[Region]:
    if not tokens.softhsm_module():
        pytest.skip("SoftHSM2 is not installed: tools/install.sh softhsm")
    uri = tokens.make_token(home / "token", "region", here=False)

    class WithToken(Region):
        def environment(self) -> dict[str, str]:
            return {**super().environment(), "SOFTHSM2_CONF": str(home / "token" / "softhsm2.conf")}

    settings = {
        "hsm.uri": str(uri),
        "hsm.call_seconds": "2",
        "external.url": kms.url,
        "external.token_file": str(kms.token_file),
        "external.call_seconds": "2",
    }
    with WithToken.made(settings) as found:
        yield found


def key_in(region: Region, protection: str, algorithm: str = "AES-256") -> str:
    asked = {
        "compartment_id": region.compartment,
        "vault_id": region.vault,
        "name": f"{protection}-{algorithm}".lower(),
    }
    made = region.post("/keys", {**asked, "protection": protection, "algorithm": algorithm})
    assert made["protection"] == protection
    return str(made["id"])


@pytest.fixture(scope="module")
def in_token(region: Region) -> str:
    return key_in(region, "hsm", "RSA-2048")


@pytest.fixture(scope="module")
def in_kms(region: Region) -> str:
    return key_in(region, "external")


@pytest.fixture(scope="module")
def by_token(region: Region, in_token: str) -> System:
    made = region.create(in_token, "flights")
    region.fill(made)
    return made


@pytest.fixture(scope="module")
def by_kms(region: Region, in_kms: str) -> System:
    made = region.create(in_kms, "ledgers")
    region.fill(made)
    return made


def test_a_key_in_a_token_is_disabled_and_enabled(region: Region, by_token: System, in_token: str) -> None:
    lose_and_regain(
        region,
        by_token,
        "key_disabled",
        "DISABLED",
        lambda: region.disable(in_token),
        lambda: region.post(f"/keys/{in_token}/actions/enable"),
    )


def test_a_key_in_another_kms_is_disabled_and_enabled(region: Region, by_kms: System, in_kms: str) -> None:
    lose_and_regain(
        region,
        by_kms,
        "key_disabled",
        "DISABLED",
        lambda: region.disable(in_kms),
        lambda: region.post(f"/keys/{in_kms}/actions/enable"),
    )


def test_a_kms_that_does_not_answer_is_as_a_vault_that_does_not(region: Region, by_kms: System, kms: bao.Bao) -> None:
    lose_and_regain(
        region,
        by_kms,
        "vault_unreachable",
        "OpenBao at .* does not answer",
        lambda: kms.signal(signal.SIGSTOP),
        lambda: kms.signal(signal.SIGCONT),
    )


def test_a_kms_that_refuses_has_taken_the_key_away(region: Region, by_kms: System, kms: bao.Bao) -> None:
    def refuse() -> None:
        kms.call("POST", "/v1/auth/token/revoke", {"token": kms.token_file.read_text().strip()})

    lose_and_regain(region, by_kms, "keystore_refused", "permission denied", refuse, kms.new_token)


def test_a_token_that_is_taken_out_comes_back(region: Region, by_token: System, home: Path) -> None:
    there, elsewhere = home / "token" / "tokens", home / "token" / "taken-out"
    lose_and_regain(
        region,
        by_token,
        "vault_unreachable",
        "the token 'region' does not answer",
        lambda: there.rename(elsewhere),
        lambda: elsewhere.rename(there),
    )


CALLERS = 24
"""More than all threads of a worker, and than all turns at a keystore."""


def test_one_that_hangs_delays_nobody_elses_fence_nor_its_own(
    region: Region, by_kms: System, in_kms: str, kms: bao.Bao
) -> None:
    """OpenBao hangs and everybody wants it: systems are fenced at once and heal, by other keys and by those in it."""
    other = region.key("not-in-it")
    system = region.create(other, "trains")
    region.fill(system)
    wrapped = region.post(f"/keys/{in_kms}/actions/wrap", {"key_material": "c2VjcmV0"})["ciphertext"]
    over, refused = threading.Event(), []

    def hammer() -> None:
        while not over.is_set():
            try:
                region.post(f"/keys/{in_kms}/actions/unwrap", {"ciphertext": wrapped})
            except Refused as refusal:
                refused.append(refusal.code)

    callers = [threading.Thread(target=hammer) for _ in range(CALLERS)]
    kms.signal(signal.SIGSTOP)
    try:
        for each in callers:
            each.start()
        eventually("it is felt", lambda: len(refused) > CALLERS, 30)
        for name, key in ((system, other), (by_kms, in_kms)):
            last = region.fence(name)
            region.disable(key)
            receipt = eventually("the receipt", lambda name=name, last=last: _newer(region, name, last), 15)
            steps = {step["name"]: step["after_ms"] for step in receipt["steps"]}
            assert receipt["reason"] == "key_disabled" and steps["process_gone"] < 1000, steps
        region.enable(other)
        region.wait_state(system, "ACTIVE", 20)
        region.enable(in_kms)
    finally:
        kms.signal(signal.SIGCONT)
        over.set()
        for each in callers:
            each.join()
    region.wait_state(by_kms, "ACTIVE", 60)
    assert set(refused) <= {"KeystoreDown", "KeystoreBusy", "KeyNotUsable", "KeyDisabled"}, set(refused)
    region.delete(system)


def _newer(region: Region, system: System, last: object) -> Any:
    found = region.fence(system)
    return found if found and found != last else None


def test_cryptography_says_what_is_the_matter_and_goes_on_by_itself(region: Region, in_kms: str, kms: bao.Bao) -> None:
    def wrapping() -> Any:
        try:
            return region.post(f"/keys/{in_kms}/actions/wrap", {"key_material": "c2VjcmV0"})["ciphertext"]
        except Refused:
            return None

    def unwrapped() -> str:
        return str(region.post(f"/keys/{in_kms}/actions/unwrap", {"ciphertext": wrapped})["key_material"])

    # What was before may have left one worker's breaker open, and that one is asked at any time.
    wrapped = eventually("every worker is answered", lambda: min([wrapping() or "" for _ in range(8)]), 20)
    kms.signal(signal.SIGSTOP)
    try:
        with pytest.raises(Refused) as caught:
            unwrapped()
        assert (caught.value.status, caught.value.code) in ((503, "KeystoreDown"), (503, "KeystoreBusy"))
        assert "OpenBao" in str(caught.value.body["message"]) and caught.value.body["hint"]
    finally:
        kms.signal(signal.SIGCONT)

    def back() -> bool:
        try:
            return unwrapped() == "c2VjcmV0"
        except Refused:
            return False

    eventually("it answers again", back, 15)
