"""Every parser of foreign bytes, as something to throw bytes at.

A target takes any bytes. What is read is either refused in the way that its reader promises (a `KeysteadError`, or the
error its docstring names) or it is what its writer writes; anything else that happens is a finding. Where a MAC or a
signature would keep fuzzed bytes from ever getting further, there is a second target behind it.
"""

import base64
import contextlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keystead.adapters.jose import JoseCodec
from keystead.adapters.seen_proofs import OwnSeen
from keystead.audit.model import Head
from keystead.audit.segment import Broken, open_segment, scan
from keystead.core.clock import ManualClock, isoformat, parse_moment
from keystead.core.errors import KeysteadError, Refusal, Unreadable
from keystead.core.frames import read_frame
from keystead.core.ids import looks_like_id, parse_id
from keystead.core.secret import Secret
from keystead.crypto import asymmetric, byok, ecdsa, kdf, portable, public, recipient, shares, transport
from keystead.crypto.asymmetric import PrivateKey, PublicKey
from keystead.crypto.encapsulate import Encapsulated
from keystead.crypto.envelope import Binding, Kek, peek
from keystead.crypto.proofkey import PublicJwk
from keystead.crypto.sign import SigningKey
from keystead.crypto.stream import Reader, decrypt_stream, encrypt_stream, read_header
from keystead.crypto.suites import CURRENT, suite_of
from keystead.crypto.wrap import AesKwp
from keystead.iam.directory import Directory
from keystead.iam.policy.model import text as statement_text
from keystead.iam.policy.parse import parse
from keystead.iam.sessions.proofs import Request, dpop, signed
from keystead.iam.tokens import Tokens
from keystead.seal.model import decode
from keystead.seal.openers import Identity, KeyFile, RecipientFile
from keystead.server.settings import parse as parse_settings
from keystead.vault.networks import address_of, checked_networks, fence_of
from keystead.vault.transfer import backup_format
from keystead.web.dialects import vault_transit
from keystead.web.messages import read_query

VECTORS = Path(__file__).parents[1] / "vectors"
SUITES = [CURRENT[name] for name in sorted(CURRENT)]
KEY = bytes(range(32))
BINDING = Binding("customer-data", "t", "home", "", "k")
TENANCY = "ks1.tenancy.main.home." + "t" * 32


