"""The dialect of HashiCorp Vault: what its clients (hvac, the `vault` and `bao` commands) ask a server, on our keys.

    /v1/<mount>/...            a vault: <mount> is its compartments below the root, and its name ("prod/payments")
    /v1/sys/..., /v1/auth/...  the region's health, and tokens
    X-Vault-Token              a security token of ours; X-Vault-Namespace goes before the mount

Promise: every request is one of the services' acts with the caller's own rights, recorded as ours are; what a client
may not see is answered as what is not there. Words and shapes: `vault_words`; the transit
engine: `vault_keys`, `vault_transit`, `vault_signing`; key-value: `vault_kv`; for users: docs/dialects/vault.md.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from keystead.core.errors import Refusal, not_found
from keystead.core.secret import Secret
from keystead.iam.model import Caller, IssuedToken
from keystead.iam.tokens import LIFETIME
from keystead.web.dialects import vault_keys, vault_kv, vault_signing, vault_transit
from keystead.web.dialects.common import Loose, loose_decoder
from keystead.web.dialects.vault_words import VaultCall, enveloped, operation, words
from keystead.web.exchange import Answer, Exchange
from keystead.web.messages import read_body
from keystead.web.operations import NOTHING, Call, Operation, Router
from keystead.web.refusals import HttpRefusal, retry_after
from keystead.web.services import Services

ROOT = b"/v1/"
RESERVED = (b"/v1/projects/",)  # Google's paths begin so
QUERY_LIMIT = 32
_STATUS = re.compile("[2-5][0-9][0-9]")


class VaultFace:
    """The pipeline's face towards Vault's clients."""

    def __init__(self) -> None:
        self._fixed = Router(FIXED)
        self._mounted = Router(MOUNTED, below_root=True)
        self._decoders = {each.name: loose_decoder(each.request) for each in TABLE if each.request is not None}

    def serves(self, raw_path: bytes) -> bool:
        return raw_path.startswith(ROOT) and not raw_path.startswith(RESERVED)

    def route(self, exchange: Exchange) -> Operation:
        """Fixed paths first; then the shortest mount with which the rest is an operation. PUT is POST, `?list` LIST."""
        method = _method(exchange)
        path = exchange.raw_path.decode("latin-1").rstrip("/")
        found = self._fixed.find(method, path)
        mount = ""
        segments = path.split("/")[2:]
        # No operation is longer than DEPTH: a path that anybody sends costs no more than its length.
        for end in range(max(1, len(segments) - DEPTH), len(segments)):
            if found is not None:
                break
            found = self._mounted.find(method, "/" + "/".join(segments[end:]))
            mount = "/".join(segments[:end])
        if found is None or (found.operation is None and segments[-2:-1] in (["data"], ["metadata"])):
            return _secret(exchange, method, segments)
        if found.operation is None:
            raise HttpRefusal(405, "MethodNotAllowed", "this method is not served at this path")
        values = zip(found.operation.parameters, map(_decoded, found.values), strict=False)
        exchange.parameters = dict(values)
        if mount:
            exchange.parameters["mount"] = "/".join(map(_decoded, mount.split("/")))
        return found.operation

    def caller(self, services: Services, exchange: Exchange) -> Caller:
        return services.iam.authenticate(_token(exchange.headers), exchange.source, exchange.request_id)

    def call(self, exchange: Exchange, operation: Operation, body: bytes) -> Call[Any, Any]:
        read: Any = NOTHING
        if operation.request is not None:
            decoder = self._decoders[operation.name]
            read = read_body(decoder, body) if body.strip() else operation.request()
        path = dict(exchange.parameters)
        namespace = _header(exchange.headers, b"x-vault-namespace").strip("/")
        if namespace and namespace != "root" and path.get("mount"):
            path["mount"] = f"{namespace}/{path['mount']}"
        query = _query(exchange.query)
        return Call(read, query, path, None, exchange.request_id, exchange.source, exchange.caller)

    def refusal(self, exchange: Exchange, error: BaseException, now: datetime) -> Answer:
        name = exchange.operation.name if exchange.operation is not None else ""
        status, errors = words(error, name, exchange.parameters)
        return Answer(status, msgspec.json.encode({"errors": errors}), retry_after(error, status))


# reading requests


def _method(exchange: Exchange) -> str:
    method = "POST" if exchange.method == "PUT" else exchange.method
    if method == "GET" and _query(exchange.query).get("list", "").lower() in ("true", "1"):
        return "LIST"
    return method


def _query(raw: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=QUERY_LIMIT))
    except ValueError:
        raise Refusal("InvalidParameter", "the query string cannot be read") from None


def _decoded(segment: str) -> str:
    """A segment of the path. One that holds a slash names nothing here."""
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        text = "/"
    if "/" in text or not text.isprintable():
        raise not_found("path")
    return text


def _header(headers: Any, name: bytes) -> str:
    return next((value.decode("latin-1") for each, value in headers if each == name), "")


def _token(headers: Any) -> str:
    """X-Vault-Token, or a bearer token. Two that differ are none. Raises: Refusal."""
    given: set[bytes] = set()
    for name, value in headers:
        if name == b"x-vault-token":
            given.add(value.strip())
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            given.add(value[7:].strip())
    if len(given) == 1:
        token = given.pop()
        if token and token.isascii():
            return token.decode()
    raise Refusal("NotAuthenticated", "this needs a token", hint="send X-Vault-Token", kind="unauthenticated")


def _secret(exchange: Exchange, method: str, segments: list[str]) -> Operation:
    """The key-value engine, at a path that names no key. Raises: Refusal, it is not asked for."""
    if not {"data", "metadata"}.intersection(segments[1:]):
        raise HttpRefusal(404, "NoSuchOperation", "nothing is served at this path")
    if method not in ("GET", "LIST", "HEAD"):
        raise HttpRefusal(405, "MethodNotAllowed", "secrets are not written here")
    return NO_SECRET


# the region


def health(services: Services, call: VaultCall) -> Answer:
    """By its status alone: 200 active, 503 sealed. Standbys (429, 472, 473) and 501 do not occur: see the document."""
    closed = services.sealed()
    status = _wanted(call.query, "sealedcode", 503) if closed else _wanted(call.query, "activecode", 200)
    return _plain(
        {
            "initialized": True,
            "sealed": closed,
            "standby": False,
            "performance_standby": False,
            "replication_performance_mode": "disabled",
            "replication_dr_mode": "disabled",
            "server_time_utc": int(services.clock.now().timestamp()),
            "version": services.version,
            "cluster_name": services.region,
        },
        status,
    )


def _wanted(query: Mapping[str, str], name: str, usual: int) -> int:
    """The status a client would rather have."""
    given = query.get(name, "")
    return int(given) if _STATUS.fullmatch(given) else usual


def seal_status(services: Services, _call: VaultCall) -> Answer:
    return _plain(
        {
            "type": "keystead",
            "initialized": True,
            "sealed": services.sealed(),
            "t": 0,
            "n": 0,
            "progress": 0,
            "nonce": "",
            "version": services.version,
            "migration": False,
            "cluster_name": services.region,
            "recovery_seal": False,
            "storage_type": "keystead",
        }
    )


def initialized(_services: Services, _call: VaultCall) -> Answer:
    return _plain({"initialized": True})


def leader(_services: Services, _call: VaultCall) -> Answer:
    return _plain({"ha_enabled": False, "is_self": False, "leader_address": "", "leader_cluster_address": ""})


def _plain(body: Mapping[str, Any], status: int = 200) -> Answer:
    return Answer(status, msgspec.json.encode(body))


# tokens


class UserpassLogin(Loose):
    """A user's password."""

    password: str = ""


