"""RSA keys that sign requests: PEM in, PEM out, and nothing else taken."""

import pytest
from tests.refusals import refused

from keystead.core.secret import Secret
from keystead.crypto import requestkey
from keystead.crypto.proofkey import PublicJwk
from keystead.crypto.sign import SigningKey


def test_a_new_key_and_its_public_half() -> None:
    private = requestkey.generate()
    assert private.reveal().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert PublicJwk.from_pem(requestkey.public_of(private)).kind == "RSA-2048"


@pytest.mark.parametrize("content", [b"", b"no key", SigningKey(bytes(32)).reveal_pem().reveal()])
def test_other_keys_are_refused(content: bytes) -> None:
    assert refused(lambda: requestkey.public_of(Secret(content))).code == "InvalidKey"
