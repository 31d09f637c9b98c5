"""OpenBao's transit engine (and what speaks like it) as `ExternalKms`.

    make     POST /v1/MOUNT/keys/NAME            {type, exportable: false}; GET: it must be new, and its public half
    wrap     POST /v1/MOUNT/encrypt/NAME         {plaintext}        ->  the text "vault:v1:..." is what is kept
    unwrap   POST /v1/MOUNT/decrypt/NAME         {ciphertext}
    sign     POST /v1/MOUNT/sign/NAME[/HASH]     {input: the digest, prehashed, key_version: 1, ...}
    destroy  POST /v1/MOUNT/keys/NAME/config     {deletion_allowed}; DELETE /v1/MOUNT/keys/NAME

The token is read from its file at each call, so that an agent may renew it there; it needs create, read, update and
delete on MOUNT/keys/keystead-*, and update on MOUNT/{encrypt,decrypt,sign}/keystead-*. Not create on the latter: by it
OpenBao would make a new key where one was deleted, instead of saying so.

What it answers, and what we make of it: 200: the result. 400 or 500 to decrypt: the same key is asked to open something
known; it does: `Unreadable`. 403: no such key, or it refuses us (policy, or the token is no longer good).
404, "key not found": no such key. 429: full. 5xx, sealed, a redirect, no answer: down.

Without a vault, for the seal: `wrapper("openbao+https://kms.example:8200/transit/NAME?token-file=/path&ca-file=/path")`.

Source: the API documentation of OpenBao, secret/transit.
"""

import base64
import binascii
import hashlib
import secrets
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

from keystead.adapters.keystores.external import PatientKms, RemoteWrapper, key_missing, refused
from keystead.adapters.keystores.http import Answer, JsonClient
from keystead.adapters.keystores.patience import Failing, Full, Limits
from keystead.core.errors import Refusal, Unreadable
from keystead.crypto import public
from keystead.crypto.suites import Scheme

TYPES: Final = {
    "AES-128": "aes128-gcm96",
    "AES-256": "aes256-gcm96",
    "RSA-2048": "rsa-2048",
    "RSA-3072": "rsa-3072",
    "RSA-4096": "rsa-4096",
    "EC-P256": "ecdsa-p256",
    "EC-P384": "ecdsa-p384",
    "EC-P521": "ecdsa-p521",
    "ED25519": "ed25519",
}
_HASHES: Final = {"SHA256": "sha2-256", "SHA384": "sha2-384", "SHA512": "sha2-512"}
_ED25519_SPKI: Final = bytes.fromhex("302a300506032b6570032100")
MAX_TOKEN_BYTES: Final = 16 * 1024
MAX_WRAPPED: Final = 4096
_AT: Final = {"token-file", "ca-file", "namespace"}


