"""The words and shapes of the Vault dialect: answers, errors, rows of its table.

An answer that holds data is `{"request_id", "lease_id", ..., "data"}`, an error `{"errors": [words]}`: first Vault's
own words, by which its clients tell one error from another, then ours with the way out, for callers who may know it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from keystead.core.errors import Refusal
from keystead.web.dialects.common import Event, event_of
from keystead.web.exchange import Answer
from keystead.web.operations import Call, Operation
from keystead.web.services import Services

VaultCall = Call[Any, Any]

TOO_OLD = "ciphertext or signature version is disallowed by policy (too old)"

# What Vault says of a key that is not there, by what was asked of it; where nothing is said, 404 and no words.
ABSENT: Mapping[str, tuple[int, str]] = {
    "VaultCreateKey": (404, 'no handler for route "{mount}/keys/{key}". route entry not found.'),
    "VaultRotateKey": (400, "key not found"),
    "VaultConfigureKey": (400, "no existing key named {key} could be found"),
    "VaultDeleteKey": (400, "error deleting policy {key}: could not delete key; not found"),
    **dict.fromkeys(("VaultSign", "VaultSignBy"), (400, "signing key not found")),
    **dict.fromkeys(("VaultVerify", "VaultVerifyBy"), (400, "signature verification key not found")),
    **dict.fromkeys(
        ("VaultEncrypt", "VaultDecrypt", "VaultRewrap", "VaultDataKey", "VaultMac", "VaultMacBy"),
        (400, "encryption key not found"),
    ),
}
# What a login that fails is answered with: 400, where everything else that is not known is 403.
LOGINS: Mapping[str, str] = {
    "VaultLoginAppRole": "invalid role or secret ID",
    "VaultLoginUserpass": "invalid username or password",
}

# Vault's words for what has happened; None: ours say it. Ours follow in any case where the caller may know.
WORDS: Mapping[Event, tuple[int, str | None]] = {
    "unauthenticated": (403, "permission denied"),
    "denied": (403, "permission denied"),
    "absent": (404, ""),
    "disabled": (400, TOO_OLD),
    "pending_deletion": (400, TOO_OLD),
    "not_yet_valid": (400, TOO_OLD),
    "expired": (400, TOO_OLD),
    "deleted": (404, ""),
    "unreadable": (400, "cipher: message authentication failed"),
    "wrong_operation": (400, None),
    "bad_request": (400, None),
    "taken": (400, None),
    "conflict": (400, None),
    "stale": (412, None),
    "too_large": (413, None),
    "too_many": (429, None),
    "no_such_operation": (404, "unsupported path"),
    "wrong_method": (405, "unsupported operation"),
    "sealed": (503, "Vault is sealed"),
    "unavailable": (503, "the service cannot do this now"),
    "fault": (500, "internal error"),
}
# Events of which nothing more may be said, or of which Vault's words say everything.
_SAID: frozenset[Event] = frozenset(
    {"unauthenticated", "absent", "deleted", "unreadable", "no_such_operation", "wrong_method", "unavailable", "fault"}
)


def words(error: BaseException, name: str, path: Mapping[str, str]) -> tuple[int, list[str]]:
    """Status and words of an error in the operation `name`."""
    event = event_of(error)
    status, native = WORDS[event]
    if event in ("absent", "deleted"):
        status, native = ABSENT.get(name, (status, native))
        native = (native or "").format(**{"key": "", "mount": "", **path})
    elif event == "unauthenticated" and name in LOGINS:
        status, native = 400, LOGINS[name]
    errors = [native] if native else []
    if isinstance(error, Refusal) and event not in _SAID:
        errors.append(f"{error.message}; {error.hint}" if error.hint else error.message)
    return status, errors


def bad(message: str, hint: str = "") -> Refusal:
    """Input that cannot be read, in Vault's words where it has some."""
    return Refusal("InvalidParameter", message, hint=hint)


def enveloped(call: VaultCall, data: Any, status: int = 200, auth: Any = None) -> Answer:
    """The shape of every answer that holds data."""
    body = {
        "request_id": call.request_id,
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": None,
        "warnings": None,
        "auth": auth,
    }
    return Answer(status, msgspec.json.encode(body))


def operation(  # noqa: PLR0913 (a row has that many columns)
    name: str,
    method: str,
    path: str,
    summary: str,
    handler: Callable[[Services, VaultCall], Any],
    *,
    request: type | None = None,
    permissions: tuple[str, ...] = (),
    root: str = "/v1",
    public: bool = False,
    login: bool = False,
    takes_access: bool = False,
) -> Operation:
    """A row of the dialect's table; its handler answers with data, with an `Answer`, or with None for 204."""

    def run(services: Services, call: VaultCall) -> Answer:
        made = handler(services, call)
        if isinstance(made, Answer):
            return made
        return Answer(204, b"") if made is None else enveloped(call, made)

    return Operation(
        name,
        method,
        path,
        summary,
        run,
        "vault dialect",
        request=request,
        permissions=permissions,
        auth=not public and not login,
        recorded=not public,
        while_sealed=public,
        takes_access=takes_access,
        runs="loop" if public else "sign_in" if login else "pool",
        root=root,
    )
