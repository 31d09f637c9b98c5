"""Two authorities: what one of them issued passes nowhere for what the other did."""

import shutil
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from keystead.core.clock import SystemClock
from keystead.core.errors import Refusal
from keystead.server import authority
from keystead.server.authority import API, DATABASES, KINDS, Kind, RegionCertificates
from keystead.server.sealing.unseal import open_root
from keystead.server.settings import Effective


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_of_one_is_none_of_the_other(region: Effective, kind: Kind) -> None:
    """Both are for the same addresses: only who signed tells a database server from the API."""
    root = open_root(region)
    made = {each: RegionCertificates(authority.load(region.state, root, each), SystemClock()) for each in KINDS}
    leaf = x509.load_pem_x509_certificate(made[kind].issue("flights")[1])
    for each in KINDS:
        signer = x509.load_pem_x509_certificate(made[each].authority)
        if each is kind:
            leaf.verify_directly_issued_by(signer)
        else:
            with pytest.raises((ValueError, InvalidSignature)):
                leaf.verify_directly_issued_by(signer)


def test_clients_need_the_right_one(region: Effective) -> None:
    for kind in KINDS:
        context = ssl.create_default_context(cafile=str(region.state / kind.certificate))
        assert len(context.get_ca_certs()) == 1
    assert (region.state / API.certificate).read_bytes() != (region.state / DATABASES.certificate).read_bytes()


def test_files_that_changed_places_do_not_open(region: Effective, tmp_path: Path) -> None:
    root = open_root(region)
    for name in ("certificate", "key"):
        one, other = (region.state / getattr(kind, name) for kind in KINDS)
        shutil.move(one, tmp_path / "kept")
        shutil.move(other, one)
        shutil.move(tmp_path / "kept", other)
    for kind in KINDS:
        with pytest.raises(Refusal) as caught:
            authority.load(region.state, root, kind)
        assert caught.value.code == "InvalidAuthority"
        assert kind.certificate in caught.value.message
