"""Keys in a token (protection `hsm`), and a token's key as an unseal slot.

Promise: a key of this keystore is made in the token and cannot leave it (CKA_SENSITIVE, never CKA_EXTRACTABLE,
CKA_PRIVATE; read back after it is made, and destroyed if the token did otherwise). An imported key cannot leave it
again. The rows hold how to find it, nothing of it:

    reference = "KSH" | format 1 | how it wraps u8, 0: not (see ways) | CKA_ID (20)
    CKA_LABEL = "keystead:<key id>/<version>"          looked for together with the id, so that a row that was edited
                                                       to name another key's object finds nothing

The private half never works in the dark: what a token cannot do is refused when the key is made.

Without a vault, for the seal: `TokenWrapper(uri)` wraps and unwraps 32 bytes with a key that is in the token, named by
the URI's object or id; `TokenWrapper.make_key` makes one.

Sources: OASIS PKCS #11 2.40; RFC 7512.
"""

import secrets
from collections.abc import Callable
from typing import Any, Final

from keystead.adapters.keystores import ways
from keystead.adapters.keystores.material import RemoteMaterial, cannot_hold
from keystead.adapters.keystores.patience import Limits
from keystead.adapters.keystores.token import Opened, Token
from keystead.adapters.keystores.uri import TokenUri, parse
from keystead.adapters.keystores.watch import Watch
from keystead.core.errors import KeystoreUnavailable, Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto import asymmetric
from keystead.crypto.asymmetric import PublicKey
from keystead.crypto.encapsulate import SUITE_TOKEN
from keystead.crypto.suites import Scheme, Suite, suite_of
from keystead.vault.model import Protection
from keystead.vault.ports import KeySpec, Material, Stored

MAGIC: Final = b"KSH\x01"
ID_BYTES: Final = 20
MAX_FOUND: Final = 4096
MAKING: Final = 10.0  # times as long as other calls: finding primes takes some tokens many seconds
_WAYS: Final = {"aes": (ways.AES_GCM, ways.AES_KW), "rsa": (ways.OAEP_SHA256, ways.OAEP_SHA1)}
_CURVES: Final = {256: "secp256r1", 384: "secp384r1", 521: "secp521r1"}
# EC_PARAMS of Ed25519: PrintableString "edwards25519" (2.40 and before), id-Ed25519 (3.0)
_EDWARDS: Final = (bytes.fromhex("130c656477617264733235353139"), bytes.fromhex("06032b6570"))
_ED25519_SPKI: Final = bytes.fromhex("302a300506032b6570032100")

Fingerprint = Callable[[Suite, Secret, bytes], bytes]