class AppRoleLogin(Loose):
    """A user's id, and one of its auth tokens."""

    role_id: str = ""
    secret_id: str = ""


def look_up_self(services: Services, call: VaultCall) -> dict[str, Any]:
    """The caller's own token, without the token."""
    caller = call.caller
    now, ends = services.clock.now(), caller.expires_at
    began = ends - LIFETIME if ends is not None else now
    return {
        "accessor": caller.token_id,
        "creation_time": int(began.timestamp()),
        "creation_ttl": int(LIFETIME.total_seconds()),
        "display_name": caller.principal.name,
        "entity_id": caller.principal.id,
        "expire_time": None if ends is None else ends.isoformat(),
        "explicit_max_ttl": int(LIFETIME.total_seconds()),
        "id": caller.token_id,
        "issue_time": began.isoformat(),
        "meta": {"tenancy_id": caller.principal.tenancy},
        "num_uses": 0,
        "orphan": True,
        "path": "auth/token/create",
        "policies": [],
        "renewable": False,
        "ttl": 0 if ends is None else max(0, int((ends - now).total_seconds())),
        "type": "service",
    }


def renew_self(_services: Services, _call: VaultCall) -> None:
    raise Refusal("NotRenewable", "lease is not renewable", hint="log in again")


def revoke_self(services: Services, call: VaultCall) -> None:
    services.iam.sign_out(call.caller)


