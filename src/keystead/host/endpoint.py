"""The key endpoint: data keys for MariaDB's key management plugin, on loopback.

It speaks the few GET requests of HashiCorp Vault's KV version 2 that the plugin makes, one per connection:

    GET /v1/sys/mounts/<tenancy>/<system>/tune           -> {"options":{"version":"2"}}
    GET /v1/<tenancy>/<system>/data/<key id>             -> the latest version of that key
    GET /v1/<tenancy>/<system>/data/<key id>?version=<n> -> that version

Promise: it answers 200 with exactly what the caller's token may read, or **not one byte**. A 403, 404 or 503 aborts a
running mariadbd once its cache has expired, while a connection that is reset leaves it on its cached keys; so faults,
overload, sealed vaults, garbage, unknown tokens and strangers' uids all end in a reset. Revoking is therefore not said
here: it is done by fencing (the token is void, `drop_connections`, then the process is killed).

Bounds: connections, bytes per request, seconds per connection. Everything runs on the event loop's thread.
"""

import asyncio
import contextlib
import json
import re
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

from keystead.core.secret import Secret

LOOPBACK = "127.0.0.1"
MAX_REQUEST = 4096
_END = b"\r\n\r\n"
_SEGMENT = r"[A-Za-z0-9_.~-]{1,200}"
_MOUNT = rf"{_SEGMENT}(?:/{_SEGMENT}){{0,3}}"
_TUNE = re.compile(rf"/v1/sys/mounts/({_MOUNT})/tune")
_DATA = re.compile(rf"/v1/({_MOUNT})/data/([1-9][0-9]{{0,9}})(?:\?version=([1-9][0-9]{{0,9}}))?")
_HEADER = re.compile(rb"([A-Za-z0-9-]{1,64}):[ \t]*([\x21-\x7e]?(?:[\x20-\x7e]*[\x21-\x7e])?)[ \t]*")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: closing sends RST


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """What one token may read: the data keys of its system.

    `versions` maps (key id, version) to 32 bytes; `latest` maps a key id to this node's latest version. Only a process
    of `uid` may ask.
    """

    versions: Mapping[tuple[int, int], Secret]
    latest: Mapping[int, int]
    uid: int


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and what became of it, for the audit trail and for "did this start still need version 3?".

    `key_id` is 0 for the mount's tune page and for requests that could not be read; `version` is the one served.
    """

    mount: str
    token_sha256: bytes
    key_id: int
    version: int
    served: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Request:
    """A well-formed request: `key_id` None asks for the tune page, `version` None for the latest."""

    mount: str
    key_id: int | None
    version: int | None
    token: bytes


Lookup = Callable[[bytes, str], NodeKeys | None]
"""(SHA-256 of the token, mount) -> what it may read, or None when the token is unknown or void.

