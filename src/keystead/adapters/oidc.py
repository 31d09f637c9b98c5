"""OpenID Connect providers over HTTPS: discovery, keys, the token endpoint, user info.

Promise: TLS is checked against the provider's own CA or the system's; only the issuer's origin is spoken to, and those
that an administrator named beside it; redirects are not followed; every answer is bounded in size and time; an address
within one's own network is spoken to only where the operator of the region says so (`inside`), and the address that was
looked at is the one that is connected to, so that a name which resolves otherwise a moment later changes nothing.
Signatures are checked with algorithms that are fixed, never those that a token asks for beyond them.
"""

import base64
import contextlib
import hashlib
import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.iam.federation.claims import refused
from keystead.iam.federation.model import ALGORITHMS, IdentityProvider
from keystead.iam.federation.ports import Metadata, Redeemed
from keystead.iam.federation.service import origin_of

MAX_ANSWER: Final = 512 * 1024
MAX_TOKEN: Final = 64 * 1024
MAX_KEYS: Final = 64
KEPT_SECONDS: Final = 300.0
FAILED_SECONDS: Final = 3.0
KEYS_AGAIN_SECONDS: Final = 10.0
AT_ONCE: Final = 4
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_HASHES: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


@dataclass(slots=True)
class _Known:
    """What was heard of one provider, and when (monotonic seconds)."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    heard_at: float = 0.0
    failed_at: float = -1e9
    why: str = ""
    keys: KeySet | None = None
    keys_at: float = -1e9
    anew_at: float = -1e9


class OidcProviders:
    """`Provider` over the network. Thread-safe: one for a process."""

    def __init__(self, inside: Iterable[str] = (), timeout: float = 5.0) -> None:
        """`inside`: origins that may have addresses within one's own network. `timeout`: seconds for each wait."""
        self._inside = frozenset(inside)
        self._timeout = timeout
        self._known: dict[tuple[str, int], _Known] = {}
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def metadata(self, provider: IdentityProvider) -> Metadata:
        found = self._discovered(provider)
        endpoint = found.get("authorization_endpoint")
        if not isinstance(endpoint, str) or origin_of(endpoint.partition("?")[0]) not in _origins(provider):
            raise _unusable("its authorization endpoint is not at its own origin")
        return Metadata(endpoint, found.get("authorization_response_iss_parameter_supported") is True)

    def redeem(
        self, provider: IdentityProvider, secret: Secret, code: str, verifier: str, redirect_uri: str
    ) -> Redeemed:
        found = self._discovered(provider)
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier,
        }  # fmt: skip
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        ways = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if not len(secret):
            form["client_id"] = provider.client_id
        elif "client_secret_basic" in ways:
            pair = f"{quote(provider.client_id, safe='')}:{quote(secret.reveal().decode(), safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": provider.client_id, "client_secret": secret.reveal().decode()}
        status, said = self._call(provider, "POST", found.get("token_endpoint"), headers, urlencode(form).encode())
        if status != 200 or not isinstance(said, dict):
            raise refused("the provider does not take the code")
        token, access = said.get("id_token"), said.get("access_token")
        if not isinstance(token, str) or len(token) > MAX_TOKEN or not isinstance(access, str):
            raise refused("the provider gave no ID token")
        claims, algorithm = self._verified(provider, token)
        return Redeemed(claims, _half(access, algorithm), Secret(access.encode()))

    def user_info(self, provider: IdentityProvider, access_token: Secret) -> Mapping[str, object]:
        endpoint = self._discovered(provider).get("userinfo_endpoint")
        if endpoint is None:
            return {}
        headers = {"Authorization": f"Bearer {access_token.reveal().decode()}", "Accept": "application/json"}
        status, said = self._call(provider, "GET", endpoint, headers)
        if status != 200 or not isinstance(said, dict):
            raise refused("the provider does not say who that is")
        return said

    # what a provider says of itself

    def _discovered(self, provider: IdentityProvider) -> Mapping[str, Any]:
        known = self._of(provider)
        now = time.monotonic()
        if known.metadata and now - known.heard_at < KEPT_SECONDS:
            return known.metadata
        if now - known.failed_at < FAILED_SECONDS:
            raise _unavailable(known.why)  # not asked again and again while it does not answer
        try:
            url = provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
            status, said = self._call(provider, "GET", url, {"Accept": "application/json"})
            if status != 200 or not isinstance(said, dict):
                raise _unavailable("it does not describe itself")
        except Refusal as refusal:
            known.failed_at, known.why = now, refusal.message.partition(": ")[2]
            raise
        if said.get("issuer") != provider.issuer:
            raise _unusable("it calls itself by another issuer")
        known.metadata, known.heard_at = said, now
        return said

    def _of(self, provider: IdentityProvider) -> _Known:
        if len(self._known) > 1000:
            self._known.clear()
        return self._known.setdefault((provider.id, provider.version), _Known())

    def _keys(self, provider: IdentityProvider, *, anew: bool) -> KeySet:
        known, now = self._of(provider), time.monotonic()
        if known.keys is not None:
            if now - known.anew_at < KEYS_AGAIN_SECONDS if anew else now - known.keys_at < KEPT_SECONDS:
                return known.keys
            known.anew_at = now if anew else known.anew_at
        uri = self._discovered(provider).get("jwks_uri")
        status, said = self._call(provider, "GET", uri, {"Accept": "application/json"})
        listed = said.get("keys") if status == 200 and isinstance(said, dict) else None
        if not isinstance(listed, list) or len(listed) > MAX_KEYS:
            raise _unusable("its keys cannot be read")
        known.keys, known.keys_at = _key_set(listed), now
        return known.keys

    def _verified(self, provider: IdentityProvider, token: str) -> tuple[Mapping[str, object], str]:
        """The claims of an ID token. Keys are asked for anew, once, when none fits: a provider rotates them."""
        try:
            return _verify(token, self._keys(provider, anew=False))
        except (JoseError, ValueError, TypeError, KeyError):
            pass
        try:
            return _verify(token, self._keys(provider, anew=True))
        except (JoseError, ValueError, TypeError, KeyError):
            raise refused("its signature does not hold") from None

    # the network

    def _call(
        self, provider: IdentityProvider, method: str, url: object, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[int, Any]:
        """One request: status and JSON (None when it is none). Raises: Refusal."""
        origin = origin_of(url) if isinstance(url, str) and "?" not in url else None
        if not isinstance(url, str) or origin is None or origin not in _origins(provider):
            raise _unusable("it names an address that is not at its own origin")
        if not self._turns.acquire(blocking=False):
            raise _unavailable("too many sign-ins wait for their providers")
        try:
            return self._exchange(provider, origin, method, urlsplit(url).path or "/", headers, body)
        except ssl.SSLCertVerificationError as error:
            raise _unavailable(f"its certificate is not accepted ({error.verify_message})") from None
        except TimeoutError:
            raise _unavailable("no answer in time") from None
        except (OSError, http.client.HTTPException, ValueError):
            raise _unavailable("it cannot be reached") from None
        finally:
            self._turns.release()

    def _exchange(
        self, provider: IdentityProvider, origin: str, method: str, path: str, headers: dict[str, str],
        body: bytes | None,
    ) -> tuple[int, Any]:  # fmt: skip
        connection = self._connection(provider, origin)
        with _Deadline(2 * self._timeout, connection) as deadline:
            try:
                connection.connect()
                deadline.connected()
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                text = b""
                while chunk := response.read1(64 * 1024):
                    text += chunk
                    if len(text) > MAX_ANSWER:
                        raise _unavailable("its answer is too long")
                deadline.check()
            except (OSError, http.client.HTTPException):
                deadline.check()
                raise
            finally:
                connection.close()
        try:
            return response.status, json.loads(text)
        except (ValueError, RecursionError):
            return response.status, None

    def _connection(self, provider: IdentityProvider, origin: str) -> http.client.HTTPConnection:
        parts = urlsplit(origin)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme == "http" and origin not in self._inside:
            raise _unusable("plain http is spoken only to what the region's operator named")
        address = self._address(origin, host, port)
        if parts.scheme == "http":
            return http.client.HTTPConnection(address, port, timeout=self._timeout)
        context = ssl.create_default_context(cadata=provider.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return _Pinned(host, port, address, self._timeout, context)

    def _address(self, origin: str, host: str, port: int) -> str:
        """The address to connect to. Raises: Refusal, it is within one's own network and nobody said that it may."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found]
        if origin not in self._inside and not all(_is_outside(each) for each in addresses):
            raise _unusable("its address is within this network: the region's operator can name it in [federation]")
        return addresses[0]


class _Deadline:
    """Ends a connection when its time is over, wherever it waits: what drips in never times out by itself."""

    def __init__(self, seconds: float, connection: http.client.HTTPConnection) -> None:
        self._until = time.monotonic() + seconds
        self._connection = connection
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> "_Deadline":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def connected(self) -> None:
        """Keep its socket, which the connection lets go of while an answer is still read."""
        self._socket = self._connection.sock
        self.check()

    def check(self) -> None:
        """Raises: TimeoutError, it is over."""
        if time.monotonic() >= self._until:
            raise TimeoutError

    def _end(self) -> None:
        held = self._socket or self._connection.sock
        if held is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(held, socket.SHUT_RDWR)  # of TLS as well: without a word of goodbye


class _Pinned(http.client.HTTPSConnection):
    """HTTPS to an address that was looked at, with the certificate of the host it was found for."""

    def __init__(self, host: str, port: int, address: str, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._address, self._tls = address, context

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


def _is_outside(address: str) -> bool:
    """Whether it is a public address, and so is the IPv4 address that a gateway would make of it (RFC 6052, 3056)."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        low = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        within = found.ipv4_mapped or found.sixtofour or (low if found in _NAT64 else None)
        if within is not None:
            found = within
    return found.is_global and not found.is_multicast


def _origins(provider: IdentityProvider) -> frozenset[str | None]:
    return frozenset({origin_of(provider.issuer), *provider.origins})


def _key_set(listed: list[Any]) -> KeySet:
    """Keys that may check signatures; those of other kinds are passed over."""
    fit = [
        each
        for each in listed
        if isinstance(each, dict) and each.get("kty") in ("RSA", "EC", "OKP") and each.get("use", "sig") == "sig"
    ]
    kept = []
    for each in fit:
        public = {name: value for name, value in each.items() if name not in ("d", "p", "q", "dp", "dq", "qi")}
        try:
            kept.extend(KeySet.import_key_set({"keys": [public]}).keys)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return KeySet(kept)


def _verify(token: str, keys: KeySet) -> tuple[Mapping[str, object], str]:
    header = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))
    if "crit" in header or header.get("alg") not in ALGORITHMS:
        raise ValueError
    found = None
    named = [key for key in keys.keys if header.get("kid") is None or key.kid == header["kid"]]
    for key in named:
        if key.key_type == "RSA" and len(key.as_dict()["n"]) < 342:  # 2048 bits
            continue
        try:
            found = jws.deserialize_compact(token, key, algorithms=list(ALGORITHMS))
            break
        except (JoseError, ValueError, TypeError):
            continue
    if found is None:
        raise ValueError
    claims = json.loads(found.payload)
    if not isinstance(claims, dict):
        raise ValueError
    return claims, str(header["alg"])


def _half(access: str, algorithm: str) -> str:
    """The left half of the hash of an access token (OpenID Connect Core 3.1.3.6)."""
    digest = _HASHES.get(algorithm[-3:], hashlib.sha512)(access.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip("=")


def _unavailable(why: str) -> Refusal:
    return Refusal(
        "ProviderUnavailable",
        f"the identity provider does not answer: {why}",
        hint="try again; sign in with a password meanwhile, if you have one",
        kind="unavailable",
    )


def _unusable(why: str) -> Refusal:
    return Refusal(
        "ProviderUnusable",
        f"the identity provider cannot be used: {why}",
        hint="an administrator looks at: keystead identity-provider show",
        kind="unavailable",
    )
