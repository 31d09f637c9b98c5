"""HTTP/1.1 on bytes: heads and bodies read strictly, answers written (RFC 9110, RFC 9112). Pure.

    request := request-line CRLF *(field CRLF) CRLF body
    body    := content-length bytes | chunks | nothing

What two readers of one message could take differently is refused, as that is what smuggled requests are made of: bare
CR or LF, folded lines, white space before a colon, control characters, two lengths or a length and chunks, any other
transfer coding than `chunked`, more or fewer than one Host.

Clients repeat themselves: over a kept connection one head follows another with the same fields. So the two parts of a
head that repeat, the line and the block of fields, are read once and remembered by their bytes (`Heads`).
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

Header = tuple[bytes, bytes]

HEAD_LIMIT: Final = 32 * 1024
FIELDS_LIMIT: Final = 100
_LINES_KEPT: Final = 8192
_BLOCKS_KEPT: Final = 1024
_KEPT_BYTES: Final = 4096  # longer ones are not remembered
_CHUNK_LINE: Final = 256
_TRAILERS: Final = 8192

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21\x22\x24-\x7e]+) HTTP/1\.([01])")
_OTHER = re.compile(rb"[!-~]+ [!-~]+ HTTP/[0-9](?:\.[0-9])?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)[ \t]*")
_ABSOLUTE = re.compile(rb"https?://[^/?#@]*", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")

STATUS_LINES: Final = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}


class BadMessage(Exception):
    """Not a message that HTTP allows: it is answered with `status`, and the connection ends."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Line:
    """A request line. `known` is for what the application has found out about it."""

    __slots__ = ("known", "method", "minor", "path", "query")

    def __init__(self, method: str, path: bytes, query: bytes, minor: int) -> None:
        self.method, self.path, self.query, self.minor = method, path, query, minor
        self.known: Any = None


class Fields:
    """The fields of a head: names in lower case, and what the framing needs of them.

    `length` is that of the body, -1 when none is given. `known` is for what the application has found out.
    """

    __slots__ = ("chunked", "close", "expects", "headers", "hosts", "known", "length")

    def __init__(self, headers: tuple[Header, ...]) -> None:
        self.headers = headers
        self.length = -1
        self.hosts = 0
        self.chunked = self.close = self.expects = False
        self.known: Any = None
        for name, value in headers:
            if name == b"content-length":
                self._take_length(value)
            elif name == b"transfer-encoding":
                if self.chunked or value.lower() != b"chunked":
                    raise BadMessage(501, "NotImplemented", "the only transfer coding understood is chunked")
                self.chunked = True
            elif name == b"host":
                self.hosts += 1
            elif name == b"connection":
                self.close = self.close or b"close" in (part.strip() for part in value.lower().split(b","))
            elif name == b"expect":
                if value.lower() != b"100-continue":
                    raise BadMessage(417, "ExpectationFailed", "this expectation cannot be met")
                self.expects = True
        if self.chunked and self.length >= 0:
            raise BadMessage(400, "MalformedRequest", "the body's length is given in two ways")

    def _take_length(self, value: bytes) -> None:
        if self.length >= 0 or not value.isdigit() or len(value) > 18:
            raise BadMessage(400, "MalformedRequest", "the Content-Length is not one number")
        self.length = int(value)


class Heads:
    """Reads lines and blocks of fields, and remembers what it has read."""

    def __init__(self) -> None:
        self._lines: dict[bytes, Line] = {}
        self._blocks: dict[bytes, Fields] = {}

    def line(self, raw: bytes) -> Line:
        """A request line, without its CRLF. Raises: BadMessage."""
        found = self._lines.get(raw)
        if found is None:
            found = read_line(raw)
            if len(raw) <= _KEPT_BYTES:
                if len(self._lines) >= _LINES_KEPT:
                    self._lines.clear()
                self._lines[raw] = found
        return found

    def fields(self, block: bytes) -> Fields:
        """A block of fields, each but the last with its CRLF. Raises: BadMessage."""
        found = self._blocks.get(block)
        if found is None:
            found = read_fields(block)
            if len(block) <= _KEPT_BYTES:
                if len(self._blocks) >= _BLOCKS_KEPT:
                    self._blocks.clear()
                self._blocks[block] = found
        return found