class TokenKeystore:
    """A `Keystore` in one token."""

    protection: Protection = "hsm"
    blocks = True
    algorithms = frozenset(
        {
            "AES-128",
            "AES-192",
            "AES-256",
            "RSA-2048",
            "RSA-3072",
            "RSA-4096",
            "EC-P256",
            "EC-P384",
            "EC-P521",
            "ED25519",
        }
    )

    def __init__(self, token: Token, fingerprint: Fingerprint) -> None:
        """`fingerprint` of imported material, by which it is known again."""
        self._token = token
        self._fingerprint = fingerprint
        self._watch = Watch()

    @property
    def token(self) -> Token:
        """The token itself."""
        return self._token

    def generate(self, spec: KeySpec) -> Stored:
        """Make a version in the token. Raises: Refusal (the token cannot), Unavailable."""
        suite = self._suite(spec)

        def work(opened: Opened) -> Stored:
            found_by = secrets.token_bytes(ID_BYTES)
            return self._made(opened, suite, found_by, _generate(opened, suite, found_by, label_of(spec)), b"")

        return self._token.run(work, longer=MAKING, undo=lambda opened, stored: _destroy(opened, spec, stored))

    def add(self, spec: KeySpec, material: Secret) -> Stored:
        """Take over material, which the token keeps from then on. Raises: Refusal (`InvalidKey`, ...), Unavailable."""
        suite = self._suite(spec)
        public = b""
        if suite.asymmetric:
            asymmetric.check(suite, material)
            public = asymmetric.PrivateKey(suite, material).public.spki
        elif len(material) * 8 != suite.bits:
            raise asymmetric.invalid_key(suite)
        known = self._fingerprint(suite, material, public)

        def work(opened: Opened) -> Stored:
            found_by = secrets.token_bytes(ID_BYTES)
            made = _create(opened, suite, found_by, label_of(spec), material.reveal(), public)
            return self._made(opened, suite, found_by, made, known)

        return self._token.run(work, longer=MAKING, undo=lambda opened, stored: _destroy(opened, spec, stored))

    def use(self, spec: KeySpec, stored: Stored) -> Material:
        """The version ready for use; the token is not asked yet. Raises: Unreadable."""
        suite = self._suite(spec)
        found_by, way = _read(stored.reference)
        key = _TokenKey(self._token, suite, found_by, label_of(spec), way)
        return RemoteMaterial(suite, spec, SUITE_TOKEN, key, key, stored.public)

    def known(self, spec: KeySpec, stored: Stored) -> KeystoreUnavailable | None:
        """What stood against using it when it was last looked at."""
        suite = self._suite(spec)
        if suite.family not in _WAYS:
            return None
        found_by, way = _read(stored.reference)
        return self._watch.known(stored.reference, lambda: _TokenKey(self._token, suite, found_by, label_of(spec), way))

    def destroy(self, spec: KeySpec, stored: Stored) -> None:
        """Destroy its objects in the token; none are there: done. Raises: Unavailable, Unreadable."""
        self._token.run(lambda opened: _destroy(opened, spec, stored))

    def _suite(self, spec: KeySpec) -> Suite:
        if spec.algorithm not in self.algorithms:
            raise cannot_hold("a token", spec.algorithm, self.algorithms)
        return suite_of(spec.algorithm)

    def _made(self, opened: Opened, suite: Suite, found_by: bytes, key: ways.Handles, known: bytes) -> Stored:
        """What is kept of a new key, once it is as it should be; otherwise it is destroyed."""
        try:
            _check_kept(key.private)
            way = ways.choose(opened, key, _WAYS[suite.family]) if suite.family in _WAYS else 0
            public = _public(suite, key.public) if suite.asymmetric else b""
        except BaseException:
            for each in {id(each): each for each in (key.private, key.public)}.values():
                each.destroy()
            raise
        return Stored(MAGIC + bytes((way,)) + found_by, public, known)


class TokenWrapper:
    """Wraps 32 bytes with a key that is in a token: what a seal slot needs, without any vault.

    The URI names token and key: an AES key, or an RSA pair. May wait; never call it on an event loop.
    """

    def __init__(self, uri: str, module_path: str = "", pin_file: str = "", limits: Limits | None = None) -> None:
        """Nothing is opened yet. `module_path` and `pin_file` count where the URI names none.

        Raises:
            Refusal: `InvalidUri`, not a PKCS#11 URI that names a key.
        """
        self._uri = parse(uri)
        if not self._uri.object and not self._uri.id:
            raise Refusal("InvalidUri", "the PKCS#11 URI names no key", hint="add object=LABEL or id=%01")
        self._token = Token(self._uri, module_path, pin_file, limits)

    def wrap(self, key: bytes) -> bytes:
        """`key`, 32 bytes, wrapped. Raises: Unavailable; Refusal, that key cannot wrap."""

        def work(opened: Opened) -> bytes:
            handles, usable = _named(opened, self._uri)
            return ways.wrap(opened, handles, ways.choose(opened, handles, usable), key)

        return self._token.run(work)

    def unwrap(self, wrapped: bytes) -> bytes:
        """What `wrap` was given. Raises: Unreadable for every cause alike; Unavailable."""

        def work(opened: Opened) -> bytes:
            handles, usable = _named(opened, self._uri)
            return ways.unwrap(opened, handles, wrapped, usable)

        return self._token.run(work)

    def make_key(self) -> None:
        """Make an AES-256 key of that name in the token. Raises: Refusal `NameTaken`; Unavailable."""
        uri = self._uri

        def work(opened: Opened) -> None:
            if next(_objects(opened, uri.id, uri.object), None) is not None:
                raise Refusal("NameTaken", "the token has an object of that name already", kind="conflict")
            made = _generate(opened, suite_of("AES-256"), uri.id or secrets.token_bytes(ID_BYTES), uri.object)
            _check_kept(made.private)

        self._token.run(work)