@dataclass(frozen=True)
class Target:
    """`run` raises what is a finding; `seeds` are bytes that get far; `words` what its language is made of."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    words: tuple[bytes, ...] = ()


def vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def fine(*errors: type[Exception]) -> contextlib.AbstractContextManager[None]:
    """Refused as promised."""
    return contextlib.suppress(KeysteadError, *errors)


class Xor:
    """A wrapping that anybody can undo, so that what lies behind it is reached."""

    def wrap(self, key: bytes) -> bytes:
        return bytes(a ^ 0x55 for a in key)

    def unwrap(self, wrapped: bytes) -> bytes:
        if len(wrapped) != 32:
            raise Unreadable
        return self.wrap(wrapped)


# what we wrote ourselves, and is given back by strangers

_KEK = Kek(KEY, "k", 1)
_CAPSULE = Encapsulated(Xor(), 18, "k", 1)
_OPENED = {_KEK.seal(text, BINDING): text for text in (b"", b"text")}
_OPENED |= {_CAPSULE.seal(text, BINDING): text for text in (b"", b"text")}


def envelope(data: bytes) -> None:
    with fine():
        found = peek(data)
        assert 0 <= found.key_version < 2**32
    for key in (_KEK, _CAPSULE):
        with fine():
            opened = key.open(data, BINDING)  # type: ignore[attr-defined]
            assert key is _CAPSULE or opened in _OPENED.values(), "forged"


def envelope_seeds() -> Iterator[bytes]:
    yield from _OPENED
    for name in ("envelope-v1.json", "envelope-v1-suites.json"):
        yield from (bytes.fromhex(each["blob"]) for each in vectors(name))


def stream(data: bytes) -> None:
    with fine():
        source = Reader((data[:7], data[7:]))
        header = read_header(source)
        b"".join(decrypt_stream(KEY, source, header))


def stream_seeds() -> Iterator[bytes]:
    yield b"".join(encrypt_stream(KEY, {"kind": "test", "n": 1}, (b"some text",)))
    yield from (found for each in vectors("stream-v1.json") if len(found := base64.b64decode(each["stream"])) < 5000)


def seal_file(data: bytes) -> None:
    with fine():
        found = decode(data)
        assert decode(found.encode()) == found
        KeyFile.generate().slot_key(found.slots[0])


def seal_seeds() -> Iterator[bytes]:
    for name in ("seal-v1.json", "seal-v1-slots.json"):
        found = vectors(name)["seal"]
        yield found.encode() if isinstance(found, str) else json.dumps(found).encode()


def seal_helpers(data: bytes) -> None:
    """What people type or carry: key files, recipients, identities, shares."""
    for reader in (KeyFile, RecipientFile, Identity):
        with fine():
            reader(data)
    with fine():
        shares.read(Secret(data))
    with fine(ValueError):
        recipient.check_public(data)


def seal_helper_seeds() -> Iterator[bytes]:
    found = vectors("seal-v1-slots.json")
    yield vectors("seal-v1.json")["key_file"].encode()
    identity = Identity.generate()
    yield identity.content().reveal()
    yield identity.recipient().content()
    yield from (each.encode() for each in found["shares"] if isinstance(each, str))


def key_backup(data: bytes) -> None:
    with fine():
        backup_format.open_backup(data, Secret(KEY), TENANCY, "home")


def key_backup_seeds() -> Iterator[bytes]:
    yield base64.b64decode(vectors("key-backup-v1.json")["blob"])


def key_backup_content(data: bytes) -> None:
    """As if whoever has the backup key had written it."""
    fields: dict[str, Any] = {
        "format": "keystead-key-backup",
        "version": 1,
        "kind": "vault" if data[:1] == b"v" else "key",
        "tenancy": TENANCY,
        "region": "home",
        "id": "x",
        "name": "x",
        "created_at": "2026-01-01T00:00:00.000Z",
        "keys": 1,
    }
    blob = b"".join(encrypt_stream(KEY, fields, (data[1:],)))
    with fine():
        found = backup_format.open_backup(blob, Secret(KEY), TENANCY, "home")
        again = backup_format.open_backup(backup_format.seal(found, Secret(KEY)), Secret(KEY), TENANCY, "home")
        assert [each.key.id for each in again.keys] == [each.key.id for each in found.keys]


def key_backup_content_seeds() -> Iterator[bytes]:
    found = vectors("key-backup-v1.json")
    source = Reader((base64.b64decode(found["blob"]),))
    key = kdf.subkey(bytes.fromhex(found["key_backup_subkey"]), "tenancy", found["tenancy"].encode())
    content = b"".join(decrypt_stream(key, source))
    yield b"k" + content.replace(found["tenancy"].encode(), TENANCY.encode())


def audit_segment(data: bytes) -> None:
    with fine(Broken):
        header, after, begin = open_segment(data)
        found = scan(data[begin:], header.writer, after)
        assert isinstance(found.head, Head)


def audit_seeds() -> Iterator[bytes]:
    yield (VECTORS / "audit-segment-v1.seg").read_bytes()


# keys of others


def key_of(form: portable.Form) -> Callable[[bytes], None]:
    """The first byte chooses the algorithm. PEM and PKCS#12 come with a password."""

    def run(data: bytes) -> None:
        suite, content = SUITES[data[0] % len(SUITES)] if data else SUITES[0], data[1:]
        if form in ("pkcs12", "pem", "der") and costly(content):
            return
        password = Secret(b"pass") if form in ("pkcs12", "pem") and data[:1] > b"\x7f" else None
        with fine():
            material = portable.read(suite, content, form, password)
            if suite.asymmetric:
                asymmetric.check(suite, material)
                assert PublicKey(suite, PrivateKey(suite, material).public.spki)
        portable.guess(suite, content)

    return run


