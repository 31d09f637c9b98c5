"""Keys that lie in another KMS: what becomes of resources that depend on them when it says no, or nothing."""

import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tests.fakes.domain import make_region
from tests.fakes.kms import FakeKms
from tests.vault.use.test_association import DELEGATES, a_system

from keystead.adapters.keystores.external import ExternalKeystore, PatientKms
from keystead.adapters.keystores.patience import Limits
from keystead.core.errors import Refusal, Unavailable
from keystead.core.secret import Secret
from keystead.databases.desk import SystemView
from keystead.host.keeper import Keeper

QUICK = Limits(failures=1, pause=0.01, longest_pause=0.01)


@pytest.fixture
def region(tmp_path):
    found = make_region(tmp_path)
    found.kms = FakeKms()
    keystore = ExternalKeystore(PatientKms(found.kms, QUICK))
    keystore._watch._every = 0.0
    found.snapshot.keyring.join(keystore)
    return found


@pytest.fixture
def key(region):
    admin, home = region.admin, region.tenancy
    region.iam.create_policy(admin, home, "delegates", (DELEGATES,))
    vault = region.vaults.create_vault(admin, home, "outside", "external")
    return region.vaults.create_key(admin, home, vault.id, "outside").id


def eventually(region, system, key, wanted):
    deadline = time.monotonic() + 20
    while (found := region.associations.access(system.principal, key)).loss != wanted:
        assert time.monotonic() < deadline, found
        threading.Event().wait(0.005)
    return found


def test_silence_is_not_a_no_and_a_no_is(region, key):
    system = a_system(region, "flights", region.tenancy)
    sealed = region.associations.seal(system, key, Secret(b"k" * 32), "store-key", "r")
    assert region.associations.access(system.principal, key).granted

    region.kms.down = True
    found = eventually(region, system, key, "keystore_unreachable")
    assert not found.granted and "the fake KMS does not answer" in found.text
    with pytest.raises(Unavailable):
        region.associations.open(system, key, sealed.blob, "store-key", "r")

    region.kms.down, region.kms.denied = False, True
    assert "refuses" in eventually(region, system, key, "keystore_refused").text

    region.kms.denied = False
    assert eventually(region, system, key, None).granted
    assert region.associations.open(system, key, sealed.blob, "store-key", "r").reveal() == b"k" * 32

    lost, region.kms.keys = region.kms.keys, {}
    eventually(region, system, key, "keystore_refused")
    region.kms.keys = lost
    assert eventually(region, system, key, None).granted


def test_a_disabled_key_is_told_as_that_whatever_its_keystore_says(region, key):
    system = a_system(region, "flights", region.tenancy)
    region.kms.down = True
    region.vaults.disable(region.admin, key)
    assert region.associations.access(system.principal, key).loss == "key_disabled"


def test_a_name_that_is_taken_leaves_no_key_there(region, key):
    before = set(region.kms.keys)
    vault = region.vaults.get_key(region.admin, key).vault
    with pytest.raises(Refusal):
        region.vaults.create_key(region.admin, region.tenancy, vault, "outside")
    assert set(region.kms.keys) == before


def test_a_keystore_that_does_not_answer_makes_no_key(region, key):
    region.kms.down = True
    vault = region.vaults.get_key(region.admin, key).vault
    with pytest.raises(Unavailable) as caught:
        region.vaults.create_key(region.admin, region.tenancy, vault, "another")
    assert caught.value.code == "KeystoreDown"


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_a_keeper_counts_the_silence_of_its_key_alone():
    class Node:
        def adopt(self):
            return None

    view = SystemView(SimpleNamespace(id="s"), "", None, (), True, "", "", None)  # type: ignore[arg-type]
    clock = Clock()
    keeper = Keeper(view, "home", Node(), None, None, None, clock)  # type: ignore[arg-type]
    clock.now += 5
    keeper.update(view)
    assert keeper.silence == 0
    clock.now += 2
    keeper.update(replace(view, unanswered=True))
    clock.now += 3
    keeper.update(replace(view, unanswered=True))
    assert keeper.silence == 5
    keeper.update(view)
    assert keeper.silence == 0


def test_nobodys_change_waits_for_a_keystore_that_is_to_forget_a_key(region, key):
    """What was made for a name that turns out to be taken is destroyed when the transaction is over, not inside it."""
    destroy, written = region.kms.destroy, []

    def slowly(name):
        region.vaults.create_vault(region.admin, region.tenancy, "meanwhile")  # a change of somebody else's
        written.append(name)
        destroy(name)

    region.kms.destroy = slowly
    vault = region.vaults.create_vault(region.admin, region.tenancy, "more", "external").id
    with pytest.raises(Refusal) as caught:
        region.vaults.create_key(region.admin, region.tenancy, vault, "outside")
    assert caught.value.code == "NameTaken" and len(written) == 1