class _TokenKey:
    """One version in a token: wraps, unwraps, signs."""

    __slots__ = ("_found_by", "_label", "_suite", "_token", "_way")

    def __init__(self, token: Token, suite: Suite, found_by: bytes, label: str, way: int) -> None:
        self._token = token
        self._suite = suite
        self._found_by = found_by
        self._label = label
        self._way = way

    def wrap(self, key: bytes) -> bytes:
        return self._token.run(lambda opened: ways.wrap(opened, self._in(opened), self._way, key))

    def unwrap(self, wrapped: bytes) -> bytes:
        return self._token.run(lambda opened: ways.unwrap(opened, self._in(opened), wrapped, (self._way,)))

    def sign(self, message: bytes, scheme: Scheme, digest: bool) -> bytes:
        size = (self._suite.bits + 7) // 8
        return self._token.run(
            lambda opened: ways.sign(opened, self._in(opened), message, scheme, digest=digest, curve_bytes=size)
        )

    def _in(self, opened: Opened) -> ways.Handles:
        found: ways.Handles | None = opened.found.get((self._found_by, self._label))
        if found is None:
            found = _handles(_objects(opened, self._found_by, self._label))
            if found is None:
                raise missing(self._label)
            if len(opened.found) >= MAX_FOUND:
                opened.found.clear()
            opened.found[self._found_by, self._label] = found
        return found


def _destroy(opened: Opened, spec: KeySpec, stored: Stored) -> None:
    """Raises: Unreadable."""
    found_by, _ = _read(stored.reference)
    opened.found.pop((found_by, label_of(spec)), None)
    for each in list(_objects(opened, found_by, label_of(spec))):
        each.destroy()


def label_of(spec: KeySpec) -> str:
    """What its objects are called in the token, for those who look there."""
    return f"keystead:{spec.key}/{spec.number}"


def missing(label: str) -> KeystoreUnavailable:
    """The token answers, and has no such key."""
    return KeystoreUnavailable(
        "KeyNotInToken",
        f"the token has no key {label!r}",
        hint="is it the right token, and were its objects restored? nothing can be opened by this key without it",
    )


def _read(reference: bytes) -> tuple[bytes, int]:
    """CKA_ID and way of a reference. Raises: Unreadable."""
    at = len(MAGIC) + 1
    if len(reference) != at + ID_BYTES or not reference.startswith(MAGIC):
        raise Unreadable
    return reference[at:], reference[at - 1]


def _objects(opened: Opened, found_by: bytes, label: str) -> Any:
    from pkcs11 import Attribute

    wanted: dict[Attribute, Any] = {}
    if found_by:
        wanted[Attribute.ID] = found_by
    if label:
        wanted[Attribute.LABEL] = label
    return opened.session.get_objects(wanted)


def _handles(objects: Any) -> ways.Handles | None:
    """A key's objects sorted by what they are."""
    from pkcs11.types import PrivateKey as Private
    from pkcs11.types import PublicKey as Public
    from pkcs11.types import SecretKey

    private: Any = None
    public: Any = None
    for each in objects:
        if isinstance(each, SecretKey):
            private = public = each
        elif isinstance(each, Private):
            private = each
        elif isinstance(each, Public):
            public = each
    return ways.Handles(private, public) if private is not None else None


def _named(opened: Opened, uri: TokenUri) -> tuple[ways.Handles, tuple[int, ...]]:
    """The key that a URI names, and the ways it could wrap by. Raises: Unavailable, Refusal."""
    from pkcs11 import KeyType

    found = _handles(_objects(opened, uri.id, uri.object))
    if found is None:
        raise missing(uri.object or uri.id.hex())
    kinds = {KeyType.AES: _WAYS["aes"], KeyType.RSA: _WAYS["rsa"]}
    usable = kinds.get(found.private.key_type)
    if usable is None or found.public is None:
        raise Refusal("WrongOperation", "the key that the URI names cannot wrap", hint="name an AES key or an RSA pair")
    return found, usable


def _generate(opened: Opened, suite: Suite, found_by: bytes, label: str) -> ways.Handles:
    from pkcs11 import Attribute, KeyType, Mechanism, MechanismInvalid, MechanismParamInvalid
    from pkcs11.util.ec import encode_named_curve_parameters

    session: Any = opened.session
    kept = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
    named = {"id": found_by, "label": label, "store": True}
    try:
        match suite.family:
            case "aes":
                made = session.generate_key(KeyType.AES, suite.bits, template=kept, **named)
                return ways.Handles(made, made)
            case "rsa":
                pair = session.generate_keypair(KeyType.RSA, suite.bits, private_template=kept, **named)
            case "ec":
                given = {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[suite.bits])}
                curve = session.create_domain_parameters(KeyType.EC, given, local=True)
                pair = curve.generate_keypair(private_template=kept, **named)
            case _:
                curve = session.create_domain_parameters(
                    KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: _EDWARDS[0]}, local=True
                )
                how = Mechanism.EC_EDWARDS_KEY_PAIR_GEN
                pair = curve.generate_keypair(mechanism=how, private_template=kept, **named)
    except (MechanismInvalid, MechanismParamInvalid):
        raise Refusal(
            "WrongAlgorithm", f"this token cannot make keys of {suite.name}", hint="see its list of mechanisms"
        ) from None
    return ways.Handles(pair[1], pair[0])


