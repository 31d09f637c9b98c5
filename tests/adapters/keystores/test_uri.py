import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.adapters.keystores.uri import TokenUri, parse
from keystead.core.errors import Refusal

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_every_part_is_read():
    found = parse(
        "pkcs11:token=My%20Token;manufacturer=ACME;model=X;serial=007;slot-id=3;object=root;id=%01%ff;type=secret-key"
        "?module-path=/usr/lib/acme.so&pin-source=file:///etc/pin"
    )
    assert found == TokenUri("My Token", "ACME", "X", "007", 3, "root", b"\x01\xff", "/usr/lib/acme.so", "/etc/pin")


@pytest.mark.parametrize("source", ["file:/etc/pin", "file:///etc/pin", "/etc/pin"])
def test_pin_sources(source):
    assert parse(f"pkcs11:token=a?pin-source={source}").pin_file == "/etc/pin"


@given(TEXT, TEXT, TEXT, st.binary(max_size=20), st.none() | st.integers(0, 2**64))
def test_what_is_written_is_read(token, serial, label, found_by, slot):
    made = TokenUri(token=token, serial=serial, object=label, id=found_by, slot_id=slot, module_path="/a b/ü.so")
    assert parse(str(made)) == made


@given(st.text(max_size=60))
def test_anything_else_is_refused_and_not_repeated(text):
    for uri in (text, "pkcs11:" + text):
        try:
            parse(uri)
        except Refusal as refusal:
            assert refusal.code == "InvalidUri"


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:token=a?pin-value=secret99",
        "pkcs11:token=a;pin-value=secret99",
        "pkcs11:secret99",
        "pkcs11:token=a;token=secret99",
        "pkcs11:token=%zzsecret99",
        "pkcs11:token=%ff;object=secret99",
        "pkcs11:token=a?pin-source=|cat secret99",
        "pkcs11:token=a?pin-source=secret99",
        "pkcs11:token=a?module-path=secret99.so",
        "pkcs11:slot-id=secret99",
        "pkcs12:token=secret99",
    ],
)
def test_refused_without_a_word_of_it(uri):
    with pytest.raises(Refusal) as caught:
        parse(uri)
    assert caught.value.code == "InvalidUri"
    assert "secret99" not in caught.value.message + caught.value.hint
