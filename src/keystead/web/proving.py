"""Who calls, by what the request's headers prove: a bearer token, a token with a proof of its key, or a signature.

    Authorization: Bearer <token>                    a token that is bound to no key
    Authorization: DPoP <token>   + DPoP: <proof>    RFC 9449
    Authorization: Signature ...                     OCI's way: keyId ST$<token>, or <tenancy>/<user>/<fingerprint>

The plain way costs what it did: one look at the first letters. A signed request names the hash of its body, which is
compared when the body has been read, before anything is done.
"""

from keystead.iam.model import Caller
from keystead.iam.sessions.proofs import Request, dpop, is_body, signed
from keystead.iam.tokens import invalid_token
from keystead.web.exchange import Exchange
from keystead.web.services import Services


def caller_of(services: Services, exchange: Exchange) -> Caller:
    """The caller. Raises: Refusal `NotAuthenticated`."""
    given = exchange.wanted.authorization
    scheme = given[:10].lower()
    if scheme.startswith(b"dpop "):
        return _by_dpop(services, exchange, given[5:].strip())
    if scheme == b"signature ":
        return _by_signature(services, exchange, given.decode("latin-1"))
    return services.iam.authenticate(exchange.wanted.token(), exchange.source, exchange.request_id)


def check_body(exchange: Exchange, body: bytes) -> None:
    """Whether the body is the one that was signed, where one was. Raises: Refusal `NotAuthenticated`."""
    if exchange.signed is not None and not is_body(exchange.signed.digest, body):
        raise invalid_token()


def _by_dpop(services: Services, exchange: Exchange, given: bytes) -> Caller:
    request = _request(services, exchange)
    proof = request.header("dpop")
    if proof is None or not given.isascii():
        raise invalid_token()
    token = given.decode()
    return services.iam.authenticate(
        token,
        exchange.source,
        exchange.request_id,
        lambda key: dpop(proof, token, request, key, services.seen),
    )


def _by_signature(services: Services, exchange: Exchange, given: str) -> Caller:
    found = signed(given, _request(services, exchange))
    exchange.signed = found
    iam, source, request_id = services.iam, exchange.source, exchange.request_id
    if found.key_id.startswith("ST$"):
        token = found.key_id[3:]
        return iam.authenticate(token, source, request_id, lambda key: found.shows(key, services.seen))
    return iam.authenticate_by_key(found.key_id, source, request_id, lambda key: found.shows(key, services.seen))


def _request(services: Services, exchange: Exchange) -> Request:
    target = exchange.raw_path + (b"?" + exchange.query if exchange.query else b"")
    return Request(
        exchange.method,
        target.decode("latin-1"),
        list(exchange.headers),
        services.names if not exchange.private else frozenset(),
        services.clock.now(),
    )
