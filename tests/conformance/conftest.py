"""Keystores of every kind: software, a token, a fake KMS, and a real OpenBao."""

import os
import secrets

import pytest
from tests.conformance import bao, tokens
from tests.fakes.kms import FakeKms

from keystead.adapters.keystores.external import ExternalKeystore, PatientKms
from keystead.adapters.keystores.patience import Limits
from keystead.adapters.keystores.pkcs11 import TokenKeystore
from keystead.adapters.keystores.token import Token
from keystead.adapters.keystores.uri import parse
from keystead.core.secret import Secret
from keystead.crypto.envelope import Kek
from keystead.vault.memory.software import SoftwareKeystore

QUICK = Limits(at_once=4, waiting=16, wait_seconds=60, call_seconds=60, failures=3, pause=0.05, longest_pause=0.2)


def software() -> SoftwareKeystore:
    sealing = Kek(secrets.token_bytes(32), "vault-store", 1)
    return SoftwareKeystore(lambda vault: sealing, Secret(secrets.token_bytes(32)), "home")


@pytest.fixture(scope="session")
def token_uri(tmp_path_factory):
    """A token: the one that the environment names, or a new one of SoftHSM2's."""
    if not tokens.available():
        pytest.skip("SoftHSM2 is not installed: tools/install.sh softhsm")
    named = os.environ.get("KEYSTEAD_TEST_TOKEN")
    return parse(named) if named else tokens.make_token(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture
def token(token_uri):
    return Token(token_uri, limits=QUICK)


@pytest.fixture
def hsm(token):
    return TokenKeystore(token, software().fingerprint)


@pytest.fixture(scope="session")
def openbao(tmp_path_factory):
    """A real server of this run."""
    if not bao.binary():
        pytest.skip("OpenBao is not installed: make bench-tools")
    with bao.start(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@pytest.fixture(
    params=["software", "hsm", "fake", pytest.param("openbao", marks=pytest.mark.live)],
)
def keystore(request):
    match request.param:
        case "software":
            return software()
        case "hsm":
            return request.getfixturevalue("hsm")
        case "fake":
            return ExternalKeystore(PatientKms(FakeKms(), QUICK))
        case _:
            return ExternalKeystore(PatientKms(request.getfixturevalue("openbao").kms(timeout=60), QUICK))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tokens and other KMS are servers in all but name: the quick checks leave them to `make test`."""
    here = os.path.dirname(__file__)
    for item in items:
        if str(item.path).startswith(here) and "software" not in item.name:
            item.add_marker(pytest.mark.slow)
