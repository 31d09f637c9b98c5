"""One request under way, as the pipeline sees it: what was asked, by whom, and the answer."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from keystead.core.errors import Refusal
from keystead.iam.model import Caller
from keystead.iam.sessions.proofs import Signed
from keystead.web.operations import Call, Operation
from keystead.web.services import Services

Header = tuple[bytes, bytes]


class Wanted:
    """The headers that matter here. A repeated one: the last wins, except that two tokens are none."""

    __slots__ = (
        "approval",
        "authorization",
        "content_length",
        "content_type",
        "idempotency_key",
        "if_match",
        "is_json",
    )

    def __init__(self, headers: Iterable[Header]) -> None:
        self.authorization = self.content_length = self.content_type = b""
        self.idempotency_key = self.if_match = self.approval = b""
        for name, value in headers:
            if name == b"authorization":
                self.authorization = b"" if self.authorization else value
            elif name == b"content-length":
                self.content_length = value
            elif name == b"content-type":
                self.content_type = value
            elif name == b"if-match":
                self.if_match = value
            elif name == b"idempotency-key":
                self.idempotency_key = value
            elif name == b"approval":
                self.approval = value
        self.is_json = self.content_type.partition(b";")[0].strip().lower() == b"application/json"

    def token(self) -> str:
        """The bearer token. Raises: Refusal."""
        given = self.authorization
        if given[:7].lower() != b"bearer " or not given.isascii():
            raise Refusal(
                "NotAuthenticated",
                "this needs a security token",
                hint="send Authorization: Bearer <token>; POST /keystead/v1/auth/tokens gives one",
                kind="unauthenticated",
            )
        return given[7:].strip().decode()


NONE_WANTED = Wanted(())


class Exchange:
    """One request under way: what is known of it so far, for the answer and for the audit log."""

    __slots__ = (
        "caller",
        "face",
        "headers",
        "method",
        "operation",
        "parameters",
        "private",
        "query",
        "raw_path",
        "request_id",
        "signed",
        "source",
        "started",
        "wanted",
    )

    def __init__(self, method: str, raw_path: bytes, source: str, request_id: str) -> None:
        self.method = method
        self.raw_path = raw_path
        self.source = source or "unix"  # a unix socket's peer has no address
        self.request_id = request_id
        self.operation: Operation | None = None
        self.parameters: dict[str, str] = {}
        self.caller: Caller | None = None
        self.started = False
        self.wanted = NONE_WANTED
        # What a foreign protocol has to see: its face is None for our own API.
        self.face: Face | None = None
        self.headers: Iterable[Header] = ()
        self.query = b""
        self.private = False  # not by the entrance for everybody, so under no name of the region's
        self.signed: Signed | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers beyond the usual ones, and the body."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ()


class Face(Protocol):
    """A foreign protocol over the one pipeline: how its requests are read and its answers worded, and nothing else.

    Limits, pools, the audit log and the order of things are the pipeline's, the acts are the services'.
    """

    def serves(self, raw_path: bytes) -> bool:
        """Whether what is asked for at this path is asked for in this protocol."""
        ...

    def route(self, exchange: Exchange) -> Operation:
        """The operation; its parameters are left in the exchange. Raises: Refusal, there is none."""
        ...

    def caller(self, services: Services, exchange: Exchange) -> Caller:
        """Who calls, by what the headers prove. Raises: Refusal."""
        ...

    def call(self, exchange: Exchange, operation: Operation, body: bytes) -> Call[Any, Any]:
        """The request, decoded; the handler answers it with an `Answer`. Raises: Refusal."""
        ...

    def refusal(self, exchange: Exchange, error: BaseException, now: datetime) -> Answer:
        """How the protocol says that."""
        ...