def costly(data: bytes) -> bool:
    """Whether an iteration count may be in it that would take minutes: the password's owner waits, we do not."""
    if b"-----" in data:
        with contextlib.suppress(ValueError):
            return costly(base64.b64decode(b"".join(data.split(b"\n")[1:-2])))
    at = data.find(b"\x02")
    while at >= 0:
        length = data[at + 1] if at + 1 < len(data) else 0
        if 3 <= length <= 8 and int.from_bytes(data[at + 2 : at + 2 + length]) > 20_000:
            return True
        at = data.find(b"\x02", at + 1)
    return False


_MATERIALS: dict[str, Secret] = {}


def material_of(name: str) -> Secret:
    if name not in _MATERIALS:
        _MATERIALS[name] = asymmetric.generate(suite_of(name)) if suite_of(name).asymmetric else Secret(KEY)  # type: ignore[arg-type]
    return _MATERIALS[name]


SMALL = ("AES-256", "EC-P256", "EC-P384", "ED25519", "ML-DSA-65", "RSA-2048")


def key_seeds(form: str) -> Callable[[], Iterator[bytes]]:
    from cryptography.hazmat.primitives import serialization as ser
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import pkcs12

    def keys() -> Iterator[tuple[bytes, Any]]:
        for name in ("EC-P256", "ED25519", "RSA-2048"):
            raw = material_of(name).reveal()
            key: Any = (
                ed25519.Ed25519PrivateKey.from_private_bytes(raw)
                if name == "ED25519"
                else ser.load_der_private_key(raw, None)
            )
            assert isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey)
            yield bytes([SUITES.index(suite_of(name))]), key  # type: ignore[arg-type]

    def jwk(first: bytes, key: Any) -> Iterator[bytes]:
        def b64(number: int, size: int = 0) -> str:
            raw = number.to_bytes(size or (number.bit_length() + 7) // 8)
            return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

        found: dict[str, str]
        if isinstance(key, ec.EllipticCurvePrivateKey):
            numbers = key.private_numbers()
            point = numbers.public_numbers
            found = {"kty": "EC", "crv": "P-256", "d": b64(numbers.private_value, 32)}
            found |= {"x": b64(point.x, 32), "y": b64(point.y, 32)}
        elif isinstance(key, rsa.RSAPrivateKey):
            n = key.private_numbers()
            found = {"kty": "RSA", "n": b64(n.public_numbers.n), "e": b64(n.public_numbers.e), "d": b64(n.d)}
            found |= {"p": b64(n.p), "q": b64(n.q), "dp": b64(n.dmp1), "dq": b64(n.dmq1), "qi": b64(n.iqmp)}
        else:
            found = {"kty": "OKP", "crv": "Ed25519"}
            found["d"] = base64.urlsafe_b64encode(key.private_bytes_raw()).rstrip(b"=").decode()
        yield first + json.dumps(found).encode()

    def seeds() -> Iterator[bytes]:
        for first, key in keys():
            clear: Any = ser.NoEncryption()
            locked = (
                ser.PrivateFormat.PKCS12.encryption_builder().kdf_rounds(10).build(b"pass")
                if form == "pkcs12"
                else ser.BestAvailableEncryption(b"pass")
            )
            match form:
                case "pkcs12":
                    yield first + pkcs12.serialize_key_and_certificates(b"n", key, None, None, clear)
                    yield bytes([first[0] + 12 * 12]) + pkcs12.serialize_key_and_certificates(
                        b"n", key, None, None, locked
                    )
                case "pem":
                    yield first + key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, clear)
                    if not isinstance(key, ed25519.Ed25519PrivateKey):
                        yield first + key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.TraditionalOpenSSL, clear)
                case "der":
                    yield first + key.private_bytes(ser.Encoding.DER, ser.PrivateFormat.PKCS8, clear)
                case "jwk":
                    yield from jwk(first, key)
        aes = bytes([SUITES.index(suite_of("AES-256"))])
        if form == "jwk":
            yield aes + b'{"kty":"oct","k":"' + base64.urlsafe_b64encode(KEY).rstrip(b"=") + b'"}'

    return seeds