class OpenBaoKms:
    """One mount of a transit engine."""

    kind = "openbao"
    algorithms = frozenset(TYPES)

    def __init__(
        self,
        url: str,
        token_file: str,
        mount: str = "transit",
        *,
        ca_file: str = "",
        namespace: str = "",
        timeout: float = 5.0,
    ) -> None:
        """Nothing is asked yet. `timeout` in seconds. Raises: Refusal `InvalidSettings`."""
        self.where = f"OpenBao at {url}"
        self._http = JsonClient(url, ca_file, timeout)
        self._token_file = token_file
        self._mount = quote(mount.strip("/"))
        self._namespace = namespace

    def make(self, name: str, algorithm: str) -> bytes:
        """See `ExternalKms`."""
        path = f"keys/{quote(name)}"
        if self._call("GET", path).status == 200:
            raise Refusal("NameTaken", f"{self.where} has a key {name!r} already", kind="conflict")
        self._need(self._call("POST", path, {"type": TYPES[algorithm], "exportable": False}), name)
        made = self._need(self._call("GET", path), name)
        if made.get("type") != TYPES[algorithm] or made.get("exportable"):
            raise refused(self.where, "it made another kind of key", "see the settings of its transit engine")
        return _public(algorithm, made)

    def wrap(self, name: str, material: bytes) -> bytes:
        """See `ExternalKms`."""
        given = {"plaintext": base64.b64encode(material).decode()}
        found = self._need(self._call("POST", f"encrypt/{quote(name)}", given), name).get("ciphertext")
        if not isinstance(found, str) or not 0 < len(found) <= MAX_WRAPPED:
            raise Failing("its answer has no ciphertext", "is it an OpenBao?")
        return found.encode()

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        """See `ExternalKms`."""
        if len(wrapped) > MAX_WRAPPED or not wrapped.isascii():
            raise Unreadable
        # What an RSA key does not open it words as 500, like an outage.
        answer = self._call("POST", f"decrypt/{quote(name)}", {"ciphertext": wrapped.decode()}, fine=500)
        if answer.status in (400, 500) and not _is_missing(answer):
            if _says(answer, "disallowed by policy"):
                raise refused(self.where, "that version of the key is disallowed", "see its min_decryption_version")
            probe = secrets.token_bytes(32)
            if self._opened(name, self.wrap(name, probe)) == probe:
                raise Unreadable
            raise Failing("it opens nothing with this key", "see its log")
        return _plaintext(self._need(answer, name))

    def sign(self, name: str, message: bytes, scheme: Scheme, digest: bool) -> bytes:
        """See `ExternalKms`."""
        path = f"sign/{quote(name)}"
        given: dict[str, Any] = {"key_version": 1}
        if scheme == "ED25519":
            if digest:
                raise Refusal("InvalidParameter", f"{scheme} signs messages, not digests", hint="send the message")
            given["input"] = base64.b64encode(message).decode()
        else:
            hashed = scheme.rpartition("-")[2]
            size = hashlib.new(hashed.lower()).digest_size
            if digest and len(message) != size:
                raise Refusal("InvalidParameter", f"a digest for {scheme} has {size} bytes")
            found = message if digest else hashlib.new(hashed.lower(), message).digest()
            path += f"/{_HASHES[hashed]}"
            given |= {"input": base64.b64encode(found).decode(), "prehashed": True, "marshaling_algorithm": "asn1"}
            if scheme.startswith("RSA"):
                given["signature_algorithm"] = "pss" if "-PSS-" in scheme else "pkcs1v15"
                given["salt_length"] = "hash"
        text = self._need(self._call("POST", path, given), name).get("signature", "")
        return _decoded(str(text).rpartition(":")[2])

    def destroy(self, name: str) -> None:
        """See `ExternalKms`."""
        path = f"keys/{quote(name)}"
        answer = self._call("POST", f"{path}/config", {"deletion_allowed": True})
        if _is_missing(answer):
            return
        self._need(answer, name)
        self._need(self._call("DELETE", path), name)

    def check(self) -> None:
        """See `ExternalKms`. A key that is not there is asked for: by a name that our policy there allows."""
        answer = self._call("GET", "keys/keystead-check")
        if not _is_missing(answer):
            self._need(answer, "keystead-check")

    def give_up(self) -> None:
        """See `ExternalKms`."""
        self._http.close_all()

    def _opened(self, name: str, wrapped: bytes) -> bytes:
        answer = self._call("POST", f"decrypt/{quote(name)}", {"ciphertext": wrapped.decode()})
        return _plaintext(self._need(answer, name))

    def _call(self, method: str, path: str, body: Any = None, fine: int = 0) -> Answer:
        headers = {"X-Vault-Token": self._token(), "X-Vault-Request": "true"}
        if self._namespace:
            headers["X-Vault-Namespace"] = self._namespace
        answer = self._http.call(method, f"/v1/{self._mount}/{path}", headers, body)
        if answer.status == 429:
            raise Full("it has too many requests")
        if (answer.status >= 500 and answer.status != fine) or 300 <= answer.status < 400:
            said = "it is sealed" if _says(answer, "sealed") else f"it answers {answer.status}"
            raise Failing(said, "see its status and its log")
        return answer

    def _need(self, answer: Answer, name: str) -> dict[str, Any]:
        """The data of a good answer. Raises: Unavailable, Failing."""
        if answer.status == 204:
            return {}
        if answer.status == 200 and isinstance(answer.body, dict):
            found = answer.body.get("data") or {}
            if isinstance(found, dict):
                return found
        if answer.status == 403:
            # To encrypt with a key that is gone would be to create it, which we may not.
            if self._call("GET", f"keys/{quote(name)}").status == 404:
                raise key_missing(self.where, name)
            hint = f"is the token in {self._token_file} still good, and does its policy allow this key?"
            raise refused(self.where, "permission denied", hint)
        if _is_missing(answer):
            raise key_missing(self.where, name)
        raise refused(self.where, f"it answers {answer.status}", "see its audit log")

    def _token(self) -> str:
        try:
            with Path(self._token_file).open("rb") as source:
                token = source.read(MAX_TOKEN_BYTES).strip().decode("ascii")
        except (OSError, UnicodeDecodeError):
            token = ""
        if not token or any(not 32 < ord(letter) < 127 for letter in token):
            hint = "set [external] token_file to a file that holds its token"
            raise refused(self.where, "there is no token to show it", hint)
        return token


def wrapper(uri: str, limits: Limits | None = None) -> RemoteWrapper:
    """A key of a transit engine, to wrap 32 bytes with.

    `uri`: openbao+https://HOST:PORT/MOUNT/NAME?token-file=/path, and where needed &ca-file=/path&namespace=NAME.

    Raises:
        Refusal: `InvalidUri`, `InvalidSettings`.
    """
    parts = urlsplit(uri)
    scheme = parts.scheme.removeprefix("openbao+")
    mount, _, name = parts.path.strip("/").rpartition("/")
    given = {key: values[0] for key, values in parse_qs(parts.query).items()}
    if not parts.scheme.startswith("openbao+") or not mount or not name or given.keys() - _AT or parts.username:
        hint = "like openbao+https://kms.example:8200/transit/NAME?token-file=/path"
        raise Refusal("InvalidUri", "this is not a URI of a key in OpenBao", hint=hint)
    kms = OpenBaoKms(
        f"{scheme}://{parts.netloc}",
        given.get("token-file", ""),
        mount,
        ca_file=given.get("ca-file", ""),
        namespace=given.get("namespace", ""),
        timeout=(limits or Limits()).call_seconds,
    )
    return RemoteWrapper(PatientKms(kms, limits), name)


def _public(algorithm: str, made: dict[str, Any]) -> bytes:
    if algorithm.startswith("AES"):
        return b""
    try:
        text = made["keys"]["1"]["public_key"]
        return _ED25519_SPKI + _decoded(text) if algorithm == "ED25519" else public.from_pem(text)
    except (KeyError, TypeError, ValueError):
        raise Failing("its answer has no public key", "is it an OpenBao?") from None


def _plaintext(data: dict[str, Any]) -> bytes:
    return _decoded(str(data.get("plaintext", "")))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Failing("its answer is not what was asked for", "is it an OpenBao?") from None


def _is_missing(answer: Answer) -> bool:
    return answer.status == 404 or (answer.status == 400 and _says(answer, "not found", "no existing key"))


def _says(answer: Answer, *words: str) -> bool:
    """Whether one of its errors says one of these; the text itself is not passed on."""
    errors = answer.body.get("errors") if isinstance(answer.body, dict) else None
    return any(word in str(each) for each in errors or () for word in words)