def log_in_by_password(services: Services, call: Call[UserpassLogin, Any]) -> Answer:
    """`auth/userpass/login/<tenancy>/<user>`."""
    password = Secret(call.body.password.encode())
    issued = services.iam.sign_in(call.path["tenancy"], call.path["user"], password, call.source, call.request_id)
    return logged_in(services, call, issued, {"username": call.path["user"]})


def log_in_by_role(services: Services, call: Call[AppRoleLogin, Any]) -> Answer:
    """AppRole: the role is a user, the secret an auth token of theirs."""
    secret = Secret(call.body.secret_id.encode())
    issued = services.iam.sign_in_with_auth_token(call.body.role_id, secret, call.source, call.request_id)
    return logged_in(services, call, issued, {})


def logged_in(services: Services, call: VaultCall, issued: IssuedToken, meta: Mapping[str, str]) -> Answer:
    """What every login is answered with."""
    assert issued.expires_at is not None  # noqa: S101 (a token that was just issued expires)
    auth = {
        "client_token": issued.token,
        "accessor": issued.token_id,
        "policies": [],
        "token_policies": [],
        "metadata": meta,
        "lease_duration": int((issued.expires_at - services.clock.now()).total_seconds()),
        "renewable": False,
        "entity_id": issued.principal_id,
        "token_type": "service",
        "orphan": True,
        "num_uses": 0,
    }
    return enveloped(call, None, auth=auth)


def no_secret(_services: Services, _call: VaultCall) -> None:
    raise not_found("secret")


NO_SECRET = operation(
    "VaultNoSecret", "GET", "/data/{path}", "A secret at a path that can be no key's: absent", no_secret,
    root="/v1/{mount}",
)  # fmt: skip
FIXED: tuple[Operation, ...] = (
    operation("VaultHealth", "GET", "/sys/health", "Whether the region can work", health, public=True),
    operation("VaultSealStatus", "GET", "/sys/seal-status", "Whether the region is sealed", seal_status, public=True),
    operation("VaultInitialized", "GET", "/sys/init", "Whether there is a region", initialized, public=True),
    operation("VaultLeader", "GET", "/sys/leader", "Who leads: this one", leader, public=True),
    operation("VaultLookUpSelf", "GET", "/auth/token/lookup-self", "The caller's own token", look_up_self),
    operation("VaultRenewSelf", "POST", "/auth/token/renew-self", "Refused: tokens last an hour", renew_self),
    operation(
        "VaultRevokeSelf", "POST", "/auth/token/revoke-self", "Void the caller's own token", revoke_self,
        takes_access=True,
    ),
    operation(
        "VaultLoginAppRole", "POST", "/auth/{method}/login", "A user's id and an auth token for a token",
        log_in_by_role, request=AppRoleLogin, login=True,
    ),
    operation(
        "VaultLoginUserpass", "POST", "/auth/{method}/login/{tenancy}/{user}", "Password for token",
        log_in_by_password, request=UserpassLogin, login=True,
    ),
)  # fmt: skip
MOUNTED: tuple[Operation, ...] = (
    *vault_keys.OPERATIONS,
    *vault_transit.OPERATIONS,
    *vault_signing.OPERATIONS,
    *vault_kv.OPERATIONS,
)
DEPTH = max(each.path.count("/") for each in MOUNTED)
"""How many segments an operation has at most below its mount."""
TABLE: tuple[Operation, ...] = (*FIXED, *MOUNTED, NO_SECRET)
