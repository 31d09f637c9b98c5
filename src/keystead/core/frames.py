"""Frames on a byte stream: a kind byte, a 4-byte big-endian length, the body, for both ends of a control socket."""

import struct
from typing import Protocol

MAX_FRAME = 1 << 20
_HEAD = struct.Struct(">cI")


class Writer(Protocol):
    """What can be written to."""

    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> object: ...


class Source(Protocol):
    """What can be read from; returns less than asked for only at its end."""

    def read(self, size: int, /) -> bytes: ...


def write_frame(stream: Writer, kind: bytes, body: bytes) -> None:
    """Write one frame. Raises: ValueError (longer than 1 MiB), OSError."""
    if len(body) > MAX_FRAME:
        raise ValueError("frame too long")
    stream.write(_HEAD.pack(kind, len(body)) + body)
    stream.flush()


def read_frame(stream: Source) -> tuple[bytes, bytes]:
    """The next frame: kind and body. Raises: ConnectionError (cut short or too long), OSError."""
    head = _exactly(stream, _HEAD.size)
    kind, size = _HEAD.unpack(head)
    if size > MAX_FRAME:
        raise ConnectionError("frame too long")
    return kind, _exactly(stream, size)


def _exactly(stream: Source, size: int) -> bytes:
    body = stream.read(size)
    if len(body) != size:
        raise ConnectionError("the stream ended in the middle of a frame")
    return body