def read_line(raw: bytes) -> Line:
    """A request line in origin, absolute or asterisk form. Raises: BadMessage."""
    found = _LINE.fullmatch(raw)
    if found is None:
        if _OTHER.fullmatch(raw) and b" HTTP/1." not in raw:
            raise BadMessage(505, "VersionNotSupported", "this server speaks HTTP/1.1")
        raise BadMessage(400, "MalformedRequest", "the request line cannot be read")
    target = found[2]
    if target[:1] != b"/" and (absolute := _ABSOLUTE.match(target)):
        target = target[absolute.end() :]
        if target[:1] != b"/":
            target = b"/" + target
    path, _, query = target.partition(b"?")
    return Line(found[1].decode(), path, query, int(found[3]))


def read_fields(block: bytes) -> Fields:
    """The fields of a head. Raises: BadMessage."""
    headers = []
    for raw in block.split(b"\r\n") if block else ():
        found = _FIELD.fullmatch(raw)
        if found is None:
            raise BadMessage(400, "MalformedRequest", "a header field cannot be read")
        headers.append((found[1].lower(), found[2]))
    if len(headers) > FIELDS_LIMIT:
        raise BadMessage(431, "HeadTooLarge", "there are too many header fields")
    return Fields(tuple(headers))


def check(line: Line, fields: Fields) -> None:
    """What only line and fields together tell. Raises: BadMessage."""
    if fields.hosts > 1 or (line.minor and not fields.hosts):
        raise BadMessage(400, "MalformedRequest", "a request names exactly one host")
    if fields.chunked and not line.minor:
        raise BadMessage(400, "MalformedRequest", "HTTP/1.0 knows no chunks")


class BodyReader:
    """Takes a body out of a stream of bytes. `whole` once all of it has come."""

    __slots__ = ("_chunked", "_kept", "_left", "_trailing", "whole")

    def __init__(self, fields: Fields) -> None:
        self._chunked = fields.chunked
        self._left = 0 if fields.chunked else max(fields.length, 0)
        self._kept = b""
        self._trailing = -1  # bytes of trailers seen, once the last chunk has come
        self.whole = not self._chunked and not self._left

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What of `data` belongs to the body, and what follows it. Raises: BadMessage."""
        if self._chunked:
            return self._dechunk(data)
        piece = data[: self._left]
        self._left -= len(piece)
        self.whole = not self._left
        return piece, data[len(piece) :]

    def _dechunk(self, data: bytes) -> tuple[bytes, bytes]:
        data, self._kept = self._kept + data, b""
        pieces: list[bytes] = []
        at = 0
        while not self.whole:
            if self._left > 2:
                piece = data[at : at + self._left - 2]  # two more for the CRLF behind it
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left > 2:
                    return b"".join(pieces), b""
            if self._left:
                end = data[at : at + 2]
                if len(end) < 2 and b"\r\n".startswith(end):
                    self._kept = end
                    return b"".join(pieces), b""
                if end != b"\r\n":
                    raise _bad_chunk()
                at += 2
                self._left = 0
            at = self._next(data, at)
            if at < 0:
                return b"".join(pieces), b""
        return b"".join(pieces), data[at:]

    def _next(self, data: bytes, at: int) -> int:
        """Read the line that begins at `at`; where the next thing begins, -1 when more is needed."""
        limit = _CHUNK_LINE if self._trailing < 0 else _TRAILERS
        end = data.find(b"\r\n", at, at + limit)
        if end < 0:
            if len(data) - at >= limit:
                raise _bad_chunk()
            self._kept = data[at:]
            return -1
        raw = data[at:end]
        if self._trailing >= 0:
            self._trailing += len(raw) + 2
            if raw and (self._trailing > _TRAILERS or not _FIELD.fullmatch(raw)):
                raise _bad_chunk()
            self.whole = not raw
            return end + 2
        found = _SIZE.fullmatch(raw)
        if found is None:
            raise _bad_chunk()
        size = int(found[1], 16)
        if size:
            self._left = size + 2
        else:
            self._trailing = 0
        return end + 2


def _bad_chunk() -> BadMessage:
    return BadMessage(400, "MalformedBody", "the chunks of the body cannot be read")


def write_fields(headers: Iterable[Header]) -> bytes:
    """Fields with their CRLFs. The values are the application's own: none holds a line break."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def write_chunk(data: bytes) -> bytes:
    """One chunk; nothing for no data, as that would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


LAST_CHUNK: Final = b"0\r\n\r\n"
