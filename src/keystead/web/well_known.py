"""What anybody looks for below `/.well-known/` (RFC 8615): the keys that sign the region's tokens.

    GET /.well-known/jwks.json      a JWK set (RFC 7517), the same as the API's

No document of OpenID Connect's or of RFC 8414 is served: those name an issuer that is an address, and the issuer of our
tokens is the region's name. Whoever verifies them is told the address of the keys, and expects that name.
"""

from datetime import datetime
from typing import Any

import msgspec

from keystead.core.errors import Refusal
from keystead.iam.model import Caller
from keystead.web.api.sessions import KeySet, get_jwks
from keystead.web.exchange import Answer, Exchange
from keystead.web.operations import NOTHING, Call, NoBody, Operation
from keystead.web.refusals import HttpRefusal, headers_of, reply_to, status_of
from keystead.web.services import Services

ROOT = "/.well-known"
PATH = b"/.well-known/jwks.json"
_encode = msgspec.json.Encoder().encode


class WellKnownFace:
    """The pipeline's face towards whoever verifies tokens."""

    def serves(self, raw_path: bytes) -> bool:
        return raw_path.startswith(b"/.well-known/")

    def route(self, exchange: Exchange) -> Operation:
        if exchange.raw_path != PATH:
            raise HttpRefusal(404, "NoSuchOperation", "nothing is served at this path", hint=PATH.decode())
        if exchange.method not in ("GET", "HEAD"):
            allow = ((b"allow", b"GET, HEAD"),)
            raise HttpRefusal(405, "MethodNotAllowed", "this method is not served at this path", headers=allow)
        return OPERATION

    def caller(self, services: Services, exchange: Exchange) -> Caller:
        raise RuntimeError("it is open to everybody")

    def call(self, exchange: Exchange, operation: Operation, body: bytes) -> Call[Any, Any]:
        if body:
            raise Refusal("InvalidParameter", "this operation takes no body", hint="send it without one")
        return Call(NOTHING, NOTHING, {}, None, exchange.request_id, exchange.source, None)

    def refusal(self, exchange: Exchange, error: BaseException, now: datetime) -> Answer:
        status = status_of(error)
        return Answer(status, _encode(reply_to(error, exchange.request_id)), tuple(headers_of(error, status, now)))


def keys(services: Services, call: Call[NoBody, NoBody]) -> Answer:
    return Answer(200, _encode(get_jwks(services, call)))


OPERATION = Operation(
    "GetWellKnownJwks", "GET", "/jwks.json", "The keys by which others verify this region's tokens", keys, "auth",
    reply=KeySet, auth=False, recorded=False, root=ROOT,
)  # fmt: skip