def _create(opened: Opened, suite: Suite, found_by: bytes, label: str, material: bytes, public: bytes) -> ways.Handles:
    """Objects made of material (C_CreateObject)."""
    from pkcs11 import Attribute, AttributeValueInvalid, TemplateInconsistent

    common = {Attribute.TOKEN: True, Attribute.ID: found_by, Attribute.LABEL: label}
    private = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
    session: Any = opened.session
    halves = _attributes(suite, material, public)
    made: list[Any] = []
    try:
        for index, half in enumerate(halves):
            made.append(session.create_object(half | common | (private if index == 0 else {})))
    except BaseException as error:
        for each in made:
            each.destroy()
        if isinstance(error, TemplateInconsistent | AttributeValueInvalid):
            raise Refusal(
                "WrongAlgorithm", f"this token takes no keys of {suite.name} from outside", hint="make it in the token"
            ) from None
        raise
    return ways.Handles(made[0], made[-1])


def _attributes(suite: Suite, material: bytes, public: bytes) -> list[dict[Any, Any]]:
    """The secret object, and the public one where there are two."""
    from asn1crypto.keys import PrivateKeyInfo, PublicKeyInfo
    from pkcs11 import Attribute, KeyType, ObjectClass
    from pkcs11.util.ec import decode_ec_public_key, encode_named_curve_parameters
    from pkcs11.util.rsa import decode_rsa_private_key, decode_rsa_public_key

    if suite.family == "aes":
        able = dict.fromkeys((Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.WRAP, Attribute.UNWRAP), True)
        kind = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.VALUE: material}
        return [kind | able]
    if suite.family == "rsa":
        inner = PrivateKeyInfo.load(material)["private_key"].parsed.dump()
        half = PublicKeyInfo.load(public)["public_key"].parsed.dump()
        return [decode_rsa_private_key(inner), decode_rsa_public_key(half)]
    signs, verifies = {Attribute.SIGN: True}, {Attribute.VERIFY: True}
    if suite.family == "ec":
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[suite.bits])}
        number = PrivateKeyInfo.load(material)["private_key"].parsed["private_key"].native
        scalar = number.to_bytes((suite.bits + 7) // 8, "big")
        secret = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.KEY_TYPE: KeyType.EC, Attribute.VALUE: scalar}
        return [secret | curve | signs, decode_ec_public_key(public) | verifies]
    shape = {Attribute.KEY_TYPE: KeyType.EC_EDWARDS, Attribute.EC_PARAMS: _EDWARDS[0]}
    point = b"\x04\x20" + public.removeprefix(_ED25519_SPKI)
    return [
        shape | signs | {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.VALUE: material},
        shape | verifies | {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.EC_POINT: point},
    ]


def _check_kept(key: Any) -> None:
    from pkcs11 import Attribute

    if key[Attribute.SENSITIVE] and not key[Attribute.EXTRACTABLE] and key[Attribute.PRIVATE]:
        return
    raise Refusal("WrongAlgorithm", "the token makes keys that could leave it", hint="see its policy for new keys")


def _public(suite: Suite, key: Any) -> bytes:
    """SPKI DER of a public object, checked to be a key of the algorithm."""
    from asn1crypto.keys import PublicKeyInfo, RSAPublicKey
    from pkcs11 import Attribute
    from pkcs11.util.ec import encode_ec_public_key
    from pkcs11.util.rsa import encode_rsa_public_key

    match suite.family:
        case "rsa":
            spki = PublicKeyInfo.wrap(RSAPublicKey.load(encode_rsa_public_key(key)), "rsa").dump()
        case "ec":
            spki = encode_ec_public_key(key)
        case _:
            spki = _ED25519_SPKI + key[Attribute.EC_POINT].removeprefix(b"\x04\x20")
    return PublicKey(suite, bytes(spki)).spki