def texts(data: bytes) -> None:
    """Raw, hex and base64 material."""
    suite, content = SUITES[data[0] % len(SUITES)] if data else SUITES[0], data[1:]
    for form in ("raw", "hex", "base64"):
        with fine():
            portable.read(suite, content, form)  # type: ignore[arg-type]


def texts_seeds() -> Iterator[bytes]:
    for name in SMALL:
        first, raw = bytes([SUITES.index(suite_of(name))]), material_of(name).reveal()  # type: ignore[arg-type]
        yield from (first + raw, first + raw.hex().encode(), first + base64.b64encode(raw))


def transfer_blob(data: bytes) -> None:
    with fine():
        found = byok.read(data)
        assert byok.read(byok.write(found)) == found
        assert isinstance(found.wrapping_key, str)
    byok.looks_like(data)


def transfer_seeds() -> Iterator[bytes]:
    yield byok.write(byok.Transfer("https://a/keys/k", b"wrapped material", "a tool"))


def wrapped_material(data: bytes) -> None:
    """What arrives for a wrapping key; and AES-KWP by itself."""
    way = transport.WAYS[data[0] % len(transport.WAYS)] if data else transport.WAYS[0]
    with fine():
        transport.unwrap(way, material_of(transport.wrapping_suite(way).name), data[1:])
    with fine():
        AesKwp(KEY).unwrap(data)


def wrapped_seeds() -> Iterator[bytes]:
    for index, way in enumerate(transport.WAYS):
        suite = transport.wrapping_suite(way)
        half = PrivateKey(suite, material_of(suite.name)).public.spki
        yield bytes([index]) + transport.wrap(way, half, Secret(KEY))
    yield AesKwp(KEY).wrap(KEY)


def public_halves(data: bytes) -> None:
    suite, content = SUITES[data[0] % len(SUITES)] if data else SUITES[0], data[1:]
    with fine(ValueError):
        content = public.from_pem(content.decode("latin-1"))
    if suite.asymmetric:
        with fine(ValueError):
            found = PublicKey(suite, content)
            public.jwk(found)
            assert public.from_pem(public.pem(found)) == content


def public_seeds() -> Iterator[bytes]:
    for name in ("EC-P256", "ED25519", "ML-DSA-65", "RSA-2048"):
        suite = suite_of(name)  # type: ignore[arg-type]
        first, half = bytes([SUITES.index(suite)]), PrivateKey(suite, material_of(name)).public
        yield first + half.spki
        yield first + public.pem(half).encode()


def signatures(data: bytes) -> None:
    with fine(ValueError):
        assert ecdsa.to_raw(ecdsa.to_der(ecdsa.to_raw(data, 256), 256), 256) == ecdsa.to_raw(data, 256)
    suite = SUITES[data[0] % len(SUITES)] if data else SUITES[0]
    if suite.asymmetric and suite.name in SMALL and suite.family != "hpke":
        with fine():
            half = PrivateKey(suite, material_of(suite.name)).public
            assert not half.verify(b"never signed", data[1:], ""), "forged"


def signature_seeds() -> Iterator[bytes]:
    for name in ("EC-P256", "ED25519", "RSA-2048"):
        suite = suite_of(name)  # type: ignore[arg-type]
        yield bytes([SUITES.index(suite)]) + PrivateKey(suite, material_of(name)).sign(b"another message")
    yield ecdsa.to_der(bytes(31) + b"\1" + bytes(31) + b"\2", 256)


# policies, tokens, places, settings


