"""The seal over REST: how it stands, opening it with what people bring, closing it.

While a region is sealed these, health and the API's description are all that is answered.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from keystead.core.secret import Secret
from keystead.web.messages import Message
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services


class ProgressReply(Message):
    """Shares of one set: how many are needed, and the numbers of those that were given."""

    set: int
    threshold: int
    given: list[int]


class SealReply(Message):
    """How the seal stands. `ways`: the kinds of slots that open it. `ordered`: somebody (`by`) sealed it on purpose."""

    sealed: bool
    region: str
    since: str
    ordered: bool
    by: str
    ways: list[str]
    progress: list[ProgressReply]


class UnsealRequest(Message):
    """One thing that opens, or helps to: a share's words, a passphrase, the content of a key or identity file."""

    kind: Literal["share", "passphrase", "key-file", "identity"]
    secret: Annotated[str, Meta(min_length=1, max_length=8192)]


def get_seal(services: Services, _call: Call[NoBody, NoBody]) -> SealReply:
    return _shown(services, services.seal.status())


def unseal(services: Services, call: Call[UnsealRequest, NoBody]) -> SealReply:
    secret = Secret(call.body.secret.encode())
    try:
        found = services.seal.give(call.body.kind, secret, call.source, call.request_id)
    finally:
        secret.wipe()
    return _shown(services, found)


def reset(services: Services, call: Call[NoBody, NoBody]) -> SealReply:
    return _shown(services, services.seal.reset(call.source, call.request_id))


def seal(services: Services, call: Call[NoBody, NoBody]) -> SealReply:
    return _shown(services, services.seal.seal(call.caller))


def _shown(services: Services, found: dict[str, object]) -> SealReply:
    return msgspec.convert({**found, "region": services.region}, SealReply)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GetSeal", "GET", "/seal", "Whether the region is sealed, and how it is opened", get_seal, "region",
        reply=SealReply, auth=False, recorded=False, while_sealed=True,
    ),
    Operation(
        "Unseal", "POST", "/seal/actions/unseal", "Give a share, or something else that opens the region", unseal,
        "region", request=UnsealRequest, reply=SealReply, auth=False, runs="sign_in", while_sealed=True,
        description="Shares come one by one, from different people. Whoever opens it needs no token: there is none.",
    ),
    Operation(
        "ResetUnseal", "POST", "/seal/actions/reset", "Forget the shares given so far", reset, "region",
        reply=SealReply, auth=False, while_sealed=True,
    ),
    Operation(
        "SealRegion", "POST", "/seal/actions/seal", "Seal the region: every database system is fenced", seal, "region",
        reply=SealReply, permissions=("STATE_SEAL",), takes_access=True,
        description="It stays sealed, over restarts too, until somebody unseals it.",
    ),
)  # fmt: skip
