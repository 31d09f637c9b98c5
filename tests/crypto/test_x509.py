"""Certificates that real TLS accepts for their names, and for no others."""

import contextlib
import copy
import hashlib
import ipaddress
import pickle
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509 as pyca
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.crypto.sign import SigningKey
from keystead.crypto.x509 import Authority, Certificate, fingerprint

NOW = datetime.now(UTC)
AUTHORITY = Authority.create("home", NOW)
NAMES = ["db.example.com", "localhost", "127.0.0.1", "::1"]
LEAF = AUTHORITY.issue("flights", NAMES, NOW)


def verify(authority: Authority, leaf: Certificate, name: pyca.DNSName | pyca.IPAddress, at: datetime = NOW) -> None:
    """RFC 5280 path validation with the web's extra rules, as the library has it."""
    root = pyca.load_pem_x509_certificate(authority.pem)
    verifier = PolicyBuilder().store(Store([root])).time(at).build_server_verifier(name)
    verifier.verify(pyca.load_pem_x509_certificate(leaf.pem), [])


def test_each_name_verifies() -> None:
    for name in NAMES[:2]:
        verify(AUTHORITY, LEAF, pyca.DNSName(name))
    for address in NAMES[2:]:
        verify(AUTHORITY, LEAF, pyca.IPAddress(ipaddress.ip_address(address)))


def test_other_names_authorities_and_times_do_not() -> None:
    ours = pyca.DNSName("localhost")
    for authority, name, at in (
        (AUTHORITY, pyca.DNSName("other.example.com"), NOW),
        (AUTHORITY, pyca.DNSName("flights"), NOW),
        (AUTHORITY, pyca.IPAddress(ipaddress.ip_address("127.0.0.2")), NOW),
        (Authority.create("home", NOW), ours, NOW),
        (AUTHORITY, ours, NOW - timedelta(hours=2)),
        (AUTHORITY, ours, LEAF.not_after + timedelta(seconds=1)),
    ):
        with pytest.raises(VerificationError):
            verify(authority, LEAF, name, at)


@pytest.mark.parametrize(
    ("name", "accepted"), [("db.example.com", True), ("127.0.0.1", True), ("evil.example.com", False)]
)
def test_a_tls_handshake(tmp_path: Path, name: str, accepted: bool) -> None:
    (tmp_path / "leaf.pem").write_bytes(LEAF.pem)
    (tmp_path / "key.pem").write_bytes(LEAF.key.reveal())
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "leaf.pem", tmp_path / "key.pem")
    client_side = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)

    def shake() -> None:
        for _ in range(4):
            for side in (client, server):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()

    if accepted:
        shake()
        assert client.version() == "TLSv1.3"
        assert client.getpeercert()
    else:
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            shake()


def test_what_a_leaf_may_do() -> None:
    leaf = pyca.load_pem_x509_certificate(LEAF.pem)
    assert not leaf.extensions.get_extension_for_class(pyca.BasicConstraints).value.ca
    uses = leaf.extensions.get_extension_for_class(pyca.ExtendedKeyUsage).value
    assert list(uses) == [pyca.ExtendedKeyUsageOID.SERVER_AUTH]
    both = pyca.load_pem_x509_certificate(AUTHORITY.issue("x", ["a.b"], NOW, client=True).pem)
    assert pyca.ExtendedKeyUsageOID.CLIENT_AUTH in both.extensions.get_extension_for_class(pyca.ExtendedKeyUsage).value
    root = pyca.load_pem_x509_certificate(AUTHORITY.pem)
    assert root.extensions.get_extension_for_class(pyca.BasicConstraints).value == pyca.BasicConstraints(True, 0)
    assert leaf.serial_number != root.serial_number


def test_a_leaf_never_outlives_its_authority() -> None:
    short = Authority.create("home", NOW, days=10)
    assert short.issue("x", ["localhost"], NOW).not_after == short.not_after
    assert short.issue("x", ["localhost"], NOW, days=3).not_after < short.not_after
    with pytest.raises(Refusal, match="expired"):
        short.issue("x", ["localhost"], NOW + timedelta(days=10, seconds=1))


def test_an_authority_comes_back() -> None:
    again = Authority(AUTHORITY.pem, AUTHORITY.reveal_key())
    assert (again.pem, again.not_after) == (AUTHORITY.pem, AUTHORITY.not_after)
    verify(AUTHORITY, again.issue("x", ["localhost"], NOW), pyca.DNSName("localhost"))


def test_what_is_no_authority_is_refused() -> None:
    other = Authority.create("home", NOW)
    for pem, key in (
        (b"", AUTHORITY.reveal_key()),
        (AUTHORITY.pem, Secret(b"")),
        (AUTHORITY.pem, other.reveal_key()),
        (LEAF.pem, LEAF.key),
        (AUTHORITY.pem, SigningKey.generate().reveal_pem()),
    ):
        with pytest.raises(Refusal) as caught:
            Authority(pem, key)
        assert caught.value.code == "InvalidAuthority"


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["a"] * 101,
        [""],
        ["a b"],
        ["-a"],
        ["a-"],
        ["a..b"],
        ["a" * 64],
        ["ü.de"],
        ["1.2.3"],
        ["300.1.1.1"],
        ["a_b"],
        ["a\n"],
    ],
)
def test_bad_names_are_refused(names: list[str]) -> None:
    with pytest.raises(Refusal) as caught:
        AUTHORITY.issue("x", names, NOW)
    assert caught.value.code == "InvalidName"


def test_long_common_names_are_cut_and_wildcards_accepted() -> None:
    leaf = AUTHORITY.issue("n" * 100, ["*.example.com", "a.b", "a.b"], NOW)
    verify(AUTHORITY, leaf, pyca.DNSName("x.example.com"))
    found = pyca.load_pem_x509_certificate(leaf.pem)
    assert len(found.extensions.get_extension_for_class(pyca.SubjectAlternativeName).value) == 2


def test_fingerprint() -> None:
    expected = hashlib.sha256(ssl.PEM_cert_to_DER_cert(LEAF.pem.decode())).hexdigest().upper()
    assert fingerprint(LEAF.pem).replace(":", "") == expected
    with pytest.raises(Refusal, match="PEM"):
        fingerprint(b"x")


def test_an_authority_keeps_to_itself() -> None:
    assert repr(AUTHORITY) == "Authority('CN=Keystead region home')"
    assert "PRIVATE" not in repr(LEAF)
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            act(AUTHORITY)