Whoever voids a token makes this answer None first and only then wipes the keys."""


def parse_request(head: bytes) -> Request | None:
    """The request in `head` (up to and including the empty line), or None when it is not one of ours."""
    line, *fields = head[: -len(_END)].split(b"\r\n")
    words = line.split(b" ")
    if len(words) != 3 or words[0] != b"GET" or words[2] != b"HTTP/1.1" or not words[1].isascii():
        return None
    headers: dict[bytes, bytes] = {}
    for field in fields:
        found = _HEADER.fullmatch(field)
        if found is None or found[1].lower() in headers:
            return None
        headers[found[1].lower()] = found[2]
    token = headers.get(b"x-vault-token", b"")
    if not token or b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
        return None
    target = words[1].decode("ascii")
    if tune := _TUNE.fullmatch(target):
        return Request(tune[1], None, None, token)
    if data := _DATA.fullmatch(target):
        return Request(data[1], int(data[2]), int(data[3]) if data[3] else None, token)
    return None


def loopback_peer_uid(peer: tuple[str, int], ours: tuple[str, int]) -> int | None:
    """The uid that owns the other end of a loopback IPv4 connection, from /proc/net/tcp; None when it is not found."""
    wanted = (_proc_address(peer), _proc_address(ours))
    with contextlib.suppress(OSError), open("/proc/net/tcp", encoding="ascii") as table:
        for row in table:
            words = row.split(maxsplit=8)
            if len(words) > 7 and (words[1], words[2]) == wanted and words[3] == "01":  # ESTABLISHED
                return int(words[7])
    return None


def _proc_address(address: tuple[str, int]) -> str:
    packed = struct.unpack("=I", socket.inet_aton(address[0]))[0]
    return f"{packed:08X}:{address[1]:04X}"


class KeyEndpoint:
    """The listener. Make it, `await start()`, and `await close()` when done; all on one event loop."""

    def __init__(
        self,
        lookup: Lookup,
        *,
        on_request: Callable[[Asked], None] | None = None,
        peer_uid: Callable[[tuple[str, int], tuple[str, int]], int | None] = loopback_peer_uid,
        max_connections: int = 256,
        seconds: float = 1.5,
    ) -> None:
        """`seconds` is the most one connection may take: less than the plugin's own timeout of 2 s.

        `on_request` is told of every request that ends, served or not, before its answer leaves; if it raises, the
        request is not served (no answer without its audit entry).
        """
        self._lookup = lookup
        self._on_request = on_request
        self._peer_uid = peer_uid
        self._max = max_connections
        self._seconds = seconds
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self.served = 0
        self.dropped = 0

    async def start(self, port: int = 0) -> int:
        """Listen on 127.0.0.1:`port` (0: any free one). Returns the port.

        Raises:
            OSError: the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), LOOPBACK, port, backlog=512)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and reset what is open."""
        if self._server is not None:
            self._server.close()
            for connection in tuple(self._open):
                connection.drop("closing")
            await self._server.wait_closed()
            self._server = None

    def drop_connections(self, mount: str) -> int:
        """Fence: reset every open connection that asked for `mount`. Returns how many. Call on the loop's thread.

        The caller has already made the mount's tokens void, so one that has not yet said what it asks for gets nothing.
        """
        hit = [connection for connection in self._open if connection.mount == mount]
        for connection in hit:
            connection.drop("fenced")
        return len(hit)

    def _admit(self, connection: "_Connection") -> bool:
        if len(self._open) >= self._max:
            return False
        self._open.add(connection)
        return True

    def _forget(self, connection: "_Connection") -> None:
        self._open.discard(connection)

    def _answer(self, request: Request, peer: tuple[str, int], ours: tuple[str, int]) -> bytes | None:
        """The whole response, or None to reset. Never raises: a fault is a reset."""
        digest = sha256(request.token).digest()
        try:
            body, version, reason = self._decide(request, digest, peer, ours)
            self._tell(Asked(request.mount, digest, request.key_id or 0, version, body is not None, reason))
        except Exception:  # whatever it is: one byte of a 5xx would abort the server
            return None
        if body is None:
            return None
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"{head}Connection: close\r\n\r\n".encode() + body

    def _decide(
        self, request: Request, digest: bytes, peer: tuple[str, int], ours: tuple[str, int]
    ) -> tuple[bytes | None, int, str]:
        keys = self._lookup(digest, request.mount)
        if keys is None:
            return None, 0, "token unknown or void"
        if self._peer_uid(peer, ours) != keys.uid:
            return None, 0, "asked by another uid"
        if request.key_id is None:
            return b'{"options":{"version":"2"}}', 0, ""
        version = keys.latest.get(request.key_id, 0) if request.version is None else request.version
        key = keys.versions.get((request.key_id, version))
        material = key.reveal() if key is not None else b""
        if len(material) != 32:  # a wrong length is accepted by the plugin and crashes the server later
            return None, version, "no such version"
        if self._lookup(digest, request.mount) is None:
            # Voided by another thread while we looked: what was read may be half wiped, and a server that encrypted
            # under zeros would lose its data. Voiding forgets the token first and wipes afterwards.
            return None, version, "token unknown or void"
        value = {"data": {"data": {"data": material.hex()}, "metadata": {"version": version}}}
        return json.dumps(value, separators=(",", ":")).encode(), version, ""

    def _tell(self, asked: Asked) -> None:
        if self._on_request is not None:
            self._on_request(asked)


class _Connection(asyncio.Protocol):
    """One request on one connection."""

    def __init__(self, endpoint: KeyEndpoint) -> None:
        self._endpoint = endpoint
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.mount = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._endpoint._admit(self):
            self.drop("too many connections")
            return
        self._deadline = asyncio.get_running_loop().call_later(self._endpoint._seconds, self.drop, "too slow")

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._buffer += data
        if len(self._buffer) > MAX_REQUEST:
            self.drop("too large")
        elif _END in self._buffer:
            self._respond()

    def _respond(self) -> None:
        transport = cast(asyncio.Transport, self._transport)
        head, _, rest = bytes(self._buffer).partition(_END)
        request = None if rest else parse_request(head + _END)
        if request is None:
            self.drop("not a request of ours")
            return
        self.mount = request.mount
        peer = transport.get_extra_info("peername")
        ours = transport.get_extra_info("sockname")
        response = self._endpoint._answer(request, peer, ours)
        if response is None:
            self.drop("refused")
            return
        self._endpoint.served += 1
        transport.write(response)
        transport.close()

    def drop(self, _reason: str) -> None:
        """Reset the connection without a byte."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._endpoint.dropped += 1
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._endpoint._forget(self)
