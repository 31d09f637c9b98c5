"""Codes are those of RFC 6238, appendix B (SHA-1, the last six of its eight digits)."""

from urllib.parse import parse_qs, urlsplit

import pytest

from keystead.adapters.totp import SECRET_BYTES, PyTotp

SECRET = b"12345678901234567890"
VECTORS = {
    59: "94287082",
    1111111109: "07081804",
    1111111111: "14050471",
    1234567890: "89005924",
    2000000000: "69279037",
    20000000000: "65353130",
}


@pytest.mark.parametrize("moment", VECTORS)
def test_vectors(moment: int) -> None:
    assert PyTotp().code(SECRET, moment // 30) == VECTORS[moment][-6:]


def test_secrets_are_long_and_the_uri_is_what_apps_read() -> None:
    secret = PyTotp().new_secret()
    assert len(secret) == SECRET_BYTES and secret != PyTotp().new_secret()
    uri = urlsplit(PyTotp().uri(SECRET, "ada", "Keystead home"))
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert parse_qs(uri.query) == {"secret": ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"], "issuer": ["Keystead home"]}