def policy(data: bytes) -> None:
    with fine():
        text = data.decode("utf-8", "replace")
        found = parse(text)
        assert parse(statement_text(found)) == found, "its canonical spelling is another statement"


def policy_seeds() -> Iterator[bytes]:
    for line in (VECTORS / "policy-statements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.partition(" -> ")[0].encode()


_CODEC = JoseCodec(SigningKey(KEY))
_TOKENS = Tokens(_CODEC, Directory(), lambda: 1, ManualClock(), "home")


def token(data: bytes) -> None:
    with fine():
        _TOKENS.authenticate(data.decode("latin-1"), "127.0.0.1", "r")
        raise AssertionError("a token of nobody is taken")


_PROVED = PublicJwk.from_pem(SigningKey(KEY).public.pem().decode())


def proof(data: bytes) -> None:
    """What a client sends beside its token, or in place of one; the first letter says which."""
    text, now = data[1:].decode("latin-1"), ManualClock().now()
    request = Request("POST", "/x?y=1", [(b"host", b"test"), (b"date", text.encode("latin-1"))], frozenset(), now)
    with fine():
        if data[:1] == b"d":
            assert not dpop(text, "token", request, _PROVED, OwnSeen()), "a proof of nobody is taken"
        else:
            assert not signed(text, request).shows(_PROVED, OwnSeen()), "a signature of nobody is taken"


def proof_seeds() -> Iterator[bytes]:
    head = base64.urlsafe_b64encode(b'{"typ":"dpop+jwt","alg":"EdDSA","jwk":%b}' % _PROVED.text.encode())
    yield b"d" + head + b".e30.AAAA"
    yield b"s" + b'Signature version="1",keyId="a/b/c",algorithm="ed25519",headers="date host",signature="AAAA"'


def token_seeds() -> Iterator[bytes]:
    for claims in map(json.loads, claims_seeds()):
        yield _CODEC.sign(claims).encode()
    yield base64.urlsafe_b64encode(b'{"alg":"none"}') + b".e30."


def claims(data: bytes) -> None:
    """Claims that our own key has signed, by mistake or by a thief."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(found, dict):
        return
    with contextlib.suppress(Exception):
        made = _CODEC.sign(found)
        with fine():
            _TOKENS.authenticate(made, "127.0.0.1", "r")
            raise AssertionError("a token of nobody is taken")
        return


def claims_seeds() -> Iterator[bytes]:
    now = int(ManualClock().now().timestamp())
    whole = {
        "iss": "home", "aud": "keystead:home:api", "sub": "ks1.user.main.home." + "u" * 32, "tenant": TENANCY,
        "jti": "ks1.token.main.home." + "j" * 32, "iat": now, "at": now * 10**6, "exp": now + 600,
    }  # fmt: skip
    yield json.dumps(whole).encode()
    yield json.dumps(whole | {"machine": "ks1.machine.main.home." + "m" * 32}).encode()


def network(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with fine():
        found = checked_networks(tuple(text.split(",")))
        assert checked_networks(found) == found
        for each in text.split(","):
            address_of(each)
        assert fence_of is not None
    address_of(text)


def network_seeds() -> Iterator[bytes]:
    yield from (b"192.0.2.0/24", b"2001:db8::/32,private", b"::ffff:192.0.2.0/120", b"fe80::1%eth0", b"private 1")


def words(data: bytes) -> None:
    """Ids, moments, frames, query strings."""
    text = data.decode("utf-8", "replace")
    with fine():
        parse_id(text)
        assert looks_like_id(text)
    with fine(ValueError):
        moment = parse_moment(text)
        assert abs((parse_moment(isoformat(moment)) - moment).total_seconds()) < 0.001
    with fine(ConnectionError):
        read_frame(Reader((data,)))
    with fine():
        read_query(None, data)


def words_seeds() -> Iterator[bytes]:
    yield from (TENANCY.encode(), b"2026-01-31T12:00:00.000Z", b"2026-01-31T12:00:00+14:00", b"a=b&c=%20", b"")
    yield b"k" + struct.pack(">I", 3) + b"abc"


def settings_file(data: bytes) -> None:
    with fine():
        parse_settings(data, Path("/nowhere/keystead.toml"), {})


def settings_seeds() -> Iterator[bytes]:
    yield b'[region]\nname = "home"\n[listen]\nport = 9000\n[databases]\nports = "1-2"\nuids = "61000-61010"\n'
    yield b'[unseal]\nkey_file = "/a"\n[audit]\nsync = "synced"\n'


def vault_ciphertext(data: bytes) -> None:
    """`vault:v1:...` of the Vault dialect."""
    text = data.decode("utf-8", "replace")
    with fine():
        number, payload = vault_transit.versioned(text, "missing ciphertext", "ciphertext")
        assert number > 0 and isinstance(payload, str)
    with fine():
        blob = vault_transit.envelope_in(vault_transit.Item(ciphertext=text), "missing")
        again = vault_transit.Item(ciphertext=vault_transit.text_of(peek(blob).key_version, blob))
        assert vault_transit.envelope_in(again, "missing") == blob
    with fine(Refusal):
        vault_transit.from_base64(text, "missing")


def vault_seeds() -> Iterator[bytes]:
    yield from (vault_transit.text_of(1, blob).encode() for blob in _OPENED)


_JSON = (b'{"', b'":', b'","', b"null", b"true", b"[]", b"{}", b"-1", b"1e9", b'"\\u0000"')
_PEM = (b"-----BEGIN PRIVATE KEY-----\n", b"\n-----END PRIVATE KEY-----\n", b"ENCRYPTED ", b"RSA ", b"EC ")
_POLICY = tuple(
    b"Allow Deny Define Endorse Admit group any-user any-group dynamic-group service to use manage read inspect keys in"
    b" compartment tenancy where all any request.user.name target.key.id = != { } ' / , before after id of as".split()
)

TARGETS: Mapping[str, Target] = {
    "envelope": Target(envelope, envelope_seeds, (b"KSE\1",)),
    "stream": Target(stream, stream_seeds, (b"KSS\1", *_JSON)),
    "seal-file": Target(seal_file, seal_seeds, _JSON),
    "seal-helpers": Target(seal_helpers, seal_helper_seeds),
    "key-backup": Target(key_backup, key_backup_seeds, _JSON),
    "key-backup-content": Target(key_backup_content, key_backup_content_seeds, _JSON),
    "audit-segment": Target(audit_segment, audit_seeds, _JSON),
    "pkcs12": Target(key_of("pkcs12"), key_seeds("pkcs12")),
    "pem": Target(key_of("pem"), key_seeds("pem"), _PEM),
    "der": Target(key_of("der"), key_seeds("der")),
    "jwk": Target(key_of("jwk"), key_seeds("jwk"), (*_JSON, b"kty", b"oct", b"RSA", b"EC", b"OKP", b"AKP", b"crv")),
    "raw": Target(texts, texts_seeds),
    "byok": Target(transfer_blob, transfer_seeds, (*_JSON, b"schema_version", b"ciphertext", b"CKM_RSA_AES_KEY_WRAP")),
    "wrapped": Target(wrapped_material, wrapped_seeds),
    "public": Target(public_halves, public_seeds, _PEM),
    "signature": Target(signatures, signature_seeds),
    "policy": Target(policy, policy_seeds, _POLICY),
    "token": Target(token, token_seeds, (b".", b"eyJ")),
    "proof": Target(proof, proof_seeds, (b".", b'headers="', b"eyJ")),
    "claims": Target(claims, claims_seeds, _JSON),
    "network": Target(network, network_seeds, (b"/32", b"::ffff:", b"private")),
    "words": Target(words, words_seeds),
    "settings": Target(settings_file, settings_seeds, (b"[region]", b"[unseal]", b" = ", b'"""')),
    "vault-ciphertext": Target(vault_ciphertext, vault_seeds, (b"vault:v", b"==")),
}
